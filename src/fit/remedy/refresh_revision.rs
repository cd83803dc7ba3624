//! Remedy: let a VM take its instancetype or preference as it is now, instead of the ControllerRevision that it is
//! pinned to.
//!
//! Mirrors `syncStatusWithMatcher` of `pkg/instancetype/revision/store.go` (KubeVirt 1.5 and later): virt-controller
//! stores a new revision once neither `revisionName` nor the reference in the status names one. Up to KubeVirt 1.4
//! (`storeInstancetypeRevision` of `pkg/instancetype/instancetype.go`) the specification alone names it.

use super::made_again::restarted;
use super::specification::{patch, stored_template};
use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, restart_commands};
use crate::fit::command::{Command, CommandWord, Json, Name, Namespace};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::{Pinned, Subject, Template};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::RefreshRevision,
    word: "refresh-revision",
    outage: Outage::Restart,
    risk: "whatever else has changed in it reaches the guest too",
    changes: Changes::Template,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The removal of a VM's references to these `ControllerRevisions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRevision {
    /// The references.
    pub pinned: Vec<Pinned>,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    // The VM of a pool is made of the pool's template, which no command for a VM changes.
    let is_of_vm = judgement.subject.definition.template == Some(Template::VirtualMachine);
    let refreshes = judgement.subject.refreshes.iter().filter(|_| is_of_vm);
    judgement.first_that_helps(refreshes.map(|refresh| RefreshRevision { pinned: refresh.pinned.clone() }.into()))
}

/// Returns the patch that removes the reference in the VM's status.
fn patch_status(subject: &Subject<'_>, pinned: &Pinned) -> Commands {
    let patch = Command::kubectl(["patch", "vm"]).arg(Name::new(&subject.name)?);
    let patch = patch.namespace(Namespace::new(&subject.namespace)?);
    let cleared = Json::Null.below(&["status", pinned.of.status_field(), "controllerRevisionRef"]);
    Ok(vec![patch.args(["--subresource=status", "--type", "merge", "-p"]).arg(cleared)])
}

impl Act for RefreshRevision {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let stored = stored_template(subject).filter(|template| *template == Template::VirtualMachine);
        let Some(template) = stored else {
            let remark = |pinned: &Pinned| {
                let field = CommandWord::joined("spec.", pinned.of.field());
                let spec = ["in the manifest take revisionName out of".into(), field];
                let field = CommandWord::joined("status.", pinned.of.status_field());
                let status = ["in the cluster take controllerRevisionRef out of".into(), field, "of the VM".into()];
                let spec = pinned.in_spec.then(|| Command::remark(spec));
                spec.into_iter().chain(pinned.in_status.then(|| Command::remark(status)))
            };
            return Ok(self.pinned.iter().flat_map(remark).collect());
        };
        let mut out = Vec::new();
        for pinned in &self.pinned {
            if pinned.in_spec {
                let cleared = Json::Null.below(&["spec", pinned.of.field(), "revisionName"]);
                out.push(patch(template, subject)?.args(["--type", "merge", "-p"]).arg(cleared));
            }
            // The specification first: virt-controller writes its revision into the status.
            if pinned.in_status {
                out.extend(patch_status(subject, pinned)?);
            }
        }
        if subject.has_vmi() {
            out.extend(restart_commands(subject)?);
        }
        Ok(out)
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        let found = subject.refreshes.iter().find(|refresh| refresh.pinned == self.pinned);
        if let Some(start) = found.map(|refresh| refresh.start.clone()) {
            subject.restart = Some(start);
            restarted(subject);
        }
        Vec::new()
    }
}
