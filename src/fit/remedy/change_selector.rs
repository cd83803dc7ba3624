//! Remedy: change entries of the guest's own `spec.nodeSelector`.

use std::collections::BTreeSet;

use super::made_again::{is_made_again, restarted};
use super::{
    Act, Action, Changes, Commands, ELSEWHERE_WITH_CPU, Outage, Remedy, RemedyId, RemedySpec, change_template,
    drop_keys, keeps_cpu, listed,
};
use crate::fit::command::{CommandWord, Json, LabelKey};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::subject::{CpuMode, Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeSelector,
    word: "change-node-selector",
    outage: Outage::None,
    risk: "it may run where it was not meant to",
    changes: Changes::Template,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The removal of these keys from the guest's node selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSelector {
    /// The keys.
    pub keys: Vec<String>,
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let all = candidate(judgement.subject)?;
    let Action::ChangeSelector(ChangeSelector { keys }) = &all else { return None };
    // Where no node meets the entries of the CPU, no other entry is the only cause.
    if judgement.passes.cpu.is_empty() && !keys.iter().any(|key| Family::of(key).is_cpu()) {
        return None;
    }
    let one = |key: &String| {
        let alone = judgement.within(|| judgement.by_template(ChangeSelector { keys: vec![key.clone()] }.into()));
        alone.filter(|remedy| remedy.luck.is_none())
    };
    let first = if (2..=MAX_KEYS_TRIED).contains(&keys.len()) { keys.iter().find_map(one) } else { None };
    first.or_else(|| judgement.by_template(all.clone()))
}

/// Maximum number of keys that are tried one by one.
const MAX_KEYS_TRIED: usize = 8;

/// Returns the removal of all entries that a person can change, whether it helps or not.
pub(super) fn candidate(subject: &Subject<'_>) -> Option<Action> {
    // KubeVirt copies these from the guest's current launcher, regardless of the guest's spec.
    let copies = matches!(subject.stage, Stage::Migration(_)) && subject.mode == CpuMode::HostModel;
    let is_inherited = |key: &str| copies && label::is_inherited(key);
    let definition = &subject.definition;
    let kept = [&definition.dropped_from_vm, &definition.not_of_template];
    let is_of_template = |key: &String| kept.iter().all(|keys| keys.binary_search(key).is_err());
    let keys: Vec<String> = definition
        .own_selector
        .iter()
        .map(|(key, _)| key.clone())
        .filter(|key| subject.placement.get(key).is_some_and(|value| subject.value_without_own(key) != Some(value)))
        .filter(|key| !is_inherited(key) && is_of_template(key))
        .collect();
    (!keys.is_empty()).then(|| ChangeSelector { keys }.into())
}

impl Act for ChangeSelector {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let keys = self.keys.iter().map(|key| LabelKey::new(key)).collect::<Result<Vec<_>, _>>()?;
        let nulls = keys.iter().map(|key| (key.clone().into(), Json::Null)).collect();
        let outage = Action::from(self.clone()).outage(subject);
        change_template(subject, &["nodeSelector"], Json::Object(nulls), outage, |field| {
            let keys = listed(keys.into_iter().map(CommandWord::from));
            [vec!["take".into()], keys, vec!["out of".into(), field]].concat()
        })
    }

    fn risk(&self, subject: &Subject<'_>) -> Option<&'static str> {
        keeps_cpu(subject).then_some(ELSEWHERE_WITH_CPU)
    }

    /// Without a live update of VMs the change reaches a guest at its next start.
    fn outage(&self, subject: &Subject<'_>) -> Option<Outage> {
        (!subject.definition.live_update).then_some(Outage::Restart)
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let outage = Action::from(self.clone()).outage(subject);
        drop_keys(subject, fleet, &self.keys);
        let dropped: BTreeSet<&str> = self.keys.iter().map(String::as_str).collect();
        let is_dropped = |key: &str| dropped.contains(key);
        if let Some(mut start) = subject.restart.take() {
            start.placement.selector.retain(|(key, _)| !is_dropped(key));
            start.own_models.retain(|key| !is_dropped(key) || subject.value_without_own(key).is_some());
            subject.restart = Some(start);
        }
        for (key, value) in subject.definition.under_own.iter().filter(|(key, _)| is_dropped(key)) {
            let placements =
                subject.restart.iter_mut().map(|start| &mut start.placement).chain([&mut subject.placement]);
            placements.for_each(|placement| placement.selector.insert(key.clone(), value.clone()));
        }
        if let Stage::Migration(migration) = &mut subject.stage {
            let overridden = std::mem::take(&mut migration.overridden);
            let (back, still): (Vec<_>, Vec<_>) = overridden.into_iter().partition(|(key, _)| is_dropped(key));
            migration.overridden = still;
            for (key, value) in back {
                subject.placement.selector.insert(key.clone(), value.clone());
                migration.added.push((key, value));
            }
            migration.added.sort_unstable();
        }
        if is_made_again(subject, outage) {
            restarted(subject);
        }
        Vec::new()
    }
}
