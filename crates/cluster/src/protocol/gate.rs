//! The gate: what Redis stores for an aggregate that hands out units, and the calls that it answers.
//!
//! The gate never has the last word: the only harm that a wrong one can do is extra records in the log. It
//! counts the units that it may still admit (`left`), and for each node the commands in flight (`flights`):
//! admitted, and not decided yet as far as the gate knows. It marks the admitted subjects, so that a subject
//! who asks twice at once, on two nodes, takes one unit.
//!
//! Every second a node corrects the gate from the log: `left` becomes the units that remain in its state,
//! less those in flight. A correction names the offset that it is based on, and the gate ignores one that is
//! older than its own. A gate that is empty, of another log, or older than a node has seen it is filled anew
//! by the node that notices first, with a higher fill number.
//!
//! [`Gate`] defines the semantics, and the simulation uses it; a test compares the Lua script with it.

use std::collections::{BTreeMap, BTreeSet};

use domain::Kind;

use super::limits::FLIGHT_MILLIS_MAX;
use super::record::{LogId, NodeId};

/// Identifies one aggregate's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateKey {
    /// The log that the aggregate's commands are in.
    pub log: LogId,
    /// The partition of that log.
    pub partition: u32,
    /// The aggregate's kind.
    pub kind: Kind,
    /// The aggregate's name.
    pub name: String,
}

/// A version of a gate: a later fill, or a correction based on a later offset, is newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct GateVersion {
    /// The number of its fill; 0 for none.
    pub fill: u64,
    /// The offset that its last correction was based on.
    pub base: u64,
}

/// A subject's mark: a set, and a number in it. Two subjects may share a mark; the second one's command then
/// goes to the log without the gate's permission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// A number from which the set is derived.
    pub set: u32,
    /// The number within the set.
    pub number: i32,
}

/// Admitted commands that were decided since the last call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Commands that took a unit, or may have.
    pub taken: u64,
    /// Commands that took no unit: it is available again.
    pub returned: u64,
    /// The offset of the last of these commands.
    pub offset: u64,
}

/// Asks for admission of some commands, each for one unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enter {
    /// The aggregate's gate.
    pub key: GateKey,
    /// The asking node.
    pub node: NodeId,
    /// The newest version that the node has seen: an older gate has lost its data.
    pub known: GateVersion,
    /// The node's commands decided since its last call.
    pub settled: Settled,
    /// For each command its subject's mark, or `None` if a subject may have several units.
    pub marks: Vec<Option<Mark>>,
}

/// The gate's verdict on one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateVerdict {
    /// Admitted: it may go to the log, and has taken one of the units that are left.
    Passed,
    /// Nothing is left.
    SoldOut,
    /// The subject was admitted before.
    Marked,
}

/// The gate's response to [`Enter`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entered {
    /// One verdict for each command, in order.
    Verdicts(GateVersion, Vec<GateVerdict>),
    /// The gate is empty, of another log, or older than the node has seen it.
    Unfilled,
}

/// Corrects a gate from the state of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Correct {
    /// The aggregate's gate.
    pub key: GateKey,
    /// The correcting node.
    pub node: NodeId,
    /// The newest version that the node has seen.
    pub known: GateVersion,
    /// The offset of the next record: every record before it is reflected in `remaining`.
    pub base: u64,
    /// Units that no subject holds.
    pub remaining: u64,
    /// Commands that this node has in flight through the gate.
    pub flight: u64,
    /// The number of sets that marks are spread over, if the gate is filled anew.
    pub sets: u32,
}

/// The gate's response to [`Correct`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Corrected {
    /// The correction was applied.
    Taken(GateVersion),
    /// Ignored: the gate's data is newer.
    Ignored(GateVersion),
    /// The gate was filled anew.
    Filled(GateVersion),
}

/// The gate cannot be reached, or its answer is invalid.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the gate is away: {0}")]
pub struct Away(pub String);

/// Where gates are stored. Every call must end within about a second, with an answer or an error: a lane
/// makes one call at a time, and its waiting commands have no other time limit.
pub trait GateServer: Send + Sync + 'static {
    /// Decides which of the commands are admitted.
    fn enter(&self, enter: &Enter) -> impl Future<Output = Result<Entered, Away>> + Send;

    /// Applies a correction.
    fn correct(&self, correct: &Correct) -> impl Future<Output = Result<Corrected, Away>> + Send;

    /// Removes a subject's mark: its command was rejected, or its unit given back.
    fn unmark(&self, key: &GateKey, mark: Mark) -> impl Future<Output = Result<(), Away>> + Send;
}

/// One aggregate's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gate {
    log: LogId,
    partition: u32,
    version: GateVersion,
    /// The offset of the last settled command.
    settled: u64,
    left: i64,
    /// For each node: its commands in flight, and when it last called.
    flights: BTreeMap<NodeId, (i64, u64)>,
    sets: u32,
    marks: BTreeSet<(u32, i32)>,
}

impl Gate {
    /// See [`GateServer::enter`]; `now` is the gate's clock in milliseconds.
    pub fn enter(gate: Option<&mut Self>, enter: &Enter, now: u64) -> Entered {
        let Some(gate) = gate.filter(|gate| gate.is_usable(&enter.key, enter.known)) else { return Entered::Unfilled };
        let flight = gate.flights.get(&enter.node).map_or(0, |(flight, _)| *flight);
        let settled = signed(enter.settled.taken + enter.settled.returned);
        let mut flight = (flight - settled).max(0);
        gate.left += signed(enter.settled.returned);
        gate.settled = gate.settled.max(enter.settled.offset);
        let mut verdicts = Vec::with_capacity(enter.marks.len());
        for mark in &enter.marks {
            let place = mark.map(|mark| (mark.set % gate.sets, mark.number));
            verdicts.push(if place.is_some_and(|place| gate.marks.contains(&place)) {
                GateVerdict::Marked
            } else if gate.left <= 0 {
                GateVerdict::SoldOut
            } else {
                gate.left -= 1;
                flight += 1;
                gate.marks.extend(place);
                GateVerdict::Passed
            });
        }
        gate.flights.insert(enter.node, (flight, now));
        Entered::Verdicts(gate.version, verdicts)
    }

    /// See [`GateServer::correct`].
    pub fn correct(place: &mut Option<Self>, correct: &Correct, now: u64) -> Corrected {
        let Some(gate) = place.as_mut().filter(|gate| gate.is_usable(&correct.key, correct.known)) else {
            let before = place.as_ref().map_or(0, |gate| gate.version.fill);
            let fill = (before.max(correct.known.fill) + 1).max(now);
            let version = GateVersion { fill, base: correct.base };
            *place = Some(Self {
                log: correct.key.log,
                partition: correct.key.partition,
                version,
                settled: 0,
                left: signed(correct.remaining) - signed(correct.flight),
                flights: BTreeMap::from([(correct.node, (signed(correct.flight), now))]),
                sets: correct.sets.max(1),
                marks: BTreeSet::new(),
            });
            return Corrected::Filled(version);
        };
        gate.flights.insert(correct.node, (signed(correct.flight), now));
        // A command settled at `base` or later is no longer in flight, but its unit still counts in `remaining`.
        if correct.base < gate.version.base || correct.base <= gate.settled {
            return Corrected::Ignored(gate.version);
        }
        gate.flights.retain(|_, (_, heard_at)| now.saturating_sub(*heard_at) <= FLIGHT_MILLIS_MAX);
        gate.left = signed(correct.remaining) - gate.flights.values().map(|(flight, _)| *flight).sum::<i64>();
        gate.version.base = correct.base;
        Corrected::Taken(gate.version)
    }

    /// See [`GateServer::unmark`].
    pub fn unmark(&mut self, mark: Mark) {
        self.marks.remove(&(mark.set % self.sets, mark.number));
    }

    fn is_usable(&self, key: &GateKey, known: GateVersion) -> bool {
        self.log == key.log && self.partition == key.partition && known <= self.version
    }
}

fn signed(count: u64) -> i64 {
    let Ok(count) = i64::try_from(count) else { panic!("{count} units are more than any aggregate has") };
    count
}
