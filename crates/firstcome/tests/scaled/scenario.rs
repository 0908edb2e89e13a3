//! How a scenario runs: alone, on a runtime of its own; when its faults strike, and how long they
//! last.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::support_process::random::Random;

/// An outage that is longer than a server waits for anything but an answer.
const OUTAGE: Duration = Duration::from_secs(5);
/// In a drill: up to so much longer.
const OUTAGE_LONGER_SECONDS: u64 = 40;

/// What a drill draws instants and times from; empty outside of one.
static DRAWS: Mutex<Option<Random>> = Mutex::new(None);

/// Runs a scenario while no other one runs.
pub fn alone(scenario: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let started = Instant::now();
    runtime.block_on(scenario);
    eprintln!("-- {:.1} s: {}", started.elapsed().as_secs_f64(), std::thread::current().name().unwrap_or_default());
}

/// From here on instants and times are drawn from a seed.
pub fn draw_from(seed: u64) {
    *DRAWS.lock() = Some(Random(seed));
}

/// How long something is away.
pub fn outage() -> Duration {
    OUTAGE + Duration::from_secs(draw(0, OUTAGE_LONGER_SECONDS))
}

/// After how many claims a fault strikes: `usually`, and in a drill up to twice as many.
pub fn strikes_at(usually: u64) -> usize {
    usize::try_from(draw(usually, 2 * usually)).unwrap()
}

fn draw(least: u64, most: u64) -> u64 {
    DRAWS.lock().as_mut().map_or(least, |random| least + random.below(most - least + 1))
}
