//! Streams of changes in, snapshots out.
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::live::kinds::project;
use crate::testing::{Tweak, objects};
use crate::well_known::{self, KeyPlace};

fn put(resource: Resource, object: &Value) -> ResourceChange {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    match project(resource, &object.to_string()).expect("well-formed") {
        Projected::Nothing => ResourceChange::Gone(resource, name),
        projected => ResourceChange::Put(resource, name, projected),
    }
}

fn node(name: &str, version: &str) -> Value {
    let labels = json!({"cpu-feature.node.kubevirt.io/fpu": "true", "kubernetes.io/hostname": name});
    objects::node(name, &labels).tweak(|node| {
        node["metadata"]["resourceVersion"] = json!(version);
        node["metadata"]["annotations"] = json!({"kubevirt.io/heartbeat": version});
        node["metadata"]["managedFields"] = json!([{"manager": "kubelet"}]);
        node["status"]["conditions"][0]["lastHeartbeatTime"] = json!(version);
        node["status"]["images"] = json!([{"names": [version]}]);
    })
}

fn vmi(name: &str, phase: &str) -> Value {
    objects::running(name, "node-a", "host-model").tweak(|vmi| {
        vmi["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "cpufit.io/policy": "intel"});
        vmi["status"]["phase"] = json!(phase);
    })
}

fn pod(guest: &str, phase: &str) -> Value {
    let guest = objects::running(guest, "node-a", "host-model");
    objects::launcher_pod(&guest, "x7k2p", &json!({"cpu-feature.node.kubevirt.io/fpu": "true"}))
        .tweak(|pod| pod["status"]["phase"] = json!(phase))
}

fn policy(name: &str, enforce: &str, generation: u32) -> Value {
    objects::policy(name, &json!({"enforce": enforce})).tweak(|policy| {
        policy["metadata"]["uid"] = json!(name);
        policy["metadata"]["generation"] = json!(generation);
    })
}

fn after(changes: impl IntoIterator<Item = ResourceChange>) -> Inventory {
    let mut inventory = Inventory::new(None);
    changes.into_iter().for_each(|change| inventory.apply(change));
    inventory
}

/// Returns an inventory with every resource listed once, with these objects.
fn synced(changes: impl IntoIterator<Item = ResourceChange>) -> Inventory {
    let begun = Resource::WATCHED.map(ResourceChange::Relisting);
    let listed = Resource::WATCHED.map(ResourceChange::Listed);
    let mut inventory = after(begun.into_iter().chain(changes).chain(listed));
    assert!(inventory.is_synced() && inventory.has_changed());
    drop(inventory.snapshot());
    inventory
}

#[test]
fn nothing_is_known_before_every_resource_was_read() {
    let all_but_one = Resource::WATCHED.into_iter().skip(1).map(ResourceChange::Listed);
    let mut inventory = after(all_but_one);
    assert!(!inventory.is_synced(), "guests would be judged by a fleet without nodes");
    inventory.apply(ResourceChange::Absent(Resource::WATCHED[0]));
    assert!(inventory.is_synced(), "a cluster without KubeVirt would never be ready");
}

#[rstest]
#[case::heartbeat(Resource::Nodes, node("node-a", "1"), node("node-a", "2"))]
#[case::guest_annotated(
    Resource::Vmis,
    vmi("db", "Running"),
    { let mut vmi = vmi("db", "Running"); vmi["metadata"]["annotations"]["other"] = json!("x"); vmi }
)]
#[case::agent_connected(
    Resource::Vmis,
    vmi("db", "Running"),
    { let mut vmi = vmi("db", "Running"); vmi["status"]["conditions"] = json!([{"type": "AgentConnected", "status": "True"}]); vmi }
)]
#[case::launcher_status(
    Resource::Pods,
    pod("db", "Running"),
    { let mut pod = pod("db", "Running"); pod["status"]["podIP"] = json!("10.0.0.1"); pod }
)]
fn changes_that_affect_no_judgement_publish_nothing(
    #[case] resource: Resource,
    #[case] before: Value,
    #[case] after: Value,
) {
    let mut inventory = synced([put(resource, &before)]);
    inventory.apply(put(resource, &after));
    assert!(!inventory.has_changed(), "15,000 nodes would publish a snapshot with each heartbeat");
}

#[rstest]
#[case::cordon(Resource::Nodes, { let mut node = node("node-a", "2"); node["spec"]["unschedulable"] = json!(true); node })]
#[case::label(Resource::Nodes, { let mut node = node("node-a", "2"); node["metadata"]["labels"]["cpu-feature.node.kubevirt.io/vme"] = json!("true"); node })]
#[case::not_migratable(Resource::Vmis, {
    let mut vmi = vmi("db", "Running");
    vmi["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False"}]);
    vmi
})]
#[case::guest_stopped(Resource::Vmis, vmi("db", "Succeeded"))]
#[case::launcher_finished(Resource::Pods, pod("db", "Succeeded"))]
#[case::policy(Resource::Policies, policy("intel", "Pinned", 2))]
fn changes_that_affect_a_judgement_publish_a_snapshot(#[case] resource: Resource, #[case] changed: Value) {
    let mut inventory = synced([
        put(Resource::Nodes, &node("node-a", "1")),
        put(Resource::Vmis, &vmi("db", "Running")),
        put(Resource::Pods, &pod("db", "Running")),
        put(Resource::Policies, &policy("intel", "None", 1)),
    ]);
    inventory.apply(put(resource, &changed));
    assert!(inventory.has_changed(), "reviews would be answered by what was");
}

#[test]
fn objects_deleted_while_the_watch_was_down_are_removed_by_the_next_list() {
    let mut inventory = synced([
        put(Resource::Nodes, &node("node-a", "1")),
        put(Resource::Nodes, &node("node-b", "1")),
        put(Resource::Vmis, &vmi("db", "Running")),
        put(Resource::Vmis, &vmi("web", "Running")),
    ]);
    let before = inventory.snapshot();
    for change in [
        ResourceChange::Relisting(Resource::Nodes),
        put(Resource::Nodes, &node("node-b", "2")),
        ResourceChange::Listed(Resource::Nodes),
        ResourceChange::Relisting(Resource::Vmis),
        put(Resource::Vmis, &vmi("web", "Running")),
        ResourceChange::Listed(Resource::Vmis),
    ] {
        inventory.apply(change);
    }
    let now = inventory.snapshot().world.cluster;
    assert!(now.fleet.find("node-a").is_none(), "guests would be sent to a node that is gone");
    assert!(now.vmi("shop", "db").is_none() && now.vmi("shop", "web").is_some());
    assert!(before.world.cluster.fleet.find("node-a").is_some(), "a snapshot never changes: a review is judged by one");
    assert!(before.world.cluster.vmi("shop", "db").is_some());
}

#[test]
fn a_list_of_the_cluster_wide_kind_leaves_the_other_alone() {
    let kind = |namespace: &str| json!({"metadata": {"name": "u1", "namespace": namespace}, "spec": {"cpu": {"model": "Haswell"}}});
    let mut inventory =
        synced([put(Resource::Instancetypes, &kind("shop")), put(Resource::ClusterInstancetypes, &kind(""))]);
    inventory.apply(ResourceChange::Relisting(Resource::ClusterInstancetypes));
    inventory.apply(ResourceChange::Listed(Resource::ClusterInstancetypes));
    let cluster = inventory.snapshot().world.cluster;
    assert!(cluster.instancetype("shop", "u1").is_some());
    assert!(cluster.instancetype("", "u1").is_none());
}

#[test]
fn an_invalid_policy_governs_no_guest_and_is_reported() {
    let mut inventory = synced([
        put(Resource::Policies, &policy("intel", "Pinned", 1)),
        put(Resource::Policies, &policy("odd", "Sometimes", 1)),
    ]);
    inventory.apply(ResourceChange::Relisting(Resource::Vmis));
    let snapshot = inventory.snapshot();
    let names: Vec<&str> = snapshot.world.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["intel"], "half a policy is worse than none");
    assert!(snapshot.policies["odd"].policy.as_ref().is_err_and(|problem| problem.contains("Sometimes")));
}

#[test]
fn launchers_with_equal_requirements_share_them() {
    let mut inventory = synced([
        put(Resource::Vmis, &vmi("db", "Running")),
        put(Resource::Vmis, &vmi("web", "Running")),
        put(Resource::Pods, &pod("db", "Running")),
        put(Resource::Pods, &pod("web", "Running")),
    ]);
    let cluster = inventory.snapshot().world.cluster;
    let of = |name| cluster.vmi("shop", name).and_then(|vmi| cluster.current_launcher(vmi)).expect("its launcher");
    assert!(Arc::ptr_eq(&of("db").placement, &of("web").placement), "20,000 guests would cost 200 MB");
    let kept = cluster.vmi("shop", "db").expect("known");
    assert_eq!(kept.metadata.annotations.keys().collect::<Vec<_>>(), ["cpufit.io/policy"]);
}

/// Every annotation that is read anywhere is kept in watched objects; otherwise guests would be judged wrongly.
#[test]
fn annotations_that_are_read_are_kept() {
    let mut guest = vmi("db", "Running");
    for known in well_known::ALL {
        guest["metadata"]["annotations"][known.key] = json!("true");
    }
    let cluster = synced([put(Resource::Vmis, &guest)]).snapshot().world.cluster;
    let kept = &cluster.vmi("shop", "db").expect("known").metadata.annotations;
    for known in well_known::ALL.iter().filter(|known| known.place == KeyPlace::Annotation) {
        assert!(kept.contains_key(known.key), "{} is dropped before it is read", known.key);
    }
    assert!(well_known::MIGRATION_TARGET.is_set(kept) && !kept.keys().any(|key| key.starts_with("kubectl.")));
}

#[tokio::test(start_paused = true)]
async fn changes_close_together_make_one_snapshot() {
    let (sender, receiver) = mpsc::channel(64);
    let (published, mut snapshots) = mpsc::unbounded_channel();
    let running = tokio::spawn(run(Inventory::new(None), receiver, Duration::from_millis(20), move |snapshot| {
        published.send(snapshot.world.cluster.fleet.len()).expect("the test listens");
    }));
    for resource in Resource::WATCHED {
        sender.send(ResourceChange::Listed(resource)).await.expect("it listens");
    }
    assert_eq!(snapshots.recv().await, Some(0));
    for name in ["node-a", "node-b", "node-c"] {
        sender.send(put(Resource::Nodes, &node(name, "1"))).await.expect("it listens");
    }
    assert_eq!(snapshots.recv().await, Some(3), "a relist of 15,000 nodes would publish 15,000 times");
    sender.send(put(Resource::Nodes, &node("node-a", "2"))).await.expect("it listens");
    drop(sender);
    running.await.expect("it ends when all senders are gone");
    assert_eq!(snapshots.recv().await, None, "a heartbeat publishes nothing");
}

#[rstest]
#[case("/api/v1/nodes", Some(Resource::Nodes))]
#[case("/api/v1/pods", Some(Resource::Pods))]
#[case("/api/v1/nodes/node-a", None)]
#[case("/apis/kubevirt.io/v1/virtualmachineinstances", Some(Resource::Vmis))]
#[case("/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances", None)]
#[case("/apis/cpufit.io/v1alpha1/cpupolicies", Some(Resource::Policies))]
#[case("/apis/other.io/v1/nodes", None)]
fn only_lists_and_watches_of_all_namespaces_count_for_freshness(
    #[case] path: &str,
    #[case] expected: Option<Resource>,
) {
    assert_eq!(Resource::of_path(path), expected, "{path}: the age of the data would be that of something else");
}

/// A message that an object does not exist would be false while its resource may not be read.
#[test]
fn a_resource_that_may_not_be_read_is_known_as_such() {
    let mut inventory = Inventory::new(None);
    let unread = |inventory: &mut Inventory| inventory.snapshot().world.cluster.unread;
    inventory.apply(ResourceChange::Absent(Resource::DataSources));
    assert_eq!(unread(&mut inventory), [(Resource::DataSources, WhyUnread::Forbidden)]);
    inventory.apply(ResourceChange::Absent(Resource::DataSources));
    assert!(!inventory.has_changed(), "an equal state is published again");
    inventory.apply(ResourceChange::Listed(Resource::DataSources));
    assert!(inventory.has_changed() && unread(&mut inventory).is_empty());
}
