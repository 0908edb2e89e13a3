//! The problems of the workloads and of the engine: their codes, and the fields that tell the caller how to
//! proceed. Each workload adds its own codes and texts ([`crate::workloads::Table`]).

use std::sync::LazyLock;

use axum::http::header;
use domain::rejections::Detail;
use domain::{Kind, Rejection};
use engine::views::Refusal;
use serde_json::{Value, json};

use edge::problem;
pub use edge::problem::{CodeInfo, HandlerResult, Problem, info};

use super::openapi::kinds::capital;
use super::times;
use crate::backend::Declined;
use crate::workloads::{TABLES, Table};

/// Retry delay for the state of a queue, in milliseconds.
const QUEUE_RETRY_MS: u64 = 1_000;

/// Codes that belong to no workload.
const FRAME_CODES: &[CodeInfo] = &[
    info(
        "request_key_reused",
        422,
        "Request key reused",
        "The `Idempotency-Key` took effect for another request within the last 24 hours. Use a new key for a new request.",
    ),
    info(
        "version_mismatch",
        412,
        "Settings have changed",
        "`If-Match` names another version of the settings than the current one, which is in `version` and `ETag`. Read, then try again.",
    ),
    info(
        "demonstration_forbidden",
        403,
        "No demonstration here",
        "The small rush runs only where nobody has to show a key, and over plain HTTP.",
    ),
    info("demonstration_running", 409, "Demonstration is running", "One is running, in `campaign`; there is one at a time."),
];

/// Every code of the API: those of the workloads, then those of every server.
pub static CODES: LazyLock<Vec<CodeInfo>> = LazyLock::new(|| codes(|_| true));

/// The codes without those of example workloads, which are not documented.
#[must_use]
pub fn documented() -> Vec<CodeInfo> {
    codes(|kind| !kind.is_example())
}

fn codes(is_wanted: fn(Kind) -> bool) -> Vec<CodeInfo> {
    let of_workload = |table: &Table| of_kind(table.kind).into_iter().chain(table.codes.iter().copied()).collect::<Vec<_>>();
    let of_workloads = TABLES.iter().filter(|table| is_wanted(table.kind)).flat_map(of_workload);
    of_workloads.chain([FRAME_CODES, problem::CODES].concat()).collect()
}

/// The two codes made from a kind's word: not found, and already exists. Leaked, because they
/// live as long as the program.
fn of_kind(kind: Kind) -> [CodeInfo; 2] {
    let code = |code, status, title: String, meaning: String| CodeInfo { code, status, title: title.leak(), meaning: meaning.leak() };
    let (word, title) = (kind.word(), capital(kind.word()));
    let is_there = format!("`If-None-Match: *` was given and the {word} exists.");
    [
        code(kind.not_found(), 404, format!("{title} not found"), format!("There is no {word} of this name.")),
        code(kind.exists(), 412, format!("{title} exists"), is_there),
    ]
}

/// The meaning of a code; that of `internal` if it is unknown.
#[must_use]
pub fn info_of(code: &str) -> CodeInfo {
    problem::find(&CODES, code).unwrap_or(problem::INTERNAL)
}

/// A problem with any code of [`CODES`].
#[must_use]
pub fn problem(code: &'static str, detail: impl Into<String>) -> Problem {
    match problem::find(&CODES, code) {
        Some(info) => Problem::of(info, detail),
        None => Problem::new(code, detail),
    }
}

impl From<Declined> for Problem {
    fn from(Declined(refusal): Declined) -> Self {
        match refusal {
            Refusal::Rejected(rejection) => of_rejection(&rejection),
            Refusal::Busy => problem("busy", "as much as fits is on its way to the disk").retry_after_ms(100),
            Refusal::StorageFull => problem("storage_full", "the server's disk is full").retry_after_ms(5_000),
            Refusal::MemoryLimit(limit) => {
                problem("memory_limit", format!("the server holds as many {} in memory as it may", limit.replace('_', " ")))
                    .with("limit", json!(limit))
            }
            Refusal::Stopping => problem("stopping", "the server is about to stop").retry_after_ms(1_000),
            Refusal::NotCaughtUp => problem("not_caught_up", "the server has not heard from the log in time").retry_after_ms(1_000),
            Refusal::Unknown => {
                problem("outcome_unknown", "the disk or the log failed or did not answer in time; ask again to learn the outcome")
                    .outcome_unknown()
                    .retry_after_ms(1_000)
            }
        }
    }
}

/// The text for one case of a rejection, beside its code's title.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    code: &'static str,
    /// `{name}` is replaced by the rejection's detail of this name.
    detail: &'static str,
    /// The field of the body that is wrong.
    field: Option<&'static str>,
    /// The retry delay, in milliseconds.
    retry_after_ms: Option<u64>,
}

/// A text for a rejection.
#[must_use]
pub const fn says(code: &'static str, detail: &'static str) -> Wording {
    Wording { code, detail, field: None, retry_after_ms: None }
}

/// The same, naming the field of the body that is wrong.
#[must_use]
pub const fn says_of(code: &'static str, field: &'static str, detail: &'static str) -> Wording {
    Wording { code, detail, field: Some(field), retry_after_ms: None }
}

/// The same, with the retry delay for a queue.
#[must_use]
pub const fn says_later(code: &'static str, detail: &'static str) -> Wording {
    Wording { code, detail, field: None, retry_after_ms: Some(QUEUE_RETRY_MS) }
}

/// Texts of rejections that belong to no workload.
const WORDINGS: &[Wording] = &[
    says("request_key_reused", "this Idempotency-Key took effect for another request"),
    says("version_mismatch", "the settings have version {version}"),
];

/// The texts of all rejections.
fn wordings() -> impl Iterator<Item = &'static Wording> {
    WORDINGS.iter().chain(TABLES.iter().flat_map(|table| table.wordings))
}

fn of_rejection(rejection: &Rejection) -> Problem {
    if let Rejection::Settings(issue) = rejection {
        return Problem::field(issue.field, &issue.what);
    }
    match rejection {
        Rejection::NotFound(kind) => return problem(kind.not_found(), format!("there is no {} of this name", kind.word())),
        Rejection::Exists(kind) => return problem(kind.exists(), format!("there is a {} of this name", kind.word())),
        _ => {}
    }
    let Some(wording) = wordings().find(|wording| wording.code == rejection.code()) else {
        tracing::error!(?rejection, "nothing is known to be said of this rejection");
        return Problem::new("internal", "the rejection has no words");
    };
    let details = rejection.details();
    let mut refused = problem(wording.code, filled(wording.detail, &details));
    if let Some(field) = wording.field {
        refused = refused.with("field", json!(field));
    }
    if let Some(millis) = wording.retry_after_ms {
        refused = refused.retry_after_ms(millis);
    }
    if let Rejection::VersionMismatch { version } = rejection {
        refused = refused.with_header(header::ETAG, &format!("\"{version}\""));
    }
    details.iter().fold(refused, |refused, (name, detail)| refused.with(name, as_json(detail)))
}

/// Replaces each `{name}` in a text by the rejection's detail.
fn filled(text: &str, details: &[(&str, Detail)]) -> String {
    details.iter().fold(text.to_owned(), |text, (name, detail)| {
        let value = as_json(detail);
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.replace(&format!("{{{name}}}"), &value)
    })
}

fn as_json(detail: &Detail) -> Value {
    match detail {
        Detail::Number(number) => json!(number),
        Detail::Time(time) => json!(times::format(*time)),
        Detail::Numbers(numbers) => json!(numbers),
        Detail::Word(word) => json!(word),
    }
}

/// The code of a problem, and the field that it names.
#[cfg(test)]
pub(crate) fn code_and_field(problem: &Problem) -> (String, String) {
    let text = format!("{problem:?}");
    let field = text.split("\"field\": String(\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("").to_owned();
    (problem.code().to_owned(), field)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::coupon::{self, Coupon};
    use domain::rate_limit::policies;
    use domain::types::{Quantity, Serial, Timestamp};

    use super::*;

    /// Every rejection code has a status and a text, and no text is unused.
    #[test]
    fn every_rejection_has_words_and_a_status() {
        // Codes of kinds are made from their words, and kinds that are not served have calls and texts of
        // their own (`keys.rs`). No call makes two changes at once, or removes what cannot be removed.
        let of_frame = ["request_key_reused", "version_mismatch"];
        let of_workloads = Kind::ALL.iter().filter(|kind| kind.is_served()).flat_map(|kind| kind.rejections()).copied();
        let wanted: BTreeSet<&str> = of_frame.into_iter().chain(of_workloads).collect();
        let worded: BTreeSet<&str> = wordings().map(|wording| wording.code).collect();
        assert_eq!(wanted, worded);
        assert_eq!(worded.len(), wordings().count());
        for code in worded {
            assert!(problem::find(&CODES, code).is_some(), "{code}");
        }
    }

    #[test]
    fn what_a_rejection_tells_is_in_its_words_and_beside_them() {
        let told = |rejection: coupon::Rejection| format!("{:?}", Problem::from(Declined::from(Rejection::of::<Coupon>(rejection))));
        let text = told(coupon::Rejection::StockBelowClaimed { claimed: Quantity::new(7).unwrap() });
        assert!(
            text.contains("7 are claimed") && text.contains(r#""claimed": Number(7)"#) && text.contains(r#""field": String("stock")"#),
            "{text}"
        );
        let text = told(coupon::Rejection::ClaimAmbiguous { serials: vec![Serial::new(2).unwrap(), Serial::new(5).unwrap()] });
        assert!(text.contains(r#""serials": Array [Number(2), Number(5)]"#), "{text}");
        let text = told(coupon::Rejection::NotOpen { opens_at: Timestamp::from_millis(0).unwrap() });
        assert!(text.contains(r#""opens_at": String("1970-01-01T00:00:00"#), "{text}");
        let text = told(coupon::Rejection::QueueFull { queue_max: 9 });
        assert!(text.contains("9 claims are pending") && text.contains("retry_after_ms: Some(1000)"), "{text}");
        let text = format!("{:?}", Problem::from(Declined::from(Rejection::VersionMismatch { version: 3 })));
        assert!(text.contains(r#""version": Number(3)"#) && text.contains(r#"("etag", "\"3\"")"#), "{text}");
    }

    /// No placeholder stays unfilled.
    #[test]
    fn every_place_in_the_words_is_filled() {
        let field = Rejection::of::<policies::Limit>(policies::Rejection::InFlightOutOfRange { field: "timeout_ms" });
        let limit = Rejection::of::<Coupon>(coupon::Rejection::SubjectLimitReached { per_subject_max: 4 });
        let lowered = Rejection::of::<Coupon>(coupon::Rejection::PerSubjectMaxLowered { per_subject_max: 4 });
        let claimed = Rejection::of::<Coupon>(coupon::Rejection::StockBelowClaimed { claimed: Quantity::ONE });
        let full = Rejection::of::<Coupon>(coupon::Rejection::QueueFull { queue_max: 9 });
        let with_places: Vec<Rejection> = vec![field, limit, lowered, claimed, full, Rejection::VersionMismatch { version: 3 }];
        let tables = TABLES.iter().filter(|table| !table.kind.is_example());
        let all: Vec<&Wording> = WORDINGS.iter().chain(tables.flat_map(|table| table.wordings)).collect();
        assert_eq!(with_places.len(), all.iter().filter(|wording| wording.detail.contains('{')).count());
        for rejection in with_places {
            let wording = all.iter().find(|wording| wording.code == rejection.code()).unwrap();
            let said = filled(wording.detail, &rejection.details());
            assert!(wording.detail.contains('{') && !said.contains('{'), "{said}");
        }
    }
}
