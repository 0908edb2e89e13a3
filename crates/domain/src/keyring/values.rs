//! The values that keys are made of. A value that exists is valid: the constructors check.

use std::fmt;

use crate::messages;
use crate::rows::Cell;
use crate::types::{ActorId, Name, RequestId, Timestamp};
use crate::wire::DecodeError;
use crate::wire::bytes::{In, Out, Part, put_text};

/// The longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The actor that the record names for all end users.
pub const USERS: &str = "users";

/// What a caller may do. `Admin` includes all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Manage campaigns and keys.
    Admin,
    /// Claim, and cancel claims.
    Issue,
    /// Redeem claims.
    Redeem,
    /// Read.
    Read,
}

impl Scope {
    /// All scopes, in the order in which the API lists them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Issue, Self::Redeem, Self::Read];

    /// The scope's name in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Issue => "issue",
            Self::Redeem => "redeem",
            Self::Read => "read",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Admin => 1,
            Self::Issue => 2,
            Self::Redeem => 4,
            Self::Read => 8,
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.word() == word).ok_or(UnknownScope)
    }
}

/// A word that is no scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownScope;

impl fmt::Display for UnknownScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be admin, issue, redeem or read")
    }
}

impl std::error::Error for UnknownScope {}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// The scopes in the set; `admin` stands for itself only.
    #[must_use]
    pub fn listed(self) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| self.0 & scope.bit() != 0).collect()
    }

    /// Whether the set allows this; `admin` allows everything.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listed().into_iter().map(Scope::word).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// In a record and in a key, there is at least one.
impl Part<'_> for Scopes {
    fn put(&self, out: &mut Out<'_>) {
        self.0.put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        let bits = u8::take(from)?;
        let scopes = Scope::ALL.into_iter().filter(|scope| bits & scope.bit() != 0).collect::<Self>();
        if scopes.0 == bits && bits != 0 { Ok(scopes) } else { Err(DecodeError("a key has unknown scopes, or none")) }
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Text(&self.to_string()));
    }
}

/// The name of a key: the characters of a name without the colon, which a bearer token cannot contain
/// (RFC 6750, 2.1), and none of the other actors' names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyName<'a>(&'a str);

/// A text that is no name of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongName;

impl<'a> KeyName<'a> {
    /// Checks the form `[A-Za-z0-9_.-]{1,64}`.
    ///
    /// # Errors
    /// [`WrongName`], also for `local`, `users` and `engine`.
    pub fn new(text: &'a str) -> Result<Self, WrongName> {
        let is_name = text.len() <= NAME_BYTES_MAX && Name::new(text).is_ok() && !text.contains(':');
        let is_reserved = [ActorId::LOCAL.as_str(), USERS, RequestId::ENGINE.as_str()].contains(&text);
        if is_name && !is_reserved { Ok(Self(text)) } else { Err(WrongName) }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> Part<'a> for KeyName<'a> {
    fn put(&self, out: &mut Out<'_>) {
        put_text(out.body, self.0);
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        Self::new(from.body.text()?).map_err(|WrongName| DecodeError("the name of a key is malformed"))
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Text(self.0));
    }
}

/// The beginning of campaigns' names; empty: all campaigns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix<'a>(&'a str);

/// A text that begins no campaign's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongPrefix;

impl<'a> Prefix<'a> {
    /// Checks that the text can be the beginning of a campaign's name.
    ///
    /// # Errors
    /// [`WrongPrefix`].
    pub fn new(text: &'a str) -> Result<Self, WrongPrefix> {
        let is_beginning = text.is_empty() || Name::new(text).is_ok() || Name::new(&format!("{text}-")).is_ok();
        if is_beginning { Ok(Self(text)) } else { Err(WrongPrefix) }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> Part<'a> for Prefix<'a> {
    fn put(&self, out: &mut Out<'_>) {
        put_text(out.body, self.0);
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        Self::new(from.body.text()?).map_err(|WrongPrefix| DecodeError("the beginning of campaigns' names is malformed"))
    }

    fn show(&self, field: &'static str, each: &mut dyn FnMut(&'static str, Cell<'_>)) {
        each(field, Cell::Text(self.0));
    }
}

/// The SHA-256 digest of a secret, as the record has it. `==` takes a time that depends on the digests:
/// never compare with what a caller presents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest(pub [u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

impl SecretDigest {
    /// The digest as commands and events carry it.
    #[must_use]
    pub const fn shown(&self) -> ShownDigest<'_> {
        ShownDigest(&self.0)
    }
}

impl Part<'_> for SecretDigest {
    fn put(&self, out: &mut Out<'_>) {
        out.body.extend_from_slice(&self.0);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        from.body.array().map(Self)
    }
}

/// A [`SecretDigest`] that is elsewhere: commands and events of all workloads are as large as the largest
/// one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShownDigest<'a>(&'a [u8; 32]);

impl ShownDigest<'_> {
    /// The digest.
    #[must_use]
    pub const fn get(self) -> SecretDigest {
        SecretDigest(*self.0)
    }
}

impl fmt::Debug for ShownDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownDigest(…)")
    }
}

/// Shown by nothing.
impl<'a> Part<'a> for ShownDigest<'a> {
    fn put(&self, out: &mut Out<'_>) {
        out.body.extend_from_slice(self.0);
    }

    fn take(from: &mut In<'a>) -> Result<Self, DecodeError> {
        from.body.take(32)?.first_chunk().map(Self).ok_or(DecodeError("the bytes end too early"))
    }
}

/// The secret before the last one, which is valid for a while after a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overlap {
    /// Its digest.
    pub secret: SecretDigest,
    /// The first instant at which it is not accepted.
    pub until: Timestamp,
}

impl Part<'_> for Overlap {
    fn put(&self, out: &mut Out<'_>) {
        self.secret.put(out);
        self.until.put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
        Ok(Self { secret: Part::take(from)?, until: Part::take(from)? })
    }
}

messages! {
    /// Who asks for a change of the keyring.
    pub enum Asker<'a> {
        /// Whoever has the data folder.
        1 Operator,
        /// A caller who needed no key, because there was none.
        2 Anyone,
        /// The holder of a key.
        3 Holder {
            /// The name of the key.
            key: KeyName<'a>,
            /// The digest of the secret by which the holder was authenticated.
            secret: ShownDigest<'a>,
        },
    }
}
