//! A state as canonical bytes and back: what a snapshot holds, and what tells whether two states are
//! the same (J1). The tables in memory, whose places depend on a random key, are not part of it.

use std::sync::Arc;

use super::DecodeError;
use super::bytes::{In, Out, Part, Reader, put_text, put_time, put_u32, put_u64};
use crate::hash::HashSeed;
use crate::request::{Fingerprint, FrozenRequests, Outcome, Remembered};
use crate::state::State;
use crate::types::{ActorId, Name, RequestKey, Timestamp};
use crate::workload::{AnyAggregate, AnyFrozen, AnyOutcome, AnySettings, AnySummary, Head, Kind, Number};

/// The number of the state format that is written.
pub const STATE_FORMAT: u8 = 3;
/// The format before: a campaign's items do not say how many claims were decided before the time was set back.
const WITHOUT_DECIDED_BEFORE: u8 = 2;

const HEAD: u8 = 1;
const AGGREGATE: u8 = 2;
const ITEMS: u8 = 3;
const REQUESTS: u8 = 4;
/// Requests in one section.
const SECTION_REQUESTS: usize = 1_024;

/// The state at an instant. Taking it is a matter of microseconds, because entries and requests are
/// shared with the state, not copied.
#[derive(Debug)]
pub struct FrozenState {
    time: Timestamp,
    numbers_count: u32,
    aggregates: Vec<AnyFrozen>,
    requests: FrozenRequests,
}

impl State {
    /// The state as it is now, shared.
    #[must_use]
    pub fn freeze(&self) -> FrozenState {
        FrozenState {
            time: self.time,
            numbers_count: self.number_next().0,
            aggregates: self.aggregates().map(AnyAggregate::freeze).collect(),
            requests: self.requests.freeze(),
        }
    }
}

impl FrozenState {
    /// The canonical bytes, section by section; together they read back with [`StateBuilder`].
    pub fn sections(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let aggregates = self.aggregates.iter().flat_map(|frozen| {
            let items = (0..).map_while(|index| Some(encode_items(frozen.head().number, &frozen.section(index)?)));
            std::iter::once(encode_aggregate(frozen.head(), &frozen.settings())).chain(items)
        });
        std::iter::once(self.encode_head()).chain(aggregates).chain(self.request_sections())
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut out = vec![HEAD, STATE_FORMAT];
        put_time(&mut out, self.time);
        put_u32(&mut out, self.numbers_count);
        put_u64(&mut out, self.aggregates.len() as u64);
        out
    }

    fn request_sections(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let mut requests = self.requests.iter().peekable();
        std::iter::from_fn(move || {
            requests.peek()?;
            let mut out = vec![REQUESTS];
            requests.by_ref().take(SECTION_REQUESTS).for_each(|known| encode_request(known, &mut out));
            Some(out)
        })
    }
}

/// An aggregate without its items, as canonical bytes.
#[must_use]
pub fn encode_settings_of(head: &Head, settings: &AnySettings) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, head, settings);
    out
}

fn encode_aggregate(head: &Head, settings: &AnySettings) -> Vec<u8> {
    let mut out = vec![AGGREGATE];
    put_head(&mut out, head, settings);
    out
}

fn encode_items(number: Number, section: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(section.len().saturating_add(5));
    out.push(ITEMS);
    put_u32(&mut out, number.0);
    out.extend_from_slice(section);
    out
}

fn put_head(out: &mut Vec<u8>, head: &Head, settings: &AnySettings) {
    put_u32(out, head.number.0);
    out.push(settings.kind().number());
    put_text(out, &head.name);
    put_u64(out, head.version);
    put_time(out, head.created_at);
    settings.put(out);
}

fn take_head(from: &mut In<'_>) -> Result<(Head, AnySettings), DecodeError> {
    let (number, kind, name) = (Number::take(from)?, Kind::take(from)?, Name::take(from)?);
    let (version, created_at) = (from.body.u64()?, from.body.time()?);
    if version == 0 {
        return Err(DecodeError("a version is 0"));
    }
    let settings = AnySettings::take(kind, &mut from.body)?;
    Ok((Head { name: name.as_str().into(), number, version, created_at }, settings))
}

const OUTCOME_CREATED: u8 = 1;
const OUTCOME_WRITTEN: u8 = 2;
const OUTCOME_REMOVED: u8 = 3;
const OUTCOME_DID: u8 = 4;
const OUTCOME_DID_BOTH: u8 = 5;

fn encode_request(known: &Remembered, out: &mut Vec<u8>) {
    out.push(known.kind.number());
    put_text(out, &known.name);
    put_text(out, &known.actor);
    put_text(out, &known.key);
    out.extend_from_slice(&known.fingerprint.0);
    put_time(out, known.recorded_at);
    match &known.outcome {
        Outcome::Written { created, summary } => {
            out.push(if *created { OUTCOME_CREATED } else { OUTCOME_WRITTEN });
            put_summary(out, summary);
        }
        Outcome::Removed { summary } => {
            out.push(OUTCOME_REMOVED);
            put_summary(out, summary);
        }
        Outcome::Did(number, outcome) => {
            out.push(OUTCOME_DID);
            put_outcome(out, *number, outcome);
        }
        Outcome::DidBoth(first, second) => {
            out.push(OUTCOME_DID_BOTH);
            put_outcome(out, first.0, &first.1);
            put_outcome(out, second.0, &second.1);
        }
    }
}

fn put_summary(out: &mut Vec<u8>, summary: &AnySummary) {
    put_head(out, summary.head(), &summary.settings());
    put_time(out, summary.at());
    summary.put_figures(out);
}

fn take_summary(from: &mut In<'_>) -> Result<Box<AnySummary>, DecodeError> {
    let (head, settings) = take_head(from)?;
    let at = from.body.time()?;
    AnySummary::take(head, settings, at, &mut from.body).map(Box::new)
}

fn put_outcome(out: &mut Vec<u8>, number: Number, outcome: &AnyOutcome) {
    let mut out = Out { body: out, private: None };
    number.put(&mut out);
    outcome.kind().put(&mut out);
    outcome.put(&mut out);
}

fn take_outcome(from: &mut In<'_>) -> Result<(Number, AnyOutcome), DecodeError> {
    let (number, kind) = (Number::take(from)?, Kind::take(from)?);
    Ok((number, AnyOutcome::take(kind, from)?))
}

fn decode_request(from: &mut In<'_>) -> Result<Remembered, DecodeError> {
    let (kind, name) = (Kind::take(from)?, Name::take(from)?);
    let actor = ActorId::new(from.body.text()?).map_err(|_| DecodeError("a request's actor is no name"))?;
    let key = RequestKey::new(from.body.text()?).map_err(|_| DecodeError("a request key is malformed"))?;
    Ok(Remembered {
        kind,
        name: name.as_str().into(),
        actor: actor.as_str().into(),
        key: key.as_str().into(),
        fingerprint: Fingerprint(from.body.array()?),
        recorded_at: from.body.time()?,
        outcome: match u8::take(from)? {
            OUTCOME_CREATED => Outcome::Written { created: true, summary: take_summary(from)? },
            OUTCOME_WRITTEN => Outcome::Written { created: false, summary: take_summary(from)? },
            OUTCOME_REMOVED => Outcome::Removed { summary: take_summary(from)? },
            OUTCOME_DID => {
                let (number, outcome) = take_outcome(from)?;
                Outcome::Did(number, outcome)
            }
            OUTCOME_DID_BOTH => Outcome::DidBoth(take_outcome(from)?, take_outcome(from)?),
            _ => return Err(DecodeError("an outcome is of a kind that this version does not know")),
        },
    })
}

/// One remembered request as bytes, in the form that the state's sections have it in.
#[must_use]
pub fn encode_remembered(known: &Remembered) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(known, &mut out);
    out
}

/// An aggregate whose items are being read.
#[derive(Debug)]
struct Open {
    aggregate: AnyAggregate,
    sections_count: usize,
}

/// Puts a state together again from the sections of [`FrozenState::sections`], in their order.
#[derive(Debug)]
pub struct StateBuilder {
    state: State,
    format: u8,
    /// How many aggregates there are, once the head is read.
    aggregates_count: Option<u64>,
    open: Option<Open>,
}

impl StateBuilder {
    /// Nothing read yet; the tables get this key.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self { state: State::new(seed), format: STATE_FORMAT, aggregates_count: None, open: None }
    }

    /// Reads the next section.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no section of a format that this version knows, or out of order.
    pub fn section(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut from = In { body: Reader::new(bytes), private: None };
        match (u8::take(&mut from)?, self.aggregates_count) {
            (HEAD, None) => self.head(&mut from),
            (AGGREGATE, Some(_)) => self.aggregate(&mut from),
            (ITEMS, Some(_)) => self.items(&mut from),
            (REQUESTS, Some(_)) => self.requests(&mut from),
            _ => Err(DecodeError("a section of the state is unknown or out of order")),
        }
    }

    /// The state, once every section is read.
    ///
    /// # Errors
    /// [`DecodeError`] if something is missing or an invariant of the rules is broken.
    pub fn finish(mut self) -> Result<State, DecodeError> {
        self.close_aggregate()?;
        let aggregates_count = self.aggregates_count.ok_or(DecodeError("the state has no head"))?;
        if self.state.aggregates().count() as u64 != aggregates_count {
            return Err(DecodeError("the state lacks an aggregate"));
        }
        self.state.check().map_err(DecodeError)?;
        Ok(self.state)
    }

    fn head(&mut self, from: &mut In<'_>) -> Result<(), DecodeError> {
        self.format = from.body.u8()?;
        if ![WITHOUT_DECIDED_BEFORE, STATE_FORMAT].contains(&self.format) {
            return Err(DecodeError("the state has a format that this version does not know"));
        }
        self.state.time = from.body.time()?;
        self.state.reserve_numbers(from.body.u32()?);
        self.aggregates_count = Some(from.body.u64()?);
        from.end()
    }

    fn aggregate(&mut self, from: &mut In<'_>) -> Result<(), DecodeError> {
        self.close_aggregate()?;
        let (head, settings) = take_head(from)?;
        from.end()?;
        if settings.accepted().is_err() {
            return Err(DecodeError("an aggregate has settings that no rule accepts"));
        }
        if !self.state.requests.is_empty() {
            return Err(DecodeError("an aggregate comes after the requests"));
        }
        if self.state.number_next() <= head.number {
            return Err(DecodeError("an aggregate has a number that was never given"));
        }
        if self.state.aggregates().next_back().is_some_and(|last| head.number <= last.head().number) {
            return Err(DecodeError("an aggregate is out of order"));
        }
        if self.state.find(settings.kind(), Name::checked(&head.name)).is_some() {
            return Err(DecodeError("two aggregates of a kind have the same name"));
        }
        let aggregate = AnyAggregate::new(head, settings, self.state.seed());
        self.open = Some(Open { aggregate, sections_count: 0 });
        Ok(())
    }

    fn items(&mut self, from: &mut In<'_>) -> Result<(), DecodeError> {
        let number = Number::take(from)?;
        let open = self.open.as_mut().filter(|open| open.aggregate.head().number == number);
        let open = open.ok_or(DecodeError("items of another aggregate than the one before them"))?;
        let section = from.body.rest();
        match (self.format, open.aggregate.kind(), open.sections_count) {
            (WITHOUT_DECIDED_BEFORE, Kind::Campaign, 0) => open.aggregate.load(0, &[section, &0_u32.to_le_bytes()].concat())?,
            (_, _, index) => open.aggregate.load(index, section)?,
        }
        open.sections_count = open.sections_count.saturating_add(1);
        Ok(())
    }

    fn requests(&mut self, from: &mut In<'_>) -> Result<(), DecodeError> {
        self.close_aggregate()?;
        if from.body.is_at_end() {
            return Err(DecodeError("a section without requests"));
        }
        if !self.state.requests.len().is_multiple_of(SECTION_REQUESTS) {
            return Err(DecodeError("requests after a section that is not full"));
        }
        while !from.body.is_at_end() {
            let mut known = decode_request(from)?;
            // Most requests are of an aggregate that is there: its name is kept once.
            if let Some(aggregate) = self.state.find(known.kind, Name::checked(&known.name)) {
                known.name = Arc::clone(&aggregate.head().name);
            }
            self.state.requests.remember(known);
        }
        Ok(())
    }

    fn close_aggregate(&mut self) -> Result<(), DecodeError> {
        let Some(Open { mut aggregate, sections_count }) = self.open.take() else { return Ok(()) };
        if sections_count == 0 {
            return Err(DecodeError("an aggregate lacks its items"));
        }
        aggregate.loaded()?;
        self.state.insert(aggregate);
        Ok(())
    }
}
