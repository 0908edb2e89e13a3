//! A disk in memory that fails as real disks do: after a power loss any subset of the unsynced sectors is
//! kept, a call fails, a failed sync loses its pages although they can still be read, the disk is full. Every
//! random choice comes from the caller, so that a run can be repeated.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::reader::in_memory;
use crate::storage::{Storage, StorageFile};

/// Bytes of a sector. A sector is written as a whole or, at worst, torn at some byte.
pub const SECTOR_BYTES: u64 = 512;

/// The fault to inject at a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The call has no effect and fails with this error; later calls succeed again.
    Error(io::ErrorKind),
    /// Power is lost: this call and all later ones fail, until [`MemoryStorage::power_cycle`].
    PowerLoss,
}

/// A folder in memory. Clones share its contents.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    /// The folder's entries as programs see them.
    names: BTreeMap<String, u64>,
    /// The folder's entries as of its last sync.
    durable_names: BTreeMap<String, u64>,
    /// Changes of the folder since its last sync.
    folder_changes: Vec<FolderChange>,
    files: BTreeMap<u64, Contents>,
    next_file: u64,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    is_off: bool,
    capacity_bytes: Option<u64>,
    /// Incremented by each power cycle: files opened before it are invalid.
    boot: u64,
}

#[derive(Clone, Debug)]
enum FolderChange {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync, in order: offset and bytes.
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl MemoryStorage {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent disk with the same contents, unsynced ones included, and without faults.
    #[must_use]
    pub fn copy(&self) -> Self {
        let disk = self.disk();
        let copy = Disk {
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            folder_changes: disk.folder_changes.clone(),
            files: disk.files.clone(),
            next_file: disk.next_file,
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(copy)) }
    }

    /// The number of calls so far; each of them could have failed.
    #[must_use]
    pub fn calls_count(&self) -> u64 {
        self.disk().calls
    }

    /// Injects a fault at the call with this number, counted from 1.
    pub fn set_fault(&self, call: u64, fault: Fault) {
        self.disk().faults.insert(call, fault);
    }

    /// Removes all injected faults.
    pub fn clear_faults(&self) {
        self.disk().faults.clear();
    }

    /// Whether power is gone.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.disk().is_off
    }

    /// Sets the capacity; `None` removes the limit.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.disk().capacity_bytes = capacity_bytes;
    }

    /// Turns power off and on. For each unsynced sector and each unsynced change of the folder, `choose`
    /// decides whether it is kept: it gets the number of choices and returns one below it.
    pub fn power_cycle(&self, choose: &mut dyn FnMut(u64) -> u64) {
        let mut disk = self.disk();
        disk.lose_folder_changes(choose);
        let keep_of_four = choose(5);
        for contents in disk.files.values_mut() {
            contents.lose_unsynced(keep_of_four, choose);
        }
        let Disk { files, names, .. } = &mut *disk;
        let named: HashSet<u64> = names.values().copied().collect();
        files.retain(|file, _| named.contains(file));
        disk.is_off = false;
        disk.boot += 1;
    }

    /// Changes bytes of a file, as silent corruption does.
    pub fn corrupt(&self, name: &str, offset: u64, change: impl FnOnce(&mut [u8])) {
        let mut disk = self.disk();
        let Some(file) = disk.names.get(name).copied() else { return };
        let Some(contents) = disk.files.get_mut(&file) else { return };
        let Ok(offset) = usize::try_from(offset) else { return };
        if let Some(bytes) = contents.current.get_mut(offset..) {
            change(bytes);
        }
        contents.durable.clone_from(&contents.current);
    }

    /// The bytes of a file, as programs see them.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(name).and_then(|file| disk.files.get(file)).map(|contents| contents.current.clone())
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock()
    }
}

impl Disk {
    /// Counts a call, and fails it if a fault is set for it.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.is_off {
            return Err(io::Error::other("power is off"));
        }
        match self.faults.remove(&self.calls) {
            None => Ok(()),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::PowerLoss) => {
                self.is_off = true;
                Err(io::Error::other("power is off"))
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        // A file without a name takes no space.
        let named: HashSet<u64> = self.names.values().copied().collect();
        let files = self.files.iter().filter(|(file, _)| named.contains(file));
        files.map(|(_, contents)| contents.current.len() as u64).sum()
    }

    fn lose_folder_changes(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        let keep_of_four = choose(5);
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.folder_changes) {
            if keep_of_four <= choose(4) {
                continue;
            }
            apply(&change, &mut names);
        }
        self.names.clone_from(&names);
        self.durable_names = names;
    }

    fn change_folder(&mut self, change: FolderChange) {
        apply(&change, &mut self.names);
        self.folder_changes.push(change);
    }
}

/// A rename moves its own file to the new name, even if the earlier change that gave the file its old name
/// was lost: changes are lost, but never mixed up.
fn apply(change: &FolderChange, names: &mut BTreeMap<String, u64>) {
    match change {
        FolderChange::Create(name, file) => {
            names.insert(name.clone(), *file);
        }
        FolderChange::Rename(from, to, file) => {
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        FolderChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl Contents {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        overwrite(&mut self.current, bytes, offset);
        // Each sector is lost or kept independently.
        let mut start = 0;
        while start < bytes.len() {
            let at = offset + start as u64;
            let to_sector_end = in_memory(SECTOR_BYTES - at % SECTOR_BYTES);
            let end = bytes.len().min(start + to_sector_end);
            self.unsynced.push((at, bytes[start..end].to_vec()));
            start = end;
        }
    }

    fn lose_unsynced(&mut self, keep_of_four: u64, choose: &mut dyn FnMut(u64) -> u64) {
        for (offset, mut bytes) in std::mem::take(&mut self.unsynced) {
            if keep_of_four <= choose(4) {
                continue;
            }
            // One kept sector in sixteen is torn: only its first bytes were written.
            if choose(16) == 0 {
                let kept = in_memory(choose(bytes.len() as u64 + 1));
                bytes.truncate(kept);
            }
            overwrite(&mut self.durable, &bytes, offset);
        }
        self.current.clone_from(&self.durable);
    }
}

fn overwrite(contents: &mut Vec<u8>, bytes: &[u8], offset: u64) {
    let start = in_memory(offset);
    let end = start + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[start..end].copy_from_slice(bytes);
}

impl Storage for MemoryStorage {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.call()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut disk = self.disk();
        disk.call()?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = disk.next_file;
        disk.next_file += 1;
        disk.files.insert(file, Contents::default());
        disk.change_folder(FolderChange::Create(name.to_owned(), file));
        Ok(MemoryFile { storage: self.clone(), file, boot: disk.boot })
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let mut disk = self.disk();
        disk.call()?;
        let file = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(MemoryFile { storage: self.clone(), file, boot: disk.boot })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        let file = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.change_folder(FolderChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_folder(FolderChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        disk.durable_names = disk.names.clone();
        disk.folder_changes.clear();
        Ok(())
    }
}

/// An open file of a [`MemoryStorage`].
#[derive(Debug)]
pub struct MemoryFile {
    storage: MemoryStorage,
    file: u64,
    boot: u64,
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.storage.disk();
        disk.call()?;
        if disk.boot != self.boot {
            return Err(io::Error::other("the file was opened before power was lost"));
        }
        work(disk.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl StorageFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|contents| Ok(contents.current.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|contents| {
            let start = in_memory(offset);
            let bytes = contents.current.get(start..start + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (used_bytes, capacity_bytes) = {
            let disk = self.storage.disk();
            (disk.used_bytes(), disk.capacity_bytes)
        };
        self.with(|contents| {
            let grows_by = (offset + bytes.len() as u64).saturating_sub(contents.current.len() as u64);
            if capacity_bytes.is_some_and(|capacity_bytes| 0 < grows_by && capacity_bytes < used_bytes + grows_by) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            contents.write(bytes, offset);
            Ok(())
        })
    }

    /// After a failed sync the unsynced writes are lost, although programs still read them: Linux behaves
    /// this way.
    fn sync(&self) -> io::Result<()> {
        let failed = self.with(|contents| {
            for (offset, bytes) in std::mem::take(&mut contents.unsynced) {
                overwrite(&mut contents.durable, &bytes, offset);
            }
            Ok(())
        });
        if failed.is_err() {
            let mut disk = self.storage.disk();
            let is_off = disk.is_off;
            if let Some(contents) = disk.files.get_mut(&self.file).filter(|_| !is_off) {
                contents.unsynced.clear();
            }
        }
        failed
    }
}
