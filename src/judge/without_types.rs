//! A guest whose instancetype or preference is not known: what is certain of it, whatever that object holds.
//!
//! KubeVirt takes a VirtualMachine that names an object which does not exist, since 1.6 (`ApplyToVM` of
//! `pkg/instancetype/webhooks/vm/admitter.go`), and starts it once the object exists. So a name alone must not avoid a
//! policy.

use super::Manifest;
use super::governed::Governed;
use super::rules::{Rules, possible};
use crate::enforce::forecast::{self, ModelForecast};
use crate::enforce::model::keeps;
use crate::fit::bits::Bits;
use crate::fit::judgement::Effort;
use crate::fit::verdict::{Check, Finding, Impact};
use crate::kubevirt::subject::Prepared;
use crate::kubevirt::wire::VirtualMachine;
use crate::policy::{Policy, RequestFacts, UserName, rule};
use crate::say;
use crate::world::World;

impl<'a> Governed<'a> {
    /// Denies a guest of which an object is not known by what is certain, and by nothing else:
    ///
    /// - no node meets the CPU labels that its template asks for, and `enforce` reaches this impact: the object can
    ///   only add requirements;
    /// - it does not use the common model, which the object cannot change.
    pub(super) fn judge_without_types(
        &mut self,
        world: &World,
        manifest: &Manifest<'a>,
        user: &UserName,
        effort: Effort<'_>,
    ) {
        let is_enforced = world.policies.iter().any(Policy::denies_guests);
        let Some(vm) = manifest.template().filter(|_| is_enforced) else { return };
        let Some(least) = manifest.least(&world.cluster, |_| false) else { return };
        let fitting = least.assess_within(&world.cluster, effort).fitting;
        let forecast = certain_model(world, manifest, vm, &possible(world, manifest, user, &least, &fitting), effort);
        if let Some((least, rules)) = unschedulable(world, manifest, user, effort) {
            (self.prepared, self.rules, self.forecast) = (least, rules, forecast);
        } else if forecast.is_some() {
            self.rules = Rules::of(world, manifest, user, &least, &fitting);
            if self.prepared.not_judged.is_none() {
                // Only the CPU mode is certain.
                let words = "its instancetype or its preference is not known";
                let not_judged = Some(Finding::noted(Check::Unknown, "", words));
                self.prepared = Prepared { not_judged, ..least };
            }
            self.forecast = forecast;
        } else if let Some(forecast) = &mut self.forecast
            && let Some(unmet) = forecast.unmet.take_if(|_| self.prepared.not_judged.is_some())
        {
            forecast.message = Some(say::by_policy(&unmet.message, &self.rules.policy.name));
        }
    }
}

/// Returns the guest and its rules if no node meets the CPU labels that its template asks for, and its policy denies it
/// for that.
fn unschedulable<'a>(
    world: &World,
    manifest: &Manifest<'a>,
    user: &UserName,
    effort: Effort<'_>,
) -> Option<(Prepared<'a>, Rules)> {
    let none = Bits::none(world.cluster.fleet.len());
    let any = manifest.least(&world.cluster, |_| false)?;
    let Rules { policy, .. } = Rules::of(world, manifest, user, &any, &none);
    let least = manifest.least(&world.cluster, |mode| keeps(&policy, mode))?;
    let assessment = least.assess_within(&world.cluster, effort);
    let rules = Rules::of(world, manifest, user, &least, &none);
    let facts = RequestFacts { exemption: None, ..rules.facts };
    let is_certain = assessment.outcome.impact() == Some(Impact::Unschedulable);
    let is_denied = is_certain && rule(&rules.policy, facts, &assessment, false).denies();
    is_denied.then_some((least, rules))
}

/// Returns the result for the common model if each of these policies denies the guest for its CPU model, whatever the
/// object that is not known holds.
fn certain_model(
    world: &World,
    manifest: &Manifest<'_>,
    vm: &VirtualMachine,
    policies: &[Policy],
    effort: Effort<'_>,
) -> Option<ModelForecast> {
    let by = |policy| forecast::certain(world, policy, vm, effort).filter(|forecast| forecast.unmet.is_some());
    let (first, others) = policies.split_first()?;
    let mut forecast = by(first).filter(|_| others.iter().all(|policy| by(policy).is_some()))?;
    if let (Some(unmet), Manifest::Replicas(replicas)) = (&mut forecast.unmet, manifest) {
        unmet.field = replicas.kind.field(&unmet.field);
    }
    Some(forecast)
}
