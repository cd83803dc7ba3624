//! Tests that a shell runs exactly the intended commands, regardless of the names of objects.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command as Process, Output, Stdio};

use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;

use super::*;
use crate::fit::label::SKIP_NODE;
use crate::fit::placement::Placement;
use crate::fit::remedy::{self, Action, AddLabels, ChangeSelector, RemedyId, RemoveLabels, Uncordon};
use crate::fit::subject::{Migration, Stage, Subject, Template};
use actions::{Row, Texts};

mod actions;

/// A shell in which every command, known or not, prints its arguments, each between a colon and a NUL, and a
/// final NUL.
const ECHO: &str = r#"
PATH=/nowhere
echo_arguments() { for word in "$@"; do printf ':%s\0' "$word"; done; printf '\0'; }
kubectl() { echo_arguments kubectl "$@"; }
virtctl() { echo_arguments virtctl "$@"; }
"#;

fn shell(arguments: &[&str], script: &str) -> Output {
    let mut shell = Process::new("sh")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a POSIX shell is there");
    shell.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("the shell reads all of it");
    shell.wait_with_output().expect("the shell ends")
}

/// Runs the lines and returns the words of each command.
fn run(lines: &[String]) -> Vec<Vec<String>> {
    run_each(&[lines.to_vec()]).remove(0)
}

/// Runs each of the scripts. A single shell runs them all, because starting one takes longer than the scripts.
fn run_each(scripts: &[Vec<String>]) -> Vec<Vec<Vec<String>>> {
    let scripts: Vec<String> = scripts.iter().map(|lines| lines.join("\n")).collect();
    let script = scripts.join("\nkubectl next script\n");
    let parsed = shell(&["-n"], &script);
    assert!(parsed.status.success(), "{script}\n{}", String::from_utf8_lossy(&parsed.stderr));
    let ran = shell(&[], &format!("{ECHO}{script}\n"));
    assert!(ran.status.success() && ran.stderr.is_empty(), "{script}\n{}", String::from_utf8_lossy(&ran.stderr));
    let words = String::from_utf8(ran.stdout).expect("words are text");
    let mut out = vec![Vec::new()];
    for command in words.split("\0\0").filter(|words| !words.is_empty()) {
        let command: Vec<String> = command.split('\0').map(|word| word[1..].to_owned()).collect();
        match out.last_mut() {
            Some(last) if command != ["kubectl", "next", "script"] => last.push(command),
            _ => out.push(Vec::new()),
        }
    }
    assert_eq!(out.len(), scripts.len(), "a script ended the others: {script}");
    out
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Generates names that an untrusted sender might choose, or a person by mistake.
fn hostile() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "node-1",
        "x.y",
        "cpu-feature.node.kubevirt.io/fpu",
        "/",
        "=",
        "-",
        "--",
        "'",
        "\"",
        "\\",
        "`id`",
        "$(id)",
        "$HOME",
        "; touch x;",
        "&& id",
        "| sh",
        "\n",
        "\r",
        "\t",
        " ",
        "  ",
        "# ",
        "!",
        "!!",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "~",
        "<x",
        ">x",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{2028}",
        "é",
        "漢",
        "%s",
        "\u{7f}",
    ]);
    prop_oneof![
        3 => prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
        1 => any::<String>().prop_map(|text| text.replace('\0', "")),
        2 => "[a-z0-9]([-a-z0-9]{0,12}[a-z0-9])?".prop_map(|text| text),
        1 => "[A-Za-z0-9]([-A-Za-z0-9_.]{0,12}[A-Za-z0-9])?".prop_map(|text| text),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_shell_reads_back_each_word(texts in prop::collection::vec(hostile(), 1..40)) {
        let command = texts.iter().cloned().fold(Command::kubectl([]), |command, text| command.arg(CommandWord(Cow::Owned(text))));
        let expected = std::iter::once("kubectl".to_owned()).chain(texts).collect::<Vec<_>>();
        prop_assert_eq!(run(&[command.to_string()]), vec![expected]);
    }

    #[test]
    fn json_is_read_back(key in any::<String>(), text in any::<String>()) {
        let word = |text: &str| CommandWord(Cow::Owned(text.to_owned()));
        let json = Json::Object(vec![(word(&key), Json::Text(word(&text))), (word(&format!("{key}-")), Json::Null)]);
        let read: serde_json::Value = serde_json::from_str(&json.below(&["spec", "x"]).to_string()).expect("JSON");
        prop_assert_eq!(read, serde_json::json!({"spec": {"x": {key.clone(): text, format!("{key}-"): null}}}));
    }

    #[test]
    fn a_command_with_hostile_names_runs_as_intended_or_is_omitted(
        guest in hostile(), namespace in hostile(), node in hostile(), key in hostile(), value in hostile(),
        template in select(vec![None, Some(Template::VirtualMachine), Some(Template::ReplicaSet), Some(Template::Pool)]),
        live in any::<bool>(),
    ) {
        let mut subject = Subject::new(&namespace, &guest, Stage::Migration(Migration::default()), Placement::default());
        subject.definition.template = template;
        (subject.definition.live_update, subject.definition.live_tolerations) = (live, live);
        let texts = Texts { guest: &guest, namespace: &namespace, node: &node, key: &key, value: &value, template, live };
        let actions = texts.actions();
        let mut scripts: Vec<Vec<String>> = actions.iter().map(|row| row.action.commands(&subject).lines()).collect();
        scripts.extend(actions.iter().map(|row| row.action.undo().iter().map(Command::line).collect()));
        let mut ran = run_each(&scripts);
        let undone = ran.split_off(actions.len());
        for ((Row { action, is_valid, runs }, ran), lines) in actions.iter().zip(ran).zip(&scripts) {
            for line in lines {
                prop_assert_eq!(Shown::new(line.as_str()).to_string(), line.clone(), "{:?}", action);
            }
            if *is_valid {
                prop_assert_eq!(&ran, runs, "{:?}", action);
            } else {
                prop_assert!(ran.is_empty(), "{:?} runs {:?}", action, ran);
                prop_assert!(matches!(lines.as_slice(), [line] if line.starts_with("# no command: ")), "{:?}", lines);
            }
        }
        for (Row { action, .. }, undone) in actions.iter().zip(undone) {
            let expected = match action {
                Action::Uncordon(_) => Some(words(&["kubectl", "cordon", &node])),
                // The previous annotation stays.
                Action::RemoveLabels(RemoveLabels { is_frozen: true, .. }) => None,
                Action::AddLabels(AddLabels { is_frozen: true, .. }) => {
                    Some(words(&["kubectl", "label", "node", &node, &format!("{key}-")])).filter(|_| is_key(&key))
                }
                Action::AddLabels(_) | Action::RemoveLabels(_) | Action::RemoveTscLabel(_) => {
                    Some(words(&["kubectl", "annotate", "node", &node, &format!("{SKIP_NODE}-")]))
                }
                _ => None,
            };
            let expected: Vec<_> = expected.filter(|_| is_name(&node)).into_iter().collect();
            prop_assert_eq!(undone, expected, "{:?}", action);
        }
    }
}

/// Names with hostile texts are tested for every remedy.
#[test]
fn the_commands_of_every_remedy_are_run() {
    let ran: BTreeSet<RemedyId> = plain(None).actions().iter().map(|row| row.action.id()).collect();
    let all: BTreeSet<RemedyId> = remedy::ALL.iter().map(|spec| spec.id).collect();
    assert_eq!(ran, all, "a name could run a command on an administrator's machine");
}

/// Returns texts that are valid.
fn plain(template: Option<Template>) -> Texts<'static> {
    let (guest, namespace, node, key, value) = ("db", "shop", "node-a", "kubernetes.io/os", "true");
    Texts { guest, namespace, node, key, value, template, live: false }
}

// The rules of Kubernetes a second time, from its documentation, checked byte by byte.

fn is_part(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inside = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || [b'-', b'_', b'.'].contains(byte));
    inside && ends(bytes.first()) && ends(bytes.last()) && bytes.len() < 64
}

fn is_label(text: &str) -> bool {
    is_part(text) && !text.contains(['_', '.']) && !text.contains(|c: char| c.is_ascii_uppercase())
}

fn is_name(text: &str) -> bool {
    // All parts are shorter here than the limit of a label.
    text.split('.').all(is_label)
}

fn is_key(text: &str) -> bool {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => is_part(name),
        [prefix, name] => is_name(prefix) && is_part(name),
        _ => false,
    }
}

#[rstest]
#[case::plain("node-1", true)]
#[case::dots("node-1.example.com", true)]
#[case::one_character("a", true)]
#[case::digits("0", true)]
#[case::a_part_longer_than_a_label_is(&"a".repeat(253), true)]
#[case::too_long(&"a".repeat(254), false)]
#[case::nothing("", false)]
#[case::generated("web-", false)]
#[case::upper_case("Node", false)]
#[case::two_dots("a..b", false)]
#[case::dash_at_a_dot("a-.b", false)]
#[case::underscore("a_b", false)]
#[case::option("-h", false)]
#[case::newline_at_the_end("a\n", false)]
fn a_command_takes_only_names_that_kubernetes_allows(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(Name::new(text).is_ok(), valid);
}

#[rstest]
#[case::plain("shop", true)]
#[case::unknown("", true)]
#[case::dot("a.b", false)]
#[case::too_long(&"a".repeat(64), false)]
fn a_command_takes_only_namespaces_that_kubernetes_allows(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(Namespace::new(text).is_ok(), valid);
}

#[rstest]
#[case::labeller("cpu-feature.node.kubevirt.io/fpu", true)]
#[case::no_prefix("cpumanager", true)]
#[case::upper_case("example.com/Rack_1.a", true)]
#[case::upper_case_prefix("Example.com/rack", false)]
#[case::empty_prefix("/rack", false)]
#[case::empty_name("example.com/", false)]
#[case::two_slashes("a/b/c", false)]
#[case::nothing("", false)]
#[case::shell("zone'; touch x; echo '", false)]
fn a_command_takes_only_label_keys_that_kubernetes_allows(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(LabelKey::new(text).is_ok(), valid);
}

#[rstest]
#[case::empty("", true)]
#[case::plain("true", true)]
#[case::longest(&"a".repeat(63), true)]
#[case::too_long(&"a".repeat(64), false)]
#[case::blank("a b", false)]
#[case::ends_in_a_dot("a.", false)]
fn a_command_takes_only_label_values_that_kubernetes_allows(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(LabelValue::new(text).is_ok(), valid);
}

#[test]
fn a_command_with_an_invalid_name_becomes_a_comment_with_the_reason() {
    let action = Action::from(ChangeSelector { keys: vec!["zone'; touch x; echo '\n\u{202e}".to_owned()] });
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    insta::assert_snapshot!(action.commands(&subject).lines().join("\n"), @r"# no command: label key 'zone'\''; touch x; echo '\''\u{a}\u{202e}' is not valid: only letters, digits, '-', '_' and '.', beginning and ending with a letter or digit");
    assert!(action.commands(&subject).single().is_none());
}

/// The recommended command changes something: a command that only reads is never recommended.
#[test]
fn a_command_that_only_reads_is_never_the_recommended_one() {
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    let mut looks = Vec::new();
    for Row { action, .. } in plain(None).actions() {
        let script = action.commands(&subject);
        let reads = |line: &String| ["get", "describe", "logs"].contains(&line.split(' ').nth(1).unwrap_or_default());
        let lines = script.lines();
        assert_eq!(script.only_reads(), !lines.is_empty() && lines.iter().all(reads), "{script:?}");
        assert!(script.single().is_none_or(|command| !command.only_reads()), "{script:?}");
        looks.extend(script.only_reads().then(|| action.id().as_str()));
    }
    assert_eq!(looks, ["mend-virt-handler"]);
}

#[test]
fn plain_words_of_commands_are_not_quoted() {
    let action = Action::from(Uncordon { nodes: vec!["node-1.example.com".to_owned()] });
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    assert_eq!(action.commands(&subject).lines(), ["kubectl uncordon node-1.example.com"]);
}

/// Commands formatted outside this module are not quoted.
#[test]
fn no_other_module_builds_a_command_as_text() {
    fn files(folder: &std::path::Path, out: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    let mut sources = Vec::new();
    files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    assert!(sources.len() > 50, "the sources are elsewhere");
    for source in sources.iter().filter(|source| !source.iter().any(|part| part.to_string_lossy().starts_with("tests")))
    {
        let text = std::fs::read_to_string(source).expect("a source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (at, _) in code.match_indices("kubectl ").chain(code.match_indices("virtctl ")) {
            let rest = code[at..].split(['"', '\n']).next().unwrap_or_default();
            let line = code[..at].rsplit('\n').next().unwrap_or_default();
            let is_comment = line.trim_start().starts_with("//");
            assert!(is_comment || !rest.contains('{'), "{}: {line}{rest}", source.display());
        }
    }
}

/// A program that runs `commands` alone never runs one whose edit by hand was not made.
#[test]
fn no_command_is_run_before_the_edit_by_hand_that_it_needs() {
    let step = |at: u32, by_hand: bool| {
        if by_hand {
            Command::remark([CommandWord(format!("edit {at}").into())])
        } else {
            Command::kubectl(["act"]).arg(CommandWord(at.to_string().into()))
        }
    };
    for length in 0..=4_u32 {
        for hands in 0..1_u32 << length {
            let steps: Vec<Command> = (0..length).map(|at| step(at, (hands >> at) & 1 == 1)).collect();
            let script = Script::from(Ok(steps.clone()));
            let (commands, by_hand) = (script.commands(), script.by_hand().unwrap_or_default());
            let all: Vec<String> = steps.iter().map(Command::line).collect();
            assert!(all.starts_with(&commands), "a program would run the commands in another order: {all:?}");
            let prefix = steps.iter().take_while(|step| !step.is_remark()).count();
            assert_eq!(commands.len(), prefix, "a command is lost, or run without an edit: {all:?}");
            let words = |line: &String| line.trim_start_matches("# ").to_owned();
            let rest: Vec<String> = all.iter().skip(prefix).map(words).collect();
            let said: Vec<&str> = by_hand.split("; ").filter(|said| !said.is_empty()).collect();
            let said: Vec<String> = said.into_iter().map(|said| said.trim_start_matches("then ").to_owned()).collect();
            assert_eq!(said, rest, "a step is left out, or said in another order");
            let first = script.preceded_by(Ok(Command::kubectl(["cordon"])));
            assert_eq!(first.commands(), [vec!["kubectl cordon".to_owned()], commands].concat(), "{all:?}");
        }
    }
    let invalid = || Name::new("a b").map(|name| Command::kubectl(["cordon"]).arg(name));
    let script = Script::from(Ok(vec![step(0, false)])).preceded_by(invalid());
    assert!(script.commands().is_empty(), "the guest would be restarted on a node that is not cordoned: {script:?}");
}
