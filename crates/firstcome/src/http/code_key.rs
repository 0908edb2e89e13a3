//! The code key: shows the number of the key that the codes of new campaigns' claims use, and rotates it.

use axum::http::StatusCode;
use serde_json::json;

use super::answer::{self, mark_replayed};
use super::calls::{ADMIN, Call, get, post};
use super::context::{Context, request_id};
use super::keys::asker;
use super::openapi::describe::Answer;
use super::openapi::refusals::DECIDES;
use super::openapi::schema::{Schema, number, object};
use super::problem::HandlerResult;
use crate::keys::{self, Decider, Origin};
use domain::keyring::CODE_KEYS_MAX;

const TAG: &str = "Keys";

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let about = "The number of the key that the codes of new campaigns come from. The key itself is derived from it and from a secret that \
                 only the servers have; nothing shows it.";
    let rotated = "Takes another key for the codes of campaigns that are made from now on, through whichever server; those that are there \
                   keep theirs, and their codes. Send an `Idempotency-Key` to retry safely: without one, each request takes another key.";
    vec![
        get("/v1/code-key", ADMIN, read).about("getCodeKey", TAG, "Read the code key's number", about).reads().answers(Answer::json(
            200,
            "The number.",
            code_key(1),
        )),
        post("/v1/code-key/rotate", ADMIN, rotate)
            .about("rotateCodeKey", TAG, "Rotate the code key", rotated)
            .keyed()
            .refuses(DECIDES)
            .refuses(&["code_keys_full"])
            .answers(Answer::json(200, "The number of the new key.", code_key(2))),
    ]
    .into_iter()
    .map(Call::of_operators)
    .collect()
}

fn code_key(shown: u32) -> Schema {
    object("").has("number", number(1, u64::from(CODE_KEYS_MAX)).shown(json!(shown)), "Its number; the first is 1.").named("CodeKey")
}

/// `GET /v1/code-key`
async fn read(context: Context) -> HandlerResult {
    context.query([])?;
    let ring = keys::ring_of(&context.app.backend).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "number": ring.code_key })))
}

/// `POST /v1/code-key/rotate`
async fn rotate(context: Context) -> HandlerResult {
    context.query([])?;
    context.no_body()?;
    let (caller, own_key) = (&context.caller, context.request_key()?);
    let request = own_key.as_deref().map(|key| context.keyed(key)).transpose()?;
    let origin = Origin { actor: caller.actor(), request_id: request_id(&context), request, by: asker(caller)? };
    let rotated = keys::rotate_code_key(Decider::Server(&context.app), &origin).await?;
    tracing::info!(number = rotated.number, by = caller.actor().as_str(), "code key rotated");
    Ok(mark_replayed(answer::json(StatusCode::OK, &json!({ "number": rotated.number })), rotated.is_replayed))
}
