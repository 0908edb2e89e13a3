//! Partitions that decide by the rules themselves, and the tables to project them into.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::ops::Range;
use std::time::Duration;

use domain::coupon::{self, Coupon};
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed};
use domain::types::{ActorId, RequestId, RequestKey, SubjectId};
use domain::wire::{Position, decode_record, encode_record};
use domain::{Action, Command, Decision, Kind, Record, State};
use projection::postgres::{Decided, Loaded, Origin, PartitionPosition, Postgres, ProjectError, Projector, Settings, aggregate_id};
use projection::{EntryRow, OwnedCell};
use tokio_postgres::NoTls;

use crate::support::{ALL, at, name, rows_of};

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
}

impl Partition {
    pub fn new(partition: u32) -> Self {
        Self { state: State::new(SEED), records: Vec::new(), marks: vec![PartitionPosition::first(partition)] }
    }

    /// Asks; every question takes an offset and moves the time, whatever comes of it.
    pub fn ask(&mut self, action: Action<'_>, key: Option<&str>, now: u64) -> &mut Self {
        let actor = ActorId::new("shop").unwrap();
        let request = key.map(|key| Keyed { key: RequestKey::new(key).unwrap(), fingerprint: fingerprint(&action) });
        let command = Command { actor, request, action };
        let now = at(now).max(self.state.time);
        self.state.time = now;
        if let Ok(Decision::Change(change)) = domain::decide(&self.state, &command, now) {
            let request_id = format!("r-{}", self.marks.len());
            let request_id = RequestId::new(&request_id).unwrap();
            self.write(&Record { at: now, actor, request_id, request, change });
        }
        self.mark();
        self
    }

    /// Asks without a request key.
    pub fn plain(&mut self, action: Action<'_>, now: u64) -> &mut Self {
        self.ask(action, None, now)
    }

    /// Asks for the decision of the claim that has been pending longest, if there is one.
    pub fn decide_next(&mut self, campaign: &str, now: u64) -> &mut Self {
        let pending = self.state.get::<Coupon>(name(campaign)).and_then(coupon::Campaign::first_pending);
        let Some((serial, subject)) = pending.map(|claim| (claim.serial, claim.subject.as_str().to_owned())) else { return self };
        let subject = SubjectId::new(&subject).unwrap();
        self.plain(Action::of::<Coupon>(name(campaign), coupon::Command::DecideNext { serial, subject }), now)
    }

    /// A record that no decision led to.
    pub fn write(&mut self, record: &Record<'_>) {
        self.state.evolve(record);
        let (mut body, mut private) = (Vec::new(), Vec::new());
        encode_record(record, &mut body, &mut private);
        self.records.push(Written { body, private });
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
                let Written { body, private } = &self.records[place];
                let record = decode_record(body, Some(private)).unwrap();
                Decided { position: Position(place as u64 + 1), record }
            })
            .collect()
    }

    /// Projects from one mark to another.
    pub async fn project(&self, projector: &mut Projector, marks: Range<usize>) -> Result<(), ProjectError> {
        let decided = self.decided(marks.clone());
        projector.apply(&self.marks[marks.start], &self.marks[marks.end], &decided).await
    }

    pub async fn project_all(&self, projector: &mut Projector) {
        self.project(projector, 0..self.marks.len() - 1).await.unwrap();
    }

    /// Stores the copy of the state as it was at a mark.
    pub async fn store_copy(&self, projector: &mut Projector, mark: usize) -> Result<(), ProjectError> {
        let position = &self.marks[mark];
        projector.store_copy(position, sections(&self.state_at(position)).into_iter()).await
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

fn fingerprint(action: &Action<'_>) -> Fingerprint {
    let bytes = format!("{action:?}");
    let (one, other) = (HashSeed(1, 1).hash(bytes.as_bytes()), HashSeed(2, 2).hash(bytes.as_bytes()));
    Fingerprint((u128::from(one) << 64 | u128::from(other)).to_le_bytes())
}

pub fn sections(state: &State) -> Vec<Vec<u8>> {
    state.freeze().sections().collect()
}

pub fn origin(partitions: u32) -> Origin {
    Origin {
        cluster_id: "c-1".to_owned(),
        topic: "firstcome".to_owned(),
        topic_id: "t-1".to_owned(),
        partitions,
        code_secret: "5ec7e7".to_owned(),
    }
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
pub async fn check_loaded(postgres: &Postgres, partitions: &[Partition]) -> Vec<Loaded> {
    let loaded = postgres.load(HashSeed(9, 9)).await.unwrap();
    assert_eq!(loaded.len(), partitions.len());
    for (loaded, partition) in loaded.iter().zip(partitions) {
        assert!(sections(&loaded.state) == sections(&partition.state_at(&loaded.position)), "{:?}", loaded.position);
    }
    loaded
}

/// Every row must be what the states of the partitions at the tables' positions say, all of one
/// instant.
pub async fn check_rows(postgres: &Postgres, partitions: &[Partition]) -> Vec<PartitionPosition> {
    let scan = postgres.scan().await.unwrap().unwrap();
    let positions = scan.positions().to_vec();
    assert_eq!(positions.len(), partitions.len());
    let count = u32::try_from(partitions.len()).unwrap();
    for kind in Kind::ALL {
        let aggregates = scan.aggregates(*kind).await.unwrap();
        let mut expected_count = 0;
        for (partition, position) in partitions.iter().zip(&positions) {
            let state = partition.state_at(position);
            let id = |number| aggregate_id(number, position.partition, count).unwrap();
            let mut entries = Vec::new();
            let of_kind = state.aggregates().filter(|aggregate| aggregate.kind() == *kind);
            for (aggregate, (of, rows)) in of_kind.zip(rows_of(&state, *kind)) {
                let head = aggregate.head();
                assert_eq!(*head.name, *of);
                let row = aggregates.iter().find(|row| row.number == id(head.number)).unwrap();
                let of_row = (&row.name, row.settings, row.version, row.created_at);
                assert_eq!(of_row, (&head.name, aggregate.settings(), head.version, head.created_at));
                entries.extend(rows.into_iter().map(|cells| (row.number.0, cells)));
                expected_count += 1;
            }
            let mut found = Vec::<(u32, Vec<OwnedCell>)>::new();
            let Some(table) = kind.tables().first().copied() else { continue };
            let mut rows = scan.entries(table, position.partition).await.unwrap();
            while let Some(row) = rows.next().await.unwrap() {
                found.push((row.number.0, row.cells));
            }
            assert_eq!(found, entries);
        }
        assert_eq!(aggregates.len(), expected_count);
    }
    scan.end().await.unwrap();
    positions
}

/// All claims of a campaign.
pub async fn claims(postgres: &Postgres, campaign: &str) -> Vec<EntryRow> {
    postgres.entries(&coupon::CLAIMS, name(campaign), ALL, 10_000).await.unwrap().rows
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
    for table in ["positions", "campaigns", "claims", "policies", "overrides", "state_copies", "state_sections"] {
        let sql = format!("SELECT all_of::text FROM firstcome.{table} AS all_of ORDER BY 1");
        rows.extend(db.query(&sql, &[]).await.unwrap().iter().map(|row| format!("{table} {}", row.get::<_, &str>(0))));
    }
    rows
}
