//! The processing paths of an object, each as a function of its text.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use cpufit::admission::Webhook;
use cpufit::admission::response::{Decision, render};
use cpufit::admission::review::decode;
use cpufit::answers::audit::audit;
use cpufit::answers::status::statuses;
use cpufit::cli::judged;
use cpufit::domain::Domain;
use cpufit::kubevirt::resource::Resource;
use cpufit::live::inventory::Inventory;
use cpufit::live::kinds::project;
use cpufit::live::watch::ResourceChange;
use cpufit::review::{self, ReviewContext};
use cpufit::snapshot;
use cpufit::world::World;
use serde_json::{Value, json};

use crate::objects::{Kind, node};
use crate::review::create;

fn watched(kind: Kind) -> Resource {
    match kind {
        Kind::Node => Resource::Nodes,
        Kind::Namespace => Resource::Namespaces,
        Kind::Pod => Resource::Pods,
        Kind::VirtualMachine => Resource::VirtualMachines,
        Kind::Vmi => Resource::Vmis,
        Kind::ReplicaSet => Resource::ReplicaSets,
        Kind::Pool => Resource::Pools,
        Kind::Migration => Resource::Migrations,
        Kind::KubeVirt => Resource::KubeVirts,
        Kind::Instancetype => Resource::Instancetypes,
        Kind::Preference => Resource::Preferences,
        Kind::Revision => Resource::Revisions,
        Kind::DataSource => Resource::DataSources,
        Kind::Policy => Resource::Policies,
    }
}

/// Number of nodes, each with a different host model.
const NODES: usize = 40;

/// Returns all objects of the cluster, with their kinds.
fn cluster() -> Vec<(Kind, Value)> {
    let mut out: Vec<(Kind, Value)> = (0..NODES).map(|number| (Kind::Node, node(number))).collect();
    out.extend(Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node).map(|kind| (kind, kind.base())));
    out
}

/// Returns the watched state of the cluster without this object.
pub fn inventory_without(kind: Kind) -> Inventory {
    let mut inventory = Inventory::new(None);
    for resource in Resource::WATCHED {
        inventory.apply(ResourceChange::Relisting(resource));
    }
    let mut has_left_out = false;
    for (other, object) in cluster() {
        // One node is left out; other kinds have only one object.
        if other == kind && !std::mem::replace(&mut has_left_out, true) {
            continue;
        }
        put(&mut inventory, other, &object.to_string());
    }
    for resource in Resource::WATCHED {
        inventory.apply(ResourceChange::Listed(resource));
    }
    assert!(inventory.snapshot().world.cluster.fleet.len() >= 39, "an empty cluster costs nothing");
    inventory
}

fn put(inventory: &mut Inventory, kind: Kind, text: &str) {
    let object: Value = serde_json::from_str(text).unwrap();
    let name = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let name = (name("namespace"), name("name"));
    drop(object);
    watch(inventory, kind, name, text);
}

/// Processes the object as received by a watch.
pub fn watch(inventory: &mut Inventory, kind: Kind, name: (String, String), text: &str) {
    let resource = watched(kind);
    inventory.apply(ResourceChange::Put(resource, name, project(resource, text).expect("an object of its kind")));
}

/// Processes the object's deletion as received by a watch.
pub fn forget(inventory: &mut Inventory, kind: Kind, name: (String, String)) {
    inventory.apply(ResourceChange::Gone(watched(kind), name));
}

/// Counts and audits, as the leader and `audit` do.
pub fn count(world: &World) {
    black_box(statuses(world, &|| false, &|| std::time::Duration::ZERO));
    black_box(audit(world, &|| false));
}

/// Returns the text of a review of an object.
pub fn review(operation: &str, object: &Value, old: Option<&Value>) -> String {
    let mut review = create(object, "admin");
    review["request"]["operation"] = operation.into();
    review["request"]["oldObject"] = json!(old);
    review.to_string()
}

/// Returns the reviews in which an object of this kind is read.
pub fn reviews(kind: Kind, object: &Value) -> Vec<String> {
    let create = |object: &Value| review("CREATE", object, None);
    let update = |object: &Value, old: &Value| review("UPDATE", object, Some(old));
    match kind {
        Kind::Pod => {
            let mut target = object.clone();
            target["spec"]["nodeName"] = Value::Null;
            if let Some(labels) = target["metadata"]["labels"].as_object_mut() {
                labels.insert("kubevirt.io/migrationJobUID".to_owned(), "m-1".into());
            }
            vec![create(object), create(&target)]
        }
        Kind::VirtualMachine | Kind::ReplicaSet | Kind::Pool | Kind::Policy => {
            vec![create(object), update(object, &kind.base()), update(&kind.base(), object)]
        }
        Kind::Vmi | Kind::Migration => vec![create(object)],
        Kind::Node | Kind::KubeVirt => vec![update(object, &kind.base()), update(&kind.base(), object)],
        Kind::Namespace | Kind::Instancetype | Kind::Preference | Kind::Revision | Kind::DataSource => Vec::new(),
    }
}

/// The webhooks, each of which is sent a review of its own.
pub const WEBHOOKS: [Webhook; 3] = [Webhook::Mutate, Webhook::Validate, Webhook::Authorize];

/// Answers a review at every webhook, including the response's text.
pub fn answer(world: &World, review: &str) -> Vec<Decision> {
    WEBHOOKS.map(|webhook| answer_at(webhook, world, review)).into()
}

/// Answers a review at a webhook, including the response's text.
pub fn answer_at(webhook: Webhook, world: &World, review: &str) -> Decision {
    let request = decode(review.as_bytes()).expect("a review");
    let answer = review::answer(&ReviewContext::new(world), webhook, &request).expect("an object of its kind");
    black_box(render(webhook, &request.uid, &answer.decision, &Domain::default()).unwrap());
    answer.decision
}

/// Returns the number of deadline checks in the judgements of a review, at every webhook.
pub fn steps(world: &World, text: &str) -> u64 {
    let steps = AtomicU64::new(0);
    let is_over = || {
        steps.fetch_add(1, Ordering::Relaxed);
        false
    };
    for webhook in [Webhook::Mutate, Webhook::Validate] {
        let request = decode(text.as_bytes()).expect("a review");
        let answer = review::answer(&ReviewContext { world, is_over: &is_over }, webhook, &request);
        drop(black_box(answer.expect("an object of its kind")));
    }
    steps.into_inner()
}

/// Returns the warnings if the deadline passes after `most` checks.
pub fn warnings_within(world: &World, text: &str, most: u64) -> Vec<String> {
    let steps = AtomicU64::new(0);
    let is_over = || steps.fetch_add(1, Ordering::Relaxed) >= most;
    let request = decode(text.as_bytes()).expect("a review");
    let answer = review::answer(&ReviewContext { world, is_over: &is_over }, Webhook::Validate, &request);
    let decision = answer.expect("an object of its kind").decision;
    assert!(matches!(decision, Decision::Admit { .. }), "a guess denies");
    decision.warnings()
}

/// Returns the cluster with this many nodes, of forty kinds of hosts.
pub fn world_of(nodes: usize) -> World {
    world_with(nodes, 0)
}

/// Returns the same with CPU features `f0`, `f1`, … on every node.
pub fn world_with(nodes: usize, features: usize) -> World {
    let mut inventory = Inventory::new(None);
    for resource in Resource::WATCHED {
        inventory.apply(ResourceChange::Relisting(resource));
    }
    for (kind, object) in cluster().into_iter().filter(|(kind, _)| *kind != Kind::Node) {
        put(&mut inventory, kind, &object.to_string());
    }
    for number in 0..nodes {
        let mut node = node(number % 40);
        let name = Value::from(format!("node-{number:03}"));
        node["metadata"]["name"] = name.clone();
        node["metadata"]["labels"]["kubernetes.io/hostname"] = name;
        for at in 0..features {
            node["metadata"]["labels"][format!("cpu-feature.node.kubevirt.io/f{at}")] = "true".into();
        }
        put(&mut inventory, Kind::Node, &node.to_string());
    }
    for resource in Resource::WATCHED {
        inventory.apply(ResourceChange::Listed(resource));
    }
    inventory.snapshot().world
}

/// Reads a file with the object, as `cpufit check` does.
pub fn check(world: &World, text: &str) {
    snapshot::read("object.yaml", text.as_bytes(), |item| {
        let mutated = judged::mutation(world, &item).expect("an object of its kind");
        let item = judged::patched(item, &mutated.patch).expect("an object");
        black_box(judged::judged(world, &item)?);
        Ok::<_, snapshot::Error>(())
    })
    .expect("an object");
}
