//! How often each algorithm is wrong. Every decision is held against an exact definition, given
//! what the algorithm itself has let through so far; so an early mistake does not make later
//! decisions look wrong.

mod oracle;
mod page;
mod traffic;

use domain::rate_limit::{Algorithm, Moment, Policy, Settings};

use crate::Outcome;
use oracle::Oracle;
use traffic::{Random, Shape};

/// The limit that is measured: so many in so many nanoseconds; buckets hold as many.
pub(crate) const QUOTA: u32 = 100;
pub(crate) const WINDOW_NS: u64 = 10_000_000_000;
/// How long the traffic lasts.
pub(crate) const LAST_NS: u64 = 600_000_000_000;
/// Everything is made of this number.
pub(crate) const SEED: u64 = 6;

/// What was counted of one algorithm under one shape of traffic.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) decisions: u64,
    pub(crate) admitted: u64,
    pub(crate) wrongly_admitted: u64,
    pub(crate) wrongly_denied: u64,
    /// The most that was let through in any stretch of one window's length, for any key.
    pub(crate) most_in_window: u64,
}

/// Whom an algorithm is held against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// At most the quota in any window, wherever it starts.
    SlidingWindow,
    /// Its own definition, where that is another one.
    OwnDefinition,
}

pub(crate) fn settings(algorithm: Algorithm) -> Settings {
    let settings = Settings::new(algorithm, QUOTA, WINDOW_NS);
    if algorithm.has_burst() { settings.with_burst(QUOTA - 1) } else { settings }
}

fn measure(algorithm: Algorithm, against: Against, shape: Shape) -> Outcome<Counted> {
    let policy = Policy::new(settings(algorithm))?;
    let mut counted = Counted::default();
    for source in 0..shape.sources() {
        let mut random = Random::new(SEED, shape, source);
        count(&policy, against, &shape.arrivals(&mut random), &mut counted);
    }
    Ok(counted)
}

/// One key's requests, in order.
fn count(policy: &Policy, against: Against, arrivals: &[u64], counted: &mut Counted) {
    let mut state = policy.full();
    let mut ideal = Oracle::new(policy.settings(), against);
    let mut window = Oracle::new(policy.settings(), Against::SlidingWindow);
    for at in arrivals {
        let (decision, new) = policy.check(state, Moment::from_nanos(*at), 1);
        let should = ideal.conforms(*at);
        counted.decisions += 1;
        counted.wrongly_admitted += u64::from(decision.conforms() && !should);
        counted.wrongly_denied += u64::from(!decision.conforms() && should);
        if decision.conforms() {
            counted.admitted += 1;
            ideal.admit(*at);
            window.admit(*at);
            counted.most_in_window = counted.most_in_window.max(window.in_window(*at));
        }
        state = new;
    }
}

/// Sources that the counter judged otherwise than an exact log, each left to itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Misjudged {
    pub(crate) sources: u64,
    /// Refused something by the exact log.
    pub(crate) over: u64,
    /// Of these, refused nothing by the counter.
    pub(crate) missed: u64,
    /// Refused something by the counter only.
    pub(crate) accused: u64,
}

fn misjudged(shape: Shape) -> Outcome<Misjudged> {
    let (log, counter) = (Policy::new(settings(Algorithm::SlidingWindowLog))?, Policy::new(settings(Algorithm::SlidingWindowCounter))?);
    let mut found = Misjudged { sources: shape.sources(), ..Misjudged::default() };
    for source in 0..shape.sources() {
        let arrivals = shape.arrivals(&mut Random::new(SEED, shape, source));
        let (over, caught) = (is_ever_refused(&log, &arrivals), is_ever_refused(&counter, &arrivals));
        found.over += u64::from(over);
        found.missed += u64::from(over && !caught);
        found.accused += u64::from(caught && !over);
    }
    Ok(found)
}

fn is_ever_refused(policy: &Policy, arrivals: &[u64]) -> bool {
    let mut state = policy.full();
    for at in arrivals {
        let (decision, new) = policy.check(state, Moment::from_nanos(*at), 1);
        if !decision.conforms() {
            return true;
        }
        state = new;
    }
    false
}

/// Whether an algorithm promises something else than a sliding window.
pub(crate) const fn has_own_definition(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::FixedWindow | Algorithm::TokenBucket | Algorithm::LeakyBucket)
}

/// Measures everything and writes the page and the plots.
pub(crate) fn accuracy(folder: &str) -> Outcome<()> {
    let mut rows = Vec::new();
    for algorithm in Algorithm::ALL {
        for shape in Shape::ALL {
            let window = measure(algorithm, Against::SlidingWindow, shape)?;
            let own = if has_own_definition(algorithm) { measure(algorithm, Against::OwnDefinition, shape)? } else { window };
            println!("{:<22} {:<14} {:>9} decisions", algorithm.word(), shape.word(), own.decisions);
            rows.push((algorithm, shape, window, own));
        }
    }
    page::write(folder, &rows, &misjudged(Shape::ManySources)?)
}
