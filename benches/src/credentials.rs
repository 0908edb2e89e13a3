//! The cost of authentication on one core, in this process, for each kind of credential; and whether its
//! duration reveals anything about a key's secret.

use std::fs;
use std::time::Duration;

use domain::keyring::{Key, Ring};
use domain::types::Timestamp;
use edge::auth::caller::Scope;
use edge::auth::secret::Secret;
use edge::auth::{Auth, AuthSettings, RequestHead, UserSettings};
use edge::tokens::TokenKeys;
use serde_json::{Value, json};

use crate::report::median;
use crate::tokens::{Signer, claims, settings};
use crate::{Outcome, clock};

/// Calls between two readings of the clock.
const BATCH: u32 = 200;

/// Nanoseconds for each kind of caller.
pub(crate) fn costs(rounds: usize) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let signers = Signer::one_of_each();
    let jwks = folder.path().join("jwks.json");
    fs::write(&jwks, json!({ "keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>() }).to_string())?;
    let users =
        UserSettings { tokens: settings(TokenKeys::Jwks(jwks)), scopes: [Scope::Issue].into_iter().collect(), campaigns: String::new() };
    let auth = Auth::open(AuthSettings { users: Some(users), ..AuthSettings::default() }, 4_096)?;
    let now = Timestamp::from_millis(1_000_000).ok_or("no time")?;
    let secret = Secret::new()?;
    let kept = Key {
        scopes: [Scope::Admin].into_iter().collect(),
        campaigns: "".into(),
        created_at: now,
        rotated_at: None,
        revoked_at: None,
        secret: secret.digest(),
        overlaps: Vec::new(),
    };
    auth.follow(&Ring { changes: 1, keys: [("bench".into(), kept)].into_iter().collect(), ..Ring::default() });
    let key = secret.key("bench");
    let mut shown: Vec<(String, String)> = vec![
        ("key".to_owned(), key.clone()),
        ("key_wrong_at_its_first_character".to_owned(), changed(&key, key.len() - 64)),
        ("key_wrong_at_its_last_character".to_owned(), changed(&key, key.len() - 1)),
        ("key_of_nobody".to_owned(), key.replace("bench", "nobod")),
    ];
    shown.extend(signers.iter().map(|signer| (signer.algorithm().to_lowercase(), signer.token(&claims("ann", 2_000)))));
    let mut nanos: Vec<Vec<f64>> = shown.iter().map(|_| Vec::new()).collect();
    // Alternating, so that disturbances of the machine affect all alike.
    for _ in 0..rounds * 200 {
        for ((_, credential), nanos) in shown.iter().zip(&mut nanos) {
            nanos.push(time_of(&auth, credential, now)?);
        }
    }
    let medians: Vec<f64> = nanos.iter().map(|nanos| median(nanos)).collect();
    let named = shown.iter().zip(&medians).map(|((name, _), nanos)| (name.clone(), json!(nanos.round())));
    let at = |place: usize| medians.get(place).copied().unwrap_or(f64::NAN);
    Ok(json!({
        "nanoseconds": named.collect::<serde_json::Map<String, Value>>(),
        "first_to_last_wrong_character": at(1) / at(2),
        "nobody_to_wrong": at(3) / at(2),
    }))
}

fn changed(key: &str, place: usize) -> String {
    let other = if key.get(place..=place) == Some("0") { "1" } else { "0" };
    format!("{}{other}{}", key.get(..place).unwrap_or_default(), key.get(place + 1..).unwrap_or_default())
}

fn time_of(auth: &Auth, credential: &str, now: Timestamp) -> Outcome<f64> {
    let headers = [(axum::http::header::AUTHORIZATION, format!("Bearer {credential}").parse()?)].into_iter().collect();
    let uri = axum::http::Uri::from_static("/");
    let head = RequestHead { headers: &headers, uri: &uri, now };
    let started = clock::now();
    for _ in 0..BATCH {
        let _ = std::hint::black_box(auth.caller(std::hint::black_box(&head)));
    }
    let spent: Duration = started.elapsed();
    Ok(spent.as_secs_f64() * 1e9 / f64::from(BATCH))
}
