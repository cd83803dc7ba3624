//! Quantiles of measurements.

/// Returns the value at this part of the sorted values; the median for 0.5. `NaN` without values.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a part of a small count")]
    let at = ((values.len().max(1) - 1) as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
