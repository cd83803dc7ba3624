//! The rules of a request: the policy of its guest, and the other facts.

use super::Manifest;
use crate::fit::bits::Bits;
use crate::kubevirt::subject::Prepared;
use crate::policy::{self, Policy, PolicySubject, RequestFacts, UserName, lives_on};
use crate::world::World;

/// The rules of a request.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The policy that governs the guest.
    pub(crate) policy: Policy,
    /// Whether that is the built-in one, because none selects the guest.
    pub(crate) is_builtin: bool,
    /// The other facts.
    pub(crate) facts: RequestFacts,
}

impl Rules {
    /// Returns the rules of a guest that these nodes take.
    pub(super) fn of(
        world: &World,
        manifest: &Manifest<'_>,
        user: &UserName,
        prepared: &Prepared<'_>,
        fitting: &Bits,
    ) -> Self {
        let labels = manifest.labels(world);
        let guest = world.guest(&prepared.subject.namespace, &labels, user).less(manifest.excess(world));
        let found = policy_for(world, &guest, prepared, fitting);
        let is_builtin = found.is_none();
        let policy = found.unwrap_or_else(Policy::builtin);
        let kind = manifest.request_kind();
        // Labels that were not read may make another policy the guest's.
        let selects = world.policies.iter().any(|policy| policy.namespace_selector.keys().next().is_some());
        let is_unread = selects && world.cluster.namespace_excess(&prepared.subject.namespace).is_some();
        let is_guess = prepared.is_guess || is_unread;
        let facts = RequestFacts {
            kind,
            exemption: policy.exempt(&guest, kind),
            is_guess,
            is_too_large: prepared.is_too_large,
        };
        Self { policy, is_builtin, facts }
    }
}

/// Returns the policies of which one governs a guest that one or more of these nodes take, or that none takes if there
/// are none; the built-in one included.
pub(super) fn possible(
    world: &World,
    manifest: &Manifest<'_>,
    user: &UserName,
    prepared: &Prepared<'_>,
    fitting: &Bits,
) -> Vec<Policy> {
    let (mut out, mut left) = (Vec::new(), fitting.clone());
    loop {
        let Rules { policy, .. } = Rules::of(world, manifest, user, prepared, &left);
        let before = left.count();
        left.subtract(&policy.node_selector.nodes(&world.cluster.fleet));
        out.push(policy);
        // The policy of a guest that runs does not depend on the nodes that take it.
        if left.is_empty() || left.count() == before {
            return out;
        }
    }
}

/// Returns the policy that governs a guest; `None` if no policy selects it and a node it lives on.
fn policy_for(world: &World, guest: &PolicySubject<'_>, prepared: &Prepared<'_>, fitting: &Bits) -> Option<Policy> {
    let fleet = &world.cluster.fleet;
    let running = prepared.subject.running.as_ref().map(|running| running.node.as_str());
    let node = prepared.subject.source().or(running).and_then(|node| fleet.find(node));
    let at_home = |policy: &&Policy| lives_on(&policy.node_selector, node, fitting, fleet);
    policy::governing(world.policies.iter().filter(at_home), guest).cloned()
}
