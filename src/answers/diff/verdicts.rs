//! The verdict that an audit gives a guest of a cluster; guests with equal demands are judged once.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::answers::audit::{Severity, audit};
use crate::answers::guest_state::{self, GuestOf};
use crate::answers::{Demand, Guests};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label;
use crate::fit::outcome::OutcomeWord;
use crate::fit::placement::Placement;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{migration, subject};
use crate::policy::LauncherSelectors;
use crate::world::World;

/// The verdict about a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GuestVerdict {
    /// The outcome; `Pinned` at least if KubeVirt refuses to migrate it.
    pub(super) outcome: OutcomeWord,
    /// Whether its own node no longer matches its launcher.
    pub(super) own_node: bool,
    /// Whether KubeVirt refuses to migrate it.
    pub(super) not_migratable: bool,
}

/// Returns all guests of a world, by `namespace/name`, as an audit lists them.
pub(super) fn guests(cluster: &Cluster) -> BTreeMap<String, GuestOf<'_>> {
    let title = |guest: GuestOf<'_>| {
        let meta = guest.metadata();
        let name = subject::name_of(meta);
        if meta.namespace.is_empty() { name } else { format!("{}/{name}", meta.namespace) }
    };
    guest_state::each(cluster).map(|guest| (title(guest), guest)).collect()
}

/// Judges the guests of a world.
pub(super) struct Verdicts<'w> {
    world: &'w World,
    like: Guests<'w>,
    /// The result of the audit itself, if policies change what guests require; else `None`.
    audited: Option<BTreeMap<String, GuestVerdict>>,
}

impl<'w> Verdicts<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let changes = world
            .policies
            .iter()
            .any(|policy| policy.common_model.is_some() || policy.launcher_selectors != LauncherSelectors::Keep);
        let row = |row: crate::answers::audit::AuditRow| {
            let verdict = GuestVerdict {
                outcome: row.stated_verdict,
                own_node: row.own_node,
                not_migratable: row.not_migratable.is_some(),
            };
            (row.guest, verdict)
        };
        let audited = changes.then(|| audit(world, &|| false).into_iter().map(row).collect());
        Self { world, like: Guests::new(&world.cluster), audited }
    }

    /// Returns the verdict about a guest; `None` if there is no such guest.
    pub(super) fn of(&mut self, title: &str, guest: GuestOf<'w>) -> Option<GuestVerdict> {
        if let Some(audited) = &self.audited {
            return audited.get(title).copied();
        }
        let cluster: &'w Cluster = &self.world.cluster;
        // Whether it can be migrated is known only once it runs.
        let of_start = |outcome| GuestVerdict { outcome, own_node: false, not_migratable: false };
        Some(match guest {
            GuestOf::Vmi(vmi) if migration::runs(vmi) => self.running(vmi),
            GuestOf::Vmi(vmi) => of_start(self.like.start(vmi).outcome.word()),
            GuestOf::Vm(vm) => of_start(subject::of_vm(vm, cluster).assess(cluster).outcome.word()),
        })
    }

    fn running(&mut self, vmi: &'w Vmi) -> GuestVerdict {
        let fleet: &Fleet = &self.world.cluster.fleet;
        let own = fleet.find(&vmi.status.node_name);
        let demand = self.like.demand(vmi);
        let not_migratable = migration::not_migratable(vmi).is_some();
        let by_labels = demand.map_or(OutcomeWord::Unknown, |demand| outcome(fleet, &demand, own));
        GuestVerdict {
            outcome: if not_migratable { OutcomeWord::Pinned } else { by_labels },
            own_node: !self.world.cluster.unmet(vmi).is_empty(),
            not_migratable,
        }
    }

    /// Returns the demand of a guest's migration; `None` if it does not run.
    pub(super) fn demand(&mut self, vmi: &'w Vmi) -> Option<Rc<Demand>> {
        self.like.demand(vmi)
    }

    /// Returns the placement of its start.
    pub(super) fn start(&self, guest: GuestOf<'_>) -> Placement<'static> {
        let cluster = &self.world.cluster;
        match guest {
            GuestOf::Vmi(vmi) => subject::of_vmi(vmi, cluster).subject.placement,
            GuestOf::Vm(vm) => subject::of_vm(vm, cluster).subject.placement,
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
