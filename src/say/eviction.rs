//! Words for the effect of the eviction of a guest's launcher.

use super::finding::{condition, undecided};
use super::not_started::start_failed;
use crate::fit::shown::Shown;
use crate::fit::subject::NotStarted;
use crate::kubevirt::eviction::Held;
use crate::kubevirt::migration::NotEvacuated;
use crate::kubevirt::subject;

/// Returns why KubeVirt does not migrate a guest.
pub(crate) fn not_evacuated(why: NotEvacuated<'_>) -> String {
    match why {
        NotEvacuated::Refused(found) => condition(&subject::refusal(found)),
        NotEvacuated::Undecided(status) => undecided(status),
    }
}

/// Returns why no migration of a guest begins yet, by its phase and KubeVirt's report.
pub(crate) fn not_running(phase: &str, reported: Option<&NotStarted>) -> String {
    let state = match phase {
        "" => "it does not run yet".to_owned(),
        "Unknown" => "its phase is Unknown: its node does not report".to_owned(),
        phase => format!("it does not run yet (phase {})", Shown::within(phase, 20)),
    };
    let reported = reported.map(|why| format!(": {}", start_failed(why))).unwrap_or_default();
    format!("{state}{reported}; KubeVirt migrates it once it is Running, and what that asks for is not known")
}

/// Returns `evictionStrategy X is not one that KubeVirt migrates for`.
pub(crate) fn unknown_strategy(stated: &str) -> String {
    format!("evictionStrategy {} is not one that KubeVirt migrates for", Shown::within(stated, 40))
}

/// Returns why the API server refuses the eviction of a guest that it would shut down.
pub(crate) fn held(held: Held<'_>) -> String {
    match held {
        Held::Budget(budget) => format!(
            "PodDisruptionBudget {}/{} allows no disruption now: its eviction is refused until it does, and then it is shut down",
            budget.namespace, budget.name
        ),
        Held::TwoBudgets(one, two) => format!(
            "PodDisruptionBudgets {} and {} both protect it: the API server evicts no pod that two protect",
            one.name, two.name
        ),
    }
}
