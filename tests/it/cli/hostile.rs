//! Objects with hostile names: output has as many lines as with plain names, and each printed command runs what it
//! shows.
//!
//! The demo's cluster and its reviews, with a hostile text in place of a node, a guest, a namespace, a model and a
//! feature.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::{
    self, Http, Ran, Scratch, Server, channel_faults, cpufit, head, one_in, program, read_json, texts,
};
use serde_json::{Map, Value};

/// The names that are replaced in all text of the cluster and of the reviews, including keys.
const REPLACED: [&str; 6] = ["node-c", "node-d", "ledger", "shop", "Skylake-Server-noTSX-IBRS", "amd-stibp"];

const HOSTILE: [&str; 9] = [
    "x\nFORGED  row  here",
    "x\r\nFORGED\rFORGED",
    "x\u{1b}[2J\u{1b}[1;1HFORGED\u{1b}]0;title\u{7}\u{1b}]8;;http://x\u{1b}\\",
    "x\u{9b}2J\u{85}FORGED\u{2028}FORGED\u{2029}",
    "x\u{202e}DEGROF\u{2066}\u{200b}\u{feff}\u{61c}\u{e0041}",
    "x  y   z\t\u{a0}\u{3000}w",
    "x'; touch FORGED; echo '",
    "x\"$(touch FORGED)`touch FORGED`\\\n#",
    "-h=--all && touch FORGED | {a,b} ~ * ? [a] !! %s 漢字",
];

/// A plain name, for the output that the others are compared with.
const PLAIN: &str = "plain";

struct Scene {
    folder: Scratch,
    cluster: PathBuf,
    reviews: Vec<(String, Value)>,
    name: &'static str,
}

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(name)
}

fn renamed(value: Value, name: &str) -> Value {
    let text = |text: String| {
        REPLACED.iter().enumerate().fold(text, |text, (at, word)| {
            // Two nodes with one name would be one node.
            text.replace(word, &format!("{name}{}", if at == 1 { "2" } else { "" }))
        })
    };
    match value {
        Value::String(value) => Value::String(text(value)),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, name)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (text(key), renamed(value, name)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other,
    }
}

impl Scene {
    fn new(name: &'static str) -> Self {
        let folder = Scratch::new();
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&std::fs::read_to_string(demo("cluster.yaml")).unwrap()).unwrap();
        let items: Vec<Value> = documents.into_iter().map(|document| renamed(document, name)).collect();
        let cluster = folder.write_json(
            "cluster.json",
            &common::list(items.into_iter().flat_map(|item| match item {
                Value::Object(mut list) if list.contains_key("items") => {
                    list.remove("items").and_then(|items| items.as_array().cloned()).unwrap_or_default()
                }
                item => vec![item],
            })),
        );
        let mut reviews: Vec<(String, Value)> = std::fs::read_dir(demo("reviews"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), renamed(read_json(&path), name)))
            .collect();
        reviews.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self { folder, cluster, reviews, name }
    }

    fn run(&self, verb: &str, more: &[&str]) -> Ran {
        cpufit([OsStr::new(verb), OsStr::new("--snapshot"), self.cluster.as_os_str()]).args(more).run()
    }

    fn check(&self, more: &[&str]) -> Ran {
        let folder = self.folder.path().join("reviews");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, review) in &self.reviews {
            std::fs::write(folder.join(name), review.to_string()).unwrap();
        }
        let folder = folder.to_string_lossy().into_owned();
        self.run("check", &[&["-f", &folder, "--policy", demo("policy.yaml").to_str().unwrap()], more].concat())
    }

    fn explain(&self, more: &[&str]) -> Ran {
        // A value that begins with a dash is parsed as an option unless it follows an equals sign.
        let namespace = format!("--namespace={}", self.name);
        self.run("explain", &[&[namespace.as_str(), "vmi"], more].concat())
    }
}

/// Whether a terminal or an editor would not show the character as such.
fn is_raw(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// Fails on raw characters, and on lines that an object began.
#[track_caller]
fn assert_clean(what: &str, text: &str) {
    assert!(!text.contains(is_raw), "{what} rewrites the screen: {:?}", head(text));
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("FORGED"), "{what}: a line is forged: {line:?}");
    }
}

#[test]
fn hostile_names_add_no_lines_to_tables() {
    let plain = Scene::new(PLAIN);
    let lines = |ran: &Ran| ran.stdout.lines().count();
    let audit = ["table", "wide"].map(|output| lines(&plain.run("audit", &["-o", output])));
    let check = plain.check(&[]);
    assert!(audit[0] > 3 && check.stdout.contains("Denied: "), "{}", check.stdout);
    for name in HOSTILE {
        let scene = Scene::new(name);
        for (output, expected) in ["table", "wide"].into_iter().zip(audit) {
            let ran = scene.run("audit", &["-o", output]);
            assert_clean("audit", &ran.stdout);
            assert_eq!(lines(&ran), expected, "{}{}", ran.stdout, ran.stderr);
            let columns = ran.stdout.lines().next().unwrap().split_ascii_whitespace().count();
            for row in ran.stdout.lines().take_while(|row| !row.starts_with('#')) {
                // Each column but the last is one word, regardless of the guest's name.
                let cells = row.split("  ").filter(|cell| !cell.trim().is_empty()).count();
                assert_eq!(cells, columns, "{row:?}");
                assert!(row.split_ascii_whitespace().count() >= columns, "{row:?}");
            }
        }
        let ran = scene.check(&[]);
        assert_clean("check", &ran.stdout);
        let heads = |ran: &Ran, head: &str| ran.stdout.lines().filter(|line| line.starts_with(head)).count();
        assert_eq!(heads(&ran, "Denied: "), heads(&check, "Denied: "), "{}", ran.stdout);
        assert_eq!(heads(&ran, "Virtual") + heads(&ran, "Pod"), scene.reviews.len(), "{}", ran.stdout);
        let ran = scene.explain(&[]);
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        assert_clean("explain", &ran.stdout);
    }
}

#[test]
fn json_and_yaml_hold_the_names_as_they_are() {
    for name in HOSTILE.into_iter().step_by(one_in()) {
        let scene = Scene::new(name);
        for verb in ["audit", "explain", "check"] {
            let run = |output: &str| match verb {
                "audit" => scene.run("audit", &["-o", output]),
                "explain" => scene.explain(&["-o", output]),
                _ => scene.check(&["-o", output]),
            };
            let (json, yaml) = (run("json"), run("yaml"));
            assert_clean(verb, &json.stdout);
            assert!(!yaml.stdout.contains(is_raw), "{verb}: {:?}", head(&yaml.stdout));
            let value = json.json();
            assert_eq!(
                serde_saphyr::from_str::<Value>(&yaml.stdout).unwrap(),
                value,
                "{verb}: YAML says another thing"
            );
            let rows = value[if verb == "audit" { "items" } else { "results" }].as_array().unwrap();
            let named = rows.iter().filter(|row| row["namespace"] == name).count();
            assert!(named > 0, "{verb}: the name is another: {}", head(&json.stdout));
        }
    }
}

#[test]
fn errors_and_notes_are_lines_of_their_own() {
    for name in HOSTILE {
        let scene = Scene::new(name);
        let bad = serde_json::json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": name, "namespace": name}, "spec": {"template": {"spec": {"nodeSelector": {name: [name]}}}}});
        let bad = scene.folder.write_json("bad.json", &bad);
        let policy =
            common::policy(name, &serde_json::json!({name: 1, "enforce": name, "commonModel": {"name": name}}));
        let policy = scene.folder.write_json("policy.json", &policy);
        let [bad, policy] = [&bad, &policy].map(|path| path.to_str().unwrap());
        let guest = format!("vmi/none{name}");
        let file = format!("--filename=none{name}");
        for (verb, arguments) in [
            ("check", vec!["-f", bad]),
            ("explain", vec!["-f", bad]),
            ("check", vec![file.as_str()]),
            ("explain", vec![guest.as_str()]),
            ("audit", vec!["--policy", policy]),
        ] {
            let ran = scene.run(verb, &arguments);
            assert_eq!(ran.code(), 2, "{verb} {arguments:?}: {} {}", ran.stdout, ran.stderr);
            assert_clean("an error", &ran.stderr);
            let errors = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count();
            // A comma separates two files, of which neither exists.
            let files = if arguments == [file.as_str()] { file.split(',').count() } else { 1 };
            assert_eq!((errors, ran.stdout.as_str()), (files, ""), "{}", ran.stderr);
            let below = ran.stderr.lines().skip(files);
            assert!(
                below.clone().count() <= 4
                    && below.into_iter().all(|line| line.starts_with("  spec.") || line.starts_with("  metadata.")),
                "{}",
                ran.stderr
            );
        }
    }
}

/// Users paste the commands that `explain` and the warnings suggest.
#[test]
fn each_command_is_kubectl_or_virtctl_and_nothing_else() {
    let mut commands = 0;
    for name in HOSTILE.into_iter().chain([PLAIN]) {
        let scene = Scene::new(name);
        let mut lines = Vec::new();
        for ran in [scene.explain(&["-o", "json"]), scene.check(&["-o", "json"])] {
            for row in ran.json()["results"].as_array().unwrap() {
                for remedy in row["remedies"].as_array().unwrap() {
                    lines.extend(texts(&remedy["commands"]));
                    lines.extend(remedy["undo"].as_str().map(str::to_owned));
                }
                let said =
                    [texts(&row["warnings"]), row["denial"].as_str().map(str::to_owned).into_iter().collect()].concat();
                for text in said.iter().flat_map(|text| text.lines()) {
                    // A command in a sentence ends with the sentence.
                    for (at, _) in text.match_indices("kubectl ").chain(text.match_indices("virtctl ")) {
                        lines.push(text[at..].split(". ").next().unwrap_or_default().to_owned());
                    }
                }
            }
        }
        let script = lines.join("\n") + "\n";
        assert!(!script.contains(is_raw), "{script:?}");
        let parsed = shell(&["-n"], &script, scene.folder.path());
        assert_eq!(parsed.code(), 0, "{script}\n{}", parsed.stderr);
        let echo = "kubectl() { echo ran kubectl; }\nvirtctl() { echo ran virtctl; }\n";
        let ran = shell(&[], &format!("{echo}{script}"), scene.folder.path());
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{script}");
        assert!(ran.stdout.lines().all(|line| line.starts_with("ran ")), "{script}\n{}", ran.stdout);
        assert!(!scene.folder.path().join("FORGED").exists(), "{script}");
        commands += ran.stdout.lines().count();
    }
    assert!(commands > 20, "hardly a command was tried: {commands}");
}

fn shell(arguments: &[&str], script: &str, folder: &Path) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(arguments).current_dir(folder);
    program(shell).stdin(script).run()
}

/// Checks warnings, denials and the log of the server.
#[test]
fn objects_forge_no_line_of_answers_or_log() {
    let policy = demo("policy.yaml");
    let more = ["--policy", policy.to_str().unwrap(), "--log", "debug"];
    let talk = |scene: &Scene| {
        let server = Server::start(&scene.cluster, &more);
        let mut said = Vec::new();
        for (_, review) in &scene.reviews {
            for path in ["/validate", "/mutate"] {
                let answer = server.review(path, review.to_string());
                assert_eq!(channel_faults(&answer), Vec::<String>::new());
                let message = answer["status"]["message"].as_str().unwrap_or_default().to_owned();
                let causes = answer["status"]["details"]["causes"].as_array().cloned().unwrap_or_default();
                let causes = causes.iter().flat_map(|cause| [cause["message"].clone(), cause["field"].clone()]);
                let causes: Vec<String> = causes.filter_map(|text| text.as_str().map(str::to_owned)).collect();
                said.push((texts(&answer["warnings"]), message, causes));
            }
        }
        let broken = format!(r#"{{"kind": {}, "apiVersion": {}}}"#, Value::from(scene.name), Value::from(scene.name));
        let answer = server.post(Http::Two, "/validate", Some("application/json"), broken).expect("an answer");
        assert_eq!(answer.status, 400);
        assert_clean("a refusal", &answer.text());
        assert_eq!(answer.text().lines().count(), 1, "{}", answer.text());
        let log = server.log();
        server.terminate(Duration::from_secs(60));
        (said, log)
    };
    let (plain, _) = talk(&Scene::new(PLAIN));
    assert!(plain.iter().any(|(_, message, _)| message.lines().count() > 1), "nothing was denied");
    // Texts that break lines, control the terminal, or reorder the text.
    for name in [HOSTILE[0], HOSTILE[2], HOSTILE[3], HOSTILE[4]].into_iter().step_by(one_in()) {
        let (said, log) = talk(&Scene::new(name));
        for ((warnings, message, causes), (_, expected, _)) in said.iter().zip(&plain) {
            warnings.iter().chain(causes).for_each(|text| {
                assert_clean("a warning", text);
                assert!(!text.contains('\n'), "{text:?}");
            });
            assert_clean("a denial", message);
            assert!(message.lines().count() <= expected.lines().count(), "{message}\n\n{expected}");
        }
        assert_clean("the log", &log);
        for line in log.lines() {
            let date = line.split('T').next().unwrap_or_default();
            assert!(date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'), "{line:?}");
        }
    }
}
