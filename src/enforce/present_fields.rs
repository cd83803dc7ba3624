//! The fields of a VMI that a patch depends on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::{Excess, Measured};

/// The annotations and CPU model of a VMI, and the objects around them; `None` if one is missing or null.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct PresentFields {
    metadata: Option<Metadata>,
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Metadata {
    annotations: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Spec {
    domain: Option<PresentDomain>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PresentDomain {
    cpu: Option<PresentCpu>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PresentCpu {
    model: Option<String>,
}

impl PresentFields {
    /// Returns an object with these fields only.
    pub(crate) fn to_value(&self) -> Value {
        // Text and maps of text can always be serialized.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Ignores the excess: adding an annotation that was not read sets it nevertheless.
impl Measured for PresentFields {
    fn mark(&mut self, _: Excess) {}
}
