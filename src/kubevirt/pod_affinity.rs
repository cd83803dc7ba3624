//! Required pod affinity and anti-affinity: the pods that a term selects.
//!
//! Mirrors `AffinityTerm` of the scheduler's framework (`pkg/scheduler/framework/types.go`, `Matches`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::release::Release;
use super::wire::{AnyAffinity, Vmi};
use crate::policy::{LabelCondition, LabelSelector, Operator};
use crate::well_known;

/// A required term of a pod affinity or anti-affinity. Mirrors `v1.PodAffinityTerm`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodAffinityTerm {
    /// `labelSelector`; `None` selects no pod.
    selector: Option<LabelSelector>,
    namespaces: Vec<String>,
    /// `namespaceSelector`; `None` if it is not set.
    namespace_selector: Option<LabelSelector>,
    /// The label key that defines the topology domains: nodes with the same value are in one domain.
    pub topology_key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireTerm {
    label_selector: Option<WireSelector>,
    namespaces: Vec<String>,
    namespace_selector: Option<WireSelector>,
    topology_key: String,
    match_label_keys: Vec<String>,
    mismatch_label_keys: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSelector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<WireCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCondition {
    key: String,
    operator: String,
    values: Vec<String>,
}

/// Converts a selector. `None` if it is malformed; the API server would not have accepted it.
fn selector(wire: WireSelector) -> Option<LabelSelector> {
    let condition = |wire: WireCondition| {
        Some(LabelCondition { key: wire.key, operator: wire.operator.parse().ok()?, values: wire.values })
    };
    let match_expressions = wire.match_expressions.into_iter().map(condition).collect::<Option<_>>()?;
    Some(LabelSelector { match_labels: wire.match_labels, match_expressions })
}

impl PodAffinityTerm {
    /// Returns the required terms of a guest's anti-affinity; its launcher has the same ones, and since 1.9.0 one for
    /// each persistent reservation (`setPersistentReservationAntiAffinity` of
    /// `pkg/virt-controller/services/template.go`), which selects by UIDs of claims and is not read here:
    /// [`PodRule::Reservation`](crate::fit::subject::PodRule::Reservation).
    pub(crate) fn apart_of(vmi: &Vmi) -> Vec<Self> {
        Self::of_guest(vmi, "podAntiAffinity")
    }

    /// Returns the required terms of a guest's affinity; its launcher has the same ones.
    pub(crate) fn together_of(vmi: &Vmi) -> Vec<Self> {
        Self::of_guest(vmi, "podAffinity")
    }

    fn of_guest(vmi: &Vmi, kind: &str) -> Vec<Self> {
        let Some(whole) = vmi.spec.affinity.as_ref().and_then(AnyAffinity::of_pods) else { return Vec::new() };
        Self::all(&whole[kind]["requiredDuringSchedulingIgnoredDuringExecution"], &vmi.metadata.labels)
    }

    /// Reads the required terms of a pod with these labels. A term that the API server would not have accepted is left
    /// out.
    pub(crate) fn all(required: &Value, labels: &BTreeMap<String, String>) -> Vec<Self> {
        required.as_array().into_iter().flatten().filter_map(|term| Self::of(term, labels)).collect()
    }

    /// Reads a required term of a pod with these labels; `None` if the API server would not have accepted it.
    pub(crate) fn of(term: &Value, labels: &BTreeMap<String, String>) -> Option<Self> {
        let wire: WireTerm = serde_json::from_value(term.clone()).ok()?;
        let mut selects = wire.label_selector.and_then(selector);
        // The API server merges these keys into the pod's label selector when the pod is created.
        for (keys, operator) in [(wire.match_label_keys, Operator::In), (wire.mismatch_label_keys, Operator::NotIn)] {
            let own = |key: String| {
                let values = vec![labels.get(&key)?.clone()];
                Some(LabelCondition { key, operator, values })
            };
            if let Some(selects) = &mut selects {
                selects.match_expressions.extend(keys.into_iter().filter_map(own));
            }
        }
        Some(Self {
            selector: selects,
            namespaces: wire.namespaces,
            namespace_selector: wire.namespace_selector.and_then(selector),
            topology_key: wire.topology_key,
        })
    }

    /// Whether the term of a pod in namespace `of` covers pods in `namespace`, which has these labels.
    pub(crate) fn reaches(&self, of: &str, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        let is_default = self.namespaces.is_empty() && self.namespace_selector.is_none();
        (is_default && of == namespace)
            || self.namespaces.iter().any(|named| named == namespace)
            || self.namespace_selector.as_ref().is_some_and(|selects| selects.matches(labels.unwrap_or(&NO_LABELS)))
    }

    /// Returns the namespaces of the pods that the term of a pod in namespace `of` covers; `None` if their labels
    /// decide.
    pub(crate) fn namespaces<'t>(&'t self, of: &'t str) -> Option<Vec<&'t str>> {
        if self.namespace_selector.is_some() {
            return None;
        }
        let named: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        Some(if named.is_empty() { vec![of] } else { named })
    }

    /// Whether the term selects a pod with these labels.
    pub(crate) fn selects<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches_by(label))
    }

    /// Returns the labels that every selected pod has; empty if the term selects by conditions only.
    pub(crate) fn match_labels(&self) -> impl Iterator<Item = (&String, &String)> {
        self.selector.iter().flat_map(|selector| &selector.match_labels)
    }

    /// Returns the label keys that the selector uses.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.selector.iter().flat_map(LabelSelector::keys)
    }
}

/// The keys of the labels that virt-controller sets on launchers, unlike the labels that it copies from guests.
pub(crate) const SET_ON_LAUNCHERS: [&str; 5] = [
    well_known::LAUNCHER.key,
    well_known::CREATED_BY.key,
    well_known::LAUNCHER_HOSTNAME.key,
    well_known::LAUNCHER_ID.key,
    well_known::INJECT_SIDECAR.key,
];

/// The maximum length of a label's value, and of a host name (`DNS1123LabelMaxLength`).
const MAX_LABEL: usize = 63;

/// Returns the value of a label of a guest's launcher: a label of the guest, or one that virt-controller sets. Mirrors
/// `podLabels` of `pkg/virt-controller/services/template.go`. The shortened name in `vmi.kubevirt.io/id` of a guest
/// whose name has more than 63 characters is not known here.
pub(crate) fn launcher_label<'v>(vmi: &'v Vmi, key: &str, release: Release) -> Option<&'v str> {
    let name = &vmi.metadata.name;
    let own = || vmi.metadata.labels.get(key).map(String::as_str);
    let has_id = release.labels_launchers_by_id();
    match key {
        _ if key == well_known::LAUNCHER.key => Some("virt-launcher"),
        _ if key == well_known::CREATED_BY.key => Some(&vmi.metadata.uid),
        _ if key == well_known::LAUNCHER_HOSTNAME.key => Some(hostname(vmi)),
        _ if key == well_known::LAUNCHER_ID.key && has_id => (name.len() <= MAX_LABEL).then_some(name),
        _ if key == well_known::INJECT_SIDECAR.key && has_id => {
            well_known::INJECT_SIDECAR.value(&vmi.metadata.annotations).or_else(own)
        }
        _ => own(),
    }
}

/// Returns the host name of a guest. Mirrors `SanitizeHostname` of `pkg/util/net/dns/sanitize.go`.
fn hostname(vmi: &Vmi) -> &str {
    if !vmi.spec.hostname.is_empty() {
        return &vmi.spec.hostname;
    }
    let first = vmi.metadata.name.split('.').next().unwrap_or_default();
    first.get(..MAX_LABEL).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::testing::cluster::read;

    const HOSTNAME: &str = well_known::LAUNCHER_HOSTNAME.key;
    const ID: &str = well_known::LAUNCHER_ID.key;
    const SIDECAR: &str = well_known::INJECT_SIDECAR.key;
    const CREATED_BY: &str = well_known::CREATED_BY.key;

    #[rstest]
    #[case::of_the_guest("app", "1.9.0", json!({}), Some("db"))]
    #[case::absent("tier", "1.9.0", json!({}), None)]
    #[case::launcher("kubevirt.io", "1.0.0", json!({}), Some("virt-launcher"))]
    #[case::overwritten(CREATED_BY, "1.0.0", json!({"metadata": {"labels": {CREATED_BY: "x"}}}), Some("u-1"))]
    #[case::host(HOSTNAME, "1.0.0", json!({}), Some("db"))]
    #[case::host_of_a_domain(HOSTNAME, "1.9.0", json!({"metadata": {"name": "db.example.org"}}), Some("db"))]
    #[case::host_of_a_long_name(HOSTNAME, "1.9.0", json!({"metadata": {"name": "d".repeat(70)}}), Some("ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"))]
    #[case::own_host(HOSTNAME, "1.9.0", json!({"spec": {"hostname": "primary"}}), Some("primary"))]
    #[case::id_before(ID, "1.6.6", json!({}), None)]
    #[case::id(ID, "1.7.0", json!({"metadata": {"name": "db.example.org"}}), Some("db.example.org"))]
    #[case::id_of_a_long_name(ID, "1.9.0", json!({"metadata": {"name": "d".repeat(70)}}), None)]
    #[case::sidecar_before(SIDECAR, "1.6.6", json!({"metadata": {"annotations": {SIDECAR: "true"}}}), None)]
    #[case::sidecar(SIDECAR, "1.7.0", json!({"metadata": {"annotations": {SIDECAR: "false"}, "labels": {SIDECAR: "true"}}}), Some("false"))]
    #[case::sidecar_as_a_label(SIDECAR, "1.7.0", json!({"metadata": {"labels": {SIDECAR: "true"}}}), Some("true"))]
    fn anti_affinity_counts_the_labels_that_kubevirt_gives_launchers(
        #[case] key: &str,
        #[case] release: &str,
        #[case] change: Value,
        #[case] expected: Option<&str>,
    ) {
        let mut guest = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "u-1", "labels": {"app": "db"}}});
        for (part, fields) in change.as_object().into_iter().flatten() {
            fields.as_object().into_iter().flatten().for_each(|(field, value)| guest[part][field] = value.clone());
        }
        let release = Release::parse(release).expect("a release");
        let found = launcher_label(&read(guest), key, release).map(str::to_owned);
        assert_eq!(
            found.as_deref(),
            expected,
            "anti-affinity keeps guests apart that may run together, or the reverse"
        );
    }
}
