//! The rules against a naive model that was written from the API's text: vectors that are looked
//! through from the start, no index, no bytes. Both are asked the same, and answer the same.

use crate::common;
use crate::model;

use common::at;
use conformance::{Ask, Backend, CampaignReply, DomainBackend, Forgetting, Reply, Request};
use domain::coupon::queue::{Mode, QueuePatch, QueueSettings};
use domain::coupon::{ClaimOne, Command, Patch, Precondition, Put, Settings, Target, TargetBy};
use domain::types::{ActorId, CampaignName, Quantity, RequestKey, Serial, SubjectId, Timestamp};
use model::Model;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

const CAMPAIGNS: [&str; 2] = ["spring", "summer"];
const SUBJECTS: [&str; 4] = ["ann", "bob", "cat", "dan"];
const KEYS: [&str; 5] = ["k1", "k2", "k3", "k4", "k5"];
const ACTORS: [&str; 2] = ["local", "shop"];

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time goes on to here; nothing happens if it is there already.
    Wait(Timestamp),
    /// Somebody asks.
    Ask(Request<'static>),
}

/// The model and its last answer, for the comparison.
#[derive(Clone, Debug)]
struct Reference {
    model: Model,
    last: Option<Reply>,
    /// How the rules are run; the model keeps everything and looks at the time.
    forgetting: Forgetting,
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        select(&[Forgetting::WhenDue, Forgetting::Never])
            .prop_map(|forgetting| Self { model: Model::default(), last: None, forgetting })
            .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let now = state.model.now.millis();
        let request = (select(&ACTORS), proptest::option::weighted(0.7, select(&KEYS)), command(now)).prop_map(|(actor, key, command)| {
            let key = key.map(|key| RequestKey::new(key).unwrap());
            Step::Ask(Request { actor: ActorId::new(actor).unwrap(), key, ask: Ask::Command(command) })
        });
        let again = match state.model.requests.as_slice() {
            [] => request.clone().boxed(),
            requests => select(requests.to_vec()).prop_map(Step::Ask).boxed(),
        };
        prop_oneof![12 => request, 3 => again, 2 => wait(&state.model)].boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.last = match step {
            Step::Wait(time) => {
                state.model.now = state.model.now.max(*time);
                state.model.decide_due();
                None
            }
            Step::Ask(request) => {
                let reply = state.model.ask(request);
                state.model.decide_due();
                Some(reply)
            }
        };
        state
    }
}

/// A little while, or to an instant at which something changes, or just before it.
fn wait(model: &Model) -> BoxedStrategy<Step> {
    let now = model.now.millis();
    let a_while = prop_oneof![1..40_000_u64, 1..1_200_u64].prop_map(move |millis| Step::Wait(at(now + millis)));
    let sharp: Vec<u64> = model.sharp_instants().into_iter().flat_map(|time| [time.saturating_sub(1), time]).collect();
    let sharp: Vec<u64> = sharp.into_iter().filter(|time| now < *time).collect();
    if sharp.is_empty() {
        return a_while.boxed();
    }
    prop_oneof![1 => a_while, 3 => select(sharp).prop_map(|time| Step::Wait(at(time)))].boxed()
}

fn command(now: u64) -> impl Strategy<Value = Command<'static>> + Clone {
    let campaign = select(&CAMPAIGNS).prop_map(|name| CampaignName::new(name).unwrap());
    let put = (campaign.clone(), settings(now), precondition())
        .prop_map(|(campaign, settings, precondition)| Command::Put(Put { campaign, settings, precondition, code_key: 0 }));
    let claim = (campaign.clone(), subject()).prop_map(|(campaign, subject)| Command::Claim(ClaimOne { campaign, subject }));
    let redeem = (campaign.clone(), target_by()).prop_map(|(campaign, by)| Command::Redeem(Target { campaign, by }));
    let cancel = (campaign.clone(), target_by()).prop_map(|(campaign, by)| Command::Cancel(Target { campaign, by }));
    prop_oneof![1 => put, 2 => patch(now), 8 => claim, 2 => redeem, 3 => cancel]
}

fn patch(now: u64) -> impl Strategy<Value = Command<'static>> + Clone {
    use proptest::option::weighted;
    let campaign = select(&CAMPAIGNS).prop_map(|name| CampaignName::new(name).unwrap());
    let times = [weighted(0.2, time(now)), weighted(0.2, time(now)), weighted(0.2, time(now))];
    let counts = (weighted(0.3, stock()), weighted(0.3, per_subject_max()), weighted(0.2, proptest::bool::weighted(0.2)), queue_patch());
    (campaign, precondition(), times, counts).prop_map(|(campaign, precondition, [opens_at, closes_at, redeem_until], counts)| {
        let (stock, per_subject_max, paused, queue) = counts;
        Command::Patch(Patch { campaign, precondition, stock, per_subject_max, opens_at, closes_at, redeem_until, paused, queue })
    })
}

fn settings(now: u64) -> impl Strategy<Value = Settings> + Clone {
    let times = [time(now), time(now), time(now)];
    (stock(), per_subject_max(), times, proptest::bool::weighted(0.1), queue_patch()).prop_map(
        |(stock, per_subject_max, [opens_at, closes_at, redeem_until], paused, queue)| Settings {
            stock,
            per_subject_max,
            opens_at,
            closes_at,
            redeem_until,
            paused,
            queue: queue.apply(QueueSettings::DIRECT),
        },
    )
}

/// A queue whose pace and length matter with as few claims as there are.
fn queue_patch() -> impl Strategy<Value = QueuePatch> + Clone {
    use proptest::option::weighted;
    let pace = weighted(0.9, prop_oneof![1..4_u32, 10..13_u32]);
    (weighted(0.5, select(&[Mode::Queued, Mode::Queued, Mode::Direct])), weighted(0.5, pace), weighted(0.3, 1..4_u32))
        .prop_map(|(mode, decisions_per_second_max, queue_max)| QueuePatch { mode, decisions_per_second_max, queue_max })
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
        3 => subject().prop_map(TargetBy::Subject),
        2 => (subject(), serial.clone()).prop_map(|(subject, serial)| TargetBy::SubjectSerial(subject, serial)),
        2 => serial.prop_map(TargetBy::Code),
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
        assert_eq!(rules.state().campaigns().len(), reference.model.campaigns.len());
        for (campaign, model) in rules.state().campaigns().iter().zip(&reference.model.campaigns) {
            let reply = CampaignReply::from(&campaign.view(reference.model.now));
            assert_eq!(reply, model.reply(reference.model.now));
            assert!(reply.claimed <= reply.settings.stock);
            assert_eq!(campaign.claims.count(), model.claims.len());
            check_claims(campaign, model);
        }
    }

    fn teardown(mut rules: DomainBackend, _reference: Reference) {
        assert_eq!(rules.finish(), Ok(()));
    }
}

fn check_claims(campaign: &domain::coupon::Campaign, model: &model::Campaign) {
    for (serial, expected) in (1..).zip(&model.claims) {
        let claim = campaign.claims.get(Serial::new(serial).unwrap()).unwrap();
        assert_eq!((claim.subject, claim.claimed_at, claim.status), (expected.subject, expected.claimed_at, expected.status));
    }
    for subject in SUBJECTS.map(|name| SubjectId::new(name).unwrap()) {
        let serials = campaign.serials_of(subject);
        assert_eq!(serials, model.serials_of(subject));
        assert!(serials.len() <= campaign.settings.per_subject_max as usize);
    }
}

prop_state_machine! {
    #![proptest_config(Config {
        cases: 4_096,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    })]

    #[test]
    fn the_rules_and_the_naive_model_give_the_same_answers(sequential 1..150 => Rules);
}
