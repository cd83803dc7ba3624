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

/// The identifiers that follow `prefix` in the text, also those of a group: `crate::{fit, say::Note}`.
fn after<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => out.extend(members(group).into_iter().map(identifier)),
            None => out.push(identifier(rest)),
        }
    }
    out.retain(|name| !name.is_empty());
    out
}

fn identifier(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The members of a group, to the brace that ends it.
fn members(group: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                out.push(&group[start..at]);
                break;
            }
            ',' if depth == 0 => {
                out.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out
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
        let imported = after(&text, "crate::").into_iter().filter(|to| *to != from);
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

/// What the program depends on, for every target.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut is_dependencies = false;
    let mut out = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependencies = line == "[dependencies]" || line.ends_with(".dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_dependencies) {
            out.push(name.replace('-', "_"));
        }
    }
    out
}

/// What a file of the judgement uses besides itself, `thiserror` and those parts of the standard library that do no I/O.
fn impure<'t>(text: &'t str, dependencies: &'t [String]) -> Vec<&'t str> {
    const IO: [&str; 6] = ["env", "fs", "io", "net", "process", "time"];
    let own = after(text, "crate::").into_iter().filter(|module| *module != "fit");
    let io = after(text, "std::").into_iter().filter(|module| IO.contains(module));
    let is_used = |name: &&str| {
        [format!("{name}::"), format!("use {name} "), format!("use {name};")].iter().any(|used| text.contains(used))
    };
    let foreign = dependencies.iter().map(String::as_str).filter(|name| *name != "thiserror").filter(is_used);
    own.chain(io).chain(foreign).collect()
}

#[test]
fn the_judgement_is_pure() {
    let dependencies = dependencies();
    for name in ["serde_json", "procfs"] {
        assert!(dependencies.iter().any(|found| found == name), "Cargo.toml was not read: {dependencies:?}");
    }
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fit"));
    assert!(files.len() > 30, "the files were not read");
    for (path, text) in files {
        assert_eq!(impure(&text, &dependencies), [""; 0], "{} judges by more than its arguments", path.display());
    }
}

#[test]
fn what_is_impure_is_found() {
    let dependencies = ["serde_json", "tokio"].map(str::to_owned);
    for (text, expected) in [
        ("use crate::fit::node::Node;\nuse std::collections::BTreeMap;", vec![]),
        ("use crate::policy::Policy;", vec!["policy"]),
        ("use crate::{fit::node::Node, policy::{Dial, Policy}, world};", vec!["policy", "world"]),
        ("use std::{collections::BTreeMap, fs, net::IpAddr};", vec!["fs", "net"]),
        ("let now = std::time::Instant::now();", vec!["time"]),
        ("use serde_json as j;", vec!["serde_json"]),
        ("tokio::spawn(async {});", vec!["tokio"]),
    ] {
        assert_eq!(impure(text, &dependencies), expected, "{text}");
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

/// A named pipe would otherwise be waited for, and a device read without end.
#[test]
fn one_module_opens_files_to_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let opens = ["fs::read(", "fs::read_to_string(", "File::open(", ".open(path)", "::read_from("];
    let found: BTreeSet<PathBuf> = sources(&root)
        .into_iter()
        .filter(|(path, text)| !path.starts_with(root.join("proofs")) && opens.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path.strip_prefix(&root).unwrap().to_owned())
        .collect();
    // The proofs are tests. `certs` makes new files, `leader` reads the host's name from the kernel, `kubeconfig` checks before the library reads.
    let known = ["cli/certs.rs", "files.rs", "live/kubeconfig.rs", "live/leader.rs"].map(PathBuf::from);
    assert_eq!(found, BTreeSet::from(known));
}
