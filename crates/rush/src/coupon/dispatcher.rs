//! Hands due requests to free connections. Arrivals follow the plan and never wait for the server, which
//! makes the load open-loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};

use super::plan::Plan;
use super::subjects::UserIndex;
use crate::clock;

/// One request of one person, with all its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ask {
    pub(crate) user: UserIndex,
    /// When it should have started. Unchanged by retries.
    pub(crate) due: Instant,
    /// Tries that were refused as busy, or could not be sent.
    pub(crate) tries: u32,
    /// Tries with an unknown outcome.
    pub(crate) lost: u32,
    /// It was queued, and its decision is still to be read.
    pub(crate) is_accepted: bool,
}

/// Every queue here is bounded by the plan: a request is in one place at a time.
pub(crate) struct Dispatcher {
    plan: Plan,
    start: Instant,
    queues: Mutex<Queues>,
    /// One permit for each request that may be taken.
    permits: Semaphore,
    unsettled: AtomicUsize,
    changed: Notify,
}

#[derive(Default)]
struct Queues {
    /// How many requests of the plan are due.
    released: usize,
    /// How many requests of the plan were taken.
    taken: usize,
    /// To be retried at a given instant.
    later: BinaryHeap<Reverse<(Instant, Ask)>>,
    /// To be retried now.
    again: VecDeque<Ask>,
}

impl Dispatcher {
    pub(crate) fn new(plan: Plan, start: Instant) -> Dispatcher {
        Dispatcher {
            unsettled: AtomicUsize::new(plan.count()),
            plan,
            start,
            queues: Mutex::default(),
            permits: Semaphore::new(0),
            changed: Notify::new(),
        }
    }

    /// Waits for the next due request; `None` when every request is settled.
    pub(crate) async fn take(&self) -> Option<Ask> {
        self.permits.acquire().await.ok()?.forget();
        let mut queues = self.queues();
        if let Some(ask) = queues.again.pop_front() {
            return Some(ask);
        }
        let (user, offset) = self.plan.get(queues.taken)?;
        queues.taken += 1;
        Some(Ask { user, due: self.start + offset, tries: 0, lost: 0, is_accepted: false })
    }

    /// Returns a request, to be handed out again at `instant`.
    pub(crate) fn put_back(&self, ask: Ask, instant: Instant) {
        self.queues().later.push(Reverse((instant, ask)));
        self.changed.notify_one();
    }

    /// Counts a request as settled.
    pub(crate) fn settle(&self) {
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.permits.close();
        }
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }

    pub(crate) fn settled(&self) -> usize {
        self.plan.count() - self.unsettled()
    }

    /// People with a try of unknown outcome who wait for a retry.
    pub(crate) fn in_doubt(&self) -> Vec<UserIndex> {
        let queues = self.queues();
        let later = queues.later.iter().map(|Reverse((_, ask))| ask);
        let waiting = later.chain(&queues.again);
        let in_doubt = waiting.filter(|ask| 0 < ask.lost);
        in_doubt.map(|ask| ask.user).collect()
    }

    /// Releases requests as they become due, as long as it is polled.
    pub(crate) async fn keep_time(&self) {
        loop {
            let (ready, next) = self.release(clock::now());
            self.permits.add_permits(ready);
            match next {
                None => self.changed.notified().await,
                Some(instant) => tokio::select! {
                    () = clock::sleep_until(instant) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// The number of requests that became due, and when the next one will.
    fn release(&self, now: Instant) -> (usize, Option<Instant>) {
        let mut queues = self.queues();
        let before = queues.released + queues.again.len();
        while self.planned(queues.released).is_some_and(|due| due <= now) {
            queues.released += 1;
        }
        while let Some(ask) = queues.pop_later(now) {
            queues.again.push_back(ask);
        }
        let ready = queues.released + queues.again.len() - before;
        let later = queues.later.peek().map(|Reverse((instant, _))| *instant);
        let planned = self.planned(queues.released);
        (ready, later.into_iter().chain(planned).min())
    }

    fn planned(&self, index: usize) -> Option<Instant> {
        let (_, offset) = self.plan.get(index)?;
        Some(self.start + offset)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock()
    }
}

impl Queues {
    fn pop_later(&mut self, now: Instant) -> Option<Ask> {
        let Reverse((instant, _)) = self.later.peek()?;
        if now < *instant {
            return None;
        }
        self.later.pop().map(|Reverse((_, ask))| ask)
    }
}
