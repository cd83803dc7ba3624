//! Reaching a cluster as kubectl does: kubeconfig, context, in-cluster service account.

use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::kubeconfig;
use super::proxy::{Environment, ProxyError};

/// Which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// The kubeconfig file of a live cluster; else $KUBECONFIG, ~/.kube/config or, in a pod, its service account
    #[arg(long, value_name = "FILE", conflicts_with = "snapshot")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "snapshot")]
    pub context: Option<String>,
}

/// A cluster that cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no kubeconfig, it cannot be read, or it has no such context; and this is no pod.
    #[error("no cluster to talk to: {0}; say --kubeconfig FILE, or --snapshot FILE to read a dump instead")]
    Kubeconfig(String),
    /// The proxy in front of it cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
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
    /// The configuration that kubectl would use.
    ///
    /// # Errors
    ///
    /// There is none, or it is malformed.
    pub fn config(&self) -> Result<Config, ConnectError> {
        let environment = Environment::read();
        let of = |kubeconfig| kubeconfig::config(kubeconfig, self.context.as_deref(), &environment);
        let mut config = match &self.kubeconfig {
            Some(path) => of(Kubeconfig::read_from(path)?)?,
            None if self.context.is_some() => of(kubeconfig::read()?)?,
            // Of people's machines none is a pod: what is wrong with their kubeconfig is what they can mend. In a pod
            // the API server is a Service, which no proxy is needed for.
            None => kubeconfig::read().and_then(of).or_else(|error| Config::incluster().map_err(|_| error))?,
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        Ok(config)
    }
}

/// A client.
///
/// # Errors
///
/// The configuration cannot be used.
pub fn client(config: Config) -> Result<Client, ConnectError> {
    Client::try_from(config).map_err(ConnectError::Client)
}

/// A client whose answers pass through a layer.
///
/// # Errors
///
/// The configuration cannot be used.
pub fn client_through(config: Config, layer: &super::freshness::Listening) -> Result<Client, ConnectError> {
    let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(layer).build())
}

/// The API server's own words, or else the error and its causes, on one line.
#[must_use]
pub fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error { status.message.clone() } else { chain(error) }
}

/// An error and its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
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
