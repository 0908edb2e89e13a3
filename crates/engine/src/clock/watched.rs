//! The wall clock, compared with a clock that no adjustment moves, so that a leap of the wall clock decides
//! nothing before somebody or enough time has confirmed it.
//!
//! The time is the running clock's plus an offset. [`WatchedClock::watch`] compares it with the wall clock,
//! several times a second. Where both differ by at most a second, the offset follows the wall clock: that is
//! a correction. A larger difference is a *leap*: the time goes on as if it had not happened, until the wall
//! clock is back, until the difference has stayed the same for the confirmation time, or until the operator
//! adopts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::types::Timestamp;
use parking_lot::Mutex;

/// The largest difference that is followed as a correction: one second.
pub const CORRECTION_MS_MAX: u64 = 1_000;
/// How often that much may be corrected: a series of small steps is a leap as well.
const CORRECTIONS_PER: Duration = Duration::from_secs(60);
/// How long a leap must last to be adopted, unless the operator says otherwise. The daemon `ntpd` waits as
/// long before it steps a clock (its `stepout`).
pub const CONFIRM_AFTER: Duration = Duration::from_secs(300);
/// Two readings that were taken further apart than this are not compared: the thread was interrupted.
const READING_NS_MAX: u64 = 50_000_000;

const MS_NS: i64 = 1_000_000;
/// What two readings of both clocks may differ by without a correction.
const READINGS_DIFFER_NS: u64 = 1_000_000;
const CORRECTION_NS_MAX: u64 = CORRECTION_MS_MAX * 1_000_000;

/// A difference between the wall clock and the time, too large for a correction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leap {
    /// The wall clock minus the time, in milliseconds: positive if the wall clock is ahead.
    pub by_ms: i64,
    /// How long it has lasted.
    pub lasted: Duration,
}

/// What a look at the wall clock has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Nothing new.
    Same,
    /// The wall clock has leapt, or leapt again.
    Leapt(Leap),
    /// The wall clock is back; the leap had no effect.
    Returned(Leap),
    /// The leap has lasted long enough: the time is the wall clock's again.
    Adopted(Leap),
}

/// The wall clock without its leaps.
#[derive(Debug)]
pub struct WatchedClock {
    source: Source,
    /// The wall clock minus the running clock, in nanoseconds, as far as it is believed.
    offset_ns: AtomicI64,
    watch: Mutex<Watch>,
    confirm_after: Duration,
    leaps_count: AtomicU64,
    returns_count: AtomicU64,
}

#[derive(Debug)]
struct Watch {
    /// The offset from which corrections are counted, and when it was taken.
    anchor_ns: i64,
    anchored_at_ns: u64,
    leap: Option<Difference>,
}

/// A difference that has not been adopted: the offset that it would lead to, and since when it is seen.
#[derive(Clone, Copy, Debug)]
struct Difference {
    offset_ns: i64,
    since_ns: u64,
}

/// Where the two clocks are read.
#[derive(Debug)]
enum Source {
    Machine,
    Manual(Arc<ManualSource>),
}

/// A wall clock and a running clock that a test moves.
#[derive(Debug)]
pub struct ManualSource {
    wall_ns: AtomicI64,
    running_ns: AtomicU64,
}

impl ManualSource {
    /// Both clocks, at this wall time.
    #[must_use]
    pub fn at(wall: Timestamp) -> Arc<Self> {
        let wall_ns = AtomicI64::new(i64::try_from(wall.millis()).unwrap_or(i64::MAX / MS_NS).saturating_mul(MS_NS));
        Arc::new(Self { wall_ns, running_ns: AtomicU64::new(0) })
    }

    /// Time passes: both clocks move on.
    pub fn pass(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.running_ns.fetch_add(nanos, Ordering::SeqCst);
        self.step_ms(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    }

    /// Somebody sets the wall clock: it alone moves.
    pub fn step_ms(&self, by_ms: i64) {
        self.wall_ns.fetch_add(by_ms.saturating_mul(MS_NS), Ordering::SeqCst);
    }
}

impl Source {
    /// Nanoseconds since 1970 by the wall clock; a clock before that shows 0.
    fn wall_ns(&self) -> i64 {
        match self {
            Self::Machine => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
            }
            Self::Manual(source) => source.wall_ns.load(Ordering::SeqCst),
        }
    }

    fn running_ns(&self) -> u64 {
        match self {
            Self::Machine => running_ns(),
            Self::Manual(source) => source.running_ns.load(Ordering::SeqCst),
        }
    }

    /// The difference of both clocks, and when it was taken; `None` if the reading was interrupted.
    fn difference(&self) -> Option<(i64, u64)> {
        let before = self.running_ns();
        let wall = self.wall_ns();
        let after = self.running_ns();
        let offset_ns = wall.saturating_sub_unsigned(before);
        (after.saturating_sub(before) <= READING_NS_MAX).then_some((offset_ns, before))
    }
}

/// Nanoseconds since the machine was started. On Linux this clock also runs while the machine is suspended,
/// so that a wall clock that is right afterwards has not leapt.
fn running_ns() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

impl WatchedClock {
    /// The machine's clock, believed as it is now; a leap is adopted when it has lasted for `confirm_after`.
    #[must_use]
    pub fn machine(confirm_after: Duration) -> Arc<Self> {
        Self::new(Source::Machine, confirm_after)
    }

    /// The same over clocks that a test moves.
    #[must_use]
    pub fn manual(source: &Arc<ManualSource>, confirm_after: Duration) -> Arc<Self> {
        Self::new(Source::Manual(Arc::clone(source)), confirm_after)
    }

    fn new(source: Source, confirm_after: Duration) -> Arc<Self> {
        let (offset_ns, now_ns) = loop {
            if let Some(read) = source.difference() {
                break read;
            }
        };
        let watch = Watch { anchor_ns: offset_ns, anchored_at_ns: now_ns, leap: None };
        Arc::new(Self {
            source,
            offset_ns: AtomicI64::new(offset_ns),
            watch: Mutex::new(watch),
            confirm_after,
            leaps_count: AtomicU64::new(0),
            returns_count: AtomicU64::new(0),
        })
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let nanos = self.offset_ns.load(Ordering::Acquire).saturating_add_unsigned(self.source.running_ns());
        timestamp(nanos)
    }

    /// The wall clock, with its leaps: only to be shown.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        timestamp(self.source.wall_ns())
    }

    /// The believed offset of the wall clock from the running clock, in nanoseconds.
    #[must_use]
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns.load(Ordering::Acquire)
    }

    /// Believes an offset of an earlier process on the same running clock: so a leap during which the server
    /// is restarted is still a leap.
    pub fn resume(&self, offset_ns: i64) {
        let mut watch = self.watch.lock();
        watch.anchor_ns = offset_ns;
        watch.anchored_at_ns = self.source.running_ns();
        watch.leap = None;
        self.offset_ns.store(offset_ns, Ordering::Release);
    }

    /// Compares the wall clock with the running clock.
    pub fn watch(&self) -> Seen {
        let Some((seen_ns, now_ns)) = self.source.difference() else { return Seen::Same };
        let mut watch = self.watch.lock();
        if seen_ns.abs_diff(watch.anchor_ns) <= CORRECTION_NS_MAX {
            return self.follow(&mut watch, seen_ns, now_ns);
        }
        match watch.leap {
            Some(leap) if leap.offset_ns.abs_diff(seen_ns) <= CORRECTION_NS_MAX => {
                let leapt = self.leap(leap, now_ns);
                if leapt.lasted < self.confirm_after {
                    return Seen::Same;
                }
                self.believe(&mut watch, seen_ns, now_ns);
                Seen::Adopted(leapt)
            }
            Some(_) | None => {
                let leap = Difference { offset_ns: seen_ns, since_ns: now_ns };
                watch.leap = Some(leap);
                self.leaps_count.fetch_add(1, Ordering::Relaxed);
                Seen::Leapt(self.leap(leap, now_ns))
            }
        }
    }

    /// The operator says that the wall clock is right: its leap is adopted now. `None` if there is none.
    pub fn adopt(&self) -> Option<Leap> {
        let (seen_ns, now_ns) = self.source.difference()?;
        let mut watch = self.watch.lock();
        let leap = watch.leap?;
        let leapt = self.leap(leap, now_ns);
        self.believe(&mut watch, seen_ns, now_ns);
        Some(leapt)
    }

    /// The leap that is not adopted, if there is one.
    #[must_use]
    pub fn leapt(&self) -> Option<Leap> {
        let leap = self.watch.lock().leap?;
        Some(self.leap(leap, self.source.running_ns()))
    }

    /// How long a leap must last to be adopted.
    #[must_use]
    pub fn confirm_after(&self) -> Duration {
        self.confirm_after
    }

    /// How often the wall clock has leapt.
    #[must_use]
    pub fn leaps_count(&self) -> u64 {
        self.leaps_count.load(Ordering::Relaxed)
    }

    /// How often the time was set back by more than a correction.
    #[must_use]
    pub fn returns_count(&self) -> u64 {
        self.returns_count.load(Ordering::Acquire)
    }

    /// Follows the wall clock where it differs by no more than a correction.
    fn follow(&self, watch: &mut Watch, seen_ns: i64, now_ns: u64) -> Seen {
        let ended = watch.leap.take();
        let seen = ended.map_or(Seen::Same, |leap| Seen::Returned(self.leap(leap, now_ns)));
        if READINGS_DIFFER_NS < seen_ns.abs_diff(self.offset_ns()) {
            self.offset_ns.store(seen_ns, Ordering::Release);
        }
        if CORRECTIONS_PER.as_nanos() <= u128::from(now_ns.saturating_sub(watch.anchored_at_ns)) {
            (watch.anchor_ns, watch.anchored_at_ns) = (seen_ns, now_ns);
        }
        seen
    }

    fn believe(&self, watch: &mut Watch, offset_ns: i64, now_ns: u64) {
        let before = self.offset_ns.swap(offset_ns, Ordering::AcqRel);
        *watch = Watch { anchor_ns: offset_ns, anchored_at_ns: now_ns, leap: None };
        if offset_ns < before {
            self.returns_count.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn leap(&self, leap: Difference, now_ns: u64) -> Leap {
        let by_ms = leap.offset_ns.saturating_sub(self.offset_ns()) / MS_NS;
        Leap { by_ms, lasted: Duration::from_nanos(now_ns.saturating_sub(leap.since_ns)) }
    }
}

fn timestamp(nanos: i64) -> Timestamp {
    u64::try_from(nanos / MS_NS).map_or(Timestamp::ZERO, |millis| Timestamp::from_millis(millis).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn clock() -> (Arc<ManualSource>, Arc<WatchedClock>) {
        let source = ManualSource::at(Timestamp::from_millis(1_000_000_000_000).unwrap());
        let clock = WatchedClock::manual(&source, CONFIRM_AFTER);
        (source, clock)
    }

    fn millis(clock: &WatchedClock) -> u64 {
        clock.now().millis() - 1_000_000_000_000
    }

    #[test]
    fn a_leap_ahead_and_back_leaves_no_trace_but_its_count() {
        let (source, clock) = clock();
        source.pass(Duration::from_secs(1));
        source.step_ms(2 * DAY_MS);
        // Also before anybody has looked.
        assert_eq!(millis(&clock), 1_000);
        assert!(matches!(clock.watch(), Seen::Leapt(leap) if leap.by_ms == 2 * DAY_MS));
        source.pass(Duration::from_secs(100));
        assert_eq!((clock.watch(), millis(&clock)), (Seen::Same, 101_000));
        source.step_ms(-2 * DAY_MS);
        assert!(matches!(clock.watch(), Seen::Returned(_)));
        assert_eq!((millis(&clock), clock.leapt(), clock.leaps_count(), clock.returns_count()), (101_000, None, 1, 0));
    }

    #[test]
    fn a_leap_is_adopted_when_it_has_lasted_and_not_a_moment_before() {
        let (source, clock) = clock();
        source.step_ms(DAY_MS);
        assert!(matches!(clock.watch(), Seen::Leapt(_)));
        source.pass(CONFIRM_AFTER.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(clock.watch(), Seen::Same);
        source.pass(Duration::from_millis(1));
        assert!(matches!(clock.watch(), Seen::Adopted(_)));
        assert_eq!(millis(&clock), 86_400_000 + 300_000);
    }

    #[test]
    fn another_leap_starts_the_time_of_confirmation_anew() {
        let (source, clock) = clock();
        source.step_ms(DAY_MS);
        assert!(matches!(clock.watch(), Seen::Leapt(_)));
        source.pass(Duration::from_secs(200));
        source.step_ms(5_000);
        assert!(matches!(clock.watch(), Seen::Leapt(leap) if leap.by_ms == DAY_MS + 5_000));
        source.pass(Duration::from_secs(200));
        assert_eq!((clock.watch(), millis(&clock)), (Seen::Same, 400_000));
    }

    #[test]
    fn the_operator_adopts_a_leap_at_once_and_back_is_counted() {
        let (source, clock) = clock();
        assert_eq!(clock.adopt(), None);
        source.step_ms(-DAY_MS);
        assert!(matches!(clock.watch(), Seen::Leapt(leap) if leap.by_ms == -DAY_MS));
        assert_eq!((clock.returns_count(), millis(&clock)), (0, 0));
        assert!(clock.adopt().is_some_and(|leap| leap.by_ms == -DAY_MS));
        assert_eq!((clock.returns_count(), clock.now().millis()), (1, 1_000_000_000_000 - 86_400_000));
    }

    #[test]
    fn corrections_are_followed_and_a_series_of_them_is_a_leap() {
        let (source, clock) = clock();
        source.step_ms(900);
        assert_eq!((clock.watch(), millis(&clock)), (Seen::Same, 900));
        source.step_ms(900);
        assert!(matches!(clock.watch(), Seen::Leapt(_)));
        assert_eq!(millis(&clock), 900);
        source.step_ms(-900);
        assert!(matches!(clock.watch(), Seen::Returned(_)));
        source.pass(CORRECTIONS_PER);
        assert_eq!(clock.watch(), Seen::Same);
        source.step_ms(-900);
        assert_eq!((clock.watch(), millis(&clock)), (Seen::Same, 60_000));
    }

    #[test]
    fn a_restart_during_a_leap_still_sees_it() {
        let (source, clock) = clock();
        source.step_ms(2 * DAY_MS);
        let again = WatchedClock::manual(&source, CONFIRM_AFTER);
        assert_eq!(again.now().millis(), 1_000_000_000_000 + 172_800_000);
        again.resume(clock.offset_ns());
        assert!(matches!(again.watch(), Seen::Leapt(leap) if leap.by_ms == 2 * DAY_MS));
        assert_eq!(millis(&again), 0);
    }

    #[test]
    fn the_machines_clock_is_the_wall_clock() {
        let clock = WatchedClock::machine(CONFIRM_AFTER);
        assert_eq!(clock.watch(), Seen::Same);
        assert!(clock.now().millis().abs_diff(clock.wall().millis()) < 1_000);
    }
}
