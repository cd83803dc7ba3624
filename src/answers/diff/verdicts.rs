//! The verdict that an audit gives a guest of a cluster; guests with equal demands are judged once.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::answers::audit::Severity;
use crate::answers::guest_state::GuestStates;
use crate::answers::{Demand, Guests};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::immobile::down;
use crate::fit::label;
use crate::fit::outcome::OutcomeWord;
use crate::fit::placement::Placement;
use crate::judge::{GuestOf, all_guests};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::not_migratable::undecided_reason;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{migration, subject};
use crate::policy::LauncherSelectors;
use crate::world::World;

/// The verdict about a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestVerdict {
    /// The outcome; `Pinned` at least if KubeVirt refuses to migrate it.
    pub(crate) outcome: OutcomeWord,
    /// Whether its own node no longer matches its launcher.
    pub(crate) own_node: bool,
    /// Whether KubeVirt refuses to migrate it.
    pub(crate) not_migratable: bool,
}

/// Returns all guests of a world, by `namespace/name`, as an audit lists them.
pub(super) fn guests(cluster: &Cluster) -> BTreeMap<String, GuestOf<'_>> {
    let title = |guest: GuestOf<'_>| {
        let meta = guest.metadata();
        let name = subject::name_of(meta);
        if meta.namespace.is_empty() { name } else { format!("{}/{name}", meta.namespace) }
    };
    all_guests(cluster).map(|guest| (title(guest), guest)).collect()
}

/// Judges the guests of a world.
pub(crate) struct Verdicts<'w> {
    world: &'w World,
    like: Guests<'w>,
    states: GuestStates<'w>,
    /// Whether a policy changes what a migration requires.
    trims: bool,
}

impl<'w> Verdicts<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let trims = world.policies.iter().any(|policy| policy.launcher_selectors != LauncherSelectors::Keep);
        Self { world, like: Guests::new(&world.cluster), states: GuestStates::new(world), trims }
    }

    /// Returns the verdict about a guest.
    pub(crate) fn of(&mut self, guest: GuestOf<'w>) -> GuestVerdict {
        match guest.running() {
            Some(vmi) => self.running(vmi),
            // Whether it can be migrated is known only once it runs.
            None => GuestVerdict { outcome: self.states.of(guest).verdict(), own_node: false, not_migratable: false },
        }
    }

    fn running(&mut self, vmi: &'w Vmi) -> GuestVerdict {
        let (cluster, fleet): (&Cluster, &Fleet) = (&self.world.cluster, &self.world.cluster.fleet);
        let not_migratable = migration::not_migratable(vmi).is_some();
        let outcome = if self.trims {
            self.states.now(vmi).verdict()
        } else {
            let demand = self.like.demand(vmi);
            match demand.as_ref().map(|demand| &demand.placement) {
                _ if not_migratable || undecided_reason(vmi, cluster).is_some() => OutcomeWord::Pinned,
                Some(Ok(_)) if down(&vmi.status.node_name, fleet).is_some() => OutcomeWord::Pinned,
                Some(Err(why)) if why.is_lasting() => OutcomeWord::Pinned,
                _ => {
                    let own = fleet.find(&vmi.status.node_name);
                    demand.map_or(OutcomeWord::Unknown, |demand| outcome(fleet, &demand, own))
                }
            }
        };
        GuestVerdict { outcome, own_node: !self.world.cluster.unmet(vmi).is_empty(), not_migratable }
    }

    /// Returns the demand of a guest's migration; `None` if it does not run.
    pub(super) fn demand(&mut self, vmi: &'w Vmi) -> Option<Rc<Demand>> {
        self.like.demand(vmi)
    }

    /// Returns the placement of its start.
    pub(super) fn start(&self, guest: GuestOf<'_>) -> Placement<'static> {
        let cluster = &self.world.cluster;
        match guest.running() {
            Some(vmi) => subject::of_vmi(vmi, cluster).subject.placement,
            None => guest.prepared(cluster).subject.placement,
        }
    }
}

impl GuestVerdict {
    /// Returns the severity, as an audit does.
    pub(super) fn severity(self) -> Severity {
        match self.outcome {
            _ if self.own_node => Severity::OwnNode,
            OutcomeWord::Unschedulable => Severity::Unschedulable,
            OutcomeWord::Pinned => Severity::Pinned,
            OutcomeWord::Fragile => Severity::Fragile,
            OutcomeWord::Fits | OutcomeWord::Unknown => Severity::None,
        }
    }

    /// Whether the outcome is known.
    pub(super) fn is_known(self) -> bool {
        self.outcome != OutcomeWord::Unknown
    }
}

/// Judges a migration as [`crate::fit::assess`] does.
fn outcome(fleet: &Fleet, demand: &Demand, own: Option<NodeIndex>) -> OutcomeWord {
    let Ok(placement) = &demand.placement else { return OutcomeWord::Unknown };
    if fleet.is_empty() || !fleet.is_labelled(placement.get(label::ARCH)) {
        return OutcomeWord::Unknown;
    }
    match demand.targets(fleet, own) {
        0 | 1 if fleet.unread().is_some() => OutcomeWord::Unknown,
        0 => OutcomeWord::Pinned,
        1 => OutcomeWord::Fragile,
        _ => OutcomeWord::Fits,
    }
}
