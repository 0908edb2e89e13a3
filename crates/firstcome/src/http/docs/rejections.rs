//! `docs/rejections.md`: every code, what it means, and whether asking again later can help.

use std::fmt::Write;

use crate::http::problem::documented;

const HEAD: &str = "# Refusals

Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. Clients match the code; `detail` is for people and may be worded better one day. `outcome` is `rejected` where surely nothing took effect, and `unknown` where it may have. What the caller needs next is in fields of its own (`retry_after_ms`, `opens_at`, `serials` and so on).

This page is made from the tables of codes in `crates/firstcome/src/http/problem.rs` and `crates/edge/src/problem.rs`. The running server shows the same at `/docs#refusals`.

| code | status | meaning | asking again later |
|---|---|---|---|
";

/// Where waiting helps, and for what. Everything not named here stays as it is.
const LATER: &[(&str, &str)] = &[
    ("not_open", "yes, from `opens_at` on"),
    ("paused", "yes, once its runner lets it go on"),
    ("subject_limit_reached", "yes, if the subject gives one back"),
    ("sold_out", "yes, if a claim is cancelled or stock is added"),
    ("queue_full", "yes, after `retry_after_ms`"),
    ("claim_pending", "yes, once the claim is decided"),
    ("version_mismatch", "no; read, then ask with the new version"),
    ("body_timeout", "yes"),
    ("busy", "yes, after `retry_after_ms`"),
    ("history_behind", "yes, after `retry_after_ms`"),
    ("storage_full", "yes, once there is room"),
    ("memory_limit", "perhaps: request keys are forgotten after 24 hours"),
    ("stopping", "yes, after `retry_after_ms`"),
    ("not_caught_up", "yes, after `retry_after_ms`"),
    ("outcome_unknown", "yes, and it tells the outcome"),
    ("internal", "perhaps"),
];

/// Whether the same request can be granted later, in words.
#[must_use]
pub fn later_of(code: &str) -> &'static str {
    LATER.iter().find(|(known, _)| *known == code).map_or("no", |(_, words)| words)
}

/// The whole page.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for info in documented() {
        // Writing to memory cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {} | {} |", info.code, info.status, info.meaning, later_of(info.code));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::coupon::Rejection;
    use domain::rejections::Coded;
    use domain::types::{Quantity, Timestamp};

    use super::*;

    /// One of each; the match makes sure that a new one is not forgotten here.
    fn all_rejections() -> Vec<Rejection> {
        let at = Timestamp::ZERO;
        let all = vec![
            Rejection::ClosesBeforeOpens,
            Rejection::RedeemUntilBeforeOpens,
            Rejection::StockBelowClaimed { claimed: Quantity::ONE },
            Rejection::PerSubjectMaxLowered { per_subject_max: 1 },
            Rejection::RequestKeyRequired,
            Rejection::NotOpen { opens_at: at },
            Rejection::Closed { closed_at: at },
            Rejection::Paused,
            Rejection::SubjectLimitReached { per_subject_max: 1 },
            Rejection::SoldOut,
            Rejection::QueueFull { queue_max: 1 },
            Rejection::ClaimNotFound,
            Rejection::ClaimPending,
            Rejection::ClaimAmbiguous { serials: Vec::new() },
            Rejection::CodeNotFound,
            Rejection::AlreadyRedeemed { redeemed_at: at },
            Rejection::Cancelled { cancelled_at: at },
            Rejection::Expired { redeem_until: at },
        ];
        for rejection in &all {
            match rejection {
                Rejection::ClosesBeforeOpens
                | Rejection::RedeemUntilBeforeOpens
                | Rejection::StockBelowClaimed { .. }
                | Rejection::PerSubjectMaxLowered { .. }
                | Rejection::RequestKeyRequired
                | Rejection::NotOpen { .. }
                | Rejection::Closed { .. }
                | Rejection::Paused
                | Rejection::SubjectLimitReached { .. }
                | Rejection::SoldOut
                | Rejection::QueueFull { .. }
                | Rejection::ClaimNotFound
                | Rejection::ClaimPending
                | Rejection::ClaimAmbiguous { .. }
                | Rejection::CodeNotFound
                | Rejection::AlreadyRedeemed { .. }
                | Rejection::Cancelled { .. }
                | Rejection::Expired { .. } => {}
            }
        }
        all
    }

    #[test]
    fn what_is_said_of_asking_again_agrees_with_the_rules() {
        for rejection in all_rejections() {
            assert_eq!(later_of(rejection.code()).starts_with("yes"), rejection.is_transient(), "{}", rejection.code());
        }
        for (code, _) in LATER {
            assert!(documented().iter().any(|info| info.code == *code), "{code} is no code");
        }
    }

    #[test]
    fn the_page_in_docs_is_made_from_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rejections.md");
        if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
            std::fs::write(&path, markdown()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == markdown(),
            "docs/rejections.md is out of date; write it anew with: UPDATE_DOCS=1 cargo test --release -p firstcome rejections"
        );
    }
}
