//! A start that cannot go well says what is wrong and where, ends with its exit code, and leaves
//! every byte of the folder as it was. The real program, as a process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::process;
use crate::support::server;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use http::Client;
use process::{Process, assert_same, bytes_of, program, run, serve_args};
use server::TestServer;

/// A folder with a campaign and three claims, each in a batch of its own, after an orderly end.
fn used_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path());
    fill(server.address);
    assert_eq!(server.terminate().0, Some(0));
    folder
}

fn fill(address: std::net::SocketAddr) {
    let mut client = Client::new(address);
    assert_eq!(client.put("/v1/campaigns/spring", r#"{"stock":10}"#).status, 201);
    for subject in ["ann", "bob", "cat"] {
        assert_eq!(client.claim("spring", subject).status, 201);
    }
}

/// The start ends with 3, says all of this, and changes nothing.
fn refuses_to_start(folder: &Path, says: &[&str]) {
    let before = bytes_of(folder);
    let (code, stdout, stderr) = run(program(&serve_args(folder)));
    assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
    for part in says {
        assert!(stderr.contains(part), "{part:?} is missing in {stderr}");
    }
    assert!(stderr.lines().last().unwrap().starts_with("firstcome: "), "{stderr}");
    assert_same(&before, &bytes_of(folder));
}

fn segment(folder: &Path) -> PathBuf {
    folder.join("journal/0000000001.segment")
}

// --- Refusals -------------------------------------------------------------------------------

#[test]
fn a_folder_that_cannot_be_made_or_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "mine").unwrap();
    for wrong in [file.clone(), file.join("below"), PathBuf::from("/proc/firstcome-data")] {
        let (code, _, stderr) = run(program(&serve_args(&wrong)));
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains(wrong.to_str().unwrap()), "{stderr}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if rustix::process::geteuid().is_root() {
        println!("skipped: a folder without the right to write, because root may write everywhere");
    } else {
        refuses_to_start(&closed, &["cannot write to the data folder", closed.to_str().unwrap(), "denied"]);
    }
}

#[test]
fn a_folder_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path());
    fill(server.address);
    let (code, _, stderr) = run(program(&serve_args(folder.path())));
    assert_eq!(code, Some(3));
    assert!(stderr.contains(&format!("the data folder {} is in use by another process", folder.path().display())), "{stderr}");
    assert_eq!(Client::new(server.address).claim("spring", "ann").status, 200);
    assert_eq!(server.terminate().0, Some(0));
}

#[test]
fn a_newer_layout_or_segment_is_refused() {
    let folder = used_folder();
    let layout = folder.path().join("layout");
    fs::write(&layout, "2\n").unwrap();
    refuses_to_start(folder.path(), &["layout 2", "reads layouts up to 1", folder.path().to_str().unwrap()]);
    fs::write(&layout, "1\n").unwrap();
    let mut bytes = fs::read(segment(folder.path())).unwrap();
    bytes[12..16].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    fs::write(segment(folder.path()), bytes).unwrap();
    refuses_to_start(folder.path(), &["0000000001.segment", "format 2", "up to 1"]);
}

#[test]
fn a_journal_that_is_damaged_before_its_end_is_refused_with_file_and_place() {
    let folder = used_folder();
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let whole = fs::read(segment(folder.path())).unwrap();
    // In the first batch's header, and in the record of the second claim's batch.
    let bob = whole.windows(3).position(|bytes| bytes == b"bob").unwrap();
    for place in [4_096 + 40, bob] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        fs::write(segment(folder.path()), damaged).unwrap();
        refuses_to_start(folder.path(), &["the journal is damaged", "0000000001.segment", folder.path().to_str().unwrap()]);
    }
    fs::write(segment(folder.path()), &whole[..2_000]).unwrap();
    refuses_to_start(folder.path(), &["0000000001.segment", "shorter than its header"]);
}

#[test]
fn a_code_secret_that_is_missing_or_damaged_is_refused() {
    let folder = used_folder();
    let path = folder.path().join("code-secret");
    let named = path.to_str().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    refuses_to_start(folder.path(), &[named, "is missing", "backup"]);
    for damaged in [String::new(), whole[..20].to_owned(), format!("{whole}nonsense\n"), format!("{whole}{whole}")] {
        fs::write(&path, &damaged).unwrap();
        refuses_to_start(folder.path(), &[named, "is damaged", "backup"]);
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    refuses_to_start(folder.path(), &[named, "is damaged"]);
}

#[test]
fn a_record_far_ahead_of_the_clock_is_refused_unless_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let far = 4_000_000_000;
    let mut future = TestServer::start(folder.path(), far);
    fill(future.address);
    future.stop();
    drop(future);
    refuses_to_start(folder.path(), &["2096-10-02T07:06:40.000Z", "--accept-clock-behind"]);
    let args = [&serve_args(folder.path())[..], &["--accept-clock-behind"]].concat();
    let server = Process::start(program(&args));
    let claimed = Client::new(server.address).claim("spring", "dan");
    assert_eq!(claimed.json()["claimed_at"], "2096-10-02T07:06:40.000Z");
    // Also where a start that goes on would have a snapshot to take.
    server.kill();
    refuses_to_start(folder.path(), &["2096-10-02T07:06:40.000Z", "--accept-clock-behind"]);
}

#[test]
fn an_address_in_use_or_open_to_others_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let data = folder.to_str().unwrap();
    let (code, _, stderr) = run(program(&["serve", "--listen", &address, "--data", data]));
    assert_eq!(code, Some(3));
    assert!(stderr.contains(&format!("cannot listen on {address}")) && stderr.contains("in use"), "{stderr}");
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7070"] {
        let (code, _, stderr) = run(program(&["serve", "--listen", open, "--data", data]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("not a loopback address") && stderr.contains("firstcome key create"), "{stderr}");
    }
    assert!(!folder.exists());
}

// --- Settings -------------------------------------------------------------------------------

#[test]
fn wrong_settings_name_the_key_and_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("firstcome.toml");
    let config = file.to_str().unwrap();
    for (text, says) in [
        ("lissen = \"127.0.0.1:0\"", "lissen"),
        ("segment-mib = \"four\"", "segment-mib"),
        ("listen = \"here\"", "listen"),
        ("data = ", "data"),
        ("segment-mib = 3", "segment-mib"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, _, stderr) = run(program(&["serve", "--config", config]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
    let (code, _, stderr) = run(program(&["serve", "--config", "/nowhere/firstcome.toml"]));
    assert!(code == Some(2) && stderr.contains("/nowhere/firstcome.toml"), "{stderr}");
    for args in [
        &["serve", "--claims-max", "0"][..],
        &["serve", "--listen", "7070"],
        &["serve", "--more"],
        &["dance"],
        &[],
        &["serve", "--log", "firstcome=loud"],
    ] {
        let (code, stdout, stderr) = run(program(args));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn help_shows_every_default() {
    let commands = [
        (
            &["serve"][..],
            &["[default: 127.0.0.1:7070]", "[default: firstcome-data]", "[default: 64]", "[default: 1000000]", "FIRSTCOME_LISTEN"][..],
        ),
        (&["rush", "coupon"], &["[default: 100000]", "[default: 10000]", "[default: 512]", "[default: 0s]", "[default: 5]"]),
        (&["verify"], &["[default: firstcome-data]", "FIRSTCOME_DATA"]),
        (&["inspect"], &["[default: firstcome-data]", "[default: 1]"]),
    ];
    for (command, defaults) in commands {
        let (code, stdout, _) = run(program(&[command, &["--help"]].concat()));
        assert_eq!(code, Some(0));
        let words = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for default in defaults {
            assert!(words.contains(default), "{command:?}: {default} is missing in {stdout}");
        }
    }
    // Every option of the server that takes a value says which it has otherwise.
    let (_, stdout, _) = run(program(&["serve", "--help"]));
    let options = stdout.matches("\n      --").count() - ["--config", "--accept-clock-behind", "--kafka-dev"].len();
    assert_eq!(stdout.matches("[default:").count(), options, "{stdout}");
}

#[test]
fn environment_and_settings_file_work_and_the_flag_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (from_file, from_environment) = (folder.path().join("file"), folder.path().join("environment"));
    let config = folder.path().join("firstcome.toml");
    fs::write(&config, format!("data = {from_file:?}\nlisten = \"127.0.0.1:0\"\nsegment-mib = 4\n")).unwrap();
    let mut command = program(&["serve"]);
    command.env("FIRSTCOME_CONFIG", &config);
    drop(Process::start(command));
    assert!(from_file.join("layout").exists());
    let mut command = program(&["serve", "--config", config.to_str().unwrap()]);
    command.env("FIRSTCOME_DATA", &from_environment).env("FIRSTCOME_SEGMENT_MIB", "5");
    drop(Process::start(command));
    assert_eq!(fs::metadata(segment(&from_environment)).unwrap().len(), 5 << 20);
    let mut command = program(&serve_args(&folder.path().join("flag")));
    command.env("FIRSTCOME_DATA", &from_environment).env("FIRSTCOME_LISTEN", "0.0.0.0:1").env("FIRSTCOME_ACCEPT_CLOCK_BEHIND", "true");
    drop(Process::start(command));
    assert!(folder.path().join("flag/layout").exists());
}

// --- Going on -------------------------------------------------------------------------------

#[test]
fn two_starts_in_a_row_keep_everything_and_an_orderly_end_leaves_nothing_to_replay() {
    let folder = used_folder();
    let mut before = None;
    for _ in 0..2 {
        let server = Process::serve(folder.path());
        let mut client = Client::new(server.address);
        let again = client.claim("spring", "bob");
        assert_eq!((again.status, &again.json()["serial"]), (200, &serde_json::json!(2)));
        let all = (client.get("/v1/campaigns/spring").json(), client.get("/v1/campaigns/spring/claims").json(), again.body);
        assert_eq!(before.get_or_insert_with(|| all.clone()), &all);
        let (code, stderr) = server.terminate();
        assert_eq!(code, Some(0));
        let opened = stderr.lines().find(|line| line.contains("journal opened")).unwrap_or_else(|| panic!("{stderr}"));
        assert!(opened.contains("\"records\":4,\"replayed\":0,\"snapshot\":4"), "{opened}");
    }
}

#[test]
fn a_kill_loses_nothing_and_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path());
    fill(server.address);
    server.kill();
    let server = Process::serve(folder.path());
    let mut client = Client::new(server.address);
    assert_eq!(client.get("/v1/campaigns/spring").json()["claimed"], 3);
    assert_eq!(client.claim("spring", "cat").status, 200);
    assert!(server.terminate().1.contains("\"replayed\":4"));
}

/// As through two mounts that do not share locks (issue 16, number 3): without the lock file of the first
/// server, the second one gets a lock of its own.
#[test]
fn a_folder_whose_lock_does_not_hold_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path());
    fill(server.address);
    fs::remove_file(folder.path().join("lock")).unwrap();
    for args in
        [serve_args(folder.path()).to_vec(), vec!["key", "create", "shop", "--scopes", "issue", "--data", folder.path().to_str().unwrap()]]
    {
        let (code, stdout, stderr) = run(program(&args));
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
        assert!(stderr.contains("owner-0000000001") && stderr.contains("another mount"), "{stderr}");
    }
    // The first server has everything, and goes on.
    assert_eq!(Client::new(server.address).claim("spring", "dan").status, 201);
    assert_eq!(server.terminate().0, Some(0));
    assert_eq!(run(program(&["verify", "--data", folder.path().to_str().unwrap()])).0, Some(0));
}

/// A server that was suspended while another one took its folder ends without another yes.
#[test]
fn a_server_that_wakes_in_a_folder_of_another_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Process::serve(folder.path());
    fill(first.address);
    let id = rustix::process::Pid::from_raw(i32::try_from(first.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::STOP).unwrap();
    fs::remove_file(folder.path().join("lock")).unwrap();
    let second = Process::serve(folder.path());
    assert_eq!(Client::new(second.address).claim("spring", "dan").json()["serial"], 4);
    rustix::process::kill_process(id, rustix::process::Signal::CONT).unwrap();
    let (code, stderr) = first.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("not this server's any more") || stderr.contains("another process"), "{stderr}");
    assert_eq!(Client::new(second.address).claim("spring", "eve").json()["serial"], 5);
    assert_eq!(second.terminate().0, Some(0));
    assert_eq!(run(program(&["verify", "--data", folder.path().to_str().unwrap()])).0, Some(0));
}
