//! Tests of replica sets and pools: they are reviewed like VMs for the person who sends them. Objects that
//! KubeVirt's controllers create from them, and at restarts, clones and restores, are never denied and always
//! recorded.

use super::*;
use crate::kubevirt::replicas::ReplicasKind;
use crate::policy::Otherwise;

const SKYLAKE: &str = "Skylake-Server-noTSX-IBRS";
const UNKNOWN: &str = "EPYC-Turin";

/// The kind of object that holds a VM's template, and the paths of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Vm,
    Set,
    Pool,
}

use Holder::{Pool, Set, Vm};

impl Holder {
    fn of(self, vm: &Value) -> Value {
        match self {
            Vm => vm.clone(),
            Set => replica_set(vm),
            Pool => vm_pool(vm),
        }
    }

    fn field(self, of_vm: &str) -> String {
        match self {
            Vm | Set => of_vm.to_owned(),
            Pool => of_vm.replacen("spec", "spec.virtualMachineTemplate.spec", 1),
        }
    }

    fn kind(self) -> (&'static str, &'static str) {
        match self {
            Vm => ("kubevirt.io", "VirtualMachine"),
            Set => ("kubevirt.io", "VirtualMachineInstanceReplicaSet"),
            Pool => ("pool.kubevirt.io", "VirtualMachinePool"),
        }
    }
}

fn strict(enforce: Impact) -> World {
    world(mixed(), Vec::new(), Some(enforce))
}

/// Builds a policy that denies guests which do not use its model by their own specification, with minimal
/// records and exemptions.
fn refusing() -> World {
    let policy = read_policy(
        "refusing",
        &json!({
            "enforce": "Unschedulable", "warn": "None", "audit": "None",
            "commonModel": {"name": SKYLAKE, "otherwise": "Deny"}, "exemptions": {"controllers": false},
        }),
    );
    assert_eq!(policy.common_model.as_ref().map(|common| common.otherwise), Some(Otherwise::Deny));
    World { cluster: cluster("1.9.0", intel(), Vec::new()), policies: vec![policy] }
}

fn answered(world: &World, webhook: Webhook, review: &Value) -> ReviewAnswer {
    let bytes = review.to_string();
    let request = review::decode(bytes.as_bytes()).expect("a review");
    answer(&ReviewContext::new(world), webhook, &request).expect("an answer")
}

fn cased(world: &World, review: &Value) -> Option<(Option<Impact>, String)> {
    let bytes = review.to_string();
    let request = review::decode(bytes.as_bytes()).expect("a review");
    let case = case(world, &request).expect("an answer")?;
    Some((case.verdict.assessment.outcome.impact(), case.prepared.subject.title()))
}

mod reviewed {
    use super::*;

    #[rstest]
    #[case::vm(Vm)]
    #[case::replica_set(Set)]
    #[case::pool(Pool)]
    fn a_denial_names_the_object_and_the_field_in_it(#[case] holder: Holder) {
        let denial = denied(&strict(Impact::Unschedulable), &review(&holder.of(&vm("web", UNKNOWN)))).expect("denied");
        assert_eq!((denial.group.as_str(), denial.kind.as_str()), holder.kind());
        assert_eq!((denial.name.as_str(), denial.code), ("web", DenialKind::Invalid));
        let field = &denial.causes.first().expect("a field to blame").field;
        assert_eq!(*field, holder.field("spec.template.spec.domain.cpu.model"));
        let unmet = denied(&refusing(), &review(&holder.of(&vm("web", "host-passthrough")))).expect("denied");
        assert_eq!(unmet.causes[0].field, holder.field("spec.template.spec.domain.cpu.model"));
        let message = &unmet.causes[0].message;
        assert!(message.starts_with("shop/web asks for host-passthrough") && message.contains("refusing"), "{message}");
    }

    /// Any guest is judged equally in each kind of object, and the messages differ only in fields and
    /// remedies.
    #[rstest]
    #[case::nothing(|_: &mut Value| {})]
    #[case::a_model(|vm: &mut Value| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": "EPYC-Rome"}))]
    #[case::a_model_of_one_node(
        |vm: &mut Value| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": "Icelake-Server-noTSX"})
    )]
    #[case::nowhere(|vm: &mut Value| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": UNKNOWN}))]
    #[case::a_feature(|vm: &mut Value| {
        vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"features": [{"name": "fpu"}, {"name": "none"}]});
    })]
    #[case::a_selector(|vm: &mut Value| vm["spec"]["template"]["spec"]["nodeSelector"] = json!({"rack": "9"}))]
    #[case::passthrough(
        |vm: &mut Value| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": "host-passthrough"})
    )]
    #[case::a_machine_type(|vm: &mut Value| {
        vm["spec"]["template"]["spec"]["domain"]["machine"] = json!({"type": "pc-q35-none"});
    })]
    fn guests_are_judged_as_those_of_a_vm(#[case] tweak: fn(&mut Value)) {
        let vm = vm("web", "").tweak(tweak);
        for world in [strict(Impact::Fragile), refusing(), world(mixed(), Vec::new(), None)] {
            let expected = cased(&world, &review(&vm));
            for holder in [Set, Pool] {
                let asked = review(&holder.of(&vm));
                assert_eq!(cased(&world, &asked), expected, "{holder:?}");
                let (own, of_vm) = (denied(&world, &asked), denied(&world, &review(&vm)));
                let fields = |denial: &Option<Denial>, map: &dyn Fn(&str) -> String| -> Vec<(String, String)> {
                    let causes = denial.iter().flat_map(|denial| &denial.causes);
                    causes.map(|cause| (map(&cause.field), cause.message.clone())).collect()
                };
                assert_eq!(
                    fields(&own, &str::to_owned),
                    fields(&of_vm, &|field| holder.field(field)),
                    "{holder:?}: one is refused and not the other, or for another field"
                );
            }
        }
    }

    /// The commands change the object itself: no VM and no VMI has its name.
    #[rstest]
    #[case::replica_set(Set, "vmirs", &["spec", "template", "spec"])]
    #[case::pool(Pool, "vmpool", &["spec", "virtualMachineTemplate", "spec", "template", "spec"])]
    fn remedies_change_the_object_itself(#[case] holder: Holder, #[case] resource: &str, #[case] path: &[&str]) {
        let tweaks: [fn(&mut Value); 3] = [
            |spec| spec["domain"]["cpu"] = json!({"model": "Icelake-Server-noTSX"}),
            |spec| spec["nodeSelector"] = json!({"rack": "9"}),
            |spec| spec["domain"]["machine"] = json!({"type": "pc-q35-none"}),
        ];
        let mut patches = 0;
        for tweak in tweaks {
            let old = holder.of(&vm("web", ""));
            let asked = update(&old, &holder.of(&vm("web", "").tweak(|vm| tweak(&mut vm["spec"]["template"]["spec"]))));
            let bytes = asked.to_string();
            let request = review::decode(bytes.as_bytes()).expect("a review");
            let case = case(&world(mixed(), Vec::new(), None), &request).expect("an answer").expect("our concern");
            let remedies = case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
            let lines: Vec<String> =
                remedies.flat_map(|remedy| remedy.action.commands(&case.prepared.subject).lines()).collect();
            let own = format!("kubectl patch {resource} web -n shop --type merge -p ");
            for line in &lines {
                assert!(!line.contains("virtctl restart") && !line.contains(" vm web"), "{holder:?}: {line}");
                if let Some(patch) = line.strip_prefix(&own) {
                    let patch = patch.split("      #").next().unwrap_or_default().trim_matches('\'');
                    let patch: Value = serde_json::from_str(patch).expect("JSON");
                    assert!(patch.pointer(&format!("/{}", path.join("/"))).is_some(), "{holder:?}: {line}");
                    patches += 1;
                }
            }
            let explained = say::explain(&case.prepared).expect("a command").to_string();
            assert_eq!(explained, format!("kubectl cpufit explain {resource}/web -n shop"));
        }
        assert!(patches >= 2, "{holder:?}: {patches} patches");
    }

    /// Only a pool's template has an instancetype.
    #[test]
    fn the_field_of_a_pools_instancetype_is_named() {
        let mut world = refusing();
        let instancetype = json!({"metadata": {"name": "u1"}, "spec": {"cpu": {"model": "Cascadelake-Server-noTSX"}}});
        world.cluster = cluster("1.9.0", intel(), [ClusterObject::Instancetype(read(instancetype))]);
        let web = vm("web", "").tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "u1"}));
        let denial = denied(&world, &review(&vm_pool(&web))).expect("it does not use the model");
        assert_eq!(denial.causes[0].field, "spec.virtualMachineTemplate.spec.instancetype.name");
    }

    /// Fields are named by their path in the pool, in messages too.
    #[rstest]
    #[case::not_known(json!({"name": "gone"}), "spec.virtualMachineTemplate.spec.instancetype")]
    #[case::conflicts(json!({"name": "u1"}), "spec.virtualMachineTemplate.spec.template.spec.domain.cpu.model")]
    fn findings_of_a_pool_name_its_fields(#[case] instancetype: Value, #[case] field: &str) {
        let u1 = json!({"metadata": {"name": "u1"}, "spec": {"cpu": {"model": "Cascadelake-Server-noTSX"}}});
        let mut world = world(mixed(), Vec::new(), None);
        world.cluster = cluster("1.9.0", intel(), [ClusterObject::Instancetype(read(u1))]);
        let web = vm("web", SKYLAKE).tweak(|vm| vm["spec"]["instancetype"] = instancetype);
        let bytes = review(&vm_pool(&web)).to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        let case = case(&world, &request).expect("an answer").expect("our concern");
        let fields: Vec<&str> = case.verdict.findings.iter().map(|finding| finding.field.as_str()).collect();
        assert!(fields.contains(&field), "{fields:?}");
        for finding in &case.verdict.findings {
            for at in [finding.field.clone(), say::finding::message(finding)] {
                let outside = at.replace("spec.virtualMachineTemplate.spec", "");
                assert!(!outside.contains("spec.template") && !outside.contains("spec.instancetype"), "{at}");
            }
        }
    }

    #[rstest]
    #[case::v1alpha1("v1alpha1")]
    #[case::v1beta1("v1beta1")]
    fn both_versions_of_pools_are_read(#[case] version: &str) {
        let pool = vm_pool(&vm("web", UNKNOWN)).tweak(|pool| {
            pool["apiVersion"] = json!(format!("pool.kubevirt.io/{version}"));
        });
        assert!(denied(&strict(Impact::Unschedulable), &review(&pool)).is_some());
    }

    #[rstest]
    #[case::replica_set(Set)]
    #[case::pool(Pool)]
    fn without_a_policy_its_sender_is_warned(#[case] holder: Holder) {
        let warnings = admitted(&world(mixed(), Vec::new(), None), &review(&holder.of(&vm("web", UNKNOWN))));
        assert!(warnings.first().is_some_and(|line| line.contains("shop/web")), "{warnings:?}");
        assert!(warnings.iter().all(|line| !line.contains("vm/web")), "no VM has its name: {warnings:?}");
    }

    #[rstest]
    #[case::replica_set(Set)]
    #[case::pool(Pool)]
    fn replicas_are_warned_about_the_model_of_their_guests_and_not_patched(#[case] holder: Holder) {
        let asked = review(&holder.of(&vm("web", "host-model")));
        let world = refusing();
        let warnings = admitted(&world, &asked);
        assert!(warnings.iter().any(|line| line.contains("will run with CPU model")), "{warnings:?}");
        assert_eq!(
            answered(&world, Webhook::Mutate, &asked).decision,
            Decision::admit(),
            "GitOps would change it back"
        );
    }

    /// A VMI of the same name is not one of its guests.
    #[rstest]
    #[case::replica_set(Set)]
    #[case::pool(Pool)]
    fn a_namesake_that_runs_is_another_guest(#[case] holder: Holder) {
        let web = running("web", "node-a", "host-model");
        let odd = launcher(&web, [feature("amd-stibp")]);
        let world = world(intel(), vec![vmi(web), odd], None);
        let is_warned = |holder: Holder| {
            let warnings = admitted(&world, &review(&holder.of(&vm("web", "host-model"))));
            warnings.iter().any(|line| line.contains("amd-stibp"))
        };
        assert_eq!([Vm, holder].map(is_warned), [true, false], "the warning is about a guest of another owner");
    }

    #[rstest]
    #[case::replica_set(Set, "request.object.spec.template.spec.domain.cpu.model")]
    #[case::pool(Pool, "request.object.spec.virtualMachineTemplate.spec.template.spec.domain.cpu.model")]
    fn the_malformed_field_is_named(#[case] holder: Holder, #[case] path: &str) {
        let bad = vm("web", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": 7}));
        let error = ask(&strict(Impact::Fragile), &review(&holder.of(&bad))).expect_err("malformed");
        assert!(error.contains(path), "{error}");
    }

    #[rstest]
    #[case::replica_set(Set)]
    #[case::pool(Pool)]
    fn a_dry_run_is_answered_and_leaves_no_trace(#[case] holder: Holder) {
        let user = "system:serviceaccount:argocd:argocd";
        let stored = holder.of(&vm("web", "EPYC-Rome"));
        let kind = if holder == Set { ReplicasKind::ReplicaSet } else { ReplicasKind::Pool };
        let known = match kind {
            ReplicasKind::ReplicaSet => {
                crate::kubevirt::replicas::Replicas::from(read::<crate::kubevirt::wire::ReplicaSet>(stored.clone()))
            }
            ReplicasKind::Pool => {
                crate::kubevirt::replicas::Replicas::from(read::<crate::kubevirt::wire::Pool>(stored.clone()))
            }
        };
        let world = world(mixed(), vec![ClusterObject::Replicas(Box::new(known))], None);
        let asked = by(update(&stored, &holder.of(&vm("web", UNKNOWN))), user);
        let reported = answered(&world, Webhook::Validate, &asked).reports;
        let about: Vec<_> = reported.iter().map(|report| (report.regarding.kind(), report.regarding.name())).collect();
        assert_eq!(about, [(report::EventKind::Replicas(kind), "web")], "GitOps reads no warning");
        let dry = asked.tweak(|review| review["request"]["dryRun"] = json!(true));
        let answer = answered(&world, Webhook::Validate, &dry);
        assert!(answer.reports.is_empty() && !answer.decision.warnings().is_empty());
    }
}

mod updates {
    use super::*;

    #[rstest]
    #[case::replicas(|object: &mut Value| object["spec"]["replicas"] = json!(9))]
    #[case::paused(|object: &mut Value| object["spec"]["paused"] = json!(true))]
    #[case::strategy(|object: &mut Value| object["spec"]["updateStrategy"] = json!({"unmanaged": {}}))]
    #[case::labels(|object: &mut Value| object["metadata"]["labels"] = json!({"a": "b"}))]
    #[case::status(|object: &mut Value| object["status"] = json!({"replicas": 3}))]
    fn an_update_that_keeps_the_template_is_not_judged(#[case] change: fn(&mut Value)) {
        for holder in [Set, Pool] {
            let old = holder.of(&vm("web", UNKNOWN));
            let asked = update(&old, &old.clone().tweak(change));
            let world = strict(Impact::Fragile);
            assert_eq!(ask(&world, &asked), Ok(Decision::admit()), "{holder:?}: who scales is refused");
            assert_eq!(cased(&world, &asked), None, "{holder:?}: and judged at a cost");
        }
    }

    /// A stored guest and its update: whether the update is denied if both kinds of policy deny guests.
    #[rstest]
    #[case::worse_verdict("EPYC-Rome", UNKNOWN, true)]
    #[case::as_bad(UNKNOWN, "EPYC-Turin-v2", false)]
    #[case::better(UNKNOWN, "EPYC-Rome", false)]
    #[case::fine("EPYC-Rome", "EPYC-Rome", false)]
    fn an_update_is_not_denied_for_what_was_as_bad_before(
        #[case] old: &str,
        #[case] new: &str,
        #[case] expected: bool,
    ) {
        let labelled = |model: &str, label: &str| {
            vm("web", model).tweak(|vm| vm["spec"]["template"]["metadata"]["labels"]["app"] = json!(label))
        };
        let world = strict(Impact::Unschedulable);
        for holder in [Vm, Set, Pool] {
            let asked = update(&holder.of(&labelled(old, "one")), &holder.of(&labelled(new, "two")));
            assert_eq!(denied(&world, &asked).is_some(), expected, "{holder:?}");
            let is_bad = denied(&world, &review(&holder.of(&labelled(new, "two")))).is_some();
            if is_bad && !expected {
                let warnings = admitted(&world, &asked);
                let why = warnings.iter().any(|line| {
                    line.starts_with("cpufit: shop/web: ")
                        && line.contains("makes it no worse")
                        && line.contains("strict")
                });
                assert!(why && warnings.len() > 1, "{holder:?}: {warnings:?}");
                assert_eq!(answered(&world, Webhook::Validate, &asked).exempted, Some(Exemption::NotWorse));
            }
        }
    }

    /// The common model: a guest that leaves it is denied, one that never used it is not.
    #[rstest]
    #[case::begins("host-model", "host-passthrough", true)]
    #[case::another_way_off("host-passthrough", "Cascadelake-Server-noTSX", false)]
    #[case::comes_to_it("host-passthrough", "host-model", false)]
    #[case::grows_worse("host-passthrough", UNKNOWN, true)]
    fn an_update_is_not_denied_for_a_model_that_was_not_used_before(
        #[case] old: &str,
        #[case] new: &str,
        #[case] expected: bool,
    ) {
        let world = refusing();
        for holder in [Vm, Set, Pool] {
            let asked = update(&holder.of(&vm("web", old)), &holder.of(&vm("web", new)));
            assert_eq!(denied(&world, &asked).is_some(), expected, "{holder:?}");
        }
    }

    /// Under a policy that denied nothing of it before, a guest is new.
    #[test]
    fn an_update_that_moves_a_guest_under_a_policy_is_denied_by_it() {
        let mut world = strict(Impact::Unschedulable);
        world.policies[0].virtual_machine_selector =
            read_policy("gold", &json!({"virtualMachineSelector": {"matchLabels": {"tier": "gold"}}}))
                .virtual_machine_selector;
        for holder in [Vm, Set, Pool] {
            let gold =
                vm("web", UNKNOWN).tweak(|vm| vm["spec"]["template"]["metadata"]["labels"]["tier"] = json!("gold"));
            let asked = update(&holder.of(&vm("web", UNKNOWN)), &holder.of(&gold));
            assert!(denied(&world, &asked).is_some(), "{holder:?}");
        }
    }
}

mod controllers {
    use super::*;

    const OWNERS: [(&str, &str); 3] = [
        ("VirtualMachine", "kubevirt.io/v1"),
        ("VirtualMachineInstanceReplicaSet", "kubevirt.io/v1"),
        ("VirtualMachinePool", "pool.kubevirt.io/v1beta1"),
    ];

    fn owned(mut object: Value, owner: Option<usize>) -> Value {
        if let Some((kind, api_version)) = owner.map(|at| OWNERS[at]) {
            object["metadata"]["ownerReferences"] = json!([
                {"apiVersion": api_version, "kind": kind, "name": "web", "uid": "vm-web", "controller": true}
            ]);
        }
        object
    }

    fn vmi_with(model: &str) -> Value {
        let mut out = vm("web-x7k2p", model);
        out["kind"] = json!("VirtualMachineInstance");
        out["spec"] = out["spec"]["template"]["spec"].take();
        out["metadata"]["uid"] = json!("new");
        out
    }

    fn new_vm(model: &str) -> Value {
        vm("web-0", model).tweak(|vm| vm["metadata"]["uid"] = json!("new"))
    }

    /// Adds all objects that guests are created from, each under the name `web`.
    fn known(world: World) -> World {
        let web = vm("web", "EPYC-Rome");
        let mut cluster = world.cluster.clone();
        cluster.put(ClusterObject::VirtualMachine(Box::new(read(web.clone()))));
        let set = read::<crate::kubevirt::wire::ReplicaSet>(replica_set(&web));
        let pool = read::<crate::kubevirt::wire::Pool>(vm_pool(&web));
        cluster.put(ClusterObject::Replicas(Box::new(set.into())));
        cluster.put(ClusterObject::Replicas(Box::new(pool.into())));
        World { cluster, ..world }
    }

    /// Returns the objects that KubeVirt's controllers send for guests, each of which a person would be
    /// denied, and the kind of object that its Event is about: a restart, a replica set, a growing pool, one
    /// that is rolled out, a clone or restore, a VM that is restored in place, a launcher.
    fn sent(model: &str) -> Vec<(&'static str, Value, Option<report::EventKind>)> {
        use report::EventKind;
        let set = EventKind::Replicas(ReplicasKind::ReplicaSet);
        let pool = EventKind::Replicas(ReplicasKind::Pool);
        let update_of = |owner| update(&owned(new_vm("host-model"), owner), &owned(new_vm(model), owner));
        vec![
            ("a start", review(&owned(vmi_with(model), Some(0))), Some(EventKind::VirtualMachine)),
            ("a replica set", review(&owned(vmi_with(model), Some(1))), Some(set)),
            ("a pool grows", review(&owned(new_vm(model), Some(2))), Some(pool)),
            ("a pool is rolled out", update_of(Some(2)), Some(pool)),
            ("a clone", review(&new_vm(model)), None),
            ("a restore", update_of(None), None),
        ]
    }

    #[rstest]
    #[case::no_node(UNKNOWN)]
    #[case::keeps_off_the_model("host-passthrough")]
    fn guests_made_by_replicas_are_never_denied_and_always_recorded(#[case] model: &str) {
        let world = known(refusing());
        for (what, asked, about) in sent(model) {
            assert!(denied(&world, &asked).is_some(), "{what}: a person would not be denied, so nothing is shown");
            for account in ["kubevirt-controller", "kubevirt-handler", "kubevirt-synchronization-controller"] {
                let user = format!("system:serviceaccount:kubevirt:{account}");
                let answer = answered(&world, Webhook::Validate, &by(asked.clone(), &user));
                let Decision::Admit { audit, warnings, .. } = &answer.decision else {
                    panic!("{what}: denied to {account}: a restart or a recovery fails")
                };
                assert!(audit.contains_key("reason") && !audit["reason"].is_empty(), "{what}: {audit:?}");
                assert!(model != "host-passthrough" || !warnings.is_empty(), "{what}");
                assert_eq!(answer.exempted, Some(Exemption::Controller), "{what}: no metric counts it");
                let reported: Vec<_> = answer.reports.iter().map(|report| report.regarding.kind()).collect();
                let names_it = answer.reports.iter().all(|report| report.note.as_str().contains("shop/web-"));
                let of_many = matches!(about, Some(report::EventKind::Replicas(_)));
                assert!(names_it || !of_many, "{what}: which of its guests is it? {:?}", answer.reports);
                let expected: Vec<_> = about.into_iter().collect();
                assert_eq!(
                    reported.first().copied().into_iter().collect::<Vec<_>>(),
                    expected,
                    "{what}: no Event says it"
                );
                let dry = by(asked.clone(), &user).tweak(|review| review["request"]["dryRun"] = json!(true));
                let dry = answered(&world, Webhook::Validate, &dry);
                assert!(dry.reports.is_empty() && dry.exempted.is_none(), "{what}: a trace of what never was");
            }
            for user in [VIRTCTL, "system:serviceaccount:argocd:argocd", "system:serviceaccount:kubevirt:other"] {
                assert!(denied(&world, &by(asked.clone(), user)).is_some(), "{what}: {user} is no controller");
            }
        }
    }

    /// The owner is read from the API server if the watch has not received it yet.
    #[test]
    fn an_owner_created_just_now_is_fetched() {
        let world = refusing();
        for (what, asked, about) in sent(UNKNOWN) {
            let answer = answered(&world, Webhook::Validate, &by(asked, CONTROLLER));
            let lacks: Vec<MissingInput> = about
                .or((what == "a clone" || what == "a restore").then_some(report::EventKind::VirtualMachine))
                .map(|kind| MissingInput::Owner {
                    kind,
                    namespace: "shop".to_owned(),
                    name: if about.is_some() { "web" } else { "web-0" }.to_owned(),
                })
                .into_iter()
                .collect();
            assert_eq!((answer.reports.len(), answer.lacks), (0, lacks), "{what}");
        }
    }

    /// An owner with another UID is another object, even with the same name.
    #[test]
    fn an_owners_namesake_gets_no_event() {
        let world = known(refusing());
        let forged = owned(new_vm(UNKNOWN), Some(2)).tweak(|vm| {
            vm["metadata"]["ownerReferences"][0]["uid"] = json!("another");
        });
        assert!(answered(&world, Webhook::Validate, &by(review(&forged), CONTROLLER)).reports.is_empty());
    }

    #[test]
    fn the_model_is_written_into_each_object_that_starts() {
        let world = known(refusing());
        for (owner, user) in [(Some(0), CONTROLLER), (Some(1), CONTROLLER), (None, KUBECTL)] {
            let asked = by(review(&owned(vmi_with("host-model"), owner)), user);
            let answer = answered(&world, Webhook::Mutate, &asked);
            let Decision::Admit { patch, .. } = &answer.decision else { panic!("denied") };
            let mut guest = asked["request"]["object"].clone();
            json_patch::patch(&mut guest, patch).expect("a patch that applies");
            assert_eq!(guest["spec"]["domain"]["cpu"]["model"], SKYLAKE, "{owner:?}");
            let reported: Vec<_> = answer.reports.iter().map(|report| report.reason).collect();
            assert_eq!(reported.len(), usize::from(owner.is_some()), "{owner:?}: {reported:?}");
        }
    }

    /// A drain may be denied if the policy allows it; virtctl's migrations are those of a person.
    #[rstest]
    #[case::drains_are_exempt(true, CONTROLLER, false)]
    #[case::drains_are_not(false, CONTROLLER, true)]
    #[case::virtctl(true, VIRTCTL, true)]
    fn migrations_of_replicas_follow_the_policy(#[case] controllers: bool, #[case] user: &str, #[case] expected: bool) {
        let mut world = stuck(intel());
        world.policies[0].exemptions.controllers = controllers;
        assert_eq!(denied(&world, &by(review(&migration("db")), user)).is_some(), expected);
    }
}
