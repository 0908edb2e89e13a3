//! What is read from the history.

use std::sync::Arc;

use domain::claims::ClaimStatus;
use domain::coupon::{CampaignNumber, Settings};
use domain::types::{Serial, Timestamp};
use domain::wire::Position;

/// The record that an answer rests on: everything up to it is in, nothing after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AsOf {
    /// The last record that is in.
    pub position: Position,
    /// The effective time of that record.
    pub time: Timestamp,
}

/// One campaign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CampaignRow {
    /// Its place in the order of creation, from 0.
    pub number: CampaignNumber,
    /// Its name.
    pub name: Arc<str>,
    /// Its settings.
    pub settings: Settings,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// Which code key its codes come from.
    pub code_key: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its settings were last written.
    pub changed_at: Timestamp,
}

/// One claim, with what its code is worked out from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimRow {
    /// The name of its campaign.
    pub campaign: Arc<str>,
    /// The number of its campaign.
    pub number: CampaignNumber,
    /// Which code key its campaign uses.
    pub code_key: u32,
    /// Its number in the campaign.
    pub serial: Serial,
    /// Whose it is.
    pub subject: String,
    /// When it was decided.
    pub claimed_at: Timestamp,
    /// What became of it, and when.
    pub status: ClaimStatus,
}

/// A claim as it stands in its table, without what its campaign's row adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BareClaim<'a> {
    /// The number of its campaign.
    pub number: CampaignNumber,
    /// Its number in the campaign.
    pub serial: Serial,
    /// Whose it is.
    pub subject: &'a str,
    /// When it was decided.
    pub claimed_at: Timestamp,
    /// What became of it, and when.
    pub status: ClaimStatus,
}

impl ClaimRow {
    /// When it was redeemed or cancelled; `None` while it is live.
    #[must_use]
    pub fn changed_at(&self) -> Option<Timestamp> {
        changed_at(self.status)
    }
}

pub(crate) fn changed_at(status: ClaimStatus) -> Option<Timestamp> {
    match status {
        ClaimStatus::Pending | ClaimStatus::Live => None,
        ClaimStatus::Redeemed { redeemed_at } => Some(redeemed_at),
        ClaimStatus::Cancelled { cancelled_at } => Some(cancelled_at),
    }
}

/// Which claims of a campaign are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClaimFilter {
    /// Every one.
    #[default]
    All,
    /// Those that can still be redeemed or cancelled.
    Live,
    /// Those that were used.
    Redeemed,
    /// Those that were given back.
    Cancelled,
}

/// Some claims of a campaign, by rising serial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The claims.
    pub rows: Vec<ClaimRow>,
    /// After which serial the next page starts; `None` if this is the last.
    pub next: Option<Serial>,
    /// What the page rests on.
    pub as_of: AsOf,
}

/// Some claims of a subject, by campaign and serial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubjectPage {
    /// The claims.
    pub rows: Vec<ClaimRow>,
    /// After which claim the next page starts; `None` if this is the last.
    pub next: Option<(CampaignNumber, Serial)>,
    /// What the page rests on.
    pub as_of: AsOf,
}
