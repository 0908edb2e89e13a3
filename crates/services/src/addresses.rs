//! The engines' addresses, in the file that `cargo xtask services up` writes: one `name=value` in each line.

use std::fs;
use std::path::Path;

use crate::error::ServiceError;

/// The addresses of engines that are already running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `host:port` of each Kafka broker, separated by commas.
    pub kafka: Option<String>,
    /// `redis://…` of a single server.
    pub redis: Option<String>,
    /// `redis://…` of each node of a cluster.
    pub redis_cluster: Option<Vec<String>>,
    /// `postgres://…` of a user that may create databases.
    pub postgres: Option<String>,
}

impl Addresses {
    /// Reads the file; unknown lines are ignored.
    pub fn read(file: &Path) -> Result<Self, ServiceError> {
        let text = fs::read_to_string(file).map_err(ServiceError::file(file))?;
        let value = |name: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        Ok(Self {
            kafka: value("kafka"),
            redis: value("redis"),
            redis_cluster: value("redis_cluster").map(|urls| urls.split(',').map(str::to_owned).collect()),
            postgres: value("postgres"),
        })
    }

    /// The addresses as lines of the file.
    #[must_use]
    pub fn lines(&self) -> String {
        let cluster = self.redis_cluster.as_ref().map(|urls| urls.join(","));
        [("kafka", &self.kafka), ("redis", &self.redis), ("redis_cluster", &cluster), ("postgres", &self.postgres)]
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}\n", value.as_ref()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_lines_are_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let addresses = Addresses {
            kafka: Some("127.0.0.1:1,127.0.0.1:2".to_owned()),
            redis: None,
            redis_cluster: Some(vec!["redis://127.0.0.1:3".to_owned(), "redis://127.0.0.1:4".to_owned()]),
            postgres: Some("postgres://user:pass=word@127.0.0.1:5/firstcome".to_owned()),
        };
        fs::write(file.path(), format!("process=1:2\n{}", addresses.lines())).unwrap();
        assert_eq!(Addresses::read(file.path()).unwrap(), addresses);
    }
}
