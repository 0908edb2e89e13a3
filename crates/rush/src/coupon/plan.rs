//! The arrivals: which person asks when. The order is shuffled by a fixed seed, so that two runs send the
//! same requests in the same order.

use std::time::Duration;

use super::subjects::UserIndex;

const SEED: u64 = 0x5eed_0f57_a3be_de01;
/// A repeat follows the first request after at most this many arrivals: close enough to overlap in the server.
const REPEAT_WITHIN: u32 = 64;

struct Ask {
    user: UserIndex,
    /// The position in the order of arrivals; several requests may share one.
    place: u32,
}

/// The requests to one server.
pub(crate) struct Plan {
    asks: Vec<Ask>,
    users: u32,
    over: Duration,
}

impl Plan {
    /// One plan for each server: people are assigned in turn, and a repeat goes to the next server.
    pub(crate) fn for_servers(servers: usize, users: u32, repeat_percent: u8, over: Duration) -> Vec<Plan> {
        let mut random = Random(SEED);
        let mut plans: Vec<Plan> = (0..servers).map(|_| Plan { asks: Vec::new(), users, over }).collect();
        for (place, user) in (0..users).zip(shuffled(users, &mut random)) {
            let server = place as usize % servers;
            plans[server].asks.push(Ask { user, place });
            if asks_twice(place, repeat_percent) {
                let later = place + 1 + random.below(REPEAT_WITHIN);
                let place = later.min(users - 1);
                plans[(server + 1) % servers].asks.push(Ask { user, place });
            }
        }
        // A stable sort: at the same position a person's first request stays before the repeat.
        plans.iter_mut().for_each(|plan| plan.asks.sort_by_key(|ask| ask.place));
        plans
    }

    pub(crate) fn count(&self) -> usize {
        self.asks.len()
    }

    /// A request's person, and its start, counted from the start of the load.
    pub(crate) fn get(&self, index: usize) -> Option<(UserIndex, Duration)> {
        let ask = self.asks.get(index)?;
        let share = f64::from(ask.place) / f64::from(self.users);
        Some((ask.user, self.over.mul_f64(share)))
    }
}

/// Spreads the repeats evenly: exactly `percent` of every hundred people.
fn asks_twice(place: u32, percent: u8) -> bool {
    let before = u64::from(place) * u64::from(percent) / 100;
    let after = (u64::from(place) + 1) * u64::from(percent) / 100;
    before < after
}

fn shuffled(users: u32, random: &mut Random) -> Vec<UserIndex> {
    let mut order: Vec<UserIndex> = (0..users).collect();
    for last in (1..users).rev() {
        order.swap(last as usize, random.below(last + 1) as usize);
    }
    order
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators"): not for secrets, but the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(users: u32, repeat_percent: u8, over: Duration) -> Plan {
        Plan::for_servers(1, users, repeat_percent, over).remove(0)
    }

    fn asks_of(plan: &Plan) -> Vec<(UserIndex, Duration)> {
        (0..plan.count()).filter_map(|index| plan.get(index)).collect()
    }

    #[test]
    fn everybody_asks_once_and_the_given_share_twice() {
        let plan = new(1_000, 5, Duration::from_secs(1));
        let mut times = vec![0; 1_000];
        for (user, _) in asks_of(&plan) {
            times[user as usize] += 1;
        }
        assert_eq!(plan.count(), 1_050);
        assert_eq!(times.iter().filter(|&&times| times == 2).count(), 50);
        assert!(times.iter().all(|&times| times == 1 || times == 2));
    }

    #[test]
    fn arrivals_are_in_order_and_spread_over_the_whole_span() {
        let asks = asks_of(&new(1_000, 5, Duration::from_secs(10)));
        assert!(asks.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let early = asks.iter().filter(|ask| ask.1 < Duration::from_secs(1));
        assert!((100..=110).contains(&early.count()));
        assert!(asks.iter().all(|ask| ask.1 < Duration::from_secs(10)));
    }

    #[test]
    fn the_order_is_shuffled_and_the_same_every_time() {
        let users = |plan: Plan| asks_of(&plan).iter().map(|ask| ask.0).collect::<Vec<_>>();
        let first = users(new(1_000, 0, Duration::ZERO));
        assert_eq!(first, users(new(1_000, 0, Duration::ZERO)));
        assert!(!first.is_sorted());
    }

    #[test]
    fn all_at_once_means_that_everybody_is_due_at_the_start() {
        let asks = asks_of(&new(300, 100, Duration::ZERO));
        assert_eq!(asks.len(), 600);
        assert!(asks.iter().all(|ask| ask.1.is_zero()));
    }

    #[test]
    fn the_servers_get_equal_shares_and_nobody_asks_the_same_one_twice() {
        for servers in [2, 3] {
            let plans = Plan::for_servers(servers, 999, 20, Duration::ZERO);
            let shares: Vec<Vec<UserIndex>> = plans.iter().map(|plan| asks_of(plan).iter().map(|ask| ask.0).collect()).collect();
            assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 999 + 199);
            for share in &shares {
                assert!((999 / servers..=1_300 / servers).contains(&share.len()), "{}", share.len());
                let different: std::collections::HashSet<_> = share.iter().collect();
                assert_eq!(different.len(), share.len());
            }
        }
    }
}
