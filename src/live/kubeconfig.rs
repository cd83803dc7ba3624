//! The kubeconfig files that kubectl would read, and the cluster of their context.
//!
//! Mirrors client-go's `tools/clientcmd` (`ClientConfigLoadingRules.Load`): files of `$KUBECONFIG` that do not exist
//! are skipped, and earlier files take precedence over later ones.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use http::uri::Authority;
use http::{HeaderValue, Uri};
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, Kubeconfig, KubeconfigError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use super::options::{ClusterArgs, ConnectError};
use super::proxy::{self, Environment};
use crate::files;

/// Returns the files of `$KUBECONFIG`, else `~/.kube/config`.
fn files() -> Vec<PathBuf> {
    let named: Vec<PathBuf> = std::env::var_os("KUBECONFIG").map_or_else(Vec::new, |list| {
        std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect()
    });
    if !named.is_empty() {
        return named;
    }
    std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect()
}

/// Merges the existing files.
///
/// # Errors
///
/// None exists, or one cannot be read.
pub(crate) fn read() -> Result<Kubeconfig, ConnectError> {
    merge(&files())
}

/// Reads one file.
///
/// # Errors
///
/// The file cannot be read, or is no kubeconfig.
pub(super) fn read_file(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    files::check(path).map_err(|fault| KubeconfigError::ReadConfig(fault.into(), path.to_owned()))?;
    Kubeconfig::read_from(path)
}

/// Returns the kubeconfig of this file, or the error that the file holds another object. Like kubectl, accepts one that
/// names no kind.
///
/// # Errors
///
/// The object is of another kind.
pub(super) fn checked(kubeconfig: Kubeconfig, path: &Path) -> Result<Kubeconfig, ConnectError> {
    let kind = kubeconfig.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("Config");
    let version = kubeconfig.api_version.as_deref().filter(|version| !version.is_empty()).unwrap_or("v1");
    if (kind, version) == ("Config", "v1") {
        return Ok(kubeconfig);
    }
    let path = path.display();
    Err(ConnectError::Kubeconfig(format!("{path} is a {kind} of {version}, not a kubeconfig (a Config of v1)")))
}

fn merge(files: &[PathBuf]) -> Result<Kubeconfig, ConnectError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        match read_file(file) {
            Ok(next) => {
                let mut next = checked(next, file)?;
                next.current_context = next.current_context.filter(|name| !name.is_empty());
                merged = Some(match merged {
                    Some(earlier) => earlier.merge(next)?,
                    None => next,
                });
            }
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(ConnectError::of_file(file, error)),
        }
    }
    merged.ok_or_else(|| {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        ConnectError::Kubeconfig(format!("there is no kubeconfig ({})", names.join(", ")))
    })
}

/// Returns the configuration of the selected cluster: the context's, with the options' overrides.
///
/// Mirrors client-go's `tools/clientcmd` (`ConfigOverrides`), with one difference: a token replaces a client
/// certificate, which the API server would prefer.
///
/// # Errors
///
/// The context, cluster or user does not exist, or a part of it is missing or malformed.
pub(crate) fn config(
    kubeconfig: Kubeconfig,
    options: &ClusterArgs,
    environment: &Environment,
) -> Result<Config, ConnectError> {
    let name = options.context.clone().or(kubeconfig.current_context).filter(|name| !name.is_empty());
    let found = match &name {
        Some(name) => {
            let found = kubeconfig.contexts.into_iter().find(|named| named.name == *name);
            found.and_then(|named| named.context).ok_or_else(|| ConnectError::absent("context", name))?
        }
        None if options.server.is_some() || options.cluster.is_some() => Context::default(),
        None => return Err(KubeconfigError::CurrentContextNotSet.into()),
    };
    let Context { cluster: cluster_name, user, namespace, .. } = found;
    let cluster_name = options.cluster.clone().unwrap_or(cluster_name);
    let cluster = kubeconfig.clusters.into_iter().find(|named| named.name == cluster_name);
    let cluster = match cluster.and_then(|named| named.cluster) {
        Some(cluster) => cluster,
        None if options.server.is_some() && options.cluster.is_none() => Cluster::default(),
        None => return Err(ConnectError::absent("cluster", &cluster_name)),
    };
    let cluster = overridden(cluster, options);
    if cluster.certificate_authority_data.is_none() {
        readable("certificate-authority", cluster.certificate_authority.as_deref())?;
    }

    let server = cluster.server.as_deref().filter(|server| !server.is_empty());
    let server = server.ok_or(KubeconfigError::MissingClusterUrl)?;
    let url: Uri = server.parse().map_err(KubeconfigError::ParseClusterUrl)?;
    // The parser takes any text for a port, and connections would go to the scheme's own.
    let authority = url.authority().map(Authority::as_str).unwrap_or_default();
    let port = authority.rsplit_once('@').map_or(authority, |(_, host)| host).rsplit_once(':').map(|(_, port)| port);
    if let Some(port) = port.filter(|port| !port.is_empty() && !port.ends_with(']') && port.parse::<u16>().is_err()) {
        return Err(ConnectError::Options(format!("the address of the API server has no valid port: {port}")));
    }
    let mut config = Config::new(url);
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
        // This proxy is for this cluster only and overrides the environment.
        Some(url) => Some(proxy::parse("proxy-url of the kubeconfig", url)?),
        None => environment.proxy_for(&config.cluster_url)?,
    };
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name;
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
        config.default_namespace = namespace;
    }
    let user = options.user.clone().or(user);
    let found = kubeconfig.auth_infos.into_iter().find(|named| Some(&named.name) == user.as_ref());
    if let (None, Some(name)) = (&found, &options.user) {
        return Err(ConnectError::absent("user", name));
    }
    config.auth_info = authenticated(found.and_then(|named| named.auth_info).unwrap_or_default(), options)?;
    if let Some(exec) = config.auth_info.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(seen_by_plugins);
    }
    Ok(config)
}

/// Checks a file that the kubeconfig or an option names.
///
/// # Errors
///
/// The file cannot be read.
fn readable(field: &str, file: Option<&str>) -> Result<(), ConnectError> {
    let Some(file) = file else { return Ok(()) };
    let words = |fault| ConnectError::Kubeconfig(format!("cannot read {file}, the {field}: {fault}"));
    files::check(Path::new(file)).map_err(words)
}

/// Returns the cluster with the options' values instead of its own fields.
fn overridden(mut cluster: Cluster, options: &ClusterArgs) -> Cluster {
    if let Some(server) = &options.server {
        // Without a scheme, an address is plain HTTP, as in kubectl.
        let is_url = server.contains("://");
        cluster.server = Some(if is_url { server.clone() } else { format!("http://{server}") });
    }
    if let Some(file) = &options.certificate_authority {
        cluster.certificate_authority = Some(file.clone());
        cluster.certificate_authority_data = None;
    }
    if let Some(name) = &options.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if let Some(insecure) = options.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(insecure);
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    cluster
}

/// Returns the credentials with the options' overrides.
///
/// # Errors
///
/// The token is malformed.
pub(super) fn authenticated(found: AuthInfo, options: &ClusterArgs) -> Result<AuthInfo, ConnectError> {
    let mut out = found;
    if options.token.is_none() {
        let is_held = [out.client_certificate_data.is_some(), out.client_key_data.is_some(), out.token.is_some()];
        let files = [
            ("client-certificate", &out.client_certificate),
            ("client-key", &out.client_key),
            ("tokenFile", &out.token_file),
        ];
        for ((field, file), _) in files.into_iter().zip(is_held).filter(|(_, is_held)| !is_held) {
            readable(field, file.as_deref())?;
        }
        if let Some(file) = out.token_file.as_deref().filter(|_| out.token.is_none()) {
            out.token = token_of_file(file)?.and_then(|found| found.token);
        }
    }
    if let Some(token) = &options.token {
        let bearer = bearer(token)?;
        out = AuthInfo {
            impersonate: out.impersonate,
            impersonate_uid: out.impersonate_uid,
            impersonate_groups: out.impersonate_groups,
            impersonate_user_extra: out.impersonate_user_extra,
            ..bearer
        };
    }
    if let Some(name) = &options.as_user {
        out.impersonate = Some(name.clone());
        out.impersonate_uid.clone_from(&options.as_uid);
        out.impersonate_groups = Some(options.as_group.clone()).filter(|groups| !groups.is_empty());
        out.impersonate_user_extra = None;
    }
    sendable(&out, options)?;
    Ok(out)
}

/// Returns credentials of only this token. The client library's secret type can only be read from a kubeconfig.
fn bearer(token: &str) -> Result<AuthInfo, ConnectError> {
    serde_json::from_value(serde_json::json!({ "token": token }))
        .map_err(|error| ConnectError::Options(format!("the token cannot be used: {error}")))
}

/// Returns the token of a file with blanks around it, as `echo` writes one: the client library would send them. Mirrors
/// client-go's `transport/token_source.go` (`fileTokenSource.Token`). `None` for a file without blanks, which the
/// client library reads again when it changes.
fn token_of_file(file: &str) -> Result<Option<AuthInfo>, ConnectError> {
    let bytes = files::read(Path::new(file))
        .map_err(|fault| ConnectError::Kubeconfig(format!("cannot read {file}, the tokenFile: {fault}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let token = text.trim();
    if token == text { Ok(None) } else { bearer(token).map(Some) }
}

/// Checks the texts that become headers of a request.
///
/// # Errors
///
/// A text has a line break or another character that no header may have.
fn sendable(auth: &AuthInfo, options: &ClusterArgs) -> Result<(), ConnectError> {
    // The token can only be read from the written form.
    let written = serde_json::to_value(auth).unwrap_or_default();
    let fields = [
        ("--token", "token", options.token.is_some()),
        ("--as", "as", options.as_user.is_some()),
        ("--as-uid", "as-uid", options.as_uid.is_some()),
        ("--as-group", "as-groups", !options.as_group.is_empty()),
    ];
    for (option, field, is_option) in fields {
        let texts = match &written[field] {
            Value::Array(texts) => texts.as_slice(),
            text => std::slice::from_ref(text),
        };
        if texts.iter().filter_map(Value::as_str).any(|text| HeaderValue::from_str(text).is_err()) {
            let of = if is_option { option.to_owned() } else { format!("the {field} of the kubeconfig's user") };
            return Err(ConnectError::Options(format!(
                "{of} has a line break or another control character, which no request can carry: write it without"
            )));
        }
    }
    Ok(())
}
