//! Limits in front of every call: who is refused and what they are told, what a forged address is
//! worth, and that what is refused costs nothing, the engine neither.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;
use crate::support::tokens;

use edge::auth::caller::Scope;
use firstcome::cli::ServeArgs;
use http::Response;
use serde_json::json;
use server::{TestServer, at_seconds};
use tempfile::TempDir;
use tokens::Signer;

const NOW: u64 = 1_000_000;
const CLAIMS: &str = "/v1/campaigns/spring/claims";
/// 127.0.0.1 is a proxy that is believed.
const BEHIND_A_PROXY: &[&str] = &["127.0.0.1"];

struct World {
    server: TestServer,
    _folder: TempDir,
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

impl World {
    fn new(args: ServeArgs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start_with(&folder.path().join("data"), NOW, args);
        Self { server, _folder: folder }
    }

    fn limited_by_address(limit: &str, trusted: &[&str]) -> Self {
        let trusted = trusted.iter().map(|range| (*range).to_owned()).collect();
        Self::new(ServeArgs { limit_address: text(limit), trusted_proxies: Some(trusted), ..ServeArgs::default() })
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let json = [("content-type", "application/json")];
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain(json.into_iter().filter(|_| !body.is_empty())).collect();
        self.server.client().send(method, target, &headers, body)
    }

    /// Reads for a client at this address behind the proxy.
    fn read_for(&self, forwarded: &str) -> u16 {
        self.ask("GET", "/v1/campaigns", &[("x-forwarded-for", forwarded)], "").status
    }

    fn claim(&self, campaign: &str, subject: &str) -> Response {
        self.ask("POST", &format!("/v1/campaigns/{campaign}/claims"), &[], &format!(r#"{{"subject":"{subject}"}}"#))
    }

    fn claim_with(&self, credential: &str, subject: &str) -> Response {
        let bearer = format!("Bearer {credential}");
        self.ask("POST", CLAIMS, &[("authorization", &bearer)], &format!(r#"{{"subject":"{subject}"}}"#))
    }

    fn at(&self, seconds: u64) {
        self.server.clock.set(at_seconds(NOW + seconds));
    }

    /// How many requests a limit has refused, by the metrics.
    fn counted(&self, limit: &str, mode: &str) -> u64 {
        let metrics = String::from_utf8(self.ask("GET", "/metrics", &[], "").body).unwrap();
        let line = format!("firstcome_limited_total{{limit=\"{limit}\",mode=\"{mode}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }
}

#[test]
fn without_settings_nothing_is_limited_and_nothing_is_told() {
    let world = World::new(ServeArgs::default());
    let answer = world.ask("GET", "/v1/campaigns", &[], "");
    assert_eq!((answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")), (200, None, None));
}

#[test]
fn an_address_is_refused_with_all_it_needs_to_know_until_the_promised_instant() {
    let world = World::limited_by_address("2/10s", &[]);
    let read = || world.ask("GET", "/v1/campaigns", &[], "");
    let first = read();
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, Some("\"address\";q=2;w=10")));
    assert_eq!((first.header("ratelimit"), read().status), (Some("\"address\";r=1;t=5"), 200));
    world.at(2);
    let refused = read();
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit")), (Some("3"), Some("\"address\";r=0;t=8")));
    let body = refused.json();
    assert_eq!((body["policy"].as_str(), body["limit"].as_u64()), (Some("address"), Some(2)));
    assert_eq!((body["retry_after_ms"].as_u64(), body["reset_after_ms"].as_u64()), (Some(3_000), Some(8_000)));
    assert_eq!((body["outcome"].as_str(), body["request_id"].as_str()), (Some("rejected"), refused.header("x-request-id")));
    world.server.clock.set(domain::types::Timestamp::from_millis((NOW + 5) * 1_000 - 1).unwrap());
    assert_eq!(read().status, 429);
    world.at(5);
    assert_eq!(read().status, 200);
    assert_eq!(world.counted("address", "enforce"), 2);
}

#[test]
fn a_forged_address_of_an_untrusted_client_changes_nothing() {
    let world = World::limited_by_address("2/1h", &["192.0.2.0/24"]);
    let forged = ["198.51.100.1", "198.51.100.2", "192.0.2.1, 198.51.100.3", "198.51.100.4"];
    assert_eq!(forged.map(|address| world.read_for(address)), [200, 200, 429, 429]);
    let untrusting = World::limited_by_address("1/1h", &[]);
    assert_eq!(["198.51.100.1", "198.51.100.2"].map(|address| untrusting.read_for(address)), [200, 429]);
}

#[test]
fn behind_a_proxy_that_is_trusted_each_client_is_counted_and_none_can_take_another_address() {
    let world = World::limited_by_address("1/1h", BEHIND_A_PROXY);
    assert_eq!(["198.51.100.1", "198.51.100.2", "198.51.100.1"].map(|address| world.read_for(address)), [200, 200, 429]);
    // What a client wrote stands left of what the proxy added.
    assert_eq!(["9.9.9.9, 198.51.100.2", "9.9.9.9, 198.51.100.3"].map(|address| world.read_for(address)), [429, 200]);
    assert_eq!(world.read_for("9.9.9.9"), 200, "nobody has used it up");
}

#[test]
fn whoever_watches_the_server_is_never_refused_and_the_wrong_path_is() {
    let world = World::limited_by_address("1/1h", &[]);
    let status = |target: &str| world.ask("GET", target, &[], "").status;
    assert_eq!(["/nothing", "/nothing", "/docs"].map(status), [404, 429, 429]);
    for target in ["/healthz", "/readyz", "/metrics"] {
        let answer = world.ask("GET", target, &[], "");
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None), "{target}");
    }
}

#[test]
fn each_key_has_a_limit_of_its_own_and_what_it_refuses_is_not_counted_elsewhere() {
    let limits = ServeArgs { limit_address: text("20/1h"), limit_key: text("2/1h"), limit_subject: text("9/1h"), ..ServeArgs::default() };
    let world = World::new(limits);
    let (one, other) = (world.server.make_key("one", &[Scope::Admin], ""), world.server.make_key("other", &[Scope::Issue], ""));
    let put = world.ask("PUT", "/v1/campaigns/spring", &[("authorization", &format!("Bearer {one}"))], r#"{"stock":10}"#);
    assert_eq!((put.status, put.header("ratelimit")), (201, Some("\"address\";r=19;t=180, \"key\";r=1;t=1800")));
    let claimed = world.claim_with(&one, "ann");
    assert_eq!(claimed.status, 201);
    assert_eq!(claimed.header("ratelimit"), Some("\"address\";r=18;t=360, \"key\";r=0;t=3600, \"subject\";r=8;t=400"));
    for _ in 0..3 {
        let refused = world.claim_with(&one, "ann");
        assert_eq!((refused.status, refused.json()["policy"].as_str()), (429, Some("key")));
        assert_eq!(refused.header("ratelimit"), Some("\"address\";r=18;t=360, \"key\";r=0;t=3600, \"subject\";r=8;t=400"));
    }
    assert_eq!(world.claim_with(&other, "bob").status, 201);
    // A wrong key is counted by its address, and by nothing else.
    let wrong = world.claim_with("fc_nobody_0000", "ann");
    assert_eq!((wrong.status, wrong.header("ratelimit")), (401, Some("\"address\";r=16;t=720")));
}

#[test]
fn a_subject_is_limited_in_each_campaign_wherever_it_is_named() {
    let world = World::new(ServeArgs { limit_subject: text("2/1h"), ..ServeArgs::default() });
    for campaign in ["spring", "summer"] {
        assert_eq!(world.ask("PUT", &format!("/v1/campaigns/{campaign}"), &[], r#"{"stock":10}"#).status, 201);
    }
    assert_eq!(world.claim("spring", "ann").status, 201);
    assert_eq!(world.ask("GET", &format!("{CLAIMS}/ann"), &[], "").status, 200);
    assert_eq!([world.claim("spring", "ann").status, world.claim("spring", "bob").status], [429, 201]);
    assert_eq!(world.ask("GET", &format!("{CLAIMS}/ann"), &[], "").status, 429);
    assert_eq!(world.claim("summer", "ann").status, 201);
    // Nobody is counted where there is no campaign, however many names somebody makes up.
    let made_up: Vec<u16> = (0..3).map(|_| world.claim("autumn", "ann").status).collect();
    assert_eq!(made_up, [404; 3]);
    // What names no subject is not counted.
    let reads: Vec<u16> = (0..5).map(|_| world.ask("GET", "/v1/campaigns/spring", &[], "").status).collect();
    assert_eq!(reads, [200; 5]);
    assert_eq!(world.counted("subject", "enforce"), 2);
}

#[test]
fn an_end_user_is_counted_by_the_token_s_subject_whatever_the_request_says() {
    let signer = Signer::ed_dsa().named("users");
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    let world = World::new(ServeArgs {
        limit_subject: text("1/1h"),
        limit_key: text("1000/1h"),
        jwt_jwks: Some(jwks),
        jwt_issuer: text(tokens::ISSUER),
        jwt_audience: text(tokens::AUDIENCE),
        ..ServeArgs::default()
    });
    let admin = world.server.make_key("admin", &[Scope::Admin], "");
    let put = world.ask("PUT", "/v1/campaigns/spring", &[("authorization", &format!("Bearer {admin}"))], r#"{"stock":10}"#);
    assert_eq!(put.status, 201);
    let [ann, bob] = ["ann", "bob"].map(|subject| signer.token(&tokens::claims(subject, NOW + 60)));
    let claimed = world.claim_with(&ann, "ann");
    assert_eq!((claimed.status, claimed.header("ratelimit")), (201, Some("\"subject\";r=0;t=3600")));
    // Ann names others, and has used up her own.
    assert_eq!([world.claim_with(&ann, "bob").status, world.claim_with(&ann, "cat").status], [429, 429]);
    assert_eq!(world.claim_with(&bob, "bob").status, 201);
}

#[test]
fn what_is_refused_costs_the_engine_nothing() {
    let world = World::limited_by_address("2/1h", &[]);
    assert_eq!(world.ask("PUT", "/v1/campaigns/spring", &[], r#"{"stock":10}"#).status, 201);
    assert_eq!(world.claim("spring", "ann").status, 201);
    let before = world.server.fixed_point();
    assert_eq!([world.claim("spring", "bob").status, world.claim("spring", "cat").status], [429, 429]);
    assert_eq!(world.server.fixed_point(), before);
}

#[test]
fn a_limit_in_shadow_refuses_nobody_and_counts_whom_it_would_have_refused() {
    let world = World::new(ServeArgs { limit_address: text("1/1h,shadow"), limit_key: text("4/1h"), ..ServeArgs::default() });
    let read = || world.ask("GET", "/v1/campaigns", &[], "").status;
    assert_eq!([read(), read(), read()], [200; 3]);
    assert_eq!((world.counted("address", "shadow"), world.counted("address", "enforce")), (2, 0));
    assert_eq!([read(), read()], [200, 429], "the key's limit is in force");
}

#[test]
fn all_at_once_never_get_more_than_the_limit() {
    let world = World::limited_by_address("50/1h", &[]);
    let ask = || (0..20).filter(|_| world.ask("GET", "/v1/campaigns", &[], "").status == 200).count();
    let granted: usize = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(granted, 50);
}
