//! The API for people: one page made from the OpenAPI document and the table of codes. It needs no
//! script and no network, so that it works where the server works.

mod calls;
mod curl;
mod document;
mod fields;
mod refusals;
pub mod rejections;
mod text;

use std::fmt::Write;
use std::sync::OnceLock;

use self::document::{Call, Document};
use self::text::{escaped, inline, paragraphs};
use super::openapi;

const STYLE: &str = include_str!("docs/style.css");

/// The page.
#[must_use]
pub fn html() -> String {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| page(&openapi::DOCUMENT)).clone()
}

fn page(json: &serde_json::Value) -> String {
    let document = Document::new(json);
    let calls = document.calls();
    let mut page = head(&document);
    page.push_str(&navigation(&document, &calls));
    page.push_str("<main>\n");
    page.push_str(&introduction(&document));
    for (tag, description) in document.tags() {
        page.push_str(&group(&document, &calls, tag, description));
    }
    page.push_str(&fields::objects(&document));
    page.push_str(&refusals::all());
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(document: &Document<'_>) -> String {
    let title = escaped(document.text("/info/title"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} API</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    )
}

fn navigation(document: &Document<'_>, calls: &[Call<'_>]) -> String {
    let title = escaped(document.text("/info/title"));
    let mut nav = format!(
        "<input type=\"checkbox\" id=\"menu\"><nav aria-label=\"Contents\">\n\
         <p class=\"brand\"><a href=\"#top\">{title}</a> <span>API v1</span><label for=\"menu\">Contents</label></p>\n<div class=\"list\">\n"
    );
    for (tag, _) in document.tags() {
        let _ = writeln!(nav, "<p><a href=\"#{}\">{}</a></p>\n<ul>", document::anchor(tag), escaped(tag));
        for call in calls.iter().filter(|call| call.tag() == tag) {
            let _ = writeln!(nav, "<li><a href=\"#{}\">{} {}</a></li>", call.anchor(), calls::badge(call), inline(call.summary()));
        }
        nav.push_str("</ul>\n");
    }
    nav.push_str("<p><a href=\"#objects\">Objects</a></p>\n<p><a href=\"#refusals\">Refusals</a></p>\n</div>\n</nav>\n");
    nav
}

fn introduction(document: &Document<'_>) -> String {
    format!(
        "<header id=\"top\">\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n{}\
         <p>For machines: <a href=\"/openapi.json\">openapi.json</a>, OpenAPI 3.1.</p>\n</header>\n",
        escaped(document.text("/info/title")),
        inline(document.text("/info/summary")),
        paragraphs(document.text("/info/description"))
    )
}

fn group(document: &Document<'_>, calls: &[Call<'_>], tag: &str, description: &str) -> String {
    let mut html =
        format!("<section class=\"group\" id=\"{}\">\n<h2>{}</h2>\n{}", document::anchor(tag), escaped(tag), paragraphs(description));
    for call in calls.iter().filter(|call| call.tag() == tag) {
        html.push_str(&calls::section(document, call));
    }
    html.push_str("</section>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::CODES;

    #[test]
    fn every_code_has_its_anchor() {
        let page = html();
        for info in CODES.iter() {
            assert_eq!(page.matches(&format!("id=\"{}\"", info.code)).count(), 1, "{}", info.code);
        }
    }

    #[test]
    fn every_link_within_the_page_leads_somewhere() {
        let page = html();
        for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert_eq!(page.matches(&format!("id=\"{target}\"")).count(), 1, "#{target}");
        }
    }

    #[test]
    fn the_page_needs_no_script_and_no_network() {
        let page = html();
        for needle in ["<script", " src=", "url(", "@import", "<link", "onclick"] {
            assert!(!page.contains(needle), "{needle}");
        }
    }

    #[test]
    fn every_tag_that_opens_closes() {
        let page = html();
        for tag in ["section", "table", "tr", "td", "th", "code", "pre", "a", "p", "ul", "li", "div", "details", "dl", "dt", "dd", "span"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
