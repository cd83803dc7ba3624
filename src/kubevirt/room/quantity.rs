//! Quantities of the Kubernetes API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Amounts;
use crate::kubevirt::wire::thousandths;

/// Formats amounts as API quantities.
pub(super) fn quantities(amounts: &Amounts) -> BTreeMap<&str, String> {
    let quantity = |thousandths: i64| match thousandths % 1000 {
        0 => (thousandths / 1000).to_string(),
        _ => format!("{thousandths}m"),
    };
    amounts.iter().map(|(resource, amount)| (resource.as_str(), quantity(*amount))).collect()
}

/// Parses API quantities; entries that are not quantities are left out, as the API server does not accept them.
pub(super) fn amounts(wire: &BTreeMap<String, Value>) -> Amounts {
    let amount = |(resource, value): (&String, &Value)| Some((resource.clone(), quantity_of(value)?));
    wire.iter().filter_map(amount).collect()
}

/// Whether a value is an API quantity.
pub(crate) fn is_quantity(value: &Value) -> bool {
    quantity_of(value).is_some()
}

fn quantity_of(value: &Value) -> Option<i64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    thousandths(&text)
}
