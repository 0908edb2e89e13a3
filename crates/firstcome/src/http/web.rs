//! The web pages: the operator's console, and the page where a person claims. They are built in `web/` and
//! embedded in the program.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use bytes::Bytes;
use edge::auth::Access;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::calls::{Call, get};
use super::context::Context;
use super::openapi::describe::{Answer, Parameter};
use super::openapi::schema::text;
use super::problem::{HandlerResult, Problem};

/// The output of `npm run build`.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Built;

/// The Content-Security-Policy: the pages' own scripts, styles, pictures and calls to this server, and
/// nothing from other origins.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
/// For assets, whose names contain a digest of their contents: under one name they never change.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

const TAG: &str = "Server";

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let console_about = "A page for people who run a campaign: it asks this API, with a key where there are keys. Where there is an admin \
                         address, it is served there only.";
    let claim_about = "For end users: a countdown, one button, the coupon with its code. Their token stands in the address's fragment \
                       (`/c/spring#token=…`), which is never sent with it. Without keys it acts for a random subject and says that it is \
                       a demonstration.";
    let asset_about = "Scripts, styles and pictures of the console and the claiming page. Their names hold a digest of what is in them, so \
                       that they can be kept for ever.";
    let page = || Answer::new(200, "The page.").in_type("text/html", text());
    let parts = ["text/javascript", "text/css", "image/svg+xml"];
    let parts = parts.into_iter().fold(Answer::new(200, "It."), |answer, media_type| answer.in_type(media_type, text()));
    vec![
        get("/", Access::Anyone, console).of_operators().about("console", TAG, "The console", console_about).answers(page()),
        get("/c/{campaign}", Access::Anyone, claim)
            .about("claimingPage", TAG, "The page of the person who claims", claim_about)
            .refused(400, "The name is none.")
            .refused(404, "There is nothing at this path.")
            .answers(page()),
        get("/assets/{asset}", Access::Anyone, asset)
            .about("asset", TAG, "What the pages are made of", asset_about)
            .takes([Parameter::path("asset", text(), "Its name, as the pages have it.")])
            .refused(400, "The path is no text.")
            .answers(parts),
    ]
}

/// `GET /`: the operator's console.
pub async fn console(context: Context) -> HandlerResult {
    page("index.html", &context.headers)
}

/// `GET /c/{campaign}`: the page where a person claims. The page is the same for every name, even without
/// such a campaign: its script loads the data from the API.
pub async fn claim(context: Context) -> HandlerResult {
    context.named("campaign")?;
    page("claim.html", &context.headers)
}

/// `GET /assets/{asset}`: scripts, styles and pictures of the pages.
pub async fn asset(context: Context) -> HandlerResult {
    let name = context.param("asset");
    let path = format!("assets/{name}");
    let media_type = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        Some(_) | None => return Err(missing()),
    };
    let mut response = file(&path, media_type, &context.headers)?;
    response.headers_mut().insert(header::CACHE_CONTROL, FOR_EVER);
    Ok(response)
}

/// The names of all assets.
#[must_use]
pub fn assets() -> Vec<String> {
    let names = Built::iter().filter_map(|path| path.strip_prefix("assets/").map(str::to_owned));
    names.filter(|name| !name.ends_with(".gz")).collect()
}

/// The digest of the sources that the pages were built from, stored at build time.
#[must_use]
pub fn built_from() -> Option<String> {
    let file = Built::get("built-from.txt")?;
    Some(String::from_utf8_lossy(&file.data).trim().to_owned())
}

fn page(path: &str, headers: &HeaderMap) -> HandlerResult {
    let mut response = file(path, "text/html; charset=utf-8", headers)?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // The URL of a claim page may contain a token in its fragment; no part of it is sent to other sites.
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn file(path: &str, media_type: &'static str, headers: &HeaderMap) -> HandlerResult {
    let compressed = if takes_gzip(headers) { Built::get(&format!("{path}.gz")) } else { None };
    let is_compressed = compressed.is_some();
    let EmbeddedFile { data, .. } = compressed.or_else(|| Built::get(path)).ok_or_else(missing)?;
    let mut response = Response::new(Body::from(Bytes::from(data.into_owned())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Whether the client accepts gzip and has not excluded it (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn missing() -> Problem {
    Problem::new("not_found", "there is nothing at this path; /docs lists what there is")
}
