//! From the tables to the state that decides: how a node starts.

use domain::State;
use domain::claims::ClaimStatus;
use domain::coupon::CampaignNumber;
use domain::hash::HashSeed;
use domain::restore::{RestoreError, RestoredCampaign, Restorer};
use domain::wire::state::decode_remembered;
use tokio_postgres::Row;

use super::Postgres;
use super::error::LoadError;
use super::failure::Failure;
use super::origin::{POSITIONS, PartitionPosition, position_row, read_origin};
use super::reading::Reading;
use super::values::{
    SETTINGS, campaign_name, campaign_of_id, get, half, serial, settings, status, subject, time, unsigned, unsigned_small,
};

/// One partition, as the tables have it.
#[derive(Debug)]
pub struct Loaded {
    /// How far it is.
    pub position: PartitionPosition,
    /// What its first records led to.
    pub state: State,
}

impl Postgres {
    /// The state of every partition, in their order, all of one instant. A partition of which
    /// nothing was written yet starts at zero.
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
        let mut partitions = Partitions::new(origin.partitions, seed);
        for row in reading.all(POSITIONS, &[]).await? {
            partitions.position(position_row(&row)?)?;
        }
        let campaigns =
            format!("SELECT id, partition, name, version, code_key, created_at, {SETTINGS} FROM firstcome.campaigns ORDER BY id");
        let mut rows = reading.rows(&campaigns, &[]).await?;
        while let Some(row) = rows.next().await? {
            partitions.campaign(&row)?;
        }
        let claims = "SELECT campaign, serial, subject, claimed_at, status, changed_at FROM firstcome.claims ORDER BY campaign, serial";
        let mut rows = reading.rows(claims, &[]).await?;
        while let Some(row) = rows.next().await? {
            partitions.claim(&row)?;
        }
        let queue = "SELECT campaign, serial, subject, accepted_at FROM firstcome.queue ORDER BY campaign, serial";
        let mut rows = reading.rows(queue, &[]).await?;
        while let Some(row) = rows.next().await? {
            partitions.pending(&row)?;
        }
        let requests = "SELECT partition, recorded_at, body FROM firstcome.requests ORDER BY partition, ordinal";
        let mut rows = reading.rows(requests, &[]).await?;
        while let Some(row) = rows.next().await? {
            partitions.request(&row)?;
        }
        reading.end().await?;
        partitions.finish()
    }
}

/// The states while they are put together.
struct Partitions {
    count: u32,
    places: Vec<(PartitionPosition, Restorer)>,
}

impl Partitions {
    fn new(count: u32, seed: HashSeed) -> Self {
        let places = (0..count).map(|partition| (PartitionPosition::first(partition), Restorer::new(seed)));
        Self { count, places: places.collect() }
    }

    fn position(&mut self, position: PartitionPosition) -> Result<(), LoadError> {
        let (place, _) = self.at(position.partition)?;
        *place = position;
        Ok(())
    }

    fn campaign(&mut self, row: &Row) -> Result<(), LoadError> {
        let (partition, number) = self.campaign_of(half(row, 0)?)?;
        if unsigned_small(row, 1)? != partition {
            return Err(LoadError::Damaged(format!("campaign {} is not of the partition that it is said to be of", half(row, 0)?)));
        }
        let campaign = RestoredCampaign {
            number,
            name: campaign_name(row, 2)?,
            settings: settings(row, 6)?,
            version: unsigned(row, 3)?,
            code_key: half(row, 4)?,
            created_at: time(row, 5)?,
        };
        let (_, restorer) = self.at(partition)?;
        restorer.campaign(campaign).map_err(|source| LoadError::Impossible { partition, source })
    }

    fn claim(&mut self, row: &Row) -> Result<(), LoadError> {
        let (partition, number) = self.campaign_of(half(row, 0)?)?;
        let (serial, subject, claimed_at, status) = (serial(row, 1)?, subject(row, 2)?, time(row, 3)?, status(row, 4)?);
        let (_, restorer) = self.at(partition)?;
        restorer.claim(number, serial, subject, claimed_at, status).map_err(|source| LoadError::Impossible { partition, source })
    }

    fn pending(&mut self, row: &Row) -> Result<(), LoadError> {
        let (partition, number) = self.campaign_of(half(row, 0)?)?;
        let (serial, subject, accepted_at) = (serial(row, 1)?, subject(row, 2)?, time(row, 3)?);
        let (_, restorer) = self.at(partition)?;
        let restored = restorer.claim(number, serial, subject, accepted_at, ClaimStatus::Pending);
        restored.map_err(|source| LoadError::Impossible { partition, source })
    }

    fn request(&mut self, row: &Row) -> Result<(), LoadError> {
        let partition = unsigned_small(row, 0)?;
        let known = decode_remembered(get(row, 2)?).map_err(|error| LoadError::Damaged(format!("a remembered request: {error}")))?;
        if known.recorded_at != time(row, 1)? {
            return Err(LoadError::Damaged("a remembered request is not of the time that it is said to be of".to_owned()));
        }
        let (_, restorer) = self.at(partition)?;
        restorer.request(known).map_err(|source| LoadError::Impossible { partition, source })
    }

    fn finish(self) -> Result<Vec<Loaded>, LoadError> {
        let finish = |(position, restorer): (PartitionPosition, Restorer)| {
            let partition = position.partition;
            let impossible = |source: RestoreError| LoadError::Impossible { partition, source };
            Ok(Loaded { state: restorer.finish(position.effective_at).map_err(impossible)?, position })
        };
        self.places.into_iter().map(finish).collect()
    }

    fn campaign_of(&self, id: u32) -> Result<(u32, CampaignNumber), LoadError> {
        campaign_of_id(CampaignNumber(id), self.count).ok_or(LoadError::NoOrigin)
    }

    fn at(&mut self, partition: u32) -> Result<&mut (PartitionPosition, Restorer), Failure> {
        let count = self.count;
        let place = self.places.get_mut(partition as usize);
        place.ok_or_else(|| Failure::Row(format!("there is a row of partition {partition}, but only {count} partitions")))
    }
}
