//! A claim's code: its serial, encrypted to twelve letters and digits, with a check character.
//!
//! The serial is written as a 60-bit number in base 32 and encrypted by FF1, the format-preserving encryption
//! of NIST SP 800-38G, with AES-128 and with the campaign's name as the tweak. FF1 is a permutation, so no
//! two serials of a campaign share a code, and a code is decrypted to its serial without a table. A serial
//! has 32 bits: the other 28 must be zero after decryption, which is what makes a guess fail
//! (encode-then-encipher; Bellare and Rogaway, 2000). A guess hits one of `n` claims with the probability `n
//! / 2^60`. docs/security.md discusses the alternatives.
//!
//! The alphabet is that of Crockford's base 32, which lacks I, L, O and U.

mod numerals;
mod typed;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aes::Aes128Enc;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use domain::keyring::CODE_KEYS_MAX;
use domain::types::Serial;
use fpe::ff1::FF1;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use self::numerals::Numerals;
use self::typed::digits_of;
use crate::data::write_durably;

/// Characters of a code: twelve and the check character.
pub const CODE_CHARACTERS: usize = 13;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// One numeral is one character of the code.
const RADIX: u32 = 32;
/// The key length of AES-128.
const KEY_BYTES: usize = 16;
/// The digest length of HKDF-SHA256.
const SECRET_BYTES: usize = 32;
const FILE_NAME: &str = "code-secret";

/// Why a text is not a code of a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeError {
    /// So many characters instead of [`CODE_CHARACTERS`].
    Length(usize),
    /// A character that is in no code, and its place among those that count, from 1.
    Character(char, usize),
    /// The check character does not match: most likely a typing error.
    CheckCharacter,
    /// Well-formed, but not the code of a claim of this campaign.
    Unknown,
}

/// Why the secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The file exists, but its contents are damaged.
    #[error("{path} is damaged: it must be one line of 64 hexadecimal digits; put the file back from a backup")]
    Malformed {
        /// The file's path.
        path: PathBuf,
    },
    /// The file is missing, although the data folder is in use.
    #[error("{path} is missing, but coupons may have been given out with it; put the file back from a backup")]
    Gone {
        /// The file's path.
        path: PathBuf,
    },
}

/// The code keys, all derived from the secret of a data folder by HKDF-SHA256 (RFC 5869).
pub struct CodeKeys {
    secret: Prk,
    /// Identifies the secret without revealing it.
    fingerprint: [u8; 16],
    /// By number, each built at its first use: the key schedule costs a tenth of a code. Campaigns without a
    /// key number of their own use 0.
    keys: Box<[OnceLock<Box<CodeKey>>]>,
}

/// One key with its AES key schedule.
struct CodeKey {
    // Both directions of FF1 use AES to encrypt.
    cipher: FF1<Aes128Enc>,
}

/// The length of HKDF's output.
struct KeyLength;

/// What a text is for. The tweak begins with the purpose, so that a code reveals nothing about the name of
/// the claim's answer, and vice versa.
#[derive(Clone, Copy)]
enum Purpose {
    Code = 1,
    Answer = 2,
}

type CodeNumerals = Numerals<{ RADIX as u64 }, { CODE_CHARACTERS - 1 }>;

impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeKeys(…)")
    }
}

impl CodeKeys {
    /// Reads the secret of a data folder; creates it durably if there is none and nothing has been decided yet.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn open(folder: &Path, has_decisions: bool, random: [u8; SECRET_BYTES]) -> Result<Self, SecretError> {
        let path = folder.join(FILE_NAME);
        match fs::read(&path) {
            Ok(line) => secret_in(&line).map(|secret| Self::of(&secret)).ok_or(SecretError::Malformed { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_decisions => Err(SecretError::Gone { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let line = HEXLOWER.encode(&random) + "\n";
                write_durably(folder, FILE_NAME, line.as_bytes()).map_err(|source| SecretError::Io { path, source })?;
                Ok(Self::of(&random))
            }
            Err(source) => Err(SecretError::Io { path, source }),
        }
    }

    fn of(secret: &[u8; SECRET_BYTES]) -> Self {
        let secret = Salt::new(HKDF_SHA256, b"firstcome codes").extract(secret);
        let fingerprint = derived(&secret, &[b"fingerprint"]);
        Self { secret, fingerprint, keys: (0..=CODE_KEYS_MAX).map(|_| OnceLock::new()).collect() }
    }

    /// Identifies the secret without revealing it.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }

    /// The code of a claim.
    #[must_use]
    pub fn code(&self, key: u32, campaign: &str, serial: Serial) -> String {
        self.key(key).written(Purpose::Code, campaign, serial)
    }

    /// The serial that a code was made from, as people type and paste it (`codes/typed.rs`).
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn serial(&self, key: u32, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        self.key(key).read(Purpose::Code, campaign, code)
    }

    /// The name of a claim's answer: known to the caller that claimed, and impossible to guess. Its last part
    /// is made like a code, but for another purpose: it does not follow from the claim's code.
    #[must_use]
    pub fn answer(&self, key: u32, campaign: &str, serial: Serial) -> String {
        format!("{campaign}:{}", self.key(key).written(Purpose::Answer, campaign, serial))
    }

    /// The serial of the claim that an answer's name stands for; `campaign` is the first part of the name.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn answered(&self, key: u32, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        self.key(key).read(Purpose::Answer, campaign, code)
    }

    fn key(&self, number: u32) -> &CodeKey {
        let Some(place) = usize::try_from(number).ok().and_then(|number| self.keys.get(number)) else {
            panic!("no campaign has code key {number}")
        };
        place.get_or_init(|| Box::new(CodeKey::new(&derived(&self.secret, &[b"code key", &number.to_le_bytes()]))))
    }
}

impl CodeKey {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let Ok(cipher) = FF1::new(key, RADIX) else { panic!("FF1 is defined for the radix {RADIX}") };
        Self { cipher }
    }

    fn written(&self, purpose: Purpose, campaign: &str, serial: Serial) -> String {
        let plain = CodeNumerals::of_number(u64::from(serial.get()));
        let encrypted = self.cipher.encrypt(&tweak_of(purpose, campaign), &plain);
        let Ok(encrypted) = encrypted else { panic!("twelve numerals of the radix 32 are a string of FF1") };
        let digits = encrypted.numerals();
        let characters = digits.iter().copied().chain([check_digit(digits)]);
        characters.map(|digit| char::from(ALPHABET[usize::from(digit)])).collect()
    }

    fn read(&self, purpose: Purpose, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        let [digits @ .., check] = digits_of(code)?;
        if check_digit(&digits) != check {
            return Err(CodeError::CheckCharacter);
        }
        let Some(encrypted) = CodeNumerals::new(digits) else { panic!("a character of a code is a numeral of the radix {RADIX}") };
        let plain = self.cipher.decrypt(&tweak_of(purpose, campaign), &encrypted);
        let Ok(plain) = plain else { panic!("twelve numerals of the radix 32 are a string of FF1") };
        u32::try_from(plain.number()).ok().and_then(Serial::new).ok_or(CodeError::Unknown)
    }
}

/// A code decrypts to noise with any other tweak.
fn tweak_of(purpose: Purpose, campaign: &str) -> Vec<u8> {
    [&[purpose as u8], campaign.as_bytes()].concat()
}

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// Keys derived for different purposes reveal nothing about each other.
fn derived(secret: &Prk, purpose: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    let filled = secret.expand(purpose, KeyLength).and_then(|output| output.fill(&mut bytes));
    assert!(filled.is_ok(), "HKDF-SHA256 gives up to 8160 bytes");
    bytes
}

fn secret_in(line: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    HEXLOWER_PERMISSIVE.decode(line.trim_ascii_end()).ok()?.try_into().ok()
}

/// A code as this program writes it, if it has the form of one.
#[must_use]
pub fn normal(code: &str) -> Option<String> {
    Some(digits_of(code).ok()?.into_iter().map(|digit| char::from(ALPHABET[usize::from(digit)])).collect())
}

/// The sum over GF(32) of each digit times its own weight: one wrong character, or two swapped ones, always
/// give another check character.
fn check_digit(digits: &[u8; CODE_CHARACTERS - 1]) -> u8 {
    let mut weight = 1;
    digits.iter().fold(0, |sum, digit| {
        weight = times(weight, 2);
        sum ^ times(*digit, weight)
    })
}

/// Multiplication in GF(2^5) modulo x^5 + x^2 + 1, which is primitive: the powers of 2 are 31
/// different weights.
fn times(mut one: u8, mut other: u8) -> u8 {
    let mut product = 0;
    while other != 0 {
        if other & 1 == 1 {
            product ^= one;
        }
        one = if one & 0b1_0000 == 0 { one << 1 } else { (one << 1) ^ 0b10_0101 };
        other >>= 1;
    }
    product
}

#[cfg(test)]
mod tests;
