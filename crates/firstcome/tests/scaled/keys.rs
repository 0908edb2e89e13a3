//! Keys across machines: made through any server, they hold on all, and so does their end.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::task::block_in_place;

use super::world::{Brokers, World, eventually};
use super::{check, scenario};
use crate::support_process::http::{Connection, Request, Response};
use crate::support_process::program::{Program, program};

/// A change that one server has answered is followed by the others within this time.
const FOLLOWED_MAX: Duration = Duration::from_secs(10);
const CLAIMS: &str = "/v1/campaigns/keys/claims";

#[test]
pub fn a_key_that_one_server_made_works_on_all_and_ends_on_all() {
    scenario::alone(async {
        let mut world = World::new("keys", &Brokers::One, None).with_servers(2, 10).await;
        world.until_ready(1).await;
        let [first, second] = [world.address(0), world.address(1)];
        let admin = secret(&ask(first, "POST", "/v1/keys", "", r#"{"key":"admin","scopes":["admin"]}"#).await, 201);
        until(second, "", 401).await;
        until(second, &admin, 200).await;
        let shop = ask(second, "POST", "/v1/keys", &admin, r#"{"key":"shop","scopes":["issue","read"],"campaigns":"keys"}"#).await;
        let shop = secret(&shop, 201);
        until(first, &shop, 200).await;
        assert_eq!(ask(first, "POST", CLAIMS, &shop, r#"{"subject":"ann"}"#).await.status, 201);
        let rotated = secret(&ask(first, "POST", "/v1/keys/shop/rotate", &admin, r#"{"overlap_ms":3600000}"#).await, 200);
        for key in [&rotated, &shop] {
            until(second, key, 200).await;
        }
        // What any server was answered, every other one knows.
        let listed = ask(second, "GET", "/v1/keys", &admin, "").await.json();
        assert_eq!(listed["keys"].as_array().map(Vec::len), Some(2), "{listed}");

        assert_eq!(ask(second, "DELETE", "/v1/keys/shop", &admin, "").await.status, 200);
        assert_eq!(status(second, &rotated).await, 401, "the server that was asked goes by it before it answers");
        for key in [&rotated, &shop] {
            until(first, key, 401).await;
        }
        // Through the socket in the folder, whichever server answers there.
        let till = block_in_place(|| key(&world.data(), &["create", "till", "--scopes", "redeem"]));
        until(first, till.trim(), 403).await;
        until(second, till.trim(), 403).await;

        world.kill(0);
        world.start(0);
        world.until_ready(0).await;
        let first = world.address(0);
        assert_eq!([status(first, &admin).await, status(first, &rotated).await, status(first, "").await], [200, 401, 401]);
        block_in_place(|| verify(&world));
    });
}

/// Through whichever server: a campaign that is made after the answer takes the new key, and its codes are
/// read by all.
#[test]
pub fn a_code_key_that_one_server_rotated_is_that_of_campaigns_made_on_another() {
    scenario::alone(async {
        let mut world = World::new("code-key", &Brokers::One, None).with_servers(2, 10).await;
        world.until_ready(1).await;
        let servers = [world.address(0), world.address(1)];
        let mut codes = Vec::new();
        for round in 0..4_usize {
            let (one, other) = (servers[round % 2], servers[(round + 1) % 2]);
            let rotated = ask(one, "POST", "/v1/code-key/rotate", "", "").await;
            assert_eq!((rotated.status, rotated.json()["number"].as_u64()), (200, Some(round as u64 + 2)), "{}", rotated.text());
            let campaign = format!("/v1/campaigns/c{round}");
            assert_eq!(ask(other, "PUT", &campaign, "", r#"{"stock":9}"#).await.status, 201);
            let claimed = ask(one, "POST", &format!("{campaign}/claims"), "", r#"{"subject":"ann"}"#).await.json();
            codes.push(format!("{campaign}/codes/{}", claimed["code"].as_str().unwrap()));
        }
        for server in [0, 1] {
            world.kill(server);
            world.start(server);
            world.until_ready(server).await;
            for code in &codes {
                assert_eq!(ask(world.address(server), "GET", code, "", "").await.status, 200, "{code}");
            }
        }
        let db = check::connect(&world.postgres).await;
        let code_keys = async || {
            let rows = db.query("SELECT code_key FROM firstcome.campaigns WHERE name LIKE 'c_' ORDER BY name", &[]).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>()
        };
        eventually("the tables tell which", FOLLOWED_MAX, async || code_keys().await == [2, 3, 4, 5]).await;
        block_in_place(|| verify(&world));
    });
}

#[test]
pub fn a_server_that_others_can_reach_lets_nobody_in_until_there_is_a_key() {
    scenario::alone(async {
        let world = World::new("closed", &Brokers::One, None);
        let mut command = program();
        command.args(["serve", "--listen", "0.0.0.0:0", "--data"]).arg(world.data()).args(world.flags());
        let mut server = Program::spawn_command(command);
        let port = block_in_place(|| server.wait_for_address()).port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(status(address, "").await, 401);
        let body = r#"{"key":"admin","scopes":["admin"]}"#;
        assert_eq!(ask(address, "POST", "/v1/keys", "", body).await.status, 401);
        assert!(server.said().contains("firstcome key create admin --scopes admin"), "{}", server.said());
        let admin = block_in_place(|| key(&world.data(), &["create", "admin", "--scopes", "admin"]));
        until(address, admin.trim(), 200).await;
        block_in_place(|| server.stop());
    });
}

async fn ask(address: SocketAddr, method: &str, path: &str, key: &str, body: &str) -> Response {
    let headers = if key.is_empty() { String::new() } else { format!("authorization: Bearer {key}\r\n") };
    let request = if body.is_empty() { Request::with_headers(method, path, &headers) } else { Request::json(method, path, &headers, body) };
    Connection::open(address).await.unwrap().ask(&request).await.unwrap()
}

async fn status(address: SocketAddr, key: &str) -> u16 {
    ask(address, "GET", "/v1/campaigns", key, "").await.status
}

async fn until(address: SocketAddr, key: &str, wanted: u16) {
    eventually("a change of keys is followed", FOLLOWED_MAX, async || status(address, key).await == wanted).await;
}

fn secret(answer: &Response, wanted: u16) -> String {
    assert_eq!(answer.status, wanted, "{}", answer.text());
    answer.json()["secret"].as_str().unwrap().to_owned()
}

/// Runs `firstcome key …` beside the servers of a folder.
fn key(data: &Path, args: &[&str]) -> String {
    let mut command = program();
    command.arg("key").args(args).arg("--data").arg(data);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn verify(world: &World) {
    let mut command = program();
    command.args(["verify", "--json", "--kafka", &world.kafka.hosts, "--kafka-topic", &world.kafka.topic, "--postgres", &world.postgres]);
    let output = command.output().unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &verdict["is_good"]), (Some(0), &true.into()), "{verdict}");
}
