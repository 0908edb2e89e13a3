//! What the oracle states of a workload, and the list of workloads.
//!
//! To add one: state its rules in a file of its own, and add its module to `lib.rs` and a line to the list
//! at the end of this file.

use std::fmt::Debug;
use std::sync::Arc;

use domain::Kind;
use domain::fields::Value;
use domain::rows::{Cell, Table};
use domain::types::Timestamp;
use domain::workload::{AnyAggregate, AnyCommand, AnyEvent, AnyOutcome, AnyPatch, AnySettings, Listed, Workload};

use crate::{Head, No, Ruling, adapter};

/// The settings of a workload.
pub(crate) type SettingsOf<R> = <<R as Rules>::Of as Workload>::Settings;
/// A command of a workload.
pub(crate) type CommandOf<'a, R> = <<R as Rules>::Of as Workload>::Command<'a>;
/// A yes of a workload.
pub(crate) type RulingOf<R> = Ruling<<R as Rules>::Outcome, <R as Rules>::Effect>;
/// Rows of a table, by key.
pub type Rows<'a> = Box<dyn Iterator<Item = Vec<Cell<'a>>> + 'a>;

/// A workload's rules, a second time.
pub(crate) trait Rules: Sized {
    /// The workload of `domain` whose rules they are.
    type Of: Listed;
    /// What can be asked.
    type Ask<'a>: Copy + Debug;
    /// What is answered.
    type Outcome: Copy + PartialEq + Debug;
    /// What changes.
    type Effect: PartialEq + Debug;
    /// Whether an aggregate can be removed.
    const IS_REMOVABLE: bool;

    /// A new aggregate.
    fn new(head: Head, settings: SettingsOf<Self>) -> Self;

    /// Whether settings can be any aggregate's.
    fn check_settings(_settings: &SettingsOf<Self>) -> Result<(), No> {
        Ok(())
    }

    /// Whether the aggregate can have these settings after those that it has.
    fn check_change(&self, _settings: &SettingsOf<Self>) -> Result<(), No> {
        Ok(())
    }

    /// Settings that are put: what the program sets itself stays.
    fn kept(&self, settings: SettingsOf<Self>) -> SettingsOf<Self> {
        settings
    }

    /// What the answers show beside these settings.
    fn figures(&self, settings: &SettingsOf<Self>, now: Timestamp) -> Vec<(&'static str, Value)>;

    /// What must be answered at `now`.
    fn decide(&self, ask: &Self::Ask<'_>, has_key: bool, now: Timestamp) -> Result<RulingOf<Self>, No>;

    /// The promise that would be broken if something happened, where the outcome is that nothing does.
    fn nothing(_outcome: &Self::Outcome) -> Option<&'static str> {
        None
    }

    /// Takes an effect in, whether the rules allow it or not.
    fn apply(&mut self, effect: &Self::Effect, at: Timestamp);

    /// The time was set back: what counts from later times begins anew.
    fn time_set(&mut self) {}

    /// The question behind an effect on `it`, which may not be there.
    fn asked_for<'a>(it: Option<&'a Self>, effect: &'a Self::Effect) -> Self::Ask<'a>;

    /// The question for what is due.
    fn due(&self, _now: Timestamp) -> Option<Self::Ask<'_>> {
        None
    }

    /// Promises that what is kept breaks: each in a word, and the story.
    fn check(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The promise that an effect breaks instead of which the rules say another one.
    fn broken_by(_effect: &Self::Effect, _expected: &Self::Effect) -> &'static str {
        Self::Of::KIND.word()
    }

    /// The promise that an effect breaks that was so before, and the reason.
    fn repeated() -> (&'static str, &'static str) {
        ("no_change", "and it was so before")
    }
}

/// The same rules in the types of `domain`.
pub(crate) trait Translated: Rules {
    /// A command, as a question.
    fn ask(command: CommandOf<'_, Self>) -> Self::Ask<'_>;

    /// An event, as an effect.
    fn effect(event: &<Self::Of as Workload>::Event<'_>) -> Self::Effect;

    /// An outcome, as an answer.
    fn answer(outcome: &<Self::Of as Workload>::Outcome) -> Self::Outcome;

    /// An answer, as the outcome that servers remember; `None` for what is never remembered.
    fn outcome(answer: &Self::Outcome) -> Option<<Self::Of as Workload>::Outcome>;

    /// The rows that a table of the workload must have of the aggregate, by key.
    fn rows(&self, table: &Table) -> Rows<'_>;

    /// The canonical bytes of each entry, in the format of the digest.
    fn entries(&self, each: &mut dyn FnMut(&[u8]));

    /// Compares the entries of `domain`'s aggregate.
    fn compare(&self, found: &domain::Aggregate<Self::Of>) -> Result<(), String> {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        Self::Of::entries(found, &mut |bytes| theirs.push(bytes.to_vec()));
        self.entries(&mut |bytes| ours.push(bytes.to_vec()));
        adapter::same(|| format!("the entries of {}", found.head.name), theirs, ours)
    }
}

macro_rules! workloads {
    ($( $(#[$cfg:meta])* $variant:ident: $kind:ident, $module:ident, $rules:ident; )+) => {
        /// An aggregate with everything that became of it. A clone shares it.
        #[derive(Clone, Debug)]
        pub enum Aggregate { $( $(#[$cfg])* #[doc = stringify!($kind)] $variant(Arc<crate::$module::$rules>), )+ }

        /// What can be asked of an aggregate beside its settings.
        #[derive(Clone, Copy, Debug)]
        pub enum Wish<'a> { $( $(#[$cfg])* #[doc = stringify!($kind)] $variant(crate::$module::Ask<'a>), )+ }

        /// What is answered of one aggregate.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Answer { $( $(#[$cfg])* #[doc = stringify!($kind)] $variant(crate::$module::Outcome), )+ }

        /// What happens in one aggregate.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Happening { $( $(#[$cfg])* #[doc = stringify!($kind)] $variant(crate::$module::Effect), )+ }

        /// Whether aggregates of a kind can be removed.
        pub(crate) fn is_removable(kind: Kind) -> bool {
            match kind { $( $(#[$cfg])* Kind::$kind => crate::$module::$rules::IS_REMOVABLE, )+ }
        }

        /// Whether settings can be anyone's: fields that go together, and numbers in their ranges.
        pub(crate) fn check_settings(settings: &AnySettings) -> Result<(), No> {
            match settings { $( $(#[$cfg])* AnySettings::$kind(settings) => crate::$module::$rules::check_settings(settings), )+ }
        }

        /// Settings after a change; those of another kind stay as they are.
        pub(crate) fn patched(old: AnySettings, patch: &AnyPatch) -> AnySettings {
            match (old, patch) {
                $( $(#[$cfg])* (AnySettings::$kind(settings), AnyPatch::$kind(patch)) => AnySettings::$kind(adapter::with(settings, patch)), )+
                _ => old,
            }
        }

        impl Aggregate {
            pub(crate) fn new(head: Head, settings: AnySettings) -> Self {
                match settings { $( $(#[$cfg])* AnySettings::$kind(settings) => Self::$variant(Arc::new(Rules::new(head, settings))), )+ }
            }

            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$kind, )+ }
            }

            /// What every aggregate has.
            #[must_use]
            pub fn head(&self) -> &Head {
                match self { $( $(#[$cfg])* Self::$variant(it) => &it.head, )+ }
            }

            /// Its settings.
            #[must_use]
            pub fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySettings::$kind(it.settings), )+ }
            }

            /// What the answers show beside these settings; nothing beside those of another kind.
            pub(crate) fn figures(&self, settings: &AnySettings, now: Timestamp) -> Vec<(&'static str, Value)> {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$kind(settings)) => it.figures(settings, now), )+
                    _ => Vec::new(),
                }
            }

            /// Settings that are put: what the program sets itself stays.
            pub(crate) fn kept(&self, settings: AnySettings) -> AnySettings {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$kind(settings)) => AnySettings::$kind(it.kept(settings)), )+
                    _ => settings,
                }
            }

            pub(crate) fn check_change(&self, settings: &AnySettings) -> Result<(), No> {
                check_settings(settings)?;
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$kind(settings)) => it.check_change(settings), )+
                    // It was found by the kind of the settings.
                    _ => Err(No::new(settings.kind().not_found())),
                }
            }

            pub(crate) fn time_set(&mut self) {
                match self { $( $(#[$cfg])* Self::$variant(it) => Arc::make_mut(it).time_set(), )+ }
            }

            pub(crate) fn change(&mut self, settings: AnySettings, at: Timestamp) {
                let head = match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$kind(settings)) => {
                        let it = Arc::make_mut(it);
                        it.settings = settings;
                        &mut it.head
                    } )+
                    _ => return,
                };
                head.version += 1;
                head.changed_at = at;
            }

            pub(crate) fn decide(&self, wish: &Wish<'_>, has_key: bool, now: Timestamp) -> Result<Ruling<Answer, Happening>, No> {
                match (self, wish) {
                    $( $(#[$cfg])* (Self::$variant(it), Wish::$variant(ask)) => {
                        Ok(it.decide(ask, has_key, now)?.map(Answer::$variant, Happening::$variant))
                    } )+
                    // It was found by the kind of the wish.
                    _ => Err(No::new(wish.kind().not_found())),
                }
            }

            pub(crate) fn apply(&mut self, happening: &Happening, at: Timestamp) {
                match (self, happening) {
                    $( $(#[$cfg])* (Self::$variant(it), Happening::$variant(effect)) => Arc::make_mut(it).apply(effect, at), )+
                    _ => {}
                }
            }

            pub(crate) fn due(&self, now: Timestamp) -> Option<Wish<'_>> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.due(now).map(Wish::$variant), )+ }
            }

            pub(crate) fn check(&self) -> Vec<(&'static str, String)> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.check(), )+ }
            }

            /// The rows that a table of its kind must have of it, by key.
            #[must_use]
            pub fn rows(&self, table: &Table) -> Rows<'_> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.rows(table), )+ }
            }

            /// The canonical bytes of each entry, in the format of the digest.
            pub fn entries(&self, each: &mut dyn FnMut(&[u8])) {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.entries(each), )+ }
            }

            pub(crate) fn compare(&self, found: &AnyAggregate) -> Result<(), String> {
                match (self, found) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyAggregate::$kind(found)) => it.compare(found), )+
                    _ => Err(format!("{} is a {}, and must be a {}", self.head().name, found.kind().word(), self.kind().word())),
                }
            }
        }

        impl<'a> Wish<'a> {
            /// The kind of the aggregate that it is for.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$kind, )+ }
            }

            pub(crate) fn of(command: AnyCommand<'a>) -> Self {
                match command { $( $(#[$cfg])* AnyCommand::$kind(command) => Self::$variant(crate::$module::$rules::ask(command)), )+ }
            }
        }

        impl Answer {
            pub(crate) fn of(outcome: &AnyOutcome) -> Self {
                match outcome { $( $(#[$cfg])* AnyOutcome::$kind(outcome) => Self::$variant(crate::$module::$rules::answer(outcome)), )+ }
            }

            /// As servers remember it; `None` for what is never remembered.
            #[must_use]
            pub fn outcome(&self) -> Option<AnyOutcome> {
                match self { $( $(#[$cfg])* Self::$variant(answer) => crate::$module::$rules::outcome(answer).map(AnyOutcome::$kind), )+ }
            }

            /// The promise that would be broken if something happened, where it is answered that nothing does.
            pub(crate) fn nothing(&self) -> Option<&'static str> {
                match self { $( $(#[$cfg])* Self::$variant(answer) => crate::$module::$rules::nothing(answer), )+ }
            }
        }

        impl Happening {
            pub(crate) fn of(event: &AnyEvent<'_>) -> Self {
                match event { $( $(#[$cfg])* AnyEvent::$kind(event) => Self::$variant(crate::$module::$rules::effect(event)), )+ }
            }

            /// The kind of the aggregate in which it happens.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$kind, )+ }
            }

            /// The promise that it breaks where the rules say `expected`.
            #[must_use]
            pub fn broken_by(&self, expected: &Self) -> &'static str {
                match (self, expected) {
                    $( $(#[$cfg])* (Self::$variant(effect), Self::$variant(expected)) => crate::$module::$rules::broken_by(effect, expected), )+
                    _ => self.kind().word(),
                }
            }

            /// The promise that it breaks where it was so before, and the reason.
            #[must_use]
            pub fn repeated(&self) -> (&'static str, &'static str) {
                match self { $( $(#[$cfg])* Self::$variant(_) => crate::$module::$rules::repeated(), )+ }
            }

            /// The question behind it, on `aggregate`, which may not be there.
            pub(crate) fn asked_for<'a>(&'a self, aggregate: Option<&'a Aggregate>) -> Wish<'a> {
                match self { $( $(#[$cfg])* Self::$variant(effect) => {
                    let it = if let Some(Aggregate::$variant(it)) = aggregate { Some(&**it) } else { None };
                    Wish::$variant(crate::$module::$rules::asked_for(it, effect))
                } )+ }
            }
        }
    };
}

workloads! {
    Coupon: Campaign, coupon, Campaign;
    Limit: Policy, limit, Policy;
    Keyring: Keyring, keyring, Ring;
    #[cfg(feature = "example")]
    Counter: Counter, counter, Counter;
}
