//! Requests as they come, made of a seed: the same in every run.

use super::{LAST_NS, QUOTA, WINDOW_NS};

/// How requests come. The limit is 10 a second and 100 in 10 seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Evenly at random (Poisson), at half to one and a half times the limit.
    Steady,
    /// Bursts of 20 to 200 within 200 ms, with pauses around 10 seconds.
    Bursty,
    /// An adversary who knows the clock: the whole quota just before the edge of a window of the
    /// clock, and again just after.
    WindowEdge,
    /// Gaps with a heavy tail (Pareto, shape 1.3): mostly close together, sometimes very long.
    HeavyTailed,
    /// 20,000 sources whose rates have a heavy tail (Pareto, shape 1.1): most are far below the
    /// limit, a few far above, as on the open web; each comes evenly at random.
    ManySources,
}

impl Shape {
    pub(crate) const ALL: [Self; 5] = [Self::Steady, Self::Bursty, Self::WindowEdge, Self::HeavyTailed, Self::ManySources];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Bursty => "bursty",
            Self::WindowEdge => "window edge",
            Self::HeavyTailed => "heavy-tailed",
            Self::ManySources => "many sources",
        }
    }

    pub(crate) const fn sources(self) -> u64 {
        match self {
            Self::Steady | Self::Bursty | Self::WindowEdge | Self::HeavyTailed => 100,
            Self::ManySources => 20_000,
        }
    }

    /// The instants of one source's requests, rising, in nanoseconds.
    pub(crate) fn arrivals(self, random: &mut Random) -> Vec<u64> {
        let mut arrivals = match self {
            Self::Steady => {
                let per_second = 5.0 + 10.0 * random.share();
                gaps(random, |random| random.exponential() / per_second)
            }
            Self::Bursty => bursts(random),
            Self::WindowEdge => edges(random),
            Self::HeavyTailed => gaps(random, |random| 0.03 * (random.pareto(1.3) - 1.0)),
            Self::ManySources => {
                let per_second = (0.05 * random.pareto(1.1)).min(100.0);
                gaps(random, |random| random.exponential() / per_second)
            }
        };
        arrivals.sort_unstable();
        arrivals
    }
}

fn nanos(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made-up times")]
    let nanos = (seconds * 1e9) as u64;
    nanos
}

/// One after the other, `gap` seconds apart.
fn gaps(random: &mut Random, gap: impl Fn(&mut Random) -> f64) -> Vec<u64> {
    let mut at = nanos(10.0 * random.share());
    let mut arrivals = Vec::new();
    while at < LAST_NS {
        arrivals.push(at);
        at = at.saturating_add(nanos(gap(random)));
    }
    arrivals
}

fn bursts(random: &mut Random) -> Vec<u64> {
    let starts = gaps(random, |random| 10.0 * random.exponential());
    let mut arrivals = Vec::new();
    for start in starts {
        let count = 20 + random.next() % 181;
        arrivals.extend((0..count).map(|_| start + nanos(0.2 * random.share())));
    }
    arrivals
}

fn edges(random: &mut Random) -> Vec<u64> {
    let mut arrivals = Vec::new();
    for edge in (1..LAST_NS / WINDOW_NS).step_by(2).map(|window| window * WINDOW_NS) {
        arrivals.extend((0..QUOTA).map(|_| edge - 1 - nanos(0.1 * random.share())));
        arrivals.extend((0..QUOTA).map(|_| edge + nanos(0.1 * random.share())));
    }
    arrivals
}

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, shape: Shape, source: u64) -> Self {
        let mut random = Self(seed ^ (shape as u64) << 56 ^ source << 16);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// With a mean of 1.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.share()).ln()
    }

    /// At least 1.
    fn pareto(&mut self, shape: f64) -> f64 {
        (1.0 - self.share()).powf(-1.0 / shape)
    }
}
