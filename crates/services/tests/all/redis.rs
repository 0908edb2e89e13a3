//! Redis is started, answers, dies and comes back with its data.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::process::Command;

use services::{Redis, RedisCluster, RedisOptions};

/// What `redis-cli` prints for a command.
fn redis_cli(url: &str, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["--no-auth-warning", "-c", "-u", url]).args(arguments).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

#[test]
fn a_server_answers_and_keeps_its_data_through_a_kill() {
    let mut redis = Redis::start().unwrap();
    assert_eq!(redis_cli(&redis.url(), &["PING"]), "PONG");
    assert_eq!(redis_cli(&redis.url(), &["SET", "left", "41"]), "OK");
    redis.kill().unwrap();
    assert!(redis_cli(&redis.url(), &["PING"]).contains("refused"));
    redis.restart().unwrap();
    assert_eq!(redis_cli(&redis.url(), &["GET", "left"]), "41");
}

#[test]
fn a_server_without_persistence_has_lost_its_memory() {
    let mut redis = Redis::start_with(RedisOptions { persistent: false, ..RedisOptions::default() }).unwrap();
    assert_eq!(redis_cli(&redis.url(), &["SET", "left", "41"]), "OK");
    redis.restart().unwrap();
    assert_eq!(redis_cli(&redis.url(), &["GET", "left"]), "");
}

#[test]
fn a_password_and_a_user_without_scripts() {
    let redis = Redis::start_with(RedisOptions { password: Some("secret".to_owned()), ..RedisOptions::default() }).unwrap();
    assert_eq!(redis_cli(&redis.url(), &["PING"]), "PONG");
    let without_password = format!("redis://127.0.0.1:{}", redis.port());
    assert!(redis_cli(&without_password, &["PING"]).contains("NOAUTH"));
    assert_eq!(redis_cli(&redis.url(), &["EVAL", "return 'ran'", "0"]), "ran");
    let refused = redis_cli(&redis.url_without_scripts(), &["EVAL", "return 'ran'", "0"]);
    assert!(refused.contains("NOPERM"), "{refused}");
    assert_eq!(redis_cli(&redis.url_without_scripts(), &["SET", "left", "41"]), "OK");
}

#[test]
fn a_stopped_server_is_silent_until_it_is_resumed() {
    let redis = Redis::start().unwrap();
    redis.stop().unwrap();
    let port = redis.port().to_string();
    let silent = Command::new("timeout").args(["0.5", "redis-cli", "-p", &port, "PING"]).output().unwrap();
    assert_eq!(silent.status.code(), Some(124));
    redis.resume().unwrap();
    assert_eq!(redis_cli(&redis.url(), &["PING"]), "PONG");
}

#[test]
fn a_cluster_serves_every_slot_and_replaces_a_killed_primary() {
    let mut cluster = RedisCluster::start().unwrap();
    let urls = cluster.urls();
    let [first, .., last] = &urls[..] else { panic!("no nodes") };
    let keys: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    for key in &keys {
        assert_eq!(redis_cli(first, &["SET", key, "41"]), "OK");
    }
    cluster.kill(0).unwrap();
    // A primary that dies may take its last writes with it: that every slot is served again shows by
    // writing.
    let is_served = |key: &str| redis_cli(last, &["SET", key, "41"]) == "OK";
    let come_back = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        keys.iter().all(|key| is_served(key))
    });
    assert!(come_back, "no replica took over:\n{}", redis_cli(last, &["CLUSTER", "NODES"]));
    cluster.restart(0).unwrap();
    cluster.wait_until_agreed().unwrap();
    assert_eq!(redis_cli(first, &["GET", "key-1"]), "41");
}

#[test]
fn a_replica_that_lost_its_primary_is_assigned_again() {
    let cluster = RedisCluster::start().unwrap();
    let urls = cluster.urls();
    let [first, .., last] = &urls[..] else { panic!("no nodes") };
    let port = first.rsplit(':').next().unwrap();
    let bus = redis_cli(first, &["CONFIG", "GET", "cluster-port"]).lines().last().unwrap().to_owned();
    assert_eq!(redis_cli(last, &["CLUSTER", "RESET", "SOFT"]), "OK");
    assert_eq!(redis_cli(last, &["CLUSTER", "MEET", "127.0.0.1", port, &bus]), "OK");
    // Everybody is content, and one primary is alone.
    cluster.wait_until_agreed().unwrap();
    cluster.wait_for_replicas().unwrap();
    assert!(redis_cli(last, &["INFO", "replication"]).contains("role:slave"));
}
