//! Rare events of the cluster simulation, counted: over many seeds none of them may stay at zero.

use crate::counts;

rare! {
    /// A claim was granted.
    Granted,
    /// A claim was queued.
    Accepted,
    /// A claim that had been in the queue was decided.
    Decided,
    /// A decision was appended too early, or twice.
    DecidedInVain,
    /// A claim was refused because the queue was full.
    QueueFull,
    /// A claim was repeated because its subject has it.
    Repeated,
    /// An answer was repeated because of its request key.
    Replayed,
    /// A request key was used for another request.
    KeyReused,
    /// A rejection was answered from a node's own state, after a barrier.
    RefusedHere,
    /// A rejection was decided in the log.
    RefusedInRecord,
    /// A claim was rejected as sold out.
    SoldOut,
    /// A claim was rejected because it came too early.
    NotOpen,
    /// A claim was rejected because the campaign had closed.
    Closed,
    /// A claim was rejected because of a pause.
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
    /// A caller's own key was revoked before its change of keys was decided.
    AskerEnded,
    /// The outcome of a command was unknown to its caller.
    Unknown,
    /// A command with an unknown outcome had taken effect.
    UnknownTookEffect,
    /// A command with an unknown outcome had no effect.
    UnknownWithoutEffect,
    /// A node refused because it had not caught up.
    NotCaughtUp,
    /// A node's capacity was used up.
    Busy,
    /// A node's memory limit was reached.
    MemoryLimit,
    /// A client disconnected before the answer.
    ClientGone,
    /// The command of a disconnected client took effect.
    GoneTookEffect,
    /// A record was lost in transit.
    RecordLost,
    /// A record was appended twice.
    RecordTwice,
    /// The second copy of a record came more than two seconds later.
    RecordTwiceLate,
    /// The second copy took effect too: its subject had cancelled in between.
    RecordTwiceTookEffect,
    /// A record was appended after its node had given up on it.
    RecordLate,
    /// A new leader lacked records of the old one.
    TailLost,
    /// A broker's clock went backwards.
    ClockWentBack,
    /// A broker's clock was an hour ahead.
    ClockAhead,
    /// A node was cut off.
    CutOff,
    /// A node lagged behind.
    Lagged,
    /// A node was killed.
    Killed,
    /// A node started from the beginning of the log.
    StartedAtZero,
    /// A node started from a copy of the state.
    StartedFromHistory,
    /// A node with older rules stopped.
    OldRulesStopped,
    /// Two nodes were compared at the same offset.
    Compared,
    /// The gate admitted a claim.
    GatePassed,
    /// The gate answered "sold out".
    GateSoldOut,
    /// The gate had admitted a subject before.
    GateMarked,
    /// An empty, foreign or old gate was detected.
    GateUnfilled,
    /// The gate was filled.
    GateFilled,
    /// The gate ignored an older correction.
    GateIgnored,
    /// The gate was unreachable.
    GateAway,
    /// The gate executed a call, and its answer was lost.
    GateAnswerLost,
    /// The gate lost all its data.
    GateLost,
    /// The gate was set back to an older copy.
    GateRestored,
    /// The gate held the data of another log.
    GateForeign,
    /// A claim went to the log and found nothing left.
    ExtraRecord,
    /// A campaign's last unit was claimed.
    LastUnitClaimed,
}

/// How often each event happened.
pub type Counts = counts::Counts<Rare>;
