//! The rules a second time, as plainly as they can be written, at every place of the log: what a
//! record comes to, and what an answer must have been at any place before. It shares no code with
//! `domain` but the types of questions and settings.

use std::collections::BTreeMap;

use domain::coupon::queue::Mode;
use domain::coupon::{Precondition, Settings};
use domain::request::Fingerprint;

use crate::ask::{Answer, Ask, By, Said, Verb, What};

const DAY_MS: u64 = 86_400_000;

/// One partition, at all its places. The state at place `n` has the effect of the first `n` records.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The effective time after each record.
    times: Vec<u64>,
    campaigns: BTreeMap<String, Campaign>,
}

/// A campaign with everything that ever changed, each with the offset of its record.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    settings: Vec<(u64, Settings)>,
    tallies: Vec<(u64, Tally)>,
    claims: Vec<Claim>,
    by_subject: BTreeMap<String, Vec<usize>>,
    keys: BTreeMap<String, Vec<KeyUse>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    /// Units that somebody holds, or waits for.
    taken: u32,
    pending: u32,
    redeemed: u32,
}

/// One claim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose.
    pub subject: String,
    /// When it was accepted.
    accepted_at: u64,
    from: u64,
    /// When it was decided, and by which record: the same one, if it did not wait.
    decided: Option<(u64, u64)>,
    redeemed: Option<u64>,
    cancelled: Option<u64>,
}

#[derive(Clone, Debug)]
struct KeyUse {
    offset: u64,
    at: u64,
    fingerprint: Fingerprint,
    answer: Answer,
}

/// The state at a place.
#[derive(Clone, Copy, Debug)]
struct At<'a> {
    campaign: &'a Campaign,
    place: u64,
    now: u64,
}

impl Model {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.times.len() as u64
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The effective time at a place.
    #[must_use]
    pub fn time_at(&self, place: u64) -> u64 {
        let last = usize::try_from(place).unwrap_or(usize::MAX).checked_sub(1);
        last.and_then(|last| self.times.get(last)).copied().unwrap_or(0)
    }

    /// What the question must be answered at this place, if nothing more happens.
    #[must_use]
    pub fn answer(&self, ask: &Ask, place: u64) -> Said {
        self.decide(ask, &ask.what, place, self.time_at(place))
    }

    /// How a campaign stands at this place.
    #[must_use]
    pub fn read(&self, campaign: &str, place: u64) -> Answer {
        self.at(campaign, place, 0).map_or(Answer::NoCampaign, |at| at.answer(false))
    }

    /// Which claim a subject holds at this place.
    #[must_use]
    pub fn read_claim(&self, campaign: &str, subject: &str, place: u64) -> Answer {
        let Some(at) = self.at(campaign, place, 0) else { return Answer::No("campaign_not_found") };
        match at.find(&By::Subject(subject.to_owned())) {
            Ok(serial) => at.claim_answer(serial, at.verb_of(serial)),
            Err(code) => Answer::No(code),
        }
    }

    /// Takes in the next record that nobody waits for.
    pub fn pass(&mut self, broker_ms: u64) {
        self.times.push(self.time_at(self.len()).max(broker_ms));
    }

    /// Takes in the next record; says what it came to. `what` is what stands in the record: it may
    /// name a claim by its serial where the request named its subject.
    pub fn fold(&mut self, ask: &Ask, what: &What, broker_ms: u64) -> Said {
        let (offset, now) = (self.len(), self.time_at(self.len()).max(broker_ms));
        let said = self.decide(ask, what, offset, now);
        if said.has_effect {
            self.change(ask, &said, offset, now);
        }
        self.times.push(now);
        said
    }

    /// Takes in the next record, which asks for the decision of a claim; says whether it was its turn.
    pub fn turn(&mut self, campaign: &str, (serial, subject): (u32, &str), broker_ms: u64) -> bool {
        let (offset, now) = (self.len(), self.time_at(self.len()).max(broker_ms));
        let is_turn = self.at(campaign, offset, now).is_some_and(|at| {
            let next = at.campaign.claims.get(at.decided_count()).map(|claim| claim.subject.as_str());
            at.decided_count() + 1 == serial as usize && next == Some(subject) && at.has_room()
        });
        if let Some(campaign) = self.campaigns.get_mut(campaign).filter(|_| is_turn) {
            campaign.claims[serial as usize - 1].decided = Some((offset, now));
            let tally = campaign.tallies.last().map_or(Tally::default(), |(_, tally)| *tally);
            campaign.tallies.push((offset, Tally { pending: tally.pending - 1, ..tally }));
        }
        self.times.push(now);
        is_turn
    }

    /// Campaigns by name.
    #[must_use]
    pub fn campaigns(&self) -> &BTreeMap<String, Campaign> {
        &self.campaigns
    }

    fn at(&self, campaign: &str, place: u64, now: u64) -> Option<At<'_>> {
        let campaign = self.campaigns.get(campaign)?;
        campaign.settings.first().filter(|(offset, _)| *offset < place)?;
        Some(At { campaign, place, now })
    }

    fn decide(&self, ask: &Ask, what: &What, place: u64, now: u64) -> Said {
        let Some(at) = self.at(ask.campaign, place, now) else { return decide_new(what) };
        if let Some(key) = &ask.key {
            match at.key_use(key) {
                None => {}
                Some(known) if known.fingerprint == ask.fingerprint() => return Said::again(at.replayed(&known.answer)),
                Some(_) => return no("request_key_reused"),
            }
        }
        match what {
            What::Put(settings, precondition) => at.put(*settings, *precondition),
            What::Patch(stock, paused) => {
                let old = at.settings();
                let settings = Settings { stock: stock.unwrap_or(old.stock), paused: paused.unwrap_or(old.paused), ..old };
                at.put(settings, Precondition::Always)
            }
            What::Claim(subject) => at.claim(subject, ask.key.is_some()),
            What::Redeem(by) => at.change_claim(by, Verb::Redeemed),
            What::Cancel(by) => at.change_claim(by, Verb::Cancelled),
        }
    }

    fn change(&mut self, ask: &Ask, said: &Said, offset: u64, now: u64) {
        let campaign = self.campaigns.entry(ask.campaign.to_owned()).or_default();
        let mut tally = campaign.tallies.last().map_or(Tally::default(), |(_, tally)| *tally);
        match (&ask.what, &said.answer) {
            (What::Claim(subject), Answer::Claim { verb, .. }) => {
                let decided = (*verb == Verb::Claimed).then_some((offset, now));
                let claim = Claim { subject: subject.clone(), accepted_at: now, from: offset, decided, redeemed: None, cancelled: None };
                campaign.claims.push(claim);
                campaign.by_subject.entry(subject.clone()).or_default().push(campaign.claims.len());
                tally.taken += 1;
                tally.pending += u32::from(decided.is_none());
            }
            (What::Redeem(_), Answer::Claim { serial, .. }) => {
                campaign.claims[*serial as usize - 1].redeemed = Some(offset);
                tally.redeemed += 1;
            }
            (What::Cancel(_), Answer::Claim { serial, .. }) => {
                campaign.claims[*serial as usize - 1].cancelled = Some(offset);
                tally.taken -= 1;
            }
            (_, Answer::Campaign { settings, .. }) => campaign.settings.push((offset, *settings)),
            _ => {}
        }
        campaign.tallies.push((offset, tally));
        if let Some(key) = &ask.key {
            let known = KeyUse { offset, at: now, fingerprint: ask.fingerprint(), answer: said.answer.clone() };
            campaign.keys.entry(key.clone()).or_default().push(known);
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

/// How many of these were there at the place.
fn count_at<T>(changes: &[(u64, T)], place: u64) -> usize {
    changes.partition_point(|(offset, _)| *offset < place)
}

impl Campaign {
    /// All its claims, by serial.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// What was last chosen.
    #[must_use]
    pub fn settings(&self) -> Option<Settings> {
        self.settings.last().map(|(_, settings)| *settings)
    }

    /// Units that somebody holds, or waits for.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.tallies.last().map_or(0, |(_, tally)| tally.taken)
    }

    /// Units that are set aside for those in the queue.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.tallies.last().map_or(0, |(_, tally)| tally.pending)
    }
}

impl Claim {
    /// What became of it.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb_at(u64::MAX)
    }

    fn verb_at(&self, place: u64) -> Verb {
        if self.cancelled.is_some_and(|offset| offset < place) {
            return Verb::Cancelled;
        }
        if self.redeemed.is_some_and(|offset| offset < place) {
            return Verb::Redeemed;
        }
        if self.decided.is_some_and(|(offset, _)| offset < place) { Verb::Claimed } else { Verb::Accepted }
    }

    /// When it was decided, or accepted, as it stands at a place.
    fn time_at(&self, place: u64) -> u64 {
        self.decided.filter(|(offset, _)| *offset < place).map_or(self.accepted_at, |(_, at)| at)
    }
}

impl At<'_> {
    fn settings(&self) -> Settings {
        self.campaign.settings[count_at(&self.campaign.settings, self.place) - 1].1
    }

    fn version(&self) -> u64 {
        count_at(&self.campaign.settings, self.place) as u64
    }

    fn tally(&self) -> Tally {
        let last = count_at(&self.campaign.tallies, self.place).checked_sub(1);
        last.map_or(Tally::default(), |last| self.campaign.tallies[last].1)
    }

    fn claims_count(&self) -> usize {
        self.campaign.claims.partition_point(|claim| claim.from < self.place)
    }

    fn decided_count(&self) -> usize {
        self.campaign.claims.partition_point(|claim| claim.decided.is_some_and(|(offset, _)| offset < self.place))
    }

    /// Whether one more may be decided now: so many decisions back, the last one is long enough ago.
    fn has_room(&self) -> bool {
        let queue = self.settings().queue;
        let (Mode::Queued, Some(pace)) = (queue.mode, queue.decisions_per_second_max) else { return true };
        let is_long_ago = |back: u32, millis: u32| {
            let earlier = self.decided_count().checked_sub(back as usize).map(|place| &self.campaign.claims[place]);
            earlier.is_none_or(|claim| claim.time_at(self.place) + u64::from(millis) <= self.now)
        };
        let parts = pace.min(10);
        is_long_ago(pace, 1_000) && is_long_ago(pace.div_ceil(parts), 1_000 / parts)
    }

    /// What was answered before, as it is said now: who had a place in the queue may have the claim.
    fn replayed(&self, answer: &Answer) -> Answer {
        match answer {
            Answer::Claim { verb: Verb::Accepted | Verb::Claimed, serial, .. } => self.claimed_or_accepted(*serial as usize),
            _ => answer.clone(),
        }
    }

    fn claimed_or_accepted(&self, serial: usize) -> Answer {
        let is_pending = self.verb_of(serial) == Verb::Accepted;
        self.claim_answer(serial, if is_pending { Verb::Accepted } else { Verb::Claimed })
    }

    fn verb_of(&self, serial: usize) -> Verb {
        self.campaign.claims[serial - 1].verb_at(self.place)
    }

    fn key_use(&self, key: &str) -> Option<&KeyUse> {
        let uses = self.campaign.keys.get(key)?;
        uses.iter().rev().find(|known| known.offset < self.place && self.now < known.at + DAY_MS)
    }

    /// The serials that a subject holds, or waits for.
    fn held_by(&self, subject: &str) -> Vec<usize> {
        let count = self.claims_count();
        let all = self.campaign.by_subject.get(subject).into_iter().flatten().copied();
        all.filter(|serial| *serial <= count && self.verb_of(*serial) != Verb::Cancelled).collect()
    }

    fn find(&self, by: &By) -> Result<usize, &'static str> {
        match by {
            By::Code(serial) if serial.get() as usize <= self.decided_count() => Ok(serial.get() as usize),
            By::Code(_) => Err("code_not_found"),
            By::Subject(subject) => {
                let held = self.held_by(subject);
                let decided = held.iter().copied().filter(|serial| self.verb_of(*serial) != Verb::Accepted);
                match decided.collect::<Vec<usize>>().as_slice() {
                    [] if held.is_empty() => Err("claim_not_found"),
                    [] => Err("claim_pending"),
                    [serial] => Ok(*serial),
                    _ => Err("claim_ambiguous"),
                }
            }
        }
    }

    fn answer(&self, created: bool) -> Answer {
        let Tally { taken, pending, redeemed } = self.tally();
        Answer::Campaign { created, version: self.version(), settings: self.settings(), claimed: taken - pending, pending, redeemed }
    }

    fn claim_answer(&self, serial: usize, verb: Verb) -> Answer {
        let claim = &self.campaign.claims[serial - 1];
        Answer::Claim { verb, subject: claim.subject.clone(), serial: units(serial), claimed_at: claim.time_at(self.place) }
    }

    fn put(&self, settings: Settings, precondition: Precondition) -> Said {
        let (old, Tally { taken, pending, redeemed }) = (self.settings(), self.tally());
        match precondition {
            Precondition::IsNew => return no("campaign_exists"),
            Precondition::Version(version) if version != self.version() => return no("version_mismatch"),
            Precondition::Always | Precondition::Exists | Precondition::Version(_) | Precondition::Never => {}
        }
        if settings.stock.get() < taken {
            return no("stock_below_claimed");
        }
        if settings.per_subject_max < old.per_subject_max && 0 < taken {
            return no("per_subject_max_lowered");
        }
        if settings == old {
            return Said::only(self.answer(false));
        }
        let claimed = taken - pending;
        Said::fresh(Answer::Campaign { created: false, version: self.version() + 1, settings, claimed, pending, redeemed })
    }

    fn claim(&self, subject: &str, has_key: bool) -> Said {
        let (settings, now) = (self.settings(), self.now);
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
        let Tally { taken, pending, .. } = self.tally();
        if settings.stock.get() <= taken {
            return no("sold_out");
        }
        let waits = 0 < pending || !self.has_room();
        if waits && settings.queue.queue_max <= pending {
            return no("queue_full");
        }
        let (serial, verb) = (units(self.claims_count() + 1), if waits { Verb::Accepted } else { Verb::Claimed });
        Said::fresh(Answer::Claim { verb, subject: subject.to_owned(), serial, claimed_at: now })
    }

    fn change_claim(&self, by: &By, verb: Verb) -> Said {
        let serial = match self.find(by) {
            Ok(serial) => serial,
            Err(code) => return no(code),
        };
        match self.verb_of(serial) {
            Verb::Claimed => {}
            Verb::Accepted => return no("claim_pending"),
            Verb::Redeemed => return no("already_redeemed"),
            Verb::Cancelled => return no("cancelled"),
        }
        if verb == Verb::Redeemed && self.settings().redeem_until.is_some_and(|until| until.millis() <= self.now) {
            return no("expired");
        }
        Said::fresh(self.claim_answer(serial, verb))
    }
}

fn units(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
