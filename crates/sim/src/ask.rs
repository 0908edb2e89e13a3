//! What clients ask and what they are told, in the simulation's own words.

use domain::claims::ClaimStatus;
use domain::coupon::{self, ClaimView, Command as Of, Coupon, Outcome, Settings, TargetBy};
use domain::fields::{Patch, Value};
use domain::request::{Fingerprint, Keyed, Outcome as Remembered};
use domain::state::Precondition;
use domain::types::{ActorId, Name, Quantity, RequestKey, Serial, SubjectId, Timestamp};
use domain::workload::Summary;
use domain::{Action, Command, Listed, Novelty};
use engine::views::{Done, Effect, Refusal};
use oracle::adapter;
use sha2::{Digest, Sha256};

use crate::asks::keyring::KeyringAsk;
use crate::asks::policy::PolicyAsk;

/// What is asked: the first five of a campaign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Create it or write its settings.
    Put(Settings, Precondition),
    /// Change its stock, pause it or let it go on.
    Patch(Option<Quantity>, Option<bool>),
    /// Take a unit for this subject.
    Claim(String),
    /// Use a claim.
    Redeem(By),
    /// Give a claim back.
    Cancel(By),
    /// Of a policy.
    Policy(PolicyAsk),
    /// Of the keyring.
    Keyring(KeyringAsk),
}

/// How a claim is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// By its subject.
    Subject(String),
    /// By its code.
    Code(Serial),
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Its own id, never used twice.
    pub id: String,
    /// The name of the campaign or of what else is asked for.
    pub name: &'static str,
    /// The request key.
    pub key: Option<String>,
    /// What.
    pub what: What,
}

/// A request or a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// A request.
    Ask(Ask),
    /// How a campaign stands.
    Campaign(&'static str),
    /// Which claim a subject holds.
    Claim(&'static str, String),
}

/// What was done to a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Given a place in the queue.
    Accepted,
    /// Claimed.
    Claimed,
    /// Redeemed.
    Redeemed,
    /// Cancelled.
    Cancelled,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A campaign, its settings written or read.
    Campaign {
        /// Whether it is new.
        created: bool,
        /// The version of its settings.
        version: u64,
        /// Its settings.
        settings: Settings,
        /// Units that somebody holds.
        claimed: u32,
        /// Units that are set aside for those in the queue.
        pending: u32,
        /// Units that were used.
        redeemed: u32,
    },
    /// A claim.
    Claim {
        /// What became of it, or was done.
        verb: Verb,
        /// Whose it is.
        subject: String,
        /// Its serial.
        serial: u32,
        /// When it was decided.
        claimed_at: u64,
    },
    /// Of what is no campaign, as the oracle remembers it.
    Other(Box<oracle::Outcome>),
    /// The rules say no.
    No(&'static str),
    /// There is no such campaign.
    NoCampaign,
    /// A no for reasons of the machine's, which says nothing of the state.
    NotTaken(&'static str),
}

/// An answer, whether it says again what had taken effect before, and whether something takes
/// effect by it now; where settings are as they were, neither is so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// What.
    pub answer: Answer,
    /// Whether it is told as a repeat.
    pub is_repeat: bool,
    /// Whether a record was made of it.
    pub has_effect: bool,
}

impl Ask {
    /// The request as the product takes it; `None` if a name in it is malformed.
    #[must_use]
    pub fn command(&self) -> Option<Command<'_>> {
        let request = match &self.key {
            Some(key) => Some(Keyed { key: RequestKey::new(key).ok()?, fingerprint: self.fingerprint() }),
            None => None,
        };
        Some(Command { actor: ActorId::LOCAL, request, action: self.action()? })
    }

    /// A digest of what is asked.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let digest: [u8; 32] = Sha256::digest(format!("{} {:?}", self.name, self.what)).into();
        Fingerprint(*digest.first_chunk().unwrap_or(&[0; 16]))
    }

    fn action(&self) -> Option<Action<'_>> {
        let name = Name::new(self.name).ok()?;
        let subject = |text| SubjectId::new(text).ok();
        Some(match &self.what {
            What::Put(settings, precondition) => {
                let settings = Coupon::any_settings(Settings { code_key: 1, ..*settings });
                Action::Put { name, settings, precondition: *precondition }
            }
            What::Patch(stock, paused) => {
                let mut patch = Patch::<Settings>::default();
                if let Some(stock) = stock {
                    patch.set("stock", Value::Number(stock.get().into())).ok()?;
                }
                if let Some(paused) = paused {
                    patch.set("paused", Value::Bool(*paused)).ok()?;
                }
                Action::Patch { name, patch: Coupon::any_patch(patch), precondition: Precondition::Always }
            }
            What::Claim(whose) => Action::of::<Coupon>(name, Of::Claim { subject: subject(whose)? }),
            What::Redeem(by) => Action::of::<Coupon>(name, Of::Redeem { by: by.target()? }),
            What::Cancel(by) => Action::of::<Coupon>(name, Of::Cancel { by: by.target()? }),
            What::Policy(ask) => ask.action(name)?,
            What::Keyring(ask) => ask.action(name)?,
        })
    }
}

impl By {
    fn target(&self) -> Option<TargetBy<'_>> {
        match self {
            Self::Subject(subject) => SubjectId::new(subject).ok().map(|subject| TargetBy::Subject { subject }),
            Self::Code(serial) => Some(TargetBy::Code { serial: *serial }),
        }
    }
}

impl Said {
    /// What the product said, in the simulation's words.
    #[must_use]
    pub fn of(said: &Result<Done, Refusal>, has_effect: bool) -> Self {
        match said {
            Ok(done) => Self { answer: of_done(done), is_repeat: done.novelty != Novelty::Fresh, has_effect },
            Err(refusal) => Self { answer: of_refusal(refusal), is_repeat: false, has_effect },
        }
    }

    /// An answer that changes nothing.
    #[must_use]
    pub fn only(answer: Answer) -> Self {
        Self { answer, is_repeat: false, has_effect: false }
    }

    /// An answer to what takes effect now.
    #[must_use]
    pub fn fresh(answer: Answer) -> Self {
        Self { answer, is_repeat: false, has_effect: true }
    }

    /// What took effect before is said again.
    #[must_use]
    pub fn again(answer: Answer) -> Self {
        Self { answer, is_repeat: true, has_effect: false }
    }
}

fn of_done(done: &Done) -> Answer {
    if let Effect::Written { created, .. } = &done.effect
        && let Some(campaign) = done.summary::<Coupon>()
    {
        return of_campaign(*created, campaign);
    }
    match done.shown::<Coupon>() {
        Some((Outcome::Claimed { .. }, view)) if view.status == ClaimStatus::Pending => of_claim(Verb::Accepted, view),
        Some((Outcome::Claimed { .. }, view)) => of_claim(Verb::Claimed, view),
        Some((Outcome::Redeemed { .. }, view)) => of_claim(Verb::Redeemed, view),
        Some((Outcome::Cancelled { .. }, view)) => of_claim(Verb::Cancelled, view),
        None => of_other(&done.effect),
    }
}

fn of_other(effect: &Effect) -> Answer {
    let outcome = match effect.clone() {
        Effect::Written { created, summary } => Remembered::Written { created, summary },
        Effect::Removed { summary } => Remembered::Removed { summary },
        Effect::Did(shown) => Remembered::Did(shown.number, shown.outcome),
        Effect::DidBoth(first, second) => Remembered::DidBoth((first.number, first.outcome), (second.number, second.outcome)),
        Effect::Nothing => return Answer::No("nothing"),
    };
    Answer::other(adapter::outcome(&outcome))
}

/// A campaign as it was shown.
#[must_use]
pub fn of_campaign(created: bool, campaign: &Summary<Coupon>) -> Answer {
    let coupon::Figures { claimed, pending, redeemed, .. } = campaign.figures;
    Answer::Campaign { created, version: campaign.head.version, settings: campaign.settings, claimed, pending, redeemed }
}

fn of_claim(verb: Verb, view: &ClaimView) -> Answer {
    Answer::Claim { verb, subject: view.subject.clone(), serial: view.serial.get(), claimed_at: view.claimed_at.millis() }
}

/// A claim as it was shown.
#[must_use]
pub fn of_claim_read(view: &ClaimView) -> Answer {
    let verb = match view.status {
        ClaimStatus::Pending => Verb::Accepted,
        ClaimStatus::Live => Verb::Claimed,
        ClaimStatus::Redeemed { .. } => Verb::Redeemed,
        ClaimStatus::Cancelled { .. } => Verb::Cancelled,
    };
    of_claim(verb, view)
}

impl Answer {
    /// An outcome in the oracle's words. When it was looked at says nothing of what is there.
    #[must_use]
    pub fn other(mut outcome: oracle::Outcome) -> Self {
        if let oracle::Outcome::Written { view, .. } | oracle::Outcome::Removed(view) = &mut outcome {
            view.at = Timestamp::default();
        }
        Self::Other(Box::new(outcome))
    }

    /// Whether this is a right answer to who was told `earlier` before: the same, or the claim, where
    /// that was a place in the queue.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        let claim = |answer: &Self| match answer {
            Self::Claim { verb: Verb::Accepted | Verb::Claimed, subject, serial, .. } => Some((subject.clone(), *serial)),
            _ => None,
        };
        let was_accepted = matches!(earlier, Self::Claim { verb: Verb::Accepted, .. });
        self == earlier || was_accepted && claim(self) == claim(earlier)
    }
}

fn of_refusal(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Rejected(rejection) => Answer::No(rejection.code()),
        Refusal::Busy => Answer::NotTaken("busy"),
        Refusal::StorageFull => Answer::NotTaken("storage_full"),
        Refusal::MemoryLimit(limit) => Answer::NotTaken(limit),
        Refusal::Stopping => Answer::NotTaken("stopping"),
        Refusal::NotCaughtUp => Answer::NotTaken("not_caught_up"),
        Refusal::Unknown => Answer::NotTaken("unknown"),
    }
}
