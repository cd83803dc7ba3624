//! Hyper-V settings that virt-api refuses together.

use super::{Refused, Written};
use crate::fit::plural::and_names;
use crate::kubevirt::defaults::{self, ClusterConfig, is_on};
use crate::kubevirt::release::Release;
use crate::kubevirt::setting::Setting;
use crate::kubevirt::wire::{FeatureState, Hyperv, VmiSpec};

/// Each setting that requires another one, with that. Mirrors `getHypervFeatureDependencies` of
/// `pkg/virt-api/webhooks/hyperv.go`.
const REQUIRES: [(&str, &str); 5] =
    [("evmcs", "vapic"), ("ipi", "vpindex"), ("tlbflush", "vpindex"), ("synictimer", "synic"), ("synic", "vpindex")];

fn state<'s>(hyperv: &'s Hyperv, name: &str) -> Option<&'s FeatureState> {
    hyperv.settings().into_iter().find(|(known, _)| *known == name)?.1.as_ref()
}

fn is_off(hyperv: &Hyperv, name: &str) -> bool {
    state(hyperv, name).is_some_and(|state| state.enabled == Some(false))
}

impl Written<'_> {
    /// Mirrors `ValidateVirtualMachineInstanceHyperv` of `pkg/virt-api/webhooks/hyperv.go`, after the mutating webhook
    /// has switched on what is required and not set. It leaves alone what the user has switched off, and then virt-api
    /// refuses the guest.
    pub(super) fn hyperv(&self, config: &ClusterConfig, release: Release) -> Vec<Refused> {
        let mut out = Vec::new();
        if self.whole.domain.features.hyperv.is_none() {
            return out;
        }
        if self.whole.domain.features.hyperv_passthrough.is_some() && release.knows_hyperv_passthrough() {
            let has_passthrough = |spec: &VmiSpec| spec.domain.features.hyperv_passthrough.is_some();
            let field = self.place("domain.features.hypervPassthrough", has_passthrough);
            out.push((field, "features has hyperv and hypervPassthrough, and may have one of them".to_owned()));
        }
        let mut filled = self.whole.clone();
        defaults::apply(&mut filled, config);
        let Some(hyperv) = &filled.domain.features.hyperv else { return out };
        for required in ["vapic", "vpindex", "synic"].into_iter().filter(|name| is_off(hyperv, name)) {
            let requires = REQUIRES.into_iter().filter(|(_, of)| *of == required).map(|(name, _)| name);
            let requiring: Vec<&str> = requires.filter(|name| is_on(state(hyperv, name))).collect();
            if !requiring.is_empty() {
                let is_own =
                    |spec: &VmiSpec| spec.domain.features.hyperv.as_ref().is_some_and(|own| is_off(own, required));
                let field = format!("domain.features.hyperv.{required}");
                let requiring = and_names(&requiring, REQUIRES.len());
                let why =
                    format!("Hyper-V setting {required} is switched off (enabled: false), and required by {requiring}");
                out.push((self.place_of(&field, &Setting::HyperV(required), is_own), why));
            }
        }
        out.extend(self.vmx(&filled, hyperv));
        out
    }

    /// The mutating webhook gives the first entry of vmx the policy that evmcs requires, and no further one.
    fn vmx(&self, filled: &VmiSpec, hyperv: &Hyperv) -> Option<Refused> {
        if !is_on(state(hyperv, "evmcs")) {
            return None;
        }
        let mut listed = filled.domain.cpu.iter().flat_map(|cpu| &cpu.features).filter(|feature| feature.name == "vmx");
        // Without one, the webhook has stopped at a setting that is switched off.
        listed.next()?;
        let other = listed.find(|feature| feature.policy != "require")?;
        let is_own = |spec: &VmiSpec| spec.domain.cpu.as_ref().is_some_and(|cpu| cpu.features.contains(other));
        let field = self.place_of("domain.cpu.features", &Setting::Feature("vmx".to_owned()), is_own);
        Some((
            field,
            "Hyper-V setting evmcs requires CPU feature vmx, which is listed twice, with another policy too".to_owned(),
        ))
    }
}
