//! Compares the answers that clients received with the journal. The checker is independent of the product: it
//! remembers every question and answer, and compares them with the durable records, by the rules as the
//! oracle states them ([`crate::expect`]).

use std::collections::{BTreeMap, BTreeSet};

use domain::State;
use domain::hash::HashSeed;
use domain::types::RequestId;
use engine::restart::{restart, state_digest};
use journal::Lsn;
use oracle::{Oracle, adapter};

use crate::ask::{Answer, Ask, Question, Said};
use crate::disk::Disk;
use crate::expect;
use crate::history::History;
use crate::world::{LIMITS, journal_options};

/// An answer that a client received.
#[derive(Clone, Debug)]
pub struct Told {
    /// The question.
    pub question: Question,
    /// The wall time of the question.
    pub wall: u64,
    /// The last staged record when the answer was computed.
    pub staged: Lsn,
    /// The answer.
    pub said: Said,
}

/// Remembers and checks the answers.
#[derive(Debug, Default)]
pub struct Checker {
    asks: BTreeMap<String, (Ask, u64)>,
    without_effect: BTreeSet<String>,
    unknown: BTreeSet<String>,
    told: Vec<Told>,
    yeses: Vec<Told>,
    published: Vec<String>,
    durable: Lsn,
    history: History,
}

/// The true outcomes of requests whose answer was "unknown".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unknowns {
    /// Requests that had taken effect.
    pub there: u64,
    /// Requests that had not.
    pub lost: u64,
}

impl Checker {
    /// Notes a request.
    pub fn ask(&mut self, ask: &Ask, wall: u64) {
        self.asks.insert(ask.id.clone(), (ask.clone(), wall));
    }

    /// Notes an answer.
    pub fn tell(&mut self, told: Told) {
        if let Question::Ask(ask) = &told.question {
            if told.said.has_effect {
                self.yeses.push(told.clone());
            } else {
                self.without_effect.insert(ask.id.clone());
            }
        }
        self.told.push(told);
    }

    /// Notes that a client was told "unknown".
    pub fn tell_unknown(&mut self, question: &Question) {
        if let Question::Ask(ask) = question {
            self.unknown.insert(ask.id.clone());
        }
    }

    /// Notes the next published record.
    pub fn publish(&mut self, request_id: &str) {
        self.published.push(request_id.to_owned());
    }

    /// The number of published records.
    #[must_use]
    pub fn published_count(&self) -> u64 {
        self.published.len() as u64
    }

    /// Notes that the product reported everything up to `lsn` as durable.
    pub fn call_durable(&mut self, lsn: Lsn) {
        self.durable = self.durable.max(lsn);
    }

    /// The last record that the product has reported as durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Every successful answer so far.
    #[must_use]
    pub fn yeses(&self) -> &[Told] {
        &self.yeses
    }

    /// An earlier request, to be repeated.
    #[must_use]
    pub fn old_ask(&self, place: u64) -> Option<&Ask> {
        let count = self.asks.len() as u64;
        let place = usize::try_from(place.checked_rem(count)?).ok()?;
        self.asks.values().nth(place).map(|(ask, _)| ask)
    }

    /// After a start: compares the answers with the durable records, and the product's state with both.
    ///
    /// # Errors
    /// The broken promise in words.
    pub fn recovered(&mut self, disk: &Disk, state: &State, last_lsn: Lsn, is_clean: bool) -> Result<Unknowns, String> {
        let durable = disk.durable_copy();
        let history = History::read(&durable).map_err(|error| format!("what is durable cannot be read: {error}"))?;
        if history.last_lsn() != last_lsn {
            return Err(format!("served up to record {last_lsn}, but durable up to {}", history.last_lsn()));
        }
        if let Some(garbage) = history.garbage(&durable).filter(|_| is_clean) {
            return Err(garbage);
        }
        self.check_prefix(&history)?;
        let oracle = self.check_told(&history)?;
        adapter::compare(&oracle, state)?;
        adapter::compare_keys(&oracle, state)?;
        state.check().map_err(str::to_owned)?;
        check_digests(&durable, &history, state)?;
        let unknowns = self.resolve_unknown(&history)?;
        self.durable = history.last_lsn();
        self.history = history;
        self.told.clear();
        Ok(unknowns)
    }

    /// Checks that all durable and published records are unchanged.
    fn check_prefix(&self, history: &History) -> Result<(), String> {
        if history.last_lsn() < self.durable {
            return Err(format!("the journal ends at {}, but was durable up to {}", history.last_lsn(), self.durable));
        }
        let changed = self.history.records.iter().zip(&history.records).position(|(old, new)| old != new);
        if let Some(place) = changed {
            return Err(format!("record {} is not what it was", place + 1));
        }
        if history.records.len() < self.history.records.len().max(self.published.len()) {
            return Err("a record that was published is gone".to_owned());
        }
        for (stored, published) in history.records.iter().zip(&self.published) {
            if stored.record()?.request_id.as_str() != published {
                return Err(format!("what was published as {published} is another record"));
            }
        }
        Ok(())
    }

    /// Checks that every answer follows, by the rules, from the records before it.
    fn check_told(&self, history: &History) -> Result<Oracle, String> {
        let last = history.last_lsn();
        let place_of = |told: &Told| if told.said.has_effect { told.staged.0 - 1 } else { told.staged.min(last).0 };
        let mut told: Vec<&Told> = self.told.iter().collect();
        told.sort_by_key(|told| place_of(told));
        let mut told = told.into_iter().peekable();
        let (mut oracle, mut seen) = (Oracle::default(), BTreeSet::new());
        for (stored, place) in history.records.iter().zip(0..) {
            while let Some(told) = told.next_if(|told| place_of(told) <= place) {
                check_answer(&oracle, told)?;
            }
            let record = stored.record()?;
            let id = record.request_id.as_str();
            if record.request_id != RequestId::ENGINE && (!seen.insert(id) || self.without_effect.contains(id)) {
                return Err(format!("record {} is of request {id}, which has or was told to have no effect", place + 1));
            }
            let asked = self.asks.get(id).map(|(ask, wall)| (ask, *wall));
            expect::take_record(&mut oracle, &record, asked).map_err(|error| format!("record {}: {error}", place + 1))?;
        }
        told.try_for_each(|told| check_answer(&oracle, told))?;
        self.check_yeses(history)?;
        Ok(oracle)
    }

    /// Checks that every successful answer has its own record.
    fn check_yeses(&self, history: &History) -> Result<(), String> {
        for told in self.told.iter().filter(|told| told.said.has_effect) {
            let Question::Ask(ask) = &told.question else { continue };
            let place = usize::try_from(told.staged.0 - 1).unwrap_or(usize::MAX);
            let found = history.records.get(place).map(|stored| stored.record()).transpose()?;
            if found.is_none_or(|record| record.request_id.as_str() != ask.id) {
                return Err(format!("{} was told yes by record {}, which is not there", ask.id, told.staged));
            }
        }
        Ok(())
    }

    fn resolve_unknown(&mut self, history: &History) -> Result<Unknowns, String> {
        let mut there = 0;
        for stored in history.records.get(self.history.records.len()..).unwrap_or_default() {
            there += u64::from(self.unknown.contains(stored.record()?.request_id.as_str()));
        }
        let lost = self.unknown.len() as u64 - there;
        self.unknown.clear();
        Ok(Unknowns { there, lost })
    }
}

fn check_answer(oracle: &Oracle, told: &Told) -> Result<(), String> {
    if matches!(told.said.answer, Answer::NotTaken(_)) {
        return Ok(());
    }
    let expected = expect::answer(oracle, &told.question, told.wall);
    if expected == told.said {
        return Ok(());
    }
    let Told { question, staged, wall, said } = told;
    Err(format!("{question:?} was told {said:?} at {wall} (record {staged}), but by what is durable it is {expected:?}"))
}

/// Checks that the product's state, a replay by the checker and a start without snapshots have equal digests.
fn check_digests(durable: &Disk, history: &History, state: &State) -> Result<(), String> {
    let served = state_digest(state);
    if served != state_digest(&history.replay(HashSeed(5, 6))?) {
        return Err("the state is not what its records give".to_owned());
    }
    let alone = durable.journal_copy();
    let (core, _, _) = restart(&alone.journal, &alone.snapshots, &journal_options(0), HashSeed(7, 8), LIMITS)
        .map_err(|error| format!("the journal alone cannot be opened: {error}"))?;
    if served != state_digest(core.state()) {
        return Err("a start from the journal alone gives another state".to_owned());
    }
    Ok(())
}
