//! The figures of a queue: arrivals, decisions, and whether the pace was kept.

use serde::Serialize;

use super::load::Load;
use super::report::{Row, tail};
use crate::figures::{self, Percentiles, Sample};
use crate::format::{micros, thousands};

/// Enough slots for a readable curve, few enough that a slow pace has a claim in each.
const SLOTS_MAX: u64 = 60;
const SECOND_MS: i64 = 1_000;

/// The results of queued claims.
#[derive(Clone, Debug, Serialize)]
pub struct Queued {
    /// Claims that were queued, each counted once.
    pub accepted: u64,
    /// From the instant at which the claim was due to the response with its place.
    pub accept: Percentiles,
    /// From the same instant until the decision was read.
    pub decision: Percentiles,
    /// Reads of an answer that was still pending.
    pub still_pending: u64,
    /// The most claims decided within 1,000 ms, according to the server.
    pub decided_in_a_second_max: u64,
    /// Claims that were decided faster than the pace allows.
    pub over_pace: u64,
    /// From the first decision to the last, according to the server, in milliseconds.
    pub decided_over_ms: u64,
    /// The length of a slot of the timeline, in milliseconds.
    pub slot_ms: u64,
    /// Arrivals and decisions, slot by slot.
    pub timeline: Vec<QueuedSlot>,
}

/// Arrivals and decisions in a slot of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedSlot {
    /// The end of the slot, counted from the start of the load.
    pub end_ms: u64,
    /// Claims that were queued, or decided at once.
    pub accepted: u64,
    /// Claims that were decided, according to the server.
    pub decided: u64,
}

impl Queued {
    pub(crate) fn new(pace: u32, load: &Load, mut decided_ms: Vec<i64>) -> Self {
        decided_ms.sort_unstable();
        let of = |samples: &[Sample]| figures::percentiles(&figures::histogram(samples.iter().map(|sample| sample.latency_us)));
        let in_a_second = |from: (usize, &i64)| {
            let behind = decided_ms.partition_point(|at| *at < from.1 + SECOND_MS);
            (behind - from.0) as u64
        };
        let far_enough = |pair: &[i64]| pair.first().zip(pair.last()).is_none_or(|(first, last)| SECOND_MS <= last - first);
        let over_ms = decided_ms.first().zip(decided_ms.last()).map_or(0, |(first, last)| last.abs_diff(*first));
        let (slot_ms, timeline) = timeline(load, &decided_ms);
        Self {
            accepted: load.tally.accepted.iter().filter(|sample| sample.gave).count() as u64,
            accept: of(&load.tally.accepted),
            decision: of(&load.tally.decided),
            still_pending: load.tally.still_pending,
            decided_in_a_second_max: decided_ms.iter().enumerate().map(in_a_second).max().unwrap_or(0),
            over_pace: decided_ms.windows(pace as usize + 1).filter(|window| !far_enough(window)).count() as u64,
            decided_over_ms: over_ms,
            slot_ms,
            timeline,
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let most = thousands(self.decided_in_a_second_max);
        let over = micros(self.decided_over_ms * 1_000);
        vec![
            Row::count("accepted", self.accepted).with(format!("decided over {over}, at most {most} in a second")),
            Row::text("time to accept p50", micros(self.accept.p50_us)).with(tail(&self.accept)),
            Row::text("time to decision p50", micros(self.decision.p50_us)).with(tail(&self.decision)),
        ]
    }
}

/// The length of a slot, and the slots.
fn timeline(load: &Load, decided_ms: &[i64]) -> (u64, Vec<QueuedSlot>) {
    let came_in = |sample: &Sample| sample.done_us / 1_000;
    let accepted: Vec<u64> = load.tally.accepted.iter().filter(|sample| sample.gave).map(came_in).collect();
    // If the server's clock is behind, a decision may appear to precede the load.
    let decided: Vec<u64> = decided_ms.iter().map(|at| u64::try_from(at - load.began_ms).unwrap_or(0)).collect();
    let end = accepted.iter().chain(&decided).max().copied().unwrap_or(0);
    let slot_ms = slot_length(end);
    let mut slots: Vec<QueuedSlot> =
        (1..=end / slot_ms + 1).map(|slot| QueuedSlot { end_ms: slot * slot_ms, accepted: 0, decided: 0 }).collect();
    let mut count = |at: &u64, add: fn(&mut QueuedSlot)| {
        let slot = usize::try_from(at / slot_ms).ok().and_then(|place| slots.get_mut(place));
        let Some(slot) = slot else { unreachable!("there is a slot for every instant up to the last one") };
        add(slot);
    };
    accepted.iter().for_each(|at| count(at, |slot| slot.accepted += 1));
    decided.iter().for_each(|at| count(at, |slot| slot.decided += 1));
    (slot_ms, slots)
}

/// 1, 2 or 5 times a power of ten, at least 100 ms: within less time the pace need not be even.
fn slot_length(end_ms: u64) -> u64 {
    let mut decade = 100;
    loop {
        for factor in [1, 2, 5] {
            if end_ms < SLOTS_MAX * decade * factor {
                return decade * factor;
            }
        }
        decade *= 10;
    }
}
