//! Values that a VirtualMachine takes from other objects, in KubeVirt's order and by the rules of its release.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::release::Release;
use crate::kubevirt::wire::LaunchSecurity;
use crate::say::finding::message;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, read, vm};
use crate::testing::fleet::{intel, mixed};

/// Returns an object as read from a dump.
fn object(group: &str, kind: &str, name: &str, rest: &Value) -> ClusterObject {
    struct Json(Value);
    impl crate::kubevirt::wire::Reader<'static> for Json {
        type Error = serde_json::Error;
        fn read<T: serde::Deserialize<'static>>(&self) -> Result<T, serde_json::Error> {
            serde_json::from_str(self.0.to_string().leak())
        }
    }
    let mut json = json!({"metadata": {"name": name, "namespace": "shop"}});
    if kind.starts_with("VirtualMachineCluster") {
        json["metadata"] = json!({"name": name});
    }
    for (key, value) in rest.as_object().expect("an object") {
        match value {
            Value::Object(fields) if key == "metadata" => {
                fields.iter().for_each(|(field, value)| json["metadata"][field] = value.clone());
            }
            other => json[key] = other.clone(),
        }
    }
    ClusterObject::read(group, kind, &Json(json)).expect("well-formed").expect("a kind that guests are judged by")
}

fn preference(spec: &Value) -> ClusterObject {
    object("instancetype.kubevirt.io", "VirtualMachineClusterPreference", "p", &json!({"spec": spec}))
}

fn instancetype(rest: &Value) -> ClusterObject {
    object("instancetype.kubevirt.io", "VirtualMachineClusterInstancetype", "i", rest)
}

/// Returns a VirtualMachine that names a preference, with this domain in its template.
fn machine(domain: &Value) -> Value {
    vm("db", "").tweak(|vm| {
        vm["spec"]["template"]["spec"] = json!({"domain": domain});
        vm["spec"]["preference"] = json!({"name": "p"});
    })
}

fn of(release: &str, vm: Value, objects: Vec<ClusterObject>) -> Guest {
    guest_of(&read(vm), &cluster(release, mixed(), objects))
}

fn features(guest: &Guest) -> Vec<(&str, &str)> {
    let features = guest.spec.domain.cpu.iter().flat_map(|cpu| &cpu.features);
    features.map(|feature| (feature.name.as_str(), feature.policy.as_str())).collect()
}

#[test]
fn a_preference_may_name_a_feature_twice() {
    let spec = json!({"cpu": {"preferredCPUFeatures": [
        {"name": "svm", "policy": "require"}, {"name": "svm", "policy": "forbid"}, {"name": "avx2"}]}});
    let domain = json!({"cpu": {"features": [{"name": "avx2", "policy": "optional"}]}});
    let guest = of("1.9.0", machine(&domain), vec![preference(&spec)]);
    assert_eq!(
        features(&guest),
        [("avx2", "optional"), ("svm", "require"), ("svm", "forbid")],
        "KubeVirt looks at the guest's own features before it adds any: the launcher asks for both"
    );
}

#[test]
fn hyperv_is_filled_in_setting_by_setting() {
    let spec = json!({"features": {"preferredHyperv": {
        "evmcs": {"enabled": true}, "vpindex": {"enabled": true}, "ipi": {}, "synictimer": {"direct": {"enabled": true}}}}});
    let domain = json!({"features": {"hyperv": {"vpindex": {"enabled": false}}}});
    let guest = of("1.9.0", machine(&domain), vec![preference(&spec)]);
    let hyperv = guest.spec.domain.features.hyperv.expect("filled in");
    let set: Vec<_> =
        hyperv.settings().into_iter().filter_map(|(name, state)| Some((name, state.as_ref()?.enabled))).collect();
    assert_eq!(set, [("vpindex", Some(false)), ("synictimer", None), ("ipi", None), ("evmcs", Some(true))]);
}

#[rstest]
#[case::filled_in("1.7.0", json!({}), "arm64")]
#[case::its_own(  "1.7.0", json!({"architecture": "s390x"}), "s390x")]
#[case::before(   "1.6.6", json!({}), "")]
fn a_preference_fills_in_the_architecture(#[case] release: &str, #[case] template: Value, #[case] expected: &str) {
    let vm = machine(&json!({}))
        .tweak(|vm| vm["spec"]["template"]["spec"]["architecture"] = template["architecture"].clone());
    let guest = of(release, vm, vec![preference(&json!({"preferredArchitecture": "arm64"}))]);
    assert_eq!(guest.spec.architecture, expected);
}

#[rstest]
#[case::another("1.7.0", "amd64", Some("preference p requires architecture s390x, and the guest has amd64"))]
#[case::the_same("1.7.0", "s390x", None)]
#[case::the_default("1.7.0", "", Some("preference p requires architecture s390x, and the guest has amd64"))]
#[case::before("1.6.6", "amd64", None)]
fn a_guest_of_another_architecture_than_its_preference_requires_is_refused(
    #[case] release: &str,
    #[case] architecture: &str,
    #[case] expected: Option<&str>,
) {
    let vm = machine(&json!({})).tweak(|vm| vm["spec"]["template"]["spec"]["architecture"] = json!(architecture));
    let guest = of(release, vm, vec![preference(&json!({"requirements": {"architecture": "s390x"}}))]);
    assert_eq!(
        refused(&guest.unmet),
        expected,
        "the verdict is FITS for a VM that KubeVirt refuses, or the other way round"
    );
}

/// Returns the first reason for a refusal.
fn refused(notes: &[Finding]) -> Option<&str> {
    notes.iter().find_map(|note| match &note.detail {
        Detail::Refused(why) => Some(why.as_str()),
        _ => None,
    })
}

#[rstest]
#[case::cpus("1.9.0", json!({"cpu": {"guest": 4}}), json!({}), None, json!({"cpu": {"sockets": 2}}),
    Some("preference p requires 4 virtual CPUs as sockets, and the guest has 2"))]
#[case::enough_cpus("1.9.0", json!({"cpu": {"guest": 4}}), json!({}), None, json!({"cpu": {"sockets": 4}}), None)]
#[case::other_cpus("1.9.0", json!({"cpu": {"guest": 4}}), json!({"preferredCPUTopology": "cores"}), None, json!({"cpu": {"sockets": 4}}),
    Some("preference p requires 4 virtual CPUs as cores, and the guest has 0"))]
#[case::spread_cpus("1.9.0", json!({"cpu": {"guest": 4}}), json!({"preferredCPUTopology": "spread"}), None, json!({"cpu": {"sockets": 2, "cores": 2}}), None)]
#[case::cpus_by_limit("1.9.0", json!({"cpu": {"guest": 4}}), json!({}), None, json!({"resources": {"limits": {"cpu": 4}}}), None)]
#[case::before("0.59.2", json!({"cpu": {"guest": 4}}), json!({}), None, json!({"cpu": {"sockets": 2}}), None)]
#[case::cpus_of_the_instancetype("1.9.0", json!({"cpu": {"guest": 4}}), json!({}), Some(2), json!({}),
    Some("preference p requires 4 virtual CPUs, and its instancetype has 2"))]
#[case::enough_of_the_instancetype("1.9.0", json!({"cpu": {"guest": 2}, "memory": {"guest": "2Gi"}}), json!({}), Some(2), json!({}), None)]
#[case::memory("1.9.0", json!({"memory": {"guest": "4Gi"}}), json!({}), None, json!({"memory": {"guest": "2048Mi"}}),
    Some("preference p requires 4Gi of memory, and the guest has 2048Mi"))]
#[case::memory_by_request("1.9.0", json!({"memory": {"guest": "4Gi"}}), json!({}), None, json!({"resources": {"requests": {"memory": "4096Mi"}}}), None)]
#[case::no_memory("1.9.0", json!({"memory": {"guest": "4Gi"}}), json!({}), None, json!({}),
    Some("preference p requires 4Gi of memory, and the guest names none"))]
#[case::memory_of_the_instancetype("1.9.0", json!({"memory": {"guest": "4Gi"}}), json!({}), Some(8), json!({}),
    Some("preference p requires 4Gi of memory, and the guest has 2Gi"))]
fn requirements_of_a_preference_that_a_guest_does_not_meet_are_said(
    #[case] release: &str,
    #[case] required: Value,
    #[case] cpu: Value,
    #[case] of_instancetype: Option<u32>,
    #[case] domain: Value,
    #[case] expected: Option<&str>,
) {
    let vm = machine(&json!({})).tweak(|vm| {
        vm["spec"]["template"]["spec"]["domain"] = domain;
        if of_instancetype.is_some() {
            vm["spec"]["instancetype"] = json!({"name": "i"});
        }
    });
    let spec = |count: u32| json!({"spec": {"cpu": {"guest": count}, "memory": {"guest": "2Gi"}}});
    let types = of_instancetype.map(|count| instancetype(&spec(count)));
    let known: Vec<ClusterObject> =
        types.into_iter().chain([preference(&json!({"requirements": required, "cpu": cpu}))]).collect();
    let guest = of(release, vm, known);
    assert_eq!(
        refused(&guest.unmet),
        expected,
        "the verdict is FITS for a VM that KubeVirt refuses, or the other way round"
    );
}

/// virt-controller starts a VM that is stored, whatever its preference requires by now.
#[rstest]
#[case::stored(true)]
#[case::submitted(false)]
fn requirements_count_when_a_vm_is_created(#[case] is_stored: bool) {
    let vm = machine(&json!({"cpu": {"sockets": 1}}));
    let stored = is_stored.then(|| ClusterObject::VirtualMachine(Box::new(read(vm.clone()))));
    let required = preference(&json!({"requirements": {"cpu": {"guest": 4}}}));
    let known = cluster("1.9.0", Vec::new(), stored.into_iter().chain([required]));
    let prepared = crate::kubevirt::subject::of_vm(&read(vm), &known);
    assert_eq!(
        prepared.subject.is_refused, !is_stored,
        "a guest that starts is said to be refused, or the other way round"
    );
}

#[rstest]
#[case::cores(json!({"cpu": {"cores": 2}}), &["domain.cpu.cores"])]
#[case::memory(json!({"memory": {"guest": "1Gi"}, "resources": {"requests": {"memory": "1Gi"}}}), &["domain.memory.guest"])]
#[case::requests(json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}}}),
    &["domain.resources.requests.cpu", "domain.resources.limits.cpu", "domain.resources.limits.memory"])]
#[case::nothing(json!({"cpu": {"features": [{"name": "aes"}]}}), &[])]
fn cpus_and_memory_of_a_guest_with_an_instancetype_are_refused(#[case] domain: Value, #[case] expected: &[&str]) {
    let vm = machine(&domain).tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "i"}));
    let types = vec![instancetype(&json!({"spec": {"cpu": {"guest": 2}}})), preference(&json!({}))];
    let guest = of("1.9.0", vm, types);
    let found: Vec<&str> =
        guest.notes.iter().filter_map(|note| note.field.strip_prefix("spec.template.spec.")).collect();
    assert_eq!(found, expected, "the verdict is FITS for a VM that KubeVirt refuses, or the other way round");
}

#[rstest]
#[case::of_the_preference("1.9.0", json!({}), json!({"preferredLaunchSecurity": {"tdx": {}}}), json!({}), Some("tdx"))]
#[case::before("1.8.4", json!({}), json!({"preferredLaunchSecurity": {"tdx": {}}}), json!({}), None)]
#[case::of_the_instancetype("1.9.0", json!({"cpu": {}, "launchSecurity": {"snp": {}}}),
    json!({"preferredLaunchSecurity": {"tdx": {}}}), json!({}), Some("snp"))]
#[case::its_own("1.9.0", json!({}), json!({"preferredLaunchSecurity": {"tdx": {}}}), json!({"launchSecurity": {"sev": {}}}), Some("sev"))]
fn launch_security_comes_from_the_guest_its_instancetype_or_its_preference(
    #[case] release: &str,
    #[case] of_instancetype: Value,
    #[case] of_preference: Value,
    #[case] domain: Value,
    #[case] expected: Option<&str>,
) {
    let vm = machine(&domain).tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "i"}));
    let guest = of(release, vm, vec![preference(&of_preference), instancetype(&json!({"spec": of_instancetype}))]);
    let found = guest.spec.domain.launch_security.map(|security| match security {
        LaunchSecurity { sev: Some(_), .. } => "sev",
        LaunchSecurity { snp: Some(_), .. } => "snp",
        LaunchSecurity { tdx: Some(_), .. } => "tdx",
        _ => "none",
    });
    assert_eq!(found, expected);
}

/// Each field that both set is named, as KubeVirt does when it refuses the VM.
#[test]
fn a_setting_of_both_template_and_instancetype_is_a_conflict() {
    let spec = json!({"nodeSelector": {"pool": "a"}, "launchSecurity": {"sev": {}}, "cpu": {"model": "EPYC",
        "dedicatedCPUPlacement": false, "realtime": {}, "numa": {"guestMappingPassthrough": {}}}});
    let domain = json!({"cpu": {"model": "Haswell", "dedicatedCpuPlacement": true, "realtime": {},
        "numa": {"guestMappingPassthrough": {}}}, "launchSecurity": {"snp": {}}});
    let vm = vm("db", "").tweak(|vm| {
        vm["spec"]["template"]["spec"] = json!({"domain": domain, "nodeSelector": {"pool": "b"}});
        vm["spec"]["instancetype"] = json!({"name": "i"});
    });
    let guest = of("1.9.0", vm.clone(), vec![instancetype(&json!({"spec": spec}))]);
    let fields: Vec<&str> = guest.notes.iter().map(|note| note.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "nodeSelector",
            "domain.cpu.model",
            "domain.cpu.dedicatedCpuPlacement",
            "domain.cpu.numa",
            "domain.cpu.realtime",
            "domain.launchSecurity"
        ]
        .map(|path| format!("spec.template.spec.{path}"))
    );
    let alone = of("1.9.0", vm, vec![instancetype(&json!({"spec": {"cpu": {"guest": 2}}}))]);
    assert!(alone.notes.is_empty(), "{:#?}", alone.notes);
}

mod data_sources {
    use super::*;

    fn data_source(name: &str, rest: &Value) -> ClusterObject {
        object("cdi.kubevirt.io", "DataSource", name, rest)
    }

    fn labelled(architecture: &str) -> Value {
        json!({"metadata": {"labels": {well_known::BOOTS_ARCHITECTURE.key: architecture}}})
    }

    fn booting_from(refs: Vec<Value>) -> Value {
        let templates: Vec<Value> = refs.into_iter().map(|source| json!({"spec": {"sourceRef": source}})).collect();
        vm("db", "").tweak(|vm| {
            vm["spec"]["template"]["spec"] = json!({"domain": {}});
            vm["spec"]["dataVolumeTemplates"] = json!(templates);
        })
    }

    #[rstest]
    #[case::own_namespace("1.7.0", vec![json!({"kind": "DataSource", "name": "arm"})], "arm64")]
    #[case::any_case("1.7.0", vec![json!({"kind": "datasource", "name": "arm", "namespace": ""})], "arm64")]
    #[case::other_namespace("1.7.0", vec![json!({"kind": "DataSource", "name": "arm", "namespace": "images"})], "")]
    #[case::other_kind("1.7.0", vec![json!({"kind": "PersistentVolumeClaim", "name": "arm"})], "")]
    #[case::one_hop("1.7.0", vec![json!({"kind": "DataSource", "name": "alias"})], "arm64")]
    #[case::not_two_hops("1.7.0", vec![json!({"kind": "DataSource", "name": "alias-of-alias"})], "")]
    #[case::unknown_architecture("1.7.0", vec![json!({"kind": "DataSource", "name": "riscv"})], "")]
    #[case::the_first_that_says_so(
        "1.7.0",
        vec![json!(null), json!({"kind": "DataSource", "name": "gone"}), json!({"kind": "DataSource", "name": "riscv"}),
            json!({"kind": "DataSource", "name": "z"}), json!({"kind": "DataSource", "name": "arm"})],
        "s390x"
    )]
    #[case::at_first("1.6.4", vec![json!({"kind": "DataSource", "name": "arm"})], "arm64")]
    #[case::before("1.6.3", vec![json!({"kind": "DataSource", "name": "arm"})], "")]
    fn the_architecture_is_that_of_the_data_source_the_guest_boots_from(
        #[case] release: &str,
        #[case] refs: Vec<Value>,
        #[case] expected: &str,
    ) {
        let stands_for = |name: &str| json!({"spec": {"source": {"dataSource": {"namespace": "shop", "name": name}}}});
        let objects = vec![
            data_source("arm", &labelled("arm64")),
            data_source("z", &labelled("s390x")),
            data_source("riscv", &labelled("riscv64")),
            data_source("alias", &stands_for("arm")),
            data_source("alias-of-alias", &stands_for("alias")),
        ];
        assert_eq!(of(release, booting_from(refs), objects).spec.architecture, expected);
    }

    /// If nodes differ in architecture, a DataSource that is not known may decide.
    #[rstest]
    #[case::among_two_architectures("1.9.0", mixed(), true)]
    #[case::among_one("1.9.0", intel(), false)]
    #[case::at_first("1.6.4", mixed(), true)]
    #[case::before("1.6.3", mixed(), false)]
    fn a_data_source_that_is_not_known_is_noted(#[case] release: &str, #[case] nodes: Vec<Node>, #[case] said: bool) {
        let vm = booting_from(vec![json!({"kind": "DataSource", "name": "gone"})]);
        let guest = guest_of(&read(vm), &cluster(release, nodes, []));
        let words: Vec<String> = guest.notes.iter().map(message).collect();
        assert_eq!(words.len(), usize::from(said), "{words:#?}");
        assert!(words.iter().all(|words| words.contains("shop/gone") && words.contains("datasources")), "{words:#?}");
    }

    #[test]
    fn a_preferred_architecture_takes_precedence_over_the_data_sources() {
        let vm = booting_from(vec![json!({"kind": "DataSource", "name": "arm"})])
            .tweak(|vm| vm["spec"]["preference"] = json!({"name": "p"}));
        let objects =
            vec![data_source("arm", &labelled("arm64")), preference(&json!({"preferredArchitecture": "s390x"}))];
        assert_eq!(of("1.9.0", vm, objects).spec.architecture, "s390x");
    }
}

mod revisions {
    use super::*;

    const OF: &str = well_known::REVISION_OF.key;
    const UID: &str = "3e86e367-0000-4000-8000-000000000041";

    /// Returns the revision that the VM was pinned to, with model EPYC-Genoa. The object has changed since.
    fn copy(labels: &Value) -> ClusterObject {
        let data = json!({"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
            "metadata": {"name": "i"}, "spec": {"cpu": {"model": "EPYC-Genoa"}}});
        object("apps", "ControllerRevision", "copy", &json!({"metadata": {"labels": labels}, "data": data}))
    }

    fn today(meta: &Value) -> ClusterObject {
        instancetype(&json!({"metadata": meta, "spec": {"cpu": {"model": "EPYC-Milan"}}}))
    }

    fn pinned(spec: &Value, status: &Value) -> Value {
        vm("db", "").tweak(|vm| {
            vm["spec"]["template"]["spec"] = json!({"domain": {}});
            vm["spec"]["instancetype"] = json!({"name": "i"});
            spec.as_object().into_iter().flatten().for_each(|(k, v)| vm["spec"]["instancetype"][k] = v.clone());
            vm["status"] = json!({"instancetypeRef": status});
        })
    }

    fn model(guest: &Guest) -> Result<&str, String> {
        match &guest.missing {
            Some(why) => Err(message(why)),
            None => Ok(guest.spec.domain.cpu.as_ref().map_or("", |cpu| &cpu.model)),
        }
    }

    #[rstest]
    #[case::by_the_spec("1.4.1", json!({"revisionName": "copy"}), json!(null), json!({OF: "other"}), "EPYC-Genoa")]
    #[case::by_the_status("1.5.0", json!({}), json!({"name": "i", "controllerRevisionRef": {"name": "copy"}}), json!({OF: "i"}), "EPYC-Genoa")]
    #[case::without_labels("1.6.2", json!({}), json!({"name": "i", "controllerRevisionRef": {"name": "copy"}}), json!({}), "EPYC-Genoa")]
    #[case::of_another_object("1.5.2", json!({}), json!({"controllerRevisionRef": {"name": "copy"}}), json!({OF: "other"}), "EPYC-Milan")]
    #[case::which_earlier_releases_overlook("1.5.1", json!({}), json!({"controllerRevisionRef": {"name": "copy"}}), json!({OF: "other"}), "EPYC-Genoa")]
    #[case::renamed_since("1.5.3", json!({}), json!({"name": "old", "controllerRevisionRef": {"name": "copy"}}), json!({}), "EPYC-Milan")]
    #[case::of_another_kind_since("1.9.0", json!({"kind": "VirtualMachineClusterInstancetype"}),
        json!({"kind": "VirtualMachineInstancetype", "name": "i", "controllerRevisionRef": {"name": "copy"}}), json!({}), "EPYC-Milan")]
    #[case::not_pinned("1.9.0", json!({}), json!({"name": "i"}), json!({}), "EPYC-Milan")]
    fn a_revision_takes_precedence_over_the_object(
        #[case] release: &str,
        #[case] spec: Value,
        #[case] status: Value,
        #[case] labels: Value,
        #[case] expected: &str,
    ) {
        let guest = of(release, pinned(&spec, &status), vec![copy(&labels), today(&json!({}))]);
        assert_eq!(model(&guest), Ok(expected));
        let notes = guest.notes.iter().filter(|note| message(note).contains("has changed since")).count();
        assert_eq!(
            notes,
            usize::from(expected == "EPYC-Genoa"),
            "users do not see why the correction does not take effect"
        );
    }

    #[test]
    fn a_manifest_without_status_keeps_that_of_the_vm_that_is_there() {
        let status = json!({"name": "i", "controllerRevisionRef": {"name": "copy"}});
        let stored = ClusterObject::VirtualMachine(Box::new(read(pinned(&json!({}), &status))));
        let guest = of("1.9.0", pinned(&json!({}), &json!(null)), vec![stored, copy(&json!({})), today(&json!({}))]);
        assert_eq!(model(&guest), Ok("EPYC-Genoa"));
    }

    /// The name of a revision shows whether it is a copy of the object's current version.
    #[rstest]
    #[case::the_same(json!({"uid": UID, "generation": 1}), Some(true))]
    #[case::edited_since(json!({"uid": UID, "generation": 2}), None)]
    #[case::made_again(json!({"uid": "another", "generation": 1}), None)]
    #[case::cleaned(json!({}), Some(false))]
    fn an_unknown_revision_stands_for_todays_instancetype_only_if_that_is_unchanged(
        #[case] meta: Value,
        #[case] known: Option<bool>,
    ) {
        let name = format!("db-i-v1beta1-{UID}-1");
        let vm = pinned(&json!({}), &json!({"name": "i", "controllerRevisionRef": {"name": name}}));
        let guest = of("1.9.0", vm, vec![today(&meta)]);
        match known {
            Some(surely) => {
                assert_eq!(model(&guest), Ok("EPYC-Milan"));
                assert_eq!(guest.notes.is_empty(), surely, "{:#?}", guest.notes);
            }
            None => assert!(model(&guest).is_err_and(|why| why.contains("controllerrevisions") && why.contains(&name))),
        }
        let notes = guest.notes.iter().all(|note| message(note).contains("controllerrevisions"));
        assert!(notes, "the resource to add is not named: {:#?}", guest.notes);
    }

    #[rstest]
    #[case::of_a_preference(json!({"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachinePreference"}), "no copy")]
    #[case::encoded(json!({"apiVersion": "instancetype.kubevirt.io/v1alpha1", "kind": "VirtualMachineInstancetypeSpecRevision", "spec": "eyJ9"}), "SpecRevision")]
    #[case::malformed(json!({"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineInstancetype", "spec": {"cpu": 7}}), "malformed")]
    fn a_revision_of_another_kind_makes_the_verdict_unknown(#[case] data: Value, #[case] words: &str) {
        let copy = object("apps", "ControllerRevision", "copy", &json!({"data": data}));
        let guest = of("1.9.0", pinned(&json!({"revisionName": "copy"}), &json!(null)), vec![copy, today(&json!({}))]);
        assert!(model(&guest).is_err_and(|why| why.contains(words)), "{:?}", model(&guest));
    }

    #[test]
    fn a_matcher_of_an_unknown_kind_makes_the_verdict_unknown() {
        let guest = of("1.9.0", pinned(&json!({"kind": "Flavor"}), &json!(null)), vec![today(&json!({}))]);
        assert!(model(&guest).is_err_and(|why| why.contains("Flavor")));
    }
}

/// Returns a volume, the objects that lead from it to labels that name instancetype or preference `i`, and
/// `dataVolumeTemplates`: all combinations that `fromVolumes` handles, and some that it does not.
fn led(how: &str) -> (Value, Vec<ClusterObject>, Value) {
    let labelled = |name: &str| {
        json!({"metadata": {"labels": {
            "instancetype.kubevirt.io/default-instancetype": name,
            "instancetype.kubevirt.io/default-instancetype-kind": "VirtualMachineClusterInstancetype",
            "instancetype.kubevirt.io/default-preference": name,
        }}})
    };
    let named = labelled("i");
    let claim = |name: &str, rest: &Value| object("", "PersistentVolumeClaim", name, rest);
    let snapshot = |rest: &Value| object("snapshot.storage.k8s.io", "VolumeSnapshot", "daily", rest);
    let data_source = |rest: &Value| object("cdi.kubevirt.io", "DataSource", "golden", rest);
    let data_volume = |rest: &Value| object("cdi.kubevirt.io", "DataVolume", "root", rest);
    let of_claim = json!({"source": {"pvc": {"namespace": "shop", "name": "image"}}});
    let of_snapshot = json!({"source": {"snapshot": {"namespace": "shop", "name": "daily"}}});
    let of_source = json!({"sourceRef": {"kind": "DataSource", "namespace": "shop", "name": "golden"}});
    let spec = |spec: &Value| json!({"spec": spec});
    let root = json!({"name": "disk", "dataVolume": {"name": "root"}});
    let bare = json!({});
    let template = |spec: &Value| json!([{"metadata": {"name": "root"}, "spec": spec}]);
    match how {
        "claim" => {
            let volume = json!({"name": "disk", "persistentVolumeClaim": {"claimName": "image"}});
            (volume, vec![claim("image", &named)], bare)
        }
        "data volume" => (root, vec![data_volume(&named)], bare),
        "its claim" => (root, vec![data_volume(&spec(&of_claim)), claim("image", &named)], bare),
        "its snapshot" => (root, vec![data_volume(&spec(&of_snapshot)), snapshot(&named)], bare),
        "its source" => (root, vec![data_volume(&spec(&of_source)), data_source(&named)], bare),
        "its source, claim" => {
            (root, vec![data_volume(&spec(&of_source)), data_source(&spec(&of_claim)), claim("image", &named)], bare)
        }
        "its source, snapshot" => {
            (root, vec![data_volume(&spec(&of_source)), data_source(&spec(&of_snapshot)), snapshot(&named)], bare)
        }
        "collected" => (root, vec![claim("root", &named)], bare),
        "template, claim" => (root, vec![claim("image", &named)], template(&of_claim)),
        "template, snapshot" => (root, vec![snapshot(&named)], template(&of_snapshot)),
        "template, source" => (root, vec![data_source(&named)], template(&of_source)),
        "source in the same namespace" => {
            let of_source = json!({"sourceRef": {"kind": "DataSource", "name": "golden"}});
            (root, vec![data_source(&named)], template(&of_source))
        }
        "source, claim" => (root, vec![data_source(&spec(&of_claim)), claim("image", &named)], template(&of_source)),
        "source, snapshot" => (root, vec![data_source(&spec(&of_snapshot)), snapshot(&named)], template(&of_source)),
        "no volume" => (json!({"name": "other", "dataVolume": {"name": "root"}}), vec![], bare),
        "container disk" => (json!({"name": "disk", "containerDisk": {"image": "x"}}), vec![], bare),
        "no label" => (root, vec![data_source(&json!({}))], template(&of_source)),
        "no label, claim" => (root, vec![claim("image", &json!({}))], template(&of_claim)),
        "registry" => (root, vec![], template(&json!({"source": {"registry": {"url": "docker://x"}}}))),
        "another kind" => (root, vec![], template(&json!({"sourceRef": {"kind": "Image", "name": "golden"}}))),
        "empty label" => (root, vec![data_source(&labelled("")), claim("image", &named)], template(&of_source)),
        "unknown claim" => (root, vec![], template(&of_claim)),
        "unknown source" => (root, vec![], template(&of_source)),
        "unknown snapshot" => (root, vec![], template(&of_snapshot)),
        "unknown" => (root, vec![], bare),
        "unlabelled claim, no data volume" => (root, vec![claim("root", &json!({}))], bare),
        other => panic!("{other}"),
    }
}

fn inferring(how: &str, policy: &Value, is_live: bool) -> Guest {
    let (volume, mut objects, templates) = led(how);
    objects.push(instancetype(&json!({"spec": {"cpu": {"model": "EPYC-Rome"}}})));
    let features = json!({"spec": {"cpu": {"preferredCPUFeatures": [{"name": "svm", "policy": "require"}]}}});
    objects.push(object("instancetype.kubevirt.io", "VirtualMachineClusterPreference", "i", &features));
    let vm = vm("db", "").tweak(|vm| {
        vm["spec"]["template"]["spec"] = json!({"domain": {}, "volumes": [volume]});
        let matcher = json!({"inferFromVolume": "disk", "inferFromVolumeFailurePolicy": policy});
        vm["spec"]["instancetype"] = matcher.clone();
        vm["spec"]["preference"] = matcher;
        if templates.is_array() {
            vm["spec"]["dataVolumeTemplates"] = templates;
        }
    });
    let mut cluster = Cluster::new(objects, Release::parse("1.9.0"));
    cluster.is_live = is_live;
    guest_of(&read(vm), &cluster)
}

#[rstest]
fn an_instancetype_and_a_preference_are_inferred_from_a_volume(
    #[values(
        "claim",
        "data volume",
        "its claim",
        "its snapshot",
        "its source",
        "its source, claim",
        "its source, snapshot",
        "collected",
        "template, claim",
        "template, snapshot",
        "template, source",
        "source in the same namespace",
        "source, claim",
        "source, snapshot"
    )]
    how: &str,
) {
    for policy in [json!(null), json!("Ignore")] {
        let guest = inferring(how, &policy, false);
        assert_eq!(guest.missing, None);
        let cpu = guest.spec.domain.cpu.unwrap_or_default();
        assert_eq!(cpu.model, "EPYC-Rome", "the guest is judged by another model");
        let features: Vec<&str> = cpu.features.iter().map(|feature| feature.name.as_str()).collect();
        assert_eq!(features, ["svm"], "what the preference asks for is forgotten");
        let names = [guest.instancetype, guest.preference].map(|matcher| matcher.map(|matcher| matcher.name));
        assert_eq!(names, [Some("i".to_owned()), Some("i".to_owned())], "who asks for it has no name");
    }
}

/// Volumes for which KubeVirt finds no name: with the failure policy `Ignore`, it creates the VM without one.
const NO_NAME: [&str; 5] = ["container disk", "no label", "no label, claim", "registry", "another kind"];

#[rstest]
#[case("no volume", ", and the VM has no volume of that name: KubeVirt refuses the VM")]
#[case(
    "container disk",
    ", and the volume is neither a PersistentVolumeClaim nor a DataVolume: KubeVirt refuses the VM"
)]
#[case(
    "no label",
    ", and DataSource shop/golden names neither a PersistentVolumeClaim nor a VolumeSnapshot: KubeVirt refuses the VM"
)]
#[case(
    "no label, claim",
    ", and PersistentVolumeClaim shop/image has no label instancetype.kubevirt.io/default-instancetype: KubeVirt refuses the VM"
)]
#[case(
    "registry",
    ", and its DataVolume is filled from neither a PersistentVolumeClaim, nor a VolumeSnapshot, nor a DataSource: KubeVirt refuses the VM"
)]
#[case("another kind", ", and kind Image of its sourceRef is not DataSource: KubeVirt refuses the VM")]
#[case(
    "empty label",
    ", and label instancetype.kubevirt.io/default-instancetype of DataSource shop/golden is empty: KubeVirt refuses the VM"
)]
#[case(
    "unknown claim",
    ", by the labels of PersistentVolumeClaim shop/image, which is not known; a dump must hold persistentvolumeclaims"
)]
#[case("unknown source", ", by the labels of DataSource shop/golden, which is not known; a dump must hold datasources")]
#[case(
    "unknown snapshot",
    ", by the labels of VolumeSnapshot shop/daily, which is not known; a dump must hold volumesnapshots"
)]
#[case(
    "unknown",
    ", by the labels of DataVolume shop/root, which is not known; a dump must hold datavolumes and persistentvolumeclaims"
)]
#[case(
    "unlabelled claim, no data volume",
    ", by the labels of DataVolume shop/root, which is not known; a dump must hold datavolumes and persistentvolumeclaims"
)]
fn a_type_that_cannot_be_inferred_makes_the_verdict_unknown(#[case] how: &str, #[case] words: &str) {
    let why = inferring(how, &json!("Reject"), false).missing.expect("what the guest asks for is not known");
    assert_eq!(message(&why), format!("the instancetype is inferred from volume disk{words}"));
    let ignored = inferring(how, &json!("Ignore"), false);
    assert_eq!(ignored.missing.is_none(), NO_NAME.contains(&how), "{:?}", ignored.missing);
}

/// Where the list was read, the object does not exist; otherwise it may.
#[rstest]
#[case::all_was_read(&[], "it does not exist")]
#[case::another_may_not_be_read(&[(Resource::Claims, WhyUnread::Forbidden)], "it does not exist")]
#[case::not_installed(&[(Resource::DataSources, WhyUnread::NotInstalled)], "it does not exist")]
#[case::may_not_be_read(
    &[(Resource::DataSources, WhyUnread::Forbidden)],
    "it does not exist, or datasources may not be read"
)]
fn errors_of_a_live_cluster_mention_no_dump(#[case] unread: &[(Resource, WhyUnread)], #[case] words: &str) {
    let mut cluster = Cluster::default();
    (cluster.is_live, cluster.unread) = (true, unread.to_vec());
    assert_eq!(super::not_known(&cluster, &[Resource::DataSources]), words);
    let why = inferring("unknown source", &json!(null), true).missing.expect("what the guest asks for is not known");
    assert_eq!(
        message(&why),
        "the instancetype is inferred from volume disk, by the labels of DataSource shop/golden, which is not known; it does not \
         exist"
    );
}
