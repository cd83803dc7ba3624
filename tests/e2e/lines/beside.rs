//! Command lines that find nothing, are wrong, or cannot reach the cluster, beside what kubectl does with the same.

use std::net::TcpListener;

use super::cluster;
use crate::common::{BIN, Ran, head, program};
use crate::controlplane::ControlPlane;
use crate::pki::Authority;
use std::process::Command;

/// The outcome of a command line, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Nothing is found, which is no error.
    Empty,
    NotFound,
    NoNamespace,
    NoType,
    Form,
    Exclusive,
    Missing,
    UnknownFlag,
    NoValue,
    BadValue,
    UnknownVerb,
    NoContext,
    NoCluster,
    NoUser,
    NoFile,
    NotYaml,
    NoObject,
    NotAKustomization,
    OtherNamespace,
    BadNamespace,
    Impersonation,
    Forbidden,
    Unreachable,
    NoAnswer,
    NotTrusted,
    OtherName,
    NotPem,
    NotTls,
}

use Outcome::{
    BadNamespace, BadValue, Done, Empty, Exclusive, Forbidden, Form, Impersonation, Missing, NoAnswer, NoCluster,
    NoContext, NoFile, NoNamespace, NoObject, NoType, NoUser, NoValue, NotAKustomization, NotFound, NotPem, NotTls,
    NotTrusted, NotYaml, OtherName, OtherNamespace, UnknownFlag, UnknownVerb, Unreachable,
};

impl Outcome {
    /// Returns the words of kubectl, and those of cpufit, on standard error; one of each list must be present.
    fn words(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Done => (&[""], &[""]),
            Empty => (
                &["No resources found"],
                &["nothing that is asked for is in", "there is no namespace", "there is no guest"],
            ),
            NotFound => (&["(NotFound)"], &["not found"]),
            NoNamespace => (&["namespaces \"nosuch\" not found"], &["not found: there is no namespace nosuch"]),
            NoType => (
                &["the server doesn't have a resource type"],
                &["is not a type that this verb takes", "nor is it a type"],
            ),
            Form => (
                &["arguments in resource/name form", "there is no need to specify a resource type"],
                &[": use ", "use TYPE/NAME for each"],
            ),
            Exclusive => (
                &[
                    "selectors and the all flag cannot be used",
                    "cannot be retrieved by name across",
                    "only one of -f or -k",
                    "cannot be provided when a path",
                ],
                &["do not go together", "cannot be read by name across all namespaces", "cannot be used with"],
            ),
            Missing => (
                &[
                    "Required resource not specified",
                    "USAGE: drain NODE",
                    "Shell not specified",
                    "must specify one of -f and -k",
                ],
                &["the following required arguments were not provided"],
            ),
            UnknownFlag => (
                &["unknown flag", "unknown shorthand flag", "extra arguments", "unknown command"],
                &["unexpected argument"],
            ),
            NoValue => (&["flag needs an argument"], &["a value is required for"]),
            BadValue => (
                &[
                    "invalid argument",
                    "Invalid timeout",
                    "unable to match a printer",
                    "(BadRequest)",
                    "--output must be",
                    "Unsupported shell",
                    "found ',', expected",
                ],
                &["invalid value", "unexpected value"],
            ),
            UnknownVerb => (&["unknown command"], &["unrecognized subcommand"]),
            NoContext => (&["context was not found"], &["the kubeconfig has no context nosuch"]),
            NoCluster => (&["no server found for cluster"], &["the kubeconfig has no cluster nosuch"]),
            NoUser => (&["auth info \"nosuch\" does not exist"], &["the kubeconfig has no user nosuch"]),
            NoFile => (&["no such file", "does not exist"], &["No such file", "no such file"]),
            NotYaml => (&["error parsing", "error loading config file"], &["document 1, line", "not YAML"]),
            NoObject => (
                &["no objects passed", "recognized file extensions are", "No resources found"],
                &["no object in", "no .yaml, .yml or .json file"],
            ),
            NotAKustomization => {
                (&["unable to find one of 'kustomization.yaml'"], &["unable to find one of 'kustomization.yaml'"])
            }
            OtherNamespace => (&["does not match the namespace"], &["as -n says, found"]),
            BadNamespace => (&["invalid namespace", "may not contain '/'"], &["a namespace may not"]),
            Impersonation => (&["without impersonating a user"], &["go with --as"]),
            Forbidden => (&["(Forbidden)"], &["is forbidden"]),
            Unreachable => (
                &["connection refused", "no such host", "unsupported protocol scheme"],
                &["Connection refused", "failed to lookup address", "unsupported scheme"],
            ),
            NoAnswer => (&["Client.Timeout exceeded", "deadline exceeded"], &["no answer within the time limit"]),
            NotTrusted => (&["certificate signed by unknown authority"], &["is of an authority that is not trusted"]),
            OtherName => (&["certificate is valid for"], &["not of nosuch; --tls-server-name"]),
            NotPem => (&["unable to parse bytes as PEM"], &["is no PEM certificate"]),
            NotTls => (
                &["first record does not look like a TLS handshake", "server gave HTTP response to HTTPS client"],
                &["the server does not answer with TLS"],
            ),
        }
    }

    fn is_success(self) -> bool {
        matches!(self, Done | Empty)
    }
}

/// A verb, its equivalent in kubectl, their common arguments, and the outcome of both. `$W` is a folder that the test
/// fills, `$SILENT` the address of a server that never answers, `$PLAIN` that of the API server with http://.
type Row = (&'static str, &'static str, &'static str, Outcome);

const ROWS: &[Row] = &[
    // Objects that are there.
    ("explain", "get", "vm db -n shop", Done),
    ("explain", "get", "vm/db -n shop", Done),
    ("explain", "get", "vm/db vmi/db -n shop", Done),
    ("explain", "get", "vm db ledger -n shop", Done),
    ("explain", "get", "virtualmachines.v1.kubevirt.io/db -n shop", Done),
    ("explain", "get", "vm -A", Done),
    ("explain", "get", "vm -A -n nosuch", Done),
    ("explain", "get", "vm -A -o wide", Done),
    ("explain", "get", "vm -A -o json", Done),
    ("explain", "get", "vm -A -o yaml", Done),
    ("explain", "get", "vm -A --no-headers", Done),
    ("explain", "get", "vm -A --no-headers=true", Done),
    ("explain", "get", "vm -l app=db -n shop", Done),
    ("explain", "get", "vm --selector=app -n shop", Done),
    ("explain", "get", "vm -n shop -v=0", Done),
    ("explain", "get", "vm -n shop --request-timeout=30", Done),
    ("explain", "get", "vm -n shop --request-timeout=30s", Done),
    ("explain", "get", "vm -n shop --context e2e --cluster e2e --user admin", Done),
    ("explain", "get", "vm -n shop --as olga --as-group system:masters", Done),
    ("explain", "get", "vm -n shop --insecure-skip-tls-verify", Done),
    ("explain", "get", "vm -n shop --tls-server-name localhost", Done),
    ("audit", "get vmi", "-n shop", Done),
    ("audit", "get vmi", "-A -o wide", Done),
    ("audit", "get vmi", "-A -o name", Done),
    ("audit", "get", "vmi/db -n shop", Done),
    ("recommend", "get node", "-l kubernetes.io/hostname=node-a", Done),
    ("recommend", "get node", "-o wide", Done),
    ("drain -o name node-b", "get node node-b", "-A", Done),
    ("snapshot", "get vm", "-n shop -o json", Done),
    ("check", "create --dry-run=server", "-f $W/a.yaml", Done),
    ("check", "create --dry-run=server", "-f $W/a.yaml,$W/sub/b.yaml", Done),
    ("check", "create --dry-run=server", "-R -f $W/sub", Done),
    ("check", "create --dry-run=server", "-k $W/k", Done),
    ("version", "version", "--client", Done),
    ("completion", "completion", "bash", Done),
    ("completion", "completion", "zsh", Done),
    ("completion", "completion", "fish", Done),
    ("completion", "completion", "powershell", Done),
    // None is there.
    ("explain", "get", "vm -n nosuch", Empty),
    ("explain", "get", "vm -n lab", Empty),
    ("explain", "get", "vm -n BAD", Empty),
    ("explain", "get", "vm -l app=nosuch -n shop", Empty),
    ("explain", "get", "vm -l app=nosuch -A", Empty),
    ("explain", "get", "vmim -n shop", Empty),
    ("explain", "get", "vmirs -n shop", Empty),
    ("explain", "get", "vmpool -n shop", Empty),
    ("audit --no-headers", "get vmi", "-n nosuch", Empty),
    ("audit --no-headers", "get vmi", "-n lab", Empty),
    ("audit --no-headers", "get vmi", "-l app=nosuch -n shop", Empty),
    ("snapshot", "get vm", "-n nosuch", Empty),
    ("snapshot", "get vm", "-n lab", Empty),
    ("diff $W/before.yaml", "get vm", "-n nosuch", Empty),
    ("diff $W/before.yaml", "get vm", "-l app=nosuch -A", Empty),
    // The named one is not there.
    ("explain", "get", "vm/nosuch -n shop", NotFound),
    ("explain", "get", "vm nosuch -n shop", NotFound),
    ("explain", "get", "vm db nosuch -n shop", NotFound),
    ("explain", "get", "vm/db vm/nosuch -n shop", NotFound),
    ("explain", "get", "vmi/nosuch -n shop", NotFound),
    ("explain", "get", "pod/nosuch -n shop", NotFound),
    ("explain", "get", "vmim/nosuch -n shop", NotFound),
    ("explain", "get", "vmirs/nosuch -n shop", NotFound),
    ("explain", "get", "vmpool/nosuch -n shop", NotFound),
    ("explain", "get", "vm/db", NotFound),
    ("audit", "get", "vmi/nosuch -n shop", NotFound),
    ("audit", "get", "vm nosuch -n shop", NotFound),
    ("drain", "drain", "nosuch", NotFound),
    ("drain", "drain", "node/nosuch", NotFound),
    ("drain", "drain", "node-a nosuch", NotFound),
    ("drain", "get", "node nosuch", NotFound),
    ("explain", "get", "vm db -n nosuch", NoNamespace),
    ("explain", "get", "vm/db -n nosuch", NoNamespace),
    ("audit", "get", "vm/db -n nosuch", NoNamespace),
    // Types, forms, and options that do not go together.
    ("explain", "get", "nosuch -n shop", NoType),
    ("explain", "get", "nosuch/db -n shop", NoType),
    ("explain", "get", "nosuch db -n shop", NoType),
    ("explain", "get", "vm.nosuch/db -n shop", NoType),
    ("explain", "get", "vm,nosuch -n shop", NoType),
    ("audit", "get", "nosuch/db -n shop", NoType),
    ("drain", "get", "nosuch/node-a", NoType),
    ("explain", "get", "vm/ -n shop", Form),
    ("explain", "get", "/db -n shop", Form),
    ("explain", "get", "vm/db/x -n shop", Form),
    ("explain", "get", "vm vm/db -n shop", Form),
    ("audit", "get", "vm/ -n shop", Form),
    ("drain", "get", "node/", Form),
    ("explain", "get", "vm/db -A", Exclusive),
    ("explain", "get", "vm/db -l app=db -n shop", Exclusive),
    ("explain", "get", "-f $W/a.yaml vm/db", Exclusive),
    ("explain", "get", "-f $W/a.yaml -k $W/k", Exclusive),
    ("check", "create", "-f $W/a.yaml -k $W/k", Exclusive),
    ("audit", "get", "vm/db -A", Exclusive),
    ("audit", "get", "vm/db -l app=db -n shop", Exclusive),
    // Arguments and values.
    ("explain", "get", "-n shop", Missing),
    ("explain", "get", "-A", Missing),
    ("drain", "drain", "--request-timeout=5s", Missing),
    ("check", "create", "--request-timeout=5s", Missing),
    ("completion", "completion", "--request-timeout=5s", Missing),
    ("explain", "get", "vm --nosuch -n shop", UnknownFlag),
    ("explain", "get", "vm -Z -n shop", UnknownFlag),
    ("audit", "get vmi", "--nosuch", UnknownFlag),
    ("drain", "drain", "node-a --nosuch", UnknownFlag),
    ("check", "create", "-f $W/a.yaml --nosuch", UnknownFlag),
    ("version", "version", "extra", UnknownFlag),
    ("version", "version", "--nosuch", UnknownFlag),
    ("explain", "get", "vm -n", NoValue),
    ("explain", "get", "vm -l", NoValue),
    ("explain", "get", "vm -o", NoValue),
    ("explain", "get", "vm --context", NoValue),
    ("check", "create", "-f", NoValue),
    ("explain", "get", "vm -o nosuch -n shop", BadValue),
    ("audit", "get vmi", "-o nosuch -n shop", BadValue),
    ("version", "version", "--client -o nosuch", BadValue),
    ("completion", "completion", "nosuch", BadValue),
    ("explain", "get", "vm -v 6x -n shop", BadValue),
    ("explain", "get", "vm --no-headers=maybe -n shop", BadValue),
    ("explain", "get", "vm --insecure-skip-tls-verify=maybe -n shop", BadValue),
    ("explain", "get", "vm --request-timeout=x -n shop", BadValue),
    ("explain", "get", "vm -l a=b,, -n shop", BadValue),
    ("explain", "get", "vm -l =x -n shop", BadValue),
    ("recommend", "get node", "-l a=b,,", BadValue),
    ("nosuch", "nosuch", "x", UnknownVerb),
    ("explain", "get", "vm -n a/b", BadNamespace),
    ("audit", "get vmi", "-n a/b", BadNamespace),
    // Files.
    ("explain", "get", "-f $W/nosuch.yaml", NoFile),
    ("explain", "get", "-f $W/broken.yaml", NotYaml),
    ("explain", "get", "-f $W/emptydir", NoObject),
    ("explain", "get", "-k $W/nosuch", NoFile),
    ("explain", "get", "-k $W/sub", NotAKustomization),
    ("check", "create", "-f $W/nosuch.yaml", NoFile),
    ("check", "create", "-f $W/a.yaml,$W/nosuch.yaml", NoFile),
    ("check", "create", "-f $W/broken.yaml", NotYaml),
    ("check", "create", "-f $W/empty.yaml", NoObject),
    ("check", "create", "-f $W/emptydir", NoObject),
    ("check", "create", "-k $W/nosuch", NoFile),
    ("check", "create", "-k $W/sub", NotAKustomization),
    ("check", "create", "-f $W/a.yaml -n lab", OtherNamespace),
    // The cluster and the user.
    ("explain", "get", "vm --context nosuch", NoContext),
    ("audit", "get vmi", "--context=nosuch", NoContext),
    ("explain", "get", "vm --cluster nosuch", NoCluster),
    ("explain", "get", "vm --user nosuch", NoUser),
    ("explain", "get", "vm --kubeconfig $W/nosuch", NoFile),
    ("explain", "get", "vm --kubeconfig $W/broken.yaml", NotYaml),
    ("explain", "get", "vm --certificate-authority $W/nosuch", NoFile),
    ("explain", "get", "vm --certificate-authority $W/broken.yaml", NotPem),
    ("explain", "get", "vm --certificate-authority $W/other.pem", NotTrusted),
    ("explain", "get", "vm --tls-server-name nosuch", OtherName),
    ("explain", "get", "vm --as-group x -n shop", Impersonation),
    ("explain", "get", "vm --as-uid x -n shop", Impersonation),
    ("explain", "get", "vm --as olga -n shop", Forbidden),
    ("explain", "get", "vm/db --as olga -n shop", Forbidden),
    ("audit", "get vmi", "--as olga", Forbidden),
    ("recommend", "get node", "--as olga", Forbidden),
    ("snapshot", "get vm", "--as olga -n shop", Forbidden),
    ("explain", "get", "vm --server https://127.0.0.1:9", Unreachable),
    ("audit", "get vmi", "-s https://127.0.0.1:9", Unreachable),
    ("explain", "get", "vm --server ftp://127.0.0.1:9", Unreachable),
    ("explain", "get", "vm --server http://$SILENT --request-timeout=300ms", NoAnswer),
    ("explain", "get", "vm --server https://$SILENT --request-timeout=300ms", NoAnswer),
    ("explain", "get", "vm --server https://$PLAIN", NotTls),
];

const VM: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: NAME, namespace: shop}
spec: {runStrategy: Halted, template: {spec: {domain: {devices: {}}}}}
";

fn fill(cluster: &ControlPlane) {
    let made = cluster.workplace();
    for folder in ["sub", "k", "emptydir"] {
        std::fs::create_dir_all(made.path().join(folder)).expect("a folder");
    }
    for (file, name) in [("a.yaml", "a"), ("sub/b.yaml", "b"), ("k/c.yaml", "c")] {
        made.write(file, VM.replace("NAME", name));
    }
    made.write("k/kustomization.yaml", "resources: [c.yaml]\n");
    made.write("broken.yaml", "{\n");
    made.write("empty.yaml", "");
    made.write("other.pem", Authority::new().certificate);
    made.write("before.yaml", include_str!("../../../demo/cluster.yaml"));
}

/// Returns a server that accepts connections and never answers, and one that answers without TLS.
fn servers() -> (TcpListener, String) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = plain.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().map_while(Result::ok) {
            // A client that is gone is no fault of this test.
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    (silent, address)
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn errors_are_those_of_kubectl() {
    assert!(ROWS.len() >= 150, "{} command lines", ROWS.len());
    let Some(cluster) = cluster() else { return };
    fill(&cluster);
    let (silent, plain) = servers();
    let silent = silent.local_addr().map(|address| (silent, address.to_string())).expect("its address");
    let run = |program_name: &std::path::Path, line: String| -> Ran {
        let line = line
            .replace("$W", cluster.workplace().path().to_str().expect("a path in UTF-8"))
            .replace("$SILENT", &silent.1)
            .replace("$PLAIN", &plain);
        let mut command = Command::new(program_name);
        command.args(line.split(' ')).env("KUBECONFIG", cluster.admin()).env("HOME", cluster.workplace().path());
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "KUBEVIRT_DOMAIN", "GITHUB_ACTIONS"] {
            command.env_remove(name);
        }
        program(command).env("PATH", &format!("{}:/usr/bin:/bin", cluster.assets().display())).run()
    };
    let compare = |rows: &[Row]| {
        let differs = |(verb, equivalent, arguments, outcome): &Row| {
            let theirs = run(&cluster.assets().join("kubectl"), format!("{equivalent} {arguments}"));
            let mine = run(BIN.as_ref(), format!("{verb} {arguments}"));
            let (of_kubectl, of_cpufit) = outcome.words();
            let says = |ran: &Ran, words: &[&str]| words.iter().any(|word| ran.stderr.contains(word));
            let expected = if outcome.is_success() { (0, 0) } else { (1, 2) };
            let is_well = (theirs.code(), mine.code()) == expected;
            (!is_well || !says(&theirs, of_kubectl) || !says(&mine, of_cpufit)).then(|| {
                format!(
                    "{verb} {arguments}: {outcome:?}\n  kubectl exits {}: {}\n  cpufit exits {}: {}",
                    theirs.code(),
                    head(theirs.stderr.trim()),
                    mine.code(),
                    head(mine.stderr.trim())
                )
            })
        };
        rows.iter().filter_map(differs).collect::<Vec<_>>()
    };
    let (one, other) = ROWS.split_at(ROWS.len() / 2);
    let faults = std::thread::scope(|scope| {
        let other = scope.spawn(|| compare(other));
        [compare(one), other.join().expect("the other half")].concat()
    });
    println!("{} command lines, beside kubectl", ROWS.len());
    assert!(
        faults.is_empty(),
        "who lives in kubectl is misled by {} of {} lines:\n{}",
        faults.len(),
        ROWS.len(),
        faults.join("\n")
    );
}
