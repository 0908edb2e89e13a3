//! One partition's state, from its records in their order. Whoever applies the same records has the
//! same state: nothing but the records and their broker's times goes in.

use std::collections::VecDeque;

use domain::coupon::CampaignNumber;
use domain::hash::HashSeed;
use domain::state::{CommandKind, Record};
use domain::types::Timestamp;
use domain::{Command, Rejection, State, coupon};
use engine::core::{Core, Watch};
use engine::digest::{DIGEST_BYTES, RunningDigest};
use engine::limits::Limits;
use engine::views::{Done, Effect};
use journal::Lsn;

use super::limits::DIGESTS_KEPT;
use super::record::{Body, Genesis, LogId, LogRecord, MalformedRecord, Origin, Place, RulesVersion, decode};

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
    /// Its place in the partition.
    pub offset: u64,
    /// The broker's time of it.
    pub at: Timestamp,
    /// What it is.
    pub bytes: &'a [u8],
}

/// What a record came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// A command was decided.
    Command {
        /// Whose it was.
        origin: Origin,
        /// How.
        answer: Result<Done, Rejection>,
    },
    /// The decision of a pending claim was asked for.
    Turn {
        /// By whom.
        origin: Origin,
        /// In which campaign, if there is such a one.
        campaign: Option<CampaignNumber>,
        /// Whether it was that claim's turn.
        is_decided: bool,
    },
    /// A barrier has come by.
    Barrier {
        /// Whose.
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
    /// A campaign's codes are made with a key that this server does not have.
    #[error(
        "campaign {campaign:?} makes its codes with code key {number}, which this server does not have; copy code-keys from the data folder of the server that made the campaign"
    )]
    CodeKeyMissing {
        /// Which key.
        number: u32,
        /// Whose.
        campaign: String,
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
    /// At the beginning of the log.
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

    /// At the place that `progress` names, with the state that was there.
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
        let read = decode(record.bytes).map_err(|what| Fault::Malformed { partition, offset, what })?;
        let belongs = read.place.partition(self.topology.partitions);
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
                own: hex(&own),
                other: hex(&other.digest),
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
                check_place(read.place, &command).map_err(|what| Fault::Malformed {
                    partition: self.topology.partition,
                    offset: record.offset,
                    what,
                })?;
                let mut watch = Both { digest: &mut self.digest, watch };
                let answer = self.core.apply(&command, request_id, record.at, &mut watch);
                let CommandKind::Coupon(coupon::Command::DecideNext(next)) = &command.kind else {
                    return Ok(Applied::Command { origin: read.origin, answer });
                };
                let campaign = self.core.state().campaign(next.campaign).map(|campaign| campaign.number);
                let is_decided = answer.is_ok_and(|done| done.effect != Effect::Nothing);
                Ok(Applied::Turn { origin: read.origin, campaign, is_decided })
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

/// A command is in the group that it touches.
fn check_place(place: Place<'_>, command: &Command<'_>) -> Result<(), MalformedRecord> {
    let is_right = match (place, &command.kind) {
        (Place::Group(group), CommandKind::Coupon(coupon)) => group == coupon.campaign().as_str(),
        (Place::Partition(_), CommandKind::ForgetRequests) => true,
        // There are no policies of rate limits across machines yet.
        (Place::Partition(_), CommandKind::Coupon(_)) | (Place::Group(_), CommandKind::ForgetRequests) | (_, CommandKind::Policy(_)) => {
            false
        }
    };
    if is_right { Ok(()) } else { Err(MalformedRecord("its command is about something else than its group")) }
}

/// The digest, and whoever else looks.
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

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&mut self, _record: &Record<'_>, _state: &State) {}

    fn after(&mut self, _lsn: Lsn, _record: &Record<'_>, _state: &State) {}
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
