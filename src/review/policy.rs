//! A created or changed policy: the guests and nodes that do not meet it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::admission::response::Decision;
use crate::answers::guest_state::{GuestState, GuestStates};
use crate::answers::model_use::{ModelUse, kept_by, model_use};
use crate::answers::pool::Pool;
use crate::answers::status::no_nodes;
use crate::answers::{CountProgress, Deadline, NAMED, NamedGuests};
use crate::fit::plural;
use crate::judge::{GuestOf, all_guests};
use crate::policy::{LabelSelector, Policy, PolicyError};
use crate::world::World;

/// Warns a user who creates or changes a policy about guests and nodes that do not meet it now.
///
/// `text` is the policy as sent, `before` as stored. An invalid policy is never applied in part: the warning names
/// field and problem.
pub(crate) fn change(world: &World, name: &str, text: &str, before: Option<&str>, is_over: Deadline<'_>) -> Decision {
    match Policy::from_json(text) {
        Err(error) => Decision::admit_with(invalid(name, &error)),
        Ok(policy) => match before.and_then(|before| Policy::from_json(before).ok()) {
            Some(before) if before == policy => Decision::admit(),
            before => Decision::admit_with(lines(world, &policy, before.as_ref(), is_over)),
        },
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
struct PolicyEffect {
    /// Guests that do not use the common model now, but will from their next start on.
    until_restart: NamedGuests,
    /// Guests that do not use the common model, now or from their next start on, by the reason.
    kept: BTreeMap<String, NamedGuests>,
    /// Guests that would be denied now: for a running guest its migration.
    denied_now: NamedGuests,
    /// Guests that would be denied at their next start.
    denied_at_next_start: NamedGuests,
    /// Guests that it governs with the change and another policy without, now or at their next start, by that policy.
    taken_over: BTreeMap<String, NamedGuests>,
    /// Guests that it governs without the change only, now or at their next start, by the policy that governs them
    /// with it; `None` for the built-in one.
    given_up: BTreeMap<Option<String>, NamedGuests>,
    looked: CountProgress,
}

impl PolicyEffect {
    /// Counts a guest under each policy that governs it in the place of this one, or the other way round. `pairs` are
    /// the policies without and with the change, now and at its next start; the outer `None` stands for no such time.
    fn change_hands(
        &mut self,
        name: &String,
        guest: &str,
        pairs: impl Iterator<Item = (Option<Option<String>>, Option<Option<String>>)>,
    ) {
        let pairs: BTreeSet<_> = pairs.filter_map(|(was, is)| was.zip(is)).filter(|(was, is)| was != is).collect();
        let from = pairs.iter().filter(|(_, is)| is.as_ref() == Some(name)).filter_map(|(was, _)| was.clone());
        for policy in from.collect::<BTreeSet<_>>() {
            self.taken_over.entry(policy).or_default().add(guest.to_owned());
        }
        let to = pairs.iter().filter(|(was, _)| was.as_ref() == Some(name)).map(|(_, is)| is.clone());
        for policy in to.collect::<BTreeSet<_>>() {
            self.given_up.entry(policy).or_default().add(guest.to_owned());
        }
    }
}

fn lines(world: &World, policy: &Policy, before: Option<&Policy>, is_over: Deadline<'_>) -> Vec<String> {
    let name = &policy.name;
    let pool = Pool::of(&world.cluster.fleet, policy);
    let found = governed(world, policy, before, is_over);
    let PolicyEffect { until_restart, kept, denied_now, denied_at_next_start, taken_over, given_up, looked } = &found;
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
    let from = |(policy, guests): (&String, _)| (format!("from policy {policy}"), guests);
    let over = changed_hands(taken_over.iter().map(from).collect(), *looked);
    out.extend(over.map(|guests| format!("{name}: it takes over {guests}, now or at next start")));
    let to = |(policy, guests): (&Option<String>, _)| {
        (
            policy.as_ref().map_or_else(|| "to the built-in policy".to_owned(), |policy| format!("to policy {policy}")),
            guests,
        )
    };
    let up = changed_hands(given_up.iter().map(to).collect(), *looked);
    out.extend(up.map(|guests| format!("{name}: it loses {guests}, now or at next start")));
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

/// Returns `2 guests from policy gold (shop/db, shop/erp), and 1 guest from policy vip (shop/web)`, the most guests
/// first.
fn changed_hands(mut of: Vec<(String, &NamedGuests)>, looked: CountProgress) -> Option<String> {
    of.sort_by_key(|(_, guests)| Reverse(guests.count));
    let rest = of.split_off(of.len().min(NAMED));
    let part = |(whose, guests): &(String, &NamedGuests)| {
        format!("{} {whose} ({})", looked.count(guests.count, "guest"), guests.names())
    };
    let shown = of.iter().map(part).reduce(|one, other| format!("{one}, and {other}"))?;
    let more: usize = rest.iter().map(|(_, guests)| guests.count).sum();
    Some(match rest.len() {
        0 => shown,
        policies => {
            let policies = plural::counted(policies, "other", "others");
            format!("{shown}, and {} of {policies}", looked.count(more, "guest"))
        }
    })
}

/// Whether a change of a policy may change which policy governs a guest: see [`crate::policy::governing`].
fn selects_otherwise(policy: &Policy, before: Option<&Policy>) -> bool {
    before.is_none_or(|before| {
        let Policy { namespace_selector, virtual_machine_selector, node_selector, .. } = policy;
        *namespace_selector != before.namespace_selector
            || *virtual_machine_selector != before.virtual_machine_selector
            || *node_selector != before.node_selector
            || policy.refuses_models() != before.refuses_models()
    })
}

/// Finds the guests that a policy would govern together with the other policies of the world.
fn governed(world: &World, policy: &Policy, before: Option<&Policy>, is_over: Deadline<'_>) -> PolicyEffect {
    let with = |policy: Option<&Policy>, name: &str| {
        let others = world.policies.iter().filter(|other| other.name != name);
        World { cluster: world.cluster.clone(), policies: others.chain(policy).cloned().collect() }
    };
    let without = with(before, &policy.name);
    let world = with(Some(policy), &policy.name);
    let is_reselected = selects_otherwise(policy, before) && !without.policies.is_empty();
    let mut states_before = GuestStates::new(&without);
    let is_ours = |state: &GuestState| state.policy.as_ref() == Some(&policy.name);
    let mut out = PolicyEffect { looked: CountProgress::none_of_all(&world.cluster), ..PolicyEffect::default() };
    let mut states = GuestStates::new(&world);
    for guest in all_guests(&world.cluster) {
        if is_over() {
            break;
        }
        out.looked.guest(guest);
        let next = states.at_next_start(guest);
        if is_ours(&next.state) && next.state.ruling.denies() {
            out.denied_at_next_start.add(guest.title());
        }
        let now = match guest {
            GuestOf::Vmi(vmi) => Some((vmi, states.now(vmi))),
            GuestOf::Vm(_) => None,
        };
        if is_reselected {
            let before_now = now.as_ref().map(|(vmi, _)| states_before.now(vmi).policy);
            let before = [before_now, Some(states_before.at_next_start(guest).state.policy.clone())];
            let after = [now.as_ref().map(|(_, now)| now.policy.clone()), Some(next.state.policy.clone())];
            out.change_hands(&policy.name, &guest.title(), before.into_iter().zip(after));
        }
        let Some((vmi, now)) = now else { continue };
        if !is_ours(&now) {
            continue;
        }
        if now.ruling.denies() {
            out.denied_now.add(guest.title());
        }
        let is_off = |common| model_use(vmi, &world.cluster, common) == ModelUse::Off;
        if policy.common_model.as_ref().is_some_and(is_off) {
            let kept = match next.common.as_ref().filter(|_| is_ours(&next.state)) {
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
