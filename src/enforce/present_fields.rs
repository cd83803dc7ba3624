//! What a patch of a VMI must know of it: which fields are there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::{Excess, Measured};

/// A VMI's annotations and CPU model, and the objects around them; `None` where one is missing or null.
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
    /// As an object that lacks all other fields.
    #[must_use]
    pub(crate) fn to_value(&self) -> Value {
        // Text and maps of text can always be written.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// An annotation that was not read is added, which sets it all the same.
impl Measured for PresentFields {
    fn mark(&mut self, _: Excess) {}
}
