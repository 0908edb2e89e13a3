//! The files with keys: what is taken from them, what is left out, what stops the start.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::tokens::{LEEWAY_S_MAX, TokenKeyError, TokenKeys, TokenRefusal, TokenSettings, Tokens, TokensError};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::provider::{self, SECRET, Signer, assert_shows_no_key, base64, but};
use super::{ann, ordinary, outcome};

fn load_text(text: &str) -> Result<Tokens, TokensError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    fs::write(&path, text).unwrap();
    Tokens::load(&provider::settings(TokenKeys::Jwks(path)))
}

fn load(keys: &[Value]) -> Result<Tokens, TokensError> {
    load_text(&json!({"keys": keys}).to_string())
}

/// What is wrong with a set of this one key.
fn wrong(jwk: Value) -> TokenKeyError {
    match load(&[jwk]) {
        Err(TokensError::Key { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_set_as_providers_publish_it_is_read() {
    let (rsa, ec) = (Signer::rs256().named("2024-05-01:sig"), Signer::es256().named("ZXhhbXBsZQ"));
    let certificate = "MIIC+zCCAeOgAwIBAgIJ/example+";
    let set = json!({
        "issuer": provider::ISSUER,
        "keys": [
            but(&rsa, json!({"x5c": [certificate], "x5t": "NmJmOGUxMzZl", "x5t#S256": "abc", "x5u": "https://id.example/c", "issuer": "x"})),
            but(&rsa, json!({"kid": "enc", "use": "enc", "alg": "RSA-OAEP", "x5c": [certificate]})),
            but(&ec, json!({"alg": null, "use": null, "key_ops": ["verify"], "ext": true, "exp": 1_700_000_000, "nbf": {"a": []}})),
        ],
    });
    let tokens = load_text(&serde_json::to_string_pretty(&set).unwrap()).unwrap();
    assert_eq!(outcome(&tokens, &rsa.token(&ordinary())), ann());
    assert_eq!(outcome(&tokens, &ec.token(&ordinary())), ann());
    let encryption = rsa.token_with(&json!({"alg": "RS256", "kid": "enc"}), &ordinary());
    assert_eq!(outcome(&tokens, &encryption), Err(TokenRefusal::UnknownKey));
}

#[test]
fn a_key_without_alg_is_of_the_algorithm_of_its_type() {
    for signer in Signer::one_of_each() {
        let tokens = load(&[but(&signer, json!({"alg": null, "use": null}))]).unwrap();
        assert_eq!(outcome(&tokens, &signer.token(&ordinary())), ann(), "{}", signer.algorithm());
        for other in ["HS256", "RS256", "ES256", "EdDSA", "none", "PS256"].into_iter().filter(|name| *name != signer.algorithm()) {
            let token = signer.token_with(&json!({"alg": other, "kid": signer.kid}), &ordinary());
            assert_eq!(outcome(&tokens, &token), Err(TokenRefusal::WrongAlgorithm), "{other}");
        }
    }
}

/// Keys that are for something else.
fn foreign() -> Vec<Value> {
    let [hmac, rsa, ec, ed] = Signer::one_of_each();
    let named = |signer: &Signer, changes: Value| {
        but(signer, json!({"kid": null})).as_object().unwrap().clone().into_iter().chain(changes.as_object().unwrap().clone()).collect()
    };
    vec![
        named(&rsa, json!({"alg": "RS384"})),
        named(&rsa, json!({"alg": "PS256"})),
        named(&rsa, json!({"alg": "HS256"})),
        named(&rsa, json!({"alg": "none"})),
        named(&rsa, json!({"alg": "rs256"})),
        named(&hmac, json!({"alg": "HS512"})),
        named(&hmac, json!({"alg": "RS256"})),
        named(&ec, json!({"alg": "ES384"})),
        named(&ec, json!({"alg": "ECDH-ES"})),
        named(&ed, json!({"alg": "ES256"})),
        named(&rsa, json!({"use": "enc"})),
        named(&rsa, json!({"use": "SIG"})),
        named(&rsa, json!({"key_ops": ["encrypt", "sign"]})),
        named(&rsa, json!({"key_ops": []})),
        named(&ec, json!({"crv": "P-384", "alg": "ES384"})),
        named(&ec, json!({"crv": "secp256k1", "alg": "ES256K"})),
        named(&ec, json!({"crv": "P-521"})),
        named(&ec, json!({"crv": "Ed25519"})),
        named(&ed, json!({"crv": "Ed448"})),
        named(&ed, json!({"crv": "X25519"})),
        named(&ed, json!({"crv": "P-256"})),
        named(&rsa, json!({"kty": "rsa"})),
        named(&rsa, json!({"kty": "AKP", "alg": "ML-DSA-44"})),
    ]
}

#[test]
fn a_key_for_something_else_is_left_out() {
    let known = Signer::ed_dsa().named("known");
    for jwk in foreign() {
        assert!(matches!(load(std::slice::from_ref(&jwk)), Err(TokensError::NoUsableKey(_))), "{jwk}");
        // One key is left, which tokens need not name.
        let tokens = load(&[jwk.clone(), known.jwk()]).unwrap();
        assert_eq!(outcome(&tokens, &known.token_with(&json!({"alg": "EdDSA"}), &ordinary())), ann(), "{jwk}");
    }
    assert!(matches!(load(&foreign()), Err(TokensError::NoUsableKey(_))));
}

#[test]
fn a_key_that_is_for_tokens_and_wrong_is_an_error() {
    let [hmac, rsa, ec, ed] = Signer::one_of_each();
    for (signer, name) in [(&hmac, "k"), (&rsa, "n"), (&rsa, "e"), (&ec, "x"), (&ec, "y"), (&ed, "x"), (&rsa, "kty")] {
        for value in [json!(null), json!(7), json!([65])] {
            assert_eq!(wrong(but(signer, json!({name: value}))), TokenKeyError::NoText(name));
        }
    }
    for (signer, name) in [(&hmac, "k"), (&rsa, "n"), (&rsa, "e"), (&ec, "x"), (&ec, "y"), (&ed, "x")] {
        let right = signer.jwk()[name].as_str().unwrap().to_owned();
        for value in [format!("{right}="), format!("{right} "), "+/+/".to_owned(), "A".to_owned(), "AB".to_owned()] {
            assert_eq!(wrong(but(signer, json!({name: value}))), TokenKeyError::Base64(name), "{value}");
        }
    }
    assert_eq!(wrong(but(&rsa, json!({"kid": 7}))), TokenKeyError::NoText("kid"));
    assert_eq!(wrong(but(&rsa, json!({"alg": 7}))), TokenKeyError::NoText("alg"));
    assert_eq!(wrong(but(&rsa, json!({"use": ["sig"]}))), TokenKeyError::NoText("use"));
    assert_eq!(wrong(but(&rsa, json!({"key_ops": "verify"}))), TokenKeyError::Operations);
    assert_eq!(wrong(but(&rsa, json!({"key_ops": ["verify", 7]}))), TokenKeyError::Operations);
}

#[test]
fn a_secret_has_32_bytes_at_least() {
    assert_eq!(wrong(Signer::hs256(&[7; 31]).jwk()), TokenKeyError::SecretTooShort);
    assert_eq!(wrong(Signer::hs256(b"").jwk()), TokenKeyError::SecretTooShort);
    assert!(load(&[Signer::hs256(&[7; 32]).jwk()]).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for (content, is_right) in [(&[7; 31][..], false), (&[7; 32], true), (&[&[7; 31][..], b"\n"].concat(), false), (b"", false)] {
        fs::write(&path, content).unwrap();
        match Tokens::load(&provider::settings(TokenKeys::Secret(path.clone()))) {
            Ok(_) => assert!(is_right),
            Err(error) => {
                assert!(!is_right);
                assert_eq!(error.to_string(), format!("{}: a secret for HS256 must have at least 32 bytes", path.display()));
            }
        }
    }
}

#[test]
fn an_rsa_key_has_2048_bits_at_least_and_is_odd() {
    let rsa = Signer::rs256().named("k");
    let modulus = |bits: usize, last: u8| {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] >>= bytes.len() * 8 - bits;
        *bytes.last_mut().unwrap() = last;
        but(&rsa, json!({"n": base64(&bytes)}))
    };
    for bits in [8, 512, 1_024, 2_040, 2_047, 8_193, 16_384] {
        assert_eq!(wrong(modulus(bits, 0xff)), TokenKeyError::RsaBits, "{bits}");
    }
    for bits in [2_048, 3_072, 8_192] {
        assert!(load(&[modulus(bits, 0xff)]).is_ok(), "{bits}");
    }
    assert_eq!(wrong(but(&rsa, json!({"n": ""}))), TokenKeyError::RsaBits);
    assert_eq!(wrong(modulus(2_048, 0xfe)), TokenKeyError::RsaNumbers);
    let exponents: [&[u8]; 8] = [b"", &[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[9; 5], &[1; 9]];
    for exponent in exponents {
        assert_eq!(wrong(but(&rsa, json!({"e": base64(exponent)}))), TokenKeyError::RsaNumbers, "{exponent:?}");
    }
    let long_zeros = modulus(2_047, 0xff)["n"].as_str().unwrap().to_owned();
    assert_eq!(wrong(but(&rsa, json!({"n": format!("AAAA{long_zeros}")}))), TokenKeyError::RsaBits);
}

#[test]
fn a_zero_before_the_modulus_does_no_harm() {
    let rsa = Signer::rs256();
    let modulus = format!("AAAA{}", rsa.jwk()["n"].as_str().unwrap());
    let tokens = load(&[but(&rsa, json!({"n": modulus, "e": "AAEAAQ"}))]).unwrap();
    assert_eq!(outcome(&tokens, &rsa.token(&ordinary())), ann());
}

#[test]
fn a_point_is_on_its_curve() {
    let (ec, ed) = (Signer::es256().named("k"), Signer::ed_dsa().named("k"));
    let (x, y) = (ec.jwk()["x"].clone(), ec.jwk()["y"].clone());
    let point = [&x, &y].map(|number| URL_SAFE_NO_PAD.decode(number.as_str().unwrap()).unwrap()).concat();
    let mut bytes = vec![0; 32];
    bytes[31] = 1;
    for changes in [
        json!({"x": y.clone(), "y": x.clone()}),
        json!({"y": x}),
        json!({"x": base64(&[0; 32]), "y": base64(&[0; 32])}),
        json!({"x": base64(&[0xff; 32])}),
        json!({"x": base64(&bytes), "y": base64(&bytes)}),
        // Of 65 bytes together, but parted elsewhere.
        json!({"x": base64(&point[..31]), "y": base64(&point[31..])}),
        json!({"x": base64(&[7; 31])}),
        json!({"y": base64(&[7; 33])}),
        json!({"x": ""}),
    ] {
        assert_eq!(wrong(but(&ec, changes.clone())), TokenKeyError::NotOnCurve, "{changes}");
    }
    for length in [0, 31, 33, 57, 64] {
        assert_eq!(wrong(but(&ed, json!({"x": base64(&vec![7; length])}))), TokenKeyError::Ed25519Bytes, "{length}");
    }
}

#[test]
fn keys_can_be_told_apart() {
    let (one, other) = (Signer::es256().named("k"), Signer::rs256().named("k"));
    let error = load(&[one.jwk(), other.jwk()]).unwrap_err();
    assert!(matches!(&error, TokensError::DuplicateKid { kid, .. } if kid == "k"), "{error:?}");
    assert!(matches!(load(&[one.jwk(), one.jwk()]), Err(TokensError::DuplicateKid { .. })));
    // One that is left out is in nobody's way.
    let tokens = load(&[one.jwk(), but(&other, json!({"use": "enc"}))]).unwrap();
    assert_eq!(outcome(&tokens, &one.token(&ordinary())), ann());
    for keys in [[one.jwk(), Signer::rs256().jwk()], [Signer::rs256().jwk(), one.jwk()], [Signer::es256().jwk(), Signer::rs256().jwk()]] {
        assert!(matches!(load(&keys), Err(TokensError::Key { source: TokenKeyError::NoKid, .. })));
    }
}

#[test]
fn what_is_no_set_is_refused() {
    for text in ["", "{", "no json", "{\"keys\":[]", "{\"keys\":[],}", "{\"keys\":[],\"keys\":[]}", "-----BEGIN PUBLIC KEY-----"] {
        assert!(matches!(load_text(text), Err(TokensError::NotJson { line, .. }) if line <= 1), "{text}");
    }
    let twice = format!("{{\"keys\":[\n{}]}}", Signer::rs256().jwk().to_string().replace("{", "{\"kty\":\"RSA\","));
    assert!(matches!(load_text(&twice), Err(TokensError::NotJson { line: 2, .. })));
    let jwk = Signer::rs256().jwk().to_string();
    for text in
        ["[]", "null", "7", "{}", "{\"keys\":{}}", "{\"keys\":null}", "{\"keys\":[7]}", "{\"keys\":[[]]}", &jwk, &format!("[{jwk}]")]
    {
        assert!(matches!(load_text(text), Err(TokensError::NoKeySet(_))), "{text}");
    }
    assert!(matches!(load(&[]), Err(TokensError::NoUsableKey(_))));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("absent");
    for keys in [TokenKeys::Jwks(path.clone()), TokenKeys::Secret(path.clone())] {
        let error = Tokens::load(&provider::settings(keys)).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot read {}: ", path.display())), "{error}");
    }
}

#[test]
fn settings_that_would_take_any_token_are_refused() {
    let keys = || TokenKeys::Secret(Path::new("/absent").to_owned());
    let load = |settings| Tokens::load(&settings).unwrap_err();
    assert!(matches!(load(TokenSettings { issuer: String::new(), ..provider::settings(keys()) }), TokensError::Empty("issuer")));
    assert!(matches!(load(TokenSettings { audience: String::new(), ..provider::settings(keys()) }), TokensError::Empty("audience")));
    let too_long = TokenSettings { leeway_s: LEEWAY_S_MAX + 1, ..provider::settings(keys()) };
    assert!(matches!(load(too_long), TokensError::Leeway(301)));
}

#[test]
fn neither_errors_nor_debug_output_show_a_key() {
    let signers = Signer::one_of_each();
    let jwks: Vec<Value> = signers.iter().map(Signer::jwk).collect();
    let tokens = load(&jwks).unwrap();
    assert_shows_no_key(&format!("{tokens:?}"));
    for part in [signers[2].jwk()["x"].as_str().unwrap(), signers[3].jwk()["x"].as_str().unwrap()] {
        assert!(!format!("{tokens:?}").contains(part));
    }
    let texts = [
        json!({"keys": base64(SECRET)}).to_string(),
        json!({"keys": [base64(SECRET)]}).to_string(),
        json!(base64(SECRET)).to_string(),
        base64(SECRET),
        String::from_utf8_lossy(SECRET).into_owned(),
        json!({"keys": [but(&signers[0], json!({"k": format!("{}=", base64(SECRET))}))]}).to_string(),
        json!({"keys": [but(&signers[0], json!({"k": [base64(SECRET)]}))]}).to_string(),
        json!({"keys": [but(&signers[1], json!({"e": "AA"}))]}).to_string(),
        json!({"keys": [jwks[0], jwks[0]]}).to_string(),
    ];
    for text in texts {
        let error = load_text(&text).unwrap_err();
        assert_shows_no_key(&format!("{error} {error:?}"));
    }
}
