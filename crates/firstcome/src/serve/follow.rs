//! What a server takes over while it serves: keys that another process has changed, and policies that
//! another machine has.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::workloads::policy::rules::follow_all;

/// How often the file of keys is looked at. `firstcome key` waits until it was.
const KEYS_LOOK: Duration = Duration::from_millis(50);
/// How often the counters of rate limits follow what other machines have decided.
const POLICIES_LOOK: Duration = Duration::from_secs(1);

/// Reads keys again that another process has changed. An error is logged once.
pub(super) async fn keys(app: Arc<App>) {
    let mut ticks = tokio::time::interval(KEYS_LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        let Ok(refreshed) = tokio::task::spawn_blocking(move || app.edge.auth.refresh()).await else { continue };
        let error = refreshed.err().map(|error| error.to_string()).unwrap_or_default();
        if !error.is_empty() && error != said {
            tracing::error!(error, "the keys cannot be read again; those from before stay in use");
        }
        said = error;
    }
}

/// Takes over into the counters what other machines have decided about policies.
pub(super) async fn policies(app: Arc<App>) {
    // Alone, whoever changes a policy takes the change over.
    if app.backend.engine().is_some() {
        return;
    }
    let mut ticks = tokio::time::interval(POLICIES_LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(problem) = follow_all(&app).await {
            tracing::error!(code = problem.code(), "the policies of rate limits cannot be followed; the counters stay as they are");
        }
    }
}
