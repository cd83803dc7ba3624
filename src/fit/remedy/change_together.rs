//! Remedy: two changes of the guest, if neither helps alone.
//!
//! Two settings of one specification are rendered together beforehand ([`Subject::pairs`]): what one of them asks for the other may
//! ask for as well. Other changes are carried out one after the other, and the second is chosen for what the first leaves.

use super::restart::{labels_tell_after_restart, restarted};
use super::{
    Act, Action, Commands, DisableFeature, DropSetting, Outage, Remedy, RemedyId, RemedySpec, change_affinity,
    change_machine_type, change_selector, name_another, restart_commands, use_model,
};
use crate::fit::author::TypeReference;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::Family;
use crate::fit::node::Node;
use crate::fit::subject::{Setting, SettingChange, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeTogether,
    word: "change-together",
    outage: Outage::Restart,
    risk: "the guest is changed in two ways",
    offer,
    not_helping: |_| None,
};

/// Two changes, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTogether {
    /// The changes.
    pub parts: Vec<Action>,
}

impl ChangeTogether {
    /// Returns the instancetype or preference that both parts replace; `None` if they are not about one.
    pub(crate) fn of_one_type(&self) -> Option<&TypeReference> {
        let mut named = self.parts.iter().map(|part| setting_of(part).and_then(|(_, by)| by));
        let first = named.next()??;
        named.all(|other| other.is_some_and(|other| is_one(first, other))).then_some(first)
    }
}

fn is_one(one: &TypeReference, other: &TypeReference) -> bool {
    one.name == other.name && one.what() == other.what()
}

/// Returns the setting that an action changes, and the type that has it.
pub(crate) fn setting_of(action: &Action) -> Option<(Setting, Option<&TypeReference>)> {
    match action {
        Action::DropSetting(drop) => Some((drop.setting.clone(), drop.set_by.as_ref())),
        Action::DisableFeature(disable) => {
            Some((Setting::Forbidden(disable.features.clone()), disable.set_by.as_ref()))
        }
        _ => None,
    }
}

/// Returns the action that makes a change.
fn action_of(change: &SettingChange<'_>) -> Action {
    let set_by = change.set_by.clone();
    match &change.setting {
        Setting::Forbidden(features) => DisableFeature { features: features.clone(), set_by }.into(),
        setting => DropSetting { setting: setting.clone(), set_by }.into(),
    }
}

/// Sorts parts: the settings of a type first, because their command is a remark; then forbidden features, whose indices
/// move if another feature is removed.
fn order(action: &Action) -> (bool, bool) {
    let setting = setting_of(action);
    let is_own = setting.as_ref().is_some_and(|(_, by)| by.is_none());
    (is_own, !matches!(setting, Some((Setting::Forbidden(_), _))))
}

type Offer = fn(&Judgement<'_, '_>) -> Option<Remedy>;

/// The second changes, each with its rank: it follows changes of a lower rank.
const SECOND: [(usize, Offer); 4] =
    [(1, change_selector::offer), (2, change_affinity::offer), (3, change_machine_type::offer), (4, use_model::offer)];

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let subject = judgement.subject;
    // A restart with the CPU that it has leaves what libvirt refuses.
    if judgement.is_migration() && !labels_tell_after_restart(judgement) {
        return None;
    }
    let pairs = subject.pairs.iter().filter_map(|pair| {
        let [one, other] = pair.of.map(|at| subject.changes.get(at));
        let mut parts = vec![action_of(one?), action_of(other?)];
        parts.sort_by_key(order);
        Some(ChangeTogether { parts }.into())
    });
    let found = judgement.first_that_helps(pairs);
    let certain = |remedy: &Remedy| remedy.luck.is_none();
    if found.as_ref().is_some_and(certain) {
        return found.filter(|remedy| takes_both(judgement, remedy));
    }
    let settings = subject.changes.iter().map(|change| (0, action_of(change)));
    let others = [
        (1, change_selector::candidate(subject)),
        (2, change_affinity::candidate(subject)),
        (3, judgement.within(|| with_any_model(judgement))),
    ];
    let firsts = settings.chain(others.into_iter().filter_map(|(rank, action)| Some((rank, action?))));
    let both = firsts.flat_map(|(rank, first)| {
        let (after, _) = first.apply(subject, judgement.fleet);
        let judged = judgement.within(|| Some(Judgement::new(&after, judgement.fleet, judgement.effort)));
        let second = |offer: Offer| judgement.within(|| offer(judged.as_ref()?));
        let seconds: Vec<Action> = SECOND
            .into_iter()
            .filter(|(follows, _)| rank < *follows)
            .filter_map(|(_, offer)| Some(second(offer)?.action))
            .collect();
        seconds.into_iter().map(move |second| ChangeTogether { parts: vec![first.clone(), second] }.into())
    });
    let by_turns = judgement.first_that_helps(both);
    let found = by_turns.filter(certain).or(found);
    found.filter(|remedy| takes_both(judgement, remedy))
}

/// Returns the machine type that helps if the CPU model changes as well.
fn with_any_model(judgement: &Judgement<'_, '_>) -> Option<Action> {
    let mut free = judgement.subject.clone();
    let start = free.restart.as_mut()?;
    *start = start.with_model("any");
    start.placement.selector.retain(|(key, _)| Family::of(key) != Family::CpuModel);
    restarted(&mut free);
    let judged = Judgement::new(&free, judgement.fleet, judgement.effort);
    Some(change_machine_type::offer(&judged)?.action)
}

/// Whether no part alone is certain to help.
fn takes_both(judgement: &Judgement<'_, '_>, remedy: &Remedy) -> bool {
    let Action::ChangeTogether(both) = &remedy.action else { return false };
    let alone = |part: &Action| judgement.tried(part.clone()).is_some_and(|alone| alone.luck.is_none());
    !both.parts.iter().any(alone)
}

impl Act for ChangeTogether {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let types = self.parts.iter().filter_map(|part| setting_of(part).and_then(|(_, by)| by));
        if self.of_one_type().is_some() {
            return name_another(subject, &types.collect::<Vec<_>>());
        }
        let (restart, mut out) = (restart_commands(subject)?, Vec::new());
        let mut restarts = false;
        for part in &self.parts {
            let mut commands = part.act().commands(subject)?;
            // All begin to count with one restart.
            if commands.ends_with(&restart) {
                commands.truncate(commands.len() - restart.len());
                restarts = true;
            }
            out.extend(commands);
        }
        out.extend(restart.into_iter().filter(|_| restarts));
        Ok(out)
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let settings: Vec<_> = self.parts.iter().filter_map(setting_of).collect();
        if settings.len() == self.parts.len() {
            let is = |at: usize| {
                subject.changes.get(at).is_some_and(|change| {
                    settings.iter().any(|(setting, by)| change.setting == *setting && change.set_by.as_ref() == *by)
                })
            };
            let found = subject.pairs.iter().find(|pair| pair.of.iter().all(|at| is(*at)));
            if let Some(start) = found.map(|pair| pair.start.clone()) {
                subject.restart = Some(start);
                restarted(subject);
            }
            return Vec::new();
        }
        self.parts.iter().flat_map(|part| part.act().apply(subject, fleet)).collect()
    }
}
