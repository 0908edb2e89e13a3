//! The queue of a campaign: claims are accepted in their order and decided at a pace, so that what
//! lies behind sees a flat line instead of a peak.
//!
//! The promise: whether a claim is granted is settled when it is accepted, by its place in the order
//! and by the time at which it came, exactly as without a queue. An accepted claim has its unit and
//! its serial; only when it counts as *decided* is paced. So nobody waits for what is gone, and
//! nothing that happens while they wait takes a place away.
//!
//! Invariants: the pending claims of a campaign are those with the highest serials, in a row; they
//! are decided in the order of their serials; no window of 1,000 ms holds more decisions than
//! [`Settings::decisions_per_second_max`], unless the pace was changed in it.
//!
//! The pace needs no state of its own: the times of the claims that were decided last say all of it.

use super::{Campaign, Coupon, Event, Settings};
use crate::claims::Claim;
use crate::types::{Serial, SubjectId, Timestamp};
use crate::words;
use crate::workload::{Aggregate, Decided};

/// The largest `decisions_per_second_max`.
pub const PACE_MAX: u32 = 1_000_000;
/// The largest `queue_max`.
pub const QUEUE_MAX: u32 = 10_000_000;
/// A second is divided into up to this many shares of the pace, so that the line is flat within it.
const SHARES_PER_SECOND: u32 = 10;
const SECOND_MS: u64 = 1_000;

words! {
    /// How claims are answered.
    pub enum Mode {
        /// With the decision.
        0 Direct "direct",
        /// With a place in the queue.
        1 Queued "queued",
    }
}

impl Settings {
    /// Claims that are decided in any 1,000 ms; `None`: all at once.
    fn pace(&self) -> Option<u32> {
        self.decisions_per_second_max.filter(|_| self.mode == Mode::Queued)
    }
}

/// A place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// 1 for the one that is decided next.
    pub place: u32,
    /// When it will have been decided, going by the pace and the place, in milliseconds from now.
    pub wait_ms: u64,
}

/// What becomes of the wish that this claim be decided at `now`.
pub(super) fn decide_next<'a>(campaign: &Campaign, serial: Serial, subject: SubjectId<'a>, now: Timestamp) -> Decided<'a, Coupon> {
    let is_next = campaign.first_pending().is_some_and(|claim| (claim.serial, claim.subject) == (serial, subject));
    if !is_next || now < campaign.decides_at() {
        return Decided::Nothing;
    }
    Decided::Event(Event::Decided { serial, subject })
}

impl Aggregate<Coupon> {
    /// Claims that are accepted and not decided yet.
    #[must_use]
    pub fn pending_count(&self) -> u32 {
        let Ok(count) = u32::try_from(self.items.claims.pending_count()) else { panic!("more claims are pending than serials were given") };
        count
    }

    /// The claim that is decided next.
    #[must_use]
    pub fn first_pending(&self) -> Option<Claim<'_>> {
        self.items.claims.first_pending()
    }

    /// From when on the pace allows one more decision.
    #[must_use]
    pub fn decides_at(&self) -> Timestamp {
        let Some(pace) = self.settings.pace() else { return Timestamp::ZERO };
        let by_window = Window::all(pace)
            .map(|window| self.decided_before_last(window.decisions.saturating_sub(1)).map(|at| at.plus_millis(window.ms)));
        by_window.into_iter().flatten().max().unwrap_or(Timestamp::ZERO)
    }

    /// How many of the pending claims the pace allows to be decided at `now`.
    #[must_use]
    pub fn decidable_count(&self, now: Timestamp) -> u32 {
        let pending = self.pending_count();
        let Some(pace) = self.settings.pace() else { return pending };
        Window::all(pace).map(|window| self.left_in(window, now)).into_iter().fold(pending, u32::min)
    }

    /// Where a claim stands in the queue at `now`; `None` if it is not in it.
    #[must_use]
    pub fn waiting(&self, serial: Serial, now: Timestamp) -> Option<Waiting> {
        let first = self.first_pending()?.serial;
        let place = serial.get().checked_sub(first.get())?.saturating_add(1);
        self.items.claims.get(serial)?;
        let until_next = self.decides_at().millis().saturating_sub(now.millis());
        let by_pace = self.settings.pace().map_or(0, |pace| {
            let ahead = u64::from(place).saturating_sub(1);
            ahead.saturating_mul(SECOND_MS).div_ceil(u64::from(pace))
        });
        Some(Waiting { place, wait_ms: until_next.saturating_add(by_pace) })
    }

    /// Whether a claim that comes at `now` has to wait.
    pub(super) fn queues_at(&self, now: Timestamp) -> bool {
        self.items.claims.first_pending().is_some() || now < self.decides_at()
    }

    /// How many more decisions a window that ends at `now` has room for.
    fn left_in(&self, window: Window, now: Timestamp) -> u32 {
        let is_in_window = |behind: u32| self.decided_before_last(behind).is_some_and(|at| now < at.plus_millis(window.ms));
        // The times fall with the distance from the last one.
        let (mut low, mut high) = (0, window.decisions);
        while low < high {
            let middle = low.midpoint(high);
            if is_in_window(middle) { low = middle.saturating_add(1) } else { high = middle }
        }
        window.decisions.saturating_sub(low)
    }

    /// When the claim was decided that is so many before the one that was decided last, unless the time was set
    /// back since.
    fn decided_before_last(&self, behind: u32) -> Option<Timestamp> {
        let decided = u32::try_from(self.items.claims.decided_count()).ok()?;
        let serial = Serial::new(decided.checked_sub(behind).filter(|serial| self.items.decided_before < *serial)?)?;
        self.items.claims.get(serial).map(|claim| claim.claimed_at)
    }
}

/// So many decisions in so many milliseconds.
#[derive(Clone, Copy)]
struct Window {
    decisions: u32,
    ms: u64,
}

impl Window {
    /// The second that the pace speaks of, and a share of it.
    fn all(pace: u32) -> [Self; 2] {
        let shares = pace.clamp(1, SHARES_PER_SECOND);
        let share_ms = SECOND_MS.checked_div(u64::from(shares)).unwrap_or(SECOND_MS);
        [Self { decisions: pace, ms: SECOND_MS }, Self { decisions: pace.div_ceil(shares), ms: share_ms }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashSeed;
    use crate::types::Quantity;
    use crate::workload::{Head, Number};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn campaign(pace: u32, pending: u32) -> Campaign {
        let settings = Settings { mode: Mode::Queued, decisions_per_second_max: Some(pace), ..Settings::plain(Quantity::MAX) };
        let head = Head { name: "c".into(), number: Number(0), version: 1, created_at: at(0) };
        let mut campaign = Campaign::new(head, settings, HashSeed(1, 2));
        for user in 0..pending {
            campaign.items.claims.accept(SubjectId::new(&format!("u{user}")).unwrap(), at(0));
        }
        campaign
    }

    /// Decides whatever may be decided at each of the instants, and says how many were.
    fn decided_at(campaign: &mut Campaign, instants: impl Iterator<Item = u64>) -> Vec<(u64, u32)> {
        let mut line = Vec::new();
        for instant in instants {
            let count = campaign.decidable_count(at(instant));
            for _ in 0..count {
                assert!(campaign.decides_at() <= at(instant));
                campaign.items.claims.decide_next(at(instant));
            }
            assert!(campaign.pending_count() == 0 || at(instant) < campaign.decides_at());
            line.push((instant, count));
        }
        line
    }

    #[test]
    fn no_second_holds_more_than_the_pace_however_irregular_the_clock() {
        for pace in [1, 2, 3, 7, 10, 11, 25, 99, 100, 1_234] {
            let mut campaign = campaign(pace, 20_000);
            let instants = (0..4_000).scan(7_u64, |now, step: u64| {
                *now += if step.is_multiple_of(97) { 700 } else { step * 7_919 % 23 };
                Some(*now)
            });
            let line = decided_at(&mut campaign, instants);
            for (place, (from, _)) in line.iter().enumerate() {
                let window = line[place..].iter().take_while(|(instant, _)| *instant < from + 1_000);
                assert!(window.map(|(_, count)| count).sum::<u32>() <= pace, "pace {pace} from {from}");
            }
        }
    }

    #[test]
    fn the_pace_is_reached_and_the_line_is_flat() {
        for (pace, expected) in [(5, 50), (10, 100), (500, 5_000), (1_000, 10_000)] {
            let mut campaign = campaign(pace, 20_000);
            let line = decided_at(&mut campaign, (0..10_000).step_by(5));
            assert_eq!(line.iter().map(|(_, count)| count).sum::<u32>(), expected, "pace {pace}");
            assert!(line.iter().all(|(_, count)| *count <= pace.div_ceil(10).max(1)));
        }
    }

    #[test]
    fn a_place_falls_by_one_with_each_decision_and_the_wait_is_what_it_then_takes() {
        let mut campaign = campaign(100, 1_000);
        let last = Serial::new(1_000).unwrap();
        let first = campaign.waiting(last, at(0)).unwrap();
        assert_eq!(first, Waiting { place: 1_000, wait_ms: 9_990 });
        let line = decided_at(&mut campaign, 0..20_000);
        let done = line.iter().rfind(|(_, count)| 0 < *count).unwrap().0;
        assert!(done.abs_diff(first.wait_ms) <= 100, "{done}");
        assert_eq!(campaign.waiting(last, at(done)), None);
    }
}
