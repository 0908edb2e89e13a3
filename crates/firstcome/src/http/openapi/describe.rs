//! The description of a call: its inputs, responses and refusals.

use std::borrow::Cow;

use domain::Kind;
use edge::request::{PAGE_MAX, PAGE_STANDARD};
use serde_json::{Value, json};

use super::refusals::READS;
use super::schema::{Schema, count, matching, name, number, text};
use crate::http::calls::Call;

/// The media type of most bodies.
pub const JSON: &str = "application/json";

/// Text of a description.
pub type Text = Cow<'static, str>;

/// A call's description in the document, beside method, path and callers.
#[derive(Debug, Default)]
pub struct Description {
    /// The call's name for client generators (`operationId`).
    pub id: Text,
    /// The group that the call is shown in.
    pub tag: &'static str,
    /// A summary in a few words.
    pub summary: Text,
    /// The full description.
    pub about: Text,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// Refusal codes beyond those implied by callers, path and body.
    pub(super) refusals: Vec<&'static str>,
    /// Descriptions of a status that replace the usual ones.
    pub(super) notes: Vec<(u16, Text)>,
    /// What the call does with a request key.
    pub request_key: RequestKeyUse,
}

/// What a call does with a request key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RequestKeyUse {
    /// The call only reads: asking again is safe with and without a key, which is ignored.
    #[default]
    Ignored,
    /// The key is in the record, and is remembered for 24 hours.
    InRecord,
    /// The key is in memory, and is remembered for an hour: what the call changes is in memory too.
    InMemory,
    /// The call refuses the key by name, for this reason: it cannot give the same answer again.
    Refused(&'static str),
}

impl Description {
    /// Whether the call reads a header of requests.
    #[must_use]
    pub fn reads_header(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.place == "header" && parameter.name.eq_ignore_ascii_case(name))
    }
}

#[derive(Debug)]
pub(super) struct Body {
    pub(super) schema: Schema,
    pub(super) media_types: &'static [&'static str],
    pub(super) is_required: bool,
}

/// A parameter in the path, the query or a header.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The component's name in the document: different parameters may share a name.
    pub(super) component: Text,
    pub(super) name: Text,
    pub(super) place: &'static str,
    pub(super) schema: Schema,
    pub(super) about: Text,
}

impl Parameter {
    /// A path parameter.
    pub fn path(name: impl Into<Text>, schema: Schema, about: impl Into<Text>) -> Self {
        let name = name.into();
        Self { component: name.clone(), name, place: "path", schema, about: about.into() }
    }

    /// A query parameter.
    pub fn query(component: &'static str, name: &'static str, schema: Schema, about: &'static str) -> Self {
        Self { component: component.into(), name: name.into(), place: "query", schema, about: about.into() }
    }

    /// A header parameter.
    pub fn header(component: &'static str, name: &'static str, schema: Schema, about: &'static str) -> Self {
        Self { place: "header", ..Self::query(component, name, schema, about) }
    }

    /// The path parameter for the name of an aggregate of a kind.
    #[must_use]
    pub fn of_kind(kind: Kind) -> Self {
        let word = kind.word();
        let about = format!("The {word}'s name: 1 to 128 of `A-Z a-z 0-9 _ . : -`, not `.` or `..`.");
        Self::path(word, name(example_name(kind)), about)
    }
}

/// The name of an aggregate in examples.
#[must_use]
pub fn example_name(kind: Kind) -> &'static str {
    if kind.word() == "policy" { "api" } else { "spring" }
}

/// The page size.
#[must_use]
pub fn limit() -> Parameter {
    let (max, standard) = (PAGE_MAX as u64, json!(PAGE_STANDARD));
    Parameter::query("limit", "limit", number(1, max).with("default", standard), "Entries in the page at most.")
}

/// The cursor of a page of aggregates.
#[must_use]
pub fn after_name() -> Parameter {
    let schema = matching(super::schema::NAME);
    Parameter::query("afterName", "after", schema, "`next` of the page before: goes on behind this name.")
}

/// The number of events after which a stream ends.
#[must_use]
pub fn events() -> Parameter {
    Parameter::query("events", "events", number(1, 1_000_000), "Ends after so many events.")
}

/// The request key, as most calls accept it.
fn request_key() -> Parameter {
    let about = "Your name for this request: 1 to 255 visible ASCII characters, with or without quotes around them. Asking again with the same key within 24 hours gives \
                 the same answer and changes nothing; of checks, reservations, refunds, resets and leases within an hour. Its scope is \
                 you and what the path names.";
    Parameter::header("IdempotencyKey", "Idempotency-Key", matching(REQUEST_KEY), about)
}

/// Bare, or in quotes, with quotes and backslashes escaped inside; see `edge::context`.
const REQUEST_KEY: &str = r#"^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#;

fn if_match() -> Parameter {
    let any = [json!({ "const": "*" }), json!({ "type": "string", "pattern": "^(W/)?\"[!#-~]{0,64}\"(, *(W/)?\"[!#-~]{0,64}\")*$" })];
    let about = "Only if the settings still have this `ETag`, or one of a list; `W/` is ignored. `*`: only if there is one of this name.";
    Parameter::header("IfMatch", "If-Match", Schema::default().with("anyOf", json!(any)), about)
}

fn if_none_match() -> Parameter {
    let about = "`*`: only if there is none of this name yet. Cannot be combined with `If-Match`.";
    Parameter::header("IfNoneMatch", "If-None-Match", text().with("const", json!("*")), about)
}

/// A header of a response.
#[derive(Clone, Debug)]
pub struct Header {
    pub(super) component: &'static str,
    pub(super) name: &'static str,
    pub(super) schema: Schema,
    pub(super) about: &'static str,
    /// Whether the header is always present.
    pub(super) is_required: bool,
}

impl Header {
    /// A header that may be present.
    #[must_use]
    pub fn new(component: &'static str, name: &'static str, schema: Schema, about: &'static str) -> Self {
        Self { component, name, schema, about, is_required: false }
    }

    /// A header that is always present.
    #[must_use]
    pub fn always(self) -> Self {
        Self { is_required: true, ..self }
    }
}

/// The version of the shown resource.
#[must_use]
pub fn etag() -> Header {
    let schema = matching("^\"[0-9]+\"$");
    Header::new("ETag", "ETag", schema, "The version of the settings in quotes, for `If-Match`.").always()
}

/// The URL of the created resource.
#[must_use]
pub fn location(component: &'static str, about: &'static str) -> Header {
    Header::new(component, "Location", text().with("format", json!("uri-reference")), about).always()
}

pub(super) fn retry_after() -> Header {
    let about = "Seconds after which asking again makes sense, rounded up; `retry_after_ms` is finer.";
    Header::new("RetryAfter", "Retry-After", count(0), about)
}

pub(super) fn replayed() -> Header {
    let about = "`true` if this answer was given before: nothing happened this time.";
    Header::new("IdempotentReplayed", "Idempotent-Replayed", text().with("const", json!("true")), about)
}

/// The rate-limit header fields.
#[must_use]
pub fn rate_limit_fields() -> [Header; 2] {
    let policy = "Each policy's name, and as `q` what a full key has (draft-ietf-httpapi-ratelimit-headers-10).";
    let state = "Each policy's name, as `r` what is left, as `t` the seconds until the key is full.";
    [Header::new("RateLimitPolicy", "RateLimit-Policy", text(), policy), Header::new("RateLimit", "RateLimit", text(), state)]
}

/// A successful response.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) about: Text,
    pub(super) headers: Vec<Header>,
    pub(super) content: Vec<(&'static str, Schema)>,
    pub(super) links: Vec<Link>,
}

/// A link to a call that follows a response.
#[derive(Clone, Debug)]
pub struct Link {
    pub(super) name: &'static str,
    pub(super) id: Text,
    pub(super) about: &'static str,
    /// The call's parameters, with the location of their values in the request or response.
    pub(super) parameters: Vec<(&'static str, String)>,
}

impl Link {
    /// A link to a call with the same path parameter.
    pub fn same(name: &'static str, id: impl Into<Text>, parameter: &'static str, about: &'static str) -> Self {
        Self { name, id: id.into(), about, parameters: vec![(parameter, format!("$request.path.{parameter}"))] }
    }

    /// A link to a call whose parameters are members of the response.
    #[must_use]
    pub fn with(name: &'static str, id: &'static str, members: &[&'static str], about: &'static str) -> Self {
        let parameters = members.iter().map(|member| (*member, format!("$response.body#/{member}"))).collect();
        Self { name, id: id.into(), about, parameters }
    }
}

impl Answer {
    /// A response without a body.
    pub fn new(status: u16, about: impl Into<Text>) -> Self {
        Self { status, about: about.into(), headers: Vec::new(), content: Vec::new(), links: Vec::new() }
    }

    /// A response with a JSON body.
    pub fn json(status: u16, about: impl Into<Text>, schema: Schema) -> Self {
        Self::new(status, about).in_type(JSON, schema)
    }

    /// Adds a body in another media type.
    #[must_use]
    pub fn in_type(mut self, media_type: &'static str, schema: Schema) -> Self {
        self.content.push((media_type, schema));
        self
    }

    /// Adds headers.
    #[must_use]
    pub fn headed(mut self, headers: impl IntoIterator<Item = Header>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Adds [`retry_after`].
    #[must_use]
    pub fn later(self) -> Self {
        self.headed([retry_after()])
    }

    /// Adds links.
    #[must_use]
    pub fn linked(mut self, links: impl IntoIterator<Item = Link>) -> Self {
        self.links.extend(links);
        self
    }
}

impl Call {
    /// Sets id, group, summary and description.
    #[must_use]
    pub fn about(mut self, id: impl Into<Text>, tag: &'static str, summary: impl Into<Text>, about: impl Into<Text>) -> Self {
        let description = &mut self.description;
        (description.id, description.tag) = (id.into(), tag);
        (description.summary, description.about) = (summary.into(), about.into());
        self
    }

    /// Adds parameters. Names of aggregates, and the parameters of every call or every keyed
    /// call, are added automatically.
    #[must_use]
    pub fn takes(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.description.parameters.extend(parameters);
        self
    }

    /// Sets the required JSON body.
    #[must_use]
    pub fn body(self, schema: Schema) -> Self {
        self.body_of(schema, &[JSON], true)
    }

    /// Sets an optional JSON body.
    #[must_use]
    pub fn optional_body(self, schema: Schema) -> Self {
        self.body_of(schema, &[JSON], false)
    }

    /// Sets the JSON merge patch as the body.
    #[must_use]
    pub fn merge_patch(self, schema: Schema) -> Self {
        self.body_of(schema, &["application/merge-patch+json", JSON], true)
    }

    fn body_of(mut self, schema: Schema, media_types: &'static [&'static str], is_required: bool) -> Self {
        self.description.body = Some(Body { schema, media_types, is_required });
        self
    }

    /// Accepts a request key, and repeats its response under it.
    #[must_use]
    pub fn keyed(self) -> Self {
        self.keyed_by(request_key())
    }

    /// The same, with a special description of the key.
    #[must_use]
    pub fn keyed_by(mut self, key: Parameter) -> Self {
        self.description.request_key = RequestKeyUse::InRecord;
        self.takes([key]).refuses(&["request_key_reused"])
    }

    /// Accepts a request key, and keeps it in memory.
    #[must_use]
    pub fn keyed_in_memory(self) -> Self {
        let mut call = self.keyed();
        call.description.request_key = RequestKeyUse::InMemory;
        call
    }

    /// Refuses a request key, for this reason.
    #[must_use]
    pub fn unkeyed(mut self, reason: &'static str) -> Self {
        self.description.request_key = RequestKeyUse::Refused(reason);
        self.refuses(&["invalid_header"])
    }

    /// Whether the call repeats its answer under a request key.
    pub(super) fn is_keyed(&self) -> bool {
        matches!(self.description.request_key, RequestKeyUse::InRecord | RequestKeyUse::InMemory)
    }

    /// Accepts preconditions: `If-Match`, and `If-None-Match` if the resource may be new.
    #[must_use]
    pub fn conditional(self, kind: Kind, may_be_new: bool) -> Self {
        let call = self.takes([if_match()]).refuses(&["version_mismatch", kind.exists()]);
        if may_be_new { call.takes([if_none_match()]) } else { call }
    }

    /// Adds a response.
    #[must_use]
    pub fn answers(mut self, answer: Answer) -> Self {
        self.description.answers.push(answer);
        self
    }

    /// Adds refusal codes, beyond those implied by callers, path and body.
    #[must_use]
    pub fn refuses(mut self, codes: &[&'static str]) -> Self {
        self.description.refusals.extend(codes);
        self
    }

    /// Adds the refusals of a read of this server's state.
    #[must_use]
    pub fn reads(self) -> Self {
        self.refuses(READS)
    }

    /// Sets the description of the refusals with a status.
    #[must_use]
    pub fn refused(mut self, status: u16, meaning: impl Into<Text>) -> Self {
        self.description.notes.push((status, meaning.into()));
        self
    }
}

/// An example of an event stream, which OpenAPI 3.1 cannot describe with a schema.
#[must_use]
pub fn streamed(example: &str) -> Schema {
    Schema::default().shown(Value::from(example))
}

/// An example of a body that is not JSON.
#[must_use]
pub fn shown_as(example: &str, about: &str) -> Schema {
    text().shown(Value::from(example)).with("description", json!(about))
}
