//! Those who are turned away, and how long their connections are then not read.
//!
//! Saying no costs nearly as much as saying yes: a request must be read and an answer written. If
//! everybody who is turned away asked again at once, as clients do that do not look at
//! `Retry-After`, the server would soon do nothing else. So the no is said at once, and the next
//! request on that connection is read a moment later: the longer, the more connections wait, so
//! that all of them together are answered no more than [`REFUSALS_PER_SECOND`] noes. `Retry-After`
//! is never shorter than the pause, so that whoever heeds it waits for nothing more.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// Noes in a second, over all connections of HTTP/1: a twentieth of what two cores can serve. (One of
/// HTTP/2 is shared by requests that may be let in, and goes on.)
pub const REFUSALS_PER_SECOND: u64 = 2_500;
/// No connection waits longer, however many do.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Marks an answer as that of somebody who was turned away, and says for how long.
#[derive(Clone, Copy, Debug)]
pub struct TurnedAway(pub Duration);

/// How many connections wait.
#[derive(Debug, Default)]
pub struct Waiting(AtomicU64);

impl Waiting {
    /// How long one more shall wait.
    #[must_use]
    pub fn pause(&self) -> Duration {
        let waiting = self.0.load(Ordering::Relaxed) + 1;
        Duration::from_micros(waiting.saturating_mul(1_000_000) / REFUSALS_PER_SECOND).min(PAUSE_MAX)
    }
}

/// A connection's pause: none, most of the time.
#[derive(Debug)]
pub struct Pause {
    timer: Option<Pin<Box<Sleep>>>,
    waiting: Arc<Waiting>,
}

impl Pause {
    /// None yet.
    #[must_use]
    pub fn none(waiting: Arc<Waiting>) -> Self {
        Self { timer: None, waiting }
    }

    /// Begins one.
    pub fn begin(&mut self, time: Duration) {
        self.end();
        self.waiting.0.fetch_add(1, Ordering::Relaxed);
        self.timer = Some(Box::pin(tokio::time::sleep(time)));
    }

    /// Ready as soon as there is none.
    pub fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else { return Poll::Ready(()) };
        std::task::ready!(timer.as_mut().poll(context));
        self.end();
        Poll::Ready(())
    }

    fn end(&mut self) {
        if self.timer.take().is_some() {
            self.waiting.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_wait_are_answered_so_many_noes_a_second_together() {
        let pause = |waiting: u64| Waiting(AtomicU64::new(waiting)).pause();
        assert_eq!((pause(0), pause(4_999), pause(39_999)), (Duration::from_micros(400), Duration::from_secs(2), PAUSE_MAX));
    }

    #[tokio::test]
    async fn a_pause_counts_while_it_lasts_and_no_longer() {
        let waiting = Arc::new(Waiting::default());
        let count = || waiting.0.load(Ordering::Relaxed);
        let mut pause = Pause::none(Arc::clone(&waiting));
        std::future::poll_fn(|context| pause.poll_over(context)).await;
        pause.begin(Duration::from_millis(5));
        pause.begin(Duration::from_millis(5));
        assert_eq!(count(), 1);
        std::future::poll_fn(|context| pause.poll_over(context)).await;
        assert_eq!(count(), 0);
        pause.begin(Duration::from_millis(5));
        drop(pause);
        assert_eq!(count(), 0);
    }
}
