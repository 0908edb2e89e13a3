//! The types that fields can have.

use super::{FieldKind, Value};
use crate::types::{Quantity, Timestamp};

/// A type that a field can have.
pub trait FieldType: Copy {
    /// What values it takes, where the declaration does not say so.
    const KIND: FieldKind;
    /// Whether it may be without a value.
    const IS_NULLABLE: bool = false;
    /// What stands in a required field until it is set: the least value that makes sense.
    const LEAST: Self;

    /// The value.
    fn value(self) -> Value;

    /// The value of a field that [`Field::check`] took; `None` if it is of another type.
    fn from_value(value: Value) -> Option<Self>;
}

impl FieldType for bool {
    const KIND: FieldKind = FieldKind::Bool;
    const LEAST: Self = false;

    fn value(self) -> Value {
        Value::Bool(self)
    }

    fn from_value(value: Value) -> Option<Self> {
        if let Value::Bool(value) = value { Some(value) } else { None }
    }
}

impl FieldType for u32 {
    const KIND: FieldKind = FieldKind::Number(0, u32::MAX as u64);
    const LEAST: Self = 0;

    fn value(self) -> Value {
        Value::Number(u64::from(self))
    }

    fn from_value(value: Value) -> Option<Self> {
        if let Value::Number(number) = value { Self::try_from(number).ok() } else { None }
    }
}

impl FieldType for u64 {
    const KIND: FieldKind = FieldKind::Number(0, u64::MAX);
    const LEAST: Self = 0;

    fn value(self) -> Value {
        Value::Number(self)
    }

    fn from_value(value: Value) -> Option<Self> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl FieldType for Quantity {
    const KIND: FieldKind = FieldKind::Number(0, Self::MAX.get() as u64);
    const LEAST: Self = Self::ONE;

    fn value(self) -> Value {
        Value::Number(u64::from(self.get()))
    }

    fn from_value(value: Value) -> Option<Self> {
        u32::from_value(value).and_then(Self::new)
    }
}

impl FieldType for Timestamp {
    const KIND: FieldKind = FieldKind::Time;
    const LEAST: Self = Self::ZERO;

    fn value(self) -> Value {
        Value::Time(self)
    }

    fn from_value(value: Value) -> Option<Self> {
        if let Value::Time(time) = value { Some(time) } else { None }
    }
}

impl<T: FieldType> FieldType for Option<T> {
    const KIND: FieldKind = T::KIND;
    const IS_NULLABLE: bool = true;
    const LEAST: Self = None;

    fn value(self) -> Value {
        self.map_or(Value::Null, T::value)
    }

    fn from_value(value: Value) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}
