//! Keys and the data folder: of a stopped server, of a running one, and of another account.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use super::keys::{key, made, status};
use crate::support::http::Client;
use crate::support::process::{Process, program, run};

/// While nobody serves, the command writes the journal; the record says who did.
#[test]
fn keys_of_a_stopped_server_are_in_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let admin = made(data, &["create", "admin", "--scopes", "admin"]);
    let shop = made(data, &["create", "shop", "--scopes", "issue"]);
    let rotated = made(data, &["rotate", "shop"]);
    let server = Process::serve(data);
    assert_eq!(status(&server, &admin, "PUT", "/v1/campaigns/spring", r#"{"stock":9}"#), 201);
    let claim = |server: &Process, key: &str| status(server, key, "POST", "/v1/campaigns/spring/claims", r#"{"subject":"ann"}"#);
    assert_eq!((claim(&server, &shop), claim(&server, &rotated)), (401, 201));
    server.kill();
    // What a killed server leaves does not keep anybody from it.
    assert!(sockets(data).len() == 1 && key(data, &["revoke", "shop"]).0 == Some(0));
    let server = Process::serve(data);
    assert_eq!((claim(&server, &rotated), status(&server, &admin, "GET", "/v1/campaigns", ""), sockets(data).len()), (401, 200, 1));
    assert_eq!(server.terminate().0, Some(0));
    assert!(sockets(data).is_empty());
    let (_, records, _) = run(program(&["inspect", "--records", "--data", data.to_str().unwrap()]));
    for event in [
        "key_created keyring key=admin scopes=admin",
        "key_created keyring key=shop",
        "key_rotated keyring key=shop",
        "key_revoked keyring key=shop",
    ] {
        assert!(records.contains(event), "{event}: {records}");
    }
    assert_eq!(run(program(&["verify", "--data", data.to_str().unwrap()])).0, Some(0));
}

fn sockets(data: &Path) -> Vec<std::path::PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_type().unwrap().is_socket()).map(|entry| entry.path()).collect()
}

/// Campaigns keep the key that their codes came from, whatever is rotated afterwards and by whom.
#[test]
fn a_rotated_code_key_is_that_of_new_campaigns_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let code_key = |args: &[&str]| {
        let (code, stdout, stderr) = run(program(&[&["code-key"], args, &["--data", data.to_str().unwrap()]].concat()));
        (code, stdout.trim_end().to_owned() + stderr.trim_end())
    };
    let done = |number: &str| (Some(0), number.to_owned());
    assert_eq!(code_key(&["show"]), done("1"));
    let server = Process::serve(data);
    let mut client = Client::new(server.address);
    let code = |client: &mut Client, campaign: &str| {
        assert_eq!(client.put(&format!("/v1/campaigns/{campaign}"), r#"{"stock":9}"#).status, 201);
        let claimed = client.claim(campaign, "ann").json();
        claimed["code"].as_str().unwrap().to_owned()
    };
    let first = code(&mut client, "first");
    assert_eq!((code_key(&["show"]), code_key(&["rotate"])), (done("1"), done("2")));
    let second = code(&mut client, "second");
    let rotate = |client: &mut Client| client.send("POST", "/v1/code-key/rotate", &[("idempotency-key", "once")], "");
    let rotated = [rotate(&mut client), rotate(&mut client)].map(|answer| (answer.status, answer.json()["number"].as_u64()));
    assert_eq!(rotated, [(200, Some(3)); 2]);
    assert_eq!(client.get("/v1/code-key").json()["number"], 3);
    let third = code(&mut client, "third");
    assert_eq!(server.terminate().0, Some(0));
    assert_eq!((code_key(&["rotate"]), code_key(&["show", "--json"])), (done("4"), done(r#"{"number":4}"#)));

    let server = Process::serve(data);
    let mut client = Client::new(server.address);
    for (campaign, code) in [("first", first), ("second", second), ("third", third)] {
        let found = client.get(&format!("/v1/campaigns/{campaign}/codes/{code}"));
        assert_eq!((found.status, &found.json()["subject"]), (200, &"ann".into()), "{campaign}");
        assert_eq!(client.put(&format!("/v1/campaigns/{campaign}"), r#"{"stock":10}"#).status, 200);
        assert_eq!(client.get(&format!("/v1/campaigns/{campaign}/codes/{code}")).status, 200);
    }
    assert_eq!(server.terminate().0, Some(0));
    let (_, records, _) = run(program(&["inspect", "--records", "--data", data.to_str().unwrap()]));
    let used = |campaign: &str, number: u32| {
        let lines = records.lines().filter(|line| line.contains(&format!(" {campaign} ")) && line.contains("created"));
        assert!(lines.clone().count() == 1 && lines.clone().all(|line| line.contains(&format!("code_key={number}"))), "{records}");
    };
    [("first", 1), ("second", 2), ("third", 3)].into_iter().for_each(|(campaign, number)| used(campaign, number));
    assert_eq!(run(program(&["verify", "--data", data.to_str().unwrap()])).0, Some(0));
}

/// A deep folder, whose path is too long for a socket.
#[test]
fn a_server_in_a_deep_folder_is_asked_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("x".repeat(100)).join("y".repeat(100));
    let server = Process::serve(&data);
    let admin = made(&data, &["create", "admin", "--scopes", "admin"]);
    assert_eq!((Client::new(server.address).get("/v1/campaigns").status, status(&server, &admin, "GET", "/v1/campaigns", "")), (401, 200));
    assert_eq!(server.terminate().0, Some(0));
}

#[test]
fn a_folder_that_a_server_across_machines_used_gets_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("log-snapshots")).unwrap();
    let (code, _, stderr) = key(folder.path(), &["create", "admin", "--scopes", "admin"]);
    assert!(code == Some(3) && stderr.contains("start the server"), "{stderr}");
    assert!(!folder.path().join("journal").exists());
}

/// As root beside a server of an account of its own.
#[test]
fn what_another_account_changes_the_folders_owner_can_read() {
    use std::os::unix::fs::{MetadataExt, chown};
    let folder = tempfile::tempdir().unwrap();
    if chown(folder.path(), Some(65_534), Some(65_534)).is_err() {
        eprintln!("left out: only root can give folders away");
        return;
    }
    made(folder.path(), &["create", "admin", "--scopes", "admin"]);
    let journal = folder.path().join("journal");
    let files = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
    let all: Vec<_> = files.chain([folder.path().join("lock"), folder.path().join("code-secret"), journal.clone()]).collect();
    assert!(4 <= all.len());
    for path in all {
        let file = fs::metadata(&path).unwrap();
        assert_eq!((file.uid(), file.gid()), (65_534, 65_534), "{}", path.display());
    }
}

#[test]
fn the_data_folder_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    made(&data, &["create", "admin", "--scopes", "admin"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("lock"))), (0o700, 0o600));
    let _server = Process::serve(&data);
    assert_eq!(sockets(&data).iter().map(|socket| mode(socket)).collect::<Vec<u32>>(), [0o600]);
}
