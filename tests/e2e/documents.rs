//! Every command in README and docs that needs a cluster, run as it stands.

use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::common::documents::{Whether, blocks, furnish, shell};
use crate::common::{Tally, documented_commands};
use crate::controlplane::ControlPlane;
use crate::installed::Installation;
use crate::world;

/// Takes away what a block before installed, or nothing.
fn uninstall(cluster: &ControlPlane) {
    for command in documented_commands("docs/install.md", "Uninstalling") {
        let command = command.split('#').next().expect("a command").to_owned();
        let args: Vec<&str> = command.split_whitespace().skip(1).chain(["--wait=false"]).collect();
        let args: Vec<String> = args
            .into_iter()
            .map(|arg| arg.replace("deploy/base", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base")))
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cluster.kubectl(&args);
    }
    let finalized =
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cpufit-system"}, "spec": {}});
    cluster.output(cluster.admin(), &["get", "namespace", "cpufit-system"]);
    if cluster.output(cluster.admin(), &["get", "namespace", "cpufit-system"]).contains("Terminating") {
        cluster.kubectl_with(&["replace", "--raw=/api/v1/namespaces/cpufit-system/finalize", "-f", "-"], &finalized);
    }
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn every_command_that_needs_a_cluster_runs() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let installation = Installation::new(&cluster);
    world::install_kubevirt(&cluster);
    world::create(&cluster, &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"));
    drop(installation);
    let mut tally = Tally::new("blocks of commands on a cluster");
    for block in blocks().into_iter().filter(|block| block.run == Whether::OnCluster) {
        if ["helm install", "kubectl apply --server-side -k"].iter().any(|verb| block.commands.contains(verb)) {
            uninstall(&cluster);
            std::thread::sleep(Duration::from_secs(1));
        }
        let folder = tempfile::tempdir().expect("a folder");
        furnish(folder.path());
        for tool in ["kubectl", "helm"] {
            symlink(cluster.assets().join(tool), folder.path().join("bin").join(tool)).expect("a link");
        }
        let ran = shell(folder.path(), &block.commands, cluster.admin());
        let problem = format!("exit {:?}: {}\n{}", ran.code, ran.stderr.trim_end(), block.commands);
        let place = format!("{}:{}", block.page, block.line);
        tally.case(&place, &if ran.code == Some(0) { Vec::new() } else { vec![problem] });
    }
    tally.finish("a reader who types what the documentation says gets an error");
}
