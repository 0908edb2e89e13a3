//! The demonstration rush that a button starts: 2,000 people ask for 200 coupons, from the server itself and
//! over its own API, in a separate campaign. Allowed only if calls need no credential; one at a time; every
//! answer is checked as `firstcome rush` checks them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::app::App;

/// People who ask for a coupon.
pub const USERS: u32 = 2_000;
/// Coupons in the campaign.
pub const STOCK: u32 = 200;
/// The arrivals' time span, long enough to be watched.
pub const OVER: Duration = Duration::from_secs(10);
/// Connections that the people share.
const CONNECTIONS: usize = 16;
/// Percentage of people who ask twice.
const REPEAT_PERCENT: u8 = 5;
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Delay before the first request, so that the page can show the rush from its beginning.
const HEAD_START: Duration = Duration::from_millis(1_500);

/// The state of the demonstration.
#[derive(Debug, Default)]
pub struct Demonstration {
    addresses: OnceLock<Addresses>,
    last: Mutex<Option<Run>>,
}

/// The server's own addresses.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    public: SocketAddr,
    admin: Option<SocketAddr>,
}

/// A rush.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The campaign's name.
    pub campaign: String,
    /// The rush's outcome so far.
    pub outcome: Outcome,
}

/// The outcome of a rush.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The rush is running.
    Running,
    /// The rush has ended, and every promise was kept.
    Kept,
    /// The rush has ended, and these promises were broken.
    Broken(Vec<String>),
    /// The rush could not be carried out.
    Failed(String),
}

/// Why no rush was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotStarted {
    /// The server has keys or uses TLS.
    NotHere,
    /// A rush is already running, in this campaign.
    Running(String),
}

impl Demonstration {
    /// Sets the addresses that the server listens on.
    pub fn serves_at(&self, public: SocketAddr, admin: Option<SocketAddr>) {
        // A second call would set the same addresses.
        let _ = self.addresses.set(Addresses { public, admin });
    }

    /// Whether a rush may be started on this server.
    #[must_use]
    pub fn is_allowed(&self, app: &App) -> bool {
        app.edge.auth.needs_no_credential() && !app.edge.uses_tls && self.addresses.get().is_some()
    }

    /// The last rush, if there was one.
    #[must_use]
    pub fn last(&self) -> Option<Run> {
        self.lock().clone()
    }

    /// Reserves the single slot and returns the name of the campaign, which the caller creates before
    /// [`Demonstration::begin`].
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn reserve(&self, app: &App) -> Result<String, NotStarted> {
        if !self.is_allowed(app) {
            return Err(NotStarted::NotHere);
        }
        let mut last = self.lock();
        if let Some(Run { campaign, outcome: Outcome::Running }) = &*last {
            return Err(NotStarted::Running(campaign.clone()));
        }
        let campaign = format!("try-it-{}", app.edge.request_ids.next());
        *last = Some(Run { campaign: campaign.clone(), outcome: Outcome::Running });
        Ok(campaign)
    }

    /// Starts the rush on the campaign, which exists now.
    pub fn begin(&self, app: &Arc<App>, campaign: String) {
        let Some(addresses) = self.addresses.get().copied() else { return };
        let options = options(campaign, addresses);
        let app = Arc::clone(app);
        tokio::spawn(async move {
            let outcome = run(&options).await;
            tracing::info!(campaign = options.campaign, ?outcome, "the small rush is over");
            app.demonstration.end(options.campaign, outcome);
        });
    }

    /// Sets the outcome of the rush.
    pub fn end(&self, campaign: String, outcome: Outcome) {
        *self.lock() = Some(Run { campaign, outcome });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Run>> {
        self.last.lock()
    }
}

fn options(campaign: String, addresses: Addresses) -> rush::coupon::Options {
    rush::coupon::Options {
        url: format!("http://{}", addresses.public),
        other_urls: Vec::new(),
        campaign,
        users: USERS,
        stock: STOCK,
        connections: CONNECTIONS,
        over: OVER,
        repeat_percent: REPEAT_PERCENT,
        decisions_per_second: None,
        request_timeout: REQUEST_TIME,
        server_pid: None,
        token: None,
        admin_url: addresses.admin.map(|admin| format!("http://{admin}")),
        admin_token: None,
        progress: false,
    }
}

async fn run(options: &rush::coupon::Options) -> Outcome {
    tokio::time::sleep(HEAD_START).await;
    match rush::coupon::run(options).await {
        Ok(report) => match report.broken() {
            broken if broken.is_empty() => Outcome::Kept,
            broken => Outcome::Broken(broken.into_iter().map(|promise| promise.sentence).collect()),
        },
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
