//! One call: what it does, how to ask, what it answers, how it refuses.

use maud::{Markup, html};
use serde_json::Value;

use super::document::{Call, Document, codes_of, items, members, schema_name, text};
use super::text::{block, inline, paragraphs};
use super::{curl, fields};
use crate::http::problem::info_of;

const REQUEST_ID: &str = "X-Request-Id";

/// The section of a call.
pub(super) fn section(document: &Document<'_>, call: &Call<'_>) -> Markup {
    html! {
        section.call #(call.anchor()) {
            h3 { (inline(call.summary())) }
            p.route { (badge(call)) " " code { (path(call)) } }
            (paragraphs(text(call.value, "description")))
            (callers(call))
            (example(document, call))
            (asked(document, call))
            (answers(document, call))
            (refusals(document, call))
        }
    }
}

/// Who may call.
fn callers(call: &Call<'_>) -> Markup {
    let schemes: Vec<(&str, &str)> = items(&call.value["security"])
        .flat_map(members)
        .map(|(scheme, scopes)| (scheme, items(scopes).next().and_then(Value::as_str).unwrap_or_default()))
        .collect();
    let Some((_, scope)) = schemes.first() else { return html! { p.callers { "Anybody may call." } } };
    let users = if schemes.iter().any(|(scheme, _)| *scheme == "user") { ", or an end user's token" } else { "" };
    html! { p.callers { "Needs a key with the scope " code { (scope) } (users) ", where there are keys." } }
}

/// The method as a coloured word.
pub(super) fn badge(call: &Call<'_>) -> Markup {
    html! { span.method.(call.method.to_lowercase()) { (call.method) } }
}

/// The path, with its parameters set apart.
fn path(call: &Call<'_>) -> Markup {
    html! {
        @for part in call.path.split_inclusive('}') {
            @let (fixed, parameter) = part.split_at(part.find('{').unwrap_or(part.len()));
            (fixed)
            @if !parameter.is_empty() { b { (parameter) } }
        }
    }
}

fn example(document: &Document<'_>, call: &Call<'_>) -> Markup {
    let answers = document.answers(call);
    let first = answers.iter().filter(|(status, _)| is_granted(status)).max_by_key(|(status, _)| *status);
    html! {
        .example {
            (block(&curl::command(document, call)))
            @if let Some((status, answer)) = first {
                @for (media_type, content) in members(&answer["content"]) {
                    @if let Some(example) = content.get("example") {
                        p.answer { (status) " " span { (media_type) } }
                        (block(&shown(example)))
                    }
                }
            }
        }
    }
}

fn shown(example: &Value) -> String {
    example.as_str().map_or_else(|| serde_json::to_string_pretty(example).unwrap_or_default(), str::to_owned)
}

/// Path, query, headers and body.
fn asked(document: &Document<'_>, call: &Call<'_>) -> Markup {
    let mut parameters = document.parameters(call);
    // Every call has it; the introduction tells what it is.
    parameters.retain(|parameter| text(parameter, "name") != REQUEST_ID);
    let mut bodies = members(&call.value["requestBody"]["content"]);
    html! {
        @for (title, place) in [("Path", "path"), ("Query", "query"), ("Headers", "header")] {
            @let list = fields::parameters(&parameters, place);
            @if !list.0.is_empty() { h4 { (title) } (list) }
        }
        @if let Some((media_type, body)) = bodies.next() {
            h4 { "Body " span { code { (media_type) } @for (other, _) in bodies { " or " code { (other) } } } }
            (fields::object(document.resolved(&body["schema"])))
        }
    }
}

fn answers(document: &Document<'_>, call: &Call<'_>) -> Markup {
    html! {
        h4 { "Answers" }
        dl.answers {
            @for (status, answer) in document.answers(call).iter().filter(|(_, answer)| !is_refusal_only(answer)) {
                dt { (status) }
                dd { (inline(text(answer, "description"))) (bodies(answer)) (headers(document, answer)) }
            }
        }
    }
}

fn bodies(answer: &Value) -> Markup {
    let contents = members(&answer["content"]).filter(|(media_type, _)| *media_type != "application/problem+json");
    list(contents.map(|(media_type, content)| match schema_name(&content["schema"]) {
        Some(_) => html! { (fields::type_of(&content["schema"])) " as " code { (media_type) } },
        None => html! { code { (media_type) } (described(&content["schema"])) },
    }))
}

fn described(schema: &Value) -> Markup {
    let description = text(schema, "description");
    html! { @if !description.is_empty() { ": " (inline(description)) } }
}

/// The headers that say something of this call; the request's id is in every answer.
fn headers(document: &Document<'_>, answer: &Value) -> Markup {
    let headers = members(&answer["headers"]).filter(|(name, _)| *name != REQUEST_ID);
    list(headers.map(|(name, header)| html! { code { (name) } ": " (inline(text(document.resolved(header), "description"))) }))
}

/// A list, or nothing where there are no items.
fn list(items: impl Iterator<Item = Markup>) -> Markup {
    let items: Vec<Markup> = items.collect();
    html! { @if !items.is_empty() { ul { @for item in &items { li { (item) } } } } }
}

fn refusals(document: &Document<'_>, call: &Call<'_>) -> Markup {
    let answers = document.answers(call);
    let count = answers.iter().map(|(_, answer)| codes_of(answer).count()).sum::<usize>();
    html! {
        details.refusals {
            summary { "Refusals (" (count) ")" }
            table {
                @for (status, answer) in &answers {
                    @for code in codes_of(answer) {
                        tr { td { (status) } td { a href={ "#" (code) } { code { (code) } } } td { (inline(info_of(code).meaning)) } }
                    }
                }
            }
        }
    }
}

fn is_granted(status: &str) -> bool {
    status.starts_with('2') || status.starts_with('3')
}

fn is_refusal_only(answer: &Value) -> bool {
    items(&answer["content"]["application/problem+json"]["schema"]["allOf"]).next().is_some() && members(&answer["content"]).count() == 1
}
