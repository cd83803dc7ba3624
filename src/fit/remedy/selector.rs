//! Changes of the selector that a guest's launcher has.

use std::collections::BTreeSet;

use crate::fit::fleet::Fleet;
use crate::fit::label::Family;
use crate::fit::placement::Placement;
use crate::fit::subject::{Stage, Subject};

/// Replaces a target pod that waits for a node by the one that KubeVirt would create now.
pub(super) fn take_new_target(subject: &mut Subject<'_>) {
    if let Stage::Migration(migration) = &mut subject.stage
        && let Some(new_target) = migration.new_target.take()
    {
        subject.placement = *new_target;
    }
}

/// Removes keys from the guest's selector.
pub(super) fn drop_keys(subject: &mut Subject<'_>, fleet: &Fleet, keys: &[String]) {
    let dropped: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    subject.placement.selector.retain(|(key, _)| !dropped.contains(&**key));
    if let Stage::Migration(migration) = &mut subject.stage {
        migration.added.retain(|(key, _)| !dropped.contains(key.as_str()));
    }
    // An added vendor replaces the source's own, which is restored.
    if keys.iter().any(|key| Family::of(key) == Family::CpuVendor)
        && subject.restart.as_ref().is_some_and(|start| start.after_start.vendor)
        && let Some(source) = subject.source().and_then(|source| fleet.find(source))
        && let Some(vendor) = fleet.host_model_class(source).vendors.first()
    {
        subject.placement.selector.insert(vendor.clone(), "true");
    }
}

/// Replaces the keys of a family with one key.
pub(super) fn replace_key(placement: &mut Placement<'_>, family: Family, key: String) {
    placement.selector.retain(|(key, _)| Family::of(key) != family);
    placement.selector.insert(key, "true");
}
