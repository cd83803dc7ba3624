//! Replica sets and pools on a live cluster: a user gets denials and warnings; objects that KubeVirt's controllers
//! create from them, from clones and at restores are stored, with the model, and recorded.

use serde_json::{Value, json};

use crate::controlplane::ControlPlane;
use crate::enforcing::{govern, until};
use crate::session::Session;
use crate::webhook::Scene;

const COMMON: &str = "Skylake-Server-noTSX-IBRS";

fn template(name: &str, model: &str) -> Value {
    let cpu = json!({"cores": 1, "model": model});
    json!({"metadata": {"labels": {"app": name}}, "spec": {"domain": {"cpu": cpu, "devices": {}}}})
}

fn vm_spec(name: &str, model: &str) -> Value {
    json!({"runStrategy": "Always", "template": template(name, model)})
}

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

fn replica_set(name: &str, model: &str) -> Value {
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template(name, model)});
    object("kubevirt.io/v1", "VirtualMachineInstanceReplicaSet", name, &spec)
}

fn pool(version: &str, name: &str, model: &str) -> Value {
    let vm = json!({"metadata": {"labels": {"app": name}}, "spec": vm_spec(name, model)});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "virtualMachineTemplate": vm});
    object(&format!("pool.kubevirt.io/{version}"), "VirtualMachinePool", name, &spec)
}

fn owned(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }]);
    object
}

/// Creates a file of this object as a user; returns the output.
#[track_caller]
fn create(who: &Session<'_>, object: &Value, more: &str) -> String {
    who.cluster.workplace().write("object.json", object.to_string());
    who.output(format!("create -f object.json --validate=false {more}").trim_end())
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn replica_sets_are_answered_by_requesting_user() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let Scene { jane, controller, .. } = &scene;
    // Nothing that can be denied is exempt, and only what must be recorded is.
    govern(
        &cluster,
        &json!({
            "enforce": "Unschedulable", "audit": "None", "exemptions": {"controllers": false},
            "commonModel": {"name": COMMON, "otherwise": "Deny"},
        }),
    );
    let ask = || create(jane, &replica_set("probe", "host-passthrough"), "--dry-run=server");
    until("the policy is in force", ask, |output| output.contains("spec.template.spec.domain.cpu.model"));

    // For the user, by the field in the object; for a dry run too.
    let nowhere = "EPYC-Genoa";
    let denied: Vec<String> = [
        replica_set("web", nowhere),
        replica_set("web", "host-passthrough"),
        pool("v1alpha1", "web", nowhere),
        pool("v1beta1", "web", "host-passthrough"),
    ]
    .iter()
    .map(|object| create(jane, object, ""))
    .collect();
    insta::assert_snapshot!("replicas_denied", denied.concat());
    // The answer to an admitted object describes the guests it will create.
    let admitted = [replica_set("set", "host-model"), pool("v1beta1", "pool", "host-model")];
    let admitted: String = admitted.iter().map(|object| create(jane, object, "")).collect();
    insta::assert_snapshot!("replicas_admitted", admitted);

    // Before the policy there were objects that it would deny: they may be scaled and changed, but not made worse.
    govern(&cluster, &json!({"enforce": "None", "commonModel": {"otherwise": "Allow"}}));
    let ask = || create(jane, &pool("v1beta1", "old", nowhere), "--dry-run=server");
    until("the policy denies nothing", ask, |output| output.contains("created"));
    create(jane, &pool("v1beta1", "old", nowhere), "");
    create(jane, &pool("v1beta1", "fine", "host-model"), "");
    govern(&cluster, &json!({"enforce": "Unschedulable", "commonModel": {"otherwise": "Deny"}}));
    let ask = || create(jane, &pool("v1beta1", "new", nowhere), "--dry-run=server");
    until("the policy denies again", ask, |output| output.contains("is invalid"));
    let patch = |name: &str, patch: &Value| {
        let patch = patch.to_string();
        cluster.output(&jane.kubeconfig, &["patch", "vmpool", name, "-n", "shop", "--type=merge", "-p", &patch])
    };
    let vm = |spec: Value| json!({"spec": {"virtualMachineTemplate": {"spec": {"template": spec}}}});
    let changed = [
        jane.output("scale vmpool old -n shop --replicas=2"),
        patch("old", &json!({"spec": {"replicas": 3}})),
        patch("old", &vm(json!({"metadata": {"labels": {"tier": "gold"}}}))),
        patch("fine", &vm(json!({"spec": {"domain": {"cpu": {"model": nowhere}}}}))),
        patch("old", &vm(json!({"spec": {"domain": {"cpu": {"model": "host-model"}}}}))),
    ];
    insta::assert_snapshot!("replicas_changed", changed.concat());

    // Objects of the controllers: stored, with the model if it is replaced, and reported on the owner.
    let get = |kind: &str, name: &str| cluster.get(&[kind, name, "-n", "shop"]);
    let (set, old, web) = (get("vmirs", "set"), get("vmpool", "old"), get("vm", "web"));
    let vmi = |name: &str, model: &str| {
        let spec = template(name, model)["spec"].take();
        object("kubevirt.io/v1", "VirtualMachineInstance", name, &spec)
    };
    let made = [
        owned(vmi("set-1", "host-model"), &set),
        owned(vmi("set-2", "host-passthrough"), &set),
        owned(vmi("started", "host-passthrough"), &web),
        owned(object("kubevirt.io/v1", "VirtualMachine", "old-0", &vm_spec("old", nowhere)), &old),
        object("kubevirt.io/v1", "VirtualMachine", "clone", &vm_spec("clone", nowhere)),
    ];
    for object in &made {
        assert!(
            create(jane, object, "--dry-run=server").contains("is invalid") || object["metadata"]["name"] == "set-1"
        );
        let output = create(controller, object, "");
        assert!(output.contains(" created"), "a restart or a recovery fails for a policy: {output}");
    }
    assert_eq!(get("vmi", "set-1")["spec"]["domain"]["cpu"]["model"], COMMON);
    assert_eq!(get("vmi", "set-2")["spec"]["domain"]["cpu"]["model"], "host-passthrough");
    let output = [
        ("VirtualMachineInstanceReplicaSet/set", "CPUModelReplaced"),
        ("VirtualMachineInstanceReplicaSet/set", "CPUModelNotReplaced"),
        ("VirtualMachine/web", "CPUModelNotReplaced"),
        ("VirtualMachinePool/old", "CPUNoNode"),
    ]
    .map(|(object, reason)| format!("{object} {reason}: {}", scene.await_event(object, reason)));
    insta::assert_snapshot!("replicas_answered", output.join("\n"));
    let described = cluster.output(cluster.admin(), &["describe", "vmpool", "old", "-n", "shop"]);
    assert!(described.contains("CPUNoNode") && described.contains("cpufit.io/cpufit"), "{described}");
    let metrics = replica.get("/metrics");
    for line in [
        "cpufit_exempted_total{exemption=\"controller\"} 4",
        "cpufit_exempted_total{exemption=\"not-worse\"} 1",
        "cpufit_requests_total{webhook=\"validate\",kind=\"VirtualMachinePool\",outcome=\"denied\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // The policy's status counts the guests of every creator.
    let counted = || cluster.get(&["cpupolicy", "intel-pool"])["status"]["notCompliant"].clone();
    until("db, ledger, set-2 and started are counted", counted, |count| *count == 4);

    // Its cause and its remedies, as for any guest.
    let explained = crate::installed::output_of_cpufit(cluster.admin(), "explain vmirs/set -n shop");
    assert!(explained.contains("shop/set") && !explained.contains("[exit code"), "{explained}");
    let log = replica.server.log();
    assert!(!log.contains("panicked at"), "{log}");
}
