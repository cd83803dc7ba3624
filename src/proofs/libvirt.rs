//! The meaning of libvirt's answers, by rules of its own.

use super::raw::{Demand, RawNode};
use crate::fit::label;
use crate::fit::libvirt::{Answers, Incompatible, LibvirtAnswer, Usable};

/// The answers about one guest.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    /// `None` if libvirt was not asked.
    pub(super) answers: Option<&'a Answers>,
    /// The features that the guest forbids.
    pub(super) forbidden: &'a [String],
}

impl Word<'_> {
    /// Returns the refusal of a running guest's CPU by a node.
    pub(super) fn refusal(&self, node: &str) -> Option<&Incompatible> {
        match self.answers?.nodes.get(node)? {
            Ok(LibvirtAnswer::Incompatible(why)) => Some(why),
            Ok(LibvirtAnswer::Identical | LibvirtAnswer::Superset) | Err(_) => None,
        }
    }

    /// Whether a start with this selector fails on a node: a model or a feature that it selects does not exist there.
    pub(super) fn fails_at_start(&self, demand: &Demand<'_>, node: RawNode<'_>) -> bool {
        let Some(host) = self.answers.and_then(|answers| answers.hosts.get(node.name())) else { return false };
        let has = |feature: &str| host.model.as_ref().and_then(|cpu| cpu.has(feature));
        if self.forbidden.iter().any(|name| has(name) == Some(true)) {
            return true;
        }
        demand.selector.keys().any(|key| {
            let model = key.strip_prefix(label::CPU_MODEL);
            let feature = key.strip_prefix(label::CPU_FEATURE);
            let is_unusable = |model: &str| {
                let list = host.models.as_ref();
                list.is_some_and(|list| matches!(list.get(model), Some(Usable::No(_)) | None))
            };
            model.is_some_and(is_unusable) || feature.is_some_and(|feature| has(feature) == Some(false))
        })
    }
}
