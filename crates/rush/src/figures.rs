//! Computes figures from samples: percentiles, the distribution curve, and the timeline.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::format::as_micros;

/// Larger latencies are recorded as this.
const LATENCY_US_MAX: u64 = 2 * 60 * 60 * 1_000_000;
/// Enough slots for a smooth line, few enough for a small page.
const SLOTS_MAX: u64 = 120;

/// One answered request; 24 bytes, with everything that the figures need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// From the start of the load to the end of the response.
    pub(crate) done_us: u64,
    /// From the instant at which the request was due to the end of the response.
    pub(crate) latency_us: u32,
    /// From sending to the end of the response.
    pub(crate) service_us: u32,
    /// Whether the response granted a new claim.
    pub(crate) gave: bool,
}

impl Sample {
    pub(crate) fn new(done: Duration, latency: Duration, service: Duration, gave: bool) -> Sample {
        // At most 71 minutes; the histograms' limit is far below.
        let narrow = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        Sample { done_us: as_micros(done), latency_us: narrow(latency), service_us: narrow(service), gave }
    }
}

/// Percentiles in microseconds, precise to a thousandth of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// `percentile` percent of all responses took at most `us` microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CurvePoint {
    pub percentile: f64,
    pub us: u64,
}

/// The responses within one slot of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slot {
    /// The end of the slot, counted from the start of the load.
    pub end_us: u64,
    pub answers: u64,
    pub claims: u64,
    /// Latency of the responses within the slot; `None` if there were none.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

pub(crate) fn histogram(values: impl Iterator<Item = u32>) -> Histogram<u64> {
    let Ok(mut histogram) = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3) else {
        unreachable!("these bounds are valid whatever the run was");
    };
    values.for_each(|value| histogram.saturating_record(u64::from(value)));
    histogram
}

pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    Percentiles {
        p50_us: histogram.value_at_quantile(0.5),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    }
}

/// Ten points for each nine (90, 99, 99.9, ...) that the number of samples can resolve, and the slowest
/// sample at the end.
pub(crate) fn curve(histogram: &Histogram<u64>) -> Vec<CurvePoint> {
    let point = |quantile: f64| CurvePoint { percentile: 100.0 * quantile, us: histogram.value_at_quantile(quantile) };
    let tells_apart = |quantile: &f64| 1.0 <= (1.0 - quantile) * histogram.len() as f64;
    let mut points: Vec<CurvePoint> =
        (0..90).map(|step| 1.0 - 10f64.powf(-f64::from(step) / 10.0)).take_while(tells_apart).map(point).collect();
    if !histogram.is_empty() {
        points.push(point(1.0));
    }
    points
}

/// Slots of equal length over the whole load; the samples may be in any order.
pub(crate) fn timeline(samples: &mut [Sample], duration: Duration) -> Vec<Slot> {
    samples.sort_unstable_by_key(|sample| sample.done_us);
    let length_us = slot_length(as_micros(duration));
    let count = as_micros(duration) / length_us + 1;
    let mut rest = &*samples;
    let mut slots = Vec::new();
    for index in 1..=count {
        let end_us = index * length_us;
        let within = rest.partition_point(|sample| sample.done_us < end_us);
        let (slot, later) = rest.split_at(within);
        slots.push(summary(slot, end_us));
        rest = later;
    }
    slots
}

fn summary(samples: &[Sample], end_us: u64) -> Slot {
    let latencies = histogram(samples.iter().map(|sample| sample.latency_us));
    let at = |quantile| (!latencies.is_empty()).then(|| latencies.value_at_quantile(quantile));
    Slot {
        end_us,
        answers: samples.len() as u64,
        claims: samples.iter().filter(|sample| sample.gave).count() as u64,
        p50_us: at(0.5),
        p99_us: at(0.99),
    }
}

/// 1, 2 or 5 times a power of ten, for round labels.
fn slot_length(duration_us: u64) -> u64 {
    let mut decade_us = 1_000;
    loop {
        for factor in [1, 2, 5] {
            if duration_us < SLOTS_MAX * decade_us * factor {
                return decade_us * factor;
            }
        }
        decade_us *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(done_us: u64, latency_us: u32, gave: bool) -> Sample {
        Sample { done_us, latency_us, service_us: 1, gave }
    }

    #[test]
    fn slots_cover_the_whole_load_and_hold_every_answer_once() {
        let mut samples: Vec<Sample> = (0..1_000).map(|index| sample(index * 2_000, 500, index % 10 == 0)).collect();
        let slots = timeline(&mut samples, Duration::from_micros(1_998_001));
        assert!(slots.len() <= 120, "{}", slots.len());
        assert_eq!(slots.iter().map(|slot| slot.answers).sum::<u64>(), 1_000);
        assert_eq!(slots.iter().map(|slot| slot.claims).sum::<u64>(), 100);
        assert!(1_998_000 < slots[slots.len() - 1].end_us);
    }

    #[test]
    fn slot_lengths_are_round_and_few_enough() {
        for duration_us in [1, 999, 120_000, 120_001, 1_700_000, 61_000_000, 7_200_000_000] {
            let length_us = slot_length(duration_us);
            assert!(duration_us / length_us <= SLOTS_MAX, "{duration_us}");
            let digits = length_us.to_string();
            assert!("125".contains(&digits[..1]) && digits[1..].bytes().all(|b| b == b'0'));
        }
    }

    #[test]
    fn a_slow_minority_shows_in_the_tail_only() {
        let values = (0..1_000).map(|index| if index < 5 { 90_000 } else { 100 });
        let histogram = histogram(values);
        let found = percentiles(&histogram);
        assert_eq!((found.p50_us, found.p99_us), (100, 100));
        assert!(90_000 <= found.p999_us && 90_000 <= found.max_us);
        let curve = curve(&histogram);
        assert!(curve.windows(2).all(|pair| pair[0].us <= pair[1].us));
    }
}
