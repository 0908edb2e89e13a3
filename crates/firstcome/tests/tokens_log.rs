//! Keys that are left out, in the log. A program of its own: what one thread does without a
//! subscriber can keep `tracing` from asking that of another.
#![allow(clippy::unwrap_used)]

#[path = "support/tokens.rs"]
mod provider;

use std::fs::{self, File};
use std::sync::Arc;

use edge::tokens::{TokenKeys, Tokens};
use provider::{SECRET, Signer, assert_shows_no_key, but};
use serde_json::json;

#[test]
fn a_key_that_is_left_out_is_named_in_the_log_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Arc::new(File::create(&path).unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log).finish();
    let (secret, rsa) = (Signer::hs256(SECRET).named("of-hmac"), Signer::rs256().named("of-rsa"));
    let keys =
        [but(&secret, json!({"use": "enc"})), but(&rsa, json!({"alg": "PS256"})), but(&rsa, json!({"kid": null, "use": "enc"})), rsa.jwk()];
    let set = folder.path().join("jwks.json");
    fs::write(&set, json!({"keys": keys}).to_string()).unwrap();
    tracing::subscriber::with_default(subscriber, || Tokens::load(&provider::settings(TokenKeys::Jwks(set))).unwrap());
    let log = fs::read_to_string(path).unwrap();
    for expected in
        ["WARN", "jwks.json", "key \"of-hmac\" is not used", "key \"of-rsa\" is not used", "key number 3 is not used", "\"use\""]
    {
        assert!(log.contains(expected), "{expected} in {log}");
    }
    assert_eq!(log.lines().count(), 3);
    assert_shows_no_key(&log);
}
