//! What one act means for guests that nobody asked about: an eviction, an edited node, another default model, a changed
//! policy; and the [`audit`] of them all.
//!
//! Plain functions from the world and what is asked to warnings and the numbers behind them. None ever denies. Those
//! that look at many guests judge like ones together ([`Guests`]), and stop when they are told that it is [`Enough`]:
//! then what they say begins with "at least".

pub mod audit;
pub mod eviction;
mod guests;
pub mod kubevirt;
pub mod node;
pub mod policy;

use crate::admission::response::Decision;
use crate::admission::review::{self, Object, Operation, Request, ReviewError};
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::node::Node;
use crate::judge::{Lack, lives_on};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::{self, Vmi};
use crate::policy::{Policy, UserName, governing, is_left_alone};
use crate::say::plural::fold_names;
use crate::world::World;

pub use guests::{Demand, Guests};

/// Whether to stop counting, because half of the request's time is used up.
pub type Enough<'e> = &'e dyn Fn() -> bool;

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

/// How many guests or nodes a line names.
const NAMED: usize = 2;

/// Lines as an answer that admits: each names its object.
fn told(lines: Vec<String>) -> Decision {
    Decision::admit_with(lines)
}

/// Guests that something is said about: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// How many there are, as far as they were looked at.
    pub count: usize,
    /// The first few, as `namespace/name`.
    pub first: Vec<String>,
}

impl Named {
    /// Adds one.
    pub fn add(&mut self, title: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(title);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `shop/db, shop/web and 12 more`.
    #[must_use]
    pub fn names(&self) -> String {
        let names = self.first.join(", ");
        match self.count - self.first.len() {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

/// How far a count went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// So many guests were looked at.
    pub at: usize,
    /// Of so many.
    pub of: usize,
    /// So many of those looked at are too large to judge.
    pub too_large: usize,
}

impl Looked {
    /// None of the guests of a cluster yet.
    fn none_of(cluster: &Cluster) -> Self {
        Self { of: cluster.vmis().count(), ..Self::default() }
    }

    /// One more guest is looked at.
    fn at(&mut self, vmi: &Vmi) {
        self.at += 1;
        self.too_large += usize::from(vmi.metadata.excess.is_some());
    }

    /// Whether all guests were looked at.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.at >= self.of
    }

    /// `14 guests`, or `at least 14 guests` where not all were looked at, or not all could be judged.
    fn count(self, count: usize, noun: &str) -> String {
        let least = if self.is_complete() && self.too_large == 0 { "" } else { "at least " };
        let s = if count == 1 { "" } else { "s" };
        format!("{least}{count} {noun}{s}")
    }

    /// What is to be said of a count that was broken off, or that leaves guests out, if nothing else tells it.
    fn left_out(self) -> Option<String> {
        if !self.is_complete() {
            return Some(format!(
                "only {} of {} guests were looked at in time; all: kubectl cpufit audit",
                self.at, self.of
            ));
        }
        let guests = match self.too_large {
            0 => return None,
            1 => "1 guest is".to_owned(),
            many => format!("{many} guests are"),
        };
        Some(format!("{guests} too large to judge, and left out; which: kubectl cpufit audit"))
    }
}

/// `node-a is` or `node-a, node-b are`, folded.
fn nodes_are<S: AsRef<str>>(names: &[S]) -> String {
    format!("{} {}", fold_names(names, NAMED), if names.len() == 1 { "is" } else { "are" })
}

/// The policy that governs a guest of the cluster; `None` where none does, or its namespace is left alone.
fn policy_of<'p>(
    world: &World,
    policies: impl IntoIterator<Item = &'p Policy>,
    vmi: &Vmi,
    runs_on: Option<NodeIndex>,
    fitting: &Bits,
) -> Option<&'p Policy> {
    let guest = world.guest_of(&vmi.metadata);
    if is_left_alone(guest.namespace_labels) {
        return None;
    }
    let at_home = |policy: &&Policy| lives_on(&policy.node_selector, runs_on, fitting, &world.cluster.fleet);
    governing(policies.into_iter().filter(at_home), &guest)
}

/// Whether a namespace is left alone entirely.
fn is_exempt(world: &World, namespace: &str) -> bool {
    world.cluster.namespace(namespace).is_some_and(is_left_alone)
}

#[cfg(test)]
mod tests;
