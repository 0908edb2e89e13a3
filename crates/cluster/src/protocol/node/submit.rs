//! The way of a command: foreseen, perhaps let pass by the gate, appended, answered.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use domain::coupon::{self, Target, TargetBy};
use domain::state::CommandKind;
use domain::types::{CampaignName, RequestId, SubjectId};
use domain::{Command, Rejection};
use engine::core::Foreseen;
use engine::views::{Done, Effect, Refusal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Answered, Log, Node, locked, standing};
use crate::protocol::gate::{GateKey, GateServer, GateVerdict, Mark};
use crate::protocol::lane::{Lane, LaneVerdict, Standing};
use crate::protocol::limits::{ANSWER_TIME_MAX, GATE_LOOK, GATE_PATIENCE, PENDING_MAX};
use crate::protocol::partition::partition_of;
use crate::protocol::record::{Body, Place};
use crate::protocol::replica::Replica;

impl<L: Log, G: GateServer> Node<L, G> {
    /// Has a command decided.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, command: &Command<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let coupon = match &command.kind {
            // The engine's own: nobody asks for it from outside.
            CommandKind::Coupon(coupon::Command::DecideNext(_)) => return Err(Refusal::Unknown),
            CommandKind::Coupon(coupon) => coupon,
            CommandKind::Policy(_) => return Err(Refusal::NotAcrossMachines),
            CommandKind::ForgetRequests => return Err(Refusal::Unknown),
        };
        let partition = partition_of(coupon.campaign().as_str(), self.partitions_count());
        self.check_takes(partition)?;
        let names_claim = matches!(coupon, coupon::Command::Redeem(_) | coupon::Command::Cancel(_));
        if (names_claim || self.foresee(partition, command) != Ok(Foreseen::TakesEffect))
            && let Some(answer) = self.answer_here(partition, command).await?
        {
            return answer;
        }
        self.check_room(partition, command)?;
        match coupon {
            coupon::Command::Claim(claim) => self.claim(partition, command, claim.subject, request_id).await,
            coupon::Command::Redeem(target) => {
                let named = match self.name_serial(partition, command, *target) {
                    Named::Target(target) => coupon::Command::Redeem(target),
                    Named::Answer(answer) => return answer,
                };
                self.append(partition, &Command { kind: CommandKind::Coupon(named), ..*command }, request_id).await.1
            }
            coupon::Command::Cancel(target) => self.cancel(partition, command, *target, request_id).await,
            coupon::Command::Put(_) | coupon::Command::Patch(_) | coupon::Command::DecideNext(_) => {
                self.append(partition, command, request_id).await.1
            }
        }
    }

    /// A claim that would take effect, as far as the node's own state knows.
    async fn claim(
        &self,
        partition: u32,
        command: &Command<'_>,
        subject: SubjectId<'_>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let CommandKind::Coupon(coupon) = &command.kind else { unreachable!("a claim is a coupon's command") };
        let campaign = coupon.campaign();
        let lane = self.lane(partition, campaign);
        let mut patience = GATE_PATIENCE;
        loop {
            let Some((standing, mark)) = self.with_replica(partition, |replica| gate_view(replica, campaign, subject)) else {
                return self.append(partition, command, request_id).await.1;
            };
            match lane.enter(mark, standing).await {
                LaneVerdict::Gate(GateVerdict::Passed) => {
                    let unit = Unit { lane: &lane, mark, outcome: UnitOutcome::Unclear };
                    return self.append_passed(partition, command, unit, request_id).await;
                }
                LaneVerdict::Full => return Err(Refusal::Busy),
                LaneVerdict::Away => return self.append_ungated(partition, command, &lane, request_id).await,
                LaneVerdict::Gate(GateVerdict::SoldOut | GateVerdict::Marked) => {}
            }
            // The gate's no counts only if the node's own state agrees.
            if let Some(answer) = self.answer_here(partition, command).await? {
                return answer;
            }
            // Time for which the log stands still does not count: nothing in flight can be decided in it.
            let Some(rest) = patience.checked_sub(GATE_LOOK) else {
                return self.append_ungated(partition, command, &lane, request_id).await;
            };
            patience = rest;
            // Claims in flight take what is left, or give it back.
            tokio::time::sleep(GATE_LOOK).await;
        }
    }

    async fn append_passed(
        &self,
        partition: u32,
        command: &Command<'_>,
        mut unit: Unit<'_, G>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let (offset, answer) = self.append(partition, command, request_id).await;
        unit.outcome = match &answer {
            Ok(Done { effect: Effect::Claimed(_), novelty: domain::Novelty::Fresh }) => UnitOutcome::Taken(offset),
            // It may be decided yet.
            Err(Refusal::Unknown) => UnitOutcome::Unclear,
            Ok(_) => UnitOutcome::Returned,
            Err(_) => UnitOutcome::Refused,
        };
        answer
    }

    /// Without the gate's leave: a few at a time, and only as long as the node's own state knows of
    /// something left.
    async fn append_ungated(
        &self,
        partition: u32,
        command: &Command<'_>,
        lane: &Lane<G>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let _place = lane.ungated().await.ok_or(Refusal::Busy)?;
        // It may have been a long wait.
        self.check_takes(partition)?;
        if self.foresee(partition, command) != Ok(Foreseen::TakesEffect)
            && let Some(answer) = self.answer_here(partition, command).await?
        {
            return answer;
        }
        let (offset, answer) = self.append(partition, command, request_id).await;
        offset.into_iter().for_each(|offset| lane.decided(offset));
        answer
    }

    async fn cancel(&self, partition: u32, command: &Command<'_>, target: Target<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let named = match self.name_serial(partition, command, target) {
            Named::Target(target) => coupon::Command::Cancel(target),
            Named::Answer(answer) => return answer,
        };
        let done = self.append(partition, &Command { kind: CommandKind::Coupon(named), ..*command }, request_id).await.1?;
        if let Effect::Cancelled(claim) = &done.effect {
            let Ok(subject) = SubjectId::new(&claim.subject) else { panic!("a claim's subject is one, not {:?}", claim.subject) };
            self.lane(partition, target.campaign).unmark(mark_of(subject));
        }
        Ok(done)
    }

    /// The claim that is meant, by its serial: the same command a second time must never hit
    /// another claim of the same subject. Since the barrier the state may have gone on: then it may
    /// have an answer, which is the request key's where it has one.
    fn name_serial<'a>(&self, partition: u32, command: &Command<'_>, target: Target<'a>) -> Named<'a> {
        let TargetBy::Subject(subject) = target.by else { return Named::Target(target) };
        self.with_replica(partition, |replica| match replica.core().foresee(command) {
            Ok(Foreseen::TakesEffect) => match replica.core().claim(target.campaign, target.by).value {
                Ok(claim) => Named::Target(Target { by: TargetBy::SubjectSerial(subject, claim.serial), ..target }),
                Err(rejection) => Named::Answer(Err(Refusal::Rejected(rejection.into()))),
            },
            Ok(Foreseen::Answer(done)) => Named::Answer(Ok(done)),
            Err(rejection) => Named::Answer(Err(Refusal::Rejected(rejection))),
        })
    }

    /// The answer where nothing would change, after a barrier; `None` if the command would take
    /// effect.
    async fn answer_here(&self, partition: u32, command: &Command<'_>) -> Result<Option<Result<Done, Refusal>>, Refusal> {
        self.pass_barrier(partition).await?;
        Ok(match self.foresee(partition, command) {
            Ok(Foreseen::TakesEffect) => None,
            Ok(Foreseen::Answer(done)) => Some(Ok(done)),
            Err(rejection) => Some(Err(Refusal::Rejected(rejection))),
        })
    }

    fn foresee(&self, partition: u32, command: &Command<'_>) -> Result<Foreseen, Rejection> {
        self.with_replica(partition, |replica| replica.core().foresee(command))
    }

    /// Appends a command, once, and waits until it comes by. Gives the offset of its record too.
    async fn append(&self, partition: u32, command: &Command<'_>, request_id: RequestId<'_>) -> (Option<u64>, Result<Done, Refusal>) {
        let CommandKind::Coupon(coupon) = &command.kind else { unreachable!("nothing but coupons is taken across machines") };
        let group = coupon.campaign();
        let sequence = self.next_sequence();
        let Some((_guard, receiver)) = self.expect(sequence) else { return (None, Err(Refusal::Busy)) };
        let body = Body::Command { request_id, command: *command };
        if self.append_record(partition, Place::Group(group.as_str()), sequence, body).is_err() {
            return (None, Err(Refusal::Busy));
        }
        match timeout(ANSWER_TIME_MAX, receiver).await {
            Ok(Ok((offset, answer))) => (Some(offset), answer.map_err(Refusal::Rejected)),
            Ok(Err(_)) => (None, Err(Refusal::Unknown)),
            Err(_) => {
                self.cut_off(partition);
                (None, Err(Refusal::Unknown))
            }
        }
    }

    fn expect(&self, sequence: u64) -> Option<(Expected<'_>, oneshot::Receiver<Answered>)> {
        let mut pending = locked(&self.pending);
        if PENDING_MAX <= pending.len() || self.has_failed() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        pending.insert(sequence, sender);
        Some((Expected { pending: &self.pending, sequence }, receiver))
    }

    fn check_takes(&self, partition: u32) -> Result<(), Refusal> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        let is_cut_off = self.partition(partition).is_cut_off.load(Ordering::Relaxed);
        if is_cut_off { Err(Refusal::NotCaughtUp) } else { Ok(()) }
    }

    /// Limits of memory are looked at before a command gets its place in the order: afterwards
    /// nothing but the rules may refuse it.
    fn check_room(&self, partition: u32, command: &Command<'_>) -> Result<(), Refusal> {
        let CommandKind::Coupon(coupon) = &command.kind else { return Ok(()) };
        let (claims, requests, campaigns) = self.with_replica(partition, |replica| {
            let state = replica.core().state();
            (state.claims_count(), state.requests.len(), state.campaigns().len())
        });
        let is_full = |limit| Err(Refusal::MemoryLimit(limit));
        match coupon {
            coupon::Command::Claim(_) if self.limits.claims_max <= claims => is_full("claims"),
            coupon::Command::Put(_) if self.limits.campaigns_max <= campaigns => is_full("campaigns"),
            _ if command.request.is_some() && self.limits.requests_max <= requests => is_full("request_keys"),
            _ => Ok(()),
        }
    }

    fn lane(&self, partition: u32, campaign: CampaignName<'_>) -> Arc<Lane<G>> {
        let mut lanes = locked(&self.partition(partition).lanes);
        if let Some(lane) = lanes.get(campaign.as_str()) {
            return Arc::clone(lane);
        }
        let key = GateKey { log: self.log_id, partition, campaign: campaign.as_str().to_owned() };
        let lane = Lane::new(self.gate.clone(), key, self.id);
        lanes.insert(campaign.as_str().to_owned(), Arc::clone(&lane));
        lane
    }
}

/// What became of naming a claim by its serial.
enum Named<'a> {
    Target(Target<'a>),
    Answer(Result<Done, Refusal>),
}

/// A command whose answer is waited for.
struct Expected<'a> {
    pending: &'a Mutex<BTreeMap<u64, oneshot::Sender<Answered>>>,
    sequence: u64,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        locked(self.pending).remove(&self.sequence);
    }
}

/// A unit that the gate gave, until it is known what became of it.
struct Unit<'a, G: GateServer> {
    lane: &'a Arc<Lane<G>>,
    mark: Option<Mark>,
    outcome: UnitOutcome,
}

enum UnitOutcome {
    Taken(Option<u64>),
    Returned,
    Refused,
    Unclear,
}

impl<G: GateServer> Drop for Unit<'_, G> {
    fn drop(&mut self) {
        match self.outcome {
            UnitOutcome::Taken(offset) => self.lane.taken(offset),
            UnitOutcome::Returned => self.lane.returned(),
            UnitOutcome::Refused => self.lane.refused(self.mark),
            // The next correction gives it back if it was not taken.
            UnitOutcome::Unclear => self.lane.taken(None),
        }
    }
}

/// What the gate is told of a claim; nothing where there is no such campaign.
fn gate_view(replica: &Replica, campaign: CampaignName<'_>, subject: SubjectId<'_>) -> Option<(Standing, Option<Mark>)> {
    let known = replica.core().state().campaign(campaign)?;
    let mark = (known.settings.per_subject_max == 1).then(|| mark_of(subject));
    Some((standing(replica, known), mark))
}

/// A subject's mark is the same on every node: it follows from the subject alone.
fn mark_of(subject: SubjectId<'_>) -> Mark {
    const SEED: domain::hash::HashSeed = domain::hash::HashSeed(0x6d61_726b, 0x7375_626a);
    let hash = SEED.hash(subject.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    Mark { set: u32::from_le_bytes([a, b, c, d]), number: i32::from_le_bytes([e, f, g, h]) }
}
