//! The remedies of one guest, with their commands, and the remedies that would not help.

use super::Explained;
use crate::cli::remedies::{WeighedRemedy, useless, weighed};
use crate::fit::plural;
use crate::fit::remedy::{Counted, Remedy};
use crate::page::Page;
use crate::say;

impl Explained<'_, '_> {
    pub(super) fn remedies(&self, page: &mut Page) {
        let subject = &self.case.prepared.subject;
        let (list, by_luck) = weighed(self.case, &self.room, &self.obstacles, self.fleet());
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
        for (at, WeighedRemedy { remedy, .. }) in list.iter().enumerate() {
            rows.push(vec![
                (at + 1).to_string(),
                say::remedy::summary(&remedy.action, subject),
                remedy.action.outage(subject).as_str().to_owned(),
                number(remedy),
                remedy.action.risk(subject, self.fleet()).into_owned(),
            ]);
        }
        if !list.is_empty() {
            page.table(&rows);
        }
        for (place, weighed) in list.iter().enumerate() {
            let remedy = &weighed.remedy;
            for (at, command) in remedy.action.commands(subject).lines().into_iter().enumerate() {
                let head = if at == 0 { (place + 1).to_string() } else { String::new() };
                page.line(format_args!("{head:<2} {command}"));
            }
            if let Some(undo) = remedy.action.undo() {
                page.line(format_args!("   # undo: {undo}"));
            }
            if let Some(comment) = weighed.comment() {
                page.line(comment);
            }
        }
        let rules = self.obstacles.rules_not_judged();
        if !list.is_empty() && !rules.is_empty() && self.case.verdict.assessment.fitting.is_empty() {
            page.line(format_args!("Where a remedy opens nodes, {}.", say::pod_rules::rules_not_judged(&rules)));
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
            for weighed in &by_luck {
                let remedy = &weighed.remedy;
                let Some(luck) = &remedy.luck else { continue };
                let (what, why) = (say::remedy::summary(&remedy.action, subject), say::remedy::luck(luck, subject));
                page.line(format_args!("-  {what}: {why} (then {} targets)", number(remedy)));
                page.line(format_args!("   # risk: {}", remedy.action.risk(subject, self.fleet())));
                if let Some(comment) = weighed.comment() {
                    page.line(comment);
                }
                for command in remedy.action.commands(subject).lines() {
                    page.line(format_args!("   {command}"));
                }
            }
        }
    }
}
