//! Quantities of the Kubernetes API.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::EachText;

/// A quantity as it is written: text, or a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantity(pub String);

impl Quantity {
    /// The name under which deserializers are asked for one.
    const NAME: &str = "Quantity";

    /// Returns it in thousandths, rounded up; `None` if it is not a quantity.
    #[must_use]
    pub(crate) fn thousandths(&self) -> Option<i64> {
        thousandths(&self.0)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl EachText for Quantity {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        visit(field, &self.0);
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl<'de> Visitor<'de> for TextOrNumber {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Quantity, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }
        deserializer.deserialize_newtype_struct(Quantity::NAME, TextOrNumber)
    }
}

/// Parses a quantity in thousandths, rounded up. Mirrors `ParseQuantity` of
/// `k8s.io/apimachinery/pkg/api/resource/quantity.go`.
pub(crate) fn thousandths(text: &str) -> Option<i64> {
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
        assert_eq!(thousandths(text), expected, "{text}");
    }
}
