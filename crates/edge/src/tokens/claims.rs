//! The claims of a token, checked after its signature.
//!
//! Times in tokens are seconds since 1970, from 0 to the end of the year 9999. A larger number is not a
//! distant future but a mistake, most often milliseconds, that would make a token valid for ever. Fractions
//! of a second are rounded so that the token is valid for less time: `exp` down, `nbf` up.
//!
//! With a leeway of `l`, in milliseconds, a token is valid at `now` when `nbf - l <= now < exp + l`. `iat` is
//! ignored: it limits nothing.

use domain::types::{SubjectId, Timestamp};
use serde_json::{Map, Number, Value};

use super::TokenRefusal;

/// The last whole second that a [`Timestamp`] can hold.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// The required values of the claims.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) leeway_ms: u64,
}

impl Expected {
    /// The subject, if every claim is as required.
    pub(super) fn subject(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<String, TokenRefusal> {
        // Neither sum overflows: a timestamp has 48 bits.
        let expires_at = time(claims, "exp", f64::floor)?.ok_or(TokenRefusal::MissingClaim("exp"))?;
        if expires_at.millis() + self.leeway_ms <= now.millis() {
            return Err(TokenRefusal::Expired);
        }
        let begins_at = time(claims, "nbf", f64::ceil)?.unwrap_or(Timestamp::ZERO);
        if now.millis() + self.leeway_ms < begins_at.millis() {
            return Err(TokenRefusal::NotYetValid);
        }
        if text(claims, "iss")? != self.issuer {
            return Err(TokenRefusal::WrongIssuer);
        }
        if !audiences(claims)?.contains(&self.audience.as_str()) {
            return Err(TokenRefusal::WrongAudience);
        }
        let subject = SubjectId::new(text(claims, "sub")?).map_err(TokenRefusal::SubjectMalformed)?;
        Ok(subject.as_str().to_owned())
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, TokenRefusal> {
    claims.get(name).ok_or(TokenRefusal::MissingClaim(name))?.as_str().ok_or(TokenRefusal::MalformedClaim(name))
}

/// `aud` is one text, or an array of them (RFC 7519, section 4.1.3).
fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, TokenRefusal> {
    let audience = claims.get("aud").ok_or(TokenRefusal::MissingClaim("aud"))?;
    let all = audience.as_array().map_or(std::slice::from_ref(audience), Vec::as_slice);
    all.iter().map(Value::as_str).collect::<Option<_>>().ok_or(TokenRefusal::MalformedClaim("aud"))
}

fn time(claims: &Map<String, Value>, name: &'static str, whole: fn(f64) -> f64) -> Result<Option<Timestamp>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_number().and_then(|number| seconds(number, whole));
    let time = seconds.and_then(|seconds| seconds.checked_mul(1_000)).and_then(Timestamp::from_millis);
    time.map(Some).ok_or(TokenRefusal::MalformedClaim(name))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is whole and in range")]
fn seconds(number: &Number, whole: fn(f64) -> f64) -> Option<u64> {
    let fraction = || number.as_f64().map(whole).filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    number.as_u64().or_else(|| fraction().map(|seconds| seconds as u64))
}
