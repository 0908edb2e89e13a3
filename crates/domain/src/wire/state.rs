//! The state as canonical bytes: the same state gives the same bytes, however it came about, so
//! that their digest compares a replay with a snapshot (J1). They come in sections, so that
//! neither writing nor reading needs all of them in memory at once.

use std::sync::Arc;

use super::DecodeError;
use super::bytes::{Reader, put_settings, put_text, put_time, put_u32, put_u64};
use super::policy::put_policy;
use crate::claims::{self, Block, Claim, ClaimStatus};
use crate::coupon::{Campaign, CampaignNumber};
use crate::hash::HashSeed;
use crate::rate_limit::policies::KeptPolicy;
use crate::request::{CampaignView, Fingerprint, FrozenRequests, Outcome, Remembered};
use crate::state::State;
use crate::types::{ActorId, CampaignName, Quantity, RequestKey, Serial, Timestamp};

/// The number of the state format that is written.
pub const STATE_FORMAT: u8 = 1;

const HEAD: u8 = 1;
const CAMPAIGN: u8 = 2;
const CLAIMS: u8 = 3;
const REQUESTS: u8 = 4;
/// One policy; only where there are any.
const POLICY: u8 = 5;
/// Requests in one section.
const SECTION_REQUESTS: usize = 1_024;

/// The state at an instant. Taking it is a matter of microseconds, because claims and requests
/// are shared with the state, not copied.
#[derive(Debug)]
pub struct FrozenState {
    time: Timestamp,
    campaigns: Vec<FrozenCampaign>,
    requests: FrozenRequests,
    policies: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct FrozenCampaign {
    head: Vec<u8>,
    number: CampaignNumber,
    blocks: Vec<Arc<Block>>,
}

impl State {
    /// The state as it is now, shared.
    #[must_use]
    pub fn freeze(&self) -> FrozenState {
        let campaigns = self.campaigns().iter().map(|campaign| FrozenCampaign {
            head: encode_campaign(campaign),
            number: campaign.number,
            blocks: campaign.claims.blocks(),
        });
        let policies = self.policies.after(None).map(|(name, kept)| encode_policy(name, kept));
        FrozenState { time: self.time, campaigns: campaigns.collect(), requests: self.requests.freeze(), policies: policies.collect() }
    }
}

impl FrozenState {
    /// The canonical bytes, section by section; together they read back with [`StateBuilder`].
    pub fn sections(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let campaigns = self.campaigns.iter().flat_map(|campaign| {
            let blocks = campaign.blocks.iter().map(|block| encode_block(campaign.number, block));
            std::iter::once(campaign.head.clone()).chain(blocks)
        });
        std::iter::once(self.encode_head()).chain(campaigns).chain(self.request_sections()).chain(self.policies.iter().cloned())
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut out = vec![HEAD, STATE_FORMAT];
        put_time(&mut out, self.time);
        put_u32(&mut out, u32::try_from(self.campaigns.len()).unwrap_or(u32::MAX));
        out
    }

    fn request_sections(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let mut requests = self.requests.iter().peekable();
        std::iter::from_fn(move || {
            requests.peek()?;
            let mut out = vec![REQUESTS];
            requests.by_ref().take(SECTION_REQUESTS).for_each(|known| encode_request(known, &mut out));
            Some(out)
        })
    }
}

/// A campaign without what follows from its claims, as canonical bytes.
#[must_use]
pub fn encode_settings_of(campaign: &Campaign) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, campaign.number.0);
    put_text(&mut out, &campaign.name);
    put_settings(&mut out, &campaign.settings);
    put_u64(&mut out, campaign.version);
    put_u32(&mut out, campaign.code_key);
    put_time(&mut out, campaign.created_at);
    out
}

fn encode_campaign(campaign: &Campaign) -> Vec<u8> {
    let mut out = vec![CAMPAIGN];
    put_text(&mut out, &campaign.name);
    encode_view(&campaign.view(campaign.created_at), &mut out);
    put_u64(&mut out, campaign.claims.count() as u64);
    // Only where there are any: it came later than the format.
    if campaign.pending() != Quantity::ZERO {
        put_u32(&mut out, campaign.pending().get());
    }
    out
}

fn encode_policy(name: &str, kept: &KeptPolicy) -> Vec<u8> {
    let mut out = vec![POLICY];
    put_policy(&mut out, name, kept);
    out
}

fn encode_block(number: CampaignNumber, block: &Block) -> Vec<u8> {
    let mut out = vec![CLAIMS];
    put_u32(&mut out, number.0);
    put_u32(&mut out, u32::try_from(block.len()).unwrap_or(u32::MAX));
    claims::bytes::encode(block, &mut out);
    out
}

fn encode_view(view: &CampaignView, out: &mut Vec<u8>) {
    put_u32(out, view.number.0);
    put_settings(out, &view.settings);
    put_u64(out, view.version);
    put_u32(out, view.code_key);
    put_time(out, view.created_at);
    put_u32(out, view.remaining.get());
    put_u32(out, view.redeemed.get());
    put_time(out, view.at);
}

fn decode_view(reader: &mut Reader<'_>) -> Result<CampaignView, DecodeError> {
    Ok(CampaignView {
        number: CampaignNumber(reader.u32()?),
        settings: reader.settings()?,
        version: reader.u64()?,
        code_key: reader.u32()?,
        created_at: reader.time()?,
        remaining: reader.quantity()?,
        pending: Quantity::ZERO,
        redeemed: reader.quantity()?,
        at: reader.time()?,
    })
}

const OUTCOME_CAMPAIGN: u8 = 1;
const OUTCOME_CLAIMED: u8 = 2;
const OUTCOME_REDEEMED: u8 = 3;
const OUTCOME_CANCELLED: u8 = 4;
/// A campaign in which claims were pending: their number comes behind it.
const OUTCOME_CAMPAIGN_PENDING: u8 = 5;

fn encode_request(known: &Remembered, out: &mut Vec<u8>) {
    put_u32(out, known.campaign.0);
    put_text(out, &known.actor);
    put_text(out, &known.key);
    out.extend_from_slice(&known.fingerprint.0);
    put_time(out, known.recorded_at);
    match &known.outcome {
        Outcome::Campaign { created, view } => {
            let has_pending = view.pending != Quantity::ZERO;
            out.extend_from_slice(&[if has_pending { OUTCOME_CAMPAIGN_PENDING } else { OUTCOME_CAMPAIGN }, u8::from(*created)]);
            encode_view(view, out);
            if has_pending {
                put_u32(out, view.pending.get());
            }
        }
        Outcome::Claimed(_, serial) => {
            out.push(OUTCOME_CLAIMED);
            put_u32(out, serial.get());
        }
        Outcome::Redeemed(_, serial) => {
            out.push(OUTCOME_REDEEMED);
            put_u32(out, serial.get());
        }
        Outcome::Cancelled(_, serial) => {
            out.push(OUTCOME_CANCELLED);
            put_u32(out, serial.get());
        }
    }
}

fn decode_pending(reader: &mut Reader<'_>) -> Result<Quantity, DecodeError> {
    match reader.quantity()? {
        Quantity::ZERO => Err(DecodeError("a number of pending claims is 0")),
        pending => Ok(pending),
    }
}

fn decode_request(reader: &mut Reader<'_>) -> Result<Remembered, DecodeError> {
    let campaign = CampaignNumber(reader.u32()?);
    let actor = ActorId::new(reader.text()?).map_err(|_| DecodeError("a request's actor is no name"))?;
    let key = RequestKey::new(reader.text()?).map_err(|_| DecodeError("a request key is malformed"))?;
    Ok(Remembered {
        campaign,
        actor: actor.as_str().into(),
        key: key.as_str().into(),
        fingerprint: Fingerprint(reader.array()?),
        recorded_at: reader.time()?,
        outcome: decode_outcome(campaign, reader)?,
    })
}

fn decode_outcome(campaign: CampaignNumber, reader: &mut Reader<'_>) -> Result<Outcome, DecodeError> {
    match reader.u8()? {
        OUTCOME_CAMPAIGN => {
            let created = reader.flag()?;
            Ok(Outcome::Campaign { created, view: Box::new(decode_view(reader)?) })
        }
        OUTCOME_CAMPAIGN_PENDING => {
            let created = reader.flag()?;
            let view = decode_view(reader)?;
            let pending = decode_pending(reader)?;
            Ok(Outcome::Campaign { created, view: Box::new(CampaignView { pending, ..view }) })
        }
        OUTCOME_CLAIMED => Ok(Outcome::Claimed(campaign, reader.serial()?)),
        OUTCOME_REDEEMED => Ok(Outcome::Redeemed(campaign, reader.serial()?)),
        OUTCOME_CANCELLED => Ok(Outcome::Cancelled(campaign, reader.serial()?)),
        _ => Err(DecodeError("an outcome is of a kind that this version does not know")),
    }
}

/// One remembered request as bytes, in the form that the state's sections have it in.
#[must_use]
pub fn encode_remembered(known: &Remembered) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(known, &mut out);
    out
}

/// Reads what [`encode_remembered`] wrote.
///
/// # Errors
/// [`DecodeError`] if the bytes are no remembered request of a form that this version knows.
pub fn decode_remembered(bytes: &[u8]) -> Result<Remembered, DecodeError> {
    let mut reader = Reader::new(bytes);
    let known = decode_request(&mut reader)?;
    reader.end()?;
    Ok(known)
}

/// A campaign whose claims are being read.
#[derive(Debug)]
struct Open {
    campaign: Campaign,
    claims_count: u64,
    pending: Quantity,
}

/// Puts a state together again from the sections of [`FrozenState::sections`], in their order.
#[derive(Debug)]
pub struct StateBuilder {
    state: State,
    campaigns_count: Option<u32>,
    open: Option<Open>,
}

impl StateBuilder {
    /// Nothing read yet; the tables get this key.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self { state: State::new(seed), campaigns_count: None, open: None }
    }

    /// Reads the next section.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no section of a format that this version knows, or out of order.
    pub fn section(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        match (reader.u8()?, self.campaigns_count) {
            (HEAD, None) => self.head(&mut reader),
            (CAMPAIGN, Some(_)) => self.campaign(&mut reader),
            (CLAIMS, Some(_)) => self.claims(&mut reader),
            (REQUESTS, Some(_)) if self.state.policies.is_empty() => self.requests(&mut reader),
            (POLICY, Some(_)) => self.policy(&mut reader),
            _ => Err(DecodeError("a section of the state is unknown or out of order")),
        }
    }

    /// The state, once every section is read.
    ///
    /// # Errors
    /// [`DecodeError`] if something is missing or an invariant of the rules is broken.
    pub fn finish(mut self) -> Result<State, DecodeError> {
        self.close_campaign()?;
        let campaigns_count = self.campaigns_count.ok_or(DecodeError("the state has no head"))?;
        if self.state.campaigns().len() != campaigns_count as usize {
            return Err(DecodeError("the state lacks a campaign"));
        }
        self.state.check().map_err(DecodeError)?;
        Ok(self.state)
    }

    fn head(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        if reader.u8()? != STATE_FORMAT {
            return Err(DecodeError("the state has a format that this version does not know"));
        }
        self.state.time = reader.time()?;
        self.campaigns_count = Some(reader.u32()?);
        reader.end()
    }

    fn campaign(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.close_campaign()?;
        let name = CampaignName::new(reader.text()?).map_err(|_| DecodeError("a campaign's name is malformed"))?;
        let view = decode_view(reader)?;
        let claims_count = reader.u64()?;
        let pending = if reader.end().is_ok() { Quantity::ZERO } else { decode_pending(reader)? };
        reader.end()?;
        if claims_count < u64::from(pending.get()) {
            return Err(DecodeError("more claims are pending than there are"));
        }
        if u64::from(u32::MAX) < claims_count {
            return Err(DecodeError("there are more claims than serials"));
        }
        if view.at != view.created_at {
            return Err(DecodeError("a campaign's two times of creation differ"));
        }
        if self.state.campaign(name).is_some() {
            return Err(DecodeError("two campaigns have the same name"));
        }
        if !self.state.requests.is_empty() || !self.state.policies.is_empty() {
            return Err(DecodeError("a campaign comes after the requests or policies"));
        }
        if view.number.0 as usize != self.state.campaigns().len() {
            return Err(DecodeError("a campaign is out of order"));
        }
        let mut campaign = Campaign::new(view.number, name, view.settings, self.state.seed());
        campaign.version = view.version;
        campaign.code_key = view.code_key;
        campaign.created_at = view.created_at;
        campaign.remaining = view.remaining;
        campaign.redeemed = view.redeemed;
        self.open = Some(Open { campaign, claims_count, pending });
        Ok(())
    }

    fn claims(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let number = CampaignNumber(reader.u32()?);
        let claims_count = reader.u32()? as usize;
        let open = self.open.as_mut().filter(|open| open.campaign.number == number);
        let Open { campaign, .. } = open.ok_or(DecodeError("claims of another campaign than the one before them"))?;
        if claims_count == 0 {
            return Err(DecodeError("a block without claims"));
        }
        if !campaign.claims.count().is_multiple_of(claims::BLOCK_CLAIMS) {
            return Err(DecodeError("claims after a block that is not full"));
        }
        let block = claims::bytes::decode(claims_count, reader.rest()).ok_or(DecodeError("a block of claims is malformed"))?;
        campaign.claims.push_block(block);
        Ok(())
    }

    fn requests(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.close_campaign()?;
        if reader.end().is_ok() {
            return Err(DecodeError("a section without requests"));
        }
        if !self.state.requests.len().is_multiple_of(SECTION_REQUESTS) {
            return Err(DecodeError("requests after a section that is not full"));
        }
        while reader.end().is_err() {
            let known = decode_request(reader)?;
            self.state.requests.remember(known);
        }
        Ok(())
    }

    fn policy(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.close_campaign()?;
        let (name, kept) = reader.policy()?;
        reader.end()?;
        if self.state.policies.last_name().is_some_and(|last| name.as_str() <= last) {
            return Err(DecodeError("a policy is out of order"));
        }
        self.state.policies.restore(name, kept);
        Ok(())
    }

    fn close_campaign(&mut self) -> Result<(), DecodeError> {
        let Some(Open { mut campaign, claims_count, pending }) = self.open.take() else { return Ok(()) };
        if campaign.claims.count() as u64 != claims_count {
            return Err(DecodeError("a campaign lacks claims"));
        }
        campaign.claims.restore_pending(pending.get() as usize);
        campaign.claims.index_blocks();
        let is_live = |claim: Option<Claim<'_>>| claim.is_some_and(|claim| claim.status == ClaimStatus::Live);
        let serials = (1..=claims_count).rev().take(pending.get() as usize).filter_map(|serial| Serial::new(u32::try_from(serial).ok()?));
        // They are read as they lie, without being told that they are pending.
        if !serials.into_iter().all(|serial| is_live(campaign.claims.lying(serial))) {
            return Err(DecodeError("a pending claim was redeemed or cancelled"));
        }
        self.state.push_campaign(campaign);
        Ok(())
    }
}
