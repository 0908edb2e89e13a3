//! The small rush that a button starts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::process;
use crate::support::server;

use edge::auth::caller::Scope;
use firstcome::cli::ServeArgs;

use process::eventually;
use server::TestServer;

const NOW: u64 = 1_000_000;

#[test]
fn one_runs_at_a_time_and_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let args = ServeArgs { admin_listen: Some("127.0.0.1:0".parse().unwrap()), ..ServeArgs::default() };
    let server = TestServer::start_with(folder.path(), NOW, args);
    // Both calls are an operator's: they are at the admin address only.
    let mut admin = http::Client::new(server.admin_address.unwrap());
    let before = admin.get("/v1/demonstration").json();
    assert_eq!((before["allowed"].as_bool(), before["last"].is_null()), (Some(true), true));
    let started = admin.post("/v1/demonstration", "");
    assert_eq!(started.status, 202);
    let campaign = started.json()["last"]["campaign"].as_str().unwrap().to_owned();
    let again = admin.post("/v1/demonstration", "");
    assert_eq!((again.status, again.code().as_str(), again.json()["campaign"].as_str()), (409, "demonstration_running", Some(&*campaign)));
    let mut outcome = String::new();
    eventually("it is over", || {
        let last = admin.get("/v1/demonstration").json();
        outcome = last["last"]["outcome"].as_str().unwrap().to_owned();
        outcome != "running"
    });
    assert_eq!(outcome, "kept");
    let campaign = admin.get(&format!("/v1/campaigns/{campaign}")).json();
    assert_eq!((campaign["claimed"].as_u64(), campaign["remaining"].as_u64()), (Some(200), Some(0)));
}

#[test]
fn where_there_are_keys_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), NOW);
    let key = format!("Bearer {}", server.make_key("admin", &[Scope::Admin], ""));
    let send = |method: &str| server.client().send(method, "/v1/demonstration", &[("authorization", &key)], "");
    assert_eq!(send("GET").json()["allowed"], false);
    assert_eq!((send("POST").status, send("POST").code().as_str()), (403, "demonstration_forbidden"));
    assert!(send("GET").json()["last"].is_null());
    let health = server.client().send("GET", "/v1/server", &[("authorization", &key)], "").json();
    assert_eq!((health["mode"].as_str(), health["keys"].as_bool()), (Some("single"), Some(true)));
    assert!(health["journal"]["commits"].is_u64());
}
