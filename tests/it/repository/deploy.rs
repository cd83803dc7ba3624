//! The installed manifests, compared with the code that uses them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cpufit::kubevirt::resource::Resource;
use cpufit::policy::Policy;
use rstest::rstest;
use serde_json::{Value, json};

use crate::common::documents::pages;
use crate::common::{cpufit, documented_commands, read};

fn base(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base").join(file)
}

/// Returns the documents of a file of the base.
pub(super) fn documents(file: &str) -> Vec<Value> {
    let text = String::from_utf8(read(&base(file))).expect("UTF-8");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn listed() -> Vec<String> {
    let kustomization = documents("kustomization.yaml").remove(0);
    serde_json::from_value(kustomization["resources"].clone()).expect("a list of files")
}

#[test]
fn manifests_prints_the_base_in_its_order() {
    let expected: Vec<Value> = listed().iter().flat_map(|file| documents(file)).collect();
    let yaml = cpufit(["manifests"]).run();
    assert_eq!(yaml.code(), 0, "{}", yaml.stderr);
    let printed: Vec<Value> = serde_saphyr::from_multiple(&yaml.stdout).expect("YAML documents");
    assert_eq!(printed, expected, "cpufit manifests and kubectl apply -k would install different things");
    let json = cpufit(["manifests", "-o", "json"]).run().json();
    assert_eq!(json["kind"], "List", "kubectl could not read it");
    assert_eq!(json["items"], Value::Array(expected), "JSON would install something else than YAML");
}

/// Returns the base with other values at these places: kind, pointer, value.
fn base_with(changes: &[(&str, &str, Value)]) -> Vec<Value> {
    let mut objects = objects();
    for (kind, pointer, value) in changes {
        let of_kind = objects.iter_mut().filter(|object| object["kind"] == *kind);
        let mut fields: Vec<&mut Value> = of_kind.filter_map(|object| object.pointer_mut(pointer)).collect();
        assert!(!fields.is_empty(), "no {kind} has {pointer}");
        for field in &mut fields {
            **field = value.clone();
        }
    }
    objects
}

/// Returns the base in another namespace.
fn base_in(namespace: &str) -> Vec<Value> {
    fn moved(value: &mut Value, namespace: &str) {
        match value {
            Value::String(text) if text == "cpufit-system" => namespace.clone_into(text),
            Value::Array(items) => items.iter_mut().for_each(|item| moved(item, namespace)),
            Value::Object(fields) => fields.values_mut().for_each(|field| moved(field, namespace)),
            _ => {}
        }
    }
    let mut objects = objects();
    for object in &mut objects {
        moved(object, namespace);
    }
    objects
}

const UNWATCHED: &str = "/namespaceSelector/matchExpressions/0/values";

/// Returns the namespace selectors for KubeVirt's namespaces, of all five webhooks about guests.
fn unwatched(names: &[&str]) -> Vec<Value> {
    let places = [("MutatingWebhookConfiguration", 2), ("ValidatingWebhookConfiguration", 3)];
    let pointers = places
        .into_iter()
        .flat_map(|(kind, count)| (0..count).map(move |webhook| (kind, format!("/webhooks/{webhook}{UNWATCHED}"))));
    let pointers: Vec<(&str, String)> = pointers.collect();
    let changes: Vec<(&str, &str, Value)> =
        pointers.iter().map(|(kind, pointer)| (*kind, pointer.as_str(), json!(names))).collect();
    base_with(&changes)
}

const CONTAINER_IMAGE: &str = "/spec/template/spec/containers/0/image";

#[rstest]
#[case::image(&["--image=registry.example:5000/a/cpufit:v9"], base_with(&[("Deployment", CONTAINER_IMAGE, json!("registry.example:5000/a/cpufit:v9"))]))]
#[case::digest(&["--image", "cpufit@sha256:00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"], base_with(&[("Deployment", CONTAINER_IMAGE, json!("cpufit@sha256:00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"))]))]
#[case::one(&["--replicas=1"], base_with(&[("Deployment", "/spec/replicas", json!(1))]))]
#[case::none(&["--replicas", "0"], base_with(&[("Deployment", "/spec/replicas", json!(0))]))]
#[case::namespace(&["--namespace=virt-tools"], base_in("virt-tools"))]
#[case::namespace_that_looks_like_a_number(&["-n", "7"], base_in("7"))]
#[case::namespace_that_looks_like_a_boolean(&["-n", "on"], base_in("on"))]
#[case::the_same_namespace(&["-n", "cpufit-system"], objects())]
#[case::openshift(&["--kubevirt-namespace=openshift-cnv"], unwatched(&["kube-system", "openshift-cnv"]))]
#[case::two(&["--kubevirt-namespace=null,kubevirt"], unwatched(&["kube-system", "null", "kubevirt"]))]
#[case::twice(
    &["--kubevirt-namespace=a", "--kubevirt-namespace=kube-system", "--kubevirt-namespace=a"],
    unwatched(&["kube-system", "a"])
)]
fn manifests_prints_the_base_with_the_values_of_its_options(#[case] options: &[&str], #[case] expected: Vec<Value>) {
    let yaml = cpufit(["manifests"]).args(options).run();
    assert_eq!(yaml.code(), 0, "{}", yaml.stderr);
    let printed: Vec<Value> = serde_saphyr::from_multiple(&yaml.stdout).expect("YAML documents");
    assert_eq!(printed, expected, "{options:?}: something else is installed than was asked for");
    let json = cpufit(["manifests", "-o", "json"]).args(options).run().json();
    assert_eq!(json["items"], Value::Array(expected), "{options:?}: JSON would install something else than YAML");
}

#[rstest]
#[case::no_tag(&["--image=registry.example/cpufit"], "say it with its tag or digest")]
#[case::only_a_port(&["--image=registry.example:5000/cpufit"], "say it with its tag or digest")]
#[case::nothing(&["--image="], "say it with its tag or digest")]
#[case::two_lines(&["--image=a:b\nprivileged: true"], "say it with its tag or digest")]
#[case::namespace(&["-n", "Virt_Tools"], "--namespace")]
#[case::of_kubernetes(&["-n", "kube-system"], "--namespace: kube-system is the namespace of other programs")]
#[case::of_kubevirt(&["-n", "kubevirt"], "--namespace: kubevirt is the namespace of other programs")]
#[case::of_openshift(&["-n", "cnv", "--kubevirt-namespace=cnv"], "--namespace: cnv is the namespace of other programs")]
#[case::kubevirt_namespace(&["--kubevirt-namespace=a b"], "--kubevirt-namespace")]
#[case::empty(&["--kubevirt-namespace="], "--kubevirt-namespace")]
#[case::replicas(&["--replicas=-1"], "--replicas")]
#[case::both(&["--crd", "--replicas=1"], "--replicas")]
fn manifests_refuses_values_that_no_cluster_accepts(#[case] options: &[&str], #[case] named: &str) {
    let ran = cpufit(["manifests"]).args(options).run();
    assert_eq!(ran.code(), 2, "{options:?}: {}", ran.stdout);
    assert!(ran.stderr.contains(named) && ran.stdout.is_empty(), "{options:?}: {}", ran.stderr);
}

#[test]
fn every_file_of_the_base_is_installed() {
    let files = std::fs::read_dir(base("")).expect("deploy/base").map(|entry| entry.expect("an entry").file_name());
    let files: BTreeSet<String> = files.map(|name| name.into_string().expect("UTF-8")).collect();
    let expected = listed().into_iter().chain(["kustomization.yaml".to_owned()]).collect();
    assert_eq!(files, expected, "a manifest in the folder is not installed, or a listed one is missing");
}

#[test]
fn manifests_prints_the_definition_alone() {
    let ran = cpufit(["manifests", "--crd"]).run();
    assert_eq!(ran.stdout.as_bytes(), read(&base("crd.yaml")), "the schema of policies could not be had alone");
}

/// Returns all objects of the base.
fn objects() -> Vec<Value> {
    listed().iter().flat_map(|file| documents(file)).collect()
}

fn object<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("the base has no {kind} {name}"))
}

#[test]
fn all_objects_of_cpufit_are_labelled_and_in_its_namespace() {
    for object in objects() {
        let (kind, metadata) = (object["kind"].as_str().expect("a kind"), &object["metadata"]);
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/name"], "cpufit",
            "{kind}: what is left over would not be found"
        );
        assert_eq!(metadata["labels"]["app.kubernetes.io/part-of"], "cpufit", "{kind}: a recommended label");
        assert_eq!(metadata["labels"]["app.kubernetes.io/component"], "webhook", "{kind}: a recommended label");
        let namespace = match kind {
            "Namespace"
            | "CustomResourceDefinition"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "MutatingWebhookConfiguration"
            | "ValidatingWebhookConfiguration" => Value::Null,
            _ => json!("cpufit-system"),
        };
        assert_eq!(
            metadata["namespace"], namespace,
            "{kind}: it would be installed into whichever namespace is current"
        );
    }
}

#[test]
fn an_unreachable_webhook_blocks_only_the_relax_annotation() {
    let objects = objects();
    let mut seen = 0;
    for (kind, path) in [("MutatingWebhookConfiguration", "/mutate"), ("ValidatingWebhookConfiguration", "/validate")] {
        let configuration = object(&objects, kind, "cpufit");
        for webhook in configuration["webhooks"].as_array().expect("webhooks") {
            seen += 1;
            let name = webhook["name"].as_str().expect("a name");
            let (policy, path) =
                if name == "relax.validate.cpufit.io" { ("Fail", "/authorize") } else { ("Ignore", path) };
            assert_eq!(
                webhook["failurePolicy"], policy,
                "{name}: without cpufit, guests could not start; or every user may relax"
            );
            assert_eq!(webhook["sideEffects"], "NoneOnDryRun", "{name}: a dry run would be refused");
            assert_eq!(webhook["clientConfig"]["service"]["path"], path, "{name}: answered as another webhook");
            assert_eq!(webhook["clientConfig"]["caBundle"], Value::Null, "{name}: the leader's would be overwritten");
            let most = if name.starts_with("pods.") || name.starts_with("evictions.") { 3 } else { 5 };
            assert_eq!(webhook["timeoutSeconds"], most, "{name}: a slow cpufit would hold up what it should not");
            let pods = webhook["rules"][0]["resources"] == json!(["pods"]);
            let launchers = json!({"matchLabels": {"kubevirt.io": "virt-launcher"}});
            assert_eq!(pods, webhook["objectSelector"] == launchers, "{name}: every pod of the cluster would be sent");
        }
    }
    assert_eq!(seen, 9, "a webhook is missing, or is not tested");
}

/// Short names of other resources, by project, for projects that are often installed with KubeVirt.
const TAKEN: [(&str, &str); 24] = [
    (
        "Kubernetes",
        "cm cs csr cj deploy ds ep ev hpa ing limits netpol no ns pc pdb po pv pvc quota rc rs sa sc sts svc crd crds",
    ),
    ("Argo CD", "app apps appproj appprojs appset appsets"),
    ("Argo Rollouts", "ar at cat exp ro"),
    ("Argo Workflows", "clusterwftmpl cronwf cwf cwft wf wfat wfeb wfebs wftmpl wfts"),
    ("Calico", "bgpconfig bgppeer felixconfig gnp gns hep ippool ippools ipamconfig kcconfig np"),
    ("CDI", "cdi cdis das dic dics dv dvs osvp ot ots ovvp"),
    ("cert-manager", "cert certs ciss cr crs iss"),
    (
        "Cilium",
        "cbgpadvert cbgpcluster cbgpnode cbgpnodeoverride cbgppeer ccec ccg ccnp cec cegp cep ces ciliumcg ciliumep \
         ciliumid ciliumn ciliumnp clrp cn cnc cnp cpip ippool ippools l2announcement lbippool lbippools",
    ),
    ("Cluster API", "ma md mhc mhcs ms"),
    ("Crossplane", "comp comprev xrd xrds"),
    ("Flux", "gitrepo hc helmrepo hr ks ocirepo"),
    ("Gatekeeper", "constraint constraints"),
    ("Gateway API", "btlspolicy gc gtw lset mesh refgrant xbackend xbtrafficpolicy"),
    ("Harvester", "hrq hrqs kp kps preferences sb sbs svmbackup svmbackups vmimage vmimages vmt vmts vmtr vmtrs"),
    ("Istio", "ap dr gw pa ra se telemetry vs we wg"),
    ("Karpenter", "nc np nodeclaims nodepools"),
    ("Knative", "cfg kcert king ksvc kservice rev rt sks"),
    (
        "KubeVirt",
        "kv kvs migrationpolicy vm vms vmbackup vmbackups vmcf vmcfs vmclone vmclones vmclusterinstancetype vmcp vmcps \
         vmexport vmexports vmf vmfs vmi vmis vmim vmims vminstancetype vmipreset vmipresets vmirs vmirss vmp vmpool vmpools \
         vmpref vmprefs vmps vmrestore vmrestores vmsnapshot vmsnapshots vmsnapshotcontent vmsnapshotcontents",
    ),
    (
        "Kyverno",
        "admr ccleanpol cadmr cephr cleanpol cpol cpolr dpol ephr gctxentry gpol ivpol mpol ndpol ngpol nivpol nmpol nvpol \
         pol polex polr ur vpol",
    ),
    (
        "Longhorn",
        "lhb lhbbi lhbi lhbids lhbim lhbt lhbundle lhbv lhe lhef lhei lhim lhn lho lhr lhrj lhs lhsb lhsd lhsg lhsm lhsnap \
         lhsr lhv lhva",
    ),
    ("Multus", "net-attach-def"),
    ("NMState", "nnce nncp nns"),
    ("Prometheus operator", "am amcfg pmon prb prom promagent promrule ruler scfg smon"),
    ("VolumeSnapshot", "vs vsc vsclass vsclasses vscs"),
];

/// kubectl uses the first resource that has a short name: a `kubectl delete` could delete objects of another project.
#[test]
fn the_short_names_collide_with_no_other_resource() {
    let names = &documents("crd.yaml").remove(0)["spec"]["names"];
    let mut ours: Vec<String> = serde_json::from_value(names["shortNames"].clone()).expect("short names");
    ours.extend(["plural", "singular"].map(|field| names[field].as_str().expect("a name").to_owned()));
    assert_eq!(ours[0], "cpupol", "docs/policy.md names it");
    for (project, taken) in TAKEN {
        let clash: Vec<&str> = taken.split_whitespace().filter(|taken| ours.iter().any(|our| our == taken)).collect();
        assert!(clash.is_empty(), "{project} has {clash:?}");
    }
}

#[test]
fn an_uninstall_that_was_interrupted_can_be_run_again() {
    let commands = documented_commands("docs/install.md", "Uninstalling");
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        assert!(command.contains("kubectl delete ") && command.contains(" --ignore-not-found"), "{command}");
    }
}

/// cpufit refuses every such request, so the API server must not send requests of users who have the permission.
#[test]
fn the_right_to_relax_is_checked_by_the_api_server_alone() {
    let objects = objects();
    let webhooks =
        object(&objects, "ValidatingWebhookConfiguration", "cpufit")["webhooks"].as_array().expect("webhooks");
    let relax = webhooks.iter().find(|webhook| webhook["name"] == "relax.validate.cpufit.io").expect("there");
    let conditions = relax["matchConditions"].as_array().expect("conditions");
    let right = "!authorizer.group('cpufit.io').resource('cpupolicies').check('relax').allowed()";
    assert!(conditions.iter().any(|condition| condition["expression"] == right), "no user could relax");
    let role = object(&objects, "ClusterRole", "cpufit").to_string();
    assert!(!role.contains("subjectaccessreviews"), "any client that reaches the port could have rights looked up");
}

/// Only users query libvirt, with their own permissions.
#[test]
fn the_webhook_may_not_exec() {
    let objects = objects();
    let granting = objects.iter().filter(|object| matches!(object["kind"].as_str(), Some("ClusterRole" | "Role")));
    let rules: Vec<&Value> = granting.flat_map(|role| role["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() > 3, "the rules were not read");
    for rule in rules {
        for resource in rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let is_entered =
                ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "nodes/proxy", "pods/*", "*"];
            assert!(
                !is_entered.contains(&resource),
                "a holder of the webhook's token could exec into launchers: {rule}"
            );
        }
    }
}

/// Values that users may fill freely: Kubernetes validates them.
const FREE: [&str; 7] = [
    "livenessProbe",
    "nodeSelector",
    "podSecurityContext",
    "readinessProbe",
    "resources",
    "securityContext",
    "strategy",
];

/// Collects the paths of a chart's values, descending into maps that are not empty.
fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() && !FREE.contains(&path) => {
            for (name, value) in fields {
                paths(&format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), value, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn every_value_of_the_chart_is_documented_and_known_to_its_schema() {
    let file = |name: &str| String::from_utf8(read(&base("../helm/cpufit").join(name))).expect("UTF-8");
    let values: Value = serde_saphyr::from_str(&file("values.yaml")).expect("values");
    let mut expected = BTreeSet::new();
    paths("", &values, &mut expected);

    let readme = file("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
    assert_eq!(documented, expected, "a value without documentation, or one that does nothing");

    let schema: Value = serde_json::from_str(&file("values.schema.json")).expect("a schema");
    for path in expected {
        let pointer: String = path.split('.').flat_map(|step| ["/properties/", step]).collect();
        assert!(schema.pointer(&pointer).is_some(), "{path}: refused when it is set");
    }
}

/// A chart package contains the target of a link, or nothing.
#[test]
fn the_chart_is_complete_without_links() {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let kind = entry.file_type().expect("a kind");
            assert!(!kind.is_symlink(), "{}: helm warns of links, and Windows has none", entry.path().display());
            if kind.is_dir() { walk(&entry.path(), found) } else { found.push(entry.path()) }
        }
    }
    let mut found = Vec::new();
    walk(&base(".."), &mut found);
    assert!(found.len() > 40, "{found:?}");
    let chart = base("../helm/cpufit");
    assert_eq!(read(&chart.join("files/crd.yaml")), read(&base("crd.yaml")), "copy deploy/base/crd.yaml there");
    let ignored = String::from_utf8(read(&chart.join(".helmignore"))).expect("UTF-8");
    assert!(!ignored.contains("README"), "a package without its documentation");
    let readme = String::from_utf8(read(&chart.join("README.md"))).expect("UTF-8");
    assert!(!readme.contains("](../") && !readme.contains("](values"), "a link that leads nowhere from a package");
}

/// The kustomize of kubectl 1.32 (5.5.0) panics on a patch file with several documents that delete.
#[test]
fn patch_files_hold_one_document_each() {
    let mut tried = 0;
    for folder in ["../overlays", "../components"] {
        for entry in std::fs::read_dir(base(folder)).expect("a folder") {
            let folder = entry.expect("an entry").path();
            let kustomization: Value =
                serde_saphyr::from_slice(&read(&folder.join("kustomization.yaml"))).expect("YAML");
            let patches = kustomization["patches"].as_array().into_iter().flatten();
            for file in patches.filter_map(|patch| patch["path"].as_str()) {
                let text = String::from_utf8(read(&folder.join(file))).expect("UTF-8");
                let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML documents");
                let place = folder.join(file).display().to_string();
                assert_eq!(documents.len(), 1, "{place}: kubectl apply -k would end with a panic");
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "no patch file was tried");
}

/// Harvester's controller passes `valuesContent` to helm unchanged.
#[test]
fn the_addon_of_harvester_sets_values_that_the_chart_has() {
    let addon: Value = serde_saphyr::from_slice(&read(&base("../harvester/addon.yaml"))).expect("YAML");
    assert_eq!(
        (&addon["apiVersion"], &addon["kind"]),
        (&json!("harvesterhci.io/v1beta1"), &json!("Addon")),
        "Harvester does not install it as an add-on"
    );
    let chart: Value = serde_saphyr::from_slice(&read(&base("../helm/cpufit/Chart.yaml"))).expect("YAML");
    assert_eq!(
        (&addon["spec"]["chart"], &addon["spec"]["version"]),
        (&chart["name"], &chart["version"]),
        "Harvester looks for a chart that does not exist"
    );
    assert!(addon["spec"]["enabled"].is_boolean() && addon["spec"]["repo"].is_string(), "fields that are required");
    let values = addon["spec"]["valuesContent"].as_str().expect("text");
    let values: Value = serde_saphyr::from_str(values).expect("YAML");
    let mut set = BTreeSet::new();
    paths("", &values, &mut set);
    let defaults: Value = serde_saphyr::from_slice(&read(&base("../helm/cpufit/values.yaml"))).expect("values");
    for path in &set {
        let pointer: String = path.split('.').flat_map(|step| ["/", step]).collect();
        assert!(defaults.pointer(&pointer).is_some(), "{path}: the chart has no such value");
    }
    assert_eq!(
        values["webhooks"]["kubevirtNamespaces"],
        json!(["harvester-system"]),
        "KubeVirt's own namespace would be reviewed"
    );
}

/// Artifact Hub parses some annotations as YAML.
#[test]
fn the_chart_lists_the_objects_that_it_installs() {
    let chart: Value = serde_saphyr::from_slice(&read(&base("../helm/cpufit/Chart.yaml"))).expect("YAML");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(version), &json!(format!("v{version}"))),
        "the chart names an image of another release"
    );
    let parsed = |name: &str| -> Value {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str().expect(name);
        serde_saphyr::from_str(text).expect(name)
    };
    let names = &documents("crd.yaml").remove(0);
    assert_eq!(parsed("crds")[0]["name"], names["metadata"]["name"]);
    assert_eq!(parsed("crds")[0]["kind"], names["spec"]["names"]["kind"]);
    assert_eq!(parsed("crds")[0]["version"], names["spec"]["versions"][0]["name"]);
    Policy::from_json(&parsed("crdsExamples")[0].to_string()).expect("the example is a policy");
    let deployment = objects();
    let image = object(&deployment, "Deployment", "cpufit").pointer(CONTAINER_IMAGE).expect("an image");
    assert_eq!(&parsed("images")[0]["image"], image, "another image would be scanned than is run");
    assert!(image.as_str().expect("text").ends_with(&format!(":v{version}")), "the release would run another one");
    assert!(
        parsed("links")[0]["url"].as_str().is_some_and(|url| url.starts_with("https://")),
        "Artifact Hub shows a link that leads nowhere"
    );
}

/// Returns the pairs of group and resource that a `ClusterRole` permits to list.
fn listed_by(role: &Value) -> BTreeSet<(String, String)> {
    let mut out = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        let is_lease = rule["resources"] == serde_json::json!(["leases"]);
        let verbs = if is_lease { serde_json::json!(["get"]) } else { serde_json::json!(["get", "list"]) };
        assert_eq!(rule["verbs"], verbs, "it is for reading");
        if is_lease {
            assert_eq!(rule["resourceNames"], serde_json::json!(["cpufit"]), "other Leases are nobody's business here");
        } else {
            out.extend(rights_of(rule));
        }
    }
    out
}

/// There is one rule for each watched resource, and no others; the documentation states the purpose of each.
#[test]
fn the_rights_are_those_of_the_table_of_resources() {
    let objects = objects();
    let role = object(&objects, "ClusterRole", "cpufit");
    let watched = |rule: &&Value| rule["verbs"] == json!(["get", "list", "watch"]);
    let given: BTreeSet<(String, String)> =
        role["rules"].as_array().expect("rules").iter().filter(watched).flat_map(rights_of).collect();
    let expected = Resource::WATCHED.map(|one| (one.group().to_owned(), one.plural().to_owned()));
    assert_eq!(given, BTreeSet::from(expected), "a watch without its right, or a right that nothing needs");
    let page = String::from_utf8(read(&base("../../docs/install.md"))).expect("UTF-8");
    for one in Resource::ALL {
        let name = [one.plural(), one.group()].join(".");
        let row = format!("| `{}` | {} |", name.trim_end_matches('.'), one.read_for());
        assert!(page.contains(&row), "docs/install.md lacks {row}");
    }
}

/// A reader who looks for what is left of an uninstalled cpufit would otherwise be shown a part of it.
#[test]
fn the_label_of_the_documentation_finds_all_that_is_in_no_namespace() {
    let page = String::from_utf8(read(&base("../../docs/troubleshooting.md"))).expect("UTF-8");
    let command = page.lines().find(|line| line.starts_with("kubectl get crd,clusterrole,")).expect("the command");
    let (kinds, label) = command.trim_start_matches("kubectl get ").split_once(" -l ").expect("a label");
    let (key, value) = label.split_once('=').expect("KEY=VALUE");
    let mut found = BTreeSet::new();
    for object in objects() {
        let kind = object["kind"].as_str().expect("a kind").to_lowercase();
        let name = if kind == "customresourcedefinition" { "crd" } else { kind.as_str() };
        if kinds.split(',').any(|listed| listed == name) {
            assert_eq!(
                object["metadata"]["labels"][key], value,
                "{label} does not find {}",
                object["metadata"]["name"]
            );
            found.insert(name.to_owned());
        }
    }
    assert_eq!(found, kinds.split(',').map(str::to_owned).collect(), "the command looks for other kinds");
}

/// Webhooks get reviews of known resources, in all known versions, and of evictions.
#[test]
fn the_rules_of_the_webhooks_are_those_of_the_table_of_resources() {
    let mut reviewed = BTreeSet::new();
    for configuration in objects().iter().filter(|object| object["webhooks"].is_array()) {
        let rules =
            configuration["webhooks"].as_array().unwrap().iter().flat_map(|hook| hook["rules"].as_array().unwrap());
        for rule in rules {
            for (group, plural) in rights_of(rule) {
                let (plural, below) = plural.split_once('/').unwrap_or((&plural, ""));
                let known = Resource::WATCHED.into_iter().find(|one| one.group() == group && one.plural() == plural);
                let known = known.unwrap_or_else(|| panic!("{rule}: nothing answers for {plural}"));
                assert!(below.is_empty() || (plural, below) == ("pods", "eviction"), "{rule}");
                assert_eq!(
                    rule["apiVersions"],
                    json!(known.names().versions),
                    "{rule}: reviews of some versions would not come"
                );
                assert_eq!(rule["scope"] == "Namespaced", known.is_namespaced(), "{rule}");
                reviewed.insert(known);
            }
        }
    }
    let never = Resource::WATCHED.into_iter().filter(|one| !reviewed.contains(one)).collect::<Vec<_>>();
    let read_alone = [
        Resource::Namespaces,
        Resource::Instancetypes,
        Resource::ClusterInstancetypes,
        Resource::Preferences,
        Resource::ClusterPreferences,
        Resource::Revisions,
        Resource::DataSources,
    ];
    assert_eq!(never, read_alone, "a kind is reviewed that the page calls read only, or the reverse");
}

/// The dump command names every resource by a name that kubectl accepts, on every page that shows it.
#[test]
fn the_dump_command_names_what_the_table_of_resources_has() {
    let command = cpufit::dump_command!();
    let listed = command.strip_prefix("kubectl get ").and_then(|rest| rest.split(' ').next()).expect("a list");
    let listed: Vec<&str> = listed.split(',').collect();
    let is_named = |one: &Resource, word: &str| {
        word == one.plural() || word == one.kind().to_ascii_lowercase() || one.names().short.contains(&word)
    };
    for word in &listed {
        let is_read = Resource::ALL.into_iter().any(|one| is_named(&one, word));
        assert!(is_read, "{word} is in the dump and is not read");
    }
    // Templates are not needed to judge existing guests.
    let left_out: Vec<Resource> =
        Resource::ALL.into_iter().filter(|one| !listed.iter().any(|word| is_named(one, word))).collect();
    // Objects that name an instancetype before a VM is created are not needed either, and not every cluster has them.
    assert_eq!(left_out, [Resource::ReplicaSets, Resource::Pools, Resource::DataVolumes, Resource::VolumeSnapshots]);
    let mut shown = 0;
    for page in pages() {
        let text = String::from_utf8(read(&page)).expect("UTF-8");
        for line in text.lines().filter(|line| line.starts_with("kubectl get nodes,")) {
            assert!(line.contains(command), "{} shows another command: {line}", page.display());
            shown += 1;
        }
    }
    assert!(shown > 0, "no page shows the command");
}

/// Returns the pairs of group and resource that a rule names.
fn rights_of(rule: &Value) -> Vec<(String, String)> {
    let texts = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).expect("a list of texts") };
    let resources = texts("resources");
    let pairs = |group: String| resources.iter().map(move |resource| (group.clone(), resource.clone()));
    texts("apiGroups").into_iter().flat_map(pairs).collect()
}

/// A resource that a verb reads and no role grants would cause a note in every output.
#[test]
fn an_auditor_may_read_what_the_verbs_read_and_a_reader_what_is_in_no_namespace() {
    let objects = objects();
    let of = |one: Resource| (one.group().to_owned(), one.plural().to_owned());
    let all: BTreeSet<_> = Resource::ALL.into_iter().map(of).collect();
    assert_eq!(listed_by(object(&objects, "ClusterRole", "cpufit-auditor")), all);
    // Users who work in a namespace may read that namespace. KubeVirt's and the boot sources are used by all.
    let shared = Resource::ALL.into_iter().filter(|one| !one.is_namespaced() && *one != Resource::Namespaces);
    let shared: BTreeSet<_> = shared.chain([Resource::KubeVirts, Resource::DataSources]).map(of).collect();
    assert_eq!(listed_by(object(&objects, "ClusterRole", "cpufit-reader")), shared);
}
