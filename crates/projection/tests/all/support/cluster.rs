//! Partitions that decide by the rules themselves, and the tables to project them into.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::ops::Range;
use std::time::Duration;

use domain::coupon::queue::DecideNext;
use domain::coupon::{self, CampaignNumber};
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed};
use domain::state::{Command, CommandKind, Decision, Record, State};
use domain::types::{ActorId, CampaignName, RequestId, RequestKey, SubjectId};
use domain::wire::state::encode_remembered;
use domain::wire::{Position, decode_record, encode_record};
use projection::postgres::{Decided, Origin, PartitionPosition, Postgres, Projector, Settings};
use tokio_postgres::NoTls;

use crate::support::at;

pub const SEED: HashSeed = HashSeed(31, 32);

/// What was decided in one partition, and how far it was after each thing that was asked.
pub struct Partition {
    pub state: State,
    records: Vec<Written>,
    marks: Vec<PartitionPosition>,
}

struct Written {
    body: Vec<u8>,
    private: Vec<u8>,
    remembered: Option<Vec<u8>>,
}

impl Partition {
    pub fn new(partition: u32) -> Self {
        Self { state: State::new(SEED), records: Vec::new(), marks: vec![PartitionPosition::first(partition)] }
    }

    /// Asks; every question takes an offset and moves the time, whatever comes of it.
    pub fn ask(&mut self, kind: CommandKind<'_>, key: Option<&str>, now: u64) -> &mut Self {
        let actor = ActorId::new("shop").unwrap();
        let request = key.map(|key| Keyed { key: RequestKey::new(key).unwrap(), fingerprint: fingerprint(&kind) });
        let command = Command { actor, request, kind };
        let now = at(now).max(self.state.time);
        self.state.time = now;
        if let Ok(Decision::Event(event)) = domain::decide(&self.state, &command, now) {
            let request_id = format!("r-{}", self.marks.len());
            let is_own = matches!(kind, CommandKind::Coupon(coupon::Command::DecideNext(_)));
            let request_id = if is_own { RequestId::ENGINE } else { RequestId::new(&request_id).unwrap() };
            self.write(&Record { at: now, actor, request_id, request, event });
        }
        self.mark();
        self
    }

    /// Asks for the decision of the claim that has been pending longest, if there is one.
    pub fn decide_next(&mut self, campaign: &str, now: u64) -> &mut Self {
        let campaign = CampaignName::new(campaign).unwrap();
        let pending = self.state.campaign(campaign).and_then(domain::coupon::Campaign::first_pending);
        let Some((serial, subject)) = pending.map(|claim| (claim.serial, claim.subject.to_string())) else { return self };
        let subject = SubjectId::new(&subject).unwrap();
        self.coupon(coupon::Command::DecideNext(DecideNext { campaign, serial, subject }), now)
    }

    pub fn coupon(&mut self, kind: coupon::Command<'_>, now: u64) -> &mut Self {
        self.ask(CommandKind::Coupon(kind), None, now)
    }

    /// A record that no decision led to.
    pub fn write(&mut self, record: &Record<'_>) {
        self.state.evolve(record);
        let remembered = record.request.map(|_| encode_remembered(self.state.requests.newest().unwrap()));
        let (mut body, mut private) = (Vec::new(), Vec::new());
        encode_record(record, &mut body, &mut private);
        self.records.push(Written { body, private, remembered });
    }

    pub fn mark(&mut self) {
        let last = self.end().clone();
        let mut bytes = last.digest.clone();
        bytes.extend(self.records.get(decisions_of(&last)..).unwrap().iter().flat_map(|written| &written.body));
        let position = PartitionPosition {
            offset_next: last.offset_next + 1,
            decisions: self.records.len() as u64,
            effective_at: self.state.time,
            rules_version: 1,
            digest: SEED.hash(&bytes).to_le_bytes().to_vec(),
            ..last
        };
        self.marks.push(position);
    }

    pub fn marks(&self) -> &[PartitionPosition] {
        &self.marks
    }

    pub fn end(&self) -> &PartitionPosition {
        self.marks.last().unwrap()
    }

    pub fn records(&self) -> Vec<(Position, Record<'_>)> {
        let decoded = self.records.iter().map(|written| decode_record(&written.body, Some(&written.private)).unwrap());
        (1..).map(Position).zip(decoded).collect()
    }

    /// What was decided between two marks.
    pub fn decided(&self, marks: Range<usize>) -> Vec<Decided<'_>> {
        let (from, to) = (decisions_of(&self.marks[marks.start]), decisions_of(&self.marks[marks.end]));
        (from..to)
            .map(|place| {
                let Written { body, private, remembered } = &self.records[place];
                let record = decode_record(body, Some(private)).unwrap();
                Decided { position: Position(place as u64 + 1), record, remembered: remembered.as_deref() }
            })
            .collect()
    }

    /// Projects from one mark to another.
    pub async fn project(&self, projector: &mut Projector, marks: Range<usize>) -> Result<(), projection::postgres::ProjectError> {
        let decided = self.decided(marks.clone());
        projector.apply(&self.marks[marks.start], &self.marks[marks.end], &decided).await
    }

    pub async fn project_all(&self, projector: &mut Projector) {
        self.project(projector, 0..self.marks.len() - 1).await.unwrap();
    }

    /// The state as it was at a position.
    pub fn state_at(&self, position: &PartitionPosition) -> State {
        let mark = self.marks.iter().find(|mark| mark.offset_next == position.offset_next).unwrap();
        assert_eq!(mark, position);
        let mut state = State::new(HashSeed(5, 6));
        for (_, record) in self.records().into_iter().take(decisions_of(position)) {
            state.evolve(&record);
        }
        state.time = position.effective_at;
        state
    }
}

fn decisions_of(position: &PartitionPosition) -> usize {
    usize::try_from(position.decisions).unwrap()
}

fn fingerprint(kind: &CommandKind<'_>) -> Fingerprint {
    let bytes = format!("{kind:?}");
    let (one, other) = (HashSeed(1, 1).hash(bytes.as_bytes()), HashSeed(2, 2).hash(bytes.as_bytes()));
    Fingerprint((u128::from(one) << 64 | u128::from(other)).to_le_bytes())
}

pub fn sections(state: &State) -> Vec<Vec<u8>> {
    state.freeze().sections().collect()
}

pub fn origin(partitions: u32) -> Origin {
    Origin { cluster_id: "c-1".to_owned(), topic: "firstcome".to_owned(), topic_id: "t-1".to_owned(), partitions }
}

/// Limits that suit a busy machine and a short test.
pub fn test_settings(url: &str) -> Settings {
    Settings { pool_size: 4, bulk_timeout: Duration::from_secs(120), ..Settings::new(url) }
}

/// The tables of a cluster of so many partitions.
pub async fn tables(url: &str, partitions: u32) -> Postgres {
    let postgres = Postgres::connect(test_settings(url)).await.unwrap();
    postgres.claim_origin(&origin(partitions)).await.unwrap();
    postgres
}

pub async fn begin(postgres: &Postgres) -> Projector {
    // The lock of a projector that was dropped is free as soon as the database has noticed.
    for _ in 0..100 {
        if let Some(projector) = Projector::try_begin(postgres).await.unwrap() {
            return projector;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("another projector is at work");
}

/// Every state as loaded must be the one of its partition at its position.
pub async fn check_loaded(postgres: &Postgres, partitions: &[Partition]) -> Vec<PartitionPosition> {
    let loaded = postgres.load(HashSeed(9, 9)).await.unwrap();
    assert_eq!(loaded.len(), partitions.len());
    for (loaded, partition) in loaded.iter().zip(partitions) {
        assert!(sections(&loaded.state) == sections(&partition.state_at(&loaded.position)), "{:?}", loaded.position);
    }
    loaded.into_iter().map(|loaded| loaded.position).collect()
}

/// A connection of one's own, for looking and for mischief.
pub async fn raw(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// All rows of all tables, as text.
pub async fn dump(db: &tokio_postgres::Client) -> Vec<String> {
    let mut rows = Vec::new();
    for table in ["positions", "campaigns", "claims", "requests"] {
        let sql = format!("SELECT all_of::text FROM firstcome.{table} AS all_of ORDER BY 1");
        rows.extend(db.query(&sql, &[]).await.unwrap().iter().map(|row| format!("{table} {}", row.get::<_, &str>(0))));
    }
    rows
}

pub fn number(id: u32) -> CampaignNumber {
    CampaignNumber(id)
}
