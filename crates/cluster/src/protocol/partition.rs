//! The partition of a group: a fixed function of the group's name, independent of client library
//! and program version.

use domain::hash::HashSeed;

/// The key of the hash. It must never change: groups would move to other partitions.
const SEED: HashSeed = HashSeed(0x6669_7273_7463_6f6d, 0x6520_7061_7274_6974);

/// The partition of a group ([`domain::types::Name::group`]), from 0 to `partitions - 1`.
///
/// ```
/// use cluster::protocol::partition::partition_of;
/// assert_eq!(partition_of("spring", 1), 0);
/// assert!(partition_of("spring", 8) < 8);
/// ```
///
/// # Panics
/// If `partitions` is 0.
#[must_use]
pub fn partition_of(group: &str, partitions: u32) -> u32 {
    assert!(0 < partitions, "a log has at least one partition");
    let partition = SEED.hash(group.as_bytes()) % u64::from(partitions);
    let Ok(partition) = u32::try_from(partition) else { panic!("a remainder is not below its divisor") };
    partition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_stays_where_it_is_for_ever() {
        let names = ["spring", "a", "x.y_z:1-2", "0123456789"];
        assert_eq!(names.map(|name| partition_of(name, 8)), [4, 5, 4, 3]);
        assert_eq!(names.map(|name| partition_of(name, 1_000)), [156, 837, 108, 267]);
    }

    #[test]
    fn groups_are_spread() {
        let mut counts = [0; 8];
        (0..8_000).for_each(|number| counts[partition_of(&format!("group-{number}"), 8) as usize] += 1);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
