//! The policies that adopt a recommendation: they warn, and neither deny nor change guests.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PoolReport, Recommendations};
use crate::enforce::model::pool as nodes_of;
use crate::fit::label;
use crate::fit::syntax;
use crate::policy::{
    Announce, CommonModel, Dial, LabelCondition, LabelSelector, LauncherSelectors, Operator, Otherwise, Policy,
};
use crate::say::plural;
use crate::world::World;

/// The adoption of the recommendation for a pool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Adoption {
    /// A policy to apply; and, in one line, the nodes it selects outside the pool, if any.
    Apply(Value, Option<String>),
    /// No policy, with the reason in one line.
    Nothing(String),
}

/// Returns the adoption of the recommendation for each pool.
///
/// The pool of an existing policy keeps that policy, with another model; a policy that denies or changes guests is left
/// to a person.
#[must_use]
pub(crate) fn adoptions(world: &World, report: &Recommendations) -> Vec<Adoption> {
    let mut out: Vec<Adoption> = report.pools.iter().flat_map(|pool| of_pool(world, report, pool)).collect();
    let mut names = BTreeSet::new();
    for policy in out.iter_mut().filter_map(|adoption| match adoption {
        Adoption::Apply(policy, _) => Some(policy),
        Adoption::Nothing(_) => None,
    }) {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let free = (2..).map(|number| format!("{name}-{number}"));
        let name = std::iter::once(name.clone()).chain(free).find(|name| names.insert(name.clone()));
        policy["metadata"]["name"] = name.into();
    }
    out
}

fn of_pool(world: &World, report: &Recommendations, pool: &PoolReport) -> Vec<Adoption> {
    let nothing = |why: String| vec![Adoption::Nothing(format!("{}: no policy: {why}", pool.name))];
    let Some(model) = &pool.model else { return nothing(pool.why.clone()) };
    if pool.arch != "amd64" {
        return nothing(format!("common models are for amd64 alone; name {model} in the VirtualMachines"));
    }
    let of_name = |name: &String| world.policies.iter().find(|policy| policy.name == *name);
    let known: Vec<&Policy> = pool.policies.iter().filter_map(of_name).collect();
    if known.is_empty() {
        let selector = selector(world, pool);
        let beyond = beyond(world, pool, &selector);
        return vec![Adoption::Apply(document(&name(pool), &selector, model), beyond)];
    }
    let is_alone =
        |policy: &&Policy| report.pools.iter().filter(|pool| pool.policies.contains(&policy.name)).count() == 1;
    known.into_iter().map(|policy| of_policy(world, pool, policy, model, is_alone(&policy))).collect()
}

/// Changes only the model of an existing policy. A policy that denies or changes guests is left to a person.
fn of_policy(world: &World, pool: &PoolReport, policy: &Policy, model: &str, is_alone: bool) -> Adoption {
    let name = &policy.name;
    let common = policy.common_model.as_ref();
    if common.is_some_and(|common| common.name == model) {
        return Adoption::Nothing(format!("{name}: its commonModel is {model} already"));
    }
    if !is_alone {
        return Adoption::Nothing(format!(
            "{name} is about several kinds of hardware, and a policy has one commonModel: a policy for each, with a nodeSelector, \
             can have {model} for this one"
        ));
    }
    match effect(policy) {
        Some(effect) => Adoption::Nothing(format!(
            "{name} {effect}: look at `cpufit audit` with {model} in its commonModel.name before you set it"
        )),
        None => Adoption::Apply(changed(policy, model), beyond(world, pool, &policy.node_selector)),
    }
}

/// Returns the effect of a policy on guests other than warnings; `None` without one.
fn effect(policy: &Policy) -> Option<&'static str> {
    let common = policy.common_model.as_ref();
    let denies = policy.enforce != Dial::Off || common.is_some_and(|common| common.otherwise == Otherwise::Deny);
    let changes = policy.launcher_selectors != LauncherSelectors::Keep
        || common.is_some_and(|common| !common.replaces.is_empty());
    match (denies, changes) {
        (true, _) => Some("denies"),
        (false, true) => Some("changes guests"),
        (false, false) => None,
    }
}

/// Returns a valid Kubernetes name.
fn name(pool: &PoolReport) -> String {
    let words = [pool.vendor.as_deref().unwrap_or("any"), &pool.arch];
    let labels = pool.selector.match_labels.values().map(String::as_str);
    let text = words.into_iter().chain(labels).collect::<Vec<_>>().join("-").to_ascii_lowercase();
    let valid: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let valid = valid.trim_matches('-');
    if syntax::subdomain(valid).is_ok() { valid.to_owned() } else { "common-model".to_owned() }
}

/// Returns a selector of the pool's nodes: the labels of the pool's own selector, vendor and architecture; and, for the
/// rest that existing policies leave, the opposite of their selectors, if a selector can express it.
fn selector(world: &World, pool: &PoolReport) -> LabelSelector {
    let mut out = pool.selector.clone();
    if let Some(vendor) = &pool.vendor {
        out.match_labels.insert(format!("{}{vendor}", label::CPU_VENDOR), "true".to_owned());
    }
    let fleet = &world.cluster.fleet;
    if beyond(world, pool, &out).is_some()
        && fleet.names(&pool.members).iter().all(|node| is_of_arch(world, node, &pool.arch))
    {
        out.match_labels.insert(label::ARCH.to_owned(), pool.arch.clone());
    }
    let others: Vec<&Policy> = world.policies.iter().filter(|policy| !pool.policies.contains(&policy.name)).collect();
    for policy in others {
        if beyond(world, pool, &out).is_none() {
            break;
        }
        let mut apart = out.clone();
        apart.match_expressions.extend(opposite(&policy.node_selector));
        // A selector that excludes nodes of the pool itself would be another pool.
        if holds(world, pool, &apart) {
            out = apart;
        }
    }
    out
}

fn is_of_arch(world: &World, node: &str, arch: &str) -> bool {
    let fleet = &world.cluster.fleet;
    fleet.find(node).and_then(|node| fleet.label(node, label::ARCH)) == Some(arch)
}

/// Returns the condition that a node meets exactly if it does not meet a selector of one condition; `None` for several
/// conditions, any of which may fail.
fn opposite(selector: &LabelSelector) -> Option<LabelCondition> {
    let labels = selector.match_labels.iter().map(|(key, value)| LabelCondition {
        key: key.clone(),
        operator: Operator::In,
        values: vec![value.clone()],
    });
    let conditions: Vec<LabelCondition> = labels.chain(selector.match_expressions.iter().cloned()).collect();
    let [LabelCondition { key, operator, values }] = &conditions[..] else { return None };
    let operator = match operator {
        Operator::In => Operator::NotIn,
        Operator::NotIn => Operator::In,
        Operator::Exists => Operator::DoesNotExist,
        Operator::DoesNotExist => Operator::Exists,
    };
    Some(LabelCondition { key: key.clone(), operator, values: values.clone() })
}

/// Whether it selects all nodes of the pool.
fn holds(world: &World, pool: &PoolReport, selector: &LabelSelector) -> bool {
    let mut left = pool.members.clone();
    left.subtract(&nodes_of(selector, &world.cluster.fleet));
    left.is_empty()
}

/// Returns the nodes that a selector selects outside the pool, in one line; `None` if there are none.
fn beyond(world: &World, pool: &PoolReport, selector: &LabelSelector) -> Option<String> {
    let fleet = &world.cluster.fleet;
    let mut more = nodes_of(selector, fleet);
    more.subtract(&pool.members);
    let names = fleet.names(&more);
    (!names.is_empty()).then(|| {
        format!(
            "its nodeSelector also selects {}, not counted in the pool {}",
            plural::fold_names(&names, MAX_NODES_NAMED),
            pool.name
        )
    })
}

/// Number of nodes named in a comment.
const MAX_NODES_NAMED: usize = 20;

fn document(name: &str, nodes: &LabelSelector, model: &str) -> Value {
    let policy = Policy {
        name: name.to_owned(),
        node_selector: nodes.clone(),
        common_model: Some(CommonModel {
            name: model.to_owned(),
            replaces: Vec::new(),
            otherwise: Otherwise::Warn,
            announce: Announce::Warning,
        }),
        ..Policy::builtin()
    };
    policy.to_json()
}

/// Returns a policy with another common model; if it had none, one that changes no guest.
fn changed(policy: &Policy, model: &str) -> Value {
    let none = CommonModel {
        name: String::new(),
        replaces: Vec::new(),
        otherwise: Otherwise::Warn,
        announce: Announce::Warning,
    };
    let common = policy.common_model.clone().unwrap_or(none);
    Policy { common_model: Some(CommonModel { name: model.to_owned(), ..common }), ..policy.clone() }.to_json()
}

#[cfg(test)]
mod tests;
