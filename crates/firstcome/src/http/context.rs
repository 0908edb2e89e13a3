//! One request to this program: who decides its command.

use domain::coupon::TargetBy;
use domain::types::{RequestId, Serial, SubjectId};
use domain::{Action, Command};
pub use edge::context::number;
use engine::views::Done;

use super::problem::Problem;
use crate::app::App;

/// One request to this program.
pub type Context = edge::context::Context<App>;

/// Which of a subject's claims is meant, if the query says so.
///
/// # Errors
/// A [`Problem`] if `serial` is malformed.
pub fn target_by<'a>(context: &'a Context, subject: SubjectId<'a>) -> Result<TargetBy<'a>, Problem> {
    let [serial] = context.query(["serial"])?;
    let Some(serial) = serial else { return Ok(TargetBy::Subject { subject }) };
    let serial = number(serial).and_then(Serial::new);
    let serial = serial.ok_or_else(|| Problem::parameter("serial", "must be a number from 1 to 4294967295"))?;
    Ok(TargetBy::SubjectSerial { subject, serial })
}

/// Submits what is asked, and waits until its effect is durable.
///
/// # Errors
/// A [`Problem`] with the refusal.
pub async fn submit(context: &Context, action: Action<'_>) -> Result<Done, Problem> {
    let own_key = context.request_key()?;
    let request = own_key.as_deref().map(|key| context.keyed(key)).transpose()?;
    let command = Command { actor: context.caller.actor(), request, action };
    Ok(context.app.backend.submit(&command, request_id(context)).await?)
}

/// The request's id, for the record.
///
/// # Panics
/// If the id is malformed, which reading the request has ruled out.
#[must_use]
pub fn request_id(context: &Context) -> RequestId<'_> {
    let Ok(id) = RequestId::new(&context.request_id) else { unreachable!("a request's id is checked or made when it is read") };
    id
}
