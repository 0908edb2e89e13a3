//! The keyring: API keys. One aggregate with a fixed name holds them all, so that each creation, rotation and
//! revocation has one place in the order of all decisions. It stores digests of secrets, never secrets;
//! callers are authenticated outside of the rules. It also stores the number of the *code key* from which
//! the codes of new campaigns' claims are made. Code keys themselves are derived outside, from a secret that
//! is not in the record.
//!
//! Invariants ([`Workload::check`]): no key with the scope `admin` is limited to some campaigns; a key
//! that was revoked has one secret at most; a key has at most [`OVERLAPS_MAX`] earlier secrets; there are at
//! most [`KEYS_MAX`] keys, and [`CODE_KEYS_MAX`] code keys.
//!
//! Terms: to *rotate* a key is to give it another secret; the *overlap* is how long the secret before
//! stays valid, which a later rotation never shortens; the *asker* is who asks for a change, as far as the rules need to know it.

mod keys;
mod values;

use std::sync::Arc;

pub use self::keys::{Key, Keys, Ring, key_bytes};
pub use self::values::{
    Asker, KeyName, Overlap, Prefix, Scope, Scopes, SecretDigest, ShownDigest, USERS, UnknownScope, WrongName, WrongPrefix,
};
use crate::hash::HashSeed;
use crate::rows::{Rows, Table};
use crate::types::{Name, Timestamp};
use crate::wire::DecodeError;
use crate::workload::{Aggregate, Ask, Decided, Kind, Workload};
use crate::{fields, messages, rejections};

/// The workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keyring;

/// The keyring with its keys.
pub type KeptKeyring = Aggregate<Keyring>;

/// The name of the only keyring. Names belong to a kind, so that a campaign may have the same.
pub const NAME: Name<'static> = Name::fixed("keyring");
/// How many keys there may be, revoked ones included.
pub const KEYS_MAX: usize = 10_000;
/// How many code keys there may be. A server keeps those in memory that it uses.
pub const CODE_KEYS_MAX: u32 = 1_000;
/// How long the secret before may stay valid after a rotation, in milliseconds: 30 days.
pub const OVERLAP_MS_MAX: u64 = 30 * 24 * 3_600 * 1_000;
/// How many earlier secrets of a key may be valid at once: enough to ask again a few times after an answer
/// was lost.
pub const OVERLAPS_MAX: usize = 4;

// --- Settings -------------------------------------------------------------------------------

fields! {
    /// There is nothing to choose.
    pub struct KeyringSettings {}
}

fields! {
    /// What follows from what the keyring holds.
    pub struct KeyringFigures {
        1 keys: u32 = required, "How many keys there are, revoked ones included.";
        2 changes: u64 = required, "How many changes there were.";
        3 code_key: u32 = required, "The number of the key from which the codes of new campaigns come.";
    }
}

// --- Commands and events --------------------------------------------------------------------

messages! {
    /// What can be asked of the keyring.
    pub enum Command<'a> {
        /// Make a key.
        1 CreateKey {
            /// Who asks.
            by: Asker<'a>,
            /// The name of the key.
            key: KeyName<'a>,
            /// What the key allows.
            scopes: Scopes,
            /// The beginning of the names of its campaigns.
            campaigns: Prefix<'a>,
            /// The digest of its secret.
            secret: ShownDigest<'a>,
        },
        /// Give a key another secret, as older logs ask for it: secrets before the last one end.
        2 RotateKeyAlone {
            /// Who asks.
            by: Asker<'a>,
            /// Which key.
            key: KeyName<'a>,
            /// The digest of the new secret.
            secret: ShownDigest<'a>,
            /// For how many milliseconds the secret before stays valid.
            overlap_ms: u64,
        },
        /// End a key with both its secrets.
        3 RevokeKey {
            /// Who asks.
            by: Asker<'a>,
            /// Which key.
            key: KeyName<'a>,
        },
        /// Take another code key for campaigns that are made from now on.
        4 RotateCodeKey {
            /// Who asks.
            by: Asker<'a>,
        },
        /// Give a key another secret. Without an overlap all earlier ones end; with one, secrets whose
        /// overlap has not ended stay valid as long as was promised.
        5 RotateKey {
            /// Who asks.
            by: Asker<'a>,
            /// Which key.
            key: KeyName<'a>,
            /// The digest of the new secret.
            secret: ShownDigest<'a>,
            /// For how many milliseconds the secret before stays valid.
            overlap_ms: u64,
        },
    }
}

messages! {
    /// What happened in the keyring.
    pub enum Event<'a> {
        /// There is a key.
        1 KeyCreated {
            /// The name of the key.
            key: KeyName<'a>,
            /// What the key allows.
            scopes: Scopes,
            /// The beginning of the names of its campaigns.
            campaigns: Prefix<'a>,
            /// The digest of its secret.
            secret: ShownDigest<'a>,
        },
        /// A key has another secret; secrets before the last one have ended, as in older journals.
        2 KeyRotatedAlone {
            /// Which key.
            key: KeyName<'a>,
            /// The digest of the new secret.
            secret: ShownDigest<'a>,
            /// For how many milliseconds the secret before stays valid.
            overlap_ms: u64,
        },
        /// A key has ended.
        3 KeyRevoked {
            /// Which key.
            key: KeyName<'a>,
        },
        /// Campaigns that are made from now on have another code key.
        4 CodeKeyRotated {
            /// Its number.
            number: u32,
        },
        /// A key has another secret. With an overlap, earlier ones are valid as long as was promised.
        5 KeyRotated {
            /// Which key.
            key: KeyName<'a>,
            /// The digest of the new secret.
            secret: ShownDigest<'a>,
            /// For how many milliseconds the secret before stays valid.
            overlap_ms: u64,
        },
    }
}

messages! {
    /// What took effect. The key is the request's own.
    pub enum Outcome {
        /// There is a key.
        1 KeyCreated,
        /// A key has another secret.
        2 KeyRotated,
        /// A key has ended.
        3 KeyRevoked,
        /// There is another code key.
        4 CodeKeyRotated {
            /// Its number.
            number: u32,
        },
    }
}

// --- Rejections -----------------------------------------------------------------------------

rejections! {
    /// Why not, in the order of precedence.
    pub enum Rejection {
        /// The asker's own key was revoked or rotated ahead of the command; or the asker needed no key,
        /// and now there are keys.
        60 AskerEnded "asker_ended" lasting,
        /// A key with the scope `admin` manages keys, which belong to no campaign.
        61 AdminLimited "admin_key_limited" lasting,
        /// With a first key without `admin`, no caller could make a second one.
        62 FirstNotAdmin "first_key_not_admin" lasting,
        /// There is or was a key of this name. Names are not used again, because the record names callers
        /// by them.
        63 KeyExists "key_exists" lasting,
        /// There are as many keys as there may be.
        64 KeysFull "keys_full" lasting,
        /// There is no key of this name.
        65 KeyNotFound "key_not_found" lasting,
        /// The key was revoked.
        66 KeyRevoked "key_revoked" lasting {
            /// When.
            revoked_at: Timestamp,
        },
        /// The overlap is longer than [`OVERLAP_MS_MAX`].
        67 OverlapTooLong "key_overlap_too_long" lasting,
        /// As many earlier secrets are valid as may be, and each was promised to be.
        70 OverlapsFull "key_overlaps_full" transient {
            /// When the first of them ends.
            overlap_until: Timestamp,
        },
        /// Without this key, no caller could make keys.
        68 LastAdmin "last_admin_key" lasting,
        /// There were as many code keys as there may be.
        69 CodeKeysFull "code_keys_full" lasting,
    }
}

// --- State ----------------------------------------------------------------------------------

/// What the keyring holds.
#[derive(Debug, Default)]
pub struct KeyringItems {
    /// The keys, shared with whoever authenticates by them.
    pub ring: Arc<Ring>,
}

// --- The workload ---------------------------------------------------------------------------

impl Workload for Keyring {
    const KIND: Kind = Kind::Keyring;
    const ENTRIES: &'static str = "api_keys";
    const IS_REMOVABLE: bool = false;
    const COUNT_MAX: usize = 1;
    // Who may read need not know who may call: `/v1/keys` is for those who manage keys.
    const IS_SERVED: bool = false;
    // What a key may do is nobody's business who reads reports; the API lists keys from the state.
    const TABLES: &'static [&'static Table] = &[];

    type Settings = KeyringSettings;
    type Figures = KeyringFigures;
    type Items = KeyringItems;
    type Command<'a> = Command<'a>;
    type Event<'a> = Event<'a>;
    type Outcome = Outcome;
    type View = Arc<Ring>;
    type Rejection = Rejection;

    fn items(_settings: &KeyringSettings, _seed: HashSeed) -> KeyringItems {
        KeyringItems::default()
    }

    fn decide<'a>(keyring: &KeptKeyring, command: &Self::Command<'a>, ask: Ask) -> Result<Decided<'a, Self>, Rejection> {
        let keys = &keyring.items.ring.keys;
        match *command {
            Command::CreateKey { by, key, scopes, campaigns, secret } => {
                check_asker(keys, by, ask.now)?;
                check_new(keys, key, scopes, campaigns)?;
                Ok(Decided::Event(Event::KeyCreated { key, scopes, campaigns, secret }))
            }
            Command::RotateKeyAlone { by, key, secret, overlap_ms } => {
                check_asker(keys, by, ask.now)?;
                live(keys, key)?;
                check_overlap(overlap_ms)?;
                Ok(Decided::Event(Event::KeyRotatedAlone { key, secret, overlap_ms }))
            }
            Command::RotateKey { by, key, secret, overlap_ms } => {
                check_asker(keys, by, ask.now)?;
                let kept = live(keys, key)?;
                check_overlap(overlap_ms)?;
                check_room(kept, overlap_ms, ask.now)?;
                Ok(Decided::Event(Event::KeyRotated { key, secret, overlap_ms }))
            }
            Command::RevokeKey { by, key } => {
                check_asker(keys, by, ask.now)?;
                // The operator has the data folder at hand, and can make another key.
                if by != Asker::Operator && is_last_admin(keys, key) {
                    return Err(Rejection::LastAdmin);
                }
                live(keys, key)?;
                Ok(Decided::Event(Event::KeyRevoked { key }))
            }
            Command::RotateCodeKey { by } => {
                check_asker(keys, by, ask.now)?;
                let number = next_code_key(&keyring.items.ring).ok_or(Rejection::CodeKeysFull)?;
                Ok(Decided::Event(Event::CodeKeyRotated { number }))
            }
        }
    }

    fn evolve(keyring: &mut KeptKeyring, event: &Event<'_>, at: Timestamp) -> Outcome {
        let Ring { changes, code_key, keys } = Arc::make_mut(&mut keyring.items.ring);
        *changes = changes.saturating_add(1);
        match *event {
            Event::KeyCreated { key, scopes, campaigns, secret } => {
                let campaigns = campaigns.as_str().into();
                let made = Key {
                    scopes,
                    campaigns,
                    created_at: at,
                    rotated_at: None,
                    revoked_at: None,
                    secret: secret.get(),
                    overlaps: Vec::new(),
                };
                keys.insert(key.as_str().into(), made);
                Outcome::KeyCreated
            }
            Event::KeyRotatedAlone { key, secret, overlap_ms } => {
                changing(keys, key).overlaps.clear();
                changing(keys, key).rotate(secret.get(), overlap_ms, at);
                Outcome::KeyRotated
            }
            Event::KeyRotated { key, secret, overlap_ms } => {
                changing(keys, key).rotate(secret.get(), overlap_ms, at);
                Outcome::KeyRotated
            }
            Event::KeyRevoked { key } => {
                let kept = changing(keys, key);
                (kept.revoked_at, kept.overlaps) = (Some(at), Vec::new());
                Outcome::KeyRevoked
            }
            Event::CodeKeyRotated { number } => {
                *code_key = number;
                Outcome::CodeKeyRotated { number }
            }
        }
    }

    fn fits(keyring: &KeptKeyring, event: &Event<'_>) -> bool {
        let keys = &keyring.items.ring.keys;
        match *event {
            Event::KeyCreated { key, scopes, campaigns, .. } => check_new(keys, key, scopes, campaigns).is_ok(),
            Event::KeyRotatedAlone { key, overlap_ms, .. } | Event::KeyRotated { key, overlap_ms, .. } => {
                live(keys, key).is_ok() && check_overlap(overlap_ms).is_ok()
            }
            Event::KeyRevoked { key } => live(keys, key).is_ok(),
            Event::CodeKeyRotated { number } => next_code_key(&keyring.items.ring) == Some(number),
        }
    }

    fn figures(keyring: &KeptKeyring, _now: Timestamp) -> KeyringFigures {
        let Ring { changes, code_key, keys } = &*keyring.items.ring;
        let Ok(keys) = u32::try_from(keys.len()) else { panic!("more keys than any keyring holds") };
        KeyringFigures { keys, changes: *changes, code_key: *code_key }
    }

    fn view(keyring: &KeptKeyring, _outcome: Outcome, _now: Timestamp) -> Option<Arc<Ring>> {
        Some(Arc::clone(&keyring.items.ring))
    }

    fn entries_count(keyring: &KeptKeyring) -> u64 {
        keyring.items.ring.keys.len() as u64
    }

    fn rows(_event: &Event<'_>, _at: Timestamp, _rows: &mut impl Rows) {}

    fn touched(keyring: &KeptKeyring, event: &Event<'_>, each: &mut dyn FnMut(&[u8])) {
        let (Event::KeyCreated { key, .. }
        | Event::KeyRotatedAlone { key, .. }
        | Event::KeyRotated { key, .. }
        | Event::KeyRevoked { key }) = event
        else {
            return;
        };
        if let Some(kept) = keyring.items.ring.keys.get(key.as_str()) {
            each(&key_bytes(key.as_str(), kept));
        }
    }

    fn entries(keyring: &KeptKeyring, each: &mut dyn FnMut(&[u8])) {
        keyring.items.ring.keys.iter().for_each(|(key, kept)| each(&key_bytes(key, kept)));
    }

    fn check(keyring: &KeptKeyring) -> Result<(), &'static str> {
        let keys = &keyring.items.ring.keys;
        if KEYS_MAX < keys.len() {
            return Err("there are more keys than there may be");
        }
        if !(1..=CODE_KEYS_MAX).contains(&keyring.items.ring.code_key) {
            return Err("the number of the code key is none that there may be");
        }
        if keys.values().any(|key| key.scopes.allow(Scope::Admin) && !key.campaigns.is_empty()) {
            return Err("a key with the scope admin is limited to some campaigns");
        }
        if keys.values().any(|key| key.revoked_at.is_some() && !key.overlaps.is_empty()) {
            return Err("a revoked key has a secret before its last");
        }
        if keys.values().any(|key| OVERLAPS_MAX < key.overlaps.len()) {
            return Err("a key has more earlier secrets than it may have");
        }
        Ok(())
    }

    fn loaded(keyring: &mut KeptKeyring) -> Result<(), DecodeError> {
        Self::check(keyring).map_err(DecodeError)
    }

    fn adds_entry(keyring: &KeptKeyring, command: &Command<'_>) -> bool {
        matches!(command, Command::CreateKey { key, .. } if !keyring.items.ring.keys.contains_key(key.as_str()))
    }
}

// --- Helpers --------------------------------------------------------------------------------

/// What the rules say of a key that would be the first: the keyring itself is made with it.
///
/// # Errors
/// [`Rejection`].
pub fn check_first(key: KeyName<'_>, scopes: Scopes, campaigns: Prefix<'_>) -> Result<(), Rejection> {
    check_new(&Keys::new(), key, scopes, campaigns)
}

/// A caller was authenticated before the command got its place in the order. What has happened to the
/// caller's key since then counts.
fn check_asker(keys: &Keys, by: Asker<'_>, now: Timestamp) -> Result<(), Rejection> {
    let may_ask = match by {
        Asker::Operator => true,
        Asker::Anyone => keys.is_empty(),
        Asker::Holder { key, secret } => keys.get(key.as_str()).is_some_and(|kept| kept.has_secret(&secret.get(), now)),
    };
    if may_ask { Ok(()) } else { Err(Rejection::AskerEnded) }
}

fn check_new(keys: &Keys, key: KeyName<'_>, scopes: Scopes, campaigns: Prefix<'_>) -> Result<(), Rejection> {
    if scopes.allow(Scope::Admin) && !campaigns.as_str().is_empty() {
        return Err(Rejection::AdminLimited);
    }
    if keys.is_empty() && !scopes.allow(Scope::Admin) {
        return Err(Rejection::FirstNotAdmin);
    }
    if keys.contains_key(key.as_str()) {
        return Err(Rejection::KeyExists);
    }
    if KEYS_MAX <= keys.len() {
        return Err(Rejection::KeysFull);
    }
    Ok(())
}

fn check_overlap(overlap_ms: u64) -> Result<(), Rejection> {
    if overlap_ms <= OVERLAP_MS_MAX { Ok(()) } else { Err(Rejection::OverlapTooLong) }
}

/// A rotation without an overlap ends all earlier secrets, and needs no room.
fn check_room(key: &Key, overlap_ms: u64, now: Timestamp) -> Result<(), Rejection> {
    let ends: Vec<Timestamp> = key.overlaps.iter().map(|overlap| overlap.until).filter(|until| now < *until).collect();
    match ends.iter().min() {
        Some(first) if overlap_ms != 0 && OVERLAPS_MAX <= ends.len() => Err(Rejection::OverlapsFull { overlap_until: *first }),
        Some(_) | None => Ok(()),
    }
}

fn live<'k>(keys: &'k Keys, key: KeyName<'_>) -> Result<&'k Key, Rejection> {
    let kept = keys.get(key.as_str()).ok_or(Rejection::KeyNotFound)?;
    kept.revoked_at.map_or(Ok(kept), |revoked_at| Err(Rejection::KeyRevoked { revoked_at }))
}

fn next_code_key(ring: &Ring) -> Option<u32> {
    ring.code_key.checked_add(1).filter(|number| *number <= CODE_KEYS_MAX)
}

fn is_last_admin(keys: &Keys, key: KeyName<'_>) -> bool {
    let is_admin = keys.get(key.as_str()).is_some_and(Key::is_admin);
    is_admin && !keys.iter().any(|(name, other)| **name != *key.as_str() && other.is_admin())
}

fn changing<'k>(keys: &'k mut Keys, key: KeyName<'_>) -> &'k mut Key {
    let Some(kept) = keys.get_mut(key.as_str()) else { panic!("a record changes the key {:?}, which is not there", key.as_str()) };
    kept
}

// Tests: `crates/domain/tests/all/keyring.rs`, and over HTTP `crates/firstcome/tests/all/keys.rs`.
