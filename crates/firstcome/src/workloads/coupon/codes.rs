//! The calls on codes: read, redeem.

use axum::http::StatusCode;
use domain::coupon::{Command, Coupon, Rejection, TargetBy};
use domain::types::SubjectId;
use domain::{Action, Kind};

use super::claims::changed;
use super::json::ClaimJson;
use crate::backend::Declined;
use crate::codes::{CODE_CHARACTERS, CodeError, normal};
use crate::http::answer;
use crate::http::context::{Context, submit};
use crate::http::problem::{HandlerResult, Problem, problem};

/// `GET /v1/campaigns/{campaign}/codes/{code}`
pub async fn read(context: Context) -> HandlerResult {
    context.query([])?;
    let campaign = context.named("campaign")?;
    let by = target_of(&context).await?;
    let claim = context.app.backend.claim(campaign, by).await?;
    Ok(answer::json(StatusCode::OK, &ClaimJson::new(&context.app.codes, &claim)))
}

/// `POST /v1/campaigns/{campaign}/codes/{code}/redeem`
pub async fn redeem(mut context: Context) -> HandlerResult {
    context.query([])?;
    context.no_body()?;
    // Under a request key it is the same request, however the code is written.
    if let Some(normal) = normal(context.param("code")) {
        context.normalize_param("code", normal);
    }
    let campaign = context.named("campaign")?;
    let by = target_of(&context).await?;
    let done = submit(&context, Action::of::<Coupon>(campaign, Command::Redeem { by })).await?;
    changed(&context, &done)
}

/// A character as it looks and by its number: letters of other scripts look like those of codes.
fn named(character: char) -> String {
    let number = u32::from(character);
    if character.is_control() { format!("the character U+{number:04X}") } else { format!("the character {character} (U+{number:04X})") }
}

/// The claim that the code in the path belongs to.
async fn target_of(context: &Context) -> Result<TargetBy<'static>, Problem> {
    let name = context.named("campaign")?;
    let code_key =
        context.app.backend.read_of::<Coupon, _>(name, |campaign, _| campaign.map(|campaign| campaign.settings.code_key)).await?;
    let code_key = code_key.ok_or(Declined::from(domain::Rejection::NotFound(Kind::Campaign)))?;
    let code = context.param("code");
    let serial = context.app.codes.serial(code_key, name.as_str(), code);
    let by = serial.map(|serial| TargetBy::Code { serial }).map_err(|error| match error {
        CodeError::CheckCharacter => problem("code_not_found", "the check character is wrong: most likely a typing error"),
        CodeError::Length(count) => problem("code_not_found", format!("a code has {CODE_CHARACTERS} letters and digits, and not {count}")),
        CodeError::Character(wrong, place) => {
            problem("code_not_found", format!("{} is in no code: it stands in place {place} of {CODE_CHARACTERS}", named(wrong)))
        }
        CodeError::Unknown => Declined::from(Rejection::CodeNotFound).into(),
    })?;
    // End users must not learn that another subject's code exists. A serial's subject never changes, so it
    // can be looked up before the command.
    if context.caller.only_subject().is_some() {
        let claim = context.app.backend.claim(name, by).await?;
        let subject = SubjectId::new(&claim.subject).map_err(|_| Declined::from(Rejection::CodeNotFound))?;
        context.acting_for(subject).map_err(|_| Declined::from(Rejection::CodeNotFound))?;
    }
    Ok(by)
}
