//! Reaching a cluster as kubectl does: kubeconfig, context, in-cluster service account.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

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
    /// The client cannot be made of it, for example because a certificate is unreadable.
    #[error("the cluster's configuration cannot be used")]
    Client(#[source] kube::Error),
}

impl From<KubeconfigError> for ConnectError {
    fn from(error: KubeconfigError) -> Self {
        Self::Kubeconfig(error.to_string())
    }
}

impl From<InferConfigError> for ConnectError {
    fn from(error: InferConfigError) -> Self {
        // Of people's machines none is a pod: what is wrong with their kubeconfig is what they can mend.
        Self::Kubeconfig(error.source().map_or_else(|| error.to_string(), ToString::to_string))
    }
}

impl ClusterArgs {
    /// The configuration that kubectl would use.
    ///
    /// # Errors
    ///
    /// There is none, or it is malformed.
    pub async fn config(&self) -> Result<Config, ConnectError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
            (None, Some(_)) => Config::from_kubeconfig(&options).await?,
            (None, None) => Config::infer().await?,
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
