use std::cell::Cell;
use std::fs;
use std::io::{self, Read};

use insta::assert_snapshot;
use rstest::rstest;

use super::*;
use crate::kubevirt::wire;
use crate::testing::thorough::one_in;

mod dumps;
mod presentation;

fn items(dump: impl AsRef<[u8]>) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    read("cluster.yaml", dump.as_ref(), |item| {
        items.push(item);
        Ok(())
    })?;
    Ok(items)
}

fn error(dump: impl AsRef<[u8]>) -> String {
    items(dump).expect_err("what is wrong would pass unseen").to_string()
}

/// Returns document, item, kind and name of each object, such as `1.0 Node a`.
fn list(items: &[Item]) -> Vec<String> {
    let line = |item: &Item| {
        let index = item.place.item.map_or(String::new(), |index| format!(".{index}"));
        let name = item.parse::<wire::MetaOnly>().unwrap().metadata.name;
        format!("{}{index} {} {} {name}", item.place.document, item.api_version, item.kind)
    };
    items.iter().map(line).collect()
}

const NODE: &str = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}"#;
const YAML: &str = "apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n";

#[rstest]
#[case::yaml(YAML, &["1 v1 Node a"])]
#[case::json(NODE, &["1 v1 Node a"])]
#[case::yaml_in_braces("{apiVersion: v1, kind: Node, metadata: {name: a}} # mine\n", &["1 v1 Node a"])]
#[case::blanks_before_json(" \n\t\r\n {\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}", &["1 v1 Node a"])]
#[case::key_order("metadata: {name: a}\nkind: Node\napiVersion: v1\n", &["1 v1 Node a"])]
#[case::crlf("apiVersion: v1\r\nkind: Node\r\nmetadata:\r\n  name: a\r\n---\r\napiVersion: v1\r\nkind: Node\r\nmetadata: {name: b}\r\n", &["1 v1 Node a", "2 v1 Node b"])]
#[case::bom("\u{feff}apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n", &["1 v1 Node a"])]
#[case::bom_json("\u{feff}{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}", &["1 v1 Node a"])]
#[case::comments_and_trailing_separator("# nodes\n---\n# the first\napiVersion: v1\nkind: Node\nmetadata: {name: a}\n---\n", &["1 v1 Node a"])]
#[case::empty_documents("---\n---\n# nothing\n---\napiVersion: v1\nkind: Node\nmetadata: {name: a}\n...\n---\nnull\n", &["3 v1 Node a"])]
#[case::directive("%YAML 1.1\n---\napiVersion: v1\nkind: Node\nmetadata: {name: a}\n", &["1 v1 Node a"])]
#[case::indented_root("  apiVersion: v1\n  kind: Node\n  metadata: {name: a}\n", &["1 v1 Node a"])]
#[case::names_in_any_script("apiVersion: v1\nkind: Node\nmetadata: {name: узел-节点-🖥}\n", &["1 v1 Node узел-节点-🖥"])]
#[case::escapes(r#"{"apiVersion":"v1","\u006bind":"N\u006fde","metadata":{"name":"\u00e4"}}"#, &["1 v1 Node ä"])]
#[case::list_as_kubectl_writes_it("apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: a}\n- apiVersion: kubevirt.io/v1\n  kind: VirtualMachine\n  metadata: {name: b}\nkind: List\nmetadata:\n  resourceVersion: \"\"\n", &["1.0 v1 Node a", "1.1 kubevirt.io/v1 VirtualMachine b"])]
#[case::json_list(r#"{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}],"kind":"List"}"#, &["1.0 v1 Node a"])]
#[case::node_list(r#"{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#, &["1.0 v1 Node a", "1.1 v1 Node b"])]
#[case::kind_after_items(r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}],"kind":"VirtualMachineList","apiVersion":"kubevirt.io/v1"}"#, &["1.0 kubevirt.io/v1 VirtualMachine a", "1.1 kubevirt.io/v1 VirtualMachine b"])]
#[case::node_list_yaml("apiVersion: v1\nkind: NodeList\nitems:\n- metadata: {name: a}\n", &["1.0 v1 Node a"])]
#[case::empty_list("apiVersion: v1\nkind: List\nitems: []\n", &[])]
#[case::null_list(r#"{"apiVersion":"v1","kind":"NodeList","items":null}"#, &[])]
#[case::object_of_a_kind_like_a_list("apiVersion: x.io/v1\nkind: AllowList\nmetadata: {name: a}\n", &["1 x.io/v1 AllowList a"])]
#[case::bare_list("- apiVersion: v1\n  kind: Node\n  metadata: {name: a}\n", &["1.0 v1 Node a"])]
#[case::lists_in_a_list(r#"[{"kind":"List","apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}]},{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"b"}}]}]"#, &["1.0 v1 Node a", "1.1 v1 Node b"])]
#[case::review("{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"object\":{\"kind\":\"Pod\"}}}", &["1 admission.k8s.io/v1 AdmissionReview "])]
#[case::json_then_yaml("{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: b}\n---\n{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"c\"}}\n", &["1 v1 Node a", "2 v1 Node b", "3 v1 Node c"])]
#[case::merge_and_alias("apiVersion: v1\nkind: List\nitems:\n- &a\n  apiVersion: v1\n  kind: Node\n  metadata: &m {name: a, labels: {x: z}}\n- <<: *a\n  metadata: {<<: [*m], name: b}\n- *a\n", &["1.0 v1 Node a", "1.1 v1 Node b", "1.2 v1 Node a"])]
fn every_form_of_dump_is_read(#[case] dump: &str, #[case] objects: &[&str]) {
    let items = items(dump).unwrap_or_else(|error| panic!("this dump would be refused: {error}"));
    assert_eq!(list(&items), objects, "objects would be lost, or reported in a wrong place");
}

#[test]
fn a_dump_that_windows_powershell_redirected_is_read() {
    for unit in [u16::to_le_bytes, u16::to_be_bytes] {
        let dump = format!("\u{feff}{YAML}---\r\n{}", YAML.replace("name: a", "name: ä"));
        let bytes: Vec<u8> = dump.encode_utf16().flat_map(unit).collect();
        let items = items(bytes).expect("kubectl reads this dump");
        assert_eq!(list(&items), ["1 v1 Node a", "2 v1 Node ä"], "objects would be lost, or reported in a wrong place");
    }
}

#[test]
fn concatenated_and_line_delimited_json_is_read() {
    for between in ["", "\n", "\r\n\r\n"] {
        let items = items([NODE, NODE, NODE].join(between)).unwrap();
        assert_eq!(items.len(), 3, "all but the first object would be lost");
        assert_eq!(items[2].place.document, 3);
    }
}

#[test]
fn yaml_and_json_of_one_object_are_the_same() {
    let yaml = "apiVersion: v1\nkind: Node\nspec:\n  unschedulable: yes\n  numbers: [1, -2, 1.5, ~, 'x\\', \"\\u00e4\\n\"]\n  text: |\n    a: b\n    \"c\"\n  folded: >-\n    one\n    two\n  empty: {}\n  none: []\n  yes: 0x10\n  0x10: yes\n";
    let items = items(yaml).unwrap();
    let value: serde_json::Value = serde_json::from_str(items[0].json.get()).unwrap();
    assert_eq!(
        value["spec"],
        serde_json::json!({
            "unschedulable": true, "numbers": [1, -2, 1.5, null, "x\\", "ä\n"], "text": "a: b\n\"c\"\n", "folded": "one two",
            "empty": {}, "none": [], "true": 16, "16": true
        }),
        "a YAML dump would be judged differently from the same dump in JSON"
    );
}

#[test]
fn parsing_borrows_from_the_item() {
    let items = items(r#"{"apiVersion":"v1","kind":"Pod","spec":{"nodeName":"a"}}"#).unwrap();
    let pod: wire::Pod<'_> = items[0].parse().unwrap();
    assert!(matches!(pod.spec.node_name.unwrap().0, std::borrow::Cow::Borrowed("a")), "every label would be copied");
}

/// An endless dump that counts the bytes read from it.
struct Endless<'c> {
    taken: &'c Cell<usize>,
    unit: &'static [u8],
    ready: Vec<u8>,
}

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.ready.len() < out.len() {
            self.ready.extend_from_slice(self.unit);
        }
        let count = out.len();
        out.copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        self.taken.set(self.taken.get() + count);
        Ok(count)
    }
}

#[rstest]
#[case::json(r#"{"apiVersion":"v1","items":["#, br#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}},"#)]
#[case::yaml("apiVersion: v1\nitems:\n", b"- apiVersion: v1\n  kind: Node\n  metadata:\n    name: a\n")]
fn items_arrive_before_the_list_ends(#[case] head: &str, #[case] unit: &'static [u8]) {
    let taken = Cell::new(0);
    let endless = Endless { taken: &taken, unit, ready: Vec::new() };
    let mut count = 0;
    let outcome = read("-", head.as_bytes().chain(endless), |item| {
        assert_eq!(item.place.item, Some(count));
        count += 1;
        let ahead = taken.get().saturating_sub(count * unit.len());
        assert!(ahead < 256 * 1024, "the list is held in memory: {ahead} bytes ahead of item {count}");
        if count == 20_000 { Err(anyhow::anyhow!("enough")) } else { Ok(()) }
    });
    assert_eq!(outcome.unwrap_err().to_string(), "enough", "the caller's own error would be replaced");
}

/// A reader that returns one byte at a time, as a slow pipe may.
struct Drip<'d>(&'d [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(out.len()).min(1);
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[rstest]
#[case("\u{feff}# ü\napiVersion: v1\nkind: Node\nmetadata: {name: 节点}\n---\n")]
#[case("\u{feff}\n{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"节点\"}}\n")]
fn input_may_arrive_in_pieces_of_any_size(#[case] dump: &str) {
    let mut names = Vec::new();
    read(STDIN, Drip(dump.as_bytes()), |item| {
        names.push(item.parse::<wire::Node>()?.metadata.name);
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(names, ["节点"], "characters cut by a pipe would be lost");
}

#[test]
fn long_blanks_and_characters_across_buffers_are_harmless() {
    let blanks = "\n".repeat(200_000);
    let name = "ü€🖥".repeat(50_000);
    for dump in [
        format!("{blanks}apiVersion: v1\nkind: Node\nmetadata: {{name: \"{name}\"}}\n"),
        format!("{blanks}{{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{{\"name\":\"{name}\"}}}}{blanks}"),
    ] {
        let items = items(dump).unwrap();
        let whole: serde_json::Value = serde_json::from_str(items[0].json.get()).unwrap();
        assert!(whole["metadata"]["name"] == name, "characters are lost");
    }
}

#[test]
fn a_folder_is_read_in_name_order_and_not_below() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("b.json", &NODE.replace("\"a\"", "\"b\""));
    write("c.yml", &YAML.replace("name: a", "name: c"));
    write("a.yaml", YAML);
    write("README.md", "not a dump");
    fs::create_dir(folder.path().join("d.yaml")).unwrap();
    let mut found = Vec::new();
    let sources = [DumpSource::Path(folder.path().to_owned().into()), DumpSource::Stdin];
    read_all(&sources, &Domain::default(), NODE.as_bytes(), |item| {
        let name = item.parse::<wire::Node>()?.metadata.name;
        found.push((item.place.file.rsplit('/').next().unwrap().to_owned(), name));
        Ok::<_, Error>(())
    })
    .unwrap();
    let expected = [("a.yaml", "a"), ("b.json", "b"), ("c.yml", "c"), ("-", "a")];
    assert_eq!(found, expected.map(|(file, name)| (file.to_owned(), name.to_owned())), "files would be left out");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let none = tempfile::tempdir().unwrap();
    let fail = |path: PathBuf| {
        let error = read_all(&[DumpSource::Path(path.into())], &Domain::default(), io::empty(), |_| Ok::<_, Error>(()))
            .unwrap_err()
            .to_string();
        error.replace(none.path().to_str().unwrap(), "dumps")
    };
    assert_snapshot!(fail(none.path().to_owned()), @"no .yaml, .yml or .json file in folder dumps");
    assert_snapshot!(fail(none.path().join("x.yaml")), @"cannot read dumps/x.yaml: No such file or directory (os error 2)");
}

#[test]
fn sources_are_spelled_as_kubectl_spells_them() {
    let parsed = ["-", "./-", "cluster.yaml"].map(|text| text.parse::<DumpSource>().unwrap());
    assert_eq!(parsed[0], DumpSource::Stdin);
    assert_eq!(parsed[1], DumpSource::Path(PathBuf::from("./-").into()), "a file named - could not be read");
    assert_eq!(parsed[2].to_string(), "cluster.yaml");
}

#[test]
fn documents_are_numbered_from_one_in_errors() {
    let place = DumpPlace { file: "cluster.yaml".to_owned(), document: 2, item: Some(14), line: Some(7) };
    assert_snapshot!(place, @"cluster.yaml, document 2, items[14]");
    assert_snapshot!(DumpPlace { file: STDIN.to_owned(), item: None, ..place }, @"standard input, document 2");
}

#[test]
fn a_read_error_is_not_taken_as_the_end_of_a_dump() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }
    for head in ["", "kind: Node\nmetadata:\n", "{\"kind\":"] {
        let outcome = read("a.yaml", head.as_bytes().chain(Broken), |_| Ok::<_, Error>(()));
        assert_eq!(outcome.unwrap_err().to_string(), "cannot read a.yaml: disk on fire");
    }
}

#[test]
fn error_texts_of_kubectl_in_place_of_a_dump_are_recognized() {
    assert_snapshot!(error("error: the server doesn't have a resource type \"vmi\"\n"), @r#"cluster.yaml holds an error instead of objects: error: the server doesn't have a resource type "vmi""#);
    assert_snapshot!(error("Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list\n"), @r#"cluster.yaml holds an error instead of objects: Error from server (Forbidden): nodes is forbidden: User "x" cannot list"#);
    assert_snapshot!(error("No resources found in default namespace.\n"), @"cluster.yaml holds an error instead of objects: No resources found in default namespace.");
    assert_snapshot!(error("Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout"), @"cluster.yaml holds an error instead of objects: Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout");
    assert_snapshot!(error("E1123 15:30:48.123456   12345 memcache.go:265] couldn't get current server API group list\n"), @"cluster.yaml holds an error instead of objects: E1123 15:30:48.123456   12345 memcache.go:265] couldn't get current server API group list");
    assert_snapshot!(error("bash: kubectl: command not found\n"), @"cluster.yaml holds an error instead of objects: bash: kubectl: command not found");
    assert_snapshot!(error("apiVersion: v1\nitems: []\nkind: List\nError from server (NotFound): nodes \"x\" not found\n"), @"cluster.yaml holds an error instead of objects: Error from server (NotFound)");
    assert_snapshot!(error(format!("{NODE}\nError from server (NotFound): nodes \"x\" not found\n")), @r#"cluster.yaml holds an error instead of objects: Error from server (NotFound): nodes "x" not found"#);
    assert_snapshot!(error("Name:               node-a\nRoles:              worker\nLabels:             a=b\n                    c=d\n"), @"cluster.yaml holds the output of `kubectl describe`; write it with `kubectl get … -o yaml`");
    assert_snapshot!(error("NAME     STATUS   ROLES    AGE   VERSION\nnode-a   Ready    <none>   1d    v1.34.1\n"), @"cluster.yaml holds a table; write it with `kubectl get … -o yaml`");
    assert_snapshot!(error(r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"nodes is forbidden","code":403}"#), @"cluster.yaml holds an error instead of objects: nodes is forbidden");
}

#[test]
fn empty_dumps_are_refused() {
    for empty in ["", "\n  \n", "# only\n# comments\n", "---\n", "---\n---\n\n...\n", "\u{feff}", "null\n", "~"] {
        assert_eq!(error(empty), "no object in cluster.yaml", "{empty:?} would pass for a cluster without nodes");
    }
}

#[test]
fn broken_text_is_located() {
    assert_snapshot!(error("{\"apiVersion\":\"v1\",\n \"items\":[{\"kind\":\"Node\",\"metadata\":{\"na"), @"cluster.yaml, document 1, line 2, column 41: the JSON ends in the middle of an object; was the dump cut off?");
    assert_snapshot!(error("{\"apiVersion\":\"v1\",\n \"kind\": Node}"), @"cluster.yaml, document 1, line 2, column 11: not JSON: expected value");
    assert_snapshot!(error("{\"kind\":\"Node\",}"), @"cluster.yaml, document 1, line 1, column 17: not JSON: trailing comma");
    assert_snapshot!(error(format!("{NODE}\n{{\"a\": 1,, }}")), @"cluster.yaml, document 2, line 2, column 10: not JSON: key must be a string");
    assert_snapshot!(error(format!("{NODE},\n{NODE}")), @"cluster.yaml, document 1, line 1, column 58: after a JSON document, expected another or the end");
    assert_snapshot!(error("apiVersion: v1\nkind: Node\nmetadata:\n  labels:\n    a: b: c\n"), @"cluster.yaml, document 1, line 5, column 9: not YAML: mapping values are not allowed in this context");
    assert_snapshot!(error("apiVersion: v1\nkind: Node\nmetadata:\n\tname: a\n"), @"cluster.yaml, document 1, line 4, column 2: not YAML: tabs disallowed within this context (block indentation)");
    assert_snapshot!(error("apiVersion: v1\nkind: Node\nmetadata:\n  name: \"a\n"), @"cluster.yaml, document 1, line 4, column 9: not YAML: unclosed quote");
    assert_snapshot!(error(format!("{NODE}\n---\nkind: [Node\n")), @"cluster.yaml, document 2, line 3, column 7: not YAML: unclosed bracket '['");
    assert_snapshot!(error("kind: Node\nmetadata: *nobody\n"), @"cluster.yaml, document 1, line 2, column 11: not YAML: while parsing node, found unknown anchor");
    assert_snapshot!(error("kind: Node\nmetadata:\n  ? [a]\n  : b\n"), @"cluster.yaml, document 1, line 3, column 5: a key must be text");
    assert_snapshot!(error("kind: Node\nmetadata:\n  labels:\n    b: '1'\n    a: '1'\n    b: '2'\n"), @r#"cluster.yaml, document 1, line 6, column 5: the key "b" appears twice in one mapping"#);
    assert_snapshot!(error(b"apiVersion: v1\nkind: Node\nmetadata:\n  name: \xff\n"), @"cluster.yaml, line 4: not UTF-8 text");
    assert_snapshot!(error(b"{\"kind\":\"Node\",\n\"metadata\":{\"name\":\"\xc3\"}}"), @"cluster.yaml, line 2: not UTF-8 text");
    assert_snapshot!(error(b"kind: Node\nname: \xe2\x82"), @"cluster.yaml, line 2: not UTF-8 text");
    assert_snapshot!(error(b"\xff\xfe\0\0a\0\0\0"), @"cannot read cluster.yaml: it is UTF-32; write it as UTF-8");
    assert_snapshot!(error(b"\x1f\x8b\x08\x00\x00\x00"), @"cluster.yaml, line 1: not UTF-8 text; it is compressed: unpack it with gunzip");
}

#[test]
fn a_document_that_is_not_an_object_is_an_error() {
    assert_snapshot!(error("hello\n"), @r#"cluster.yaml, document 1: expected an object, found string "hello""#);
    assert_snapshot!(error("42\n"), @"cluster.yaml, document 1: expected an object, found number 42");
    assert_snapshot!(error("[1]"), @"cluster.yaml, document 1, items[0]: expected an object, found number 1");
    assert_snapshot!(error("[[]]"), @"cluster.yaml, document 1, items[0]: expected an object, found a list");
    assert_snapshot!(error("apiVersion: v1\nkind: List\nitems:\n- node-a\n"), @r#"cluster.yaml, document 1, items[0]: expected an object, found string "node-a""#);
    assert_snapshot!(error("apiVersion: v1\nkind: List\nitems:\n-\n"), @"cluster.yaml, document 1, items[0]: expected an object, found null");
    assert_snapshot!(error("apiVersion: v1\nmetadata: {name: node-a, namespace: x}\n"), @"cluster.yaml, document 1 (x/node-a): the object has no kind");
    assert_snapshot!(error("kind: Node\n"), @"cluster.yaml, document 1: the object has no apiVersion");
    assert_snapshot!(error("{}"), @"cluster.yaml, document 1: the object has no kind");
    assert_snapshot!(error("apiVersion: v1\nkind: List\nitems:\n- metadata: {name: node-a}\n"), @"cluster.yaml, document 1, items[0] (node-a): the object has no kind");
    assert_snapshot!(error("apiVersion: v1\nkind: NodeList\nitems:\n- kind: Pod\n"), @"cluster.yaml, document 1, items[0]: the object has no apiVersion");
    assert_snapshot!(error("apiVersion: v1\nkind: List\n"), @"cluster.yaml, document 1: items: expected a list, found nothing");
    assert_snapshot!(error("apiVersion: v1\nkind: List\nitems: {a: b}\n"), @"cluster.yaml, document 1: items: expected a list, found an object");
    assert_snapshot!(error(r#"{"kind":"List","items":{"a":{"b":[1]}}}"#), @"cluster.yaml, document 1: items: expected a list, found an object");
    assert_snapshot!(error(r#"{"kind":"List","items":"many"}"#), @r#"cluster.yaml, document 1: items: expected a list, found string "many""#);
    assert_snapshot!(error("apiVersion: v1\nkind: 5\n"), @"cluster.yaml, document 1 (object): kind: expected a string, found number 5");
    assert_snapshot!(error(r#"{"kind":"Node","kind":"Pod"}"#), @"cluster.yaml, document 1 (Node): kind: appears twice");
    assert_snapshot!(error(r#"[{"apiVersion":"v1","kind":["Node"],"metadata":{"name":"a"}}]"#), @"cluster.yaml, document 1, items[0] (object a): kind: expected a string, found a list");
}

fn wrong(dump: &str) -> String {
    let mut items = items(dump).unwrap();
    items.pop().unwrap().parse::<wire::Node>().expect_err("a wrong field would be read").to_string()
}

#[test]
fn a_wrong_field_is_named_with_its_fix() {
    let node = |meta: &str| format!("apiVersion: v1\nkind: List\nitems:\n- kind: Node\n  apiVersion: v1\n  {meta}\n");
    assert_snapshot!(wrong(&node("metadata: {name: node-b, labels: {foo: 5}}")), @"cluster.yaml, document 1, items[0] (Node node-b): metadata.labels.foo: expected a string, found number 5; put it in quotes");
    assert_snapshot!(wrong(&node("metadata: {name: node-b, labels: {example.com/zone: no}}")), @r#"cluster.yaml, document 1, items[0] (Node node-b): metadata.labels["example.com/zone"]: expected a string, found boolean false; put it in quotes"#);
    assert_snapshot!(wrong(&node("metadata: {name: node-b, namespace: x, labels: {a: 1.5}}")), @"cluster.yaml, document 1, items[0] (Node x/node-b): metadata.labels.a: expected a string, found number 1.5; put it in quotes");
    assert_snapshot!(wrong(&node("metadata: {name: 7}")), @"cluster.yaml, document 1, items[0] (Node): metadata.name: expected a string, found number 7; put it in quotes");
    assert_snapshot!(wrong(&node("metadata: node-b")), @r#"cluster.yaml, document 1, items[0] (Node): metadata: expected an object, found string "node-b""#);
    assert_snapshot!(wrong(&node("metadata: {name: node-b}\n  spec: {taints: [{key: a}, {key: [b]}]}")), @"cluster.yaml, document 1, items[0] (Node node-b): spec.taints[1].key: expected a string, found a list");
    assert_snapshot!(wrong(&node("spec: {unschedulable: 'true'}")), @r#"cluster.yaml, document 1, items[0] (Node): spec.unschedulable: expected a boolean, found string "true""#);
    assert_snapshot!(wrong(r#"{"apiVersion":"v1","kind":"Node","spec":{"taints":{}},"metadata":{"name":"a"}}"#), @"cluster.yaml, document 1 (Node a): spec.taints: expected a list, found an object");
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let nest = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let vmi =
        |affinity: String| format!("{{\"apiVersion\":\"v1\",\"kind\":\"Vmi\",\"spec\":{{\"affinity\":{affinity}}}}}");
    let json = items(vmi(nest("[", "]", 100_000))).unwrap();
    assert_snapshot!(json[0].parse::<wire::Vmi>().unwrap_err(), @"cluster.yaml, document 1 (Vmi): spec.affinity[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0…: nested too deep");
    json[0].parse::<wire::MetaOnly>().expect("a field that is not read would make the dump unreadable");
    assert_snapshot!(error(nest("[", "]", 100_000)), @"cluster.yaml, document 1, items[0]: expected an object, found a list");
    assert_snapshot!(error("{\"items\":[".repeat(100_000)), @"cluster.yaml, document 1, line 1, column 1000001: the JSON ends in the middle of an object; was the dump cut off?");
    assert_snapshot!(error(nest("{\"items\":[", "]}", 100)), @"cluster.yaml, document 1, items[0]: lists within lists are nested too deep");
    assert_snapshot!(error(format!("a: {}", nest("[", "]", 100_000))), @"cluster.yaml, document 1, line 1, column 259: not YAML: recursion limit exceeded");
    let staircase = (0..2_000).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    assert_snapshot!(error(staircase), @"cluster.yaml, document 1, line 256, column 256: not YAML: recursion limit exceeded");
}

#[test]
fn alias_bombs_are_refused() {
    let mut bomb =
        "apiVersion: v1\nkind: Node\nspec:\n  a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        bomb = format!("{bomb}  a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", "));
    }
    assert_snapshot!(error(bomb), @"cluster.yaml, document 1, line 10, column 22: anchors and aliases that mean too much text");
    assert_snapshot!(error("kind: Node\nspec: &a\n  b: *a\n"), @"cluster.yaml, document 1, line 3, column 6: the alias is of a value that contains it, or of a whole list of objects");
}

#[test]
fn large_dumps_are_not_refused() {
    let node = "- apiVersion: v1\n  kind: Node\n  metadata: {name: a, labels: {b: c, d: e, f: g, h: i, j: k, l: m}}\n";
    let (mut count, nodes) = (0, 20_000 / one_in());
    let dump = "apiVersion: v1\nkind: List\nitems:\n".as_bytes().chain(io::Cursor::new(node.repeat(nodes)));
    read("-", dump, |_| {
        count += 1;
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(count, nodes, "a parser's default budget ends a dump of some hundred nodes");
}

/// The line of an object, for annotations in CI: the line of its first key, in every format.
#[test]
fn an_object_is_found_by_its_line() {
    let lines = |text: &str| {
        let mut out = Vec::new();
        let read = read("x", text.as_bytes(), |item| {
            out.push(item.place.line);
            Ok::<_, Error>(())
        });
        read.unwrap();
        out
    };
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n";
    assert_eq!(lines(node), [Some(1)]);
    assert_eq!(lines(&format!("# comment\n---\n\n{node}---\n# another\n{node}")), [Some(4), Some(9)]);
    let list = "items:\n- {apiVersion: v1, kind: Node}\n\n- apiVersion: v1\n  kind: Node\napiVersion: v1\nkind: List\n";
    assert_eq!(lines(list), [Some(2), Some(4)]);
    let late = "items:\n- {}\n- {}\nkind: NodeList\napiVersion: v1\n";
    assert_eq!(lines(late), [Some(2), Some(3)], "their kind comes last");
    let json = "\n\n{\"apiVersion\": \"v1\", \"kind\": \"Node\"}\n{\"apiVersion\": \"v1\", \"kind\": \"Node\"}";
    assert_eq!(lines(json), [Some(3), Some(4)]);
    let after = format!("{{\"apiVersion\": \"v1\", \"kind\": \"Node\"}}\n---\n{node}");
    assert_eq!(lines(&after), [Some(1), Some(3)]);
    let list =
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n{\"apiVersion\": \"v1\", \"kind\": \"Node\"}]}";
    assert_eq!(lines(list), [None], "a line that is not known is not said");
}
