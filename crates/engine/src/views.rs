//! What an answer is made from: copies of the state, taken in the critical section, that outlive
//! it.

use domain::request::Outcome;
use domain::state::Answer;
use domain::types::{Name, Timestamp};
use domain::workload::{AnyOutcome, AnySummary, AnyView, Summary};
use domain::{Kind, Listed, Novelty, Number, Rejection, State};

/// A yes: what took effect, and what its answer shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// What took effect.
    pub effect: Effect,
    /// Whether this is the first time that it is said.
    pub novelty: Novelty,
}

/// What took effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// An aggregate was created, or its settings written, or were so already.
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
    DidBoth(Shown, Shown),
    /// Nothing that anybody waits for.
    Nothing,
}

/// What happened in an aggregate, and what it shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// In which aggregate.
    pub number: Number,
    /// What happened.
    pub outcome: AnyOutcome,
    /// What it shows; `None` where the aggregate has been removed since.
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

    /// What happened in an aggregate, and what it shows, if it is of the workload.
    #[must_use]
    pub fn shown<W: Listed>(&self) -> Option<(W::Outcome, &W::View)> {
        let Effect::Did(shown) = &self.effect else { return None };
        Some((*W::outcome(&shown.outcome)?, W::view_of(shown.view.as_ref()?)?))
    }

    /// What an answer of the rules shows at `now`.
    pub(crate) fn of(state: &State, answer: &Answer, now: Timestamp) -> Self {
        Self { effect: Effect::of(state, &answer.outcome, now), novelty: answer.novelty }
    }

    /// Nothing took effect.
    pub(crate) const NOTHING: Self = Self { effect: Effect::Nothing, novelty: Novelty::Fresh };
}

impl Effect {
    /// What an outcome shows at `now`.
    pub(crate) fn of(state: &State, outcome: &Outcome, now: Timestamp) -> Self {
        let shown = |number, outcome| {
            let view = state.at(number).and_then(|aggregate| aggregate.view(outcome, now));
            Shown { number, outcome, view }
        };
        match outcome {
            Outcome::Written { created, summary } => Self::Written { created: *created, summary: summary.clone() },
            Outcome::Removed { summary } => Self::Removed { summary: summary.clone() },
            Outcome::Did(number, outcome) => Self::Did(shown(*number, *outcome)),
            Outcome::DidBoth((number, one), (other_number, other)) => Self::DidBoth(shown(*number, *one), shown(*other_number, *other)),
        }
    }
}

/// Which records an answer rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over<'a> {
    /// Those of one aggregate, or of there being none.
    One(Kind, Name<'a>),
    /// Those of all aggregates of a kind.
    Kind(Kind),
    /// All.
    All,
}

/// A no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The rules.
    Rejected(Rejection),
    /// As much as fits is on its way to the disk; ask again in a moment.
    Busy,
    /// The disk is full; nothing can be written until there is room.
    StorageFull,
    /// As many entries, request keys or aggregates are in memory as may be; which, in a word.
    MemoryLimit(&'static str),
    /// The engine stops and takes nothing more.
    Stopping,
    /// The node does not know whether it knows everything up to now: nothing was done.
    NotCaughtUp,
    /// The disk failed after the command had been staged: nobody knows whether it took effect.
    Unknown,
}
