//! The common CPU model: whether it is written into a guest that is to start, and if not, why.
//!
//! It is written only where it is sure to do no harm. Harm is measured by the judgement itself: the guest is judged as
//! it was sent and as it would be with the model, and the second verdict must not be worse than the first.

use std::fmt;

use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::patch;
use crate::bounds::Excess;
use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Effort;
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::subject::CpuMode;
use crate::fit::verdict::{Assessment, Cause, Impact, Outcome, Unknown};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::Vmi;
use crate::policy::{self, LabelSelector, Policy, ReplacedMode};
use crate::say::{self, plural};
use crate::well_known;
use crate::world::World;

/// What becomes of the CPU model of a guest that is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Common {
    /// The policy's common model takes the place of its own.
    Written {
        /// The common model.
        model: String,
        /// What it takes the place of.
        replaced: ReplacedMode,
    },
    /// The policy would have it written, and it is not.
    NotWritten(Reason),
    /// The policy does not ask for it.
    Untouched(Untouched),
}

/// Why a policy does not ask for its common model to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// It has none.
    NoCommonModel,
    /// The guest's namespace is left alone entirely.
    LeftAlone,
    /// The guest's architecture has no such models, or models of its own.
    Architecture,
    /// It is the target of a migration from elsewhere: it goes on with the CPU it has there.
    Received,
    /// The guest uses the common model already, or gets it from the cluster's own default.
    UsesIt,
    /// The guest's CPU mode is not among those that `replaces` lists.
    Mode {
        /// The mode it was sent with.
        sent: ReplacedMode,
        /// What it will run with: the cluster's default, where it was sent without a model.
        becomes: CpuMode,
    },
}

/// Why a common model is not written into a guest that a policy would have it written into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The nodes have no labels to judge by.
    Unknown(String),
    /// No node of the policy can run the model.
    NoNode {
        /// The nodes the policy selects.
        nodes: usize,
        /// Those of them that know the model without being able to run it.
        known: usize,
    },
    /// Other nodes are the guest's, by its node selector, affinity or machine type.
    OtherNodes {
        /// How many nodes can run the model.
        nodes: usize,
    },
    /// The guest requires CPU features that the nodes with the model do not offer.
    Features {
        /// The features.
        features: Vec<String>,
        /// How many nodes can run the model, and are open to the guest.
        nodes: usize,
    },
    /// Another policy, for other nodes that the guest fits as well, has another common model.
    BetweenPools {
        /// The other policy.
        policy: String,
        /// Its model.
        model: String,
    },
    /// What the guest asks of a node is too large to be read.
    TooLarge(Excess),
    /// The guest would be worse off.
    Worse {
        /// How it is without the model.
        is: Option<Impact>,
        /// How it would be with it.
        would_be: Option<Impact>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &usize| match count {
            1 => "the only node".to_owned(),
            many => format!("the {many} nodes"),
        };
        match self {
            Self::Unknown(why) => f.write_str(why),
            Self::NoNode { nodes: 0, .. } => f.write_str("the policy selects no node"),
            Self::NoNode { nodes: 1, known: 0 } => f.write_str("not usable on the only node"),
            Self::NoNode { nodes, known: 0 } => write!(f, "usable on none of {}", of(nodes)),
            Self::NoNode { nodes, known } => {
                write!(f, "known on {known} of {}, usable on none", plural::nodes(*nodes))
            }
            Self::OtherNodes { nodes } => {
                write!(f, "its node selector, affinity or machine type keeps it off {} that can run it", of(nodes))
            }
            Self::Features { features, nodes: 1 } => write!(
                f,
                "it requires cpu-feature {}, which the only node with that model does not offer",
                plural::fold_names(features, 4)
            ),
            Self::Features { features, nodes } => write!(
                f,
                "it requires cpu-feature {}, which none of {} with that model offers",
                plural::fold_names(features, 4),
                of(nodes)
            ),
            Self::BetweenPools { policy, model } => write!(
                f,
                "it also fits the nodes of policy {policy} ({model}); a node selector would say where it belongs"
            ),
            Self::TooLarge(excess) => write!(f, "it is too large to judge: {excess}"),
            Self::Worse { is, would_be } if is == would_be => {
                write!(f, "with it, it {}, also when cordoned nodes come back", fate(*would_be))
            }
            Self::Worse { would_be, .. } => write!(f, "with it, it {}", fate(*would_be)),
        }
    }
}

fn fate(impact: Option<Impact>) -> &'static str {
    match impact {
        Some(Impact::Unschedulable) => "could start nowhere",
        Some(Impact::Pinned) => "could migrate nowhere",
        Some(Impact::Fragile) => "would have one node left to migrate to",
        None => "would fit",
    }
}

/// Decides what becomes of the CPU model of a guest that is to start. `policy` is the one that governs it.
///
/// The guest is judged with KubeVirt's own defaults applied to a copy, so it may come before or after them.
pub(crate) fn common_model(world: &World, policy: &Policy, vmi: &Vmi, effort: Effort<'_>) -> Common {
    let cluster = &world.cluster;
    let Some(common) = &policy.common_model else { return Common::Untouched(Untouched::NoCommonModel) };
    if cluster.namespace(&vmi.metadata.namespace).is_some_and(policy::is_left_alone) {
        return Common::Untouched(Untouched::LeftAlone);
    }
    let architecture = architecture(vmi, cluster);
    if !architecture.eq_ignore_ascii_case("amd64") {
        return Common::Untouched(Untouched::Architecture);
    }
    if well_known::MIGRATION_TARGET.is_set(&vmi.metadata.annotations) {
        return Common::Untouched(Untouched::Received);
    }
    let own = model_of(vmi);
    let becomes = if own.is_empty() { cluster.config.cpu_model(architecture) } else { own };
    if becomes == common.name {
        return Common::Untouched(Untouched::UsesIt);
    }
    let sent = sent(vmi, cluster);
    if !common.replaces.contains(&sent) {
        return Common::Untouched(Untouched::Mode { sent, becomes: CpuMode::parse(becomes) });
    }
    match why_not(world, policy, &common.name, vmi, effort) {
        Some(reason) => Common::NotWritten(reason),
        None => Common::Written { model: common.name.clone(), replaced: sent },
    }
}

impl Common {
    /// The VMI as the mutating webhook leaves it; `None` where nothing is written.
    #[must_use]
    pub fn applied(&self, policy: &Policy, vmi: &Vmi) -> Option<Vmi> {
        let Self::Written { model, replaced } = self else { return None };
        let mut out = with_model(vmi, model);
        let why = [(well_known::POLICY.key, policy.name.as_str()), (well_known::REPLACED_MODEL.key, replaced.as_str())];
        out.metadata.annotations.extend(why.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Some(out)
    }

    /// The patch of the VMI, as it stands in `object`. Applied, and decided again, it is empty.
    #[must_use]
    pub fn patch(&self, policy: &Policy, object: &Value) -> Vec<PatchOperation> {
        match self {
            Self::Written { model, replaced } => {
                let mut out: Vec<PatchOperation> =
                    patch::set(object, &["spec", "domain", "cpu", "model"], json!(model)).into_iter().collect();
                let why = [
                    (well_known::POLICY.key, policy.name.clone()),
                    (well_known::REPLACED_MODEL.key, replaced.as_str().to_owned()),
                ];
                out.extend(patch::annotate(object, &why));
                out
            }
            // KubeVirt's default would look like the guest's own model when this is asked again, and be replaced, or denied.
            Self::NotWritten(_) | Self::Untouched(Untouched::Mode { sent: ReplacedMode::Unset, .. })
                if model_in(object).is_empty() =>
            {
                patch::annotate(object, &[(well_known::SENT_MODEL.key, ReplacedMode::Unset.as_str().to_owned())])
            }
            Self::Untouched(_) | Self::NotWritten(_) => Vec::new(),
        }
    }
}

fn model_in(object: &Value) -> &str {
    object["spec"]["domain"]["cpu"]["model"].as_str().unwrap_or_default()
}

fn replaced(mode: &CpuMode) -> ReplacedMode {
    match mode {
        CpuMode::Unset => ReplacedMode::Unset,
        CpuMode::HostModel => ReplacedMode::HostModel,
        CpuMode::HostPassthrough => ReplacedMode::HostPassthrough,
        CpuMode::Named(_) => ReplacedMode::Named,
    }
}

/// `spec.domain.cpu.model` as it stands.
#[must_use]
pub(crate) fn model_of(vmi: &Vmi) -> &str {
    vmi.spec.domain.cpu.as_ref().map_or("", |cpu| cpu.model.as_str())
}

/// The same guest with another model.
#[must_use]
pub(crate) fn with_model(vmi: &Vmi, model: &str) -> Vmi {
    let mut out = vmi.clone();
    model.clone_into(&mut out.spec.domain.cpu.get_or_insert_default().model);
    out
}

fn architecture<'v>(vmi: &'v Vmi, cluster: &'v Cluster) -> &'v str {
    Some(vmi.spec.architecture.as_str())
        .filter(|own| !own.is_empty())
        .unwrap_or_else(|| cluster.config.default_architecture())
}

/// The mode the guest was sent with: without a model, also where KubeVirt has since filled in its default.
fn sent(vmi: &Vmi, cluster: &Cluster) -> ReplacedMode {
    let own = model_of(vmi);
    let was_unset = well_known::SENT_MODEL.is_set(&vmi.metadata.annotations)
        && own == cluster.config.cpu_model(architecture(vmi, cluster));
    if was_unset { ReplacedMode::Unset } else { replaced(&CpuMode::parse(own)) }
}

/// Why the model must not be written, if so.
fn why_not(world: &World, policy: &Policy, model: &str, vmi: &Vmi, effort: Effort<'_>) -> Option<Reason> {
    let cluster = &world.cluster;
    let fleet = &cluster.fleet;
    if let Some(excess) = &vmi.metadata.excess {
        return Some(Reason::TooLarge(excess.clone()));
    }
    let (now, then) = (subject::of_vmi(vmi, cluster), subject::of_vmi(&with_model(vmi, model), cluster));
    if let Some(excess) = now.predicted.as_ref().and_then(|pod| pod.excess.clone()) {
        return Some(Reason::TooLarge(excess));
    }
    let (is, would_be) = (now.assess_within(cluster, effort), then.assess_within(cluster, effort));
    let unknown = |why: &Unknown| Some(Reason::Unknown(say::finding::unknown(why)));
    match (&is.outcome, &would_be.outcome) {
        (Outcome::Unknown(why), _) | (_, Outcome::Unknown(why @ Unknown::NotInTime)) => return unknown(why),
        _ => {}
    }
    let pool = pool(&policy.node_selector, fleet);
    let on = |prefix: &str| both(fleet.bearing(&format!("{prefix}{model}"), "true"), &pool);
    let usable = on(label::CPU_MODEL);
    if usable.is_empty() {
        return Some(Reason::NoNode { nodes: pool.count(), known: on(label::CPU_MODEL_MIGRATION).count() });
    }
    if let Some(reason) = shut_out(&then, &usable, fleet) {
        return Some(reason);
    }
    let reach = fleet.look_up(&now.subject.placement).passes().placement;
    if let Some(rival) = rival(world, policy, model, vmi, &reach) {
        return Some(rival);
    }
    is_worse(&is, &would_be).then(|| Reason::Worse { is: is.outcome.impact(), would_be: would_be.outcome.impact() })
}

/// Whether one verdict is worse than another: by impact, `None` being the mildest, and by what a policy can deny it
/// for. What passes by itself, a cordon for one, must not become what no node that comes back can cure.
#[must_use]
pub(crate) fn is_worse(is: &Assessment, would_be: &Assessment) -> bool {
    let lasts = |verdict: &Assessment| verdict.cause == Some(Cause::Structural);
    would_be.outcome.impact() > is.outcome.impact() || (lasts(would_be) && !lasts(is))
}

/// The nodes a policy is about.
#[must_use]
pub(crate) fn pool(selector: &LabelSelector, fleet: &Fleet) -> Bits {
    if *selector == LabelSelector::default() {
        return Bits::all(fleet.len());
    }
    let mut out = Bits::none(fleet.len());
    (0..fleet.len())
        .filter(|&node| selector.matches_by(|key| fleet.label(node, key)))
        .for_each(|node| out.insert(node));
    out
}

fn both(mut one: Bits, other: &Bits) -> Bits {
    one.intersect(other);
    one
}

/// What keeps the guest off every node that can run the model, cordons and taints aside.
fn shut_out(then: &Prepared<'_>, usable: &Bits, fleet: &Fleet) -> Option<Reason> {
    let subject = &then.subject;
    let open = |placement: &Placement<'_>| both(fleet.look_up(placement).passes().placement, usable);
    if !open(&subject.placement).is_empty() {
        return None;
    }
    let (required, rest): (Vec<_>, Vec<_>) = subject
        .placement
        .selector
        .iter()
        .cloned()
        .partition(|(key, _)| Family::of(key) == Family::CpuFeature && !subject.is_own(key));
    let left = open(&Placement { selector: rest.into_iter().collect(), ..subject.placement.clone() });
    if left.is_empty() {
        return Some(Reason::OtherNodes { nodes: usable.count() });
    }
    let name = |(key, _): &(_, _)| label::name(key as &std::borrow::Cow<'_, str>).to_owned();
    let is_lacking = |(key, value): &&(_, _)| {
        let (key, value): (&std::borrow::Cow<'_, str>, &std::borrow::Cow<'_, str>) = (key, value);
        !fleet.bearing(key, value).meets(&left)
    };
    let mut features: Vec<String> = required.iter().filter(is_lacking).map(name).collect();
    if features.is_empty() {
        // Each is offered somewhere, but no node offers them all.
        features = required.iter().map(name).collect();
    }
    features.sort_unstable();
    Some(Reason::Features { features, nodes: left.count() })
}

/// A policy with as good a claim to the guest, for other nodes and with another model.
fn rival(world: &World, policy: &Policy, model: &str, vmi: &Vmi, reach: &Bits) -> Option<Reason> {
    let guest = world.guest_of(&vmi.metadata);
    let everywhere = LabelSelector::default();
    world
        .policies
        .iter()
        .filter(|other| other.name != policy.name && other.specificity() == policy.specificity())
        .filter(|other| other.node_selector != everywhere || policy.node_selector != everywhere)
        .filter(|other| other.selects(&guest) && pool(&other.node_selector, &world.cluster.fleet).meets(reach))
        .find_map(|other| {
            let theirs = other.common_model.as_ref().filter(|theirs| theirs.name != model)?;
            Some(Reason::BetweenPools { policy: other.name.clone(), model: theirs.name.clone() })
        })
}
