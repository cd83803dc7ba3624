//! A page has the lines and cells that were added, regardless of the names of objects.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::snapshot;

fn hostile() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "node-a",
        "x",
        " ",
        "  ",
        "   ",
        "-",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\u{1b}[2J",
        "\u{1b}]0;t\u{7}",
        "\u{9b}1m",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
        "\u{200b}",
        "\u{feff}",
        "\u{a0}",
        "\u{3000}",
        "漢字",
        "é",
        "e\u{301}",
        "\0",
        "\\u{a}",
        "'",
        "\"",
        "\u{e0041}",
        "👩\u{200d}🚀",
    ]);
    prop_oneof![3 => prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()), 1 => any::<String>()]
}

fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1_usize..6).prop_flat_map(|columns| prop::collection::vec(prop::collection::vec(hostile(), columns), 1..6))
}

/// Whether a terminal or an editor could interpret it as anything but a letter.
fn is_raw(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
}

/// Returns the cells of a line, split at two or more blanks.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(|cell| cell.trim_matches(' ')).filter(|cell| !cell.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_table_has_its_rows_and_columns(rows in rows()) {
        let mut page = Page::default();
        page.table(&rows);
        prop_assert!(!page.as_str().contains(is_raw), "{page:?}");
        prop_assert_eq!(page.as_str().lines().count(), rows.len());
        for (line, row) in page.as_str().lines().zip(&rows) {
            prop_assert_eq!(cells(line).len(), row.len(), "{}", line);
            prop_assert_eq!(line.trim_end(), line);
        }
    }

    #[test]
    fn a_listing_can_be_split_at_any_blank(rows in rows()) {
        let mut page = Page::default();
        page.listing(&rows);
        prop_assert!(!page.as_str().contains(is_raw), "{page:?}");
        prop_assert_eq!(page.as_str().lines().count(), rows.len());
        for (line, row) in page.as_str().lines().zip(&rows) {
            let before_last: Vec<&str> = line.split_ascii_whitespace().take(row.len() - 1).collect();
            let cells = cells(line);
            prop_assert_eq!(cells.len(), row.len(), "{}", line);
            prop_assert_eq!(&before_last[..], &cells[..row.len() - 1]);
        }
    }

    /// Columns are aligned by the width of a terminal.
    #[test]
    fn columns_begin_below_each_other(rows in rows()) {
        let mut page = Page::default();
        page.table(&rows);
        let begins = |line: &str| -> Vec<usize> {
            let cells = cells(line);
            let at = |cell: &&str| line[..cell.as_ptr() as usize - line.as_ptr() as usize].width();
            cells.iter().map(at).collect()
        };
        let first = begins(page.as_str().lines().next().unwrap_or_default());
        for line in page.as_str().lines() {
            prop_assert_eq!(begins(line), first.clone());
        }
    }

    #[test]
    fn a_line_is_one_line(texts in prop::collection::vec(hostile(), 0..6)) {
        let page: Page = texts.iter().collect();
        prop_assert!(!page.as_str().contains(is_raw), "{page:?}");
        prop_assert_eq!(page.as_str().lines().count(), texts.len());
    }

    #[test]
    fn json_is_exact_and_can_be_shown(key in hostile(), text in hostile()) {
        let value = json!({"items": [{"key": key, "text": text}, {key.clone(): text.clone()}]});
        let mut page = Page::default();
        page.json(&value).expect("it is JSON");
        page.json_line(&value).expect("it is JSON");
        prop_assert!(!page.as_str().contains(is_raw), "{page:?}");
        let read = serde_json::Deserializer::from_str(page.as_str()).into_iter::<Value>();
        let read: Vec<Value> = read.collect::<Result<_, _>>().expect("it is JSON");
        prop_assert_eq!(read, [value.clone(), value]);
    }

    #[test]
    fn yaml_is_exact_and_can_be_shown(key in hostile(), text in hostile()) {
        let value = json!({"items": [{"key": key, "text": text}]});
        let mut page = Page::default();
        page.yaml(&value).expect("it is YAML");
        page.yaml(&value).expect("it is YAML");
        prop_assert!(!page.as_str().contains(is_raw), "{page:?}");
        let read: Vec<Value> = serde_saphyr::from_multiple(page.as_str()).expect("it is YAML");
        prop_assert_eq!(read, [value.clone(), value]);
    }

    /// A printed object can be applied: this program reads a file as kubectl does, JSON if it begins with a brace.
    #[test]
    fn a_printed_manifest_is_read_back(key in hostile(), text in hostile(), count in 1..4_usize, is_own in any::<bool>()) {
        let object = |number: usize| json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{number}"), "annotations": {key.clone(): text.clone()}},
        });
        let objects: Vec<Value> = (0..count).map(object).collect();
        let mut page = Page::default();
        for object in &objects {
            if is_own { page.yaml(object) } else { page.manifest(object) }.expect("it is YAML");
        }
        prop_assert!(!page.as_str().starts_with('{'), "{}", page.as_str());
        let mut read = Vec::new();
        snapshot::read("printed", page.as_str().as_bytes(), |item| {
            read.push(item.parse_unbounded::<Value>()?);
            Ok::<(), snapshot::Error>(())
        })
        .expect("what was printed");
        prop_assert_eq!(read, objects, "{}", page.as_str());
    }

    /// Escapes are those of JSON where JSON has them.
    #[test]
    fn a_character_is_escaped_in_yaml_as_in_json(c in any::<char>()) {
        let (mut yaml, mut json) = (String::new(), String::new());
        yaml_escape(c, &mut yaml);
        json_escape(c, &mut json);
        prop_assert_eq!(yaml == json, c.len_utf16() == 1);
        prop_assert_eq!(serde_saphyr::from_str::<String>(&format!("\"{yaml}\"")).expect("YAML"), c.to_string());
    }
}

/// Returns the lines that a build runner would execute: GitHub's two forms, those of Azure Pipelines and `TeamCity`.
fn obeyed(text: &str) -> Vec<&str> {
    let is_obeyed = |line: &&str| {
        line.trim_start().starts_with("::") || ["##[", "##vso[", "##teamcity["].iter().any(|word| line.contains(word))
    };
    text.lines().filter(is_obeyed).collect()
}

#[test]
fn texts_of_objects_start_no_workflow_command_of_ci_runners() {
    for text in [
        "::error::x",
        "  ::stop-commands::x",
        "x\n::error::x",
        "x\n  ::error::x\n",
        "##[error]x",
        "x ##[error]x",
        "###[error]x",
        "##vso[task.setvariable variable=x]y",
        "##teamcity[x]",
        "\\##[error]x",
    ] {
        let mut page = Page::of(text);
        page.table(&[vec![text.to_owned(), text.to_owned()]]);
        page.listing(&[vec![text.to_owned(), text.to_owned()]]);
        page.document(text);
        assert_eq!(obeyed(page.as_str()), [""; 0], "{text:?}");
        let value = json!({"text": text, "list": [text], text: {text: text}});
        let mut json = Page::default();
        json.json(&value).expect("it is JSON");
        json.json_line(&value).expect("it is JSON");
        assert_eq!(obeyed(json.as_str()), [""; 0], "{text:?}");
        let read = serde_json::Deserializer::from_str(json.as_str()).into_iter::<Value>();
        assert_eq!(read.collect::<Result<Vec<_>, _>>().expect("it is JSON"), [value.clone(), value.clone()]);
        let mut yaml = Page::default();
        yaml.yaml(&value).expect("it is YAML");
        assert_eq!(obeyed(yaml.as_str()), [""; 0], "{text:?}");
        assert_eq!(serde_saphyr::from_str::<Value>(yaml.as_str()).expect("it is YAML"), value);
    }
}

#[test]
fn wide_characters_take_two_columns() {
    let rows = [["NAME", "STATE"], ["漢字", "FITS"], ["é", ""]].map(|row| row.map(str::to_owned).to_vec());
    let mut page = Page::default();
    page.table(&rows);
    assert_eq!(page.as_str(), "NAME  STATE\n漢字  FITS\né     -\n");
}

/// A pasted command without the options acts on another cluster; an option must not break the format of its page.
#[test]
fn commands_on_a_page_have_the_options_of_the_command_line() {
    for value in ["other", "it's", "a: b", "\"x\" \\ #", "ü\u{9b}"] {
        let connection = Connection::default().with_cluster("--context", value);
        let command = connection.completed("kubectl uncordon node-d", str::to_owned).into_owned();
        let mut page = Page { connection: connection.clone(), ..Page::default() };
        page.json(&json!({"commands": ["kubectl uncordon node-d"]})).expect("JSON");
        let read: Value = serde_json::from_str(page.as_str()).expect("JSON");
        assert_eq!(read["commands"][0], command, "{value:?}");
        let mut page = Page { connection: connection.clone(), ..Page::default() };
        page.yaml(&json!({"commands": ["kubectl uncordon node-d"]})).expect("YAML");
        let read: Value = serde_saphyr::from_str(page.as_str()).expect("YAML");
        assert_eq!(read["commands"][0], command, "{value:?}: {}", page.as_str());
        let mut page = Page { connection: connection.clone(), ..Page::default() };
        page.line("kubectl uncordon node-d");
        assert_eq!(page.as_str().trim_end(), Shown::new(command.as_str()).as_str(), "{value:?}");
        let others = page.for_others();
        let mut page = Page { connection, ..Page::default() };
        page.manifest(&json!({"run": "kubectl uncordon node-d"})).expect("YAML");
        assert!(page.as_str().contains("kubectl uncordon node-d"), "an object of the user is changed");
        assert!(others.is_empty() && others.connection == Connection::default());
    }
}
