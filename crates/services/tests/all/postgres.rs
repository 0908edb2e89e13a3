//! PostgreSQL is started, answers, dies and comes back with its data.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::process::Command;

use services::{Postgres, PostgresOptions, ServiceError};

/// What `psql` prints for a statement, errors too.
fn psql(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args([url, "-X", "-q", "-t", "-A", "-c", statement]).env("PGCONNECT_TIMEOUT", "5").output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

#[test]
fn a_server_answers_and_keeps_its_data_through_a_kill() {
    let mut postgres = Postgres::start().unwrap();
    assert_eq!(psql(&postgres.url(), "select 1"), "1");
    psql(&postgres.url(), "create table claims (serial bigint); insert into claims values (41)");
    postgres.kill().unwrap();
    assert!(psql(&postgres.url(), "select 1").contains("refused"));
    postgres.restart().unwrap();
    assert_eq!(psql(&postgres.url(), "select serial from claims"), "41");
}

#[test]
fn a_wrong_password_is_refused() {
    let postgres = Postgres::start().unwrap();
    let wrong = postgres.url().replace("-password@", "-guess@");
    assert!(psql(&wrong, "select 1").contains("password authentication failed"));
}

#[test]
fn databases_are_apart_and_have_plain_names() {
    let options = PostgresOptions { durable: true, settings: vec!["work_mem = '5MB'".to_owned()], ..PostgresOptions::default() };
    let postgres = Postgres::start_with(&options).unwrap();
    let one = postgres.new_database("one").unwrap();
    let other = postgres.new_database("other").unwrap();
    psql(&one, "create table claims (serial bigint)");
    assert!(psql(&other, "select * from claims").contains("does not exist"));
    assert_eq!(psql(&other, "show fsync"), "on");
    assert_eq!(psql(&other, "show work_mem"), "5MB");
    let error = postgres.new_database("one\"; drop database other; --").unwrap_err();
    assert!(matches!(error, ServiceError::DatabaseName { .. }), "{error}");
}

#[test]
fn a_stopped_server_is_silent_until_it_is_resumed() {
    let postgres = Postgres::start().unwrap();
    postgres.stop().unwrap();
    assert!(psql(&postgres.url(), "select 1").contains("timeout"));
    postgres.resume().unwrap();
    assert_eq!(psql(&postgres.url(), "select 1"), "1");
}

#[test]
fn a_setting_that_it_refuses_is_shown_with_its_log() {
    let options = PostgresOptions { settings: vec!["nonsense = 1".to_owned()], ..PostgresOptions::default() };
    let error = Postgres::start_with(&options).unwrap_err().to_string();
    assert!(error.contains("postgres ended") && error.contains("nonsense"), "{error}");
}
