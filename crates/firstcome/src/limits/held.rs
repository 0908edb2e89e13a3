//! Reservations and leases, held under an id until they expire. Bounded; expired ones free capacity.

use std::collections::{BTreeSet, HashMap};

use domain::rate_limit::Moment;
use parking_lot::{Mutex, MutexGuard};

/// Values under ids that are unique to this process.
#[derive(Debug)]
pub(super) struct Held<T> {
    random: u64,
    held_max: usize,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    next: u64,
    by_number: HashMap<u64, (Moment, T)>,
    /// The ids ordered by expiry.
    by_end: BTreeSet<(Moment, u64)>,
}

impl<T> Held<T> {
    pub(super) fn new(random: u64, held_max: usize) -> Self {
        let kept = Kept { next: 0, by_number: HashMap::new(), by_end: BTreeSet::new() };
        Self { random, held_max, kept: Mutex::new(kept) }
    }

    /// Stores a value until `ends_at` and returns its id; returns the value if the capacity is used up.
    pub(super) fn keep(&self, thing: T, now: Moment, ends_at: Moment) -> Result<String, T> {
        let mut kept = self.kept();
        kept.drop_ended(now);
        if self.held_max <= kept.by_number.len() {
            return Err(thing);
        }
        let number = kept.next;
        kept.next += 1;
        kept.by_number.insert(number, (ends_at, thing));
        kept.by_end.insert((ends_at, number));
        Ok(format!("{:016x}-{number:x}", self.random))
    }

    /// Removes and returns the value of an id.
    pub(super) fn take(&self, id: &str) -> Option<T> {
        let (random, number) = id.split_once('-')?;
        if u64::from_str_radix(random, 16).ok()? != self.random {
            return None;
        }
        let number = u64::from_str_radix(number, 16).ok()?;
        let mut kept = self.kept();
        let (ends_at, thing) = kept.by_number.remove(&number)?;
        kept.by_end.remove(&(ends_at, number));
        Some(thing)
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock()
    }
}

impl<T> Kept<T> {
    /// A few at a time, so that no request waits long for the cleanup.
    fn drop_ended(&mut self, now: Moment) {
        for _ in 0..8 {
            let Some((ends_at, number)) = self.by_end.first().copied().filter(|(ends_at, _)| *ends_at <= now) else { return };
            self.by_end.remove(&(ends_at, number));
            self.by_number.remove(&number);
        }
    }
}
