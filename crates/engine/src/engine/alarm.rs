//! The thread that looks after deadlines: it sleeps until the next one and does what has fallen due.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Novelty;
use domain::types::Quantity;

use super::{Engine, Shared};
use crate::commit::lock;
use crate::views::{Done, Effect, Refusal};

/// The longest sleep: a clock that was set does not keep anything from falling due for longer.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// The shortest: times are in milliseconds.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// How long to wait where something is due and cannot be written now.
const RETRY: Duration = Duration::from_millis(5);

/// Wakes the thread before its time.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    call: Mutex<Call>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Call {
    #[default]
    None,
    Look,
    End,
}

impl Alarm {
    /// Something may be due earlier than was known.
    pub(super) fn ring(&self) {
        let mut call = self.call();
        if *call == Call::None {
            *call = Call::Look;
            self.changed.notify_all();
        }
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        *self.call() = Call::End;
        self.changed.notify_all();
    }

    /// Sleeps until it is called, at most so long; says whether to go on.
    fn sleep(&self, at_most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.call(), at_most, |call| *call == Call::None);
        let mut call = waited.unwrap_or_else(PoisonError::into_inner).0;
        if *call == Call::Look {
            *call = Call::None;
        }
        *call != Call::End
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Does what has fallen due by now, instead of waiting until the engine does so by itself.
    pub fn do_due(&self) {
        do_due(&self.shared);
    }
}

/// Whether something falls due earlier than was known: a queue has begun, or has other settings.
pub(super) fn brings_forward(answer: &Result<Done, Refusal>) -> bool {
    let Ok(Done { effect, novelty: Novelty::Fresh }) = answer else { return false };
    match effect {
        Effect::Claimed(claim) => claim.waiting.is_some_and(|waiting| waiting.place == 1),
        Effect::Campaign { campaign, .. } => campaign.view.pending != Quantity::ZERO,
        Effect::Redeemed(_) | Effect::Cancelled(_) | Effect::Policy(_) | Effect::Nothing => false,
    }
}

/// Does what falls due until the engine closes.
pub(super) fn run(shared: &Shared) {
    while shared.alarm.sleep(until_next(shared)) {
        do_due(shared);
    }
}

/// Does what has fallen due by now.
fn do_due(shared: &Shared) {
    // The lock is given back after each: others come in between.
    while lock(&shared.core).tick(shared.clock.now()) {
        shared.staged.notify_one();
    }
}

fn until_next(shared: &Shared) -> Duration {
    let wall = shared.clock.now();
    let Some(deadline) = lock(&shared.core).next_deadline() else { return SLEEP_MAX };
    match deadline.millis().checked_sub(wall.millis()) {
        Some(millis) if 0 < millis => Duration::from_millis(millis).clamp(SLEEP_MIN, SLEEP_MAX),
        // What was due a moment ago has been done, unless it could not be written.
        Some(_) | None => RETRY,
    }
}

#[cfg(test)]
mod tests {
    use domain::Command;
    use domain::coupon::queue::{Mode, QueuePatch, QueueSettings};
    use domain::coupon::{self, ClaimOne, Patch, Precondition, Put, Settings};
    use domain::hash::HashSeed;
    use domain::state::CommandKind;
    use domain::types::{ActorId, CampaignName, RequestId, SubjectId, Timestamp};

    use super::*;
    use crate::core::Core;
    use crate::limits::Limits;

    #[test]
    fn the_first_in_a_queue_and_other_settings_of_one_ring_the_alarm_and_nothing_else_does() {
        let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
        core.settle(1 << 20);
        let mut rings = |coupon| {
            let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon) };
            brings_forward(&core.submit(&command, RequestId::ENGINE, Timestamp::ZERO).value)
        };
        let campaign = CampaignName::new("spring").unwrap();
        let queue = QueueSettings { mode: Mode::Queued, decisions_per_second_max: Some(1), ..QueueSettings::DIRECT };
        let settings = Settings { queue, ..Settings::plain(Quantity::MAX) };
        let claim = |subject| coupon::Command::Claim(ClaimOne { campaign, subject: SubjectId::new(subject).unwrap() });
        let direct = QueuePatch { mode: Some(Mode::Direct), ..QueuePatch::default() };
        let (precondition, times) = (Precondition::Always, None);
        let patch = Patch {
            campaign,
            precondition,
            stock: None,
            per_subject_max: None,
            opens_at: times,
            closes_at: times,
            redeem_until: times,
            paused: None,
            queue: direct,
        };
        assert!(!rings(coupon::Command::Put(Put { campaign, settings, precondition, code_key: 1 })));
        assert_eq!(["ann", "bob", "cat", "bob"].map(|subject| rings(claim(subject))), [false, true, false, false]);
        assert!(rings(coupon::Command::Patch(patch)));
    }
}
