//! The state file of the engines in the background: their addresses, processes and folders.

use std::fs;
use std::path::{Path, PathBuf};

use services::{Addresses, ServiceError};

/// Identifies a process even if its id is reused later: the id, and the start time in ticks since
/// the machine's boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) id: u32,
    started_at: u64,
}

impl ProcessId {
    /// The process that has this id now.
    pub(crate) fn of(id: u32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in parentheses, and may contain parentheses and spaces.
        let fields: Vec<&str> = line.rsplit_once(") ")?.1.split(' ').collect();
        let has_ended = matches!(fields.first(), Some(&"Z" | &"X"));
        let started_at = fields.get(19)?.parse().ok()?;
        (!has_ended).then_some(Self { id, started_at })
    }

    pub(crate) fn runs(self) -> bool {
        Self::of(self.id) == Some(self)
    }
}

/// The engines that were started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) addresses: Addresses,
    pub(crate) holder: Option<ProcessId>,
    pub(crate) processes: Vec<ProcessId>,
    pub(crate) folders: Vec<PathBuf>,
}

impl State {
    /// `None` if there is no file.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, ServiceError> {
        if !file.exists() {
            return Ok(None);
        }
        let addresses = Addresses::read(file)?;
        let text = fs::read_to_string(file).map_err(|source| ServiceError::File { path: file.to_owned(), source })?;
        let of = |name: &str| {
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
        };
        let process = |text: &String| {
            let (id, started_at) = text.split_once(':')?;
            Some(ProcessId { id: id.parse().ok()?, started_at: started_at.parse().ok()? })
        };
        Ok(Some(Self {
            addresses,
            holder: of("holder").first().and_then(process),
            processes: of("process").iter().filter_map(process).collect(),
            folders: of("folder").into_iter().map(PathBuf::from).collect(),
        }))
    }

    /// Writes the file atomically.
    pub(crate) fn write(&self, file: &Path) -> Result<(), ServiceError> {
        let line = |name: &str, process: &ProcessId| format!("{name}={}:{}\n", process.id, process.started_at);
        let mut text = self.addresses.lines();
        text.extend(self.holder.iter().map(|process| line("holder", process)));
        text.extend(self.processes.iter().map(|process| line("process", process)));
        text.extend(self.folders.iter().map(|folder| format!("folder={}\n", folder.display())));
        let new = file.with_extension("new");
        fs::write(&new, text).map_err(|source| ServiceError::File { path: new.clone(), source })?;
        fs::rename(&new, file).map_err(|source| ServiceError::File { path: file.to_owned(), source })
    }

    /// Its processes that still run, the holder first.
    pub(crate) fn running(&self) -> Vec<ProcessId> {
        self.holder.iter().chain(&self.processes).copied().filter(|process| process.runs()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        assert_eq!(State::read(&file).unwrap(), None);
        let state = State {
            addresses: Addresses { redis: Some("redis://127.0.0.1:1".to_owned()), ..Addresses::default() },
            holder: ProcessId::of(std::process::id()),
            processes: vec![ProcessId { id: 1, started_at: 2 }],
            folders: vec!["/tmp/one".into(), "/tmp/other".into()],
        };
        state.write(&file).unwrap();
        assert_eq!(State::read(&file).unwrap(), Some(state));
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_one_that_was_started() {
        let this = ProcessId::of(std::process::id()).unwrap();
        assert!(this.runs());
        assert!(!ProcessId { started_at: this.started_at - 1, ..this }.runs());
    }
}
