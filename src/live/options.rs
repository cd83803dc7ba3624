//! kubectl's options for the cluster and the user, and connection errors.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use kube::config::KubeconfigError;

use super::proxy::ProxyError;
use crate::connection::Connection;
use crate::domain::Domain;

/// The variable with the domain of KubeVirt's names.
const DOMAIN_VARIABLE: &str = "KUBEVIRT_DOMAIN";

/// Which cluster, as whom, in which namespace: kubectl's options, before the verb or after it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of all verbs")]
pub struct ClusterArgs {
    /// The namespace; without it, audit, diff and snapshot read all namespaces, and other verbs that of the
    /// kubeconfig's context, or default (for a dump always default)
    #[arg(short, long, value_name = "NAME", global = true)]
    pub namespace: Option<String>,
    /// The kubeconfig file of a live cluster; else $KUBECONFIG, ~/.kube/config or, in a pod, its service account
    #[arg(long, value_name = "FILE", global = true, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// The cluster of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub cluster: Option<String>,
    /// The user of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub user: Option<String>,
    /// The address of the API server
    #[arg(short, long, value_name = "URL", global = true, hide_short_help = true)]
    pub server: Option<String>,
    /// A bearer token, instead of all credentials of the kubeconfig
    #[arg(long, value_name = "TOKEN", global = true, hide_short_help = true, hide_env_values = true)]
    pub token: Option<String>,
    /// The user to impersonate
    #[arg(long = "as", value_name = "NAME", global = true, hide_short_help = true)]
    pub as_user: Option<String>,
    /// A group to impersonate, with --as; may be repeated
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub as_group: Vec<String>,
    /// The UID to impersonate, with --as
    #[arg(long, value_name = "UID", global = true, hide_short_help = true)]
    pub as_uid: Option<String>,
    /// The file with the certificate authority of the API server
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true)]
    pub certificate_authority: Option<String>,
    /// The name expected in the API server's certificate, instead of its host name
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// Accept any certificate of the API server
    #[arg(
        long, value_name = "BOOL", global = true, hide_short_help = true, require_equals = true, num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub insecure_skip_tls_verify: Option<bool>,
    /// How long to wait for an answer of the API server, by default 1m: seconds, or 500ms, 1m30s; 0 means no limit
    #[arg(long, value_name = "DURATION", global = true, hide_short_help = true, value_parser = timeout)]
    pub request_timeout: Option<Given<Duration>>,
    /// The domain of KubeVirt's labels, annotations and API groups, if a distribution renames kubevirt.io; a dump that
    /// uses one other domain throughout is recognised without it
    #[arg(long, value_name = "DOMAIN", global = true, hide_short_help = true, env = DOMAIN_VARIABLE)]
    pub kubevirt_domain: Option<Given<Domain>>,
    /// The level of log lines on standard error, as for kubectl: requests from 6 on, all lines from 8 on
    #[arg(short, long = "v", value_name = "LEVEL", global = true, hide_short_help = true, default_value_t = 0)]
    pub verbosity: u8,
}

/// The value of an option; an empty text counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given<T>(pub Option<T>);

impl<T: FromStr> FromStr for Given<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        Self::parse(text, str::parse)
    }
}

impl<T> Given<T> {
    fn parse<E>(text: &str, value: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, E> {
        if text.is_empty() { Ok(Self(None)) } else { value(text).map(|value| Self(Some(value))) }
    }
}

impl ClusterArgs {
    /// Returns the options that a printed command needs to act on the same cluster, as the same user. A password is not
    /// among them, nor is a token.
    pub(crate) fn connection(&self) -> Connection {
        let mut out = Connection::default();
        let kubeconfig = self.kubeconfig.as_deref().and_then(Path::to_str).map(str::to_owned);
        // A user and a password may stand before the host.
        let server = self.server.clone().filter(|server| !server.contains('@'));
        for (option, value) in [
            ("--kubeconfig", kubeconfig.as_ref()),
            ("--context", self.context.as_ref()),
            ("--cluster", self.cluster.as_ref()),
        ] {
            out = value.into_iter().fold(out, |out, value| out.with_cluster(option, value));
        }
        for (option, value) in [
            ("--server", server.as_ref()),
            ("--certificate-authority", self.certificate_authority.as_ref()),
            ("--tls-server-name", self.tls_server_name.as_ref()),
        ] {
            out = value.into_iter().fold(out, |out, value| out.with_server(option, value));
        }
        if self.insecure_skip_tls_verify == Some(true) {
            out = out.with_flag("--insecure-skip-tls-verify");
        }
        let groups = self.as_group.iter().map(|group| ("--as-group", Some(group)));
        let users =
            [("--user", self.user.as_ref()), ("--as", self.as_user.as_ref()), ("--as-uid", self.as_uid.as_ref())];
        for (option, value) in users.into_iter().chain(groups) {
            out = value.into_iter().fold(out, |out, value| out.with_user(option, value));
        }
        match &self.kubevirt_domain {
            Some(Given(Some(domain))) if std::env::var(DOMAIN_VARIABLE).ok() != Some(domain.to_string()) => {
                out.with_domain("--kubevirt-domain", &domain.to_string())
            }
            _ => out,
        }
    }

    /// Removes empty options: as for kubectl, they count as not given. Mirrors client-go's `tools/clientcmd`
    /// (`ConfigOverrides`), where an empty text overrides nothing.
    pub(crate) fn without_empty(mut self) -> Self {
        let options = [
            &mut self.namespace,
            &mut self.context,
            &mut self.cluster,
            &mut self.user,
            &mut self.server,
            &mut self.token,
            &mut self.as_user,
            &mut self.as_uid,
            &mut self.certificate_authority,
            &mut self.tls_server_name,
        ];
        for option in options {
            *option = option.take().filter(|value| !value.is_empty());
        }
        self.as_group.retain(|group| !group.is_empty());
        self.kubeconfig = self.kubeconfig.take().filter(|path| !path.as_os_str().is_empty());
        self
    }
}

/// Returns why a namespace cannot be part of a request's path; `None` if it can. Mirrors apimachinery's
/// `pkg/api/validation/path` (`IsValidPathSegmentName`): a name that no namespace can have is accepted, and none is
/// found.
pub(super) fn namespace_fault(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("--namespace: a namespace may not be {name}")),
        _ => name
            .chars()
            .find(|c| ['/', '%'].contains(c))
            .map(|c| format!("--namespace: a namespace may not contain {c}")),
    }
}

/// Parses a time limit.
fn timeout(text: &str) -> Result<Given<Duration>, String> {
    Given::parse(text, duration)
}

/// Parses a duration as Go's `time.ParseDuration` does, and seconds without a unit, as in kubectl.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected seconds, or a duration such as 30s, 500ms or 1m30s".to_owned();
    let mut nanoseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if number.len() == text.len() && !number.contains('.') => 1_000_000_000,
            _ => return Err(wrong()),
        };
        let more = decimal(number).and_then(|(digits, scale)| digits.checked_mul(factor)?.checked_div(scale));
        nanoseconds = more.and_then(|more| nanoseconds.checked_add(more)).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_nanos(nanoseconds)) }
}

/// Returns the digits of a decimal number and the power of ten that divides them; `None` if it has no digits, two
/// points or too many digits.
fn decimal(text: &str) -> Option<(u64, u64)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    Some((format!("{whole}{part}").parse().ok()?, 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?))
}

/// A reason why a cluster cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no usable kubeconfig: none exists, it cannot be read, or it lacks the context; and this is not a pod.
    #[error("no cluster to connect to: {0}; use --kubeconfig FILE")]
    Kubeconfig(String),
    /// As [`Kubeconfig`](Self::Kubeconfig), for a verb that can do without a cluster.
    #[error("no cluster to connect to: {fault}; use --kubeconfig FILE, or {instead}")]
    NoCluster {
        /// The fault.
        fault: String,
        /// How to do without.
        instead: &'static str,
    },
    /// The options conflict.
    #[error("{0}")]
    Options(String),
    /// The proxy cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The kubeconfig's credential plugin fails.
    #[error("the kubeconfig's credential plugin {command} {fault}")]
    Plugin {
        /// The plugin.
        command: String,
        /// The fault in it.
        fault: String,
    },
    /// The client cannot be built, for example because a certificate is unreadable.
    #[error("the cluster's configuration cannot be used")]
    Client(#[source] kube::Error),
}

impl ConnectError {
    /// Adds how the verb does without a cluster, if the error is that no cluster was found; replaces an earlier one.
    pub(crate) fn or(self, instead: &'static str) -> Self {
        match self {
            Self::Kubeconfig(fault) | Self::NoCluster { fault, .. } => Self::NoCluster { fault, instead },
            other => other,
        }
    }

    /// Returns the error that the kubeconfig lacks a context, a cluster or a user of this name.
    pub(super) fn absent(kind: &str, name: &str) -> Self {
        Self::Kubeconfig(format!("the kubeconfig has no {kind} {name}"))
    }
}

impl ConnectError {
    /// Names the file that cannot be read: `$KUBECONFIG` may list several.
    pub(super) fn of_file(path: &Path, error: KubeconfigError) -> Self {
        // This error has the path in it.
        let is_named = matches!(error, KubeconfigError::ReadConfig(..));
        match Self::from(error) {
            Self::Kubeconfig(fault) if !is_named => Self::Kubeconfig(format!("{}: {fault}", path.display())),
            other => other,
        }
    }
}

impl From<KubeconfigError> for ConnectError {
    fn from(error: KubeconfigError) -> Self {
        let first = |text: String| text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Self::Kubeconfig(match error {
            KubeconfigError::ReadConfig(error, path) => format!("cannot read {}: {error}", path.display()),
            // The lines after the first show the place in the text.
            KubeconfigError::Parse(error) => {
                format!("the kubeconfig is not YAML of the right form: {}", first(error.to_string()))
            }
            KubeconfigError::CurrentContextNotSet => "the kubeconfig names no current context".to_owned(),
            other => first(other.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pasted command without them acts on another cluster; a secret in it would be stored in a shell's history.
    #[test]
    fn printed_commands_repeat_the_connection_and_no_secret() {
        let text = |text: &str| Some(text.to_owned());
        let all = ClusterArgs {
            namespace: text("shop"),
            kubeconfig: Some("a file".into()),
            context: text("other"),
            cluster: text("c"),
            user: text("u"),
            server: text("https://a:1"),
            token: text("secret"),
            as_user: text("system:x"),
            as_group: vec!["g1".to_owned(), "g2".to_owned()],
            as_uid: text("7"),
            certificate_authority: text("ca.crt"),
            tls_server_name: text("api"),
            insecure_skip_tls_verify: Some(true),
            ..ClusterArgs::default()
        };
        let completed = |args: &ClusterArgs| args.connection().completed("kubectl get x", str::to_owned).into_owned();
        assert_eq!(
            completed(&all),
            "kubectl --kubeconfig 'a file' --context other --cluster c --user u --as system:x --as-uid 7 --as-group g1 \
             --as-group g2 --server https://a:1 --certificate-authority ca.crt --tls-server-name api --insecure-skip-tls-verify \
             get x"
        );
        for none in [
            ClusterArgs::default(),
            ClusterArgs { namespace: text("shop"), token: text("secret"), ..ClusterArgs::default() },
            ClusterArgs { server: text("https://me:secret@a"), ..ClusterArgs::default() },
            ClusterArgs { insecure_skip_tls_verify: Some(false), ..ClusterArgs::default() },
        ] {
            assert_eq!(completed(&none), "kubectl get x", "{none:?}");
        }
    }

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("5", 5_000),
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("0s", 0),
            (".5s", 500),
            ("1.5m", 90_000),
            ("1h30m5.5s", 5_405_500),
            ("2.s", 2_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "5x",
            "-1",
            "1.5",
            ".",
            ".s",
            "1.2.3s",
            "1m30",
            "m5",
            " 5",
            "99999999999999999999",
            "9999999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
