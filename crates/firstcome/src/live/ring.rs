//! The newest events of a campaign, for those who come back after a break and those who are slow.

use std::collections::VecDeque;

use super::picture::{Encoded, Frame, Picture};
use super::viewer::Audience;

/// Deltas that are kept: 12 seconds of a campaign in which something happens all the time.
const DELTAS_KEPT: usize = 128;
/// Who is further behind than this gets the newest snapshot instead.
const BEHIND_MAX: u64 = 10;

/// The last event that somebody has: of which channel, and its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeAt {
    channel: String,
    seq: u64,
}

impl ResumeAt {
    /// Reads a `Last-Event-ID`; what is none of ours is as if there were none.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (channel, seq) = id.rsplit_once('-')?;
        Some(Self { channel: channel.to_owned(), seq: seq.parse().ok()? })
    }
}

/// How far somebody is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Progress {
    /// The last event that they have; 0 if none.
    pub(super) seq: u64,
    /// Up to here they get every delta, however far behind: they missed them while they were away.
    pub(super) catch_up_to: u64,
}

/// The newest events.
#[derive(Debug)]
pub(super) struct Ring {
    channel: String,
    picture: Picture,
    at: String,
    seq: u64,
    deltas: VecDeque<Encoded>,
    /// Made when somebody needs it.
    snapshot: Option<Encoded>,
}

/// What somebody gets next.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) seq: u64,
    pub(super) frame: Frame,
    /// They fell behind, and have missed deltas.
    pub(super) has_skipped: bool,
}

impl Ring {
    pub(super) fn new(channel: String, picture: Picture, at: String) -> Self {
        Self { channel, picture, at, seq: 1, deltas: VecDeque::new(), snapshot: None }
    }

    /// Takes over how it stands now; says whether that is anything new.
    pub(super) fn advance(&mut self, picture: Picture, at: String) -> bool {
        if picture == self.picture {
            return false;
        }
        self.seq += 1;
        let id = format!("{}-{}", self.channel, self.seq);
        self.deltas.push_back(picture.delta(&self.picture, &id, self.seq, &at));
        if DELTAS_KEPT < self.deltas.len() {
            self.deltas.pop_front();
        }
        (self.picture, self.at, self.snapshot) = (picture, at, None);
        true
    }

    /// Where somebody who was here before goes on.
    pub(super) fn resume(&self, at: &ResumeAt) -> Progress {
        let is_known = at.channel == self.channel && at.seq <= self.seq && self.oldest() <= at.seq + 1;
        if is_known { Progress { seq: at.seq, catch_up_to: self.seq } } else { Progress::default() }
    }

    /// What comes after what somebody has; `None` if they have everything.
    pub(super) fn next(&mut self, progress: Progress, audience: Audience) -> Option<Next> {
        let behind = self.seq - progress.seq.min(self.seq);
        if behind == 0 {
            return None;
        }
        let is_near = behind <= BEHIND_MAX || progress.seq < progress.catch_up_to;
        let place = (progress.seq + 1).checked_sub(self.oldest()).and_then(|place| usize::try_from(place).ok());
        let delta = place.filter(|_| is_near && progress.seq != 0).and_then(|place| self.deltas.get(place));
        if let Some(delta) = delta {
            return Some(Next { seq: progress.seq + 1, frame: delta.frame(audience).clone(), has_skipped: false });
        }
        let id = format!("{}-{}", self.channel, self.seq);
        let snapshot = self.snapshot.get_or_insert_with(|| self.picture.snapshot(&id, self.seq, &self.at));
        Some(Next { seq: self.seq, frame: snapshot.frame(audience).clone(), has_skipped: progress.seq != 0 })
    }

    /// The number of the oldest delta that is kept.
    fn oldest(&self) -> u64 {
        self.seq + 1 - self.deltas.len() as u64
    }
}
