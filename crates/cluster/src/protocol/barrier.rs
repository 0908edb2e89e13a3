//! Barriers: how a node confirms that its state is current.
//!
//! A node's own state may be old: the node may lag, or be cut off without noticing. So before a request is
//! answered from that state, the node must have applied a barrier record that was appended after the request
//! arrived. One barrier serves all waiting requests: at most one is in flight, and a request that arrives
//! meanwhile waits for the next.

use engine::durable::Durable;
use journal::Lsn;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::limits::{BARRIER_RETRY, BARRIER_TIME_MAX};

/// No barrier was read back in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotCaughtUp;

/// One node's barriers in one partition, numbered from 1 in the order of appending.
#[derive(Debug, Default)]
pub struct Barriers {
    /// The last barrier that was read back, and the tasks that wait for one. A task is released by its
    /// barrier or any later one.
    passed: Durable,
    on_the_way: Mutex<OnTheWay>,
}

#[derive(Debug, Default)]
struct OnTheWay {
    /// The number of the last appended barrier.
    last: u64,
    /// When it was appended; `None` once it was read back, or if appending failed.
    since: Option<Instant>,
    /// Whether a request waits for the next barrier.
    is_next_wanted: bool,
}

impl Barriers {
    /// Waits for a barrier that is appended from now on. `append` appends one, and returns whether it could.
    ///
    /// # Errors
    /// [`NotCaughtUp`].
    pub async fn pass(&self, append: impl Fn(u64) -> bool) -> Result<(), NotCaughtUp> {
        let number = self.join(&append);
        match timeout(BARRIER_TIME_MAX, self.passed.wait(Lsn(number))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotCaughtUp),
        }
    }

    /// Appends another barrier if the last one may be lost, so that waiting requests do not depend on a new
    /// one; also if `is_wanted`, without any waiting request. To be called periodically.
    pub fn keep(&self, is_wanted: bool, append: impl Fn(u64) -> bool) {
        let mut on_the_way = self.on_the_way.lock();
        let is_missing = self.passed.lsn() < Lsn(on_the_way.last);
        let is_due = on_the_way.since.is_none_or(|since| BARRIER_RETRY <= since.elapsed());
        if is_due && (is_missing || is_wanted) {
            start_next(&mut on_the_way, append);
        }
    }

    /// A barrier of this node was read back from the log.
    pub fn applied(&self, number: u64, append: impl Fn(u64) -> bool) {
        {
            let mut on_the_way = self.on_the_way.lock();
            if on_the_way.last <= number {
                on_the_way.since = None;
                if std::mem::take(&mut on_the_way.is_next_wanted) {
                    start_next(&mut on_the_way, append);
                }
            }
        }
        self.passed.advance(Lsn(number));
    }

    /// No more barriers will be read: releases every waiting task with an error.
    pub fn fail(&self) {
        self.passed.fail();
    }

    /// The number of the barrier to wait for.
    fn join(&self, append: impl Fn(u64) -> bool) -> u64 {
        let mut on_the_way = self.on_the_way.lock();
        let is_under_way = on_the_way.since.is_some_and(|since| since.elapsed() < BARRIER_RETRY);
        if is_under_way {
            on_the_way.is_next_wanted = true;
            return on_the_way.last + 1;
        }
        start_next(&mut on_the_way, append);
        on_the_way.last
    }
}

/// The number rises even if appending fails: a task that waits for a barrier that was never appended is
/// released by the next one that is.
fn start_next(on_the_way: &mut OnTheWay, append: impl Fn(u64) -> bool) {
    on_the_way.last += 1;
    on_the_way.since = append(on_the_way.last).then(Instant::now);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Appended(Mutex<Vec<u64>>);

    impl Appended {
        fn append(&self, number: u64) -> bool {
            self.0.lock().push(number);
            true
        }

        fn list(&self) -> Vec<u64> {
            self.0.lock().clone()
        }
    }

    type Passing = tokio::task::JoinHandle<Result<(), NotCaughtUp>>;

    fn start() -> (Arc<Barriers>, Arc<Appended>, impl Fn() -> Passing) {
        let (barriers, appended) = (Arc::new(Barriers::default()), Arc::new(Appended::default()));
        let (to_pass, to_append) = (Arc::clone(&barriers), Arc::clone(&appended));
        let pass = move || {
            let (barriers, appended) = (Arc::clone(&to_pass), Arc::clone(&to_append));
            tokio::spawn(async move { barriers.pass(|number| appended.append(number)).await })
        };
        (barriers, appended, pass)
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_one_is_on_its_way_waits_for_the_next_and_shares_it() {
        let (barriers, appended, pass) = start();
        let first = pass();
        tokio::task::yield_now().await;
        let (second, third) = (pass(), pass());
        tokio::task::yield_now().await;
        assert_eq!(appended.list(), [1]);
        barriers.applied(1, |number| appended.append(number));
        assert_eq!(first.await.unwrap(), Ok(()));
        assert!(!second.is_finished() && !third.is_finished());
        assert_eq!(appended.list(), [1, 2]);
        barriers.applied(2, |number| appended.append(number));
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!(appended.list(), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_barrier_is_followed_by_another_and_an_older_one_serves_nobody_who_came_later() {
        let (barriers, appended, pass) = start();
        let first = pass();
        tokio::time::sleep(BARRIER_RETRY + Duration::from_millis(1)).await;
        let second = pass();
        tokio::task::yield_now().await;
        assert_eq!(appended.list(), [1, 2]);
        barriers.applied(1, |number| appended.append(number));
        assert_eq!(first.await.unwrap(), Ok(()));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        barriers.applied(2, |number| appended.append(number));
        assert_eq!(second.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_barrier_is_replaced_for_those_who_wait_also_if_nobody_comes() {
        let (barriers, appended, pass) = start();
        let append = |number| appended.append(number);
        barriers.keep(false, append);
        let (first, second) = (pass(), pass());
        tokio::task::yield_now().await;
        barriers.keep(false, append);
        assert_eq!(appended.list(), [1]);
        tokio::time::sleep(BARRIER_RETRY).await;
        barriers.keep(false, append);
        assert_eq!(appended.list(), [1, 2]);
        barriers.applied(2, |_| true);
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_barrier_for_which_there_was_no_room_is_appended_later() {
        let barriers = Arc::new(Barriers::default());
        let waiting = Arc::clone(&barriers);
        let first = tokio::spawn(async move { waiting.pass(|_| false).await });
        tokio::task::yield_now().await;
        let appended = Appended::default();
        barriers.keep(false, |number| appended.append(number));
        assert_eq!(appended.list(), [2]);
        barriers.applied(2, |_| true);
        assert_eq!(first.await.unwrap(), Ok(()));
        barriers.keep(false, |number| appended.append(number));
        assert_eq!(appended.list(), [2], "nobody waits");
        barriers.keep(true, |number| appended.append(number));
        assert_eq!(appended.list(), [2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (_, _, pass) = start();
        assert_eq!(pass().await.unwrap(), Err(NotCaughtUp));
    }
}
