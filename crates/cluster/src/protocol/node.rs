//! A request's way from the call to the answer.
//!
//! What the node's own state says of a request is looked at first. Where it says that nothing would
//! change (a repeat, a refusal), the node passes a barrier and looks again: only then it counts.
//! Otherwise the command is appended, a claim with the gate's leave, and what the node says is what
//! the rules decide when the record comes by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::coupon::{self, Campaign, Target, TargetBy};
use domain::state::CommandKind;
use domain::types::{ActorId, CampaignName, RequestId, SubjectId, Timestamp};
use domain::{Command, Rejection};
use engine::core::Foreseen;
use engine::views::{ClaimView, Done, Effect, NamedCampaign, Refusal};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::barrier::{Barriers, NotCaughtUp};
use super::gate::{GateKey, GateServer, GateVerdict, Mark};
use super::lane::{Lane, LaneVerdict, Standing};
use super::limits::{ANSWER_TIME_MAX, GATE_LOOK, GATE_PATIENCE, LANE_IDLE, PENDING_MAX};
use super::partition::partition_of;
use super::record::{Body, LogId, LogRecord, NodeId, Origin, Place, RulesVersion, encode};
use super::replica::{Applied, Delivered, Fault, Progress, Replica, Unwatched};

/// The record was surely not appended: as many are on their way as may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Where the order is made.
pub trait Log: Send + Sync + 'static {
    /// Hands a record to the log, in the order of the calls, and does not wait for it. Whether it
    /// arrives shows when it comes by.
    ///
    /// # Errors
    /// [`Full`].
    fn append(&self, partition: u32, key: &str, bytes: Vec<u8>) -> Result<(), Full>;
}

/// What a node takes on at most.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// Claims in memory, cancelled ones included.
    pub claims_max: u64,
    /// Request keys in memory.
    pub requests_max: usize,
    /// Campaigns.
    pub campaigns_max: usize,
}

/// One process that serves.
#[derive(Debug)]
pub struct Node<L, G> {
    id: NodeId,
    log_id: LogId,
    log: L,
    gate: Option<Arc<G>>,
    limits: NodeLimits,
    partitions: Vec<Partition<G>>,
    sequence: AtomicU64,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Answered>>>,
    is_stopping: AtomicBool,
    has_failed: AtomicBool,
}

/// An answer, and the offset of its record.
type Answered = (u64, Result<Done, Rejection>);

#[derive(Debug)]
struct Partition<G> {
    replica: Mutex<Replica>,
    barriers: Barriers,
    /// Something that this node appended did not come by in time.
    is_cut_off: AtomicBool,
    lanes: Mutex<BTreeMap<String, Arc<Lane<G>>>>,
}

/// What a node has to say of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeStatus {
    /// Claims in memory.
    pub claims_count: u64,
    /// Request keys in memory.
    pub requests_count: u64,
    /// Campaigns.
    pub campaigns_count: u64,
    /// Records that changed something, over all partitions.
    pub decisions: u64,
    /// Records that were applied, over all partitions.
    pub records: u64,
    /// Commands whose answers have not come by yet.
    pub pending: usize,
    /// Partitions that did not answer in time.
    pub cut_off: usize,
    /// The largest effective time.
    pub effective_at: Timestamp,
}

impl<L: Log, G: GateServer> Node<L, G> {
    /// A node that follows these replicas, one for each partition, in their order.
    #[must_use]
    pub fn new(id: NodeId, log_id: LogId, log: L, gate: Option<Arc<G>>, limits: NodeLimits, replicas: Vec<Replica>) -> Self {
        let partitions = replicas.into_iter().map(|replica| Partition {
            replica: Mutex::new(replica),
            barriers: Barriers::default(),
            is_cut_off: AtomicBool::new(false),
            lanes: Mutex::new(BTreeMap::new()),
        });
        Self {
            id,
            log_id,
            log,
            gate,
            limits,
            partitions: partitions.collect(),
            sequence: AtomicU64::new(0),
            pending: Mutex::new(BTreeMap::new()),
            is_stopping: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Which node it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// How many partitions the log has.
    #[must_use]
    pub fn partitions_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Applies the next records of a partition, and answers those of this node.
    ///
    /// # Errors
    /// [`Fault`]; the node must not be used further then, see [`Node::fail`].
    pub fn apply<'a>(&self, partition: u32, records: impl Iterator<Item = Delivered<'a>>) -> Result<(), Fault> {
        let Some(place) = self.partitions.get(partition as usize) else { return Ok(()) };
        let (mut answers, mut barrier) = (Vec::new(), 0);
        {
            let mut replica = locked(&place.replica);
            for record in records {
                match replica.apply(&record, &mut Unwatched)? {
                    Applied::Command { origin, answer } if origin.node == self.id => {
                        answers.push((origin.sequence, (record.offset, answer)));
                    }
                    Applied::Barrier { origin } if origin.node == self.id => barrier = barrier.max(origin.sequence),
                    Applied::Command { .. } | Applied::Barrier { .. } | Applied::Other => {}
                }
            }
        }
        if !answers.is_empty() || barrier != 0 {
            place.is_cut_off.store(false, Ordering::Relaxed);
        }
        let waiting: Vec<_> = {
            let mut pending = locked(&self.pending);
            answers.into_iter().filter_map(|(sequence, answer)| Some((pending.remove(&sequence)?, answer))).collect()
        };
        for (sender, answer) in waiting {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
        if barrier != 0 {
            place.barriers.applied(barrier, |number| self.append_barrier(partition, number));
        }
        Ok(())
    }

    /// Has a command decided.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, command: &Command<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let CommandKind::Coupon(coupon) = &command.kind else { return Err(Refusal::Unknown) };
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
                let named = coupon::Command::Redeem(self.name_serial(partition, *target)?);
                self.append(partition, &Command { kind: CommandKind::Coupon(named), ..*command }, request_id).await.1
            }
            coupon::Command::Cancel(target) => self.cancel(partition, command, *target, request_id).await,
            coupon::Command::Put(_) | coupon::Command::Patch(_) => self.append(partition, command, request_id).await.1,
        }
    }

    /// A campaign as it stands, exact at one instant, if there is one.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn campaign(&self, name: CampaignName<'_>) -> Result<Option<NamedCampaign>, Refusal> {
        let partition = partition_of(name.as_str(), self.partitions_count());
        self.pass_barrier(partition).await?;
        Ok(self.with_replica(partition, |replica| replica.core().campaign(name, Timestamp::ZERO).value).flatten())
    }

    /// Up to `limit` campaigns after a name, in the order of names.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn campaigns(&self, after: Option<&str>, prefix: &str, limit: usize) -> Result<Vec<NamedCampaign>, Refusal> {
        self.pass_all_barriers().await?;
        let mut campaigns: Vec<NamedCampaign> = Vec::new();
        for place in &self.partitions {
            campaigns.extend(locked(&place.replica).core().campaigns(after, prefix, limit, Timestamp::ZERO).value);
        }
        campaigns.sort_by(|one, other| one.name.cmp(&other.name));
        campaigns.truncate(limit);
        Ok(campaigns)
    }

    /// A claim as it stands.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`]; inside, why there is no such claim.
    pub async fn claim_of(&self, name: CampaignName<'_>, by: TargetBy<'_>) -> Result<Result<ClaimView, coupon::Rejection>, Refusal> {
        let partition = partition_of(name.as_str(), self.partitions_count());
        self.pass_barrier(partition).await?;
        let claim = self.with_replica(partition, |replica| replica.core().claim(name, by).value);
        Ok(claim.unwrap_or(Err(coupon::Rejection::CampaignNotFound)))
    }

    /// Waits until the node has applied everything that any node was answered before the call.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn pass_all_barriers(&self) -> Result<(), Refusal> {
        // All are on their way at the same time.
        let mut waiting: Vec<_> = (0..self.partitions_count()).map(|partition| Box::pin(self.pass_barrier(partition))).collect();
        let mut is_behind = false;
        std::future::poll_fn(|context| {
            waiting.retain_mut(|pass| match pass.as_mut().poll(context) {
                std::task::Poll::Ready(outcome) => {
                    is_behind |= outcome.is_err();
                    false
                }
                std::task::Poll::Pending => true,
            });
            if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        if is_behind { Err(Refusal::NotCaughtUp) } else { Ok(()) }
    }

    /// The same for the partition of one campaign, and how many decisions there were in it by then.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn caught_up_with(&self, name: CampaignName<'_>) -> Result<(u32, Progress), Refusal> {
        let partition = partition_of(name.as_str(), self.partitions_count());
        self.pass_barrier(partition).await?;
        let progress = self.with_replica(partition, |replica| replica.progress());
        Ok((partition, progress.ok_or(Refusal::NotCaughtUp)?))
    }

    /// How far each partition is.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.partitions.iter().map(|place| locked(&place.replica).progress()).collect()
    }

    /// Compares with what another node came to.
    ///
    /// # Errors
    /// [`Fault::Disagreement`].
    pub fn compare(&self, partition: u32, other: &Progress) -> Result<(), Fault> {
        self.with_replica(partition, |replica| replica.compare(other)).unwrap_or(Ok(()))
    }

    /// Looks after what nobody asks for: gates are corrected, request keys whose time has come are
    /// forgotten, and a partition that did not answer is tried again. To be called every second.
    pub fn keep(&self) {
        for (partition, place) in (0..).zip(&self.partitions) {
            let (is_due, standings) = {
                let replica = locked(&place.replica);
                let state = replica.core().state();
                let is_due = state.next_deadline().is_some_and(|deadline| deadline <= state.time);
                let lanes = locked(&place.lanes);
                let standings: Vec<_> =
                    lanes.values().filter_map(|lane| Some((Arc::clone(lane), standing_of(&replica, lane.campaign())?))).collect();
                (is_due, standings)
            };
            if place.is_cut_off.load(Ordering::Relaxed) {
                place.barriers.probe(|number| self.append_barrier(partition, number));
            }
            for (lane, standing) in standings {
                lane.correct(standing);
            }
            locked(&place.lanes).retain(|_, lane| lane.used_at().elapsed() < LANE_IDLE || !lane.is_idle());
            if is_due {
                let forget = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::ForgetRequests };
                let body = Body::Command { request_id: RequestId::ENGINE, command: forget };
                // Anyone may ask, and it may be asked again: whether it arrives is of no importance.
                let _ = self.append_record(partition, Place::Partition(partition), self.next_sequence(), body);
            }
        }
    }

    /// Lets other rules decide in all partitions from here on.
    ///
    /// # Errors
    /// [`Full`].
    pub fn switch_rules(&self, version: RulesVersion) -> Result<(), Full> {
        (0..self.partitions_count()).try_for_each(|partition| {
            self.append_record(partition, Place::Partition(partition), self.next_sequence(), Body::Rules(version))
        })
    }

    /// Takes no further command.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// The node cannot go on: everybody who waits is told so.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.stop();
        locked(&self.pending).clear();
        self.partitions.iter().for_each(|place| place.barriers.fail());
    }

    /// Whether it cannot go on.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Counts, for metrics.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let mut status = NodeStatus { pending: locked(&self.pending).len(), ..NodeStatus::default() };
        for place in &self.partitions {
            let replica = locked(&place.replica);
            let (state, progress) = (replica.core().state(), replica.progress());
            status.claims_count += state.claims_count();
            status.requests_count += state.requests.len() as u64;
            status.campaigns_count += state.campaigns().len() as u64;
            status.decisions += progress.decisions;
            status.records += progress.offset_next;
            status.effective_at = status.effective_at.max(progress.effective_at);
            status.cut_off += usize::from(place.is_cut_off.load(Ordering::Relaxed));
        }
        status
    }

    /// A claim that would take effect, as far as the node's own state knows.
    async fn claim(
        &self,
        partition: u32,
        command: &Command<'_>,
        subject: SubjectId<'_>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let CommandKind::Coupon(coupon) = &command.kind else { return Err(Refusal::Unknown) };
        let campaign = coupon.campaign();
        let Some(lane) = self.lane(partition, campaign) else { return self.append(partition, command, request_id).await.1 };
        let patience = Instant::now() + GATE_PATIENCE;
        loop {
            let Some((standing, mark)) = self.with_replica(partition, |replica| gate_view(replica, campaign, subject)).flatten() else {
                return self.append(partition, command, request_id).await.1;
            };
            match lane.enter(mark, standing).await {
                LaneVerdict::Gate(GateVerdict::Passed) => return self.append_passed(partition, command, &lane, request_id).await,
                LaneVerdict::Full => return Err(Refusal::Busy),
                LaneVerdict::Away => return self.append_ungated(partition, command, &lane, request_id).await,
                LaneVerdict::Gate(GateVerdict::SoldOut | GateVerdict::Marked) => {}
            }
            // The gate's no counts only if the node's own state agrees.
            if let Some(answer) = self.answer_here(partition, command).await? {
                return answer;
            }
            if patience <= Instant::now() {
                return self.append_ungated(partition, command, &lane, request_id).await;
            }
            // Claims in flight take what is left, or give it back.
            tokio::time::sleep(GATE_LOOK).await;
        }
    }

    async fn append_passed(
        &self,
        partition: u32,
        command: &Command<'_>,
        lane: &Arc<Lane<G>>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let mut unit = Unit { lane, outcome: UnitOutcome::Unclear };
        let (offset, answer) = self.append(partition, command, request_id).await;
        unit.outcome = match &answer {
            Ok(Done { effect: Effect::Claimed(_), novelty: domain::Novelty::Fresh }) => UnitOutcome::Taken(offset),
            // It may be decided yet.
            Err(Refusal::Unknown) => UnitOutcome::Unclear,
            Ok(_) | Err(_) => UnitOutcome::Returned,
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
        if self.foresee(partition, command) != Ok(Foreseen::TakesEffect)
            && let Some(answer) = self.answer_here(partition, command).await?
        {
            return answer;
        }
        self.append(partition, command, request_id).await.1
    }

    async fn cancel(&self, partition: u32, command: &Command<'_>, target: Target<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let named = coupon::Command::Cancel(self.name_serial(partition, target)?);
        let done = self.append(partition, &Command { kind: CommandKind::Coupon(named), ..*command }, request_id).await.1?;
        if let (Effect::Cancelled(claim), Some(lane)) = (&done.effect, self.lane(partition, target.campaign))
            && let Ok(subject) = SubjectId::new(&claim.subject)
        {
            lane.unmark(mark_of(subject));
        }
        Ok(done)
    }

    /// The claim that is meant, by its serial: the same command a second time must never hit
    /// another claim of the same subject.
    fn name_serial<'a>(&self, partition: u32, target: Target<'a>) -> Result<Target<'a>, Refusal> {
        let TargetBy::Subject(subject) = target.by else { return Ok(target) };
        let found = self.with_replica(partition, |replica| {
            let campaign = replica.core().state().campaign(target.campaign).ok_or(coupon::Rejection::CampaignNotFound)?;
            campaign.find(target.by).map(|claim| claim.serial)
        });
        let serial = found.ok_or(Refusal::NotCaughtUp)?.map_err(|rejection| Refusal::Rejected(rejection.into()))?;
        Ok(Target { by: TargetBy::SubjectSerial(subject, serial), ..target })
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
        self.with_replica(partition, |replica| replica.core().foresee(command)).unwrap_or(Ok(Foreseen::TakesEffect))
    }

    /// Appends a command, once, and waits until it comes by. Gives the offset of its record too.
    async fn append(&self, partition: u32, command: &Command<'_>, request_id: RequestId<'_>) -> (Option<u64>, Result<Done, Refusal>) {
        let CommandKind::Coupon(coupon) = &command.kind else { return (None, Err(Refusal::Unknown)) };
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

    fn append_barrier(&self, partition: u32, number: u64) -> bool {
        self.append_record(partition, Place::Partition(partition), number, Body::Barrier).is_ok()
    }

    fn append_record(&self, partition: u32, place: Place<'_>, sequence: u64, body: Body<'_>) -> Result<(), Full> {
        let key = match place {
            Place::Group(group) => group,
            Place::Partition(_) => "",
        };
        let record = LogRecord { origin: Origin { node: self.id, sequence }, place, body };
        self.log.append(partition, key, encode(&record))
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn pass_barrier(&self, partition: u32) -> Result<(), Refusal> {
        let Some(place) = self.partitions.get(partition as usize) else { return Err(Refusal::NotCaughtUp) };
        if place.is_cut_off.load(Ordering::Relaxed) {
            return Err(Refusal::NotCaughtUp);
        }
        let passed = place.barriers.pass(|number| self.append_barrier(partition, number)).await;
        passed.map_err(|NotCaughtUp| {
            self.cut_off(partition);
            Refusal::NotCaughtUp
        })
    }

    fn cut_off(&self, partition: u32) {
        if let Some(place) = self.partitions.get(partition as usize) {
            place.is_cut_off.store(true, Ordering::Relaxed);
        }
    }

    fn check_takes(&self, partition: u32) -> Result<(), Refusal> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        let is_cut_off = self.partitions.get(partition as usize).is_none_or(|place| place.is_cut_off.load(Ordering::Relaxed));
        if is_cut_off { Err(Refusal::NotCaughtUp) } else { Ok(()) }
    }

    /// Limits of memory are looked at before a command gets its place in the order: afterwards
    /// nothing but the rules may refuse it.
    fn check_room(&self, partition: u32, command: &Command<'_>) -> Result<(), Refusal> {
        let CommandKind::Coupon(coupon) = &command.kind else { return Ok(()) };
        let (claims, requests, campaigns) = self
            .with_replica(partition, |replica| {
                let state = replica.core().state();
                (state.claims_count(), state.requests.len(), state.campaigns().len())
            })
            .unwrap_or_default();
        let is_full = |limit| Err(Refusal::MemoryLimit(limit));
        match coupon {
            coupon::Command::Claim(_) if self.limits.claims_max <= claims => is_full("claims"),
            coupon::Command::Put(_) if self.limits.campaigns_max <= campaigns => is_full("campaigns"),
            _ if command.request.is_some() && self.limits.requests_max <= requests => is_full("request_keys"),
            _ => Ok(()),
        }
    }

    fn lane(&self, partition: u32, campaign: CampaignName<'_>) -> Option<Arc<Lane<G>>> {
        let place = self.partitions.get(partition as usize)?;
        let mut lanes = locked(&place.lanes);
        if let Some(lane) = lanes.get(campaign.as_str()) {
            return Some(Arc::clone(lane));
        }
        let key = GateKey { log: self.log_id, partition, campaign: campaign.as_str().to_owned() };
        let lane = Lane::new(self.gate.clone(), key, self.id);
        lanes.insert(campaign.as_str().to_owned(), Arc::clone(&lane));
        Some(lane)
    }

    fn with_replica<T>(&self, partition: u32, look: impl FnOnce(&Replica) -> T) -> Option<T> {
        let place = self.partitions.get(partition as usize)?;
        Some(look(&locked(&place.replica)))
    }
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
    outcome: UnitOutcome,
}

enum UnitOutcome {
    Taken(Option<u64>),
    Returned,
    Unclear,
}

impl<G: GateServer> Drop for Unit<'_, G> {
    fn drop(&mut self) {
        match self.outcome {
            UnitOutcome::Taken(offset) => self.lane.taken(offset),
            UnitOutcome::Returned => self.lane.returned(),
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

fn standing_of(replica: &Replica, campaign: &str) -> Option<Standing> {
    let known = replica.core().state().campaign(CampaignName::new(campaign).ok()?)?;
    Some(standing(replica, known))
}

fn standing(replica: &Replica, campaign: &Campaign) -> Standing {
    Standing { offset_next: replica.offset_next(), remaining: campaign.remaining.get().into(), stock: campaign.settings.stock.get().into() }
}

/// A subject's mark is the same on every node: it follows from the subject alone.
fn mark_of(subject: SubjectId<'_>) -> Mark {
    const SEED: domain::hash::HashSeed = domain::hash::HashSeed(0x6d61_726b, 0x7375_626a);
    let hash = SEED.hash(subject.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    Mark { set: u32::from_le_bytes([a, b, c, d]), number: i32::from_le_bytes([e, f, g, h]) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
