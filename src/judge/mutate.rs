//! The mutating stage: the changes that the webhook makes to an object, and the messages about them.

use std::collections::BTreeMap;

use json_patch::PatchOperation;

use super::Manifest;
use super::rules::Rules;
use crate::enforce::forecast::{self, ModelForecast};
use crate::enforce::model::common_model;
use crate::enforce::present_fields::PresentFields;
use crate::enforce::trim;
use crate::fit::judgement::Effort;
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::subject::Prepared;
use crate::kubevirt::wire::Vmim;
use crate::policy::{Exemption, Policy, UserName};
use crate::report::Reason;
use crate::world::World;

/// The changes of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mutation {
    /// The JSON Patch.
    pub patch: Vec<PatchOperation>,
    /// The warnings to the sender; all others are sent in the validating stage, which receives the result.
    pub warnings: Vec<String>,
    /// Reports about the guest.
    pub events: Vec<(Reason, String)>,
    /// Audit annotations, by key.
    pub audit: BTreeMap<String, String>,
}

/// Returns the webhook's changes of an object that a user creates. `read` reads the fields of a VMI that the
/// patch depends on.
///
/// # Errors
///
/// Returns the error of `read`.
pub(crate) fn mutation<E>(
    world: &World,
    manifest: &Manifest<'_>,
    user: &UserName,
    effort: Effort<'_>,
    read: impl FnOnce() -> Result<PresentFields, E>,
) -> Result<Mutation, E> {
    // Nearly all requests need no change, and this check finds them without a judgement.
    let concerns = match manifest {
        Manifest::Vmi(_) => world.policies.iter().any(|policy| policy.common_model.is_some()),
        Manifest::Pod(pod) => trim::concerns(world, pod),
        Manifest::VirtualMachine(_) | Manifest::Replicas(_) | Manifest::Migration(_) => false,
    };
    let Some(prepared) = concerns.then(|| manifest.subject(world)).flatten() else { return Ok(Mutation::default()) };
    let assessment = prepared.assess_within(&world.cluster, effort);
    let Rules { policy, facts, .. } = Rules::of(world, manifest, user, &prepared, &assessment.fitting);
    if facts.exemption.is_some_and(Exemption::is_entire) {
        return Ok(Mutation::default());
    }
    Ok(match manifest {
        Manifest::Vmi(vmi) => {
            let common = common_model(world, &policy, vmi, effort);
            let said = forecast::of_sent(world, &policy, vmi, &common);
            Mutation {
                patch: common.patch(&policy, &read()?.to_value()),
                events: said.map(|line| (Reason::ModelReplaced, line)).into_iter().collect(),
                ..Mutation::default()
            }
        }
        Manifest::Pod(pod) => {
            let trimmed = trim::trim(world, &policy, pod);
            let done = trimmed.done().into_iter().map(|line| (Reason::SelectorsDropped, line));
            let undone = trimmed.undone().map(|line| (Reason::SelectorsKept, line));
            Mutation {
                patch: trimmed.patch(pod),
                warnings: trimmed.sentences(),
                events: done.chain(undone).collect(),
                audit: trimmed.audit(),
            }
        }
        Manifest::VirtualMachine(_) | Manifest::Replicas(_) | Manifest::Migration(_) => Mutation::default(),
    })
}

/// Returns the effect of the common model on an object in the validating stage.
pub(super) fn outlook(
    world: &World,
    manifest: &Manifest<'_>,
    policy: &Policy,
    effort: Effort<'_>,
) -> Option<ModelForecast> {
    match manifest {
        Manifest::VirtualMachine(vm) => Some(forecast::of_vm(world, policy, vm, effort)),
        Manifest::Replicas(replicas) => Some(forecast::of_replicas(world, policy, replicas, effort)),
        Manifest::Vmi(vmi) => Some(forecast::of_vmi(world, policy, vmi, effort)),
        Manifest::Pod(_) | Manifest::Migration(_) => None,
    }
}

/// Removes from a migration that has not started the selector entries that will be dropped from its target.
/// Returns whether there are any. `asked` is the migration, if a user creates one.
pub(crate) fn apply_expected_trim(
    world: &World,
    policy: &Policy,
    prepared: &mut Prepared<'_>,
    asked: Option<&Vmim>,
) -> bool {
    let vmi = world.cluster.vmi(&prepared.subject.namespace, &prepared.subject.name);
    let Some(vmi) = vmi.filter(|_| prepared.not_judged.is_none()) else { return false };
    let trimmed = trim::predict(world, policy, vmi, asked, &prepared.subject.placement);
    let notes = trimmed.notes().into_iter();
    prepared.notes.extend(notes.map(|note| Finding::noted(Check::Assumed, "spec.vmiName", note)));
    trimmed.leave(&mut prepared.subject.placement);
    !trimmed.cuts.is_empty()
}

/// Returns the message of a forecast as a finding.
pub(super) fn finding(forecast: &ModelForecast) -> Option<Finding> {
    let (field, message) = match (&forecast.unmet, &forecast.message) {
        (Some(unmet), _) => (unmet.field.as_str(), &unmet.message),
        (None, Some(said)) => ("", said),
        (None, None) => return None,
    };
    Some(Finding::noted(Check::CommonModel, field, message))
}
