//! Small pieces of the byte formats, to write and to read.

use super::DecodeError;
use crate::coupon::queue::{Mode, QueueSettings};
use crate::coupon::{PER_SUBJECT_MAX, Settings};
use crate::types::{Quantity, Timestamp};

/// Stands for "none" where a time may be missing.
const NO_TIME: u64 = u64::MAX;

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    put_u64(out, time.millis());
}

pub(super) fn put_optional_time(out: &mut Vec<u8>, time: Option<Timestamp>) {
    put_u64(out, time.map_or(NO_TIME, Timestamp::millis));
}

/// No text of the domain is longer than 255 bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX));
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    put_u32(out, settings.stock.get());
    put_u32(out, settings.per_subject_max);
    for time in [settings.opens_at, settings.closes_at, settings.redeem_until] {
        put_optional_time(out, time);
    }
    let has_queue = settings.queue != QueueSettings::DIRECT;
    out.push(u8::from(settings.paused) | if has_queue { QUEUE_FOLLOWS } else { 0 });
    if has_queue {
        put_mode(out, settings.queue.mode);
        put_u32(out, settings.queue.decisions_per_second_max.unwrap_or(0));
        put_u32(out, settings.queue.queue_max);
    }
}

pub(super) fn put_mode(out: &mut Vec<u8>, mode: Mode) {
    out.push(match mode {
        Mode::Direct => 0,
        Mode::Queued => 1,
    });
}

/// Added to a pause, it says that the settings of a queue follow: they came later than the format.
pub(super) const QUEUE_FOLLOWS: u8 = 4;

/// Reads from the front of a slice and never past its end.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError("the bytes end too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError("the bytes end too early"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, DecodeError> {
        Timestamp::from_millis(self.u64()?).ok_or(DecodeError("a time is out of range"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.u8()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| DecodeError("a text is not UTF-8"))
    }

    pub(super) fn quantity(&mut self) -> Result<Quantity, DecodeError> {
        Quantity::new(self.u32()?).ok_or(DecodeError("a quantity is out of range"))
    }

    pub(super) fn settings(&mut self) -> Result<Settings, DecodeError> {
        let settings = Settings {
            stock: self.quantity()?,
            per_subject_max: self.u32()?,
            opens_at: self.optional_time()?,
            closes_at: self.optional_time()?,
            redeem_until: self.optional_time()?,
            paused: false,
            queue: QueueSettings::DIRECT,
        };
        let settings = match self.u8()? {
            paused @ 0..=1 => Settings { paused: paused == 1, ..settings },
            byte if byte & !1 == QUEUE_FOLLOWS => Settings { paused: byte & 1 == 1, queue: self.queue()?, ..settings },
            _ => return Err(DecodeError("a pause is neither on nor off")),
        };
        if settings.stock == Quantity::ZERO || !(1..=PER_SUBJECT_MAX).contains(&settings.per_subject_max) {
            return Err(DecodeError("a campaign's settings are out of range"));
        }
        Ok(settings)
    }

    /// Settings of a queue, which are written only where they are not the default.
    fn queue(&mut self) -> Result<QueueSettings, DecodeError> {
        let queue = QueueSettings {
            mode: self.mode()?,
            decisions_per_second_max: Some(self.u32()?).filter(|pace| *pace != 0),
            queue_max: self.u32()?,
        };
        if !queue.is_in_range() || queue == QueueSettings::DIRECT {
            return Err(DecodeError("a queue's settings are out of range"));
        }
        Ok(queue)
    }

    pub(super) fn mode(&mut self) -> Result<Mode, DecodeError> {
        Ok(if self.flag()? { Mode::Queued } else { Mode::Direct })
    }

    /// What is left must be nothing.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError("there are bytes after the end")) }
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>, DecodeError> {
        match self.u64()? {
            NO_TIME => Ok(None),
            millis => Timestamp::from_millis(millis).map(Some).ok_or(DecodeError("a time is out of range")),
        }
    }
}
