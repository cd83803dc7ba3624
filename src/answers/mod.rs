//! Queries about the whole cluster: pure functions of the world.
//!
//! Queries about many guests judge equal guests once ([`Guests`]), and stop at their [`Deadline`]: their texts then
//! begin with "at least".

pub(crate) mod anti_affinity;
pub mod audit;
pub mod diff;
pub mod drain;
pub(crate) mod guest_state;
mod guests;
pub(crate) mod libvirt_plan;
pub(crate) mod missing_guests;
pub(crate) mod missing_launchers;
pub(crate) mod model_use;
pub(crate) mod obstacles;
pub(crate) mod pod_rules;
pub(crate) mod pool;
pub(crate) mod probe;
pub mod recommend;
pub(crate) mod refusals;
pub(crate) mod room;
pub(crate) mod scheduler;
mod space;
pub(crate) mod state;
pub mod status;
mod turns;
pub(crate) mod unanswered;
mod work;

use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::plural;
use crate::judge::{GuestOf, all_guests};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::{Meta, Vmi};
use crate::policy::{Policy, governing, is_exempt, lives_on};
use crate::world::World;

pub(crate) use guests::predict;
pub use guests::{Demand, Guests};
pub use turns::Elapsed;

/// A function that returns true once counting has to stop, because half of the request's time is used up.
pub type Deadline<'e> = &'e dyn Fn() -> bool;

/// Number of guests or nodes named in a line.
pub(crate) const NAMED: usize = 2;

/// The guests that a message is about: their number and the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedGuests {
    /// Number of them among the guests looked at.
    pub count: usize,
    /// The first few, as `namespace/name`.
    pub first: Vec<String>,
}

impl NamedGuests {
    /// Adds a guest.
    pub fn add(&mut self, title: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(title);
        }
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns `shop/db, shop/web and 12 more`.
    #[must_use]
    pub fn names(&self) -> String {
        let names = self.first.join(", ");
        match self.count - self.first.len() {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

/// The progress of a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountProgress {
    /// Number of guests looked at.
    pub at: usize,
    /// The total.
    pub of: usize,
    /// Number of guests looked at that are too large to judge.
    pub too_large: usize,
}

impl CountProgress {
    /// Starts a count of the guests of a cluster that have a VMI.
    pub(crate) fn none_of(cluster: &Cluster) -> Self {
        Self { of: cluster.vmis().count(), ..Self::default() }
    }

    /// Starts a count of all guests of a cluster, including stopped ones.
    pub(crate) fn none_of_all(cluster: &Cluster) -> Self {
        Self { of: all_guests(cluster).count(), ..Self::default() }
    }

    /// Counts a guest.
    pub(crate) fn guest(&mut self, guest: GuestOf<'_>) {
        self.step(guest.metadata());
    }

    /// Counts a guest that has a VMI.
    pub(crate) fn at(&mut self, vmi: &Vmi) {
        self.step(&vmi.metadata);
    }

    fn step(&mut self, metadata: &Meta) {
        self.at += 1;
        self.too_large += usize::from(metadata.excess.is_some());
    }

    /// Whether all guests were looked at.
    fn is_complete(self) -> bool {
        self.at >= self.of
    }

    /// Returns `14 guests`, or `at least 14 guests` if not all were looked at or could be judged.
    pub(crate) fn count(self, count: usize, noun: &str) -> String {
        let least = if self.is_complete() && self.too_large == 0 { "" } else { "at least " };
        format!("{least}{}", plural::counted(count, noun, &format!("{noun}s")))
    }

    /// Returns the note about a count that was broken off or that leaves guests out; `None` for a complete one.
    pub(crate) fn left_out(self) -> Option<String> {
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

/// Returns the policy that governs a guest of the cluster; `None` if no policy does, or if its namespace is exempt.
pub(crate) fn policy_of<'p>(
    world: &World,
    policies: impl IntoIterator<Item = &'p Policy>,
    vmi: &Vmi,
    runs_on: Option<NodeIndex>,
    fitting: &Bits,
) -> Option<&'p Policy> {
    let guest = world.guest_of(&vmi.metadata);
    if is_exempt(guest.namespace_labels) {
        return None;
    }
    let at_home = |policy: &&Policy| lives_on(&policy.node_selector, runs_on, fitting, &world.cluster.fleet);
    governing(policies.into_iter().filter(at_home), &guest)
}
