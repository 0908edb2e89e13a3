//! The program at a terminal and in scripts: full outputs and closed pipes, and options that cannot mean
//! what was typed.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::http::Client;
use crate::support::process::{Process, program, run, serve_args};
use crate::support::tokens::Signer;

const SECRET: &str = "firstcome_admin_";

/// Where a command's output goes.
#[derive(Clone, Copy, Debug)]
enum Output {
    /// A disk without space.
    Full,
    /// A pipe whose reader is gone: `| head -0`.
    Closed,
}

impl Output {
    fn open(self) -> Stdio {
        match self {
            Self::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Self::Closed => std::io::pipe().unwrap().1.into(),
        }
    }
}

/// Exit code and stderr of a command whose output goes there.
fn written_to(output: Output, mut command: Command) -> (Option<i32>, String) {
    command.stdout(output.open());
    let finished = command.output().unwrap();
    (finished.status.code(), String::from_utf8(finished.stderr).unwrap())
}

#[test]
fn a_full_or_closed_output_is_an_exit_code_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    assert_eq!(run(program(&["key", "create", "admin", "--scopes", "admin", "--data", data])).0, Some(0));
    let rush = ["rush", "coupon", "--users", "20", "--stock", "5", "--connections", "4"];
    let commands: [&[&str]; 10] = [
        &["verify", "--data", data],
        &["verify", "--json", "--data", data],
        &["inspect", "--records", "--data", data],
        &["inspect", "--records", "--json", "--data", data],
        &["key", "list", "--data", data],
        &["key", "list", "--json", "--data", data],
        &["code-key", "show", "--data", data],
        &["code-key", "show", "--json", "--data", data],
        &rush,
        &[&rush[..], &["--json"]].concat(),
    ];
    for command in commands {
        let (code, stderr) = written_to(Output::Full, program(command));
        assert!(code == Some(3) && stderr.contains("cannot write the result"), "{command:?}: {code:?} {stderr}");
        // A reader that has read enough is no failure.
        let (code, stderr) = written_to(Output::Closed, program(command));
        assert!(code == Some(0) && !stderr.contains("panicked"), "{command:?}: {code:?} {stderr}");
    }
}

#[test]
fn messages_that_nobody_takes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for output in [Output::Full, Output::Closed] {
        let mut command = program(&["verify", "--data", folder.path().to_str().unwrap()]);
        command.stderr(output.open());
        assert_eq!(command.status().unwrap().code(), Some(3), "{output:?}");
    }
}

/// The key is made before its secret can be written anywhere.
#[test]
fn a_secret_that_the_output_does_not_take_is_not_lost() {
    for output in [Output::Full, Output::Closed] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        for args in [
            &["key", "create", "admin", "--scopes", "admin"][..],
            &["key", "rotate", "admin", "--overlap", "1h"],
            &["key", "rotate", "admin", "--json"],
        ] {
            let (code, stderr) = written_to(output, program(&[args, &["--data", data]].concat()));
            assert!(code == Some(3) && stderr.contains(SECRET) && stderr.contains("rotate admin"), "{output:?} {args:?}: {stderr}");
        }
        let (code, stderr) = written_to(output, program(&["key", "revoke", "admin", "--data", data]));
        assert!(!stderr.contains("panicked"), "{code:?} {stderr}");
    }
}

#[test]
fn options_that_would_start_a_server_that_never_serves_are_refused() {
    for (option, value, says) in [
        ("--connections-max", "0", "--connections-max must be from 1"),
        ("--requests-max", "0", "--requests-max must be from"),
        ("--request-keys-max", "0", "--request-keys-max must be from 1"),
        ("--live-clients-max", "0", "--live-clients-max must be from 1"),
        ("--header-time-ms", "0", "--header-time-ms must be from 1"),
        ("--body-time-ms", "0", "--body-time-ms must be from 1"),
        ("--idle-time-ms", "0", "--idle-time-ms must be from 1"),
        ("--write-time-ms", "0", "--write-time-ms must be from 1"),
        ("--log", "wrning", "\"wrning\" is no level; give error, warn, info"),
        ("--log", "edge", "\"edge\" is no level"),
        ("--listen", ":7070", "127.0.0.1:7070"),
        ("--listen", "localhost:7071", "127.0.0.1:7071"),
        ("--admin-listen", "*:7072", "0.0.0.0:7072"),
        ("--limit-address", "50/1", "number with its unit"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (code, _, stderr) = run(program(&["serve", "--data", data.to_str().unwrap(), option, value]));
        assert!(code == Some(2) && stderr.contains(says), "{option} {value}: {code:?} {stderr}");
        assert!(!data.exists(), "{option} {value}");
    }
}

#[test]
fn a_time_without_its_unit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for args in [&["key", "rotate", "admin", "--data", data, "--overlap", "24"][..], &["rush", "coupon", "--over", "10"]] {
        let (code, _, stderr) = run(program(args));
        assert!(code == Some(2) && stderr.contains("24h"), "{args:?}: {stderr}");
    }
}

/// A command whose output was lost is typed again.
#[test]
fn a_rotation_that_is_repeated_ends_no_secret_that_was_promised() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let key = |args: &[&str]| {
        let (code, stdout, stderr) = run(program(&[&["key"], args, &["--data", data.to_str().unwrap()]].concat()));
        assert_eq!(code, Some(0), "{stderr}");
        stdout.trim_end().to_owned()
    };
    let first = key(&["create", "admin", "--scopes", "admin"]);
    let second = key(&["rotate", "admin", "--overlap", "24h"]);
    let server = Process::serve(&data);
    let third = key(&["rotate", "admin", "--overlap", "1h"]);
    let opens = |secret: &String| {
        let headers = [("authorization", format!("Bearer {secret}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        Client::new(server.address).send("GET", "/v1/keys", &headers, "").status
    };
    assert_eq!([&first, &second, &third].map(opens), [200; 3]);
    let fourth = key(&["rotate", "admin"]);
    assert_eq!([&first, &second, &third, &fourth].map(opens), [401, 401, 401, 200]);
}

/// `--log warning` once logged nothing at all.
#[test]
fn a_level_by_its_long_name_logs_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    // A warning: of two keys, one is for something else.
    let keys = json!({ "keys": [Signer::ed_dsa().jwk(), { "kty": "EC", "crv": "P-384" }] });
    let jwks = folder.path().join("keys.json");
    fs::write(&jwks, keys.to_string()).unwrap();
    let tokens = ["--jwt-issuer", "a", "--jwt-audience", "b", "--jwt-jwks", jwks.to_str().unwrap()];
    let data = folder.path().join("data");
    let server = Process::start(program(&[&serve_args(&data)[..], &["--log", "warning"], &tokens].concat()));
    let (_, stderr) = server.terminate();
    assert!(stderr.contains("is not used for tokens") && !stderr.contains("\"serving\""), "{stderr}");
}
