//! The load: many people, each of whom asks any server, and asks again until told yes or no. Some
//! ask another server afterwards, who must say the same.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::book::{Book, Claim};
use crate::support_process::http::{Connection, Request, Response};
use crate::support_process::random::Random;

/// How long a person waits for an answer before asking somewhere else.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// How long before asking again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where servers are; a place is empty while its server is away.
pub type Addresses = Arc<Mutex<Vec<Option<SocketAddr>>>>;

/// How many come, and how fast.
#[derive(Clone, Debug)]
pub struct Plan {
    pub campaign: String,
    pub people: u64,
    /// How many ask at once.
    pub clients: u64,
    /// How long each of them rests between two people.
    pub rest: Duration,
}

/// People who are asking.
pub struct Crowd {
    shared: Arc<Shared>,
    working: Vec<JoinHandle<()>>,
    reading: JoinHandle<()>,
}

struct Shared {
    plan: Plan,
    addresses: Addresses,
    book: Mutex<Book>,
    next: AtomicU64,
    is_done: AtomicBool,
}

impl Crowd {
    pub fn start(addresses: &Addresses, plan: Plan) -> Self {
        let clients = plan.clients;
        let shared = Arc::new(Shared {
            plan,
            addresses: Arc::clone(addresses),
            book: Mutex::default(),
            next: AtomicU64::new(0),
            is_done: AtomicBool::new(false),
        });
        let working = (0..clients).map(|client| tokio::spawn(Client::new(&shared, client).work())).collect();
        let reading = tokio::spawn(Client::new(&shared, clients).read());
        Self { shared, working, reading }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }

    /// Waits until so many have something.
    pub async fn until_claimed(&self, count: usize) {
        self.until(&format!("{count} claims"), Duration::from_secs(60), |book| count <= book.claims.len()).await;
    }

    /// Waits until what people know is so.
    pub async fn until(&self, what: &str, at_most: Duration, mut is_so: impl FnMut(&Book) -> bool) {
        let deadline = Instant::now() + at_most;
        while !is_so(&self.book()) {
            self.check();
            assert!(Instant::now() < deadline, "not within {at_most:?}: {what}; {}", self.describe());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until everybody was told yes or no, and gives what they know.
    pub async fn finish(mut self, at_most: Duration) -> Book {
        let deadline = Instant::now() + at_most;
        while !self.working.iter().all(JoinHandle::is_finished) {
            self.check();
            assert!(Instant::now() < deadline, "people are still waiting after {at_most:?}: {}", self.describe());
            sleep(Duration::from_millis(10)).await;
        }
        self.shared.is_done.store(true, Ordering::Relaxed);
        for one in self.working.iter_mut().chain([&mut self.reading]) {
            one.await.unwrap();
        }
        let book = std::mem::take(&mut *self.book());
        eprintln!(
            "{}: {} claims, {} refused, unclear {:?}, slowest {:?}, {} reads ({} in vain)",
            self.shared.plan.campaign,
            book.claims.len(),
            book.refused.len(),
            book.unclear,
            book.slowest,
            book.reads_count,
            book.reads_refused_count
        );
        book
    }

    /// A contradiction ends the client that saw it; the scenario must end too.
    fn check(&self) {
        let is_poisoned = self.shared.book.is_poisoned();
        assert!(!is_poisoned, "somebody was told a contradiction: see the panic above");
    }

    fn describe(&self) -> String {
        let book = self.book();
        let next = self.shared.next.load(Ordering::Relaxed);
        format!("{} claims, {} refused, {next} have come, unclear {:?}", book.claims.len(), book.refused.len(), book.unclear)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.is_done.store(true, Ordering::Relaxed);
        self.working.iter().chain([&self.reading]).for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }
}

struct Client {
    shared: Arc<Shared>,
    random: Random,
    /// One for each server, with the address that it was made to.
    connections: Vec<Option<(SocketAddr, Connection)>>,
}

impl Client {
    fn new(shared: &Arc<Shared>, number: u64) -> Self {
        Self { shared: Arc::clone(shared), random: Random(number), connections: Vec::new() }
    }

    async fn work(mut self) {
        loop {
            let person = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if self.shared.plan.people <= person {
                return;
            }
            let subject = format!("person-{person}");
            let server = self.ask_until_told(&subject).await;
            if self.random.below(20) == 0 {
                self.ask_again_elsewhere(&subject, server).await;
            }
            sleep(self.shared.plan.rest).await;
        }
    }

    /// Gives the server that said it.
    async fn ask_until_told(&mut self, subject: &str) -> usize {
        loop {
            let server = self.any_server();
            if self.claim(server, subject).await {
                return server;
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    async fn ask_again_elsewhere(&mut self, subject: &str, told_by: usize) {
        let count = self.shared.addresses.lock().unwrap().len();
        self.claim((told_by + 1) % count, subject).await;
    }

    /// Whether there was a yes or a no.
    async fn claim(&mut self, server: usize, subject: &str) -> bool {
        let (campaign, asked_at) = (self.shared.plan.campaign.clone(), Instant::now());
        let answer = self.ask(server, &Request::claim(&campaign, subject, None)).await;
        let mut book = self.shared.book();
        let Some(answer) = answer else {
            book.unclear("silence");
            return false;
        };
        book.waited(asked_at.elapsed());
        if answer.status == 200 || answer.status == 201 {
            let claim: Claim = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(claim.subject, subject);
            book.yes(claim, answer.status == 201, asked_at);
            return true;
        }
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        match answer.status {
            409 if code == "sold_out" => book.sold_out(subject),
            503 => book.unclear(&code),
            status => panic!("{status}: {}", answer.text()),
        }
        answer.status == 409
    }

    /// Looks at the campaign now and then, on any server.
    async fn read(mut self) {
        let path = format!("/v1/campaigns/{}", self.shared.plan.campaign);
        while !self.shared.is_done.load(Ordering::Relaxed) {
            let server = self.any_server();
            let known = self.shared.book().claims.len() as u64;
            let answer = self.ask(server, &Request::new("GET", &path)).await;
            self.learn_read(server, known, answer);
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn learn_read(&self, server: usize, known: u64, answer: Option<Response>) {
        let mut book = self.shared.book();
        book.reads_count += 1;
        match answer {
            Some(answer) if answer.status == 200 => {
                let campaign = answer.json();
                let (claimed, stock) = (campaign["claimed"].as_u64().unwrap(), campaign["stock"].as_u64().unwrap());
                assert!(claimed <= stock, "more than there is: {campaign}");
                assert!(
                    known <= claimed,
                    "server {server} answers with the past: {known} claims were answered before it was asked: {campaign}"
                );
            }
            Some(answer) if answer.status != 503 => panic!("{}: {}", answer.status, answer.text()),
            Some(_) | None => book.reads_refused_count += 1,
        }
    }

    fn any_server(&mut self) -> usize {
        let addresses = self.shared.addresses.lock().unwrap();
        self.random.place_in(&addresses)
    }

    /// Nothing where the server is away, goes away, or says nothing for long.
    async fn ask(&mut self, server: usize, request: &Request) -> Option<Response> {
        let address = self.shared.addresses.lock().unwrap()[server]?;
        self.connections.resize_with(self.connections.len().max(server + 1), || None);
        let connection = match self.connections[server].take() {
            Some((of, connection)) if of == address => connection,
            Some(_) | None => Connection::open(address).await.ok()?,
        };
        let (answer, connection) = ask_in_time(connection, request).await?;
        self.connections[server] = Some((address, connection));
        Some(answer)
    }
}

async fn ask_in_time(mut connection: Connection, request: &Request) -> Option<(Response, Connection)> {
    let answer = timeout(ANSWER_MAX, connection.ask(request)).await.ok()?.ok()?;
    Some((answer, connection))
}
