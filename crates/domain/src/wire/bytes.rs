//! The pieces of the byte formats: numbers, texts, settings, and messages made of fields.

use super::DecodeError;
use crate::fields::{Field, FieldKind, Fields, Patch, Value};
use crate::rows::Cell;
use crate::types::{LimitKey, Name, Quantity, Serial, SubjectId, Timestamp};

/// Where a message is written. What names a person goes to the private part, if there is one, so that
/// it can be erased later (see [`super`]); without one it stands among the rest.
#[derive(Debug)]
pub struct Out<'o> {
    /// The body.
    pub body: &'o mut Vec<u8>,
    /// The private part.
    pub private: Option<&'o mut Vec<u8>>,
}

/// Where a message is read from; see [`Out`].
#[derive(Debug)]
pub struct In<'a> {
    pub(crate) body: Reader<'a>,
    pub(crate) private: Option<Reader<'a>>,
}

/// A type that messages are made of.
pub trait Part<'a>: Sized {
    /// Appends it.
    fn put(&self, out: &mut Out<'_>);

    /// Reads it.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are none that [`Part::put`] writes.
    fn take(from: &mut In<'a>) -> Result<Self, DecodeError>;

    /// Which message of its enum it is, by the name of the variant; empty for what is no such message.
    fn variant(&self) -> &'static str {
        ""
    }

    /// Shows it under the name of its field to those who read a record: a part that has fields of its
    /// own shows each of them under that field's name. What is not to be shown shows nothing.
    fn show(&self, _field: &'static str, _each: &mut dyn FnMut(&'static str, Cell<'_>)) {}
}

impl Out<'_> {
    /// Appends a text that names a person.
    pub fn put_private(&mut self, text: &str) {
        match &mut self.private {
            Some(private) => put_text(private, text),
            None => put_text(self.body, text),
        }
    }

    /// Appends fields, each by its number.
    pub fn put_fields<S: Fields>(&mut self, fields: &S) {
        put_settings(self.body, fields);
    }
}

impl<'a> In<'a> {
    /// Reads a text that names a person.
    pub(crate) fn private_text(&mut self) -> Result<&'a str, DecodeError> {
        match &mut self.private {
            Some(private) => private.text(),
            None => self.body.text(),
        }
    }

    /// Reads fields.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are none that [`Out::put_fields`] writes.
    pub fn fields<S: Fields>(&mut self) -> Result<S, DecodeError> {
        self.body.settings()
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        self.private.as_ref().map_or(Ok(()), Reader::end)?;
        self.body.end()
    }
}

impl Part<'_> for u8 {
    fn put(&self, out: &mut Out<'_>) {
        out.body.push(*self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.u8()
    }
}

impl Part<'_> for bool {
    fn put(&self, out: &mut Out<'_>) {
        out.body.push(u8::from(*self));
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.flag()
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Bool(*self));
    }
}

impl Part<'_> for u32 {
    fn put(&self, out: &mut Out<'_>) {
        put_u32(out.body, *self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.u32()
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Number(u64::from(*self)));
    }
}

impl Part<'_> for u64 {
    fn put(&self, out: &mut Out<'_>) {
        put_u64(out.body, *self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.u64()
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Number(*self));
    }
}

impl Part<'_> for Quantity {
    fn put(&self, out: &mut Out<'_>) {
        put_u32(out.body, self.get());
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        Self::new(from.body.u32()?).ok_or(DecodeError("a quantity is out of range"))
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Number(u64::from(self.get())));
    }
}

impl Part<'_> for Serial {
    fn put(&self, out: &mut Out<'_>) {
        put_u32(out.body, self.get());
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        Self::new(from.body.u32()?).ok_or(DecodeError("a serial is 0"))
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Number(u64::from(self.get())));
    }
}

impl Part<'_> for Timestamp {
    fn put(&self, out: &mut Out<'_>) {
        put_time(out.body, *self);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.time()
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Time(*self));
    }
}

impl<'a> Part<'a> for Name<'a> {
    fn put(&self, out: &mut Out<'_>) {
        put_text(out.body, self.as_str());
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        from.body.name()
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Text(self.as_str()));
    }
}

impl<'a> Part<'a> for SubjectId<'a> {
    fn put(&self, out: &mut Out<'_>) {
        out.put_private(self.as_str());
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        SubjectId::new(from.private_text()?).map_err(|_| DecodeError("a subject is no name"))
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Text(self.as_str()));
    }
}

/// A rate limit's key may be a person's address.
impl<'a> Part<'a> for LimitKey<'a> {
    fn put(&self, out: &mut Out<'_>) {
        out.put_private(self.as_str());
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        LimitKey::new(from.private_text()?).map_err(|_| DecodeError("a key of a rate limit is malformed"))
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Text(self.as_str()));
    }
}

impl<'a, T: Part<'a>> Part<'a> for Option<T> {
    fn put(&self, out: &mut Out<'_>) {
        self.is_some().put(out);
        if let Some(part) = self {
            part.put(out);
        }
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        match self {
            Some(part) => part.show(field, each),
            None => each(field, Cell::Null),
        }
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    put_u64(out, time.millis());
}

/// # Panics
/// If the text is longer than 255 bytes, which no name and no key of the domain is.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let Ok(length) = u8::try_from(text.len()) else { panic!("a text of {} bytes is no name or key", text.len()) };
    out.push(length);
    out.extend_from_slice(text.as_bytes());
}

/// Settings: how many fields follow, and each by its number. A field at its default is left out.
pub(crate) fn put_settings<S: Fields>(out: &mut Vec<u8>, settings: &S) {
    let least = S::least();
    let written = settings.values().zip(least.values()).filter(|((field, value), (_, default))| field.is_required || value != default);
    let count_at = out.len();
    out.push(0);
    let mut count = 0_u8;
    for ((field, value), _) in written {
        out.push(field.number);
        put_value(out, value);
        count = count.saturating_add(1);
    }
    if let Some(place) = out.get_mut(count_at) {
        *place = count;
    }
}

/// A patch: how many fields change, and each by its number, with a flag where it may be without a
/// value.
pub(crate) fn put_patch<S: Fields>(out: &mut Vec<u8>, patch: &Patch<S>) {
    let changes = patch.changes().filter_map(|(index, value)| Some((S::FIELDS.get(index)?, value)));
    let count_at = out.len();
    out.push(0);
    let mut count = 0_u8;
    for (field, value) in changes {
        out.push(field.number);
        if field.is_nullable {
            out.push(u8::from(value != Value::Null));
        }
        put_value(out, value);
        count = count.saturating_add(1);
    }
    if let Some(place) = out.get_mut(count_at) {
        *place = count;
    }
}

fn put_value(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => out.push(u8::from(flag)),
        Value::Number(number) => put_u64(out, number),
        Value::Time(time) => put_time(out, time),
        Value::Word(word) => put_text(out, word),
    }
}

/// Reads from the front of a slice and never past its end.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError("the bytes end too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError("the bytes end too early"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, DecodeError> {
        Timestamp::from_millis(self.u64()?).ok_or(DecodeError("a time is out of range"))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.u8()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| DecodeError("a text is not UTF-8"))
    }

    pub(crate) fn name(&mut self) -> Result<Name<'a>, DecodeError> {
        Name::new(self.text()?).map_err(|_| DecodeError("a name is malformed"))
    }

    pub(crate) fn settings<S: Fields>(&mut self) -> Result<S, DecodeError> {
        let (mut settings, mut seen) = (S::least(), 0_u64);
        let mut next_index = 0;
        for _ in 0..self.u8()? {
            let (index, field) = self.field::<S>(next_index)?;
            let value = self.value(field)?;
            if !field.is_required && value == settings.get(index) {
                return Err(DecodeError("a setting is written though it has its default"));
            }
            settings.set(index, value).map_err(|_| DecodeError("a setting is out of range"))?;
            next_index = index.saturating_add(1);
            seen |= 1_u64.checked_shl(u32::from(field.number)).unwrap_or(0);
        }
        let is_missing = |field: &&Field| field.is_required && seen & 1_u64.checked_shl(u32::from(field.number)).unwrap_or(0) == 0;
        if S::FIELDS.iter().any(|field| is_missing(&field)) {
            return Err(DecodeError("a setting without a default is missing"));
        }
        Ok(settings)
    }

    pub(crate) fn patch<S: Fields>(&mut self) -> Result<Patch<S>, DecodeError> {
        let (mut patch, mut next_index) = (Patch::default(), 0);
        for _ in 0..self.u8()? {
            let (index, field) = self.field::<S>(next_index)?;
            let has_value = !field.is_nullable || self.flag()?;
            let value = if has_value { self.value(field)? } else { Value::Null };
            patch.set_at(index, value).map_err(|_| DecodeError("a setting is out of range"))?;
            next_index = index.saturating_add(1);
        }
        Ok(patch)
    }

    /// The next field, by its number: at the place `from` or behind it, because fields come in the
    /// order of their declaration.
    fn field<S: Fields>(&mut self, from: usize) -> Result<(usize, &'static Field), DecodeError> {
        let number = self.u8()?;
        let mut known = (0..).zip(S::FIELDS).skip(from);
        known.find(|(_, field)| field.number == number).ok_or(DecodeError("a setting is unknown or out of order"))
    }

    fn value(&mut self, field: &Field) -> Result<Value, DecodeError> {
        Ok(match field.kind {
            FieldKind::Bool => Value::Bool(self.flag()?),
            FieldKind::Number(..) => Value::Number(self.u64()?),
            FieldKind::Time => Value::Time(self.time()?),
            FieldKind::Word(_) => Value::Word(field.word(self.text()?).ok_or(DecodeError("a setting is a word that is not known"))?),
        })
    }

    /// What is left must be nothing.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError("there are bytes after the end")) }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
