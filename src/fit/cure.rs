//! What would cure a finding, and which well-known remedies would not.
//!
//! Each remedy is tried before it is offered: on the nodes it changes, with all others as they are.

use super::advise::{Case, NotHelping};
use super::assess::{StartGroup, start_groups};
use super::bits::Bits;
use super::fleet::{Fleet, NodeIndex};
use super::label::{self, Family};
use super::models;
use super::node::Node;
use super::remedy::{Action, Remedy};
use super::subject::{CpuMode, Stage, Start};
use super::verdict::{Cause, Evidence, Impact, Nearest, Verdict};

impl<'f> Case<'_, 'f> {
    /// The restart that makes libvirt's refusal void, where it leaves the guest somewhere to go.
    pub(super) fn restart_after_refusal(&self) -> Option<Remedy> {
        let start = self.subject.restart.as_ref()?;
        Some(Remedy { action: Action::Restart, then_fits: self.restart_cures(start, 1)? })
    }

    /// Targets after a start, fewest and most; and whether it may start at the source.
    fn outlook(&self, start: &Start<'_>) -> ((usize, usize), Bits) {
        let fitting = self.fleet.look_up(&start.placement).passes().fitting;
        let groups = start_groups(&start.placement, start.onward, &fitting, self.fleet);
        let range = (
            groups.iter().map(StartGroup::fewest).min().unwrap_or(0),
            groups.iter().map(StartGroup::most).max().unwrap_or(0),
        );
        (range, fitting)
    }

    /// Whether starting anew is certain to cure: every start leaves it so many targets, or at least it gets off a
    /// cordoned source.
    fn restart_cures(&self, start: &Start<'_>, enough: usize) -> Option<(usize, usize)> {
        let (range, fitting) = self.outlook(start);
        if fitting.is_empty() {
            return None;
        }
        let leaves = self.source.is_some_and(|s| self.fleet.is_cordoned(s) && !fitting.contains(s));
        (range.0 >= enough || leaves).then_some(range)
    }

    /// The remedies that apply, by outage and risk.
    pub(super) fn remedies(&self, verdict: &Verdict) -> Vec<Remedy> {
        let mut out: Vec<Remedy> = Vec::new();
        // Where it starts is not the trouble of a guest that starts; where it could go from there is.
        let needs_a_node = self.is_migration() || self.passes.fitting.is_empty();
        if needs_a_node {
            out.extend(self.uncordon());
            out.extend(self.mend_virt_handler());
            out.extend(self.drop_wish());
            out.extend(self.remove_skip_node(verdict));
            out.extend(self.add_labels(verdict));
            out.extend(self.drop_stale());
            out.extend(self.remove_labels(verdict));
            out.extend(self.change_selector());
        }
        // What is promised is better than what is: one target is no cure for a guest that has one.
        let enough = if verdict.outcome.impact() == Some(Impact::Fragile) { 2 } else { 1 };
        out.extend(self.restart(enough));
        out.extend(self.use_model(enough));
        if needs_a_node {
            out.extend(self.change_machine_type(enough));
            out.extend(self.remove_tsc_label(enough));
            out.extend(self.add_node());
        }
        out
    }

    /// How many nodes fit once an action is done, judged on the nodes it changes and all others as they are.
    fn fitting_after(&self, action: &Action) -> usize {
        let (after, changed) = action.apply(self.subject, self.fleet);
        let mut unchanged = self.fleet.look_up(&after.placement).passes().fitting;
        let source = after.source().and_then(|name| self.fleet.find(name));
        let names = changed.iter().filter_map(|node| self.fleet.find(&node.name));
        names.chain(source).for_each(|node| unchanged.remove(node));
        let others: Vec<Node> = changed.into_iter().filter(|node| after.source() != Some(&node.name)).collect();
        unchanged.count() + Fleet::new(others).look_up(&after.placement).passes().fitting.count()
    }

    /// A remedy, if more nodes fit once it is done.
    fn if_more_fit(&self, action: Action) -> Option<Remedy> {
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    fn uncordon(&self) -> Option<Remedy> {
        let only_cordoned = self.kept_out().into_iter().filter(|k| k.cordoned && !k.unwell && k.taints.is_empty());
        let mut nodes: Vec<String> = only_cordoned.map(|k| self.fleet.name(k.node).to_owned()).collect();
        nodes.sort_unstable();
        if nodes.is_empty() { None } else { self.if_more_fit(Action::Uncordon { nodes }) }
    }

    fn mend_virt_handler(&self) -> Option<Remedy> {
        let only_unwell = self.kept_out().into_iter().filter(|k| k.unwell && !k.cordoned && k.taints.is_empty());
        let mut nodes: Vec<String> = only_unwell.map(|k| self.fleet.name(k.node).to_owned()).collect();
        nodes.sort_unstable();
        if nodes.is_empty() { None } else { self.if_more_fit(Action::MendVirtHandler { nodes }) }
    }

    fn restart(&self, enough: usize) -> Option<Remedy> {
        let start = self.subject.restart.as_ref().filter(|_| self.is_migration())?;
        Some(Remedy { action: Action::Restart, then_fits: self.restart_cures(start, enough)? })
    }

    fn drop_wish(&self) -> Option<Remedy> {
        let Stage::Migration(migration) = &self.subject.stage else { return None };
        let keys: Vec<String> = migration.wish.iter().map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return None;
        }
        self.if_more_fit(Action::DropWish { keys })
    }

    /// The nodes that lack least and would be free if they lacked nothing.
    fn curable<'v>(&self, verdict: &'v Verdict) -> impl Iterator<Item = (NodeIndex, &'v Nearest)> {
        let fleet = self.fleet;
        verdict
            .nearest
            .iter()
            .filter(|near| matches!(near.evidence, Evidence::Drifted | Evidence::SourceLacksToo))
            .filter_map(move |near| Some((fleet.find(&near.node)?, near)))
    }

    fn remove_skip_node(&self, verdict: &Verdict) -> Option<Remedy> {
        let source = self.source?;
        let (node, near) = self.curable(verdict).find(|(node, _)| self.fleet.skip_node(*node).is_some())?;
        let action = Action::RemoveSkipNode {
            node: near.node.clone(),
            value: self.fleet.skip_node(node).unwrap_or_default().to_owned(),
            like: self.fleet.name(source).to_owned(),
        };
        if near.evidence == Evidence::Drifted { self.if_more_fit(action) } else { None }
    }

    fn add_labels(&self, verdict: &Verdict) -> Option<Remedy> {
        let can_be_made = |(key, _): &(String, String)| {
            matches!(Family::of(key), Family::CpuFeature | Family::CpuModelMigration | Family::CpuVendor)
        };
        let (_, near) = self.curable(verdict).find(|(_, near)| near.missing.iter().all(can_be_made))?;
        self.if_more_fit(Action::AddLabels { node: near.node.clone(), labels: near.missing.clone() })
    }

    fn drop_stale(&self) -> Option<Remedy> {
        let Stage::Migration(_) = &self.subject.stage else { return None };
        let inherited = |key: &str| Family::of(key) == Family::CpuFeature && !self.subject.is_own(key);
        let keys: Vec<String> = self.nowhere().into_iter().map(|(key, _)| key).filter(|key| inherited(key)).collect();
        let all = self.subject.placement.selector.iter().filter(|(key, _)| inherited(key)).count();
        // The last inherited feature stays: without any, the next migration takes a newer CPU for the guest's.
        if keys.is_empty() || keys.len() >= all {
            return None;
        }
        self.if_more_fit(Action::DropStale { keys })
    }

    /// Only for a guest that never migrated, and only where labels drifted: else libvirt would refuse.
    fn remove_labels(&self, verdict: &Verdict) -> Option<Remedy> {
        let Stage::Migration(migration) = &self.subject.stage else { return None };
        let source = self.source.filter(|_| !migration.inherited)?;
        let twin = |key: &str| label::twin(key, label::HOST_MODEL_REQUIRED);
        let from_source = |(key, _): &(String, String)| {
            Family::of(key) == Family::CpuFeature && self.fleet.label(source, &twin(key)).is_some()
        };
        let (_, near) = self.curable(verdict).find(|(_, near)| near.missing.iter().all(from_source))?;
        let action = Action::RemoveLabels {
            node: self.fleet.name(source).to_owned(),
            keys: near.missing.iter().map(|(key, _)| twin(key)).collect(),
        };
        if near.evidence == Evidence::Drifted { self.if_more_fit(action) } else { None }
    }

    fn change_selector(&self) -> Option<Remedy> {
        // KubeVirt copies these from the launcher the guest runs in, whatever its spec says by then.
        let copies = self.is_migration() && self.subject.mode == CpuMode::HostModel;
        let is_inherited = |key: &str| copies && label::is_inherited(key);
        let keys: Vec<String> = self
            .subject
            .own_selector
            .iter()
            .map(|(key, _)| key.clone())
            .filter(|key| self.subject.placement.get(key).is_some() && !is_inherited(key))
            .collect();
        if keys.is_empty() || self.passes.cpu.is_empty() {
            return None;
        }
        self.if_more_fit(Action::ChangeSelector { keys })
    }

    fn use_model(&self, enough: usize) -> Option<Remedy> {
        let start = self.subject.restart.as_ref()?;
        let (model, nodes, also) = self.common_model(start)?;
        if start.mode == CpuMode::Named(model.clone()) {
            return None;
        }
        let range = self.restart_cures(&start.with_model(&model), enough)?;
        Some(Remedy { action: Action::UseModel { model, nodes, also }, then_fits: range })
    }

    /// The most modern model that the most nodes can run, of those the guest may run on at all.
    fn common_model(&self, start: &Start<'_>) -> Option<(String, Vec<String>, Vec<String>)> {
        let passes = |model: &str| self.fleet.look_up(&start.with_model(model).placement).passes().placement;
        let (model, nodes) = models::most_common(self.fleet, &self.vendors(), passes)?;
        let is_on_all = |other: &str| passes(other).count_common(&nodes) == nodes.count();
        let mut also: Vec<String> = Vec::new();
        if let Some(node) = nodes.iter().next() {
            for other in self.fleet.names_under(node, Family::CpuModel) {
                if other != model && models::same_family(other, &model) && is_on_all(other) {
                    also.push(other.to_owned());
                }
            }
        }
        let names = self.fleet.names(&nodes).into_iter().map(str::to_owned).collect();
        Some((model, names, also))
    }

    /// The vendors whose models come into question: that of the node it runs on, else all.
    fn vendors(&self) -> Vec<&'f str> {
        let running = self.subject.running.as_ref().and_then(|running| self.fleet.find(&running.node));
        if let Some(node) = self.source.or(running) {
            return self.fleet.names_under(node, Family::CpuVendor);
        }
        let mut out: Vec<&str> = Vec::new();
        for (class, _) in self.fleet.split_by_class(&Bits::all(self.fleet.len())) {
            out.extend(class.vendors.iter().map(|key| label::name(key)));
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    fn change_machine_type(&self, enough: usize) -> Option<Remedy> {
        let start = self.subject.restart.as_ref()?;
        let (key, value) = start.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::MachineType)?;
        let from = label::name(key);
        let mut without = start.placement.clone();
        without.selector.retain(|(k, _)| k != key);
        let could = self.fleet.look_up(&without).passes().fitting;
        if !self.fleet.bearing(key, value).is_empty() && could.count_common(&self.fleet.bearing(key, value)) > 0 {
            return None;
        }
        let family = if from.contains("q35") { "q35" } else { from };
        let offers = self.fleet.offered(Family::MachineType, &could).into_iter().filter(|name| name.contains(family));
        let rank = |name: &&str| {
            let bearing = self.fleet.bearing(&format!("{}{name}", label::MACHINE_TYPE), "true");
            (bearing.count_common(&could), *name == family, (*name).to_owned())
        };
        let to = offers.max_by_key(rank)?;
        let count = rank(&to).0;
        let action = Action::ChangeMachineType { from: from.to_owned(), to: to.to_owned() };
        let then_fits = self.after_change(&action, count, enough)?;
        Some(Remedy { action, then_fits })
    }

    /// The lowest TSC frequency of the fleet came from a node that takes no guests.
    fn remove_tsc_label(&self, enough: usize) -> Option<Remedy> {
        let (key, value) =
            self.subject.placement.selector.iter().find(|(k, _)| Family::of(k) == Family::SchedulingTsc)?;
        let bearing = self.fleet.bearing(key, value);
        let mut others = Bits::all(self.fleet.len());
        others.subtract(&bearing);
        if bearing.count() != 1 || bearing.count_common(&self.passes.fitting) > 0 {
            return None;
        }
        let node = bearing.iter().next()?;
        let frequency =
            others.iter().filter_map(|other| label::frequency(self.fleet.label(other, label::TSC_FREQUENCY)?)).min()?;
        let action = Action::RemoveTscLabel { node: self.fleet.name(node).to_owned(), frequency };
        let count = self.fitting_after(&action);
        let then_fits = self.after_change(&action, count, enough).filter(|_| count > 0)?;
        Some(Remedy { action, then_fits })
    }

    /// What a restart with a changed guest leaves: a guest that cannot start gets so many nodes to start on; one that
    /// runs must have somewhere to go from where it starts.
    fn after_change(&self, action: &Action, nodes: usize, enough: usize) -> Option<(usize, usize)> {
        if !self.is_migration() {
            return Some((nodes, nodes));
        }
        let (after, _) = action.apply(self.subject, self.fleet);
        let Stage::Start(onward) = after.stage else { return None };
        self.restart_cures(&Start { mode: after.mode, placement: after.placement, onward }, enough)
    }

    fn add_node(&self) -> Option<Remedy> {
        let like = self.fleet.name(self.source?).to_owned();
        self.if_more_fit(Action::AddNode { like })
    }

    /// The founding remedies that are not offered, each with its reason.
    pub(super) fn not_helping(&self, offered: &[Remedy], verdict: &Verdict) -> Vec<NotHelping> {
        let is_offered = |id: &str| offered.iter().any(|remedy| remedy.action.id() == id);
        let mut out = Vec::new();
        let mut say = |id: &'static str, why: Option<(String, Option<(usize, usize)>)>| {
            if let Some((why, then_fits)) = why.filter(|_| !is_offered(id)) {
                out.push(NotHelping { id, why, then_fits });
            }
        };
        say("uncordon", Some((self.why_no_uncordon(), None)));
        say("restart", self.why_no_restart(verdict));
        say("restart-with-common-model", Some((self.why_no_model(verdict), None)));
        say("add-labels", Some((why_no_labels(verdict), None)));
        say("remove-labels", self.why_no_removal().map(|why| (why, None)));
        say("drop-stale", Some((self.why_no_drop(), None)));
        out
    }

    fn why_no_uncordon(&self) -> String {
        match self.source.filter(|&source| self.fleet.is_cordoned(source)) {
            Some(source) => format!(
                "the cordon of {}, where the guest runs, is not the cause; no other cordoned node would take it",
                self.fleet.name(source)
            ),
            None => "no cordoned node would take it".to_owned(),
        }
    }

    fn why_no_restart(&self, verdict: &Verdict) -> Option<(String, Option<(usize, usize)>)> {
        let Some(start) = self.subject.restart.as_ref().filter(|_| self.is_migration()) else {
            return self
                .asks_for_tsc()
                .then(|| ("waiting or restarting computes the same TSC frequency again".to_owned(), None));
        };
        let (range, fitting) = self.outlook(start);
        let why = if fitting.is_empty() {
            "it could start nowhere: stop it and it stays down".to_owned()
        } else if range.1 == 0 || verdict.outcome.impact().is_none() {
            "wherever it starts, its first migration asks for as much again".to_owned()
        } else {
            let stuck: Vec<&str> = start_groups(&start.placement, start.onward, &fitting, self.fleet)
                .iter()
                .filter(|group| group.fewest() == 0)
                .flat_map(|group| group.nodes.iter().filter(|&n| group.targets_from(n) == 0).collect::<Vec<_>>())
                .map(|node| self.fleet.name(node))
                .collect();
            format!("luck decides: started on {} it would be stuck again", label::fold_names(&stuck, 3))
        };
        Some((why, Some(range)))
    }

    fn asks_for_tsc(&self) -> bool {
        self.subject.placement.selector.iter().any(|(key, _)| Family::of(key) == Family::SchedulingTsc)
    }

    fn why_no_model(&self, verdict: &Verdict) -> String {
        let lacks = |family: Family| {
            verdict.nearest.iter().any(|near| near.missing.iter().any(|(key, _)| Family::of(key) == family))
        };
        if lacks(Family::SchedulingTsc) {
            "it would still ask for the TSC frequency".to_owned()
        } else if lacks(Family::Schedulable) && verdict.cause == Some(Cause::Temporary) {
            "not a matter of CPU models".to_owned()
        } else if self.subject.restart.is_none() {
            "how the guest would start is not known here".to_owned()
        } else {
            "no named model is usable on two nodes it may run on".to_owned()
        }
    }

    fn why_no_removal(&self) -> Option<String> {
        match &self.subject.stage {
            Stage::Migration(migration) if migration.inherited => {
                Some("this pod already has a selector: labels taken off a node change nothing".to_owned())
            }
            Stage::Migration(_) => Some("what is missing is missing in hardware, or is asked by name".to_owned()),
            Stage::Start(_) => (!self.asks_for_tsc()).then(|| "no label too many is the cause".to_owned()),
        }
    }

    fn why_no_drop(&self) -> String {
        if !self.is_migration() {
            return "it has inherited nothing".to_owned();
        }
        let nowhere = self.nowhere();
        if nowhere.iter().any(|(key, _)| Family::of(key) == Family::CpuModelMigration) {
            "a stale model key is not met by it, which drops feature keys only".to_owned()
        } else if nowhere.is_empty() {
            "nothing is stale: every key it asks for is offered by some node".to_owned()
        } else {
            "dropping the stale keys alone would free no node".to_owned()
        }
    }
}

fn why_no_labels(verdict: &Verdict) -> String {
    let lacks = |family: Family| {
        verdict.nearest.iter().any(|near| near.missing.iter().any(|(key, _)| Family::of(key) == family))
    };
    if lacks(Family::SchedulingTsc) {
        "virt-controller owns the tsc-frequency label: skip-node does not keep a hand-made one".to_owned()
    } else if verdict.nearest.iter().any(|near| near.evidence == Evidence::OtherHardware) {
        "other hardware: libvirt would refuse even if the labels were added".to_owned()
    } else if lacks(Family::Schedulable) {
        "virt-handler's heartbeat would undo it within the minute".to_owned()
    } else if lacks(Family::MachineType) {
        "a label does not make QEMU offer the machine type".to_owned()
    } else {
        "CPU labels are not what is missing".to_owned()
    }
}
