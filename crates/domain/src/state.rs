//! All workloads together: the one `decide` and the one `evolve` that everything else calls, in the
//! engine, in a replay, and in a simulation alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hash::HashSeed;
use crate::request::{Outcome, Remembered, Requests};
use crate::types::{Name, Timestamp};
use crate::workload::{Aggregate, AnyAggregate, AnyOutcome, Head, Kind, Listed, Number};

mod decide;
mod words;

pub use decide::decide;
pub use words::{Action, Answer, Change, Command, Decision, Done, Novelty, Precondition, Record, Rejection, Step};

/// Everything that decisions depend on.
#[derive(Debug)]
pub struct State {
    /// The time of the last record: it only moves on, unless a record sets it back.
    pub time: Timestamp,
    /// Requests that took effect lately.
    pub requests: Requests,
    aggregates: BTreeMap<Number, AnyAggregate>,
    /// How many numbers were given, to aggregates that are there and to those that were removed.
    numbers_count: u32,
    by_name: BTreeMap<Kind, BTreeMap<Arc<str>, Number>>,
    /// How many entries aggregates of each kind have, in the order of [`Kind::ALL`].
    entries_counts: Vec<u64>,
    /// Aggregates in which something falls due by itself.
    due: BTreeSet<Number>,
    seed: HashSeed,
}

impl State {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self {
            time: Timestamp::ZERO,
            requests: Requests::new(seed),
            aggregates: BTreeMap::new(),
            numbers_count: 0,
            by_name: Kind::ALL.iter().map(|kind| (*kind, BTreeMap::new())).collect(),
            entries_counts: vec![0; Kind::ALL.len()],
            due: BTreeSet::new(),
            seed,
        }
    }

    /// The aggregate of a workload, by its name.
    #[must_use]
    pub fn get<W: Listed>(&self, name: Name<'_>) -> Option<&Aggregate<W>> {
        self.find(W::KIND, name).and_then(W::of)
    }

    /// The aggregate of a kind and name.
    #[must_use]
    pub fn find(&self, kind: Kind, name: Name<'_>) -> Option<&AnyAggregate> {
        self.number_of(kind, name).and_then(|number| self.at(number))
    }

    /// The aggregate of this number.
    #[must_use]
    pub fn at(&self, number: Number) -> Option<&AnyAggregate> {
        self.aggregates.get(&number)
    }

    /// The aggregate of this number, if it is of the workload.
    #[must_use]
    pub fn get_at<W: Listed>(&self, number: Number) -> Option<&Aggregate<W>> {
        self.at(number).and_then(W::of)
    }

    /// All aggregates in the order of creation.
    pub fn aggregates(&self) -> impl DoubleEndedIterator<Item = &AnyAggregate> {
        self.aggregates.values()
    }

    /// The aggregates of a workload in the order of creation.
    pub fn all<W: Listed>(&self) -> impl DoubleEndedIterator<Item = &Aggregate<W>> {
        self.aggregates().filter_map(W::of)
    }

    /// Aggregates of a kind whose names begin with `prefix`, in the order of their names, from the
    /// first after `after`.
    pub fn named_after<'s>(&'s self, kind: Kind, after: Option<&str>, prefix: &'s str) -> impl Iterator<Item = &'s AnyAggregate> + use<'s> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = after.filter(|after| prefix <= *after).map_or(Included(prefix), Excluded);
        let named = self.by_name.get(&kind).map(|names| names.range::<str, _>((from, Unbounded)));
        named.into_iter().flatten().take_while(move |(name, _)| name.starts_with(prefix)).filter_map(|(_, number)| self.at(*number))
    }

    /// How many aggregates of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.by_name.get(&kind).map_or(0, BTreeMap::len)
    }

    /// How many entries are in memory, over all aggregates: what memory grows with.
    #[must_use]
    pub fn entries_count(&self) -> u64 {
        self.entries_counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many entries aggregates of a kind have.
    #[must_use]
    pub fn entries_count_of(&self, kind: Kind) -> u64 {
        self.entries_counts.get(kind as usize).copied().unwrap_or(0)
    }

    /// The number that the next aggregate gets.
    #[must_use]
    pub const fn number_next(&self) -> Number {
        Number(self.numbers_count)
    }

    /// The key of the tables; of no importance to any answer.
    #[must_use]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// The first instant at which something falls due by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let due = self.due().filter_map(AnyAggregate::next_due);
        due.chain(self.requests.next_deadline()).min()
    }

    /// Whether there is an aggregate in which something falls due by itself.
    #[must_use]
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The aggregates in which something falls due by itself, in the order of creation.
    pub fn due(&self) -> impl Iterator<Item = &AnyAggregate> {
        self.due.iter().filter_map(|number| self.at(*number))
    }

    /// Something that is due at `now`, as the command that anyone may give: in the first aggregate
    /// behind the one that had the last turn, so that a long line in one does not make the others
    /// wait.
    #[must_use]
    pub fn due_after(&self, last: Option<Number>, now: Timestamp) -> Option<(Number, Command<'_>)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let behind = self.due.range((last.map_or(Unbounded, Excluded), Unbounded));
        let before = last.into_iter().flat_map(|last| self.due.range((Unbounded, Included(last))));
        behind.chain(before).find_map(|number| {
            let aggregate = self.at(*number)?;
            let step = Step { name: Name::checked(&aggregate.head().name), command: aggregate.due(now)? };
            Some((*number, Command::local(Action::Do(step))))
        })
    }

    /// Writes a record's effect into the state, and says what took effect. Decides nothing.
    ///
    /// # Panics
    /// If the record is about an aggregate that is not there: see [`State::fits`].
    pub fn evolve(&mut self, record: &Record<'_>) -> Option<Outcome> {
        if let Change::TimeSet { to, .. } = record.change {
            self.set_time(to);
            return None;
        }
        self.time = self.time.max(record.at);
        let at = record.at;
        let outcome = match &record.change {
            Change::Created { number, name, settings } => {
                assert_eq!(*number, self.number_next(), "an aggregate is created under another number than the next");
                let head = Head { name: name.as_str().into(), number: *number, version: 1, created_at: at };
                let aggregate = AnyAggregate::new(head, *settings, self.seed);
                let summary = Box::new(aggregate.summary(at));
                let Some(numbers_count) = self.numbers_count.checked_add(1) else { panic!("every number of an aggregate was given") };
                self.numbers_count = numbers_count;
                self.insert(aggregate);
                Outcome::Written { created: true, summary }
            }
            Change::Changed { number, settings } => {
                let aggregate = self.changing(*number);
                aggregate.change(settings);
                let summary = Box::new(aggregate.summary(at));
                self.changed(*number);
                Outcome::Written { created: false, summary }
            }
            Change::Removed { number } => Outcome::Removed { summary: Box::new(self.remove(*number).summary(at)) },
            Change::Did(done) => Outcome::Did(done.number, self.evolve_one(done, at)),
            Change::DidBoth(first, second) => {
                let (one, other) = (self.evolve_one(first, at), self.evolve_one(second, at));
                Outcome::DidBoth((first.number, one), (second.number, other))
            }
            Change::RequestsForgotten { count } => {
                self.requests.forget(*count);
                return None;
            }
            Change::TimeSet { .. } => return None,
        };
        self.remember(record, &outcome);
        Some(outcome)
    }

    /// Whether the rules can have decided a record in this state. What comes from outside (a replay)
    /// is held against this before it takes effect.
    #[must_use]
    pub fn fits(&self, record: &Record<'_>) -> bool {
        if let Change::TimeSet { from, to } = record.change {
            return (from, record.at) == (self.time, to) && to < from;
        }
        if record.at < self.time {
            return false;
        }
        let happened = |done: &Done<'_>| self.at(done.number).is_some_and(|aggregate| aggregate.fits(&done.event));
        match &record.change {
            Change::Created { number, name, settings } => {
                *number == self.number_next() && self.find(settings.kind(), *name).is_none() && settings.accepted().is_ok()
            }
            Change::Changed { number, settings } => {
                self.at(*number).is_some_and(|aggregate| aggregate.kind() == settings.kind() && aggregate.accepts(settings).is_ok())
            }
            Change::Removed { number } => self.at(*number).is_some_and(|aggregate| aggregate.kind().is_removable()),
            Change::Did(done) => happened(done),
            Change::DidBoth(first, second) => first.number != second.number && happened(first) && happened(second),
            Change::RequestsForgotten { count } => *count != 0 && *count as usize <= self.requests.len(),
            Change::TimeSet { .. } => false,
        }
    }

    /// Every invariant of every workload.
    ///
    /// # Errors
    /// The broken invariant in words.
    pub fn check(&self) -> Result<(), &'static str> {
        self.aggregates().try_for_each(AnyAggregate::check)
    }

    /// So many numbers were given, to aggregates that are still to be inserted or were removed.
    pub(crate) fn reserve_numbers(&mut self, count: u32) {
        self.numbers_count = count;
    }

    /// Puts an aggregate at the place of its number, which is reserved.
    pub(crate) fn insert(&mut self, aggregate: AnyAggregate) {
        let (kind, head) = (aggregate.kind(), aggregate.head());
        let number = head.number;
        let before = self.by_name.entry(kind).or_default().insert(Arc::clone(&head.name), number);
        assert!(before.is_none(), "two aggregates of a kind have the same name");
        self.count_entries(kind, 0, aggregate.entries_count());
        assert!(number < self.number_next(), "an aggregate's number was never given");
        self.aggregates.insert(number, aggregate);
        self.changed(number);
    }

    /// Sets the time back. What would wait for a time that is now far away is brought up to it: request keys
    /// are kept 24 hours from here at most, and paces begin anew.
    fn set_time(&mut self, to: Timestamp) {
        self.time = to;
        self.requests.cap_times(to);
        let numbers: Vec<Number> = self.aggregates.keys().copied().collect();
        for number in numbers {
            self.changing(number).time_set();
            self.changed(number);
        }
    }

    fn number_of(&self, kind: Kind, name: Name<'_>) -> Option<Number> {
        self.by_name.get(&kind)?.get(name.as_str()).copied()
    }

    fn changing(&mut self, number: Number) -> &mut AnyAggregate {
        let Some(aggregate) = self.aggregates.get_mut(&number) else {
            panic!("a record changes aggregate {}, which is not there", number.0)
        };
        aggregate
    }

    /// Looks at what falls due in an aggregate that has changed.
    fn changed(&mut self, number: Number) {
        if self.at(number).is_some_and(|aggregate| aggregate.next_due().is_some()) {
            self.due.insert(number);
        } else {
            self.due.remove(&number);
        }
    }

    fn remove(&mut self, number: Number) -> AnyAggregate {
        let Some(removed) = self.aggregates.remove(&number) else { panic!("a record removes aggregate {}, which is not there", number.0) };
        self.by_name.entry(removed.kind()).or_default().remove(&removed.head().name);
        self.count_entries(removed.kind(), removed.entries_count(), 0);
        self.due.remove(&number);
        removed
    }

    fn evolve_one(&mut self, done: &Done<'_>, at: Timestamp) -> AnyOutcome {
        let aggregate = self.changing(done.number);
        let before = aggregate.entries_count();
        let outcome = aggregate.evolve(&done.event, at);
        debug_assert_eq!(aggregate.check(), Ok(()));
        let (kind, after) = (aggregate.kind(), aggregate.entries_count());
        self.count_entries(kind, before, after);
        self.changed(done.number);
        outcome
    }

    fn count_entries(&mut self, kind: Kind, before: u64, after: u64) {
        if let Some(count) = self.entries_counts.get_mut(kind as usize) {
            *count = count.saturating_sub(before).saturating_add(after);
        }
    }

    /// Remembers a request by the aggregate that its command was for: the first, where it was for two.
    fn remember(&mut self, record: &Record<'_>, outcome: &Outcome) {
        let Some(keyed) = record.request else { return };
        let (kind, name) = match outcome {
            Outcome::Written { summary, .. } | Outcome::Removed { summary } => (summary.kind(), Arc::clone(&summary.head().name)),
            Outcome::Did(number, _) | Outcome::DidBoth((number, _), _) => {
                let aggregate = self.changing(*number);
                (aggregate.kind(), Arc::clone(&aggregate.head().name))
            }
        };
        self.requests.remember(Remembered {
            kind,
            name,
            actor: record.actor.as_str().into(),
            key: keyed.key.as_str().into(),
            fingerprint: keyed.fingerprint,
            recorded_at: record.at,
            outcome: outcome.clone(),
        });
    }
}
