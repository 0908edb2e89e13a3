//! Times in the API: RFC 3339, read with any offset, written in UTC with milliseconds.

use domain::types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a time, rounded down to a millisecond.
///
/// # Errors
/// A message for people.
pub fn parse(text: &str) -> Result<Timestamp, &'static str> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be a time as in RFC 3339, with an offset, for example 2027-01-31T10:00:00Z")?;
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).ok().and_then(Timestamp::from_millis).ok_or("must be a time from the years 1970 to 9999")
}

/// Writes a time in UTC, always with three digits of a fraction.
#[must_use]
pub fn format(time: Timestamp) -> String {
    let seconds = i64::try_from(time.millis() / 1_000).unwrap_or(0);
    let Ok(utc) = OffsetDateTime::from_unix_timestamp(seconds) else { return String::new() };
    let (date, clock) = (utc.date(), utc.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        time.millis() % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        for (text, utc) in [
            ("2027-01-31T10:00:00Z", "2027-01-31T10:00:00.000Z"),
            ("2027-01-31T19:00:00.1239+09:00", "2027-01-31T10:00:00.123Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Ok(utc));
        }
        for text in ["2027-01-31T10:00:00", "2027-01-31", "soon", "", "1969-12-31T23:59:59Z", "2027-02-30T10:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
