//! The manifests of `deploy/base`, unmodified, on a real API server: the requests it sends to cpufit, and the rights of
//! cpufit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::common;
use crate::controlplane::ControlPlane;
use crate::policy::policy;
use crate::world;

const CONFIGURATIONS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

/// Time limit until the API server calls a new webhook.
const LEARNT: Duration = Duration::from_secs(30);

fn deploy(folder: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(folder).to_str().expect("a path in UTF-8").to_owned()
}

/// Returns the number of calls of each of cpufit's webhooks while no server answers: the API server counts the requests
/// that it admits then.
fn calls(cluster: &ControlPlane) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in cluster.kubectl(&["get", "--raw=/metrics"]).lines() {
        assert!(
            !line.starts_with("apiserver_admission_match_condition_evaluation_errors_total{"),
            "a condition of a webhook cannot be evaluated: {line}"
        );
        let Some(rest) = line.strip_prefix("apiserver_admission_webhook_fail_open_count{name=\"") else { continue };
        let (name, rest) = rest.split_once('"').expect("a name");
        let count: f64 = rest.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count");
        #[expect(clippy::cast_sign_loss, reason = "a count is not negative, and exact as a float")]
        let count = count as u64;
        *calls.entry(name.to_owned()).or_default() += count;
    }
    calls
}

struct Asked<'a> {
    cluster: &'a ControlPlane,
    admin: PathBuf,
    before: BTreeMap<String, u64>,
}

impl Asked<'_> {
    /// Returns the webhooks that the API server called since the last call of this function.
    fn since(&mut self) -> Vec<String> {
        let now = calls(self.cluster);
        let asked = now.iter().filter(|(name, count)| self.before.get(*name).is_none_or(|before| before < count));
        let asked = asked.map(|(name, _)| name.trim_end_matches(".cpufit.io").to_owned()).collect();
        self.before = now;
        asked
    }

    #[track_caller]
    fn create(&mut self, object: &Value, webhooks: &[&str]) {
        self.cluster.kubectl_with(&["create", "-f", "-"], object);
        assert_eq!(self.since(), webhooks, "asked about the creation of {object}");
    }

    #[track_caller]
    fn patch(&mut self, what: &[&str], patch: &Value, webhooks: &[&str]) {
        let patch_text = patch.to_string();
        self.cluster.kubectl(&[&["patch", "--type=merge", "-p", &patch_text], what].concat());
        assert_eq!(self.since(), webhooks, "asked about the change of {what:?}: {patch}");
    }

    /// Runs a command as another user.
    #[track_caller]
    fn run_as(&mut self, kubeconfig: &Path, command: &str, webhooks: &[&str]) {
        let args: Vec<&str> = command.split(' ').collect();
        let output = self.cluster.output(kubeconfig, &args);
        assert!(!output.contains("exit status"), "{output}");
        assert_eq!(self.since(), webhooks, "asked about {command}");
    }

    #[track_caller]
    fn run(&mut self, command: &str, webhooks: &[&str]) {
        self.run_as(&self.admin.clone(), command, webhooks);
    }

    /// Checks that a request is refused because no server answers the webhook that guards the right to relax.
    #[track_caller]
    fn refused(&mut self, kubeconfig: &Path, command: &str) {
        let args: Vec<&str> = command.split(' ').collect();
        let output = self.cluster.output(kubeconfig, &args);
        let guard = "failed calling webhook \"relax.validate.cpufit.io\"";
        assert!(
            output.contains(guard),
            "every user who may create migrations could relax them while cpufit is down: {output}"
        );
        self.since();
    }
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": name}})
}

fn with(mut object: Value, fields: &Value) -> Value {
    for (path, value) in fields.as_object().expect("fields") {
        match path.strip_prefix("metadata.") {
            Some(field) => object["metadata"][field] = value.clone(),
            None => object[path] = value.clone(),
        }
    }
    object
}

fn guest(kind: &str, namespace: &str, name: &str) -> Value {
    let cpu = json!({"domain": {"cpu": {"cores": 1}, "devices": {}}});
    let spec = if kind == "VirtualMachine" { json!({"template": {"spec": cpu}}) } else { cpu };
    with(object("kubevirt.io/v1", kind, namespace, name), &json!({"spec": spec}))
}

fn pod(name: &str, labels: &Value) -> Value {
    let spec = json!({"containers": [{"name": "compute", "image": "x"}]});
    with(object("v1", "Pod", "shop", name), &json!({"metadata.labels": labels, "spec": spec}))
}

/// Returns a node with as many labels and annotations as nodes have: the cost of a condition is limited.
fn node() -> Value {
    let labels: Map<String, Value> =
        (0..300).map(|i| (format!("cpu-feature.node.kubevirt.io/feature-{i}"), json!("true"))).collect();
    let annotations = json!({"kubevirt.io/heartbeat": "1", "big": "x".repeat(9_000)});
    with(crate::node::node("node-a", &json!(labels)), &json!({"metadata.annotations": annotations}))
}

#[track_caller]
fn install(cluster: &ControlPlane) -> Asked<'_> {
    world::install_kubevirt(cluster);
    cluster.kubectl(&["apply", "--server-side", "-k", &deploy("base")]);
    for (name, exempt) in [("shop", "false"), ("exempt", "true"), ("kubevirt", "false")] {
        let labels = json!({"cpufit.io/exempt": exempt});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        cluster.kubectl_with(&["create", "-f", "-"], &namespace);
    }
    let admin = cluster.kubeconfig("root", &["system:masters"]);
    let mut asked = Asked { cluster, admin, before: BTreeMap::new() };
    let deadline = Instant::now() + LEARNT;
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        assert!(Instant::now() < deadline, "the API server asks none of the webhooks");
        cluster.kubectl_with(
            &["create", "--dry-run=server", "-f", "-"],
            &guest("VirtualMachineInstance", "shop", "probe"),
        );
        seen.extend(asked.since());
        std::thread::sleep(Duration::from_millis(100));
    }
    asked
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_installed_webhooks_receive_only_edits_that_are_judged() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let mut asked = install(&cluster);
    let noise = json!({"metadata": {"labels": {"seen": "yes"}}});

    asked.create(&guest("VirtualMachine", "shop", "db"), &["validate"]);
    asked.patch(&["vm", "db", "-n=shop"], &noise, &[]);
    asked.patch(&["vm", "db", "-n=shop", "--subresource=status"], &json!({"status": {"ready": true}}), &[]);
    asked.patch(
        &["vm", "db", "-n=shop"],
        &json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
        &["validate"],
    );
    for left_alone in ["exempt", "kubevirt", "kube-system"] {
        asked.create(&guest("VirtualMachine", left_alone, "db"), &[]);
    }
    let template = json!({"template": {"spec": {"domain": {"cpu": {"cores": 1}, "devices": {}}}}});
    for (version, kind, resource, spec) in [
        ("kubevirt.io/v1", "VirtualMachineInstanceReplicaSet", "vmirs", template.clone()),
        (
            "pool.kubevirt.io/v1alpha1",
            "VirtualMachinePool",
            "vmpool.v1alpha1.pool.kubevirt.io",
            json!({"virtualMachineTemplate": {"spec": template}}),
        ),
        (
            "pool.kubevirt.io/v1beta1",
            "VirtualMachinePool",
            "vmpool.v1beta1.pool.kubevirt.io",
            json!({"virtualMachineTemplate": {"spec": template}}),
        ),
    ] {
        let name = version.rsplit('/').next().expect("a version");
        asked.create(&with(object(version, kind, "shop", name), &json!({"spec": spec})), &["validate"]);
        asked.patch(&[resource, name, "-n=shop"], &noise, &[]);
        asked.patch(&[resource, name, "-n=shop", "--subresource=status"], &json!({"status": {"replicas": 1}}), &[]);
        // A change of the replica count only is sent too, and not judged; scaling by the subresource is not sent.
        asked.patch(&[resource, name, "-n=shop"], &json!({"spec": {"replicas": 2}}), &["validate"]);
        asked.run(&format!("scale {resource} {name} -n shop --replicas=3"), &[]);
        asked.create(&with(object(version, kind, "exempt", name), &json!({"spec": spec})), &[]);
    }
    asked.create(&guest("VirtualMachineInstance", "shop", "db"), &["mutate", "validate"]);
    asked.patch(&["vmi", "db", "-n=shop"], &json!({"status": {"phase": "Running"}}), &[]);

    let migration = object("kubevirt.io/v1", "VirtualMachineInstanceMigration", "shop", "move");
    asked.create(&with(migration, &json!({"spec": {"vmiName": "db"}})), &["validate"]);
    asked.run("annotate vmim move -n shop note=1", &[]);

    asked.create(&pod("plain", &json!({"app": "web"})), &[]);
    asked.create(&pod("virt-launcher-db-1", &json!({"kubevirt.io": "virt-launcher"})), &["pods.validate"]);
    let target = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "1"});
    asked.create(&pod("virt-launcher-db-2", &target), &["pods.mutate", "pods.validate"]);
    asked.run("label pod virt-launcher-db-1 -n shop a=b", &[]);
    for (name, webhooks) in [("plain", &[][..]), ("virt-launcher-db-1", &["evictions.validate"])] {
        let path = format!("/api/v1/namespaces/shop/pods/{name}/eviction");
        let eviction = object("policy/v1", "Eviction", "shop", name);
        cluster.kubectl_with(&["create", "--raw", &path, "-f", "-"], &eviction);
        assert_eq!(asked.since(), webhooks, "asked about the eviction of {name}");
    }

    asked.create(&with(object("kubevirt.io/v1", "KubeVirt", "kubevirt", "kubevirt"), &json!({"spec": {}})), &[]);
    let model = json!({"spec": {"configuration": {"cpuModel": "EPYC"}}});
    asked.patch(&["kubevirt", "kubevirt", "-n=kubevirt"], &model, &["kubevirts.validate"]);
    asked.patch(&["kubevirt", "kubevirt", "-n=kubevirt"], &noise, &[]);

    let policy = policy("all", &json!({}));
    asked.create(&policy, &["policies.validate"]);
    asked.patch(&["cpupol", "all"], &noise, &[]);
    asked.patch(&["cpupol", "all", "--subresource=status"], &json!({"status": {"guests": 1}}), &[]);
    asked.patch(&["cpupol", "all"], &json!({"spec": {"enforce": "Pinned"}}), &["policies.validate"]);
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_installed_webhook_receives_node_edits_without_heartbeats() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let mut asked = install(&cluster);
    let edit = &["nodes.validate"];
    asked.create(&node(), &[]);
    asked.run("label node node-a zone=a", edit);
    asked.run("cordon node-a", edit);
    asked.run("uncordon node-a", edit);
    asked.run("taint node node-a a=b:NoSchedule", edit);
    asked.run("annotate node node-a node-labeller.kubevirt.io/skip-node=true", edit);
    asked.run("annotate node node-a node-labeller.kubevirt.io/skip-node=false --overwrite", edit);
    asked.run("annotate node node-a node-labeller.kubevirt.io/skip-node-", edit);
    asked.run("annotate node node-a kubevirt.io/heartbeat=2 --overwrite", &[]);
    asked.patch(&["node", "node-a", "--subresource=status"], &json!({"status": {"phase": "Running"}}), &[]);

    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "kubevirt",
        "--clusterrole=cluster-admin",
        "--group=system:serviceaccounts:kubevirt",
    ]);
    for account in ["kubevirt-handler", "kubevirt-controller"] {
        let kubeconfig = cluster.service_account("kubevirt", account);
        asked.run_as(&kubeconfig, &format!("label node node-a by={account} --overwrite"), &[]);
    }
    let person = cluster.service_account("kubevirt", "other");
    asked.run_as(&person, "label node node-a by=other --overwrite", edit);
    let kubelet = cluster.kubeconfig("system:node:node-a", &["system:nodes"]);
    asked.run_as(&kubelet, "label node node-a by=kubelet --overwrite", &[]);
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn install_guards_the_right_to_relax() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let mut asked = install(&cluster);
    let migration = |namespace, name: &str, annotations: Value| {
        let object = object("kubevirt.io/v1", "VirtualMachineInstanceMigration", namespace, name);
        with(object, &json!({"spec": {"vmiName": "db"}, "metadata.annotations": annotations}))
    };
    let role = [
        "create",
        "clusterrole",
        "migrators",
        "--verb=get,create,patch",
        "--resource=virtualmachineinstancemigrations.kubevirt.io",
    ];
    cluster.kubectl(&role);
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "migrators",
        "--clusterrole=migrators",
        "--user=jane",
        "--user=kate",
    ]);
    let [jane, kate] = ["jane", "kate"].map(|user| cluster.kubeconfig(user, &[]));
    for namespace in ["shop", "exempt"] {
        let relaxed = migration(namespace, "relaxed", json!({"cpufit.io/relax": "true"}));
        cluster.workplace().write("relaxed.json", relaxed.to_string());
        asked.refused(&jane, "create -f relaxed.json");
    }
    asked.create(&migration("exempt", "plain", json!({})), &[]);
    asked.refused(&jane, "annotate vmim plain -n exempt cpufit.io/relax=true");

    // A user with the right causes no call: the API server checks it.
    cluster.kubectl(&["create", "clusterrolebinding", "kate", "--clusterrole=cpufit-admin", "--user=kate"]);
    let deadline = Instant::now() + LEARNT;
    while cluster.output(&kate, &["create", "-f", "relaxed.json", "--dry-run=server"]).contains("exit status") {
        assert!(Instant::now() < deadline, "the API server does not know the right");
        std::thread::sleep(Duration::from_millis(100));
    }
    asked.run_as(&kate, "annotate vmim plain -n exempt cpufit.io/relax=true", &[]);
    asked.refused(&jane, "create -f relaxed.json --dry-run=server");

    // A migration that already has the annotation may be updated, but not be set to another value.
    let quiet = migration("shop", "quiet", json!({"cpufit.io/relax": "false"}));
    asked.create(&quiet, &["validate"]);
    asked.run_as(&jane, "label vmim quiet -n shop a=b", &[]);
    asked.refused(&jane, "annotate vmim quiet -n shop cpufit.io/relax=true --overwrite");
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn install_again_keeps_the_authority_that_the_leader_wrote() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    world::install_kubevirt(&cluster);
    for mode in ["--server-side=true", "--server-side=false"] {
        cluster.kubectl(&["apply", mode, "-k", &deploy("base")]);
        let authority = write_authority(&cluster);
        cluster.kubectl(&["apply", mode, "-k", &deploy("base")]);
        assert_eq!(
            authorities(&cluster),
            BTreeSet::from([authority]),
            "{mode}: until the next reconciliation no user is warned"
        );
        // The second time the objects are deleted, or about to be.
        for command in [0, 1].iter().flat_map(|_| common::documented_commands("docs/install.md", "Uninstalling")) {
            let command = command.split('#').next().expect("a command").replace("deploy/base", &deploy("base"));
            let args: Vec<&str> = command.split_whitespace().skip(1).chain(["--wait=false"]).collect();
            cluster.kubectl(&args);
        }
        cluster.kubectl(&["wait", "--for=delete", "--timeout=30s", "crd/cpupolicies.cpufit.io"]);
        // Nothing here deletes the contents of a namespace, so it stays terminating.
        let finalized =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cpufit-system"}, "spec": {}});
        cluster.kubectl_with(&["replace", "--raw=/api/v1/namespaces/cpufit-system/finalize", "-f", "-"], &finalized);
    }
}

/// Gives all webhooks an authority, as the leader does; returns it.
#[track_caller]
pub fn write_authority(cluster: &ControlPlane) -> String {
    let folder = cluster.workplace().path().join("certs");
    let made = common::cpufit(["certs", "--out", folder.to_str().expect("a path in UTF-8")]).run();
    assert_eq!(made.code(), 0, "{}", made.stderr);
    let authority = STANDARD.encode(common::read(&folder.join("ca.pem")));
    for kind in CONFIGURATIONS {
        let webhooks = cluster.get(&[kind, "cpufit"])["webhooks"].as_array().map_or(0, Vec::len);
        let patch: Value = (0..webhooks)
            .map(|i| json!({"op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": authority}))
            .collect();
        cluster.kubectl(&["patch", kind, "cpufit", "--type=json", "-p", &patch.to_string()]);
    }
    authority
}

/// Returns the distinct authorities of cpufit's webhooks; an empty text for a webhook without one.
#[track_caller]
pub fn authorities(cluster: &ControlPlane) -> BTreeSet<String> {
    let webhooks = CONFIGURATIONS.map(|kind| cluster.get(&[kind, "cpufit"])["webhooks"].clone());
    let webhooks = webhooks.iter().flat_map(|list| list.as_array().expect("webhooks"));
    webhooks.map(|webhook| webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn install_gives_no_more_rights_than_are_needed() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    world::install_kubevirt(&cluster);
    cluster.kubectl(&["apply", "--server-side", "-k", &deploy("base")]);
    let account = cluster.service_account("cpufit-system", "cpufit");
    let allowed = |question: &str| {
        let args: Vec<&str> = ["auth", "can-i"].into_iter().chain(question.split(' ')).collect();
        cluster.output(&account, &args).lines().any(|line| line == "yes")
    };
    for yes in [
        "watch nodes",
        "list pods -A",
        "watch virtualmachines.kubevirt.io -A",
        "watch virtualmachineinstancereplicasets.kubevirt.io -A",
        "list virtualmachinepools.pool.kubevirt.io -A",
        "get virtualmachineclusterinstancetypes.instancetype.kubevirt.io",
        "watch cpupolicies.cpufit.io",
        "patch cpupolicies.cpufit.io --subresource=status",
        "create events -n shop",
        "patch events -n shop",
        "create leases.coordination.k8s.io -n cpufit-system",
        "update leases.coordination.k8s.io/cpufit -n cpufit-system",
        "update secrets/cpufit-certificates -n cpufit-system",
        "patch validatingwebhookconfigurations.admissionregistration.k8s.io/cpufit",
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/cpufit",
    ] {
        assert!(allowed(yes), "{yes}: cpufit could not do its work");
    }
    for no in [
        "patch nodes",
        "patch pods -n shop",
        "update virtualmachineinstances.kubevirt.io -n shop",
        "create virtualmachineinstancemigrations.kubevirt.io -n shop",
        "update virtualmachinepools.pool.kubevirt.io -n shop",
        "update cpupolicies.cpufit.io",
        "relax cpupolicies.cpufit.io",
        "list secrets -n cpufit-system",
        "delete secrets/cpufit-certificates -n cpufit-system",
        "delete leases.coordination.k8s.io/cpufit -n cpufit-system",
        "get secrets/other -n cpufit-system",
        "get secrets/cpufit-certificates -n shop",
        "create secrets -n shop",
        "update leases.coordination.k8s.io/other -n cpufit-system",
        "update leases.coordination.k8s.io -n kube-node-lease",
        "patch validatingwebhookconfigurations.admissionregistration.k8s.io/virt-api-validator",
        "create mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "get configmaps -n cpufit-system",
    ] {
        assert!(!allowed(no), "{no}: an attacker who takes over cpufit could do that");
    }
}
