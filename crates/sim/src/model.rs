//! The rules a second time, as plainly as they can be written: what each question must be
//! answered, and what each record may say. It shares no code with `domain` but the types of
//! questions and settings.

use std::collections::VecDeque;

use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{Event as Coupon, Precondition, Settings, TargetBy};
use domain::request::Fingerprint;
use domain::state::Record;
use domain::types::{CampaignName, Quantity, Serial, SubjectId};
use domain::{Event, State};

use crate::ask::{Answer, Ask, By, Question, Said, Verb, What};

const DAY_MS: u64 = 86_400_000;
const FORGOTTEN_AT_ONCE_MAX: usize = 1_024;

/// Everything that has happened, naively.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The time of the last record.
    pub time: u64,
    campaigns: Vec<Campaign>,
    keys: VecDeque<Key>,
}

#[derive(Clone, Debug)]
struct Campaign {
    name: &'static str,
    version: u64,
    settings: Settings,
    claims: Vec<Claim>,
}

#[derive(Clone, Debug)]
struct Claim {
    subject: String,
    claimed_at: u64,
    status: Verb,
}

#[derive(Clone, Debug)]
struct Key {
    campaign: &'static str,
    key: String,
    fingerprint: Fingerprint,
    at: u64,
    answer: Answer,
}

impl Model {
    /// What the question must be answered at this wall time, if all before it is as it is here.
    #[must_use]
    pub fn answer(&self, question: &Question, wall: u64) -> Said {
        match question {
            Question::Ask(ask) => self.decide(ask, self.time.max(wall)),
            Question::Campaign(name) => Said::only(self.campaign(name).map_or(Answer::NoCampaign, |campaign| campaign.answer(false))),
            Question::Claim(name, subject) => {
                let Some(campaign) = self.campaign(name) else { return no("campaign_not_found") };
                let found = campaign.find(&By::Subject(subject.clone()));
                found.map_or_else(no, |serial| Said::only(campaign.claim_answer(serial, campaign.claims[serial - 1].status)))
            }
        }
    }

    /// How many keys may be forgotten at this time.
    #[must_use]
    pub fn due_keys(&self, now: u64) -> usize {
        self.keys.iter().take_while(|key| key.at + DAY_MS <= now).count().min(FORGOTTEN_AT_ONCE_MAX)
    }

    /// Takes a record in that this request is said to have caused.
    ///
    /// # Errors
    /// In words, what in it nobody asked for or no rule allows.
    pub fn apply(&mut self, record: &Record<'_>, asked: Option<(&Ask, u64)>) -> Result<(), String> {
        let at = record.at.millis();
        if at < self.time {
            return Err(format!("time went back from {} to {at}", self.time));
        }
        let taken = match (&record.event, asked) {
            (Event::RequestsForgotten { count }, None) => self.forget(*count as usize, at),
            (Event::Coupon(Coupon::Claimed { campaign, serial, subject }), None) => {
                let campaign = self.campaigns.get_mut(campaign.0 as usize);
                campaign.ok_or_else(|| "there is no such campaign".to_owned())?.decide_next(serial.get(), subject.as_str(), at)
            }
            (Event::Coupon(event), Some((ask, wall))) => self.take(event, ask, wall, at),
            (Event::RequestsForgotten { .. } | Event::Coupon(_) | Event::Policy(_), _) => Err("nobody asked for it".to_owned()),
        };
        self.time = at;
        taken
    }

    /// Compares with the product's state.
    ///
    /// # Errors
    /// The first difference in words.
    pub fn compare(&self, state: &State) -> Result<(), String> {
        let (mine, theirs) = ((self.time, self.campaigns.len()), (state.time.millis(), state.campaigns().len()));
        if mine != theirs {
            return Err(format!("time and campaigns are {theirs:?}, not {mine:?}"));
        }
        if state.requests.len() != self.keys.len() {
            return Err(format!("{} request keys are remembered, not {}", state.requests.len(), self.keys.len()));
        }
        self.campaigns.iter().try_for_each(|campaign| campaign.compare(state))
    }

    fn forget(&mut self, count: usize, now: u64) -> Result<(), String> {
        if count == 0 || self.due_keys(now) != count {
            return Err(format!("{count} request keys were forgotten, {} were due", self.due_keys(now)));
        }
        self.keys.drain(..count);
        Ok(())
    }

    fn take(&mut self, event: &Coupon<'_>, ask: &Ask, wall: u64, at: u64) -> Result<(), String> {
        if at != self.time.max(wall) {
            return Err(format!("its time is {at}; the last was {} and the wall clock {wall}", self.time));
        }
        let said = self.decide(ask, at);
        if !said.has_effect {
            return Err(format!("{ask:?} must have been answered {said:?} and changed nothing"));
        }
        let place = self.change(ask, &said, at);
        let campaign = &self.campaigns[place];
        if event.campaign().0 as usize == place && campaign.says(event, &said.answer) {
            return Ok(());
        }
        Err(format!("{ask:?} must have been answered {said:?}, but was recorded as {event:?}"))
    }

    /// Changes what a yes to this request changes; says in which campaign.
    fn change(&mut self, ask: &Ask, said: &Said, at: u64) -> usize {
        let found = self.campaigns.iter().position(|campaign| campaign.name == ask.campaign);
        let place = found.unwrap_or(self.campaigns.len());
        match (&ask.what, &said.answer) {
            (What::Claim(subject), Answer::Claim { verb, .. }) => {
                self.campaigns[place].claims.push(Claim { subject: subject.clone(), claimed_at: at, status: *verb });
            }
            (What::Redeem(_) | What::Cancel(_), Answer::Claim { serial, verb, .. }) => {
                self.campaigns[place].claims[*serial as usize - 1].status = *verb;
            }
            (_, Answer::Campaign { created: true, settings, .. }) => {
                self.campaigns.push(Campaign { name: ask.campaign, version: 1, settings: *settings, claims: Vec::new() });
            }
            (_, Answer::Campaign { settings, version, .. }) => {
                self.campaigns[place].settings = *settings;
                self.campaigns[place].version = *version;
            }
            _ => {}
        }
        if let Some(key) = &ask.key {
            let (key, answer) = (key.clone(), said.answer.clone());
            self.keys.push_back(Key { campaign: ask.campaign, key, fingerprint: ask.fingerprint(), at, answer });
        }
        place
    }

    fn campaign(&self, name: &str) -> Option<&Campaign> {
        self.campaigns.iter().find(|campaign| campaign.name == name)
    }

    fn decide(&self, ask: &Ask, now: u64) -> Said {
        let Some(campaign) = self.campaign(ask.campaign) else { return decide_new(&ask.what) };
        if let Some(key) = &ask.key {
            let known = self.keys.iter().find(|known| known.campaign == ask.campaign && known.key == *key && now < known.at + DAY_MS);
            match known {
                None => {}
                Some(known) if known.fingerprint == ask.fingerprint() => return Said::again(campaign.replayed(&known.answer)),
                Some(_) => return no("request_key_reused"),
            }
        }
        match &ask.what {
            What::Put(settings, precondition) => campaign.put(*settings, *precondition),
            What::Patch(stock, paused) => {
                let old = campaign.settings;
                let settings = Settings { stock: stock.unwrap_or(old.stock), paused: paused.unwrap_or(old.paused), ..old };
                campaign.put(settings, Precondition::Always)
            }
            What::Claim(subject) => campaign.claim(subject, ask.key.is_some(), now),
            What::Redeem(by) => campaign.change_claim(by, Verb::Redeemed, now),
            What::Cancel(by) => campaign.change_claim(by, Verb::Cancelled, now),
        }
    }
}

fn no(code: &'static str) -> Said {
    Said::only(Answer::No(code))
}

fn decide_new(what: &What) -> Said {
    let What::Put(settings, Precondition::Always | Precondition::IsNew) = what else { return no("campaign_not_found") };
    Said::fresh(Answer::Campaign { created: true, version: 1, settings: *settings, claimed: 0, pending: 0, redeemed: 0 })
}

impl Campaign {
    /// Units that somebody holds, or waits for.
    fn taken(&self) -> usize {
        self.claims.iter().filter(|claim| claim.status != Verb::Cancelled).count()
    }

    fn pending(&self) -> usize {
        self.claims.iter().filter(|claim| claim.status == Verb::Accepted).count()
    }

    fn claimed(&self) -> usize {
        self.taken() - self.pending()
    }

    /// Whether one more may be decided now: no more than the pace in any second, and no more than a
    /// tenth of it, rounded up, in any tenth of a second; of a pace below ten, one in each part.
    fn has_room(&self, now: u64) -> bool {
        let queue = self.settings.queue;
        let (Mode::Queued, Some(pace)) = (queue.mode, queue.decisions_per_second_max) else { return true };
        let decided_within = |millis: u64| {
            let is_recent = |claim: &&Claim| claim.status != Verb::Accepted && now < claim.claimed_at + millis;
            self.claims.iter().filter(is_recent).count()
        };
        let parts = pace.min(10);
        decided_within(1_000) < pace as usize && decided_within(u64::from(1_000 / parts)) < pace.div_ceil(parts) as usize
    }

    fn decide_next(&mut self, serial: u32, subject: &str, now: u64) -> Result<(), String> {
        let has_room = self.has_room(now);
        let first = self.claims.iter_mut().zip(1..).find(|(claim, _)| claim.status == Verb::Accepted);
        let Some((claim, _)) = first.filter(|(claim, place)| (*place, claim.subject.as_str()) == (serial, subject)) else {
            return Err(format!("claim {serial} of {subject} was decided, and is not the next in the queue"));
        };
        if !has_room {
            return Err(format!("claim {serial} was decided at {now}, before its time"));
        }
        (claim.status, claim.claimed_at) = (Verb::Claimed, now);
        Ok(())
    }

    /// What was answered before, as it is said now: who had a place in the queue may have the claim.
    fn replayed(&self, answer: &Answer) -> Answer {
        match answer {
            Answer::Claim { verb: Verb::Accepted | Verb::Claimed, serial, .. } => self.claimed_or_accepted(*serial as usize),
            _ => answer.clone(),
        }
    }

    fn claimed_or_accepted(&self, serial: usize) -> Answer {
        let is_pending = self.claims[serial - 1].status == Verb::Accepted;
        self.claim_answer(serial, if is_pending { Verb::Accepted } else { Verb::Claimed })
    }

    fn redeemed(&self) -> usize {
        self.claims.iter().filter(|claim| claim.status == Verb::Redeemed).count()
    }

    /// The serials that a subject holds, or waits for.
    fn held_by(&self, subject: &str) -> Vec<usize> {
        let held = self.claims.iter().zip(1..).filter(|(claim, _)| claim.subject == subject && claim.status != Verb::Cancelled);
        held.map(|(_, serial)| serial).collect()
    }

    fn find(&self, by: &By) -> Result<usize, &'static str> {
        match by {
            By::Code(serial) => {
                let serial = serial.get() as usize;
                let is_known = self.claims.get(serial - 1).is_some_and(|claim| claim.status != Verb::Accepted);
                if is_known { Ok(serial) } else { Err("code_not_found") }
            }
            By::Subject(subject) => {
                let held = self.held_by(subject);
                let decided = held.iter().filter(|serial| self.claims[**serial - 1].status != Verb::Accepted);
                match decided.copied().collect::<Vec<usize>>().as_slice() {
                    [] if held.is_empty() => Err("claim_not_found"),
                    [] => Err("claim_pending"),
                    [serial] => Ok(*serial),
                    _ => Err("claim_ambiguous"),
                }
            }
        }
    }

    fn answer(&self, created: bool) -> Answer {
        Answer::Campaign {
            created,
            version: self.version,
            settings: self.settings,
            claimed: units(self.claimed()),
            pending: units(self.pending()),
            redeemed: units(self.redeemed()),
        }
    }

    fn claim_answer(&self, serial: usize, verb: Verb) -> Answer {
        let claim = &self.claims[serial - 1];
        Answer::Claim { verb, subject: claim.subject.clone(), serial: units(serial), claimed_at: claim.claimed_at }
    }

    fn put(&self, settings: Settings, precondition: Precondition) -> Said {
        match precondition {
            Precondition::IsNew => return no("campaign_exists"),
            Precondition::Version(version) if version != self.version => return no("version_mismatch"),
            Precondition::Always | Precondition::Exists | Precondition::Version(_) | Precondition::Never => {}
        }
        if (settings.stock.get() as usize) < self.taken() {
            return no("stock_below_claimed");
        }
        if settings.per_subject_max < self.settings.per_subject_max && 0 < self.taken() {
            return no("per_subject_max_lowered");
        }
        if settings == self.settings {
            return Said::only(self.answer(false));
        }
        Said::fresh(Campaign { version: self.version + 1, settings, ..self.clone() }.answer(false))
    }

    fn claim(&self, subject: &str, has_key: bool, now: u64) -> Said {
        let settings = &self.settings;
        if 1 < settings.per_subject_max && !has_key {
            return no("request_key_required");
        }
        let held = self.held_by(subject);
        if let (1, Some(serial)) = (settings.per_subject_max, held.first()) {
            return Said::again(self.claimed_or_accepted(*serial));
        }
        if settings.opens_at.is_some_and(|opens_at| now < opens_at.millis()) {
            return no("not_open");
        }
        if settings.closes_at.is_some_and(|closes_at| closes_at.millis() <= now) {
            return no("closed");
        }
        if settings.paused {
            return no("paused");
        }
        if settings.per_subject_max as usize <= held.len() {
            return no("subject_limit_reached");
        }
        if settings.stock.get() as usize <= self.taken() {
            return no("sold_out");
        }
        let waits = 0 < self.pending() || !self.has_room(now);
        if waits && settings.queue.queue_max as usize <= self.pending() {
            return no("queue_full");
        }
        let (serial, verb) = (units(self.claims.len() + 1), if waits { Verb::Accepted } else { Verb::Claimed });
        Said::fresh(Answer::Claim { verb, subject: subject.to_owned(), serial, claimed_at: now })
    }

    fn change_claim(&self, by: &By, verb: Verb, now: u64) -> Said {
        let serial = match self.find(by) {
            Ok(serial) => serial,
            Err(code) => return no(code),
        };
        match self.claims[serial - 1].status {
            Verb::Claimed => {}
            Verb::Accepted => return no("claim_pending"),
            Verb::Redeemed => return no("already_redeemed"),
            Verb::Cancelled => return no("cancelled"),
        }
        if verb == Verb::Redeemed && self.settings.redeem_until.is_some_and(|until| until.millis() <= now) {
            return no("expired");
        }
        Said::fresh(self.claim_answer(serial, verb))
    }

    /// Whether the event says what was answered.
    fn says(&self, event: &Coupon<'_>, answer: &Answer) -> bool {
        match (event, answer) {
            (Coupon::CampaignCreated { name, settings, .. }, Answer::Campaign { created: true, .. }) => {
                name.as_str() == self.name && *settings == self.settings
            }
            (Coupon::CampaignChanged { settings, .. }, Answer::Campaign { created: false, .. }) => *settings == self.settings,
            (Coupon::Claimed { serial: mine, subject: whose, .. }, Answer::Claim { verb: Verb::Claimed, subject, serial, .. })
            | (Coupon::Accepted { serial: mine, subject: whose, .. }, Answer::Claim { verb: Verb::Accepted, subject, serial, .. }) => {
                mine.get() == *serial && whose.as_str() == subject
            }
            (Coupon::Redeemed { serial: mine, .. }, Answer::Claim { verb: Verb::Redeemed, serial, .. })
            | (Coupon::Cancelled { serial: mine, .. }, Answer::Claim { verb: Verb::Cancelled, serial, .. }) => mine.get() == *serial,
            _ => false,
        }
    }

    fn compare(&self, state: &State) -> Result<(), String> {
        let theirs = CampaignName::new(self.name).ok().and_then(|name| state.campaign(name));
        let theirs = theirs.ok_or_else(|| format!("campaign {} is not there", self.name))?;
        let stands =
            (theirs.settings, theirs.version, theirs.claimed(), theirs.pending_count() as usize, theirs.redeemed, theirs.claims.count());
        let units_of = |count| Quantity::new(units(count)).unwrap_or_default();
        let expected =
            (self.settings, self.version, units_of(self.claimed()), self.pending(), units_of(self.redeemed()), self.claims.len());
        if stands != expected {
            return Err(format!("campaign {} stands at {stands:?}, not {expected:?}", self.name));
        }
        let differs = self.claims.iter().zip(1..).find(|(claim, serial)| !self.is_same(claim, *serial, theirs));
        differs.map_or(Ok(()), |(claim, serial)| Err(format!("claim {serial} of {} is not {claim:?}", self.name)))
    }

    fn is_same(&self, claim: &Claim, serial: u32, theirs: &domain::coupon::Campaign) -> bool {
        let Some(found) = Serial::new(serial).and_then(|serial| theirs.claims.get(serial)) else { return false };
        let status = match found.status {
            ClaimStatus::Pending => Verb::Accepted,
            ClaimStatus::Live => Verb::Claimed,
            ClaimStatus::Redeemed { .. } => Verb::Redeemed,
            ClaimStatus::Cancelled { .. } => Verb::Cancelled,
        };
        let is_found = status == Verb::Cancelled || self.finds(&claim.subject, serial, theirs);
        found.subject.as_str() == claim.subject && found.claimed_at.millis() == claim.claimed_at && status == claim.status && is_found
    }

    /// Whether the product finds the claim by its subject.
    fn finds(&self, subject: &str, serial: u32, theirs: &domain::coupon::Campaign) -> bool {
        let Ok(subject) = SubjectId::new(subject) else { return false };
        if Serial::new(serial).is_some_and(|serial| !theirs.claims.is_decided(serial)) {
            return theirs.claims.holding(subject).any(|one| one.get() == serial);
        }
        match theirs.find(TargetBy::Subject(subject)) {
            Ok(claim) => claim.serial.get() == serial,
            Err(domain::coupon::Rejection::ClaimAmbiguous { serials }) => serials.iter().any(|one| one.get() == serial),
            Err(_) => false,
        }
    }
}

fn units(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
