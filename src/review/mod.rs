//! One review answered: one file for each kind of object that is reviewed, and [`answer`], which chooses among them.
//!
//! A guest, what it is made of, its launcher or its migration (`workload`) is judged, and may be denied. An eviction, an
//! edit of a node, of KubeVirt's configuration or of a policy is answered by what it means for guests that exist: with
//! warnings alone. `relax` says who may set the annotation `cpufit.io/relax`; `missing` what the world does not hold yet.

pub(crate) mod eviction;
pub(crate) mod kubevirt;
mod missing;
pub(crate) mod node;
pub(crate) mod policy;
mod relax;
mod workload;

use crate::admission::Stage;
use crate::admission::response::Decision;
use crate::admission::review::{self, Operation, Request, ReviewError, ReviewedObject};
use crate::answers::Deadline;
use crate::fit::node::Node;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire;
use crate::policy::{Exemption, UserName};
use crate::report::EventReport;
use crate::world::World;

pub use missing::MissingInput;
pub use workload::case;

/// What is at hand when a review is answered.
#[derive(Clone, Copy)]
pub struct ReviewContext<'h> {
    /// The cluster and the policies.
    pub world: &'h World,
    /// Whether half of the request's time is used up: counting ends there.
    pub enough: &'h (dyn Fn() -> bool + Sync),
}

impl<'h> ReviewContext<'h> {
    /// By this world, without haste.
    #[must_use]
    pub fn new(world: &'h World) -> Self {
        Self { world, enough: &|| false }
    }
}

/// The answer to a review, and what is to be done beside it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct ReviewAnswer {
    /// What becomes of the request.
    pub decision: Decision,
    /// Reports about guests, once the request is known to be no dry run.
    pub reports: Vec<EventReport>,
    /// What was not known. With it the answer may be another one.
    pub lacks: Vec<MissingInput>,
    /// The exemption without which it would have been denied; `None` on a dry run.
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
/// An object of a kind that is judged is malformed; the error names the field.
pub fn answer(context: &ReviewContext<'_>, stage: Stage, request: &Request<'_>) -> Result<ReviewAnswer, ReviewError> {
    match stage {
        Stage::Authorize => Ok(relax::authorize(request)?.into()),
        Stage::Mutate => workload::mutate(context.world, request, context.enough),
        Stage::Validate => match act(context.world, request, context.enough)? {
            Some(decision) => Ok(ReviewAnswer { lacks: missing::of_act(context.world, request), ..decision.into() }),
            None => workload::validate(context.world, request, context.enough),
        },
    }
}

/// Answers a review of one of these acts; `None` where it is about something else.
///
/// # Errors
///
/// An object is malformed; the error names the field.
fn act(world: &World, request: &Request<'_>, enough: Deadline<'_>) -> Result<Option<Decision>, ReviewError> {
    let Some(ReviewedObject::Text(new)) = request.object else { return Ok(None) };
    let old = request.old_object;
    let (group, kind) = (&*request.kind.group, &*request.kind.kind);
    Ok(match (Resource::of(group, kind), &*request.sub_resource, request.operation) {
        (None, "eviction", Operation::Create) if (group, kind) == ("policy", "Eviction") => {
            let asked: eviction::Eviction = review::object("request.object", new)?;
            let dry_run = request.dry_run || asked.is_dry_run();
            Some(eviction::eviction(world, &request.namespace, &request.name, dry_run, enough))
        }
        (Some(Resource::Nodes), "", Operation::Update) if is_read(&request.user.username) => {
            let Some(old) = old else { return Ok(None) };
            let old: wire::Node = review::object("request.oldObject", old)?;
            let new: wire::Node = review::object("request.object", new)?;
            Some(node::update(world, &Node::from(old), &Node::from(new), enough))
        }
        (Some(Resource::KubeVirts), "", Operation::Update) => {
            let Some(old) = old else { return Ok(None) };
            let old: wire::KubeVirt = review::object("request.oldObject", old)?;
            let new: wire::KubeVirt = review::object("request.object", new)?;
            Some(kubevirt::update(world, &old, &new, enough))
        }
        (Some(Resource::Policies), "", Operation::Create | Operation::Update) => {
            let old = old.map(serde_json::value::RawValue::get);
            Some(policy::change(world, &request.name, new.get(), old, enough))
        }
        _ => None,
    })
}

/// Whether all guests are looked at for an answer.
#[must_use]
pub fn counts(request: &Request<'_>) -> bool {
    matches!(
        Resource::of(&request.kind.group, &request.kind.kind),
        Some(Resource::Nodes | Resource::KubeVirts | Resource::Policies)
    )
}

/// Whether the sender shows warnings about a node: kubelets and controllers edit nodes all day, and drop them.
fn is_read(user: &str) -> bool {
    let user = UserName::from(user);
    let is_system = user.service_account().is_some_and(|(namespace, _)| namespace == "kube-system");
    !(is_system || user.is_kubevirt_controller(None) || user.as_str().starts_with("system:node:"))
}

/// Lines as an answer that admits: each names its object.
fn warned(lines: Vec<String>) -> Decision {
    Decision::admit_with(lines)
}

#[cfg(test)]
mod tests;
