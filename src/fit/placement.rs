//! The node requirements of a pod: selector, required affinity, tolerations, a node name.

use crate::fit::label::Family;
use std::borrow::Cow;

use super::label;
use super::node::{Effect, Taint};

pub(crate) use super::affinity::{Affinity, AffinityRule, Expression, NameRule, NodeSelector, Term};
pub(crate) use super::selector::Selector;
pub(crate) use super::toleration::{NearMiss, Toleration, TolerationOperator, Tolerations};

/// The node requirements of a pod, as the scheduler's node filters read them.
///
/// Copies share affinity and tolerations: the placements of a guest at its start, at its first migration and
/// after each remedy differ only in the selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Placement<'a> {
    /// `spec.nodeSelector`; each entry must be met by exact key and value.
    pub selector: Selector<'a>,
    /// `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    pub affinity: Option<Affinity>,
    /// `spec.tolerations`.
    pub tolerations: Tolerations,
    /// `spec.nodeName`, if the pod is already bound or names its node.
    pub node_name: Option<Cow<'a, str>>,
}

impl Placement<'_> {
    /// Returns a copy that asks for this `cpu-vendor` key in place of any other.
    pub(crate) fn with_vendor(&self, vendor: &str) -> Self {
        let mut out = self.clone();
        out.selector.retain(|(key, _)| Family::of(key) != Family::CpuVendor);
        out.selector.insert(vendor.to_owned(), "true");
        out
    }

    /// Returns this placement with owned text.
    #[must_use]
    pub fn into_owned(self) -> Placement<'static> {
        Placement {
            selector: self.selector.into_owned(),
            affinity: self.affinity,
            tolerations: self.tolerations,
            node_name: self.node_name.map(|name| Cow::Owned(name.into_owned())),
        }
    }

    /// Returns a copy whose text is borrowed from this placement.
    pub(crate) fn borrowed(&self) -> Placement<'_> {
        Placement {
            selector: self.selector.borrowed(),
            affinity: self.affinity.clone(),
            tolerations: self.tolerations.clone(),
            node_name: self.node_name.as_deref().map(Cow::Borrowed),
        }
    }

    /// Whether the pod tolerates the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.tolerates(taint)
    }

    /// Whether the pod tolerates a cordon. Mirrors the scheduler's plugin `NodeUnschedulable`
    /// (`pkg/scheduler/framework/plugins/nodeunschedulable/node_unschedulable.go`, Kubernetes).
    pub(crate) fn tolerates_cordon(&self) -> bool {
        self.tolerates(&Taint {
            key: label::TAINT_UNSCHEDULABLE.to_owned(),
            value: String::new(),
            effect: Effect::NoSchedule,
        })
    }

    /// Returns the selector's value for a key; `None` if it has no such entry.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.selector.get(key)
    }
}
