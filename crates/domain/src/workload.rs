//! What the frame needs to know of a workload, and the list of workloads. Everything else (creating,
//! changing and removing, preconditions, versions, request keys, lists, records, snapshots) is the
//! frame's, for every kind.
//!
//! To add a workload: implement [`Workload`] for a type of its own in a file of its own, and add a
//! line to the list at the end of this file.

use std::fmt;
use std::sync::Arc;

use crate::fields::{Fields, Patch};
use crate::hash::HashSeed;
use crate::rejections::Coded;
use crate::rows::{Rows, Table};
use crate::types::{Name, Timestamp};
use crate::wire::{DecodeError, In, Out, Part};

// What `workloads!` makes of the list, part by part.
#[macro_use]
mod kind;
#[macro_use]
mod aggregate;
#[macro_use]
mod messages;

/// The number of an aggregate: its place in the order of creation, over all kinds, from 0. Shorter in
/// a record than its name, and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Number(pub u32);

/// What every aggregate has, whatever its kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its name; a valid [`Name`].
    pub name: Arc<str>,
    /// Its number.
    pub number: Number,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
}

/// One named thing that is decided about as a whole.
#[derive(Debug)]
pub struct Aggregate<W: Workload> {
    /// What every aggregate has.
    pub head: Head,
    /// What its runner chose.
    pub settings: W::Settings,
    /// What it has grown to.
    pub items: W::Items,
}

/// What a command may depend on beside the aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The command's time.
    pub now: Timestamp,
    /// Whether the caller named the request, so that it can be told from its own repetition.
    pub has_request_key: bool,
}

/// What becomes of a workload's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided<'a, W: Workload> {
    /// Something changes.
    Event(W::Event<'a>),
    /// Nothing changes: what is asked for is so already.
    Repeat(W::Outcome),
    /// Nothing changes, and nobody waits for an answer: the time has not come, or has passed.
    Nothing,
}

/// Fields of settings that do not go together, whatever the aggregate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsIssue {
    /// The field to look at.
    pub field: &'static str,
    /// What is wrong with it, to stand behind its name.
    pub what: String,
}

/// What an aggregate gives out, as far as a gate in front of the order counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Units {
    /// Units that nobody holds.
    pub remaining: u64,
    /// Units in all.
    pub stock: u64,
}

/// What a gate in front of the order needs to know of a command that takes a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GateView<'a> {
    /// What there is to take.
    pub units: Units,
    /// Who may take only one; `None` where one may take several.
    pub only_once: Option<&'a str>,
}

/// What an aggregate has grown to, as a snapshot keeps it.
pub trait Items: fmt::Debug + Send + Sync {
    /// The items at an instant, shared with the state rather than copied.
    type Frozen: fmt::Debug + Send + Sync;

    /// The items as they are now.
    fn freeze(&self) -> Self::Frozen;

    /// The canonical bytes, section by section, from 0 on; `None` behind the last. Items have at
    /// least one section.
    fn section(frozen: &Self::Frozen, index: usize) -> Option<Vec<u8>>;

    /// Reads the section of this place; sections come in their order.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError>;
}

/// Items of a fixed size are one section.
impl<T: for<'a> Part<'a> + Copy + fmt::Debug + Send + Sync> Items for T {
    type Frozen = T;

    fn freeze(&self) -> T {
        *self
    }

    fn section(frozen: &T, index: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        frozen.put(&mut Out { body: &mut bytes, private: None });
        (index == 0).then_some(bytes)
    }

    fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError> {
        if index != 0 {
            return Err(DecodeError("items of a fixed size have one section"));
        }
        let mut from = In { body: crate::wire::bytes::Reader::new(section), private: None };
        *self = T::take(&mut from)?;
        from.end()
    }
}

/// A workload: its words, its types and its rules.
pub trait Workload: Sized + Copy + PartialEq + Eq + fmt::Debug + Send + Sync + 'static {
    /// Which kind of aggregate it decides about.
    const KIND: Kind;
    /// What an aggregate grows by, in the words of the API: `claims`.
    const ENTRIES: &'static str;
    /// Whether an aggregate can be removed.
    const IS_REMOVABLE: bool;
    /// How many aggregates of the kind there may be at most, where the engine's limit is not enough.
    const COUNT_MAX: usize = usize::MAX;
    /// How many entries they may have together, likewise.
    const ENTRIES_MAX: u64 = u64::MAX;
    /// Whether the API serves the kind by the calls of all kinds, and counts it for everybody who may read.
    /// What is not served has calls of its own, for callers of its own.
    const IS_SERVED: bool = true;
    /// Its tables in the history, beside that of its aggregates.
    const TABLES: &'static [&'static Table];

    /// What the runner of an aggregate chooses.
    type Settings: Fields;
    /// What the API shows beside the settings: numbers and words that follow from the items.
    type Figures: Fields;
    /// What an aggregate grows to.
    type Items: Items;
    /// What can be asked of an aggregate, beside creating, changing and removing it.
    type Command<'a>: Part<'a> + Copy + PartialEq + Eq + fmt::Debug;
    /// What can have been decided, likewise.
    type Event<'a>: Part<'a> + Copy + PartialEq + Eq + fmt::Debug;
    /// What took effect: enough to give the first answer again.
    type Outcome: for<'a> Part<'a> + Copy + PartialEq + Eq + fmt::Debug + Send + Sync;
    /// What the answer shows of an outcome, apart from the state.
    type View: Clone + PartialEq + Eq + fmt::Debug + Send + Sync;
    /// Why not.
    type Rejection: Coded;

    /// An aggregate's items when it is created.
    fn items(settings: &Self::Settings, seed: HashSeed) -> Self::Items;

    /// Fields that do not go together, whatever the aggregate.
    fn issue(_settings: &Self::Settings) -> Option<SettingsIssue> {
        None
    }

    /// Takes over what a `Put` leaves as it is: what the program sets itself.
    fn keep(_old: &Self::Settings, _new: &mut Self::Settings) {}

    /// Whether an aggregate may be created with these settings, or get them.
    ///
    /// # Errors
    /// The first rejection in the order of precedence.
    fn accepts(_old: Option<&Aggregate<Self>>, _new: &Self::Settings) -> Result<(), Self::Rejection> {
        Ok(())
    }

    /// Adjusts the items to settings that have just been written; never an entry
    /// ([`Workload::entries`]).
    fn settled(_it: &mut Aggregate<Self>, _old: &Self::Settings) {}

    /// What becomes of a command.
    ///
    /// # Errors
    /// The first rejection in the order of precedence.
    fn decide<'a>(it: &Aggregate<Self>, command: &Self::Command<'a>, ask: Ask) -> Result<Decided<'a, Self>, Self::Rejection>;

    /// Writes an event's effect into the aggregate. Cannot fail and decides nothing.
    fn evolve(it: &mut Aggregate<Self>, event: &Self::Event<'_>, at: Timestamp) -> Self::Outcome;

    /// Whether the rules can have decided the event on this aggregate: what is replayed is held
    /// against this before it takes effect.
    fn fits(it: &Aggregate<Self>, event: &Self::Event<'_>) -> bool;

    /// The figures at an instant.
    fn figures(it: &Aggregate<Self>, now: Timestamp) -> Self::Figures;

    /// What an outcome shows at an instant; `None` if the aggregate has nothing more to show of it.
    fn view(it: &Aggregate<Self>, outcome: Self::Outcome, now: Timestamp) -> Option<Self::View>;

    /// How many entries are in memory; none where the items are of one size.
    fn entries_count(_it: &Aggregate<Self>) -> u64 {
        0
    }

    /// What an event changes in the tables. The aggregate is not there: the histories follow the
    /// record alone.
    fn rows(event: &Self::Event<'_>, at: Timestamp, rows: &mut impl Rows);

    /// The canonical bytes of each entry that an event touches, as they are in `it`: asked for before
    /// the event and after it. Settings are the frame's. By default every entry, which is right where
    /// the items are few.
    fn touched(it: &Aggregate<Self>, _event: &Self::Event<'_>, each: &mut dyn FnMut(&[u8])) {
        Self::entries(it, each);
    }

    /// The canonical bytes of every entry; by default each section of the items is one.
    fn entries(it: &Aggregate<Self>, each: &mut dyn FnMut(&[u8])) {
        let frozen = it.items.freeze();
        (0..).map_while(|index| Self::Items::section(&frozen, index)).for_each(|section| each(&section));
    }

    /// The invariants; the text names the one that is broken.
    ///
    /// # Errors
    /// The broken invariant in words.
    fn check(it: &Aggregate<Self>) -> Result<(), &'static str>;

    /// Whether items that were read back, section by section, are whole and fit the settings.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn loaded(_it: &mut Aggregate<Self>) -> Result<(), DecodeError> {
        Ok(())
    }

    /// The first instant at which something falls due by itself.
    fn next_due(_it: &Aggregate<Self>) -> Option<Timestamp> {
        None
    }

    /// What is due at `now`, as the command that anyone may give. It names the entry, and has no
    /// effect unless that entry's time has come.
    fn due(_it: &Aggregate<Self>, _now: Timestamp) -> Option<Self::Command<'_>> {
        None
    }

    /// What is due at `now` once `ahead` other things of the aggregate have been done at `now`: the
    /// commands of a long line can be on their way together.
    fn due_behind(it: &Aggregate<Self>, ahead: u32, now: Timestamp) -> Option<Self::Command<'_>> {
        if ahead == 0 { Self::due(it, now) } else { None }
    }

    /// The time was set back: whatever counts from times that are now ahead begins anew.
    fn time_set(_it: &mut Aggregate<Self>) {}

    /// Whether a command must be pinned before it goes where the order is made.
    fn is_pinned(_command: &Self::Command<'_>) -> bool {
        false
    }

    /// The command with the entry named that is meant now, so that the same command a second time
    /// never hits another one.
    ///
    /// # Errors
    /// Why there is no such entry.
    fn pin<'a>(_it: &Aggregate<Self>, command: Self::Command<'a>) -> Result<Self::Command<'a>, Self::Rejection> {
        Ok(command)
    }

    /// What there is to take; `None` if no gate counts it.
    fn units(_it: &Aggregate<Self>) -> Option<Units> {
        None
    }

    /// What a gate in front of the order needs to know; `None` for commands that take no unit.
    fn gate<'a>(_it: &Aggregate<Self>, _command: &Self::Command<'a>) -> Option<GateView<'a>> {
        None
    }

    /// Who may take one unit again because of this outcome, so that a gate forgets them.
    fn unmarked<'v>(_outcome: &Self::Outcome, _view: &'v Self::View) -> Option<&'v str> {
        None
    }

    /// Whether a command adds an entry that takes memory.
    fn adds_entry(_it: &Aggregate<Self>, _command: &Self::Command<'_>) -> bool {
        false
    }
}

/// An aggregate without its items, at an instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary<W: Workload> {
    /// What every aggregate has.
    pub head: Head,
    /// Its settings.
    pub settings: W::Settings,
    /// What follows from its items.
    pub figures: W::Figures,
    /// The instant.
    pub at: Timestamp,
}

impl<W: Workload> Aggregate<W> {
    /// A new aggregate.
    pub(crate) fn new(head: Head, settings: W::Settings, seed: HashSeed) -> Self {
        Self { head, settings, items: W::items(&settings, seed) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Name<'_> {
        Name::checked(&self.head.name)
    }

    /// The aggregate without its items, at `now`.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> Summary<W> {
        Summary { head: self.head.clone(), settings: self.settings, figures: W::figures(self, now), at: now }
    }

    /// Writes other settings.
    pub(crate) fn change(&mut self, settings: W::Settings) {
        let old = std::mem::replace(&mut self.settings, settings);
        self.head.version = self.head.version.saturating_add(1);
        W::settled(self, &old);
    }
}

/// A workload that is in the list: how its types stand in the enums of all.
pub trait Listed: Workload {
    /// The aggregate, if it is of this workload.
    fn of(any: &AnyAggregate) -> Option<&Aggregate<Self>>;
    /// Settings as those of any workload.
    fn any_settings(settings: Self::Settings) -> AnySettings;
    /// A patch as that of any workload.
    fn any_patch(patch: Patch<Self::Settings>) -> AnyPatch;
    /// A command as that of any workload.
    fn any_command(command: Self::Command<'_>) -> AnyCommand<'_>;
    /// An event as that of any workload.
    fn any_event(event: Self::Event<'_>) -> AnyEvent<'_>;
    /// A rejection as that of any workload.
    fn any_rejection(rejection: Self::Rejection) -> AnyRejection;
    /// The command, if it is of this workload.
    fn command<'c, 'a>(any: &'c AnyCommand<'a>) -> Option<&'c Self::Command<'a>>;
    /// The event, if it is of this workload.
    fn event<'c, 'a>(any: &'c AnyEvent<'a>) -> Option<&'c Self::Event<'a>>;
    /// The settings, if they are of this workload.
    fn settings(any: &AnySettings) -> Option<&Self::Settings>;
    /// The outcome, if it is of this workload.
    fn outcome(any: &AnyOutcome) -> Option<&Self::Outcome>;
    /// The summary, if it is of this workload.
    fn summary(any: &AnySummary) -> Option<&Summary<Self>>;
    /// The view, if it is of this workload.
    fn view_of(any: &AnyView) -> Option<&Self::View>;
    /// The rejection, if it is of this workload.
    fn rejection(any: &AnyRejection) -> Option<&Self::Rejection>;
}

/// What becomes of any workload's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AnyDecided<'a> {
    Event(AnyEvent<'a>),
    Repeat(AnyOutcome),
    Nothing,
}

macro_rules! workloads {
    ($($list:tt)+) => {
        kinds! { $($list)+ }
        aggregates! { $($list)+ }
        messages_of! { $($list)+ }
    };
}

workloads! {
    1 Campaign: crate::coupon, Coupon, "campaign", "campaigns";
    2 Policy: crate::rate_limit::policies, Limit, "policy", "policies";
    3 Keyring: crate::keyring, Keyring, "keyring", "keyrings";
    #[cfg(feature = "example")]
    250 Counter: crate::counter, Counter, "counter", "counters";
}
