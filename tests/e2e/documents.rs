//! Every command in README and docs that needs a cluster is run unchanged.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::documents::{Whether, blocks, furnish, shell};
use crate::common::{Tally, documented_commands};
use crate::controlplane::ControlPlane;
use crate::installed::Installation;
use crate::world;

/// Removes the installation of an earlier block, if any.
fn uninstall(cluster: &ControlPlane, folder: &Path) {
    shell(folder, "helm uninstall cpufit --namespace cpufit-system --ignore-not-found", cluster.admin());
    for command in documented_commands("docs/install.md", "Uninstalling") {
        let command = command.split('#').next().expect("a command").trim().to_owned();
        if command.starts_with("kubectl") {
            shell(folder, &format!("{command} --wait=false"), cluster.admin());
        }
    }
    shell(folder, "kubectl wait --for=delete --timeout=30s crd/cpupolicies.cpufit.io", cluster.admin());
    // No controller finishes the deletion of a namespace here.
    let namespace = ["get", "namespace", "cpufit-system"];
    if cluster.output(cluster.admin(), &namespace).contains("Terminating") {
        let finalized =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cpufit-system"}, "spec": {}});
        cluster.kubectl_with(&["replace", "--raw=/api/v1/namespaces/cpufit-system/finalize", "-f", "-"], &finalized);
    }
}

/// Returns the kind of CDI that the documentation's dump names.
fn data_sources() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "datasources.cdi.kubevirt.io"},
        "spec": {
            "group": "cdi.kubevirt.io", "scope": "Namespaced",
            "names": {"kind": "DataSource", "plural": "datasources", "singular": "datasource"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn every_command_that_needs_a_cluster_runs() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let installation = Installation::new(&cluster);
    world::install_kubevirt(&cluster);
    world::create(&cluster, &Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"));
    drop(installation);
    cluster.kubectl_with(&["create", "-f", "-"], &data_sources());
    let mut tally = Tally::new("blocks of commands on a cluster");
    for block in blocks().into_iter().filter(|block| block.run == Whether::OnCluster) {
        if block.commands.contains("helm ") && !cluster.assets().join("helm").is_file() {
            println!("LEFT OUT: {}:{} needs helm", block.page, block.line);
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path());
        for tool in ["kubectl", "helm"] {
            symlink(cluster.assets().join(tool), folder.path().join("bin").join(tool)).expect("a link");
        }
        if ["helm install", "cpufit manifests"].iter().any(|verb| block.commands.contains(verb)) {
            uninstall(&cluster, folder.path());
        }
        if block.commands.contains("--take-ownership") {
            shell(folder.path(), "kubectl apply --server-side -k deploy/base", cluster.admin());
        }
        let ran = shell(folder.path(), &block.commands, cluster.admin());
        let problem = format!("exit {:?}: {}\n{}", ran.code, ran.stderr.trim_end(), block.commands);
        let place = format!("{}:{}", block.page, block.line);
        tally.case(&place, &if ran.code == Some(0) { Vec::new() } else { vec![problem] });
    }
    tally.finish("a reader who types what the documentation says gets an error");
}
