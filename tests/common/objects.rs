//! Objects of every kind that is read, and the same with one field made large.

use std::rc::Rc;

use cpufit::kubevirt::wire;
use serde_json::{Map, Value, json};

use crate::launcher::launcher_pod;
use crate::shapes::{Place, Shape, Step, least, places, places_of, whole};

/// The node that guests run on.
const HOME: &str = "node-000";

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Node,
    Namespace,
    Pod,
    VirtualMachine,
    Vmi,
    ReplicaSet,
    Pool,
    Migration,
    KubeVirt,
    Instancetype,
    Preference,
    Revision,
    DataSource,
    Policy,
}

impl Kind {
    pub const ALL: [Self; 14] = [
        Self::Node,
        Self::Namespace,
        Self::Pod,
        Self::VirtualMachine,
        Self::Vmi,
        Self::ReplicaSet,
        Self::Pool,
        Self::Migration,
        Self::KubeVirt,
        Self::Instancetype,
        Self::Preference,
        Self::Revision,
        Self::DataSource,
        Self::Policy,
    ];

    /// Group, version, kind.
    pub fn api(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Node => ("", "v1", "Node"),
            Self::Namespace => ("", "v1", "Namespace"),
            Self::Pod => ("", "v1", "Pod"),
            Self::VirtualMachine => ("kubevirt.io", "v1", "VirtualMachine"),
            Self::Vmi => ("kubevirt.io", "v1", "VirtualMachineInstance"),
            Self::ReplicaSet => ("kubevirt.io", "v1", "VirtualMachineInstanceReplicaSet"),
            Self::Pool => ("pool.kubevirt.io", "v1beta1", "VirtualMachinePool"),
            Self::Migration => ("kubevirt.io", "v1", "VirtualMachineInstanceMigration"),
            Self::KubeVirt => ("kubevirt.io", "v1", "KubeVirt"),
            Self::Instancetype => ("instancetype.kubevirt.io", "v1beta1", "VirtualMachineInstancetype"),
            Self::Preference => ("instancetype.kubevirt.io", "v1beta1", "VirtualMachinePreference"),
            Self::Revision => ("apps", "v1", "ControllerRevision"),
            Self::DataSource => ("cdi.kubevirt.io", "v1beta1", "DataSource"),
            Self::Policy => ("cpufit.io", "v1alpha1", "CPUPolicy"),
        }
    }

    /// All that is read of it.
    pub fn places(self) -> Vec<Place> {
        match self {
            Self::Node => places::<wire::Node>(),
            Self::Namespace => places::<wire::MetaOnly>(),
            Self::Pod => places_of(|walker| serde::Deserialize::deserialize(walker).map(|_: wire::Pod<'_>| ())),
            Self::VirtualMachine => {
                with_affinity(places::<wire::VirtualMachine>(), &["spec", "template", "spec", "affinity"])
            }
            Self::Vmi => with_affinity(places::<wire::Vmi>(), &["spec", "affinity"]),
            Self::ReplicaSet => with_affinity(places::<wire::ReplicaSet>(), &["spec", "template", "spec", "affinity"]),
            Self::Pool => with_affinity(
                places::<wire::Pool>(),
                &["spec", "virtualMachineTemplate", "spec", "template", "spec", "affinity"],
            ),
            Self::Migration => places::<wire::Vmim>(),
            Self::KubeVirt => places::<wire::KubeVirt>(),
            Self::Instancetype => places::<wire::Instancetype>(),
            Self::Preference => places::<wire::Preference>(),
            Self::Revision => of_revision(),
            Self::DataSource => places::<wire::DataSource>(),
            Self::Policy => of_policy(),
        }
    }

    /// One that is judged, or that others are judged by.
    pub fn base(self) -> Value {
        let (group, version, kind) = self.api();
        let mut base = match self {
            Self::Node => node(0),
            Self::Namespace => json!({"metadata": {"name": "shop", "labels": {"env": "prod"}}}),
            Self::Pod => launcher(),
            Self::VirtualMachine => json!({
                "metadata": {"name": "db", "namespace": "shop", "uid": "vm-db"},
                "spec": {
                    "instancetype": {"name": "large", "kind": "VirtualMachineInstancetype", "revisionName": "large-1"},
                    "preference": {"name": "modern", "kind": "VirtualMachinePreference"},
                    "template": {"metadata": {"labels": {"tier": "db"}}, "spec": guest()},
                },
            }),
            Self::Vmi => json!({
                "metadata": {"name": "db", "namespace": "shop", "uid": "uid-db", "labels": {"tier": "db"},
                    "ownerReferences": [{"kind": "VirtualMachine", "name": "db", "uid": "vm-db", "controller": true}]},
                "spec": guest(),
                "status": {"phase": "Running", "nodeName": HOME, "selinuxContext": "none", "machine": {"type": "q35"}},
            }),
            Self::ReplicaSet => json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": "rs-web"},
                "spec": {"template": {"metadata": {"labels": {"tier": "web"}}, "spec": guest()}},
            }),
            Self::Pool => json!({
                "metadata": {"name": "workers", "namespace": "shop", "uid": "pool-workers"},
                "spec": {"virtualMachineTemplate": {
                    "spec": {"template": {"metadata": {"labels": {"tier": "worker"}}, "spec": guest()}},
                }},
            }),
            Self::Migration => json!({
                "metadata": {"name": "move-db", "namespace": "shop", "uid": "m-1"}, "spec": {"vmiName": "db"},
            }),
            Self::KubeVirt => json!({
                "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
                "spec": {"configuration": {"evictionStrategy": "LiveMigrate"}},
                "status": {"observedKubeVirtVersion": "v1.9.0"},
            }),
            Self::Instancetype => {
                json!({"metadata": {"name": "large", "namespace": "shop"}, "spec": {"cpu": {"guest": 2}}})
            }
            Self::Preference => json!({"metadata": {"name": "modern", "namespace": "shop"}, "spec": {}}),
            Self::Revision => json!({
                "metadata": {"name": "large-1", "namespace": "shop"},
                "data": {"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineInstancetype",
                    "metadata": {"name": "large"}, "spec": {"cpu": {"guest": 2}}},
            }),
            Self::DataSource => json!({"metadata": {"name": "fedora", "namespace": "shop"}, "spec": {}}),
            Self::Policy => json!({
                "metadata": {"name": "pool"},
                "spec": {"enforce": "Fragile", "launcherSelectors": "DropStale",
                    "commonModel": {"name": "Model-common", "replaces": ["Unset", "HostModel"], "otherwise": "Deny"}},
            }),
        };
        base["kind"] = kind.into();
        base["apiVersion"] = if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
        base
    }
}

fn guest() -> Value {
    json!({"architecture": "amd64", "domain": {"cpu": {"model": "host-model"}, "machine": {"type": "q35"}}})
}

fn launcher() -> Value {
    let guest = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "uid-db"}, "status": {"nodeName": HOME}});
    let selector = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64",
        "machine-type.node.kubevirt.io/q35": "true", "cpu-feature.node.kubevirt.io/f0": "true"});
    launcher_pod(&guest, "x7k2p", &selector)
}

/// A node, of which no two have like hardware.
pub fn node(number: usize) -> Value {
    let on = || json!("true");
    let mut labels: Map<String, Value> = Map::new();
    for feature in (0..60).filter(|feature| !(number + feature).is_multiple_of(7)) {
        labels.insert(format!("cpu-feature.node.kubevirt.io/f{feature}"), on());
        labels.insert(format!("host-model-required-features.node.kubevirt.io/f{feature}"), on());
    }
    for model in (0..30).filter(|model| !(number + model).is_multiple_of(3)) {
        labels.insert(format!("cpu-model.node.kubevirt.io/Model-{model}"), on());
        labels.insert(format!("cpu-model-migration.node.kubevirt.io/Model-{model}"), on());
    }
    let name = format!("node-{number:03}");
    for (key, value) in [
        ("cpu-model.node.kubevirt.io/Model-common", "true"),
        (&*format!("host-model-cpu.node.kubevirt.io/Host-{number}"), "true"),
        ("cpu-vendor.node.kubevirt.io/Intel", "true"),
        ("machine-type.node.kubevirt.io/q35", "true"),
        ("kubevirt.io/schedulable", "true"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", &name),
        ("topology.kubernetes.io/zone", &format!("zone-{}", number % 5)),
    ] {
        labels.insert(key.to_owned(), json!(value));
    }
    let taints = json!([{"key": format!("dedicated-{}", number % 9), "value": "x", "effect": "NoSchedule"}]);
    let taints = if number.is_multiple_of(3) { taints } else { json!([]) };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// An affinity is kept as it is, so the walk ends there: what is read of it stands in a type of its own.
fn with_affinity(mut found: Vec<Place>, at: &[&'static str]) -> Vec<Place> {
    let path: Vec<Step> = at.iter().copied().map(Step::Field).collect();
    found.retain(|place| place.path != path);
    found.extend(
        places::<wire::Affinity>()
            .into_iter()
            .map(|inside| Place { path: path.iter().copied().chain(inside.path).collect(), shape: inside.shape }),
    );
    found.push(Place { path, shape: Shape::Any });
    found
}

/// A revision holds an instancetype, which is read of what was kept as it is.
fn of_revision() -> Vec<Place> {
    let mut found = places::<wire::ControllerRevision>();
    let path = [Step::Field("data"), Step::Field("spec")];
    found.extend(
        places::<wire::InstancetypeSpec>()
            .into_iter()
            .map(|inside| Place { path: path.into_iter().chain(inside.path).collect(), shape: inside.shape }),
    );
    found
}

/// A policy is read by hand, so its fields are listed here; `a_policy_has_no_other_fields` holds the list to it.
fn of_policy() -> Vec<Place> {
    let mut out = Vec::new();
    let mut add = |path: &[&'static str], ends: &[Step], shape| {
        let path = path.iter().copied().map(Step::Field).chain(ends.iter().copied()).collect();
        out.push(Place { path, shape });
    };
    add(&["metadata", "name"], &[], Shape::Text);
    add(&["metadata", "labels"], &[], Shape::Map);
    add(&["metadata", "managedFields"], &[], Shape::Any);
    for selector in ["namespaceSelector", "virtualMachineSelector", "nodeSelector"] {
        let expressions = ["spec", selector, "matchExpressions"];
        add(&["spec", selector, "matchLabels"], &[], Shape::Map);
        add(&["spec", selector, "matchLabels"], &[Step::Entry], Shape::Text);
        add(&expressions, &[], Shape::List);
        add(&expressions, &[Step::Item], Shape::Struct);
        add(&expressions, &[Step::Item, Step::Field("key")], Shape::Text);
        add(&expressions, &[Step::Item, Step::Field("operator")], Shape::Text);
        add(&expressions, &[Step::Item, Step::Field("values")], Shape::List);
        add(&expressions, &[Step::Item, Step::Field("values"), Step::Item], Shape::Text);
    }
    add(&["spec", "commonModel", "name"], &[], Shape::Text);
    for list in [["commonModel", "replaces"], ["exemptions", "users"], ["exemptions", "namespaces"]] {
        add(&["spec", list[0], list[1]], &[], Shape::List);
        add(&["spec", list[0], list[1]], &[Step::Item], Shape::Text);
    }
    add(&["status"], &[], Shape::Any);
    out
}

/// How the entries of a list or map look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// As short as can be: `{}`, `"a"`.
    Least,
    /// With all their fields, no two alike.
    Whole,
    /// Keys of a map as KubeVirt writes them.
    Features,
}

impl Entries {
    pub const ALL: [Self; 3] = [Self::Least, Self::Whole, Self::Features];
}

/// A value like [`whole`]'s with another number in its texts and keys.
fn numbered(like: &Value, number: usize) -> Value {
    match like {
        Value::String(_) => format!("t{number}").into(),
        Value::Array(items) => items.iter().map(|item| numbered(item, number)).collect(),
        Value::Object(fields) => {
            let key = |key: &String| if key == "k99999" { format!("k{number}") } else { key.clone() };
            fields.iter().map(|(name, value)| (key(name), numbered(value, number))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// What stands at a place when it is made so many bytes long; `None` where there is nothing to make long.
pub fn large(places: &[Place], at: &Place, entries: Entries, bytes: usize) -> Option<Value> {
    let inside = |last: Step| {
        let is_inside = |place: &&Place| place.path.split_last() == Some((&last, at.path.as_slice()));
        places.iter().find(is_inside)
    };
    let many = |one: &Value, extra: usize| bytes / (one.to_string().len() + extra) + 1;
    Some(match (at.shape, entries) {
        (Shape::Text, Entries::Least) => "x".repeat(bytes).into(),
        (Shape::Any, Entries::Least) => json!({"a": vec![json!({}); bytes / 3]}),
        (Shape::Any, Entries::Whole) => {
            let values: Map<_, _> = (0..bytes / 20).map(|at| (format!("k{at}"), json!({"a": [1, 2]}))).collect();
            values.into()
        }
        (Shape::List, Entries::Least) => {
            let item = inside(Step::Item).map_or(Value::Null, least);
            vec![item.clone(); many(&item, 1)].into()
        }
        (Shape::List, Entries::Whole) => {
            let item = inside(Step::Item)?;
            let one = whole(places, item, 99_999);
            (0..many(&one, 1)).map(|number| numbered(&one, number)).collect()
        }
        (Shape::Map, Entries::Whole) => {
            let is_scalar = inside(Step::Entry).is_some_and(|entry| entry.shape == Shape::Scalar);
            let value = |at: usize| if is_scalar { json!(true) } else { json!(format!("v{at}")) };
            (0..bytes / 20).map(|at| (format!("k{at}"), value(at))).collect::<Map<_, _>>().into()
        }
        (Shape::Map, Entries::Features) => {
            if inside(Step::Entry).is_some_and(|entry| entry.shape == Shape::Scalar) {
                return None;
            }
            let key = |at: usize| (format!("cpu-feature.node.kubevirt.io/f{at}"), json!("true"));
            (0..bytes / 45).map(key).collect::<Map<_, _>>().into()
        }
        _ => return None,
    })
}

/// An object with another one's fields put over its own.
pub fn merged(mut under: Value, over: Value) -> Value {
    match (&mut under, over) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                let known = fields.remove(&name).unwrap_or(Value::Null);
                fields.insert(name, merged(known, value));
            }
            under
        }
        (_, over) => over,
    }
}

/// Every object with one of its lists, maps or texts made so many bytes long, and what is large in it.
pub fn all_large(bytes: usize) -> impl Iterator<Item = (Kind, String, Value)> {
    large_where(bytes, |_| true)
}

/// Those of these names.
pub fn large_where(
    bytes: usize,
    is_wanted: impl Fn(&str) -> bool + Copy,
) -> impl Iterator<Item = (Kind, String, Value)> {
    Kind::ALL.into_iter().flat_map(move |kind| {
        let places = Rc::new(kind.places());
        let all = (0..places.len()).flat_map(|at| Entries::ALL.map(|entries| (at, entries)));
        all.filter_map(move |(at, entries)| {
            let at = &places[at];
            let name = format!("{kind:?} {at} ({entries:?})");
            let value = is_wanted(&name).then(|| large(&places, at, entries, bytes))??;
            Some((kind, name, merged(kind.base(), at.around(value))))
        })
    })
}
