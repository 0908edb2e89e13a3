//! What happens rarely, counted: a simulation that never sees a torn tail proves nothing about
//! torn tails, so over many seeds none of these may stay at zero.

macro_rules! rare {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that must happen now and then.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Rare { $($(#[$doc])* $name,)* }

        impl Rare {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

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

/// How often each happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; Rare::ALL.len()])
    }
}

impl Counts {
    /// It happened.
    pub fn saw(&mut self, rare: Rare) {
        self.0[rare as usize] += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, rare: Rare) -> u64 {
        self.0[rare as usize]
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        Rare::ALL.iter().filter(|rare| self.of(**rare) == 0).map(|rare| rare.name()).collect()
    }
}
