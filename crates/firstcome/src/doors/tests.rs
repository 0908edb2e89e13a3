//! Who is let in.

use super::*;
use crate::doors::keys::NewKey;

fn doors(folder: &Path) -> Doors {
    Doors::open(folder, DoorSettings::default(), 16).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn asks(doors: &Doors, uri: &str, pairs: &[(&'static str, &str)]) -> Result<Caller, Refusal> {
    let (headers, uri) = (headers(pairs), uri.parse().unwrap());
    doors.caller(&Knock { headers: &headers, uri: &uri, now: Timestamp::from_millis(5).unwrap() })
}

fn make_key(doors: &Doors, name: &str, scopes: &[Scope]) -> String {
    let new = NewKey { name, scopes: scopes.iter().copied().collect(), campaigns: "" };
    let made = doors.change(|ring| {
        let (ring, secret) = ring.with_created(&new, Timestamp::from_millis(1).unwrap())?;
        Ok((ring, secret.key(name)))
    });
    made.unwrap().1
}

#[test]
fn without_keys_this_machine_is_let_in_and_no_web_page_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let doors = doors(folder.path());
    assert!(doors.are_open());
    for host in ["localhost", "localhost:7070", "127.0.0.1:7070", "127.8.9.1", "[::1]:7070", "[::1]", "a.localhost:1", "LOCALHOST"] {
        assert!(asks(&doors, "/", &[("host", host)]).is_ok(), "{host}");
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
        assert_eq!(asks(&doors, "/", &[("host", host)]).unwrap_err(), Refusal::HostForbidden, "{host}");
    }
    // HTTP/2 names the host in its target, and that is what counts.
    assert!(asks(&doors, "http://localhost:7070/", &[]).is_ok());
    assert_eq!(asks(&doors, "http://example.com/", &[("host", "localhost")]).unwrap_err(), Refusal::HostForbidden);
    let from = |origin| asks(&doors, "/", &[("host", "localhost:7070"), ("origin", origin)]);
    assert!(from("http://localhost:7070").is_ok());
    for origin in ["http://example.com", "http://localhost:7071", "null", "http://localhost", "localhost:7070"] {
        assert_eq!(from(origin).unwrap_err(), Refusal::OriginForbidden, "{origin}");
    }
}

#[test]
fn a_listed_origin_may_ask_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let settings = DoorSettings { users: None, origins: vec![HeaderValue::from_static("http://shop.example")] };
    let doors = Doors::open(folder.path(), settings, 16).unwrap();
    assert!(asks(&doors, "/", &[("host", "localhost"), ("origin", "http://shop.example")]).is_ok());
    assert!(asks(&doors, "/", &[("host", "localhost"), ("origin", "http://other.example")]).is_err());
}

#[test]
fn with_keys_the_key_counts_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let doors = doors(folder.path());
    let key = make_key(&doors, "admin", &[Scope::Admin]);
    assert!(!doors.are_open());
    let shown = |value: &str| asks(&doors, "http://anywhere.example/", &[("authorization", value), ("origin", "http://other.example")]);
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
        assert_eq!(shown(&value).unwrap_err(), Refusal::CredentialInvalid, "{value}");
    }
    assert_eq!(asks(&doors, "/", &[("host", "localhost")]).unwrap_err(), Refusal::CredentialRequired);
    let mut twice = headers(&[("authorization", &format!("Bearer {key}"))]);
    twice.append("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    let knock = Knock { headers: &twice, uri: &Uri::from_static("/"), now: Timestamp::from_millis(5).unwrap() };
    assert_eq!(doors.caller(&knock).unwrap_err(), Refusal::CredentialInvalid);
}

#[test]
fn a_change_beside_the_server_is_taken_over_and_a_lost_or_damaged_file_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (doors(folder.path()), doors(folder.path()));
    let key = make_key(&theirs, "admin", &[Scope::Admin]);
    let opens = |key: &str| asks(&ours, "/", &[("authorization", &format!("Bearer {key}"))]).is_ok();
    assert!(ours.are_open());
    ours.refresh().unwrap();
    assert!(!ours.are_open() && opens(&key));
    let path = KeyFile::in_folder(folder.path()).path();
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"{").unwrap();
    assert!(ours.refresh().is_err());
    // It is said once, not twenty times a second.
    assert!(ours.refresh().is_ok());
    assert!(opens(&key) && !ours.are_open());
    std::fs::remove_file(&path).unwrap();
    assert!(ours.refresh().is_err() && opens(&key) && !ours.are_open());
    std::fs::write(&path, text).unwrap();
    ours.refresh().unwrap();
    theirs.refresh().unwrap();
    theirs.change(|ring| ring.with_revoked("admin", Timestamp::from_millis(9).unwrap())).unwrap();
    ours.refresh().unwrap();
    assert!(!opens(&key) && !ours.are_open());
}

#[test]
fn operators_have_places_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let doors = doors(folder.path());
    let (headers, uri) = (headers(&[("host", "localhost")]), Uri::from_static("/"));
    let enter = |access, lane| doors.enter(&Knock { headers: &headers, uri: &uri, now: Timestamp::from_millis(5).unwrap() }, access, lane);
    let read = Access::Scope(Scope::Read);
    let held: Vec<_> = std::iter::from_fn(|| enter(read, Lane::Public).ok()).collect();
    assert!((12..16).contains(&held.len()), "{}", held.len());
    assert!(matches!(enter(read, Lane::Public), Err(Refusal::Busy { .. })));
    assert!(enter(read, Lane::Operators).is_ok() && enter(Access::Anyone, Lane::Public).is_ok());
    drop(held);
    assert!(enter(read, Lane::Public).is_ok());
}
