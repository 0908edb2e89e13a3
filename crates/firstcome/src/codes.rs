//! A claim's code: a keyed permutation of its serial, with a check character.
//!
//! Unique by construction (a permutation never maps two serials to one code) and wide enough that
//! guessing is hopeless: 60 bits, so that with 10,000 claims one guess in 10^14 hits. The
//! permutation is a balanced Feistel network (Luby and Rackoff, 1988) with SipHash-2-4 as its
//! round function; the campaign's name goes into every round, so that each campaign has codes of
//! its own. Written in the alphabet of Crockford's base 32, which lacks I, L, O and U.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

use domain::types::Serial;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::data::write_durably;

/// Characters of a code: twelve and the check character.
pub const CODE_CHARACTERS: usize = 13;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HALF_BITS: u32 = 30;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
/// Luby and Rackoff need four rounds for a strong permutation from ideal functions; ten leave a
/// margin for halves that are as small as 30 bits.
const ROUNDS: u64 = 10;
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

/// The code keys of a data folder, by number. The highest is used for new campaigns.
pub struct CodeKeys {
    keys: BTreeMap<u32, [u8; KEY_BYTES]>,
}

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
                Ok(Self { keys: BTreeMap::from([(1, random)]) })
            }
            Err(source) => Err(KeysError::Io { path, source }),
        }
    }

    /// The number of the key that new campaigns use.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.keys.keys().next_back().copied().unwrap_or(1)
    }

    /// The number of each key.
    #[must_use]
    pub fn numbers(&self) -> BTreeSet<u32> {
        self.keys.keys().copied().collect()
    }

    /// The number of each key, and what tells it from others without giving it away.
    pub fn fingerprints(&self) -> impl Iterator<Item = (u32, [u8; 16])> + '_ {
        self.keys.iter().map(|(number, key)| {
            let digest: [u8; 32] = Sha256::new_with_prefix(b"firstcome code key").chain_update(key).finalize().into();
            (*number, digest.first_chunk().copied().unwrap_or_default())
        })
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

    /// The code of a claim.
    #[must_use]
    pub fn code(&self, key: u32, campaign: &str, serial: Serial) -> String {
        let permuted = self.permutation(key, campaign).forward(u64::from(serial.get()));
        let mut digits = [0; CODE_CHARACTERS];
        for (place, digit) in digits.iter_mut().take(CODE_CHARACTERS - 1).enumerate() {
            *digit = u8::try_from(permuted >> (55 - 5 * place) & 31).unwrap_or(0);
        }
        digits[CODE_CHARACTERS - 1] = check_digit(&digits);
        digits.iter().map(|digit| char::from(ALPHABET[usize::from(*digit)])).collect()
    }

    /// The serial that a code stands for. Case, hyphens and the look-alikes I, L and O do not
    /// matter.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn serial(&self, key: u32, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        let digits = digits_of(code).ok_or(CodeError::Malformed)?;
        if check_digit(&digits) != digits[CODE_CHARACTERS - 1] {
            return Err(CodeError::CheckCharacter);
        }
        let permuted = digits.iter().take(CODE_CHARACTERS - 1).fold(0, |number, digit| number << 5 | u64::from(*digit));
        let serial = self.permutation(key, campaign).backward(permuted);
        u32::try_from(serial).ok().and_then(Serial::new).ok_or(CodeError::Unknown)
    }

    /// The name of a claim's answer: it is known to whoever made the claim, and cannot be guessed.
    /// Its last part is a code of its own, of which the claim's code tells nothing.
    #[must_use]
    pub fn answer(&self, key: u32, campaign: &str, serial: Serial) -> String {
        format!("{campaign}:{}", self.code(key, &answers_of(campaign), serial))
    }

    /// The claim that an answer's name stands for, of the campaign that the name begins with.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn answered(&self, key: u32, campaign: &str, code: &str) -> Result<Serial, CodeError> {
        self.serial(key, &answers_of(campaign), code)
    }

    fn permutation<'a>(&self, key: u32, campaign: &'a str) -> Permutation<'a> {
        // A key that is missing has stopped the start (see `require`), or the node before any answer.
        let key = self.keys.get(&key).copied().unwrap_or_default();
        Permutation { key, campaign }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KeysError> {
        let malformed = |line| KeysError::Malformed { path: path.to_owned(), line };
        let mut keys = BTreeMap::new();
        for (place, line) in text.lines().enumerate() {
            let (number, key) = parse_line(line).ok_or_else(|| malformed(place + 1))?;
            // Which of two keys codes were given out with, nobody could tell.
            if keys.insert(number, key).is_some() {
                return Err(malformed(place + 1));
            }
        }
        if keys.is_empty() { Err(malformed(1)) } else { Ok(Self { keys }) }
    }
}

/// No campaign has a blank in its name.
fn answers_of(campaign: &str) -> String {
    format!("answers {campaign}")
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

struct Permutation<'a> {
    key: [u8; KEY_BYTES],
    campaign: &'a str,
}

impl Permutation<'_> {
    fn forward(&self, number: u64) -> u64 {
        let (mut left, mut right) = (number >> HALF_BITS & HALF_MASK, number & HALF_MASK);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        left << HALF_BITS | right
    }

    fn backward(&self, number: u64) -> u64 {
        let (mut left, mut right) = (number >> HALF_BITS & HALF_MASK, number & HALF_MASK);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        left << HALF_BITS | right
    }

    fn round(&self, round: u64, half: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&(round << HALF_BITS | half).to_le_bytes());
        hasher.write(self.campaign.as_bytes());
        hasher.finish() & HALF_MASK
    }
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
fn check_digit(digits: &[u8; CODE_CHARACTERS]) -> u8 {
    let mut weight = 1;
    digits.iter().take(CODE_CHARACTERS - 1).fold(0, |sum, digit| {
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
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn keys() -> CodeKeys {
        CodeKeys { keys: BTreeMap::from([(1, [7; 16]), (2, [8; 16])]) }
    }

    fn serial(number: u32) -> Serial {
        Serial::new(number).unwrap()
    }

    #[test]
    fn a_code_gives_its_serial_back() {
        let keys = keys();
        for number in (1..2_000).chain([u32::MAX - 1, u32::MAX]) {
            let code = keys.code(1, "spring", serial(number));
            assert_eq!(code.len(), CODE_CHARACTERS);
            assert_eq!(keys.serial(1, "spring", &code), Ok(serial(number)));
        }
    }

    #[test]
    fn codes_differ_by_serial_campaign_and_key() {
        let keys = keys();
        let codes: HashSet<String> = (1..=10_000).map(|number| keys.code(1, "spring", serial(number))).collect();
        assert_eq!(codes.len(), 10_000);
        assert!(!codes.contains(&keys.code(1, "autumn", serial(5))));
        assert!(!codes.contains(&keys.code(2, "spring", serial(5))));
    }

    #[test]
    fn one_wrong_character_or_two_that_changed_places_are_noticed() {
        let keys = keys();
        let code = keys.code(1, "spring", serial(4_711)).into_bytes();
        let check = |bytes: &[u8]| keys.serial(1, "spring", std::str::from_utf8(bytes).unwrap());
        for place in 0..CODE_CHARACTERS {
            for letter in ALPHABET {
                let mut wrong = code.clone();
                wrong[place] = *letter;
                assert_eq!(check(&wrong) == Err(CodeError::CheckCharacter), *letter != code[place]);
            }
            for other in 0..CODE_CHARACTERS {
                let mut swapped = code.clone();
                swapped.swap(place, other);
                assert!(swapped == code || check(&swapped) == Err(CodeError::CheckCharacter), "{place} and {other}");
            }
        }
    }

    #[test]
    fn case_hyphens_and_look_alikes_do_not_matter() {
        let keys = keys();
        let code = (1..).map(|number| keys.code(1, "spring", serial(number))).find(|code| code.contains('1') && code.contains('0'));
        let code = code.unwrap();
        let written = format!("{}-{}", &code[..4], &code[4..]).to_lowercase().replace('1', "l").replace('0', "o");
        assert_eq!(keys.serial(1, "spring", &written), keys.serial(1, "spring", &code));
        assert_eq!(keys.serial(1, "spring", "short"), Err(CodeError::Malformed));
        assert_eq!(keys.serial(1, "spring", &format!("{code}0")), Err(CodeError::Malformed));
        assert_eq!(keys.serial(1, "spring", "????????????!"), Err(CodeError::Malformed));
    }

    #[test]
    fn the_key_file_is_made_once_for_its_owner_only_and_missed_when_it_is_gone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let made = CodeKeys::open(folder.path(), false, [3; 16]).unwrap();
        let mode = fs::metadata(folder.path().join("code-keys")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = CodeKeys::open(folder.path(), true, [4; 16]).unwrap();
        assert_eq!(made.code(1, "spring", serial(1)), read.code(1, "spring", serial(1)));
        assert!(matches!(read.require(folder.path(), 2, "spring"), Err(KeysError::Missing { number: 2, .. })));
        fs::write(folder.path().join("code-keys"), "1 xyz\n").unwrap();
        assert!(matches!(CodeKeys::open(folder.path(), true, [4; 16]), Err(KeysError::Malformed { line: 1, .. })));
        fs::remove_file(folder.path().join("code-keys")).unwrap();
        assert!(matches!(CodeKeys::open(folder.path(), true, [4; 16]), Err(KeysError::Gone { .. })));
    }
}
