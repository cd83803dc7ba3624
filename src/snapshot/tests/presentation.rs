//! The presentation of YAML has no meaning: comments, anchors and aliases, blank lines, document markers, line ends.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};
use proptest::prelude::*;
use serde_json::Value;

use super::items;
use crate::testing::thorough::one_in;

/// Returns every shipped file of YAML or JSON, except Helm's templates, which are not YAML before they are rendered.
fn vectors() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "yaml" || end == "json") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["tests/data", "tests/e2e/data", "demo", "deploy", "docs"] {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found.sort();
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).unwrap());
    found.into_iter().map(read).filter(|(_, text)| !text.contains("{{")).collect()
}

/// Returns the text as a dump: a file that is no Kubernetes object becomes a field of one.
fn as_dump(text: &str) -> String {
    if items(text).is_ok() {
        // A text that begins with a brace is read as JSON; after a document marker it is YAML.
        return if text.starts_with(['{', '[']) { format!("---\n{text}") } else { text.to_owned() };
    }
    format!("apiVersion: v1\nkind: Vector\nspec:\n  {}", text.replace('\n', "\n  "))
}

fn objects(dump: &str) -> Result<Vec<String>, String> {
    let items = items(dump).map_err(|error| error.to_string())?;
    Ok(items.into_iter().map(|item| format!("{} {} {}", item.api_version, item.kind, item.json)).collect())
}

/// A generator of pseudo-random numbers, reproducible by seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A replacement of some characters by a text.
struct Edit {
    from: usize,
    /// Whether the text goes into a line; whole lines are inserted before such texts.
    is_inline: bool,
    to: usize,
    text: String,
}

/// A text whose presentation is changed.
struct Dress {
    dice: Dice,
    /// Inverse frequency of changes.
    rarity: u64,
    text: Vec<char>,
    edits: Vec<Edit>,
    /// Flags by line, from 1: whether a comment may follow on it, and whether a line may come before it.
    may_follow: Vec<bool>,
    may_precede: Vec<bool>,
    documents: usize,
    anchors: usize,
    /// The values with an anchor in this document, by text and whether it is plain.
    anchored: HashMap<(String, bool), usize>,
    /// The end of the last event if it was a scalar, which may be the key of the next.
    key_end: Option<usize>,
}

const COMMENTS: [&str; 6] = ["# mine", "#", "# a: b", "# {[\"'&*", "#---", "# Ümlaut 🖥 <<: *x"];

impl Dress {
    fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.edits.push(Edit { from: at, is_inline: true, to: at, text: text.into() });
    }

    fn insert_lines(&mut self, at: usize, text: impl Into<String>) {
        self.edits.push(Edit { from: at, is_inline: false, to: at, text: text.into() });
    }

    fn anchor(&mut self) -> String {
        self.anchors += 1;
        format!("&a{}", self.anchors)
    }

    fn comment(&mut self) -> &'static str {
        COMMENTS[self.dice.below(6) as usize]
    }

    fn event(&mut self, event: Event<'_>, span: &Span) {
        let key_end = self.key_end.take();
        match event {
            Event::DocumentStart(is_explicit, _) => self.document(is_explicit, span),
            Event::Scalar(text, style, anchor, tag) => {
                let is_bare = anchor == 0 && tag.is_none();
                self.scalar((text.into_owned(), style == ScalarStyle::Plain), style, span, is_bare);
            }
            Event::MappingStart(..) | Event::SequenceStart(..) if self.dice.once_in(self.rarity) => {
                self.collection(key_end, span.start.index());
            }
            _ => {}
        }
    }

    fn document(&mut self, is_explicit: bool, span: &Span) {
        let mut is_open = self.documents > 0;
        self.documents += 1;
        self.anchored.clear();
        if !is_explicit {
            let marker = ["", "---\n", "--- # mine\n", "%YAML 1.1\n---\n"][self.dice.below(4) as usize];
            self.insert_lines(0, if is_open { "" } else { marker });
            return;
        }
        let mut markers = String::new();
        if self.dice.once_in(4) {
            markers.push_str(if is_open && self.dice.once_in(2) { "...\n" } else { "" });
            markers.push_str("---\n# nothing\n");
            is_open = true;
        }
        // A directive after an open document needs an end marker.
        let has_directive = self.dice.once_in(3);
        markers.push_str(if is_open && (has_directive || self.dice.once_in(2)) { "...\n" } else { "" });
        markers.push_str(if has_directive { "%YAML 1.1\n" } else { "" });
        self.insert_lines(span.start.index() - span.start.col(), markers);
    }

    fn scalar(&mut self, value: (String, bool), style: ScalarStyle, span: &Span, is_bare: bool) {
        let (first, last) = (span.start.line(), span.end.line());
        if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            self.may_follow[first..=last].fill(false);
            self.may_precede[first..=last + 1].fill(false);
            return;
        }
        self.may_follow[first..last].fill(false);
        self.may_precede[first + 1..=last].fill(false);
        let (start, end) = (span.start.index(), span.end.index());
        self.key_end = Some(end);
        if start == end || !is_bare || !self.dice.once_in(self.rarity) {
            return;
        }
        if let Some(name) = self.anchored.get(&value) {
            // Only a quoted key may be adjacent to its value.
            let colon = if self.text.get(end) == Some(&':') { ": " } else { "" };
            let to = end + usize::from(!colon.is_empty());
            self.edits.push(Edit { from: start, is_inline: true, to, text: format!("*a{name} {colon}") });
        } else {
            let anchor = self.anchor();
            self.insert(start, anchor + " ");
            self.anchored.insert(value, self.anchors);
        }
    }

    fn collection(&mut self, key_end: Option<usize>, start: usize) {
        // A block sequence may be reported to begin at its first element.
        if self.edits.last().is_some_and(|edit| edit.is_inline && edit.from == start) {
            return;
        }
        let colon = key_end.and_then(|end| Some(end + self.text[end..start].iter().position(|&c| c == ':')?));
        if matches!(self.text.get(start), Some('{' | '[')) {
            let anchor = self.anchor();
            self.insert(start, anchor + " ");
        } else if let Some(colon) = colon
            && self.text[colon..start].contains(&'\n')
        {
            let anchor = self.anchor();
            self.insert(colon + 1, format!(" {anchor}"));
        }
    }

    fn lines(&mut self, dump: &str) {
        let mut at = 0;
        for (index, line) in dump.split_inclusive('\n').enumerate() {
            if self.may_precede[index + 1] && self.dice.once_in(self.rarity) {
                let blanks = " ".repeat(self.dice.below(9) as usize);
                let comment = if self.dice.once_in(3) { "" } else { self.comment() };
                self.insert_lines(at, format!("{blanks}{comment}\n"));
            }
            let length = line.trim_end_matches('\n').chars().count();
            if self.may_follow[index + 1] && self.dice.once_in(self.rarity) {
                let comment = self.comment();
                self.insert(at + length, format!("  {comment}"));
            }
            at += line.chars().count();
        }
    }

    fn finish(mut self) -> String {
        self.edits.sort_by_key(|edit| (edit.from, edit.is_inline));
        let mut out = String::new();
        let mut done = 0;
        for Edit { from, to, text, .. } in self.edits {
            out.extend(&self.text[done..from]);
            out.push_str(&text);
            done = to;
        }
        out.extend(&self.text[done..]);
        if !out.ends_with('\n') {
            out.push('\n');
        }
        let ends = ["", "# the end", "...\n", "---\n", "\n\n   # the end\n...\n# really\n"];
        out.push_str(ends[self.dice.below(5) as usize]);
        if self.dice.once_in(4) {
            // Files of Windows, concatenated.
            out = out.replace("\n---\n", "\n---\n\u{feff}");
        }
        if self.dice.once_in(2) {
            out = out.replace('\n', "\r\n");
        }
        if self.dice.once_in(4) { format!("\u{feff}{out}") } else { out }
    }
}

/// Returns the same data in another presentation.
fn dress(dump: &str, seed: u64) -> String {
    let mut dice = Dice(seed);
    let lines = dump.lines().count() + 3;
    let mut dress = Dress {
        rarity: [2, 5, 40][dice.below(3) as usize],
        dice,
        text: dump.chars().collect(),
        edits: Vec::new(),
        may_follow: vec![true; lines],
        may_precede: vec![true; lines],
        documents: 0,
        anchors: 0,
        anchored: HashMap::new(),
        key_end: None,
    };
    let mut options = Options::default();
    options.set_emit_comments(false);
    for event in Parser::new_from_iter_with_options(dump.chars(), options) {
        let (event, span) = event.unwrap();
        dress.event(event, &span);
    }
    dress.lines(dump);
    dress.finish()
}

/// Describes where two texts differ, for a failed test.
fn difference(left: &[String], right: &[String]) -> Option<String> {
    if left.len() != right.len() {
        return Some(format!("{} objects became {}", left.len(), right.len()));
    }
    let (left, right) = left.iter().zip(right).find(|(left, right)| left != right)?;
    let at = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count().saturating_sub(60);
    let from = |text: &str| text.chars().skip(at).take(160).collect::<String>();
    Some(format!("…{}… became …{}…", from(left), from(right)))
}

#[test]
fn every_vector_reads_the_same_in_every_notation() {
    let vectors = vectors();
    assert!(vectors.len() > 80, "the vectors are not where they were: {} found", vectors.len());
    for (seed, (path, text)) in vectors.iter().enumerate().step_by(one_in()) {
        let path = path.display();
        let dump = as_dump(text);
        let plain = objects(&dump).unwrap_or_else(|error| panic!("{path}: {error}"));
        if let Ok(value) = serde_json::from_str::<Value>(text)
            && let [object] = &plain[..]
        {
            let json = object.splitn(3, ' ').nth(2).unwrap();
            let read: Value = serde_json::from_str(json).unwrap();
            assert!(read == value || read["spec"] == value, "{path}: as YAML it is another value than as JSON");
        }
        for round in 0..if dump.len() > 100_000 { 1 } else { 3 } {
            let dressed = dress(&dump, (seed * 3 + round) as u64);
            let read = objects(&dressed).unwrap_or_else(|error| panic!("{path}, round {round}: {error}"));
            let parted = difference(&plain, &read);
            assert!(parted.is_none(), "{path}, round {round}: {}", parted.unwrap_or_default());
        }
    }
}

const GUEST: &str = "apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: web
  namespace: shop
  annotations:
    text: |
      # no comment
      a: b
    folded: >-
      one
      # two
    'quoted key': \"# no comment\"
spec:
  runStrategy: Always
  template:
    spec:
      nodeSelector: {zone: a, \"kubernetes.io/arch\": amd64}
      domain:
        cpu: {model: Haswell, features: [{name: fsrm}, {name: erms, policy: require}]}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata:
    name: a
    labels:
      kubernetes.io/arch: amd64
- {apiVersion: v1, kind: Node, metadata: {name: b, labels: }}
";

proptest! {
    #[test]
    fn a_guest_reads_the_same_in_every_notation(seed: u64) {
        let plain = objects(GUEST).unwrap();
        let dressed = dress(GUEST, seed);
        let read = objects(&dressed).unwrap_or_else(|error| panic!("{error}\n{dressed}"));
        prop_assert_eq!(plain, read, "read from:\n{}", dressed);
    }
}

#[test]
fn the_notations_differ() {
    let dressed: Vec<String> = (0..200).map(|seed| dress(GUEST, seed)).collect();
    let has = |part: &str| dressed.iter().filter(|text| text.contains(part)).count();
    for part in
        ["kind: VirtualMachine  #", "kind: &a", "spec: &a", "*a", "&a", "\r\n", "\n...", "--- ", "%YAML", "\u{feff}"]
    {
        assert!(has(part) > 2, "{part:?} would not be tried");
    }
}

/// Expectations are those of kubectl 1.36 (`annotate --local`), which refuses a mark before `---`.
#[test]
fn a_byte_order_mark_may_begin_each_document() {
    let node = |name: &str| format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n");
    let (one, two) = (node("one"), node("two"));
    let plain = objects(&format!("{one}---\n{two}")).unwrap();
    assert_eq!(plain.len(), 2);
    let begins = ["---\n\u{feff}", "--- # c\n\u{feff}", "---\n\n\u{feff}", "---\n# c\n\u{feff}", "---\n\u{feff}\n"];
    let others =
        ["---\n\u{feff}# c\n", "---\n\u{feff}---\n", "---\n\u{feff}\u{feff}", "---\r\n\u{feff}", "---  \n \n\u{feff}"];
    for between in begins.into_iter().chain(others) {
        let dump = format!("{one}{between}{two}");
        assert_eq!(objects(&dump).as_ref(), Ok(&plain), "{dump:?}");
        assert_eq!(objects(&format!("\u{feff}{dump}")).as_ref(), Ok(&plain), "{dump:?}");
    }
    for (between, line) in [("\u{feff}---\n", 5), ("\u{feff}", 5), ("--\n\u{feff}", 5)] {
        let error = objects(&format!("{one}{between}{two}")).unwrap_err();
        assert!(error.contains(&format!("line {line}")) || error.contains("line 6"), "{between:?}: {error}");
    }
    let inside = format!("{one}---\n{}", node("\"t\u{feff}wo\""));
    assert!(objects(&inside).unwrap()[1].contains('\u{feff}'), "a mark in a text belongs to the text");
}

/// go-yaml reads a comment directly behind a quoted text or a bracket; YAML 1.2 asks for a blank.
#[test]
fn a_comment_without_a_blank_before_it_is_an_error_that_says_so() {
    for end in ["\"a\"# c", "'a'# c"] {
        let error = objects(&format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {end}\n")).unwrap_err();
        assert!(error.contains("line 4") && error.contains("put a blank before the #"), "{error}");
    }
    let error = objects("apiVersion: v1\nkind: Node\nmetadata: {name: a}# c\n").unwrap_err();
    assert!(error.contains("line 3") && error.contains("put a blank before the #"), "{error}");
}

#[test]
fn comments_may_stand_wherever_a_person_puts_them() {
    let plain = objects("apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n").unwrap();
    let many = "# licence\n".repeat(300);
    for dump in [
        "# head\napiVersion: v1 # one\n# between\nkind: Node # mine\nmetadata: # of it\n  # deep\n  name: a # two\n# last",
        "apiVersion: v1\nkind: Node\n  # deeper than its neighbours\nmetadata:\n# less deep\n  name: a\n",
        "--- # a marker\napiVersion: v1\nkind: # the value follows\n  Node\nmetadata: {name: # inside\n  a}\n... # the end\n",
        "? apiVersion # a key\n: v1\n? # before\n  kind\n: Node\nmetadata:\n  ? name\n  # between\n  : a\n",
        &format!("{many}apiVersion: v1\n{many}kind: Node\n{many}metadata:\n{many}  name: a\n{many}"),
    ] {
        assert_eq!(objects(dump).as_ref(), Ok(&plain), "{dump}");
    }
}

#[test]
fn anchors_and_merges_work_at_the_top_of_an_object_as_below() {
    let plain = objects("apiVersion: v1\nkind: Node\nmetadata: {name: Node}\n").unwrap();
    let same = "&root\n&k kind: &n Node\n<<: &v {apiVersion: v1, kind: Pod}\nmetadata: {name: *n }\n";
    let read = objects(&format!("--- {same}")).unwrap();
    let value = |text: &str| serde_json::from_str::<Value>(text.splitn(3, ' ').nth(2).unwrap()).unwrap();
    assert_eq!(value(&read[0]), value(&plain[0]));
    let list = "kind: List\napiVersion: v1\nall: &all\n- {apiVersion: v1, kind: Node, metadata: {name: Node}}\n";
    assert_eq!(objects(&format!("{list}items: *all\n")).as_ref(), Ok(&plain), "a list behind an alias is a list");
    assert_eq!(objects(&format!("{list}<<: {{items: *all }}\n")).as_ref(), Ok(&plain), "a merged list is a list");
    let aliased = objects("&k kind: Node\napiVersion: &v v1\nspec: {*k : *v , 1: &y yes, *y : *y }\n").unwrap();
    assert_eq!(value(&aliased[0])["spec"], serde_json::json!({"kind": "v1", "1": true, "true": true}));
}
