//! Campaigns: put, patch, list, read.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use domain::Novelty;
use domain::coupon::{Command, Precondition, Put};
use domain::types::CampaignName;
use engine::views::{Done, Effect};
use serde_json::json;

use super::answer::{self, CampaignJson, etag, mark_replayed, with_header};
use super::context::{Context, number};
use super::input::{CampaignBody, PatchBody, parse};
use super::problem::Problem;

type Answer = Result<Response<Body>, Problem>;

/// Entries in a page at most.
pub const PAGE_MAX: usize = 1_000;
/// Entries in a page where the query does not say.
pub const PAGE_STANDARD: usize = 100;

/// `PUT /v1/campaigns/{campaign}`
pub async fn put(context: Context) -> Answer {
    let campaign = context.campaign()?;
    context.query([])?;
    let body: CampaignBody = parse(context.json_body("application/json")?)?;
    let (settings, precondition) = (body.settings()?, precondition(&context)?);
    let put = Put { campaign, settings, precondition, code_key: context.app.codes.newest() };
    written(context.submit(Command::Put(put)).await?)
}

/// `PATCH /v1/campaigns/{campaign}`
pub async fn patch(context: Context) -> Answer {
    let campaign = context.campaign()?;
    context.query([])?;
    let body: PatchBody = parse(context.json_body("application/merge-patch+json")?)?;
    let patch = body.patch(campaign, precondition(&context)?)?;
    written(context.submit(Command::Patch(patch)).await?)
}

/// `GET /v1/campaigns/{campaign}`
pub async fn read(context: Context) -> Answer {
    let name = context.campaign()?;
    context.query([])?;
    let campaign = context.app.backend.campaign(name).await?;
    let Some(campaign) = campaign else { return Err(domain::coupon::Rejection::CampaignNotFound.into()) };
    let response = answer::json(StatusCode::OK, &CampaignJson::new(&campaign));
    Ok(with_header(response, header::ETAG, &etag(&campaign)))
}

/// `GET /v1/campaigns`
pub async fn list(context: Context) -> Answer {
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    after.map(CampaignName::new).transpose().map_err(|error| Problem::parameter("after", error.to_string()))?;
    let campaigns = context.app.backend.campaigns(after, context.caller.campaigns(), limit + 1).await?;
    let page = campaigns.get(..limit.min(campaigns.len())).unwrap_or_default();
    let next = if limit < campaigns.len() { page.last().map(|campaign| campaign.name.as_str()) } else { None };
    let campaigns: Vec<CampaignJson<'_>> = page.iter().map(CampaignJson::new).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "campaigns": campaigns, "next": next })))
}

/// How many entries a page shall have.
///
/// # Errors
/// A [`Problem`] if it is no number in range.
pub fn page_limit(limit: Option<&str>) -> Result<usize, Problem> {
    let Some(limit) = limit else { return Ok(PAGE_STANDARD) };
    let limit = number(limit).filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit.ok_or_else(|| Problem::parameter("limit", format!("must be a number from 1 to {PAGE_MAX}")))
}

fn written(done: Done) -> Answer {
    let Effect::Campaign { created, campaign } = &done.effect else {
        return Err(Problem::new("internal", "the answer is of another kind"));
    };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    let response = with_header(answer::json(status, &CampaignJson::new(campaign)), header::ETAG, &etag(campaign));
    let response = if *created { with_header(response, header::LOCATION, &format!("/v1/campaigns/{}", campaign.name)) } else { response };
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

/// What `If-Match` and `If-None-Match` ask for.
///
/// # Errors
/// A [`Problem`] that names the header.
pub fn precondition(context: &Context) -> Result<Precondition, Problem> {
    match (context.header("if-match")?, context.header("if-none-match")?) {
        (None, None) => Ok(Precondition::Always),
        (Some("*"), None) => Ok(Precondition::Exists),
        (Some(etag), None) => version_of(etag),
        (None, Some("*")) => Ok(Precondition::IsNew),
        (None, Some(_)) => Err(Problem::header("if-none-match", "must be *")),
        (Some(_), Some(_)) => Err(Problem::header("if-none-match", "cannot be combined with if-match")),
    }
}

/// A quoted text that is none of our versions is a version that no campaign has.
fn version_of(etag: &str) -> Result<Precondition, Problem> {
    let malformed = || Problem::header("if-match", "must be * or one ETag, such as \"3\"");
    let quoted = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
    if quoted.contains('"') {
        return Err(malformed());
    }
    Ok(number(quoted).map_or(Precondition::Never, Precondition::Version))
}
