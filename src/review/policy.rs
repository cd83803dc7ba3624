//! A created or changed policy: the guests and nodes that do not meet it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::warned;
use crate::admission::response::Decision;
use crate::answers::guest_state::{GuestOf, GuestState, GuestStates, each};
use crate::answers::model_use::{ModelUse, kept_by, model_use};
use crate::answers::pool::Pool;
use crate::answers::status::no_nodes;
use crate::answers::{CountProgress, Deadline, NamedGuests};
use crate::policy::{LabelSelector, Policy, PolicyError};
use crate::world::World;

/// Warns a user who creates or changes a policy about guests and nodes that do not meet it now.
///
/// `text` is the policy as sent, `before` as stored. An invalid policy is never applied in part: the warning names
/// field and problem.
pub(crate) fn change(world: &World, name: &str, text: &str, before: Option<&str>, is_over: Deadline<'_>) -> Decision {
    match Policy::from_json(text) {
        Err(error) => warned(invalid(name, &error)),
        Ok(policy) if before.and_then(|before| Policy::from_json(before).ok()).as_ref() == Some(&policy) => {
            Decision::admit()
        }
        Ok(policy) => warned(lines(world, &policy, is_over)),
    }
}

fn invalid(name: &str, error: &PolicyError) -> Vec<String> {
    let ignored = "it is ignored until it is fixed";
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

/// The effect of a policy on today's guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Governed {
    /// Guests that do not use the common model now, but will from their next start on.
    until_restart: NamedGuests,
    /// Guests that do not use the common model, now or from their next start on, by the reason.
    kept: BTreeMap<String, NamedGuests>,
    /// Guests that would be denied now: for a running guest its migration.
    denied_now: NamedGuests,
    /// Guests that would be denied at their next start.
    denied_at_next_start: NamedGuests,
    looked: CountProgress,
}

fn lines(world: &World, policy: &Policy, is_over: Deadline<'_>) -> Vec<String> {
    let name = &policy.name;
    let pool = Pool::of(&world.cluster.fleet, policy);
    let found = governed(world, policy, is_over);
    let Governed { until_restart, kept, denied_now, denied_at_next_start, looked } = &found;
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
        let line = pool.of_model(&world.cluster, model);
        out.extend(line.map(|line| format!("{name}: {line}")));
    }
    if pool.nodes.is_empty() {
        out.push(format!("{name}: {}", no_nodes(policy.node_selector != LabelSelector::default())));
    }
    out.extend(denied(denied_now, denied_at_next_start, *looked).map(|line| format!("{name}: {line}")));
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

/// Returns `it would deny 1 guest now (shop/ledger), and 4 guests at next start (shop/amd, shop/db and 2 more)`.
fn denied(now: &NamedGuests, at_next_start: &NamedGuests, looked: CountProgress) -> Option<String> {
    let many = |named: &NamedGuests| looked.count(named.count, "guest");
    let now = (!now.is_empty()).then(|| format!("{} now ({})", many(now), now.names()));
    let next = (!at_next_start.is_empty())
        .then(|| format!("{} at next start ({})", many(at_next_start), at_next_start.names()));
    let both = now.into_iter().chain(next).reduce(|now, next| format!("{now}, and {next}"))?;
    Some(format!("it would deny {both}; each and why: kubectl cpufit audit"))
}

/// Finds the guests that a policy would govern together with the other policies of the world.
fn governed(world: &World, policy: &Policy, is_over: Deadline<'_>) -> Governed {
    let others = world.policies.iter().filter(|other| other.name != policy.name);
    let world = World { cluster: world.cluster.clone(), policies: others.chain([policy]).cloned().collect() };
    let is_ours = |stand: &GuestState| stand.policy.as_ref() == Some(&policy.name);
    let mut out = Governed { looked: CountProgress::none_of_all(&world.cluster), ..Governed::default() };
    let mut stands = GuestStates::new(&world);
    for guest in each(&world.cluster) {
        if is_over() {
            break;
        }
        out.looked.guest(guest);
        let next = stands.at_next_start(guest);
        if is_ours(&next.stand) && next.stand.ruling.denies() {
            out.denied_at_next_start.add(guest.title());
        }
        let GuestOf::Vmi(vmi) = guest else { continue };
        let now = stands.now(vmi);
        if !is_ours(&now) {
            continue;
        }
        if now.ruling.denies() {
            out.denied_now.add(guest.title());
        }
        let is_off = |common| model_use(vmi, &world.cluster, common) == ModelUse::Off;
        if policy.common_model.as_ref().is_some_and(is_off) {
            let kept = match next.common.as_ref().filter(|_| is_ours(&next.stand)) {
                Some(common) => kept_by(common),
                None => Some("another policy governs its next start".to_owned()),
            };
            match kept {
                None => out.until_restart.add(guest.title()),
                Some(reason) => out.kept.entry(reason).or_default().add(guest.title()),
            }
        }
    }
    out
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
