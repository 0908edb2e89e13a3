//! One campaign, and what becomes of what is asked of it: the rules of coupons, told a second time.
//! Each question has its reasons to say no in a list, in the order in which they count.

use std::collections::BTreeSet;

use domain::claims::ClaimStatus;
use domain::coupon::queue::{DecideNext, Mode};
use domain::coupon::{CampaignNumber, Command, Patch, Precondition, Put, Rejection, Settings, TargetBy};
use domain::request::{CampaignView, Outcome};
use domain::state::{Answer, Novelty};
use domain::types::{Quantity, Serial, Timestamp};

use crate::verify::findings::Findings;
use crate::verify::names::Names;
use crate::verify::rules::{Claim, Ended};

/// What a question that was not refused came to.
pub(super) enum Came {
    /// Something is different now.
    To(Outcome),
    /// It was so already.
    Already(Answer),
    /// It was not its turn.
    Nothing,
}

/// When something is asked, and whether the caller can be told from its own repeat.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Timestamp,
    pub(super) has_key: bool,
}

/// A campaign, as its commands lead to it.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) number: CampaignNumber,
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) version: u64,
    pub(super) code_key: u32,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    /// Serial 1 is the first; the last ones may be pending.
    pub(super) claims: Vec<Claim>,
    decided_count: usize,
    /// Subject and serial of each claim that holds a unit, redeemed ones included.
    held: BTreeSet<(u32, u32)>,
    redeemed_count: u32,
}

/// What becomes of a question about a campaign that does not exist.
pub(super) fn create(command: &Command<'_>, number: CampaignNumber, at: Timestamp) -> Result<Campaign, Rejection> {
    let Command::Put(put) = command else { return Err(Rejection::CampaignNotFound) };
    let is_for_none = matches!(put.precondition, Precondition::Always | Precondition::IsNew);
    none_of([(!is_for_none).then_some(Rejection::CampaignNotFound)])?;
    none_of(impossible_times(&put.settings))?;
    Ok(Campaign {
        number,
        name: put.campaign.as_str().to_owned(),
        settings: put.settings,
        version: 1,
        code_key: put.code_key,
        created_at: at,
        changed_at: at,
        claims: Vec::new(),
        decided_count: 0,
        held: BTreeSet::new(),
        redeemed_count: 0,
    })
}

impl Campaign {
    /// Decides, and makes it so.
    pub(super) fn ask(&mut self, command: &Command<'_>, subjects: &mut Names, asked: Asked) -> Result<Came, Rejection> {
        match command {
            Command::Put(Put { settings, precondition, .. }) => self.write(*settings, *precondition, asked.at),
            Command::Patch(patch) => self.write(self.patched(patch), patch.precondition, asked.at),
            Command::Claim(claim) => self.claim(claim.subject.as_str(), subjects, asked),
            Command::Redeem(target) => {
                let serial = self.named(target.by, subjects)?;
                let over = self.settings.redeem_until.filter(|until| *until <= asked.at);
                none_of([self.ended(serial), over.map(|redeem_until| Rejection::Expired { redeem_until })])?;
                self.end(serial, Ended::Redeemed, asked.at);
                Ok(Came::To(Outcome::Redeemed(self.number, serial)))
            }
            Command::Cancel(target) => {
                let serial = self.named(target.by, subjects)?;
                none_of([self.ended(serial)])?;
                self.end(serial, Ended::Cancelled, asked.at);
                Ok(Came::To(Outcome::Cancelled(self.number, serial)))
            }
            Command::DecideNext(next) => Ok(self.decide_next(next, subjects, asked.at)),
        }
    }

    /// The campaign without its claims, as it stands at `at`.
    pub(super) fn view(&self, at: Timestamp) -> CampaignView {
        CampaignView {
            number: self.number,
            settings: self.settings,
            version: self.version,
            code_key: self.code_key,
            created_at: self.created_at,
            remaining: self.settings.stock.saturating_sub(self.held_count()),
            pending: u32::try_from(self.pending_count()).ok().and_then(Quantity::new).unwrap_or(Quantity::MAX),
            redeemed: Quantity::new(self.redeemed_count).unwrap_or(Quantity::MAX),
            at,
        }
    }

    /// The serial of the claim that is meant, whatever became of it.
    pub(super) fn named(&self, by: TargetBy<'_>, subjects: &Names) -> Result<Serial, Rejection> {
        match by {
            TargetBy::Code(serial) => self.decided().get(index_of(serial)).map(|_| serial).ok_or(Rejection::CodeNotFound),
            TargetBy::SubjectSerial(subject, serial) => {
                let claim = self.claim_at(serial).filter(|claim| subjects.text(claim.subject) == subject.as_str());
                let serial = claim.map(|_| serial).ok_or(Rejection::ClaimNotFound)?;
                if self.is_pending(serial) { Err(Rejection::ClaimPending) } else { Ok(serial) }
            }
            TargetBy::Subject(subject) => {
                let own = self.serials_of(subjects.known(subject.as_str()));
                match *own.iter().copied().filter(|serial| !self.is_pending(*serial)).collect::<Vec<Serial>>() {
                    [] if own.is_empty() => Err(Rejection::ClaimNotFound),
                    [] => Err(Rejection::ClaimPending),
                    [serial] => Ok(serial),
                    ref serials => Err(Rejection::ClaimAmbiguous { serials: serials.to_vec() }),
                }
            }
        }
    }

    pub(super) fn claim_at(&self, serial: Serial) -> Option<&Claim> {
        self.claims.get(index_of(serial))
    }

    /// The claims that were decided.
    pub(super) fn decided(&self) -> &[Claim] {
        self.claims.get(..self.decided_count).unwrap_or_default()
    }

    /// The claims that are accepted and not decided yet.
    pub(super) fn waiting(&self) -> &[Claim] {
        self.claims.get(self.decided_count..).unwrap_or_default()
    }

    fn pending_count(&self) -> usize {
        self.claims.len() - self.decided_count
    }

    fn is_pending(&self, serial: Serial) -> bool {
        self.decided_count <= index_of(serial)
    }

    /// Whether the pace has room for one more decision: by the second, and by the tenth of one.
    fn has_room(&self, at: Timestamp) -> bool {
        let queue = self.settings.queue;
        let Some(pace) = queue.decisions_per_second_max.filter(|_| queue.mode == Mode::Queued) else { return true };
        let parts = pace.min(10);
        // Times rise: the decision that many before this one tells of all between.
        let has_room = |most: u32, ms: u32| {
            let then = self.decided_count.checked_sub(most as usize).and_then(|place| self.claims.get(place));
            then.is_none_or(|claim| claim.claimed_at.plus_millis(ms.into()) <= at)
        };
        has_room(pace, 1_000) && has_room(pace.div_ceil(parts), 1_000 / parts)
    }

    fn decide_next(&mut self, next: &DecideNext<'_>, subjects: &Names, at: Timestamp) -> Came {
        let has_room = self.has_room(at);
        let first = self.claims.get_mut(self.decided_count);
        let is_next = |claim: &&mut Claim| claim.serial == next.serial.get() && subjects.text(claim.subject) == next.subject.as_str();
        let Some(claim) = first.filter(is_next).filter(|_| has_room) else { return Came::Nothing };
        claim.set_decided(at);
        self.decided_count += 1;
        Came::To(Outcome::Claimed(self.number, next.serial))
    }

    /// Counts everything anew, from the claims alone.
    pub(super) fn check(&self, subjects: &Names, findings: &mut Findings) {
        let name = &self.name;
        if let Some((place, claim)) = (1_u64..).zip(&self.claims).find(|(place, claim)| *place != u64::from(claim.serial)) {
            findings.broken("serial_gap", format!("campaign {name}: claim {} is the {place}. claim", claim.serial));
        }
        let holds = |claim: &&Claim| !matches!(claim.status(), ClaimStatus::Cancelled { .. });
        let mut holders: Vec<u32> = self.claims.iter().filter(holds).map(|claim| claim.subject).collect();
        let stock = self.settings.stock.get();
        if (stock as usize) < holders.len() {
            findings.broken("over_issued", format!("campaign {name}: {} units are held of a stock of {stock}", holders.len()));
        }
        holders.sort_unstable();
        let limit = self.settings.per_subject_max;
        for run in holders.chunk_by(|one, other| one == other).filter(|run| (limit as usize) < run.len()) {
            let subject = run.first().map_or("", |subject| subjects.text(*subject));
            findings.broken("subject_limit", format!("campaign {name}: {subject} holds {}, and may hold {limit}", run.len()));
        }
    }

    fn write(&mut self, settings: Settings, precondition: Precondition, at: Timestamp) -> Result<Came, Rejection> {
        let (version, limit, held) = (self.version, self.settings.per_subject_max, self.held_count());
        let is_other = matches!(precondition, Precondition::Version(wanted) if wanted != version);
        let is_never = precondition == Precondition::Never;
        none_of([
            (precondition == Precondition::IsNew).then_some(Rejection::CampaignExists),
            (is_other || is_never).then_some(Rejection::VersionMismatch { version }),
        ])?;
        none_of(impossible_times(&settings))?;
        none_of([
            (settings.stock < held).then_some(Rejection::StockBelowClaimed { claimed: held }),
            (settings.per_subject_max < limit && !self.held.is_empty())
                .then_some(Rejection::PerSubjectMaxLowered { per_subject_max: limit }),
        ])?;
        let is_new = settings != self.settings;
        if is_new {
            self.settings = settings;
            self.version += 1;
            self.changed_at = at;
        }
        let outcome = Outcome::Campaign { created: false, view: Box::new(self.view(at)) };
        Ok(if is_new { Came::To(outcome) } else { Came::Already(Answer { outcome, novelty: Novelty::Fresh }) })
    }

    fn patched(&self, patch: &Patch<'_>) -> Settings {
        let mut settings = self.settings;
        patch.stock.into_iter().for_each(|stock| settings.stock = stock);
        patch.per_subject_max.into_iter().for_each(|limit| settings.per_subject_max = limit);
        patch.opens_at.into_iter().for_each(|opens_at| settings.opens_at = opens_at);
        patch.closes_at.into_iter().for_each(|closes_at| settings.closes_at = closes_at);
        patch.redeem_until.into_iter().for_each(|until| settings.redeem_until = until);
        patch.paused.into_iter().for_each(|paused| settings.paused = paused);
        patch.queue.mode.into_iter().for_each(|mode| settings.queue.mode = mode);
        patch.queue.decisions_per_second_max.into_iter().for_each(|pace| settings.queue.decisions_per_second_max = pace);
        patch.queue.queue_max.into_iter().for_each(|most| settings.queue.queue_max = most);
        settings
    }

    fn claim(&mut self, subject: &str, subjects: &mut Names, asked: Asked) -> Result<Came, Rejection> {
        let (at, limit) = (asked.at, self.settings.per_subject_max);
        let has_several = limit != 1;
        none_of([(has_several && !asked.has_key).then_some(Rejection::RequestKeyRequired)])?;
        let own = self.serials_of(subjects.known(subject));
        if let (false, Some(serial)) = (has_several, own.first()) {
            return Ok(Came::Already(Answer { outcome: Outcome::Claimed(self.number, *serial), novelty: Novelty::Repeated }));
        }
        let next = u32::try_from(self.claims.len() + 1).ok().and_then(Serial::new);
        let is_left = self.held_count() < self.settings.stock;
        none_of([
            self.settings.opens_at.filter(|opens_at| at < *opens_at).map(|opens_at| Rejection::NotOpen { opens_at }),
            self.settings.closes_at.filter(|closes_at| *closes_at <= at).map(|closed_at| Rejection::Closed { closed_at }),
            self.settings.paused.then_some(Rejection::Paused),
            ((limit as usize) <= own.len()).then_some(Rejection::SubjectLimitReached { per_subject_max: limit }),
            (!is_left).then_some(Rejection::SoldOut),
        ])?;
        let serial = next.ok_or(Rejection::SoldOut)?;
        let (waits, queue_max) = (self.pending_count() != 0 || !self.has_room(at), self.settings.queue.queue_max);
        none_of([(waits && queue_max as usize <= self.pending_count()).then_some(Rejection::QueueFull { queue_max })])?;
        let subject = subjects.number(subject);
        self.claims.push(if waits { Claim::pending(at, subject, serial.get()) } else { Claim::new(at, subject, serial.get()) });
        self.decided_count += usize::from(!waits);
        self.held.insert((subject, serial.get()));
        Ok(Came::To(Outcome::Claimed(self.number, serial)))
    }

    fn end(&mut self, serial: Serial, how: Ended, at: Timestamp) {
        let Some(claim) = self.claims.get_mut(index_of(serial)) else { return };
        claim.set_ended(how, at);
        match how {
            Ended::Redeemed => self.redeemed_count += 1,
            Ended::Cancelled => {
                self.held.remove(&(claim.subject, serial.get()));
            }
            Ended::Pending | Ended::Not => {}
        }
    }

    /// Why a claim cannot be ended: it was before.
    fn ended(&self, serial: Serial) -> Option<Rejection> {
        match self.claim_at(serial)?.status() {
            ClaimStatus::Live => None,
            ClaimStatus::Pending => Some(Rejection::ClaimPending),
            ClaimStatus::Redeemed { redeemed_at } => Some(Rejection::AlreadyRedeemed { redeemed_at }),
            ClaimStatus::Cancelled { cancelled_at } => Some(Rejection::Cancelled { cancelled_at }),
        }
    }

    /// What a subject holds, rising.
    fn serials_of(&self, subject: Option<u32>) -> Vec<Serial> {
        let held = subject.into_iter().flat_map(|subject| self.held.range((subject, 0)..=(subject, u32::MAX)));
        held.filter_map(|(_, serial)| Serial::new(*serial)).collect()
    }

    fn held_count(&self) -> Quantity {
        u32::try_from(self.held.len()).ok().and_then(Quantity::new).unwrap_or(Quantity::MAX)
    }
}

fn index_of(serial: Serial) -> usize {
    (serial.get() - 1) as usize
}

/// The first reason that applies.
fn none_of<const REASONS: usize>(reasons: [Option<Rejection>; REASONS]) -> Result<(), Rejection> {
    reasons.into_iter().flatten().next().map_or(Ok(()), Err)
}

fn impossible_times(settings: &Settings) -> [Option<Rejection>; 2] {
    let is_before_opening = |time: Option<Timestamp>| settings.opens_at.zip(time).is_some_and(|(opens_at, time)| time <= opens_at);
    [
        is_before_opening(settings.closes_at).then_some(Rejection::ClosesBeforeOpens),
        is_before_opening(settings.redeem_until).then_some(Rejection::RedeemUntilBeforeOpens),
    ]
}
