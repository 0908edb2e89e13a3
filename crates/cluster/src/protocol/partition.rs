//! Which partition a campaign is in: a fixed function of its name, the same for every client
//! library and every version of this program.

use domain::hash::HashSeed;

/// The key of the function. It must never change: a campaign would move to another partition.
const SEED: HashSeed = HashSeed(0x6669_7273_7463_6f6d, 0x6520_7061_7274_6974);

/// The partition of a group (for coupons, a campaign's name), from 0 to `partitions - 1`.
///
/// ```
/// use cluster::protocol::partition::partition_of;
/// assert_eq!(partition_of("spring", 1), 0);
/// assert!(partition_of("spring", 8) < 8);
/// ```
///
/// # Panics
/// If there are no partitions.
#[must_use]
pub fn partition_of(group: &str, partitions: u32) -> u32 {
    assert!(0 < partitions, "a log has at least one partition");
    let place = SEED.hash(group.as_bytes()) % u64::from(partitions);
    let Ok(place) = u32::try_from(place) else { panic!("a remainder is less than its divisor, a u32") };
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_stays_where_it_is_for_ever() {
        let names = ["spring", "a", "x.y_z:1-2", "0123456789"];
        assert_eq!(names.map(|name| partition_of(name, 8)), [4, 5, 4, 3]);
        assert_eq!(names.map(|name| partition_of(name, 1_000)), [156, 837, 108, 267]);
    }

    #[test]
    fn campaigns_are_spread() {
        let mut counts = [0; 8];
        (0..8_000).for_each(|number| counts[partition_of(&format!("campaign-{number}"), 8) as usize] += 1);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
