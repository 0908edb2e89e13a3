//! Forged and changed tokens.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use edge::tokens::TokenRefusal;
use ring::signature::{KeyPair as _, RsaKeyPair};
use serde_json::json;

use super::provider::{self, SECRET, Signer, base64};
use super::{ordinary, outcome, tokens};

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn with_bit_flipped(part: &str, bit: usize) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    base64(&bytes)
}

#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let signers = Signer::one_of_each();
    let tokens = tokens(&signers.each_ref());
    for signer in &signers {
        let token = signer.token(&ordinary());
        let parts: Vec<&str> = token.split('.').collect();
        let bits = |part: usize| 0..8 * URL_SAFE_NO_PAD.decode(parts[part]).unwrap().len();
        for bit in bits(0) {
            let changed = format!("{}.{}.{}", with_bit_flipped(parts[0], bit), parts[1], parts[2]);
            assert!(outcome(&tokens, &changed).is_err(), "{} header {bit}", signer.algorithm());
        }
        for bit in bits(1) {
            let changed = format!("{}.{}.{}", parts[0], with_bit_flipped(parts[1], bit), parts[2]);
            assert_eq!(outcome(&tokens, &changed), Err(TokenRefusal::WrongSignature), "{} claims {bit}", signer.algorithm());
        }
        for bit in bits(2) {
            let changed = format!("{}.{}.{}", parts[0], parts[1], with_bit_flipped(parts[2], bit));
            assert_eq!(outcome(&tokens, &changed), Err(TokenRefusal::WrongSignature), "{} signature {bit}", signer.algorithm());
        }
    }
}

#[test]
fn one_other_character_anywhere_is_refused_and_so_is_every_shorter_token() {
    let signer = Signer::hs256(SECRET);
    let tokens = tokens(&[&signer]);
    let token = signer.token(&ordinary());
    for place in 0..token.len() {
        assert!(outcome(&tokens, &token[..place]).is_err(), "up to {place}");
        for other in ALPHABET.iter().chain(b".=+/ \n").filter(|other| **other != token.as_bytes()[place]) {
            let mut changed = token.clone().into_bytes();
            changed[place] = *other;
            assert!(outcome(&tokens, std::str::from_utf8(&changed).unwrap()).is_err(), "{place} {}", char::from(*other));
        }
    }
}

#[test]
fn a_signature_of_another_length_is_refused() {
    for signer in Signer::one_of_each() {
        let tokens = tokens(&[&signer]);
        let token = signer.token(&ordinary());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for length in (0..signature.len()).chain([signature.len() + 1, 2 * signature.len()]) {
            let other: Vec<u8> = signature.iter().cycle().copied().take(length).collect();
            let changed = format!("{signed}.{}", base64(&other));
            assert_eq!(outcome(&tokens, &changed), Err(TokenRefusal::WrongSignature), "{} {length}", signer.algorithm());
        }
        let zeros = format!("{signed}.{}", base64(&vec![0; signature.len()]));
        assert_eq!(outcome(&tokens, &zeros), Err(TokenRefusal::WrongSignature), "{}", signer.algorithm());
    }
}

#[test]
fn claims_are_not_read_before_the_signature_is_right() {
    let (known, stranger) = (Signer::ed_dsa(), Signer::ed_dsa());
    let tokens = tokens(&[&known]);
    for claims in [&b"{"[..], b"{\"exp\":1}", b"{}", b"\xff"] {
        assert_eq!(outcome(&tokens, &stranger.token_of(b"{\"alg\":\"EdDSA\"}", claims)), Err(TokenRefusal::WrongSignature));
    }
}

#[test]
fn no_algorithm_is_no_signature() {
    for signer in Signer::one_of_each() {
        let tokens = tokens(&[&signer]);
        for none in ["none", "None", "NONE", "nOnE", "", " none", "none\0", "HS256\0", "hs256", "rs256"] {
            for header in [json!({"alg": none}), json!({"alg": none, "kid": signer.kid})] {
                let signed = signer.token_with(&header, &ordinary());
                let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
                assert_eq!(outcome(&tokens, &unsigned), Err(TokenRefusal::WrongAlgorithm), "{none:?}");
                assert_eq!(outcome(&tokens, &signed), Err(TokenRefusal::WrongAlgorithm), "{none:?}");
            }
        }
        for wrong in [json!({}), json!({"alg": null}), json!({"alg": 0}), json!({"alg": ["none"]}), json!({"alg": [signer.algorithm()]})] {
            assert_eq!(outcome(&tokens, &signer.token_with(&wrong, &ordinary())), Err(TokenRefusal::Malformed), "{wrong}");
        }
    }
}

#[test]
fn a_key_is_of_one_algorithm_whatever_the_token_says() {
    let names = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "Ed25519"];
    let signers = Signer::one_of_each();
    let tokens = tokens(&signers.each_ref());
    for signer in &signers {
        for name in names.into_iter().filter(|name| *name != signer.algorithm()) {
            let header = json!({"alg": name, "kid": signer.kid});
            assert_eq!(outcome(&tokens, &signer.token_with(&header, &ordinary())), Err(TokenRefusal::WrongAlgorithm), "{name}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let rsa = Signer::rs256().named("rsa");
    let tokens = tokens(&[&rsa]);
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("../../fixtures/tokens/for-tests-only-rsa-2048.pkcs8.der")).unwrap();
    let der = pair.public_key().as_ref();
    let lines: Vec<String> = STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", lines.join("\n"));
    let modulus = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    for secret in [der, pem.as_bytes(), pem.trim_end().as_bytes(), &modulus, rsa.jwk()["n"].as_str().unwrap().as_bytes(), b""] {
        let forger = Signer::hs256(secret);
        let as_hs256 = forger.token_with(&json!({"alg": "HS256", "kid": "rsa"}), &ordinary());
        assert_eq!(outcome(&tokens, &as_hs256), Err(TokenRefusal::WrongAlgorithm));
        assert_eq!(outcome(&tokens, &forger.token_with(&json!({"alg": "HS256"}), &ordinary())), Err(TokenRefusal::WrongAlgorithm));
        assert_eq!(outcome(&tokens, &forger.token_with(&rsa.header(), &ordinary())), Err(TokenRefusal::WrongSignature));
    }
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let (known, stranger) = (Signer::es256().named("k"), Signer::es256().named("k"));
    let tokens = tokens(&[&known]);
    let address = "https://evil.example/jwks.json";
    for more in [
        json!({"jwk": stranger.jwk()}),
        json!({"jku": address}),
        json!({"x5u": address}),
        json!({"x5c": ["AAAA"]}),
        json!({"jwk": stranger.jwk(), "jku": address, "x5u": address, "x5c": ["AAAA"]}),
    ] {
        let mut header = stranger.header();
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(outcome(&tokens, &stranger.token_with(&header, &ordinary())), Err(TokenRefusal::WrongSignature), "{more}");
        // Nor does it disturb a token that the known key signed.
        assert!(outcome(&tokens, &known.token_with(&header, &ordinary())).is_ok(), "{more}");
    }
}

#[test]
fn a_refusal_shows_nothing_of_the_token() {
    let signer = Signer::hs256(SECRET).named("MARKED");
    let tokens = tokens(&[&signer]);
    for claims in [json!({"MARKED": 1}), json!({"exp": "MARKED"}), provider::claims("MARKED|", super::NOW_S + 60)] {
        let refusal = outcome(&tokens, &signer.token(&claims)).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("MARKED"), "{refusal}");
    }
}
