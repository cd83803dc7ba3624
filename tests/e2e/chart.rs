//! The Helm chart, the overlays and `cpufit manifests` install what `deploy/base` does, but for what they are asked to
//! change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{cpufit, head, program};
use crate::controlplane::ControlPlane;
use crate::manifests::{authorities, write_authority};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A program of the tests; `None`, said on standard output, where it is not there.
fn tool(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folders = named.into_iter().chain([Path::new(ROOT).join("target/controlplane")]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        println!("LEFT OUT: this test needs {name}; make controlplane builds it");
    }
    found
}

#[track_caller]
fn output(tool: &Path, args: &[&str]) -> String {
    let mut command = Command::new(tool);
    // Nobody's plugins, repositories or clusters.
    command.args(args).current_dir(ROOT).env("HOME", "/nonexistent").env("KUBECONFIG", "/nonexistent");
    let ran = program(command).run();
    assert_eq!(ran.code(), 0, "{} {args:?}: {}{}", tool.display(), head(&ran.stdout), head(&ran.stderr));
    ran.stdout
}

/// Objects by kind and name.
#[track_caller]
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML documents");
    let documents = documents.into_iter().filter(|document| !document.is_null());
    let name = |object: &Value| {
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        format!("{} {}/{}", part(&object["kind"]), part(&metadata["namespace"]), part(&metadata["name"]))
    };
    documents.map(|object| (name(&object), object)).collect()
}

#[track_caller]
fn rendered(helm: &Path, values: &[&str]) -> BTreeMap<String, Value> {
    let args = ["template", "cpufit", "deploy/helm/cpufit", "--namespace=cpufit-system"];
    let mut objects = objects(&output(helm, &[&args[..], values].concat()));
    // The one thing that only helm knows.
    let kept = objects.get_mut("CustomResourceDefinition /cpupolicies.cpufit.io").expect("the definition")["metadata"]
        .as_object_mut()
        .and_then(|metadata| metadata.remove("annotations"));
    assert_eq!(
        kept,
        Some(serde_json::json!({"helm.sh/resource-policy": "keep"})),
        "uninstalled, policies would be gone"
    );
    objects
}

#[track_caller]
fn assert_same(expected: &BTreeMap<String, Value>, got: &BTreeMap<String, Value>, what: &str) {
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(got), names(expected), "{what}: other objects are installed");
    for (name, expected) in expected {
        assert_eq!(&got[name], expected, "{what}: {name} differs");
    }
}

#[test]
#[ignore = "needs kubectl: make e2e"]
fn manifests_are_what_kustomize_makes_of_the_base() {
    let Some(kubectl) = tool("kubectl") else { return };
    let printed = cpufit(["manifests"]).run();
    let base = objects(&output(&kubectl, &["kustomize", "deploy/base"]));
    assert_same(&base, &objects(&printed.stdout), "cpufit manifests");
}

#[test]
#[ignore = "needs helm: make e2e"]
fn chart_installs_what_kustomize_does() {
    let (Some(helm), Some(kubectl)) = (tool("helm"), tool("kubectl")) else { return };
    for (folder, values) in [
        ("base", &[][..]),
        ("overlays/cert-manager", &["--set=certificates.source=cert-manager"]),
        ("overlays/harvester", &["--set=webhooks.kubevirtNamespaces={harvester-system}"]),
        (
            "overlays/network",
            &[
                "--set=networkPolicy.reviewsFrom[0].ipBlock.cidr=192.0.2.10/32",
                "--set=networkPolicy.reviewsFrom[1].ipBlock.cidr=192.0.2.11/32",
                "--set=networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring",
            ],
        ),
        ("overlays/openshift", &["--set=webhooks.kubevirtNamespaces={openshift-cnv}"]),
    ] {
        let mut expected = objects(&output(&kubectl, &["kustomize", &format!("deploy/{folder}")]));
        // Helm keeps its own record there before it installs anything, so it is there already.
        expected.remove("Namespace /cpufit-system").expect("the namespace");
        assert_same(&expected, &rendered(&helm, values), folder);
    }
}

#[test]
#[ignore = "needs kubectl: make e2e"]
fn overlay_for_development_runs_one_replica_of_a_local_image() {
    let Some(kubectl) = tool("kubectl") else { return };
    let dev = objects(&output(&kubectl, &["kustomize", "deploy/overlays/dev"]));
    let deployment = &dev["Deployment cpufit-system/cpufit"];
    assert_eq!(deployment["spec"]["replicas"], 1);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "cpufit:dev", "a local build would not be run");
    assert_eq!(
        container["env"].as_array().map(Vec::len),
        Some(3),
        "the pod would not know its name, or log too little"
    );
    assert!(!dev.contains_key("PodDisruptionBudget cpufit-system/cpufit"), "the only node could not be drained");
}

#[test]
#[ignore = "needs helm: make e2e"]
fn chart_is_in_order_and_refuses_what_it_does_not_know() {
    let Some(helm) = tool("helm") else { return };
    output(&helm, &["lint", "--strict", "--quiet", "deploy/helm/cpufit", "--namespace=cpufit-system"]);
    for (wrong, named) in [
        ("replica=1", "replica"),
        ("certificates.source=vault", "source"),
        ("webhooks.timeoutSeconds=31", "timeoutSeconds"),
        ("image.digest=latest", "digest"),
    ] {
        let mut command = Command::new(&helm);
        command.args(["template", "cpufit", "deploy/helm/cpufit", "--set", wrong]).current_dir(ROOT);
        let ran = program(command).run();
        assert_ne!(ran.code(), 0, "--set {wrong} was taken, and does nothing");
        assert!(ran.stderr.contains(named), "--set {wrong}: the error does not name it: {}", head(&ran.stderr));
    }
}

/// Every value, set to something else.
const ALL: &str = "
image: { repository: registry.example/cpufit, pullPolicy: Always, pullSecrets: [registry] }
replicas: 3
log: info,cpufit=debug
extraArgs: [--drain=10]
webhooks: { kubevirtNamespaces: [virt], timeoutSeconds: 10, podTimeoutSeconds: 2 }
serviceAccount: { annotations: { a: b } }
aggregateToView: false
networkPolicy: { apiServerPorts: [16443], reviewsFrom: [{ ipBlock: { cidr: 192.0.2.0/24 } }], metricsFrom: [{ podSelector: {} }] }
resources: { requests: { cpu: 1 } }
nodeSelector: { pool: infra }
tolerations: [{ key: infra, operator: Exists }]
affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [
  { matchExpressions: [{ key: a, operator: Exists }] }] } } }
priorityClassName: high
podLabels: { team: virt }
podAnnotations: { c: d }
crd: { keep: false }
";

#[test]
#[ignore = "needs helm and a control plane: make e2e"]
fn chart_with_every_value_changed_is_taken_by_the_api_server() {
    let Some(helm) = tool("helm") else { return };
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let values = cluster.workplace().write("values.yaml", ALL);
    let values = values.to_str().expect("a path in UTF-8");
    let digest = format!("--set=image.digest=sha256:{}", "0".repeat(64));
    let chart = ["template", "cpufit", "deploy/helm/cpufit", "--namespace=virt-tools"];
    let rendered = output(&helm, &[&chart[..], &["--values", values, &digest]].concat());
    for value in [
        "registry.example/cpufit@sha256:0000",
        "virt-tools",
        "16443",
        "192.0.2.0/24",
        "--drain=10",
        "--log=info,cpufit=debug",
        "team: virt",
    ] {
        assert!(rendered.contains(value), "{value} is lost");
    }
    assert!(!rendered.contains("cpufit-system"), "something would be installed into another namespace");
    cluster.workplace().write("rendered.yaml", rendered);
    cluster.kubectl(&["create", "namespace", "virt-tools"]);
    cluster.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "rendered.yaml"]);
}

#[test]
#[ignore = "needs helm and a control plane: make e2e"]
fn chart_is_installed_upgraded_and_uninstalled() {
    let Some(helm) = tool("helm") else { return };
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let admin = cluster.kubeconfig("root", &["system:masters"]);
    let admin = format!("--kubeconfig={}", admin.to_str().expect("a path in UTF-8"));
    let chart = "deploy/helm/cpufit";
    output(&helm, &["install", "cpufit", chart, "-n=cpufit-system", "--create-namespace", &admin]);
    let authority = write_authority(&cluster);
    output(&helm, &["upgrade", "cpufit", chart, "-n=cpufit-system", "--set=replicas=3", &admin]);
    assert_eq!(cluster.get(&["deployment", "cpufit", "-n=cpufit-system"])["spec"]["replicas"], 3);
    assert_eq!(authorities(&cluster), BTreeSet::from([authority]), "after an upgrade nobody is warned, for a while");

    output(&helm, &["uninstall", "cpufit", "-n=cpufit-system", "--wait=hookOnly", &admin]);
    let left = cluster.kubectl(&["get", "clusterrole,validatingwebhookconfiguration,crd", "-o=name"]);
    let left: Vec<&str> = left.lines().filter(|name| name.contains("cpufit")).collect();
    let definition = "customresourcedefinition.apiextensions.k8s.io/cpupolicies.cpufit.io";
    assert_eq!(left, [definition], "policies are gone, or something is left behind");
}
