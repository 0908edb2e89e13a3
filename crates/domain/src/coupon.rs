//! Coupons: a campaign gives out a limited stock, first come, first served.
//!
//! The promise: never more claims than stock; never more for one subject than its limit; a claim
//! that was answered is never taken back by anyone but a cancellation.
//!
//! Invariants ([`Workload::check`]): claims that hold a unit and what remains add up to the stock;
//! serials run from 1 without a gap; the index of subjects holds exactly the claims that hold a
//! unit; pending claims are those with the highest serials ([`queue`]).
//!
//! Terms: a *claim* takes one unit of a *campaign*'s *stock*; its *serial* is its number; to
//! *redeem* is to use it; a *cancelled* claim's unit goes back to stock; a *pending* one has its unit
//! and is decided later.

pub mod queue;

use crate::claims::{Claim, ClaimStatus, Claims};
use crate::hash::HashSeed;
use crate::keyring::CODE_KEYS_MAX;
use crate::rows::{Cell, Column, ColumnKind, OneEach, RowChange, Rows, Table};
use crate::types::{Quantity, Serial, SubjectId, Timestamp};
use crate::wire::bytes::{In, Out, Part, Reader, put_u32};
use crate::wire::{self, DecodeError};
use crate::workload::{Aggregate, Ask, Decided, GateView, Items, Kind, Units, Workload};
use crate::{fields, messages, rejections, words};
use queue::{Mode, PACE_MAX, QUEUE_MAX, Waiting};

/// The largest `per_subject_max`: a subject's claims are looked through one by one.
pub const PER_SUBJECT_MAX: u32 = 100;

/// The workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coupon;

/// One campaign with all its claims.
pub type Campaign = Aggregate<Coupon>;

// --- Settings -------------------------------------------------------------------------------

fields! {
    /// What the runner of a campaign chooses.
    pub struct Settings {
        1 stock: Quantity = required, in 1..=1_000_000_000, "Units in all. It may grow, and may not fall below what is claimed.";
        2 per_subject_max: u32 = 1, in 1..=PER_SUBJECT_MAX, "Units for one subject. Above 1, every claim needs a request key, because only the key tells a repeat from a new wish. Once there are claims it may only grow.";
        3 opens_at: Option<Timestamp> = None, "Claims are granted from this instant on; `null`: at once.";
        4 closes_at: Option<Timestamp> = None, "Claims are refused from this instant on; `null`: never. Must be after `opens_at`.";
        5 redeem_until: Option<Timestamp> = None, "Claims can be redeemed until just before this instant; `null`: for ever. Must be after `opens_at`.";
        6 paused: bool = false, "Whether claims are refused for now.";
        7 mode: Mode = Mode::Direct, "How claims are answered. `direct`: with the decision. `queued`: with the place where the decision will be.";
        8 decisions_per_second_max: Option<u32> = None, in 1..=PACE_MAX, "Pending claims that are decided in any 1,000 ms; `null`: all at once. In the direct mode it does not matter.";
        9 queue_max: u32 = 1_000_000, in 1..=QUEUE_MAX, "Claims that may be pending; one more is refused with `queue_full`.";
        @internal 10 code_key: u32 = 0, in 0..=CODE_KEYS_MAX, "The number of the key that the campaign's codes come from.";
    }
}

fields! {
    /// What follows from a campaign's claims.
    pub struct Figures {
        1 state: CampaignState = required, "Where the campaign stands: it opens later, gives out units, is paused, has none left, or gives out nothing more.";
        2 claimed: u32 = required, "Claims that hold a unit, redeemed ones included.";
        3 remaining: u32 = required, "Units that nobody holds or waits for: `stock` less `claimed` and `pending`.";
        4 pending: u32 = required, "Units that are set aside for pending claims.";
        5 redeemed: u32 = required, "Claims that were used.";
    }
}

words! {
    /// Where a campaign stands at an instant.
    pub enum CampaignState {
        /// It has not opened yet.
        0 Scheduled "scheduled",
        /// Claims are granted.
        1 Open "open",
        /// Claims are refused for now.
        2 Paused "paused",
        /// Nothing is left.
        3 SoldOut "sold_out",
        /// It is over.
        4 Closed "closed",
    }
}

impl Settings {
    /// So many units, one for each subject, open at once and for ever, without a queue.
    #[must_use]
    pub fn plain(stock: Quantity) -> Self {
        Self { stock, ..<Self as fields::Fields>::least() }
    }
}

// --- Commands -------------------------------------------------------------------------------

messages! {
    /// What can be asked of a campaign.
    pub enum Command<'a> {
        /// Take one unit for a subject.
        1 Claim {
            /// For whom.
            subject: SubjectId<'a>,
        },
        /// Use a claim.
        2 Redeem {
            /// Which one.
            by: TargetBy<'a>,
        },
        /// Give a claim back.
        3 Cancel {
            /// Which one.
            by: TargetBy<'a>,
        },
        /// Decide the claim that has been pending longest. Anyone may ask; it names the claim, and has
        /// no effect unless that one is next and its time has come.
        4 DecideNext {
            /// Which claim.
            serial: Serial,
            /// Whose it is.
            subject: SubjectId<'a>,
        },
    }
}

messages! {
    /// How a claim is named.
    pub enum TargetBy<'a> {
        /// The one claim that the subject holds.
        1 Subject {
            /// The subject.
            subject: SubjectId<'a>,
        },
        /// This one of the subject's claims.
        2 SubjectSerial {
            /// The subject.
            subject: SubjectId<'a>,
            /// The claim's serial.
            serial: Serial,
        },
        /// Whoever's it is: the serial comes from a code.
        3 Code {
            /// The claim's serial.
            serial: Serial,
        },
    }
}

// --- Events ---------------------------------------------------------------------------------

messages! {
    /// What happened in a campaign.
    pub enum Event<'a> {
        /// A unit was taken.
        1 Claimed {
            /// Under which serial.
            serial: Serial,
            /// By whom.
            subject: SubjectId<'a>,
        },
        /// A claim was accepted: its unit is set aside, and it is decided later.
        2 Accepted {
            /// Under which serial.
            serial: Serial,
            /// By whom.
            subject: SubjectId<'a>,
        },
        /// A claim that was accepted is decided.
        3 Decided {
            /// Which one.
            serial: Serial,
            /// Whose it is.
            subject: SubjectId<'a>,
        },
        /// A claim was used.
        4 Redeemed {
            /// Which one.
            serial: Serial,
        },
        /// A claim was given back.
        5 Cancelled {
            /// Which one.
            serial: Serial,
        },
    }
}

messages! {
    /// What took effect.
    pub enum Outcome {
        /// The subject has a claim, pending or decided.
        1 Claimed {
            /// Its serial.
            serial: Serial,
        },
        /// A claim was redeemed.
        2 Redeemed {
            /// Its serial.
            serial: Serial,
        },
        /// A claim was cancelled.
        3 Cancelled {
            /// Its serial.
            serial: Serial,
        },
    }
}

impl Outcome {
    /// The serial of the claim that it is about.
    #[must_use]
    pub const fn serial(self) -> Serial {
        match self {
            Self::Claimed { serial } | Self::Redeemed { serial } | Self::Cancelled { serial } => serial,
        }
    }
}

/// A claim as an answer shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimView {
    /// The name of its campaign.
    pub campaign: std::sync::Arc<str>,
    /// The number of the key that its code comes from.
    pub code_key: u32,
    /// Whose it is.
    pub subject: String,
    /// Its number in the campaign.
    pub serial: Serial,
    /// When it was decided; while it is pending, when it was accepted.
    pub claimed_at: Timestamp,
    /// What became of it.
    pub status: ClaimStatus,
    /// How its campaign answers claims.
    pub mode: Mode,
    /// Its place in the queue; `None` once it is decided.
    pub waiting: Option<Waiting>,
}

// --- Rejections -----------------------------------------------------------------------------

rejections! {
    /// Why not, in the order of precedence.
    pub enum Rejection {
        /// `closes_at` is not after `opens_at`.
        16 ClosesBeforeOpens "closes_before_opens" lasting,
        /// `redeem_until` is not after `opens_at`.
        17 RedeemUntilBeforeOpens "redeem_until_before_opens" lasting,
        /// More is claimed than the new stock.
        15 StockBelowClaimed "stock_below_claimed" lasting {
            /// Units that are claimed, pending ones included.
            claimed: Quantity,
        },
        /// The limit per subject may only grow once there are claims.
        20 PerSubjectMaxLowered "per_subject_max_lowered" lasting {
            /// The limit as it stands.
            per_subject_max: u32,
        },
        /// Several per subject are allowed, so a repeat cannot be told from a new wish without a key.
        2 RequestKeyRequired "request_key_required" lasting,
        /// Not yet.
        4 NotOpen "not_open" transient {
            /// From when on.
            opens_at: Timestamp,
        },
        /// Not any more.
        5 Closed "closed" lasting {
            /// Since when.
            closed_at: Timestamp,
        },
        /// Not for now.
        6 Paused "paused" transient,
        /// The subject has what one subject may have.
        7 SubjectLimitReached "subject_limit_reached" transient {
            /// How many that is.
            per_subject_max: u32,
        },
        /// Nothing is left.
        8 SoldOut "sold_out" transient,
        /// As many claims are pending as may be.
        22 QueueFull "queue_full" transient {
            /// How many that is.
            queue_max: u32,
        },
        /// The subject holds no claim, or not the one that was named.
        9 ClaimNotFound "claim_not_found" lasting,
        /// The claim is in the queue: nothing can be done with it before it is decided.
        21 ClaimPending "claim_pending" transient,
        /// The subject holds several claims.
        10 ClaimAmbiguous "claim_ambiguous" lasting {
            /// Their serials, rising.
            serials: Vec<Serial>,
        },
        /// No claim has this code.
        11 CodeNotFound "code_not_found" lasting,
        /// It was used before.
        12 AlreadyRedeemed "already_redeemed" lasting {
            /// When.
            redeemed_at: Timestamp,
        },
        /// It was given back.
        13 Cancelled "cancelled" lasting {
            /// When.
            cancelled_at: Timestamp,
        },
        /// Too late to use it.
        14 Expired "expired" lasting {
            /// Since when.
            redeem_until: Timestamp,
        },
    }
}

// --- State ----------------------------------------------------------------------------------

/// What a campaign has given out.
#[derive(Debug)]
pub struct CampaignItems {
    /// Every claim that was ever made.
    pub claims: Claims,
    /// Units that nobody holds or waits for.
    pub remaining: Quantity,
    /// Claims that were used.
    pub redeemed: Quantity,
    /// Claims that were decided before the time was last set back: the pace does not look at them.
    pub(crate) decided_before: u32,
}

impl Aggregate<Coupon> {
    /// Units of decided claims, redeemed ones included.
    #[must_use]
    pub fn claimed(&self) -> Quantity {
        self.taken().saturating_sub(self.pending())
    }

    /// Units that are set aside for pending claims: at most the stock.
    #[must_use]
    pub fn pending(&self) -> Quantity {
        let Some(pending) = Quantity::new(self.pending_count()) else { panic!("more claims are pending than any stock has") };
        pending
    }

    /// Units that somebody holds or waits for.
    #[must_use]
    pub fn taken(&self) -> Quantity {
        self.settings.stock.saturating_sub(self.items.remaining)
    }

    /// Where the campaign stands at `now`.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> CampaignState {
        campaign_state(&self.settings, self.items.remaining, now)
    }

    /// The subject's claim, pending or decided, where one subject can have only one.
    fn only_claim_of(&self, subject: SubjectId<'_>) -> Option<Serial> {
        if 1 < self.settings.per_subject_max {
            return None;
        }
        self.items.claims.holding(subject).min()
    }

    /// The serials of the decided claims that a subject holds, rising.
    #[must_use]
    pub fn serials_of(&self, subject: SubjectId<'_>) -> Vec<Serial> {
        let claims = &self.items.claims;
        let mut serials: Vec<Serial> = claims.holding(subject).filter(|serial| claims.is_decided(*serial)).collect();
        serials.sort_unstable();
        serials
    }

    /// The claim that is meant.
    ///
    /// # Errors
    /// [`Rejection::ClaimNotFound`], [`Rejection::ClaimPending`], [`Rejection::ClaimAmbiguous`] or
    /// [`Rejection::CodeNotFound`]: nobody has the code of a pending claim.
    pub fn find(&self, by: TargetBy<'_>) -> Result<Claim<'_>, Rejection> {
        let claims = &self.items.claims;
        match by {
            TargetBy::Code { serial } => {
                let claim = claims.get(serial).filter(|claim| claim.status != ClaimStatus::Pending);
                claim.ok_or(Rejection::CodeNotFound)
            }
            TargetBy::SubjectSerial { subject, serial } => {
                let claim = claims.get(serial).filter(|claim| claim.subject == subject);
                let claim = claim.ok_or(Rejection::ClaimNotFound)?;
                if claim.status == ClaimStatus::Pending { Err(Rejection::ClaimPending) } else { Ok(claim) }
            }
            TargetBy::Subject { subject } => {
                let serials = self.serials_of(subject);
                match serials.as_slice() {
                    [] if claims.holding(subject).next().is_some() => Err(Rejection::ClaimPending),
                    [] => Err(Rejection::ClaimNotFound),
                    [serial] => claims.get(*serial).ok_or(Rejection::ClaimNotFound),
                    _ => Err(Rejection::ClaimAmbiguous { serials }),
                }
            }
        }
    }

    /// A claim as an answer shows it at `now`.
    #[must_use]
    pub fn claim_view(&self, serial: Serial, now: Timestamp) -> Option<ClaimView> {
        let claim = self.items.claims.get(serial)?;
        Some(ClaimView {
            campaign: std::sync::Arc::clone(&self.head.name),
            code_key: self.settings.code_key,
            subject: claim.subject.as_str().to_owned(),
            serial,
            claimed_at: claim.claimed_at,
            status: claim.status,
            mode: self.settings.mode,
            waiting: self.waiting(serial, now),
        })
    }

    /// The last claims that were decided, the newest first.
    #[must_use]
    pub fn last_claims(&self, last_max: u32) -> Vec<ClaimView> {
        let newest = self.items.claims.decided_count();
        let serials = (1..=newest).rev().take(last_max as usize).filter_map(|serial| Serial::new(u32::try_from(serial).ok()?));
        serials.filter_map(|serial| self.claim_view(serial, self.head.created_at)).collect()
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

// --- The workload ---------------------------------------------------------------------------

const SUBJECT: usize = 1;
/// The place of the column [`CLAIMS`]`.status`, which lists are filtered by.
pub const STATUS: usize = 3;
const CHANGED_AT: usize = 4;
const LIVE: &str = "live";
const REDEEMED: &str = "redeemed";
const CANCELLED: &str = "cancelled";

/// Every claim that was ever granted.
pub static CLAIMS: Table = Table {
    name: "claims",
    about: "Every claim that was ever granted, cancelled ones included",
    columns: &[
        Column::of(
            "serial",
            ColumnKind::Number,
            "Its number in its campaign: 1, 2, 3 and so on in the order of decision, never used twice",
        ),
        Column::of("subject", ColumnKind::Text, "Whose it is: an opaque id"),
        Column::of("claimed_at", ColumnKind::Time, "When it was granted"),
        Column::of("status", ColumnKind::Text, "live, redeemed (used) or cancelled (given back)"),
        Column::optional("changed_at", ColumnKind::Time, "When it was redeemed or cancelled; null while it is live"),
    ],
    row: "claim",
    key_count: 1,
    found_by: Some(SUBJECT),
    one_each: Some(OneEach { column: SUBJECT, setting: "per_subject_max", is: 1, unless: (STATUS, CANCELLED) }),
    has_origin: true,
};

impl Workload for Coupon {
    const KIND: Kind = Kind::Campaign;
    const ENTRIES: &'static str = "claims";
    const IS_REMOVABLE: bool = false;
    const TABLES: &'static [&'static Table] = &[&CLAIMS];

    type Settings = Settings;
    type Figures = Figures;
    type Items = CampaignItems;
    type Command<'a> = Command<'a>;
    type Event<'a> = Event<'a>;
    type Outcome = Outcome;
    type View = ClaimView;
    type Rejection = Rejection;

    fn items(settings: &Settings, seed: HashSeed) -> CampaignItems {
        CampaignItems { claims: Claims::new(seed), remaining: settings.stock, redeemed: Quantity::ZERO, decided_before: 0 }
    }

    fn keep(old: &Settings, new: &mut Settings) {
        new.code_key = old.code_key;
    }

    fn accepts(old: Option<&Campaign>, new: &Settings) -> Result<(), Rejection> {
        check_window(new)?;
        let Some(campaign) = old else { return Ok(()) };
        let claimed = campaign.taken();
        if new.stock < claimed {
            return Err(Rejection::StockBelowClaimed { claimed });
        }
        let per_subject_max = campaign.settings.per_subject_max;
        if new.per_subject_max < per_subject_max && claimed != Quantity::ZERO {
            return Err(Rejection::PerSubjectMaxLowered { per_subject_max });
        }
        Ok(())
    }

    fn settled(campaign: &mut Campaign, old: &Settings) {
        let taken = old.stock.saturating_sub(campaign.items.remaining);
        campaign.items.remaining = campaign.settings.stock.saturating_sub(taken);
    }

    fn decide<'a>(campaign: &Campaign, command: &Self::Command<'a>, ask: Ask) -> Result<Decided<'a, Self>, Rejection> {
        match command {
            Command::Claim { subject } => decide_claim(campaign, *subject, ask),
            Command::Redeem { by } => decide_redeem(campaign, *by, ask.now),
            Command::Cancel { by } => decide_cancel(campaign, *by),
            Command::DecideNext { serial, subject } => Ok(queue::decide_next(campaign, *serial, *subject, ask.now)),
        }
    }

    fn evolve(campaign: &mut Campaign, event: &Event<'_>, at: Timestamp) -> Outcome {
        let items = &mut campaign.items;
        match event {
            Event::Claimed { serial, subject } => {
                items.remaining = items.remaining.saturating_sub(Quantity::ONE);
                items.claims.push(*subject, at);
                Outcome::Claimed { serial: *serial }
            }
            Event::Accepted { serial, subject } => {
                items.remaining = items.remaining.saturating_sub(Quantity::ONE);
                items.claims.accept(*subject, at);
                Outcome::Claimed { serial: *serial }
            }
            Event::Decided { serial, .. } => {
                items.claims.decide_next(at);
                Outcome::Claimed { serial: *serial }
            }
            Event::Redeemed { serial } => {
                items.redeemed = items.redeemed.saturating_add(Quantity::ONE);
                items.claims.redeem(*serial, at);
                Outcome::Redeemed { serial: *serial }
            }
            Event::Cancelled { serial } => {
                items.remaining = items.remaining.saturating_add(Quantity::ONE);
                items.claims.cancel(*serial, at);
                Outcome::Cancelled { serial: *serial }
            }
        }
    }

    fn fits(campaign: &Campaign, event: &Event<'_>) -> bool {
        let claims = &campaign.items.claims;
        match event {
            Event::Claimed { serial, .. } | Event::Accepted { serial, .. } => {
                let waits_or_is_first = matches!(event, Event::Accepted { .. }) || campaign.first_pending().is_none();
                waits_or_is_first && claims.serial_next() == Some(*serial) && Quantity::ZERO < campaign.items.remaining
            }
            Event::Decided { serial, subject } => {
                campaign.first_pending().is_some_and(|claim| (claim.serial, claim.subject) == (*serial, *subject))
            }
            Event::Redeemed { serial } | Event::Cancelled { serial } => {
                claims.get(*serial).is_some_and(|claim| claim.status == ClaimStatus::Live)
            }
        }
    }

    fn figures(campaign: &Campaign, now: Timestamp) -> Figures {
        Figures {
            state: campaign.state_at(now),
            claimed: campaign.claimed().get(),
            remaining: campaign.items.remaining.get(),
            pending: campaign.pending().get(),
            redeemed: campaign.items.redeemed.get(),
        }
    }

    fn view(campaign: &Campaign, outcome: Outcome, now: Timestamp) -> Option<ClaimView> {
        campaign.claim_view(outcome.serial(), now)
    }

    fn entries_count(campaign: &Campaign) -> u64 {
        campaign.items.claims.count() as u64
    }

    /// What is pending is in no table: it is a claim from its decision on.
    fn rows(event: &Event<'_>, at: Timestamp, rows: &mut impl Rows) {
        match event {
            Event::Accepted { .. } => {}
            Event::Claimed { serial, subject } | Event::Decided { serial, subject } => {
                let (serial, subject) = (Cell::Number(u64::from(serial.get())), Cell::Text(subject.as_str()));
                rows.change(&CLAIMS, RowChange::Insert(&[serial, subject, Cell::Time(at), Cell::Text(LIVE), Cell::Null]));
            }
            Event::Redeemed { serial } => end_row(*serial, REDEEMED, at, rows),
            Event::Cancelled { serial } => end_row(*serial, CANCELLED, at, rows),
        }
    }

    fn touched(campaign: &Campaign, event: &Event<'_>, each: &mut dyn FnMut(&[u8])) {
        let serial = match event {
            Event::Claimed { serial, .. }
            | Event::Accepted { serial, .. }
            | Event::Decided { serial, .. }
            | Event::Redeemed { serial }
            | Event::Cancelled { serial } => *serial,
        };
        if let Some(claim) = campaign.items.claims.get(serial) {
            each(&claim_bytes(&claim));
        }
    }

    fn entries(campaign: &Campaign, each: &mut dyn FnMut(&[u8])) {
        campaign.items.claims.iter().for_each(|claim| each(&claim_bytes(&claim)));
    }

    fn check(campaign: &Campaign) -> Result<(), &'static str> {
        let (items, stock) = (&campaign.items, campaign.settings.stock);
        if stock < items.remaining {
            return Err("more remains than the stock");
        }
        if campaign.taken().get() as usize != items.claims.holding_count() {
            return Err("claims that hold a unit and what remains do not add up to the stock");
        }
        if items.claims.holding_count() < items.claims.pending_count() {
            return Err("more claims are pending than hold a unit");
        }
        if campaign.claimed() < items.redeemed {
            return Err("more is redeemed than claimed");
        }
        Ok(())
    }

    fn loaded(campaign: &mut Campaign) -> Result<(), DecodeError> {
        campaign.items.claims.loaded().map_err(DecodeError)
    }

    fn next_due(campaign: &Campaign) -> Option<Timestamp> {
        campaign.first_pending().map(|_| campaign.decides_at())
    }

    fn due(campaign: &Campaign, now: Timestamp) -> Option<Command<'_>> {
        let claim = campaign.first_pending().filter(|_| campaign.decides_at() <= now)?;
        Some(Command::DecideNext { serial: claim.serial, subject: claim.subject })
    }

    fn time_set(campaign: &mut Campaign) {
        campaign.items.decided_before = u32::try_from(campaign.items.claims.decided_count()).unwrap_or(u32::MAX);
    }

    fn due_behind(campaign: &Campaign, ahead: u32, now: Timestamp) -> Option<Command<'_>> {
        if campaign.decidable_count(now) <= ahead {
            return None;
        }
        let first = campaign.first_pending()?.serial.get();
        let claim = campaign.items.claims.get(Serial::new(first.checked_add(ahead)?)?)?;
        Some(Command::DecideNext { serial: claim.serial, subject: claim.subject })
    }

    fn is_pinned(command: &Command<'_>) -> bool {
        matches!(command, Command::Redeem { .. } | Command::Cancel { .. })
    }

    fn pin<'a>(campaign: &Campaign, command: Self::Command<'a>) -> Result<Command<'a>, Rejection> {
        let pinned = |by| match by {
            TargetBy::Subject { subject } => Ok(TargetBy::SubjectSerial { subject, serial: campaign.find(by)?.serial }),
            TargetBy::SubjectSerial { .. } | TargetBy::Code { .. } => Ok(by),
        };
        Ok(match command {
            Command::Redeem { by } => Command::Redeem { by: pinned(by)? },
            Command::Cancel { by } => Command::Cancel { by: pinned(by)? },
            Command::Claim { .. } | Command::DecideNext { .. } => command,
        })
    }

    fn units(campaign: &Campaign) -> Option<Units> {
        Some(Units { remaining: campaign.items.remaining.get().into(), stock: campaign.settings.stock.get().into() })
    }

    fn gate<'a>(campaign: &Campaign, command: &Self::Command<'a>) -> Option<GateView<'a>> {
        let Command::Claim { subject } = command else { return None };
        let only_once = (campaign.settings.per_subject_max == 1).then_some(subject.as_str());
        Some(GateView { units: Self::units(campaign)?, only_once })
    }

    fn unmarked<'v>(outcome: &Outcome, view: &'v ClaimView) -> Option<&'v str> {
        matches!(outcome, Outcome::Cancelled { .. }).then_some(view.subject.as_str())
    }

    fn adds_entry(_campaign: &Campaign, command: &Command<'_>) -> bool {
        matches!(command, Command::Claim { .. })
    }
}

impl Items for CampaignItems {
    type Frozen = FrozenClaims;

    fn freeze(&self) -> FrozenClaims {
        FrozenClaims {
            remaining: self.remaining,
            redeemed: self.redeemed,
            decided_before: self.decided_before,
            pending_count: self.claims.pending_count(),
            claims_count: self.claims.count(),
            blocks: self.claims.blocks(),
        }
    }

    fn section(frozen: &FrozenClaims, index: usize) -> Option<Vec<u8>> {
        let Some(block) = index.checked_sub(1) else { return Some(frozen.head()) };
        let mut out = Vec::new();
        crate::claims::bytes::encode(frozen.blocks.get(block)?, &mut out);
        Some(out)
    }

    fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError> {
        if index == 0 {
            return self.load_head(section);
        }
        self.claims.load_block(section).map_err(DecodeError)
    }
}

/// A campaign's claims at an instant, in blocks that are shared with the state.
#[derive(Debug)]
pub struct FrozenClaims {
    remaining: Quantity,
    redeemed: Quantity,
    decided_before: u32,
    pending_count: usize,
    claims_count: usize,
    blocks: Vec<std::sync::Arc<crate::claims::Block>>,
}

impl FrozenClaims {
    fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u32(&mut out, self.remaining.get());
        put_u32(&mut out, self.redeemed.get());
        wire::bytes::put_u64(&mut out, self.claims_count as u64);
        wire::bytes::put_u64(&mut out, self.pending_count as u64);
        put_u32(&mut out, self.decided_before);
        out
    }
}

impl CampaignItems {
    fn load_head(&mut self, section: &[u8]) -> Result<(), DecodeError> {
        let mut from = In { body: Reader::new(section), private: None };
        self.remaining = Quantity::take(&mut from)?;
        self.redeemed = Quantity::take(&mut from)?;
        let (claims_count, pending_count) = (u64::take(&mut from)?, u64::take(&mut from)?);
        self.decided_before = u32::take(&mut from)?;
        from.end()?;
        self.claims.expect(claims_count, pending_count).map_err(DecodeError)
    }
}

/// A claim as canonical bytes: what a digest of the state is made of.
#[must_use]
pub fn claim_bytes(claim: &Claim<'_>) -> Vec<u8> {
    let (status, changed_at): (u8, _) = match claim.status {
        ClaimStatus::Live => (0, Timestamp::ZERO),
        ClaimStatus::Redeemed { redeemed_at } => (1, redeemed_at),
        ClaimStatus::Cancelled { cancelled_at } => (2, cancelled_at),
        ClaimStatus::Pending => (3, Timestamp::ZERO),
    };
    let mut bytes = Vec::with_capacity(64);
    let mut out = Out { body: &mut bytes, private: None };
    claim.serial.put(&mut out);
    claim.claimed_at.put(&mut out);
    changed_at.put(&mut out);
    status.put(&mut out);
    claim.subject.put(&mut out);
    bytes
}

/// A claim from the cells of its row in [`CLAIMS`]; `None` if no claim has such a row.
#[must_use]
pub fn claim_of_row<'a>(cells: &[Cell<'a>]) -> Option<Claim<'a>> {
    let [Cell::Number(serial), Cell::Text(subject), Cell::Time(claimed_at), Cell::Text(status), changed_at] = *cells else { return None };
    let status = match (status, changed_at) {
        (LIVE, Cell::Null) => ClaimStatus::Live,
        (REDEEMED, Cell::Time(redeemed_at)) => ClaimStatus::Redeemed { redeemed_at },
        (CANCELLED, Cell::Time(cancelled_at)) => ClaimStatus::Cancelled { cancelled_at },
        _ => return None,
    };
    let (serial, subject) = (Serial::new(u32::try_from(serial).ok()?)?, SubjectId::new(subject).ok()?);
    Some(Claim { serial, subject, claimed_at, status })
}

fn end_row(serial: Serial, status: &str, at: Timestamp, rows: &mut impl Rows) {
    rows.change(
        &CLAIMS,
        RowChange::Update {
            key: &[Cell::Number(u64::from(serial.get()))],
            cells: &[(STATUS, Cell::Text(status)), (CHANGED_AT, Cell::Time(at))],
            was: Some((STATUS, Cell::Text(LIVE))),
        },
    );
}

// --- Decide ---------------------------------------------------------------------------------

fn decide_claim<'a>(campaign: &Campaign, subject: SubjectId<'a>, ask: Ask) -> Result<Decided<'a, Coupon>, Rejection> {
    let (settings, claims, now) = (&campaign.settings, &campaign.items.claims, ask.now);
    if 1 < settings.per_subject_max && !ask.has_request_key {
        return Err(Rejection::RequestKeyRequired);
    }
    // Before the window: a retry stays free after closing.
    if let Some(serial) = campaign.only_claim_of(subject) {
        return Ok(Decided::Repeat(Outcome::Claimed { serial }));
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
    if 1 < settings.per_subject_max && settings.per_subject_max as usize <= claims.holding(subject).count() {
        return Err(Rejection::SubjectLimitReached { per_subject_max: settings.per_subject_max });
    }
    if campaign.items.remaining == Quantity::ZERO {
        return Err(Rejection::SoldOut);
    }
    // Serials are never used again, so that they can end before the stock does.
    let Some(serial) = claims.serial_next() else { return Err(Rejection::SoldOut) };

    if !campaign.queues_at(now) {
        return Ok(Decided::Event(Event::Claimed { serial, subject }));
    }
    if settings.queue_max <= campaign.pending_count() {
        return Err(Rejection::QueueFull { queue_max: settings.queue_max });
    }

    // From here the claim succeeds, if later.
    Ok(Decided::Event(Event::Accepted { serial, subject }))
}

fn decide_redeem<'a>(campaign: &Campaign, by: TargetBy<'_>, now: Timestamp) -> Result<Decided<'a, Coupon>, Rejection> {
    let claim = campaign.find(by)?;
    check_holds(&claim)?;
    if let Some(redeem_until) = campaign.settings.redeem_until.filter(|until| *until <= now) {
        return Err(Rejection::Expired { redeem_until });
    }
    Ok(Decided::Event(Event::Redeemed { serial: claim.serial }))
}

fn decide_cancel<'a>(campaign: &Campaign, by: TargetBy<'_>) -> Result<Decided<'a, Coupon>, Rejection> {
    let claim = campaign.find(by)?;
    check_holds(&claim)?;
    Ok(Decided::Event(Event::Cancelled { serial: claim.serial }))
}

// --- Helpers --------------------------------------------------------------------------------

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
