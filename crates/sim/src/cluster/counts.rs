//! What happens rarely across machines, counted: over many seeds none of these may stay at zero.

use crate::counts;

rare! {
    /// A claim was granted.
    Granted,
    /// A claim was given a place in the queue.
    Accepted,
    /// A claim that had been in the queue was decided.
    Decided,
    /// A decision was asked for too early, or twice.
    DecidedInVain,
    /// A claim was refused because the queue was full.
    QueueFull,
    /// A claim was told again because its subject has it.
    Repeated,
    /// An answer was told again because of its request key.
    Replayed,
    /// A request key was used for another request.
    KeyReused,
    /// A refusal was told from a node's own state, behind a barrier.
    RefusedHere,
    /// A refusal was decided in the record.
    RefusedInRecord,
    /// A claim was refused because nothing was left.
    SoldOut,
    /// A claim was refused because it came too early.
    NotOpen,
    /// A claim was refused because the campaign had closed.
    Closed,
    /// A claim was refused because of a pause.
    Paused,
    /// A claim was cancelled.
    Cancelled,
    /// A claim was redeemed.
    Redeemed,
    /// A subject claimed again after its claim had been cancelled.
    ClaimedAgain,
    /// Settings were written.
    SettingsWritten,
    /// A policy or the keyring was changed.
    OtherChanged,
    /// A caller's own key had ended ahead of a change of keys.
    AskerEnded,
    /// Nobody knew what had become of a command.
    Unknown,
    /// What was unknown had taken effect.
    UnknownTookEffect,
    /// What was unknown had no effect.
    UnknownWithoutEffect,
    /// A node refused because it had not caught up.
    NotCaughtUp,
    /// A node had no room.
    Busy,
    /// A node had no memory left.
    MemoryLimit,
    /// A client went away in the middle.
    ClientGone,
    /// The command of a client that had gone took effect.
    GoneTookEffect,
    /// A record was lost on its way.
    RecordLost,
    /// A record was there twice.
    RecordTwice,
    /// The second one of two records came after more than two seconds.
    RecordTwiceLate,
    /// The second one of two took effect too: its subject had cancelled between them.
    RecordTwiceTookEffect,
    /// A record was appended after its node had given up on it.
    RecordLate,
    /// A new leader had not got what the old one had.
    TailLost,
    /// A broker's clock went back.
    ClockWentBack,
    /// A broker's clock was an hour ahead.
    ClockAhead,
    /// A node was cut off.
    CutOff,
    /// A node lagged behind.
    Lagged,
    /// A node was killed.
    Killed,
    /// A node started at the beginning of the log.
    StartedAtZero,
    /// A node started from a state of the history.
    StartedFromHistory,
    /// A node with older rules stopped.
    OldRulesStopped,
    /// Two nodes were compared at the same place.
    Compared,
    /// The gate let a claim pass.
    GatePassed,
    /// The gate said that nothing is left.
    GateSoldOut,
    /// The gate had let a subject pass before.
    GateMarked,
    /// The gate was empty, foreign or old, and this was noticed.
    GateUnfilled,
    /// The gate was filled.
    GateFilled,
    /// The gate ignored an older correction.
    GateIgnored,
    /// The gate was away.
    GateAway,
    /// The gate did what was asked, and its answer was lost.
    GateAnswerLost,
    /// The gate lost everything.
    GateLost,
    /// The gate was set back to an older copy.
    GateRestored,
    /// The gate held what belongs to another log.
    GateForeign,
    /// A claim went to the record and found nothing left.
    ExtraRecord,
    /// A campaign's last unit was claimed.
    LastUnitClaimed,
}

/// How often each of them happened.
pub type Counts = counts::Counts<Rare>;
