//! Remedy: upgrade KubeVirt to the release that fixes the cause: the labeller of KubeVirt 1.5.0 to 1.5.2
//! writes capability labels without a value, and its virt-controller selects `true`; 1.5.3 writes `true`.
//!
//! Mirrors `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go` and
//! `pkg/virt-controller/services/nodeselectorrenderer.go` of these releases.

use super::{Act, Commands, Outage, Remedy, RemedyId, RemedySpec, edit};
use crate::fit::command::{Command, CommandWord};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::UpgradeKubeVirt,
    word: "upgrade-kubevirt",
    outage: Outage::None,
    risk: "every guest keeps its old launcher until it migrates or restarts",
    offer,
    not_helping: |_| None,
};

/// An upgrade of KubeVirt to this release or a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeKubeVirt {
    /// The release.
    pub to: &'static str,
    /// The capability labels that get a value then.
    pub keys: Vec<String>,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let to = judgement.subject.configured.fixed_in?;
    let selector = judgement.subject.placement.selector.iter();
    let asked = selector.filter(|(key, value)| label::is_capability(key) && value == "true");
    let keys: Vec<String> =
        asked.filter(|(key, _)| !judgement.fleet.bearing(key, "").is_empty()).map(|(key, _)| key.to_string()).collect();
    if keys.is_empty() { None } else { judgement.tried(UpgradeKubeVirt { to, keys }) }
}

impl Act for UpgradeKubeVirt {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let what = [CommandWord::joined("upgrade KubeVirt to v", self.to), "or later".into()];
        Ok(vec![Command::remark(what)])
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let is_bare = |node: &usize| self.keys.iter().any(|key| fleet.label(*node, key) == Some(""));
        let labelled = |node: &usize| is_bare(node) && fleet.skip_node(*node).is_none();
        let names: Vec<String> = (0..fleet.len()).filter(labelled).map(|node| fleet.name(node).to_owned()).collect();
        edit(fleet, &names, |node| {
            for key in &self.keys {
                if let Some(value) = node.labels.get_mut(key).filter(|value| value.is_empty()) {
                    "true".clone_into(value);
                }
            }
        })
    }
}
