//! The path of a command: predicted, perhaps admitted by the gate, appended, answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::types::{Name, RequestId, Timestamp};
use domain::{Action, Command, Kind, Rejection, Step};
use engine::core::Prediction;
use engine::views::{Done, Effect, Refusal, Shown};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Answered, Log, Node, standing};
use crate::protocol::gate::{GateKey, GateServer, GateVerdict, Mark};
use crate::protocol::lane::{Lane, LaneVerdict, Standing};
use crate::protocol::limits::{ANSWER_TIME_MAX, GATE_LOOK, GATE_PATIENCE, PENDING_MAX};
use crate::protocol::record::{Body, Routing};
use crate::protocol::replica::Replica;

impl<L: Log, G: GateServer> Node<L, G> {
    /// Decides a command through the log.
    ///
    /// # Errors
    /// [`Refusal`].
    ///
    /// # Panics
    /// If the command is for no aggregate: the removal of request keys is the node's own command.
    pub async fn submit(&self, command: &Command<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let Some((_, name)) = command.action.target() else { panic!("a caller asks to forget request keys") };
        let partition = self.partition_of(name);
        self.check_takes(partition)?;
        let is_pinned = command.action.steps().any(|step| step.command.is_pinned());
        if (is_pinned || self.predict(partition, command) != Ok(Prediction::TakesEffect))
            && let Some(answer) = self.answer_here(partition, command).await?
        {
            return answer;
        }
        self.check_room(partition, command)?;
        let pinned = if is_pinned { self.pin(partition, command) } else { Pinned::Command(*command) };
        let command = match pinned {
            Pinned::Command(command) => command,
            Pinned::Answer(answer) => return answer,
        };
        let done = match self.gated(partition, &command) {
            Some(step) => self.take_unit(partition, &command, step, request_id).await?,
            None => self.append(partition, &command, request_id).await.1?,
        };
        self.unmark(partition, &command, &done);
        Ok(done)
    }

    /// The command with each of its entries named, so that the same command a second time never touches
    /// another entry. The state may have changed since the barrier: then there may be an answer already, from
    /// the request key if the request has one.
    fn pin<'a>(&self, partition: u32, command: &Command<'a>) -> Pinned<'a> {
        self.with_replica(partition, |replica| match replica.core().predict(command) {
            Ok(Prediction::TakesEffect) => match pin_action(replica, command.action) {
                Ok(action) => Pinned::Command(Command { action, ..*command }),
                Err(rejection) => Pinned::Answer(Err(Refusal::Rejected(rejection))),
            },
            Ok(Prediction::Answer(done)) => Pinned::Answer(Ok(*done)),
            Err(rejection) => Pinned::Answer(Err(Refusal::Rejected(rejection))),
        })
    }

    /// The first step that takes a unit counted by a gate.
    fn gated<'c, 'a>(&self, partition: u32, command: &'c Command<'a>) -> Option<&'c Step<'a>> {
        self.with_replica(partition, |replica| command.action.steps().find(|step| gate_view(replica, step).is_some()))
    }

    /// Submits a command that would take a unit, according to the node's own state.
    async fn take_unit(&self, partition: u32, command: &Command<'_>, step: &Step<'_>, request_id: RequestId<'_>) -> Result<Done, Refusal> {
        let lane = self.lane(partition, step.command.kind(), step.name);
        let mut patience = GATE_PATIENCE;
        loop {
            let Some((standing, mark)) = self.with_replica(partition, |replica| gate_view(replica, step)) else {
                return self.append(partition, command, request_id).await.1;
            };
            match lane.enter(mark, standing).await {
                LaneVerdict::Gate(GateVerdict::Passed) => {
                    let unit = Unit { lane: &lane, mark, outcome: UnitOutcome::Unclear };
                    return self.append_passed(partition, command, unit, request_id).await;
                }
                LaneVerdict::Full => return Err(Refusal::Busy),
                LaneVerdict::Away => return self.append_ungated(partition, command, &lane, request_id).await,
                LaneVerdict::Gate(GateVerdict::SoldOut | GateVerdict::Marked) => {}
            }
            // A refusal by the gate counts only if the node's own state agrees.
            if let Some(answer) = self.answer_here(partition, command).await? {
                return answer;
            }
            // Time during which the log stands still is not counted: no command in flight can be decided then.
            let Some(rest) = patience.checked_sub(GATE_LOOK) else {
                return self.append_ungated(partition, command, &lane, request_id).await;
            };
            patience = rest;
            // Commands in flight either take the last units or give them back.
            tokio::time::sleep(GATE_LOOK).await;
        }
    }

    async fn append_passed(
        &self,
        partition: u32,
        command: &Command<'_>,
        mut unit: Unit<'_, G>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let (offset, answer) = self.append(partition, command, request_id).await;
        unit.outcome = match &answer {
            Ok(Done { effect: Effect::Nothing, .. }) => UnitOutcome::Returned,
            Ok(Done { novelty: domain::Novelty::Fresh, .. }) => UnitOutcome::Taken(offset),
            // The command may still be decided.
            Err(Refusal::Unknown) => UnitOutcome::Unclear,
            Ok(_) => UnitOutcome::Returned,
            Err(_) => UnitOutcome::Refused,
        };
        answer
    }

    /// Appends without the gate's permission: a few commands at a time, and only while the node's
    /// own state has units left.
    async fn append_ungated(
        &self,
        partition: u32,
        command: &Command<'_>,
        lane: &Lane<G>,
        request_id: RequestId<'_>,
    ) -> Result<Done, Refusal> {
        let _permit = lane.ungated().await.ok_or(Refusal::Busy)?;
        // The wait may have been long.
        self.check_takes(partition)?;
        if self.predict(partition, command) != Ok(Prediction::TakesEffect)
            && let Some(answer) = self.answer_here(partition, command).await?
        {
            return answer;
        }
        let (offset, answer) = self.append(partition, command, request_id).await;
        offset.into_iter().for_each(|offset| lane.decided(offset));
        answer
    }

    /// Removes the marks of subjects that gave their units back.
    fn unmark(&self, partition: u32, command: &Command<'_>, done: &Done) {
        for (step, shown) in command.action.steps().zip(shown_by(&done.effect)) {
            let subject = shown.view.as_ref().and_then(|view| shown.outcome.unmarked(view));
            if let Some(subject) = subject {
                self.lane(partition, step.command.kind(), step.name).unmark(mark_of(subject));
            }
        }
    }

    /// The answer if the command would change nothing, confirmed by a barrier; `None` if it would take effect.
    async fn answer_here(&self, partition: u32, command: &Command<'_>) -> Result<Option<Result<Done, Refusal>>, Refusal> {
        self.pass_barrier(partition).await?;
        Ok(match self.predict(partition, command) {
            Ok(Prediction::TakesEffect) => None,
            Ok(Prediction::Answer(done)) => Some(Ok(*done)),
            Err(rejection) => Some(Err(Refusal::Rejected(rejection))),
        })
    }

    fn predict(&self, partition: u32, command: &Command<'_>) -> Result<Prediction, Rejection> {
        self.with_replica(partition, |replica| replica.core().predict(command))
    }

    /// Sets the time of each partition back to `to`; partitions that are not ahead of it stay as they are.
    ///
    /// # Errors
    /// [`Refusal`]; partitions before the one that failed are set.
    pub async fn set_time(&self, to: Timestamp, request_id: RequestId<'_>) -> Result<(), Refusal> {
        for partition in 0..self.partitions_count() {
            self.check_takes(partition)?;
            self.pass_barrier(partition).await?;
            if to < self.with_replica(partition, |replica| replica.core().state().time) {
                let command = Command::local(Action::SetTime { to });
                self.append_routed(partition, Routing::Partition(partition), &command, request_id).await.1?;
            }
        }
        Ok(())
    }

    async fn append(&self, partition: u32, command: &Command<'_>, request_id: RequestId<'_>) -> (Option<u64>, Result<Done, Refusal>) {
        let Some(group) = command.action.group() else { panic!("a command for two groups is rejected before it is appended") };
        self.append_routed(partition, Routing::Group(group), command, request_id).await
    }

    /// Appends a command, once, and waits until it is read back. Returns the offset of its record too.
    async fn append_routed(
        &self,
        partition: u32,
        routing: Routing<'_>,
        command: &Command<'_>,
        request_id: RequestId<'_>,
    ) -> (Option<u64>, Result<Done, Refusal>) {
        let sequence = self.next_sequence();
        let Some((_guard, receiver)) = self.expect(sequence) else { return (None, Err(Refusal::Busy)) };
        let body = Body::Command { request_id, command: *command };
        if self.append_record(partition, routing, sequence, body).is_err() {
            return (None, Err(Refusal::Busy));
        }
        match timeout(ANSWER_TIME_MAX, receiver).await {
            Ok(Ok((offset, answer))) => (Some(offset), answer.map_err(Refusal::Rejected)),
            Ok(Err(_)) => (None, Err(Refusal::Unknown)),
            Err(_) => {
                self.cut_off(partition);
                (None, Err(Refusal::Unknown))
            }
        }
    }

    fn expect(&self, sequence: u64) -> Option<(Expected<'_>, oneshot::Receiver<Answered>)> {
        let mut pending = self.pending.lock();
        if PENDING_MAX <= pending.len() || self.has_failed() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        pending.insert(sequence, sender);
        Some((Expected { pending: &self.pending, sequence }, receiver))
    }

    fn check_takes(&self, partition: u32) -> Result<(), Refusal> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        let is_cut_off = self.partition(partition).is_cut_off.load(Ordering::Relaxed);
        if is_cut_off { Err(Refusal::NotCaughtUp) } else { Ok(()) }
    }

    /// Memory limits are checked before a command is appended: afterwards only the rules may reject it.
    fn check_room(&self, partition: u32, command: &Command<'_>) -> Result<(), Refusal> {
        let exceeded = self.with_replica(partition, |replica| self.limits.exceeded(replica.core().state(), command));
        exceeded.map_or(Ok(()), |what| Err(Refusal::MemoryLimit(what)))
    }

    fn lane(&self, partition: u32, kind: Kind, name: Name<'_>) -> Arc<Lane<G>> {
        let place = self.partition(partition);
        let lane = || {
            let key = GateKey { log: self.log_id, partition, kind, name: name.as_str().to_owned() };
            Lane::new(self.gate.clone(), key, self.id)
        };
        let mut lanes = place.lanes.lock();
        Arc::clone(lanes.entry((kind, name.as_str().to_owned())).or_insert_with(lane))
    }
}

/// The result of naming a command's entries.
enum Pinned<'a> {
    Command(Command<'a>),
    Answer(Result<Done, Refusal>),
}

/// The action of a command that would take effect, with each of its entries named.
fn pin_action<'a>(replica: &Replica, action: Action<'a>) -> Result<Action<'a>, Rejection> {
    let pin = |step: Step<'a>| {
        let aggregate = replica.core().state().find(step.command.kind(), step.name);
        let Some(aggregate) = aggregate else { panic!("a command would take effect on {}, which is not there", step.name) };
        let command = aggregate.pin(step.command).map_err(Rejection::Of)?;
        Ok(Step { command, ..step })
    };
    Ok(match action {
        Action::Do(step) => Action::Do(pin(step)?),
        Action::DoBoth(first, second) => Action::DoBoth(pin(first)?, pin(second)?),
        Action::Put { .. } | Action::Patch { .. } | Action::Remove { .. } | Action::ForgetRequests | Action::SetTime { .. } => action,
    })
}

/// The shown outcomes of an effect, in the order of its command's steps.
fn shown_by(effect: &Effect) -> impl Iterator<Item = &Shown> {
    let (first, second) = match effect {
        Effect::Did(shown) => (Some(shown), None),
        Effect::DidBoth(both) => (Some(&both.0), Some(&both.1)),
        Effect::Written { .. } | Effect::Removed { .. } | Effect::Nothing => (None, None),
    };
    first.into_iter().chain(second)
}

/// A command that a caller waits for; dropping it removes it from `pending`.
struct Expected<'a> {
    pending: &'a Mutex<BTreeMap<u64, oneshot::Sender<Answered>>>,
    sequence: u64,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.sequence);
    }
}

/// A unit that the gate granted, until its outcome is known.
struct Unit<'a, G: GateServer> {
    lane: &'a Arc<Lane<G>>,
    mark: Option<Mark>,
    outcome: UnitOutcome,
}

enum UnitOutcome {
    Taken(Option<u64>),
    Returned,
    Refused,
    Unclear,
}

impl<G: GateServer> Drop for Unit<'_, G> {
    fn drop(&mut self) {
        match self.outcome {
            UnitOutcome::Taken(offset) => self.lane.taken(offset),
            UnitOutcome::Returned => self.lane.returned(),
            UnitOutcome::Refused => self.lane.refused(self.mark),
            // The next correction gives the unit back if it was not taken.
            UnitOutcome::Unclear => self.lane.taken(None),
        }
    }
}

/// What the gate needs to know about a step; `None` if it takes no unit of an existing aggregate.
fn gate_view(replica: &Replica, step: &Step<'_>) -> Option<(Standing, Option<Mark>)> {
    let aggregate = replica.core().state().find(step.command.kind(), step.name)?;
    let view = aggregate.gate(&step.command)?;
    Some((standing(replica, aggregate)?, view.only_once.map(mark_of)))
}

/// A subject's mark is the same on every node: it is derived from the subject alone.
fn mark_of(subject: &str) -> Mark {
    const SEED: domain::hash::HashSeed = domain::hash::HashSeed(0x6d61_726b, 0x7375_626a);
    let [a, b, c, d, e, f, g, h] = SEED.hash(subject.as_bytes()).to_le_bytes();
    Mark { set: u32::from_le_bytes([a, b, c, d]), number: i32::from_le_bytes([e, f, g, h]) }
}
