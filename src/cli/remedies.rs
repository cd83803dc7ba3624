//! The remedies of one guest with the obstacles to them, and the remedies that would not help.

use super::room::FittingRoom;
use crate::answers::obstacles::{AfterRemedy, Obstacles};
use crate::fit::fleet::Fleet;
use crate::fit::remedy::{Action, Remedy, RemedyId};
use crate::fit::subject::Stage;
use crate::fit::verdict::Check;
use crate::judge::Evaluation;
use crate::say;

/// Returns the remedies that are known not to help, and why: because no node has room, else by labels.
pub(crate) fn useless(case: &Evaluation<'_>, room: &FittingRoom) -> Vec<(RemedyId, String)> {
    let of_room = room.useless(&case.prepared.subject);
    let is_of_room = |id: RemedyId| of_room.iter().any(|(known, _)| *known == id);
    let by_labels = case.verdict.not_helping.iter().filter(|not| !is_of_room(not.id));
    let by_labels: Vec<_> = by_labels.map(|not| (not.id, say::remedy::why_not(&not.why))).collect();
    of_room.into_iter().map(|(id, why)| (id, why.to_owned())).chain(by_labels).collect()
}

/// A remedy, with the obstacles on the nodes that it opens.
#[derive(Debug)]
pub(crate) struct WeighedRemedy {
    pub remedy: Remedy,
    /// Its action in the verdict.
    pub offered: Action,
    pub after: AfterRemedy,
}

/// Returns the remedies of a guest, those in vain last, and those that depend on luck. Of several nodes one of which is
/// enough, those with an obstacle are left out, if there are others.
pub(crate) fn weighed(
    case: &Evaluation<'_>,
    room: &FittingRoom,
    obstacles: &Obstacles<'_>,
    fleet: &Fleet,
) -> (Vec<WeighedRemedy>, Vec<WeighedRemedy>) {
    let verdict = &case.verdict;
    let is_resized = verdict.found(Check::RestartRequired).is_some();
    let is_open = |node: &String| fleet.find(node).is_some_and(|node| obstacles.on(node).is_empty());
    let may_help = |remedy: &&Remedy| room.may_help(&remedy.action);
    let weigh = |remedy: &Remedy| {
        let mut weighed = remedy.clone();
        weighed.action.prefer(is_open);
        WeighedRemedy {
            offered: remedy.action.clone(),
            after: obstacles.after(&weighed.action, &verdict.assessment.fitting, is_resized),
            remedy: weighed,
        }
    };
    let mut certain: Vec<WeighedRemedy> =
        verdict.findings.iter().flat_map(|finding| &finding.remedies).filter(may_help).map(weigh).collect();
    certain.sort_by_key(|weighed| weighed.after.is_in_vain);
    (certain, verdict.by_luck.iter().filter(may_help).map(weigh).collect())
}

/// Returns all remedies of a guest with the obstacles, also those that depend on luck.
pub(crate) fn all_weighed(
    case: &Evaluation<'_>,
    room: &FittingRoom,
    obstacles: &Obstacles<'_>,
    fleet: &Fleet,
) -> Vec<WeighedRemedy> {
    let (mut all, by_luck) = weighed(case, room, obstacles, fleet);
    all.extend(by_luck);
    all
}

/// Returns the obstacles to the remedy that a warning names, which is the first one of a finding: the webhook does not
/// know the room of nodes.
pub(crate) fn about_first(case: &Evaluation<'_>, all: &[WeighedRemedy]) -> Option<String> {
    let first = case.verdict.findings.iter().find_map(|finding| finding.remedies.first())?;
    let named = say::remedy::summary(&first.action, &case.prepared.subject);
    let Some(found) = all.iter().find(|weighed| weighed.offered == first.action) else {
        let is_migration = matches!(case.prepared.subject.stage, Stage::Migration(_));
        return Some(say::remedy::hindered(&named, &[say::room::useless(is_migration).to_owned()], true, None));
    };
    let AfterRemedy { in_the_way, is_in_vain } = &found.after;
    let better = all.iter().find(|weighed| *is_in_vain && !weighed.after.is_in_vain && weighed.remedy.luck.is_none());
    let better = better.map(|better| say::remedy::summary(&better.offered, &case.prepared.subject));
    (!in_the_way.is_empty()).then(|| say::remedy::hindered(&named, in_the_way, *is_in_vain, better.as_deref()))
}

impl WeighedRemedy {
    /// Returns the obstacles as a comment beside the commands.
    pub(crate) fn comment(&self) -> Option<String> {
        let AfterRemedy { in_the_way, is_in_vain } = &self.after;
        let does = if *is_in_vain { "does not help now: then" } else { "then" };
        (!in_the_way.is_empty()).then(|| format!("   # {does} {}", in_the_way.join("; ")))
    }
}
