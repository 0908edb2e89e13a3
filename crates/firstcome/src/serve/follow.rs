//! Applies decisions to the server's caches: the keys before it serves, and, while it serves, policies that
//! other machines have changed.

use std::sync::Arc;
use std::time::Duration;

use edge::auth::Auth;

use super::ServeError;
use crate::app::App;
use crate::backend::Backend;
use crate::http::problem::Problem;
use crate::keys;
use crate::workloads::policy::rules::follow_all;

/// How often a server that has not caught up tries to read the keys.
const KEYS_LOOK: Duration = Duration::from_millis(20);

/// How often the rate limits' counters follow the decisions of other machines.
const POLICIES_LOOK: Duration = Duration::from_secs(1);

/// Loads the keys before any request is accepted: without keys, every process on this machine would be
/// admitted. Across machines this succeeds once the server has caught up with the log.
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

/// Applies other machines' policy changes to the counters.
pub(super) async fn policies(app: Arc<App>) {
    // On a single machine, the request that changes a policy also applies the change.
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
