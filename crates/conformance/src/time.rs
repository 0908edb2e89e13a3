//! Times of the tables: `10s`, `10.5s`, `24h10s`, counted from 1970-01-01T00:00:00Z; answers are
//! always in seconds.

use std::fmt;

use domain::types::Timestamp;

const UNITS: [(char, u64); 3] = [('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

/// Reads a time; `None` if the text is none.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let mut rest = text;
    let mut millis = 0_u64;
    for (unit, unit_millis) in UNITS {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        millis = millis.checked_add(parse_part(number, unit_millis)?)?;
        rest = after;
    }
    if !rest.is_empty() || text.is_empty() {
        return None;
    }
    Timestamp::from_millis(millis)
}

/// `10.5` of a unit, in milliseconds; only three decimals, so that nothing is rounded.
fn parse_part(number: &str, unit_millis: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let thousandths: u64 = if 3 < decimals.len() { return None } else { format!("{decimals:0<3}").parse().ok()? };
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(unit_millis)?.checked_add(thousandths.checked_mul(unit_millis)? / 1_000)
}

/// A time in the form `10s` or `10.5s`.
pub(crate) struct Seconds(pub(crate) Timestamp);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.millis() / 1_000, self.0.millis() % 1_000);
        if millis == 0 {
            return write!(f, "{seconds}s");
        }
        let decimals = format!("{millis:03}");
        write!(f, "{seconds}.{}s", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond_and_written_in_seconds() {
        let read = |text| parse_time(text).map(|time| Seconds(time).to_string());
        assert_eq!(read("10s").as_deref(), Some("10s"));
        assert_eq!(read("10.5s").as_deref(), Some("10.5s"));
        assert_eq!(read("9.999s").as_deref(), Some("9.999s"));
        assert_eq!(read("24h10s").as_deref(), Some("86410s"));
        assert_eq!(read("1.5h").as_deref(), Some("5400s"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "10", "s", "10s5", "1.0001s", "-1s", "ten", "10s 5s", "999999999999999h"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
