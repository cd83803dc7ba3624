//! The common model that is offered, and the nodes on which it runs, by labels and by libvirt.

use std::collections::BTreeSet;

use crate::fit::author::Author;
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::fit::plural::{and_names, fold_names, number};
use crate::fit::remedy::{NotUsable, UseModel};
use crate::fit::subject::Subject;

/// Returns `EPYC-Rome runs on 3 nodes: a, b, c (so does EPYC-Rome-v2).`, and the nodes without their vendor's label
/// that may take the guest as well.
pub(crate) fn runs_on(offer: &UseModel, all: &str) -> String {
    let UseModel { model, nodes, elsewhere, of_another_vendor, also, .. } = offer;
    // A model that is not offered first is named with its drawbacks.
    let named = |model: &String| {
        let drawbacks = models::drawbacks(model).iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        if drawbacks.is_empty() { model.clone() } else { format!("{model} {drawbacks}") }
    };
    let also: Vec<String> = also.iter().map(named).collect();
    let also = if also.is_empty() { String::new() } else { format!(" (so does {})", fold_names(&also, 3)) };
    let others = match elsewhere.as_slice() {
        [] => String::new(),
        others => {
            let (have, count) = (number(others.len(), "has", "have"), number(others.len(), "counts", "count"));
            format!(
                " {} {have} its label too, without that of their vendor, and {count} as well.",
                fold_names(others, 6)
            )
        }
    };
    let of_another = match of_another_vendor.as_slice() {
        [] => String::new(),
        [node] => format!(" {node} has its label too, and a CPU of another vendor."),
        many => format!(" {} have its label too, and CPUs of another vendor.", fold_names(many, 6)),
    };
    format!("{model} runs on {all}: {}{also}.{others}{of_another}", fold_names(nodes, 6))
}

/// Returns `Nodes of another vendor have Skylake-Server (intel-a and intel-b): …`; `None` if there are none.
pub(crate) fn of_other_vendors(offer: &UseModel) -> Option<String> {
    let named = |(model, nodes): &(String, Vec<String>)| format!("{model} ({})", fold_names(nodes, 6));
    let others: Vec<String> = offer.of_others.iter().map(named).collect();
    if others.is_empty() {
        return None;
    }
    let why = if offer.vendor_is_asked {
        "no migration crosses vendors, so each guest needs the model of one vendor."
    } else {
        "each guest needs the model of one vendor. This release of KubeVirt does not keep migrations to one vendor."
    };
    Some(format!(
        "Nodes of another vendor have {} instead: {why} `kubectl cpufit recommend -o yaml` prints a policy for each.",
        and_names(&others, 3)
    ))
}

/// Returns how to change the cluster's default model, if the guest has it, and not this guest alone: the default is one
/// for amd64 and s390x (`setDefaultCPUModel` of KubeVirt's `pkg/defaults/defaults.go`).
pub(crate) fn of_the_default(subject: &Subject<'_>, model: &str, fleet: &Fleet) -> Option<String> {
    let (key, _) = subject.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModel)?;
    let author = &subject.authors.of_entry(key)?.author;
    if !matches!(author, Author::Configuration("cpuModel") | Author::HyperConverged("cpuModel")) {
        return None;
    }
    let architectures = fleet.values(label::ARCH).filter(|name| *name != "arm64").count();
    let who = super::author::who(author);
    Some(match architectures {
        0 | 1 => {
            format!(
                "Its model is {who}: {model} there would apply to each guest that names no model, from its next start on."
            )
        }
        _ => format!(
            "Its model is {who}, which is one for amd64 and s390x: a guest of the other one has to name its own."
        ),
    })
}

/// Returns libvirt's answer about it, if it was asked, and the model that is not offered because of such an answer.
pub(crate) fn listed(offer: &UseModel) -> String {
    let UseModel { nodes, listed, instead_of, .. } = offer;
    let said = match listed.len() {
        0 => "That is by labels: what libvirt there says of it is not known.".to_owned(),
        all if all == nodes.len() => "Libvirt there lists it as usable.".to_owned(),
        _ => format!("Libvirt lists it as usable on {}; the others are only labelled so.", and_names(listed, 3)),
    };
    let other = instead_of.as_ref().map(|other| format!("By labels {}.", not_usable(other)));
    Some(said).into_iter().chain(other).collect::<Vec<_>>().join(" ")
}

/// Returns `EPYC-Milan would do, and libvirt on b does not list it as usable (missing: vaes)`.
pub(crate) fn not_usable(found: &NotUsable) -> String {
    let (nodes, blockers) = named(found);
    let why = if blockers.is_empty() { String::new() } else { format!(" (missing: {blockers})") };
    format!("{} would do, and libvirt on {nodes} does not list it as usable{why}", found.model)
}

/// Returns `it asks for EPYC-Milan already, which libvirt on b does not list as usable (missing: vaes)`.
pub(crate) fn has_not_usable(found: &NotUsable) -> String {
    let (nodes, blockers) = named(found);
    let why = if blockers.is_empty() { String::new() } else { format!(" (missing: {blockers})") };
    format!("it asks for {} already, which libvirt on {nodes} does not list as usable{why}", found.model)
}

/// Returns `with EPYC-Milan, which would do by labels, it has vaes, which libvirt on b does not provide`.
pub(crate) fn not_provided(found: &NotUsable) -> String {
    let (nodes, features) = named(found);
    format!(
        "with {}, which would do by labels, it has {features}, which libvirt on {nodes} does not provide",
        found.model
    )
}

/// Returns the nodes, and the features in the way, in words.
fn named(found: &NotUsable) -> (String, String) {
    let names: Vec<&str> = found.nodes.iter().map(|(node, _)| node.as_str()).collect();
    let blockers: BTreeSet<&str> = found.nodes.iter().flat_map(|(_, blockers)| blockers).map(String::as_str).collect();
    let blockers: Vec<&str> = blockers.into_iter().collect();
    (fold_names(&names, 3), if blockers.is_empty() { String::new() } else { fold_names(&blockers, 4) })
}
