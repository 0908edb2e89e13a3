//! The small rush that a button starts: 2,000 people for 200 coupons, from the server itself and over
//! its own API, in a campaign of its own. Only where nobody has to show a key, one at a time, and with
//! every answer checked as `firstcome rush` checks them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::app::App;

/// People who ask.
pub const USERS: u32 = 2_000;
/// Coupons that there are.
pub const STOCK: u32 = 200;
/// They come over this time, slow enough to be watched.
pub const OVER: Duration = Duration::from_secs(10);
/// Connections that they share.
const CONNECTIONS: usize = 16;
/// A few of them ask twice.
const REPEAT_PERCENT: u8 = 5;
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Whoever has pressed the button is to see it begin.
const HEAD_START: Duration = Duration::from_millis(1_500);

/// What the button may start, and has started.
#[derive(Debug, Default)]
pub struct Demonstration {
    addresses: OnceLock<Addresses>,
    last: Mutex<Option<Run>>,
}

/// Where the server is reached by itself.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    public: SocketAddr,
    admin: Option<SocketAddr>,
}

/// A rush.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// In which campaign.
    pub campaign: String,
    /// How it went.
    pub outcome: Outcome,
}

/// How a rush went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It goes on.
    Running,
    /// It is over, and every promise was kept.
    Kept,
    /// It is over, and these promises were not kept.
    Broken(Vec<String>),
    /// It could not be carried out.
    Failed(String),
}

/// Why no rush is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotStarted {
    /// There are keys, or TLS.
    NotHere,
    /// One is running, in this campaign.
    Running(String),
}

impl Demonstration {
    /// From now on the server serves at these addresses.
    pub fn serves_at(&self, public: SocketAddr, admin: Option<SocketAddr>) {
        // The second call would say the same.
        let _ = self.addresses.set(Addresses { public, admin });
    }

    /// Whether the button may start one.
    #[must_use]
    pub fn is_allowed(&self, app: &App) -> bool {
        app.edge.auth.needs_no_credential() && !app.edge.uses_tls && self.addresses.get().is_some()
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<Run> {
        self.lock().clone()
    }

    /// Takes the one place there is; gives the name of the campaign, which is to be made before
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

    /// The campaign is there: sends everybody at it.
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

    /// It is over.
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
