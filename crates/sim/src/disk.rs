//! One simulated disk with the two folders of a data folder. Calls are counted across both, so that a fault
//! can be planned for the Nth call; every byte written goes into a digest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::memory::{self, MemoryFile, MemoryStorage};
use journal::storage::{Storage, StorageFile};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::plant::Plant;
use crate::rng::Rng;
use crate::tamper::Tamper;

/// An injected fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Power is lost before the call has any effect.
    PowerLoss,
    /// The call fails; a sync that fails loses its pages.
    Error(io::ErrorKind),
    /// The next write from this call on writes half of its bytes and fails.
    ShortWrite,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::PowerLoss => io::Error::other("power is off"),
            Self::Error(kind) => kind.into(),
            Self::ShortWrite => io::ErrorKind::WriteZero.into(),
        }
    }
}

/// A call of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// `Storage::list`
    List,
    /// `Storage::create`
    Create,
    /// `Storage::open`
    Open,
    /// `Storage::rename`
    Rename,
    /// `Storage::remove`
    Remove,
    /// `Storage::sync_folder`
    SyncFolder,
    /// `StorageFile::size`
    Size,
    /// `StorageFile::read_at`
    Read,
    /// `StorageFile::write_at`
    Write,
    /// `StorageFile::sync`
    Sync,
}

/// A folder on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    /// The journal's.
    Journal,
    /// The snapshots'.
    Snapshots,
}

/// A fault that has happened.
#[derive(Clone, Debug)]
pub struct Fired {
    /// The fault.
    pub fault: Fault,
    /// The call that it occurred in.
    pub call: Call,
    /// The file's name.
    pub name: String,
}

/// The unsynced sectors and names that survive a power loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// None.
    Nothing,
    /// All of them.
    Everything,
    /// A random subset from this seed, with some sectors torn.
    Mixed(u64),
}

/// The disk. Clones share its contents.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The journal's folder.
    pub journal: Arc<SimStorage>,
    /// The snapshots' folder.
    pub snapshots: SimStorage,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    calls: u64,
    planned: Option<(u64, Fault)>,
    fired: Vec<Fired>,
    is_off: bool,
    is_full: bool,
    tape: Sha256,
    tamper: Tamper,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(plant: Option<Plant>, seed: u64) -> Self {
        Self::on(MemoryStorage::new(), MemoryStorage::new(), Tamper::new(plant, seed))
    }

    fn on(journal: MemoryStorage, snapshots: MemoryStorage, tamper: Tamper) -> Self {
        let shared = Shared { calls: 0, planned: None, fired: Vec::new(), is_off: false, is_full: false, tape: Sha256::new(), tamper };
        let shared = Arc::new(Mutex::new(shared));
        let storage = |inner, folder| SimStorage { inner, folder, shared: Arc::clone(&shared) };
        let journal = Arc::new(storage(journal, Folder::Journal));
        Self { journal, snapshots: storage(snapshots, Folder::Snapshots), shared }
    }

    /// An independent disk with the same contents, page cache included, and without faults.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::on(self.journal.inner.copy(), self.snapshots.inner.copy(), Tamper::new(None, 0))
    }

    /// An independent disk with only the durable contents of this one.
    #[must_use]
    pub fn durable_copy(&self) -> Self {
        let copy = self.copy();
        copy.power_cycle(Survival::Nothing);
        copy
    }

    /// An independent disk with this one's journal and without its snapshots.
    #[must_use]
    pub fn journal_copy(&self) -> Self {
        Self::on(self.journal.inner.copy(), MemoryStorage::new(), Tamper::new(None, 0))
    }

    /// Plans a fault for the call after `after` further ones; at most one fault is planned.
    pub fn plan(&self, after: u64, fault: Fault) {
        let mut shared = self.shared.lock();
        shared.planned = Some((shared.calls + after + 1, fault));
    }

    /// Removes the planned fault.
    pub fn clear_plan(&self) {
        self.shared.lock().planned = None;
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls_count(&self) -> u64 {
        self.shared.lock().calls
    }

    /// The faults that occurred since the last call.
    #[must_use]
    pub fn take_fired(&self) -> Vec<Fired> {
        std::mem::take(&mut self.shared.lock().fired)
    }

    /// Whether power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.lock().is_off
    }

    /// Turns power off, if it is on, and on again.
    pub fn power_cycle(&self, survival: Survival) {
        let mut chance = if let Survival::Mixed(seed) = survival { Rng::new(seed, 7) } else { Rng::new(0, 7) };
        let mut choose = |choices: u64| match survival {
            Survival::Nothing => 0,
            // The first question is how many of four to keep, the later ones which.
            Survival::Everything if choices == 4 => 0,
            Survival::Everything => choices - 1,
            Survival::Mixed(_) => chance.below(choices),
        };
        self.journal.inner.power_cycle(&mut choose);
        self.snapshots.inner.power_cycle(&mut choose);
        let mut shared = self.shared.lock();
        shared.is_off = false;
        shared.planned = None;
        shared.tamper.restart();
    }

    /// Sets whether the disk is full: no file can grow then.
    pub fn set_full(&self, is_full: bool) {
        self.shared.lock().is_full = is_full;
        let capacity = is_full.then_some(0);
        self.journal.inner.set_capacity(capacity);
        self.snapshots.inner.set_capacity(capacity);
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.lock().is_full
    }

    /// Notes that recovery begins or ends; some planted bugs act only during it.
    pub fn set_recovering(&self, is_recovering: bool) {
        self.shared.lock().tamper.set_recovering(is_recovering);
    }

    /// Adds an answer's text to the digest.
    pub fn note(&self, text: &str) {
        self.shared.lock().tape.update(text.as_bytes());
    }

    /// The digest of every byte written and everything noted.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.shared.lock().tape.clone().finalize().into()
    }

    /// The bytes of a file of the journal, as programs see them.
    #[must_use]
    pub fn segment_bytes(&self, name: &str) -> Vec<u8> {
        self.journal.inner.contents(name).unwrap_or_default()
    }

    /// Changes bytes of a file, as silent corruption does.
    pub fn corrupt(&self, folder: Folder, name: &str, offset: u64, change: impl FnOnce(&mut [u8])) {
        match folder {
            Folder::Journal => self.journal.inner.corrupt(name, offset, change),
            Folder::Snapshots => self.snapshots.inner.corrupt(name, offset, change),
        }
    }

    /// The size of a snapshot's file.
    #[must_use]
    pub fn snapshot_size(&self, name: &str) -> u64 {
        self.snapshots.inner.contents(name).map_or(0, |bytes| bytes.len() as u64)
    }
}

impl Shared {
    /// Counts a call, and returns the fault that it must suffer.
    fn begin(&mut self, call: Call, name: &str) -> Result<(), Fault> {
        self.calls += 1;
        self.tape.update([call as u8]);
        self.tape.update(name.as_bytes());
        if self.is_off {
            return Err(Fault::PowerLoss);
        }
        let Some((_, fault)) = self.planned.filter(|(at, _)| *at <= self.calls) else { return Ok(()) };
        if fault == Fault::ShortWrite && call != Call::Write {
            return Ok(());
        }
        self.planned = None;
        self.is_off = fault == Fault::PowerLoss;
        self.fired.push(Fired { fault, call, name: name.to_owned() });
        Err(fault)
    }
}

/// A folder on the disk.
#[derive(Clone, Debug)]
pub struct SimStorage {
    inner: MemoryStorage,
    folder: Folder,
    shared: Arc<Mutex<Shared>>,
}

impl SimStorage {
    fn begin(&self, call: Call, name: &str) -> io::Result<()> {
        self.shared.lock().begin(call, name).map_err(Fault::error)
    }

    fn file(&self, inner: MemoryFile, name: &str) -> SimFile {
        SimFile { inner, storage: self.clone(), name: name.to_owned(), was_synced: AtomicBool::new(false) }
    }
}

impl Storage for SimStorage {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.begin(Call::List, "")?;
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.begin(Call::Create, name)?;
        self.inner.create(name).map(|inner| self.file(inner, name))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.begin(Call::Open, name)?;
        self.inner.open(name).map(|inner| self.file(inner, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.begin(Call::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.begin(Call::Remove, name)?;
        self.inner.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.begin(Call::SyncFolder, "")?;
        if self.shared.lock().tamper.skips_folder_sync(self.folder) {
            return Ok(());
        }
        self.inner.sync_folder()
    }
}

/// An open file on the disk.
#[derive(Debug)]
pub struct SimFile {
    inner: MemoryFile,
    storage: SimStorage,
    /// The name under which the file was opened.
    name: String,
    was_synced: AtomicBool,
}

impl SimFile {
    fn begin(&self, call: Call) -> Result<(), Fault> {
        self.storage.shared.lock().begin(call, &self.name)
    }

    fn tamper<T>(&self, ask: impl FnOnce(&mut Tamper) -> T) -> T {
        ask(&mut self.storage.shared.lock().tamper)
    }

    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut shared = self.storage.shared.lock();
        shared.tape.update(offset.to_le_bytes());
        shared.tape.update(bytes);
        drop(shared);
        self.inner.write_at(bytes, offset)
    }

    /// The memory disk loses the pages of a failed sync.
    fn fail_sync(&self, fault: Fault) -> io::Result<()> {
        if let Fault::Error(kind) = fault {
            let inner = &self.storage.inner;
            inner.set_fault(inner.calls_count() + 1, memory::Fault::Error(kind));
            let failed = self.inner.sync();
            return if self.tamper(|tamper| tamper.is(Plant::FailedSyncBelieved)) { self.inner.sync() } else { failed };
        }
        Err(fault.error())
    }
}

impl StorageFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.begin(Call::Size).map_err(Fault::error)?;
        self.inner.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let begun = self.begin(Call::Read);
        if let Err(fault) = begun
            && !self.tamper(|tamper| tamper.blinds(fault, &self.name, offset))
        {
            return Err(fault.error());
        }
        self.inner.read_at(buffer, offset)?;
        self.tamper(|tamper| tamper.hide(&self.name, offset, buffer));
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.begin(Call::Write) {
            Ok(()) => {}
            Err(fault) => {
                if fault == Fault::ShortWrite {
                    self.write_some(&bytes[..bytes.len() / 2], offset)?;
                }
                let is_ignored = fault != Fault::PowerLoss && self.tamper(|tamper| tamper.is(Plant::FailedWriteIgnored));
                return if is_ignored { Ok(()) } else { Err(fault.error()) };
            }
        }
        if self.tamper(|tamper| tamper.skips_write(self.storage.folder, &self.name, bytes)) {
            return Ok(());
        }
        if self.tamper(|tamper| tamper.delays_write(self.storage.folder, &self.name, bytes, offset)) {
            return Ok(());
        }
        let old = self.storage.inner.contents("0000000001.segment");
        let recycled = self.tamper(|tamper| tamper.recycles(&self.name, bytes, old));
        self.write_some(recycled.as_deref().unwrap_or(bytes), offset)
    }

    fn sync(&self) -> io::Result<()> {
        if let Err(fault) = self.begin(Call::Sync) {
            return self.fail_sync(fault);
        }
        let was_synced = self.was_synced.swap(true, Ordering::Relaxed);
        if self.tamper(|tamper| tamper.skips_sync(self.storage.folder, &self.name, was_synced)) {
            return Ok(());
        }
        self.inner.sync()?;
        match self.tamper(|tamper| tamper.take_delayed(&self.name)) {
            Some((bytes, offset)) => self.write_some(&bytes, offset),
            None => Ok(()),
        }
    }
}
