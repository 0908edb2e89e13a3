//! How numbers, times and settings stand in columns, and what is no such thing when it is read.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use domain::claims::ClaimStatus;
use domain::coupon::queue::{Mode, QueueSettings};
use domain::coupon::{CampaignNumber, Settings};
use domain::types::{CampaignName, Quantity, Serial, SubjectId, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::failure::Failure;

/// Where the database counts from: 2000-01-01, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;
const MICROS: i64 = 1_000;

/// A time as a `timestamptz`, exact to the millisecond over the whole range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // The last instant is the year 9999, of which the microseconds fit many times over.
        let millis = i64::try_from(self.0.millis())?;
        out.put_i64((millis - EPOCH_MS) * MICROS);
        Ok(IsNull::No)
    }

    fn accepts(sql: &Type) -> bool {
        *sql == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        let millis = micros.checked_div(MICROS).filter(|millis| millis * MICROS == micros).and_then(|millis| millis.checked_add(EPOCH_MS));
        let time = millis.and_then(|millis| u64::try_from(millis).ok()).and_then(Timestamp::from_millis);
        time.map(Self).ok_or_else(|| "a time that is out of range or not of whole milliseconds".into())
    }

    fn accepts(sql: &Type) -> bool {
        *sql == Type::TIMESTAMPTZ
    }
}

/// The number of a campaign over all partitions: unique in the cluster, and small enough for the
/// rows that one machine's history gives. `None` if it does not fit, after four billion campaigns.
#[must_use]
pub fn campaign_id(number: CampaignNumber, partition: u32, partitions: u32) -> Option<CampaignNumber> {
    if partitions <= partition {
        return None;
    }
    number.0.checked_mul(partitions)?.checked_add(partition).map(CampaignNumber)
}

/// A campaign's partition and its number there; the other way of [`campaign_id`]. `None` without
/// partitions.
#[must_use]
pub fn campaign_of_id(id: CampaignNumber, partitions: u32) -> Option<(u32, CampaignNumber)> {
    Some((id.0.checked_rem(partitions)?, CampaignNumber(id.0.checked_div(partitions)?)))
}

/// A count as the database has it: there is no unsigned type.
pub(super) fn signed(count: u64) -> Result<i64, Failure> {
    i64::try_from(count).map_err(|_| Failure::Row(format!("{count} is more than a column can hold")))
}

/// A small number, such as that of a partition, as the database has it.
pub(super) fn signed_small(number: u32) -> Result<i32, Failure> {
    i32::try_from(number).map_err(|_| Failure::Row(format!("{number} is more than a column can hold")))
}

/// A column's value; what it cannot be is a damage that names the column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Failure> {
    row.try_get(column).map_err(|error| {
        let name = row.columns().get(column).map_or("?", |column| column.name());
        let source = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Failure::Row(format!("column {name}: {source}"))
    })
}

pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, Failure> {
    let number: i64 = get(row, column)?;
    u64::try_from(number).map_err(|_| out_of_range(row, column, number))
}

pub(super) fn unsigned_small(row: &Row, column: usize) -> Result<u32, Failure> {
    let number: i32 = get(row, column)?;
    u32::try_from(number).map_err(|_| out_of_range(row, column, i64::from(number)))
}

/// A `bigint` whose values have 32 bits.
pub(super) fn half(row: &Row, column: usize) -> Result<u32, Failure> {
    let number: i64 = get(row, column)?;
    u32::try_from(number).map_err(|_| out_of_range(row, column, number))
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, Failure> {
    get::<Time>(row, column).map(|Time(time)| time)
}

pub(super) fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>, Failure> {
    Ok(get::<Option<Time>>(row, column)?.map(|Time(time)| time))
}

pub(super) fn serial(row: &Row, column: usize) -> Result<Serial, Failure> {
    Serial::new(half(row, column)?).ok_or_else(|| Failure::Row("a serial is 0".to_owned()))
}

pub(super) fn campaign_name(row: &Row, column: usize) -> Result<CampaignName<'_>, Failure> {
    CampaignName::new(get(row, column)?).map_err(|error| Failure::Row(format!("a campaign's name {error}")))
}

pub(super) fn subject(row: &Row, column: usize) -> Result<SubjectId<'_>, Failure> {
    SubjectId::new(get(row, column)?).map_err(|error| Failure::Row(format!("a subject's name {error}")))
}

/// Status and time of change, in two columns one after the other.
pub(super) fn status(row: &Row, column: usize) -> Result<ClaimStatus, Failure> {
    match (get(row, column)?, optional_time(row, column + 1)?) {
        ("live", None) => Ok(ClaimStatus::Live),
        ("redeemed", Some(redeemed_at)) => Ok(ClaimStatus::Redeemed { redeemed_at }),
        ("cancelled", Some(cancelled_at)) => Ok(ClaimStatus::Cancelled { cancelled_at }),
        (status, _) => Err(Failure::Row(format!("the status {status:?} does not go with the time of change"))),
    }
}

/// The columns of settings, in the order of [`settings`].
pub(super) const SETTINGS: &str =
    "stock, per_subject_max, opens_at, closes_at, redeem_until, paused, mode, decisions_per_second_max, queue_max";

/// Settings from nine columns in a row.
pub(super) fn settings(row: &Row, first: usize) -> Result<Settings, Failure> {
    let stock = Quantity::new(unsigned_small(row, first)?).ok_or_else(|| Failure::Row("a stock is out of range".to_owned()))?;
    Ok(Settings {
        stock,
        per_subject_max: unsigned_small(row, first + 1)?,
        opens_at: optional_time(row, first + 2)?,
        closes_at: optional_time(row, first + 3)?,
        redeem_until: optional_time(row, first + 4)?,
        paused: get(row, first + 5)?,
        queue: queue_settings(row, first + 6)?,
    })
}

fn queue_settings(row: &Row, first: usize) -> Result<QueueSettings, Failure> {
    let mode: &str = get(row, first)?;
    let pace: Option<i32> = get(row, first + 1)?;
    Ok(QueueSettings {
        mode: Mode::from_word(mode).ok_or_else(|| Failure::Row(format!("{mode:?} is no mode")))?,
        decisions_per_second_max: pace.map(|_| unsigned_small(row, first + 1)).transpose()?,
        queue_max: unsigned_small(row, first + 2)?,
    })
}

/// Settings as nine parameters.
pub(super) struct SettingsRow {
    stock: i32,
    per_subject_max: i32,
    opens_at: Option<Time>,
    closes_at: Option<Time>,
    redeem_until: Option<Time>,
    paused: bool,
    mode: &'static str,
    pace: Option<i32>,
    queue_max: i32,
}

impl SettingsRow {
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self {
            stock: signed_small(settings.stock.get())?,
            per_subject_max: signed_small(settings.per_subject_max)?,
            opens_at: settings.opens_at.map(Time),
            closes_at: settings.closes_at.map(Time),
            redeem_until: settings.redeem_until.map(Time),
            paused: settings.paused,
            mode: settings.queue.mode.word(),
            pace: settings.queue.decisions_per_second_max.map(signed_small).transpose()?,
            queue_max: signed_small(settings.queue.queue_max)?,
        })
    }

    /// In the order in which the statements number them.
    pub(super) fn columns(&self) -> [&(dyn ToSql + Sync); 9] {
        let Self { stock, per_subject_max, opens_at, closes_at, redeem_until, paused, mode, pace, queue_max } = self;
        [stock, per_subject_max, opens_at, closes_at, redeem_until, paused, mode, pace, queue_max]
    }
}

fn out_of_range(row: &Row, column: usize, number: i64) -> Failure {
    let name = row.columns().get(column).map_or("?", |column| column.name());
    Failure::Row(format!("column {name}: {number} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_from_the_first_to_the_last() {
        for millis in [0, 1, 946_684_799_999, 946_684_800_000, 1_760_000_000_123, Timestamp::MAX.millis()] {
            let time = Time(Timestamp::from_millis(millis).unwrap());
            let mut bytes = BytesMut::new();
            time.to_sql(&Type::TIMESTAMPTZ, &mut bytes).unwrap();
            assert_eq!(Time::from_sql(&Type::TIMESTAMPTZ, &bytes).unwrap(), time);
        }
    }

    #[test]
    fn a_time_between_two_milliseconds_or_out_of_range_is_none() {
        for micros in [1_i64, -946_684_800_000_001, i64::MAX, i64::MIN] {
            assert!(Time::from_sql(&Type::TIMESTAMPTZ, &micros.to_be_bytes()).is_err(), "{micros}");
        }
    }

    #[test]
    fn campaigns_of_all_partitions_have_ids_of_their_own() {
        let mut ids = Vec::new();
        for number in 0..5 {
            for partition in 0..3 {
                let id = campaign_id(CampaignNumber(number), partition, 3).unwrap();
                assert_eq!(campaign_of_id(id, 3), Some((partition, CampaignNumber(number))));
                ids.push(id.0);
            }
        }
        assert_eq!(ids, (0..15).collect::<Vec<u32>>());
        assert_eq!(campaign_id(CampaignNumber(0), 3, 3), None);
        assert_eq!(campaign_id(CampaignNumber(u32::MAX), 0, 2), None);
        assert_eq!(campaign_of_id(CampaignNumber(1), 0), None);
    }
}
