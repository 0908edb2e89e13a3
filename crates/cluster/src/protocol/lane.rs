//! A campaign's way through the gate on this node.
//!
//! Claims that come while a call to the gate is under way go with the next one, all together; so
//! there is one call at a time, and what the node has in flight is known exactly between calls.
//! Where the gate is away, or says what the node's own state does not agree with, a few claims at a
//! time go to the record without its leave, and the others wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::gate::{Correct, Corrected, Enter, Entered, GateKey, GateServer, GateVerdict, GateVersion, Mark, Settled};
use super::limits::{GATE_CALL_MAX, LANE_WAITING_MAX, UNGATED_MAX};
use super::record::NodeId;

/// What the gate says to one claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneVerdict {
    /// The gate's own word.
    Gate(GateVerdict),
    /// It cannot be asked, or does not know the campaign yet.
    Away,
    /// As many wait as may.
    Full,
}

/// What the record says of a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The offset of the next record.
    pub offset_next: u64,
    /// Units that nobody holds.
    pub remaining: u64,
    /// Units in all.
    pub stock: u64,
}

/// One campaign's lane.
#[derive(Debug)]
pub struct Lane<G> {
    /// None where there is no gate at all.
    server: Option<Arc<G>>,
    key: GateKey,
    node: NodeId,
    inner: Mutex<Inner>,
    ungated: Arc<Semaphore>,
    ungated_waiting: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<(Option<Mark>, oneshot::Sender<LaneVerdict>)>,
    is_calling: bool,
    settled: Settled,
    /// The offset of the last claim that was settled, told or not.
    settled_through: u64,
    flight: u64,
    known: GateVersion,
    standing: Option<Standing>,
    is_correction_due: bool,
    has_just_corrected: bool,
    used_at: Instant,
}

impl<G: GateServer> Lane<G> {
    /// A lane that nobody has used.
    #[must_use]
    pub fn new(server: Option<Arc<G>>, key: GateKey, node: NodeId) -> Arc<Self> {
        let inner = Inner {
            waiting: VecDeque::new(),
            is_calling: false,
            settled: Settled::default(),
            settled_through: 0,
            flight: 0,
            known: GateVersion::default(),
            standing: None,
            is_correction_due: false,
            has_just_corrected: false,
            used_at: Instant::now(),
        };
        let ungated = Arc::new(Semaphore::new(UNGATED_MAX));
        Arc::new(Self { server, key, node, inner: Mutex::new(inner), ungated, ungated_waiting: AtomicUsize::new(0) })
    }

    /// Puts a claim to the gate. `standing` is what the record says, in case the gate does not know.
    pub async fn enter(self: &Arc<Self>, mark: Option<Mark>, standing: Standing) -> LaneVerdict {
        if self.server.is_none() {
            return LaneVerdict::Away;
        }
        let receiver = {
            let mut inner = self.inner();
            inner.used_at = Instant::now();
            inner.learn(standing);
            if LANE_WAITING_MAX <= inner.waiting.len() {
                return LaneVerdict::Full;
            }
            let (sender, receiver) = oneshot::channel();
            inner.waiting.push_back((mark, sender));
            self.call_unless_calling(&mut inner);
            receiver
        };
        let mut passing = Passing { lane: self, mark, receiver: Some(receiver) };
        passing.verdict().await
    }

    /// A claim that was let pass took a unit, or may have.
    pub fn taken(&self, offset: Option<u64>) {
        let mut inner = self.inner();
        inner.settled.taken += 1;
        inner.settled_through = inner.settled_through.max(offset.unwrap_or(0));
        inner.leave_flight();
    }

    /// A claim that was let pass was refused, or never went to the record: unit and mark are free
    /// again. Were the mark to stay, its subject would be held up at the next try.
    pub fn refused(self: &Arc<Self>, mark: Option<Mark>) {
        self.returned();
        mark.into_iter().for_each(|mark| self.unmark(mark));
    }

    /// A claim that was let pass took no unit: its subject has its claim already.
    pub fn returned(&self) {
        let mut inner = self.inner();
        inner.settled.returned += 1;
        inner.leave_flight();
    }

    /// Tells the gate what the record says, with the next call.
    pub fn correct(self: &Arc<Self>, standing: Standing) {
        if self.server.is_none() {
            return;
        }
        let mut inner = self.inner();
        inner.learn(standing);
        inner.is_correction_due = true;
        self.call_unless_calling(&mut inner);
    }

    /// The subject holds no claim.
    pub fn unmark(self: &Arc<Self>, mark: Mark) {
        let (Some(server), key) = (self.server.clone(), self.key.clone()) else { return };
        // Whoever asked may be dropped with the runtime.
        let Ok(runtime) = Handle::try_current() else { return };
        // Where the gate is away the mark stays, and lets the claim pass to the record.
        runtime.spawn(async move { server.unmark(&key, mark).await });
    }

    /// Waits for a place among those that go without the gate's leave; `None` if too many wait.
    pub async fn ungated(&self) -> Option<OwnedSemaphorePermit> {
        let waiting = Counted::new(&self.ungated_waiting);
        if LANE_WAITING_MAX < waiting.count {
            return None;
        }
        match Arc::clone(&self.ungated).acquire_owned().await {
            Ok(permit) => Some(permit),
            Err(_) => unreachable!("nobody closes the semaphore"),
        }
    }

    /// A claim without the gate's leave was decided.
    pub fn decided(&self, offset: u64) {
        let mut inner = self.inner();
        inner.settled_through = inner.settled_through.max(offset);
    }

    /// Whose it is.
    #[must_use]
    pub fn campaign(&self) -> &str {
        &self.key.campaign
    }

    /// When it was last used.
    #[must_use]
    pub fn used_at(&self) -> Instant {
        self.inner().used_at
    }

    /// Whether nothing of it is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let inner = self.inner();
        !inner.is_calling && inner.waiting.is_empty() && inner.flight == 0
    }

    fn ungated_count(&self) -> u64 {
        (UNGATED_MAX - self.ungated.available_permits()) as u64
    }

    fn call_unless_calling(self: &Arc<Self>, inner: &mut Inner) {
        if !std::mem::replace(&mut inner.is_calling, true) {
            let lane = Arc::clone(self);
            // A task of its own: whoever asks may go away in the middle.
            tokio::spawn(async move { lane.call().await });
        }
    }

    /// Calls the gate until nobody waits.
    async fn call(self: &Arc<Self>) {
        let Some(server) = &self.server else { return };
        while let Some(work) = self.next_work() {
            match work {
                Work::Correct => self.call_correct(server).await,
                Work::Enter(waiting) => self.call_enter(server, waiting).await,
            }
        }
    }

    fn next_work(&self) -> Option<Work> {
        let mut inner = self.inner();
        // In turns: where each call hangs, the next correction is due by the end of the last one.
        let is_turn_of_claims = inner.has_just_corrected && !inner.waiting.is_empty();
        if inner.is_correction_due && !is_turn_of_claims {
            inner.is_correction_due = false;
            inner.has_just_corrected = true;
            return Some(Work::Correct);
        }
        inner.has_just_corrected = false;
        let count = inner.waiting.len().min(GATE_CALL_MAX);
        if count == 0 {
            inner.is_calling = false;
            return None;
        }
        Some(Work::Enter(inner.waiting.drain(..count).collect()))
    }

    async fn call_correct(&self, server: &G) {
        let correct = {
            let mut inner = self.inner();
            // What has been decided since is in flight no more, and not in what remains either: the
            // next correction is a moment away.
            let Some(standing) = inner.standing.filter(|standing| inner.settled_through < standing.offset_next) else { return };
            // The number in flight says it all.
            inner.settled = Settled::default();
            Correct {
                key: self.key.clone(),
                node: self.node,
                known: inner.known,
                base: standing.offset_next,
                remaining: standing.remaining,
                // Those without the gate's leave take units too.
                flight: inner.flight + self.ungated_count(),
                sets: sets_for(standing.stock),
            }
        };
        let corrected = server.correct(&correct).await;
        let mut inner = self.inner();
        match corrected {
            Ok(Corrected::Taken(version) | Corrected::Filled(version) | Corrected::Ignored(version)) => {
                inner.known = inner.known.max(version);
            }
            Err(error) => tracing::debug!(%error, campaign = self.key.campaign, "the gate was not corrected"),
        }
    }

    async fn call_enter(self: &Arc<Self>, server: &G, waiting: Vec<(Option<Mark>, oneshot::Sender<LaneVerdict>)>) {
        let mut enter = {
            let mut inner = self.inner();
            Enter {
                key: self.key.clone(),
                node: self.node,
                known: inner.known,
                settled: Settled { offset: inner.settled_through, ..std::mem::take(&mut inner.settled) },
                claims: waiting.iter().map(|(mark, _)| *mark).collect(),
            }
        };
        let mut entered = server.enter(&enter).await;
        if entered == Ok(Entered::Unfilled) {
            self.call_correct(server).await;
            enter.known = self.inner().known;
            // The correction has said what is in flight: what was settled before it is in that.
            enter.settled = Settled { offset: enter.settled.offset, ..Settled::default() };
            entered = server.enter(&enter).await;
        }
        let verdicts = match entered {
            Ok(Entered::Verdicts(version, verdicts)) => {
                let mut inner = self.inner();
                inner.known = inner.known.max(version);
                inner.flight += verdicts.iter().filter(|verdict| **verdict == GateVerdict::Passed).count() as u64;
                verdicts
            }
            Ok(Entered::Unfilled) | Err(_) => Vec::new(),
        };
        let verdicts = verdicts.into_iter().map(LaneVerdict::Gate).chain(std::iter::repeat(LaneVerdict::Away));
        for ((mark, sender), verdict) in waiting.into_iter().zip(verdicts) {
            if let Err(LaneVerdict::Gate(GateVerdict::Passed)) = sender.send(verdict) {
                // Whoever asked has gone: nothing goes to the record.
                self.refused(mark);
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A claim that the gate let pass is settled, once.
    fn leave_flight(&mut self) {
        let Some(flight) = self.flight.checked_sub(1) else { panic!("a claim is in flight until it is settled") };
        self.flight = flight;
    }

    /// Who looked at the record earlier may come here later.
    fn learn(&mut self, standing: Standing) {
        if self.standing.is_none_or(|known| known.offset_next <= standing.offset_next) {
            self.standing = Some(standing);
        }
    }
}

enum Work {
    Correct,
    Enter(Vec<(Option<Mark>, oneshot::Sender<LaneVerdict>)>),
}

/// Into how many sets marks go: rather many small ones, which take a few bytes for each mark.
fn sets_for(stock: u64) -> u32 {
    let Ok(sets) = u32::try_from(stock.div_ceil(super::limits::MARKS_PER_SET)) else { panic!("a stock fits 32 bits, not {stock}") };
    sets.max(1)
}

/// Gives the unit back if whoever asked goes away between the verdict and reading it.
struct Passing<'a, G: GateServer> {
    lane: &'a Arc<Lane<G>>,
    mark: Option<Mark>,
    receiver: Option<oneshot::Receiver<LaneVerdict>>,
}

impl<G: GateServer> Passing<'_, G> {
    async fn verdict(&mut self) -> LaneVerdict {
        let Some(receiver) = self.receiver.as_mut() else { return LaneVerdict::Away };
        let verdict = receiver.await.unwrap_or(LaneVerdict::Away);
        self.receiver = None;
        verdict
    }
}

impl<G: GateServer> Drop for Passing<'_, G> {
    fn drop(&mut self) {
        let Some(receiver) = self.receiver.as_mut() else { return };
        // From here on sending fails: a verdict is either here, or stays with the sender.
        receiver.close();
        let verdict = receiver.try_recv().ok();
        if verdict == Some(LaneVerdict::Gate(GateVerdict::Passed)) {
            self.lane.refused(self.mark);
        }
    }
}

/// Counts somebody who waits, while it exists.
struct Counted<'a> {
    counter: &'a AtomicUsize,
    count: usize,
}

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        Self { counter, count }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}
