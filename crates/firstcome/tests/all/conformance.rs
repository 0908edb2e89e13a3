//! The tables of `conformance/coupon/`, over real HTTP: each case on a server of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use conformance::{Ask, Backend, CampaignReply, ClaimReply, Refusal, Reply, Request, run_folder};
use domain::Novelty;
use domain::claims::ClaimStatus;
use domain::coupon::queue::{Mode, QueueSettings};
use domain::coupon::{CampaignState, Command, Patch, Precondition, Put, Settings, Target, TargetBy};
use domain::types::{ActorId, Quantity, Serial, Timestamp};
use edge::auth::caller::Scope;
use edge::times;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use http::{Answer, Client};
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/coupon");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
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

    fn get(&mut self, target: &str) -> Answer {
        let credential = self.credential(ActorId::LOCAL);
        let headers: Vec<(&str, &str)> = credential.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.client.send("GET", target, &headers, "")
    }

    fn command(&mut self, request: &Request<'_>, command: &Command<'_>) -> Reply {
        let (method, target, condition, body) = match command {
            Command::Put(put) => ("PUT", campaign_path(put.campaign.as_str()), put.precondition, put_body(put)),
            Command::Patch(patch) => ("PATCH", campaign_path(patch.campaign.as_str()), patch.precondition, patch_body(patch)),
            Command::Claim(claim) => {
                let body = json!({ "subject": claim.subject.as_str() }).to_string();
                ("POST", format!("{}/claims", campaign_path(claim.campaign.as_str())), Precondition::Always, body)
            }
            Command::Redeem(target) => {
                let (path, query) = self.target(target);
                ("POST", format!("{path}/redeem{query}"), Precondition::Always, String::new())
            }
            Command::Cancel(target) => {
                let (path, query) = self.target(target);
                ("DELETE", path + &query, Precondition::Always, String::new())
            }
            Command::DecideNext(_) => return Reply::Unexpected("nobody asks for it".into()),
        };
        let condition = condition_header(condition);
        let key = request.key.map(|key| ("idempotency-key", key.as_str()));
        let credential = self.credential(request.actor);
        let given = condition.iter().chain(&credential).map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<(&str, &str)> = given.chain(key).collect();
        let answer = self.client.send(method, &target, &headers, &body);
        let reply = match (command, answer.status) {
            (Command::Claim(_), 202) => self.reply_to_queued(&answer),
            _ => reply_to_command(command, &answer),
        };
        self.server.app.backend.engine().unwrap().do_due();
        reply
    }

    /// What a pending claim's answer says, or what the decision is, read at the place that was named.
    fn reply_to_queued(&mut self, answer: &Answer) -> Reply {
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

    fn target(&self, target: &Target<'_>) -> (String, String) {
        let campaign = campaign_path(target.campaign.as_str());
        match target.by {
            TargetBy::Subject(subject) => (format!("{campaign}/claims/{subject}"), String::new()),
            TargetBy::SubjectSerial(subject, serial) => (format!("{campaign}/claims/{subject}"), format!("?serial={}", serial.get())),
            TargetBy::Code(serial) => {
                let code = self.server.app.codes.code(1, target.campaign.as_str(), serial);
                (format!("{campaign}/codes/{code}"), String::new())
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
            Ask::Command(command) => self.command(request, command),
            Ask::ReadCampaign(name) => {
                let answer = self.get(&campaign_path(name.as_str()));
                reply_or_refusal(&answer, || campaign_reply(&answer.json()))
            }
            Ask::ReadClaim(target) => {
                let (path, query) = self.target(target);
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

fn campaign_path(name: &str) -> String {
    format!("/v1/campaigns/{name}")
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

fn put_body(put: &Put<'_>) -> String {
    let Settings { stock, per_subject_max, opens_at, closes_at, redeem_until, paused, queue } = put.settings;
    let time = |time: Option<Timestamp>| json!(time.map(times::format));
    let body = json!({
        "stock": stock.get(), "per_subject_max": per_subject_max, "paused": paused,
        "opens_at": time(opens_at), "closes_at": time(closes_at), "redeem_until": time(redeem_until),
        "mode": queue.mode.word(), "decisions_per_second_max": queue.decisions_per_second_max, "queue_max": queue.queue_max,
    });
    body.to_string()
}

fn patch_body(patch: &Patch<'_>) -> String {
    let mut body = Map::new();
    let mut set = |field: &str, value: Option<Value>| value.map(|value| body.insert(field.to_owned(), value));
    let time = |time: Option<Option<Timestamp>>| time.map(|time| json!(time.map(times::format)));
    set("stock", patch.stock.map(|stock| json!(stock.get())));
    set("per_subject_max", patch.per_subject_max.map(|max| json!(max)));
    set("paused", patch.paused.map(|paused| json!(paused)));
    set("mode", patch.queue.mode.map(|mode| json!(mode.word())));
    set("decisions_per_second_max", patch.queue.decisions_per_second_max.map(|pace| json!(pace)));
    set("queue_max", patch.queue.queue_max.map(|max| json!(max)));
    set("opens_at", time(patch.opens_at));
    set("closes_at", time(patch.closes_at));
    set("redeem_until", time(patch.redeem_until));
    Value::Object(body).to_string()
}

// --- Reading answers ------------------------------------------------------------------------

fn reply_or_refusal(answer: &Answer, yes: impl FnOnce() -> Reply) -> Reply {
    match answer.status {
        200 | 201 => yes(),
        _ => Reply::Refused(refusal(&answer.json())),
    }
}

fn reply_to_command(command: &Command<'_>, answer: &Answer) -> Reply {
    let body = answer.json();
    let novelty = if answer.is_replayed() { Novelty::Replayed } else { Novelty::Fresh };
    reply_or_refusal(answer, || match (command, answer.status) {
        (Command::Put(_) | Command::Patch(_), status) => {
            let version = body["version"].as_u64().unwrap();
            assert_eq!(answer.header("etag"), Some(format!("\"{version}\"").as_str()));
            Reply::Written { created: status == 201, version, novelty }
        }
        (Command::Claim(_), 201) => Reply::Claimed { serial: serial(&body), novelty },
        (Command::Claim(_), _) if answer.is_replayed() => Reply::Claimed { serial: serial(&body), novelty: Novelty::Repeated },
        (Command::Redeem(_), 200) if body["status"] == "redeemed" => Reply::Redeemed { serial: serial(&body), novelty },
        (Command::Cancel(_), 200) if body["status"] == "cancelled" => Reply::Cancelled { serial: serial(&body), novelty },
        (Command::Claim(_) | Command::Redeem(_) | Command::Cancel(_) | Command::DecideNext(_), _) => {
            Reply::Unexpected(format!("{answer:?}"))
        }
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

fn campaign_reply(body: &Value) -> Reply {
    let states = [
        ("scheduled", CampaignState::Scheduled),
        ("open", CampaignState::Open),
        ("sold_out", CampaignState::SoldOut),
        ("paused", CampaignState::Paused),
        ("closed", CampaignState::Closed),
    ];
    let quantity = |field: &str| Quantity::new(number(&body[field])).unwrap();
    Reply::Campaign(CampaignReply {
        state: states.iter().find(|(word, _)| body["state"] == *word).unwrap().1,
        settings: Settings {
            stock: quantity("stock"),
            per_subject_max: number(&body["per_subject_max"]),
            opens_at: time(&body["opens_at"]),
            closes_at: time(&body["closes_at"]),
            redeem_until: time(&body["redeem_until"]),
            paused: body["paused"].as_bool().unwrap(),
            queue: QueueSettings {
                mode: Mode::from_word(body["mode"].as_str().unwrap()).unwrap(),
                decisions_per_second_max: body["decisions_per_second_max"].as_u64().map(|_| number(&body["decisions_per_second_max"])),
                queue_max: number(&body["queue_max"]),
            },
        },
        version: body["version"].as_u64().unwrap(),
        claimed: quantity("claimed"),
        remaining: quantity("remaining"),
        pending: quantity("pending"),
        redeemed: quantity("redeemed"),
    })
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

fn refusal(body: &Value) -> Refusal {
    Refusal {
        code: body["code"].as_str().unwrap_or("no code").to_owned(),
        opens_at: time(&body["opens_at"]),
        closed_at: time(&body["closed_at"]),
        redeem_until: time(&body["redeem_until"]),
        redeemed_at: time(&body["redeemed_at"]),
        cancelled_at: time(&body["cancelled_at"]),
        version: body["version"].as_u64(),
        claimed: body["claimed"].as_u64().map(|_| number(&body["claimed"])),
        per_subject_max: body["per_subject_max"].as_u64().map(|_| number(&body["per_subject_max"])),
        queue_max: body["queue_max"].as_u64().map(|_| number(&body["queue_max"])),
        serials: body["serials"].as_array().map(|serials| serials.iter().map(number).collect()).unwrap_or_default(),
    }
}
