//! A cluster of a distribution that renames `kubevirt.io` in labels, annotations and API groups.

use std::path::Path;

use crate::common::{cpufit, read};
use crate::controlplane::ControlPlane;
use crate::installed::Installation;
use crate::session::Session;
use crate::world::{self, data};

const DOMAIN: &str = "internal.virtualization.example.io";

fn renamed(path: &Path) -> String {
    String::from_utf8(read(path)).expect("UTF-8").replace("kubevirt.io", DOMAIN)
}

/// The watches, the rules of the webhooks, the rights, and every verb use the other domain; all answers contain it.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_renamed_cluster_is_watched_and_answered_in_its_own_names() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |name: &str, path: &Path| {
        cluster.workplace().write(name, renamed(path));
        cluster.workplace().path().join(name)
    };
    let crds = file("crds.yaml", &data("kubevirt-crds.yaml"));
    let crds = crds.to_str().expect("UTF-8");
    cluster.kubectl(&["create", "-f", crds]);
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", crds]);
    let dump = file("cluster.yaml", &root.join("demo/cluster.yaml"));
    world::create(&cluster, &dump);
    file("migrate-db.yaml", &data("migrate-db.yaml"));
    cluster.kubectl(&["create", "-f", data("people.yaml").to_str().expect("UTF-8")]);

    let installation = Installation::with(&cluster, &["--kubevirt-domain", DOMAIN]);
    let replica = installation.serve("cpufit-0", &["--kubevirt-domain", DOMAIN]);
    replica.until_known(5, 1);
    let admin = Session { cluster: &cluster, kubeconfig: cluster.admin().to_owned() };
    let output = admin.output_until("create -f migrate-db.yaml --dry-run=server", "Warning: cpufit");
    assert!(!output.contains("kubevirt.io") && output.contains("shop/db"), "{output}");

    let kubeconfig = cluster.admin().to_str().expect("UTF-8").to_owned();
    let verb = |args: &[&str]| {
        let ran = cpufit(args).args(["--kubevirt-domain", DOMAIN]).env("KUBECONFIG", &kubeconfig).run();
        assert!(matches!(ran.code(), 0 | 1), "{args:?}: {}", ran.stderr);
        assert!(!ran.stdout.contains("kubevirt.io") && !ran.stderr.contains("kubevirt.io"), "{args:?}: {}", ran.stdout);
        ran.stdout
    };
    let dump = dump.to_str().expect("UTF-8").to_owned();
    for args in
        [&["audit", "-o", "json"][..], &["explain", "vmi/db", "-n", "shop"], &["drain", "--all"], &["recommend"]]
    {
        let live = verb(args);
        let of_dump = verb(&[args, &["--snapshot", &dump]].concat());
        assert_eq!(live, of_dump, "{args:?}: the live cluster is not what was created");
    }
    // An edit of a node is a strategic patch of labels with the cluster's names; the answer counts the guests that it
    // strands.
    let edited = admin.output(&format!("annotate node node-a node-labeller.{DOMAIN}/skip-node=true --dry-run=server"));
    assert!(!edited.contains("kubevirt.io"), "{edited}");
}
