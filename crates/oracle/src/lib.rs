//! THE ORACLE. The rules a second time, once: one naive statement for each workload. It shares no
//! code with the rules of `domain`, only names, times and plain values (settings, how a claim is named,
//! what became of a claim), so that a mistake there is not repeated here.
//!
//! Naive means: ordered maps and sets, and every count is the size of a set. Nothing is tuned but for
//! one thing: `verify` decides millions of records with it, so no question looks through all claims.
//!
//! Used by `verify` (on a journal and on Kafka's record), by both worlds of the simulator, by the
//! property tests of `domain`, and as a backend of the conformance tables.
//!
//! Layout, in reading order: [`Ask`] is a question, [`Said`] the answer with the [`Effect`] that it
//! has; [`Oracle`] decides and takes effects in; `workload` has the list of workloads, [`coupon`],
//! [`limit`] and [`keyring`] are three of them, [`keys`] the request keys; [`adapter`] translates from the
//! types of `domain`, for the first two with their commands and events.

pub mod adapter;
mod aggregate;
#[cfg(feature = "example")]
pub mod counter;
pub mod coupon;
pub mod keyring;
pub mod keys;
pub mod limit;
mod words;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::state::Precondition;
use domain::types::Timestamp;
use domain::workload::AnySettings;
use domain::{Kind, Novelty};

pub use domain::rejections::Detail;

pub use aggregate::{Head, View};
pub use words::{Ask, Effect, Key, No, Outcome, Ruling, Said, Step, What, Yes};
pub use workload::{Aggregate, Answer, Happening, Rows, Wish};

use coupon::Campaign;
use keys::{Keys, Scope};
use words::{check_condition, refuse_if};
use workload::{check_settings, is_removable, patched};

/// Everything that has happened. A clone shares what has not changed since.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// The time of the last record.
    pub time: Timestamp,
    /// Records that changed something.
    pub decisions: u64,
    /// By number, in the order of creation; those that were removed are not there.
    aggregates: BTreeMap<u32, Aggregate>,
    numbers: Arc<BTreeMap<Kind, BTreeMap<Arc<str>, u32>>>,
    /// How many numbers were given: none is given twice.
    numbers_given: u32,
    keys: Arc<Keys>,
}

impl Oracle {
    /// Moves the time on; only [`What::SetTime`] sets it back.
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
        match ask.what {
            What::Put(name, settings, condition) => match self.find_if(settings.kind(), name, condition)? {
                Some(aggregate) => decide_settings(aggregate, aggregate.kept(settings), now),
                None => self.decide_new(name, settings, now),
            },
            What::Patch(name, patch, condition) => {
                let aggregate = self.find_if(patch.kind(), name, condition)?.ok_or_else(|| No::new(patch.kind().not_found()))?;
                decide_settings(aggregate, patched(aggregate.settings(), &patch), now)
            }
            What::Remove(kind, name, condition) => {
                let aggregate = self.find_if(kind, name, condition)?.ok_or_else(|| No::new(kind.not_found()))?;
                refuse_if(!is_removable(kind), || No::new("not_removable"))?;
                Ok(Ruling::effect(Outcome::Removed(Box::new(aggregate.view(now))), Effect::Removed(aggregate.head().number)))
            }
            What::Do(step) => {
                let (number, ruling) = self.decide_step(&step, ask.key.is_some(), now)?;
                if let Some(promise) = ruling.outcome.nothing() {
                    return Ok(Ruling::same(Outcome::Nothing(promise), ruling.novelty));
                }
                Ok(ruling.map(|answer| Outcome::Did(number, answer), |happening| Effect::Did(number, happening)))
            }
            What::DoBoth(first, second) => self.decide_both(&first, &second, ask.key.is_some(), now),
            What::ForgetKeys => Ok(match self.keys.due_count(now) {
                0 => Ruling::same(Outcome::Nothing("request_key"), Novelty::Fresh),
                count => Ruling::effect(Outcome::KeysForgotten(count), Effect::KeysForgotten(count)),
            }),
            What::SetTime(to) if to < self.time => Ok(Ruling::effect(Outcome::TimeSet, Effect::TimeSet { from: self.time, to })),
            What::SetTime(_) => Ok(Ruling::same(Outcome::Nothing("time"), Novelty::Fresh)),
        }
    }

    fn decide_new(&self, name: &str, settings: AnySettings, now: Timestamp) -> Said {
        check_settings(&settings)?;
        let number = self.numbers_given;
        let head = Head { number, name: name.into(), version: 1, created_at: now, changed_at: now };
        let view = Box::new(Aggregate::new(head, settings).view(now));
        Ok(Ruling::effect(Outcome::Written { created: true, view }, Effect::Created { number, name: name.to_owned(), settings }))
    }

    fn decide_step(&self, step: &Step<'_>, has_key: bool, now: Timestamp) -> Result<(u32, Ruling<Answer, Happening>), No> {
        let kind = step.kind();
        let aggregate = self.find(kind, step.name).ok_or_else(|| No::new(kind.not_found()))?;
        Ok((aggregate.head().number, aggregate.decide(&step.wish, has_key, now)?))
    }

    /// Two at once: both or none.
    fn decide_both(&self, first: &Step<'_>, second: &Step<'_>, has_key: bool, now: Timestamp) -> Said {
        let is_one = first.kind() == second.kind() && first.name == second.name;
        refuse_if(is_one || group(first.name) != group(second.name), || No::new("not_one_group"))?;
        let (number, one) = self.decide_step(first, has_key, now)?;
        let (other_number, other) = self.decide_step(second, has_key, now)?;
        refuse_if(one.effect.is_some() != other.effect.is_some(), || No::new("half_done"))?;
        for outcome in [&one.outcome, &other.outcome] {
            if let Some(promise) = outcome.nothing() {
                return Ok(Ruling::same(Outcome::Nothing(promise), Novelty::Fresh));
            }
        }
        let outcome = Outcome::DidBoth((number, one.outcome), (other_number, other.outcome));
        Ok(match one.effect.zip(other.effect) {
            Some((effect, other)) => Ruling::effect(outcome, Effect::DidBoth((number, effect), (other_number, other))),
            None => Ruling::same(outcome, Novelty::Repeated),
        })
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
        self.decisions += 1;
        if let Effect::TimeSet { to, .. } = effect {
            return self.set_time(*to);
        }
        self.pass(at);
        match effect {
            Effect::Created { number, name, settings } => self.create(*number, name, *settings, at),
            Effect::Changed(number, settings) => {
                if let Some(aggregate) = self.aggregates.get_mut(number) {
                    aggregate.change(*settings, at);
                }
            }
            Effect::Removed(number) => {
                if let Some(aggregate) = self.aggregates.remove(number) {
                    let by_name = Arc::make_mut(&mut self.numbers).entry(aggregate.kind()).or_default();
                    by_name.remove(&aggregate.head().name);
                }
            }
            Effect::Did(number, happening) => self.happen(*number, happening, at),
            Effect::DidBoth((number, happening), (other, others)) => {
                self.happen(*number, happening, at);
                self.happen(*other, others, at);
            }
            Effect::KeysForgotten(count) => Arc::make_mut(&mut self.keys).forget(*count),
            Effect::TimeSet { .. } => {}
        }
    }

    /// Sets the time back. Request keys of later times count from here, and paces begin anew.
    fn set_time(&mut self, to: Timestamp) {
        self.time = to;
        Arc::make_mut(&mut self.keys).count_from(to);
        self.aggregates.values_mut().for_each(Aggregate::time_set);
    }

    fn happen(&mut self, number: u32, happening: &Happening, at: Timestamp) {
        if let Some(aggregate) = self.aggregates.get_mut(&number) {
            aggregate.apply(happening, at);
        }
    }

    /// Creates an aggregate, unless there is one with its number or its name.
    fn create(&mut self, number: u32, name: &str, settings: AnySettings, at: Timestamp) {
        if self.aggregates.contains_key(&number) || self.find(settings.kind(), name).is_some() {
            return;
        }
        let name: Arc<str> = name.into();
        let head = Head { number, name: Arc::clone(&name), version: 1, created_at: at, changed_at: at };
        self.aggregates.insert(number, Aggregate::new(head, settings));
        Arc::make_mut(&mut self.numbers).entry(settings.kind()).or_default().insert(name, number);
        self.numbers_given = self.numbers_given.max(number.saturating_add(1));
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
        // No aggregate has an empty name: the answer is that there is none.
        let name_of = |number: u32| self.at(number).map_or("", |aggregate| &*aggregate.head().name);
        let what = match effect {
            Effect::Created { name, settings, .. } => What::Put(name, *settings, Precondition::IsNew),
            Effect::Changed(number, settings) => What::Put(name_of(*number), *settings, Precondition::Exists),
            Effect::Removed(number) => {
                What::Remove(self.at(*number).map_or(Kind::Policy, Aggregate::kind), name_of(*number), Precondition::Exists)
            }
            Effect::Did(number, happening) => What::Do(self.step_for(*number, happening)),
            Effect::DidBoth((number, happening), (other, others)) => {
                What::DoBoth(self.step_for(*number, happening), self.step_for(*other, others))
            }
            Effect::KeysForgotten(_) => What::ForgetKeys,
            Effect::TimeSet { to, .. } => What::SetTime(*to),
        };
        Ask { key, what }
    }

    fn step_for<'a>(&'a self, number: u32, happening: &'a Happening) -> Step<'a> {
        let aggregate = self.at(number);
        Step { name: aggregate.map_or("", |aggregate| &*aggregate.head().name), wish: happening.asked_for(aggregate) }
    }

    /// The aggregate of this kind and name.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Aggregate> {
        self.at(*self.numbers.get(&kind)?.get(name)?)
    }

    /// The same, where the condition of a write holds.
    fn find_if(&self, kind: Kind, name: &str, condition: Precondition) -> Result<Option<&Aggregate>, No> {
        let aggregate = self.find(kind, name);
        check_condition(aggregate.map(|aggregate| aggregate.head().version), condition, kind)?;
        Ok(aggregate)
    }

    /// The aggregate of this number.
    #[must_use]
    pub fn at(&self, number: u32) -> Option<&Aggregate> {
        self.aggregates.get(&number)
    }

    /// Aggregates in the order of creation.
    pub fn aggregates(&self) -> impl ExactSizeIterator<Item = &Aggregate> {
        self.aggregates.values()
    }

    /// How many numbers were given.
    #[must_use]
    pub fn numbers_given(&self) -> u32 {
        self.numbers_given
    }

    /// The campaign of this name.
    #[must_use]
    pub fn campaign(&self, name: &str) -> Option<&Campaign> {
        self.find(Kind::Campaign, name).and_then(Aggregate::campaign)
    }

    /// The campaign of this number.
    #[must_use]
    pub fn campaign_at(&self, number: u32) -> Option<&Campaign> {
        self.at(number).and_then(Aggregate::campaign)
    }

    /// Campaigns in the order of creation.
    pub fn campaigns(&self) -> impl Iterator<Item = &Campaign> {
        self.aggregates().filter_map(Aggregate::campaign)
    }

    /// The request keys that are not forgotten.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Something that is due at `now`, such as the decision of a pending claim: the question for it.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Ask<'_>> {
        self.aggregates().find_map(|aggregate| {
            let step = Step { name: &aggregate.head().name, wish: aggregate.due(now)? };
            Some(Ask { key: None, what: What::Do(step) })
        })
    }

    /// Counts every promise anew, from what is kept alone.
    ///
    /// # Errors
    /// What is broken: the promise in a word, and the story.
    pub fn check(&self) -> Result<(), Vec<(&'static str, String)>> {
        let broken: Vec<_> = self.aggregates().flat_map(Aggregate::check).collect();
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// A key belongs to the aggregate that its request was for: the first, where it was for two.
    fn scope_of(&self, ask: &Ask<'_>) -> Option<Scope> {
        let key = ask.key?;
        let (kind, name) = match ask.what {
            What::Put(name, settings, _) => (settings.kind(), name),
            What::Patch(name, patch, _) => (patch.kind(), name),
            What::Remove(kind, name, _) => (kind, name),
            What::Do(step) | What::DoBoth(step, _) => (step.kind(), step.name),
            What::ForgetKeys | What::SetTime(_) => return None,
        };
        // An aggregate's name is shared, for the sake of records with millions of keys.
        let name = self.find(kind, name).map_or_else(|| name.into(), |aggregate| Arc::clone(&aggregate.head().name));
        Some(Scope { kind, name, actor: key.actor.into(), key: key.key.into() })
    }
}

/// What has one group shares everything up to the first colon.
fn group(name: &str) -> Option<&str> {
    name.split(':').next()
}

fn decide_settings(aggregate: &Aggregate, settings: AnySettings, now: Timestamp) -> Said {
    aggregate.check_change(&settings)?;
    let written = |view| Outcome::Written { created: false, view: Box::new(view) };
    if settings == aggregate.settings() {
        return Ok(Ruling::same(written(aggregate.view(now)), Novelty::Fresh));
    }
    let head = aggregate.head();
    let view = aggregate.view_with(head.version + 1, settings, now);
    Ok(Ruling::effect(written(view), Effect::Changed(head.number, settings)))
}
