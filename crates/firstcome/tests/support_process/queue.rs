//! People who are given places in a queue and read their answers, whatever happens to the servers.
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge::times;
use serde_json::Value;
use tokio::task::JoinSet;

use super::http::{Connection, Request, Response};
use super::program::ask;

/// Where each server is; `None` while it is away.
pub type Addresses = Arc<Mutex<Vec<Option<SocketAddr>>>>;

const PAUSE: Duration = Duration::from_millis(20);
/// Nobody waits longer, kills and elections included.
const PATIENCE: Duration = Duration::from_secs(120);

/// What everybody was told in the end.
#[derive(Debug, Default)]
pub struct Told {
    /// The answer with the decision, by subject.
    pub claims: BTreeMap<String, Value>,
    /// Those who were told that nothing is left.
    pub sold_out: usize,
    /// The place of each answer, by subject, of those who were given one.
    pub places: BTreeMap<String, String>,
}

/// Makes a campaign whose claims queue.
pub async fn put_queued(address: SocketAddr, campaign: &str, stock: u64, pace: u64) {
    let body = format!("{{\"stock\":{stock},\"mode\":\"queued\",\"decisions_per_second_max\":{pace}}}");
    let answer = ask(address, &Request::json("PUT", &format!("/v1/campaigns/{campaign}"), "", &body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// So many people claim, and each asks until it is known what became of it.
pub async fn everybody(addresses: &Addresses, campaign: &str, people: usize, at_once: usize) -> Told {
    let mut crowd = JoinSet::new();
    for first in 0..at_once {
        let (addresses, campaign) = (Arc::clone(addresses), campaign.to_owned());
        crowd.spawn(
            async move { some(Asker { addresses, connection: None, turn: first }, &campaign, (first..people).step_by(at_once)).await },
        );
    }
    let gathered = async {
        let mut all = Told::default();
        while let Some(some) = crowd.join_next().await {
            let some = some.unwrap();
            all.claims.extend(some.claims);
            all.places.extend(some.places);
            all.sold_out += some.sold_out;
        }
        all
    };
    tokio::time::timeout(PATIENCE, gathered).await.expect("somebody never learns what became of it")
}

async fn some(mut asker: Asker, campaign: &str, people: impl Iterator<Item = usize>) -> Told {
    let mut told = Told::default();
    for person in people {
        let subject = format!("user-{person}");
        let answer = asker.ask(&Request::claim(campaign, &subject, None)).await;
        match answer.status {
            200 | 201 => drop(told.claims.insert(subject, answer.json())),
            202 => drop(told.places.insert(subject, answer.header("location").unwrap().to_owned())),
            409 if answer.json()["code"] == "sold_out" => told.sold_out += 1,
            _ => panic!("{subject}: {}", answer.text()),
        }
    }
    for (subject, place) in &told.places {
        let answer = asker.decision(place).await;
        assert_eq!(answer["subject"], **subject);
        told.claims.insert(subject.clone(), answer);
    }
    told
}

impl Told {
    /// Exactly the stock, nobody twice, the pace kept; and everybody is told the same again.
    pub async fn check(&self, addresses: &Addresses, campaign: &str, stock: u64, pace: usize) {
        let mut serials: Vec<u64> = self.claims.values().map(|claim| claim["serial"].as_u64().unwrap()).collect();
        serials.sort_unstable();
        assert_eq!(serials, (1..=stock).collect::<Vec<u64>>());
        let mut asker = Asker { addresses: Arc::clone(addresses), connection: None, turn: 0 };
        for (subject, place) in &self.places {
            assert_eq!(&asker.decision(place).await, &self.claims[subject], "a final answer has changed");
        }
        let list =
            asker.ask(&Request::with_headers("GET", &format!("/v1/campaigns/{campaign}/claims"), "accept: application/x-ndjson\r\n")).await;
        let text = list.text();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len() as u64, stock);
        for row in &rows {
            let told = &self.claims[row["subject"].as_str().unwrap()];
            assert_eq!((&row["serial"], &row["code"], &row["claimed_at"]), (&told["serial"], &told["code"], &told["claimed_at"]));
        }
        let mut times: Vec<u64> = rows.iter().map(|row| times::parse(row["claimed_at"].as_str().unwrap()).unwrap().millis()).collect();
        times.sort_unstable();
        let too_fast = times.windows(pace + 1).find(|window| window[pace] < window[0] + 1_000);
        assert_eq!(too_fast, None, "more than {pace} were decided within a second");
        let counts = asker.ask(&Request::new("GET", &format!("/v1/campaigns/{campaign}"))).await.json();
        assert_eq!((&counts["claimed"], &counts["pending"], &counts["remaining"]), (&stock.into(), &0.into(), &0.into()));
    }
}

/// Somebody who asks any server that is there, again and again.
struct Asker {
    addresses: Addresses,
    connection: Option<Connection>,
    turn: usize,
}

impl Asker {
    /// An answer that says what is so: not that it is not known, or not now.
    async fn ask(&mut self, request: &Request) -> Response {
        loop {
            match self.try_ask(request).await {
                Some(answer) if answer.status != 503 => return answer,
                Some(_) | None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn try_ask(&mut self, request: &Request) -> Option<Response> {
        if self.connection.is_none() {
            let there: Vec<SocketAddr> = self.addresses.lock().unwrap().iter().flatten().copied().collect();
            self.turn += 1;
            let address = *there.get(self.turn % there.len().max(1))?;
            self.connection = Some(Connection::open(address).await.ok()?);
        }
        let answer = self.connection.as_mut()?.ask(request).await.ok();
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }

    /// The decision, once it is there. Who was given a place never hears that there is none.
    async fn decision(&mut self, place: &str) -> Value {
        loop {
            let answer = self.ask(&Request::new("GET", place)).await;
            match answer.status {
                201 => return answer.json(),
                202 => {
                    assert!(answer.json().get("code").is_none());
                    tokio::time::sleep(Duration::from_millis(answer.json()["retry_after_ms"].as_u64().unwrap().min(200))).await;
                }
                _ => panic!("{place}: {}", answer.text()),
            }
        }
    }
}
