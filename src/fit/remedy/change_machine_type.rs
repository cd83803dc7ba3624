//! Remedy: change the machine type, which takes effect at the next start.

use super::made_again::restarted;
use super::{Act, Action, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, change_template, replace_key};
use crate::fit::command::{CommandWord, Json, MachineType};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::placement::Placement;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeMachineType,
    word: "change-machine-type",
    outage: Outage::Restart,
    risk: "the guest sees other devices",
    changes: Changes::Template,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The change to another machine type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeMachineType {
    /// The current machine type.
    pub from: String,
    /// A machine type that more nodes offer.
    pub to: String,
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let fleet = judgement.fleet;
    // The machine types of another architecture start no disk of the guest's own.
    let start = judgement.subject.restart.as_ref().filter(|_| judgement.subject.chosen_architecture().is_none())?;
    let (key, value) = start.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::MachineType)?;
    let from = label::name(key);
    let mut without = start.placement.clone();
    without.selector.retain(|(k, _)| k != key);
    let could = fleet.look_up(&without).passes().fitting;
    let offering = fleet.bearing(key, value);
    let needs_a_node = judgement.needs_a_node();
    let offered_now = could.count_common(&offering);
    // A running guest needs a node other than its own; if a restart alone helps, the type is not the cause.
    let is_the_cause = if judgement.is_migration() {
        !judgement.restart_cures(start, judgement.targets_needed())
    } else {
        !needs_a_node || offered_now == 0
    };
    if !is_the_cause {
        return None;
    }
    let nodes_with = |name: &str| fleet.bearing(&format!("{}{name}", label::MACHINE_TYPE), "true").count_common(&could);
    let offered = of_architecture(fleet.offered(Family::MachineType, &could), architecture(&start.placement));
    let to = another(&offered, from, nodes_with)?;
    let count = nodes_with(to);
    if judgement.is_migration() && count <= offered_now {
        return None;
    }
    let action = Action::from(ChangeMachineType { from: from.to_owned(), to: to.to_owned() });
    if !needs_a_node {
        return judgement.tried(action);
    }
    let prospect = judgement.after_change(&action, count, judgement.targets_needed())?;
    Some(Remedy::new(action, prospect))
}

/// The machine types that KubeVirt allows by default, each with its versions: `DefaultAMD64EmulatedMachines`,
/// `DefaultAARCH64EmulatedMachines` and `DefaultS390XEmulatedMachines` of `pkg/virt-config/virt-config.go`.
const ALLOWED: [&str; 3] = ["q35", "virt", "s390-ccw-virtio"];

/// The architectures of [`ALLOWED`].
const ARCHITECTURES: [&str; 3] = ["amd64", "arm64", "s390x"];

/// Returns the architecture that a pod selects: of its node, or of the guests that its node can run.
fn architecture<'p>(placement: &'p Placement<'_>) -> Option<&'p str> {
    let of_guests = || placement.selector.iter().find_map(|(key, _)| key.strip_prefix(label::VM_ARCH));
    placement.get(label::ARCH).or_else(of_guests)
}

/// Returns the machine types without those of another architecture.
fn of_architecture<'n>(mut offered: Vec<&'n str>, architecture: Option<&str>) -> Vec<&'n str> {
    let others = ALLOWED.iter().zip(ARCHITECTURES).filter(|(_, of)| architecture.is_some_and(|own| own != *of));
    for (family, _) in others {
        offered.retain(|name| !is_version_of(name, family));
    }
    offered
}

/// Whether a machine type is this one or a version of it.
fn is_version_of(name: &str, family: &str) -> bool {
    let name = name.strip_prefix("pc-").filter(|rest| rest.starts_with("q35")).unwrap_or(name);
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Returns the replacement: the machine type of the same family that the most nodes offer; if no node offers one,
/// or KubeVirt does not allow the family by default, a type that it allows.
fn another<'n>(offered: &[&'n str], from: &str, nodes_with: impl Fn(&str) -> usize) -> Option<&'n str> {
    let best = |is: &dyn Fn(&str) -> bool| {
        let found = offered.iter().copied().filter(|name| *name != from && is(name));
        found.max_by_key(|name| (nodes_with(name), ALLOWED.contains(name), *name))
    };
    let family = ALLOWED.into_iter().find(|family| is_version_of(from, family));
    family
        .and_then(|family| best(&|name| is_version_of(name, family)))
        .or_else(|| best(&|name| ALLOWED.contains(&name)))
}

impl Act for ChangeMachineType {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let to = MachineType::new(&self.to)?;
        let edit = |field| vec!["set".into(), field, "to".into(), CommandWord::from(to.clone())];
        change_template(subject, &["domain", "machine", "type"], Json::Text(to.clone().into()), SPEC.outage, edit)
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        let key = format!("{}{}", label::MACHINE_TYPE, self.to);
        if let Some(start) = &mut subject.restart {
            replace_key(&mut start.placement, Family::MachineType, key.clone());
        }
        restarted(subject);
        replace_key(&mut subject.placement, Family::MachineType, key);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_machine_type_of_another_architecture_is_not_offered() {
        let all = || vec!["q35", "pc-q35-9.2", "virt", "virt-9.2", "s390-ccw-virtio"];
        assert_eq!(of_architecture(all(), Some("amd64")), ["q35", "pc-q35-9.2"], "its guest would not boot");
        assert_eq!(of_architecture(all(), Some("arm64")), ["virt", "virt-9.2"], "its guest would not boot");
        assert_eq!(of_architecture(all(), None), all(), "an architecture that is not known excludes nothing");
    }

    #[rstest]
    #[case::the_name_without_a_version("pc-q35-rhel8.6.0", &["pc-q35-rhel9.6.0", "q35"], Some("q35"))]
    #[case::a_version("q35", &["pc-q35-rhel9.6.0"], Some("pc-q35-rhel9.6.0"))]
    #[case::arm64_with_the_type_of_amd64("q35", &["virt", "virt-9.2"], Some("virt"))]
    #[case::i440fx_is_not_allowed_by_default("pc-i440fx-2.11", &["pc", "pc-i440fx-9.2", "q35"], Some("q35"))]
    #[case::s390x("s390-ccw-virtio-rhel8.6.0", &["s390-ccw-virtio"], Some("s390-ccw-virtio"))]
    #[case::what_it_has("q35", &["q35"], None)]
    #[case::nothing_that_kubevirt_allows("pc-q35-4.2", &["microvm", "pc"], None)]
    fn another_machine_type_is_one_that_kubevirt_allows(
        #[case] from: &str,
        #[case] offered: &[&str],
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(another(offered, from, |_| 1), expected, "KubeVirt refuses the VM, or a cure is not named");
    }
}
