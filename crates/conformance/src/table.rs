//! A table as cases and steps.

use domain::types::Timestamp;

use crate::request::Request;
use crate::time::parse_time;
use crate::words::{Unreadable, parse_request};

/// A story that starts with nothing.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// The line of its heading.
    pub(crate) line: usize,
    /// The sentence that it proves.
    pub(crate) name: &'a str,
    /// What happens, in order.
    pub(crate) steps: Vec<Step<'a>>,
}

/// One line: time moves, or something is asked, or both.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// The line's number, from 1.
    pub(crate) line: usize,
    /// The time that it moves to.
    pub(crate) at: Option<Timestamp>,
    /// What is asked, in words and read.
    pub(crate) request: Option<(&'a str, Request<'a>)>,
    /// The answer in words; `None`: anything but a refusal.
    pub(crate) expected: Option<String>,
}

/// Reads a whole table; an error comes with the number of its line.
pub(crate) fn parse_table(text: &str) -> Result<Vec<Case<'_>>, (usize, Unreadable)> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = without_comment(text);
        if text.is_empty() {
            continue;
        }
        if let Some(name) = text.strip_prefix("case ") {
            cases.push(Case { line, name: name.trim(), steps: Vec::new() });
            continue;
        }
        let case = cases.last_mut().ok_or((line, "a table starts with a `case`".into()))?;
        case.steps.push(parse_step(line, text).map_err(|why| (line, why))?);
    }
    Ok(cases)
}

/// Reads a line on its own.
pub(crate) fn parse_line(text: &str) -> Result<Step<'_>, Unreadable> {
    parse_step(1, without_comment(text))
}

/// A comment starts at the line's start or after a space, so that a key may hold a `#`.
pub(crate) fn without_comment(text: &str) -> &str {
    let text = text.trim();
    if text.starts_with('#') {
        return "";
    }
    text.split_once(" #").map_or(text, |(before, _)| before).trim_end()
}

fn parse_step(line: usize, text: &str) -> Result<Step<'_>, Unreadable> {
    let (asked, expected) = match text.split_once("->") {
        Some((asked, expected)) => (asked.trim(), Some(one_space(expected))),
        None => (text, None),
    };
    let (at, asked) = parse_at(asked)?;
    let request = if asked.is_empty() { None } else { Some((asked, parse_request(asked)?)) };
    if at.is_none() && request.is_none() || expected.is_some() && request.is_none() {
        return Err("nothing is asked".into());
    }
    if expected.as_deref() == Some("") {
        return Err("nothing is answered".into());
    }
    Ok(Step { line, at, request, expected })
}

fn parse_at(text: &str) -> Result<(Option<Timestamp>, &str), Unreadable> {
    let Some(rest) = text.strip_prefix("at ") else { return Ok((None, text)) };
    let rest = rest.trim_start();
    let (time, asked) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let at = parse_time(time).ok_or_else(|| format!("`{time}` is no time"))?;
    Ok((Some(at), asked.trim_start()))
}

pub(crate) fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_steps_and_comments_are_told_apart() {
        let text = "# head\n\ncase one sentence\n  at 10s\n  at 11s  claim c by a key k#1  ->  claimed   serial 1 # why\n  read c\n";
        let cases = parse_table(text).unwrap();
        assert_eq!((cases.len(), cases[0].line, cases[0].name), (1, 3, "one sentence"));
        let steps: Vec<_> = cases[0].steps.iter().map(|step| (step.line, step.at.is_some(), step.request.map(|(text, _)| text))).collect();
        assert_eq!(steps, [(4, true, None), (5, true, Some("claim c by a key k#1")), (6, false, Some("read c"))]);
        assert_eq!(cases[0].steps[1].expected.as_deref(), Some("claimed serial 1"));
    }

    #[test]
    fn an_unreadable_line_is_named() {
        for text in ["read c", "case a\nat soon", "case a\n-> claimed", "case a\nread c ->", "case a\nat 1s -> sold_out"] {
            let line = text.lines().count();
            assert_eq!(parse_table(text).err().map(|(line, _)| line), Some(line), "{text}");
        }
    }
}
