//! The node on which libvirt refused the guest's CPU last: a remedy that opens no other node helps nothing, because the
//! guest keeps its CPU.

use super::{Action, RemedySpec};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::Stage;

/// Returns the node on which libvirt refused the running guest's CPU last; `None` if it is not known, or if libvirt
/// there takes that CPU now.
pub(super) fn refused_on<'j>(judgement: &'j Judgement<'_, '_>) -> Option<&'j str> {
    let failed = judgement.subject.failed.as_ref().filter(|failed| failed.is_of_cpu && !failed.target.is_empty())?;
    let agrees = judgement.subject.asked().is_some_and(|asked| asked.agrees(&failed.target));
    (judgement.is_migration() && !agrees).then_some(failed.target.as_str())
}

/// Returns the nodes without the one that refused the guest last, if others are left.
pub(super) fn without_it(judgement: &Judgement<'_, '_>, nodes: Vec<String>) -> Vec<String> {
    let Some(refused) = refused_on(judgement) else { return nodes };
    let others: Vec<String> = nodes.iter().filter(|node| *node != refused).cloned().collect();
    if others.is_empty() { nodes } else { others }
}

/// Whether the guest keeps its CPU, and the action opens no node but the one that refused it last.
pub(super) fn opens_it_alone(judgement: &Judgement<'_, '_>, action: &Action) -> bool {
    let Some(refused) = refused_on(judgement) else { return false };
    let (after, changed) = action.apply(judgement.subject, judgement.fleet);
    if !matches!(after.stage, Stage::Migration(_)) {
        return false;
    }
    let (fleet, source) = (judgement.fleet, after.source().unwrap_or_default().to_owned());
    let mut unchanged = after.fitting(fleet);
    changed.iter().filter_map(|node| fleet.find(&node.name)).for_each(|node| unchanged.remove(node));
    let changed: Vec<Node> = changed.into_iter().filter(|node| node.name != source).collect();
    let changed = Fleet::new(changed);
    let of_changed = after.fitting(&changed);
    let names = judgement.fleet.names(&unchanged).into_iter().chain(changed.names(&of_changed));
    let fits_now = |name: &str| fleet.find(name).is_some_and(|node| judgement.passes.fitting.contains(node));
    let mut opened = names.filter(|name| *name != source && !fits_now(name)).peekable();
    opened.peek().is_some() && opened.all(|name| name == refused)
}

/// Returns that node if it is why the remedy is not offered.
pub(super) fn is_why(judgement: &Judgement<'_, '_>, spec: &RemedySpec) -> Option<String> {
    let refused = refused_on(judgement)?;
    let remedy = judgement.within(|| (spec.offer)(judgement))?;
    opens_it_alone(judgement, &remedy.action).then(|| refused.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use crate::fit::judgement::Depth;
    use crate::fit::label;
    use crate::fit::node::Node;
    use crate::fit::remedy::{RemedyId, WhyNot};
    use crate::kubevirt::subject::of_running;
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, read, running, vmi};
    use crate::testing::fleet::{cascade_lake, cordon, feature};

    fn stop_virt_handler(node: &mut Node) {
        node.labels.insert(label::SCHEDULABLE.to_owned(), "false".to_owned());
    }

    fn lose_label(node: &mut Node) {
        node.labels.remove(&feature("fpu"));
    }

    const REFUSED: &str = "operation failed: guest CPU doesn't match specification: missing features: waitpkg";
    const OTHER: &str = "Live migration failed: timed out";

    /// `also`: whether a second node, on which nothing was tried, is hindered in the same way.
    #[rstest]
    fn a_node_where_libvirt_refused_the_guest_is_not_opened_for_it(
        #[values(RemedyId::Uncordon, RemedyId::FixVirtHandler, RemedyId::AddLabels)] id: RemedyId,
        #[values(REFUSED, OTHER)] reason: &str,
        #[values(false, true)] also: bool,
    ) {
        let hinder: fn(&mut Node) = match id {
            RemedyId::Uncordon => cordon,
            RemedyId::FixVirtHandler => stop_virt_handler,
            _ => lose_label,
        };
        let names = ["node-a", "node-b", "node-c"].into_iter().take(if also { 3 } else { 2 });
        let nodes: Vec<Node> = names
            .map(cascade_lake)
            .map(|node| {
                node.tweak(|node| {
                    node.labels.insert(feature("fpu"), "true".to_owned());
                    node.labels.insert(format!("{}fpu", label::HOST_MODEL_REQUIRED), "true".to_owned());
                    if node.name != "node-a" {
                        hinder(node);
                    }
                })
            })
            .collect();
        let guest = running("db", "node-a", "host-model").tweak(|db| {
            db["status"]["migrationState"] =
                json!({"failed": true, "completed": true, "targetNode": "node-b", "failureReason": reason});
        });
        let known = cluster("1.8.4", nodes, [vmi(guest.clone())]);
        let verdict = of_running(&read(guest), &known).expect("it runs").judge(&known, Depth::Full);
        let offered = verdict.findings.iter().flat_map(|finding| &finding.remedies);
        let offered = offered.map(|remedy| &remedy.action).find(|action| action.id() == id);
        let why = verdict.not_helping.iter().find(|not| not.id == id).map(|not| &not.why);
        if reason == REFUSED && !also {
            assert_eq!(offered, None, "people open a node to a guest that libvirt refuses there");
            let expected = WhyNot::RefusedThere { node: "node-b".to_owned() };
            assert_eq!(why, Some(&expected), "people do not see why the only node is not opened");
        } else {
            let action = offered.unwrap_or_else(|| panic!("{id:?} is left out though it may help: {why:?}"));
            let (_, changed) = action.apply(
                &of_running(&read(running("db", "node-a", "host-model")), &known).expect("it runs").subject,
                &known.fleet,
            );
            if reason == REFUSED {
                assert!(
                    changed.iter().all(|node| node.name == "node-c"),
                    "the node that refused is opened first: {action:?}"
                );
            }
        }
    }
}
