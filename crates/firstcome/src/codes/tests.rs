//! Codes: known answers, properties, typing errors, and the file of the secret.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn keys() -> CodeKeys {
    CodeKeys::of(&[7; 32])
}

/// Code keys of which key 1 is `key`.
fn keys_with(key: &[u8; KEY_BYTES]) -> CodeKeys {
    let keys = keys();
    assert!(keys.keys[1].set(Box::new(CodeKey::new(key))).is_ok());
    keys
}

fn serial(number: u32) -> Serial {
    Serial::new(number).unwrap()
}

/// Computed independently of this program: by FF1 as the standard states it, in another language and with
/// another AES, from the key of NIST's samples. Issued codes must never change.
#[test]
fn codes_are_what_they_were() {
    let key = [0x2B, 0x7E, 0x15, 0x16, 0x28, 0xAE, 0xD2, 0xA6, 0xAB, 0xF7, 0x15, 0x88, 0x09, 0xCF, 0x4F, 0x3C];
    let keys = keys_with(&key);
    let longest = "x".repeat(128);
    for (campaign, number, code) in [
        ("spring", 1, "VZAMENZX8AKE5"),
        ("spring", 4_711, "ZWT0ZZJ4VW810"),
        ("spring", u32::MAX, "95J0XN574PTJ2"),
        ("a", 1, "NAVPTNDSGZXC8"),
        (&longest, 1, "QJNAZ96D0FS2C"),
    ] {
        assert_eq!(keys.code(1, campaign, serial(number)), code);
        assert_eq!(keys.serial(1, campaign, code), Ok(serial(number)));
    }
    assert_eq!(keys.answer(1, "spring", serial(1)), "spring:QCJAGH3YYRY8V");
    assert_eq!(keys.answered(1, "spring", "QCJAGH3YYRY8V"), Ok(serial(1)));
}

proptest! {
    #[test]
    fn a_code_gives_its_serial_back(key: [u8; 16], campaign in "[A-Za-z0-9_.-]{1,128}", number in 1..=u32::MAX) {
        let keys = keys_with(&key);
        let code = keys.code(1, &campaign, serial(number));
        prop_assert_eq!(code.len(), CODE_CHARACTERS);
        prop_assert!(code.bytes().all(|character| ALPHABET.contains(&character)));
        prop_assert_eq!(keys.serial(1, &campaign, &code), Ok(serial(number)));
        // Each of these would succeed once in 2^28 tries.
        prop_assert_eq!(keys.answered(1, &campaign, &code), Err(CodeError::Unknown));
        prop_assert_eq!(keys.serial(1, &format!("{campaign}x"), &code), Err(CodeError::Unknown));
        let other = keys_with(&key.map(|byte| byte ^ 1));
        prop_assert_eq!(other.serial(1, &campaign, &code), Err(CodeError::Unknown));
    }

    /// A guess with a valid check character: one in 2^28 decrypts to a serial at all.
    #[test]
    fn a_guess_is_no_code(guess in 0_u64..1 << 60) {
        let numerals = CodeNumerals::of_number(guess);
        let characters = numerals.numerals().iter().copied().chain([check_digit(numerals.numerals())]);
        let code: String = characters.map(|digit| char::from(ALPHABET[usize::from(digit)])).collect();
        prop_assert_eq!(keys().serial(1, "spring", &code), Err(CodeError::Unknown));
    }
}

#[test]
fn codes_differ_by_serial_campaign_and_key() {
    let keys = keys();
    let mut codes = HashSet::new();
    for number in 1..=10_000 {
        for (key, campaign) in [(1, "spring"), (1, "autumn"), (2, "spring")] {
            assert!(codes.insert(keys.code(key, campaign, serial(number))));
        }
        let code = keys.code(1, "spring", serial(number));
        assert_eq!(keys.serial(1, "autumn", &code), Err(CodeError::Unknown));
        assert_eq!(keys.serial(2, "spring", &code), Err(CodeError::Unknown));
    }
}

/// Codes of neighbouring serials agree in each character with probability 1/32.
#[test]
fn a_code_does_not_tell_how_many_were_given_out() {
    let keys = keys();
    let codes: Vec<Vec<u8>> = (1..=20_001).map(|number| keys.code(1, "spring", serial(number)).into_bytes()).collect();
    for place in 0..CODE_CHARACTERS {
        let alike = codes.windows(2).filter(|pair| pair[0][place] == pair[1][place]).count();
        // 625 are expected of 20,000, with a standard deviation of 25.
        assert!((500..=750).contains(&alike), "{alike} at {place}");
    }
}

/// Computed independently of this program, by HKDF as RFC 5869 states it.
#[test]
fn keys_are_derived_as_they_were() {
    let secret: [u8; SECRET_BYTES] = std::array::from_fn(|place| u8::try_from(place).unwrap());
    let keys = CodeKeys::of(&secret);
    let key = |number: u32| HEXLOWER.encode(&derived(&keys.secret, &[b"code key", &number.to_le_bytes()]));
    assert_eq!(key(1), "c3e415ce9313aec5f46302d584ddfb74");
    assert_eq!(key(1_000), "774dd7687b8370919f687f79ffa18f1c");
    assert_eq!(HEXLOWER.encode(&keys.fingerprint()), "10fb1d92d0ece3edc52847aeb8622c10");
}

#[test]
#[should_panic(expected = "code key 1001")]
fn a_number_that_no_campaign_has_is_a_fault() {
    let _ = keys().code(CODE_KEYS_MAX + 1, "spring", serial(1));
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
    assert_eq!(keys.serial(1, "spring", "short"), Err(CodeError::Length(5)));
    assert_eq!(keys.serial(1, "spring", &format!("{code}0")), Err(CodeError::Length(14)));
    assert_eq!(keys.serial(1, "spring", "????????????!"), Err(CodeError::Character('?', 1)));
}

#[test]
fn the_secret_is_made_once_for_its_owner_only_and_missed_when_it_is_gone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("code-secret");
    let made = CodeKeys::open(folder.path(), false, [3; 32]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = CodeKeys::open(folder.path(), true, [4; 32]).unwrap();
    assert_eq!(made.code(1, "spring", serial(1)), read.code(1, "spring", serial(1)));
    assert_eq!(made.fingerprint(), read.fingerprint());
    for damaged in ["", "xyz", &"0".repeat(62), &"0".repeat(66), &format!("{0}\n{0}\n", "0".repeat(64))] {
        fs::write(&path, damaged).unwrap();
        assert!(matches!(CodeKeys::open(folder.path(), true, [4; 32]), Err(SecretError::Malformed { .. })), "{damaged:?}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(CodeKeys::open(folder.path(), true, [4; 32]), Err(SecretError::Gone { .. })));
}
