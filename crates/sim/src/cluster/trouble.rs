//! The faults of a run, and when they end.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::counts::{Counts, Rare};
use super::plant::Plant;

/// The parts of the world that may fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// The broker, and the network to and from it.
    pub has_broker: bool,
    /// The gate, in every way.
    pub has_gate: bool,
    /// The gate loses its data from time to time, and nothing else fails.
    pub has_losses: bool,
    /// Processes: they are killed, lag, or are cut off.
    pub has_nodes: bool,
    /// Clients disconnect before the answer.
    pub has_leaving: bool,
    /// The largest network delay to the log without faults, in milliseconds.
    pub way_ms: u64,
    /// People cancel, and settings change while units are claimed.
    pub has_changes: bool,
}

/// The faults, shared by all parts of the world.
#[derive(Debug)]
pub struct Trouble {
    profile: Profile,
    plant: Option<Plant>,
    has_ended: AtomicBool,
    counts: Mutex<Counts>,
}

impl Trouble {
    /// Faults that are active.
    #[must_use]
    pub fn new(profile: Profile, plant: Option<Plant>) -> Self {
        Self { profile, plant, has_ended: AtomicBool::new(false), counts: Mutex::default() }
    }

    /// Ends the faults.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Whether the faults have ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// The parts that may fail in this run.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether the broker may fail now.
    #[must_use]
    pub fn has_broker(&self) -> bool {
        self.profile.has_broker && !self.has_ended()
    }

    /// Whether the gate may fail now.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        self.profile.has_gate && !self.has_ended()
    }

    /// Whether processes may fail now.
    #[must_use]
    pub fn has_nodes(&self) -> bool {
        self.profile.has_nodes && !self.has_ended()
    }

    /// The largest network delay to the log, in milliseconds.
    #[must_use]
    pub fn way_ms(&self) -> u64 {
        self.profile.way_ms
    }

    /// The planted bug, if any.
    #[must_use]
    pub fn plant(&self) -> Option<Plant> {
        self.plant
    }

    /// Counts a rare event.
    pub fn saw(&self, rare: Rare) {
        self.counts.lock().saw(rare);
    }

    /// The counts of rare events.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }
}
