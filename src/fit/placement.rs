//! What a pod asks of a node: selector, required affinity, tolerations, a node name.

use std::borrow::Cow;

use super::label;
use super::node::{Effect, Taint};

pub(crate) use super::affinity::{Affinity, AffinityRule, Expression, NameRule, NodeSelector, Term};
pub(crate) use super::selector::Selector;
pub(crate) use super::toleration::{Toleration, TolerationOperator, Tolerations};

/// All that a pod asks of a node, as the scheduler's node filters read it.
///
/// Affinity and tolerations are shared by copies: what a guest asks of a node at its start, at its first migration and
/// after each remedy differs in the selector alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Placement<'a> {
    /// `spec.nodeSelector`; each entry must be met by exact key and value.
    pub selector: Selector<'a>,
    /// `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    pub affinity: Option<Affinity>,
    /// `spec.tolerations`.
    pub tolerations: Tolerations,
    /// `spec.nodeName`, where the pod is bound already or by hand.
    pub node_name: Option<Cow<'a, str>>,
}

impl Placement<'_> {
    /// The same, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Placement<'static> {
        Placement {
            selector: self.selector.into_owned(),
            affinity: self.affinity,
            tolerations: self.tolerations,
            node_name: self.node_name.map(|name| Cow::Owned(name.into_owned())),
        }
    }

    /// The same, with its text borrowed from this one.
    #[must_use]
    pub(crate) fn borrowed(&self) -> Placement<'_> {
        Placement {
            selector: self.selector.borrowed(),
            affinity: self.affinity.clone(),
            tolerations: self.tolerations.clone(),
            node_name: self.node_name.as_deref().map(Cow::Borrowed),
        }
    }

    /// Whether a taint is tolerated.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.tolerates(taint)
    }

    /// Whether a cordon is tolerated. Mirrors the scheduler's `NodeUnschedulable` plugin.
    #[must_use]
    pub(crate) fn tolerates_cordon(&self) -> bool {
        self.tolerates(&Taint {
            key: label::TAINT_UNSCHEDULABLE.to_owned(),
            value: String::new(),
            effect: Effect::NoSchedule,
        })
    }

    /// The value asked for a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.selector.get(key)
    }
}
