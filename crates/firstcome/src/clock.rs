//! The server's clock: watched while it serves, kept over restarts, and shown and set right by the operator
//! (`firstcome clock`). What to do about a clock that is wrong: docs/clocks.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::types::{RequestId, Timestamp};
use edge::times;
use engine::clock::{Clock, Leap, Seen, WatchedClock};
use engine::limits::CLOCK_BEHIND_MS_MAX;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::backend::Declined;
use crate::keys::{Decider, KeyError};

/// How often the wall clock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The file in the data folder: the machine's start, and the believed offset.
const FILE: &str = "clock";
/// A change of the offset that is worth writing.
const WORTH_WRITING_NS: u64 = 100_000_000;

/// What the operator asks about the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockAsk {
    /// How it stands.
    Show,
    /// The wall clock is right: adopt its leap now.
    Confirm,
    /// The last record's time is wrong: set it back to the clock's.
    SetBack,
}

/// How the clocks stand, and what was done about them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockJson {
    /// The time that the server decides by, unless the last record's is later.
    pub time: String,
    /// The wall clock of its machine.
    pub wall: String,
    /// The leap of the wall clock that is not adopted, in milliseconds.
    pub leap_ms: Option<i64>,
    /// How long it has lasted.
    pub leap_lasted_ms: Option<u64>,
    /// How long it must last to be adopted.
    pub confirm_after_ms: u64,
    /// How far the last record's time is ahead of `time`: so long the time stands.
    pub record_ahead_ms: u64,
    /// Whether the question changed anything.
    pub changed: bool,
}

impl ClockJson {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("time        {}\nwall clock  {}\n", self.time, self.wall);
        if let (Some(by), Some(lasted)) = (self.leap_ms, self.leap_lasted_ms) {
            let rest = self.confirm_after_ms.saturating_sub(lasted).div_ceil(1_000);
            text += &format!("leap        {by} ms, not adopted; by itself in {rest} s, now with: firstcome clock confirm\n");
        }
        if self.record_ahead_ms != 0 {
            text += &format!("records     {} ms ahead: the time stands; to set it back: firstcome clock set-back\n", self.record_ahead_ms);
        }
        text
    }
}

/// Answers the operator.
///
/// # Errors
/// [`KeyError`].
pub async fn answer(decider: Decider<'_>, ask: ClockAsk, now: Timestamp) -> Result<ClockJson, KeyError> {
    let watched = if let Decider::Server(app) = decider { app.clock.watched() } else { None };
    let changed = match ask {
        ClockAsk::Show => false,
        ClockAsk::Confirm => {
            let adopted = watched.and_then(|clock| clock.adopt());
            adopted.inspect(|leap| tracing::warn!(by_ms = leap.by_ms, by = "operator", "the leap of the wall clock is adopted")).is_some()
        }
        ClockAsk::SetBack if watched.is_some_and(|clock| clock.leapt().is_some()) => {
            let what =
                "the wall clock has leapt, and the leap is not adopted: confirm it first (firstcome clock confirm), or set the clock right";
            return Err(KeyError::Field { field: "clock", what });
        }
        ClockAsk::SetBack => {
            let ahead_ms = ahead_ms(decider, now);
            if ahead_ms != 0 {
                set_back(decider, now).await.map_err(KeyError::Declined)?;
                tracing::warn!(by_ms = ahead_ms, to = times::format(now), by = "operator", "the time is set back");
            }
            ahead_ms != 0
        }
    };
    let now = if let Decider::Server(app) = decider { app.clock.now() } else { now };
    let leap = watched.and_then(|clock| clock.leapt());
    Ok(ClockJson {
        time: times::format(now),
        wall: times::format(watched.map_or(now, |clock| clock.wall())),
        leap_ms: leap.map(|leap| leap.by_ms),
        leap_lasted_ms: leap.map(|leap| millis(leap.lasted)),
        confirm_after_ms: watched.map_or(0, |clock| millis(clock.confirm_after())),
        record_ahead_ms: ahead_ms(decider, now),
        changed,
    })
}

fn ahead_ms(decider: Decider<'_>, now: Timestamp) -> u64 {
    match decider {
        Decider::Server(app) => app.ahead_of_clock_ms(),
        Decider::Journal(engine) => engine.time().millis().saturating_sub(now.millis()),
    }
}

async fn set_back(decider: Decider<'_>, to: Timestamp) -> Result<(), Declined> {
    match decider {
        Decider::Server(app) => app.backend.set_time(to).await,
        Decider::Journal(engine) => Ok(engine.set_time(to, RequestId::OPERATOR).await?),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The believed offset, in the data folder. It is worth something until the machine starts again, so it is not
/// synced: after a loss of power it is of another start.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    boot: String,
    offset_ns: Option<i64>,
}

impl Kept {
    /// What an earlier process believed, if that was since the machine was started.
    fn of(folder: &Path) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let mut kept = Self { path: folder.join(FILE), boot, offset_ns: None };
        let before = fs::read_to_string(&kept.path).ok();
        let offset_ns = before.as_deref().and_then(|text| text.trim().split_once(' ')).filter(|(boot, _)| *boot == kept.boot);
        kept.offset_ns = offset_ns.and_then(|(_, offset)| offset.parse().ok()).filter(|_| !kept.boot.is_empty());
        kept
    }

    fn keep(&mut self, offset_ns: i64) {
        if self.boot.is_empty() || self.offset_ns.is_some_and(|kept| kept.abs_diff(offset_ns) < WORTH_WRITING_NS) {
            return;
        }
        let new = self.path.with_extension("new");
        let text = format!("{} {offset_ns}\n", self.boot);
        // On a full disk the next start believes the wall clock.
        if fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)).is_ok() {
            self.offset_ns = Some(offset_ns);
        }
    }

    /// Looks at the wall clock, reports what is new, and keeps the offset.
    fn look(&mut self, clock: &WatchedClock) {
        report(clock.watch(), clock);
        self.keep(clock.offset_ns());
    }
}

/// At start: goes on with the time of the process before, and looks at the wall clock once. Nothing is written:
/// the start may be refused.
pub(crate) fn resume(folder: &Path, clock: &Clock) {
    let Some(clock) = clock.watched() else { return };
    if let Some(offset_ns) = Kept::of(folder).offset_ns {
        clock.resume(offset_ns);
    }
    report(clock.watch(), clock);
}

fn report(seen: Seen, clock: &WatchedClock) {
    let told = |leap: Leap| (leap.by_ms, millis(leap.lasted));
    match seen {
        Seen::Same => {}
        Seen::Leapt(leap) => {
            let confirm_after_s = clock.confirm_after().as_secs();
            tracing::error!(
                by_ms = leap.by_ms,
                confirm_after_s,
                "the wall clock has leapt; nothing is decided by it until it has lasted, or `firstcome clock confirm`"
            );
        }
        Seen::Returned(leap) => {
            let (by_ms, lasted_ms) = told(leap);
            tracing::warn!(by_ms, lasted_ms, "the wall clock is back; nothing was decided by its leap");
        }
        Seen::Adopted(leap) => {
            let (by_ms, lasted_ms) = told(leap);
            tracing::warn!(by_ms, lasted_ms, "the leap of the wall clock has lasted and is adopted");
        }
    }
}

/// Watches the clocks while the server runs; never returns.
pub(crate) async fn watch(app: Arc<App>, folder: PathBuf) {
    let mut kept = Kept::of(&folder);
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_ahead = false;
    loop {
        ticks.tick().await;
        let Some(clock) = app.clock.watched() else { return };
        kept.look(clock);
        let ahead_ms = app.ahead_of_clock_ms();
        let was_ahead = std::mem::replace(&mut is_ahead, CLOCK_BEHIND_MS_MAX < ahead_ms);
        if is_ahead && !was_ahead {
            tracing::error!(ahead_ms, "the last record's time is ahead of the clock: the time stands; see `firstcome clock`");
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::clock::{CONFIRM_AFTER, ManualSource};

    use super::*;

    #[test]
    fn a_restart_on_the_same_machine_does_not_believe_a_leap() {
        let folder = tempfile::tempdir().unwrap();
        let source = ManualSource::at(Timestamp::from_millis(1_000_000).unwrap());
        let clock = || WatchedClock::manual(&source, CONFIRM_AFTER);
        let resumed = |clock: &Arc<WatchedClock>| resume(folder.path(), &Clock::Watched(Arc::clone(clock)));
        let first = clock();
        resumed(&first);
        Kept::of(folder.path()).look(&first);
        source.step_ms(172_800_000);
        let second = clock();
        resumed(&second);
        assert_eq!(second.now(), first.now());
        assert!(second.leapt().is_some_and(|leap| leap.by_ms == 172_800_000));
        // After a start of the machine the file says nothing.
        fs::write(folder.path().join(FILE), "another-start 5\n").unwrap();
        let third = clock();
        resumed(&third);
        assert_eq!((third.leapt(), third.now()), (None, third.wall()));
    }
}
