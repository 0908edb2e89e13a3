//! What was decided, gathered on its way to the history, as bytes: a record borrows from what it is
//! read from.

use domain::State;
use domain::state::{Event, Record};
use domain::wire::state::encode_remembered;
use domain::wire::{Position, decode_record, encode_record};
use engine::core::Watch;
use journal::Lsn;

/// Decided records in their order.
#[derive(Clone, Debug, Default)]
pub struct DecidedRecords {
    bytes: Vec<u8>,
    /// Position, and where body, private part and remembered request end.
    ends: Vec<(Position, usize, usize, usize)>,
}

impl DecidedRecords {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds those that follow.
    pub fn append(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        let moved = other.ends.iter().map(|(position, body, private, end)| (*position, start + body, start + private, start + end));
        self.ends.extend(moved);
    }

    /// Each with its place among the partition's decisions, and what is remembered of its request.
    ///
    /// # Panics
    /// If the bytes do not give the records back from which they were made: without one of them, the
    /// history would lack a decision.
    pub fn iter(&self) -> impl Iterator<Item = (Position, Record<'_>, Option<&[u8]>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, _, _, end)| *end));
        self.ends.iter().zip(starts).map(|((position, body_end, private_end, end), start)| {
            let (body, private) = (&self.bytes[start..*body_end], &self.bytes[*body_end..*private_end]);
            let remembered = Some(&self.bytes[*private_end..*end]).filter(|bytes| !bytes.is_empty());
            match decode_record(body, Some(private)) {
                Ok(record) => (*position, record, remembered),
                Err(error) => panic!("the record at {position:?} was encoded a moment ago, and is malformed: {error}"),
            }
        })
    }
}

impl Watch for DecidedRecords {
    fn before(&mut self, _record: &Record<'_>, _state: &State) {}

    fn after(&mut self, lsn: Lsn, record: &Record<'_>, state: &State) {
        let mut private = Vec::with_capacity(256);
        encode_record(record, &mut self.bytes, &mut private);
        let body_end = self.bytes.len();
        self.bytes.extend_from_slice(&private);
        let private_end = self.bytes.len();
        let is_remembered = record.request.is_some() && matches!(record.event, Event::Coupon(_));
        if let Some(known) = state.requests.newest().filter(|_| is_remembered) {
            self.bytes.extend_from_slice(&encode_remembered(known));
        }
        self.ends.push((Position(lsn.0), body_end, private_end, self.bytes.len()));
    }
}
