//! In the place of the scaled mode where the feature `scaled` is off: refuses its options, and says
//! how to get a build that has them.

use crate::cli::{ServeArgs, SettingsError};

/// The settings of the scaled mode, which this build cannot have.
#[derive(Clone, Debug)]
pub enum ScaledSettings {}

impl ScaledSettings {
    /// Nothing, if nothing of the scaled mode is set.
    ///
    /// # Errors
    /// [`SettingsError`] that names the first option that is set, and the line to run instead.
    pub fn of(args: &ServeArgs) -> Result<Option<Self>, SettingsError> {
        let given = [("kafka", &args.kafka), ("postgres", &args.postgres), ("redis", &args.redis)];
        match given.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(SettingsError::Value(format!(
                "--{name} needs Kafka, Redis and PostgreSQL, which this build leaves out; \
                 run: cargo run --release --features scaled -- serve --kafka … (or verify --kafka …)"
            ))),
            None => Ok(None),
        }
    }
}
