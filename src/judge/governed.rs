//! An object with all inputs of its ruling: its subject, the policy that governs it, and the effect of the
//! common model on it.
//!
//! The webhook, `check` and `explain` make messages from it; the audit, the status of policies and the
//! warnings about a policy count rulings. All of them use it, so their rulings agree.

use super::rules::Rules;
use super::{Manifest, mutate};
use crate::enforce::forecast::{self, ModelForecast};
use crate::fit::judgement::Effort;
use crate::fit::verdict::{Assessment, Check, Finding};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::release::{Release, ReleaseKnown};
use crate::kubevirt::subject::{self, Prepared};
use crate::policy::{self, Dial, Exemption, RequestFacts, Ruling, UserName};
use crate::say;
use crate::world::World;

/// An object that is ready for judgement.
#[derive(Debug)]
pub(crate) struct Governed<'a> {
    /// The guest after the changes: with the common model, and without the selector entries that a policy
    /// drops.
    pub(crate) prepared: Prepared<'a>,
    /// The policy of the request, and the other facts.
    pub(crate) rules: Rules,
    /// The effect of the common model on it; `None` for a pod and for a migration.
    pub(crate) forecast: Option<ModelForecast>,
}

impl<'a> Governed<'a> {
    /// Prepares an object; `None` if there is nothing to judge.
    pub(super) fn of(world: &World, manifest: &Manifest<'a>, user: &UserName, effort: Effort<'_>) -> Option<Self> {
        let prepared = manifest.subject(world)?;
        let assessment = prepared.assess_within(&world.cluster, effort);
        Some(Self::new(world, manifest, user, prepared, &assessment, effort))
    }

    /// Prepares an object whose subject and assessment are known.
    pub(crate) fn new(
        world: &World,
        manifest: &Manifest<'a>,
        user: &UserName,
        mut prepared: Prepared<'a>,
        assessment: &Assessment,
        effort: Effort<'_>,
    ) -> Self {
        let cluster = &world.cluster;
        let of_namespace = namespace_note(cluster, &prepared.subject.namespace);
        prepared.notes.extend(of_namespace.clone());
        let rules = Rules::of(world, manifest, user, &prepared, &assessment.fitting);
        if let Manifest::Migration(vmim) = manifest {
            mutate::apply_expected_trim(world, &rules.policy, &mut prepared, Some(vmim));
        }
        if let Manifest::Pod(pod) = manifest {
            prepared.subject.authors = subject::authors_of_pod(pod, cluster);
            // The migration of a launcher that runs already has its own.
            if prepared.predicted.is_none() {
                subject::set_added(&mut prepared.subject);
            }
            prepared.subject.definition.under_own = subject::under_own_of_pod(pod, cluster);
            subject::add_restart(&mut prepared.subject, pod, cluster);
        }
        forecast::apply_at_restart(world, &rules.policy, &mut prepared.subject, effort);
        let mut forecast = mutate::outlook(world, manifest, &rules.policy, effort);
        if let Some(replacement) = forecast.as_mut().and_then(|forecast| forecast.replacement.take()) {
            let origin = prepared.subject.definition.origin;
            prepared = replacement;
            prepared.subject.definition.origin = origin;
            prepared.notes.extend(of_namespace);
        }
        prepared.notes.extend(forecast.as_ref().and_then(mutate::finding));
        let mut ready = Self { prepared, rules, forecast };
        ready.judge_without_types(world, manifest, user, effort);
        if !ready.rules.facts.is_guess {
            ready.rules.facts.is_guess = ready.hinges_on_release(world, manifest, user, effort);
        }
        ready
    }

    /// Whether its policy denies it by the rules of an assumed release, and would not by those of another release that
    /// the cluster may have, or may not by those of a release that is not known.
    fn hinges_on_release(&self, world: &World, manifest: &Manifest<'a>, user: &UserName, effort: Effort<'_>) -> bool {
        let possible = world.cluster.release.possible();
        let is_beyond_known = world.cluster.release.release().is_beyond_known();
        if possible.is_empty() && !is_beyond_known || !self.may_deny() || !self.denies(world, effort) {
            return false;
        }
        if is_beyond_known {
            return true;
        }
        let denies_by = |release: &Release| {
            let mut other = world.clone();
            other.cluster.release = ReleaseKnown::Observed(*release);
            Self::of(&other, manifest, user, effort).is_none_or(|ready| ready.denies(&other, effort))
        };
        let current = world.cluster.release.release();
        !possible.iter().filter(|release| **release != current).all(denies_by)
    }

    /// Whether its policy can deny requests of this kind.
    fn may_deny(&self) -> bool {
        self.rules.facts.kind.is_deniable() && (self.rules.policy.enforce != Dial::Off || self.is_unmet())
    }

    /// Whether its policy denies it, exemptions aside.
    fn denies(&self, world: &World, effort: Effort<'_>) -> bool {
        let facts = RequestFacts { exemption: None, ..self.rules.facts };
        let assessment = self.prepared.assess_within(&world.cluster, effort);
        policy::rule(&self.rules.policy, facts, &assessment, self.is_unmet()).denies()
    }

    /// Sets this exemption, unless the request already has one.
    pub(super) fn exempted_by(mut self, why: Exemption) -> Self {
        self.rules.facts.exemption = self.rules.facts.exemption.or(Some(why));
        self
    }

    /// Whether its policy denies it because of its CPU model.
    pub(crate) fn is_unmet(&self) -> bool {
        self.forecast.as_ref().is_some_and(|forecast| forecast.unmet.is_some())
    }

    /// Returns its policy's ruling on an assessment.
    pub(crate) fn ruling(&self, assessment: &Assessment) -> Ruling {
        policy::rule(&self.rules.policy, self.rules.facts, assessment, self.is_unmet())
    }
}

/// Returns the note about a namespace whose labels were not all read.
fn namespace_note(cluster: &Cluster, namespace: &str) -> Option<Finding> {
    let excess = cluster.namespace_excess(namespace)?;
    Some(Finding::noted(Check::Assumed, "metadata.namespace", say::unread_namespace(excess)))
}
