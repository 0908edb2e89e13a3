//! Keys as an operator meets them: the real program, before, beside and without a server; and what
//! must never be seen of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::process;
use crate::support::tokens;

use std::fs;
use std::io::{BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

use http::{Client, Response};
use process::{Process, program, run, serve_args};
use tokens::Signer;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Runs `firstcome key …` on a data folder: exit code, stdout without its line end, stderr.
pub(super) fn key(data: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let (code, stdout, stderr) = run(program(&[&["key"], args, &["--data", data.to_str().unwrap()]].concat()));
    (code, stdout.trim_end().to_owned(), stderr)
}

pub(super) fn made(data: &Path, args: &[&str]) -> String {
    let (code, stdout, stderr) = key(data, args);
    assert_eq!(code, Some(0), "{stderr}");
    stdout
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

pub(super) fn status(server: &Process, key: &str, method: &str, target: &str, body: &str) -> u16 {
    Client::new(server.address).send(method, target, &[("authorization", &bearer(key))], body).status
}

/// A file for `--key-file`.
fn file(folder: &Path, name: &str, key: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, format!("{key}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn without_a_key_the_server_listens_to_this_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let everywhere = |data: &Path| program(&["serve", "--listen", "0.0.0.0:0", "--segment-mib", "4", "--data", data.to_str().unwrap()]);
    let (code, stdout, stderr) = run(everywhere(&data));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    let advice = format!("firstcome key create admin --scopes admin --data {}", data.display());
    assert!(stderr.contains("0.0.0.0:0 is not a loopback address") && stderr.contains(&advice), "{stderr}");
    assert!(!data.exists(), "a refused start leaves nothing");

    let local = Process::serve(&data);
    assert!(local.stderr().contains("No keys: only this machine may call."));
    assert_eq!(local.terminate().0, Some(0));

    let admin = made(&data, &["create", "admin", "--scopes", "admin"]);
    let server = Process::start(everywhere(&data));
    assert!(server.stderr().contains("Callers must show a key (1 in use)"), "{}", server.stderr());
    let port = server.address.port();
    let ask = |headers: &[(&str, &str)]| Client::new(([127, 0, 0, 1], port).into()).send("GET", "/v1/campaigns", headers, "").status;
    assert_eq!((ask(&[]), ask(&[("authorization", &bearer(&admin))])), (401, 200));
    assert_eq!(server.terminate().0, Some(0));

    // A key that was revoked opens nothing, so it does not count.
    assert_eq!(key(&data, &["revoke", "admin"]).0, Some(0));
    let (code, _, stderr) = run(everywhere(&data));
    assert!(code == Some(2) && stderr.contains("firstcome key create admin-2 --scopes admin"), "{stderr}");
    // On this machine it still serves, and still asks for a key.
    let server = Process::serve(&data);
    assert_eq!(Client::new(server.address).get("/v1/campaigns").status, 401);
}

#[test]
fn a_change_counts_as_soon_as_the_command_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Process::serve(data);
    let mut client = Client::new(server.address);
    assert_eq!(client.get("/v1/campaigns").status, 200);
    let admin = made(data, &["create", "admin", "--scopes", "admin"]);
    assert_eq!(client.get("/v1/campaigns").code(), "credential_required");
    assert_eq!(status(&server, &admin, "PUT", "/v1/campaigns/spring-1", r#"{"stock":9}"#), 201);

    let shop = made(data, &["create", "shop", "--scopes", "issue,read", "--campaigns", "spring-"]);
    let claim = |key: &str| status(&server, key, "POST", "/v1/campaigns/spring-1/claims", r#"{"subject":"ann"}"#);
    assert_eq!(claim(&shop), 201);
    for _ in 0..5 {
        let rotated = made(data, &["rotate", "shop"]);
        assert_eq!((claim(&shop), claim(&rotated)), (401, 200));
    }
    let before = made(data, &["rotate", "shop"]);
    let after = made(data, &["rotate", "shop", "--overlap", "1h"]);
    assert_eq!((claim(&before), claim(&after)), (200, 200));
    let (code, stdout, stderr) = key(data, &["revoke", "shop"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", "The key shop is revoked.\n"));
    assert_eq!((claim(&before), claim(&after)), (401, 401));

    // And over the API, where the command sees it.
    let created = client.send("POST", "/v1/keys", &[("authorization", &bearer(&admin)), JSON], r#"{"key":"till","scopes":["redeem"]}"#);
    assert_eq!((created.status, created.header("location")), (201, Some("/v1/keys/till")));
    let till = created.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(status(&server, &till, "POST", "/v1/campaigns/spring-1/claims/ann/redeem", ""), 200);
    let (_, listed, _) = key(data, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 3);
    let over_http = client.send("GET", "/v1/keys", &[("authorization", &bearer(&admin))], "").json();
    assert_eq!(over_http["keys"], listed["keys"]);
    assert_eq!(status(&server, &admin, "DELETE", "/v1/keys/till", ""), 200);
    assert_eq!(status(&server, &till, "POST", "/v1/campaigns/spring-1/claims/ann/redeem", ""), 401);
    // It outlives a restart.
    server.kill();
    let server = Process::serve(data);
    assert_eq!((status(&server, &admin, "GET", "/v1/campaigns", ""), status(&server, &till, "GET", "/v1/campaigns", "")), (200, 401));
}

#[test]
fn the_api_makes_lists_rotates_and_revokes_keys() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path());
    let send = |key: &str, method: &str, target: &str, body: &str| {
        let bearer = bearer(key);
        let headers: &[(&str, &str)] = if key.is_empty() { &[] } else { &[("authorization", &bearer)] };
        Client::new(server.address).send(method, target, headers, body)
    };
    let problem = |answer: Response| (answer.status, answer.code(), answer.json()["field"].as_str().unwrap_or_default().to_owned());
    let invalid = |field: &str| (400, "invalid_field".to_owned(), field.to_owned());
    let coded = |status: u16, code: &str| (status, code.to_owned(), String::new());
    // The first key must be an admin's: nobody could make the second one.
    assert_eq!(problem(send("", "POST", "/v1/keys", r#"{"key":"shop","scopes":["issue"]}"#)), invalid("scopes"));
    let created = send("", "POST", "/v1/keys", r#"{"key":"admin","scopes":["admin"]}"#);
    assert_eq!(created.status, 201);
    let admin = created.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(send("", "GET", "/v1/keys", "").code(), "credential_required");

    for (body, field) in [
        (r#"{"key":"a b","scopes":["read"]}"#, "key"),
        (r#"{"key":"local","scopes":["read"]}"#, "key"),
        (r#"{"key":"shop","scopes":[]}"#, "scopes"),
        (r#"{"key":"shop","scopes":["everything"]}"#, "scopes"),
        (r#"{"key":"shop","scopes":["read","read"]}"#, "scopes"),
        (r#"{"key":"shop","scopes":["read"],"campaigns":"a b"}"#, "campaigns"),
        (r#"{"key":"shop","scopes":["admin"],"campaigns":"spring"}"#, "campaigns"),
        (r#"{"key":"shop","scopes":["read"],"campaigns":""}"#, "campaigns"),
        (r#"{"key":"shop","scopes":["read"],"secret":"mine"}"#, "secret"),
        (r#"{"scopes":["read"]}"#, "key"),
    ] {
        assert_eq!(problem(send(&admin, "POST", "/v1/keys", body)), invalid(field), "{body}");
    }
    let shop = r#"{"key":"shop","scopes":["read","issue"],"campaigns":"spring-"}"#;
    let made = send(&admin, "POST", "/v1/keys", shop).json();
    assert_eq!((&made["key"], &made["scopes"], &made["campaigns"]), (&json!("shop"), &json!(["issue", "read"]), &json!("spring-")));
    assert_eq!(problem(send(&admin, "POST", "/v1/keys", shop)), coded(409, "key_exists"));
    let listed = send(&admin, "GET", "/v1/keys?limit=1", "").json();
    assert_eq!((listed["keys"][0]["key"].as_str(), listed["next"].as_str()), (Some("admin"), Some("admin")));
    let listed = send(&admin, "GET", "/v1/keys?limit=1&after=admin", "").json();
    assert_eq!((listed["keys"][0]["key"].as_str(), listed["next"].as_str()), (Some("shop"), None));
    assert!(listed["keys"][0]["secret"].is_null());

    let rotated = send(&admin, "POST", "/v1/keys/shop/rotate", r#"{"overlap_ms":60000}"#).json();
    assert!(rotated["overlap_until"].is_string() && rotated["secret"] != made["secret"]);
    assert_eq!(problem(send(&admin, "POST", "/v1/keys/shop/rotate", r#"{"overlap_ms":2592000001}"#)), invalid("overlap_ms"));
    assert!(send(&admin, "POST", "/v1/keys/shop/rotate", "").json()["overlap_until"].is_null());
    assert_eq!(problem(send(&admin, "GET", "/v1/keys/nobody", "")), coded(404, "key_not_found"));
    assert_eq!(problem(send(&admin, "DELETE", "/v1/keys/nobody", "")), coded(404, "key_not_found"));
    assert!(send(&admin, "DELETE", "/v1/keys/shop", "").json()["revoked_at"].is_string());
    let again = send(&admin, "DELETE", "/v1/keys/shop", "");
    assert!(again.json()["revoked_at"].is_string());
    assert_eq!(problem(again), coded(409, "key_revoked"));
    assert_eq!(problem(send(&admin, "POST", "/v1/keys/shop/rotate", "")), coded(409, "key_revoked"));
    assert_eq!(problem(send(&admin, "DELETE", "/v1/keys/admin", "")), coded(409, "last_admin_key"));
    // Rotating one's own key is the way to change it.
    let own = send(&admin, "POST", "/v1/keys/admin/rotate", "").json()["secret"].as_str().unwrap().to_owned();
    assert_eq!((send(&admin, "GET", "/v1/keys", "").status, send(&own, "GET", "/v1/keys", "").status), (401, 200));
}

#[test]
fn what_is_typed_wrongly_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let told = |args: &[&str], what: &str| {
        let (code, stdout, stderr) = key(&data, args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(what), "{args:?}: {stderr}");
    };
    for args in [&["list"][..], &["rotate", "shop"], &["revoke", "shop"]] {
        let (code, _, stderr) = key(&data, args);
        assert!(code == Some(3) && stderr.contains("there is no data folder"), "{args:?}: {stderr}");
        assert!(!data.exists());
    }
    fs::create_dir(&data).unwrap();
    assert_eq!(key(&data, &["list"]).1, "no keys; make one with: firstcome key create admin --scopes admin");
    told(&["create", "shop", "--scopes", "issue"], "the first key must have the scope admin");
    told(&["create", "shop"], "--scopes");
    told(&["create", "shop", "--scopes", "everything"], "must be admin, issue, redeem or read");
    made(&data, &["create", "admin", "--scopes", "admin"]);
    told(&["create", "admin", "--scopes", "admin"], "there is or was a key of this name");
    told(&["create", "a b", "--scopes", "read"], "the name must be");
    told(&["create", "shop", "--scopes", "read", "--campaigns", ""], "leave it out for all campaigns");
    told(&["rotate", "nobody"], "there is no key of this name");
    told(&["rotate", "admin", "--overlap", "31d"], "30 days");
    told(&["revoke", "nobody"], "there is no key of this name");
    let (_, listed, _) = key(&data, &["list"]);
    assert!(listed.lines().count() == 2 && listed.contains("admin") && listed.contains("in use"), "{listed}");
}

#[test]
fn a_rush_through_a_client_key_ends_with_exactly_the_stock() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let admin = file(folder.path(), "admin", &made(&data, &["create", "admin", "--scopes", "admin"]));
    let client = file(folder.path(), "client", &made(&data, &["create", "client", "--scopes", "issue,read", "--campaigns", "drop"]));
    let server = Process::serve(&data);
    let url = format!("http://{}", server.address);
    let rush = |extra: &[&str]| {
        let fixed =
            ["rush", "coupon", "--url", &url, "--users", "3000", "--stock", "300", "--connections", "64", "--json", "--campaign", "drop-1"];
        run(program(&[&fixed[..], extra].concat()))
    };
    let (code, _, stderr) = rush(&[]);
    assert!(code == Some(3) && stderr.contains("credential_required"), "{stderr}");
    let (code, _, stderr) = rush(&["--key-file", &client]);
    assert!(code == Some(3) && stderr.contains("scope_missing"), "{stderr}");
    let (code, stdout, stderr) = rush(&["--key-file", &client, "--admin-key-file", &admin]);
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["claimed"], 300, "{stdout}");
    let (_, records, _) = run(program(&["inspect", "--records", "--json", "--data", data.to_str().unwrap()]));
    assert_eq!(records.matches(r#""actor":"client""#).count(), 300);
}

/// Every text that a key or token could be recognised by.
fn traces(secrets: &[String]) -> Vec<String> {
    secrets.iter().flat_map(|secret| [secret.clone(), secret[secret.len() - 24..].to_owned()]).collect()
}

fn assert_without(what: &str, bytes: &[u8], traces: &[String]) {
    for trace in traces {
        let found = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
        assert!(!found, "{what} holds {trace}");
    }
}

#[test]
fn a_key_or_token_is_seen_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let admin = made(&data, &["create", "admin", "--scopes", "admin"]);
    let shop = made(&data, &["create", "shop", "--scopes", "issue"]);
    let signer = Signer::es256();
    let jwks = folder.path().join("jwks.json");
    fs::write(&jwks, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    let options = ["--log", "trace", "--jwt-issuer", tokens::ISSUER, "--jwt-audience", tokens::AUDIENCE, "--jwt-jwks"];
    let server = Process::start(program(&[&serve_args(&data)[..], &options, &[jwks.to_str().unwrap()]].concat()));
    let (good, expired) = (signer.token(&tokens::claims("ann", 4_000_000_000)), signer.token(&tokens::claims("ann", 1)));
    let forged = Signer::es256().token(&tokens::claims("ann", 4_000_000_000));
    let mut wrong = shop.clone();
    wrong.replace_range(wrong.len() - 2.., "zz");
    let mut secrets = vec![admin.clone(), shop.clone(), good, expired, forged, wrong];
    let mut answers = Vec::new();
    let mut ask = |headers: &[(&str, &str)], method: &str, target: &str, body: &str| {
        let answer = Client::new(server.address).send(method, target, headers, body);
        answers.extend_from_slice(format!("{:?}", answer.headers).as_bytes());
        answers.extend_from_slice(&answer.body);
        answer
    };
    let put = ask(&[("authorization", &bearer(&admin))], "PUT", "/v1/campaigns/spring", r#"{"stock":9}"#);
    assert_eq!(put.status, 201);
    for secret in &secrets {
        let bearer = bearer(secret);
        for (method, target, body) in [
            ("POST", "/v1/campaigns/spring/claims", r#"{"subject":"ann"}"#),
            ("POST", "/v1/campaigns/spring/claims", "{"),
            ("GET", "/v1/keys", ""),
            ("GET", "/nowhere", ""),
            ("DELETE", "/v1/campaigns", ""),
        ] {
            ask(&[("authorization", &bearer)], method, target, body);
            // In a header where it does not belong it helps nobody, and is not said again.
            ask(&[("authorization", &format!("Token {secret}"))], method, target, body);
        }
    }
    let metrics = ask(&[("authorization", &bearer(&admin))], "GET", "/metrics", "");
    assert!(metrics.status == 200 && metrics.text().contains("credential_invalid"));
    // Rotation shows the new one to whoever asked, and to nobody else.
    let rotated = Client::new(server.address).send("POST", "/v1/keys/shop/rotate", &[("authorization", &bearer(&admin))], "");
    secrets.push(rotated.json()["secret"].as_str().unwrap().to_owned());
    let http2 = http2_request(server.address, &admin);
    assert!(http2.contains("200"), "{http2}");

    let traces = traces(&secrets);
    assert_without("an answer", &answers, &traces);
    let (code, stderr) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(stderr.contains("TRACE"), "the log was not as talkative as it can be");
    assert_without("the log", stderr.as_bytes(), &traces);
    let files = process::bytes_of(&data);
    assert!(files.keys().any(|path| path.to_str().unwrap().contains("journal")) && 4 < files.len(), "{:?}", files.keys());
    for (path, bytes) in files {
        assert_without(&path.display().to_string(), &bytes, &traces);
    }
}

/// A request over HTTP/2, where libraries may log headers of their own accord.
fn http2_request(address: std::net::SocketAddr, key: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get("http://localhost/v1/campaigns").header("authorization", bearer(key));
        let answer = sender.send_request(request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        answer.status().to_string()
    })
}

#[test]
fn the_keys_of_tokens_are_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let jwks = folder.path().join("jwks.json");
    let (before, after) = (Signer::es256(), Signer::ed_dsa());
    let write = |signer: &Signer| fs::write(&jwks, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    write(&before);
    let options = ["--jwt-issuer", tokens::ISSUER, "--jwt-audience", tokens::AUDIENCE, "--jwt-jwks", jwks.to_str().unwrap()];
    let server = Process::start(program(&[&serve_args(&data)[..], &options].concat()));
    // With tokens alone a credential is needed, too.
    assert_eq!(Client::new(server.address).get("/v1/campaigns").code(), "credential_required");
    let lists = |signer: &Signer| status(&server, &signer.token(&tokens::claims("ann", 4_000_000_000)), "GET", "/v1/campaigns", "");
    assert_eq!((lists(&before), lists(&after)), (200, 401));
    let hang_up = |said: &str| {
        let count = server.stderr().matches(said).count();
        let pid = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        process::eventually(said, || count < server.stderr().matches(said).count());
    };
    write(&after);
    assert_eq!((lists(&before), lists(&after)), (200, 401), "not before it is told to");
    hang_up("SIGHUP: read again");
    assert_eq!((lists(&before), lists(&after)), (401, 200));
    fs::write(&jwks, "{}").unwrap();
    hang_up("SIGHUP: cannot be read");
    assert_eq!((lists(&before), lists(&after)), (401, 200));
    assert_eq!(server.terminate().0, Some(0));
    // At a start there is nothing from before to go by.
    let (code, _, stderr) = run(program(&[&serve_args(&data)[..], &options].concat()));
    assert!(code == Some(3) && stderr.contains("jwks.json"), "{stderr}");
}

/// A request up to its last byte, which comes when it is sent.
struct Begun {
    stream: std::net::TcpStream,
    last: [u8; 1],
}

impl Begun {
    fn new(server: &Process, key: &str, target: &str, body: &str) -> Self {
        let mut stream = http::connect(server.address).unwrap();
        let head =
            format!("POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: {}\r\n", bearer(key));
        let (first, last) = body.as_bytes().split_at(body.len() - 1);
        stream.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        stream.write_all(first).unwrap();
        Self { stream, last: last.try_into().unwrap() }
    }

    fn end(mut self) -> Response {
        self.stream.write_all(&self.last).unwrap();
        http::read_answer(&mut BufReader::new(self.stream), false).unwrap()
    }
}

#[test]
fn a_key_that_ends_while_a_body_is_on_its_way_does_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let admin = made(data, &["create", "admin", "--scopes", "admin"]);
    let [leaked, shop] = [("leaked", "admin"), ("shop", "issue")].map(|(name, scopes)| made(data, &["create", name, "--scopes", scopes]));
    let server = Process::serve(data);
    assert_eq!(status(&server, &admin, "PUT", "/v1/campaigns/spring", r#"{"stock":9}"#), 201);
    let backdoor = Begun::new(&server, &leaked, "/v1/keys", r#"{"key":"backdoor","scopes":["admin"]}"#);
    let claim = |subject: &str| Begun::new(&server, &shop, "/v1/campaigns/spring/claims", &format!(r#"{{"subject":"{subject}"}}"#));
    let (before, after) = (claim("ann"), claim("bob"));
    // Another key's end is nothing to these.
    assert_eq!(key(data, &["revoke", "leaked"]).0, Some(0));
    let refused = backdoor.end();
    assert_eq!((refused.status, refused.code().as_str()), (401, "credential_invalid"));
    assert_eq!(before.end().status, 201);
    assert_eq!(key(data, &["rotate", "shop"]).0, Some(0));
    assert_eq!(after.end().status, 401);
    let names = Client::new(server.address).send("GET", "/v1/keys", &[("authorization", &bearer(&admin))], "");
    assert!(!names.text().contains("backdoor"));
    let claims = Client::new(server.address).send("GET", "/v1/campaigns/spring/claims", &[("authorization", &bearer(&admin))], "");
    assert_eq!(claims.json()["claims"].as_array().unwrap().len(), 1);
}

#[test]
fn what_anybody_may_ask_does_not_wait_for_a_body() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path());
    for target in ["/healthz", "/readyz", "/docs", "/openapi.json"] {
        let mut stream = http::connect(server.address).unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 64000\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(http::read_answer(&mut BufReader::new(stream), false).unwrap().status, 200, "{target}");
    }
}

#[test]
fn the_settings_file_of_the_server_names_the_folder_for_the_other_commands_too() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("real"), folder.path().join("firstcome.toml"));
    fs::write(&config, format!("data = {data:?}\nsegment-mib = 4\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    let config = config.to_str().unwrap();
    let with_config = |args: &[&str]| run(program(&[args, &["--config", config]].concat()));
    assert_eq!(with_config(&["key", "create", "admin", "--scopes", "admin"]).0, Some(0));
    assert!(data.join("journal").is_dir());
    assert!(with_config(&["key", "list"]).1.contains("admin"));
    assert_eq!(Process::start(program(&["serve", "--config", config])).terminate().0, Some(0));
    for command in ["verify", "inspect"] {
        let (code, _, stderr) = with_config(&[command]);
        assert_eq!(code, Some(0), "{stderr}");
    }
    fs::write(folder.path().join("firstcome.toml"), "data = 7").unwrap();
    assert_eq!(with_config(&["key", "list"]).0, Some(2));
}
