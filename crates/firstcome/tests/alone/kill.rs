//! The real program, killed with SIGKILL under load, again and again: no yes is taken back, nothing
//! is given beyond the stock, nobody gets two, and what was not answered is settled by asking again.
//!
//! `FIRSTCOME_KILL_ROUNDS` sets the number of rounds, `FIRSTCOME_KILL_SEED` the seed that the
//! requests and the instants come from (not the order in which the machine runs them).
//!
//! SIGKILL leaves what was written in the system's memory, so that this shows what the program
//! loses, not what a power loss would: a missing sync is for the tests of the journal to find.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "kill/check.rs"]
mod check;
#[path = "kill/client.rs"]
mod client;
use crate::support_process;
#[path = "kill/world.rs"]
mod world;

use world::{Blow, Seen, World};

/// Rounds on one folder before the next one begins.
const ROUNDS_PER_FOLDER: u64 = 10;
/// Tries until a kill meets a request in flight, or the instant that it is meant for.
const TRIES_MAX: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_yes_is_taken_back_however_often_the_server_is_killed() {
    let rounds_count = from_environment("FIRSTCOME_KILL_ROUNDS", 20);
    let seed = from_environment("FIRSTCOME_KILL_SEED", 1);
    let mut world = World::new(seed);
    let mut total = Total::default();
    for round in 0..rounds_count {
        if round != 0 && round % ROUNDS_PER_FOLDER == 0 {
            world.verify();
            world = World::new(seed.wrapping_add(round));
        }
        let (blow, is_recovery_killed) = plan(round);
        for attempt in 1..=TRIES_MAX {
            let seen = world.round(blow, is_recovery_killed).await;
            eprintln!("seed {seed} round {round} {blow:?}: {seen:?}");
            total.add(&seen);
            if is_hit(blow, &seen) {
                break;
            }
            assert!(attempt < TRIES_MAX, "no kill met what it was meant for: {blow:?}");
        }
    }
    world.verify();
    eprintln!("{total:?}");
    total.check(rounds_count);
}

/// All kinds of blows within ten rounds.
fn plan(round: u64) -> (Blow, bool) {
    match round % ROUNDS_PER_FOLDER {
        1 | 8 => (Blow::AtSnapshot, false),
        3 => (Blow::AtSegment, false),
        5 => (Blow::Frozen, false),
        6 => (Blow::Terminated, false),
        4 | 9 => (Blow::Timed, true),
        _ => (Blow::Timed, false),
    }
}

/// Whether the blow met what it was meant for. An unfinished file that is still there after the
/// process has gone is proof: the process was killed before it could give the file its name. A
/// segment is begun when the spare one has been taken into use, which the server does in the
/// instant before it writes the first batch there; so the kill fell into a change of segment.
fn is_hit(blow: Blow, seen: &Seen) -> bool {
    match blow {
        Blow::Timed | Blow::Frozen => seen.unanswered_count != 0,
        Blow::AtSnapshot => seen.unanswered_count != 0 && seen.has_left_snapshot,
        Blow::AtSegment => seen.unanswered_count != 0 && seen.has_left_segment,
        // A server that stops in peace has answered whatever it has decided.
        Blow::Terminated => {
            assert_eq!(seen.unanswered.kept, 0, "it took effect, and nobody was told");
            true
        }
    }
}

#[derive(Default, Debug)]
struct Total {
    answered: u64,
    in_flight: usize,
    kept: usize,
    lost: usize,
    in_snapshot: u32,
    in_change_of_segment: u32,
    starts_killed: u32,
}

impl Total {
    fn add(&mut self, seen: &Seen) {
        self.answered += seen.answered;
        self.in_flight += seen.unanswered_count;
        self.kept += seen.unanswered.kept;
        self.lost += seen.unanswered.lost;
        self.in_snapshot += u32::from(seen.has_left_snapshot);
        self.in_change_of_segment += u32::from(seen.has_left_segment);
        self.starts_killed += seen.starts_killed;
    }

    /// A run that has not met the rare cases has shown little.
    fn check(&self, rounds_count: u64) {
        if ROUNDS_PER_FOLDER <= rounds_count {
            assert!(0 < self.in_snapshot, "no kill fell into a snapshot");
            assert!(0 < self.in_change_of_segment, "no kill fell into a change of segment");
            assert!(0 < self.starts_killed, "no kill fell into a start");
            assert!(0 < self.lost + self.kept, "no request was in flight");
        }
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
