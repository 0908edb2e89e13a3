//! Keeps the history's tables up to date: one thread applies the journal to them, and lists read them.
//!
//! Claims have priority: while they arrive fast and no list is waiting, the thread pauses after each batch
//! for many times as long as the batch took. So it takes a small share of the processor during a rush and
//! catches up afterwards. A waiting list makes it run at full speed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::wire::Position;
use engine::Engine;
use engine::feed::{FedRecords, FeedError};
use journal::Lsn;
use parking_lot::{Condvar, Mutex};
use projection::{ApplyError, HistoryReader, OpenError, ReadError};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use edge::clock;

/// Most records in one transaction.
const BATCH_RECORDS_MAX: usize = 10_000;
/// The rate of records, per second, that counts as a rush.
const RUSH_PER_SECOND: u64 = 5_000;
/// Pause after a batch during a rush, in multiples of the batch's duration.
const REST_FACTOR: u32 = 30;
/// The longest pause.
const REST_MAX: Duration = Duration::from_secs(1);
/// How often the thread checks for new records.
const POLL: Duration = Duration::from_millis(50);
/// Pause between retries after a failed write.
const RETRY: Duration = Duration::from_secs(1);
/// Lists and exports that may read at the same time.
const READERS_MAX: usize = 8;

/// The tables, and how far they have followed the journal.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    position: AtomicU64,
    /// Notified after each applied batch.
    applied: Notify,
    waiting_count: AtomicUsize,
    wake: Condvar,
    lock: Mutex<()>,
    is_closed: AtomicBool,
    is_broken: AtomicBool,
    readers: Mutex<Vec<HistoryReader>>,
    permits: Arc<Semaphore>,
    exports: Semaphore,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a list cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The tables did not catch up in time.
    #[error("the history is at record {at}, the list needs {wanted}")]
    Behind {
        /// The last record in the tables.
        at: u64,
        /// The record that the list requires.
        wanted: u64,
    },
    /// The limit on concurrent reads is reached.
    #[error("as many lists are being read as may be")]
    Busy,
    /// The client stopped reading, and the reader was needed for other lists.
    #[error("the list broke off: it was not read in time")]
    Unread,
    /// The read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl History {
    /// Opens the tables of a data folder and starts the thread that applies the journal.
    ///
    /// # Errors
    /// [`OpenError`] if they can neither be opened nor rebuilt.
    pub fn start(folder: &Path, engine: &Arc<Engine>) -> Result<Arc<Self>, OpenError> {
        let path = folder.join("history.sqlite");
        let mut tables = projection::History::open(&path, engine.journal_id())?;
        if tables.reset_if_ahead(Position(engine.durable_lsn().0))? {
            tracing::warn!("the history was ahead of the journal");
        }
        if let Some(reason) = tables.rebuilt() {
            tracing::info!(%reason, "the history is rebuilt from the journal");
        }
        let history = Arc::new(Self {
            path,
            position: AtomicU64::new(tables.position().0),
            applied: Notify::new(),
            waiting_count: AtomicUsize::new(0),
            wake: Condvar::new(),
            lock: Mutex::new(()),
            is_closed: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            readers: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            exports: Semaphore::new(READERS_MAX / 2),
            thread: Mutex::new(None),
        });
        let (keeper, engine) = (Arc::clone(&history), Arc::clone(engine));
        let started = thread::Builder::new().name("history".to_owned()).spawn(move || keeper.run(&engine, tables));
        match started {
            Ok(thread) => *history.thread.lock() = Some(thread),
            Err(error) => {
                tracing::error!(%error, "cannot start the history's thread; lists will not be answered");
                history.is_broken.store(true, Ordering::Relaxed);
            }
        }
        Ok(history)
    }

    /// The last record in the tables.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Whether the tables can no longer follow the journal.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Ends the thread; the remaining records are applied after the next start.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    /// Waits until the tables hold record `wanted`.
    ///
    /// # Errors
    /// [`ListError::Behind`] after `at_most`.
    pub async fn wait_for(&self, wanted: Lsn, at_most: Duration) -> Result<(), ListError> {
        let _waiting = Waiting::new(self);
        let reached = tokio::time::timeout(at_most, async {
            loop {
                let mut applied = std::pin::pin!(self.applied.notified());
                applied.as_mut().enable();
                if wanted.0 <= self.position() {
                    return;
                }
                applied.await;
            }
        });
        reached.await.map_err(|_| ListError::Behind { at: self.position(), wanted: wanted.0 })
    }

    /// Reads on a thread where blocking is allowed.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut HistoryReader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ListError> {
        let history = Arc::clone(self);
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| ListError::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the read ends, even if the caller was cancelled meanwhile.
            let _permit = permit;
            history.with_reader(work)
        });
        let done = done.await;
        done.unwrap_or_else(|error| Err(ReadError::Store(error.into()))).map_err(ListError::from)
    }

    /// Permits for an export. Exports may take long, so they may use at most half of the readers.
    ///
    /// # Errors
    /// [`ListError::Busy`] if none is free.
    pub fn export_permit(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), ListError> {
        let export = self.exports.try_acquire().map_err(|_| ListError::Busy)?;
        let reader = self.permits.try_acquire().map_err(|_| ListError::Busy)?;
        Ok((export, reader))
    }

    /// Runs `work` with a reader of the pool.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn with_reader<T>(&self, work: impl FnOnce(&mut HistoryReader) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let pooled = self.readers.lock().pop();
        let mut reader = match pooled {
            Some(reader) => reader,
            None => HistoryReader::open(&self.path)?,
        };
        let outcome = work(&mut reader);
        if outcome.is_ok() {
            self.readers.lock().push(reader);
        }
        outcome
    }

    fn run(&self, engine: &Engine, mut tables: projection::History) {
        while !self.is_closed.load(Ordering::Relaxed) {
            let Err(error) = self.follow(engine, &mut tables) else { return };
            if self.recover(&error, &mut tables) {
                continue;
            }
            tracing::error!(%error, "the history cannot follow the journal; lists are not answered");
            self.is_broken.store(true, Ordering::Relaxed);
            return;
        }
    }

    /// Whether to continue after an error.
    fn recover(&self, error: &FollowError, tables: &mut projection::History) -> bool {
        match error {
            FollowError::Apply(ApplyError::Full | ApplyError::Store(_)) => {
                tracing::warn!(%error, "the history waits");
                self.rest(RETRY);
                true
            }
            FollowError::Apply(ApplyError::Damaged(what)) => {
                tracing::warn!(%error, "the history is begun anew");
                self.readers.lock().clear();
                let begun = tables.begin_anew(projection::Rebuilt::Damaged(what.clone()));
                self.position.store(tables.position().0, Ordering::Release);
                begun.is_ok()
            }
            FollowError::Apply(ApplyError::Gap { .. } | ApplyError::Conflict { .. }) | FollowError::Feed(_) => false,
        }
    }

    /// Applies durable records, batch after batch, until closed.
    fn follow(&self, engine: &Engine, tables: &mut projection::History) -> Result<(), FollowError> {
        let Some(mut feed) = engine.feed(tables.position())? else { return Ok(()) };
        let mut records = FedRecords::default();
        let mut rush = Rush::default();
        while !self.is_closed.load(Ordering::Relaxed) {
            let started = clock::elapsed();
            feed.fill(&mut records, engine.durable_lsn(), BATCH_RECORDS_MAX)?;
            if records.is_empty() {
                self.rest(POLL);
                continue;
            }
            let as_of = tables.apply(records.iter())?;
            self.position.store(as_of.position.0, Ordering::Release);
            self.applied.notify_waiters();
            if self.waiting_count.load(Ordering::Relaxed) == 0 && rush.goes_on(engine.durable_lsn()) {
                self.rest((clock::elapsed().saturating_sub(started) * REST_FACTOR).min(REST_MAX));
            }
        }
        Ok(())
    }

    /// Pauses until a list waits or the history is closed.
    fn rest(&self, at_most: Duration) {
        let mut guard = self.lock.lock();
        let goes_on = |(): &mut ()| self.waiting_count.load(Ordering::Relaxed) == 0 && !self.is_closed.load(Ordering::Relaxed);
        if self.waiting_count.load(Ordering::Relaxed) == 0 {
            self.wake.wait_while_for(&mut guard, goes_on, at_most);
        } else {
            // A list waits for records that this thread has not read yet: they arrive at any moment.
            self.wake.wait_for(&mut guard, Duration::from_millis(1));
        }
    }
}

/// Measures the rate of records.
#[derive(Default)]
struct Rush {
    at: Duration,
    lsn: Lsn,
}

impl Rush {
    /// Whether the rate since the last call counts as a rush.
    fn goes_on(&mut self, durable: Lsn) -> bool {
        let now = clock::elapsed();
        let (came, millis) = (durable.0.saturating_sub(self.lsn.0), now.saturating_sub(self.at).as_millis());
        (self.at, self.lsn) = (now, durable);
        u128::from(RUSH_PER_SECOND) * millis < u128::from(came) * 1_000
    }
}

/// Counts a waiting list, and wakes the thread.
struct Waiting<'a>(&'a History);

impl<'a> Waiting<'a> {
    fn new(history: &'a History) -> Self {
        history.waiting_count.fetch_add(1, Ordering::Relaxed);
        // With the lock held, the thread is either before its check of the count or asleep.
        drop(history.lock.lock());
        history.wake.notify_all();
        Self(history)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why the tables cannot follow the journal.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}
