//! Findings about nodes, in words: those that were chosen, those without virt-handler or CPU labels, and those of
//! another architecture.

use crate::fit::check::{ChosenNodes, NoCpuLabels, NoVirtHandler, OtherArchitectures, UnknownHost};
use crate::fit::label;
use crate::fit::plural::{and_names, fold_entries, fold_names, nodes, number};

/// Returns `no node has the label kubernetes.io/hostname=w9; without that, 2 of 3 nodes can take it`.
pub(super) fn unknown_host(found: &UnknownHost) -> String {
    let UnknownHost { host, judged, without } = found;
    let without = without.map(|without| format!("; without that, {without} of {} can take it", nodes(*judged)));
    format!("no node has the label {}={host}{}", label::HOSTNAME, without.unwrap_or_default())
}

/// Returns `asked for kubernetes.io/hostname=oracle-01: 0 of 12 nodes can take it; without that, 8 can`.
pub(super) fn chosen(found: &ChosenNodes, most: usize) -> String {
    let ChosenNodes { entries, fitting, judged, without, nowhere } = found;
    let nowhere = match nowhere.as_slice() {
        [] => String::new(),
        nowhere => format!("; no node has {}", fold_entries(nowhere, most)),
    };
    format!(
        "asked for {}: {fitting} of {} can take it; without that, {without} can{nowhere}",
        fold_entries(entries, most),
        nodes(*judged)
    )
}

/// Returns `no virt-handler runs on n3, so that nothing labels it: spec.workloads.nodePlacement of the KubeVirt
/// resource has no toleration for its taint gpu=only:NoSchedule`.
pub(super) fn no_virt_handler(found: &NoVirtHandler) -> String {
    let NoVirtHandler { nodes, taints, by_hyperconverged } = found;
    let (it, its) = (number(nodes.len(), "it", "them"), number(nodes.len(), "its", "their"));
    let holder = if *by_hyperconverged { "HyperConverged" } else { "KubeVirt" };
    let why = match taints.as_slice() {
        [] => format!("excludes {it}"),
        taints => {
            let noun = number(taints.len(), "taint", "taints");
            let taints: Vec<String> = taints.iter().map(ToString::to_string).collect();
            format!("has no toleration for {its} {noun} {}", and_names(&taints, 3))
        }
    };
    format!(
        "no virt-handler runs on {}, so that nothing labels {it}: spec.workloads.nodePlacement of the {holder} resource {why}",
        fold_names(nodes, 3),
    )
}

/// Returns `n1 and n2 have no CPU labels: look at virt-handler there, or restart it`.
pub(super) fn no_cpu_labels(found: &NoCpuLabels) -> String {
    let none =
        |names: &[String]| format!("{} {} no CPU labels", and_names(names, 3), number(names.len(), "has", "have"));
    let unwritten = (!found.nodes.is_empty()).then(|| {
        format!("{}: look at the log of virt-handler there, which writes them, or restart it", none(&found.nodes))
    });
    let skipped = (!found.skipped.is_empty()).then(|| {
        let is = number(found.skipped.len(), "it is", "they are");
        format!("{}: {is} under skip-node, so virt-handler writes none", none(&found.skipped))
    });
    unwritten.into_iter().chain(skipped).collect::<Vec<_>>().join("; ")
}

/// Returns `no node is of its architecture amd64: 2 are arm64, 2 are s390x; amd64 is asked for by the cluster's default
/// (…)`. `most`: the author is named if there is room for three names.
pub(super) fn other_architectures(found: &OtherArchitectures, most: usize) -> String {
    let OtherArchitectures { wanted, none_wanted, only, counts, by } = found;
    let counts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{count} {} {name}", number(*count, "is", "are"))).collect();
    let counts = counts.join(", ");
    let by = by.as_ref().filter(|_| most > 2).map(super::author::who);
    let by = by.map(|who| format!("; {wanted} is asked for by {who}")).unwrap_or_default();
    match (none_wanted, only) {
        (true, _) => format!("no node is of its architecture {wanted}: {counts}{by}"),
        (false, Some(only)) => {
            format!("the only node of its architecture {wanted} is {only}: {counts}, not counted{by}")
        }
        (false, None) => format!("nodes of another architecture than {wanted} are not counted: {counts}{by}"),
    }
}
