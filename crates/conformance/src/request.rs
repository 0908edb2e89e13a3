//! What a line of a table asks, in the types of the rules.

use domain::coupon::TargetBy;
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed};
use domain::types::{ActorId, Name, RequestKey};
use domain::{Action, Kind};

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// The caller: `local` unless the line says `as`.
    pub actor: ActorId<'a>,
    /// The request's key, if the line names one.
    pub key: Option<RequestKey<'a>>,
    /// What is asked.
    pub ask: Ask<'a>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask<'a> {
    /// A change. Internal settings are at their defaults: no table says anything about them.
    Act(Action<'a>),
    /// An aggregate as it stands.
    Read(Kind, Name<'a>),
    /// A claim of a campaign as it stands.
    ReadClaim(Name<'a>, TargetBy<'a>),
}

impl<'a> Request<'a> {
    /// All that is asked, as text: the same text exactly where a repetition asks for the same.
    /// Neither key nor caller are part of it.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{:?}", self.ask)
    }

    /// A digest of [`Request::canonical`], for backends that have no method, path and body.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let text = self.canonical();
        let (low, high) = (HashSeed(1, 2).hash(text.as_bytes()), HashSeed(3, 4).hash(text.as_bytes()));
        Fingerprint(((u128::from(high) << 64) | u128::from(low)).to_le_bytes())
    }

    /// Key and fingerprint, if there is a key.
    #[must_use]
    pub fn keyed(&self) -> Option<Keyed<'a>> {
        self.key.map(|key| Keyed { key, fingerprint: self.fingerprint() })
    }
}
