//! Remedies that depend on the start node, and those of several changes: each claim holds on each start node.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::promises::situation;
use crate::fit::assess::targets_by_start;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Judgement, assess};
use crate::fit::remedy::{Action, Luck, Remedy, RemedyId};
use crate::fit::subject::{Stage, Subject};
use crate::fit::verdict::{Impact, Outcome, Verdict};
use crate::testing::at_least;
use crate::testing::thorough::one_in;

/// By name, where it may start, and to how many nodes it could go from there.
fn starts(subject: &Subject<'_>, fleet: &Fleet) -> BTreeMap<String, usize> {
    let Stage::Start(after_start) = subject.stage else { return BTreeMap::new() };
    let fitting = assess(subject, fleet).fitting;
    let by_count = targets_by_start(subject, &subject.placement, after_start, &fitting, fleet);
    let names = |(count, nodes): (usize, crate::fit::bits::Bits)| {
        fleet.names(&nodes).into_iter().map(|name| (name.to_owned(), count)).collect::<Vec<_>>()
    };
    by_count.into_iter().flat_map(names).collect()
}

/// How many targets make a guest better off that is as bad off as this.
fn enough(outcome: &Outcome) -> usize {
    if outcome.impact() == Some(Impact::Fragile) { 2 } else { 1 }
}

fn carried_out(action: &Action, subject: &Subject<'_>, fleet: &Fleet) -> BTreeMap<String, usize> {
    let (after, changed) = action.apply(subject, fleet);
    starts(&after, &fleet.with(changed))
}

fn verify_luck(remedy: &Remedy, subject: &Subject<'_>, fleet: &Fleet, verdict: &Verdict) -> Result<(), String> {
    let Remedy { action, then_fits: (least, most), luck: Some(Luck { stuck_on, no_better_on }) } = remedy else {
        return Err(format!("what is certain is said to depend on luck: {remedy:?}"));
    };
    let (enough, found) = (enough(&verdict.assessment.outcome), carried_out(action, subject, fleet));
    let where_it = |is: &dyn Fn(usize) -> bool| -> BTreeSet<&String> {
        found.iter().filter(|(_, count)| is(**count)).map(|(name, _)| name).collect()
    };
    let said = [stuck_on, no_better_on].map(|names| names.iter().collect::<BTreeSet<_>>());
    if said != [where_it(&|count| count == 0), where_it(&|count| count > 0 && count < enough)] {
        return Err(format!("started on another node than those named it is as bad off: {remedy:?}, {found:?}"));
    }
    if where_it(&|count| count >= enough).is_empty() || stuck_on.len() + no_better_on.len() == 0 {
        return Err(format!("it does not depend on the node: {remedy:?}, {found:?}"));
    }
    if found.values().any(|count| count < least || count > most) {
        return Err(format!("fewer or more nodes fit than was said: {remedy:?}, {found:?}"));
    }
    let now: BTreeMap<String, usize> = starts(subject, fleet);
    if now.values().any(|count| *count >= enough) {
        return Err(format!("by luck it is well off as it is: {remedy:?}, {now:?}"));
    }
    Ok(())
}

/// No part of it, and no two of three, are enough, by the outcome that is judged once it is done alone.
fn verify_together(action: &Action, subject: &Subject<'_>, fleet: &Fleet, verdict: &Verdict) -> Result<(), String> {
    let Action::ChangeTogether(both) = action else { return Ok(()) };
    let badness = |outcome: &Outcome| outcome.impact().map_or(0, |impact| 1 + impact as usize);
    for less in both.fewer() {
        let (after, changed) = less.apply(subject, fleet);
        let alone = assess(&after, &fleet.with(changed)).outcome;
        if badness(&alone) < badness(&verdict.assessment.outcome) {
            return Err(format!("more is changed than it takes: {less:?} of {action:?}"));
        }
    }
    Ok(())
}

#[test]
fn remedies_by_start_node_and_remedies_of_several_changes_are_found() {
    let config = Config { cases: 6_000 / one_in() as u32, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let times = RefCell::new(BTreeMap::<RemedyId, usize>::new());
    let ids = [
        RemedyId::Restart,
        RemedyId::ChangeSelector,
        RemedyId::ChangeAffinity,
        RemedyId::UseModel,
        RemedyId::DisableFeature,
        RemedyId::DropSetting,
        RemedyId::ChangeMachineType,
        RemedyId::ChangeTogether,
        RemedyId::RemoveTscLabel,
    ];
    let outcome = runner.run(&select(ids.to_vec()).prop_flat_map(situation), |situation| {
        let (fleet, subject) = situation.build();
        let verdict = Judgement::new(&subject, &fleet, Depth::Full).verdict();
        for remedy in &verdict.by_luck {
            *times.borrow_mut().entry(remedy.action.id()).or_default() += 1;
            verify_luck(remedy, &subject, &fleet, &verdict).map_err(TestCaseError::fail)?;
        }
        for remedy in verdict.findings.iter().flat_map(|finding| &finding.remedies) {
            verify_together(&remedy.action, &subject, &fleet, &verdict).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let times = times.into_inner();
    for id in [RemedyId::Restart, RemedyId::ChangeSelector, RemedyId::ChangeAffinity, RemedyId::DropSetting] {
        let times = times.get(&id).copied().unwrap_or(0);
        assert!(times >= at_least(5), "{id:?} helped by luck {times} times: too few to trust it");
    }
}
