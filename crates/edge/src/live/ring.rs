//! The newest events of a channel, for subscribers that reconnect and subscribers that are slow.

use std::collections::VecDeque;

use super::frame::{Audience, Encoded, Frame, Picture};

/// Number of deltas to keep: 12 seconds of a channel that changes all the time.
const DELTAS_KEPT: usize = 128;
/// A subscriber further behind than this gets the newest snapshot instead of deltas.
const BEHIND_MAX: u64 = 10;

/// The last event that a subscriber received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeAt {
    channel: String,
    seq: u64,
}

impl ResumeAt {
    /// Reads a `Last-Event-ID`; a malformed one counts as absent.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (channel, seq) = id.rsplit_once('-')?;
        Some(Self { channel: channel.to_owned(), seq: seq.parse().ok()? })
    }
}

/// How far a subscriber has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ReadPosition {
    /// The last event that the subscriber received; 0 if none.
    pub(super) seq: u64,
    /// Up to here, the subscriber gets every delta however far behind it is: it missed them while it was
    /// disconnected.
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
    /// Encoded when a subscriber needs it.
    snapshot: Option<Encoded>,
}

/// The next event for a subscriber.
#[derive(Debug)]
pub(super) struct NextFrame {
    pub(super) seq: u64,
    pub(super) frame: Frame,
    /// The subscriber was too slow and has missed deltas.
    pub(super) has_skipped: bool,
}

impl Ring {
    pub(super) fn new(channel: String, picture: Picture, at: String) -> Self {
        Self { channel, picture, at, seq: 1, deltas: VecDeque::new(), snapshot: None }
    }

    /// Sets the current picture; returns whether it has changed.
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

    /// The position of a subscriber that reconnects.
    pub(super) fn resume(&self, at: &ResumeAt) -> ReadPosition {
        let is_known = at.channel == self.channel && at.seq <= self.seq && self.oldest() <= at.seq + 1;
        if is_known { ReadPosition { seq: at.seq, catch_up_to: self.seq } } else { ReadPosition::default() }
    }

    /// The next event for a subscriber; `None` if it has received all.
    pub(super) fn next(&mut self, position: ReadPosition, audience: Audience) -> Option<NextFrame> {
        let behind = self.seq - position.seq.min(self.seq);
        if behind == 0 {
            return None;
        }
        let is_near = behind <= BEHIND_MAX || position.seq < position.catch_up_to;
        let index = (position.seq + 1).checked_sub(self.oldest()).and_then(|index| usize::try_from(index).ok());
        let delta = index.filter(|_| is_near && position.seq != 0).and_then(|index| self.deltas.get(index));
        if let Some(delta) = delta {
            return Some(NextFrame { seq: position.seq + 1, frame: delta.frame(audience).clone(), has_skipped: false });
        }
        let id = format!("{}-{}", self.channel, self.seq);
        let snapshot = self.snapshot.get_or_insert_with(|| self.picture.snapshot(&id, self.seq, &self.at));
        Some(NextFrame { seq: self.seq, frame: snapshot.frame(audience).clone(), has_skipped: position.seq != 0 })
    }

    /// The number of the oldest delta kept.
    fn oldest(&self) -> u64 {
        self.seq + 1 - self.deltas.len() as u64
    }
}
