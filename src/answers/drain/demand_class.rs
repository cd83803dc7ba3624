//! Guests with the same demand for nodes, looked up once.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::answers::guests::{Likeness, MemoKey, alike};
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::label;
use crate::fit::verdict::Outcome;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Prepared, UnfinishedMigration};
use crate::kubevirt::wire::{Vmi, Vmim, is_final};
use crate::world::World;

/// Whether libvirt refused, or may refuse, the guest's CPU; else a migration failed for another reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsOfCpu(pub(super) bool);

/// The demand classes of a world, each computed for its first guest.
pub(super) struct DemandClasses<'w> {
    pub world: &'w World,
    /// The guests with a migration that has not ended, by namespace and name.
    migrating: HashSet<(&'w str, &'w str)>,
    known: RefCell<MemoKey<Likeness<'w>, DemandClass>>,
}

/// Guests with migrations that have the same demand for nodes.
#[derive(Debug)]
pub(super) struct DemandClass {
    /// A representative guest; the others differ only in name and node.
    pub prepared: Prepared<'static>,
    /// The nodes that fit, including the own nodes of the guests.
    pub fits: Rc<Bits>,
    /// The nodes that fit by labels and have a libvirt that refuses the guest; `None` if libvirt was not asked.
    pub refused: Option<Bits>,
    /// The nodes of another architecture.
    strange: Bits,
    /// Whether the nodes that fit determine the result alone.
    is_plain: bool,
    /// By node, findings about such a guest there that may exclude nodes that fit.
    pub doubts: RefCell<HashMap<NodeIndex, Vec<(String, IsOfCpu)>>>,
}

impl<'w> DemandClasses<'w> {
    pub(super) fn of(world: &'w World) -> Self {
        let migrations = world.cluster.migrations().filter(|vmim| !is_final(&vmim.status.phase));
        let of = |vmim: &'w Vmim| (vmim.metadata.namespace.as_str(), vmim.spec.vmi_name.as_str());
        Self { world, migrating: migrations.map(of).collect(), known: RefCell::new(HashMap::new()) }
    }

    /// Returns the migration of a running guest that has not ended.
    pub(super) fn unfinished(&self, vmi: &Vmi) -> Option<UnfinishedMigration<'w>> {
        let is_migrating = self.migrating.contains(&(vmi.metadata.namespace.as_str(), vmi.metadata.name.as_str()));
        if is_migrating { UnfinishedMigration::of(vmi, &self.world.cluster) } else { None }
    }

    /// Returns the class of a guest that runs on a node and has at least two targets; `None` for any other guest, which
    /// is judged by itself.
    pub(super) fn find(&self, vmi: &'w Vmi, source: NodeIndex) -> Option<Rc<DemandClass>> {
        if !migration::runs(vmi) {
            return None;
        }
        let cluster = &self.world.cluster;
        let likeness = Likeness::of_running(vmi, cluster);
        let kind = alike(&mut self.known.borrow_mut(), likeness, || DemandClass::of(self.world, vmi));
        let left = kind.fits.count() - usize::from(kind.fits.contains(source));
        (kind.is_plain && left > 1).then_some(kind)
    }
}

impl DemandClass {
    fn of(world: &World, vmi: &Vmi) -> Self {
        let (cluster, fleet) = (&world.cluster, &world.cluster.fleet);
        let prepared = subject::of_migration(&subject::asked_for(vmi), cluster);
        let is_known = !matches!(prepared.assess(cluster).outcome, Outcome::Unknown(_));
        let architecture = prepared.subject.placement.get(label::ARCH);
        let strange = architecture.map(|architecture| fleet.bearing_another(label::ARCH, architecture));
        Self {
            fits: Rc::new(prepared.subject.fitting_with_any_vendor(fleet)),
            refused: prepared.subject.refused_targets(fleet),
            strange: strange.unwrap_or_else(|| Bits::none(fleet.len())),
            is_plain: is_known && prepared.not_judged.is_none(),
            doubts: RefCell::default(),
            prepared,
        }
    }

    /// Returns the number of candidate nodes for a guest on this one.
    pub(super) fn judged_from(&self, source: NodeIndex) -> usize {
        self.strange.len() - self.strange.count() - usize::from(!self.strange.contains(source))
    }
}
