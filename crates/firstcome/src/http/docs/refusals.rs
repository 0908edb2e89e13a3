//! Every code in one place, under the name to which problems point.

use super::rejections::later_of;
use super::text::{escaped, inline};
use crate::http::problem::{CODES, CodeInfo};

/// The section.
pub(super) fn all() -> String {
    let rows: String = CODES.iter().map(row).collect();
    format!(
        "<section class=\"group\" id=\"refusals\">\n<h2>Refusals</h2>\n\
         <p>Every refusal is a <a href=\"#object-Problem\">Problem</a>. Match <code>code</code>; its <code>type</code> points here.</p>\n\
         <dl class=\"codes\">\n{rows}</dl>\n</section>\n"
    )
}

fn row(info: &CodeInfo) -> String {
    format!(
        "<dt id=\"{0}\"><a href=\"#{0}\"><code>{0}</code></a> <span class=\"type\">{1}</span></dt>\n\
         <dd>{2}<br><span class=\"later\">Asking again later: {3}.</span></dd>\n",
        escaped(info.code),
        info.status,
        inline(info.meaning),
        inline(later_of(info.code))
    )
}
