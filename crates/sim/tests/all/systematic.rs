//! Something goes wrong at every single call of a short script, and no promise is broken.
#![allow(clippy::unwrap_used)]

use domain::state::Precondition;
use sim::ask::{Answer, Ask, What};
use sim::counts::{Rare, Rarity as _};
use sim::disk::{Fault, Survival};
use sim::run::settings;
use sim::systematic::{ERRORS, SURVIVALS, fail_everywhere, fail_recovery_everywhere, go_on, lose_power_everywhere, play};
use sim::world::World;

#[test]
fn the_script_meets_what_it_is_there_for() {
    let (world, calls_count, has_died) = play(None).unwrap();
    assert!(90 < calls_count && !has_died);
    for rare in [Rare::SegmentRotated, Rare::AnswerHeld, Rare::ReadHeld, Rare::KeyReplayed, Rare::FeedFollowed] {
        assert!(0 < world.counts.of(rare), "{}", rare.name());
    }
}

#[test]
fn power_may_go_at_every_call_and_leave_anything() {
    let cases_count = lose_power_everywhere(&SURVIVALS).unwrap();
    println!("{cases_count} cases");
    assert!(300 < cases_count);
}

#[test]
fn power_may_go_again_at_every_call_of_recovery() {
    let cases_count = fail_recovery_everywhere(&[Fault::PowerLoss], Survival::Mixed(5)).unwrap();
    println!("{cases_count} cases");
    assert!(1_000 < cases_count);
}

#[test]
fn every_call_of_recovery_may_fail_and_is_never_taken_for_damage() {
    let cases_count = fail_recovery_everywhere(&ERRORS, Survival::Everything).unwrap();
    println!("{cases_count} cases");
    assert!(1_000 < cases_count);
}

#[test]
fn every_call_may_fail_and_no_yes_is_lost() {
    let cases_count = fail_everywhere().unwrap();
    println!("{cases_count} cases");
    assert!(500 < cases_count);
}

#[test]
fn damage_to_what_was_synced_is_refused_with_its_place_and_nothing_is_overwritten() {
    for choice in (0..3_000).step_by(7) {
        let mut world = World::new(None, 0);
        world.start(&[]).unwrap();
        for round in 0..12 {
            for user in 0..4 {
                claim(&mut world, &format!("user-{round}-{user}-{}", "x".repeat(80)));
            }
            world.commit().unwrap();
            world.prepare().unwrap();
        }
        world.power_cycle(Survival::Mixed(choice));
        world.rot_journal(choice).unwrap();
        assert_eq!(world.counts.of(Rare::HoleRefused), 1);
        world.start(&[]).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_a_batch_that_was_never_synced_is_cleared() {
    let (_, calls_count, _) = play(None).unwrap();
    let mut cleared_count = 0;
    for after in 0..calls_count {
        for choice in 0..8 {
            let (mut world, _, _) = play(Some((after, Fault::PowerLoss))).unwrap();
            world.power_cycle(Survival::Everything);
            if world.rot_tail(choice * 977).unwrap() {
                go_on(&mut world, &[]).unwrap();
                cleared_count += 1;
                assert!(0 < world.counts.of(Rare::TornTailCleared));
            }
        }
    }
    assert!(20 < cleared_count);
}

fn claim(world: &mut World, subject: &str) -> Answer {
    let put = Ask { id: world.next_id(), name: "spring", key: None, what: What::Put(settings(900, 1), Precondition::Always) };
    world.submit(put).unwrap();
    let ask = Ask { id: world.next_id(), name: "spring", key: None, what: What::Claim(subject.to_owned()) };
    world.submit(ask).unwrap().answer
}

#[test]
fn a_full_disk_makes_it_read_only_and_it_opens_and_goes_on_when_there_is_room() {
    let mut world = World::new(None, 0);
    world.start(&[]).unwrap();
    world.prepare().unwrap();
    claim(&mut world, "first");
    world.commit().unwrap();
    world.disk.set_full(true);
    let mut granted = 0;
    while claim(&mut world, &format!("user-{granted}")) != Answer::NotTaken("storage_full") {
        granted += 1;
        world.commit().unwrap();
        world.prepare().unwrap();
    }
    assert!(10 < granted);
    for survival in [None, Some(Survival::Nothing), Some(Survival::Mixed(1))] {
        let _ = world.die();
        survival.into_iter().for_each(|survival| world.power_cycle(survival));
        world.start(&[]).unwrap();
        assert!(matches!(claim(&mut world, "first"), Answer::Claim { serial: 1, .. }), "a repeat is answered");
        assert_eq!(claim(&mut world, "another"), Answer::NotTaken("storage_full"));
        world.commit().unwrap();
    }
    world.disk.set_full(false);
    world.prepare().unwrap();
    assert!(matches!(claim(&mut world, "another"), Answer::Claim { .. }));
    world.commit().unwrap();
    world.power_cycle(Survival::Nothing);
    world.start(&[]).unwrap();
    assert_eq!(world.counts.of(Rare::RoomAgain), 1);
}
