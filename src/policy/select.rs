//! Which nodes a guest lives on, as far as a policy asks.

use super::LabelSelector;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};

/// Whether a guest lives on nodes that a policy selects: on the one it runs on, else on any it may start on;
/// where it may start on none, on any at all.
#[must_use]
pub(crate) fn lives_on(selector: &LabelSelector, runs_on: Option<NodeIndex>, fitting: &Bits, fleet: &Fleet) -> bool {
    if *selector == LabelSelector::default() {
        return true;
    }
    let selected = |node| selector.matches_by(|key| fleet.label(node, key));
    match runs_on {
        Some(node) => selected(node),
        None if fitting.is_empty() => (0..fleet.len()).any(selected),
        None => fitting.iter().any(selected),
    }
}
