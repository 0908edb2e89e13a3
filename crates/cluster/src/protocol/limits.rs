//! Every limit of the scaled mode has a name, here. None of them affects a decision.

use std::time::Duration;

/// The duration in whole milliseconds.
///
/// # Panics
/// If the number does not fit 64 bits: no process runs for 500 million years.
pub(crate) fn millis_of(duration: Duration) -> u64 {
    let Ok(millis) = u64::try_from(duration.as_millis()) else { panic!("{duration:?} is longer than any process runs") };
    millis
}

/// Capacity of one node for commands whose answers have not been read back yet.
pub const PENDING_MAX: usize = 65_536;
/// From appending a command until its answer must have been read back; after that the outcome is unknown.
/// Longer than [`DELIVERY_TIME_MAX`].
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
/// The time after which the Kafka client gives up on a record.
pub const DELIVERY_TIME_MAX: Duration = Duration::from_secs(5);
/// From asking for a barrier until it must have been read back; after that the node counts as not caught up.
pub const BARRIER_TIME_MAX: Duration = Duration::from_secs(3);
/// A barrier not read back for this long may be lost: another one is appended.
pub const BARRIER_RETRY: Duration = Duration::from_secs(1);
/// How long a refusal of the gate is attributed to commands in flight, while the node's own state
/// still has units left.
pub const GATE_PATIENCE: Duration = Duration::from_millis(1_500);
/// Pause between two questions to such a gate.
pub const GATE_LOOK: Duration = Duration::from_millis(20);
/// Commands of one aggregate that one node may have in flight without the gate's permission.
pub const UNGATED_MAX: usize = 64;
/// Commands of one aggregate that may wait on one node, for the gate or for a permit without it.
pub const LANE_WAITING_MAX: usize = 8_192;
/// Commands in one call to the gate.
pub const GATE_CALL_MAX: usize = 256;
/// A node that has not called the gate for this long counts as having nothing in flight there.
pub const FLIGHT_MILLIS_MAX: u64 = 5_000;
/// Marks in one set of the gate, on average, when every unit is taken: well below the 512 up to
/// which Redis keeps a set of integers as a sorted array.
pub const MARKS_PER_SET: u64 = 200;
/// How often the keeper corrects gates and checks deadlines and lost partitions.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);
/// A lane that was not used for this long is removed.
pub const LANE_IDLE: Duration = Duration::from_secs(60);
/// Offsets whose digests are kept, for comparison with the history's.
pub const DIGESTS_KEPT: usize = 65_536;
/// How often a node checks for due commands.
pub const DUE_EVERY: Duration = Duration::from_millis(10);
/// A command due for this long is appended by any node; before, only by the node that appended the last due
/// command with an effect.
pub const STEP_IN: Duration = Duration::from_millis(300);
/// A due command that was appended without any effect for this long is appended again.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Due commands of one aggregate that are appended at once.
pub const DUE_AT_ONCE_MAX: u32 = 1_024;
