//! Tests that a shell runs exactly the intended commands, regardless of the names of objects.

use std::io::Write as _;
use std::process::{Command as Process, Output, Stdio};

use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;

use super::*;
use crate::fit::label::SKIP_NODE;
use crate::fit::node::Effect;
use crate::fit::placement::{Placement, Toleration};
use crate::fit::remedy::{
    Action, AddLabels, AddNode, Backing, ChangeAffinity, ChangeMachineType, ChangeSelector, ChangeTolerations,
    DropAddedSelector, DropStale, EnableCpuManager, FixVirtHandler, RemoveLabels, RemoveSkipNode, RemoveTscLabel,
    Restart, Uncordon, UseModel,
};
use crate::fit::subject::{Migration, Stage, Subject, Template};

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
    fn a_command_runs_as_intended_or_not_at_all(
        guest in hostile(), namespace in hostile(), node in hostile(), key in hostile(), value in hostile(),
        template in select(vec![None, Some(Template::VirtualMachine), Some(Template::ReplicaSet), Some(Template::Pool)]),
        live in any::<bool>(),
    ) {
        let mut subject = Subject::new(&namespace, &guest, Stage::Migration(Migration::default()), Placement::default());
        subject.definition.template = template;
        (subject.definition.live_update, subject.definition.live_tolerations) = (live, live);
        let actions = actions(&guest, &namespace, &node, &key, &value, (template, live));
        let mut scripts: Vec<Vec<String>> = actions.iter().map(|(action, ..)| action.commands(&subject).lines()).collect();
        scripts.extend(actions.iter().map(|(action, ..)| action.undo().iter().map(Command::line).collect()));
        let mut ran = run_each(&scripts);
        let undone = ran.split_off(actions.len());
        for (((action, valid, expected), ran), lines) in actions.iter().zip(ran).zip(&scripts) {
            for line in lines {
                prop_assert_eq!(Shown::new(line.as_str()).to_string(), line.clone(), "{:?}", action);
            }
            if valid.iter().all(|valid| *valid) {
                prop_assert_eq!(&ran, expected, "{:?}", action);
            } else {
                prop_assert!(ran.is_empty(), "{:?} runs {:?}", action, ran);
                prop_assert!(matches!(lines.as_slice(), [line] if line.starts_with("# no command: ")), "{:?}", lines);
            }
        }
        for ((action, ..), undone) in actions.iter().zip(undone) {
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

type Row = (Action, Vec<bool>, Vec<Vec<String>>);

/// Returns every action with whether its object is valid, and the words that its commands then have.
#[allow(clippy::too_many_lines)]
fn actions(
    guest: &str,
    namespace: &str,
    node: &str,
    key: &str,
    value: &str,
    (template, live): (Option<Template>, bool),
) -> Vec<Row> {
    let text = |text: &str| text.to_owned();
    let of_guest = || vec![is_name(guest), namespace.is_empty() || is_label(namespace)];
    let with = |mut all: Vec<bool>, more: bool| {
        all.push(more);
        all
    };
    let named = |head: &[&str]| {
        let mut all = words(head);
        all.push(guest.to_owned());
        if !namespace.is_empty() {
            all.extend(words(&["-n", namespace]));
        }
        all
    };
    let has_vm = template == Some(Template::VirtualMachine);
    // A change of the template and the following commands, for a valid value; a remark without a template.
    let change = |is_valid: bool, patch: serde_json::Value, then: Option<Vec<String>>| {
        let (resource, patch) = match template {
            None => return (vec![is_valid], Vec::new()),
            Some(Template::VirtualMachine) => ("vm", serde_json::json!({"spec": {"template": {"spec": patch}}})),
            Some(Template::ReplicaSet) => ("vmirs", serde_json::json!({"spec": {"template": {"spec": patch}}})),
            Some(Template::Pool) => {
                let vm = serde_json::json!({"spec": {"template": {"spec": patch}}});
                ("vmpool", serde_json::json!({"spec": {"virtualMachineTemplate": vm}}))
            }
        };
        let patch = [named(&["kubectl", "patch", resource]), words(&["--type", "merge", "-p", &patch.to_string()])];
        (with(of_guest(), is_valid), [patch.concat()].into_iter().chain(then.filter(|_| has_vm)).collect())
    };
    let skip = || words(&["kubectl", "annotate", "node", node, &format!("{SKIP_NODE}=true")]);
    let restart = || named(&["virtctl", "restart"]);
    let key_and_node = || vec![is_name(node), is_key(key)];
    let backing = Backing::Labels;
    let is_one = has_vm || template.is_none();
    let conditions = |then: Vec<bool>| if is_one { [of_guest(), then].concat() } else { then };
    let model = change(is_part(value), serde_json::json!({"domain": {"cpu": {"model": value}}}), Some(restart()));
    let selector = change(is_key(key), serde_json::json!({"nodeSelector": {key: null}}), (!live).then(restart));
    let required = serde_json::json!({"requiredDuringSchedulingIgnoredDuringExecution": null});
    let affinity = change(true, serde_json::json!({"affinity": {"nodeAffinity": required}}), (!live).then(restart));
    let is_toleration = is_key(key) && (value.is_empty() || is_part(value));
    let mut tolerations = change(is_toleration, serde_json::Value::Null, (!live).then(restart));
    if let (Some(template), Some(patch)) = (template, tolerations.1.first_mut()) {
        let path = serde_json::json!(format!("/{}/tolerations/-", template.path().join("/")));
        let (key, value) = (serde_json::json!(key), serde_json::json!(value));
        let toleration = format!(r#"{{"key":{key},"value":{value},"effect":"NoSchedule"}}"#);
        patch.truncate(patch.len() - 4);
        let operation = format!(r#"[{{"op":"add","path":{path},"value":{toleration}}}]"#);
        patch.extend(words(&["--type", "json", "-p", &operation]));
    }
    let toleration =
        Toleration { key: text(key), value: text(value), effect: Some(Effect::NoSchedule), ..Toleration::default() };
    let machine = change(is_part(value), serde_json::json!({"domain": {"machine": {"type": value}}}), Some(restart()));
    vec![
        (
            Action::from(Uncordon { nodes: vec![text(node), text(key)] }),
            vec![is_name(node)],
            vec![words(&["kubectl", "uncordon", node])],
        ),
        (
            Action::from(RemoveSkipNode { node: text(node), value: text(value), like: text(key) }),
            vec![is_name(node)],
            vec![words(&["kubectl", "annotate", "node", node, &format!("{SKIP_NODE}-")])],
        ),
        (
            Action::from(AddLabels {
                node: text(node),
                labels: vec![(text(key), text(value))],
                replaces: false,
                is_frozen: false,
                backing: Backing::Labels,
            }),
            with(key_and_node(), value.is_empty() || is_part(value)),
            vec![skip(), words(&["kubectl", "label", "node", node, &format!("{key}={value}")])],
        ),
        (
            Action::from(RemoveLabels { node: text(node), keys: vec![text(key)], is_frozen: false, backing }),
            key_and_node(),
            vec![skip(), words(&["kubectl", "label", "node", node, &format!("{key}-")])],
        ),
        // An existing annotation is not set again: kubectl would refuse another value.
        (
            Action::from(AddLabels {
                node: text(node),
                labels: vec![(text(key), text(value))],
                replaces: false,
                is_frozen: true,
                backing: Backing::Labels,
            }),
            with(key_and_node(), value.is_empty() || is_part(value)),
            vec![words(&["kubectl", "label", "node", node, &format!("{key}={value}")])],
        ),
        (
            Action::from(RemoveLabels { node: text(node), keys: vec![text(key)], is_frozen: true, backing }),
            key_and_node(),
            vec![words(&["kubectl", "label", "node", node, &format!("{key}-")])],
        ),
        (
            Action::from(RemoveTscLabel { node: text(node), frequency: 2, is_frozen: false }),
            conditions(vec![is_name(node)]),
            [skip(), words(&["kubectl", "label", "node", node, "cpu-timer.node.kubevirt.io/tsc-frequency-"])]
                .into_iter()
                .chain(has_vm.then(restart))
                .collect(),
        ),
        (Action::from(DropStale { keys: vec![text(key)] }), Vec::new(), Vec::new()),
        (Action::from(DropAddedSelector { keys: vec![text(key)] }), of_guest(), vec![named(&["virtctl", "migrate"])]),
        (Action::from(Restart), conditions(Vec::new()), has_vm.then(restart).into_iter().collect()),
        (
            Action::from(UseModel {
                model: text(value),
                nodes: vec![text(node)],
                elsewhere: vec![text(node)],
                also: vec![text(key)],
                of_others: Vec::new(),
                listed: Vec::new(),
                instead_of: None,
            }),
            model.0,
            model.1,
        ),
        (Action::from(ChangeSelector { keys: vec![text(key)] }), selector.0, selector.1),
        (Action::from(ChangeAffinity), affinity.0, affinity.1),
        (Action::from(ChangeTolerations { add: vec![toleration], near: Vec::new() }), tolerations.0, tolerations.1),
        (Action::from(EnableCpuManager { key: text(key), nodes: vec![text(node)] }), vec![is_name(node)], Vec::new()),
        (Action::from(ChangeMachineType { from: text(key), to: text(value) }), machine.0, machine.1),
        (Action::from(FixVirtHandler { nodes: vec![text(node)] }), vec![is_name(node)], vec![virt_handler(node)]),
        (Action::from(AddNode { like: text(node) }), Vec::new(), Vec::new()),
    ]
}

/// Returns the words of the command that shows the virt-handler of a node.
fn virt_handler(node: &str) -> Vec<String> {
    let field = format!("spec.nodeName={node}");
    let head = ["kubectl", "get", "pods", "-A", "-l", "kubevirt.io=virt-handler", "-o", "wide", "--field-selector"];
    words(&[&head[..], &[&field]].concat())
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
fn a_comment_says_what_is_not_valid_and_why() {
    let action = Action::from(ChangeSelector { keys: vec!["zone'; touch x; echo '\n\u{202e}".to_owned()] });
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    insta::assert_snapshot!(action.commands(&subject).lines().join("\n"), @r"# no command: label key 'zone'\''; touch x; echo '\''\u{a}\u{202e}' is not valid: only letters, digits, '-', '_' and '.', beginning and ending with a letter or digit");
    assert!(action.commands(&subject).single().is_none());
}

/// The recommended command changes something: a command that only reads is never recommended.
#[test]
fn a_command_that_only_looks_is_not_all_there_is_to_do() {
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    let mut looks = Vec::new();
    for (action, ..) in actions("db", "shop", "node-a", "kubernetes.io/os", "true", (None, false)) {
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
fn what_needs_no_quotes_has_none() {
    let action = Action::from(Uncordon { nodes: vec!["node-1.example.com".to_owned()] });
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    assert_eq!(action.commands(&subject).lines(), ["kubectl uncordon node-1.example.com"]);
}

/// Commands formatted outside this module are not quoted.
#[test]
fn no_command_is_put_together_elsewhere() {
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
