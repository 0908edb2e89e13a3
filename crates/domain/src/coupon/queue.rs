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
//! [`QueueSettings::decisions_per_second_max`], unless the pace was changed in it.
//!
//! The pace needs no state of its own: the times of the claims that were decided last say all of it.

use super::{Campaign, Decision, Event, Repeat};
use crate::claims::Claim;
use crate::types::{CampaignName, Serial, SubjectId, Timestamp};

/// The largest `decisions_per_second_max`.
pub const PACE_MAX: u32 = 1_000_000;
/// The largest `queue_max`.
pub const QUEUE_MAX: u32 = 10_000_000;
/// A second is divided into up to this many shares of the pace, so that the line is flat within it.
const SHARES_PER_SECOND: u32 = 10;
const SECOND_MS: u64 = 1_000;

/// How claims are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// With the decision.
    #[default]
    Direct,
    /// With a place in the queue.
    Queued,
}

impl Mode {
    /// The stable word that clients use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Queued => "queued",
        }
    }

    /// The mode of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Direct, Self::Queued].into_iter().find(|mode| mode.word() == word)
    }
}

/// What the runner of a campaign chooses about its queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueSettings {
    /// How claims are answered. In the direct mode the pace is of no importance.
    pub mode: Mode,
    /// Claims that are decided in any 1,000 ms, 1 to [`PACE_MAX`]; `None`: all at once.
    pub decisions_per_second_max: Option<u32>,
    /// Claims that may be pending, 1 to [`QUEUE_MAX`].
    pub queue_max: u32,
}

impl QueueSettings {
    /// The default: no queue.
    pub const DIRECT: Self = Self { mode: Mode::Direct, decisions_per_second_max: None, queue_max: 1_000_000 };

    /// Whether each number is in its range.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        self.decisions_per_second_max.is_none_or(|pace| (1..=PACE_MAX).contains(&pace)) && (1..=QUEUE_MAX).contains(&self.queue_max)
    }

    fn pace(&self) -> Option<u32> {
        self.decisions_per_second_max.filter(|_| self.mode == Mode::Queued)
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self::DIRECT
    }
}

/// Change some settings of a queue: `None` leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueuePatch {
    /// How claims are answered.
    pub mode: Option<Mode>,
    /// `Some(None)` removes the pace.
    pub decisions_per_second_max: Option<Option<u32>>,
    /// Claims that may be pending.
    pub queue_max: Option<u32>,
}

impl QueuePatch {
    /// Whether each number is in its range.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        self.apply(QueueSettings::DIRECT).is_in_range()
    }

    /// The settings with the change.
    #[must_use]
    pub fn apply(&self, old: QueueSettings) -> QueueSettings {
        QueueSettings {
            mode: self.mode.unwrap_or(old.mode),
            decisions_per_second_max: self.decisions_per_second_max.unwrap_or(old.decisions_per_second_max),
            queue_max: self.queue_max.unwrap_or(old.queue_max),
        }
    }
}

/// Decide the claim that has been pending longest. Anyone may ask; it names the claim, and has no
/// effect unless that one is next and its time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecideNext<'a> {
    /// Of which campaign.
    pub campaign: CampaignName<'a>,
    /// Which claim.
    pub serial: Serial,
    /// Whose it is.
    pub subject: SubjectId<'a>,
}

/// A place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// 1 for the one that is decided next.
    pub place: u32,
    /// When it will have been decided, going by the pace and the place, in milliseconds from now.
    pub wait_ms: u64,
}

/// What becomes of [`DecideNext`] at `now`.
pub(super) fn decide_next<'a>(campaign: &Campaign, next: &DecideNext<'a>, now: Timestamp) -> Decision<'a> {
    let is_next = campaign.claims.first_pending().is_some_and(|claim| (claim.serial, claim.subject) == (next.serial, next.subject));
    if !is_next || now < campaign.decides_at() {
        return Decision::Repeat(Repeat::Nothing);
    }
    Decision::Event(Event::Claimed { campaign: campaign.number, serial: next.serial, subject: next.subject })
}

impl Campaign {
    /// Claims that are accepted and not decided yet.
    #[must_use]
    pub fn pending_count(&self) -> u32 {
        u32::try_from(self.claims.pending_count()).unwrap_or(u32::MAX)
    }

    /// The claim that is decided next.
    #[must_use]
    pub fn first_pending(&self) -> Option<Claim<'_>> {
        self.claims.first_pending()
    }

    /// From when on the pace allows one more decision.
    #[must_use]
    pub fn decides_at(&self) -> Timestamp {
        let Some(pace) = self.settings.queue.pace() else { return Timestamp::ZERO };
        let by_window = Window::all(pace)
            .map(|window| self.decided_before_last(window.decisions.saturating_sub(1)).map(|at| at.plus_millis(window.ms)));
        by_window.into_iter().flatten().max().unwrap_or(Timestamp::ZERO)
    }

    /// How many of the pending claims the pace allows to be decided at `now`.
    #[must_use]
    pub fn decidable_count(&self, now: Timestamp) -> u32 {
        let pending = self.pending_count();
        let Some(pace) = self.settings.queue.pace() else { return pending };
        Window::all(pace).map(|window| self.left_in(window, now)).into_iter().fold(pending, u32::min)
    }

    /// Where a claim stands in the queue at `now`; `None` if it is not in it.
    #[must_use]
    pub fn waiting(&self, serial: Serial, now: Timestamp) -> Option<Waiting> {
        let first = self.first_pending()?.serial;
        let place = serial.get().checked_sub(first.get())?.saturating_add(1);
        self.claims.get(serial)?;
        let until_next = self.decides_at().millis().saturating_sub(now.millis());
        let by_pace = self.settings.queue.pace().map_or(0, |pace| {
            let ahead = u64::from(place).saturating_sub(1);
            ahead.saturating_mul(SECOND_MS).div_ceil(u64::from(pace))
        });
        Some(Waiting { place, wait_ms: until_next.saturating_add(by_pace) })
    }

    /// Whether a claim that comes at `now` has to wait.
    pub(super) fn queues_at(&self, now: Timestamp) -> bool {
        self.claims.first_pending().is_some() || now < self.decides_at()
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

    /// When the claim was decided that is so many before the one that was decided last.
    fn decided_before_last(&self, behind: u32) -> Option<Timestamp> {
        let decided = u32::try_from(self.claims.decided_count()).ok()?;
        let serial = Serial::new(decided.checked_sub(behind)?)?;
        self.claims.get(serial).map(|claim| claim.claimed_at)
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
    use crate::coupon::{CampaignNumber, Settings};
    use crate::hash::HashSeed;
    use crate::types::Quantity;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn campaign(pace: u32, pending: u32) -> Campaign {
        let queue = QueueSettings { mode: Mode::Queued, decisions_per_second_max: Some(pace), ..QueueSettings::DIRECT };
        let settings = Settings { queue, ..Settings::plain(Quantity::MAX) };
        let mut campaign = Campaign::new(CampaignNumber(0), CampaignName::new("c").unwrap(), settings, HashSeed(1, 2));
        for user in 0..pending {
            campaign.claims.accept(SubjectId::new(&format!("u{user}")).unwrap(), at(0));
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
                campaign.claims.decide_next(at(instant));
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
