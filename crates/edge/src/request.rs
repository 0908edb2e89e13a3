//! Parts of a request that many calls have: pages of lists, and preconditions.

use axum::http::HeaderValue;
use domain::state::Precondition;

use crate::context::{Context, number};
use crate::problem::Problem;

/// Limit on the entries of a page.
pub const PAGE_MAX: usize = 1_000;
/// Entries of a page unless the query says otherwise.
pub const PAGE_STANDARD: usize = 100;

/// The number of entries of a page, from the parameter `limit`.
///
/// # Errors
/// A [`Problem`] if it is not a number in range.
pub fn page_limit(limit: Option<&str>) -> Result<usize, Problem> {
    let Some(limit) = limit else { return Ok(PAGE_STANDARD) };
    let limit = number(limit).filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit.ok_or_else(|| Problem::parameter("limit", format!("must be a number from 1 to {PAGE_MAX}")))
}

/// What `If-Match` and `If-None-Match` ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// At most one version is named.
    One(Precondition),
    /// The settings have one of these versions.
    AnyOf(Vec<u64>),
}

/// Reads `If-Match` and `If-None-Match`.
///
/// # Errors
/// A [`Problem`] that names the header.
pub fn condition<A>(context: &Context<A>) -> Result<Condition, Problem> {
    let (matches, differs) = (list(context, "if-match")?, list(context, "if-none-match")?);
    match (matches.as_deref(), differs.as_deref()) {
        (None, None) => Ok(Condition::One(Precondition::Always)),
        (Some("*"), None) => Ok(Condition::One(Precondition::Exists)),
        (Some(tags), None) => versions_of(tags),
        (None, Some("*")) => Ok(Condition::One(Precondition::IsNew)),
        (None, Some(_)) => Err(Problem::header("if-none-match", "must be *")),
        (Some(_), Some(_)) => Err(Problem::header("if-none-match", "cannot be combined with if-match")),
    }
}

/// Refuses a precondition that the call would ignore: its caller relies on it. `knows` tells which headers the
/// call reads.
///
/// # Errors
/// A [`Problem`] that names the header.
pub fn no_other_condition<A>(context: &Context<A>, knows: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let given =
        ["if-match", "if-none-match", "if-unmodified-since"].into_iter().find(|name| context.headers.contains_key(*name) && !knows(name));
    given.map_or(Ok(()), |name| Err(Problem::header(name, "is not known here: this call takes effect whatever the version is")))
}

/// The value of a header that is a list: several lines are one list (RFC 9110, 5.2).
fn list<A>(context: &Context<A>, name: &str) -> Result<Option<String>, Problem> {
    let lines: Result<Vec<&str>, _> = context.headers.get_all(name).iter().map(HeaderValue::to_str).collect();
    let lines = lines.map_err(|_| Problem::header(name, "must be visible ASCII characters"))?;
    Ok((!lines.is_empty()).then(|| lines.join(",")))
}

/// A tag that is not a number is a version that no resource has, so that it never matches.
fn versions_of(list: &str) -> Result<Condition, Problem> {
    let tags = tags_of(list).ok_or_else(|| Problem::header("if-match", "must be * or ETags, such as \"3\""))?;
    let mut versions: Vec<u64> = tags.into_iter().filter_map(|tag| number(without_coding(tag))).collect();
    versions.dedup();
    Ok(match *versions {
        [] => Condition::One(Precondition::Never),
        [version] => Condition::One(Precondition::Version(version)),
        _ => Condition::AnyOf(versions),
    })
}

/// The tags of a list, without quotes (RFC 9110, 8.8.3). A weak tag counts as the strong one: a proxy that
/// compresses a response makes its tag weak, and a version identifies the settings in every coding.
fn tags_of(list: &str) -> Option<Vec<&str>> {
    let is_blank = |character| character == ' ' || character == '\t';
    let mut rest = list.trim_matches(|character| is_blank(character) || character == ',');
    let mut tags = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        let after = after.trim_start_matches(is_blank);
        if tag.contains(is_blank) || !(after.is_empty() || after.starts_with(',')) {
            return None;
        }
        tags.push(tag);
        rest = after.trim_start_matches(|character| is_blank(character) || character == ',');
    }
    (!tags.is_empty()).then_some(tags)
}

/// Other proxies that compress append the coding to the tag: Apache's `mod_deflate` and `mod_brotli`.
fn without_coding(tag: &str) -> &str {
    ["-gzip", "-br"].iter().find_map(|coding| tag.strip_suffix(coding)).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_every_form_of_a_list() {
        for (list, tags) in
            [("\"1\"", &["1"][..]), ("W/\"1\"", &["1"]), ("\"1\",W/\"2\" , \"\"", &["1", "2", ""]), (" , \"1\",, \"a,b\" ,", &["1", "a,b"])]
        {
            assert_eq!(tags_of(list).as_deref(), Some(tags), "{list}");
        }
        for list in ["", ",", "1", "\"1", "1\"", "w/\"1\"", "W/1", "\"1\"x", "\"1\" \"2\"", "\"1\",*", "\"a b\"", "**"] {
            assert_eq!(tags_of(list), None, "{list}");
        }
    }

    #[test]
    fn a_version_is_known_however_a_proxy_has_changed_its_tag() {
        let one = |version| Ok(Condition::One(version));
        let read = |list| versions_of(list).map_err(|problem| problem.code());
        for list in ["\"3\"", "W/\"3\"", "\"3-gzip\"", "W/\"3-br\"", "\"3\",W/\"3\"", "\"x\", \"3\""] {
            assert_eq!(read(list), one(Precondition::Version(3)), "{list}");
        }
        assert_eq!(read("\"03\""), one(Precondition::Never));
        assert_eq!(read("\"3\",\"5\""), Ok(Condition::AnyOf(vec![3, 5])));
        assert_eq!(read("3"), Err("invalid_header"));
    }
}
