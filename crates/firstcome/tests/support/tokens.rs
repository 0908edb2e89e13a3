//! An identity provider for tests: keys of each algorithm, the tokens that they sign (right ones,
//! and any other bytes), and the files by which the program knows them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::tokens::{LEEWAY_S_STANDARD, TokenKeys, TokenSettings};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://id.example/realms/shop";
pub const AUDIENCE: &str = "firstcome";
pub const SECRET: &[u8] = b"a secret for tests, of 40 bytes or so...";
/// Made with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`, since `ring` makes no
/// RSA keys. It has never signed anything but tests.
const RSA_KEY: &[u8] = include_bytes!("../fixtures/tokens/for-tests-only-rsa-2048.pkcs8.der");

/// What the program is told of this provider.
pub fn settings(keys: TokenKeys) -> TokenSettings {
    TokenSettings { keys, issuer: ISSUER.to_owned(), audience: AUDIENCE.to_owned(), leeway_s: LEEWAY_S_STANDARD }
}

/// The claims of an ordinary token.
pub fn claims(subject: &str, expires_at_s: u64) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": expires_at_s})
}

/// A key that signs.
pub struct Signer {
    pub kid: Option<String>,
    key: SigningKey,
}

enum SigningKey {
    Hs256(Vec<u8>),
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub fn hs256(secret: &[u8]) -> Self {
        Self { kid: None, key: SigningKey::Hs256(secret.to_vec()) }
    }

    /// Always the same key.
    pub fn rs256() -> Self {
        Self { kid: None, key: SigningKey::Rs256(Box::new(RsaKeyPair::from_pkcs8(RSA_KEY).unwrap())) }
    }

    /// Another key each time.
    pub fn es256() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { kid: None, key: SigningKey::Es256(EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap()) }
    }

    /// Another key each time.
    pub fn ed_dsa() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { kid: None, key: SigningKey::EdDsa(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap()) }
    }

    /// The same key, with a `kid`.
    pub fn named(self, kid: &str) -> Self {
        Self { kid: Some(kid.to_owned()), ..self }
    }

    /// A key of each algorithm, named by it.
    pub fn one_of_each() -> [Self; 4] {
        [Self::hs256(SECRET), Self::rs256(), Self::es256(), Self::ed_dsa()].map(|signer| {
            let name = signer.algorithm();
            signer.named(name)
        })
    }

    pub fn algorithm(&self) -> &'static str {
        match &self.key {
            SigningKey::Hs256(_) => "HS256",
            SigningKey::Rs256(_) => "RS256",
            SigningKey::Es256(_) => "ES256",
            SigningKey::EdDsa(_) => "EdDSA",
        }
    }

    /// The key to verify with, as a JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            SigningKey::Hs256(secret) => json!({"kty": "oct", "k": base64(secret)}),
            SigningKey::Rs256(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": base64(&public.n), "e": base64(&public.e)})
            }
            SigningKey::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
            SigningKey::EdDsa(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref())}),
        };
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        if let Some(kid) = &self.kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    /// The header of an ordinary token.
    pub fn header(&self) -> Value {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm()});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    /// A token with any header, signed by this key's algorithm.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A token of any bytes.
    pub fn token_of(&self, header: &[u8], claims: &[u8]) -> String {
        self.signed(&format!("{}.{}", base64(header), base64(claims)))
    }

    /// Any text, with a dot and its signature.
    pub fn signed(&self, text: &str) -> String {
        format!("{text}.{}", base64(&self.signature(text.as_bytes())))
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            SigningKey::Hs256(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
            SigningKey::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            SigningKey::Es256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            SigningKey::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// The set that holds these keys.
pub fn jwks(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()})
}

/// Writes that set into a folder.
pub fn write_jwks(folder: &Path, signers: &[&Signer]) -> PathBuf {
    let path = folder.join("jwks.json");
    fs::write(&path, jwks(signers).to_string()).unwrap();
    path
}

/// Base64url without padding.
pub fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A signer's key with some members set, or with `null` taken away.
pub fn but(signer: &Signer, changes: Value) -> Value {
    let mut jwk = signer.jwk();
    jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    jwk.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    jwk
}

/// Nothing of [`SECRET`] or the RSA key: neither in base64 nor as the numbers or the hexadecimal
/// digits of its bytes.
pub fn assert_shows_no_key(text: &str) {
    let modulus = Signer::rs256().jwk()["n"].as_str().unwrap().to_owned();
    let hex: String = SECRET.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{}, {}, {}, {}", SECRET[0], SECRET[1], SECRET[2], SECRET[3]);
    let parts = ["a secret for tests", &base64(SECRET)[..8], &modulus[..8], &modulus[100..108], &hex, &numbers];
    for part in parts {
        assert!(!text.contains(part), "{part} in {text}");
    }
}
