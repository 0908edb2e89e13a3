//! How a token is written: the compact form, base64url and JSON, each in one way only.

use edge::tokens::{TOKEN_BYTES_MAX, TokenRefusal};
use serde_json::json;

use super::provider::{SECRET, Signer, base64};
use super::{ann, ordinary, ordinary_but, outcome, tokens};

const HEADER: &[u8] = b"{\"alg\":\"HS256\"}";

fn refused(token: &str) -> TokenRefusal {
    outcome(&tokens(&[&Signer::hs256(SECRET)]), token).unwrap_err()
}

#[test]
fn a_token_has_three_parts() {
    let signer = Signer::hs256(SECRET);
    let token = signer.token(&ordinary());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    for wrong in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        header.to_owned(),
        signed.to_owned(),
        format!("{token}."),
        format!(".{token}"),
        format!("{header}..{claims}.{signature}"),
        format!("{token}.{signature}.{signature}"),
        // Each with a signature that is right for all that stands before it.
        signer.signed(header),
        signer.signed(&format!("{signed}.")),
        signer.signed(&format!("{signed}.{claims}")),
        signer.signed(&format!("{signed}..")),
        signer.signed(&format!(".{claims}")),
        signer.signed(&format!("{header}.")),
        signer.signed("."),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("Bearer {token}"),
    ] {
        assert_eq!(refused(&wrong), TokenRefusal::Malformed, "{wrong:?}");
    }
}

#[test]
fn base64_is_written_in_one_way() {
    let signer = Signer::hs256(SECRET);
    // Of 16 and 53 bytes, so that there is a last character with stray bits.
    let (header, claims) = (base64(b"{\"alg\": \"HS256\"}"), base64(ordinary().to_string().as_bytes()));
    assert_eq!(header.len() % 4, 2);
    let signed = format!("{header}.{claims}");
    assert_eq!(outcome(&tokens(&[&signer]), &signer.signed(&signed)), ann());
    let next = |part: &str| {
        let (rest, last) = part.split_at(part.len() - 1);
        format!("{rest}{}", char::from(last.as_bytes()[0] + 1))
    };
    for wrong in [
        signer.signed(&format!("{header}==.{claims}")),
        signer.signed(&format!("{header}=.{claims}")),
        signer.signed(&format!("{header}.{claims}=")),
        signer.signed(&format!("{header}.{claims}==")),
        signer.signed(&format!("{}.{claims}", next(&header))),
        signer.signed(&format!("{header}A.{claims}AAA=")),
        signer.signed(&format!("{header}\n.{claims}")),
        signer.signed(&format!("{header} .{claims}")),
        signer
            .signed(&format!("{}.{claims}", base64(b"{\"alg\":\"HS256\",\"a\":\"\xc3\xbf\xc3\xbf\"}").replace('-', "+").replace('_', "/"))),
        format!("{}=", signer.signed(&signed)),
        // 32 bytes leave two stray bits, which are zero in the right spelling.
        next(&signer.signed(&signed)),
    ] {
        assert_eq!(refused(&wrong), TokenRefusal::Malformed, "{wrong:?}");
    }
}

#[test]
fn stray_bits_in_the_claims_are_refused() {
    let signer = Signer::hs256(SECRET);
    let claims = (1..=3).map(|extra| ordinary_but("x", Some(json!("y".repeat(extra)))).to_string());
    let claims = claims.map(|claims| base64(claims.as_bytes())).find(|claims| claims.len() % 4 == 2).unwrap();
    let (rest, last) = claims.split_at(claims.len() - 1);
    let stray = format!("{rest}{}", char::from(last.as_bytes()[0] + 1));
    assert_eq!(outcome(&tokens(&[&signer]), &signer.signed(&format!("{}.{claims}", base64(HEADER)))), ann());
    assert_eq!(refused(&signer.signed(&format!("{}.{stray}", base64(HEADER)))), TokenRefusal::Malformed);
}

#[test]
fn header_and_claims_are_json_objects_in_utf_8() {
    let signer = Signer::hs256(SECRET);
    let right = ordinary().to_string();
    let deep = format!("{{\"x\":{}{},{}", "[".repeat(130), "]".repeat(130), &right[1..]);
    let open = format!("{{\"x\":{}", "[".repeat(5_000));
    let list = format!("[{right}]");
    let mark = format!("\u{feff}{right}");
    let twice = format!("{right}{right}");
    let wrong: [&[u8]; 12] = [
        b"",
        b"{",
        b"null",
        b"7",
        b"\"x\"",
        b"[]",
        list.as_bytes(),
        mark.as_bytes(),
        twice.as_bytes(),
        b"{\"\xff\":1}",
        deep.as_bytes(),
        open.as_bytes(),
    ];
    for claims in wrong {
        assert_eq!(refused(&signer.token_of(HEADER, claims)), TokenRefusal::Malformed, "{}", String::from_utf8_lossy(claims));
        // In the header's place, where `alg` alone is no excuse.
        assert_eq!(refused(&signer.token_of(claims, right.as_bytes())), TokenRefusal::Malformed);
    }
    let latin = [&right.as_bytes()[..right.len() - 1], b",\"name\":\"J\xfcrgen\"}"].concat();
    assert_eq!(refused(&signer.token_of(HEADER, &latin)), TokenRefusal::Malformed);
}

#[test]
fn a_member_twice_is_refused_in_header_and_claims() {
    let signer = Signer::hs256(SECRET);
    let right = ordinary().to_string();
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
        r#"{"alg":"HS256","x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(refused(&signer.token_of(header.as_bytes(), right.as_bytes())), TokenRefusal::Malformed, "{header}");
    }
    for more in [r#""sub":"bob""#, r#""sub":"ann""#, r#""\u0073ub":"bob""#, r#""exp":1"#, r#""x":1,"x":1"#, r#""x":[{"y":1,"y":1}]"#] {
        for claims in [format!("{{{more},{}", &right[1..]), format!("{},{more}}}", &right[..right.len() - 1])] {
            assert_eq!(refused(&signer.token_of(HEADER, claims.as_bytes())), TokenRefusal::Malformed, "{claims}");
        }
    }
}

#[test]
fn names_of_members_are_compared_exactly() {
    let signer = Signer::hs256(SECRET);
    assert_eq!(refused(&signer.token_of(b"{\"Alg\":\"HS256\"}", ordinary().to_string().as_bytes())), TokenRefusal::Malformed);
    let claims = ordinary_but("sub", None).to_string().replace('}', ",\"Sub\":\"ann\",\"sub \":\"ann\"}");
    assert_eq!(refused(&signer.token_of(HEADER, claims.as_bytes())), TokenRefusal::MissingClaim("sub"));
}

#[test]
fn extensions_that_must_be_understood_are_refused() {
    let signer = Signer::hs256(SECRET);
    for critical in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("x")] {
        let header = json!({"alg": "HS256", "crit": critical, "b64": true});
        assert_eq!(refused(&signer.token_with(&header, &ordinary())), TokenRefusal::Critical, "{header}");
    }
}

#[test]
fn a_kid_is_a_text() {
    let signer = Signer::hs256(SECRET);
    for kid in [json!(null), json!(1), json!(["k"]), json!({})] {
        assert_eq!(refused(&signer.token_with(&json!({"alg": "HS256", "kid": kid}), &ordinary())), TokenRefusal::Malformed, "{kid}");
    }
    assert_eq!(refused(&signer.token_with(&json!({"alg": "HS256", "kid": ""}), &ordinary())), TokenRefusal::UnknownKey);
}

#[test]
fn the_longest_token_is_taken_and_one_byte_more_is_not() {
    let signer = Signer::hs256(SECRET);
    let tokens = tokens(&[&signer]);
    // The rest of the length that padding inside the claims cannot make is made in the header.
    let token_of = |length: usize| {
        let token = |header: usize, claims: usize| {
            let header = json!({"alg": "HS256", "x": "x".repeat(header)});
            signer.token_with(&header, &ordinary_but("x", Some(json!("x".repeat(claims)))))
        };
        let short = length - token(0, 0).len();
        let claims = (short - 8) * 3 / 4;
        (0..9)
            .flat_map(|header| [(header, claims - 1), (header, claims), (header, claims + 1)])
            .map(|(header, claims)| token(header, claims))
            .find(|token| token.len() == length)
            .unwrap()
    };
    assert_eq!(outcome(&tokens, &token_of(TOKEN_BYTES_MAX)), ann());
    assert_eq!(outcome(&tokens, &token_of(TOKEN_BYTES_MAX + 1)), Err(TokenRefusal::TooLong));
    assert_eq!(outcome(&tokens, &".".repeat(1 << 20)), Err(TokenRefusal::TooLong));
}
