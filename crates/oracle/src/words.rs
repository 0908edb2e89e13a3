//! What is asked and what is answered.

use domain::rejections::Detail;
use domain::state::Precondition;
use domain::types::Timestamp;
use domain::workload::{AnyPatch, AnySettings};
use domain::{Kind, Novelty};

use crate::{Answer, Happening, View, Wish};

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The request's key, where the question has one.
    pub key: Option<Key<'a>>,
    /// What is asked.
    pub what: What<'a>,
}

/// A request key.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The caller, to whom the key belongs.
    pub actor: &'a str,
    /// The key.
    pub key: &'a str,
    /// A digest of what the key was given to.
    pub fingerprint: [u8; 16],
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// Create the aggregate of this name, or give it these settings, which say its kind.
    Put(&'a str, AnySettings, Precondition),
    /// Change some settings.
    Patch(&'a str, AnyPatch, Precondition),
    /// End an aggregate.
    Remove(Kind, &'a str, Precondition),
    /// Something of one aggregate.
    Do(Step<'a>),
    /// Something of two aggregates at once.
    DoBoth(Step<'a>, Step<'a>),
    /// To forget the request keys whose time has come.
    ForgetKeys,
    /// To set the time back to this.
    SetTime(Timestamp),
}

/// What is asked of one aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// What, which says its kind.
    pub wish: Wish<'a>,
}

/// The answer: a yes, or the first reason against it.
pub type Said = Result<Yes, No>;
/// A yes.
pub type Yes = Ruling<Outcome, Effect>;

/// A yes of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling<O, E> {
    /// What is answered.
    pub outcome: O,
    /// Whether the answer is new.
    pub novelty: Novelty,
    /// What changes; `None` if nothing does.
    pub effect: Option<E>,
}

impl<O, E> Ruling<O, E> {
    /// Something changes.
    pub fn effect(outcome: O, effect: E) -> Self {
        Self { outcome, novelty: Novelty::Fresh, effect: Some(effect) }
    }

    /// Nothing changes.
    pub fn same(outcome: O, novelty: Novelty) -> Self {
        Self { outcome, novelty, effect: None }
    }

    pub(crate) fn map<P, F>(self, outcome: impl FnOnce(O) -> P, effect: impl FnOnce(E) -> F) -> Ruling<P, F> {
        Ruling { outcome: outcome(self.outcome), novelty: self.novelty, effect: self.effect.map(effect) }
    }
}

/// What is answered to a yes, in the form in which a request key remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An aggregate was created, or its settings were written.
    Written {
        /// Whether it is new.
        created: bool,
        /// As it stood then.
        view: Box<View>,
    },
    /// An aggregate was removed, which stood so.
    Removed(Box<View>),
    /// In the aggregate with this number.
    Did(u32, Answer),
    /// In two aggregates at once.
    DidBoth((u32, Answer), (u32, Answer)),
    /// So many request keys were forgotten.
    KeysForgotten(u32),
    /// The time was set back.
    TimeSet,
    /// Nothing happens and nobody waits for an answer. The word is the promise that would be broken if
    /// it happened all the same.
    Nothing(&'static str),
}

/// What changes by a yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// An aggregate exists.
    Created {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// Its settings.
        settings: AnySettings,
    },
    /// The aggregate with this number has these settings.
    Changed(u32, AnySettings),
    /// There is no aggregate with this number any more.
    Removed(u32),
    /// Something happened in the aggregate with this number.
    Did(u32, Happening),
    /// Something happened in two aggregates at once.
    DidBoth((u32, Happening), (u32, Happening)),
    /// The oldest request keys are forgotten, so many of them.
    KeysForgotten(u32),
    /// The time was set back.
    TimeSet {
        /// What it was.
        from: Timestamp,
        /// What it is now.
        to: Timestamp,
    },
}

/// A no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct No {
    /// The stable word that clients match.
    pub code: &'static str,
    /// What is told beside the code, each by its name in the answer.
    pub details: Vec<(&'static str, Detail)>,
}

impl No {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, details: Vec::new() }
    }

    pub(crate) fn with(code: &'static str, name: &'static str, detail: Detail) -> Self {
        Self { code, details: vec![(name, detail)] }
    }
}

impl Step<'_> {
    /// The kind of its aggregate.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.wish.kind()
    }
}

/// Refuses if the condition holds.
pub(crate) fn refuse_if(condition: bool, no: impl FnOnce() -> No) -> Result<(), No> {
    if condition { Err(no()) } else { Ok(()) }
}

/// Whether the condition of a write holds for what has this version, or is not there.
pub(crate) fn check_condition(version: Option<u64>, condition: Precondition, kind: Kind) -> Result<(), No> {
    match (version, condition) {
        (_, Precondition::Always) => Ok(()),
        (Some(_), Precondition::Exists) | (None, Precondition::IsNew) => Ok(()),
        (Some(_), Precondition::IsNew) => Err(No::new(kind.exists())),
        (Some(version), Precondition::Version(wanted)) if wanted == version => Ok(()),
        (Some(version), _) => Err(No::with("version_mismatch", "version", Detail::Number(version))),
        (None, _) => Err(No::new(kind.not_found())),
    }
}
