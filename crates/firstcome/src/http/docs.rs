//! The API for people: one page made from the OpenAPI document and the table of codes. It needs no
//! script and no network, so that it works where the server works.

mod calls;
mod curl;
mod document;
mod fields;
mod refusals;
pub mod rejections;
mod text;

use std::sync::OnceLock;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::document::{Call, Document};
use self::text::{inline, paragraphs};
use super::openapi;

const STYLE: &str = include_str!("docs/style.css");

/// The page.
#[must_use]
pub fn html() -> String {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| page(&openapi::DOCUMENT).into_string()).clone()
}

fn page(json: &serde_json::Value) -> Markup {
    let document = Document::new(json);
    let calls = document.calls();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (document.text("/info/title")) " API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (navigation(&document, &calls))
                main {
                    (introduction(&document))
                    @for (tag, description) in document.tags() { (group(&document, &calls, tag, description)) }
                    (fields::objects(&document))
                    (refusals::all())
                }
            }
        }
    }
}

fn navigation(document: &Document<'_>, calls: &[Call<'_>]) -> Markup {
    html! {
        input #menu type="checkbox";
        nav aria-label="Contents" {
            p.brand {
                a href="#top" { (document.text("/info/title")) } " " span { "API v1" } label for="menu" { "Contents" }
            }
            .list {
                @for (tag, _) in document.tags() {
                    p { a href={ "#" (document::anchor(tag)) } { (tag) } }
                    ul {
                        @for call in calls.iter().filter(|call| call.tag() == tag) {
                            li { a href={ "#" (call.anchor()) } { (calls::badge(call)) " " (inline(call.summary())) } }
                        }
                    }
                }
                p { a href="#objects" { "Objects" } }
                p { a href="#refusals" { "Refusals" } }
            }
        }
    }
}

fn introduction(document: &Document<'_>) -> Markup {
    html! {
        header #top {
            h1 { (document.text("/info/title")) }
            p.lead { (inline(document.text("/info/summary"))) }
            (paragraphs(document.text("/info/description")))
            p { "For machines: " a href="/openapi.json" { "openapi.json" } ", OpenAPI 3.1." }
        }
    }
}

fn group(document: &Document<'_>, calls: &[Call<'_>], tag: &str, description: &str) -> Markup {
    html! {
        section.group #(document::anchor(tag)) {
            h2 { (tag) }
            (paragraphs(description))
            @for call in calls.iter().filter(|call| call.tag() == tag) { (calls::section(document, call)) }
        }
    }
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
