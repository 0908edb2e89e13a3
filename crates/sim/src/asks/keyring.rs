//! Requests to the keyring, by operators and by callers whose own keys change meanwhile.

use domain::keyring::{Asker, Command, KeyName, Keyring, KeyringSettings, Prefix, Scope, Scopes, SecretDigest};
use domain::state::Precondition;
use domain::types::Name;
use domain::{Action, Listed};

use super::pick;

const KEYS: [&str; 4] = ["admin", "shop", "till", "gate"];
static SECRETS: [SecretDigest; 4] = [SecretDigest([1; 32]), SecretDigest([2; 32]), SecretDigest([3; 32]), SecretDigest([4; 32])];

/// A request to the keyring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyringAsk {
    /// Create the keyring, which then exists for ever.
    Make,
    /// Create a key.
    Create(By, &'static str, Scopes, usize),
    /// Replace a key's secret; the old one stays valid for this many milliseconds.
    Rotate(By, &'static str, usize, u64),
    /// Revoke a key.
    Revoke(By, &'static str),
    /// Rotate the code key.
    RotateCodeKey(By),
}

/// The asking caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The operator.
    Operator,
    /// A caller without a key.
    Anyone,
    /// The holder of a key, authenticated with this secret.
    Holder(&'static str, usize),
}

impl KeyringAsk {
    /// A random request; `below(n)` returns a number below `n`.
    pub fn any(mut below: impl FnMut(u64) -> u64) -> Self {
        let by = match below(4) {
            0 => By::Anyone,
            1 | 2 => By::Holder(pick(&mut below, &KEYS), some_secret(&mut below)),
            _ => By::Operator,
        };
        let key = pick(&mut below, &KEYS);
        match below(12) {
            0 => Self::Make,
            1..=4 => Self::Create(by, key, some_scopes(&mut below), some_secret(&mut below)),
            5..=7 => Self::Rotate(by, key, some_secret(&mut below), pick(&mut below, &[0, 0, 50, 5_000])),
            8 => Self::Revoke(by, key),
            _ => Self::RotateCodeKey(by),
        }
    }

    pub(crate) fn action<'a>(&'a self, name: Name<'a>) -> Option<Action<'a>> {
        let command = match *self {
            Self::Make => {
                let settings = Keyring::any_settings(KeyringSettings {});
                return Some(Action::Put { name, settings, precondition: Precondition::IsNew });
            }
            Self::Create(by, key, scopes, secret) => {
                let (key, campaigns) = (KeyName::new(key).ok()?, Prefix::new("").ok()?);
                Command::CreateKey { by: by.asker()?, key, scopes, campaigns, secret: SECRETS[secret].shown() }
            }
            Self::Rotate(by, key, secret, overlap_ms) => {
                Command::RotateKey { by: by.asker()?, key: KeyName::new(key).ok()?, secret: SECRETS[secret].shown(), overlap_ms }
            }
            Self::Revoke(by, key) => Command::RevokeKey { by: by.asker()?, key: KeyName::new(key).ok()? },
            Self::RotateCodeKey(by) => Command::RotateCodeKey { by: by.asker()? },
        };
        Some(Action::of::<Keyring>(name, command))
    }
}

impl By {
    fn asker(self) -> Option<Asker<'static>> {
        Some(match self {
            Self::Operator => Asker::Operator,
            Self::Anyone => Asker::Anyone,
            Self::Holder(key, secret) => Asker::Holder { key: KeyName::new(key).ok()?, secret: SECRETS[secret].shown() },
        })
    }
}

/// Mostly admin scopes, whose loss has more consequences.
fn some_scopes(below: &mut impl FnMut(u64) -> u64) -> Scopes {
    let sets: [&[Scope]; 3] = [&[Scope::Admin], &[Scope::Admin, Scope::Read], &[Scope::Issue, Scope::Redeem]];
    pick(below, &sets).iter().copied().collect()
}

fn some_secret(below: &mut impl FnMut(u64) -> u64) -> usize {
    pick(below, &[0, 1, 2, 3])
}
