//! A short script with a fault at every single call, where [`crate::run`] chooses at random: power losses,
//! errors and short writes, during the script and during recovery.

use std::io::ErrorKind;

use domain::state::Precondition;
use domain::types::Serial;

use crate::ask::{Ask, By, Question, What};
use crate::disk::{Fault, Survival};
use crate::recovery::Trouble;
use crate::run::settings;
use crate::world::{End, World};

/// The survivors of a power loss, in the loops over all calls.
pub const SURVIVALS: [Survival; 5] = [Survival::Nothing, Survival::Everything, Survival::Mixed(1), Survival::Mixed(2), Survival::Mixed(3)];

/// The errors of a failing call, in the loops over all calls.
pub const ERRORS: [Fault; 3] = [Fault::Error(ErrorKind::Other), Fault::Error(ErrorKind::StorageFull), Fault::ShortWrite];

/// Plays the script: campaigns, claims over two segments, a repeat, a redemption, a
/// cancellation, snapshots, the feed.
///
/// # Errors
/// [`End`].
pub fn script(world: &mut World) -> Result<(), End> {
    submit(world, "spring", None, What::Put(settings(60, 1), Precondition::Always))?;
    submit(world, "several", Some("several"), What::Put(settings(9, 3), Precondition::Always))?;
    world.commit()?;
    for round in 0..3 {
        world.prepare()?;
        for user in 0..15 {
            submit(world, "spring", None, What::Claim(format!("{}-{round}-{user}", "long".repeat(28))))?;
        }
        submit(world, "several", Some("again"), What::Claim("ann".to_owned()))?;
        world.read(Question::Campaign("spring"))?;
        world.freeze()?;
        world.commit()?;
        world.wall += 1_000;
        submit(world, "spring", None, What::Redeem(by_code(round + 1)))?;
        submit(world, "spring", None, What::Cancel(by_code(round + 9)))?;
        world.commit()?;
        world.write_snapshot()?;
        world.follow()?;
    }
    world.prepare()?;
    submit(world, "spring", None, What::Claim("last".to_owned()))?;
    world.commit()
}

/// Starts a world and plays the script with this fault; returns the world, the number of calls, and whether
/// the process died.
///
/// # Errors
/// The broken promise in words.
pub fn play(fault: Option<(u64, Fault)>) -> Result<(World, u64, bool), String> {
    let mut world = World::new(None, 0);
    world.start(&[])?;
    let calls = world.disk.calls_count();
    if let Some((after, fault)) = fault {
        world.disk.plan(after, fault);
    }
    let has_died = ends(script(&mut world))?;
    world.disk.clear_plan();
    let calls = world.disk.calls_count() - calls;
    Ok((world, calls, has_died))
}

/// After any fault: starts again, plays the script again, and starts once more with only the durable contents.
///
/// # Errors
/// The broken promise in words.
pub fn go_on(world: &mut World, troubles: &[Trouble]) -> Result<(), String> {
    world.start(troubles)?;
    if ends(script(world))? {
        return Err("the process died though nothing went wrong".to_owned());
    }
    world.power_cycle(Survival::Nothing);
    world.start(&[])
}

fn ends(end: Result<(), End>) -> Result<bool, String> {
    match end {
        Ok(()) => Ok(false),
        Err(End::Died) => Ok(true),
        Err(End::Broken(story)) => Err(story),
    }
}

/// Loses power at every call of the script, with each of `survivals`. Returns the number of cases.
///
/// # Errors
/// The case and its broken promise.
pub fn lose_power_everywhere(survivals: &[Survival]) -> Result<u64, String> {
    let (_, calls_count, _) = play(None)?;
    for after in 0..calls_count {
        for survival in survivals {
            let tell = |story| format!("power lost after {after} calls, {survival:?} survives: {story}");
            let (mut world, _, _) = play(Some((after, Fault::PowerLoss))).map_err(tell)?;
            world.power_cycle(*survival);
            go_on(&mut world, &[]).map_err(tell)?;
        }
    }
    Ok(calls_count * survivals.len() as u64)
}

/// Loses power at every call of the script, and injects a second fault at every call of the recovery. Returns
/// the number of cases.
///
/// # Errors
/// The case and its broken promise.
pub fn fail_recovery_everywhere(faults: &[Fault], survival: Survival) -> Result<u64, String> {
    let (_, calls_count, _) = play(None)?;
    let mut cases_count = 0;
    for at in 0..calls_count {
        let again = || -> Result<World, String> {
            let (mut world, _, _) = play(Some((at, Fault::PowerLoss)))?;
            world.power_cycle(survival);
            Ok(world)
        };
        for after in 0..again()?.calls_of_start()? {
            for fault in faults {
                let tell = |story| format!("power lost after {at} calls, {fault:?} after {after} of recovery: {story}");
                let trouble = Trouble { after, fault: *fault, survival: Survival::Mixed(at + after) };
                // Twice, so that the effects of the first attempt are interrupted too.
                again()?.start(&[trouble, trouble]).map_err(tell)?;
                cases_count += 1;
            }
        }
    }
    Ok(cases_count)
}

/// Fails every call of the script in every way, then restarts the process with the page cache intact, or
/// after a power loss. Returns the number of cases.
///
/// # Errors
/// The case and its broken promise.
pub fn fail_everywhere() -> Result<u64, String> {
    let (_, calls_count, _) = play(None)?;
    let mut cases_count = 0;
    for after in 0..calls_count {
        for fault in ERRORS {
            for survival in [None, Some(Survival::Nothing), Some(Survival::Mixed(after))] {
                let tell = |story| format!("{fault:?} after {after} calls, then {survival:?}: {story}");
                let (mut world, _, _) = play(Some((after, fault))).map_err(tell)?;
                let _ = world.die();
                survival.into_iter().for_each(|survival| world.power_cycle(survival));
                go_on(&mut world, &[]).map_err(tell)?;
                cases_count += 1;
            }
        }
    }
    Ok(cases_count)
}

/// Makes a request.
///
/// # Errors
/// [`End`].
pub fn submit(world: &mut World, campaign: &'static str, key: Option<&str>, what: What) -> Result<(), End> {
    let ask = Ask { id: world.next_id(), name: campaign, key: key.map(str::to_owned), what };
    world.submit(ask).map(|_| ())
}

fn by_code(serial: u32) -> By {
    Serial::new(serial).map_or_else(|| By::Subject("nobody".to_owned()), By::Code)
}
