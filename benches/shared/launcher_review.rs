//! Reviews of launcher pods for the cluster of the benchmarks, by their requirements.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::nodes::{LAST, MACHINE, generations};

/// A feature that no node has, as a host with newer microcode leaves it in a selector.
const MISSING: &str = "tsa-sq-no";
/// The node the guest runs on, of the generation that most demands match.
pub const SOURCE: &str = "node-00004";

/// The requirements of a launcher pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// About a quarter of the nodes can host the pod.
    Feasible,
    /// A feature of the pod is on no node.
    Infeasible,
    /// Each of its features is on some node, but no node has all of them.
    Conflict,
    /// Only the last node can host the pod.
    Last,
}

impl Demand {
    pub const ALL: [Self; 4] = [Self::Feasible, Self::Infeasible, Self::Conflict, Self::Last];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feasible => "feasible",
            Self::Infeasible => "infeasible",
            Self::Conflict => "conflict",
            Self::Last => "last",
        }
    }

    /// Returns ninety entries, with features spread evenly over those of the generation.
    fn selector(self, cluster: usize) -> BTreeMap<String, String> {
        let generations = generations();
        let (generation, extra) = match self {
            Self::Feasible => (4, None),
            Self::Infeasible => (4, Some(MISSING)),
            // Without an AMD node, a feature that no node has is the only possible conflict.
            Self::Conflict => (5, Some(if cluster >= 8 { "npt" } else { MISSING })),
            Self::Last => (5, Some(LAST)),
        };
        let generation = &generations[generation];
        let fixed = [
            "kubevirt.io/schedulable".to_owned(),
            format!("cpu-model-migration.node.kubevirt.io/{}", generation.model),
            format!("machine-type.node.kubevirt.io/{MACHINE}"),
        ];
        let mut out: BTreeMap<String, String> = fixed.into_iter().map(|key| (key, "true".to_owned())).collect();
        out.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
        let room = 90 - out.len() - usize::from(extra.is_some());
        let all = &generation.features;
        for feature in (0..room).map(|at| all[at * all.len() / room]).chain(extra) {
            out.insert(format!("cpu-feature.node.kubevirt.io/{feature}"), "true".to_owned());
        }
        assert_eq!(out.len(), 90);
        out
    }
}

/// Returns the review of a migration's target pod in a cluster of this many nodes: a recorded one, enlarged to the 28
/// KB of a guest with ten disks, three networks and the annotations of backup tools and controllers.
pub fn launcher_review(demand: Demand, cluster: usize) -> Value {
    let recorded = include_str!("../../tests/data/reviews/pod-target-second.json");
    let mut review: Value = serde_json::from_str(recorded).expect("a recorded review is JSON");
    let pod = &mut review["request"]["object"];
    let selector = demand.selector(cluster);
    pod["metadata"]["labels"]["kubevirt.io/nodeName"] = json!(SOURCE);
    let fields: Map<String, Value> = selector.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
    pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:nodeSelector"] = fields.into();
    let disk =
        |at: usize| json!({"name": format!("disk-{at}"), "serial": format!("{:032x}", at * 7919), "bus": "virtio"});
    let notes = json!({"disks": (0..60).map(disk).collect::<Vec<_>>(), "cache": "none"}).to_string();
    pod["metadata"]["annotations"]["example.com/last-applied"] = notes.into();
    for at in 0..10 {
        let (name, claim) = (format!("disk-{at}"), format!("vm-0001-disk-{at}-abcde"));
        let path = format!("/var/run/kubevirt-private/vmi-disks/{name}");
        push(&mut pod["spec"]["volumes"], json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
        push(&mut pod["spec"]["containers"][0]["volumeMounts"], json!({"name": name, "mountPath": path}));
    }
    pod["spec"]["nodeSelector"] = json!(selector);
    let terms = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    push(
        &mut terms["nodeSelectorTerms"][0]["matchExpressions"],
        json!({"key": "network.harvesterhci.io/mgmt", "operator": "In", "values": ["true"]}),
    );
    review
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}
