//! The oracle at every offset of one partition's log: at offset `n` it has applied the first `n` records. The
//! states share unchanged parts.

use domain::Command;
use oracle::{Oracle, Said as Ruled, adapter};

use crate::ask::{Answer, Ask, Said};
use crate::expect;
use crate::world::time;

/// Never empty: the first state is the one before any record.
#[derive(Clone, Debug)]
pub struct Places(Vec<Oracle>);

impl Default for Places {
    fn default() -> Self {
        Self(vec![Oracle::default()])
    }
}

impl Places {
    /// The number of records.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The oracle at an offset.
    #[must_use]
    pub fn at(&self, place: u64) -> &Oracle {
        &self.0[usize::try_from(place).unwrap_or(usize::MAX)]
    }

    /// The oracle after the last record.
    #[must_use]
    pub fn last(&self) -> &Oracle {
        self.at(self.count())
    }

    /// The required answer to a request at an offset, if no further record comes.
    #[must_use]
    pub fn answer(&self, ask: &Ask, place: u64) -> Said {
        let oracle = self.at(place);
        expect::asked(oracle, ask, oracle.time)
    }

    /// A campaign at an offset.
    #[must_use]
    pub fn campaign(&self, name: &str, place: u64) -> Answer {
        expect::campaign(self.at(place), name)
    }

    /// A subject's claim at an offset.
    #[must_use]
    pub fn claim(&self, name: &str, subject: &str, place: u64) -> Answer {
        expect::claim(self.at(place), name, subject)
    }

    /// Appends a record that decides nothing.
    pub fn pass(&mut self, broker_ms: u64) {
        let mut next = self.last().clone();
        next.pass(time(broker_ms));
        self.0.push(next);
    }

    /// Appends a record with this command; returns the required answer and the oracle's ruling.
    pub fn take(&mut self, command: &Command<'_>, broker_ms: u64) -> (Said, Ruled) {
        self.pass(broker_ms);
        let mut next = self.last().clone();
        let (question, now) = (adapter::ask(command), next.time);
        let said = expect::said(&next, &question, now);
        let ruled = next.take(&question, now);
        self.0.pop();
        self.0.push(next);
        (said, ruled)
    }
}
