//! Copies of the state, from which a node without a data folder starts. The projector stores one for each
//! partition from time to time; the node loads it and follows the log from its offset.

use domain::State;
use domain::hash::HashSeed;
use domain::wire::Position;
use domain::wire::state::StateBuilder;
use tokio_postgres::Row;

use super::Postgres;
use super::connection::within;
use super::error::{LoadError, ProjectError};
use super::failure::Failure;
use super::origin::{POSITIONS, PartitionPosition, position_row, read_origin};
use super::projector::Projector;
use super::reading::{Parameters, Reading};
use super::values::{Time, get, signed, signed_small, unsigned_small};

/// Approximate size of the sections sent to the database in one statement.
const CHUNK_BYTES: usize = 4 << 20;

/// A copy is never ahead of the rows, and never older than the one that it replaces.
const STORE: &str = "INSERT INTO firstcome.state_copies
        (partition, offset_next, decisions, effective_at, rules_version, digest, sections_count, stored_at)
    SELECT partition, $2::bigint, $3::bigint, $4::timestamptz, $5::integer, $6::bytea, $7::integer, now() FROM firstcome.positions
    WHERE partition = $1 AND $2 <= offset_next AND $3 <= decisions AND (offset_next <> $2 OR digest = $6)
    ON CONFLICT (partition) DO UPDATE SET offset_next = excluded.offset_next, decisions = excluded.decisions,
        effective_at = excluded.effective_at, rules_version = excluded.rules_version, digest = excluded.digest,
        sections_count = excluded.sections_count, stored_at = excluded.stored_at
    WHERE state_copies.offset_next <= excluded.offset_next";
const CLEAR: &str = "DELETE FROM firstcome.state_sections WHERE partition = $1";
const ADD: &str = "INSERT INTO firstcome.state_sections (partition, place, bytes)
    SELECT $1::integer, $2::integer + new.place - 1, new.bytes FROM unnest($3::bytea[]) WITH ORDINALITY AS new (bytes, place)";
const COUNT: &str = "UPDATE firstcome.state_copies SET sections_count = $2 WHERE partition = $1";
const COPIES: &str = "SELECT partition, offset_next, decisions, effective_at, rules_version, digest, sections_count
    FROM firstcome.state_copies ORDER BY partition";
const SECTIONS: &str = "SELECT partition, place, bytes FROM firstcome.state_sections ORDER BY partition, place";

/// One partition as loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The copy's position; the log is followed from here.
    pub position: PartitionPosition,
    /// The state at that position.
    pub state: State,
    /// The position of the tables, at the copy's or after it. See [`super::not_yet_in`].
    pub tables: PartitionPosition,
}

impl Projector {
    /// Replaces the copy of a partition's state, in one transaction. `sections` are those of `State::freeze`,
    /// taken at `position`, which the tables must have reached. The caller chooses how often: storing delays
    /// the rows, and a node that starts from an old copy has more of the log to follow.
    ///
    /// # Errors
    /// [`ProjectError`]; the copy is then unchanged.
    pub async fn store_copy(&mut self, position: &PartitionPosition, sections: impl Iterator<Item = Vec<u8>>) -> Result<(), ProjectError> {
        self.begin().await?;
        if let Err(error) = self.write_copy(position, sections).await {
            self.roll_back().await;
            return Err(error);
        }
        self.commit(position.partition).await
    }

    async fn write_copy(&self, position: &PartitionPosition, sections: impl Iterator<Item = Vec<u8>>) -> Result<(), ProjectError> {
        let PartitionPosition { partition, offset_next, decisions, .. } = *position;
        let (id, offset, count) = (signed_small(partition)?, signed(offset_next)?, signed(decisions)?);
        let (time, rules_version) = (Time(position.effective_at), signed_small(position.rules_version)?);
        let parameters: Parameters<'_> = &[&id, &offset, &count, &time, &rules_version, &position.digest, &1_i32];
        if self.execute(STORE, parameters).await? != 1 {
            return Err(ProjectError::Moved { partition, offset_next, decisions });
        }
        self.execute(CLEAR, &[&id]).await?;
        let (mut place, mut chunk, mut bytes_count) = (0_i32, Vec::<Vec<u8>>::new(), 0);
        for section in sections {
            bytes_count += section.len();
            chunk.push(section);
            if CHUNK_BYTES <= bytes_count {
                place += self.add_sections(id, place, &chunk).await?;
                chunk.clear();
                bytes_count = 0;
            }
        }
        place += self.add_sections(id, place, &chunk).await?;
        if self.execute(COUNT, &[&id, &place]).await? != 1 {
            return Err(ProjectError::Conflict {
                partition,
                position: Position(decisions),
                what: "a copy that was just stored is gone".to_owned(),
            });
        }
        Ok(())
    }

    async fn add_sections(&self, partition: i32, place: i32, chunk: &[Vec<u8>]) -> Result<i32, Failure> {
        let added = self.execute(ADD, &[&partition, &place, &chunk]).await?;
        i32::try_from(added).map_err(|_| Failure::Row(format!("{added} sections are more than a copy can have")))
    }

    async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Failure> {
        let statement = within(self.answer_max, self.db.prepare_cached(sql)).await?;
        within(self.answer_max, self.db.execute(&statement, parameters)).await
    }
}

impl Postgres {
    /// The copies of the state of all partitions, in order and of one instant. A partition without a stored
    /// copy starts from the beginning.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, seed: HashSeed) -> Result<Vec<Loaded>, LoadError> {
        let reading = Reading::begin(self, self.inner.settings.bulk_timeout).await?;
        let row = reading.first("SELECT pg_is_in_recovery()", &[]).await?;
        if row.map_or(Ok(true), |row| get(&row, 0))? {
            return Err(LoadError::Standby { host: self.host().to_owned() });
        }
        let origin = read_origin(&reading).await?.ok_or(LoadError::NoOrigin)?;
        let mut copies: Vec<Copy> = (0..origin.partitions).map(|partition| Copy::none(partition, seed)).collect();
        for row in reading.all(POSITIONS, &[]).await? {
            let tables = position_row(&row)?;
            let copy = at(&mut copies, tables.partition)?;
            copy.tables = tables;
        }
        for row in reading.all(COPIES, &[]).await? {
            let position = position_row(&row)?;
            let copy = at(&mut copies, position.partition)?;
            (copy.position, copy.sections_count) = (position, unsigned_small(&row, 6)?);
        }
        let mut rows = reading.rows(SECTIONS, &[]).await?;
        while let Some(row) = rows.next().await? {
            at(&mut copies, unsigned_small(&row, 0)?)?.section(&row)?;
        }
        reading.end().await?;
        copies.into_iter().map(Copy::finish).collect()
    }
}

/// A copy while it is read.
struct Copy {
    tables: PartitionPosition,
    position: PartitionPosition,
    sections_count: u32,
    read_count: u32,
    builder: StateBuilder,
    seed: HashSeed,
}

impl Copy {
    fn none(partition: u32, seed: HashSeed) -> Self {
        let first = PartitionPosition::first(partition);
        Self { tables: first.clone(), position: first, sections_count: 0, read_count: 0, builder: StateBuilder::new(seed), seed }
    }

    fn section(&mut self, row: &Row) -> Result<(), LoadError> {
        let (partition, place) = (self.position.partition, unsigned_small(row, 1)?);
        if place != self.read_count {
            return Err(LoadError::Damaged(format!("section {} of the copy of partition {partition} is not there", self.read_count)));
        }
        self.read_count += 1;
        self.builder.section(get(row, 2)?).map_err(|source| LoadError::Copy { partition, source })
    }

    fn finish(self) -> Result<Loaded, LoadError> {
        let Self { tables, position, sections_count, read_count, builder, seed } = self;
        let partition = position.partition;
        if read_count != sections_count {
            return Err(LoadError::Damaged(format!(
                "the copy of partition {partition} has {read_count} sections instead of {sections_count}"
            )));
        }
        if (tables.offset_next, tables.decisions) < (position.offset_next, position.decisions) {
            return Err(LoadError::Damaged(format!("the copy of partition {partition} is ahead of the tables")));
        }
        if sections_count == 0 {
            return Ok(Loaded { position, state: State::new(seed), tables });
        }
        let state = builder.finish().map_err(|source| LoadError::Copy { partition, source })?;
        if state.time != position.effective_at {
            return Err(LoadError::Damaged(format!("the copy of partition {partition} has another time than its position")));
        }
        Ok(Loaded { position, state, tables })
    }
}

fn at(copies: &mut [Copy], partition: u32) -> Result<&mut Copy, Failure> {
    let count = copies.len();
    let copy = copies.get_mut(partition as usize);
    copy.ok_or_else(|| Failure::Row(format!("there is a row of partition {partition}, but only {count} partitions")))
}
