//! The keyring: which keys there are, with the digests of their secrets.

use std::collections::BTreeMap;

use domain::fields::Value;
use domain::keyring::{
    self as theirs, Asker, KeptKeyring, Key, Keyring, KeyringSettings, Overlap, Scope, Scopes, SecretDigest, ShownDigest, key_bytes,
};
use domain::rows::Table;
use domain::types::Timestamp;

use crate::adapter::same;
use crate::words::refuse_if;
use crate::workload::{CommandOf, Rows, Rules, RulingOf, Translated};
use crate::{Detail, Head, No, Ruling};

const DAY_MS: u64 = 86_400_000;

/// What can be asked of the keyring.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Make a key.
    Create {
        /// Who asks.
        by: Asker<'a>,
        /// The name of the key.
        key: &'a str,
        /// What the key allows.
        scopes: Scopes,
        /// The beginning of the names of its campaigns.
        campaigns: &'a str,
        /// The digest of its secret.
        secret: ShownDigest<'a>,
    },
    /// Give a key another secret.
    Rotate {
        /// Who asks.
        by: Asker<'a>,
        /// Whether earlier secrets keep their overlaps, as all but older logs ask.
        keeps: bool,
        /// Which key.
        key: &'a str,
        /// The digest of the new secret.
        secret: ShownDigest<'a>,
        /// For how long the secret before stays valid.
        overlap_ms: u64,
    },
    /// End a key.
    Revoke {
        /// Who asks.
        by: Asker<'a>,
        /// Which key.
        key: &'a str,
    },
    /// Take another code key.
    RotateCodeKey {
        /// Who asks.
        by: Asker<'a>,
    },
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There is a key.
    Created,
    /// A key has another secret.
    Rotated,
    /// A key has ended.
    Revoked,
    /// The code key of this number is the one of new campaigns.
    CodeKey(u32),
}

/// What changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// There is a key.
    Created {
        /// Its name.
        key: String,
        /// What it allows.
        scopes: Scopes,
        /// The beginning of the names of its campaigns.
        campaigns: String,
        /// The digest of its secret.
        secret: SecretDigest,
    },
    /// A key has another secret.
    Rotated {
        /// Whether earlier secrets keep their overlaps.
        keeps: bool,
        /// Which key.
        key: String,
        /// The digest of the new secret.
        secret: SecretDigest,
        /// For how long the secret before stays valid.
        overlap_ms: u64,
    },
    /// A key has ended.
    Revoked(String),
    /// The code key of this number is the one of new campaigns.
    CodeKey(u32),
}

/// The keyring as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    /// What every aggregate has.
    pub head: Head,
    /// There is nothing to choose.
    pub settings: KeyringSettings,
    /// Keys by name, revoked ones included.
    pub keys: BTreeMap<String, Key>,
    /// How many changes there were.
    pub changes: u64,
    /// The number of the code key of new campaigns.
    pub code_key: u32,
}

impl Rules for Ring {
    type Of = Keyring;
    type Ask<'a> = Ask<'a>;
    type Outcome = Outcome;
    type Effect = Effect;
    const IS_REMOVABLE: bool = false;

    fn new(head: Head, settings: KeyringSettings) -> Self {
        Self { head, settings, keys: BTreeMap::new(), changes: 0, code_key: 1 }
    }

    fn figures(&self, _settings: &KeyringSettings, _now: Timestamp) -> Vec<(&'static str, Value)> {
        vec![
            ("keys", Value::Number(self.keys.len() as u64)),
            ("changes", Value::Number(self.changes)),
            ("code_key", Value::Number(u64::from(self.code_key))),
        ]
    }

    fn decide(&self, ask: &Ask<'_>, _has_key: bool, now: Timestamp) -> Result<RulingOf<Self>, No> {
        match *ask {
            Ask::Create { by, key, scopes, campaigns, secret } => {
                self.check_asker(by, now)?;
                let is_admin = scopes.listed().contains(&Scope::Admin);
                refuse_if(is_admin && !campaigns.is_empty(), || No::new("admin_key_limited"))?;
                refuse_if(self.keys.is_empty() && !is_admin, || No::new("first_key_not_admin"))?;
                refuse_if(self.keys.contains_key(key), || No::new("key_exists"))?;
                refuse_if(10_000 <= self.keys.len(), || No::new("keys_full"))?;
                let effect = Effect::Created { key: key.to_owned(), scopes, campaigns: campaigns.to_owned(), secret: secret.get() };
                Ok(Ruling::effect(Outcome::Created, effect))
            }
            Ask::Rotate { by, keeps, key, secret, overlap_ms } => {
                self.check_asker(by, now)?;
                self.check_live(key)?;
                refuse_if(30 * DAY_MS < overlap_ms, || No::new("key_overlap_too_long"))?;
                let valid = self.keys.get(key).map(|kept| valid(kept, now)).unwrap_or_default();
                if keeps && overlap_ms != 0 && valid.len() == 4 {
                    let first = valid.iter().map(|overlap| overlap.until).min().unwrap_or(now);
                    return Err(No::with("key_overlaps_full", "overlap_until", Detail::Time(first)));
                }
                Ok(Ruling::effect(Outcome::Rotated, Effect::Rotated { keeps, key: key.to_owned(), secret: secret.get(), overlap_ms }))
            }
            Ask::Revoke { by, key } => {
                self.check_asker(by, now)?;
                let admins: Vec<&str> = self.admins().collect();
                refuse_if(by != Asker::Operator && admins == [key], || No::new("last_admin_key"))?;
                self.check_live(key)?;
                Ok(Ruling::effect(Outcome::Revoked, Effect::Revoked(key.to_owned())))
            }
            Ask::RotateCodeKey { by } => {
                self.check_asker(by, now)?;
                refuse_if(1_000 <= self.code_key, || No::new("code_keys_full"))?;
                let number = self.code_key + 1;
                Ok(Ruling::effect(Outcome::CodeKey(number), Effect::CodeKey(number)))
            }
        }
    }

    fn apply(&mut self, effect: &Effect, at: Timestamp) {
        self.changes += 1;
        match effect {
            Effect::Created { key, scopes, campaigns, secret } => {
                let (campaigns, scopes, secret) = (campaigns.as_str().into(), *scopes, *secret);
                let made = Key { scopes, campaigns, created_at: at, rotated_at: None, revoked_at: None, secret, overlaps: Vec::new() };
                self.keys.insert(key.clone(), made);
            }
            Effect::Rotated { keeps, key, secret, overlap_ms } => {
                if let Some(kept) = self.keys.get_mut(key) {
                    let until = at.plus_millis(*overlap_ms);
                    let earlier = if *keeps { valid(kept, at) } else { Vec::new() };
                    let all = earlier.into_iter().chain([Overlap { secret: kept.secret, until }]);
                    kept.overlaps = all.filter(|_| *overlap_ms != 0).collect();
                    kept.secret = *secret;
                    kept.rotated_at = Some(at);
                }
            }
            Effect::Revoked(key) => {
                if let Some(kept) = self.keys.get_mut(key) {
                    kept.revoked_at = Some(at);
                    kept.overlaps = Vec::new();
                }
            }
            Effect::CodeKey(number) => self.code_key = *number,
        }
    }

    /// Who asked is not in the record of the effect, so that the question is the operator's, whom nothing
    /// but the keys themselves binds.
    fn asked_for<'a>(_it: Option<&'a Self>, effect: &'a Effect) -> Ask<'a> {
        let by = Asker::Operator;
        match effect {
            Effect::Created { key, scopes, campaigns, secret } => {
                Ask::Create { by, key, scopes: *scopes, campaigns, secret: secret.shown() }
            }
            Effect::Rotated { keeps, key, secret, overlap_ms } => {
                Ask::Rotate { by, keeps: *keeps, key, secret: secret.shown(), overlap_ms: *overlap_ms }
            }
            Effect::Revoked(key) => Ask::Revoke { by, key },
            Effect::CodeKey(_) => Ask::RotateCodeKey { by },
        }
    }
}

impl Ring {
    /// Keys that can manage keys.
    fn admins(&self) -> impl Iterator<Item = &str> {
        let is_admin = |key: &Key| key.revoked_at.is_none() && key.scopes.listed().contains(&Scope::Admin);
        self.keys.iter().filter(move |(_, key)| is_admin(key)).map(|(name, _)| name.as_str())
    }

    fn check_asker(&self, by: Asker<'_>, now: Timestamp) -> Result<(), No> {
        let ended = || No::new("asker_ended");
        match by {
            Asker::Operator => Ok(()),
            Asker::Anyone => refuse_if(!self.keys.is_empty(), ended),
            Asker::Holder { key, secret } => {
                let kept = self.keys.get(key.as_str()).ok_or_else(ended)?;
                let mut secrets = vec![kept.secret];
                secrets.extend(valid(kept, now).iter().map(|overlap| overlap.secret));
                refuse_if(kept.revoked_at.is_some() || !secrets.contains(&secret.get()), ended)
            }
        }
    }

    fn check_live(&self, key: &str) -> Result<(), No> {
        let kept = self.keys.get(key).ok_or_else(|| No::new("key_not_found"))?;
        kept.revoked_at.map_or(Ok(()), |at| Err(No::with("key_revoked", "revoked_at", Detail::Time(at))))
    }
}

/// Earlier secrets that are valid at this time.
fn valid(key: &Key, now: Timestamp) -> Vec<Overlap> {
    key.overlaps.iter().filter(|overlap| now < overlap.until).copied().collect()
}

impl Translated for Ring {
    fn ask(command: CommandOf<'_, Self>) -> Ask<'_> {
        match command {
            theirs::Command::CreateKey { by, key, scopes, campaigns, secret } => {
                Ask::Create { by, key: key.as_str(), scopes, campaigns: campaigns.as_str(), secret }
            }
            theirs::Command::RotateKeyAlone { by, key, secret, overlap_ms } => {
                Ask::Rotate { by, keeps: false, key: key.as_str(), secret, overlap_ms }
            }
            theirs::Command::RotateKey { by, key, secret, overlap_ms } => {
                Ask::Rotate { by, keeps: true, key: key.as_str(), secret, overlap_ms }
            }
            theirs::Command::RevokeKey { by, key } => Ask::Revoke { by, key: key.as_str() },
            theirs::Command::RotateCodeKey { by } => Ask::RotateCodeKey { by },
        }
    }

    fn effect(event: &theirs::Event<'_>) -> Effect {
        match *event {
            theirs::Event::KeyCreated { key, scopes, campaigns, secret } => {
                let (key, campaigns) = (key.as_str().to_owned(), campaigns.as_str().to_owned());
                Effect::Created { key, scopes, campaigns, secret: secret.get() }
            }
            theirs::Event::KeyRotatedAlone { key, secret, overlap_ms } => {
                Effect::Rotated { keeps: false, key: key.as_str().to_owned(), secret: secret.get(), overlap_ms }
            }
            theirs::Event::KeyRotated { key, secret, overlap_ms } => {
                Effect::Rotated { keeps: true, key: key.as_str().to_owned(), secret: secret.get(), overlap_ms }
            }
            theirs::Event::KeyRevoked { key } => Effect::Revoked(key.as_str().to_owned()),
            theirs::Event::CodeKeyRotated { number } => Effect::CodeKey(number),
        }
    }

    fn answer(outcome: &theirs::Outcome) -> Outcome {
        match *outcome {
            theirs::Outcome::KeyCreated => Outcome::Created,
            theirs::Outcome::KeyRotated => Outcome::Rotated,
            theirs::Outcome::KeyRevoked => Outcome::Revoked,
            theirs::Outcome::CodeKeyRotated { number } => Outcome::CodeKey(number),
        }
    }

    fn outcome(answer: &Outcome) -> Option<theirs::Outcome> {
        Some(match *answer {
            Outcome::Created => theirs::Outcome::KeyCreated,
            Outcome::Rotated => theirs::Outcome::KeyRotated,
            Outcome::Revoked => theirs::Outcome::KeyRevoked,
            Outcome::CodeKey(number) => theirs::Outcome::CodeKeyRotated { number },
        })
    }

    fn rows(&self, _table: &Table) -> Rows<'_> {
        Box::new(std::iter::empty())
    }

    fn entries(&self, each: &mut dyn FnMut(&[u8])) {
        self.keys.iter().for_each(|(name, key)| each(&key_bytes(name, key)));
    }

    fn compare(&self, found: &KeptKeyring) -> Result<(), String> {
        let keys = found.items.ring.keys.iter().map(|(name, key)| (name.to_string(), key.clone())).collect();
        same(|| "the keys".to_owned(), &keys, &self.keys)
    }
}
