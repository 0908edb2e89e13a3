//! AUTHENTICATION AND ADMISSION. Who calls, what the caller may do, and how many requests run at once.
//!
//! A request passes these checks in order, and one that fails is refused before its body is read:
//! 1. capacity: is there room for any request at all ([`admission`]);
//! 2. authentication: who calls ([`Auth::caller`]): the holder of an API key, an end user with a token,
//!    or, where there are no keys, any process on this machine;
//! 3. authorization: may this caller make this call ([`Access::permits`]);
//! 4. fairness: does the caller stay within its share of the capacity.
//!
//! Checks that depend on the campaign or the subject follow where those are read, in `context.rs`.
//!
//! - [`caller`]: scopes, and what each kind of caller may do;
//! - [`keys`], [`secret`]: API keys as the keyring has them, and their secrets;
//! - [`admission`]: requests in flight, and fair shares of them.

pub mod admission;
pub mod caller;
pub mod keys;
pub mod secret;

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Uri};
use domain::keyring::Ring;
use domain::types::Timestamp;
use parking_lot::RwLock;

use self::admission::{Admission, OpenRequests, Permit};
use self::caller::{Caller, Scope, UserGrant};
use self::keys::KeyRing;
use self::secret::PREFIX;
use crate::pause::PausedConnections;
use crate::tokens::{TOKEN_BYTES_MAX, TokenRefusal, TokenSettings, Tokens, TokensError};

/// Limit on requests in flight that administer campaigns and keys.
const OPERATOR_REQUESTS_MAX: u32 = 64;
/// Limit on reads of metrics and server status in flight.
const SCRAPE_REQUESTS_MAX: u32 = 8;
/// Limit on one end user's requests in flight: a page and its retries.
const SUBJECT_REQUESTS_MAX: u32 = 8;

/// Why a request is not admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The request has neither a key nor a token.
    CredentialRequired,
    /// The credential is malformed, unknown, revoked or wrong. One variant for all of these: the
    /// caller must not learn which part is wrong.
    CredentialInvalid,
    /// The header is there, but is not one credential behind the word `Bearer`. This reveals nothing: it is
    /// what the caller sees too.
    NotBearer,
    /// The token is malformed, wrongly signed, out of its time, or for another service.
    Token(TokenRefusal),
    /// The key or token lacks the scope that the call needs.
    ScopeMissing(Scope),
    /// The call needs a key; an end user's token is not enough.
    KeyOnly,
    /// The key or token is limited to other campaigns.
    CampaignForbidden {
        /// The prefix of the names of its campaigns.
        campaigns: String,
    },
    /// The token is for another subject.
    SubjectForbidden,
    /// There are no keys, and the request's host is not a name of this machine.
    HostForbidden,
    /// There are no keys, and the request comes from a web page of another origin.
    OriginForbidden,
    /// The limit on requests in flight is reached, of all callers or of this one.
    Busy {
        /// How long the server will not read from the connection.
        pause: Duration,
    },
}

impl Denied {
    /// How long the server will not read from the connection, if the server is busy.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        if let Self::Busy { pause } = self { Some(*pause) } else { None }
    }
}

/// Who may make a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone, without a credential: the call reveals nothing about campaigns.
    Anyone,
    /// Keys and end users with this scope.
    Scope(Scope),
    /// Keys with this scope: the call concerns more than one subject.
    KeyScope(Scope),
    /// Keys with this scope that are not limited to some campaigns: the call concerns all of them.
    WholeScope(Scope),
}

impl Access {
    /// Checks that the caller may make the call.
    ///
    /// # Errors
    /// [`Denied`]; never for capacity.
    pub fn permits(self, caller: &Caller) -> Result<(), Denied> {
        match self {
            Self::KeyScope(_) | Self::WholeScope(_) if caller.only_subject().is_some() => Err(Denied::KeyOnly),
            Self::Scope(scope) | Self::KeyScope(scope) | Self::WholeScope(scope) if !caller.may(scope) => Err(Denied::ScopeMissing(scope)),
            Self::WholeScope(_) if !caller.campaigns().is_empty() => {
                Err(Denied::CampaignForbidden { campaigns: caller.campaigns().to_owned() })
            }
            Self::Anyone | Self::Scope(_) | Self::KeyScope(_) | Self::WholeScope(_) => Ok(()),
        }
    }
}

/// Which capacity a request counts against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// The capacity for all callers.
    Public,
    /// Capacity reserved for operators, so that they can look and act during a rush.
    Operators,
}

/// Authentication settings.
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    /// End users' tokens; `None` where only keys are accepted.
    pub users: Option<UserSettings>,
    /// Origins whose web pages may call.
    pub origins: Vec<HeaderValue>,
    /// Whether other machines can connect: then a caller needs a key even while there is none.
    pub is_reachable: bool,
}

/// Settings for end users.
#[derive(Clone, Debug)]
pub struct UserSettings {
    /// Which tokens are accepted.
    pub tokens: TokenSettings,
    /// The scopes that a token grants.
    pub scopes: caller::Scopes,
    /// Prefix of the names of the campaigns that end users may use; empty: all campaigns.
    pub campaigns: String,
}

/// Authentication and admission of all requests.
#[derive(Debug)]
pub struct Auth {
    ring: RwLock<Arc<KeyRing>>,
    is_reachable: bool,
    users: Option<UserSettings>,
    tokens: RwLock<Option<Arc<Tokens>>>,
    grant: Arc<UserGrant>,
    local: Arc<OpenRequests>,
    origins: Vec<HeaderValue>,
    public: Admission,
    operators: Admission,
    scrapes: Admission,
    paused: Arc<PausedConnections>,
}

/// The part of a request that authentication reads.
#[derive(Debug)]
pub struct RequestHead<'a> {
    pub headers: &'a HeaderMap,
    /// The target, which contains the host in HTTP/2.
    pub uri: &'a Uri,
    /// The wall clock's time.
    pub now: Timestamp,
}

impl Auth {
    /// Reads the keys that verify tokens. There are no API keys until [`Auth::follow`] is called.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn open(settings: AuthSettings, requests_max: u32) -> Result<Self, TokensError> {
        let AuthSettings { users, origins, is_reachable } = settings;
        let tokens = users.as_ref().map(|users| Tokens::load(&users.tokens)).transpose()?;
        let (scopes, campaigns) = users.as_ref().map(|users| (users.scopes, users.campaigns.clone())).unwrap_or_default();
        Ok(Self {
            ring: RwLock::default(),
            is_reachable,
            users,
            tokens: RwLock::new(tokens.map(Arc::new)),
            grant: Arc::new(UserGrant::new(scopes, campaigns)),
            local: Arc::default(),
            origins,
            public: Admission::new(requests_max),
            operators: Admission::new(OPERATOR_REQUESTS_MAX),
            scrapes: Admission::new(SCRAPE_REQUESTS_MAX),
            paused: Arc::default(),
        })
    }

    /// The current keys.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read())
    }

    /// Whether end users' tokens are accepted.
    #[must_use]
    pub fn accepts_tokens(&self) -> bool {
        self.users.is_some()
    }

    /// Origins whose web pages may call.
    #[must_use]
    pub fn origins(&self) -> &[HeaderValue] {
        &self.origins
    }

    /// Requests in flight, without those of operators.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.public.in_flight()
    }

    /// Counts the connections that are not read for a while after a refusal.
    #[must_use]
    pub fn paused(&self) -> &Arc<PausedConnections> {
        &self.paused
    }

    fn busy(&self) -> Denied {
        Denied::Busy { pause: self.paused.next_pause() }
    }

    /// Whether calls need no credential: there are neither keys nor tokens.
    #[must_use]
    pub fn needs_no_credential(&self) -> bool {
        !self.is_reachable && self.users.is_none() && self.ring().is_empty()
    }

    /// Admits a request: its caller, and a permit to be held until the request is answered.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(&self, head: &RequestHead<'_>, access: Access, pool: Pool) -> Result<(Caller, Option<Permit>), Denied> {
        if access == Access::Anyone {
            return Ok((Caller::Local, None));
        }
        let admission = match (pool, access) {
            (Pool::Public, _) => &self.public,
            (Pool::Operators, Access::KeyScope(Scope::Admin)) => &self.operators,
            // Reads have a limit of their own, so that they cannot block changes.
            (Pool::Operators, _) => &self.scrapes,
        };
        // Before authentication: checking a credential costs time, and could not help here.
        if admission.is_full() {
            return Err(self.busy());
        }
        let caller = self.caller(head)?;
        access.permits(&caller)?;
        let permit = match &caller {
            Caller::Local => admission.acquire(&self.local),
            Caller::Key(key) => admission.acquire(key.in_flight()),
            Caller::User { grant, subject } => admission.acquire_within(&grant.in_flight, grant.counter_of(subject), SUBJECT_REQUESTS_MAX),
        };
        let permit = permit.ok_or_else(|| self.busy())?;
        Ok((caller, Some(permit)))
    }

    /// Authenticates a request.
    ///
    /// # Errors
    /// [`Denied`]; never for capacity.
    pub fn caller(&self, head: &RequestHead<'_>) -> Result<Caller, Denied> {
        let ring = self.ring();
        if ring.is_empty() && self.users.is_none() && !self.is_reachable {
            self.check_local(head)?;
            return Ok(Caller::Local);
        }
        let credential = credential(head.headers)?;
        if credential.starts_with(PREFIX) {
            return ring.authenticate(credential, head.now).map(Caller::Key).ok_or(Denied::CredentialInvalid);
        }
        let tokens = self.tokens.read().clone().ok_or(Denied::CredentialInvalid)?;
        let subject = tokens.subject(credential, head.now).map_err(Denied::Token)?;
        Ok(Caller::User { grant: Arc::clone(&self.grant), subject: subject.into() })
    }

    /// Checks a caller again whose request took long to arrive: its key may have been revoked since.
    ///
    /// # Errors
    /// [`Denied::CredentialInvalid`].
    pub fn recheck(&self, caller: &Caller, now: Timestamp) -> Result<(), Denied> {
        if self.ring().still_accepts(caller, now) { Ok(()) } else { Err(Denied::CredentialInvalid) }
    }

    /// Uses these keys from now on, unless newer ones are in use: every thread that learns of a change may
    /// call this, in any order.
    pub fn follow(&self, ring: &Ring) {
        // Most calls bring nothing new, and must not take the write lock, which would delay callers.
        if ring.changes <= self.ring().revision() {
            return;
        }
        let mut current = self.ring.write();
        if current.revision() < ring.changes {
            *current = Arc::new(KeyRing::of(ring, &current));
            tracing::info!(revision = ring.changes, "keys in use");
        }
    }

    /// Reads the keys that verify tokens again. Blocks.
    ///
    /// # Errors
    /// [`TokensError`]; the keys in use stay unchanged then.
    pub fn reload_tokens(&self) -> Result<(), TokensError> {
        let Some(users) = &self.users else { return Ok(()) };
        let tokens = Arc::new(Tokens::load(&users.tokens)?);
        *self.tokens.write() = Some(tokens);
        Ok(())
    }

    /// Without keys, a web page open in a browser on this machine must not be able to call: neither
    /// across origins, nor through a name of its own that resolves to this machine (DNS rebinding).
    fn check_local(&self, head: &RequestHead<'_>) -> Result<(), Denied> {
        let host = head.uri.authority().map(|authority| authority.as_str());
        let host = host.or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()));
        if host.is_some_and(|host| !is_this_machine(host)) {
            return Err(Denied::HostForbidden);
        }
        let Some(origin) = head.headers.get(ORIGIN) else { return Ok(()) };
        let is_same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(_, from)| Some(from) == host);
        if is_same || self.origins.contains(origin) { Ok(()) } else { Err(Denied::OriginForbidden) }
    }
}

/// The credential after `Authorization: Bearer` (RFC 6750, 2.1).
fn credential(headers: &HeaderMap) -> Result<&str, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::CredentialRequired)?;
    if values.next().is_some() {
        return Err(Denied::NotBearer);
    }
    let (scheme, credential) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Denied::NotBearer)?;
    let credential = credential.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() || credential.contains(' ') {
        return Err(Denied::NotBearer);
    }
    if credential.len() <= TOKEN_BYTES_MAX { Ok(credential) } else { Err(Denied::CredentialInvalid) }
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
#[path = "auth/tests.rs"]
mod tests;
