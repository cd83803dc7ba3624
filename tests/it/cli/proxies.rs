//! Proxies in front of the API server, used as kubectl uses them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::common::forward::Forward;

use super::connect::{Api, NAME, ask, judged, text};

#[test]
fn the_environments_proxy_is_used() {
    let api = Api::start();
    let proxy = Forward::start(api.address);
    let kubeconfig = api.kubeconfig("config", &api.by_name(), &[]);
    let url = format!("http://{}", proxy.address());
    judged(&ask(&api, &["--kubeconfig", text(&kubeconfig)], &[("HTTPS_PROXY", &url)]));
    let asked = proxy.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| *line == format!("CONNECT {NAME}:{}", api.address.port())),
        "{asked:?}"
    );

    // Credentials are decoded, and the scheme may be missing.
    let proxy = Forward::start(api.address);
    let url = format!("jane:s%40crét@{}", proxy.address()).replace('é', "%C3%A9");
    judged(&ask(&api, &["--kubeconfig", text(&kubeconfig)], &[("https_proxy", &url)]));
    assert!(proxy.asked()[0].ends_with(" Basic amFuZTpzQGNyw6l0"), "{:?}", proxy.asked());

    let socks = Forward::start(api.address);
    let url = format!("socks5h://{}", socks.address());
    judged(&ask(&api, &["--kubeconfig", text(&kubeconfig)], &[("HTTPS_PROXY", &url)]));
    assert_eq!(socks.asked()[0], format!("SOCKS5 {NAME}:{}", api.address.port()));
}

#[test]
fn the_variable_no_proxy_is_honoured() {
    let api = Api::start();
    let proxy = Forward::start(api.address);
    let url = format!("http://{}", proxy.address());
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[]);
    // No server listens there, and NO_PROXY entries for the proxy itself do not affect the cluster.
    for no_proxy in ["127.0.0.1,.svc,10.0.0.0/8", "", ",", "*", "not an/entry"] {
        let variables = [("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", no_proxy)];
        judged(&ask(&api, &["--kubeconfig", text(&kubeconfig)], &variables));
    }
    // An excepted name is resolved locally, where it is unknown.
    let kubeconfig = api.kubeconfig("config", &api.by_name(), &[]);
    let variables = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", ".cluster.example")];
    assert_eq!(ask(&api, &["--kubeconfig", text(&kubeconfig)], &variables).code(), 2);
    assert_eq!(proxy.asked(), [""; 0], "a server that NO_PROXY excepts was asked for at the proxy");
    judged(&ask(
        &api,
        &["--kubeconfig", text(&kubeconfig)],
        &[("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "127.0.0.1")],
    ));
}

#[test]
fn the_kubeconfigs_proxy_goes_first() {
    let api = Api::start();
    let proxy = Forward::start(api.address);
    let url = format!("http://{}", proxy.address());
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[("proxy-url", &url)]);
    let variables = [("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "*")];
    judged(&ask(&api, &["--kubeconfig", text(&kubeconfig)], &variables));
    assert_eq!(proxy.asked()[0], format!("CONNECT {}", api.address));
    assert!(proxy.received() > 1000, "the cluster was read past the proxy");
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &api.by_name(), &[]);
    let ran = ask(&api, &["--kubeconfig", text(&kubeconfig)], &[("HTTPS_PROXY", "socks4://jane:secret@127.0.0.1:9")]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("HTTPS_PROXY is not the address of an HTTP or SOCKS 5 proxy"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn a_proxy_that_does_not_answer_is_named() {
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &format!("https://{NAME}:6443"), &[]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for proxy in [format!("http://{free}"), format!("http://jane:secret@{free}")] {
        let ran = ask(&api, &["--kubeconfig", text(&kubeconfig)], &[("HTTPS_PROXY", &proxy)]);
        assert_eq!(ran.code(), 2, "{}", ran.stderr);
        let expected = format!("reading the cluster at https://{NAME}:6443/ (through the proxy http://{free}): ");
        assert!(ran.stderr.contains(&expected), "the API server is blamed for the proxy: {}", ran.stderr);
        assert!(!ran.stderr.contains("secret"), "a password is printed: {}", ran.stderr);
    }
}

/// A user reads who refused, the proxy or the API server, and not the names of a library's errors.
#[test]
fn a_proxy_that_refuses_says_so_in_plain_words() {
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &format!("https://{NAME}:6443"), &[]);
    for (scheme, answer, expected) in [
        ("http", "HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy does not connect to the API server\n"),
        ("http", "HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy does not connect to the API server\n"),
        (
            "http",
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "the proxy asks for a user and password (HTTP 407)\n",
        ),
        ("http", "", "the proxy ends the connection\n"),
        ("socks5", "HTTP/1.1 400 Bad Request\r\n\r\n", "the proxy does not answer as a SOCKS 5 proxy does\n"),
        ("socks5", "", "the proxy ends the connection\n"),
        ("socks5", "\u{5}\u{0}\u{5}\u{5}\u{0}\u{1}\0\0\0\0\0\0", "the proxy does not connect to the API server: "),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let _ = client.read(&mut [0; 1024]);
                let _ = client.write_all(answer.as_bytes());
            }
        });
        let ran = ask(&api, &["--kubeconfig", text(&kubeconfig)], &[("HTTPS_PROXY", &url)]);
        assert_eq!(ran.code(), 2, "{}", ran.stderr);
        let expected = format!("(through the proxy {url}): cannot read nodes: {expected}");
        assert!(ran.stderr.contains(&expected), "{scheme} {answer:?}: {}", ran.stderr);
    }
}
