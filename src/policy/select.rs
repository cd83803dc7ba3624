//! The nodes that the `nodeSelector` of a policy selects, and whether a guest lives on them.

use super::LabelSelector;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};

impl LabelSelector {
    /// Returns the nodes that it selects.
    pub(crate) fn nodes(&self, fleet: &Fleet) -> Bits {
        if *self == Self::default() {
            return Bits::all(fleet.len());
        }
        let mut out = Bits::none(fleet.len());
        (0..fleet.len()).filter(|&node| self.selects(node, fleet)).for_each(|node| out.insert(node));
        out
    }

    /// Whether it selects a node.
    pub(crate) fn selects(&self, node: NodeIndex, fleet: &Fleet) -> bool {
        self.matches_by(|key| fleet.label(node, key))
    }
}

/// Whether a guest lives on nodes that a policy selects: the one it runs on, else any that it may start on; if
/// it may start on none, any node at all.
pub(crate) fn lives_on(selector: &LabelSelector, runs_on: Option<NodeIndex>, fitting: &Bits, fleet: &Fleet) -> bool {
    if *selector == LabelSelector::default() {
        return true;
    }
    let selected = |node| selector.selects(node, fleet);
    match runs_on {
        Some(node) => selected(node),
        None if fitting.is_empty() => (0..fleet.len()).any(selected),
        None => fitting.iter().any(selected),
    }
}
