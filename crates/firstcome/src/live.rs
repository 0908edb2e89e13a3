//! Live streams of campaigns: what they show. The streams themselves are `edge`'s.
//!
//! - [`picture`]: a campaign as it is shown;
//! - [`tally`]: how claims were answered, and how fast.
//!
//! A campaign is read as for a response: only after what is shown is durable (W2).

mod picture;
mod tally;

pub use self::picture::{CampaignSource, Watched, watched};
pub use self::tally::{Tallies, Tally};
