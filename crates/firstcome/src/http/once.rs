//! Request keys for calls whose effect is only in memory: rate limits. A retry with the same
//! `Idempotency-Key` gets the first response again, and takes no units again.
//!
//! The units taken from rate limits are only in memory, and so are these keys: a restart forgets both. A
//! request key is kept for [`KEEP_MS`], an hour, and not for the 24 hours of the journal's keys, because
//! checks are many. Its scope is the caller. Responses without an effect (a refusal, a check that was not
//! allowed) are not stored: a retry is decided again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use domain::request::Fingerprint;
use edge::clock;
use edge::context::digest_of;
use parking_lot::{Mutex as SyncMutex, MutexGuard};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::answer::mark_replayed;
use super::context::Context;
use super::problem::{HandlerResult, Problem, problem};

/// How long a request key is kept, in milliseconds: an hour.
pub const KEEP_MS: u64 = 3_600_000;
/// Capacity for request keys; with its response each takes about 500 bytes.
pub const KEYS_MAX: usize = 500_000;
/// The largest stored response: 16 checks need less.
const BODY_BYTES_MAX: usize = 16 * 1_024;

/// Caller and request key, as a digest.
type Key = [u8; 16];

/// Recent responses by request key.
#[derive(Debug, Default)]
pub struct Once(SyncMutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<Key, Arc<Slot>>,
    /// Every key with its arrival time, oldest first.
    by_age: VecDeque<(u64, Key)>,
}

/// One request key, with its response once there is one. The request that holds the lock is the first; the
/// others wait for its response.
type Slot = Mutex<Option<Kept>>;

#[derive(Clone, Debug)]
struct Kept {
    fingerprint: Fingerprint,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Once {
    /// The number of stored request keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots().by_key.len()
    }

    /// Whether no request key is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot of a key; `None` if the capacity is used up.
    fn slot(&self, key: Key, now_ms: u64) -> Option<Arc<Slot>> {
        let mut slots = self.slots();
        slots.forget_before(now_ms.saturating_sub(KEEP_MS));
        let is_full = KEYS_MAX <= slots.by_key.len();
        match slots.by_key.entry(key) {
            Entry::Occupied(known) => Some(Arc::clone(known.get())),
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(place) => {
                let slot = Arc::new(Slot::default());
                place.insert(Arc::clone(&slot));
                slots.by_age.push_back((now_ms, key));
                Some(slot)
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock()
    }
}

impl Slots {
    fn forget_before(&mut self, before_ms: u64) {
        while let Some((_, key)) = self.by_age.front().copied().filter(|(at_ms, _)| *at_ms < before_ms) {
            self.by_age.pop_front();
            self.by_key.remove(&key);
        }
    }
}

/// Runs the handler once for each request key.
///
/// # Errors
/// The handler's problem, or one about the key: reused for another request, or capacity used up.
pub async fn once<F: Future<Output = HandlerResult>>(context: Context, handler: impl FnOnce(Context) -> F) -> HandlerResult {
    let Some(own_key) = context.request_key()?.map(std::borrow::Cow::into_owned) else { return handler(context).await };
    let fingerprint = context.keyed(&own_key)?.fingerprint;
    let key = key_of(context.caller.actor().as_str(), &own_key);
    let app = Arc::clone(&context.app);
    let slot = app.once.slot(key, clock::elapsed_ms()).ok_or_else(full)?;
    let mut kept = slot.lock().await;
    match &*kept {
        Some(kept) if kept.fingerprint == fingerprint => return Ok(mark_replayed(kept.again(), true)),
        Some(_) => return Err(problem("request_key_reused", "this Idempotency-Key took effect for another request")),
        None => {}
    }
    let (parts, body) = handler(context).await?.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| Problem::new("internal", error.to_string()))?;
    if took_effect(&body) {
        *kept = Some(Kept { fingerprint, status: parts.status, headers: parts.headers.clone(), body: body.clone() });
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

impl Kept {
    fn again(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// Whether the response reports an effect: a check that was not allowed has taken nothing.
fn took_effect(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| body.get("allowed") != Some(&Value::Bool(false)))
}

fn full() -> Problem {
    problem("memory_limit", "the server holds as many request keys of rate limits in memory as it may").with("limit", json!("request_keys"))
}

fn key_of(actor: &str, own_key: &str) -> Key {
    digest_of([actor.as_bytes(), own_key.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_an_hour_and_then_forgotten() {
        let once = Once::default();
        let first = once.slot(key_of("local", "k"), 5).unwrap();
        let known = |now_ms| Arc::ptr_eq(&once.slot(key_of("local", "k"), now_ms).unwrap(), &first);
        assert!(known(5) && known(5 + KEEP_MS));
        assert!(!known(6 + KEEP_MS));
        assert_eq!(once.len(), 1);
    }

    #[test]
    fn the_same_key_of_another_caller_is_another_one() {
        assert_ne!(key_of("a", "k"), key_of("b", "k"));
        assert_ne!(key_of("a", "bk"), key_of("ab", "k"));
    }
}
