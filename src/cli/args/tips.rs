//! Tips for options that users know from kubectl, in a verb that does not take them.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};

use super::Args;
use crate::word::nearest;

/// The purpose of an option of kubectl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// `-A`.
    Namespaces,
    /// `-l`.
    Labels,
    /// `-f`, `-k` or `-R`.
    Manifests,
    /// `-o`.
    Output,
    /// `--no-headers`.
    Headers,
    /// An option of `kubectl drain`.
    Drain,
    /// `--snapshot`, as the other verbs take it, and related options.
    Dump,
    /// `--dry-run`, and other options about what kubectl writes.
    Write,
    /// `--warnings-as-errors`.
    Warnings,
    /// `--watch`.
    Watch,
    /// `--sort-by`.
    Order,
    /// `--field-selector`.
    Fields,
    /// `--show-labels` and other options about the columns of kubectl.
    Columns,
    /// `--ignore-not-found`.
    Absence,
    /// An option about how kubectl reads, which changes no answer.
    Reading,
    /// A client certificate.
    Certificate,
    /// An argument without a dash.
    Name,
}

impl Habit {
    fn of(argument: &str) -> Option<Self> {
        Some(match argument.split('=').next().unwrap_or(argument) {
            "-A" | "--all-namespaces" => Self::Namespaces,
            "-l" | "--selector" => Self::Labels,
            "-f" | "--filename" | "-k" | "--kustomize" | "-R" | "--recursive" => Self::Manifests,
            "-o" | "--output" => Self::Output,
            "--no-headers" => Self::Headers,
            "--dry-run" | "--server-side" | "--force-conflicts" | "--field-manager" | "--validate" => Self::Write,
            "--warnings-as-errors" => Self::Warnings,
            "-w" | "--watch" | "--watch-only" => Self::Watch,
            "--sort-by" => Self::Order,
            "--field-selector" => Self::Fields,
            "--show-labels" | "-L" | "--label-columns" | "--show-kind" | "--show-managed-fields" => Self::Columns,
            "--ignore-not-found" => Self::Absence,
            "--cache-dir"
            | "--chunk-size"
            | "--disable-compression"
            | "--match-server-version"
            | "--server-print"
            | "--log-flush-frequency"
            | "--profile"
            | "--profile-output"
            | "--kuberc" => Self::Reading,
            "--client-certificate" | "--client-key" => Self::Certificate,
            "--ignore-daemonsets"
            | "--delete-emptydir-data"
            | "--disable-eviction"
            | "--force"
            | "--grace-period"
            | "--pod-selector"
            | "--skip-wait-for-delete-timeout"
            | "--timeout" => Self::Drain,
            "--snapshot" | "--policy" | "--kubevirt-version" => Self::Dump,
            option if option.starts_with('-') => return None,
            _ => Self::Name,
        })
    }

    /// Returns what to use instead in a verb, or why there is nothing; `None` without a tip.
    fn tip(self, verb: &str) -> Option<&'static str> {
        Some(match (self, verb) {
            (Self::Namespaces, "check") => {
                "a manifest names the namespace of its object; -n sets it for manifests that name none"
            }
            (Self::Labels | Self::Namespaces, "test") => {
                "a cpufit-test.yaml names each object that it has an expectation for"
            }
            (Self::Manifests | Self::Dump, "test") => {
                "a cpufit-test.yaml names its manifests, dumps and policies: give its folder, test FOLDER"
            }
            (Self::Manifests, "audit" | "drain" | "recommend") => {
                "this verb judges the guests of a cluster; use check -f or explain -f for manifests, and --snapshot for a dump"
            }
            (Self::Warnings, "check") => {
                "use --fail-on to choose the states that end with exit code 1, for example --fail-on fragile"
            }
            (Self::Warnings, "audit") => {
                "use --fail-on to choose the state that ends with exit code 1, for example --fail-on fragile"
            }
            (Self::Write, "check") => "this verb writes nothing: it judges manifests as the webhook would at a dry run",
            (Self::Watch, "check" | "explain" | "audit" | "drain" | "recommend" | "diff" | "snapshot") => {
                "the output is of one instant: run the verb again, for example with watch(1)"
            }
            (Self::Order, "audit") => "guests are listed worst first; for another order use -o json and sort it",
            (Self::Order, "check" | "explain" | "drain" | "recommend" | "diff") => "use -o json and sort it",
            (Self::Fields, "explain" | "audit") => {
                "name the guests, as TYPE/NAME, or select them by their labels, with -l"
            }
            (Self::Fields, "drain" | "recommend") => "select the nodes by their labels, with -l",
            (Self::Columns, "explain" | "audit") => {
                "kubectl get prints labels; with -o name, its input is the output of this verb"
            }
            (Self::Absence, "explain" | "audit") => {
                "a guest that does not exist is an error, with exit code 2; of a TYPE alone, or with -l, none may exist"
            }
            (Self::Reading, verb) if !OFFLINE.contains(&verb) && verb != "serve" => {
                "leave it out: it is about how kubectl reads, and changes no answer"
            }
            (Self::Certificate, verb) if !OFFLINE.contains(&verb) => {
                "a client certificate belongs to a user of the kubeconfig: kubectl config set-credentials NAME \
                 --client-certificate=FILE --client-key=FILE, then --user NAME"
            }
            (Self::Drain | Self::Write, "drain") => "this verb evicts nothing: it predicts what kubectl drain would do",
            (Self::Manifests | Self::Dump, "diff") => "the dumps are the arguments: diff OLD, or diff OLD NEW",
            (Self::Manifests, "snapshot") => "use --snapshot to read a dump",
            (Self::Name, "recommend") => {
                "a CPU model is recommended for a pool of nodes: select the nodes by their labels, with -l"
            }
            (Self::Labels | Self::Name, "snapshot") => "a snapshot holds all guests; with -n, those of one namespace",
            (Self::Headers, "snapshot" | "manifests") => "the output has no headers",
            (Self::Headers, "version") => "the output has no headers; use -o json in scripts",
            (Self::Output, "serve") => "use --log-format to choose the format of the log",
            (_, "manifests") => {
                "this verb prints the manifests of cpufit itself: all, or with --crd only the definition of CPUPolicy"
            }
            (_, "version") => "this verb prints the version of the program, and that of the leader on the cluster",
            (_, "completion") => "this verb prints a completion script: name a shell",
            (_, "certs") => "this verb makes certificates in the folder of --out",
            (_, "serve") => {
                "the webhook judges the requests that the API server sends; its configuration selects their namespaces"
            }
            _ => return None,
        })
    }
}

/// The verbs that read no cluster.
const OFFLINE: [&str; 4] = ["certs", "completion", "manifests", "test"];

/// The formats of kubectl that print chosen fields.
const OF_FIELDS: [&str; 5] = ["custom-columns", "jsonpath", "go-template", "templatefile", "template"];

/// Adds a tip to an error about an unknown argument or format, if it is known from kubectl. The usage line becomes that
/// of the verb's help: clap's names the options that were given and those that each needs, as if all were required.
pub(super) fn add(mut error: clap::Error, verb: Option<&str>, mut grammar: Command) -> clap::Error {
    drop_unlike(&mut error);
    if let Some(ContextValue::Strings(verbs)) = error.get(ContextKind::ValidSubcommand) {
        let is_shown = |verb: &&String| is_shown(verb);
        let verbs = verbs.iter().filter(is_shown).cloned().collect();
        error.insert(ContextKind::ValidSubcommand, ContextValue::Strings(verbs));
    }
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let given = text(&error, ContextKind::InvalidValue);
    let is_format = text(&error, ContextKind::InvalidArg).starts_with("--output");
    if is_format && OF_FIELDS.contains(&given.split('=').next().unwrap_or_default().trim_end_matches("-file")) {
        let tip = StyledStr::from("use -o json, and choose fields with jq");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    grammar.build();
    if let Some(verb) = verb.and_then(|verb| grammar.find_subcommand_mut(verb)) {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(verb.render_usage()));
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return error };
    let tip = verb.and_then(|verb| Habit::of(argument)?.tip(verb)).map(StyledStr::from);
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// Whether help lists the verb of this name: neither hidden verbs nor other names of a verb.
fn is_shown(name: &str) -> bool {
    Args::command().get_subcommands().any(|verb| verb.get_name() == name && !verb.is_hide_set()) || name == "help"
}

/// Removes clap's suggestions that are another word than the given one, not its misspelling, and its advice to pass an
/// option as a value.
fn drop_unlike(error: &mut clap::Error) {
    // The argument of an invalid value is well known.
    let given = [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let Some(given) = given.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(given)) => Some(given.trim_start_matches('-').to_owned()),
        _ => None,
    }) else {
        return;
    };
    let is_like = |suggested: &String| {
        let suggested = suggested.trim_start_matches('-');
        suggested.starts_with(&given) || nearest(&given, std::iter::once(suggested)).is_some()
    };
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue] {
        let is_kept = match error.get(kind) {
            Some(ContextValue::String(suggested)) => is_like(suggested),
            Some(ContextValue::Strings(suggested)) => suggested.iter().any(is_like),
            _ => true,
        };
        if !is_kept {
            error.remove(kind);
        }
    }
    error.remove(ContextKind::Suggested);
}
