//! Why not, in the words that clients match. `rejections!` declares a workload's: a number and a code
//! that are stable and never used again, whether the same request may be granted later without
//! anybody changing it, and what the caller needs next.

use std::fmt;

use crate::types::{Quantity, Serial, Timestamp};

/// What a rejection tells beside its code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Detail {
    /// A whole number.
    Number(u64),
    /// An instant.
    Time(Timestamp),
    /// Some numbers.
    Numbers(Vec<u64>),
    /// A word.
    Word(&'static str),
}

/// A rejection that clients can tell from others.
pub trait Coded: fmt::Debug {
    /// Its number; stable.
    fn number(&self) -> u8;

    /// The stable word that clients match.
    fn code(&self) -> &'static str;

    /// Whether the same request could be granted later without anybody changing it.
    fn is_transient(&self) -> bool;

    /// What it tells beside its code, each by its name.
    fn details(&self) -> Vec<(&'static str, Detail)>;
}

/// A type that a rejection tells of.
pub trait DetailType {
    /// What is told.
    fn detail(&self) -> Detail;
}

impl DetailType for u32 {
    fn detail(&self) -> Detail {
        Detail::Number(u64::from(*self))
    }
}

impl DetailType for u64 {
    fn detail(&self) -> Detail {
        Detail::Number(*self)
    }
}

impl DetailType for Quantity {
    fn detail(&self) -> Detail {
        Detail::Number(u64::from(self.get()))
    }
}

impl DetailType for Timestamp {
    fn detail(&self) -> Detail {
        Detail::Time(*self)
    }
}

impl DetailType for &'static str {
    fn detail(&self) -> Detail {
        Detail::Word(self)
    }
}

impl DetailType for Vec<Serial> {
    fn detail(&self) -> Detail {
        Detail::Numbers(self.iter().map(|serial| u64::from(serial.get())).collect())
    }
}

/// Declares the rejections of a workload in the order of precedence, one line for each:
/// `NUMBER Variant "code" transient { field: Type, }` or `… lasting { … }`.
#[macro_export]
macro_rules! rejections {
    (
        $(#[$doc:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_doc:meta])* $number:literal $variant:ident $code:literal $lasting:ident
               $({ $( $(#[$field_doc:meta])* $field:ident : $type:ty, )* })?, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        $vis enum $name {
            $( $(#[$variant_doc])* $variant $({ $( $(#[$field_doc])* $field: $type, )* })?, )*
        }

        impl $name {
            /// Every code, in the order of precedence.
            pub const CODES: &'static [&'static str] = &[ $( $code, )* ];
        }

        impl $crate::rejections::Coded for $name {
            fn number(&self) -> u8 {
                match self { $( Self::$variant { .. } => $number, )* }
            }

            fn code(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $code, )* }
            }

            fn is_transient(&self) -> bool {
                match self { $( Self::$variant { .. } => $crate::rejections!(@$lasting), )* }
            }

            fn details(&self) -> Vec<(&'static str, $crate::rejections::Detail)> {
                match self { $(
                    Self::$variant $({ $( $field, )* })? => vec![
                        $($( (stringify!($field), $crate::rejections::DetailType::detail($field)), )*)?
                    ],
                )* }
            }
        }
    };
    (@transient) => {
        true
    };
    (@lasting) => {
        false
    };
}
