//! Replaces the scaled mode in builds without the feature `scaled`: refuses its options, and
//! tells how to build with it.

use crate::cli::{ServeArgs, SettingsError};

/// The settings of the scaled mode; no value exists in this build.
#[derive(Clone, Debug)]
pub enum ScaledSettings {}

impl ScaledSettings {
    /// `None`, if no option of the scaled mode is set.
    ///
    /// # Errors
    /// [`SettingsError`] that names the first option that is set, and the line to run instead.
    pub fn of(args: &ServeArgs) -> Result<Option<Self>, SettingsError> {
        let given = [("kafka", &args.kafka), ("postgres", &args.postgres), ("redis", &args.redis)];
        match given.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(SettingsError::Value(format!(
                "--{name}: this build leaves out Kafka, Redis and PostgreSQL; \
                 run: cargo run --release --features scaled -- serve --kafka … (or verify --kafka …)"
            ))),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_left_out_names_the_line_to_run() {
        assert!(ScaledSettings::of(&ServeArgs::default()).unwrap().is_none());
        let some = || Some("somewhere".to_owned());
        let [kafka, postgres, redis] = [ServeArgs::default(), ServeArgs::default(), ServeArgs::default()];
        let given =
            [ServeArgs { kafka: some(), ..kafka }, ServeArgs { postgres: some(), ..postgres }, ServeArgs { redis: some(), ..redis }];
        for (args, option) in given.iter().zip(["--kafka", "--postgres", "--redis"]) {
            let error = ScaledSettings::of(args).unwrap_err().to_string();
            assert!(error.starts_with(option), "{error}");
            assert!(error.contains("cargo run --release --features scaled -- serve --kafka"), "{error}");
        }
    }
}
