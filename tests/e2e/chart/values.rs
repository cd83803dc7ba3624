//! Each value of the chart is set to another one, and only the expected fields change.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{BTreeMap, BTreeSet, template, tool};

/// All values, each set to another one.
pub const ALL: &str = "
replicaCount: 3
image: { repository: registry.example/cpufit, pullPolicy: Always }
imagePullSecrets: [{ name: registry }]
nameOverride: cpu-webhook
fullnameOverride: cpu-webhook-eu
commonLabels: { cost: virt }
logLevel: info,cpufit=debug
logFormat: text
extraArgs: [--drain=10]
extraEnv: [{ name: TOKIO_WORKER_THREADS, value: '4' }]
extraVolumes: [{ name: ca, configMap: { name: ca } }]
extraVolumeMounts: [{ name: ca, mountPath: /etc/ssl/certs, readOnly: true }]
certificates: { caBundleOnly: true }
clients: { caConfigMap: authority, names: [kube-apiserver] }
crds: { keep: false }
webhooks:
  annotations: { admissions.enforcer/disabled: 'true' }
  kubevirtNamespaces: [virt]
  namespaceSelector: { matchLabels: { cpufit.io/enabled: 'true' }, matchExpressions: [{ key: tier, operator: Exists }] }
  timeoutSeconds: 10
  podTimeoutSeconds: 2
serviceAccount: { name: webhook, annotations: { a: b } }
rbac: { aggregateToView: false }
service: { annotations: { e: f } }
networkPolicy: { apiServerPorts: [16443], reviewsFrom: [{ ipBlock: { cidr: 192.0.2.0/24 } }], metricsFrom: [{ podSelector: {} }] }
podDisruptionBudget: { minAvailable: 50% }
strategy: { rollingUpdate: { maxUnavailable: 1 } }
revisionHistoryLimit: 2
terminationGracePeriodSeconds: 60
livenessProbe: { periodSeconds: 20 }
readinessProbe: { periodSeconds: 4 }
resources: { requests: { cpu: 1 } }
nodeSelector: { pool: infra }
tolerations: [{ key: infra, operator: Exists }]
affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [
  { matchExpressions: [{ key: a, operator: Exists }] }] } } }
topologySpreadConstraints: [{ maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway }]
priorityClassName: high
hostNetwork: true
podSecurityContext: { runAsUser: 1000 }
securityContext: { runAsUser: 1000 }
deploymentAnnotations: { g: h }
podLabels: { team: virt }
podAnnotations: { c: d }
";

type Objects = BTreeMap<String, Value>;

struct Chart {
    helm: PathBuf,
    folder: tempfile::TempDir,
    defaults: Objects,
    rows: usize,
    /// The values that rows set, by path.
    set: BTreeSet<String>,
}

impl Chart {
    fn new(helm: &Path) -> Self {
        let folder = super::folder_here();
        let mut chart =
            Self { helm: helm.to_path_buf(), folder, defaults: BTreeMap::new(), rows: 0, set: BTreeSet::new() };
        chart.defaults = chart.render("{}");
        chart
    }

    /// Returns objects by kind and name; all namespaced objects are in one namespace.
    fn render(&self, values: &str) -> Objects {
        let file = self.folder.path().join("values.yaml");
        std::fs::write(&file, values).expect("written");
        let rendered = template(&self.helm, &["--values", file.to_str().expect("UTF-8")]);
        let short = |name: String| name.replace(" cpufit-system/", " ").replace(" /", " ");
        rendered.into_iter().map(|(name, object)| (short(name), object)).collect()
    }

    /// Checks that the values change the objects in this way only.
    fn row(&mut self, values: &str, change: impl FnOnce(&mut Objects)) {
        self.rows += 1;
        self.set.extend(paths(&yaml(values)));
        let mut expected = self.defaults.clone();
        change(&mut expected);
        assert!(expected != self.defaults || values.starts_with("# nothing"), "{values}: the row expects no change");
        let got = self.render(values);
        let names = |objects: &Objects| objects.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&got), names(&expected), "{values}: other objects are installed");
        for (name, expected) in &expected {
            assert_eq!(&got[name], expected, "{values}: {name}");
        }
    }

    /// Checks that the values set one field of one object.
    fn sets(&mut self, values: &str, name: &str, pointer: &str, value: Value) {
        self.row(values, |objects| set(objects, name, pointer, value));
    }

    /// Checks that the values set one field of the Deployment.
    fn deploys(&mut self, values: &str, pointer: &str, value: Value) {
        self.sets(values, DEPLOYMENT, pointer, value);
    }

    /// Checks that the values omit these objects.
    fn omits(&mut self, values: &str, names: &[&str]) {
        self.row(values, |objects| {
            for name in names {
                objects.remove(*name).expect("there by default");
            }
        });
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Returns the paths of the values that are no maps, or empty ones, such as `certificates.source`.
fn paths(values: &Value) -> Vec<String> {
    let fields = values.as_object().into_iter().flatten();
    let below = |(name, value): (&String, &Value)| match paths(value) {
        inner if inner.is_empty() => vec![name.clone()],
        inner => inner.into_iter().map(|path| format!("{name}.{path}")).collect(),
    };
    fields.flat_map(below).collect()
}

/// Sets a field; `null` removes it, and `-` is the end of a list.
fn set(objects: &mut Objects, name: &str, pointer: &str, value: Value) {
    let object = objects.get_mut(name).unwrap_or_else(|| panic!("the chart has no {name}"));
    let steps: Vec<String> = pointer.split('/').skip(1).map(|step| step.replace("~1", "/")).collect();
    let (last, above) = steps.split_last().expect("a pointer");
    let parent = above.iter().fold(object, |value, step| match value {
        Value::Array(items) => &mut items[step.parse::<usize>().expect("an index")],
        _ => value.as_object_mut().expect("a map").entry(step).or_insert_with(|| json!({})),
    });
    match parent {
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => items[last.parse::<usize>().expect("an index")] = value,
        Value::Object(fields) if value.is_null() => drop(fields.remove(last).expect("there by default")),
        Value::Object(fields) => drop(fields.insert(last.clone(), value)),
        other => panic!("{name} has {other} at {pointer}"),
    }
}

/// Sets a label on every object, and on the pods.
fn label(objects: &mut Objects, key: &str, value: &str) {
    for object in objects.values_mut() {
        object["metadata"]["labels"][key] = json!(value);
    }
    set(objects, DEPLOYMENT, &format!("/spec/template/metadata/labels/{}", key.replace('/', "~1")), json!(value));
}

/// Calls `change` for each webhook.
fn webhooks(objects: &mut Objects, mut change: impl FnMut(&str, &mut Value)) {
    for kind in [MUTATING, VALIDATING] {
        for webhook in objects.get_mut(kind).expect("there")["webhooks"].as_array_mut().expect("webhooks") {
            let name = webhook["name"].as_str().expect("a name").to_owned();
            change(&name, webhook);
        }
    }
}

/// Whether a webhook is about guests of namespaces.
fn is_about_guests(webhook: &Value) -> bool {
    webhook["namespaceSelector"]["matchExpressions"].as_array().is_some_and(|conditions| conditions.len() == 2)
}

const DEPLOYMENT: &str = "Deployment cpufit";
const MUTATING: &str = "MutatingWebhookConfiguration cpufit";
const VALIDATING: &str = "ValidatingWebhookConfiguration cpufit";
const POD: &str = "/spec/template/spec/";
const CONTAINER: &str = "/spec/template/spec/containers/0/";

fn pod(path: &str) -> String {
    format!("{POD}{path}")
}

fn container(path: &str) -> String {
    format!("{CONTAINER}{path}")
}

#[test]
#[ignore = "needs helm: make e2e"]
fn each_value_changes_what_it_says_and_nothing_else() {
    let Some(helm) = tool("helm") else { return };
    let mut chart = Chart::new(&helm);
    the_container(&mut chart);
    the_pods(&mut chart);
    the_deployment(&mut chart);
    what_is_installed(&mut chart);
    names_and_labels(&mut chart);
    who_is_asked(&mut chart);
    who_connects(&mut chart);
    the_certificate(&mut chart);
    the_domain(&mut chart);
    chart.set.extend(paths(&yaml(ALL)));
    let shipped = std::fs::read_to_string(Path::new(super::ROOT).join("deploy/helm/cpufit/values.yaml"));
    let is_in = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // Templates pass these on as they are.
    let whole =
        ["livenessProbe", "readinessProbe", "nodeSelector", "podSecurityContext", "securityContext", "resources"];
    let whole_of =
        |path: String| whole.iter().find(|whole| is_in(&path, whole)).map_or(path.clone(), |whole| (*whole).to_owned());
    let is_set = |path: &String| chart.set.iter().any(|set| is_in(set, path) || is_in(path, set));
    let unset: Vec<String> = paths(&yaml(&shipped.expect("the chart's values")))
        .into_iter()
        .map(whole_of)
        .filter(|path| !is_set(path))
        .collect();
    assert_eq!(unset, [""; 0], "no row sets these values: one that does something else would be shipped");
    println!("{} rows: each value, and what it changes", chart.rows);
}

fn the_container(chart: &mut Chart) {
    chart.deploys("image: {repository: r.example/c}", &container("image"), json!("r.example/c:v0.1.0"));
    chart.row("image: {tag: v9_build}", |objects| {
        set(objects, DEPLOYMENT, &container("image"), json!("ghcr.io/cpufit/cpufit:v9_build"));
        label(objects, "app.kubernetes.io/version", "v9_build");
    });
    chart.deploys("image: {pullPolicy: Never}", &container("imagePullPolicy"), json!("Never"));
    let digest = format!("sha256:{}", "1".repeat(64));
    let image = json!(format!("ghcr.io/cpufit/cpufit@{digest}"));
    chart.deploys(&format!("image: {{digest: '{digest}'}}"), &container("image"), image);
    chart.deploys("extraArgs: [--drain=10]", &container("args/-"), json!("--drain=10"));
    chart.deploys("logLevel: debug", &container("args/-"), json!("--log=debug"));
    chart.deploys("logFormat: text", &container("args/3"), json!("--log-format=text"));
    chart.deploys("extraEnv: [{name: A, value: 'on'}]", &container("env/-"), json!({"name": "A", "value": "on"}));
    let mounts = json!([{"name": "ca", "mountPath": "/ca"}]);
    chart.deploys("extraVolumeMounts: [{name: ca, mountPath: /ca}]", &container("volumeMounts"), mounts);
    chart.deploys("securityContext: {runAsUser: 7}", &container("securityContext/runAsUser"), json!(7));
    chart.deploys("resources: {limits: {memory: 1Gi}}", &container("resources/limits/memory"), json!("1Gi"));
    chart.deploys("resources: {limits: null}", &container("resources/limits"), Value::Null);
    chart.deploys("livenessProbe: {periodSeconds: 99}", &container("livenessProbe/periodSeconds"), json!(99));
    chart.deploys("readinessProbe: {periodSeconds: 9}", &container("readinessProbe/periodSeconds"), json!(9));
}

fn the_pods(chart: &mut Chart) {
    let secrets = json!([{"name": "a"}, {"name": "b"}]);
    chart.deploys("imagePullSecrets: [{name: a}, {name: b}]", &pod("imagePullSecrets"), secrets);
    let volumes = json!([{"name": "ca", "emptyDir": {}}]);
    chart.deploys("extraVolumes: [{name: ca, emptyDir: {}}]", &pod("volumes"), volumes);
    let annotations = json!({"a.example/b": "true"});
    chart.deploys("podAnnotations: {a.example/b: 'true'}", "/spec/template/metadata/annotations", annotations);
    chart.deploys("podLabels: {team: virt}", "/spec/template/metadata/labels/team", json!("virt"));
    chart.row("# nothing: the selector would miss them\npodLabels: {app.kubernetes.io/name: other}", |_| ());
    chart.deploys("podSecurityContext: {fsGroup: 7}", &pod("securityContext/fsGroup"), json!(7));
    chart.deploys("nodeSelector: {pool: infra}", &pod("nodeSelector/pool"), json!("infra"));
    chart.deploys("tolerations: []", &pod("tolerations"), Value::Null);
    chart.deploys("tolerations: [{operator: Exists}]", &pod("tolerations"), json!([{"operator": "Exists"}]));
    chart.deploys("affinity: {podAntiAffinity: {}}", &pod("affinity"), json!({"podAntiAffinity": {}}));
    chart.deploys("topologySpreadConstraints: []", &pod("topologySpreadConstraints"), Value::Null);
    let own = json!({"matchLabels": {"app.kubernetes.io/name": "cpufit"}});
    let constraint = |selector: &Value| json!([{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]);
    let values = "topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]";
    chart.deploys(values, &pod("topologySpreadConstraints"), constraint(&own));
    let values = "topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, \
                  labelSelector: {}}]";
    chart.row(values, |objects| {
        let mut expected = constraint(&own);
        // Helm merges maps.
        expected[0]["labelSelector"] = own.clone();
        set(objects, DEPLOYMENT, &pod("topologySpreadConstraints"), expected);
    });
    chart.row("hostNetwork: true", |objects| {
        set(objects, DEPLOYMENT, &pod("hostNetwork"), json!(true));
        set(objects, DEPLOYMENT, &pod("dnsPolicy"), json!("ClusterFirstWithHostNet"));
        // The ports of a node are free only after the old pod has left.
        set(objects, DEPLOYMENT, "/spec/strategy", updated(&json!(1), &json!(0)));
    });
    chart.deploys("dnsPolicy: Default", &pod("dnsPolicy"), json!("Default"));
    chart.deploys("terminationGracePeriodSeconds: 5", &pod("terminationGracePeriodSeconds"), json!(5));
    chart.row("clients: {caConfigMap: ca, names: [api]}", |objects| {
        set(objects, DEPLOYMENT, &container("args/-"), json!("--client-ca=/etc/cpufit/clients/ca.crt"));
        set(objects, DEPLOYMENT, &container("args/-"), json!("--client-name=api"));
        let mounts = json!([{"name": "clients", "mountPath": "/etc/cpufit/clients", "readOnly": true}]);
        set(objects, DEPLOYMENT, &container("volumeMounts"), mounts);
        set(objects, DEPLOYMENT, &pod("volumes"), json!([{"name": "clients", "configMap": {"name": "ca"}}]));
    });
    for (values, class) in [("priorityClassName: ''", Value::Null), ("priorityClassName: high", json!("high"))] {
        chart.row(values, |objects| {
            set(objects, DEPLOYMENT, &pod("priorityClassName"), class);
            objects.remove("ResourceQuota cpufit").expect("there by default");
        });
    }
    chart.row("priorityClassName: system-node-critical", |objects| {
        set(objects, DEPLOYMENT, &pod("priorityClassName"), json!("system-node-critical"));
        let classes = "/spec/scopeSelector/matchExpressions/0/values/0";
        set(objects, "ResourceQuota cpufit", classes, json!("system-node-critical"));
    });
}

/// Returns the strategy of a rolling update.
fn updated(unavailable: &Value, surge: &Value) -> Value {
    json!({"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn the_deployment(chart: &mut Chart) {
    chart.deploys("replicaCount: 1", "/spec/replicas", json!(1));
    chart.deploys("replicaCount: 0", "/spec/replicas", json!(0));
    chart.deploys("deploymentAnnotations: {a: b}", "/metadata/annotations", json!({"a": "b"}));
    for (values, strategy) in [
        ("{type: Recreate}", json!({"type": "Recreate"})),
        ("{type: Recreate, rollingUpdate: {maxSurge: 1}}", json!({"type": "Recreate"})),
        ("{rollingUpdate: {maxSurge: 2}}", updated(&json!(0), &json!(2))),
        ("{rollingUpdate: {maxSurge: 150%}}", updated(&json!(0), &json!("150%"))),
        ("{rollingUpdate: {maxSurge: 0}}", updated(&json!(1), &json!(0))),
        ("{rollingUpdate: {maxSurge: 0%}}", updated(&json!(1), &json!("0%"))),
        ("{rollingUpdate: {maxUnavailable: 50%}}", updated(&json!("50%"), &json!(1))),
        ("{rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}", updated(&json!(1), &json!(0))),
    ] {
        chart.deploys(&format!("strategy: {values}"), "/spec/strategy", strategy);
    }
    for (values, strategy) in [
        ("{}", updated(&json!(1), &json!(0))),
        ("{type: Recreate}", json!({"type": "Recreate"})),
        ("{rollingUpdate: {maxUnavailable: 0}}", updated(&json!(0), &json!(1))),
        ("{rollingUpdate: {maxSurge: 2}}", updated(&json!(1), &json!(2))),
        ("{rollingUpdate: {maxUnavailable: 2}}", updated(&json!(2), &json!(0))),
    ] {
        let rendered = chart.render(&format!("hostNetwork: true\nstrategy: {values}"));
        assert_eq!(
            rendered[DEPLOYMENT]["spec"]["strategy"], strategy,
            "hostNetwork with {values}: an upgrade may hang"
        );
    }
    chart.deploys("revisionHistoryLimit: 0", "/spec/revisionHistoryLimit", json!(0));
    let budget = "PodDisruptionBudget cpufit";
    chart.sets("podDisruptionBudget: {maxUnavailable: 50%}", budget, "/spec/maxUnavailable", json!("50%"));
    for (values, least) in
        [("{minAvailable: 1}", json!(1)), ("{minAvailable: 0}", json!(0)), ("{minAvailable: 50%}", json!("50%"))]
    {
        chart.row(&format!("podDisruptionBudget: {values}"), |objects| {
            set(objects, budget, "/spec/maxUnavailable", Value::Null);
            set(objects, budget, "/spec/minAvailable", least);
        });
    }
    chart.omits("podDisruptionBudget: {enabled: false}", &[budget]);
}

fn what_is_installed(chart: &mut Chart) {
    let definition = "CustomResourceDefinition cpupolicies.cpufit.io";
    chart.omits("crds: {enabled: false}", &[definition]);
    chart.sets("crds: {keep: false}", definition, "/metadata/annotations", Value::Null);
    chart.omits("webhooks: {enabled: false}", &[MUTATING, VALIDATING]);
    chart.omits("networkPolicy: {enabled: false}", &["NetworkPolicy cpufit"]);
    let roles: Vec<String> = chart.defaults.keys().filter(|name| name.contains("Role")).cloned().collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    assert!(roles.len() > 8, "{roles:?}");
    chart.omits("rbac: {create: false}", &roles);
    let aggregate = "/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-view";
    chart.sets("rbac: {aggregateToView: false}", "ClusterRole cpufit-view", aggregate, Value::Null);
    let account = "ServiceAccount cpufit";
    chart.sets("serviceAccount: {annotations: {a: b}}", account, "/metadata/annotations", json!({"a": "b"}));
    for (values, name) in [("{create: false}", "default"), ("{create: false, name: mine}", "mine")] {
        chart.row(&format!("serviceAccount: {values}"), |objects| {
            objects.remove(account).expect("there by default");
            bind(objects, name);
        });
    }
    chart.row("serviceAccount: {name: mine}", |objects| {
        let mut renamed = objects.remove(account).expect("there by default");
        renamed["metadata"]["name"] = json!("mine");
        objects.insert("ServiceAccount mine".to_owned(), renamed);
        bind(objects, "mine");
    });
    let metadata = chart.defaults[DEPLOYMENT]["metadata"].clone();
    chart.row("serviceMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}", |objects| {
        let mut metadata = metadata.clone();
        metadata["labels"]["release"] = json!("prometheus");
        let spec = json!({
            "selector": {"matchLabels": {"app.kubernetes.io/name": "cpufit"}},
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
        });
        let api = "monitoring.coreos.com/v1";
        let monitor = json!({"apiVersion": api, "kind": "ServiceMonitor", "metadata": metadata, "spec": spec});
        objects.insert("ServiceMonitor cpufit".to_owned(), monitor);
    });
    let labels = metadata["labels"].clone();
    let policy = |annotations: Option<Value>| {
        let mut metadata = json!({"name": "cluster", "labels": labels});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let spec = json!({"enforce": "Pinned"});
        json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": metadata, "spec": spec})
    };
    let values = "policies: [{name: cluster, spec: {enforce: Pinned}}]";
    chart.row(values, |objects| {
        let first = json!({
            "helm.sh/hook": "post-install,post-upgrade",
            "meta.helm.sh/release-name": "cpufit",
            "meta.helm.sh/release-namespace": "cpufit-system",
        });
        objects.insert("CPUPolicy cluster".to_owned(), policy(Some(first)));
    });
    let known = template(
        &chart.helm,
        &[
            "--api-versions=cpufit.io/v1alpha1/CPUPolicy",
            "--set=policies[0].name=cluster",
            "--set=policies[0].spec.enforce=Pinned",
        ],
    );
    assert_eq!(known["CPUPolicy /cluster"], policy(None), "a policy of an upgrade is an object of the release");
}

/// Binds the roles to another account, which the pods use.
fn bind(objects: &mut Objects, account: &str) {
    set(objects, DEPLOYMENT, &pod("serviceAccountName"), json!(account));
    for (name, object) in objects.iter_mut().filter(|(name, _)| name.contains("RoleBinding ")) {
        assert_eq!(object["subjects"][0]["name"], "cpufit", "{name}");
        object["subjects"][0]["name"] = json!(account);
    }
}

fn names_and_labels(chart: &mut Chart) {
    let renamed = |objects: &mut Objects, name: &str| {
        for kind in ["Deployment", "PodDisruptionBudget", "NetworkPolicy", "ResourceQuota"] {
            let mut object = objects.remove(&format!("{kind} cpufit")).expect("there by default");
            object["metadata"]["name"] = json!(name);
            objects.insert(format!("{kind} {name}"), object);
        }
    };
    chart.row("commonLabels: {cost: virt}", |objects| label(objects, "cost", "virt"));
    chart.row("nameOverride: webhook", |objects| {
        label(objects, "app.kubernetes.io/name", "webhook");
        let selected = json!("webhook");
        for (name, pointer) in [
            (DEPLOYMENT, "/spec/selector/matchLabels/app.kubernetes.io~1name"),
            (DEPLOYMENT, &pod("topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1name")),
            ("Service cpufit", "/spec/selector/app.kubernetes.io~1name"),
            ("PodDisruptionBudget cpufit", "/spec/selector/matchLabels/app.kubernetes.io~1name"),
            ("NetworkPolicy cpufit", "/spec/podSelector/matchLabels/app.kubernetes.io~1name"),
        ] {
            set(objects, name, pointer, selected.clone());
        }
        renamed(objects, "webhook");
    });
    chart.row("fullnameOverride: webhook", |objects| renamed(objects, "webhook"));
    let both = chart.render("nameOverride: a\nfullnameOverride: b\nserviceMonitor: {enabled: true}");
    let called: Vec<&String> = both.keys().filter(|name| name.ends_with(" b")).collect();
    let five = ["Deployment b", "NetworkPolicy b", "PodDisruptionBudget b", "ResourceQuota b", "ServiceMonitor b"];
    assert_eq!(called, five, "the documentation names the objects that are renamed");
    assert_eq!(both["Service cpufit"]["spec"]["selector"]["app.kubernetes.io/name"], "a", "the Service has no pods");
    chart.row("# nothing: a dependency's condition\nenabled: true", |_| ());
    chart.row("# nothing: values of the parent\nglobal: {a: b}", |_| ());
}

fn who_is_asked(chart: &mut Chart) {
    chart.row("webhooks: {annotations: {a: b}}", |objects| {
        set(objects, MUTATING, "/metadata/annotations", json!({"a": "b"}));
        set(objects, VALIDATING, "/metadata/annotations", json!({"a": "b"}));
    });
    let waits = |name: &str| name.starts_with("pods.") || name.starts_with("evictions.");
    chart.row("webhooks: {timeoutSeconds: 9}", |objects| {
        webhooks(objects, |name, webhook| {
            if !waits(name) {
                webhook["timeoutSeconds"] = json!(9);
            }
        });
    });
    chart.row("webhooks: {podTimeoutSeconds: 1}", |objects| {
        webhooks(objects, |name, webhook| {
            if waits(name) {
                webhook["timeoutSeconds"] = json!(1);
            }
        });
    });
    chart.row("webhooks: {kubevirtNamespaces: [a, kube-system, b]}", |objects| {
        let names = json!(["cpufit-system", "kube-system", "a", "b"]);
        webhooks(objects, |_, webhook| {
            if is_about_guests(webhook) {
                webhook["namespaceSelector"]["matchExpressions"][0]["values"] = names.clone();
            }
        });
    });
    let mut asked = 0;
    chart.row("webhooks: {namespaceSelector: {matchLabels: {cpufit.io/enabled: 'true'}}}", |objects| {
        webhooks(objects, |_, webhook| {
            if is_about_guests(webhook) {
                asked += 1;
                webhook["namespaceSelector"]["matchLabels"] = json!({"cpufit.io/enabled": "true"});
            }
        });
    });
    assert_eq!(asked, 5, "the webhooks about guests");
    chart.row("webhooks: {namespaceSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}", |objects| {
        let condition = json!({"key": "a", "operator": "In", "values": ["b"]});
        webhooks(objects, |_, webhook| {
            if is_about_guests(webhook) {
                webhook["namespaceSelector"]["matchExpressions"]
                    .as_array_mut()
                    .expect("a list")
                    .push(condition.clone());
            }
        });
    });
}

fn who_connects(chart: &mut Chart) {
    let network = "NetworkPolicy cpufit";
    let peers = json!([{"podSelector": {}}]);
    chart.sets("networkPolicy: {reviewsFrom: [{podSelector: {}}]}", network, "/spec/ingress/0/from", peers.clone());
    chart.sets("networkPolicy: {metricsFrom: [{podSelector: {}}]}", network, "/spec/ingress/1/from", peers);
    chart.row("networkPolicy: {apiServerPorts: [16443]}", |objects| {
        let policy = objects.get_mut(network).expect("there by default");
        let ports = policy.pointer_mut("/spec/egress/0/ports").and_then(Value::as_array_mut).expect("ports");
        ports.insert(2, json!({"port": 16443, "protocol": "TCP"}));
    });
    chart.sets("service: {annotations: {a: b}}", "Service cpufit", "/metadata/annotations", json!({"a": "b"}));
}

fn the_certificate(chart: &mut Chart) {
    let of_cert_manager = chart.render("certificates: {source: cert-manager}");
    let by_default = std::mem::replace(&mut chart.defaults, of_cert_manager);
    let values = |value: &str| format!("certificates: {{source: cert-manager, certManager: {{{value}}}}}");
    let certificate = "Certificate cpufit";
    chart.sets(&values("duration: 24h"), certificate, "/spec/duration", json!("24h"));
    chart.sets(&values("renewBefore: 1h"), certificate, "/spec/renewBefore", json!("1h"));
    chart.row(&values("issuer: {kind: ClusterIssuer, name: internal}"), |objects| {
        set(objects, certificate, "/spec/issuerRef", json!({"kind": "ClusterIssuer", "name": "internal"}));
        for own in ["Issuer cpufit-selfsigned", "Certificate cpufit-ca", "Issuer cpufit"] {
            objects.remove(own).expect("there by default");
        }
    });
    chart.defaults = by_default;
}

/// A renamed domain is in every right, rule, text and variable: a forgotten one reads and watches nothing.
fn the_domain(chart: &mut Chart) {
    chart.row("kubevirtDomain: virt.example.io", |objects| {
        for object in objects.values_mut() {
            let renamed = object.to_string().replace("kubevirt.io", "virt.example.io");
            *object = serde_json::from_str(&renamed).expect("JSON");
        }
    });
}
