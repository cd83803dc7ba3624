//! Reviews as an API server sends them; also used by the integration tests and the benchmarks.

use serde_json::{Value, json};

/// Returns the review of an object that `user` creates; group, version, kind, name and namespace are the object's own.
pub(crate) fn create(object: &Value, user: &str) -> Value {
    let of_object = |field: &str| object[field].as_str().unwrap_or_default();
    let of_metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let (group, version) = of_object("apiVersion").split_once('/').unwrap_or(("", of_object("apiVersion")));
    let (kind, plural) = (of_object("kind"), of_object("kind").to_lowercase());
    let plural = plural.strip_suffix('y').map_or_else(|| format!("{plural}s"), |stem| format!("{stem}ies"));
    let kind = json!({"group": group, "version": version, "kind": kind});
    let resource = json!({"group": group, "version": version, "resource": plural});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0b0b0b0b-0000-4000-8000-000000000001", "operation": "CREATE",
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": of_metadata("name"), "namespace": of_metadata("namespace"),
            "userInfo": {"username": user, "groups": ["system:authenticated"]},
            "object": object, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
