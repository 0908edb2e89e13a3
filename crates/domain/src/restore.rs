//! A state put together from the rows of a history, one by one: campaigns in the order of creation,
//! each campaign's claims by rising serial, remembered requests from the oldest on.
//!
//! Rows come from outside, where anything may have happened to them. What no run of decisions can
//! have led to is an error that names the row; a state that comes out of [`Restorer::finish`] is
//! the one that the decisions led to, byte for byte (`wire::state`).

use std::collections::BTreeSet;
use std::fmt;

use crate::claims::ClaimStatus;
use crate::coupon::{Campaign, CampaignNumber, PER_SUBJECT_MAX, Settings};
use crate::hash::HashSeed;
use crate::request::Remembered;
use crate::state::State;
use crate::types::{CampaignName, Quantity, Serial, SubjectId, Timestamp};

/// A campaign without what follows from its claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoredCampaign<'a> {
    /// Its place in the order of creation, from 0.
    pub number: CampaignNumber,
    /// Its name.
    pub name: CampaignName<'a>,
    /// What its runner chose last.
    pub settings: Settings,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// Which code key its codes come from.
    pub code_key: u32,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A row that cannot be, or cannot be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Campaigns are numbered from 0 without a gap.
    CampaignOutOfOrder {
        /// The number that must come next.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// Two campaigns have this name.
    NameTwice(String),
    /// Something of the campaign itself.
    Campaign {
        /// Which.
        number: u32,
        /// What.
        what: &'static str,
    },
    /// A claim or a request of a campaign that did not come before.
    CampaignMissing(u32),
    /// Serials run from 1 without a gap.
    ClaimOutOfOrder {
        /// Of which campaign.
        campaign: u32,
        /// The serial that must come next; 0 if none may.
        expected: u32,
        /// The serial that came.
        found: u32,
    },
    /// Something of the claim itself.
    Claim {
        /// Of which campaign.
        campaign: u32,
        /// Which.
        serial: u32,
        /// What.
        what: &'static str,
    },
    /// Something of a remembered request.
    Request {
        /// Counted from 1 in the order given.
        place: usize,
        /// What.
        what: &'static str,
    },
    /// A row is of a later time than the state.
    TimeAhead {
        /// The time of the state, in milliseconds.
        state_ms: u64,
        /// The latest time of a row, in milliseconds.
        row_ms: u64,
    },
    /// An invariant of the rules does not hold.
    Invariant(&'static str),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CampaignOutOfOrder { expected, found } => write!(f, "campaign {expected} must come next, but {found} came"),
            Self::NameTwice(name) => write!(f, "two campaigns have the name {name}"),
            Self::Campaign { number, what } => write!(f, "campaign {number}: {what}"),
            Self::CampaignMissing(number) => write!(f, "a row belongs to campaign {number}, which is not there"),
            Self::ClaimOutOfOrder { campaign, expected, found } => {
                write!(f, "claim {expected} of campaign {campaign} must come next, but {found} came")
            }
            Self::Claim { campaign, serial, what } => write!(f, "claim {serial} of campaign {campaign}: {what}"),
            Self::Request { place, what } => write!(f, "remembered request {place}: {what}"),
            Self::TimeAhead { state_ms, row_ms } => {
                write!(f, "the state's time is {state_ms} ms, but a row is of the later time {row_ms} ms")
            }
            Self::Invariant(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Takes rows and gives the state that they say.
#[derive(Debug)]
pub struct Restorer {
    /// Without campaigns until the end: they still change as their claims come.
    state: State,
    campaigns: Vec<Campaign>,
    names: BTreeSet<String>,
    /// The time of each campaign's last claim, or of its creation.
    campaign_times: Vec<Timestamp>,
    /// The latest time of any row.
    latest: Timestamp,
    request_time: Timestamp,
}

impl Restorer {
    /// Nothing given yet; the tables get this key.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self {
            state: State::new(seed),
            campaigns: Vec::new(),
            names: BTreeSet::new(),
            campaign_times: Vec::new(),
            latest: Timestamp::ZERO,
            request_time: Timestamp::ZERO,
        }
    }

    /// The next campaign.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn campaign(&mut self, row: RestoredCampaign<'_>) -> Result<(), RestoreError> {
        let RestoredCampaign { number, name, settings, version, code_key, created_at } = row;
        if number.0 as usize != self.campaigns.len() {
            let expected = u32::try_from(self.campaigns.len()).unwrap_or(u32::MAX);
            return Err(RestoreError::CampaignOutOfOrder { expected, found: number.0 });
        }
        if settings.stock == Quantity::ZERO || !(1..=PER_SUBJECT_MAX).contains(&settings.per_subject_max) || !settings.queue.is_in_range() {
            return Err(RestoreError::Campaign { number: number.0, what: "its settings are out of range" });
        }
        if version == 0 {
            return Err(RestoreError::Campaign { number: number.0, what: "its version is 0" });
        }
        if self.campaigns.last().is_some_and(|before| created_at < before.created_at) {
            return Err(RestoreError::Campaign { number: number.0, what: "it was created before the campaign ahead of it" });
        }
        if !self.names.insert(name.as_str().to_owned()) {
            return Err(RestoreError::NameTwice(name.as_str().to_owned()));
        }
        let mut campaign = Campaign::new(number, name, settings, self.state.seed());
        campaign.version = version;
        campaign.code_key = code_key;
        campaign.created_at = created_at;
        self.campaigns.push(campaign);
        self.campaign_times.push(created_at);
        self.latest = self.latest.max(created_at);
        Ok(())
    }

    /// The next claim of a campaign that came before.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn claim(
        &mut self,
        campaign: CampaignNumber,
        serial: Serial,
        subject: SubjectId<'_>,
        claimed_at: Timestamp,
        status: ClaimStatus,
    ) -> Result<(), RestoreError> {
        let place = campaign.0 as usize;
        let (Some(of), Some(time)) = (self.campaigns.get_mut(place), self.campaign_times.get_mut(place)) else {
            return Err(RestoreError::CampaignMissing(campaign.0));
        };
        if of.claims.serial_next() != Some(serial) {
            let expected = of.claims.serial_next().map_or(0, Serial::get);
            return Err(RestoreError::ClaimOutOfOrder { campaign: campaign.0, expected, found: serial.get() });
        }
        let changed_at = match status {
            ClaimStatus::Pending | ClaimStatus::Live => claimed_at,
            ClaimStatus::Redeemed { redeemed_at: at } | ClaimStatus::Cancelled { cancelled_at: at } => at,
        };
        check_claim(of, (subject, claimed_at, status), (*time, changed_at)).map_err(|what| RestoreError::Claim {
            campaign: campaign.0,
            serial: serial.get(),
            what,
        })?;
        *time = claimed_at;
        self.latest = self.latest.max(changed_at);
        put_claim(of, serial, subject, (claimed_at, status));
        Ok(())
    }

    /// The next remembered request.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn request(&mut self, known: Remembered) -> Result<(), RestoreError> {
        if self.campaigns.len() <= known.campaign.0 as usize {
            return Err(RestoreError::CampaignMissing(known.campaign.0));
        }
        if known.recorded_at < self.request_time {
            let place = self.state.requests.len().saturating_add(1);
            return Err(RestoreError::Request { place, what: "it is older than the one ahead of it" });
        }
        self.request_time = known.recorded_at;
        self.latest = self.latest.max(known.recorded_at);
        self.state.requests.remember(known);
        Ok(())
    }

    /// The state, whose last time is `time`.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn finish(mut self, time: Timestamp) -> Result<State, RestoreError> {
        if time < self.latest {
            return Err(RestoreError::TimeAhead { state_ms: time.millis(), row_ms: self.latest.millis() });
        }
        self.state.time = time;
        self.campaigns.into_iter().for_each(|campaign| self.state.push_campaign(campaign));
        self.state.check().map_err(RestoreError::Invariant)?;
        Ok(self.state)
    }
}

type ClaimRow<'a> = (SubjectId<'a>, Timestamp, ClaimStatus);

fn check_claim(of: &Campaign, (subject, claimed_at, status): ClaimRow<'_>, times: (Timestamp, Timestamp)) -> Result<(), &'static str> {
    let (before, changed_at) = times;
    let (is_pending, follows_pending) = (status == ClaimStatus::Pending, of.first_pending().is_some());
    if follows_pending && !is_pending {
        return Err("it is decided, and the claim ahead of it is pending");
    }
    // The first that is pending was accepted before the last decision, as a rule.
    let before = if is_pending && !follows_pending { of.created_at } else { before };
    if claimed_at < before {
        return Err("it was claimed before the claim ahead of it, or before its campaign was created");
    }
    if changed_at < claimed_at {
        return Err("it changed before it was claimed");
    }
    if matches!(status, ClaimStatus::Cancelled { .. }) {
        return Ok(());
    }
    if of.remaining == Quantity::ZERO {
        return Err("more units are held than there are");
    }
    // The limit cannot fall while there are claims, so that the last one held for all of them.
    if of.settings.per_subject_max as usize <= of.claims.holding(subject).count() {
        return Err("its subject holds more than one subject may");
    }
    Ok(())
}

fn put_claim(of: &mut Campaign, serial: Serial, subject: SubjectId<'_>, (claimed_at, status): (Timestamp, ClaimStatus)) {
    if status == ClaimStatus::Pending {
        of.claims.accept(subject, claimed_at);
    } else {
        of.claims.push(subject, claimed_at);
    }
    match status {
        ClaimStatus::Pending | ClaimStatus::Live => of.remaining = of.remaining.saturating_sub(Quantity::ONE),
        ClaimStatus::Redeemed { redeemed_at } => {
            of.remaining = of.remaining.saturating_sub(Quantity::ONE);
            of.redeemed = of.redeemed.saturating_add(Quantity::ONE);
            of.claims.redeem(serial, redeemed_at);
        }
        ClaimStatus::Cancelled { cancelled_at } => of.claims.cancel(serial, cancelled_at),
    }
}
