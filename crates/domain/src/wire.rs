//! Records, commands and state as bytes and back. Every format has a number; a number, once given, is
//! read for ever (J2). Integers are little-endian; a text is its length in one byte and its bytes.
//!
//! A record has two parts: its *body*, and a *private* part that names a person (subject, a rate
//! limit's key, request key). The journal's chain covers the private part by a salted digest only,
//! so that it can be erased later.

pub(crate) mod bytes;
pub mod command;
mod messages;
pub mod state;

use std::fmt;

use crate::request::{Fingerprint, Keyed};
use crate::state::{Change, Done, Record};
use crate::types::{ActorId, RequestId, RequestKey, Timestamp};
use crate::workload::{AnyEvent, AnySettings, Kind, Number};
pub use bytes::{In, Out, Part};
use bytes::{Reader, put_text, put_time, put_u32};

/// The number of the record format that is written.
pub const RECORD_FORMAT: u8 = 2;

const CREATED: u8 = 1;
const CHANGED: u8 = 2;
const REMOVED: u8 = 3;
const DID: u8 = 4;
const DID_BOTH: u8 = 5;
const REQUESTS_FORGOTTEN: u8 = 100;
const TIME_SET: u8 = 101;

/// A place in the record of decisions: how many records there are up to and with this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position(pub u64);

/// Bytes that are no record or state of a known format; the text says what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DecodeError {}

/// Appends a record's body and private part to the two buffers.
pub fn encode_record(record: &Record<'_>, body: &mut Vec<u8>, private: &mut Vec<u8>) {
    let mut out = Out { body, private: Some(private) };
    RECORD_FORMAT.put(&mut out);
    put_time(out.body, record.at);
    put_text(out.body, record.actor.as_str());
    put_text(out.body, record.request_id.as_str());
    record.request.is_some().put(&mut out);
    if let Some(keyed) = &record.request {
        out.body.extend_from_slice(&keyed.fingerprint.0);
        out.put_private(keyed.key.as_str());
    }
    encode_change(&record.change, &mut out);
}

fn encode_change(change: &Change<'_>, out: &mut Out<'_>) {
    match change {
        Change::Created { number, name, settings } => {
            CREATED.put(out);
            number.put(out);
            settings.kind().put(out);
            name.put(out);
            settings.put(out.body);
        }
        Change::Changed { number, settings } => {
            CHANGED.put(out);
            number.put(out);
            settings.kind().put(out);
            settings.put(out.body);
        }
        Change::Removed { number } => {
            REMOVED.put(out);
            number.put(out);
        }
        Change::Did(done) => {
            DID.put(out);
            encode_done(done, out);
        }
        Change::DidBoth(first, second) => {
            DID_BOTH.put(out);
            encode_done(first, out);
            encode_done(second, out);
        }
        Change::RequestsForgotten { count } => {
            REQUESTS_FORGOTTEN.put(out);
            count.put(out);
        }
        Change::TimeSet { from, to } => {
            TIME_SET.put(out);
            from.put(out);
            to.put(out);
        }
    }
}

fn encode_done(done: &Done<'_>, out: &mut Out<'_>) {
    done.number.put(out);
    done.event.kind().put(out);
    done.event.put(out);
}

/// Reads a record from its two parts; `private` is `None` where it has been erased.
///
/// # Errors
/// [`DecodeError`] if the bytes are no record of a format that this version knows.
pub fn decode_record<'a>(body: &'a [u8], private: Option<&'a [u8]>) -> Result<Record<'a>, DecodeError> {
    let private = private.ok_or(DecodeError("the record's private part has been erased"))?;
    let mut from = In { body: Reader::new(body), private: Some(Reader::new(private)) };
    if from.body.u8()? != RECORD_FORMAT {
        return Err(DecodeError("the record has a format that this version does not know"));
    }
    let at = from.body.time()?;
    let actor = ActorId::new(from.body.text()?).map_err(|_| DecodeError("the record's actor is no name"))?;
    let request_id = RequestId::new(from.body.text()?).map_err(|_| DecodeError("the record's request id is no name"))?;
    let request = bool::take(&mut from)?.then(|| decode_keyed(&mut from)).transpose()?;
    let change = decode_change(&mut from)?;
    from.end()?;
    Ok(Record { at, actor, request_id, request, change })
}

pub(crate) fn decode_keyed<'a>(from: &mut In<'a>) -> Result<Keyed<'a>, DecodeError> {
    let fingerprint = Fingerprint(from.body.array()?);
    let key = RequestKey::new(from.private_text()?).map_err(|_| DecodeError("a request key is malformed"))?;
    Ok(Keyed { key, fingerprint })
}

fn decode_change<'a>(from: &mut In<'a>) -> Result<Change<'a>, DecodeError> {
    Ok(match u8::take(from)? {
        CREATED => {
            let (number, kind, name) = (Number::take(from)?, Kind::take(from)?, from.body.name()?);
            Change::Created { number, name, settings: AnySettings::take(kind, &mut from.body)? }
        }
        CHANGED => {
            let (number, kind) = (Number::take(from)?, Kind::take(from)?);
            Change::Changed { number, settings: AnySettings::take(kind, &mut from.body)? }
        }
        REMOVED => Change::Removed { number: Number::take(from)? },
        DID => Change::Did(decode_done(from)?),
        DID_BOTH => Change::DidBoth(decode_done(from)?, decode_done(from)?),
        REQUESTS_FORGOTTEN => Change::RequestsForgotten { count: u32::take(from)? },
        TIME_SET => Change::TimeSet { from: Timestamp::take(from)?, to: Timestamp::take(from)? },
        _ => return Err(DecodeError("the record is of a kind that this version does not know")),
    })
}

fn decode_done<'a>(from: &mut In<'a>) -> Result<Done<'a>, DecodeError> {
    let (number, kind) = (Number::take(from)?, Kind::take(from)?);
    Ok(Done { number, event: AnyEvent::take(kind, from)? })
}

impl Part<'_> for Number {
    fn put(&self, out: &mut Out<'_>) {
        put_u32(out.body, self.0);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.u32().map(Self)
    }
}
