//! The messages about the common model, and the denials of guests that do not use it.

use super::model::{Common, Reason, Untouched, common_model, with_model, without_annotation};
use crate::admission::response::FieldCause;
use crate::fit::judgement::Effort;
use crate::fit::subject::{CpuMode, Subject};
use crate::fit::verdict::Finding;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::{Guest, guest_of, without_unknown_types};
use crate::kubevirt::replicas::Replicas;
use crate::kubevirt::setting::{Setting, SettingOrigin};
use crate::kubevirt::subject::{self, Prepared, title};
use crate::kubevirt::wire::{Meta, VirtualMachine, Vmi, VmiStatus};
use crate::policy::{CommonModel, Otherwise, Policy, ReplacedMode};
use crate::say;
use crate::say::finding::message;
use crate::well_known;
use crate::world::World;

/// The effect of a common model on a guest, in the validating stage.
#[derive(Debug)]
pub(crate) struct ModelForecast {
    /// The result for its CPU model.
    pub common: Common,
    /// The guest with the common model, which is judged instead; `None` if nothing is changed.
    pub replacement: Option<Prepared<'static>>,
    /// The message that is sent regardless of the dials; one line that names guest and policy.
    pub message: Option<String>,
    /// Whether the message only announces that the guest gets the model.
    pub is_announcement: bool,
    /// The field to report if a policy denies guests that do not use its model; also reported if the guest is
    /// exempt.
    pub unmet: Option<FieldCause>,
}

/// Predicts the guest that a VirtualMachine will become. `policy` is the one that governs it.
pub(crate) fn of_vm(world: &World, policy: &Policy, vm: &VirtualMachine, effort: Effort<'_>) -> ModelForecast {
    of_template(world, policy, vm, effort, |guest| subject::of_guest(vm, guest, &world.cluster))
}

/// Predicts the guests that KubeVirt will create from a replica set or a pool.
pub(crate) fn of_replicas(world: &World, policy: &Policy, replicas: &Replicas, effort: Effort<'_>) -> ModelForecast {
    let mut forecast =
        of_template(world, policy, &replicas.vm, effort, |guest| replicas.judged_as(guest, &world.cluster));
    if let Some(unmet) = &mut forecast.unmet {
        unmet.field = replicas.kind.field(&unmet.field);
    }
    forecast
}

/// Returns the result for the CPU model of the guest that a VirtualMachine will become.
fn at_start(world: &World, policy: &Policy, vm: &VirtualMachine, effort: Effort<'_>) -> Common {
    let guest = guest_of(vm, &world.cluster);
    match (&guest.missing, &guest.excess) {
        (Some(missing), None) => Common::NotWritten(Reason::Unknown(message(missing))),
        _ => of_vm_as_made(world, policy, vm, &vmi_of(vm, &guest), effort),
    }
}

/// Returns the result for the VMI of a VirtualMachine.
fn of_vm_as_made(world: &World, policy: &Policy, vm: &VirtualMachine, vmi: &Vmi, effort: Effort<'_>) -> Common {
    as_made(world, policy, vmi, subject::waits_as_receiver(vm), effort)
}

/// Returns the result for a VMI. `by_kubevirt`: whether it is virt-controller that makes it the target of a
/// decentralized migration, if it is annotated as one.
fn as_made(world: &World, policy: &Policy, vmi: &Vmi, by_kubevirt: bool, effort: Effort<'_>) -> Common {
    match common_model(world, policy, vmi, effort) {
        Common::Untouched(Untouched::Received) if !by_kubevirt => without_annotation(world, policy, vmi, effort),
        common => common,
    }
}

/// Applies the policy's common model to the next start of a guest that runs, or that waits to start: its VMI is created
/// again then.
pub(crate) fn apply_at_restart(world: &World, policy: &Policy, subject: &mut Subject<'_>, effort: Effort<'_>) {
    let is_given = subject.has_vmi() && subject.restart.is_some() && policy.common_model.is_some();
    let vm = world.cluster.vm(&subject.namespace, &subject.name).filter(|_| is_given);
    if let Some(Common::Written { model, .. }) = vm.map(|vm| at_start(world, policy, vm, effort)) {
        subject.set_model_at_next_start(&model, &policy.name);
    }
}

fn of_template(
    world: &World,
    policy: &Policy,
    vm: &VirtualMachine,
    effort: Effort<'_>,
    prepared: impl FnOnce(Guest) -> Prepared<'static>,
) -> ModelForecast {
    let cluster = &world.cluster;
    let guest = guest_of(vm, cluster);
    // A guest that is too large must not avoid a policy by naming an unknown object.
    if let (Some(missing), None) = (&guest.missing, &guest.excess) {
        return with_unknown_type(world, policy, vm, missing, effort);
    }
    let vmi = vmi_of(vm, &guest);
    let common = of_vm_as_made(world, policy, vm, &vmi, effort);
    let replacement = match &common {
        Common::Written { model, .. } => {
            let mut guest = Guest { spec: with_model(&vmi, model).spec, ..guest };
            guest.origins.push((Setting::Model, SettingOrigin::Policy(policy.name.clone())));
            Some(prepared(guest))
        }
        _ => None,
    };
    let said = match &common {
        Common::Written { model, replaced } => Some(will_run(&vmi, model, *replaced, policy, cluster)),
        _ => None,
    };
    let forecast = ModelForecast { common, replacement, is_announcement: said.is_some(), message: said, unmet: None };
    forecast.otherwise(policy, &vmi, &blamed(vm, &vmi))
}

/// Predicts a guest whose instancetype or preference is not known.
fn with_unknown_type(
    world: &World,
    policy: &Policy,
    vm: &VirtualMachine,
    missing: &Finding,
    effort: Effort<'_>,
) -> ModelForecast {
    certain(world, policy, vm, effort).unwrap_or_else(|| ModelForecast {
        common: Common::NotWritten(Reason::Unknown(message(missing))),
        replacement: None,
        message: None,
        is_announcement: false,
        unmet: None,
    })
}

/// Predicts a guest that does not use the common model, whatever its instancetype or preference holds, of which one is
/// not known; `None` if that is not certain.
///
/// A preference sets no model, and an instancetype none beside that of the template: KubeVirt refuses both. So a mode
/// that the policy does not replace stays, if the architecture is stated too.
pub(crate) fn certain(
    world: &World,
    policy: &Policy,
    vm: &VirtualMachine,
    effort: Effort<'_>,
) -> Option<ModelForecast> {
    let known = without_unknown_types(vm, &world.cluster)?;
    let own = &vm.spec.template.spec;
    if own.architecture.is_empty() || known.lacks_instancetype && own.cpu_model().is_empty() {
        return None;
    }
    let vmi = vmi_of(vm, &known.guest);
    let common = of_vm_as_made(world, policy, vm, &vmi, effort);
    if !matches!(common, Common::Untouched(Untouched::Mode { .. })) {
        return None;
    }
    let forecast = ModelForecast { common, replacement: None, message: None, is_announcement: false, unmet: None };
    Some(forecast.otherwise(policy, &vmi, &blamed(vm, &vmi)))
}

/// Evaluates a VMI in the validating stage, after the mutating stage changed it.
pub(crate) fn of_vmi(world: &World, policy: &Policy, vmi: &Vmi, effort: Effort<'_>) -> ModelForecast {
    let by_kubevirt = subject::is_made_by_kubevirt(&vmi.metadata, &world.cluster);
    let common = as_made(world, policy, vmi, by_kubevirt, effort);
    let is_announcement = common == Common::Untouched(Untouched::UsesIt);
    let said = written(vmi, policy, &common, &world.cluster);
    let forecast = ModelForecast { message: said, is_announcement, common, replacement: None, unmet: None };
    let blamed = Blamed { field: field("spec", "domain.cpu"), instancetype: None, annotations: "metadata.annotations" };
    forecast.otherwise(policy, vmi, &blamed)
}

/// Returns the message about a VMI in the mutating stage. The reason why the model is not written is reported
/// in the validating stage, which runs once.
pub(crate) fn of_sent(world: &World, policy: &Policy, vmi: &Vmi, common: &Common) -> Option<String> {
    match common {
        Common::Written { model, replaced } => Some(will_run(vmi, model, *replaced, policy, &world.cluster)),
        Common::NotWritten(_) | Common::Untouched(_) => None,
    }
}

/// Builds the VMI that virt-controller will create from a VM, as far as it affects its CPU, before any webhook
/// changes it.
pub(crate) fn vmi_of(vm: &VirtualMachine, guest: &Guest) -> Vmi {
    let template = &vm.spec.template.metadata;
    let mut metadata = Meta {
        name: subject::name_of(&vm.metadata),
        namespace: vm.metadata.namespace.clone(),
        labels: template.labels.clone(),
        annotations: template.annotations.clone(),
        excess: guest.excess.clone(),
        ..Meta::default()
    };
    // Mirrors `startVMI` of `pkg/virt-controller/watch/vm/vm.go`, which ignores the template here.
    if subject::waits_as_receiver(vm) {
        metadata.annotations.insert(well_known::MIGRATION_TARGET.key.to_owned(), "true".to_owned());
    }
    Vmi { metadata, spec: guest.spec.clone(), status: VmiStatus::default() }
}

/// The location of the guest's model.
struct Blamed {
    /// The path of `cpu`, or of the instancetype that has the model.
    field: String,
    /// The name of the instancetype that has the model.
    instancetype: Option<String>,
    /// The path of the guest's annotations.
    annotations: &'static str,
}

fn field(root: &str, below: &str) -> String {
    format!("{root}.{below}")
}

fn blamed(vm: &VirtualMachine, vmi: &Vmi) -> Blamed {
    let of_template = vm.spec.template.spec.cpu_model();
    let found = vm.spec.instancetype.as_ref().filter(|_| of_template.is_empty() && !vmi.spec.cpu_model().is_empty());
    Blamed {
        field: field("spec.template.spec", "domain.cpu"),
        instancetype: found.map(|matcher| matcher.name.clone()),
        annotations: "spec.template.metadata.annotations",
    }
}

impl ModelForecast {
    /// Returns the message about a guest that will run without the policy's model, denied or not.
    pub(crate) fn left(&self, policy: &Policy) -> Option<String> {
        if self.is_announcement {
            return None;
        }
        let unmet = || self.unmet.as_ref().map(|unmet| say::by_policy(&unmet.message, &policy.name));
        self.message.clone().or_else(unmet)
    }

    /// Applies `otherwise` to a guest that does not use the model.
    ///
    /// A guest is denied only for its own specification: a mode that is not replaced, a feature that the
    /// model's nodes lack. If the fleet or the policies are the cause, there is only a warning.
    fn otherwise(mut self, policy: &Policy, vmi: &Vmi, blamed: &Blamed) -> Self {
        let Some(common) = &policy.common_model else { return self };
        if common.otherwise == Otherwise::Allow {
            return self;
        }
        let title = title(&vmi.metadata);
        let Some((message, field)) = not_used(&self.common, common, vmi, blamed) else { return self };
        let line = format!("{title} {message}");
        match field.filter(|_| common.otherwise == Otherwise::Deny) {
            Some(field) => self.unmet = Some(FieldCause { field, message: line }),
            None => self.message = Some(say::by_policy(&line, &policy.name)),
        }
        self
    }
}

/// Returns why the guest does not use the model, and the field to report if the cause is in the guest's
/// specification.
fn not_used(common: &Common, wanted: &CommonModel, vmi: &Vmi, blamed: &Blamed) -> Option<(String, Option<String>)> {
    let model = &wanted.name;
    let in_spec = field(&blamed.field, "model");
    let own = match &blamed.instancetype {
        Some(name) => format!(" of its instancetype {name}"),
        None => String::new(),
    };
    let keeps = |reason: &Reason| {
        let mode = match vmi.spec.cpu_model() {
            // It may be a text that was not read.
            "" if vmi.metadata.excess.is_some() => "its own CPU model".to_owned(),
            own => mode(own),
        };
        format!("keeps {mode}{own} instead of the common CPU model {model}: {reason}")
    };
    match common {
        Common::Untouched(Untouched::Mode { sent, becomes }) => {
            let instead = match sent {
                ReplacedMode::Unset => format!("states no CPU model and would run with {becomes}"),
                _ => format!("asks for {becomes}{own}"),
            };
            let change = match &blamed.instancetype {
                Some(_) => "; change it there: KubeVirt refuses a model in the template beside it",
                None => "",
            };
            let field = if blamed.instancetype.is_some() { "spec.instancetype.name".to_owned() } else { in_spec };
            Some((format!("{instead}, not the common CPU model {model}{change}"), Some(field)))
        }
        Common::NotWritten(reason @ Reason::Features { features, .. }) => {
            let listed = &vmi.spec.domain.cpu.as_ref()?.features;
            let at = listed.iter().position(|listed| features.contains(&listed.name));
            // A feature required by an enlightenment or a preference is in no list of the template.
            let field = at.map_or(in_spec, |at| field(&blamed.field, &format!("features[{at}].name")));
            Some((keeps(reason), Some(field)))
        }
        // The size of a guest is the responsibility of its author.
        Common::NotWritten(reason @ Reason::TooLarge(excess)) => Some((keeps(reason), Some(excess.field().to_owned()))),
        Common::NotWritten(reason @ Reason::Annotated) => Some((keeps(reason), Some(blamed.annotations.to_owned()))),
        Common::NotWritten(reason) => Some((keeps(reason), None)),
        Common::Untouched(_) | Common::Written { .. } => None,
    }
}

fn mode(model: &str) -> String {
    match CpuMode::parse(model) {
        CpuMode::Unset => "the cluster's default".to_owned(),
        own => own.to_string(),
    }
}

/// Returns a message such as `shop/web will run with CPU model Skylake-Server-noTSX-IBRS, not its host's
/// (policy intel-pool)`.
fn will_run(vmi: &Vmi, model: &str, replaced: ReplacedMode, policy: &Policy, cluster: &Cluster) -> String {
    let instead = match replaced {
        ReplacedMode::Unset => match CpuMode::parse(&cluster.config.configuration.cpu_model) {
            CpuMode::Unset | CpuMode::HostModel | CpuMode::HostModelOrPassthrough => "its host's".to_owned(),
            default => format!("{default}, the cluster's default"),
        },
        ReplacedMode::HostModel => "its host's".to_owned(),
        ReplacedMode::HostPassthrough => "its host's own CPU".to_owned(),
        // Only the kind of a replaced model is known.
        ReplacedMode::Named if vmi.spec.cpu_model() == model => "the one it was sent with".to_owned(),
        ReplacedMode::Named => vmi.spec.cpu_model().to_owned(),
    };
    let line = format!("{} will run with CPU model {model}, not {instead}", title(&vmi.metadata));
    say::by_policy(&line, &policy.name)
}

/// Returns the message about a VMI that passed the mutating stage.
fn written(vmi: &Vmi, policy: &Policy, common: &Common, cluster: &Cluster) -> Option<String> {
    let wanted = policy.common_model.as_ref()?;
    match common {
        Common::Untouched(Untouched::UsesIt) => {
            let annotations = &vmi.metadata.annotations;
            let replaced = well_known::REPLACED_MODEL.value(annotations)?.parse().ok()?;
            (well_known::POLICY.value(annotations) == Some(policy.name.as_str()))
                .then(|| will_run(vmi, &wanted.name, replaced, policy, cluster))
        }
        // The guest was started before the policy existed, or the mutating webhook was too slow (failurePolicy
        // Ignore).
        Common::Written { .. } if wanted.otherwise != Otherwise::Allow => {
            let line = format!(
                "{} is not on CPU model {} but on {}, which would be replaced at its start",
                title(&vmi.metadata),
                wanted.name,
                mode(vmi.spec.cpu_model()),
            );
            Some(say::by_policy(&line, &policy.name))
        }
        _ => None,
    }
}
