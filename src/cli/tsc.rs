//! Lines about the TSC frequency that a guest asks for: the nodes that offer it, and whether another one would help.
//!
//! Mirrors `LowestTSCFrequencyOnCluster` of `pkg/virt-controller/watch/topology/hinter.go` (KubeVirt).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::plural::{and_names, fold_names, nodes};
use crate::fit::subject::{Stage, Subject};
use crate::fit::verdict::{Nearest, Verdict};
use crate::judge::Evaluation;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::topology::gets_label;

/// The setting of the KubeVirt resource that sets the frequency of new guests.
const SETTING: &str = "minimumClusterTSCFrequency";

/// Returns the lines; none for a guest that asks for no frequency.
pub(crate) fn lines(case: &Evaluation<'_>, cluster: &Cluster) -> Vec<String> {
    let Some(asked) = AskedFrequency::of(case, cluster) else { return Vec::new() };
    asked.offered(&case.prepared.subject, &case.verdict).into_iter().chain(cure(case, cluster)).collect()
}

/// Returns the line about the frequency that the KubeVirt resource could set: how many nodes the guest has then, or
/// that no frequency helps.
pub(crate) fn cure(case: &Evaluation<'_>, cluster: &Cluster) -> Option<String> {
    let config = &cluster.config;
    AskedFrequency::of(case, cluster)
        .filter(|_| config.is_known)?
        .other(&case.prepared.subject, config.is_hyperconverged)
}

/// The frequency that a guest asks for.
struct AskedFrequency<'c> {
    fleet: &'c Fleet,
    key: &'c str,
    value: &'c str,
    /// The frequency in Hz; `None` if the key has none.
    hz: Option<i64>,
    /// Whether the KubeVirt resource sets it.
    is_configured: bool,
}

impl<'c> AskedFrequency<'c> {
    /// Returns the frequency; `None` for a guest that asks for none.
    fn of(case: &'c Evaluation<'_>, cluster: &'c Cluster) -> Option<Self> {
        let (subject, fleet) = (&case.prepared.subject, &cluster.fleet);
        let (key, value) =
            subject.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::SchedulingTsc)?;
        let hz = label::name(key).rsplit('-').next().and_then(label::frequency);
        let configured = cluster.config.configuration.developer_configuration.minimum_cluster_tsc_frequency;
        Some(Self { fleet, key, value, hz, is_configured: hz.is_some() && configured == hz })
    }

    /// Returns the nodes that offer the frequency, if no node fits and the nearest lack it.
    fn offered(&self, subject: &Subject<'_>, verdict: &Verdict) -> Option<String> {
        let Self { fleet, key, value, .. } = self;
        let lacks_it = |near: &Nearest| near.missing.iter().any(|(lacked, _)| lacked == key);
        if !verdict.assessment.fitting.is_empty() || !verdict.nearest.iter().any(lacks_it) {
            return None;
        }
        let bearing = fleet.bearing(key, value);
        let offering = fleet.names(&bearing);
        let who = match offering.as_slice() {
            [] => "no node offers it".to_owned(),
            [one] => format!("only {one} offers it"),
            many => format!("{} offer it", fold_names(many, 3)),
        };
        let of = if self.is_configured { " is minimumClusterTSCFrequency of the KubeVirt resource, and" } else { "" };
        let coming: Vec<&str> = match (self.hz, &subject.stage) {
            // The frequency of a guest that exists is in use.
            (Some(hz), Stage::Migration(_)) => {
                let gets = |node: &NodeIndex| !bearing.contains(*node) && gets_label(fleet, *node, hz);
                fleet.in_name_order().into_iter().filter(gets).map(|node| fleet.name(node)).collect()
            }
            _ => Vec::new(),
        };
        let then = match coming.as_slice() {
            [] => "waiting does not help, and virt-controller owns the label".to_owned(),
            nodes => format!(
                "while the guest exists, virt-controller labels the nodes that can scale to it, {}, every 30 seconds",
                and_names(nodes, 3)
            ),
        };
        Some(format!(
            "It asks for {}: {who}. The frequency{of} is written once, when the VMI is created, into status.topologyHints: \
             {then}.",
            label::name(key)
        ))
    }

    /// Returns the frequency with which a new guest would have the most nodes, if that is another one, or that none is
    /// better; `None` if the frequency excludes no node.
    fn other(&self, subject: &Subject<'_>, is_hyperconverged: bool) -> Option<String> {
        // The pod of a migration asks for more than a new one.
        if matches!(subject.stage, Stage::Migration(_)) {
            return None;
        }
        let fleet = self.fleet;
        let mut without = subject.placement.clone();
        without.selector.retain(|(key, _)| Family::of(key) != Family::SchedulingTsc);
        let places = |placement| fleet.look_up(placement).passes().fitting;
        let (now, free) = (places(&subject.placement), places(&without));
        if now.count() >= free.count() {
            return None;
        }
        let with = |hz: i64| {
            let mut nodes = Bits::none(fleet.len());
            free.iter().filter(|node| gets_label(fleet, *node, hz)).for_each(|node| nodes.insert(node));
            (hz, nodes)
        };
        let known: BTreeSet<i64> = fleet.values(label::TSC_FREQUENCY).filter_map(label::frequency).collect();
        let others = known.into_iter().filter(|hz| self.hz != Some(*hz));
        let (hz, best) = others.map(with).max_by_key(|(hz, nodes)| (nodes.count(), Reverse(*hz)))?;
        if best.count() <= now.count() {
            let many = best.count();
            return Some(format!(
                "No {SETTING} of the KubeVirt resource helps: with each frequency of the nodes at most {} {} left for it.",
                nodes(many),
                if many == 1 { "is" } else { "are" }
            ));
        }
        let operator = if is_hyperconverged {
            " (HyperConverged writes that resource: by its annotation kubevirt.kubevirt.io/jsonpatch)"
        } else {
            ""
        };
        let when = if subject.is_running() { "created again it" } else { "it" };
        Some(format!(
            "With developerConfiguration.{SETTING} {hz} in the KubeVirt resource{operator} {when} would ask for that frequency, which \
             {} can give ({}), and not for one that leaves it {}; guests that run keep theirs.",
            nodes(best.count()),
            fold_names(&fleet.names(&best), 6),
            if now.is_empty() { "no node".to_owned() } else { nodes(now.count()) }
        ))
    }
}
