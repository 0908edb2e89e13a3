//! What a gate keeps, by its model: it may let too few pass for a moment, and too many only where
//! it was lost or somebody went away.

use GateVerdict::{Marked, Passed, SoldOut};
use cluster::protocol::gate::{Correct, Corrected, Enter, Entered, Gate, GateKey, GateVerdict, GateVersion, Mark, Settled};
use cluster::protocol::limits::FLIGHT_MILLIS_MAX;
use cluster::protocol::record::{LogId, NodeId};
use domain::Kind;

use super::support::LOG;

fn key() -> GateKey {
    GateKey { log: LOG, partition: 0, kind: Kind::Campaign, name: "spring".to_owned() }
}

fn enter(node: u64, settled: Settled, claims: &[Option<i32>]) -> Enter {
    let marks = claims.iter().map(|number| number.map(|number| Mark { set: 3, number })).collect();
    Enter { key: key(), node: NodeId(node), known: GateVersion::default(), settled, marks }
}

fn correct(node: u64, base: u64, remaining: u64, flight: u64) -> Correct {
    Correct { key: key(), node: NodeId(node), known: GateVersion::default(), base, remaining, flight, sets: 2 }
}

fn filled(remaining: u64) -> Option<Gate> {
    let mut gate = None;
    assert!(matches!(Gate::correct(&mut gate, &correct(1, 10, remaining, 0), 0), Corrected::Filled(_)));
    gate
}

fn verdicts(gate: &mut Option<Gate>, enter: &Enter) -> Vec<GateVerdict> {
    match Gate::enter(gate.as_mut(), enter, 0) {
        Entered::Verdicts(_, verdicts) => verdicts,
        Entered::Unfilled => panic!("it is filled"),
    }
}

fn ask(gate: &mut Option<Gate>, node: u64, count: usize) -> usize {
    let claims = vec![None; count];
    verdicts(gate, &enter(node, Settled::default(), &claims)).iter().filter(|verdict| **verdict == Passed).count()
}

fn settled(taken: u64, returned: u64, offset: u64) -> Settled {
    Settled { taken, returned, offset }
}

#[test]
fn as_many_pass_as_are_left_and_a_subject_only_once() {
    let mut gate = filled(3);
    let claims = [Some(1), Some(2), Some(1), None, Some(4), Some(2)];
    let all = enter(1, Settled::default(), &claims);
    assert_eq!(verdicts(&mut gate, &all), [Passed, Passed, Marked, Passed, SoldOut, Marked]);
}

#[test]
fn a_unit_that_was_not_taken_is_free_again_at_once() {
    let mut gate = filled(2);
    assert_eq!(ask(&mut gate, 1, 9), 2);
    let next = enter(1, settled(1, 1, 11), &[None, None]);
    assert_eq!(verdicts(&mut gate, &next), [Passed, SoldOut]);
}

#[test]
fn a_mark_is_forgotten_when_its_claim_was_cancelled() {
    let mut gate = filled(3);
    let again = enter(1, Settled::default(), &[Some(1)]);
    assert_eq!((verdicts(&mut gate, &again), verdicts(&mut gate, &again)), (vec![Passed], vec![Marked]));
    gate.as_mut().unwrap().unmark(Mark { set: 5, number: 1 });
    assert_eq!(verdicts(&mut gate, &again), [Passed], "sets 3 and 5 are one of two");
}

#[test]
fn a_correction_leaves_what_remains_less_what_is_in_flight() {
    let mut gate = filled(10);
    assert_eq!((ask(&mut gate, 1, 4), ask(&mut gate, 2, 3)), (4, 3));
    // Node 1 knows that its four are decided, and nothing of the three of node 2.
    assert!(matches!(Gate::correct(&mut gate, &correct(1, 20, 6, 0), 0), Corrected::Taken(_)));
    assert_eq!(ask(&mut gate, 1, 9), 3);
}

#[test]
fn an_older_correction_is_ignored() {
    let mut gate = filled(10);
    assert!(matches!(Gate::correct(&mut gate, &correct(1, 20, 5, 0), 0), Corrected::Taken(_)));
    let known = GateVersion { fill: 1, base: 20 };
    assert_eq!(Gate::correct(&mut gate, &correct(2, 19, 9, 0), 0), Corrected::Ignored(known));
    assert_eq!(ask(&mut gate, 1, 9), 5);
}

/// The claim at offset 20 is settled: it is in flight no more. What remains before offset 20 does
/// not know of it either.
#[test]
fn a_correction_that_does_not_know_the_last_settled_claim_is_ignored() {
    let mut gate = filled(1);
    assert_eq!(ask(&mut gate, 1, 1), 1);
    assert_eq!(verdicts(&mut gate, &enter(1, settled(1, 0, 20), &[None])), [SoldOut]);
    assert!(matches!(Gate::correct(&mut gate, &correct(2, 20, 1, 0), 0), Corrected::Ignored(_)));
    assert_eq!(ask(&mut gate, 2, 1), 0);
    assert!(matches!(Gate::correct(&mut gate, &correct(2, 21, 0, 0), 0), Corrected::Taken(_)));
    assert_eq!(ask(&mut gate, 2, 1), 0);
}

#[test]
fn what_a_silent_node_had_in_flight_is_given_back() {
    let mut gate = filled(10);
    assert_eq!(ask(&mut gate, 2, 10), 10);
    let now = FLIGHT_MILLIS_MAX;
    assert!(matches!(Gate::correct(&mut gate, &correct(1, 20, 10, 0), now), Corrected::Taken(_)));
    assert_eq!(ask(&mut gate, 1, 1), 0);
    assert!(matches!(Gate::correct(&mut gate, &correct(1, 20, 10, 0), now + 1), Corrected::Taken(_)));
    assert_eq!(ask(&mut gate, 1, 11), 10);
}

#[test]
fn a_gate_that_is_empty_foreign_or_older_than_it_was_is_noticed_and_filled_anew() {
    let mut gate = filled(4);
    let mut none = None;
    let other_log = Enter { key: GateKey { log: LogId([9; 16]), ..key() }, ..enter(1, Settled::default(), &[]) };
    let other_partition = Enter { key: GateKey { partition: 1, ..key() }, ..enter(1, Settled::default(), &[]) };
    let newer = Enter { known: GateVersion { fill: 1, base: 11 }, ..enter(1, Settled::default(), &[]) };
    for (gate, enter) in [(&mut none, &newer), (&mut gate.clone(), &other_log), (&mut gate.clone(), &other_partition), (&mut gate, &newer)]
    {
        assert_eq!(Gate::enter(gate.as_mut(), enter, 0), Entered::Unfilled);
    }
    assert_eq!(ask(&mut gate, 1, 3), 3);
    let refill = Correct { known: GateVersion { fill: 5, base: 30 }, ..correct(1, 31, 2, 1) };
    assert_eq!(Gate::correct(&mut gate, &refill, 0), Corrected::Filled(GateVersion { fill: 6, base: 31 }));
    assert_eq!(ask(&mut gate, 1, 3), 1);
}

#[test]
fn fill_numbers_rise_also_where_the_gate_lost_them() {
    let (mut gate, mut last) = (None, 0);
    for now in [1_000, 1_000, 2_000, 1_500] {
        let fill = Correct { known: GateVersion { fill: last, base: 99 }, ..correct(1, 10, 1, 0) };
        let Corrected::Filled(version) = Gate::correct(&mut gate, &fill, now) else { panic!("it is older than the node has seen it") };
        assert!(last < version.fill);
        last = version.fill;
    }
}
