//! What the gate keeps for a campaign, and what it is asked.
//!
//! The gate never has the last word: the only harm that a wrong one can do is extra records in the
//! log. It counts the units that it may still let pass (`left`), and how many claims each node has
//! in flight (`flights`): passed, and not decided yet as far as the gate knows. It marks the
//! subjects that it let pass, so that one who asks twice at once, on two nodes, takes one unit.
//!
//! Every second a node corrects it from the record: `left` becomes what remains there, less what is
//! in flight. A correction names the offset that it is based on, and one that is older than what
//! the gate knows already is ignored. A gate that is empty, of another log, or older than a node
//! has seen it is filled anew, by whoever notices first: it gets a higher fill number.
//!
//! [`Gate`] is the semantics, used by the simulation; the Lua script of the real one is held
//! against it in a test.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::FLIGHT_MILLIS_MAX;
use super::record::{LogId, NodeId};

/// Which campaign's gate, as the record knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateKey {
    /// Of which log.
    pub log: LogId,
    /// In which partition.
    pub partition: u32,
    /// The campaign's name.
    pub campaign: String,
}

/// A version of a gate: a later fill, or a correction based on a later offset, is newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct GateVersion {
    /// The number of its fill; 0 for none.
    pub fill: u64,
    /// The offset that it was last corrected by.
    pub base: u64,
}

/// A subject's mark: in which set, and which number in it. Two subjects may share one; then the
/// second claim passes the record without the gate's leave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// A number from which the set follows.
    pub set: u32,
    /// The number in the set.
    pub number: i32,
}

/// Claims that were decided since the last call, of those that the gate let pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// They took a unit, or may have.
    pub taken: u64,
    /// They took none: the unit is free again.
    pub returned: u64,
    /// The offset of the last of them.
    pub offset: u64,
}

/// Some claims that want to pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enter {
    /// Where.
    pub key: GateKey,
    /// Who asks.
    pub node: NodeId,
    /// The newest version that the node has seen: an older gate has lost its memory.
    pub known: GateVersion,
    /// What was decided meanwhile.
    pub settled: Settled,
    /// The claims: the subject's mark, or none where a subject may have several.
    pub claims: Vec<Option<Mark>>,
}

/// What the gate says of one claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateVerdict {
    /// It may go to the record; it has taken one of the units that are left.
    Passed,
    /// Nothing is left.
    SoldOut,
    /// The subject was let pass before.
    Marked,
}

/// What the gate answers to [`Enter`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entered {
    /// One verdict for each claim.
    Verdicts(GateVersion, Vec<GateVerdict>),
    /// It is empty, of another log, or older than the node has seen it.
    Unfilled,
}

/// What the record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Correct {
    /// Where.
    pub key: GateKey,
    /// Who says it.
    pub node: NodeId,
    /// The newest version that the node has seen.
    pub known: GateVersion,
    /// The offset of the next record: everything before it is in `remaining`.
    pub base: u64,
    /// Units that nobody holds.
    pub remaining: u64,
    /// Claims that this node has in flight through the gate.
    pub flight: u64,
    /// Into how many sets marks go, if it is filled anew.
    pub sets: u32,
}

/// What became of a correction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Corrected {
    /// It was taken over.
    Taken(GateVersion),
    /// The gate knows something newer.
    Ignored(GateVersion),
    /// The gate was filled anew.
    Filled(GateVersion),
}

/// The gate cannot be asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the gate is away: {0}")]
pub struct Away(pub String);

/// Where gates are kept. Every call must end within about a second, one way or the other: a lane
/// makes one at a time, and its claims have no other clock.
pub trait GateServer: Send + Sync + 'static {
    /// Lets claims pass, or not.
    fn enter(&self, enter: &Enter) -> impl Future<Output = Result<Entered, Away>> + Send;

    /// Takes over what the record says.
    fn correct(&self, correct: &Correct) -> impl Future<Output = Result<Corrected, Away>> + Send;

    /// Forgets a subject's mark: its claim was refused or cancelled.
    fn unmark(&self, key: &GateKey, mark: Mark) -> impl Future<Output = Result<(), Away>> + Send;
}

/// One campaign's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gate {
    log: LogId,
    partition: u32,
    version: GateVersion,
    /// The last offset of a claim that was settled.
    settled: u64,
    left: i64,
    /// For each node: how many, and when it was last heard of.
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
        let mut verdicts = Vec::with_capacity(enter.claims.len());
        for mark in &enter.claims {
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
        // What was settled at the base itself is in flight no more, and remains there still.
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
    let Ok(count) = i64::try_from(count) else { panic!("a stock, and what is in flight of it, is far below 2^63") };
    count
}
