//! One request: its caller, id, names, request key and body. Everything is checked here, so that handlers
//! see valid values only.

use data_encoding::HEXLOWER;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request};
use axum::http::header::{self, IF_MATCH, IF_NONE_MATCH};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use bytes::Bytes;
use domain::request::{Fingerprint, Keyed};
use domain::types::{Name, RequestId, RequestKey, SubjectId};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use rate_limit_layer::key;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::auth::Denied;
use crate::auth::caller::Caller;
use crate::fingerprint::{self, Asked, Nulls};
use crate::linger::{LINGER_BYTES_MAX, LINGER_TIME_MAX, discard};
use crate::message;
use crate::problem::Problem;
use crate::serve::Peer;
use crate::shared::{Application, Edge};

/// The largest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1_024;
/// The request's id, in requests and responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The media types that PATCH takes (RFC 5789).
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// The caller's name for a request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One request to the application `A`.
#[derive(Debug)]
pub struct Context<A> {
    /// What all requests share.
    pub app: Arc<A>,
    /// The request's id: the caller's, if it is valid.
    pub request_id: String,
    /// The caller.
    pub caller: Caller,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The connection's [`Peer`], and what turns it into a WebSocket.
    pub extensions: Extensions,
    method: Method,
    uri: Uri,
    query: Vec<(String, String)>,
    params: Vec<(String, String)>,
    body: Bytes,
}

/// A body that names a subject, whatever else it contains.
#[derive(Deserialize)]
struct SubjectOnly<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
}

impl<A: Application> Context<A> {
    /// Reads a whole request.
    ///
    /// # Errors
    /// A [`Problem`] if the body is too large, too slow or incomplete, or the path is not UTF-8.
    pub async fn read(
        app: Arc<A>,
        request_id: String,
        caller: Caller,
        params: Result<RawPathParams, RawPathParamsRejection>,
        request: Request,
    ) -> Result<Self, Problem> {
        let params = params.map_err(|error| not_utf8(&error))?;
        let (parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let body = read_body(body, parts.version, app.edge().limits.body_time).await?;
        // While a body arrives, the caller's key may be revoked.
        if has_body {
            let edge = app.edge();
            edge.auth.recheck(&caller, edge.clock.now())?;
        }
        Ok(Self {
            app,
            request_id,
            caller,
            headers: parts.headers,
            extensions: parts.extensions,
            method: parts.method,
            query: decoded_pairs(parts.uri.query().unwrap_or_default()),
            uri: parts.uri,
            params: params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body,
        })
    }

    /// The client's address; forwarded addresses are accepted only from trusted proxies.
    #[must_use]
    pub fn client_address(&self) -> IpAddr {
        let peer = self.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.address.ip());
        self.app.edge().gateway.client_of(peer, &self.headers)
    }
}

impl<A> Context<A> {
    /// The name in the path under this parameter: `campaign`, `policy`.
    ///
    /// # Errors
    /// A [`Problem`] if it is not a valid name, or the caller may not use the named resource.
    pub fn named(&self, param: &str) -> Result<Name<'_>, Problem> {
        let name = Name::new(self.param(param)).map_err(|error| Problem::parameter(param, error.to_string()))?;
        self.usable(name)
    }

    /// Checks that the caller may use the resource of this name.
    ///
    /// # Errors
    /// A [`Problem`] if it may not.
    pub fn usable<'a>(&self, name: Name<'a>) -> Result<Name<'a>, Problem> {
        if self.caller.may_use(name) {
            return Ok(name);
        }
        Err(Denied::CampaignForbidden { campaigns: self.caller.campaigns().to_owned() }.into())
    }

    /// The subject that the path names.
    ///
    /// # Errors
    /// A [`Problem`] if it is not a valid name, or the caller may not act for the subject.
    pub fn subject(&self) -> Result<SubjectId<'_>, Problem> {
        let subject = SubjectId::new(self.param("subject")).map_err(|error| Problem::parameter("subject", error.to_string()))?;
        self.acting_for(subject)
    }

    /// Checks that the caller may act for the subject.
    ///
    /// # Errors
    /// A [`Problem`] if it may not.
    pub fn acting_for<'a>(&self, subject: SubjectId<'a>) -> Result<SubjectId<'a>, Problem> {
        let is_own = self.caller.only_subject().is_none_or(|own| own == subject.as_str());
        if is_own { Ok(subject) } else { Err(Denied::SubjectForbidden.into()) }
    }

    /// The campaign and the subject that the request names, for rate limits only: neither is checked
    /// against what the caller may do. An end user's requests count for that user.
    #[must_use]
    pub fn about(&self) -> Option<(&str, Cow<'_, str>)> {
        let of_answer = || self.param("answer").rsplit_once(':').map_or("", |(campaign, _)| campaign);
        let campaign = Some(self.param("campaign")).filter(|campaign| !campaign.is_empty()).unwrap_or_else(of_answer);
        // The handler refuses a malformed name; it must not take up a counter.
        Name::new(campaign).ok()?;
        let of_path = || Some(self.param("subject")).filter(|subject| !subject.is_empty());
        let known = self.caller.only_subject().or_else(of_path).map(Cow::Borrowed);
        let of_body = || serde_json::from_slice::<SubjectOnly<'_>>(&self.body).ok().map(|body| body.subject);
        Some((campaign, known.or_else(of_body)?))
    }

    /// The parts of the request that rate limits read.
    #[must_use]
    pub fn asked(&self) -> key::Asked<'_> {
        key::Asked { method: &self.method, uri: &self.uri, headers: &self.headers, extensions: &self.extensions }
    }

    /// A parameter of the path; empty if there is none of this name.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(param, _)| param == name).map_or("", |(_, value)| value)
    }

    /// The query's parameters. Each may occur once, and others are refused.
    ///
    /// # Errors
    /// A [`Problem`] that names the parameter.
    pub fn query<'a, const N: usize>(&'a self, known: [&str; N]) -> Result<[Option<&'a str>; N], Problem> {
        let mut values = [None; N];
        for (name, value) in &self.query {
            let index = known.iter().position(|known| known == name);
            let slot =
                index.and_then(|index| values.get_mut(index)).ok_or_else(|| Problem::parameter(&printable(name), "is not known here"))?;
            if slot.replace(value.as_str()).is_some() {
                return Err(Problem::parameter(name, "is given twice"));
            }
        }
        Ok(values)
    }

    /// The body, which must be declared as this media type or as `application/json`, in UTF-8 and without a
    /// content coding.
    ///
    /// # Errors
    /// A [`Problem`] if it is declared otherwise. It tells what the call takes.
    pub fn json_body(&self, media_type: &str) -> Result<&[u8], Problem> {
        message::is_identity(&self.headers)?;
        let refused = |detail: String| {
            let refused = Problem::new("unsupported_media_type", detail);
            if self.method != Method::PATCH {
                return refused.with_header(header::ACCEPT, media_type);
            }
            refused.with_header(ACCEPT_PATCH, &format!("{media_type}, application/json"))
        };
        let declared = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = declared.split(';').next().unwrap_or("").trim();
        let is_accepted = essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case(media_type);
        if !is_accepted {
            return Err(refused(format!("the body must be declared as {media_type}")));
        }
        match message::foreign_charset(declared) {
            Some(charset) => Err(refused(format!("the body is declared as charset {}; JSON is UTF-8", printable(charset)))),
            None => Ok(&self.body),
        }
    }

    /// Whether there is a body.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Frees the body of a request that lasts long.
    pub fn drop_body(&mut self) {
        self.body = Bytes::new();
    }

    /// Checks that there is no body.
    ///
    /// # Errors
    /// A [`Problem`] if there is one.
    pub fn no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() { Ok(()) } else { Err(Problem::new("unexpected_body", "this call takes no body")) }
    }

    /// The single value of a header.
    ///
    /// # Errors
    /// A [`Problem`] if the header is repeated or is not ASCII.
    pub fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Problem::header(name, "is given twice"));
        }
        value.to_str().map(Some).map_err(|_| Problem::header(name, "must be visible ASCII characters"))
    }

    /// The request key, unique within the caller's actor. All end users share one actor, so that the key
    /// of an end user is a digest of subject and key: one user's key is never another's.
    ///
    /// # Errors
    /// A [`Problem`] if it is malformed.
    pub fn request_key(&self) -> Result<Option<Cow<'_, str>>, Problem> {
        let Some(given) = self.header(IDEMPOTENCY_KEY.as_str())? else { return Ok(None) };
        let wrong = || Problem::header(IDEMPOTENCY_KEY.as_str(), "must be 1 to 255 visible ASCII characters, with or without quotes");
        let key = bare_key(given).filter(|key| RequestKey::new(key).is_ok()).ok_or_else(wrong)?;
        Ok(Some(match self.caller.only_subject() {
            None => key,
            Some(subject) => Cow::Owned(HEXLOWER.encode(&digest_of([subject.as_bytes(), key.as_bytes()]))),
        }))
    }

    /// Checks that there is no request key, where the call cannot keep its promise; `reason` says why.
    ///
    /// # Errors
    /// A [`Problem`] if there is one: the caller would believe that asking again is safe.
    pub fn no_request_key(&self, reason: &str) -> Result<(), Problem> {
        if self.headers.contains_key(IDEMPOTENCY_KEY) {
            return Err(Problem::header(IDEMPOTENCY_KEY.as_str(), format!("is not taken by this call: {reason}")));
        }
        Ok(())
    }

    /// The request key with the fingerprint of its request.
    ///
    /// # Errors
    /// A [`Problem`] if the key is malformed.
    pub fn keyed<'a>(&self, key: &'a str) -> Result<Keyed<'a>, Problem> {
        let key = RequestKey::new(key).map_err(|error| Problem::new("internal", error.to_string()))?;
        Ok(Keyed { key, fingerprint: self.fingerprint() })
    }

    /// Replaces a parameter of the path by its normal form, for what is written in several ways.
    pub fn normalize_param(&mut self, name: &str, normal: String) {
        if let Some((_, value)) = self.params.iter_mut().find(|(param, _)| param == name) {
            *value = normal;
        }
    }

    /// Digest of what is asked, which must be the same when a request key is repeated: the call, its
    /// parameters, preconditions and body. Not of the bytes: a client that asks again may write the same
    /// otherwise.
    fn fingerprint(&self) -> Fingerprint {
        let call = self.extensions.get::<MatchedPath>().map_or(self.uri.path(), MatchedPath::as_str);
        // A null in a merge patch sets the default; elsewhere it is the same as nothing.
        let nulls = if self.method == Method::PATCH { Nulls::Kept } else { Nulls::LeftOut };
        fingerprint::of(&Asked {
            method: self.method.as_str(),
            call,
            params: &self.params,
            query: &self.query,
            preconditions: [IF_MATCH, IF_NONE_MATCH].map(|name| self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()),
            body: &self.body,
            nulls,
        })
    }
}

/// 128 bits of SHA-256 over all parts, each with its length, so that no two lists of parts are the same.
#[must_use]
pub fn digest_of<const N: usize>(parts: [&[u8]; N]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// A request key as it is written: bare, or as the string of a structured field (RFC 8941, 3.3.3), the form of
/// draft-ietf-httpapi-idempotency-key-header. Both are the same key.
fn bare_key(given: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = given.strip_prefix('"') else { return Some(Cow::Borrowed(given)) };
    let inside = quoted.strip_suffix('"')?;
    let (mut key, mut characters) = (String::with_capacity(inside.len()), inside.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => key.push(characters.next().filter(|escaped| ['"', '\\'].contains(escaped))?),
            other => key.push(other),
        }
    }
    Some(Cow::Owned(key))
}

/// A number in its canonical form: digits only, without a leading zero.
#[must_use]
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

/// The id of a request: the caller's if it is valid, else a new one.
#[must_use]
pub fn request_id_of(edge: &Edge, headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    // The record marks the server's own commands by the reserved id: a caller's must not look like them.
    let usable =
        given.filter(|id| id.len() <= 64 && RequestId::new(id).is_ok_and(|id| id != RequestId::ENGINE && id != RequestId::OPERATOR));
    usable.map_or_else(|| edge.request_ids.next(), str::to_owned)
}

/// The query's pairs as HTML forms and `URLSearchParams` write them: a space is `+` or `%20`. An incomplete
/// encoding stays as it is; bytes that are not UTF-8 become U+FFFD, which no valid value contains.
fn decoded_pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn not_utf8(error: &RawPathParamsRejection) -> Problem {
    let text = error.body_text();
    Problem::parameter(text.split('`').nth(1).unwrap_or("path"), "must be text in UTF-8")
}

fn printable(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_graphic()).take(64).collect()
}

async fn read_body(mut body: Body, version: Version, at_most: Duration) -> Result<Bytes, Problem> {
    let too_large = || Problem::new("body_too_large", "the body is larger than 64 KiB");
    if BODY_BYTES_MAX as u64 <= body.size_hint().lower().saturating_sub(1) {
        return Err(left_unread(too_large(), body, version));
    }
    // Most bodies arrive with the header; only the others need a timer.
    let collected = {
        let mut collecting = std::pin::pin!(Limited::new(&mut body, BODY_BYTES_MAX).collect());
        match poll_once(collecting.as_mut()).await {
            Some(collected) => Some(collected),
            None => tokio::time::timeout(at_most, collecting).await.ok(),
        }
    };
    match collected {
        None => {
            let late = Problem::new("body_timeout", format!("the body did not arrive within {} s", at_most.as_secs()));
            Err(left_unread(late, body, version))
        }
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(error)) if error.is::<LengthLimitError>() => Err(left_unread(too_large(), body, version)),
        Some(Err(_)) => Err(Problem::new("malformed_json", "the body broke off")),
    }
}

/// Refuses a request without keeping its body. If the whole body arrived with the header, it is discarded and
/// the connection stays open.
#[must_use]
pub fn unread(problem: Problem, request: Request) -> Problem {
    let version = request.version();
    // Such a client sends its body only after it is asked to, and reading would ask.
    let expects = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    if body.is_end_stream() {
        return problem;
    }
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut reading = std::pin::pin!(Limited::new(&mut body, BODY_BYTES_MAX).collect());
    if !expects && matches!(reading.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(_))) {
        return problem;
    }
    left_unread(problem, body, version)
}

/// Refuses a request whose body has not been read to its end.
///
/// With HTTP/1 the rest would be taken for the next request, so that the connection must end; the header tells
/// the client not to reuse it, and [`crate::linger`] discards the rest. With HTTP/2 the stream is reset as soon
/// as nobody reads its body any more, and some clients then discard the response: a task reads the rest.
fn left_unread(problem: Problem, body: Body, version: Version) -> Problem {
    if version != Version::HTTP_2 {
        return problem.with_header(header::CONNECTION, "close");
    }
    tokio::spawn(tokio::time::timeout(LINGER_TIME_MAX, discard(body, LINGER_BYTES_MAX)));
    problem
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut future).poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_key_in_quotes_is_the_same_as_without() {
        assert_eq!(bare_key("kq"), bare_key("\"kq\""));
        assert_eq!(bare_key(r#""k\"\\q""#).as_deref(), Some(r#"k"\q"#));
        assert_eq!(bare_key("k\"q").as_deref(), Some("k\"q"));
        for malformed in [r#"""#, r#""k"#, r#""k"q""#, r#""k\q""#, r#""k\""#, r#""k";a=1"#] {
            assert_eq!(bare_key(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(["0", "7", "4294967295"].map(number::<u32>), [Some(0), Some(7), Some(u32::MAX)]);
        assert_eq!(["", "00", "07", "+7", "-7", "7.0", "4294967296"].map(number::<u32>), [None; 7]);
    }

    #[test]
    fn a_query_is_decoded_pair_by_pair() {
        let pairs = decoded_pairs("after=a%3Ab&limit=%&&status&key=Ann+%26%20S%C3%B6hne");
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("after", "a:b"), ("limit", "%"), ("status", ""), ("key", "Ann & Söhne")]);
    }
}
