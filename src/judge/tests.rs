//! Tests of requests through the whole pipeline: which are judged, how malformed ones are answered, which are
//! exempt.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::admission::Webhook;
use crate::admission::review;
use crate::fit::node::Node;
use crate::fit::verdict::{Cause, Impact};
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::{Dial, Exemptions};
use crate::report::{self, EventReport, Reason};
use crate::review::{MissingInput, ReviewAnswer, ReviewContext, answer, case};
use crate::testing::Tweak;
use crate::testing::cluster::{
    cluster, launcher, migration, read, read_policy, replica_set, running, vm, vm_pool, vmi,
};
use crate::testing::fleet::{cascade_lake, cordon, feature, give, intel, mixed, skylake, take, vendor};
use crate::testing::objects::create;
use crate::well_known;

mod enforcing;
mod forged;
mod guesses;
mod large;
mod origin;
mod replicas;
mod wording;

const KUBECTL: &str = "kubernetes-admin";
const CONTROLLER: &str = "system:serviceaccount:kubevirt:kubevirt-controller";
const VIRTCTL: &str = "system:serviceaccount:kubevirt:kubevirt-apiserver";

/// Builds the review of an object that a user creates.
fn review(object: &Value) -> Value {
    create(object, KUBECTL).tweak(|review| review["request"]["namespace"] = json!("shop"))
}

fn by(mut review: Value, user: &str) -> Value {
    review["request"]["userInfo"]["username"] = json!(user);
    review
}

fn update(old: &Value, new: &Value) -> Value {
    review(new).tweak(|review| {
        review["request"]["operation"] = json!("UPDATE");
        review["request"]["oldObject"] = old.clone();
    })
}

fn ask(world: &World, review: &Value) -> Result<Decision, String> {
    let bytes = review.to_string();
    let request = review::decode(bytes.as_bytes()).map_err(|error| error.to_string())?;
    let answer = answer(&ReviewContext::new(world), Webhook::Validate, &request);
    answer.map(|answer| answer.decision).map_err(|error| error.to_string())
}

fn admitted(world: &World, review: &Value) -> Vec<String> {
    match ask(world, review).expect("an answer") {
        decision @ Decision::Admit { .. } => decision.warnings(),
        denied @ Decision::Deny { .. } => panic!("denied: {denied:#?}"),
    }
}

fn denied(world: &World, review: &Value) -> Option<Denial> {
    match ask(world, review).expect("an answer") {
        Decision::Admit { .. } => None,
        Decision::Deny { denial, .. } => Some(denial),
    }
}

fn world(nodes: Vec<Node>, objects: Vec<ClusterObject>, enforce: Option<Impact>) -> World {
    let policy = enforce.map(|impact| Policy {
        name: "strict".to_owned(),
        enforce: Dial::From(impact),
        exemptions: Exemptions { users: vec!["backup".into()], ..Exemptions::default() },
        ..Policy::builtin()
    });
    World { cluster: cluster("1.9.0", nodes, objects), policies: policy.into_iter().collect() }
}

/// Places shop/db on node-a with inherited entries that node-c and the others lack: only its CPU is the cause.
fn stuck(nodes: Vec<Node>) -> World {
    let db = running("db", "node-a", "host-model");
    let has = launcher(&db, [feature("hle"), feature("amd-stibp")]);
    world(nodes, vec![vmi(db), has], Some(Impact::Fragile))
}

mod concern {
    use super::*;

    #[test]
    fn a_guest_that_moves_under_another_policy_is_judged() {
        let mut world = world(intel(), Vec::new(), None);
        world.policies = vec![read_policy(
            "strict",
            &json!({"enforce": "Fragile", "virtualMachineSelector": {"matchLabels": {"tier": "gold"}}}),
        )];
        let old = vm("db", "EPYC-Turin");
        let new = old.clone().tweak(|vm| vm["spec"]["template"]["metadata"] = json!({"labels": {"tier": "gold"}}));
        assert!(denied(&world, &update(&old, &new)).is_some(), "a label is a way around the policy");
    }

    #[test]
    fn status_noise_of_a_vm_is_not_judged() {
        let old = vm("db", "EPYC-Turin");
        let new = old.clone().tweak(|vm| {
            vm["status"] = json!({"printableStatus": "Running", "ready": true});
            vm["metadata"]["resourceVersion"] = json!("2");
            vm["spec"]["runStrategy"] = json!("Always");
        });
        let world = world(mixed(), Vec::new(), Some(Impact::Fragile));
        assert_eq!(ask(&world, &update(&old, &new)), Ok(Decision::admit()), "every heartbeat of a VM is warned about");
        let bytes = update(&old, &new).to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        assert!(case(&world, &request).expect("an answer").is_none(), "and judged at a cost");
    }

    #[rstest]
    #[case::model(|vm: &mut Value| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": "EPYC-Turin"}))]
    #[case::selector(|vm: &mut Value| vm["spec"]["template"]["spec"]["nodeSelector"] = json!({"rack": "9"}))]
    #[case::instancetype(|vm: &mut Value| vm["spec"]["instancetype"] = json!({"name": "gone"}))]
    #[case::instancetype_dropped(|vm: &mut Value| drop(vm["spec"]["instancetype"].take()))]
    #[case::revision_of_the_instancetype(|vm: &mut Value| vm["spec"]["instancetype"]["revisionName"] = json!("another"))]
    #[case::its_revision_dropped(|vm: &mut Value| drop(vm["spec"]["instancetype"]["revisionName"].take()))]
    #[case::revision_of_the_preference(|vm: &mut Value| vm["spec"]["preference"]["revisionName"] = json!("another"))]
    #[case::its_revision_is_dropped(|vm: &mut Value| drop(vm["spec"]["preference"]["revisionName"].take()))]
    #[case::affinity(|vm: &mut Value| {
        let terms = json!([{"matchExpressions": [{"key": "rack", "operator": "Exists"}]}]);
        vm["spec"]["template"]["spec"]["affinity"] =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    })]
    fn a_changed_demand_is_judged(#[case] change: fn(&mut Value)) {
        let old = vm("db", "EPYC-Rome").tweak(|vm| {
            vm["spec"]["instancetype"] = json!({"name": "gone", "revisionName": "one"});
            vm["spec"]["preference"] = json!({"name": "gone", "revisionName": "two"});
        });
        let world = world(mixed(), Vec::new(), None);
        assert!(admitted(&world, &update(&old, &old)).is_empty());
        let warnings = admitted(&world, &update(&old, &old.clone().tweak(change)));
        assert!(!warnings.is_empty(), "the edit that strands the guest passes without a word");
    }

    /// virt-controller records which revision a VM uses: the current one, so nothing changes for the guest.
    #[rstest]
    #[case::by_virt_controller(CONTROLLER, json!("one"), false)]
    #[case::by_a_person(KUBECTL, json!("one"), true)]
    #[case::by_a_namesake("system:serviceaccount:shop:kubevirt-controller", json!("one"), true)]
    #[case::changed_by_virt_controller(CONTROLLER, Value::Null, true)]
    fn a_captured_revision_is_no_change(#[case] user: &str, #[case] to: Value, #[case] judged: bool) {
        let with = |revision: Value| {
            vm("db", "EPYC-Rome")
                .tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "gone", "revisionName": revision}))
        };
        let old = if to.is_null() { with(json!("one")) } else { with(Value::Null) };
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}});
        let kubevirt = ClusterObject::KubeVirt(Box::new(crate::testing::cluster::read(kubevirt)));
        let world = world(mixed(), vec![kubevirt], None);
        let warnings = admitted(&world, &by(update(&old, &with(to)), user));
        assert_eq!(!warnings.is_empty(), judged, "{warnings:?}");
    }

    #[rstest]
    #[case::subresource(|r: &mut Value| r["subResource"] = json!("status"))]
    #[case::eviction(|r: &mut Value| {
        r["kind"] = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
        r["subResource"] = json!("eviction");
    })]
    #[case::delete(|r: &mut Value| {
        r["operation"] = json!("DELETE");
        r["oldObject"] = r["object"].take();
    })]
    #[case::connect(|r: &mut Value| r["operation"] = json!("CONNECT"))]
    #[case::another_kind(|r: &mut Value| r["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"}))]
    #[case::a_namesake(|r: &mut Value| r["kind"]["group"] = json!("example.com"))]
    #[case::vmim_update(|r: &mut Value| {
        r["operation"] = json!("UPDATE");
        r["oldObject"] = r["object"].clone();
    })]
    fn objects_that_are_not_judged_are_admitted_without_warnings(#[case] change: fn(&mut Value)) {
        let world = stuck(intel());
        let asked = review(&migration("db"));
        assert!(denied(&world, &asked).is_some(), "the request itself would be denied");
        let other = asked.tweak(|review| change(&mut review["request"]));
        assert_eq!(ask(&world, &other), Ok(Decision::admit()), "an object that is not judged is held up");
    }

    #[test]
    fn a_pod_that_is_no_launcher_is_not_judged() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"nodeSelector": {feature("none"): "true"}}});
        assert_eq!(ask(&stuck(intel()), &review(&pod)), Ok(Decision::admit()));
    }

    /// An object need not name the namespace of its request.
    #[test]
    fn the_requests_namespace_counts() {
        let asked = migration("db").tweak(|vmim| vmim["metadata"]["namespace"] = Value::Null);
        let denial = denied(&stuck(intel()), &review(&asked)).expect("shop/db is known");
        assert!(denial.message.starts_with("shop/db "), "{}", denial.message);
    }

    #[test]
    fn the_mutating_webhook_repeats_no_warning() {
        let bytes = review(&migration("db")).to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        assert_eq!(
            answer(&ReviewContext::new(&stuck(intel())), Webhook::Mutate, &request),
            Ok(Decision::admit().into()),
            "said twice"
        );
    }
}

/// The webhook that guards the right to relax gives every sender the same answer: it does not check rights.
#[rstest]
#[case::a_person(KUBECTL)]
#[case::a_controller(CONTROLLER)]
#[case::an_exempt_user("backup")]
#[case::nobody("")]
fn a_review_does_not_reveal_the_right_to_relax(#[case] user: &str) {
    let relaxed =
        migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = json!({well_known::RELAX.key: "true"}));
    for asked in [review(&relaxed), update(&migration("db"), &relaxed)] {
        let bytes = by(asked, user).to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        let answer = answer(&ReviewContext::new(&stuck(intel())), Webhook::Authorize, &request).expect("an answer");
        let Decision::Deny { denial, .. } = answer.decision else { panic!("{user} may") };
        assert_eq!(
            denial.message,
            format!(
                "annotation cpufit.io/relax: {user} may not set it: that takes the verb relax on cpupolicies.cpufit.io"
            )
        );
        assert_eq!(
            (answer.lacks.len(), answer.reports.len()),
            (0, 0),
            "a forged review would be work for the API server"
        );
    }
    for asked in [review(&migration("db")), update(&relaxed, &relaxed), review(&vm("db", ""))] {
        let bytes = by(asked, user).to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        let answer = answer(&ReviewContext::new(&stuck(intel())), Webhook::Authorize, &request).expect("an answer");
        assert_eq!(answer, Decision::admit().into(), "who does not ask for it is held up");
    }
}

mod malformed {
    use super::*;

    #[rstest]
    #[case::number_for_a_model(vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": 7})), "request.object.spec.template.spec.domain.cpu.model")]
    #[case::list_for_a_selector(vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = json!(["a"])), "request.object.spec.template.spec.nodeSelector")]
    #[case::object_for_features(vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"features": {}})), "request.object.spec.template.spec.domain.cpu.features")]
    #[case::bool_for_a_name(migration("db").tweak(|vmim| vmim["spec"]["vmiName"] = json!(true)), "request.object.spec.vmiName")]
    #[case::number_in_labels(migration("db").tweak(|vmim| vmim["metadata"]["labels"] = json!({"a": 1})), "request.object.metadata.labels")]
    fn a_field_of_the_wrong_type_is_named(#[case] object: Value, #[case] path: &str) {
        let error = ask(&stuck(intel()), &review(&object)).expect_err("a wrong verdict instead of a reason");
        assert!(error.contains(path), "people search 300 lines of YAML for it: {error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn an_error_in_the_old_object_names_its_path() {
        let new = vm("db", "EPYC");
        let old = new.clone().tweak(|vm| vm["spec"]["template"] = json!([]));
        let error = ask(&stuck(intel()), &update(&old, &new)).expect_err("an old object that cannot be read");
        assert!(error.contains("request.oldObject.spec.template"), "{error}");
    }

    /// An update without an old object is judged like a creation.
    #[test]
    fn without_an_old_object_an_update_is_judged() {
        let asked = update(&Value::Null, &vm("db", "EPYC-Turin"));
        assert!(denied(&world(mixed(), Vec::new(), Some(Impact::Fragile)), &asked).is_some());
    }

    #[rstest]
    #[case::labels(|vmim: &mut Value| vmim["metadata"]["labels"] = Value::Null)]
    #[case::selector(|vmim: &mut Value| vmim["spec"]["addedNodeSelector"] = Value::Null)]
    #[case::unknown_field(|vmim: &mut Value| vmim["spec"]["someday"] = json!([1, {"a": null}]))]
    fn null_and_unknown_fields_are_read_as_absent(#[case] change: fn(&mut Value)) {
        assert!(denied(&stuck(intel()), &review(&migration("db").tweak(change))).is_some());
    }
}

mod enforcement {
    use super::*;

    #[test]
    fn a_denial_for_hardware_that_no_node_has_is_readable() {
        let denial = denied(&stuck(intel()), &review(&migration("db"))).expect("policy strict denies it");
        assert_eq!(denial.code, DenialKind::Forbidden, "no field of a migration can be fixed");
        let first = &denial.message;
        assert!(first.starts_with("shop/db cannot migrate") && first.contains("policy strict"), "{}", denial.message);
        assert_eq!((denial.kind.as_str(), denial.name.as_str()), ("VirtualMachineInstanceMigration", "migrate-db"));
        for words in ["violates PodSecurity", "exceeded quota"] {
            assert!(!denial.message.contains(words), "KubeVirt branches on these words");
        }
    }

    #[test]
    fn a_vm_is_denied_by_its_fields() {
        let denial =
            denied(&world(mixed(), Vec::new(), Some(Impact::Fragile)), &review(&vm("web", "Icelake-Server-noTSX")))
                .expect("it could never leave node-e");
        assert_eq!(
            (denial.code, denial.name.as_str()),
            (DenialKind::Invalid, "web"),
            "kubectl makes a bullet of each field"
        );
        let cause = denial.causes.first().expect("a field to blame");
        assert_eq!(cause.field, "spec.template.spec.domain.cpu.model");
        assert!(cause.message.contains("shop/web") && cause.message.contains("policy strict"), "{}", cause.message);
    }

    /// A policy for a pool of nodes does not govern guests that live elsewhere.
    #[rstest]
    #[case::on_its_node("node-a", true)]
    #[case::on_another("node-e", false)]
    fn a_policy_with_a_node_selector_governs_guests_of_those_nodes(#[case] pool: &str, #[case] governed: bool) {
        let mut world = stuck(intel());
        let selector = json!({"matchLabels": {"kubernetes.io/hostname": pool}});
        world.policies = vec![read_policy("pool", &json!({"enforce": "Pinned", "nodeSelector": selector}))];
        let denied = denied(&world, &review(&migration("db"))).is_some();
        assert_eq!(denied, governed, "a pool's rules reach guests that never run there, or miss those that do");
    }

    /// Temporary causes, and placement alone, are never denied.
    #[rstest]
    #[case::cordons(
        stuck_by(|nodes| nodes[1..].iter_mut().for_each(cordon)),
        migration("db"),
        Cause::Temporary
    )]
    #[case::zone(
        stuck_by(|_| {}),
        migration("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = json!({"topology.kubernetes.io/zone": "z9"})),
        Cause::Placement
    )]
    fn only_structural_impacts_are_denied(#[case] world: World, #[case] object: Value, #[case] cause: Cause) {
        let bytes = review(&object).to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        let case = case(&world, &request).expect("an answer").expect("our concern");
        assert_eq!(
            (case.verdict.assessment.outcome.impact(), case.verdict.assessment.cause),
            (Some(Impact::Pinned), Some(cause))
        );
        assert!(matches!(case.decision, Decision::Admit { .. }), "denied: {:#?}", case.decision);
        let warnings = case.decision.warnings();
        assert!(warnings.iter().any(|line| line.contains("shop/db")), "and it is said all the same: {warnings:?}");
    }

    fn stuck_by(change: impl FnOnce(&mut [Node])) -> World {
        let mut nodes = vec![cascade_lake("node-a"), cascade_lake("node-c"), cascade_lake("node-d")];
        change(&mut nodes);
        world(nodes, vec![vmi(running("db", "node-a", "host-model"))], Some(Impact::Fragile))
    }

    #[test]
    fn a_guess_never_denies() {
        let bare = |name| crate::testing::fleet::node(name);
        let world = world(vec![bare("n1"), bare("n2")], Vec::new(), Some(Impact::Fragile));
        let warnings = admitted(&world, &review(&vm("db", "EPYC")));
        assert!(warnings.iter().any(|line| line.contains("virt-handler")), "no reason is given: {warnings:?}");
    }

    #[rstest]
    #[case::a_person(KUBECTL, true)]
    #[case::virtctl(VIRTCTL, true)]
    #[case::kubevirts_controller(CONTROLLER, false)]
    #[case::a_listed_user("backup", false)]
    #[case::another_user("backups", true)]
    fn users_are_denied_but_not_controllers_and_listed_users(#[case] user: &str, #[case] expected: bool) {
        let denial = denied(&stuck(intel()), &by(review(&migration("db")), user));
        assert_eq!(denial.is_some(), expected, "a drain would hang, or a person would be waved through");
    }

    #[test]
    fn an_exempt_user_is_still_warned() {
        let warnings = admitted(&stuck(intel()), &by(review(&migration("db")), "backup"));
        assert!(warnings.first().is_some_and(|line| line.contains("shop/db cannot migrate")), "{warnings:?}");
    }

    #[rstest]
    #[case::kubevirts_controller(CONTROLLER, false, Some(Exemption::Controller))]
    #[case::a_listed_user("backup", false, Some(Exemption::User))]
    #[case::a_dry_run(CONTROLLER, true, None)]
    #[case::a_person_is_denied(KUBECTL, false, None)]
    fn exemptions_are_counted(#[case] user: &str, #[case] dry_run: bool, #[case] expected: Option<Exemption>) {
        let review = by(review(&migration("db")), user).tweak(|review| review["request"]["dryRun"] = json!(dry_run));
        let bytes = review.to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        let found =
            answer(&ReviewContext::new(&stuck(intel())), Webhook::Validate, &request).expect("an answer").exempted;
        assert_eq!(found, expected, "users would not see which drains and restarts the policy would stop");
    }

    #[test]
    fn a_target_pod_is_never_denied() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": "virt-launcher-db-", "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"},
                "ownerReferences": [{"kind": "VirtualMachineInstance", "name": "db", "uid": "uid-db"}]},
            "spec": {"nodeSelector": {feature("amd-stibp"): "true"}},
        });
        let warnings = admitted(&stuck(intel()), &review(&pod));
        assert!(warnings.iter().any(|line| line.contains("shop/db")), "{warnings:?}");
    }

    #[test]
    fn an_exempt_namespace_is_left_alone() {
        let mut world = stuck(intel());
        let namespace = json!({"metadata": {"name": "shop", "labels": {"cpufit.io/exempt": "true"}}});
        let db = running("db", "node-a", "host-model");
        let objects = vec![
            vmi(db.clone()),
            launcher(&db, [feature("amd-stibp")]),
            ClusterObject::Namespace(crate::testing::cluster::read(namespace)),
        ];
        world.cluster = cluster("1.9.0", intel(), objects);
        assert_eq!(ask(&world, &review(&migration("db"))), Ok(Decision::admit()), "it asked to be left alone");
    }

    #[test]
    fn without_a_policy_nothing_is_denied() {
        let db = running("db", "node-a", "host-model");
        let drifted = skylake("node-c").tweak(|node| take(node, &[feature("fpu")]));
        let world = world(vec![cascade_lake("node-a"), drifted], vec![vmi(db)], None);
        let warnings = admitted(&world, &review(&migration("db")));
        assert!(!warnings.is_empty() && warnings.len() <= 4, "{warnings:?}");
    }
}

mod reported {
    use super::*;

    fn answered(world: &World, review: &Value) -> ReviewAnswer {
        let bytes = review.to_string();
        let request = review::decode(bytes.as_bytes()).expect("a review");
        answer(&ReviewContext::new(world), Webhook::Validate, &request).expect("an answer")
    }

    /// Builds the launcher pod of a guest, as a target of its migration.
    fn target(guest: &str, keys: &[String]) -> Value {
        let selector: serde_json::Map<String, Value> = keys.iter().map(|key| (key.clone(), json!("true"))).collect();
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": format!("virt-launcher-{guest}-"), "namespace": "shop",
                "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "j"},
                "ownerReferences": [{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": guest,
                    "uid": format!("uid-{guest}"), "controller": true}],
            },
            "spec": {"nodeSelector": selector},
        })
    }

    #[rstest]
    #[case::by_virtctl(VIRTCTL)]
    #[case::by_a_drain(CONTROLLER)]
    #[case::by_a_person(KUBECTL)]
    fn a_migration_without_a_target_is_reported_at_the_guest(#[case] user: &str) {
        let reports = answered(&stuck(intel()), &by(review(&migration("db")), user)).reports;
        let report = reports.iter().find(|report| report.reason == Reason::NoTarget).expect("an Event");
        assert_eq!((report.regarding.kind(), report.regarding.name()), (report::EventKind::Vmi, "db"));
        assert!(report.note.as_str().contains("amd-stibp"), "virtctl shows no warning: {:?}", report.note);
    }

    #[test]
    fn a_launcher_pod_is_reported_at_its_guest() {
        let pod = by(review(&target("db", &[feature("amd-stibp")])), CONTROLLER);
        let reports = answered(&stuck(intel()), &pod).reports;
        let reported: Vec<_> = reports.iter().map(|r| (r.reason, r.regarding.uid())).collect();
        assert!(
            reported.contains(&(Reason::NoTarget, "uid-db")),
            "a pod that stays Pending says nothing itself: {reported:?}"
        );
    }

    #[test]
    fn a_guest_that_its_own_node_would_not_take_again_is_reported() {
        // node-a lacks amd-stibp, which the running launcher selects.
        let pod = by(review(&target("db", &[feature("avx")])), CONTROLLER);
        let reports = answered(&stuck(intel()), &pod).reports;
        assert!(reports.iter().any(|r| r.reason == Reason::OwnNode), "one kubelet restart from death: {reports:#?}");
    }

    #[rstest]
    #[case::a_person_reads_the_warning(KUBECTL, None)]
    #[case::a_controller_does_not(CONTROLLER, Some("db"))]
    fn a_vmi_is_reported_at_its_vm(#[case] user: &str, #[case] expected: Option<&str>) {
        let guest = running("db", "", "EPYC-Turin").tweak(|vmi| {
            vmi["status"] = json!({});
            vmi["metadata"]["ownerReferences"] = json!([{"kind": "VirtualMachine", "name": "db", "uid": "vm-db"}]);
        });
        let known = ClusterObject::VirtualMachine(Box::new(read(vm("db", "EPYC-Turin"))));
        let reports = answered(&world(mixed(), vec![known], None), &by(review(&guest), user)).reports;
        let names: Vec<_> = reports.iter().map(|r| (r.regarding.kind(), r.regarding.name())).collect();
        let expected: Vec<_> = expected.map(|name| (report::EventKind::VirtualMachine, name)).into_iter().collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_dry_run_leaves_no_trace() {
        let asked = review(&migration("db")).tweak(|review| review["request"]["dryRun"] = json!(true));
        assert_eq!(answered(&stuck(intel()), &asked).reports, [], "sideEffects: NoneOnDryRun would be a lie");
    }

    #[test]
    fn a_policy_without_record_writes_no_event() {
        let mut quiet = stuck(intel());
        quiet.policies[0].audit = Dial::Off;
        let reports = answered(&quiet, &review(&migration("db"))).reports;
        let reasons: Vec<Reason> = reports.iter().map(|report| report.reason).collect();
        assert_eq!(reasons, [Reason::OwnNode], "a policy turns off the records of impacts alone: {reports:#?}");
    }

    #[rstest]
    #[case::known(migration("db"), vec![])]
    #[case::vmi_created_a_moment_ago(
        migration("new"),
        vec![MissingInput::Vmi { namespace: "shop".to_owned(), name: "new".to_owned() }]
    )]
    #[case::pod_of_a_known_guest(target("db", &[]), vec![])]
    #[case::pod_of_a_guest_just_created(
        target("new", &[]),
        vec![MissingInput::Vmi { namespace: "shop".to_owned(), name: "new".to_owned() }]
    )]
    #[case::vm_needs_nothing(vm("new", "EPYC-Rome"), vec![])]
    #[case::pod_of_a_guest_made_again(
        target("db", &[]).tweak(|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("another")),
        vec![MissingInput::Vmi { namespace: "shop".to_owned(), name: "db".to_owned() }]
    )]
    #[case::vm_of_an_event(
        running("new", "", "EPYC-Turin").tweak(|vmi| vmi["status"] = json!({})),
        vec![MissingInput::Owner { kind: report::EventKind::VirtualMachine, namespace: "shop".to_owned(), name: "new".to_owned() }]
    )]
    #[case::vm_of_no_event(running("new", "", "EPYC-Rome").tweak(|vmi| vmi["status"] = json!({})), vec![])]
    fn missing_inputs_of_a_judgement_are_requested(#[case] object: Value, #[case] expected: Vec<MissingInput>) {
        let lacks = answered(&stuck(mixed()), &by(review(&object), CONTROLLER)).lacks;
        assert_eq!(lacks, expected, "a guest would be judged by half of what there is");
    }
}
