//! A run of decisions by the rules themselves, and a history to give them to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[cfg(feature = "postgres")]
pub mod cluster;

use std::path::PathBuf;

use domain::coupon::{self, ClaimOne, Precondition, Put, Settings, Target, TargetBy};
use domain::hash::HashSeed;
use domain::state::{Command, CommandKind, Decision, Record, State};
use domain::types::{ActorId, CampaignName, Quantity, RequestId, Serial, SubjectId, Timestamp};
use domain::wire::{Position, decode_record, encode_record};
use projection::History;
use tempfile::TempDir;

pub const JOURNAL: [u8; 16] = [7; 16];

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub fn name(text: &str) -> CampaignName<'_> {
    CampaignName::new(text).unwrap()
}

pub fn subject(text: &str) -> SubjectId<'_> {
    SubjectId::new(text).unwrap()
}

pub fn settings(stock: u32) -> Settings {
    let stock = Quantity::new(stock).unwrap();
    Settings { closes_at: Some(at(9_000_000)), ..Settings::plain(stock) }
}

pub fn put(campaign: &str, settings: Settings) -> coupon::Command<'_> {
    coupon::Command::Put(Put { campaign: name(campaign), settings, precondition: Precondition::Always, code_key: 3 })
}

pub fn claim<'a>(campaign: &'a str, by: &'a str) -> coupon::Command<'a> {
    coupon::Command::Claim(ClaimOne { campaign: name(campaign), subject: subject(by) })
}

pub fn target(campaign: &str, serial: u32) -> Target<'_> {
    Target { campaign: name(campaign), by: TargetBy::Code(Serial::new(serial).unwrap()) }
}

/// What was decided, as bytes, and the state that it led to.
pub struct Run {
    pub state: State,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Run {
    pub fn new() -> Self {
        Self { state: State::new(HashSeed(1, 2)), records: Vec::new() }
    }

    /// A campaign with as many claims.
    pub fn with_claims(campaign: &str, claims_count: u32) -> Self {
        let mut run = Self::new();
        run.ask(put(campaign, settings(claims_count)), 1);
        run.claim_many(campaign, claims_count);
        run
    }

    pub fn claim_many(&mut self, campaign: &str, claims_count: u32) {
        let first = self.count();
        for user in 0..claims_count {
            self.ask(claim(campaign, &format!("user-{}", first + u64::from(user))), 2);
        }
    }

    /// Decides at `now`, and writes down what changes anything.
    pub fn ask(&mut self, kind: coupon::Command<'_>, now: u64) {
        let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(kind) };
        let Ok(Decision::Event(event)) = domain::decide(&self.state, &command, at(now)) else { return };
        let request_id = RequestId::new("r-1").unwrap();
        let record = Record { at: at(now), actor: ActorId::LOCAL, request_id, request: None, event };
        self.state.evolve(&record);
        let (mut body, mut private) = (Vec::new(), Vec::new());
        encode_record(&record, &mut body, &mut private);
        self.records.push((body, private));
    }

    pub fn count(&self) -> u64 {
        self.records.len() as u64
    }

    pub fn last(&self) -> Position {
        Position(self.count())
    }

    pub fn records(&self) -> impl Iterator<Item = (Position, Record<'_>)> + Clone {
        let decoded = self.records.iter().map(|(body, private)| decode_record(body, Some(private)).unwrap());
        (1..).map(Position).zip(decoded)
    }

    pub fn first(&self, count: usize) -> impl Iterator<Item = (Position, Record<'_>)> + Clone {
        self.records().take(count)
    }
}

/// A folder with a history in it.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("history.sqlite")
    }

    pub fn open(&self) -> History {
        History::open(&self.path(), JOURNAL).unwrap()
    }

    pub fn with(run: &Run) -> (Self, History) {
        let place = Self::new();
        let mut history = place.open();
        history.apply(run.records()).unwrap();
        (place, history)
    }
}
