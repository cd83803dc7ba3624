//! Every name in a line exists: each word is from this crate's sentences or from the objects.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use super::seen::{Said, Seen};
use super::text::VERBS;
use super::vocabulary::words;
use crate::testing::situation::NAMES;

/// Returns the words of this crate's sentences: those of its string literals, without tests and the facts of CPU
/// models.
fn vocabulary() -> &'static BTreeSet<String> {
    static WORDS: OnceLock<BTreeSet<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut out = BTreeSet::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut out);
        out
    })
}

fn read(path: &Path, out: &mut BTreeSet<String>) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if ["testing", "proofs", "tests", "tests.rs", "facts.rs"].contains(&name) {
        return;
    }
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("the sources are there").flatten() {
            read(&entry.path(), out);
        }
        return;
    }
    let source = std::fs::read_to_string(path).expect("the sources can be read");
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut goes_on = false;
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for literal in line.split('"').skip(1) {
            for word in words(literal) {
                out.extend(word.split(['/', '.']).chain([word]).map(str::to_owned));
            }
        }
        // The literal continues in the next line.
        if !line.contains('"') || line.trim_end().ends_with('\\') || goes_on {
            out.extend(words(line).map(str::to_owned));
        }
        goes_on = line.trim_end().ends_with('\\');
    }
}

/// Whether a word is a count of objects in a situation.
fn is_small_number(word: &str) -> bool {
    is_number(word) && word.len() < 4
}

fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit() || c == '/' || c == '.')
}

/// Returns the rules that a line breaks.
pub(super) fn faults(said: &Said, seen: &Seen) -> Vec<&'static str> {
    let mut out = Vec::new();
    let is_known = |word: &str| {
        let one = |word: &str| {
            let lower = word.to_lowercase();
            is_small_number(word)
                || seen.words.contains(word)
                || vocabulary().contains(word)
                || vocabulary().contains(&lower)
        };
        let of_number = |word: &str| {
            word.rsplit_once('-').is_some_and(|(family, number)| is_number(number) && one(family) && one(number))
        };
        one(word) || word.split('/').all(|part| one(part) || of_number(part)) || word.split('.').all(one)
    };
    if words(&said.line).any(|word| !is_known(word)) {
        out.push("something is named that is not there");
    }
    let nodes: BTreeSet<&str> =
        seen.situation.nodes.iter().filter_map(|node| node["metadata"]["name"].as_str()).collect();
    let line: Vec<&str> = said.line.split_whitespace().collect();
    for (at, word) in line.iter().enumerate() {
        let Some(verb) = line.get(at + 1).map(|verb| verb.trim_end_matches([',', ';', ':', '.'])) else { continue };
        let is_many = match *word {
            name if nodes.contains(name) && NAMES.contains(&name) => {
                let before = |back: usize| at.checked_sub(back).map_or("", |at| line[at].trim_end_matches(','));
                at > 0 && line[at - 1].ends_with(',') && nodes.contains(before(1))
                    || before(1) == "and" && nodes.contains(before(2))
            }
            "more" if at > 1 && line[at - 2] == "and" && line[at - 1].parse::<usize>().is_ok() => true,
            _ => continue,
        };
        if VERBS.iter().any(|(one, many)| verb == if is_many { *one } else { *many }) {
            out.push("names and their verb disagree");
        }
    }
    if !lists_are_sorted(&line, &nodes) {
        out.push("a list of nodes is not sorted");
    }
    out
}

/// Whether nodes that are listed together, as in `a, b or c`, are in the order of their names.
fn lists_are_sorted(line: &[&str], nodes: &BTreeSet<&str>) -> bool {
    let named = |word: &str| {
        let name = word.trim_start_matches('(').trim_end_matches([',', ')', '.']).to_owned();
        Some(name).filter(|name| nodes.contains(name.as_str()))
    };
    (0..line.len()).all(|at| {
        let Some(name) = named(line[at]) else { return true };
        let next = match line.get(at + 1) {
            _ if line[at].ends_with(',') => at + 1,
            Some(&("and" | "or")) => at + 2,
            _ => return true,
        };
        line.get(next).and_then(|word| named(word)).is_none_or(|other| name < other)
    })
}

#[test]
fn a_list_of_nodes_out_of_order_is_found() {
    let nodes = BTreeSet::from(["a1", "a2", "a3"]);
    let is_sorted = |line: &str| lists_are_sorted(&line.split(' ').collect::<Vec<_>>(), &nodes);
    for line in ["can start on a1, a2 and a3 alone", "of a1, a3 and 2 more", "to a2; a1 or a2", "a3, which a1 lacks"] {
        assert!(is_sorted(line), "{line}");
    }
    for line in ["can start on a3, a1 and a2 alone", "on a2 or a1.", "(a2, a1)"] {
        assert!(!is_sorted(line), "{line}");
    }
}
