//! The risk of a remedy for a guest, on the nodes as they are.

use std::borrow::Cow;

use super::{Action, Outage};
use crate::fit::fleet::Fleet;
use crate::fit::subject::{Stage, Subject};

impl Action {
    /// Returns the risk for the guest, in a few words. After a restart, libvirt requires of a target the optional
    /// features that it gave the guest at its start.
    #[must_use]
    pub fn risk(&self, subject: &Subject<'_>, fleet: &Fleet) -> Cow<'static, str> {
        const IS_BOUND: &str = "an optional feature binds it to the nodes that have it, if it starts on one";
        let own = self.own_risk(subject);
        match (self.is_bound_then(subject, fleet), own) {
            (false, own) => own.into(),
            (true, "none") => IS_BOUND.into(),
            (true, own) => format!("{own}; {IS_BOUND}").into(),
        }
    }

    /// Whether the guest starts otherwise after it, and some of the nodes where it may start then have an optional
    /// feature of it that others lack. A guest that does not run is only made again by a restart.
    fn is_bound_then(&self, subject: &Subject<'_>, fleet: &Fleet) -> bool {
        let is_made_again = matches!(self, Self::Restart(_)) && !subject.is_running();
        if is_made_again || self.id().spec().outage != Outage::Restart {
            return false;
        }
        let (after, changed) = self.apply(subject, fleet);
        if after.features.optional.is_empty() || !matches!(after.stage, Stage::Start(_)) {
            return false;
        }
        let changed = (!changed.is_empty()).then(|| fleet.with(changed));
        let fleet = changed.as_ref().unwrap_or(fleet);
        after.differs_in_optional(fleet, &after.fitting(fleet))
    }
}
