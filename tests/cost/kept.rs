//! The memory that the watch keeps for each guest, which bounds the size of the clusters that fit into the pod's limit.

use allocation_counter::measure;
use cpufit::kubevirt::resource::Resource;
use cpufit::live::inventory::Inventory;
use cpufit::live::kinds::project;
use cpufit::live::watch::ResourceChange;
use serde_json::{Value, json};

const GUESTS: i64 = 500;

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/data/reviews/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str::<Value>(&text).expect("a review")["request"]["object"].clone()
}

/// Returns the change that a watch reports for the object of this guest, with the names that the guest alone has.
fn change(resource: Resource, mut object: Value, number: i64) -> ResourceChange {
    let guest = format!("guest-{number:05}");
    object["metadata"]["name"] = json!(guest);
    if resource == Resource::Pods {
        object["metadata"]["ownerReferences"][0]["name"] = json!(guest);
        object["metadata"]["ownerReferences"][0]["uid"] = json!(format!("uid-{number:05}"));
    } else {
        object["metadata"]["uid"] = json!(format!("uid-{number:05}"));
    }
    object["spec"]["nodeName"] = json!("node-00001");
    object["status"] = json!({"phase": "Running", "nodeName": "node-00001"});
    let projected = project(resource, &object.to_string()).expect("an object of its kind");
    ResourceChange::Put(resource, ("shop".to_owned(), guest), projected)
}

/// Returns the bytes that the inventory keeps for each of many such objects, also after a change of each.
fn kept(resource: Resource, object: &Value) -> i64 {
    let mut inventory = Inventory::new(None);
    inventory.apply(ResourceChange::Relisting(resource));
    let info = measure(|| {
        for number in (0..GUESTS).chain(0..GUESTS) {
            inventory.apply(change(resource, object.clone(), number));
        }
    });
    info.bytes_current / GUESTS
}

#[test]
fn a_guest_and_its_launcher_keep_little_memory() {
    let vmi = kept(Resource::Vmis, &recorded("vmi-create-by-controller"));
    let pod = kept(Resource::Pods, &recorded("pod-target-second"));
    println!("{vmi} bytes for a guest, {pod} for its launcher");
    assert!(vmi <= 2_300, "{vmi} bytes are kept of each guest: clusters of 20,000 outgrow the pod's memory");
    assert!(pod <= 900, "{pod} bytes are kept of each launcher: clusters of 20,000 outgrow the pod's memory");
}
