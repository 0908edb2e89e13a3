//! The campaign on the server: created before the load; its counts are read afterwards.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Error, Options};
use crate::control::Call;
use crate::target::Target;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Counts {
    pub(crate) stock: u64,
    pub(crate) claimed: u64,
    pub(crate) remaining: u64,
    /// Claims that wait to be decided; a server without queues omits the field.
    #[serde(default)]
    pub(crate) pending: u64,
}

/// Creates the campaign, or reuses one without any claims. A campaign in use is left unchanged.
pub(crate) async fn create(target: &Target, options: &Options) -> Result<(), Error> {
    refuse_if_used(target, &options.campaign).await?;
    let call = Call { method: Method::PUT, body: Some(body(options)), ..Call::get(path(&options.campaign)) };
    let (status, body) = call.fetch(target).await?;
    match status {
        StatusCode::CREATED | StatusCode::OK => refuse_if_used(target, &options.campaign).await,
        _ => Err(call.refused(status, &body)),
    }
}

fn body(options: &Options) -> String {
    let queue = options.decisions_per_second.map(|pace| format!(",\"mode\":\"queued\",\"decisions_per_second_max\":{pace}"));
    format!("{{\"stock\":{},\"per_subject_max\":1{}}}", options.stock, queue.unwrap_or_default())
}

async fn refuse_if_used(target: &Target, campaign: &str) -> Result<(), Error> {
    match find(target, campaign).await? {
        Some(Counts { claimed: 1.., .. }) => {
            Err(Error::CampaignInUse { campaign: campaign.to_owned(), claimed: find(target, campaign).await?.map_or(0, |now| now.claimed) })
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) async fn counts(target: &Target, campaign: &str) -> Result<Counts, Error> {
    let found = find(target, campaign).await?;
    found.ok_or_else(|| Call::get(path(campaign)).refused(StatusCode::NOT_FOUND, b"it is gone"))
}

/// The campaign's counts; `None` if the server does not know it.
pub(crate) async fn find(target: &Target, campaign: &str) -> Result<Option<Counts>, Error> {
    let call = Call::get(path(campaign));
    let (status, body) = call.fetch(target).await?;
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(|_| call.refused(status, &body)),
        _ => Err(call.refused(status, &body)),
    }
}

pub(crate) fn path(campaign: &str) -> String {
    format!("/v1/campaigns/{campaign}")
}

pub(crate) fn claims_path(campaign: &str) -> String {
    format!("/v1/campaigns/{campaign}/claims")
}
