//! Checks per second in process, ours beside the `governor` crate: the same keys in the same
//! order, one after the other in every round, the median of the rounds.

use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::rate_limit::{Algorithm, Moment, Policy, Settings, Verdict};
use governor::clock::{DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use rate_limit_layer::clock::{Clock as _, SystemClock};
use rate_limit_layer::{AtCap, Store, StoreOptions};

use crate::Outcome;
use crate::clock::now;

/// So many a second, and so many at once, that nothing is refused: refusals are cheaper.
const RATE: NonZeroU32 = NonZeroU32::new(10_000_000).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(1_000_000_000).unwrap();

/// The time for those whose clock is not measured: one memory read.
static TIME: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Debug, Default)]
struct StillClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StillInstant(u64);

impl std::ops::Add<Nanos> for StillInstant {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + u64::from(nanos))
    }
}

impl Reference for StillInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(u64::from(duration)))
    }
}

impl governor::clock::Clock for StillClock {
    type Instant = StillInstant;

    fn now(&self) -> StillInstant {
        StillInstant(TIME.load(Ordering::Relaxed))
    }
}

/// Something that checks the key of a number; whether it conformed.
trait Checks: Sync {
    fn check(&self, key: u64) -> bool;
}

struct Ours<C>(Store, C);

impl Checks for Ours<StillClock> {
    fn check(&self, key: u64) -> bool {
        let now = Moment::from_nanos(TIME.load(Ordering::Relaxed));
        self.0.admit(self.0.key(&key.to_le_bytes()), now, 1) == Ok(Verdict::Conforms)
    }
}

impl Checks for Ours<SystemClock> {
    fn check(&self, key: u64) -> bool {
        self.0.admit(self.0.key(&key.to_le_bytes()), self.1.now(), 1) == Ok(Verdict::Conforms)
    }
}

struct Governor<C: governor::clock::Clock>(RateLimiter<u64, DashMapStateStore<u64>, C, NoOpMiddleware<C::Instant>>);

impl<C: governor::clock::Clock + Sync> Checks for Governor<C>
where
    C::Instant: Sync,
{
    fn check(&self, key: u64) -> bool {
        self.0.check_key(&key).is_ok()
    }
}

fn store(keys_count: u64) -> Outcome<Store> {
    let policy = Policy::new(Settings::per_second(Algorithm::LeakyBucket, RATE.get()).with_burst(BURST.get() - 1))?;
    let keys_max = NonZeroUsize::new(usize::try_from(keys_count)? * 2 + 4_096).ok_or("no keys")?;
    Ok(Store::new(policy, StoreOptions { keys_max, at_cap: AtCap::Refuse }, Moment::ZERO))
}

fn governor<C: governor::clock::Clock>(clock: C) -> Governor<C> {
    Governor(RateLimiter::new(Quota::per_second(RATE).allow_burst(BURST), DashMapStateStore::default(), clock))
}

/// The same numbers in the same order for everybody; spread evenly.
fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Millions of checks a second, all threads together.
fn run(checks: &impl Checks, threads: u64, keys_count: u64, checks_count: u64) -> f64 {
    let barrier = Barrier::new(usize::try_from(threads + 1).unwrap_or(2));
    let mut passed = 0;
    let mut started = now();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let barrier = &barrier;
            move || {
                barrier.wait();
                let numbers = (0..checks_count).map(|number| scramble(number.wrapping_mul(threads).wrapping_add(thread)));
                numbers.map(|number| u64::from(checks.check(black_box(spread(number, keys_count))))).sum::<u64>()
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        barrier.wait();
        started = now();
        passed = running.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<u64>();
    });
    let seconds = started.elapsed().as_secs_f64();
    assert!(passed == threads * checks_count, "something was refused");
    let millions = passed as f64 / 1e6;
    millions / seconds
}

fn spread(number: u64, keys_count: u64) -> u64 {
    u64::try_from((u128::from(number) * u128::from(keys_count)) >> 64).unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Both in turn, some rounds.
fn compare(name: &str, ours: &impl Checks, theirs: &impl Checks, threads: u64, keys_count: u64, rounds: usize) {
    let checks_count = if keys_count < 1_000_000 { 10_000_000 } else { 5_000_000 };
    let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_rates.push(run(ours, threads, keys_count, checks_count));
        their_rates.push(run(theirs, threads, keys_count, checks_count));
    }
    let (our_rate, their_rate) = (median(our_rates), median(their_rates));
    println!("| {keys_count} | {threads} | {name} | {our_rate:.1} | {their_rate:.1} | {:.2} |", our_rate / their_rate);
}

/// All of it, as a table.
pub(crate) fn speed(rounds: usize, keys: &[u64]) -> Outcome<()> {
    println!("| keys | threads | clock | ours, million/s | governor, million/s | times |\n|---|---|---|---|---|---|");
    for keys_count in keys.iter().copied() {
        let ours = (Ours(store(keys_count)?, StillClock), Ours(store(keys_count)?, SystemClock::default()));
        let theirs = (governor(StillClock), governor(DefaultClock::default()));
        for key in 0..keys_count {
            let all = [ours.0.check(key), theirs.0.check(key)];
            assert!(all == [true, true], "something was refused");
        }
        for threads in [1, 2] {
            compare("given", &ours.0, &theirs.0, threads, keys_count, rounds);
        }
        println!("|  |  | bytes a key | {:.1} |  |  |", bytes_per_key(&ours.0.0));
        drop((ours.0, theirs.0));
        for key in 0..keys_count {
            let all = [ours.1.check(key), theirs.1.check(key)];
            assert!(all == [true, true], "something was refused");
        }
        for threads in [1, 2] {
            compare("own", &ours.1, &theirs.1, threads, keys_count, rounds);
        }
    }
    Ok(())
}

fn bytes_per_key(store: &Store) -> f64 {
    let (bytes, keys) = (store.bytes() as f64, store.keys_count() as f64);
    bytes / keys
}

/// One of the two alone, on one thread, for a profiler.
pub(crate) fn alone(which: &str, keys_count: u64) -> Outcome<()> {
    let rate = match which {
        "ours" => run(&Ours(store(keys_count)?, StillClock), 1, keys_count, 30_000_000),
        _ => run(&governor(StillClock), 1, keys_count, 30_000_000),
    };
    println!("{which}: {rate:.1} million/s");
    Ok(())
}
