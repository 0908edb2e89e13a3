//! The clients' requests and the answers to them, in the simulation's own types.

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

/// The action of a request; the first five are on a campaign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Create the campaign or replace its settings.
    Put(Settings, Precondition),
    /// Change its stock, or pause or resume it.
    Patch(Option<Quantity>, Option<bool>),
    /// Take a unit for this subject.
    Claim(String),
    /// Redeem a claim.
    Redeem(By),
    /// Cancel a claim.
    Cancel(By),
    /// An action on a policy.
    Policy(PolicyAsk),
    /// An action on the keyring.
    Keyring(KeyringAsk),
}

/// How a request identifies a claim.
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
    /// The request's id, never used twice.
    pub id: String,
    /// The name of the campaign, policy or keyring.
    pub name: &'static str,
    /// The request key.
    pub key: Option<String>,
    /// The action.
    pub what: What,
}

/// A request or a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// A request.
    Ask(Ask),
    /// Reads a campaign.
    Campaign(&'static str),
    /// Reads a subject's claim.
    Claim(&'static str, String),
}

/// What happened to a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Queued.
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
    /// A campaign after a change, or as read.
    Campaign {
        /// Whether it was created.
        created: bool,
        /// The version of its settings.
        version: u64,
        /// Its settings.
        settings: Settings,
        /// Units that subjects hold.
        claimed: u32,
        /// Units reserved for claims in the queue.
        pending: u32,
        /// Units that were redeemed.
        redeemed: u32,
    },
    /// A claim.
    Claim {
        /// What happened to it.
        verb: Verb,
        /// The subject that holds it.
        subject: String,
        /// Its serial.
        serial: u32,
        /// When it was decided, in milliseconds.
        claimed_at: u64,
    },
    /// An outcome of another workload, as the oracle represents it.
    Other(Box<oracle::Outcome>),
    /// Rejected by the rules; the code.
    No(&'static str),
    /// The campaign does not exist.
    NoCampaign,
    /// Refused for a reason outside the rules, such as capacity; reveals nothing about the state.
    NotTaken(&'static str),
}

/// An answer, and whether it repeats an earlier effect or reports a new one. For settings that were already
/// so, neither is the case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The answer.
    pub answer: Answer,
    /// Whether it is marked as a repeat.
    pub is_repeat: bool,
    /// Whether it has a record of its own.
    pub has_effect: bool,
}

impl Ask {
    /// The request as the product's command; `None` if a name in it is malformed.
    #[must_use]
    pub fn command(&self) -> Option<Command<'_>> {
        let request = match &self.key {
            Some(key) => Some(Keyed { key: RequestKey::new(key).ok()?, fingerprint: self.fingerprint() }),
            None => None,
        };
        Some(Command { actor: ActorId::LOCAL, request, action: self.action()? })
    }

    /// The fingerprint of the request, for its request key.
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
    /// The product's answer in the simulation's types.
    #[must_use]
    pub fn of(said: &Result<Done, Refusal>, has_effect: bool) -> Self {
        match said {
            Ok(done) => Self { answer: of_done(done), is_repeat: done.novelty != Novelty::Fresh, has_effect },
            Err(refusal) => Self { answer: of_refusal(refusal), is_repeat: false, has_effect },
        }
    }

    /// An answer without any effect.
    #[must_use]
    pub fn only(answer: Answer) -> Self {
        Self { answer, is_repeat: false, has_effect: false }
    }

    /// An answer to a request that takes effect now.
    #[must_use]
    pub fn fresh(answer: Answer) -> Self {
        Self { answer, is_repeat: false, has_effect: true }
    }

    /// An answer that repeats an earlier effect.
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
        Effect::DidBoth(both) => Remembered::DidBoth((both.0.number, both.0.outcome), (both.1.number, both.1.outcome)),
        Effect::Nothing => return Answer::No("nothing"),
    };
    Answer::other(adapter::outcome(&outcome))
}

/// A campaign as the product shows it.
#[must_use]
pub fn of_campaign(created: bool, campaign: &Summary<Coupon>) -> Answer {
    let coupon::Figures { claimed, pending, redeemed, .. } = campaign.figures;
    Answer::Campaign { created, version: campaign.head.version, settings: campaign.settings, claimed, pending, redeemed }
}

fn of_claim(verb: Verb, view: &ClaimView) -> Answer {
    Answer::Claim { verb, subject: view.subject.clone(), serial: view.serial.get(), claimed_at: view.claimed_at.millis() }
}

/// A claim as the product shows it.
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
    /// An outcome in the oracle's types. The time of the read is removed, as it does not belong to the state.
    #[must_use]
    pub fn other(mut outcome: oracle::Outcome) -> Self {
        if let oracle::Outcome::Written { view, .. } | oracle::Outcome::Removed(view) = &mut outcome {
            view.at = Timestamp::default();
        }
        Self::Other(Box::new(outcome))
    }

    /// Whether this is a correct answer to a client that was given `earlier` before: the same, or the decided
    /// claim where that was a place in the queue.
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
