//! What a server takes over while it serves: policies that another machine has changed.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::http::policies::follow_all;

/// How often the counters of rate limits follow what other machines have decided.
const POLICIES_LOOK: Duration = Duration::from_secs(1);

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
