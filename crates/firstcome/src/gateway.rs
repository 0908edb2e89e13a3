//! LIMITS IN FRONT OF EVERY CALL: per client address, per key, and per subject and campaign.
//!
//! A request passes twice. Before anybody looks at its credential, its address is counted
//! ([`Gateway::arrive`]), so that finding out who calls has a limit too. When it is known who calls
//! and about what, key and subject are counted at once ([`Gateway::admit`]); what they refuse is
//! given back to the address. Neither asks the engine anything. The counters are those of
//! `rate-limit-layer`, in memory, and each server has its own.

pub mod settings;

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, Method, Uri};
use rate_limit_layer::key::{Asked, Cidr, TrustedProxies, client_address, extension};
use rate_limit_layer::{BuildError, Decisions, Mode, RateLimitLayer, Refused, clock};
use serde_json::json;

use self::settings::GatewaySettings;
use crate::doors::caller::Caller;
use crate::http::context::Context;
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use crate::limits::LimitClock;
use crate::metrics::Metrics;

/// Calls that are never limited: whoever watches the server must not be turned away.
pub const UNLIMITED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// When to ask again where there is no room to count one more caller.
const FULL_RETRY_MS: u64 = 1_000;

const ADDRESS: &str = "address";
const KEY: &str = "key";
const SUBJECT: &str = "subject";

/// What is counted of a request when it is known who calls.
#[derive(Clone, Debug)]
struct Who {
    key: Option<Box<[u8]>>,
    subject: Option<Box<[u8]>>,
}

/// What the limits have said of a request so far.
#[derive(Debug, Default)]
pub struct Passage {
    address: Option<Decisions>,
    caller: Option<Decisions>,
    /// Who was counted there.
    who: Option<Who>,
}

/// The limits, if there are any.
#[derive(Debug)]
pub struct Gateway {
    layer: Option<RateLimitLayer>,
    proxies: TrustedProxies,
    counts_addresses: bool,
    counts_callers: bool,
}

impl Gateway {
    /// Limits as the settings say.
    ///
    /// # Errors
    /// [`BuildError`]: they are no policies.
    pub fn new(settings: &GatewaySettings, clock: LimitClock) -> Result<Self, BuildError> {
        let GatewaySettings { address, key, subject, trusted } = settings;
        let mut builder = RateLimitLayer::builder().clock(clock);
        if let Some(settings) = address {
            builder = builder.limit_where(ADDRESS, *settings, by_address(trusted), |asked| who(asked).is_none());
        }
        if let Some(settings) = key {
            let by_key = extension(|who: &Who| who.key.as_deref().unwrap_or_default());
            builder = builder.limit_where(KEY, *settings, by_key, |asked| who(asked).is_some_and(|who| who.key.is_some()));
        }
        if let Some(settings) = subject {
            let by_subject = extension(|who: &Who| who.subject.as_deref().unwrap_or_default());
            builder = builder.limit_where(SUBJECT, *settings, by_subject, |asked| who(asked).is_some_and(|who| who.subject.is_some()));
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

    /// The client of a request that came from `peer`, by the word of proxies that are trusted.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.client_of(peer, headers)
    }

    /// Counts the address of a request that has just come.
    ///
    /// # Errors
    /// A [`Problem`]: it is used up.
    pub fn arrive(&self, request: &Request, passage: &mut Passage, metrics: &Metrics) -> Result<(), Problem> {
        let Some(layer) = self.layer.as_ref().filter(|_| self.counts_addresses) else { return Ok(()) };
        let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers(), extensions: request.extensions() };
        judge(layer.check(&asked), &mut passage.address, metrics)
    }

    /// Counts who calls, and for whom. What is refused takes nothing, of the address neither.
    ///
    /// # Errors
    /// A [`Problem`]: one of them is used up.
    pub fn admit(&self, context: &mut Context, passage: &mut Passage, metrics: &Metrics) -> Result<(), Problem> {
        let Some(layer) = self.layer.as_ref().filter(|_| self.counts_callers) else { return Ok(()) };
        let who = Who { key: key_of(&context.caller), subject: subject_of(context) };
        passage.who = Some(who.clone());
        context.extensions.insert(who);
        let judged = judge(layer.check(&context.asked()), &mut passage.caller, metrics);
        if judged.is_err()
            && let Some(address) = &mut passage.address
        {
            *address = layer.give_back(&context.asked(), address);
        }
        judged
    }

    /// Where there is no such campaign, or none for the caller, nobody of it is counted: who makes up
    /// names of campaigns must not fill the counters.
    pub fn refused(&self, passage: &mut Passage, problem: &Problem) {
        let is_about_nothing = ["campaign_not_found", "campaign_forbidden", "answer_not_found"].contains(&problem.code());
        let (Some(layer), true, Some(who)) = (&self.layer, is_about_nothing, passage.who.take()) else { return };
        let Some(caller) = &mut passage.caller else { return };
        let mut extensions = Extensions::new();
        extensions.insert(Who { key: None, ..who });
        let (method, uri, headers) = (Method::GET, Uri::default(), HeaderMap::new());
        let asked = Asked { method: &method, uri: &uri, headers: &headers, extensions: &extensions };
        let of_subject = |name: &str| name == SUBJECT;
        let (subjects, others): (Vec<_>, Vec<_>) = caller.0.iter().cloned().partition(|(name, _)| of_subject(name));
        let given_back = layer.give_back(&asked, &Decisions(subjects.into()));
        *caller = Decisions(others.into_iter().chain(given_back.0.iter().cloned()).collect());
    }

    /// Tells the caller where it stands.
    pub fn add_fields(&self, passage: &Passage, headers: &mut HeaderMap) {
        let (Some(layer), Passage { address, caller, .. }) = (&self.layer, passage) else { return };
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

fn who<'a>(asked: &Asked<'a>) -> Option<&'a Who> {
    asked.extensions.get()
}

/// The key's name. End users have none, and are counted by their subjects.
fn key_of(caller: &Caller) -> Option<Box<[u8]>> {
    match caller {
        Caller::Local | Caller::Key(_) => Some(caller.actor().as_str().as_bytes().into()),
        Caller::User { .. } => None,
    }
}

/// Campaign and subject; neither's name holds a zero.
fn subject_of(context: &Context) -> Option<Box<[u8]>> {
    let (campaign, subject) = context.about()?;
    Some([campaign.as_bytes(), subject.as_bytes()].join(&0).into())
}

fn judge(judged: Result<Decisions, Refused>, told: &mut Option<Decisions>, metrics: &Metrics) -> Result<(), Problem> {
    match judged {
        Ok(all) => {
            for (name, _) in all.0.iter().filter(|(_, decision)| !decision.conforms()) {
                metrics.limited(name, Mode::Shadow);
            }
            *told = Some(all);
            Ok(())
        }
        Err(Refused::KeysFull) => {
            Err(Problem::new("busy", "as many callers are counted as may be, and this is a new one").retry_after_ms(FULL_RETRY_MS))
        }
        Err(Refused::Limited { name, decision, all }) => {
            metrics.limited(&name, Mode::Enforce);
            *told = Some(all);
            let limited = Problem::new("rate_limited", format!("as much as the limit per {name} allows has been used"));
            let limited = limited.with("policy", json!(&*name)).with("limit", json!(decision.limit));
            let limited = limited.with("reset_after_ms", json!(millis(decision.reset_after_ns)));
            Err(limited.retry_after_ms(millis(decision.retry_after_ns().unwrap_or_default())))
        }
    }
}

/// Rounded up, so that nobody comes early.
fn millis(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000)
}

impl clock::Clock for LimitClock {
    fn now(&self) -> rate_limit_layer::Moment {
        Self::now(self)
    }
}
