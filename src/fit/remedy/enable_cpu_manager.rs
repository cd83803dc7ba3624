//! Remedy: enable the CPU manager of a node that lacks nothing else: the guest requires dedicated CPUs.

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit};
use crate::fit::command::{Command, CommandWord, Name};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::EnableCpuManager,
    word: "enable-cpu-manager",
    outage: Outage::None,
    risk: "the kubelet of the node is restarted with another policy",
    changes: Changes::Nodes,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The activation of the CPU manager on one of these nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnableCpuManager {
    /// The label's key.
    pub key: String,
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// Whether KubeVirt's feature gate `CPUManager` has to be added first.
    pub gate_is_off: bool,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let fleet = judgement.fleet;
    let selector = judgement.subject.placement.selector.iter();
    let is_manager = |key: &str| [label::CPU_MANAGER, label::CPU_MANAGER_OLD].contains(&key);
    let (key, _) = selector.into_iter().find(|(key, value)| is_manager(key) && value == "true")?;
    let gate_is_off = judgement.subject.configured.cpu_manager_is_off;
    // If no node has the label, KubeVirt may not detect the CPU manager at all.
    if !gate_is_off && fleet.bearing(key, "true").is_empty() {
        return None;
    }
    let action = |nodes: Vec<String>| EnableCpuManager { key: key.to_string(), nodes, gate_is_off };
    let takes_then = |node: &usize| {
        let refusal = judgement.lookup.refusal(*node);
        let lacks_alone = matches!(refusal.missing.as_slice(), [(lacked, _)] if lacked == key);
        // An older virt-handler writes the old key alone: the CPU manager is on
        // (`pkg/virt-handler/heartbeat/heartbeat.go`).
        let is_on =
            [label::CPU_MANAGER, label::CPU_MANAGER_OLD].iter().any(|key| fleet.label(*node, key) == Some("true"));
        lacks_alone
            && !is_on
            && refusal.affinity.is_empty()
            && refusal.taints.is_empty()
            && !refusal.cordoned
            && !refusal.other_node
    };
    let mut nodes: Vec<String> =
        judgement.neighbours.iter().filter(takes_then).map(|node| fleet.name(node).to_owned()).collect();
    nodes.sort_unstable();
    let nodes = judgement.where_it_helps(nodes, |node| action(vec![node]).into());
    if nodes.is_empty() { None } else { judgement.if_more_fit(action(nodes)) }
}

impl Act for EnableCpuManager {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let remark = |node: &String| {
            let words: [CommandWord; 3] = [
                CommandWord::from("set cpuManagerPolicy: static in the configuration of the kubelet on"),
                Name::new(node)?.into(),
                CommandWord::from("and restart it without its cpu_manager_state"),
            ];
            Ok(Command::remark(words))
        };
        let gate = if subject.configured.by_hyperconverged {
            "add CPUManager to spec.configuration.developerConfiguration.featureGates of KubeVirt by the annotation \
             kubevirt.kubevirt.io/jsonpatch of HyperConverged, which undoes other edits"
        } else {
            "add CPUManager to spec.configuration.developerConfiguration.featureGates of the KubeVirt resource"
        };
        let gate = self.gate_is_off.then(|| Ok(Command::remark([gate.into()])));
        gate.into_iter().chain(self.nodes.iter().take(1).map(remark)).collect()
    }

    fn alternatives(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.nodes)
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        edit(fleet, self.nodes.first(), |node| {
            node.labels.insert(self.key.clone(), "true".to_owned());
        })
    }
}
