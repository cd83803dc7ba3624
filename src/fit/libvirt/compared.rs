//! The features that a guest would lose with a named model.

use std::collections::BTreeSet;

use super::{Answers, Silence};
use crate::fit::models;

/// The CPU features that a guest has and would not have with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// A comparison by libvirt on the guest's node, which listed the features of both CPUs.
    ByLibvirt(Vec<String>),
    /// Features compared without libvirt: by libvirt's CPU map and QEMU, of the releases that [`models`]
    /// names.
    ByModels {
        /// The features.
        lost: Vec<String>,
        /// The reason why libvirt gave no answer; `None` if it was not asked about the model.
        unanswered: Option<Silence>,
    },
}

impl Lost {
    /// Returns the features.
    pub(crate) fn features(&self) -> &[String] {
        match self {
            Self::ByLibvirt(lost) | Self::ByModels { lost, .. } => lost,
        }
    }

    /// Returns the source of the comparison, as JSON spells it.
    pub(crate) fn source(&self) -> &'static str {
        match self {
            Self::ByLibvirt(_) => "libvirt",
            Self::ByModels { .. } => "models",
        }
    }
}

impl Answers {
    /// Returns the features that the guest would lose with a named model; `None` if its CPU, or the features
    /// of the model, are not known.
    pub(crate) fn lost(&self, model: &str) -> Option<Lost> {
        let unanswered = match self.losses.get(model) {
            Some(Ok(lost)) => return Some(Lost::ByLibvirt(lost.clone())),
            Some(Err(silence)) => Some(silence.clone()),
            None => None,
        };
        let cpu = &self.guest.as_ref().ok()?.cpu;
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        let mut has = owned(models::features(&cpu.model)?);
        has.extend(cpu.require.iter().cloned());
        has.retain(|feature| !cpu.disable.contains(feature) && !cpu.forbid.contains(feature));
        Some(Lost::ByModels { lost: losses(&has, &owned(models::features(model)?)), unanswered })
    }
}

/// Returns the features that a guest would lose with a model by libvirt's answer, without those that QEMU's definition
/// of the model has: libvirt's definition leaves out some of them, which the guest would keep.
pub(crate) fn lost_in_qemu_too(model: &str, lost: &[String]) -> Vec<String> {
    let of_model = models::features(model).unwrap_or_default();
    let lost: BTreeSet<&String> = lost.iter().filter(|name| !of_model.contains(name.as_str())).collect();
    lost.into_iter().cloned().collect()
}

/// Returns the features of `guest` that `model` lacks, without those that every guest is given.
pub(crate) fn losses(guest: &BTreeSet<String>, model: &BTreeSet<String>) -> Vec<String> {
    // QEMU shows `hypervisor` to all guests, and KVM gives `x2apic` to all named models.
    const GIVEN: [&str; 2] = ["hypervisor", "x2apic"];
    guest.difference(model).filter(|name| !GIVEN.contains(&name.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fit::libvirt::{Accelerator, Cpu, GuestCpu, Silence};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn asked(model: &str, require: &[&str], disable: &[&str]) -> Answers {
        let set = |list: &[&str]| names(list).into_iter().collect();
        let cpu = Cpu { model: model.to_owned(), require: set(require), disable: set(disable), ..Cpu::default() };
        Answers {
            guest: Ok(GuestCpu { cpu, accelerator: Accelerator::Kvm }),
            nodes: Arc::default(),
            hosts: Arc::default(),
            silent_hosts: Arc::default(),
            own_node: None,
            losses: [
                ("EPYC-Rome".to_owned(), Ok(names(&["vaes"]))),
                ("EPYC-IBPB".to_owned(), Err(Silence::Failed("boom".to_owned()))),
            ]
            .into(),
            saved: true,
        }
    }

    /// Libvirt 9.0 answers for Westmere and `SandyBridge` without features that QEMU gives to a guest with them.
    #[test]
    fn a_feature_that_qemu_gives_with_the_model_is_not_lost() {
        for (model, lost, expected) in [
            ("Westmere", &["arat", "pclmuldq", "vme"][..], &["vme"][..]),
            ("SandyBridge", &["xsaveopt", "arat", "avx2"], &["avx2"]),
            ("Nehalem", &["aes", "aes"], &["aes"]),
            ("Nosuch", &["aes", "arat"], &["aes", "arat"]),
        ] {
            assert_eq!(
                lost_in_qemu_too(model, &names(lost)),
                names(expected),
                "{model}: a restart looks worse than it is"
            );
        }
    }

    /// For each model whose features are known, nothing of it is lost.
    #[test]
    fn no_feature_of_a_model_is_lost_with_it() {
        for model in models::holding("fpu") {
            let own: Vec<String> = models::features(model).into_iter().flatten().map(str::to_owned).collect();
            assert_eq!(lost_in_qemu_too(model, &own), [""; 0], "{model}");
        }
    }

    #[test]
    fn a_model_is_compared_by_libvirts_answer_or_else_by_its_features() {
        let guest = asked("EPYC-IBPB", &["vaes", "hypervisor"], &["sse4a"]);
        assert_eq!(guest.lost("EPYC-Rome"), Some(Lost::ByLibvirt(names(&["vaes"]))));
        let by_models = |lost: &[&str], unanswered| Some(Lost::ByModels { lost: names(lost), unanswered });
        assert_eq!(guest.lost("EPYC"), by_models(&["ibpb", "vaes"], None));
        let boom = Some(Silence::Failed("boom".to_owned()));
        assert_eq!(
            guest.lost("EPYC-IBPB"),
            by_models(&["vaes"], boom),
            "a failed question is said not to have been put"
        );
        let poor = guest.lost("Opteron_G3").map(|lost| lost.features().contains(&"sse4a".to_owned()));
        assert_eq!(poor, Some(false), "what it has not it does not lose");
        assert_eq!(guest.lost("Nosuch"), None);
        assert_eq!(asked("Nosuch", &[], &[]).lost("EPYC"), None);
        let unknown = Answers { guest: Err(Silence::NotSaved), losses: [].into(), ..guest };
        assert_eq!(unknown.lost("EPYC"), None);
    }
}
