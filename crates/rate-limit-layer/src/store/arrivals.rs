//! A table of keys with a number each, for buckets in their compact form: 16 bytes a place, no
//! pointers, one memory access for most keys.
//!
//! Open addressing with linear probing. A key whose bucket is full is as good as forgotten: its
//! place goes to the next new key that comes by, and it is left out when the table is made anew.
//! The table is made anew when [`LOAD_PERCENT`] of it is taken, and is then as large as what is
//! left asks for, with a quarter to spare: so a key has between 19 and 24 bytes.

use domain::rate_limit::Moment;
use domain::rate_limit::leaky_bucket::Compact;

/// How much of a table is taken at most. Above, a search for a key that is not there takes long.
const LOAD_PERCENT: usize = 84;
/// The smallest table.
const PLACES_MIN: usize = 8;

/// The number of a key that no key has.
const NOBODY: u64 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Place {
    key: u64,
    arrival: u64,
}

/// The keys of one shard.
#[derive(Debug)]
pub(super) struct Arrivals {
    places: Box<[Place]>,
    /// Places that are taken, by keys that are full among others.
    taken_count: usize,
    keys_max: usize,
    /// No new attempt at making room before this moment.
    crowded_until: Moment,
}

impl Arrivals {
    pub(super) fn new(keys_max: usize) -> Self {
        Self { places: Box::default(), taken_count: 0, keys_max, crowded_until: Moment::ZERO }
    }

    /// The place of a key, or the one that it may take; `None` if there is none to take.
    #[inline]
    fn search(&self, key: u64, compact: Compact, now: Moment) -> Result<usize, Option<usize>> {
        let mut free = None;
        let mut index = first_place(key, self.places.len());
        while let Some(place) = self.places.get(index) {
            if place.key == key {
                return Ok(index);
            }
            if place.key == NOBODY {
                let may_grow = self.taken_count < taken_max(self.places.len()) && self.taken_count < self.keys_max;
                return Err(free.or_else(|| may_grow.then_some(index)));
            }
            if free.is_none() && compact.is_full(place.arrival, now) {
                free = Some(index);
            }
            index += 1;
            if index == self.places.len() {
                index = 0;
            }
        }
        Err(None)
    }

    /// The value of a key and where it stands; a key that is not there is put there, full. `None`
    /// if there is no room for it.
    #[inline]
    pub(super) fn entry(&mut self, key: u64, compact: Compact, now: Moment) -> Option<&mut u64> {
        let key = key.max(1);
        let index = match self.search(key, compact, now) {
            Ok(index) => index,
            Err(free) => self.insert(key, free, compact, now)?,
        };
        self.places.get_mut(index).map(|place| &mut place.arrival)
    }

    /// The value of a key; `None` if it is not there.
    pub(super) fn get(&self, key: u64, compact: Compact, now: Moment) -> Option<u64> {
        let index = self.search(key.max(1), compact, now).ok()?;
        self.places.get(index).map(|place| place.arrival)
    }

    #[cold]
    fn insert(&mut self, key: u64, free: Option<usize>, compact: Compact, now: Moment) -> Option<usize> {
        let index = match free {
            Some(index) => index,
            None => {
                self.make_room(compact, now)?;
                self.search(key, compact, now).err()??
            }
        };
        let place = self.places.get_mut(index)?;
        self.taken_count += usize::from(place.key == NOBODY);
        *place = Place { key, arrival: Compact::FULL };
        Some(index)
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
        let kept: Vec<Place> =
            self.places.iter().filter(|place| place.key != NOBODY && !compact.is_full(place.arrival, now)).copied().collect();
        let spare = (kept.len() + kept.len() / 4 + 1).min(self.keys_max.max(1));
        let places_count = (spare.max(kept.len()) * 100).div_ceil(LOAD_PERCENT).max(PLACES_MIN);
        self.places = vec![Place { key: NOBODY, arrival: Compact::FULL }; places_count].into_boxed_slice();
        self.taken_count = kept.len();
        for place in kept {
            let mut index = first_place(place.key, places_count);
            while self.places.get(index).is_some_and(|other| other.key != NOBODY) {
                index = (index + 1) % places_count;
            }
            if let Some(free) = self.places.get_mut(index) {
                *free = place;
            }
        }
    }

    /// Keys that are remembered, those that are full among them.
    pub(super) fn count(&self) -> usize {
        self.taken_count
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }
}

fn taken_max(places_count: usize) -> usize {
    places_count * LOAD_PERCENT / 100
}

/// Spreads keys evenly over any number of places. The top bits have chosen the shard already.
#[inline]
fn first_place(key: u64, places_count: usize) -> usize {
    let wide = u128::from(key.rotate_left(super::SHARD_BITS)) * places_count as u128;
    #[expect(clippy::cast_possible_truncation, reason = "below the number of places")]
    let index = (wide >> 64) as usize;
    index
}
