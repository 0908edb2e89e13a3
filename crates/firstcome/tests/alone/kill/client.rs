//! One client: it sends one request after another, keeps every yes, and remembers the request
//! that was sent and not answered when the server went away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::support_process::http::{Connection, Request, Response};
use super::support_process::random::Random;

/// Campaigns: name, stock, claims per subject. `scarce` and `shared` sell out.
pub const CAMPAIGNS: [(&str, u64, u64); 4] = [("once", 1_000_000, 1), ("scarce", 1_500, 1), ("twice", 1_000_000, 2), ("shared", 2_000, 1)];
const ONCE: &str = "once";
const SCARCE: &str = "scarce";
const TWICE: &str = "twice";
/// All clients ask for the same people here.
const SHARED: &str = "shared";
const SHARED_SUBJECTS: u64 = 3_000;

/// A claim as the server shows it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Claim {
    pub subject: String,
    pub serial: u64,
    pub code: String,
    pub claimed_at: String,
    #[serde(default = "live")]
    pub status: String,
    #[serde(default)]
    pub redeemed_at: Option<String>,
    #[serde(default)]
    pub cancelled_at: Option<String>,
}

fn live() -> String {
    "live".to_owned()
}

impl Claim {
    /// Whether two are the same claim, whatever became of it since.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.subject, self.serial, &self.code, &self.claimed_at) == (&other.subject, other.serial, &other.code, &other.claimed_at)
    }

    /// Whether it takes a unit of the stock.
    pub fn holds(&self) -> bool {
        self.status != "cancelled"
    }
}

/// A yes that a client saw, and what became of it.
#[derive(Clone, Debug)]
pub struct Held {
    pub campaign: &'static str,
    pub claim: Claim,
    key: Option<String>,
}

/// What a client asks for. Numbers are places among what it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    Claim { campaign: &'static str, subject: String, key: Option<String> },
    Again(usize),
    RedeemBySubject(usize),
    RedeemByCode(usize),
    Cancel(usize),
}

/// What all clients were told about the people that they share.
pub type SharedClaims = Arc<Mutex<HashMap<String, Claim>>>;

/// One client.
#[derive(Debug)]
pub struct Client {
    id: u64,
    random: Random,
    subjects_count: u64,
    keys_count: u64,
    pub held: Vec<Held>,
    /// By campaign and serial.
    places: HashMap<(&'static str, u64), usize>,
    /// Places among `held` of what was learnt since the last start.
    pub touched: Vec<usize>,
    /// Sent in full, and not answered.
    pub pending: Option<Wish>,
    shared: SharedClaims,
}

impl Client {
    /// A client that nobody has answered yet.
    pub fn new(id: u64, seed: u64, shared: &SharedClaims) -> Self {
        let random = Random(seed ^ id.wrapping_mul(0xa076_1d64_78bd_642f));
        let shared = Arc::clone(shared);
        let (held, places, touched) = (Vec::new(), HashMap::new(), Vec::new());
        Self { id, random, subjects_count: 0, keys_count: 0, held, places, touched, pending: None, shared }
    }

    /// What all clients were told about the people that they share.
    pub fn shared_claims(&self) -> Vec<Claim> {
        self.shared.lock().unwrap().values().cloned().collect()
    }

    /// Asks until the connection ends.
    pub async fn work(mut self, address: SocketAddr, answered: Arc<AtomicU64>) -> Self {
        let Ok(mut connection) = Connection::open(address).await else { return self };
        loop {
            let wish = self.next_wish();
            if connection.send(&self.request(&wish)).await.is_err() {
                // What the server has of it is not a whole request, so that it has no effect.
                break;
            }
            let Ok(answer) = connection.receive().await else {
                self.pending = Some(wish);
                break;
            };
            self.learn(&wish, &answer);
            answered.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection") == Some("close") {
                break;
            }
        }
        self
    }

    /// Asks again for what was not answered, and then once more: the answer is the same.
    pub async fn settle(&mut self, connection: &mut Connection) {
        let Some(wish) = self.pending.take() else { return };
        let answer = connection.ask(&self.request(&wish)).await.unwrap();
        self.learn(&wish, &answer);
        let again = connection.ask(&self.request(&wish)).await.unwrap();
        self.learn(&wish, &again);
        if matches!(wish, Wish::Claim { .. }) && answer.status < 300 {
            let (first, second): (Claim, Claim) = (claim_of(&answer), claim_of(&again));
            assert!(first.is_same(&second), "asked again: {first:?}, then {second:?}");
        }
    }

    fn next_wish(&mut self) -> Wish {
        match self.random.below(100) {
            0..45 => self.claim_for_someone_new(ONCE),
            45..55 => self.claim_for_someone_new(SCARCE),
            55..62 => Wish::Claim { campaign: SHARED, subject: format!("s-{}", self.random.below(SHARED_SUBJECTS)), key: None },
            62..80 => self.claim_with_key(),
            kind => self.wish_for_a_held_one(kind),
        }
    }

    fn claim_for_someone_new(&mut self, campaign: &'static str) -> Wish {
        self.subjects_count += 1;
        Wish::Claim { campaign, subject: format!("{campaign}-{}-{}", self.id, self.subjects_count), key: None }
    }

    fn claim_with_key(&mut self) -> Wish {
        self.keys_count += 1;
        let key = Some(format!("k-{}-{}", self.id, self.keys_count));
        // Each person comes three times in a while, and is refused the third time.
        Wish::Claim { campaign: TWICE, subject: format!("twice-{}-{}", self.id, self.keys_count / 3), key }
    }

    fn wish_for_a_held_one(&mut self, kind: u64) -> Wish {
        if self.held.is_empty() {
            return self.claim_for_someone_new(ONCE);
        }
        let place = self.random.place_in(&self.held);
        let held = &self.held[place];
        let is_live = held.claim.status == "live" && held.campaign != SHARED;
        match kind {
            80..86 if is_live => Wish::RedeemBySubject(place),
            86..90 if is_live => Wish::RedeemByCode(place),
            90..95 if is_live => Wish::Cancel(place),
            // Whoever has given it back may have another one.
            _ if !held.claim.holds() && held.key.is_none() => {
                Wish::Claim { campaign: held.campaign, subject: held.claim.subject.clone(), key: None }
            }
            _ => Wish::Again(place),
        }
    }

    fn request(&self, wish: &Wish) -> Request {
        let path = |place: usize| {
            let held = &self.held[place];
            format!("/v1/campaigns/{}/claims/{}", held.campaign, held.claim.subject)
        };
        match wish {
            Wish::Claim { campaign, subject, key } => Request::claim(campaign, subject, key.as_deref()),
            Wish::Again(place) => {
                let held = &self.held[*place];
                Request::claim(held.campaign, &held.claim.subject, held.key.as_deref())
            }
            Wish::RedeemBySubject(place) => {
                Request::new("POST", &format!("{}/redeem?serial={}", path(*place), self.held[*place].claim.serial))
            }
            Wish::RedeemByCode(place) => {
                let held = &self.held[*place];
                Request::new("POST", &format!("/v1/campaigns/{}/codes/{}/redeem", held.campaign, held.claim.code))
            }
            Wish::Cancel(place) => Request::new("DELETE", &format!("{}?serial={}", path(*place), self.held[*place].claim.serial)),
        }
    }

    fn learn(&mut self, wish: &Wish, answer: &Response) {
        if answer.status == 503 && answer.json()["outcome"] == "rejected" {
            return;
        }
        match wish {
            Wish::Claim { campaign, subject, key } => self.learn_claim(campaign, subject, key.as_ref(), answer),
            Wish::Again(place) => {
                let held = &self.held[*place];
                assert!(answer.status == if held.key.is_some() { 201 } else { 200 }, "{held:?}: {} {}", answer.status, answer.text());
                assert!(answer.header("idempotent-replayed") == Some("true"), "{held:?}: not marked as said before");
                assert!(held.claim.is_same(&claim_of(answer)), "{held:?}: {}", answer.text());
            }
            Wish::RedeemBySubject(place) | Wish::RedeemByCode(place) => self.learn_change(*place, "already_redeemed", answer),
            Wish::Cancel(place) => self.learn_change(*place, "cancelled", answer),
        }
    }

    fn learn_claim(&mut self, campaign: &'static str, subject: &str, key: Option<&String>, answer: &Response) {
        if answer.status == 409 {
            return self.learn_refusal(campaign, subject, answer);
        }
        assert!(answer.status == 201 || answer.status == 200, "{campaign}/{subject}: {} {}", answer.status, answer.text());
        let claim = claim_of(answer);
        assert_eq!(claim.subject, subject);
        if campaign == SHARED {
            let mut shared = self.shared.lock().unwrap();
            let known = shared.entry(subject.to_owned()).or_insert_with(|| claim.clone());
            assert!(known.is_same(&claim), "one person was given {known:?} and {claim:?}");
            return;
        }
        if let Some(place) = self.places.insert((campaign, claim.serial), self.held.len()) {
            self.places.insert((campaign, claim.serial), place);
            assert!(self.held[place].claim.is_same(&claim), "{:?}, then {claim:?}", self.held[place]);
            return;
        }
        self.touched.push(self.held.len());
        self.held.push(Held { campaign, claim, key: key.cloned() });
    }

    fn learn_refusal(&self, campaign: &str, subject: &str, answer: &Response) {
        let problem = answer.json();
        let holds =
            self.held.iter().filter(|held| held.campaign == campaign && held.claim.subject == subject && held.claim.holds()).count();
        match problem["code"].as_str() {
            Some("sold_out") => assert!(campaign == SCARCE || campaign == SHARED, "{campaign} cannot be sold out"),
            Some("subject_limit_reached") => assert!(campaign == TWICE && holds == 2, "{subject} holds {holds} of {campaign}"),
            _ => panic!("{campaign}/{subject}: {}", answer.text()),
        }
    }

    fn learn_change(&mut self, place: usize, said_before: &str, answer: &Response) {
        let held = &mut self.held[place];
        if answer.status == 200 {
            let claim = claim_of(answer);
            assert!(held.claim.is_same(&claim) && claim.status != "live", "{held:?}: {claim:?}");
            held.claim = claim;
        } else {
            let problem = answer.json();
            assert_eq!(problem["code"], said_before, "{held:?}");
            let at = |name: &str| problem[name].as_str().map(str::to_owned);
            held.claim.redeemed_at = at("redeemed_at");
            held.claim.cancelled_at = at("cancelled_at");
            held.claim.status = if held.claim.redeemed_at.is_some() { "redeemed" } else { "cancelled" }.to_owned();
        }
        self.touched.push(place);
    }
}

fn claim_of(answer: &Response) -> Claim {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {} {}", answer.status, answer.text()))
}
