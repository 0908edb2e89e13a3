//! One subscriber: its position in the ring, and the next event for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::channel::{Channel, Mark};
use super::frame::{Audience, Frame};
use super::ring::ReadPosition;
use super::{Ended, Subscriber, SubscriberPermit};
use crate::auth::caller::Caller;

/// What a subscription yields.
#[derive(Clone, Debug)]
pub enum LiveItem {
    /// The picture has changed.
    Event(Frame),
    /// Nothing has changed; the server shows that the connection is alive.
    Heartbeat,
}

/// The state of a subscription that the channel reads.
#[derive(Debug)]
pub(super) struct SubscriptionState {
    pub(super) caller: Caller,
    /// The last publication up to which the subscriber took every event.
    pub(super) seen: AtomicU64,
    /// The number of events taken.
    pub(super) taken: AtomicU64,
    /// The permit. It is returned when the channel ends the subscription, even if the task that serves the
    /// subscriber is blocked and does not notice.
    permit: Mutex<Result<SubscriberPermit, Ended>>,
}

/// One subscriber's subscription; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    number: u64,
    channel: Arc<Channel>,
    state: Arc<SubscriptionState>,
    marks: watch::Receiver<Mark>,
    stopping: watch::Receiver<bool>,
    position: ReadPosition,
    audience: Audience,
    heartbeats: u64,
}

impl SubscriptionState {
    /// Ends the subscription and returns its permit.
    pub(super) fn end(&self, why: Ended) {
        *self.permit() = Err(why);
    }

    fn ended(&self) -> Option<Ended> {
        self.permit().as_ref().err().copied()
    }

    fn permit(&self) -> MutexGuard<'_, Result<SubscriberPermit, Ended>> {
        self.permit.lock()
    }
}

impl Subscription {
    pub(super) fn new(
        number: u64,
        channel: Arc<Channel>,
        permit: SubscriberPermit,
        subscriber: Subscriber,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let Subscriber { caller, audience, resume_at, .. } = subscriber;
        let position = resume_at.map(|at| channel.ring().resume(&at)).unwrap_or_default();
        let marks = channel.marks();
        let mark = *marks.borrow();
        let (seen, taken) = (AtomicU64::new(mark.publications), AtomicU64::new(0));
        let state = Arc::new(SubscriptionState { caller, seen, taken, permit: Mutex::new(Ok(permit)) });
        channel.add(number, &state);
        Self { number, channel, state, marks, stopping, position, audience, heartbeats: mark.heartbeats }
    }

    /// Waits for the next item; `None` when the subscription has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<LiveItem> {
        loop {
            if *self.stopping.borrow() || self.why_ended().is_some() {
                return None;
            }
            let mark = *self.marks.borrow_and_update();
            let next = self.channel.ring().next(self.position, self.audience);
            if let Some(next) = next {
                self.position.seq = next.seq;
                self.state.taken.fetch_add(1, Ordering::Relaxed);
                if next.has_skipped {
                    self.channel.count_skipped();
                }
                return Some(LiveItem::Event(next.frame));
            }
            self.state.seen.store(mark.publications, Ordering::Relaxed);
            if self.heartbeats != mark.heartbeats {
                self.heartbeats = mark.heartbeats;
                return Some(LiveItem::Heartbeat);
            }
            tokio::select! {
                changed = self.marks.changed() => changed.ok()?,
                _ = self.stopping.wait_for(|is_stopping| *is_stopping) => return None,
            }
        }
    }

    /// Why the channel ended the subscription, if it did.
    #[must_use]
    pub fn why_ended(&self) -> Option<Ended> {
        self.state.ended()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.channel.remove(self.number);
    }
}
