//! `cpufit explain`: why a guest can or cannot start or migrate: every node, the labels it lacks, the remedies.

mod libvirt;
mod nodes;
mod remedies;
mod taints;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;

use libvirt::LibvirtWords;

use super::args::{ExplainArgs, ExplainOutput};
use super::judged::{is_selected, judged, mutation, origin, patched, settle};
use super::output::{Numbering, ResultOrigin, ResultRow};
use super::remedies::all_weighed;
use super::resource::ObjectKind;
use super::room::FittingRoom;
use super::scheduler::{self, PastedPod};
use super::targets::{FoundTarget, TargetScope, absent, find, note_namespaces, note_unseen, nothing};
use super::{Namespace, gate, tsc};
use crate::admission::review::decode;
use crate::answers::audit::inherited;
use crate::answers::libvirt_plan::Survey;
use crate::answers::obstacles::Obstacles;
use crate::answers::pod_rules;
use crate::answers::room::RoomFor;
use crate::answers::scheduler::UnplacedLauncher;
use crate::answers::state::state;
use crate::console;
use crate::fit::check::Reported;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::label::{self, Family};
use crate::fit::placement::AffinityRule;
use crate::fit::plural;
use crate::fit::remedy::{Action, Remedy, UseModel};
use crate::fit::subject::{Stage, Subject};
use crate::fit::verdict::{Check, Evidence, Finding, Outcome};
use crate::judge::{self, Evaluation, GuestOf, Manifest, judge_guest};
use crate::kubevirt::active_migration;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::room::PodNeed;
use crate::kubevirt::subject;
use crate::kubevirt::wire::{Vmi, is_final};
use crate::page::Page;
use crate::policy::UserName;
use crate::review;
use crate::say::{self, StateWord};
use crate::snapshot::{self, Item};
use crate::world::World;

/// Number of missing labels up to which a node is said to lack only these.
const LITTLE: usize = 4;

#[derive(Debug, Serialize)]
struct Explanations {
    results: Vec<ResultRow>,
}

/// Runs the verb. Returns a line for each requested name that does not exist.
///
/// # Errors
///
/// Returns an error if an input cannot be read, or holds nothing that can be explained.
pub(crate) fn run(
    args: &ExplainArgs,
    world: &World,
    namespace: &Namespace,
    stdin: impl Read,
    page: &mut Page,
) -> anyhow::Result<Vec<String>> {
    let mut explained = Explainer { args, survey: Survey::of(world), rows: Vec::new(), page };
    let missing = if args.files.sources().is_empty() { explained.named(namespace)? } else { Vec::new() };
    explained.given(namespace, stdin)?;
    explained.finish()?;
    Ok(missing)
}

/// The explained objects: printed at once for people, collected for programs.
struct Explainer<'e, 'w> {
    args: &'e ExplainArgs,
    survey: Survey<'w>,
    rows: Vec<ResultRow>,
    page: &'e mut Page,
}

/// Facts about an explained object beside its evaluation.
#[derive(Clone, Copy, Default)]
struct Beside<'a> {
    /// The evaluation of its next start.
    next: Option<&'a Evaluation<'a>>,
    /// The pod that was given.
    pod: Option<&'a PastedPod>,
}

impl<'w> Explainer<'_, 'w> {
    fn world(&self) -> &'w World {
        self.survey.world
    }

    /// Explains the objects of the cluster that the arguments name. Returns a line for each one that does not exist.
    fn named(&mut self, namespace: &Namespace) -> anyhow::Result<Vec<String>> {
        let (world, args) = (self.world(), self.args);
        let scope = TargetScope {
            namespace: Some(namespace.name.as_str()).filter(|_| !args.list.all_namespaces),
            selector: args.list.selector.as_ref(),
        };
        let wanted = find(world, &args.objects, &ObjectKind::EXPLAINED, &scope, &namespace.name)?;
        if wanted.is_empty() {
            console::note(&world.cluster.domain, nothing(world, scope.namespace));
        }
        note_unseen(world, &wanted);
        let mut missing = Vec::new();
        for found in wanted {
            let FoundTarget { kind, namespace, name } = match found {
                Ok(found) => found,
                Err(line) => {
                    missing.push(line);
                    continue;
                }
            };
            let Some(mut case) = case_of(world, kind, &namespace, &name) else {
                missing.push(absent(world, kind, &namespace, &name));
                continue;
            };
            let mut next = next_start(world, kind, &namespace, &name);
            let guest = pod_rules::vmi_at_start(&namespace, &name, &world.cluster);
            for case in std::iter::once(&mut case).chain(&mut next) {
                pod_rules::settle(case, guest.as_deref(), world, self.survey.residents());
            }
            let origin = ResultOrigin { kind: kind.kind().to_owned(), namespace, name, ..ResultOrigin::default() };
            self.explain(&origin, &case, Beside { next: next.as_ref(), pod: None });
        }
        Ok(missing)
    }

    /// Explains the objects of the given files.
    fn given(&mut self, namespace: &Namespace, stdin: impl Read) -> anyhow::Result<()> {
        let (world, args) = (self.world(), self.args);
        let mut unknown = Vec::new();
        let mut numbering = Numbering::default();
        // The namespaces of the explained objects, and those that the files hold.
        let (mut used, mut held) = (BTreeSet::new(), BTreeSet::new());
        if !args.files.sources().is_empty() {
            gate::note_kubevirt(world);
        }
        snapshot::read_all(&args.files.sources(), &world.cluster.domain, stdin, |item| {
            if Resource::Namespaces.is(item.group(), &item.kind) {
                held.insert(origin(&item, 0).name);
            }
            if !is_selected(&item, args.list.selector.as_ref()) {
                return Ok(());
            }
            let item = namespace.of(item)?;
            let item = patched(item.clone(), &mutation(world, &item)?.patch)?;
            if self.item(&item, numbering.of(&item.place.file))? {
                used.insert(item.namespace());
            } else {
                unknown.push(format!("{} ({})", item.place, item.kind));
            }
            anyhow::Ok(())
        })?;
        for why in gate::absent_namespaces(world, used.iter().map(String::as_str), &held) {
            console::note(&world.cluster.domain, why);
        }
        if !unknown.is_empty() && self.rows.is_empty() && self.page.is_empty() {
            bail!(
                "nothing to explain in {}: say VM, VMI, replica set, pool, migration or launcher pod",
                unknown.join(", ")
            );
        }
        let is_selective = !args.files.sources().is_empty() && args.list.selector.is_some();
        if is_selective && self.rows.is_empty() && self.page.is_empty() {
            console::note(&world.cluster.domain, "no object is selected");
        }
        Ok(())
    }

    /// Explains an object of a file; false if it is of another kind.
    fn item(&mut self, item: &Item, index: usize) -> anyhow::Result<bool> {
        let world = self.world();
        let mut origin = origin(item, index);
        if item.is_review() {
            let request = decode(item.json.get().as_bytes()).with_context(|| item.place.to_string())?;
            origin.set_reviewed(&request);
            let mut case = review::case(world, &request).with_context(|| item.place.to_string())?;
            if let Some(case) = &mut case {
                pod_rules::settle(case, None, world, self.survey.residents());
                self.explain(&origin, case, Beside::default());
            }
            return Ok(case.is_some());
        }
        let mut case = judged(world, item)?;
        if let Some(case) = &mut case {
            settle(case, item, &self.survey)?;
            let pod = Resource::Pods.is(item.group(), &item.kind).then(|| PastedPod::read(item.json.get()));
            self.explain(&origin, case, Beside { next: None, pod: pod.as_ref() });
        }
        Ok(case.is_some())
    }

    fn explain(&mut self, origin: &ResultOrigin, case: &Evaluation<'_>, beside: Beside<'_>) {
        let Subject { namespace, name, .. } = &case.prepared.subject;
        // The objects of a file are not those of the cluster.
        let is_of_cluster = origin.file.is_empty();
        let unplaced = is_of_cluster.then(|| UnplacedLauncher::of(&self.world().cluster, namespace, name)).flatten();
        if self.args.output == ExplainOutput::Table {
            self.print(case, beside, unplaced.as_ref());
        } else {
            let row = |case: &Evaluation<'_>, need: Option<&PodNeed>| result(origin.clone(), case, need, &self.survey);
            let at_next_start = beside.next.map(|next| Box::new(row(next, None)));
            let said = unplaced.map(|found| found.said).or_else(|| beside.pod.and_then(|pod| pod.said.clone()));
            let scheduler = said.map(|said| said.words());
            let need = beside.pod.and_then(|pod| pod.need.as_ref());
            self.rows.push(ResultRow { at_next_start, scheduler, ..row(case, need) });
        }
    }

    /// Prints the explanation for people.
    fn print(&mut self, case: &Evaluation<'_>, beside: Beside<'_>, unplaced: Option<&UnplacedLauncher>) {
        let (survey, page) = (&self.survey, &mut *self.page);
        if !page.is_empty() {
            page.line("");
        }
        let no_headers = self.args.list.no_headers;
        let need = beside.pod.and_then(|pod| pod.need.as_ref());
        let facts = Explained::of(case, need, survey, no_headers).print(&[], page);
        let cluster = &survey.world.cluster;
        let room = RoomFor::of(case, need, cluster);
        let said = beside.pod.and_then(|pod| Some((pod.said.as_ref()?, None)));
        if let Some((said, unplaced)) = said.or_else(|| unplaced.map(|found| (&found.said, Some(found)))) {
            scheduler::print(said, unplaced, &case.prepared.subject, room.as_ref(), &cluster.fleet, page);
        }
        if let Some(next) = beside.next {
            page.line("");
            page.line("At next start:");
            Explained::of(next, None, survey, no_headers).print(&facts, page);
        }
    }

    /// Prints the collected results for programs.
    fn finish(self) -> anyhow::Result<()> {
        let Self { args, rows, page, .. } = self;
        match args.output {
            ExplainOutput::Table => {}
            ExplainOutput::Json => page.json(&Explanations { results: rows })?,
            ExplainOutput::Yaml => page.yaml(&Explanations { results: rows })?,
            ExplainOutput::Name => {
                for row in &rows {
                    page.line(row.title());
                }
                note_namespaces(rows.iter().map(|row| row.namespace.as_str()), page.domain());
            }
        }
        Ok(())
    }
}

/// Returns the result of a guest for programs. `need`: what its pod requests, if a user pasted it.
fn result(origin: ResultOrigin, case: &Evaluation<'_>, need: Option<&PodNeed>, survey: &Survey<'_>) -> ResultRow {
    let world = survey.world;
    let room = FittingRoom::of(case, need, &world.cluster);
    let obstacles = Obstacles::of(&case.prepared.subject, need, world, survey.residents(), &[]);
    ResultRow::new(origin, case, survey, true)
        .with_room(case, &room, &world.cluster)
        .with_obstacles(case, &all_weighed(case, &room, &obstacles, &world.cluster.fleet), &world.cluster.fleet)
        .with_state(state(&case.verdict, &obstacles, room.is_nowhere()))
}

/// Returns the VMIs among the explained objects.
pub(crate) fn guests(args: &ExplainArgs, world: &World, namespace: &Namespace) -> Vec<Vmi> {
    let scope = TargetScope {
        namespace: Some(namespace.name.as_str()).filter(|_| !args.list.all_namespaces),
        selector: args.list.selector.as_ref(),
    };
    if !args.files.sources().is_empty() {
        return Vec::new();
    }
    // Missing objects are reported when they are explained.
    let wanted = find(world, &args.objects, &ObjectKind::EXPLAINED, &scope, &namespace.name).unwrap_or_default();
    let cluster = &world.cluster;
    let of = |FoundTarget { kind, namespace, name }: FoundTarget| match kind {
        ObjectKind::VirtualMachine | ObjectKind::Vmi => cluster.vmi(&namespace, &name),
        ObjectKind::Replicas(_) | ObjectKind::Node => None,
        ObjectKind::Migration => cluster.vmi(&namespace, &cluster.migration(&namespace, &name)?.spec.vmi_name),
        ObjectKind::Pod => cluster.guest_of_launcher(&namespace, &name),
    };
    wanted.into_iter().flatten().filter_map(of).cloned().collect()
}

/// Judges an object of the cluster; `None` if it does not exist.
pub(crate) fn case_of(world: &World, kind: ObjectKind, namespace: &str, name: &str) -> Option<Evaluation<'static>> {
    let cluster = &world.cluster;
    let judge = |manifest: Manifest<'static>| judge::judge(world, &manifest, UserName::NOBODY, Depth::Full);
    match kind {
        ObjectKind::VirtualMachine | ObjectKind::Vmi => {
            Some(judge_guest(world, GuestOf::named(namespace, name, cluster)?, Depth::Full))
        }
        ObjectKind::Replicas(kind) => cluster
            .replicas(kind, namespace, name)
            .and_then(|replicas| judge(Manifest::Replicas(Box::new(replicas.clone())))),
        ObjectKind::Migration => {
            cluster.migration(namespace, name).and_then(|vmim| judge(Manifest::Migration(Box::new(vmim.clone()))))
        }
        // A guest with a launcher that waits for a node has not started: its launcher is no migration target.
        ObjectKind::Pod => {
            let vmi = cluster.guest_of_launcher(namespace, name)?;
            let guest = GuestOf::Vmi(vmi);
            let waits = cluster.launchers_of(vmi).any(|pod| pod.name == name && pod.node.is_empty());
            let is_target = waits || active_migration::target(vmi, cluster).is_some_and(|pod| pod.name == name);
            // KubeVirt has one unfinished migration of a guest at a time: the pod is its target.
            let mut open = cluster.migrations_of(vmi).filter(|vmim| is_target && !is_final(&vmim.status.phase));
            let (manifest, prepared) = match (guest.running(), open.next(), open.next()) {
                (Some(_), Some(vmim), None) => {
                    (Manifest::Migration(Box::new(vmim.clone())), subject::of_migration(vmim, cluster))
                }
                _ => (guest.manifest(), guest.prepared(cluster)),
            };
            let prepared = match cluster.launchers_of(vmi).find(|pod| pod.name == name) {
                Some(pod) => subject::waiting(prepared, pod),
                None => prepared,
            };
            Some(judge::judge_subject(world, &manifest, UserName::NOBODY, prepared, Depth::Full.into()))
        }
        ObjectKind::Node => None,
    }
}

/// Judges the next start of a VM with a guest that runs, or whose start now is judged differently; `None` for any
/// other, and if it is no VM.
pub(crate) fn next_start(world: &World, kind: ObjectKind, namespace: &str, name: &str) -> Option<Evaluation<'static>> {
    let cluster = &world.cluster;
    let vm = cluster.vm(namespace, name).filter(|_| kind == ObjectKind::VirtualMachine)?;
    let guest = GuestOf::named(namespace, name, cluster)?;
    let differs = || {
        let (now, next) = (guest.prepared(cluster), subject::of_vm(vm, cluster));
        now.not_judged != next.not_judged || now.subject.placement != next.subject.placement
    };
    if guest.running().is_none() && !differs() {
        return None;
    }
    judge::judge(world, &Manifest::VirtualMachine(Box::new(vm.clone())), UserName::NOBODY, Depth::Full)
}

/// The data printed about one guest.
pub(crate) struct Explained<'c, 'w> {
    case: &'c Evaluation<'c>,
    survey: &'c Survey<'w>,
    no_headers: bool,
    room: FittingRoom,
    obstacles: Obstacles<'c>,
}

impl<'c, 'w> Explained<'c, 'w> {
    /// Collects them. `pod`: the requests of a pod that was given.
    pub(crate) fn of(
        case: &'c Evaluation<'c>,
        pod: Option<&'c PodNeed>,
        survey: &'c Survey<'w>,
        no_headers: bool,
    ) -> Self {
        let room = FittingRoom::of(case, pod, &survey.world.cluster);
        let obstacles = Obstacles::of(&case.prepared.subject, pod, survey.world, survey.residents(), &[]);
        Self { case, survey, no_headers, room, obstacles }
    }
}

impl Explained<'_, '_> {
    /// Prints everything but the lines in `said`, which are already printed about the guest; returns the lines that
    /// hold facts.
    pub(crate) fn print(&self, said: &[String], page: &mut Page) -> Vec<String> {
        page.line(self.title());
        let facts = self.facts();
        facts.iter().filter(|line| !said.contains(line)).for_each(|line| page.line(line));
        if self.case.prepared.not_judged.is_none() && !self.cluster().fleet.is_empty() {
            self.nodes(page);
        }
        self.remedies(page);
        if let Some(said) = self.said() {
            said.how_to_ask(&self.case.prepared, self.survey, page);
        }
        facts
    }

    fn said(&self) -> Option<LibvirtWords<'_>> {
        LibvirtWords::of(&self.case.prepared.subject, self.fleet())
    }

    /// Returns the header of a table.
    fn head(&self, columns: &[&str]) -> Vec<Vec<String>> {
        let columns = columns.iter().map(ToString::to_string).collect();
        if self.no_headers { Vec::new() } else { vec![columns] }
    }

    fn cluster(&self) -> &Cluster {
        &self.survey.world.cluster
    }

    fn fleet(&self) -> &Fleet {
        &self.cluster().fleet
    }

    fn source(&self) -> Option<NodeIndex> {
        self.case.prepared.subject.source().and_then(|name| self.fleet().find(name))
    }

    fn title(&self) -> String {
        let subject = &self.case.prepared.subject;
        let entries = match &subject.stage {
            Stage::Migration(migration) if migration.inherited => inherited(&self.case.prepared),
            _ => subject.placement.selector.iter().filter(|(key, _)| Family::of(key).is_cpu()).count(),
        };
        let noun = plural::number(entries, "entry", "entries");
        if self.case.prepared.not_judged.is_some() {
            return format!("{}    {}", subject.title(), self.state());
        }
        let on = subject.source().map(|node| format!(" on {node}")).unwrap_or_default();
        let what = match &subject.stage {
            Stage::Migration(migration) if migration.inherited => {
                format!("{}, {entries} CPU {noun} inherited at an earlier migration", subject.mode)
            }
            Stage::Migration(_) => format!("{}, {entries} CPU {noun} at its migration", subject.mode),
            Stage::Start(_) => format!("{}, {entries} CPU {noun} at start", subject.mode),
        };
        format!("{}{on}: {what}    {}", subject.title(), self.state())
    }

    /// Returns the state as one word.
    pub(crate) fn state(&self) -> StateWord {
        state(&self.case.verdict, &self.obstacles, self.room.is_nowhere()).0
    }

    fn facts(&self) -> Vec<String> {
        let Evaluation { prepared, verdict, .. } = self.case;
        let mut out = Vec::new();
        // Without room the number of nodes by labels is no number of nodes.
        let nowhere = self.room.headline(&prepared.subject.stage, self.cluster());
        let nowhere = nowhere.filter(|_| verdict.immobile().is_none());
        let is_by_labels = |finding: &&Finding| finding.check.spec().reported == Reported::AsHeadline;
        let refused = verdict.refused();
        let is_replaced = |finding: &&Finding| {
            refused.is_some_and(|refused| std::ptr::eq(refused, *finding))
                || (nowhere.is_some() || refused.is_some()) && is_by_labels(finding)
        };
        let findings = verdict.findings.iter().filter(|finding| !say::finding::is_said_by_another(finding, verdict));
        out.extend(refused.map(say::finding::sentence));
        if refused.is_some() {
            // Nodes do not matter to a guest that KubeVirt refuses.
            let others =
                findings.filter(|finding| !is_replaced(finding) && finding.check.spec().applies_to_refused_guests);
            out.extend(others.map(say::finding::sentence));
            return out;
        }
        out.extend(nowhere.clone());
        let findings = findings.filter(|finding| !is_replaced(finding));
        let findings = findings.filter_map(|finding| self.obstacles.not_judged(finding));
        out.extend(findings.map(|finding| say::finding::sentence(&finding)));
        let is_known = !matches!(verdict.assessment.outcome, Outcome::Unknown(_));
        if matches!(prepared.subject.stage, Stage::Migration(_)) && prepared.not_judged.is_none() {
            out.extend(self.fitting_by_labels());
            out.extend(self.nowhere());
            out.extend(self.nearest());
            out.extend(self.excluded());
            out.extend(self.overridden());
            if self.said().is_none() {
                out.extend(self.not_compared());
            }
            match self.said() {
                Some(said) => out.extend(said.facts()),
                None if is_known && verdict.immobile().is_none() => out.push(
                    "Judged by labels; the guest's real CPU is known to libvirt alone, which checks again at the \
                     migration."
                        .to_owned(),
                ),
                None => {}
            }
        }
        if matches!(prepared.subject.stage, Stage::Start(_)) {
            if verdict.assessment.fitting.is_empty() {
                out.extend(self.nearest());
                out.extend(self.excluded());
            }
            out.extend(libvirt::at_start(
                &prepared.subject,
                &self.fleet().names(&verdict.assessment.fitting),
                self.fleet(),
            ));
        }
        out.extend(self.room.facts(self.cluster()).into_iter().skip(usize::from(nowhere.is_some())));
        out.extend(tsc::lines(self.case, self.cluster()));
        out.extend(self.frozen());
        out.extend(taints::lines(self.case, self.fleet()));
        let cordoned: Vec<&str> =
            // A node that is also tainted would not fit without the cordon either.
            verdict
                .blocked
                .iter()
                .filter(|blocked| blocked.cordoned && blocked.taints.is_empty())
                .map(|blocked| blocked.node.as_str())
                .collect();
        if !cordoned.is_empty() {
            let verb = plural::number(cordoned.len(), "node fits but is cordoned", "nodes fit but are cordoned");
            out.push(format!("{} {verb}: {}.", cordoned.len(), plural::fold_names(&cordoned, 12)));
        }
        out.extend(self.common_model());
        if let Some(said) = self.said() {
            let own = self.case.policy.as_ref().map(|policy| policy.name.as_str());
            out.extend(said.other_losses(self.offered().map(|offer| offer.model.as_str()), own, self.survey));
        }
        out
    }

    /// Returns a line with the nodes that fit, or that only the source does.
    fn fitting_by_labels(&self) -> Option<String> {
        let fitting = self.fleet().names(&self.case.verdict.assessment.fitting);
        if !fitting.is_empty() {
            let verb = plural::number(fitting.len(), "fits", "fit");
            return Some(format!("{} {verb} by labels.", plural::fold_names(&fitting, 12)));
        }
        // Others fit by labels, and libvirt refuses them.
        if self.case.verdict.found(Check::LibvirtRefuses).is_some() {
            return None;
        }
        let source = self.source()?;
        let subject = &self.case.prepared.subject;
        let refusal = self.fleet().look_up(&subject.placement).refusal(source);
        let name = self.fleet().name(source);
        (refusal.missing.is_empty() && refusal.affinity.is_empty())
            .then(|| format!("{name}, where it runs, is the only node that fits, and is no target for itself."))
            .filter(|_| self.case.verdict.blocked.is_empty() && self.case.verdict.assessment.nodes_judged > 0)
    }

    /// Returns a line about the nodes that fit and are not known to have the CPU of a host-passthrough guest.
    fn not_compared(&self) -> Option<String> {
        let subject = &self.case.prepared.subject;
        let others = Judgement::new(subject, self.fleet(), Depth::Brief).hosts_not_compared();
        let words = say::host_model::not_compared(subject.source()?, &others);
        (!others.is_empty()).then(|| format!("{words}."))
    }

    /// Returns a line about entries that no node has: labels are at fault, not machines.
    fn nowhere(&self) -> Option<String> {
        let subject = &self.case.prepared.subject;
        let lacks = |(key, _): &(String, String)| {
            Family::of(key).is_cpu() && Family::of(key) != Family::SchedulingTsc && !subject.is_chosen(key)
        };
        let entries: Vec<(String, String)> = subject.nowhere(self.fleet()).into_iter().filter(lacks).collect();
        if entries.is_empty() {
            return None;
        }
        let them = plural::number(entries.len(), "it", "them");
        // Its own node provided the CPU that it runs with.
        let (source, whose) = match subject.source().filter(|_| self.source().is_some()) {
            Some(source) => {
                let is_right = self.said().is_some_and(|said| entries.iter().any(|(key, _)| said.finds_right(key)));
                let whose = if is_right { "" } else { " The same on every node: labels are at fault, not hardware." };
                (format!(", not even {source}, where the guest runs"), whose)
            }
            None => (String::new(), ""),
        };
        let any_more = if matches!(&subject.stage, Stage::Migration(m) if m.inherited) { " any more" } else { "" };
        Some(format!(
            "It asks for {}: no node offers {them}{any_more}{source}.{whose}",
            plural::fold_entries(&entries, 8)
        ))
    }

    /// Returns a line with the nodes that lack the fewest entries.
    fn nearest(&self) -> Option<String> {
        let least = say::named(&self.case.verdict).next()?;
        let mut same: Vec<&str> = say::named(&self.case.verdict)
            .filter(|near| near.missing == least.missing && near.has == least.has && near.besides == least.besides)
            .map(|near| near.node.as_str())
            .collect();
        same.sort_unstable();
        let verb = plural::number(same.len(), "lacks", "lack");
        let fits_nowhere = self.case.verdict.assessment.fitting.is_empty();
        let is_little = least.missing.len() <= LITTLE && least.besides.is_none();
        let only = if fits_nowhere && is_little { " only" } else { "" };
        let (names, lack) = (plural::fold_names(&same, 3), plural::fold_lack(&least.missing, &least.has, 12));
        let it = plural::number(same.len(), "it", "each");
        let besides = say::besides(&least.besides).into_iter().map(|besides| format!("; {it} {besides}"));
        Some(format!("Nearest: {names} {verb}{only} {lack}{}.", besides.collect::<Vec<_>>().concat()))
    }

    /// Returns lines about the nodes that match every node selector entry and fail the node affinity.
    fn excluded(&self) -> Vec<String> {
        let mut by_conditions: std::collections::BTreeMap<&[Arc<AffinityRule>], Vec<&str>> =
            std::collections::BTreeMap::new();
        for excluded in &self.case.verdict.excluded {
            by_conditions.entry(&excluded.conditions).or_default().push(&excluded.node);
        }
        let terms = say::nearest_of(self.case.verdict.excluded.first().map_or(0, |excluded| excluded.terms));
        let line = |(conditions, nodes): (&[Arc<AffinityRule>], Vec<&str>)| {
            let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            let (meet, fail) =
                (plural::number(nodes.len(), "meets", "meet"), plural::number(nodes.len(), "fails", "fail"));
            let names = plural::fold_names(&nodes, 6);
            format!(
                "{names} {meet} every entry of its selector, of the CPU and others, and {fail} its node affinity: {}{terms}.",
                plural::fold_names(&conditions, 6)
            )
        };
        by_conditions.into_iter().map(line).collect()
    }

    /// Returns a line about the entries of `addedNodeSelector` that do not count.
    fn overridden(&self) -> Option<String> {
        let Stage::Migration(migration) = &self.case.prepared.subject.stage else { return None };
        let lost: Vec<(&str, &str)> = migration.overridden.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (them, do_not) =
            (plural::number(lost.len(), "it", "them"), plural::number(lost.len(), "does not", "do not"));
        (!lost.is_empty()).then(|| {
            let lost = plural::fold(lost, 3);
            format!(
                "{lost} of spec.addedNodeSelector {do_not} count: the guest's own node selector goes before {them}."
            )
        })
    }

    /// Returns lines about nodes among the nearest with `skip-node`: their labels are frozen.
    fn frozen(&self) -> Vec<String> {
        let mut out = Vec::new();
        let nearest = &self.case.verdict.nearest;
        let is_compared = nearest.iter().any(|near| near.evidence == Evidence::FrozenSource);
        let source = self.case.prepared.subject.source().filter(|_| is_compared);
        for node in source.into_iter().chain(nearest.iter().map(|near| near.node.as_str())) {
            let Some(value) = self.fleet().find(node).and_then(|node| self.fleet().skip_node(node)) else {
                continue;
            };
            let presence = if value == "true" {
                ""
            } else {
                " skip-node is still there: its value does not count, only its presence."
            };
            out.push(format!("{node} is under {}={value}: its labels are frozen.{presence}", label::SKIP_NODE));
        }
        out
    }

    fn offered(&self) -> Option<&UseModel> {
        self.remedy_list().find_map(|remedy| match &remedy.action {
            Action::UseModel(model) => Some(model),
            _ => None,
        })
    }

    fn common_model(&self) -> Option<String> {
        let offer = self.offered()?;
        let all = match offer.nodes.len() {
            2 if self.fleet().len() == 2 => "both nodes".to_owned(),
            many => plural::nodes(many),
        };
        let listed = self.case.prepared.subject.asked.is_some().then(|| say::model::listed(offer));
        let lost = self.said().and_then(|said| said.loss(&offer.model));
        let default = say::model::of_the_default(&self.case.prepared.subject, &offer.model, self.fleet());
        let first = Some(say::model::runs_on(offer, &all));
        let others = say::model::of_other_vendors(offer);
        Some(first.into_iter().chain(others).chain(listed).chain(lost).chain(default).collect::<Vec<_>>().join(" "))
    }

    fn remedy_list(&self) -> impl Iterator<Item = &Remedy> {
        let all = self.case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
        all.filter(|remedy| self.room.may_help(&remedy.action))
    }
}
