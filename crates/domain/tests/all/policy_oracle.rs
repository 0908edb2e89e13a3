//! The rules of policies against the oracle's naive statement of them: versions, conditions, overrides.
#![allow(clippy::unwrap_used)]

use domain::coupon::Precondition;
use domain::hash::HashSeed;
use domain::rate_limit::in_flight::InFlight;
use domain::rate_limit::policies::{Command as Ask, Numbers, Rule};
use domain::rate_limit::{Algorithm, Mode, Policy, Settings};
use domain::state::{Command, CommandKind, Decision, Record, State, decide};
use domain::types::{ActorId, LimitKey, PolicyName, RequestId, Timestamp};
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

/// A rule, where the numbers make one.
fn rules() -> impl Strategy<Value = Rule> {
    let modes = select(&[Mode::Enforce, Mode::Shadow]);
    (numbers(), prop::option::weighted(0.8, select(&Algorithm::ALL)), modes).prop_filter_map("no rule", |(numbers, algorithm, mode)| {
        let Numbers { quota, window_ns, burst } = numbers;
        let rate = |algorithm| Policy::new(Settings { algorithm, quota, window_ns, burst, mode }).ok().map(Rule::Rate);
        algorithm.map_or_else(|| InFlight::new(quota, window_ns, mode).map(Rule::InFlight), rate)
    })
}

fn asks() -> impl Strategy<Value = Ask<'static>> {
    let policy = || select(&NAMES).prop_map(|name| PolicyName::new(name).unwrap());
    let key = || select(&KEYS).prop_map(|key| LimitKey::new(key).unwrap());
    let precondition = || {
        let rare = prop_oneof![Just(Precondition::Exists), Just(Precondition::IsNew), Just(Precondition::Never)];
        prop_oneof![6 => Just(Precondition::Always), 2 => (1..4_u64).prop_map(Precondition::Version), 2 => rare]
    };
    prop_oneof![
        4 => (policy(), rules(), precondition()).prop_map(|(policy, rule, precondition)| Ask::Put { policy, rule, precondition }),
        1 => (policy(), precondition()).prop_map(|(policy, precondition)| Ask::Remove { policy, precondition }),
        4 => (policy(), key(), numbers()).prop_map(|(policy, key, numbers)| Ask::PutOverride { policy, key, numbers }),
        2 => (policy(), key()).prop_map(|(policy, key)| Ask::RemoveOverride { policy, key }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_048) })]

    #[test]
    fn whatever_is_asked_of_policies_is_decided_as_the_oracle_decides_it(asks in prop::collection::vec(asks(), 1..60)) {
        let (mut oracle, mut state) = (Oracle::default(), State::new(HashSeed(1, 2)));
        for (millis, ask) in (1..).zip(asks) {
            let at = Timestamp::from_millis(millis).unwrap();
            let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Policy(ask) };
            let decided = decide(&state, &command, at);
            let expected = adapter::decided(oracle.take(&adapter::ask(&command), at));
            prop_assert_eq!(adapter::said(&oracle, &decided), expected, "{:?}", ask);
            if let Ok(Decision::Event(event)) = decided {
                state.evolve(&Record { at, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event });
            }
            prop_assert_eq!(adapter::compare(&oracle, &state), Ok(()));
        }
    }

    /// The numbers of a rule that cannot be made are refused with the same code.
    #[test]
    fn the_oracle_takes_the_numbers_that_make_a_policy(numbers in numbers(), algorithm in select(&Algorithm::ALL)) {
        let Numbers { quota, window_ns, burst } = numbers;
        let settings = Settings { algorithm, quota, window_ns, burst, mode: Mode::Enforce };
        let put = oracle::limit::Ask::Put(adapter::rate_rule(&settings), Precondition::Always);
        let ask = oracle::Ask { key: None, what: oracle::What::Limit("api", put) };
        let said = Oracle::default().decide(&ask, Timestamp::ZERO);
        prop_assert_eq!(said.err().map(|no| no.code), Policy::new(settings).err().map(|why| why.code()));
    }
}
