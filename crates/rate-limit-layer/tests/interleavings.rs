//! The counters under every order in which two threads can take the locks, tried one by one by an
//! interleaving checker (loom), which also finds threads that wait for each other.
//!
//! The very source of the store is compiled here, with the checker's locks in the place of the
//! standard library's.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, dead_code, reason = "the store's source is a module here, and not all of it is used")]

mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

#[path = "../src/store/mod.rs"]
mod store;

use domain::hash::HashSeed;
use domain::rate_limit::{Algorithm, Moment, Policy, Settings};
use loom::sync::Arc;
use loom::thread;
use store::several::{Ask, check_all};
use store::{AtCap, Store, StoreOptions};

/// Two shards, so that two keys can have a lock each. The seed is fixed: the checker repeats a run
/// to try another order, and everything else must be as before.
fn store(algorithm: Algorithm, limit: u32, keys_max: usize) -> Store {
    let settings = Settings::per_second(algorithm, limit);
    let settings = if algorithm.has_burst() { settings.with_burst(limit - 1) } else { settings };
    let options = StoreOptions { keys_max: keys_max.try_into().unwrap(), at_cap: AtCap::Refuse };
    Store::with_shards(Policy::new(settings).unwrap(), options, Moment::ZERO, 1, HashSeed(1, 2))
}

/// How many of so many checks at time 0 conform.
fn passes(store: &Store, name: &str, count: u32) -> u32 {
    let key = store.key(name.as_bytes());
    (0..count).map(|_| u32::from(store.check(key, Moment::ZERO, 1).is_ok_and(|decision| decision.conforms()))).sum()
}

fn remaining(store: &Store, name: &str) -> u32 {
    store.check(store.key(name.as_bytes()), Moment::ZERO, 0).map_or(0, |decision| decision.remaining)
}

#[test]
fn two_threads_on_one_key_never_pass_more_than_one_would() {
    for algorithm in Algorithm::ALL {
        loom::model(move || {
            let store = Arc::new(store(algorithm, 3, 8));
            let other = Arc::clone(&store);
            let theirs = thread::spawn(move || passes(&other, "ann", 2));
            let ours = passes(&store, "ann", 2);
            assert_eq!(ours + theirs.join().unwrap(), 3, "{algorithm:?}");
            assert_eq!(remaining(&store, "ann"), 0);
        });
    }
}

fn both_pass(one: &Store, other: &Store) -> bool {
    let ask = |store, name: &[u8]| Ask { store, key: Store::key(store, name), cost: 1 };
    check_all(&[ask(one, b"ann"), ask(other, b"ann")], Moment::ZERO)
        .is_ok_and(|decisions| decisions.iter().all(|decision| decision.conforms()))
}

#[test]
fn several_keys_pass_together_or_not_at_all_and_nobody_waits_for_ever() {
    for algorithm in [Algorithm::LeakyBucket, Algorithm::FixedWindow] {
        loom::model(move || {
            let (day, second) = (Arc::new(store(algorithm, 5, 8)), Arc::new(store(algorithm, 1, 8)));
            let (their_day, their_second) = (Arc::clone(&day), Arc::clone(&second));
            let theirs = thread::spawn(move || both_pass(&their_second, &their_day));
            let ours = both_pass(&day, &second);
            assert!(ours != theirs.join().unwrap(), "one of the two has the last unit");
            assert_eq!((remaining(&day, "ann"), remaining(&second, "ann")), (4, 0), "the one that was refused took nothing");
        });
    }
}

#[test]
fn a_refused_call_for_several_takes_nothing_that_a_single_one_wants() {
    loom::model(|| {
        let (open, closed) = (Arc::new(store(Algorithm::LeakyBucket, 1, 8)), Arc::new(store(Algorithm::LeakyBucket, 1, 8)));
        assert_eq!(passes(&closed, "ann", 1), 1);
        let (their_open, their_closed) = (Arc::clone(&open), Arc::clone(&closed));
        let theirs = thread::spawn(move || both_pass(&their_open, &their_closed));
        assert_eq!(passes(&open, "ann", 1), 1, "no refused call ever holds the unit, not even for a moment");
        assert!(!theirs.join().unwrap());
    });
}

#[test]
fn two_new_keys_for_one_place_never_both_count_as_remembered() {
    for algorithm in [Algorithm::LeakyBucket, Algorithm::SlidingWindowLog] {
        loom::model(move || {
            // One place in each of the two shards; these two names fall to the same one.
            let store = Arc::new(store(algorithm, 1, 2));
            let names =
                ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal"].map(|name| (name, store.index_of(store.key(name.as_bytes()))));
            let same: Vec<&str> = names.iter().filter(|(_, shard)| *shard == names[0].1).map(|(name, _)| *name).collect();
            let [one, two, ..] = same[..] else { panic!("no two names share a shard") };
            let other = Arc::clone(&store);
            let two = two.to_owned();
            let theirs = thread::spawn(move || passes(&other, &two, 2));
            let ours = passes(&store, one, 2);
            assert_eq!(ours + theirs.join().unwrap(), 1, "{algorithm:?}");
        });
    }
}
