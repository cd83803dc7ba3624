//! The CPU model recommended for guests, for each kind of hardware.
//!
//! The models that a node can run come from its `cpu-model` labels only. The features of a model are facts of libvirt
//! and QEMU ([`crate::fit::models`]); the features of a node come from its labels and from the models that it can run.

pub(crate) mod features;
mod guests;
pub mod policy;
mod pools;
pub(crate) mod what_if;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::Family;
use crate::fit::models::{self, Drawback, NotCounted, WhyNone};
use crate::fit::plural;
use crate::kubevirt::cluster::Cluster;
use crate::policy::{LabelSelector, Policy};
use crate::world::World;

use features::KnownFeatures;
pub use guests::{Coverage, FeatureChange};
use pools::NodePool;

/// The answer of `cpufit recommend`. Also its JSON: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendations {
    /// All nodes as one pool.
    pub all: All,
    /// The kinds of hardware that a guest can migrate within.
    pub pools: Vec<PoolReport>,
    /// The nodes that are in no pool.
    pub not_counted: Vec<NotCountedRow>,
    /// Models that nodes offer and that are not known here: never recommended.
    pub unknown_models: Vec<UnknownModel>,
    /// The known models that the cluster's `obsoleteCPUModels` withholds: never recommended.
    pub withheld: Vec<String>,
    /// Indices in `selectors` of those that select no node.
    pub no_nodes: Vec<usize>,
    /// The policies without a pool, if the pools are those of the policies.
    pub without_pool: Vec<PolicyWithoutPool>,
}

/// A policy without a pool: `withoutPool` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyWithoutPool {
    /// The policy.
    pub policy: String,
    /// The reason.
    pub why: String,
}

/// The recommendation for all nodes as one pool: `all` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct All {
    /// The recommendation, or null.
    pub model: Option<String>,
    /// The reason, in one line.
    pub why: String,
    /// The models that every counted node can run, best first.
    pub candidates: Vec<String>,
}

/// A pool of nodes: `pools` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolReport {
    /// The display name: `Intel`, `IBM (s390x)`, `intel-pool: Intel`.
    pub name: String,
    /// The vendor by the nodes' label; null if they have none, or several.
    pub vendor: Option<String>,
    /// The architecture.
    pub arch: String,
    /// The policies that select these nodes.
    pub policies: Vec<String>,
    /// Number of counted nodes.
    pub nodes: usize,
    /// The best model that all of them can run, or null.
    pub model: Option<String>,
    /// The reason, in one line.
    pub why: String,
    /// Number of guests that run there.
    pub guests: usize,
    /// Number of those that KubeVirt does not migrate when they are evicted, whatever nodes fit.
    pub not_evacuated: usize,
    /// Number of guests that run on other nodes, and that could start with a named model on nodes of this pool only.
    pub elsewhere: usize,
    /// The models that any of them can run, best first.
    pub candidates: Vec<CandidateReport>,
    /// The names of the counted nodes, sorted.
    pub node_names: Vec<String>,
    #[serde(skip)]
    pub(crate) selector: LabelSelector,
    #[serde(skip)]
    pub(crate) members: Bits,
}

/// A model that nodes of a pool can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateReport {
    /// The model.
    pub model: String,
    /// The hardware generation.
    pub generation: &'static str,
    /// The nodes that can run it, sorted.
    pub runs_on: Vec<String>,
    /// The nodes that cannot run it.
    pub leaves_out: Vec<String>,
    /// The features that those nodes lack: nodes that lack the same ones share a row.
    pub lacks: Vec<LackRow>,
    /// The drawbacks of the model.
    pub drawbacks: Vec<String>,
    /// The guests that run there, by number of migration targets if they started again with it.
    pub coverage: Coverage,
    /// The features that guests with their host's CPU would lose.
    pub lose: FeatureChange,
    /// The features that guests would gain.
    pub gain: FeatureChange,
    /// Whether no better model runs on all of these nodes, and KubeVirt does not withhold it.
    #[serde(skip)]
    pub(crate) is_worth_a_look: bool,
}

/// The features of a model that nodes lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LackRow {
    /// The nodes.
    pub nodes: Vec<String>,
    /// The features, by their labels; empty if the labels list all of them.
    pub features: Vec<String>,
}

/// A node that is in no pool: `notCounted` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCountedRow {
    /// The node.
    pub node: String,
    /// The reason.
    pub why: String,
}

/// A model that is not known: `unknownModels` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownModel {
    /// The name.
    pub model: String,
    /// The nodes that offer it.
    pub nodes: Vec<String>,
}

/// Recommends a CPU model for each pool of nodes.
///
/// The pools are the nodes that each of `selectors` selects; without any, those of the policies, and the rest; without
/// policies, all. Each is split by architecture and vendor. `progress` is called with the number of guests looked at so
/// far and the total.
#[must_use]
pub fn recommend(world: &World, selectors: &[LabelSelector], progress: &dyn Fn(usize, usize)) -> Recommendations {
    recommend_after(world, world, selectors, progress)
}

/// Recommends for the nodes of `world`, in which the guests that run in the world `now` would start again.
pub(crate) fn recommend_after(
    now: &World,
    world: &World,
    selectors: &[LabelSelector],
    progress: &dyn Fn(usize, usize),
) -> Recommendations {
    let fleet: &Fleet = &world.cluster.fleet;
    let (pools, not_counted) = pools::pools(world, selectors);
    let (pools_now, _) = pools::pools(now, selectors);
    let mut features = KnownFeatures::of([now, world]);
    let guests = guests::RunningGuests::of(now, world, &mut features, progress);
    let of_pool = |pool: NodePool| {
        let mut nodes_now = Bits::none(now.cluster.fleet.len());
        pools_now.iter().filter(|known| pool.is_same(known)).for_each(|known| nodes_now.union(&known.nodes));
        report(world, pool, &nodes_now, &features, &guests)
    };
    let reports: Vec<PoolReport> = pools.into_iter().map(of_pool).collect();
    let without_pool = if selectors.is_empty() { without_pool(world, &reports) } else { Vec::new() };
    Recommendations {
        all: all(world),
        pools: reports,
        not_counted: not_counted
            .into_iter()
            .map(|(node, why)| NotCountedRow { node, why: why_not_counted(&why) })
            .collect(),
        unknown_models: unknown_models(fleet),
        withheld: world.cluster.withheld.models.iter().filter(|model| models::is_known(model)).cloned().collect(),
        no_nodes: (0..selectors.len()).filter(|at| selectors[*at].nodes(fleet).is_empty()).collect(),
        without_pool,
    }
}

/// Returns the policies that no pool is of.
fn without_pool(world: &World, pools: &[PoolReport]) -> Vec<PolicyWithoutPool> {
    let is_without = |policy: &&Policy| pools.iter().all(|pool| !pool.policies.contains(&policy.name));
    let why = |policy: &Policy| {
        if policy.node_selector.nodes(&world.cluster.fleet).is_empty() {
            "it selects no node"
        } else {
            "none of the nodes that it selects counts"
        }
    };
    let row = |policy: &Policy| PolicyWithoutPool { policy: policy.name.clone(), why: why(policy).to_owned() };
    let mut out: Vec<PolicyWithoutPool> = world.policies.iter().filter(is_without).map(row).collect();
    out.sort_by(|one, other| one.policy.cmp(&other.policy));
    out
}

/// Returns the model recommended for the pool of each node; for a node in several pools, that of the first.
pub(crate) fn best_by_node(world: &World) -> BTreeMap<NodeIndex, String> {
    let mut out = BTreeMap::new();
    for pool in pools::pools(world, &[]).0 {
        let Some(model) = recommended(&world.cluster, &pool.nodes).model else { continue };
        for node in pool.nodes.iter() {
            out.entry(node).or_insert_with(|| model.clone());
        }
    }
    out
}

/// The recommendation for some nodes as one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recommended {
    /// The best model that all of them can run, or `None`.
    pub(crate) model: Option<String>,
    /// The reason, in one line.
    pub(crate) why: String,
    /// The models that all of them can run, best first.
    pub(crate) candidates: Vec<String>,
    /// Number of nodes that count.
    pub(crate) counted: usize,
}

/// Returns the recommendation for these nodes: that of `recommend` for a pool, of a policy's status and of `audit`.
pub(crate) fn recommended(cluster: &Cluster, nodes: &Bits) -> Recommended {
    let found = models::recommend(&cluster.fleet, nodes, &cluster.withheld.models);
    let counted = found.counted.len();
    let left_out = if counted == 0 { Vec::new() } else { of_other_architectures(&found.not_counted) };
    let (why, candidates) = match found.candidates {
        Ok(candidates) => {
            let why = candidates.first().map(|best| why(best, found.passed_over.as_deref(), counted));
            (why.unwrap_or_default(), candidates.into_iter().map(|candidate| candidate.model).collect())
        }
        Err(none) => (why_none(&none, counted), Vec::new()),
    };
    let why = std::iter::once(why).chain(left_out).collect::<Vec<_>>().join("; ");
    Recommended { model: candidates.first().cloned(), why, candidates, counted }
}

/// Returns `2 nodes of s390x (z-1, z-2) are left out: no guest migrates to another architecture`, for each architecture
/// other than that of the counted nodes.
fn of_other_architectures(not_counted: &[(String, NotCounted)]) -> Vec<String> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, why) in not_counted {
        if let NotCounted::Architecture(architecture) = why {
            nodes.entry(architecture).or_default().push(node);
        }
    }
    let line = |(architecture, names): (&str, Vec<&str>)| {
        let (nodes, are) = (plural::nodes(names.len()), plural::number(names.len(), "is", "are"));
        let names = plural::fold_names(&names, 3);
        format!("{nodes} of {architecture} ({names}) {are} left out: no guest migrates to another architecture")
    };
    nodes.into_iter().map(line).collect()
}

fn all(world: &World) -> All {
    let Recommended { model, why, candidates, .. } = recommended(&world.cluster, &Bits::all(world.cluster.fleet.len()));
    All { model, why, candidates }
}

/// `nodes_now` are the nodes on which the guests of the pool run: those of the pool before nodes changed.
fn report(
    world: &World,
    pool: NodePool,
    nodes_now: &Bits,
    features: &KnownFeatures,
    guests: &guests::RunningGuests<'_>,
) -> PoolReport {
    let fleet: &Fleet = &world.cluster.fleet;
    let Recommended { model, why, counted, .. } = recommended(&world.cluster, &pool.nodes);
    let here = guests.on(nodes_now);
    let withheld = &world.cluster.withheld.models;
    let offers = |vendor| models::offers(fleet, &pool.nodes, vendor, withheld);
    let offers = pool.vendor.as_deref().map_or_else(Vec::new, offers);
    let mut seen: Vec<Bits> = Vec::new();
    let mut candidates = Vec::new();
    for offer in offers {
        let is_within = |better: &Bits| {
            let mut left = offer.runs_on.clone();
            left.subtract(better);
            left.is_empty()
        };
        let is_worth_a_look = !seen.iter().any(is_within);
        // A withheld model hides no other one.
        if is_worth_a_look && !offer.candidate.is_withheld() {
            seen.push(offer.runs_on.clone());
        }
        let mut leaves_out = pool.nodes.clone();
        leaves_out.subtract(&offer.runs_on);
        let names = |nodes| fleet.names(nodes).into_iter().map(str::to_owned).collect();
        let model = offer.candidate.model.clone();
        candidates.push(CandidateReport {
            generation: offer.candidate.family,
            lacks: features.lacks(fleet, &model, &leaves_out),
            coverage: here.coverage(&model, &pool),
            lose: here.lose(features, &model),
            gain: here.gain(features, &model),
            runs_on: names(&offer.runs_on),
            leaves_out: names(&leaves_out),
            drawbacks: offer.candidate.drawbacks.iter().map(ToString::to_string).collect(),
            model,
            is_worth_a_look: is_worth_a_look && !offer.candidate.is_withheld(),
        });
    }
    let elsewhere = guests.elsewhere(nodes_now, &pool);
    PoolReport {
        name: pool.name(),
        vendor: pool.vendor,
        arch: pool.arch,
        policies: pool.policies,
        nodes: counted,
        model,
        why,
        guests: here.count(),
        not_evacuated: here.not_evacuated(),
        elsewhere,
        candidates,
        node_names: fleet.names(&pool.nodes).into_iter().map(str::to_owned).collect(),
        selector: pool.selector,
        members: pool.nodes,
    }
}

/// Returns the reason for this model: `all 5 nodes can run it, and none that is more modern`.
fn why(best: &models::Candidate, passed_over: Option<&str>, nodes: usize) -> String {
    let which = match nodes {
        1 => "the best that the one node can run".to_owned(),
        2 => "the best that both nodes can run".to_owned(),
        _ => format!("the best that all {} can run", plural::nodes(nodes)),
    };
    let against = best.drawbacks.iter().filter_map(|drawback| match drawback {
        Drawback::Withheld => None,
        Drawback::NoMitigations(bit) => {
            Some(format!("without {bit} a guest's kernel reports itself vulnerable to speculative execution"))
        }
        Drawback::Tsx => Some(
            "it asks for TSX (hle, rtm): a node on which an update of microcode or kernel turns that off no \
             longer takes it"
                .to_owned(),
        ),
    });
    let passed_over = passed_over.filter(|other| models::is_better(other, &best.model));
    let passed_over =
        passed_over.map(|other| format!("{other}, which ranks above it, is withheld by obsoleteCPUModels"));
    std::iter::once(which).chain(against).chain(passed_over).collect::<Vec<_>>().join("; ")
}

fn why_none(none: &WhyNone, nodes: usize) -> String {
    match none {
        WhyNone::NoNode => "no node takes part: none with amd64 or s390x takes guests or offers a CPU model".to_owned(),
        WhyNone::NoModels(without) => {
            let (verb, offer) = if without.len() == 1 { ("takes", "offers") } else { ("take", "offer") };
            let names = plural::fold_names(without, 3);
            format!(
                "{names} {verb} guests and {offer} no CPU model by a cpu-model label: a guest with a named model could not run there"
            )
        }
        WhyNone::Vendors(vendors) if vendors.is_empty() => {
            let none = match nodes {
                1 => "the one node has no cpu-vendor label",
                _ => "none of these nodes has a cpu-vendor label",
            };
            format!("{none}, which distinguishes CPUs of several vendors")
        }
        WhyNone::Vendors(vendors) => {
            let names = vendors.join(" and ");
            format!("the nodes' labels name CPUs of {names}: no guest migrates from one vendor to another")
        }
        WhyNone::NoVendor { nodes, vendor } => {
            let (have, their) =
                (plural::number(nodes.len(), "has", "have"), plural::number(nodes.len(), "its", "their"));
            format!(
                "{} {have} no cpu-vendor label, so {their} vendor is not known to be {vendor}, that of the others",
                plural::fold_names(nodes, 3)
            )
        }
        WhyNone::Withheld(best) => {
            let on = all_of(nodes);
            format!(
                "{best} is the best that is usable on {on}, and obsoleteCPUModels withholds it and all other usable models"
            )
        }
        WhyNone::NothingInCommon => {
            format!("no model that is worth recommending is usable on {}", all_of(nodes))
        }
    }
}

/// Returns `both nodes`.
fn all_of(nodes: usize) -> String {
    match nodes {
        1 => "the one node".to_owned(),
        2 => "both nodes".to_owned(),
        _ => format!("all {}", plural::nodes(nodes)),
    }
}

pub(crate) fn why_not_counted(why: &NotCounted) -> String {
    match why {
        NotCounted::Architecture(arch) if arch == "arm64" => {
            "arm64: KubeVirt runs guests there with host-passthrough alone and labels no CPU models, so no model can be recommended"
                .to_owned()
        }
        NotCounted::Architecture(arch) => format!("{arch}: KubeVirt labels no CPU models there"),
        NotCounted::TakesNoGuests => {
            "no cpu-model label, and kubevirt.io/schedulable is not true: is virt-handler ready there?".to_owned()
        }
        NotCounted::NotLabelled => {
            "neither a cpu-model label nor kubevirt.io/schedulable: is virt-handler running there?".to_owned()
        }
        NotCounted::TooLarge(what) => format!("too large to judge: {what}"),
    }
}

fn unknown_models(fleet: &Fleet) -> Vec<UnknownModel> {
    let unknown = |(model, _): &(&str, _)| !models::is_known(model);
    let row = |(model, nodes): (&str, Bits)| UnknownModel {
        model: model.to_owned(),
        nodes: fleet.names(&nodes).into_iter().map(str::to_owned).collect(),
    };
    fleet.bearers(Family::CpuModel).into_iter().filter(unknown).map(row).collect()
}

#[cfg(test)]
mod tests;
