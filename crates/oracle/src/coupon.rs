//! Coupons: a campaign gives out a limited stock, first come, first served, at once or through a
//! queue. The reasons against a claim stand in a row, in the order in which they count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::Novelty;
use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{Precondition, Settings, TargetBy};
use domain::types::{Serial, SubjectId, Timestamp};

use crate::{Detail, No, Ruling, check_condition, refuse_if};

const NOT_FOUND: &str = "campaign_not_found";
const EXISTS: &str = "campaign_exists";

/// What can be asked of a campaign.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Create it, or give it these settings.
    Put {
        /// All of its settings.
        settings: Settings,
        /// Under which condition.
        condition: Precondition,
        /// The number of the code key that a new campaign uses.
        code_key: u32,
    },
    /// Change some settings.
    Patch(&'a domain::coupon::Patch<'a>),
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was created, or its settings were written.
    Written {
        /// Whether it is new.
        created: bool,
        /// As it stood then.
        view: Box<View>,
    },
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
    /// The campaign exists.
    Created {
        /// Its name.
        name: String,
        /// Its settings.
        settings: Settings,
        /// The number of its code key.
        code_key: u32,
    },
    /// It has these settings.
    Changed(Settings),
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

/// A campaign without its claims, at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// Its settings.
    pub settings: Settings,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// The number of its code key.
    pub code_key: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// Units that a claim has, decided or pending.
    pub taken: u32,
    /// Claims that are pending.
    pub pending: u32,
    /// Claims that were used.
    pub redeemed: u32,
    /// The instant.
    pub at: Timestamp,
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
    /// Its place in the order of creation.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its settings.
    pub settings: Settings,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// The number of its code key.
    pub code_key: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its settings were last written.
    pub changed_at: Timestamp,
    claims: BTreeMap<Serial, Claim>,
    /// Whose claim holds which unit.
    held: BTreeSet<(Arc<str>, Serial)>,
    pending: BTreeSet<Serial>,
    redeemed: BTreeSet<Serial>,
    /// How many were decided at each instant.
    decisions: BTreeMap<Timestamp, u32>,
}

/// What must be answered where there is no such campaign.
pub(crate) fn decide_new(name: &str, ask: &Ask<'_>, now: Timestamp) -> Result<Ruling<Outcome, Effect>, No> {
    let Ask::Put { settings, condition, code_key } = *ask else { return Err(No::new(NOT_FOUND)) };
    check_condition(None, condition, (NOT_FOUND, EXISTS))?;
    check_times(&settings)?;
    let view = View { settings, version: 1, code_key, created_at: now, taken: 0, pending: 0, redeemed: 0, at: now };
    let outcome = Outcome::Written { created: true, view: Box::new(view) };
    Ok(Ruling::effect(outcome, Effect::Created { name: name.to_owned(), settings, code_key }))
}

fn check_times(settings: &Settings) -> Result<(), No> {
    let is_too_early = |time: Option<Timestamp>| settings.opens_at.zip(time).is_some_and(|(opens_at, time)| time <= opens_at);
    refuse_if(is_too_early(settings.closes_at), || No::new("closes_before_opens"))?;
    refuse_if(is_too_early(settings.redeem_until), || No::new("redeem_until_before_opens"))
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

impl Campaign {
    pub(crate) fn new(number: u32, name: &str, settings: Settings, code_key: u32, at: Timestamp) -> Self {
        Self {
            number,
            name: name.into(),
            settings,
            version: 1,
            code_key,
            created_at: at,
            changed_at: at,
            claims: BTreeMap::new(),
            held: BTreeSet::new(),
            pending: BTreeSet::new(),
            redeemed: BTreeSet::new(),
            decisions: BTreeMap::new(),
        }
    }

    /// What must be answered at `now`.
    pub(crate) fn decide(&self, ask: &Ask<'_>, has_key: bool, now: Timestamp) -> Result<Ruling<Outcome, Effect>, No> {
        match *ask {
            Ask::Put { settings, condition, .. } => self.decide_settings(settings, condition, now),
            Ask::Patch(patch) => self.decide_settings(crate::adapter::patched(self.settings, patch), patch.precondition, now),
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

    fn decide_settings(&self, settings: Settings, condition: Precondition, now: Timestamp) -> Result<Ruling<Outcome, Effect>, No> {
        let (taken, limit) = (self.taken(), self.settings.per_subject_max);
        check_condition(Some(self.version), condition, (NOT_FOUND, EXISTS))?;
        check_times(&settings)?;
        refuse_if(settings.stock.get() < taken, || number("stock_below_claimed", "claimed", taken))?;
        let is_lowered = settings.per_subject_max < limit && 0 < taken;
        refuse_if(is_lowered, || number("per_subject_max_lowered", "per_subject_max", limit))?;
        let written = |view| Outcome::Written { created: false, view: Box::new(view) };
        if settings == self.settings {
            return Ok(Ruling::same(written(self.view(now)), Novelty::Fresh));
        }
        let view = View { settings, version: self.version + 1, ..self.view(now) };
        Ok(Ruling::effect(written(view), Effect::Changed(settings)))
    }

    fn decide_claim(&self, subject: SubjectId<'_>, has_key: bool, now: Timestamp) -> Result<Ruling<Outcome, Effect>, No> {
        let (settings, own) = (&self.settings, self.held_by(subject));
        let (limit, queue) = (settings.per_subject_max, settings.queue);
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
        refuse_if(waits && queue.queue_max <= count(self.pending.len()), || number("queue_full", "queue_max", queue.queue_max))?;

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
        let queue = self.settings.queue;
        let (Mode::Queued, Some(pace)) = (queue.mode, queue.decisions_per_second_max) else { return true };
        let decided_within = |millis: u64| {
            let latest = self.decisions.range(..=now).rev();
            latest.take_while(|(at, _)| now.millis() - at.millis() < millis).map(|(_, count)| count).sum::<u32>()
        };
        let parts = pace.min(10);
        decided_within(1_000) < pace && decided_within(u64::from(1_000 / parts)) < pace.div_ceil(parts)
    }

    /// The question that decides the next pending claim, if the pace allows it.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Ask<'_>> {
        let first = self.pending.first().filter(|_| self.has_room(now))?;
        Some(Ask::DecideNext(*first, self.claims.get(first)?.subject()))
    }

    /// The claim that is meant, whatever became of it.
    ///
    /// # Errors
    /// `code_not_found`, `claim_not_found`, `claim_pending` or `claim_ambiguous`.
    pub fn find(&self, by: TargetBy<'_>) -> Result<Serial, No> {
        match by {
            TargetBy::Code(serial) => {
                // Nobody has the code of a pending claim.
                let is_known = self.claims.contains_key(&serial) && !self.pending.contains(&serial);
                refuse_if(!is_known, || No::new("code_not_found")).map(|()| serial)
            }
            TargetBy::SubjectSerial(subject, serial) => {
                let is_theirs = self.claims.get(&serial).is_some_and(|claim| claim.subject() == subject);
                refuse_if(!is_theirs, || No::new("claim_not_found"))?;
                refuse_if(self.pending.contains(&serial), || No::new("claim_pending")).map(|()| serial)
            }
            TargetBy::Subject(subject) => {
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

    /// Takes an effect in, whether the rules allow it or not.
    pub(crate) fn apply(&mut self, effect: &Effect, at: Timestamp) {
        match effect {
            Effect::Created { .. } => {}
            Effect::Changed(settings) => {
                self.settings = *settings;
                self.version += 1;
                self.changed_at = at;
            }
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

    /// The campaign as it stands.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> View {
        View {
            settings: self.settings,
            version: self.version,
            code_key: self.code_key,
            created_at: self.created_at,
            taken: self.taken(),
            pending: self.pending(),
            redeemed: count(self.redeemed.len()),
            at: now,
        }
    }

    /// What the claims alone say of the promises: the broken ones.
    pub(crate) fn check(&self) -> Vec<(&'static str, String)> {
        let (name, mut broken) = (&self.name, Vec::new());
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
}

impl View {
    /// Units that nobody has.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.settings.stock.get().saturating_sub(self.taken)
    }
}

impl Effect {
    /// The question behind it; `by` names the claim of a serial.
    pub(crate) fn asked_for<'a>(&'a self, by: impl FnOnce(Serial) -> TargetBy<'a>) -> Ask<'a> {
        let subject = |text: &'a str| SubjectId::new(text).unwrap_or_else(|error| panic!("the subject {text:?} of a record {error}"));
        match self {
            Self::Created { settings, code_key, .. } => {
                Ask::Put { settings: *settings, condition: Precondition::IsNew, code_key: *code_key }
            }
            Self::Changed(settings) => Ask::Put { settings: *settings, condition: Precondition::Exists, code_key: 0 },
            Self::Accepted(_, whose) | Self::Claimed(_, whose) => Ask::Claim(subject(whose)),
            Self::Decided(serial, whose) => Ask::DecideNext(*serial, subject(whose)),
            Self::Redeemed(serial) => Ask::Redeem(by(*serial)),
            Self::Cancelled(serial) => Ask::Cancel(by(*serial)),
        }
    }
}
