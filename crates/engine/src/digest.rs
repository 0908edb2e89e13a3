//! A digest of the state, updated incrementally with each record.
//!
//! Nodes that run the rules over the same records compare it at the same offset, many times a second, so
//! computing it must not need a walk over the whole state. It is a sum: every aggregate, entry and request
//! key adds the SHA-256 of its own bytes, as four wrapping 64-bit numbers, and subtracts the old one when it
//! changes. The sum does not depend on order, so a state read back from a snapshot has the same digest as a
//! replayed one. Sums of hashes find accidental differences; they are no defence against an attacker who
//! constructs two states with one sum.

use domain::request::Remembered;
use domain::types::Timestamp;
use domain::wire::state::{encode_remembered, encode_settings_of};
use domain::workload::{AnyAggregate, AnySettings, Head};
use domain::{Change, Number, Record, State};
use sha2::{Digest, Sha256};

/// Length of a digest value.
pub const DIGEST_BYTES: usize = 16;

/// The digest of a state and its number of decided records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunningDigest {
    sum: [u64; 4],
}

const AGGREGATE: u8 = 1;
const ENTRY: u8 = 2;
const REQUEST: u8 = 3;

impl RunningDigest {
    /// The digest of a whole state, computed by a walk over it.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut digest = Self::default();
        for aggregate in state.aggregates() {
            digest.add_aggregate(aggregate.head(), &aggregate.settings());
            aggregate.entries(&mut |bytes| digest.add_entry(aggregate.head().number, bytes));
        }
        state.requests.iter().for_each(|known| digest.add_request(known));
        digest
    }

    /// Adds an aggregate without its entries: for code that rebuilds a state from another source than
    /// [`State`].
    pub fn add_aggregate(&mut self, head: &Head, settings: &AnySettings) {
        self.add(aggregate_item(head, settings));
    }

    /// Adds an entry by its canonical bytes; see [`RunningDigest::add_aggregate`].
    pub fn add_entry(&mut self, number: Number, bytes: &[u8]) {
        self.add(entry_item(number, bytes));
    }

    /// Adds a remembered request; see [`RunningDigest::add_aggregate`].
    pub fn add_request(&mut self, known: &Remembered) {
        self.add(request_item(known));
    }

    /// Subtracts the items that a record is about to change; `state` does not have its effect yet.
    pub fn before(&mut self, record: &Record<'_>, state: &State) {
        match &record.change {
            Change::Created { .. } => {}
            Change::Changed { number, .. } => self.take_aggregate(there(state, *number)),
            Change::Removed { number } => {
                let aggregate = there(state, *number);
                self.take_aggregate(aggregate);
                aggregate.entries(&mut |bytes| self.take(entry_item(*number, bytes)));
            }
            Change::Did(_) | Change::DidBoth(..) => {
                for done in record.change.events() {
                    there(state, done.number).touched(&done.event, &mut |bytes| self.take(entry_item(done.number, bytes)));
                }
            }
            Change::RequestsForgotten { count } => {
                state.requests.iter().take(*count as usize).for_each(|known| self.take(request_item(known)));
            }
            // The keys of later times count from `to`, like those that took effect at it.
            Change::TimeSet { to, .. } => {
                state.requests.iter().filter(|known| *to <= known.recorded_at).for_each(|known| self.take(request_item(known)));
            }
        }
    }

    /// Adds the items that a record has changed; `state` has its effect.
    pub fn after(&mut self, record: &Record<'_>, state: &State) {
        match &record.change {
            Change::Created { number, .. } => {
                let aggregate = there(state, *number);
                self.add_aggregate(aggregate.head(), &aggregate.settings());
                // The items that a new aggregate starts with count as entries too.
                aggregate.entries(&mut |bytes| self.add_entry(*number, bytes));
            }
            Change::Changed { number, .. } => {
                let aggregate = there(state, *number);
                self.add_aggregate(aggregate.head(), &aggregate.settings());
            }
            Change::Removed { .. } => {}
            Change::Did(_) | Change::DidBoth(..) => {
                for done in record.change.events() {
                    there(state, done.number).touched(&done.event, &mut |bytes| self.add_entry(done.number, bytes));
                }
            }
            Change::TimeSet { to, .. } => {
                state.requests.iter().filter(|known| *to <= known.recorded_at).for_each(|known| self.add_request(known));
                return;
            }
            Change::RequestsForgotten { .. } => return,
        }
        if let (Some(_), Some(known)) = (record.request, state.requests.newest()) {
            self.add_request(known);
        }
    }

    /// The value to compare: the sum, hashed with the state's time and the number of decided records.
    #[must_use]
    pub fn value(&self, time: Timestamp, decisions: u64) -> [u8; DIGEST_BYTES] {
        let mut hash = Sha256::new();
        self.sum.iter().for_each(|lane| hash.update(lane.to_le_bytes()));
        hash.update(time.millis().to_le_bytes());
        hash.update(decisions.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest.first_chunk().copied().unwrap_or_default()
    }

    fn take_aggregate(&mut self, aggregate: &AnyAggregate) {
        self.take(aggregate_item(aggregate.head(), &aggregate.settings()));
    }

    fn add(&mut self, item: [u64; 4]) {
        self.sum.iter_mut().zip(item).for_each(|(lane, item)| *lane = lane.wrapping_add(item));
    }

    fn take(&mut self, item: [u64; 4]) {
        self.sum.iter_mut().zip(item).for_each(|(lane, item)| *lane = lane.wrapping_sub(item));
    }
}

fn there(state: &State, number: Number) -> &AnyAggregate {
    let Some(aggregate) = state.at(number) else { panic!("a record is about aggregate {}, which is not there", number.0) };
    aggregate
}

fn aggregate_item(head: &Head, settings: &AnySettings) -> [u64; 4] {
    item(AGGREGATE, &[&encode_settings_of(head, settings)])
}

fn entry_item(number: Number, bytes: &[u8]) -> [u64; 4] {
    item(ENTRY, &[&number.0.to_le_bytes(), bytes])
}

fn request_item(known: &Remembered) -> [u64; 4] {
    item(REQUEST, &[&encode_remembered(known)])
}

fn item(kind: u8, parts: &[&[u8]]) -> [u64; 4] {
    let mut hash = Sha256::new();
    hash.update([kind]);
    parts.iter().for_each(|part| hash.update(part));
    let digest: [u8; 32] = hash.finalize().into();
    let mut lanes = [0; 4];
    for (lane, bytes) in lanes.iter_mut().zip(digest.as_chunks::<8>().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    lanes
}
