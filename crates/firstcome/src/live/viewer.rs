//! One who watches: where they are in the ring, and what they get next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::channel::{Channel, Mark};
use super::picture::Frame;
use super::ring::Progress;
use super::{Comer, Ended, Place};
use crate::doors::caller::Caller;

/// For whom an event is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Counts only.
    Public,
    /// Counts, and who has claimed last.
    WithClaims,
}

/// What somebody who watches gets.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Something is new.
    Event(Event),
    /// Nothing is, and this says that the server is there.
    Beat,
}

/// Something that is new.
#[derive(Clone, Debug)]
pub struct Event(Frame);

impl Event {
    /// As Server-Sent Events have it.
    #[must_use]
    pub fn sse(&self) -> Bytes {
        self.0.sse()
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.0.json()
    }
}

/// What the channel knows of somebody who watches.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) caller: Caller,
    /// The last publication that they have taken everything of.
    pub(super) seen: AtomicU64,
    /// How much they have taken.
    pub(super) taken: AtomicU64,
    /// Their place; taken away when they have to go, even if they do not notice.
    place: Mutex<Result<Place, Ended>>,
}

/// One who watches. Dropping it ends that.
#[derive(Debug)]
pub struct Viewer {
    number: u64,
    channel: Arc<Channel>,
    watching: Arc<Watching>,
    marks: watch::Receiver<Mark>,
    stopping: watch::Receiver<bool>,
    progress: Progress,
    audience: Audience,
    beats: u64,
}

impl Watching {
    /// They have to go: their place is free from here on.
    pub(super) fn end(&self, why: Ended) {
        *self.place() = Err(why);
    }

    fn ended(&self) -> Option<Ended> {
        self.place().as_ref().err().copied()
    }

    fn place(&self) -> MutexGuard<'_, Result<Place, Ended>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    pub(super) fn new(number: u64, channel: Arc<Channel>, place: Place, comer: Comer, stopping: watch::Receiver<bool>) -> Self {
        let Comer { caller, audience, resume_at, .. } = comer;
        let progress = resume_at.map(|at| channel.ring().resume(&at)).unwrap_or_default();
        let marks = channel.marks();
        let mark = *marks.borrow();
        let (seen, taken) = (AtomicU64::new(mark.publications), AtomicU64::new(0));
        let watching = Arc::new(Watching { caller, seen, taken, place: Mutex::new(Ok(place)) });
        channel.enter(number, &watching);
        Self { number, channel, watching, marks, stopping, progress, audience, beats: mark.beats }
    }

    /// What comes next, as soon as there is something; `None` if there will be nothing more. May be
    /// dropped while it waits.
    pub async fn next(&mut self) -> Option<Shown> {
        loop {
            if *self.stopping.borrow() || self.why_ended().is_some() {
                return None;
            }
            let mark = *self.marks.borrow_and_update();
            let next = self.channel.ring().next(self.progress, self.audience);
            if let Some(next) = next {
                self.progress.seq = next.seq;
                self.watching.taken.fetch_add(1, Ordering::Relaxed);
                if next.has_skipped {
                    self.channel.skipped();
                }
                return Some(Shown::Event(Event(next.frame)));
            }
            self.watching.seen.store(mark.publications, Ordering::Relaxed);
            if self.beats != mark.beats {
                self.beats = mark.beats;
                return Some(Shown::Beat);
            }
            tokio::select! {
                changed = self.marks.changed() => changed.ok()?,
                _ = self.stopping.wait_for(|is_stopping| *is_stopping) => return None,
            }
        }
    }

    /// Why there is nothing more, unless the server stops.
    #[must_use]
    pub fn why_ended(&self) -> Option<Ended> {
        self.watching.ended()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.channel.leave(self.number);
    }
}
