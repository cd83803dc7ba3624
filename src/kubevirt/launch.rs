//! The launcher pod of a starting guest: its node selector, affinity and tolerations.
//!
//! Mirrors `pkg/virt-controller/services/template.go` (`newNodeSelectorRenderer`, `setNodeAffinityForPod`)
//! and `nodeselectorrenderer.go` (`NewNodeSelectorRenderer`, `Render`) of KubeVirt.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::defaults::{ClusterConfig, is_on};
use super::feature_gate::FeatureGate;
use super::placement::{node_selector, toleration};
use super::release::Release;
use super::setting::Setting;
use super::topology;
use super::wire::{self, AnyAffinity, CpuFeature, Disk, SpreadConstraint, Toleration, VmiSpec, VmiStatus};
use crate::bounds::{ADDED_CONDITIONS, Excess};
use crate::fit::label;
use crate::fit::placement::{self, Expression, Placement};
use crate::fit::subject::PodRule;

/// The scheduling part of a pod that KubeVirt would create.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendered {
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.affinity`, whole.
    pub affinity: Option<Value>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// The settings from which the selector's entries follow, by key.
    #[serde(skip)]
    pub settings: BTreeMap<String, Setting>,
    /// The conditions that KubeVirt adds to the required node affinity, with the settings they follow from.
    #[serde(skip)]
    pub rules: Vec<(Expression, Setting)>,
    /// The reason why the affinity was not read whole; `None` if it was.
    #[serde(skip)]
    pub excess: Option<Excess>,
}

impl Rendered {
    /// Returns the fields that the scheduler's node filters read.
    #[must_use]
    pub fn placement(&self) -> Placement<'static> {
        Placement {
            selector: self
                .node_selector
                .iter()
                .map(|(key, value)| (Cow::Owned(key.clone()), Cow::Owned(value.clone())))
                .collect(),
            affinity: self.affinity.as_ref().and_then(required_node_affinity).map(placement::Affinity::from),
            tolerations: self.tolerations.iter().map(toleration).collect(),
            node_name: None,
        }
    }
}

/// Renders the launcher of a guest. [`defaults::apply`](super::defaults::apply) must have been applied to the spec,
/// unless KubeVirt never applies defaults to the object: then the model is empty, and features are ignored as in
/// KubeVirt.
#[must_use]
pub fn render(spec: &VmiSpec, status: &VmiStatus, config: &ClusterConfig, release: Release) -> Rendered {
    let mut affinity = spec.affinity.as_ref().map(AnyAffinity::value);
    let mut rules = Vec::new();
    let mut reject = |affinity: &mut Option<Value>, key: String, setting: Setting| {
        reject_label(affinity, &key);
        rules.push((Expression::DoesNotExist(key), setting));
    };
    let model = spec.cpu_model();
    if matches!(model, "" | "host-model") && release.avoids_obsolete_host_models() {
        reject(&mut affinity, label::OBSOLETE_HOST_MODEL.to_owned(), Setting::Model);
    }
    let excess =
        (added(spec, affinity.as_ref()) > ADDED_CONDITIONS).then(|| Excess::of_conditions("domain.cpu.features"));
    for feature in forbidden(spec).filter(|_| excess.is_none()) {
        let key = format!("{}{}", label::CPU_FEATURE, feature.name);
        reject(&mut affinity, key, Setting::Forbidden(feature.name.clone()));
    }
    if crosses(spec, config, release) {
        prefer_architecture(&mut affinity, &spec.architecture.to_lowercase());
    }
    let (node_selector, settings) = selector(spec, &spec.node_selector, status, config, release);
    Rendered { node_selector, affinity, tolerations: spec.tolerations.clone(), settings, rules, excess }
}

/// Returns the entries that a launcher has under keys of the guest's own node selector if that selector is removed.
pub(crate) fn under_own(
    spec: &VmiSpec,
    status: &VmiStatus,
    config: &ClusterConfig,
    release: Release,
) -> Vec<(String, String)> {
    if spec.node_selector.is_empty() {
        return Vec::new();
    }
    let (left, _) = selector(spec, &BTreeMap::new(), status, config, release);
    left.into_iter().filter(|(key, _)| spec.node_selector.contains_key(key)).collect()
}

/// Whether nodes of other architectures may emulate the guest's.
fn crosses(spec: &VmiSpec, config: &ClusterConfig, release: Release) -> bool {
    release.crosses_architectures()
        && config.gate(FeatureGate::CrossArchitectureVirtualization)
        && !spec.architecture.is_empty()
}

/// Returns the entries and the setting each follows from. Entries are added in KubeVirt's order and later ones win, so
/// a guest may override only the first three kinds. Mirrors `NewNodeSelectorRenderer` and `Render`.
fn selector(
    spec: &VmiSpec,
    own: &BTreeMap<String, String>,
    status: &VmiStatus,
    config: &ClusterConfig,
    release: Release,
) -> (BTreeMap<String, String>, BTreeMap<String, Setting>) {
    let (mut out, mut settings) = (BTreeMap::new(), BTreeMap::new());
    let mut ask = |key: &str, value: &str, setting: Setting| {
        out.insert(key.to_owned(), value.to_owned());
        settings.insert(key.to_owned(), setting);
    };
    ask(label::SCHEDULABLE, "true", Setting::KubeVirt);
    let crosses = crosses(spec, config, release);
    if !spec.architecture.is_empty() && release.selects_arch() {
        ask(label::ARCH, &spec.architecture.to_lowercase(), Setting::Architecture);
    }
    for (key, value) in &config.configuration.developer_configuration.node_selectors {
        ask(key, value, Setting::ClusterSelector { by_hyperconverged: config.is_hyperconverged });
    }
    for (key, value) in own {
        ask(key, value, Setting::NodeSelector);
    }
    if crosses {
        ask(&format!("{}{}", label::VM_ARCH, spec.architecture), "true", Setting::Architecture);
    }
    let cpu = spec.domain.cpu.as_ref();
    if cpu.is_some_and(|cpu| cpu.dedicated_cpu_placement) {
        let key = if release.renamed_cpumanager() { label::CPU_MANAGER } else { label::CPU_MANAGER_OLD };
        ask(key, "true", Setting::DedicatedCpus);
    }
    if config.gate(FeatureGate::HypervStrictCheck) {
        for (key, setting) in hyperv_keys(spec) {
            ask(&key, "true", setting);
        }
    }
    if let Some(cpu) = cpu.filter(|cpu| !cpu.model.is_empty()) {
        if !matches!(cpu.model.as_str(), "host-model" | "host-passthrough") {
            ask(&format!("{}{}", label::CPU_MODEL, cpu.model), "true", Setting::Model);
        }
        for feature in cpu.features.iter().filter(|f| matches!(f.policy.as_str(), "" | "require")) {
            let setting = Setting::Feature(feature.name.clone());
            ask(&format!("{}{}", label::CPU_FEATURE, feature.name), "true", setting);
        }
    }
    if release.selects_machine_type()
        && let Some(machine) = machine_type(spec, status)
    {
        ask(&format!("{}{machine}", label::MACHINE_TYPE), "true", Setting::MachineType);
    }
    if let Some(setting) = topology::asks_for_tsc(spec)
        && let Some(frequency) = status.topology_hints.tsc_frequency.filter(|&hz| hz > 0)
    {
        ask(&format!("{}{frequency}", label::SCHEDULING_TSC), "true", setting);
    }
    for (key, setting) in capabilities(spec, release) {
        ask(key, release.capability_value(), setting);
    }
    if crosses {
        out.remove(label::ARCH);
        settings.remove(label::ARCH);
    }
    (out, settings)
}

/// Whether the guest itself requires an entry that looks inherited, through a CPU feature or a node selector (its own
/// or the cluster's). [`defaults::apply`](super::defaults::apply) must have been applied to the spec.
#[must_use]
pub fn asks(spec: &VmiSpec, config: &ClusterConfig, key: &str) -> bool {
    let feature = key.strip_prefix(label::CPU_FEATURE);
    let mut features = spec.domain.cpu.iter().flat_map(|cpu| &cpu.features);
    features.any(|own| feature == Some(own.name.as_str()) && matches!(own.policy.as_str(), "" | "require"))
        || spec.node_selector.contains_key(key)
        || config.configuration.developer_configuration.node_selectors.contains_key(key)
}

/// Returns the required machine type: the one the guest was started with, else the one in its spec. Mirrors
/// `newNodeSelectorRenderer`.
pub(crate) fn machine_type<'v>(spec: &'v VmiSpec, status: &'v VmiStatus) -> Option<&'v str> {
    [&status.machine, &spec.domain.machine]
        .into_iter()
        .flatten()
        .map(|machine| machine.kind.as_str())
        .find(|kind| !kind.is_empty())
}

/// Returns the entries of the switched-on enlightenments. Mirrors `hypervNodeSelectors` and `makeHVFeatureLabelTable`.
fn hyperv_keys(spec: &VmiSpec) -> Vec<(String, Setting)> {
    let Some(hyperv) = &spec.domain.features.hyperv else { return Vec::new() };
    // These two depend on QEMU only; the requirements of EVMCS are added below.
    let is_labelled = |name: &str| !matches!(name, "evmcs" | "vapic");
    let mut out: Vec<(String, Setting)> = hyperv
        .settings()
        .into_iter()
        .filter(|(name, state)| is_labelled(name) && is_on(state.as_ref()))
        .map(|(name, _)| (format!("{}{name}", label::HYPERV), Setting::HyperV(name)))
        .collect();
    if hyperv.evmcs.as_ref().is_some_and(|evmcs| evmcs.enabled != Some(false)) {
        out.push((format!("{}Intel", label::CPU_VENDOR), Setting::HyperV("evmcs")));
    }
    out
}

/// Returns the entries of capabilities. Mirrors `IsSEVVMI`, `IsSEVESVMI`, `IsSEVSNPVMI` and `IsTDXVMI` of
/// `pkg/util/amd64.go`, and `IsSecureExecutionVMI` of `pkg/util/s390x.go`.
fn capabilities(spec: &VmiSpec, release: Release) -> Vec<(&'static str, Setting)> {
    let mut out = Vec::new();
    if spec.domain.cpu.as_ref().is_some_and(|cpu| cpu.realtime.is_some()) {
        out.push((label::REALTIME, Setting::Realtime));
    }
    let Some(security) = &spec.domain.launch_security else { return out };
    let snp = security.snp.is_some() && release.knows_snp_and_tdx();
    if security.sev.is_some() || snp {
        out.push((label::SEV, Setting::LaunchSecurity));
    }
    let policy = security.sev.as_ref().and_then(|sev| sev.policy.as_ref());
    if policy.is_some_and(|policy| policy.encrypted_state == Some(true)) {
        out.push((label::SEV_ES, Setting::LaunchSecurity));
    }
    if snp {
        out.push((label::SEV_SNP, Setting::LaunchSecurity));
    }
    if security.tdx.is_some() && release.knows_snp_and_tdx() {
        out.push((label::TDX, Setting::LaunchSecurity));
    }
    if spec.architecture == "s390x" && release.knows_secure_execution() {
        out.push((label::S390_PV, Setting::LaunchSecurity));
    }
    out
}

/// Returns a field as an object; creates it if it is missing or null.
fn object<'v>(value: &'v mut Value, field: &str) -> &'v mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    let slot = &mut value[field];
    if slot.is_null() {
        *slot = json!({});
    }
    slot
}

/// Appends to a list; creates it if it is missing or null.
fn append(value: &mut Value, field: &str, item: Value) {
    match &mut value[field] {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Adds the condition to every required term, or creates a term. Mirrors `modifyNodeAffintyToRejectLabel` of
/// `pkg/virt-controller/services/template.go`.
fn reject_label(affinity: &mut Option<Value>, key: &str) {
    require_in_terms(affinity, &json!({"key": key, "operator": "DoesNotExist"}), usize::MAX);
}

/// Appends a condition to the first `most` required terms, or creates a term for it.
pub(super) fn require_in_terms(affinity: &mut Option<Value>, condition: &Value, most: usize) {
    let node = object(affinity.get_or_insert_with(|| json!({})), "nodeAffinity");
    let required = &mut node["requiredDuringSchedulingIgnoredDuringExecution"];
    if required.is_null() {
        *required = json!({"nodeSelectorTerms": [{"matchExpressions": [condition]}]});
    } else if let Some(terms) = required["nodeSelectorTerms"].as_array_mut() {
        for term in terms.iter_mut().take(most).filter(|term| term.is_object()) {
            append(term, "matchExpressions", condition.clone());
        }
    }
}

/// Returns the number of conditions that rendering adds to the node affinity: one for each forbidden feature in each
/// term.
pub(super) fn added_conditions(spec: &VmiSpec) -> usize {
    if forbidden(spec).next().is_none() {
        return 0;
    }
    added(spec, spec.affinity.as_ref().map(AnyAffinity::value).as_ref())
}

fn added(spec: &VmiSpec, affinity: Option<&Value>) -> usize {
    forbidden(spec).count() * terms(affinity).max(1)
}

/// Returns the CPU features that no node of the guest may have.
fn forbidden(spec: &VmiSpec) -> impl Iterator<Item = &CpuFeature> {
    spec.domain.cpu.iter().flat_map(|cpu| &cpu.features).filter(|feature| feature.policy == "forbid")
}

/// Returns the number of required terms.
fn terms(affinity: Option<&Value>) -> usize {
    let required = affinity.map(|affinity| &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]);
    required.and_then(|required| required["nodeSelectorTerms"].as_array()).map_or(0, Vec::len)
}

/// Adds a preference for the architecture. Mirrors `setPreferredArchitectureAffinity`.
fn prefer_architecture(affinity: &mut Option<Value>, architecture: &str) {
    let node = object(affinity.get_or_insert_with(|| json!({})), "nodeAffinity");
    let term = json!({"weight": 100, "preference": {"matchExpressions": [
        {"key": label::ARCH, "operator": "In", "values": [architecture]}]}});
    append(node, "preferredDuringSchedulingIgnoredDuringExecution", term);
}

/// Appends a required pod anti-affinity term.
pub(super) fn avoid_pods(affinity: &mut Option<Value>, term: Value) {
    let pods = object(affinity.get_or_insert_with(|| json!({})), "podAntiAffinity");
    append(pods, "requiredDuringSchedulingIgnoredDuringExecution", term);
}

/// Returns the pod's rules that kube-scheduler evaluates against the pods and devices on nodes. KubeVirt copies
/// affinity, topology spread constraints and, since 1.6, resource claims to the launcher. Mirrors
/// `setPersistentReservationAntiAffinity` of `pkg/virt-controller/services/template.go` too, which selects by the UID
/// of the claim.
pub(crate) fn pod_rules(spec: &VmiSpec, release: Release) -> Vec<PodRule> {
    let affinity = spec.affinity.as_ref().and_then(AnyAffinity::of_pods);
    let requires = |kind: &str| required_terms(affinity.as_ref(), kind).next().is_some();
    let reserves = |disk: &Disk| disk.lun.as_ref().is_some_and(|lun| lun.reservation);
    let rules = [
        (PodRule::Affinity, requires("podAffinity")),
        (PodRule::AntiAffinity, requires("podAntiAffinity")),
        (PodRule::Spread, spec.topology_spread_constraints.iter().any(is_strict)),
        (PodRule::Claims, !spec.resource_claims.is_empty() && release.has_resource_claims()),
        (PodRule::Reservation, release.spreads_reservations() && spec.domain.devices.disks.iter().any(reserves)),
    ];
    rules.into_iter().filter(|(_, is_there)| *is_there).map(|(rule, _)| rule).collect()
}

fn is_strict(constraint: &SpreadConstraint) -> bool {
    constraint.when_unsatisfiable == "DoNotSchedule"
}

/// Returns the required terms of a pod affinity or anti-affinity.
fn required_terms<'v>(affinity: Option<&'v Value>, kind: &str) -> impl Iterator<Item = &'v Value> {
    let of_kind = affinity.map(|affinity| &affinity[kind]);
    let terms = of_kind.and_then(|of| of["requiredDuringSchedulingIgnoredDuringExecution"].as_array());
    terms.into_iter().flatten()
}

/// Returns the topology keys that kube-scheduler asks a node for: those of topology spread constraints with
/// `DoNotSchedule` (`Filter` of `pkg/scheduler/framework/plugins/podtopologyspread/filtering.go`), and of required pod
/// affinity (`satisfyPodAffinity` of `pkg/scheduler/framework/plugins/interpodaffinity/filtering.go`), each once.
pub(crate) fn topology_keys(spec: &VmiSpec) -> Vec<(PodRule, String)> {
    let strict = spec.topology_spread_constraints.iter().filter(|constraint| is_strict(constraint));
    let spread: BTreeSet<&str> = strict.map(|constraint| constraint.topology_key.as_str()).collect();
    let whole = spec.affinity.as_ref().and_then(AnyAffinity::of_pods);
    let terms = required_terms(whole.as_ref(), "podAffinity").filter_map(|term| term["topologyKey"].as_str());
    let affinity: BTreeSet<&str> = terms.collect();
    let of = |rule: PodRule, keys: BTreeSet<&str>| keys.into_iter().map(move |key| (rule, key.to_owned())).collect();
    let all: [Vec<(PodRule, String)>; 2] = [of(PodRule::Affinity, affinity), of(PodRule::Spread, spread)];
    all.into_iter().flatten().filter(|(_, key)| !key.is_empty()).collect()
}

/// Returns the required node affinity of a specification, without the conditions that KubeVirt adds.
pub(super) fn own_node_affinity(spec: &VmiSpec) -> Option<placement::NodeSelector> {
    spec.affinity.as_ref().map(AnyAffinity::value).as_ref().and_then(required_node_affinity)
}

/// Returns the part of an affinity that filters nodes; `None` without one, or if it is malformed.
fn required_node_affinity(affinity: &Value) -> Option<placement::NodeSelector> {
    let required = affinity.get("nodeAffinity")?.get("requiredDuringSchedulingIgnoredDuringExecution")?;
    serde_json::from_value::<Option<wire::NodeSelector>>(required.clone()).ok()?.map(node_selector)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Returns the keys that a launcher selects beyond those of all launchers.
    fn keys(spec: &Value, config: &Value, release: &str) -> Vec<String> {
        let read = (serde_json::from_value(spec.clone()), serde_json::from_value(config.clone()));
        let ((Ok(spec), Ok(configuration)), Some(release)) = (read, Release::parse(release)) else {
            panic!("spec and configuration are well-formed")
        };
        let config = ClusterConfig { configuration, ..ClusterConfig::default() };
        let rendered = render(&spec, &VmiStatus::default(), &config, release);
        rendered.node_selector.into_keys().filter(|key| key != label::SCHEDULABLE).collect()
    }

    #[rstest]
    #[case::sev(json!({"sev": {}}), "amd64", "1.5.3", &[label::SEV])]
    #[case::sev_es(json!({"sev": {"policy": {"encryptedState": true}}}), "amd64", "1.5.3", &[label::SEV, label::SEV_ES])]
    #[case::snp_before(json!({"snp": {}}), "amd64", "1.6.6", &[])]
    #[case::snp(json!({"snp": {}}), "amd64", "1.7.0", &[label::SEV, label::SEV_SNP])]
    #[case::tdx_before(json!({"tdx": {}}), "amd64", "1.6.6", &[])]
    #[case::tdx(json!({"tdx": {}}), "amd64", "1.7.0", &[label::TDX])]
    #[case::secure_execution_before(json!({}), "s390x", "1.5.3", &[])]
    #[case::secure_execution(json!({}), "s390x", "1.6.0", &[label::S390_PV])]
    fn launch_security_asks_for_the_capability_of_its_release(
        #[case] security: Value,
        #[case] architecture: &str,
        #[case] release: &str,
        #[case] expected: &[&str],
    ) {
        let spec = json!({"architecture": architecture, "domain": {"launchSecurity": security}});
        let mut found = keys(&spec, &json!({}), release);
        found.retain(|key| key != label::ARCH);
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "a guest is kept off nodes, or let onto nodes, where KubeVirt does otherwise");
    }

    #[rstest]
    #[case::before("1.8.4", label::ARCH)]
    #[case::since("1.9.0", "kubevirt.io/vm-arch-arm64")]
    fn another_architecture_may_emulate_the_guests_where_the_gate_exists(
        #[case] release: &str,
        #[case] expected: &str,
    ) {
        let spec = json!({"architecture": "arm64", "domain": {}});
        let gate = json!({"developerConfiguration": {"featureGates": ["CrossArchitectureVirtualization"]}});
        assert_eq!(keys(&spec, &gate, release), [expected], "the guest is judged on nodes of the wrong architecture");
    }
}
