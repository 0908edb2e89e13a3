//! Records and state as bytes and back. Every format has a number; a number, once given, is read
//! for ever (J2). Integers are little-endian; a `text` is its length in one byte and its bytes.
//!
//! A record has two parts: its *body*, and a *private* part that names a person (subject and
//! request key). The journal's chain covers the private part by a salted digest only, so that it
//! can be erased later.

mod bytes;
pub mod command;
mod policy;
pub mod state;

use std::fmt;

use crate::coupon::{self, CampaignNumber, Settings};
use crate::rate_limit::policies;
use crate::request::{Fingerprint, Keyed};
use crate::state::{Event, Record};
use crate::types::{ActorId, CampaignName, RequestId, RequestKey, Serial, SubjectId};
use bytes::{Reader, put_settings, put_text, put_time, put_u32};
use policy::{put_numbers, put_rule};

/// The number of the record format that is written.
pub const RECORD_FORMAT: u8 = 1;

const CAMPAIGN_CREATED: u8 = 1;
const CAMPAIGN_CHANGED: u8 = 2;
const CLAIMED: u8 = 3;
const REDEEMED: u8 = 4;
const CANCELLED: u8 = 5;
const ACCEPTED: u8 = 6;
const POLICY_WRITTEN: u8 = 20;
const POLICY_REMOVED: u8 = 21;
const OVERRIDE_WRITTEN: u8 = 22;
const OVERRIDE_REMOVED: u8 = 23;
const REQUESTS_FORGOTTEN: u8 = 100;

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
    body.extend_from_slice(&[RECORD_FORMAT, kind_of(&record.event)]);
    put_time(body, record.at);
    put_text(body, record.actor.as_str());
    put_text(body, record.request_id.as_str());
    body.push(u8::from(record.request.is_some()));
    if let Some(keyed) = &record.request {
        body.extend_from_slice(&keyed.fingerprint.0);
    }
    encode_event(&record.event, body, private);
    if let Some(keyed) = &record.request {
        put_text(private, keyed.key.as_str());
    }
}

fn kind_of(event: &Event<'_>) -> u8 {
    match event {
        Event::Coupon(coupon::Event::CampaignCreated { .. }) => CAMPAIGN_CREATED,
        Event::Coupon(coupon::Event::CampaignChanged { .. }) => CAMPAIGN_CHANGED,
        Event::Coupon(coupon::Event::Claimed { .. }) => CLAIMED,
        Event::Coupon(coupon::Event::Redeemed { .. }) => REDEEMED,
        Event::Coupon(coupon::Event::Cancelled { .. }) => CANCELLED,
        Event::Coupon(coupon::Event::Accepted { .. }) => ACCEPTED,
        Event::Policy(policies::Event::PolicyWritten { .. }) => POLICY_WRITTEN,
        Event::Policy(policies::Event::PolicyRemoved { .. }) => POLICY_REMOVED,
        Event::Policy(policies::Event::OverrideWritten { .. }) => OVERRIDE_WRITTEN,
        Event::Policy(policies::Event::OverrideRemoved { .. }) => OVERRIDE_REMOVED,
        Event::RequestsForgotten { .. } => REQUESTS_FORGOTTEN,
    }
}

fn encode_event(event: &Event<'_>, body: &mut Vec<u8>, private: &mut Vec<u8>) {
    match event {
        Event::Coupon(event) => {
            put_u32(body, event.campaign().0);
            encode_coupon(event, body, private);
        }
        Event::Policy(event) => encode_policy(event, body, private),
        Event::RequestsForgotten { count } => put_u32(body, *count),
    }
}

/// A key may be a person's address: it is private.
fn encode_policy(event: &policies::Event<'_>, body: &mut Vec<u8>, private: &mut Vec<u8>) {
    put_text(body, event.policy().as_str());
    match event {
        policies::Event::PolicyWritten { rule, .. } => put_rule(body, rule),
        policies::Event::PolicyRemoved { .. } => {}
        policies::Event::OverrideWritten { key, numbers, .. } => {
            put_numbers(body, numbers);
            put_text(private, key.as_str());
        }
        policies::Event::OverrideRemoved { key, .. } => put_text(private, key.as_str()),
    }
}

fn encode_coupon(event: &coupon::Event<'_>, body: &mut Vec<u8>, private: &mut Vec<u8>) {
    match event {
        coupon::Event::CampaignCreated { name, settings, code_key, .. } => {
            put_text(body, name.as_str());
            put_settings(body, settings);
            put_u32(body, *code_key);
        }
        coupon::Event::CampaignChanged { settings, .. } => put_settings(body, settings),
        coupon::Event::Accepted { serial, subject, .. } | coupon::Event::Claimed { serial, subject, .. } => {
            put_u32(body, serial.get());
            put_text(private, subject.as_str());
        }
        coupon::Event::Redeemed { serial, .. } | coupon::Event::Cancelled { serial, .. } => put_u32(body, serial.get()),
    }
}

/// Reads a record from its two parts; `private` is `None` where it has been erased.
///
/// # Errors
/// [`DecodeError`] if the bytes are no record of a format that this version knows.
pub fn decode_record<'a>(body: &'a [u8], private: Option<&'a [u8]>) -> Result<Record<'a>, DecodeError> {
    let mut body = Reader::new(body);
    if body.u8()? != RECORD_FORMAT {
        return Err(DecodeError("the record has a format that this version does not know"));
    }
    let kind = body.u8()?;
    let at = body.time()?;
    let actor = ActorId::new(body.text()?).map_err(|_| DecodeError("the record's actor is no name"))?;
    let request_id = RequestId::new(body.text()?).map_err(|_| DecodeError("the record's request id is no name"))?;
    let fingerprint = body.flag()?.then(|| body.array::<16>()).transpose()?;
    let mut private = Reader::new(private.ok_or(DecodeError("the record's private part has been erased"))?);
    let event = decode_event(kind, &mut body, &mut private)?;
    let request = fingerprint.map(|bytes| decode_keyed(Fingerprint(bytes), &mut private)).transpose()?;
    body.end()?;
    private.end()?;
    Ok(Record { at, actor, request_id, request, event })
}

fn decode_keyed<'a>(fingerprint: Fingerprint, private: &mut Reader<'a>) -> Result<Keyed<'a>, DecodeError> {
    let key = RequestKey::new(private.text()?).map_err(|_| DecodeError("the record's request key is malformed"))?;
    Ok(Keyed { key, fingerprint })
}

fn decode_event<'a>(kind: u8, body: &mut Reader<'a>, private: &mut Reader<'a>) -> Result<Event<'a>, DecodeError> {
    if kind == REQUESTS_FORGOTTEN {
        return Ok(Event::RequestsForgotten { count: body.u32()? });
    }
    if matches!(kind, POLICY_WRITTEN | POLICY_REMOVED | OVERRIDE_WRITTEN | OVERRIDE_REMOVED) {
        return decode_policy(kind, body, private).map(Event::Policy);
    }
    let campaign = CampaignNumber(body.u32()?);
    let event = match kind {
        CAMPAIGN_CREATED => decode_created(campaign, body)?,
        CAMPAIGN_CHANGED => coupon::Event::CampaignChanged { campaign, settings: body.settings()? },
        ACCEPTED => coupon::Event::Accepted { campaign, serial: body.serial()?, subject: decode_subject(private)? },
        CLAIMED => coupon::Event::Claimed { campaign, serial: body.serial()?, subject: decode_subject(private)? },
        REDEEMED => coupon::Event::Redeemed { campaign, serial: body.serial()? },
        CANCELLED => coupon::Event::Cancelled { campaign, serial: body.serial()? },
        _ => return Err(DecodeError("the record is of a kind that this version does not know")),
    };
    Ok(Event::Coupon(event))
}

fn decode_policy<'a>(kind: u8, body: &mut Reader<'a>, private: &mut Reader<'a>) -> Result<policies::Event<'a>, DecodeError> {
    let policy = body.policy_name()?;
    Ok(match kind {
        POLICY_WRITTEN => policies::Event::PolicyWritten { policy, rule: body.rule()? },
        POLICY_REMOVED => policies::Event::PolicyRemoved { policy },
        OVERRIDE_WRITTEN => policies::Event::OverrideWritten { policy, numbers: body.numbers()?, key: private.limit_key()? },
        _ => policies::Event::OverrideRemoved { policy, key: private.limit_key()? },
    })
}

fn decode_subject<'a>(private: &mut Reader<'a>) -> Result<SubjectId<'a>, DecodeError> {
    SubjectId::new(private.text()?).map_err(|_| DecodeError("the record's subject is no name"))
}

fn decode_created<'a>(campaign: CampaignNumber, body: &mut Reader<'a>) -> Result<coupon::Event<'a>, DecodeError> {
    let name = CampaignName::new(body.text()?).map_err(|_| DecodeError("the record's campaign is no name"))?;
    let settings: Settings = body.settings()?;
    Ok(coupon::Event::CampaignCreated { campaign, name, settings, code_key: body.u32()? })
}

impl Reader<'_> {
    fn serial(&mut self) -> Result<Serial, DecodeError> {
        Serial::new(self.u32()?).ok_or(DecodeError("a serial is 0"))
    }
}
