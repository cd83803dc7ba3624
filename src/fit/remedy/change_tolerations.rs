//! Remedy: a toleration that matches a taint, where one of the guest's own nearly does.
//!
//! KubeVirt applies the change to a running guest if VMs are updated live: `handleTolerationsChangeRequest` of
//! `pkg/virt-controller/watch/vm/vm.go`, since 1.4.0.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::made_again::{is_made_again, restarted};
use super::{Act, Action, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, add_tolerations, keeps_cpu};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::{Node, Taint};
use crate::fit::placement::{Placement, Toleration};
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeTolerations,
    word: "change-tolerations",
    outage: Outage::None,
    risk: "the taint may be meant to keep it off",
    changes: Changes::Template,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: None,
};

/// Maximum number of sets of tolerations that are tried.
const MAX_SETS_TRIED: usize = 8;

/// The addition of tolerations to the guest's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTolerations {
    /// The tolerations, sorted.
    pub add: Vec<Toleration>,
    /// The guest's own tolerations that nearly match, in the same order.
    pub near: Vec<Toleration>,
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let mut sets: BTreeMap<Vec<(Toleration, Toleration)>, usize> = BTreeMap::new();
    for kept in judgement.kept_out().into_iter().filter(|kept| !kept.cordoned && !kept.unwell) {
        if let Some(set) = set_for(&kept.taints, judgement.subject) {
            *sets.entry(set).or_default() += 1;
        }
    }
    // Sets that open the most nodes are tried first.
    let mut sets: Vec<_> = sets.into_iter().collect();
    sets.sort_by_key(|(_, nodes)| Reverse(*nodes));
    sets.into_iter().take(MAX_SETS_TRIED).find_map(|(set, _)| {
        let (add, near) = set.into_iter().unzip();
        judgement.within(|| judgement.by_template(ChangeTolerations { add, near }.into()))
    })
}

/// Returns the tolerations for a node that is kept off by more than its taints, whether they help or not.
pub(super) fn candidate(judgement: &Judgement<'_, '_>) -> Option<Action> {
    let kept = judgement.kept_out().into_iter().map(|kept| kept.taints);
    let near = judgement.nearest().iter().map(|near| near.besides.taints.clone());
    let set = kept.chain(near).find_map(|taints| set_for(&taints, judgement.subject))?;
    let (add, near) = set.into_iter().unzip();
    Some(ChangeTolerations { add, near }.into())
}

/// Returns the tolerations for all taints of a node, each with the guest's own that nearly matches; `None` if one of
/// the taints has none, or is no person's.
fn set_for(taints: &[Taint], subject: &Subject<'_>) -> Option<Vec<(Toleration, Toleration)>> {
    let one = |taint: &Taint| {
        let near = subject.own_tolerations().near(taint).filter(|_| taint.is_for_choice())?;
        Some((near.corrected(taint), near.toleration))
    };
    let mut set: Vec<_> = taints.iter().map(one).collect::<Option<_>>()?;
    set.sort_unstable();
    set.dedup();
    (!set.is_empty()).then_some(set)
}

impl Act for ChangeTolerations {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        add_tolerations(subject, &self.add, Action::from(self.clone()).outage(subject))
    }

    fn risk(&self, subject: &Subject<'_>) -> Option<&'static str> {
        let risk =
            "the taint may be meant to keep it off, and it keeps the CPU of its node: libvirt may refuse it there";
        keeps_cpu(subject).then_some(risk)
    }

    /// Without a live update of VMs the change reaches a guest at its next start.
    fn outage(&self, subject: &Subject<'_>) -> Option<Outage> {
        (!subject.definition.live_tolerations).then_some(Outage::Restart)
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        let outage = Action::from(self.clone()).outage(subject);
        let with = |placement: &mut Placement<'_>| placement.tolerations = placement.tolerations.with(&self.add);
        with(&mut subject.placement);
        subject.restart.iter_mut().for_each(|start| with(&mut start.placement));
        if is_made_again(subject, outage) {
            restarted(subject);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fit::node::Effect::{self, NoExecute, NoSchedule};
    use crate::fit::placement::TolerationOperator::{self, Equal, Exists};
    use crate::fit::placement::Tolerations;

    fn toleration(key: &str, operator: TolerationOperator, value: &str, effect: Option<Effect>) -> Toleration {
        Toleration { key: key.into(), operator, value: value.into(), effect }
    }

    /// A toleration that differs in value, effect or the case of its key is named with what differs, and its correct
    /// text.
    #[rstest]
    #[case::value(toleration("dedicated", Equal, "vms", Some(NoSchedule)), "value", "dedicated=vm:NoSchedule")]
    #[case::value_of_any_effect(toleration("dedicated", Equal, "vms", None), "value", "dedicated=vm")]
    #[case::effect(toleration("dedicated", Equal, "vm", Some(NoExecute)), "effect", "dedicated=vm:NoSchedule")]
    #[case::effect_of_any_value(toleration("dedicated", Exists, "", Some(NoExecute)), "effect", "dedicated:NoSchedule")]
    #[case::key(toleration("Dedicated", Equal, "vm", Some(NoSchedule)), "key", "dedicated=vm:NoSchedule")]
    #[case::all(
        toleration("DEDICATED", Equal, "", Some(NoExecute)),
        "key, value and effect",
        "dedicated=vm:NoSchedule"
    )]
    fn a_near_toleration_is_named_with_what_differs(
        #[case] own: Toleration,
        #[case] differs: &str,
        #[case] corrected: &str,
    ) {
        let taint = Taint { key: "dedicated".into(), value: "vm".into(), effect: NoSchedule };
        let other = toleration("zone", Exists, "", None);
        let all: Tolerations = [own.clone(), other].into_iter().collect();
        let near = all.near(&taint).expect("it is near");
        assert_eq!(near.toleration, own, "another toleration is blamed");
        assert_eq!(near.differs_in(), differs, "people look for the fault in the wrong field");
        let right = near.corrected(&taint);
        assert_eq!(right.to_string(), corrected, "the text that is offered is wrong");
        assert!(all.with(&[right]).tolerates(&taint), "the text that is offered does not help");
    }

    #[rstest]
    #[case::another_key(toleration("gpu", Equal, "vm", Some(NoSchedule)))]
    #[case::none_of_a_key(toleration("", Equal, "vms", None))]
    fn a_dissimilar_toleration_is_not_named(#[case] own: Toleration) {
        let taint = Taint { key: "dedicated".into(), value: "vm".into(), effect: NoSchedule };
        let all: Tolerations = [own].into_iter().collect();
        assert_eq!(all.near(&taint), None, "a toleration of something else is blamed");
    }
}
