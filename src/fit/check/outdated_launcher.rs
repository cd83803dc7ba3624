//! The launcher is outdated (`kubevirt.io/outdatedLauncherImage`): the next migration crosses QEMU versions.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::OutdatedLauncher,
    word: "outdated-launcher",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.subject.outdated_launcher && judgement.is_migration() {
        vec![Finding::note(Check::OutdatedLauncher, "", Detail::OutdatedLauncher)]
    } else {
        Vec::new()
    }
}
