//! A model inherited from an earlier migration, on a node whose host model now has another name.
//!
//! A guest keeps the `cpu-model-migration` key of its first migration as long as it runs. A new libvirt may
//! give the hardware another name.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::StaleModel,
    word: "stale-model",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// An inherited model that the guest's own node no longer lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleModel {
    /// The model.
    pub model: String,
    /// The node that the guest runs on.
    pub node: String,
    /// The host model of that node now.
    pub now: String,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let inherited = matches!(&judgement.subject.stage, Stage::Migration(migration) if migration.inherited);
    let Some(source) = judgement.source.filter(|_| inherited && judgement.is_judged()) else {
        return Vec::new();
    };
    let fleet = judgement.fleet;
    let &[now] = fleet.names_under(source, Family::HostModelCpu).as_slice() else { return Vec::new() };
    let selector = judgement.subject.placement.selector.iter();
    let stale = selector.filter(|(key, value)| {
        Family::of(key) == Family::CpuModelMigration
            && label::name(key) != now
            && fleet.label(source, key) != Some(value)
            // Entries that this migration adds were not inherited.
            && !matches!(&judgement.subject.stage, Stage::Migration(migration) if migration.adds(key))
    });
    let found = stale.map(|(key, _)| StaleModel {
        model: label::name(key).to_owned(),
        node: fleet.name(source).to_owned(),
        now: now.to_owned(),
    });
    let finding = |found| {
        let field = judgement.subject.authors.mode.as_ref().map(|asked| asked.field.clone()).unwrap_or_default();
        Finding::note(Check::StaleModel, field, Detail::StaleModel(found))
    };
    found.map(finding).collect()
}
