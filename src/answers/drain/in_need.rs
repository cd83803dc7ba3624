//! The guests of a node for which acts are searched: the stuck ones, those that may be stuck with some order of the
//! migrations, and those whose places others may take once an act frees these.

use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use super::forecast::Trouble;
use super::space::SizeIndex;
use crate::fit::bits::Bits;
use crate::kubevirt::wire::Vmi;

/// The guests of a node that are migrated or restarted, and those of them in need of acts.
pub(super) struct InNeed<'n, 'w> {
    residents: &'n Residents<'w>,
    evicted_guests: &'n [EvictedGuest<'w>],
    /// The guests that must leave, by index among those of the node.
    leaving: Vec<usize>,
    guests: Vec<usize>,
}

impl<'n, 'w> InNeed<'n, 'w> {
    pub(super) fn of(residents: &'n Residents<'w>, trouble: &'n Trouble<'_, 'w>) -> Self {
        let Trouble { evicted_guests, forecast, .. } = trouble;
        let leaving: Vec<usize> = (0..evicted_guests.len()).filter(|&at| evicted_guests[at].must_move()).collect();
        let mut out = Self { residents, evicted_guests, leaving, guests: Vec::new() };
        let outcomes = &forecast.outcomes;
        let is_in_need = |at: &usize| {
            let outcome = &outcomes[*at];
            outcome.place.is_none() || outcome.rivals.is_some() || out.may_take_all(*at, &outcome.targets)
        };
        out.guests = out.leaving.iter().copied().filter(is_in_need).collect();
        out
    }

    pub(super) fn guests(&self) -> &[usize] {
        &self.guests
    }

    fn vmi(&self, at: usize) -> &'w Vmi {
        self.evicted_guests[at].vmi
    }

    /// Whether the other guests that leave may take all of these places of a guest, wherever acts let them go; true
    /// without a place.
    pub(super) fn may_take_all(&self, at: usize, places: &Bits) -> bool {
        if places.is_empty() {
            return true;
        }
        if self.residents.is_free() {
            return false;
        }
        let others = || self.leaving.iter().copied().filter(|&other| other != at);
        let is_apart = others().any(|other| self.residents.are_apart(self.vmi(at), self.vmi(other)));
        // A guest that keeps others off its node, or takes its room, takes one place.
        if places.count() >= self.leaving.len() && (self.residents.is_by_host() || !is_apart) {
            return false;
        }
        let sizes: Vec<SizeIndex> = self.leaving.iter().filter_map(|&at| self.residents.size(self.vmi(at))).collect();
        is_apart || self.residents.space().crowded(places, &sizes).len() == places.count()
    }
}
