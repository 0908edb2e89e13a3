//! The only place where the load generator reads a clock.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock in UTC, whole seconds, as RFC 3339.
pub(crate) fn utc_text() -> String {
    let utc = OffsetDateTime::from(SystemTime::now());
    let Ok(text) = utc.truncate_to_second().format(&Rfc3339) else { panic!("{utc} is before the year 10000") };
    text
}

pub(crate) async fn sleep_until(instant: Instant) {
    tokio::time::sleep_until(instant.into()).await;
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Milliseconds since 1970, by the wall clock.
pub(crate) fn utc_millis() -> i64 {
    let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
    let Ok(millis) = i64::try_from(nanos / 1_000_000) else { panic!("every year that the clock knows fits 64 bits of milliseconds") };
    millis
}

/// The milliseconds of an RFC 3339 text; `None` if it is malformed.
pub(crate) fn millis_of(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}
