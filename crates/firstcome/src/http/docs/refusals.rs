//! Every code in one place, under the name to which problems point.

use maud::{Markup, html};

use super::rejections::later_of;
use super::text::inline;
use crate::http::problem::CODES;

/// The section.
pub(super) fn all() -> Markup {
    html! {
        section.group #refusals {
            h2 { "Refusals" }
            p {
                "Every refusal is a " a href="#object-Problem" { "Problem" } ". Match " code { "code" } "; its " code { "type" }
                " points here."
            }
            dl.codes {
                @for info in CODES.iter() {
                    dt #(info.code) { a href={ "#" (info.code) } { code { (info.code) } } " " span.type { (info.status) } }
                    dd { (inline(info.meaning)) br; span.later { "Asking again later: " (inline(later_of(info.code))) "." } }
                }
            }
        }
    }
}
