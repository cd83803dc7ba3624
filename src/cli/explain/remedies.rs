//! The remedies of one guest, with their commands, and the remedies that would not help.

use super::Explained;
use super::room::FittingRoom;
use crate::fit::remedy::{Counted, Remedy, RemedyId};
use crate::judge::Evaluation;
use crate::page::Page;
use crate::say::{self, plural};

/// Returns the remedies that are known not to help, and why: because no node has room, else by labels.
pub(crate) fn useless(case: &Evaluation<'_>, room: &FittingRoom) -> Vec<(RemedyId, String)> {
    let of_room = room.useless(&case.judged.subject);
    let is_of_room = |id: RemedyId| of_room.iter().any(|(known, _)| known.as_str() == id.as_str());
    let by_labels = case.verdict.not_helping.iter().filter(|not| !is_of_room(not.id));
    let by_labels: Vec<_> = by_labels.map(|not| (not.id, say::remedy::why_not(&not.why))).collect();
    of_room.into_iter().map(|(id, why)| (id, why.to_owned())).chain(by_labels).collect()
}

impl Explained<'_, '_> {
    pub(super) fn remedies(&self, page: &mut Page) {
        let subject = &self.case.judged.subject;
        let list: Vec<&Remedy> = self.remedy_list().collect();
        let by_luck = self.case.verdict.by_luck.iter().filter(|remedy| self.room.may_help(&remedy.action));
        let by_luck: Vec<&Remedy> = by_luck.collect();
        let counted = Counted::of(subject, &self.case.verdict.assessment);
        let number = |remedy: &Remedy| {
            let total = remedy.action.nodes_judged_after(subject, self.fleet(), counted);
            format!("{} of {total}", plural::range(remedy.then_fits))
        };
        let then = match counted {
            Counted::StartNodes => "THEN STARTS ON",
            Counted::Targets => "THEN TARGETS",
        };
        let mut rows = self.head(&["#", "REMEDY", "OUTAGE", then, "RISK"]);
        for (at, remedy) in list.iter().enumerate() {
            rows.push(vec![
                (at + 1).to_string(),
                say::remedy::summary(&remedy.action, subject),
                remedy.action.outage(subject).as_str().to_owned(),
                number(remedy),
                remedy.action.risk(subject).to_owned(),
            ]);
        }
        if !list.is_empty() {
            page.table(&rows);
        }
        for (place, remedy) in list.iter().enumerate() {
            for (at, command) in remedy.action.commands(subject).lines().into_iter().enumerate() {
                let head = if at == 0 { (place + 1).to_string() } else { String::new() };
                page.line(format_args!("{head:<2} {command}"));
            }
            if let Some(undo) = remedy.action.undo() {
                page.line(format_args!("   # undo: {undo}"));
            }
        }
        let useless = useless(self.case, &self.room);
        if !useless.is_empty() {
            page.line("Would not help here:");
            // Remedies with the same reason share a line.
            let mut by_reason: Vec<(String, Vec<&str>)> = Vec::new();
            for (id, why) in useless {
                let title = say::remedy::title(id, subject);
                match by_reason.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, titles)) => titles.push(title),
                    None => by_reason.push((why, vec![title])),
                }
            }
            for (why, titles) in by_reason {
                page.line(format_args!("-  {}: {why}", titles.join(", ")));
            }
        }
        if !by_luck.is_empty() {
            page.line("May help; it depends on the node that the scheduler chooses:");
            for (remedy, luck) in by_luck.into_iter().filter_map(|remedy| Some((remedy, remedy.luck.as_ref()?))) {
                let (what, why) = (say::remedy::summary(&remedy.action, subject), say::remedy::luck(luck, subject));
                page.line(format_args!("-  {what}: {why} (then {} targets)", number(remedy)));
                page.line(format_args!("   # risk: {}", remedy.action.risk(subject)));
                for command in remedy.action.commands(subject).lines() {
                    page.line(format_args!("   {command}"));
                }
            }
        }
    }
}
