//! Rules that kube-scheduler decides by the pods and devices on the nodes, in words.

use crate::fit::check::{ClosedByPods, PodRules};
use crate::fit::plural::{and_names, fold_names, number};
use crate::fit::subject::PodRule;

/// Returns `its required pod anti-affinity is not judged: by the pods on it, kube-scheduler may keep it off any of the
/// 3 nodes that fit`.
pub(super) fn found(found: &PodRules) -> String {
    let left: Vec<&String> = found.fitting.iter().filter(|node| !found.is_closed(node)).collect();
    let fitting = match (left.as_slice(), found.fitting.len()) {
        ([one], 1) => format!("{one}, the only node that fits"),
        ([one], _) => (*one).clone(),
        (left, all) if left.len() == all => format!("any of the {all} nodes that fit"),
        (left, all) => format!("any of {} of the {all} nodes that fit", left.len()),
    };
    let is_any_left = !found.rules.is_empty() && !left.is_empty();
    let not_judged = is_any_left.then(|| format!("{} {fitting}", not_judged(&found.rules)));
    let closed = found.closed.iter().map(closed);
    let without = found.without_key.iter().map(|(rule, key, nodes)| without_key(*rule, key, nodes));
    not_judged.into_iter().chain(closed).chain(without).collect::<Vec<_>>().join("; ")
}

fn closed(closed: &ClosedByPods) -> String {
    fn words(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }
    match closed {
        ClosedByPods::Apart { nodes, keepers } => super::room::kept_apart(&words(nodes), keepers),
        ClosedByPods::WithoutMates { nodes, keys, mates } => without_mates(&words(nodes), keys, &words(mates)),
    }
}

/// Returns `its required pod affinity is not judged: by the pods on the nodes kube-scheduler may keep it off nodes that
/// fit`.
pub(crate) fn rules_not_judged(rules: &[PodRule]) -> String {
    format!("{} nodes that fit", not_judged(rules))
}

/// Returns `node-d lacks the label rack of its topology spread (DoNotSchedule): kube-scheduler never chooses it`.
pub(crate) fn without_key(rule: PodRule, key: &str, nodes: &[impl AsRef<str>]) -> String {
    let (lack, them) = (number(nodes.len(), "lacks", "lack"), number(nodes.len(), "it", "them"));
    let names = fold_names(nodes, 3);
    format!("{names} {lack} the label {key} of its {}: kube-scheduler never chooses {them}", word(rule))
}

/// Returns `node-d fits by labels, and its required pod affinity keeps it off: the pods that it selects are on node-a
/// alone (kubernetes.io/hostname)`. `mates`: the nodes with such pods.
pub(crate) fn without_mates(nodes: &[&str], keys: &[String], mates: &[&str]) -> String {
    let fits = number(nodes.len(), "fits", "fit");
    let keys = and_names(keys, 3);
    let mates = match mates {
        [] => "no pod that it selects is known".to_owned(),
        mates => format!("the pods that it selects are on {} alone", and_names(mates, 3)),
    };
    format!("{} {fits} by labels, and its required pod affinity ({keys}) keeps it off: {mates}", fold_names(nodes, 3))
}

/// Returns `lacks rack of its topology spread (DoNotSchedule)`, of one node.
pub(crate) fn lacks_key(rule: PodRule, key: &str) -> String {
    format!("lacks {key} of its {}", word(rule))
}

fn word(rule: PodRule) -> &'static str {
    match rule {
        PodRule::Affinity => "required pod affinity",
        PodRule::AntiAffinity => "required pod anti-affinity",
        PodRule::Spread => "topology spread (DoNotSchedule)",
        PodRule::Claims => "resource claims",
        PodRule::Reservation => "anti-affinity to guests that reserve the same claim",
    }
}

fn not_judged(rules: &[PodRule]) -> String {
    let words: Vec<&str> = rules.iter().map(|rule| word(*rule)).collect();
    let are = if rules == [PodRule::Claims] { "are" } else { number(words.len(), "is", "are") };
    let has_claims = rules.contains(&PodRule::Claims);
    let by = match (has_claims, rules.len()) {
        (true, 1) => "devices",
        (true, _) => "pods and devices",
        (false, _) => "pods",
    };
    format!("its {} {are} not judged: by the {by} on the nodes kube-scheduler may keep it off", and_names(&words, 4))
}
