//! Generates the clients' requests.

use domain::coupon::Settings;
use domain::coupon::queue::Mode;
use domain::state::Precondition;
use domain::types::{Quantity, Serial};

use crate::ask::{Ask, By, Question, What};
use crate::asks;
use crate::rng::Rng;
use crate::run::settings;
use crate::world::{World, time};

const CAMPAIGNS: [&str; 3] = ["spring", "several", "autumn-with-a-name-that-takes-some-room-in-every-answer"];

/// A new request, or an earlier one again.
pub(crate) fn ask(world: &mut World, chance: &mut Rng) -> Ask {
    let id = world.next_id();
    if chance.one_in(6)
        && let Some(old) = world.checker.old_ask(chance.number())
    {
        return again(id, old.clone(), chance);
    }
    if chance.one_in(6) {
        let (name, what) = asks::any(|limit| chance.below(limit));
        let key = chance.one_in(3).then(|| format!("key-{id}"));
        return Ask { id, name, key, what };
    }
    let campaign = chance.pick(&CAMPAIGNS);
    let what = what(world, chance, campaign);
    let key = (campaign == "several" || chance.one_in(3)).then(|| format!("key-{id}"));
    Ask { id, name: campaign, key, what }
}

/// Mostly the same request with the same key; sometimes another one with the same key.
fn again(id: String, old: Ask, chance: &mut Rng) -> Ask {
    if chance.one_in(5) {
        return Ask { id, what: What::Claim(subject(chance)), ..old };
    }
    Ask { id, ..old }
}

fn what(world: &World, chance: &mut Rng, campaign: &str) -> What {
    match chance.below(40) {
        0..=2 => What::Put(some_settings(world, chance, campaign), chance.pick(&[Precondition::Always, Precondition::IsNew])),
        3 => What::Put(some_settings(world, chance, campaign), Precondition::Version(chance.below(5))),
        4 => What::Patch(Quantity::new(units(10 + chance.below(60))), None),
        5 => What::Patch(None, Some(chance.one_in(3))),
        6..=10 => What::Redeem(by(chance)),
        11..=16 => What::Cancel(by(chance)),
        _ => What::Claim(subject(chance)),
    }
}

fn some_settings(world: &World, chance: &mut Rng, campaign: &str) -> Settings {
    let per_subject_max = if campaign == "several" { 3 } else { 1 };
    let mut some = settings(units(5 + chance.below(40)), per_subject_max);
    if chance.one_in(3) {
        some.mode = if chance.one_in(5) { Mode::Direct } else { Mode::Queued };
        some.decisions_per_second_max = if chance.one_in(6) { None } else { Some(chance.pick(&[1, 2, 15])) };
        some.queue_max = chance.pick(&[4, 1_000_000]);
    }
    // Mostly open, now and then with a window around the present.
    if chance.one_in(3) {
        some.opens_at = Some(time((world.wall + 5_000).saturating_sub(chance.below(40_000)).max(1)));
        some.closes_at = Some(time(world.wall + 6_000 + chance.below(60_000)));
        some.redeem_until = chance.one_in(2).then(|| time(world.wall + 6_000 + chance.below(80_000)));
    }
    some
}

fn by(chance: &mut Rng) -> By {
    match Serial::new(units(1 + chance.below(30))) {
        Some(serial) if chance.one_in(2) => By::Code(serial),
        _ => By::Subject(subject(chance)),
    }
}

/// A random subject; some names are long, so that batches differ in size.
fn subject(chance: &mut Rng) -> String {
    let user = chance.below(60);
    if user.is_multiple_of(4) { format!("user-{user}-{}", "x".repeat(90)) } else { format!("user-{user}") }
}

/// A read.
pub(crate) fn read(chance: &mut Rng) -> Question {
    let campaign = chance.pick(&CAMPAIGNS);
    if chance.one_in(2) { Question::Campaign(campaign) } else { Question::Claim(campaign, subject(chance)) }
}

fn units(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
