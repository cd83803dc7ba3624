//! The common model, enforced on a live cluster, with KubeVirt's defaulting after it: the guests that get it, the
//! stored objects, the printed texts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::cpufit;
use crate::controlplane::ControlPlane;
use crate::installed::{SOON, output_of_cpufit};
use crate::kubevirt::VirtApi;
use crate::policy::policy;
use crate::vmi_of::vmi_of;
use crate::webhook::Scene;

const COMMON: &str = "Skylake-Server-noTSX-IBRS";

/// The CPU models that a guest may set, with their word in `replaces`.
const MODES: [(&str, &str, Option<&str>); 5] = [
    ("unset", "Unset", None),
    ("host-model", "HostModel", Some("host-model")),
    ("host-passthrough", "HostPassthrough", Some("host-passthrough")),
    ("common", "Named", Some(COMMON)),
    ("named", "Named", Some("Cascadelake-Server-noTSX")),
];

const ROWS: [&[&str]; 7] = [
    &["Unset"],
    &["HostModel"],
    &["HostPassthrough"],
    &["Named"],
    &["Unset", "HostModel"],
    &["Unset", "HostModel", "HostPassthrough", "Named"],
    &[],
];

/// Changes the spec of the demo's policy.
#[track_caller]
pub fn govern(cluster: &ControlPlane, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    cluster.kubectl(&["patch", "cpupolicy", "intel-pool", "--type=merge", "-p", &patch]);
}

/// Repeats `ask` until the answer satisfies `holds`.
#[track_caller]
pub fn until<T: std::fmt::Debug>(what: &str, mut ask: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = ask();
        if holds(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not after {SOON:?}: {answer:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns a domain as users write it: without machine type and architecture.
fn domain(model: Option<&str>) -> Value {
    let cpu = model.map_or_else(|| json!({"cores": 1}), |model| json!({"cores": 1, "model": model}));
    json!({"cpu": cpu, "devices": {}, "resources": {"requests": {"memory": "64Mi"}}})
}

fn vm(name: &str, model: Option<&str>) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"runStrategy": "Always", "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"domain": domain(model), "evictionStrategy": "LiveMigrate"},
        }},
    })
}

fn vmi(name: &str, model: Option<&str>) -> Value {
    let mut out = vmi_of(&vm(name, model));
    out["metadata"].as_object_mut().expect("metadata").remove("ownerReferences");
    out
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Returns the expected model and annotations of the stored VMI.
fn expected(replaces: &[&str], mode: &str, model: Option<&str>) -> (String, Value) {
    if replaces.contains(&mode) && model != Some(COMMON) {
        let why = json!({"cpufit.io/policy": "intel-pool", "cpufit.io/replaced-model": mode});
        return (COMMON.to_owned(), why);
    }
    match model {
        Some(model) => (model.to_owned(), Value::Null),
        // KubeVirt's default, identified as such.
        None => ("host-model".to_owned(), json!({"cpufit.io/sent-model": "Unset"})),
    }
}

fn stored(cluster: &ControlPlane, kind: &str) -> BTreeMap<String, Value> {
    let all = cluster.get(&[kind, "--namespace=shop"]);
    let items = all["items"].as_array().expect("items").iter();
    items.map(|object| (object["metadata"]["name"].as_str().expect("a name").to_owned(), object.clone())).collect()
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn each_row_of_replaces_for_each_kind_and_mode() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let virt_api = VirtApi::start(&cluster);
    virt_api.set_defaults();
    let Scene { jane, controller, .. } = &scene;
    jane.output_until("create -f migrate-db.yaml --dry-run=server", "Warning: cpufit");
    let started = Instant::now();

    for (row, replaces) in ROWS.iter().enumerate() {
        govern(&cluster, &json!({"enforce": "None", "commonModel": {"name": COMMON, "replaces": replaces}}));
        let of = |who: &str, mode: &str| format!("row{row}-{who}-{mode}");
        let each = |make: &dyn Fn(&str, Option<&str>) -> Value| -> Vec<Value> {
            MODES.iter().map(|(name, _, model)| make(name, *model)).collect()
        };
        let vms = each(&|mode, model| vm(&of("vm", mode), model));
        let by_person = each(&|mode, model| vmi(&of("person", mode), model));
        let by_controller = each(&|mode, model| {
            let mut vm = vm(&of("controller", mode), model);
            vm["metadata"]["uid"] = json!("8c1b0a7e-5f0e-4a51-9a0b-2f5b4f1b7c11");
            vmi_of(&vm)
        });
        cluster.workplace().write("vms.json", list(&vms));
        cluster.workplace().write("vmis.json", list(&by_person));
        cluster.workplace().write("controllers.json", list(&by_controller));

        // In force once the warnings appear for each guest with a mode that is replaced, and for no other.
        let ask = || jane.output("create -f vms.json --validate=false --dry-run=server");
        until(&format!("{replaces:?} in force"), ask, |output| {
            MODES.iter().all(|(name, mode, model)| {
                let is_warned = output.contains(&format!("shop/{} will run with CPU model {COMMON}", of("vm", name)));
                is_warned == (expected(replaces, mode, *model).0 == COMMON && *model != Some(COMMON))
            })
        });
        for output in [
            jane.output("create -f vms.json --validate=false"),
            jane.output("create -f vmis.json --validate=false"),
            controller.output("create -f controllers.json --validate=false"),
        ] {
            assert_eq!(output.matches(" created\n").count(), MODES.len(), "{output}");
        }
        let (templates, guests) = (stored(&cluster, "vm"), stored(&cluster, "vmi"));
        for (sent, (name, mode, model)) in vms.iter().zip(MODES) {
            let vm = &templates[&of("vm", name)];
            assert_eq!(vm["spec"], sent["spec"], "GitOps tools would change it back");
            assert_eq!(vm["metadata"]["annotations"], Value::Null);
            let (wanted, annotations) = expected(replaces, mode, model);
            for who in ["person", "controller"] {
                let vmi = &guests[&of(who, name)];
                let cpu = &vmi["spec"]["domain"]["cpu"];
                assert_eq!(cpu, &json!({"cores": 1, "model": wanted}), "{replaces:?}, {who}, {name}");
                assert_eq!(vmi["metadata"]["annotations"], annotations, "{replaces:?}, {who}, {name}");
                assert_eq!(vmi["spec"]["domain"]["machine"]["type"], "q35", "KubeVirt's defaults were not set");
            }
        }
        // KubeVirt is called after cpufit, by the order of names, with the guest as cpufit leaves it.
        let seen = virt_api.seen();
        for (name, mode, model) in MODES {
            for who in ["person", "controller"] {
                let requests: Vec<&Value> = seen.iter().filter(|seen| seen["name"] == of(who, name)).collect();
                let (wanted, annotations) = expected(replaces, mode, model);
                let model = if wanted == "host-model" && model.is_none() { Value::Null } else { json!(wanted) };
                let [request] = requests[..] else { panic!("{requests:#?}") };
                assert_eq!(request["object"]["spec"]["domain"]["cpu"]["model"], model, "{replaces:?}, {who}, {name}");
                assert_eq!(request["object"]["metadata"]["annotations"], annotations);
                // cpufit is called again after it, and changes nothing.
                let log = replica.server.log();
                let about = format!(" name={} ", of(who, name));
                let asked = |line: &&str| line.contains("webhook=mutate ") && line.contains(&about);
                assert_eq!(log.lines().filter(asked).count(), 2, "it is not asked again after KubeVirt");
            }
        }
    }
    println!("{} objects in {:.1} s", ROWS.len() * MODES.len() * 3, started.elapsed().as_secs_f32());
    let log = replica.server.log();
    assert!(!log.contains("panicked at"), "{log}");
}

/// Guests get the common model; guests that do not use it are handled as `otherwise` says.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_common_model_reaches_guests_and_changes_no_vm() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let virt_api = VirtApi::start(&cluster);
    virt_api.set_defaults();
    let Scene { jane, controller, .. } = &scene;
    for kind in ["vmi", "vm"] {
        cluster.kubectl(&[
            "patch",
            kind,
            "web",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ]);
        cluster.kubectl(&["delete", kind, "web", "-n", "shop"]);
    }
    let deny = json!({"name": COMMON, "otherwise": "Deny"});
    govern(&cluster, &json!({"enforce": "None", "commonModel": deny}));
    cluster.workplace().write("web.yaml", vm("web", None).to_string());
    cluster.workplace().write("legacy.yaml", vm("legacy", Some("host-passthrough")).to_string());
    jane.output_until("apply -f web.yaml --dry-run=server", "will run with CPU model");

    let output = jane.output("apply -f web.yaml");
    let web = cluster.get(&["vm", "web", "-n", "shop"]);
    cluster.workplace().write("web-vmi.json", vmi_of(&web).to_string());
    let virt_controller = controller.output("create -f web-vmi.json --validate=false");
    let path = "jsonpath={.spec.domain.cpu.model} {.metadata.annotations.cpufit\\.io/policy}{\"\\n\"}";
    let read = cluster.output(&jane.kubeconfig, &["get", "vmi", "web", "-n", "shop", "-o", path]);
    insta::assert_snapshot!("story_13", [output, virt_controller, read, jane.output("diff -f web.yaml")].concat());
    let message = scene.await_event("VirtualMachine/web", "CPUModelReplaced");
    insta::assert_snapshot!(message, @"shop/web will run with CPU model Skylake-Server-noTSX-IBRS, not its host's (policy intel-pool)");

    // Stopped and started again, it gets the model again, and its VM is unchanged.
    cluster.kubectl(&["delete", "vmi", "web", "-n", "shop"]);
    controller.output("create -f web-vmi.json --validate=false");
    assert_eq!(cluster.get(&["vmi", "web", "-n", "shop"])["spec"]["domain"]["cpu"]["model"], COMMON);
    assert_eq!(cluster.get(&["vm", "web", "-n", "shop"]), web);

    insta::assert_snapshot!("otherwise_deny", jane.output("apply -f legacy.yaml"));
    // A VM that is older than the policy: Events are written about existing objects.
    govern(&cluster, &json!({"commonModel": {"otherwise": "Warn"}}));
    jane.output_until("apply -f legacy.yaml", "legacy created");
    let legacy = cluster.get(&["vm", "legacy", "-n", "shop"]);
    cluster.workplace().write("legacy-vmi.json", vmi_of(&legacy).to_string());
    // With another problem of the guest, it is a separate bullet.
    govern(&cluster, &json!({"enforce": "Unschedulable", "commonModel": {"otherwise": "Deny"}}));
    jane.output_until("create -f legacy-vmi.json --validate=false --dry-run=server", "is invalid");
    cluster.workplace().write("nowhere.yaml", vm("nowhere", Some("EPYC-Genoa")).to_string());
    jane.output_until("create -f nowhere.yaml --dry-run=server", "no node offers");
    insta::assert_snapshot!("otherwise_deny_bullets", jane.output("create -f nowhere.yaml"));
    insta::assert_snapshot!("otherwise_deny_vmi", jane.output("create -f legacy-vmi.json --validate=false"));
    insta::assert_snapshot!(
        "otherwise_deny_controller",
        controller.output("create -f legacy-vmi.json --validate=false")
    );
    scene.await_event("VirtualMachine/legacy", "CPUModelNotReplaced");
    let events = cluster.get(&["events", "-n", "shop"]);
    let about: Vec<(&Value, &Value)> = events["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|event| event["involvedObject"]["name"] == "legacy")
        .map(|event| (&event["message"], &event["count"]))
        .collect();
    insta::assert_snapshot!(json!(about), @r#"[["shop/legacy asks for host-passthrough, not the common CPU model Skylake-Server-noTSX-IBRS (policy intel-pool)",1]]"#);
    cluster.kubectl(&["delete", "vm,vmi", "legacy", "-n", "shop"]);

    the_dry_look(&cluster);

    govern(&cluster, &json!({"commonModel": {"otherwise": "Warn"}}));
    jane.output_until("apply -f legacy.yaml --dry-run=server", " created");
    insta::assert_snapshot!("otherwise_warn", jane.output("create -f legacy.yaml --dry-run=server"));
    govern(&cluster, &json!({"commonModel": {"otherwise": "Allow"}}));
    let ask = || jane.output("create -f legacy.yaml --dry-run=server");
    let silent = until("Allow is silent", ask, |output| !output.contains(COMMON));
    assert!(silent.contains("created (server dry run)"), "{silent}");
    assert!(!replica.server.log().contains("panicked at"), "{}", replica.server.log());
}

/// Checks the current cluster with a policy that does not exist yet.
#[track_caller]
fn the_dry_look(cluster: &ControlPlane) {
    let new = policy(
        "intel-pool",
        &json!({"commonModel": {"name": "Cascadelake-Server-noTSX", "replaces": ["Unset", "HostModel", "HostPassthrough"]}}),
    );
    let new = cluster.workplace().write("new.yaml", new.to_string());
    let new = new.to_str().expect("a path in UTF-8");
    let audited = output_of_cpufit(cluster.admin(), &format!("audit --policy {new}"));
    insta::assert_snapshot!("audit", audited.split_once('\n').expect("lines").1);
    let audited = output_of_cpufit(cluster.admin(), &format!("audit --policy {new} -o json"));
    let audited: Value = serde_json::from_str(audited.split_once('\n').expect("lines").1).expect("JSON");
    let changes: Vec<String> = audited["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|row| format!("{}: {}", row["guest"].as_str().unwrap_or_default(), row["change"]))
        .collect();
    insta::assert_snapshot!(format!("{}\nchanged: {}", changes.join("\n"), audited["summary"]["changed"]), @r#"
    shop/ledger: {"model":"Cascadelake-Server-noTSX","replaces":"HostModel"}
    shop/db: {"model":"Cascadelake-Server-noTSX","replaces":"HostModel"}
    shop/web: {"model":"Cascadelake-Server-noTSX","replaces":"Unset"}
    changed: 3
    "#);
    let file = cluster.workplace().path().join("web-vmi.json");
    let check = |more: &[&std::ffi::OsStr]| {
        let args = [
            "check".as_ref(),
            "--mutated".as_ref(),
            "-o".as_ref(),
            "yaml".as_ref(),
            "-f".as_ref(),
            file.as_os_str(),
            "--kubeconfig".as_ref(),
            cluster.admin().as_os_str(),
        ];
        let ran = cpufit(args.iter().chain(more)).run();
        let object: Value =
            serde_saphyr::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
        (object["spec"]["domain"]["cpu"].clone(), object["metadata"]["annotations"].clone())
    };
    let by = |model: &str| {
        (
            json!({"cores": 1, "model": model}),
            json!({"cpufit.io/policy": "intel-pool", "cpufit.io/replaced-model": "Unset"}),
        )
    };
    assert_eq!(check(&[]), by(COMMON), "not what the webhook did");
    assert_eq!(check(&["--policy".as_ref(), new.as_ref()]), by("Cascadelake-Server-noTSX"));
}
