//! What must hold after a restart: everything that a client was told, and nothing else.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::client::{CAMPAIGNS, Claim, Client, Wish};
use super::support_process::http::{Connection, Request};
use super::support_process::random::Random;

/// Older answers that are read one by one; the newer ones are all read, and the export is compared
/// with every answer.
const OLDER_READ_MAX: u64 = 200;

/// What became of requests that were sent and not answered.
#[derive(Clone, Copy, Default, Debug)]
pub struct Unanswered {
    /// The server had decided them, and kept that.
    pub kept: usize,
    /// They never took effect.
    pub lost: usize,
}

/// Everything that a server lists, by campaign and serial.
pub type Listed = HashMap<(&'static str, u64), Claim>;

/// Compares a server that was started again with what its clients know, settles what they do not
/// know, and compares again.
pub async fn check(address: SocketAddr, clients: &mut [Client], random: &mut Random) -> Unanswered {
    let mut connection = Connection::open(address).await.unwrap();
    let listed = list(&mut connection).await;
    every_yes_is_there(&listed, clients);
    let known = known(clients);
    for ((campaign, _), claim) in listed.iter().filter(|(place, _)| !known.contains_key(*place)) {
        assert!(clients.iter().any(|client| asked_for(client, campaign, claim)), "nobody asked for {campaign} {claim:?}");
    }
    let unanswered = count(&listed, &known, clients);
    read_one_by_one(&mut connection, clients, random).await;
    for client in clients.iter_mut() {
        client.settle(&mut connection).await;
    }
    let listed = list(&mut connection).await;
    let known = self::known(clients);
    assert_eq!(listed.len(), known.len(), "after asking again nothing is unknown");
    for (place, claim) in &known {
        assert_eq!(listed.get(place), Some(claim), "{place:?}");
    }
    for (campaign, stock, per_subject_max) in CAMPAIGNS {
        promises_hold(&mut connection, &listed, campaign, stock, per_subject_max).await;
    }
    for client in clients {
        client.touched.clear();
    }
    unanswered
}

async fn list(connection: &mut Connection) -> Listed {
    let mut listed = HashMap::new();
    for (campaign, _, _) in CAMPAIGNS {
        let request = Request::with_headers("GET", &format!("/v1/campaigns/{campaign}/claims"), "accept: application/x-ndjson\r\n");
        let answer = connection.ask(&request).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let claim: Claim = serde_json::from_slice(line).unwrap();
            let twice = listed.insert((campaign, claim.serial), claim);
            assert!(twice.is_none(), "a serial is listed twice: {twice:?}");
        }
    }
    listed
}

fn known(clients: &[Client]) -> Listed {
    let held = clients.iter().flat_map(|client| &client.held).map(|held| ((held.campaign, held.claim.serial), held.claim.clone()));
    let mut known: Listed = HashMap::new();
    for (place, claim) in held {
        let twice = known.insert(place, claim.clone());
        assert!(twice.is_none(), "{place:?} was given to two: {twice:?} and {claim:?}");
    }
    let shared = clients.first().map(Client::shared_claims).unwrap_or_default();
    known.extend(shared.into_iter().map(|claim| (("shared", claim.serial), claim)));
    known
}

fn every_yes_is_there(listed: &Listed, clients: &[Client]) {
    for client in clients {
        for (place, held) in client.held.iter().enumerate() {
            let found = listed.get(&(held.campaign, held.claim.serial));
            let found = found.unwrap_or_else(|| panic!("a yes was taken back: {held:?}"));
            let may_have_changed = changes(client, place).is_some_and(|status| found.status == status && held.claim.status == "live");
            assert!(*found == held.claim || may_have_changed && found.is_same(&held.claim), "told {held:?}, listed {found:?}");
        }
    }
    for claim in clients.first().map(Client::shared_claims).unwrap_or_default() {
        assert_eq!(listed.get(&("shared", claim.serial)), Some(&claim), "a yes was taken back");
    }
}

/// What an unanswered request of this client would make of what it holds at this place.
fn changes(client: &Client, place: usize) -> Option<&'static str> {
    match client.pending {
        Some(Wish::RedeemBySubject(pending) | Wish::RedeemByCode(pending)) if pending == place => Some("redeemed"),
        Some(Wish::Cancel(pending)) if pending == place => Some("cancelled"),
        _ => None,
    }
}

fn asked_for(client: &Client, in_campaign: &str, claim: &Claim) -> bool {
    matches!(&client.pending, Some(Wish::Claim { campaign, subject, .. }) if *campaign == in_campaign && *subject == claim.subject)
}

fn count(listed: &Listed, known: &Listed, clients: &[Client]) -> Unanswered {
    let mut unanswered = Unanswered::default();
    for client in clients {
        let is_kept = match &client.pending {
            None | Some(Wish::Again(_)) => continue,
            Some(Wish::Claim { .. }) => listed
                .iter()
                .any(|((campaign, serial), claim)| !known.contains_key(&(*campaign, *serial)) && asked_for(client, campaign, claim)),
            Some(Wish::RedeemBySubject(place) | Wish::RedeemByCode(place) | Wish::Cancel(place)) => {
                let held = &client.held[*place];
                listed.get(&(held.campaign, held.claim.serial)).is_some_and(|claim| claim.status != "live")
            }
        };
        if is_kept { unanswered.kept += 1 } else { unanswered.lost += 1 }
    }
    unanswered
}

/// Reads what was learnt since the last start, and some of what is older, by code and by subject.
async fn read_one_by_one(connection: &mut Connection, clients: &[Client], random: &mut Random) {
    for client in clients.iter().filter(|client| !client.held.is_empty()) {
        let older = (0..OLDER_READ_MAX / clients.len() as u64).map(|_| random.place_in(&client.held));
        let mut places: Vec<usize> = client.touched.iter().copied().chain(older).collect();
        places.sort_unstable();
        places.dedup();
        for place in places.into_iter().filter(|place| changes(client, *place).is_none()) {
            let held = &client.held[place];
            let (campaign, claim) = (held.campaign, &held.claim);
            let by_code = Request::new("GET", &format!("/v1/campaigns/{campaign}/codes/{}", claim.code));
            let by_subject = Request::new("GET", &format!("/v1/campaigns/{campaign}/claims/{}?serial={}", claim.subject, claim.serial));
            for request in [by_code, by_subject] {
                let answer = connection.ask(&request).await.unwrap();
                assert_eq!(answer.status, 200, "a yes was taken back: {held:?}: {}", answer.text());
                let found: Claim = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(found, *claim, "read one by one");
            }
        }
    }
}

async fn promises_hold(connection: &mut Connection, listed: &Listed, campaign: &str, stock: u64, per_subject_max: u64) {
    let mut claims: Vec<&Claim> = listed.iter().filter(|((of, _), _)| *of == campaign).map(|(_, claim)| claim).collect();
    claims.sort_by_key(|claim| claim.serial);
    for (place, claim) in claims.iter().enumerate() {
        assert_eq!(claim.serial, place as u64 + 1, "serials of {campaign} have a gap");
    }
    assert!(claims.is_sorted_by_key(|claim| &claim.claimed_at), "time ran backwards in {campaign}");
    let mut by_subject: HashMap<&str, u64> = HashMap::new();
    for claim in claims.iter().filter(|claim| claim.holds()) {
        *by_subject.entry(&claim.subject).or_default() += 1;
    }
    let most = by_subject.iter().max_by_key(|(_, count)| **count);
    assert!(most.is_none_or(|(_, count)| *count <= per_subject_max), "one person holds more than it may in {campaign}: {most:?}");
    let claimed: u64 = by_subject.values().sum();
    assert!(claimed <= stock, "{claimed} of {stock} were given out in {campaign}");
    let redeemed = claims.iter().filter(|claim| claim.status == "redeemed").count();
    let shown = connection.ask(&Request::new("GET", &format!("/v1/campaigns/{campaign}"))).await.unwrap().json();
    assert_eq!(shown["claimed"], claimed, "{campaign}");
    assert_eq!(shown["remaining"], stock - claimed, "{campaign}");
    assert_eq!(shown["redeemed"], redeemed as u64, "{campaign}");
}
