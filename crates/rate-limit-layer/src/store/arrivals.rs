//! A table of keys with a number each, for buckets in their compact form: 16 bytes a place, no
//! pointers, one memory access for most keys.
//!
//! Four places share a cache line, a bucket; a key stands in the bucket that its hash names, or, if
//! that was taken, in one of the next. The four are compared at once, without a branch for each:
//! nine keys in ten are found in their first bucket, so that the processor guesses right.
//!
//! A key that is full is as good as forgotten: its place goes to the next new key that comes by,
//! and it is left out when the table is made anew. That happens when [`LOAD_PERCENT`] of it is
//! taken; it is then as large as what is left asks for, with a quarter to spare: so a key has
//! between 19 and 24 bytes.

use domain::rate_limit::Moment;
use domain::rate_limit::leaky_bucket::Compact;

/// How much of a table is taken at most. Above, a search for a key that is not there takes long.
const LOAD_PERCENT: usize = 84;
/// Places in a bucket: one cache line.
const BUCKET: usize = 4;

/// The number of a key that no key has.
const NOBODY: u64 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; BUCKET],
    arrivals: [u64; BUCKET],
}

const EMPTY: Bucket = Bucket { keys: [NOBODY; BUCKET], arrivals: [Compact::FULL; BUCKET] };

impl Bucket {
    /// Where the key stands, counted from 0; [`BUCKET`] or more if it does not.
    #[inline]
    fn find(&self, key: u64) -> usize {
        let [one, two, three, four] = self.keys.map(|other| u32::from(other == key));
        (one | two << 1 | three << 2 | four << 3).trailing_zeros() as usize
    }
}

/// Which bucket, and which place in it.
type Place = (usize, usize);

/// The keys of one shard.
#[derive(Debug)]
pub(super) struct Arrivals {
    buckets: Box<[Bucket]>,
    /// Places that are taken, by keys that are full among others.
    taken_count: usize,
    keys_max: usize,
    /// No new attempt at making room before this moment.
    crowded_until: Moment,
}

impl Arrivals {
    pub(super) fn new(keys_max: usize) -> Self {
        Self { buckets: Box::default(), taken_count: 0, keys_max, crowded_until: Moment::ZERO }
    }

    #[inline]
    fn search(&self, key: u64) -> Option<Place> {
        let mut index = first_bucket(key, self.buckets.len());
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(index)?;
            let found = bucket.find(key);
            if found < BUCKET {
                return Some((index, found));
            }
            if bucket.find(NOBODY) < BUCKET {
                return None;
            }
            index = if index + 1 == self.buckets.len() { 0 } else { index + 1 };
        }
        None
    }

    /// The value of a key; one that is not there is put there, full. `None` if there is no room
    /// for it.
    #[inline]
    pub(super) fn entry(&mut self, key: u64, compact: Compact, now: Moment) -> Option<&mut u64> {
        let key = key.max(1);
        let (index, found) = match self.search(key) {
            Some(place) => place,
            None => self.insert(key, compact, now)?,
        };
        self.buckets.get_mut(index)?.arrivals.get_mut(found)
    }

    /// The value of a key; `None` if it is not there.
    pub(super) fn get(&self, key: u64) -> Option<u64> {
        let (index, found) = self.search(key.max(1))?;
        self.buckets.get(index)?.arrivals.get(found).copied()
    }

    #[cold]
    fn insert(&mut self, key: u64, compact: Compact, now: Moment) -> Option<Place> {
        let (index, found) = match self.free_place(key, compact, now) {
            Some(place) => place,
            None => {
                self.make_room(compact, now)?;
                self.free_place(key, compact, now)?
            }
        };
        let bucket = self.buckets.get_mut(index)?;
        let old = bucket.keys.get_mut(found)?;
        self.taken_count += usize::from(*old == NOBODY);
        *old = key;
        *bucket.arrivals.get_mut(found)? = Compact::FULL;
        Some((index, found))
    }

    /// A place that a search for the key would come by: the first whose key is full, otherwise one
    /// that nobody has, if the table may hold one more.
    fn free_place(&self, key: u64, compact: Compact, now: Moment) -> Option<Place> {
        let mut index = first_bucket(key, self.buckets.len());
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(index)?;
            let mut places = bucket.keys.iter().zip(bucket.arrivals);
            if let Some(found) = places.position(|(key, arrival)| *key != NOBODY && compact.is_full(arrival, now)) {
                return Some((index, found));
            }
            let found = bucket.find(NOBODY);
            if found < BUCKET {
                let may_grow = self.taken_count < taken_max(self.buckets.len()) && self.taken_count < self.keys_max;
                return may_grow.then_some((index, found));
            }
            index = if index + 1 == self.buckets.len() { 0 } else { index + 1 };
        }
        None
    }

    /// Forgets what is full, and grows if that is not enough. `None` if the keys are as many as
    /// may be; it is not tried again for a while then, so that a flood of new keys does not make
    /// every one of them pay for a walk through the table.
    fn make_room(&mut self, compact: Compact, now: Moment) -> Option<()> {
        if now < self.crowded_until {
            return None;
        }
        self.forget_full(compact, now);
        if self.taken_count < self.keys_max {
            return Some(());
        }
        self.crowded_until = now.plus_nanos(super::CROWDED_NS);
        None
    }

    /// Makes the table anew, without what is full.
    pub(super) fn forget_full(&mut self, compact: Compact, now: Moment) {
        let places = self.buckets.iter().flat_map(|bucket| bucket.keys.into_iter().zip(bucket.arrivals));
        let kept: Vec<(u64, u64)> = places.filter(|(key, arrival)| *key != NOBODY && !compact.is_full(*arrival, now)).collect();
        let spare = (kept.len() + kept.len() / 4 + 1).min(self.keys_max.max(1));
        let places_count = (spare.max(kept.len()) * 100).div_ceil(LOAD_PERCENT);
        self.buckets = vec![EMPTY; places_count.div_ceil(BUCKET)].into_boxed_slice();
        self.taken_count = kept.len();
        for (key, arrival) in kept {
            self.put_back(key, arrival);
        }
    }

    fn put_back(&mut self, key: u64, arrival: u64) {
        let buckets_count = self.buckets.len();
        let first = first_bucket(key, buckets_count);
        for index in (first..buckets_count).chain(0..first) {
            let Some(bucket) = self.buckets.get_mut(index) else { return };
            let free = bucket.find(NOBODY);
            if let (Some(free_key), Some(free_arrival)) = (bucket.keys.get_mut(free), bucket.arrivals.get_mut(free)) {
                (*free_key, *free_arrival) = (key, arrival);
                return;
            }
        }
    }

    /// Keys that are remembered, those that are full among them.
    pub(super) fn count(&self) -> usize {
        self.taken_count
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }
}

fn taken_max(buckets_count: usize) -> usize {
    buckets_count * BUCKET * LOAD_PERCENT / 100
}

/// Spreads keys evenly over any number of buckets. The top bits have chosen the shard already.
#[inline]
fn first_bucket(key: u64, buckets_count: usize) -> usize {
    let wide = u128::from(key.rotate_left(super::SHARD_BITS)) * buckets_count as u128;
    #[expect(clippy::cast_possible_truncation, reason = "below the number of buckets")]
    let index = (wide >> 64) as usize;
    index
}
