//! A digest of the state that is carried along from record to record.
//!
//! Nodes that run the rules over the same records compare it at the same place, many times a
//! second, so that it must not cost a walk over the whole state. It is a sum: every campaign, claim
//! and request key adds the SHA-256 of its own bytes, as four numbers of 64 bits that wrap around,
//! and takes the old one away when it changes. The order in which things came about makes no
//! difference, so that a state that was read back from tables has the same digest as one that was
//! replayed. Sums of hashes find differences that nobody wanted; they are no defence against
//! somebody who looks for two states with one sum.

use domain::claims::{Claim, ClaimStatus};
use domain::coupon::{self, Campaign, CampaignNumber};
use domain::request::Remembered;
use domain::state::{Event, Record};
use domain::types::{Serial, Timestamp};
use domain::{State, wire};
use sha2::{Digest, Sha256};

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 16;

/// The digest of a state and its number of decided records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunningDigest {
    sum: [u64; 4],
}

const CAMPAIGN: u8 = 1;
const CLAIM: u8 = 2;
const REQUEST: u8 = 3;

impl RunningDigest {
    /// The digest of a whole state, by a walk over it.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut digest = Self::default();
        for campaign in state.campaigns() {
            digest.add(campaign_item(campaign));
            let serials = (1..=campaign.claims.count()).filter_map(|serial| u32::try_from(serial).ok()).filter_map(Serial::new);
            for claim in serials.filter_map(|serial| campaign.claims.get(serial)) {
                digest.add(claim_item(campaign.number, &claim));
            }
        }
        state.requests.iter().for_each(|known| digest.add(request_item(known)));
        digest
    }

    /// Adds a claim: for whoever has come to a state in another way than by [`State`].
    pub fn add_claim(&mut self, campaign: CampaignNumber, claim: &Claim<'_>) {
        self.add(claim_item(campaign, claim));
    }

    /// Adds a remembered request, as [`RunningDigest::add_claim`] does a claim.
    pub fn add_request(&mut self, known: &Remembered) {
        self.add(request_item(known));
    }

    /// Takes away what a record is about to change; `state` is the one before it.
    pub fn before(&mut self, record: &Record<'_>, state: &State) {
        match &record.event {
            Event::Coupon(event) => self.before_coupon(event, state),
            // Across machines there are no policies yet: a log that holds one is refused.
            Event::Policy(_) => {}
            Event::RequestsForgotten { count } => {
                state.requests.iter().take(*count as usize).for_each(|known| self.take(request_item(known)));
            }
        }
    }

    /// Adds what a record has changed; `state` is the one after it.
    pub fn after(&mut self, record: &Record<'_>, state: &State) {
        let Event::Coupon(event) = &record.event else { return };
        match event {
            coupon::Event::CampaignCreated { campaign, .. } | coupon::Event::CampaignChanged { campaign, .. } => {
                state.campaign_at(*campaign).into_iter().for_each(|campaign| self.add(campaign_item(campaign)));
            }
            coupon::Event::Claimed { campaign, serial, .. }
            | coupon::Event::Accepted { campaign, serial, .. }
            | coupon::Event::Redeemed { campaign, serial }
            | coupon::Event::Cancelled { campaign, serial } => {
                claim_of(state, *campaign, *serial).into_iter().for_each(|claim| self.add(claim_item(*campaign, &claim)));
            }
        }
        if let (Some(_), Some(known)) = (record.request, state.requests.newest()) {
            self.add(request_item(known));
        }
    }

    /// The digest with the state's time and the number of decided records, as it is compared.
    #[must_use]
    pub fn value(&self, time: Timestamp, decisions: u64) -> [u8; DIGEST_BYTES] {
        let mut hash = Sha256::new();
        self.sum.iter().for_each(|lane| hash.update(lane.to_le_bytes()));
        hash.update(time.millis().to_le_bytes());
        hash.update(decisions.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest.first_chunk().copied().unwrap_or_default()
    }

    fn before_coupon(&mut self, event: &coupon::Event<'_>, state: &State) {
        match event {
            coupon::Event::CampaignCreated { .. } | coupon::Event::Accepted { .. } => {}
            coupon::Event::CampaignChanged { campaign, .. } => {
                state.campaign_at(*campaign).into_iter().for_each(|campaign| self.take(campaign_item(campaign)));
            }
            // One that was accepted is there already.
            coupon::Event::Claimed { campaign, serial, .. }
            | coupon::Event::Redeemed { campaign, serial }
            | coupon::Event::Cancelled { campaign, serial } => {
                claim_of(state, *campaign, *serial).into_iter().for_each(|claim| self.take(claim_item(*campaign, &claim)));
            }
        }
    }

    fn add(&mut self, item: [u64; 4]) {
        self.sum.iter_mut().zip(item).for_each(|(lane, item)| *lane = lane.wrapping_add(item));
    }

    fn take(&mut self, item: [u64; 4]) {
        self.sum.iter_mut().zip(item).for_each(|(lane, item)| *lane = lane.wrapping_sub(item));
    }
}

fn claim_of(state: &State, campaign: CampaignNumber, serial: Serial) -> Option<Claim<'_>> {
    state.campaign_at(campaign)?.claims.get(serial)
}

/// What remains and what was redeemed follow from the claims.
fn campaign_item(campaign: &Campaign) -> [u64; 4] {
    item(CAMPAIGN, &[&wire::state::encode_settings_of(campaign)])
}

fn claim_item(campaign: CampaignNumber, claim: &Claim<'_>) -> [u64; 4] {
    let (status, changed_at) = match claim.status {
        ClaimStatus::Live => (0, Timestamp::ZERO),
        ClaimStatus::Redeemed { redeemed_at } => (1, redeemed_at),
        ClaimStatus::Cancelled { cancelled_at } => (2, cancelled_at),
        ClaimStatus::Pending => (3, Timestamp::ZERO),
    };
    let (claimed_at, changed_at) = (claim.claimed_at.millis().to_le_bytes(), changed_at.millis().to_le_bytes());
    let (campaign, serial) = (campaign.0.to_le_bytes(), claim.serial.get().to_le_bytes());
    item(CLAIM, &[&campaign, &serial, &claimed_at, &changed_at, &[status], claim.subject.as_str().as_bytes()])
}

fn request_item(known: &Remembered) -> [u64; 4] {
    item(REQUEST, &[&wire::state::encode_remembered(known)])
}

fn item(kind: u8, parts: &[&[u8]]) -> [u64; 4] {
    let mut hash = Sha256::new();
    hash.update([kind]);
    parts.iter().for_each(|part| hash.update(part));
    let digest: [u8; 32] = hash.finalize().into();
    let mut lanes = [0; 4];
    for (lane, bytes) in lanes.iter_mut().zip(digest.as_chunks::<8>().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    lanes
}
