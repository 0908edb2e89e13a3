//! API keys: create, list, rotate, revoke. A secret is shown in the response that creates it, and never again.

mod schemas;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use domain::types::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::schemas::{after_key, key, key_name, key_with_secret, new_key, rotation};
use super::answer::{self, with_header};
use super::calls::{ADMIN, Call, delete, get, post};
use super::context::Context;
use super::openapi::describe::{Answer, limit, location};
use super::openapi::kinds::paged;
use super::problem::{HandlerResult, Problem};
use super::times;
use edge::auth::caller::{Scope, Scopes};
use edge::auth::key_file::{ChangeError, IssuedKey};
use edge::auth::keys::{Key, KeyError, KeyRing, NewKey};
use edge::input::{Whole, parse};
use edge::request::page_limit;

const TAG: &str = "Keys";
/// A full disk leaves the keys as they are.
const CHANGED: &[&str] = &["storage_full"];

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let secret = "Makes a key. Its secret is in this answer and never again: keep it, or rotate the key for another one. The first key \
                  must have the scope `admin`; from then on every call needs a key. The name is how the record names the caller, so it \
                  is never used again, also after the key was revoked.\n\nAsking again is 409 `key_exists`; `Idempotency-Key` is \
                  ignored, because a secret is shown once.";
    let rotated = "Gives a key another secret, which is in this answer and never again. The one before is good for `overlap_ms` yet, so \
                   that its holders can be changed over one by one. The key keeps its name, its scopes, and the answers to its request \
                   keys.\n\nAsking again gives yet another secret and ends the one before the last.";
    let all = "All keys in the order of their names, revoked ones included, without their secrets.";
    let revoked = key().but(json!({ "revoked_at": "2026-02-01T09:30:00.000Z" }));
    let other_secret =
        key_with_secret().but(json!({ "rotated_at": "2026-02-01T09:30:00.000Z", "overlap_until": "2026-02-01T10:30:00.000Z" }));
    vec![
        get("/v1/keys", ADMIN, list).about("listKeys", TAG, "List keys", all).takes([after_key(), limit()]).answers(Answer::json(
            200,
            "A page of keys.",
            paged("keys", key(), "").named("KeyPage"),
        )),
        post("/v1/keys", ADMIN, create)
            .about("createKey", TAG, "Make a key", secret)
            .body(new_key())
            .refuses(CHANGED)
            .refuses(&["key_exists", "keys_full"])
            .refused(409, "There is or was a key of this name, or there are too many.")
            .answers(
                Answer::json(201, "The key, with its secret.", key_with_secret()).headed([location("KeyLocation", "The key's path.")]),
            ),
        get("/v1/keys/{key}", ADMIN, read)
            .about("getKey", TAG, "Read a key", "A key without its secret.")
            .takes([key_name()])
            .refuses(&["key_not_found"])
            .answers(Answer::json(200, "The key.", key())),
        delete("/v1/keys/{key}", ADMIN, revoke)
            .about("revokeKey", TAG, "Revoke a key", "Ends a key for good, at once. It stays listed.")
            .takes([key_name()])
            .refuses(CHANGED)
            .refuses(&["key_not_found", "key_revoked", "last_admin_key"])
            .refused(409, "It was revoked before, or nobody could make another key.")
            .answers(Answer::json(200, "The key, revoked.", revoked)),
        post("/v1/keys/{key}/rotate", ADMIN, rotate)
            .about("rotateKey", TAG, "Rotate a key", rotated)
            .takes([key_name()])
            .optional_body(rotation())
            .refuses(CHANGED)
            .refuses(&["key_not_found", "key_revoked"])
            .refused(409, "It was revoked.")
            .answers(Answer::json(200, "The key, with its new secret.", other_secret)),
    ]
    .into_iter()
    .map(Call::of_operators)
    .collect()
}

/// A key as the API and `firstcome key` show it.
#[derive(Serialize)]
pub struct KeyJson<'a> {
    key: &'a str,
    scopes: Vec<&'static str>,
    campaigns: &'a str,
    created_at: String,
    rotated_at: Option<String>,
    overlap_until: Option<String>,
    revoked_at: Option<String>,
    /// Only in the response that creates the key or rotates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> KeyJson<'a> {
    /// The key without its secret.
    #[must_use]
    pub fn new(key: &'a Key, now: Timestamp) -> Self {
        Self {
            key: key.name(),
            scopes: key.scopes.listed().into_iter().map(Scope::word).collect(),
            campaigns: &key.campaigns,
            created_at: times::format(key.created_at),
            rotated_at: key.rotated_at.map(times::format),
            overlap_until: key.overlap_until(now).map(times::format),
            revoked_at: key.revoked_at.map(times::format),
            secret: None,
        }
    }

    /// The key with its new secret.
    #[must_use]
    pub fn issued(issued: &'a IssuedKey, now: Timestamp) -> Self {
        Self { secret: Some(&issued.secret), ..Self::new(&issued.key, now) }
    }
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
    let (ring, now) = (context.app.edge.auth.ring(), context.app.clock.now());
    let mut keys = ring.iter().filter(|key| after.is_none_or(|after| after < key.name()));
    let page: Vec<&Arc<Key>> = keys.by_ref().take(limit).collect();
    let next = keys.next().and_then(|_| page.last()).map(|key| key.name());
    let page: Vec<KeyJson<'_>> = page.iter().map(|key| KeyJson::new(key, now)).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "keys": page, "next": next })))
}

/// `GET /v1/keys/{key}`
pub async fn read(context: Context) -> HandlerResult {
    context.query([])?;
    let ring = context.app.edge.auth.ring();
    Ok(answer::json(StatusCode::OK, &KeyJson::new(ring.get(context.param("key"))?, context.app.clock.now())))
}

/// `POST /v1/keys`
pub async fn create(context: Context) -> HandlerResult {
    context.query([])?;
    let body: CreateBody = parse(context.json_body("application/json")?)?;
    let scopes = scopes(&body.scopes)?;
    let now = context.app.clock.now();
    let name = body.key.clone();
    let campaigns = body.campaigns.as_deref();
    if campaigns == Some("") {
        return Err(KeyError::Campaigns.into());
    }
    let shown = change(&context, "key made", &name, move |ring| {
        let new = NewKey { name: &body.key, scopes, campaigns: body.campaigns.as_deref().unwrap_or_default() };
        IssuedKey::created(ring, &new, now)
    });
    let shown = shown.await?;
    let response = answer::json(StatusCode::CREATED, &KeyJson::issued(&shown, now));
    Ok(with_header(response, header::LOCATION, &format!("/v1/keys/{name}")))
}

/// `POST /v1/keys/{key}/rotate`
pub async fn rotate(context: Context) -> HandlerResult {
    context.query([])?;
    let body: RotateBody = if context.has_body() { parse(context.json_body("application/json")?)? } else { RotateBody::default() };
    let overlap = Duration::from_millis(body.overlap_ms.map_or(0, |Whole(millis)| millis));
    let (name, now) = (context.param("key").to_owned(), context.app.clock.now());
    let rotated = name.clone();
    let shown = change(&context, "key rotated", &name, move |ring| IssuedKey::rotated(ring, &rotated, overlap, now));
    let shown = shown.await?;
    Ok(answer::json(StatusCode::OK, &KeyJson::issued(&shown, now)))
}

/// `DELETE /v1/keys/{key}`
pub async fn revoke(context: Context) -> HandlerResult {
    context.query([])?;
    context.no_body()?;
    let (name, now) = (context.param("key").to_owned(), context.app.clock.now());
    let revoked = name.clone();
    let key = change(&context, "key revoked", &name, move |ring| {
        // Without it, no key could be created over the API.
        if ring.is_last_admin(&revoked) {
            return Err(KeyError::LastAdmin);
        }
        ring.with_revoked(&revoked, now)
    });
    let key = key.await?;
    Ok(answer::json(StatusCode::OK, &KeyJson::new(&key, now)))
}

/// Scopes by their names, each at most once.
fn scopes(words: &[String]) -> Result<Scopes, Problem> {
    let parsed: Result<Vec<Scope>, _> = words.iter().map(|word| word.parse()).collect();
    let parsed = parsed.map_err(|error| Problem::field("scopes", error.to_string()))?;
    let scopes: Scopes = parsed.iter().copied().collect();
    if scopes.listed().len() < parsed.len() { Err(Problem::field("scopes", "names one twice")) } else { Ok(scopes) }
}

/// Changes the keys on a thread that may block, and logs the change. If the caller disconnects, the change
/// still completes.
async fn change<T, F>(context: &Context, what: &'static str, name: &str, change: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce(&KeyRing) -> Result<(KeyRing, T), KeyError> + Send + 'static,
{
    let (app, caller, name) = (Arc::clone(&context.app), context.caller.clone(), name.to_owned());
    let changed = tokio::task::spawn_blocking(move || {
        let now = app.clock.now();
        let (_, outcome) = app.edge.auth.change(|ring| {
            // The caller's key may have been revoked while this change waited for others.
            if ring.still_accepts(&caller, now) { change(ring) } else { Err(KeyError::CallerRevoked) }
        })?;
        tracing::info!(key = name, by = caller.actor().as_str(), "{what}");
        Ok::<T, ChangeError>(outcome)
    });
    // The join fails only when the server stops.
    Ok(changed.await.map_err(|_| Problem::new("stopping", "the server is about to stop"))??)
}
