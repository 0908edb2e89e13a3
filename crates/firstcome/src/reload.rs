//! What is read again on SIGHUP, while the server goes on: each part by itself, so that one that
//! cannot be read keeps nobody from the others, and stays as it was.

use std::fmt;
use std::sync::Arc;

use tokio::signal::unix::Signal;

type Read = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The parts that can be read again.
#[derive(Default)]
pub struct Reload {
    parts: Vec<(&'static str, Read)>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|(what, _)| what)).finish()
    }
}

impl Reload {
    /// Adds a part: what it is, for the log, and how it is read. Where reading fails, nothing of
    /// the part may have changed.
    pub fn add<E: fmt::Display>(&mut self, what: &'static str, read: impl Fn() -> Result<(), E> + Send + Sync + 'static) {
        self.parts.push((what, Box::new(move || read().map_err(|error| error.to_string()))));
    }

    /// Reads everything again, and logs how that went.
    pub fn run(&self) {
        if self.parts.is_empty() {
            tracing::info!("SIGHUP: there is nothing to read again");
        }
        for (what, read) in &self.parts {
            match read() {
                Ok(()) => tracing::info!(what, "SIGHUP: read again"),
                Err(error) => tracing::error!(what, %error, "SIGHUP: cannot be read; what was read before stays"),
            }
        }
    }
}

/// Reads everything again whenever the signal comes; never ends.
pub async fn on(mut signal: Signal, reload: Arc<Reload>) {
    while signal.recv().await.is_some() {
        let reload = Arc::clone(&reload);
        // One after the other. A panic has said on stderr what it is; the server goes on.
        let _ = tokio::task::spawn_blocking(move || reload.run()).await;
    }
}
