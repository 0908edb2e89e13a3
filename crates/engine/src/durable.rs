//! Waiting until a record is on disk.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use journal::Lsn;
use parking_lot::{Mutex, MutexGuard};

/// The engine has failed, or the disk does not respond: whether the awaited record is durable is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// How far the journal is durable, and the tasks that wait for later records.
#[derive(Debug, Default)]
pub struct Durable {
    lsn: AtomicU64,
    has_failed: AtomicBool,
    /// How often waiting tasks were released with [`Failed`] because the disk did not respond.
    stalls_count: AtomicU64,
    /// Waiting tasks with the record that each waits for. LSNs are assigned and waits begin in nearly the
    /// same order, so the tasks to wake are at the front.
    waiters: Mutex<VecDeque<(Lsn, Waker)>>,
}

impl Durable {
    /// Starts with everything up to `lsn` durable.
    #[must_use]
    pub fn at(lsn: Lsn) -> Self {
        Self { lsn: AtomicU64::new(lsn.0), ..Self::default() }
    }

    /// The last durable record.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }

    /// Whether the engine has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Marks everything up to `lsn` as durable and wakes the tasks that waited for it.
    pub fn advance(&self, lsn: Lsn) {
        self.lsn.fetch_max(lsn.0, Ordering::AcqRel);
        let woken = self.take_waiters(|waited_for| waited_for <= lsn);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Marks the engine as failed and wakes every waiting task: nothing more will become durable.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
        self.take_waiters(|_| true).into_iter().for_each(Waker::wake);
    }

    /// The disk does not respond: releases every waiting task with [`Failed`]; later calls of `wait` wait
    /// again.
    pub fn give_up(&self) {
        self.stalls_count.fetch_add(1, Ordering::AcqRel);
        self.take_waiters(|_| true).into_iter().for_each(Waker::wake);
    }

    /// Waits until `lsn` is durable.
    ///
    /// # Errors
    /// [`Failed`] if the record may never become durable.
    pub fn wait(&self, lsn: Lsn) -> impl Future<Output = Result<(), Failed>> + '_ {
        Wait { durable: self, lsn, stalls_count: self.stalls_count.load(Ordering::Acquire) }
    }

    fn take_waiters(&self, is_served: impl Fn(Lsn) -> bool) -> Vec<Waker> {
        let mut waiters = self.waiters();
        let mut woken = Vec::with_capacity(waiters.len());
        let mut kept = VecDeque::new();
        while let Some((lsn, waker)) = waiters.pop_front() {
            if is_served(lsn) { woken.push(waker) } else { kept.push_back((lsn, waker)) }
        }
        *waiters = kept;
        woken
    }

    fn waiters(&self) -> MutexGuard<'_, VecDeque<(Lsn, Waker)>> {
        self.waiters.lock()
    }
}

struct Wait<'a> {
    durable: &'a Durable,
    lsn: Lsn,
    stalls_count: u64,
}

impl Wait<'_> {
    fn outcome(&self) -> Poll<Result<(), Failed>> {
        if self.lsn <= self.durable.lsn() {
            return Poll::Ready(Ok(()));
        }
        let has_stalled = self.stalls_count != self.durable.stalls_count.load(Ordering::Acquire);
        if has_stalled || self.durable.has_failed() {
            return Poll::Ready(Err(Failed));
        }
        Poll::Pending
    }
}

impl Future for Wait<'_> {
    type Output = Result<(), Failed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let mut waiters = self.durable.waiters();
        // Checked under the lock, because `advance` takes the lock after it has stored the LSN: no wake-up is
        // missed.
        if let Poll::Ready(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        waiters.push_back((self.lsn, context.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_waiter_is_served_when_its_record_is_durable_and_not_before() {
        let durable = Arc::new(Durable::at(Lsn(3)));
        assert_eq!(durable.wait(Lsn(3)).await, Ok(()));
        let waiting = tokio::spawn({
            let durable = Arc::clone(&durable);
            async move { durable.wait(Lsn(5)).await }
        });
        tokio::task::yield_now().await;
        durable.advance(Lsn(4));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        durable.advance(Lsn(5));
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_failure_ends_every_wait_for_what_is_not_durable() {
        let durable = Durable::at(Lsn(3));
        durable.fail();
        assert_eq!(durable.wait(Lsn(3)).await, Ok(()));
        assert_eq!(durable.wait(Lsn(4)).await, Err(Failed));
    }

    #[tokio::test]
    async fn a_stall_ends_the_waits_that_there_are_and_none_that_come_later() {
        let durable = Arc::new(Durable::at(Lsn(3)));
        let wait = |lsn| {
            let durable = Arc::clone(&durable);
            tokio::spawn(async move { durable.wait(Lsn(lsn)).await })
        };
        let before = wait(4);
        tokio::task::yield_now().await;
        durable.give_up();
        assert_eq!(before.await.unwrap(), Err(Failed));
        let after = wait(4);
        tokio::task::yield_now().await;
        durable.advance(Lsn(4));
        assert_eq!(after.await.unwrap(), Ok(()));
    }
}
