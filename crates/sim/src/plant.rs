//! Bugs that are planted on purpose, to show that the simulation detects them. Each is a bug that some
//! journal or database had. None is in the product: the simulated disk or the driver plays it.

plants! {
    /// Answers are given before their record is synced.
    AnswerBeforeSync,
    /// Reads and refusals are given from the staged state before it is durable.
    ReadBeforeDurable,
    /// A refusal that depends on the time does not wait for the records that it rests on.
    TimeNotWaitedFor,
    /// A place in the queue is told as a claim.
    PlaceToldAsClaim,
    /// When a commit fails, those who wait are told yes.
    UnknownToldAsYes,
    /// The journal's folder is never synced.
    FolderSyncMissing,
    /// Now and then the sync of a segment is skipped.
    FileSyncSkipped,
    /// The sync comes before the write that it should cover.
    SyncBeforeWrite,
    /// What recovery found is not synced before it is served.
    TailNotSynced,
    /// The last batch is synced after a failed sync, but not written again.
    TailNotRewritten,
    /// A torn tail is left as it is.
    TornTailNotCleared,
    /// A hole is taken for a torn tail and cleared.
    HoleTakenForTail,
    /// An error while reading is taken for the end of the journal.
    ReadErrorTakenForEnd,
    /// A failed sync is tried again, and the second one believed.
    FailedSyncBelieved,
    /// A failed write is ignored.
    FailedWriteIgnored,
    /// A snapshot is written before the journal is durable up to it.
    SnapshotOfStaged,
    /// A snapshot gets its name before its bytes are synced.
    SnapshotRenamedUnsynced,
    /// A snapshot leaves the request keys out.
    SnapshotWithoutKeys,
    /// A snapshot says that it holds one record more than it does.
    SnapshotMislabelled,
    /// A segment gets its name before its bytes are synced.
    SegmentRenamedUnsynced,
    /// A new segment is an old one used again, with its old bytes.
    SegmentRecycled,
    /// After a restart the time of the last record is forgotten.
    TimeForgotten,
    /// A replay leaves one record out.
    RecordSkipped,
    /// After a restart the numbers of the last batch are given out again.
    LsnReused,
}
