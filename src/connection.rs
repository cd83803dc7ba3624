//! The options with which the user chose the cluster and the user, repeated in printed commands.
//!
//! Without them a pasted command would act on the cluster of the current context. A [`Page`](crate::page::Page) adds
//! them when it is printed, as it translates names: the commands in warnings are written by code that knows no command
//! line, and the webhook prints the same ones without options. Secrets are never repeated.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::fit::command::quoted;

/// The programs whose commands are printed, each with its verbs that are printed.
const PROGRAMS: [(&str, &[&str]); 3] = [
    (
        "kubectl",
        &[
            "annotate", "apply", "cordon", "create", "delete", "describe", "drain", "edit", "exec", "get", "label",
            "logs", "patch", "replace", "rollout", "scale", "taint", "uncordon", "wait",
        ],
    ),
    ("virtctl", &["migrate", "migrate-cancel", "restart", "start", "stop"]),
    (CPUFIT, &["audit", "check", "diff", "drain", "explain", "recommend", "snapshot", "version"]),
];
const CPUFIT: &str = "cpufit";
/// A command for another user, who is allowed to do what this one is not.
const FOR_OTHERS: &str = " create clusterrolebinding ";

static OF_PROCESS: OnceLock<Connection> = OnceLock::new();

/// Options for the cluster and the user, as words for a shell, each with a blank before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The cluster by the user's own kubeconfig, and the user.
    own: String,
    /// The server, and the way to it.
    server: String,
    domain: String,
}

impl Connection {
    /// Makes these the options of this process; the first call counts.
    pub(crate) fn remember(self) {
        // A second command line does not occur.
        let _ = OF_PROCESS.set(self);
    }

    /// Returns the options of this process; none before they are known.
    pub(crate) fn of_process() -> Self {
        OF_PROCESS.get().cloned().unwrap_or_default()
    }

    /// Adds an option that chooses the cluster by the user's own kubeconfig.
    pub(crate) fn with_cluster(mut self, option: &str, value: &str) -> Self {
        self.own.push_str(&words(option, value));
        self
    }

    /// Adds an option about the server, or the way to it.
    pub(crate) fn with_server(mut self, option: &str, value: &str) -> Self {
        self.server.push_str(&words(option, value));
        self
    }

    /// Adds an option without a value that affects the connection to the server.
    pub(crate) fn with_flag(mut self, option: &str) -> Self {
        self.server.push(' ');
        self.server.push_str(option);
        self
    }

    /// Adds an option that chooses the user.
    pub(crate) fn with_user(mut self, option: &str, value: &str) -> Self {
        self.own.push_str(&words(option, value));
        self
    }

    /// Adds an option of this program alone.
    pub(crate) fn with_domain(mut self, option: &str, value: &str) -> Self {
        self.domain.push_str(&words(option, value));
        self
    }

    /// Whether the options may stand in any text of YAML as they are.
    pub(crate) fn is_plain(&self) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@ ".contains(c);
        [&self.own, &self.server, &self.domain]
            .iter()
            .all(|text| text.chars().all(is_plain) && !text.contains(": ") && !text.ends_with(':'))
    }

    /// Adds the options to each command in a text. `escape` makes them part of the format of the text.
    pub(crate) fn completed<'t>(&self, text: &'t str, escape: fn(&str) -> String) -> Cow<'t, str> {
        if *self == Self::default() {
            return Cow::Borrowed(text);
        }
        let mut out = String::new();
        let mut copied = 0;
        while let Some((end, is_of_cpufit)) = next_command(text, copied) {
            out.push_str(&text[copied..end]);
            // Another user has another kubeconfig, with names of its own for clusters and contexts.
            if !text[end..].starts_with(FOR_OTHERS) {
                out.push_str(&escape(&self.own));
            }
            out.push_str(&escape(&self.server));
            if is_of_cpufit {
                out.push_str(&escape(&self.domain));
            }
            copied = end;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        Cow::Owned(out)
    }
}

fn words(option: &str, value: &str) -> String {
    format!(" {option} {}", quoted(value))
}

/// Returns the end of the program's name in the first command after `from`, and whether the program is this one.
fn next_command(text: &str, from: usize) -> Option<(usize, bool)> {
    let found = PROGRAMS.iter().filter_map(|(program, verbs)| {
        let places = text[from..].match_indices(program).map(|(at, _)| from + at);
        let mut ends = places.filter(|&at| begins_word(&text[..at])).map(|at| at + program.len());
        ends.find(|&end| is_verb(&text[end..], verbs)).map(|end| (end, *program == CPUFIT))
    });
    found.min()
}

/// Whether a word begins after this text; JSON writes a line feed as `\n`.
fn begins_word(before: &str) -> bool {
    before.ends_with("\\n") || before.chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !"-_./:".contains(c))
}

/// Whether the text goes on with one of these words; a line of YAML may be broken between the two.
fn is_verb(after: &str, verbs: &[&str]) -> bool {
    let rest = after.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    rest.len() < after.len() && verbs.contains(&&rest[..end])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn connection() -> Connection {
        Connection::default()
            .with_cluster("--context", "it's other")
            .with_server("--server", "https://api")
            .with_user("--as", "system:serviceaccount:a:b")
            .with_domain("--kubevirt-domain", "virt.example.io")
    }

    /// A pasted command without the options acts on another cluster, or as another user.
    #[rstest]
    #[case("kubectl uncordon node-d", "kubectl CU uncordon node-d")]
    #[case("  kubectl label node a b=c   # why", "  kubectl CU label node a b=c   # why")]
    #[case("printf %s '{}' | kubectl create -f -", "printf %s '{}' | kubectl CU create -f -")]
    #[case("virtctl restart db -n shop; kubectl get vmi", "virtctl CU restart db -n shop; kubectl CU get vmi")]
    #[case("kubectl cpufit explain vmi/db -n shop", "kubectl cpufit CUD explain vmi/db -n shop")]
    #[case("what leaves: cpufit drain", "what leaves: cpufit CUD drain")]
    #[case("why: `kubectl get nodes`.", "why: `kubectl CU get nodes`.")]
    #[case("[\"kubectl wait x\",\"a\\nkubectl wait y\"]", "[\"kubectl CU wait x\",\"a\\nkubectl CU wait y\"]")]
    #[case("kubectl\n  wait x", "kubectl CU\n  wait x")]
    #[case("kubectl create clusterrolebinding x --user=NAME", "kubectl S create clusterrolebinding x --user=NAME")]
    #[case("kubectl create --dry-run=server -f -", "kubectl CU create --dry-run=server -f -")]
    #[case("as kubectl does; kubectl's; mykubectl get; a/cpufit check; kubectl getter", "")]
    #[case("ClusterRole cpufit-auditor; the webhook cpufit; cpufit", "")]
    fn options_are_added_to_each_command_and_to_nothing_else(#[case] text: &str, #[case] expected: &str) {
        let connection = connection();
        let Connection { own, server, domain } = &connection;
        let expected = if expected.is_empty() { text } else { expected };
        let expected = expected.replace(" CUD", &format!("{own}{server}{domain}"));
        let expected = expected.replace(" CU", &format!("{own}{server}")).replace(" S ", &format!("{server} "));
        assert_eq!(connection.completed(text, str::to_owned), expected);
        assert_eq!(Connection::default().completed(text, str::to_owned), text, "options that were not given");
    }
}
