//! A limit on requests in flight, shared fairly between callers.
//!
//! A caller may have at most a fixed multiple of the free capacity in flight: the dynamic threshold of
//! Choudhury and Hahne (Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998). A
//! single caller gets eight ninths of the capacity; two greedy callers get eight seventeenths each. As
//! long as the number of callers is below an eighth of the capacity, a new caller is admitted even when
//! all others use their full share. The number of callers need not be known or configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many requests a caller may have in flight for each one that could still be admitted.
const SHARE_PER_FREE: u32 = 8;

/// Counts the requests in flight of one caller.
#[derive(Debug, Default)]
pub struct OpenRequests(AtomicU32);

/// A limit on the requests in flight of all callers together.
#[derive(Debug)]
pub struct Admission {
    all: Arc<OpenRequests>,
    capacity: u32,
}

/// The right to have one request in flight, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    all: Arc<OpenRequests>,
    own: Arc<OpenRequests>,
    /// The end user's own count; all end users together are one caller.
    member: Option<Arc<OpenRequests>>,
}

impl Admission {
    /// Admits at most `capacity` requests at once.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { all: Arc::default(), capacity }
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.all.count()
    }

    /// Whether no caller at all would be admitted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity <= self.all.count()
    }

    /// A permit for a caller, if it is within its share.
    #[must_use]
    pub fn acquire(&self, own: &Arc<OpenRequests>) -> Option<Permit> {
        // Counts first and compares then, so that two requests at once never both get the last
        // permit; dropping the permit takes the count back.
        let before = self.all.0.fetch_add(1, Ordering::Relaxed);
        let own_before = own.0.fetch_add(1, Ordering::Relaxed);
        let permit = Permit { all: Arc::clone(&self.all), own: Arc::clone(own), member: None };
        let free = self.capacity.saturating_sub(before);
        (own_before < free.saturating_mul(SHARE_PER_FREE)).then_some(permit)
    }

    /// The same for an end user: all end users are one caller, and each has a fixed limit of its own.
    #[must_use]
    pub fn acquire_within(&self, own: &Arc<OpenRequests>, member: &Arc<OpenRequests>, member_max: u32) -> Option<Permit> {
        let mut permit = self.acquire(own)?;
        permit.member = Some(Arc::clone(member));
        (member.0.fetch_add(1, Ordering::Relaxed) < member_max).then_some(permit)
    }
}

impl OpenRequests {
    /// The number of requests.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
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

    fn fill(admission: &Admission, own: &Arc<OpenRequests>) -> Vec<Permit> {
        std::iter::from_fn(|| admission.acquire(own)).collect()
    }

    #[test]
    fn one_caller_gets_eight_ninths_and_a_new_caller_is_still_admitted() {
        let admission = Admission::new(900);
        let (greedy, other) = (Arc::default(), Arc::default());
        let held = fill(&admission, &greedy);
        assert_eq!(held.len(), 800);
        assert!(admission.acquire(&other).is_some());
    }

    #[test]
    fn two_greedy_callers_end_with_equal_shares() {
        let admission = Admission::new(1_700);
        let (early, late) = (Arc::default(), Arc::default());
        let mut held = fill(&admission, &early);
        let mut late_held = Vec::new();
        // As requests are answered, the earlier caller falls back to its share.
        for _ in 0..20_000 {
            late_held.extend(admission.acquire(&late));
            drop(held.pop());
            held.extend(admission.acquire(&early));
        }
        let (early, late) = (held.len(), late_held.len());
        assert!(early.abs_diff(late) <= 2 && (798..=802).contains(&late), "{early} and {late}");
    }

    #[test]
    fn an_end_user_has_a_limit_of_its_own() {
        let admission = Admission::new(900);
        let (users, one, other) = (Arc::default(), Arc::default(), Arc::default());
        let held: Vec<Permit> = std::iter::from_fn(|| admission.acquire_within(&users, &one, 8)).collect();
        assert_eq!((held.len(), admission.in_flight(), one.count()), (8, 8, 8));
        assert!(admission.acquire_within(&users, &other, 8).is_some());
        drop(held);
        assert_eq!((admission.in_flight(), users.count(), one.count(), other.count()), (0, 0, 0, 0));
    }

    #[test]
    fn permits_are_returned_and_never_exceed_the_capacity() {
        let admission = Admission::new(2);
        let owns: Vec<Arc<OpenRequests>> = (0..5).map(|_| Arc::default()).collect();
        let held: Vec<Permit> = owns.iter().filter_map(|own| admission.acquire(own)).collect();
        assert_eq!((held.len(), admission.in_flight(), admission.is_full()), (2, 2, true));
        drop(held);
        assert_eq!((admission.in_flight(), owns.iter().map(|own| own.count()).sum::<u32>()), (0, 0));
    }
}
