//! The Helm chart, the overlays and `cpufit manifests` install the objects of `deploy/base`, except for the options
//! given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{cpufit, head, program};
use crate::controlplane::ControlPlane;
use crate::manifests::{authorities, write_authority};

mod combined;
mod installed;
mod schema;
mod values;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the path of a program of the tests; prints a note and returns `None` if it is missing.
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
    // Excludes the user's plugins, repositories and clusters.
    command.args(args).current_dir(ROOT).env("HOME", "/nonexistent").env("KUBECONFIG", "/nonexistent");
    let ran = program(command).run();
    assert_eq!(ran.code(), 0, "{} {args:?}: {}{}", tool.display(), head(&ran.stdout), head(&ran.stderr));
    ran.stdout
}

/// Creates a folder in the tree for one test: kustomize accepts no absolute paths.
fn folder_here() -> tempfile::TempDir {
    let target = Path::new(ROOT).join("target");
    std::fs::create_dir_all(&target).expect("a folder");
    tempfile::tempdir_in(target).expect("a folder")
}

/// Returns objects by kind and name.
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

/// Checks and removes the labels and annotations that only helm sets; the rest must equal the output of kustomize.
#[track_caller]
fn without_helm(objects: &mut BTreeMap<String, Value>) {
    let of_helm =
        ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"];
    for (name, object) in objects.iter_mut() {
        let labels = object["metadata"]["labels"].as_object_mut().expect("labels");
        for label in of_helm {
            assert!(labels.remove(label).is_some(), "{name} lacks the recommended label {label}");
        }
        if let Some(labels) = object.pointer_mut("/spec/template/metadata/labels").and_then(Value::as_object_mut) {
            labels.retain(|label, _| !of_helm.contains(&label.as_str()));
        }
    }
    let definition = objects.get_mut("CustomResourceDefinition /cpupolicies.cpufit.io").expect("the definition");
    let kept = definition["metadata"].as_object_mut().and_then(|metadata| metadata.remove("annotations"));
    assert_eq!(kept, Some(json!({"helm.sh/resource-policy": "keep"})), "uninstalled, policies would be gone");
}

#[track_caller]
fn template(helm: &Path, values: &[&str]) -> BTreeMap<String, Value> {
    let args = ["template", "cpufit", "deploy/helm/cpufit", "--namespace=cpufit-system", "--skip-tests"];
    objects(&output(helm, &[&args[..], values].concat()))
}

#[track_caller]
fn rendered(helm: &Path, values: &[&str]) -> BTreeMap<String, Value> {
    let mut objects = template(helm, values);
    without_helm(&mut objects);
    objects
}

/// Adds the release's own namespace to the exempt names, as the chart does; kustomize's Namespace has a label instead.
fn leave_alone_by_name(objects: &mut BTreeMap<String, Value>, namespace: &str) {
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configuration = objects.get_mut(&format!("{kind} /cpufit")).expect("a configuration");
        for webhook in configuration["webhooks"].as_array_mut().expect("webhooks") {
            if let Some(names) = webhook.pointer_mut("/namespaceSelector/matchExpressions/0/values")
                && names[0] == "kube-system"
            {
                names.as_array_mut().expect("names").insert(0, json!(namespace));
            }
        }
    }
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
        ("overlays/opt-in", &["--set-string=webhooks.namespaceSelector.matchLabels.cpufit\\.io/enabled=true"]),
    ] {
        let mut expected = objects(&output(&kubectl, &["kustomize", &format!("deploy/{folder}")]));
        // Helm stores its record there before it installs anything, so the namespace exists already.
        let namespace = expected.remove("Namespace /cpufit-system").expect("the namespace");
        assert_eq!(namespace["metadata"]["labels"]["cpufit.io/exempt"], "true", "{folder}: cpufit's own is looked at");
        leave_alone_by_name(&mut expected, "cpufit-system");
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
    let variables = container["env"].as_array().expect("variables").iter().map(|one| one["name"].as_str());
    let variables: BTreeSet<&str> = variables.map(|name| name.expect("a name")).collect();
    let wanted = ["CPUFIT_LOG", "KUBEVIRT_DOMAIN", "POD_NAME", "POD_NAMESPACE"];
    assert_eq!(variables, BTreeSet::from(wanted), "it would not know its name, or log too little");
    let budget = &dev["PodDisruptionBudget cpufit-system/cpufit"]["spec"];
    assert_eq!(
        (&budget["maxUnavailable"], &budget["minAvailable"]),
        (&json!(1), &Value::Null),
        "no node to be drained"
    );
}

/// In each overlay and with each component, `namespace:` alone changes every field with cpufit's namespace, however
/// many kustomizations are between.
#[test]
#[ignore = "needs kubectl: make e2e"]
fn a_kustomizations_own_namespace_is_everywhere() {
    let Some(kubectl) = tool("kubectl") else { return };
    let listed = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(Path::new(ROOT).join("deploy").join(folder)).expect("a folder");
        entries.map(|entry| format!("{folder}/{}", entry.expect("one").file_name().display())).collect()
    };
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for resource in listed("overlays").into_iter().chain(["base".to_owned()]) {
        cases.push((resource.clone(), Vec::new()));
        cases.extend(listed("components").into_iter().map(|component| (resource.clone(), vec![component])));
        cases.push((resource, listed("components")));
    }
    assert!(cases.len() > 25, "{cases:?}");
    // kustomize accepts no absolute paths.
    let folder = folder_here();
    let write = |name: &str, kustomization: Value| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).expect("written");
        folder
    };
    let at = |path: &str| format!("../../../deploy/{path}");
    for (resource, components) in cases {
        let components: Vec<String> = components.iter().map(|component| at(component)).collect();
        let own = json!({"namespace": "virt-tools", "resources": [at(&resource)], "components": components});
        let plain = json!({"resources": [at(&resource)], "components": components});
        let own = output(&kubectl, &["kustomize", write("own", own).to_str().expect("UTF-8")]);
        write("plain", plain);
        let above = write("above", json!({"namespace": "virt-tools", "resources": ["../plain"]}));
        let above = output(&kubectl, &["kustomize", above.to_str().expect("UTF-8")]);
        assert_same(&objects(&own), &objects(&above), &format!("{resource} with {components:?}, one above the other"));
        assert!(!own.contains("cpufit-system"), "{resource} with {components:?} names the old namespace");
        assert!(!own.contains("$(CPUFIT"), "{resource} with {components:?} names no namespace");
        let made = objects(&own);
        assert!(
            made.contains_key("Deployment virt-tools/cpufit"),
            "the release is not installed in the namespace that was asked for"
        );
        if resource.ends_with("cert-manager") {
            let certificate = &made["Certificate virt-tools/cpufit"];
            assert_eq!(
                certificate["spec"]["dnsNames"],
                json!(["cpufit.virt-tools.svc"]),
                "the API server trusts no other"
            );
            for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
                let annotations = &made[&format!("{kind} /cpufit")]["metadata"]["annotations"];
                assert_eq!(annotations["cert-manager.io/inject-ca-from"], "virt-tools/cpufit", "caBundle stays empty");
            }
        }
        if let Some(policy) = made.get("ValidatingAdmissionPolicy /cpufit-cabundle-only") {
            let by = &policy["spec"]["matchConditions"][0]["expression"];
            let account = "request.userInfo.username == 'system:serviceaccount:virt-tools:cpufit'";
            assert_eq!(by, account, "the policy restricts another account than cpufit's");
        }
    }
}

/// `manifests` with options equals the base changed by kustomize.
#[test]
#[ignore = "needs kubectl: make e2e"]
fn manifests_in_another_namespace_are_what_kustomize_makes() {
    let Some(kubectl) = tool("kubectl") else { return };
    let folder = folder_here();
    let kustomization = json!({
        "namespace": "virt-tools",
        "resources": ["../../deploy/overlays/openshift"],
        "images": [{"name": "ghcr.io/cpufit/cpufit", "newName": "registry.example/cpufit", "newTag": "v9"}],
        "replicas": [{"name": "cpufit", "count": 3}],
    });
    std::fs::write(folder.path().join("kustomization.yaml"), kustomization.to_string()).expect("written");
    let expected = objects(&output(&kubectl, &["kustomize", folder.path().to_str().expect("UTF-8")]));
    let options =
        ["-n=virt-tools", "--kubevirt-namespace=openshift-cnv", "--image=registry.example/cpufit:v9", "--replicas=3"];
    let printed = cpufit(["manifests"]).args(options).run();
    assert_same(&expected, &objects(&printed.stdout), "cpufit manifests with options");
}
