//! A call as a command line that can be copied.

use serde_json::Value;

use super::document::{Call, Document, members, text};

/// Where the server listens if nothing else is said.
const SERVER: &str = "http://127.0.0.1:7070";

/// The command line.
pub(super) fn command(document: &Document<'_>, call: &Call<'_>) -> String {
    let parameters = document.parameters(call);
    let mut parts = vec![format!("curl {}{}", method(call), url(call, &parameters))];
    for parameter in parameters.iter().filter(|parameter| text(parameter, "in") == "header") {
        if let Some(example) = parameter.get("example").and_then(Value::as_str) {
            parts.push(format!("-H {}", quoted(&format!("{}: {example}", text(parameter, "name")))));
        }
    }
    if let Some((media_type, body)) = members(&call.value["requestBody"]["content"]).next() {
        parts.push(format!("-H {}", quoted(&format!("Content-Type: {media_type}"))));
        parts.push(format!("-d {}", quoted(&body["example"].to_string())));
    }
    parts.join(" \\\n  ")
}

fn method(call: &Call<'_>) -> String {
    if call.method == "GET" { String::new() } else { format!("-X {} ", call.method) }
}

fn url(call: &Call<'_>, parameters: &[&Value]) -> String {
    let path = parameters.iter().filter(|parameter| text(parameter, "in") == "path").fold(call.path.to_owned(), |path, parameter| {
        path.replace(&format!("{{{}}}", text(parameter, "name")), text(parameter, "example"))
    });
    format!("{SERVER}{path}")
}

/// Quoted for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
