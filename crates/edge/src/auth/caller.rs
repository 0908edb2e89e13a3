//! The caller of a request, and what it may do.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

pub use domain::keyring::{Scope, Scopes, USERS, UnknownScope};
use domain::types::{ActorId, Name};

use super::admission::OpenRequests;
use super::keys::Key;

/// Number of counters for end users' requests in flight. A subject's hash picks its counter; with this
/// many, two users who call at the same time rarely share one.
const COUNTERS: usize = 4_096;

/// What every end user with a token may do.
#[derive(Debug)]
pub struct UserGrant {
    /// The scopes; never `admin`.
    pub scopes: Scopes,
    /// Prefix of the names of the campaigns that end users may use; empty: all campaigns.
    pub campaigns: String,
    /// The requests in flight of all end users together.
    pub in_flight: Arc<OpenRequests>,
    counters: Vec<Arc<OpenRequests>>,
    /// Random in each process, so that a user cannot choose a subject that shares another's counter.
    hash: RandomState,
}

impl UserGrant {
    /// A grant under which no request is in flight.
    #[must_use]
    pub fn new(scopes: Scopes, campaigns: String) -> Self {
        let counters = (0..COUNTERS).map(|_| Arc::default()).collect();
        Self { scopes, campaigns, in_flight: Arc::default(), counters, hash: RandomState::new() }
    }

    /// The counter of this subject's requests in flight.
    #[must_use]
    pub fn counter_of(&self, subject: &str) -> &Arc<OpenRequests> {
        let index = usize::try_from(self.hash.hash_one(subject) % COUNTERS as u64).unwrap_or(0);
        self.counters.get(index).unwrap_or(&self.in_flight)
    }
}

/// The caller of a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A process on this machine; there are no keys.
    Local,
    /// The holder of a key.
    Key(Arc<Key>),
    /// An end user with a token, who may act for one subject only.
    User {
        /// What end users may do.
        grant: Arc<UserGrant>,
        /// The token's `sub`.
        subject: Arc<str>,
    },
}

impl Caller {
    /// The caller's name in the record. All end users share one name: a subject must stand in the record
    /// only where it can be erased.
    #[must_use]
    pub fn actor(&self) -> ActorId<'_> {
        let name = match self {
            Self::Local => return ActorId::LOCAL,
            Self::Key(key) => key.name(),
            Self::User { .. } => USERS,
        };
        ActorId::new(name).unwrap_or(ActorId::LOCAL)
    }

    /// Whether the caller has this scope.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Local => true,
            Self::Key(key) => key.scopes().allow(scope),
            Self::User { grant, .. } => grant.scopes.allow(scope),
        }
    }

    /// Prefix of the names of the campaigns that the caller may use; empty: all campaigns.
    #[must_use]
    pub fn campaigns(&self) -> &str {
        match self {
            Self::Local => "",
            Self::Key(key) => key.campaigns(),
            Self::User { grant, .. } => &grant.campaigns,
        }
    }

    /// Whether the caller may use what has this name.
    #[must_use]
    pub fn may_use(&self, name: Name<'_>) -> bool {
        name.as_str().starts_with(self.campaigns())
    }

    /// The only subject that the caller may act for; `None`: any subject.
    #[must_use]
    pub fn only_subject(&self) -> Option<&str> {
        match self {
            Self::Local | Self::Key(_) => None,
            Self::User { subject, .. } => Some(subject),
        }
    }
}
