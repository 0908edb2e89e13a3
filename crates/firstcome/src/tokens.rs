//! End users' tokens: signed JSON Web Tokens (RFC 7519, RFC 7515 in its compact form), from which
//! one thing is learnt: the subject on whose behalf something is asked.
//!
//! What holds (after RFC 8725, the best current practices):
//! - The configuration alone says which keys count and what each is for. A key is of one algorithm,
//!   by its type; what a token says of its algorithm is compared, never followed. Keys and addresses
//!   of keys in a token (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
//! - Nothing of the claims is read before the signature is found right.
//! - What is written in two ways is refused: a member that an object names twice, base64 with
//!   padding or stray bits.
//! - A refusal says what is wrong in words of our own: it holds no part of the token, and no key.
//!
//! The JSON Web Signature is taken apart here, on top of `ring`, and not by a library. The usual one
//! (`jsonwebtoken` 11.1) reads the clock itself, in whole seconds; takes the last of two members of
//! one name where it does not know the name; and needs the code that verifies to be installed for
//! the whole process, to be chosen for each token by what the token says.

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

pub use keys::KeyError;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The longest leeway, in seconds.
pub const LEEWAY_S_MAX: u64 = 300;
/// The leeway where none is set, in seconds.
pub const LEEWAY_S_STANDARD: u64 = 10;

/// What tokens must look like.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Who may have signed them.
    pub keys: TokenKeys,
    /// The one `iss` that is taken; not empty.
    pub issuer: String,
    /// What `aud` must be or hold; not empty.
    pub audience: String,
    /// By how many seconds the issuer's clock may differ from ours: 0 to [`LEEWAY_S_MAX`].
    pub leeway_s: u64,
}

/// Where the keys are.
#[derive(Clone, Debug)]
pub enum TokenKeys {
    /// A file that holds a JWK set (RFC 7517).
    Jwks(PathBuf),
    /// A file that holds a secret for HS256: all its bytes, but for one line end after them.
    Secret(PathBuf),
}

/// Why tokens cannot be checked as they were set up to be. Never holds any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// An issuer or an audience that any careless issuer might write.
    #[error("the tokens' {0} must not be empty")]
    Empty(&'static str),
    /// More leeway than clocks differ.
    #[error("the tokens' leeway is {0} s; it must be from 0 to {LEEWAY_S_MAX} s")]
    Leeway(u64),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The secret is not one.
    #[error("{path}: {source}")]
    Secret {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// No JSON. The text of the JSON library is left out: it may quote the file.
    #[error("{path} is not JSON, or names a member twice: line {line}, column {column}")]
    NotJson {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// JSON, but of something else.
    #[error("{0} is no JWK set: it must be an object with \"keys\", an array of objects")]
    NoKeySet(PathBuf),
    /// A key that is meant for tokens and is wrong.
    #[error("{path}: {key}: {source}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Which key, by its `kid` or its place.
        key: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Which of them a token means, nobody could tell.
    #[error("{path}: two keys have the kid {kid:?}")]
    DuplicateKid {
        /// Which file.
        path: PathBuf,
        /// Which `kid`.
        kid: String,
    },
    /// Nothing that tokens could be signed with.
    #[error("{0} has no key for HS256, RS256, ES256 or EdDSA (Ed25519) that is for signatures")]
    NoUsableKey(PathBuf),
}

/// Why a token is not taken. The text may be shown to whoever sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// More than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// No signed token, in its compact form.
    #[error("the token is malformed: it must be three parts in base64url with dots between, of which two are JSON objects")]
    Malformed,
    /// Extensions that must be understood; none is.
    #[error("the token's header has \"crit\", and no extension is supported")]
    Critical,
    /// Several keys, and none is named.
    #[error("the token's header has no \"kid\", and there is more than one key")]
    KeyNotNamed,
    /// No key has this name.
    #[error("the token's \"kid\" is not that of a known key")]
    UnknownKey,
    /// Another than the key's, or none.
    #[error("the token's \"alg\" is not that of its key")]
    WrongAlgorithm,
    /// Not signed with the key, or changed since.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time is to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// From somebody else.
    #[error("the token's \"iss\" is not the expected issuer")]
    WrongIssuer,
    /// For somebody else.
    #[error("the token's \"aud\" does not name the expected audience")]
    WrongAudience,
    /// A claim that must be there.
    #[error("the token has no \"{0}\"")]
    MissingClaim(&'static str),
    /// A claim of another type, or a time that no token has.
    #[error("the token's \"{0}\" is malformed")]
    MalformedClaim(&'static str),
    /// A subject by which nothing could be recorded.
    #[error("the token's \"sub\" {0}")]
    SubjectMalformed(NameError),
}

/// Who may sign, and what tokens must say.
#[derive(Debug)]
pub struct Tokens {
    keys: Vec<NamedKey>,
    expected: Expected,
}

/// A key and the `kid` by which tokens call for it.
#[derive(Debug)]
struct NamedKey {
    kid: Option<String>,
    key: VerifyingKey,
}

impl Tokens {
    /// Reads the keys.
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

    /// The verified `sub` of a token.
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

    /// The key that a token calls for. One without a name is for tokens that name none.
    fn key(&self, kid: Option<&str>) -> Result<&VerifyingKey, TokenRefusal> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Ok(&only.key),
            (None, _) => Err(TokenRefusal::KeyNotNamed),
            (Some(_), keys) => keys.iter().find(|key| key.kid.as_deref() == kid).map(|key| &key.key).ok_or(TokenRefusal::UnknownKey),
        }
    }
}

/// A JSON Web Signature in its compact form (RFC 7515, section 7.1), taken apart.
struct Compact<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// Header and claims as they were signed: with the dot between them.
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

/// Without padding, and with every stray bit zero: the one way in which RFC 7515 writes bytes.
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
