//! Kafka is started, answers, dies and comes back with its data.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::process::Command;

use services::{Kafka, KafkaOptions, ServiceError};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";

/// What one of Kafka's tools prints.
fn ask(kafka: &Kafka, class: &str, arguments: &[&str]) -> String {
    kafka.tool(class, &[&["--bootstrap-server", &kafka.bootstrap()], arguments].concat()).unwrap()
}

/// Writes records of ten bytes, each of which must be on every replica in sync.
fn produce(kafka: &Kafka, records: &str) {
    let servers = format!("bootstrap.servers={}", kafka.bootstrap());
    let load = ["--topic", "claims", "--num-records", records, "--record-size", "10", "--throughput", "-1"];
    let written = kafka.tool(PERFORMANCE, &[&load[..], &["--producer-props", &servers, "acks=all"]].concat()).unwrap();
    assert!(written.contains(&format!("{records} records sent")), "{written}");
}

#[test]
fn a_broker_keeps_its_data_through_a_kill() {
    let mut kafka = Kafka::start(KafkaOptions { settings: vec!["num.partitions=3".to_owned()], ..KafkaOptions::default() }).unwrap();
    ask(&kafka, TOPICS, &["--create", "--topic", "claims"]);
    produce(&kafka, "100");
    let bootstrap = kafka.bootstrap();
    kafka.kill(0).unwrap();
    kafka.restart(0).unwrap();
    assert_eq!(kafka.bootstrap(), bootstrap);
    let described = ask(&kafka, TOPICS, &["--describe", "--topic", "claims"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    let offsets = ask(&kafka, OFFSETS, &["--topic", "claims"]);
    let records: u64 = offsets.lines().map(|line| line.rsplit(':').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(records, 100, "{offsets}");
    kafka.stop(0).unwrap();
    kafka.resume(0).unwrap();
    assert!(ask(&kafka, TOPICS, &["--list"]).contains("claims"));
}

#[test]
fn three_brokers_go_on_without_one() {
    let mut kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() }).unwrap();
    ask(&kafka, TOPICS, &["--create", "--topic", "claims", "--partitions", "1"]);
    let described = ask(&kafka, TOPICS, &["--describe", "--topic", "claims"]);
    assert!(described.contains("ReplicationFactor: 3") && described.contains("min.insync.replicas=2"), "{described}");
    kafka.kill(1).unwrap();
    produce(&kafka, "100");
    kafka.restart(1).unwrap();
    assert!(ask(&kafka, OFFSETS, &["--topic", "claims"]).contains("claims:0:100"));
}

#[test]
fn the_clock_of_a_broker_can_be_wrong() {
    let options = KafkaOptions { clock_offsets_s: vec![(0, 7_200)], ..KafkaOptions::default() };
    let kafka = match Kafka::start(options) {
        Err(ServiceError::MissingProgram { program: "libfaketime", .. }) => return eprintln!("skipped: libfaketime is not installed"),
        started => started.unwrap(),
    };
    ask(&kafka, TOPICS, &["--create", "--topic", "claims", "--config", "message.timestamp.type=LogAppendTime"]);
    produce(&kafka, "1");
    let shown = ["--topic", "claims", "--from-beginning", "--max-messages", "1", "--property", "print.timestamp=true"];
    let record = ask(&kafka, CONSUMER, &shown);
    let written_at = record.strip_prefix("LogAppendTime:").unwrap().split('\t').next().unwrap().parse::<u64>().unwrap() / 1_000;
    let now = Command::new("date").arg("+%s").output().unwrap().stdout;
    let now = String::from_utf8(now).unwrap().trim().parse::<u64>().unwrap();
    assert!((7_000..=7_200).contains(&(written_at - now)), "{written_at} {now}");
}

#[test]
fn a_broker_that_refuses_a_setting_shows_its_log() {
    let options = KafkaOptions { settings: vec!["num.partitions=many".to_owned()], ..KafkaOptions::default() };
    let error = Kafka::start(options).unwrap_err().to_string();
    assert!(error.contains("kafka-0 ended") && error.contains("num.partitions"), "{error}");
}
