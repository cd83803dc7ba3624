//! Remedy: drop a setting whose requirements too few nodes meet: a CPU feature, a Hyper-V setting, dedicated
//! CPUs. A setting of an instancetype or preference is changed by naming another one: KubeVirt refuses a VM
//! that repeats a setting of its instancetype (`pkg/instancetype/conflict`).

use super::made_again::restarted;
use super::{
    Act, Action, Changes, Commands, Outage, Prospect, Remedy, RemedyId, RemedySpec, change_affinity, change_features,
    change_template, name_another,
};
use crate::fit::author::TypeReference;
use crate::fit::command::Json;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::libvirt::Incompatible;
use crate::fit::node::Node;
use crate::fit::subject::{Setting, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::DropSetting,
    word: "drop-setting",
    outage: Outage::Restart,
    risk: "the guest misses what it asked for",
    changes: Changes::Template,
    remakes_target: false,
    gives_room: true,
    offer,
    not_helping: None,
};

/// The removal of a setting of the guest, or the choice of another instancetype or preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropSetting {
    /// The setting.
    pub setting: Setting,
    /// The instancetype or preference that has the setting.
    pub set_by: Option<TypeReference>,
}

/// Proposes the first change that helps; smaller changes are tried first.
fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let changes = judgement.subject.changes.iter();
    // A machine type that a preference sets is changed in the guest's own specification.
    let drops = changes.filter(|change| !matches!(change.setting, Setting::Forbidden(_) | Setting::MachineType(_)));
    judgement.first_that_helps(drops.map(|change| {
        let (setting, set_by) = (change.setting.clone(), change.set_by.clone());
        Action::from(DropSetting { setting, set_by })
    }))
}

/// Returns the change with which KubeVirt accepts the guest and some node takes it.
pub(in crate::fit) fn ends_refusal(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let mut changes = judgement.subject.changes.iter().filter(|change| change.ends_refusal);
    changes.find_map(|change| {
        let nodes = judgement.outlook(&change.start).1.count();
        let (setting, set_by) = (change.setting.clone(), change.set_by.clone());
        (nodes > 0).then(|| Remedy::new(DropSetting { setting, set_by }, Prospect::exactly(nodes)))
    })
}

/// Returns the drop of features of the guest's own that gives up all for which libvirt refused it, and leaves a target
/// from every start node.
pub(super) fn giving_up(judgement: &Judgement<'_, '_>, why: &Incompatible) -> Option<Remedy> {
    let of_features = judgement.subject.changes.iter().filter(|change| matches!(change.setting, Setting::Features(_)));
    let mut helping = of_features.filter(|change| judgement.subject.gives_up(&change.start, why));
    helping.find_map(|change| {
        let prospect = judgement.after_restart(&change.start, 1).filter(|prospect| prospect.luck.is_none())?;
        let (setting, set_by) = (change.setting.clone(), change.set_by.clone());
        Some(Remedy::new(DropSetting { setting, set_by }, prospect))
    })
}

/// Applies a change of settings to the guest and restarts it.
pub(super) fn changed(subject: &mut Subject<'_>, setting: &Setting, set_by: Option<&TypeReference>) {
    let found = subject.changes.iter().find(|change| change.setting == *setting && change.set_by.as_ref() == set_by);
    if let Some((start, ends_refusal)) = found.map(|change| (change.start.clone(), change.ends_refusal)) {
        subject.is_refused &= !ends_refusal;
        subject.restart = Some(start);
        restarted(subject);
    }
}

/// Returns the commands that take a field out of the guest's own specification.
fn take_out(subject: &Subject<'_>, below: &[&'static str]) -> Commands {
    let edit = |field| vec!["take".into(), field, "out".into()];
    change_template(subject, below, Json::Null, SPEC.outage, edit)
}

impl Act for DropSetting {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        if let Some(named) = &self.set_by {
            return name_another(subject, &[named]);
        }
        match &self.setting {
            Setting::Features(features) => change_features(subject, features, None),
            Setting::HyperV(name) => take_out(subject, &["domain", "features", "hyperv", name]),
            Setting::DedicatedCpus => {
                // KubeVirt refuses fields that depend on it without it; removing absent fields changes
                // nothing.
                let with_it = ["dedicatedCpuPlacement", "isolateEmulatorThread", "numa", "realtime"];
                let nulls = with_it.map(|field| (field.into(), Json::Null)).to_vec();
                let edit = |field| vec!["take dedicatedCpuPlacement, and what depends on it, out of".into(), field];
                change_template(subject, &["domain", "cpu"], Json::Object(nulls), SPEC.outage, edit)
            }
            Setting::Model(_) => take_out(subject, &["domain", "cpu", "model"]),
            Setting::Numa => take_out(subject, &["domain", "cpu", "numa"]),
            Setting::Realtime => take_out(subject, &["domain", "cpu", "realtime"]),
            Setting::NodeSelector => take_out(subject, &["nodeSelector"]),
            Setting::NodeAffinity => take_out(subject, &change_affinity::PATH),
            Setting::MachineType(_) => take_out(subject, &["domain", "machine"]),
            // Another remedy changes these in the guest's own specification.
            Setting::Forbidden(_) => Ok(Vec::new()),
        }
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        changed(subject, &self.setting, self.set_by.as_ref());
        Vec::new()
    }
}
