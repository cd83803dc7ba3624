//! Objects that are expensive to judge, and a cluster on which they are.

use crate::review::create;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Maximum size of an object: API servers accept 3 MiB.
const LARGEST: usize = 3 << 20;

/// Returns nodes of forty kinds of host models, to be served with the shipped ones.
pub fn nodes() -> Vec<u8> {
    let node = |number: usize| {
        let mut labels = Map::from_iter([("kubernetes.io/hostname".to_owned(), json!(format!("host-{number:03}")))]);
        for feature in (0..60).filter(|feature| !(number % 40 + feature).is_multiple_of(7)) {
            labels.insert(format!("cpu-feature.node.kubevirt.io/f{feature}"), "true".into());
        }
        for model in (0..30).filter(|model| !(number % 40 + model).is_multiple_of(3)) {
            labels.insert(format!("cpu-model.node.kubevirt.io/Model-{model}"), "true".into());
            labels.insert(format!("cpu-model-migration.node.kubevirt.io/Model-{model}"), "true".into());
        }
        for (key, value) in [
            (format!("host-model-cpu.node.kubevirt.io/Host-{}", number % 40), "true"),
            ("cpu-vendor.node.kubevirt.io/Intel".to_owned(), "true"),
            ("kubevirt.io/schedulable".to_owned(), "true"),
            ("kubernetes.io/arch".to_owned(), "amd64"),
        ] {
            labels.insert(key, value.into());
        }
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("host-{number:03}"), "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        })
    };
    let items: Vec<Value> = (0..200).map(node).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string().into_bytes()
}

/// Returns reviews of the largest objects that an API server accepts, each with another large field.
pub fn largest() -> Vec<Bytes> {
    let keys = |bytes: usize| (0..bytes / 22).map(|at| (format!("key-{at:07}"), json!("true"))).collect::<Map<_, _>>();
    let many = |one: Value| vec![one.clone(); LARGEST / (one.to_string().len() + 1)];
    vec![
        vm(&json!({"nodeSelector": keys(LARGEST)})),
        vm(&json!({"nodeSelector": keys(40_000 * 22)})),
        vm(&affinity(&json!(many(json!({}))))),
        vm(&affinity(&json!(many(json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}))))),
        vm(&json!({"tolerations": many(json!({}))})),
        vm(&json!({"domain": {"cpu": {"features": many(json!({"name": "avx", "policy": "forbid"}))}}})),
        review("VirtualMachineInstanceMigration", &json!({"vmiName": "db", "addedNodeSelector": keys(LARGEST)})),
    ]
}

/// Returns reviews of the objects that are most expensive to judge, within the bounds.
pub fn costliest() -> Vec<Bytes> {
    let expression = |term: usize, at: usize| json!({"key": format!("k{term}-{at}"), "operator": "DoesNotExist"});
    let term = |term: usize, many: usize| json!({"matchExpressions": (0..many).map(|at| expression(term, at)).collect::<Vec<_>>()});
    let forbidden: Vec<Value> = (0..30).map(|at| json!({"name": format!("f{at}"), "policy": "forbid"})).collect();
    let many: Vec<Value> = (0..125).map(|at| json!({"name": format!("f{at}"), "policy": "forbid"})).collect();
    let required: Vec<Value> = (0..60).map(|at| json!({"name": format!("f{at}")})).collect();
    let hyperv =
        ["vpindex", "runtime", "reset", "synic", "synictimer", "frequencies", "reenlightenment", "tlbflush", "ipi"];
    let hyperv: Map<_, _> = hyperv.map(|name| (name.to_owned(), json!({}))).into_iter().collect();
    let everywhere =
        json!({"matchExpressions": vec![json!({"key": "kubernetes.io/hostname", "operator": "Exists"}); 500]});
    let wide: Vec<Value> = (0..100).map(|number| term(number, 30)).collect();
    let selector: Map<_, _> =
        (0..60).map(|at| (format!("cpu-feature.node.kubevirt.io/f{at}"), json!("true"))).collect();
    let host_model = json!({"domain": {"cpu": {"model": "host-model"}}});
    let with = |more: Value| {
        let mut spec = host_model.clone();
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        vm(&spec)
    };
    vec![
        with(affinity(&json!(wide))),
        with(affinity(&json!([term(0, 500)]))),
        with(json!({"nodeSelector": selector})),
        vm(&json!({"domain": {"cpu": {"model": "host-model", "features": forbidden}},
            "affinity": affinity(&json!((0..30).map(|number| term(number, 4)).collect::<Vec<_>>()))["affinity"]})),
        // Each forbidden feature adds a condition to each term.
        vm(&json!({"domain": {"cpu": {"model": "host-model", "features": many}},
            "affinity": affinity(&json!((0..8).map(|number| term(number, 1)).collect::<Vec<_>>()))["affinity"]})),
        // Each setting is tried with the whole affinity, and each condition is compared with every node.
        vm(&json!({"domain": {"cpu": {"model": "host-model", "features": required}, "features": {"hyperv": hyperv}},
            "affinity": affinity(&json!([everywhere, everywhere]))["affinity"]})),
    ]
}

fn affinity(terms: &Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

fn vm(spec: &Value) -> Bytes {
    let mut spec = spec.clone();
    if spec["domain"].is_null() {
        spec["domain"] = json!({"cpu": {"model": "host-model"}});
    }
    review("VirtualMachine", &json!({"template": {"spec": spec}}))
}

fn review(kind: &str, spec: &Value) -> Bytes {
    let object = json!({
        "apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": {"name": "poison", "namespace": "shop"}, "spec": spec,
    });
    let mut review = create(&object, "mallory");
    review["request"]["dryRun"] = json!(true);
    review.to_string().into_bytes().into()
}
