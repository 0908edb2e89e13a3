//! The copies of the state that answers are made from: taken in the critical section, and valid after it.

use domain::request::Outcome;
use domain::state::Answer;
use domain::types::{Name, Timestamp};
use domain::workload::{AnyOutcome, AnySummary, AnyView, Summary};
use domain::{Kind, Listed, Novelty, Number, Rejection, State};

/// A successful result: what took effect, and what the answer shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// What took effect.
    pub effect: Effect,
    /// Whether the command took effect now, or its earlier outcome is repeated.
    pub novelty: Novelty,
}

/// What took effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// An aggregate was created, its settings were changed, or it already had them.
    Written {
        /// Whether it is new.
        created: bool,
        /// The aggregate as it stood then.
        summary: Box<AnySummary>,
    },
    /// An aggregate was removed.
    Removed {
        /// The aggregate as it stood then.
        summary: Box<AnySummary>,
    },
    /// Something happened in an aggregate.
    Did(Shown),
    /// Something happened in two aggregates at once.
    // Boxed, because every answer of the engine is as large as the largest one.
    DidBoth(Box<(Shown, Shown)>),
    /// A change that is reported to no caller.
    Nothing,
}

/// An outcome in one aggregate, and the view that the answer shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The aggregate's number.
    pub number: Number,
    /// What happened.
    pub outcome: AnyOutcome,
    /// What the answer shows; `None` if the aggregate has been removed since.
    pub view: Option<AnyView>,
}

impl Done {
    /// The summary of the aggregate that was written or removed, if it is of the workload.
    #[must_use]
    pub fn summary<W: Listed>(&self) -> Option<&Summary<W>> {
        match &self.effect {
            Effect::Written { summary, .. } | Effect::Removed { summary } => W::summary(summary),
            Effect::Did(_) | Effect::DidBoth(..) | Effect::Nothing => None,
        }
    }

    /// The outcome in one aggregate and its view, if they are of this workload.
    #[must_use]
    pub fn shown<W: Listed>(&self) -> Option<(W::Outcome, &W::View)> {
        let Effect::Did(shown) = &self.effect else { return None };
        Some((*W::outcome(&shown.outcome)?, W::view_of(shown.view.as_ref()?)?))
    }

    /// The result that shows the rules' answer at `now`.
    pub(crate) fn of(state: &State, answer: &Answer, now: Timestamp) -> Self {
        Self { effect: Effect::of(state, &answer.outcome, now), novelty: answer.novelty }
    }

    /// A result without an effect.
    pub(crate) const NOTHING: Self = Self { effect: Effect::Nothing, novelty: Novelty::Fresh };
}

impl Effect {
    /// The effect that shows an outcome at `now`.
    pub(crate) fn of(state: &State, outcome: &Outcome, now: Timestamp) -> Self {
        let shown = |number, outcome| {
            let view = state.at(number).and_then(|aggregate| aggregate.view(outcome, now));
            Shown { number, outcome, view }
        };
        match outcome {
            Outcome::Written { created, summary } => Self::Written { created: *created, summary: summary.clone() },
            Outcome::Removed { summary } => Self::Removed { summary: summary.clone() },
            Outcome::Did(number, outcome) => Self::Did(shown(*number, *outcome)),
            Outcome::DidBoth((number, one), (other_number, other)) => {
                Self::DidBoth(Box::new((shown(*number, *one), shown(*other_number, *other))))
            }
        }
    }
}

/// The scope of a read: which records the result rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over<'a> {
    /// Those of one aggregate, or of its absence.
    One(Kind, Name<'a>),
    /// Those of all aggregates of a kind.
    Kind(Kind),
    /// All.
    All,
}

/// Why a command was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The rules rejected it.
    Rejected(Rejection),
    /// The staging capacity is used up; retry in a moment.
    Busy,
    /// The disk is full; nothing can be written until space is freed.
    StorageFull,
    /// The capacity for entries, request keys or aggregates is used up; the text names which.
    MemoryLimit(&'static str),
    /// The engine is stopping and accepts no commands.
    Stopping,
    /// The node could not confirm that its state is current; nothing was done.
    NotCaughtUp,
    /// The disk failed after the command was staged: whether it took effect is unknown.
    Unknown,
}
