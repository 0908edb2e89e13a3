//! An aggregate's lane: the path of its commands through the gate on this node.
//!
//! Commands that arrive during a call to the gate share the next call; so there is one call at a time, and the
//! number of the node's commands in flight is exact between calls. If the gate is unreachable, or contradicts the
//! node's own state, a few commands at a time go to the log without its permission, and the others wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::workload::Units;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::gate::{Correct, Corrected, Enter, Entered, GateKey, GateServer, GateVerdict, GateVersion, Mark, Settled};
use super::limits::{GATE_CALL_MAX, LANE_WAITING_MAX, UNGATED_MAX};
use super::record::NodeId;

/// The lane's verdict on one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneVerdict {
    /// The gate's verdict.
    Gate(GateVerdict),
    /// The gate is unreachable, or does not know the aggregate yet.
    Away,
    /// The waiting capacity is used up.
    Full,
}

/// An aggregate's units according to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The offset of the next record.
    pub offset_next: u64,
    /// The aggregate's units: stock and remaining.
    pub units: Units,
}

/// One aggregate's lane.
#[derive(Debug)]
pub struct Lane<G> {
    /// `None` if no gate is configured.
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
    /// The offset of the last settled command, whether the gate has been told or not.
    settled_through: u64,
    flight: u64,
    known: GateVersion,
    standing: Option<Standing>,
    is_correction_due: bool,
    has_just_corrected: bool,
    used_at: Instant,
}

impl<G: GateServer> Lane<G> {
    /// A lane without any command in flight.
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

    /// Asks the gate about a command. `standing` is the aggregate's state in the log, in case the gate lacks it.
    pub async fn enter(self: &Arc<Self>, mark: Option<Mark>, standing: Standing) -> LaneVerdict {
        if self.server.is_none() {
            return LaneVerdict::Away;
        }
        let receiver = {
            let mut inner = self.inner.lock();
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

    /// An admitted command took a unit, or may have.
    pub fn taken(&self, offset: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.settled.taken += 1;
        inner.settled_through = inner.settled_through.max(offset.unwrap_or(0));
        inner.leave_flight();
    }

    /// An admitted command was rejected, or never went to the log: unit and mark are free again. A mark left
    /// behind would delay the subject's next try.
    pub fn refused(self: &Arc<Self>, mark: Option<Mark>) {
        self.returned();
        mark.into_iter().for_each(|mark| self.unmark(mark));
    }

    /// An admitted command took no unit, because its subject has a unit already.
    pub fn returned(&self) {
        let mut inner = self.inner.lock();
        inner.settled.returned += 1;
        inner.leave_flight();
    }

    /// Sends a correction to the gate with the next call.
    pub fn correct(self: &Arc<Self>, standing: Standing) {
        if self.server.is_none() {
            return;
        }
        let mut inner = self.inner.lock();
        inner.learn(standing);
        inner.is_correction_due = true;
        self.call_unless_calling(&mut inner);
    }

    /// Removes the mark of a subject that no longer holds a unit.
    pub fn unmark(self: &Arc<Self>, mark: Mark) {
        let (Some(server), key) = (self.server.clone(), self.key.clone()) else { return };
        // Without a runtime, as during shutdown, nothing is sent.
        let Ok(runtime) = Handle::try_current() else { return };
        // If the gate is unreachable the mark stays, and the subject's next command goes to the log.
        runtime.spawn(async move { server.unmark(&key, mark).await });
    }

    /// Waits for a permit to go to the log without the gate; `None` if too many wait.
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

    /// A command without the gate's permission was decided.
    pub fn decided(&self, offset: u64) {
        let mut inner = self.inner.lock();
        inner.settled_through = inner.settled_through.max(offset);
    }

    /// The aggregate's gate.
    #[must_use]
    pub fn key(&self) -> &GateKey {
        &self.key
    }

    /// When the lane was last used.
    #[must_use]
    pub fn used_at(&self) -> Instant {
        self.inner.lock().used_at
    }

    /// Whether the lane has no command waiting or in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        !inner.is_calling && inner.waiting.is_empty() && inner.flight == 0
    }

    fn ungated_count(&self) -> u64 {
        (UNGATED_MAX - self.ungated.available_permits()) as u64
    }

    fn call_unless_calling(self: &Arc<Self>, inner: &mut Inner) {
        if !std::mem::replace(&mut inner.is_calling, true) {
            let lane = Arc::clone(self);
            // A task of its own: the caller may be cancelled during the call.
            tokio::spawn(async move { lane.call().await });
        }
    }

    /// Calls the gate until no command waits.
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
        let mut inner = self.inner.lock();
        // Alternate: if every call is slow, the next correction is already due when the last one ends, and
        // would hold up the commands.
        let is_turn_of_commands = inner.has_just_corrected && !inner.waiting.is_empty();
        if inner.is_correction_due && !is_turn_of_commands {
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
            let mut inner = self.inner.lock();
            // Commands settled since are no longer in flight, and not reflected in `remaining` either; the
            // next correction follows within a second.
            let Some(standing) = inner.standing.filter(|standing| inner.settled_through < standing.offset_next) else { return };
            // The correction carries the number in flight, which includes what was settled.
            inner.settled = Settled::default();
            Correct {
                key: self.key.clone(),
                node: self.node,
                known: inner.known,
                base: standing.offset_next,
                remaining: standing.units.remaining,
                // Commands without the gate's permission take units too.
                flight: inner.flight + self.ungated_count(),
                sets: sets_for(standing.units.stock),
            }
        };
        let corrected = server.correct(&correct).await;
        let mut inner = self.inner.lock();
        match corrected {
            Ok(Corrected::Taken(version) | Corrected::Filled(version) | Corrected::Ignored(version)) => {
                inner.known = inner.known.max(version);
            }
            Err(error) => tracing::debug!(%error, aggregate = self.key.name, "the gate was not corrected"),
        }
    }

    async fn call_enter(self: &Arc<Self>, server: &G, waiting: Vec<(Option<Mark>, oneshot::Sender<LaneVerdict>)>) {
        let mut enter = {
            let mut inner = self.inner.lock();
            Enter {
                key: self.key.clone(),
                node: self.node,
                known: inner.known,
                settled: Settled { offset: inner.settled_through, ..std::mem::take(&mut inner.settled) },
                marks: waiting.iter().map(|(mark, _)| *mark).collect(),
            }
        };
        let mut entered = server.enter(&enter).await;
        if entered == Ok(Entered::Unfilled) {
            self.call_correct(server).await;
            enter.known = self.inner.lock().known;
            // The correction covers the commands settled before it.
            enter.settled = Settled { offset: enter.settled.offset, ..Settled::default() };
            entered = server.enter(&enter).await;
        }
        let verdicts = match entered {
            Ok(Entered::Verdicts(version, verdicts)) => {
                let mut inner = self.inner.lock();
                inner.known = inner.known.max(version);
                inner.flight += verdicts.iter().filter(|verdict| **verdict == GateVerdict::Passed).count() as u64;
                verdicts
            }
            Ok(Entered::Unfilled) | Err(_) => Vec::new(),
        };
        let verdicts = verdicts.into_iter().map(LaneVerdict::Gate).chain(std::iter::repeat(LaneVerdict::Away));
        for ((mark, sender), verdict) in waiting.into_iter().zip(verdicts) {
            if let Err(LaneVerdict::Gate(GateVerdict::Passed)) = sender.send(verdict) {
                // The caller was cancelled: its command does not go to the log.
                self.refused(mark);
            }
        }
    }
}

impl Inner {
    /// Counts an admitted command as settled; must be called exactly once for each.
    fn leave_flight(&mut self) {
        let Some(flight) = self.flight.checked_sub(1) else { panic!("a command is in flight until it is settled") };
        self.flight = flight;
    }

    /// A caller that read the state earlier may arrive here later.
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

/// The number of sets that marks are spread over: many small ones, which need only a few bytes per mark.
fn sets_for(stock: u64) -> u32 {
    let sets = stock.div_ceil(super::limits::MARKS_PER_SET).max(1);
    let Ok(sets) = u32::try_from(sets) else { panic!("{stock} units are more than any aggregate has") };
    sets
}

/// Gives the unit back if the caller is cancelled between the verdict and reading it.
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
        // From here on sending fails: a verdict is either here already, or stays with the sender.
        receiver.close();
        let verdict = receiver.try_recv().ok();
        if verdict == Some(LaneVerdict::Gate(GateVerdict::Passed)) {
            self.lane.refused(self.mark);
        }
    }
}

/// Counts a waiting caller while this guard exists.
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
