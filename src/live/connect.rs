//! Reaching a cluster as kubectl does: kubeconfig, context, in-cluster service account.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::around::Through;
use super::freshness::Freshness;
use super::kubeconfig;
use super::proxy::{Environment, ProxyError};
use crate::domain::Domain;

/// Which cluster, as whom, in which namespace: kubectl's options, before the verb or after it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of all verbs")]
pub struct ClusterArgs {
    /// The namespace; else that of the kubeconfig's context, or default
    #[arg(short, long, value_name = "NAME", global = true)]
    pub namespace: Option<String>,
    /// The kubeconfig file of a live cluster; else $KUBECONFIG, ~/.kube/config or, in a pod, its service account
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// The cluster of the kubeconfig, in the place of the context's
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub cluster: Option<String>,
    /// The user of the kubeconfig, in the place of the context's
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub user: Option<String>,
    /// The address of the API server
    #[arg(short, long, value_name = "URL", global = true, hide_short_help = true)]
    pub server: Option<String>,
    /// A bearer token, in the place of all credentials of the kubeconfig
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
    /// The name that the API server's certificate is checked against, in the place of its host's
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// Accept any certificate of the API server
    #[arg(
        long, value_name = "BOOL", global = true, hide_short_help = true, require_equals = true, num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub insecure_skip_tls_verify: Option<bool>,
    /// How long to wait for the API server: seconds, or 500ms, 1m, 1m30s; 0 waits without end
    #[arg(long, value_name = "DURATION", global = true, hide_short_help = true, value_parser = duration)]
    pub request_timeout: Option<Duration>,
    /// The domain of KubeVirt's labels, annotations and API groups, where a distribution renames kubevirt.io; without it a dump that
    /// uses another domain throughout is recognised
    #[arg(long, value_name = "DOMAIN", global = true, hide_short_help = true, env = "KUBEVIRT_DOMAIN")]
    pub kubevirt_domain: Option<Domain>,
    /// Which log lines go to standard error, by number as for kubectl: requests from 6 on, all from 8 on
    #[arg(short, long = "v", value_name = "LEVEL", global = true, hide_short_help = true, default_value_t = 0)]
    pub verbosity: u8,
}

/// As Go's `time.ParseDuration`, and seconds without a unit, as kubectl takes them.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "say seconds, or a duration, for example 30s, 500ms or 1m30s".to_owned();
    let mut nanoseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if number.len() == text.len() => 1_000_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let more = number.checked_mul(factor).ok_or_else(wrong)?;
        nanoseconds = nanoseconds.checked_add(more).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_nanos(nanoseconds)) }
}

/// A cluster that cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no kubeconfig, it cannot be read, or it has no such context; and this is no pod.
    #[error("no cluster to talk to: {0}; say --kubeconfig FILE, or --snapshot FILE to read a dump instead")]
    Kubeconfig(String),
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
    /// The proxy in front of it cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The program of the kubeconfig that gives credentials fails.
    #[error("the kubeconfig's credential plugin {command} fails")]
    Plugin {
        /// The program.
        command: String,
        /// Why.
        source: kube::Error,
    },
    /// The client cannot be made of it, for example because a certificate is unreadable.
    #[error("the cluster's configuration cannot be used")]
    Client(#[source] kube::Error),
}

impl From<KubeconfigError> for ConnectError {
    fn from(error: KubeconfigError) -> Self {
        Self::Kubeconfig(error.to_string())
    }
}

impl ClusterArgs {
    /// The first of the options given that say which cluster to talk to; a dump is of one already.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.kubeconfig.is_some(), "--kubeconfig"),
            (self.context.is_some(), "--context"),
            (self.cluster.is_some(), "--cluster"),
            (self.user.is_some(), "--user"),
            (self.server.is_some(), "--server"),
            (self.token.is_some(), "--token"),
            (self.as_user.is_some(), "--as"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }

    /// The domain of KubeVirt's names that is given; else KubeVirt's own.
    #[must_use]
    pub fn domain(&self) -> Domain {
        self.kubevirt_domain.clone().unwrap_or_default()
    }

    /// The namespace that is asked for; an empty name asks for none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|name| !name.is_empty())
    }

    /// The kubeconfig that is given, else those that kubectl would read.
    ///
    /// # Errors
    ///
    /// There is none, or it is malformed.
    pub fn kubeconfig(&self) -> Result<Kubeconfig, ConnectError> {
        match &self.kubeconfig {
            Some(path) => Ok(kubeconfig::read_file(path)?),
            None => kubeconfig::read(),
        }
    }

    /// The configuration that kubectl would use.
    ///
    /// # Errors
    ///
    /// There is none, or it is malformed.
    pub fn config(&self) -> Result<Config, ConnectError> {
        if self.as_user.is_none() && !(self.as_group.is_empty() && self.as_uid.is_none()) {
            return Err(ConnectError::Options("--as-group and --as-uid go with --as".to_owned()));
        }
        let environment = Environment::read();
        let of = |kubeconfig| kubeconfig::config(kubeconfig, self, &environment);
        let config = match self.kubeconfig() {
            Ok(kubeconfig) => of(kubeconfig),
            // An address is enough to talk to a server.
            Err(_) if self.server.is_some() && self.kubeconfig.is_none() => of(Kubeconfig::default()),
            Err(error) => Err(error),
        };
        // Of people's machines none is a pod: what is wrong with their kubeconfig is what they can mend. In a pod
        // the API server is a Service, which no proxy is needed for.
        let in_pod = || -> Option<Result<Config, ConnectError>> {
            let is_named = [&self.context, &self.cluster, &self.user, &self.server].iter().any(|named| named.is_some());
            let mut pod = Config::incluster().ok().filter(|_| !is_named && self.kubeconfig.is_none())?;
            pod.auth_info = match kubeconfig::authenticated(pod.auth_info, self) {
                Ok(auth) => auth,
                Err(error) => return Some(Err(error)),
            };
            Some(Ok(pod))
        };
        let config = match config {
            Err(error) => in_pod().unwrap_or(Err(error)),
            found => found,
        };
        let mut config = config?;
        config.connect_timeout = Some(Duration::from_secs(5));
        if let Some(limit) = self.request_timeout {
            let limit = Some(limit).filter(|limit| !limit.is_zero());
            config.connect_timeout = limit;
            config.read_timeout = limit;
            config.write_timeout = limit;
        }
        Ok(config)
    }
}

/// A client of a cluster with this domain.
///
/// # Errors
///
/// The configuration cannot be used.
pub(crate) fn client(config: Config, domain: &Domain) -> Result<Client, ConnectError> {
    let plugin = plugin(&config);
    let builder = ClientBuilder::try_from(config).map_err(|error| ConnectError::of(plugin, error))?;
    Ok(builder.with_layer(&Through(domain.clone())).build())
}

/// The same; it is noted when the API server answers.
///
/// # Errors
///
/// The configuration cannot be used.
pub(crate) fn client_noted(
    config: Config,
    domain: &Domain,
    freshness: &Arc<Freshness>,
) -> Result<Client, ConnectError> {
    let plugin = plugin(&config);
    let builder = ClientBuilder::try_from(config).map_err(|error| ConnectError::of(plugin, error))?;
    Ok(builder.with_layer(&Through(domain.clone())).with_layer(&Through(Arc::clone(freshness))).build())
}

/// The program that gives credentials, where the kubeconfig names one.
fn plugin(config: &Config) -> Option<String> {
    config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone())
}

impl ConnectError {
    fn of(plugin: Option<String>, error: kube::Error) -> Self {
        match (plugin, error) {
            (Some(command), source @ kube::Error::Auth(_)) => Self::Plugin { command, source },
            (_, error) => Self::Client(error),
        }
    }
}

/// Why a request failed, on one line: the API server's own words, or else what lies at the bottom of it.
#[must_use]
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("HTTP {} {}", status.code, status.reason).trim_end().to_owned(),
        kube::Error::Service(_) | kube::Error::HyperError(_) => root(error),
        other => chain(other),
    }
}

/// The last cause of an error: `Connection refused (os error 111)` without all that it passed through.
fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// An error and its causes, on one line.
#[must_use]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Some errors print their causes as well.
        if !out.contains(&words) {
            out = format!("{out}: {words}");
        }
        source = cause.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        for (text, milliseconds) in
            [("0", 0), ("5", 5_000), ("5s", 5_000), ("500ms", 500), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "5x", "-1", "1.5", "1m30", "m5", " 5", "99999999999999999999", "9999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
