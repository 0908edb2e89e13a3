//! How millions of claims fit in memory: 16 bytes and the subject's name for each, in blocks that
//! are shared with a snapshot rather than copied for it, and an [`Index`] from subject to serial.
//!
//! A claim never moves and its serial is its place. Those that are pending are the last ones, so that
//! one number says which they are. Blocks are filled one after the other; a full
//! one changes only when a claim in it is redeemed or cancelled, and is copied then only if a
//! snapshot still holds it.

use std::sync::Arc;

use crate::hash::HashSeed;
use crate::index::Index;
use crate::types::{Serial, SubjectId, Timestamp};

/// Claims in one block.
pub const BLOCK_CLAIMS: usize = 4_096;

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimStatus {
    /// Accepted, and not decided yet.
    Pending,
    /// Claimed, not yet used.
    Live,
    /// Used; it cannot be cancelled any more.
    Redeemed {
        /// When.
        redeemed_at: Timestamp,
    },
    /// Given back; its unit is in stock again, its serial is not used again.
    Cancelled {
        /// When.
        cancelled_at: Timestamp,
    },
}

/// One claim as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim<'a> {
    /// Its number in the campaign.
    pub serial: Serial,
    /// Whose it is.
    pub subject: SubjectId<'a>,
    /// When it was decided; while it is pending, when it was accepted.
    pub claimed_at: Timestamp,
    /// What became of it.
    pub status: ClaimStatus,
}

/// A time of 48 bits, another one, where the name ends in its block (24 bits), and the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot {
    claimed_at_and_end_low: u64,
    changed_at_and_end_high: u64,
}

const TIME_MASK: u64 = (1 << 48) - 1;
const STATUS_LIVE: u8 = 0;
const STATUS_REDEEMED: u8 = 1;
const STATUS_CANCELLED: u8 = 2;

impl Slot {
    fn new(claimed_at: Timestamp, name_end: usize) -> Self {
        let end = name_end as u64;
        Self { claimed_at_and_end_low: claimed_at.millis() | (end & 0xffff) << 48, changed_at_and_end_high: (end >> 16 & 0xff) << 48 }
    }

    fn claimed_at(self) -> Timestamp {
        time_of(self.claimed_at_and_end_low)
    }

    fn set_claimed_at(&mut self, claimed_at: Timestamp) {
        self.claimed_at_and_end_low = claimed_at.millis() | self.claimed_at_and_end_low & !TIME_MASK;
    }

    fn name_end(self) -> usize {
        let low = self.claimed_at_and_end_low >> 48;
        let high = self.changed_at_and_end_high >> 48 & 0xff;
        (low | high << 16) as usize
    }

    fn status(self) -> ClaimStatus {
        let changed_at = time_of(self.changed_at_and_end_high);
        match self.changed_at_and_end_high >> 56 {
            1 => ClaimStatus::Redeemed { redeemed_at: changed_at },
            2 => ClaimStatus::Cancelled { cancelled_at: changed_at },
            _ => ClaimStatus::Live,
        }
    }

    fn set_status(&mut self, status: ClaimStatus) {
        let (number, changed_at) = match status {
            // Which ones are pending is known by their place.
            ClaimStatus::Pending | ClaimStatus::Live => (STATUS_LIVE, Timestamp::ZERO),
            ClaimStatus::Redeemed { redeemed_at } => (STATUS_REDEEMED, redeemed_at),
            ClaimStatus::Cancelled { cancelled_at } => (STATUS_CANCELLED, cancelled_at),
        };
        let end_high = self.changed_at_and_end_high & 0xff << 48;
        self.changed_at_and_end_high = changed_at.millis() | end_high | u64::from(number) << 56;
    }
}

fn time_of(word: u64) -> Timestamp {
    Timestamp::from_millis(word & TIME_MASK).unwrap_or(Timestamp::MAX)
}

/// Up to [`BLOCK_CLAIMS`] claims in a row.
#[derive(Clone, Debug, Default)]
pub struct Block {
    slots: Vec<Slot>,
    names: Vec<u8>,
}

impl Block {
    /// How many claims are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn push(&mut self, subject: SubjectId<'_>, claimed_at: Timestamp) {
        self.names.extend_from_slice(subject.as_str().as_bytes());
        self.slots.push(Slot::new(claimed_at, self.names.len()));
        if self.slots.len() == BLOCK_CLAIMS {
            self.names.shrink_to_fit();
        }
    }

    fn name(&self, place: usize) -> Option<&[u8]> {
        let start = match place.checked_sub(1) {
            Some(before) => self.slots.get(before)?.name_end(),
            None => 0,
        };
        self.names.get(start..self.slots.get(place)?.name_end())
    }

    fn claim(&self, place: usize, serial: Serial) -> Option<Claim<'_>> {
        let slot = self.slots.get(place)?;
        let subject = SubjectId::new(std::str::from_utf8(self.name(place)?).ok()?).ok()?;
        Some(Claim { serial, subject, claimed_at: slot.claimed_at(), status: slot.status() })
    }
}

/// All claims of one campaign.
#[derive(Debug)]
pub struct Claims {
    blocks: Vec<Arc<Block>>,
    pending_count: usize,
    /// Live and redeemed claims by subject; a cancelled one is not in it.
    by_subject: Index,
    seed: HashSeed,
    /// How many claims are to be read back, and how many of them are pending.
    expected: (usize, usize),
}

impl Claims {
    /// None yet.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self { blocks: Vec::new(), pending_count: 0, by_subject: Index::new(), seed, expected: (0, 0) }
    }

    /// Every claim that was ever made, by rising serial.
    pub fn iter(&self) -> impl Iterator<Item = Claim<'_>> {
        let serials = (1..=self.count()).filter_map(|serial| Serial::new(u32::try_from(serial).ok()?));
        serials.filter_map(|serial| self.get(serial))
    }

    /// How many claims were ever made, cancelled ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        let Some(last) = self.blocks.last() else { return 0 };
        self.blocks.len().saturating_sub(1).saturating_mul(BLOCK_CLAIMS).saturating_add(last.len())
    }

    /// How many of them are pending: the last ones.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending_count
    }

    /// How many of them were decided: the first ones.
    #[must_use]
    pub fn decided_count(&self) -> usize {
        self.count().saturating_sub(self.pending_count)
    }

    /// Whether the claim with this serial was decided.
    #[must_use]
    pub fn is_decided(&self, serial: Serial) -> bool {
        serial.index() < self.decided_count()
    }

    /// The claim that has been pending longest.
    #[must_use]
    pub fn first_pending(&self) -> Option<Claim<'_>> {
        self.pending_count.checked_sub(1)?;
        u32::try_from(self.decided_count()).ok()?.checked_add(1).and_then(Serial::new).and_then(|serial| self.get(serial))
    }

    /// How many of them hold a unit: all but the cancelled ones.
    #[must_use]
    pub fn holding_count(&self) -> usize {
        self.by_subject.len()
    }

    /// The serial that the next claim gets; `None` once all 4,294,967,295 are used.
    #[must_use]
    pub fn serial_next(&self) -> Option<Serial> {
        u32::try_from(self.count()).ok()?.checked_add(1).and_then(Serial::new)
    }

    /// The claim with this serial, whatever became of it.
    #[must_use]
    pub fn get(&self, serial: Serial) -> Option<Claim<'_>> {
        let claim = self.lying(serial)?;
        if self.is_decided(serial) { Some(claim) } else { Some(Claim { status: ClaimStatus::Pending, ..claim }) }
    }

    /// The claim as it lies in its block: a pending one as if it were live.
    pub(crate) fn lying(&self, serial: Serial) -> Option<Claim<'_>> {
        let index = serial.index();
        self.blocks.get(index / BLOCK_CLAIMS)?.claim(index % BLOCK_CLAIMS, serial)
    }

    /// A subject's claims that hold a unit, pending or decided, in no order.
    pub fn holding<'a>(&'a self, subject: SubjectId<'a>) -> impl Iterator<Item = Serial> + 'a {
        let name = subject.as_str().as_bytes();
        let candidates = self.by_subject.candidates(self.seed.hash(name));
        candidates.filter_map(Serial::new).filter(move |serial| name_at(&self.blocks, *serial) == Some(name))
    }

    /// Adds a claim under the next serial, to be decided later.
    pub fn accept(&mut self, subject: SubjectId<'_>, accepted_at: Timestamp) {
        let count = self.count();
        self.push(subject, accepted_at);
        self.pending_count = self.pending_count.saturating_add(self.count().saturating_sub(count));
    }

    /// Decides the claim that has been pending longest.
    pub fn decide_next(&mut self, claimed_at: Timestamp) {
        let index = self.decided_count();
        let Some(pending_count) = self.pending_count.checked_sub(1) else { return };
        self.pending_count = pending_count;
        let block = self.blocks.get_mut(index / BLOCK_CLAIMS);
        if let Some(slot) = block.and_then(|block| Arc::make_mut(block).slots.get_mut(index % BLOCK_CLAIMS)) {
            slot.set_claimed_at(claimed_at);
        }
    }

    /// Adds a decided claim under the next serial; none may be pending.
    pub fn push(&mut self, subject: SubjectId<'_>, claimed_at: Timestamp) {
        let Some(serial) = self.serial_next() else { return };
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK_CLAIMS) {
            self.blocks.push(Arc::default());
        }
        if let Some(block) = self.blocks.last_mut() {
            Arc::make_mut(block).push(subject, claimed_at);
        }
        self.index(serial, subject.as_str().as_bytes());
    }

    /// Marks a claim as redeemed.
    pub fn redeem(&mut self, serial: Serial, redeemed_at: Timestamp) {
        self.set_status(serial, ClaimStatus::Redeemed { redeemed_at });
    }

    /// Marks a claim as cancelled and forgets it as one that its subject holds.
    pub fn cancel(&mut self, serial: Serial, cancelled_at: Timestamp) {
        self.set_status(serial, ClaimStatus::Cancelled { cancelled_at });
        let (seed, blocks) = (self.seed, &self.blocks);
        let hash_of = |number| hash_at(seed, blocks, number);
        self.by_subject.remove(hash_of(serial.get()), serial.get(), hash_of);
    }

    /// The blocks as they are now, shared: taking them costs a counter for each, however many
    /// claims are in them.
    #[must_use]
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.blocks.clone()
    }

    /// Bytes in memory, for figures: blocks, names and index.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| {
            size_of::<Block>().saturating_add(block.slots.capacity().saturating_mul(16)).saturating_add(block.names.capacity())
        });
        blocks.fold(self.by_subject.memory_bytes(), usize::saturating_add)
    }

    /// So many claims are read back next, block by block; the last ones are pending.
    pub(crate) fn expect(&mut self, claims_count: u64, pending_count: u64) -> Result<(), &'static str> {
        if claims_count < pending_count {
            return Err("more claims are pending than there are");
        }
        let (Ok(claims_count), Ok(pending_count)) = (u32::try_from(claims_count), u32::try_from(pending_count)) else {
            return Err("there are more claims than serials");
        };
        self.expected = (claims_count as usize, pending_count as usize);
        Ok(())
    }

    /// Reads the next block.
    pub(crate) fn load_block(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let left = self.expected.0.saturating_sub(self.count());
        if left == 0 {
            return Err("a block of claims behind the last");
        }
        let block = bytes::decode(left.min(BLOCK_CLAIMS), bytes).ok_or("a block of claims is malformed")?;
        self.push_block(block);
        Ok(())
    }

    /// Every block is read.
    pub(crate) fn loaded(&mut self) -> Result<(), &'static str> {
        let (claims_count, pending_count) = std::mem::take(&mut self.expected);
        if self.count() != claims_count {
            return Err("a campaign lacks claims");
        }
        // They are read as they lie, without being told that they are pending.
        let is_live = |serial| self.lying(serial).is_some_and(|claim| claim.status == ClaimStatus::Live);
        let mut pending = (1..=claims_count).rev().take(pending_count);
        if !pending.all(|serial| u32::try_from(serial).ok().and_then(Serial::new).is_some_and(is_live)) {
            return Err("a pending claim was redeemed or cancelled");
        }
        self.pending_count = pending_count;
        Ok(())
    }

    /// Appends a block that was read back; the blocks before it must be full.
    pub(crate) fn push_block(&mut self, block: Block) {
        let first = self.count();
        let block = Arc::new(block);
        self.blocks.push(Arc::clone(&block));
        for (place, slot) in block.slots.iter().enumerate() {
            let holds = !matches!(slot.status(), ClaimStatus::Cancelled { .. });
            let number = u32::try_from(first.saturating_add(place).saturating_add(1)).ok();
            if let (true, Some(serial), Some(name)) = (holds, number.and_then(Serial::new), block.name(place)) {
                self.index(serial, name);
            }
        }
    }

    fn index(&mut self, serial: Serial, name: &[u8]) {
        let (seed, blocks) = (self.seed, &self.blocks);
        let hash_of = |number| hash_at(seed, blocks, number);
        self.by_subject.insert(seed.hash(name), serial.get(), hash_of, |numbers| warm(blocks, numbers));
    }

    fn set_status(&mut self, serial: Serial, status: ClaimStatus) {
        let index = serial.index();
        let block = self.blocks.get_mut(index / BLOCK_CLAIMS);
        if let Some(slot) = block.and_then(|block| Arc::make_mut(block).slots.get_mut(index % BLOCK_CLAIMS)) {
            slot.set_status(status);
        }
    }
}

fn name_at(blocks: &[Arc<Block>], serial: Serial) -> Option<&[u8]> {
    let index = serial.index();
    blocks.get(index / BLOCK_CLAIMS)?.name(index % BLOCK_CLAIMS)
}

fn hash_at(seed: HashSeed, blocks: &[Arc<Block>], number: u32) -> u64 {
    let name = Serial::new(number).and_then(|serial| name_at(blocks, serial));
    seed.hash(name.unwrap_or_default())
}

/// Fetches the names of these claims into the processor's caches. They are all over the memory;
/// asked for one by one, each is waited for; asked for in two rows that depend on nothing, many
/// are on their way at the same time.
fn warm(blocks: &[Arc<Block>], numbers: &[u32]) {
    let place = |number: &u32| {
        let index = (*number as usize).saturating_sub(1);
        let block = blocks.get(index / BLOCK_CLAIMS)?;
        Some((block, block.slots.get(index % BLOCK_CLAIMS)?.name_end()))
    };
    let ends: Vec<(&Arc<Block>, usize)> = numbers.iter().filter_map(place).collect();
    let last_byte = |(block, end): &(&Arc<Block>, usize)| block.names.get(end.saturating_sub(1)).copied().unwrap_or(0);
    std::hint::black_box(ends.iter().map(last_byte).fold(0, |one, other| one ^ other));
}

/// A block as bytes and back, for [`crate::wire`].
pub(crate) mod bytes {
    use super::{BLOCK_CLAIMS, Block, ClaimStatus, Slot, TIME_MASK};
    use crate::types::{SubjectId, Timestamp};

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
        let slots: Vec<Slot> = words.chunks_exact(16).filter_map(slot).collect();
        let block = Block { slots, names: names.to_vec() };
        is_valid(&block, claims_count).then_some(block)
    }

    fn slot(words: &[u8]) -> Option<Slot> {
        let (low, high) = words.split_at_checked(8)?;
        Some(Slot {
            claimed_at_and_end_low: u64::from_le_bytes(low.try_into().ok()?),
            changed_at_and_end_high: u64::from_le_bytes(high.try_into().ok()?),
        })
    }

    fn is_valid(block: &Block, claims_count: usize) -> bool {
        let Ok(names) = std::str::from_utf8(&block.names) else { return false };
        let mut start = 0;
        for slot in &block.slots {
            let times = [slot.claimed_at_and_end_low, slot.changed_at_and_end_high];
            let in_range = times.iter().all(|word| Timestamp::from_millis(word & TIME_MASK).is_some());
            let name = names.get(start..slot.name_end());
            let is_changed = slot.changed_at_and_end_high & TIME_MASK != 0;
            if is_changed && slot.status() == ClaimStatus::Live {
                return false;
            }
            if !in_range || 2 < slot.changed_at_and_end_high >> 56 || name.is_none_or(|name| SubjectId::new(name).is_err()) {
                return false;
            }
            start = slot.name_end();
        }
        block.slots.len() == claims_count && start == names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn a_slot_keeps_times_end_and_status_apart() {
        let mut slot = Slot::new(Timestamp::MAX, 4_096 * 128);
        assert_eq!((slot.claimed_at(), slot.name_end(), slot.status()), (Timestamp::MAX, 524_288, ClaimStatus::Live));
        slot.set_status(ClaimStatus::Redeemed { redeemed_at: at(9) });
        assert_eq!((slot.claimed_at(), slot.name_end()), (Timestamp::MAX, 524_288));
        assert_eq!(slot.status(), ClaimStatus::Redeemed { redeemed_at: at(9) });
        slot.set_status(ClaimStatus::Cancelled { cancelled_at: Timestamp::MAX });
        assert_eq!(slot.status(), ClaimStatus::Cancelled { cancelled_at: Timestamp::MAX });
        assert_eq!(slot.name_end(), 524_288);
    }

    #[test]
    fn claims_are_found_by_serial_and_by_subject_over_many_blocks() {
        let mut claims = Claims::new(HashSeed(1, 2));
        let names: Vec<String> = (0..10_000).map(|user| format!("user-{user}")).collect();
        for (time, name) in names.iter().enumerate() {
            claims.push(SubjectId::new(name).unwrap(), at(time as u64));
        }
        for (place, name) in names.iter().enumerate() {
            let serial = Serial::new(u32::try_from(place).unwrap() + 1).unwrap();
            let claim = claims.get(serial).unwrap();
            assert_eq!((claim.subject.as_str(), claim.claimed_at), (name.as_str(), at(place as u64)));
            assert_eq!(claims.holding(claim.subject).collect::<Vec<_>>(), [serial]);
        }
    }

    #[test]
    fn a_snapshot_of_the_blocks_does_not_see_what_comes_later() {
        let mut claims = Claims::new(HashSeed(1, 2));
        claims.push(SubjectId::new("ann").unwrap(), at(1));
        let before = claims.blocks();
        claims.cancel(Serial::new(1).unwrap(), at(2));
        claims.push(SubjectId::new("bob").unwrap(), at(3));
        assert_eq!(before[0].len(), 1);
        assert_eq!(before[0].slots[0].status(), ClaimStatus::Live);
    }

    #[test]
    fn a_claim_costs_at_most_32_bytes_and_its_name() {
        let mut claims = Claims::new(HashSeed(1, 2));
        for user in 0..300_000_u32 {
            claims.push(SubjectId::new(&format!("user-{user:08}")).unwrap(), at(1));
        }
        assert!(claims.memory_bytes() <= 300_000 * (32 + 13), "{}", claims.memory_bytes() / 300_000);
    }
}
