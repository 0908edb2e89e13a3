//! Values of options that are not read as their types write them: times with units, addresses.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use domain::keyring::OVERLAP_MS_MAX;
use serde::{Deserialize, Deserializer};

/// Reads an address to listen on. A name is refused: it may stand for several addresses, and the server has
/// to know whether other machines reach it.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(7070_u16);
        format!("must be an IP address and a port: 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for others too")
    })
}

/// The same in a settings file.
pub(super) fn given_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    text.map(|text| address(&text).map_err(serde::de::Error::custom)).transpose()
}

/// Reads the time over which people come.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    time_up_to(text, Duration::from_secs(3_600), "an hour")
}

/// Reads the time for which an old secret goes on.
pub(super) fn overlap(text: &str) -> Result<Duration, String> {
    time_up_to(text, Duration::from_millis(OVERLAP_MS_MAX), "30 days")
}

/// Reads `10s`, `500ms`, `2m`, `24h`, `7d` or `0`.
pub(crate) fn time_up_to(text: &str, most: Duration, most_words: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    // Only zero is the same in every unit: 24 could mean hours, and seconds would end a secret too early.
    let zero = || (text.trim() == "0").then_some((text, 1));
    let split = units.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis))).or_else(zero);
    let wrong = || "must be a number with its unit, ms, s, m, h or d: such as 10s, 500ms, 2m or 24h".to_owned();
    let (number, unit_ms) = split.ok_or_else(wrong)?;
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let time = number.checked_mul(unit_ms).map(Duration::from_millis).filter(|time| *time <= most);
    time.ok_or_else(|| format!("must be {most_words} at most"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, ServeArgs};
    use clap::Parser;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(overlap("24h"), Ok(Duration::from_hours(24)));
        assert!(duration("soon").is_err() && duration("-1s").is_err() && duration("99999m").is_err());
        for without in ["24", "1", "00", "", "h"] {
            assert!(overlap(without).unwrap_err().contains("24h"), "{without}");
            assert!(duration(without).unwrap_err().contains("unit"), "{without}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_with_one_that_can() {
        assert_eq!(address("[::1]:7070").map(|address| address.port()), Ok(7070));
        for (wrong, right) in
            [(":7071", "127.0.0.1:7071"), ("localhost:80", "127.0.0.1:80"), ("*:80", "0.0.0.0:80"), ("127.0.0.1", "127.0.0.1:7070")]
        {
            let typed = Cli::try_parse_from(["firstcome", "serve", "--admin-listen", wrong]).unwrap_err().to_string();
            assert!(typed.contains(right), "{typed}");
            let written = toml::from_str::<ServeArgs>(&format!("listen = \"{wrong}\"")).unwrap_err().to_string();
            assert!(written.contains(right), "{written}");
        }
    }
}
