//! The requirements of a preference that a guest does not meet.
//!
//! Mirrors `Check` of `pkg/instancetype/preference/requirements/checker.go`, until 1.4 `CheckPreferenceRequirements` of
//! `pkg/instancetype/instancetype.go`, which virt-api calls when a VirtualMachine is created or changed
//! (`VMsAdmitter.Admit`), since 1.0.0.

use super::Guest;
use super::topology::{self, Counted};
use crate::fit::plural::counted;
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::verdict::{Check, Detail, Finding};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::{InstancetypeSpec, PreferenceSpec, Quantity};

/// Returns a note for each requirement that is not met. `guest`: with what its instancetype adds.
pub(super) fn unmet(
    guest: &Guest,
    instancetype: Option<&InstancetypeSpec>,
    preference: &PreferenceSpec,
    cluster: &Cluster,
) -> Vec<Finding> {
    let release = cluster.release.release();
    if !release.checks_requirements() {
        return Vec::new();
    }
    let found = [
        cpu(guest, instancetype, preference),
        memory(guest, instancetype, preference),
        architecture(guest, preference, cluster).filter(|_| release.reads_preferred_architecture()),
    ];
    let name = Shown::within(guest.preference.as_ref().map_or("", |matcher| &matcher.name), TITLE_CHARS).to_string();
    let note = |(field, why): (&'static str, String)| {
        let why = format!("preference {name} requires {why}");
        Finding::note(Check::Contradiction, field.to_owned(), Detail::Refused(why))
    };
    found.into_iter().flatten().map(note).collect()
}

const INSTANCETYPE: &str = "spec.instancetype";

/// Mirrors `checkCPU` of `cpu.go`.
fn cpu(
    guest: &Guest,
    instancetype: Option<&InstancetypeSpec>,
    preference: &PreferenceSpec,
) -> Option<(&'static str, String)> {
    let least = preference.requirements.cpu.as_ref()?.guest;
    let required = counted(least as usize, "virtual CPU", "virtual CPUs");
    if let Some(instancetype) = instancetype {
        let has = instancetype.cpu.guest;
        return (has < least).then(|| (INSTANCETYPE, format!("{required}, and its instancetype has {has}")));
    }
    let (sockets, cores, threads) = topology::with_defaults(&guest.spec);
    let product = |counts: &[u32]| counts.iter().fold(1_u32, |all, count| all.wrapping_mul(*count));
    let (has, of, field) = match topology::preferred(Some(preference)) {
        Counted::Sockets => (sockets, "sockets", "spec.template.spec.domain.cpu.sockets"),
        Counted::Cores => (cores, "cores", "spec.template.spec.domain.cpu.cores"),
        Counted::Threads => (threads, "threads", "spec.template.spec.domain.cpu.threads"),
        Counted::SocketsCores => (product(&[sockets, cores]), "sockets and cores", CPU),
        Counted::CoresThreads => (product(&[cores, threads]), "cores and threads", CPU),
        Counted::All | Counted::SocketsCoresThreads => {
            (product(&[sockets, cores, threads]), "sockets, cores and threads", CPU)
        }
        Counted::Unknown => return None,
    };
    (has < least).then(|| (field, format!("{required} as {of}, and the guest has {has}")))
}

const CPU: &str = "spec.template.spec.domain.cpu";

/// Mirrors `checkMemory` of `memory.go`.
fn memory(
    guest: &Guest,
    instancetype: Option<&InstancetypeSpec>,
    preference: &PreferenceSpec,
) -> Option<(&'static str, String)> {
    let least = &preference.requirements.memory.as_ref()?.guest;
    let has = topology::memory(&guest.spec);
    let amount = has.as_ref().map_or(Some(0), Quantity::thousandths)?;
    let field = if instancetype.is_some() { INSTANCETYPE } else { "spec.template.spec.domain.memory" };
    let why = || match &has {
        Some(has) => format!("{} of memory, and the guest has {}", shown(&least.0), shown(&has.0)),
        None => format!("{} of memory, and the guest names none", shown(&least.0)),
    };
    (amount < least.thousandths()?).then(|| (field, why()))
}

fn shown(quantity: &str) -> String {
    Shown::within(quantity, TITLE_CHARS).to_string()
}

/// Mirrors `checkArch` of `arch.go`, since 1.7.0.
fn architecture(guest: &Guest, preference: &PreferenceSpec, cluster: &Cluster) -> Option<(&'static str, String)> {
    let (required, own) = (&preference.requirements.architecture, cluster.config.architecture_of(&guest.spec));
    let is_met = required.is_empty() || required == own;
    let why = format!("architecture {required}, and the guest has {own}");
    (!is_met).then_some(("spec.template.spec.architecture", why))
}
