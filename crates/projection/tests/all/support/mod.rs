//! A run of decisions by the rules themselves, and a history to give them to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[cfg(feature = "postgres")]
pub mod cluster;

use std::path::PathBuf;

use domain::claims::Claim;
use domain::coupon::{self, Coupon, Settings, TargetBy};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{self, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::rows::Cell;
use domain::state::Precondition;
use domain::types::{ActorId, LimitKey, Name, Quantity, RequestId, Serial, SubjectId, Timestamp};
use domain::wire::{Position, decode_record, encode_record};
use domain::{Action, Command, Decision, Kind, Listed, Record, State};
use projection::{EntryRow, History, OwnedCell, Selection};
use tempfile::TempDir;

pub const JOURNAL: [u8; 16] = [7; 16];

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

pub fn subject(text: &str) -> SubjectId<'_> {
    SubjectId::new(text).unwrap()
}

pub fn settings(stock: u32) -> Settings {
    let stock = Quantity::new(stock).unwrap();
    Settings { closes_at: Some(at(9_000_000)), code_key: 3, ..Settings::plain(stock) }
}

pub fn put(campaign: &str, settings: Settings) -> Action<'_> {
    Action::Put { name: name(campaign), settings: Coupon::any_settings(settings), precondition: Precondition::Always }
}

pub fn claim<'a>(campaign: &'a str, by: &'a str) -> Action<'a> {
    Action::of::<Coupon>(name(campaign), coupon::Command::Claim { subject: subject(by) })
}

pub fn redeem(campaign: &str, serial: u32) -> Action<'_> {
    Action::of::<Coupon>(name(campaign), coupon::Command::Redeem { by: by_code(serial) })
}

pub fn cancel(campaign: &str, serial: u32) -> Action<'_> {
    Action::of::<Coupon>(name(campaign), coupon::Command::Cancel { by: by_code(serial) })
}

fn by_code(serial: u32) -> TargetBy<'static> {
    TargetBy::Code { serial: Serial::new(serial).unwrap() }
}

pub fn put_policy(policy: &str, quota: u64) -> Action<'_> {
    let settings =
        PolicySettings { algorithm: LimitAlgorithm::TokenBucket, quota, window_ms: Some(1_000), burst: 5, timeout_ms: None, shadow: false };
    Action::Put { name: name(policy), settings: Limit::any_settings(settings), precondition: Precondition::Always }
}

pub fn put_override<'a>(policy: &'a str, key: &'a str, quota: u32) -> Action<'a> {
    let numbers = Numbers { quota, window_ns: 60_000_000_000, burst: 1 };
    Action::of::<Limit>(name(policy), policies::Command::PutOverride { key: LimitKey::new(key).unwrap(), numbers })
}

pub fn remove_override<'a>(policy: &'a str, key: &'a str) -> Action<'a> {
    Action::of::<Limit>(name(policy), policies::Command::RemoveOverride { key: LimitKey::new(key).unwrap() })
}

pub fn remove_policy(policy: &str) -> Action<'_> {
    Action::Remove { kind: Kind::Policy, name: name(policy), precondition: Precondition::Always }
}

/// Both, or neither.
pub fn both<'a>(one: Action<'a>, other: Action<'a>) -> Action<'a> {
    let (Action::Do(one), Action::Do(other)) = (one, other) else { panic!("only a workload's own commands go together") };
    Action::DoBoth(one, other)
}

/// The claim in an entry's cells.
pub fn claim_in<'a>(cells: &[Cell<'a>]) -> Claim<'a> {
    coupon::claim_of_row(cells).unwrap()
}

pub fn serials(rows: &[EntryRow]) -> Vec<u32> {
    rows.iter().map(|row| claim_in(&row.cells()).serial.get()).collect()
}

pub const ALL: Selection<'static> = Selection { after: None, having: None };

pub fn with_status(status: &str) -> Selection<'_> {
    Selection { after: None, having: Some((coupon::STATUS, status)) }
}

/// The rows that a state says: of each aggregate of a kind its name and, for each entry, its cells.
pub fn rows_of(state: &State, kind: Kind) -> Vec<(String, Vec<Vec<OwnedCell>>)> {
    let claims = state.all::<Coupon>().map(|campaign| {
        let decided = campaign.items.claims.iter().filter(|claim| claim.status != domain::claims::ClaimStatus::Pending);
        (campaign.head.name.to_string(), decided.map(|claim| claim_cells(&claim)).collect())
    });
    let overrides = state.all::<Limit>().map(|policy| {
        let cells = policy.items.overrides.iter().map(|(key, numbers)| override_cells(key, *numbers));
        (policy.head.name.to_string(), cells.collect())
    });
    // The runs of these tests have aggregates of no other kind.
    if kind == Kind::Campaign {
        claims.collect()
    } else if kind == Kind::Policy {
        overrides.collect()
    } else {
        Vec::new()
    }
}

fn claim_cells(claim: &Claim<'_>) -> Vec<OwnedCell> {
    use domain::claims::ClaimStatus::{Cancelled, Live, Pending, Redeemed};
    let (status, changed_at) = match claim.status {
        Pending | Live => ("live", None),
        Redeemed { redeemed_at } => ("redeemed", Some(redeemed_at)),
        Cancelled { cancelled_at } => ("cancelled", Some(cancelled_at)),
    };
    let serial = OwnedCell::Number(u64::from(claim.serial.get()));
    let (subject, status) = (OwnedCell::Text(claim.subject.as_str().to_owned()), OwnedCell::Text(status.to_owned()));
    vec![serial, subject, OwnedCell::Time(claim.claimed_at), status, changed_at.map_or(OwnedCell::Null, OwnedCell::Time)]
}

fn override_cells(key: &str, numbers: Numbers) -> Vec<OwnedCell> {
    let window_ms = numbers.window_ns / 1_000_000;
    let numbers = [u64::from(numbers.quota), window_ms, u64::from(numbers.burst)].map(OwnedCell::Number);
    [OwnedCell::Text(key.to_owned())].into_iter().chain(numbers).collect()
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
    pub fn ask(&mut self, action: Action<'_>, now: u64) {
        let Ok(Decision::Change(change)) = domain::decide(&self.state, &Command::local(action), at(now)) else { return };
        let request_id = RequestId::new("r-1").unwrap();
        let record = Record { at: at(now), actor: ActorId::LOCAL, request_id, request: None, change };
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
