//! What a server takes over from what was decided: the keys before it serves, and while it serves policies
//! that another machine has changed.

use std::sync::Arc;
use std::time::Duration;

use edge::auth::Auth;

use super::ServeError;
use crate::app::App;
use crate::backend::Backend;
use crate::http::problem::Problem;
use crate::keys;
use crate::workloads::policy::rules::follow_all;

/// How often a server that has not caught up looks for the keys.
const KEYS_LOOK: Duration = Duration::from_millis(20);

/// How often the counters of rate limits follow what other machines have decided.
const POLICIES_LOOK: Duration = Duration::from_secs(1);

/// Learns which keys there are before anyone is let in: without any, whoever is on this machine would be.
/// Across machines, that is when the server has caught up with the record.
pub(super) async fn learn_keys(backend: &Backend, auth: &Auth) -> Result<(), ServeError> {
    let mut is_told = false;
    loop {
        match keys::ring_of(backend).await {
            Ok(ring) => {
                auth.follow(&ring);
                return Ok(());
            }
            Err(declined) if backend.engine().is_some() => return Err(ServeError::ApiKeys(Problem::from(declined).code())),
            Err(_) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!("catching up with the log; nobody is answered before the keys are known");
                }
                tokio::time::sleep(KEYS_LOOK).await;
            }
        }
        if let Some(why) = backend.failure() {
            return Err(ServeError::Stopped(why));
        }
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
