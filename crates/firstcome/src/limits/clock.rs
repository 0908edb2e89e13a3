//! The clock of rate limits: it never runs backwards, even if the wall clock does.

use domain::rate_limit::Moment;
use domain::types::Timestamp;
use edge::clock;
use engine::clock::Clock;

const DAY_MS: u64 = 86_400_000;
const MS_NS: u64 = 1_000_000;

/// Nanoseconds since the UTC midnight before the server's start, so that windows that divide a day begin on
/// the full hour and minute.
#[derive(Clone, Debug)]
pub enum LimitClock {
    /// The monotonic clock, offset to the wall clock's time at the start.
    Machine {
        /// The wall clock's time of day at the start, minus [`clock::elapsed`] then.
        offset_ns: u64,
    },
    /// A manual clock, for tests.
    Manual {
        /// The clock that gives the time.
        clock: Clock,
        /// The midnight before the clock's start.
        midnight: Timestamp,
    },
}

impl LimitClock {
    /// A clock that starts at the wall clock's time.
    #[must_use]
    pub fn new(wall: &Clock) -> Self {
        let now = wall.now().millis();
        match wall {
            Clock::System | Clock::Watched(_) => {
                Self::Machine { offset_ns: (now % DAY_MS).saturating_mul(MS_NS).saturating_sub(elapsed_ns()) }
            }
            Clock::Manual(_) => {
                let midnight = Timestamp::from_millis(now - now % DAY_MS).unwrap_or(Timestamp::ZERO);
                Self::Manual { clock: wall.clone(), midnight }
            }
        }
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        match self {
            Self::Machine { offset_ns } => Moment::from_nanos(offset_ns.saturating_add(elapsed_ns())),
            Self::Manual { clock, midnight } => {
                Moment::from_nanos(clock.now().millis().saturating_sub(midnight.millis()).saturating_mul(MS_NS))
            }
        }
    }
}

impl rate_limit_layer::clock::Clock for LimitClock {
    fn now(&self) -> Moment {
        Self::now(self)
    }
}

fn elapsed_ns() -> u64 {
    u64::try_from(clock::elapsed().as_nanos()).unwrap_or(u64::MAX)
}
