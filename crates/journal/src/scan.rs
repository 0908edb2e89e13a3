//! Where a journal ends, and whether that is a torn tail or a hole.
//!
//! After a power loss any subset of the pages of the last batch may be on the disk. So an unreadable batch is
//! a torn tail, to be cleared, unless a valid header behind it states that the batch had been synced: then
//! acknowledged records are lost, and nothing may be overwritten.

use crate::format::{ALIGN_BYTES, BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES};
use crate::reader::{ReadError, Reader, damaged, in_memory};
use crate::storage::Storage;
use crate::{Damage, Lsn, segments};

/// The end of a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// The LSN of the last record; 0 if there is none.
    pub last_lsn: Lsn,
    /// The segment of the last batch.
    pub segment: u64,
    /// Where the next batch would start in the segment.
    pub offset: u64,
    /// The remains of a batch that was never synced, if there are any.
    pub torn: Option<Damage>,
    /// Ranges behind the end that are not zero: segment, start and end.
    pub(crate) remains: Vec<(u64, u64, u64)>,
}

pub(crate) fn judge_end<S: Storage>(reader: &Reader<S>, stop: &'static str) -> Result<End, ReadError> {
    let mut remains = Vec::new();
    for segment in reader.segment..=reader.segments_last {
        let bytes = reader.segment_bytes(segment)?;
        let start = if segment == reader.segment { reader.offset } else { SEGMENT_HEADER_BYTES };
        let Some(behind) = bytes.get(in_memory(start)..) else {
            return Err(damaged(segment, bytes.len() as u64, reader.next_lsn, "a segment has become shorter while it was read"));
        };
        let Some((first, last)) = first_and_last_used(behind) else { continue };
        if find_synced(behind, reader).is_some() {
            let (segment, offset) = place_of_damage(reader, &remains, segment, behind);
            return Err(damaged(segment, offset, reader.next_lsn, stop));
        }
        remains.push((segment, start + first as u64, start + last as u64 + 1));
    }
    let torn = remains.first().map(|(segment, offset, _)| Damage {
        file: segments::name_of(*segment),
        offset: *offset,
        lsn: reader.next_lsn,
        what: "the rest of a batch that was never synced",
    });
    // Records are numbered from 1.
    let last_lsn = Lsn(reader.next_lsn.0 - 1);
    Ok(End { last_lsn, segment: reader.segment, offset: reader.offset, torn, remains })
}

/// Where the missing record was: after the last batch, or at the start of the next segment if nothing else is
/// known.
fn place_of_damage<S: Storage>(reader: &Reader<S>, remains: &[(u64, u64, u64)], segment: u64, behind: &[u8]) -> (u64, u64) {
    let first = behind.first_chunk().and_then(BatchHeader::decode);
    let is_in_next = remains.is_empty() && segment == reader.segment + 1 && first.is_none();
    if is_in_next { (segment, SEGMENT_HEADER_BYTES) } else { (reader.segment, reader.offset) }
}

/// The first and the last byte that is not zero.
fn first_and_last_used(bytes: &[u8]) -> Option<(usize, usize)> {
    // By pages first: these are long runs of zeros.
    let first_page = bytes.chunks(4_096).position(|page| page.iter().any(|byte| *byte != 0))? * 4_096;
    let first = first_page + bytes.get(first_page..)?.iter().position(|byte| *byte != 0)?;
    let last = bytes.iter().rposition(|byte| *byte != 0)?;
    Some((first, last))
}

/// Finds a valid header of this journal that states that the next record had been synced.
fn find_synced<S: Storage>(bytes: &[u8], reader: &Reader<S>) -> Option<BatchHeader> {
    let places = (0..bytes.len()).step_by(ALIGN_BYTES).filter(|place| bytes.get(*place).is_some_and(|byte| *byte != 0));
    places
        .filter_map(|place| bytes.get(place..place + BATCH_HEADER_BYTES)?.first_chunk().and_then(BatchHeader::decode))
        .find(|header| header.journal == reader.journal && reader.next_lsn <= header.synced_lsn)
}
