//! The selector entries that a node's host model adds to the migration target of a guest that leaves the node.

use super::label::{self, Family};

/// Returns the selector entries that a host-model guest takes from the labels of its source, sorted: the
/// node's model under `model_label`, and the features that it requires. `None` if no label names the model.
///
/// Mirrors `prepareNodeSelectorForHostCpuModel` and `getHostCpuModelFromMap` in
/// `pkg/virt-controller/watch/migration/migration.go`.
pub(crate) fn demand<'l>(
    labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    model_label: &str,
) -> Option<Vec<(String, String)>> {
    let mut is_named = false;
    let mut out = Vec::new();
    for (key, value) in labels {
        let family = match Family::of(key) {
            Family::HostModelRequired => label::CPU_FEATURE,
            Family::HostModelCpu => {
                is_named = true;
                model_label
            }
            _ => continue,
        };
        out.push((label::same_name_in(key, family), value.to_owned()));
    }
    out.sort_unstable();
    is_named.then_some(out)
}
