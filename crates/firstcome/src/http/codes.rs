//! Codes: read, redeem.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use domain::coupon::{Command, Rejection, Target, TargetBy};
use domain::types::SubjectId;

use super::answer::{self, ClaimJson};
use super::claims::changed;
use super::context::Context;
use super::problem::Problem;
use crate::codes::CodeError;

type Answer = Result<Response<Body>, Problem>;

/// `GET /v1/campaigns/{campaign}/codes/{code}`
pub async fn read(context: Context) -> Answer {
    context.query([])?;
    let campaign = context.campaign()?;
    let by = target_of(&context).await?;
    let claim = context.app.backend.claim(campaign, by).await??;
    Ok(answer::json(StatusCode::OK, &ClaimJson::new(&context.app.codes, &claim)))
}

/// `POST /v1/campaigns/{campaign}/codes/{code}/redeem`
pub async fn redeem(context: Context) -> Answer {
    context.query([])?;
    context.no_body()?;
    let campaign = context.campaign()?;
    let by = target_of(&context).await?;
    let done = context.submit(Command::Redeem(Target { campaign, by })).await?;
    changed(&context, &done)
}

/// The claim that the code in the path stands for.
async fn target_of(context: &Context) -> Result<TargetBy<'static>, Problem> {
    let name = context.campaign()?;
    let campaign = context.app.backend.campaign(name).await?.ok_or(Rejection::CampaignNotFound)?;
    let code = context.param("code");
    let serial = context.app.codes.serial(campaign.view.code_key, name.as_str(), code);
    let by = serial.map(TargetBy::Code).map_err(|error| match error {
        CodeError::CheckCharacter => Problem::new("code_not_found", "the check character is wrong: most likely a typing error"),
        CodeError::Malformed => Problem::new("code_not_found", "a code has 13 letters and digits"),
        CodeError::Unknown => Rejection::CodeNotFound.into(),
    })?;
    // For an end user another's code is as good as none. A serial's subject never changes, so
    // that it may be looked up before the command is given.
    if context.caller.only_subject().is_some() {
        let claim = context.app.backend.claim(name, by).await??;
        let subject = SubjectId::new(&claim.subject).map_err(|_| Rejection::CodeNotFound)?;
        context.acting_for(subject).map_err(|_| Rejection::CodeNotFound)?;
    }
    Ok(by)
}
