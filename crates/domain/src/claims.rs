//! How millions of claims fit in memory: 16 bytes and the subject's name for each, in blocks that
//! are shared with a snapshot rather than copied for it, and an [`Index`] from subject to serial.
//!
//! A claim never moves and its serial is its place. Those that are pending are the last ones, so that
//! one number says which they are. Blocks are filled one after the other; a full
//! one changes only when a claim in it is redeemed or cancelled, and is copied then only if a
//! snapshot still holds it.

use std::ops::Range;
use std::sync::Arc;

use crate::hash::HashSeed;
use crate::index::{Entries, Index, Parts};
use crate::types::{NAME_BYTES_MAX, Serial, SubjectId, Timestamp};

pub(crate) mod bytes;

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

/// Bytes of names in one block, at most.
const NAMES_BYTES_MAX: usize = BLOCK_CLAIMS * NAME_BYTES_MAX;
const _: () = assert!(NAMES_BYTES_MAX < 1 << 24);
const TIME_MASK: u64 = (1 << 48) - 1;
const STATUS_LIVE: u8 = 0;
const STATUS_REDEEMED: u8 = 1;
const STATUS_CANCELLED: u8 = 2;

impl Slot {
    fn new(claimed_at: Timestamp, name_end: usize) -> Self {
        assert!(name_end <= NAMES_BYTES_MAX, "a name's end has 24 bits");
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

    fn status_number(self) -> u8 {
        (self.changed_at_and_end_high >> 56) as u8
    }

    /// A claim that is pending lies here as a live one.
    fn status(self) -> ClaimStatus {
        let changed_at = time_of(self.changed_at_and_end_high);
        match self.status_number() {
            STATUS_LIVE => ClaimStatus::Live,
            STATUS_REDEEMED => ClaimStatus::Redeemed { redeemed_at: changed_at },
            STATUS_CANCELLED => ClaimStatus::Cancelled { cancelled_at: changed_at },
            _ => unreachable!("only known statuses are written, and what is read back is checked"),
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
    Timestamp::from_millis(word & TIME_MASK).unwrap_or_else(|| unreachable!("only times are written, and what is read back is checked"))
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

    /// `None` behind the last claim.
    fn name(&self, place: usize) -> Option<&[u8]> {
        let end = self.slots.get(place)?.name_end();
        let before = place.checked_sub(1).and_then(|before| self.slots.get(before));
        Some(self.name_between(before.map_or(0, |slot| slot.name_end()), end))
    }

    fn name_between(&self, start: usize, end: usize) -> &[u8] {
        self.names.get(start..end).unwrap_or_else(|| unreachable!("names lie one behind the other"))
    }

    /// Number and name of each claim that is not cancelled; `first` claims lie in the blocks before.
    fn holding(&self, first: usize) -> impl Iterator<Item = (u32, &[u8])> {
        let mut start = 0;
        let named = self.slots.iter().map(move |slot| {
            let end = slot.name_end();
            (slot, self.name_between(std::mem::replace(&mut start, end), end))
        });
        let first = u32::try_from(first).unwrap_or_else(|_| unreachable!("a serial has 32 bits"));
        let holding = named.zip(first..).filter(|((slot, _), _)| slot.status_number() != STATUS_CANCELLED);
        // Serials count from 1.
        holding.map(|((_, name), index)| (index.saturating_add(1), name))
    }

    /// `None` behind the last claim.
    fn claim(&self, place: usize, serial: Serial) -> Option<Claim<'_>> {
        let slot = self.slots.get(place)?;
        let name = std::str::from_utf8(self.name(place)?).ok().and_then(|name| SubjectId::new(name).ok());
        let subject = name.unwrap_or_else(|| unreachable!("only names are written, and what is read back is checked"));
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
        if self.pending_count == 0 {
            return None;
        }
        self.get(serial_at(self.decided_count())?)
    }

    /// How many of them hold a unit: all but the cancelled ones.
    #[must_use]
    pub fn holding_count(&self) -> usize {
        self.by_subject.len()
    }

    /// The serial that the next claim gets; `None` once all 4,294,967,295 are used.
    #[must_use]
    pub fn serial_next(&self) -> Option<Serial> {
        serial_at(self.count())
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
        let candidates = self.by_subject.candidates(self.seed.hash(name)).map(indexed);
        candidates.filter(move |serial| name_at(&self.blocks, *serial) == name)
    }

    /// Adds a claim under the next serial, to be decided later.
    pub fn accept(&mut self, subject: SubjectId<'_>, accepted_at: Timestamp) {
        self.append(subject, accepted_at);
        self.pending_count = self.pending_count.saturating_add(1);
    }

    /// Decides the claim that has been pending longest; one must be.
    pub fn decide_next(&mut self, claimed_at: Timestamp) {
        assert!(self.pending_count != 0, "a claim is pending");
        let index = self.decided_count();
        self.pending_count = self.pending_count.saturating_sub(1);
        self.slot_mut(index).set_claimed_at(claimed_at);
    }

    /// Adds a decided claim under the next serial; none may be pending, and serials must be left.
    pub fn push(&mut self, subject: SubjectId<'_>, claimed_at: Timestamp) {
        assert_eq!(self.pending_count, 0, "pending claims are the last ones");
        self.append(subject, claimed_at);
    }

    fn append(&mut self, subject: SubjectId<'_>, claimed_at: Timestamp) {
        let serial = self.serial_next().unwrap_or_else(|| unreachable!("the engine accepts fewer claims than there are serials"));
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK_CLAIMS => Arc::make_mut(block).push(subject, claimed_at),
            _ => {
                let mut block = Block::default();
                block.push(subject, claimed_at);
                self.blocks.push(Arc::new(block));
            }
        }
        self.index(serial, subject.as_str().as_bytes());
    }

    /// Marks a claim as redeemed; it must have been decided.
    pub fn redeem(&mut self, serial: Serial, redeemed_at: Timestamp) {
        self.set_status(serial, ClaimStatus::Redeemed { redeemed_at });
    }

    /// Marks a claim as cancelled and forgets it as one that its subject holds; it must hold a unit.
    pub fn cancel(&mut self, serial: Serial, cancelled_at: Timestamp) {
        self.set_status(serial, ClaimStatus::Cancelled { cancelled_at });
        let (seed, blocks) = (self.seed, &self.blocks);
        let hash_of = |number| hash_at(seed, blocks, number);
        let was_holding = self.by_subject.remove(hash_of(serial.get()), serial.get(), hash_of);
        assert!(was_holding, "a claim is cancelled once");
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
        self.index_blocks();
        Ok(())
    }

    /// Appends a block that was read back; the blocks before it must be full. Its subjects are found
    /// once [`Claims::index_blocks`] was called behind the last one.
    pub(crate) fn push_block(&mut self, block: Block) {
        assert!(self.blocks.last().is_none_or(|last| last.len() == BLOCK_CLAIMS), "only the last block may have room");
        self.blocks.push(Arc::new(block));
    }

    /// Makes the index from subject to serial for all claims that hold a unit.
    pub(crate) fn index_blocks(&mut self) {
        let (seed, blocks) = (self.seed, &self.blocks);
        let list = |range: Range<usize>, entries: &mut Entries| {
            for (place, block) in range.clone().zip(blocks.get(range).unwrap_or_default()) {
                let first = place.saturating_mul(BLOCK_CLAIMS);
                block.holding(first).for_each(|(number, name)| entries.add(seed.hash(name), number));
            }
        };
        let parts = Parts { parts_count: blocks.len(), numbers_count: self.count(), list };
        self.by_subject = Index::build(&parts, |number| hash_at(seed, blocks, number));
    }

    fn index(&mut self, serial: Serial, name: &[u8]) {
        let (seed, blocks) = (self.seed, &self.blocks);
        let hash_of = |number| hash_at(seed, blocks, number);
        self.by_subject.insert(seed.hash(name), serial.get(), hash_of, |numbers| warm(blocks, numbers));
    }

    fn set_status(&mut self, serial: Serial, status: ClaimStatus) {
        assert!(self.is_decided(serial), "a claim is decided before its status changes");
        self.slot_mut(serial.index()).set_status(status);
    }

    fn slot_mut(&mut self, index: usize) -> &mut Slot {
        let block = self.blocks.get_mut(index / BLOCK_CLAIMS);
        let slot = block.and_then(|block| Arc::make_mut(block).slots.get_mut(index % BLOCK_CLAIMS));
        slot.unwrap_or_else(|| unreachable!("only claims that are there change"))
    }
}

/// The serial of the claim at this place, counted from 0; `None` where serials have ended.
fn serial_at(index: usize) -> Option<Serial> {
    u32::try_from(index).ok()?.checked_add(1).and_then(Serial::new)
}

/// The serial of a number in the index.
fn indexed(number: u32) -> Serial {
    Serial::new(number).unwrap_or_else(|| unreachable!("the index holds no 0"))
}

fn name_at(blocks: &[Arc<Block>], serial: Serial) -> &[u8] {
    let index = serial.index();
    let name = blocks.get(index / BLOCK_CLAIMS).and_then(|block| block.name(index % BLOCK_CLAIMS));
    name.unwrap_or_else(|| unreachable!("the index holds serials of claims"))
}

fn hash_at(seed: HashSeed, blocks: &[Arc<Block>], number: u32) -> u64 {
    seed.hash(name_at(blocks, indexed(number)))
}

/// Fetches the names of these claims into the processor's caches. They are all over the memory;
/// asked for one by one, each is waited for; asked for in two rows that depend on nothing, many
/// are on their way at the same time.
fn warm(blocks: &[Arc<Block>], numbers: &[u32]) {
    let place = |number: &u32| {
        let index = indexed(*number).index();
        let block = blocks.get(index / BLOCK_CLAIMS)?;
        Some((block, block.slots.get(index % BLOCK_CLAIMS)?.name_end()))
    };
    let ends: Vec<(&Arc<Block>, usize)> = numbers.iter().filter_map(place).collect();
    let last_byte = |(block, end): &(&Arc<Block>, usize)| block.names.get(end.saturating_sub(1)).copied().unwrap_or(0);
    std::hint::black_box(ends.iter().map(last_byte).fold(0, |one, other| one ^ other));
}

#[cfg(test)]
mod tests;
