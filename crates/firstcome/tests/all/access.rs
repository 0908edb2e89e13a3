//! The walk over all calls of the program's tables: each with every kind of key and token that must not
//! open it, and with those that must. A call that is added to a table is walked without further ado. No
//! call may refuse with what its table does not name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;
use crate::support::tokens;

use domain::Kind;
use domain::types::Serial;
use std::cell::Cell;
use std::path::Path;

use edge::auth::Access;
use edge::auth::caller::Scope;
use firstcome::cli::ServeArgs;
use firstcome::http::calls::CALLS;
use serde_json::{Value, json};
use tempfile::TempDir;

use http::{Client, Response};
use server::TestServer;
use tokens::Signer;

/// Seconds after 1970 at which everything happens.
const NOW: u64 = 1_000_000;
/// What is open to everybody: a new call that is open too must be named here.
const OPEN: [&str; 7] =
    ["GET /", "GET /assets/{asset}", "GET /c/{campaign}", "GET /docs", "GET /healthz", "GET /openapi.json", "GET /readyz"];

/// A call of the tables.
struct Call {
    method: String,
    path: String,
    body: String,
    media_type: String,
    /// The scopes by scheme: `key` and `user`.
    key_scope: Option<Scope>,
    user_scope: Option<Scope>,
    refusals: Vec<&'static str>,
}

impl Call {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A server with keys and token keys, and one identity provider.
struct World {
    server: TestServer,
    admin: String,
    signers: [Signer; 4],
    calls: Vec<Call>,
    made: Cell<u32>,
    _folder: TempDir,
}

/// What the path's parameters stand for in one try: things that nobody has used yet.
struct Fresh {
    subject: String,
    code: String,
    key: String,
    policy: String,
    reservation: String,
    lease: String,
    answer: String,
}

/// The key of a rate limit that has numbers of its own.
const LIMIT_KEY: &str = "ann";

impl World {
    fn new(user_scopes: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signers = Signer::one_of_each();
        let server = TestServer::start_with(&folder.path().join("data"), NOW, settings(folder.path(), &signers, user_scopes));
        let admin = server.make_key("admin", &[Scope::Admin], "");
        let mut world = Self { server, admin, signers, calls: Vec::new(), made: Cell::new(0), _folder: folder };
        let body = r#"{"stock":1000000}"#;
        assert_eq!(world.send("PUT", "/v1/campaigns/spring", &world.admin, body).status, 201);
        assert_eq!(world.send("PUT", "/v1/policies/api", &world.admin, &policy("leaky_bucket")).status, 201);
        assert_eq!(world.send("PUT", "/v1/policies/flight", &world.admin, &in_flight()).status, 201);
        world.calls = calls(&world.server.client().get("/openapi.json").json());
        world
    }

    fn send(&self, method: &str, target: &str, credential: &str, body: &str) -> Response {
        let value = format!("Bearer {credential}");
        self.server.client().send(method, target, &[("authorization", &value)], body)
    }

    fn fresh(&self) -> Fresh {
        self.made.set(self.made.get() + 1);
        let (subject, key) = (format!("u{}", self.made.get()), format!("k{}", self.made.get()));
        let claim = self.send("POST", "/v1/campaigns/spring/claims", &self.admin, &format!(r#"{{"subject":"{subject}"}}"#));
        self.server.make_key(&key, &[Scope::Read], "");
        let policy_name = format!("p{}", self.made.get());
        let target = format!("/v1/policies/{policy_name}");
        assert_eq!(self.send("PUT", &target, &self.admin, &policy("leaky_bucket")).status, 201);
        let numbers = r#"{"quota":5,"window_ms":1000}"#;
        assert_eq!(self.send("PUT", &format!("{target}/overrides/{LIMIT_KEY}"), &self.admin, numbers).status, 200);
        let reserve = r#"{"key":"ann","cost":1,"timeout_ms":60000}"#;
        let reserved = self.send("POST", &format!("{target}/reservations"), &self.admin, reserve);
        let leased = self.send("POST", "/v1/policies/flight/checks", &self.admin, r#"{"key":"ann"}"#);
        // One of each example, made as the document shows it.
        for kind in Kind::ALL.iter().filter(|kind| kind.is_example()) {
            let (path, own) = (format!("/v1/{}/{{{}}}", kind.path(), kind.word()), format!("/v1/{}/{policy_name}", kind.path()));
            let put = self.calls.iter().find(|call| call.method == "PUT" && call.path == path).unwrap();
            assert_eq!(self.send("PUT", &own, &self.admin, &put.body).status, 201);
        }
        let text = |answer: Response, field: &str| answer.json()[field].as_str().unwrap().to_owned();
        let serial = Serial::new(u32::try_from(claim.json()["serial"].as_u64().unwrap()).unwrap()).unwrap();
        Fresh {
            subject,
            answer: self.server.app.codes.answer(1, "spring", serial),
            code: text(claim, "code"),
            key,
            policy: policy_name,
            reservation: text(reserved, "reservation"),
            lease: text(leased, "lease"),
        }
    }

    /// Asks a call with these headers, about what is fresh.
    fn ask(&self, call: &Call, fresh: &Fresh, headers: &[(&str, &str)]) -> Response {
        let target = call.path.replace("{campaign}", "spring").replace("{subject}", &fresh.subject);
        let target = target.replace("{code}", &fresh.code).replace("{key}", &fresh.key).replace("{policy}", &fresh.policy);
        let target = target.replace("{limit_key}", LIMIT_KEY).replace("{reservation}", &fresh.reservation).replace("{lease}", &fresh.lease);
        let target = target.replace("{answer}", &fresh.answer);
        let target = Kind::ALL.iter().fold(target, |target, kind| target.replace(&format!("{{{}}}", kind.word()), &fresh.policy));
        let target = target.replace("{asset}", &firstcome::http::web::assets()[0]);
        // A stream without an end would keep the walk from going on.
        let target = if target.ends_with("/live") { format!("{target}?events=1") } else { target };
        assert!(!target.contains('{'), "{}: the walk does not know a parameter", call.name());
        let media_type = ("content-type", call.media_type.as_str());
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain((!call.body.is_empty()).then_some(media_type)).collect();
        let body = call.body.replace("$SUBJECT", &fresh.subject).replace("$KEY", &format!("new-{}", fresh.key));
        let mut client = Client::new(self.server.address);
        let answer = client.send(&call.method, &target, &headers, &body);
        let refusal = answer.header("content-type") == Some("application/problem+json");
        let is_named = !refusal || call.refusals.contains(&answer.code().as_str());
        assert!(is_named, "{} refuses with {}, which its table does not name", call.name(), answer.code());
        // Whoever was refused can go on: the body is not in the way.
        assert_eq!(client.get("/healthz").status, 200);
        answer
    }

    fn ask_with(&self, call: &Call, fresh: &Fresh, credential: &str) -> Response {
        self.ask(call, fresh, &[("authorization", &format!("Bearer {credential}"))])
    }

    /// What a refused request must not change.
    fn fixed_point(&self) -> (u64, [u8; 32], u64) {
        let (lsn, digest) = self.server.fixed_point();
        (lsn, digest, self.server.app.edge.auth.ring().revision())
    }

    /// A call that must be refused like this, and changes nothing.
    fn refused(&self, call: &Call, fresh: &Fresh, credential: &str, status: u16, code: &str) {
        let before = self.fixed_point();
        let answer = self.ask_with(call, fresh, credential);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{} with {credential}: {answer:?}", call.name());
        assert_eq!(self.fixed_point(), before, "{} with {credential}", call.name());
    }

    fn granted(&self, call: &Call, fresh: &Fresh, credential: &str) {
        let answer = self.ask_with(call, fresh, credential);
        if call.name() == "POST /v1/demonstration" {
            // Let in, and then told that this is no place for it: there are keys.
            assert_eq!((answer.status, answer.code().as_str()), (403, "demonstration_forbidden"));
            return;
        }
        assert!((200..308).contains(&answer.status), "{} with {credential}: {answer:?}", call.name());
    }

    fn guarded(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.key_scope.is_some())
    }

    fn token(&self, subject: &str) -> String {
        self.signers[2].token(&tokens::claims(subject, NOW + 60))
    }
}

fn settings(folder: &Path, signers: &[Signer], user_scopes: &str) -> ServeArgs {
    let jwks = folder.join("jwks.json");
    std::fs::write(&jwks, json!({ "keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>() }).to_string()).unwrap();
    ServeArgs {
        jwt_jwks: Some(jwks),
        jwt_issuer: Some(tokens::ISSUER.to_owned()),
        jwt_audience: Some(tokens::AUDIENCE.to_owned()),
        jwt_scopes: Some(user_scopes.split(',').map(str::to_owned).collect()),
        ..ServeArgs::default()
    }
}

fn policy(algorithm: &str) -> String {
    json!({ "algorithm": algorithm, "quota": 1_000, "window_ms": 1_000, "burst": 1_000 }).to_string()
}

fn in_flight() -> String {
    json!({ "algorithm": "in_flight", "quota": 10_000, "timeout_ms": 86_400_000 }).to_string()
}

/// Every call, with the example of the document as its body.
fn calls(document: &Value) -> Vec<Call> {
    let found = CALLS.iter().map(|call| {
        let written = &document["paths"][&*call.path][call.method.as_str().to_lowercase()];
        let content = written["requestBody"]["content"].as_object().cloned().unwrap_or_default();
        let (media_type, body) = content.into_iter().next().unwrap_or_default();
        let (key_scope, user_scope) = match call.access {
            Access::Anyone => (None, None),
            Access::Scope(scope) => (Some(scope), Some(scope)),
            Access::KeyScope(scope) | Access::WholeScope(scope) => (Some(scope), None),
        };
        let scope = |scheme: &str| {
            let schemes = written["security"].as_array().unwrap_or_else(|| panic!("the document does not say who may {call:?}"));
            schemes.iter().find_map(|entry| entry[scheme][0].as_str()).map(|scope| scope.parse().unwrap())
        };
        assert_eq!((scope("key"), scope("user")), (key_scope, user_scope), "{call:?}");
        let body = example_body(&written["operationId"], &body["example"]);
        let (method, path, refusals) = (call.method.to_string(), call.path.to_string(), call.refusals());
        Call { method, path, body, media_type, key_scope, user_scope, refusals }
    });
    found.collect()
}

/// The example of the document, about what is fresh where it names somebody.
fn example_body(operation: &Value, example: &Value) -> String {
    let mut example = example.clone();
    if example.get("subject").is_some() {
        example["subject"] = json!("$SUBJECT");
    }
    if operation == "createKey" {
        example["key"] = json!("$KEY");
    }
    if operation == "putCampaign" || operation == "patchCampaign" {
        example = json!({ "stock": 1_000_000 });
    }
    if example.is_null() { String::new() } else { example.to_string() }
}

#[test]
fn what_is_open_is_known_and_open_to_everybody() {
    let world = World::new("issue,read");
    let open: Vec<&Call> = world.calls.iter().filter(|call| call.key_scope.is_none()).collect();
    let mut names: Vec<String> = open.iter().map(|call| call.name()).collect();
    names.sort();
    assert_eq!(names, OPEN);
    let fresh = world.fresh();
    for call in open {
        assert!(world.ask(call, &fresh, &[]).status < 400, "{}", call.name());
        world.granted(call, &fresh, "nonsense");
    }
}

#[test]
fn nothing_else_opens_without_a_key_or_with_a_wrong_one() {
    let world = World::new("issue,read,redeem");
    let fresh = world.fresh();
    let revoked = world.server.make_key("revoked", &[Scope::Admin], "");
    world.server.revoke_key("revoked");
    let mut wrong_secret = world.admin.clone();
    wrong_secret.replace_range(wrong_secret.len() - 1.., if wrong_secret.ends_with('0') { "1" } else { "0" });
    let unknown = world.admin.replace("firstcome_admin_", "firstcome_nobody_");
    assert!(20 < world.calls.len());
    for call in world.guarded() {
        let before = world.fixed_point();
        let answer = world.ask(call, &fresh, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (401, "credential_required"), "{}", call.name());
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"firstcome\""));
        for credential in [wrong_secret.as_str(), &unknown, &revoked, "firstcome_admin_", "nonsense", ""] {
            world.refused(call, &fresh, credential, 401, "credential_invalid");
        }
        for other in [format!("Basic {}", world.admin), world.admin.clone(), "Bearer".to_owned()] {
            let refused = world.ask(call, &fresh, &[("authorization", &other)]);
            assert_eq!((refused.status, refused.code().as_str()), (401, "credential_invalid"), "{}", call.name());
            assert!(refused.text().contains("the word Bearer"), "{}", refused.text());
        }
        let in_query = Call { path: format!("{}?access_token={}", call.path, world.admin), ..copy(call) };
        assert_eq!(world.ask(&in_query, &fresh, &[]).status, 401, "{}", call.name());
        assert_eq!(world.fixed_point(), before);
    }
}

fn copy(call: &Call) -> Call {
    let (method, path, body, media_type) = (call.method.clone(), call.path.clone(), call.body.clone(), call.media_type.clone());
    Call { method, path, body, media_type, refusals: call.refusals.clone(), ..*call }
}

#[test]
fn each_scope_opens_its_calls_and_no_others() {
    let world = World::new("issue,read");
    let keys = Scope::ALL.map(|scope| (scope, world.server.make_key(&format!("only-{}", scope.word()), &[scope], "")));
    for call in world.guarded() {
        for (scope, key) in &keys {
            let fresh = world.fresh();
            if *scope == Scope::Admin || Some(*scope) == call.key_scope {
                world.granted(call, &fresh, key);
            } else {
                world.refused(call, &fresh, key, 403, "scope_missing");
            }
        }
    }
}

const IS_OF_NO_CAMPAIGN: [&str; 6] = ["/v1/policies", "/v1/checks", "/v1/reservations", "/v1/leases", "/v1/server", "/metrics"];

#[test]
fn a_key_for_other_campaigns_opens_none_of_these() {
    let world = World::new("issue,read");
    let scopes = [Scope::Issue, Scope::Redeem, Scope::Read];
    let (other, these) = (world.server.make_key("other", &scopes, "autumn-"), world.server.make_key("these", &scopes, "spr"));
    for call in world.guarded().filter(|call| call.key_scope != Some(Scope::Admin) && call.path.contains("{campaign}")) {
        let fresh = world.fresh();
        world.refused(call, &fresh, &other, 403, "campaign_forbidden");
        world.granted(call, &fresh, &these);
    }
    // Rate limits belong to no campaign: what one service has used is not another's to see or to change.
    for call in world
        .guarded()
        .filter(|call| call.key_scope != Some(Scope::Admin) && IS_OF_NO_CAMPAIGN.iter().any(|part| call.path.starts_with(part)))
    {
        world.refused(call, &world.fresh(), &these, 403, "campaign_forbidden");
    }
    // What is about all campaigns shows those of the key only.
    let fresh = world.fresh();
    assert_eq!(world.send("PUT", "/v1/campaigns/autumn-sale", &world.admin, r#"{"stock":5}"#).status, 201);
    world.send("POST", "/v1/campaigns/autumn-sale/claims", &world.admin, &json!({ "subject": fresh.subject }).to_string());
    let campaigns = |key: &str, target: &str, list: &str| {
        let answer = world.send("GET", target, key, "").json();
        let entries = answer[list].as_array().unwrap().iter();
        entries.map(|entry| entry["campaign"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let subject = format!("/v1/subjects/{}/claims", fresh.subject);
    for (key, seen) in [(&other, vec!["autumn-sale"]), (&these, vec!["spring"]), (&world.admin, vec!["autumn-sale", "spring"])] {
        assert_eq!(campaigns(key, "/v1/campaigns", "campaigns"), seen);
        let mut claimed = campaigns(key, &subject, "claims");
        claimed.sort();
        assert_eq!(claimed, seen);
    }
    assert_eq!(campaigns(&these, "/v1/campaigns?after=a", "campaigns"), ["spring"]);
    assert!(campaigns(&these, "/v1/campaigns?after=spring", "campaigns").is_empty());
}

#[test]
fn no_wrong_token_opens_anything() {
    let world = World::new("issue,read,redeem");
    let fresh = world.fresh();
    let [hs256, rs256, es256, ed_dsa] = &world.signers;
    let good = tokens::claims(&fresh.subject, NOW + 60);
    let with = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        claims
    };
    let header = |member: &str, value: &str| {
        let mut header = es256.header();
        header[member] = json!(value);
        header
    };
    let (head, rest) = es256.token(&good).split_once('.').map(|(head, rest)| (head.to_owned(), rest.to_owned())).unwrap();
    let unsigned = |algorithm: &str| {
        let token = es256.token_with(&header("alg", algorithm), &good);
        token[..=token.rfind('.').unwrap()].to_owned()
    };
    // The public key of RS256 as the secret of HS256: the classic.
    let public = rs256.jwk()["n"].as_str().unwrap().to_owned();
    let confused = Signer::hs256(public.as_bytes()).named("RS256");
    let wrong = [
        es256.token_with(&header("kid", "EdDSA"), &good),
        es256.token_with(&header("kid", "unknown"), &good),
        es256.token_with(&header("alg", "HS256"), &good),
        hs256.token_with(&json!({ "alg": "HS256", "kid": "ES256" }), &good),
        Signer::es256().named("ES256").token(&good),
        Signer::hs256(b"another secret, which nobody was told of").named("HS256").token(&good),
        confused.token(&good),
        unsigned("none"),
        unsigned("None"),
        unsigned("ES256"),
        format!("{head}.{}", rest.replacen(|letter: char| letter.is_ascii_alphabetic(), "_", 1)),
        ed_dsa.token(&with("nbf", json!(NOW + 11))),
        rs256.token(&with("aud", json!("somebody else"))),
        rs256.token(&with("aud", json!(["a", "b"]))),
        es256.token(&with("iss", json!("https://evil.example"))),
        hs256.token(&with("exp", Value::Null)),
        hs256.token(&with("sub", json!("a b"))),
    ];
    let expired = world.signers.each_ref().map(|signer| signer.token(&tokens::claims(&fresh.subject, NOW - 10)));
    for call in world.guarded() {
        wrong.iter().for_each(|token| world.refused(call, &fresh, token, 401, "credential_invalid"));
        expired.iter().for_each(|token| world.refused(call, &fresh, token, 401, "token_expired"));
    }
}

#[test]
fn a_token_acts_for_its_own_subject_with_the_scopes_of_end_users() {
    let world = World::new("issue,read,redeem");
    let readers = World::new("read");
    for call in world.guarded() {
        for signer in &world.signers {
            let fresh = world.fresh();
            let (own, other) = (tokens::claims(&fresh.subject, NOW + 60), tokens::claims("somebody-else", NOW + 60));
            let (own, other) = (signer.token(&own), signer.token(&other));
            if call.user_scope.is_none() {
                world.refused(call, &fresh, &own, 403, "key_required");
                continue;
            }
            let names_subject = call.path.contains("{subject}") || call.body.contains("$SUBJECT");
            if names_subject {
                world.refused(call, &fresh, &other, 403, "subject_forbidden");
            } else if call.path.contains("{code}") {
                world.refused(call, &fresh, &other, 404, "code_not_found");
            }
            world.granted(call, &fresh, &own);
        }
    }
    for call in readers.guarded().filter(|call| call.user_scope.is_some()) {
        let fresh = readers.fresh();
        let own = readers.token(&fresh.subject);
        if call.user_scope == Some(Scope::Read) {
            readers.granted(call, &fresh, &own);
        } else {
            readers.refused(call, &fresh, &own, 403, "scope_missing");
        }
    }
}

#[test]
fn the_record_names_the_key_and_never_the_end_user() {
    let world = World::new("issue,read");
    let (one, two) = (world.token("ann"), world.token("bob"));
    let claim = |token: &str, subject: &str, key: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        world.server.client().send("POST", "/v1/campaigns/spring/claims", &headers, &json!({ "subject": subject }).to_string())
    };
    // Two end users may choose the same request key: each has its own.
    assert_eq!((claim(&one, "ann", "1").status, claim(&two, "bob", "1").status), (201, 201));
    let again = claim(&one, "ann", "1");
    assert_eq!((again.status, again.is_replayed(), again.json()["subject"].as_str()), (201, true, Some("ann")));
    let (records, folder) = (world.server.app.status().position, world._folder.path().join("data"));
    let mut text = Vec::new();
    let options = firstcome::inspect::Options {
        records: Some(firstcome::inspect::RecordRange { from: journal::Lsn(1), limit: Some(records) }),
        form: firstcome::inspect::Form::JsonLines,
    };
    firstcome::inspect::run(&folder, &options, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches(r#""actor":"users""#).count(), 2, "{text}");
    // The campaign and two policies.
    assert_eq!(text.matches(r#""actor":"admin""#).count(), 3, "{text}");
}

#[test]
fn a_page_of_a_listed_origin_may_ask_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let args = ServeArgs { cors_origin: Some(vec!["https://shop.example".to_owned()]), ..ServeArgs::default() };
    let server = TestServer::start_with(folder.path(), NOW, args);
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        server.client().try_send("OPTIONS", "/v1/campaigns/spring/claims", &headers, "").unwrap()
    };
    let listed = preflight("https://shop.example");
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, Some("https://shop.example")));
    let allowed = |name: &str| listed.header(name).unwrap_or_default().to_lowercase();
    assert!(allowed("access-control-allow-methods").contains("post") && allowed("access-control-allow-headers").contains("authorization"));
    assert_eq!(listed.header("access-control-allow-credentials"), None);
    for origin in ["https://other.example", "https://shop.example.evil.example", "http://shop.example", "null"] {
        assert_eq!(preflight(origin).header("access-control-allow-origin"), None, "{origin}");
    }
    let read = server.client().send("GET", "/v1/campaigns", &[("origin", "https://shop.example")], "");
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, Some("https://shop.example")));
    assert!(read.header("vary").unwrap_or_default().contains("origin"));
    // Without any listed there is nothing to ask.
    let plain_folder = tempfile::tempdir().unwrap();
    let plain = TestServer::start(plain_folder.path(), NOW);
    let answer = plain.client().try_send("OPTIONS", "/v1/campaigns", &[("origin", "https://shop.example")], "").unwrap();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
}
