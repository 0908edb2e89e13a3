//! Who calls, and what they may do.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use domain::types::{ActorId, CampaignName};

use super::admission::InFlight;
use super::keys::Key;

/// What a caller may ask for. `Admin` includes the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Campaigns and keys.
    Admin,
    /// To claim, and to cancel a claim.
    Issue,
    /// To use a claim.
    Redeem,
    /// To read.
    Read,
}

impl Scope {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Issue, Self::Redeem, Self::Read];

    /// Its name.
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be admin, issue, redeem or read")]
pub struct UnknownScope;

/// Some scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Those that were given.
    #[must_use]
    pub fn listed(self) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| self.0 & scope.bit() != 0).collect()
    }

    /// Whether they allow this: `admin` allows everything.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
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

/// Counts that end users share by their subjects' hashes. So many that two who ask at once hardly
/// ever share one.
const SHARES: usize = 4_096;

/// What end users with a token may do.
#[derive(Debug)]
pub struct UserGrant {
    /// Their scopes; never `admin`.
    pub scopes: Scopes,
    /// What the names of their campaigns begin with; empty: all campaigns.
    pub campaigns: String,
    /// Their requests in flight, all together.
    pub in_flight: Arc<InFlight>,
    shares: Vec<Arc<InFlight>>,
    /// Random in each process, so that nobody chooses a subject to share another's count.
    hash: RandomState,
}

impl UserGrant {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(scopes: Scopes, campaigns: String) -> Self {
        let shares = (0..SHARES).map(|_| Arc::default()).collect();
        Self { scopes, campaigns, in_flight: Arc::default(), shares, hash: RandomState::new() }
    }

    /// Where this subject's requests in flight are counted.
    #[must_use]
    pub fn share_of(&self, subject: &str) -> &Arc<InFlight> {
        let place = usize::try_from(self.hash.hash_one(subject) % SHARES as u64).unwrap_or(0);
        self.shares.get(place).unwrap_or(&self.in_flight)
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Somebody on this machine; there are no keys.
    Local,
    /// The holder of a key.
    Key(Arc<Key>),
    /// An end user with a token, who acts for one subject.
    User {
        /// What end users may do.
        grant: Arc<UserGrant>,
        /// The token's `sub`.
        subject: Arc<str>,
    },
}

impl Caller {
    /// How the record names them. End users share one name: their subjects are in the record
    /// where they can be erased, and only there.
    #[must_use]
    pub fn actor(&self) -> ActorId<'_> {
        let name = match self {
            Self::Local => return ActorId::LOCAL,
            Self::Key(key) => key.name(),
            Self::User { .. } => USERS,
        };
        ActorId::new(name).unwrap_or(ActorId::LOCAL)
    }

    /// Whether they may do this.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Local => true,
            Self::Key(key) => key.scopes.allow(scope),
            Self::User { grant, .. } => grant.scopes.allow(scope),
        }
    }

    /// What the names of their campaigns begin with; empty: all campaigns.
    #[must_use]
    pub fn campaigns(&self) -> &str {
        match self {
            Self::Local => "",
            Self::Key(key) => &key.campaigns,
            Self::User { grant, .. } => &grant.campaigns,
        }
    }

    /// Whether they may act on this campaign.
    #[must_use]
    pub fn may_use(&self, campaign: CampaignName<'_>) -> bool {
        campaign.as_str().starts_with(self.campaigns())
    }

    /// The only subject that they may act for; `None`: any.
    #[must_use]
    pub fn only_subject(&self) -> Option<&str> {
        match self {
            Self::Local | Self::Key(_) => None,
            Self::User { subject, .. } => Some(subject),
        }
    }
}

/// The actor of everything that end users do.
pub const USERS: &str = "users";
