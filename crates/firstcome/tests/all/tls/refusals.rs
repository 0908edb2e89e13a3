//! A start that cannot go well says which file it is and what is wrong with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::process::{program, run};
use super::refused;
use super::world::{World, text};

#[test]
fn half_of_the_settings_is_refused() {
    let world = World::new();
    world.issue();
    let (certificate, key) = (world.certificate_path(), world.key_path());
    for (flags, says) in
        [(["--tls-cert", text(&certificate)], "--tls-cert needs --tls-key"), (["--tls-key", text(&key)], "--tls-key needs --tls-cert")]
    {
        let (code, stderr) = refused(&flags, &world);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
    let config = world.path("firstcome.toml");
    fs::write(&config, format!("tls-key = {key:?}\n")).unwrap();
    let mut command = program(&["serve", "--config", text(&config)]);
    assert_eq!(run(command).0, Some(2));
    command = program(&["serve", "--config", text(&config), "--listen", "127.0.0.1:0", "--data", "/proc/none"]);
    command.env("FIRSTCOME_TLS_CERT", &certificate);
    // Nothing is missing any more but a data folder.
    assert_eq!(run(command).0, Some(3));
    assert!(!world.data().exists());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let world = World::new();
    world.issue();
    let (certificate, key, other) = (world.certificate_path(), world.key_path(), world.path("other.pem"));
    let good_key = fs::read_to_string(&key).unwrap();
    let good_certificate = fs::read_to_string(&certificate).unwrap();
    fs::copy(&key, &other).unwrap();
    world.issue();
    let refuses = |certificate: &std::path::Path, key: &std::path::Path, says: &[&str]| {
        let (code, stderr) = refused(&["--tls-cert", text(certificate), "--tls-key", text(key)], &world);
        assert_eq!(code, Some(3), "{stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(says.iter().all(|part| last.contains(part)), "{says:?} is not in {last}");
        assert!(!stderr.contains(&good_key[60..90]), "the key is in {stderr}");
        assert!(!world.data().exists(), "the data folder was touched");
    };
    refuses(&certificate, &other, &["does not belong to", text(&certificate), text(&other)]);
    refuses(&world.path("none"), &key, &["cannot read the TLS certificate", text(&world.path("none")), "No such file"]);
    refuses(&certificate, &world.path("none"), &["cannot read the TLS key", text(&world.path("none"))]);
    refuses(&key, &key, &["there is no certificate in", text(&key)]);
    refuses(&certificate, &certificate, &["there is no private key in", text(&certificate)]);
    let wrong_keys = [
        (String::new(), "there is no private key in"),
        (good_key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "there is no private key in"),
        (good_key.replace("-----END PRIVATE KEY-----", ""), "a section does not end"),
        (good_key.replacen('M', "!", 1), "a section is not base64"),
        (good_key.replacen("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY--", 1), text(&other)),
        (good_certificate.replace("CERTIFICATE", "PRIVATE KEY"), "malformed"),
    ];
    for (content, says) in wrong_keys {
        fs::write(&other, content).unwrap();
        refuses(&certificate, &other, &[says, text(&other)]);
    }
    for content in [String::new(), good_certificate.replace("-----END", "----"), good_key.replace("PRIVATE KEY", "CERTIFICATE")] {
        fs::write(&other, content).unwrap();
        refuses(&other, &key, &[text(&other), "certificate"]);
    }
}

#[test]
fn what_is_only_doubtful_is_a_warning() {
    for (first, last, says) in [(2020, 2021, "the TLS certificate has expired"), (2119, 2120, "the TLS certificate is not valid yet")] {
        let world = World::new();
        world.issue_for_years(first, last);
        fs::set_permissions(world.key_path(), fs::Permissions::from_mode(0o644)).unwrap();
        let said = world.serve(&[]).terminate().1;
        let warned =
            |says: &str, named: &str| said.lines().any(|line| line.contains("WARN") && line.contains(says) && line.contains(named));
        assert!(warned(says, text(&world.certificate_path())), "{said}");
        assert!(warned(says, "2021-01-01T00:00:00.000Z") || warned(says, "2119-01-01T00:00:00.000Z"), "{said}");
        assert!(warned("can read the TLS key", text(&world.key_path())), "{said}");
    }
}

#[test]
fn a_second_address_that_cannot_be_is_refused() {
    let world = World::new();
    let (code, stderr) = refused(&["--admin-listen", "0.0.0.0:1"], &world);
    assert!(code == Some(2) && stderr.contains("0.0.0.0:1 is not a loopback address"), "{stderr}");
    let same = ["serve", "--listen", "127.0.0.1:7999", "--admin-listen", "127.0.0.1:7999"];
    let (code, _, stderr) = run(program(&same));
    assert!(code == Some(2) && stderr.contains("--listen and --admin-listen are both 127.0.0.1:7999"), "{stderr}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = refused(&["--admin-listen", &address], &world);
    assert!(code == Some(3) && stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
    assert!(!world.data().exists());
}
