//! The scenarios with a fault again and again, with longer outages at other instants.

use std::time::{Duration, Instant};

use super::{brokers, cut_off, gate, restart, scenario, servers, tables};
use crate::support_process::random::Random;

const SCENARIOS: [(&str, fn()); 15] = [
    ("server killed", servers::when_a_server_is_killed_the_other_goes_on_and_the_killed_one_catches_up),
    ("projector killed", servers::when_the_server_that_writes_the_tables_is_killed_another_one_writes_them),
    ("projector given up", servers::a_projector_that_was_given_up_for_dead_doubles_nothing_when_it_wakes),
    ("gate flushed", gate::a_gate_that_is_flushed_in_the_middle_is_filled_again),
    ("gate from a copy", gate::a_gate_that_comes_back_from_an_old_copy_gives_nothing_twice),
    ("gate killed", gate::a_gate_that_is_killed_for_good_slows_down_and_changes_nothing),
    ("gate hangs", gate::a_gate_that_hangs_for_a_while_changes_nothing),
    ("gate empty", gate::a_gate_that_was_started_again_empty_is_filled_again),
    ("leader killed", brokers::when_the_broker_that_leads_the_campaigns_partition_is_killed_another_one_leads),
    ("leader hangs", brokers::when_the_leading_broker_hangs_another_one_leads_and_nothing_changes_when_it_wakes),
    ("brokers silent", brokers::while_all_brokers_are_silent_nothing_is_answered_and_afterwards_everything_heals_by_itself),
    ("long silence", brokers::five_thousand_requests_while_kafka_is_silent_are_refused_in_time_and_fill_no_memory),
    ("tables killed", tables::while_the_tables_are_away_claims_go_on_and_afterwards_everything_is_in_them),
    ("cut off", cut_off::a_server_that_is_cut_off_from_kafka_answers_nothing_and_never_the_past),
    ("all away", restart::after_everything_was_away_servers_go_on_from_the_tables),
];

/// Does nothing unless it is told for how long.
#[test]
fn the_drill_goes_on_for_as_long_as_it_is_told() {
    let Some(seconds) = from_environment("FIRSTCOME_DRILL_SECONDS") else { return };
    let seed = from_environment("FIRSTCOME_DRILL_SEED").unwrap_or(1);
    let (started, mut random) = (Instant::now(), Random(seed));
    for round in 0.. {
        if Duration::from_secs(seconds) <= started.elapsed() {
            return;
        }
        let (name, run) = SCENARIOS[random.place_in(&SCENARIOS)];
        scenario::draw_from(seed.wrapping_add(round));
        let begun = Instant::now();
        eprintln!("seed {seed} round {round}: {name}");
        run();
        eprintln!("seed {seed} round {round}: {name} took {:.1} s", begun.elapsed().as_secs_f64());
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
