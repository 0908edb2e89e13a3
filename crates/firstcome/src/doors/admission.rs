//! How many requests are in flight, and how they are shared when more come than fit.
//!
//! A caller may have as many as a fixed multiple of the places that are still free: the dynamic
//! threshold of Choudhury and Hahne (Dynamic Queue Length Thresholds for Shared-Memory Packet
//! Switches, 1998). One caller alone gets eight ninths of the places; two that ask for all they
//! can get eight seventeenths each; and as long as there are fewer callers than an eighth of the
//! places, somebody who comes when others have filled all they may still finds one. Nobody has to
//! be counted or configured for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Places that a caller may have for each that is free.
const SHARE_PER_FREE: u32 = 8;

/// The requests in flight of one caller.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

/// The requests in flight of all callers together.
#[derive(Debug)]
pub struct Admission {
    taken: Arc<InFlight>,
    places: u32,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    all: Arc<InFlight>,
    own: Arc<InFlight>,
    /// One of many who count as one caller.
    member: Option<Arc<InFlight>>,
}

impl Admission {
    /// With this many places.
    #[must_use]
    pub fn new(places: u32) -> Self {
        Self { taken: Arc::default(), places }
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.count()
    }

    /// Whether nobody at all would get a place.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.places <= self.taken.count()
    }

    /// A place for a caller, if there is one within its share.
    #[must_use]
    pub fn enter(&self, own: &Arc<InFlight>) -> Option<Place> {
        // Taken first and looked at then, so that two who come at once never both get the last
        // place; dropping the place gives it back.
        let before = self.taken.0.fetch_add(1, Ordering::Relaxed);
        let own_before = own.0.fetch_add(1, Ordering::Relaxed);
        let place = Place { all: Arc::clone(&self.taken), own: Arc::clone(own), member: None };
        let free = self.places.saturating_sub(before);
        (own_before < free.saturating_mul(SHARE_PER_FREE)).then_some(place)
    }

    /// The same for one of many who count as one caller, and who may have so many places itself.
    #[must_use]
    pub fn enter_within(&self, own: &Arc<InFlight>, member: &Arc<InFlight>, most: u32) -> Option<Place> {
        let mut place = self.enter(own)?;
        place.member = Some(Arc::clone(member));
        (member.0.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl InFlight {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.fetch_sub(1, Ordering::Relaxed);
        self.own.0.fetch_sub(1, Ordering::Relaxed);
        if let Some(member) = &self.member {
            member.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(admission: &Admission, own: &Arc<InFlight>) -> Vec<Place> {
        std::iter::from_fn(|| admission.enter(own)).collect()
    }

    #[test]
    fn one_caller_gets_eight_ninths_and_a_newcomer_still_finds_a_place() {
        let admission = Admission::new(900);
        let (greedy, other) = (Arc::default(), Arc::default());
        let held = fill(&admission, &greedy);
        assert_eq!(held.len(), 800);
        assert!(admission.enter(&other).is_some());
    }

    #[test]
    fn two_callers_who_ask_for_all_end_with_as_much_each() {
        let admission = Admission::new(1_700);
        let (early, late) = (Arc::default(), Arc::default());
        let mut held = fill(&admission, &early);
        let mut late_held = Vec::new();
        // As answers are given, the earlier one falls back to its share.
        for _ in 0..20_000 {
            late_held.extend(admission.enter(&late));
            drop(held.pop());
            held.extend(admission.enter(&early));
        }
        let (early, late) = (held.len(), late_held.len());
        assert!(early.abs_diff(late) <= 2 && (798..=802).contains(&late), "{early} and {late}");
    }

    #[test]
    fn one_of_many_has_a_limit_of_its_own() {
        let admission = Admission::new(900);
        let (users, one, other) = (Arc::default(), Arc::default(), Arc::default());
        let held: Vec<Place> = std::iter::from_fn(|| admission.enter_within(&users, &one, 8)).collect();
        assert_eq!((held.len(), admission.taken(), one.count()), (8, 8, 8));
        assert!(admission.enter_within(&users, &other, 8).is_some());
        drop(held);
        assert_eq!((admission.taken(), users.count(), one.count(), other.count()), (0, 0, 0, 0));
    }

    #[test]
    fn places_are_given_back_and_never_exceeded() {
        let admission = Admission::new(2);
        let owns: Vec<Arc<InFlight>> = (0..5).map(|_| Arc::default()).collect();
        let held: Vec<Place> = owns.iter().filter_map(|own| admission.enter(own)).collect();
        assert_eq!((held.len(), admission.taken(), admission.is_full()), (2, 2, true));
        drop(held);
        assert_eq!((admission.taken(), owns.iter().map(|own| own.count()).sum::<u32>()), (0, 0));
    }
}
