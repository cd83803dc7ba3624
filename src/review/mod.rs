//! Answers to reviews: one file for each kind of reviewed object, and [`answer`], which dispatches to them.
//!
//! A guest, its owner, its launcher or its migration (`workload`) is judged, and may be denied. An eviction, or an edit
//! of a node, of KubeVirt's configuration or of a policy, is answered with warnings about the effect on existing
//! guests. `relax` decides who may set the annotation `cpufit.io/relax`; `missing` lists objects that the world does
//! not hold yet.

pub(crate) mod eviction;
pub(crate) mod kubevirt;
mod missing;
pub(crate) mod node;
pub(crate) mod policy;
mod relax;
mod workload;

use serde_json::value::RawValue;

use crate::admission::Webhook;
use crate::admission::response::Decision;
use crate::admission::review::{self, Operation, Request, ReviewError, ReviewedObject};
use crate::answers::Deadline;
use crate::fit::node::Node;
use crate::kubevirt::cluster::owner;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire;
use crate::policy::{Exemption, UserName};
use crate::report::EventReport;
use crate::world::World;

pub use missing::MissingInput;
pub use workload::case;

/// The input of an answer other than the review.
#[derive(Clone, Copy)]
pub struct ReviewContext<'h> {
    /// The cluster and the policies.
    pub world: &'h World,
    /// A function that returns true once half of the request's time is used up: counting ends there.
    pub is_over: &'h (dyn Fn() -> bool + Sync),
}

impl<'h> ReviewContext<'h> {
    /// Creates a context with this world and no deadline.
    #[must_use]
    pub fn new(world: &'h World) -> Self {
        Self { world, is_over: &|| false }
    }
}

/// The answer to a review, with its side effects.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct ReviewAnswer {
    /// The decision about the request.
    pub decision: Decision,
    /// Reports about guests, to be sent once the request is known to be no dry run.
    pub reports: Vec<EventReport>,
    /// The objects that were not known. With them the answer may be different.
    pub lacks: Vec<MissingInput>,
    /// The exemption without which the request would have been denied; `None` without one, or on a dry run.
    pub exempted: Option<Exemption>,
}

impl From<Decision> for ReviewAnswer {
    fn from(decision: Decision) -> Self {
        Self { decision, reports: Vec::new(), lacks: Vec::new(), exempted: None }
    }
}

/// Answers a review.
///
/// # Errors
///
/// Returns the field of a malformed object of a judged kind.
pub fn answer(
    context: &ReviewContext<'_>,
    webhook: Webhook,
    request: &Request<'_>,
) -> Result<ReviewAnswer, ReviewError> {
    match webhook {
        Webhook::Authorize => Ok(relax::authorize(request)?.into()),
        Webhook::Mutate => workload::mutate(context.world, request, context.is_over),
        Webhook::Validate => match act(context.world, request, context.is_over)? {
            Some(decision) => Ok(ReviewAnswer { lacks: missing::of_act(context.world, request), ..decision.into() }),
            None => workload::validate(context.world, request, context.is_over),
        },
    }
}

/// Maximum cost of an object that is surely judged within a millisecond: twice that of a launcher with 250 CPU features
/// in its selector and 16 conditions in its affinity.
const CHEAP: usize = 1024;
/// Cost of a condition of a node affinity, as entries of a node selector: it may be compared with every node.
const CONDITION_COST: usize = 16;

/// Whether the object is surely judged within a millisecond: a launcher pod with few requirements, of a guest with few.
#[must_use]
pub(crate) fn is_cheap(world: &World, request: &Request<'_>) -> bool {
    let Some(ReviewedObject::Pod(pod)) = &request.object else { return false };
    let cost = |entries: usize, conditions: usize| entries + CONDITION_COST * conditions;
    let of_spec = |spec: &wire::VmiSpec| {
        let entries = spec.node_selector.len() + spec.tolerations.len();
        let features = spec.domain.cpu.as_ref().map_or(0, |cpu| cpu.features.len());
        cost(entries + features, spec.affinity.as_ref().map_or(0, wire::AnyAffinity::conditions))
    };
    let cluster = &world.cluster;
    let name = owner(pod).map(|owner| owner.name.as_str()).unwrap_or_default();
    let own = cost(pod.spec.node_selector.0.len() + pod.spec.tolerations.len(), pod.spec.affinity.conditions());
    let vmi = cluster.vmi(&request.namespace, name).map_or(0, |vmi| of_spec(&vmi.spec));
    let vm = cluster.vm(&request.namespace, name).map_or(0, |vm| of_spec(&vm.spec.template.spec));
    own.max(vmi).max(vm) <= CHEAP
}

/// A request that is answered with its effect on existing guests, with the objects that the answer compares.
enum ReviewedAct<'r> {
    Eviction(&'r RawValue),
    Node { old: &'r RawValue, new: &'r RawValue },
    KubeVirt { old: &'r RawValue, new: &'r RawValue },
    Policy { old: Option<&'r RawValue>, new: &'r RawValue },
}

impl<'r> ReviewedAct<'r> {
    /// Returns the act of a request; `None` if its effect is not counted: another object or operation, or an edit of a
    /// node by a sender who shows no warnings.
    fn of(request: &Request<'r>) -> Option<Self> {
        let Some(ReviewedObject::Text(new)) = request.object else { return None };
        let old = request.old_object;
        let (group, kind) = (&*request.kind.group, &*request.kind.kind);
        match (Resource::of(group, kind), &*request.sub_resource, request.operation) {
            (None, "eviction", Operation::Create) if (group, kind) == ("policy", "Eviction") => {
                Some(Self::Eviction(new))
            }
            (Some(Resource::Nodes), "", Operation::Update) if is_read(&request.user.username) => {
                Some(Self::Node { old: old?, new })
            }
            (Some(Resource::KubeVirts), "", Operation::Update) => Some(Self::KubeVirt { old: old?, new }),
            (Some(Resource::Policies), "", Operation::Create | Operation::Update) => Some(Self::Policy { old, new }),
            _ => None,
        }
    }
}

/// Answers a review of an act; `None` for any other.
///
/// # Errors
///
/// Returns the field of a malformed object.
fn act(world: &World, request: &Request<'_>, is_over: Deadline<'_>) -> Result<Option<Decision>, ReviewError> {
    let Some(act) = ReviewedAct::of(request) else { return Ok(None) };
    Ok(Some(match act {
        ReviewedAct::Eviction(new) => {
            let asked: eviction::Eviction = review::object("request.object", new)?;
            let dry_run = request.dry_run || asked.is_dry_run();
            eviction::eviction(world, &request.namespace, &request.name, dry_run, is_over)
        }
        ReviewedAct::Node { old, new } => {
            let old: wire::Node = review::object("request.oldObject", old)?;
            let new: wire::Node = review::object("request.object", new)?;
            node::update(world, &Node::from(old), &Node::from(new), is_over)
        }
        ReviewedAct::KubeVirt { old, new } => {
            let old: wire::KubeVirt = review::object("request.oldObject", old)?;
            let new: wire::KubeVirt = review::object("request.object", new)?;
            kubevirt::update(world, &old, &new, is_over)
        }
        ReviewedAct::Policy { old, new } => {
            policy::change(world, &request.name, new.get(), old.map(RawValue::get), is_over)
        }
    }))
}

/// Whether the answer depends on all guests: such reviews have judges of their own, so that guests do not wait for
/// them.
#[must_use]
pub(crate) fn concerns_all_guests(webhook: Webhook, request: &Request<'_>) -> bool {
    webhook == Webhook::Validate
        && matches!(
            ReviewedAct::of(request),
            Some(ReviewedAct::Node { .. } | ReviewedAct::KubeVirt { .. } | ReviewedAct::Policy { .. })
        )
}

/// Whether the sender shows warnings about a node: kubelets and controllers edit nodes all day, and drop them.
fn is_read(user: &str) -> bool {
    let user = UserName::from(user);
    !(user.is_of_kubernetes() || user.is_kubevirt_controller(None))
}

#[cfg(test)]
mod tests;
