//! What must hold after every scenario, asked of every server, of the tables, and of the program
//! itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::task::block_in_place;
use tokio_postgres::NoTls;

use super::book::{Book, Claim};
use super::world::{World, eventually};
use crate::support_process::http::{Connection, Request};
use crate::support_process::program::program;

/// How long after a scenario all servers and the tables may take to be where they should be.
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// Claims that are read and asked for one by one, on each server.
const ONE_BY_ONE: usize = 50;

/// Checks everything, where more people asked than there were units and all were told yes or no.
pub async fn exactly(world: &World, book: &Book, stock: u64) {
    as_told(world, book, stock).await;
    block_in_place(|| verified(world));
}

/// The same where the record is not complete any more, so that it cannot be recomputed.
pub async fn as_told(world: &World, book: &Book, stock: u64) {
    assert_eq!(book.claims.len() as u64, stock, "people were refused while units were left");
    let known = by_serial(book, stock);
    let mut campaigns = Vec::new();
    for place in world.running() {
        world.until_ready(place).await;
        let address = world.address(place);
        let listed = list(address, &world.name).await;
        assert!(listed == known, "server {place} lists something else than people were told");
        one_by_one(address, &world.name, &known).await;
        campaigns.push(campaign(address, &world.name).await);
    }
    for campaign in &campaigns {
        assert_eq!((&campaign["claimed"], &campaign["remaining"]), (&stock.into(), &0.into()), "{campaign}");
        assert_eq!(campaign, &campaigns[0], "servers differ");
    }
    tables(world, &known).await;
    logs(world);
}

/// Nobody has what another one has, and no serial is left out.
fn by_serial(book: &Book, stock: u64) -> BTreeMap<u64, Claim> {
    let mut claims = BTreeMap::new();
    for claim in book.claims.values() {
        let twice = claims.insert(claim.serial, claim.clone());
        assert!(twice.is_none(), "one unit was given to two: {twice:?} and {claim:?}");
    }
    assert!(claims.keys().copied().eq(1..=stock), "serials have a gap: {:?}", claims.keys().collect::<Vec<_>>());
    assert!(claims.values().is_sorted_by_key(|claim| &claim.claimed_at), "time ran backwards");
    claims
}

/// The list, as soon as the tables have caught up.
pub async fn list(address: SocketAddr, campaign: &str) -> BTreeMap<u64, Claim> {
    let path = format!("/v1/campaigns/{campaign}/claims");
    let request = Request::with_headers("GET", &path, "accept: application/x-ndjson\r\n");
    let mut listed = None;
    eventually("the tables have caught up", SETTLED_MAX, async || {
        let answer = Connection::open(address).await.unwrap().ask(&request).await.unwrap();
        assert!(answer.status == 200 || answer.status == 503, "{} {}", answer.status, answer.text());
        listed = (answer.status == 200).then_some(answer.body);
        listed.is_some()
    })
    .await;
    let mut claims = BTreeMap::new();
    for line in listed.unwrap().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let claim: Claim = serde_json::from_slice(line).unwrap();
        let twice = claims.insert(claim.serial, claim);
        assert!(twice.is_none(), "a serial is listed twice: {twice:?}");
    }
    claims
}

/// A campaign as a server shows it, as soon as it does.
pub async fn campaign(address: SocketAddr, name: &str) -> Value {
    let request = Request::new("GET", &format!("/v1/campaigns/{name}"));
    let mut read = None;
    eventually("the campaign is shown", SETTLED_MAX, async || {
        let answer = Connection::open(address).await.unwrap().ask(&request).await.unwrap();
        assert!(answer.status == 200 || answer.status == 503, "{} {}", answer.status, answer.text());
        read = (answer.status == 200).then(|| answer.json());
        read.is_some()
    })
    .await;
    read.unwrap()
}

/// Whoever reads a claim, or asks for it again, is told the same by every server.
async fn one_by_one(address: SocketAddr, campaign: &str, known: &BTreeMap<u64, Claim>) {
    let mut connection = Connection::open(address).await.unwrap();
    for claim in known.values().step_by(known.len().div_ceil(ONE_BY_ONE).max(1)) {
        let by_code = Request::new("GET", &format!("/v1/campaigns/{campaign}/codes/{}", claim.code));
        let by_subject = Request::new("GET", &format!("/v1/campaigns/{campaign}/claims/{}", claim.subject));
        let again = Request::claim(campaign, &claim.subject, None);
        for request in [by_code, by_subject, again] {
            let answer = connection.ask(&request).await.unwrap();
            assert_eq!(answer.status, 200, "{claim:?}: {}", answer.text());
            let found: Claim = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(found, *claim);
        }
    }
}

/// What stands in PostgreSQL, without any server in between.
async fn tables(world: &World, known: &BTreeMap<u64, Claim>) {
    let client = connect(&world.postgres).await;
    let sql = "SELECT serial, subject, status FROM firstcome.claims JOIN firstcome.campaigns ON campaigns.id = claims.campaign \
               WHERE campaigns.name = $1 ORDER BY serial";
    let rows = client.query(sql, &[&world.name]).await.unwrap();
    let rows: Vec<(u64, String, String)> =
        rows.iter().map(|row| (u64::try_from(row.get::<_, i64>(0)).unwrap(), row.get(1), row.get(2))).collect();
    let expected: Vec<(u64, String, String)> =
        known.values().map(|claim| (claim.serial, claim.subject.clone(), "live".to_owned())).collect();
    assert!(rows == expected, "the tables hold something else than people were told: {} rows, {} claims", rows.len(), expected.len());
}

/// The program's own verdict on record and tables.
pub fn verified(world: &World) {
    let flags: Vec<String> = world.flags().into_iter().filter(|flag| flag != "--kafka-dev").collect();
    let output = program().arg("verify").args(flags).stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "verify says: {said}{complained}");
}

/// A connection to the tables.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// No server, also none that was killed, has met what must not be.
pub fn logs(world: &World) {
    for place in 0..world.servers.len() {
        let said = world.said(place);
        let wrong = ["panicked", "cannot follow the log", "must never happen", "something else than", "stopping: no answer"];
        let found = said.lines().find(|line| wrong.iter().any(|word| line.contains(word)));
        assert!(found.is_none(), "server {place} said: {found:?}");
    }
}
