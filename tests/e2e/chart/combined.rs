//! The source of the certificates, the rights of the account and the accepted clients: every combination of these
//! values works or is refused.

use std::path::Path;

use serde_json::{Value, json};

use super::{BTreeMap, BTreeSet, ROOT, output, program, template, tool};

type Objects = BTreeMap<String, Value>;

const NAMESPACE: &str = "cpufit-system";
const POLICY: &str = "ValidatingAdmissionPolicy /cpufit-cabundle-only";
const BINDING: &str = "ValidatingAdmissionPolicyBinding /cpufit-cabundle-only";

/// A combination of values.
#[derive(Clone, Copy, Debug)]
struct Case {
    cert_manager: bool,
    ca_bundle_only: bool,
    config_map: &'static str,
    names: &'static [&'static str],
    webhooks: bool,
    account: &'static str,
}

fn cases() -> Vec<Case> {
    let names: [&[&str]; 3] = [&[], &["kube-apiserver"], &["kube-apiserver", "10.0.0.1"]];
    let mut out = Vec::new();
    for number in 0..2 * 2 * 2 * 3 * 2 * 2 {
        let (rest, cert_manager) = (number / 2, number % 2 == 1);
        let (rest, ca_bundle_only) = (rest / 2, rest % 2 == 1);
        let (rest, config_map) = (rest / 2, ["", "authority"][rest % 2]);
        let (rest, names) = (rest / 3, names[rest % 3]);
        let (rest, webhooks) = (rest / 2, rest % 2 == 0);
        out.push(Case { cert_manager, ca_bundle_only, config_map, names, webhooks, account: ["", "mine"][rest] });
    }
    out
}

impl Case {
    fn values(self) -> Value {
        json!({
            "certificates": {
                "source": if self.cert_manager { "cert-manager" } else { "self-managed" },
                "caBundleOnly": self.ca_bundle_only,
            },
            "clients": {"caConfigMap": self.config_map, "names": self.names},
            "webhooks": {"enabled": self.webhooks},
            "serviceAccount": {"name": self.account},
        })
    }
}

fn texts<'v>(list: &'v Value, field: &str) -> BTreeSet<&'v str> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item[field].as_str().expect("a text")).collect()
}

/// Every file in the container's arguments is mounted, from an object that exists or that the values name.
#[track_caller]
fn assert_files(case: Case, objects: &Objects) {
    let pod = &objects[&format!("Deployment {NAMESPACE}/cpufit")]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args: Vec<&str> = container["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
    let (mounts, volumes) = (&container["volumeMounts"], &pod["volumes"]);
    assert_eq!(texts(mounts, "name"), texts(volumes, "name"), "{case:?}: a volume that nothing mounts, or the reverse");
    let files = args.iter().filter_map(|arg| {
        let (name, path) = arg.split_once('=')?;
        ["--client-ca", "--cert", "--key"].contains(&name).then(|| Path::new(path))
    });
    let folders: BTreeSet<&str> = files.map(|file| file.parent().and_then(Path::to_str).expect("a folder")).collect();
    assert_eq!(folders, texts(mounts, "mountPath"), "{case:?}");
    let by_name = |name: &str| volumes.as_array().into_iter().flatten().find(|volume| volume["name"] == name);
    let clients = by_name("clients").map(|volume| volume["configMap"]["name"].as_str().expect("a name"));
    assert_eq!(clients, Some(case.config_map).filter(|name| !name.is_empty()), "{case:?}");
    let secret = by_name("tls").map(|volume| &volume["secret"]["secretName"]);
    let certificate = objects.get(&format!("Certificate {NAMESPACE}/cpufit"));
    assert_eq!(secret, certificate.map(|certificate| &certificate["spec"]["secretName"]), "{case:?}");

    let names: Vec<&str> = args.iter().filter_map(|arg| arg.strip_prefix("--client-name=")).collect();
    assert_eq!(names, case.names, "{case:?}");
    let source = if case.cert_manager { "--certificates=files" } else { "--certificates=self-managed" };
    assert!(args.contains(&source), "{case:?}: {args:?}");
}

/// The account has the rights that its certificates need, and the policy applies to that account.
#[track_caller]
fn assert_rights(case: Case, objects: &Objects) {
    let account = if case.account.is_empty() { "cpufit" } else { case.account };
    let pod = &objects[&format!("Deployment {NAMESPACE}/cpufit")]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], account, "{case:?}");
    assert!(objects.contains_key(&format!("ServiceAccount {NAMESPACE}/{account}")), "{case:?}");
    for (name, binding) in objects.iter().filter(|(name, _)| name.contains("RoleBinding ")) {
        let of_cpufit = &binding["subjects"][0];
        assert_eq!(
            (&of_cpufit["name"], &of_cpufit["namespace"]),
            (&json!(account), &json!(NAMESPACE)),
            "{case:?}: {name}"
        );
    }
    let patches = objects.contains_key("ClusterRole /cpufit-certificates");
    assert_eq!(patches, !case.cert_manager, "{case:?}: the right to webhook configurations");
    let is_guarded = case.ca_bundle_only && patches;
    assert_eq!((objects.contains_key(POLICY), objects.contains_key(BINDING)), (is_guarded, is_guarded), "{case:?}");
    if is_guarded {
        assert_eq!(objects[BINDING]["spec"]["policyName"], objects[POLICY]["metadata"]["name"], "{case:?}");
        let by = objects[POLICY]["spec"]["matchConditions"][0]["expression"].as_str().expect("an expression");
        let name = format!("'system:serviceaccount:{NAMESPACE}:{account}'");
        assert!(by.ends_with(&name), "{case:?}: {by} is about nobody");
    }
}

/// The webhooks exist or not, and their `caBundle` has a writer.
#[track_caller]
fn assert_webhooks(case: Case, objects: &Objects) {
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let Some(configuration) = objects.get(&format!("{kind} /cpufit")) else {
            assert!(!case.webhooks, "{case:?}");
            continue;
        };
        assert!(case.webhooks, "{case:?}");
        let injected = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str();
        assert_eq!(injected, case.cert_manager.then_some("cpufit-system/cpufit"), "{case:?}");
        for webhook in configuration["webhooks"].as_array().expect("webhooks") {
            assert!(webhook["clientConfig"]["caBundle"].is_null(), "{case:?}: applied again, it would be taken away");
        }
    }
}

/// Checks the notes printed after the installation.
#[track_caller]
fn assert_notes(case: Case, notes: &str) {
    let names_it = format!("kubectl get configmap {} -n {NAMESPACE}", case.config_map);
    assert_eq!(notes.contains("certificate"), !case.config_map.is_empty(), "{case:?}: {notes}");
    assert_eq!(notes.contains(&names_it), !case.config_map.is_empty(), "{case:?}: {notes}");
    assert_eq!(notes.contains("No webhook is installed"), !case.webhooks, "{case:?}: {notes}");
}

#[test]
#[ignore = "needs helm: make e2e"]
fn certificates_and_clients_combine() {
    let Some(helm) = tool("helm") else { return };
    let folder = super::folder_here();
    let file = folder.path().join("values.yaml");
    let file = file.to_str().expect("UTF-8");
    let (mut rendered, mut refused) = (0, 0);
    for case in cases() {
        std::fs::write(file, case.values().to_string()).expect("written");
        if case.config_map.is_empty() && !case.names.is_empty() {
            let mut command = std::process::Command::new(&helm);
            command.args(["template", "cpufit", "deploy/helm/cpufit", "--values", file]).current_dir(ROOT);
            let ran = program(command).run();
            assert!(ran.code() != 0 && ran.stderr.contains("caConfigMap"), "{case:?}: {}", ran.stderr);
            refused += 1;
            continue;
        }
        let objects = template(&helm, &["--values", file]);
        assert_files(case, &objects);
        assert_rights(case, &objects);
        assert_webhooks(case, &objects);
        let install = ["install", "cpufit", "deploy/helm/cpufit", "--dry-run=client", "--namespace=cpufit-system"];
        let shown = output(&helm, &[&install[..], &["--values", file]].concat());
        assert_notes(case, shown.split_once("NOTES:").expect("notes").1);
        rendered += 1;
    }
    assert_eq!((rendered, refused), (64, 32));
    println!("{rendered} combinations work, {refused} are refused");
}
