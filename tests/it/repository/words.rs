//! Plain words: the source, its tests and the documentation use the terms of Kubernetes, in the order subject, verb,
//! object.

use std::fs;
use std::path::Path;

/// Retired words, with the texts in which they are still allowed.
const RETIRED: [(&str, &str); 32] = [
    ("told", ""),
    ("hears", ""),
    ("hear of", ""),
    ("heard", ""),
    ("lets go", ""),
    ("let go", ""),
    ("letting go", ""),
    ("hindrance", ""),
    ("wish", ""),
    ("spare", ""),
    ("tell", ""),
    ("roster", ""),
    ("twin", ""),
    // The names of a case and a snapshot are kept.
    ("lottery", "11-lottery-among-milan-and-epyc the_lottery"),
    ("farewell", ""),
    ("courtesy", ""),
    ("seen to", ""),
    ("at odds", ""),
    ("leads no more", ""),
    ("unlike that of any other", ""),
    ("all fits but", ""),
    // The subject must be named: a user, a client, an API server.
    ("whoever", ""),
    ("somebody", ""),
    ("anybody", ""),
    ("everybody", ""),
    ("newcomer", ""),
    // A code of the JSON keeps its name.
    ("anew", "started-anew"),
    ("so many", ""),
    ("as things stand", ""),
    ("into question", ""),
    // Labels only suggest that libvirt may refuse a CPU.
    ("libvirt would refuse", ""),
    ("libvirt would likely refuse", ""),
];

/// Retired phrases, which methods of Rust may be named after (`is_none`).
const PHRASES: [&str; 1] = ["is none"];

/// Words that begin no comment: a function's begins with a verb, any other one with a noun.
const NO_BEGINNING: [&str; 9] = ["Of", "What", "That", "Those", "Who", "Whose", "So", "Such", "The same"];

/// Further words that begin no description of a field: it is a noun, or a sentence about the field.
const NO_DESCRIPTION: [&str; 5] = ["How", "Which", "Why", "When", "From which"];

/// Returns the description that begins in a line of YAML after the line `before`.
fn description<'l>(line: &'l str, before: &str) -> Option<&'l str> {
    let is_block = |text: &str| text.starts_with(['>', '|']);
    let of = |line: &'l str| line.trim_start().trim_start_matches("- ").strip_prefix("description: ");
    match of(line) {
        Some(text) => Some(text).filter(|text| !is_block(text)),
        None => before.split_once("description: ").filter(|(_, text)| is_block(text)).map(|_| line.trim_start()),
    }
}

/// Returns the word that a description begins with and should not.
fn describes_no_noun(line: &str, before: &str) -> Option<&'static str> {
    let text = description(line, before)?;
    let mut words = NO_BEGINNING.into_iter().chain(NO_DESCRIPTION);
    words.find(|word| text.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', ','])))
}

/// Returns the word that a comment begins with and should not; `None` for every other line.
fn begins_with_no_noun(line: &str) -> Option<&'static str> {
    let text = line.trim_start().strip_prefix("//")?;
    let text = text.strip_prefix(['/', '!']).unwrap_or(text).strip_prefix(' ')?;
    NO_BEGINNING.into_iter().find(|word| text.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')))
}

/// Whether a text holds a word, or a form of it, as a whole word.
fn holds(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let is_letter = |c: char| c.is_ascii_alphabetic();
        let before = text[..at].chars().next_back().is_some_and(is_letter);
        let after = text[at + word.len()..].trim_start_matches(['s', 'e', 'd']).chars().next().is_some_and(is_letter);
        !before && !after
    })
}

/// Returns a line in lower case, with the words of its names apart: `AsThingsStand` and `as_things_stand` are three.
fn in_words(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut last = ' ';
    for c in line.chars() {
        if c.is_uppercase() && last.is_lowercase() {
            out.push(' ');
        }
        out.extend(if c == '_' { ' ' } else { c }.to_lowercase());
        last = c;
    }
    out
}

fn look(path: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if entry.is_dir() {
            // The files of `tests/data` come from other authors.
            if !(path.ends_with("tests") && name == "data") {
                look(&entry, found);
            }
            continue;
        }
        let is_text = ["rs", "md", "yaml", "snap", "txt"]
            .iter()
            .any(|kind| entry.extension().is_some_and(|found| found == *kind));
        if is_text && name != "words.rs" {
            read(&entry, found);
        }
    }
}

fn read(file: &Path, found: &mut Vec<String>) {
    let is_yaml = file.extension().is_some_and(|extension| extension == "yaml");
    let mut before = String::new();
    for (number, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
        let described = describes_no_noun(line, &before).filter(|_| is_yaml);
        line.clone_into(&mut before);
        if let Some(word) = begins_with_no_noun(line).or(described) {
            found.push(format!("{}:{}: begins with {word:?}: {}", file.display(), number + 1, line.trim()));
        }
        let lower = in_words(line);
        for (word, allowed) in RETIRED {
            let rest = allowed
                .split(' ')
                .filter(|allowed| !allowed.is_empty())
                .fold(lower.clone(), |text, allowed| text.replace(&allowed.replace('_', " "), ""));
            if holds(&rest, word) {
                found.push(format!("{}:{}: {word:?}: {}", file.display(), number + 1, line.trim()));
            }
        }
        for phrase in PHRASES.into_iter().filter(|phrase| holds(&line.to_lowercase(), phrase)) {
            found.push(format!("{}:{}: {phrase:?}: {}", file.display(), number + 1, line.trim()));
        }
    }
}

#[test]
fn retired_words_stay_retired() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", ".ci/run"] {
        read(&root.join(file), &mut found);
    }
    for folder in ["certs", "src", "tests", "benches", "examples", "docs", "deploy", "demo"] {
        look(&root.join(folder), &mut found);
    }
    assert!(found.is_empty(), "plain words are shorter and leave nothing to guess:\n{}", found.join("\n"));
    assert!(
        holds("it was told so", "told")
            && !holds("untoldable", "told")
            && holds("twins", "twin")
            && holds("it tells", "tell"),
        "nothing is found"
    );
    assert!(
        holds(&in_words("KeptOff::AsThingsStand"), "as things stand")
            && holds(&in_words("as_things_stand"), "as things stand"),
        "names of types are not read"
    );
    for line in ["    /// What it is.", "//! Of nodes.", "// The same node."] {
        assert!(begins_with_no_noun(line).is_some(), "comments are not read: {line}");
    }
    for (before, line) in [
        ("", "description: What it is."),
        ("", "  - description: Why, for people."),
        ("  description: >-", "    From which impact up."),
    ] {
        assert!(describes_no_noun(line, before).is_some(), "descriptions are not read: {line}");
    }
    for (before, line) in
        [("", "description: The nodes."), ("", "title: What it is."), ("description: >-", "Whatever.")]
    {
        assert!(describes_no_noun(line, before).is_none(), "more than descriptions is read: {line}");
    }
    for line in ["/// Whatever is left.", "What it is.", "////What", "let what = 1; // what"] {
        assert!(begins_with_no_noun(line).is_none(), "more than the beginnings of comments is read: {line}");
    }
}
