//! The structure of the source: no circle among the modules, and a judgement that is pure.
//!
//! ARCHITECTURE.md promises both. They are read from the source text: every path that begins with `crate::`, outside comments and
//! unit tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `folder` that holds no unit tests, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            out.push((path, code(&text)));
        }
    }
    out
}

/// The text without comments and without the unit tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The words that follow `prefix` in the text, as identifiers.
fn after<'t>(text: &'t str, prefix: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// The top-level module that a file belongs to.
fn module(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// A way from a module back to itself, if there is one.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn walk(graph: &Graph, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        let last = path.last().unwrap().clone();
        for next in graph.get(&last).into_iter().flatten() {
            if let Some(at) = path.iter().position(|module| module == next) {
                return Some([&path[at..], std::slice::from_ref(next)].concat());
            }
            if !done.contains(next) {
                path.push(next.clone());
                if let Some(found) = walk(graph, path, done) {
                    return Some(found);
                }
                path.pop();
            }
        }
        done.insert(last);
        None
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| walk(graph, &mut vec![module.clone()], &mut done))
}

#[test]
fn modules_import_each_other_without_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut graph = Graph::new();
    for (path, text) in sources(&root) {
        let from = module(&path, &root);
        let imported = after(&text, "crate::").filter(|to| *to != from && !to.is_empty());
        graph.entry(from.clone()).or_default().extend(imported.map(str::to_owned));
    }
    assert!(graph.len() > 15, "the imports were not read: {graph:?}");
    assert!(graph["judge"].contains("fit"), "the imports were not read: {graph:?}");
    let found = circle(&graph);
    assert_eq!(found, None, "nobody could read, test or change one of these modules without the others");
}

#[test]
fn a_circle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["b", "c", "b"], "a circle would pass unseen");
}

/// What the judgement may import: itself, the standard library and `thiserror`.
#[test]
fn the_judgement_is_pure() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fit");
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies: Vec<String> = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")))
        .filter(|name| name != "thiserror")
        .collect();
    assert!(dependencies.iter().any(|name| name == "serde_json"), "Cargo.toml was not read: {dependencies:?}");
    let files = sources(&folder);
    assert!(files.len() > 30, "the files were not read");
    for (path, text) in files {
        let own: Vec<&str> = after(&text, "crate::").filter(|to| *to != "fit" && !to.is_empty()).collect();
        assert_eq!(own, [""; 0], "{} judges by more than its arguments", path.display());
        for name in &dependencies {
            let used = text.contains(&format!("{name}::"));
            assert!(!used, "{} uses {name}: the judgement knows std and thiserror alone", path.display());
        }
        for io in ["std::fs", "std::net", "std::env", "std::process", "std::time", "std::io"] {
            assert!(!text.contains(io), "{} uses {io}: the judgement reads no clock and does no I/O", path.display());
        }
    }
}

/// Verbs exec in launchers where a person asks for it; the webhook never does.
#[test]
fn one_file_of_the_program_execs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let uses =
        |text: &str| ["live::exec", "live::libvirt", "super::exec", ".exec("].iter().any(|word| text.contains(word));
    let found: Vec<PathBuf> = sources(&root).into_iter().filter(|(_, text)| uses(text)).map(|(path, _)| path).collect();
    let mut found: Vec<&Path> = found.iter().map(|path| path.strip_prefix(&root).unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["app/libvirt.rs", "live/exec.rs", "live/libvirt.rs"].map(Path::new));
}
