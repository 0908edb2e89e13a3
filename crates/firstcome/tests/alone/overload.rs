//! More requests than there are places: who is turned away, how, and who still gets in.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

use crate::support::http;
use crate::support::server;
use crate::support::tokens;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use edge::auth::caller::Scope;
use edge::pause::REFUSALS_PER_SECOND;
use firstcome::cli::ServeArgs;
use http::{Response, connect, read_answer};
use server::TestServer;
use tokens::Signer;

/// Of these a caller alone may have 16.
const PLACES: u64 = 18;
const ALONE: usize = 16;
const BODY: &str = r#"{"subject":"ann"}"#;

struct World {
    server: TestServer,
    admin: String,
    shop: String,
    kiosk: String,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = ServeArgs { requests_max: Some(PLACES), ..ServeArgs::default() };
        let server = TestServer::start_with(folder.path(), 1_000, args);
        let admin = server.make_key("admin", &[Scope::Admin], "");
        let (shop, kiosk) = (server.make_key("shop", &[Scope::Issue], ""), server.make_key("kiosk", &[Scope::Issue], ""));
        let world = Self { server, admin, shop, kiosk, _folder: folder };
        assert_eq!(world.ask(&world.admin, "PUT", "/v1/campaigns/spring", r#"{"stock":100}"#).status, 201);
        world
    }

    fn ask(&self, key: &str, method: &str, target: &str, body: &str) -> Response {
        self.server.client().send(method, target, &[("authorization", &format!("Bearer {key}"))], body)
    }

    fn claim(&self, key: &str) -> Response {
        self.ask(key, "POST", "/v1/campaigns/spring/claims", BODY)
    }

    /// A claim whose body is still to come: it keeps its place for as long as we like.
    fn begun(&self, key: &str) -> TcpStream {
        let mut stream = connect(self.server.address).unwrap();
        stream.write_all(head(key).as_bytes()).unwrap();
        stream
    }

    fn in_flight(&self) -> usize {
        self.server.app.edge.auth.in_flight() as usize
    }

    fn wait_for(&self, in_flight: usize) {
        let started = Instant::now();
        while self.in_flight() != in_flight {
            assert!(started.elapsed() < Duration::from_secs(10), "{} are in flight instead of {in_flight}", self.in_flight());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// As many begun claims as this key gets places for.
    fn fill(&self, key: &str, places: usize) -> Vec<TcpStream> {
        let before = self.in_flight();
        let streams = (0..places).map(|_| self.begun(key)).collect();
        self.wait_for(before + places);
        streams
    }
}

fn head(key: &str) -> String {
    let fixed = "POST /v1/campaigns/spring/claims HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    format!("{fixed}\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n", BODY.len())
}

#[test]
fn what_does_not_fit_is_refused_at_once_and_operators_and_others_still_get_in() {
    let world = World::new();
    let held = world.fill(&world.shop, ALONE);
    let started = Instant::now();
    let refused = world.claim(&world.shop);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (503, "busy", Some("1")));
    assert_eq!(refused.header("connection"), None, "the connection is good for the next request");
    // Another caller has a share of its own.
    assert_eq!(world.claim(&world.kiosk).status, 201);
    let others = world.fill(&world.kiosk, 2);
    assert_eq!(world.claim(&world.kiosk).status, 503);
    // All places are taken now, and nobody is asked for a key who would not get in with it.
    assert_eq!(world.claim("nonsense").status, 503);
    for (method, target, body) in [
        ("GET", "/healthz", ""),
        ("GET", "/readyz", ""),
        ("GET", "/metrics", ""),
        ("GET", "/v1/keys", ""),
        ("PATCH", "/v1/campaigns/spring", r#"{"stock":200}"#),
        ("POST", "/v1/keys", r#"{"key":"till","scopes":["redeem"]}"#),
    ] {
        assert!(world.ask(&world.admin, method, target, body).status < 300, "{method} {target}");
    }
    assert!(world.ask(&world.admin, "GET", "/metrics", "").text().contains("firstcome_requests_in_flight 18\n"));
    // Whoever has a place is served, and gives it back; whoever leaves does so, too.
    let mut held = held.into_iter();
    let mut first = held.next().unwrap();
    first.write_all(BODY.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(first), false).unwrap().status, 200);
    drop((held, others));
    world.wait_for(0);
    assert_eq!(world.claim(&world.shop).status, 200);
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn a_greedy_caller_falls_back_to_its_share_when_another_one_comes() {
    let world = World::new();
    let mut greedy = world.fill(&world.shop, ALONE);
    let mut modest = Vec::new();
    // Each answer to the greedy one makes room for the other, and not for the greedy one again.
    for _ in 0..ALONE {
        modest.push(world.begun(&world.kiosk));
        let before = world.in_flight();
        drop(greedy.remove(0));
        let started = Instant::now();
        while before <= world.in_flight() && started.elapsed() < Duration::from_millis(200) {
            std::thread::sleep(Duration::from_millis(1));
        }
        greedy.push(world.begun(&world.shop));
        std::thread::sleep(Duration::from_millis(5));
    }
    let shares = [&world.shop, &world.kiosk].map(|key| {
        let name = if key == &world.shop { "shop" } else { "kiosk" };
        world.server.app.edge.auth.ring().get(name).unwrap().in_flight().count()
    });
    assert!(shares.iter().all(|share| (6..=10).contains(share)), "{shares:?}");
}

#[test]
fn whoever_may_only_look_does_not_keep_operators_out() {
    let world = World::new();
    let reader = world.server.make_key("reader", &[Scope::Read], "");
    let limited = world.server.make_key("limited", &[Scope::Read], "spring");
    assert_eq!(world.ask(&limited, "GET", "/metrics", "").code(), "campaign_forbidden");
    let scrape = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {reader}\r\ncontent-length: 1\r\n\r\n");
    let _held: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = connect(world.server.address).unwrap();
            stream.write_all(scrape.as_bytes()).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    while world.ask(&reader, "GET", "/metrics", "").status != 503 {
        assert!(started.elapsed() < Duration::from_secs(5), "there was always a place");
    }
    assert_eq!(world.ask(&world.admin, "GET", "/v1/keys", "").status, 200);
    assert_eq!(world.claim(&world.shop).status, 201);
}

#[test]
fn one_end_user_does_not_keep_the_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::hs256(tokens::SECRET);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, tokens::SECRET).unwrap();
    let args = ServeArgs {
        jwt_secret: Some(secret),
        jwt_issuer: Some(tokens::ISSUER.to_owned()),
        jwt_audience: Some(tokens::AUDIENCE.to_owned()),
        requests_max: Some(90),
        ..ServeArgs::default()
    };
    let server = TestServer::start_with(&folder.path().join("data"), 1_000, args);
    let token = |subject: &str| signer.token(&tokens::claims(subject, 2_000));
    let lists = |subject: &str| {
        let bearer = format!("Bearer {}", token(subject));
        server.client().send("GET", "/v1/campaigns", &[("authorization", &bearer)], "").status
    };
    let held: Vec<TcpStream> = (0..90)
        .map(|_| {
            let mut stream = connect(server.address).unwrap();
            stream.write_all(head(&token("ann")).as_bytes()).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    while lists("ann") != 503 {
        assert!(started.elapsed() < Duration::from_secs(5), "ann has no limit");
    }
    assert_eq!((lists("bob"), server.app.edge.auth.in_flight()), (200, 8));
    drop(held);
}

/// However many connections ask again at once, ignoring `Retry-After`.
#[test]
fn noes_are_no_more_than_so_many_a_second() {
    let world = World::new();
    let _held = world.fill(&world.shop, ALONE);
    let _others = world.fill(&world.kiosk, 2);
    let time = Duration::from_millis(800);
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| noes_in(&world, time))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // Twice as many would still be far fewer than as fast as can be.
    let (noes, most) = (counts.iter().sum::<u64>(), 2 * REFUSALS_PER_SECOND * 8 / 10);
    assert!(noes <= most && counts.iter().all(|count| 0 < *count), "{noes} of {most}");
}

fn noes_in(world: &World, time: Duration) -> u64 {
    let mut stream = BufReader::new(connect(world.server.address).unwrap());
    let request = head(&world.shop) + BODY;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < time {
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, false).unwrap().status, 503);
        count += 1;
    }
    count
}
