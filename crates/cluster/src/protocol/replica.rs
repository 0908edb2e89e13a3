//! One partition's state, from its records in their order. Nodes that apply the same records have the
//! same state: nothing but the records and their broker's times goes in.

use data_encoding::HEXLOWER;
use std::collections::VecDeque;

use domain::hash::HashSeed;
use domain::types::{RequestId, Timestamp};
use domain::wire::state::FrozenState;
use domain::{Command, Number, Record, Rejection, State};
use engine::core::{Core, Watch};
use engine::digest::{DIGEST_BYTES, RunningDigest};
use engine::limits::Limits;
use engine::views::{Done, Effect};
use journal::Lsn;

use super::limits::DIGESTS_KEPT;
use super::record::{Body, Genesis, LogId, LogRecord, MalformedRecord, Origin, RulesVersion, decode};

/// Which partition of how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    /// This one, from 0.
    pub partition: u32,
    /// Of so many.
    pub partitions: u32,
}

/// How far a replica is, and what it has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The offset of the next record.
    pub offset_next: u64,
    /// Records that changed something.
    pub decisions: u64,
    /// The effective time: the largest broker's time so far.
    pub effective_at: Timestamp,
    /// The rules that decide.
    pub rules: RulesVersion,
    /// The digest of the state.
    pub digest: [u8; DIGEST_BYTES],
}

/// A record as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// Its offset in the partition.
    pub offset: u64,
    /// The broker's time of it.
    pub at: Timestamp,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What a record came to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "most records are callers' commands, which would be allocated otherwise")]
pub enum Applied {
    /// A caller's command was decided.
    Command {
        /// The node that took it from its caller.
        origin: Origin,
        /// The decision.
        answer: Result<Done, Rejection>,
    },
    /// A command was decided that a node gave because something was due in an aggregate.
    Due {
        /// The node.
        origin: Origin,
        /// The aggregate, if it is there.
        number: Option<Number>,
        /// Whether the command had an effect: whether its time had come, and no other node was faster.
        has_effect: bool,
    },
    /// A barrier has come by.
    Barrier {
        /// The node that waits for it.
        origin: Origin,
    },
    /// Something that nobody waits for.
    Other,
}

/// The log is not what it should be, or says what this program does not understand. The node stops:
/// to go on would be to guess.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Records are missing, or come again.
    #[error("partition {partition} goes on at offset {expected}, but the log gave offset {found}")]
    Gap {
        /// Where.
        partition: u32,
        /// What should have come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The bytes are no record.
    #[error("the record at offset {offset} of partition {partition} is malformed: {what}")]
    Malformed {
        /// Where.
        partition: u32,
        /// Which.
        offset: u64,
        /// How.
        what: MalformedRecord,
    },
    /// A record is in a partition where it does not belong.
    #[error("the record at offset {offset} of partition {partition} belongs to partition {belongs}")]
    WrongPartition {
        /// Where it is.
        partition: u32,
        /// Which.
        offset: u64,
        /// Where it belongs.
        belongs: u32,
    },
    /// The rules are newer than this program.
    #[error("from offset {offset} of partition {partition} on, rules {wanted} decide; this program knows rules up to {known}")]
    UnknownRules {
        /// Where.
        partition: u32,
        /// From where on.
        offset: u64,
        /// What decides.
        wanted: u32,
        /// What is known.
        known: u32,
    },
    /// The log gave records of a partition that it was not made with.
    #[error("the log gave a record of partition {partition}, and it has the partitions 0 to {}", .partitions - 1)]
    UnknownPartition {
        /// Which.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The client gave a record a number that no record has.
    #[error("the log gave a record at offset {offset} of partition {partition}, where none can be")]
    Nowhere {
        /// Which partition.
        partition: i32,
        /// Which offset.
        offset: i64,
    },
    /// A record has no time, or that of the one who appended it.
    #[error(
        "the record at offset {offset} of partition {partition} has no time of the broker's; message.timestamp.type must always be \"LogAppendTime\""
    )]
    NoBrokersTime {
        /// Where.
        partition: u32,
        /// Which.
        offset: u64,
    },
    /// The first record is none that begins a log, or one of another log.
    #[error("partition {partition} does not begin as it should: {what}")]
    Genesis {
        /// Where.
        partition: u32,
        /// How.
        what: String,
    },
    /// The history does not say which state it holds, so that nothing can be compared with it.
    #[error("the history's digest of partition {partition} has {bytes} bytes and must have {DIGEST_BYTES}")]
    NoDigest {
        /// Where.
        partition: u32,
        /// How long it is.
        bytes: usize,
    },
    /// Another node has another state at the same place.
    #[error("the state of partition {partition} before offset {offset_next} is {own} here and {other} in the history")]
    Disagreement {
        /// Where.
        partition: u32,
        /// At which place.
        offset_next: u64,
        /// This node's digest.
        own: String,
        /// The other one.
        other: String,
    },
}

/// One partition's state.
#[derive(Debug)]
pub struct Replica {
    topology: Topology,
    rules_known: RulesVersion,
    rules: RulesVersion,
    log: Option<LogId>,
    core: Core,
    digest: RunningDigest,
    offset_next: u64,
    /// The digests before the last offsets, the newest at the end.
    digests: VecDeque<[u8; DIGEST_BYTES]>,
}

impl Replica {
    /// A replica that has applied nothing.
    #[must_use]
    pub fn new(topology: Topology, rules_known: RulesVersion, seed: HashSeed) -> Self {
        let core = Core::new(seed, Limits::STANDARD);
        Self {
            topology,
            rules_known,
            rules: RulesVersion(0),
            log: None,
            core,
            digest: RunningDigest::default(),
            offset_next: 0,
            digests: VecDeque::new(),
        }
    }

    /// A replica that goes on from a state, which `progress` says where it was reached.
    ///
    /// # Errors
    /// [`Fault::Disagreement`] if the state has another digest than `progress` says, and
    /// [`Fault::UnknownRules`].
    pub fn resume(topology: Topology, rules_known: RulesVersion, state: State, progress: &Progress) -> Result<Self, Fault> {
        let mut replica = Self::new(topology, rules_known, state.seed());
        replica.digest = RunningDigest::of(&state);
        replica.core = Core::resume(state, Lsn(progress.decisions), Limits::STANDARD);
        replica.rules = progress.rules;
        replica.offset_next = progress.offset_next;
        replica.check_rules(progress.offset_next, progress.rules)?;
        replica.compare(progress)?;
        Ok(replica)
    }

    /// Which partition it is.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The state and the rules.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The log that it follows, once its first record was seen.
    #[must_use]
    pub fn log(&self) -> Option<LogId> {
        self.log
    }

    /// The offset of the next record.
    #[must_use]
    pub fn offset_next(&self) -> u64 {
        self.offset_next
    }

    /// The state as it is now, shared rather than copied, and how far it is: what a snapshot is made of.
    #[must_use]
    pub fn freeze(&self) -> (Progress, FrozenState) {
        (self.progress(), self.core.state().freeze())
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (effective_at, decisions) = (self.core.state().time, self.core.staged_lsn().0);
        let digest = self.digest.value(effective_at, decisions);
        Progress { offset_next: self.offset_next, decisions, effective_at, rules: self.rules, digest }
    }

    /// Applies the next record; `watch` sees what is decided.
    ///
    /// # Errors
    /// [`Fault`]; nothing more may be applied then.
    pub fn apply(&mut self, record: &Delivered<'_>, watch: &mut impl Watch) -> Result<Applied, Fault> {
        let (partition, offset) = (self.topology.partition, record.offset);
        if offset != self.offset_next {
            return Err(Fault::Gap { partition, expected: self.offset_next, found: offset });
        }
        let malformed = |what| Fault::Malformed { partition, offset, what };
        let read = decode(record.bytes).map_err(malformed)?;
        read.check().map_err(malformed)?;
        let belongs = read.routing.partition(self.topology.partitions);
        if belongs != partition {
            return Err(Fault::WrongPartition { partition, offset, belongs });
        }
        let applied = self.apply_read(&read, record, watch)?;
        self.offset_next += 1;
        self.keep_digest();
        Ok(applied)
    }

    /// Compares with what another node came to at a place that this one has passed lately.
    ///
    /// # Errors
    /// [`Fault::Disagreement`].
    pub fn compare(&self, other: &Progress) -> Result<(), Fault> {
        let own = if other.offset_next == self.offset_next { Some(self.progress().digest) } else { self.digest_before(other.offset_next) };
        match own {
            Some(own) if own != other.digest => Err(Fault::Disagreement {
                partition: self.topology.partition,
                offset_next: other.offset_next,
                own: HEXLOWER.encode(&own),
                other: HEXLOWER.encode(&other.digest),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn apply_read(&mut self, read: &LogRecord<'_>, record: &Delivered<'_>, watch: &mut impl Watch) -> Result<Applied, Fault> {
        if record.offset == 0 && !matches!(read.body, Body::Genesis(_)) {
            return Err(self.begins_wrong("its first record is none that begins a log"));
        }
        match read.body {
            Body::Genesis(genesis) => {
                self.begin(record.offset, &genesis)?;
                self.core.pass_time(record.at);
                Ok(Applied::Other)
            }
            Body::Command { request_id, command } => {
                let answer = self.decide(&command, request_id, record.at, watch);
                Ok(Applied::Command { origin: read.origin, answer })
            }
            Body::Due(command) => {
                let answer = self.decide(&command, RequestId::ENGINE, record.at, watch);
                let number = command.action.target().and_then(|(kind, name)| self.core.state().find(kind, name));
                let number = number.map(|aggregate| aggregate.head().number);
                let has_effect = answer.is_ok_and(|done| done.effect != Effect::Nothing);
                Ok(Applied::Due { origin: read.origin, number, has_effect })
            }
            Body::Barrier => {
                self.core.pass_time(record.at);
                Ok(Applied::Barrier { origin: read.origin })
            }
            Body::Rules(version) => {
                self.check_rules(record.offset, version)?;
                self.core.pass_time(record.at);
                // An older switch that comes late changes nothing: rules never go back.
                self.rules = self.rules.max(version);
                Ok(Applied::Other)
            }
        }
    }

    fn decide(
        &mut self,
        command: &Command<'_>,
        request_id: RequestId<'_>,
        at: Timestamp,
        watch: &mut impl Watch,
    ) -> Result<Done, Rejection> {
        let mut watch = Both { digest: &mut self.digest, watch };
        self.core.apply(command, request_id, at, &mut watch)
    }

    /// Several nodes may have begun the log at once: the first one counts.
    fn begin(&mut self, offset: u64, genesis: &Genesis) -> Result<(), Fault> {
        if offset != 0 {
            return Ok(());
        }
        if genesis.partitions != self.topology.partitions {
            let (wanted, found) = (genesis.partitions, self.topology.partitions);
            return Err(self.begins_wrong(&format!("the log was made with {wanted} partitions, and the topic has {found}")));
        }
        self.check_rules(offset, genesis.rules)?;
        self.rules = genesis.rules;
        self.log = Some(genesis.log);
        Ok(())
    }

    fn begins_wrong(&self, what: &str) -> Fault {
        Fault::Genesis { partition: self.topology.partition, what: what.to_owned() }
    }

    fn check_rules(&self, offset: u64, wanted: RulesVersion) -> Result<(), Fault> {
        if wanted <= self.rules_known {
            return Ok(());
        }
        Err(Fault::UnknownRules { partition: self.topology.partition, offset, wanted: wanted.0, known: self.rules_known.0 })
    }

    fn keep_digest(&mut self) {
        if self.digests.len() == DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.digests.push_back(self.progress().digest);
    }

    fn digest_before(&self, offset_next: u64) -> Option<[u8; DIGEST_BYTES]> {
        let behind = usize::try_from(self.offset_next.checked_sub(offset_next)?).ok()?;
        self.digests.get(self.digests.len().checked_sub(behind + 1)?).copied()
    }
}

/// Carries the digest along, beside another watch.
struct Both<'a, W> {
    digest: &'a mut RunningDigest,
    watch: &'a mut W,
}

impl<W: Watch> Watch for Both<'_, W> {
    fn before(&mut self, record: &Record<'_>, state: &State) {
        self.digest.before(record, state);
        self.watch.before(record, state);
    }

    fn after(&mut self, lsn: Lsn, record: &Record<'_>, state: &State) {
        self.digest.after(record, state);
        self.watch.after(lsn, record, state);
    }
}

/// A watch that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&mut self, _record: &Record<'_>, _state: &State) {}

    fn after(&mut self, _lsn: Lsn, _record: &Record<'_>, _state: &State) {}
}
