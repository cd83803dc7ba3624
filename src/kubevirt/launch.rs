//! The launcher pod of a guest that starts: its selector, affinity and tolerations.
//!
//! Mirrors `pkg/virt-controller/services/template.go` (`newNodeSelectorRenderer`, `setNodeAffinityForPod`)
//! and `nodeselectorrenderer.go`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::defaults::{ClusterConfig, is_on};
use super::release::Release;
use super::topology;
use super::wire::{self, Toleration, VmiSpec, VmiStatus};
use crate::fit::label;
use crate::fit::node::Effect;
use crate::fit::placement::{self, Expression, NameRule, Placement, Term, TolerationOperator};

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
}

impl Rendered {
    /// What the scheduler's node filters read of it.
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

/// Renders the launcher of a guest. The spec must have met [`defaults::apply`](super::defaults::apply),
/// unless the object itself never does: then the model is empty, and features are ignored as KubeVirt does.
#[must_use]
pub fn render(spec: &VmiSpec, status: &VmiStatus, config: &ClusterConfig, release: Release) -> Rendered {
    let mut affinity = spec.affinity.clone().map(|affinity| affinity.0);
    let model = spec.domain.cpu.as_ref().map_or("", |cpu| cpu.model.as_str());
    if matches!(model, "" | "host-model") && release.avoids_obsolete_host_models() {
        reject_label(&mut affinity, label::OBSOLETE_HOST_MODEL);
    }
    for feature in spec.domain.cpu.iter().flat_map(|cpu| &cpu.features).filter(|f| f.policy == "forbid") {
        reject_label(&mut affinity, &format!("{}{}", label::CPU_FEATURE, feature.name));
    }
    if config.gate("CrossArchitectureVirtualization") && !spec.architecture.is_empty() {
        prefer_architecture(&mut affinity, &spec.architecture.to_lowercase());
    }
    Rendered { node_selector: selector(spec, status, config, release), affinity, tolerations: spec.tolerations.clone() }
}

/// The entries in KubeVirt's order: later ones win, so that a guest may override the first three only.
fn selector(spec: &VmiSpec, status: &VmiStatus, config: &ClusterConfig, release: Release) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([(label::SCHEDULABLE.to_owned(), "true".to_owned())]);
    let crosses = config.gate("CrossArchitectureVirtualization") && !spec.architecture.is_empty();
    if !spec.architecture.is_empty() && release.selects_arch() {
        out.insert(label::ARCH.to_owned(), spec.architecture.to_lowercase());
    }
    out.extend(config.configuration.developer_configuration.node_selectors.clone());
    out.extend(spec.node_selector.clone());
    if crosses {
        out.remove(label::ARCH);
        out.insert(format!("{}{}", label::VM_ARCH, spec.architecture), "true".to_owned());
    }

    let mut on = |key: String| out.insert(key, "true".to_owned());
    let cpu = spec.domain.cpu.as_ref();
    if cpu.is_some_and(|cpu| cpu.dedicated_cpu_placement) {
        let key = if release.renamed_cpumanager() { label::CPU_MANAGER } else { label::CPU_MANAGER_OLD };
        on(key.to_owned());
    }
    if config.gate("HypervStrictCheck") {
        for key in hyperv_keys(spec) {
            on(key);
        }
    }
    if let Some(cpu) = cpu.filter(|cpu| !cpu.model.is_empty()) {
        if !matches!(cpu.model.as_str(), "host-model" | "host-passthrough") {
            on(format!("{}{}", label::CPU_MODEL, cpu.model));
        }
        for feature in cpu.features.iter().filter(|f| matches!(f.policy.as_str(), "" | "require")) {
            on(format!("{}{}", label::CPU_FEATURE, feature.name));
        }
    }
    if release.selects_machine_type()
        && let Some(machine) = machine_type(spec, status)
    {
        on(format!("{}{machine}", label::MACHINE_TYPE));
    }
    if topology::needs_tsc(spec)
        && let Some(frequency) = status.topology_hints.tsc_frequency.filter(|&hz| hz > 0)
    {
        on(format!("{}{frequency}", label::SCHEDULING_TSC));
    }
    for key in capabilities(spec, release) {
        out.insert(key.to_owned(), release.capability_value().to_owned());
    }
    out
}

/// The machine type asked for: what the guest was started with, else what its spec says.
#[must_use]
pub fn machine_type<'v>(spec: &'v VmiSpec, status: &'v VmiStatus) -> Option<&'v str> {
    [&status.machine, &spec.domain.machine]
        .into_iter()
        .flatten()
        .map(|machine| machine.kind.as_str())
        .find(|kind| !kind.is_empty())
}

fn hyperv_keys(spec: &VmiSpec) -> Vec<String> {
    let Some(hyperv) = &spec.domain.features.hyperv else { return Vec::new() };
    // QEMU alone decides on those two; what EVMCS needs is asked for otherwise.
    let is_labelled = |name: &str| !matches!(name, "evmcs" | "vapic");
    let mut out: Vec<String> = hyperv
        .settings()
        .into_iter()
        .filter(|(name, state)| is_labelled(name) && is_on(state.as_ref()))
        .map(|(name, _)| format!("{}{name}", label::HYPERV))
        .collect();
    if hyperv.evmcs.as_ref().is_some_and(|evmcs| evmcs.enabled != Some(false)) {
        out.push(format!("{}Intel", label::CPU_VENDOR));
    }
    out
}

fn capabilities(spec: &VmiSpec, release: Release) -> Vec<&'static str> {
    let mut out = Vec::new();
    if spec.domain.cpu.as_ref().is_some_and(|cpu| cpu.realtime.is_some()) {
        out.push(label::REALTIME);
    }
    let Some(security) = &spec.domain.launch_security else { return out };
    if security.sev.is_some() || security.snp.is_some() {
        out.push(label::SEV);
    }
    let policy = security.sev.as_ref().and_then(|sev| sev.policy.as_ref());
    if policy.is_some_and(|policy| policy.encrypted_state == Some(true)) {
        out.push(label::SEV_ES);
    }
    if security.snp.is_some() {
        out.push(label::SEV_SNP);
    }
    if security.tdx.is_some() && release.selects_tdx() {
        out.push(label::TDX);
    }
    if spec.architecture == "s390x" {
        out.push(label::S390_PV);
    }
    out
}

/// A field of an object that is made where it is missing or null.
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

/// Appends to a list that is made where it is missing or null.
fn append(value: &mut Value, field: &str, item: Value) {
    match &mut value[field] {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Mirrors `modifyNodeAffintyToRejectLabel`: every required term gets the condition, or one is made.
fn reject_label(affinity: &mut Option<Value>, key: &str) {
    require_in_terms(affinity, &json!({"key": key, "operator": "DoesNotExist"}), usize::MAX);
}

/// Appends a condition to the first `most` required terms, or makes a term of it.
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

/// The part of an affinity that filters nodes; `None` where there is none, or where it is malformed.
fn required_node_affinity(affinity: &Value) -> Option<placement::NodeSelector> {
    let required = affinity.get("nodeAffinity")?.get("requiredDuringSchedulingIgnoredDuringExecution")?;
    serde_json::from_value::<Option<wire::NodeSelector>>(required.clone()).ok()?.map(node_selector)
}

/// From the wire's words.
#[must_use]
pub fn node_selector(selector: wire::NodeSelector) -> placement::NodeSelector {
    let term = |term: wire::NodeSelectorTerm| Term {
        expressions: term
            .match_expressions
            .into_iter()
            .map(|rule| Expression::new(rule.key, &rule.operator, rule.values))
            .collect(),
        names: term.match_fields.into_iter().map(name_rule).collect(),
    };
    placement::NodeSelector { terms: selector.node_selector_terms.into_iter().map(term).collect() }
}

/// Mirrors `nodeSelectorRequirementsAsFieldSelector`: one value, `In` or `NotIn`, `metadata.name`.
fn name_rule(mut rule: wire::NodeSelectorRequirement) -> NameRule {
    match (rule.values.len(), rule.values.pop(), rule.key.as_str(), rule.operator.as_str()) {
        (1, Some(name), "metadata.name", "In") => NameRule::Is(name),
        (1, Some(name), "metadata.name", "NotIn") => NameRule::IsNot(name),
        _ => NameRule::Invalid,
    }
}

/// From the wire's words. An effect this release does not know tolerates nothing.
#[must_use]
pub fn toleration(toleration: &Toleration) -> placement::Toleration {
    let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
    let known = effect.and_then(Effect::parse);
    let operator = match toleration.operator.as_deref().unwrap_or_default() {
        _ if effect.is_some() && known.is_none() => TolerationOperator::Unknown,
        "" | "Equal" => TolerationOperator::Equal,
        "Exists" => TolerationOperator::Exists,
        _ => TolerationOperator::Unknown,
    };
    placement::Toleration {
        key: toleration.key.clone().unwrap_or_default(),
        operator,
        value: toleration.value.clone().unwrap_or_default(),
        effect: known,
    }
}
