//! The layer: checks every request against all limits at once, refuses or lets it through, and
//! tells the client where it stands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::rate_limit::{Decision, Policy, PolicyError, Settings};
use domain::types::is_name_byte;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, SystemClock};
use crate::key::{Asked, Extract};
use crate::store::several::{Ask, check_all};
use crate::store::{KeysFull, Store, StoreOptions};
use crate::{fields, problem};

/// How much a request costs.
type Cost = Box<dyn Fn(&Asked<'_>) -> u32 + Send + Sync>;

/// One limit: its name for clients, the keys of its policy, and how they are found.
struct Limit {
    name: Arc<str>,
    store: Store,
    extract: Box<dyn Extract>,
}

struct Shared {
    limits: Vec<Limit>,
    policies: HeaderValue,
    cost: Cost,
    clock: Box<dyn Clock>,
}

/// What the limits said of a request, by name, in their order. Attached to every request that is
/// let through, so that a service below can log what a policy in shadow mode would have refused.
#[derive(Clone, Debug)]
pub struct Decisions(pub Arc<[(Arc<str>, Decision)]>);

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
            Self::Name(name) => write!(f, "a limit's name may only hold letters, digits and the characters _ . : -, unlike {name:?}"),
            Self::Twice(name) => write!(f, "two limits are named {name:?}"),
            Self::Policy(name, why) => write!(f, "limit {name:?}: {why}"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Collects limits.
pub struct Builder {
    wanted: Vec<(String, Settings, StoreOptions, Box<dyn Extract>)>,
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
    pub fn limit(mut self, name: &str, settings: Settings, extract: impl Extract) -> Self {
        self.wanted.push((name.to_owned(), settings, self.options, Box::new(extract)));
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
        for (name, settings, options, extract) in self.wanted {
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return Err(BuildError::Name(name));
            }
            if limits.iter().any(|limit| *limit.name == *name) {
                return Err(BuildError::Twice(name));
            }
            let policy = Policy::new(settings).map_err(|why| BuildError::Policy(name.clone(), why))?;
            let store = Store::new(policy, options, self.clock.now());
            limits.push(Limit { name: name.into(), store, extract });
        }
        let items: Vec<String> = limits.iter().map(|limit| fields::policy_item(&limit.name, limit.store.policy())).collect();
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

impl Shared {
    fn check(&self, asked: &Asked<'_>) -> Result<Vec<(Arc<str>, Decision)>, KeysFull> {
        let (now, cost) = (self.clock.now(), (self.cost)(asked));
        let mut name = Vec::with_capacity(64);
        let mut key_of = |limit: &Limit| {
            name.clear();
            limit.extract.extract(asked, &mut name);
            limit.store.key(&name)
        };
        if let [limit] = self.limits.as_slice() {
            let decision = limit.store.check(key_of(limit), now, cost)?;
            return Ok(vec![(Arc::clone(&limit.name), decision)]);
        }
        let asks: Vec<Ask<'_>> = self.limits.iter().map(|limit| Ask { store: &limit.store, key: key_of(limit), cost }).collect();
        let names = self.limits.iter().map(|limit| Arc::clone(&limit.name));
        Ok(names.zip(check_all(&asks, now)?).collect())
    }

    /// The decisions, or the response that refuses.
    fn judge<ReqBody, ResBody: From<String>>(&self, request: &Request<ReqBody>) -> Result<Decisions, Response<ResBody>> {
        let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers(), extensions: request.extensions() };
        let decisions = self.check(&asked).map_err(|KeysFull| problem::keys_full())?;
        let refusals = decisions.iter().filter(|(_, decision)| !decision.is_allowed());
        // Of several, the one that lasts longest: coming back earlier would be in vain.
        let worst = refusals.max_by_key(|(_, decision)| decision.retry_after_ns().unwrap_or(u64::MAX));
        let Some((name, decision)) = worst else { return Ok(Decisions(decisions.into())) };
        let mut response = problem::limited(name, decision);
        fields::add(response.headers_mut(), &self.policies, &decisions);
        Err(response)
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
        match self.shared.judge(&request) {
            Ok(decisions) => {
                request.extensions_mut().insert(decisions.clone());
                let shared = Arc::clone(&self.shared);
                ResponseFuture { state: State::Passed { future: self.inner.call(request), decisions, shared: Told(shared) } }
            }
            Err(response) => ResponseFuture { state: State::Refused { response: Some(response) } },
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
                fields::add(response.headers_mut(), &shared.0.policies, &decisions.0);
                response
            }),
            // Polled again after its end, a future may do anything but answer twice.
            StateProjection::Refused { response } => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
        }
    }
}
