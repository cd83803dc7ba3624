//! Remedy: upgrade KubeVirt to the release that fixes the cause.
//!
//! - Capability labels: the labeller of KubeVirt 1.5.0 to 1.5.2 writes them without a value, and its virt-controller
//!   selects `true`; 1.5.3 writes `true`. Mirrors `prepareLabels` of
//!   `pkg/virt-handler/node-labeller/node_labeller.go` and `pkg/virt-controller/services/nodeselectorrenderer.go`.
//! - A stale model: until 1.6.3 a node has the `cpu-model-migration` label of its host model and of each model that it
//!   can run by name, so an inherited one is gone once libvirt gives the hardware another name. Since 1.6.4 it has that
//!   of each model that libvirt knows (`getKnownCpuModels` of `pkg/virt-handler/node-labeller/cpu_plugin.go`).

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit};
use crate::fit::command::{Command, CommandWord};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::UpgradeKubeVirt,
    word: "upgrade-kubevirt",
    outage: Outage::None,
    risk: "every guest keeps its old launcher until it migrates or restarts",
    changes: Changes::Cluster,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// An upgrade of KubeVirt to this release or a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeKubeVirt {
    /// The release.
    pub to: &'static str,
    /// The capability labels that get a value then, and the labels of models that return.
    pub keys: Vec<String>,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let mut to = None;
    let mut keys = Vec::new();
    // The release that gives models back their labels is the later one.
    let fixes = [
        (judgement.subject.configured.fixed_in, without_value as fn(&_) -> _),
        (judgement.subject.configured.known_models_in, stale_models),
    ];
    for (release, found) in fixes.into_iter().filter_map(|(release, find)| Some((release?, find(judgement)))) {
        if !found.is_empty() {
            to = Some(release);
            keys.extend::<Vec<String>>(found);
        }
    }
    judgement.tried(UpgradeKubeVirt { to: to?, keys })
}

/// Returns the required capability labels that nodes have without a value.
fn without_value(judgement: &Judgement<'_, '_>) -> Vec<String> {
    let selector = judgement.subject.placement.selector.iter();
    let asked = selector.filter(|(key, value)| label::is_capability(key) && value == "true");
    asked.filter(|(key, _)| !judgement.fleet.bearing(key, "").is_empty()).map(|(key, _)| key.to_string()).collect()
}

/// Returns the labels of inherited models that the guest's own node has no more, and that return.
fn stale_models(judgement: &Judgement<'_, '_>) -> Vec<String> {
    let Stage::Migration(migration) = &judgement.subject.stage else { return Vec::new() };
    let Some(source) = judgement.source.filter(|_| migration.inherited) else { return Vec::new() };
    let withheld = &judgement.subject.configured.withheld;
    let selector = judgement.subject.placement.selector.iter();
    let stale = selector.filter(|(key, value)| {
        Family::of(key) == Family::CpuModelMigration
            && judgement.fleet.label(source, key) != Some(value)
            && !migration.adds(key)
            && models::stays_known(label::name(key))
            && !withheld.contains(label::name(key))
    });
    stale.map(|(key, _)| key.to_string()).collect()
}

/// Whether a node gets the label of a model back and can run the guest for all that labels show: its host model is that
/// of the guest's node. Other nodes get the label too, and libvirt may refuse there, so they are not counted.
fn is_like_source(subject: &Subject<'_>, fleet: &Fleet, node: usize) -> bool {
    let host_models = |node| fleet.names_under(node, Family::HostModelCpu);
    let source = subject.source().and_then(|name| fleet.find(name));
    source.is_some_and(|source| !host_models(source).is_empty() && host_models(source) == host_models(node))
}

impl Act for UpgradeKubeVirt {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let what = [CommandWord::joined("upgrade KubeVirt to v", self.to), "or later".into()];
        Ok(vec![Command::remark(what)])
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let is_fixed = |node: usize, key: &str| match Family::of(key) {
            Family::CpuModelMigration => fleet.label(node, key).is_none() && is_like_source(subject, fleet, node),
            _ => fleet.label(node, key) == Some(""),
        };
        let labelled =
            |node: &usize| fleet.skip_node(*node).is_none() && self.keys.iter().any(|key| is_fixed(*node, key));
        let names: Vec<String> = (0..fleet.len()).filter(labelled).map(|node| fleet.name(node).to_owned()).collect();
        edit(fleet, &names, |node| {
            let Some(known) = fleet.find(&node.name) else { return };
            for key in self.keys.iter().filter(|key| is_fixed(known, key)) {
                node.labels.insert(key.clone(), "true".to_owned());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use crate::fit::judgement::Depth;
    use crate::fit::node::Node;
    use crate::fit::remedy::RemedyId;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::kubevirt::subject;
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, launcher, migration, read, running, vmi};
    use crate::testing::fleet::{feature, give, ice_lake, known, rome, skylake};

    const BEFORE: &str = "Icelake-Server";

    fn three() -> Vec<Node> {
        ["node-a", "node-b", "node-c"].map(ice_lake).into()
    }

    fn one_has_it() -> Vec<Node> {
        three().tweak(|nodes| give(&mut nodes[2], [known(BEFORE)]))
    }

    fn own_has_it() -> Vec<Node> {
        three().tweak(|nodes| give(&mut nodes[0], [known(BEFORE)]))
    }

    fn frozen() -> Vec<Node> {
        three().tweak(|nodes| nodes[2].skip_node = Some("true".to_owned()))
    }

    fn other_hardware() -> Vec<Node> {
        vec![ice_lake("node-a"), skylake("node-b"), rome("node-c")]
    }

    /// Icelake-Server was the host model of all nodes when the guest migrated first; now it is Icelake-Server-noTSX.
    #[rstest]
    #[case::the_first_with_such_labels("0.54.0", BEFORE, three(), json!({}), Some((2, 2)))]
    #[case::with_other_faults("1.5.2", BEFORE, three(), json!({}), Some((2, 2)))]
    #[case::the_last_without("1.6.3", BEFORE, three(), json!({}), Some((2, 2)))]
    #[case::the_first_that_labels_all("1.6.4", BEFORE, three(), json!({}), None)]
    #[case::the_newest("1.9.0", BEFORE, three(), json!({}), None)]
    #[case::one_target_is_left("1.6.3", BEFORE, one_has_it(), json!({}), Some((2, 2)))]
    #[case::a_frozen_node("1.6.3", BEFORE, frozen(), json!({}), Some((1, 1)))]
    #[case::its_own_node_has_it("1.6.3", BEFORE, own_has_it(), json!({}), None)]
    #[case::libvirt_refuses_elsewhere("1.6.3", BEFORE, other_hardware(), json!({}), None)]
    #[case::listed_as_obsolete("1.6.3", BEFORE, three(), json!({BEFORE: true}), None)]
    #[case::removed_by_qemu("1.6.3", "Icelake-Client", three(), json!({}), None)]
    #[case::a_version("1.6.3", "Icelake-Server-v1", three(), json!({}), None)]
    #[case::not_known("1.6.3", "Future-Server", three(), json!({}), None)]
    fn the_release_that_labels_all_known_models_is_named_where_it_helps(
        #[case] release: &str,
        #[case] model: &str,
        #[case] nodes: Vec<Node>,
        #[case] obsolete: Value,
        #[case] expected: Option<(usize, usize)>,
    ) {
        let guest = running("db", "node-a", "host-model");
        let kubevirt =
            json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": {"obsoleteCPUModels": obsolete}}});
        let objects = [
            launcher(&guest, [known(model), feature("fpu")]),
            vmi(guest),
            ClusterObject::KubeVirt(Box::new(read(kubevirt))),
        ];
        let cluster = cluster(release, nodes, objects);
        let prepared = subject::of_migration(&read(migration("db")), &cluster);
        let verdict = prepared.judge(&cluster, Depth::Full);
        let mut remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
        let found = remedies.find(|remedy| remedy.action.id() == RemedyId::UpgradeKubeVirt);
        assert_eq!(found.map(|remedy| remedy.then_fits), expected, "a person upgrades in vain, or restarts needlessly");
        let commands = found.map(|remedy| remedy.action.commands(&prepared.subject).lines());
        assert!(commands.is_none_or(|commands| commands == ["# upgrade KubeVirt to v1.6.4 or later"]));
    }
}
