//! Reads what a line asks, and times to the nanosecond.

use domain::rate_limit::{Algorithm, Mode, Moment, Settings};

use super::LimitAsk;

/// Longer units first: `ms` before `m` and `s`, so that no unit hides in another.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("ms", 1_000_000), ("m", 60_000_000_000), ("ns", 1), ("s", 1_000_000_000)];

/// A length of time in nanoseconds.
pub(super) fn parse_nanos(text: &str) -> Option<u64> {
    let (mut rest, mut nanos) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|digits| *digits != 0)?;
        let (number, after) = rest.split_at(digits);
        let (unit, unit_nanos) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        nanos = nanos.checked_add(parse_number(number, *unit_nanos)?)?;
        rest = after.get(unit.len()..)?;
    }
    (!text.is_empty()).then_some(nanos)
}

/// `10.5` of a unit in nanoseconds; nothing may be rounded.
fn parse_number(number: &str, unit: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let scale = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let part = if decimals.is_empty() { 0 } else { decimals.parse::<u64>().ok()?.checked_mul(unit)? };
    if part % scale == 0 { whole.checked_add(part / scale) } else { None }
}

/// In the form `10s` or `10.5s`.
pub(super) fn seconds(nanos: u64) -> String {
    let (whole, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let text = format!("{whole}.{part:09}");
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The time of a line, if it has one, and the rest.
pub(super) fn parse_at(text: &str) -> Result<(Option<Moment>, &str), String> {
    let Some(rest) = text.strip_prefix("at ") else { return Ok((None, text)) };
    let rest = rest.trim_start();
    let (time, asked) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let nanos = parse_nanos(time).ok_or_else(|| format!("`{time}` is no time"))?;
    Ok((Some(Moment::from_nanos(nanos)), asked.trim_start()))
}

/// Reads one request.
pub(super) fn parse_ask(text: &str) -> Result<LimitAsk<'_>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ask = match words.as_slice() {
        ["policy", name, algorithm, rest @ ..] => {
            let algorithm = Algorithm::from_word(algorithm).ok_or_else(|| format!("`{algorithm}` is no algorithm"))?;
            let (rest, mode) = mode(rest);
            let (quota, window_ns, burst) = numbers(rest)?;
            LimitAsk::Policy(name, Settings { algorithm, quota, window_ns, burst, mode })
        }
        ["override", name, "for", key, "none"] => LimitAsk::Override(name, key, None),
        ["override", name, "for", key, rest @ ..] => LimitAsk::Override(name, key, Some(numbers(rest)?)),
        ["check", parts @ ..] => LimitAsk::Check(parts.split(|word| *word == "+").map(part).collect::<Result<_, _>>()?),
        ["reserve", name, "by", key, "cost", cost, "for", timeout, "as", label] => {
            LimitAsk::Reserve(name, key, number(cost)?, time(timeout)?, label)
        }
        ["settle", label, "cost", cost] => LimitAsk::Settle(label, number(cost)?),
        ["refund", name, "by", key, "cost", cost] => LimitAsk::Refund(name, key, number(cost)?),
        ["reset", name, "by", key] => LimitAsk::Reset(name, key),
        ["in-flight", name, "limit", limit, "timeout", timeout, rest @ ..] => {
            LimitAsk::InFlight(name, number(limit)?, time(timeout)?, mode(rest).1)
        }
        ["start", name, "by", key, "as", label] => LimitAsk::Start(name, key, label),
        ["end", label] => LimitAsk::End(label),
        _ => return Err(format!("`{text}` is no request of these tables")),
    };
    Ok(ask)
}

fn part<'a>(words: &[&'a str]) -> Result<(&'a str, &'a str, u32), String> {
    match words {
        [name, "by", key] => Ok((name, key, 1)),
        [name, "by", key, "cost", cost] => Ok((name, key, number(cost)?)),
        _ => Err(format!("`{}` is no check", words.join(" "))),
    }
}

fn mode<'a, 'b>(words: &'b [&'a str]) -> (&'b [&'a str], Mode) {
    match words {
        [rest @ .., "shadow"] => (rest, Mode::Shadow),
        _ => (words, Mode::Enforce),
    }
}

fn numbers(words: &[&str]) -> Result<(u32, u64, u32), String> {
    match words {
        ["quota", quota, "window", window] => Ok((number(quota)?, time(window)?, 0)),
        ["quota", quota, "window", window, "burst", burst] => Ok((number(quota)?, time(window)?, number(burst)?)),
        _ => Err(format!("`{}` is no quota and window", words.join(" "))),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn time(text: &str) -> Result<u64, String> {
    parse_nanos(text).ok_or_else(|| format!("`{text}` is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        for (text, nanos) in
            [("7ns", 7), ("1.5s", 1_500_000_000), ("2ms", 2_000_000), ("1m1s", 61_000_000_000), ("30d", 2_592_000_000_000_000)]
        {
            assert_eq!(parse_nanos(text), Some(nanos), "{text}");
        }
        for text in ["", "5", "s", "1.5ns", "1x", "-1s"] {
            assert_eq!(parse_nanos(text), None, "{text}");
        }
        assert_eq!((seconds(0), seconds(3_900_000_000), seconds(7)), ("0s".into(), "3.9s".into(), "0.000000007s".into()));
    }
}
