//! The command as it was called: its name, and the examples in its help.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, ValueHint};

use super::{Args, tips};

/// The name under which kubectl runs it.
const PLUGIN: &str = "kubectl-cpufit";

/// Three examples of each verb: the purpose, and the arguments after the program's name.
const EXAMPLES: &[(&str, [(&str, &str); 3])] = &[
    (
        "serve",
        [
            ("On a cluster, with a self-managed certificate", "serve --certificates self-managed"),
            ("On a dump, without a cluster", "serve --snapshot cluster.yaml --cert certs/tls.crt --key certs/tls.key"),
            ("With JSON log lines", "serve --certificates self-managed --log-format json"),
        ],
    ),
    (
        "check",
        [
            ("A manifest, on the cluster of the current context", "check -f vm.yaml"),
            (
                "All manifests in a folder and its subfolders, with a dump and a policy",
                "check --snapshot cluster.yaml --policy policy.yaml -R -f manifests/",
            ),
            ("The output of a kustomization, for a script", "check -k overlays/production -o json"),
        ],
    ),
    (
        "test",
        [
            ("All tests in a folder", "test tests/"),
            ("One file", "test tests/cpufit-test.yaml"),
            ("For a script", "test tests/ -o json"),
        ],
    ),
    (
        "explain",
        [
            ("A guest", "explain vm/db -n shop"),
            (
                "Several, as kubectl get -o name prints them",
                "explain virtualmachine.kubevirt.io/db virtualmachine.kubevirt.io/web -n shop",
            ),
            ("All with a label, in all namespaces", "explain vmi -A -l app=db"),
        ],
    ),
    (
        "audit",
        [
            ("All guests, worst first", "audit"),
            ("The guests of a namespace, with a policy that is not applied yet", "audit -n shop --policy policy.yaml"),
            ("A gate: exit 1 if a guest can migrate nowhere", "audit --fail-on pinned -o json"),
        ],
    ),
    (
        "recommend",
        [
            ("For each kind of hardware", "recommend"),
            (
                "With a node added and another removed",
                "recommend --snapshot cluster.yaml --with-node new.yaml --without-node node-b",
            ),
            ("A policy for the nodes of a zone, to be applied", "recommend --node-selector zone=a -o yaml"),
        ],
    ),
    (
        "drain",
        [
            ("Which guests can leave a node, and the fewest changes that free the others", "drain node-a"),
            (
                "A rolling upgrade, from a dump: an order in which no guest is stuck",
                "drain --all --snapshot cluster.yaml",
            ),
            ("For a script", "drain node-a -o json"),
        ],
    ),
    (
        "diff",
        [
            ("Two dumps: before and after an upgrade", "diff before.yaml after.yaml"),
            ("A dump and the live cluster", "diff before.yaml"),
            ("For a script: exit 1 if a guest is worse off", "diff before.yaml after.yaml -o json"),
        ],
    ),
    (
        "snapshot",
        [
            ("Of the cluster of the current context", "snapshot"),
            ("With the guests of one namespace only", "snapshot -n shop"),
            ("Of a dump, with other names, for a bug report", "snapshot --snapshot dump.yaml --redact"),
        ],
    ),
    (
        "certs",
        [
            ("In the folder certs", "certs"),
            ("For other names", "certs --out certs --dns-name localhost --ip 127.0.0.1"),
            ("New ones, for a week", "certs --force --days 7"),
        ],
    ),
    (
        "manifests",
        [
            ("All manifests", "manifests"),
            ("Only the definition of CPUPolicy", "manifests --crd"),
            (
                "From a registry of your own, with KubeVirt in another namespace",
                "manifests --image registry.example/cpufit:v0.1.0 --kubevirt-namespace openshift-cnv",
            ),
        ],
    ),
    (
        "version",
        [
            ("Of this program, and of the leader", "version"),
            ("Without a cluster", "version --client"),
            ("For a script", "version -o json"),
        ],
    ),
    (
        "completion",
        [
            ("For bash, in ~/.bashrc: source <(cpufit completion bash)", "completion bash"),
            ("For zsh", "completion zsh"),
            ("For kubectl cpufit, as an executable kubectl_complete-cpufit in the PATH", "completion kubectl"),
        ],
    ),
];

/// The verbs for which a namespace has no meaning: their help does not list `-n`.
const WITHOUT_NAMESPACE: [&str; 7] = ["serve", "test", "drain", "recommend", "certs", "version", "completion"];

/// Returns the name of the file under which shells find a program called by this path: someone may have the plugin of
/// kubectl alone.
pub(in crate::cli) fn file_name(program: Option<&OsString>) -> &'static str {
    if name(program) == "cpufit" { "cpufit" } else { PLUGIN }
}

/// Returns the name that usage lines and examples show for a program called by this path.
fn name(program: Option<&OsString>) -> &'static str {
    let stem = program.and_then(|path| Path::new(path).file_stem());
    if stem.is_some_and(|stem| stem == PLUGIN) { "kubectl cpufit" } else { "cpufit" }
}

/// Returns the command line's grammar, under the name by which it was called.
#[must_use]
pub fn command(program: Option<&OsString>) -> Command {
    let name = name(program);
    // As for kubectl, the last occurrence of a repeated option counts.
    let mut command = Args::command().bin_name(name).args_override_self(true);
    let namespace = command.get_arguments().find(|arg| arg.get_id() == "namespace").cloned();
    if let Some(namespace) = namespace {
        for verb in WITHOUT_NAMESPACE {
            command = command.mut_subcommand(verb, |verb| verb.arg(namespace.clone().hide(true)));
        }
        let own = namespace.help("The namespace of cpufit; without it, cpufit-system");
        command = command.mut_subcommand("manifests", |verb| verb.arg(own));
    }
    for (verb, examples) in EXAMPLES {
        let mut text = "Examples:".to_owned();
        for (what, arguments) in examples {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  # {what}\n  {name} {arguments}");
        }
        if command.find_subcommand(verb).is_some() {
            command = command
                .mut_subcommand(verb, |verb| verb.after_help(text).args_override_self(true).mut_args(with_path_hint));
        }
    }
    // `cpufit audit --version` prints the version of cpufit.
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |verb| verb.display_name("cpufit"));
    }
    command.mut_args(with_path_hint)
}

/// Lets shells complete paths for the arguments that name files and folders, whatever type they are parsed into, and
/// options take negative numbers.
fn with_path_hint(arg: Arg) -> Arg {
    const PATHS: [&str; 4] = ["FILE", "FOLDER", "OLD", "NEW"];
    let is = |wanted: &[&str]| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| wanted.contains(&name.as_str())))
    };
    let (is_path, is_folder) = (is(&PATHS), is(&["DIR"]));
    // The error of a negative number names the number, not an unknown option.
    let takes_value = !arg.is_positional() && arg.get_action().takes_values();
    let arg = if takes_value { arg.allow_negative_numbers(true) } else { arg };
    match (is_path, is_folder) {
        (true, _) => arg.value_hint(ValueHint::AnyPath),
        (false, true) => arg.value_hint(ValueHint::DirPath),
        (false, false) => arg,
    }
}

/// Parses the arguments of this process.
///
/// # Errors
///
/// Returns the help, or the error of an invalid command line.
pub fn parse() -> Result<Args, clap::Error> {
    parse_from(&std::env::args_os().collect::<Vec<_>>())
}

/// Whether a word is the spelling of an option: `--no-headers`, `-A`.
fn is_spelled(arg: &Arg, word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str())),
    }
}

/// Replaces `--no-headers=true` by `--no-headers`, and removes `--no-headers=false`, as kubectl reads such options.
/// Mirrors Go's `strconv.ParseBool`, which pflag uses. Words after `--` stay.
fn without_booleans(grammar: &Command, words: &[OsString]) -> Vec<OsString> {
    let is_flag = |option: &str| {
        let mut args = grammar.get_subcommands().flat_map(Command::get_arguments);
        args.any(|arg| is_spelled(arg, option) && matches!(arg.get_action(), ArgAction::SetTrue))
    };
    let (options, rest) = words.split_at(words.iter().position(|word| word == "--").unwrap_or(words.len()));
    let read = |word: &OsString| {
        let Some((option, value)) = word.to_str().and_then(|word| word.split_once('=')) else {
            return Some(word.clone());
        };
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" if is_flag(option) => Some(option.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" if is_flag(option) => None,
            _ => Some(word.clone()),
        }
    };
    options.iter().filter_map(read).chain(rest.iter().cloned()).collect()
}

/// Moves the verb before the options that precede it, because kubectl accepts both orders.
pub(in crate::cli) fn verb_first(grammar: &Command, words: &[OsString]) -> Vec<OsString> {
    // Returns, for the spelling of an option, whether the next word is its value; `None` if it is no option.
    let takes_a_value = |word: &str| {
        let mut args = grammar.get_arguments().chain(grammar.get_subcommands().flat_map(Command::get_arguments));
        args.find(|arg| is_spelled(arg, word))
            .map(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
    };
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        if grammar.find_subcommand(word).is_some() {
            let (before, rest) = words.split_at(at);
            let (program, before) = before.split_at(1);
            let (verb, rest) = rest.split_at(1);
            return [program, verb, before, rest].concat();
        }
        at += match takes_a_value(word) {
            _ if !word.starts_with('-') || word == "--" => break,
            Some(true) => 2,
            Some(false) | None => 1,
        };
    }
    words.to_vec()
}

/// Parses these words, the first of which is the program's name.
fn parse_from(words: &[OsString]) -> Result<Args, clap::Error> {
    let grammar = || command(words.first());
    let words = without_booleans(&grammar(), words);
    let words = verb_first(&grammar(), &words);
    let mut command = grammar();
    match command.try_get_matches_from_mut(&words) {
        Ok(matches) => {
            let parsed = Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command));
            parsed.map(|args| Args { cluster: args.cluster.without_empty(), ..args })
        }
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => {
            let is_other = |word: &&OsString| word.to_str().is_none();
            let words = words.iter().find(is_other).map(|word| word.to_string_lossy()).unwrap_or_default();
            Err(command.error(ErrorKind::InvalidUtf8, format!("the argument {words} is not UTF-8")))
        }
        Err(error) => {
            let matches = grammar().ignore_errors(true).try_get_matches_from(&words).ok();
            Err(tips::add(error, matches.as_ref().and_then(ArgMatches::subcommand_name), grammar()))
        }
    }
}

/// Whether these are the arguments of a webhook with a JSON log, even if they are no valid command line.
pub(crate) fn asks_for_json_log<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> bool {
    let (mut serves, mut is_json, mut before) = (false, false, OsString::new());
    for word in words {
        let word = word.as_ref();
        serves |= word == "serve";
        is_json |= word == "--log-format=json" || (before == "--log-format" && word == "json");
        word.clone_into(&mut before);
    }
    serves && is_json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_shows_three_examples_and_each_is_a_command_line() {
        for verb in command(None).get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            let found = EXAMPLES.iter().find(|(name, _)| *name == verb.get_name());
            let (_, examples) = found.unwrap_or_else(|| panic!("{} shows no example", verb.get_name()));
            for (_, arguments) in examples {
                let words = std::iter::once("cpufit").chain(arguments.split(' '));
                let parsed = command(None).try_get_matches_from(words);
                assert!(parsed.is_ok(), "cpufit {arguments}: {}", parsed.map(|_| ()).unwrap_err());
                assert!(arguments.starts_with(verb.get_name()), "{arguments} is no example of {}", verb.get_name());
            }
        }
        command(None).debug_assert();
    }

    /// A namespace that a verb ignores or refuses would be read as its scope.
    #[test]
    fn help_lists_a_namespace_only_where_it_has_a_meaning() {
        let mut grammar = command(None);
        grammar.build();
        let verbs: Vec<String> = grammar.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        for verb in verbs.iter().filter(|verb| *verb != "help") {
            let verb = grammar.find_subcommand_mut(verb).expect("a verb");
            let is_listed = verb.render_long_help().to_string().contains("--namespace <NAME>");
            let expected = ["check", "explain", "audit", "diff", "snapshot", "manifests"].contains(&verb.get_name());
            assert!(verb.is_hide_set() || is_listed == expected, "{}: {is_listed}", verb.get_name());
        }
    }

    #[test]
    fn options_stand_before_the_verb_or_after_it() {
        let first = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let words = verb_first(&command(None), &words);
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("cpufit -A audit", "cpufit audit -A"),
            ("cpufit -l app=db -A audit -o name", "cpufit audit -l app=db -A -o name"),
            ("cpufit -n audit explain vm/db", "cpufit explain -n audit vm/db"),
            ("cpufit --namespace=audit explain", "cpufit explain --namespace=audit"),
            ("cpufit -ojson audit", "cpufit audit -ojson"),
            ("cpufit --insecure-skip-tls-verify audit", "cpufit audit --insecure-skip-tls-verify"),
            ("cpufit --snapshot a.yaml check b.yaml", "cpufit check --snapshot a.yaml b.yaml"),
            ("cpufit audit -A", "cpufit audit -A"),
            ("cpufit -- audit", "cpufit -- audit"),
            ("cpufit chek -A audit", "cpufit chek -A audit"),
            ("cpufit --strange audit", "cpufit audit --strange"),
            ("cpufit", "cpufit"),
        ] {
            assert_eq!(first(line), expected);
        }
    }

    #[test]
    fn options_without_a_value_may_be_given_one_as_for_kubectl() {
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let words = without_booleans(&command(None), &words);
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("cpufit audit --no-headers=true", "cpufit audit --no-headers"),
            ("cpufit audit --no-headers=False -o wide", "cpufit audit -o wide"),
            ("cpufit audit --all-namespaces=1", "cpufit audit --all-namespaces"),
            ("cpufit audit -A=t", "cpufit audit -A"),
            ("cpufit --all-namespaces=0 audit", "cpufit audit"),
            ("cpufit check -R=true -f a", "cpufit check -R -f a"),
            ("cpufit audit --no-headers=yes", "cpufit audit --no-headers=yes"),
            ("cpufit audit -l a=true", "cpufit audit -l a=true"),
            ("cpufit audit --insecure-skip-tls-verify=false", "cpufit audit --insecure-skip-tls-verify=false"),
            ("cpufit explain -- --no-headers=true", "cpufit explain -- --no-headers=true"),
        ] {
            assert_eq!(read(line), expected, "scripts written for kubectl fail");
        }
    }

    /// kubectl's options: a verb either takes them or names what to use instead.
    #[test]
    fn every_verb_accepts_kubectls_options_or_names_the_alternative() {
        let habits = [
            &["-A"][..],
            &["--all-namespaces"],
            &["-l", "a=b"],
            &["--selector=a=b"],
            &["-f", "a.yaml"],
            &["--filename", "a.yaml"],
            &["-f", "a.yaml", "-R"],
            &["-k", "a"],
            &["-o", "json"],
            &["--no-headers"],
            &["--snapshot", "a.yaml"],
            &["vm/db"],
            &["vm", "db"],
        ];
        let (mut taken, mut refused) = (0, 0);
        for verb in command(None).get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            for habit in habits {
                let required: &[&str] = match verb.get_name() {
                    "completion" => &["bash"],
                    "diff" | "check" | "test" if !habit[0].starts_with("vm") => &["a"],
                    "drain" if !habit[0].starts_with("vm") && !habit[0].contains('l') => &["node-a"],
                    _ => &[],
                };
                let words = [&["cpufit", verb.get_name()], required, habit].concat();
                let parsed = parse_from(&words.iter().map(OsString::from).collect::<Vec<_>>());
                let unknown = parsed.err().filter(|error| error.kind() == clap::error::ErrorKind::UnknownArgument);
                let Some(error) = unknown else {
                    taken += 1;
                    continue;
                };
                let said = error.to_string();
                assert!(said.contains("tip: ") && !said.contains("as a value, use"), "{words:?}: {said}");
                refused += 1;
            }
        }
        assert!(taken > 50 && refused > 30, "{taken} taken, {refused} refused");
    }

    #[test]
    fn only_serve_with_log_format_json_asks_for_a_json_log() {
        let asks = |line: &str| asks_for_json_log(line.split(' '));
        assert!(asks("cpufit serve --log-format json --port 1"));
        assert!(asks("cpufit --log-format=json serve"));
        assert!(
            !asks("cpufit serve --log-format text")
                && !asks("cpufit check --log-format json")
                && !asks("cpufit serve json")
        );
    }
}
