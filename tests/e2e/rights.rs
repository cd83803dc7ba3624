//! Owners of one namespace, with the rights that Kubernetes and cpufit provide for them, at a real API server.

use serde_json::json;

use crate::common::{cpufit, head};
use crate::controlplane::ControlPlane;
use crate::webhook::Scene;

/// The rights of KubeVirt's own role `kubevirt.io:edit` for the owner of a namespace, and to read its pods.
const OWNER: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: owner, namespace: shop}
rules:
- apiGroups: [kubevirt.io]
  resources: [virtualmachines, virtualmachineinstances, virtualmachineinstancemigrations, virtualmachineinstancereplicasets]
  verbs: [get, list, create]
- apiGroups: ['']
  resources: [pods, namespaces]
  verbs: [get, list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: owner, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: owner}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: olga}]
";

/// A volume that is bound to a node, its claim, and a VM that uses it.
const VOLUME: &str = "\
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-report}
spec:
  accessModes: [ReadWriteMany]
  capacity: {storage: 1Gi}
  local: {path: /data}
  storageClassName: local
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-a]}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: report, namespace: shop}
spec:
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 1Gi}}
  storageClassName: local
  volumeName: pv-report
";
const OWNS_VOLUME: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: report, namespace: shop}
spec:
  runStrategy: Halted
  template:
    spec:
      domain: {devices: {}}
      volumes:
      - name: root
        persistentVolumeClaim: {claimName: report}
";

#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_owner_of_a_namespace_is_answered() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let _webhook = scene.serve();
    let owner = cluster.workplace().write("owner.yaml", OWNER);
    cluster.kubectl(&["create", "-f", owner.to_str().expect("a path in UTF-8")]);
    let kubeconfig = cluster.kubeconfig("olga", &[]);
    let run =
        |line: &str| cpufit(line.split(' ')).env("KUBECONFIG", kubeconfig.to_str().expect("a path in UTF-8")).run();

    let refused = run("explain vm/db -n shop");
    assert_eq!(refused.code(), 2, "{}", head(&refused.stdout));
    assert!(refused.stderr.contains("cpufit-reader"), "{}", refused.stderr);
    let (_, manifest) = refused.stderr.split_once("<<'EOF'\n").expect("a dry run, written out");
    let (manifest, _) = manifest.split_once("\nEOF").expect("its end");
    let file = cluster.workplace().write("dry-run.yaml", manifest);
    let file = file.to_str().expect("a path in UTF-8");
    let output = cluster.output(&kubeconfig, &["create", "--dry-run=server", "--validate=false", "-f", file]);
    assert!(output.contains("cpufit: shop/db cannot migrate now"), "the webhook's own answer is not printed: {output}");
    let stored = cluster.get(&["vmim", "--namespace=shop"]);
    assert_eq!(stored["items"], json!([]), "a dry run must store nothing");

    cluster.kubectl(&["create", "clusterrolebinding", "olga", "--clusterrole=cpufit-reader", "--user=olga"]);
    let explained = run("explain vm/db -n shop");
    assert_eq!(explained.code(), 0, "{}", explained.stderr);
    assert!(explained.stdout.contains("shop/db on node-a"), "{}", head(&explained.stdout));
    for resource in ["nodes", "namespaces", "kubevirts", "cpupolicies", "cluster"] {
        let note = format!("cannot read {resource}");
        assert!(!explained.stderr.contains(&note), "{}", explained.stderr);
    }
    let volume = cluster.workplace().write("volume.yaml", VOLUME);
    cluster.kubectl(&["create", "-f", volume.to_str().expect("a path in UTF-8")]);
    let owns_volume = cluster.workplace().write("owns-volume.yaml", OWNS_VOLUME);
    let bound = format!("explain -n shop -f {}", owns_volume.to_str().expect("a path in UTF-8"));
    let explained = run(&bound);
    assert!(explained.stderr.contains("cannot read persistentvolumeclaims"), "{}", explained.stderr);
    assert!(!explained.stdout.contains("PersistentVolume"), "{}", explained.stdout);
    let audited = run("audit -n shop -o name");
    assert_eq!((audited.code(), audited.stdout.lines().count()), (0, 3), "{}{}", audited.stdout, audited.stderr);
    let elsewhere = run("audit -n lab");
    assert_eq!(elsewhere.code(), 2, "{}", elsewhere.stdout);
    assert!(elsewhere.stderr.contains("cannot list resource"), "{}", elsewhere.stderr);
    let all = run("audit");
    assert_eq!(all.code(), 2, "{}", all.stdout);
    assert!(all.stderr.contains("cpufit-auditor"), "{}", all.stderr);

    cluster.kubectl(&["create", "clusterrolebinding", "olga-all", "--clusterrole=cpufit-auditor", "--user=olga"]);
    let all = run("audit -o name");
    assert_eq!((all.code(), all.stderr.as_str()), (0, ""), "{}", all.stdout);
    let explained = run(&bound);
    assert_eq!((explained.code(), explained.stderr.as_str()), (0, ""), "{}", explained.stdout);
    let words = "it can use root (PersistentVolume pv-report) on node-a alone";
    assert!(explained.stdout.contains(words), "a live cluster's volumes are not read: {}", explained.stdout);
    // With impersonation, the rights of the impersonated user apply.
    let admin = cluster.admin().to_str().expect("a path in UTF-8");
    let as_nina = cpufit(["audit", "--as", "nina", "--as-group", "nobody"]).env("KUBECONFIG", admin).run();
    assert!(as_nina.stderr.contains("User \"nina\" cannot list"), "{}", as_nina.stderr);
    let as_olga = cpufit(["--as=olga", "audit", "-o", "name"]).env("KUBECONFIG", admin).run();
    assert_eq!((as_olga.code(), as_olga.stdout), (0, all.stdout), "{}", as_olga.stderr);

    // Names printed by kubectl are accepted, and the other way round.
    let names = cluster.kubectl(&["get", "vm,vmi", "--namespace=shop", "-o", "name"]);
    let explained = cpufit(["explain", "-n", "shop", "-o", "name"]).args(names.split_whitespace());
    let explained = explained.env("KUBECONFIG", admin).run();
    assert_eq!((explained.code(), explained.stdout.trim()), (0, names.trim()), "{}", explained.stderr);
    let back: Vec<&str> = explained.stdout.split_whitespace().collect();
    let again = cluster.kubectl(&[&["get", "--namespace=shop", "-o", "name"][..], &back].concat());
    assert_eq!(again.trim(), names.trim(), "kubectl finds other objects by the printed names");
}
