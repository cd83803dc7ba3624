//! Features of CPU models that one generation of hardware has and another has not; nodes with contradictory labels.

use super::super::bits::Bits;
use super::super::fleet::{Fleet, NodeIndex};
use super::super::label::{self, Family};
use super::{NESTED_AMD, features, is_disputed, is_feature, needed};

/// The bits that a microcode update adds to a CPU, so that equal CPUs differ in them.
pub(crate) const MICROCODE: &[&str] = &[
    "amd-ssbd",
    "amd-stibp",
    "bhi-ctrl",
    "flush-l1d",
    "ibpb",
    "ibrs",
    "ipred-ctrl",
    "md-clear",
    "rrsba-ctrl",
    "sbpb",
    "spec-ctrl",
    "ssbd",
    "stibp",
    "virt-ssbd",
];

/// Features of CPU models that a kernel, its parameters, the BIOS or QEMU switch on and off as well.
const SWITCHED: &[&str] = &[
    "arch-capabilities",
    "hle",
    "hypervisor",
    "ibrs-all",
    "invtsc",
    "la57",
    "lahf_lm",
    "mpx",
    "nx",
    "pcid",
    "pdpe1gb",
    "pku",
    "rtm",
    "skip-l1dfl-vmentry",
    "smap",
    "smep",
    "ss",
    "tsc-deadline",
    "tsc_adjust",
    "umip",
    "x2apic",
    "xsaves",
];

/// Whether only other silicon has this feature: it is an instruction set of a CPU model, and no setting hides it.
pub(crate) fn is_silicon(name: &str) -> bool {
    let is_set = [MICROCODE, NESTED_AMD, SWITCHED].iter().any(|list| list.contains(&name));
    is_feature(name) && !is_set && name != label::VMX && !name.starts_with("vmx-") && !name.ends_with("-no")
}

/// Returns those of these nodes whose label of a model their other labels contradict: nobody updates the labels
/// (`skip-node`), and neither the host model nor the feature labels have an instruction set that the model needs. Where
/// the labeller runs, the models are libvirt's word, and an older host model is no contradiction.
pub(crate) fn contradicting(fleet: &Fleet, model: &str, nodes: &Bits) -> Bits {
    let mut out = Bits::none(fleet.len());
    let frozen = nodes.iter().filter(|node| fleet.skip_node(*node).is_some());
    for node in frozen.filter(|node| contradicts(fleet, *node, model)) {
        out.insert(node);
    }
    out
}

fn contradicts(fleet: &Fleet, node: NodeIndex, model: &str) -> bool {
    let listed = fleet.names_under(node, Family::CpuFeature);
    let hosts = fleet.names_under(node, Family::HostModelCpu);
    let known: Option<Vec<_>> = hosts.into_iter().map(features).collect();
    let Some(known) = known.filter(|known| !known.is_empty() && !listed.is_empty()) else { return false };
    let is_there = |name: &str| listed.contains(&name) || known.iter().any(|host| host.contains(name));
    needed(model).any(|name| is_silicon(name) && !is_disputed(model, name) && !is_there(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;
    use crate::fit::models::recommend;
    use crate::fit::node::Node;

    const OLD: &str = "Skylake-Server-noTSX-IBRS";
    const NEW: &str = "Icelake-Server-noTSX";

    fn node(name: &str, host: &str, is_frozen: bool, features: &[&str]) -> Node {
        let mut keys: Vec<String> = [OLD, NEW].iter().map(|model| format!("{}{model}", label::CPU_MODEL)).collect();
        keys.push(format!("{}{host}", label::HOST_MODEL_CPU));
        keys.push(format!("{}Intel", label::CPU_VENDOR));
        keys.push(label::SCHEDULABLE.to_owned());
        keys.extend(features.iter().map(|name| format!("{}{name}", label::CPU_FEATURE)));
        Node {
            name: name.to_owned(),
            labels: keys.into_iter().map(|key| (key, "true".to_owned())).collect(),
            skip_node: is_frozen.then(|| "true".to_owned()),
            ..Node::default()
        }
    }

    /// A model is recommended that libvirt refuses on a node labelled by hand.
    #[rstest]
    #[case::of_an_older_host(OLD, true, &["aes", "avx512f"], OLD)]
    #[case::of_its_own_host(NEW, true, &["aes", "avx512f"], NEW)]
    #[case::written_by_the_labeller(OLD, false, &["aes", "avx512f"], NEW)]
    #[case::features_left_out(OLD, true, &[], NEW)]
    #[case::host_model_not_known("Future", true, &["aes", "avx512f"], NEW)]
    fn a_frozen_label_that_others_contradict_does_not_count(
        #[case] host: &str,
        #[case] is_frozen: bool,
        #[case] listed: &[&str],
        #[case] expected: &str,
    ) {
        let fleet = Fleet::new(vec![node("n1", host, is_frozen, listed), node("n2", NEW, false, &["aes", "vaes"])]);
        let found = recommend(&fleet, &Bits::all(fleet.len()), &BTreeSet::new());
        let best = found.candidates.ok().and_then(|candidates| candidates.into_iter().next());
        assert_eq!(best.map(|best| best.model).as_deref(), Some(expected));
    }

    /// A host whose labels list all that the model needs is taken at its word, whatever its host model is called.
    #[test]
    fn labels_that_list_the_features_contradict_nothing() {
        let all: Vec<&str> = needed(NEW).collect();
        let fleet = Fleet::new(vec![node("n1", OLD, true, &all)]);
        assert!(contradicting(&fleet, NEW, &Bits::all(1)).is_empty());
        for missing in needed(NEW).filter(|name| is_silicon(name) && !is_disputed(NEW, name)) {
            let listed: Vec<&str> = all.iter().copied().filter(|name| *name != missing).collect();
            let fleet = Fleet::new(vec![node("n1", OLD, true, &listed)]);
            let is_of_host = features(OLD).is_some_and(|host| host.contains(missing));
            assert_eq!(contradicting(&fleet, NEW, &Bits::all(1)).is_empty(), is_of_host, "{missing}");
        }
    }
}
