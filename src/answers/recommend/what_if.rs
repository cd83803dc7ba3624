//! The effect of adding or removing a node or a CPU feature.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::pools::pools;
use super::{Recommended, recommended};
use crate::answers::anti_affinity::Residents;
use crate::answers::drain::{EvictionEffect, eviction_effect};
use crate::answers::obstacles::Obstacles;
use crate::answers::{Demand, Guests, policy_of};
use crate::enforce::trim::{self, Trim};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, Name};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::fit::node::Node;
use crate::fit::plural;
use crate::kubevirt::migration::{self, NoPod};
use crate::kubevirt::subject;
use crate::kubevirt::wire::Vmi;
use crate::policy::{LabelSelector, LauncherSelectors, Policy};
use crate::world::World;

/// A change of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AssumedChange {
    /// An added node, which replaces one with its name.
    With(Box<Node>),
    /// The removal of the node with this name.
    Without(String),
    /// A CPU feature that no node has any more, as after a microcode update: no node can run a model with it.
    WithoutFeature(String),
}

/// A change that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// A node name that does not exist.
    #[error("--without-node {0}: there is no node of that name")]
    NoSuchNode(String),
    /// An unknown feature.
    #[error("--without-model-feature {0}: no node has a label of that cpu-feature, and no known model holds it")]
    NoSuchFeature(String),
}

/// The effect of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WhatIf {
    /// The change: `without node-b`.
    pub change: String,
    /// The pools with another model.
    pub pools: Vec<PoolChange>,
    /// The effect on running guests, before any of them starts again.
    pub guests: GuestCount,
    /// The removed nodes.
    #[serde(skip)]
    removed: Vec<String>,
    /// Whether the room of the nodes is known.
    #[serde(skip)]
    is_room_known: bool,
}

/// A pool with another model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PoolChange {
    /// The pool.
    pub pool: String,
    /// The model now; null without one, or without such a pool.
    pub before: Option<String>,
    /// The model after the change; null without one.
    pub after: Option<String>,
    /// The reason why no model is left after the change; else empty.
    pub why: String,
}

/// Numbers of guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GuestCount {
    /// Running guests of the added node's vendor that could not migrate to it.
    pub cannot_go_there: usize,
    /// All running guests of the added node's vendor.
    pub of: usize,
    /// Guests that run on the removed node.
    pub must_leave: usize,
    /// Guests of `must_leave` that would be migrated and have no target, or that KubeVirt refuses to migrate.
    pub cannot_leave: usize,
    /// Guests of `must_leave` that an eviction shuts down.
    pub shut_down: usize,
    /// Guests of `must_leave` that stay until another program or a user acts.
    pub stays: usize,
    /// Guests of `cannot_go_there` that KubeVirt refuses to migrate, to any node.
    pub not_migratable: usize,
    /// Other guests that would have one target left, and had more.
    pub one_left: usize,
    /// Other guests that would have no target left, and had some.
    pub none_left: usize,
}

/// Returns the world after these changes, and the effect of each change and of all together.
///
/// # Errors
///
/// Returns the error of a change that cannot be made.
pub(crate) fn what_if(
    world: &World,
    selectors: &[LabelSelector],
    edits: &[AssumedChange],
) -> Result<(World, Vec<WhatIf>), EditError> {
    let mut out = Vec::new();
    let mut all = world.clone();
    let before = models_of(world, selectors);
    for edit in edits {
        let changed = edited(world, std::slice::from_ref(edit))?;
        out.push(compared(world, &changed, selectors, &before, std::slice::from_ref(edit)));
    }
    if !edits.is_empty() {
        all = edited(world, edits)?;
    }
    if edits.len() > 1 {
        out.push(compared(world, &all, selectors, &before, edits));
    }
    Ok((all, out))
}

impl AssumedChange {
    /// Returns `without node-b`.
    fn title(&self) -> String {
        match self {
            Self::With(node) => {
                let key = node.labels.keys().find(|key| Family::of(key) == Family::HostModelCpu);
                key.map_or_else(
                    || format!("with {}", node.name),
                    |key| format!("with {} ({})", node.name, label::name(key)),
                )
            }
            Self::Without(name) => format!("without {name}"),
            Self::WithoutFeature(feature) => format!("without cpu-feature {feature}"),
        }
    }
}

fn edited(world: &World, edits: &[AssumedChange]) -> Result<World, EditError> {
    let fleet: &Fleet = &world.cluster.fleet;
    let mut nodes: BTreeMap<String, Node> =
        (0..fleet.len()).map(|node| fleet.node(node)).map(|node| (node.name.clone(), node)).collect();
    for edit in edits {
        match edit {
            AssumedChange::With(node) => {
                nodes.insert(node.name.clone(), Node::clone(node));
            }
            AssumedChange::Without(name) => {
                nodes.remove(name).ok_or_else(|| EditError::NoSuchNode(name.clone()))?;
            }
            AssumedChange::WithoutFeature(feature) => {
                let models = models::holding(feature);
                let is_lost = |key: &str| match Family::of(key) {
                    Family::CpuFeature | Family::HostModelRequired => label::name(key) == feature,
                    Family::CpuModel => {
                        let name = label::name(key);
                        models.contains(&name)
                            || models::features(name).is_some_and(|held| held.contains(feature.as_str()))
                    }
                    _ => false,
                };
                let is_known =
                    !models.is_empty() || nodes.values().any(|node| node.labels.keys().any(|key| is_lost(key)));
                if !is_known {
                    return Err(EditError::NoSuchFeature(feature.clone()));
                }
                for node in nodes.values_mut() {
                    node.labels.retain(|key, _| !is_lost(key));
                }
            }
        }
    }
    let mut out = world.clone();
    out.cluster.set_fleet(Arc::new(Fleet::new(nodes.into_values().collect())));
    Ok(out)
}

/// The model of each pool, or the reason why it has no model.
type PoolModels = BTreeMap<String, Result<String, String>>;

fn models_of(world: &World, selectors: &[LabelSelector]) -> PoolModels {
    let (pools, _) = pools(world, selectors);
    let model = |pool: &super::NodePool| {
        let Recommended { model, why, .. } = recommended(&world.cluster, &pool.nodes);
        model.ok_or(why)
    };
    pools.iter().map(|pool| (pool.name(), model(pool))).collect()
}

fn compared(
    world: &World,
    changed: &World,
    selectors: &[LabelSelector],
    before: &PoolModels,
    edits: &[AssumedChange],
) -> WhatIf {
    let after = models_of(changed, selectors);
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let pools = names.filter_map(|pool| {
        let model = |of: &PoolModels| of.get(pool).and_then(|model| model.as_ref().ok()).cloned();
        let (was, then) = (model(before), model(&after));
        let why = match after.get(pool) {
            Some(Err(why)) => why.clone(),
            Some(Ok(_)) => String::new(),
            None => "no node of it is left".to_owned(),
        };
        (was != then).then(|| PoolChange { pool: pool.clone(), before: was, after: then, why })
    });
    let title = if edits.len() > 1 { "all of it".to_owned() } else { edits.iter().map(AssumedChange::title).collect() };
    let removed = edits.iter().filter_map(|edit| match edit {
        AssumedChange::Without(name) => Some(name.clone()),
        AssumedChange::With(_) | AssumedChange::WithoutFeature(_) => None,
    });
    WhatIf {
        change: title,
        pools: pools.collect(),
        guests: guests(world, changed, edits),
        removed: removed.collect(),
        is_room_known: !world.cluster.room.is_empty(),
    }
}

/// Counts the guests that a change affects. A running guest keeps the CPU that the nodes as they are gave it: what its
/// migration asks for comes from `world`, the nodes that it can go to from `changed`.
fn guests(world: &World, changed: &World, edits: &[AssumedChange]) -> GuestCount {
    let cluster = &world.cluster;
    let (fleet, later): (&Fleet, &Fleet) = (&cluster.fleet, &changed.cluster.fleet);
    let added: Vec<NodeIndex> = edits
        .iter()
        .filter_map(|edit| match edit {
            AssumedChange::With(node) => later.find(&node.name),
            _ => None,
        })
        .collect();
    let vendor_of = |fleet: &Fleet, node| -> Option<String> {
        fleet
            .labels(node)
            .find(|(key, _)| Family::of(key) == Family::CpuVendor)
            .map(|(key, _)| label::name(key).to_owned())
    };
    let of_added: Vec<String> = added.iter().filter_map(|node| vendor_of(later, *node)).collect();
    let mut now = Guests::new(cluster);
    let mut leaving: BTreeMap<NodeIndex, Leaving<'_>> = BTreeMap::new();
    // The demands stay in `now`, so that their addresses are theirs alone.
    let mut fitting: HashMap<(*const Demand, Option<&str>, bool), Rc<Fitting>> = HashMap::new();
    let mut out = GuestCount::default();
    for vmi in cluster.vmis().filter(|vmi| migration::runs(vmi)) {
        let Some(own) = fleet.find(&vmi.status.node_name) else { continue };
        let Some(demand) = now.demand(vmi) else { continue };
        let effect = eviction_effect(world, vmi);
        if matches!(effect, EvictionEffect::Ends(_)) || matches!(demand.placement, Err(NoPod::TooLarge { .. })) {
            continue;
        }
        let policy = policy_of(world, &world.policies, vmi, Some(own), &Bits::none(fleet.len()))
            .filter(|policy| policy.launcher_selectors != LauncherSelectors::Keep);
        let leaves = later.find(&vmi.status.node_name).is_none();
        let key = (Rc::as_ptr(&demand), policy.map(|policy| policy.name.as_str()), leaves);
        let found =
            fitting.entry(key).or_insert_with(|| Rc::new(Fitting::of(&demand, vmi, policy, leaves, [world, changed])));
        let found = Rc::clone(found);
        let fits = &found.later;
        let Some(stays) = later.find(&vmi.status.node_name) else {
            out.must_leave += 1;
            let of_node = leaving.entry(own).or_default();
            match effect {
                EvictionEffect::ShutDown(_) => {
                    of_node.gone.push(vmi);
                    out.shut_down += 1;
                }
                EvictionEffect::Stays(_)
                | EvictionEffect::Starts(_)
                | EvictionEffect::NotKnown(_)
                | EvictionEffect::Held(_) => out.stays += 1,
                EvictionEffect::Refused(_) => out.cannot_leave += 1,
                EvictionEffect::Moves => of_node.moving.push((vmi, Rc::clone(fits))),
                EvictionEffect::Ends(_) => {}
            }
            continue;
        };
        let is_refused = migration::not_migratable(vmi).is_some();
        let is_of_vendor = vendor_of(fleet, own).is_some_and(|vendor| of_added.contains(&vendor));
        // A node that replaces its own one is no target.
        let mut others = added.iter().filter(|node| **node != stays).peekable();
        if is_of_vendor && others.peek().is_some() {
            out.of += 1;
            out.not_migratable += usize::from(is_refused);
            out.cannot_go_there += usize::from(is_refused || !others.any(|node| fits.contains(*node)));
        }
        if is_refused {
            continue;
        }
        let had = found.now.count() - usize::from(found.now.contains(own));
        let has = fits.count() - usize::from(fits.contains(stays));
        out.one_left += usize::from(had > 1 && has == 1);
        out.none_left += usize::from(had > 0 && has == 0);
    }
    let residents = OnceCell::new();
    for Leaving { mut gone, mut moving } in leaving.into_values() {
        // A guest that has left may open nodes to others.
        loop {
            let residents = residents.get_or_init(|| Residents::of(world));
            let (leave, stay): (Vec<_>, Vec<_>) =
                moving.into_iter().partition(|(vmi, fits)| is_open(vmi, fits, later, world, (residents, &gone)));
            moving = stay;
            if leave.is_empty() || moving.is_empty() {
                break;
            }
            gone.extend(leave.into_iter().map(|(vmi, _)| vmi));
        }
        out.cannot_leave += moving.len();
    }
    out
}

/// The nodes that take the target pods of guests, by labels.
struct Fitting {
    /// As the nodes are.
    now: Bits,
    /// After a change.
    later: Rc<Bits>,
}

impl Fitting {
    /// Returns the nodes that take the target of a guest, without the selector entries that its policy drops.
    ///
    /// A guest `leaves` a removed node while that node is still there: what it offers is not dropped.
    fn of(demand: &Demand, vmi: &Vmi, policy: Option<&Policy>, leaves: bool, worlds: [&World; 2]) -> Self {
        let [now, later] = worlds.map(|world| &*world.cluster.fleet);
        let Ok(placement) = &demand.placement else {
            return Self { now: Bits::none(now.len()), later: Rc::new(Bits::none(later.len())) };
        };
        let dropped = |world: &World| -> BTreeSet<String> {
            let trimmed = policy.map(|policy| trim::predict(world, policy, vmi, None, placement));
            let keys = trimmed.iter().flat_map(Trim::dropped).map(|(key, _)| key.clone());
            keys.collect()
        };
        let [of_now, mut of_later] = worlds.map(dropped);
        if leaves {
            of_later.retain(|key| of_now.contains(key));
        }
        let fitting = |fleet: &Fleet, dropped: &BTreeSet<String>| {
            let mut placement = placement.clone();
            placement.selector.retain(|(key, _)| !dropped.contains(&**key));
            fleet.look_up(&placement).passes().fitting
        };
        Self { now: fitting(now, &of_now), later: Rc::new(fitting(later, &of_later)) }
    }
}

/// The guests of a removed node.
#[derive(Default)]
struct Leaving<'w> {
    /// The guests that are gone: shut down, or migrated.
    gone: Vec<&'w Vmi>,
    /// The guests that are to be migrated, with the nodes that take them by labels.
    moving: Vec<(&'w Vmi, Rc<Bits>)>,
}

/// Whether one of these nodes, of the fleet after a change, is not known to be closed to a guest by room, other pods
/// than those of gone guests, or its volumes. An added node is empty.
fn is_open(vmi: &Vmi, fits: &Bits, later: &Fleet, world: &World, (residents, gone): (&Residents<'_>, &[&Vmi])) -> bool {
    let fleet = &world.cluster.fleet;
    let mut known = Bits::none(fleet.len());
    for node in fits.iter() {
        match fleet.find(later.name(node)) {
            Some(node) => known.insert(node),
            None => return true,
        }
    }
    let Some(prepared) = subject::of_running(vmi, &world.cluster) else { return !known.is_empty() };
    Obstacles::of(&prepared.subject, None, world, residents, gone).is_open(&known)
}

impl WhatIf {
    /// Returns the effect in words, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { change, pools, guests, removed, is_room_known } = self;
        let mut out: Vec<String> = pools.iter().map(PoolChange::line).collect();
        if out.is_empty() {
            out.push("no pool's model would change".to_owned());
        }
        let GuestCount {
            cannot_go_there,
            of,
            must_leave,
            cannot_leave,
            shut_down,
            stays,
            not_migratable,
            one_left,
            none_left,
        } = *guests;
        let guests = |count| plural::counted(count, "guest", "guests");
        let mut effects = Vec::new();
        if of > 0 {
            let refused = match not_migratable {
                0 => String::new(),
                refused => {
                    let them = plural::number(refused, "it", "them");
                    format!(" ({refused} of them as KubeVirt refuses to migrate {them} anywhere)")
                }
            };
            effects.push(format!(
                "{cannot_go_there} of {} of that vendor could not go to it by labels before a restart{refused}",
                guests(of)
            ));
        }
        if must_leave > 0 {
            let waits = "until another program or a user acts";
            let effect = match (must_leave, cannot_leave, shut_down, stays) {
                (1, 1, ..) => "the one guest there could not leave it".to_owned(),
                (1, _, 1, _) => "the one guest there would be shut down".to_owned(),
                (1, _, _, 1) => format!("the one guest there would stay {waits}"),
                (1, ..) => "the one guest there could leave it".to_owned(),
                (all, some, down, stay) => {
                    let down = (down > 0).then(|| format!(", {down} would be shut down"));
                    let stay = (stay > 0).then(|| format!(", {stay} would stay {waits}"));
                    let rest: String = down.into_iter().chain(stay).collect();
                    format!("{some} of the {all} guests there could not leave it{rest}")
                }
            };
            let leave = must_leave - cannot_leave - shut_down - stays;
            let judged = match leave {
                0 => None,
                1 if *is_room_known => None,
                _ if *is_room_known => Some("each by itself; together"),
                _ => Some("by labels; room"),
            };
            let drain = Command::kubectl(["cpufit", "drain"]);
            let names: Result<Vec<Name>, _> = removed.iter().map(|name| Name::new(name)).collect();
            let drain = names.map(|names| names.into_iter().fold(drain, Command::arg)).ok();
            effects.push(match judged.zip(drain) {
                Some((judged, drain)) => format!("{effect} ({judged}: {drain})"),
                None => effect,
            });
        }
        if one_left > 0 {
            effects.push(format!("{} would have one target left by labels", guests(one_left)));
        }
        if none_left > 0 {
            effects.push(format!("{} would have none left", guests(none_left)));
        }
        out.extend((!effects.is_empty()).then(|| effects.join("; ")));
        out.into_iter().map(|line| format!("{change}: {line}")).collect()
    }
}

impl PoolChange {
    fn line(&self) -> String {
        let Self { pool, before, after, why } = self;
        match (before, after) {
            (Some(before), Some(after)) => {
                let better = models::is_better(after, before);
                format!(
                    "the {pool} model {} from {before} to {after}",
                    if better { "could rise" } else { "would fall" }
                )
            }
            (None, Some(after)) => format!("the {pool} model would be {after}; now it has no model"),
            (Some(before), None) => format!("there would be no {pool} model in the place of {before}: {why}"),
            (None, None) => format!("there would be no {pool} model: {why}"),
        }
    }
}
