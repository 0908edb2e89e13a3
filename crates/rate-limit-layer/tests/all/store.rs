//! The counters in memory: the same answers as the rules, also together, at the cap, and under
//! real threads.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::rate_limit::in_flight::InFlight;
use proptest::prelude::*;
use proptest::sample::select;
use rate_limit_layer::{Algorithm, Ask, AtCap, InFlightStore, KeysFull, Mode, Moment, Policy, Settings, Store, StoreOptions, check_all};

const SECOND: u64 = 1_000_000_000;

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

fn options(keys_max: usize, at_cap: AtCap) -> StoreOptions {
    StoreOptions { keys_max: NonZeroUsize::new(keys_max).unwrap(), at_cap }
}

fn store(settings: Settings) -> Store {
    Store::new(Policy::new(settings).unwrap(), StoreOptions::default(), Moment::ZERO)
}

fn key_names() -> impl Strategy<Value = String> {
    (0..6_u8).prop_map(|number| format!("key{number}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_store_answers_as_the_rules(
        algorithm in select(Algorithm::ALL.to_vec()),
        quota in prop_oneof![1..5_u32, Just(9_973)],
        burst in 0..4_u32,
        steps in prop::collection::vec((key_names(), 0..2 * SECOND, 0..4_u32, 0..8_u8), 1..80),
    ) {
        let burst = if algorithm.has_burst() { burst } else { 0 };
        let policy = Policy::new(Settings::per_second(algorithm, quota).with_burst(burst)).unwrap();
        let store = Store::new(policy, StoreOptions::default(), Moment::ZERO);
        let (mut states, mut now) = (BTreeMap::new(), 0);
        for (name, after, cost, what) in steps {
            now += after;
            let key = store.key(name.as_bytes());
            let old = states.remove(&name).unwrap_or_else(|| policy.full());
            let new = match what {
                0 => { store.refund(key, at(now), cost); policy.refund(old, at(now), cost) }
                1 => { store.reset(key, at(now)); policy.full() }
                2 => { store.forget_full(at(now)); old }
                3 => {
                    let (decision, new) = policy.check(old, at(now), cost);
                    prop_assert_eq!(store.admit(key, at(now), cost), Ok(decision.verdict));
                    new
                }
                _ => {
                    let (decision, new) = policy.check(old, at(now), cost);
                    prop_assert_eq!(store.check(key, at(now), cost), Ok(decision));
                    new
                }
            };
            prop_assert_eq!(store.check(key, at(now), 0).unwrap(), policy.decide(&new, at(now), 0));
            states.insert(name, new);
        }
    }

    #[test]
    fn several_keys_pass_together_or_not_at_all(
        algorithms in prop::collection::vec(select(Algorithm::ALL.to_vec()), 1..4),
        calls in prop::collection::vec(prop::collection::vec((0..3_usize, key_names(), 0..3_u32), 1..5), 1..30),
    ) {
        let stores: Vec<Store> = algorithms.iter().map(|algorithm| store(Settings::per_minute(*algorithm, 4))).collect();
        for call in calls {
            let asks: Vec<Ask<'_>> = call.iter().map(|(index, name, cost)| {
                let store = &stores[index % stores.len()];
                Ask { store, key: store.key(name.as_bytes()), cost: *cost }
            }).collect();
            let look = |ask: &Ask<'_>| ask.store.check(ask.key, Moment::ZERO, 0).unwrap().remaining;
            let before: Vec<u32> = asks.iter().map(look).collect();
            let decisions = check_all(&asks, Moment::ZERO).unwrap();
            let allowed = decisions.iter().all(|decision| decision.is_allowed());
            for ((ask, before), decision) in asks.iter().zip(before).zip(&decisions) {
                let sum: u32 = asks.iter().filter(|other| other.key == ask.key && std::ptr::eq(other.store, ask.store)).map(|ask| ask.cost).sum();
                prop_assert_eq!(look(ask), if allowed { before - sum } else { before });
                prop_assert_eq!(decision.remaining, look(ask));
            }
        }
    }
}

#[test]
fn a_clock_that_runs_backwards_is_taken_as_the_last_moment() {
    for algorithm in Algorithm::ALL {
        let store = store(Settings::per_second(algorithm, 1));
        let key = store.key(b"ann");
        assert!(store.check(key, at(10 * SECOND), 1).unwrap().conforms());
        assert!(store.check(key, at(13 * SECOND), 0).unwrap().conforms());
        let early = store.check(key, at(0), 1).unwrap();
        assert!(early.conforms() && early.at == at(13 * SECOND), "{algorithm:?}");
        assert!(!store.check(key, at(12 * SECOND), 1).unwrap().conforms(), "{algorithm:?}");
    }
}

#[test]
fn at_the_cap_a_new_key_is_refused_or_let_pass_and_the_others_notice_nothing() {
    for algorithm in Algorithm::ALL {
        for at_cap in [AtCap::Refuse, AtCap::LetPass] {
            let policy = Policy::new(Settings::per_second(algorithm, 2).with_burst(if algorithm.has_burst() { 1 } else { 0 })).unwrap();
            let store = Store::new(policy, options(1_000, at_cap), Moment::ZERO);
            let known = store.key(b"known");
            assert_eq!(store.check(known, at(0), 1).unwrap().remaining, 1);
            for number in 0..20_000_u32 {
                let flood = store.check(store.key(&number.to_le_bytes()), at(0), 1);
                assert!(flood.is_ok_and(|decision| decision.conforms()) || at_cap == AtCap::Refuse);
            }
            assert!(store.keys_count() <= 1_100, "{}", store.keys_count());
            let new = store.check(store.key(b"new"), at(0), 1);
            assert_eq!(new.is_err(), at_cap == AtCap::Refuse);
            assert_eq!(store.check(known, at(0), 1).unwrap().remaining, 0);
            assert!(!store.check(known, at(0), 1).unwrap().conforms());
            assert!(store.check(store.key(b"new"), at(3 * SECOND), 1).unwrap().conforms(), "there is room once keys are full again");
        }
    }
}

#[test]
fn where_only_one_of_two_new_keys_fits_neither_takes() {
    for algorithm in Algorithm::ALL {
        let policy = Policy::new(Settings::per_second(algorithm, 1)).unwrap();
        // One place in each of 64 shards.
        let store = Store::new(policy, options(64, AtCap::Refuse), Moment::ZERO);
        let mut refused_count = 0;
        for number in 0..1_000_u64 {
            let (now, names) = (at(number * 10 * SECOND), [number.to_le_bytes(), (!number).to_le_bytes()]);
            let asks = names.map(|name| Ask { store: &store, key: store.key(&name), cost: 1 });
            let passed = check_all(&asks, now).is_ok_and(|decisions| decisions.iter().all(|decision| decision.conforms()));
            refused_count += u32::from(!passed);
            for ask in asks {
                let look = store.check(ask.key, now, 0).unwrap();
                assert_eq!(look.remaining, u32::from(!passed), "{algorithm:?}");
            }
        }
        assert!(0 < refused_count && refused_count < 200, "{algorithm:?}: {refused_count}");
    }
}

#[test]
fn full_keys_are_forgotten_and_their_memory_comes_back() {
    for algorithm in Algorithm::ALL {
        let store = store(Settings::per_second(algorithm, 1));
        let empty = store.bytes();
        for number in 0..100_000_u32 {
            store.check(store.key(&number.to_le_bytes()), at(0), 1).unwrap();
        }
        assert_eq!(store.keys_count(), 100_000);
        assert!(empty < store.bytes());
        store.forget_full(at(10 * SECOND));
        assert_eq!(store.keys_count(), 0);
        assert!(store.bytes() < empty + 100_000, "{algorithm:?}: {} and {empty}", store.bytes());
    }
}

#[test]
fn a_bucket_takes_24_bytes_a_key_at_most() {
    let settings = Settings::per_minute(Algorithm::LeakyBucket, 1);
    let store = Store::new(Policy::new(settings).unwrap(), options(2_000_000, AtCap::Refuse), Moment::ZERO);
    for number in 0..1_000_000_u32 {
        store.check(store.key(&number.to_le_bytes()), at(0), 1).unwrap();
    }
    assert_eq!(store.keys_count(), 1_000_000);
    assert!(store.bytes() <= 24 * 1_000_000, "{}", store.bytes());
}

#[test]
fn an_override_is_for_one_key_and_ends() {
    for algorithm in Algorithm::ALL {
        let store = store(Settings::per_minute(algorithm, 1));
        let (vip, other) = (store.key(b"vip"), store.key(b"other"));
        store.check(vip, at(0), 1).unwrap();
        let numbers = Settings { burst: if algorithm.has_burst() { 4 } else { 0 }, ..Settings::per_minute(algorithm, 5) };
        store.set_override(vip, at(0), Some(numbers)).unwrap();
        assert_eq!(store.check(vip, at(0), 1).unwrap().remaining, 4, "{algorithm:?}");
        assert_eq!(store.check(other, at(0), 1).unwrap().remaining, 0);
        store.set_override(vip, at(0), None).unwrap();
        assert_eq!(store.check(vip, at(0), 1).unwrap().remaining, 0);
        assert!(store.set_override(vip, at(0), Some(Settings::per_minute(algorithm, 0))).is_err());
    }
}

#[test]
fn what_was_made_full_since_gets_nothing_back_when_it_is_settled() {
    for algorithm in Algorithm::ALL {
        let burst = if algorithm.has_burst() { 9 } else { 0 };
        let store = store(Settings { burst, ..Settings::per_minute(algorithm, if burst == 0 { 10 } else { 1 }) });
        let key = store.key(b"ann");
        let numbers = Settings { burst, ..Settings::per_minute(algorithm, if burst == 0 { 10 } else { 1 }) };
        for forgets in [None, Some(Some(numbers)), Some(None)] {
            let hold = store.reserve(key, at(0), 10, 30 * SECOND).unwrap().1.unwrap();
            match forgets {
                None => store.reset(key, at(0)),
                Some(numbers) => store.set_override(key, at(0), numbers).unwrap(),
            }
            assert_eq!(store.check(key, at(0), 10).unwrap().remaining, 0, "{algorithm:?}");
            store.settle(hold, at(0), 0).unwrap();
            assert!(!store.check(key, at(0), 1).unwrap().conforms(), "{algorithm:?}: given back twice");
            // What is reserved after that comes back as ever.
            store.reset(key, at(0));
            let hold = store.reserve(key, at(0), 10, 30 * SECOND).unwrap().1.unwrap();
            store.settle(hold, at(0), 4).unwrap();
            assert_eq!(store.check(key, at(0), 0).unwrap().remaining, 6, "{algorithm:?}");
            store.reset(key, at(0));
        }
    }
}

#[test]
fn a_debt_is_kept_whole_however_large() {
    // The second pace has no compact form; both answer as the rules.
    for quota in [1_000, 9_973] {
        let policy = Policy::new(Settings::per_minute(Algorithm::LeakyBucket, quota).with_burst(999)).unwrap();
        let store = Store::new(policy, StoreOptions::default(), Moment::ZERO);
        let key = store.key(b"ann");
        let (_, reserved, reservation) = policy.reserve(policy.full(), at(0), 10, SECOND);
        store.settle(store.reserve(key, at(0), 10, SECOND).unwrap().1.unwrap(), at(0), 50_000).unwrap();
        let owed = policy.settle(reserved, &reservation.unwrap(), at(0), 50_000).unwrap();
        for seconds in [0, 60, 240] {
            let found = store.check(key, at(seconds * SECOND), 1).unwrap();
            assert_eq!(found, policy.check(owed.clone(), at(seconds * SECOND), 1).0);
            assert!(!found.conforms(), "{quota}: paid back after {seconds} s");
        }
    }
}

#[test]
fn a_hold_is_settled_once_and_in_time() {
    let store = store(Settings::per_minute(Algorithm::TokenBucket, 10).with_burst(9));
    let key = store.key(b"ann");
    let (decision, hold) = store.reserve(key, at(0), 8, 30 * SECOND).unwrap();
    assert_eq!(decision.remaining, 2);
    store.settle(hold.unwrap(), at(0), 3).unwrap();
    assert_eq!(store.check(key, at(0), 0).unwrap().remaining, 7);
    let (_, late) = store.reserve(key, at(0), 7, SECOND).unwrap();
    assert!(store.settle(late.unwrap(), at(SECOND), 0).is_err());
    assert!(store.reserve(key, at(SECOND), 9, SECOND).unwrap().1.is_none());
}

#[test]
fn four_threads_pass_exactly_what_one_would() {
    for algorithm in Algorithm::ALL {
        let store = store(Settings { burst: if algorithm.has_burst() { 999 } else { 0 }, ..Settings::per_minute(algorithm, 1_000) });
        let other = self::store(Settings { burst: if algorithm.has_burst() { 699 } else { 0 }, ..Settings::per_minute(algorithm, 700) });
        let (passed, both) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, other, passed, both) = (&store, &other, &passed, &both);
                scope.spawn(move || {
                    for _ in 0..500 {
                        let (one, two) =
                            (Ask { store, key: store.key(b"ann"), cost: 1 }, Ask { store: other, key: other.key(b"ann"), cost: 1 });
                        let asks = if thread % 2 == 0 { [one, two] } else { [two, one] };
                        both.fetch_add(
                            u32::from(check_all(&asks, at(0)).unwrap().iter().all(|decision| decision.conforms())),
                            Ordering::Relaxed,
                        );
                        passed.fetch_add(u32::from(store.check(store.key(b"ann"), at(0), 1).unwrap().conforms()), Ordering::Relaxed);
                    }
                });
            }
        });
        let both = both.into_inner();
        assert_eq!(passed.into_inner() + both, 1_000, "{algorithm:?}");
        assert_eq!(other.check(other.key(b"ann"), at(0), 0).unwrap().remaining, 700 - both);
    }
}

#[test]
fn places_in_flight_come_back_and_keys_are_bounded() {
    let store = InFlightStore::new(InFlight::new(1, 30 * SECOND, Mode::Enforce).unwrap(), options(256, AtCap::Refuse));
    let ann = store.key(b"ann");
    let (_, place) = store.start(ann, at(0)).unwrap();
    assert!(store.start(ann, at(0)).unwrap().1.is_none());
    assert!(store.end(place.unwrap(), at(1)));
    assert_eq!(store.keys_count(), 0, "nothing is in flight, nothing is remembered");
    let (_, place) = store.start(ann, at(1)).unwrap();
    assert!(!store.end(place.unwrap(), at(31 * SECOND)), "lost to the timeout");
    let refused =
        (0..5_000_u32).filter(|number| store.start(store.key(&number.to_le_bytes()), at(31 * SECOND)).is_err_and(|KeysFull| true)).count();
    assert!(4_700 < refused && store.keys_count() <= 256);
}
