//! A block of claims as bytes and back, for [`crate::wire`].

use super::{BLOCK_CLAIMS, Block, STATUS_CANCELLED, STATUS_LIVE, Slot, TIME_MASK};
use crate::types::{NAME_BYTES_MAX, Timestamp, is_name_byte};

/// Two words for each claim, then the names in a row.
pub(crate) fn encode(block: &Block, out: &mut Vec<u8>) {
    for slot in &block.slots {
        out.extend_from_slice(&slot.claimed_at_and_end_low.to_le_bytes());
        out.extend_from_slice(&slot.changed_at_and_end_high.to_le_bytes());
    }
    out.extend_from_slice(&block.names);
}

/// `None` unless every time, status, length and name in it is one that [`encode`] can write.
pub(crate) fn decode(claims_count: usize, bytes: &[u8]) -> Option<Block> {
    let (words, names) = bytes.split_at_checked(claims_count.checked_mul(16)?)?;
    if BLOCK_CLAIMS < claims_count {
        return None;
    }
    let mut slots = Vec::with_capacity(claims_count);
    slots.extend(words.as_chunks::<16>().0.iter().map(slot));
    let block = Block { slots, names: names.to_vec() };
    is_valid(&block).then_some(block)
}

fn slot(words: &[u8; 16]) -> Slot {
    let words = u128::from_le_bytes(*words);
    Slot { claimed_at_and_end_low: words as u64, changed_at_and_end_high: (words >> 64) as u64 }
}

fn is_valid(block: &Block) -> bool {
    // All bytes in one go, without leaving at the first wrong one: many at once that way.
    if !block.names.iter().fold(true, |all, byte| all & is_name_byte(*byte)) {
        return false;
    }
    let mut start = 0;
    for slot in &block.slots {
        let end = slot.name_end();
        let Some(name) = block.names.get(start..end) else { return false };
        if !is_valid_slot(*slot) || name.is_empty() || NAME_BYTES_MAX < name.len() || name == b"." || name == b".." {
            return false;
        }
        start = end;
    }
    start == block.names.len()
}

fn is_valid_slot(slot: Slot) -> bool {
    let times = [slot.claimed_at_and_end_low, slot.changed_at_and_end_high];
    let in_range = times.iter().all(|word| Timestamp::from_millis(word & TIME_MASK).is_some());
    let is_changed = slot.changed_at_and_end_high & TIME_MASK != 0;
    in_range && slot.status_number() <= STATUS_CANCELLED && !(is_changed && slot.status_number() == STATUS_LIVE)
}
