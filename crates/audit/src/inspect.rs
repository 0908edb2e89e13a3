//! What a journal holds, told without judging it: a summary, and each record if asked for.
//!
//! As JSON, every line is one object; its `kind` says which: one `journal`, a `campaign` for each
//! campaign, a `snapshot` for each snapshot, and a `record` for each record that was asked for.

mod policies;
mod summary;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use domain::coupon::queue::QueueSettings;
use domain::coupon::{Event as CouponEvent, Settings};
use domain::state::{Event, Record};
use domain::types::Timestamp;
use domain::wire::decode_record;
use journal::Lsn;
use journal::format::RecordBytes;
use journal::reader::{ReadError, Reader};
use journal::storage::FileStorage;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::verify::{JOURNAL_FOLDER, VerifyError, open_folder};
use summary::Summary;

/// The folder of the snapshots in the data folder.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";

/// What is to be told, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Which records are told one by one; `None`: the summary only.
    pub records: Option<RecordRange>,
    /// In which form.
    pub form: Form,
}

/// Some records in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordRange {
    /// The first; 0 and 1 mean from the beginning.
    pub from: Lsn,
    /// At most this many; `None`: all.
    pub limit: Option<u64>,
}

/// The form of what is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Lines for people.
    #[default]
    Text,
    /// Lines of JSON.
    JsonLines,
}

/// Why nothing more is told.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The journal or its folder cannot be read.
    #[error(transparent)]
    Open(#[from] VerifyError),
    /// The journal cannot be read further.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// What was told cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Tells what is in the journal of a data folder, of a running server or a stopped one.
///
/// # Errors
/// [`InspectError`]; damage inside the journal is told, and is no error.
pub fn run(data: &Path, options: &Options, out: &mut dyn Write) -> Result<(), InspectError> {
    let storage = open_folder(&data.join(JOURNAL_FOLDER))?;
    let summary = Summary::read(&storage, &data.join(SNAPSHOTS_FOLDER))?;
    match options.form {
        Form::Text => summary.write_text(out)?,
        Form::JsonLines => summary.write_json(out)?,
    }
    if let Some(range) = options.records {
        write_records(&storage, &range, options.form, &summary, out)?;
    }
    Ok(())
}

fn write_records(
    storage: &Arc<FileStorage>,
    range: &RecordRange,
    form: Form,
    summary: &Summary,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    let after = Lsn(range.from.0.saturating_sub(1));
    let Some(mut reader) = Reader::open(Arc::clone(storage), after)? else { return Ok(()) };
    let mut left = range.limit.unwrap_or(u64::MAX);
    while 0 < left {
        let Some(batch) = reader.next_batch(None)? else { break };
        for (lsn, record) in batch.records().filter(|(lsn, _)| after < *lsn) {
            if left == 0 {
                break;
            }
            left -= 1;
            write_record(lsn, &record, form, summary, out)?;
        }
    }
    Ok(())
}

fn write_record(lsn: Lsn, bytes: &RecordBytes<'_>, form: Form, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    match (decode_record(bytes.body, bytes.private_bytes()), form) {
        (Ok(record), Form::Text) => writeln!(out, "{}", record_text(lsn, &record, summary)),
        (Ok(record), Form::JsonLines) => writeln!(out, "{}", record_json(lsn, &record, summary)),
        (Err(error), Form::Text) => writeln!(out, "{lsn} UNREADABLE {error}"),
        (Err(error), Form::JsonLines) => writeln!(out, "{}", json!({ "kind": "record", "lsn": lsn.0, "error": error.to_string() })),
    }
}

/// `12 2026-01-02T03:04:05.006Z local r-1 claimed spring serial=3 subject=ann key=k-1`
fn record_text(lsn: Lsn, record: &Record<'_>, summary: &Summary) -> String {
    let key = record.request.map(|request| format!(" key={}", request.key.as_str())).unwrap_or_default();
    let (at, event) = (rfc3339(record.at), event_text(&record.event, summary));
    format!("{lsn} {at} {} {} {event}{key}", record.actor, record.request_id)
}

fn event_text(event: &Event<'_>, summary: &Summary) -> String {
    let campaign = summary.name_of(event);
    match event {
        Event::RequestsForgotten { count } => format!("requests_forgotten count={count}"),
        Event::Policy(event) => policies::text(event),
        Event::Coupon(CouponEvent::CampaignCreated { settings, code_key, .. }) => {
            format!("campaign_created {campaign} {} code_key={code_key}", settings_text(settings))
        }
        Event::Coupon(CouponEvent::CampaignChanged { settings, .. }) => {
            format!("campaign_changed {campaign} {}", settings_text(settings))
        }
        Event::Coupon(CouponEvent::Accepted { serial, subject, .. }) => {
            format!("accepted {campaign} serial={} subject={subject}", serial.get())
        }
        Event::Coupon(CouponEvent::Claimed { serial, subject, .. }) => {
            format!("claimed {campaign} serial={} subject={subject}", serial.get())
        }
        Event::Coupon(CouponEvent::Redeemed { serial, .. }) => format!("redeemed {campaign} serial={}", serial.get()),
        Event::Coupon(CouponEvent::Cancelled { serial, .. }) => format!("cancelled {campaign} serial={}", serial.get()),
    }
}

fn settings_text(settings: &Settings) -> String {
    let mut text = format!("stock={} per_subject_max={}", settings.stock.get(), settings.per_subject_max);
    let times = [("opens_at", settings.opens_at), ("closes_at", settings.closes_at), ("redeem_until", settings.redeem_until)];
    for (name, time) in times {
        if let Some(time) = time {
            text += &format!(" {name}={}", rfc3339(time));
        }
    }
    if settings.queue != QueueSettings::DIRECT {
        let QueueSettings { mode, decisions_per_second_max, queue_max } = settings.queue;
        text += &format!(" mode={}", mode.word());
        if let Some(pace) = decisions_per_second_max {
            text += &format!(" decisions_per_second_max={pace}");
        }
        text += &format!(" queue_max={queue_max}");
    }
    text + if settings.paused { " paused" } else { "" }
}

/// Fields of every record: `kind`, `lsn`, `at`, `actor`, `request_id`, `request_key` (or null),
/// `event`; of a campaign's events `campaign`, of a policy's `policy`; and what the event adds.
fn record_json(lsn: Lsn, record: &Record<'_>, summary: &Summary) -> Value {
    let mut line = json!({
        "kind": "record",
        "lsn": lsn.0,
        "at": rfc3339(record.at),
        "actor": record.actor.as_str(),
        "request_id": record.request_id.as_str(),
        "request_key": record.request.map(|request| request.key.as_str()),
    });
    let added = event_json(&record.event, summary);
    if let (Some(line), Value::Object(added)) = (line.as_object_mut(), added) {
        line.extend(added);
    }
    line
}

fn event_json(event: &Event<'_>, summary: &Summary) -> Value {
    let campaign = summary.name_of(event);
    match event {
        Event::RequestsForgotten { count } => json!({ "event": "requests_forgotten", "count": count }),
        Event::Policy(event) => policies::json(event),
        Event::Coupon(CouponEvent::CampaignCreated { settings, code_key, .. }) => json!({
            "event": "campaign_created", "campaign": campaign, "settings": settings_json(settings), "code_key": code_key,
        }),
        Event::Coupon(CouponEvent::CampaignChanged { settings, .. }) => {
            json!({ "event": "campaign_changed", "campaign": campaign, "settings": settings_json(settings) })
        }
        Event::Coupon(CouponEvent::Accepted { serial, subject, .. }) => {
            json!({ "event": "accepted", "campaign": campaign, "serial": serial.get(), "subject": subject.as_str() })
        }
        Event::Coupon(CouponEvent::Claimed { serial, subject, .. }) => {
            json!({ "event": "claimed", "campaign": campaign, "serial": serial.get(), "subject": subject.as_str() })
        }
        Event::Coupon(CouponEvent::Redeemed { serial, .. }) => {
            json!({ "event": "redeemed", "campaign": campaign, "serial": serial.get() })
        }
        Event::Coupon(CouponEvent::Cancelled { serial, .. }) => {
            json!({ "event": "cancelled", "campaign": campaign, "serial": serial.get() })
        }
    }
}

fn settings_json(settings: &Settings) -> Value {
    json!({
        "stock": settings.stock.get(),
        "per_subject_max": settings.per_subject_max,
        "opens_at": settings.opens_at.map(rfc3339),
        "closes_at": settings.closes_at.map(rfc3339),
        "redeem_until": settings.redeem_until.map(rfc3339),
        "paused": settings.paused,
        "mode": settings.queue.mode.word(),
        "decisions_per_second_max": settings.queue.decisions_per_second_max,
        "queue_max": settings.queue.queue_max,
    })
}

/// Always in UTC, always with milliseconds.
fn rfc3339(time: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.millis()) * 1_000_000);
    time.ok().and_then(|time| time.format(&format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_with_milliseconds_in_utc() {
        assert_eq!(rfc3339(Timestamp::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp::from_millis(1_767_323_045_006).unwrap()), "2026-01-02T03:04:05.006Z");
        assert_eq!(rfc3339(Timestamp::MAX), "9999-12-31T23:59:59.999Z");
    }
}
