//! The policies that adopt a recommendation: they warn, and neither deny nor change guests.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::Value;

use super::{PoolReport, Recommendations};
use crate::answers::guest_state::{GuestStates, NextStart};
use crate::answers::policy_of;
use crate::enforce::model::Common;
use crate::fit::bits::Bits;
use crate::fit::command::{Command, CommandWord, CpuModel, Invalid, Json, Name, Script};
use crate::fit::label;
use crate::fit::models;
use crate::fit::plural;
use crate::fit::syntax;
use crate::fnv::fnv1a;
use crate::judge::{GuestOf, all_guests};
use crate::kubevirt::migration;
use crate::policy::{
    Announce, CommonModel, Dial, LabelCondition, LabelSelector, LauncherSelectors, Operator, Otherwise, Policy,
};
use crate::world::World;

/// The adoption of the recommendation for a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Adoption {
    /// A policy to apply.
    Apply(AdoptedPolicy),
    /// No policy, with the reason in one line.
    Nothing(String),
}

/// A policy to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct AdoptedPolicy {
    /// The object.
    pub document: Value,
    /// The nodes that it selects outside the pool, in one line; `None` without such nodes.
    pub beyond: Option<String>,
    /// Whether there is a policy with this name, of which only the model changes.
    pub exists: bool,
    /// The command that changes the model of an existing policy and nothing else.
    pub patch: Option<Script>,
}

impl AdoptedPolicy {
    /// Returns `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        self.document["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// Returns the adoption of the recommendation for each pool.
///
/// The pool of an existing policy keeps that policy, with another model; a policy that denies or changes guests is left
/// to a person. Other policies have names that no existing policy has. A policy is left out if the existing policies
/// would treat guests otherwise with it. `progress` is called with the number of guests looked at so far and the total.
#[must_use]
pub fn adoptions(world: &World, report: &Recommendations, progress: &dyn Fn(usize, usize)) -> Vec<Adoption> {
    without_effect(world, proposals(world, report), progress)
}

/// Returns the adoptions before it is proved that the existing policies treat guests as they do now. Judges no guest.
pub(crate) fn proposals(world: &World, report: &Recommendations) -> Vec<Adoption> {
    let mut out: Vec<Adoption> = report.pools.iter().flat_map(|pool| of_pool(world, report, pool)).collect();
    let mut names: BTreeSet<String> = world.policies.iter().map(|policy| policy.name.clone()).collect();
    for adoption in &mut out {
        let Adoption::Apply(adopted) = adoption else { continue };
        if adopted.exists {
            continue;
        }
        let name = adopted.name().to_owned();
        // A suffix that depends on the selected nodes alone, so that the order of the pools changes no name.
        let mark = mark(&adopted.document["spec"]["nodeSelector"].to_string());
        let free = std::iter::once(name.clone()).chain(std::iter::once(format!("{name}-{mark}")));
        let free = free.chain((2..).map(|number| format!("{name}-{mark}-{number}")));
        let name = free.into_iter().find(|name| names.insert(name.clone()));
        adopted.document["metadata"]["name"] = name.into();
    }
    out
}

/// Returns six digits that depend on a text.
fn mark(text: &str) -> String {
    format!("{:06x}", fnv1a(text) & 0x00ff_ffff)
}

/// The treatment of a guest by the policies.
///
/// A guest that is judged now by the same policy as before is treated as before: an adopted policy changes no other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Treatment {
    /// The policy that governs it now, and the one that does at its next start.
    policies: [Option<String>; 2],
    /// Whether its next start is denied.
    denied: bool,
    /// The model that is written at its next start.
    written: Option<String>,
}

impl Treatment {
    fn of<'w>(states: &mut GuestStates<'w>, world: &'w World, guest: GuestOf<'w>, next: &NextStart) -> Self {
        let written = match &next.common {
            Some(Common::Written { model, .. }) => Some(model.clone()),
            _ => None,
        };
        Self {
            policies: [policy_now(states, world, guest), next.state.policy.clone()],
            denied: next.state.ruling.denies(),
            written,
        }
    }

    /// Whether this one keeps what existing policies do; a guest that only the built-in policy governs may get another
    /// one that does the same.
    fn keeps(&self, before: &Self) -> bool {
        let kept = |(is, was): (&Option<String>, &Option<String>)| was.is_none() || is == was;
        self.policies.iter().zip(&before.policies).all(kept)
            && self.denied == before.denied
            && self.written == before.written
    }
}

/// Returns the policy that governs a guest as it is now. The node of a running guest decides, so it is not judged.
fn policy_now<'w>(states: &mut GuestStates<'w>, world: &'w World, guest: GuestOf<'w>) -> Option<String> {
    let GuestOf::Vmi(vmi) = guest else { return None };
    let fleet = &world.cluster.fleet;
    match fleet.find(&vmi.status.node_name).filter(|_| migration::runs(vmi)) {
        Some(node) => policy_of(world, &world.policies, vmi, Some(node), &Bits::none(fleet.len()))
            .map(|policy| policy.name.clone()),
        None => states.now(vmi).policy,
    }
}

/// A guest that an existing policy governs.
struct GovernedGuest<'w> {
    guest: GuestOf<'w>,
    /// The next start: that of all guests with equal input.
    next: Rc<NextStart>,
    was: Treatment,
}

/// Returns the guests that an existing policy governs. `progress` is called with the number of guests looked at so far
/// and the total.
fn governed<'w>(world: &'w World, progress: &dyn Fn(usize, usize)) -> Vec<GovernedGuest<'w>> {
    let mut states = GuestStates::new(world);
    let guests: Vec<GuestOf<'w>> = all_guests(&world.cluster).collect();
    let mut out = Vec::new();
    for (at, &guest) in guests.iter().enumerate() {
        progress(at, guests.len());
        let next = states.at_next_start(guest);
        let was = Treatment::of(&mut states, world, guest, &next);
        if was.policies.iter().any(Option::is_some) {
            out.push(GovernedGuest { guest, next, was });
        }
    }
    progress(guests.len(), guests.len());
    out
}

/// Returns the world with the adopted policies.
fn with_adopted<'a>(world: &World, adoptions: impl Iterator<Item = &'a Adoption>) -> World {
    let mut out = World { cluster: world.cluster.clone(), policies: world.policies.clone() };
    for adoption in adoptions {
        let Adoption::Apply(adopted) = adoption else { continue };
        let Ok(policy) = Policy::from_json(&adopted.document.to_string()) else { continue };
        out.policies.retain(|known| known.name != policy.name);
        out.policies.push(policy);
    }
    out
}

/// Returns the guests that `world` treats otherwise than before. Guests whose next starts had equal input, and whose
/// nodes the same policies select, are judged once.
fn treated_otherwise<'g, 'w>(
    before: impl Iterator<Item = &'g GovernedGuest<'w>>,
    world: &World,
) -> Vec<&'g GovernedGuest<'w>> {
    let fleet = &world.cluster.fleet;
    let mut states = GuestStates::new(world);
    let mut of_nodes: HashMap<&str, Vec<bool>> = HashMap::new();
    let mut starts: HashMap<(*const NextStart, Vec<bool>), Rc<NextStart>> = HashMap::new();
    let mut is_otherwise = |governed: &&GovernedGuest<'w>| {
        let GovernedGuest { guest, next, was } = governed;
        let metadata = guest.metadata();
        let vmi = world.cluster.vmi(&metadata.namespace, &metadata.name);
        let home = vmi.map_or("", |vmi| vmi.status.node_name.as_str());
        let selecting = of_nodes.entry(home).or_insert_with(|| {
            let selects =
                |node| world.policies.iter().map(|policy| policy.node_selector.selects(node, fleet)).collect();
            fleet.find(home).map(selects).unwrap_or_default()
        });
        let key = (Rc::as_ptr(next), selecting.clone());
        let next = Rc::clone(starts.entry(key).or_insert_with(|| states.at_next_start(*guest)));
        !Treatment::of(&mut states, world, *guest, &next).keeps(was)
    };
    before.filter(|governed| is_otherwise(governed)).collect()
}

/// Replaces each policy with which the existing policies would treat a guest otherwise by the reason.
///
/// An adopted policy neither denies nor writes a model, so it has an effect only where it governs a guest instead of an
/// existing policy: one that is new, and that does so beside all others if it does beside some of them. So guests are
/// judged once, and again only if an existing policy governs them, or if all new policies together change them.
fn without_effect(world: &World, adoptions: Vec<Adoption>, progress: &dyn Fn(usize, usize)) -> Vec<Adoption> {
    let is_new = |adoption: &Adoption| matches!(adoption, Adoption::Apply(adopted) if !adopted.exists);
    if world.policies.is_empty() || !adoptions.iter().any(is_new) {
        return adoptions;
    }
    let before = governed(world, progress);
    let with_all = with_adopted(world, adoptions.iter());
    let changed = treated_otherwise(before.iter(), &with_all);
    if changed.is_empty() {
        return adoptions;
    }
    let mut out: Vec<Adoption> = Vec::new();
    for adoption in adoptions {
        let Adoption::Apply(adopted) = &adoption else {
            out.push(adoption);
            continue;
        };
        let guests = if adopted.exists {
            Vec::new()
        } else {
            let with_it = with_adopted(world, out.iter().chain([&adoption]));
            treated_otherwise(changed.iter().copied(), &with_it).iter().map(|governed| governed.guest.title()).collect()
        };
        out.push(match guests.len() {
            0 => adoption,
            count => Adoption::Nothing(format!(
                "{}: no policy: with it, the policies that are there would no longer do the same about {} ({}); \
                 first give those guests to one of them, by a node selector, namespaceSelector or virtualMachineSelector",
                adopted.name(),
                plural::counted(count, "guest", "guests"),
                plural::fold_names(&guests, 3)
            )),
        });
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
    let mut known: Vec<&Policy> = pool.policies.iter().filter_map(of_name).collect();
    if known.is_empty() {
        let selector = selector(world, pool);
        // The policy of an earlier run with the same selector.
        known = world.policies.iter().filter(|policy| policy.node_selector == selector).collect();
        if known.is_empty() {
            let beyond = beyond(world, pool, &selector);
            let document = document(&name(pool, &selector), &selector, model);
            return vec![Adoption::Apply(AdoptedPolicy { document, beyond, exists: false, patch: None })];
        }
        return known.into_iter().map(|policy| of_policy(world, pool, policy, model, true)).collect();
    }
    // A common model is for amd64, and nodes without a vendor's label can run none.
    let counts = |other: &&PoolReport| other.arch == "amd64" && other.vendor.is_some();
    let is_alone = |policy: &&Policy| {
        report.pools.iter().filter(counts).filter(|other| other.policies.contains(&policy.name)).count() == 1
    };
    known.into_iter().map(|policy| of_policy(world, pool, policy, model, is_alone(&policy))).collect()
}

/// Changes only the model of an existing policy. A policy that denies or changes guests is left to a person.
fn of_policy(world: &World, pool: &PoolReport, policy: &Policy, model: &str, is_alone: bool) -> Adoption {
    let name = &policy.name;
    let common = policy.common_model.as_ref();
    match common {
        Some(common) if common.name == model => {
            return Adoption::Nothing(format!("{name}: its commonModel is {model} already"));
        }
        Some(common) if models::is_same(&common.name, model) => {
            return Adoption::Nothing(format!("{name}: its commonModel {} is another name of {model}", common.name));
        }
        _ => {}
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
        None => Adoption::Apply(AdoptedPolicy {
            document: changed(policy, model),
            beyond: beyond(world, pool, &policy.node_selector),
            exists: true,
            patch: Some(patch(policy, model).into()),
        }),
    }
}

/// Returns the command that sets the common model of an existing policy; if it had none, one that changes no guest.
fn patch(policy: &Policy, model: &str) -> Result<Vec<Command>, Invalid> {
    let mut common = vec![(CommandWord::from("name"), Json::Text(CpuModel::new(model)?.into()))];
    if policy.common_model.is_none() {
        common.push(("replaces".into(), Json::Array(Vec::new())));
    }
    let patch = Json::Object(common).below(&["spec", "commonModel"]);
    let command = Command::kubectl(["patch", "cpupolicy"]).arg(Name::new(&policy.name)?);
    Ok(vec![command.args(["--type", "merge", "-p"]).arg(patch)])
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

/// Returns a valid Kubernetes name: vendor and architecture, then the other conditions of the selector in their order
/// by key.
fn name(pool: &PoolReport, selector: &LabelSelector) -> String {
    let mut conditions = conditions(selector);
    conditions.retain(|condition| condition.key != label::ARCH && !condition.key.starts_with(label::CPU_VENDOR));
    conditions.sort_by(|one, other| (&one.key, &one.values).cmp(&(&other.key, &other.values)));
    let words = conditions.iter().flat_map(|LabelCondition { key, operator, values }| {
        let key = key.rsplit('/').next().unwrap_or_default();
        let (word, names): (&str, Vec<&str>) = match operator {
            Operator::In => ("", values.iter().map(String::as_str).collect()),
            Operator::NotIn => ("not", values.iter().map(String::as_str).collect()),
            Operator::Exists => ("", vec![key]),
            Operator::DoesNotExist => ("no", vec![key]),
        };
        std::iter::once(word).chain(names).map(str::to_owned).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    });
    let hardware = [pool.vendor.as_deref().unwrap_or("any"), &pool.arch].map(str::to_owned);
    let text = hardware.into_iter().chain(words).collect::<Vec<_>>().join("-").to_ascii_lowercase();
    let valid: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let valid = valid.trim_matches('-');
    if syntax::subdomain(valid).is_ok() { valid.to_owned() } else { "common-model".to_owned() }
}

/// Returns the conditions of a selector, labels as `In` with one value.
fn conditions(selector: &LabelSelector) -> Vec<LabelCondition> {
    let labels = selector.match_labels.iter().map(|(key, value)| LabelCondition {
        key: key.clone(),
        operator: Operator::In,
        values: vec![value.clone()],
    });
    labels.chain(selector.match_expressions.iter().cloned()).collect()
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
    let conditions = conditions(selector);
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
    left.subtract(&selector.nodes(&world.cluster.fleet));
    left.is_empty()
}

/// Returns the nodes that a selector selects outside the pool, in one line; `None` if there are none.
fn beyond(world: &World, pool: &PoolReport, selector: &LabelSelector) -> Option<String> {
    let fleet = &world.cluster.fleet;
    let mut more = selector.nodes(fleet);
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
