//! Pods other than launchers, as far as they matter for required pod affinity and anti-affinity: pods that a guest's
//! term selects, and pods whose own anti-affinity selects a guest. Only the labels with keys in a guest's term, and the
//! terms that select a guest, are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::text_at;
use crate::bounds;
use crate::kubevirt::pod_affinity::{PodAffinityTerm, launcher_label};
use crate::kubevirt::release::Release;
use crate::kubevirt::resource::{Resource, group_of};
use crate::kubevirt::room::{OTHER_PODS, OtherPod};
use crate::kubevirt::wire::Vmi;
use crate::policy::API_VERSION;

type Labels = BTreeMap<String, String>;

/// The common data of equal pods: namespace, labels, and terms as JSON.
type OtherPods = (String, Labels, String);

/// Returns objects for those of `pods` that affect a guest of `objects`.
pub(super) fn others(pods: &[OtherPod], objects: &[Value]) -> Vec<Value> {
    let guests = Guests::of(objects);
    let mut reaching: HashMap<&str, Reaching<'_>> = HashMap::new();
    // Pods are many, and most equal another one.
    let mut known: HashMap<OtherPods, Option<OtherPods>> = HashMap::new();
    let mut nodes: BTreeMap<OtherPods, BTreeSet<&str>> = BTreeMap::new();
    for pod in pods {
        let reaching = reaching.entry(&pod.namespace).or_insert_with(|| guests.reaching(&pod.namespace));
        let form = (pod.namespace.clone(), reaching.labels(pod, &pod.apart_from), pod.apart_from.to_string());
        let said = known.entry(form).or_insert_with_key(|(_, labels, _)| {
            let terms = guests.terms_kept(pod, labels, reaching)?;
            Some((pod.namespace.clone(), reaching.labels(pod, &terms), terms.to_string()))
        });
        if let Some(said) = said {
            nodes.entry(said.clone()).or_default().insert(&pod.node);
        }
    }
    let mut out = Vec::new();
    for ((namespace, labels, terms), nodes) in nodes {
        let nodes: Vec<&str> = nodes.into_iter().collect();
        // Longer lists would not be read.
        for nodes in nodes.chunks(bounds::OTHERS) {
            let metadata = json!({"namespace": namespace, "labels": labels});
            let mut object =
                json!({"apiVersion": API_VERSION, "kind": OTHER_PODS, "metadata": metadata, "nodes": nodes});
            if let Ok(terms @ Value::Array(_)) = serde_json::from_str(&terms) {
                object["apartFrom"] = terms;
            }
            out.push(object);
        }
    }
    out
}

/// Returns the keys of a pod's own labels that are part of its terms.
fn own_keys(terms: &Value) -> Vec<&str> {
    let terms = terms.as_array().into_iter().flatten();
    let keys = terms.flat_map(|term| [&term["matchLabelKeys"], &term["mismatchLabelKeys"]]);
    keys.filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect()
}

/// The terms of guests that reach the pods of a namespace.
struct Reaching<'g> {
    terms: Vec<&'g PodAffinityTerm>,
    keys: BTreeSet<&'g str>,
}

impl Reaching<'_> {
    /// Returns the labels of a pod with these terms that any term uses.
    fn labels(&self, pod: &OtherPod, terms: &Value) -> Labels {
        let own = own_keys(terms);
        let is_read = |(key, _): &(&String, &String)| self.keys.contains(key.as_str()) || own.contains(&key.as_str());
        pod.labels.iter().filter(is_read).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// The guests, and the labels of namespaces.
struct Guests {
    /// The guests by namespace.
    all: BTreeMap<String, Vec<Vmi>>,
    /// The terms of all guests, each once in a namespace of guests.
    terms: Vec<(String, PodAffinityTerm)>,
    namespaces: HashMap<String, Labels>,
}

impl Guests {
    fn of(objects: &[Value]) -> Self {
        let mut out = Self { all: BTreeMap::new(), terms: Vec::new(), namespaces: HashMap::new() };
        let mut seen = BTreeSet::new();
        for object in objects {
            match Resource::of(group_of(text_at(object, "/apiVersion")), text_at(object, "/kind")) {
                Some(Resource::Namespaces) => {
                    let labels = Labels::deserialize(&object["metadata"]["labels"]).unwrap_or_default();
                    out.namespaces.insert(text_at(object, "/metadata/name").to_owned(), labels);
                }
                Some(Resource::Vmis) => {
                    let Ok(vmi) = Vmi::deserialize(object) else { continue };
                    let namespace = vmi.metadata.namespace.clone();
                    for term in [PodAffinityTerm::apart_of(&vmi), PodAffinityTerm::together_of(&vmi)].concat() {
                        if seen.insert((namespace.clone(), format!("{term:?}"))) {
                            out.terms.push((namespace.clone(), term));
                        }
                    }
                    out.all.entry(namespace).or_default().push(vmi);
                }
                _ => {}
            }
        }
        out
    }

    fn reaching(&self, namespace: &str) -> Reaching<'_> {
        let labels = self.namespaces.get(namespace);
        let reaches = |(of, term): &&(String, PodAffinityTerm)| term.reaches(of, namespace, labels);
        let terms: Vec<&PodAffinityTerm> = self.terms.iter().filter(reaches).map(|(_, term)| term).collect();
        let keys = terms.iter().flat_map(|term| term.keys()).collect();
        Reaching { terms, keys }
    }

    /// Returns the terms of a pod that select a guest, null if none does; `None` if the pod affects no guest.
    fn terms_kept(&self, pod: &OtherPod, labels: &Labels, reaching: &Reaching<'_>) -> Option<Value> {
        let selects_a_guest = |json: &&Value| {
            PodAffinityTerm::of(json, &pod.labels).is_some_and(|term| {
                let reached = self.all.iter().filter(|(namespace, _)| {
                    term.reaches(&pod.namespace, namespace, self.namespaces.get(namespace.as_str()))
                });
                let mut guests = reached.flat_map(|(_, guests)| guests);
                // The release may be given when the snapshot is used.
                let releases = [Release::NEWEST, Release::BEFORE_MACHINE_TYPES];
                guests.any(|vmi| releases.iter().any(|&release| term.selects(|key| launcher_label(vmi, key, release))))
            })
        };
        let terms: Vec<&Value> = pod.apart_from.as_array().into_iter().flatten().filter(selects_a_guest).collect();
        let is_selected = || reaching.terms.iter().any(|term| term.selects(|key| labels.get(key).map(String::as_str)));
        if terms.is_empty() { is_selected().then_some(Value::Null) } else { Some(json!(terms)) }
    }
}
