//! Structure of the source: no cycle among sibling modules at any depth or among the files, a pure judgement, and no
//! file that is too long.
//!
//! ARCHITECTURE.md promises this. The test reads the paths in the source text, outside comments and unit tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns every source file below `folder` that holds no unit tests, with its text.
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

/// Returns the text without comments and without the unit tests at its end.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap().trim_start());
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// Returns the identifiers that follow `prefix` in the text, including those of a group: `crate::{fit, say::Note}`.
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

/// Returns the members of a group, up to its closing brace.
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

/// Returns the top-level module of a file.
fn module(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Returns a path from a module back to itself, if there is one.
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
    assert_eq!(found, None, "one of these modules cannot be read, tested or changed without the others");
}

/// The page says where code goes: a module that it leaves out is found by reading all of them.
#[test]
fn each_module_has_a_row_in_architecture_md() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (lib, page) = (read("src/lib.rs"), read("ARCHITECTURE.md"));
    let declared =
        |line: &'_ str| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned);
    let modules: BTreeSet<String> = lib.lines().filter_map(declared).collect();
    let table = page.lines().skip_while(|line| !line.starts_with("| Module ")).take_while(|line| line.starts_with('|'));
    let first = table.filter_map(|row| row.split('|').nth(1));
    let listed: BTreeSet<&str> = first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let missing: Vec<&String> = modules.iter().filter(|module| !listed.contains(module.as_str())).collect();
    assert!(modules.len() > 20 && missing.is_empty(), "ARCHITECTURE.md has no row of {missing:?} ({})", modules.len());
}

/// Returns the module of a file: `["web", "body"]` for `web/body.rs`, `["web"]` for `web/mod.rs` and `web.rs`.
fn file_module(path: &Path, root: &Path) -> Vec<String> {
    let path = path.strip_prefix(root).unwrap().with_extension("");
    let mut names: Vec<String> = path.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    names.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
    names
}

/// Returns the paths in a text, each as a list of names; members of a group are listed one by one.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        rest = &rest[at..];
        let end = path(rest, &[], &mut out);
        rest = &rest[end.max(1)..];
    }
    out
}

/// Reads the path that a text begins with, below the names `before`. Returns its end.
fn path<'t>(text: &'t str, before: &[&'t str], out: &mut Vec<Vec<&'t str>>) -> usize {
    if let Some(group) = text.strip_prefix('{') {
        let members = members(group);
        for member in &members {
            path(member.trim_start(), before, out);
        }
        return members.last().map_or(1, |last| last.as_ptr() as usize + last.len() - text.as_ptr() as usize);
    }
    let name = identifier(text);
    let names = [before, &[name]].concat();
    if let Some(below) = text[name.len()..].strip_prefix("::").filter(|_| !name.is_empty()) {
        return text.len() - below.len() + path(below, &names, out);
    }
    out.push(names);
    name.len()
}

/// Returns the paths that a file imports, by their local names.
fn imports(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut out = BTreeMap::new();
    for line in text.split(';') {
        let Some((_, imported)) = line.rsplit_once("use ").filter(|(before, _)| {
            before.lines().last().is_none_or(|visibility| visibility.is_empty() || visibility.starts_with("pub"))
        }) else {
            continue;
        };
        let mut found = Vec::new();
        path(imported, &[], &mut found);
        out.extend(found.into_iter().filter_map(|path| Some((*path.last()?, path))));
    }
    out
}

/// Returns the file that a path leads to from the module `here`, and the remaining names; `None` if it leads to no
/// file.
fn file_of<'p>(
    path: &'p [&'p str],
    here: &[String],
    files: &BTreeSet<Vec<String>>,
) -> Option<(Vec<String>, &'p [&'p str])> {
    let ups = path.iter().take_while(|name| **name == "super").count();
    let (mut at, below) = match path {
        ["crate", below @ ..] => (Vec::new(), below),
        ["self", below @ ..] => (here.to_vec(), below),
        _ => (here[..here.len().checked_sub(ups)?].to_vec(), &path[ups..]),
    };
    let starts = matches!(path.first(), Some(&"crate" | &"self" | &"super"));
    let own = at.len();
    for name in below {
        at.push((*name).to_owned());
        if !files.contains(&at) {
            at.pop();
            break;
        }
    }
    let rest = &below[at.len() - own..];
    (starts || at.len() > own).then_some((at, rest))
}

/// Returns the files that each file uses. The file of its own parent module is not counted.
fn files_used(sources: &[(Vec<String>, String)]) -> Graph {
    let files: BTreeSet<Vec<String>> = sources.iter().map(|(module, _)| module.clone()).collect();
    let imported: BTreeMap<&Vec<String>, _> = sources.iter().map(|(module, text)| (module, imports(text))).collect();
    let mut graph = Graph::new();
    for (module, text) in sources {
        let mut used = BTreeSet::new();
        for path in paths(text) {
            let Some((mut file, rest)) = file_of(&path, module, &files) else { continue };
            // An item that the parent module imports is used from its original file.
            if module.starts_with(&file)
                && let Some(name) = rest.first()
                && let Some(path) = imported.get(&file).and_then(|imported| imported.get(name))
                && let Some((from, _)) = file_of(path, &file, &files)
            {
                file = from;
            }
            if !module.starts_with(&file) {
                used.insert(file);
            }
        }
        graph.entry(module.join("::")).or_default().extend(used.iter().map(|used| used.join("::")));
        if let Some((_, parent)) = module.split_last() {
            graph.entry(parent.join("::")).or_default().insert(module.join("::"));
        }
    }
    graph
}

/// Returns the sibling modules that each module uses, at every depth: a file that uses another one counts for the
/// modules below their common ancestor that hold them.
fn siblings_used(files: &Graph) -> Graph {
    let names = |module: &str| module.split("::").map(str::to_owned).collect::<Vec<_>>();
    let mut graph = Graph::new();
    for (from, used) in files {
        for to in used {
            let (from, to) = (names(from), names(to));
            let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            // A module and one below it are no siblings.
            if common < from.len().min(to.len()) {
                graph.entry(from[..=common].join("::")).or_default().insert(to[..=common].join("::"));
            }
        }
    }
    graph
}

/// Returns the files of the source with their modules and texts.
fn modules() -> Vec<(Vec<String>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root).into_iter().map(|(path, text)| (file_module(&path, &root), text)).collect()
}

#[test]
fn sibling_modules_import_each_other_without_a_circle() {
    let graph = siblings_used(&files_used(&modules()));
    assert!(graph["answers::drain"].contains("answers::anti_affinity"), "the imports were not read: {graph:?}");
    assert_eq!(circle(&graph), None, "one of these modules cannot be read, tested or changed without the others");
}

/// Returns the files that each file of these modules and texts uses.
fn graph_of(texts: &[(&str, &str)]) -> Graph {
    let names = |module: &str| module.split("::").map(str::to_owned).collect();
    let sources: Vec<(Vec<String>, String)> = texts.iter().map(|(module, text)| (names(module), code(text))).collect();
    files_used(&sources)
}

#[test]
fn a_circle_of_siblings_is_found() {
    let circle_of = |of_e: &str, of_c: &str, of_a: &str| {
        let files = [("a", of_a), ("a::b", "mod d; mod e;"), ("a::b::d", ""), ("a::b::e", of_e), ("a::c", of_c)];
        let files = graph_of(&files);
        assert_eq!(circle(&files), None, "the files are a circle too");
        circle(&siblings_used(&files))
    };
    for (of_e, of_c, of_a) in [
        ("use super::super::c::C;", "use super::b::d::D;", ""),
        ("use crate::a::c;", "fn c() { crate::a::b::d::d() }", ""),
        ("use super::super::c::C;", "use super::D;", "mod b; mod c;\npub use b::d::D;"),
    ] {
        assert!(circle_of(of_e, of_c, of_a).is_some(), "it would pass unseen: {of_e} {of_c}");
    }
    assert_eq!(circle_of("use super::super::c::C;", "use super::A;", "struct A;"), None);
    assert_eq!(circle_of("use super::d::D;", "use super::b::d::D;", ""), None);
}

#[test]
fn files_import_each_other_without_a_circle() {
    let graph = files_used(&modules());
    assert!(graph.len() > 200, "the files were not read");
    assert!(graph["fit::verdict"].contains("fit::judgement"), "the imports were not read: {:?}", graph["fit::verdict"]);
    assert_eq!(circle(&graph), None, "one of these files cannot be read or changed without the others");
}

#[test]
fn a_circle_of_files_is_found() {
    let files = |texts: &[(&str, &str)]| circle(&graph_of(texts));
    let found = |texts: &[(&str, &str)]| assert!(files(texts).is_some(), "it would pass unseen: {texts:?}");
    found(&[("a", "use crate::b::B;"), ("b", "fn b() { crate::a::a() }")]);
    found(&[("a::b", "use super::{c::C, d};"), ("a::c", "use crate::a::b;"), ("a", "mod b;")]);
    found(&[("a", "fn a() { b::b() }"), ("a::b", "use crate::c;"), ("c", "use crate::{a::A, d};")]);
    found(&[("a::b", "use super::super::c::{self, d::D};"), ("c::d", "use crate::a::b::B;"), ("a", ""), ("c", "")]);
    found(&[("a", "mod b; mod c;\npub use b::B;"), ("a::b", "use super::c;"), ("a::c", "use super::B;")]);
    let none = |texts: &[(&str, &str)]| assert_eq!(files(texts), None, "{texts:?}");
    none(&[("a", "use crate::b::B;"), ("b", "// crate::a\n#[cfg(test)]\nmod tests {\n use crate::a::A;\n}")]);
    none(&[("a", "fn a() { b::b() }"), ("a::b", "use super::A;")]);
    none(&[("a::b", "use super::c;"), ("a::c", "use super::A;"), ("a", "mod b; mod c;")]);
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

/// Returns the program's dependencies for all targets.
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

/// Returns the uses of a judgement file other than itself, `thiserror` and the parts of the standard library without
/// I/O.
fn impure<'t>(text: &'t str, dependencies: &'t [String]) -> Vec<&'t str> {
    const IO: [&str; 7] = ["env", "fs", "io", "net", "process", "thread", "time"];
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = sources(&root).iter().map(|(path, _)| file_module(path, &root)).collect();
    let files = sources(&root.join("fit"));
    assert!(files.len() > 30, "the files were not read");
    for (path, text) in files {
        assert_eq!(impure(&text, &dependencies), [""; 0], "{} judges by more than its arguments", path.display());
        let here = file_module(&path, &root);
        let used = paths(&text).into_iter().filter_map(|path| file_of(&path, &here, &modules).map(|(file, _)| file));
        let foreign = used.into_iter().find(|file| file.first().is_some_and(|first| first != "fit"));
        assert_eq!(foreign, None, "{} judges by what is not the judgement's", path.display());
    }
}

#[test]
fn an_impure_import_is_found() {
    let dependencies = ["serde_json", "tokio"].map(str::to_owned);
    for (text, expected) in [
        ("use crate::fit::node::Node;\nuse std::collections::BTreeMap;", vec![]),
        ("use crate::policy::Policy;", vec!["policy"]),
        ("use crate::{fit::node::Node, policy::{Dial, Policy}, world};", vec!["policy", "world"]),
        ("use std::{collections::BTreeMap, fs, net::IpAddr};", vec!["fs", "net"]),
        ("let now = std::time::Instant::now();", vec!["time"]),
        ("std::thread::sleep(pause);", vec!["thread"]),
        ("use serde_json as j;", vec!["serde_json"]),
        ("tokio::spawn(async {});", vec!["tokio"]),
    ] {
        assert_eq!(impure(text, &dependencies), expected, "{text}");
    }
}

/// Verbs exec in launchers on a user's request; the webhook never does.
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

/// Otherwise reading could block on a named pipe, or read a device without end.
#[test]
fn one_module_opens_files_to_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let opens = ["fs::read(", "fs::read_to_string(", "File::open(", ".open(path)", "::read_from("];
    let found: BTreeSet<PathBuf> = sources(&root)
        .into_iter()
        .filter(|(path, text)| !path.starts_with(root.join("proofs")) && opens.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path.strip_prefix(&root).unwrap().to_owned())
        .collect();
    // The proofs are tests. `certs` creates new files, `leader` reads the host's name from the kernel, `kubeconfig`
    // checks before the library reads.
    let known = ["cli/certs.rs", "files.rs", "live/kubeconfig.rs", "live/leader.rs"].map(PathBuf::from);
    assert_eq!(found, BTreeSet::from(known));
}

/// Returns the Rust files below a folder with their texts.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => texts(&path),
            Some(extension) if extension == "rs" => {
                let text = fs::read_to_string(&path).unwrap();
                vec![(path, text)]
            }
            _ => Vec::new(),
        })
        .collect()
}

/// Returns all Rust files of the repository with their texts.
fn all_texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = ["src", "tests", "benches"].iter().flat_map(|name| texts(&root.join(name))).collect();
    assert!(files.len() > 300, "the files were not read");
    files
}

#[test]
fn no_source_file_is_longer_than_its_limit() {
    const MAX_LINES: usize = 700;
    let lengths = all_texts().into_iter().map(|(path, text)| (path, text.lines().count()));
    let long: Vec<_> = lengths.filter(|(_, lines)| *lines > MAX_LINES).collect();
    assert!(long.is_empty(), "such a file is hard to find one's way in: split it by its ideas: {long:?}");
}

#[test]
fn no_comment_is_wider_than_the_code() {
    // `max_width` of rustfmt.toml, which leaves comments as they are.
    const MAX_WIDTH: usize = 120;
    let is_wide = |line: &str| {
        let words = line.trim_start();
        line.chars().count() > MAX_WIDTH && words.starts_with("//") && words.split(' ').count() > 2
    };
    for (path, text) in all_texts() {
        let wide: Vec<&str> = text.lines().filter(|line| is_wide(line)).collect();
        assert!(wide.is_empty(), "a reader has to scroll sideways in {}: {wide:#?}", path.display());
    }
}
