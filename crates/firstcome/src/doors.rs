//! THE DOORS. Who calls, what they may do, and how many at once.
//!
//! A request passes in this order, and what refuses it reads nothing of its body: is there any
//! place at all ([`admission`]); who calls ([`Doors::caller`]: a key, an end user's token, or,
//! where there are no keys, whoever is on this machine); does the call allow them in
//! ([`Access::admits`]); is there a place within their share. What depends on the campaign or the
//! subject is asked where those are read, in `http/context.rs`.
//!
//! - [`caller`]: scopes, and what each kind of caller may do;
//! - [`keys`], [`secret`], [`key_file`]: API keys, their secrets, and where they are kept;
//! - [`admission`]: requests in flight, and fair shares of them;
//! - [`settings`]: what was typed about all this.

pub mod admission;
pub mod caller;
pub mod key_file;
pub mod keys;
pub mod secret;
pub mod settings;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Uri};
use domain::types::Timestamp;

use self::admission::{Admission, InFlight, Place};
use self::caller::{Caller, Scope, UserGrant};
use self::key_file::{ChangeError, KeyFile, KeyFileError, Stamp};
use self::keys::{KeyError, KeyRing};
use self::secret::PREFIX;
use self::settings::DoorSettings;
use crate::http::pause::Waiting;
use crate::tokens::{TOKEN_BYTES_MAX, TokenRefusal, TokenSettings, Tokens, TokensError};

/// Operators' requests in flight at most: those of whoever minds campaigns and keys.
const OPERATOR_PLACES: u32 = 64;
/// Reads of the metrics in flight at most.
const SCRAPE_PLACES: u32 = 8;
/// An end user's requests in flight at most: a page and its retries.
const PLACES_PER_SUBJECT: u32 = 8;

/// Why somebody is not let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No key and no token came.
    CredentialRequired,
    /// What came is no key or token that may be used. The same for all keys: it does not tell
    /// which part is wrong.
    CredentialInvalid,
    /// The token is not one of ours, not now, or not for us.
    Token(TokenRefusal),
    /// The key or token does not have the scope.
    ScopeMissing(Scope),
    /// End users' tokens are not for this call.
    KeyOnly,
    /// The key or token is for other campaigns.
    CampaignForbidden {
        /// What the names of its campaigns begin with.
        campaigns: String,
    },
    /// The token is for another subject.
    SubjectForbidden,
    /// There are no keys, and the request was not addressed to this machine by its own name.
    HostForbidden,
    /// There are no keys, and a page of another origin asks.
    OriginForbidden,
    /// As many requests are in flight as may be, in all or of this caller.
    Busy {
        /// How long the connection is then not read.
        pause: Duration,
    },
}

impl Refusal {
    /// How long the connection is then not read, if it is turned away.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        if let Self::Busy { pause } = self { Some(*pause) } else { None }
    }
}

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anybody, without a key: what tells nothing about campaigns.
    Anyone,
    /// Keys and end users with this scope.
    Scope(Scope),
    /// Keys with this scope: the call is about more than one subject.
    KeyScope(Scope),
    /// Keys with this scope for all campaigns: the call is about more than some of them.
    WholeScope(Scope),
}

impl Access {
    /// Whether the call allows them in.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admits(self, caller: &Caller) -> Result<(), Refusal> {
        match self {
            Self::KeyScope(_) | Self::WholeScope(_) if caller.only_subject().is_some() => Err(Refusal::KeyOnly),
            Self::Scope(scope) | Self::KeyScope(scope) | Self::WholeScope(scope) if !caller.may(scope) => Err(Refusal::ScopeMissing(scope)),
            Self::WholeScope(_) if !caller.campaigns().is_empty() => {
                Err(Refusal::CampaignForbidden { campaigns: caller.campaigns().to_owned() })
            }
            Self::Anyone | Self::Scope(_) | Self::KeyScope(_) | Self::WholeScope(_) => Ok(()),
        }
    }
}

/// Whose places a request takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Those of all callers.
    Public,
    /// Those kept for operators, so that a rush does not keep them from looking and acting.
    Operators,
}

/// What the settings say about end users.
#[derive(Clone, Debug)]
pub struct Users {
    /// What their tokens must look like.
    pub tokens: TokenSettings,
    /// What they may do.
    pub scopes: caller::Scopes,
    /// What the names of their campaigns begin with; empty: all campaigns.
    pub campaigns: String,
}

/// Who is let in, and how many.
#[derive(Debug)]
pub struct Doors {
    file: KeyFile,
    /// What the file looked like when it was last read. Held while keys change.
    read_at: Mutex<Option<Stamp>>,
    ring: RwLock<Arc<KeyRing>>,
    users: Option<Users>,
    tokens: RwLock<Option<Arc<Tokens>>>,
    grant: Arc<UserGrant>,
    local: Arc<InFlight>,
    origins: Vec<HeaderValue>,
    public: Admission,
    operators: Admission,
    scrapes: Admission,
    waiting: Arc<Waiting>,
}

/// A request as far as the doors look at it.
#[derive(Debug)]
pub struct Knock<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its target, which names the host in HTTP/2.
    pub uri: &'a Uri,
    /// The wall clock's time.
    pub now: Timestamp,
}

impl Doors {
    /// Reads keys and token keys.
    ///
    /// # Errors
    /// [`DoorsError`].
    pub fn open(folder: &Path, settings: DoorSettings, places: u32) -> Result<Self, DoorsError> {
        let DoorSettings { users, origins } = settings;
        let tokens = users.as_ref().map(|users| Tokens::load(&users.tokens)).transpose()?;
        let (scopes, campaigns) = users.as_ref().map(|users| (users.scopes, users.campaigns.clone())).unwrap_or_default();
        let doors = Self {
            file: KeyFile::in_folder(folder),
            read_at: Mutex::new(None),
            ring: RwLock::default(),
            users,
            tokens: RwLock::new(tokens.map(Arc::new)),
            grant: Arc::new(UserGrant::new(scopes, campaigns)),
            local: Arc::default(),
            origins,
            public: Admission::new(places),
            operators: Admission::new(OPERATOR_PLACES),
            scrapes: Admission::new(SCRAPE_PLACES),
            waiting: Arc::default(),
        };
        doors.take_over(&mut doors.reading())?;
        Ok(doors)
    }

    /// All keys, as they are now.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether end users may come with tokens.
    #[must_use]
    pub fn knows_users(&self) -> bool {
        self.users.is_some()
    }

    /// Origins whose pages may ask.
    #[must_use]
    pub fn origins(&self) -> &[HeaderValue] {
        &self.origins
    }

    /// Requests in flight, operators' aside.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.public.taken()
    }

    /// Connections that were turned away and wait.
    #[must_use]
    pub fn waiting(&self) -> &Arc<Waiting> {
        &self.waiting
    }

    fn busy(&self) -> Refusal {
        Refusal::Busy { pause: self.waiting.pause() }
    }

    /// Whether nobody has to show anything: there are neither keys nor tokens.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.users.is_none() && self.ring().is_empty()
    }

    /// Lets a request in: who calls, and the place that it takes until it is answered.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn enter(&self, knock: &Knock<'_>, access: Access, lane: Lane) -> Result<(Caller, Option<Place>), Refusal> {
        if access == Access::Anyone {
            return Ok((Caller::Local, None));
        }
        let admission = match (lane, access) {
            (Lane::Public, _) => &self.public,
            (Lane::Operators, Access::KeyScope(Scope::Admin)) => &self.operators,
            // Whoever may only look does not keep those out who act.
            (Lane::Operators, _) => &self.scrapes,
        };
        // Nobody is asked for a key who would not get in with it.
        if admission.is_full() {
            return Err(self.busy());
        }
        let caller = self.caller(knock)?;
        access.admits(&caller)?;
        let place = match &caller {
            Caller::Local => admission.enter(&self.local),
            Caller::Key(key) => admission.enter(key.in_flight()),
            Caller::User { grant, subject } => admission.enter_within(&grant.in_flight, grant.share_of(subject), PLACES_PER_SUBJECT),
        };
        let place = place.ok_or_else(|| self.busy())?;
        Ok((caller, Some(place)))
    }

    /// Who calls.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn caller(&self, knock: &Knock<'_>) -> Result<Caller, Refusal> {
        let ring = self.ring();
        if ring.is_empty() && self.users.is_none() {
            self.check_local(knock)?;
            return Ok(Caller::Local);
        }
        let credential = credential(knock.headers)?;
        if credential.starts_with(PREFIX) {
            return ring.holder(credential, knock.now).map(Caller::Key).ok_or(Refusal::CredentialInvalid);
        }
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Refusal::CredentialInvalid)?;
        let subject = tokens.subject(credential, knock.now).map_err(Refusal::Token)?;
        Ok(Caller::User { grant: Arc::clone(&self.grant), subject: subject.into() })
    }

    /// Whether a caller who was let in before its body had come is to be let in still.
    ///
    /// # Errors
    /// [`Refusal::CredentialInvalid`].
    pub fn check_again(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal> {
        if self.ring().still_honours(caller, now) { Ok(()) } else { Err(Refusal::CredentialInvalid) }
    }

    /// Changes the keys, durably and at once. Blocks.
    ///
    /// # Errors
    /// [`ChangeError`]; the keys are as before then.
    pub fn change<T>(&self, change: impl FnOnce(&KeyRing) -> Result<(KeyRing, T), KeyError>) -> Result<(Arc<KeyRing>, T), ChangeError> {
        let mut reading = self.reading();
        let current = self.ring().revision();
        let (ring, outcome) = self.file.change(|ring| if ring.revision() < current { Err(KeyError::Older) } else { change(ring) })?;
        // Not read again: reading could fail, although the change is made. Another process may have
        // changed the file since, so that the next refresh reads it whatever it looks like.
        *reading = None;
        self.install(ring)?;
        Ok((self.ring(), outcome))
    }

    /// Takes over what somebody else has changed in the file. Blocks.
    ///
    /// # Errors
    /// [`KeyFileError`]; the keys are as before then.
    pub fn refresh(&self) -> Result<(), KeyFileError> {
        let mut reading = self.reading();
        if *reading == self.file.stamp() {
            return Ok(());
        }
        self.take_over(&mut reading)
    }

    /// Reads the keys of tokens again. Blocks.
    ///
    /// # Errors
    /// [`TokensError`]; they are as before then.
    pub fn reload_tokens(&self) -> Result<(), TokensError> {
        let Some(users) = &self.users else { return Ok(()) };
        let tokens = Arc::new(Tokens::load(&users.tokens)?);
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(tokens);
        Ok(())
    }

    fn take_over(&self, read_at: &mut MutexGuard<'_, Option<Stamp>>) -> Result<(), KeyFileError> {
        // What it looks like before it is read: a change in between is noticed the next time.
        let stamp = self.file.stamp();
        let ring = self.file.read();
        // What cannot be read may be readable the next time, though it looks the same.
        **read_at = if matches!(ring, Err(KeyFileError::Io { .. })) { None } else { stamp };
        self.install(ring?)
    }

    fn install(&self, ring: KeyRing) -> Result<(), KeyFileError> {
        let revision = ring.revision();
        let mut current = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if revision < current.revision() {
            return Err(KeyFileError::Older { path: self.file.path(), found: revision, current: current.revision() });
        }
        if current.revision() < revision {
            tracing::info!(revision, "keys in use");
        }
        *current = Arc::new(ring.in_place_of(&current));
        drop(current);
        // Only a wait of `firstcome key` depends on it.
        if revision != 0
            && let Err(error) = self.file.say_seen(revision)
        {
            tracing::warn!(%error, "cannot say which keys are in use");
        }
        Ok(())
    }

    fn reading(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.read_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where nobody has to show anything, a web page that somebody on this machine looks at must
    /// not be able to ask in their place: not across origins, and not under a name of its own that
    /// it has made to lead here.
    fn check_local(&self, knock: &Knock<'_>) -> Result<(), Refusal> {
        let host = knock.uri.authority().map(|authority| authority.as_str());
        let host = host.or_else(|| knock.headers.get(HOST).and_then(|host| host.to_str().ok()));
        if host.is_some_and(|host| !is_this_machine(host)) {
            return Err(Refusal::HostForbidden);
        }
        let Some(origin) = knock.headers.get(ORIGIN) else { return Ok(()) };
        let is_same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(_, from)| Some(from) == host);
        if is_same || self.origins.contains(origin) { Ok(()) } else { Err(Refusal::OriginForbidden) }
    }
}

/// Why the doors cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorsError {
    /// The file of keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The keys of tokens.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// What follows `Authorization: Bearer` (RFC 6750, 2.1).
fn credential(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::CredentialRequired)?;
    if values.next().is_some() {
        return Err(Refusal::CredentialInvalid);
    }
    let (scheme, credential) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Refusal::CredentialInvalid)?;
    if scheme.eq_ignore_ascii_case("bearer") && credential.len() <= TOKEN_BYTES_MAX {
        Ok(credential.trim_matches(' '))
    } else {
        Err(Refusal::CredentialInvalid)
    }
}

/// Whether a host, with or without a port, is a name that always means this machine.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_localhost = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    (is_loopback || is_localhost) && port.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
#[path = "doors/tests.rs"]
mod tests;
