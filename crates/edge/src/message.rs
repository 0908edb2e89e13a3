//! How a request is framed and encoded. hyper reads messages more leniently than a server should act on:
//! it does not look at `Host`, and takes any transfer coding before `chunked`.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::problem::Problem;

/// Refuses a request whose header must not be acted on (RFC 9112, 3.2 and 6.1).
///
/// # Errors
/// A [`Problem`] that names the header.
pub fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => return Err(Problem::header("host", "is missing")),
        (Some(_), Some(_)) => return Err(Problem::header("host", "is given twice")),
        (None | Some(_), None | Some(_)) => {}
    }
    let is_plain =
        words(headers, &header::TRANSFER_ENCODING).all(|coding| coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")));
    if is_plain { Ok(()) } else { Err(Problem::header("transfer-encoding", "must be chunked, or left out")) }
}

/// Refuses a body with a content coding (RFC 9110, 15.5.16).
///
/// # Errors
/// A [`Problem`] with `Accept-Encoding`.
pub fn is_identity(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = words(headers, &header::CONTENT_ENCODING);
    if codings.all(|coding| coding.is_some_and(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))) {
        return Ok(());
    }
    let refused = Problem::new("unsupported_media_type", "the body has a Content-Encoding; send it without");
    Err(refused.with_header(header::ACCEPT_ENCODING, "identity"))
}

/// The charset that a media type is declared with, if it is not UTF-8 (or ASCII, which is a part of it).
#[must_use]
pub fn foreign_charset(declared: &str) -> Option<&str> {
    let charsets = declared.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets =
        charsets.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset")).map(|(_, value)| value.trim().trim_matches('"'));
    charsets.find(|charset| !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)))
}

/// The words of a list; `None` for a line that is not ASCII.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let lines = headers.get_all(name).iter().map(HeaderValue::to_str);
    lines.flat_map(|line| line.unwrap_or("\u{fffd}").split(',').map(|word| Some(word.trim()).filter(|word| word.is_ascii())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf_8_is_no_foreign_charset() {
        for declared in
            ["application/json", "application/json; charset=utf-8", "a/b;Charset=\"UTF-8\"; x=1", "a/b; charset=us-ascii", "a/b; x"]
        {
            assert_eq!(foreign_charset(declared), None, "{declared}");
        }
        assert_eq!(foreign_charset("application/json; x=1; CHARSET=\"utf-16le\""), Some("utf-16le"));
        assert_eq!(foreign_charset("application/json; charset=utf-8; charset=latin1"), Some("latin1"));
    }
}
