//! The oracle at every place of one partition's log: at place `n` it knows the first `n` records. The
//! states share what did not change between them.

use domain::Command;
use oracle::{Oracle, Said as Ruled, adapter};

use crate::ask::{Answer, Ask, Said};
use crate::expect;
use crate::world::time;

/// Never empty: place 0 is before the first record.
#[derive(Clone, Debug)]
pub struct Places(Vec<Oracle>);

impl Default for Places {
    fn default() -> Self {
        Self(vec![Oracle::default()])
    }
}

impl Places {
    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// What is known at a place.
    #[must_use]
    pub fn at(&self, place: u64) -> &Oracle {
        &self.0[usize::try_from(place).unwrap_or(usize::MAX)]
    }

    /// What is known at the end.
    #[must_use]
    pub fn last(&self) -> &Oracle {
        self.at(self.count())
    }

    /// What the request must be answered at a place, if nothing more happens.
    #[must_use]
    pub fn answer(&self, ask: &Ask, place: u64) -> Said {
        let oracle = self.at(place);
        expect::asked(oracle, ask, oracle.time)
    }

    /// How a campaign stands at a place.
    #[must_use]
    pub fn campaign(&self, name: &str, place: u64) -> Answer {
        expect::campaign(self.at(place), name)
    }

    /// Which claim a subject holds at a place.
    #[must_use]
    pub fn claim(&self, name: &str, subject: &str, place: u64) -> Answer {
        expect::claim(self.at(place), name, subject)
    }

    /// Takes in the next record, which decides nothing.
    pub fn pass(&mut self, broker_ms: u64) {
        let mut next = self.last().clone();
        next.pass(time(broker_ms));
        self.0.push(next);
    }

    /// Takes in the next record, which asks for this; says what must be answered, and what came of it.
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
