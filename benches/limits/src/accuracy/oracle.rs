//! Exact definitions, told from the list of all that was let through. Nothing here is fast.

use std::collections::VecDeque;

use domain::rate_limit::{Algorithm, Settings};

use super::Against;

/// Remembers what was let through for one key.
pub(super) struct Oracle {
    settings: Settings,
    against: Against,
    admitted: VecDeque<u64>,
}

impl Oracle {
    pub(super) fn new(settings: &Settings, against: Against) -> Self {
        Self { settings: *settings, against, admitted: VecDeque::new() }
    }

    pub(super) fn admit(&mut self, at: u64) {
        self.admitted.push_back(at);
    }

    /// What was let through in the window that ends with `at`.
    pub(super) fn in_window(&mut self, at: u64) -> u64 {
        if !self.is_bucket() {
            while self.admitted.front().is_some_and(|first| first + self.settings.window_ns <= at) {
                self.admitted.pop_front();
            }
            return self.admitted.len() as u64;
        }
        0
    }

    /// Whether one more may pass at `at`.
    pub(super) fn conforms(&mut self, at: u64) -> bool {
        let (quota, window) = (self.settings.quota, self.settings.window_ns);
        if self.is_bucket() {
            return self.bucket_conforms(at);
        }
        if self.against == Against::OwnDefinition && self.settings.algorithm == Algorithm::FixedWindow {
            return (self.admitted.iter().filter(|then| **then / window == at / window).count() as u64) < u64::from(quota);
        }
        self.in_window(at) < u64::from(quota)
    }

    fn is_bucket(&self) -> bool {
        self.against == Against::OwnDefinition && self.settings.algorithm.has_burst()
    }

    /// In every stretch that ends now, no more than the bucket holds and what flowed in meanwhile.
    fn bucket_conforms(&self, at: u64) -> bool {
        let (quota, window) = (u128::from(self.settings.quota), u128::from(self.settings.window_ns));
        let holds = (u128::from(self.settings.burst) + 1) * window;
        let mut units = 1;
        self.admitted.iter().rev().all(|then| {
            units += 1;
            units * window <= holds + u128::from(at - then) * quota
        })
    }
}
