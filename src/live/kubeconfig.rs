//! The kubeconfig files that kubectl would read, and the cluster that their context names.
//!
//! Mirrors client-go's `tools/clientcmd` (`ClientConfigLoadingRules.Load`): files of `$KUBECONFIG` that do not exist are
//! passed over, and what stands in an earlier file goes before what stands in a later one.

use std::io::ErrorKind;
use std::path::PathBuf;

use kube::Config;
use kube::config::{Context, ExecAuthCluster, Kubeconfig, KubeconfigError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::connect::ConnectError;
use super::proxy::{self, Environment};

/// The files of `$KUBECONFIG`, else `~/.kube/config`.
fn files() -> Vec<PathBuf> {
    let named: Vec<PathBuf> = std::env::var_os("KUBECONFIG").map_or_else(Vec::new, |list| {
        std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect()
    });
    if !named.is_empty() {
        return named;
    }
    std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect()
}

/// What the files that exist say together.
///
/// # Errors
///
/// None exists, or one cannot be read.
pub fn read() -> Result<Kubeconfig, ConnectError> {
    merge(&files())
}

fn merge(files: &[PathBuf]) -> Result<Kubeconfig, ConnectError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        match Kubeconfig::read_from(file) {
            Ok(mut next) => {
                next.current_context = next.current_context.filter(|name| !name.is_empty());
                merged = Some(match merged {
                    Some(earlier) => earlier.merge(next)?,
                    None => next,
                });
            }
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    merged.ok_or_else(|| {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        ConnectError::Kubeconfig(format!("there is no kubeconfig ({})", names.join(", ")))
    })
}

/// The cluster of a context, of the current one if none is named, and how it is reached.
///
/// # Errors
///
/// There is no such context, or a part of it is missing or malformed.
pub fn config(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
    environment: &Environment,
) -> Result<Config, ConnectError> {
    let name = context.map(str::to_owned).or(kubeconfig.current_context).filter(|name| !name.is_empty());
    let name = name.ok_or(KubeconfigError::CurrentContextNotSet)?;
    let found = kubeconfig.contexts.into_iter().find(|named| named.name == name).and_then(|named| named.context);
    let Context { cluster: cluster_name, user, namespace, .. } =
        found.ok_or_else(|| KubeconfigError::LoadContext(name.clone()))?;
    let cluster = kubeconfig.clusters.into_iter().find(|named| named.name == cluster_name);
    let cluster =
        cluster.and_then(|named| named.cluster).ok_or(KubeconfigError::LoadClusterOfContext(cluster_name.clone()))?;

    let server = cluster.server.as_deref().filter(|server| !server.is_empty());
    let server = server.ok_or(KubeconfigError::MissingClusterUrl)?;
    let mut config = Config::new(server.parse().map_err(KubeconfigError::ParseClusterUrl)?);
    let seen_by_plugins = ExecAuthCluster::try_from(&cluster)?;
    if let Some(pem) = &seen_by_plugins.certificate_authority_data {
        let certificates = CertificateDer::pem_slice_iter(pem).map(|read| read.map(|der| der.to_vec()));
        let certificates: Result<Vec<Vec<u8>>, _> = certificates.collect();
        config.root_cert = Some(certificates.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
            ConnectError::Kubeconfig(format!(
                "the certificate authority of cluster {cluster_name} is no PEM certificate"
            ))
        })?);
    }
    config.proxy_url = match cluster.proxy_url.as_deref().filter(|url| !url.trim().is_empty()) {
        // It is for this cluster alone, whatever the environment says.
        Some(url) => Some(proxy::parse("proxy-url of the kubeconfig", url)?),
        None => environment.proxy_for(&config.cluster_url)?,
    };
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name;
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
        config.default_namespace = namespace;
    }
    let user = kubeconfig.auth_infos.into_iter().find(|named| Some(&named.name) == user.as_ref());
    config.auth_info = user.and_then(|named| named.auth_info).unwrap_or_default();
    if let Some(exec) = config.auth_info.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(seen_by_plugins);
    }
    Ok(config)
}
