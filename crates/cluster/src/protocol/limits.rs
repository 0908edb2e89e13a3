//! Every limit of the scaled mode has a name, here. None of them affects what is decided.

use std::time::Duration;

/// Whole milliseconds.
///
/// # Panics
/// If they do not fit 64 bits: no process runs for 500 million years.
pub(crate) fn millis_of(duration: Duration) -> u64 {
    let Ok(millis) = u64::try_from(duration.as_millis()) else { panic!("{duration:?} is longer than any process runs") };
    millis
}

/// Commands of one node whose answers have not come by yet.
pub const PENDING_MAX: usize = 65_536;
/// From handing a command to the log until its answer must have come by; then the outcome is
/// unknown. It is longer than the time after which the log's client gives up.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
/// The time after which the log's client gives up on a record.
pub const DELIVERY_TIME_MAX: Duration = Duration::from_secs(5);
/// From asking for a barrier until it must have come by; then the node has not caught up.
pub const BARRIER_TIME_MAX: Duration = Duration::from_secs(3);
/// A barrier that has not come by for so long may be lost: another one is appended.
pub const BARRIER_RETRY: Duration = Duration::from_secs(1);
/// How long a gate that says no is believed to be waiting for claims in flight, while the node's
/// own state says yes.
pub const GATE_PATIENCE: Duration = Duration::from_millis(1_500);
/// Between two looks at such a gate.
pub const GATE_LOOK: Duration = Duration::from_millis(20);
/// Claims of one campaign that one node has in flight without the gate's leave.
pub const UNGATED_MAX: usize = 64;
/// Claims of one campaign that wait on one node, for the gate or for a place without it.
pub const LANE_WAITING_MAX: usize = 8_192;
/// Claims that are put to the gate in one call.
pub const GATE_CALL_MAX: usize = 256;
/// A node that has not been heard of at the gate for so long has nothing in flight there any more.
pub const FLIGHT_MILLIS_MAX: u64 = 5_000;
/// Marks in one set of the gate, on average, when every unit is claimed: well below the 512 up to
/// which Redis keeps a set of integers as a sorted array.
pub const MARKS_PER_SET: u64 = 200;
/// How often the keeper looks after gates, deadlines and lost partitions.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);
/// A lane that nobody used for so long is forgotten.
pub const LANE_IDLE: Duration = Duration::from_secs(60);
/// Positions whose digests are kept, to be compared with the history's.
pub const DIGESTS_KEPT: usize = 65_536;
/// How often queues are looked at.
pub const QUEUES_EVERY: Duration = Duration::from_millis(10);
/// A pending claim whose time came so long ago is had decided by any node; before, by the one that
/// had the last one decided.
pub const STEP_IN: Duration = Duration::from_millis(300);
/// What was asked to be decided, without anything being decided for so long, is asked again.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Decisions of one campaign that are asked for at once.
pub const DECISIONS_AT_ONCE_MAX: u32 = 1_024;
