//! Policies of rate limits as bytes and back.

use super::DecodeError;
use super::bytes::{Reader, put_text, put_time, put_u32, put_u64};
use crate::rate_limit::in_flight::InFlight;
use crate::rate_limit::policies::{KeptPolicy, Numbers, Rule};
use crate::rate_limit::{Algorithm, Mode, Policy, Settings};
use crate::types::{LimitKey, PolicyName};

const FIXED_WINDOW: u8 = 1;
const SLIDING_WINDOW_LOG: u8 = 2;
const SLIDING_WINDOW_COUNTER: u8 = 3;
const TOKEN_BUCKET: u8 = 4;
const LEAKY_BUCKET: u8 = 5;
const IN_FLIGHT: u8 = 6;

fn number_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::FixedWindow => FIXED_WINDOW,
        Algorithm::SlidingWindowLog => SLIDING_WINDOW_LOG,
        Algorithm::SlidingWindowCounter => SLIDING_WINDOW_COUNTER,
        Algorithm::TokenBucket => TOKEN_BUCKET,
        Algorithm::LeakyBucket => LEAKY_BUCKET,
    }
}

pub(super) fn put_rule(out: &mut Vec<u8>, rule: &Rule) {
    match rule {
        Rule::Rate(policy) => {
            let Settings { algorithm, quota, window_ns, burst, mode } = *policy.settings();
            out.extend_from_slice(&[number_of(algorithm), u8::from(mode == Mode::Shadow)]);
            put_numbers(out, &Numbers { quota, window_ns, burst });
        }
        Rule::InFlight(limit) => {
            out.extend_from_slice(&[IN_FLIGHT, u8::from(limit.mode() == Mode::Shadow)]);
            put_u32(out, limit.limit());
            put_u64(out, limit.timeout_ns());
        }
    }
}

pub(super) fn put_numbers(out: &mut Vec<u8>, numbers: &Numbers) {
    put_u32(out, numbers.quota);
    put_u64(out, numbers.window_ns);
    put_u32(out, numbers.burst);
}

/// A policy with its overrides, which are in the order of their keys.
pub(super) fn put_policy(out: &mut Vec<u8>, name: &str, kept: &KeptPolicy) {
    put_text(out, name);
    put_rule(out, &kept.rule);
    put_u64(out, kept.version);
    put_time(out, kept.created_at);
    put_u32(out, u32::try_from(kept.overrides.len()).unwrap_or(u32::MAX));
    for (key, numbers) in &kept.overrides {
        put_text(out, key);
        put_numbers(out, numbers);
    }
}

impl<'a> Reader<'a> {
    pub(super) fn policy_name(&mut self) -> Result<PolicyName<'a>, DecodeError> {
        PolicyName::new(self.text()?).map_err(|_| DecodeError("a policy's name is malformed"))
    }

    pub(super) fn limit_key(&mut self) -> Result<LimitKey<'a>, DecodeError> {
        LimitKey::new(self.text()?).map_err(|_| DecodeError("a key of a rate limit is malformed"))
    }

    pub(super) fn numbers(&mut self) -> Result<Numbers, DecodeError> {
        Ok(Numbers { quota: self.u32()?, window_ns: self.u64()?, burst: self.u32()? })
    }

    pub(super) fn rule(&mut self) -> Result<Rule, DecodeError> {
        let number = self.u8()?;
        let mode = if self.flag()? { Mode::Shadow } else { Mode::Enforce };
        let algorithm = match number {
            FIXED_WINDOW => Algorithm::FixedWindow,
            SLIDING_WINDOW_LOG => Algorithm::SlidingWindowLog,
            SLIDING_WINDOW_COUNTER => Algorithm::SlidingWindowCounter,
            TOKEN_BUCKET => Algorithm::TokenBucket,
            LEAKY_BUCKET => Algorithm::LeakyBucket,
            IN_FLIGHT => {
                let limit = InFlight::new(self.u32()?, self.u64()?, mode);
                return limit.map(Rule::InFlight).ok_or(DecodeError("a limit on what is in flight is out of range"));
            }
            _ => return Err(DecodeError("a policy has an algorithm that this version does not know")),
        };
        let Numbers { quota, window_ns, burst } = self.numbers()?;
        let policy = Policy::new(Settings { algorithm, quota, window_ns, burst, mode });
        policy.map(Rule::Rate).map_err(|_| DecodeError("a policy's numbers are out of range"))
    }

    pub(super) fn policy(&mut self) -> Result<(PolicyName<'a>, KeptPolicy), DecodeError> {
        let name = self.policy_name()?;
        let (rule, version, created_at) = (self.rule()?, self.u64()?, self.time()?);
        let mut kept = KeptPolicy { rule, version, created_at, overrides: std::collections::BTreeMap::new() };
        for _ in 0..self.u32()? {
            let (key, numbers) = (self.limit_key()?, self.numbers()?);
            if kept.overrides.last_key_value().is_some_and(|(last, _)| key.as_str() <= &**last) {
                return Err(DecodeError("a key with numbers of its own is out of order"));
            }
            if kept.rule.with_numbers(numbers).is_err() {
                return Err(DecodeError("a key's numbers do not fit its policy"));
            }
            kept.overrides.insert(key.as_str().into(), numbers);
        }
        Ok((name, kept))
    }
}
