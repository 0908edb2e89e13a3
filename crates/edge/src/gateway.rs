//! RATE LIMITS IN FRONT OF EVERY CALL: per client address, per key, and per subject and campaign.
//!
//! A request is counted twice. The address is counted before authentication ([`Gateway::check_address`]),
//! so that authentication has a limit too. Key and subject are counted together, once they are known
//! ([`Gateway::check_caller`]); if they refuse, the address gets its unit back. Neither involves the
//! engine. The counters are those of `rate-limit-layer`, in memory, and each server has its own.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, Method, Uri};
use rate_limit_layer::clock::Clock;
use rate_limit_layer::key::{Asked, Cidr, TrustedProxies, client_address, extension};
use rate_limit_layer::{BuildError, Decisions, Mode, RateLimitLayer, Refused, Settings};
use serde_json::json;

use crate::auth::caller::Caller;
use crate::context::Context;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::serve::Peer;

/// Calls that are never limited: monitoring must not be refused.
pub const UNLIMITED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// When to try again if all counters are in use.
const FULL_RETRY_MS: u64 = 1_000;

const ADDRESS: &str = "address";
const KEY: &str = "key";
const SUBJECT: &str = "subject";

/// The settings of the limits.
#[derive(Clone, Debug, Default)]
pub struct GatewaySettings {
    /// The limit per client address.
    pub address: Option<Settings>,
    /// The limit per key.
    pub key: Option<Settings>,
    /// The limit per subject of a campaign.
    pub subject: Option<Settings>,
    /// Proxies that are trusted to report the client's address.
    pub trusted: Vec<Cidr>,
}

/// The counters that an authenticated request uses.
#[derive(Clone, Debug)]
struct CounterKeys {
    key: Option<Box<[u8]>>,
    subject: Option<Box<[u8]>>,
}

/// The decisions of the limits about one request so far.
#[derive(Debug, Default)]
pub struct LimitDecisions {
    address: Option<Decisions>,
    caller: Option<Decisions>,
    /// The counters behind `caller`.
    keys: Option<CounterKeys>,
}

/// The rate limits, if there are any.
#[derive(Debug)]
pub struct Gateway {
    layer: Option<RateLimitLayer>,
    proxies: TrustedProxies,
    counts_addresses: bool,
    counts_callers: bool,
}

impl Gateway {
    /// Limits with these settings.
    ///
    /// # Errors
    /// [`BuildError`] if a limit is not a valid policy.
    pub fn new(settings: &GatewaySettings, clock: impl Clock) -> Result<Self, BuildError> {
        let GatewaySettings { address, key, subject, trusted } = settings;
        let mut builder = RateLimitLayer::builder().clock(clock);
        if let Some(settings) = address {
            builder = builder.limit_where(ADDRESS, *settings, by_address(trusted), |asked| keys(asked).is_none());
        }
        if let Some(settings) = key {
            let by_key = extension(|keys: &CounterKeys| keys.key.as_deref().unwrap_or_default());
            builder = builder.limit_where(KEY, *settings, by_key, |asked| keys(asked).is_some_and(|keys| keys.key.is_some()));
        }
        if let Some(settings) = subject {
            let by_subject = extension(|keys: &CounterKeys| keys.subject.as_deref().unwrap_or_default());
            builder = builder.limit_where(SUBJECT, *settings, by_subject, |asked| keys(asked).is_some_and(|keys| keys.subject.is_some()));
        }
        let (counts_addresses, counts_callers) = (address.is_some(), key.is_some() || subject.is_some());
        let layer = if counts_addresses || counts_callers { Some(builder.build()?) } else { None };
        Ok(Self { layer, proxies: trusted.iter().copied().collect(), counts_addresses, counts_callers })
    }

    /// Whether requests must carry their [`Peer`].
    #[must_use]
    pub fn counts_addresses(&self) -> bool {
        self.counts_addresses
    }

    /// The address of the client behind `peer`; forwarded addresses are accepted only from trusted proxies.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.client_of(peer, headers)
    }

    /// Counts the client address of a request.
    ///
    /// # Errors
    /// A [`Problem`] if the address has used up its limit.
    pub fn check_address(&self, request: &Request, decisions: &mut LimitDecisions, metrics: &Metrics) -> Result<(), Problem> {
        let Some(layer) = self.layer.as_ref().filter(|_| self.counts_addresses) else { return Ok(()) };
        let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers(), extensions: request.extensions() };
        evaluate(layer.check(&asked), &mut decisions.address, metrics)
    }

    /// Counts the key and the subject of a request. A refused request takes no unit, and its
    /// address gets its unit back.
    ///
    /// # Errors
    /// A [`Problem`] if one of them has used up its limit.
    pub fn check_caller<A>(&self, context: &mut Context<A>, decisions: &mut LimitDecisions, metrics: &Metrics) -> Result<(), Problem> {
        let Some(layer) = self.layer.as_ref().filter(|_| self.counts_callers) else { return Ok(()) };
        let keys = CounterKeys { key: key_of(&context.caller), subject: subject_of(context) };
        decisions.keys = Some(keys.clone());
        context.extensions.insert(keys);
        let result = evaluate(layer.check(&context.asked()), &mut decisions.caller, metrics);
        if result.is_err()
            && let Some(address) = &mut decisions.address
        {
            *address = layer.give_back(&context.asked(), address);
        }
        result
    }

    /// Returns the subject's unit if there is no such campaign, or the caller may not use it: invented names
    /// must not fill up the counters.
    pub fn return_subject(&self, decisions: &mut LimitDecisions, problem: &Problem) {
        let is_unknown = ["campaign_not_found", "campaign_forbidden", "answer_not_found"].contains(&problem.code());
        let (Some(layer), true, Some(keys)) = (&self.layer, is_unknown, decisions.keys.take()) else { return };
        let Some(caller) = &mut decisions.caller else { return };
        let mut extensions = Extensions::new();
        extensions.insert(CounterKeys { key: None, ..keys });
        let (method, uri, headers) = (Method::GET, Uri::default(), HeaderMap::new());
        let asked = Asked { method: &method, uri: &uri, headers: &headers, extensions: &extensions };
        let of_subject = |name: &str| name == SUBJECT;
        let (subjects, others): (Vec<_>, Vec<_>) = caller.0.iter().cloned().partition(|(name, _)| of_subject(name));
        let given_back = layer.give_back(&asked, &Decisions(subjects.into()));
        *caller = Decisions(others.into_iter().chain(given_back.0.iter().cloned()).collect());
    }

    /// Adds the `RateLimit` fields, which tell the caller what remains.
    pub fn add_fields(&self, decisions: &LimitDecisions, headers: &mut HeaderMap) {
        let (Some(layer), LimitDecisions { address, caller, .. }) = (&self.layer, decisions) else { return };
        match (address, caller) {
            (None, None) => {}
            (Some(all), None) | (None, Some(all)) => layer.add_fields(headers, all),
            (Some(address), Some(caller)) => {
                let all: Vec<_> = address.0.iter().chain(caller.0.iter()).cloned().collect();
                layer.add_fields(headers, &Decisions(all.into()));
            }
        }
    }
}

fn by_address(trusted: &[Cidr]) -> impl rate_limit_layer::key::Extract {
    client_address(|extensions| extensions.get::<Peer>().map(|peer| peer.address)).trust(trusted.iter().copied())
}

fn keys<'a>(asked: &Asked<'a>) -> Option<&'a CounterKeys> {
    asked.extensions.get()
}

/// The name of the caller's key. End users have no key and are counted by subject.
fn key_of(caller: &Caller) -> Option<Box<[u8]>> {
    match caller {
        Caller::Local | Caller::Key(_) => Some(caller.actor().as_str().as_bytes().into()),
        Caller::User { .. } => None,
    }
}

/// Campaign and subject, separated by a zero byte, which no name contains.
fn subject_of<A>(context: &Context<A>) -> Option<Box<[u8]>> {
    let (campaign, subject) = context.about()?;
    Some([campaign.as_bytes(), subject.as_bytes()].join(&0).into())
}

fn evaluate(result: Result<Decisions, Refused>, decisions: &mut Option<Decisions>, metrics: &Metrics) -> Result<(), Problem> {
    match result {
        Ok(all) => {
            for (name, _) in all.0.iter().filter(|(_, decision)| !decision.conforms()) {
                metrics.limited(name, Mode::Shadow);
            }
            *decisions = Some(all);
            Ok(())
        }
        Err(Refused::KeysFull) => {
            Err(Problem::new("busy", "as many callers are counted as may be, and this is a new one").retry_after_ms(FULL_RETRY_MS))
        }
        Err(Refused::Limited { name, decision, all }) => {
            metrics.limited(&name, Mode::Enforce);
            *decisions = Some(all);
            let limited = Problem::new("rate_limited", format!("as much as the limit per {name} allows has been used"));
            let limited = limited.with("policy", json!(&*name)).with("limit", json!(decision.limit));
            let limited = limited.with("reset_after_ms", json!(millis(decision.reset_after_ns)));
            Err(limited.retry_after_ms(millis(decision.retry_after_ns().unwrap_or_default())))
        }
    }
}

/// Rounded up, so that a retry after this time is not too early.
fn millis(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000)
}
