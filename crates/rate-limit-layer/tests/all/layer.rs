//! The layer in front of a service: what is refused, and what everybody is told.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use http::{Request, Response, StatusCode};
use rate_limit_layer::clock::{Clock, ManualClock};
use rate_limit_layer::key::Asked;
use rate_limit_layer::{
    Algorithm, AtCap, BuildError, Builder, Decisions, Mode, PolicyError, RateLimitLayer, Refused, Settings, StoreOptions, Verdict, key,
};
use tower::{Layer, Service, ServiceExt, service_fn};

#[derive(Clone)]
struct Peer(SocketAddr);
#[derive(Clone)]
struct Subject(String);

/// Answers with how many of the limits would have refused.
async fn count(request: Request<()>) -> Result<Response<String>, Infallible> {
    let decisions = request.extensions().get::<Decisions>().unwrap();
    let refused = decisions.0.iter().filter(|(_, decision)| !decision.conforms()).count();
    Ok(Response::new(format!("{refused} would refuse")))
}

async fn ask(layer: &RateLimitLayer, request: Request<()>) -> Response<String> {
    let mut service = layer.layer(service_fn(count));
    service.ready().await.unwrap().call(request).await.unwrap()
}

fn plain() -> Request<()> {
    Request::new(())
}

fn with(field: (&'static str, &str)) -> Request<()> {
    Request::builder().header(field.0, field.1).body(()).unwrap()
}

fn field<'a>(response: &'a Response<String>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn one_a_second() -> Settings {
    Settings::per_second(Algorithm::LeakyBucket, 1)
}

fn built(builder: Builder) -> (RateLimitLayer, ManualClock) {
    let clock = ManualClock::default();
    (builder.clock(clock.clone()).build().unwrap(), clock)
}

#[tokio::test]
async fn a_client_is_told_where_it_stands_and_refused_until_the_promised_instant() {
    let (layer, clock) = built(RateLimitLayer::builder().limit("api", one_a_second().with_burst(4), key::fixed()));
    for remaining in (0..5).rev() {
        let response = ask(&layer, plain()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(field(&response, "ratelimit-policy"), "\"api\";q=5;w=5");
        assert_eq!(field(&response, "ratelimit"), format!("\"api\";r={remaining};t={}", 5 - remaining));
    }
    clock.advance_ms(200);
    let refused = ask(&layer, plain()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "retry-after"), "1");
    assert_eq!(field(&refused, "ratelimit"), "\"api\";r=0;t=5");
    assert_eq!(field(&refused, "content-type"), "application/problem+json");
    for part in ["\"code\":\"not_until\"", "\"retry_after_ms\":800", "\"policy\":\"api\"", "\"status\":429", "\"outcome\":\"rejected\""] {
        assert!(refused.body().contains(part), "{part}: {}", refused.body());
    }
    clock.advance_ms(799);
    assert_eq!(ask(&layer, plain()).await.status(), StatusCode::TOO_MANY_REQUESTS);
    clock.advance_ms(1);
    assert_eq!(ask(&layer, plain()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn of_several_limits_one_refuses_and_none_takes() {
    let builder = RateLimitLayer::builder()
        .limit("day", Settings::new(Algorithm::FixedWindow, 10, 86_400_000_000_000), key::fixed())
        .limit("second", one_a_second(), key::header("x-caller"));
    let (layer, _) = built(builder);
    assert_eq!(field(&ask(&layer, with(("x-caller", "ann"))).await, "ratelimit"), "\"day\";r=9;t=86400, \"second\";r=0;t=1");
    let refused = ask(&layer, with(("x-caller", "ann"))).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "ratelimit"), "\"day\";r=9;t=86400, \"second\";r=0;t=1");
    assert_eq!(field(&refused, "ratelimit-policy"), "\"day\";q=10;w=86400, \"second\";q=1;w=1");
    assert!(refused.body().contains("\"policy\":\"second\""));
    assert_eq!(field(&ask(&layer, with(("x-caller", "bob"))).await, "ratelimit"), "\"day\";r=8;t=86400, \"second\";r=0;t=1");
}

async fn statuses(layer: &RateLimitLayer, requests: impl IntoIterator<Item = Request<()>>) -> Vec<u16> {
    let mut all = Vec::new();
    for request in requests {
        all.push(ask(layer, request).await.status().as_u16());
    }
    all
}

fn from(peer: &str, forwarded: Option<&str>) -> Request<()> {
    let mut request = forwarded.map_or_else(plain, |forwarded| with(("x-forwarded-for", forwarded)));
    request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    request
}

#[tokio::test]
async fn a_forged_forwarded_for_from_an_untrusted_address_changes_nothing() {
    let address = key::client_address(|extensions| extensions.get::<Peer>().map(|peer| peer.0)).trust(["10.0.0.0/8".parse().unwrap()]);
    let (layer, _) = built(RateLimitLayer::builder().limit("client", one_a_second(), address));
    let forged = (0..5).map(|number| from("203.0.113.7:1", Some(&format!("198.51.100.{number}"))));
    assert_eq!(statuses(&layer, forged).await, [200, 429, 429, 429, 429]);
    // Nor has the forger used up what is another's.
    assert_eq!(statuses(&layer, [from("10.0.0.1:1", Some("198.51.100.0"))]).await, [200]);
    // Behind the trusted proxy, a client that writes a field of its own stays one client.
    let behind = (0..3).map(|number| from("10.0.0.1:1", Some(&format!("192.0.2.{number}, 203.0.113.9"))));
    assert_eq!(statuses(&layer, behind).await, [200, 429, 429]);
    // Another port, or another address of the same IPv6 network, is the same client.
    let network = [from("[2001:db8::1]:1", None), from("[2001:db8::2]:2", None), from("[2001:db8:0:1::1]:1", None)];
    assert_eq!(statuses(&layer, network).await, [200, 429, 200]);
}

#[tokio::test]
async fn each_kind_of_key_tells_callers_apart_and_those_without_share_one() {
    let subject = |name: &str| {
        let mut request = plain();
        request.extensions_mut().insert(Subject(name.to_owned()));
        request
    };
    let (by_subject, _) =
        built(RateLimitLayer::builder().limit("subject", one_a_second(), key::extension(|subject: &Subject| subject.0.as_bytes())));
    assert_eq!(
        statuses(&by_subject, [subject("ann"), subject("bob"), subject("ann"), plain(), plain(), subject("")]).await,
        [200, 200, 429, 200, 429, 200]
    );
    let (by_key, _) = built(RateLimitLayer::builder().limit("key", one_a_second(), key::api_key()));
    let bearer = |value: &str| with(("authorization", value));
    assert_eq!(
        statuses(&by_key, [bearer("Bearer one"), bearer("bearer  one"), bearer("Bearer two"), plain(), plain()]).await,
        [200, 429, 200, 200, 429]
    );
    let (by_header, _) = built(RateLimitLayer::builder().limit("header", one_a_second(), key::header("x-caller")));
    assert_eq!(
        statuses(&by_header, [with(("x-caller", "a")), with(("x-caller", "b")), with(("x-caller", "a")), plain()]).await,
        [200, 200, 429, 200]
    );
}

#[tokio::test]
async fn a_limit_that_does_not_count_a_request_neither_refuses_nor_mentions_it() {
    let counts = |asked: &key::Asked<'_>| asked.headers.contains_key("x-caller");
    let builder = RateLimitLayer::builder().limit("all", one_a_second().with_burst(9), key::fixed()).limit_where(
        "caller",
        one_a_second(),
        key::header("x-caller"),
        counts,
    );
    let (layer, _) = built(builder);
    let counted = ask(&layer, with(("x-caller", "ann"))).await;
    assert_eq!(field(&counted, "ratelimit-policy"), "\"all\";q=10;w=10, \"caller\";q=1;w=1");
    let uncounted = ask(&layer, plain()).await;
    assert_eq!(field(&uncounted, "ratelimit-policy"), "\"all\";q=10;w=10");
    assert_eq!(field(&uncounted, "ratelimit"), "\"all\";r=8;t=2");
    let requests = [plain(), with(("x-caller", "ann")), plain(), with(("x-caller", "bob"))];
    assert_eq!(statuses(&layer, requests).await, [200, 429, 200, 200]);
}

#[test]
fn what_was_taken_for_nothing_is_given_back_and_nothing_else() {
    let builder = RateLimitLayer::builder().limit("api", one_a_second().with_burst(1), key::fixed()).limit(
        "watched",
        one_a_second().with_mode(Mode::Shadow),
        key::fixed(),
    );
    let (layer, clock) = built(builder);
    let request = plain();
    let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers(), extensions: request.extensions() };
    let remaining = |name: &str| {
        let store = layer.store(name).unwrap();
        store.check(store.key(b""), clock.now(), 0).unwrap().remaining
    };
    let first = layer.check(&asked).unwrap();
    let second = layer.check(&asked).unwrap();
    assert_eq!((remaining("api"), remaining("watched")), (0, 0));
    // The watched limit would have refused the second one, so that it has nothing to give back.
    let after = layer.give_back(&asked, &second);
    assert_eq!(after.0.iter().map(|(_, decision)| decision.remaining).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((remaining("api"), remaining("watched")), (1, 0));
    let after = layer.give_back(&asked, &first);
    assert_eq!(after.0.iter().map(|(_, decision)| decision.remaining).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((remaining("api"), remaining("watched")), (2, 1));
    assert!(layer.check(&asked).is_ok() && layer.check(&asked).is_ok());
    assert!(matches!(layer.check(&asked), Err(Refused::Limited { name, .. }) if &*name == "api"));
}

#[tokio::test]
async fn a_policy_in_shadow_refuses_nobody_and_says_what_it_would_have_done() {
    let (layer, _) = built(RateLimitLayer::builder().limit("watched", one_a_second().with_mode(Mode::Shadow), key::fixed()));
    assert_eq!(ask(&layer, plain()).await.body(), "0 would refuse");
    let second = ask(&layer, plain()).await;
    assert_eq!((second.status(), second.body().as_str()), (StatusCode::OK, "1 would refuse"));
}

#[tokio::test]
async fn a_request_that_costs_more_than_the_burst_is_not_told_to_wait() {
    let cost = |asked: &key::Asked<'_>| if asked.uri.path() == "/report" { 9 } else { 1 };
    let (layer, _) = built(RateLimitLayer::builder().limit("api", one_a_second().with_burst(4), key::fixed()).cost(cost));
    let report = Request::builder().uri("/report").body(()).unwrap();
    let refused = ask(&layer, report).await;
    assert_eq!((refused.status(), field(&refused, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, ""));
    assert!(refused.body().contains("\"code\":\"exceeds_burst\""), "{}", refused.body());
}

#[tokio::test]
async fn where_no_more_callers_fit_a_new_one_is_told_so() {
    let options = StoreOptions { keys_max: NonZeroUsize::MIN, at_cap: AtCap::Refuse };
    let (layer, _) = built(RateLimitLayer::builder().options(options).limit("caller", one_a_second(), key::header("x-caller")));
    let callers: Vec<Request<()>> = (0..2_000).map(|number| with(("x-caller", &number.to_string()))).collect();
    let statuses = statuses(&layer, callers).await;
    assert!(statuses.contains(&503) && statuses.contains(&200), "each shard has room for one");
    let store = layer.store("caller").unwrap();
    assert!(store.keys_count() <= 256 && layer.store("other").is_none());
}

#[test]
fn a_layer_that_makes_no_sense_is_not_built() {
    let why = |builder: Builder| builder.build().err();
    let limit = |name: &str, settings| RateLimitLayer::builder().limit(name, settings, key::fixed());
    assert_eq!(why(RateLimitLayer::builder()), Some(BuildError::Empty));
    assert_eq!(why(limit("a\"b", one_a_second())), Some(BuildError::Name("a\"b".into())));
    assert_eq!(why(limit("a", one_a_second()).limit("a", one_a_second(), key::fixed())), Some(BuildError::Twice("a".into())));
    let none = Settings::per_second(Algorithm::LeakyBucket, 0);
    assert_eq!(why(limit("a", none)), Some(BuildError::Policy("a".into(), PolicyError::QuotaOutOfRange)));
}

#[test]
fn the_verdicts_are_those_of_the_rules() {
    assert_eq!(Verdict::ExceedsBurst { max: 1 }.code(), Some("exceeds_burst"));
}
