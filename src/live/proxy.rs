//! The proxy in front of the API server, found as in kubectl.
//!
//! Mirrors Go's `golang.org/x/net/http/httpproxy` (`config.init`, `config.useProxy`), which kubectl's HTTP client uses.

use std::io;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

/// The supported schemes of proxies; `socks5h` is another name of `socks5`, whose proxy resolves names.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];
/// The default port of a SOCKS proxy.
const SOCKS_PORT: u16 = 1080;

/// An unusable proxy address. The value is not shown, because it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin} is not the address of an HTTP or SOCKS 5 proxy; for example http://proxy.example:3128")]
pub struct ProxyError {
    /// The variable or field that holds the address.
    pub origin: &'static str,
}

/// Returns what an error of hyper-util's proxies means, by its text and its debug form; `None` for the text of another
/// error. The types of these errors are not exported, and some hold their cause without naming it as their source.
pub(super) fn words(text: &str, debug: &str) -> Option<String> {
    const REFUSES: &str = "the proxy does not connect to the API server";
    if let Some(fault) = text.strip_prefix("tunnel error: ") {
        return Some(match fault {
            "proxy authorization required" => "the proxy asks for a user and password (HTTP 407)".to_owned(),
            "unexpected end of file" => "the proxy ends the connection".to_owned(),
            "proxy response headers too long" => "the proxy does not answer as an HTTP proxy does".to_owned(),
            // Any other answer than HTTP 200.
            "unsuccessful" => REFUSES.to_owned(),
            other => format!("{REFUSES}: {other}"),
        });
    }
    Some(match text.strip_prefix("SOCKS error: ")? {
        "failed to create underlying connection" => match system_error(debug) {
            Some(cause) => format!("the proxy cannot be reached: {cause}"),
            None => "the proxy cannot be reached".to_owned(),
        },
        "failed parsing server response" => "the proxy does not answer as a SOCKS 5 proxy does".to_owned(),
        "io error during SOCKS handshake" => "the proxy ends the connection".to_owned(),
        "credentials not accepted" => "the proxy does not accept the user and password".to_owned(),
        other => format!("{REFUSES}: {other}"),
    })
}

/// Returns the operating system's error in the debug form of an error: `Connection refused (os error 111)`.
fn system_error(debug: &str) -> Option<io::Error> {
    let (_, rest) = debug.split_once("Os { code: ")?;
    let code = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(io::Error::from_raw_os_error(code))
}

/// The proxy settings of the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    https: Option<String>,
    http: Option<String>,
    exceptions: Exceptions,
}

impl Environment {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or the lower-case variables.
    pub(crate) fn read() -> Self {
        Self::of(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let filled = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            filled(name).or_else(|| filled(&name.to_ascii_lowercase()))
        };
        let exceptions = Exceptions::parse(&either("NO_PROXY").unwrap_or_default());
        Self { https: either("HTTPS_PROXY"), http: either("HTTP_PROXY"), exceptions }
    }

    /// Returns the proxy for a server; `None` if it is reached directly.
    ///
    /// # Errors
    ///
    /// The variable holds no address of a proxy.
    pub(crate) fn proxy_for(&self, server: &Uri) -> Result<Option<Uri>, ProxyError> {
        let (origin, value, default_port) = if server.scheme() == Some(&Scheme::HTTP) {
            ("HTTP_PROXY", &self.http, 80)
        } else {
            ("HTTPS_PROXY", &self.https, 443)
        };
        let host = server.host().unwrap_or_default();
        match value {
            Some(value) if !self.exceptions.hold(host, server.port_u16().unwrap_or(default_port)) => {
                parse(origin, value).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Parses a proxy's address; without a scheme it is an HTTP proxy.
///
/// # Errors
///
/// The value is not a URL, or its scheme is not supported; `origin` names its source.
pub(crate) fn parse(origin: &'static str, value: &str) -> Result<Uri, ProxyError> {
    let value = value.trim();
    let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let read = || {
        let mut parts = whole.parse::<Uri>().ok()?.into_parts();
        let scheme = parts.scheme.as_ref()?.as_str().to_owned();
        let authority = parts.authority.as_ref().filter(|authority| !authority.host().is_empty())?;
        if !SCHEMES.contains(&scheme.as_str()) {
            return None;
        }
        if scheme.starts_with("socks5") {
            if authority.port().is_none() {
                parts.authority = Some(format!("{authority}:{SOCKS_PORT}").parse().ok()?);
            }
            parts.scheme = Some("socks5".parse().ok()?);
        }
        Uri::from_parts(parts).ok()
    };
    read().ok_or(ProxyError { origin })
}

/// The servers that are reached directly: `NO_PROXY`.
#[derive(Clone, Debug, Default)]
struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug)]
enum Exception {
    /// `*`
    All,
    /// `10.0.0.0/8`
    Network(IpAddr, u32),
    /// `10.0.0.1`, `10.0.0.1:6443`
    Address(IpAddr, Option<String>),
    /// `.example.com`, and with `itself` also `example.com`; on one port or all.
    Domain { suffix: String, itself: bool, port: Option<String> },
}

impl Exceptions {
    fn parse(text: &str) -> Self {
        Self(text.split(',').filter_map(|entry| Exception::parse(&entry.trim().to_lowercase())).collect())
    }

    /// Whether a server is an exception. The local host always is.
    fn hold(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let is_port = |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| *wanted == port.to_string());
        self.0.iter().any(|exception| match exception {
            Exception::All => true,
            Exception::Network(network, length) => address.is_some_and(|address| is_in(address, *network, *length)),
            Exception::Address(one, port) => address == Some(*one) && is_port(port),
            Exception::Domain { suffix, itself, port } => {
                address.is_none() && is_port(port) && (host.ends_with(suffix) || (*itself && host == suffix[1..]))
            }
        })
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((network, length)) = entry.split_once('/')
            && let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse())
        {
            let longest = if network.is_ipv4() { 32 } else { 128 };
            return (length <= longest).then_some(Self::Network(network, length));
        }
        let (host, port) = match split_port(entry) {
            Some((host, port)) => (host, Some(port.to_owned()).filter(|port| !port.is_empty())),
            None => (entry, None),
        };
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let host = if host.starts_with("*.") { &host[1..] } else { host };
        if host.is_empty() {
            return None;
        }
        let itself = !host.starts_with('.');
        let suffix = if itself { format!(".{host}") } else { host.to_owned() };
        Some(Self::Domain { suffix, itself, port })
    }
}

/// Splits `host:port` and `[host]:port`.
fn split_port(entry: &str) -> Option<(&str, &str)> {
    if let Some(rest) = entry.strip_prefix('[') {
        return rest.split_once("]:");
    }
    entry.split_once(':').filter(|(_, port)| !port.contains(':'))
}

/// Whether the first `length` bits equal those of the network.
fn is_in(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= length
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= length
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// An error without its cause leaves it open whether the proxy's name, its port or the network is wrong.
    #[rstest]
    #[case(
        "SOCKS error: failed to create underlying connection",
        "Inner(Os { code: 111, kind: X })",
        "reached: Connection refused (os error 111)"
    )]
    #[case(
        "SOCKS error: failed to create underlying connection",
        "Inner(ConnectError(Os { code: 113 }))",
        "reached: No route to host (os error 113)"
    )]
    #[case("SOCKS error: failed to create underlying connection", "Inner(Elapsed)", "the proxy cannot be reached")]
    #[case("SOCKS error: io error during SOCKS handshake", "Io(Os { code: 104 })", "the proxy ends the connection")]
    #[case("tunnel error: unsuccessful", "", "the proxy does not connect to the API server")]
    fn an_error_of_a_proxy_names_its_cause(#[case] text: &str, #[case] debug: &str, #[case] expected: &str) {
        let found = words(text, debug).unwrap_or_default();
        assert!(found.ends_with(expected), "{found}");
    }

    #[rstest]
    #[case::nothing("", "https://api.example.com:6443", false)]
    #[case::all("*", "https://api.example.com:6443", true)]
    #[case::all_among_others("a.example, *", "https://10.0.0.1", true)]
    #[case::itself("api.example.com", "https://api.example.com:6443", true)]
    #[case::below("example.com", "https://api.example.com:6443", true)]
    #[case::end_of_a_word("ample.com", "https://api.example.com:6443", false)]
    #[case::dot_below(".example.com", "https://api.example.com", true)]
    #[case::dot_not_itself(".example.com", "https://example.com", false)]
    #[case::star_below("*.example.com", "https://api.example.com", true)]
    #[case::star_not_itself("*.example.com", "https://example.com", false)]
    #[case::capitals("API.Example.COM", "https://api.example.com", true)]
    #[case::port("api.example.com:6443", "https://api.example.com:6443", true)]
    #[case::default_port("api.example.com:443", "https://api.example.com", true)]
    #[case::other_port("api.example.com:443", "https://api.example.com:6443", false)]
    #[case::no_port_after_a_colon("api.example.com:", "https://api.example.com:6443", true)]
    #[case::address("10.1.2.3", "https://10.1.2.3:6443", true)]
    #[case::address_port("10.1.2.3:6443", "https://10.1.2.3:6443", true)]
    #[case::address_other_port("10.1.2.3:443", "https://10.1.2.3:6443", false)]
    #[case::no_address_by_its_end("2.3", "https://10.1.2.3:6443", false)]
    #[case::network("10.0.0.0/8", "https://10.1.2.3:6443", true)]
    #[case::network_named_by_a_host_of_it("10.9.9.9/8", "https://10.1.2.3:6443", true)]
    #[case::other_network("10.128.0.0/9", "https://10.1.2.3:6443", false)]
    #[case::every_network("0.0.0.0/0", "https://10.1.2.3", true)]
    #[case::names_are_in_no_network("0.0.0.0/0", "https://api.example.com", false)]
    #[case::too_long_a_prefix("10.0.0.0/33", "https://10.0.0.0", false)]
    #[case::v6("fd00::1", "https://[fd00::1]:6443", true)]
    #[case::v6_port("[fd00::1]:6443", "https://[fd00::1]:6443", true)]
    #[case::v6_network("fd00::/8", "https://[fd12::1]:6443", true)]
    #[case::v6_other_network("fd00::/16", "https://[fd12::1]:6443", false)]
    #[case::empty_entries(",, ,api.example.com,", "https://api.example.com", true)]
    #[case::no_host(":6443", "https://api.example.com:6443", false)]
    #[case::openshift(
        ".cluster.local,.svc,10.128.0.0/14,127.0.0.1,172.30.0.0/16,api-int.a.example,localhost",
        "https://172.30.0.1:443",
        true
    )]
    #[case::this_machine("", "https://127.0.0.1:6443", true)]
    #[case::this_machine_v6("", "https://[::1]:6443", true)]
    #[case::this_machine_by_name("", "https://localhost:6443", true)]
    // The expectations are kubectl's behaviour (1.34, net/http of Go 1.24).
    fn exceptions_are_those_of_kubectl(#[case] no_proxy: &str, #[case] server: &str, #[case] is_direct: bool) {
        let environment = Environment::of(|name| match name {
            "HTTPS_PROXY" => Some("http://proxy.corp:3128".to_owned()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        });
        let proxy = environment.proxy_for(&server.parse().unwrap()).unwrap();
        assert_eq!(proxy.is_none(), is_direct, "{server} with NO_PROXY={no_proxy}");
    }

    #[test]
    fn a_variable_may_be_written_in_small_letters() {
        let of = |pairs: &'static [(&str, &str)], server: &str| {
            let find = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
            let proxy = Environment::of(find).proxy_for(&server.parse().unwrap()).unwrap();
            proxy.map(|proxy| proxy.authority().unwrap().to_string())
        };
        assert_eq!(of(&[("https_proxy", "a:1")], "https://x"), Some("a:1".to_owned()));
        assert_eq!(of(&[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:1")], "https://x"), Some("b:1".to_owned()));
        assert_eq!(of(&[("https_proxy", "a:1"), ("HTTPS_PROXY", " ")], "https://x"), Some("a:1".to_owned()));
        assert_eq!(of(&[("https_proxy", "a:1"), ("no_proxy", "x")], "https://x"), None);
        assert_eq!(of(&[("HTTPS_PROXY", "a:1")], "http://x"), None, "HTTP_PROXY is for servers without TLS");
        assert_eq!(of(&[("HTTP_PROXY", "a:1")], "http://x"), Some("a:1".to_owned()));
        assert_eq!(of(&[("ALL_PROXY", "a:1")], "https://x"), None, "kubectl does not look at it");
    }

    #[rstest]
    #[case("http://proxy:3128", Some("http://proxy:3128/"))]
    #[case(" proxy:3128 ", Some("http://proxy:3128/"))]
    #[case("proxy", Some("http://proxy/"))]
    #[case("http://jane:secret@proxy:3128/", Some("http://jane:secret@proxy:3128/"))]
    #[case("https://proxy", Some("https://proxy/"))]
    #[case("socks5://proxy", Some("socks5://proxy:1080/"))]
    #[case("socks5h://proxy:9050", Some("socks5://proxy:9050/"))]
    #[case("socks4://proxy:1080", None)]
    #[case("ftp://proxy", None)]
    #[case("http://", None)]
    #[case("a b", None)]
    fn an_address_of_a_proxy_is_read_as_go_reads_it(#[case] value: &str, #[case] uri: Option<&str>) {
        let parsed = parse("HTTPS_PROXY", value).map(|uri| uri.to_string());
        assert_eq!(parsed, uri.map(str::to_owned).ok_or(ProxyError { origin: "HTTPS_PROXY" }), "{value}");
    }
}
