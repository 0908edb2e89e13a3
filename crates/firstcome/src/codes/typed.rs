//! Codes as people type and paste them. What a keyboard, a text processor or a messenger adds or changes does
//! not matter: case, blanks, line ends, dashes of any length, invisible characters, full-width letters and
//! digits, and the look-alikes I, L and O. Any other character is named, so that it can be corrected.

use super::{ALPHABET, CODE_CHARACTERS, CodeError};

/// The numerals of a code, the check character included.
pub(super) fn digits_of(code: &str) -> Result<[u8; CODE_CHARACTERS], CodeError> {
    let mut digits = [0; CODE_CHARACTERS];
    let mut count = 0;
    for character in code.chars().filter(|character| !is_added(*character)) {
        let digit = digit_of(character).ok_or(CodeError::Character(character, count + 1))?;
        if let Some(place) = digits.get_mut(count) {
            *place = digit;
        }
        count += 1;
    }
    if count == CODE_CHARACTERS { Ok(digits) } else { Err(CodeError::Length(count)) }
}

fn digit_of(character: char) -> Option<u8> {
    let normal = match narrow(character).to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        other => other,
    };
    let place = ALPHABET.iter().position(|letter| char::from(*letter) == normal)?;
    u8::try_from(place).ok()
}

/// Full-width forms are those of ASCII in the same order, as keyboards for Chinese, Japanese and Korean write
/// them.
fn narrow(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xff01 + 0x21).unwrap_or(character),
        other => other,
    }
}

/// Whether a character only parts or accompanies others.
fn is_added(character: char) -> bool {
    character.is_whitespace() || is_dash(character) || is_invisible(character)
}

fn is_dash(character: char) -> bool {
    matches!(
        character,
        // Hyphens and dashes; minus; the hyphen bullet; small and full-width forms; the long-vowel mark, which
        // Japanese keyboards write for the key of the hyphen.
        '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2043}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' | '\u{30fc}' | '\u{ff70}'
    )
}

fn is_invisible(character: char) -> bool {
    matches!(
        character,
        // The soft hyphen; joiners and marks of direction; word joiners; the byte-order mark; variation
        // selectors; the fillers of Hangul.
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{180e}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "5ZJ0Q4M7K2T9X";

    #[test]
    fn what_people_type_and_paste_is_the_same_code() {
        let right = digits_of(CODE).unwrap();
        for typed in [
            "5zj0q4m7k2t9x",
            " 5ZJ0 Q4M7 K2T9 X\r\n",
            "\u{a0}5ZJ0\u{2009}Q4M7\u{3000}K2T9\tX",
            "5ZJ0-Q4M7--K2T9-X",
            "5ZJ0\u{2010}Q4M7\u{2013}K2T9\u{2014}X",
            "5ZJ0\u{2212}Q4M7\u{2011}K2T9\u{30fc}X",
            "\u{feff}5ZJ0\u{200b}Q4M7\u{ad}K2T9\u{2060}X\u{200e}",
            "５ＺＪ０Ｑ４Ｍ７Ｋ２Ｔ９Ｘ",
            "５ｚｊｏ－ｑ４ｍ７　ｋ２ｔ９ｘ",
            "5ZJOQ4M7K2T9X",
        ] {
            assert_eq!(digits_of(typed), Ok(right), "{typed:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (typed, wrong) in [
            ("", CodeError::Length(0)),
            ("- -\u{200b}", CodeError::Length(0)),
            ("5ZJ0Q4M7K2T9", CodeError::Length(12)),
            ("5ZJ0-Q4M7-K2T9-XX", CodeError::Length(14)),
            ("5ZJU Q4M7K2T9X", CodeError::Character('U', 4)),
            ("5ZJ0 \u{421}4M7K2T9X", CodeError::Character('\u{421}', 5)),
            ("5ZJ0Q4M7K2T9X.", CodeError::Character('.', 14)),
            ("\"5ZJ0Q4M7K2T9X", CodeError::Character('"', 1)),
            ("5ZJ0Q4M7K2T9ß", CodeError::Character('ß', 13)),
        ] {
            assert_eq!(digits_of(typed), Err(wrong), "{typed:?}");
        }
    }
}
