//! The engine with its threads: one commits, one keeps a spare segment ready, one handles deadlines, one
//! takes snapshots.

mod alarm;
mod keeper;
mod owning;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use alarm::Alarm;
use domain::hash::HashSeed;
use domain::types::{RequestId, Timestamp};
use domain::wire::Position;
use domain::{Action, Command, Kind, State};
use journal::Lsn;
use journal::format::JournalId;
use journal::owner::Owner;
use journal::segments::Spares;
use journal::storage::FileStorage;
use journal::writer::{OpenError, Options};
use keeper::Keeper;
use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, elapsed};
use crate::commit::Committer;
use crate::core::{Core, RestsOn};
use crate::durable::Durable;
use crate::feed::{Feed, FeedError};
use crate::limits::Limits;
use crate::meter::{JournalWork, Meter};
use crate::restart::{Restarted, restart};
use crate::views::{Done, Over, Refusal};

/// The settings with which an engine is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub folder: PathBuf,
    /// The engine's capacity.
    pub limits: Limits,
    /// The journal's options.
    pub journal: Options,
    /// The key of the hash tables; random.
    pub seed: HashSeed,
    /// The clock that timestamps commands.
    pub clock: Clock,
    /// The number of records after which a snapshot is taken.
    pub snapshot_every: u64,
}

/// The engine's status, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The last durable record.
    pub durable_lsn: Lsn,
    /// The LSN of the last snapshot.
    pub snapshot_lsn: Lsn,
    /// Writes and syncs so far.
    pub commits_count: u64,
    /// The numbers of aggregates, entries and request keys in memory.
    pub counts: Counts,
    /// Whether the journal has no room left.
    pub is_read_only: bool,
    /// How far the last record's time is ahead of the clock, in milliseconds.
    pub ahead_of_clock_ms: u64,
}

/// The numbers of aggregates, entries and request keys in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Aggregates of each kind, in the order of [`Kind::ALL`].
    pub aggregates: [u64; Kind::ALL.len()],
    /// Their entries, likewise: claims, overrides.
    pub entries: [u64; Kind::ALL.len()],
    /// Request keys.
    pub requests: u64,
}

impl Counts {
    /// Counts the contents of a state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut counts = Self { requests: state.requests.len() as u64, ..Self::default() };
        for ((kind, aggregates), entries) in Kind::ALL.iter().zip(&mut counts.aggregates).zip(&mut counts.entries) {
            (*aggregates, *entries) = (state.count(*kind) as u64, state.entries_count_of(*kind));
        }
        counts
    }

    /// Each kind with its aggregates and their entries.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64, u64)> {
        Kind::ALL.iter().zip(self.aggregates).zip(self.entries).map(|((kind, aggregates), entries)| (*kind, aggregates, entries))
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.aggregates.iter_mut().zip(other.aggregates).for_each(|(sum, count)| *sum += count);
        self.entries.iter_mut().zip(other.entries).for_each(|(sum, count)| *sum += count);
    }
}

/// The one writer of one data folder. Share it by [`Arc`].
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    journal_id: JournalId,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    /// Wakes the committer when something is staged.
    staged: Condvar,
    /// Whether the committer is waiting; while it is not, staging skips the notification.
    committer_waits: AtomicBool,
    durable: Durable,
    clock: Clock,
    journal_storage: Arc<FileStorage>,
    snapshot_storage: FileStorage,
    spares: Arc<Spares<FileStorage>>,
    keeper: Keeper,
    owner: Arc<Owner>,
    /// The stop signal of the thread that keeps the owner file fresh.
    owning: Keeper,
    alarm: Alarm,
    meter: Meter,
    snapshot_lsn: AtomicU64,
    snapshot_every: u64,
}

/// The journal and state as found on disk, before any thread starts.
struct Rebuilt {
    journal_storage: Arc<FileStorage>,
    snapshot_storage: FileStorage,
    core: Core,
    committer: Committer<FileStorage>,
    restarted: Restarted,
}

/// Pause before the next attempt to create a segment after one failed.
const SPARE_RETRY: Duration = Duration::from_millis(500);

impl Engine {
    /// Opens the journal under the data folder, rebuilds the state, and starts the threads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &Settings) -> Result<(Self, Restarted), OpenError> {
        Self::open_if(settings, |_, _| Ok(()))
    }

    /// As [`Engine::open`], but `accept` can inspect the rebuilt state first: if it refuses, nothing is
    /// written.
    ///
    /// # Errors
    /// [`OpenError`], or the error of `accept`.
    pub fn open_if<E: From<OpenError>>(
        settings: &Settings,
        accept: impl FnOnce(&State, &Restarted) -> Result<(), E>,
    ) -> Result<(Self, Restarted), E> {
        let owner = owning::take(&settings.folder)?;
        Self::open_owned(settings, owner, accept)
    }

    /// As [`Engine::open_if`], in a folder that the caller has taken already.
    ///
    /// # Errors
    /// [`OpenError`], or the error of `accept`.
    pub fn open_owned<E: From<OpenError>>(
        settings: &Settings,
        owner: Arc<Owner>,
        accept: impl FnOnce(&State, &Restarted) -> Result<(), E>,
    ) -> Result<(Self, Restarted), E> {
        let opened = Self::rebuild(settings)?;
        accept(opened.core.state(), &opened.restarted)?;
        Ok(Self::go_on(settings, owner, opened)?)
    }

    fn rebuild(settings: &Settings) -> Result<Rebuilt, OpenError> {
        let journal_storage = Arc::new(FileStorage::open_folder(&settings.folder.join("journal"))?);
        let snapshot_storage = FileStorage::open_folder(&settings.folder.join("snapshots"))?;
        let (core, committer, restarted) = restart(&journal_storage, &snapshot_storage, &settings.journal, settings.seed, settings.limits)?;
        Ok(Rebuilt { journal_storage, snapshot_storage, core, committer, restarted })
    }

    fn go_on(settings: &Settings, owner: Arc<Owner>, rebuilt: Rebuilt) -> Result<(Self, Restarted), OpenError> {
        let Rebuilt { journal_storage, snapshot_storage, core, committer, restarted } = rebuilt;
        let (journal_id, committer) = (committer.journal().id(), committer.owned_by(Arc::clone(&owner)));
        owner.confirm();
        let shared = Arc::new(Shared {
            durable: Durable::at(core.staged_lsn()),
            core: Mutex::new(core),
            staged: Condvar::new(),
            committer_waits: AtomicBool::new(false),
            clock: settings.clock.clone(),
            journal_storage,
            snapshot_storage,
            spares: Arc::clone(committer.journal().spares()),
            keeper: Keeper::default(),
            owner,
            owning: Keeper::default(),
            alarm: Alarm::default(),
            meter: Meter::default(),
            snapshot_lsn: AtomicU64::new(restarted.snapshot_lsn.unwrap_or_default().0),
            snapshot_every: settings.snapshot_every.max(1),
        });
        let threads = Mutex::new(start_threads(&shared, committer, journal_id)?);
        Ok((Self { shared, threads, journal_id }, restarted))
    }

    /// The id of the journal.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.journal_id
    }

    /// The clock that timestamps commands.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Decides a command and waits until the record that the answer rests on is durable.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, command: &Command<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let answer = self.stage(command, request_id);
        self.release(answer).await?
    }

    /// Reads the state and waits until the records that the result rests on are durable. `look` runs in the
    /// critical section: it copies what the answer needs from the state as of the given instant.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if the engine has failed.
    pub async fn read<T>(&self, over: Over<'_>, look: impl FnOnce(&State, Timestamp) -> T) -> Result<T, Refusal> {
        let wall = self.shared.clock.now();
        let answer = self.shared.core.lock().read(over, wall, look);
        self.release(answer).await
    }

    /// The last durable record.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.shared.durable.lsn()
    }

    /// Whether the engine has failed: nothing more can be decided, and the process should end.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.durable.has_failed()
    }

    /// The durable decisions after a position.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn feed(&self, after: Position) -> Result<Option<Feed<FileStorage>>, FeedError> {
        Feed::open(Arc::clone(&self.shared.journal_storage), after)
    }

    /// The last record's time: what is decided now is not earlier.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.shared.core.lock().state().time
    }

    /// Sets the time back to `to`, with a record; a time that is not ahead of it stays.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn set_time(&self, to: Timestamp, request_id: RequestId<'_>) -> Result<(), Refusal> {
        self.submit(&Command::local(Action::SetTime { to }), request_id).await.map(drop)
    }

    /// The engine's status, for metrics.
    #[must_use]
    pub fn status(&self) -> Status {
        let wall = self.shared.clock.now();
        let core = self.shared.core.lock();
        Status {
            durable_lsn: self.shared.durable.lsn(),
            snapshot_lsn: Lsn(self.shared.snapshot_lsn.load(Ordering::Relaxed)),
            commits_count: self.shared.meter.commits(),
            counts: Counts::of(core.state()),
            is_read_only: core.is_read_only(),
            ahead_of_clock_ms: core.state().time.millis().saturating_sub(wall.millis()),
        }
    }

    /// The digest of the state's canonical bytes, as staged (J1).
    #[must_use]
    pub fn state_digest(&self) -> [u8; 32] {
        let frozen = self.shared.core.lock().state().freeze();
        journal::snapshot::digest_of(frozen.sections())
    }

    /// Rejects further commands, commits what is staged, takes a last snapshot, and ends the threads. Calling
    /// it again does nothing.
    pub fn close(&self) {
        self.shared.core.lock().stop();
        self.shared.staged.notify_all();
        self.shared.keeper.close();
        self.shared.alarm.close();
        self.shared.spares.close();
        let mut threads = std::mem::take(&mut *self.threads.lock());
        // The folder is kept until the last snapshot is written.
        let owning = threads.pop();
        for thread in threads {
            // A panic in a thread has already ended the process.
            let _ = thread.join();
        }
        self.shared.owning.close();
        owning.map(JoinHandle::join);
        self.shared.owner.release();
    }

    /// Decides a command without waiting; the answer must pass [`Engine::release`].
    pub fn stage(&self, command: &Command<'_>, request_id: RequestId<'_>) -> RestsOn<Result<Done, Refusal>> {
        let wall = self.shared.clock.now();
        let (answer, has_staged, is_due_earlier) = {
            let mut core = self.shared.core.lock();
            let answer = core.submit(command, request_id, wall);
            (answer, core.has_staged(), core.take_due_earlier())
        };
        if is_due_earlier {
            self.shared.alarm.ring();
        }
        if has_staged && self.shared.committer_waits.swap(false, Ordering::AcqRel) {
            self.shared.staged.notify_one();
        }
        answer
    }

    /// The journal's work since the start.
    #[must_use]
    pub fn journal_work(&self) -> JournalWork {
        let durable = self.shared.durable.lsn();
        let staged = self.shared.core.lock().staged_lsn();
        self.shared.meter.work(staged.0.saturating_sub(durable.0))
    }

    /// Waits until the record that an answer rests on is durable.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if the engine has failed.
    pub async fn release<T>(&self, answer: RestsOn<T>) -> Result<T, Refusal> {
        self.shared.durable.wait(answer.lsn).await.map_err(|_| Refusal::Unknown)?;
        Ok(answer.value)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn start_threads(shared: &Arc<Shared>, committer: Committer<FileStorage>, journal: JournalId) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let start = |name: &str, work: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.to_owned()).spawn(work);
    let (committing, sparing, ringing, keeping) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let owning = Arc::clone(shared);
    Ok(vec![
        start("committer", Box::new(move || run_committer(&committing, committer)))?,
        start("spares", Box::new(move || run_spares(&sparing)))?,
        start("deadlines", Box::new(move || alarm::run(&ringing)))?,
        start("keeper", Box::new(move || keeper::run(&keeping, journal)))?,
        // Last: it is also ended last.
        start("owner", Box::new(move || owning::run(&owning)))?,
    ])
}

/// Commits whatever has been staged, without waiting for more.
fn run_committer(shared: &Shared, mut committer: Committer<FileStorage>) {
    while wait_for_staged(shared) {
        // Lets other runnable threads stage more first: with a free processor this takes no time, and on a
        // busy machine it makes the batch larger, so that one sync serves more callers.
        thread::yield_now();
        let (before, started) = (shared.durable.lsn(), elapsed());
        match committer.commit(&shared.core) {
            Ok(lsn) => {
                shared.meter.committed(lsn.0.saturating_sub(before.0), elapsed().saturating_sub(started));
                shared.durable.advance(lsn);
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written; nothing more is accepted");
                return give_up(shared);
            }
        }
    }
}

/// No answer can be relied on any more: ends every wait, and accepts nothing.
fn give_up(shared: &Shared) {
    shared.core.lock().stop();
    shared.durable.fail();
}

/// Waits until something is staged; `false` once the engine is stopping and nothing is staged.
fn wait_for_staged(shared: &Shared) -> bool {
    let mut core = shared.core.lock();
    loop {
        if core.has_staged() {
            return true;
        }
        if core.is_stopping() {
            return false;
        }
        shared.committer_waits.store(true, Ordering::Release);
        shared.staged.wait(&mut core);
    }
}

fn run_spares(shared: &Shared) {
    let mut is_refused = false;
    while shared.spares.wait_until_wanted(Duration::from_secs(3_600)) {
        match owning::still_ours(shared).and_then(|()| shared.spares.prepare(&shared.journal_storage)) {
            Ok(has_prepared) => {
                if has_prepared {
                    refresh_room(shared);
                }
                if std::mem::take(&mut is_refused) {
                    tracing::info!("there is room for a journal segment again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_refused, true) {
                    tracing::error!(%error, "cannot make the next journal segment; read-only once this one is full");
                }
                shared.keeper.sleep(SPARE_RETRY);
            }
        }
    }
}

/// A spare segment is ready: the journal can take at least its capacity.
fn refresh_room(shared: &Shared) {
    shared.core.lock().add_room(shared.spares.capacity_bytes());
}
