//! The calls: every path and method of the program, from the tables of its parts. The router, the OpenAPI
//! document (and the page `/docs` made from it) and the tests read these tables.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::Method;
use domain::Kind;
use edge::auth::caller::Scope;
use edge::auth::{Access, Pool};
use edge::request::no_other_condition;
pub use edge::route::{operators, route, without_operators};

use super::context::Context;
use super::lists::AS_OF;
use super::openapi::describe::{Description, RequestKeyUse};
use super::problem::{HandlerResult, Problem};
use super::{code_key, demonstration, keys, meta, web};
use crate::app::App;
use crate::workloads;

/// A line of the router's table.
pub type Route = edge::route::Route<App>;

/// Callers who may read: keys, and end users about themselves.
pub const READ: Access = Access::Scope(Scope::Read);
/// Callers who may ask for something: keys, and end users for themselves.
pub const ISSUE: Access = Access::Scope(Scope::Issue);
/// Callers who may redeem: keys, and end users for themselves.
pub const REDEEM: Access = Access::Scope(Scope::Redeem);
/// Keys that manage campaigns and keys.
pub const ADMIN: Access = Access::KeyScope(Scope::Admin);

/// One call: a method at a path, its callers, its description, and its handler.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: Cow<'static, str>,
    /// The callers that may make the call.
    pub access: Access,
    /// Which capacity the call counts against.
    pub pool: Pool,
    /// The call's description in the OpenAPI document.
    pub description: Description,
    serve: Box<dyn Fn(&'static Self) -> Route + Send + Sync>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What a call does not honour is refused by name, before its handler sees the request.
fn check_headers(call: &Call, context: &Context) -> Result<(), Problem> {
    if let RequestKeyUse::Refused(reason) = call.description.request_key {
        context.no_request_key(reason)?;
    }
    if call.method == Method::GET {
        return Ok(());
    }
    // Whoever reads one of the two conditions reads both, also where `If-None-Match: *` can never hold.
    let reads = |name: &str| call.description.reads_header(name);
    no_other_condition(context, |name| reads(name) || (name == "if-none-match" && reads("if-match")))
}

impl Call {
    fn new<H, F>(method: Method, path: impl Into<Cow<'static, str>>, access: Access, handler: H) -> Self
    where
        H: Fn(Context) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = HandlerResult> + Send,
    {
        let serve = move |call: &'static Self| {
            let route = if call.pool == Pool::Operators { operators } else { route };
            let handler = handler.clone();
            let guarded = move |context: Context| {
                let handled = check_headers(call, &context).map(|()| handler(context));
                async move { handled?.await }
            };
            route(&call.path, call.method.clone(), call.access, guarded)
        };
        Self { method, path: path.into(), access, pool: Pool::Public, description: Description::default(), serve: Box::new(serve) }
    }

    /// The same call with another handler.
    #[must_use]
    pub fn served_by<H, F>(self, handler: H) -> Self
    where
        H: Fn(Context) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = HandlerResult> + Send,
    {
        let serve = Self::new(self.method.clone(), "", self.access, handler).serve;
        Self { serve, ..self }
    }

    /// The kind whose path the call is under.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        let word = self.path.split('/').nth(2);
        Kind::ALL.iter().copied().find(|kind| kind.is_served() && word == Some(kind.path()))
    }

    /// The same call for operators only: at the admin address, if there is one.
    #[must_use]
    pub fn of_operators(self) -> Self {
        Self { pool: Pool::Operators, ..self }
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $method:ident;)+) => { $(
        $(#[$doc])*
        pub fn $name<H, F>(path: impl Into<Cow<'static, str>>, access: Access, handler: H) -> Call
        where
            H: Fn(Context) -> F + Clone + Send + Sync + 'static,
            F: Future<Output = HandlerResult> + Send,
        {
            Call::new(Method::$method, path, access, handler)
        }
    )+ };
}

methods! {
    /// A call that reads.
    get GET;
    /// A call that adds something, or acts on something.
    post POST;
    /// A call that creates or replaces something.
    put PUT;
    /// A call that changes something.
    patch PATCH;
    /// A call that removes something.
    delete DELETE;
}

/// Every call of the program.
pub static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let of_workloads = workloads::TABLES.iter().map(|table| table.calls);
    let tables = of_workloads.chain([keys::calls as fn() -> Vec<Call>, code_key::calls, meta::calls, demonstration::calls, web::calls]);
    tables.flat_map(|calls| calls()).collect()
});

/// The router's table of all calls.
#[must_use]
pub fn table() -> Vec<Route> {
    CALLS.iter().map(|call| (call.serve)(call)).collect()
}

/// The router over a table: [`table`], a part of it, or an extended one.
pub fn router(app: Arc<App>, table: Vec<Route>) -> Router {
    edge::route::router(app, table, &[AS_OF])
}
