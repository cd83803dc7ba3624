//! What one act means for guests that nobody asked about: an eviction, an edited node, another default model, a changed
//! policy.
//!
//! Plain functions from the world and what is asked to warnings and the numbers behind them. None ever denies.

pub mod eviction;
pub mod kubevirt;
pub mod node;
pub mod policy;

use crate::admission::response::Decision;
use crate::admission::review::{self, Object, Operation, Request, ReviewError};
use crate::answers::Enough;
use crate::fit::node::Node;
use crate::judge::Lack;
use crate::kubevirt::wire;
use crate::policy::UserName;
use crate::world::World;

/// Answers a review of one of these acts; `None` where it is about something else.
///
/// # Errors
///
/// An object is malformed; the error names the field.
pub fn answer(world: &World, request: &Request<'_>, enough: Enough<'_>) -> Result<Option<Decision>, ReviewError> {
    let Some(Object::Text(new)) = request.object else { return Ok(None) };
    let old = request.old_object;
    let kind = (&*request.kind.group, &*request.kind.kind);
    Ok(match (kind, &*request.sub_resource, request.operation) {
        (("policy", "Eviction"), "eviction", Operation::Create) => {
            let asked: eviction::Eviction = review::object("request.object", new)?;
            let dry_run = request.dry_run || asked.is_dry_run();
            Some(eviction::eviction(world, &request.namespace, &request.name, dry_run))
        }
        (("", "Node"), "", Operation::Update) if is_read(&request.user.username) => {
            let Some(old) = old else { return Ok(None) };
            let old: wire::Node = review::object("request.oldObject", old)?;
            let new: wire::Node = review::object("request.object", new)?;
            Some(node::update(world, &Node::from(old), &Node::from(new), enough))
        }
        (("kubevirt.io", "KubeVirt"), "", Operation::Update) => {
            let Some(old) = old else { return Ok(None) };
            let old: wire::KubeVirt = review::object("request.oldObject", old)?;
            let new: wire::KubeVirt = review::object("request.object", new)?;
            Some(kubevirt::update(world, &old, &new, enough))
        }
        (("cpufit.io", "CPUPolicy"), "", Operation::Create | Operation::Update) => {
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
        (&*request.kind.group, &*request.kind.kind),
        ("", "Node") | ("kubevirt.io", "KubeVirt") | ("cpufit.io", "CPUPolicy")
    )
}

/// What such a review is about and the world does not hold: the launcher of a guest that was created a moment ago.
#[must_use]
pub fn lacks(world: &World, request: &Request<'_>) -> Vec<Lack> {
    let (namespace, name) = (&*request.namespace, &*request.name);
    let is_eviction = &*request.sub_resource == "eviction";
    if !is_eviction || world.cluster.guest_of_launcher(namespace, name).is_some() {
        return Vec::new();
    }
    vec![Lack::Launcher { namespace: namespace.to_owned(), name: name.to_owned() }]
}

/// Whether anybody reads what is said of a node: kubelets and controllers edit nodes all day, and drop it.
fn is_read(user: &str) -> bool {
    let user = UserName::from(user);
    let is_system = user.service_account().is_some_and(|(namespace, _)| namespace == "kube-system");
    !(is_system || user.is_kubevirt_controller(None) || user.as_str().starts_with("system:node:"))
}

/// Lines as an answer that admits: each names its object.
fn told(lines: Vec<String>) -> Decision {
    Decision::admit_with(lines)
}

#[cfg(test)]
mod tests;
