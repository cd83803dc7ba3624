//! Values that the chart refuses, values that are `null`, and what the notes say.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{ROOT, head, output, program, tool};

const CHART: &str = "deploy/helm/cpufit";

/// Returns the exit code, the output and the errors of `helm template` with these values.
fn try_template(helm: &Path, values: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(helm);
    command.args(["template", "cpufit", CHART, "--namespace=cpufit-system"]).args(values).current_dir(ROOT);
    let ran = program(command).run();
    (ran.code(), ran.stdout.clone(), ran.stderr.clone())
}

/// Each of these values is a mistake, and the error names the value.
#[test]
#[ignore = "needs helm: make e2e"]
fn chart_is_valid_and_refuses_values_that_no_cluster_accepts() {
    let Some(helm) = tool("helm") else { return };
    output(&helm, &["lint", "--strict", "--quiet", CHART, "--namespace=cpufit-system"]);
    for (wrong, named) in [
        ("replicas=1", "replicas"),
        ("image.pullSecrets[0]=a", "pullSecrets"),
        ("crd.install=false", "crd"),
        ("imagePullSecrets[0]=a", "imagePullSecrets"),
        ("imagePullSecrets[0].name=A_B", "imagePullSecrets"),
        ("image.tag=bad tag", "tag"),
        ("image.tag=v1+build", "tag"),
        ("image.tag=-v1", "tag"),
        ("image.repository=registry.example/cpufit:v1", "repository"),
        ("image.repository=registry.example/Cpufit", "repository"),
        ("image.digest=latest", "digest"),
        ("nameOverride=-a", "nameOverride"),
        ("fullnameOverride=A", "fullnameOverride"),
        ("replicaCount=two", "replicaCount"),
        ("commonLabels.a=b c", "commonLabels"),
        ("commonLabels.a b=c", "commonLabels"),
        ("podLabels.a=-", "podLabels"),
        ("serviceMonitor.labels.a=b/c", "labels"),
        ("serviceMonitor.interval=15", "interval"),
        ("nodeSelector.a=b c", "nodeSelector"),
        ("podAnnotations.a b=c", "podAnnotations"),
        ("webhooks.annotations.a/b/c=d", "annotations"),
        ("webhooks.kubevirtNamespaces[0]=Kube_Virt", "kubevirtNamespaces"),
        ("webhooks.timeoutSeconds=31", "timeoutSeconds"),
        ("webhooks.namespaceSelector.matchExpressions[0].operator=Is", "operator"),
        (
            "webhooks.namespaceSelector.matchExpressions[0].operator=In,webhooks.namespaceSelector.matchExpressions[0].key=a",
            "matchExpressions",
        ),
        ("webhooks.namespaceSelector.matchLabels.a=b c", "matchLabels"),
        ("serviceAccount.name=a_b", "name"),
        ("priorityClassName=System Critical", "priorityClassName"),
        ("certificates.source=vault", "source"),
        ("policies[0].name=Cluster_Policy", "name"),
        ("policies[0].name=cluster", "spec"),
        ("policies[0].name=cluster,policies[0].spec.enforce=Bogus", "enforce"),
        ("policies[0].name=cluster,policies[0].spec.enforced=Pinned", "enforced"),
        ("policies[0].name=cluster,policies[0].spec.commonModel.name=a b", "commonModel/name"),
        ("policies[0].name=cluster,policies[0].spec.commonModel.otherwise=Deny", "commonModel"),
        ("policies[0].name=cluster,policies[0].spec.nodeSelector.matchLabels.a=b c", "nodeSelector"),
        ("policies[0].name=cluster,policies[0].spec.nodeSelector.matchLabels.a b=c", "nodeSelector"),
        ("policies[0].name=cluster,policies[0].spec.commonModel.name=host-model", "commonModel/name"),
        ("policies[0].name=cluster,policies[0].spec.launcherSelectors=Common", "commonModel"),
        (
            "policies[0].name=cluster,policies[0].spec.nodeSelector.matchExpressions[0].key=a,\
             policies[0].spec.nodeSelector.matchExpressions[0].operator=In",
            "values",
        ),
        (
            "policies[0].name=cluster,policies[0].spec.nodeSelector.matchExpressions[0].key=a,\
             policies[0].spec.nodeSelector.matchExpressions[0].operator=Exists,\
             policies[0].spec.nodeSelector.matchExpressions[0].values[0]=b",
            "values",
        ),
        ("podDisruptionBudget.maxUnavailable=120%", "maxUnavailable"),
        ("podDisruptionBudget.minAvailable=101%", "minAvailable"),
        ("podDisruptionBudget.minAvailable=half", "minAvailable"),
        ("strategy.type=Rolling", "strategy"),
        ("strategy.rollingUpdate.maxUnavailable=101%", "maxUnavailable"),
        ("strategy.rollingUpdate.maxUnavailable=0,strategy.rollingUpdate.maxSurge=0", "maxUnavailable"),
        ("tolerations[0].operator=Equals", "tolerations"),
        ("tolerations[0].effect=NoRun,tolerations[0].key=a", "effect"),
        ("topologySpreadConstraints[0].maxSkew=0", "maxSkew"),
        ("resources.limits.memory=much", "resources"),
        ("resources.limits.memory=1 Gi", "resources"),
        ("networkPolicy.reviewsFrom[0].ipBlock.cidr=192.0.2.1", "reviewsFrom"),
        ("networkPolicy.reviewsFrom[0].cidr=192.0.2.1/32", "reviewsFrom"),
        ("networkPolicy.metricsFrom[0].namespaceSelector.name=monitoring", "metricsFrom"),
        ("dnsPolicy=None", "dnsPolicy"),
        ("extraEnv[0].name=POD_NAME", "extraEnv"),
        ("extraEnv[0].name=A=B", "extraEnv"),
        ("extraEnv[0].name=A,extraEnv[0].value=4", "extraEnv"),
        ("extraEnv[0].name=A,extraEnv[0].value=b,extraEnv[0].valueFrom.fieldRef.fieldPath=c", "extraEnv"),
        ("extraVolumes[0].name=a_b", "extraVolumes"),
        ("logLevel=warning", "logLevel"),
        ("replicaCount=3000000000", "replicaCount"),
        ("livenessProbe.periodSeconds=0", "periodSeconds"),
        ("livenessProbe.successThreshold=2", "successThreshold"),
        ("readinessProbe.failureThreshold=0", "failureThreshold"),
        ("podSecurityContext.runAsUser=-1", "runAsUser"),
        ("podSecurityContext.seccompProfile.type=Own", "seccompProfile"),
        ("securityContext.privileged=true", "securityContext"),
        (
            "policies[0].name=cluster,policies[0].spec.enforce=Pinned,policies[1].name=cluster,policies[1].spec.enforce=Pinned",
            "cluster",
        ),
    ] {
        let (code, _, errors) = try_template(&helm, &["--set", wrong]);
        assert_ne!(code, 0, "--set {wrong} was taken, and fails at the installation or does nothing");
        assert!(errors.contains(named), "--set {wrong}: the error does not name it: {}", head(&errors));
    }
}

/// Maps whose fields are Kubernetes' own.
const KUBERNETES: [&str; 7] = [
    "livenessProbe",
    "nodeSelector",
    "podSecurityContext",
    "readinessProbe",
    "resources",
    "securityContext",
    "topologySpreadConstraints",
];

/// Collects the paths of groups and values.
fn paths(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), value.clone()));
    if KUBERNETES.contains(&path) {
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        paths(&format!("{path}.{name}"), value, found);
    }
}

/// With every value that can be empty, `null` is as the empty one; the schema names every other one as missing.
#[test]
#[ignore = "needs helm: make e2e"]
fn null_is_as_an_empty_value() {
    let Some(helm) = tool("helm") else { return };
    let values = std::fs::read_to_string(Path::new(ROOT).join(CHART).join("values.yaml")).expect("values");
    let values: serde_json::Map<String, Value> = serde_saphyr::from_str(&values).expect("values");
    let mut found = Vec::new();
    for (name, value) in &values {
        paths(name, value, &mut found);
    }
    let folder = super::folder_here();
    let file = folder.path().join("values.yaml");
    let file = file.to_str().expect("UTF-8");
    let other = "{certificates: {source: cert-manager}, serviceMonitor: {enabled: true}, clients: {caConfigMap: ca}, \
                 hostNetwork: true}";
    let (mut taken, mut missing) = (0, 0);
    for mode in ["{}", other] {
        std::fs::write(file, mode).expect("written");
        for (path, value) in &found {
            let set = |to: &str| try_template(&helm, &["--values", file, &format!("--set-json={path}={to}")]);
            let (code, made, errors) = set("null");
            let last = path.rsplit('.').next().expect("a name");
            if code == 0 {
                taken += 1;
                assert!(!made.contains("<nil>"), "{path} of null is printed");
                let empty = match value {
                    Value::String(_) => "\"\"",
                    Value::Array(_) => "[]",
                    _ => continue,
                };
                let (code, as_empty, errors) = set(empty);
                assert!(code == 0 && made == as_empty, "{path}: null differs from {empty}: {}", head(&errors));
            } else {
                missing += 1;
                let named = format!("missing property '{last}'");
                assert!(errors.contains(&named), "{path} of null is an error of a template: {}", head(&errors));
                assert!(!value.is_array() && !value.is_null(), "{path} can be empty");
            }
        }
    }
    assert!(taken > 60 && missing > 40, "{taken} {missing}");
}

/// The notes say only what is true of the values.
#[test]
#[ignore = "needs helm: make e2e"]
fn notes_name_the_pod_security_standard_that_the_pods_meet() {
    let Some(helm) = tool("helm") else { return };
    for (values, standard) in [
        ("replicaCount=2", Some("restricted")),
        ("podSecurityContext.runAsUser=1000", Some("restricted")),
        ("securityContext.capabilities.add={NET_BIND_SERVICE}", Some("restricted")),
        ("extraVolumes[0].name=a,extraVolumes[0].configMap.name=b", Some("restricted")),
        ("hostNetwork=true", Some("privileged")),
        ("podSecurityContext.runAsUser=0", None),
        ("podSecurityContext.runAsNonRoot=false", None),
        ("podSecurityContext.seccompProfile.type=Unconfined", None),
        ("podSecurityContext.sysctls[0].name=a", None),
        ("securityContext.runAsNonRoot=false", None),
        ("securityContext.seccompProfile.type=Unconfined", None),
        ("securityContext.privileged=true,securityContext.allowPrivilegeEscalation=true", None),
        ("securityContext.allowPrivilegeEscalation=true", None),
        ("securityContext.capabilities.add={NET_ADMIN}", None),
        ("securityContext.capabilities.drop={KILL}", None),
        ("securityContext=null", None),
        ("extraVolumes[0].name=a,extraVolumes[0].hostPath.path=/a", None),
    ] {
        let install = ["install", "cpufit", CHART, "--dry-run=client", "--namespace=cpufit-system", "--set", values];
        let shown = output(&helm, &install);
        let notes = shown.split_once("NOTES:").expect("notes").1;
        let named = notes.split("pod-security.kubernetes.io/enforce=").nth(1).and_then(|rest| rest.lines().next());
        assert_eq!(named, standard, "--set {values}: labelled as the notes say, the namespace refuses the pods");
    }
    let output = output(&helm, &["install", "a", CHART, "--dry-run=client", "--set=fullnameOverride=webhook"]);
    assert!(output.contains("rollout status deployment/webhook "), "the notes name another Deployment");
}
