//! Idempotency: one request key, one outcome.
//!
//! A caller who names its request can ask again, after a time-out or a crash, and gets the same
//! answer. Only what took effect is remembered; a refusal depends on the moment and writes
//! nothing. A key's scope is the caller and the aggregate. It is kept for [`KEEP_MS`] by the time
//! of the records, and judged by the command's time: whether the forgetting has been recorded yet
//! makes no difference. Where the time is set back, keys of the time beyond count from there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::hash::HashSeed;
use crate::index::Index;
use crate::types::{ActorId, Name, RequestKey, Timestamp};
use crate::workload::{AnyOutcome, AnySummary, Kind, Number};

/// How long a request key is kept: 24 hours, in milliseconds.
pub const KEEP_MS: u64 = 24 * 60 * 60 * 1_000;
/// The most keys that one record forgets, so that forgetting never takes long.
pub const FORGET_MAX: u32 = 1_024;
/// Keys in one block of memory.
const BLOCK_KEYS: usize = 1_024;

/// What the same key must come with again: a digest of what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint(pub [u8; 16]);

/// A request that its caller has named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keyed<'a> {
    /// The name.
    pub key: RequestKey<'a>,
    /// What it was given to.
    pub fingerprint: Fingerprint,
}

/// What took effect, in the form from which the first answer can be said again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An aggregate was created, or its settings written.
    Written {
        /// Whether it is new.
        created: bool,
        /// As it stood then.
        summary: Box<AnySummary>,
    },
    /// An aggregate was removed.
    Removed {
        /// As it stood then.
        summary: Box<AnySummary>,
    },
    /// Something happened in an aggregate.
    Did(Number, AnyOutcome),
    /// Something happened in two aggregates at once.
    DidBoth((Number, AnyOutcome), (Number, AnyOutcome)),
}

/// One remembered request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The kind of the aggregate that it was for.
    pub kind: Kind,
    /// The aggregate's name, and not its number: whoever removes an aggregate may ask again too.
    pub name: Arc<str>,
    /// Whose key it is.
    pub actor: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// What it was given to.
    pub fingerprint: Fingerprint,
    /// When it took effect.
    pub recorded_at: Timestamp,
    /// What it did.
    pub outcome: Outcome,
}

/// What is known of a request key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup<'a> {
    /// Nothing: decide.
    Fresh,
    /// It took effect before: say the same again.
    Replayed(&'a Outcome),
    /// It took effect for another request.
    KeyReused,
}

/// The requests that took effect lately, oldest first.
#[derive(Debug)]
pub struct Requests {
    blocks: VecDeque<Arc<Vec<Remembered>>>,
    /// Keys in the first block that are forgotten already.
    forgotten_in_front: usize,
    /// The ticket of the first key of the first block; tickets only find a key's place.
    first_ticket: u64,
    len: usize,
    by_key: Index,
    seed: HashSeed,
}

impl Requests {
    /// None yet.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self { blocks: VecDeque::new(), forgotten_in_front: 0, first_ticket: 0, len: 0, by_key: Index::new(), seed }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is known of this key at `now`.
    #[must_use]
    pub fn lookup(&self, actor: ActorId<'_>, kind: Kind, name: Name<'_>, keyed: &Keyed<'_>, now: Timestamp) -> Lookup<'_> {
        let hash = hash_of(self.seed, (kind, name.as_str()), actor.as_str(), keyed.key.as_str());
        let candidates = self.by_key.candidates(hash).filter_map(|number| self.get(number));
        let known = candidates.into_iter().find(|known| {
            let is_kept = now < known.recorded_at.plus_millis(KEEP_MS);
            is_kept
                && known.kind == kind
                && *known.name == *name.as_str()
                && *known.actor == *actor.as_str()
                && *known.key == *keyed.key.as_str()
        });
        match known {
            None => Lookup::Fresh,
            Some(known) if known.fingerprint == keyed.fingerprint => Lookup::Replayed(&known.outcome),
            Some(_) => Lookup::KeyReused,
        }
    }

    /// Remembers a request that took effect.
    pub fn remember(&mut self, remembered: Remembered) {
        let hash = remembered.hash(self.seed);
        let ticket = self.first_ticket.wrapping_add(self.forgotten_in_front as u64).wrapping_add(self.len as u64);
        if self.blocks.back().is_none_or(|block| block.len() == BLOCK_KEYS) {
            self.blocks.push_back(Arc::new(Vec::with_capacity(BLOCK_KEYS)));
        }
        if let Some(block) = self.blocks.back_mut() {
            Arc::make_mut(block).push(remembered);
        }
        self.len = self.len.saturating_add(1);
        let (seed, first_ticket, blocks) = (self.seed, self.first_ticket, &self.blocks);
        let hash_of = |number| get(blocks, first_ticket, number).map_or(0, |known: &Remembered| known.hash(seed));
        self.by_key.insert(hash, number_of(ticket), hash_of, |_| ());
    }

    /// How many may be forgotten at `now`, at most [`FORGET_MAX`].
    #[must_use]
    pub fn due_count(&self, now: Timestamp) -> u32 {
        let due = self.iter().take(FORGET_MAX as usize).take_while(|known| known.recorded_at.plus_millis(KEEP_MS) <= now);
        u32::try_from(due.count()).unwrap_or(FORGET_MAX)
    }

    /// When the oldest may be forgotten.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.iter().next().map(|known| known.recorded_at.plus_millis(KEEP_MS))
    }

    /// Keys that took effect after `to` count from then on: the time was set back, and the order by times is
    /// the order of remembering again.
    pub(crate) fn cap_times(&mut self, to: Timestamp) {
        for block in self.blocks.iter_mut().rev() {
            if block.last().is_none_or(|known| known.recorded_at <= to) {
                return;
            }
            for known in Arc::make_mut(block).iter_mut().filter(|known| to < known.recorded_at) {
                known.recorded_at = to;
            }
        }
    }

    /// Forgets the `count` oldest.
    pub fn forget(&mut self, count: u32) {
        for _ in 0..count.min(u32::try_from(self.len).unwrap_or(u32::MAX)) {
            self.forget_oldest();
        }
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Remembered> {
        self.blocks.iter().flat_map(|block| block.iter()).skip(self.forgotten_in_front)
    }

    /// The one that was remembered last.
    #[must_use]
    pub fn newest(&self) -> Option<&Remembered> {
        let last = self.blocks.back().filter(|_| !self.is_empty())?;
        last.last()
    }

    /// All of them as they are now, shared rather than copied.
    pub(crate) fn freeze(&self) -> FrozenRequests {
        FrozenRequests { blocks: self.blocks.iter().cloned().collect(), skipped: self.forgotten_in_front }
    }

    fn get(&self, number: u32) -> Option<&Remembered> {
        get(&self.blocks, self.first_ticket, number)
    }

    fn forget_oldest(&mut self) {
        let ticket = self.first_ticket.wrapping_add(self.forgotten_in_front as u64);
        let (seed, first_ticket, blocks) = (self.seed, self.first_ticket, &self.blocks);
        let hash_of = |number| get(blocks, first_ticket, number).map_or(0, |known: &Remembered| known.hash(seed));
        let number = number_of(ticket);
        self.by_key.remove(hash_of(number), number, hash_of);
        self.len = self.len.saturating_sub(1);
        self.forgotten_in_front = self.forgotten_in_front.saturating_add(1);
        if self.forgotten_in_front == BLOCK_KEYS {
            self.blocks.pop_front();
            self.forgotten_in_front = 0;
            self.first_ticket = self.first_ticket.wrapping_add(BLOCK_KEYS as u64);
        }
    }
}

/// The requests at an instant, for a snapshot.
#[derive(Debug)]
pub(crate) struct FrozenRequests {
    blocks: Vec<Arc<Vec<Remembered>>>,
    skipped: usize,
}

impl FrozenRequests {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Remembered> {
        self.blocks.iter().flat_map(|block| block.iter()).skip(self.skipped)
    }
}

impl Remembered {
    fn hash(&self, seed: HashSeed) -> u64 {
        hash_of(seed, (self.kind, &self.name), &self.actor, &self.key)
    }
}

fn hash_of(seed: HashSeed, (kind, name): (Kind, &str), actor: &str, key: &str) -> u64 {
    let mut bytes = Vec::with_capacity(name.len().saturating_add(actor.len()).saturating_add(key.len()).saturating_add(3));
    bytes.push(kind.number());
    // No name holds a NUL, so that the texts cannot run into each other.
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(actor.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.as_bytes());
    seed.hash(&bytes)
}

/// Tickets go around after this many, because an index holds numbers from 1 to `u32::MAX`; as many
/// keys are never remembered at once.
const TICKETS: u64 = u32::MAX as u64;

fn number_of(ticket: u64) -> u32 {
    u32::try_from(ticket.wrapping_rem(TICKETS).saturating_add(1)).unwrap_or(u32::MAX)
}

fn get(blocks: &VecDeque<Arc<Vec<Remembered>>>, first_ticket: u64, number: u32) -> Option<&Remembered> {
    let first = first_ticket.wrapping_rem(TICKETS);
    let ticket = u64::from(number).saturating_sub(1);
    let place = usize::try_from(ticket.saturating_add(TICKETS).saturating_sub(first).wrapping_rem(TICKETS)).ok()?;
    blocks.get(place / BLOCK_KEYS)?.get(place % BLOCK_KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Serial;

    fn remembered(key: &str, recorded_at: u64) -> Remembered {
        Remembered {
            kind: Kind::Campaign,
            name: "spring".into(),
            actor: "local".into(),
            key: key.into(),
            fingerprint: Fingerprint([1; 16]),
            recorded_at: Timestamp::from_millis(recorded_at).unwrap(),
            outcome: Outcome::Did(Number(0), AnyOutcome::Campaign(crate::coupon::Outcome::Claimed { serial: Serial::new(1).unwrap() })),
        }
    }

    fn lookup<'a>(requests: &'a Requests, key: &str, fingerprint: u8, now: u64) -> Lookup<'a> {
        let keyed = Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([fingerprint; 16]) };
        requests.lookup(ActorId::LOCAL, Kind::Campaign, Name::new("spring").unwrap(), &keyed, Timestamp::from_millis(now).unwrap())
    }

    #[test]
    fn a_key_is_known_until_just_before_24_hours_have_passed() {
        let mut requests = Requests::new(HashSeed(1, 2));
        requests.remember(remembered("k", 5));
        assert!(matches!(lookup(&requests, "k", 1, 5 + KEEP_MS - 1), Lookup::Replayed(_)));
        assert_eq!(lookup(&requests, "k", 2, 5 + KEEP_MS - 1), Lookup::KeyReused);
        assert_eq!(lookup(&requests, "k", 1, 5 + KEEP_MS), Lookup::Fresh);
        assert_eq!(lookup(&requests, "l", 1, 5), Lookup::Fresh);
    }

    #[test]
    fn keys_of_a_time_that_is_undone_count_from_where_it_was_set_to() {
        let mut requests = Requests::new(HashSeed(1, 2));
        let far = 50 * KEEP_MS;
        for number in 0..3_000 {
            requests.remember(remembered(&format!("k{number}"), if number < 1_500 { number } else { far }));
        }
        requests.cap_times(Timestamp::from_millis(5_000).unwrap());
        requests.remember(remembered("after", 6_000));
        let times: Vec<u64> = requests.iter().map(|known| known.recorded_at.millis()).collect();
        assert!(times.is_sorted() && times[1_499] == 1_499 && times[1_500..3_000].iter().all(|at| *at == 5_000));
        assert_eq!(requests.due_count(Timestamp::from_millis(5_000 + KEEP_MS).unwrap()), FORGET_MAX);
        assert!(matches!(lookup(&requests, "k2999", 1, 4_999 + KEEP_MS), Lookup::Replayed(_)));
        assert_eq!(lookup(&requests, "k2999", 1, 5_000 + KEEP_MS), Lookup::Fresh);
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_others_stay_over_many_blocks() {
        let mut requests = Requests::new(HashSeed(1, 2));
        for number in 0..5_000 {
            requests.remember(remembered(&format!("k{number}"), number));
        }
        for _ in 0..3 {
            requests.forget(1_000);
        }
        assert_eq!(requests.len(), 2_000);
        assert_eq!(lookup(&requests, "k2999", 1, 5_000), Lookup::Fresh);
        for number in 3_000..5_000 {
            assert!(matches!(lookup(&requests, &format!("k{number}"), 1, 5_000), Lookup::Replayed(_)));
        }
        assert_eq!(requests.next_deadline(), Timestamp::from_millis(3_000 + KEEP_MS));
        requests.forget(9_999);
        assert!(requests.is_empty());
        assert_eq!(requests.newest(), None);
        requests.remember(remembered("again", 6_000));
        assert_eq!(requests.newest(), Some(&remembered("again", 6_000)));
        assert!(matches!(lookup(&requests, "again", 1, 6_000), Lookup::Replayed(_)));
    }
}
