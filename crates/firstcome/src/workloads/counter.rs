//! Counters, an example workload: additions.

use axum::http::StatusCode;
use domain::counter::{ADDITIONS, Command, Counter};
use domain::types::SubjectId;
use domain::{Action, Kind, Novelty};
use edge::auth::Access;
use edge::auth::caller::Scope;
use serde::Deserialize;
use serde_json::json;

use super::Table;
use crate::http::aggregates::{Served, of_another_kind};
use crate::http::answer::{self, mark_replayed};
use crate::http::calls::{Call, ISSUE, READ, post};
use crate::http::context::{Context, submit};
use crate::http::lists::{self, Listing};
use crate::http::live;
use crate::http::openapi::describe::Answer;
use crate::http::openapi::problem::{Member, field};
use crate::http::openapi::refusals::DECIDES;
use crate::http::openapi::schema::{body, name, number, number_from, object};
use crate::http::problem::{HandlerResult, Problem, info, says, says_of};
use crate::live::Plain;
use edge::input::parse;

/// The counters' part of the API.
pub const TABLE: Table = Table {
    kind: Kind::Counter,
    calls,
    codes: &[
        info("amount_out_of_range", 422, "Amount out of range", "One addition adds 1 to `step_max`."),
        info("limit_reached", 409, "Limit reached", "Only `left` may still be added."),
    ],
    wordings: &[
        says_of("amount_out_of_range", "amount", "the amount must be 1 to {step_max}"),
        says("limit_reached", "{left} may still be added"),
    ],
    tags: &[(TAG, "The example of a workload.")],
    problem_members: || {
        let step_max = Member("step_max", number_from(1), "The most that one addition adds.", &["amount_out_of_range"]);
        vec![field(&["amount_out_of_range"]), step_max, Member("left", number_from(0), "What may still be added.", &["limit_reached"])]
    },
};

const TAG: &str = "Counters";
static LISTED: Listing = Listing::plain(Kind::Counter, &ADDITIONS);

fn calls() -> Vec<Call> {
    let settings = json!({ "limit": 10_000 });
    let addition = body("What to add.").has("subject", name("u1"), "Who adds it.").has("amount", number(1, 1_000_000_000), "How much.");
    let sum = object("What an addition comes to.").has("number", number_from(1), "Its number.").has("total", number_from(1), "The total.");
    let own = [
        lists::declared(&LISTED, Access::KeyScope(Scope::Read), TAG),
        live::declared::<Plain>(Kind::Counter, READ, TAG, &live::example(Kind::Counter, &settings)),
        post("/v1/counters/{counter}/additions", ISSUE, add)
            .about("add", TAG, "Add to a counter", "Adds an amount. Send an `Idempotency-Key` to retry safely.")
            .keyed()
            .body(addition)
            .refuses(DECIDES)
            .refuses(&["counter_not_found", "amount_out_of_range", "limit_reached"])
            .answers(Answer::json(201, "Added.", sum)),
    ];
    let served = Served { patch_example: json!({ "limit": 20_000 }), ..Served::plain(Kind::Counter, READ, TAG, settings) };
    served.calls().into_iter().chain(own).collect()
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
    context.query([])?;
    let Addition { subject, amount } = parse(context.json_body("application/json")?)?;
    let subject = SubjectId::new(&subject).map_err(|error| Problem::field("subject", error.to_string()))?;
    let command = Command::Add { subject: context.acting_for(subject)?, amount };
    let done = submit(&context, Action::of::<Counter>(counter, command)).await?;
    let (sum, _) = done.shown::<Counter>().ok_or_else(|| of_another_kind(&done))?;
    let response = answer::json(StatusCode::CREATED, &json!({ "number": sum.additions, "total": sum.total }));
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}
