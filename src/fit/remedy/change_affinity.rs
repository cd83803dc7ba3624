//! Remedy: remove the guest's own required node affinity.
//!
//! KubeVirt applies the change to a running guest if VMs are updated live: `handleAffinityChangeRequest` of
//! `pkg/virt-controller/watch/vm/vm.go`.

use super::made_again::{is_made_again, restarted};
use super::{
    Act, Action, Changes, Commands, ELSEWHERE_WITH_CPU, Outage, Remedy, RemedyId, RemedySpec, change_template,
    keeps_cpu,
};
use crate::fit::author::{Author, Holder};
use crate::fit::command::Json;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::placement::{Affinity, Expression, NodeSelector, Placement, Term};
use crate::fit::subject::{Subject, Template};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeAffinity,
    word: "change-node-affinity",
    outage: Outage::None,
    risk: "it may run where it was not meant to",
    changes: Changes::Template,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The path below the guest's spec.
pub(super) const PATH: [&str; 3] = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];

/// The removal of the required node affinity from the guest's own specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeAffinity;

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    judgement.by_template(candidate(judgement.subject)?)
}

/// The change, where there is something of the guest's own to take out, whether it helps or not.
pub(super) fn candidate(subject: &Subject<'_>) -> Option<Action> {
    let Some(Author::Field { of, .. }) = subject.authors.affinity.as_ref().map(|asked| &asked.author) else {
        return None;
    };
    // An affinity that the template no longer has cannot be removed from it.
    let is_gone =
        *of == Holder::VirtualMachineInstance && subject.definition.template == Some(Template::VirtualMachine);
    (!is_gone && has_own(subject)).then(|| ChangeAffinity.into())
}

/// Whether the required node affinity has more conditions than KubeVirt adds.
fn has_own(subject: &Subject<'_>) -> bool {
    let is_added = |rule: &Expression| subject.authors.rules.contains_key(rule);
    let Some(affinity) = &subject.placement.affinity else { return false };
    // KubeVirt adds no empty terms.
    let is_own = |term: &Term| term.is_empty() || !term.names.is_empty() || !term.expressions.iter().all(is_added);
    affinity.terms.is_empty() || affinity.terms.iter().any(is_own)
}

/// Returns the required node affinity that remains: the conditions that KubeVirt adds.
fn left(subject: &Subject<'_>) -> Option<Affinity> {
    let expressions: Vec<Expression> = subject.authors.rules.keys().cloned().collect();
    let term = Term { expressions, names: Vec::new() };
    (!term.is_empty()).then(|| NodeSelector { terms: vec![term] }.into())
}

impl Act for ChangeAffinity {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let edit = |field| vec!["take".into(), field, "out".into()];
        change_template(subject, &PATH, Json::Null, Action::from(*self).outage(subject), edit)
    }

    fn risk(&self, subject: &Subject<'_>) -> Option<&'static str> {
        keeps_cpu(subject).then_some(ELSEWHERE_WITH_CPU)
    }

    /// Without a live update of VMs the change reaches a guest at its next start.
    fn outage(&self, subject: &Subject<'_>) -> Option<Outage> {
        (!subject.definition.live_update).then_some(Outage::Restart)
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        let outage = Action::from(*self).outage(subject);
        let affinity = left(subject);
        let without = |placement: &mut Placement<'_>| placement.affinity.clone_from(&affinity);
        without(&mut subject.placement);
        subject.restart.iter_mut().for_each(|start| without(&mut start.placement));
        if is_made_again(subject, outage) {
            restarted(subject);
        }
        Vec::new()
    }
}
