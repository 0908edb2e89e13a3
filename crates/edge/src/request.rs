//! Parts of a request that many calls have: pages of lists, and preconditions.

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

/// Reads `If-Match` and `If-None-Match`.
///
/// # Errors
/// A [`Problem`] that names the header.
pub fn precondition<A>(context: &Context<A>) -> Result<Precondition, Problem> {
    match (context.header("if-match")?, context.header("if-none-match")?) {
        (None, None) => Ok(Precondition::Always),
        (Some("*"), None) => Ok(Precondition::Exists),
        (Some(etag), None) => version_of(etag),
        (None, Some("*")) => Ok(Precondition::IsNew),
        (None, Some(_)) => Err(Problem::header("if-none-match", "must be *")),
        (Some(_), Some(_)) => Err(Problem::header("if-none-match", "cannot be combined with if-match")),
    }
}

/// A quoted text that is not a number is a version that no resource has, so that it never matches.
fn version_of(etag: &str) -> Result<Precondition, Problem> {
    let malformed = || Problem::header("if-match", "must be * or one ETag, such as \"3\"");
    let quoted = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
    if quoted.contains('"') {
        return Err(malformed());
    }
    Ok(number(quoted).map_or(Precondition::Never, Precondition::Version))
}
