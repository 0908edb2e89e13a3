//! All workloads together: the one `decide` and the one `evolve` that everything else calls, in the
//! engine, in a replay, and in a simulation alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hash::HashSeed;
use crate::rejections::Detail;
use crate::request::{Keyed, Lookup, Outcome, Remembered, Requests};
use crate::types::{ActorId, Name, RequestId, Timestamp};
use crate::workload::{
    Aggregate, AnyAggregate, AnyCommand, AnyDecided, AnyEvent, AnyOutcome, AnyPatch, AnyRejection, AnySettings, Ask, Head, Kind, Listed,
    Number, SettingsIssue,
};

// --- Commands -------------------------------------------------------------------------------

/// What is asked, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// Who asks; request keys belong to them.
    pub actor: ActorId<'a>,
    /// The request's key, if it has one.
    pub request: Option<Keyed<'a>>,
    /// What.
    pub action: Action<'a>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action<'a> {
    /// Create an aggregate, or give it these settings.
    Put {
        /// Its name; the settings say its kind.
        name: Name<'a>,
        /// All of its settings.
        settings: AnySettings,
        /// Under which condition.
        precondition: Precondition,
    },
    /// Change some settings.
    Patch {
        /// The aggregate's name.
        name: Name<'a>,
        /// The settings that change.
        patch: AnyPatch,
        /// Under which condition.
        precondition: Precondition,
    },
    /// End an aggregate with all that it has grown to.
    Remove {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: Name<'a>,
        /// Under which condition.
        precondition: Precondition,
    },
    /// A workload's own command.
    Do(Step<'a>),
    /// Two commands on two aggregates of one group: both take effect, or neither.
    DoBoth(Step<'a>, Step<'a>),
    /// To forget request keys whose time has come. Anyone may ask; it has no effect before.
    ForgetRequests,
}

/// A workload's command, and the aggregate that it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step<'a> {
    /// The aggregate's name; the command says its kind.
    pub name: Name<'a>,
    /// What is asked of it.
    pub command: AnyCommand<'a>,
}

/// Under which condition an aggregate is written or removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// None.
    Always,
    /// It exists (`If-Match: *`).
    Exists,
    /// It does not exist yet (`If-None-Match: *`).
    IsNew,
    /// Its settings have this version (`If-Match: "3"`).
    Version(u64),
    /// Can never hold: the caller named a version that no aggregate has.
    Never,
}

impl<'a> Command<'a> {
    /// A workload's command, by whoever runs this machine, without a request key.
    #[must_use]
    pub const fn local(action: Action<'a>) -> Self {
        Self { actor: ActorId::LOCAL, request: None, action }
    }
}

impl<'a> Action<'a> {
    /// A workload's own command.
    #[must_use]
    pub fn of<W: Listed>(name: Name<'a>, command: W::Command<'a>) -> Self {
        Self::Do(Step { name, command: W::any_command(command) })
    }

    /// The aggregate that the command is for, the first of two; `None` if it is for none.
    #[must_use]
    pub fn target(&self) -> Option<(Kind, Name<'a>)> {
        match self {
            Self::Put { name, settings, .. } => Some((settings.kind(), *name)),
            Self::Patch { name, patch, .. } => Some((patch.kind(), *name)),
            Self::Remove { kind, name, .. } => Some((*kind, *name)),
            Self::Do(step) | Self::DoBoth(step, _) => Some((step.command.kind(), step.name)),
            Self::ForgetRequests => None,
        }
    }

    /// The workloads' own commands in it: one, two or none.
    pub fn steps(&self) -> impl Iterator<Item = &Step<'a>> {
        let (first, second) = match self {
            Self::Do(step) => (Some(step), None),
            Self::DoBoth(first, second) => (Some(first), Some(second)),
            Self::Put { .. } | Self::Patch { .. } | Self::Remove { .. } | Self::ForgetRequests => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The group that all of its aggregates are in; `None` if it is for none, or for two of two groups.
    #[must_use]
    pub fn group(&self) -> Option<&'a str> {
        let (_, name) = self.target()?;
        let is_one = self.steps().all(|step| step.name.group() == name.group());
        is_one.then(|| name.group())
    }
}

// --- Records --------------------------------------------------------------------------------

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// An aggregate exists from now on, under the next number.
    Created {
        /// Its number.
        number: Number,
        /// Its name.
        name: Name<'a>,
        /// Its settings, which say its kind.
        settings: AnySettings,
    },
    /// An aggregate has other settings from now on.
    Changed {
        /// Its number.
        number: Number,
        /// All of its settings.
        settings: AnySettings,
    },
    /// An aggregate is gone.
    Removed {
        /// Its number.
        number: Number,
    },
    /// Something happened in an aggregate.
    Did(Done<'a>),
    /// Something happened in two aggregates of a group at once.
    DidBoth(Done<'a>, Done<'a>),
    /// The oldest request keys are forgotten.
    RequestsForgotten {
        /// How many.
        count: u32,
    },
}

/// Something that happened in an aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done<'a> {
    /// The aggregate's number.
    pub number: Number,
    /// What happened.
    pub event: AnyEvent<'a>,
}

/// A decision as it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// When it was decided; never before the record ahead of it.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: ActorId<'a>,
    /// By which request.
    pub request_id: RequestId<'a>,
    /// The request's key, if it had one.
    pub request: Option<Keyed<'a>>,
    /// What.
    pub change: Change<'a>,
}

impl<'a> Change<'a> {
    /// The numbers of the aggregates that change: one, two or none.
    pub fn numbers(&self) -> impl Iterator<Item = Number> + use<> {
        let (first, second) = match self {
            Self::Created { number, .. } | Self::Changed { number, .. } | Self::Removed { number } => (Some(*number), None),
            Self::Did(done) => (Some(done.number), None),
            Self::DidBoth(first, second) => (Some(first.number), Some(second.number)),
            Self::RequestsForgotten { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// What happened in aggregates, beside their creation, change of settings and end.
    pub fn events(&self) -> impl Iterator<Item = Done<'a>> + use<'a> {
        let (first, second) = match self {
            Self::Did(done) => (Some(*done), None),
            Self::DidBoth(first, second) => (Some(*first), Some(*second)),
            Self::Created { .. } | Self::Changed { .. } | Self::Removed { .. } | Self::RequestsForgotten { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }
}

// --- Decisions ------------------------------------------------------------------------------

/// A decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<'a> {
    /// Something changes.
    Change(Change<'a>),
    /// Nothing changes, and this is the answer.
    Answer(Answer),
    /// Nothing changes, and nobody waits for an answer.
    Nothing,
}

/// A yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What took effect.
    pub outcome: Outcome,
    /// Whether this is the first time that it is said.
    pub novelty: Novelty,
}

/// Whether an answer is new. The two kinds of repetition differ in what is said: a key repeats its
/// first answer as it was, status included; a repeat is told that nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Novelty {
    /// The first answer to this request.
    Fresh,
    /// The request key took effect before, and this was its answer.
    Replayed,
    /// Another request for what is so already.
    Repeated,
}

/// A no. Those of the frame come first, in the order of precedence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// The request key was used for another request.
    RequestKeyReused,
    /// There is no such aggregate.
    NotFound(Kind),
    /// `If-None-Match: *`, and there is one.
    Exists(Kind),
    /// The settings have another version than the caller knows.
    VersionMismatch {
        /// The version that they have.
        version: u64,
    },
    /// Settings that do not go together.
    Settings(SettingsIssue),
    /// Aggregates of this kind cannot be removed.
    NotRemovable(Kind),
    /// One command touches two aggregates only if they are two of one group.
    NotOneGroup,
    /// Of two commands that take effect together, one would change nothing, because what it asks for
    /// is so already: nobody pays twice for what they have.
    HalfDone,
    /// The workload's rules.
    Of(AnyRejection),
}

impl Rejection {
    /// A workload's.
    #[must_use]
    pub fn of<W: Listed>(rejection: W::Rejection) -> Self {
        Self::Of(W::any_rejection(rejection))
    }

    /// The stable word that clients match.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RequestKeyReused => "request_key_reused",
            Self::NotFound(kind) => kind.not_found(),
            Self::Exists(kind) => kind.exists(),
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::Settings(_) => "invalid_field",
            Self::NotRemovable(_) => "not_removable",
            Self::NotOneGroup => "not_one_group",
            Self::HalfDone => "half_done",
            Self::Of(rejection) => rejection.coded().code(),
        }
    }

    /// Whether the same request could be granted later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Of(rejection) => rejection.coded().is_transient(),
            Self::RequestKeyReused
            | Self::NotFound(_)
            | Self::Exists(_)
            | Self::VersionMismatch { .. }
            | Self::Settings(_)
            | Self::NotRemovable(_)
            | Self::NotOneGroup
            | Self::HalfDone => false,
        }
    }

    /// What is told beside the code, each by its name.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, Detail)> {
        match self {
            Self::VersionMismatch { version } => vec![("version", Detail::Number(*version))],
            Self::Settings(issue) => vec![("field", Detail::Word(issue.field))],
            Self::Of(rejection) => rejection.coded().details(),
            Self::RequestKeyReused | Self::NotFound(_) | Self::Exists(_) | Self::NotRemovable(_) | Self::NotOneGroup | Self::HalfDone => {
                Vec::new()
            }
        }
    }
}

// --- State ----------------------------------------------------------------------------------

/// Everything that decisions depend on.
#[derive(Debug)]
pub struct State {
    /// The time of the last record.
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
        };
        self.remember(record, &outcome);
        Some(outcome)
    }

    /// Whether the rules can have decided a record in this state. What comes from outside (a replay)
    /// is held against this before it takes effect.
    #[must_use]
    pub fn fits(&self, record: &Record<'_>) -> bool {
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

// --- Decide ---------------------------------------------------------------------------------

/// What becomes of a command at `now`, which must not be before [`State::time`].
///
/// # Errors
/// The first [`Rejection`] in the order of precedence.
pub fn decide<'a>(state: &State, command: &Command<'a>, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    let Some((kind, name)) = command.action.target() else { return Ok(decide_forgetting(state, now)) };
    if let Some(keyed) = &command.request {
        match state.requests.lookup(command.actor, kind, name, keyed, now) {
            Lookup::Fresh => {}
            Lookup::Replayed(outcome) => return Ok(Decision::Answer(Answer { outcome: outcome.clone(), novelty: Novelty::Replayed })),
            Lookup::KeyReused => return Err(Rejection::RequestKeyReused),
        }
    }
    let aggregate = state.find(kind, name);
    let ask = Ask { now, has_request_key: command.request.is_some() };
    match &command.action {
        Action::Put { settings, precondition, .. } => decide_put(state, (aggregate, name), *settings, *precondition, now),
        Action::Patch { patch, precondition, .. } => {
            let aggregate = check_precondition(aggregate, kind, *precondition)?.ok_or(Rejection::NotFound(kind))?;
            decide_settings(aggregate, aggregate.patched(patch), now)
        }
        Action::Remove { precondition, .. } => {
            let aggregate = check_precondition(aggregate, kind, *precondition)?.ok_or(Rejection::NotFound(kind))?;
            if !kind.is_removable() {
                return Err(Rejection::NotRemovable(kind));
            }
            Ok(Decision::Change(Change::Removed { number: aggregate.head().number }))
        }
        Action::Do(step) => decide_one(state, step, ask),
        Action::DoBoth(first, second) => decide_both(state, first, second, ask),
        Action::ForgetRequests => Ok(Decision::Nothing),
    }
}

fn decide_forgetting<'a>(state: &State, now: Timestamp) -> Decision<'a> {
    match state.requests.due_count(now) {
        0 => Decision::Nothing,
        count => Decision::Change(Change::RequestsForgotten { count }),
    }
}

fn decide_put<'a>(
    state: &State,
    (aggregate, name): (Option<&AnyAggregate>, Name<'a>),
    settings: AnySettings,
    precondition: Precondition,
    now: Timestamp,
) -> Result<Decision<'a>, Rejection> {
    if let Some(aggregate) = check_precondition(aggregate, settings.kind(), precondition)? {
        return decide_settings(aggregate, aggregate.put(settings), now);
    }
    check_settings(&settings)?;
    settings.accepted().map_err(Rejection::Of)?;
    Ok(Decision::Change(Change::Created { number: state.number_next(), name, settings }))
}

fn decide_settings<'a>(aggregate: &AnyAggregate, settings: AnySettings, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    check_settings(&settings)?;
    aggregate.accepts(&settings).map_err(Rejection::Of)?;
    if settings == aggregate.settings() {
        let outcome = Outcome::Written { created: false, summary: Box::new(aggregate.summary(now)) };
        return Ok(Decision::Answer(Answer { outcome, novelty: Novelty::Fresh }));
    }
    Ok(Decision::Change(Change::Changed { number: aggregate.head().number, settings }))
}

fn check_settings(settings: &AnySettings) -> Result<(), Rejection> {
    settings.issue().map_or(Ok(()), |issue| Err(Rejection::Settings(issue)))
}

/// The aggregate, if there is one and the condition holds.
fn check_precondition(
    aggregate: Option<&AnyAggregate>,
    kind: Kind,
    precondition: Precondition,
) -> Result<Option<&AnyAggregate>, Rejection> {
    match (aggregate.map(|aggregate| aggregate.head().version), precondition) {
        (_, Precondition::Always) | (Some(_), Precondition::Exists) | (None, Precondition::IsNew) => Ok(aggregate),
        (None, Precondition::Exists | Precondition::Version(_) | Precondition::Never) => Err(Rejection::NotFound(kind)),
        (Some(_), Precondition::IsNew) => Err(Rejection::Exists(kind)),
        (Some(version), Precondition::Version(wanted)) if wanted == version => Ok(aggregate),
        (Some(version), Precondition::Version(_) | Precondition::Never) => Err(Rejection::VersionMismatch { version }),
    }
}

fn decide_one<'a>(state: &State, step: &Step<'a>, ask: Ask) -> Result<Decision<'a>, Rejection> {
    let (number, decided) = decide_step(state, step, ask)?;
    Ok(match decided {
        AnyDecided::Event(event) => Decision::Change(Change::Did(Done { number, event })),
        AnyDecided::Repeat(outcome) => Decision::Answer(Answer { outcome: Outcome::Did(number, outcome), novelty: Novelty::Repeated }),
        AnyDecided::Nothing => Decision::Nothing,
    })
}

/// Neither step can depend on the other's effect, because they are about two aggregates: so both are
/// decided on the state as it is.
fn decide_both<'a>(state: &State, first: &Step<'a>, second: &Step<'a>, ask: Ask) -> Result<Decision<'a>, Rejection> {
    let is_one = (first.command.kind(), first.name) == (second.command.kind(), second.name);
    if is_one || first.name.group() != second.name.group() {
        return Err(Rejection::NotOneGroup);
    }
    let ((number, one), (other_number, other)) = (decide_step(state, first, ask)?, decide_step(state, second, ask)?);
    Ok(match (one, other) {
        (AnyDecided::Event(event), AnyDecided::Event(other)) => {
            Decision::Change(Change::DidBoth(Done { number, event }, Done { number: other_number, event: other }))
        }
        (AnyDecided::Event(_), _) | (_, AnyDecided::Event(_)) => return Err(Rejection::HalfDone),
        (AnyDecided::Repeat(outcome), AnyDecided::Repeat(other)) => {
            let outcome = Outcome::DidBoth((number, outcome), (other_number, other));
            Decision::Answer(Answer { outcome, novelty: Novelty::Repeated })
        }
        (AnyDecided::Nothing, _) | (_, AnyDecided::Nothing) => Decision::Nothing,
    })
}

fn decide_step<'a>(state: &State, step: &Step<'a>, ask: Ask) -> Result<(Number, AnyDecided<'a>), Rejection> {
    let kind = step.command.kind();
    let aggregate = state.find(kind, step.name).ok_or(Rejection::NotFound(kind))?;
    let decided = aggregate.decide(&step.command, ask).map_err(Rejection::Of)?;
    Ok((aggregate.head().number, decided))
}

// Tests: `conformance/` (tables, by `crates/domain/tests/conformance.rs`), `crates/domain/tests/`.
