//! The requirements of a start that nodes do not meet according to their libvirt.

use std::collections::BTreeSet;

use super::{CpuFeatures, Stage, Subject};
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
    /// Returns the nodes on which a start with this placement would fail according to their libvirt; `None` if
    /// libvirt was not asked.
    pub(crate) fn failing(&self, placement: &Placement<'_>, fleet: &Fleet) -> Option<Bits> {
        let asked = self.asked.as_ref()?;
        let demands = demands(placement);
        let mut out = Bits::none(fleet.len());
        let unlisted = |node: &&String| !asked.hosts.contains_key(*node);
        for name in asked.hosts.keys().chain(asked.nodes.keys().filter(unlisted)) {
            let Some(node) = fleet.find(name) else { continue };
            if demands.iter().any(|demand| self.unmet(asked, name, demand).is_some()) {
                out.insert(node);
            }
        }
        Some(out)
    }

    /// Returns the CPU entries of this placement, models and features, that a node does not provide according
    /// to its libvirt.
    pub(crate) fn unmet_at_start(&self, placement: &Placement<'_>, node: &str) -> Vec<UnmetAtStart> {
        let Some(asked) = &self.asked else { return Vec::new() };
        demands(placement).iter().filter_map(|demand| self.unmet(asked, node, demand)).collect()
    }

    fn unmet(&self, asked: &Answers, node: &str, demand: &Demand<'_>) -> Option<UnmetAtStart> {
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
                    let at_start = self.features_at_start();
                    let is_off = match blockers {
                        [] => at_start.switched_off.iter().any(is_of_model),
                        named => named.iter().all(|name| at_start.switches_off(name)),
                    };
                    let may_start = is_off && host.lists(model) != Some(false);
                    let (model, blockers) = ((*model).to_owned(), blockers.to_vec());
                    return (!may_start).then_some(UnmetAtStart::Model { model, blockers });
                }
                let missing = self.missed_of_model(asked, node, model, features);
                (!missing.is_empty()).then(|| UnmetAtStart::FeaturesOfModel { model: (*model).to_owned(), missing })
            }
            Demand::Feature(key) => {
                let provided = asked.provides(node, key);
                let name = label::name(key);
                let is_missed =
                    || asked.refusal(node).is_some_and(|why| why.missing.iter().any(|missed| missed == name));
                let is_unmet = provided == Provided::No || provided == Provided::Unknown && is_missed();
                is_unmet.then(|| UnmetAtStart::Feature(name.to_owned()))
            }
            Demand::Forbidden(key) => {
                let (provided, name) = (asked.provides(node, key), label::name(key));
                let is_named = || asked.refusal(node).is_some_and(|why| why.is_provided_forbidden(name));
                let is_unmet = provided == Provided::Yes || provided == Provided::Unknown && is_named();
                is_unmet.then(|| UnmetAtStart::Forbidden(name.to_owned()))
            }
        }
    }

    /// Returns the features of a named model that a node's libvirt missed when it refused the guest's CPU; none of a
    /// model that it lists as usable, nor those that the guest disables.
    pub(crate) fn missed_of_model(
        &self,
        asked: &Answers,
        node: &str,
        model: &str,
        features: &BTreeSet<&'static str>,
    ) -> Vec<String> {
        if asked.hosts.get(node).is_some_and(|host| host.is_usable(model)) {
            return Vec::new();
        }
        let missed = asked.refusal(node).into_iter().flat_map(|why| &why.missing);
        let at_start = self.features_at_start();
        missed.filter(|name| features.contains(name.as_str()) && !at_start.switches_off(name)).cloned().collect()
    }

    /// Returns the CPU features that its specification lists when it starts: for a running guest, those of its next
    /// start.
    pub(crate) fn features_at_start(&self) -> &CpuFeatures {
        match (&self.stage, &self.restart) {
            (Stage::Migration(_), Some(start)) => &start.features,
            _ => &self.features,
        }
    }

    /// Whether the guest lacks, once it starts with this named model, all features that libvirt missed on a node: its
    /// specification switches them off then, or listed them and does so no longer, and the model has none of them.
    pub(crate) fn gives_up(&self, model: &str, why: &Incompatible) -> bool {
        let (now, then) = (&self.features, self.features_at_start());
        let is_of_model = |feature: &str| {
            let features = models::features(model).filter(|_| !models::is_disputed(model, feature));
            features.is_none_or(|features| features.contains(feature))
        };
        let is_given_up = |feature: &String| {
            let is_dropped = now.asks_for(feature) && !then.asks_for(feature) && !is_of_model(feature);
            then.switches_off(feature) || is_dropped
        };
        !why.missing.is_empty() && why.missing.iter().all(is_given_up)
    }

    /// Whether the guest has no such feature: its specification switches it off, or its live CPU lacks it.
    pub(crate) fn is_without(&self, feature: &str) -> bool {
        self.features.switches_off(feature) || self.runs_without(feature)
    }
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
