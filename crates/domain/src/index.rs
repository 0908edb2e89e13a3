//! From a hash to the numbers that have it, in about 9 bytes for each, and without a long stall:
//! extendible hashing (Fagin and others, 1979). The table is a directory of small buckets; a full
//! bucket splits in two, so that growing never touches more than one bucket at a time, and
//! nothing is reserved ahead.
//!
//! The index does not hold the keys. Callers compare candidates themselves, and give the hash of
//! a number back when a bucket splits.

/// Numbers in one bucket: small enough that a split is a matter of microseconds, large enough
/// that the directory stays small.
const BUCKET_SLOTS: usize = 512;
/// A bucket splits when it is fuller than this (80 %): linear probing stays short.
const BUCKET_FILL_MAX: u16 = 410;
/// One slot stays empty: it ends a probe.
const BUCKET_USED_MAX: u16 = 511;
/// From this depth on, a bucket is filled up to its last empty slot, so that the directory
/// doubles as late as possible (2^22 buckets hold about 1,700,000,000 numbers).
const DEPTH_FULL: u8 = 22;
/// More splits than that mean that hundreds of numbers have the same hash: they would never end. Keys
/// that share all of a keyed hash's first 32 bits are the same key, and of one key there are few.
const DEPTH_MAX: u8 = 32;
const EMPTY: u32 = 0;
/// The tag of an empty slot.
const NO_TAG: u8 = 0;

mod build;

pub use build::{Entries, Parts};

/// Finds numbers (1 to `u32::MAX`) by the hash of what they stand for.
#[derive(Debug)]
pub struct Index {
    /// `directory[hash >> (64 - depth)]` is the bucket's place in `buckets`.
    directory: Vec<u32>,
    buckets: Vec<Bucket>,
    depth: u8,
    len: usize,
}

#[derive(Debug)]
struct Bucket {
    /// How many of the hash's first bits all numbers in here share.
    depth: u8,
    used: u16,
    /// Eight bits of the hash, so that a look at the key itself is rare.
    tags: Box<[u8; BUCKET_SLOTS]>,
    numbers: Box<[u32; BUCKET_SLOTS]>,
}

/// What a bucket needs of a hash.
#[derive(Clone, Copy)]
struct Spot {
    /// The slot at which the search begins.
    home: usize,
    /// Never [`NO_TAG`].
    tag: u8,
}

impl Spot {
    /// Home slot and tag come from different bits, which the directory does not use either (up to a
    /// depth of 24).
    #[expect(clippy::cast_possible_truncation, reason = "eight bits are what is wanted")]
    fn of(hash: u64) -> Self {
        Self { home: hash as usize % BUCKET_SLOTS, tag: ((hash >> 32) as u8).max(1) }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty index; its first bucket comes with the first number.
    #[must_use]
    pub fn new() -> Self {
        Self { directory: Vec::new(), buckets: Vec::new(), depth: 0, len: 0 }
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers that may have this hash; the caller compares what they stand for.
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let bucket = self.bucket_place(hash).and_then(|place| self.buckets.get(place));
        bucket.into_iter().flat_map(move |bucket| bucket.candidates(Spot::of(hash)))
    }

    /// Adds a number; `hash_of` gives the hash of any number that is already in. `warm` is told
    /// ahead which numbers will be asked for in a row, so that it can fetch what they stand for
    /// into the processor's caches all at once instead of one by one.
    pub fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64, warm: impl Fn(&[u32])) {
        assert_ne!(number, EMPTY, "0 marks an empty slot");
        if self.buckets.is_empty() {
            self.buckets.push(Bucket::new(0));
            self.directory.push(0);
        }
        loop {
            let place = self.bucket_place(hash).unwrap_or_else(|| unreachable!("the directory covers every hash"));
            let bucket = bucket_mut(&mut self.buckets, place);
            if bucket.has_room() {
                bucket.insert(Spot::of(hash), number);
                break;
            }
            self.split(place, hash, &hash_of, &warm);
        }
        self.len = self.len.saturating_add(1);
    }

    /// Takes a number out; `false` if it was not in.
    pub fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) -> bool {
        // There is no bucket as long as nothing was ever in.
        let Some(place) = self.bucket_place(hash) else { return false };
        let removed = bucket_mut(&mut self.buckets, place).remove(Spot::of(hash), number, hash_of);
        self.len = self.len.saturating_sub(usize::from(removed));
        removed
    }

    /// Bytes that the index takes, for figures about memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let bucket = size_of::<Bucket>().saturating_add(BUCKET_SLOTS.saturating_mul(5));
        self.directory.capacity().saturating_mul(4).saturating_add(self.buckets.len().saturating_mul(bucket))
    }

    fn bucket_place(&self, hash: u64) -> Option<usize> {
        self.directory.get(prefix(hash, self.depth)).map(|place| *place as usize)
    }

    /// Moves about half of a bucket's numbers into a new one, doubling the directory if need be.
    fn split(&mut self, place: usize, hash: u64, hash_of: &impl Fn(u32) -> u64, warm: &impl Fn(&[u32])) {
        let one_place = u32::try_from(self.buckets.len()).unwrap_or_else(|_| unreachable!("there are fewer buckets than numbers"));
        let old = bucket_mut(&mut self.buckets, place);
        assert!(old.depth < DEPTH_MAX, "hundreds of numbers have hashes that are all but the same");
        let depth = old.depth.saturating_add(1);
        let numbers = old.take();
        warm(&numbers);
        let (mut zero, mut one) = (Bucket::new(depth), Bucket::new(depth));
        for number in numbers {
            let hash = hash_of(number);
            let half = if prefix(hash, depth) & 1 == 0 { &mut zero } else { &mut one };
            half.insert(Spot::of(hash), number);
        }
        *old = zero;
        if self.depth < depth {
            self.directory = self.directory.iter().flat_map(|place| [*place, *place]).collect();
            self.depth = depth;
        }
        self.buckets.push(one);
        self.point_to(one_place, (prefix(hash, depth) | 1, depth));
    }

    /// Points every directory entry under a prefix of `depth` bits to a bucket.
    fn point_to(&mut self, place: u32, (prefix, depth): (usize, u8)) {
        let span_bits = u32::from(self.depth.saturating_sub(depth));
        let span = 1_usize << span_bits;
        let first = prefix << span_bits;
        for entry in self.directory.iter_mut().skip(first).take(span) {
            *entry = place;
        }
    }
}

fn bucket_mut(buckets: &mut [Bucket], place: usize) -> &mut Bucket {
    buckets.get_mut(place).unwrap_or_else(|| unreachable!("the directory points to buckets"))
}

/// How many numbers a bucket of this depth takes before it splits.
fn capacity(depth: u8) -> u16 {
    if depth < DEPTH_FULL { BUCKET_FILL_MAX } else { BUCKET_USED_MAX }
}

impl Bucket {
    fn new(depth: u8) -> Self {
        Self { depth, used: 0, tags: zeros(), numbers: zeros() }
    }

    fn has_room(&self) -> bool {
        self.used < capacity(self.depth)
    }

    fn take(&self) -> Vec<u32> {
        self.numbers.iter().copied().filter(|number| *number != EMPTY).collect()
    }

    fn candidates(&self, spot: Spot) -> impl Iterator<Item = u32> + '_ {
        self.run(spot).map(|slot| self.number(slot))
    }

    /// The slots with this tag, from the home slot on and around the end, up to the first empty one.
    /// Only the tags are looked at: one line of the processor's cache, mostly.
    fn run(&self, spot: Spot) -> impl Iterator<Item = usize> + '_ {
        let used = self.probe(spot.home).take_while(|(_, tag)| *tag != NO_TAG);
        used.filter(move |(_, tag)| *tag == spot.tag).map(|(slot, _)| slot)
    }

    /// Slots from the home slot on, around the end, each with its tag.
    fn probe(&self, home: usize) -> impl Iterator<Item = (usize, u8)> + '_ {
        let (before, from_home) = self.tags.split_at(home);
        (home..).zip(from_home.iter().copied()).chain((0..).zip(before.iter().copied()))
    }

    /// The caller makes sure that there is room.
    fn insert(&mut self, spot: Spot, number: u32) {
        let empty = self.probe(spot.home).find(|(_, tag)| *tag == NO_TAG);
        let (slot, _) = empty.unwrap_or_else(|| unreachable!("a bucket has an empty slot"));
        self.set(slot, spot.tag, number);
        self.used = self.used.saturating_add(1);
    }

    fn number(&self, slot: usize) -> u32 {
        *self.numbers.get(slot).unwrap_or_else(|| unreachable!("slots run to the end of a bucket"))
    }

    fn set(&mut self, slot: usize, tag: u8, number: u32) {
        let (Some(tag_slot), Some(number_slot)) = (self.tags.get_mut(slot), self.numbers.get_mut(slot)) else {
            unreachable!("slots run to the end of a bucket")
        };
        *tag_slot = tag;
        *number_slot = number;
    }

    /// Removal closes the gap by moving later numbers of the same run back (Knuth, volume 3, 6.4 R),
    /// so that no marks of removed numbers pile up.
    fn remove(&mut self, spot: Spot, number: u32, hash_of: impl Fn(u32) -> u64) -> bool {
        let Some(mut gap) = self.run(spot).find(|slot| self.number(*slot) == number) else { return false };
        self.used = self.used.saturating_sub(1);
        let mut slot = gap;
        loop {
            slot = slot.wrapping_add(1) % BUCKET_SLOTS;
            let next = self.number(slot);
            if next == EMPTY {
                break;
            }
            let Spot { home, tag } = Spot::of(hash_of(next));
            if distance(home, slot) < distance(gap, slot) {
                continue;
            }
            self.set(gap, tag, next);
            gap = slot;
        }
        self.set(gap, NO_TAG, EMPTY);
        true
    }
}

/// An array that is made where it stays, not on the stack first.
fn zeros<T: Copy + Default>() -> Box<[T; BUCKET_SLOTS]> {
    let slots = vec![T::default(); BUCKET_SLOTS].into_boxed_slice();
    slots.try_into().unwrap_or_else(|_| unreachable!("it was made with so many slots"))
}

/// The first `depth` bits of a hash, 32 at most.
fn prefix(hash: u64, depth: u8) -> usize {
    let shift = 64_u32.saturating_sub(u32::from(depth));
    // Shifting by all 64 bits is what is left of a prefix of none.
    hash.checked_shr(shift).unwrap_or(0) as usize
}

/// How many slots from `from` forward to `to`, around the end.
fn distance(from: usize, to: usize) -> usize {
    to.wrapping_add(BUCKET_SLOTS).wrapping_sub(from) % BUCKET_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashSeed;

    const SEED: HashSeed = HashSeed(7, 11);

    fn hash_of(number: u32) -> u64 {
        SEED.hash(&number.to_le_bytes())
    }

    fn holds(index: &Index, number: u32) -> bool {
        index.candidates(hash_of(number)).any(|found| found == number)
    }

    #[test]
    fn every_number_is_found_while_the_table_grows() {
        let mut index = Index::new();
        for number in 1..=50_000 {
            assert!(!holds(&index, number));
            index.insert(hash_of(number), number, hash_of, |_| ());
        }
        assert!((1..=50_000).all(|number| holds(&index, number)));
        assert_eq!(index.len(), 50_000);
    }

    #[test]
    fn removed_numbers_are_gone_and_the_others_stay() {
        let mut index = Index::new();
        (1..=20_000).for_each(|number| index.insert(hash_of(number), number, hash_of, |_| ()));
        for number in (1..=20_000).step_by(2) {
            assert!(index.remove(hash_of(number), number, hash_of));
            assert!(!index.remove(hash_of(number), number, hash_of));
        }
        assert!((1..=20_000).all(|number| holds(&index, number) == (number % 2 == 0)));
        assert_eq!(index.len(), 10_000);
    }

    #[test]
    fn numbers_of_one_hash_live_side_by_side() {
        let mut index = Index::new();
        let same = |_: u32| hash_of(1);
        (1..=300).for_each(|number| index.insert(hash_of(1), number, same, |_| ()));
        let mut found: Vec<u32> = index.candidates(hash_of(1)).collect();
        found.sort_unstable();
        assert_eq!(found, (1..=300).collect::<Vec<u32>>());
        assert!(index.remove(hash_of(1), 150, same));
        assert!(!index.candidates(hash_of(1)).any(|number| number == 150));
    }

    #[test]
    fn a_number_costs_less_than_thirteen_bytes() {
        let mut index = Index::new();
        for number in 1..=200_000 {
            index.insert(hash_of(number), number, hash_of, |_| ());
            let costs = index.memory_bytes() / index.len();
            assert!(number < 50_000 || costs < 13, "{costs} bytes each at {number}");
        }
    }
}
