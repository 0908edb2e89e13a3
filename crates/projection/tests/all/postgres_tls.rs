//! With `sslmode=require` the connection is encrypted, and only to the server that a trusted
//! certificate names.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use projection::postgres::{ConnectError, Postgres, Settings};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use services::Postgres as Services;
use support::cluster::raw;

/// Tells the copy of this test that is run with another list of trusted certificates what to expect.
const EXPECTED: &str = "FIRSTCOME_TEST_TLS_EXPECTED";
const URL: &str = "FIRSTCOME_TEST_TLS_URL";

fn certificate(host: &str) -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// Which certificates are trusted is asked of the environment, which a test must not change for
/// those beside it; so each case is a process of its own.
fn run(expected: &str, url: &str, trusted: &Path) {
    // The server takes a new certificate when it comes to it.
    for _ in 0..20 {
        if run_once(expected, url, trusted).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{expected}: {}", run_once(expected, url, trusted).unwrap_err());
}

fn run_once(expected: &str, url: &str, trusted: &Path) -> Result<(), String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres_tls::a_connection_is_encrypted_to_the_right_server_or_refused", "--nocapture"])
        .envs([(EXPECTED, expected), (URL, url)])
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    // With a name that no test has, it would end well.
    if output.status.success() && stdout.contains("1 passed") {
        Ok(())
    } else {
        Err(format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

async fn expect(expected: &str, url: &str) {
    let connected = Postgres::connect(Settings::new(format!("{url}?sslmode=require"))).await;
    if expected == "encrypted" {
        let postgres = connected.unwrap();
        assert!(postgres.positions().await.unwrap().is_empty());
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'firstcome'";
        assert!(raw(&format!("{url}?sslmode=disable")).await.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
        return;
    }
    let error = connected.map(|_| ()).unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }) && error.to_string().contains(expected) && !error.is_retryable(), "{error}");
}

async fn install(db: &tokio_postgres::Client, (certificate, key): &(String, String)) {
    let folder: String = db.query_one("SHOW data_directory", &[]).await.unwrap().get(0);
    for (file, text) in [("server.crt", certificate), ("server.key", key)] {
        // By the server itself, so that it is the files' owner.
        let copy = format!("COPY (SELECT unnest(string_to_array('{}', E'\\n'))) TO '{folder}/{file}'", text.trim());
        db.batch_execute(&copy).await.unwrap();
        fs::set_permissions(Path::new(&folder).join(file), Permissions::from_mode(0o600)).unwrap();
    }
    db.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    db.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_encrypted_to_the_right_server_or_refused() {
    if let Ok(expected) = std::env::var(EXPECTED) {
        return expect(&expected, &std::env::var(URL).unwrap()).await;
    }
    let server = Services::start().unwrap();
    let url = server.new_database("tls").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (right, other) = (certificate("127.0.0.1"), certificate("db.example"));
    let (trusts_right, trusts_other) = (file("right.pem", &right.0), file("other.pem", &other.0));
    run("server does not support TLS", &url, &trusts_right);
    let db = raw(&url).await;
    install(&db, &right).await;
    run("encrypted", &url, &trusts_right);
    run("invalid peer certificate", &url, &trusts_other);
    run("trusts no certificate", &url, &file("none.pem", ""));
    install(&db, &other).await;
    run("not valid for name", &url, &trusts_other);
}
