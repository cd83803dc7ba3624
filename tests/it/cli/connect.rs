//! Connection to a cluster: kubeconfigs as kubectl finds them, credentials as kubectl uses them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::common::{Ran, Scratch, cpufit, head, list, node};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// A name that only the test's proxy can resolve.
pub(super) const NAME: &str = "api.cluster.example";

/// An API server that serves only two nodes, over TLS.
pub(super) struct Api {
    pub(super) folder: Scratch,
    pub(super) address: SocketAddr,
}

impl Api {
    pub(super) fn start() -> Self {
        let folder = Scratch::new();
        let out = folder.path().to_str().unwrap();
        let made = cpufit(["certs", "--out", out, "--dns-name", NAME]).run();
        assert_eq!(made.code(), 0, "{}", head(&made.stderr));
        let chain = CertificateDer::pem_file_iter(folder.path().join("tls.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("tls.key")).unwrap();
        let config = ServerConfig::builder_with_provider(cpufit::crypto::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                thread::spawn(move || serve(StreamOwned::new(connection, stream)));
            }
        });
        Self { folder, address }
    }

    /// Writes a kubeconfig that names this server address, with more fields of the cluster.
    pub(super) fn kubeconfig(&self, file: &str, server: &str, more: &[(&str, &str)]) -> PathBuf {
        let mut cluster = json!({"server": server, "certificate-authority": "ca.pem"});
        for (key, value) in more {
            cluster[*key] = Value::from(*value);
        }
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
            "clusters": [{"name": "test", "cluster": cluster}],
        });
        self.folder.write_json(file, &content)
    }

    pub(super) fn by_name(&self) -> String {
        format!("https://{NAME}:{}", self.address.port())
    }

    pub(super) fn by_address(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn labels() -> Value {
    json!({"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true"})
}

/// Returns the server's refusal for a token: `expired` is unknown, `owner` may read namespace shop, `reader` nodes as
/// well, `operator` all but budgets.
fn refused(token: &str, path: &str) -> Option<(&'static str, String)> {
    let resource = path.split('?').next().unwrap().rsplit('/').next().unwrap();
    let in_shop = path.contains("/namespaces/shop");
    match token {
        "expired" => Some(("401 Unauthorized", "Unauthorized".to_owned())),
        "reader" if resource == "nodes" => None,
        "operator" if resource != "poddisruptionbudgets" => None,
        "owner" | "reader" if in_shop => None,
        "owner" | "reader" | "operator" => {
            let place = if path.contains("/namespaces/lab/") { "in the namespace lab" } else { "at the cluster scope" };
            let user = "User \"jane\" cannot list resource";
            Some(("403 Forbidden", format!("{resource} is forbidden: {user} \"{resource}\" {place}")))
        }
        _ => None,
    }
}

/// Answers requests until the client sends no more.
fn serve(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let bearer = request.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        let (code, mut body) = if let Some((code, message)) = bearer.and_then(|token| refused(token, path)) {
            let number = code.split(' ').next().unwrap().parse::<u16>().unwrap();
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": number, "message": message}),
            )
        } else if path.split('?').next() == Some("/api/v1/nodes") {
            ("200 OK", list([node("node-a", &labels()), node("node-b", &labels())]))
        } else if bearer == Some("newer") && path.starts_with("/apis/cpufit.io/v1alpha1/cpupolicies") {
            let spec = json!({"enforce": "Fragile", "fieldOfALaterRelease": true});
            let policy = json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": {"name": "strict"}, "spec": spec});
            ("200 OK", list([policy]))
        } else if bearer == Some("newer") && path.starts_with("/apis/kubevirt.io/") {
            ("200 OK", list([]))
        } else if path.starts_with("/api/v1/") {
            // Every API server has the resources of the core.
            ("200 OK", list([]))
        } else {
            (
                "404 Not Found",
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "message": "none"}),
            )
        };
        if code == "200 OK" {
            body["kind"] = "NodeList".into();
            body["metadata"] = json!({});
        }
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        stream.flush()?;
    }
}

fn guest(api: &Api) -> PathBuf {
    let vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"domain": {"devices": {}, "cpu": {"model": "host-passthrough"}}},
    });
    api.folder.write_json("vmi.json", &vmi)
}

/// Runs `check` with these variables.
pub(super) fn ask(api: &Api, args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let guest = guest(api);
    let mut run = cpufit(["check", "-o", "json", "-f"]).args([guest.as_os_str()]).args(args);
    let home = api.folder.path().to_str().unwrap();
    for (name, value) in [("HOME", home)].iter().chain(variables) {
        run = run.env(name, value);
    }
    run.run()
}

#[track_caller]
pub(super) fn judged(ran: &Ran) {
    assert_eq!(ran.code(), 0, "the cluster was not reached: {}", head(&ran.stderr));
    assert_eq!(ran.json()["results"][0]["nodes"]["judged"], 2, "{}", head(&ran.stdout));
}

#[test]
fn the_contexts_namespace_is_that_of_manifests_that_name_none() {
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[]);
    let mut content: Value = serde_json::from_slice(&std::fs::read(&kubeconfig).unwrap()).unwrap();
    let bare =
        api.folder.write("bare.yaml", "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: web}}");
    for (of_context, more, expected) in
        [(Value::Null, &[][..], "default"), (json!("prod"), &[], "prod"), (json!("prod"), &["-n", "shop"], "shop")]
    {
        content["contexts"][0]["context"]["namespace"] = of_context;
        api.folder.write_json("config", &content);
        let ran =
            cpufit(["check", "-o", "json", "--kubeconfig", text(&kubeconfig), "-f", text(&bare)]).args(more).run();
        assert_eq!(ran.json()["results"][0]["namespace"], expected, "{}", head(&ran.stdout));
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn kubeconfigs_are_found_as_kubectl_finds_them() {
    let api = Api::start();
    let file = api.kubeconfig("a", &api.by_address(), &[]);
    let other = api.folder.write_json(
        "b",
        &json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "elsewhere",
            "contexts": [{"name": "elsewhere", "context": {"cluster": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:9"}}],
        }),
    );
    let empty = api.folder.write("empty", "");
    let missing = api.folder.path().join("missing");
    let [file, other, empty, missing] = [&file, &other, &empty, &missing].map(|path| text(path).to_owned());
    for list in [
        file.clone(),
        format!("{file}:{missing}"),
        format!("{missing}:{file}"),
        format!(":{missing}::{empty}:{file}:{other}:"),
    ] {
        judged(&ask(&api, &[], &[("KUBECONFIG", &list)]));
    }
    // The first file that names a context sets the current one; of equal cluster names, the first counts.
    judged(&ask(&api, &["--context", "elsewhere"], &[("KUBECONFIG", &format!("{file}:{other}"))]));

    let none = ask(&api, &[], &[("KUBECONFIG", &format!("{missing}:{missing}2"))]);
    assert_eq!(none.code(), 2);
    assert!(none.stderr.contains(&format!("there is no kubeconfig ({missing}, {missing}2)")), "{}", none.stderr);
    let named = ask(&api, &["--kubeconfig", &missing], &[]);
    assert_eq!(named.code(), 2);
    assert!(named.stderr.contains("No such file"), "{}", named.stderr);
    let broken = api.folder.write("broken", "{");
    let broken = ask(&api, &[], &[("KUBECONFIG", &format!("{file}:{}", text(&broken)))]);
    assert_eq!(broken.code(), 2, "a file that is there and cannot be read is passed over");

    std::fs::create_dir(api.folder.path().join(".kube")).unwrap();
    std::fs::copy(&file, api.folder.path().join(".kube/config")).unwrap();
    std::fs::copy(api.folder.path().join("ca.pem"), api.folder.path().join(".kube/ca.pem")).unwrap();
    judged(&ask(&api, &[], &[]));
    judged(&ask(&api, &[], &[("KUBECONFIG", ":")]));
}

/// Each option overrides the context, and each invalid value has its error.
#[test]
fn options_take_precedence_over_the_kubeconfig() {
    let api = Api::start();
    let file = api.folder.write_json(
        "many",
        &json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "away",
            "contexts": [{"name": "away", "context": {"cluster": "away", "user": "jane"}}],
            "clusters": [
                {"name": "away", "cluster": {"server": "https://127.0.0.1:9", "certificate-authority": "ca.pem"}},
                {"name": "here", "cluster": {"server": api.by_address(), "certificate-authority": "ca.pem"}},
                {"name": "other-name", "cluster": {"server": api.by_address(), "tls-server-name": "no.such.name", "certificate-authority": "ca.pem"}},
                {"name": "other-ca", "cluster": {"server": api.by_address()}},
            ],
            "users": [{"name": "jane", "user": {}}, {"name": "exec", "user": {"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}}}],
        }),
    );
    let (file, ca) = (text(&file).to_owned(), api.folder.path().join("ca.pem"));
    let (by_address, ca) = (api.by_address(), text(&ca).to_owned());
    let bare = api.by_address().replace("https://", "http://");
    let beside = format!("{}/prefix", api.by_address());
    for options in [
        &["--cluster", "here"][..],
        &["--cluster=here", "--user=jane"],
        &["--server", &by_address],
        &["-s", &by_address],
        &["--cluster", "other-ca", "--certificate-authority", &ca],
        &["--cluster", "other-ca", "--insecure-skip-tls-verify"],
        &["--cluster", "other-name", "--tls-server-name", NAME],
        &["--cluster", "other-name", "--insecure-skip-tls-verify=true"],
        &["--cluster", "here", "--user", "exec", "--token", "abc"],
        &["--cluster", "here", "--as", "jane", "--as-group", "a", "--as-group", "b", "--as-uid", "7"],
        &["--cluster", "here", "--request-timeout", "20"],
    ] {
        judged(&ask(&api, &[&["--kubeconfig", file.as_str()], options].concat(), &[]));
    }
    // A server address is sufficient.
    judged(&ask(&api, &["--server", &by_address, "--certificate-authority", &ca], &[]));
    for (options, words) in [
        (&["--cluster", "nowhere"][..], "nowhere"),
        (&["--cluster", "here", "--user", "nobody"], "the kubeconfig has no user nobody"),
        (&["--context", "nowhere"], "nowhere"),
        (&["--cluster", "other-ca"], "certificate"),
        (&["--cluster", "here", "--insecure-skip-tls-verify=maybe"], "maybe"),
        (&["--cluster", "here", "--user", "exec"], "no-such-plugin"),
        (&["--server", &bare], "127.0.0.1"),
        (&["--server", &beside], "no API server of Kubernetes answers there: it has no nodes\n"),
    ] {
        let ran = ask(&api, &[&["--kubeconfig", file.as_str()], options].concat(), &[]);
        assert_eq!(ran.code(), 2, "{options:?}");
        assert!(ran.stderr.contains(words), "{options:?}: {}", ran.stderr);
    }
    // A text that no header can carry is named, and so is an invalid port.
    let broken = "has a line break or another control character";
    for (options, words) in [
        (&["--cluster", "here", "--token", "abc\n"][..], format!("error: --token {broken}")),
        (&["--cluster", "here", "--as", "ja\nne"], format!("error: --as {broken}")),
        (&["--cluster", "here", "--as", "jane", "--as-uid", "7\r"], format!("error: --as-uid {broken}")),
        (
            &["--cluster", "here", "--as", "jane", "--as-group", "a", "--as-group", "\n"],
            format!("error: --as-group {broken}"),
        ),
        (&["--server", "https://127.0.0.1:99999"], "the API server has no valid port: 99999\n".to_owned()),
        (&["--server", "https://127.0.0.1:abc"], "the API server has no valid port: abc\n".to_owned()),
    ] {
        let ran = ask(&api, &[&["--kubeconfig", file.as_str()], options].concat(), &[]);
        assert_eq!(ran.code(), 2, "{options:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(&words), "{options:?}: {}", ran.stderr);
    }
    let password = ask(&api, &["--kubeconfig", &file, "--server", "https://jane:secret@127.0.0.1:9"], &[]);
    assert!(
        password.stderr.contains("reading the cluster at https://127.0.0.1:9/") && !password.stderr.contains("secret"),
        "a password is printed: {}",
        password.stderr
    );
    // Log lines of requests begin at level 6.
    let seen = ask(&api, &["--kubeconfig", &file, "--cluster", "here", "-v=6"], &[]);
    assert!(seen.stderr.contains("/api/v1/nodes"), "{}", head(&seen.stderr));
}

/// A server that accepts a connection and never answers does not block a script forever.
#[test]
fn a_server_that_does_not_answer_times_out() {
    let api = Api::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let started = std::time::Instant::now();
    let ran = ask(&api, &["--server", &server, "--request-timeout", "500ms"], &[]);
    assert_eq!(ran.code(), 2);
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(ran.stderr.contains("error: reading the cluster at http://"), "{}", ran.stderr);
}

/// The cluster's cpufit may know fields that this program does not.
#[test]
fn a_policy_that_cannot_be_read_is_named_and_fails_gates() {
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[]);
    let options = ["--kubeconfig", text(&kubeconfig), "--token", "newer"];
    let judged = ask(&api, &options, &[]);
    assert!(
        judged.code() == 0
            && judged.stderr.contains("note: judged without: CPUPolicy strict: spec.fieldOfALaterRelease: "),
        "the verdict is that of another policy, without a word: {}",
        judged.stderr
    );
    let gated = ask(&api, &[&options[..], &["--fail-on", "denied"]].concat(), &[]);
    assert!(gated.code() == 2 && gated.stderr.contains("a CPUPolicy cannot be read"), "it passes: {}", gated.stderr);
}

/// `echo TOKEN > file` writes a line break, and `token: |` of YAML has one.
#[test]
fn tokens_of_a_kubeconfig_are_sent_without_the_line_break_that_ends_their_file() {
    let api = Api::start();
    let with = |user: Value| {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "jane"}}],
            "clusters": [{"name": "here", "cluster": {"server": api.by_address(), "certificate-authority": "ca.pem"}}],
            "users": [{"name": "jane", "user": user}],
        });
        let file = api.folder.write_json("tokens", &config);
        cpufit(["audit", "--kubeconfig", text(&file)]).run()
    };
    for (content, words) in [("expired\n", "login has expired"), ("expired", "login has expired"), ("\n good\r\n", "")]
    {
        api.folder.write("token", content);
        let ran = with(json!({"tokenFile": "token"}));
        assert!(ran.stderr.contains(words), "{content:?} is sent as another token: {}", ran.stderr);
        assert_eq!(ran.code() == 0, words.is_empty(), "{content:?}: {}", ran.stderr);
    }
    let inline = with(json!({"token": "abc\n"}));
    let words = "error: the token of the kubeconfig's user has a line break or another control character";
    assert!(inline.code() == 2 && inline.stderr.starts_with(words), "{}", inline.stderr);
}

/// The API server's message is printed once, followed by the possible fixes.
#[test]
fn a_user_without_rights_is_shown_the_missing_ones() {
    const NODES: &str =
        "cannot read nodes: nodes is forbidden: User \"jane\" cannot list resource \"nodes\" at the cluster scope\n";
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[]);
    let run = |line: &str| {
        let words = line.split(' ').map(str::to_owned);
        cpufit(words).args(["--kubeconfig", text(&kubeconfig)]).run()
    };
    let owner = run("explain vm/db -n shop --token owner");
    assert_eq!((owner.code(), owner.stdout.as_str()), (2, ""), "{}", owner.stderr);
    assert!(owner.stderr.starts_with("error: reading the cluster at https://"), "{}", owner.stderr);
    assert_eq!(owner.stderr.matches("is forbidden").count(), 1, "said once: {}", owner.stderr);
    for words in [
        NODES,
        "ClusterRole cpufit-reader",
        "  kubectl create clusterrolebinding cpufit-reader-jane --clusterrole=cpufit-reader --user=jane",
        " create --dry-run=server -f - <<'EOF'\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\n\
         metadata: {generateName: cpufit-, namespace: \"shop\"}\nspec: {vmiName: \"db\"}\nEOF\n",
    ] {
        assert!(owner.stderr.contains(words), "{words} is missing: {}", owner.stderr);
    }
    for (line, present, absent) in [
        // A bare name is a guest; a pod is not a guest; a command for all guests names those known to run.
        ("explain db -n shop --token owner", "vmiName: \"db\"", "cpufit-auditor"),
        ("explain vmim/db -n shop --token owner", "cpufit-reader", "vmiName"),
        ("explain vm -n shop --token owner", "cpufit-reader", "vmiName"),
        ("audit -n shop --token owner", "cpufit-reader", "vmiName"),
        ("audit --token reader", "cpufit-auditor", "cpufit-reader"),
        (
            "check deploy/base/service.yaml -n shop --token owner",
            "apply --dry-run=server -f deploy/base/service.yaml -n shop",
            "vmiName",
        ),
        (
            "explain -f deploy/base/service.yaml -n shop --token owner",
            "apply --dry-run=server -f deploy/base/service.yaml -n shop",
            "vmiName",
        ),
        ("audit --token expired", "login has expired", "forbidden"),
        ("audit --token expired", "cannot read nodes: Unauthorized\n", "cpufit-reader"),
    ] {
        let ran = run(line);
        assert_eq!(ran.code(), 2, "{line}: {}", ran.stdout);
        assert!(ran.stderr.contains(present), "{line}: {present} is missing: {}", ran.stderr);
        assert!(!ran.stderr.contains(absent), "{line}: {absent} is said: {}", ran.stderr);
    }
    // With nodes, one namespace is enough; each other resource that may not be read gets a note.
    let reader = run("audit -n shop --token reader");
    assert_eq!(reader.code(), 0, "{}", reader.stderr);
    assert!(
        reader.stderr.contains("note: judged without: cannot read kubevirts: kubevirts is forbidden"),
        "{}",
        reader.stderr
    );
    // The pods of its namespace are read; those of others use room as well.
    let no_room = "note: judged without: cannot read pods: pods is forbidden: User \"jane\" cannot list resource \"pods\" at the \
                   cluster scope, so how much room nodes have is not known\n";
    assert_eq!(reader.stderr.matches("cannot read pods").count(), 1, "said once: {}", reader.stderr);
    assert!(reader.stderr.contains(no_room), "{}", reader.stderr);
    for line in ["explain vm -n shop --token reader", "check deploy/base/service.yaml -n shop --token reader"] {
        assert_eq!(run(line).stderr.matches(no_room).count(), 1, "{line}: {}", run(line).stderr);
    }
    // The budgets matter for a drain alone.
    for (line, is_said) in [("drain node-a", true), ("explain vm -A", false), ("audit", false)] {
        let ran = run(&format!("{line} --token operator"));
        let budgets = "note: judged without: cannot read poddisruptionbudgets: poddisruptionbudgets is forbidden: User \"jane\" cannot \
                       list resource \"poddisruptionbudgets\" at the cluster scope, so which evictions are refused is not known\n";
        assert_eq!(
            (ran.code(), ran.stderr.matches(budgets).count()),
            (0, usize::from(is_said)),
            "{line}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("Status {"), "{line} prints an error of the program: {}", ran.stderr);
    }
    // The namespace's own refusal counts.
    let elsewhere = run("audit -n lab --token reader");
    assert!(elsewhere.stderr.contains("in the namespace lab\n"), "{}", elsewhere.stderr);
    let elsewhere = run("check deploy/base/service.yaml -n lab --token reader");
    assert!(elsewhere.stderr.contains("in the namespace lab\n"), "{}", elsewhere.stderr);
    assert!(!reader.stderr.contains("virtualmachineinstances"), "{}", reader.stderr);
    judged(&ask(&api, &["--kubeconfig", text(&kubeconfig), "-n", "shop", "--token", "reader"], &[]));
    let nobody = run("audit --server https://127.0.0.1:9");
    assert!(nobody.stderr.contains("cannot read nodes: Connection refused (os error 111)\n"), "{}", nobody.stderr);
}

/// Answers each request with these bytes, and closes the connection.
fn answering(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || {
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

/// A web server, a load balancer, a portal: the error says that no API server answers, once, in one line, and soon.
#[test]
fn a_server_that_is_no_api_server_is_called_one() {
    let form = |code: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {code}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let page = "<html>\n<body>Welcome!</body>\n</html>\n";
    let long = "x".repeat(4000);
    let retry = "Retry-After: 3600\r\n";
    let none = "no API server of Kubernetes answers there";
    let doubt = "does an API server of Kubernetes answer there?";
    for (answer, words) in [
        (form("200 OK", "", page), doubt),
        (form("200 OK", "", ""), doubt),
        (
            form("200 OK", "Content-Type: application/json\r\n", "{\"hello\": \"world\"}"),
            "API server of Kubernetes answer",
        ),
        (form("200 OK", "Content-Type: application/json\r\n", "[]"), doubt),
        (form("302 Found", "Location: /login\r\n", ""), "HTTP 302 to /login: the login at a proxy"),
        (form("404 Not Found", "", ""), "no API server of Kubernetes answers there: "),
        (form("404 Not Found", "", page), "no API server of Kubernetes answers there: "),
        (form("403 Forbidden", "", page), "no API server of Kubernetes answers there: HTTP 403\n"),
        (form("500 Internal Server Error", "", &long), none),
        (form("502 Bad Gateway", "", "\nno healthy upstream\n"), "answers there: HTTP 502 (no healthy upstream)\n"),
        (form("503 Service Unavailable", "", "busy"), "no API server of Kubernetes answers there: HTTP 503 (busy)\n"),
        (form("503 Service Unavailable", retry, page), "no API server of Kubernetes answers there: HTTP 503\n"),
        (form("429 Too Many Requests", retry, ""), "no API server of Kubernetes answers there: HTTP 429\n"),
    ] {
        let server = format!("http://{}", answering(answer.clone()));
        for verb in [&["version"][..], &["audit"]] {
            let started = std::time::Instant::now();
            let ran = cpufit(verb.iter().copied()).args(["--server", &server]).run();
            let at = format!("{verb:?} {}: {}", head(&answer), head(&ran.stderr));
            assert_eq!(ran.code(), 2, "a wrong address passes for a cluster: {at}");
            assert_eq!(ran.stdout.is_empty(), verb != ["version"], "{at}");
            assert!(started.elapsed() < std::time::Duration::from_secs(60), "a script waits without end: {at}");
            assert!(ran.stderr.starts_with("error: reading the ") && ran.stderr.contains(words), "{at}");
            assert_eq!(ran.stderr.matches("API server of Kubernetes").count(), 1, "{at}");
            assert!(ran.stderr.lines().count() == 1 && ran.stderr.len() < 400, "{at}");
        }
    }
    // A proxy that logs people in answers in its own form.
    for verb in [&["version"][..], &["audit"]] {
        let server = format!("http://{}", answering(form("401 Unauthorized", "", "token expired")));
        let ran = cpufit(verb.iter().copied()).args(["--server", &server]).run();
        let words = ["the server asks for credentials: HTTP 401 (token expired)\n", "the login has expired"];
        assert!(ran.code() == 2 && words.iter().all(|words| ran.stderr.contains(words)), "{verb:?}: {}", ran.stderr);
    }
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[]);
    let expired = cpufit(["version", "--token", "expired", "--kubeconfig", text(&kubeconfig)]).run();
    assert_eq!(expired.code(), 2, "{}", expired.stdout);
    assert!(
        expired.stderr.contains(": Unauthorized\n") && expired.stderr.contains("login has expired"),
        "{}",
        expired.stderr
    );
}

/// A plugin may open a browser or ask for a code: the user does it once, as with kubectl, and what is piped to cpufit
/// is not read by the plugin.
#[test]
fn a_credential_plugin_runs_once_and_leaves_standard_input_alone() {
    const VMI: &str = "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: db}, spec: {domain: {devices: {}}}}";
    let api = Api::start();
    let kubeconfig = api.kubeconfig("config", &api.by_address(), &[]);
    let runs = api.folder.path().join("runs");
    let mut content: Value = serde_json::from_slice(&std::fs::read(&kubeconfig).unwrap()).unwrap();
    content["contexts"][0]["context"]["user"] = "jane".into();
    // Each run is noted, with what it could read.
    let script = format!(
        "echo \"run $(cat)\" >> '{}'; echo \"{{\\\"apiVersion\\\": \\\"client.authentication.k8s.io/v1\\\", \
         \\\"kind\\\": \\\"ExecCredential\\\", \\\"status\\\": {{\\\"token\\\": \\\"$1\\\"$2}}}}\"",
        text(&runs)
    );
    let far = ", \"expirationTimestamp\": \"2999-01-01T00:00:00Z\"";
    for mode in [None, Some("Never"), Some("IfAvailable"), Some("Always")] {
        for (token, expires, code) in [("abc", "", 0), ("abc", far, 0), ("expired", "", 2)] {
            let mut exec = json!({
                "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
                "args": ["-c", script, "plugin", token, expires],
            });
            if let Some(mode) = mode {
                exec["interactiveMode"] = mode.into();
            }
            content["users"] = json!([{"name": "jane", "user": {"exec": exec}}]);
            api.folder.write_json("config", &content);
            std::fs::write(&runs, "").unwrap();
            let args = ["check", "-o", "json", "--kubeconfig", text(&kubeconfig), "-f", "-"];
            let ran = cpufit(args).stdin(VMI).run();
            let noted = std::fs::read_to_string(&runs).unwrap();
            let case = format!("interactiveMode {mode:?}, token {token}{expires}: {}", head(&ran.stderr));
            if mode == Some("Always") {
                assert_eq!((ran.code(), noted.as_str()), (2, ""), "{case}");
                let fault =
                    "credential plugin sh asks the user (interactiveMode: Always), and standard input is no terminal";
                assert!(ran.stderr.contains(fault), "{case}");
                continue;
            }
            assert_eq!((ran.code(), noted.as_str()), (code, "run \n"), "{case}");
            if code == 0 {
                assert_eq!(ran.json()["results"][0]["name"], "db", "{case}");
            }
        }
    }
}
