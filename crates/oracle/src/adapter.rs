//! From the types of `domain` to the oracle's, and a comparison of both states. Nothing is decided here:
//! each function says the same in other words.

use domain::coupon::{self as theirs, Campaign as TheirCampaign, Patch, Settings};
use domain::rate_limit::policies::{self, Rule as TheirRule};
use domain::rate_limit::{Mode, Settings as LimitSettings};
use domain::request::{CampaignView, Outcome as TheirOutcome};
use domain::state::{self, Command, CommandKind, Decision, Rejection, State};

use crate::{Ask, Detail, Effect, Key, No, Oracle, Outcome, Ruling, Said, What, coupon, limit};

/// A command, as a question.
#[must_use]
pub fn ask<'a>(command: &'a Command<'_>) -> Ask<'a> {
    let actor = command.actor.as_str();
    let key = command.request.map(|keyed| Key { actor, key: keyed.key.as_str(), fingerprint: keyed.fingerprint.0 });
    match &command.kind {
        CommandKind::Coupon(command) => Ask { key, what: What::Coupon(command.campaign().as_str(), coupon_ask(command)) },
        // A request key on it is of no importance.
        CommandKind::Policy(command) => Ask { key: None, what: What::Limit(command.policy().as_str(), limit_ask(command)) },
        CommandKind::ForgetRequests => Ask { key: None, what: What::ForgetKeys },
    }
}

fn coupon_ask<'a>(command: &'a theirs::Command<'_>) -> coupon::Ask<'a> {
    match command {
        theirs::Command::Put(put) => coupon::Ask::Put { settings: put.settings, condition: put.precondition, code_key: put.code_key },
        theirs::Command::Patch(patch) => coupon::Ask::Patch(patch),
        theirs::Command::Claim(claim) => coupon::Ask::Claim(claim.subject),
        theirs::Command::Redeem(target) => coupon::Ask::Redeem(target.by),
        theirs::Command::Cancel(target) => coupon::Ask::Cancel(target.by),
        theirs::Command::DecideNext(next) => coupon::Ask::DecideNext(next.serial, next.subject),
    }
}

fn limit_ask<'a>(command: &policies::Command<'a>) -> limit::Ask<'a> {
    match *command {
        policies::Command::Put { rule, precondition, .. } => limit::Ask::Put(rule_of(&rule), precondition),
        policies::Command::Remove { precondition, .. } => limit::Ask::Remove(precondition),
        policies::Command::PutOverride { key, numbers, .. } => limit::Ask::PutOverride(key.as_str(), numbers_of(numbers)),
        policies::Command::RemoveOverride { key, .. } => limit::Ask::RemoveOverride(key.as_str()),
    }
}

/// The request key of a record.
#[must_use]
pub fn key_of<'a>(record: &state::Record<'a>) -> Option<Key<'a>> {
    let keyed = record.request.filter(|_| matches!(record.event, state::Event::Coupon(_)))?;
    Some(Key { actor: record.actor.as_str(), key: keyed.key.as_str(), fingerprint: keyed.fingerprint.0 })
}

/// What a record says that has changed, after everything that the oracle knows: the event of a claim
/// and of the decision of a pending claim is the same one.
#[must_use]
pub fn effect(oracle: &Oracle, event: &state::Event<'_>) -> Effect {
    let coupon = match event {
        state::Event::Coupon(event) => event,
        state::Event::Policy(event) => return Effect::Limit(event.policy().as_str().to_owned(), limit_effect(event)),
        state::Event::RequestsForgotten { count } => return Effect::KeysForgotten(*count),
    };
    let number = coupon.campaign().0;
    let has_pending = oracle.campaign_at(number).is_some_and(|campaign| campaign.pending() != 0);
    let effect = match *coupon {
        theirs::Event::CampaignCreated { name, settings, code_key, .. } => {
            coupon::Effect::Created { name: name.as_str().to_owned(), settings, code_key }
        }
        theirs::Event::CampaignChanged { settings, .. } => coupon::Effect::Changed(settings),
        theirs::Event::Accepted { serial, subject, .. } => coupon::Effect::Accepted(serial, subject.as_str().into()),
        theirs::Event::Claimed { serial, subject, .. } if has_pending => coupon::Effect::Decided(serial, subject.as_str().into()),
        theirs::Event::Claimed { serial, subject, .. } => coupon::Effect::Claimed(serial, subject.as_str().into()),
        theirs::Event::Redeemed { serial, .. } => coupon::Effect::Redeemed(serial),
        theirs::Event::Cancelled { serial, .. } => coupon::Effect::Cancelled(serial),
    };
    Effect::Coupon(number, effect)
}

fn limit_effect(event: &policies::Event<'_>) -> limit::Effect {
    match *event {
        policies::Event::PolicyWritten { rule, .. } => limit::Effect::Written(rule_of(&rule)),
        policies::Event::PolicyRemoved { .. } => limit::Effect::Removed,
        policies::Event::OverrideWritten { key, numbers, .. } => {
            limit::Effect::OverrideWritten(key.as_str().to_owned(), numbers_of(numbers))
        }
        policies::Event::OverrideRemoved { key, .. } => limit::Effect::OverrideRemoved(key.as_str().to_owned()),
    }
}

/// What the rules of `domain` decided, as an answer.
///
/// # Errors
/// The rejection, as a [`No`].
pub fn said(oracle: &Oracle, decided: &Result<Decision<'_>, Rejection>) -> Result<Decided, No> {
    match decided {
        Ok(Decision::Event(event)) => Ok(Decided::Effect(effect(oracle, event))),
        Ok(Decision::Answer(answer)) => Ok(Decided::Answer(outcome(&answer.outcome), answer.novelty)),
        Ok(Decision::Nothing) => Ok(Decided::Nothing),
        Err(rejection) => Err(no(rejection)),
    }
}

/// As much of an answer as `domain` says of its own: not the reason why nothing happens, and not the
/// answer to what takes effect, which comes with the effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decided {
    /// Something changes.
    Effect(Effect),
    /// Nothing changes, and this is the answer.
    Answer(Outcome, domain::Novelty),
    /// Nothing changes, and nobody waits for an answer.
    Nothing,
}

/// The oracle's answer in the same form.
///
/// # Errors
/// Its [`No`].
pub fn decided(said: Said) -> Result<Decided, No> {
    let Ruling { outcome, novelty, effect } = said?;
    Ok(match (effect, outcome) {
        (Some(effect), _) => Decided::Effect(effect),
        // Of a policy that is as it should be nothing is told.
        (None, Outcome::Nothing(_) | Outcome::Limit(_)) => Decided::Nothing,
        (None, outcome) => Decided::Answer(outcome, novelty),
    })
}

/// An answer as `domain` remembers it.
#[must_use]
pub fn outcome(outcome: &TheirOutcome) -> Outcome {
    match outcome {
        TheirOutcome::Campaign { created, view } => {
            Outcome::Coupon(view.number.0, coupon::Outcome::Written { created: *created, view: Box::new(view_of(view)) })
        }
        TheirOutcome::Claimed(number, serial) => Outcome::Coupon(number.0, coupon::Outcome::Claimed(*serial)),
        TheirOutcome::Redeemed(number, serial) => Outcome::Coupon(number.0, coupon::Outcome::Redeemed(*serial)),
        TheirOutcome::Cancelled(number, serial) => Outcome::Coupon(number.0, coupon::Outcome::Cancelled(*serial)),
    }
}

fn view_of(view: &CampaignView) -> coupon::View {
    let taken = view.settings.stock.saturating_sub(view.remaining).get();
    let &CampaignView { settings, version, code_key, created_at, at, .. } = view;
    coupon::View { settings, version, code_key, created_at, taken, pending: view.pending.get(), redeemed: view.redeemed.get(), at }
}

/// A rejection, as a no.
#[must_use]
pub fn no(rejection: &Rejection) -> No {
    use theirs::Rejection as Why;
    let time = |name, time| vec![(name, Detail::Time(time))];
    let number = |name, number: u32| vec![(name, Detail::Number(number.into()))];
    let details = match rejection {
        Rejection::Policy(policies::Rejection::VersionMismatch { version }) | Rejection::Coupon(Why::VersionMismatch { version }) => {
            vec![("version", Detail::Number(*version))]
        }
        Rejection::Coupon(Why::StockBelowClaimed { claimed }) => number("claimed", claimed.get()),
        Rejection::Coupon(Why::PerSubjectMaxLowered { per_subject_max } | Why::SubjectLimitReached { per_subject_max }) => {
            number("per_subject_max", *per_subject_max)
        }
        Rejection::Coupon(Why::QueueFull { queue_max }) => number("queue_max", *queue_max),
        Rejection::Coupon(Why::NotOpen { opens_at }) => time("opens_at", *opens_at),
        Rejection::Coupon(Why::Closed { closed_at }) => time("closed_at", *closed_at),
        Rejection::Coupon(Why::AlreadyRedeemed { redeemed_at }) => time("redeemed_at", *redeemed_at),
        Rejection::Coupon(Why::Cancelled { cancelled_at }) => time("cancelled_at", *cancelled_at),
        Rejection::Coupon(Why::Expired { redeem_until }) => time("redeem_until", *redeem_until),
        Rejection::Coupon(Why::ClaimAmbiguous { serials }) => {
            vec![("serials", Detail::Numbers(serials.iter().map(|serial| serial.get().into()).collect()))]
        }
        Rejection::RequestKeyReused | Rejection::Coupon(_) | Rejection::Policy(_) => Vec::new(),
    };
    No { code: rejection.code(), details }
}

/// Settings after a change.
#[must_use]
pub fn patched(old: Settings, patch: &Patch<'_>) -> Settings {
    let mut new = old;
    patch.stock.into_iter().for_each(|stock| new.stock = stock);
    patch.per_subject_max.into_iter().for_each(|limit| new.per_subject_max = limit);
    patch.opens_at.into_iter().for_each(|opens_at| new.opens_at = opens_at);
    patch.closes_at.into_iter().for_each(|closes_at| new.closes_at = closes_at);
    patch.redeem_until.into_iter().for_each(|until| new.redeem_until = until);
    patch.paused.into_iter().for_each(|paused| new.paused = paused);
    patch.queue.mode.into_iter().for_each(|mode| new.queue.mode = mode);
    patch.queue.decisions_per_second_max.into_iter().for_each(|pace| new.queue.decisions_per_second_max = pace);
    patch.queue.queue_max.into_iter().for_each(|most| new.queue.queue_max = most);
    new
}

/// What a policy limits.
#[must_use]
pub fn rule_of(rule: &TheirRule) -> limit::Rule {
    match rule {
        TheirRule::Rate(policy) => rate_rule(policy.settings()),
        TheirRule::InFlight(limit) => limit::Rule {
            algorithm: "in_flight",
            numbers: limit::Numbers { quota: limit.limit(), window_ns: limit.timeout_ns(), burst: 0 },
            is_shadow: limit.mode() == Mode::Shadow,
        },
    }
}

/// What a rate's settings say, in range or not.
#[must_use]
pub fn rate_rule(settings: &LimitSettings) -> limit::Rule {
    let &LimitSettings { algorithm, quota, window_ns, burst, mode } = settings;
    let numbers = limit::Numbers { quota, window_ns, burst };
    limit::Rule { algorithm: algorithm.word(), numbers, is_shadow: mode == Mode::Shadow }
}

fn numbers_of(numbers: policies::Numbers) -> limit::Numbers {
    let policies::Numbers { quota, window_ns, burst } = numbers;
    limit::Numbers { quota, window_ns, burst }
}

/// Compares the state of `domain` with everything that the oracle knows.
///
/// # Errors
/// The first difference in words.
pub fn compare(oracle: &Oracle, state: &State) -> Result<(), String> {
    same(|| "the time".to_owned(), state.time, oracle.time)?;
    same(|| "the number of campaigns".to_owned(), state.campaigns().len(), oracle.campaigns().count())?;
    state.campaigns().iter().zip(oracle.campaigns()).try_for_each(|(found, expected)| compare_campaign(found, expected, oracle))?;
    let policies = |(name, kept): (&str, &policies::KeptPolicy)| {
        let overrides = kept.overrides.iter().map(|(key, numbers)| (key.to_string(), numbers_of(*numbers))).collect();
        let (version, created_at) = (kept.version, kept.created_at);
        (name.to_owned(), limit::Policy { rule: rule_of(&kept.rule), version, created_at, overrides })
    };
    same(|| "the policies".to_owned(), &state.policies.after(None).map(policies).collect(), oracle.policies())
}

/// Compares the request keys that are remembered, with their answers; both sides must have forgotten the
/// same ones.
///
/// # Errors
/// The first difference in words.
pub fn compare_keys(oracle: &Oracle, state: &State) -> Result<(), String> {
    same(|| "the number of request keys".to_owned(), state.requests.len(), oracle.keys().count())?;
    state.requests.iter().zip(oracle.keys().iter()).try_for_each(|(found, (_, expected))| {
        let (scope, campaign) = (&expected.scope, oracle.campaign_at(found.campaign.0).map(|campaign| &*campaign.name));
        let what = || format!("the request key {} of {}", scope.key, scope.name);
        same(what, (campaign, &found.actor, &found.key), (Some(&*scope.name), &scope.actor, &scope.key))?;
        same(what, (found.fingerprint.0, found.recorded_at), (expected.fingerprint, expected.at))?;
        same(what, outcome(&found.outcome), expected.outcome.clone())
    })
}

fn compare_campaign(found: &TheirCampaign, expected: &coupon::Campaign, oracle: &Oracle) -> Result<(), String> {
    let name = &expected.name;
    same(|| "a campaign's name".to_owned(), &*found.name, &**name)?;
    same(|| format!("campaign {name}"), view_of(&found.view(oracle.time)), expected.view(oracle.time))?;
    same(|| format!("the number of claims of {name}"), found.claims.count(), expected.claims().len())?;
    for (serial, claim) in expected.claims() {
        let text = || format!("claim {} of {name}", serial.get());
        let one = found.claims.get(serial).ok_or_else(|| format!("{} is not there", text()))?;
        same(text, (one.subject, one.claimed_at, one.status), (claim.subject(), claim.claimed_at, claim.status))?;
        let mut held: Vec<_> = found.claims.holding(claim.subject()).collect();
        held.sort_unstable();
        same(|| format!("what {} holds of {name}", claim.subject()), held, expected.held_by(claim.subject()))?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: impl FnOnce() -> String, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{}: {found:?}, and must be {expected:?}", what())) }
}
