//! Counters, the example: additions.

use axum::http::StatusCode;
use domain::counter::{ADDITIONS, Command, Counter};
use domain::types::SubjectId;
use domain::{Action, Kind, Novelty};
use edge::auth::Access;
use edge::auth::caller::Scope;
use serde::Deserialize;
use serde_json::json;

use crate::http::answer::{self, mark_replayed};
use crate::http::calls::{Call, ISSUE, READ, post};
use crate::http::context::{Context, submit};
use crate::http::input::parse;
use crate::http::lists::Listing;
use crate::http::problem::{HandlerResult, Problem, Refusals, info, says, says_of};
use crate::http::{aggregates, lists, live};
use crate::live::Plain;

static LISTED: Listing = Listing::plain(Kind::Counter, &ADDITIONS);

/// The refusals.
pub const REFUSALS: Refusals = Refusals {
    kind: Kind::Counter,
    codes: &[
        info("amount_out_of_range", 422, "Amount out of range", "One addition adds 1 to `step_max`."),
        info("limit_reached", 409, "Limit reached", "Only `left` may still be added."),
    ],
    wordings: &[
        says_of("amount_out_of_range", "amount", "the amount must be 1 to {step_max}"),
        says("limit_reached", "{left} may still be added"),
    ],
};

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let own = [
        lists::entries(&LISTED, Access::KeyScope(Scope::Read)),
        post("/v1/counters/{counter}/additions", ISSUE, add),
        live::watched::<Plain>(Kind::Counter, READ),
    ];
    aggregates::calls(Kind::Counter, READ).into_iter().chain(own).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    subject: String,
    amount: u32,
}

/// `POST /v1/counters/{counter}/additions`
async fn add(context: Context) -> HandlerResult {
    let counter = context.named("counter")?;
    let Addition { subject, amount } = parse(context.json_body("application/json")?)?;
    let subject = SubjectId::new(&subject).map_err(|error| Problem::field("subject", error.to_string()))?;
    let command = Command::Add { subject: context.acting_for(subject)?, amount };
    let done = submit(&context, Action::of::<Counter>(counter, command)).await?;
    let (sum, _) = done.shown::<Counter>().ok_or_else(|| aggregates::of_another_kind(&done))?;
    let response = answer::json(StatusCode::CREATED, &json!({ "number": sum.additions, "total": sum.total }));
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}
