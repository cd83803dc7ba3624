//! Rules that kube-scheduler decides by the pods and devices on the nodes, in words.

use crate::fit::check::PodRules;
use crate::fit::plural::{and_names, fold_names, number};
use crate::fit::subject::PodRule;

/// Returns `its required pod anti-affinity is not judged: by the pods on it, kube-scheduler may keep it off any of the
/// 3 nodes that fit`.
pub(super) fn found(found: &PodRules) -> String {
    let is_left = |node: &&String| !found.without_key.iter().any(|(_, nodes)| nodes.contains(node));
    let left: Vec<&String> = found.fitting.iter().filter(is_left).collect();
    let fitting = match (left.as_slice(), found.fitting.len()) {
        ([one], 1) => format!("{one}, the only node that fits"),
        ([one], _) => (*one).clone(),
        (left, all) if left.len() == all => format!("any of the {all} nodes that fit"),
        (left, all) => format!("any of {} of the {all} nodes that fit", left.len()),
    };
    let without = found.without_key.iter().map(|(key, nodes)| {
        let (lack, them) = (number(nodes.len(), "lacks", "lack"), number(nodes.len(), "it", "them"));
        let names = fold_names(nodes, 3);
        format!("; {names} {lack} the label {key} of its topology spread (DoNotSchedule): kube-scheduler never chooses {them}")
    });
    let without: String = without.collect();
    match without.strip_prefix("; ").filter(|_| found.is_nowhere()) {
        Some(without) => without.to_owned(),
        None => format!("{} {fitting}{without}", not_judged(&found.rules)),
    }
}

/// Returns `its required pod affinity is not judged: by the pods on the nodes kube-scheduler may keep it off nodes that
/// fit`.
pub(crate) fn rules_not_judged(rules: &[PodRule]) -> String {
    format!("{} nodes that fit", not_judged(rules))
}

fn not_judged(rules: &[PodRule]) -> String {
    let word = |rule: &PodRule| match rule {
        PodRule::Affinity => "required pod affinity",
        PodRule::AntiAffinity => "required pod anti-affinity",
        PodRule::Spread => "topology spread (DoNotSchedule)",
        PodRule::Claims => "resource claims",
        PodRule::Reservation => "anti-affinity to guests that reserve the same claim",
    };
    let words: Vec<&str> = rules.iter().map(word).collect();
    let are = if rules == [PodRule::Claims] { "are" } else { number(words.len(), "is", "are") };
    let has_claims = rules.contains(&PodRule::Claims);
    let by = match (has_claims, rules.len()) {
        (true, 1) => "devices",
        (true, _) => "pods and devices",
        (false, _) => "pods",
    };
    format!("its {} {are} not judged: by the {by} on the nodes kube-scheduler may keep it off", and_names(&words, 4))
}
