//! Coupons: a campaign gives out a limited stock, first come, first served, at once or through a
//! queue. The reasons against a claim stand in a row, in the order in which they count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::Novelty;
use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{Coupon, Settings, TargetBy};
use domain::fields::Value;
use domain::types::{Serial, SubjectId, Timestamp};

use crate::words::refuse_if;
use crate::workload::{Rules, RulingOf};
use crate::{Detail, Head, No, Ruling};

/// What can be asked of a campaign.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Take a unit for this subject.
    Claim(SubjectId<'a>),
    /// Use a claim.
    Redeem(TargetBy<'a>),
    /// Give a claim back.
    Cancel(TargetBy<'a>),
    /// Decide the claim that has been pending longest, which must be this one of this subject.
    DecideNext(Serial, SubjectId<'a>),
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A unit was taken by a claim with this serial, decided or pending.
    Claimed(Serial),
    /// A claim was used.
    Redeemed(Serial),
    /// A claim was given back.
    Cancelled(Serial),
    /// Nothing; see [`crate::Outcome::Nothing`].
    Nothing(&'static str),
}

/// What changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A claim is pending.
    Accepted(Serial, Arc<str>),
    /// A claim is made and decided.
    Claimed(Serial, Arc<str>),
    /// A pending claim is decided.
    Decided(Serial, Arc<str>),
    /// A claim is used.
    Redeemed(Serial),
    /// A claim is given back.
    Cancelled(Serial),
}

/// One claim.
#[derive(Clone, Debug)]
pub struct Claim {
    subject: Arc<str>,
    /// When it was decided, or, while it is pending, accepted.
    pub claimed_at: Timestamp,
    /// What became of it.
    pub status: ClaimStatus,
}

/// A campaign with everything that became of it.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// What every aggregate has.
    pub head: Head,
    /// Its settings.
    pub settings: Settings,
    claims: BTreeMap<Serial, Claim>,
    /// Whose claim holds which unit.
    held: BTreeSet<(Arc<str>, Serial)>,
    pending: BTreeSet<Serial>,
    redeemed: BTreeSet<Serial>,
    /// How many were decided at each instant.
    decisions: BTreeMap<Timestamp, u32>,
}

fn time(code: &'static str, name: &'static str, time: Timestamp) -> No {
    No::with(code, name, Detail::Time(time))
}

fn number(code: &'static str, name: &'static str, number: u32) -> No {
    No::with(code, name, Detail::Number(number.into()))
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

impl Claim {
    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> SubjectId<'_> {
        // Only a valid subject comes in.
        SubjectId::new(&self.subject).unwrap_or_else(|error| panic!("the subject {:?} of a claim {error}", self.subject))
    }
}

impl Rules for Campaign {
    type Of = Coupon;
    type Ask<'a> = Ask<'a>;
    type Outcome = Outcome;
    type Effect = Effect;
    const IS_REMOVABLE: bool = false;

    fn new(head: Head, settings: Settings) -> Self {
        Self {
            head,
            settings,
            claims: BTreeMap::new(),
            held: BTreeSet::new(),
            pending: BTreeSet::new(),
            redeemed: BTreeSet::new(),
            decisions: BTreeMap::new(),
        }
    }

    fn check_settings(settings: &Settings) -> Result<(), No> {
        let is_too_early = |time: Option<Timestamp>| settings.opens_at.zip(time).is_some_and(|(opens_at, time)| time <= opens_at);
        refuse_if(is_too_early(settings.closes_at), || No::new("closes_before_opens"))?;
        refuse_if(is_too_early(settings.redeem_until), || No::new("redeem_until_before_opens"))
    }

    fn kept(&self, settings: Settings) -> Settings {
        Settings { code_key: self.settings.code_key, ..settings }
    }

    fn decide(&self, ask: &Ask<'_>, has_key: bool, now: Timestamp) -> Result<RulingOf<Self>, No> {
        match *ask {
            Ask::Claim(subject) => self.decide_claim(subject, has_key, now),
            Ask::Redeem(by) => {
                let serial = self.find_live(by)?;
                let over = self.settings.redeem_until.filter(|until| *until <= now);
                over.map_or(Ok(()), |until| Err(time("expired", "redeem_until", until)))?;
                Ok(Ruling::effect(Outcome::Redeemed(serial), Effect::Redeemed(serial)))
            }
            Ask::Cancel(by) => {
                let serial = self.find_live(by)?;
                Ok(Ruling::effect(Outcome::Cancelled(serial), Effect::Cancelled(serial)))
            }
            Ask::DecideNext(serial, subject) => {
                let next = self.pending.first().filter(|first| **first == serial).and_then(|first| self.claims.get(first));
                if next.is_none_or(|claim| claim.subject() != subject) {
                    return Ok(Ruling::same(Outcome::Nothing("queue_order"), Novelty::Fresh));
                }
                if !self.has_room(now) {
                    return Ok(Ruling::same(Outcome::Nothing("pace"), Novelty::Fresh));
                }
                Ok(Ruling::effect(Outcome::Claimed(serial), Effect::Decided(serial, subject.as_str().into())))
            }
        }
    }

    fn check_change(&self, settings: &Settings) -> Result<(), No> {
        let (taken, limit) = (self.taken(), self.settings.per_subject_max);
        refuse_if(settings.stock.get() < taken, || number("stock_below_claimed", "claimed", taken))?;
        let is_lowered = settings.per_subject_max < limit && 0 < taken;
        refuse_if(is_lowered, || number("per_subject_max_lowered", "per_subject_max", limit))
    }

    fn figures(&self, settings: &Settings, now: Timestamp) -> Vec<(&'static str, Value)> {
        let (taken, pending) = (self.taken(), self.pending());
        let remaining = settings.stock.get().saturating_sub(taken);
        let number = |name, number: u32| (name, Value::Number(number.into()));
        vec![
            ("state", Value::Word(state(settings, remaining, now))),
            number("claimed", taken - pending),
            number("remaining", remaining),
            number("pending", pending),
            number("redeemed", self.redeemed()),
        ]
    }

    fn nothing(outcome: &Outcome) -> Option<&'static str> {
        if let Outcome::Nothing(promise) = outcome { Some(promise) } else { None }
    }

    fn apply(&mut self, effect: &Effect, at: Timestamp) {
        match effect {
            Effect::Accepted(serial, subject) => self.insert(*serial, subject, ClaimStatus::Pending, at),
            Effect::Claimed(serial, subject) => {
                self.insert(*serial, subject, ClaimStatus::Live, at);
                *self.decisions.entry(at).or_default() += 1;
            }
            Effect::Decided(serial, _) => {
                if self.pending.remove(serial)
                    && let Some(claim) = self.claims.get_mut(serial)
                {
                    (claim.status, claim.claimed_at) = (ClaimStatus::Live, at);
                    *self.decisions.entry(at).or_default() += 1;
                }
            }
            Effect::Redeemed(serial) => {
                if self.end(*serial, ClaimStatus::Redeemed { redeemed_at: at }).is_some() {
                    self.redeemed.insert(*serial);
                }
            }
            Effect::Cancelled(serial) => {
                if let Some(subject) = self.end(*serial, ClaimStatus::Cancelled { cancelled_at: at }) {
                    self.held.remove(&(subject, *serial));
                }
            }
        }
    }

    /// The pace looks at no decision that was made before.
    fn time_set(&mut self) {
        self.decisions.clear();
    }

    fn asked_for<'a>(it: Option<&'a Self>, effect: &'a Effect) -> Ask<'a> {
        let subject = |text: &'a str| SubjectId::new(text).unwrap_or_else(|error| panic!("the subject {text:?} of a record {error}"));
        let by = |serial: Serial| {
            let claim = it.and_then(|campaign| campaign.claim(serial));
            claim.map_or(TargetBy::Code { serial }, |claim| TargetBy::SubjectSerial { subject: claim.subject(), serial })
        };
        match effect {
            Effect::Accepted(_, whose) | Effect::Claimed(_, whose) => Ask::Claim(subject(whose)),
            Effect::Decided(serial, whose) => Ask::DecideNext(*serial, subject(whose)),
            Effect::Redeemed(serial) => Ask::Redeem(by(*serial)),
            Effect::Cancelled(serial) => Ask::Cancel(by(*serial)),
        }
    }

    /// The question that decides the next pending claim, if the pace allows it.
    fn due(&self, now: Timestamp) -> Option<Ask<'_>> {
        let first = self.pending.first().filter(|_| self.has_room(now))?;
        Some(Ask::DecideNext(*first, self.claims.get(first)?.subject()))
    }

    /// What the claims alone say of the promises: the broken ones.
    fn check(&self) -> Vec<(&'static str, String)> {
        let (name, mut broken) = (&self.head.name, Vec::new());
        if let Some((place, (serial, _))) = (1..).zip(&self.claims).find(|(place, (serial, _))| *place != serial.get()) {
            broken.push(("serial_gap", format!("campaign {name}: claim {} is the {place}. claim", serial.get())));
        }
        let holding = self.claims.values().filter(|claim| !matches!(claim.status, ClaimStatus::Cancelled { .. }));
        let mut holders: Vec<&str> = holding.map(|claim| &*claim.subject).collect();
        let stock = self.settings.stock.get();
        if stock < count(holders.len()) {
            broken.push(("over_issued", format!("campaign {name}: {} units are held of a stock of {stock}", holders.len())));
        }
        holders.sort_unstable();
        let limit = self.settings.per_subject_max;
        for run in holders.chunk_by(|one, other| one == other).filter(|run| limit < count(run.len())) {
            let subject = run.first().copied().unwrap_or_default();
            broken.push(("subject_limit", format!("campaign {name}: {subject} holds {}, and may hold {limit}", run.len())));
        }
        broken
    }

    fn broken_by(effect: &Effect, expected: &Effect) -> &'static str {
        match (effect, expected) {
            (Effect::Accepted(serial, _) | Effect::Claimed(serial, _), Effect::Accepted(other, _) | Effect::Claimed(other, _))
                if serial != other =>
            {
                "serial_gap"
            }
            // Decided without waiting, or made to wait without a reason.
            _ => "pace",
        }
    }

    fn repeated() -> (&'static str, &'static str) {
        ("subject_limit", "and the subject had its claim before")
    }
}

impl Campaign {
    fn decide_claim(&self, subject: SubjectId<'_>, has_key: bool, now: Timestamp) -> Result<Ruling<Outcome, Effect>, No> {
        let (settings, own) = (&self.settings, self.held_by(subject));
        let (limit, queue_max) = (settings.per_subject_max, settings.queue_max);
        refuse_if(1 < limit && !has_key, || No::new("request_key_required"))?;
        if let (1, Some(serial)) = (limit, own.first()) {
            return Ok(Ruling::same(Outcome::Claimed(*serial), Novelty::Repeated));
        }
        let early = settings.opens_at.filter(|opens_at| now < *opens_at);
        early.map_or(Ok(()), |opens_at| Err(time("not_open", "opens_at", opens_at)))?;
        let late = settings.closes_at.filter(|closes_at| *closes_at <= now);
        late.map_or(Ok(()), |closed_at| Err(time("closed", "closed_at", closed_at)))?;
        refuse_if(settings.paused, || No::new("paused"))?;
        refuse_if(limit <= count(own.len()), || number("subject_limit_reached", "per_subject_max", limit))?;
        refuse_if(settings.stock.get() <= self.taken(), || No::new("sold_out"))?;
        let waits = !self.pending.is_empty() || !self.has_room(now);
        refuse_if(waits && queue_max <= count(self.pending.len()), || number("queue_full", "queue_max", queue_max))?;

        let last = self.claims.last_key_value().map_or(0, |(serial, _)| serial.get());
        // More claims than a `u32` counts are not made: the stock is a billion.
        let serial = last.checked_add(1).and_then(Serial::new).ok_or_else(|| No::new("sold_out"))?;
        let subject = subject.as_str().into();
        let effect = if waits { Effect::Accepted(serial, subject) } else { Effect::Claimed(serial, subject) };
        Ok(Ruling::effect(Outcome::Claimed(serial), effect))
    }

    /// Whether one more may be decided now: no more than the pace in any second, and no more than a
    /// tenth of it, rounded up, in any tenth of a second; of a pace below ten, one in each part.
    fn has_room(&self, now: Timestamp) -> bool {
        let (Mode::Queued, Some(pace)) = (self.settings.mode, self.settings.decisions_per_second_max) else { return true };
        let decided_within = |millis: u64| {
            let latest = self.decisions.range(..=now).rev();
            latest.take_while(|(at, _)| now.millis() - at.millis() < millis).map(|(_, count)| count).sum::<u32>()
        };
        let parts = pace.min(10);
        decided_within(1_000) < pace && decided_within(u64::from(1_000 / parts)) < pace.div_ceil(parts)
    }

    /// The claim that is meant, whatever became of it.
    ///
    /// # Errors
    /// `code_not_found`, `claim_not_found`, `claim_pending` or `claim_ambiguous`.
    pub fn find(&self, by: TargetBy<'_>) -> Result<Serial, No> {
        match by {
            TargetBy::Code { serial } => {
                // Nobody has the code of a pending claim.
                let is_known = self.claims.contains_key(&serial) && !self.pending.contains(&serial);
                refuse_if(!is_known, || No::new("code_not_found")).map(|()| serial)
            }
            TargetBy::SubjectSerial { subject, serial } => {
                let is_theirs = self.claims.get(&serial).is_some_and(|claim| claim.subject() == subject);
                refuse_if(!is_theirs, || No::new("claim_not_found"))?;
                refuse_if(self.pending.contains(&serial), || No::new("claim_pending")).map(|()| serial)
            }
            TargetBy::Subject { subject } => {
                let own = self.held_by(subject);
                let decided: Vec<Serial> = own.iter().copied().filter(|serial| !self.pending.contains(serial)).collect();
                match decided.as_slice() {
                    [] if own.is_empty() => Err(No::new("claim_not_found")),
                    [] => Err(No::new("claim_pending")),
                    [serial] => Ok(*serial),
                    several => {
                        let serials = several.iter().map(|serial| serial.get().into()).collect();
                        Err(No::with("claim_ambiguous", "serials", Detail::Numbers(serials)))
                    }
                }
            }
        }
    }

    fn find_live(&self, by: TargetBy<'_>) -> Result<Serial, No> {
        let serial = self.find(by)?;
        match self.claims.get(&serial).map(|claim| claim.status) {
            Some(ClaimStatus::Live) => Ok(serial),
            Some(ClaimStatus::Redeemed { redeemed_at }) => Err(time("already_redeemed", "redeemed_at", redeemed_at)),
            Some(ClaimStatus::Cancelled { cancelled_at }) => Err(time("cancelled", "cancelled_at", cancelled_at)),
            Some(ClaimStatus::Pending) | None => Err(No::new("claim_pending")),
        }
    }

    /// Makes a claim, unless there is one with this serial or a higher one.
    fn insert(&mut self, serial: Serial, subject: &Arc<str>, status: ClaimStatus, at: Timestamp) {
        if self.claims.last_key_value().is_some_and(|(last, _)| serial <= *last) {
            return;
        }
        self.claims.insert(serial, Claim { subject: Arc::clone(subject), claimed_at: at, status });
        self.held.insert((Arc::clone(subject), serial));
        if status == ClaimStatus::Pending {
            self.pending.insert(serial);
        }
    }

    /// Ends a live claim, and says whose it was.
    fn end(&mut self, serial: Serial, status: ClaimStatus) -> Option<Arc<str>> {
        let claim = self.claims.get_mut(&serial).filter(|claim| claim.status == ClaimStatus::Live)?;
        claim.status = status;
        Some(Arc::clone(&claim.subject))
    }

    /// The claim of this serial.
    #[must_use]
    pub fn claim(&self, serial: Serial) -> Option<&Claim> {
        self.claims.get(&serial)
    }

    /// All claims, by rising serial; the pending ones are the last.
    pub fn claims(&self) -> impl ExactSizeIterator<Item = (Serial, &Claim)> {
        self.claims.iter().map(|(serial, claim)| (*serial, claim))
    }

    /// The serials that a subject holds or waits for, rising.
    #[must_use]
    pub fn held_by(&self, subject: SubjectId<'_>) -> Vec<Serial> {
        let subject: Arc<str> = subject.as_str().into();
        let (Some(first), Some(last)) = (Serial::new(1), Serial::new(u32::MAX)) else { return Vec::new() };
        let own = self.held.range((Arc::clone(&subject), first)..=(subject, last));
        own.map(|(_, serial)| *serial).collect()
    }

    /// Units that a claim has, decided or pending.
    #[must_use]
    pub fn taken(&self) -> u32 {
        count(self.held.len())
    }

    /// Claims that are pending.
    #[must_use]
    pub fn pending(&self) -> u32 {
        count(self.pending.len())
    }

    /// The place of a claim in the queue, 1 for the next; `None` if the claim is not pending.
    #[must_use]
    pub fn place(&self, serial: Serial) -> Option<u32> {
        self.pending.contains(&serial).then(|| count(self.pending.range(..=serial).count()))
    }

    /// Units that nobody has.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.settings.stock.get().saturating_sub(self.taken())
    }

    /// Claims that were used.
    #[must_use]
    pub fn redeemed(&self) -> u32 {
        count(self.redeemed.len())
    }
}

/// Where a campaign stands, in a word.
fn state(settings: &Settings, remaining: u32, now: Timestamp) -> &'static str {
    match settings {
        Settings { closes_at: Some(closes_at), .. } if *closes_at <= now => "closed",
        Settings { opens_at: Some(opens_at), .. } if now < *opens_at => "scheduled",
        Settings { paused: true, .. } => "paused",
        _ if remaining == 0 => "sold_out",
        _ => "open",
    }
}
