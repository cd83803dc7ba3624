//! Conversion of KubeVirt's objects to subjects: the guest that is judged, its stage, and its requirements.

mod by_cluster;
mod changes;
mod decentralized;
mod either_mode;
mod least;
mod migrating;
mod not_started;
mod origin;
mod pod;
mod refused;
mod replicas;
mod restart;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::authors::{Source, overlay};
use super::cluster::Cluster;
use super::defaults;
use super::devices;
use super::feature_gate::FeatureGate;
use super::guest::{Guest, guest_of};
use super::launch::{self, Rendered};
use super::migration::{self, NoPod, is_being_deleted};
use super::not_migratable::{Foresight, is_decided};
use super::obsolete;
use super::placement;
use super::resource::Resource;
use super::setting::{Origins, Setting, SettingOrigin};
use super::storage::{self, MountedBy};
use super::topology;
use super::wire::{Condition, GuestResources, Machine, Matcher, Meta, Pod, VirtualMachine, Vmi, VmiSpec, VmiStatus};
use crate::bounds::Excess;
use crate::fit::author::{AskedAt, Authors};
use crate::fit::judgement::{Depth, Effort, Judgement};
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::subject::{
    AfterStart, BoundVolume, CpuFeatures, CpuMode, FailedMigration, HostModelRule, NotMigratable, Origin,
    PendingChange, RestartRequest, Running, Stage, Start, Subject, Template, Unjudged, failed_migration,
};
use crate::fit::verdict::{Assessment, Check, Detail, Finding, Notes, Verdict};
use crate::well_known;
use by_cluster::Predicted;
pub(crate) use decentralized::{is_made_by_kubevirt, is_made_to_receive, waits_as_receiver};
pub(crate) use least::least;
pub(crate) use migrating::{UnfinishedMigration, asked_for, of_migration, of_running, source_selector};
pub(crate) use not_started::{found_no_place, why_not_started};
use pod::OfMigration;
pub use pod::of_pod;
pub(crate) use pod::{add_restart, of_waiting, set_added, unplaced, vmi_of_pod, waiting, without_restart};
use refused::Written;

/// An object prepared for judgement.
#[derive(Clone, Debug)]
pub struct Prepared<'a> {
    /// The guest that is judged.
    pub subject: Subject<'a>,
    /// The pod KubeVirt would create; `None` for an existing pod, and if KubeVirt would create none.
    pub predicted: Option<Rendered>,
    /// The reason why nothing can be judged: no pod would be created, or an object is not known.
    pub not_judged: Option<Finding>,
    /// Notes on assumptions.
    pub notes: Vec<Finding>,
    /// Whether an object that the pod depends on is not known, so that the verdict is a guess, which never denies.
    pub is_guess: bool,
    /// Whether the guest, or its instancetype or preference, is too large to judge.
    pub is_too_large: bool,
}

impl Prepared<'_> {
    /// Matches the guest against the nodes.
    pub(crate) fn look_up<'j>(&'j self, cluster: &'j Cluster, effort: impl Into<Effort<'j>>) -> Judgement<'j, 'j> {
        let why = self.not_judged.as_ref().map(|finding| finding.words().unwrap_or_default().to_owned());
        Judgement::new(&self.subject, &cluster.fleet, effort).unless_not_judged(why)
    }

    /// Returns the notes that do not depend on nodes.
    #[must_use]
    pub fn notes(&self) -> Notes<'_> {
        Notes { not_judged: self.not_judged.as_ref(), notes: &self.notes }
    }

    /// Returns outcome, cause and fitting nodes.
    pub fn assess(&self, cluster: &Cluster) -> Assessment {
        self.assess_within(cluster, Depth::Brief.into())
    }

    /// Returns the assessment, computed within a deadline; after it, the outcome is not known.
    pub(crate) fn assess_within(&self, cluster: &Cluster, effort: Effort<'_>) -> Assessment {
        self.look_up(cluster, effort).into_assessment()
    }

    /// Returns the verdict.
    pub fn judge<'j>(&'j self, cluster: &'j Cluster, effort: impl Into<Effort<'j>>) -> Verdict {
        self.look_up(cluster, effort).verdict_with(self.notes())
    }

    /// Not judged, if there is a reason why KubeVirt creates no pod.
    fn unless_refused(self, why: Option<Finding>) -> Self {
        if why.is_none() {
            return self;
        }
        let mode = self.subject.mode.clone();
        let out = unknown(self.subject, why);
        Self { subject: Subject { mode, ..out.subject }, ..out }
    }

    fn unless_too_large(self, excess: Option<&Excess>) -> Self {
        let not_judged = excess.map(too_large).or(self.not_judged);
        let mut subject = self.subject;
        if excess.is_some_and(Excess::cuts_model) {
            subject.mode = CpuMode::Unread;
        }
        Self { subject, not_judged, is_too_large: self.is_too_large || excess.is_some(), ..self }
    }
}

/// Whether one of these notes says that KubeVirt refuses the specification.
fn is_refused(notes: &[Finding]) -> bool {
    notes.iter().any(|note| matches!(note.detail, Detail::Refused(_)))
}

/// The origins of the settings of a guest without an instancetype.
static NO_ORIGINS: Origins = Origins::new();

/// Returns the reasons for which KubeVirt refuses a guest with this specification, and those among notes about its
/// VirtualMachine.
pub(crate) fn refusals(vmi: &Vmi, notes: &[Finding], cluster: &Cluster) -> Vec<String> {
    let written = Written::of_vmi(vmi, "", &NO_ORIGINS);
    let found = written.refusals(&cluster.config, cluster.release.release());
    let why = |note: &Finding| match &note.detail {
        Detail::Refused(why) => Some(why.clone()),
        _ => None,
    };
    found.iter().chain(notes).filter_map(why).collect()
}

fn finding(check: Check, field: &str, message: String) -> Finding {
    Finding::noted(check, field, message)
}

/// Returns the finding for an object that was not read whole, so that nodes cannot be judged.
fn too_large(excess: &Excess) -> Finding {
    finding(Check::Unknown, excess.field(), format!("it is too large to judge: {excess}"))
}

fn assumed(cluster: &Cluster) -> Vec<Finding> {
    cluster.release.assumption().map(|words| finding(Check::Assumed, "", words)).into_iter().collect()
}

/// Returns a note if a pod selects an architecture and no node has a label of one: each kubelet sets it, so the nodes
/// were not read whole.
fn without_architecture(placement: &Placement<'_>, cluster: &Cluster) -> Option<Finding> {
    let fleet = &cluster.fleet;
    let is_left_out =
        placement.get(label::ARCH).is_some() && !fleet.is_empty() && fleet.values(label::ARCH).next().is_none();
    let words = format!(
        "no node here has the label {}, which every kubelet sets: labels were left out of this dump, and their nodes may fit",
        label::ARCH
    );
    is_left_out.then(|| finding(Check::Assumed, "", words))
}

/// The reason why a VM that is being deleted has no pod.
const GOING: &str = "it is being deleted: KubeVirt does not start it again";

/// Returns the reason why a VMI of a VM that starts none has no pod.
fn stopped(vm: &VirtualMachine) -> &'static str {
    if is_being_deleted(&vm.metadata) {
        "its VM is being deleted: KubeVirt deletes this VMI and starts none"
    } else {
        "its VM is Halted (spec.runStrategy): KubeVirt deletes this VMI and starts none"
    }
}

/// Prepares a VMI that is about to start.
pub(crate) fn of_vmi(vmi: &Vmi, cluster: &Cluster) -> Prepared<'static> {
    if let Some(vmim) = decentralized::receiving(vmi, cluster) {
        return of_migration(vmim, cluster);
    }
    let authors = |rendered: &Rendered, filled: Origins| authors_of_vmi(vmi, rendered, &filled, cluster);
    let of = Foresight::of_vmi(vmi);
    let mut out = of_spec(&name_of(&vmi.metadata), of, "spec", &vmi.status, cluster, authors);
    out.subject.live_migratable.foreseen = out.subject.live_migratable.foreseen.filter(|_| !is_decided(vmi));
    changes::of_vmi(vmi, vm_of(vmi, cluster), cluster).into_subject(&mut out.subject);
    let written = Written::of_vmi(vmi, "spec", &NO_ORIGINS);
    written.locate_foreseen(&mut out.subject);
    out.notes.extend(written.refusals(&cluster.config, cluster.release.release()));
    out.notes.extend(written.repeats());
    out.subject.is_refused = is_refused(&out.notes);
    // The stage is the start itself, so it is also the start after a restart.
    describe(&mut out.subject, vmi, cluster);
    origin::of_vmi(&mut out.subject, vmi, cluster);
    if out.subject.definition.waits {
        out.subject.not_started = why_not_started(vmi);
        out.subject.restart = restart::of_vmi(vmi, restart::Made::of(vmi, cluster), cluster);
    }
    if let Some(words) = may_run(vmi) {
        out = out.unless_refused(Some(finding(Check::NoPod, "", words)));
    } else if is_being_deleted(&vmi.metadata) {
        out.not_judged = Some(finding(Check::NoPod, "", NoPod::BeingDeleted.to_string()));
    } else if let Some(vm) = vm_of(vmi, cluster).filter(|_| is_stopped(vmi, cluster)) {
        out.not_judged = Some(finding(Check::NoPod, "", stopped(vm).to_owned()));
    } else {
        out.notes.extend(decentralized::annotated_by_hand(vmi, cluster));
        out = out.unless_refused(decentralized::waits(vmi, cluster));
    }
    out.unless_too_large(vmi.metadata.excess.as_ref())
}

/// Returns why a guest whose node does not report is not to start: virt-controller creates no pod for a VMI in phase
/// `Unknown`, which has one. `None` for any other guest.
fn may_run(vmi: &Vmi) -> Option<String> {
    let node = Some(&vmi.status.node_name).filter(|node| vmi.status.phase == "Unknown" && !node.is_empty())?;
    Some(format!(
        "its phase is Unknown: {node}, where it may still run, does not report, and it starts nowhere else until then"
    ))
}

/// Prepares a VM: the guest made from it.
pub(crate) fn of_vm(vm: &VirtualMachine, cluster: &Cluster) -> Prepared<'static> {
    of_guest(vm, guest_of(vm, cluster), cluster)
}

/// Prepares a VM with a given guest, which may differ from the result of [`guest_of`].
pub(crate) fn of_guest(vm: &VirtualMachine, guest: Guest, cluster: &Cluster) -> Prepared<'static> {
    let changes = changes::of_vm(vm, &guest, cluster);
    let name = name_of(&vm.metadata);
    let authors = |rendered: &Rendered, filled: Origins| {
        let origins: Origins = guest.origins.iter().cloned().chain(filled).collect();
        Source::vm(vm, &origins, &guest).authors(rendered)
    };
    let (of, root) = (Foresight::of_guest(vm, &guest), "spec.template.spec");
    let mut out = of_spec(&name, of, root, &VmiStatus::default(), cluster, authors);
    let Guest { spec, notes, unmet, missing, is_guess, excess, instancetype, origins, .. } = guest;
    if missing.is_some() {
        out = unknown(out.subject, missing);
    }
    root.clone_into(&mut out.subject.definition.field_root);
    origin::of_vm(&mut out.subject, vm, cluster);
    changes.into_subject(&mut out.subject);
    out.subject.definition.own_selector = vm.spec.template.spec.node_selector.clone().into_iter().collect();
    out.notes.extend(notes);
    if out.subject.definition.origin == Origin::Submitted {
        out.notes.extend(unmet);
    }
    // A guest that is too large must not avoid a policy by naming an unknown object.
    out.is_guess = is_guess && excess.is_none();
    let written = Written {
        own: &vm.spec.template.spec,
        whole: &spec,
        root,
        has_type: instancetype.is_some(),
        origins: &origins,
        excess: excess.as_ref(),
    };
    written.locate_foreseen(&mut out.subject);
    if out.not_judged.is_none() && !is_guess {
        out.notes.extend(written.refusals(&cluster.config, cluster.release.release()));
        out.notes.extend(written.repeats());
    }
    let is_going = is_being_deleted(&vm.metadata);
    out.subject.is_refused = is_refused(&out.notes) && !is_going;
    // A manifest of a stored VM describes the next start of its guest.
    let is_stored = out.subject.definition.origin == Origin::Stored
        || cluster.vm(&vm.metadata.namespace, &vm.metadata.name).is_some();
    let vmi = cluster.vmi(&vm.metadata.namespace, &vm.metadata.name);
    if vmi.is_none() && out.subject.definition.origin == Origin::Stored {
        out.subject.not_started = not_started::of_vm(vm);
    }
    if let Some(vmi) = vmi.filter(|_| is_stored) {
        out.subject.definition.waits = waits(vmi, cluster);
        out.subject.running = running(vmi, cluster);
        out.subject.definition.restart_request = restart::request(vm);
        describe_edits(&mut out.subject, Some(vm), cluster);
    }
    let going = is_going.then(|| finding(Check::NoPod, "", GOING.to_owned()));
    out.unless_refused(going.or_else(|| decentralized::receives(vm, cluster))).unless_too_large(excess.as_ref())
}

/// Returns the name, or the prefix it is generated from.
#[must_use]
pub fn name_of(meta: &super::wire::Meta) -> String {
    if meta.name.is_empty() { meta.generate_name.clone() } else { meta.name.clone() }
}

/// Returns `namespace/name` of a guest, shortened for messages.
#[must_use]
pub fn title(meta: &super::wire::Meta) -> String {
    let (namespace, name) = (&meta.namespace, name_of(meta));
    let title = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
    if title.len() <= TITLE_CHARS { title } else { Shown::within(&title, TITLE_CHARS).to_string() }
}

/// Prepares a guest whose pod cannot be predicted.
fn unknown(subject: Subject<'_>, why: Option<Finding>) -> Prepared<'_> {
    let subject = Subject {
        mode: CpuMode::Unset,
        placement: Placement::default(),
        restart: None,
        authors: Authors::default(),
        ..subject
    };
    Prepared { subject, predicted: None, not_judged: why, notes: Vec::new(), is_guess: false, is_too_large: false }
}

/// `of`: the guest, without KubeVirt's defaults. `root`: the path of its specification in the object.
fn of_spec(
    name: &str,
    of: Foresight<'_>,
    root: &'static str,
    status: &VmiStatus,
    cluster: &Cluster,
    authors: impl FnOnce(&Rendered, Origins) -> Authors,
) -> Prepared<'static> {
    let (namespace, mut spec, mut status) = (of.namespace, of.spec.clone(), status.clone());
    let filled = defaults::apply(&mut spec, &cluster.config);
    let no_frequency = topology::hint(&spec, &mut status, cluster).err();
    let mut rendered = launch::render(&spec, &status, &cluster.config, cluster.release.release());
    rendered.excess = rendered.excess.map(|excess| excess.at(|below| format!("{root}.{below}")));
    let start = start(&spec, &rendered, cluster);
    let mut subject = Subject::new(namespace, name, Stage::Start(start.after_start), start.placement.clone());
    subject.mode = start.mode.clone();
    root.clone_into(&mut subject.definition.field_root);
    subject.restart = Some(start);
    subject.definition.own_selector = spec.node_selector.clone().into_iter().collect();
    subject.definition.under_own = launch::under_own(&spec, &status, &cluster.config, cluster.release.release());
    subject.machine_type = launch::machine_type(&spec, &status).map(str::to_owned);
    subject.resolved_machine = cluster.vmi(namespace, name).and_then(|vmi| resolved_machine(vmi, cluster));
    subject.unjudged = unjudged(&spec, (namespace, name), MountedBy::Start, cluster);
    subject.asked = cluster.asked(namespace, name);
    subject.features = features(&spec);
    let lacks_frequency = topology::lacks_frequency(&spec, &status, cluster);
    subject.live_migratable.foreseen = Foresight { spec: &spec, lacks_frequency, ..of }.reason(cluster);
    if let Some(configured) = no_frequency {
        let words = NoPod::NoTscFrequency { configured, holder: cluster.config.holder(None) }.to_string();
        return unknown(subject, Some(finding(Check::NoPod, "", words)));
    }
    let not_judged = rendered.excess.as_ref().map(too_large).or_else(|| {
        let excess = cluster.config.excess.as_ref()?;
        Some(finding(Check::Unknown, "", format!("the KubeVirt resource is too large to judge by: {excess}")))
    });
    subject.authors = authors(&rendered, filled);
    let mut notes = assumed(cluster);
    notes.extend(without_architecture(&subject.placement, cluster));
    let launcher = cluster.vmi(namespace, name).and_then(|vmi| cluster.current_launcher(vmi));
    notes.extend(by_cluster::findings(&subject.placement, namespace, (Predicted::Start, launcher), cluster));
    configured(&mut subject, cluster);
    let is_too_large = rendered.excess.is_some();
    Prepared { subject, predicted: Some(rendered), not_judged, notes, is_guess: false, is_too_large }
}

/// Returns the requirements of a guest with this name that are named and not judged.
fn unjudged(spec: &VmiSpec, (namespace, name): (&str, &str), by: MountedBy, cluster: &Cluster) -> Unjudged {
    Unjudged {
        pod_rules: launch::pod_rules(spec, cluster.release.release()),
        topology_keys: launch::topology_keys(spec),
        volumes: storage::bound_volumes(spec, (namespace, name), by, cluster),
        unplaced: storage::unplaced(spec, namespace, cluster),
        devices: devices::lacking(spec, cluster.vmi(namespace, name), cluster),
        differs_in_rules_or_room: false,
    }
}

/// Returns the CPU features that a specification lists. Those with policy `force`, `optional` and `disable` are in
/// libvirt's XML alone: mirrors `cpu.go` of `pkg/virt-launcher/virtwrap/converter/compute`, `setNodeAffinityForPod` and
/// `CPUFeatureLabelsFromCPUFeatures`, for which no policy is `require`.
fn features(spec: &VmiSpec) -> CpuFeatures {
    let of = |policies: &[&str]| {
        let features = spec.domain.cpu.iter().flat_map(|cpu| &cpu.features);
        features
            .filter(|feature| policies.contains(&feature.policy.as_str()))
            .map(|feature| feature.name.clone())
            .collect()
    };
    CpuFeatures {
        required: of(&["require", ""]),
        forced: of(&["force"]),
        optional: of(&["optional"]),
        disabled: of(&["disable"]),
        forbidden: of(&["forbid"]),
    }
}

fn mode(spec: &VmiSpec) -> CpuMode {
    CpuMode::parse(spec.cpu_model())
}

/// Returns the CPU mode of a VMI, which may be too large to be read.
fn mode_of_vmi(vmi: &Vmi) -> CpuMode {
    if vmi.metadata.excess.as_ref().is_some_and(Excess::cuts_model) { CpuMode::Unread } else { mode(&vmi.spec) }
}

fn start(spec: &VmiSpec, rendered: &Rendered, cluster: &Cluster) -> Start<'static> {
    let placement = rendered.placement();
    let mode = mode(spec);
    let after_start = after_start(&placement, &mode, cluster);
    let selectors = [&spec.node_selector, &cluster.config.configuration.developer_configuration.node_selectors];
    let keys = selectors.into_iter().flat_map(BTreeMap::keys);
    let own_models = keys.filter(|key| Family::of(key) == Family::CpuModel).cloned().collect();
    Start { mode, placement, own_models, features: features(spec), by_policy: None, after_start }
}

/// Returns the requirements of the guest's first migration.
fn after_start(placement: &Placement<'_>, mode: &CpuMode, cluster: &Cluster) -> AfterStart {
    let release = cluster.release.release();
    let looks_migrated = placement.selector.iter().any(|(key, _)| label::is_inherited(key));
    let host_model = match mode {
        CpuMode::HostModel if looks_migrated => HostModelRule::NotAsked,
        CpuMode::HostModel if release.overlooks_missing_host_model() => HostModelRule::Copied,
        CpuMode::HostModel if !release.inherits_host_model() => HostModelRule::SameHostOrRefused,
        CpuMode::HostModel => HostModelRule::CopiedOrRefused,
        _ => HostModelRule::NotAsked,
    };
    AfterStart { host_model, vendor: release.selects_vendor() }
}

/// Sets the fields that depend on the cluster's configuration and release.
fn configured(subject: &mut Subject<'_>, cluster: &Cluster) {
    subject.configured.obsolete = obsolete::list(&subject.placement, cluster);
    subject.configured.required = obsolete::required(&subject.placement, cluster);
    subject.configured.withheld = Arc::clone(&cluster.withheld.models);
    subject.configured.list = cluster.config.list();
    subject.configured.fixed_in = cluster.fixed_in();
    subject.configured.known_models_in = cluster.known_models_in();
    let config = &cluster.config;
    subject.configured.by_hyperconverged = config.is_hyperconverged;
    subject.configured.cpu_manager_is_off = config.is_gate_off(FeatureGate::CpuManager);
    subject.configured.workloads = placement::of_workloads(&cluster.config);
}

/// Sets the effects of an edit of the VM on the running guest, as far as the VM is known.
fn describe_edits(subject: &mut Subject<'_>, vm: Option<&VirtualMachine>, cluster: &Cluster) {
    subject.definition.restart_required = vm.is_some_and(migration::waits_for_restart);
    let opts_in = vm.and_then(|vm| vm.spec.live_update_features.as_ref()).is_some_and(|live| live.affinity.is_some());
    let (release, is_applied) = (cluster.release.release(), !subject.definition.restart_required);
    subject.definition.live_update = is_applied && release.updates_live(&cluster.config, opts_in);
    subject.definition.live_tolerations = is_applied && release.updates_tolerations_live(&cluster.config);
}

/// Sets the keys of a VMI's own selector that an edit of its VM does not remove. An instancetype that is not known may
/// ask for an entry that the VM does not ask for.
fn describe_selector(subject: &mut Subject<'_>, vmi: &Vmi, vm: &VirtualMachine, cluster: &Cluster) {
    let guest = guest_of(vm, cluster);
    let (own, whole) = (&vm.spec.template.spec.node_selector, &guest.spec.node_selector);
    for (key, value) in vmi.spec.node_selector.iter().filter(|(key, value)| own.get(*key) != Some(value)) {
        let is_kept = whole.get(key) == Some(value) || guest.missing.is_some() && !own.contains_key(key);
        let list =
            if is_kept { &mut subject.definition.not_of_template } else { &mut subject.definition.dropped_from_vm };
        list.push(key.clone());
    }
}

/// Sets the fields that describe a VMI beyond its requirements, except its next start.
fn describe(subject: &mut Subject<'_>, vmi: &Vmi, cluster: &Cluster) {
    subject.definition.own_selector = vmi.spec.node_selector.clone().into_iter().collect();
    let owners = &vmi.metadata.owner_references;
    // A dump may lack owner references.
    let is_of_vm = || owners.is_empty() && cluster.vm(&vmi.metadata.namespace, &vmi.metadata.name).is_some();
    let has_vm = owners.iter().any(|owner| owner.is_a(Resource::VirtualMachines)) || is_of_vm();
    let set = owners.iter().find(|owner| owner.is_a(Resource::ReplicaSets));
    (subject.definition.template, subject.definition.template_name) = match set.filter(|_| !has_vm) {
        Some(set) => (Some(Template::ReplicaSet), Some(set.name.clone())),
        None => (has_vm.then_some(Template::VirtualMachine), None),
    };
    let vm = vm_of(vmi, cluster);
    if has_vm {
        describe_edits(subject, vm, cluster);
    }
    if let Some(vm) = vm {
        describe_selector(subject, vmi, vm, cluster);
    }
    subject.outdated_launcher = well_known::OUTDATED_LAUNCHER.is_set(&vmi.metadata.labels);
    subject.failed = last_failure(vmi);
    subject.asked = cluster.asked_about(vmi);
    subject.features = features(&vmi.spec);
    subject.machine_type = launch::machine_type(&vmi.spec, &vmi.status).map(str::to_owned);
    subject.resolved_machine = resolved_machine(vmi, cluster);
    subject.running = running(vmi, cluster);
    let name = &vmi.metadata.name;
    subject.definition.waits = waits(vmi, cluster);
    subject.definition.restart_request =
        cluster.vm(&vmi.metadata.namespace, name).filter(|_| has_vm).map(restart::request).unwrap_or_default();
}

/// Returns the failure of the guest's last migration; `None` if it did not fail, or was aborted by a user. Mirrors
/// `setMigrationAbortStatus` and `setMigrationResult` of `pkg/virt-launcher/virtwrap/live-migration-source.go`, which
/// writes a failure for an abort too.
pub(crate) fn last_failure(vmi: &Vmi) -> Option<FailedMigration> {
    let state = vmi.status.migration_state.as_ref()?;
    if state.abort_requested && state.abort_status == "Succeeded" {
        return None;
    }
    failed_migration(&state.target_node, &state.failure_reason)
}

/// Whether a VMI is stored and has not started, and KubeVirt will start it.
pub(crate) fn waits(vmi: &Vmi, cluster: &Cluster) -> bool {
    has_not_started(vmi)
        && !is_stopped(vmi, cluster)
        && cluster.vmi(&vmi.metadata.namespace, &vmi.metadata.name).is_some()
}

fn has_not_started(vmi: &Vmi) -> bool {
    !(migration::runs(vmi) || migration::has_ended(vmi) || is_being_deleted(&vmi.metadata))
}

/// Whether a VMI that has not started never will: its VM starts none, and KubeVirt deletes the VMI. Mirrors `sync` and
/// `syncRunStrategy` of `pkg/virt-controller/watch/vm/vm.go`.
pub(crate) fn is_stopped(vmi: &Vmi, cluster: &Cluster) -> bool {
    has_not_started(vmi) && vm_of(vmi, cluster).is_some_and(starts_none)
}

/// Whether a VM is not to run: it is Halted, or is being deleted.
pub(crate) fn starts_none(vm: &VirtualMachine) -> bool {
    restart::request(vm) == RestartRequest::Halted || is_being_deleted(&vm.metadata)
}

/// Sets the next start of a described VMI. Costs a prediction.
fn describe_restart(subject: &mut Subject<'_>, vmi: &Vmi, cluster: &Cluster) {
    let is_halted = subject.definition.restart_request == RestartRequest::Halted;
    // A restart does not copy the data that a migration to other volumes copies.
    let moves_volumes = migration::pending_changes(vmi).contains(&PendingChange::Volumes);
    let made_of = restart::Made::of(vmi, cluster);
    subject.next_unjudged = restart::unjudged_next(vmi, made_of.as_ref(), cluster).map(Box::new);
    subject.restart = if is_halted || moves_volumes { None } else { restart::of_vmi(vmi, made_of, cluster) };
}

/// Returns the machine type labels of a running guest's alias, such as `q35`, and of the type that its QEMU resolved it
/// to. `None` for a guest with an outdated launcher, and if no node offers that type: the QEMU of its next start is
/// another one. Mirrors `updateMachineType` of `pkg/virt-handler/vm.go`.
pub(crate) fn resolved_machine(vmi: &Vmi, cluster: &Cluster) -> Option<(String, String)> {
    let kind = |machine: &Option<Machine>| machine.as_ref().map(|machine| machine.kind.clone());
    let (alias, resolved) = (kind(&vmi.spec.domain.machine)?, kind(&vmi.status.machine)?);
    let is_resolved = !alias.is_empty() && !resolved.is_empty() && alias != resolved;
    let is_known = is_resolved && !well_known::OUTDATED_LAUNCHER.is_set(&vmi.metadata.labels);
    let key = |kind: String| format!("{}{kind}", label::MACHINE_TYPE);
    let resolved = Some(key(resolved)).filter(|key| !cluster.fleet.bearing(key, "true").is_empty())?;
    is_known.then(|| (key(alias), resolved))
}

fn running(vmi: &Vmi, cluster: &Cluster) -> Option<Running<'static>> {
    let pod = cluster.current_launcher(vmi).filter(|pod| pod.excess.is_none());
    Some(Running { node: runs_on(vmi)?.to_owned(), placement: pod.map(|pod| (*pod.placement).clone()) })
}

/// Returns the node that a guest runs on; `None` if it has none, or has ended.
pub(crate) fn runs_on(vmi: &Vmi) -> Option<&str> {
    Some(vmi.status.node_name.as_str()).filter(|node| !node.is_empty() && !migration::has_ended(vmi))
}

/// Returns why KubeVirt refuses to migrate a guest within the cluster; `None` if it does not.
pub(crate) fn not_migratable(vmi: &Vmi) -> Option<NotMigratable> {
    migration::not_migratable(vmi).map(refusal)
}

pub(crate) fn refusal(condition: &Condition) -> NotMigratable {
    NotMigratable { reason: condition.reason.clone(), message: condition.message.clone() }
}

/// Returns the authors of a pod's requirements: the guest's VM for the entries that the VM requires too.
fn authors_of_vmi(vmi: &Vmi, rendered: &Rendered, filled: &[(Setting, SettingOrigin)], cluster: &Cluster) -> Authors {
    let mut authors = Source::vmi(vmi, filled).authors(rendered);
    if let Some((vm, guest)) = vm_of(vmi, cluster).map(|vm| (vm, guest_of(vm, cluster)))
        && guest.missing.is_none()
    {
        let (mut spec, mut origins) = (guest.spec.clone(), guest.origins.clone());
        origins.extend(defaults::apply(&mut spec, &cluster.config));
        // A guest that is pinned to a TSC frequency requires no other one.
        let status = VmiStatus { topology_hints: vmi.status.topology_hints.clone(), ..VmiStatus::default() };
        let of_vm = launch::render(&spec, &status, &cluster.config, cluster.release.release());
        let mut by_vm = Source::vm(vm, &origins, &guest).authors(&of_vm);
        // The VM may have changed since.
        by_vm.entries.retain(|key, _| of_vm.node_selector.get(key) == rendered.node_selector.get(key));
        if launch::own_node_affinity(&spec) != launch::own_node_affinity(&vmi.spec) {
            by_vm.affinity = None;
        }
        overlay(&mut authors, &by_vm, mode(&spec) == mode(&vmi.spec));
    }
    authors
}

fn under_own(vmi: &Vmi, cluster: &Cluster) -> Vec<(String, String)> {
    launch::under_own(&vmi.spec, &vmi.status, &cluster.config, cluster.release.release())
}

/// Returns the entries that a launcher pod has under keys of the guest's own node selector if that selector is removed.
/// Costs a prediction.
pub(crate) fn under_own_of_pod(pod: &Pod<'_>, cluster: &Cluster) -> Vec<(String, String)> {
    vmi_of_pod(pod, cluster).map(|vmi| under_own(vmi, cluster)).unwrap_or_default()
}

/// Returns the authors of a launcher pod's requirements. Costs a prediction, so callers use it only for requests that
/// get messages.
pub(crate) fn authors_of_pod(pod: &Pod<'_>, cluster: &Cluster) -> Authors {
    let Some(vmi) = vmi_of_pod(pod, cluster) else { return Authors::default() };
    let rendered = launch::render(&vmi.spec, &vmi.status, &cluster.config, cluster.release.release());
    let mut authors = authors_of_vmi(vmi, &rendered, &[], cluster);
    let source = cluster.current_launcher(vmi);
    let is_target = well_known::MIGRATION_UID.is_set(&pod.metadata.labels);
    let by_migration = OfMigration::of(pod, vmi, source, cluster);
    let mut entries = BTreeMap::new();
    for (key, value) in &pod.spec.node_selector.0 {
        let known = authors.entries.remove(&**key).map(|asked| asked.author);
        if let Some(author) = known.or_else(|| is_target.then(|| by_migration.author(key, value))) {
            entries.insert(key.to_string(), AskedAt { author, field: "spec.nodeSelector".to_owned() });
        }
    }
    authors.entries = entries;
    for asked in authors.rules.iter_mut().map(|(_, asked)| asked).chain(&mut authors.affinity) {
        "spec.affinity".clone_into(&mut asked.field);
    }
    authors
}

/// Returns the VM that owns a guest; `None` if it is not known.
pub(crate) fn vm_of<'c>(vmi: &Vmi, cluster: &'c Cluster) -> Option<&'c VirtualMachine> {
    let owner = vmi.metadata.owner_references.iter().find(|owner| owner.is_a(Resource::VirtualMachines))?;
    cluster.vm(&vmi.metadata.namespace, &owner.name)
}

/// Returns how a guest with this specification would start, with the current defaults; `None` if KubeVirt would create
/// no pod, if its affinity is too large, and if libvirt refuses it on every node.
pub(super) fn start_of(mut spec: VmiSpec, cluster: &Cluster) -> Option<Start<'static>> {
    defaults::apply(&mut spec, &cluster.config);
    if refused::repeated(&spec).is_some() {
        return None;
    }
    let mut status = VmiStatus::default();
    topology::hint(&spec, &mut status, cluster).ok()?;
    let rendered = launch::render(&spec, &status, &cluster.config, cluster.release.release());
    rendered.excess.is_none().then(|| start(&spec, &rendered, cluster))
}

/// Returns the volumes of a guest that are bound to nodes.
pub(crate) fn bound_volumes(vmi: &Vmi, cluster: &Cluster) -> Vec<BoundVolume> {
    storage::bound_volumes(&vmi.spec, (&vmi.metadata.namespace, &vmi.metadata.name), MountedBy::Target, cluster)
}

/// Whether an update of a VM affects the judgement.
///
/// `captures`: virt-controller sent the update. It writes the current revision of the instancetype and preference into
/// a VM (`pkg/instancetype/revision/store.go`), which does not change the guest. A user may name any revision.
pub(crate) fn concerns(old: &VirtualMachine, new: &VirtualMachine, captures: bool) -> bool {
    // The eviction strategy does not change the nodes a guest can run on; host name, volumes, memory and requests are
    // not judged.
    let guest = |vm: &VirtualMachine| {
        let mut spec = VmiSpec {
            eviction_strategy: String::new(),
            volumes: Vec::new(),
            hostname: String::new(),
            ..vm.spec.template.spec.clone()
        };
        spec.domain.resources = GuestResources::default();
        spec.domain.memory.guest = None;
        spec
    };
    let same = |old: &Option<Matcher>, new: &Option<Matcher>| match (old, new) {
        (Some(old), Some(new)) if captures && old.revision_name.is_empty() => {
            Matcher { revision_name: String::new(), ..new.clone() } == *old
        }
        (old, new) => old == new,
    };
    let Meta { labels: before, .. } = &old.spec.template.metadata;
    // The template's labels decide which policy applies.
    guest(old) != guest(new)
        || !decentralized::receive_alike(old, new)
        // The part that was not read may have changed.
        || old.metadata.excess.is_some()
        || new.metadata.excess.is_some()
        || *before != new.spec.template.metadata.labels
        || !same(&old.spec.instancetype, &new.spec.instancetype)
        || !same(&old.spec.preference, &new.spec.preference)
}

#[cfg(test)]
mod tests;
