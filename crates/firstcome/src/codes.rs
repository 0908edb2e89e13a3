//! A claim's code: its serial, encrypted to twelve letters and digits, with a check character.
//!
//! The serial is written as a 60-bit number in base 32 and encrypted by FF1, the format-preserving
//! encryption of NIST SP 800-38G, with AES-128 and with the campaign's name as the tweak. FF1 is a
//! permutation, so no two serials of a campaign share a code, and a code gives its serial back
//! without a table. A serial has 32 bits: the other 28 must be zero after decryption, which is what
//! makes a guess fail (encode-then-encipher; Bellare and Rogaway, 2000). A guess hits one of `n`
//! claims with the probability `n / 2^60`. What else was weighed is in docs/security.md.
//!
//! The alphabet is that of Crockford's base 32, which lacks I, L, O and U.

mod numerals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aes::Aes128Enc;
use domain::types::Serial;
use fpe::ff1::FF1;
use sha2::{Digest, Sha256};

use self::numerals::Numerals;
use crate::data::write_durably;

/// Characters of a code: twelve and the check character.
pub const CODE_CHARACTERS: usize = 13;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// A numeral is one character of the code.
const RADIX: u32 = 32;
/// One of AES-128.
const KEY_BYTES: usize = 16;
const FILE_NAME: &str = "code-keys";

/// Why a text is no code of a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeError {
    /// Not the right number of characters, or one that no code holds.
    Malformed,
    /// The check character does not fit: most likely a typing error.
    CheckCharacter,
    /// Well-formed, but no claim of this campaign has it.
    Unknown,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is there, but not as it was written.
    #[error("{path} is damaged at line {line}: it must be a number that no other line has, and 32 hexadecimal digits")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// Codes were given out with a key that is not there any more.
    #[error("{path} lacks code key {number}, which campaign {campaign:?} uses; put the file back from a backup")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Which key.
        number: u32,
        /// Whose codes need it.
        campaign: String,
    },
    /// The file is gone, though the data folder is in use.
    #[error("{path} is missing, but coupons may have been given out with it; put the file back from a backup")]
    Gone {
        /// Which file.
        path: PathBuf,
    },
}

/// The code keys of a data folder, by number; at least one. The highest is used for new campaigns.
pub struct CodeKeys {
    keys: BTreeMap<u32, CodeKey>,
}

/// One key, made ready once: its schedule is a tenth of the work of a code.
struct CodeKey {
    // Both directions of FF1 use AES to encrypt.
    cipher: FF1<Aes128Enc>,
    fingerprint: [u8; 16],
}

/// What a text is made for. The tweak begins with it, so that texts of one kind tell nothing of
/// the other's.
#[derive(Clone, Copy)]
enum Purpose {
    Code = 1,
    Answer = 2,
}

type CodeNumerals = Numerals<{ RADIX as u64 }, { CODE_CHARACTERS - 1 }>;

impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}

impl CodeKeys {
    /// Reads the keys of a data folder; makes the first one, durably, where there is none and
    /// nothing has been decided yet.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(folder: &Path, has_decisions: bool, random: [u8; KEY_BYTES]) -> Result<Self, KeysError> {
        let path = path_in(folder);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_decisions => Err(KeysError::Gone { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_durably(folder, FILE_NAME, line_of(1, &random).as_bytes()).map_err(|source| KeysError::Io { path, source })?;
                Ok(Self { keys: BTreeMap::from([(1, CodeKey::new(&random))]) })
            }
            Err(source) => Err(KeysError::Io { path, source }),
        }
    }

    /// The number of the key that new campaigns use.
    #[must_use]
    pub fn newest(&self) -> u32 {
        let Some((number, _)) = self.keys.last_key_value() else { panic!("a data folder has a code key, or it is not opened") };
        *number
    }

    /// The number of each key.
    #[must_use]
    pub fn numbers(&self) -> BTreeSet<u32> {
        self.keys.keys().copied().collect()
    }

    /// The number of each key, and what tells it from others without giving it away.
    pub fn fingerprints(&self) -> impl Iterator<Item = (u32, [u8; 16])> + '_ {
        self.keys.iter().map(|(number, key)| (*number, key.fingerprint))
    }

    /// Makes sure that a campaign's key is there.
    ///
    /// # Errors
    /// [`KeysError::Missing`].
    pub fn require(&self, folder: &Path, number: u32, campaign: &str) -> Result<(), KeysError> {
        if self.keys.contains_key(&number) {
            return Ok(());
        }
        Err(KeysError::Missing { path: path_in(folder), number, campaign: campaign.to_owned() })
    }

    /// The code of a claim. Its campaign's key must be there (see [`Self::require`]).
    #[must_use]
    pub fn code(&self, key: u32, campaign: &str, serial: Serial) -> String {
        self.key(key, campaign).written(Purpose::Code, campaign, serial)
    }

    /// The serial that a code stands for. Case, hyphens and the look-alikes I, L and O do not
    /// matter. The campaign's key must be there (see [`Self::require`]).
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn serial(&self, key: u32, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        self.key(key, campaign).read(Purpose::Code, campaign, code)
    }

    /// The name of a claim's answer: it is known to whoever made the claim, and cannot be guessed.
    /// Its last part is made as a code is, but for another purpose: the claim's code does not tell it.
    #[must_use]
    pub fn answer(&self, key: u32, campaign: &str, serial: Serial) -> String {
        format!("{campaign}:{}", self.key(key, campaign).written(Purpose::Answer, campaign, serial))
    }

    /// The claim that an answer's name stands for, of the campaign that the name begins with.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn answered(&self, key: u32, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        self.key(key, campaign).read(Purpose::Answer, campaign, code)
    }

    /// Codes made with an invented key would be accepted by nobody who has the true one.
    fn key(&self, number: u32, campaign: &str) -> &CodeKey {
        let Some(key) = self.keys.get(&number) else {
            panic!("a server without code key {number} of campaign {campaign:?} does not start, or stops before it answers")
        };
        key
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KeysError> {
        let malformed = |line| KeysError::Malformed { path: path.to_owned(), line };
        let mut keys = BTreeMap::new();
        for (place, line) in text.lines().enumerate() {
            let (number, key) = parse_line(line).ok_or_else(|| malformed(place + 1))?;
            // Which of two keys codes were given out with, nobody could tell.
            if keys.insert(number, CodeKey::new(&key)).is_some() {
                return Err(malformed(place + 1));
            }
        }
        if keys.is_empty() { Err(malformed(1)) } else { Ok(Self { keys }) }
    }
}

impl CodeKey {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let Ok(cipher) = FF1::new(key, RADIX) else { panic!("FF1 is defined for the radix {RADIX}") };
        let digest: [u8; 32] = Sha256::new_with_prefix(b"firstcome code key").chain_update(key).finalize().into();
        let [fingerprint @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        Self { cipher, fingerprint }
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
        let [digits @ .., check] = digits_of(code).ok_or(CodeError::Malformed)?;
        if check_digit(&digits) != check {
            return Err(CodeError::CheckCharacter);
        }
        let encrypted = CodeNumerals::new(digits).ok_or(CodeError::Malformed)?;
        let plain = self.cipher.decrypt(&tweak_of(purpose, campaign), &encrypted);
        let Ok(plain) = plain else { panic!("twelve numerals of the radix 32 are a string of FF1") };
        u32::try_from(plain.number()).ok().and_then(Serial::new).ok_or(CodeError::Unknown)
    }
}

/// A code decrypts to noise with any tweak but its own.
fn tweak_of(purpose: Purpose, campaign: &str) -> Vec<u8> {
    [&[purpose as u8], campaign.as_bytes()].concat()
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

fn line_of(number: u32, key: &[u8; KEY_BYTES]) -> String {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{number} {hex}\n")
}

fn parse_line(line: &str) -> Option<(u32, [u8; KEY_BYTES])> {
    let (number, hex) = line.split_once(' ')?;
    if hex.len() != 2 * KEY_BYTES || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some((number.parse().ok()?, key))
}

fn digits_of(code: &str) -> Option<[u8; CODE_CHARACTERS]> {
    let mut digits = [0; CODE_CHARACTERS];
    let mut places = digits.iter_mut();
    for character in code.bytes().filter(|character| *character != b'-') {
        let normal = match character.to_ascii_uppercase() {
            b'I' | b'L' => b'1',
            b'O' => b'0',
            other => other,
        };
        let digit = ALPHABET.iter().position(|letter| *letter == normal)?;
        *places.next()? = u8::try_from(digit).ok()?;
    }
    places.next().is_none().then_some(digits)
}

/// The sum over GF(32) of each digit times a weight of its own: one wrong character, or two that
/// changed places, always give another check character.
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
