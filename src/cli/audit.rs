//! `cpufit audit`: every guest judged, worst first.

use std::collections::BTreeSet;

use anyhow::bail;
use serde::Serialize;

use super::Exit;
use super::args::{AuditArgs, AuditFailOn, ListOutput};
use super::gate;
use crate::answers::audit::{AuditRow, LifeStage, Severity, Span, StateRow, audit};
use crate::answers::guest_state::{PolicyAnswer, Tally};
use crate::answers::missing_guests::MissingGuests;
use crate::answers::missing_launchers::{self, hides_inheritance};
use crate::answers::status::PolicyNodes;
use crate::answers::unanswered::Unanswered;
use crate::cli::resource::ObjectKind;
use crate::cli::targets::{FoundTarget, TargetScope, absent, find, no_guest, note_namespaces};
use crate::console;
use crate::fit::command::{Command, Invalid, Namespace};
use crate::fit::plural;
use crate::fit::verdict::OutcomeWord;
use crate::kubevirt::resource::Resource;
use crate::page::Page;
use crate::policy::{LabelSelector, Policy};
use crate::word::{Word as _, words};
use crate::world::World;

#[derive(Debug, Serialize)]
struct AuditPage<'r> {
    items: &'r [AuditRow],
    summary: Summary,
    /// The nodes of each policy, and the models that they can run.
    policies: Vec<PolicyNodes>,
    /// The missing answers of libvirt about running guests; omitted if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    libvirt: Option<Unanswered>,
}

/// Numbers of guests by state; each is counted in its worst one: of those that run or wait to start now, of those
/// that are stopped at their next start. `now` and `at_next_start` count the two apart.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    guests: usize,
    own_node: usize,
    unschedulable: usize,
    pinned: usize,
    fragile: usize,
    fits: usize,
    unknown: usize,
    off_common_model: usize,
    stale: usize,
    exposed: usize,
    changed: usize,
    denied: usize,
    warned: usize,
    now: Tally,
    at_next_start: Tally,
    refused_now: usize,
    refused_at_next_start: usize,
}

impl Summary {
    fn of(rows: &[AuditRow]) -> Self {
        let count = |is: &dyn Fn(&AuditRow) -> bool| rows.iter().filter(|row| is(row)).count();
        let severity = |wanted: Severity| count(&|row| row.severity() == wanted);
        let unknown = count(&is_unknown);
        Self {
            guests: rows.len(),
            own_node: severity(Severity::OwnNode),
            unschedulable: severity(Severity::Unschedulable),
            pinned: severity(Severity::Pinned),
            fragile: severity(Severity::Fragile),
            fits: severity(Severity::None) - unknown,
            unknown,
            off_common_model: count(&|row| row.on_common_model == Some(false)),
            stale: count(&|row| !row.stale.is_empty()),
            exposed: count(&|row| !row.exposed.is_empty()),
            changed: count(&|row| row.change.is_some()),
            denied: count(&|row| row.answer == PolicyAnswer::Deny),
            warned: count(&|row| row.answer == PolicyAnswer::Warn),
            now: tally(rows.iter().filter_map(|row| row.now.as_ref())),
            at_next_start: tally(rows.iter().map(|row| &row.at_next_start)),
            refused_now: count(&|row| row.now.as_ref().is_some_and(|now| !now.refusals.is_empty())),
            refused_at_next_start: count(&|row| !row.at_next_start.refusals.is_empty()),
        }
    }
}

/// Whether a guest could not be judged.
fn is_unknown(row: &AuditRow) -> bool {
    row.severity() == Severity::None && row.verdict == OutcomeWord::Unknown
}

/// Whether a guest is in a state of `--fail-on`, or in a worse one.
fn fails(row: &AuditRow, state: AuditFailOn) -> bool {
    match state {
        AuditFailOn::Fragile => row.severity() >= Severity::Fragile,
        AuditFailOn::Pinned => row.severity() >= Severity::Pinned,
        AuditFailOn::Unschedulable => row.severity() >= Severity::Unschedulable,
        AuditFailOn::OwnNode => row.severity() >= Severity::OwnNode,
        AuditFailOn::Unknown => is_unknown(row),
    }
}

/// The guests to audit.
#[derive(Clone, Debug)]
pub(crate) struct WantedGuests<'a> {
    scope: TargetScope<'a>,
    /// The guests named by the arguments, by namespace and name; `None` if the arguments name none.
    guests: Option<BTreeSet<(String, String)>>,
    /// The requested names that do not exist, a line each.
    pub missing: Vec<String>,
}

impl<'a> WantedGuests<'a> {
    /// Selects the guests of this namespace, or of all; named guests are looked up in `home`.
    ///
    /// # Errors
    ///
    /// Returns an error if the arguments name no guests, or combine names with `-A` or `-l`.
    pub(crate) fn of(args: &'a AuditArgs, only: Option<&'a str>, home: &str, world: &World) -> anyhow::Result<Self> {
        let scope = TargetScope { namespace: only, selector: args.list.selector.as_ref() };
        let mut out = Self { scope, guests: None, missing: Vec::new() };
        if args.objects.is_empty() {
            return Ok(out);
        }
        let mut guests = BTreeSet::new();
        for found in find(world, &args.objects, &ObjectKind::GUESTS, &scope, home)? {
            match found {
                Ok(FoundTarget { kind, namespace, name }) if is_there(world, kind, &namespace, &name) => {
                    guests.insert((namespace, name));
                }
                Ok(FoundTarget { kind, namespace, name }) => {
                    out.missing.push(absent(world, kind, &namespace, &name));
                }
                Err(line) => out.missing.push(line),
            }
        }
        out.guests = Some(guests);
        Ok(out)
    }

    /// Whether all guests are selected.
    fn are_all(&self) -> bool {
        self.guests.is_none() && self.scope.namespace.is_none() && self.scope.selector.is_none()
    }

    /// Whether a guest is selected.
    pub(crate) fn holds(&self, world: &World, namespace: &str, name: &str) -> bool {
        let is_named = |guests: &BTreeSet<_>| guests.contains(&(namespace.to_owned(), name.to_owned()));
        // The labels of guests listed by type were compared already.
        self.guests.as_ref().map_or_else(|| self.scope.holds(world, namespace, name), is_named)
    }
}

fn is_there(world: &World, kind: ObjectKind, namespace: &str, name: &str) -> bool {
    match kind {
        ObjectKind::VirtualMachine => world.cluster.vm(namespace, name).is_some(),
        _ => world.cluster.vmi(namespace, name).is_some(),
    }
}

fn tally<'r>(states: impl Iterator<Item = &'r StateRow>) -> Tally {
    let mut out = Tally::default();
    states.for_each(|state| out.count(state.impact, state.answer == PolicyAnswer::Deny));
    out
}

/// Runs the verb for these guests.
///
/// # Errors
///
/// Returns an error if writing JSON or YAML fails, or if `--fail-on` is given and there is no guest that could fail.
pub(crate) fn run(args: &AuditArgs, wanted: &WantedGuests<'_>, world: &World, page: &mut Page) -> anyhow::Result<Exit> {
    let only = wanted.scope.namespace;
    let mut rows = audit(world, &|| false);
    rows.retain(|row| wanted.holds(world, &row.namespace, &row.name));
    if !args.fail_on.is_empty() {
        let nobody = || (rows.is_empty() && wanted.missing.is_empty()).then(|| no_guest(world, &wanted.scope));
        if let Some(why) = nobody().or_else(|| gate::blind(world)) {
            bail!("{why}: --fail-on would pass whatever the guests are");
        }
    }
    let missing = MissingGuests::of(&world.cluster, &|namespace, name| wanted.holds(world, namespace, name));
    if let Some(why) = missing.without_vmi().filter(|_| !args.fail_on.is_empty() && missing.are_all_missing()) {
        bail!("{why} --fail-on would pass whatever the guests are");
    }
    let nobody = missing.without_vmi().filter(|_| missing.are_any());
    let mut missing = if rows.is_empty() { Vec::new() } else { missing.lines() };
    let lacks = |row: &&AuditRow| {
        world.cluster.vmi(&row.namespace, &row.name).is_some_and(|vmi| hides_inheritance(vmi, &world.cluster))
    };
    let lacking: Vec<String> = rows.iter().filter(lacks).map(|row| format!("{}/{}", row.namespace, row.name)).collect();
    missing.extend(missing_launchers::line(&lacking));
    let summary = Summary::of(&rows);
    let running = rows.iter().filter(|row| row.stand == LifeStage::Running);
    let policies: Vec<PolicyNodes> =
        world.policies.iter().map(|policy| PolicyNodes::of(&world.cluster, policy)).collect();
    let running = running.filter_map(|row| world.cluster.vmi(&row.namespace, &row.name));
    let libvirt = Unanswered::of(world, running, &ask_again);
    let rows_alone = args.list.no_headers || !matches!(args.output, ListOutput::Table | ListOutput::Wide);
    match args.output {
        ListOutput::Table | ListOutput::Wide if rows.is_empty() && !wanted.missing.is_empty() => {}
        ListOutput::Table | ListOutput::Wide => {
            if rows.is_empty() {
                console::note(page.domain(), nobody.unwrap_or_else(|| nobody_in_dump(world, &wanted.scope)));
            } else {
                people(&rows, &summary, args, world, &policies, page);
                if !args.list.no_headers {
                    if gate::ungoverned(world).is_none() {
                        for line in idle(&rows, wanted, world) {
                            page.remark(line);
                        }
                    }
                    if let Some(line) = next_by_libvirt(world) {
                        page.remark(line);
                    }
                    let lines = libvirt.iter().flat_map(Unanswered::lines);
                    lines
                        .chain(missing.iter().cloned())
                        .for_each(|line| page.remark(format_args!("Not known: {line}")));
                    for line in libvirt.iter().flat_map(Unanswered::how_to_ask) {
                        page.remark(line);
                    }
                }
            }
        }
        ListOutput::Name => {
            for row in &rows {
                let is_running = world.cluster.vmi(&row.namespace, &row.name).is_some();
                let kind = if is_running { ObjectKind::Vmi } else { ObjectKind::VirtualMachine };
                page.line(kind.title(&row.name));
            }
            if only.is_none() {
                note_namespaces(rows.iter().map(|row| row.namespace.as_str()), page.domain());
            }
        }
        ListOutput::Json => page.json(&AuditPage { items: &rows, summary, policies, libvirt })?,
        ListOutput::Yaml => page.yaml(&AuditPage { items: &rows, summary, policies, libvirt })?,
    }
    if rows_alone {
        for line in &missing {
            console::note(page.domain(), line);
        }
    }
    let failed = rows.iter().any(|row| args.fail_on.iter().any(|state| fails(row, *state)));
    if !failed && !lacking.is_empty() && args.fail_on.contains(&AuditFailOn::OwnNode) {
        console::note(
            page.domain(),
            format_args!(
                "whether {} on the own node is not known, which --fail-on own-node is about: the dump holds no pod",
                plural::counted(lacking.len(), "guest is at risk", "guests are at risk")
            ),
        );
        return Ok(Exit::Trouble);
    }
    Ok(Exit::failed_if(failed))
}

/// Returns the command that audits these guests (`namespace/name`), and asks libvirt about them.
fn ask_again(guests: &[String]) -> Result<Command, Invalid> {
    let namespaces: BTreeSet<&str> =
        guests.iter().map(|guest| guest.split_once('/').map_or("", |(namespace, _)| namespace)).collect();
    let audit = Command::kubectl(["cpufit", "audit"]);
    let audit = match namespaces.first().filter(|_| namespaces.len() == 1) {
        Some(namespace) => audit.namespace(Namespace::new(namespace)?),
        None => audit.args(["-A"]),
    };
    Ok(audit.args(["--ask-libvirt"]))
}

/// Returns why there is no guest; for a dump without any guest, checks whether it is complete.
fn nobody_in_dump(world: &World, scope: &TargetScope<'_>) -> String {
    let nobody = no_guest(world, scope);
    let cluster = &world.cluster;
    if cluster.is_live
        || [Resource::VirtualMachines, Resource::Vmis].into_iter().any(|kind| !cluster.names(kind).is_empty())
    {
        return nobody;
    }
    format!("{nobody}: does the dump hold what `{}` prints?", crate::dump_command!())
}

fn people(
    rows: &[AuditRow],
    summary: &Summary,
    args: &AuditArgs,
    world: &World,
    policies: &[PolicyNodes],
    page: &mut Page,
) {
    let wide = args.output == ListOutput::Wide;
    let mut cells = if args.list.no_headers { Vec::new() } else { vec![head(wide)] };
    cells.extend(rows.iter().map(|row| line(row, wide)));
    page.listing(&cells);
    // `--no-headers` means that a program reads the rows.
    if args.list.no_headers {
        return;
    }
    page.remark(totals(rows));
    page.remark(next_totals(rows, summary));
    if let Some(why) = gate::ungoverned(world) {
        page.remark(format_args!("Not known: {why}"));
    } else if !policies.is_empty() {
        for line in ruled(rows, summary).into_iter().chain(policies.iter().map(PolicyNodes::line)) {
            page.remark(line);
        }
    }
}

fn head(wide: bool) -> Vec<String> {
    let more: &[&str] =
        if wide { &["STARTS", "CAUSE", "INHERITED", "STALE", "EXPOSED", "POLICY", "ON-MODEL"] } else { &[] };
    ["GUEST", "NODE", "CPU", "STATE", "NOW", "AT-NEXT-START"]
        .iter()
        .chain(more)
        .chain(&["WHY"])
        .map(ToString::to_string)
        .collect()
}

fn line(row: &AuditRow, wide: bool) -> Vec<String> {
    let dash = || "-".to_owned();
    let node = match row.stand {
        LifeStage::Stopped if row.not_started.is_some() => "(not-started)".to_owned(),
        LifeStage::Stopped => "(stopped)".to_owned(),
        LifeStage::RunningUnseen => "(no-vmi)".to_owned(),
        LifeStage::NotKnown => "(not-known)".to_owned(),
        LifeStage::Running | LifeStage::Starting => row.node.clone().unwrap_or_else(dash),
    };
    let (now, next) = (row.now.as_ref().map_or_else(dash, places), places(&row.at_next_start));
    let unread = row.is_model_unread.then(|| "(too-large)".to_owned());
    let cpu = row.model.clone().or(unread).unwrap_or_else(dash);
    let mut out = vec![row.guest.clone(), node, cpu, row.state.to_string(), now, next];
    if wide {
        let starts = row.at_next_start.start_nodes.map(|starts| format!("{starts}/{}", row.at_next_start.judged));
        out.push(starts.unwrap_or_else(dash));
        out.push(row.cause.map_or_else(dash, |cause| cause.to_string()));
        out.push(row.inherited.to_string());
        out.push(plural::compact(&row.stale, MAX_STALE));
        out.push(if row.exposed.is_empty() { dash() } else { row.exposed.join(",") });
        out.push(row.policy.clone().unwrap_or_else(dash));
        out.push(row.on_common_model.map_or_else(dash, |on| if on { "yes" } else { "no" }.to_owned()));
    }
    let next = Some(row.at_next_start.why.as_str()).filter(|why| !why.is_empty() && !row.why.contains(*why));
    let next = next.map(|why| format!("at next start: {}", unless_said(why, &row.why)));
    let is_stopped = row.stand.is_without_vmi();
    let why = Some(row.why.as_str()).filter(|why| !why.is_empty());
    let is_next = is_stopped && row.not_started.is_none();
    let why = why.map(|why| if is_next { format!("at next start: {why}") } else { why.to_owned() });
    let why = why.into_iter().chain(next);
    out.push(why.reduce(|now, next| format!("{now}; {next}")).unwrap_or_else(dash));
    out
}

/// Removes from the text about the next start an end that the text about now contains too: cordoned nodes are the same.
fn unless_said<'w>(next: &'w str, now: &str) -> &'w str {
    match next.rsplit_once("; ") {
        Some((head, end)) if now.contains(end) => head,
        _ => next,
    }
}

/// Returns migration targets of judged nodes: `2/6`, or `0-2/6` over the start nodes; `no-start` if it could not start.
fn places(state: &StateRow) -> String {
    let Span { min, max } = state.targets;
    match state.start_nodes {
        _ if state.verdict == OutcomeWord::Unknown => "unknown".to_owned(),
        None => format!("{min}/{}", state.judged),
        Some(0) => "no-start".to_owned(),
        // One of the judged nodes is the start node.
        Some(_) if min == max => format!("{min}/{}", state.judged.saturating_sub(1)),
        Some(_) => format!("{min}-{max}/{}", state.judged.saturating_sub(1)),
    }
}

/// Returns `6 guests now: 1 at risk on the current node, 2 can migrate nowhere, 1 stopped, 2 without a problem`.
fn totals(rows: &[AuditRow]) -> String {
    let of = |row: &AuditRow| match (row.stand, row.severity()) {
        (LifeStage::Stopped, _) if row.not_started.is_some() => Total::NotStarted,
        (LifeStage::Stopped, _) => Total::Stopped,
        (LifeStage::RunningUnseen, _) => Total::Unseen,
        (LifeStage::NotKnown, _) => Total::NotKnown,
        (_, Severity::OwnNode) => Total::OwnNode,
        (_, Severity::Unschedulable) if !row.refusals.is_empty() => Total::Refused,
        (_, Severity::Unschedulable) => Total::Unschedulable,
        (_, Severity::Pinned | Severity::Fragile | Severity::None) if row.is_unplaced => Total::Unplaced,
        (_, Severity::Pinned | Severity::Fragile | Severity::None) if row.not_started.is_some() => Total::NotStarted,
        (_, Severity::Pinned | Severity::Fragile | Severity::None) if row.has_no_room() => Total::NoRoom,
        (LifeStage::Running, Severity::Pinned) => Total::Pinned,
        (LifeStage::Running, Severity::Fragile) => Total::Fragile,
        (LifeStage::Starting, Severity::Pinned) => Total::NoTarget,
        (LifeStage::Starting, Severity::Fragile) => Total::OneTarget,
        (_, Severity::None) if row.verdict == OutcomeWord::Unknown => Total::Unknown,
        (_, Severity::None) if row.migration_is_stuck => Total::StuckMigration,
        (_, Severity::None) if !row.doubts.is_empty() => Total::ByLabels,
        (_, Severity::None) => Total::Well,
    };
    let counts: Vec<(usize, Total)> =
        Total::ALL.iter().map(|total| (rows.iter().filter(|row| of(row) == *total).count(), *total)).collect();
    format!("{} now: {}", plural::counted(rows.len(), "guest", "guests"), counted(&counts))
}

/// Maximum number of features in the column of stale ones.
const MAX_STALE: usize = 3;

words! {
    /// A group of guests in a line of totals, in its order: worst first.
    Total {
        /// The guest no longer meets the requirements of its launcher on its node.
        OwnNode = "at risk on the current node",
        /// KubeVirt refuses the specification.
        Refused = "refused by KubeVirt",
        /// No node takes the guest.
        Unschedulable = "cannot start",
        /// No node would take the guest at its next start.
        UnschedulableNext = "could start nowhere",
        /// The guest waits for its start, and the scheduler placed its launcher nowhere.
        Unplaced = "placed nowhere by the scheduler",
        /// The guest is to run, and has not started, as KubeVirt reports.
        NotStarted = "not started",
        /// The guest runs, and no other node takes it.
        Pinned = "can migrate nowhere",
        /// The guest may start on a node from which no other takes it.
        NoTarget = "may start on a node without a migration target",
        /// The guest fits by labels, on nodes without room.
        NoRoom = "without room where it fits",
        /// The guest runs, and one other node takes it.
        Fragile = "with one node left",
        /// The guest may start on a node from which one other takes it.
        OneTarget = "may start on a node with one migration target",
        /// The guest fits, with a migration whose target pod no node takes.
        StuckMigration = "with a migration that does not end",
        /// The guest is in the state `FITS-BY-LABELS`.
        ByLabels = "by labels alone",
        /// The verdict is unknown.
        Unknown = "unknown",
        /// The guest runs, by its VM, and the dump does not hold its VMI.
        Unseen = "running without a VMI in the dump",
        /// It is not known whether the VM runs.
        NotKnown = "perhaps running",
        /// The VM is stopped.
        Stopped = "stopped",
        /// All others.
        Well = "without a problem",
    }
}

/// Returns `At next start: 1 could start nowhere, 2 may start on a node without a migration target, 3 well`.
fn next_totals(rows: &[AuditRow], summary: &Summary) -> String {
    let Tally { unschedulable, .. } = summary.at_next_start;
    let count = |is: &dyn Fn(&AuditRow) -> bool| rows.iter().filter(|row| is(row)).count();
    let no_room = count(&|row| row.next_no_room);
    let with_room = |verdict: OutcomeWord| count(&|row| row.at_next_start.verdict == verdict && !row.next_no_room);
    let [pinned, fragile, unknown] = [OutcomeWord::Pinned, OutcomeWord::Fragile, OutcomeWord::Unknown].map(with_room);
    let in_doubt =
        count(&|row| row.at_next_start.verdict == OutcomeWord::Fits && row.next_in_doubt && !row.next_no_room);
    let refused = summary.refused_at_next_start;
    let well = rows.len() - fragile - pinned - unschedulable - unknown - in_doubt - no_room;
    let unschedulable = unschedulable - refused;
    let parts = [
        (refused, Total::Refused),
        (unschedulable, Total::UnschedulableNext),
        (pinned, Total::NoTarget),
        (no_room, Total::NoRoom),
        (fragile, Total::OneTarget),
        (in_doubt, Total::ByLabels),
        (unknown, Total::Unknown),
        (well, Total::Well),
    ];
    format!("At next start: {}", counted(&parts))
}

/// Returns a note about the facts by which a next start is judged; `None` if libvirt was not asked.
fn next_by_libvirt(world: &World) -> Option<String> {
    let cluster = &world.cluster;
    if cluster.libvirt.is_empty() {
        return None;
    }
    let (mut known, describing) = (cluster.libvirt.listing(&cluster.fleet), cluster.libvirt.describing(&cluster.fleet));
    let what = match (known.is_empty(), describing.is_empty()) {
        (true, true) => {
            return Some(
                "At next start all is judged by labels: which named models libvirt can run is not known of any node"
                    .to_owned(),
            );
        }
        (false, true) => "named models are judged by what libvirt lists as usable",
        (true, false) => "required and forbidden CPU features are judged by what libvirt provides",
        (false, false) => {
            "named models, and required and forbidden CPU features, are judged by what libvirt lists as usable and provides"
        }
    };
    known.extend(describing);
    let known: Vec<String> = known.into_iter().collect();
    Some(if known.len() == cluster.fleet.len() {
        format!("At next start {what}, all else by labels")
    } else {
        format!("At next start {what} on {}; all else, and the other nodes, by labels", plural::fold_names(&known, 3))
    })
}

/// Returns a line for each policy that governs none of the guests.
fn idle(rows: &[AuditRow], wanted: &WantedGuests<'_>, world: &World) -> Vec<String> {
    let cluster = &world.cluster;
    let governs = |name: &str| {
        let states = |row: &AuditRow| {
            let now = row.now.as_ref().and_then(|now| now.policy.as_deref());
            [row.policy.as_deref(), now, row.at_next_start.policy.as_deref()].contains(&Some(name))
        };
        rows.iter().any(states)
    };
    let namespaces: BTreeSet<&str> = rows.iter().map(|row| row.namespace.as_str()).collect();
    let unknown: Vec<&str> = namespaces.iter().copied().filter(|name| cluster.namespace(name).is_none()).collect();
    let is_by_namespace = |policy: &Policy| policy.namespace_selector != LabelSelector::default();
    let (in_doubt, idle): (Vec<&Policy>, Vec<&Policy>) = world
        .policies
        .iter()
        .filter(|policy| !governs(&policy.name))
        .partition(|policy| is_by_namespace(policy) && !unknown.is_empty());
    let names: Vec<&str> = in_doubt.iter().map(|policy| policy.name.as_str()).collect();
    let doubt = (!names.is_empty()).then(|| {
        let [policies, govern, their] = [
            ["CPUPolicy", "CPUPolicies"],
            ["governs", "govern"],
            ["its namespaceSelector", "their namespaceSelectors"],
        ]
        .map(|[one, many]| plural::number(names.len(), one, many));
        format!(
            "Not known: whether {policies} {} {govern} a guest by {their}: the labels of namespaces are not known ({})",
            plural::fold_names(&names, 3),
            plural::fold_names(&unknown, 3)
        )
    });
    let line = |policy: &Policy| {
        let (name, selector) = (&policy.name, &policy.namespace_selector);
        let whom =
            if wanted.are_all() && cluster.only_namespaces.is_empty() { "no guest" } else { "none of these guests" };
        let selects = |namespace: &&str| cluster.namespace(namespace).is_some_and(|labels| selector.matches(labels));
        let why = if is_by_namespace(policy) && !namespaces.iter().any(selects) {
            ": its namespaceSelector selects none of their namespaces"
        } else {
            ""
        };
        format!("CPUPolicy {name} governs {whom}{why}")
    };
    doubt.into_iter().chain(idle.into_iter().map(line)).collect()
}

fn counted(parts: &[(usize, Total)]) -> String {
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    parts.join(", ")
}

/// Returns the answer of the policy that governs a guest; `None` for the built-in one.
fn ruled_by_policy(state: &StateRow) -> Option<PolicyAnswer> {
    state.policy.as_ref().map(|_| state.answer)
}

/// Returns the answers of the policies to a request for every guest, now and at its next start.
fn ruled(rows: &[AuditRow], summary: &Summary) -> Vec<String> {
    let names = |is: &dyn Fn(&AuditRow) -> bool| {
        let names: Vec<&str> = rows.iter().filter(|row| is(row)).map(|row| row.guest.as_str()).collect();
        let listed = if names.is_empty() { String::new() } else { format!(" ({})", plural::fold_names(&names, 3)) };
        (names.len(), listed)
    };
    let answers = |head: &str, of: &dyn Fn(&AuditRow) -> Option<PolicyAnswer>| {
        let (denied, who) = names(&|row| of(row) == Some(PolicyAnswer::Deny));
        let (warned, whom) = names(&|row| of(row) == Some(PolicyAnswer::Warn));
        format!("Under the policies, {head}: {denied} denied{who}, {warned} warned about{whom}")
    };
    let (changed, who) = names(&|row| row.change.is_some());
    let mut out = vec![
        answers("now (a migration, or the start that is waited for)", &|row| {
            row.now.as_ref().and_then(ruled_by_policy)
        }),
        answers("at next start", &|row| ruled_by_policy(&row.at_next_start)),
    ];
    if changed > 0 || rows.iter().any(|row| row.on_common_model.is_some()) {
        out.push(format!(
            "Common model: {} not on it, {changed} would be changed to it at next start{who}",
            summary.off_common_model
        ));
    }
    out
}
