//! Change the machine type; takes effect at the next start.

use super::restart::anew;
use super::{Act, Action, Commands, Outage, Remedy, RemedyId, RemedySpec, change_template, replace_key};
use crate::fit::command::{CommandWord, Json, MachineType};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeMachineType,
    word: "change-machine-type",
    outage: Outage::Restart,
    risk: "the guest sees other devices",
    offer,
    not_helping: |_| None,
};

/// Set another machine type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeMachineType {
    /// What it asks for.
    pub from: String,
    /// A machine type that more nodes offer.
    pub to: String,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let fleet = judgement.fleet;
    let start = judgement.subject.restart.as_ref()?;
    let (key, value) = start.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::MachineType)?;
    let from = label::name(key);
    let mut without = start.placement.clone();
    without.selector.retain(|(k, _)| k != key);
    let could = fleet.look_up(&without).passes().fitting;
    let offering = fleet.bearing(key, value);
    let needs_a_node = judgement.needs_a_node();
    if needs_a_node && could.count_common(&offering) > 0 {
        return None;
    }
    let family = if from.contains("q35") { "q35" } else { from };
    let offers = fleet.offered(Family::MachineType, &could).into_iter().filter(|name| name.contains(family));
    let rank = |name: &&str| {
        let bearing = fleet.bearing(&format!("{}{name}", label::MACHINE_TYPE), "true");
        (bearing.count_common(&could), *name == family, (*name).to_owned())
    };
    let to = offers.max_by_key(rank)?;
    let count = rank(&to).0;
    let action = Action::from(ChangeMachineType { from: from.to_owned(), to: to.to_owned() });
    if !needs_a_node {
        return judgement.tried(action);
    }
    let then_fits = judgement.after_change(&action, count, judgement.enough())?;
    Some(Remedy { action, then_fits })
}

impl Act for ChangeMachineType {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let to = MachineType::new(&self.to)?;
        let by_hand = vec![CommandWord::joined("set spec.domain.machine.type to ", to.clone())];
        change_template(subject, &["domain", "machine", "type"], Json::Text(to.into()), SPEC.outage, by_hand)
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        anew(subject);
        replace_key(subject, Family::MachineType, format!("{}{}", label::MACHINE_TYPE, self.to));
        Vec::new()
    }
}
