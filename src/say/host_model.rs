//! Nodes that fit by labels and may lack a part of a guest's host model.

use crate::fit::check::{HostModelKnown, HostModelUnasked, OptionalFeature};
use crate::fit::label::Family;
use crate::fit::plural::{and_names, fold_entries, fold_names, nodes, number};

/// Returns `host-passthrough keeps the CPU of arm-1: no label shows whether arm-2 has the same`.
pub(crate) fn not_compared(node: &str, others: &[String]) -> String {
    let has = number(others.len(), "has", "have");
    format!("host-passthrough keeps the CPU of {node}: no label shows whether {} {has} the same", fold_names(others, 6))
}

/// Names at most `most` entries; below four, leaves out the nodes in `sound`.
pub(super) fn unasked(found: &HostModelUnasked, most: usize) -> String {
    let HostModelUnasked { node, runs, is_dropped, asked, doubtful, sound, .. } = found;
    let (first, alike) = doubtful.alike();
    let entries = fold_entries(asked, most.min(2));
    let asks = if *is_dropped {
        format!("KubeVirt will ask for {entries} and for no host model: its launcher has lost the name")
    } else {
        format!("KubeVirt will ask for the guest's own {entries} alone, as if it had migrated before")
    };
    let lacks = number(alike.len(), "lacks", "lack");
    let sent_to = |names: String| {
        if *runs {
            format!("{names} may be chosen and {lacks}")
        } else {
            format!("started on {node}, it may go to {names}, which {lacks}")
        }
    };
    if most == 1 {
        return format!("{asks}: {} some of its host model", sent_to(fold_names(&alike, 1)));
    }
    let others = match doubtful.count() - alike.len() {
        0 => String::new(),
        count => format!("; {} more like that", nodes(count)),
    };
    let sound = match sound.as_slice() {
        names if !names.is_empty() && most >= 3 => {
            format!("; {} {} all of it", and_names(names, 2), number(names.len(), "has", "have"))
        }
        _ => String::new(),
    };
    format!(
        "{asks}: {} {} of the host model of {node}: libvirt may refuse{others}{sound}",
        sent_to(and_names(&alike, 2)),
        fold_entries(first, most),
    )
}

/// Returns `sky-1 and sky-2 know Icelake-Server-noTSX and lack cpu-feature avx512vbmi, gfni and 7 more of it, which
/// ice-1 has: the scheduler may choose them, libvirt will likely refuse`. Names at most `most` entries.
pub(super) fn known(found: &HostModelKnown, most: usize) -> String {
    let HostModelKnown { model, node, runs, doubtful, .. } = found;
    let (first, alike) = doubtful.alike();
    let others = match doubtful.count() - alike.len() {
        0 => String::new(),
        count => format!("; {} more like that", nodes(count)),
    };
    let many = alike.len();
    let names = and_names(&alike, most.min(2));
    let (knows, lacks) = (number(many, "knows", "know"), number(many, "lacks", "lack"));
    let what = match first {
        [(key, _)] if Family::of(key) == Family::CpuModel => {
            format!("cannot run it by {} labels", number(many, "its", "their"))
        }
        entries => format!("{lacks} {} of it", fold_entries(entries, most)),
    };
    if *runs {
        let them = number(many, "it", "them");
        return format!(
            "{names} {knows} {model} and {what}, unlike {node}: the scheduler may choose {them}, libvirt will likely refuse{others}"
        );
    }
    format!(
        "started on {node}, it could be sent to {names}, which {knows} {model} and {what}: libvirt may refuse{others}"
    )
}

/// Returns `b-1 lacks cpu-feature vmx, an optional feature that n1 has: libvirt gave it to the guest there, likely, and
/// will then refuse b-1`. Names at most `most` entries.
pub(super) fn optional(found: &OptionalFeature, most: usize) -> String {
    let OptionalFeature { node, runs, doubtful } = found;
    let (first, alike) = doubtful.alike();
    let others = match doubtful.count() - alike.len() {
        0 => String::new(),
        count => format!("; {} more like that", nodes(count)),
    };
    let names = and_names(&alike, most.min(2));
    let (lacks, them) = (number(alike.len(), "lacks", "lack"), number(alike.len(), "it", "them"));
    let entries = fold_entries(first, most);
    let (optional, gives) =
        (number(first.len(), "an optional feature", "optional features"), number(first.len(), "it", "them"));
    if *runs {
        return format!(
            "{names} {lacks} {entries}, {optional} of the guest that {node} has: the scheduler may choose {them}, libvirt will \
             likely refuse{others}"
        );
    }
    format!(
        "started on {node}, it may get {entries}, which {number} optional: {names} {lacks} {gives}, and libvirt may refuse it \
         there{others}",
        number = number(first.len(), "is", "are"),
    )
}
