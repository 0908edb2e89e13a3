//! What stands in the log: one command, barrier or switch in each record, with who appended it and
//! where it belongs. Integers are little-endian; a text is its length in one byte and its bytes.

use domain::Command;
use domain::types::RequestId;
use domain::wire::command::{decode_command, encode_command};

use super::partition::partition_of;

/// The number of the record format that is written.
pub const RECORD_FORMAT: u8 = 1;
/// The rules that this program knows: all versions up to this one.
pub const RULES_KNOWN: RulesVersion = RulesVersion(1);

const GENESIS: u8 = 1;
const COMMAND: u8 = 2;
const BARRIER: u8 = 3;
const RULES: u8 = 4;

const OF_GROUP: u8 = 1;
const OF_PARTITION: u8 = 2;

/// A process that appends; a random number for each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

/// Who appended a record, and as its how manyth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Who.
    pub node: NodeId,
    /// The node's own number for it: for a barrier the barrier's.
    pub sequence: u64,
}

/// Which version of the rules decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RulesVersion(pub u32);

/// Tells a log from another one of the same name: random, made with the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogId(pub [u8; 16]);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first record of every partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// Of which log.
    pub log: LogId,
    /// How many partitions the log has, for ever.
    pub partitions: u32,
    /// The rules that decide from here on.
    pub rules: RulesVersion,
}

/// Why a record is in its partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// Because that is the partition of its group, whose name this is.
    Group(&'a str),
    /// Because it is about this partition.
    Partition(u32),
}

impl Place<'_> {
    /// The partition where it belongs.
    #[must_use]
    pub fn partition(self, partitions: u32) -> u32 {
        match self {
            Self::Group(group) => partition_of(group, partitions),
            Self::Partition(partition) => partition,
        }
    }
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// The partition begins.
    Genesis(Genesis),
    /// Somebody asks for something.
    Command {
        /// By which request.
        request_id: RequestId<'a>,
        /// What.
        command: Command<'a>,
    },
    /// Whoever sees it has seen everything before it.
    Barrier,
    /// Other rules decide from here on.
    Rules(RulesVersion),
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRecord<'a> {
    /// Who appended it.
    pub origin: Origin,
    /// Why it is in its partition.
    pub place: Place<'a>,
    /// What it says.
    pub body: Body<'a>,
}

/// Bytes that are no record of a known format; the text says what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct MalformedRecord(pub &'static str);

impl From<domain::wire::DecodeError> for MalformedRecord {
    fn from(error: domain::wire::DecodeError) -> Self {
        Self(error.0)
    }
}

/// A record as bytes.
#[must_use]
pub fn encode(record: &LogRecord<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(RECORD_FORMAT);
    out.push(match record.body {
        Body::Genesis(_) => GENESIS,
        Body::Command { .. } => COMMAND,
        Body::Barrier => BARRIER,
        Body::Rules(_) => RULES,
    });
    out.extend_from_slice(&record.origin.node.0.to_le_bytes());
    out.extend_from_slice(&record.origin.sequence.to_le_bytes());
    match record.place {
        Place::Group(group) => {
            out.push(OF_GROUP);
            put_text(&mut out, group);
        }
        Place::Partition(partition) => {
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
        Body::Barrier => {}
        Body::Rules(version) => out.extend_from_slice(&version.0.to_le_bytes()),
    }
    out
}

/// Reads a record.
///
/// # Errors
/// [`MalformedRecord`].
pub fn decode(bytes: &[u8]) -> Result<LogRecord<'_>, MalformedRecord> {
    let mut reader = Reader(bytes);
    if reader.array::<1>()? != [RECORD_FORMAT] {
        return Err(MalformedRecord("it has a format that this version does not know"));
    }
    let [kind] = reader.array()?;
    let origin = Origin { node: NodeId(reader.u64()?), sequence: reader.u64()? };
    let place = match reader.array()? {
        [OF_GROUP] => Place::Group(reader.text()?),
        [OF_PARTITION] => Place::Partition(reader.u32()?),
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
        BARRIER => Body::Barrier,
        RULES => Body::Rules(RulesVersion(reader.u32()?)),
        _ => return Err(MalformedRecord("it is of a kind that this version does not know")),
    };
    if !reader.0.is_empty() {
        return Err(MalformedRecord("there are bytes after its end"));
    }
    Ok(LogRecord { origin, place, body })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let Ok(length) = u8::try_from(text.len()) else { panic!("names and request ids have at most 255 bytes, not {}", text.len()) };
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

    fn text(&mut self) -> Result<&'a str, MalformedRecord> {
        let [length] = self.array()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| MalformedRecord("a text in it is not UTF-8"))
    }
}
