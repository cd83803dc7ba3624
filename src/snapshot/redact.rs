//! Redaction of a snapshot: new names for guests, nodes, namespaces and everything else that people name.
//!
//! Every text of an object is renamed, except the words of KubeVirt and Kubernetes that judgements depend on (CPU
//! models and features, machine types, operators, phases): [`place`] lists those fields, and texts in other fields are
//! renamed. Equal texts stay equal, and texts of one class keep their order, so that selectors select the same objects
//! and every verb gives the same results with the new names.
//!
//! The new names are numbers of one snapshot. A UID becomes its hash, which is the same in every snapshot: `diff` needs
//! to know whether an object was created again. A UID is random, so nobody finds it from the hash; but who knows the
//! UID can recognize the object.

mod sentence;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::fit::label::{self, Family};
use crate::fit::subject::failed_migration;
use crate::fnv::fnv1a;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::room::{COMPLETE, OTHER_PODS, POD_REQUESTS};
use crate::libvirt::saved;
use crate::policy::UserName;
use crate::well_known::{self, ValueReading};

/// The kind of thing that a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Class {
    Node,
    Namespace,
    Guest,
    Pod,
    Policy,
    Object,
    User,
    Uid,
    LabelKey,
    LabelValue,
    Word,
}

impl Class {
    /// Returns the prefix of its new names.
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Namespace => "ns",
            Self::Guest => "guest",
            Self::Pod => "pod",
            Self::Policy => "policy",
            Self::Object => "object",
            Self::User => "user",
            Self::Uid => "uid",
            Self::LabelKey => "label",
            Self::LabelValue => "value",
            Self::Word => "word",
        }
    }

    /// Returns the class of the names of a kind's objects; `None` for names that are equal in every cluster.
    fn of_kind(kind: &str) -> Option<Self> {
        let resource = Resource::ALL.into_iter().find(|resource| resource.kind() == kind);
        Some(match (resource, kind) {
            (Some(Resource::Nodes), _) | (None, POD_REQUESTS | saved::NODE) => Self::Node,
            (Some(Resource::Namespaces), _) => Self::Namespace,
            (Some(Resource::Pods), _) => Self::Pod,
            (Some(Resource::Policies), _) => Self::Policy,
            (None, COMPLETE) => return None,
            (Some(Resource::VirtualMachines | Resource::Vmis | Resource::ReplicaSets | Resource::Pools), _)
            | (None, saved::GUEST) => Self::Guest,
            _ => Self::Object,
        })
    }
}

/// Kinds of Kubernetes, KubeVirt and this program, in addition to those of [`Resource`].
const KINDS: [&str; 8] =
    [POD_REQUESTS, OTHER_PODS, COMPLETE, saved::GUEST, saved::NODE, "HyperConverged", "ReplicaSet", "DataImportCron"];

/// The prefix of the hash of a UID.
const REDACTED_UID: &str = "uid-";

/// Whether the text is a kind of Kubernetes, KubeVirt or this program.
fn is_kind(text: &str) -> bool {
    KINDS.contains(&text) || Resource::ALL.iter().any(|resource| resource.kind() == text)
}

/// Returns the objects with new names.
pub(crate) fn redact(mut objects: Vec<Value>) -> Vec<Value> {
    let mut names = NewNames::default();
    for phase in [Phase::Compare, Phase::Collect, Phase::Rename] {
        names.begin(phase);
        for object in &mut objects {
            names.object(object);
        }
    }
    objects
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Searches for the keys of labels whose values are compared as numbers.
    #[default]
    Compare,
    /// Collects all texts that get a new name.
    Collect,
    /// Replaces the texts by their new names.
    Rename,
}

#[derive(Default)]
struct NewNames {
    phase: Phase,
    /// The keys of labels whose values are compared as numbers, and are kept.
    numbers: BTreeSet<String>,
    found: BTreeMap<Class, BTreeSet<String>>,
    new: HashMap<(Class, String), String>,
}

/// The meaning of a text in a field.
enum TextUse {
    /// A word of KubeVirt, Kubernetes or this program.
    Known,
    Name(Class),
    LabelKey,
    User,
    /// A sentence.
    Sentence,
    /// A sentence of libvirt, which names CPU features.
    Refusal,
    /// The kind of an object; kinds that are not read are renamed.
    Kind,
    /// A reason in camel case, as in conditions.
    Reason,
}

/// Returns the meaning of a field in an object of this kind, by the field and its parent field.
fn place(kind: &str, parent: &str, field: &str) -> TextUse {
    match (parent, field) {
        ("features" | "preferredCPUFeatures" | "commonModel", "name")
        | (
            _,
            "apiVersion"
            | "creationTimestamp"
            | "deletionTimestamp"
            | "preemptionPolicy"
            | "phase"
            | "printableStatus"
            | "architecture"
            | "abortStatus"
            | "evictionStrategy"
            | "unhealthyPodEvictionPolicy"
            | "runStrategy"
            | "whenUnsatisfiable"
            | "accessModes"
            | "model"
            | "policy"
            | "cpuModel"
            | "minCPUModel"
            | "machineType"
            | "defaultArchitecture"
            | "preferredArchitecture"
            | "preferredMachineType"
            | "preferredInterfaceModel"
            | "vmRolloutStrategy"
            | "observedKubeVirtVersion"
            | "selinuxContext"
            | "operator"
            | "effect"
            | "status"
            | "type"
            | "featureGates"
            | "disabledFeatureGates"
            | "enforce"
            | "warn"
            | "audit"
            | "replaces"
            | "otherwise"
            | "announce"
            | "launcherSelectors"
            | "pageSize"
            | "guest"
            | "cpu"
            | "memory"
            | "preferredCPUTopology"
            | "across"
            | "emulatedMachines"
            | "inferFromVolumeFailurePolicy",
        ) => TextUse::Known,
        ("metadata", "name" | "generateName") => Class::of_kind(kind).map_or(TextUse::Known, TextUse::Name),
        (_, "namespace" | "namespaces") => TextUse::Name(Class::Namespace),
        (_, "uid") => TextUse::Name(Class::Uid),
        (_, "nodeName" | "targetNode" | "nodes") | ("sourceState", "node") => TextUse::Name(Class::Node),
        (_, "vmiName" | "hostname") => TextUse::Name(Class::Guest),
        ("pciHostDevices" | "mediatedDevices" | "usb", "resourceName")
        | (_, "topologyKey" | "matchLabelKeys" | "mismatchLabelKeys" | "deviceName") => TextUse::LabelKey,
        (_, "users") => TextUse::User,
        (_, "kind") => TextUse::Kind,
        (_, "reason") => TextUse::Reason,
        (_, "message" | "unanswered" | "unansweredDetail") => TextUse::Sentence,
        (_, "failureReason") => TextUse::Refusal,
        // Names of CPU models and features, times, and words of this program.
        _ if matches!(kind, saved::GUEST | saved::NODE) => TextUse::Known,
        _ => TextUse::Name(Class::Object),
    }
}

/// Returns the class of a label's value; `None` if it is a word of KubeVirt or Kubernetes.
fn class_of_value(key: &str, value: &str) -> Option<Class> {
    use well_known::{
        CREATED_BY, DEFAULT_INSTANCETYPE, DEFAULT_INSTANCETYPE_KIND, DEFAULT_PREFERENCE, DEFAULT_PREFERENCE_KIND,
        LAUNCHER_HOSTNAME, LAUNCHER_ID, MIGRATION_NAME, MIGRATION_UID, NODE_NAME, POLICY, REVISION_OF,
    };
    let is_read_as = |known: &well_known::WellKnown| match known.reading {
        ValueReading::Exactly(wanted) => known.key == key && wanted == value,
        ValueReading::Frequency => known.key == key && known.counts(value),
        ValueReading::Presence | ValueReading::Text => false,
    };
    if matches!(value, "" | "true" | "false") || well_known::ALL.iter().any(is_read_as) {
        return None;
    }
    Some(match key {
        label::HOSTNAME => Class::Node,
        "kubernetes.io/metadata.name" => Class::Namespace,
        "kubevirt.io/vm" => Class::Guest,
        _ if key == LAUNCHER_HOSTNAME.key || key == LAUNCHER_ID.key => Class::Guest,
        "kubernetes.io/os" | "beta.kubernetes.io/os" | "beta.kubernetes.io/arch" | label::ARCH => return None,
        _ if key == NODE_NAME.key => Class::Node,
        _ if key == POLICY.key => Class::Policy,
        _ if [REVISION_OF, MIGRATION_NAME, DEFAULT_INSTANCETYPE, DEFAULT_PREFERENCE]
            .iter()
            .any(|known| known.key == key) =>
        {
            Class::Object
        }
        _ if [DEFAULT_INSTANCETYPE_KIND, DEFAULT_PREFERENCE_KIND].iter().any(|known| known.key == key)
            && is_kind(value) =>
        {
            return None;
        }
        _ if key == CREATED_BY.key || key == MIGRATION_UID.key => Class::Uid,
        _ if Family::of(key) != Family::Other && value.parse::<i64>().is_ok() => return None,
        _ => Class::LabelValue,
    })
}

/// Whether a key belongs to Kubernetes, KubeVirt or this program. Users choose the names of node roles.
fn is_public(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((key, None), |(domain, name)| (domain, Some(name)));
    if domain == "node-role.kubernetes.io" {
        return matches!(name, Some("control-plane" | "master" | "worker" | "infra"));
    }
    let is_of = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    key == label::CPU_MANAGER_OLD
        || (["kubernetes.io", "k8s.io", "kubevirt.io", "cpufit.io"].into_iter().any(is_of)
            && (name.is_some() || domain == "kubevirt.io"))
}

/// Whether a UID has the form of a random one (RFC 9562): one that a person chose could be guessed from its hash.
fn is_random(uid: &str) -> bool {
    let groups: Vec<&str> = uid.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex)
}

fn hashed(uid: &str) -> String {
    format!("{REDACTED_UID}{:016x}", fnv1a(uid))
}

/// Whether a UID is the hash of one: its object is of a redacted snapshot, which numbers names by itself.
pub(crate) fn is_redacted(uid: &str) -> bool {
    let is_hex = |hash: &str| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    uid.strip_prefix(REDACTED_UID).is_some_and(is_hex)
}

/// Returns a UID that can be compared with that of another dump; `None` if it is empty, or a number that a redacted
/// snapshot gave it.
pub(crate) fn comparable(uid: &str) -> Option<&str> {
    let is_number = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    let is_numbered = !is_redacted(uid) && uid.strip_prefix(REDACTED_UID).is_some_and(is_number);
    (!uid.is_empty() && !is_numbered).then_some(uid)
}

impl NewNames {
    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        if phase == Phase::Rename {
            for (class, texts) in &self.found {
                let width = texts.len().to_string().len();
                for (at, text) in texts.iter().enumerate() {
                    let new = match class {
                        Class::Uid if is_random(text) => hashed(text),
                        class => format!("{}-{:0width$}", class.word(), at + 1),
                    };
                    self.new.insert((*class, text.clone()), new);
                }
            }
        }
    }

    /// Returns the text, or its new name.
    fn name(&mut self, class: Class, text: &str) -> String {
        match self.phase {
            _ if text.is_empty() => String::new(),
            Phase::Compare => text.to_owned(),
            Phase::Collect => {
                self.found.entry(class).or_default().insert(text.to_owned());
                text.to_owned()
            }
            // A text that was not collected is replaced by its class.
            Phase::Rename => self.known(class, text).unwrap_or_else(|| class.word().to_owned()),
        }
    }

    fn known(&self, class: Class, text: &str) -> Option<String> {
        self.new.get(&(class, text.to_owned())).cloned()
    }

    fn key(&mut self, key: &str) -> String {
        if is_public(key) { key.to_owned() } else { self.name(Class::LabelKey, key) }
    }

    fn label_value(&mut self, key: &str, value: &str) -> String {
        match class_of_value(key, value) {
            Some(_) if self.numbers.contains(key) && value.parse::<i64>().is_ok() => value.to_owned(),
            Some(class) => self.name(class, value),
            None => value.to_owned(),
        }
    }

    fn object(&mut self, object: &mut Value) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        self.value(&kind, "", "", object);
    }

    fn value(&mut self, kind: &str, parent: &str, field: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(kind, parent, field, text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.item(kind, parent, field, item)),
            Value::Object(fields) => match field {
                // A policy selects nodes by a selector with conditions.
                "nodeSelector" if kind == Resource::Policies.kind() => self.fields(kind, field, fields),
                "labels" | "matchLabels" | "nodeSelector" | "addedNodeSelector" | "nodeSelectors" => {
                    self.labels(fields);
                }
                "annotations" => self.annotations(fields),
                "allocatable" | "requests" => self.resources(fields),
                "obsoleteCPUModels" => {}
                // A ControllerRevision's data is an object of its own.
                "data" => self.object(value),
                _ => self.fields(kind, field, fields),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn fields(&mut self, kind: &str, field: &str, fields: &mut Map<String, Value>) {
        fields.iter_mut().for_each(|(key, value)| self.value(kind, field, key, value));
    }

    /// Renames an item of a list.
    fn item(&mut self, kind: &str, parent: &str, field: &str, item: &mut Value) {
        let Value::Object(fields) = item else { return self.value(kind, parent, field, item) };
        match field {
            "matchExpressions" | "matchFields" => self.condition(fields),
            "taints" | "tolerations" => {
                let key = fields.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
                if let Some(Value::String(value)) = fields.get_mut("value") {
                    *value = self.label_value(&key, value);
                }
                self.rename_key(fields);
            }
            "dataVolumeTemplates" => self.fields(Resource::DataVolumes.kind(), field, fields),
            "ownerReferences" => {
                let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                self.fields(&kind, "metadata", fields);
            }
            _ => self.fields(kind, field, fields),
        }
    }

    fn rename_key(&mut self, fields: &mut Map<String, Value>) {
        if let Some(Value::String(key)) = fields.get_mut("key") {
            *key = self.key(key);
        }
    }

    /// Renames a condition on a label, or on the name of a node.
    fn condition(&mut self, fields: &mut Map<String, Value>) {
        let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (key, operator) = (text("key"), text("operator"));
        if key == "metadata.name" {
            for value in fields.get_mut("values").and_then(Value::as_array_mut).into_iter().flatten() {
                self.value(Resource::Nodes.kind(), "metadata", "name", value);
            }
            return;
        }
        if self.phase == Phase::Compare && matches!(operator.as_str(), "Gt" | "Lt") {
            self.numbers.insert(key.clone());
        }
        for value in fields.get_mut("values").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::String(value) = value {
                *value = self.label_value(&key, value);
            }
        }
        self.rename_key(fields);
    }

    fn labels(&mut self, fields: &mut Map<String, Value>) {
        let renamed = std::mem::take(fields).into_iter().map(|(key, mut value)| {
            if let Value::String(value) = &mut value {
                *value = self.label_value(&key, value);
            }
            (self.key(&key), value)
        });
        *fields = renamed.collect();
    }

    /// Renames the annotations that are read; a snapshot has no others.
    fn annotations(&mut self, fields: &mut Map<String, Value>) {
        for (key, value) in fields {
            let Value::String(value) = value else { continue };
            *value = if *key == well_known::REPLACED_MODEL.key {
                value.clone()
            } else if *key == well_known::DROPPED_SELECTORS.key {
                value.split(',').map(|key| self.key(key)).collect::<Vec<_>>().join(",")
            } else if [&well_known::POD_NODE_SELECTOR, &well_known::PROJECT_NODE_SELECTOR].iter().any(|k| k.key == *key)
            {
                let pair = |pair: &str| match pair.split_once('=') {
                    Some((key, value)) => format!("{}={}", self.key(key), self.label_value(key, value)),
                    None => self.key(pair),
                };
                value.split(',').map(pair).collect::<Vec<_>>().join(",")
            } else {
                self.label_value(key, value)
            };
        }
    }

    /// Renames the resources of amounts; Kubernetes' own have no domain and are kept.
    fn resources(&mut self, fields: &mut Map<String, Value>) {
        let own = |key: &str| !key.contains('/');
        let renamed = std::mem::take(fields)
            .into_iter()
            .map(|(key, value)| (if own(&key) { key } else { self.key(&key) }, value));
        *fields = renamed.collect();
    }

    fn text(&mut self, kind: &str, parent: &str, field: &str, text: &str) -> String {
        match place(kind, parent, field) {
            TextUse::Known => text.to_owned(),
            TextUse::Name(class) => self.name(class, text),
            TextUse::LabelKey => self.key(text),
            TextUse::User => self.user(text),
            TextUse::Kind if is_kind(text) => text.to_owned(),
            TextUse::Kind => self.name(Class::Object, text),
            TextUse::Reason if text.bytes().all(|byte| byte.is_ascii_alphabetic()) => text.to_owned(),
            TextUse::Reason | TextUse::Sentence => self.sentence(text, &[]),
            TextUse::Refusal => {
                let refused = failed_migration("", text);
                let features = refused.map(|refused| [refused.missing, refused.extra].concat());
                self.sentence(text, &features.unwrap_or_default())
            }
        }
    }

    /// Returns the new name of a user; users of Kubernetes and KubeVirt keep their names.
    fn user(&mut self, user: &str) -> String {
        match UserName::from(user).service_account() {
            Some((namespace, name)) => {
                let namespace = self.name(Class::Namespace, namespace);
                let name = if name.starts_with("kubevirt-") { name.to_owned() } else { self.name(Class::User, name) };
                format!("system:serviceaccount:{namespace}:{name}")
            }
            None if user.starts_with("system:") && !user.starts_with("system:serviceaccount") => user.to_owned(),
            None => self.name(Class::User, user),
        }
    }
}

#[cfg(test)]
mod tests;
