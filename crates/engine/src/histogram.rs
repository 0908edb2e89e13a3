//! Histograms of durations, with counts by size, from which median and 99th percentile can be read at any
//! time. Recording is one addition and never waits, because it is done for every answer.

use std::array;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets per power of two: a reported value is at most one eighth too high.
const STEPS: u32 = 8;
/// Powers of two of microseconds that have buckets of their own: everything beyond 67 seconds shares the last
/// one.
const POWERS: u32 = 26;
const BUCKETS: usize = ((POWERS + 1) * STEPS) as usize;

/// Counts of durations, by size.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU32; BUCKETS],
}

/// The counts of a [`Histogram`] at an instant, or between two instants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    buckets: [u32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(place_of(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A copy of the current counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (count, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        counts
    }
}

impl Counts {
    /// The counts added since `earlier`. Wrapping subtraction: a counter that has overflowed still gives the
    /// right difference.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.clone();
        for (count, before) in counts.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.wrapping_sub(*before);
        }
        counts
    }

    /// The number of recorded durations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().map(|count| u64::from(*count)).sum()
    }

    /// The upper bound of the bucket that holds the `per_mille`-th quantile; `None` if nothing was recorded.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Option<Duration> {
        let total = self.total();
        let wanted = total.saturating_mul(per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let place = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            wanted <= seen
        })?;
        Some(Duration::from_micros(upper_bound(place)))
    }
}

/// The bucket of a duration: eight for each power of two, one for each microsecond below eight.
fn place_of(micros: u64) -> usize {
    let power = micros.max(1).ilog2();
    let steps_power = STEPS.ilog2();
    let place = match power.checked_sub(steps_power) {
        None => micros,
        Some(shift) => u64::from(STEPS * (shift + 1)) + (micros >> shift) - u64::from(STEPS),
    };
    usize::try_from(place).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest duration that falls into a bucket.
fn upper_bound(place: usize) -> u64 {
    let (place, steps) = (place as u64, u64::from(STEPS));
    let Some(above) = place.checked_sub(steps) else { return place };
    let (shift, step) = (above / steps, above % steps);
    ((steps + step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_between_its_bounds() {
        for micros in (0..5_000).chain([65_535, 65_536, 1_000_000, 60_000_000]) {
            let bound = upper_bound(place_of(micros));
            assert!(micros <= bound && bound <= micros + micros / 8, "{micros} is told as {bound}");
            assert_ne!(place_of(bound), place_of(bound + 1));
        }
        assert_eq!(place_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_came_since() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(9));
        let before = histogram.counts();
        (1..=100).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let counts = histogram.counts().since(&before);
        assert_eq!(counts.total(), 100);
        let is_about = |per_mille, millis: u128| {
            let told = counts.quantile(per_mille).unwrap().as_micros();
            (millis * 1_000..=millis * 1_125).contains(&told)
        };
        assert!(is_about(500, 50) && is_about(990, 99) && is_about(1_000, 100) && is_about(0, 1));
        assert_eq!(Counts::default().quantile(500), None);
    }
}
