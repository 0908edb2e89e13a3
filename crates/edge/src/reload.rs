//! Parts of the configuration that are read again on SIGHUP while the server runs. The parts are independent:
//! one that cannot be read keeps its old value, and the others are still read.

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
    /// Adds a part: its name for the log, and the function that reads it. If the function fails, it must not
    /// have changed anything.
    pub fn add<E: fmt::Display>(&mut self, what: &'static str, read: impl Fn() -> Result<(), E> + Send + Sync + 'static) {
        self.parts.push((what, Box::new(move || read().map_err(|error| error.to_string()))));
    }

    /// Reads all parts again, and logs the outcome of each.
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
        // One at a time. A panic has printed its message; the server goes on.
        let _ = tokio::task::spawn_blocking(move || reload.run()).await;
    }
}
