//! The guests of one drained node: the nodes that other pods close to each of them. They are computed once, because a
//! search judges the same guests again and again.

use std::collections::HashMap;

use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use crate::fit::bits::Bits;
use crate::kubevirt::wire::Vmi;

/// The nodes that pods close to the guests of a drained node, while each pod is where it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Fellows {
    /// By guest, the nodes that all pods except these guests close to it, if there are any.
    by_others: HashMap<usize, Bits>,
    /// By guest, each of these guests that closes nodes to it, itself included, with these nodes.
    by_each: Vec<Vec<(usize, Bits)>>,
}

impl Fellows {
    pub(super) fn of(residents: &Residents<'_>, evicted_guests: &[&EvictedGuest<'_>]) -> Self {
        if !residents.keep_apart() {
            return Self::default();
        }
        let vmis: Vec<&Vmi> = evicted_guests.iter().map(|evicted| evicted.vmi).collect();
        let by_each = |(own, near): (usize, Vec<usize>)| {
            let closed = |other: usize| Some((other, residents.closes_now(vmis[own], vmis[other])?));
            near.into_iter().chain([own]).filter_map(closed).collect()
        };
        let by_each = residents.near(&vmis).into_iter().enumerate().map(by_each).collect();
        Self { by_others: residents.kept_off_by_others(&vmis), by_each }
    }

    /// Removes the nodes that other pods close to a guest once some of its fellows are gone. Its own launcher runs
    /// until the target of its migration does; it has ended when a guest that was restarted starts (`by_restart`).
    pub(super) fn keep_to_open(&self, nodes: &mut Bits, own: usize, by_restart: bool, is_gone: impl Fn(usize) -> bool) {
        self.by_others.get(&own).into_iter().for_each(|closed| nodes.subtract(closed));
        for (other, closed) in self.by_each.get(own).into_iter().flatten() {
            let is_gone = if *other == own { by_restart } else { is_gone(*other) };
            if !is_gone {
                nodes.subtract(closed);
            }
        }
    }
}
