//! What a caller accepts (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// All `Accept` fields of a request, as one list; empty if there is none.
pub(crate) fn accepted(headers: &HeaderMap) -> String {
    let lines: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(",")
}

/// The media ranges of a list, each with its weight in thousandths; a range with a weight that is no number is
/// left out.
pub(crate) fn ranges(accepted: &str) -> impl Iterator<Item = (&str, u32)> {
    accepted.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1.0), |quality| quality.parse::<f64>().ok())?;
        Some((name, thousandths(quality)))
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and 1,000")]
fn thousandths(quality: f64) -> u32 {
    (quality.clamp(0.0, 1.0) * 1_000.0) as u32
}
