//! Authentication and admission.

use super::*;
use crate::auth::keys::NewKey;

fn open(folder: &Path) -> Auth {
    Auth::open(folder, AuthSettings::default(), 16).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn asks(auth: &Auth, uri: &str, pairs: &[(&'static str, &str)]) -> Result<Caller, Denied> {
    let (headers, uri) = (headers(pairs), uri.parse().unwrap());
    auth.caller(&RequestHead { headers: &headers, uri: &uri, now: Timestamp::from_millis(5).unwrap() })
}

fn make_key(auth: &Auth, name: &str, scopes: &[Scope]) -> String {
    let new = NewKey { name, scopes: scopes.iter().copied().collect(), campaigns: "" };
    let made = auth.change(|ring| {
        let (ring, secret) = ring.with_created(&new, Timestamp::from_millis(1).unwrap())?;
        Ok((ring, secret.key(name)))
    });
    made.unwrap().1
}

#[test]
fn without_keys_this_machine_is_admitted_and_no_web_page_of_another_origin() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
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
    // HTTP/2 names the host in its target, and that is what counts.
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
    let folder = tempfile::tempdir().unwrap();
    let settings = AuthSettings { users: None, origins: vec![HeaderValue::from_static("http://shop.example")] };
    let auth = Auth::open(folder.path(), settings, 16).unwrap();
    assert!(asks(&auth, "/", &[("host", "localhost"), ("origin", "http://shop.example")]).is_ok());
    assert!(asks(&auth, "/", &[("host", "localhost"), ("origin", "http://other.example")]).is_err());
}

#[test]
fn with_keys_the_key_counts_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
    let key = make_key(&auth, "admin", &[Scope::Admin]);
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
        assert_eq!(shown(&value).unwrap_err(), Denied::CredentialInvalid, "{value}");
    }
    assert_eq!(asks(&auth, "/", &[("host", "localhost")]).unwrap_err(), Denied::CredentialRequired);
    let mut twice = headers(&[("authorization", &format!("Bearer {key}"))]);
    twice.append("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    let head = RequestHead { headers: &twice, uri: &Uri::from_static("/"), now: Timestamp::from_millis(5).unwrap() };
    assert_eq!(auth.caller(&head).unwrap_err(), Denied::CredentialInvalid);
}

#[test]
fn a_change_by_another_process_is_used_and_a_lost_or_damaged_file_admits_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(folder.path()), open(folder.path()));
    let key = make_key(&theirs, "admin", &[Scope::Admin]);
    let opens = |key: &str| asks(&ours, "/", &[("authorization", &format!("Bearer {key}"))]).is_ok();
    assert!(ours.needs_no_credential());
    ours.refresh().unwrap();
    assert!(!ours.needs_no_credential() && opens(&key));
    let path = KeyFile::in_folder(folder.path()).path();
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"{").unwrap();
    assert!(ours.refresh().is_err());
    // It is said once, not twenty times a second.
    assert!(ours.refresh().is_ok());
    assert!(opens(&key) && !ours.needs_no_credential());
    std::fs::remove_file(&path).unwrap();
    assert!(ours.refresh().is_err() && opens(&key) && !ours.needs_no_credential());
    std::fs::write(&path, text).unwrap();
    ours.refresh().unwrap();
    theirs.refresh().unwrap();
    theirs.change(|ring| ring.with_revoked("admin", Timestamp::from_millis(9).unwrap())).unwrap();
    ours.refresh().unwrap();
    assert!(!opens(&key) && !ours.needs_no_credential());
}

#[test]
fn operators_have_a_capacity_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
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
