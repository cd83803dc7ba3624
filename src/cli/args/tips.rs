//! Tips for options that users know from kubectl, in a verb that does not take them.

use clap::CommandFactory as _;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

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
            "--ignore-daemonsets"
            | "--delete-emptydir-data"
            | "--disable-eviction"
            | "--dry-run"
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
            (Self::Drain, "drain") => "this verb evicts nothing: it predicts what kubectl drain would do",
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

/// Adds a tip to an error about an unknown argument, if the argument is known from kubectl.
pub(super) fn add(mut error: clap::Error, verb: Option<&str>) -> clap::Error {
    drop_unlike(&mut error);
    if let Some(ContextValue::Strings(verbs)) = error.get(ContextKind::ValidSubcommand) {
        let is_shown = |verb: &&String| is_shown(verb);
        let verbs = verbs.iter().filter(is_shown).cloned().collect();
        error.insert(ContextKind::ValidSubcommand, ContextValue::Strings(verbs));
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
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
    let given = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let Some(given) = given.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(given)) => Some(given.trim_start_matches('-').to_owned()),
        _ => None,
    }) else {
        return;
    };
    let is_like = |suggested: &String| nearest(&given, std::iter::once(suggested.trim_start_matches('-'))).is_some();
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
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
