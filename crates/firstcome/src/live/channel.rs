//! The task of a campaign that is watched: looks at it, tells those who watch, and ends those who
//! may not go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::types::CampaignName;
use engine::views::WatchedCampaign;
use tokio::sync::watch;

use super::picture::{Pace, Picture};
use super::ring::Ring;
use super::viewer::Watching;
use super::{Ended, LAST_CLAIMS, may_stay};
use crate::app::App;
use crate::clock;
use crate::http::times;

/// Between two looks, if not many watch.
const TICK: Duration = Duration::from_millis(100);
/// Events that go out in a second at most, to all together: the more watch, the longer is the time
/// between two looks.
const EVENTS_PER_SECOND_MAX: u64 = 10_000;
/// Between two looks, however many watch.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Without anything new, so often something is sent, so that both sides notice when the other has
/// gone.
const BEAT_MS: u64 = 15_000;
/// So long a channel stays when nobody watches: for those whose connection has broken off.
const LINGER_MS: u64 = 15_000;
/// How often those who watch are looked at.
const SWEEP_MS: u64 = 1_000;

/// What there is to see, as a number that rises with everything that is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mark {
    /// Events and beats.
    pub(super) publications: u64,
    /// Beats.
    pub(super) beats: u64,
}

/// A campaign that is watched.
#[derive(Debug)]
pub(super) struct Channel {
    name: String,
    ring: Mutex<Ring>,
    pace: Mutex<Pace>,
    marks: watch::Sender<Mark>,
    viewers: Mutex<HashMap<u64, Looked>>,
    skipped: AtomicU64,
}

/// Somebody who watches, and when they last took something.
#[derive(Debug)]
struct Looked {
    watching: Arc<Watching>,
    taken: u64,
    since_ms: u64,
    joined_ms: u64,
}

impl Channel {
    pub(super) fn new(app: &App, watched: &WatchedCampaign) -> Self {
        let name = watched.campaign.name.clone();
        let tally = app.live.tallies.find(&name);
        let mut pace = Pace::default();
        let picture = Picture::new(watched, tally.as_deref(), &mut pace, clock::elapsed_ms());
        // Unlike those of another process and of an earlier channel of this one.
        let id = app.next_request_id();
        Self {
            name,
            ring: Mutex::new(Ring::new(id, picture, times::format(app.clock.now()))),
            pace: Mutex::new(pace),
            marks: watch::Sender::default(),
            viewers: Mutex::default(),
            skipped: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn viewers_count(&self) -> usize {
        self.viewers().len()
    }

    pub(super) fn marks(&self) -> watch::Receiver<Mark> {
        self.marks.subscribe()
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, number: u64, watching: &Arc<Watching>) {
        let now_ms = clock::elapsed_ms();
        let looked = Looked { watching: Arc::clone(watching), taken: 0, since_ms: now_ms, joined_ms: now_ms };
        self.viewers().insert(number, looked);
    }

    pub(super) fn leave(&self, number: u64) {
        self.viewers().remove(&number);
    }

    /// Somebody got a snapshot because they were slow.
    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over how the campaign stands.
    fn show(&self, app: &App, watched: &WatchedCampaign) {
        let tally = app.live.tallies.find(&self.name);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let picture = Picture::new(watched, tally.as_deref(), &mut pace, clock::elapsed_ms());
        drop(pace);
        if self.ring().advance(picture, times::format(app.clock.now())) {
            self.marks.send_modify(|mark| mark.publications += 1);
        }
    }

    fn beat(&self) {
        self.marks.send_modify(|mark| {
            mark.publications += 1;
            mark.beats += 1;
        });
    }

    /// Ends those who have taken nothing for too long, and those whose key has ended.
    fn sweep(&self, app: &App, now_ms: u64) {
        let limit_ms = u64::try_from(app.limits.write_time.as_millis()).unwrap_or(u64::MAX);
        let published = self.marks.borrow().publications;
        let mut ended = Vec::new();
        let mut viewers = self.viewers();
        for (number, looked) in viewers.iter_mut() {
            let taken = looked.watching.taken.load(Ordering::Relaxed);
            if taken != looked.taken || looked.watching.seen.load(Ordering::Relaxed) == published {
                (looked.taken, looked.since_ms) = (taken, now_ms);
            }
            let caller = &looked.watching.caller;
            if limit_ms < now_ms.saturating_sub(looked.since_ms) {
                ended.push((*number, Ended::Overdue));
            } else if !may_stay(app, caller, looked.joined_ms) {
                ended.push((*number, Ended::Revoked));
            }
        }
        for (number, why) in &ended {
            if let Some(looked) = viewers.remove(number) {
                looked.watching.end(*why);
                app.metrics.live.ended(*why);
            }
        }
        drop(viewers);
        if !ended.is_empty() {
            // Wakes them, so that they notice.
            self.marks.send_modify(|_| {});
        }
    }

    /// The time between two looks.
    fn tick(&self) -> Duration {
        let for_all = Duration::from_millis(self.viewers_count() as u64 * 1_000 / EVENTS_PER_SECOND_MAX);
        for_all.clamp(TICK, TICK_MAX)
    }

    fn viewers(&self) -> MutexGuard<'_, HashMap<u64, Looked>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks until nobody has watched for a while, or the server stops.
pub(super) async fn run(app: Arc<App>, channel: Arc<Channel>, mut stopping: watch::Receiver<bool>) {
    let Ok(name) = CampaignName::new(&channel.name) else { return };
    let (mut watched_at, mut swept_at, mut seen_at) = (clock::elapsed_ms(), clock::elapsed_ms(), clock::elapsed_ms());
    let mut published = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(channel.tick()) => {}
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
        }
        // What cannot be read now is read the next time; a disk that has failed ends the server.
        if let Ok(Some(watched)) = app.backend.watched(name, LAST_CLAIMS, app.clock.now()).await {
            channel.show(&app, &watched);
        }
        let now_ms = clock::elapsed_ms();
        let mark = *channel.marks.borrow();
        if mark.publications != published {
            (published, seen_at) = (mark.publications, now_ms);
        } else if seen_at + BEAT_MS <= now_ms {
            channel.beat();
        }
        if swept_at + SWEEP_MS <= now_ms {
            swept_at = now_ms;
            channel.sweep(&app, now_ms);
            app.metrics.live.skipped(channel.skipped.swap(0, Ordering::Relaxed));
        }
        if channel.viewers_count() != 0 {
            watched_at = now_ms;
        } else if watched_at + LINGER_MS <= now_ms && app.live.retire(&channel) {
            return;
        }
    }
}
