//! What each algorithm means, told from the list of all takings, and what the tests share.

use domain::rate_limit::settings::{LOG_QUOTA_MAX, QUOTA_MAX, WINDOW_NS_MAX};
use domain::rate_limit::{Algorithm, Moment, Policy, Settings};
use proptest::prelude::*;
use proptest::sample::select;

/// All takings so far, in order of time: when, and how many units.
pub type Takings = Vec<(u64, u32)>;

/// Whether `cost` units may be taken at `now` after these.
pub fn conforms(settings: &Settings, takings: &Takings, now: u64, cost: u32) -> bool {
    match settings.algorithm {
        Algorithm::FixedWindow => {
            let used = sum(takings, |at| at / settings.window_ns == now / settings.window_ns);
            used + u128::from(cost) <= u128::from(settings.quota)
        }
        Algorithm::SlidingWindowLog => {
            let used = sum(takings, |at| now < at + settings.window_ns);
            used + u128::from(cost) <= u128::from(settings.quota)
        }
        Algorithm::SlidingWindowCounter => counter_conforms(settings, takings, now, cost),
        Algorithm::TokenBucket | Algorithm::LeakyBucket => bucket_conforms(settings, takings, now, cost),
    }
}

fn sum(takings: &Takings, counts: impl Fn(u64) -> bool) -> u128 {
    takings.iter().filter(|(at, _)| counts(*at)).map(|(_, units)| u128::from(*units)).sum()
}

fn counter_conforms(settings: &Settings, takings: &Takings, now: u64, cost: u32) -> bool {
    let window = settings.window_ns;
    let current = sum(takings, |at| at / window == now / window);
    let previous = sum(takings, |at| at / window + 1 == now / window);
    let elapsed = u128::from(now % window);
    let window = u128::from(window);
    (current + u128::from(cost)) * window + previous * (window - elapsed) <= u128::from(settings.quota) * window
}

/// A bucket by its other definition: in every stretch of time that ends now, no more than the
/// bucket holds and what flowed in meanwhile.
fn bucket_conforms(settings: &Settings, takings: &Takings, now: u64, cost: u32) -> bool {
    let (quota, window) = (u128::from(settings.quota), u128::from(settings.window_ns));
    let holds = (u128::from(settings.burst) + 1) * window;
    let mut units = u128::from(cost);
    if cost == 0 {
        return true;
    }
    if holds < units * window {
        return false;
    }
    takings.iter().rev().all(|(at, taken)| {
        units += u128::from(*taken);
        units * window <= holds + u128::from(now - at) * quota
    })
}

/// The most that may be taken at `now`.
pub fn remaining(policy: &Policy, takings: &Takings, now: u64) -> u32 {
    let (mut low, mut high) = (0, policy.limit());
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if conforms(policy.settings(), takings, now, middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

pub fn moment(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

const DAY: u64 = 86_400_000_000_000;

/// Paces from one request a month to 10,000,000 a second, and odd ones.
fn paces() -> impl Strategy<Value = (u32, u64)> {
    let named = vec![
        (1, 30 * DAY),
        (1, WINDOW_NS_MAX),
        (2, 31 * DAY),
        (10_000_000, 1_000_000_000),
        (9_999_991, 1_000_000_000),
        (9_973, 1_000_000_000),
        (QUOTA_MAX, 1_000_000),
        (QUOTA_MAX, WINDOW_NS_MAX),
        (999_999_937, 30 * DAY + 1),
        (3, 1_000_000_000),
        (7, 60_000_000_000),
        (100, 60_000_000_000),
    ];
    prop_oneof![select(named), (1..20_u32, 1_000_000..1_000_100_u64), (1..=QUOTA_MAX, 1_000_000..=WINDOW_NS_MAX)]
}

fn bursts(quota: u32) -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..6_u32, Just(quota - 1), 0..=QUOTA_MAX]
}

/// Settings that make a policy.
pub fn policies() -> impl Strategy<Value = Policy> {
    (select(Algorithm::ALL.to_vec()), paces())
        .prop_flat_map(|(algorithm, (quota, window_ns))| (Just(Settings::new(algorithm, quota, window_ns)), bursts(quota)))
        .prop_filter_map("a policy", |(settings, burst)| {
            let quota = if settings.algorithm == Algorithm::SlidingWindowLog { settings.quota.min(LOG_QUOTA_MAX) } else { settings.quota };
            let burst = if settings.algorithm.has_burst() { burst } else { 0 };
            Policy::new(Settings { quota, burst, ..settings }).ok()
        })
}

/// How one request follows another: after how long, and for how much.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub after_ns: u64,
    pub cost: u32,
}

/// Steps on the scale of the policy: at once, around one unit's time, around a window.
pub fn steps(policy: &Policy, count: usize) -> impl Strategy<Value = Vec<Step>> + use<> {
    let window = policy.settings().window_ns;
    let unit = window / u64::from(policy.settings().quota);
    let limit = policy.limit();
    let after = prop_oneof![
        3 => Just(0),
        1 => 0..3_u64,
        3 => (unit.saturating_sub(1))..=(unit + 1),
        2 => 0..=(4 * unit + 4),
        1 => (window - 1)..=(window + 1),
        2 => 0..=window,
        1 => 0..=(3 * window),
    ];
    let cost = prop_oneof![
        4 => Just(1),
        3 => 0..=limit.min(6),
        2 => 0..=limit,
        1 => limit.saturating_sub(1)..=limit.saturating_add(1),
        1 => any::<u32>(),
    ];
    proptest::collection::vec((after, cost).prop_map(|(after_ns, cost)| Step { after_ns, cost }), 1..count)
}

pub fn policy_and_steps(count: usize) -> impl Strategy<Value = (Policy, Vec<Step>)> {
    policies().prop_flat_map(move |policy| (Just(policy), steps(&policy, count)))
}
