//! Quantities of the Kubernetes API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Amounts;

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
    quantity(&text)
}

/// Parses a quantity in thousandths, rounded up. Mirrors `ParseQuantity` of
/// `k8s.io/apimachinery/pkg/api/resource/quantity.go`.
fn quantity(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let tens = |power: u32| 10_i128.checked_pow(power);
    let scale = tens(u32::try_from(fraction.len()).ok()?)?;
    // Numerator and denominator of the suffix's factor.
    let (up, down) = match suffix {
        "n" => (1, tens(9)?),
        "u" => (1, tens(6)?),
        "m" => (1, tens(3)?),
        "" => (1, 1),
        "k" => (tens(3)?, 1),
        "M" => (tens(6)?, 1),
        "G" => (tens(9)?, 1),
        "T" => (tens(12)?, 1),
        "P" => (tens(15)?, 1),
        "E" => (tens(18)?, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1_i128 << 40, 1),
        "Pi" => (1_i128 << 50, 1),
        "Ei" => (1_i128 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = tens(power.unsigned_abs())?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    };
    let (above, below) = (digits.checked_mul(up)?.checked_mul(1000)?, scale.checked_mul(down)?);
    Some(i64::try_from((above + below - 1) / below).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::cores("2", Some(2000))]
    #[case::a_tenth("100m", Some(100))]
    #[case::with_a_point("1.5", Some(1500))]
    #[case::never_a_rounding_fault("1.1", Some(1100))]
    #[case::rounded_up("1n", Some(1))]
    #[case::binary("16Gi", Some(16_000 << 30))]
    #[case::decimal("129M", Some(129_000_000_000))]
    #[case::exponent("12e3", Some(12_000_000))]
    #[case::exa("1E", Some(i64::MAX))]
    #[case::a_word("many", None)]
    #[case::nothing("", None)]
    fn quantities_are_read_as_kubernetes_reads_them(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(quantity(text), expected, "{text}");
    }
}
