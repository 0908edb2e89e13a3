//! The tables of `conformance/coupon/` and `conformance/policy/`, over real HTTP: each case on a server of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use conformance::{AggregateReply, Ask, Backend, ClaimReply, Refusal, Reply, Request, run_folder};
use domain::claims::ClaimStatus;
use domain::coupon::{Command, Coupon, TargetBy};
use domain::fields::{Field, Value as FieldValue};
use domain::rate_limit::policies::{self, Limit};
use domain::rejections::Detail;
use domain::state::{Action, Precondition, Step};
use domain::types::{ActorId, Name, Serial, Timestamp};
use domain::workload::AnyCommand;
use domain::{Kind, Listed, Novelty};
use edge::auth::caller::Scope;
use edge::times;
use firstcome::http::settings::value_as_json;
use serde_json::{Value, json};
use tempfile::TempDir;

use http::{Client, Response};
use server::TestServer;

/// Cases that ask as another caller than `local`, which is the only one where there are no keys.
const NEEDS_CALLERS: &[&str] = &["a key belongs to its caller"];
/// The key that stands for `local` where there are keys.
const LOCAL_KEY: &str = "admin";

#[test]
fn http_answers_as_the_tables_say() {
    let tables = tables_without(NEEDS_CALLERS);
    let summary = run_folder(tables.path(), HttpBackend::new).unwrap();
    assert!(80 < summary.cases_count, "{summary:?}");
}

#[test]
fn http_answers_holders_of_keys_as_the_tables_say() {
    let tables = tables_without(&[]);
    let summary = run_folder(tables.path(), HttpBackend::with_keys).unwrap();
    assert!(81 < summary.cases_count, "{summary:?}");
}

#[test]
fn exactly_the_cases_that_need_another_caller_are_left_out() {
    let cases = cases();
    let asks_as = |case: &str| case.lines().skip(1).any(|line| line.split('#').next().unwrap_or_default().contains(" as "));
    let needing: Vec<&str> = cases.iter().filter(|(_, case)| asks_as(case)).map(|(_, case)| name_of(case)).collect();
    assert_eq!(needing, NEEDS_CALLERS);
}

/// Every case with the file that it is in.
fn cases() -> Vec<(String, String)> {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance");
    let entries = ["coupon", "policy"].map(|kind| fs::read_dir(tables.join(kind)).unwrap().map(move |entry| (kind, entry.unwrap())));
    let mut cases = Vec::new();
    for (kind, entry) in entries.into_iter().flatten() {
        let path = entry.path();
        let file = format!("{kind}-{}", path.file_name().unwrap().to_str().unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let starts = text.match_indices("\ncase ").map(|(start, _)| start + 1).chain([text.len()]).collect::<Vec<_>>();
        cases.extend(starts.windows(2).map(|range| (file.clone(), text[range[0]..range[1]].to_owned())));
    }
    cases
}

fn name_of(case: &str) -> &str {
    case.lines().next().unwrap().trim_start_matches("case ").trim()
}

fn tables_without(left_out: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, case) in cases() {
        let text = if left_out.contains(&name_of(&case)) { String::new() } else { case };
        let path = folder.path().join(file);
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, before + &text).unwrap();
    }
    folder
}

struct HttpBackend {
    server: TestServer,
    client: Client,
    /// What each actor sends, where there are keys.
    keys: HashMap<String, String>,
    _folder: TempDir,
}

impl HttpBackend {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start(folder.path(), 0);
        Self { client: server.client(), server, keys: HashMap::new(), _folder: folder }
    }

    fn with_keys() -> Self {
        let mut backend = Self::new();
        for name in [LOCAL_KEY, "shop", "kiosk"] {
            let key = backend.server.make_key(name, &[Scope::Admin], "");
            backend.keys.insert(name.to_owned(), key);
        }
        backend
    }

    /// What this actor sends to be let in.
    fn credential(&self, actor: ActorId<'_>) -> Option<(&'static str, String)> {
        let name = if actor == ActorId::LOCAL { LOCAL_KEY } else { actor.as_str() };
        if self.keys.is_empty() { None } else { Some(("authorization", format!("Bearer {}", self.keys[name]))) }
    }

    fn get(&mut self, target: &str) -> Response {
        let credential = self.credential(ActorId::LOCAL);
        let headers: Vec<(&str, &str)> = credential.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.client.send("GET", target, &headers, "")
    }

    fn act(&mut self, request: &Request<'_>, action: &Action<'_>) -> Reply {
        let (method, target, condition, body) = match action {
            Action::Put { name, settings, precondition } => {
                ("PUT", path_of(settings.kind(), name.as_str()), *precondition, body_of(settings.values()))
            }
            Action::Patch { name, patch, precondition } => {
                ("PATCH", path_of(patch.kind(), name.as_str()), *precondition, body_of(patch.changes()))
            }
            Action::Remove { kind, name, precondition } => ("DELETE", path_of(*kind, name.as_str()), *precondition, String::new()),
            Action::Do(step) => {
                let Some((method, target, body)) = self.asked(step) else { return Reply::Unexpected("nobody asks for it".into()) };
                (method, target, Precondition::Always, body)
            }
            Action::DoBoth(..) | Action::ForgetRequests | Action::SetTime { .. } => return Reply::Unexpected("nobody asks for it".into()),
        };
        let condition = condition_header(condition);
        let key = request.key.map(|key| ("idempotency-key", key.as_str()));
        let credential = self.credential(request.actor);
        let given = condition.iter().chain(&credential).map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<(&str, &str)> = given.chain(key).collect();
        let answer = self.client.send(method, &target, &headers, &body);
        let reply = match answer.status {
            202 => self.reply_to_queued(&answer),
            _ => reply_to(action, &answer),
        };
        self.server.app.backend.engine().unwrap().do_due();
        reply
    }

    /// Method, target and body of a workload's own command.
    fn asked(&self, step: &Step<'_>) -> Option<(&'static str, String, String)> {
        let path = path_of(step.command.kind(), step.name.as_str());
        if let Some(command) = Coupon::command(&step.command) {
            return match command {
                Command::Claim { subject } => Some(("POST", format!("{path}/claims"), json!({ "subject": subject.as_str() }).to_string())),
                Command::Redeem { by } => {
                    let (path, query) = self.target(step.name, by);
                    Some(("POST", format!("{path}/redeem{query}"), String::new()))
                }
                Command::Cancel { by } => {
                    let (path, query) = self.target(step.name, by);
                    Some(("DELETE", path + &query, String::new()))
                }
                Command::DecideNext { .. } => None,
            };
        }
        match Limit::command(&step.command)? {
            policies::Command::PutOverride { key, numbers } => {
                let body = json!({ "quota": numbers.quota, "window_ms": numbers.window_ns / 1_000_000, "burst": numbers.burst });
                Some(("PUT", format!("{path}/overrides/{}", key.as_str()), body.to_string()))
            }
            policies::Command::RemoveOverride { key } => Some(("DELETE", format!("{path}/overrides/{}", key.as_str()), String::new())),
        }
    }

    /// What a pending claim's answer says, or what the decision is, read at the place that was named.
    fn reply_to_queued(&mut self, answer: &Response) -> Reply {
        let (body, location) = (answer.json(), answer.header("location").unwrap().to_owned());
        let later = self.get(&location);
        match (body["status"].as_str().unwrap(), later.status) {
            ("pending", 202) => {
                assert_eq!(later.json(), body);
                Reply::Accepted { place: number(&body["place"]), is_again: answer.is_replayed() }
            }
            ("decided", 201) => Reply::Claimed { serial: serial(&later.json()), novelty: Novelty::Fresh },
            _ => Reply::Unexpected(format!("{answer:?}, then {later:?}")),
        }
    }

    fn target(&self, campaign: Name<'_>, by: &TargetBy<'_>) -> (String, String) {
        let path = path_of(Kind::Campaign, campaign.as_str());
        match by {
            TargetBy::Subject { subject } => (format!("{path}/claims/{subject}"), String::new()),
            TargetBy::SubjectSerial { subject, serial } => (format!("{path}/claims/{subject}"), format!("?serial={}", serial.get())),
            TargetBy::Code { serial } => {
                let code = self.server.app.codes.code(1, campaign.as_str(), *serial);
                (format!("{path}/codes/{code}"), String::new())
            }
        }
    }
}

impl Backend for HttpBackend {
    fn set_time(&mut self, at: Timestamp) {
        self.server.clock.set(at);
        self.server.app.backend.engine().unwrap().do_due();
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match &request.ask {
            Ask::Act(action) => self.act(request, action),
            Ask::Read(kind, name) => {
                let answer = self.get(&path_of(*kind, name.as_str()));
                reply_or_refusal(&answer, || aggregate_reply(*kind, &answer.json()))
            }
            Ask::ReadClaim(campaign, by) => {
                let (path, query) = self.target(*campaign, by);
                let answer = self.get(&(path + &query));
                reply_or_refusal(&answer, || claim_reply(&answer.json()))
            }
        }
    }

    /// The list of each campaign's claims, which comes from other tables, agrees with its counts.
    fn finish(&mut self) -> Result<(), String> {
        for campaign in self.get("/v1/campaigns").json()["campaigns"].as_array().unwrap() {
            let name = campaign["campaign"].as_str().unwrap();
            let claims = self.get(&format!("/v1/campaigns/{name}/claims")).json();
            let of = |status: &str| claims["claims"].as_array().unwrap().iter().filter(|claim| claim["status"] == status).count();
            let counted = (of("live") + of("redeemed"), of("redeemed"));
            if (json!(counted.0), json!(counted.1)) != (campaign["claimed"].clone(), campaign["redeemed"].clone()) {
                return Err(format!("{name} lists {counted:?} claims held and redeemed, but says {campaign}"));
            }
        }
        Ok(())
    }
}

// --- Asking ---------------------------------------------------------------------------------

fn path_of(kind: Kind, name: &str) -> String {
    format!("/v1/{}/{name}", kind.path())
}

fn condition_header(condition: Precondition) -> Option<(&'static str, String)> {
    match condition {
        Precondition::Always => None,
        Precondition::Exists => Some(("if-match", "*".to_owned())),
        Precondition::IsNew => Some(("if-none-match", "*".to_owned())),
        Precondition::Never => Some(("if-match", "\"unknown\"".to_owned())),
        Precondition::Version(version) => Some(("if-match", format!("\"{version}\""))),
    }
}

fn body_of(values: Vec<(&'static Field, FieldValue)>) -> String {
    let members = values.into_iter().filter(|(field, _)| !field.is_internal);
    Value::Object(members.map(|(field, value)| (field.name.to_owned(), value_as_json(value))).collect()).to_string()
}

// --- Reading answers ------------------------------------------------------------------------

fn reply_or_refusal(answer: &Response, yes: impl FnOnce() -> Reply) -> Reply {
    match answer.status {
        200 | 201 => yes(),
        _ => Reply::Refused(refusal(&answer.json())),
    }
}

fn reply_to(action: &Action<'_>, answer: &Response) -> Reply {
    let body = answer.json();
    let novelty = if answer.is_replayed() { Novelty::Replayed } else { Novelty::Fresh };
    let version = || {
        let version = body["version"].as_u64().unwrap();
        assert_eq!(answer.header("etag"), Some(format!("\"{version}\"").as_str()));
        version
    };
    reply_or_refusal(answer, || match action {
        Action::Put { .. } | Action::Patch { .. } => Reply::Written { created: answer.status == 201, version: version(), novelty },
        Action::Remove { .. } => Reply::Removed { version: version(), novelty },
        Action::Do(Step { command: AnyCommand::Campaign(command), .. }) => match (command, answer.status) {
            (Command::Claim { .. }, 201) => Reply::Claimed { serial: serial(&body), novelty },
            (Command::Claim { .. }, _) if answer.is_replayed() => Reply::Claimed { serial: serial(&body), novelty: Novelty::Repeated },
            (Command::Redeem { .. }, 200) if body["status"] == "redeemed" => Reply::Redeemed { serial: serial(&body), novelty },
            (Command::Cancel { .. }, 200) if body["status"] == "cancelled" => Reply::Cancelled { serial: serial(&body), novelty },
            _ => Reply::Unexpected(format!("{answer:?}")),
        },
        Action::Do(Step { command: AnyCommand::Policy(command), .. }) => match command {
            policies::Command::PutOverride { .. } => Reply::Overridden {
                quota: number(&body["quota"]),
                window_ms: body["window_ms"].as_u64().unwrap(),
                burst: body.get("burst").map(number),
                is_replayed: answer.is_replayed(),
            },
            policies::Command::RemoveOverride { .. } => Reply::OverrideRemoved { is_replayed: answer.is_replayed() },
        },
        // Of other workloads no table says anything yet.
        _ => Reply::Unexpected(format!("{answer:?}")),
    })
}

fn serial(body: &Value) -> Serial {
    Serial::new(number(&body["serial"])).unwrap()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| times::parse(text).unwrap())
}

fn aggregate_reply(kind: Kind, body: &Value) -> Reply {
    let mut settings = kind.least();
    for field in kind.settings().iter().filter(|field| !field.is_internal) {
        settings.set(field.name, value_of(field, &body[field.name])).unwrap();
    }
    let figures = kind.figures().iter().map(|field| (field.name, value_of(field, &body[field.name]))).collect();
    Reply::Aggregate(AggregateReply { settings, version: body["version"].as_u64().unwrap(), figures })
}

fn value_of(field: &Field, value: &Value) -> FieldValue {
    match value {
        Value::Null => FieldValue::Null,
        Value::Bool(flag) => FieldValue::Bool(*flag),
        Value::Number(number) => FieldValue::Number(number.as_u64().unwrap()),
        Value::String(text) => field.word(text).map_or_else(|| FieldValue::Time(times::parse(text).unwrap()), FieldValue::Word),
        Value::Array(_) | Value::Object(_) => panic!("{} is {value}", field.name),
    }
}

fn claim_reply(body: &Value) -> Reply {
    let status = match body["status"].as_str().unwrap() {
        "redeemed" => ClaimStatus::Redeemed { redeemed_at: time(&body["redeemed_at"]).unwrap() },
        "cancelled" => ClaimStatus::Cancelled { cancelled_at: time(&body["cancelled_at"]).unwrap() },
        _ => ClaimStatus::Live,
    };
    let subject = body["subject"].as_str().unwrap().to_owned();
    Reply::Claim(ClaimReply { serial: serial(body), subject, claimed_at: time(&body["claimed_at"]).unwrap(), status })
}

/// Codes whose rejection tells of a field; elsewhere `field` says where in the body to look.
const TELL_OF_FIELDS: &[&str] = &["invalid_field", "in_flight_out_of_range"];

fn refusal(body: &Value) -> Refusal {
    let code = body["code"].as_str().unwrap_or("no code");
    let standard = ["type", "title", "status", "detail", "code", "outcome", "request_id", "retry_after_ms"];
    let is_told = |name: &str| !standard.contains(&name) && (name != "field" || TELL_OF_FIELDS.contains(&code));
    let told = body.as_object().unwrap().iter().filter(|(name, _)| is_told(name));
    told.fold(Refusal::of(code), |refusal, (name, value)| match value {
        Value::Number(number) => refusal.with(name, &Detail::Number(number.as_u64().unwrap())),
        Value::Array(numbers) => refusal.with(name, &Detail::Numbers(numbers.iter().map(|number| number.as_u64().unwrap()).collect())),
        Value::String(text) => match times::parse(text) {
            Ok(time) => refusal.with(name, &Detail::Time(time)),
            Err(_) => {
                let mut refusal = refusal;
                refusal.details.push((name.clone(), text.clone()));
                refusal
            }
        },
        Value::Null | Value::Bool(_) | Value::Object(_) => panic!("{name} is {value}"),
    })
}
