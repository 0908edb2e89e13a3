//! The stampede: open-loop load against a first-come-first-served server, with a check of every response, and
//! a report of the speed and of broken promises.
//!
//! It speaks plain HTTP/1.1 to any server that implements the API, and assumes nothing about how that server
//! works. Open-loop means that each request has an instant at which it should start, whatever the server
//! does: a stall raises the latency of every request that was due during it.

pub mod coupon;
pub mod format;
pub mod plot;

mod clock;
mod connection;
mod control;
mod error;
mod figures;
mod machine;
mod progress;
mod target;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use error::Error;

/// The style sheet of result pages.
pub const STYLE: &str = include_str!("coupon/page.css");

/// A result page that loads and runs nothing. `own_style` follows [`STYLE`].
#[must_use]
pub fn page(title: &str, own_style: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(own_style)) }
            }
            body { (body) }
        }
    }
}
