//! The calls of the demonstration rush.

use axum::http::StatusCode;
use domain::Action;
use domain::coupon::Settings;
use domain::state::Precondition;
use domain::types::{Name, Quantity};
use domain::workload::AnySettings;
use edge::auth::Access;
use edge::auth::caller::Scope;
use serde_json::{Value, json};

use super::answer;
use super::calls::{ADMIN, Call, get, post};
use super::context::{Context, submit};
use super::openapi::describe::Answer;
use super::openapi::refusals::DECIDES;
use super::openapi::schema::{Schema, count, flag, object, text, word};
use super::problem::{HandlerResult, Problem, problem};
use crate::demonstration::{NotStarted, OVER, Outcome, Run, STOCK, USERS};
use crate::keys;

const TAG: &str = "Server";

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let rush = "2,000 people ask for 200 coupons within ten seconds, from the server itself and over its own API, in a campaign of its \
                own, and every answer is checked. Only where there are neither keys nor TLS, and one at a time: it is for trying Firstcome \
                out.";
    vec![
        get("/v1/demonstration", Access::KeyScope(Scope::Read), read)
            .of_operators()
            .about("readDemonstration", TAG, "Read the small rush", "Whether it may be started here, and how the last one went.")
            .answers(Answer::json(200, "The small rush.", schema())),
        post("/v1/demonstration", ADMIN, start)
            .of_operators()
            .about("startDemonstration", TAG, "Start the small rush", rush)
            .refuses(DECIDES)
            .unkeyed("one runs at a time, so that asking again is 409 `demonstration_running`")
            .refuses(&["demonstration_forbidden", "demonstration_running"])
            .refused(403, "The caller may not do this, or the server is not one for trying out.")
            .refused(409, "One is running.")
            .answers(Answer::json(202, "It begins in a moment.", schema())),
    ]
}

fn schema() -> Schema {
    let outcome = "It goes on; every promise was kept; some were not; it could not be carried out.";
    let last = object("")
        .has("campaign", text().shown(json!("try-it-4f2a90c3d1e8b675")), "Its campaign.")
        .has("outcome", word(&["running", "kept", "broken", "failed"]), outcome)
        .has("detail", text().or_null(), "Which promises, or why not.");
    object("The small rush.")
        .has("allowed", flag(true), "Whether it may be started here.")
        .has("users", count(2_000), "People who ask.")
        .has("stock", count(200), "Coupons that there are.")
        .has("over_ms", count(10_000), "Milliseconds over which they come.")
        .has("last", last.nullable(), "The last one; `null` if there was none.")
        .named("Demonstration")
}

impl From<NotStarted> for Problem {
    fn from(why: NotStarted) -> Self {
        match why {
            NotStarted::NotHere => problem("demonstration_forbidden", "the small rush runs only where there are neither keys nor TLS"),
            NotStarted::Running(campaign) => {
                problem("demonstration_running", format!("one is running in {campaign}")).with("campaign", json!(campaign))
            }
        }
    }
}

/// `GET /v1/demonstration`
pub async fn read(context: Context) -> HandlerResult {
    context.query([])?;
    // Only callers that may see all campaigns see the rush's campaign.
    let last = context.app.demonstration.last().filter(|_| context.caller.campaigns().is_empty());
    Ok(answer::json(StatusCode::OK, &shown(context.app.demonstration.is_allowed(&context.app), last)))
}

/// `POST /v1/demonstration`
pub async fn start(context: Context) -> HandlerResult {
    context.no_body()?;
    context.query([])?;
    let app = &context.app;
    let campaign = app.demonstration.reserve(app)?;
    // The campaign exists before the response, so that it can be watched from its beginning.
    if let Err(problem) = make(&context, &campaign).await {
        app.demonstration.end(campaign, Outcome::Failed(format!("the campaign could not be made: {}", problem.code())));
        return Err(problem);
    }
    app.demonstration.begin(app, campaign.clone());
    Ok(answer::json(StatusCode::ACCEPTED, &shown(true, Some(Run { campaign, outcome: Outcome::Running }))))
}

async fn make(context: &Context, campaign: &str) -> Result<(), Problem> {
    let name = Name::new(campaign).map_err(|error| Problem::new("internal", error.to_string()))?;
    let stock = Quantity::new(STOCK).ok_or_else(|| Problem::new("internal", "the stock is none"))?;
    let code_key = keys::ring_of(&context.app.backend).await?.code_key;
    let settings = AnySettings::Campaign(Settings { code_key, ..Settings::plain(stock) });
    submit(context, Action::Put { name, settings, precondition: Precondition::IsNew }).await.map(drop)
}

fn shown(is_allowed: bool, run: Option<Run>) -> Value {
    let last = run.map(|run| {
        let (outcome, detail) = match run.outcome {
            Outcome::Running => ("running", None),
            Outcome::Kept => ("kept", None),
            Outcome::Broken(promises) => ("broken", Some(promises.join("; "))),
            Outcome::Failed(why) => ("failed", Some(why)),
        };
        json!({ "campaign": run.campaign, "outcome": outcome, "detail": detail })
    });
    let over_ms = u64::try_from(OVER.as_millis()).unwrap_or(u64::MAX);
    json!({ "allowed": is_allowed, "users": USERS, "stock": STOCK, "over_ms": over_ms, "last": last })
}
