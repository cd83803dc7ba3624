//! The common CPU model: whether it is written into a guest that is to start, and if not, why.
//!
//! The model is written only if it is certain not to harm. Harm is measured by the judgement itself: the guest
//! is judged as sent and with the model, and the second verdict must not be worse than the first.

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
use crate::fit::plural;
use crate::fit::subject::CpuMode;
use crate::fit::verdict::{Assessment, Cause, Impact, Outcome, Unknown};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::Vmi;
use crate::policy::{LabelSelector, Policy, ReplacedMode};
use crate::say;
use crate::well_known;
use crate::world::World;

/// The result for the CPU model of a guest that is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Common {
    /// The policy's common model replaces the guest's own.
    Written {
        /// The common model.
        model: String,
        /// The mode that it replaces.
        replaced: ReplacedMode,
    },
    /// The policy requires the model, but it is not written, for this reason.
    NotWritten(Reason),
    /// The policy does not require the model.
    Untouched(Untouched),
}

/// The reason why a policy does not require its common model for a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// The policy has no common model.
    NoCommonModel,
    /// The guest's namespace is exempt from everything.
    Exempt,
    /// The guest's architecture has no named models, or others.
    Architecture,
    /// The guest is the target of a migration from elsewhere and keeps the CPU that it has there.
    Received,
    /// The guest already uses the common model, or gets it from the cluster's default.
    UsesIt,
    /// The guest's CPU mode is not among those that `replaces` lists.
    Mode {
        /// The mode that it was sent with.
        sent: ReplacedMode,
        /// The CPU mode it will run with: the cluster's default if it was sent without a model.
        becomes: CpuMode,
    },
}

/// The reason why a common model is not written into a guest although the policy requires it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The nodes have no labels that a judgement can use.
    Unknown(String),
    /// No node of the policy can run the model.
    NoNode {
        /// Number of nodes that the policy selects.
        nodes: usize,
        /// Number of these nodes that list the model but cannot run it.
        known: usize,
    },
    /// The guest's node selector, affinity or machine type excludes the nodes that can run the model.
    OtherNodes {
        /// Number of nodes that can run the model.
        nodes: usize,
    },
    /// The guest requires CPU features that the nodes with the model do not offer.
    Features {
        /// The features.
        features: Vec<String>,
        /// Number of nodes that can run the model and that the guest's other demands accept.
        nodes: usize,
    },
    /// Another policy, for other nodes that the guest also fits, has another common model.
    BetweenPools {
        /// The other policy.
        policy: String,
        /// Its model.
        model: String,
    },
    /// The part of the guest that determines its nodes is too large to read.
    TooLarge(Excess),
    /// Its author annotated it as the target of a migration from elsewhere, and may take the annotation off again.
    Annotated,
    /// The guest would be worse off.
    Worse {
        /// The impact without the model.
        is: Option<Impact>,
        /// The impact with the model.
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
            Self::Annotated => write!(
                f,
                "its annotation {} is not KubeVirt's, which sets it for a VirtualMachine with runStrategy WaitAsReceiver alone",
                well_known::MIGRATION_TARGET.key
            ),
            Self::Worse { is, would_be } if is == would_be => {
                write!(f, "with it, it {}, also when cordoned nodes come back", consequence(*would_be))
            }
            Self::Worse { would_be, .. } => write!(f, "with it, it {}", consequence(*would_be)),
        }
    }
}

fn consequence(impact: Option<Impact>) -> &'static str {
    match impact {
        Some(Impact::Unschedulable) => "could start nowhere",
        Some(Impact::Pinned) => "could migrate nowhere",
        Some(Impact::Fragile) => "would have one node left to migrate to",
        None => "would fit",
    }
}

/// Decides whether the common model replaces the CPU model of a guest that is to start. `policy` is the one
/// that governs it.
///
/// The guest is judged with KubeVirt's own defaults applied to a copy, so the order of the two does not
/// matter.
pub(crate) fn common_model(world: &World, policy: &Policy, vmi: &Vmi, effort: Effort<'_>) -> Common {
    let cluster = &world.cluster;
    let Some(common) = &policy.common_model else { return Common::Untouched(Untouched::NoCommonModel) };
    if world.exempts(&vmi.metadata.namespace) {
        return Common::Untouched(Untouched::Exempt);
    }
    if subject::is_made_to_receive(&vmi.metadata, cluster) {
        return Common::Untouched(Untouched::Received);
    }
    let own = vmi.spec.cpu_model();
    // A text that is there was read whole; one that is not there may be one that was not read.
    if let Some(excess) = &vmi.metadata.excess {
        let uses_it = own == common.name;
        let too_large = || Common::NotWritten(Reason::TooLarge(excess.clone()));
        return if uses_it { Common::Untouched(Untouched::UsesIt) } else { too_large() };
    }
    let architecture = cluster.config.architecture_of(&vmi.spec);
    if !architecture.eq_ignore_ascii_case("amd64") {
        return Common::Untouched(Untouched::Architecture);
    }
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

/// Returns the result for a guest that its author annotated as the target of a migration from elsewhere: that of any
/// guest, but the model is not written.
pub(crate) fn without_annotation(world: &World, policy: &Policy, vmi: &Vmi, effort: Effort<'_>) -> Common {
    let mut started = vmi.clone();
    started.metadata.annotations.remove(well_known::MIGRATION_TARGET.key);
    match common_model(world, policy, &started, effort) {
        Common::Written { .. } => Common::NotWritten(Reason::Annotated),
        other => other,
    }
}

impl Common {
    /// Returns the VMI as the mutating webhook leaves it; `None` if nothing is written.
    #[must_use]
    pub fn applied(&self, policy: &Policy, vmi: &Vmi) -> Option<Vmi> {
        let Self::Written { model, replaced } = self else { return None };
        let mut out = with_model(vmi, model);
        let why = [(well_known::POLICY.key, policy.name.as_str()), (well_known::REPLACED_MODEL.key, replaced.as_str())];
        out.metadata.annotations.extend(why.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Some(out)
    }

    /// Returns the patch of the VMI in `object`. Once applied, the next patch is empty.
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
            // When the webhook is called again, KubeVirt's default would look like the guest's own model, and
            // be replaced or denied.
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
        CpuMode::HostModel | CpuMode::HostModelOrPassthrough => ReplacedMode::HostModel,
        CpuMode::HostPassthrough => ReplacedMode::HostPassthrough,
        CpuMode::Named(_) | CpuMode::Unread => ReplacedMode::Named,
    }
}

/// Whether a guest keeps this CPU mode, because no common model replaces it.
pub(crate) fn keeps(policy: &Policy, mode: &CpuMode) -> bool {
    policy.common_model.as_ref().is_none_or(|common| !common.replaces.contains(&replaced(mode)))
}

/// Returns a copy of the guest with another model.
pub(crate) fn with_model(vmi: &Vmi, model: &str) -> Vmi {
    let mut out = vmi.clone();
    model.clone_into(&mut out.spec.domain.cpu.get_or_insert_default().model);
    out
}

/// Returns the mode that the guest was sent with, even if KubeVirt has added its default since.
fn sent(vmi: &Vmi, cluster: &Cluster) -> ReplacedMode {
    let own = vmi.spec.cpu_model();
    let was_unset = well_known::SENT_MODEL.is_set(&vmi.metadata.annotations)
        && own == cluster.config.cpu_model(cluster.config.architecture_of(&vmi.spec));
    if was_unset { ReplacedMode::Unset } else { replaced(&CpuMode::parse(own)) }
}

/// Returns why the model must not be written; `None` if it may be.
fn why_not(world: &World, policy: &Policy, model: &str, vmi: &Vmi, effort: Effort<'_>) -> Option<Reason> {
    let cluster = &world.cluster;
    let fleet = &cluster.fleet;
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
    let pool = policy.node_selector.nodes(fleet);
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

/// Whether one verdict is worse than another: by impact, `None` being the mildest, and by whether a policy can
/// deny it. A temporary cause, such as a cordon, must not become one that no returning node remedies.
pub(crate) fn is_worse(is: &Assessment, would_be: &Assessment) -> bool {
    let lasts = |verdict: &Assessment| verdict.cause == Some(Cause::Structural);
    would_be.outcome.impact() > is.outcome.impact() || (lasts(would_be) && !lasts(is))
}

fn both(mut one: Bits, other: &Bits) -> Bits {
    one.intersect(other);
    one
}

/// Returns why no node that can run the model accepts the guest, ignoring cordons and taints; `None` if one
/// does.
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
        // Each feature is offered by a node, but no node offers them all.
        features = required.iter().map(name).collect();
    }
    features.sort_unstable();
    Some(Reason::Features { features, nodes: left.count() })
}

/// Finds an equally specific policy for other nodes and with another model.
fn rival(world: &World, policy: &Policy, model: &str, vmi: &Vmi, reach: &Bits) -> Option<Reason> {
    let guest = world.guest_of(&vmi.metadata);
    let everywhere = LabelSelector::default();
    let sent = sent(vmi, &world.cluster);
    world
        .policies
        .iter()
        .filter(|other| other.name != policy.name && other.specificity() == policy.specificity())
        .filter(|other| other.node_selector != everywhere || policy.node_selector != everywhere)
        .filter(|other| other.selects(&guest) && other.node_selector.nodes(&world.cluster.fleet).meets(reach))
        .find_map(|other| {
            let theirs = other.common_model.as_ref().filter(|theirs| theirs.name != model)?;
            // A model that would not be written either is no rival.
            theirs.replaces.contains(&sent).then_some(())?;
            Some(Reason::BetweenPools { policy: other.name.clone(), model: theirs.name.clone() })
        })
}
