//! The settings of a run.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::coupon;
use crate::frame::about::About;
use crate::frame::engines::Engines;
use crate::frame::error::LabError;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// People who ask for a coupon.
    pub users: u32,
    /// Coupons in the campaign.
    pub stock: u32,
    /// Keep-alive connections that the people share.
    pub connections: usize,
    /// The number of rushes for each strategy.
    pub runs: u32,
    /// Whether each strategy is also run with its faults.
    pub with_faults: bool,
    /// The names of the strategies; empty: all.
    pub strategies: Vec<String>,
    /// The engines' addresses.
    pub engines: Engines,
    /// The programs to start as servers.
    pub programs: Programs,
    /// Whether to show a progress line on stderr.
    pub progress: bool,
}

/// The programs to start as servers.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Program and arguments of a strategy's server, which runs [`crate::serve_from_stdin`].
    pub strategy: Vec<OsString>,
    /// Firstcome's own program, started with `serve`.
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
