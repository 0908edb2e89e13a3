//! One partition's state, built from its records in order. Replicas that apply the same records have the same
//! state: the only inputs are the records and their broker times. A record counts at the broker's time, or at the
//! time of its node plus a second if that is earlier ([`effective`]).

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

/// A partition, and the number of partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    /// The partition's number, from 0.
    pub partition: u32,
    /// The number of the log's partitions.
    pub partitions: u32,
}

/// How far a replica is, and the digest of its state there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The offset of the next record.
    pub offset_next: u64,
    /// The number of decided records.
    pub decisions: u64,
    /// The effective time: the largest so far ([`effective`]), unless a record has set it back.
    pub effective_at: Timestamp,
    /// The version of the rules in effect.
    pub rules: RulesVersion,
    /// The digest of the state.
    pub digest: [u8; DIGEST_BYTES],
}

/// A record as delivered by the log.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// Its offset in the partition.
    pub offset: u64,
    /// The broker's time of the record.
    pub at: Timestamp,
    /// The record's bytes.
    pub bytes: &'a [u8],
}

/// The result of applying a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// A caller's command was decided.
    Command {
        /// The node that appended it.
        origin: Origin,
        /// The decision.
        answer: Result<Done, Rejection>,
    },
    /// A due command was decided.
    Due {
        /// The node that appended it.
        origin: Origin,
        /// The aggregate, if it exists.
        number: Option<Number>,
        /// Whether the command had an effect: its time had come, and no other node was faster.
        has_effect: bool,
    },
    /// A barrier was applied.
    Barrier {
        /// The node that appended it.
        origin: Origin,
    },
    /// A record without a result that a caller waits for.
    Other,
}

/// The log's contents are invalid or unknown to this program. The node stops: continuing would be guessing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Records are missing or repeated.
    #[error("partition {partition} goes on at offset {expected}, but the log gave offset {found}")]
    Gap {
        /// The partition.
        partition: u32,
        /// The expected offset.
        expected: u64,
        /// The offset that the log delivered.
        found: u64,
    },
    /// The bytes are not a valid record.
    #[error("the record at offset {offset} of partition {partition} is malformed: {what}")]
    Malformed {
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
        /// What is wrong with the bytes.
        what: MalformedRecord,
    },
    /// A record is in a partition where it does not belong.
    #[error("the record at offset {offset} of partition {partition} belongs to partition {belongs}")]
    WrongPartition {
        /// The partition that the record is in.
        partition: u32,
        /// The record's offset.
        offset: u64,
        /// The partition where it belongs.
        belongs: u32,
    },
    /// The log requires newer rules than this program has.
    #[error("from offset {offset} of partition {partition} on, rules {wanted} decide; this program knows rules up to {known}")]
    UnknownRules {
        /// The partition.
        partition: u32,
        /// The offset of the record that switches the rules.
        offset: u64,
        /// The required version of the rules.
        wanted: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The log delivered a record of a partition that it did not begin with.
    #[error("the log gave a record of partition {partition}, and it has the partitions 0 to {}", .partitions - 1)]
    UnknownPartition {
        /// The partition.
        partition: u32,
        /// The number of the log's partitions.
        partitions: u32,
    },
    /// The client delivered a record at an offset or in a partition that cannot exist.
    #[error("the log gave a record at offset {offset} of partition {partition}, where none can be")]
    Nowhere {
        /// The partition's number as delivered.
        partition: i32,
        /// The offset as delivered.
        offset: i64,
    },
    /// A record has no time, or the producer's time instead of the broker's.
    #[error(
        "the record at offset {offset} of partition {partition} has no time of the broker's; message.timestamp.type must always be \"LogAppendTime\""
    )]
    NoBrokersTime {
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
    },
    /// The first record is not a genesis record, or one of another log.
    #[error("partition {partition} does not begin as it should: {what}")]
    Genesis {
        /// The partition.
        partition: u32,
        /// What is wrong.
        what: String,
    },
    /// The history stores no valid digest, so its state cannot be compared.
    #[error("the history's digest of partition {partition} has {bytes} bytes and must have {DIGEST_BYTES}")]
    NoDigest {
        /// The partition.
        partition: u32,
        /// The stored digest's length.
        bytes: usize,
    },
    /// Another node has a different state at the same offset.
    #[error("the state of partition {partition} before offset {offset_next} is {own} here and {other} in the history")]
    Disagreement {
        /// The partition.
        partition: u32,
        /// The offset before which the states differ.
        offset_next: u64,
        /// This node's digest.
        own: String,
        /// The other node's digest.
        other: String,
    },
}

/// How far, in milliseconds, the broker's time of a record may be ahead of the time at which its node appended it.
const BROKER_AHEAD_MS_MAX: u64 = 1_000;

/// The time at which a record counts, before it is compared with those ahead of it: the broker's, but not far
/// ahead of the node's. So neither a broker's clock nor a node's moves the time on alone.
#[must_use]
pub fn effective(brokers: Timestamp, sent_at: Timestamp) -> Timestamp {
    brokers.min(sent_at.plus_millis(BROKER_AHEAD_MS_MAX))
}

/// The state of one partition, and how far it has followed the log.
#[derive(Debug)]
pub struct Replica {
    topology: Topology,
    rules_known: RulesVersion,
    rules: RulesVersion,
    log: Option<LogId>,
    core: Core,
    digest: RunningDigest,
    offset_next: u64,
    /// The digests at the last offsets, the newest at the end.
    digests: VecDeque<[u8; DIGEST_BYTES]>,
}

impl Replica {
    /// A replica without any applied record.
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

    /// A replica that continues from a state; `progress` gives the offset where the state was taken.
    ///
    /// # Errors
    /// [`Fault::Disagreement`] if the state's digest differs from the one in `progress`, and
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

    /// The partition that this replica follows.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The state and the rules that run over it.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The log's id, once the first record was applied.
    #[must_use]
    pub fn log(&self) -> Option<LogId> {
        self.log
    }

    /// The offset of the next record.
    #[must_use]
    pub fn offset_next(&self) -> u64 {
        self.offset_next
    }

    /// The current state, shared rather than copied, with its progress: the contents of a snapshot.
    #[must_use]
    pub fn freeze(&self) -> (Progress, FrozenState) {
        (self.progress(), self.core.state().freeze())
    }

    /// How far the replica has followed the log, with the digest there.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (effective_at, decisions) = (self.core.state().time, self.core.staged_lsn().0);
        let digest = self.digest.value(effective_at, decisions);
        Progress { offset_next: self.offset_next, decisions, effective_at, rules: self.rules, digest }
    }

    /// Applies the next record; `watch` observes each decided record.
    ///
    /// # Errors
    /// [`Fault`]; nothing may be applied after it.
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

    /// Compares with another node's digest, if this replica still has its own digest of that offset.
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
        let at = effective(record.at, read.sent_at);
        match read.body {
            Body::Genesis(genesis) => {
                self.begin(record.offset, &genesis)?;
                self.core.pass_time(at);
                Ok(Applied::Other)
            }
            Body::Command { request_id, command } => {
                let answer = self.decide(&command, request_id, at, watch);
                Ok(Applied::Command { origin: read.origin, answer })
            }
            Body::Due(command) => {
                let answer = self.decide(&command, RequestId::ENGINE, at, watch);
                let number = command.action.target().and_then(|(kind, name)| self.core.state().find(kind, name));
                let number = number.map(|aggregate| aggregate.head().number);
                let has_effect = answer.is_ok_and(|done| done.effect != Effect::Nothing);
                Ok(Applied::Due { origin: read.origin, number, has_effect })
            }
            Body::Barrier => {
                self.core.pass_time(at);
                Ok(Applied::Barrier { origin: read.origin })
            }
            Body::Rules(version) => {
                self.check_rules(record.offset, version)?;
                self.core.pass_time(at);
                // A switch to older rules that was appended late has no effect: rules never go back.
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

    /// Several nodes may have begun the log at once: the first genesis record counts.
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

/// Updates the digest, and passes each record on to another watch.
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

/// A [`Watch`] that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&mut self, _record: &Record<'_>, _state: &State) {}

    fn after(&mut self, _lsn: Lsn, _record: &Record<'_>, _state: &State) {}
}
