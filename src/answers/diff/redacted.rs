//! Redacted snapshots, in which names stand for other objects than on the other side.

use std::collections::BTreeMap;

use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Meta;
use crate::snapshot::redact::is_redacted;
use crate::world::World;

/// The reason why the names of two sides cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OtherNames {
    /// One side is redacted.
    #[error("the {0} side is a redacted snapshot and the other one is not: no name is the same on both")]
    OneSide(&'static str),
    /// An object has another name on each side.
    #[error(
        "{old} of the old side is {new} of the new one: a redacted snapshot numbers names by itself, so objects that came or went \
         change the names of others; compare snapshots that are not redacted"
    )]
    Numbered {
        /// The object on the old side.
        old: String,
        /// Its counterpart on the new side.
        new: String,
    },
}

/// Whether both sides are redacted.
///
/// # Errors
///
/// The names of the sides stand for different objects.
pub(crate) fn redacted(old: &World, new: &World) -> Result<bool, OtherNames> {
    let [old, new] = [old, new].map(names);
    let of = |names: &Names| (!names.is_empty()).then(|| names.keys().any(|(_, uid)| is_redacted(uid)));
    match (of(&old), of(&new)) {
        (Some(true), Some(false)) => return Err(OtherNames::OneSide("old")),
        (Some(false), Some(true)) => return Err(OtherNames::OneSide("new")),
        (Some(true), Some(true)) => {}
        (None, _) | (_, None) | (Some(false), Some(false)) => return Ok(false),
    }
    for (key, was) in old.iter().filter(|((_, uid), _)| is_redacted(uid)) {
        if let Some(is) = new.get(key).filter(|is| *is != was) {
            return Err(OtherNames::Numbered { old: was.clone(), new: is.clone() });
        }
    }
    Ok(true)
}

/// The objects by kind and UID.
type Names<'w> = BTreeMap<(&'static str, &'w str), String>;

fn names(world: &World) -> Names<'_> {
    let (cluster, fleet) = (&world.cluster, &world.cluster.fleet);
    let of_node = |node| Some(((Resource::Nodes.kind(), fleet.uid(node)?), format!("Node {}", fleet.name(node))));
    let vms = cluster.vms().map(|vm| (Resource::VirtualMachines.kind(), &vm.metadata));
    let guests = vms.chain(cluster.vmis().map(|vmi| (Resource::Vmis.kind(), &vmi.metadata)));
    let named = |(kind, meta): (&'static str, &'_ Meta)| format!("{kind} {}/{}", meta.namespace, meta.name);
    let of_guest = guests.map(|(kind, meta)| ((kind, meta.uid.as_str()), named((kind, meta))));
    let all = (0..fleet.len()).filter_map(of_node).chain(of_guest);
    all.filter(|((_, uid), _)| !uid.is_empty()).collect()
}
