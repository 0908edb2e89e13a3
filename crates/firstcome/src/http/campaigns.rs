//! Campaigns: put, patch, list, read.

use axum::http::{StatusCode, header};
use domain::Novelty;
use domain::coupon::{Command, Put, Rejection};
use domain::types::CampaignName;
use edge::request::{page_limit, precondition};
use engine::views::{Done, Effect};
use serde_json::json;

use super::answer::{self, CampaignJson, etag, mark_replayed, with_header};
use super::context::{Context, submit};
use super::input::{CampaignBody, PatchBody, parse};
use super::problem::{HandlerResult, Problem};
use crate::backend::Declined;

/// `PUT /v1/campaigns/{campaign}`
pub async fn put(context: Context) -> HandlerResult {
    let campaign = context.campaign()?;
    context.query([])?;
    let body: CampaignBody = parse(context.json_body("application/json")?)?;
    let (settings, precondition) = (body.settings()?, precondition(&context)?);
    let put = Put { campaign, settings, precondition, code_key: context.app.codes.newest() };
    written(submit(&context, Command::Put(put)).await?)
}

/// `PATCH /v1/campaigns/{campaign}`
pub async fn patch(context: Context) -> HandlerResult {
    let campaign = context.campaign()?;
    context.query([])?;
    let body: PatchBody = parse(context.json_body("application/merge-patch+json")?)?;
    let patch = body.patch(campaign, precondition(&context)?)?;
    written(submit(&context, Command::Patch(patch)).await?)
}

/// `GET /v1/campaigns/{campaign}`
pub async fn read(context: Context) -> HandlerResult {
    let name = context.campaign()?;
    context.query([])?;
    let campaign = context.app.backend.campaign(name).await?;
    let Some(campaign) = campaign else { return Err(Declined::from(Rejection::CampaignNotFound).into()) };
    let response = answer::json(StatusCode::OK, &CampaignJson::new(&campaign));
    Ok(with_header(response, header::ETAG, &etag(&campaign)))
}

/// `GET /v1/campaigns`
pub async fn list(context: Context) -> HandlerResult {
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    after.map(CampaignName::new).transpose().map_err(|error| Problem::parameter("after", error.to_string()))?;
    let campaigns = context.app.backend.campaigns(after, context.caller.campaigns(), limit + 1).await?;
    let page = campaigns.get(..limit.min(campaigns.len())).unwrap_or_default();
    let next = if limit < campaigns.len() { page.last().map(|campaign| campaign.name.as_str()) } else { None };
    let campaigns: Vec<CampaignJson<'_>> = page.iter().map(CampaignJson::new).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "campaigns": campaigns, "next": next })))
}

fn written(done: Done) -> HandlerResult {
    let Effect::Campaign { created, campaign } = &done.effect else {
        return Err(Problem::new("internal", "the answer is of another kind"));
    };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    let response = with_header(answer::json(status, &CampaignJson::new(campaign)), header::ETAG, &etag(campaign));
    let response = if *created { with_header(response, header::LOCATION, &format!("/v1/campaigns/{}", campaign.name)) } else { response };
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}
