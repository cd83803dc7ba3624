//! The requirements of a start that nodes do not meet according to their libvirt.

use std::collections::BTreeSet;

use super::{CpuFeatures, CpuMode, Stage, Start, Subject};
use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::libvirt::{Answers, Incompatible, Provided};
use crate::fit::models;
use crate::fit::placement::Placement;

/// A requirement of a start that a node does not meet according to its libvirt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnmetAtStart {
    /// Libvirt does not list the named model as usable.
    Model {
        /// The model.
        model: String,
        /// The features that make it unusable, if libvirt names them.
        blockers: Vec<String>,
    },
    /// Libvirt missed features of the named model when it refused the guest's CPU.
    FeaturesOfModel {
        /// The model.
        model: String,
        /// The features.
        missing: Vec<String>,
    },
    /// Libvirt does not provide this feature, which the guest requires.
    Feature(String),
    /// Libvirt provides this feature, which the guest forbids.
    Forbidden(String),
}

/// A CPU entry of a start's selector.
enum Demand<'p> {
    /// A named model, with its features.
    Model(&'p str, BTreeSet<&'static str>),
    /// A feature: the key of its label.
    Feature(&'p str),
    /// A feature that the guest forbids: the key of its label. Libvirt starts no guest with policy `forbid` where the
    /// hypervisor's CPU has the feature: mirrors `x86Compute` of `src/cpu/cpu_x86.c`.
    Forbidden(&'p str),
}

impl Subject<'_> {
    /// Returns the nodes on which a start with this placement and these listed features would fail according to their
    /// libvirt; `None` if libvirt was not asked.
    pub(crate) fn failing(&self, placement: &Placement<'_>, listed: &CpuFeatures, fleet: &Fleet) -> Option<Bits> {
        let asked = self.asked.as_ref()?;
        let demands = demands(placement);
        let mut out = Bits::none(fleet.len());
        let unlisted = |node: &&String| !asked.hosts.contains_key(*node);
        for name in asked.hosts.keys().chain(asked.nodes.keys().filter(unlisted)).chain(&asked.own_node) {
            let Some(node) = fleet.find(name) else { continue };
            if demands.iter().any(|demand| unmet(asked, name, demand, listed).is_some()) {
                out.insert(node);
            }
        }
        Some(out)
    }

    /// Returns the nodes that take no migration of a guest after a start with this placement and these listed features,
    /// according to their libvirt: the nodes of [`failing`](Self::failing), and those that miss a forced feature.
    /// `None` if libvirt was not asked.
    pub(crate) fn failing_targets(
        &self,
        placement: &Placement<'_>,
        listed: &CpuFeatures,
        fleet: &Fleet,
    ) -> Option<Bits> {
        let mut out = self.failing(placement, listed, fleet)?;
        let asked = self.asked.as_ref()?;
        for name in asked.nodes.keys() {
            let misses = |refusal: &Incompatible| refusal.missing.iter().any(|feature| listed.forced.contains(feature));
            if let Some(node) = fleet.find(name).filter(|_| asked.refusal(name).is_some_and(misses)) {
                out.insert(node);
            }
        }
        Some(out)
    }

    /// Returns the CPU entries of this placement, models and features, that a node does not provide according
    /// to its libvirt, at a start with these listed features.
    pub(crate) fn unmet_at_start(
        &self,
        placement: &Placement<'_>,
        listed: &CpuFeatures,
        node: &str,
    ) -> Vec<UnmetAtStart> {
        let Some(asked) = &self.asked else { return Vec::new() };
        demands(placement).iter().filter_map(|demand| unmet(asked, node, demand, listed)).collect()
    }

    /// Returns the CPU features that its specification lists when it starts: for a running guest, those of its next
    /// start.
    pub(crate) fn features_at_start(&self) -> &CpuFeatures {
        match (&self.stage, &self.restart) {
            (Stage::Migration(_), Some(start)) => &start.features,
            _ => &self.features,
        }
    }

    /// Whether a start gives up all that a node's libvirt names as the reason of its refusal. A feature that the node
    /// provides and the guest forbids is no longer forbidden. A feature that the node misses is switched off, or was
    /// listed and is so no longer, and the named model of the start lacks it; without a named model, the start node
    /// decides whether the guest has it.
    pub(crate) fn gives_up(&self, start: &Start<'_>, why: &Incompatible) -> bool {
        let (now, then) = (&self.features, &start.features);
        let is_given_up = |feature: &String| {
            let CpuMode::Named(model) = &start.mode else { return false };
            let features = models::features(model).filter(|_| !models::is_disputed(model, feature));
            let is_of_model = features.is_none_or(|features| features.contains(feature.as_str()));
            let is_dropped = now.asks_for(feature) && !then.asks_for(feature) && !is_of_model;
            then.switches_off(feature) || is_dropped
        };
        let mut forbidden = why.provided_forbidden().peekable();
        if forbidden.peek().is_some() {
            return forbidden.all(|feature| !then.forbids(feature));
        }
        !why.missing.is_empty() && why.missing.iter().all(is_given_up)
    }

    /// Whether the guest has no such feature: its specification switches it off, or its live CPU lacks it.
    pub(crate) fn is_without(&self, feature: &str) -> bool {
        self.features.switches_off(feature) || self.runs_without(feature)
    }
}

fn unmet(asked: &Answers, node: &str, demand: &Demand<'_>, listed: &CpuFeatures) -> Option<UnmetAtStart> {
    let host = asked.hosts.get(node);
    match demand {
        Demand::Model(model, features) => {
            if let Some((host, blockers)) = host.and_then(|host| Some((host, host.unusable(model)?))) {
                // Some libvirts do not report which features prevent the use of a model: those that the guest
                // switches off may. A model that a libvirt does not list at all starts there with no set of
                // features.
                let is_of_model = |off: &String| {
                    features.is_empty() || features.contains(off.as_str()) || models::is_disputed(model, off)
                };
                let is_off = match blockers {
                    [] => listed.switched_off().any(is_of_model),
                    named => named.iter().all(|name| listed.switches_off(name)),
                };
                let may_start = is_off && host.lists(model) != Some(false);
                let (model, blockers) = ((*model).to_owned(), blockers.to_vec());
                return (!may_start).then_some(UnmetAtStart::Model { model, blockers });
            }
            let missing = missed_of_model(asked, node, model, features, listed);
            (!missing.is_empty()).then(|| UnmetAtStart::FeaturesOfModel { model: (*model).to_owned(), missing })
        }
        Demand::Feature(key) => {
            (asked.has_at_start(node, key) == Provided::No).then(|| UnmetAtStart::Feature(label::name(key).to_owned()))
        }
        // The guest's own affinity may exclude the label of a feature that its CPU may have.
        Demand::Forbidden(key) => (listed.forbids(label::name(key)) && asked.has_at_start(node, key) == Provided::Yes)
            .then(|| UnmetAtStart::Forbidden(label::name(key).to_owned())),
    }
}

/// Returns the features of a named model that a node's libvirt missed when it refused the guest's CPU; none of a
/// model that it lists as usable, nor those that a start with these listed features switches off.
pub(crate) fn missed_of_model(
    asked: &Answers,
    node: &str,
    model: &str,
    features: &BTreeSet<&'static str>,
    listed: &CpuFeatures,
) -> Vec<String> {
    if asked.hosts.get(node).is_some_and(|host| host.is_usable(model)) {
        return Vec::new();
    }
    let missed = asked.refusal(node).into_iter().flat_map(|why| &why.missing);
    missed.filter(|name| features.contains(name.as_str()) && !listed.switches_off(name)).cloned().collect()
}

fn demands<'p>(placement: &'p Placement<'_>) -> Vec<Demand<'p>> {
    let demand = |key: &'p str| match Family::of(key) {
        Family::CpuModel => {
            let model = label::name(key);
            Some(Demand::Model(model, models::features(model).unwrap_or_default()))
        }
        Family::CpuFeature => Some(Demand::Feature(key)),
        _ => None,
    };
    // KubeVirt renders a forbidden feature as node affinity.
    let forbidden = placement.affinity.iter().flat_map(|affinity| affinity.forbidden_keys());
    let forbidden = forbidden.filter(|key| Family::of(key) == Family::CpuFeature).map(Demand::Forbidden);
    placement.selector.iter().filter_map(|(key, _)| demand(key)).chain(forbidden).collect()
}
