//! State, rules and staging: the critical section. Knows no disk, no thread and no clock, so that
//! a simulation can run it, and another order than the journal's can feed it.
//!
//! Deciding, evolving, numbering and staging happen in one call that cannot be interrupted (W1).
//! What it returns names the record that it rests on; nobody may be told before that record is
//! durable (W2).

use std::mem;

use domain::coupon::{Campaign, CampaignNumber, TargetBy};
use domain::hash::HashSeed;
use domain::rate_limit::policies;
use domain::state::{CommandKind, Record};
use domain::types::{ActorId, CampaignName, PolicyName, RequestId, Serial, Timestamp};
use domain::wire;
use domain::{Command, Decision, Event, Novelty, Rejection, State, coupon, decide};
use journal::Lsn;
use journal::batch::Batch;

use crate::limits::{Limits, RECORD_BYTES_MAX};
use crate::pending::next_decidable;
use crate::views::{ClaimView, Done, Effect, NamedCampaign, PolicyView, Refusal, WatchedCampaign, claim_view, effect_of, last_claims};

/// Something that was worked out from the state, and the record that it rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an answer may be given only when what it rests on is durable"]
pub struct RestsOn<T> {
    /// What.
    pub value: T,
    /// The last record that it depends on; 0 if it depends on none.
    pub lsn: Lsn,
}

/// What would become of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Foreseen {
    /// It would change something.
    TakesEffect,
    /// It would change nothing, and this would be the answer.
    Answer(Done),
}

/// Sees each record as it takes effect.
pub trait Watch {
    /// The state is the one that the record was decided on.
    fn before(&mut self, record: &Record<'_>, state: &State);

    /// The state has the record's effect.
    fn after(&mut self, lsn: Lsn, record: &Record<'_>, state: &State);
}

/// State, staged records, and how much more may be staged.
#[derive(Debug)]
pub struct Core {
    state: State,
    staged: Batch,
    staged_lsn: Lsn,
    /// The last record of each campaign: what an answer about it rests on.
    campaign_lsns: Vec<Lsn>,
    /// The campaign whose queue had the last turn.
    queue_decided: CampaignNumber,
    /// The last record of any policy.
    policies_lsn: Lsn,
    /// The record that the state's time comes from: what an answer rests on if the clock is
    /// behind that time.
    time_lsn: Lsn,
    /// Bytes that were taken by the committer and are not durable yet.
    in_flight_bytes: u64,
    /// Bytes that the journal can take for sure.
    room_bytes: u64,
    limits: Limits,
    is_stopping: bool,
}

impl Core {
    /// A core in which nothing has happened.
    #[must_use]
    pub fn new(seed: HashSeed, limits: Limits) -> Self {
        Self::resume(State::new(seed), Lsn::ZERO, limits)
    }

    /// A core with the effect of all records up to `lsn`, which are durable.
    #[must_use]
    pub fn resume(state: State, lsn: Lsn, limits: Limits) -> Self {
        assert!(limits.claims_max < u64::from(u32::MAX), "a serial has 32 bits");
        let campaign_lsns = vec![Lsn::ZERO; state.campaigns().len()];
        Self {
            state,
            staged: Batch::new(),
            staged_lsn: lsn,
            campaign_lsns,
            queue_decided: CampaignNumber(u32::MAX),
            policies_lsn: Lsn::ZERO,
            time_lsn: Lsn::ZERO,
            in_flight_bytes: 0,
            room_bytes: 0,
            limits,
            is_stopping: false,
        }
    }

    /// The state, durable or not.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The last record that was staged.
    #[must_use]
    pub fn staged_lsn(&self) -> Lsn {
        self.staged_lsn
    }

    /// Whether anything is staged.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Decides a command and, if it changes something, makes it so and stages the record.
    /// `wall` is the clock's time; the command gets the larger of it and the last record's (T1).
    pub fn submit(&mut self, command: &Command<'_>, request_id: RequestId<'_>, wall: Timestamp) -> RestsOn<Result<Done, Refusal>> {
        let guard = PanicEnds;
        let answer = self.decide(command, request_id, wall);
        mem::forget(guard);
        answer
    }

    /// Does what has fallen due by `wall`; says whether there was anything.
    pub fn tick(&mut self, wall: Timestamp) -> bool {
        let now = self.state.time.max(wall);
        // What is decided by itself leaves room for those who ask.
        if self.limits.staged_bytes_max / 2 < self.staged.bytes_count() {
            return false;
        }
        if let Some((number, next)) = next_decidable(&self.state, self.queue_decided, now)
            && let Some(command) = next.command()
        {
            self.queue_decided = number;
            return self.submit(&command, RequestId::ENGINE, wall).value.is_ok();
        }
        let is_due = self.state.requests.next_deadline().is_some_and(|deadline| deadline <= now);
        if is_due {
            let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::ForgetRequests };
            return self.submit(&command, RequestId::ENGINE, wall).value.is_ok();
        }
        false
    }

    /// The first instant at which [`Core::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state.next_deadline()
    }

    /// Writes the effect of a record that is durable into the state, at start or behind another
    /// order than the journal's.
    ///
    /// # Errors
    /// What does not fit: the record and the state are not of one history.
    pub fn replay(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), String> {
        if lsn != self.staged_lsn.next() {
            return Err(format!("it follows on record {}", self.staged_lsn));
        }
        check_fits(&self.state, record)?;
        self.evolve(lsn, record);
        Ok(())
    }

    /// Decides a command that has its place in another order than the journal's already, at that
    /// order's time, and makes its effect so. Whatever limits there are have been looked at before
    /// it got its place: nothing but the rules refuses it here. `watch` sees each decided record.
    ///
    /// # Errors
    /// The rules' no.
    pub fn apply(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        at: Timestamp,
        watch: &mut impl Watch,
    ) -> Result<Done, Rejection> {
        let guard = PanicEnds;
        let answer = self.apply_at(command, request_id, at, watch);
        mem::forget(guard);
        answer
    }

    /// Nothing is decided, but it is so late.
    pub fn pass_time(&mut self, at: Timestamp) {
        self.state.time = self.state.time.max(at);
    }

    /// What would become of a command if it were decided now, at the state's time.
    ///
    /// # Errors
    /// The rules' no.
    pub fn foresee(&self, command: &Command<'_>) -> Result<Foreseen, Rejection> {
        Ok(match decide(&self.state, command, self.state.time)? {
            Decision::Event(_) => Foreseen::TakesEffect,
            Decision::Answer(answer) => Foreseen::Answer(Done { effect: effect_of(&self.state, &answer.outcome), novelty: answer.novelty }),
            Decision::Nothing => Foreseen::Answer(Done { effect: self.effect_of_nothing(command), novelty: Novelty::Fresh }),
        })
    }

    /// Takes all staged records away to be written; `batch` must be empty. They count as on their
    /// way until [`Core::settle`]. Returns the last of them.
    pub fn take_staged(&mut self, batch: &mut Batch) -> Lsn {
        debug_assert!(batch.is_empty());
        mem::swap(&mut self.staged, batch);
        self.in_flight_bytes = batch.bytes_count();
        self.staged_lsn
    }

    /// What was taken is durable, and the journal has room for so many bytes more.
    pub fn settle(&mut self, room_bytes: u64) {
        self.in_flight_bytes = 0;
        self.room_bytes = room_bytes;
    }

    /// A segment with room for so many bytes has become ready.
    pub fn add_room(&mut self, capacity_bytes: u64) {
        self.room_bytes = self.room_bytes.max(capacity_bytes);
    }

    /// Takes no further command.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether it takes no further command.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether it refuses to write because the journal has no room left.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.room_bytes < RECORD_BYTES_MAX + self.in_flight_bytes
    }

    /// A campaign as it stands at `wall`, if there is one.
    pub fn campaign(&self, name: CampaignName<'_>, wall: Timestamp) -> RestsOn<Option<NamedCampaign>> {
        let now = self.state.time.max(wall);
        let campaign = self.state.campaign(name);
        let lsn = campaign.map_or(Lsn::ZERO, |campaign| self.lsn_of(campaign).max(self.lsn_of_time(wall)));
        RestsOn { value: campaign.map(|campaign| named(campaign, now)), lsn }
    }

    /// A campaign as it stands at `wall`, with its last claims.
    pub fn watched(&self, name: CampaignName<'_>, last_max: u32, wall: Timestamp) -> RestsOn<Option<WatchedCampaign>> {
        let RestsOn { value: campaign, lsn } = self.campaign(name, wall);
        let watched = campaign.zip(self.state.campaign(name)).map(|(campaign, state)| WatchedCampaign {
            campaign,
            issued: state.claims.decided_count() as u64,
            last: last_claims(state, last_max),
        });
        RestsOn { value: watched, lsn }
    }

    /// Up to `limit` campaigns after a name, of those whose names begin with `prefix`, in the order
    /// of names.
    pub fn campaigns(&self, after: Option<&str>, prefix: &str, limit: usize, wall: Timestamp) -> RestsOn<Vec<NamedCampaign>> {
        let now = self.state.time.max(wall);
        let campaigns: Vec<&Campaign> = self.state.campaigns_after(after, prefix).take(limit).collect();
        let lsn = campaigns.iter().map(|campaign| self.lsn_of(campaign)).fold(self.lsn_of_time(wall), Lsn::max);
        RestsOn { value: campaigns.into_iter().map(|campaign| named(campaign, now)).collect(), lsn }
    }

    /// A claim as it stands.
    pub fn claim(&self, name: CampaignName<'_>, by: TargetBy<'_>) -> RestsOn<Result<ClaimView, coupon::Rejection>> {
        let Some(campaign) = self.state.campaign(name) else {
            return RestsOn { value: Err(coupon::Rejection::CampaignNotFound), lsn: Lsn::ZERO };
        };
        let found = campaign.find(by).map(|claim| claim.serial);
        let view = found.and_then(|serial| claim_view(campaign, serial, self.state.time).ok_or(coupon::Rejection::ClaimNotFound));
        RestsOn { value: view, lsn: self.lsn_of(campaign) }
    }

    /// The claim with this serial, pending or decided, at `wall`.
    pub fn claim_at(&self, name: CampaignName<'_>, serial: Serial, wall: Timestamp) -> RestsOn<Option<ClaimView>> {
        let Some(campaign) = self.state.campaign(name) else { return RestsOn { value: None, lsn: Lsn::ZERO } };
        let now = self.state.time.max(wall);
        RestsOn { value: claim_view(campaign, serial, now), lsn: self.lsn_of(campaign) }
    }

    /// A policy of a rate limit, if there is one.
    pub fn policy(&self, name: PolicyName<'_>) -> RestsOn<Option<PolicyView>> {
        let kept = self.state.policies.get(name);
        RestsOn { value: kept.map(|kept| PolicyView::new(name.as_str(), kept)), lsn: self.policies_lsn }
    }

    /// Up to `limit` policies after a name, in the order of names.
    pub fn policies(&self, after: Option<&str>, limit: usize) -> RestsOn<Vec<PolicyView>> {
        let policies = self.state.policies.after(after).take(limit).map(|(name, kept)| PolicyView::new(name, kept));
        RestsOn { value: policies.collect(), lsn: self.policies_lsn }
    }

    fn decide(&mut self, command: &Command<'_>, request_id: RequestId<'_>, wall: Timestamp) -> RestsOn<Result<Done, Refusal>> {
        let now = self.state.time.max(wall);
        let decision = match decide(&self.state, command, now) {
            Ok(decision) => decision,
            Err(rejection) => return self.rests(command, wall, Err(Refusal::Rejected(rejection))),
        };
        match decision {
            Decision::Answer(answer) => {
                let effect = effect_of(&self.state, &answer.outcome);
                self.rests(command, wall, Ok(Done { effect, novelty: answer.novelty }))
            }
            Decision::Nothing => self.rests(command, wall, Ok(Done { effect: self.effect_of_nothing(command), novelty: Novelty::Fresh })),
            Decision::Event(event) => self.record(command, request_id, event, now),
        }
    }

    fn apply_at(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        at: Timestamp,
        watch: &mut impl Watch,
    ) -> Result<Done, Rejection> {
        self.pass_time(at);
        let now = self.state.time;
        match decide(&self.state, command, now)? {
            Decision::Answer(answer) => Ok(Done { effect: effect_of(&self.state, &answer.outcome), novelty: answer.novelty }),
            Decision::Nothing => Ok(Done { effect: self.effect_of_nothing(command), novelty: Novelty::Fresh }),
            Decision::Event(event) => {
                let record = Record { at: now, actor: command.actor, request_id, request: command.request, event };
                watch.before(&record, &self.state);
                let lsn = self.staged_lsn.next();
                let effect = self.evolve(lsn, &record);
                watch.after(lsn, &record, &self.state);
                Ok(Done { effect, novelty: Novelty::Fresh })
            }
        }
    }

    /// From here the command takes effect, unless there is no room for it.
    fn record(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        event: Event<'_>,
        now: Timestamp,
    ) -> RestsOn<Result<Done, Refusal>> {
        if let Err(refusal) = self.check_room(command, &event) {
            return RestsOn { value: Err(refusal), lsn: Lsn::ZERO };
        }
        let record = Record { at: now, actor: command.actor, request_id, request: command.request, event };
        self.staged.push(|body, private| wire::encode_record(&record, body, private));
        let lsn = self.staged_lsn.next();
        let effect = self.evolve(lsn, &record);
        RestsOn { value: Ok(Done { effect, novelty: Novelty::Fresh }), lsn }
    }

    fn evolve(&mut self, lsn: Lsn, record: &Record<'_>) -> Effect {
        if self.state.time < record.at {
            self.time_lsn = lsn;
        }
        let outcome = self.state.evolve(record);
        self.staged_lsn = lsn;
        if let Event::Coupon(event) = &record.event {
            self.campaign_lsns.resize(self.state.campaigns().len(), Lsn::ZERO);
            let place = event.campaign().0 as usize;
            if let (Some(last), Some(campaign)) = (self.campaign_lsns.get_mut(place), self.state.campaign_at(event.campaign())) {
                *last = lsn;
                assert_eq!(campaign.check(), Ok(()), "an invariant of the rules is broken by record {lsn}");
            }
        }
        if let Event::Policy(event) = &record.event {
            self.policies_lsn = lsn;
            assert_eq!(self.state.policies.check_one(event.policy()), Ok(()), "an invariant of the policies is broken by record {lsn}");
            return self.effect_on(event.policy());
        }
        outcome.map_or(Effect::Nothing, |outcome| effect_of(&self.state, &outcome))
    }

    /// Of a command that changes nothing.
    fn effect_of_nothing(&self, command: &Command<'_>) -> Effect {
        match &command.kind {
            CommandKind::Policy(policy) => self.effect_on(policy.policy()),
            CommandKind::Coupon(_) | CommandKind::ForgetRequests => Effect::Nothing,
        }
    }

    /// The policy as it stands; nothing if it is gone.
    fn effect_on(&self, policy: PolicyName<'_>) -> Effect {
        let kept = self.state.policies.get(policy);
        kept.map_or(Effect::Nothing, |kept| Effect::Policy(PolicyView::new(policy.as_str(), kept)))
    }

    fn check_room(&self, command: &Command<'_>, event: &Event<'_>) -> Result<(), Refusal> {
        if self.is_stopping {
            return Err(Refusal::Stopping);
        }
        let wanted = self.staged.bytes_count() + self.in_flight_bytes + RECORD_BYTES_MAX;
        if self.limits.staged_bytes_max < self.staged.bytes_count() + RECORD_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        if self.room_bytes < wanted {
            return Err(if self.is_read_only() { Refusal::StorageFull } else { Refusal::Busy });
        }
        self.limits.exceeded(&self.state, command, event).map_or(Ok(()), |what| Err(Refusal::MemoryLimit(what)))
    }

    /// A repeat or a refusal rests on its campaign's last record, and on what its time comes from.
    fn rests<T>(&self, command: &Command<'_>, wall: Timestamp, value: T) -> RestsOn<T> {
        let campaign = match &command.kind {
            CommandKind::Coupon(coupon) => self.state.campaign(coupon.campaign()),
            CommandKind::Policy(_) => return RestsOn { value, lsn: self.policies_lsn },
            CommandKind::ForgetRequests => None,
        };
        RestsOn { value, lsn: campaign.map_or(Lsn::ZERO, |campaign| self.lsn_of(campaign).max(self.lsn_of_time(wall))) }
    }

    /// Where the clock is behind, the time is that of a record, which may be lost yet.
    fn lsn_of_time(&self, wall: Timestamp) -> Lsn {
        if wall < self.state.time { self.time_lsn } else { Lsn::ZERO }
    }

    fn lsn_of(&self, campaign: &Campaign) -> Lsn {
        self.campaign_lsns.get(campaign.number.0 as usize).copied().unwrap_or_default()
    }
}

fn named(campaign: &Campaign, now: Timestamp) -> NamedCampaign {
    NamedCampaign { name: campaign.name.clone(), view: campaign.view(now) }
}

/// A record that `evolve` would take without a word, but that no `decide` can have made.
fn check_fits(state: &State, record: &Record<'_>) -> Result<(), String> {
    if record.at < state.time {
        return Err("its time is before that of the record ahead of it".to_owned());
    }
    let event = match &record.event {
        Event::Coupon(event) => event,
        Event::Policy(event) => return check_policy_fits(state, event),
        Event::RequestsForgotten { .. } => return Ok(()),
    };
    let campaign = state.campaign_at(event.campaign());
    let fits = match (event, campaign) {
        (coupon::Event::CampaignCreated { campaign: number, .. }, None) => number.0 as usize == state.campaigns().len(),
        (coupon::Event::CampaignChanged { settings, .. }, Some(campaign)) => campaign.taken() <= settings.stock,
        (coupon::Event::Claimed { serial, subject, .. }, Some(campaign)) if campaign.first_pending().is_some() => {
            campaign.first_pending().is_some_and(|claim| (claim.serial, claim.subject) == (*serial, *subject))
        }
        (coupon::Event::Accepted { serial, .. } | coupon::Event::Claimed { serial, .. }, Some(campaign)) => {
            campaign.claims.serial_next() == Some(*serial) && 0 < campaign.remaining.get()
        }
        (coupon::Event::Redeemed { serial, .. } | coupon::Event::Cancelled { serial, .. }, Some(campaign)) => {
            campaign.claims.get(*serial).is_some_and(|claim| claim.status == domain::claims::ClaimStatus::Live)
        }
        (coupon::Event::CampaignCreated { .. }, Some(_)) | (_, None) => false,
    };
    told(fits)
}

fn check_policy_fits(state: &State, event: &policies::Event<'_>) -> Result<(), String> {
    let kept = state.policies.get(event.policy());
    told(match (event, kept) {
        (policies::Event::PolicyWritten { rule, .. }, kept) => {
            kept.is_none_or(|kept| kept.overrides.values().all(|numbers| rule.with_numbers(*numbers).is_ok()))
        }
        (policies::Event::OverrideWritten { numbers, .. }, Some(kept)) => kept.rule.with_numbers(*numbers).is_ok(),
        (policies::Event::PolicyRemoved { .. }, kept) => kept.is_some(),
        (policies::Event::OverrideRemoved { key, .. }, Some(kept)) => kept.overrides.contains_key(key.as_str()),
        (policies::Event::OverrideWritten { .. } | policies::Event::OverrideRemoved { .. }, None) => false,
    })
}

fn told(fits: bool) -> Result<(), String> {
    if fits { Ok(()) } else { Err("the rules cannot have decided it after the records ahead of it".to_owned()) }
}

/// A panic while state and staged records may disagree ends the process (W1).
struct PanicEnds;

impl Drop for PanicEnds {
    fn drop(&mut self) {
        std::process::abort();
    }
}
