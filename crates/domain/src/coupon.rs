//! Coupons: a campaign gives out a limited stock, first come, first served.
//!
//! The promise: never more claims than stock; never more for one subject than its limit; a claim
//! that was answered is never taken back by anyone but a cancellation.
//!
//! Invariants ([`Campaign::check`]): claims that hold a unit and what remains add up to the stock;
//! serials run from 1 without a gap; the index of subjects holds exactly the claims that hold a
//! unit; pending claims are those with the highest serials ([`queue`]).
//!
//! Terms: a *claim* takes one unit of a *campaign*'s *stock*; its *serial* is its number; to
//! *redeem* is to use it; a *cancelled* claim's unit goes back to stock; a *pending* one has its unit
//! and is decided later.

pub mod queue;

use crate::claims::{Claim, ClaimStatus, Claims};
use crate::hash::HashSeed;
use crate::types::{CampaignName, Quantity, Serial, SubjectId, Timestamp};
use queue::{DecideNext, QueuePatch, QueueSettings};

/// The largest `per_subject_max`: a subject's claims are looked through one by one.
pub const PER_SUBJECT_MAX: u32 = 100;

// --- Commands -------------------------------------------------------------------------------

/// What can be asked of a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// Create a campaign, or give it these settings.
    Put(Put<'a>),
    /// Change some settings.
    Patch(Patch<'a>),
    /// Take one unit for a subject.
    Claim(ClaimOne<'a>),
    /// Use a claim.
    Redeem(Target<'a>),
    /// Give a claim back.
    Cancel(Target<'a>),
    /// Decide the claim that has been pending longest.
    DecideNext(DecideNext<'a>),
}

/// Under which condition settings are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// None.
    Always,
    /// The campaign exists (`If-Match: *`).
    Exists,
    /// The campaign does not exist yet (`If-None-Match: *`).
    IsNew,
    /// Its settings have this version (`If-Match: "3"`).
    Version(u64),
    /// Can never hold: the caller named a version that no campaign has.
    Never,
}

/// Create a campaign or replace its settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put<'a> {
    /// Which campaign.
    pub campaign: CampaignName<'a>,
    /// All of its settings.
    pub settings: Settings,
    /// Under which condition.
    pub precondition: Precondition,
    /// The number of the code key that a new campaign uses; an existing one keeps its own.
    pub code_key: u32,
}

/// Change some settings of a campaign: `None` leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patch<'a> {
    /// Which campaign.
    pub campaign: CampaignName<'a>,
    /// Under which condition.
    pub precondition: Precondition,
    /// Units in all, 1 to 1,000,000,000.
    pub stock: Option<Quantity>,
    /// Units for one subject, 1 to [`PER_SUBJECT_MAX`].
    pub per_subject_max: Option<u32>,
    /// `Some(None)` removes it.
    pub opens_at: Option<Option<Timestamp>>,
    /// `Some(None)` removes it.
    pub closes_at: Option<Option<Timestamp>>,
    /// `Some(None)` removes it.
    pub redeem_until: Option<Option<Timestamp>>,
    /// Whether claims are refused for now.
    pub paused: Option<bool>,
    /// The queue.
    pub queue: QueuePatch,
}

/// Take one unit for a subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimOne<'a> {
    /// Of which campaign.
    pub campaign: CampaignName<'a>,
    /// For whom.
    pub subject: SubjectId<'a>,
}

/// Which claim is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// Of which campaign.
    pub campaign: CampaignName<'a>,
    /// By whom or what.
    pub by: TargetBy<'a>,
}

/// How a claim is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetBy<'a> {
    /// The one claim that the subject holds.
    Subject(SubjectId<'a>),
    /// This one of the subject's claims.
    SubjectSerial(SubjectId<'a>, Serial),
    /// Whoever's it is: the serial comes from a code.
    Code(Serial),
}

// --- Settings and events --------------------------------------------------------------------

/// What the runner of a campaign chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Units in all, 1 to 1,000,000,000.
    pub stock: Quantity,
    /// Units for one subject, 1 to [`PER_SUBJECT_MAX`].
    pub per_subject_max: u32,
    /// Claims are granted from this instant on; `None`: at once.
    pub opens_at: Option<Timestamp>,
    /// Claims are refused from this instant on; `None`: never.
    pub closes_at: Option<Timestamp>,
    /// Claims can be redeemed until just before this instant; `None`: for ever.
    pub redeem_until: Option<Timestamp>,
    /// Whether claims are refused for now.
    pub paused: bool,
    /// The queue.
    pub queue: QueueSettings,
}

impl Settings {
    /// So many units, one for each subject, open at once and for ever, without a queue.
    #[must_use]
    pub const fn plain(stock: Quantity) -> Self {
        Self { stock, per_subject_max: 1, opens_at: None, closes_at: None, redeem_until: None, paused: false, queue: QueueSettings::DIRECT }
    }
}

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A campaign exists from now on, under the next campaign number.
    CampaignCreated {
        /// Its number, from 0 without a gap.
        campaign: CampaignNumber,
        /// Its name.
        name: CampaignName<'a>,
        /// Its settings.
        settings: Settings,
        /// Which code key it uses.
        code_key: u32,
    },
    /// A campaign has other settings from now on.
    CampaignChanged {
        /// Which campaign.
        campaign: CampaignNumber,
        /// All of its settings.
        settings: Settings,
    },
    /// A claim was accepted: its unit is set aside, and it is decided later.
    Accepted {
        /// Of which campaign.
        campaign: CampaignNumber,
        /// Under which serial.
        serial: Serial,
        /// By whom.
        subject: SubjectId<'a>,
    },
    /// A unit was taken, or a claim that was accepted is decided.
    Claimed {
        /// Of which campaign.
        campaign: CampaignNumber,
        /// Under which serial.
        serial: Serial,
        /// By whom.
        subject: SubjectId<'a>,
    },
    /// A claim was used.
    Redeemed {
        /// Of which campaign.
        campaign: CampaignNumber,
        /// Which claim.
        serial: Serial,
    },
    /// A claim was given back.
    Cancelled {
        /// Of which campaign.
        campaign: CampaignNumber,
        /// Which claim.
        serial: Serial,
    },
}

/// A campaign's place in the order of creation, from 0; shorter in a record than its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CampaignNumber(pub u32);

/// A decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision<'a> {
    /// Something changes.
    Event(Event<'a>),
    /// Nothing changes: what is asked for is so already.
    Repeat(Repeat),
}

/// What was so already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// The subject has its claim, pending or decided.
    Claimed(CampaignNumber, Serial),
    /// It is not its turn.
    Nothing,
    /// The campaign has these settings.
    Unchanged(CampaignNumber),
}

// --- Rejections -----------------------------------------------------------------------------

/// Why not, in the order of precedence. The numbers are stable and never used again.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rejection {
    /// No such campaign.
    CampaignNotFound = 3,
    /// `If-None-Match: *`, and there is one.
    CampaignExists = 19,
    /// The settings have another version than the caller knows.
    VersionMismatch {
        /// The version that they have.
        version: u64,
    } = 18,
    /// `closes_at` is not after `opens_at`.
    ClosesBeforeOpens = 16,
    /// `redeem_until` is not after `opens_at`.
    RedeemUntilBeforeOpens = 17,
    /// More is claimed than the new stock.
    StockBelowClaimed {
        /// Units that are claimed, pending ones included.
        claimed: Quantity,
    } = 15,
    /// The limit per subject may only grow once there are claims.
    PerSubjectMaxLowered {
        /// The limit as it stands.
        per_subject_max: u32,
    } = 20,
    /// Several per subject are allowed, so a repeat cannot be told from a new wish without a key.
    RequestKeyRequired = 2,
    /// Not yet.
    NotOpen {
        /// From when on.
        opens_at: Timestamp,
    } = 4,
    /// Not any more.
    Closed {
        /// Since when.
        closed_at: Timestamp,
    } = 5,
    /// Not for now.
    Paused = 6,
    /// The subject has what one subject may have.
    SubjectLimitReached {
        /// How many that is.
        per_subject_max: u32,
    } = 7,
    /// Nothing is left.
    SoldOut = 8,
    /// As many claims are pending as may be.
    QueueFull {
        /// How many that is.
        queue_max: u32,
    } = 22,
    /// The subject holds no claim, or not the one that was named.
    ClaimNotFound = 9,
    /// The claim is in the queue: nothing can be done with it before it is decided.
    ClaimPending = 21,
    /// The subject holds several claims.
    ClaimAmbiguous {
        /// Their serials, rising.
        serials: Vec<Serial>,
    } = 10,
    /// No claim has this code.
    CodeNotFound = 11,
    /// It was used before.
    AlreadyRedeemed {
        /// When.
        redeemed_at: Timestamp,
    } = 12,
    /// It was given back.
    Cancelled {
        /// When.
        cancelled_at: Timestamp,
    } = 13,
    /// Too late to use it.
    Expired {
        /// Since when.
        redeem_until: Timestamp,
    } = 14,
}

impl Rejection {
    /// The stable word that clients match.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CampaignNotFound => "campaign_not_found",
            Self::CampaignExists => "campaign_exists",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::ClosesBeforeOpens => "closes_before_opens",
            Self::RedeemUntilBeforeOpens => "redeem_until_before_opens",
            Self::StockBelowClaimed { .. } => "stock_below_claimed",
            Self::PerSubjectMaxLowered { .. } => "per_subject_max_lowered",
            Self::RequestKeyRequired => "request_key_required",
            Self::NotOpen { .. } => "not_open",
            Self::Closed { .. } => "closed",
            Self::Paused => "paused",
            Self::SubjectLimitReached { .. } => "subject_limit_reached",
            Self::SoldOut => "sold_out",
            Self::QueueFull { .. } => "queue_full",
            Self::ClaimPending => "claim_pending",
            Self::ClaimNotFound => "claim_not_found",
            Self::ClaimAmbiguous { .. } => "claim_ambiguous",
            Self::CodeNotFound => "code_not_found",
            Self::AlreadyRedeemed { .. } => "already_redeemed",
            Self::Cancelled { .. } => "cancelled",
            Self::Expired { .. } => "expired",
        }
    }

    /// Whether the same request could be granted later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotOpen { .. }
            | Self::Paused
            | Self::SoldOut
            | Self::SubjectLimitReached { .. }
            | Self::QueueFull { .. }
            | Self::ClaimPending => true,
            Self::CampaignNotFound
            | Self::CampaignExists
            | Self::VersionMismatch { .. }
            | Self::ClosesBeforeOpens
            | Self::RedeemUntilBeforeOpens
            | Self::StockBelowClaimed { .. }
            | Self::PerSubjectMaxLowered { .. }
            | Self::RequestKeyRequired
            | Self::Closed { .. }
            | Self::ClaimNotFound
            | Self::ClaimAmbiguous { .. }
            | Self::CodeNotFound
            | Self::AlreadyRedeemed { .. }
            | Self::Cancelled { .. }
            | Self::Expired { .. } => false,
        }
    }
}

// --- State ----------------------------------------------------------------------------------

/// One campaign with all its claims.
#[derive(Debug)]
pub struct Campaign {
    /// Its name; a valid [`CampaignName`].
    pub name: String,
    /// Its place in the order of creation.
    pub number: CampaignNumber,
    /// What its runner chose.
    pub settings: Settings,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// Which code key its codes come from.
    pub code_key: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// Units that nobody holds, and that are not set aside for a pending claim.
    pub remaining: Quantity,
    /// Claims that were used.
    pub redeemed: Quantity,
    /// Every claim that was ever made.
    pub claims: Claims,
}

/// Where a campaign stands at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CampaignState {
    /// Opens later.
    Scheduled,
    /// Gives out units.
    Open,
    /// Open, but nothing is left.
    SoldOut,
    /// Refuses claims for now.
    Paused,
    /// Will give out nothing more.
    Closed,
}

impl CampaignState {
    /// The stable word that clients match.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::SoldOut => "sold_out",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

impl Campaign {
    /// A campaign without claims.
    pub(crate) fn new(number: CampaignNumber, name: CampaignName<'_>, settings: Settings, seed: HashSeed) -> Self {
        Self {
            name: name.as_str().to_owned(),
            number,
            settings,
            version: 1,
            code_key: 0,
            created_at: Timestamp::ZERO,
            remaining: settings.stock,
            redeemed: Quantity::ZERO,
            claims: Claims::new(seed),
        }
    }

    /// Units of decided claims, redeemed ones included.
    #[must_use]
    pub fn claimed(&self) -> Quantity {
        self.taken().saturating_sub(self.pending())
    }

    /// Units that are set aside for pending claims.
    #[must_use]
    pub fn pending(&self) -> Quantity {
        Quantity::new(self.pending_count()).unwrap_or(Quantity::MAX)
    }

    /// Units that somebody holds or waits for.
    #[must_use]
    pub fn taken(&self) -> Quantity {
        self.settings.stock.saturating_sub(self.remaining)
    }

    /// Where the campaign stands at `now`.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> CampaignState {
        campaign_state(&self.settings, self.remaining, now)
    }

    /// The subject's claim, pending or decided, where one subject can have only one.
    fn only_claim_of(&self, subject: SubjectId<'_>) -> Option<Serial> {
        if 1 < self.settings.per_subject_max {
            return None;
        }
        self.claims.holding(subject).min()
    }

    /// The serials of the decided claims that a subject holds, rising.
    #[must_use]
    pub fn serials_of(&self, subject: SubjectId<'_>) -> Vec<Serial> {
        let mut serials: Vec<Serial> = self.claims.holding(subject).filter(|serial| self.claims.is_decided(*serial)).collect();
        serials.sort_unstable();
        serials
    }

    /// The claim that is meant.
    ///
    /// # Errors
    /// [`Rejection::ClaimNotFound`], [`Rejection::ClaimPending`], [`Rejection::ClaimAmbiguous`] or
    /// [`Rejection::CodeNotFound`]: nobody has the code of a pending claim.
    pub fn find(&self, by: TargetBy<'_>) -> Result<Claim<'_>, Rejection> {
        match by {
            TargetBy::Code(serial) => {
                let claim = self.claims.get(serial).filter(|claim| claim.status != ClaimStatus::Pending);
                claim.ok_or(Rejection::CodeNotFound)
            }
            TargetBy::SubjectSerial(subject, serial) => {
                let claim = self.claims.get(serial).filter(|claim| claim.subject == subject);
                let claim = claim.ok_or(Rejection::ClaimNotFound)?;
                if claim.status == ClaimStatus::Pending { Err(Rejection::ClaimPending) } else { Ok(claim) }
            }
            TargetBy::Subject(subject) => {
                let serials = self.serials_of(subject);
                match serials.as_slice() {
                    [] if self.claims.holding(subject).next().is_some() => Err(Rejection::ClaimPending),
                    [] => Err(Rejection::ClaimNotFound),
                    [serial] => self.claims.get(*serial).ok_or(Rejection::ClaimNotFound),
                    _ => Err(Rejection::ClaimAmbiguous { serials }),
                }
            }
        }
    }

    /// The invariants of this file; the text names the one that is broken.
    ///
    /// # Errors
    /// The broken invariant in words.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.settings.stock < self.remaining {
            return Err("more remains than the stock");
        }
        if self.taken().get() as usize != self.claims.holding_count() {
            return Err("claims that hold a unit and what remains do not add up to the stock");
        }
        if self.claims.holding_count() < self.claims.pending_count() {
            return Err("more claims are pending than hold a unit");
        }
        if self.claimed() < self.redeemed {
            return Err("more is redeemed than claimed");
        }
        Ok(())
    }
}

/// Where a campaign with these settings stands at `now`.
#[must_use]
pub fn campaign_state(settings: &Settings, remaining: Quantity, now: Timestamp) -> CampaignState {
    if settings.closes_at.is_some_and(|closes_at| closes_at <= now) {
        return CampaignState::Closed;
    }
    if settings.opens_at.is_some_and(|opens_at| now < opens_at) {
        return CampaignState::Scheduled;
    }
    if settings.paused {
        return CampaignState::Paused;
    }
    if remaining == Quantity::ZERO {
        return CampaignState::SoldOut;
    }
    CampaignState::Open
}

// --- Decide ---------------------------------------------------------------------------------

/// What becomes of a command on a campaign that exists. `has_request_key` says whether the caller
/// can be told apart from its own repeat.
///
/// # Errors
/// The first [`Rejection`] in the order of precedence.
pub fn decide<'a>(campaign: &Campaign, command: &Command<'a>, has_request_key: bool, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    match command {
        Command::Put(put) => decide_put(campaign, put),
        Command::Patch(patch) => decide_patch(campaign, patch),
        Command::Claim(claim) => decide_claim(campaign, claim.subject, has_request_key, now),
        Command::Redeem(target) => decide_redeem(campaign, target.by, now),
        Command::Cancel(target) => decide_cancel(campaign, target.by),
        Command::DecideNext(next) => Ok(queue::decide_next(campaign, next, now)),
    }
}

/// What becomes of a `Put` where no such campaign exists.
///
/// # Errors
/// The first [`Rejection`] in the order of precedence.
pub fn decide_create<'a>(put: &Put<'a>, number: CampaignNumber) -> Result<Decision<'a>, Rejection> {
    match put.precondition {
        Precondition::Exists | Precondition::Version(_) | Precondition::Never => return Err(Rejection::CampaignNotFound),
        Precondition::Always | Precondition::IsNew => {}
    }
    check_window(&put.settings)?;
    Ok(Decision::Event(Event::CampaignCreated { campaign: number, name: put.campaign, settings: put.settings, code_key: put.code_key }))
}

fn decide_put<'a>(campaign: &Campaign, put: &Put<'a>) -> Result<Decision<'a>, Rejection> {
    check_precondition(campaign, put.precondition)?;
    decide_settings(campaign, put.settings)
}

fn decide_patch<'a>(campaign: &Campaign, patch: &Patch<'a>) -> Result<Decision<'a>, Rejection> {
    check_precondition(campaign, patch.precondition)?;
    let old = campaign.settings;
    let settings = Settings {
        stock: patch.stock.unwrap_or(old.stock),
        per_subject_max: patch.per_subject_max.unwrap_or(old.per_subject_max),
        opens_at: patch.opens_at.unwrap_or(old.opens_at),
        closes_at: patch.closes_at.unwrap_or(old.closes_at),
        redeem_until: patch.redeem_until.unwrap_or(old.redeem_until),
        paused: patch.paused.unwrap_or(old.paused),
        queue: patch.queue.apply(old.queue),
    };
    decide_settings(campaign, settings)
}

fn decide_settings<'a>(campaign: &Campaign, settings: Settings) -> Result<Decision<'a>, Rejection> {
    check_window(&settings)?;
    let claimed = campaign.taken();
    if settings.stock < claimed {
        return Err(Rejection::StockBelowClaimed { claimed });
    }
    let per_subject_max = campaign.settings.per_subject_max;
    if settings.per_subject_max < per_subject_max && claimed != Quantity::ZERO {
        return Err(Rejection::PerSubjectMaxLowered { per_subject_max });
    }
    if settings == campaign.settings {
        return Ok(Decision::Repeat(Repeat::Unchanged(campaign.number)));
    }
    Ok(Decision::Event(Event::CampaignChanged { campaign: campaign.number, settings }))
}

fn decide_claim<'a>(campaign: &Campaign, subject: SubjectId<'a>, has_request_key: bool, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    let settings = &campaign.settings;
    if 1 < settings.per_subject_max && !has_request_key {
        return Err(Rejection::RequestKeyRequired);
    }
    if let Some(existing) = campaign.only_claim_of(subject) {
        return Ok(Decision::Repeat(Repeat::Claimed(campaign.number, existing)));
    }
    if let Some(opens_at) = settings.opens_at.filter(|opens_at| now < *opens_at) {
        return Err(Rejection::NotOpen { opens_at });
    }
    if let Some(closed_at) = settings.closes_at.filter(|closes_at| *closes_at <= now) {
        return Err(Rejection::Closed { closed_at });
    }
    if settings.paused {
        return Err(Rejection::Paused);
    }
    if 1 < settings.per_subject_max && settings.per_subject_max as usize <= campaign.claims.holding(subject).count() {
        return Err(Rejection::SubjectLimitReached { per_subject_max: settings.per_subject_max });
    }
    if campaign.remaining == Quantity::ZERO {
        return Err(Rejection::SoldOut);
    }
    let Some(serial) = campaign.claims.serial_next() else { return Err(Rejection::SoldOut) };

    if !campaign.queues_at(now) {
        return Ok(Decision::Event(Event::Claimed { campaign: campaign.number, serial, subject }));
    }
    if settings.queue.queue_max <= campaign.pending_count() {
        return Err(Rejection::QueueFull { queue_max: settings.queue.queue_max });
    }

    // From here the claim succeeds, if later.
    Ok(Decision::Event(Event::Accepted { campaign: campaign.number, serial, subject }))
}

fn decide_redeem<'a>(campaign: &Campaign, by: TargetBy<'_>, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    let claim = campaign.find(by)?;
    check_holds(&claim)?;
    if let Some(redeem_until) = campaign.settings.redeem_until.filter(|until| *until <= now) {
        return Err(Rejection::Expired { redeem_until });
    }
    Ok(Decision::Event(Event::Redeemed { campaign: campaign.number, serial: claim.serial }))
}

fn decide_cancel<'a>(campaign: &Campaign, by: TargetBy<'_>) -> Result<Decision<'a>, Rejection> {
    let claim = campaign.find(by)?;
    check_holds(&claim)?;
    Ok(Decision::Event(Event::Cancelled { campaign: campaign.number, serial: claim.serial }))
}

// --- Evolve ---------------------------------------------------------------------------------

/// What an event changes in its campaign. Cannot fail and decides nothing.
pub fn evolve(campaign: &mut Campaign, event: &Event<'_>, at: Timestamp) {
    match event {
        Event::CampaignCreated { code_key, .. } => {
            campaign.code_key = *code_key;
            campaign.created_at = at;
        }
        Event::CampaignChanged { settings, .. } => {
            let taken = campaign.taken();
            campaign.settings = *settings;
            campaign.remaining = settings.stock.saturating_sub(taken);
            campaign.version = campaign.version.saturating_add(1);
        }
        Event::Accepted { subject, .. } => {
            campaign.remaining = campaign.remaining.saturating_sub(Quantity::ONE);
            campaign.claims.accept(*subject, at);
        }
        Event::Claimed { serial, .. } if campaign.first_pending().is_some_and(|claim| claim.serial == *serial) => {
            campaign.claims.decide_next(at);
        }
        Event::Claimed { subject, .. } => {
            campaign.remaining = campaign.remaining.saturating_sub(Quantity::ONE);
            campaign.claims.push(*subject, at);
        }
        Event::Redeemed { serial, .. } => {
            campaign.redeemed = campaign.redeemed.saturating_add(Quantity::ONE);
            campaign.claims.redeem(*serial, at);
        }
        Event::Cancelled { serial, .. } => {
            campaign.remaining = campaign.remaining.saturating_add(Quantity::ONE);
            campaign.claims.cancel(*serial, at);
        }
    }
}

/// When the claim that has been pending longest falls due. Window and expiry are judged by the
/// command's time and have no deadline.
#[must_use]
pub fn next_deadline(campaign: &Campaign) -> Option<Timestamp> {
    campaign.first_pending().map(|_| campaign.decides_at())
}

// --- Helpers --------------------------------------------------------------------------------

impl Event<'_> {
    /// The campaign that the event is about.
    #[must_use]
    pub fn campaign(&self) -> CampaignNumber {
        match self {
            Self::CampaignCreated { campaign, .. }
            | Self::CampaignChanged { campaign, .. }
            | Self::Accepted { campaign, .. }
            | Self::Claimed { campaign, .. }
            | Self::Redeemed { campaign, .. }
            | Self::Cancelled { campaign, .. } => *campaign,
        }
    }
}

impl<'a> Command<'a> {
    /// The campaign that the command is about.
    #[must_use]
    pub fn campaign(&self) -> CampaignName<'a> {
        match self {
            Self::Put(put) => put.campaign,
            Self::Patch(patch) => patch.campaign,
            Self::Claim(claim) => claim.campaign,
            Self::Redeem(target) | Self::Cancel(target) => target.campaign,
            Self::DecideNext(next) => next.campaign,
        }
    }
}

fn check_precondition(campaign: &Campaign, precondition: Precondition) -> Result<(), Rejection> {
    let version = campaign.version;
    match precondition {
        Precondition::Always | Precondition::Exists => Ok(()),
        Precondition::IsNew => Err(Rejection::CampaignExists),
        Precondition::Version(wanted) if wanted == version => Ok(()),
        Precondition::Version(_) | Precondition::Never => Err(Rejection::VersionMismatch { version }),
    }
}

fn check_window(settings: &Settings) -> Result<(), Rejection> {
    let Some(opens_at) = settings.opens_at else { return Ok(()) };
    if settings.closes_at.is_some_and(|closes_at| closes_at <= opens_at) {
        return Err(Rejection::ClosesBeforeOpens);
    }
    if settings.redeem_until.is_some_and(|redeem_until| redeem_until <= opens_at) {
        return Err(Rejection::RedeemUntilBeforeOpens);
    }
    Ok(())
}

fn check_holds(claim: &Claim<'_>) -> Result<(), Rejection> {
    match claim.status {
        ClaimStatus::Live => Ok(()),
        ClaimStatus::Pending => Err(Rejection::ClaimPending),
        ClaimStatus::Redeemed { redeemed_at } => Err(Rejection::AlreadyRedeemed { redeemed_at }),
        ClaimStatus::Cancelled { cancelled_at } => Err(Rejection::Cancelled { cancelled_at }),
    }
}

// Tests: `conformance/coupon/` (tables, by `crates/domain/tests/all/conformance.rs`) and
// `crates/domain/tests/all/coupon_model.rs` (against a naive model).
