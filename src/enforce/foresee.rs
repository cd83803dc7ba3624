//! What is said about the common model, and who is denied for not using it.

use super::model::{Common, Reason, Untouched, common_model, model_of, with_model};
use crate::admission::response::FieldCause;
use crate::fit::judgement::Effort;
use crate::fit::subject::CpuMode;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::{Guest, guest_of};
use crate::kubevirt::replicas::Replicas;
use crate::kubevirt::setting::{Setting, SettingOrigin};
use crate::kubevirt::subject::{self, Prepared, title};
use crate::kubevirt::wire::{Meta, VirtualMachine, Vmi, VmiStatus};
use crate::policy::{CommonModel, Otherwise, Policy, ReplacedMode};
use crate::say::finding::message;
use crate::well_known;
use crate::world::World;

/// What a common model means for a guest, in the validating stage.
#[derive(Debug)]
pub(crate) struct ModelForecast {
    /// What becomes of its CPU model.
    pub common: Common,
    /// The guest as it will be, where that is not as it was sent: to be judged in its place.
    pub becomes: Option<Prepared<'static>>,
    /// What is said whatever the dials say; one line that names guest and policy.
    pub said: Option<String>,
    /// Whether that is only that the guest gets the model.
    pub is_announcement: bool,
    /// The field to blame where a policy denies guests that do not use its model; said also where the guest is exempt.
    pub unmet: Option<FieldCause>,
}

/// The guest that a VirtualMachine will become. `policy` is the one that governs it.
#[must_use]
pub(crate) fn of_vm(world: &World, policy: &Policy, vm: &VirtualMachine, effort: Effort<'_>) -> ModelForecast {
    of_template(world, policy, vm, effort, |guest| subject::of_guest(vm, guest, &world.cluster))
}

/// Any guest that KubeVirt will make of a replica set or a pool.
#[must_use]
pub(crate) fn of_replicas(world: &World, policy: &Policy, replicas: &Replicas, effort: Effort<'_>) -> ModelForecast {
    let mut outlook =
        of_template(world, policy, &replicas.vm, effort, |guest| replicas.judged_as(guest, &world.cluster));
    if let Some(unmet) = &mut outlook.unmet {
        unmet.field = replicas.kind.field(&unmet.field);
    }
    outlook
}

fn of_template(
    world: &World,
    policy: &Policy,
    vm: &VirtualMachine,
    effort: Effort<'_>,
    judged: impl FnOnce(Guest) -> Prepared<'static>,
) -> ModelForecast {
    let cluster = &world.cluster;
    let guest = guest_of(vm, cluster);
    // A guest that is too large does not avoid a policy by naming an unknown object.
    if let (Some(missing), None) = (&guest.missing, &guest.excess) {
        let common = Common::NotWritten(Reason::Unknown(message(missing)));
        return ModelForecast { common, becomes: None, said: None, is_announcement: false, unmet: None };
    }
    let vmi = vmi_of(vm, &guest);
    let common = common_model(world, policy, &vmi, effort);
    let becomes = match &common {
        Common::Written { model, .. } => {
            let mut guest = Guest { spec: with_model(&vmi, model).spec, ..guest };
            guest.origins.push((Setting::Model, SettingOrigin::Policy(policy.name.clone())));
            Some(judged(guest))
        }
        _ => None,
    };
    let said = match &common {
        Common::Written { model, replaced } => Some(will_run(&vmi, model, *replaced, policy, cluster)),
        _ => None,
    };
    let outlook = ModelForecast { common, becomes, is_announcement: said.is_some(), said, unmet: None };
    outlook.otherwise(policy, &vmi, &blamed(vm, &vmi))
}

/// A VMI in the validating stage, changed by the mutating one if it was to be.
#[must_use]
pub(crate) fn of_vmi(world: &World, policy: &Policy, vmi: &Vmi, effort: Effort<'_>) -> ModelForecast {
    let common = common_model(world, policy, vmi, effort);
    let is_announcement = common == Common::Untouched(Untouched::UsesIt);
    let said = written(vmi, policy, &common, &world.cluster);
    let outlook = ModelForecast { said, is_announcement, common, becomes: None, unmet: None };
    outlook.otherwise(policy, vmi, &Blamed { field: field("spec", "domain.cpu"), instancetype: None })
}

/// What is said about a VMI in the mutating stage, once it is decided what becomes of it. Why the model is not written is
/// said in the validating stage, which runs once.
#[must_use]
pub(crate) fn of_sent(world: &World, policy: &Policy, vmi: &Vmi, common: &Common) -> Option<String> {
    match common {
        Common::Written { model, replaced } => Some(will_run(vmi, model, *replaced, policy, &world.cluster)),
        Common::NotWritten(_) | Common::Untouched(_) => None,
    }
}

/// The VMI that virt-controller will make of a VM, as far as it affects its CPU, before any webhook sees it.
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
    // As `startVMI` of `pkg/virt-controller/watch/vm/vm.go` does, whatever the template says.
    if vm.spec.run_strategy == "WaitAsReceiver" {
        metadata.annotations.insert(well_known::MIGRATION_TARGET.key.to_owned(), "true".to_owned());
    }
    Vmi { metadata, spec: guest.spec.clone(), status: VmiStatus::default() }
}

/// Where the guest's model stands.
struct Blamed {
    /// The path of `cpu`, or of the instancetype that has the model.
    field: String,
    /// The instancetype.
    instancetype: Option<String>,
}

fn field(root: &str, below: &str) -> String {
    format!("{root}.{below}")
}

fn blamed(vm: &VirtualMachine, vmi: &Vmi) -> Blamed {
    let of_template = vm.spec.template.spec.domain.cpu.as_ref().map_or("", |cpu| cpu.model.as_str());
    let found = vm.spec.instancetype.as_ref().filter(|_| of_template.is_empty() && !model_of(vmi).is_empty());
    Blamed { field: field("spec.template.spec", "domain.cpu"), instancetype: found.map(|matcher| matcher.name.clone()) }
}

impl ModelForecast {
    /// What is said about a guest that comes to run without the policy's model, denied for that or not.
    #[must_use]
    pub(crate) fn left(&self, policy: &Policy) -> Option<String> {
        if self.is_announcement {
            return None;
        }
        let unmet = || self.unmet.as_ref().map(|unmet| format!("{} (policy {})", unmet.message, policy.name));
        self.said.clone().or_else(unmet)
    }

    /// What `otherwise` says of a guest that does not use the model.
    ///
    /// Refused is only what the guest's own words bring about: a mode that is not replaced, a feature that the model's
    /// nodes lack. Where the fleet or the policies are the cause, there are warnings alone.
    fn otherwise(mut self, policy: &Policy, vmi: &Vmi, blamed: &Blamed) -> Self {
        let Some(common) = &policy.common_model else { return self };
        if common.otherwise == Otherwise::Allow {
            return self;
        }
        let title = title(vmi);
        let Some((message, field)) = not_used(&self.common, common, vmi, blamed) else { return self };
        let line = format!("{title} {message}");
        match field.filter(|_| common.otherwise == Otherwise::Deny) {
            Some(field) => self.unmet = Some(FieldCause { field, message: line }),
            None => self.said = Some(format!("{line} (policy {})", policy.name)),
        }
        self
    }
}

/// Why the guest does not use the model, and the field to blame where it is the guest's own.
fn not_used(common: &Common, wanted: &CommonModel, vmi: &Vmi, blamed: &Blamed) -> Option<(String, Option<String>)> {
    let model = &wanted.name;
    let in_spec = field(&blamed.field, "model");
    let own = match &blamed.instancetype {
        Some(name) => format!(" of its instancetype {name}"),
        None => String::new(),
    };
    let keeps = |reason: &Reason| {
        let mode = mode(model_of(vmi));
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
            // One that an enlightenment or a preference asks for stands in no list of the template.
            let field = at.map_or(in_spec, |at| field(&blamed.field, &format!("features[{at}].name")));
            Some((keeps(reason), Some(field)))
        }
        // Only the author of a guest makes it too large.
        Common::NotWritten(reason @ Reason::TooLarge(excess)) => Some((keeps(reason), Some(excess.field().to_owned()))),
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

/// `shop/web will run with CPU model Skylake-Server-noTSX-IBRS, not its host's (policy intel-pool)`.
fn will_run(vmi: &Vmi, model: &str, replaced: ReplacedMode, policy: &Policy, cluster: &Cluster) -> String {
    let instead = match replaced {
        ReplacedMode::Unset => match CpuMode::parse(&cluster.config.configuration.cpu_model) {
            CpuMode::Unset | CpuMode::HostModel => "its host's".to_owned(),
            default => format!("{default}, the cluster's default"),
        },
        ReplacedMode::HostModel => "its host's".to_owned(),
        ReplacedMode::HostPassthrough => "its host's own CPU".to_owned(),
        // Once replaced, only its kind is known.
        ReplacedMode::Named if model_of(vmi) == model => "the one it was sent with".to_owned(),
        ReplacedMode::Named => model_of(vmi).to_owned(),
    };
    format!("{} will run with CPU model {model}, not {instead} (policy {})", title(vmi), policy.name)
}

/// What is to be said of a VMI that came through the mutating stage.
fn written(vmi: &Vmi, policy: &Policy, common: &Common, cluster: &Cluster) -> Option<String> {
    let wanted = policy.common_model.as_ref()?;
    match common {
        Common::Untouched(Untouched::UsesIt) => {
            let annotations = &vmi.metadata.annotations;
            let replaced = well_known::REPLACED_MODEL.value(annotations)?.parse().ok()?;
            (well_known::POLICY.value(annotations) == Some(policy.name.as_str()))
                .then(|| will_run(vmi, &wanted.name, replaced, policy, cluster))
        }
        // It runs since before the policy, or the mutating webhook was too slow: failurePolicy Ignore.
        Common::Written { .. } if wanted.otherwise != Otherwise::Allow => Some(format!(
            "{} is not on CPU model {} but on {}, which would be replaced at its start (policy {})",
            title(vmi),
            wanted.name,
            mode(model_of(vmi)),
            policy.name
        )),
        _ => None,
    }
}
