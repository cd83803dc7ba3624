//! One guest of a node that is to be drained: the effect of its eviction, and the nodes its labels allow.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::anti_affinity::Residents;
use super::demand_class::{DemandClass, DemandClasses, IsOfCpu};
use super::outcome::GuestOutcome;
use super::{GuestRow, NodeList, State, StaysUntil};
use crate::answers::pod_rules::ClosedByRules;
use crate::answers::{obstacles, policy_of};
use crate::enforce::forecast::apply_at_restart;
use crate::fit::bits::Bits;
use crate::fit::check::{Doubt, SourceLabels};
use crate::fit::command::{Command, Name, Namespace};
use crate::fit::fleet::{Fleet, NodeHealth, NodeIndex};
use crate::fit::immobile::{Immobile, down};
use crate::fit::judgement::Depth;
use crate::fit::label::{self, Family};
use crate::fit::libvirt::Answers;
use crate::fit::named_part::NamedPart;
use crate::fit::plural::{fold_names, number};
use crate::fit::subject::{BoundVolume, CpuMode, PodRule, Stage, Subject};
use crate::fit::verdict::{self, Detail, Finding};
use crate::judge::apply_expected_trim;
use crate::kubevirt::eviction::{self, Effect, ShutDown};
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Prepared, UnfinishedMigration};
use crate::kubevirt::wire::Vmi;
use crate::policy::{LauncherSelectors, Policy};
use crate::say;
use crate::world::World;

/// The effect of the eviction of a guest's launcher. The texts are reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EvictionEffect {
    /// Migration by KubeVirt.
    Moves,
    /// A migration that KubeVirt would start but refuses.
    Refused(String),
    /// A shutdown.
    ShutDown(String),
    /// No effect: KubeVirt leaves the guest in place, and the drain waits.
    Stays(String),
    /// No migration yet: KubeVirt begins it once the guest runs.
    Starts(String),
    /// Something about the guest that is not known, so that its effect is not.
    NotKnown(String),
    /// A wait of the drain for a budget; the guest is shut down once the budget allows it.
    Held(String),
    /// An end of the guest that is already under way, regardless of the drain.
    Ends(String),
}

/// A guest of a node that is to be drained.
#[derive(Debug)]
pub(super) struct EvictedGuest<'w> {
    pub vmi: &'w Vmi,
    pub title: String,
    /// The node it has to leave.
    pub source: NodeIndex,
    pub effect: EvictionEffect,
    /// The guest prepared as its migration; `None` if it does not run. For a guest of a demand class it is computed at
    /// first use.
    prepared: OnceCell<Option<Prepared<'static>>>,
    kind: Option<Rc<DemandClass>>,
    /// The other nodes that take it by labels, taints, node affinity and volumes.
    pub fitting: Bits,
    /// The nodes of `fitting` and its own node, if that takes it.
    pub fits: Rc<Bits>,
    /// The nodes that take it except for its volumes.
    off_by_volumes: Bits,
    /// The nodes that take it except for its rules about pods, and these rules.
    off_by_rules: (Bits, ClosedByRules),
    /// The nodes on which all its volumes can be used; `None` if none of them is bound to nodes.
    pub usable: Option<Bits>,
    /// The nodes that fit by labels and have a libvirt that refuses it; `None` if libvirt was not asked.
    refused: Option<Bits>,
    /// Number of nodes judged.
    nodes_judged: usize,
    /// The policy that governs it; `None` for the built-in one.
    pub policy: Option<String>,
    /// Whether a budget that it shares with others lets its shutdown wait for theirs.
    pub goes_in_turn: bool,
    /// The node it runs on until its active migration brings it to its new node; `None` without such a migration.
    pub comes_from: Option<&'w str>,
    /// Its migration that has not ended and does not bring it to another node yet. KubeVirt creates no other one before
    /// (`filterRunningNonMigratingVMIs` of `pkg/virt-controller/watch/drain/evacuation/evacuation.go`).
    unfinished: Option<UnfinishedMigration<'w>>,
}

/// Returns, by node, the guests that leave it by an active migration. `landed` is the world once that has ended.
pub(super) fn leaving(now: &World, landed: &World) -> HashMap<NodeIndex, Vec<GuestRow>> {
    let fleet = &now.cluster.fleet;
    let mut out: HashMap<NodeIndex, Vec<GuestRow>> = HashMap::new();
    for vmi in now.cluster.vmis() {
        let Some(source) = fleet.find(&vmi.status.node_name) else { continue };
        let Some(after) = landed.cluster.vmi(&vmi.metadata.namespace, &vmi.metadata.name) else { continue };
        let to = &after.status.node_name;
        if *to == vmi.status.node_name {
            continue;
        }
        let under_way = format!("its migration to {to} is under way");
        let mut targets = Bits::none(fleet.len());
        let (state, why) = if let EvictionEffect::ShutDown(why) = eviction_effect(now, vmi) {
            let only = format!("{under_way}: it is shut down only where its eviction comes before that ends");
            (State::ShutDown, format!("{why} ({only})"))
        } else {
            fleet.find(to).into_iter().for_each(|to| targets.insert(to));
            (State::CanLeave, under_way)
        };
        out.entry(source).or_default().push(GuestRow {
            guest: subject::title(&vmi.metadata),
            state,
            targets: NodeList { fleet: Arc::clone(fleet), nodes: targets },
            why,
            judged: fleet.len().saturating_sub(1),
            no_room: NodeList { fleet: Arc::clone(fleet), nodes: Bits::none(fleet.len()) },
            libvirt_refuses: None,
            after: Vec::new(),
            rivals: Vec::new(),
            preempts: Vec::new(),
            migrates_to: Some(to.clone()),
            comes_from: None,
            unfinished_migration: None,
            is_tried: true,
            stays_until: None,
            goes_in_turn: false,
            is_doubtful: false,
            draws_vendor: false,
            may_be_down: false,
            has_failed: false,
        });
    }
    out
}

impl<'w> EvictedGuest<'w> {
    pub(super) fn of(kinds: &DemandClasses<'w>, vmi: &'w Vmi, source: NodeIndex) -> Self {
        let (world, cluster) = (kinds.world, &kinds.world.cluster);
        let none = Bits::none(cluster.fleet.len());
        let mut evicted = Self {
            vmi,
            title: subject::title(&vmi.metadata),
            source,
            effect: eviction_effect(world, vmi),
            prepared: OnceCell::new(),
            kind: None,
            fitting: none.clone(),
            fits: Rc::new(Bits::default()),
            off_by_volumes: none.clone(),
            off_by_rules: (none.clone(), ClosedByRules::default()),
            usable: BoundVolume::all_usable(&subject::bound_volumes(vmi, cluster), &cluster.fleet),
            refused: None,
            nodes_judged: cluster.fleet.len().saturating_sub(1),
            policy: None,
            goes_in_turn: false,
            comes_from: None,
            unfinished: kinds.unfinished(vmi),
        };
        if let EvictionEffect::Ends(_) = evicted.effect {
            evicted.prepared = OnceCell::from(None);
            return evicted;
        }
        let policy = policy_of(world, &world.policies, vmi, Some(source), &none);
        let keeps = policy.is_none_or(|policy| policy.launcher_selectors == LauncherSelectors::Keep);
        if let Some(kind) = keeps.then(|| kinds.find(vmi, source)).flatten() {
            evicted.policy = policy.map(|policy| policy.name.clone());
            evicted.nodes_judged = kind.judged_from(source);
            if evicted.effect == EvictionEffect::Moves {
                (evicted.fitting, evicted.fits) = (Bits::clone(&kind.fits), Rc::clone(&kind.fits));
                evicted.fitting.remove(source);
                evicted.refused.clone_from(&kind.refused);
                evicted.refused.iter_mut().for_each(|refused| refused.remove(source));
            }
            evicted.kind = Some(kind);
            evicted.keep_to_volumes();
            return evicted;
        }
        let prepared = subject::of_running(vmi, cluster);
        let Some(mut prepared) = prepared else {
            evicted.prepared = OnceCell::from(None);
            return evicted;
        };
        let mut assessment = prepared.assess(cluster);
        evicted.policy = policy.map(|policy| policy.name.clone());
        let policy = policy.cloned().unwrap_or_else(Policy::builtin);
        if apply_expected_trim(world, &policy, &mut prepared, None) {
            assessment = prepared.assess(cluster);
        }
        apply_at_restart(world, &policy, &mut prepared.subject, Depth::Brief.into());
        (evicted.fitting, evicted.nodes_judged) = (assessment.fitting, assessment.nodes_judged);
        if evicted.effect == EvictionEffect::Moves {
            if let Some(why) = &prepared.not_judged {
                let words = say::finding::message(why);
                evicted.effect = match why.impact {
                    None => EvictionEffect::NotKnown(format!("whether it can leave is not known: {words}")),
                    Some(_) => EvictionEffect::Refused(words),
                };
            } else if let verdict::Outcome::Unknown(why) = assessment.outcome {
                evicted.effect = EvictionEffect::NotKnown(format!(
                    "whether it can leave is not known: {}",
                    say::finding::unknown(&why)
                ));
            }
        }
        if evicted.effect == EvictionEffect::Moves {
            evicted.fits = Rc::new(prepared.subject.fitting_with_any_vendor(&cluster.fleet));
            if prepared.subject.has_several_vendors() {
                evicted.fitting.union(&evicted.fits);
                evicted.fitting.remove(source);
            }
            evicted.refused = prepared.subject.refused_targets(&cluster.fleet);
        } else {
            evicted.fitting = none;
        }
        evicted.prepared = OnceCell::from(Some(prepared));
        evicted.keep_to_volumes();
        evicted
    }

    /// Removes the nodes on which its volumes cannot be used.
    fn keep_to_volumes(&mut self) {
        let Some(usable) = &self.usable else { return };
        self.refused.iter_mut().for_each(|refused| refused.intersect(usable));
        self.off_by_volumes = self.fitting.clone();
        self.off_by_volumes.subtract(usable);
        if !self.off_by_volumes.is_empty() {
            self.fitting.intersect(usable);
            let mut fits = Bits::clone(&self.fits);
            fits.intersect(usable);
            self.fits = Rc::new(fits);
        }
    }

    /// Removes the nodes that its rules about pods close.
    pub(super) fn keep_to_rules(&mut self, closed: ClosedByRules) {
        let all = self.fitting.clone();
        if !closed.is_empty() {
            closed.leave(&mut self.fitting);
            let mut fits = Bits::clone(&self.fits);
            closed.leave(&mut fits);
            if fits != *self.fits {
                self.fits = Rc::new(fits);
            }
            self.refused.iter_mut().for_each(|refused| closed.leave(refused));
        }
        let mut off = all;
        off.subtract(&self.fitting);
        self.off_by_rules = (off, closed);
    }

    /// Removes from nodes that its migration may go to those that its volumes and its rules about pods exclude.
    pub(super) fn keep_to_places(&self, nodes: &mut Bits) {
        self.usable.iter().for_each(|usable| nodes.intersect(usable));
        self.off_by_rules.1.leave(nodes);
    }

    /// Returns `its migration mig1 is unfinished (Scheduling), and no node takes its target pod: KubeVirt starts no
    /// other one before that has failed or is cancelled (virtctl migrate-cancel db -n shop)`.
    fn waits_for_migration(&self) -> Option<String> {
        let unfinished = self.unfinished?;
        let (namespace, name) = (&self.vmi.metadata.namespace, &self.vmi.metadata.name);
        let cancel = || {
            let command = Command::virtctl(["migrate-cancel"]).arg(Name::new(name).ok()?);
            Some(format!(" ({})", command.namespace(Namespace::new(namespace).ok()?)))
        };
        let ends = if unfinished.goes_nowhere {
            format!("has failed or is cancelled{}", cancel().unwrap_or_default())
        } else {
            "has ended".to_owned()
        };
        Some(format!("{unfinished}: KubeVirt starts no other one before that {ends}"))
    }

    /// Returns `its volume root (PersistentVolume pv-1) can be used on node-a alone`, for the volumes that exclude it
    /// from a node.
    fn by_volumes(&self, world: &World) -> Option<String> {
        let fleet = &world.cluster.fleet;
        let bound = subject::bound_volumes(self.vmi, &world.cluster);
        let place = |volume: &BoundVolume| {
            (volume.usable(fleet).count() < fleet.len()).then(|| obstacles::usable_on(volume, fleet))
        };
        let places: Vec<String> = bound.iter().filter_map(place).collect();
        (!places.is_empty()).then(|| fold_names(&places, 2))
    }

    /// Whether its volumes can be used on another node.
    pub(super) fn has_elsewhere(&self) -> bool {
        self.usable.as_ref().is_none_or(|usable| usable.iter().any(|node| node != self.source))
    }

    /// Returns `by_volumes` with a suffix if no other node could start the guest; `None` otherwise.
    fn is_bound(&self, world: &World) -> Option<String> {
        let mut elsewhere = self.usable.clone()?;
        elsewhere.remove(self.source);
        let why = self.by_volumes(world).filter(|_| elsewhere.is_empty())?;
        Some(format!("{why}, so it starts nowhere else"))
    }

    /// Returns the command that migrates a guest held up by a budget, if a node takes it.
    fn by_hand(&self, world: &World, residents: &Residents<'_>) -> Option<String> {
        let prepared = self.prepared(world).filter(|_| migration::not_evacuated(self.vmi).is_none())?;
        let is_held = Immobile::of(&prepared.subject, &world.cluster.fleet).is_some();
        if is_held || UnfinishedMigration::of(self.vmi, &world.cluster).is_some() {
            return None;
        }
        let mut nodes = prepared.assess(&world.cluster).fitting;
        self.keep_to_places(&mut nodes);
        residents.full(self.vmi).iter().for_each(|full| nodes.subtract(full));
        let (name, namespace) = (&prepared.subject.name, &prepared.subject.namespace);
        let command =
            Command::virtctl(["migrate"]).arg(Name::new(name).ok()?).namespace(Namespace::new(namespace).ok()?);
        let fit = number(nodes.count(), "node fits", "nodes fit");
        (!nodes.is_empty()).then(|| format!("{command} moves it without an eviction ({} {fit})", nodes.count()))
    }

    /// Returns whether libvirt refused its CPU at its last migration; `None` if that did not fail.
    fn has_failed(&self) -> Option<IsOfCpu> {
        subject::last_failure(self.vmi).map(|failed| IsOfCpu(failed.is_of_cpu))
    }

    /// Whether libvirt may refuse it on nodes that fit by labels, or that would after an act: its CPU depends on its
    /// node, or libvirt refused that at its last migration, and libvirt has not accepted it on every target.
    fn is_doubtful(&self, fleet: &Fleet) -> bool {
        let asked = self.asks().and_then(Subject::asked);
        let agree = |asked: &Answers| fleet.names(&self.fitting).into_iter().all(|node| asked.agrees(node));
        if !self.fitting.is_empty() && asked.is_some_and(agree) {
            return false;
        }
        self.has_failed() == Some(IsOfCpu(true))
            || self.asks().is_some_and(|subject| {
                let Stage::Migration(migration) = &subject.stage else { return false };
                let is_hidden = || {
                    subject.mode == CpuMode::HostModel
                        && match &migration.unasked {
                            Some(unasked) => self.may_lack(subject, unasked, fleet),
                            None => models_asked(subject).any(|key| self.may_lack_features_of(subject, key, fleet)),
                        }
                };
                let lacks_optional = || self.may_lack(subject, &subject.optional_on(self.source, fleet), fleet);
                subject.mode.may_pass_through() || migration.overlooked || is_hidden() || lacks_optional()
            })
    }

    /// Returns the nodes that fit; if none does, those whose CPU labels fit.
    fn nearest(&self, subject: &Subject<'_>, fleet: &Fleet) -> Bits {
        let by_cpu = || fleet.look_up(&subject.placement).passes().cpu;
        let mut nodes = if self.fitting.is_empty() { by_cpu() } else { self.fitting.clone() };
        nodes.remove(self.source);
        nodes
    }

    /// Whether a node that fits lacks one of these entries of a host model, or a feature that the model has by its
    /// name; if none fits, a node whose CPU labels fit.
    fn may_lack(&self, subject: &Subject<'_>, entries: &[(String, String)], fleet: &Fleet) -> bool {
        let nodes = self.nearest(subject, fleet);
        let lacks = |(key, value): &(String, String)| {
            let mut lacking = nodes.clone();
            lacking.subtract(&fleet.bearing(key, value));
            !lacking.is_empty()
        };
        let mut models = entries.iter().map(|(key, _)| key.as_str()).filter(|key| Family::of(key).is_model());
        entries.iter().any(lacks) || models.any(|key| self.may_lack_features_of(subject, key, fleet))
    }

    /// Whether such a node lacks a feature that the model of this key has by its name.
    fn may_lack_features_of(&self, subject: &Subject<'_>, key: &str, fleet: &Fleet) -> bool {
        let model = label::name(key);
        let suspects = NamedPart::not_usable(fleet, model, &self.nearest(subject, fleet));
        let is_true = |key: &str| fleet.label(self.source, key) == Some("true");
        let named = NamedPart::of(fleet, is_true, model, subject);
        suspects.iter().any(|node| !named.lacked_by(node).is_empty())
    }

    /// Whether its migration asks for any one of several CPU vendors, one of which leaves none of these targets.
    fn draws_vendor(&self, targets: &Bits, fleet: &Fleet) -> bool {
        let Some(subject) = self.asks().filter(|subject| subject.has_several_vendors()) else { return false };
        let Stage::Migration(migration) = &subject.stage else { return false };
        let with = |vendor: &String| fleet.look_up(&subject.placement.with_vendor(vendor)).passes().fitting;
        migration.vendors.iter().any(|vendor| !with(vendor).meets(targets))
    }

    /// Returns those of its targets that are not Ready.
    fn not_ready(targets: &Bits, fleet: &Fleet) -> Bits {
        let mut nodes = targets.clone();
        nodes.intersect(fleet.not_ready());
        nodes
    }

    /// Whether its migration copies labels of its node, so that a change of them changes what it asks for.
    pub(super) fn copies_labels(&self, world: &World) -> bool {
        let Some(prepared) = self.prepared(world).filter(|_| self.effect == EvictionEffect::Moves) else {
            return false;
        };
        let Stage::Migration(migration) = &prepared.subject.stage else { return false };
        migration.vendors.len() > 1 || (prepared.subject.mode == CpuMode::HostModel && migration.copies_labels())
    }

    /// Returns the findings of `explain` that may exclude nodes that fit by labels, each with whether it is about the
    /// CPU. They are equal for all guests of a class on one node, except for a guest whose last migration failed.
    fn doubts(&self, world: &World) -> Vec<(String, IsOfCpu)> {
        let asks_vendor = |subject: &Subject<'_>| subject.placement.selector.iter().any(|(key, _)| is_vendor(key));
        let has_failed = self.has_failed().is_some();
        let fleet = &world.cluster.fleet;
        let is_unwell = fleet.health(self.source) != NodeHealth::Well;
        let may_be_doubtful = is_unwell
            || has_failed
            || self.asks().is_some_and(Subject::has_several_vendors)
            || self.may_be_doubtful(fleet);
        if !may_be_doubtful && self.asks().is_none_or(asks_vendor) {
            return Vec::new();
        }
        match self.kind.as_ref().filter(|_| !has_failed) {
            Some(kind) => {
                kind.doubts.borrow_mut().entry(self.source).or_insert_with(|| self.find_doubts(world)).clone()
            }
            None => self.find_doubts(world),
        }
    }

    /// Whether a check may have doubts about a node that fits: no more than what is seen without a look at each node.
    fn may_be_doubtful(&self, fleet: &Fleet) -> bool {
        self.asks().is_some_and(|subject| {
            let Stage::Migration(migration) = &subject.stage else { return false };
            let is_unusable = |key: &str| !NamedPart::not_usable(fleet, label::name(key), &self.fitting).is_empty();
            subject.mode.may_pass_through()
                || migration.overlooked
                || migration.unasked.is_some()
                || !subject.features.optional.is_empty()
                || (subject.mode == CpuMode::HostModel && models_asked(subject).any(is_unusable))
        })
    }

    fn find_doubts(&self, world: &World) -> Vec<(String, IsOfCpu)> {
        let Some(prepared) = self.prepared(world) else { return Vec::new() };
        let verdict = prepared.judge(&world.cluster, Depth::Brief);
        // The drain itself judges pods and volumes.
        let is_named =
            |finding: &&Finding| matches!(finding.check.spec().doubt, Some(Doubt::Libvirt | Doubt::VirtHandler));
        let named = verdict.findings.iter().filter(is_named);
        let is_of_cpu = |finding: &Finding| match &finding.detail {
            Detail::LibvirtRefused(last) => last.is_of_cpu,
            // kube-scheduler finds no node for the vendor that is drawn.
            Detail::SourceLabels(SourceLabels::Vendors { .. }) | Detail::SourceNotReady(_) => false,
            _ => true,
        };
        named.map(|finding| (say::finding::message(finding), IsOfCpu(is_of_cpu(finding)))).collect()
    }

    /// Sets `comes_from` if the guest is still on its way to its node.
    pub(super) fn on_its_way(mut self, now: &'w World) -> Self {
        let (meta, arrives_at) = (&self.vmi.metadata, &self.vmi.status.node_name);
        let before = now.cluster.vmi(&meta.namespace, &meta.name).map(|before| before.status.node_name.as_str());
        self.comes_from = before.filter(|from| !from.is_empty() && from != arrives_at);
        self
    }

    /// Returns the guest prepared as its migration; `None` if it does not run.
    pub(super) fn prepared(&self, world: &World) -> Option<&Prepared<'static>> {
        let prepared = self.prepared.get_or_init(|| {
            let mut prepared = subject::of_running(self.vmi, &world.cluster)?;
            // Its policy drops no node selector entry here; its findings are added.
            let named = world.policies.iter().find(|policy| Some(&policy.name) == self.policy.as_ref());
            let policy = named.cloned().unwrap_or_else(Policy::builtin);
            apply_expected_trim(world, &policy, &mut prepared, None);
            apply_at_restart(world, &policy, &mut prepared.subject, Depth::Brief.into());
            Some(prepared)
        });
        prepared.as_ref()
    }

    /// Returns the subject of the guest or, without name and node, of its class; `None` if it does not run.
    pub(super) fn asks(&self) -> Option<&Subject<'static>> {
        let own = self.prepared.get().and_then(Option::as_ref);
        own.or_else(|| self.kind.as_ref().map(|kind| &kind.prepared)).map(|prepared| &prepared.subject)
    }

    /// Returns the row of the report.
    pub(super) fn row(&self, world: &World, residents: &Residents<'_>, outcome: &GuestOutcome) -> GuestRow {
        let fleet = &world.cluster.fleet;
        let nodes = |nodes: &Bits| NodeList { fleet: Arc::clone(fleet), nodes: nodes.clone() };
        let mut doubts = Vec::new();
        let (state, why) = match &self.effect {
            EvictionEffect::ShutDown(why) => (State::ShutDown, joined(why, self.is_bound(world))),
            EvictionEffect::Stays(why) | EvictionEffect::Starts(why) | EvictionEffect::NotKnown(why) => {
                (State::Stays, why.clone())
            }
            EvictionEffect::Held(why) => (State::Stays, joined(why, self.by_hand(world, residents))),
            EvictionEffect::Ends(why) => (State::Ends, why.clone()),
            EvictionEffect::Refused(why) => (State::Stuck, joined(why, self.is_bound(world))),
            EvictionEffect::Moves => {
                let state = match (outcome.place, outcome.targets.count()) {
                    (None, _) => State::Stuck,
                    (Some(_), 1) => State::OneTarget,
                    (Some(_), _) => State::CanLeave,
                };
                if state != State::Stuck {
                    doubts = self.doubts(world);
                }
                (state, self.why(world, residents, state, outcome, &doubts))
            }
        };
        let why = match self.comes_from {
            None => why,
            Some(from) => {
                let until = match state {
                    State::ShutDown => {
                        format!(": evicted before that ends, its target pod goes and it stays on {from}")
                    }
                    _ => String::new(),
                };
                let why = Some(why).filter(|why| !why.is_empty()).map(|why| format!("; {why}")).unwrap_or_default();
                format!("its migration from {from} is under way{until}{why}")
            }
        };
        GuestRow {
            guest: self.title.clone(),
            state,
            targets: nodes(&outcome.targets),
            why,
            judged: self.nodes_judged,
            no_room: nodes(&outcome.no_room),
            libvirt_refuses: self.refused.as_ref().map(nodes),
            is_tried: self.effect == EvictionEffect::Moves,
            stays_until: match self.effect {
                EvictionEffect::Held(_) => Some(StaysUntil::Budget),
                EvictionEffect::Starts(_) => Some(StaysUntil::Running),
                EvictionEffect::Stays(_) => Some(StaysUntil::Others),
                _ => None,
            },
            goes_in_turn: self.goes_in_turn,
            is_doubtful: self.effect == EvictionEffect::Moves
                && match state {
                    State::OneTarget | State::CanLeave => doubts.iter().any(|(_, of)| *of == IsOfCpu(true)),
                    _ => self.is_doubtful(fleet),
                },
            draws_vendor: self.effect == EvictionEffect::Moves
                && matches!(state, State::OneTarget | State::CanLeave)
                && self.draws_vendor(&outcome.targets, fleet),
            may_be_down: matches!(state, State::OneTarget | State::CanLeave)
                && !Self::not_ready(&outcome.targets, fleet).is_empty(),
            has_failed: self.effect == EvictionEffect::Moves && self.has_failed() == Some(IsOfCpu(false)),
            after: outcome.after.clone(),
            rivals: outcome.rivals.as_ref().map(|rivals| rivals.names.clone()).unwrap_or_default(),
            preempts: outcome.victims.clone(),
            migrates_to: None,
            comes_from: self.comes_from.map(str::to_owned),
            unfinished_migration: self
                .unfinished
                .filter(|_| self.effect == EvictionEffect::Moves)
                .map(|unfinished| unfinished.name().to_owned()),
        }
    }

    /// Returns `its required pod affinity is not judged: …`. Required anti-affinity is judged, against the known
    /// pods.
    fn unjudged(&self, residents: &Residents<'_>) -> Option<String> {
        let is_judged = |rule: &PodRule| *rule == PodRule::Affinity && self.off_by_rules.1.judges_affinity();
        let rules = self.asks()?.unjudged.pod_rules.iter().filter(|rule| !is_judged(rule));
        let (apart, rules): (Vec<PodRule>, Vec<PodRule>) = rules.partition(|rule| **rule == PodRule::AntiAffinity);
        let among_guests = !apart.is_empty() && !residents.knows_others();
        let parts = [
            (!rules.is_empty()).then(|| say::pod_rules::rules_not_judged(&rules)),
            among_guests
                .then(|| "its required pod anti-affinity is judged among guests: other pods are not known".to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns `libvirt refuses its CPU on node-b, which fits by labels (missing feature hle)`.
    fn libvirt_refuses(&self, fleet: &Fleet) -> Option<String> {
        let asked = self.asks()?.asked()?;
        let names = fleet.names(self.refused.as_ref()?);
        let refusals: Vec<_> =
            names.into_iter().filter_map(|node| Some((node.to_owned(), asked.refusal(node)?.clone()))).collect();
        (!refusals.is_empty()).then(|| say::finding::libvirt_refuses(&refusals))
    }

    /// Returns why a guest that is to be migrated cannot leave, or only to one node; and what is not judged.
    fn why(
        &self,
        world: &World,
        residents: &Residents<'_>,
        state: State,
        outcome: &GuestOutcome,
        doubts: &[(String, IsOfCpu)],
    ) -> String {
        let fleet = &world.cluster.fleet;
        let by_labels = || match self.prepared(world) {
            Some(prepared)
                if self.fitting.is_empty() && self.off_by_volumes.is_empty() && self.off_by_rules.0.is_empty() =>
            {
                let verdict = prepared.judge(&world.cluster, Depth::Brief);
                say::obstacles(&verdict)
            }
            _ => String::new(),
        };
        let by_rules = self.off_by_rules.1.sentences(&self.off_by_rules.0, fleet);
        let only = |left: &Bits| format!("only {}", fleet.names(left).join(", "));
        let parts = [
            self.waits_for_migration(),
            (state == State::Stuck).then(by_labels).filter(|why| !why.is_empty()),
            (state == State::OneTarget).then(|| only(&outcome.targets)),
            (state != State::CanLeave && !self.fitting.is_empty()).then(|| self.libvirt_refuses(fleet)).flatten(),
            outcome.once_left(),
            outcome.rivals.as_ref().map(|rivals| rivals.sentence(fleet, state)),
            outcome.kept_apart(fleet),
            (!by_rules.is_empty()).then(|| by_rules.join("; ")),
            outcome.without_room(fleet),
            outcome.room_to_come(),
            outcome.preempts(fleet),
            (!self.off_by_volumes.is_empty() || (state == State::Stuck && self.fitting.is_empty()))
                .then(|| self.by_volumes(world))
                .flatten(),
            (state != State::Stuck).then(|| Self::not_ready(&outcome.targets, fleet)).and_then(|nodes| {
                let names = fleet.names(&nodes);
                (!names.is_empty()).then(|| say::finding::not_ready(&names))
            }),
            joined_all(doubts),
            (state != State::Stuck).then(|| self.unjudged(residents)).flatten(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Returns the effect of the eviction in KubeVirt, regardless of the nodes.
pub(crate) fn eviction_effect(world: &World, vmi: &Vmi) -> EvictionEffect {
    match eviction::effect(vmi, &world.cluster) {
        Effect::Migrates => match down(&vmi.status.node_name, &world.cluster.fleet) {
            Some(node) => EvictionEffect::Refused(say::finding::source_down(node)),
            None => EvictionEffect::Moves,
        },
        Effect::Ends => {
            let why = "it is being deleted (metadata.deletionTimestamp): it ends with or without the drain";
            EvictionEffect::Ends(why.to_owned())
        }
        Effect::MigratesOnceItRuns => {
            let reported = subject::why_not_started(vmi);
            EvictionEffect::Starts(say::eviction::not_running(&vmi.status.phase, reported.as_ref()))
        }
        Effect::NotStarted(field) => EvictionEffect::Refused(say::finding::migrations_off(field)),
        Effect::NotMigrated(why) => {
            EvictionEffect::Refused(format!("it is not live-migratable: {}", say::eviction::not_evacuated(why)))
        }
        Effect::ShutDown(why) => EvictionEffect::ShutDown(match why {
            ShutDown::NoStrategy => "evictionStrategy None, or none at all: it is shut down, not migrated".to_owned(),
            ShutDown::UnknownStrategy(stated) => {
                format!("{}: it is shut down", say::eviction::unknown_strategy(stated))
            }
            ShutDown::NotPossible(why) => format!(
                "it is not live-migratable ({}), and is shut down: LiveMigrateIfPossible",
                say::eviction::not_evacuated(why)
            ),
        }),
        Effect::Held(held) => EvictionEffect::Held(say::eviction::held(held)),
        Effect::External => {
            EvictionEffect::Stays("evictionStrategy External: something else than KubeVirt has to move it".to_owned())
        }
    }
}

/// Returns the keys by which a migration asks for the name of a host model.
fn models_asked<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = &'s str> {
    let keys = subject.placement.selector.iter().map(|(key, _)| key.as_ref());
    keys.filter(|key: &&str| Family::of(key) == Family::CpuModelMigration)
}

fn is_vendor(key: &str) -> bool {
    Family::of(key) == Family::CpuVendor
}

/// Joins the words of doubts; `None` without any.
fn joined_all(doubts: &[(String, IsOfCpu)]) -> Option<String> {
    let words: Vec<&str> = doubts.iter().map(|(words, _)| words.as_str()).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Joins two texts.
fn joined(why: &str, more: Option<String>) -> String {
    more.map_or_else(|| why.to_owned(), |more| format!("{why}; {more}"))
}
