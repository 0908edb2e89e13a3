//! API keys: create, list, rotate, revoke. A secret is shown in the response that creates it, and never again.

mod schemas;

use std::sync::Arc;

use axum::http::{StatusCode, header};
use domain::keyring::{Asker, KeyName, Rejection};
use edge::auth::Denied;
use edge::auth::caller::Caller;
use edge::request::page_limit;
use serde::Deserialize;
use serde_json::json;

use self::schemas::{after_key, key, key_name, key_with_secret, new_key, rotation};
use super::answer::{self, mark_replayed, with_header};
use super::calls::{ADMIN, Call, delete, get, post};
use super::context::{Context, request_id};
use super::openapi::describe::{Answer, limit, location};
use super::openapi::kinds::paged;
use super::openapi::refusals::DECIDES;
use super::problem::{HandlerResult, Problem};
use super::times;
use crate::keys::{self, Change, Decider, KeyError, KeyJson, Origin};
use edge::input::{Whole, parse};

const TAG: &str = "Keys";
/// Why calls that give out a secret take no request key.
const CREATED_ONCE: &str = "a secret is shown once and not kept, so that no answer can be given again; asking again is 409 `key_exists`";
const ROTATED_ONCE: &str = "a secret is shown once and not kept, so that no answer can be given again; asking again shortens no overlap";

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let secret = "Makes a key. Its secret is in this answer and never again: keep it, or rotate the key for another one. The first key \
                  must have the scope `admin`; from then on every call needs a key. The name is how the record names the caller, so it \
                  is never used again, also after the key was revoked.\n\nAsking again is 409 `key_exists`. If the answer was lost, \
                  rotate the key: it is there, and nobody knows its secret.";
    let rotated = "Gives a key another secret, which is in this answer and never again. The one before is good for `overlap_ms` yet, so \
                   that its holders can be changed over one by one. The key keeps its name, its scopes, and the answers to its request \
                   keys.\n\nAsking again with an overlap gives yet another secret, and every earlier one stays good as long as was \
                   promised: if the answer was lost, ask again. Without an overlap all earlier secrets end at once, as after a leak.";
    let all = "All keys in the order of their names, revoked ones included, without their secrets.";
    let revoked = key().but(json!({ "revoked_at": "2026-02-01T09:30:00.000Z" }));
    let other_secret =
        key_with_secret().but(json!({ "rotated_at": "2026-02-01T09:30:00.000Z", "overlap_until": "2026-02-01T10:30:00.000Z" }));
    vec![
        get("/v1/keys", ADMIN, list).about("listKeys", TAG, "List keys", all).takes([after_key(), limit()]).reads().answers(Answer::json(
            200,
            "A page of keys.",
            paged("keys", key(), "").named("KeyPage"),
        )),
        post("/v1/keys", ADMIN, create)
            .about("createKey", TAG, "Make a key", secret)
            .body(new_key())
            .unkeyed(CREATED_ONCE)
            .refuses(DECIDES)
            .refuses(&["key_exists", "keys_full"])
            .refused(409, "There is or was a key of this name, or there are too many.")
            .answers(
                Answer::json(201, "The key, with its secret.", key_with_secret()).headed([location("KeyLocation", "The key's path.")]),
            ),
        get("/v1/keys/{key}", ADMIN, read)
            .about("getKey", TAG, "Read a key", "A key without its secret.")
            .takes([key_name()])
            .reads()
            .refuses(&["key_not_found"])
            .answers(Answer::json(200, "The key.", key())),
        delete("/v1/keys/{key}", ADMIN, revoke)
            .about("revokeKey", TAG, "Revoke a key", "Ends a key for good, at once. It stays listed.")
            .takes([key_name()])
            .keyed()
            .refuses(DECIDES)
            .refuses(&["key_not_found", "key_revoked", "last_admin_key"])
            .refused(409, "It was revoked before, or nobody could make another key.")
            .answers(Answer::json(200, "The key, revoked.", revoked)),
        post("/v1/keys/{key}/rotate", ADMIN, rotate)
            .about("rotateKey", TAG, "Rotate a key", rotated)
            .takes([key_name()])
            .optional_body(rotation())
            .unkeyed(ROTATED_ONCE)
            .refuses(DECIDES)
            .refuses(&["key_not_found", "key_revoked", "key_overlaps_full"])
            .refused(409, "It was revoked; or four earlier secrets are good already, each as long as was promised.")
            .answers(Answer::json(200, "The key, with its new secret.", other_secret)),
    ]
    .into_iter()
    .map(Call::of_operators)
    .collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    key: String,
    scopes: Vec<String>,
    #[serde(default)]
    campaigns: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    #[serde(default)]
    overlap_ms: Option<Whole>,
}

/// `GET /v1/keys`
pub async fn list(context: Context) -> HandlerResult {
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    let (ring, now) = (keys::ring_of(&context.app.backend).await?, context.app.clock.now());
    let mut rest = ring.keys.iter().filter(|(name, _)| after.is_none_or(|after| after < &***name)).peekable();
    let page: Vec<KeyJson> = rest.by_ref().take(limit).map(|(name, key)| KeyJson::new(name, key, now)).collect();
    let next = rest.peek().and(page.last()).map(|key| key.key.as_str());
    Ok(answer::json(StatusCode::OK, &json!({ "keys": page, "next": next })))
}

/// `GET /v1/keys/{key}`
pub async fn read(context: Context) -> HandlerResult {
    context.query([])?;
    let ring = keys::ring_of(&context.app.backend).await?;
    let name = context.param("key");
    let key = ring.keys.get(name).ok_or(KeyError::Rejected(Rejection::KeyNotFound))?;
    Ok(answer::json(StatusCode::OK, &KeyJson::new(name, key, context.app.clock.now())))
}

/// `POST /v1/keys`
pub async fn create(context: Context) -> HandlerResult {
    context.query([])?;
    let body: CreateBody = parse(context.json_body("application/json")?)?;
    let CreateBody { key, scopes, campaigns } = body;
    let location = format!("/v1/keys/{key}");
    let (made, _) = change(context, Change::Create { key, scopes, campaigns }).await?;
    Ok(with_header(answer::json(StatusCode::CREATED, &made), header::LOCATION, &location))
}

/// `POST /v1/keys/{key}/rotate`
pub async fn rotate(context: Context) -> HandlerResult {
    context.query([])?;
    let body: RotateBody = if context.has_body() { parse(context.json_body("application/json")?)? } else { RotateBody::default() };
    let overlap_ms = body.overlap_ms.map_or(0, |Whole(millis)| millis);
    let key = context.param("key").to_owned();
    let (rotated, _) = change(context, Change::Rotate { key, overlap_ms }).await?;
    Ok(answer::json(StatusCode::OK, &rotated))
}

/// `DELETE /v1/keys/{key}`
pub async fn revoke(context: Context) -> HandlerResult {
    context.query([])?;
    context.no_body()?;
    let key = context.param("key").to_owned();
    let (revoked, is_replayed) = change(context, Change::Revoke { key }).await?;
    Ok(mark_replayed(answer::json(StatusCode::OK, &revoked), is_replayed))
}

/// Makes the requested change and puts it into effect: completed even if the client disconnects. The key as
/// it then is, and whether the request key had made the change before.
async fn change(context: Context, change: Change) -> Result<(KeyJson, bool), Problem> {
    let changing = tokio::spawn(async move {
        let (app, caller, own_key) = (Arc::clone(&context.app), &context.caller, context.request_key()?);
        let request = own_key.as_deref().map(|key| context.keyed(key)).transpose()?;
        let origin = Origin { actor: caller.actor(), request_id: request_id(&context), request, by: asker(caller)? };
        let changed = keys::change(Decider::Server(&app), &origin, &change).await?;
        let is_replayed = changed.is_replayed;
        if !is_replayed {
            tracing::info!(key = change.key(), by = caller.actor().as_str(), "{}", change.done());
        }
        Ok((KeyJson::changed(change.key(), changed, app.clock.now()), is_replayed))
    });
    // The join fails only if the server is stopping.
    changing.await.map_err(|_| Problem::new("stopping", "the server is about to stop"))?
}

/// The caller, as the rules check it: an authenticated caller may lose its key before the change is decided.
pub(super) fn asker(caller: &Caller) -> Result<Asker<'_>, Problem> {
    match caller {
        Caller::Local => Ok(Asker::Anyone),
        Caller::Key(key) => {
            let Ok(name) = KeyName::new(key.name()) else { panic!("a key that is accepted has the name of a key") };
            Ok(Asker::Holder { key: name, secret: key.kept().secret.shown() })
        }
        Caller::User { .. } => Err(Denied::KeyOnly.into()),
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let said = error.to_string();
        let rejection = match error {
            KeyError::Field { field, what } => return Self::field(field, what),
            KeyError::Declined(declined) => return declined.into(),
            KeyError::Random(_) => return Self::new("internal", said),
            KeyError::Rejected(rejection) => rejection,
        };
        match rejection {
            Rejection::AskerEnded => Denied::CredentialInvalid.into(),
            Rejection::AdminLimited => Self::field("campaigns", said),
            Rejection::FirstNotAdmin => Self::field("scopes", said),
            Rejection::OverlapTooLong => Self::field("overlap_ms", said),
            Rejection::OverlapsFull { overlap_until } => {
                Self::new("key_overlaps_full", said).with("overlap_until", json!(times::format(overlap_until)))
            }
            Rejection::KeyExists => Self::new("key_exists", said),
            Rejection::KeysFull => Self::new("keys_full", said),
            Rejection::CodeKeysFull => Self::new("code_keys_full", said),
            Rejection::KeyNotFound => Self::new("key_not_found", said),
            Rejection::KeyRevoked { revoked_at } => Self::new("key_revoked", said).with("revoked_at", json!(times::format(revoked_at))),
            Rejection::LastAdmin => Self::new("last_admin_key", said),
        }
    }
}
