//! The layer: checks every request against all limits at once, refuses or lets it through, and
//! tells the client where it stands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::rate_limit::{Decision, Policy, PolicyError, Settings};
use domain::types::is_name_byte;
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, SystemClock};
use crate::key::{Asked, Extract};
use crate::store::several::{Ask, check_all};
use crate::store::{Key, KeysFull, Store, StoreOptions};
use crate::{fields, problem};

/// How much a request costs.
type Cost = Box<dyn Fn(&Asked<'_>) -> u32 + Send + Sync>;
/// Which requests a limit counts.
type Counts = Box<dyn Fn(&Asked<'_>) -> bool + Send + Sync>;

/// A limit as it was asked for.
struct Wanted {
    name: String,
    settings: Settings,
    options: StoreOptions,
    extract: Box<dyn Extract>,
    counts: Counts,
}

/// One limit: its name for clients, the keys of its policy, how they are found, and of which
/// requests.
struct Limit {
    name: Arc<str>,
    /// Its item of `RateLimit-Policy`.
    item: String,
    store: Store,
    extract: Box<dyn Extract>,
    counts: Counts,
}

struct Shared {
    limits: Vec<Limit>,
    /// Of all limits.
    policies: HeaderValue,
    cost: Cost,
    clock: Box<dyn Clock>,
}

/// What the limits said of a request, by name, in their order. Attached to every request that is
/// let through, so that a service below can log what a policy in shadow mode would have refused.
#[derive(Clone, Debug)]
pub struct Decisions(pub Arc<[(Arc<str>, Decision)]>);

/// Why a request is not let through.
#[derive(Clone, Debug)]
pub enum Refused {
    /// A limit is used up.
    Limited {
        /// The limit that lasts longest.
        name: Arc<str>,
        /// What it said.
        decision: Decision,
        /// What all of them said.
        all: Decisions,
    },
    /// A limit counts as many keys as it may, and the request's is not among them.
    KeysFull,
}

/// Puts limits in front of a service. All limits are checked at once: a request that one of them
/// refuses takes nothing from the others. Clones share their counters.
#[derive(Clone)]
pub struct RateLimitLayer {
    shared: Arc<Shared>,
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("policies", &self.shared.policies).finish_non_exhaustive()
    }
}

/// Why no layer can be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BuildError {
    /// There is no limit.
    Empty,
    /// A limit's name is empty, or has other characters than letters, digits and `_ . : -`.
    Name(String),
    /// Two limits have this name.
    Twice(String),
    /// The settings of the limit of this name are no policy.
    Policy(String, PolicyError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no limit"),
            Self::Name(name) => write!(f, "a limit's name may only hold the characters A-Z a-z 0-9 _ . : -, unlike {name:?}"),
            Self::Twice(name) => write!(f, "two limits are named {name:?}"),
            Self::Policy(name, why) => write!(f, "limit {name:?}: {why}"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Collects limits.
pub struct Builder {
    wanted: Vec<Wanted>,
    options: StoreOptions,
    cost: Cost,
    clock: Box<dyn Clock>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Builder {
    /// Adds a limit. Its name is told to clients.
    #[must_use]
    pub fn limit(self, name: &str, settings: Settings, extract: impl Extract) -> Self {
        self.limit_where(name, settings, extract, |_| true)
    }

    /// Adds a limit that counts some requests only; the others it neither refuses nor mentions.
    #[must_use]
    pub fn limit_where(
        mut self,
        name: &str,
        settings: Settings,
        extract: impl Extract,
        counts: impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (name, options) = (name.to_owned(), self.options);
        self.wanted.push(Wanted { name, settings, options, extract: Box::new(extract), counts: Box::new(counts) });
        self
    }

    /// How many keys the limits that follow remember at most, each, and what happens then.
    #[must_use]
    pub fn options(self, options: StoreOptions) -> Self {
        Self { options, ..self }
    }

    /// What a request costs; 1 unless told otherwise.
    #[must_use]
    pub fn cost(self, cost: impl Fn(&Asked<'_>) -> u32 + Send + Sync + 'static) -> Self {
        Self { cost: Box::new(cost), ..self }
    }

    /// Another clock than the machine's, for tests.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// The layer.
    ///
    /// # Errors
    /// [`BuildError`] says what is wrong with a limit.
    pub fn build(self) -> Result<RateLimitLayer, BuildError> {
        let mut limits: Vec<Limit> = Vec::new();
        for Wanted { name, settings, options, extract, counts } in self.wanted {
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return Err(BuildError::Name(name));
            }
            if limits.iter().any(|limit| *limit.name == *name) {
                return Err(BuildError::Twice(name));
            }
            let policy = Policy::new(settings).map_err(|why| BuildError::Policy(name.clone(), why))?;
            let store = Store::new(policy, options, self.clock.now());
            limits.push(Limit { item: fields::policy_item(&name, store.policy()), name: name.into(), store, extract, counts });
        }
        let items: Vec<&str> = limits.iter().map(|limit| limit.item.as_str()).collect();
        let policies = HeaderValue::try_from(items.join(", ")).map_err(|_| BuildError::Empty)?;
        if limits.is_empty() {
            return Err(BuildError::Empty);
        }
        Ok(RateLimitLayer { shared: Arc::new(Shared { limits, policies, cost: self.cost, clock: self.clock }) })
    }
}

impl RateLimitLayer {
    /// No limit yet, the machine's clock, a cost of 1.
    #[must_use]
    pub fn builder() -> Builder {
        let (cost, clock): (Cost, Box<dyn Clock>) = (Box::new(|_| 1), Box::new(SystemClock::default()));
        Builder { wanted: Vec::new(), options: StoreOptions::default(), cost, clock }
    }

    /// The keys of the limit of that name, to reset one, to refund, to give one an override.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<&Store> {
        self.shared.limits.iter().find(|limit| *limit.name == *name).map(|limit| &limit.store)
    }

    /// Checks a request by hand, for services that learn who asks only on the way: what the layer
    /// does in front of a service, without the response.
    ///
    /// # Errors
    /// [`Refused`]; nothing is taken then.
    pub fn check(&self, asked: &Asked<'_>) -> Result<Decisions, Refused> {
        self.shared.judge(asked)
    }

    /// Gives back what [`RateLimitLayer::check`] took for a request that something else refuses,
    /// and says how its keys stand then.
    #[must_use]
    pub fn give_back(&self, asked: &Asked<'_>, decisions: &Decisions) -> Decisions {
        let (now, cost) = (self.shared.clock.now(), (self.shared.cost)(asked));
        let mut bytes = Vec::with_capacity(64);
        let stand = |(name, decision): &(Arc<str>, Decision)| {
            // What a limit in shadow mode would have refused, it has not taken.
            let limit = self.shared.limits.iter().find(|limit| limit.name == *name && decision.conforms());
            let after = limit.and_then(|limit| {
                let key = limit.key(asked, &mut bytes);
                limit.store.refund(key, now, cost);
                limit.store.check(key, now, 0).ok()
            });
            (Arc::clone(name), after.unwrap_or(*decision))
        };
        Decisions(decisions.0.iter().map(stand).collect())
    }

    /// Adds `RateLimit-Policy` and `RateLimit` for these decisions of this layer.
    pub fn add_fields(&self, headers: &mut HeaderMap, decisions: &Decisions) {
        self.shared.add_fields(headers, decisions);
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A service with limits in front.
#[derive(Clone)]
pub struct RateLimit<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: fmt::Debug> fmt::Debug for RateLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Limit {
    /// The key of a request; `name` is room for its bytes.
    fn key(&self, asked: &Asked<'_>, name: &mut Vec<u8>) -> Key {
        name.clear();
        self.extract.extract(asked, name);
        self.store.key(name)
    }
}

impl Shared {
    /// The limits that count this request.
    fn counting<'a>(&'a self, asked: &Asked<'_>) -> impl Iterator<Item = &'a Limit> {
        self.limits.iter().filter(move |limit| (limit.counts)(asked))
    }

    fn check(&self, asked: &Asked<'_>) -> Result<Vec<(Arc<str>, Decision)>, KeysFull> {
        let (now, cost) = (self.clock.now(), (self.cost)(asked));
        let mut name = Vec::with_capacity(64);
        let counting: Vec<&Limit> = self.counting(asked).collect();
        if let [limit] = counting.as_slice() {
            let decision = limit.store.check(limit.key(asked, &mut name), now, cost)?;
            return Ok(vec![(Arc::clone(&limit.name), decision)]);
        }
        let asks: Vec<Ask<'_>> = counting.iter().map(|limit| Ask { store: &limit.store, key: limit.key(asked, &mut name), cost }).collect();
        let names = counting.iter().map(|limit| Arc::clone(&limit.name));
        Ok(names.zip(check_all(&asks, now)?).collect())
    }

    fn judge(&self, asked: &Asked<'_>) -> Result<Decisions, Refused> {
        let all = Decisions(self.check(asked).map_err(|KeysFull| Refused::KeysFull)?.into());
        let refusals = all.0.iter().filter(|(_, decision)| !decision.is_allowed());
        // Of several, the one that lasts longest: coming back earlier would be in vain.
        let worst = refusals.max_by_key(|(_, decision)| decision.retry_after_ns().unwrap_or(u64::MAX)).cloned();
        let Some((name, decision)) = worst else { return Ok(all) };
        Err(Refused::Limited { name, decision, all })
    }

    fn refuse<ResBody: From<String>>(&self, refused: &Refused) -> Response<ResBody> {
        let Refused::Limited { name, decision, all } = refused else { return problem::keys_full() };
        let mut response = problem::limited(name, decision);
        self.add_fields(response.headers_mut(), all);
        response
    }

    fn add_fields(&self, headers: &mut HeaderMap, decisions: &Decisions) {
        let all = &decisions.0;
        if all.is_empty() {
            return;
        }
        if all.len() == self.limits.len() {
            return fields::add(headers, &self.policies, all);
        }
        let is_told = |limit: &&Limit| all.iter().any(|(name, _)| Arc::ptr_eq(name, &limit.name));
        let items: Vec<&str> = self.limits.iter().filter(is_told).map(|limit| limit.item.as_str()).collect();
        if let Ok(policies) = HeaderValue::try_from(items.join(", ")) {
            fields::add(headers, &policies, all);
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<String>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers(), extensions: request.extensions() };
        match self.shared.judge(&asked) {
            Ok(decisions) => {
                request.extensions_mut().insert(decisions.clone());
                let shared = Arc::clone(&self.shared);
                ResponseFuture { state: State::Passed { future: self.inner.call(request), decisions, shared: Told(shared) } }
            }
            Err(refused) => ResponseFuture { state: State::Refused { response: Some(self.shared.refuse(&refused)) } },
        }
    }
}

/// So that the state of a future can be shown.
struct Told(Arc<Shared>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.policies.fmt(f)
    }
}

pin_project! {
    /// The answer of the service below with the fields added, or the refusal.
    #[derive(Debug)]
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F, B> {
        Passed { #[pin] future: F, decisions: Decisions, shared: Told },
        Refused { response: Option<Response<B>> },
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passed { future, decisions, shared } => future.poll(context).map_ok(|mut response| {
                shared.0.add_fields(response.headers_mut(), decisions);
                response
            }),
            // Polled again after its end, a future may do anything but answer twice.
            StateProjection::Refused { response } => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
        }
    }
}
