//! What tokens say: until when, from whom, for whom, of whom.

use domain::types::{NameError, Timestamp};
use edge::tokens::{LEEWAY_S_MAX, TokenKeys, TokenRefusal, TokenSettings, Tokens};
use serde_json::{Value, json};

use super::provider::{self, AUDIENCE, ISSUER, SECRET, Signer};
use super::{NOW_S, ann, ordinary, ordinary_but, outcome, tokens};

/// What becomes of ordinary claims, with one that is set or taken away.
fn with(name: &str, value: impl Into<Option<Value>>) -> Result<String, TokenRefusal> {
    let signer = Signer::hs256(SECRET);
    outcome(&tokens(&[&signer]), &signer.token(&ordinary_but(name, value.into())))
}

/// What becomes of claims at an instant, with this leeway.
fn at(millis: u64, claims: &Value, leeway_s: u64) -> Result<String, TokenRefusal> {
    let (signer, folder) = (Signer::hs256(SECRET), tempfile::tempdir().unwrap());
    let keys = TokenKeys::Jwks(provider::write_jwks(folder.path(), &[&signer]));
    let tokens = Tokens::load(&TokenSettings { leeway_s, ..provider::settings(keys) }).unwrap();
    tokens.subject(&signer.token(claims), Timestamp::from_millis(millis).unwrap())
}

#[test]
fn a_token_is_taken_until_the_millisecond_before_exp_and_leeway() {
    let claims = provider::claims("ann", NOW_S);
    for leeway_s in [0, 1, 10, LEEWAY_S_MAX] {
        let end = 1_000 * (NOW_S + leeway_s);
        assert_eq!(at(end - 1, &claims, leeway_s), ann());
        assert_eq!(at(end, &claims, leeway_s), Err(TokenRefusal::Expired));
        assert_eq!(at(end + 1, &claims, leeway_s), Err(TokenRefusal::Expired));
    }
    assert_eq!(at(0, &claims, 0), ann());
    assert_eq!(at(Timestamp::MAX.millis(), &claims, 300), Err(TokenRefusal::Expired));
}

#[test]
fn a_token_is_taken_from_nbf_less_leeway() {
    let mut claims = provider::claims("ann", NOW_S + 3_600);
    claims["nbf"] = json!(NOW_S);
    for leeway_s in [0, 1, 10, LEEWAY_S_MAX] {
        let begin = 1_000 * (NOW_S - leeway_s);
        assert_eq!(at(begin - 1, &claims, leeway_s), Err(TokenRefusal::NotYetValid));
        assert_eq!(at(begin, &claims, leeway_s), ann());
        assert_eq!(at(begin + 1, &claims, leeway_s), ann());
    }
    assert_eq!(at(0, &claims, 0), Err(TokenRefusal::NotYetValid));
    claims["nbf"] = json!(5);
    assert_eq!(at(0, &claims, 10), ann());
}

#[test]
fn a_fraction_of_a_second_makes_no_token_valid_for_longer() {
    let now_ms = 1_000 * NOW_S;
    let mut claims = ordinary();
    for (exp, end) in [("1700000000.0", now_ms), ("1700000000.999", now_ms), ("1.7e9", now_ms), ("1700000001.5", now_ms + 1_000)] {
        claims["exp"] = serde_json::from_str(exp).unwrap();
        assert_eq!(at(end - 1, &claims, 0), ann(), "{exp}");
        assert_eq!(at(end, &claims, 0), Err(TokenRefusal::Expired), "{exp}");
    }
    claims = ordinary();
    for (nbf, begin) in [("1700000000.0", now_ms), ("1699999999.001", now_ms), ("1.7e9", now_ms)] {
        claims["nbf"] = serde_json::from_str(nbf).unwrap();
        assert_eq!(at(begin - 1, &claims, 0), Err(TokenRefusal::NotYetValid), "{nbf}");
        assert_eq!(at(begin, &claims, 0), ann(), "{nbf}");
    }
}

#[test]
fn a_time_is_a_number_of_seconds_up_to_the_year_9999() {
    let malformed = |name| Err(TokenRefusal::MalformedClaim(name));
    let no_times = [
        json!("1700000060"),
        json!(null),
        json!(true),
        json!([1_700_000_060]),
        json!({}),
        json!(-1),
        json!(-1.5),
        json!(i64::MIN),
        json!(253_402_300_800_u64),
        json!(1_700_000_060_000_u64),
        json!(u64::MAX),
        json!(253_402_300_800.0),
        json!(1e20),
        json!(1e300),
        json!(-1e300),
    ];
    for value in no_times {
        assert_eq!(with("exp", value.clone()), malformed("exp"), "{value}");
        assert_eq!(with("nbf", value.clone()), malformed("nbf"), "{value}");
    }
    assert_eq!(with("exp", json!(253_402_300_799_u64)), ann());
    assert_eq!(with("exp", json!(253_402_300_799.0)), ann());
    assert_eq!(with("nbf", json!(253_402_300_799_u64)), Err(TokenRefusal::NotYetValid));
    assert_eq!(with("exp", json!(0)), Err(TokenRefusal::Expired));
    assert_eq!(with("nbf", json!(0)), ann());
    let last = provider::claims("ann", 253_402_300_799);
    assert_eq!(at(Timestamp::MAX.millis(), &last, 1), ann());
    assert_eq!(at(Timestamp::MAX.millis(), &last, 0), Err(TokenRefusal::Expired));
}

#[test]
fn iat_is_not_looked_at() {
    for value in [json!(NOW_S + 1_000_000), json!("x"), json!(-5)] {
        assert_eq!(with("iat", value), ann());
    }
}

#[test]
fn what_must_be_there_is_missed() {
    for name in ["exp", "iss", "aud", "sub"] {
        assert_eq!(with(name, None), Err(TokenRefusal::MissingClaim(name)));
    }
    assert_eq!(with("nbf", None), ann());
}

#[test]
fn the_issuer_is_compared_exactly() {
    for other in ["", "https://evil.example", &format!("{ISSUER}/"), &ISSUER.to_uppercase(), &ISSUER[..ISSUER.len() - 1]] {
        assert_eq!(with("iss", json!(other)), Err(TokenRefusal::WrongIssuer), "{other}");
    }
    for wrong in [json!([ISSUER]), json!(null), json!(7), json!({ISSUER: ISSUER})] {
        assert_eq!(with("iss", wrong), Err(TokenRefusal::MalformedClaim("iss")));
    }
}

#[test]
fn the_audience_is_one_text_or_one_of_several() {
    for right in [json!(AUDIENCE), json!([AUDIENCE]), json!(["shop", AUDIENCE]), json!([AUDIENCE, "shop"])] {
        assert_eq!(with("aud", right.clone()), ann(), "{right}");
    }
    for wrong in
        [json!("shop"), json!(""), json!([]), json!(["shop", "firstcome2"]), json!("Firstcome"), json!("firstcome shop"), json!("first")]
    {
        assert_eq!(with("aud", wrong.clone()), Err(TokenRefusal::WrongAudience), "{wrong}");
    }
    for malformed in [json!(null), json!(7), json!([AUDIENCE, 7]), json!([[AUDIENCE]]), json!({AUDIENCE: AUDIENCE})] {
        assert_eq!(with("aud", malformed.clone()), Err(TokenRefusal::MalformedClaim("aud")), "{malformed}");
    }
}

#[test]
fn the_subject_is_one_that_can_be_recorded() {
    let malformed = |error| Err(TokenRefusal::SubjectMalformed(error));
    assert_eq!(with("sub", json!("")), malformed(NameError::Empty));
    assert_eq!(with("sub", json!("..")), malformed(NameError::Dots));
    assert_eq!(with("sub", json!("x".repeat(129))), malformed(NameError::TooLong(128)));
    for wrong in ["auth0|7", "ann@shop.example", "a b", "ann\n", "ann\0", "änn", "a/b"] {
        assert_eq!(with("sub", json!(wrong)), malformed(NameError::Character), "{wrong}");
    }
    for wrong in [json!(null), json!(7), json!(["ann"]), json!({"id": "ann"})] {
        assert_eq!(with("sub", wrong), Err(TokenRefusal::MalformedClaim("sub")));
    }
    assert_eq!(with("sub", json!("x".repeat(128))), Ok("x".repeat(128)));
    assert_eq!(with("sub", json!("user:7_a-b.c")), Ok("user:7_a-b.c".to_owned()));
    assert_eq!(TokenRefusal::SubjectMalformed(NameError::Dots).to_string(), "the token's \"sub\" must not be \".\" or \"..\"");
}
