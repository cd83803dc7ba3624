//! The evidence that a node's missing labels give, as a suffix.

use std::borrow::Cow;

use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::plural;
use crate::fit::verdict::{Evidence, Nearest};

/// Returns ` (drifted labels, probably)` for the missing labels of a node; empty without evidence.
pub(crate) fn suffix(near: &Nearest) -> Cow<'static, str> {
    match near.evidence {
        Evidence::SourceLacksToo => " (so does its own node: labels changed, not machines)".into(),
        Evidence::Drifted => " (drifted labels, probably)".into(),
        _ => short_suffix(near),
    }
}

/// Returns [`suffix`] where the node is named only because something else must change: without evidence for labels that
/// a remedy adds.
pub(crate) fn short_suffix(near: &Nearest) -> Cow<'static, str> {
    let text = match near.evidence {
        Evidence::OtherHardware => " (other hardware)",
        Evidence::FrozenSource => " (labels of its own node, which are frozen)",
        Evidence::OlderLabels => " (labels of an older KubeVirt)",
        Evidence::NestedOff => " (nested virtualization is off there, likely)",
        Evidence::Microcode => " (older microcode or BIOS, likely)",
        Evidence::HypervOfKernel => " (its kernel's KVM offers less)",
        Evidence::LibvirtAgrees => " (libvirt there has its features: the labels are wrong)",
        Evidence::LibvirtTakesCpu => " (libvirt there has all features of its CPU)",
        Evidence::LibvirtLacks => " (libvirt there confirms it)",
        Evidence::LibvirtLacksSome => return format!(" (libvirt there {})", confirms_only(&near.untrue)).into(),
        Evidence::LibvirtRefuses => " (libvirt there refuses)",
        Evidence::None if near.is_unwell() && !near.besides.not_ready => " (virt-handler is not ready there)",
        Evidence::SourceLacksToo | Evidence::Drifted | Evidence::None => "",
    };
    text.into()
}

/// Returns `virt-handler is not ready there` for a node without the value that a guest needs of the label of
/// virt-handler's state, if that label says so: a guest may ask for another value.
pub(crate) fn of_virt_handler(node: NodeIndex, missing: &[(String, String)], fleet: &Fleet) -> Option<&'static str> {
    let is_unwell = missing.iter().any(|(key, _)| Family::of(key) == Family::Schedulable);
    let is_ready = |value: &str| value == "true";
    (is_unwell && fleet.label(node, label::SCHEDULABLE).is_some_and(|value| !is_ready(value)))
        .then_some("virt-handler is not ready there")
}

/// Returns which of a node's missing labels libvirt there finds right: `confirms only cpu-feature hle, rtm`.
pub(crate) fn confirms_only(untrue: &[(String, String)]) -> String {
    format!("confirms only {}", plural::fold_entries(untrue, 4))
}

/// Returns what turns nested virtualization on, by the missing feature.
pub(crate) fn nested_off(missing: &[(String, String)]) -> &'static str {
    if missing.iter().any(|(key, _)| label::name(key) == label::SVM) {
        "nested virtualization is off there, likely: kvm_amd nested=1, then restart virt-handler"
    } else {
        "nested virtualization is off there, likely: kvm_intel nested=1, then restart virt-handler"
    }
}
