//! Authentication and admission.

use super::*;
use crate::auth::secret::Secret;

fn open() -> Auth {
    Auth::open(AuthSettings::default(), 16).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn asks(auth: &Auth, uri: &str, pairs: &[(&'static str, &str)]) -> Result<Caller, Denied> {
    let (headers, uri) = (headers(pairs), uri.parse().unwrap());
    auth.caller(&RequestHead { headers: &headers, uri: &uri, now: Timestamp::from_millis(5).unwrap() })
}

fn kept(secret: &Secret, scope: Scope) -> domain::keyring::Key {
    let (scopes, created_at) = ([scope].into_iter().collect(), Timestamp::from_millis(1).unwrap());
    let (secret, campaigns) = (secret.digest(), "".into());
    domain::keyring::Key { scopes, campaigns, created_at, rotated_at: None, revoked_at: None, secret, overlaps: Vec::new() }
}

fn make_key(auth: &Auth, name: &str, scope: Scope) -> String {
    let secret = Secret::new().unwrap();
    auth.follow(&Ring { changes: 1, keys: [(name.into(), kept(&secret, scope))].into_iter().collect(), ..Ring::default() });
    secret.key(name)
}

#[test]
fn without_keys_this_machine_is_admitted_and_no_web_page_of_another_origin() {
    let auth = open();
    assert!(auth.needs_no_credential());
    for host in ["localhost", "localhost:7070", "127.0.0.1:7070", "127.8.9.1", "[::1]:7070", "[::1]", "a.localhost:1", "LOCALHOST"] {
        assert!(asks(&auth, "/", &[("host", host)]).is_ok(), "{host}");
    }
    for host in [
        "example.com",
        "example.com:7070",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "0.0.0.0",
        "10.0.0.1",
        "[::]:1",
        "",
        "localhost:x",
    ] {
        assert_eq!(asks(&auth, "/", &[("host", host)]).unwrap_err(), Denied::HostForbidden, "{host}");
    }
    // HTTP/2 names the host in its target, which takes precedence.
    assert!(asks(&auth, "http://localhost:7070/", &[]).is_ok());
    assert_eq!(asks(&auth, "http://example.com/", &[("host", "localhost")]).unwrap_err(), Denied::HostForbidden);
    let from = |origin| asks(&auth, "/", &[("host", "localhost:7070"), ("origin", origin)]);
    assert!(from("http://localhost:7070").is_ok());
    for origin in ["http://example.com", "http://localhost:7071", "null", "http://localhost", "localhost:7070"] {
        assert_eq!(from(origin).unwrap_err(), Denied::OriginForbidden, "{origin}");
    }
}

#[test]
fn a_listed_origin_may_ask_without_keys() {
    let settings = AuthSettings { origins: vec![HeaderValue::from_static("http://shop.example")], ..AuthSettings::default() };
    let auth = Auth::open(settings, 16).unwrap();
    assert!(asks(&auth, "/", &[("host", "localhost"), ("origin", "http://shop.example")]).is_ok());
    assert!(asks(&auth, "/", &[("host", "localhost"), ("origin", "http://other.example")]).is_err());
}

#[test]
fn with_keys_the_key_counts_and_nothing_else() {
    let auth = open();
    let key = make_key(&auth, "admin", Scope::Admin);
    assert!(!auth.needs_no_credential());
    let shown = |value: &str| asks(&auth, "http://anywhere.example/", &[("authorization", value), ("origin", "http://other.example")]);
    for value in [format!("Bearer {key}"), format!("bearer {key}"), format!("BEARER  {key} ")] {
        assert_eq!(shown(&value).unwrap().actor().as_str(), "admin");
    }
    for value in [
        key.clone(),
        format!("Basic {key}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {key} x"),
        format!("Bearer\t{key}"),
    ] {
        assert_eq!(shown(&value).unwrap_err(), Denied::NotBearer, "{value}");
    }
    assert_eq!(shown(&format!("Bearer {key}x")).unwrap_err(), Denied::CredentialInvalid);
    assert_eq!(asks(&auth, "/", &[("host", "localhost")]).unwrap_err(), Denied::CredentialRequired);
    let mut twice = headers(&[("authorization", &format!("Bearer {key}"))]);
    twice.append("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    let head = RequestHead { headers: &twice, uri: &Uri::from_static("/"), now: Timestamp::from_millis(5).unwrap() };
    assert_eq!(auth.caller(&head).unwrap_err(), Denied::NotBearer);
}

#[test]
fn later_keys_are_followed_and_earlier_ones_are_not() {
    let auth = open();
    let key = make_key(&auth, "admin", Scope::Admin);
    let opens = || asks(&auth, "/", &[("authorization", &format!("Bearer {key}"))]).is_ok();
    assert!(opens());
    let with_another = |changes| {
        let admin = kept(&Secret::new().unwrap(), Scope::Admin);
        auth.follow(&Ring { changes, keys: [("admin".into(), admin)].into_iter().collect(), ..Ring::default() });
    };
    with_another(1);
    assert!(opens());
    with_another(2);
    assert!(!opens() && auth.ring().revision() == 2);
}

#[test]
fn where_other_machines_can_connect_a_key_is_needed_even_while_there_is_none() {
    let auth = Auth::open(AuthSettings { is_reachable: true, ..AuthSettings::default() }, 16).unwrap();
    assert!(!auth.needs_no_credential());
    assert_eq!(asks(&auth, "/", &[("host", "localhost")]).unwrap_err(), Denied::CredentialRequired);
}

#[test]
fn operators_have_a_capacity_of_their_own() {
    let auth = open();
    let (headers, uri) = (headers(&[("host", "localhost")]), Uri::from_static("/"));
    let admit =
        |access, pool| auth.admit(&RequestHead { headers: &headers, uri: &uri, now: Timestamp::from_millis(5).unwrap() }, access, pool);
    let read = Access::Scope(Scope::Read);
    let held: Vec<_> = std::iter::from_fn(|| admit(read, Pool::Public).ok()).collect();
    assert!((12..16).contains(&held.len()), "{}", held.len());
    assert!(matches!(admit(read, Pool::Public), Err(Denied::Busy { .. })));
    assert!(admit(read, Pool::Operators).is_ok() && admit(Access::Anyone, Pool::Public).is_ok());
    drop(held);
    assert!(admit(read, Pool::Public).is_ok());
}
