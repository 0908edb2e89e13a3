//! What becomes of a command, whatever the workload.

use super::{Action, Answer, Change, Command, Decision, Done, Novelty, Precondition, Rejection, State, Step};
use crate::request::{Lookup, Outcome};
use crate::types::{Name, Timestamp};
use crate::workload::{AnyAggregate, AnyDecided, AnySettings, Ask, Kind, Number};

/// What becomes of a command at `now`, which must not be before [`State::time`].
///
/// # Errors
/// The first [`Rejection`] in the order of precedence.
pub fn decide<'a>(state: &State, command: &Command<'a>, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    let Some((kind, name)) = command.action.target() else { return Ok(decide_frame(state, &command.action, now)) };
    if let Some(keyed) = &command.request {
        match state.requests.lookup(command.actor, kind, name, keyed, now) {
            Lookup::Fresh => {}
            Lookup::Replayed(outcome) => return Ok(Decision::Answer(Answer { outcome: outcome.clone(), novelty: Novelty::Replayed })),
            Lookup::KeyReused => return Err(Rejection::RequestKeyReused),
        }
    }
    let aggregate = state.find(kind, name);
    let ask = Ask { now, has_request_key: command.request.is_some() };
    match &command.action {
        Action::Put { settings, precondition, .. } => decide_put(state, (aggregate, name), *settings, *precondition, now),
        Action::Patch { patch, precondition, .. } => {
            let aggregate = check_precondition(aggregate, kind, *precondition)?.ok_or(Rejection::NotFound(kind))?;
            decide_settings(aggregate, aggregate.patched(patch), now)
        }
        Action::Remove { precondition, .. } => {
            let aggregate = check_precondition(aggregate, kind, *precondition)?.ok_or(Rejection::NotFound(kind))?;
            if !kind.is_removable() {
                return Err(Rejection::NotRemovable(kind));
            }
            Ok(Decision::Change(Change::Removed { number: aggregate.head().number }))
        }
        Action::Do(step) => decide_one(aggregate, step, ask),
        Action::DoBoth(first, second) => decide_both(state, (aggregate, first), second, ask),
        Action::ForgetRequests | Action::SetTime { .. } => Ok(decide_frame(state, &command.action, now)),
    }
}

/// What is for no aggregate.
fn decide_frame<'a>(state: &State, action: &Action<'a>, now: Timestamp) -> Decision<'a> {
    if let Action::SetTime { to } = *action {
        // Against the state's time and not `now`: a clock that is right is behind it.
        return if to < state.time { Decision::Change(Change::TimeSet { from: state.time, to }) } else { Decision::Nothing };
    }
    match state.requests.due_count(now) {
        0 => Decision::Nothing,
        count => Decision::Change(Change::RequestsForgotten { count }),
    }
}

fn decide_put<'a>(
    state: &State,
    (aggregate, name): (Option<&AnyAggregate>, Name<'a>),
    settings: AnySettings,
    precondition: Precondition,
    now: Timestamp,
) -> Result<Decision<'a>, Rejection> {
    if let Some(aggregate) = check_precondition(aggregate, settings.kind(), precondition)? {
        return decide_settings(aggregate, aggregate.put(settings), now);
    }
    check_settings(&settings)?;
    settings.accepted().map_err(Rejection::Of)?;
    Ok(Decision::Change(Change::Created { number: state.number_next(), name, settings }))
}

fn decide_settings<'a>(aggregate: &AnyAggregate, settings: AnySettings, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    check_settings(&settings)?;
    aggregate.accepts(&settings).map_err(Rejection::Of)?;
    if settings == aggregate.settings() {
        let outcome = Outcome::Written { created: false, summary: Box::new(aggregate.summary(now)) };
        return Ok(Decision::Answer(Answer { outcome, novelty: Novelty::Fresh }));
    }
    Ok(Decision::Change(Change::Changed { number: aggregate.head().number, settings }))
}

fn check_settings(settings: &AnySettings) -> Result<(), Rejection> {
    settings.issue().map_or(Ok(()), |issue| Err(Rejection::Settings(issue)))
}

/// The aggregate, if there is one and the condition holds.
fn check_precondition(
    aggregate: Option<&AnyAggregate>,
    kind: Kind,
    precondition: Precondition,
) -> Result<Option<&AnyAggregate>, Rejection> {
    match (aggregate.map(|aggregate| aggregate.head().version), precondition) {
        (_, Precondition::Always) | (Some(_), Precondition::Exists) | (None, Precondition::IsNew) => Ok(aggregate),
        (None, Precondition::Exists | Precondition::Version(_) | Precondition::Never) => Err(Rejection::NotFound(kind)),
        (Some(_), Precondition::IsNew) => Err(Rejection::Exists(kind)),
        (Some(version), Precondition::Version(wanted)) if wanted == version => Ok(aggregate),
        (Some(version), Precondition::Version(_) | Precondition::Never) => Err(Rejection::VersionMismatch { version }),
    }
}

fn decide_one<'a>(aggregate: Option<&AnyAggregate>, step: &Step<'a>, ask: Ask) -> Result<Decision<'a>, Rejection> {
    let (number, decided) = decide_step(aggregate, step, ask)?;
    Ok(match decided {
        AnyDecided::Event(event) => Decision::Change(Change::Did(Done { number, event })),
        AnyDecided::Repeat(outcome) => Decision::Answer(Answer { outcome: Outcome::Did(number, outcome), novelty: Novelty::Repeated }),
        AnyDecided::Nothing => Decision::Nothing,
    })
}

/// Neither step can depend on the other's effect, because they are about two aggregates: so both are
/// decided on the state as it is.
fn decide_both<'a>(
    state: &State,
    (aggregate, first): (Option<&AnyAggregate>, &Step<'a>),
    second: &Step<'a>,
    ask: Ask,
) -> Result<Decision<'a>, Rejection> {
    let is_one = (first.command.kind(), first.name) == (second.command.kind(), second.name);
    if is_one || first.name.group() != second.name.group() {
        return Err(Rejection::NotOneGroup);
    }
    let (number, one) = decide_step(aggregate, first, ask)?;
    let (other_number, other) = decide_step(state.find(second.command.kind(), second.name), second, ask)?;
    Ok(match (one, other) {
        (AnyDecided::Event(event), AnyDecided::Event(other)) => {
            Decision::Change(Change::DidBoth(Done { number, event }, Done { number: other_number, event: other }))
        }
        (AnyDecided::Event(_), _) | (_, AnyDecided::Event(_)) => return Err(Rejection::HalfDone),
        (AnyDecided::Repeat(outcome), AnyDecided::Repeat(other)) => {
            let outcome = Outcome::DidBoth((number, outcome), (other_number, other));
            Decision::Answer(Answer { outcome, novelty: Novelty::Repeated })
        }
        (AnyDecided::Nothing, _) | (_, AnyDecided::Nothing) => Decision::Nothing,
    })
}

fn decide_step<'a>(aggregate: Option<&AnyAggregate>, step: &Step<'a>, ask: Ask) -> Result<(Number, AnyDecided<'a>), Rejection> {
    let aggregate = aggregate.ok_or(Rejection::NotFound(step.command.kind()))?;
    let decided = aggregate.decide(&step.command, ask).map_err(Rejection::Of)?;
    Ok((aggregate.head().number, decided))
}

// Tests: `conformance/` (tables, by `crates/domain/tests/conformance.rs`), `crates/domain/tests/`.
