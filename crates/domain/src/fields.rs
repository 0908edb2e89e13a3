//! Settings, declared once. `fields!` makes a struct of a list of fields and, beside it, a table of
//! them: number, name, kind, range and text. Everything that handles settings without knowing the
//! workload reads that table: the bytes of a record, JSON, merge patches, the OpenAPI document, the
//! console's form, the columns of the history, `inspect`, and the conformance tables.
//!
//! Numbers are stable and never used again. A field that is absent from a record has its default,
//! so that a new field with a default changes no record that is written already.
//!
//! ```
//! use domain::fields::{Fields, Patch, Value};
//!
//! domain::fields! {
//!     /// How a counter counts.
//!     pub struct CounterSettings {
//!         1 limit: u32 = required, in 1..=100, "The highest count.";
//!         2 paused: bool = false, "Whether it stands still.";
//!     }
//! }
//!
//! let settings = CounterSettings { limit: 5, ..CounterSettings::least() };
//! let mut patch = Patch::default();
//! patch.set("paused", Value::Bool(true)).unwrap();
//! assert_eq!(patch.apply(settings), CounterSettings { limit: 5, paused: true });
//! assert!(patch.set("limit", Value::Number(101)).is_err());
//! ```

use std::fmt;

use crate::rows::Cell;
use crate::types::Timestamp;

mod types;

pub use types::FieldType;

/// The value of a field, apart from the struct that it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// None, where a field may be without a value.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// An instant.
    Time(Timestamp),
    /// One of the words that the field allows.
    Word(&'static str),
}

impl From<Value> for Cell<'static> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number),
            Value::Time(time) => Self::Time(time),
            Value::Word(word) => Self::Text(word),
        }
    }
}

/// What values a field takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// An instant.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One field of settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its number in records, from 1 to 63; stable.
    pub number: u8,
    /// Its name in JSON, in the tables, and everywhere else.
    pub name: &'static str,
    /// What values it takes.
    pub kind: FieldKind,
    /// Whether it may be without a value.
    pub is_nullable: bool,
    /// Whether whoever creates an aggregate must give it. If not, it has a default, which is what
    /// [`Fields::least`] has there.
    pub is_required: bool,
    /// Whether the program sets it and clients never see it.
    pub is_internal: bool,
    /// What it means, in a sentence.
    pub about: &'static str,
}

/// A value that a field does not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldError {
    /// There is no field of this name or number.
    Unknown,
    /// The field takes other values.
    OutOfRange(Field),
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("is not a known field"),
            Self::OutOfRange(field) => field.kind.fmt(f),
        }
    }
}

impl std::error::Error for FieldError {}

/// In words, to stand behind a field's name: "must be a whole number from 1 to 100".
impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("must be true or false"),
            Self::Number(min, max) => write!(f, "must be a whole number from {min} to {max}"),
            Self::Time => f.write_str("must be a time as RFC 3339 writes it, such as 2026-11-30T10:00:00Z"),
            Self::Word(words) => write!(f, "must be one of {}", words.join(", ")),
        }
    }
}

impl Field {
    /// The value, if the field takes it.
    ///
    /// # Errors
    /// [`FieldError::OutOfRange`].
    pub fn check(&self, value: Value) -> Result<Value, FieldError> {
        let is_taken = match (value, self.kind) {
            (Value::Null, _) => self.is_nullable,
            (Value::Bool(_), FieldKind::Bool) | (Value::Time(_), FieldKind::Time) => true,
            (Value::Number(number), FieldKind::Number(min, max)) => (min..=max).contains(&number),
            (Value::Word(word), FieldKind::Word(words)) => words.contains(&word),
            (Value::Bool(_) | Value::Number(_) | Value::Time(_) | Value::Word(_), _) => false,
        };
        if is_taken { Ok(value) } else { Err(FieldError::OutOfRange(*self)) }
    }

    /// The field's own form of a word, if it allows the word.
    #[must_use]
    pub fn word(&self, word: &str) -> Option<&'static str> {
        let FieldKind::Word(words) = self.kind else { return None };
        words.iter().copied().find(|known| *known == word)
    }
}

/// A struct of settings; made by [`fields!`](crate::fields!).
pub trait Fields: Copy + PartialEq + Eq + fmt::Debug + Send + Sync + 'static {
    /// The fields in the order of their declaration.
    const FIELDS: &'static [Field];

    /// Every field at its default, and those without one at the least value that they take.
    fn least() -> Self;

    /// The value of the field at this place of [`Fields::FIELDS`]; [`Value::Null`] behind the last.
    fn get(&self, index: usize) -> Value;

    /// Sets a field.
    ///
    /// # Errors
    /// [`FieldError`]; nothing is changed then.
    fn set(&mut self, index: usize, value: Value) -> Result<(), FieldError>;

    /// The place of the field of this name.
    #[must_use]
    fn index_of(name: &str) -> Option<usize> {
        Self::FIELDS.iter().position(|field| field.name == name)
    }

    /// Each field with its value.
    fn values(&self) -> impl Iterator<Item = (&'static Field, Value)> {
        (0..).zip(Self::FIELDS).map(|(index, field)| (field, self.get(index)))
    }
}

/// A struct from all of its fields, each by its name; `None` if one of them is missing, unknown or out of
/// its range.
#[must_use]
pub fn all_of<S: Fields>(values: &[(&str, Value)]) -> Option<S> {
    let mut all = S::least();
    for (name, value) in values {
        all.set(S::index_of(name)?, *value).ok()?;
    }
    let is_given = |field: &Field| values.iter().any(|(name, _)| *name == field.name);
    S::FIELDS.iter().all(is_given).then_some(all)
}

/// A change of some fields; the others stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patch<S> {
    /// The values of the fields that change. The others are at their least, so that two patches that
    /// change the same are equal.
    values: S,
    /// A bit for each field that changes, by its place.
    changed: u64,
}

impl<S: Fields> Default for Patch<S> {
    fn default() -> Self {
        Self { values: S::least(), changed: 0 }
    }
}

impl<S: Fields> Patch<S> {
    /// Changes the field of this name too.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), FieldError> {
        let index = S::index_of(name).ok_or(FieldError::Unknown)?;
        self.set_at(index, value)
    }

    /// The same by the field's place.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn set_at(&mut self, index: usize, value: Value) -> Result<(), FieldError> {
        self.values.set(index, value)?;
        self.changed |= bit(index);
        Ok(())
    }

    /// The settings with the change.
    #[must_use]
    pub fn apply(&self, settings: S) -> S {
        let mut new = settings;
        for (index, value) in self.changes() {
            let set = new.set(index, value);
            assert!(set.is_ok(), "a patch holds only values that its fields take");
        }
        new
    }

    /// The fields that change, by their places, with their new values.
    pub fn changes(&self) -> impl Iterator<Item = (usize, Value)> + '_ {
        (0..S::FIELDS.len()).filter(|index| self.changed & bit(*index) != 0).map(|index| (index, self.values.get(index)))
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed == 0
    }
}

fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or(0)
}

/// Declares settings: `NUMBER name: Type = default, "text";`, with `required` where there is no
/// default, `in MIN..=MAX,` behind the default where numbers are limited, and `internal` before the
/// number of what clients never see.
#[macro_export]
macro_rules! fields {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident {
            $( $(@$internal:ident)? $number:literal $field:ident : $type:ty = $default:tt $(:: $rest:tt)* $(, in $range:expr)?, $about:literal; )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis struct $name {
            $( #[doc = $about] pub $field: $type, )*
        }

        impl $crate::fields::Fields for $name {
            const FIELDS: &'static [$crate::fields::Field] = &[
                $( $crate::fields::Field {
                    number: $number,
                    name: stringify!($field),
                    kind: $crate::field_kind!($type $(, $range)?),
                    is_nullable: <$type as $crate::fields::FieldType>::IS_NULLABLE,
                    is_required: $crate::field_is_required!($default),
                    is_internal: $crate::field_is_internal!($($internal)?),
                    about: $about,
                }, )*
            ];

            fn least() -> Self {
                Self { $( $field: $crate::field_default!($type, $default $(:: $rest)*), )* }
            }

            fn get(&self, index: usize) -> $crate::fields::Value {
                let values = [ $( $crate::fields::FieldType::value(self.$field), )* ];
                values.get(index).copied().unwrap_or($crate::fields::Value::Null)
            }

            fn set(&mut self, index: usize, value: $crate::fields::Value) -> Result<(), $crate::fields::FieldError> {
                let field = Self::FIELDS.get(index).ok_or($crate::fields::FieldError::Unknown)?;
                #[allow(unused_variables, reason = "there may be no fields")]
                let value = field.check(value)?;
                let out_of_range = $crate::fields::FieldError::OutOfRange(*field);
                $( if field.number == $number {
                    self.$field = $crate::fields::FieldType::from_value(value).ok_or(out_of_range)?;
                    return Ok(());
                } )*
                Err(out_of_range)
            }
        }

        impl<'part> $crate::wire::Part<'part> for $name {
            fn put(&self, out: &mut $crate::wire::Out<'_>) {
                out.put_fields(self);
            }

            fn take(from: &mut $crate::wire::In<'part>) -> Result<Self, $crate::wire::DecodeError> {
                from.fields()
            }

            fn show(&self, _: &'static str, each: &mut dyn FnMut(&'static str, $crate::rows::Cell<'_>)) {
                $crate::fields::Fields::values(self).for_each(|(field, value)| each(field.name, value.into()));
            }
        }
    };
}

/// A part of [`fields!`].
#[doc(hidden)]
#[macro_export]
macro_rules! field_kind {
    ($type:ty) => {
        <$type as $crate::fields::FieldType>::KIND
    };
    ($type:ty, $range:expr) => {
        $crate::fields::FieldKind::Number(*($range).start() as u64, *($range).end() as u64)
    };
}

/// A part of [`fields!`].
#[doc(hidden)]
#[macro_export]
macro_rules! field_is_required {
    (required) => {
        true
    };
    ($default:tt) => {
        false
    };
}

/// A part of [`fields!`].
#[doc(hidden)]
#[macro_export]
macro_rules! field_is_internal {
    (internal) => {
        true
    };
    () => {
        false
    };
}

/// A part of [`fields!`].
#[doc(hidden)]
#[macro_export]
macro_rules! field_default {
    ($type:ty, required) => {
        <$type as $crate::fields::FieldType>::LEAST
    };
    ($type:ty, $($default:tt)*) => {
        $($default)*
    };
}

/// Declares an enum whose variants clients know as words; the numbers stand in records and are
/// stable.
#[macro_export]
macro_rules! words {
    (
        $(#[$doc:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_doc:meta])* $number:literal $variant:ident $word:literal, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis enum $name {
            $( $(#[$variant_doc])* $variant, )*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The stable word that clients use.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }

            /// The one of this word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $( $word => Some(Self::$variant), )* _ => None }
            }
        }

        impl $crate::fields::FieldType for $name {
            const KIND: $crate::fields::FieldKind = $crate::fields::FieldKind::Word(&[ $( $word, )* ]);
            const LEAST: Self = { let [first, ..] = [ $( Self::$variant, )* ]; first };

            fn value(self) -> $crate::fields::Value {
                $crate::fields::Value::Word(self.word())
            }

            fn from_value(value: $crate::fields::Value) -> Option<Self> {
                if let $crate::fields::Value::Word(word) = value { Self::from_word(word) } else { None }
            }
        }

        impl<'a> $crate::wire::Part<'a> for $name {
            fn put(&self, out: &mut $crate::wire::Out<'_>) {
                let number: u8 = match self { $( Self::$variant => $number, )* };
                number.put(out);
            }

            fn take(from: &mut $crate::wire::In<'a>) -> Result<Self, $crate::wire::DecodeError> {
                match <u8 as $crate::wire::Part>::take(from)? {
                    $( $number => Ok(Self::$variant), )*
                    _ => Err($crate::wire::DecodeError(concat!("a ", stringify!($name), " is none that this version knows"))),
                }
            }
        }
    };
}
