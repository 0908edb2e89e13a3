//! A request's way from the call to the answer.
//!
//! What the node's own state says of a request is looked at first. Where it says that nothing would
//! change (a repeat, a refusal), the node passes a barrier and looks again: only then it counts.
//! Otherwise the command is appended, a claim with the gate's leave, and what the node says is what
//! the rules decide when the record comes by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::coupon::{self, Campaign, TargetBy};
use domain::state::CommandKind;
use domain::types::{ActorId, CampaignName, RequestId, Serial, Timestamp};
use domain::{Command, Rejection};
use engine::views::{ClaimView, Done, NamedCampaign, Refusal, WatchedCampaign};
use queues::Queues;
use tokio::sync::oneshot;

use super::barrier::{Barriers, NotCaughtUp};
use super::gate::GateServer;
use super::lane::{Lane, Standing};
use super::limits::LANE_IDLE;
use super::partition::partition_of;
use super::record::{Body, LogId, LogRecord, NodeId, Origin, Place, RulesVersion, encode};
use super::replica::{Applied, Delivered, Fault, Progress, Replica, Unwatched};

mod queues;
mod submit;

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
    /// The numbers of the code keys that this server has.
    code_keys: BTreeSet<u32>,
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
    /// Campaigns whose code key was looked for.
    campaigns_checked: AtomicUsize,
    barriers: Barriers,
    /// Something that this node appended did not come by in time.
    is_cut_off: AtomicBool,
    lanes: Mutex<BTreeMap<String, Arc<Lane<G>>>>,
    queues: Mutex<Queues>,
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
    /// A node that follows these replicas, one for each partition, in their order. `code_keys` are the
    /// numbers of those that this server has: a campaign with another one stops the node, whose codes
    /// would be wrong.
    #[must_use]
    pub fn new(
        id: NodeId,
        log_id: LogId,
        log: L,
        gate: Option<Arc<G>>,
        limits: NodeLimits,
        code_keys: BTreeSet<u32>,
        replicas: Vec<Replica>,
    ) -> Self {
        let partitions = replicas.into_iter().map(|replica| Partition {
            replica: Mutex::new(replica),
            campaigns_checked: AtomicUsize::new(0),
            barriers: Barriers::default(),
            is_cut_off: AtomicBool::new(false),
            lanes: Mutex::new(BTreeMap::new()),
            queues: Mutex::default(),
        });
        Self {
            id,
            log_id,
            log,
            gate,
            limits,
            code_keys,
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

    /// Where the order is made.
    #[must_use]
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The gate, if there is one.
    #[must_use]
    pub fn gate(&self) -> Option<&Arc<G>> {
        self.gate.as_ref()
    }

    /// Says nothing and takes nothing until everything that is in the log by now has been applied.
    pub fn catch_up(&self) {
        for (partition, place) in (0..).zip(&self.partitions) {
            place.is_cut_off.store(true, Ordering::Relaxed);
            place.barriers.keep(true, |number| self.append_barrier(partition, number));
        }
    }

    /// How many partitions the log has.
    #[must_use]
    pub fn partitions_count(&self) -> u32 {
        let Ok(count) = u32::try_from(self.partitions.len()) else { panic!("a topic has fewer than 2^31 partitions") };
        count
    }

    /// Applies the next records of a partition, and answers those of this node.
    ///
    /// # Errors
    /// [`Fault`]; the node must not be used further then, see [`Node::fail`].
    pub fn apply<'a>(&self, partition: u32, records: impl Iterator<Item = Delivered<'a>>) -> Result<(), Fault> {
        let place = self.partitions.get(partition as usize).ok_or(self.unknown(partition))?;
        let (mut answers, mut barrier) = (Vec::new(), 0);
        {
            let mut replica = locked(&place.replica);
            for record in records {
                match replica.apply(&record, &mut Unwatched)? {
                    Applied::Command { origin, answer } if origin.node == self.id => {
                        answers.push((origin.sequence, (record.offset, answer)));
                    }
                    Applied::Barrier { origin } if origin.node == self.id => barrier = barrier.max(origin.sequence),
                    Applied::Turn { origin, campaign, is_decided } => {
                        locked(&place.queues).turn(origin.node == self.id, campaign, is_decided);
                    }
                    Applied::Command { .. } | Applied::Barrier { .. } | Applied::Other => {}
                }
            }
            locked(&place.queues).applied();
            // Before anybody is answered: a yes may carry a code.
            self.check(partition, place, &replica)?;
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

    /// A campaign as it stands, exact at one instant, if there is one.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn campaign(&self, name: CampaignName<'_>) -> Result<Option<NamedCampaign>, Refusal> {
        let partition = partition_of(name.as_str(), self.partitions_count());
        self.pass_barrier(partition).await?;
        Ok(self.with_replica(partition, |replica| replica.core().campaign(name, Timestamp::ZERO).value))
    }

    /// A campaign as this node knows it, without asking whether others know more: for those who
    /// watch, never for an answer. All of it is durable, because it came from the log.
    #[must_use]
    pub fn watched(&self, name: CampaignName<'_>, last_max: u32, wall: Timestamp) -> Option<WatchedCampaign> {
        let partition = partition_of(name.as_str(), self.partitions_count());
        self.with_replica(partition, |replica| replica.core().watched(name, last_max, wall).value)
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
        Ok(self.with_replica(partition, |replica| replica.core().claim(name, by).value))
    }

    /// The claim with this serial, pending or decided, if there is one.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn claim_at(&self, name: CampaignName<'_>, serial: Serial) -> Result<Option<ClaimView>, Refusal> {
        let partition = partition_of(name.as_str(), self.partitions_count());
        self.pass_barrier(partition).await?;
        Ok(self.with_replica(partition, |replica| replica.core().claim_at(name, serial, Timestamp::ZERO).value))
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
        Ok((partition, self.with_replica(partition, Replica::progress)))
    }

    /// The number of each campaign's code key, with the campaign's name.
    #[must_use]
    pub fn code_keys(&self) -> Vec<(u32, String)> {
        let mut keys = Vec::new();
        for place in &self.partitions {
            let replica = locked(&place.replica);
            keys.extend(replica.core().state().campaigns().iter().map(|campaign| (campaign.code_key, campaign.name.clone())));
        }
        keys
    }

    /// How far each partition is.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.partitions.iter().map(|place| locked(&place.replica).progress()).collect()
    }

    /// Compares with what another node came to.
    ///
    /// # Errors
    /// [`Fault::Disagreement`], and [`Fault::UnknownPartition`].
    pub fn compare(&self, partition: u32, other: &Progress) -> Result<(), Fault> {
        let place = self.partitions.get(partition as usize).ok_or(self.unknown(partition))?;
        locked(&place.replica).compare(other)
    }

    /// Looks after what nobody asks for: gates are corrected, request keys whose time has come are
    /// forgotten, and a partition that did not answer is tried again. To be called every second.
    pub fn keep(&self) {
        for (partition, place) in (0..).zip(&self.partitions) {
            let (is_due, standings) = {
                let replica = locked(&place.replica);
                let state = replica.core().state();
                let is_due = state.requests.next_deadline().is_some_and(|deadline| deadline <= state.time);
                let lanes = locked(&place.lanes);
                let standings: Vec<_> =
                    lanes.values().filter_map(|lane| Some((Arc::clone(lane), standing_of(&replica, lane.campaign())?))).collect();
                (is_due, standings)
            };
            let is_cut_off = place.is_cut_off.load(Ordering::Relaxed);
            place.barriers.keep(is_cut_off, |number| self.append_barrier(partition, number));
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

    /// Whether this node may go on with what the log says: it is the one that the node follows, and no
    /// campaign in it has a code key that is not here.
    fn check(&self, partition: u32, place: &Partition<G>, replica: &Replica) -> Result<(), Fault> {
        if let Some(log) = replica.log().filter(|log| *log != self.log_id) {
            let what = format!("it belongs to log {log}, and this server follows log {}", self.log_id);
            return Err(Fault::Genesis { partition, what });
        }
        let campaigns = replica.core().state().campaigns();
        let checked = place.campaigns_checked.swap(campaigns.len(), Ordering::Relaxed);
        match campaigns.iter().skip(checked).find(|campaign| !self.code_keys.contains(&campaign.code_key)) {
            Some(campaign) => Err(Fault::CodeKeyMissing { number: campaign.code_key, campaign: campaign.name.clone() }),
            None => Ok(()),
        }
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
        let place = self.partition(partition);
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
        self.partition(partition).is_cut_off.store(true, Ordering::Relaxed);
    }

    fn with_replica<T>(&self, partition: u32, look: impl FnOnce(&Replica) -> T) -> T {
        look(&locked(&self.partition(partition).replica))
    }

    /// One that this node chose itself, by [`partition_of`].
    fn partition(&self, partition: u32) -> &Partition<G> {
        let Some(place) = self.partitions.get(partition as usize) else {
            panic!("a name belongs to one of the log's {} partitions, not to {partition}", self.partitions.len())
        };
        place
    }

    fn unknown(&self, partition: u32) -> Fault {
        Fault::UnknownPartition { partition, partitions: self.partitions_count() }
    }
}

fn standing_of(replica: &Replica, campaign: &str) -> Option<Standing> {
    let Ok(name) = CampaignName::new(campaign) else { panic!("a lane has the name of a campaign, not {campaign:?}") };
    let known = replica.core().state().campaign(name)?;
    Some(standing(replica, known))
}

fn standing(replica: &Replica, campaign: &Campaign) -> Standing {
    Standing { offset_next: replica.offset_next(), remaining: campaign.remaining.get().into(), stock: campaign.settings.stock.get().into() }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
