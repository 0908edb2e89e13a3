//! Commands as bytes and back: what is written where the order is decided before the rules are
//! asked, across machines.

use super::DecodeError;
use super::bytes::{QUEUE_FOLLOWS, Reader, put_mode, put_optional_time, put_settings, put_text, put_u32, put_u64};
use super::policy::{put_numbers, put_rule};
use crate::coupon::queue::{DecideNext, QueuePatch};
use crate::coupon::{self, ClaimOne, PER_SUBJECT_MAX, Patch, Precondition, Put, Target, TargetBy};
use crate::rate_limit::policies;
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
const DECIDE_NEXT: u8 = 6;
const PUT_POLICY: u8 = 20;
const REMOVE_POLICY: u8 = 21;
const PUT_OVERRIDE: u8 = 22;
const REMOVE_OVERRIDE: u8 = 23;
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
        CommandKind::Policy(policy) => encode_policy(policy, out),
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
        coupon::Command::DecideNext(_) => DECIDE_NEXT,
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
        coupon::Command::DecideNext(next) => {
            put_u32(out, next.serial.get());
            put_text(out, next.subject.as_str());
        }
    }
}

fn encode_policy(command: &policies::Command<'_>, out: &mut Vec<u8>) {
    out.push(match command {
        policies::Command::Put { .. } => PUT_POLICY,
        policies::Command::Remove { .. } => REMOVE_POLICY,
        policies::Command::PutOverride { .. } => PUT_OVERRIDE,
        policies::Command::RemoveOverride { .. } => REMOVE_OVERRIDE,
    });
    put_text(out, command.policy().as_str());
    match command {
        policies::Command::Put { rule, precondition, .. } => {
            put_rule(out, rule);
            put_precondition(out, *precondition);
        }
        policies::Command::Remove { precondition, .. } => put_precondition(out, *precondition),
        policies::Command::PutOverride { key, numbers, .. } => {
            put_text(out, key.as_str());
            put_numbers(out, numbers);
        }
        policies::Command::RemoveOverride { key, .. } => put_text(out, key.as_str()),
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
    let has_queue = patch.queue != QueuePatch::default();
    out.push(patch.paused.map_or(2, u8::from) | if has_queue { QUEUE_FOLLOWS } else { 0 });
    if has_queue {
        encode_queue(&patch.queue, out);
    }
}

/// Each setting behind a flag that says whether it changes; a pace of 0 removes it.
fn encode_queue(queue: &QueuePatch, out: &mut Vec<u8>) {
    out.push(u8::from(queue.mode.is_some()));
    queue.mode.into_iter().for_each(|mode| put_mode(out, mode));
    out.push(u8::from(queue.decisions_per_second_max.is_some()));
    queue.decisions_per_second_max.into_iter().for_each(|pace| put_u32(out, pace.unwrap_or(0)));
    out.push(u8::from(queue.queue_max.is_some()));
    queue.queue_max.into_iter().for_each(|max| put_u32(out, max));
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
    let kind = reader.u8()?;
    let kind = match kind {
        FORGET_REQUESTS => CommandKind::ForgetRequests,
        PUT_POLICY | REMOVE_POLICY | PUT_OVERRIDE | REMOVE_OVERRIDE => CommandKind::Policy(decode_policy(kind, &mut reader)?),
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
        DECIDE_NEXT => coupon::Command::DecideNext(DecideNext { campaign, serial: reader.serial()?, subject: decode_subject(reader)? }),
        _ => return Err(DecodeError("the command is of a kind that this version does not know")),
    })
}

fn decode_policy<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<policies::Command<'a>, DecodeError> {
    let policy = reader.policy_name()?;
    Ok(match kind {
        PUT_POLICY => policies::Command::Put { policy, rule: reader.rule()?, precondition: decode_precondition(reader)? },
        REMOVE_POLICY => policies::Command::Remove { policy, precondition: decode_precondition(reader)? },
        PUT_OVERRIDE => policies::Command::PutOverride { policy, key: reader.limit_key()?, numbers: reader.numbers()? },
        _ => policies::Command::RemoveOverride { policy, key: reader.limit_key()? },
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
    let pause = reader.u8()?;
    let paused = match pause & !QUEUE_FOLLOWS {
        0 => Some(false),
        1 => Some(true),
        2 => None,
        _ => return Err(DecodeError("a pause is neither on, off nor left as it is")),
    };
    let queue = if pause & QUEUE_FOLLOWS == 0 { QueuePatch::default() } else { decode_queue(reader)? };
    Ok(Patch { campaign, precondition, stock, per_subject_max, opens_at, closes_at, redeem_until, paused, queue })
}

fn decode_queue(reader: &mut Reader<'_>) -> Result<QueuePatch, DecodeError> {
    let queue = QueuePatch {
        mode: reader.flag()?.then(|| reader.mode()).transpose()?,
        decisions_per_second_max: reader.flag()?.then(|| reader.u32()).transpose()?.map(|pace| Some(pace).filter(|pace| *pace != 0)),
        queue_max: reader.flag()?.then(|| reader.u32()).transpose()?,
    };
    if !queue.is_in_range() || queue == QueuePatch::default() {
        return Err(DecodeError("a queue's settings are out of range"));
    }
    Ok(queue)
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
