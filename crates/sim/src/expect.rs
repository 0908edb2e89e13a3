//! The oracle's answers in the simulation's types, and a check of records against the oracle.

use domain::Kind;
use domain::Novelty;
use domain::claims::ClaimStatus;
use domain::coupon::TargetBy;
use domain::state::Record;
use domain::types::{Serial, SubjectId, Timestamp};
use domain::workload::AnySettings;
use oracle::coupon::{Campaign, Effect as CouponEffect, Outcome as CouponOutcome};
use oracle::{Answer as Ruled, Effect, Happening, Oracle, Outcome, Ruling, View, adapter};

use crate::ask::{Answer, Ask, Question, Said, Verb};
use crate::world::time;

/// The required answer to a question at this wall time, given the oracle's state.
#[must_use]
pub fn answer(oracle: &Oracle, question: &Question, wall: u64) -> Said {
    match question {
        Question::Ask(ask) => asked(oracle, ask, oracle.time.max(time(wall))),
        Question::Campaign(name) => Said::only(campaign(oracle, name)),
        Question::Claim(name, subject) => Said::only(claim(oracle, name, subject)),
    }
}

/// The required answer to a request.
#[must_use]
pub fn asked(oracle: &Oracle, ask: &Ask, now: Timestamp) -> Said {
    let command = ask.command();
    command.map_or_else(|| Said::only(Answer::No("malformed")), |command| said(oracle, &adapter::ask(&command), now))
}

/// The required answer to a question in the oracle's types.
#[must_use]
pub fn said(oracle: &Oracle, ask: &oracle::Ask<'_>, now: Timestamp) -> Said {
    match oracle.decide(ask, now) {
        Ok(Ruling { outcome, novelty, effect }) => Said {
            answer: answer_to(oracle, &outcome, effect.as_ref(), now),
            is_repeat: novelty != Novelty::Fresh,
            has_effect: effect.is_some(),
        },
        Err(no) => Said::only(Answer::No(no.code)),
    }
}

fn answer_to(oracle: &Oracle, outcome: &Outcome, effect: Option<&Effect>, now: Timestamp) -> Answer {
    let new = |verb, subject: &str, serial: Serial| Answer::Claim {
        verb,
        subject: subject.to_owned(),
        serial: serial.get(),
        claimed_at: now.millis(),
    };
    match effect {
        Some(Effect::Did(_, Happening::Coupon(CouponEffect::Claimed(serial, subject)))) => return new(Verb::Claimed, subject, *serial),
        Some(Effect::Did(_, Happening::Coupon(CouponEffect::Accepted(serial, subject)))) => return new(Verb::Accepted, subject, *serial),
        _ => {}
    }
    let (number, outcome) = match outcome {
        Outcome::Written { created, view } if matches!(view.settings, AnySettings::Campaign(_)) => return campaign_answer(*created, view),
        Outcome::Did(number, Ruled::Coupon(outcome)) => (number, outcome),
        Outcome::KeysForgotten(_) | Outcome::Nothing(_) => return Answer::No("nothing"),
        other => return Answer::other(other.clone()),
    };
    let known = |serial: Serial, verb: fn(ClaimStatus) -> Verb| {
        let campaign = oracle.campaign_at(*number);
        campaign.map_or(Answer::NoCampaign, |campaign| claim_answer(campaign, serial, verb))
    };
    match outcome {
        // A claim that was pending at the first answer may be decided by now.
        CouponOutcome::Claimed(serial) => {
            known(*serial, |status| if status == ClaimStatus::Pending { Verb::Accepted } else { Verb::Claimed })
        }
        CouponOutcome::Redeemed(serial) => known(*serial, |_| Verb::Redeemed),
        CouponOutcome::Cancelled(serial) => known(*serial, |_| Verb::Cancelled),
        CouponOutcome::Nothing(_) => Answer::No("nothing"),
    }
}

/// The required answer to a read of a campaign.
#[must_use]
pub fn campaign(oracle: &Oracle, name: &str) -> Answer {
    let campaign = oracle.find(Kind::Campaign, name);
    campaign.map_or(Answer::NoCampaign, |campaign| campaign_answer(false, &campaign.view(oracle.time)))
}

/// The required answer to a read of a subject's claim.
#[must_use]
pub fn claim(oracle: &Oracle, name: &str, subject: &str) -> Answer {
    let Some(campaign) = oracle.campaign(name) else { return Answer::No("campaign_not_found") };
    let Ok(subject) = SubjectId::new(subject) else { return Answer::No("malformed") };
    match campaign.find(TargetBy::Subject { subject }) {
        Ok(serial) => claim_answer(campaign, serial, verb_of),
        Err(no) => Answer::No(no.code),
    }
}

fn verb_of(status: ClaimStatus) -> Verb {
    match status {
        ClaimStatus::Pending => Verb::Accepted,
        ClaimStatus::Live => Verb::Claimed,
        ClaimStatus::Redeemed { .. } => Verb::Redeemed,
        ClaimStatus::Cancelled { .. } => Verb::Cancelled,
    }
}

fn campaign_answer(created: bool, view: &View) -> Answer {
    let AnySettings::Campaign(settings) = view.settings else { return Answer::No("no campaign") };
    let count = |name| u32::try_from(view.figure(name)).unwrap_or_else(|_| panic!("{name} of a campaign is a unit of its stock"));
    let (claimed, pending, redeemed) = (count("claimed"), count("pending"), count("redeemed"));
    Answer::Campaign { created, version: view.version, settings, claimed, pending, redeemed }
}

fn claim_answer(campaign: &Campaign, serial: Serial, verb: impl FnOnce(ClaimStatus) -> Verb) -> Answer {
    let Some(claim) = campaign.claim(serial) else { return Answer::No("claim_not_found") };
    let (subject, claimed_at) = (claim.subject().as_str().to_owned(), claim.claimed_at.millis());
    Answer::Claim { verb: verb(claim.status), subject, serial: serial.get(), claimed_at }
}

/// Applies a record to the oracle. `asked` is the request that caused it, with its wall time; `None` if the
/// record decides a pending claim or removes request keys.
///
/// # Errors
/// A text that says which part of the record was not asked for or is not allowed by the rules.
pub fn take_record(oracle: &mut Oracle, record: &Record<'_>, asked: Option<(&Ask, u64)>) -> Result<(), String> {
    let (effect, before) = (adapter::effect(&record.change), oracle.clone());
    if record.at < before.time {
        return Err(format!("time went back from {:?} to {:?}", before.time, record.at));
    }
    let command = asked.map(|(ask, _)| ask.command().ok_or_else(|| format!("{ask:?} has a malformed name"))).transpose()?;
    let question = match (&command, &effect) {
        (Some(command), _) => adapter::ask(command),
        (None, Effect::KeysForgotten(_) | Effect::Did(_, Happening::Coupon(CouponEffect::Decided(..)))) => before.asked_for(&effect, None),
        (None, _) => return Err("nobody asked for it".to_owned()),
    };
    if let Some((_, wall)) = asked.filter(|(_, wall)| record.at != before.time.max(time(*wall))) {
        return Err(format!("its time is {:?}; the last was {:?} and the wall clock {wall}", record.at, before.time));
    }
    let said = oracle.take(&question, record.at);
    match &said {
        Ok(yes) if yes.effect.as_ref() == Some(&effect) => Ok(()),
        _ => Err(format!("{question:?} must have come to {said:?}, but was recorded as {:?}", record.change)),
    }
}
