//! Authors are correct: without the author's setting, the requirement is gone, or it has another author.

use serde_json::{Value, json};

use super::*;
use crate::fit::label;
use crate::fit::subject::Stage;
use crate::kubevirt::cluster::{Cluster, ClusterObject};
use crate::kubevirt::subject::{of_migration, of_vm};
use crate::kubevirt::wire::Reader;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, launcher, migration, read, running, vmi};
use crate::testing::fleet::{feature, known, mixed, vendor};

struct Json(Value);

impl Reader<'static> for Json {
    type Error = serde_json::Error;
    fn read<T: serde::Deserialize<'static>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.to_string().leak())
    }
}

fn object(json: &Value) -> Option<ClusterObject> {
    let group = json["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    ClusterObject::read(group, json["kind"].as_str().unwrap_or_default(), &Json(json.clone())).expect("well-formed")
}

/// Returns the value at a path such as `spec.a[0].b`, or the object that holds its last part.
fn at<'v>(object: &'v mut Value, path: &str) -> &'v mut Value {
    path.split('.').fold(object, |value, part| match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((field, index)) => &mut value[field][index.parse::<usize>().expect("an index")],
        None => &mut value[part],
    })
}

/// Returns the VM without the author's setting; `None` if the setting is in another object.
fn without(vm: &Value, author: &Author) -> Option<Value> {
    let mut vm = vm.clone();
    match author {
        Author::Field { path, .. } => {
            // The path of a feature is that of its name; the test removes the whole feature.
            let path = path.strip_suffix(".name").unwrap_or(path);
            match path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
                Some((list, index)) => {
                    let index: usize = index.parse().expect("an index");
                    at(&mut vm, list).as_array_mut().expect("a list").remove(index);
                }
                None => *at(&mut vm, path) = Value::Null,
            }
        }
        Author::Instancetype(_) => vm["spec"]["instancetype"] = Value::Null,
        Author::Preference(_) => vm["spec"]["preference"] = Value::Null,
        Author::HyperV { author, .. } => return without(&vm, author),
        _ => return None,
    }
    Some(vm)
}

fn authors(vm: &Value, cluster: &Cluster) -> (Authors, Rendered) {
    let prepared = of_vm(&read(vm.clone()), cluster);
    (prepared.subject.authors, prepared.predicted.expect("a predicted pod"))
}

#[test]
fn removing_the_named_author_removes_the_requirement_or_leaves_another_author() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/vm-pods");
    let (mut looked, mut taken) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("the vectors") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        let vectors: Value = serde_json::from_str(&text).expect("JSON");
        let cluster = Cluster::new(vectors["cluster"].as_array().into_iter().flatten().filter_map(object), None);
        for case in vectors["cases"].as_array().into_iter().flatten() {
            let vm = &case["vm"];
            let (said, rendered) = authors(vm, &cluster);
            for (key, value) in &rendered.node_selector {
                let AskedAt { author, field } =
                    said.of_entry(key).unwrap_or_else(|| panic!("{}: no object asks for {key}", case["name"]));
                looked += 1;
                assert!(
                    field.is_empty() || !at(&mut vm.clone(), field).is_null(),
                    "{}: {key}: it has no {field}",
                    case["name"]
                );
                let Some(left) = without(vm, author) else { continue };
                taken += 1;
                let (then, rendered) = authors(&left, &cluster);
                let is_gone = rendered.node_selector.get(key) != Some(value);
                let is_anothers = then.of_entry(key).is_some_and(|asked| asked.author != *author);
                assert!(is_gone || is_anothers, "{}: {key} is there without {author:?}", case["name"]);
            }
        }
    }
    assert!(looked > 1000 && taken > 300, "{looked} requirements, {taken} tried: nothing is shown");
}

#[test]
fn a_migrations_entries_have_their_authors() {
    let guest = running("db", "node-a", "host-model")
        .tweak(|db| db["spec"]["domain"]["cpu"]["features"] = json!([{"name": "aes", "policy": "require"}]));
    let asked = migration("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = json!({"rack": "r1"}));
    let of = |keys: Vec<String>| {
        let cluster = cluster("1.9.0", mixed(), [vmi(guest.clone()), launcher(&guest, keys)]);
        let prepared = of_migration(&read(asked.clone()), &cluster);
        assert!(matches!(prepared.subject.stage, Stage::Migration(_)));
        prepared.subject.authors
    };
    let author = |authors: &Authors, key: &str| authors.of_entry(key).map(|asked| asked.author.clone());
    let own = Author::Field { of: Holder::VirtualMachineInstance, path: "spec.domain.cpu.features[0].name".to_owned() };
    let later = of(vec![feature("aes"), feature("fpu"), known("Cascadelake-Server")]);
    assert_eq!(author(&later, &feature("aes")), Some(own.clone()), "its own feature is called inherited");
    assert_eq!(author(&later, &feature("fpu")), Some(Author::Inherited));
    assert_eq!(author(&later, "rack"), Some(Author::AddedNodeSelector));
    assert_eq!(author(&later, &vendor("Intel")), Some(Author::SourceNode("node-a".to_owned())));
    assert_eq!(later.of_entry("rack").map(|asked| asked.field.as_str()), Some("spec.addedNodeSelector"));
    assert_eq!(author(&later, label::SCHEDULABLE), Some(Author::KubeVirt));
    let guest_has_none = of(vec![feature("aes")]);
    assert_eq!(author(&guest_has_none, &feature("aes")), Some(own));
}

/// A running guest keeps the machine type that it was started with, which is in the status of its VMI alone.
#[rstest::rstest]
#[case::in_the_status(json!({"type": "pc-q35-rhel9.4.0"}), json!({"type": "q35"}), "status.machine.type", "pc-q35-rhel9.4.0")]
#[case::in_the_status_alone(json!({"type": "pc-q35-rhel9.4.0"}), json!(null), "status.machine.type", "pc-q35-rhel9.4.0")]
#[case::not_started(json!(null), json!({"type": "pc-q35-9.2"}), "spec.domain.machine.type", "pc-q35-9.2")]
fn the_machine_type_is_in_the_field_that_holds_it(
    #[case] status: Value,
    #[case] spec: Value,
    #[case] path: &str,
    #[case] kind: &str,
) {
    let guest = running("db", "node-a", "host-model").tweak(|guest| {
        guest["status"]["machine"] = status;
        guest["spec"]["domain"]["machine"] = spec;
    });
    let prepared = crate::kubevirt::subject::of_vmi(&read(guest), &cluster("1.9.0", mixed(), []));
    let asked = prepared.subject.authors.of_entry(&format!("{}{kind}", label::MACHINE_TYPE)).expect("it is asked for");
    assert_eq!(asked.field, path, "the user looks for a field that the object does not have");
    assert_eq!(asked.author, Author::Field { of: Holder::VirtualMachineInstance, path: path.to_owned() });
}
