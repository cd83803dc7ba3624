//! Conversion of objects to subjects: the right stage, the right requirements, the right release's rules.

mod changed_vm;
mod claims;
mod doubts;
mod machines;
mod not_started;
mod pending;
mod promises;
mod settings;
mod waiting;

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::fleet::Fleet;
use crate::fit::node::Node;
use crate::fit::remedy::{Action, ChangeSelector, Remedy, RemoveLabels};
use crate::fit::verdict::Outcome;
use crate::kubevirt::cluster::ClusterObject;
use crate::say::finding::message;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, launcher, migration as request, read, running, vm, vmi};
use crate::testing::fleet::{
    cascade_lake, cordon, feature, give, intel, known, machine, mixed, model, of, required, set, take, vendor,
};

const ZONE: &str = "topology.kubernetes.io/zone";
const UID: &str = "uid-db";

fn pod(labels: &Value, spec: &Value) -> Pod<'static> {
    let owner = json!([{"kind": "VirtualMachineInstance", "name": "db", "uid": UID, "controller": true}]);
    let metadata =
        json!({"generateName": "virt-launcher-db-", "namespace": "shop", "labels": labels, "ownerReferences": owner});
    let text = json!({"metadata": metadata, "spec": spec}).to_string();
    serde_json::from_str(text.leak()).expect("a pod")
}

fn selector(keys: &[String]) -> Value {
    json!({"nodeSelector": keys.iter().map(|key| (key.clone(), json!("true"))).collect::<serde_json::Map<_, _>>()})
}

fn source(prepared: &Prepared<'_>) -> Option<String> {
    match &prepared.subject.stage {
        Stage::Migration(migration) => migration.source.clone(),
        Stage::Start(_) => None,
    }
}

fn keys(prepared: &Prepared<'_>) -> BTreeMap<String, String> {
    prepared.predicted.as_ref().expect("a predicted pod").node_selector.clone()
}

fn remedies(prepared: &Prepared<'_>, cluster: &Cluster) -> Vec<Remedy> {
    prepared.judge(cluster, Depth::Full).findings.into_iter().flat_map(|finding| finding.remedies).collect()
}

mod pods {
    use super::*;

    #[rstest]
    #[case::plain(json!({"app": "db"}))]
    #[case::hotplug(json!({"kubevirt.io": "hotplug-disk"}))]
    #[case::none(json!(null))]
    fn pods_other_than_launchers_are_not_judged(#[case] labels: Value) {
        assert!(
            of_pod(&pod(&labels, &json!({})), &Cluster::default()).is_none(),
            "every pod of the cluster is delayed"
        );
    }

    #[test]
    fn without_a_migration_label_it_is_a_start() {
        let prepared = of_pod(
            &pod(&json!({"kubevirt.io": "virt-launcher"}), &selector(&[model("EPYC-Rome")])),
            &Cluster::default(),
        )
        .expect("a launcher");
        assert!(matches!(prepared.subject.stage, Stage::Start(_)), "a start is judged as if it had to leave a node");
        assert_eq!(prepared.subject.title(), "shop/db", "the owner is the guest, not the pod's generated name");
        assert_eq!(prepared.subject.mode, CpuMode::Named("EPYC-Rome".to_owned()));
    }

    #[rstest]
    #[case::by_the_vmi(json!({}), Some("node-a"), Some("node-a"))]
    #[case::the_vmi_wins(json!({"kubevirt.io/nodeName": "node-b"}), Some("node-a"), Some("node-a"))]
    #[case::by_the_label(json!({"kubevirt.io/nodeName": "node-b"}), None, Some("node-b"))]
    #[case::renamed_domain(json!({"kubevirt.internal.virtualization.example.io/nodeName": "node-b"}), None, Some("node-b"))]
    #[case::unknown(json!({}), None, None)]
    fn the_source_of_a_target_pod_is_found(
        #[case] more: Value,
        #[case] runs_on: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let mut labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"});
        let more = more.as_object().cloned().unwrap_or_default();
        labels.as_object_mut().into_iter().for_each(|labels| labels.extend(more.clone()));
        let objects = runs_on.map(|node| vmi(running("db", node, "host-model")));
        let cluster = cluster("1.9.0", mixed(), objects);
        let prepared = of_pod(&pod(&labels, &selector(&[feature("fpu")])), &cluster).expect("a launcher");
        assert_eq!(
            source(&prepared).as_deref(),
            expected,
            "the source would be counted as a target, or a target left out"
        );
        assert!(matches!(prepared.subject.stage, Stage::Migration(_)));
    }

    /// A launcher is a migration target if its label holds a migration's UID; no migration has an empty one.
    #[rstest]
    #[case::absent(None, false)]
    #[case::empty(Some(""), false)]
    #[case::a_uid(Some("0f6a"), true)]
    #[case::a_word(Some("false"), true)]
    fn a_target_names_its_migration(#[case] uid: Option<&str>, #[case] is_target: bool) {
        let mut labels = json!({"kubevirt.io": "virt-launcher"});
        if let Some(uid) = uid {
            labels["kubevirt.io/migrationJobUID"] = json!(uid);
        }
        let prepared = of_pod(&pod(&labels, &json!({})), &cluster("1.9.0", mixed(), [])).expect("a launcher");
        assert_eq!(matches!(prepared.subject.stage, Stage::Migration(_)), is_target);
    }

    #[test]
    fn an_empty_node_name_is_read_as_unset() {
        let labels = json!({
            "kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job", "kubevirt.io/nodeName": "",
        });
        let prepared = of_pod(&pod(&labels, &json!({})), &cluster("1.9.0", mixed(), [])).expect("a launcher");
        assert_eq!(source(&prepared), None, "a node without a name is left out of the targets");
    }

    /// virt-controller writes the label without a value, and KubeVirt checks only whether it exists.
    #[rstest]
    #[case::absent(json!({}), false)]
    #[case::empty(json!({"kubevirt.io/outdatedLauncherImage": ""}), true)]
    #[case::no(json!({"kubevirt.io/outdatedLauncherImage": "false"}), true)]
    #[case::of_another_domain(json!({"example.io/outdatedLauncherImage": ""}), false)]
    fn an_outdated_launcher_bears_the_label(#[case] labels: Value, #[case] expected: bool) {
        let guest = running("db", "node-a", "host-model").tweak(|db| db["metadata"]["labels"] = labels);
        let cluster = cluster("1.9.0", mixed(), [vmi(guest.clone())]);
        let prepared = of_running(&read(guest), &cluster).expect("it runs");
        assert_eq!(prepared.subject.outdated_launcher, expected);
    }

    #[test]
    fn a_distribution_may_rename_kubevirt() {
        let domain = "kubevirt.internal.virtualization.example.io";
        let labels = json!({
            domain: "virt-launcher",
            format!("{domain}/migrationJobUID"): "job",
            format!("{domain}/nodeName"): "node-a",
        });
        let prepared =
            of_pod(&pod(&labels, &json!({})), &cluster("1.9.0", mixed(), [])).expect("a launcher all the same");
        assert_eq!(source(&prepared).as_deref(), Some("node-a"));
    }

    #[test]
    fn a_pod_whose_owner_has_another_uid_belongs_to_another_guest() {
        let other = running("db", "node-a", "host-model").tweak(|db| db["metadata"]["uid"] = json!("another"));
        let labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"});
        let prepared = of_pod(&pod(&labels, &json!({})), &cluster("1.9.0", mixed(), [vmi(other)])).expect("a launcher");
        assert_eq!(source(&prepared), None, "judged by the node of a guest that was deleted meanwhile");
    }

    #[rstest]
    #[case::its_launcher_has_features(Some(vec![feature("fpu")]), true)]
    #[case::its_launcher_has_none(Some(vec![machine("q35")]), false)]
    #[case::nothing_known(None, true)]
    fn entries_of_a_target_are_inherited_if_its_source_has_features(
        #[case] launcher_has: Option<Vec<String>>,
        #[case] expected: bool,
    ) {
        let guest = running("db", "node-a", "host-model");
        let mut objects = vec![vmi(guest.clone())];
        objects.extend(launcher_has.map(|keys| launcher(&guest, keys)));
        let labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"});
        let prepared = of_pod(&pod(&labels, &selector(&[feature("fpu")])), &cluster("1.9.0", mixed(), objects))
            .expect("a launcher");
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        assert_eq!(migration.inherited, expected, "labels would be removed where that does not help");
    }

    #[test]
    fn extra_requirements_of_a_target_are_attributed_to_the_migration() {
        use crate::fit::author::Author;
        let guest = running("db", "node-a", "host-model")
            .tweak(|db| db["spec"]["domain"]["cpu"]["features"] = json!([{"name": "aes", "policy": "require"}]));
        let cluster = cluster("1.9.0", mixed(), [vmi(guest.clone()), launcher(&guest, [feature("fpu")])]);
        let labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"});
        let asks = [feature("aes"), feature("fpu"), feature("hle"), vendor("Intel"), "rack".to_owned()];
        let authors = authors_of_pod(&pod(&labels, &selector(&asks)), &cluster);
        let of = |key: &str| authors.of_entry(key).map(|asked| asked.author.clone());
        assert!(matches!(of(&feature("aes")), Some(Author::Field { path, .. }) if path.ends_with("features[0].name")));
        assert_eq!(of(&feature("fpu")), Some(Author::Inherited));
        assert_eq!(of(&feature("hle")), Some(Author::AddedNodeSelector), "only its launcher's entries are copied");
        assert_eq!(of(&vendor("Intel")), Some(Author::SourceNode("node-a".to_owned())));
        assert_eq!(of("rack"), Some(Author::AddedNodeSelector));
        assert!(authors.entries.values().all(|asked| asked.field == "spec.nodeSelector"));
    }

    /// A dump or a description of the pod is answered as the pod's name is: the guest can only migrate from here.
    #[rstest]
    #[case::its_launcher("node-a", true)]
    #[case::another_node("node-c", false)]
    fn the_launcher_that_a_guest_runs_in_is_judged_as_its_migration(#[case] node: &str, #[case] migrates: bool) {
        let guest = running("db", "node-a", "host-model");
        let objects = vec![vmi(guest.clone()), launcher(&guest, [feature("fpu")])];
        let cluster = cluster("1.9.0", mixed(), objects);
        let spec = json!({"nodeName": node, "nodeSelector": {feature("fpu"): "true"}});
        let prepared = of_pod(&pod(&json!({"kubevirt.io": "virt-launcher"}), &spec), &cluster).expect("a launcher");
        assert_eq!(source(&prepared).is_some(), migrates, "a guest that runs is shown how it could have started");
        if migrates {
            let asked = of_running(cluster.vmi("shop", "db").expect("it"), &cluster).expect("it runs");
            assert_eq!(prepared.subject, asked.subject, "the same pod gets two answers");
        }
    }

    /// KubeVirt copies from the launcher of a guest that has migrated, else from the labels of its node.
    #[rstest]
    #[case::of_its_launcher(&["fpu"], &[], &[], feature("fpu"), false)]
    #[case::beside_its_launcher(&["fpu"], &["gfni"], &[], feature("gfni"), true)]
    #[case::added_and_of_its_launcher(&["fpu"], &[], &[feature("fpu")], feature("fpu"), false)]
    #[case::of_its_node(&[], &["gfni"], &[], feature("gfni"), false)]
    #[case::added_and_of_its_node(&[], &["gfni"], &[feature("gfni")], feature("gfni"), false)]
    #[case::added(&[], &[], &[feature("gfni")], feature("gfni"), true)]
    #[case::a_label_that_is_gone(&[], &[], &[], feature("gfni"), false)]
    #[case::vendor_of_its_node(&[], &[], &[], vendor("Intel"), false)]
    #[case::an_added_vendor(&[], &[], &[vendor("AMD")], vendor("AMD"), true)]
    #[case::a_model(&[], &[], &[], model("EPYC-Rome"), true)]
    fn an_entry_that_only_the_migration_can_add_is_its_own(
        #[case] launcher_has: &[&str],
        #[case] node_requires: &[&str],
        #[case] added: &[String],
        #[case] key: String,
        #[case] expected: bool,
    ) {
        let guest = running("db", "node-a", "host-model");
        let mut nodes = mixed();
        nodes[0].labels.retain(|label, _| Family::of(label) != Family::HostModelRequired);
        give(&mut nodes[0], node_requires.iter().map(|name| required(name)));
        let vmim = request("db").tweak(|vmim| {
            vmim["metadata"]["uid"] = json!("job");
            vmim["spec"]["addedNodeSelector"] = added.iter().map(|key| (key.clone(), json!("true"))).collect();
        });
        let keys = launcher_has.iter().map(|name| feature(name)).chain([machine("q35")]);
        let objects = [vmi(guest.clone()), launcher(&guest, keys), ClusterObject::Migration(Box::new(read(vmim)))];
        let cluster = cluster("1.9.0", nodes, objects);
        let labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"});
        let pod = pod(&labels, &selector(std::slice::from_ref(&key)));
        let mut prepared = of_pod(&pod, &cluster).expect("a launcher");
        prepared.subject.authors = authors_of_pod(&pod, &cluster);
        set_added(&mut prepared.subject);
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        assert_eq!(
            migration.adds(&key),
            expected,
            "{key}: labels would be added for what one migration asks for, or a migration blamed for its guest"
        );
    }

    #[test]
    fn a_pod_that_runs_is_judged_where_it_is() {
        let labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"});
        let spec = json!({"nodeName": "node-c", "nodeSelector": {feature("fpu"): "true"}});
        let prepared = of_pod(&pod(&labels, &spec), &cluster("1.9.0", mixed(), [])).expect("a launcher");
        let running = prepared.subject.running.as_ref().expect("it runs");
        assert_eq!(running.node, "node-c");
        assert!(matches!(prepared.subject.stage, Stage::Start(_)), "a migration that is over is judged again");
    }
}

mod migrations {
    use super::*;

    fn prepared(objects: Vec<ClusterObject>, nodes: Vec<Node>) -> (Prepared<'static>, Cluster) {
        let cluster = cluster("1.9.0", nodes, objects);
        let prepared = of_migration(&read(request("db")), &cluster);
        (prepared, cluster)
    }

    /// The first migration requires the model and features of the node it runs on.
    #[test]
    fn the_first_migration_asks_for_the_hosts_model() {
        let guest = running("db", "node-a", "host-model");
        let (prepared, cluster) = prepared(vec![vmi(guest.clone()), launcher(&guest, [machine("q35")])], mixed());
        let keys = keys(&prepared);
        assert_eq!(keys.len(), 27, "{keys:#?}");
        for key in [known("Cascadelake-Server"), feature("hle"), vendor("Intel"), machine("q35")] {
            assert_eq!(
                keys.get(&key).map(String::as_str),
                Some("true"),
                "{key}: KubeVirt asks for it, and it is overlooked"
            );
        }
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        assert!(!migration.inherited);
        let verdict = prepared.assess(&cluster);
        assert_eq!(cluster.fleet.names(&verdict.fitting), ["node-c", "node-d"]);
    }

    /// Later migrations require the launcher's entries, regardless of the node's current labels.
    #[test]
    fn a_later_migration_inherits_the_selector_of_the_launcher() {
        let guest = running("db", "node-a", "host-model");
        let has = [feature("amd-stibp"), feature("fpu"), known("Skylake-Server-IBRS")];
        let (prepared, _) = prepared(vec![vmi(guest.clone()), launcher(&guest, has)], mixed());
        let keys = keys(&prepared);
        assert!(keys.contains_key(&feature("amd-stibp")) && !keys.contains_key(&feature("hle")), "{keys:#?}");
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        assert!(migration.inherited, "labels would be taken off a node for a guest that has them in its selector");
    }

    #[rstest]
    #[case::named("EPYC-Rome", vec![model("EPYC-Rome"), vendor("Intel")])]
    #[case::passthrough("host-passthrough", vec![vendor("Intel")])]
    fn other_modes_ask_for_nothing_of_the_host(#[case] cpu: &str, #[case] expected: Vec<String>) {
        let guest = running("db", "node-a", cpu);
        let (prepared, _) = prepared(vec![vmi(guest.clone()), launcher(&guest, [feature("fpu")])], mixed());
        let of_cpu: Vec<String> = keys(&prepared).into_keys().filter(|key| Family::of(key).is_cpu()).collect();
        assert_eq!(of_cpu, expected);
    }

    #[test]
    fn a_migration_of_an_unknown_guest_has_an_unknown_verdict() {
        let (prepared, cluster) = prepared(Vec::new(), mixed());
        let verdict = prepared.judge(&cluster, Depth::Full);
        assert!(matches!(verdict.assessment.outcome, Outcome::Unknown(_)), "a guess would deny");
        let finding = verdict.findings.first().expect("the reason");
        assert_eq!((finding.check, finding.field.as_str()), (Check::Unknown, "spec.vmiName"));
        assert!(message(finding).contains("shop/db"), "{}", message(finding));
    }

    #[rstest]
    #[case::source_gone(running("db", "gone", "host-model"), "1.9.0", "node gone")]
    #[case::no_selinux_context(
        running("db", "node-a", "host-model").tweak(|db| db["status"]["selinuxContext"] = json!("")),
        "1.9.0",
        "selinuxContext"
    )]
    #[case::no_host_model_before_1_6(running("db", "arm-1", "host-model"), "1.5.2", "host-model-cpu")]
    fn cases_in_which_kubevirt_creates_no_pod_are_not_judged(
        #[case] guest: Value,
        #[case] release: &str,
        #[case] words: &str,
    ) {
        let cluster = cluster(release, mixed(), [vmi(guest)]);
        let prepared = of_migration(&read(request("db")), &cluster);
        assert!(prepared.predicted.is_none(), "a pod that never comes is judged: {:#?}", prepared.predicted);
        let not_judged = prepared.not_judged.as_ref().expect("the reason");
        assert_eq!(not_judged.check, Check::NoPod);
        assert!(message(not_judged).contains(words), "{}", message(not_judged));
        let verdict = prepared.assess(&cluster);
        assert!(verdict.fitting.is_empty() && matches!(verdict.outcome, Outcome::Unknown(_)));
    }

    #[test]
    fn a_missing_host_model_is_overlooked_since_1_6() {
        let cluster = cluster("1.6.0", mixed(), [vmi(running("db", "arm-1", "host-model"))]);
        let prepared = of_migration(&read(request("db")), &cluster);
        assert!(prepared.not_judged.is_none() && !keys(&prepared).keys().any(|key| Family::of(key).is_cpu()));
    }

    /// Only entries that would disappear with the added selector count as added.
    #[rstest]
    #[case::a_zone(json!({ZONE: "z1"}), &[ZONE])]
    #[case::rendered_anyhow(json!({"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "node-c"}), &["kubernetes.io/hostname"])]
    #[case::overruled(json!({"kubernetes.io/arch": "arm64"}), &[])]
    #[case::its_own_vendor(json!({"cpu-vendor.node.kubevirt.io/Intel": "true"}), &[])]
    #[case::a_host_models_feature(json!({"cpu-feature.node.kubevirt.io/fpu": "true"}), &[])]
    fn only_selector_entries_that_the_target_would_not_have_anyway_are_added(
        #[case] added: Value,
        #[case] expected: &[&str],
    ) {
        let guest = running("db", "node-a", "host-model");
        let cluster = cluster("1.9.0", mixed(), [vmi(guest)]);
        let prepared = of_migration(&read(request("db").tweak(|r| r["spec"]["addedNodeSelector"] = added)), &cluster);
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        let keys: Vec<&str> = migration.added.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys, expected,
            "dropping the added selector would be said to free nodes that KubeVirt still refuses"
        );
    }

    #[test]
    fn before_1_6_no_selector_could_be_added() {
        let cluster = cluster("1.5.2", mixed(), [vmi(running("db", "node-a", "host-model"))]);
        let asked = request("db").tweak(|r| r["spec"]["addedNodeSelector"] = json!({ZONE: "z1"}));
        let prepared = of_migration(&read(asked), &cluster);
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        assert!(migration.added.is_empty() && !keys(&prepared).contains_key(ZONE));
    }

    #[test]
    fn another_clusters_guest_has_no_source_here() {
        let guest = running("db", "", "EPYC-Rome").tweak(|db| {
            db["status"]["migrationState"] =
                json!({"sourceState": {"node": "far-1", "nodeSelectors": {vendor("AMD"): "true"}, "selinuxContext": "none"}});
        });
        let cluster = cluster("1.9.0", mixed(), [vmi(guest)]);
        let asked = request("db").tweak(|r| r["spec"]["receive"] = json!({"migrationID": "x"}));
        let prepared = of_migration(&read(asked.tweak(|r| r["status"] = json!({"phase": "Pending"}))), &cluster);
        assert_eq!(source(&prepared), None);
        assert!(keys(&prepared).contains_key(&vendor("AMD")), "its CPU is of another vendor than it may land on");
        let verdict = prepared.assess(&cluster);
        assert_eq!((verdict.nodes_judged, verdict.fitting.count()), (8, 3));
    }

    /// In the first moments of every decentralized migration nothing is known, and that is no error.
    #[test]
    fn before_the_source_reports_the_verdict_is_unknown() {
        let guest = running("db", "", "host-model").tweak(|db| db["status"]["phase"] = json!("WaitingForSync"));
        let cluster = cluster("1.9.0", mixed(), [vmi(guest)]);
        let prepared =
            of_migration(&read(request("db").tweak(|r| r["spec"]["receive"] = json!({"migrationID": "x"}))), &cluster);
        let why = prepared.not_judged.as_ref().expect("a guess");
        assert!(message(why).contains("has not reported yet"), "{}", message(why));
        assert!(prepared.subject.restart.is_none(), "what has not started here is restarted");
        let verdict = prepared.judge(&cluster, Depth::Full);
        assert!(matches!(verdict.assessment.outcome, Outcome::Unknown(_)) && verdict.not_helping.is_empty());
    }

    /// A feature that the guest itself requires is no trace of a migration, although KubeVirt treats it as one.
    #[rstest]
    #[case::own_feature(vec!["svm"], vec!["svm"], false, false, Some(true))]
    #[case::inherited_besides(vec!["svm"], vec!["svm", "fpu"], true, true, None)]
    #[case::inherited(vec![], vec!["fpu"], true, true, None)]
    #[case::inherited_without_the_model(vec![], vec!["fpu"], false, true, Some(true))]
    #[case::first(vec![], vec![], false, false, None)]
    fn own_features_are_not_inherited(
        #[case] asks: Vec<&str>,
        #[case] launcher_has: Vec<&str>,
        #[case] has_model: bool,
        #[case] inherited: bool,
        #[case] hides: Option<bool>,
    ) {
        let features: Vec<Value> = asks.iter().map(|name| json!({"name": name, "policy": "require"})).collect();
        let guest =
            running("db", "node-a", "host-model").tweak(|db| db["spec"]["domain"]["cpu"]["features"] = json!(features));
        let keys = launcher_has.into_iter().map(feature).chain(has_model.then(|| known("Cascadelake-Server")));
        let (prepared, _) = prepared(vec![vmi(guest.clone()), launcher(&guest, keys)], mixed());
        let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a migration") };
        assert_eq!(migration.inherited, inherited, "a guest that never migrated is called one that did");
        let hidden = migration.unasked.as_ref();
        assert_eq!(hidden.map(|keys| keys.iter().any(|(key, _)| *key == known("Cascadelake-Server"))), hides);
    }

    #[rstest]
    #[case::here("DisksNotLiveMigratable", json!({}), true)]
    #[case::sent_elsewhere("DisksNotLiveMigratable", json!({"sendTo": {"migrationID": "x"}}), false)]
    #[case::for_another_reason("HostDeviceNotLiveMigratable", json!({"sendTo": {"migrationID": "x"}}), true)]
    fn refusals_of_kubevirt_are_reported_first(#[case] reason: &str, #[case] spec: Value, #[case] refused: bool) {
        let guest = running("db", "node-a", "host-model").tweak(|db| {
            let condition = json!({"type": "LiveMigratable", "status": "False", "reason": reason, "message": "the disk is not shared"});
            db["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}, condition]);
        });
        let cluster = cluster("1.9.0", mixed(), [vmi(guest)]);
        let asked =
            request("db").tweak(|r| spec.as_object().into_iter().flatten().for_each(|(k, v)| r["spec"][k] = v.clone()));
        let verdict = of_migration(&read(asked), &cluster).judge(&cluster, Depth::Full);
        let found = verdict.found(Check::NotMigratable).map(message);
        assert_eq!(found.is_some(), refused, "a migration that KubeVirt refuses is promised, or the other way round");
        if let Some(words) = found.filter(|_| spec == json!({})) {
            assert!(words.contains(reason) && words.contains("the disk is not shared"), "{words}");
            assert_eq!(verdict.findings.first().map(|finding| finding.check), Some(Check::NotMigratable));
            assert_eq!(verdict.not_helping.len(), 6, "remedies for another cause are offered");
        }
    }

    #[test]
    fn libvirts_last_refusal_and_an_old_launcher_are_read() {
        let guest = running("db", "node-a", "host-model").tweak(|db| {
            db["metadata"]["labels"] = json!({"kubevirt.io/outdatedLauncherImage": ""});
            db["status"]["migrationState"] = json!({"targetNode": "node-c", "failureReason":
                "operation failed: guest CPU doesn't match specification: missing features: vmx-foo"});
        });
        let (prepared, _) = prepared(vec![vmi(guest)], mixed());
        let refused = prepared.subject.failed.as_ref().expect("the only trace of the guest's real CPU");
        assert_eq!((refused.target.as_str(), refused.missing.as_slice()), ("node-c", &["vmx-foo".to_owned()][..]));
        assert!(
            prepared.subject.outdated_launcher
                && prepared.subject.definition.template == Some(Template::VirtualMachine)
        );
    }
}

mod releases {
    use super::*;

    #[rstest]
    #[case("1.5.0", false, false)]
    #[case("1.5.1", true, false)]
    #[case("1.6.3", true, false)]
    #[case("1.6.4", true, true)]
    #[case("1.7.0", true, false)]
    #[case("1.7.1", true, true)]
    #[case("1.9.0", true, true)]
    fn machine_type_and_vendor_are_asked_for_from_their_releases_on(
        #[case] release: &str,
        #[case] with_machine: bool,
        #[case] with_vendor: bool,
    ) {
        let cluster = cluster(release, mixed(), [vmi(running("db", "node-a", "host-model"))]);
        let keys = keys(&of_migration(&read(request("db")), &cluster));
        assert_eq!(
            (keys.contains_key(&machine("q35")), keys.contains_key(&vendor("Intel"))),
            (with_machine, with_vendor),
            "by another release's rules a guest would be called stuck, or free: {keys:#?}"
        );
    }

    #[rstest]
    #[case("1.7.0", "cpumanager")]
    #[case("1.8.0", "kubevirt.io/cpumanager")]
    fn dedicated_cpus_have_the_label_of_the_release(#[case] release: &str, #[case] expected: &str) {
        let vm = vm("db", "")
            .tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"dedicatedCpuPlacement": true}));
        let keys = keys(&of_vm(&read(vm), &cluster(release, mixed(), [])));
        let found: Vec<&String> = keys.keys().filter(|key| key.ends_with("cpumanager")).collect();
        assert_eq!(found, [expected]);
    }

    #[rstest]
    #[case("1.4.1", "")]
    #[case("1.5.0", "true")]
    fn realtime_has_the_label_value_of_the_release(#[case] release: &str, #[case] expected: &str) {
        let vm = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"realtime": {}}));
        let keys = keys(&of_vm(&read(vm), &cluster(release, mixed(), [])));
        assert_eq!(keys.get(label::REALTIME).map(String::as_str), Some(expected), "an empty value is a value");
    }

    #[test]
    fn an_unknown_release_is_reported() {
        let cluster = Cluster::new(mixed().into_iter().map(ClusterObject::Node), None);
        let prepared = of_vm(&read(vm("db", "")), &cluster);
        let note = prepared.notes.first().expect("the rules of a guessed release, unsaid");
        assert!(note.check == Check::Assumed && message(note).contains("v1.9.0"), "{}", message(note));
    }

    #[test]
    fn labelled_nodes_without_machine_types_imply_an_old_release() {
        let old = |mut node: Node| {
            node.labels.retain(|key, _| Family::of(key) != Family::MachineType);
            node
        };
        let cluster = Cluster::new(intel().into_iter().map(old).map(ClusterObject::Node), None);
        let prepared = of_vm(&read(vm("db", "")), &cluster);
        assert!(
            !keys(&prepared).contains_key(&machine("q35")),
            "every VM of an old cluster would be called unschedulable"
        );
        assert!(prepared.notes.first().is_some_and(|note| message(note).contains("v1.5.1")));
    }
}
