//! What happens rarely, counted: a simulation that never sees a torn tail proves nothing about
//! torn tails, so over many seeds none of these may stay at zero.

use std::marker::PhantomData;

rare! {
    /// Recovery found and cleared a torn tail.
    TornTailCleared,
    /// Recovery refused a damaged batch that had been synced.
    HoleRefused,
    /// A start used a snapshot.
    SnapshotUsed,
    /// A start passed over a damaged snapshot.
    SnapshotPassedOver,
    /// A snapshot was there and records behind it were replayed.
    SnapshotAndTail,
    /// The journal went on in another segment.
    SegmentRotated,
    /// A start found a spare segment.
    SpareFound,
    /// Power went while a batch was written or synced.
    PowerLostInCommit,
    /// Power went while a segment was made.
    PowerLostInSpare,
    /// Power went while a snapshot was written.
    PowerLostInSnapshot,
    /// Power went during recovery.
    PowerLostInRecovery,
    /// Power went during recovery, twice in a row.
    PowerLostInRecoveryAgain,
    /// The disk failed during recovery, and it was tried again.
    ErrorInRecovery,
    /// The process was killed and the page cache lived on.
    Killed,
    /// A sync failed.
    SyncFailed,
    /// A write failed.
    WriteFailed,
    /// Half of a write arrived.
    WriteCutShort,
    /// A command was refused because the disk is full.
    StorageFull,
    /// The journal was opened on a full disk.
    OpenedOnFullDisk,
    /// After that there was room again, and a segment was made.
    RoomAgain,
    /// A command was refused because too much was on its way.
    Busy,
    /// A request key was replayed.
    KeyReplayed,
    /// A request key was used for another request.
    KeyReused,
    /// Request keys were forgotten.
    KeysForgotten,
    /// A subject asked again and was told its claim.
    SubjectRepeated,
    /// Sold out was told.
    SoldOut,
    /// A claim was given a place in the queue.
    Accepted,
    /// A claim that had been in the queue was decided.
    QueueDecided,
    /// The queue was full.
    QueueFull,
    /// A start found claims in the queue.
    StartedWithQueue,
    /// A policy was created, changed or removed, or numbers of a key were.
    PolicyChanged,
    /// The keyring was made, or a key or the code key changed.
    KeyringChanged,
    /// An answer about a policy or the keyring was replayed by its request key.
    OtherReplayed,
    /// A caller's own key had ended ahead of a change of keys.
    AskerEnded,
    /// An answer had to wait for the disk.
    AnswerHeld,
    /// A read or refusal had to wait for the disk.
    ReadHeld,
    /// What a client was told is unknown had taken effect.
    UnknownWasThere,
    /// What a client was told is unknown had not.
    UnknownWasLost,
    /// The wall clock went back.
    ClockWentBack,
    /// The feed gave records.
    FeedFollowed,
}

/// A list of things that must happen now and then.
pub trait Rarity: Copy + 'static {
    /// All of them, in order.
    const ALL: &'static [Self];

    /// Its place in the list, from 0.
    fn place(self) -> usize;

    /// Its name.
    fn name(self) -> &'static str;
}

/// How often each of them happened.
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
    /// It happened.
    pub fn saw(&mut self, rare: R) {
        self.by_place[rare.place()] += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, rare: R) -> u64 {
        self.by_place[rare.place()]
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        self.by_place.iter_mut().zip(&other.by_place).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        R::ALL.iter().filter(|rare| self.of(**rare) == 0).map(|rare| rare.name()).collect()
    }
}
