//! `cpufit snapshot`: every verb says of it what it says of the dump that it was taken from, and nobody's secrets are in it.

use std::path::{Path, PathBuf};

use crate::common::{Scratch, cpufit, head, shipped};

/// The demo's cluster and the recorded ones, with manifests to check beside those that have them.
fn dumps() -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut out = vec![(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"), None)];
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(shipped("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases {
        let snapshot = case.join("snapshot.yaml");
        let input = case.join("input.yaml");
        if snapshot.is_file() {
            out.push((snapshot, Some(input).filter(|input| input.is_file())));
        }
    }
    assert!(out.len() > 5, "the recorded clusters are not there: {out:?}");
    out
}

#[test]
fn every_verb_says_the_same_of_a_snapshot() {
    let mut compared = 0;
    for (dump, input) in dumps() {
        let scratch = Scratch::new();
        let taken = cpufit(["snapshot", "--snapshot"]).args([&dump]).run();
        assert_eq!(taken.code(), 0, "{}: {}", dump.display(), head(&taken.stderr));
        let small = scratch.write("small.yaml", &taken.stdout);
        let mut lines: Vec<Vec<&str>> = vec![
            vec!["audit", "-o", "json"],
            vec!["audit", "-o", "wide"],
            vec!["explain", "vm,vmi,vmim,pod,vmirs,vmpool", "-A", "-o", "json"],
            vec!["explain", "vm,vmi", "-A"],
            vec!["recommend", "-o", "json"],
        ];
        let input = input.map(|input| input.to_str().unwrap().to_owned());
        if let Some(input) = &input {
            lines.push(vec!["check", "--predict", "-o", "json", "-f", input]);
        }
        for line in lines {
            let [before, after] =
                [&dump, &small].map(|from| cpufit(&line).args(["--snapshot".as_ref(), from.as_os_str()]).run());
            assert_eq!(before.code(), after.code(), "{line:?} of {}: {}", dump.display(), head(&after.stderr));
            assert_eq!(before.stdout, after.stdout, "{line:?} of {} is answered otherwise", dump.display());
            compared += usize::from(before.stdout.len() > 100);
        }
        let again = cpufit(["snapshot", "--snapshot"]).args([&small]).run();
        assert_eq!(again.stdout, taken.stdout, "{}: a snapshot of a snapshot differs", dump.display());
        let json = cpufit(["snapshot", "-o", "json", "--snapshot"]).args([&dump]).run().json();
        assert_eq!(json["kind"], "List");
        let before = std::fs::metadata(&dump).unwrap().len();
        assert!(u64::try_from(taken.stdout.len()).unwrap() <= before + before / 10, "{} grows", dump.display());
    }
    assert!(compared > 20, "only {compared} answers were compared");
}

#[test]
fn a_snapshot_holds_no_secrets_and_is_narrowed_to_a_namespace() {
    const DUMP: &str = "\
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {kubevirt.io/schedulable: 'true'}, annotations: {hunter2: hunter2}}
status: {images: [{names: [hunter2]}], addresses: [{type: InternalIP, address: hunter2}]}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: db, namespace: shop, annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter2}}
spec: {domain: {devices: {}}, volumes: [{name: init, cloudInitNoCloud: {userData: hunter2}}]}
status: {phase: Running, nodeName: node-1, guestOSInfo: {name: hunter2}, interfaces: [{ipAddress: hunter2}]}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: mail, namespace: lab}
spec: {runStrategy: Halted, template: {spec: {domain: {devices: {}}, volumes: [{cloudInitConfigDrive: {networkData: hunter2}}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: virt-launcher-db-abcde, namespace: shop, labels: {kubevirt.io: virt-launcher, kubevirt.io/created-by: 1-2-3}, ownerReferences: [{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, name: db, uid: 1-2-3, controller: true}]}
spec: {containers: [{name: compute, env: [{name: TOKEN, value: hunter2}], args: [hunter2]}], nodeName: node-1}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: hunter2}
";
    let scratch = Scratch::new();
    let dump = scratch.write("dump.yaml", DUMP);
    let take = |more: &[&str]| cpufit(["snapshot", "--snapshot"]).args([&dump]).args(more).run();
    let all = take(&[]);
    assert_eq!((all.code(), all.stderr.as_str()), (0, ""));
    assert!(!all.stdout.contains("hunter2"), "{}", all.stdout);
    for word in ["node-1", "name: db", "name: mail", "virt-launcher-db-abcde"] {
        assert!(all.stdout.contains(word), "{word} is missing: {}", all.stdout);
    }
    let shop = take(&["-n", "shop"]);
    assert!(shop.stdout.contains("name: db") && !shop.stdout.contains("mail"), "{}", shop.stdout);
    assert_eq!(take(&["-A", "-n", "shop"]).stdout, all.stdout);
    let both = take(&["--context", "x"]);
    assert_eq!(both.code(), 2);
}
