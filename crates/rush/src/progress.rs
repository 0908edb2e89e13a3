//! The progress bar on stderr. It draws nothing where stderr is not a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const REDRAW: Duration = Duration::from_millis(100);
const TEMPLATE: &str = "{msg:14} {wide_bar} {human_pos}/{human_len} {elapsed}";

pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(shown: bool, message: &'static str, length: u64) -> Progress {
        let bar = match shown {
            true => ProgressBar::new(length),
            false => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.set_message(message);
        Progress { bar }
    }

    /// Shows the value of `done` until dropped.
    pub(crate) async fn follow(&self, done: impl Fn() -> u64) {
        loop {
            self.bar.set_position(done());
            tokio::time::sleep(REDRAW).await;
        }
    }

    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
