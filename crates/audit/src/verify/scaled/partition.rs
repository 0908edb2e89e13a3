//! One partition of the log: checks that each record has its offset and a known format, and decides the
//! commands in order.

use std::hash::Hasher;

use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, Routing, RulesVersion, decode};
use cluster::protocol::replica::Delivered;
use oracle::{Oracle, Said, adapter};
use siphasher::sip::SipHasher13;

use crate::verify::findings::{Broken, Findings};

/// The key of the hash that assigns groups to partitions, fixed with the format of the log.
const PLACING: (u64, u64) = (0x6669_7273_7463_6f6d, 0x6520_7061_7274_6974);
/// A record switches to rules that this program does not know.
pub(super) const UNKNOWN_RULES: &str = "unknown_rules";

/// The newest version of the rules that the oracle states; it states all earlier ones too.
pub(super) const RULES_TOLD: RulesVersion = RulesVersion(1);

/// A partition, as far as it has been read.
#[derive(Debug)]
pub(super) struct Partition {
    number: u32,
    /// The number of partitions.
    partitions: u32,
    /// The offset of the next record.
    pub(super) offset_next: u64,
    pub(super) bytes_count: u64,
    /// The log's id, from the partition's first record.
    pub(super) log: Option<LogId>,
    pub(super) rules_version: RulesVersion,
    pub(super) oracle: Oracle,
    pub(super) stopped: Option<Stopped>,
}

/// A record at which every server stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopped {
    pub(super) offset: u64,
    pub(super) promise: &'static str,
}

impl Partition {
    pub(super) fn new(number: u32, partitions: u32) -> Self {
        let rules_version = RulesVersion(0);
        Self { number, partitions, offset_next: 0, bytes_count: 0, log: None, rules_version, oracle: Oracle::default(), stopped: None }
    }

    /// Takes the next record; records after one at which every server stops are not decided.
    pub(super) fn take(&mut self, record: &Delivered<'_>, findings: &mut Findings) -> Option<Said> {
        if self.offset_next < record.offset {
            self.reach(record.offset, findings);
        }
        if record.offset < self.offset_next {
            let what = format!("it comes after the record at offset {}", self.offset_next.saturating_sub(1));
            self.stop(record.offset, Broken { promise: "offset_gap", detail: what }, findings);
            return None;
        }
        self.offset_next = record.offset.saturating_add(1);
        self.bytes_count += record.bytes.len() as u64;
        if self.stopped.is_some() {
            return None;
        }
        match self.read(record) {
            Ok(decided) => decided,
            Err(broken) => {
                self.stop(record.offset, broken, findings);
                None
            }
        }
    }

    /// Notes that there is no further record before this offset.
    pub(super) fn reach(&mut self, offset: u64, findings: &mut Findings) {
        if offset <= self.offset_next {
            return;
        }
        let (first, last) = (self.offset_next, offset - 1);
        let detail = if first == last { "there is no record".to_owned() } else { format!("there is no record up to offset {last}") };
        self.stop(first, Broken { promise: "offset_gap", detail }, findings);
        self.offset_next = offset;
    }

    fn stop(&mut self, offset: u64, broken: Broken, findings: &mut Findings) {
        let Broken { promise, detail } = broken;
        findings.broken(promise, format!("{detail} (offset {offset} of partition {})", self.number));
        self.stopped = self.stopped.or(Some(Stopped { offset, promise }));
    }

    fn read(&mut self, record: &Delivered<'_>) -> Result<Option<Said>, Broken> {
        let read = decode(record.bytes).map_err(|what| broken("undecodable", format!("the record is malformed: {what}")))?;
        check_command(&read)?;
        let belongs = match read.routing {
            Routing::Group(group) => partition_of(group, self.partitions),
            Routing::Partition(partition) => partition,
        };
        if belongs != self.number {
            return Err(broken("wrong_partition", format!("the record belongs to partition {belongs}")));
        }
        if record.offset == 0 {
            self.begin(&read)?;
        }
        // The broker's time, unless it is more than a second ahead of the server's.
        let at = record.at.min(read.sent_at.plus_millis(1_000));
        match &read.body {
            Body::Command { command, .. } | Body::Due(command) => {
                self.oracle.pass(at);
                return Ok(Some(self.oracle.take(&adapter::ask(command), self.oracle.time)));
            }
            Body::Rules(version) => {
                check_rules(*version)?;
                // Rules never go back to an older version.
                self.rules_version = self.rules_version.max(*version);
            }
            // Several servers may have begun the partition at once: the first record counts.
            Body::Genesis(_) | Body::Barrier => {}
        }
        self.oracle.pass(at);
        Ok(None)
    }

    fn begin(&mut self, read: &LogRecord<'_>) -> Result<(), Broken> {
        let Body::Genesis(Genesis { log, partitions, rules }) = read.body else {
            return Err(broken("genesis", "the first record is none that begins a log".to_owned()));
        };
        if partitions != self.partitions {
            let found = self.partitions;
            return Err(broken("genesis", format!("the log was begun with {partitions} partitions, and the topic has {found}")));
        }
        check_rules(rules)?;
        (self.log, self.rules_version) = (Some(log), rules);
        Ok(())
    }
}

/// The partition of a group's name.
pub(super) fn partition_of(group: &str, partitions: u32) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(PLACING.0, PLACING.1);
    hasher.write(group.as_bytes());
    let Some(Ok(place)) = hasher.finish().checked_rem(u64::from(partitions)).map(u32::try_from) else {
        panic!("a log has at least one partition, and fewer than 2^32")
    };
    place
}

/// A command routed by another group than its own could be decided twice, in two partitions; and a due
/// command must not appear under a caller's name.
fn check_command(read: &LogRecord<'_>) -> Result<(), Broken> {
    read.check().map_err(|what| broken("wrong_partition", what.to_string()))
}

fn check_rules(wanted: RulesVersion) -> Result<(), Broken> {
    if wanted <= RULES_TOLD {
        return Ok(());
    }
    let (wanted, told) = (wanted.0, RULES_TOLD.0);
    Err(broken(UNKNOWN_RULES, format!("rules {wanted} decide from here on; this program knows rules up to {told}")))
}

fn broken(promise: &'static str, detail: String) -> Broken {
    Broken { promise, detail }
}
