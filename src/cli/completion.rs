//! Completion of a command line: verbs and options from the grammar, names of objects from a list function.
//!
//! Shells run `COMPLETE=SHELL cpufit -- WORDS` from their scripts (`clap_complete`'s engine). kubectl runs the program
//! `kubectl_complete-cpufit` (kubectl's `pkg/cmd/plugin_completion.go`), and reads lines in the format of cobra's
//! `__complete`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command, FromArgMatches as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::env::{EnvCompleter, Shells};

use clap::ValueEnum as _;

use super::args::{Shell, program};
use super::resource::ObjectKind;
use crate::fit::syntax;
use crate::live::connect::ClusterArgs;
use crate::page::Page;
use crate::snapshot::DumpSource;

/// The variable that a shell's script sets.
pub(crate) const VARIABLE: &str = "COMPLETE";
/// The variable with the index of the completed word; shells that do not set it complete the last word.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";
/// The variable with bash's separator of candidates.
const SEPARATOR: &str = "_CLAP_IFS";
const BASH: &str = "bash";
/// Directives of cobra: no blank after the word; no file names in addition to the candidates.
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;
/// The program that kubectl runs.
const FOR_KUBECTL: &str = "#!/bin/sh\n\
    # kubectl asks this program, kubectl_complete-cpufit in the PATH, how to complete `kubectl cpufit`.\n\
    exec kubectl-cpufit __complete -- \"$@\"\n";

/// The kind of names that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// All namespaces.
    Namespaces,
    /// Objects of a kind, in the requested namespace.
    Objects(ObjectKind),
    /// The `contexts` of the kubeconfig.
    Contexts,
    /// The `clusters` of the kubeconfig.
    Clusters,
    /// The `users` of the kubeconfig.
    Users,
}

/// The arguments before the completed word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// The cluster and the namespace.
    pub cluster: ClusterArgs,
    /// The dumps to read instead.
    pub snapshot: Vec<DumpSource>,
    /// Arguments that name objects.
    named: Vec<String>,
}

/// A function that lists names; it returns none if they cannot be determined quickly.
pub(crate) type List = dyn Fn(&Given, Listed) -> Vec<String> + Send + Sync;

impl Given {
    fn of(words: &[OsString]) -> Self {
        let Ok(matches) = program::command(None).ignore_errors(true).try_get_matches_from(words) else {
            return Self::default();
        };
        let texts = |matches: &ArgMatches, id: &str| -> Vec<String> {
            matches.try_get_many(id).ok().flatten().map(|texts| texts.cloned().collect()).unwrap_or_default()
        };
        let verb = matches.subcommand().map(|(_, verb)| verb);
        let snapshot = verb.and_then(|verb| verb.try_get_many("snapshot").ok().flatten());
        Self {
            cluster: ClusterArgs::from_arg_matches(verb.unwrap_or(&matches)).unwrap_or_default().without_empty(),
            snapshot: snapshot.map(|sources| sources.cloned().collect()).unwrap_or_default(),
            named: verb.map(|verb| [texts(verb, "objects"), texts(verb, "nodes")].concat()).unwrap_or_default(),
        }
    }

    /// Returns the words that continue `current` where objects of these kinds may be named.
    fn objects(&self, current: &str, kinds: &[ObjectKind], list: &List) -> Vec<String> {
        let names = |kind: ObjectKind| {
            let names = list(self, Listed::Objects(kind)).into_iter();
            names.filter(|name| !self.named.contains(name))
        };
        let of_word = |word: &str| ObjectKind::of_word(word).filter(|kind| kinds.contains(kind));
        if let Some((word, _)) = current.split_once('/') {
            let Some(kind) = of_word(word) else { return Vec::new() };
            return names(kind)
                .map(|name| format!("{word}/{name}"))
                .filter(|word| !self.named.contains(word))
                .collect();
        }
        let with_slash = || kinds.iter().map(|kind| format!("{}/", kind.short_name())).collect();
        match self.named.first() {
            Some(first) if first.contains('/') => with_slash(),
            Some(first) => {
                of_word(first).or(kinds.first().copied()).map(|kind| names(kind).collect()).unwrap_or_default()
            }
            None if kinds.len() == 1 => kinds.iter().flat_map(|kind| names(*kind)).collect(),
            None => {
                let types = kinds.iter().map(|kind| kind.short_name().to_owned());
                types.chain(kinds.first().into_iter().flat_map(|kind| names(*kind))).collect()
            }
        }
    }
}

/// Lets a list of an option's values be continued by those that `current`, the completed word, does not hold yet.
fn continued(arg: Arg, current: &OsStr) -> Arg {
    let current = current.to_string_lossy();
    let list = current.split_once('=').map_or(&*current, |(_, list)| list);
    let given: Vec<&str> = list.rsplit(',').skip(1).collect();
    let rest: Vec<_> = arg.get_possible_values().into_iter().filter(|one| !given.contains(&one.get_name())).collect();
    arg.add(ArgValueCompleter::new(move |begun: &OsStr| {
        let begins = rest.iter().filter(|one| one.get_name().as_bytes().starts_with(begun.as_encoded_bytes()));
        begins.map(|one| CompletionCandidate::new(one.get_name().to_owned()).help(one.get_help().cloned())).collect()
    }))
}

/// Returns the grammar with `list` as the source of names; `words` are those before `current`, the completed one.
fn command(words: &[OsString], current: &OsStr, list: &Arc<List>) -> Command {
    let given = Arc::new(Given::of(words));
    let with = |arg: Arg, words: fn(&Given, &str, &List) -> Vec<String>| {
        let (given, list) = (Arc::clone(&given), Arc::clone(list));
        arg.add(ArgValueCompleter::new(move |current: &OsStr| {
            candidates(words(&given, &current.to_string_lossy(), &*list), current)
        }))
    };
    program::command(None)
        .mut_arg("namespace", |arg| with(arg, |given, _, list| list(given, Listed::Namespaces)))
        .mut_arg("context", |arg| with(arg, |given, _, list| list(given, Listed::Contexts)))
        .mut_arg("cluster", |arg| with(arg, |given, _, list| list(given, Listed::Clusters)))
        .mut_arg("user", |arg| with(arg, |given, _, list| list(given, Listed::Users)))
        .mut_subcommand("explain", |verb| {
            verb.mut_arg("objects", |arg| {
                with(arg, |given, current, list| given.objects(current, &ObjectKind::EXPLAINED, list))
            })
        })
        .mut_subcommand("audit", |verb| {
            verb.mut_arg("objects", |arg| {
                with(arg, |given, current, list| given.objects(current, &ObjectKind::GUESTS, list))
            })
        })
        .mut_subcommand("drain", |verb| {
            verb.mut_arg("nodes", |arg| {
                with(arg, |given, current, list| given.objects(current, &[ObjectKind::Node], list))
            })
        })
        .mut_subcommand("recommend", |verb| {
            let nodes = |given: &Given, _: &str, list: &List| list(given, Listed::Objects(ObjectKind::Node));
            verb.mut_arg("without_node", |arg| with(arg, nodes))
        })
        .mut_subcommand("manifests", |verb| {
            verb.mut_arg("namespace", |arg| with(arg, |given, _, list| list(given, Listed::Namespaces)))
        })
        .mut_subcommand("audit", |verb| verb.mut_arg("fail_on", |arg| continued(arg, current)))
        .mut_subcommand("check", |verb| verb.mut_arg("fail_on", |arg| continued(arg, current)))
}

/// Returns the words that begin with the typed text. Names of objects are included only if they are valid names.
fn candidates(words: Vec<String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let is_name = |word: &str| {
        let name = word.rsplit('/').next().unwrap_or_default();
        name.is_empty() || syntax::subdomain(name).is_ok()
    };
    let begins = |word: &String| word.as_bytes().starts_with(current.as_encoded_bytes());
    words.into_iter().filter(|word| begins(word) && is_name(word)).map(CompletionCandidate::new).collect()
}

/// Returns the line with the verb before the options that precede it; the completed word keeps its place.
fn in_order(line: Vec<OsString>, index: usize) -> Vec<OsString> {
    let Some((before, rest)) = line.split_at_checked(index) else { return line };
    [&program::verb_first(&program::command(None), before), rest].concat()
}

/// Undoes bash's splitting of words at `=` and `:` (`COMP_WORDBREAKS`): `--output = wi` is `--output wi`, because bash
/// replaces only the part after the break, and `app = db` is `app=db`. The index of the completed word is returned with
/// them.
fn without_breaks(words: Vec<OsString>, index: usize) -> (Vec<OsString>, usize) {
    let (mut out, mut at): (Vec<OsString>, usize) = (Vec::new(), index);
    let mut is_joined = false;
    for (place, word) in words.into_iter().enumerate() {
        let is_break = word == "=" || word == ":";
        let opens_value = word == "=" && out.last().is_some_and(|last| last.as_encoded_bytes().starts_with(b"--"));
        if opens_value {
            // The break itself is completed: its value is still empty.
            if place == index {
                out.push(OsString::new());
            }
        } else if let Some(last) = out.last_mut().filter(|_| is_joined || is_break) {
            last.push(&word);
            is_joined = is_break;
        } else {
            out.push(word);
        }
        if place == index {
            at = out.len().saturating_sub(1);
        }
    }
    (out, at)
}

/// The characters of a file's name that bash would interpret.
const SPECIAL: &str = " \t\"'\\$&|;<>()*?[]!#{}`";

/// Returns a candidate as it is typed in bash, which inserts it as it is.
fn escaped(value: &str) -> String {
    value.chars().flat_map(|c| SPECIAL.contains(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Returns a word of bash without the backslashes that escape its characters.
fn unescaped(word: &str) -> String {
    let mut chars = word.chars();
    let next = |c: char, chars: &mut std::str::Chars<'_>| if c == '\\' { chars.next() } else { Some(c) };
    std::iter::from_fn(|| chars.next().and_then(|c| next(c, &mut chars))).collect()
}

/// Whether a word begins an option.
fn is_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// Returns the candidates for the last of these words, as the shell's script reads them.
fn completed(shell: &str, completer: &dyn EnvCompleter, words: Vec<OsString>, list: &Arc<List>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let index = std::env::var(INDEX).ok().and_then(|index| index.parse().ok());
    let index: usize = index.unwrap_or(words.len().saturating_sub(1));
    let (mut words, index) = if shell == BASH { without_breaks(words, index) } else { (words, index) };
    if let Some(current) = words.get_mut(index).filter(|_| shell == BASH) {
        *current = unescaped(&current.to_string_lossy()).into();
    }
    let words = in_order(words, index);
    let current = words.get(index).cloned().unwrap_or_default();
    let mut grammar = command(words.get(..index).unwrap_or(&words), &current, list);
    let here = std::env::current_dir().ok();
    let separator = std::env::var(SEPARATOR).unwrap_or_else(|_| "\n".to_owned());
    if shell == BASH {
        // As the engine writes them, which would take the index from the environment.
        let found = complete(&mut grammar, words, index, here.as_deref())?;
        let values: Vec<_> = found.iter().map(|found| escaped(&found.get_value().to_string_lossy())).collect();
        out = values.join(&separator).into_bytes();
    } else {
        completer.write_complete(&mut grammar, words, here.as_deref(), &mut out)?;
    }
    // As in kubectl, options are offered once a dash is typed. Each line of a shell begins with the candidate.
    if !is_option(&current) {
        let text = String::from_utf8_lossy(&out);
        let names: Vec<&str> = text.split(&separator).filter(|line| !line.starts_with('-')).collect();
        out = names.join(&separator).into_bytes();
    }
    Ok(out)
}

/// Answers a shell's script, which passes the words after `--`; without words, prints the script itself. Returns `None`
/// for an unknown shell.
///
/// # Errors
///
/// Returns an error if the words cannot be completed.
pub(crate) fn answer(
    shell: &str,
    mut words: Vec<OsString>,
    list: &Arc<List>,
    page: &mut Page,
) -> io::Result<Option<()>> {
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(shell) else { return Ok(None) };
    if let Some(at) = words.iter().position(|word| word == "--") {
        let words = words.split_off(at + 1);
        page.shell(&completed(shell, completer, words, list)?);
    } else {
        let name = program::file_name(std::env::args_os().next().as_ref());
        let mut out = Vec::new();
        completer.write_registration(VARIABLE, name, name, name, &mut out)?;
        page.shell(&out);
    }
    Ok(Some(()))
}

/// Prints the script of a shell, or the program that kubectl runs.
///
/// # Errors
///
/// Returns an error if it cannot be written.
pub(crate) fn script(shell: Shell, page: &mut Page) -> io::Result<()> {
    if shell == Shell::Kubectl {
        page.shell(FOR_KUBECTL.as_bytes());
        return Ok(());
    }
    // The completion engine names shells as the argument does.
    let name = shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let nobody: Arc<List> = Arc::new(|_, _| Vec::new());
    answer(&name, Vec::new(), &nobody, page).map(drop)
}

/// Answers kubectl: each line has a candidate, a tab and its description; the last line has directives.
///
/// # Errors
///
/// Returns an error if the words cannot be completed.
pub(crate) fn for_kubectl(words: &[OsString], list: &Arc<List>, page: &mut Page) -> io::Result<()> {
    let mut line = vec![OsString::from("cpufit")];
    line.extend(words.iter().cloned());
    if words.is_empty() {
        line.push(OsString::new());
    }
    let index = line.len() - 1;
    let line = in_order(line, index);
    let here = std::env::current_dir().ok();
    let current = line[index].clone();
    let mut found = complete(&mut command(&line[..index], &current, list), line, index, here.as_deref())?;
    // As in kubectl, options are offered once a dash is typed.
    found.retain(|found| is_option(&current) || !is_option(found.get_value()));
    // kubectl's scripts put `--option=` before the candidates themselves.
    let current = current.to_string_lossy();
    let option = current.split_once('=').filter(|_| current.starts_with("--")).map(|(option, _)| format!("{option}="));
    let value = |found: &CompletionCandidate| {
        let word = found.get_value().to_string_lossy();
        option.as_ref().and_then(|option| word.strip_prefix(option)).unwrap_or(&word).to_owned()
    };
    let words: Vec<String> = found.iter().map(value).collect();
    for (word, found) in words.iter().zip(&found) {
        let help = found.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        // `Page::line` would escape the tab; neither part needs escaping.
        page.shell(if help.is_empty() { format!("{word}\n") } else { format!("{word}\t{help}\n") }.as_bytes());
    }
    let is_begun = |word: &String| word.ends_with(['/', '=']);
    let space = if !words.is_empty() && words.iter().all(is_begun) { NO_SPACE } else { 0 };
    page.line(format_args!(":{}", NO_FILES | space));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(given: &Given, listed: Listed) -> Vec<String> {
        let names: &[&str] = match listed {
            Listed::Namespaces => &["lab", "shop"],
            Listed::Objects(ObjectKind::VirtualMachine) => &["db", "web", "bad name", "-x\u{9b}"],
            Listed::Objects(ObjectKind::Vmi) if given.cluster.namespace() == Some("shop") => &["ledger"],
            Listed::Objects(ObjectKind::Node) => &["node-a", "node-b"],
            Listed::Contexts => &["prod"],
            _ => &[],
        };
        names.iter().map(ToString::to_string).collect()
    }

    fn listing() -> Arc<List> {
        Arc::new(listed)
    }

    /// Returns the candidates for kubectl; the last word of the line is completed.
    fn asked(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let mut page = Page::default();
        for_kubectl(&words, &listing(), &mut page).expect("an answer");
        let mut lines: Vec<String> = page.as_str().lines().map(str::to_owned).collect();
        assert!(lines.pop().is_some_and(|last| last.starts_with(':')), "no directive: {page:?}");
        lines.into_iter().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn completion_offers_names_at_their_position() {
        let mut faults = Vec::new();
        for (line, expected) in [
            ("expl", &["explain"][..]),
            ("comp", &["completion"]),
            ("explain d", &["db"]),
            ("explain vm", &["vm", "vmi", "vmirs", "vmpool", "vmim"]),
            ("explain vm ", &["db", "web"]),
            ("explain vm db ", &["web"]),
            ("explain vm/", &["vm/db", "vm/web"]),
            ("explain virtualmachine.kubevirt.io/d", &["virtualmachine.kubevirt.io/db"]),
            ("explain vm/db vmi", &["vmi/", "vmirs/", "vmim/"]),
            ("explain vmi/", &[]),
            ("explain -n shop vmi/", &["vmi/ledger"]),
            ("-n shop explain vmi/", &["vmi/ledger"]),
            ("--snapshot a.yaml -n shop explain vmi/", &["vmi/ledger"]),
            ("--snapshot a.yaml drain node-a ", &["node-b"]),
            ("check -f src/ap", &["src/app.rs", "src/app/"]),
            ("check src/ap", &["src/app.rs", "src/app/"]),
            ("explain --snapshot src/ap", &["src/app.rs", "src/app/"]),
            ("audit --policy=src/ap", &["src/app.rs", "src/app/"]),
            ("check -k src/ap", &["src/app/"]),
            ("explain --namespace=s", &["shop"]),
            ("--namespace=s", &["shop"]),
            ("audit --context=", &["prod"]),
            ("audit --output=js", &["json"]),
            ("explain --libvirt-facts src/ap", &["src/app.rs", "src/app/"]),
            ("diff src/ap", &["src/app.rs", "src/app/"]),
            ("diff a.yaml src/ap", &["src/app.rs", "src/app/"]),
            ("test src/ap", &["src/app.rs", "src/app/"]),
            ("serve --cert src/ap", &["src/app.rs", "src/app/"]),
            ("explain vmi/ --namespace ", &["lab", "shop"]),
            ("explain -n s", &["shop"]),
            ("-n s", &["shop"]),
            ("audit --context ", &["prod"]),
            ("explain deploy/", &[]),
            ("drain ", &["node-a", "node-b"]),
            ("drain node-a ", &["node-b"]),
            ("drain node/", &["node/node-a", "node/node-b"]),
            ("drain node ", &["node-a", "node-b"]),
            ("recommend --without-node ", &["node-a", "node-b"]),
            ("audit -o ", &["table", "wide", "json", "yaml", "name"]),
            ("audit --fail-on p", &["pinned"]),
            (
                "audit --fail-on pinned,",
                &["pinned,fragile", "pinned,unschedulable", "pinned,own-node", "pinned,unknown"],
            ),
            ("audit --fail-on=pinned,fragile,u", &["pinned,fragile,unschedulable", "pinned,fragile,unknown"]),
            ("check --fail-on denied,fragile,p", &["denied,fragile,pinned"]),
            ("completion k", &["kubectl"]),
        ] {
            let found = asked(line);
            if found != expected {
                faults.push(format!("{line:?}: {found:?} in the place of {expected:?}"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Returns the candidates for a shell's script; the last word of the line is completed.
    fn answered(shell: &str, words: &[&str]) -> Vec<String> {
        let words = std::iter::once("--").chain(words.iter().copied()).map(OsString::from).collect();
        let mut page = Page::default();
        answer(shell, words, &listing(), &mut page).expect("an answer").expect("a known shell");
        let lines = page.as_str().split(['\n', '\u{b}']).filter(|line| !line.is_empty());
        lines.map(|line| line.split(['\t', ':']).next().unwrap_or_default().to_owned()).collect()
    }

    /// Options among the names hide them, and kubectl offers none there.
    #[test]
    fn shells_offer_options_once_a_dash_is_typed() {
        for shell in [BASH, "fish"] {
            for (line, expected) in [
                (&["cpufit", "explain", "d"][..], &["db"][..]),
                (&["cpufit", "explain", "vm", ""], &["db", "web"]),
                (&["cpufit", "drain", ""], &["node-a", "node-b"]),
                (&["cpufit", "version", ""], &[]),
                (&["cpufit", "audit", "-n", ""], &["lab", "shop"]),
                (&["cpufit", "audit", "--fail"], &["--fail-on"]),
            ] {
                assert_eq!(answered(shell, line), expected, "{shell}: {line:?}");
            }
        }
    }

    #[test]
    fn bash_gets_names_of_files_as_they_are_typed() {
        let scratch = std::env::temp_dir().join(format!("cpufit-completion-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).expect("a folder");
        for name in ["my vm.yaml", "it's.yaml"] {
            std::fs::write(scratch.join(name), "").expect("a file");
        }
        let at = |name: &str| format!("{}/{name}", scratch.display());
        for (typed, expected) in [("my", r"my\ vm.yaml"), (r"my\ v", r"my\ vm.yaml"), ("it", r"it\'s.yaml")] {
            assert_eq!(answered(BASH, &["cpufit", "check", "-f", &at(typed)]), [at(expected)], "{typed}");
        }
        std::fs::remove_dir_all(&scratch).expect("a folder");
    }

    #[test]
    fn completion_offers_values_of_options() {
        let mut page = Page::default();
        for_kubectl(&["audit".into(), "--fail".into()], &listing(), &mut page).expect("an answer");
        assert!(page.as_str().starts_with("--fail-on\tExit with 1"), "{page:?}");
    }
}
