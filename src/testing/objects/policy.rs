//! A policy.

use serde_json::{Value, json};

/// Returns a `CPUPolicy` with this spec.
pub(crate) fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": {"name": name}, "spec": spec})
}
