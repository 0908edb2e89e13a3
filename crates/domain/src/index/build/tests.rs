//! An index that was built at once is the one that single inserts make.

use proptest::prelude::*;

use super::*;
use crate::hash::HashSeed;
use crate::index::DEPTH_MAX;

/// How numbers come by their hashes.
#[derive(Clone, Copy, Debug)]
enum Hashes {
    Spread,
    /// So many numbers have each hash.
    Equal(u32),
    /// So many first bits are the same for all.
    Close(u8),
}

impl Hashes {
    fn of(self, number: u32) -> u64 {
        let spread = |number: u32| HashSeed(7, 11).hash(&number.to_le_bytes());
        match self {
            Self::Spread => spread(number),
            Self::Equal(count) => spread(number.checked_div(count).unwrap()),
            Self::Close(bits) => spread(number) >> bits | 0x5a5a << 48 & !(u64::MAX >> bits),
        }
    }
}

fn hashes() -> impl Strategy<Value = Hashes> {
    prop_oneof![Just(Hashes::Spread), (2_u32..150).prop_map(Hashes::Equal), (1_u8..16).prop_map(Hashes::Close)]
}

fn inserted(numbers: &[u32], hashes: Hashes) -> Index {
    let mut index = Index::new();
    numbers.iter().for_each(|number| index.insert(hashes.of(*number), *number, |number| hashes.of(number), |_| ()));
    index
}

fn built(threads: usize, numbers: &[u32], hashes: Hashes) -> Index {
    let parts: Vec<&[u32]> = numbers.chunks(100).collect();
    let list = |range: Range<usize>, entries: &mut Entries| {
        parts[range].iter().copied().flatten().for_each(|number| entries.add(hashes.of(*number), *number));
    };
    Index::build_on(threads, &Parts { parts_count: parts.len(), numbers_count: numbers.len(), list }, |number| hashes.of(number))
}

/// All that matters of an index: which numbers lie under which prefix. Buckets may be numbered in any
/// order, and numbers lie in any order within one.
fn shape(index: &Index) -> (u8, usize, Vec<(u8, Vec<u32>)>) {
    let under = |place: &u32| {
        let bucket = &index.buckets[*place as usize];
        let mut numbers = bucket.take();
        numbers.sort_unstable();
        assert_eq!(numbers.len(), usize::from(bucket.used));
        (bucket.depth, numbers)
    };
    assert!(index.buckets.is_empty() || index.directory.len() == 1 << index.depth);
    let mut places = index.directory.clone();
    places.dedup();
    assert_eq!(places.len(), index.buckets.len(), "each bucket stands once in the directory");
    (index.depth, index.len, places.iter().map(under).collect())
}

type BucketBytes<'a> = (u8, &'a [u8], &'a [u32]);

fn every_byte(index: &Index) -> (&[u32], Vec<BucketBytes<'_>>) {
    let buckets = index.buckets.iter().map(|bucket| (bucket.depth, &bucket.tags[..], &bucket.numbers[..]));
    (&index.directory, buckets.collect())
}

fn is_found(index: &Index, number: u32, hashes: Hashes) -> bool {
    index.candidates(hashes.of(number)).any(|found| found == number)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn built_at_once_is_as_inserted_one_by_one(
        count in prop_oneof![0_u32..1_500, 0_u32..30_000],
        step in 1_u32..4,
        hashes in hashes(),
        threads in 1_usize..5,
        later in proptest::collection::vec((any::<bool>(), 1_u32..40_000), 0..600),
    ) {
        let numbers: Vec<u32> = (1..=count).step_by(step as usize).collect();
        let (mut one_by_one, mut at_once) = (inserted(&numbers, hashes), built(threads, &numbers, hashes));
        prop_assert_eq!(shape(&one_by_one), shape(&at_once));
        prop_assert!(at_once.memory_bytes() <= one_by_one.memory_bytes());
        prop_assert!(numbers.iter().all(|number| is_found(&at_once, *number, hashes)));
        // And it goes on in the same way.
        let hash_of = |number| hashes.of(number);
        for (removes, number) in later {
            let was_in = is_found(&one_by_one, number, hashes);
            for index in [&mut one_by_one, &mut at_once] {
                if removes {
                    prop_assert_eq!(index.remove(hash_of(number), number, hash_of), was_in);
                } else if !was_in {
                    index.insert(hash_of(number), number, hash_of, |_| ());
                }
            }
        }
        prop_assert_eq!(shape(&one_by_one), shape(&at_once));
    }
}

#[test]
fn many_partitions_give_the_same_on_any_number_of_threads() {
    for hashes in [Hashes::Spread, Hashes::Equal(100), Hashes::Close(5)] {
        let numbers: Vec<u32> = (1..=200_000).collect();
        let expected = shape(&inserted(&numbers, hashes));
        let first = built(1, &numbers, hashes);
        assert_eq!(shape(&first), expected, "{hashes:?}");
        for threads in [2, 3, 4, 7] {
            assert!(every_byte(&built(threads, &numbers, hashes)) == every_byte(&first), "{hashes:?} on {threads} threads");
        }
    }
}

#[test]
fn what_cells_cannot_tell_apart_is_left_for_single_inserts() {
    let (numbers, hashes): (Vec<u32>, _) = ((1..=3_000).collect(), Hashes::Close(15));
    assert_eq!(shape(&built(2, &numbers, hashes)), shape(&inserted(&numbers, hashes)));
}

#[test]
#[should_panic(expected = "hashes that are all but the same")]
fn a_bucket_that_cannot_be_split_is_a_fault() {
    // The directory would have 2^32 places; the first bits are enough for the test.
    let mut index = Index { directory: vec![0], buckets: vec![Bucket::new(DEPTH_MAX)], depth: 0, len: 0 };
    (1..=512).for_each(|number| index.insert(0, number, |_| 0, |_| ()));
}
