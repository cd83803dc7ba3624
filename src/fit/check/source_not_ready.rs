//! The node that the guest leaves is down, or may be: its virt-handler, which migrates the guest, does not run.
//!
//! Mirrors `migrateVMI` of `pkg/virt-handler/migration-source.go`: virt-handler of the source asks its launcher to
//! migrate.

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::fleet::NodeHealth;
use crate::fit::judgement::Judgement;
use crate::fit::outcome::Impact;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::SourceNotReady,
    word: "source-not-ready",
    reported: Reported::Always,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: true,
    doubt: Some(Doubt::VirtHandler),
    find,
};

/// The node that the guest leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNotReady {
    /// Its name.
    pub node: String,
    /// Its state, which is not well.
    pub health: NodeHealth,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let fleet = judgement.fleet;
    let Some(source) = judgement.source.filter(|_| judgement.is_judged()) else { return Vec::new() };
    let health = fleet.health(source);
    let found = SourceNotReady { node: fleet.name(source).to_owned(), health };
    let finding = Finding::note(Check::SourceNotReady, "", Detail::SourceNotReady(found));
    match health {
        NodeHealth::Well => Vec::new(),
        NodeHealth::NotReady | NodeHealth::Unschedulable => vec![finding],
        NodeHealth::Down => vec![Finding { impact: Some(Impact::Pinned), ..finding }],
    }
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
    use crate::say;
    use crate::testing::Tweak;
    use crate::testing::fleet::{cascade_lake, set};

    /// A virt-handler that is alive migrates the guest, also on a node that is not ready; a node that is ready may
    /// have none. One sign alone is a doubt, both are certain.
    #[rstest]
    #[case::down(true, "false", "STUCK")]
    #[case::heartbeat(true, "true", "FITS-BY-LABELS")]
    #[case::unschedulable(false, "false", "FITS-BY-LABELS")]
    #[case::ready(false, "true", "FITS")]
    fn a_guest_on_a_node_that_is_down_is_not_said_to_leave(
        #[case] not_ready: bool,
        #[case] schedulable: &str,
        #[case] expected: &str,
    ) {
        let own = cascade_lake("n1").tweak(|node| {
            node.not_ready = not_ready;
            set(node, label::SCHEDULABLE, schedulable);
        });
        let fleet = Fleet::new(vec![own, cascade_lake("n2"), cascade_lake("n3")]);
        let stage = Stage::Migration(Migration { source: Some("n1".into()), ..Migration::default() });
        let subject = Subject::new("shop", "db", stage, Placement::default());
        let verdict = Judgement::new(&subject, &fleet, Depth::Full).verdict();
        assert_eq!(say::state(&verdict, verdict.impact()).as_str(), expected, "{:?}", verdict.findings);
        assert_eq!(verdict.found(Check::SourceNotReady).is_some(), expected != "FITS", "the guest is said to fit");
        assert_eq!(verdict.immobile().is_some(), expected == "STUCK", "gates let it pass");
    }
}
