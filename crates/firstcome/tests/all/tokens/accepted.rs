//! Tokens that are taken, with each algorithm, and which key is meant.

use std::fs;

use edge::tokens::{TokenKeys, TokenRefusal, Tokens};
use serde_json::json;

use super::provider::{self, SECRET, Signer};
use super::{ann, ordinary, outcome, tokens};

#[test]
fn a_token_of_each_algorithm_gives_its_subject() {
    let signers = Signer::one_of_each();
    let all = tokens(&signers.each_ref());
    for signer in &signers {
        assert_eq!(outcome(&all, &signer.token(&ordinary())), ann(), "{}", signer.algorithm());
        assert_eq!(outcome(&tokens(&[signer]), &signer.token(&ordinary())), ann(), "{}", signer.algorithm());
    }
}

#[test]
fn a_secret_in_a_file_is_all_of_it_but_for_one_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let load = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        Tokens::load(&provider::settings(TokenKeys::Secret(path.clone()))).unwrap()
    };
    let token = Signer::hs256(SECRET).token(&ordinary());
    assert_eq!(outcome(&load(SECRET), &token), ann());
    assert_eq!(outcome(&load(&[SECRET, b"\n"].concat()), &token), ann());
    assert_eq!(outcome(&load(&[SECRET, b"\r\n"].concat()), &token), ann());
    for other in [&[SECRET, b"\n\n"].concat(), &[SECRET, b" "].concat(), &[b" ", SECRET].concat(), &[SECRET, b"\r"].concat()] {
        assert_eq!(outcome(&load(other), &token), Err(TokenRefusal::WrongSignature));
    }
    let bytes: Vec<u8> = (0..32).map(|place| 255 - place).collect();
    assert_eq!(outcome(&load(&bytes), &Signer::hs256(&bytes).token(&ordinary())), ann());
    assert_eq!(outcome(&load(&bytes), &Signer::hs256(&bytes).named("k").token(&ordinary())), Err(TokenRefusal::UnknownKey));
}

#[test]
fn the_key_is_the_one_that_the_token_names() {
    let (old, new) = (Signer::es256().named("old"), Signer::es256().named("new"));
    let both = tokens(&[&old, &new]);
    assert_eq!(outcome(&both, &old.token(&ordinary())), ann());
    assert_eq!(outcome(&both, &new.token(&ordinary())), ann());
    assert_eq!(outcome(&both, &old.token_with(&new.header(), &ordinary())), Err(TokenRefusal::WrongSignature));
    let unknown = json!({"alg": "ES256", "kid": "older"});
    assert_eq!(outcome(&both, &old.token_with(&unknown, &ordinary())), Err(TokenRefusal::UnknownKey));
    assert_eq!(outcome(&tokens(&[&old]), &old.token_with(&unknown, &ordinary())), Err(TokenRefusal::UnknownKey));
}

#[test]
fn a_token_may_name_no_key_when_there_is_one_only() {
    let (one, other) = (Signer::es256().named("one"), Signer::ed_dsa().named("other"));
    let token = one.token_with(&json!({"alg": "ES256"}), &ordinary());
    assert_eq!(outcome(&tokens(&[&one]), &token), ann());
    assert_eq!(outcome(&tokens(&[&one, &other]), &token), Err(TokenRefusal::KeyNotNamed));
    let nameless = Signer::es256();
    assert_eq!(outcome(&tokens(&[&nameless]), &nameless.token(&ordinary())), ann());
}

#[test]
fn what_else_a_header_holds_does_not_matter() {
    let signer = Signer::rs256().named("k");
    for more in [json!({"typ": "at+jwt"}), json!({"cty": "x"}), json!({"x5t": "abc"}), json!({"b64": false}), json!({"x": {"y": [1]}})] {
        let mut header = signer.header();
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(outcome(&tokens(&[&signer]), &signer.token_with(&header, &ordinary())), ann(), "{more}");
    }
}
