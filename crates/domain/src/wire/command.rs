//! Commands as bytes and back: what is written where the order is decided before the rules are
//! asked, across machines.

use super::bytes::{In, Out, Part, Reader, put_text};
use super::{DecodeError, decode_keyed};
use crate::state::{Action, Command, Precondition, Step};
use crate::types::{ActorId, Name, Timestamp};
use crate::workload::{AnyCommand, AnyPatch, AnySettings, Kind};

/// The number of the command format that is written.
pub const COMMAND_FORMAT: u8 = 2;

const PUT: u8 = 1;
const PATCH: u8 = 2;
const REMOVE: u8 = 3;
const DO: u8 = 4;
const DO_BOTH: u8 = 5;
const FORGET_REQUESTS: u8 = 100;
const SET_TIME: u8 = 101;

const ALWAYS: u8 = 0;
const EXISTS: u8 = 1;
const IS_NEW: u8 = 2;
const VERSION: u8 = 3;
const NEVER: u8 = 4;

/// Appends a command.
pub fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
    let mut out = Out { body: out, private: None };
    COMMAND_FORMAT.put(&mut out);
    put_text(out.body, command.actor.as_str());
    command.request.is_some().put(&mut out);
    if let Some(keyed) = &command.request {
        out.body.extend_from_slice(&keyed.fingerprint.0);
        put_text(out.body, keyed.key.as_str());
    }
    encode_action(&command.action, &mut out);
}

fn encode_action(action: &Action<'_>, out: &mut Out<'_>) {
    match action {
        Action::Put { name, settings, precondition } => {
            PUT.put(out);
            settings.kind().put(out);
            name.put(out);
            settings.put(out.body);
            precondition.put(out);
        }
        Action::Patch { name, patch, precondition } => {
            PATCH.put(out);
            patch.kind().put(out);
            name.put(out);
            patch.put(out.body);
            precondition.put(out);
        }
        Action::Remove { kind, name, precondition } => {
            REMOVE.put(out);
            kind.put(out);
            name.put(out);
            precondition.put(out);
        }
        Action::Do(step) => {
            DO.put(out);
            encode_step(step, out);
        }
        Action::DoBoth(first, second) => {
            DO_BOTH.put(out);
            encode_step(first, out);
            encode_step(second, out);
        }
        Action::ForgetRequests => FORGET_REQUESTS.put(out),
        Action::SetTime { to } => {
            SET_TIME.put(out);
            to.put(out);
        }
    }
}

fn encode_step(step: &Step<'_>, out: &mut Out<'_>) {
    step.command.kind().put(out);
    step.name.put(out);
    step.command.put(out);
}

/// Reads a command.
///
/// # Errors
/// [`DecodeError`] if the bytes are no command of a format that this version knows.
pub fn decode_command(bytes: &[u8]) -> Result<Command<'_>, DecodeError> {
    let mut from = In { body: Reader::new(bytes), private: None };
    if from.body.u8()? != COMMAND_FORMAT {
        return Err(DecodeError("the command has a format that this version does not know"));
    }
    let actor = ActorId::new(from.body.text()?).map_err(|_| DecodeError("the command's actor is no name"))?;
    let request = bool::take(&mut from)?.then(|| decode_keyed(&mut from)).transpose()?;
    let action = decode_action(&mut from)?;
    from.end()?;
    Ok(Command { actor, request, action })
}

fn decode_action<'a>(from: &mut In<'a>) -> Result<Action<'a>, DecodeError> {
    Ok(match u8::take(from)? {
        PUT => {
            let (kind, name) = (Kind::take(from)?, Name::take(from)?);
            let settings = AnySettings::take(kind, &mut from.body)?;
            Action::Put { name, settings, precondition: Precondition::take(from)? }
        }
        PATCH => {
            let (kind, name) = (Kind::take(from)?, Name::take(from)?);
            let patch = AnyPatch::take(kind, &mut from.body)?;
            Action::Patch { name, patch, precondition: Precondition::take(from)? }
        }
        REMOVE => {
            let (kind, name) = (Kind::take(from)?, Name::take(from)?);
            Action::Remove { kind, name, precondition: Precondition::take(from)? }
        }
        DO => Action::Do(decode_step(from)?),
        DO_BOTH => Action::DoBoth(decode_step(from)?, decode_step(from)?),
        FORGET_REQUESTS => Action::ForgetRequests,
        SET_TIME => Action::SetTime { to: Timestamp::take(from)? },
        _ => return Err(DecodeError("the command is of a kind that this version does not know")),
    })
}

fn decode_step<'a>(from: &mut In<'a>) -> Result<Step<'a>, DecodeError> {
    let (kind, name) = (Kind::take(from)?, Name::take(from)?);
    Ok(Step { name, command: AnyCommand::take(kind, from)? })
}

impl Part<'_> for Precondition {
    fn put(&self, out: &mut Out<'_>) {
        match self {
            Self::Always => ALWAYS.put(out),
            Self::Exists => EXISTS.put(out),
            Self::IsNew => IS_NEW.put(out),
            Self::Version(version) => {
                VERSION.put(out);
                version.put(out);
            }
            Self::Never => NEVER.put(out),
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        match u8::take(from)? {
            ALWAYS => Ok(Self::Always),
            EXISTS => Ok(Self::Exists),
            IS_NEW => Ok(Self::IsNew),
            VERSION => Ok(Self::Version(u64::take(from)?)),
            NEVER => Ok(Self::Never),
            _ => Err(DecodeError("a precondition is of a kind that this version does not know")),
        }
    }
}
