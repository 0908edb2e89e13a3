//! What goes wrong in a run, and when it ends.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::counts::{Counts, Rare};
use super::plant::Plant;

/// Which parts of the world are allowed to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// The broker, and the ways to it and from it.
    pub has_broker: bool,
    /// The gate, in every way.
    pub has_gate: bool,
    /// The gate forgets everything now and then, and nothing else fails.
    pub has_losses: bool,
    /// Processes: they are killed, lag, or are cut off.
    pub has_nodes: bool,
    /// People go away in the middle.
    pub has_leaving: bool,
    /// The most milliseconds of the way to the log where nothing fails.
    pub way_ms: u64,
    /// People cancel, and settings change while units are given out.
    pub has_changes: bool,
}

/// What goes wrong, told to all parts of the world.
#[derive(Debug)]
pub struct Trouble {
    profile: Profile,
    plant: Option<Plant>,
    has_ended: AtomicBool,
    counts: Mutex<Counts>,
}

impl Trouble {
    /// Trouble that has begun.
    #[must_use]
    pub fn new(profile: Profile, plant: Option<Plant>) -> Self {
        Self { profile, plant, has_ended: AtomicBool::new(false), counts: Mutex::default() }
    }

    /// From here on nothing goes wrong any more.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Whether nothing goes wrong any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// What may fail at all.
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

    /// The most milliseconds of the way to the log.
    #[must_use]
    pub fn way_ms(&self) -> u64 {
        self.profile.way_ms
    }

    /// What is done wrong on purpose.
    #[must_use]
    pub fn plant(&self) -> Option<Plant> {
        self.plant
    }

    /// It happened.
    pub fn saw(&self, rare: Rare) {
        self.counts.lock().saw(rare);
    }

    /// What happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }
}
