//! Lines about nodes with taints that the guest does not tolerate: who set them, and what takes them off.
//!
//! Mirrors `TaintNodeNotReady` and its neighbours of `k8s.io/api/core/v1/well_known_taints.go`, which the node
//! lifecycle controller sets and takes off by the conditions of the node, and `nodeDrainTaintKey` of KubeVirt
//! (`pkg/virt-config/virt-config.go`), which a person sets.

use std::collections::BTreeMap;

use crate::fit::command::{Command, LabelKey, Name};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::label;
use crate::fit::node::{Effect, Taint};
use crate::fit::placement::NearMiss;
use crate::fit::plural::{and_names, fold_names, number};
use crate::judge::Evaluation;
use crate::say;

/// Returns the lines, one for each key and value, with the nodes by name.
pub(super) fn lines(case: &Evaluation<'_>, fleet: &Fleet) -> Vec<String> {
    let placement = &case.prepared.subject.placement;
    let lookup = fleet.look_up(placement);
    let mut by_taint: BTreeMap<(String, String), BTreeMap<Effect, Vec<&str>>> = BTreeMap::new();
    for node in fleet.in_name_order() {
        for Taint { key, value, effect } in lookup.untolerated(node) {
            by_taint.entry((key, value)).or_default().entry(effect).or_default().push(fleet.name(node));
        }
    }
    let judgement = Judgement::new(&case.prepared.subject, fleet, Depth::Brief);
    let line = |((key, value), effects): ((String, String), BTreeMap<Effect, Vec<&str>>)| {
        // A taint with both effects is one cause.
        let mut names: Vec<&str> = effects.values().flatten().copied().collect();
        names.sort_unstable();
        names.dedup();
        let taint = Taint { key, value, effect: effects.keys().next().copied().unwrap_or(Effect::NoSchedule) };
        let near = case.prepared.subject.own_tolerations().near(&taint);
        let fit = if taint.is_of_down_node() { judgement.fits_once_ready() } else { Vec::new() };
        of_taint(&taint, &names, &fit, near.as_ref())
    };
    by_taint.into_iter().map(line).collect()
}

fn of_taint(taint: &Taint, names: &[&str], fit: &[&str], near: Option<&NearMiss>) -> String {
    let many = names.len();
    let is = number(many, "is", "are");
    let nodes = fold_names(names, 6);
    match taint.key.as_str() {
        _ if taint.is_of_down_node() => {
            let fit: Vec<&str> = names.iter().filter(|name| fit.contains(name)).copied().collect();
            let then = match fit.as_slice() {
                [] => String::new(),
                fit if fit.len() == many => ", and the guest fits there".to_owned(),
                fit => format!(", and the guest fits on {}", and_names(fit, 3)),
            };
            let again = number(many, "it is", "they are");
            let key = &taint.key;
            format!("{nodes} {is} not Ready (tainted {key}): once {again}, Kubernetes takes the taint off{then}.")
        }
        "node.kubernetes.io/disk-pressure"
        | "node.kubernetes.io/memory-pressure"
        | "node.kubernetes.io/pid-pressure" => {
            format!("{nodes} {is} tainted {taint}: Kubernetes takes it off once the kubelet reports no pressure.")
        }
        label::TAINT_DRAIN => {
            let command = |name: &&str| {
                let command = Command::kubectl(["taint", "node"]).arg(Name::new(name).ok()?);
                Some(command.arg(LabelKey::new(label::TAINT_DRAIN).ok()?.removed()).to_string())
            };
            let first = names.first().and_then(command).map(|command| format!(": {command} takes it off"));
            format!("{nodes} {is} tainted {taint} for a drain{}.", first.unwrap_or_default())
        }
        _ => {
            let (noun, verb) = (number(many, "node is", "nodes are"), number(many, "takes", "take"));
            let near = near.map(|near| format!(" ({})", say::near_miss(near))).unwrap_or_default();
            format!("{many} {noun} tainted {taint} and {verb} no guests without a toleration{near}: {nodes}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fit::placement::{Toleration, Tolerations};

    #[rstest]
    #[case::down_and_fits("node.kubernetes.io/unreachable", &["n2"], None, "n2 is not Ready (tainted node.kubernetes.io/unreachable): once it is, Kubernetes takes the taint off, and the guest fits there.")]
    #[case::down("node.kubernetes.io/not-ready", &[], None, "n2 is not Ready (tainted node.kubernetes.io/not-ready): once it is, Kubernetes takes the taint off.")]
    #[case::pressure("node.kubernetes.io/disk-pressure", &[], None, "n2 is tainted node.kubernetes.io/disk-pressure=v:NoSchedule: Kubernetes takes it off once the kubelet reports no pressure.")]
    #[case::drain(label::TAINT_DRAIN, &[], None, "n2 is tainted kubevirt.io/drain=v:NoSchedule for a drain: kubectl taint node n2 kubevirt.io/drain- takes it off.")]
    #[case::a_persons("dedicated", &[], None, "1 node is tainted dedicated=v:NoSchedule and takes no guests without a toleration: n2.")]
    #[case::another_value("dedicated", &[], Some("vms"), "1 node is tainted dedicated=v:NoSchedule and takes no guests without a toleration (its toleration dedicated=vms:NoSchedule differs in value): n2.")]
    fn a_taint_is_named_with_the_component_that_removes_it(
        #[case] key: &str,
        #[case] fit: &[&str],
        #[case] near: Option<&str>,
        #[case] expected: &str,
    ) {
        let taint = Taint { key: key.to_owned(), value: "v".to_owned(), effect: Effect::NoSchedule };
        let own = |value: &str| Toleration {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: Some(Effect::NoSchedule),
            ..Toleration::default()
        };
        let near = near.and_then(|value| Tolerations::from_iter([own(value)]).near(&taint));
        assert_eq!(
            of_taint(&taint, &["n2"], fit, near.as_ref()),
            expected,
            "people add a node instead of waiting for one"
        );
    }
}
