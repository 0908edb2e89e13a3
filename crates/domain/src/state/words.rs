//! The words of all workloads together: commands, changes and records, decisions, and rejections.

use crate::rejections::Detail;
use crate::request::{Keyed, Outcome};
use crate::types::{ActorId, Name, RequestId, Timestamp};
use crate::workload::{AnyCommand, AnyEvent, AnyPatch, AnyRejection, AnySettings, Kind, Listed, Number, SettingsIssue};

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
    /// To set the time back, after a clock was ahead. The operator asks; it never moves the time on.
    SetTime {
        /// The time from here on.
        to: Timestamp,
    },
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
            Self::ForgetRequests | Self::SetTime { .. } => None,
        }
    }

    /// The workloads' own commands in it: one, two or none.
    pub fn steps(&self) -> impl Iterator<Item = &Step<'a>> {
        let (first, second) = match self {
            Self::Do(step) => (Some(step), None),
            Self::DoBoth(first, second) => (Some(first), Some(second)),
            Self::Put { .. } | Self::Patch { .. } | Self::Remove { .. } | Self::ForgetRequests | Self::SetTime { .. } => (None, None),
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
    /// The time was set back. Nothing else changes by it: who was refused may ask again, and what was forgotten
    /// stays forgotten.
    TimeSet {
        /// What it was.
        from: Timestamp,
        /// What it is from here on, and the time of this record.
        to: Timestamp,
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
    /// When it was decided; never before the record ahead of it, unless this one sets the time back.
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
            Self::RequestsForgotten { .. } | Self::TimeSet { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The time of a record with this change that is decided at `now`.
    #[must_use]
    pub fn decided_at(&self, now: Timestamp) -> Timestamp {
        if let Self::TimeSet { to, .. } = self { *to } else { now }
    }

    /// What happened in aggregates, beside their creation, change of settings and end.
    pub fn events(&self) -> impl Iterator<Item = Done<'a>> + use<'a> {
        let (first, second) = match self {
            Self::Did(done) => (Some(*done), None),
            Self::DidBoth(first, second) => (Some(*first), Some(*second)),
            Self::Created { .. } | Self::Changed { .. } | Self::Removed { .. } | Self::RequestsForgotten { .. } | Self::TimeSet { .. } => {
                (None, None)
            }
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
