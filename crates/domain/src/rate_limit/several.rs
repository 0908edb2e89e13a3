//! Several policies and keys in one call: all pass, or nothing is taken.

use super::{Decision, KeyState, Moment, Policy};

/// One of several checks: which policy, the state of which key, and how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// The policy, or the override that stands in its place for this key.
    pub policy: &'a Policy,
    /// Old value in, new value out. No two parts are about the same key of the same policy: their
    /// costs are added first.
    pub state: KeyState,
    /// Units.
    pub cost: u32,
}

/// Decides all, and takes from all that conform if every one is allowed; otherwise from none. The
/// decisions come in the order of the parts; where nothing was taken, their `remaining` and
/// `reset_after_ns` are those of the untouched keys.
pub fn check_all(parts: &mut [Part<'_>], now: Moment) -> Vec<Decision> {
    let decisions: Vec<Decision> = parts.iter().map(|part| part.policy.decide(&part.state, now, part.cost)).collect();
    if !decisions.iter().all(Decision::is_allowed) {
        return parts.iter().zip(decisions).map(|(part, decision)| untaken(part.policy, &part.state, decision)).collect();
    }
    for (part, _) in parts.iter_mut().zip(&decisions).filter(|(_, decision)| decision.conforms()) {
        let old = std::mem::replace(&mut part.state, part.policy.full());
        part.state = part.policy.take(old, now, part.cost);
    }
    decisions
}

/// The same verdict, with the numbers of a key from which nothing was taken.
#[must_use]
pub fn untaken(policy: &Policy, state: &KeyState, decision: Decision) -> Decision {
    let look = policy.decide(state, decision.at, 0);
    Decision { remaining: look.remaining, reset_after_ns: look.reset_after_ns, ..decision }
}
