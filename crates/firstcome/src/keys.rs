//! Changes of API keys, requested by a caller of the API, by the operator of a running server, or by the
//! operator of a stopped one, for whom `firstcome key` writes the journal itself. Also the JSON form of keys,
//! common to all three.

use std::sync::Arc;

use domain::keyring::{
    self, Asker, Command as Ask, KeptKeyring, Key, KeyName, Keyring, KeyringSettings, NAME, Outcome, Prefix, Rejection, Ring, Scope,
    Scopes, SecretDigest,
};
use domain::request::Keyed;
use domain::state::Precondition;
use domain::types::{ActorId, RequestId, Timestamp};
use domain::{Action, Command, Kind, Listed, Novelty};
use edge::auth::secret::Secret;
use edge::times;
use engine::Engine;
use engine::views::{Done, Over, Refusal};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::backend::{Backend, Declined};

/// A change of the keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Creates a key.
    Create {
        /// The name of the key.
        key: String,
        /// The key's scopes.
        scopes: Vec<String>,
        /// Prefix of the names of its campaigns; `None`: all campaigns.
        campaigns: Option<String>,
    },
    /// Replaces a key's secret.
    Rotate {
        /// The name of the key.
        key: String,
        /// How many milliseconds the old secret stays valid.
        overlap_ms: u64,
    },
    /// Revokes a key.
    Revoke {
        /// The name of the key.
        key: String,
    },
}

/// Identifies the request, for the record and the rules.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The actor in the record.
    pub actor: ActorId<'a>,
    /// The request.
    pub request_id: RequestId<'a>,
    /// The request key, if a retry gets the same answer.
    pub request: Option<Keyed<'a>>,
    /// The caller whose permission the rules check.
    pub by: Asker<'a>,
}

/// The backend that decides the change.
#[derive(Clone, Copy, Debug)]
pub enum Decider<'a> {
    /// A running server.
    Server(&'a App),
    /// The journal of a stopped server.
    Journal(&'a Engine),
}

/// The result of a change.
pub struct Changed {
    /// All keys after the change.
    pub ring: Arc<Ring>,
    /// The whole key as its holder sends it, if it has a new secret. Shown once and never stored.
    pub secret: Option<String>,
    /// Whether this is the answer to an earlier request with the same key.
    pub is_replayed: bool,
}

/// The code key of new campaigns, after a rotation.
#[derive(Clone, Copy, Debug)]
pub struct CodeKeyRotated {
    /// Its number.
    pub number: u32,
    /// Whether this is the answer to an earlier request with the same key.
    pub is_replayed: bool,
}

/// Why the keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The request is invalid, independent of the existing keys.
    #[error("{what}")]
    Field {
        /// The field of the API's body.
        field: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The rules rejected the change.
    #[error("{}", words_of(.0))]
    Rejected(Rejection),
    /// The change was not decided.
    #[error("{}", reason_of(.0))]
    Declined(Declined),
    /// The operating system provided no random bytes.
    #[error("cannot get random bytes: {0}")]
    Random(getrandom::Error),
}

impl Change {
    /// The name of the key.
    #[must_use]
    pub fn key(&self) -> &str {
        let (Self::Create { key, .. } | Self::Rotate { key, .. } | Self::Revoke { key }) = self;
        key
    }

    /// The change in the past tense, for the log.
    #[must_use]
    pub fn done(&self) -> &'static str {
        match self {
            Self::Create { .. } => "key made",
            Self::Rotate { .. } => "key rotated",
            Self::Revoke { .. } => "key revoked",
        }
    }

    /// The command, with the digest of the new secret if it needs one.
    fn command<'a>(&'a self, by: Asker<'a>, secret: &'a SecretDigest) -> Result<Ask<'a>, KeyError> {
        let unknown = |_| KeyError::Rejected(Rejection::KeyNotFound);
        let secret = secret.shown();
        Ok(match self {
            Self::Create { key, scopes, campaigns } => {
                let key = KeyName::new(key).map_err(|_| KeyError::Field { field: "key", what: WRONG_NAME })?;
                let scopes = scopes_of(scopes)?;
                // An empty text is most likely an unset variable, and must not grant all campaigns.
                let prefix = Prefix::new(campaigns.as_deref().unwrap_or_default()).ok().filter(|_| campaigns.as_deref() != Some(""));
                let campaigns = prefix.ok_or(KeyError::Field { field: "campaigns", what: WRONG_PREFIX })?;
                Ask::CreateKey { by, key, scopes, campaigns, secret }
            }
            Self::Rotate { key, overlap_ms } => {
                Ask::RotateKey { by, key: KeyName::new(key).map_err(unknown)?, secret, overlap_ms: *overlap_ms }
            }
            Self::Revoke { key } => Ask::RevokeKey { by, key: KeyName::new(key).map_err(unknown)? },
        })
    }
}

impl Decider<'_> {
    async fn submit(&self, origin: &Origin<'_>, action: Action<'_>) -> Result<Done, Declined> {
        let command = Command { actor: origin.actor, request: origin.request, action };
        match self {
            Self::Server(app) => app.backend.submit(&command, origin.request_id).await,
            Self::Journal(engine) => Ok(engine.submit(&command, origin.request_id).await?),
        }
    }

    /// All current keys.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn ring(&self) -> Result<Arc<Ring>, Declined> {
        match self {
            Self::Server(app) => ring_of(&app.backend).await,
            Self::Journal(engine) => Ok(engine.read(Over::One(Kind::Keyring, NAME), |state, _| shared(state.get::<Keyring>(NAME))).await?),
        }
    }

    /// Puts a decision about keys into effect on the server that decided it.
    async fn follow(&self, done: &Result<Done, Declined>) {
        let Self::Server(app) = self else { return };
        match done.as_ref().ok().and_then(Done::shown::<Keyring>) {
            Some((_, ring)) => app.edge.auth.follow(ring),
            // An error may follow a change that took effect although its outcome was reported as unknown.
            None => self.ring().await.into_iter().for_each(|ring| app.edge.auth.follow(&ring)),
        }
    }

    /// Creates the keyring, before the first key.
    async fn make_keyring(&self, origin: &Origin<'_>) -> Result<(), Declined> {
        let settings = Keyring::any_settings(KeyringSettings {});
        // The request key belongs to the change itself.
        match self
            .submit(&Origin { request: None, ..*origin }, Action::Put { name: NAME, settings, precondition: Precondition::IsNew })
            .await
        {
            // Another caller created it first.
            Ok(_) | Err(Declined(Refusal::Rejected(domain::Rejection::Exists(Kind::Keyring)))) => Ok(()),
            Err(declined) => Err(declined),
        }
    }
}

/// All current keys.
///
/// # Errors
/// [`Declined`].
pub async fn ring_of(backend: &Backend) -> Result<Arc<Ring>, Declined> {
    backend.read_of::<Keyring, _>(NAME, |keyring, _| shared(keyring)).await
}

fn shared(keyring: Option<&KeptKeyring>) -> Arc<Ring> {
    keyring.map(|keyring| Arc::clone(&keyring.items.ring)).unwrap_or_default()
}

/// Makes a change, and waits until it is durable and, on a running server, in effect.
///
/// # Errors
/// [`KeyError`].
pub async fn change(decider: Decider<'_>, origin: &Origin<'_>, change: &Change) -> Result<Changed, KeyError> {
    let secret = Secret::new().map_err(KeyError::Random)?;
    let digest = secret.digest();
    let command = change.command(origin.by, &digest)?;
    let done = decided(decider, origin, command).await?;
    let Some((_, ring)) = done.shown::<Keyring>() else { panic!("a change of the keyring shows the keyring") };
    let secret = (!matches!(change, Change::Revoke { .. })).then(|| secret.key(change.key()));
    // The secret made above is nobody's then.
    let is_replayed = done.novelty == Novelty::Replayed;
    assert!(!is_replayed || secret.is_none(), "a change that gives out a secret has no request key");
    Ok(Changed { ring: Arc::clone(ring), secret, is_replayed })
}

/// Rotates the code key for new campaigns, and waits until that is durable.
///
/// # Errors
/// [`KeyError`].
pub async fn rotate_code_key(decider: Decider<'_>, origin: &Origin<'_>) -> Result<CodeKeyRotated, KeyError> {
    let done = decided(decider, origin, Ask::RotateCodeKey { by: origin.by }).await?;
    match done.shown::<Keyring>() {
        Some((Outcome::CodeKeyRotated { number }, _)) => Ok(CodeKeyRotated { number, is_replayed: done.novelty == Novelty::Replayed }),
        _ => panic!("a change of the code key shows its number"),
    }
}

/// Decides a command; the first one creates the keyring.
async fn decided(decider: Decider<'_>, origin: &Origin<'_>, command: Ask<'_>) -> Result<Done, KeyError> {
    let action = Action::of::<Keyring>(NAME, command);
    let done = match decider.submit(origin, action).await {
        Err(Declined(Refusal::Rejected(domain::Rejection::NotFound(Kind::Keyring)))) => {
            check_first(&command).map_err(KeyError::Rejected)?;
            decider.make_keyring(origin).await.map_err(KeyError::Declined)?;
            decider.submit(origin, action).await
        }
        done => done,
    };
    decider.follow(&done).await;
    done.map_err(KeyError::of)
}

/// The rules' checks while there is no keyring.
fn check_first(command: &Ask<'_>) -> Result<(), Rejection> {
    match *command {
        Ask::CreateKey { key, scopes, campaigns, .. } => keyring::check_first(key, scopes, campaigns),
        Ask::RotateKeyAlone { .. } | Ask::RotateKey { .. } | Ask::RevokeKey { .. } => Err(Rejection::KeyNotFound),
        Ask::RotateCodeKey { .. } => Ok(()),
    }
}

impl KeyError {
    fn of(declined: Declined) -> Self {
        let Declined(Refusal::Rejected(domain::Rejection::Of(rejection))) = &declined else { return Self::Declined(declined) };
        match Keyring::rejection(rejection) {
            Some(rejection) => Self::Rejected(rejection.clone()),
            None => Self::Declined(declined),
        }
    }

    /// Whether a different request could succeed.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Field { .. } | Self::Rejected(_))
    }
}

const WRONG_NAME: &str = "the name must be 1 to 64 of A-Z a-z 0-9 _ . -, and not local, users or engine";
const WRONG_SCOPES: &str = "the scopes must be one or more of admin, issue, redeem and read";
const WRONG_PREFIX: &str =
    "the campaigns' prefix must be of the characters of a campaign's name, and not empty; leave it out for all campaigns";

/// Scopes by their names, each at most once.
fn scopes_of(words: &[String]) -> Result<Scopes, KeyError> {
    let wrong = |what| KeyError::Field { field: "scopes", what };
    let parsed: Result<Vec<Scope>, _> = words.iter().map(|word| word.parse()).collect();
    let parsed = parsed.map_err(|_| wrong("must be admin, issue, redeem or read"))?;
    let scopes: Scopes = parsed.iter().copied().collect();
    if scopes.is_empty() {
        return Err(wrong(WRONG_SCOPES));
    }
    if scopes.listed().len() < parsed.len() { Err(wrong("names one twice")) } else { Ok(scopes) }
}

/// The text for a rejection.
fn words_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::AskerEnded => "the key that asks was revoked or rotated meanwhile",
        Rejection::AdminLimited => "a key with the scope admin cannot be limited to some campaigns",
        Rejection::FirstNotAdmin => "the first key must have the scope admin",
        Rejection::KeyExists => "there is or was a key of this name",
        Rejection::KeysFull => "there are 10000 keys, as many as there may be",
        Rejection::KeyNotFound => "there is no key of this name",
        Rejection::KeyRevoked { .. } => "the key was revoked",
        Rejection::OverlapTooLong => "the overlap must be 30 days at most",
        Rejection::OverlapsFull { .. } => {
            "four earlier secrets of the key are valid yet, as many as may be; without an overlap all of them end at once"
        }
        Rejection::CodeKeysFull => "there were 1000 code keys, as many as there may be",
        Rejection::LastAdmin => "it is the last key with the scope admin; make another one first",
    }
}

fn reason_of(Declined(refusal): &Declined) -> String {
    match refusal {
        Refusal::Rejected(rejection) => format!("the server refused ({})", rejection.code()),
        Refusal::Busy => "the server is busy; nothing was done".to_owned(),
        Refusal::StorageFull => "the disk is full; nothing was done".to_owned(),
        Refusal::MemoryLimit(limit) => format!("as many {limit} are in memory as may be; nothing was done"),
        Refusal::Stopping => "the server is about to stop; nothing was done".to_owned(),
        Refusal::NotCaughtUp => "the server has not heard from the log in time; nothing was done".to_owned(),
        Refusal::Unknown => "whether it took effect is not known; list the keys to learn it".to_owned(),
    }
}

/// A key in the API and in `firstcome key`.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyJson {
    /// Its name.
    pub key: String,
    /// The key's scopes.
    pub scopes: Vec<String>,
    /// Prefix of the names of its campaigns; empty: all campaigns.
    pub campaigns: String,
    /// When the key was created.
    pub created_at: String,
    /// When its secret was last replaced.
    pub rotated_at: Option<String>,
    /// Until when the old secret is accepted.
    pub overlap_until: Option<String>,
    /// When the key was revoked.
    pub revoked_at: Option<String>,
    /// Only in the response that creates or rotates the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl KeyJson {
    /// The key without its secret.
    #[must_use]
    pub fn new(name: &str, key: &Key, now: Timestamp) -> Self {
        Self {
            key: name.to_owned(),
            scopes: key.scopes.listed().into_iter().map(|scope| scope.word().to_owned()).collect(),
            campaigns: key.campaigns.to_string(),
            created_at: times::format(key.created_at),
            rotated_at: key.rotated_at.map(times::format),
            overlap_until: key.overlap_until(now).map(times::format),
            revoked_at: key.revoked_at.map(times::format),
            secret: None,
        }
    }

    /// The changed key, with its new secret if it has one.
    #[must_use]
    pub fn changed(name: &str, changed: Changed, now: Timestamp) -> Self {
        let Changed { ring, secret, .. } = changed;
        let Some(key) = ring.keys.get(name) else { panic!("a key that was changed is in the keyring") };
        Self { secret, ..Self::new(name, key, now) }
    }

    /// All keys without their secrets.
    #[must_use]
    pub fn all(ring: &Ring, now: Timestamp) -> Vec<Self> {
        ring.keys.iter().map(|(name, key)| Self::new(name, key, now)).collect()
    }
}
