//! The examples of RFC 7515 (appendix A.1 to A.3) and RFC 8037 (appendix A.4): signatures made by
//! others verify here.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::types::Timestamp;
use serde_json::{Value, json};

use super::claims::Expected;
use super::{Compact, TokenRefusal, Tokens, jwks};

const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EXPIRES_AT_MS: u64 = 1_300_819_380_000;

fn tokens(jwk: &Value) -> Tokens {
    let keys = jwks::parse(Path::new("set"), json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    Tokens { keys, expected: Expected { issuer: "joe".to_owned(), audience: "x".to_owned(), leeway_ms: 0 } }
}

/// The signature is valid, and invalid with any one bit flipped.
fn assert_verifies(tokens: &Tokens, token: &str) {
    let (token, key) = (Compact::split(token).unwrap(), &tokens.keys[0].key);
    let signature = URL_SAFE_NO_PAD.decode(token.signature).unwrap();
    assert!(key.verifies(token.signed.as_bytes(), &signature));
    for bit in 0..8 * signature.len() {
        let mut wrong = signature.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verifies(token.signed.as_bytes(), &wrong), "bit {bit}");
    }
}

/// The claims of RFC 7515 expire at the stated time; before that, they are refused for the missing audience.
fn assert_is_read(tokens: &Tokens, token: &str) {
    assert_verifies(tokens, token);
    let at = |millis| tokens.subject(token, Timestamp::from_millis(millis).unwrap());
    assert_eq!(at(EXPIRES_AT_MS - 1), Err(TokenRefusal::MissingClaim("aud")));
    assert_eq!(at(EXPIRES_AT_MS), Err(TokenRefusal::Expired));
}

#[test]
fn rfc_7515_a_1_hs256() {
    let k = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_is_read(&tokens(&json!({"kty": "oct", "k": k})), &format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}.{signature}"));
}

#[test]
fn rfc_7515_a_2_rs256() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    assert_is_read(&tokens(&json!({"kty": "RSA", "n": n, "e": "AQAB"})), &format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{signature}"));
}

#[test]
fn rfc_7515_a_3_es256() {
    let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_is_read(&tokens(&json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})), &format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{signature}"));
}

#[test]
fn rfc_8037_a_4_ed25519() {
    let tokens = tokens(&json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}));
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let token = format!("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.{signature}");
    assert_verifies(&tokens, &token);
    // The signed payload is a sentence, not claims.
    assert_eq!(tokens.subject(&token, Timestamp::ZERO), Err(TokenRefusal::Malformed));
}
