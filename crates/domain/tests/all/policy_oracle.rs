//! The rules of policies against the oracle's naive statement of them: versions, conditions, overrides.
#![allow(clippy::unwrap_used)]

use domain::hash::HashSeed;
use domain::rate_limit::policies::{Command as Override, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::rate_limit::{Mode, Policy, Settings};
use domain::request::{Fingerprint, Keyed};
use domain::state::{Action, Command, Decision, Precondition, Record, State, decide};
use domain::types::{ActorId, LimitKey, Name, RequestId, RequestKey, Timestamp};
use domain::workload::{Kind, Listed};
use oracle::{Oracle, adapter};
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 2] = ["api", "night"];
const KEYS: [&str; 3] = ["ann", "bob", "cat"];

/// Numbers in range and out of range, of rates and of what is in flight.
fn numbers() -> impl Strategy<Value = Numbers> {
    let windows = select(&[0_u64, 1_000_000, 1_000_000_000, 366 * 86_400 * 1_000_000_000, 367 * 86_400 * 1_000_000_000]);
    let quotas = select(&[0_u32, 1, 5, 10_000, 10_001, 1_000_000_000, 1_000_000_001]);
    (quotas, windows, select(&[0_u32, 0, 0, 3, 100, 1_000_000_001])).prop_map(|(quota, window_ns, burst)| Numbers {
        quota,
        window_ns,
        burst,
    })
}

/// Settings that go together and such as do not, in range and out of it.
fn settings() -> impl Strategy<Value = PolicySettings> {
    let algorithm = select(LimitAlgorithm::ALL);
    let quota = select(&[0_u64, 1, 5, 10_000, 10_001, 1_000_000_000, 1_000_000_001, u64::MAX]);
    let window = || prop::option::weighted(0.8, select(&[0_u64, 1, 1_000, 366 * 86_400_000, 367 * 86_400_000, u64::MAX]));
    let burst = select(&[0_u64, 0, 0, 3, 100, 1_000_000_001, u64::MAX]);
    // Mostly those that the algorithm takes.
    let stray = proptest::bool::weighted(0.1);
    (algorithm, quota, (window(), window()), burst, proptest::bool::ANY, stray).prop_map(
        |(algorithm, quota, (window_ms, timeout_ms), burst, shadow, stray)| {
            let is_in_flight = algorithm == LimitAlgorithm::InFlight;
            PolicySettings {
                algorithm,
                quota,
                window_ms: window_ms.filter(|_| stray || !is_in_flight),
                burst: if stray || !is_in_flight { burst } else { 0 },
                timeout_ms: timeout_ms.filter(|_| stray || is_in_flight),
                shadow,
            }
        },
    )
}

fn actions() -> impl Strategy<Value = Action<'static>> {
    let name = || select(&NAMES).prop_map(|name| Name::new(name).unwrap());
    let key = || select(&KEYS).prop_map(|key| LimitKey::new(key).unwrap());
    let precondition = || {
        let rare = prop_oneof![Just(Precondition::Exists), Just(Precondition::IsNew), Just(Precondition::Never)];
        prop_oneof![6 => Just(Precondition::Always), 2 => (1..4_u64).prop_map(Precondition::Version), 2 => rare]
    };
    let put = |(name, settings, precondition)| Action::Put { name, settings: Limit::any_settings(settings), precondition };
    let remove = |(name, precondition)| Action::Remove { kind: Kind::Policy, name, precondition };
    let write = |(name, key, numbers)| Action::of::<Limit>(name, Override::PutOverride { key, numbers });
    prop_oneof![
        4 => (name(), settings(), precondition()).prop_map(put),
        1 => (name(), precondition()).prop_map(remove),
        4 => (name(), key(), numbers()).prop_map(write),
        2 => (name(), key()).prop_map(|(name, key)| Action::of::<Limit>(name, Override::RemoveOverride { key })),
    ]
}

/// A key, and which of two requests it is for.
fn keyed() -> impl Strategy<Value = Option<Keyed<'static>>> {
    let key = (select(&["k1", "k2"]), 0..2_u8);
    let key = key.prop_map(|(key, what)| Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([what; 16]) });
    prop::option::weighted(0.3, key)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_048) })]

    #[test]
    fn whatever_is_asked_of_policies_is_decided_as_the_oracle_decides_it(asks in prop::collection::vec((actions(), keyed()), 1..60)) {
        let (mut oracle, mut state) = (Oracle::default(), State::new(HashSeed(1, 2)));
        for (millis, (action, request)) in (1..).zip(asks) {
            let at = Timestamp::from_millis(millis).unwrap();
            let command = Command { actor: ActorId::LOCAL, request, action };
            let decided = decide(&state, &command, at);
            let expected = adapter::decided(oracle.take(&adapter::ask(&command), at));
            prop_assert_eq!(adapter::said(&decided), expected, "{:?}", command);
            if let Ok(Decision::Change(change)) = decided {
                state.evolve(&Record { at, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request, change });
            }
            prop_assert_eq!(adapter::compare(&oracle, &state), Ok(()));
            prop_assert_eq!(adapter::compare_keys(&oracle, &state), Ok(()));
        }
    }

    /// The numbers that make no policy are refused with the same code.
    #[test]
    fn the_oracle_takes_the_numbers_that_make_a_policy(numbers in numbers(), algorithm in select(LimitAlgorithm::ALL)) {
        let Numbers { quota, window_ns, burst } = numbers;
        let Some(rate) = algorithm.rate() else { return Ok(()) };
        let settings = Settings { algorithm: rate, quota, window_ns, burst, mode: Mode::Enforce };
        let (window_ms, quota, burst) = (Some(window_ns / 1_000_000), quota.into(), burst.into());
        let kept = PolicySettings { algorithm, quota, window_ms, burst, timeout_ms: None, shadow: false };
        let put = oracle::What::Put("api", Limit::any_settings(kept), Precondition::Always);
        let said = Oracle::default().decide(&oracle::Ask { key: None, what: put }, Timestamp::ZERO);
        prop_assert_eq!(said.err().map(|no| no.code), Policy::new(settings).err().map(|why| why.code()));
    }
}
