//! A policy is made or changed: which guests and nodes do not meet it, said at once.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::told;
use crate::admission::response::Decision;
use crate::answers::pool::Pool;
use crate::answers::standing::{Standing, anew, at_next_start, kept_by, standing};
use crate::answers::{Enough, Guests, Looked, Named, policy_of};
use crate::enforce::outlook;
use crate::fit::bits::Bits;
use crate::fit::subject::Stage;
use crate::fit::verdict::Assessment;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, title};
use crate::kubevirt::wire::Vmi;
use crate::policy::{Dial, Otherwise, Policy, PolicyError, RequestFacts, RequestKind, UserName, rule};
use crate::world::World;
/// Warns whoever makes or changes a policy of what does not meet it today.
///
/// `text` is the policy as it was sent, `before` as it was stored. An invalid one is never half-applied: the warning
/// names field and problem.
pub fn change(world: &World, name: &str, text: &str, before: Option<&str>, enough: Enough<'_>) -> Decision {
    match Policy::from_json(text) {
        Err(error) => told(invalid(name, &error)),
        Ok(policy) if before.and_then(|before| Policy::from_json(before).ok()).as_ref() == Some(&policy) => {
            Decision::admit()
        }
        Ok(policy) => told(lines(world, &policy, enough)),
    }
}

fn invalid(name: &str, error: &PolicyError) -> Vec<String> {
    let ignored = "it is ignored until that is mended";
    match error {
        PolicyError::Syntax(error) => vec![format!("{name}: {error}: {ignored}")],
        PolicyError::Invalid { problems, .. } => {
            let shown = problems.len().min(3);
            let mut out: Vec<String> =
                problems.iter().take(shown).map(|problem| format!("{name}: {problem}")).collect();
            let more = match problems.len() - shown {
                0 => String::new(),
                1 => "1 more problem; ".to_owned(),
                more => format!("{more} more problems; "),
            };
            out.push(format!("{name}: {more}{ignored}"));
            out
        }
    }
}

/// What a policy says of today's guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Governed {
    guests: usize,
    /// Not on the common model, but on it from their next start on.
    until_restart: Named,
    /// Not on the common model, and not from their next start on either, by the reason.
    kept: BTreeMap<String, Named>,
    /// Would be denied if they were created now.
    denied: Named,
    looked: Looked,
}

fn lines(world: &World, policy: &Policy, enough: Enough<'_>) -> Vec<String> {
    let name = &policy.name;
    let pool = Pool::of(&world.cluster.fleet, policy);
    let found = governed(world, policy, enough);
    let Governed { guests: _, until_restart, kept, denied, looked } = &found;
    let mut out = Vec::new();
    if let Some(common) = &policy.common_model {
        let model = &common.name;
        if !until_restart.is_empty() {
            let (verb, its) = if until_restart.count == 1 { ("is", "its") } else { ("are", "their") };
            out.push(format!(
                "{name}: {} {verb} not on {model} ({}) until {its} next restart",
                looked.count(until_restart.count, "running guest"),
                until_restart.names()
            ));
        }
        out.extend(pool.cannot_run(&world.cluster.fleet, model).map(|line| format!("{name}: {line}")));
    }
    if pool.nodes.is_empty() {
        out.push(format!("{name}: nodeSelector selects no node that runs guests"));
    }
    if !denied.is_empty() {
        out.push(format!(
            "{name}: enforce {} would deny {} if created now: {}",
            policy.enforce,
            looked.count(denied.count, "guest"),
            denied.names()
        ));
    }
    let mut kept: Vec<_> = kept.iter().collect();
    kept.sort_by_key(|(_, guests)| Reverse(guests.count));
    for (reason, guests) in kept {
        let (keep, its) = if guests.count == 1 { ("keeps", "its") } else { ("keep", "their") };
        out.push(format!(
            "{name}: {} {keep} {its} own CPU model ({}): {reason}",
            looked.count(guests.count, "guest"),
            guests.names()
        ));
    }
    if out.len() < 4 {
        out.extend(looked.left_out().map(|line| format!("{name}: {line}")));
    }
    out
}

/// The guests that a policy would govern beside the other policies of the world.
fn governed(world: &World, policy: &Policy, enough: Enough<'_>) -> Governed {
    let cluster = &world.cluster;
    let mut out = Governed { looked: Looked::none_of(cluster), ..Governed::default() };
    let mut guests = Guests::new(cluster);
    let others = || world.policies.iter().filter(|other| other.name != policy.name);
    for vmi in cluster.vmis() {
        if enough() {
            break;
        }
        out.looked.at(vmi);
        if migration::has_ended(vmi) {
            continue;
        }
        let runs_on = cluster.fleet.find(&vmi.status.node_name);
        let none = Bits::none(cluster.fleet.len());
        let start = runs_on.is_none().then(|| guests.start(vmi));
        let fitting = start.as_ref().map_or(&none, |start| &start.fitting);
        let governing = policy_of(world, others().chain([policy]), vmi, runs_on, fitting);
        if governing.is_none_or(|governing| governing.name != policy.name) {
            continue;
        }
        out.guests += 1;
        let is_off = |common| standing(vmi, cluster, common) == Standing::Off;
        if policy.common_model.as_ref().is_some_and(is_off) {
            match kept_by(&at_next_start(world, policy, vmi)) {
                None => out.until_restart.add(title(vmi)),
                Some(reason) => out.kept.entry(reason).or_default().add(title(vmi)),
            }
        }
        let refuses = policy.common_model.as_ref().is_some_and(|common| common.otherwise == Otherwise::Deny);
        if (policy.enforce != Dial::Off || refuses) && denies(world, policy, vmi, &guests.start(vmi)) {
            out.denied.add(title(vmi));
        }
    }
    out
}

/// Whether a guest would be denied if it were created now, with the common model where it would get that.
fn denies(world: &World, policy: &Policy, vmi: &Vmi, start: &Assessment) -> bool {
    let cluster = &world.cluster;
    let guest = world.guest(&vmi.metadata.namespace, &vmi.metadata.labels, UserName::NOBODY);
    let kind = RequestKind::VirtualMachineInstance;
    let facts = RequestFacts { kind, exemption: policy.exempt(&guest, kind) };
    let refuses = policy.common_model.as_ref().is_some_and(|common| common.otherwise == Otherwise::Deny);
    let unmet = refuses && outlook::of_vmi(world, policy, &anew(world, vmi)).unmet.is_some();
    if !rule(policy, facts, start, unmet).denies() {
        return false;
    }
    let Some(common) = policy.common_model.as_ref().filter(|_| !unmet) else { return true };
    let is_off = standing(vmi, cluster, common) == Standing::Off;
    if !is_off || kept_by(&at_next_start(world, policy, vmi)).is_some() {
        return true;
    }
    let mut judged = subject::of_vmi(vmi, cluster);
    if let Some(start) = &judged.subject.restart {
        let start = start.with_model(&common.name);
        judged.subject.stage = Stage::Start(start.onward);
        judged.subject.placement = start.placement;
        judged.subject.mode = start.mode;
    }
    rule(policy, facts, &judged.assess(cluster), false).denies()
}

#[cfg(test)]
mod tests;
