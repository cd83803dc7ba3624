//! Connection to a cluster as in kubectl: kubeconfig, context, in-cluster service account.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use http::header::LOCATION;
use http::uri::{Authority, PathAndQuery};
use http::{Response, Uri};
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::config::Kubeconfig;
use kube::{Client, Config};
use tower::BoxError;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::util::{MapResultLayer, option_layer};

use super::freshness::Freshness;
use super::kubeconfig;
use super::middleware::MiddlewareLayer;
use super::plugin::{self, Plugin};
use super::proxy::{self, Environment};
use super::tls;
use crate::domain::Domain;

use super::options::namespace_fault;
pub(crate) use super::options::{ClusterArgs, ConnectError};

/// Time to wait for an answer if no limit is given: the API server itself takes no longer for a request (its
/// `--request-timeout`).
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Number of requests that may wait for the connection.
const MAX_QUEUED: usize = 1024;
/// The `reason` that kube sets for an error answer that is no `Status` of the API.
pub(super) const NOT_A_STATUS: &str = "Failed to parse error data";
/// Maximum number of characters quoted from such an answer.
const MAX_QUOTED: usize = 120;

impl ClusterArgs {
    /// Returns the first given option that selects a cluster; such options conflict with a dump.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
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

    /// Returns the given domain of KubeVirt's names, or KubeVirt's own.
    #[must_use]
    pub fn domain(&self) -> Domain {
        self.given_domain().cloned().unwrap_or_default()
    }

    /// Returns the given domain of KubeVirt's names.
    pub(crate) fn given_domain(&self) -> Option<&Domain> {
        self.kubevirt_domain.as_ref()?.0.as_ref()
    }

    /// Returns the given namespace.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Returns the given kubeconfig, or those that kubectl would read.
    ///
    /// # Errors
    ///
    /// It is missing or malformed.
    pub fn kubeconfig(&self) -> Result<Kubeconfig, ConnectError> {
        match &self.kubeconfig {
            Some(path) => {
                let read = kubeconfig::read_file(path).map_err(|error| ConnectError::of_file(path, error))?;
                kubeconfig::checked(read, path)
            }
            None => kubeconfig::read(),
        }
    }

    /// Returns the configuration for a verb that only reads: unlike a watch, each answer comes within a limit.
    ///
    /// # Errors
    ///
    /// It is missing or malformed.
    pub(crate) fn config_of_reads(&self) -> Result<Config, ConnectError> {
        let mut config = self.config()?;
        if self.request_timeout.is_none() {
            config.read_timeout = Some(ANSWER_LIMIT);
            config.reset_reader_on_write = true;
        }
        Ok(config)
    }

    /// Returns the configuration that kubectl would use.
    ///
    /// # Errors
    ///
    /// It is missing or malformed.
    pub fn config(&self) -> Result<Config, ConnectError> {
        if self.as_user.is_none() && !(self.as_group.is_empty() && self.as_uid.is_none()) {
            return Err(ConnectError::Options("--as-group and --as-uid go with --as".to_owned()));
        }
        if self.certificate_authority.is_some() && self.insecure_skip_tls_verify == Some(true) {
            let fault =
                "--certificate-authority and --insecure-skip-tls-verify do not go together: leave out one of them";
            return Err(ConnectError::Options(fault.to_owned()));
        }
        if let Some(fault) = self.namespace().and_then(namespace_fault) {
            return Err(ConnectError::Options(fault));
        }
        let environment = Environment::read();
        let of = |kubeconfig| kubeconfig::config(kubeconfig, self, &environment);
        let config = match self.kubeconfig() {
            Ok(kubeconfig) => of(kubeconfig),
            // A server address is sufficient.
            Err(_) if self.server.is_some() && self.kubeconfig.is_none() => of(Kubeconfig::default()),
            Err(error) => Err(error),
        };
        // Outside a pod, report the fault of the kubeconfig, because the user can fix that. In a pod the API server is
        // a Service and needs no proxy.
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
        if let Some(limit) = self.request_timeout.as_ref().and_then(|given| given.0) {
            let limit = Some(limit).filter(|limit| !limit.is_zero());
            config.connect_timeout = limit;
            config.read_timeout = limit;
            config.write_timeout = limit;
        }
        Ok(config)
    }
}

/// Returns a client of a cluster with this domain, for a person who waits: requests that the API server is too busy for
/// are repeated three times, within some seconds. kube's own retries last for minutes, or for as long as the server
/// demands.
///
/// # Errors
///
/// The configuration cannot be used.
pub(crate) fn client(mut config: Config, domain: &Domain) -> Result<Client, ConnectError> {
    let plugin = Plugin::of(&config);
    config.default_retry = false;
    let token = plugin::log_in(&mut config)?;
    let builder = ClientBuilder::try_from(config).map_err(|error| ConnectError::of(plugin, error))?;
    let builder = builder
        .with_layer(&redirects())
        .with_layer(&BufferLayer::new(MAX_QUEUED))
        .with_layer(&option_layer(token))
        .with_layer(&RetryLayer::new(RetryPolicy::default()))
        .with_layer(&MiddlewareLayer(domain.clone()));
    Ok(builder.build())
}

/// Returns a client that records when the API server answers.
///
/// # Errors
///
/// The configuration cannot be used.
pub(crate) fn client_noted(
    config: Config,
    domain: &Domain,
    freshness: &Arc<Freshness>,
) -> Result<Client, ConnectError> {
    let plugin = Plugin::of(&config);
    let builder = ClientBuilder::try_from(config).map_err(|error| ConnectError::of(plugin, error))?;
    let builder = builder.with_layer(&redirects());
    Ok(builder.with_layer(&MiddlewareLayer(domain.clone())).with_layer(&MiddlewareLayer(Arc::clone(freshness))).build())
}

/// An answer that sends people to another page: the API does not redirect, and proxies that log people in do.
#[derive(Debug, thiserror::Error)]
#[error(
    "HTTP {status} to {location}: the login at a proxy in front of the API server has expired (log in again), or no API server \
     of Kubernetes answers there"
)]
struct Redirected {
    status: u16,
    /// The page, without its query, which may hold a secret.
    location: String,
}

/// Returns the layer that makes such an answer an error: its body is no JSON, and would be called so.
fn redirects<B>() -> MapResultLayer<fn(Answered<B>) -> Answered<B>> {
    MapResultLayer::new(|answer| match answer {
        Ok(answer) => redirected(&answer).map_or(Ok(answer), |error| Err(error.into())),
        Err(error) => Err(error),
    })
}

/// The answer to a request, or its error.
type Answered<B> = Result<Response<B>, BoxError>;

fn redirected<B>(answer: &Response<B>) -> Option<Redirected> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    let location = String::from_utf8_lossy(location.as_bytes());
    let location = location.split(['?', '#']).next().unwrap_or_default().chars().take(MAX_QUOTED).collect();
    Some(Redirected { status: answer.status().as_u16(), location })
}

/// Returns the address of the API server for messages, with the proxy in front of it, if there is one. Users and
/// passwords are left out.
pub(crate) fn server_address(config: &Config) -> String {
    let path = config.cluster_url.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    let url = format!("{}{path}", without_user(&config.cluster_url));
    match &config.proxy_url {
        Some(proxy) => format!("{url} (through the proxy {})", without_user(proxy)),
        None => url,
    }
}

/// Returns the scheme, host and port of an address.
fn without_user(url: &Uri) -> String {
    let authority = url.authority().map(Authority::as_str).unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{}://{host}", url.scheme_str().unwrap_or("http"))
}

impl ConnectError {
    pub(super) fn of(plugin: Option<Plugin>, error: kube::Error) -> Self {
        match (plugin, error) {
            (Some(plugin), kube::Error::Auth(error)) => {
                Self::Plugin { fault: plugin.fault(&error), command: plugin.command }
            }
            (None, kube::Error::Auth(_)) => Self::Options(
                "the kubeconfig's user has an auth-provider, which kubectl no longer supports either: use a credential plugin (exec)"
                    .to_owned(),
            ),
            // rustls, unlike OpenSSL, accepts X.509 version 3 alone; `openssl x509 -req` of OpenSSL 3.0 makes version
            // 1.
            (_, error) if chain(&error).contains("UnsupportedCertVersion") => Self::Options(
                "the client certificate of the kubeconfig is X.509 version 1, and only version 3 is supported: issue a new one \
                 with extensions (openssl x509 -req -extfile FILE)"
                    .to_owned(),
            ),
            (_, error) => Self::Client(error),
        }
    }
}

/// Describes a failed request on one line: the API server's message, or else the root cause.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        // An API server answers like this about a group that it does not have.
        kube::Error::Api(status) if status.reason == NOT_A_STATUS && status.code == 404 => {
            "the server has no such path (HTTP 404)".to_owned()
        }
        // A proxy that logs people in, in front of the API server.
        kube::Error::Api(status) if status.reason == NOT_A_STATUS && status.code == 401 => {
            let quoted = quoted(&status.message).map(|text| format!(" ({text})")).unwrap_or_default();
            format!("the server asks for credentials: HTTP 401{quoted}")
        }
        kube::Error::Api(status) if status.reason == NOT_A_STATUS => {
            let quoted = quoted(&status.message).map(|text| format!(" ({text})")).unwrap_or_default();
            format!("no API server of Kubernetes answers there: HTTP {}{quoted}", status.code)
        }
        kube::Error::SerdeError(error) => {
            let fault = if error.is_data() { "has another form than the API's" } else { "is not JSON" };
            format!("the answer {fault} ({error}): does an API server of Kubernetes answer there?")
        }
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("HTTP {} {}", status.code, status.reason).trim_end().to_owned(),
        kube::Error::Service(_) | kube::Error::HyperError(_) => root(error),
        other => chain(other),
    }
}

/// Returns the user in the API server's message about a missing permission: `User "jane" cannot list resource …`.
pub(super) fn refused_user(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("User \"")?;
    rest.split_once("\" cannot ").map(|(user, _)| user)
}

/// Returns the first line of an answer, shortened; `None` if it is empty or a page of HTML.
fn quoted(answer: &str) -> Option<String> {
    let line = answer.lines().map(str::trim).find(|line| !line.is_empty()).filter(|line| !line.starts_with('<'))?;
    let short: String = line.chars().take(MAX_QUOTED).collect();
    Some(if short.len() < line.len() { format!("{short}…") } else { short })
}

/// Returns the cause of an error. The source of an I/O error is the source of the error that it wraps, not that error.
fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source())
}

/// Returns the last cause of an error: `Connection refused (os error 111)` without the errors that wrap it.
fn root(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = cause(last) {
        last = cause;
    }
    if let Some(tls) = last.downcast_ref() {
        return tls::words(tls);
    }
    if let Some(error) = last.downcast_ref() {
        return format!("the kubeconfig's credential plugin {}", plugin::fault(error));
    }
    // The limits of this program; those of the operating system have a number.
    let is_over = |io: &io::Error| io.kind() == ErrorKind::TimedOut && io.raw_os_error().is_none();
    if last.is::<tokio::time::error::Elapsed>() || last.downcast_ref().is_some_and(is_over) {
        return "no answer within the time limit (--request-timeout)".to_owned();
    }
    let text = last.to_string();
    proxy::words(&text, &format!("{last:?}")).unwrap_or(text)
}

/// Returns an error and its causes on one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
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

/// Runs a future to its end, on this thread.
///
/// # Errors
///
/// The runtime cannot be made.
pub(crate) fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The page of an expired login is no JSON, and was called an answer that is not JSON.
    #[rstest]
    #[case::login(
        302,
        Some("https://login.example/auth?state=secret#x"),
        Some("HTTP 302 to https://login.example/auth: the login")
    )]
    #[case::moved(308, Some("/ui/"), Some("HTTP 308 to /ui/: "))]
    #[case::without_a_page(302, None, None)]
    #[case::an_answer(200, Some("/a"), None)]
    #[case::created(201, Some("/api/v1/namespaces/a"), None)]
    #[case::refused(403, None, None)]
    fn a_redirect_names_the_page_that_it_leads_to(
        #[case] status: u16,
        #[case] location: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let mut answer = Response::builder().status(status);
        if let Some(location) = location {
            answer = answer.header(LOCATION, location);
        }
        let found = redirected(&answer.body(()).expect("an answer")).map(|error| error.to_string());
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().starts_with(expected.unwrap_or_default()), "another page is named");
    }
}
