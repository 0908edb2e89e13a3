//! Builds an [`Index`] of many numbers at once, as a start from a snapshot needs it.
//!
//! Inserting ten million numbers one by one touches a random bucket each time and hashes every name
//! about eight times more, because a split hashes what it moves. Here every name is hashed once, in the order in which the names
//! lie; the entries are sorted by the leading bits of their hash into partitions that fit in a
//! processor's cache; and each bucket is filled once, at the depth that it would have reached.
//!
//! The work is shared by several threads. The result does not depend on how many there are, or on
//! their timing: each thread lists a fixed run of the numbers, a partition takes the runs in their
//! order, and no partition shares a bucket with another. So the rules stay a function of their input.

use std::ops::Range;
use std::sync::Mutex;

use super::{BUCKET_SLOTS, Bucket, Index, Spot, capacity, prefix};
use crate::parallel::on_threads;

/// Threads that build an index: as many as profit from it. The domain does not ask how many
/// processors there are; on fewer, the threads take turns, which costs microseconds.
const THREADS: usize = 4;
/// Below this many numbers, one thread is done before another has started.
const THREADED_NUMBERS_MIN: usize = 1 << 16;
/// A partition has this many numbers at least, if hashes are spread evenly: 64 KiB, and as much again
/// for the buckets that it becomes.
const PARTITION_NUMBERS_MIN: usize = 8_192;
/// At most 2^12 partitions: each is a place that a thread writes to in turn.
const PARTITION_BITS_MAX: u8 = 12;
/// Bits of the hash, behind those of its partition, by which a partition's numbers are counted.
const CELL_BITS: u8 = 12;
const CELLS: usize = 1 << CELL_BITS;

/// The numbers to index, listed run by run.
pub struct Parts<F> {
    /// How many parts there are.
    pub parts_count: usize,
    /// How many numbers they list at most. More would only cost time.
    pub numbers_count: usize,
    /// Lists the numbers of a range of parts.
    pub list: F,
}

/// Takes the numbers of a run, each with its hash.
pub struct Entries {
    partition_bits: u8,
    partitions: Vec<Vec<Entry>>,
}

/// A number, and what is needed of its hash once the partition is known, in 8 bytes: twelve bits for
/// the cell, nine for the home slot, eight for the tag.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new(hash: u64, partition_bits: u8, number: u32) -> Self {
        let Spot { home, tag } = Spot::of(hash);
        let cell = prefix(hash << partition_bits, CELL_BITS);
        Self((cell as u64) << 49 | (home as u64) << 40 | u64::from(tag) << 32 | u64::from(number))
    }

    fn cell(self) -> usize {
        (self.0 >> 49) as usize % CELLS
    }

    #[expect(clippy::cast_possible_truncation, reason = "the tag is eight bits of the word")]
    fn spot(self) -> Spot {
        Spot { home: (self.0 >> 40) as usize % BUCKET_SLOTS, tag: (self.0 >> 32) as u8 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the number is the lower half of the word")]
    fn number(self) -> u32 {
        self.0 as u32
    }
}

impl Entries {
    fn new(partition_bits: u8, numbers_count: usize) -> Self {
        let partitions_count = 1_usize << partition_bits;
        // The number of partitions is a power of two.
        let mean = numbers_count >> partition_bits;
        // Four standard deviations more than the mean: hardly a list has to move as it grows.
        let capacity = mean.saturating_add(mean.isqrt().saturating_mul(4));
        Self { partition_bits, partitions: (0..partitions_count).map(|_| Vec::with_capacity(capacity)).collect() }
    }

    /// Adds a number; it must not be 0.
    #[inline]
    pub fn add(&mut self, hash: u64, number: u32) {
        debug_assert_ne!(number, super::EMPTY);
        let Some(partition) = self.partitions.get_mut(prefix(hash, self.partition_bits)) else {
            unreachable!("there is a partition for every value of the leading bits")
        };
        partition.push(Entry::new(hash, self.partition_bits, number));
    }
}

/// Neighbouring partitions that share their first `depth` bits, and what all runs listed for them.
struct Group {
    depth: u8,
    runs: Vec<Vec<Entry>>,
}

/// The buckets of a group, in the order of their prefixes.
#[derive(Default)]
struct Built {
    buckets: Vec<Bucket>,
    /// Numbers whose bucket is full at the last depth that cells can tell apart.
    left_over: Vec<u32>,
}

impl Index {
    /// The index of all numbers that `parts` lists: the same as if they were inserted one by one, save
    /// for the order of numbers in their buckets. `hash_of` gives the hash of any of them again.
    pub fn build<F: Fn(Range<usize>, &mut Entries) + Sync>(parts: &Parts<F>, hash_of: impl Fn(u32) -> u64) -> Self {
        let threads = if parts.numbers_count < THREADED_NUMBERS_MIN { 1 } else { THREADS };
        Self::build_on(threads, parts, hash_of)
    }

    fn build_on<F: Fn(Range<usize>, &mut Entries) + Sync>(threads: usize, parts: &Parts<F>, hash_of: impl Fn(u32) -> u64) -> Self {
        let partition_bits = partition_bits_for(parts.numbers_count);
        let run_parts = parts.parts_count.div_ceil(threads);
        let runs = on_threads(threads, |thread| {
            let mut entries = Entries::new(partition_bits, parts.numbers_count.div_ceil(threads));
            let start = thread.saturating_mul(run_parts).min(parts.parts_count);
            (parts.list)(start..start.saturating_add(run_parts).min(parts.parts_count), &mut entries);
            entries.partitions
        });
        let groups = group(runs, partition_bits);
        let groups_count = groups.len();
        let waiting = Mutex::new(groups.into_iter().enumerate());
        let built = on_threads(threads.min(groups_count.max(1)), |_| {
            let mut cells = Cells::default();
            let next = || waiting.lock().unwrap_or_else(|_| unreachable!("a panic while a group is taken")).next();
            std::iter::from_fn(next).map(|(place, group)| (place, cells.build(group))).collect::<Vec<(usize, Built)>>()
        });
        let mut built: Vec<(usize, Built)> = built.into_iter().flatten().collect();
        built.sort_unstable_by_key(|(place, _)| *place);
        Self::assemble(built.into_iter().map(|(_, built)| built), hash_of)
    }

    /// Puts buckets together that come in the order of their prefixes and cover all of them.
    fn assemble(groups: impl Iterator<Item = Built>, hash_of: impl Fn(u32) -> u64) -> Self {
        let (mut buckets, mut left_over) = (Vec::new(), Vec::new());
        for group in groups {
            buckets.extend(group.buckets);
            left_over.extend(group.left_over);
        }
        let depth = buckets.iter().map(|bucket| bucket.depth).max().unwrap_or(0);
        let mut directory = Vec::with_capacity(if buckets.is_empty() { 0 } else { 1 << depth });
        for (place, bucket) in (0..).zip(&buckets) {
            directory.extend(std::iter::repeat_n(place, 1 << depth.saturating_sub(bucket.depth)));
        }
        assert!(buckets.is_empty() || directory.len() == 1 << depth, "the buckets cover every prefix once");
        let len = buckets.iter().map(|bucket| usize::from(bucket.used)).fold(0, usize::saturating_add);
        let mut index = Self { directory, buckets, depth, len };
        left_over.into_iter().for_each(|number| index.insert(hash_of(number), number, &hash_of, |_| ()));
        index
    }
}

fn partition_bits_for(numbers_count: usize) -> u8 {
    let wanted = (numbers_count / PARTITION_NUMBERS_MIN).checked_ilog2().unwrap_or(0);
    u8::try_from(wanted).map_or(PARTITION_BITS_MAX, |bits| bits.min(PARTITION_BITS_MAX))
}

/// Turns the runs, each in partitions, into groups, each in runs. A partition is a group of its own,
/// unless it is so empty that one bucket holds it together with its neighbours.
fn group(runs: Vec<Vec<Vec<Entry>>>, partition_bits: u8) -> Vec<Group> {
    let partitions_count = 1_usize << partition_bits;
    let counts =
        (0..partitions_count).map(|place| runs.iter().filter_map(|run| run.get(place)).map(Vec::len).fold(0, usize::saturating_add));
    let sums = Sums::of(counts);
    if sums.between(&(0..partitions_count)) == 0 {
        return Vec::new();
    }
    let mut groups = Vec::new();
    sums.leaves(0..partitions_count, 0, &mut |depth, partitions| groups.push((depth, partitions.len())));
    let mut runs: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let take = |(depth, partitions_count): (u8, usize)| Group {
        depth,
        runs: (0..partitions_count).flat_map(|_| runs.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect(),
    };
    groups.into_iter().map(take).collect()
}

/// How many numbers lie before each place, so that a range is counted by one subtraction.
struct Sums(Vec<usize>);

impl Sums {
    fn of(counts: impl Iterator<Item = usize>) -> Self {
        let mut sum = 0_usize;
        let sums = counts.map(|count| {
            sum = sum.saturating_add(count);
            sum
        });
        Self(std::iter::once(0).chain(sums).collect())
    }

    fn between(&self, places: &Range<usize>) -> usize {
        let before = |place: usize| self.0.get(place).unwrap_or_else(|| unreachable!("a sum for each place and one for the end"));
        before(places.end).saturating_sub(*before(places.start))
    }

    /// Halves a range until a bucket can hold each piece, or it is a single place; gives the pieces in
    /// their order, with the bits of the hash that all numbers of a piece share.
    fn leaves(&self, places: Range<usize>, depth: u8, take: &mut impl FnMut(u8, Range<usize>)) {
        if places.len() == 1 || self.between(&places) <= usize::from(capacity(depth)) {
            return take(depth, places);
        }
        let middle = places.start.midpoint(places.end);
        self.leaves(places.start..middle, depth.saturating_add(1), take);
        self.leaves(middle..places.end, depth.saturating_add(1), take);
    }
}

/// What a thread uses again for each group.
struct Cells {
    counts: Vec<usize>,
    /// The bucket of each cell, counted within the group.
    buckets: Vec<usize>,
}

impl Default for Cells {
    fn default() -> Self {
        Self { counts: vec![0; CELLS], buckets: Vec::with_capacity(CELLS) }
    }
}

impl Cells {
    fn build(&mut self, group: Group) -> Built {
        let count = group.runs.iter().map(Vec::len).fold(0, usize::saturating_add);
        let mut built = Built::default();
        self.buckets.clear();
        if count <= usize::from(capacity(group.depth)) {
            built.buckets.push(Bucket::new(group.depth));
            self.buckets.resize(CELLS, 0);
        } else {
            self.divide(&group, &mut built);
        }
        for entry in group.runs.into_iter().flatten() {
            let bucket = self.buckets.get(entry.cell()).and_then(|place| built.buckets.get_mut(*place));
            let Some(bucket) = bucket else { unreachable!("every cell has its bucket") };
            if bucket.has_room() {
                bucket.insert(entry.spot(), entry.number());
            } else {
                built.left_over.push(entry.number());
            }
        }
        built
    }

    /// Makes the buckets of a group that is too large for one.
    fn divide(&mut self, group: &Group, built: &mut Built) {
        self.counts.fill(0);
        for entry in group.runs.iter().flatten() {
            let count = self.counts.get_mut(entry.cell()).unwrap_or_else(|| unreachable!("there is a count for each cell"));
            *count = count.saturating_add(1);
        }
        let sums = Sums::of(self.counts.iter().copied());
        sums.leaves(0..CELLS, group.depth, &mut |depth, cells| {
            self.buckets.extend(std::iter::repeat_n(built.buckets.len(), cells.len()));
            built.buckets.push(Bucket::new(depth));
        });
    }
}

#[cfg(test)]
mod tests;
