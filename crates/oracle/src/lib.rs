//! THE ORACLE. The rules a second time, once: one naive statement for each workload. It shares no
//! code with the rules of `domain`, only names, times and plain values (a campaign's settings, how a
//! claim is named, what became of a claim), so that a mistake there is not repeated here.
//!
//! Naive means: ordered maps and sets, and every count is the size of a set. Nothing is tuned but for
//! one thing: `verify` decides millions of records with it, so no question looks through all claims.
//!
//! Used by `verify` (on a journal and on Kafka's record), by both worlds of the simulator, by the
//! property tests of `domain`, and as a backend of the conformance tables.
//!
//! Layout, in reading order: [`Ask`] is a question, [`Said`] the answer with the [`Effect`] that it
//! has; [`Oracle`] decides and takes effects in; [`coupon`] and [`limit`] are the workloads, [`keys`]
//! the request keys; [`adapter`] translates from the types of `domain`, and is the only file that
//! knows its commands and events.

pub mod adapter;
pub mod coupon;
pub mod keys;
pub mod limit;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Novelty;
use domain::coupon::{Precondition, TargetBy};
use domain::types::Timestamp;

use coupon::Campaign;
use keys::{Keys, Scope};
use limit::Policy;

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The request's key, where the question has one.
    pub key: Option<Key<'a>>,
    /// What is asked.
    pub what: What<'a>,
}

/// A request key.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The caller, to whom the key belongs.
    pub actor: &'a str,
    /// The key.
    pub key: &'a str,
    /// A digest of what the key was given to.
    pub fingerprint: [u8; 16],
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// Something of the campaign with this name.
    Coupon(&'a str, coupon::Ask<'a>),
    /// Something of the policy with this name.
    Limit(&'a str, limit::Ask<'a>),
    /// To forget the request keys whose time has come.
    ForgetKeys,
}

/// The answer: a yes, or the first reason against it.
pub type Said = Result<Yes, No>;
/// A yes.
pub type Yes = Ruling<Outcome, Effect>;

/// A yes of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling<O, E> {
    /// What is answered.
    pub outcome: O,
    /// Whether the answer is new.
    pub novelty: Novelty,
    /// What changes; `None` if nothing does.
    pub effect: Option<E>,
}

impl<O, E> Ruling<O, E> {
    /// Something changes.
    pub fn effect(outcome: O, effect: E) -> Self {
        Self { outcome, novelty: Novelty::Fresh, effect: Some(effect) }
    }

    /// Nothing changes.
    pub fn same(outcome: O, novelty: Novelty) -> Self {
        Self { outcome, novelty, effect: None }
    }

    fn map<P, F>(self, outcome: impl FnOnce(O) -> P, effect: impl FnOnce(E) -> F) -> Ruling<P, F> {
        Ruling { outcome: outcome(self.outcome), novelty: self.novelty, effect: self.effect.map(effect) }
    }
}

/// What is answered to a yes, in the form in which a request key remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In the campaign with this number.
    Coupon(u32, coupon::Outcome),
    /// Of a policy.
    Limit(limit::Outcome),
    /// So many request keys were forgotten.
    KeysForgotten(u32),
    /// Nothing happens and nobody waits for an answer. The word is the promise that would be broken if
    /// it happened all the same.
    Nothing(&'static str),
}

/// What changes by a yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// In the campaign with this number.
    Coupon(u32, coupon::Effect),
    /// Of the policy with this name.
    Limit(String, limit::Effect),
    /// The oldest request keys are forgotten, so many of them.
    KeysForgotten(u32),
}

/// A no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct No {
    /// The stable word that clients match.
    pub code: &'static str,
    /// What is told beside the code, each by its name in the answer.
    pub details: Vec<(&'static str, Detail)>,
}

/// A detail of a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Detail {
    /// A whole number.
    Number(u64),
    /// An instant.
    Time(Timestamp),
    /// Some numbers.
    Numbers(Vec<u64>),
}

impl No {
    fn new(code: &'static str) -> Self {
        Self { code, details: Vec::new() }
    }

    fn with(code: &'static str, name: &'static str, detail: Detail) -> Self {
        Self { code, details: vec![(name, detail)] }
    }
}

/// Refuses if the condition holds.
fn refuse_if(condition: bool, no: impl FnOnce() -> No) -> Result<(), No> {
    if condition { Err(no()) } else { Ok(()) }
}

/// Whether the condition of a write holds for what has this version, or is not there.
fn check_condition(version: Option<u64>, condition: Precondition, (not_found, exists): (&'static str, &'static str)) -> Result<(), No> {
    match (version, condition) {
        (_, Precondition::Always) => Ok(()),
        (Some(_), Precondition::Exists) | (None, Precondition::IsNew) => Ok(()),
        (Some(_), Precondition::IsNew) => Err(No::new(exists)),
        (Some(version), Precondition::Version(wanted)) if wanted == version => Ok(()),
        (Some(version), _) => Err(No::with("version_mismatch", "version", Detail::Number(version))),
        (None, _) => Err(No::new(not_found)),
    }
}

/// Everything that has happened. A clone shares what has not changed since.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// The time of the last record.
    pub time: Timestamp,
    /// Records that changed something.
    pub decisions: u64,
    /// By number, in the order of creation.
    campaigns: BTreeMap<u32, Arc<Campaign>>,
    numbers: Arc<BTreeMap<String, u32>>,
    policies: Arc<BTreeMap<String, Policy>>,
    keys: Arc<Keys>,
}

impl Oracle {
    /// Moves the time on; it never goes back.
    pub fn pass(&mut self, at: Timestamp) {
        self.time = self.time.max(at);
    }

    /// What must be answered at `now`; nothing changes by it.
    ///
    /// # Errors
    /// The first [`No`] in the order of precedence.
    pub fn decide(&self, ask: &Ask<'_>, now: Timestamp) -> Said {
        let known = self.scope_of(ask).zip(ask.key).and_then(|(scope, key)| Some((self.keys.known(&scope, now)?, key)));
        if let Some((known, key)) = known {
            refuse_if(known.fingerprint != key.fingerprint, || No::new("request_key_reused"))?;
            return Ok(Ruling::same(known.outcome.clone(), Novelty::Replayed));
        }
        match &ask.what {
            What::Coupon(name, coupon) => {
                let Some(campaign) = self.campaign(name) else { return self.decide_new(name, coupon, now) };
                let number = campaign.number;
                let ruling = campaign.decide(coupon, ask.key.is_some(), now)?;
                Ok(ruling.map(|outcome| Outcome::of_coupon(number, outcome), |effect| Effect::Coupon(number, effect)))
            }
            What::Limit(name, limit) => {
                let ruling = limit::decide(self.policies.get(*name), limit)?;
                Ok(ruling.map(Outcome::Limit, |effect| Effect::Limit((*name).to_owned(), effect)))
            }
            What::ForgetKeys => Ok(match self.keys.due_count(now) {
                0 => Ruling::same(Outcome::Nothing("request_key"), Novelty::Fresh),
                count => Ruling::effect(Outcome::KeysForgotten(count), Effect::KeysForgotten(count)),
            }),
        }
    }

    /// Decides a question, and takes its effect in; `at` is the time of its record. Without an effect
    /// there is no record, and the time stays as it was.
    ///
    /// # Errors
    /// The first [`No`] in the order of precedence.
    pub fn take(&mut self, ask: &Ask<'_>, at: Timestamp) -> Said {
        let at = self.time.max(at);
        let yes = self.decide(ask, at)?;
        if let Some(effect) = &yes.effect {
            let scope = self.scope_of(ask);
            self.apply(effect, at);
            self.remember(scope.zip(ask.key), yes.outcome.clone(), at);
        }
        Ok(yes)
    }

    /// Takes an effect in, whether the rules allow it or not, as far as it makes sense.
    pub fn apply(&mut self, effect: &Effect, at: Timestamp) {
        self.pass(at);
        self.decisions += 1;
        match effect {
            Effect::Coupon(number, coupon::Effect::Created { name, settings, code_key }) => {
                let campaign = Campaign::new(*number, name, *settings, *code_key, at);
                self.campaigns.entry(*number).or_insert_with(|| Arc::new(campaign));
                Arc::make_mut(&mut self.numbers).entry(name.clone()).or_insert(*number);
            }
            Effect::Coupon(number, effect) => {
                if let Some(campaign) = self.campaigns.get_mut(number) {
                    Arc::make_mut(campaign).apply(effect, at);
                }
            }
            Effect::Limit(name, effect) => limit::apply(Arc::make_mut(&mut self.policies), name, effect, at),
            Effect::KeysForgotten(count) => Arc::make_mut(&mut self.keys).forget(*count),
        }
    }

    /// Takes a record in as it is written, whether the rules allow it or not. Returns what the oracle says
    /// of the question behind it.
    ///
    /// # Errors
    /// The rules refuse the question.
    pub fn follow(&mut self, effect: &Effect, key: Option<Key<'_>>, at: Timestamp) -> Said {
        let (said, scope) = {
            let ask = self.asked_for(effect, key);
            (self.decide(&ask, at), self.scope_of(&ask))
        };
        self.apply(effect, at);
        // There is nothing to say again to a record that must not be.
        let outcome = said.as_ref().map_or(Outcome::Nothing("refused"), |yes| yes.outcome.clone());
        self.remember(scope.zip(key), outcome, at);
        said
    }

    fn remember(&mut self, scoped: Option<(Scope, Key<'_>)>, outcome: Outcome, at: Timestamp) {
        if let Some((scope, key)) = scoped {
            Arc::make_mut(&mut self.keys).remember(self.decisions, scope, key.fingerprint, at, outcome);
        }
    }

    /// The question behind a record: what must have been asked for this effect.
    #[must_use]
    pub fn asked_for<'a>(&'a self, effect: &'a Effect, key: Option<Key<'a>>) -> Ask<'a> {
        let what = match effect {
            Effect::Coupon(_, coupon::Effect::Created { name, settings, code_key }) => {
                What::Coupon(name, coupon::Ask::Put { settings: *settings, condition: Precondition::IsNew, code_key: *code_key })
            }
            Effect::Coupon(number, effect) => {
                let campaign = self.campaign_at(*number);
                // No campaign has an empty name: the answer is that there is none.
                let name = campaign.map_or("", |campaign| &campaign.name);
                let by = |serial| {
                    let claim = campaign.and_then(|campaign| campaign.claim(serial));
                    claim.map_or(TargetBy::Code(serial), |claim| TargetBy::SubjectSerial(claim.subject(), serial))
                };
                What::Coupon(name, effect.asked_for(by))
            }
            Effect::Limit(name, effect) => What::Limit(name, effect.asked_for()),
            Effect::KeysForgotten(_) => What::ForgetKeys,
        };
        Ask { key, what }
    }

    /// The campaign of this name.
    #[must_use]
    pub fn campaign(&self, name: &str) -> Option<&Campaign> {
        self.numbers.get(name).and_then(|number| self.campaign_at(*number))
    }

    /// The campaign of this number.
    #[must_use]
    pub fn campaign_at(&self, number: u32) -> Option<&Campaign> {
        self.campaigns.get(&number).map(|campaign| &**campaign)
    }

    /// Campaigns in the order of creation.
    pub fn campaigns(&self) -> impl Iterator<Item = &Campaign> {
        self.campaigns.values().map(|campaign| &**campaign)
    }

    /// Policies by name.
    #[must_use]
    pub fn policies(&self) -> &BTreeMap<String, Policy> {
        &self.policies
    }

    /// The request keys that are not forgotten.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Some decision of a pending claim that the pace allows at `now`: the question for it.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Ask<'_>> {
        self.campaigns().find_map(|campaign| Some(Ask { key: None, what: What::Coupon(&campaign.name, campaign.due(now)?) }))
    }

    /// Counts every promise anew, from the claims alone.
    ///
    /// # Errors
    /// What is broken: the promise in a word, and the story.
    pub fn check(&self) -> Result<(), Vec<(&'static str, String)>> {
        let broken: Vec<_> = self.campaigns().flat_map(Campaign::check).collect();
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    fn decide_new(&self, name: &str, ask: &coupon::Ask<'_>, now: Timestamp) -> Said {
        let number = self.campaigns.last_key_value().map_or(0, |(number, _)| number + 1);
        let ruling = coupon::decide_new(name, ask, now)?;
        Ok(ruling.map(|outcome| Outcome::of_coupon(number, outcome), |effect| Effect::Coupon(number, effect)))
    }

    fn scope_of(&self, ask: &Ask<'_>) -> Option<Scope> {
        let key = ask.key?;
        let (kind, name) = match ask.what {
            What::Coupon(name, _) => ("campaign", name),
            What::Limit(name, _) => ("policy", name),
            What::ForgetKeys => return None,
        };
        // A campaign's name is shared, for the sake of records with millions of keys.
        let name = self.campaign(name).map_or_else(|| name.into(), |campaign| Arc::clone(&campaign.name));
        Some(Scope { kind, name, actor: key.actor.into(), key: key.key.into() })
    }
}

impl Outcome {
    fn of_coupon(number: u32, outcome: coupon::Outcome) -> Self {
        match outcome {
            coupon::Outcome::Nothing(promise) => Self::Nothing(promise),
            outcome => Self::Coupon(number, outcome),
        }
    }
}
