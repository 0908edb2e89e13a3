//! Numbers formatted for people.

use std::time::Duration;

/// `1234567` becomes `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of microseconds with three digits and its unit.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        1_000_000.. => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// As [`micros`]; zero is `0 s`.
pub fn duration(span: Duration) -> String {
    match span.is_zero() {
        true => "0 s".to_owned(),
        false => micros(as_micros(span)),
    }
}

/// Percent of one core, or `unknown`.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "unknown".to_owned(), |share| format!("{share:.0}%"))
}

/// # Panics
/// If the span is 500,000 years or longer.
pub fn as_micros(span: Duration) -> u64 {
    let Ok(micros) = u64::try_from(span.as_micros()) else { panic!("{span:?} is longer than any run") };
    micros
}

/// # Panics
/// If the span is 500 million years or longer.
pub fn as_millis(span: Duration) -> u64 {
    let Ok(millis) = u64::try_from(span.as_millis()) else { panic!("{span:?} is longer than any run") };
    millis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn spans_carry_their_unit() {
        assert_eq!(micros(12), "12 µs");
        assert_eq!(micros(9_994), "9.99 ms");
        assert_eq!(micros(312_400), "312 ms");
        assert_eq!(micros(1_712_000), "1.71 s");
    }
}
