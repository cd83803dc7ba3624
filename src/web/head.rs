//! Request heads that are malformed by the HTTP specification although the parsers accept them.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Version};

/// Returns the fault of a request's head, to be answered by 400; `None` without a fault.
pub(super) fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().filter(|host| !host.is_empty());
    if hosts.next().is_some() {
        return Some("more than one Host header");
    }
    if request.version() >= Version::HTTP_2 {
        // `:authority` replaces Host; if both are sent they must be equal (RFC 9113, 8.3.1).
        return match (request.uri().authority(), host) {
            (None, None) => Some(":authority is missing"),
            (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
                Some("Host is not the :authority")
            }
            _ => None,
        };
    }
    if request.version() == Version::HTTP_11 && host.is_none() {
        return Some("the Host header is missing");
    }
    // The parser drops a Content-Length that is sent together with a Transfer-Encoding, so both cases look equal here.
    // API servers, the kubelet and Prometheus send no Transfer-Encoding.
    request.headers().contains_key(TRANSFER_ENCODING).then_some(
        "Transfer-Encoding is not accepted, neither alone nor beside Content-Length: send Content-Length, or use HTTP/2",
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::as_clients_send_it(Version::HTTP_11, "/livez", &[("host", "10.0.0.1:8080")], true)]
    #[case::no_host(Version::HTTP_11, "/livez", &[], false)]
    #[case::an_empty_host(Version::HTTP_11, "/livez", &[("host", "")], false)]
    #[case::two_hosts(Version::HTTP_11, "/livez", &[("host", "a"), ("host", "b")], false)]
    #[case::twice_the_same_host(Version::HTTP_11, "/livez", &[("host", "a"), ("host", "a")], false)]
    #[case::http_1_0_needs_none(Version::HTTP_10, "/livez", &[], true)]
    #[case::http_1_0_with_two(Version::HTTP_10, "/livez", &[("host", "a"), ("host", "b")], false)]
    #[case::the_whole_uri(Version::HTTP_11, "http://a/livez", &[("host", "a")], true)]
    #[case::chunked(Version::HTTP_11, "/validate", &[("host", "a"), ("transfer-encoding", "chunked")], false)]
    #[case::an_authority(Version::HTTP_2, "https://a:443/validate", &[], true)]
    #[case::host_instead_of_authority(Version::HTTP_2, "/validate", &[("host", "a")], true)]
    #[case::neither(Version::HTTP_2, "/validate", &[], false)]
    #[case::both_alike(Version::HTTP_2, "https://a.svc/validate", &[("host", "A.svc")], true)]
    #[case::both_unlike(Version::HTTP_2, "https://a.svc/validate", &[("host", "b.svc")], false)]
    #[case::two_hosts_over_http_2(Version::HTTP_2, "https://a/validate", &[("host", "a"), ("host", "a")], false)]
    fn a_request_with_two_hosts_or_none_is_refused(
        #[case] version: Version,
        #[case] uri: &str,
        #[case] headers: &[(&str, &str)],
        #[case] good: bool,
    ) {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert_eq!(fault(&request.body(()).unwrap()).is_none(), good);
    }
}
