//! The options about authentication.

use axum::http::HeaderValue;

use domain::keyring::Prefix;
use edge::auth::caller::{Scope, Scopes};
use edge::auth::{AuthSettings, UserSettings};
use edge::tokens::{LEEWAY_S_MAX, LEEWAY_S_STANDARD, TokenKeys, TokenSettings};

use crate::cli::{ServeArgs, SettingsError};

/// Checks the options.
///
/// # Errors
/// [`SettingsError`] that names the option.
pub(super) fn settings(args: &ServeArgs) -> Result<AuthSettings, SettingsError> {
    let origins = args.cors_origin.iter().flatten().map(|origin| origin_of(origin)).collect::<Result<_, _>>()?;
    Ok(AuthSettings { users: users(args)?, origins, is_reachable: false })
}

fn users(args: &ServeArgs) -> Result<Option<UserSettings>, SettingsError> {
    let keys = match (&args.jwt_jwks, &args.jwt_secret) {
        (Some(_), Some(_)) => {
            return Err(wrong("--jwt-jwks and --jwt-secret cannot be combined; put the secret into the JWKS as a key of type oct"));
        }
        (Some(path), None) => TokenKeys::Jwks(path.clone()),
        (None, Some(path)) => TokenKeys::Secret(path.clone()),
        (None, None) if has_token_options(args) => {
            return Err(wrong("the --jwt options need --jwt-jwks or --jwt-secret: the keys that tokens are signed with"));
        }
        (None, None) => return Ok(None),
    };
    // Without an audience, a token that the same issuer made for another service would be accepted.
    let issuer = args.jwt_issuer.clone().ok_or_else(|| wrong("--jwt-issuer is missing: whose tokens are accepted (their iss)"))?;
    let audience = args.jwt_audience.clone().ok_or_else(|| wrong("--jwt-audience is missing: for whom tokens must be made (their aud)"))?;
    let leeway_s = args.jwt_leeway_s.unwrap_or(LEEWAY_S_STANDARD);
    if LEEWAY_S_MAX < leeway_s {
        return Err(wrong(&format!("--jwt-leeway-s must be {LEEWAY_S_MAX} at most")));
    }
    let campaigns = args.jwt_campaigns.clone().unwrap_or_default();
    if args.jwt_campaigns.as_deref() == Some("") || Prefix::new(&campaigns).is_err() {
        return Err(wrong("--jwt-campaigns must be of the characters of a campaign's name"));
    }
    let tokens = TokenSettings { keys, issuer, audience, leeway_s };
    Ok(Some(UserSettings { tokens, scopes: user_scopes(args.jwt_scopes.as_deref())?, campaigns }))
}

fn has_token_options(args: &ServeArgs) -> bool {
    let texts = [&args.jwt_issuer, &args.jwt_audience, &args.jwt_campaigns];
    texts.iter().any(|text| text.is_some()) || args.jwt_leeway_s.is_some() || args.jwt_scopes.is_some()
}

fn user_scopes(words: Option<&[String]>) -> Result<Scopes, SettingsError> {
    let Some(words) = words else { return Ok([Scope::Issue, Scope::Read].into_iter().collect()) };
    let scopes: Result<Scopes, _> = words.iter().map(|word| word.parse::<Scope>()).collect();
    // With `admin`, `allow` would be true for every scope.
    let scopes = scopes.ok().filter(|scopes| !scopes.is_empty() && !scopes.allow(Scope::Admin));
    scopes.ok_or_else(|| wrong("--jwt-scopes must be one or more of issue, redeem and read"))
}

/// An origin as a browser sends it (RFC 6454, 6.2).
fn origin_of(text: &str) -> Result<HeaderValue, SettingsError> {
    let error = || wrong("--cors-origin must be an origin such as https://shop.example, without a path; * is not accepted");
    let (scheme, host) = text.split_once("://").ok_or_else(error)?;
    let is_origin = ["http", "https"].contains(&scheme) && !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']);
    let is_sent_like_this = text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase());
    if is_origin && is_sent_like_this { HeaderValue::from_str(text).map_err(|_| error()) } else { Err(error()) }
}

fn wrong(what: &str) -> SettingsError {
    SettingsError::Value(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &ServeArgs) -> String {
        settings(args).unwrap_err().to_string()
    }

    fn with_jwks() -> ServeArgs {
        let text = |text: &str| Some(text.to_owned());
        ServeArgs {
            jwt_jwks: Some("keys.json".into()),
            jwt_issuer: text("https://id.example"),
            jwt_audience: text("drops"),
            ..ServeArgs::default()
        }
    }

    #[test]
    fn issuer_and_audience_are_not_optional() {
        assert!(settings(&with_jwks()).unwrap().users.is_some());
        assert!(refusal(&ServeArgs { jwt_issuer: None, ..with_jwks() }).contains("--jwt-issuer"));
        assert!(refusal(&ServeArgs { jwt_audience: None, ..with_jwks() }).contains("--jwt-audience"));
        assert!(refusal(&ServeArgs { jwt_jwks: None, ..with_jwks() }).contains("--jwt-jwks"));
        assert!(refusal(&ServeArgs { jwt_secret: Some("secret".into()), ..with_jwks() }).contains("combined"));
        assert!(refusal(&ServeArgs { jwt_leeway_s: Some(301), ..with_jwks() }).contains("300"));
        assert!(refusal(&ServeArgs { jwt_campaigns: Some("a b".to_owned()), ..with_jwks() }).contains("--jwt-campaigns"));
    }

    #[test]
    fn end_users_never_have_the_scope_admin() {
        let scopes = |words: &[&str]| user_scopes(Some(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()));
        assert_eq!(scopes(&["redeem", "issue"]).unwrap().to_string(), "issue,redeem");
        assert!(scopes(&["admin"]).is_err() && scopes(&["issue", "admin"]).is_err() && scopes(&[]).is_err() && scopes(&["all"]).is_err());
        assert_eq!(user_scopes(None).unwrap().to_string(), "issue,read");
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for good in ["https://shop.example", "http://localhost:5173", "https://shop.example:8443", "http://[::1]:80"] {
            assert!(origin_of(good).is_ok(), "{good}");
        }
        for bad in
            ["*", "null", "shop.example", "https://shop.example/", "https://*.example", "HTTPS://shop.example", "https://", "ftp://a"]
        {
            assert!(origin_of(bad).is_err(), "{bad}");
        }
    }
}
