//! What a server does not start with: it says in one line which setting is wrong and why, shows no
//! password, and ends with exit code 3 (2 where the settings do not fit together).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cluster::kafka::{self, KafkaLog, KafkaSettings};
use cluster::protocol::node::Log;
use services::{Redis, RedisOptions};
use tokio::task::block_in_place;

use super::world::{Brokers, World, eventually};
use super::{engines, scenario};
use crate::support_process::program::{Program, program};

/// A refusal comes within this time.
const SAID_MAX: Duration = Duration::from_secs(30);
const WRONG_PASSWORD: &str = "wrong-secret";
const REDIS_PASSWORD: &str = "gate-secret";

/// Settings that are refused.
struct Case {
    what: &'static str,
    /// Replaces the value of a flag, or removes the flag where it is empty.
    flags: Vec<(&'static str, String)>,
    data: Option<PathBuf>,
    code: i32,
    words: &'static [&'static str],
}

impl Case {
    fn new(what: &'static str, flag: &'static str, value: impl Into<String>, words: &'static [&'static str]) -> Self {
        Self { what, flags: vec![(flag, value.into())], data: None, code: 3, words }
    }
}

#[test]
fn what_cannot_be_used_is_named_and_no_password_is_shown() {
    scenario::alone(async {
        let redis = Redis::start_with(RedisOptions { password: Some(REDIS_PASSWORD.to_owned()), ..RedisOptions::default() }).unwrap();
        let world = World::new("refused", &Brokers::One, Some(redis.url()));
        block_in_place(|| make_topics(&world));
        foreign_topic(&world).await;
        let journal = world.folder().join("alone");
        fs::create_dir_all(journal.join("journal")).unwrap();
        let postgres = &world.postgres;
        let cases = [
            Case::new("Kafka's address", "--kafka", "127.0.0.1:1", &["no Kafka broker answers at 127.0.0.1:1", "--kafka"]),
            Case::new("PostgreSQL's address", "--postgres", with_port(postgres, 1), &["127.0.0.1", "--postgres"]),
            Case::new("PostgreSQL's password", "--postgres", with_password(postgres), &["password", "--postgres"]),
            Case::new("the database", "--postgres", format!("{postgres}_missing"), &["_missing", "--postgres"]),
            Case::new("Redis' address", "--redis", "redis://127.0.0.1:1", &["127.0.0.1:1", "--redis"]),
            Case::new("Redis' password", "--redis", with_password(&redis.url()), &["user and password", "--redis"]),
            Case::new(
                "Redis without a password",
                "--redis",
                format!("redis://127.0.0.1:{}", redis.port()),
                &["user and password", "--redis"],
            ),
            Case::new("Redis without scripts", "--redis", redis.url_without_scripts(), &["refuses the gate's script", "--redis"]),
            Case::new(
                "a topic that forgets",
                "--kafka-topic",
                wrong_topic(&world),
                &["retention.ms", "retention.bytes", "cleanup.policy", "message.timestamp.type"],
            ),
            Case::new("a topic of others", "--kafka-topic", others_topic(&world), &["first record is none of ours", "--kafka-topic"]),
            Case {
                data: Some(journal),
                ..Case::new("a data folder that holds a journal", "--redis", redis.url(), &["holds the journal", "--data"])
            },
            Case { code: 2, ..Case::new("no Kafka", "--kafka", "", &["--postgres", "--kafka"]) },
            Case {
                flags: vec![("--kafka-dev", String::new()), ("--kafka-topic", dev_topic(&world))],
                ..Case::new("a topic with one replica", "--kafka-dev", "", &["1 replicas", "--kafka-dev"])
            },
        ];
        refused(&world, &cases).await;
    });
}

#[test]
fn the_code_secret_of_another_cluster_is_refused_before_a_code_is_given() {
    scenario::alone(async {
        let mut world = World::new("code-secret", &Brokers::One, None).with_servers(1, 10).await;
        world.stop(0);
        let (none, other) = (world.folder().join("none"), world.folder().join("other"));
        fs::create_dir_all(&other).unwrap();
        let secret = fs::read_to_string(world.data().join("code-secret")).unwrap();
        let turned = secret.replace(|digit: char| digit.is_ascii_hexdigit(), if secret.starts_with('0') { "1" } else { "0" });
        fs::write(other.join("code-secret"), turned).unwrap();
        let topic = world.kafka.topic.clone();
        let case = |what, data, words| Case { data: Some(data), ..Case::new(what, "--kafka-topic", topic.clone(), words) };
        let cases = [
            case("no code secret", none, &["code-secret is missing", "copy it from"]),
            case("another code secret", other, &["the fingerprint of code-secret is", "here"]),
            Case::new("another topic", "--kafka-topic", "another", &["the topic is code_secret", "another here"]),
        ];
        refused(&world, &cases).await;
        world.start(0);
        world.until_ready(0).await;
    });
}

/// Starts all of them at once, and waits for their ends.
async fn refused(world: &World, cases: &[Case]) {
    let mut programs: Vec<Program> = cases.iter().map(|case| start(world, case)).collect();
    for (program, case) in programs.iter_mut().zip(cases) {
        let status = block_in_place(|| program.wait(SAID_MAX)).unwrap_or_else(|| panic!("{}: it does not end", case.what));
        let is_said = |said: &str| said.lines().any(|line| line.starts_with("firstcome: "));
        eventually("it has said why", Duration::from_secs(5), async || is_said(&program.said())).await;
        let said = program.said();
        assert_eq!(status.code(), Some(case.code), "{}: {said}", case.what);
        let complaint = said.lines().find(|line| line.starts_with("firstcome: ")).unwrap();
        eprintln!("{}: {complaint}", case.what);
        for word in case.words {
            assert!(complaint.contains(word), "{}: {word:?} is not in {complaint:?}", case.what);
        }
        for secret in [WRONG_PASSWORD, REDIS_PASSWORD, "firstcome-password", "noscripts-password"] {
            assert!(!said.contains(secret), "{}: a password is shown: {said}", case.what);
        }
        assert!(!said.contains("panicked"), "{}: {said}", case.what);
    }
}

fn start(world: &World, case: &Case) -> Program {
    let mut flags = world.flags();
    for (name, value) in &case.flags {
        let place = flags.iter().position(|flag| flag == name);
        match (place, value.is_empty()) {
            (Some(place), true) if *name == "--kafka-dev" => drop(flags.remove(place)),
            (Some(place), true) => drop(flags.drain(place..=place + 1)),
            (Some(place), false) => flags[place + 1].clone_from(value),
            (None, _) => flags.extend([(*name).to_owned(), value.clone()]),
        }
    }
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]);
    command.arg(case.data.clone().unwrap_or_else(|| world.data())).args(flags);
    Program::spawn_command(command)
}

fn with_password(url: &str) -> String {
    let (before, after) = url.rsplit_once('@').unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    format!("{user}:{WRONG_PASSWORD}@{after}")
}

fn with_port(url: &str, port: u16) -> String {
    let (before, after) = url.rsplit_once(':').unwrap();
    let (_, database) = after.split_once('/').unwrap();
    format!("{before}:{port}/{database}")
}

fn wrong_topic(world: &World) -> String {
    format!("{}-forgets", world.kafka.topic)
}

fn others_topic(world: &World) -> String {
    format!("{}-others", world.kafka.topic)
}

fn dev_topic(world: &World) -> String {
    format!("{}-one-replica", world.kafka.topic)
}

/// Topics that somebody has made with wrong settings, or with too few replicas.
fn make_topics(world: &World) {
    let kafka = engines::one_broker();
    let topic = wrong_topic(world);
    let mut arguments = vec!["--bootstrap-server", &world.kafka.hosts, "--create", "--partitions", "2", "--topic", &topic];
    let settings = ["retention.ms=60000", "retention.bytes=1000000", "cleanup.policy=compact", "message.timestamp.type=CreateTime"];
    arguments.extend(settings.iter().flat_map(|setting| ["--config", setting]));
    kafka.tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
}

/// A topic as it should be, with a record that is none of ours.
async fn foreign_topic(world: &World) {
    let of = |topic| KafkaSettings { topic, ..world.kafka.clone() };
    kafka::prepare(&of(dev_topic(world))).await.unwrap();
    let settings = of(others_topic(world));
    kafka::prepare(&settings).await.unwrap();
    let log = KafkaLog::open(&settings, engine::clock::Clock::System).unwrap();
    log.append(0, "", b"an invoice".to_vec()).unwrap();
    eventually("it has arrived", Duration::from_secs(20), async || log.delivered_count() == 1).await;
}
