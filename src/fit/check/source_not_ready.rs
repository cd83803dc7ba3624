//! The node that the guest leaves is down: its virt-handler, which migrates the guest, does not run.
//!
//! Mirrors `migrateVMI` of `pkg/virt-handler/migration-source.go`: virt-handler of the source tells its launcher to
//! migrate.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::SourceNotReady,
    word: "source-not-ready",
    always_reported: true,
    applies_to_launcher_pods: true,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let fleet = judgement.fleet;
    let down = judgement.source.filter(|source| judgement.is_judged() && fleet.is_down(*source));
    let finding = |node| Finding::note(Check::SourceNotReady, "", Detail::SourceNotReady(fleet.name(node).to_owned()));
    down.map(finding).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fit::fleet::Fleet;
    use crate::fit::judgement::Depth;
    use crate::fit::label;
    use crate::fit::placement::Placement;
    use crate::fit::subject::{Migration, Stage, Subject};
    use crate::testing::Tweak;
    use crate::testing::fleet::{cascade_lake, set};

    /// A virt-handler that is alive migrates the guest, also on a node that is not ready.
    #[rstest]
    #[case::down(true, "false", true)]
    #[case::heartbeat(true, "true", false)]
    #[case::ready(false, "false", false)]
    fn a_guest_on_a_node_that_is_down_is_not_said_to_leave(
        #[case] not_ready: bool,
        #[case] schedulable: &str,
        #[case] expected: bool,
    ) {
        let own = cascade_lake("n1").tweak(|node| {
            node.not_ready = not_ready;
            set(node, label::SCHEDULABLE, schedulable);
        });
        let fleet = Fleet::new(vec![own, cascade_lake("n2"), cascade_lake("n3")]);
        let stage = Stage::Migration(Migration { source: Some("n1".into()), ..Migration::default() });
        let subject = Subject::new("shop", "db", stage, Placement::default());
        let verdict = Judgement::new(&subject, &fleet, Depth::Full).verdict();
        assert_eq!(verdict.found(Check::SourceNotReady).is_some(), expected, "{:?}", verdict.findings);
        assert_eq!(verdict.is_in_doubt(), expected, "the guest is said to fit");
    }
}
