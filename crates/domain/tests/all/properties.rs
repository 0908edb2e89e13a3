//! Properties where they are sharp: to the millisecond, to the unit, to the byte.

use crate::common;

use common::{Sections, ask, at, rebuild, replay, rules, seconds, sections, tell};
use conformance::{DomainBackend, Forgetting};
use domain::coupon::{self, Coupon};
use domain::hash::HashSeed;
use domain::request::{FORGET_MAX, KEEP_MS, Outcome};
use domain::types::{Name, Serial, SubjectId, Timestamp};
use domain::{Action, Answer, Change, Command, Decision, Listed, Novelty, State, decide};
use proptest::prelude::*;
use proptest::sample::select;

/// An instant that leaves room for others before it and after it.
fn instant() -> impl Strategy<Value = u64> {
    prop_oneof![1..100_u64, 1..4_000_000_000_000_u64, Just(Timestamp::MAX.millis() - 2 * KEEP_MS)]
}

/// Some instants before this one, the first and the last among them.
fn instants_before(end: u64) -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0..end, 0..5).prop_map(move |mut instants| {
        instants.extend([0, end - 1]);
        instants.sort_unstable();
        instants
    })
}

fn instants_from(start: u64) -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(start..=Timestamp::MAX.millis(), 0..5).prop_map(move |mut instants| {
        instants.extend([start, Timestamp::MAX.millis()]);
        instants.sort_unstable();
        instants
    })
}

fn instant_with(around: fn(u64) -> BoxedStrategy<Vec<u64>>) -> impl Strategy<Value = (u64, Vec<u64>)> {
    instant().prop_flat_map(move |instant| (Just(instant), around(instant)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn refused_at_every_instant_before_opening_and_granted_at_it((opens, before) in instant_with(|end| instants_before(end).boxed())) {
        let mut rules = rules();
        ask(&mut rules, &format!("campaign spring stock 1 opens {}", seconds(opens)));
        for instant in before {
            let answer = ask(&mut rules, &format!("at {} claim spring by ann", seconds(instant)));
            prop_assert!(answer.starts_with("not_open"), "{}", answer);
        }
        prop_assert_eq!(ask(&mut rules, &format!("at {} claim spring by ann", seconds(opens))), "claimed serial 1");
    }

    #[test]
    fn granted_until_just_before_closing_and_refused_at_every_instant_from_then_on(
        (closes, after) in instant_with(|start| instants_from(start).boxed())
    ) {
        let mut rules = rules();
        ask(&mut rules, &format!("campaign spring stock 2 closes {}", seconds(closes)));
        prop_assert_eq!(ask(&mut rules, &format!("at {} claim spring by ann", seconds(closes - 1))), "claimed serial 1");
        for instant in after {
            let answer = ask(&mut rules, &format!("at {} claim spring by bob", seconds(instant)));
            prop_assert!(answer.starts_with("closed"), "{}", answer);
        }
    }

    #[test]
    fn redeemed_until_just_before_the_end_and_refused_at_every_instant_from_then_on(
        (end, after) in instant_with(|start| instants_from(start).boxed())
    ) {
        let mut rules = rules();
        ask(&mut rules, &format!("campaign spring stock 2 redeem-until {}", seconds(end)));
        tell(&mut rules, &[("claim spring by ann", "claimed serial 1"), ("claim spring by bob", "claimed serial 2")]);
        prop_assert_eq!(ask(&mut rules, &format!("at {} redeem spring by ann", seconds(end - 1))), "redeemed serial 1");
        for instant in after {
            let answer = ask(&mut rules, &format!("at {} redeem spring by bob", seconds(instant)));
            prop_assert!(answer.starts_with("expired"), "{}", answer);
        }
    }

    #[test]
    fn a_key_repeats_its_answer_for_24_hours_and_is_free_when_they_have_passed(
        forgetting in select(&[Forgetting::WhenDue, Forgetting::Never]),
        claimed in instant(),
        later in proptest::collection::vec(0..KEEP_MS, 0..5),
    ) {
        let mut rules = DomainBackend::new(forgetting);
        ask(&mut rules, "campaign spring stock 9 per-subject 9");
        let claim = |instant: u64| format!("at {} claim spring by ann key k", seconds(instant));
        prop_assert_eq!(ask(&mut rules, &claim(claimed)), "claimed serial 1");
        let mut later = later;
        later.extend([0, KEEP_MS - 1]);
        later.sort_unstable();
        for millis in later {
            prop_assert_eq!(ask(&mut rules, &claim(claimed + millis)), "claimed serial 1 replayed");
        }
        prop_assert_eq!(ask(&mut rules, &claim(claimed + KEEP_MS)), "claimed serial 2");
    }

    #[test]
    fn exactly_the_stock_is_given_out_whoever_asks_and_however_often(
        stock in 1..40_usize, asked in proptest::collection::vec(0..60_usize, 0..200)
    ) {
        let mut rules = rules();
        ask(&mut rules, &format!("campaign spring stock {stock}"));
        let mut winners: Vec<usize> = Vec::new();
        for subject in asked {
            let answer = ask(&mut rules, &format!("claim spring by u{subject}"));
            let expected = match winners.iter().position(|winner| *winner == subject) {
                Some(place) => format!("claimed serial {} repeat", place + 1),
                None if winners.len() == stock => "sold_out".to_owned(),
                None => {
                    winners.push(subject);
                    format!("claimed serial {}", winners.len())
                }
            };
            prop_assert_eq!(answer, expected);
        }
    }

    #[test]
    fn serials_are_never_used_twice_however_many_are_cancelled(subjects in proptest::collection::vec(0..4_u8, 1..60)) {
        let mut rules = rules();
        ask(&mut rules, "campaign spring stock 2");
        let mut serial_last = 0;
        for subject in subjects {
            let answer = ask(&mut rules, &format!("claim spring by u{subject}"));
            if answer == format!("claimed serial {}", serial_last + 1) {
                serial_last += 1;
                continue;
            }
            prop_assert!(answer == "sold_out" || answer.ends_with("repeat"), "{}", answer);
            ask(&mut rules, &format!("cancel spring by u{subject}"));
        }
    }
}

/// A campaign of more than two blocks of claims, every third of them redeemed or cancelled, and
/// more than one block of request keys, some of which are forgotten.
fn crowd() -> DomainBackend {
    let mut rules = rules();
    tell(&mut rules, &[("campaign small stock 1", "created version 1"), ("campaign big stock 9000", "created version 1")]);
    for user in 1..=9_000 {
        let key = if user % 3 == 0 { format!("key k{user}") } else { String::new() };
        assert_eq!(ask(&mut rules, &format!("at {user}s claim big by user-{user} {key}")), format!("claimed serial {user}"));
    }
    for serial in (1..=9_000).step_by(3) {
        let verb = if serial % 2 == 0 { "redeem" } else { "cancel" };
        ask(&mut rules, &format!("{verb} big by user-{serial}"));
    }
    ask(&mut rules, "at 25h");
    rules
}

#[test]
fn a_state_of_many_blocks_is_the_same_live_replayed_and_read_back() {
    let rules = crowd();
    let live = sections(rules.state());
    let replayed = replay(rules.records(), HashSeed(11, 12));
    let rebuilt = rebuild(&live, HashSeed(13, 14)).unwrap();
    assert!(sections(&replayed) == live && sections(&rebuilt) == live);
    assert_eq!((replayed.entries_count(), rebuilt.entries_count()), (9_000, 9_000));
    let big = Name::new("big").unwrap();
    for state in [rules.state(), &replayed, &rebuilt] {
        let campaign = state.get::<Coupon>(big).unwrap();
        for user in 1..=9_000_u32 {
            let name = format!("user-{user}");
            let is_cancelled = user % 3 == 1 && user % 2 == 1;
            let expected = if is_cancelled { vec![] } else { vec![Serial::new(user).unwrap()] };
            assert_eq!(campaign.serials_of(SubjectId::new(&name).unwrap()), expected);
        }
    }
}

/// So many that some share a bucket of the table and the few bits of the hash that are kept there.
#[test]
fn one_key_of_many_callers_is_a_key_for_each_of_them() {
    let mut rules = rules();
    ask(&mut rules, "campaign spring stock 3000");
    let claim = |caller: u32| format!("claim spring by user-{caller} key k as caller-{caller}");
    for caller in 1..=3_000 {
        assert_eq!(ask(&mut rules, &claim(caller)), format!("claimed serial {caller}"));
    }
    for caller in 1..=3_000 {
        assert_eq!(ask(&mut rules, &claim(caller)), format!("claimed serial {caller} replayed"));
    }
}

#[test]
fn one_key_in_many_campaigns_is_a_key_in_each_of_them() {
    let mut rules = rules();
    let put = |campaign: u32| format!("campaign c{campaign} stock {campaign} key k");
    for campaign in 1..=3_000 {
        ask(&mut rules, &format!("campaign c{campaign} stock 9999"));
    }
    for campaign in 1..=3_000 {
        assert_eq!(ask(&mut rules, &put(campaign)), "replaced version 2");
    }
    for campaign in 1..=3_000 {
        assert_eq!(ask(&mut rules, &put(campaign)), "replaced version 2 replayed");
    }
}

#[test]
fn what_is_frozen_does_not_see_what_comes_later() {
    let mut rules = crowd();
    let frozen = rules.state().freeze();
    let before: Sections = frozen.sections().collect();
    for line in [
        "claim small by ann",
        "redeem big by user-2",
        "cancel big by user-3",
        "cancel big by user-8999",
        "claim big by late key late",
        "patch big stock 9500 key more",
        "campaign third stock 1",
        "at 60h",
    ] {
        let answer = ask(&mut rules, line);
        assert!(!answer.contains("unreadable") && !answer.contains("found"), "{line}: {answer}");
    }
    assert!(frozen.sections().collect::<Sections>() == before);
    assert!(sections(rules.state()) != before);
    assert!(sections(&rebuild(&before, HashSeed(15, 16)).unwrap()) == before);
}

#[test]
fn forgetting_is_due_at_the_instant_and_bounded() {
    let mut rules = rules();
    ask(&mut rules, "campaign spring stock 9000");
    for user in 1..=FORGET_MAX + 5 {
        ask(&mut rules, &format!("at 1s claim spring by user-{user} key k{user}"));
    }
    let due = at(1_000 + KEEP_MS);
    assert_eq!(rules.state().next_deadline(), Some(due));
    assert_eq!(forget(rules.state(), at(1_000 + KEEP_MS - 1)), Decision::Nothing);
    assert_eq!(forget(rules.state(), due), Decision::Change(Change::RequestsForgotten { count: FORGET_MAX }));
    ask(&mut rules, "at 24h1s");
    assert!(rules.state().requests.is_empty());
    assert_eq!(rules.state().next_deadline(), None);
}

fn forget(state: &State, now: Timestamp) -> Decision<'static> {
    decide(state, &Command::local(Action::ForgetRequests), now).unwrap()
}

#[test]
fn a_replay_of_settings_shows_the_campaign_as_it_stood_then() {
    let mut rules = rules();
    let put = "campaign spring stock 5 key k1";
    ask(&mut rules, put);
    let first = rules.state().requests.iter().next().unwrap().outcome.clone();
    tell(&mut rules, &[("at 1s claim spring by ann", "claimed serial 1"), ("patch spring stock 9", "replaced version 2")]);
    assert_eq!(ask(&mut rules, put), "created version 1 replayed");
    assert_eq!(rules.state().requests.iter().next().map(|known| &known.outcome), Some(&first));
    let Outcome::Written { created: true, summary } = first else { panic!("{first:?}") };
    let campaign = Coupon::summary(&summary).unwrap();
    assert_eq!((campaign.head.version, campaign.settings.stock.get(), campaign.figures.remaining), (1, 5, 5));
    assert_eq!((campaign.at, campaign.head.created_at), (Timestamp::ZERO, Timestamp::ZERO));
}

#[test]
fn a_replay_and_a_repeat_are_told_apart_by_the_answer() {
    let mut rules = rules();
    tell(&mut rules, &[("campaign spring stock 5", "created version 1"), ("claim spring by ann", "claimed serial 1")]);
    let claim = coupon::Command::Claim { subject: SubjectId::new("ann").unwrap() };
    let command = Command::local(Action::of::<Coupon>(Name::new("spring").unwrap(), claim));
    let Ok(Decision::Answer(Answer { novelty, .. })) = decide(rules.state(), &command, Timestamp::ZERO) else { panic!("no answer") };
    assert_eq!(novelty, Novelty::Repeated);
}

#[test]
fn time_never_goes_back_in_the_state() {
    let mut rules = rules();
    ask(&mut rules, "at 10s campaign spring stock 5");
    ask(&mut rules, "at 5s claim spring by ann");
    assert_eq!(rules.state().time, at(10_000));
}
