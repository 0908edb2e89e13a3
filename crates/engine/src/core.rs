//! State, rules and staging: the critical section. It uses no disk, thread or clock, so that the simulation
//! can run it and Kafka's log can drive it in place of the journal.
//!
//! Deciding, evolving, assigning the LSN and staging happen in one call that cannot be interrupted (W1). The
//! value that the call returns names the record that it rests on; the value must not leave the process before
//! that record is durable (W2).

use std::collections::BTreeMap;
use std::mem;

use domain::hash::HashSeed;
use domain::types::{RequestId, Timestamp};
use domain::wire;
use domain::wire::command::{decode_command, encode_command};
use domain::{Action, Change, Command, Decision, Kind, Number, Record, Rejection, State, decide};
use journal::Lsn;
use journal::batch::Batch;

use crate::limits::{Limits, RECORD_BYTES_MAX, ROOM_BYTES_MIN};
use crate::views::{Done, Effect, Over, Refusal};

/// A value computed from the state, and the last record that it rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an answer may be given only when what it rests on is durable"]
pub struct RestsOn<T> {
    /// The value; to be released only when `lsn` is durable.
    pub value: T,
    /// The last record that it depends on; 0 if it depends on none.
    pub lsn: Lsn,
}

/// What a command would do if it were decided now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Prediction {
    /// It would change the state.
    TakesEffect,
    /// It would not change the state; this would be the answer.
    Answer(Box<Done>),
}

/// An observer of records: called for each one as it takes effect.
pub trait Watch {
    /// Called before `record` takes effect, with the state that it was decided on.
    fn before(&mut self, record: &Record<'_>, state: &State);

    /// Called after `record` has taken effect.
    fn after(&mut self, lsn: Lsn, record: &Record<'_>, state: &State);
}

/// State, staged records, and the capacity left for staging.
#[derive(Debug)]
pub struct Core {
    state: State,
    staged: Batch,
    staged_lsn: Lsn,
    /// For each aggregate changed since the start, the LSN of its last record: an answer about the aggregate
    /// rests on that record.
    aggregate_lsns: BTreeMap<Number, Lsn>,
    /// For each kind, the LSN of the last record of any of its aggregates.
    kind_lsns: [Lsn; Kind::ALL.len()],
    /// For each kind, the LSN of the last record that removed an aggregate: the answer "not found" rests on
    /// it.
    removed_lsns: [Lsn; Kind::ALL.len()],
    /// The aggregate whose deadline was served last; the next turn goes to the one after it.
    due_last: Option<Number>,
    /// Whether the next deadline has moved earlier since [`Core::take_due_earlier`] was last called.
    is_due_earlier: bool,
    /// The record that set the state's time: an answer rests on it if the clock is behind that time.
    time_lsn: Lsn,
    /// Bytes that the committer has taken and that are not durable yet.
    in_flight_bytes: u64,
    /// Bytes that the journal is guaranteed to accept.
    room_bytes: u64,
    limits: Limits,
    is_stopping: bool,
}

impl Core {
    /// A core with an empty state.
    #[must_use]
    pub fn new(seed: HashSeed, limits: Limits) -> Self {
        Self::resume(State::new(seed), Lsn::ZERO, limits)
    }

    /// A core whose state has the effect of all records up to `lsn`, all of them durable.
    #[must_use]
    pub fn resume(state: State, lsn: Lsn, limits: Limits) -> Self {
        assert!(limits.entries_max < u64::from(u32::MAX), "a serial has 32 bits");
        Self {
            state,
            staged: Batch::new(),
            staged_lsn: lsn,
            aggregate_lsns: BTreeMap::new(),
            kind_lsns: [Lsn::ZERO; Kind::ALL.len()],
            removed_lsns: [Lsn::ZERO; Kind::ALL.len()],
            due_last: None,
            is_due_earlier: false,
            time_lsn: Lsn::ZERO,
            in_flight_bytes: 0,
            room_bytes: 0,
            limits,
            is_stopping: false,
        }
    }

    /// The state, including records that are not durable yet.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The LSN of the last staged record.
    #[must_use]
    pub fn staged_lsn(&self) -> Lsn {
        self.staged_lsn
    }

    /// Whether anything is staged.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Decides a command. If it changes the state, applies the change and stages the record. `wall` is the
    /// clock's time; the command's timestamp is the larger of `wall` and the last record's time (T1).
    pub fn submit(&mut self, command: &Command<'_>, request_id: RequestId<'_>, wall: Timestamp) -> RestsOn<Result<Done, Refusal>> {
        let guard = PanicEnds;
        let answer = self.decide(command, request_id, wall);
        mem::forget(guard);
        answer
    }

    /// Runs one command that is due at `wall`; returns whether one was due and took effect.
    pub fn tick(&mut self, wall: Timestamp) -> bool {
        let now = self.state.time.max(wall);
        // Commands of the engine's own use at most half of the staging capacity; the rest is for callers.
        if self.limits.staged_bytes_max / 2 < self.staged.bytes_count() {
            return false;
        }
        let Some(due) = self.take_due(now) else { return false };
        let command = decode_command(&due).unwrap_or_else(|error| panic!("a command that was just encoded does not decode: {error}"));
        self.submit(&command, RequestId::ENGINE, wall).value.is_ok()
    }

    /// The next command that is due at `now`, encoded: a decoded one would borrow names from the state that
    /// it is about to change.
    fn take_due(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some((number, command)) = self.state.due_after(self.due_last, now) {
            encode_command(&command, &mut bytes);
            self.due_last = Some(number);
            return Some(bytes);
        }
        self.state.requests.next_deadline().filter(|deadline| *deadline <= now)?;
        encode_command(&Command::local(Action::ForgetRequests), &mut bytes);
        Some(bytes)
    }

    /// Whether the next deadline has moved earlier since the last call.
    pub fn take_due_earlier(&mut self) -> bool {
        mem::take(&mut self.is_due_earlier)
    }

    /// The next deadline: before it, [`Core::tick`] has nothing to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state.next_deadline()
    }

    /// Applies the effect of a record that is already durable, at start or when Kafka's log gives the order.
    ///
    /// # Errors
    /// The record does not fit the state: they belong to different histories. The text says how.
    pub fn replay(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), String> {
        if lsn != self.staged_lsn.next() {
            return Err(format!("it follows on record {}", self.staged_lsn));
        }
        if record.at < self.state.time && !matches!(record.change, Change::TimeSet { .. }) {
            return Err("its time is before that of the record ahead of it".to_owned());
        }
        if !self.state.fits(record) {
            return Err("the rules cannot have decided it after the records ahead of it".to_owned());
        }
        self.evolve(lsn, record);
        Ok(())
    }

    /// Applies a command that Kafka has already ordered, at that record's time. Limits were checked
    /// before the command was appended: nothing but the rules rejects it here. `watch` sees each
    /// decided record.
    ///
    /// # Errors
    /// The rules' rejection.
    pub fn apply(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        at: Timestamp,
        watch: &mut impl Watch,
    ) -> Result<Done, Rejection> {
        let guard = PanicEnds;
        let answer = self.apply_at(command, request_id, at, watch);
        mem::forget(guard);
        answer
    }

    /// Advances the state's time without deciding anything.
    pub fn pass_time(&mut self, at: Timestamp) {
        self.state.time = self.state.time.max(at);
    }

    /// What a command would do if it were decided now, at the state's time. Changes nothing.
    ///
    /// # Errors
    /// The rules' rejection.
    pub fn predict(&self, command: &Command<'_>) -> Result<Prediction, Rejection> {
        let now = self.state.time;
        Ok(match decide(&self.state, command, now)? {
            Decision::Change(_) => Prediction::TakesEffect,
            Decision::Answer(answer) => Prediction::Answer(Box::new(Done::of(&self.state, &answer, now))),
            Decision::Nothing => Prediction::Answer(Box::new(Done::NOTHING)),
        })
    }

    /// Moves all staged records into `batch`, which must be empty. They count as in flight until
    /// [`Core::settle`]. Returns the LSN of the last one.
    pub fn take_staged(&mut self, batch: &mut Batch) -> Lsn {
        debug_assert!(batch.is_empty());
        mem::swap(&mut self.staged, batch);
        self.in_flight_bytes = batch.bytes_count();
        self.staged_lsn
    }

    /// The records taken last are durable; the journal has room for `room_bytes` more.
    pub fn settle(&mut self, room_bytes: u64) {
        self.in_flight_bytes = 0;
        self.room_bytes = room_bytes;
    }

    /// A spare segment with room for `capacity_bytes` has become ready.
    pub fn add_room(&mut self, capacity_bytes: u64) {
        self.room_bytes = self.room_bytes.max(capacity_bytes);
    }

    /// Rejects every further command with [`Refusal::Stopping`].
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether every further command is rejected because the engine is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether commands are rejected because the journal has no room left.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.room_bytes < ROOM_BYTES_MIN + self.in_flight_bytes
    }

    /// Reads the state as of `wall`, or of the last record's time where that is later.
    pub fn read<T>(&self, over: Over<'_>, wall: Timestamp, look: impl FnOnce(&State, Timestamp) -> T) -> RestsOn<T> {
        let value = look(&self.state, self.state.time.max(wall));
        RestsOn { value, lsn: self.lsn_over(over).max(self.lsn_of_time(wall)) }
    }

    fn decide(&mut self, command: &Command<'_>, request_id: RequestId<'_>, wall: Timestamp) -> RestsOn<Result<Done, Refusal>> {
        let now = self.state.time.max(wall);
        match decide(&self.state, command, now) {
            Err(rejection) => self.rests(command, wall, Err(Refusal::Rejected(rejection))),
            Ok(Decision::Answer(answer)) => self.rests(command, wall, Ok(Done::of(&self.state, &answer, now))),
            Ok(Decision::Nothing) => self.rests(command, wall, Ok(Done::NOTHING)),
            Ok(Decision::Change(change)) => self.record(command, request_id, change, now),
        }
    }

    fn apply_at(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        at: Timestamp,
        watch: &mut impl Watch,
    ) -> Result<Done, Rejection> {
        self.pass_time(at);
        let now = self.state.time;
        match decide(&self.state, command, now)? {
            Decision::Answer(answer) => Ok(Done::of(&self.state, &answer, now)),
            Decision::Nothing => Ok(Done::NOTHING),
            Decision::Change(change) => {
                let at = change.decided_at(now);
                let record = Record { at, actor: command.actor, request_id, request: command.request, change };
                watch.before(&record, &self.state);
                let lsn = self.staged_lsn.next();
                let done = self.evolve(lsn, &record);
                watch.after(lsn, &record, &self.state);
                Ok(done)
            }
        }
    }

    /// Applies and stages a command that takes effect, unless there is no room for it.
    fn record(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        change: Change<'_>,
        now: Timestamp,
    ) -> RestsOn<Result<Done, Refusal>> {
        if let Err(refusal) = self.check_room(command) {
            return RestsOn { value: Err(refusal), lsn: Lsn::ZERO };
        }
        let record = Record { at: change.decided_at(now), actor: command.actor, request_id, request: command.request, change };
        self.staged.push(|body, private| wire::encode_record(&record, body, private));
        let lsn = self.staged_lsn.next();
        RestsOn { value: Ok(self.evolve(lsn, &record)), lsn }
    }

    fn evolve(&mut self, lsn: Lsn, record: &Record<'_>) -> Done {
        if self.state.time != record.at {
            self.time_lsn = lsn;
        }
        let due_before = self.next_due_of(record);
        let kind_removed = if let Change::Removed { number } = record.change { self.kind_at(number) } else { None };
        let outcome = self.state.evolve(record);
        self.staged_lsn = lsn;
        for number in record.change.numbers() {
            self.touched(lsn, number);
        }
        if let Some(kind) = kind_removed {
            set(&mut self.removed_lsns, kind, lsn);
            set(&mut self.kind_lsns, kind, lsn);
        }
        let due_after = self.next_due_of(record);
        self.is_due_earlier |= due_after.is_some_and(|after| due_before.is_none_or(|before| after < before));
        let effect = outcome.map_or(Effect::Nothing, |outcome| Effect::of(&self.state, &outcome, self.state.time));
        Done { effect, novelty: domain::Novelty::Fresh }
    }

    /// Notes that record `lsn` has changed or removed the aggregate.
    fn touched(&mut self, lsn: Lsn, number: Number) {
        let Some(aggregate) = self.state.at(number) else {
            self.aggregate_lsns.remove(&number);
            return;
        };
        self.aggregate_lsns.insert(number, lsn);
        set(&mut self.kind_lsns, aggregate.kind(), lsn);
        assert_eq!(aggregate.check(), Ok(()), "an invariant of the rules is broken by record {lsn}");
    }

    fn next_due_of(&self, record: &Record<'_>) -> Option<Timestamp> {
        // Of most records nothing falls due: they are spared two lookups each.
        if !self.state.has_due() {
            return None;
        }
        record.change.numbers().filter_map(|number| self.state.at(number)?.next_due()).min()
    }

    fn kind_at(&self, number: Number) -> Option<Kind> {
        self.state.at(number).map(domain::workload::AnyAggregate::kind)
    }

    fn check_room(&self, command: &Command<'_>) -> Result<(), Refusal> {
        if self.is_stopping {
            return Err(Refusal::Stopping);
        }
        let wanted = self.staged.bytes_count() + self.in_flight_bytes + RECORD_BYTES_MAX;
        if self.limits.staged_bytes_max < self.staged.bytes_count() + RECORD_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        if self.room_bytes < wanted {
            return Err(if self.is_read_only() { Refusal::StorageFull } else { Refusal::Busy });
        }
        self.limits.exceeded(&self.state, command).map_or(Ok(()), |what| Err(Refusal::MemoryLimit(what)))
    }

    /// A repeat or a rejection rests on the last record of each aggregate that the command names, and on the
    /// record that set the state's time.
    fn rests<T>(&self, command: &Command<'_>, wall: Timestamp, value: T) -> RestsOn<T> {
        let Some((kind, name)) = command.action.target() else { return RestsOn { value, lsn: Lsn::ZERO } };
        let mut lsn = self.lsn_over(Over::One(kind, name)).max(self.lsn_of_time(wall));
        if let Action::DoBoth(_, second) = &command.action {
            lsn = lsn.max(self.lsn_over(Over::One(second.command.kind(), second.name)));
        }
        RestsOn { value, lsn }
    }

    fn lsn_over(&self, over: Over<'_>) -> Lsn {
        match over {
            Over::One(kind, name) => match self.state.find(kind, name) {
                Some(aggregate) => self.aggregate_lsns.get(&aggregate.head().number).copied().unwrap_or_default(),
                None => of(&self.removed_lsns, kind),
            },
            Over::Kind(kind) => of(&self.kind_lsns, kind),
            Over::All => self.staged_lsn,
        }
    }

    /// If the clock is behind the state's time, that time comes from a record, which may not be durable yet.
    fn lsn_of_time(&self, wall: Timestamp) -> Lsn {
        if wall < self.state.time { self.time_lsn } else { Lsn::ZERO }
    }
}

fn of(lsns: &[Lsn], kind: Kind) -> Lsn {
    lsns.get(kind as usize).copied().unwrap_or_default()
}

fn set(lsns: &mut [Lsn], kind: Kind, lsn: Lsn) {
    let Some(last) = lsns.get_mut(kind as usize) else { panic!("{kind:?} has no place") };
    *last = lsn;
}

/// A panic while state and staged records may disagree ends the process (W1).
struct PanicEnds;

impl Drop for PanicEnds {
    fn drop(&mut self) {
        std::process::abort();
    }
}
