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
    let seconds = utc.replace_nanosecond(0).unwrap_or(utc);
    seconds.format(&Rfc3339).unwrap_or_default()
}

pub(crate) async fn sleep_until(instant: Instant) {
    tokio::time::sleep_until(instant.into()).await;
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
