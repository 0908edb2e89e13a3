//! End users' tokens: signed JSON Web Tokens (RFC 7519, RFC 7515 in its compact form). The only thing
//! that the server takes from a token is the subject.
//!
//! Rules (after RFC 8725, the best current practices):
//! - Only the configuration determines which keys are accepted, and for which algorithm: each key has
//!   exactly one, by its type. The token's own `alg` is compared with it and never followed. Keys and
//!   addresses of keys in a token (`jwk`, `jku`, `x5c`, `x5u`) are ignored.
//! - The claims are read only after the signature is verified.
//! - Ambiguous encodings are refused: an object with a repeated member, base64 with padding or stray bits.
//! - The message of a refusal contains no part of the token, and no key.
//!
//! The JSON Web Signature is parsed here, on top of `ring`, and not by a library. The usual one
//! (`jsonwebtoken` 11.1) reads the clock itself, in whole seconds; accepts a repeated member if it does not
//! know the member's name, and takes the last; and needs a verifier that is installed for the whole process
//! and chosen for each token by the token's own header.

mod claims;
mod json;
mod jwks;
mod keys;
#[cfg(test)]
mod vectors;

use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::types::{NameError, Timestamp};
use serde_json::{Map, Value};

use claims::Expected;
use keys::VerifyingKey;

pub use keys::TokenKeyError;

/// Limit on the length of a token.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The longest leeway, in seconds.
pub const LEEWAY_S_MAX: u64 = 300;
/// The leeway where none is set, in seconds.
pub const LEEWAY_S_STANDARD: u64 = 10;

/// Which tokens are accepted.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The keys that verify signatures.
    pub keys: TokenKeys,
    /// The only accepted `iss`; not empty.
    pub issuer: String,
    /// What `aud` must be or contain; not empty.
    pub audience: String,
    /// How much the issuer's clock may differ from the server's, in seconds: 0 to [`LEEWAY_S_MAX`].
    pub leeway_s: u64,
}

/// The file of the keys that verify signatures.
#[derive(Clone, Debug)]
pub enum TokenKeys {
    /// A file with a JWK set (RFC 7517).
    Jwks(PathBuf),
    /// A file with a secret for HS256: all its bytes, without a line end after them.
    Secret(PathBuf),
}

/// Why the settings for tokens cannot be used. Never contains any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The issuer or the audience is empty, which a careless issuer might also send.
    #[error("the tokens' {0} must not be empty")]
    Empty(&'static str),
    /// The leeway is too large.
    #[error("the tokens' leeway is {0} s; it must be from 0 to {LEEWAY_S_MAX} s")]
    Leeway(u64),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The secret cannot be used.
    #[error("{path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TokenKeyError,
    },
    /// The file is not JSON. The JSON library's message is left out: it may quote the file.
    #[error("{path} is not JSON, or names a member twice: line {line}, column {column}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The file is JSON, but not a JWK set.
    #[error("{0} is no JWK set: it must be an object with \"keys\", an array of objects")]
    NoKeySet(PathBuf),
    /// A key for tokens is malformed.
    #[error("{path}: {key}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, by its `kid` or its position.
        key: String,
        /// What is wrong.
        source: TokenKeyError,
    },
    /// Two keys have the same name, so that a token could mean either.
    #[error("{path}: two keys have the kid {kid:?}")]
    DuplicateKid {
        /// The file.
        path: PathBuf,
        /// The name of both.
        kid: String,
    },
    /// The file has no key of a supported algorithm.
    #[error("{0} has no key for HS256, RS256, ES256 or EdDSA (Ed25519) that is for signatures")]
    NoUsableKey(PathBuf),
}

/// Why a token is refused. The message may be shown to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// The token is longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The token is not a signed token in its compact form.
    #[error("the token is malformed: it must be three parts in base64url with dots between, of which two are JSON objects")]
    Malformed,
    /// The token requires an extension; none is supported.
    #[error("the token's header has \"crit\", and no extension is supported")]
    Critical,
    /// The token names no key, and there are several.
    #[error("the token's header has no \"kid\", and there is more than one key")]
    KeyNotNamed,
    /// The token names an unknown key.
    #[error("the token's \"kid\" is not that of a known key")]
    UnknownKey,
    /// The token's algorithm is not that of its key.
    #[error("the token's \"alg\" is not that of its key")]
    WrongAlgorithm,
    /// The signature does not match.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is from another issuer.
    #[error("the token's \"iss\" is not the expected issuer")]
    WrongIssuer,
    /// The token is for another audience.
    #[error("the token's \"aud\" does not name the expected audience")]
    WrongAudience,
    /// A required claim is missing.
    #[error("the token has no \"{0}\"")]
    MissingClaim(&'static str),
    /// A claim has the wrong type, or a time is out of range.
    #[error("the token's \"{0}\" is malformed")]
    MalformedClaim(&'static str),
    /// The subject is not a valid name.
    #[error("the token's \"sub\" {0}")]
    SubjectMalformed(NameError),
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Tokens {
    keys: Vec<NamedKey>,
    expected: Expected,
}

/// A key, and the `kid` by which tokens name it.
#[derive(Debug)]
struct NamedKey {
    kid: Option<String>,
    key: VerifyingKey,
}

impl Tokens {
    /// Reads the keys from their file.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn load(settings: &TokenSettings) -> Result<Self, TokensError> {
        if settings.issuer.is_empty() {
            return Err(TokensError::Empty("issuer"));
        }
        if settings.audience.is_empty() {
            return Err(TokensError::Empty("audience"));
        }
        if LEEWAY_S_MAX < settings.leeway_s {
            return Err(TokensError::Leeway(settings.leeway_s));
        }
        let keys = match &settings.keys {
            TokenKeys::Jwks(path) => jwks::parse(path, &read(path)?)?,
            TokenKeys::Secret(path) => vec![NamedKey { kid: None, key: secret(path, &read(path)?)? }],
        };
        let (issuer, audience) = (settings.issuer.clone(), settings.audience.clone());
        Ok(Self { keys, expected: Expected { issuer, audience, leeway_ms: 1_000 * settings.leeway_s } })
    }

    /// Verifies a token and returns its `sub`.
    ///
    /// # Errors
    /// [`TokenRefusal`]: the first thing that is wrong with length, header, key, algorithm,
    /// signature, `exp`, `nbf`, `iss`, `aud` and `sub`, in this order.
    pub fn subject(&self, token: &str, now: Timestamp) -> Result<String, TokenRefusal> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(TokenRefusal::TooLong);
        }
        let token = Compact::split(token).ok_or(TokenRefusal::Malformed)?;
        let header = object(token.header)?;
        if header.contains_key("crit") {
            return Err(TokenRefusal::Critical);
        }
        let key = self.key(optional_text(&header, "kid")?)?;
        let algorithm = optional_text(&header, "alg")?.ok_or(TokenRefusal::Malformed)?;
        if algorithm != key.algorithm().name() {
            return Err(TokenRefusal::WrongAlgorithm);
        }
        if !key.verifies(token.signed.as_bytes(), &bytes(token.signature)?) {
            return Err(TokenRefusal::WrongSignature);
        }
        self.expected.subject(&object(token.claims)?, now)
    }

    /// The key that a token names. A token may omit the name if there is only one key.
    fn key(&self, kid: Option<&str>) -> Result<&VerifyingKey, TokenRefusal> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Ok(&only.key),
            (None, _) => Err(TokenRefusal::KeyNotNamed),
            (Some(_), keys) => keys.iter().find(|key| key.kid.as_deref() == kid).map(|key| &key.key).ok_or(TokenRefusal::UnknownKey),
        }
    }
}

/// The parts of a JSON Web Signature in its compact form (RFC 7515, section 7.1).
struct Compact<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// The signed bytes: header and claims with the dot between them.
    signed: &'a str,
}

impl<'a> Compact<'a> {
    fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        (!claims.contains('.')).then_some(Self { header, claims, signature, signed })
    }
}

fn object(part: &str) -> Result<Map<String, Value>, TokenRefusal> {
    match json::parse(&bytes(part)?) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(TokenRefusal::Malformed),
    }
}

/// Decodes the only encoding that RFC 7515 allows: without padding, and with zeros in all stray bits.
fn bytes(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)
}

fn optional_text<'a>(header: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, TokenRefusal> {
    header.get(name).map(|value| value.as_str().ok_or(TokenRefusal::Malformed)).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>, TokensError> {
    fs::read(path).map_err(|source| TokensError::Io { path: path.to_owned(), source })
}

fn secret(path: &Path, bytes: &[u8]) -> Result<VerifyingKey, TokensError> {
    let line = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    VerifyingKey::hs256(line).map_err(|source| TokensError::Secret { path: path.to_owned(), source })
}
