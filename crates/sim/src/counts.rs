//! Rare events, counted: a simulation that never sees a torn tail proves nothing about torn tails, so over
//! many seeds none of these may stay at zero.

use std::marker::PhantomData;

rare! {
    /// Recovery found and cleared a torn tail.
    TornTailCleared,
    /// Recovery refused a damaged batch that had been synced.
    HoleRefused,
    /// A start used a snapshot.
    SnapshotUsed,
    /// A start skipped a damaged snapshot.
    SnapshotPassedOver,
    /// A start loaded a snapshot and replayed records after it.
    SnapshotAndTail,
    /// The journal continued in another segment.
    SegmentRotated,
    /// A start found a spare segment.
    SpareFound,
    /// Power was lost while a batch was written or synced.
    PowerLostInCommit,
    /// Power was lost while a segment was created.
    PowerLostInSpare,
    /// Power was lost while a snapshot was written.
    PowerLostInSnapshot,
    /// Power was lost during recovery.
    PowerLostInRecovery,
    /// Power was lost during recovery, twice in a row.
    PowerLostInRecoveryAgain,
    /// The disk failed during recovery, which was then retried.
    ErrorInRecovery,
    /// The process was killed and the page cache survived.
    Killed,
    /// A sync failed.
    SyncFailed,
    /// A write failed.
    WriteFailed,
    /// Only half of a write was done.
    WriteCutShort,
    /// A command was refused because the disk is full.
    StorageFull,
    /// The journal was opened on a full disk.
    OpenedOnFullDisk,
    /// After that there was space again, and a segment was created.
    RoomAgain,
    /// A command was refused because too many bytes were in flight.
    Busy,
    /// An answer was repeated because of its request key.
    KeyReplayed,
    /// A request key was used for another request.
    KeyReused,
    /// Request keys were forgotten.
    KeysForgotten,
    /// A subject asked again and got its claim.
    SubjectRepeated,
    /// A claim was rejected as sold out.
    SoldOut,
    /// A claim was queued.
    Accepted,
    /// A claim that had been in the queue was decided.
    QueueDecided,
    /// The queue was full.
    QueueFull,
    /// A start found claims in the queue.
    StartedWithQueue,
    /// A policy or an override was created, changed or removed.
    PolicyChanged,
    /// The keyring was created, or a key or the code key changed.
    KeyringChanged,
    /// An answer about a policy or the keyring was repeated because of its request key.
    OtherReplayed,
    /// A caller's own key was revoked before its change of keys was decided.
    AskerEnded,
    /// An answer had to wait for the disk.
    AnswerHeld,
    /// A read or refusal had to wait for the disk.
    ReadHeld,
    /// A request with an unknown outcome had taken effect.
    UnknownWasThere,
    /// A request with an unknown outcome had not taken effect.
    UnknownWasLost,
    /// The wall clock went backwards.
    ClockWentBack,
    /// The feed gave records.
    FeedFollowed,
}

/// A list of events that must occur.
pub trait Rarity: Copy + 'static {
    /// All events, in order.
    const ALL: &'static [Self];

    /// The event's index in the list.
    fn place(self) -> usize;

    /// Its name.
    fn name(self) -> &'static str;
}

/// How often each event happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts<R = Rare> {
    by_place: Vec<u64>,
    of: PhantomData<R>,
}

impl<R: Rarity> Default for Counts<R> {
    fn default() -> Self {
        Self { by_place: vec![0; R::ALL.len()], of: PhantomData }
    }
}

impl<R: Rarity> Counts<R> {
    /// Counts an event.
    pub fn saw(&mut self, rare: R) {
        self.by_place[rare.place()] += 1;
    }

    /// How often an event happened.
    #[must_use]
    pub fn of(&self, rare: R) -> u64 {
        self.by_place[rare.place()]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.by_place.iter_mut().zip(&other.by_place).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The names of events that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        R::ALL.iter().filter(|rare| self.of(**rare) == 0).map(|rare| rare.name()).collect()
    }
}
