//! The least that a guest asks for whose instancetype or preference is not known: what those hold can only add to it.
//!
//! Mirrors `ApplyToVMI` of `pkg/instancetype/apply/vmi.go` and `ApplyToVMI` of `pkg/instancetype/preference/apply`,
//! which fill in fields that the template leaves empty and overrule none of its requirements on CPU labels. What they
//! may fill in, or what depends on it, is left out here.

use super::{Prepared, finding};
use crate::fit::label;
use crate::fit::placement::Placement;
use crate::fit::plural;
use crate::fit::subject::{AfterStart, CpuMode, HostModelRule, Stage};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::{Guest, WithoutTypes, without_unknown_types};
use crate::kubevirt::setting::Setting;
use crate::kubevirt::wire::{Matcher, VirtualMachine};

/// The least that a guest asks for.
#[derive(Debug)]
pub(crate) struct Least {
    guest: Guest,
    mode: CpuMode,
    left_out: fn(&Setting) -> bool,
    has_architecture: bool,
}

/// Returns the least that the guest of a VirtualMachine asks for; `None` if its instancetype and its preference are
/// known. `keeps`: whether a guest keeps this CPU mode, and no policy replaces it.
pub(crate) fn least(vm: &VirtualMachine, cluster: &Cluster, keeps: impl Fn(&CpuMode) -> bool) -> Option<Least> {
    let WithoutTypes { mut guest, lacks_instancetype, lacks_preference } = without_unknown_types(vm, cluster)?;
    let has_architecture = !vm.spec.template.spec.architecture.is_empty() && !lacks_instancetype;
    let machine = guest.spec.domain.machine.as_ref();
    let has_machine = !lacks_preference || machine.is_some_and(|machine| !machine.kind.is_empty());
    let cpu = guest.spec.domain.cpu.get_or_insert_default();
    let mode = CpuMode::parse(&cpu.model);
    let is_filled = mode == CpuMode::Unset && (lacks_instancetype || !has_architecture);
    if is_filled || !keeps(&mode) {
        // The mode that asks for no label of the CPU.
        "host-passthrough".clone_into(&mut cpu.model);
    }
    if lacks_preference {
        // A preference may switch off an enlightenment on which others depend, or add EVMCS, which requires `vmx`
        // where the guest forbids it: mirrors `setDefaultHypervFeatureDependencies` of `pkg/defaults/hyperv.go`.
        guest.spec.domain.features.hyperv = None;
        cpu.features.retain(|feature| feature.name != "vmx" || feature.policy != "forbid");
    }
    guest.notes.push(note(vm, lacks_instancetype, lacks_preference));
    let left_out: fn(&Setting) -> bool = match (lacks_instancetype, has_machine) {
        // The selector of an instancetype overrules the cluster's.
        (true, true) => |setting| matches!(setting, Setting::ClusterSelector { .. }),
        (true, false) => |setting| matches!(setting, Setting::ClusterSelector { .. } | Setting::MachineType),
        (false, true) => |_| false,
        (false, false) => |setting| matches!(setting, Setting::MachineType),
    };
    Some(Least { guest, mode, left_out, has_architecture })
}

/// Returns the note that the guest is judged by less than it asks for.
fn note(vm: &VirtualMachine, lacks_instancetype: bool, lacks_preference: bool) -> Finding {
    let named = |what: &str, matcher: &Option<Matcher>| match matcher.as_ref().map_or("", |matcher| &matcher.name) {
        "" => format!("its {what}"),
        name => format!("{what} {name}"),
    };
    let instancetype = lacks_instancetype.then(|| named("instancetype", &vm.spec.instancetype));
    let preference = lacks_preference.then(|| named("preference", &vm.spec.preference));
    let field = if lacks_instancetype { "spec.instancetype" } else { "spec.preference" };
    let all: Vec<String> = instancetype.into_iter().chain(preference).collect();
    let holds = plural::number(all.len(), "holds", "hold");
    let words = format!(
        "what {} {holds} is not known: judged by the requirements of the template that {} cannot lift",
        plural::and_names(&all, 2),
        plural::number(all.len(), "it", "they"),
    );
    finding(Check::Assumed, field, words)
}

impl Least {
    /// Prepares the guest for judgement. `prepare` prepares any guest of the VirtualMachine.
    pub(crate) fn prepared(self, prepare: impl FnOnce(Guest) -> Prepared<'static>) -> Prepared<'static> {
        let Self { guest, mode, left_out, has_architecture } = self;
        let mut out = prepare(guest);
        // KubeVirt creates another pod than this.
        let settings = out.predicted.take().map(|rendered| rendered.settings).unwrap_or_default();
        let is_left_out = |key: &str| {
            settings.get(key).is_some_and(left_out)
                || !has_architecture && (key == label::ARCH || key.starts_with(label::VM_ARCH))
        };
        let lessen = |placement: &mut Placement<'_>| placement.selector.retain(|(key, _)| !is_left_out(key));
        lessen(&mut out.subject.placement);
        let after_start = AfterStart { host_model: HostModelRule::NotAsked, vendor: false };
        out.subject.stage = Stage::Start(after_start);
        out.subject.restart = None;
        out.subject.mode = mode;
        out.is_guess = false;
        out
    }
}
