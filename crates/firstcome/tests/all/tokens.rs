//! End users' tokens: which are taken, and that no other is.
#![allow(clippy::unwrap_used)]

#[path = "tokens/accepted.rs"]
mod accepted;
#[path = "tokens/claims.rs"]
mod claims;
#[path = "tokens/files.rs"]
mod files;
#[path = "tokens/forms.rs"]
mod forms;
use crate::support::tokens as provider;
#[path = "tokens/signatures.rs"]
mod signatures;

use domain::types::Timestamp;
use edge::tokens::{TokenKeys, TokenRefusal, Tokens};
use provider::Signer;
use serde_json::Value;

/// When everything here happens, in seconds.
const NOW_S: u64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(1_000 * NOW_S).unwrap()
}

/// What ordinary tokens say: `ann`, for a minute more.
fn ordinary() -> Value {
    provider::claims("ann", NOW_S + 60)
}

/// The ordinary claims with one that is set, or taken away.
fn ordinary_but(name: &str, value: Option<Value>) -> Value {
    let mut claims = ordinary();
    let members = claims.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    claims
}

/// The program's side, which knows these keys.
fn tokens(signers: &[&Signer]) -> Tokens {
    let folder = tempfile::tempdir().unwrap();
    Tokens::load(&provider::settings(TokenKeys::Jwks(provider::write_jwks(folder.path(), signers)))).unwrap()
}

/// What becomes of a token, now.
fn outcome(tokens: &Tokens, token: &str) -> Result<String, TokenRefusal> {
    tokens.subject(token, now())
}

fn ann() -> Result<String, TokenRefusal> {
    Ok("ann".to_owned())
}
