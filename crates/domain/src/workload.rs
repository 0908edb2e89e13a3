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
    fn accepts(old: Option<&Aggregate<Self>>, new: &Self::Settings) -> Result<(), Self::Rejection>;

    /// Adjusts the items to settings that have just been written.
    fn settled(it: &mut Aggregate<Self>, old: &Self::Settings);

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

    /// How many entries are in memory.
    fn entries_count(it: &Aggregate<Self>) -> u64;

    /// What an event changes in the tables. The aggregate is not there: the histories follow the
    /// record alone.
    fn rows(event: &Self::Event<'_>, at: Timestamp, rows: &mut impl Rows);

    /// The canonical bytes of each entry that an event touches, as they are in `it`: asked for before
    /// the event and after it. Settings are the frame's.
    fn touched(it: &Aggregate<Self>, event: &Self::Event<'_>, each: &mut dyn FnMut(&[u8]));

    /// The canonical bytes of every entry.
    fn entries(it: &Aggregate<Self>, each: &mut dyn FnMut(&[u8]));

    /// The invariants; the text names the one that is broken.
    ///
    /// # Errors
    /// The broken invariant in words.
    fn check(it: &Aggregate<Self>) -> Result<(), &'static str>;

    /// Whether items that were read back, section by section, are whole and fit the settings.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn loaded(it: &mut Aggregate<Self>) -> Result<(), DecodeError>;

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
    fn adds_entry(it: &Aggregate<Self>, command: &Self::Command<'_>) -> bool;
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
    ($( $(#[$cfg:meta])* $number:literal $variant:ident : $($module:ident)::+, $workload:ident, $word:literal, $path:literal; )+) => {
        /// The kinds of aggregates. Their numbers stand in records and are stable.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Kind { $( $(#[$cfg])* #[doc = $word] $variant, )+ }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( $(#[$cfg])* Self::$variant, )+ ];

            /// Its number in records.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $( $(#[$cfg])* Self::$variant => $number, )+ }
            }

            /// What one of them is called: `campaign`.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => $word, )+ }
            }

            /// What they are called in paths and tables: `campaigns`.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => $path, )+ }
            }

            /// The code of the rejection that there is no such one.
            #[must_use]
            pub const fn not_found(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => concat!($word, "_not_found"), )+ }
            }

            /// The code of the rejection that there is one.
            #[must_use]
            pub const fn exists(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => concat!($word, "_exists"), )+ }
            }

            /// What an aggregate of the kind grows by: `claims`.
            #[must_use]
            pub const fn entries(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::ENTRIES, )+ }
            }

            /// See [`Workload::COUNT_MAX`].
            #[must_use]
            pub const fn count_max(self) -> usize {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::COUNT_MAX, )+ }
            }

            /// See [`Workload::ENTRIES_MAX`].
            #[must_use]
            pub const fn entries_max(self) -> u64 {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::ENTRIES_MAX, )+ }
            }

            /// Whether one can be removed.
            #[must_use]
            pub const fn is_removable(self) -> bool {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::IS_REMOVABLE, )+ }
            }

            /// The tables of its entries.
            #[must_use]
            pub const fn tables(self) -> &'static [&'static Table] {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::TABLES, )+ }
            }

            /// The fields of its settings.
            #[must_use]
            pub const fn settings(self) -> &'static [crate::fields::Field] {
                match self { $( $(#[$cfg])* Self::$variant => <<$($module)::+::$workload as Workload>::Settings as Fields>::FIELDS, )+ }
            }

            /// The fields of its figures.
            #[must_use]
            pub const fn figures(self) -> &'static [crate::fields::Field] {
                match self { $( $(#[$cfg])* Self::$variant => <<$($module)::+::$workload as Workload>::Figures as Fields>::FIELDS, )+ }
            }

            /// Its settings with every field at its default.
            #[must_use]
            pub fn least(self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant => AnySettings::$variant(Fields::least()), )+ }
            }
        }

        impl Part<'_> for Kind {
            fn put(&self, out: &mut Out<'_>) {
                self.number().put(out);
            }

            fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
                match u8::take(from)? {
                    $( $(#[$cfg])* $number => Ok(Self::$variant), )+
                    _ => Err(DecodeError("it is about a kind that this version does not know")),
                }
            }
        }

        /// An aggregate of any workload.
        #[derive(Debug)]
        pub enum AnyAggregate { $( $(#[$cfg])* #[doc = $word] $variant(Aggregate<$($module)::+::$workload>), )+ }

        /// Settings of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnySettings { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::Settings), )+ }

        /// A patch of any workload's settings.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyPatch { $( $(#[$cfg])* #[doc = $word] $variant(Patch<<$($module)::+::$workload as Workload>::Settings>), )+ }

        /// A command of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyCommand<'a> { $( $(#[$cfg])* #[doc = $word] $variant($($module)::+::Command<'a>), )+ }

        /// An event of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyEvent<'a> { $( $(#[$cfg])* #[doc = $word] $variant($($module)::+::Event<'a>), )+ }

        /// An outcome of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyOutcome { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::Outcome), )+ }

        /// A summary of any workload.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum AnySummary { $( $(#[$cfg])* #[doc = $word] $variant(Summary<$($module)::+::$workload>), )+ }

        /// What an outcome of any workload shows.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum AnyView { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::View), )+ }

        /// A rejection of any workload.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum AnyRejection { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::Rejection), )+ }

        /// An aggregate at an instant, for a snapshot.
        #[derive(Debug)]
        pub(crate) enum AnyFrozen { $( $(#[$cfg])* $variant(Head, <$($module)::+::$workload as Workload>::Settings, <<$($module)::+::$workload as Workload>::Items as Items>::Frozen), )+ }

        impl AnyAggregate {
            /// A new aggregate.
            pub(crate) fn new(head: Head, settings: AnySettings, seed: HashSeed) -> Self {
                match settings { $( $(#[$cfg])* AnySettings::$variant(settings) => Self::$variant(Aggregate::new(head, settings, seed)), )+ }
            }

            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// What every aggregate has.
            #[must_use]
            pub fn head(&self) -> &Head {
                match self { $( $(#[$cfg])* Self::$variant(it) => &it.head, )+ }
            }

            /// Its name.
            #[must_use]
            pub fn name(&self) -> Name<'_> {
                Name::checked(&self.head().name)
            }

            /// Its settings.
            #[must_use]
            pub fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySettings::$variant(it.settings), )+ }
            }

            /// The aggregate without its items, at `now`.
            #[must_use]
            pub fn summary(&self, now: Timestamp) -> AnySummary {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySummary::$variant(it.summary(now)), )+ }
            }

            /// See [`Workload::check`].
            ///
            /// # Errors
            /// The broken invariant in words.
            pub fn check(&self) -> Result<(), &'static str> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::check(it), )+ }
            }

            /// See [`Workload::entries_count`].
            #[must_use]
            pub fn entries_count(&self) -> u64 {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::entries_count(it), )+ }
            }

            /// See [`Workload::next_due`].
            #[must_use]
            pub fn next_due(&self) -> Option<Timestamp> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::next_due(it), )+ }
            }

            /// See [`Workload::due`].
            #[must_use]
            pub fn due(&self, now: Timestamp) -> Option<AnyCommand<'_>> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::due(it, now).map(AnyCommand::$variant), )+ }
            }

            /// See [`Workload::due_behind`].
            #[must_use]
            pub fn due_behind(&self, ahead: u32, now: Timestamp) -> Option<AnyCommand<'_>> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::due_behind(it, ahead, now).map(AnyCommand::$variant), )+ }
            }

            /// See [`Workload::view`].
            #[must_use]
            pub fn view(&self, outcome: AnyOutcome, now: Timestamp) -> Option<AnyView> {
                match (self, outcome) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyOutcome::$variant(outcome)) => <$($module)::+::$workload>::view(it, outcome, now).map(AnyView::$variant), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => None,
                }
            }

            /// See [`Workload::fits`].
            #[must_use]
            pub fn fits(&self, event: &AnyEvent<'_>) -> bool {
                match (self, event) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyEvent::$variant(event)) => <$($module)::+::$workload>::fits(it, event), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => false,
                }
            }

            /// See [`Workload::accepts`]; settings of another kind are none that it can get.
            ///
            /// # Errors
            /// The first rejection in the order of precedence.
            pub fn accepts(&self, settings: &AnySettings) -> Result<(), AnyRejection> {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$variant(new)) => <$($module)::+::$workload>::accepts(Some(it), new).map_err(AnyRejection::$variant), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("settings of another kind than their aggregate"),
                }
            }

            /// See [`Workload::touched`].
            pub fn touched(&self, event: &AnyEvent<'_>, each: &mut dyn FnMut(&[u8])) {
                match (self, event) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyEvent::$variant(event)) => <$($module)::+::$workload>::touched(it, event, each), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("an event of another kind than its aggregate"),
                }
            }

            /// See [`Workload::entries`].
            pub fn entries(&self, each: &mut dyn FnMut(&[u8])) {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::entries(it, each), )+ }
            }

            /// See [`Workload::pin`].
            ///
            /// # Errors
            /// Why there is no such entry.
            pub fn pin<'a>(&self, command: AnyCommand<'a>) -> Result<AnyCommand<'a>, AnyRejection> {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => {
                        <$($module)::+::$workload>::pin(it, command).map(AnyCommand::$variant).map_err(AnyRejection::$variant)
                    } )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("a command of another kind than its aggregate"),
                }
            }

            /// See [`Workload::units`].
            #[must_use]
            pub fn units(&self) -> Option<Units> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::units(it), )+ }
            }

            /// See [`Workload::gate`].
            #[must_use]
            pub fn gate<'a>(&self, command: &AnyCommand<'a>) -> Option<GateView<'a>> {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => <$($module)::+::$workload>::gate(it, command), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => None,
                }
            }

            /// See [`Workload::adds_entry`].
            #[must_use]
            pub fn adds_entry(&self, command: &AnyCommand<'_>) -> bool {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => <$($module)::+::$workload>::adds_entry(it, command), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => false,
                }
            }

            pub(crate) fn decide<'a>(&self, command: &AnyCommand<'a>, ask: Ask) -> Result<AnyDecided<'a>, AnyRejection> {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => match <$($module)::+::$workload>::decide(it, command, ask) {
                        Ok(Decided::Event(event)) => Ok(AnyDecided::Event(AnyEvent::$variant(event))),
                        Ok(Decided::Repeat(outcome)) => Ok(AnyDecided::Repeat(AnyOutcome::$variant(outcome))),
                        Ok(Decided::Nothing) => Ok(AnyDecided::Nothing),
                        Err(rejection) => Err(AnyRejection::$variant(rejection)),
                    }, )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("a command of another kind than its aggregate"),
                }
            }

            pub(crate) fn evolve(&mut self, event: &AnyEvent<'_>, at: Timestamp) -> AnyOutcome {
                match (self, event) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyEvent::$variant(event)) => AnyOutcome::$variant(<$($module)::+::$workload>::evolve(it, event, at)), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("an event of another kind than its aggregate"),
                }
            }

            /// Writes other settings.
            pub(crate) fn change(&mut self, settings: &AnySettings) {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$variant(settings)) => it.change(*settings), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("settings of another kind than their aggregate"),
                }
            }

            /// The settings that a `Put` gives: what the program sets itself stays.
            pub(crate) fn put(&self, settings: AnySettings) -> AnySettings {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$variant(mut new)) => {
                        <$($module)::+::$workload>::keep(&it.settings, &mut new);
                        AnySettings::$variant(new)
                    } )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("settings of another kind than their aggregate"),
                }
            }

            /// The settings that a patch gives.
            pub(crate) fn patched(&self, patch: &AnyPatch) -> AnySettings {
                match (self, patch) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyPatch::$variant(patch)) => AnySettings::$variant(patch.apply(it.settings)), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("a patch of another kind than its aggregate"),
                }
            }

            pub(crate) fn freeze(&self) -> AnyFrozen {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnyFrozen::$variant(it.head.clone(), it.settings, it.items.freeze()), )+ }
            }

            pub(crate) fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.items.load(index, section), )+ }
            }

            pub(crate) fn loaded(&mut self) -> Result<(), DecodeError> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::loaded(it), )+ }
            }
        }

        impl AnySettings {
            /// Their kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::issue`].
            #[must_use]
            pub fn issue(&self) -> Option<SettingsIssue> {
                match self { $( $(#[$cfg])* Self::$variant(settings) => <$($module)::+::$workload>::issue(settings), )+ }
            }

            /// Whether an aggregate may be created with them.
            pub(crate) fn accepted(&self) -> Result<(), AnyRejection> {
                match self { $( $(#[$cfg])* Self::$variant(new) => <$($module)::+::$workload>::accepts(None, new).map_err(AnyRejection::$variant), )+ }
            }

            /// Each field with its value.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static crate::fields::Field, crate::fields::Value)> {
                match self { $( $(#[$cfg])* Self::$variant(settings) => settings.values().collect(), )+ }
            }

            /// Sets the field of this name.
            ///
            /// # Errors
            /// [`crate::fields::FieldError`]; nothing is changed then.
            pub fn set(&mut self, name: &str, value: crate::fields::Value) -> Result<(), crate::fields::FieldError> {
                let unknown = crate::fields::FieldError::Unknown;
                match self { $( $(#[$cfg])* Self::$variant(settings) => {
                    let index = <<$($module)::+::$workload as Workload>::Settings as Fields>::index_of(name).ok_or(unknown)?;
                    settings.set(index, value)
                } )+ }
            }

            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self { $( $(#[$cfg])* Self::$variant(settings) => crate::wire::bytes::put_settings(out, settings), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut crate::wire::bytes::Reader<'_>) -> Result<Self, DecodeError> {
                let settings = match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(from.settings()?), )+ };
                if settings.issue().is_some() {
                    return Err(DecodeError("settings do not go together"));
                }
                Ok(settings)
            }
        }

        impl AnyPatch {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// A patch that changes nothing.
            #[must_use]
            pub fn none(kind: Kind) -> Self {
                match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Patch::default()), )+ }
            }

            /// Changes the field of this name too.
            ///
            /// # Errors
            /// [`crate::fields::FieldError`]; nothing is changed then.
            pub fn set(&mut self, name: &str, value: crate::fields::Value) -> Result<(), crate::fields::FieldError> {
                match self { $( $(#[$cfg])* Self::$variant(patch) => patch.set(name, value), )+ }
            }

            /// The fields that change, with their new values.
            #[must_use]
            pub fn changes(&self) -> Vec<(&'static crate::fields::Field, crate::fields::Value)> {
                let fields = self.kind().settings();
                match self { $( $(#[$cfg])* Self::$variant(patch) => {
                    patch.changes().filter_map(|(index, value)| Some((fields.get(index)?, value))).collect()
                } )+ }
            }

            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self { $( $(#[$cfg])* Self::$variant(patch) => crate::wire::bytes::put_patch(out, patch), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut crate::wire::bytes::Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(from.patch()?), )+ })
            }
        }

        impl<'a> AnyCommand<'a> {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::is_pinned`].
            #[must_use]
            pub fn is_pinned(&self) -> bool {
                match self { $( $(#[$cfg])* Self::$variant(command) => <$($module)::+::$workload>::is_pinned(command), )+ }
            }

            pub(crate) fn put(&self, out: &mut Out<'_>) {
                match self { $( $(#[$cfg])* Self::$variant(command) => command.put(out), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut In<'a>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Part::take(from)?), )+ })
            }
        }

        impl<'a> AnyEvent<'a> {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::rows`].
            pub fn rows(&self, at: Timestamp, rows: &mut impl Rows) {
                match self { $( $(#[$cfg])* Self::$variant(event) => <$($module)::+::$workload>::rows(event, at, rows), )+ }
            }

            pub(crate) fn put(&self, out: &mut Out<'_>) {
                match self { $( $(#[$cfg])* Self::$variant(event) => event.put(out), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut In<'a>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Part::take(from)?), )+ })
            }
        }

        impl AnyOutcome {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::unmarked`].
            #[must_use]
            pub fn unmarked<'v>(&self, view: &'v AnyView) -> Option<&'v str> {
                match (self, view) {
                    $( $(#[$cfg])* (Self::$variant(outcome), AnyView::$variant(view)) => <$($module)::+::$workload>::unmarked(outcome, view), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => None,
                }
            }

            pub(crate) fn put(&self, out: &mut Out<'_>) {
                match self { $( $(#[$cfg])* Self::$variant(outcome) => outcome.put(out), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut In<'_>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Part::take(from)?), )+ })
            }
        }

        impl AnySummary {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// What every aggregate has.
            #[must_use]
            pub fn head(&self) -> &Head {
                match self { $( $(#[$cfg])* Self::$variant(it) => &it.head, )+ }
            }

            /// The instant.
            #[must_use]
            pub fn at(&self) -> Timestamp {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.at, )+ }
            }

            /// The settings.
            #[must_use]
            pub fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySettings::$variant(it.settings), )+ }
            }

            /// Each field of the figures with its value.
            #[must_use]
            pub fn figures(&self) -> Vec<(&'static crate::fields::Field, crate::fields::Value)> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.figures.values().collect(), )+ }
            }

            pub(crate) fn put_figures(&self, out: &mut Vec<u8>) {
                match self { $( $(#[$cfg])* Self::$variant(it) => crate::wire::bytes::put_settings(out, &it.figures), )+ }
            }

            pub(crate) fn take(head: Head, settings: AnySettings, at: Timestamp, from: &mut crate::wire::bytes::Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match settings { $( $(#[$cfg])* AnySettings::$variant(settings) => {
                    Self::$variant(Summary { head, settings, figures: from.settings()?, at })
                } )+ })
            }
        }

        impl AnyRejection {
            /// As a rejection of its workload.
            #[must_use]
            pub fn coded(&self) -> &dyn Coded {
                match self { $( $(#[$cfg])* Self::$variant(rejection) => rejection, )+ }
            }
        }

        impl AnyFrozen {
            pub(crate) fn head(&self) -> &Head {
                match self { $( $(#[$cfg])* Self::$variant(head, ..) => head, )+ }
            }

            pub(crate) fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(_, settings, _) => AnySettings::$variant(*settings), )+ }
            }

            pub(crate) fn section(&self, index: usize) -> Option<Vec<u8>> {
                match self { $( $(#[$cfg])* Self::$variant(_, _, items) => <$($module)::+::$workload as Workload>::Items::section(items, index), )+ }
            }
        }

        $( $(#[$cfg])* impl Listed for $($module)::+::$workload {
            fn of(any: &AnyAggregate) -> Option<&Aggregate<Self>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyAggregate::$variant(it) = any { Some(it) } else { None }
            }

            fn any_settings(settings: Self::Settings) -> AnySettings {
                AnySettings::$variant(settings)
            }

            fn any_patch(patch: Patch<Self::Settings>) -> AnyPatch {
                AnyPatch::$variant(patch)
            }

            fn any_command(command: Self::Command<'_>) -> AnyCommand<'_> {
                AnyCommand::$variant(command)
            }

            fn any_event(event: Self::Event<'_>) -> AnyEvent<'_> {
                AnyEvent::$variant(event)
            }

            fn any_rejection(rejection: Self::Rejection) -> AnyRejection {
                AnyRejection::$variant(rejection)
            }

            fn command<'c, 'a>(any: &'c AnyCommand<'a>) -> Option<&'c Self::Command<'a>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyCommand::$variant(command) = any { Some(command) } else { None }
            }

            fn event<'c, 'a>(any: &'c AnyEvent<'a>) -> Option<&'c Self::Event<'a>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyEvent::$variant(event) = any { Some(event) } else { None }
            }

            fn settings(any: &AnySettings) -> Option<&Self::Settings> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnySettings::$variant(settings) = any { Some(settings) } else { None }
            }

            fn outcome(any: &AnyOutcome) -> Option<&Self::Outcome> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyOutcome::$variant(outcome) = any { Some(outcome) } else { None }
            }

            fn summary(any: &AnySummary) -> Option<&Summary<Self>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnySummary::$variant(summary) = any { Some(summary) } else { None }
            }

            fn view_of(any: &AnyView) -> Option<&Self::View> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyView::$variant(view) = any { Some(view) } else { None }
            }

            fn rejection(any: &AnyRejection) -> Option<&Self::Rejection> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyRejection::$variant(rejection) = any { Some(rejection) } else { None }
            }
        } )+
    };
}

workloads! {
    1 Campaign: crate::coupon, Coupon, "campaign", "campaigns";
    2 Policy: crate::rate_limit::policies, Limit, "policy", "policies";
    3 Keyring: crate::keyring, Keyring, "keyring", "keyrings";
}
