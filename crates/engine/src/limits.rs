//! Every limit of the engine has a name, here. No limit affects a decision, only whether a command is
//! accepted at all.

use domain::{Action, Command, State, Step};
use journal::format::BATCH_HEADER_BYTES;

/// The engine's capacity.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries in memory (claims, overrides), cancelled ones included; at most `u32::MAX - 1`. A kind
    /// may have a limit of its own ([`domain::Kind::entries_max`]).
    pub entries_max: u64,
    /// Request keys in memory.
    pub requests_max: usize,
    /// Aggregates of one kind; likewise ([`domain::Kind::count_max`]).
    pub aggregates_max: usize,
    /// Bytes that are decided and not yet on disk: how large a batch can grow while the previous one is being
    /// synced.
    pub staged_bytes_max: u64,
}

impl Limits {
    /// Sized for a machine with 24 GiB: about 10 GiB for entries, 5 GiB for request keys.
    pub const STANDARD: Self =
        Self { entries_max: 200_000_000, requests_max: 20_000_000, aggregates_max: 100_000, staged_bytes_max: 2 << 20 };

    /// The limit that this command would exceed if it changed the state, by its name in the API.
    #[must_use]
    pub fn exceeded(&self, state: &State, command: &Command<'_>) -> Option<&'static str> {
        let too_much = match &command.action {
            Action::Put { name, settings, .. } => {
                let kind = settings.kind();
                let is_new = state.find(kind, *name).is_none();
                (is_new && self.aggregates_max.min(kind.count_max()) <= state.count(kind)).then_some(kind.path())
            }
            Action::Do(step) => self.exceeded_by(state, step),
            Action::DoBoth(first, second) => self.exceeded_by(state, first).or_else(|| self.exceeded_by(state, second)),
            Action::Patch { .. } | Action::Remove { .. } | Action::ForgetRequests | Action::SetTime { .. } => None,
        };
        too_much.or_else(|| (command.request.is_some() && self.requests_max <= state.requests.len()).then_some("request_keys"))
    }

    fn exceeded_by(&self, state: &State, step: &Step<'_>) -> Option<&'static str> {
        let kind = step.command.kind();
        let is_full = self.entries_max <= state.entries_count() || kind.entries_max() <= state.entries_count_of(kind);
        let adds = || state.find(kind, step.name).is_some_and(|aggregate| aggregate.adds_entry(&step.command));
        (is_full && adds()).then_some(kind.entries())
    }
}

/// The largest size of a record on disk: four names, a request key, and the fixed parts.
pub const RECORD_BYTES_MAX: u64 = 2_048;
/// Room that the journal must have to accept one more record, in a batch of its own.
pub(crate) const ROOM_BYTES_MIN: u64 = BATCH_HEADER_BYTES as u64 + RECORD_BYTES_MAX;

/// How far, in milliseconds, the last record's time may be ahead of the clock before that raises an alarm.
pub const CLOCK_BEHIND_MS_MAX: u64 = 60_000;
