//! Names, numbers and times that every workload shares. A value that exists is valid:
//! the constructors check, the fields are private.

use std::fmt;
use std::num::NonZeroU32;

/// Milliseconds since 1970-01-01T00:00:00Z, from 0 to [`Timestamp::MAX`] (the year 9999).
///
/// ```
/// use domain::types::Timestamp;
/// assert_eq!(Timestamp::from_millis(10_000).map(Timestamp::millis), Some(10_000));
/// assert_eq!(Timestamp::from_millis(u64::MAX), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The first instant.
    pub const ZERO: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z: the last that RFC 3339 can write. It fits in 48 bits.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// `None` above [`Timestamp::MAX`].
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis <= Self::MAX.0 { Some(Self(millis)) } else { None }
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The instant `millis` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }
}

/// How many units: 0 to 1,000,000,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Quantity(u32);

impl Quantity {
    /// None.
    pub const ZERO: Self = Self(0);
    /// A single unit.
    pub const ONE: Self = Self(1);
    /// The largest stock that a campaign may have.
    pub const MAX: Self = Self(1_000_000_000);

    /// `None` above [`Quantity::MAX`].
    pub const fn new(units: u32) -> Option<Self> {
        if units <= Self::MAX.0 { Some(Self(units)) } else { None }
    }

    /// The number of units.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// What is left after taking `other`; `None` if that is more than there is.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, at most [`Quantity::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).min(Self::MAX.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// The number of a claim in its campaign: 1, 2, 3, … in the order of decision, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Serial(NonZeroU32);

impl Serial {
    /// `None` for 0.
    pub const fn new(serial: u32) -> Option<Self> {
        match NonZeroU32::new(serial) {
            Some(serial) => Some(Self(serial)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Counted from 0, for use as an index.
    pub(crate) const fn index(self) -> usize {
        self.0.get().saturating_sub(1) as usize
    }
}

/// Why a text is no name. The text of [`fmt::Display`] is meant for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Nothing at all.
    Empty,
    /// Longer than the limit, which is named.
    TooLong(usize),
    /// A character outside the allowed ones.
    Character,
    /// A control character, where all others are allowed.
    Control,
    /// `.` or `..`, which a URL cannot carry.
    Dots,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "must not be empty"),
            Self::TooLong(max) => write!(f, "must not be longer than {max} characters"),
            Self::Character => write!(f, "may only hold the characters A-Z a-z 0-9 _ . : -"),
            Self::Control => write!(f, "must not hold control characters"),
            Self::Dots => write!(f, "must not be \".\" or \"..\""),
        }
    }
}

impl std::error::Error for NameError {}

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest key of a rate limit, in bytes.
pub const LIMIT_KEY_BYTES_MAX: usize = 255;
/// The longest request key, in bytes.
pub const REQUEST_KEY_BYTES_MAX: usize = 255;

/// Whether a byte may stand in a name: URL-safe without escaping.
pub const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if NAME_BYTES_MAX < text.len() {
        return Err(NameError::TooLong(NAME_BYTES_MAX));
    }
    if !text.bytes().all(is_name_byte) {
        return Err(NameError::Character);
    }
    if text == "." || text == ".." {
        return Err(NameError::Dots);
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name<'a>(&'a str);

        impl<'a> $name<'a> {
            /// Checks the form `[A-Za-z0-9_.:-]{1,128}`, not `.` or `..`.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with the text.
            pub fn new(text: &'a str) -> Result<Self, NameError> {
                check_name(text).map(|()| Self(text))
            }

            /// The text.
            pub const fn as_str(self) -> &'a str {
                self.0
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
    };
}

name_type! {
    /// The name of an aggregate (a campaign, a policy), chosen by who runs it.
    Name
}
name_type! {
    /// The person or account on whose behalf something is asked: an opaque id.
    SubjectId
}
name_type! {
    /// Who asked: the id of the caller's key, or `local`.
    ActorId
}
name_type! {
    /// The id of one request, found again in log, problem and record.
    RequestId
}

impl<'a> Name<'a> {
    /// A text that was a name before it was stored.
    ///
    /// # Panics
    /// If it is no name.
    pub(crate) fn checked(text: &'a str) -> Self {
        let Ok(name) = Self::new(text) else { panic!("{text:?} is stored as a name and is none") };
        name
    }

    /// A name that is part of the program.
    ///
    /// # Panics
    /// If it is empty or too long; in a constant, this is an error of the compiler.
    pub(crate) const fn fixed(text: &'static str) -> Name<'static> {
        assert!(!text.is_empty() && text.len() <= NAME_BYTES_MAX, "a fixed name has another length");
        Name(text)
    }

    /// The group that the name is in: all of it up to the first `:`. What is in one group shares one
    /// order, so that one command may touch several aggregates of it, all or nothing.
    ///
    /// ```
    /// use domain::types::Name;
    /// assert_eq!(Name::new("spring:points").unwrap().group(), "spring");
    /// assert_eq!(Name::new("spring").unwrap().group(), "spring");
    /// assert_eq!(Name::new(":spring").unwrap().group(), "");
    /// ```
    #[must_use]
    pub fn group(self) -> &'a str {
        self.0.split_once(':').map_or(self.0, |(group, _)| group)
    }
}

impl ActorId<'static> {
    /// The caller where no key is asked for.
    pub const LOCAL: Self = Self("local");
}

impl RequestId<'static> {
    /// For what nobody asked: commands that the engine gives itself.
    pub const ENGINE: Self = Self("engine");
    /// For what an operator asks on the machine itself.
    pub const OPERATOR: Self = Self("operator");
}

/// The caller's name for one request (`Idempotency-Key`): 1 to 255 visible ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestKey<'a>(&'a str);

impl<'a> RequestKey<'a> {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with the text.
    pub fn new(text: &'a str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if REQUEST_KEY_BYTES_MAX < text.len() {
            return Err(NameError::TooLong(REQUEST_KEY_BYTES_MAX));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NameError::Character);
        }
        Ok(Self(text))
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Whoever or whatever a rate limit counts: 1 to 255 bytes without control characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LimitKey<'a>(&'a str);

impl<'a> LimitKey<'a> {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with the text.
    pub fn new(text: &'a str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if LIMIT_KEY_BYTES_MAX < text.len() {
            return Err(NameError::TooLong(LIMIT_KEY_BYTES_MAX));
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        Ok(Self(text))
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_url_safe_and_bounded() {
        assert_eq!(SubjectId::new(""), Err(NameError::Empty));
        assert_eq!(SubjectId::new(".."), Err(NameError::Dots));
        assert_eq!(SubjectId::new("a b"), Err(NameError::Character));
        assert_eq!(SubjectId::new("ä"), Err(NameError::Character));
        // Letters of other scripts are letters too: the message lists the characters.
        assert!(SubjectId::new("가나다").unwrap_err().to_string().contains("A-Z a-z 0-9"));
        assert_eq!(SubjectId::new(&"x".repeat(129)), Err(NameError::TooLong(128)));
        assert!(SubjectId::new(&"x".repeat(128)).is_ok());
        assert!(SubjectId::new("user:7_a-b.c").is_ok());
    }

    #[test]
    fn a_request_key_is_visible_ascii() {
        assert!(RequestKey::new("f81d/4f=~").is_ok());
        assert_eq!(RequestKey::new("a\nb"), Err(NameError::Character));
        assert_eq!(RequestKey::new(&"k".repeat(256)), Err(NameError::TooLong(255)));
    }
}
