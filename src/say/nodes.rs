//! Findings about nodes, in words: those that were chosen, those without virt-handler or CPU labels, and those of
//! another architecture.

use crate::fit::check::{
    ChosenNodes, NoCpuLabels, NoVirtHandler, NotPlaced, OtherArchitectures, SourceLabels, UnknownHost,
};
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
/// resource has no toleration for its taint gpu=only:NoSchedule`, or `no virt-handler has run on n3, …`.
pub(super) fn no_virt_handler(found: &NoVirtHandler) -> String {
    let NoVirtHandler { nodes, why, by_hyperconverged } = found;
    let (it, its) = (number(nodes.len(), "it", "them"), number(nodes.len(), "its", "their"));
    let holder = if *by_hyperconverged { "HyperConverged" } else { "KubeVirt" };
    let why = match why {
        NotPlaced::NotKnown => {
            return format!(
                "no virt-handler has run on {}, so that nothing labels {it}: look why its DaemonSet starts none there",
                fold_names(nodes, 3)
            );
        }
        NotPlaced::Excluded => format!("excludes {it}"),
        NotPlaced::Taints(taints) => {
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

/// Returns `n1, where it runs, has no host-model-cpu label: …`. Below four without the next step, below two without
/// the consequence.
pub(super) fn source_labels(found: &SourceLabels, most: usize) -> String {
    match found {
        SourceLabels::NoHostModel { node, is_frozen } => {
            let so = if most > 1 { ", so labels do not show which nodes can run its CPU" } else { "" };
            let cure = match (most > 3, is_frozen) {
                (false, _) => String::new(),
                (true, false) => "; virt-handler there writes it: look at its log, or restart it".to_owned(),
                (true, true) => format!("; {node} is under skip-node: virt-handler writes it once that is taken off"),
            };
            format!(
                "{node}, where it runs, has no host-model-cpu label: its migration asks for no CPU model and for no feature{so}{cure}"
            )
        }
        SourceLabels::Vendors { node, fit } => {
            let vendors: Vec<&str> = fit.iter().map(|(vendor, _)| vendor.as_str()).collect();
            let with = fit.iter().map(|(vendor, count)| match count {
                0 => format!("with {vendor} no node fits"),
                1 => format!("with {vendor} 1 fits"),
                many => format!("with {vendor} {many} fit"),
            });
            let with = match most {
                0 | 1 => String::new(),
                _ => format!(": {}", with.collect::<Vec<_>>().join(", ")),
            };
            let cure = match most {
                4.. => "; the labeller takes none off, so the untrue one must be taken off by hand",
                _ => "",
            };
            format!(
                "{node}, where it runs, is labelled cpu-vendor {}, and its migration asks for any one of them{with}{cure}",
                and_names(&vendors, 3)
            )
        }
    }
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
