//! Guests that the eviction shuts down and that start again without a user: each may take the place of a guest that is
//! migrated.

use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use super::outcome::GuestOutcome;
use super::space::SizeIndex;
use super::work;
use crate::fit::bits::Bits;
use crate::fit::remedy::{Action, Restart};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Vmi;
use crate::world::World;

/// Whether KubeVirt starts a guest again that ended. Mirrors `syncRunStrategy` of
/// `pkg/virt-controller/watch/vm/vm.go`, and `filterActiveVMIs` of
/// `pkg/virt-controller/watch/replicaset/replicaset.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restarts {
    /// In any case.
    Always,
    /// If it failed: a guest that does not shut down within its grace period.
    OnFailure,
    /// A replica set starts another guest from the same template in its place.
    Replaced,
    /// Not without a user.
    Never,
}

impl Restarts {
    pub(super) fn of(world: &World, vmi: &Vmi) -> Self {
        let meta = &vmi.metadata;
        if meta.owner_references.iter().any(|owner| owner.is_a(Resource::ReplicaSets)) {
            return Self::Replaced;
        }
        let Some(vm) = world.cluster.vm(&meta.namespace, &meta.name) else { return Self::Never };
        match (vm.spec.run_strategy.as_str(), vm.spec.running) {
            ("Always", _) | ("", Some(true)) => Self::Always,
            ("RerunOnFailure", _) => Self::OnFailure,
            _ => Self::Never,
        }
    }
}

/// The other nodes on which a guest starts after its shutdown.
#[derive(Debug)]
pub(super) struct Starts {
    pub places: Bits,
    /// Whether it is known that each of them takes it: its volumes and the rules about other pods decide too.
    pub are_known: bool,
}

/// Returns the other nodes on which a guest that is shut down may start; `None` if no node takes it.
pub(super) fn starts(world: &World, residents: &Residents<'_>, evicted: &EvictedGuest<'_>) -> Option<Starts> {
    let fleet = &world.cluster.fleet;
    let prepared = evicted.prepared(world)?;
    prepared.subject.restart.as_ref()?;
    let (subject, _) = Action::from(Restart).apply(&prepared.subject, fleet);
    let mut places = subject.fitting(fleet);
    places.remove(evicted.source);
    let known = subject.known_starts(&places, None, fleet);
    let are_known = known.is_some();
    let mut places = known.unwrap_or(places);
    if let Some(full) = residents.full(evicted.vmi) {
        places.subtract(&full);
    }
    (!places.is_empty()).then_some(Starts { places, are_known })
}

/// Fills in where guests that are shut down may start again: the nodes on which they affect guests that are migrated.
/// Any other node is as if they did not start.
pub(super) fn find(
    world: &World,
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &mut [GuestOutcome],
) {
    let of = |is: &dyn Fn(usize) -> bool| -> Vec<usize> { (0..evicted_guests.len()).filter(|&at| is(at)).collect() };
    let moving = of(&|at| !outcomes[at].targets.is_empty());
    let restarts = |at: usize| Restarts::of(world, evicted_guests[at].vmi) != Restarts::Never;
    let ended = of(&|at| evicted_guests[at].is_shut_down() && restarts(at));
    if residents.is_free() || moving.is_empty() || ended.is_empty() {
        return;
    }
    let vmi = |at: usize| evicted_guests[at].vmi;
    let mut wanted = Bits::none(world.cluster.fleet.len());
    for &at in &moving {
        wanted.union(&outcomes[at].targets);
    }
    let sizes: Vec<SizeIndex> = moving.iter().chain(&ended).filter_map(|&at| residents.size(vmi(at))).collect();
    let mut crowded = Bits::none(wanted.len());
    residents.space().crowded(&wanted, &sizes).into_iter().for_each(|node| crowded.insert(node));
    let gone: Vec<&Vmi> = moving.iter().chain(&ended).map(|&at| vmi(at)).collect();
    let mut off = None;
    for (number, &at) in ended.iter().enumerate() {
        work::count(moving.len());
        let apart: Vec<usize> =
            moving.iter().copied().filter(|&other| residents.are_apart(vmi(at), vmi(other))).collect();
        if apart.is_empty() && (crowded.is_empty() || residents.size(vmi(at)).is_none()) {
            continue;
        }
        let Some(Starts { mut places, .. }) = starts(world, residents, evicted_guests[at]) else { continue };
        let off = off.get_or_insert_with(|| residents.kept_off_by_others(&gone));
        off.get(&(moving.len() + number)).into_iter().for_each(|off| places.subtract(off));
        let closes = |&place: &usize| {
            work::count(1);
            let closed = |&other: &usize| residents.closes(vmi(other), vmi(at), place).meets(&outcomes[other].targets);
            (crowded.contains(place) && residents.size(vmi(at)).is_some()) || apart.iter().any(closed)
        };
        let mut matter = Bits::none(places.len());
        places.iter().filter(closes).for_each(|place| matter.insert(place));
        outcomes[at].starts = Some(matter).filter(|matter| !matter.is_empty());
    }
}
