//! The options about rate limits in front of every call.

use std::time::Duration;

use edge::gateway::GatewaySettings;
use rate_limit_layer::key::Cidr;
use rate_limit_layer::{Algorithm, Mode, Policy, Settings};

use crate::cli::{ServeArgs, SettingsError, time_up_to};

/// Checks the options.
///
/// # Errors
/// [`SettingsError`] that names the option.
pub(super) fn settings(args: &ServeArgs) -> Result<GatewaySettings, SettingsError> {
    let limit = |option: &str, text: &Option<String>| text.as_deref().map(|text| limit_of(option, text)).transpose();
    let trusted = args.trusted_proxies.iter().flatten().map(|range| range.trim().parse::<Cidr>());
    let trusted = trusted.collect::<Result<Vec<_>, _>>().map_err(|error| wrong("trusted-proxies", &error.to_string()))?;
    let (key, subject) = (limit("limit-key", &args.limit_key)?, limit("limit-subject", &args.limit_subject)?);
    Ok(GatewaySettings { address: limit("limit-address", &args.limit_address)?, key, subject, trusted })
}

/// `QUOTA/WINDOW`, and after commas `burst=N`, `algorithm=NAME` and `shadow`. Without a burst, a
/// bucket allows a whole window's quota at once.
fn limit_of(option: &str, text: &str) -> Result<Settings, SettingsError> {
    let mut parts = text.split(',').map(str::trim);
    let rate = parts.next().and_then(|rate| rate.split_once('/'));
    let (quota, window) = rate.ok_or_else(|| wrong(option, "must begin with units and a window, such as 50/1s"))?;
    let quota: u32 = quota.trim().parse().map_err(|_| wrong(option, "must begin with a number of units, such as 50/1s"))?;
    let window = time_up_to(window.trim(), Duration::from_hours(24 * 366), "366 days").map_err(|why| wrong(option, &why))?;
    let (mut algorithm, mut burst, mut mode) = (Algorithm::LeakyBucket, None, Mode::Enforce);
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("burst", number) => burst = Some(number.parse().map_err(|_| wrong(option, "burst must be a number"))?),
            ("algorithm", word) => {
                let words = || Algorithm::ALL.map(Algorithm::word).join(", ");
                algorithm = Algorithm::from_word(word).ok_or_else(|| wrong(option, &format!("algorithm must be one of {}", words())))?;
            }
            ("shadow", "") => mode = Mode::Shadow,
            _ => return Err(wrong(option, &format!("knows burst=N, algorithm=NAME and shadow, not {part}"))),
        }
    }
    let burst = burst.unwrap_or_else(|| if algorithm.has_burst() { quota.saturating_sub(1) } else { 0 });
    let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let settings = Settings { algorithm, quota, window_ns, burst, mode };
    Policy::new(settings).map_err(|why| wrong(option, &why.to_string()))?;
    Ok(settings)
}

fn wrong(option: &str, what: &str) -> SettingsError {
    SettingsError::Value(format!("--{option}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        limit_of("limit-address", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_is_read_with_all_its_parts() {
        let second = Settings::per_second(Algorithm::LeakyBucket, 50);
        assert_eq!(read("50/1s"), Ok(second.with_burst(49)));
        assert_eq!(read(" 50 / 1s , burst=0"), Ok(second));
        let minute = Settings::new(Algorithm::FixedWindow, 7, 60_000_000_000);
        assert_eq!(read("7/1m,algorithm=fixed_window,shadow"), Ok(minute.with_mode(Mode::Shadow)));
        assert_eq!(read("1/500ms,algorithm=token_bucket").map(|settings| (settings.window_ns, settings.burst)), Ok((500_000_000, 0)));
    }

    #[test]
    fn what_is_no_limit_is_refused_by_the_option_s_name() {
        let of_no_use = ["", "50", "0/1s", "-1/1s", "50/0s", "50/soon", "50/367d", "50/1s,burst=x", "50/1s,burst", "50/1s,fast"];
        let beyond = ["50/1s,algorithm=gcra", "50/1s,algorithm=fixed_window,burst=1", "20000/1s,algorithm=sliding_window_log"];
        for text in of_no_use.into_iter().chain(beyond) {
            assert!(read(text).is_err_and(|why| why.starts_with("--limit-address: ")), "{text}");
        }
    }

    #[test]
    fn proxies_are_ranges() {
        let args = |range: &str| ServeArgs { trusted_proxies: Some(vec![range.to_owned()]), ..ServeArgs::default() };
        assert_eq!(settings(&args(" 10.0.0.0/8")).unwrap().trusted.len(), 1);
        assert!(settings(&args("proxy.example")).unwrap_err().to_string().contains("--trusted-proxies"));
    }
}
