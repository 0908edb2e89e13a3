//! `firstcome lab coupon`: the real program as every server, and Firstcome beside the others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn lab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstcome"));
    command.args(["lab", "coupon"]).args(arguments);
    for name in ["FIRSTCOME_POSTGRES", "FIRSTCOME_REDIS", "FIRSTCOME_KAFKA"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn with_engines(arguments: &[&str]) -> Output {
    let shared = services::shared();
    let (postgres, redis, kafka) = (shared.postgres().unwrap(), shared.redis().unwrap(), shared.kafka().unwrap());
    lab(&[arguments, &["--postgres", postgres, "--redis", redis, "--kafka", kafka]].concat())
}

#[test]
fn firstcome_is_exact_on_one_machine_and_on_two_servers_also_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("lab.html");
    let arguments =
        ["--users", "500", "--stock", "50", "--strategies", "conditional_update,firstcome,firstcome_scaled", "--json", "--report"];
    let output = with_engines(&[&arguments[..], &[page.to_str().unwrap()]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // In a pipe there is no progress line.
    assert!(!said.contains("rush 1 of 1"), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let strategies = json["strategies"].as_array().unwrap();
    assert_eq!(strategies.len(), 3);
    for strategy in strategies {
        let name = &strategy["name"];
        assert_eq!((&strategy["issued"], &strategy["over_issued"]), (&Value::from(50), &Value::from(0)), "{name}");
        assert_eq!((&strategy["two_for_one"], &strategy["told_not_recorded"]), (&Value::from(0), &Value::from(0)), "{name}");
        let words = strategy["faults"][0]["words"].as_str().unwrap();
        assert!(words.contains("nothing lost, nothing doubled"), "{name}: {words}");
    }
    assert_eq!(strategies[1]["durable"], "yes");
    assert!(std::fs::read_to_string(&page).unwrap().contains("firstcome_scaled"));
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(page.with_extension("json")).unwrap()).unwrap(), json);
}

#[test]
fn the_lab_without_engines_says_how_to_start_them_and_an_unknown_strategy_lists_the_known() {
    // A file without a line names no engine, whatever runs on this machine.
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstcome"));
    command.args(["lab", "coupon", "--strategies", "small_pool"]).env("FIRSTCOME_SERVICES", nothing.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("cargo xtask services up"), "{said}");
    let output = lab(&["--strategies", "nothing"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("conditional_update") && said.contains("firstcome_scaled"), "{said}");
}
