//! Commands as bytes and back: what is written where the order is decided before the rules are
//! asked, across machines.

use super::DecodeError;
use super::bytes::{Reader, put_optional_time, put_settings, put_text, put_u32, put_u64};
use crate::coupon::{self, ClaimOne, PER_SUBJECT_MAX, Patch, Precondition, Put, Target, TargetBy};
use crate::request::{Fingerprint, Keyed};
use crate::state::{Command, CommandKind};
use crate::types::{ActorId, CampaignName, Quantity, RequestKey, SubjectId, Timestamp};

/// The number of the command format that is written.
pub const COMMAND_FORMAT: u8 = 1;

const PUT: u8 = 1;
const PATCH: u8 = 2;
const CLAIM: u8 = 3;
const REDEEM: u8 = 4;
const CANCEL: u8 = 5;
const FORGET_REQUESTS: u8 = 100;

const ALWAYS: u8 = 0;
const EXISTS: u8 = 1;
const IS_NEW: u8 = 2;
const VERSION: u8 = 3;
const NEVER: u8 = 4;

const BY_SUBJECT: u8 = 1;
const BY_SUBJECT_SERIAL: u8 = 2;
const BY_CODE: u8 = 3;

/// Appends a command.
pub fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
    out.push(COMMAND_FORMAT);
    put_text(out, command.actor.as_str());
    out.push(u8::from(command.request.is_some()));
    if let Some(keyed) = &command.request {
        out.extend_from_slice(&keyed.fingerprint.0);
        put_text(out, keyed.key.as_str());
    }
    match &command.kind {
        CommandKind::Coupon(coupon) => encode_coupon(coupon, out),
        CommandKind::ForgetRequests => out.push(FORGET_REQUESTS),
    }
}

fn encode_coupon(command: &coupon::Command<'_>, out: &mut Vec<u8>) {
    out.push(match command {
        coupon::Command::Put(_) => PUT,
        coupon::Command::Patch(_) => PATCH,
        coupon::Command::Claim(_) => CLAIM,
        coupon::Command::Redeem(_) => REDEEM,
        coupon::Command::Cancel(_) => CANCEL,
    });
    put_text(out, command.campaign().as_str());
    match command {
        coupon::Command::Put(put) => {
            put_settings(out, &put.settings);
            put_precondition(out, put.precondition);
            put_u32(out, put.code_key);
        }
        coupon::Command::Patch(patch) => encode_patch(patch, out),
        coupon::Command::Claim(claim) => put_text(out, claim.subject.as_str()),
        coupon::Command::Redeem(target) | coupon::Command::Cancel(target) => encode_target(target, out),
    }
}

fn encode_patch(patch: &Patch<'_>, out: &mut Vec<u8>) {
    put_precondition(out, patch.precondition);
    // 0 stands for "as it is": no stock and no limit is 0.
    put_u32(out, patch.stock.map_or(0, Quantity::get));
    put_u32(out, patch.per_subject_max.unwrap_or(0));
    for time in [patch.opens_at, patch.closes_at, patch.redeem_until] {
        out.push(u8::from(time.is_some()));
        if let Some(time) = time {
            put_optional_time(out, time);
        }
    }
    out.push(patch.paused.map_or(2, u8::from));
}

fn encode_target(target: &Target<'_>, out: &mut Vec<u8>) {
    match target.by {
        TargetBy::Subject(subject) => {
            out.push(BY_SUBJECT);
            put_text(out, subject.as_str());
        }
        TargetBy::SubjectSerial(subject, serial) => {
            out.push(BY_SUBJECT_SERIAL);
            put_text(out, subject.as_str());
            put_u32(out, serial.get());
        }
        TargetBy::Code(serial) => {
            out.push(BY_CODE);
            put_u32(out, serial.get());
        }
    }
}

fn put_precondition(out: &mut Vec<u8>, precondition: Precondition) {
    match precondition {
        Precondition::Always => out.push(ALWAYS),
        Precondition::Exists => out.push(EXISTS),
        Precondition::IsNew => out.push(IS_NEW),
        Precondition::Version(version) => {
            out.push(VERSION);
            put_u64(out, version);
        }
        Precondition::Never => out.push(NEVER),
    }
}

/// Reads a command.
///
/// # Errors
/// [`DecodeError`] if the bytes are no command of a format that this version knows.
pub fn decode_command(bytes: &[u8]) -> Result<Command<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != COMMAND_FORMAT {
        return Err(DecodeError("the command has a format that this version does not know"));
    }
    let actor = ActorId::new(reader.text()?).map_err(|_| DecodeError("the command's actor is no name"))?;
    let request = reader.flag()?.then(|| decode_keyed(&mut reader)).transpose()?;
    let kind = match reader.u8()? {
        FORGET_REQUESTS => CommandKind::ForgetRequests,
        kind => CommandKind::Coupon(decode_coupon(kind, &mut reader)?),
    };
    reader.end()?;
    Ok(Command { actor, request, kind })
}

fn decode_keyed<'a>(reader: &mut Reader<'a>) -> Result<Keyed<'a>, DecodeError> {
    let fingerprint = Fingerprint(reader.array()?);
    let key = RequestKey::new(reader.text()?).map_err(|_| DecodeError("the command's request key is malformed"))?;
    Ok(Keyed { key, fingerprint })
}

fn decode_coupon<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<coupon::Command<'a>, DecodeError> {
    let campaign = CampaignName::new(reader.text()?).map_err(|_| DecodeError("the command's campaign is no name"))?;
    Ok(match kind {
        PUT => {
            let (settings, precondition) = (reader.settings()?, decode_precondition(reader)?);
            coupon::Command::Put(Put { campaign, settings, precondition, code_key: reader.u32()? })
        }
        PATCH => coupon::Command::Patch(decode_patch(campaign, reader)?),
        CLAIM => coupon::Command::Claim(ClaimOne { campaign, subject: decode_subject(reader)? }),
        REDEEM => coupon::Command::Redeem(Target { campaign, by: decode_target(reader)? }),
        CANCEL => coupon::Command::Cancel(Target { campaign, by: decode_target(reader)? }),
        _ => return Err(DecodeError("the command is of a kind that this version does not know")),
    })
}

fn decode_patch<'a>(campaign: CampaignName<'a>, reader: &mut Reader<'a>) -> Result<Patch<'a>, DecodeError> {
    let precondition = decode_precondition(reader)?;
    let stock = match reader.quantity()? {
        Quantity::ZERO => None,
        stock => Some(stock),
    };
    let per_subject_max = match reader.u32()? {
        0 => None,
        max if max <= PER_SUBJECT_MAX => Some(max),
        _ => return Err(DecodeError("a limit per subject is out of range")),
    };
    let mut time =
        || -> Result<Option<Option<Timestamp>>, DecodeError> { if reader.flag()? { reader.optional_time().map(Some) } else { Ok(None) } };
    let (opens_at, closes_at, redeem_until) = (time()?, time()?, time()?);
    let paused = match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        2 => None,
        _ => return Err(DecodeError("a pause is neither on, off nor left as it is")),
    };
    Ok(Patch { campaign, precondition, stock, per_subject_max, opens_at, closes_at, redeem_until, paused })
}

fn decode_precondition(reader: &mut Reader<'_>) -> Result<Precondition, DecodeError> {
    match reader.u8()? {
        ALWAYS => Ok(Precondition::Always),
        EXISTS => Ok(Precondition::Exists),
        IS_NEW => Ok(Precondition::IsNew),
        VERSION => Ok(Precondition::Version(reader.u64()?)),
        NEVER => Ok(Precondition::Never),
        _ => Err(DecodeError("a precondition is of a kind that this version does not know")),
    }
}

fn decode_target<'a>(reader: &mut Reader<'a>) -> Result<TargetBy<'a>, DecodeError> {
    match reader.u8()? {
        BY_SUBJECT => Ok(TargetBy::Subject(decode_subject(reader)?)),
        BY_SUBJECT_SERIAL => Ok(TargetBy::SubjectSerial(decode_subject(reader)?, reader.serial()?)),
        BY_CODE => Ok(TargetBy::Code(reader.serial()?)),
        _ => Err(DecodeError("a claim is named in a way that this version does not know")),
    }
}

fn decode_subject<'a>(reader: &mut Reader<'a>) -> Result<SubjectId<'a>, DecodeError> {
    SubjectId::new(reader.text()?).map_err(|_| DecodeError("the command's subject is no name"))
}
