//! Evictions of launcher pods, `kubectl drain` above all: the reason why a guest cannot leave, and the next step.
//!
//! KubeVirt's own webhook answers 429 to the eviction of a guest that is to be migrated, and kubectl retries until the
//! launcher is gone; kubectl prints these warnings with it.

use serde::Deserialize;

use crate::admission::response::Decision;
use crate::answers::{Deadline, policy_of};
use crate::bounds::{Excess, Measured};
use crate::fit::command::{Command, Name, Namespace};
use crate::fit::judgement::{Depth, Effort};
use crate::fit::remedy::Remedy;
use crate::fit::shown::Shown;
use crate::fit::verdict::{Check, Impact, Outcome};
use crate::judge::apply_expected_trim;
use crate::kubevirt::active_migration;
use crate::kubevirt::eviction::{self, Effect, ShutDown};
use crate::kubevirt::migration::NotEvacuated;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::Vmi;
use crate::policy::{Policy, RequestFacts, RequestKind, Ruling, rule};
use crate::say;
use crate::world::World;

/// The fields of a `policy/v1` Eviction that are read. A drain sets its dry run here, not in the request's `dryRun`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Eviction {
    delete_options: Option<DeleteOptions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptions {
    dry_run: Option<Vec<String>>,
}

/// Parts that were not read change no decision.
impl Measured for Eviction {
    fn mark(&mut self, _: Excess) {}
}

impl Eviction {
    /// Whether it is a dry run.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.delete_options.as_ref().and_then(|options| options.dry_run.as_ref()).is_some_and(|on| !on.is_empty())
    }
}

/// Answers the eviction of a pod by name. No warnings if it is not the current launcher of a known guest, or if the
/// guest can leave.
pub(crate) fn eviction(world: &World, namespace: &str, pod: &str, dry_run: bool, is_over: Deadline<'_>) -> Decision {
    let cluster = &world.cluster;
    let Some(vmi) = cluster.guest_of_launcher(namespace, pod).filter(|_| !world.exempts(namespace)) else {
        return Decision::admit();
    };
    if cluster.current_launcher(vmi).is_none_or(|current| current.name != pod) {
        return Decision::admit();
    }
    Decision::admit_with(lines(world, vmi, dry_run, is_over).unwrap_or_default())
}

fn lines(world: &World, vmi: &Vmi, dry_run: bool, is_over: Deadline<'_>) -> Option<Vec<String>> {
    let cluster = &world.cluster;
    let name = subject::title(&vmi.metadata);
    let node = &vmi.status.node_name;
    // Without a known strategy nothing is announced on a guess.
    eviction::strategy(vmi, cluster)?;
    let effect = eviction::effect(vmi, cluster);
    // Its migration is active: the drain waits for that.
    let leaves = !node.is_empty() && active_migration::target(vmi, cluster).is_some();
    let stays = if node.is_empty() { format!("{name} stays") } else { format!("{name} stays on {node}") };
    let cannot = |why: &str, until: &str| format!("{name} cannot leave {node}: {why}. The drain waits until {until}");
    let mut out = match effect {
        Effect::Ends | Effect::External => return None,
        Effect::ShutDown(why) => {
            let will_be = if dry_run { "would be" } else { "will be" };
            return Some(vec![match why {
                ShutDown::NoStrategy => {
                    format!("{name} {will_be} shut down, not migrated: it has no evictionStrategy LiveMigrate")
                }
                ShutDown::UnknownStrategy(stated) => {
                    format!("{name} {will_be} shut down: {}", say::eviction::unknown_strategy(stated))
                }
                ShutDown::NotPossible(why) => format!("{name} {will_be} shut down: {}", not_migrated(why).0),
            }]);
        }
        Effect::Held(held) => return Some(vec![format!("{stays}: {}", say::eviction::held(held))]),
        Effect::Migrates | Effect::MigratesOnceItRuns | Effect::NotStarted(_) | Effect::NotMigrated(_) if leaves => {
            Vec::new()
        }
        Effect::Migrates => migration(world, vmi, is_over).unwrap_or_default(),
        Effect::MigratesOnceItRuns => {
            vec![format!("{stays}: {}", say::eviction::not_running(&vmi.status.phase, None))]
        }
        Effect::NotStarted(field) => {
            let line = cannot(&say::finding::migrations_off(field), "that changes");
            [vec![line], sentences(&name, [give_up(world, node), None])].concat()
        }
        Effect::NotMigrated(why) => {
            let (why, until) = not_migrated(why);
            let steps = [stop(vmi).map(|stop| format!("to go on: {stop}")), give_up(world, node)];
            [vec![cannot(&why, until)], sentences(&name, steps)].concat()
        }
    };
    out.extend(dry_run.then(|| dry_run_line(&name)));
    Some(out)
}

/// Returns why KubeVirt does not migrate a guest, and the event that the drain waits for.
fn not_migrated(why: NotEvacuated<'_>) -> (String, &'static str) {
    match why {
        NotEvacuated::Refused(condition) => {
            let reason = reason(&condition.reason, &condition.message);
            (format!("it is not live-migratable{reason}"), "it is stopped")
        }
        NotEvacuated::Undecided(status) => (say::finding::undecided(status), "it is, or the guest is stopped"),
    }
}

/// Returns the warnings about the migration that KubeVirt starts for the eviction, if it has no target; `None` for no
/// warnings.
fn migration(world: &World, vmi: &Vmi, is_over: Deadline<'_>) -> Option<Vec<String>> {
    let cluster = &world.cluster;
    let mut prepared = subject::of_running(vmi, cluster)?;
    let fitting = prepared.assess_within(cluster, Effort::until(Depth::Brief, is_over)).fitting;
    let name = subject::title(&vmi.metadata);
    let node = &vmi.status.node_name;
    let source = cluster.fleet.find(node);
    let policy = policy_of(world, &world.policies, vmi, source, &fitting).cloned();
    let policy = policy.unwrap_or_else(Policy::builtin);
    apply_expected_trim(world, &policy, &mut prepared, None);
    let verdict = prepared.judge(cluster, Effort::until(Depth::Full, is_over));
    let facts = RequestFacts { kind: RequestKind::Other, exemption: None, is_guess: false, is_too_large: false };
    let warned = matches!(rule(&policy, facts, &verdict.assessment, false), Ruling::Admit { warned: true, .. });
    if !warned && !verdict.is_always_reported() {
        return None;
    }
    let refused = verdict.found(Check::LibvirtRefused).map(say::finding::message);
    let mut out = Vec::new();
    match (&prepared.not_judged, &verdict.assessment.outcome) {
        (Some(not_judged), _) if not_judged.check == Check::Unknown => {
            let why = say::finding::message(not_judged);
            out.push(format!("{name}: whether it can leave {node} is not known: {why}"));
        }
        (Some(not_judged), _) => {
            let why = say::finding::message(not_judged);
            out.push(format!("{name} cannot leave {node}: {why}. The drain waits until that changes"));
        }
        (None, Outcome::Impaired(Impact::Pinned | Impact::Unschedulable)) => {
            let lines = (1..=4).rev().map(|most| {
                let why = say::obstacles_within(&verdict, most);
                format!("cannot leave {node}: {why}. The drain waits until that changes")
            });
            let short = format!("cannot leave {node}. The drain waits until that changes");
            out.extend(say::first_with_room(&name, lines.chain([short])).map(|line| format!("{name} {line}")));
            let remedy = verdict.findings.iter().find_map(|finding| finding.remedies.first());
            out.extend(sentences(&name, [next(remedy, &prepared), give_up(world, node)]));
        }
        (None, _) => {}
    }
    out.extend(refused.map(|message| format!("{name}: {message}")));
    Some(out)
}

/// Puts each step on its own line, if it fits: kubectl prints a line once over all its retries, and only a later retry
/// may know of the cordon.
fn sentences(name: &str, steps: [Option<String>; 2]) -> Vec<String> {
    let line = |step| Some(format!("{name}: {}", say::first_with_room(name, [step])?));
    steps.into_iter().flatten().filter_map(line).collect()
}

fn next(remedy: Option<&Remedy>, prepared: &Prepared<'_>) -> Option<String> {
    let explain = say::explain(prepared);
    let Some(Remedy { action, .. }) = remedy else {
        return explain.map(|command| format!("what would help: {command}"));
    };
    if let Some(command) = action.commands(&prepared.subject).single() {
        return Some(format!("to go on: {command}"));
    }
    let more = explain.map(|command| format!(" ({command})")).unwrap_or_default();
    Some(format!("to go on: {}{more}", say::remedy::summary(action, &prepared.subject)))
}

fn stop(vmi: &Vmi) -> Option<Command> {
    let (name, namespace) = (&vmi.metadata.name, &vmi.metadata.namespace);
    let (name, namespace) = (Name::new(name).ok()?, Namespace::new(namespace).ok()?);
    Some(Command::virtctl(["stop"]).arg(name).namespace(namespace))
}

/// Returns the command that reverts the cordon of a drain.
fn give_up(world: &World, node: &str) -> Option<String> {
    let fleet = &world.cluster.fleet;
    fleet.find(node).filter(|&node| fleet.is_cordoned(node))?;
    Some(format!("to give up: {}", Command::kubectl(["uncordon"]).arg(Name::new(node).ok()?)))
}

fn dry_run_line(name: &str) -> String {
    format!(
        "{name}: a dry run moves nothing, and KubeVirt answers it as the real eviction: the drain never ends, \
         stop it with Ctrl-C"
    )
}

/// Returns KubeVirt's reason, truncated so that the rest of the line fits.
fn reason(reason: &str, message: &str) -> String {
    match (reason, Shown::within(message, 80).as_str()) {
        ("", "") => String::new(),
        (text, "") | ("", text) => format!(" ({text})"),
        (reason, message) => format!(" ({reason}: {message})"),
    }
}

#[cfg(test)]
mod tests;
