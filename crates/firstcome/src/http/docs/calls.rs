//! One call: what it does, how to ask, what it answers, how it refuses.

use std::fmt::Write;

use serde_json::Value;

use super::document::{Call, Document, codes_of, items, members, schema_name, text};
use super::text::{block, escaped, inline, paragraphs};
use super::{curl, fields};
use crate::http::problem::info_of;

const REQUEST_ID: &str = "X-Request-Id";

/// The section of a call.
pub(super) fn section(document: &Document<'_>, call: &Call<'_>) -> String {
    let mut html = format!(
        "<section class=\"call\" id=\"{}\">\n<h3>{}</h3>\n<p class=\"route\">{} <code>{}</code></p>\n",
        call.anchor(),
        inline(call.summary()),
        badge(call),
        path(call)
    );
    html.push_str(&paragraphs(text(call.value, "description")));
    html.push_str(&callers(call));
    html.push_str(&example(document, call));
    html.push_str(&asked(document, call));
    html.push_str(&answers(document, call));
    html.push_str(&refusals(document, call));
    html.push_str("</section>\n");
    html
}

/// Who may call.
fn callers(call: &Call<'_>) -> String {
    let schemes: Vec<(&str, &str)> = items(&call.value["security"])
        .flat_map(members)
        .map(|(scheme, scopes)| (scheme, items(scopes).next().and_then(Value::as_str).unwrap_or_default()))
        .collect();
    let Some((_, scope)) = schemes.first() else { return "<p class=\"callers\">Anybody may call.</p>\n".to_owned() };
    let users = if schemes.iter().any(|(scheme, _)| *scheme == "user") { ", or an end user's token" } else { "" };
    format!("<p class=\"callers\">Needs a key with the scope <code>{}</code>{users}, where there are keys.</p>\n", escaped(scope))
}

/// The method as a coloured word.
pub(super) fn badge(call: &Call<'_>) -> String {
    format!("<span class=\"method {}\">{}</span>", call.method.to_lowercase(), escaped(&call.method))
}

fn path(call: &Call<'_>) -> String {
    escaped(call.path).replace('{', "<b>{").replace('}', "}</b>")
}

fn example(document: &Document<'_>, call: &Call<'_>) -> String {
    let mut html = format!("<div class=\"example\">\n{}", block(&curl::command(document, call)));
    let answers = document.answers(call);
    let first = answers.iter().filter(|(status, _)| is_granted(status)).max_by_key(|(status, _)| *status);
    if let Some((status, answer)) = first {
        for (media_type, content) in members(&answer["content"]).filter(|(_, content)| content.get("example").is_some()) {
            let _ = write!(
                html,
                "<p class=\"answer\">{} <span>{}</span></p>\n{}",
                escaped(status),
                escaped(media_type),
                block(&shown(&content["example"]))
            );
        }
    }
    html.push_str("</div>\n");
    html
}

fn shown(example: &Value) -> String {
    example.as_str().map_or_else(|| serde_json::to_string_pretty(example).unwrap_or_default(), str::to_owned)
}

/// Path, query, headers and body.
fn asked(document: &Document<'_>, call: &Call<'_>) -> String {
    let mut parameters = document.parameters(call);
    // Every call has it; the introduction tells what it is.
    parameters.retain(|parameter| text(parameter, "name") != REQUEST_ID);
    let places = [("Path", "path"), ("Query", "query"), ("Headers", "header")];
    let mut html: String = places.map(|(title, place)| titled(title, &fields::parameters(&parameters, place))).concat();
    let mut bodies = members(&call.value["requestBody"]["content"]);
    if let Some((media_type, body)) = bodies.next() {
        let others: String = bodies.map(|(media_type, _)| format!(" or <code>{}</code>", escaped(media_type))).collect();
        let _ = writeln!(html, "<h4>Body <span><code>{}</code>{others}</span></h4>", escaped(media_type));
        html.push_str(&fields::object(document.resolved(&body["schema"])));
    }
    html
}

fn titled(title: &str, list: &str) -> String {
    if list.is_empty() { String::new() } else { format!("<h4>{title}</h4>\n{list}") }
}

fn answers(document: &Document<'_>, call: &Call<'_>) -> String {
    let mut html = "<h4>Answers</h4>\n<dl class=\"answers\">\n".to_owned();
    let answers = document.answers(call);
    for (status, answer) in answers.iter().filter(|(_, answer)| !is_refusal_only(answer)) {
        let _ = write!(html, "<dt>{}</dt>\n<dd>{}{}", escaped(status), inline(text(answer, "description")), bodies(answer));
        html.push_str(&headers(document, answer));
        html.push_str("</dd>\n");
    }
    html.push_str("</dl>\n");
    html
}

fn bodies(answer: &Value) -> String {
    let contents = members(&answer["content"]).filter(|(media_type, _)| *media_type != "application/problem+json");
    let bodies: Vec<String> = contents
        .map(|(media_type, content)| match schema_name(&content["schema"]) {
            Some(_) => format!("{} as <code>{}</code>", fields::type_of(&content["schema"]), escaped(media_type)),
            None => format!("<code>{}</code>{}", escaped(media_type), described(&content["schema"])),
        })
        .collect();
    if bodies.is_empty() { String::new() } else { format!("<ul>\n<li>{}</li>\n</ul>\n", bodies.join("</li>\n<li>")) }
}

fn described(schema: &Value) -> String {
    let description = text(schema, "description");
    if description.is_empty() { String::new() } else { format!(": {}", inline(description)) }
}

/// The headers that say something of this call; the request's id is in every answer.
fn headers(document: &Document<'_>, answer: &Value) -> String {
    let rows: String = members(&answer["headers"])
        .filter(|(name, _)| *name != REQUEST_ID)
        .map(|(name, _)| (name, document.resolved(&answer["headers"][name])))
        .map(|(name, header)| format!("<li><code>{}</code>: {}</li>\n", escaped(name), inline(text(header, "description"))))
        .collect();
    if rows.is_empty() { rows } else { format!("<ul>\n{rows}</ul>\n") }
}

fn refusals(document: &Document<'_>, call: &Call<'_>) -> String {
    let answers = document.answers(call);
    let rows: String = answers.iter().map(|(status, answer)| refusal(status, answer)).collect();
    let count = answers.iter().map(|(_, answer)| codes_of(answer).count()).sum::<usize>();
    format!("<details class=\"refusals\">\n<summary>Refusals ({count})</summary>\n<table>\n{rows}</table>\n</details>\n")
}

fn refusal(status: &str, answer: &Value) -> String {
    let rows = codes_of(answer).map(|code| {
        format!(
            "<tr><td>{}</td><td><a href=\"#{code}\"><code>{code}</code></a></td><td>{}</td></tr>\n",
            escaped(status),
            inline(info_of(code).meaning)
        )
    });
    rows.collect()
}

fn is_granted(status: &str) -> bool {
    status.starts_with('2') || status.starts_with('3')
}

fn is_refusal_only(answer: &Value) -> bool {
    items(&answer["content"]["application/problem+json"]["schema"]["allOf"]).next().is_some() && members(&answer["content"]).count() == 1
}
