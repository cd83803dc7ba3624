//! What to say of options that people know from kubectl, in a verb in which they mean nothing.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What an option of kubectl does.
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
    /// `--snapshot`, as the other verbs take it, and what goes with it.
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
            "--snapshot" | "--policy" | "--kubevirt-version" => Self::Dump,
            option if option.starts_with('-') => return None,
            _ => Self::Name,
        })
    }

    /// What does it in a verb, or why nothing does.
    fn tip(self, verb: &str) -> Option<&'static str> {
        Some(match (self, verb) {
            (Self::Namespaces, "check") => "a manifest says which namespace its object is in; -n says it of the others",
            (Self::Labels | Self::Namespaces, "test") => {
                "a cpufit-test.yaml names each object that it expects something of"
            }
            (Self::Manifests | Self::Dump, "test") => {
                "a cpufit-test.yaml names its manifests, dumps and policies: give its folder, test FOLDER"
            }
            (Self::Manifests, "audit" | "drain" | "recommend") => {
                "this verb is about guests of a cluster; of manifests ask check -f or explain -f, and a dump is read with --snapshot"
            }
            (Self::Manifests | Self::Dump, "diff") => "the dumps are the arguments: diff OLD, or diff OLD NEW",
            (Self::Manifests, "snapshot") => "a dump is read with --snapshot",
            (Self::Name, "recommend") => {
                "a CPU model is recommended to a pool of nodes: say which by their labels, with -l"
            }
            (Self::Labels | Self::Name, "snapshot") => "a snapshot holds all guests, or with -n those of one namespace",
            (Self::Headers, "snapshot" | "manifests") => "what is printed has no headers",
            (Self::Headers, "version") => "what is printed has no headers; -o json is for scripts",
            (Self::Output, "serve") => "how the log is printed --log-format says",
            (_, "manifests") => {
                "the manifests of cpufit itself are printed, all or with --crd the definition of CPUPolicy alone"
            }
            (_, "version") => "a version is printed: of the program, and of the replica that leads on the cluster",
            (_, "completion") => "a completion script is printed: say for which shell",
            (_, "certs") => "certificates are made in the folder that --out names",
            (_, "serve") => {
                "the webhook judges what the API server sends to it, of all namespaces that its configuration selects"
            }
            _ => return None,
        })
    }
}

/// The same error, with a word on what does it where an argument is known from kubectl.
pub(super) fn add(mut error: clap::Error, verb: Option<&str>) -> clap::Error {
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
