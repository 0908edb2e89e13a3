//! The task of a channel: looks for changes, wakes the subscribers, and ends subscriptions that are overdue
//! or no longer permitted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::frame::Picture;
use super::ring::Ring;
use super::subscription::SubscriptionState;
use super::{Ended, Live, Source, may_stay};
use crate::clock;
use crate::shared::Edge;
use crate::times;

/// The time between two looks with few subscribers.
const TICK: Duration = Duration::from_millis(100);
/// Limit on the events sent to all subscribers together in a second: the more subscribers, the longer the
/// time between two looks.
const EVENTS_PER_SECOND_MAX: u64 = 10_000;
/// Limit on the time between two looks.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Interval of heartbeats while nothing changes, so that both sides notice a dead connection.
const HEARTBEAT_MS: u64 = 15_000;
/// How long a channel without subscribers is kept, for clients that reconnect.
const LINGER_MS: u64 = 15_000;
/// How often the subscribers are checked.
const SWEEP_MS: u64 = 1_000;

/// Counts publications; waiting subscribers are woken when it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mark {
    /// Events and heartbeats.
    pub(super) publications: u64,
    /// Heartbeats.
    pub(super) heartbeats: u64,
}

/// A resource with subscribers.
#[derive(Debug)]
pub(super) struct Channel {
    name: String,
    ring: Mutex<Ring>,
    marks: watch::Sender<Mark>,
    subscribers: Mutex<HashMap<u64, Checked>>,
    skipped: AtomicU64,
}

/// A subscriber, and what the last check found.
#[derive(Debug)]
struct Checked {
    state: Arc<SubscriptionState>,
    taken: u64,
    /// Checks since the subscriber last took an event, or had taken all. Counted in checks: time in which
    /// the program itself did not run is not charged to the subscribers.
    checks_behind: u64,
    joined_ms: u64,
}

impl Channel {
    pub(super) fn new(edge: &Edge, name: &str, first: Picture) -> Self {
        // Differs from the ids of other processes and of earlier channels of this one.
        let id = edge.request_ids.next();
        Self {
            name: name.to_owned(),
            ring: Mutex::new(Ring::new(id, first, times::format(edge.clock.now()))),
            marks: watch::Sender::default(),
            subscribers: Mutex::default(),
            skipped: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn subscribers_count(&self) -> usize {
        self.subscribers().len()
    }

    pub(super) fn marks(&self) -> watch::Receiver<Mark> {
        self.marks.subscribe()
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock()
    }

    pub(super) fn add(&self, number: u64, state: &Arc<SubscriptionState>) {
        let checked = Checked { state: Arc::clone(state), taken: 0, checks_behind: 0, joined_ms: clock::elapsed_ms() };
        self.subscribers().insert(number, checked);
    }

    pub(super) fn remove(&self, number: u64) {
        self.subscribers().remove(&number);
    }

    /// Counts a snapshot that a slow subscriber got instead of deltas.
    pub(super) fn count_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    fn show(&self, edge: &Edge, picture: Picture) {
        if self.ring().advance(picture, times::format(edge.clock.now())) {
            self.marks.send_modify(|mark| mark.publications += 1);
        }
    }

    fn send_heartbeat(&self) {
        self.marks.send_modify(|mark| {
            mark.publications += 1;
            mark.heartbeats += 1;
        });
    }

    /// Ends subscriptions that took nothing for too long, and those whose key was revoked.
    fn sweep(&self, edge: &Edge) {
        let limit_ms = u64::try_from(edge.limits.write_time.as_millis()).unwrap_or(u64::MAX);
        let published = self.marks.borrow().publications;
        let mut ended = Vec::new();
        let mut subscribers = self.subscribers();
        for (number, checked) in subscribers.iter_mut() {
            let taken = checked.state.taken.load(Ordering::Relaxed);
            if taken != checked.taken || checked.state.seen.load(Ordering::Relaxed) == published {
                (checked.taken, checked.checks_behind) = (taken, 0);
            } else {
                checked.checks_behind += 1;
            }
            let caller = &checked.state.caller;
            // It may have fallen behind just before the first of these checks: none ends too early.
            if limit_ms + SWEEP_MS < checked.checks_behind * SWEEP_MS {
                ended.push((*number, Ended::Overdue));
            } else if !may_stay(edge, caller, checked.joined_ms) {
                ended.push((*number, Ended::Revoked));
            }
        }
        for (number, why) in &ended {
            if let Some(checked) = subscribers.remove(number) {
                checked.state.end(*why);
                edge.metrics.live.ended(*why);
            }
        }
        drop(subscribers);
        if !ended.is_empty() {
            // Wakes the subscribers, so that the ended ones notice.
            self.marks.send_modify(|_| {});
        }
    }

    /// The time until the next look.
    fn tick(&self) -> Duration {
        let for_all = Duration::from_millis(self.subscribers_count() as u64 * 1_000 / EVENTS_PER_SECOND_MAX);
        for_all.clamp(TICK, TICK_MAX)
    }

    fn subscribers(&self) -> MutexGuard<'_, HashMap<u64, Checked>> {
        self.subscribers.lock()
    }
}

/// Looks for changes until there have been no subscribers for [`LINGER_MS`], or the server stops.
pub(super) async fn run<S: Source>(edge: Arc<Edge>, live: Arc<Live>, channel: Arc<Channel>, source: S) {
    let mut stopping = live.stopping();
    let (mut watched_at, mut swept_at, mut seen_at) = (clock::elapsed_ms(), clock::elapsed_ms(), clock::elapsed_ms());
    let mut published = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(channel.tick()) => {}
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
        }
        // If it cannot be read now, the next look may succeed.
        if let Some(picture) = source.look().await {
            channel.show(&edge, picture);
        }
        let now_ms = clock::elapsed_ms();
        let mark = *channel.marks.borrow();
        if mark.publications != published {
            (published, seen_at) = (mark.publications, now_ms);
        } else if seen_at + HEARTBEAT_MS <= now_ms {
            channel.send_heartbeat();
        }
        if swept_at + SWEEP_MS <= now_ms {
            swept_at = now_ms;
            channel.sweep(&edge);
            edge.metrics.live.skipped(channel.skipped.swap(0, Ordering::Relaxed));
        }
        if channel.subscribers_count() != 0 {
            watched_at = now_ms;
        } else if watched_at + LINGER_MS <= now_ms && live.retire(&channel) {
            return;
        }
    }
}
