//! The fingerprint of a request: equal for two requests that ask the same, however they are written. A request
//! key that comes again must come with the same one.

use domain::request::Fingerprint;
use serde_json::{Number, Value};

use crate::context::digest_of;
use crate::input::whole_of;

/// What a request asks.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The call: its path with parameters in braces.
    pub call: &'a str,
    /// The parameters of the path, decoded.
    pub params: &'a [(String, String)],
    /// The parameters of the query, decoded.
    pub query: &'a [(String, String)],
    /// The values of `If-Match` and `If-None-Match`.
    pub preconditions: [Vec<&'a [u8]>; 2],
    /// The body.
    pub body: &'a [u8],
    /// The meaning of null in the body.
    pub nulls: Nulls,
}

/// The meaning of null in a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nulls {
    /// The same as if the member were not there.
    LeftOut,
    /// Another meaning.
    Kept,
}

/// The fingerprint of what is asked.
#[must_use]
pub fn of(asked: &Asked<'_>) -> Fingerprint {
    let mut query: Vec<_> = asked.query.iter().collect();
    query.sort();
    let (mut params, mut parameters, mut conditions, mut body) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    asked.params.iter().for_each(|(name, value)| put_all(&mut params, [name, value]));
    query.iter().for_each(|(name, value)| put_all(&mut parameters, [name, value]));
    for values in &asked.preconditions {
        let tags: Vec<&[u8]> = values.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(tag_of).collect();
        conditions.extend_from_slice(&(tags.len() as u64).to_le_bytes());
        put_all(&mut conditions, tags);
    }
    match serde_json::from_slice::<Value>(asked.body) {
        Ok(value) => put_json(&mut body, &value, asked.nulls),
        // There is none, or it is refused before it takes effect.
        Err(_) => body.extend_from_slice(asked.body),
    }
    Fingerprint(digest_of([asked.method.as_bytes(), asked.call.as_bytes(), &params, &parameters, &conditions, &body]))
}

/// Each with its length, so that no two lists are the same bytes.
fn put_all(out: &mut Vec<u8>, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    for text in texts {
        out.extend_from_slice(&(text.as_ref().len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_ref());
    }
}

/// A tag without blanks around it; proxies that compress make a tag weak.
fn tag_of(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// JSON in one form: members in order, without blanks; numbers that are equal are the same.
fn put_json(out: &mut Vec<u8>, value: &Value, nulls: Nulls) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Number(number) => out.extend_from_slice(normal(number).as_bytes()),
        Value::String(text) => put_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                put_json(out, item, nulls);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, value)| nulls == Nulls::Kept || !value.is_null()).collect();
            members.sort_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in members {
                put_string(out, name);
                put_json(out, value, nulls);
                out.push(b',');
            }
            out.push(b'}');
        }
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put_all(out, [text]);
}

/// JSON does not distinguish 5 from 5.0.
fn normal(number: &Number) -> String {
    let whole = if number.is_f64() { number.as_f64().and_then(whole_of) } else { None };
    whole.map_or_else(|| number.to_string(), |whole| whole.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(body: &'a str, nulls: Nulls) -> Asked<'a> {
        let preconditions = [Vec::new(), Vec::new()];
        Asked { method: "POST", call: "/v1/x", params: &[], query: &[], preconditions, body: body.as_bytes(), nulls }
    }

    #[test]
    fn a_body_that_says_the_same_has_the_same_fingerprint() {
        let fingerprint = |body| of(&asked(body, Nulls::LeftOut));
        let plain = fingerprint(r#"{"a":5,"b":[{"c":"d"}]}"#);
        for same in [r#" { "b" : [ { "c" : "d" } ], "a" : 5 } "#, r#"{"b":[{"c":"\u0064","e":null}],"a":5.0,"f":null}"#] {
            assert_eq!(fingerprint(same), plain, "{same}");
        }
        for other in [r#"{"a":6,"b":[{"c":"d"}]}"#, r#"{"a":5,"b":[{"c":"d"},{}]}"#, r#"{"a":"5","b":[{"c":"d"}]}"#, "", "{}", "{"] {
            assert_ne!(fingerprint(other), plain, "{other}");
        }
        assert_ne!(fingerprint(r#"["a","b"]"#), fingerprint(r#"["a\",\"b"]"#));
        assert_ne!(of(&asked(r#"{"a":null}"#, Nulls::Kept)), of(&asked("{}", Nulls::Kept)));
    }

    #[test]
    fn preconditions_are_the_same_whoever_wrote_them() {
        let with = |values: [Vec<&'static [u8]>; 2]| of(&Asked { preconditions: values, ..asked("", Nulls::LeftOut) });
        let plain = with([vec![b"\"1\""], vec![]]);
        assert_eq!(with([vec![b" W/\"1\" "], vec![]]), plain);
        assert_ne!(with([vec![], vec![b"\"1\""]]), plain);
        assert_ne!(with([vec![b"\"2\""], vec![]]), plain);
        assert_eq!(with([vec![b"\"1\", \"2\""], vec![]]), with([vec![b"\"1\"", b"\"2\""], vec![]]));
    }
}
