//! The chart on a real API server: installed, tested, upgraded, uninstalled; and adopting an installation by kustomize.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{BTreeSet, ControlPlane, ROOT, authorities, output, program, tool, write_authority};
use crate::common::cpufit;
use crate::installed::Installation;
use crate::servers::Proxy;

const CHART: &str = "deploy/helm/cpufit";

fn admin(cluster: &ControlPlane) -> String {
    let admin = cluster.kubeconfig("root", &["system:masters"]);
    format!("--kubeconfig={}", admin.to_str().expect("a path in UTF-8"))
}

#[test]
#[ignore = "needs helm and a control plane: make e2e"]
fn chart_with_every_value_changed_is_taken_by_the_api_server() {
    let Some(helm) = tool("helm") else { return };
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let values = cluster.workplace().write("values.yaml", super::values::ALL);
    let values = values.to_str().expect("a path in UTF-8");
    let digest = format!("--set=image.digest=sha256:{}", "0".repeat(64));
    let chart = ["template", "cpufit", CHART, "--namespace=virt-tools"];
    let rendered = output(&helm, &[&chart[..], &["--values", values, &digest]].concat());
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
    let admin = admin(&cluster);
    output(&helm, &["install", "cpufit", CHART, "-n=cpufit-system", "--create-namespace", &admin]);
    let authority = write_authority(&cluster);
    output(&helm, &["upgrade", "cpufit", CHART, "-n=cpufit-system", "--set=replicaCount=3", &admin]);
    assert_eq!(cluster.get(&["deployment", "cpufit", "-n=cpufit-system"])["spec"]["replicas"], 3);
    assert_eq!(
        authorities(&cluster),
        BTreeSet::from([authority]),
        "after an upgrade users get no warnings for a while"
    );

    output(&helm, &["uninstall", "cpufit", "-n=cpufit-system", "--wait=hookOnly", &admin]);
    assert_eq!(left(&cluster), [DEFINITION], "policies are gone, or something is left behind");

    // The commands of docs/install.md and of the chart's README, for another namespace.
    let elsewhere = ["install", "cpufit", CHART, "--namespace=virt-tools", "--create-namespace", &admin];
    let mut command = Command::new(&helm);
    command.args(elsewhere).current_dir(ROOT).env("HOME", "/nonexistent");
    let refused = program(command).run();
    assert!(
        refused.code() != 0 && refused.stderr.contains("invalid ownership metadata"),
        "the documentation names another error: {}",
        refused.stderr
    );
    output(&helm, &[&elsewhere[..], &["--take-ownership"]].concat());
    let definition = || cluster.get(&["crd", "cpupolicies.cpufit.io"])["metadata"].clone();
    assert_eq!(definition()["annotations"]["meta.helm.sh/release-namespace"], "virt-tools", "an upgrade would fail");
    output(&helm, &["upgrade", "cpufit", CHART, "--namespace=virt-tools", &admin]);
    output(&helm, &["uninstall", "cpufit", "-n=virt-tools", "--wait=hookOnly", &admin]);
    cluster.kubectl(&["delete", "crd", "cpupolicies.cpufit.io"]);
    output(&helm, &["install", "other", CHART, "--namespace=cpufit-system", &admin]);
    assert_eq!(definition()["annotations"]["meta.helm.sh/release-name"], "other");
}

const DEFINITION: &str = "customresourcedefinition.apiextensions.k8s.io/cpupolicies.cpufit.io";

/// Returns the remaining objects of cpufit outside its namespace.
fn left(cluster: &ControlPlane) -> Vec<String> {
    let kinds = "clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration,\
                 validatingadmissionpolicy,crd";
    let left = cluster.kubectl(&["get", kinds, "-o=name"]);
    left.lines().filter(|name| name.contains("cpufit")).map(str::to_owned).collect()
}

/// Policies can be installed with the release that installs their definition; from the next upgrade on, the release
/// owns them.
#[test]
#[ignore = "needs helm and a control plane: make e2e"]
fn chart_installs_policies_with_their_definition() {
    let Some(helm) = tool("helm") else { return };
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let admin = admin(&cluster);
    let run = |verb: &str, values: &[&str]| {
        let args = [verb, "cpufit", CHART, "-n=cpufit-system", &admin];
        output(&helm, &[&args[..], values].concat());
    };
    let policy = || cluster.get(&["cpupolicy", "cluster"]);
    let named = ["--create-namespace", "--set=policies[0].name=cluster", "--set=policies[0].spec.enforce=Pinned"];
    run("install", &named);
    let first = policy();
    assert_eq!(first["spec"]["enforce"], "Pinned");
    run("upgrade", &["--set=policies[0].name=cluster", "--set=policies[0].spec.enforce=Fragile"]);
    let second = policy();
    assert_eq!(second["spec"]["enforce"], "Fragile");
    assert_eq!(
        second["metadata"]["uid"], first["metadata"]["uid"],
        "without a policy for a moment, and its status gone"
    );
    run("upgrade", &["--reset-values"]);
    let left = || cluster.kubectl(&["get", "cpupolicies", "-o=name"]);
    assert_eq!(left(), "", "a policy that was taken out of the values stays in force");

    // Without an upgrade in between, the release does not know the policy of its installation as its own.
    let of_a_user = json!({
        "apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": {"name": "of-a-user"}, "spec": {"enforce": "None"},
    });
    for (values, rest) in [
        (&["--reset-values"][..], ""),
        (&["--set=policies[0].name=new", "--set=policies[0].spec.enforce=Fragile"], "cpupolicy.cpufit.io/new\n"),
    ] {
        output(&helm, &["uninstall", "cpufit", "-n=cpufit-system", "--wait=hookOnly", &admin]);
        cluster.kubectl(&["delete", "crd", "cpupolicies.cpufit.io"]);
        run("install", &named);
        cluster.kubectl_with(&["create", "-f=-"], &of_a_user);
        run("upgrade", values);
        let rest = format!("{rest}cpupolicy.cpufit.io/of-a-user\n");
        assert_eq!(
            left(),
            rest,
            "the first upgrade leaves a policy in force that is not in its values, or deletes another"
        );
    }
}

/// A release adopts an installation by `kubectl apply --server-side`, and the webhooks keep answering. Values can be
/// taken away from it, if it was adopted with `--force-conflicts` after the objects were applied without their fields.
#[test]
#[ignore = "needs helm and a control plane: make e2e"]
fn chart_adopts_what_kustomize_installed() {
    adopted(&["--take-ownership", "--server-side=false"]);
    adopted(&["--take-ownership", "--force-conflicts"]);
}

#[track_caller]
fn adopted(adopting: &[&str]) {
    let Some(helm) = tool("helm") else { return };
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let base = Path::new(ROOT).join("deploy/base");
    cluster.kubectl(&["apply", "--server-side", "-k", base.to_str().expect("UTF-8")]);
    let authority = write_authority(&cluster);
    let uid = cluster.get(&["deployment", "cpufit", "-n=cpufit-system"])["metadata"]["uid"].clone();
    let admin = admin(&cluster);
    output(&helm, &[&["install", "cpufit", CHART, "-n=cpufit-system", &admin], adopting].concat());
    let get = || cluster.get(&["deployment", "cpufit", "-n=cpufit-system"]);
    let deployment = get();
    assert_eq!(deployment["metadata"]["uid"], uid, "made again, it would be down for a while");
    assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    assert_eq!(authorities(&cluster), BTreeSet::from([authority]), "users get no warnings until caBundle is back");
    if adopting.contains(&"--force-conflicts") {
        // The command of docs/install.md.
        let mut objects = cpufit(["manifests", "-o", "json"]).run().json();
        for object in objects["items"].as_array_mut().expect("a List") {
            let mut metadata = json!({"name": object["metadata"]["name"]});
            if let Some(namespace) = object["metadata"].get("namespace") {
                metadata["namespace"] = namespace.clone();
            }
            *object = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata});
        }
        cluster.kubectl_with(&["apply", "--server-side", "--validate=false", "-f=-"], &objects);
        assert_eq!(get()["spec"], deployment["spec"], "an object lost its fields");
    }
    let upgrade = |values: &[&str]| {
        output(&helm, &[&["upgrade", "cpufit", CHART, "-n=cpufit-system", &admin], values].concat());
        get()
    };
    let changed = upgrade(&["--set=replicaCount=3", "--set=priorityClassName=", "--set-json=tolerations=[]"]);
    let pod = &changed["spec"]["template"]["spec"];
    assert_eq!(changed["spec"]["replicas"], 3, "{adopting:?}");
    assert_eq!(
        (&pod["priorityClassName"], &pod["tolerations"]),
        (&json!(null), &json!(null)),
        "{adopting:?}: a value that was taken away stays"
    );
    let reset = upgrade(&["--reset-values"]);
    assert_eq!(reset["spec"], deployment["spec"], "{adopting:?}: the values are not those of the chart again");
    assert_eq!(authorities(&cluster).len(), 1, "{adopting:?}: an upgrade took caBundle away");
    output(&helm, &["uninstall", "cpufit", "-n=cpufit-system", "--wait=hookOnly", &admin]);
    assert_eq!(left(&cluster), [DEFINITION], "the release did not own all of it");
}

/// Runs `helm test`, acting as the kubelet of its pod: runs the pod's command and writes the result to its status.
/// Names of the cluster are resolved here.
fn tested(cluster: &ControlPlane, helm: &Path, admin: &str, service: IpAddr) -> (i32, String) {
    let mut command = Command::new(helm);
    command.args(["test", "cpufit", "-n=cpufit-system", "--timeout=60s", admin]);
    command.current_dir(ROOT).env("HOME", "/nonexistent").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut testing = command.spawn().expect("helm starts");
    let limit = Instant::now() + Duration::from_secs(60);
    let pod = loop {
        assert!(Instant::now() < limit && testing.try_wait().expect("a status").is_none(), "helm test made no pod");
        let pods = cluster.get(&["pods", "-n=cpufit-system", "-l=app.kubernetes.io/component=test"]);
        match pods["items"].get(0) {
            Some(pod) if pod["status"]["phase"] == "Pending" => break pod.clone(),
            _ => sleep(Duration::from_millis(200)),
        }
    };
    let args = pod["spec"]["containers"][0]["args"].as_array().expect("arguments");
    let args = args.iter().map(|arg| arg.as_str().expect("text"));
    let args = args.map(|arg| arg.replace("cpufit.cpufit-system.svc", &service.to_string()));
    let ran = cpufit(args).run();
    let phase = if ran.code() == 0 { "Succeeded" } else { "Failed" };
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let patch = json!({"status": {"phase": phase}}).to_string();
    cluster.kubectl(&["patch", "pod", name, "-n=cpufit-system", "--subresource=status", "-p", &patch]);
    let ended = testing.wait().expect("a status").code().expect("not killed");
    (ended, format!("{}{}", ran.stdout, ran.stderr))
}

#[test]
#[ignore = "needs helm and a control plane: make e2e"]
fn helm_test_fails_where_no_replica_is_ready() {
    let Some(helm) = tool("helm") else { return };
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let admin = admin(&cluster);
    let installation = Installation::new(&cluster);
    output(&helm, &["install", "cpufit", CHART, "-n=cpufit-system", &admin, "--take-ownership", "--force-conflicts"]);
    let IpAddr::V4(service) = installation.service.ip() else { panic!("the Services have IPv4 addresses") };
    let replica = installation.serve("cpufit-a", &[]);
    let metrics = Proxy::start(service, 8080);
    let behind = metrics.put(replica.admin);
    let (code, said) = tested(&cluster, &helm, &admin, service.into());
    assert_eq!((code, said.as_str()), (0, "ok\n"), "an installation that works does not pass its own test");
    drop(behind);
    let (code, said) = tested(&cluster, &helm, &admin, service.into());
    assert_ne!(code, 0, "an installation without a replica passes");
    assert!(
        said.starts_with(&format!("error: GET http://{service}:8080/readyz")),
        "the pod's log does not help: {said}"
    );
}
