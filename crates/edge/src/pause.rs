//! Back pressure on clients that retry at once: after a `busy` response, the server does not read from
//! the connection for a while.
//!
//! A refusal costs nearly as much as any other response: a request is read and a response written. If
//! refused clients ignore `Retry-After` and retry at once, refusals alone can use up the server. So the
//! refusal is sent at once, and the next request on that connection is read after a pause. The pause
//! grows with the number of paused connections, so that all together get at most [`REFUSALS_PER_SECOND`]
//! refusals. `Retry-After` is never shorter than the pause.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// Limit on refusals in a second, over all connections of HTTP/1: a twentieth of what two cores can
/// serve. (A connection of HTTP/2 is never paused: its other requests may be admitted.)
pub const REFUSALS_PER_SECOND: u64 = 2_500;
/// Limit on the pause of one connection.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Response extension: the connection is to be paused for this long.
#[derive(Clone, Copy, Debug)]
pub struct PauseFor(pub Duration);

/// Counts the paused connections.
#[derive(Debug, Default)]
pub struct PausedConnections(AtomicU64);

impl PausedConnections {
    /// How long the next connection is to be paused.
    #[must_use]
    pub fn next_pause(&self) -> Duration {
        let paused = self.0.load(Ordering::Relaxed) + 1;
        Duration::from_micros(paused.saturating_mul(1_000_000) / REFUSALS_PER_SECOND).min(PAUSE_MAX)
    }
}

/// The pause of one connection; most of the time there is none.
#[derive(Debug)]
pub struct Pause {
    timer: Option<Pin<Box<Sleep>>>,
    paused: Arc<PausedConnections>,
}

impl Pause {
    /// A connection that is not paused.
    #[must_use]
    pub fn none(paused: Arc<PausedConnections>) -> Self {
        Self { timer: None, paused }
    }

    /// Pauses the connection.
    pub fn begin(&mut self, time: Duration) {
        self.end();
        self.paused.0.fetch_add(1, Ordering::Relaxed);
        self.timer = Some(Box::pin(tokio::time::sleep(time)));
    }

    /// Ready when the connection is not paused.
    pub fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else { return Poll::Ready(()) };
        std::task::ready!(timer.as_mut().poll(context));
        self.end();
        Poll::Ready(())
    }

    fn end(&mut self) {
        if self.timer.take().is_some() {
            self.paused.0.fetch_sub(1, Ordering::Relaxed);
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
    fn the_pause_bounds_the_refusals_of_all_paused_connections_together() {
        let pause = |paused: u64| PausedConnections(AtomicU64::new(paused)).next_pause();
        assert_eq!((pause(0), pause(4_999), pause(39_999)), (Duration::from_micros(400), Duration::from_secs(2), PAUSE_MAX));
    }

    #[tokio::test]
    async fn a_pause_counts_while_it_lasts_and_no_longer() {
        let paused = Arc::new(PausedConnections::default());
        let count = || paused.0.load(Ordering::Relaxed);
        let mut pause = Pause::none(Arc::clone(&paused));
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
