//! A JWK set (RFC 7517): the keys of an identity provider; only those that can verify tokens for
//! this server are used.
//!
//! Each key type has one algorithm here; `alg` may repeat it and cannot change it. A key for another purpose
//! is skipped, with a warning; a key for this purpose that is malformed is an error, because otherwise tokens
//! would be refused for no visible reason.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::{Algorithm, TokenKeyError, VerifyingKey};
use super::{NamedKey, TokensError, json};

/// A key of a set, as parsed from the file.
type Jwk = Map<String, Value>;

/// Why a key of a set is not used.
enum Unusable {
    /// It is for another purpose; the text says which.
    Foreign(&'static str),
    /// It is for this purpose, but malformed.
    Wrong(TokenKeyError),
}

impl From<TokenKeyError> for Unusable {
    fn from(error: TokenKeyError) -> Self {
        Self::Wrong(error)
    }
}

/// Names a key in messages: by its `kid`, or by its position, from 1.
struct Label<'a> {
    kid: Option<&'a str>,
    place: usize,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kid {
            Some(kid) => write!(f, "key {kid:?}"),
            None => write!(f, "key number {}", self.place),
        }
    }
}

/// The usable keys of a file: at least one; and if there are several, each has its own `kid`.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<NamedKey>, TokensError> {
    let wrong = |label: &Label<'_>, source| TokensError::Key { path: path.to_owned(), key: label.to_string(), source };
    let set = json::parse(bytes);
    let set = set.map_err(|error| TokensError::NotJson { path: path.to_owned(), line: error.line(), column: error.column() })?;
    let mut keys = Vec::new();
    for (place, jwk) in members(&set).ok_or_else(|| TokensError::NoKeySet(path.to_owned()))?.into_iter().enumerate() {
        let label = Label { kid: jwk.get("kid").and_then(Value::as_str), place: place + 1 };
        match key(jwk) {
            Ok(key) => keys.push(key),
            Err(Unusable::Foreign(why)) => tracing::warn!(file = %path.display(), "{label} is not used for tokens: {why}"),
            Err(Unusable::Wrong(error)) => return Err(wrong(&label, error)),
        }
    }
    if keys.is_empty() {
        return Err(TokensError::NoUsableKey(path.to_owned()));
    }
    check_names(path, &keys)?;
    Ok(keys)
}

fn members(set: &Value) -> Option<Vec<&Jwk>> {
    set.as_object()?.get("keys")?.as_array()?.iter().map(Value::as_object).collect()
}

fn check_names(path: &Path, keys: &[NamedKey]) -> Result<(), TokensError> {
    let mut names = BTreeSet::new();
    for key in keys {
        match &key.kid {
            Some(kid) if !names.insert(kid) => return Err(TokensError::DuplicateKid { path: path.to_owned(), kid: kid.clone() }),
            None if 1 < keys.len() => {
                let key = format!("a key for {}", key.key.algorithm().name());
                return Err(TokensError::Key { path: path.to_owned(), key, source: TokenKeyError::NoKid });
            }
            _ => {}
        }
    }
    Ok(())
}

fn key(jwk: &Jwk) -> Result<NamedKey, Unusable> {
    let algorithm = algorithm(jwk)?;
    check_purpose(jwk, algorithm)?;
    let kid = optional_text(jwk, "kid")?.map(str::to_owned);
    let key = match algorithm {
        Algorithm::Hs256 => VerifyingKey::hs256(&number(jwk, "k")?),
        Algorithm::Rs256 => VerifyingKey::rs256(&number(jwk, "n")?, &number(jwk, "e")?),
        Algorithm::Es256 => VerifyingKey::es256(&number(jwk, "x")?, &number(jwk, "y")?),
        Algorithm::EdDsa => VerifyingKey::ed_dsa(&number(jwk, "x")?),
    };
    Ok(NamedKey { kid, key: key? })
}

/// The algorithm of a key, determined by its type and curve.
fn algorithm(jwk: &Jwk) -> Result<Algorithm, Unusable> {
    match (text(jwk, "kty")?, optional_text(jwk, "crv")?) {
        ("oct", _) => Ok(Algorithm::Hs256),
        ("RSA", _) => Ok(Algorithm::Rs256),
        ("EC", Some("P-256")) => Ok(Algorithm::Es256),
        ("OKP", Some("Ed25519")) => Ok(Algorithm::EdDsa),
        ("EC" | "OKP", _) => Err(Unusable::Foreign("its curve is neither P-256 nor Ed25519")),
        _ => Err(Unusable::Foreign("its type is none of oct, RSA, EC and OKP")),
    }
}

fn check_purpose(jwk: &Jwk, algorithm: Algorithm) -> Result<(), Unusable> {
    if optional_text(jwk, "alg")?.is_some_and(|name| name != algorithm.name()) {
        return Err(Unusable::Foreign("its \"alg\" is not supported with a key of its type"));
    }
    if optional_text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(Unusable::Foreign("its \"use\" is not \"sig\""));
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(()) };
    let operations = operations.as_array().and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    if !operations.ok_or(TokenKeyError::Operations)?.contains(&"verify") {
        return Err(Unusable::Foreign("its \"key_ops\" are without \"verify\""));
    }
    Ok(())
}

fn number(jwk: &Jwk, name: &'static str) -> Result<Vec<u8>, TokenKeyError> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| TokenKeyError::Base64(name))
}

fn text<'a>(jwk: &'a Jwk, name: &'static str) -> Result<&'a str, TokenKeyError> {
    optional_text(jwk, name)?.ok_or(TokenKeyError::NoText(name))
}

fn optional_text<'a>(jwk: &'a Jwk, name: &'static str) -> Result<Option<&'a str>, TokenKeyError> {
    jwk.get(name).map(|value| value.as_str().ok_or(TokenKeyError::NoText(name))).transpose()
}
