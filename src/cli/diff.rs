//! `cpufit diff`: the differences between two states of a cluster, and the guests they affect.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;

use crate::answers::diff::{
    ChangeKind, Diff, Direction, EvictionChange, EvictionWord, Frozen, GuestChange, KubeVirtChange, NodeChange,
    PolicyChange, ProvedRestart, RunChange, RunWord, Unlike, elsewhere, try_diff,
};
use crate::cli::Exit;
use crate::cli::args::{DiffArgs, ListOutput};
use crate::cli::gate;
use crate::cli::resource::ObjectKind;
use crate::cli::targets::{TargetScope, no_guest, note_namespaces};
use crate::console::{self, Progress};
use crate::fit::command::{Command, CommandWord, LabelKey, Name, Namespace, Script};
use crate::fit::label::{self, Family};
use crate::fit::plural;
use crate::fit::remedy::{Action, Restart};
use crate::fit::verdict::OutcomeWord;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Prepared};
use crate::page::Page;
use crate::world::{World, no_nodes};

/// Number of names in a folded line.
const MAX_LABELS: usize = 3;
/// Number of nodes in a command.
const MAX_NAMES: usize = 8;

/// Runs the verb.
///
/// # Errors
///
/// Returns an error if writing JSON or YAML fails, if the new side holds no node (no guest would seem worse off), or if
/// the names of redacted snapshots stand for different objects.
pub(crate) fn run(
    args: &DiffArgs,
    scope: &TargetScope<'_>,
    old: &World,
    new: &World,
    page: &mut Page,
) -> anyhow::Result<Exit> {
    ensure!(!new.cluster.fleet.is_empty(), "nothing can be compared with the new side: {}", no_nodes(&new.cluster));
    let compared = Progress::of("guests compared");
    let is_asked_for = |guest: &str| {
        let (namespace, name) = guest.split_once('/').unwrap_or(("", guest));
        scope.holds(new, namespace, name) || scope.holds(old, namespace, name)
    };
    match nobody(scope, old, new) {
        Some(why) => console::note(page.domain(), why),
        None => gate::note_kubevirt(new),
    }
    let mut found = try_diff(old, new, &is_asked_for, &|done, of| compared.at(done, of))?;
    for (side, world) in [("old", old), ("new", new)] {
        // A user who asks for one namespace does not ask about others.
        if scope.namespace.is_some_and(|asked| world.cluster.only_namespaces.contains(asked)) {
            let line = elsewhere(side, &world.cluster);
            found.not_known.retain(|known| Some(known) != line.as_ref());
        }
    }
    match args.output {
        ListOutput::Table => people(&found, new, MAX_LABELS, page),
        ListOutput::Wide => people(&found, new, usize::MAX, page),
        ListOutput::Json => page.json(&found)?,
        ListOutput::Yaml => page.yaml(&found)?,
        ListOutput::Name => {
            let worse = found.turned(Direction::Worse);
            for guest in &worse {
                page.line(title(guest, new));
            }
            if scope.namespace.is_none() {
                note_namespaces(worse.iter().filter_map(|guest| Some(guest.split_once('/')?.0)), page.domain());
            }
        }
    }
    let had_guests = old.cluster.vmis().next().is_some() || old.cluster.vms().next().is_some();
    Ok(match found.are_guests_compared {
        true if found.worse > 0 => Exit::Failed,
        // A side is a dump without guests, or lacks some: whether any is worse off is not known.
        true if found.lacks_guests => Exit::Trouble,
        false if had_guests => Exit::Trouble,
        true | false => Exit::Success,
    })
}

/// Returns why neither side has a guest in a scope that the user narrowed; `None` if one has, or if all are compared.
fn nobody(scope: &TargetScope<'_>, old: &World, new: &World) -> Option<String> {
    let holds_any = |world: &World| {
        let running = world.cluster.vmis().map(|vmi| &vmi.metadata);
        let mut all = running.chain(world.cluster.vms().map(|vm| &vm.metadata));
        all.any(|guest| scope.holds(world, &guest.namespace, &guest.name))
    };
    let is_narrowed =
        scope.namespace.is_some() || scope.selector.is_some_and(|selector| selector.keys().next().is_some());
    if !is_narrowed || holds_any(old) || holds_any(new) {
        return None;
    }
    // A namespace that one side has exists for the comparison.
    let is_gone = |name: &str| gate::no_namespace(new, name).is_some() && gate::no_namespace(old, name).is_none();
    let side = if scope.namespace.is_some_and(is_gone) { old } else { new };
    Some(no_guest(side, scope))
}

fn people(found: &Diff, new: &World, most: usize, page: &mut Page) {
    nodes(&found.nodes, most, page);
    found.kubevirt.iter().for_each(|change| page.line(setting(change)));
    for PolicyChange { policy, change } in &found.policies {
        let what = match change {
            ChangeKind::Added => "is on the new side only",
            ChangeKind::Removed => "is on the old side only",
            ChangeKind::Changed => "changed",
        };
        page.line(format_args!("CPUPolicy {policy} {what}"));
    }
    running(&found.running, most, page);
    guests(found, most, page);
    leftovers(found, most, page);
    advice(found, new, most, page);
    found.not_known.iter().for_each(|line| page.line(format_args!("Not known: {line}")));
    let Diff { worse, better, .. } = found;
    match (worse, better) {
        _ if !found.are_guests_compared => page.line("guests are not compared"),
        (0, 0) if found.is_empty() && found.not_known.is_empty() => {
            page.line("nothing changed: no label, taint or verdict by labels");
        }
        (0, 0) if found.lacks_guests => page.line("no guest that could be compared is worse off, none better"),
        (0, 0) => page.line("no guest is worse off, none better"),
        _ => page.line(format_args!("{}, {better} better", worse_off(*worse))),
    }
}

/// Returns `KubeVirt evictionStrategy: LiveMigrate before, None now: guests …`.
fn setting(change: &KubeVirtChange) -> String {
    let KubeVirtChange { setting, before, after, means } = change;
    let value = |value: &Option<String>| value.as_deref().unwrap_or("not set").to_owned();
    let means = if means.is_empty() { String::new() } else { format!(": {means}") };
    format!("KubeVirt {setting}: {} before, {} now{means}", value(before), value(after))
}

fn worse_off(count: usize) -> String {
    match count {
        0 => "no guest is worse off".to_owned(),
        1 => "1 guest is worse off".to_owned(),
        many => format!("{many} guests are worse off"),
    }
}

/// Prints nodes with equal changes on one line.
fn nodes(changes: &[NodeChange], most: usize, page: &mut Page) {
    let mut alike: BTreeMap<String, Vec<&NodeChange>> = BTreeMap::new();
    for change in changes {
        alike.entry(what(change, most)).or_default().push(change);
    }
    let mut groups: Vec<(String, Vec<&NodeChange>)> = alike.into_iter().collect();
    groups.sort_by(|(_, one), (_, other)| one[0].node.cmp(&other[0].node));
    for (what, changes) in groups {
        let names: Vec<&str> = changes.iter().map(|change| change.node.as_str()).collect();
        let mut models: Vec<&str> = changes.iter().filter_map(|change| change.host_model.as_deref()).collect();
        models.sort_unstable();
        models.dedup();
        let kind = if models.is_empty() { String::new() } else { format!(" ({})", plural::fold_names(&models, most)) };
        page.line(format_args!("{}{kind}: {what}", plural::fold_names(&names, most)));
    }
}

fn what(change: &NodeChange, most: usize) -> String {
    match change.change {
        ChangeKind::Added => return "came".to_owned(),
        ChangeKind::Removed => return "gone".to_owned(),
        ChangeKind::Changed => {}
    }
    let labels = |verb: &str, labels: &[String]| {
        let pairs = labels.iter().map(|label| label.split_once('=').unwrap_or((label, "true")));
        (!labels.is_empty()).then(|| format!("{verb} {}", plural::fold(pairs, most.max(8))))
    };
    let also = (!change.also.is_empty()).then(|| change.also.join(", "));
    let other = change.other_cpu.then(|| match (&change.host_model_before, &change.host_model) {
        (Some(before), Some(now)) if before != now => {
            format!("another CPU by its labels: host model {before} before, {now} now")
        }
        _ => "another CPU by its labels: of another vendor".to_owned(),
    });
    let replaced = change.replaced.then(|| "replaced by another node of that name (another UID)".to_owned());
    let parts = [replaced, other, labels("lost", &change.lost), labels("gained", &change.gained), also];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Prints the guests that started, stopped, restarted or migrated.
fn running(changes: &[RunChange], most: usize, page: &mut Page) {
    let mut alike: BTreeMap<RunWord, Vec<&str>> = BTreeMap::new();
    for RunChange { guest, change } in changes {
        alike.entry(*change).or_default().push(guest);
    }
    for (change, names) in alike {
        let count = plural::counted(names.len(), "guest", "guests");
        let change = match change {
            RunWord::Recreated => "deleted, and created again under the name",
            RunWord::Migrated | RunWord::Restarted | RunWord::Started | RunWord::Stopped => change.as_str(),
        };
        page.line(format_args!("{count} {change}: {}", plural::fold_names(&names, most)));
    }
}

/// Prints guests with equal changes and causes on one line.
fn guests(found: &Diff, most: usize, page: &mut Page) {
    // The sentences about one guest and about several.
    let mut alike: BTreeMap<(Direction, [String; 2]), Vec<&str>> = BTreeMap::new();
    for change in &found.evictions {
        let EvictionChange { guest, before, after, turn } = change;
        let what = format!("at a drain: {} before, {} now", at_a_drain(*before), at_a_drain(*after));
        alike.entry((*turn, [what.clone(), what])).or_default().push(guest);
    }
    let mut add =
        |change: &GuestChange, what: [String; 2], guest| alike.entry((change.turn, what)).or_default().push(guest);
    for change in &found.guests {
        let what = happened(change, &found.gone, most);
        add(change, [what.clone(), what], &change.guest);
    }
    for change in &found.own_node {
        add(change, of_own_node(change, &found.gone, most), &change.guest);
    }
    for change in &found.not_migratable {
        let what = ["it", "them"].map(|it| match &change.not_migratable_after {
            Some(why) => format!("KubeVirt refuses to migrate {it} now: {why}"),
            None => format!("KubeVirt no longer refuses to migrate {it}"),
        });
        add(change, what, &change.guest);
    }
    for change in &found.node_gone {
        let node = change.node_gone.as_deref().unwrap_or_default();
        add(change, ["runs", "run"].map(|run| format!("{run} on {node}, and {node} is gone")), &change.guest);
    }
    for ((_, [one, many]), names) in alike {
        let count = plural::counted(names.len(), "guest", "guests");
        let what = if names.len() == 1 { one } else { many };
        page.line(format_args!("{count} ({}): {what}", plural::fold_names(&names, most)));
    }
}

/// Returns `no longer matches its own node, so a restart of the kubelet there would fail it: …`, and the same about
/// several guests.
fn of_own_node(change: &GuestChange, gone: &[String], most: usize) -> [String; 2] {
    let why = because(&change.because, gone, most).map(|why| format!(": {why}")).unwrap_or_default();
    let words = [
        ["runs", "does not match it", "matches it", "matches its own node", "it"],
        ["run", "do not match it", "match it", "match their own node", "them"],
    ];
    words.map(|[run, does_not_match, matches, own_node, it]| {
        let fails = format!(", so a restart of the kubelet there would fail {it}{why}");
        match (change.own_node_after, now_on(change)) {
            (true, Some(node)) => format!("{run} on {node} now and {does_not_match}{fails}"),
            (true, None) => format!("no longer {own_node}{fails}"),
            (false, Some(node)) => format!("{run} on {node} now and {matches}"),
            (false, None) => format!("{own_node} again"),
        }
    })
}

fn at_a_drain(eviction: EvictionWord) -> &'static str {
    match eviction {
        EvictionWord::Migrates => "migrated by KubeVirt",
        EvictionWord::Waits => "not migrated, as KubeVirt is configured to start no migration",
        EvictionWord::Stays => "left to another program",
        EvictionWord::ShutDown => "shut down",
    }
}

/// Returns the node that a guest runs on, if it ran on another one before.
fn now_on(change: &GuestChange) -> Option<&str> {
    let cause = change.because_nodes.iter().find(|cause| cause.is_move)?;
    Some(&cause.node)
}

fn happened(change: &GuestChange, gone: &[String], most: usize) -> String {
    let state = |verdict: OutcomeWord| match verdict {
        OutcomeWord::Fits => "two targets or more",
        OutcomeWord::Fragile => "one target",
        OutcomeWord::Pinned => "no target",
        OutcomeWord::Unschedulable => "no node to start on",
        OutcomeWord::Unknown => "not known",
    };
    match (change.before, change.after) {
        (Some(before), Some(after)) => {
            format!("{} before, {} now{}", state(before), state(after), reasons(change, gone, most))
        }
        (None, Some(after)) if change.own_node_after => {
            format!(
                "new, {}; does not match its own node, so a restart of the kubelet there would fail it",
                state(after)
            )
        }
        (None, Some(after)) => format!("new, {}", state(after)),
        (Some(before), None) => format!("gone, {} before", state(before)),
        (None, None) => String::new(),
    }
}

/// Returns `: cpu-feature amd-stibp, which no node has any more; node-b cordoned`.
fn reasons(change: &GuestChange, gone: &[String], most: usize) -> String {
    let mut by_change: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for cause in &change.because_nodes {
        by_change.entry((cause.is_move, &cause.change)).or_default().push(&cause.node);
    }
    let of_nodes = by_change.into_iter().map(|((is_move, change), nodes)| {
        if is_move {
            format!("it runs on {} now", nodes.join(", "))
        } else {
            format!("{} {change}", plural::fold_names(&nodes, most))
        }
    });
    let kubevirt = change.because_kubevirt.then(|| "what changed of KubeVirt".to_owned());
    let unknown = [("before", &change.unknown_before), ("now", &change.unknown_after)];
    let unknown = unknown.into_iter().filter_map(|(when, why)| {
        let is_both = change.unknown_before.is_some() && change.unknown_after.is_some();
        let when = if is_both { format!("{when}, ") } else { String::new() };
        why.as_ref().map(|why| format!("{when}{why}"))
    });
    let labels = because(&change.because, gone, most).into_iter();
    let parts: Vec<String> = unknown.chain(labels).chain(of_nodes).chain(kubevirt).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) }
}

/// Returns `cpu-feature amd-stibp, which no node has any more`; `None` without labels.
fn because(keys: &[String], gone: &[String], most: usize) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let (gone, rest): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| gone.contains(key));
    // CPU labels have the value `true`; the required value of another label is not known here.
    let named = |keys: &[&String]| {
        let is_cpu = |key: &&&String| Family::of(key).is_cpu();
        let (of_cpu, others): (Vec<&String>, Vec<&String>) = keys.iter().partition(is_cpu);
        let of_cpu = of_cpu.iter().map(|key| (key.as_str(), "true"));
        let of_cpu = plural::fold(of_cpu, most.max(MAX_LABELS));
        let others = plural::fold_names(&others, most.max(MAX_LABELS));
        [of_cpu, others].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let gone = (!gone.is_empty()).then(|| format!("{}, which no node has any more", named(&gone)));
    let rest = (!rest.is_empty()).then(|| named(&rest));
    Some(gone.into_iter().chain(rest).collect::<Vec<_>>().join("; "))
}

/// Prints settings that may have been left by mistake.
fn leftovers(found: &Diff, most: usize, page: &mut Page) {
    for (was_before, since) in [(true, "as before"), (false, "since")] {
        let is_meant = |row: &&Frozen| row.was_before == was_before && !row.other_cpu;
        let names: Vec<&str> = found.frozen.iter().filter(is_meant).map(|row| row.node.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let verb = plural::number(names.len(), "has", "have");
        let labels = plural::number(names.len(), "its labels are", "their labels are");
        page.line(format_args!(
            "{} {verb} the annotation {} ({since}): {labels} frozen, right or wrong",
            plural::fold_names(&names, most),
            label::SKIP_NODE
        ));
        commands(&annotate(&names, Freeze::Off), page);
    }
    let replaced: Vec<&str> = found.frozen.iter().filter(|row| row.other_cpu).map(|row| row.node.as_str()).collect();
    if !replaced.is_empty() {
        let verb = plural::number(replaced.len(), "has", "have");
        let its = plural::number(
            replaced.len(),
            "its labels name another CPU than before",
            "their labels name another CPU than before",
        );
        page.line(format_args!(
            "{} {verb} the annotation {}, and {its}: they are frozen as they were set, whatever CPU is there now",
            plural::fold_names(&replaced, most),
            label::SKIP_NODE
        ));
    }
    for row in &found.unlike {
        let Unlike { nodes, host_model, alike, lacks, has } = row;
        let fold = |keys: &[String]| plural::fold(keys.iter().map(|key| (key.as_str(), "true")), most.max(MAX_LABELS));
        let lacks = (!lacks.is_empty()).then(|| format!("without {}", fold(lacks)));
        let has = (!has.is_empty()).then(|| format!("with {}", fold(has)));
        let differs = plural::number(nodes.len(), "differs", "differ");
        page.line(format_args!(
            "{} {differs} from {alike} others with host model {host_model}: {}",
            plural::fold_names(nodes, most),
            lacks.into_iter().chain(has).collect::<Vec<_>>().join(", ")
        ));
    }
}

/// Returns `virtualmachineinstance.kubevirt.io/db`, or the title of the VM if the guest does not run.
fn title(guest: &str, world: &World) -> String {
    let (namespace, name) = guest.split_once('/').unwrap_or(("", guest));
    let is_running = world.cluster.vmi(namespace, name).is_some();
    let kind = if is_running { ObjectKind::Vmi } else { ObjectKind::VirtualMachine };
    kind.title(name)
}

/// Prints what to do now, and before the next upgrade.
fn advice(found: &Diff, new: &World, most: usize, page: &mut Page) {
    let worse = found.changes().filter(|change| change.turn == Direction::Worse);
    let worse: BTreeSet<(bool, &str)> = worse.map(|change| (can_leave(change), change.guest.as_str())).collect();
    let (sure, by_luck): (Vec<&ProvedRestart>, Vec<&ProvedRestart>) =
        found.restarts.iter().partition(|restart| restart.least_targets > 0);
    for (restarts, what) in
        [(sure, "a restart"), (by_luck, "a restart, which leaves a target only where it starts on certain nodes")]
    {
        if restarts.is_empty() {
            continue;
        }
        let policy = if restarts.iter().all(|restart| restart.or_drop_stale) {
            ", or a policy with launcherSelectors: DropStale (libvirt decides)"
        } else {
            ""
        };
        page.line(format_args!("Now, for {}: {what}{policy}", plural::counted(restarts.len(), "guest", "guests")));
        for prepared in restarts.iter().take(most).filter_map(|restart| runs(new, &restart.guest)) {
            commands(&restart(&prepared), page);
        }
        if restarts.len() > most {
            page.line(format_args!("  # and {} more: -o wide names them", restarts.len() - most));
        }
    }
    let is_freed = |guest: &str| found.restarts.iter().any(|restart| restart.guest == guest);
    let others: Vec<&str> = worse.iter().map(|(_, guest)| *guest).filter(|guest| !is_freed(guest)).collect();
    if !others.is_empty() {
        page.line("Now: what helps, guest by guest:");
        for other in others.iter().take(most) {
            commands(&explain(other, new), page);
        }
        if others.len() > most {
            page.line(format_args!("  # and {} more: -o wide names them", others.len() - most));
        }
    }
    let because: BTreeSet<&String> = found
        .changes()
        .filter(|change| change.turn == Direction::Worse)
        .flat_map(|change| &change.because)
        .filter(|key| Family::of(key).is_labeller())
        .collect();
    // Labels of another CPU would be false for the current one.
    let keeps = |node: &&NodeChange| {
        let has_lost = || node.lost.iter().any(|label| because.contains(label));
        node.change == ChangeKind::Changed && !node.other_cpu && !node.replaced && has_lost()
    };
    let lost: Vec<&str> = found.nodes.iter().filter(keeps).map(|node| node.node.as_str()).collect();
    if !lost.is_empty() {
        page.line("Next time, before the upgrade, keep the labels until the guests were restarted or moved:");
        commands(&annotate(&lost, Freeze::On), page);
    }
}

/// Whether a guest can still migrate, though to fewer nodes.
fn can_leave(change: &GuestChange) -> bool {
    change.after.is_none_or(|after| matches!(after, OutcomeWord::Fits | OutcomeWord::Fragile))
}

fn commands(script: &Script, page: &mut Page) {
    for line in script.lines() {
        page.line(format_args!("  {line}"));
    }
}

/// Whether labels are to be frozen, or left to the node-labeller again.
#[derive(Clone, Copy)]
enum Freeze {
    On,
    Off,
}

fn annotate(nodes: &[&str], freeze: Freeze) -> Script {
    let key = || LabelKey::new(label::SKIP_NODE);
    let command = || {
        let mut command = Command::kubectl(["annotate", "node"]);
        for node in nodes.iter().take(MAX_NAMES) {
            command = command.arg(Name::new(node)?);
        }
        let word: CommandWord = match freeze {
            Freeze::On => CommandWord::joined("node-labeller.kubevirt.io/skip-node=", "true"),
            Freeze::Off => key()?.removed(),
        };
        let command = command.arg(word);
        Ok(vec![if nodes.len() > MAX_NAMES { command.comment("and the other nodes") } else { command }])
    };
    command().into()
}

/// Returns `kubectl cpufit explain vmi/db -n shop`.
fn explain(guest: &str, world: &World) -> Script {
    let (namespace, name) = guest.split_once('/').unwrap_or(("", guest));
    let is_there = world.cluster.vmi(namespace, name).is_some_and(|vmi| !migration::has_ended(vmi));
    let kind = if is_there { "vmi" } else { "vm" };
    let command = || {
        let command = Command::kubectl(["cpufit", "explain"]).arg(Name::new(name)?.of(kind));
        Ok(vec![command.namespace(Namespace::new(namespace)?)])
    };
    command().into()
}

/// Prepares a running guest as its migration; `None` for a guest that does not run.
fn runs(world: &World, guest: &str) -> Option<Prepared<'static>> {
    let (namespace, name) = guest.split_once('/').unwrap_or(("", guest));
    subject::of_running(world.cluster.vmi(namespace, name)?, &world.cluster)
}

/// Returns the commands that restart it, if there are any.
fn restart(prepared: &Prepared<'_>) -> Script {
    Action::from(Restart).commands(&prepared.subject)
}
