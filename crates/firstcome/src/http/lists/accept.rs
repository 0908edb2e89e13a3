//! Content negotiation for lists.

use super::{Format, Formulas};
use crate::http::accept::{accepted, ranges};
use crate::http::context::Context;
use crate::http::problem::Problem;

/// The best of the three formats that the caller accepts (RFC 9110, 12.5.1).
pub(super) fn format(context: &Context, formulas: Formulas) -> Result<Format, Problem> {
    let accepted = accepted(&context.headers);
    if accepted.trim().is_empty() {
        return Ok(Format::Json);
    }
    let offers = [("application/json", Format::Json), ("application/x-ndjson", Format::Ndjson), ("text/csv", Format::Csv(formulas))];
    let weighed = offers.map(|(media_type, format)| (weight(&accepted, media_type), format));
    // Among equal weights the first format wins.
    let best = weighed.into_iter().rev().max_by_key(|(weight, _)| *weight).filter(|(weight, _)| 0 < *weight);
    best.map(|(_, format)| format)
        .ok_or_else(|| Problem::new("not_acceptable", "the list comes as application/json, application/x-ndjson or text/csv"))
}

/// The weight of a media type in thousandths: that of the most specific range that matches it.
fn weight(accepted: &str, media_type: &str) -> u32 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let matching = ranges(accepted).filter_map(|(name, weight)| {
        let specificity = match name {
            _ if name.eq_ignore_ascii_case(media_type) => 2,
            "*/*" => 0,
            _ if name.strip_suffix("/*").is_some_and(|prefix| prefix.eq_ignore_ascii_case(kind)) => 1,
            _ => return None,
        };
        Some((specificity, weight))
    });
    matching.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, weight)| weight)
}
