//! The log's records: each is one command, barrier or rules switch, with the node that appended it and the
//! partition where it belongs. Integers are little-endian; a text is its length in one byte and its bytes.

use data_encoding::HEXLOWER;
use domain::types::{RequestId, Timestamp};
use domain::wire::command::{decode_command, encode_command};
use domain::{Action, Command};

use super::partition::partition_of;

/// The record format that this version writes.
pub const RECORD_FORMAT: u8 = 3;
/// The format without the time of the node; it is still read.
const WITHOUT_SENT_AT: u8 = 2;
/// The newest version of the rules that this program knows; it knows all earlier ones too.
pub const RULES_KNOWN: RulesVersion = RulesVersion(1);

const GENESIS: u8 = 1;
const COMMAND: u8 = 2;
const BARRIER: u8 = 3;
const RULES: u8 = 4;
const DUE: u8 = 5;

const OF_GROUP: u8 = 1;
const OF_PARTITION: u8 = 2;

/// A process that appends: a random number, new at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

/// The node that appended a record, and the record's sequence number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The node that appended the record.
    pub node: NodeId,
    /// The node's own number for the record; for a barrier, the barrier's number.
    pub sequence: u64,
}

/// A version of the rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RulesVersion(pub u32);

/// The random id of a log, made with its first record: distinguishes two logs of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogId(pub [u8; 16]);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The contents of the first record of every partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// The log's id.
    pub log: LogId,
    /// The number of the log's partitions, which never changes.
    pub partitions: u32,
    /// The version of the rules that applies from here on.
    pub rules: RulesVersion,
}

/// What determines a record's partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Routing<'a> {
    /// The group of the aggregates that its command is for ([`domain::types::Name::group`]).
    Group(&'a str),
    /// The partition itself, for records that concern one partition.
    Partition(u32),
}

impl Routing<'_> {
    /// The partition where the record belongs, out of `partitions`.
    #[must_use]
    pub fn partition(self, partitions: u32) -> u32 {
        match self {
            Self::Group(group) => partition_of(group, partitions),
            Self::Partition(partition) => partition,
        }
    }
}

/// The contents of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// Begins the partition.
    Genesis(Genesis),
    /// A caller's command.
    Command {
        /// The id of the caller's request.
        request_id: RequestId<'a>,
        /// The command.
        command: Command<'a>,
    },
    /// A due command that a node appended. A body of its own, so that no caller's command can be mistaken for one.
    Due(Command<'a>),
    /// A barrier: a node that applies it has applied every record before it.
    Barrier,
    /// Another version of the rules applies from here on.
    Rules(RulesVersion),
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRecord<'a> {
    /// The node that appended it.
    pub origin: Origin,
    /// When the node appended it, by the node's clock: bounds the broker's time
    /// ([`super::replica::effective`]). [`Timestamp::MAX`] bounds nothing.
    pub sent_at: Timestamp,
    /// What determines its partition.
    pub routing: Routing<'a>,
    /// The contents.
    pub body: Body<'a>,
}

/// The bytes are not a record of a known format; the text says what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct MalformedRecord(pub &'static str);

impl From<domain::wire::DecodeError> for MalformedRecord {
    fn from(error: domain::wire::DecodeError) -> Self {
        Self(error.0)
    }
}

/// Encodes a record.
#[must_use]
pub fn encode(record: &LogRecord<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(RECORD_FORMAT);
    out.push(match record.body {
        Body::Genesis(_) => GENESIS,
        Body::Command { .. } => COMMAND,
        Body::Barrier => BARRIER,
        Body::Rules(_) => RULES,
        Body::Due(_) => DUE,
    });
    out.extend_from_slice(&record.origin.node.0.to_le_bytes());
    out.extend_from_slice(&record.origin.sequence.to_le_bytes());
    out.extend_from_slice(&record.sent_at.millis().to_le_bytes());
    match record.routing {
        Routing::Group(group) => {
            out.push(OF_GROUP);
            put_text(&mut out, group);
        }
        Routing::Partition(partition) => {
            out.push(OF_PARTITION);
            out.extend_from_slice(&partition.to_le_bytes());
        }
    }
    match &record.body {
        Body::Genesis(genesis) => {
            out.extend_from_slice(&genesis.log.0);
            out.extend_from_slice(&genesis.partitions.to_le_bytes());
            out.extend_from_slice(&genesis.rules.0.to_le_bytes());
        }
        Body::Command { request_id, command } => {
            put_text(&mut out, request_id.as_str());
            encode_command(command, &mut out);
        }
        Body::Due(command) => encode_command(command, &mut out),
        Body::Barrier => {}
        Body::Rules(version) => out.extend_from_slice(&version.0.to_le_bytes()),
    }
    out
}

/// Decodes a record.
///
/// # Errors
/// [`MalformedRecord`].
pub fn decode(bytes: &[u8]) -> Result<LogRecord<'_>, MalformedRecord> {
    let mut reader = Reader(bytes);
    let [format, kind] = reader.array()?;
    if ![WITHOUT_SENT_AT, RECORD_FORMAT].contains(&format) {
        return Err(MalformedRecord("it has a format that this version does not know"));
    }
    let origin = Origin { node: NodeId(reader.u64()?), sequence: reader.u64()? };
    let sent_at = if format == WITHOUT_SENT_AT { Timestamp::MAX } else { reader.time()? };
    let routing = match reader.array()? {
        [OF_GROUP] => Routing::Group(reader.text()?),
        [OF_PARTITION] => Routing::Partition(reader.u32()?),
        _ => return Err(MalformedRecord("it belongs to nothing that this version knows")),
    };
    let body = match kind {
        GENESIS => {
            let (log, partitions) = (LogId(reader.array()?), reader.u32()?);
            Body::Genesis(Genesis { log, partitions, rules: RulesVersion(reader.u32()?) })
        }
        COMMAND => {
            let request_id = RequestId::new(reader.text()?).map_err(|_| MalformedRecord("its request id is no name"))?;
            Body::Command { request_id, command: decode_command(std::mem::take(&mut reader.0))? }
        }
        DUE => Body::Due(decode_command(std::mem::take(&mut reader.0))?),
        BARRIER => Body::Barrier,
        RULES => Body::Rules(RulesVersion(reader.u32()?)),
        _ => return Err(MalformedRecord("it is of a kind that this version does not know")),
    };
    if !reader.0.is_empty() {
        return Err(MalformedRecord("there are bytes after its end"));
    }
    Ok(LogRecord { origin, sent_at, routing, body })
}

impl LogRecord<'_> {
    /// Checks that the command is allowed in such a record, and that the record is routed by the group of
    /// every aggregate in the command. Nodes check the same before appending.
    ///
    /// # Errors
    /// [`MalformedRecord`].
    pub fn check(&self) -> Result<(), MalformedRecord> {
        let command = match &self.body {
            Body::Command { command, .. } => command,
            Body::Due(command) => check_due(command)?,
            Body::Genesis(_) | Body::Barrier | Body::Rules(_) => return self.check_routed_by(None),
        };
        if matches!((&self.body, &command.action), (Body::Command { .. }, Action::ForgetRequests)) {
            return Err(MalformedRecord("a caller's command forgets request keys"));
        }
        if matches!(&command.action, Action::DoBoth(..)) && command.action.group().is_none() {
            return Err(MalformedRecord("its command is for aggregates of two groups"));
        }
        self.check_routed_by(command.action.group())
    }

    fn check_routed_by(&self, group: Option<&str>) -> Result<(), MalformedRecord> {
        let is_right = match self.routing {
            Routing::Group(found) => group == Some(found),
            Routing::Partition(_) => group.is_none(),
        };
        if is_right { Ok(()) } else { Err(MalformedRecord("it is routed by something else than what it is about")) }
    }
}

/// A due command has no caller and never creates, changes or removes an aggregate.
fn check_due<'r, 'a>(command: &'r Command<'a>) -> Result<&'r Command<'a>, MalformedRecord> {
    let is_due = matches!(command.action, Action::Do(_) | Action::ForgetRequests);
    if is_due && *command == Command::local(command.action) {
        return Ok(command);
    }
    Err(MalformedRecord("its command cannot have been due"))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let Ok(length) = u8::try_from(text.len()) else { panic!("{} bytes are no name", text.len()) };
    out.push(length);
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MalformedRecord> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(MalformedRecord("its bytes end too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedRecord> {
        self.take(N)?.try_into().map_err(|_| MalformedRecord("its bytes end too early"))
    }

    fn u32(&mut self) -> Result<u32, MalformedRecord> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, MalformedRecord> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, MalformedRecord> {
        Timestamp::from_millis(self.u64()?).ok_or(MalformedRecord("a time in it is out of range"))
    }

    fn text(&mut self) -> Result<&'a str, MalformedRecord> {
        let [length] = self.array()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| MalformedRecord("a text in it is not UTF-8"))
    }
}
