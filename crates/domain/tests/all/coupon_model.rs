//! The rules against the oracle's naive statement of them. Both are asked the same, and answer the
//! same.

use crate::common;

use common::at;
use conformance::{Ask, Backend, DomainBackend, Forgetting, OracleBackend, Reply, Request};
use domain::coupon::queue::Mode;
use domain::coupon::{Command, Coupon, Settings, TargetBy};
use domain::fields::{Patch, Value};
use domain::state::Precondition;
use domain::types::{ActorId, Name, Quantity, RequestKey, Serial, SubjectId, Timestamp};
use domain::workload::Listed;
use domain::{Action, Kind};
use oracle::Oracle;
use oracle::adapter::compare;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

const DAY_MS: u64 = 86_400_000;
const CAMPAIGNS: [&str; 2] = ["spring", "summer"];
const SUBJECTS: [&str; 4] = ["ann", "bob", "cat", "dan"];
const KEYS: [&str; 5] = ["k1", "k2", "k3", "k4", "k5"];
const ACTORS: [&str; 2] = ["local", "shop"];

/// What happens next.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model's steps are few")]
enum Step {
    /// Time goes on to here; nothing happens if it is there already.
    Wait(Timestamp),
    /// Somebody asks.
    Ask(Request<'static>),
}

/// The oracle and its last answer, for the comparison.
#[derive(Clone, Debug)]
struct Reference {
    rules: OracleBackend,
    last: Option<Reply>,
    /// Every request with a key, so that it can be asked again.
    keyed: Vec<Request<'static>>,
    /// How the rules of `domain` are run; the oracle keeps everything and looks at the time.
    forgetting: Forgetting,
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        select(&[Forgetting::WhenDue, Forgetting::Never])
            .prop_map(|forgetting| Self { rules: OracleBackend::new(Forgetting::Never), last: None, keyed: Vec::new(), forgetting })
            .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let now = state.rules.now().millis();
        let request = (select(&ACTORS), proptest::option::weighted(0.7, select(&KEYS)), action(now)).prop_map(|(actor, key, action)| {
            let key = key.map(|key| RequestKey::new(key).unwrap());
            Step::Ask(Request { actor: ActorId::new(actor).unwrap(), key, ask: Ask::Act(action) })
        });
        let again = match state.keyed.as_slice() {
            [] => request.clone().boxed(),
            requests => select(requests.to_vec()).prop_map(Step::Ask).boxed(),
        };
        prop_oneof![12 => request, 3 => again, 2 => wait(&state.rules)].boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.last = match step {
            Step::Wait(time) => {
                state.rules.set_time(*time);
                None
            }
            Step::Ask(request) => {
                state.keyed.extend(request.key.map(|_| *request));
                Some(state.rules.run(request))
            }
        };
        state
    }
}

/// A little while, or to an instant at which something changes, or just before it.
fn wait(rules: &OracleBackend) -> BoxedStrategy<Step> {
    let now = rules.now().millis();
    let a_while = prop_oneof![1..40_000_u64, 1..1_200_u64].prop_map(move |millis| Step::Wait(at(now + millis)));
    let sharp: Vec<u64> = sharp_instants(rules.oracle()).into_iter().flat_map(|time| [time.saturating_sub(1), time]).collect();
    let sharp: Vec<u64> = sharp.into_iter().filter(|time| now < *time).collect();
    if sharp.is_empty() {
        return a_while.boxed();
    }
    prop_oneof![1 => a_while, 3 => select(sharp).prop_map(|time| Step::Wait(at(time)))].boxed()
}

/// Instants at which some answer changes.
fn sharp_instants(oracle: &Oracle) -> Vec<u64> {
    let settings = oracle.campaigns().map(|campaign| campaign.settings);
    let windows = settings.flat_map(|settings| [settings.opens_at, settings.closes_at, settings.redeem_until]).flatten();
    let keys = oracle.keys().iter().map(|(_, known)| known.at.millis() + DAY_MS);
    let decided = oracle.campaigns().flat_map(|campaign| campaign.claims().map(|(_, claim)| claim.claimed_at.millis()));
    let by_pace = decided.flat_map(|at| [at + 1_000, at + 500, at + 333, at + 100]);
    windows.map(Timestamp::millis).chain(keys).chain(by_pace).collect()
}

fn action(now: u64) -> impl Strategy<Value = Action<'static>> + Clone {
    let put = (name(), settings(now), precondition()).prop_map(|(name, settings, precondition)| Action::Put {
        name,
        settings: Coupon::any_settings(settings),
        precondition,
    });
    let remove = (name(), precondition()).prop_map(|(name, precondition)| Action::Remove { kind: Kind::Campaign, name, precondition });
    let claim = (name(), subject()).prop_map(|(name, subject)| Action::of::<Coupon>(name, Command::Claim { subject }));
    let redeem = (name(), target_by()).prop_map(|(name, by)| Action::of::<Coupon>(name, Command::Redeem { by }));
    let cancel = (name(), target_by()).prop_map(|(name, by)| Action::of::<Coupon>(name, Command::Cancel { by }));
    prop_oneof![10 => put, 20 => patch(now), 1 => remove, 80 => claim, 20 => redeem, 30 => cancel]
}

fn name() -> impl Strategy<Value = Name<'static>> + Clone {
    select(&CAMPAIGNS).prop_map(|name| Name::new(name).unwrap())
}

/// Some fields, each with a value that a whole put may have.
fn patch(now: u64) -> impl Strategy<Value = Action<'static>> + Clone {
    use proptest::option::weighted;
    let time = |time: Option<Timestamp>| time.map_or(Value::Null, Value::Time);
    let stock = stock().prop_map(|stock| Value::Number(stock.get().into()));
    let per_subject_max = per_subject_max().prop_map(|limit| Value::Number(limit.into()));
    let counts = (weighted(0.3, stock), weighted(0.3, per_subject_max), weighted(0.2, proptest::bool::weighted(0.2).prop_map(Value::Bool)));
    let times = [
        weighted(0.2, self::time(now).prop_map(time)),
        weighted(0.2, self::time(now).prop_map(time)),
        weighted(0.2, self::time(now).prop_map(time)),
    ];
    (name(), precondition(), counts, times, queue()).prop_map(|(name, precondition, counts, [opens_at, closes_at, redeem_until], queue)| {
        let (stock, per_subject_max, paused) = counts;
        let (mode, pace, queue_max) = queue;
        let mut patch = Patch::<Settings>::default();
        for (field, value) in [
            ("stock", stock),
            ("per_subject_max", per_subject_max),
            ("paused", paused),
            ("opens_at", opens_at),
            ("closes_at", closes_at),
            ("redeem_until", redeem_until),
            ("mode", mode.map(|mode| Value::Word(mode.word()))),
            ("decisions_per_second_max", pace.map(|pace| pace.map_or(Value::Null, |pace| Value::Number(pace.into())))),
            ("queue_max", queue_max.map(|most| Value::Number(most.into()))),
        ] {
            value.into_iter().for_each(|value| patch.set(field, value).unwrap());
        }
        Action::Patch { name, patch: Coupon::any_patch(patch), precondition }
    })
}

fn settings(now: u64) -> impl Strategy<Value = Settings> + Clone {
    let times = [time(now), time(now), time(now)];
    (stock(), per_subject_max(), times, proptest::bool::weighted(0.1), queue()).prop_map(
        |(stock, per_subject_max, [opens_at, closes_at, redeem_until], paused, (mode, pace, queue_max))| {
            let plain = Settings { per_subject_max, opens_at, closes_at, redeem_until, paused, ..Settings::plain(stock) };
            let decisions_per_second_max = pace.unwrap_or(plain.decisions_per_second_max);
            Settings {
                mode: mode.unwrap_or(plain.mode),
                decisions_per_second_max,
                queue_max: queue_max.unwrap_or(plain.queue_max),
                ..plain
            }
        },
    )
}

/// Fields of a queue, each given or not.
type Queue = (Option<Mode>, Option<Option<u32>>, Option<u32>);

/// A queue whose pace and length matter with as few claims as there are.
fn queue() -> impl Strategy<Value = Queue> + Clone {
    use proptest::option::weighted;
    let pace = weighted(0.9, prop_oneof![1..4_u32, 10..13_u32]);
    (weighted(0.5, select(&[Mode::Queued, Mode::Queued, Mode::Direct])), weighted(0.5, pace), weighted(0.3, 1..4_u32))
}

fn stock() -> impl Strategy<Value = Quantity> + Clone {
    (1..6_u32).prop_map(|units| Quantity::new(units).unwrap())
}

fn per_subject_max() -> impl Strategy<Value = u32> + Clone {
    select(&[1_u32, 1, 2, 3])
}

/// None, or somewhere around now.
fn time(now: u64) -> impl Strategy<Value = Option<Timestamp>> + Clone {
    let near = (0..90_000_u64).prop_map(move |millis| Some(at((now + millis).saturating_sub(20_000))));
    prop_oneof![2 => Just(None), 1 => near]
}

fn precondition() -> impl Strategy<Value = Precondition> + Clone {
    let version = (1..6_u64).prop_map(Precondition::Version);
    let rare = prop_oneof![version, Just(Precondition::Exists), Just(Precondition::IsNew), Just(Precondition::Never)];
    prop_oneof![4 => Just(Precondition::Always), 1 => rare]
}

fn subject() -> impl Strategy<Value = SubjectId<'static>> + Clone {
    select(&SUBJECTS).prop_map(|name| SubjectId::new(name).unwrap())
}

fn target_by() -> impl Strategy<Value = TargetBy<'static>> + Clone {
    let serial = (1..12_u32).prop_map(|serial| Serial::new(serial).unwrap());
    prop_oneof![
        3 => subject().prop_map(|subject| TargetBy::Subject { subject }),
        2 => (subject(), serial.clone()).prop_map(|(subject, serial)| TargetBy::SubjectSerial { subject, serial }),
        2 => serial.prop_map(|serial| TargetBy::Code { serial }),
    ]
}

/// The rules, driven by the steps.
struct Rules;

impl StateMachineTest for Rules {
    type SystemUnderTest = DomainBackend;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> DomainBackend {
        DomainBackend::new(reference.forgetting)
    }

    fn apply(mut rules: DomainBackend, reference: &Reference, step: Step) -> DomainBackend {
        match step {
            Step::Wait(time) => rules.set_time(time),
            Step::Ask(request) => assert_eq!(Some(rules.run(&request)), reference.last),
        }
        rules
    }

    fn check_invariants(rules: &DomainBackend, reference: &Reference) {
        assert_eq!(rules.state().check(), Ok(()));
        let mut oracle = reference.rules.oracle().clone();
        assert_eq!(oracle.check(), Ok(()));
        if reference.forgetting == Forgetting::WhenDue {
            // Its records move the time on.
            oracle.pass(rules.state().time);
        }
        assert_eq!(compare(&oracle, rules.state()), Ok(()));
    }

    fn teardown(mut rules: DomainBackend, _reference: Reference) {
        assert_eq!(rules.finish(), Ok(()));
    }
}

prop_state_machine! {
    #![proptest_config(Config {
        cases: 4_096,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    })]

    #[test]
    fn the_rules_and_the_oracle_give_the_same_answers(sequential 1..150 => Rules);
}
