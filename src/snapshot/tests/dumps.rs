//! Dumps in practice: nested folders, files of other kinds, pipes, endless texts.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use super::{DumpSource, Error, NODE, YAML, read, read_dumps};
use crate::domain::Domain;
use crate::kubevirt::wire;
use crate::testing::thorough::one_in;

/// Returns file (below the folder) and name of each object, and the line about skipped files.
fn dumps(folder: &Path) -> Result<(Vec<String>, Option<String>), String> {
    let mut found = Vec::new();
    let skipped = read_dumps(&[DumpSource::Path(folder.to_owned().into())], &Domain::default(), io::empty(), |item| {
        let name = item.parse::<wire::MetaOnly>()?.metadata.name;
        let file = Path::new(&item.place.file).strip_prefix(folder).unwrap().display().to_string();
        found.push(format!("{file} {} {name}", item.kind));
        Ok::<_, Error>(())
    });
    let local = |text: String| text.replace(folder.to_str().unwrap(), "dump");
    skipped.map(|skipped| (found, skipped.line().map(local))).map_err(|error| local(error.to_string()))
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn a_must_gather_is_read_as_it_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let image = "quay-io-must-gather-sha256-1";
    let node = |name: &str| YAML.replace("name: a", &format!("name: {name}"));
    let list = |items: &str| format!("apiVersion: v1\nitems:\n{items}kind: PodList\n");
    let vmi = "- apiVersion: kubevirt.io/v1\n  kind: VirtualMachineInstance\n  metadata: {name: db, namespace: shop}\n";
    write(
        folder.path(),
        &[
            (&format!("{image}/cluster-scoped-resources/core/nodes/b.yaml"), &format!("---\n{}", node("b"))),
            (&format!("{image}/cluster-scoped-resources/core/nodes/a.yaml"), &format!("---\n{}", node("a"))),
            (&format!("{image}/namespaces/shop/kubevirt.io/virtualmachineinstances.yaml"), &list(vmi)),
            (&format!("{image}/namespaces/shop/core/pods.yaml"), &list("- metadata: {name: launcher}\n")),
            (&format!("{image}/namespaces/shop/pods/x/y/logs/current.log"), "kind: Node\n"),
            (&format!("{image}/event-filter.html"), "<html>"),
            (&format!("{image}/etcd_info/endpoint_status.json"), "[{\"Endpoint\": \"https://10.0.0.1:2379\"}]"),
            (&format!("{image}/empty.yaml"), ""),
            ("version.yaml", "openshift/must-gather\n4.20\n"),
        ],
    );
    let (found, skipped) = dumps(folder.path()).unwrap();
    assert_eq!(
        found.iter().map(|line| line.rsplit_once('/').unwrap().1).collect::<Vec<_>>(),
        [
            "a.yaml Node a",
            "b.yaml Node b",
            "pods.yaml Pod launcher",
            "virtualmachineinstances.yaml VirtualMachineInstance db"
        ]
    );
    let skipped = skipped.unwrap();
    assert!(
        skipped.starts_with("3 files of the dump hold no Kubernetes object and are left out, the first: "),
        "{skipped}"
    );
    assert!(skipped.contains("no object in dump/") && skipped.contains("/empty.yaml"), "{skipped}");
}

#[test]
fn a_support_bundle_of_harvester_is_read_as_it_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let items = "apiVersion: v1\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\nkind: NodeList\n";
    write(
        folder.path(),
        &[
            ("yamls/cluster/v1/nodes.yaml", items),
            (
                "yamls/namespaced/shop/kubevirt.io/v1/virtualmachines.yaml",
                "apiVersion: kubevirt.io/v1\nitems: []\nkind: VirtualMachineList\n",
            ),
            ("metadata.yaml", "projectName: Harvester\nbundleVersion: 1\n"),
        ],
    );
    let (found, skipped) = dumps(folder.path()).unwrap();
    assert_eq!(found, ["yamls/cluster/v1/nodes.yaml Node a", "yamls/cluster/v1/nodes.yaml Node b"]);
    let why = "1 file of the dump holds no Kubernetes object and is left out: dump/metadata.yaml, document 1: the object has no kind";
    assert_eq!(skipped.as_deref(), Some(why));
}

#[test]
fn a_truncated_dump_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.yaml", YAML), ("below/b.json", &format!("{NODE}\n{{\"kind\": \"No"))]);
    let error = dumps(folder.path()).unwrap_err();
    assert!(error.starts_with("dump/below/b.json, document 2, line 2"), "nodes would be missing unseen: {error}");
}

#[test]
fn links_lead_to_files_and_never_in_circles() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("..data/a.yaml", YAML)]);
    std::os::unix::fs::symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("..data/circle")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
    let (found, skipped) = dumps(folder.path()).unwrap();
    assert_eq!(found, ["..data/a.yaml Node a", "a.yaml Node a"]);
    assert_eq!(skipped, None);
}

#[test]
fn a_named_pipe_is_refused_and_one_of_the_shell_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = dumps(&pipe).unwrap_err();
    assert_eq!(error, "dump is a named pipe, not a file; use - and give its content on standard input");
    let socket = folder.path().join("socket");
    let _held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(dumps(&socket).unwrap_err().starts_with("dump is a socket, not a file"));
    // In a folder the pipe is not one of the dump's files.
    write(folder.path(), &[("a.yaml", YAML)]);
    assert_eq!(dumps(folder.path()).unwrap().0, ["a.yaml Node a"]);
}

#[test]
fn an_endless_input_is_refused_within_bounded_memory() {
    for head in [
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: ",
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: \"",
        "apiVersion: v1\nkind: Node\nmetadata:\n  annotations:\n    a: |\n      ",
        "# ",
        "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"",
        "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[{\"metadata\":{\"name\":\"",
        "apiVersion: v1\nkind: List\nitems:\n- kind: Node\n  apiVersion: v1\n  metadata: {name: ",
    ]
    .into_iter()
    .step_by(one_in())
    {
        // A pipe that never ends, so the reader must stop.
        let endless = head.as_bytes().chain(io::repeat(b'x'));
        let error = read("-", endless, |_| Ok::<_, Error>(())).unwrap_err().to_string();
        let expected = "an object of more than 16 MiB; the API server takes none above 3";
        assert!(error.starts_with("standard input, line ") && error.ends_with(expected), "{head}: {error}");
    }
}
