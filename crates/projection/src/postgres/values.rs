//! Conversion of numbers, times and settings to and from columns, with an error for impossible values.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use domain::fields::{Field, FieldKind, Value};
use domain::rows::{Cell, Column, ColumnKind, Table};
use domain::types::Timestamp;
use domain::{Kind, Number};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::failure::Failure;
use crate::declared::{quoted, signed as declared_signed};
use crate::rows::{AggregateRow, OwnedCell};

/// PostgreSQL's epoch, 2000-01-01, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;
const MICROS: i64 = 1_000;

/// A time as a `timestamptz`, exact to the millisecond over the whole range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // The last timestamp is in the year 9999; its microseconds fit easily.
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

/// The id of an aggregate over all partitions: unique in the cluster, and small enough for [`Number`]. `None`
/// if it does not fit, after four billion aggregates.
#[must_use]
pub fn aggregate_id(number: Number, partition: u32, partitions: u32) -> Option<Number> {
    if partitions <= partition {
        return None;
    }
    number.0.checked_mul(partitions)?.checked_add(partition).map(Number)
}

/// An aggregate's partition and its number there, the inverse of [`aggregate_id`]. `None` if `partitions` is 0.
#[must_use]
pub fn aggregate_of_id(id: Number, partitions: u32) -> Option<(u32, Number)> {
    Some((id.0.checked_rem(partitions)?, Number(id.0.checked_div(partitions)?)))
}

/// A count as PostgreSQL stores it: there is no unsigned type.
pub(super) fn signed(count: u64) -> Result<i64, Failure> {
    i64::try_from(count).map_err(|_| Failure::Row(format!("{count} is more than a column can hold")))
}

/// A small number, such as a partition's, as PostgreSQL stores it.
pub(super) fn signed_small(number: u32) -> Result<i32, Failure> {
    i32::try_from(number).map_err(|_| Failure::Row(format!("{number} is more than a column can hold")))
}

/// A column's value; an impossible value is an error that names the column.
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

/// A `bigint` column whose values fit 32 bits.
pub(super) fn half(row: &Row, column: usize) -> Result<u32, Failure> {
    let number: i64 = get(row, column)?;
    u32::try_from(number).map_err(|_| out_of_range(row, column, number))
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, Failure> {
    get::<Time>(row, column).map(|Time(time)| time)
}

/// A cell of a declared column.
pub(super) fn cell(row: &Row, place: usize, column: &Column) -> Result<OwnedCell, Failure> {
    Ok(match column.kind {
        ColumnKind::Number => optional(row, place, column.is_nullable, unsigned)?.map_or(OwnedCell::Null, OwnedCell::Number),
        ColumnKind::Text => optional(row, place, column.is_nullable, get)?.map_or(OwnedCell::Null, OwnedCell::Text),
        ColumnKind::Time => optional(row, place, column.is_nullable, time)?.map_or(OwnedCell::Null, OwnedCell::Time),
        ColumnKind::Bool => optional(row, place, column.is_nullable, get)?.map_or(OwnedCell::Null, OwnedCell::Bool),
    })
}

/// The cells of a row's declared columns, starting at column `first`.
pub(super) fn cells(row: &Row, first: usize, table: &Table) -> Result<Vec<OwnedCell>, Failure> {
    (first..).zip(table.columns).map(|(place, column)| cell(row, place, column)).collect()
}

/// The columns of an aggregate's table: id, name, version and times, then the settings in the
/// order of their declaration.
pub(super) fn aggregate_columns(kind: Kind) -> String {
    let head = ["id", "name", "version", "created_at", "changed_at"];
    let columns = head.into_iter().chain(kind.settings().iter().map(|field| field.name));
    let columns: Vec<String> = columns.map(|column| format!("{}.{}", quoted(kind.path()), quoted(column))).collect();
    columns.join(", ")
}

/// An aggregate from the columns of [`aggregate_columns`], starting at column `first`.
pub(super) fn aggregate_row(row: &Row, kind: Kind, first: usize) -> Result<AggregateRow, Failure> {
    let mut settings = kind.least();
    for (place, field) in (first + 5..).zip(kind.settings()) {
        let value = setting(row, place, field)?;
        let set = settings.set(field.name, value);
        set.map_err(|error| Failure::Row(format!("column {}: {value:?} {error}", field.name)))?;
    }
    Ok(AggregateRow {
        number: Number(half(row, first)?),
        name: get::<&str>(row, first + 1)?.into(),
        settings,
        version: unsigned(row, first + 2)?,
        created_at: time(row, first + 3)?,
        changed_at: time(row, first + 4)?,
    })
}

fn setting(row: &Row, place: usize, field: &Field) -> Result<Value, Failure> {
    Ok(match field.kind {
        FieldKind::Bool => optional(row, place, true, get)?.map_or(Value::Null, Value::Bool),
        FieldKind::Number(..) => optional(row, place, true, unsigned)?.map_or(Value::Null, Value::Number),
        FieldKind::Time => optional(row, place, true, time)?.map_or(Value::Null, Value::Time),
        FieldKind::Word(_) => {
            let Some(text) = optional(row, place, true, get::<String>)? else { return Ok(Value::Null) };
            let word = field.word(&text).ok_or_else(|| Failure::Row(format!("column {}: {text:?} {}", field.name, field.kind)))?;
            Value::Word(word)
        }
    })
}

/// A value that may be NULL if the declaration allows it.
fn optional<'r, T>(
    row: &'r Row,
    place: usize,
    is_nullable: bool,
    read: impl FnOnce(&'r Row, usize) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if is_nullable && is_null(row, place)? { Ok(None) } else { read(row, place).map(Some) }
}

fn is_null(row: &Row, place: usize) -> Result<bool, Failure> {
    Ok(get::<Option<Any>>(row, place)?.is_none())
}

/// A value of any type, which is not decoded.
struct Any;

impl<'a> FromSql<'a> for Any {
    fn from_sql(_: &Type, _: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A setting's value as a parameter.
#[derive(Debug)]
pub(super) enum Parameter {
    Null,
    Number(i64),
    Text(String),
    Time(Time),
    Bool(bool),
}

impl Parameter {
    pub(super) fn of_cell(cell: Cell<'_>) -> Result<Self, String> {
        Ok(match cell {
            Cell::Null => Self::Null,
            Cell::Bool(value) => Self::Bool(value),
            Cell::Number(number) => Self::Number(declared_signed(number)?),
            Cell::Time(time) => Self::Time(Time(time)),
            Cell::Text(text) => Self::Text(text.to_owned()),
        })
    }
}

impl ToSql for Parameter {
    fn to_sql(&self, sql: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) => number.to_sql_checked(sql, out),
            Self::Text(text) => text.to_sql_checked(sql, out),
            Self::Time(time) => time.to_sql_checked(sql, out),
            Self::Bool(value) => value.to_sql_checked(sql, out),
        }
    }

    /// The type is checked when the value is written.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
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
    fn aggregates_of_all_partitions_have_ids_of_their_own() {
        let mut ids = Vec::new();
        for number in 0..5 {
            for partition in 0..3 {
                let id = aggregate_id(Number(number), partition, 3).unwrap();
                assert_eq!(aggregate_of_id(id, 3), Some((partition, Number(number))));
                ids.push(id.0);
            }
        }
        assert_eq!(ids, (0..15).collect::<Vec<u32>>());
        assert_eq!(aggregate_id(Number(0), 3, 3), None);
        assert_eq!(aggregate_id(Number(u32::MAX), 0, 2), None);
        assert_eq!(aggregate_of_id(Number(1), 0), None);
    }
}
