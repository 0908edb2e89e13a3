//! The calls on claims: claim, read, redeem, cancel, by subject.
//!
//! The response to a claim is its decision, or its place in the queue: if the claim is pending, or if the
//! caller or the campaign asks for a deferred answer (RFC 7240, `respond-async`).

use axum::body::Body;
use axum::http::{HeaderName, Response, StatusCode, header};
use domain::coupon::queue::Mode;
use domain::coupon::{ClaimView, Command, Coupon, TargetBy};
use domain::types::{Serial, SubjectId};
use domain::{Action, Novelty};
use engine::views::Done;
use serde::Deserialize;

use super::answers;
use super::json::{ClaimJson, ClaimedJson};
use crate::http::aggregates::of_another_kind;
use crate::http::answer::{self, mark_replayed, with_header};
use crate::http::context::{Context, number, submit};
use crate::http::problem::{HandlerResult, Problem};
use edge::input::parse;

const RESPOND_ASYNC: &str = "respond-async";
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The body of a claim.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimBody {
    /// The subject that claims.
    pub subject: String,
}

impl ClaimBody {
    /// The subject's name, checked.
    ///
    /// # Errors
    /// A [`Problem`] that names the field.
    pub fn subject(&self) -> Result<SubjectId<'_>, Problem> {
        SubjectId::new(&self.subject).map_err(|error| Problem::field("subject", error.to_string()))
    }
}

/// `POST /v1/campaigns/{campaign}/claims`
pub async fn claim(context: Context) -> HandlerResult {
    let campaign = context.named("campaign")?;
    context.query([])?;
    let body: ClaimBody = parse(context.json_body("application/json")?)?;
    let command = Command::Claim { subject: context.acting_for(body.subject()?)? };
    let prefers_queue = prefers_async(&context);
    let done = submit(&context, Action::of::<Coupon>(campaign, command)).await?;
    let view = claim_of(&done)?;
    let is_fresh = done.novelty == Novelty::Fresh;
    if view.waiting.is_some() || is_fresh && (prefers_queue || view.mode == Mode::Queued) {
        let response = mark_replayed(answers::accepted(&context, view), !is_fresh);
        return Ok(if prefers_queue { with_header(response, PREFERENCE_APPLIED, RESPOND_ASYNC) } else { response });
    }
    // The subject's earlier claim is 200; this request's own claim is 201, even on a retry.
    let status = if done.novelty == Novelty::Repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok(mark_replayed(claimed(&context, status, view), !is_fresh))
}

/// The response for a decided claim.
pub fn claimed(context: &Context, status: StatusCode, claim: &ClaimView) -> Response<Body> {
    let response = answer::json(status, &ClaimedJson::new(&context.app.codes, claim));
    with_header(response, header::LOCATION, &format!("/v1/campaigns/{}/claims/{}", claim.campaign, claim.subject))
}

/// Whether the client prefers a deferred answer. The header may be repeated, and unknown preferences are
/// ignored (RFC 7240, 2).
fn prefers_async(context: &Context) -> bool {
    let mut preferences = context.headers.get_all(PREFER).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    preferences.any(|preference| preference.trim_ascii().eq_ignore_ascii_case(RESPOND_ASYNC.as_bytes()))
}

/// Selects one of the subject's claims, if the query gives a serial.
fn target_by<'a>(context: &'a Context, subject: SubjectId<'a>) -> Result<TargetBy<'a>, Problem> {
    let [serial] = context.query(["serial"])?;
    let Some(serial) = serial else { return Ok(TargetBy::Subject { subject }) };
    let serial = number(serial).and_then(Serial::new);
    let serial = serial.ok_or_else(|| Problem::parameter("serial", "must be a number from 1 to 4294967295"))?;
    Ok(TargetBy::SubjectSerial { subject, serial })
}

/// `GET /v1/campaigns/{campaign}/claims/{subject}`
pub async fn read(context: Context) -> HandlerResult {
    let (campaign, subject) = (context.named("campaign")?, context.subject()?);
    let by = target_by(&context, subject)?;
    let claim = context.app.backend.claim(campaign, by).await?;
    Ok(answer::json(StatusCode::OK, &ClaimJson::new(&context.app.codes, &claim)))
}

/// `POST /v1/campaigns/{campaign}/claims/{subject}/redeem`
pub async fn redeem(context: Context) -> HandlerResult {
    context.no_body()?;
    let (campaign, subject) = (context.named("campaign")?, context.subject()?);
    let by = target_by(&context, subject)?;
    let done = submit(&context, Action::of::<Coupon>(campaign, Command::Redeem { by })).await?;
    changed(&context, &done)
}

/// `DELETE /v1/campaigns/{campaign}/claims/{subject}`
pub async fn cancel(context: Context) -> HandlerResult {
    context.no_body()?;
    let (campaign, subject) = (context.named("campaign")?, context.subject()?);
    let by = target_by(&context, subject)?;
    let done = submit(&context, Action::of::<Coupon>(campaign, Command::Cancel { by })).await?;
    changed(&context, &done)
}

/// The response to a change of a claim: its current state.
///
/// # Errors
/// A [`Problem`] if the change was of something else, which is a fault.
pub fn changed(context: &Context, done: &Done) -> HandlerResult {
    let claim = claim_of(done)?;
    let response = answer::json(StatusCode::OK, &ClaimJson::new(&context.app.codes, claim));
    Ok(mark_replayed(response, done.novelty != Novelty::Fresh))
}

fn claim_of(done: &Done) -> Result<&ClaimView, Problem> {
    done.shown::<Coupon>().map(|(_, claim)| claim).ok_or_else(|| of_another_kind(done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::code_and_field;

    fn field_of<'de, T: Deserialize<'de> + std::fmt::Debug>(body: &'de str) -> (String, String) {
        code_and_field(&parse::<T>(body.as_bytes()).unwrap_err())
    }

    #[test]
    fn every_wrong_field_is_named() {
        let invalid = |field: &str| ("invalid_field".to_owned(), field.to_owned());
        assert_eq!(field_of::<ClaimBody>("{}"), invalid("subject"));
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":7}"#), invalid("subject"));
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"a","subject":"b"}"#), invalid("subject"));
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"a","colour":"b"}"#), invalid("colour"));
        assert_eq!(field_of::<ClaimBody>("[]").0, "invalid_field");
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"a"} x"#).0, "malformed_json");
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"#).0, "malformed_json");
        assert_eq!(field_of::<ClaimBody>("").0, "malformed_json");
    }
}
