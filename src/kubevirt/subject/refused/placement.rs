//! Settings of the placement that virt-api refuses.

use super::{Refused, Written};
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::kubevirt::defaults::ClusterConfig;
use crate::kubevirt::release::Release;
use crate::kubevirt::setting::Setting;
use crate::kubevirt::wire::{AnyAffinity, VmiSpec};

/// The path of the required node affinity below a guest's spec.
const REQUIRED_AFFINITY: &str = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
const SPREAD: &str = "topologySpreadConstraints";
/// The architectures of guests: `ValidateVirtualMachineInstancePerArch`, which knew ppc64le in 1.6.
const ARCHITECTURES: [&str; 4] = ["amd64", "arm64", "s390x", "ppc64le"];

impl Written<'_> {
    /// Mirrors, of the create admitter, `ValidateVirtualMachineInstancePerArch`, `validateEmulatedMachine`,
    /// `validateSpecAffinity` and `validateSpecTopologySpreadConstraints`.
    pub(super) fn placement(&self, config: &ClusterConfig, release: Release) -> Vec<Refused> {
        let mut out = Vec::new();
        let architecture = config.architecture_of(self.whole);
        if release.refuses_unknown_architectures() && !ARCHITECTURES.contains(&architecture) {
            let is_own = |spec: &VmiSpec| !spec.architecture.is_empty();
            let field = self.place_of("architecture", &Setting::Architecture, is_own);
            let architecture = Shown::within(architecture, TITLE_CHARS);
            out.push((field, format!("it has no guests of architecture {architecture}")));
        }
        if let Some(why) = self.refuses_machine(config, release) {
            let is_own = |spec: &VmiSpec| spec.domain.machine.as_ref().is_some_and(|machine| !machine.kind.is_empty());
            out.push((self.place_of("domain.machine.type", &Setting::MachineType, is_own), why));
        }
        let refused = |spec: &VmiSpec| spec.affinity.as_ref().and_then(AnyAffinity::refused).map(str::to_owned);
        out.extend(refused(self.whole).map(|why| (format!("{}.{REQUIRED_AFFINITY}", self.root), why)));
        out.extend(self.spread().map(|why| (format!("{}.{SPREAD}", self.root), why)));
        out
    }

    /// Returns why a machine type is refused, if the KubeVirt resource is known. Mirrors `GetEmulatedMachines` of
    /// `pkg/virt-config/virt-config.go`.
    fn refuses_machine(&self, config: &ClusterConfig, release: Release) -> Option<String> {
        let architecture = config.architecture_of(self.whole);
        let own = self.whole.domain.machine.as_ref().map(|machine| machine.kind.as_str());
        let machine = own.filter(|kind| !kind.is_empty()).unwrap_or_else(|| config.machine_type(architecture));
        let permitted = config.emulated_machines(architecture, release.reads_machines_of_all_architectures())?;
        let is_permitted = |pattern: &&str| matches(pattern, machine);
        if permitted.iter().any(is_permitted) {
            return None;
        }
        let patterns = permitted.iter().map(|pattern| Shown::within(pattern, TITLE_CHARS).to_string());
        let patterns = patterns.take(4).collect::<Vec<_>>().join(", ");
        let machine = Shown::within(machine, TITLE_CHARS);
        Some(format!("machine type {machine} is not in emulatedMachines of {} ({patterns})", config.holder(None)))
    }

    /// Mirrors `validateTopologySpreadConstraints` of `validate-k8s-utils.go`.
    fn spread(&self) -> Option<String> {
        let all = &self.whole.topology_spread_constraints;
        let known = |when: &str| matches!(when, "DoNotSchedule" | "ScheduleAnyway");
        if all.iter().any(|one| one.topology_key.is_empty()) {
            return Some("a topology spread constraint must have a topologyKey, and has none".to_owned());
        }
        if let Some(other) = all.iter().find(|one| !known(&one.when_unsatisfiable)) {
            let when = Shown::within(&other.when_unsatisfiable, TITLE_CHARS);
            return Some(format!(
                "whenUnsatisfiable of a topology spread constraint must be DoNotSchedule or ScheduleAnyway, and is {when}"
            ));
        }
        let twice = all.iter().enumerate().find(|(at, one)| all[..*at].contains(one))?.1;
        let (key, when) = (Shown::within(&twice.topology_key, TITLE_CHARS), &twice.when_unsatisfiable);
        Some(format!("two topology spread constraints have topologyKey {key} and whenUnsatisfiable {when}"))
    }
}

/// Whether a machine type matches a pattern. Mirrors `filepath.Match`; a pattern with other special characters than `*`
/// and `?` matches, as what it means is not read here.
fn matches(pattern: &str, text: &str) -> bool {
    if pattern.contains(['[', '\\']) {
        return true;
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => {
            let rest = &pattern[1..];
            matches(rest, text) || first.is_some_and(|c| c != '/' && matches(pattern, &text[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) if c != '/' => matches(&pattern[1..], &text[c.len_utf8()..]),
        (Some(one), Some(other)) if one == other => matches(&pattern[one.len_utf8()..], &text[other.len_utf8()..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::alone("q35*", "q35", true)]
    #[case::version("pc-q35*", "pc-q35-rhel9.6.0", true)]
    #[case::other("q35*", "pc-q35-9.2", false)]
    #[case::one_letter("q3?", "q35", true)]
    #[case::too_long("q35", "q35-1", false)]
    #[case::inside("pc-*-9.2", "pc-q35-9.2", true)]
    #[case::nothing("", "q35", false)]
    #[case::not_read("pc-[a-z]35", "virt", true)]
    fn machine_types_match_as_in_virt_api(#[case] pattern: &str, #[case] machine: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, machine), expected, "a machine type is said to be refused, or to be permitted");
    }
}
