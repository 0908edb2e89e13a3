//! A request to this program, with its application state.

use domain::types::RequestId;
use domain::{Action, Command};
pub use edge::context::number;
use engine::views::Done;

use super::problem::Problem;
use crate::app::App;

/// One request to this program.
pub type Context = edge::context::Context<App>;

/// Submits a command, and waits until its effect is durable.
///
/// # Errors
/// A [`Problem`] with the refusal.
pub async fn submit(context: &Context, action: Action<'_>) -> Result<Done, Problem> {
    let own_key = context.request_key()?;
    let request = own_key.as_deref().map(|key| context.keyed(key)).transpose()?;
    let command = Command { actor: context.caller.actor(), request, action };
    Ok(context.app.backend.submit(&command, request_id(context)).await?)
}

/// The request's id, to be stored in the record.
///
/// # Panics
/// If the id is malformed; reading the request has checked it.
#[must_use]
pub fn request_id(context: &Context) -> RequestId<'_> {
    let Ok(id) = RequestId::new(&context.request_id) else { unreachable!("a request's id is checked or made when it is read") };
    id
}
