//! What to run.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::coupon;
use crate::frame::about::About;
use crate::frame::engines::Engines;
use crate::frame::error::LabError;

/// What to run, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// People who ask.
    pub users: u32,
    /// Coupons that there are.
    pub stock: u32,
    /// Keep-alive connections that they share.
    pub connections: usize,
    /// How often each strategy is rushed.
    pub runs: u32,
    /// Whether each is crashed once as well.
    pub with_faults: bool,
    /// The names of the strategies, all where there are none.
    pub strategies: Vec<String>,
    /// Where the engines are.
    pub engines: Engines,
    /// What is started.
    pub programs: Programs,
    /// A progress line on stderr.
    pub progress: bool,
}

/// What is started as servers.
#[derive(Clone, Debug)]
pub struct Programs {
    /// A strategy's server: program and arguments; it runs [`crate::serve_from_stdin`].
    pub strategy: Vec<OsString>,
    /// Firstcome itself, which is started with `serve`.
    pub firstcome: PathBuf,
}

impl Options {
    pub(crate) fn chosen(&self) -> Result<Vec<&'static About>, LabError> {
        if self.strategies.is_empty() {
            return Ok(coupon::ALL.to_vec());
        }
        let find = |name: &String| {
            let found = coupon::ALL.into_iter().find(|about| about.name == name);
            let known = || coupon::ALL.map(|about| about.name).join(", ");
            found.ok_or_else(|| LabError::UnknownStrategy { name: name.clone(), known: known() })
        };
        self.strategies.iter().map(find).collect()
    }
}
