//! Starts after a power loss or a kill: recovery, interrupted recovery, damage that must be refused, and the
//! expected result of a start.

use domain::coupon;
use domain::hash::HashSeed;
use domain::state::Done;
use domain::wire::state::StateBuilder;
use domain::workload::AnyEvent;
use engine::commit::Committer;
use engine::core::Core;
use engine::restart::{Restarted, restart, state_digest};
use journal::reader::ReadError;
use journal::segments::name_of;
use journal::snapshot;
use journal::storage::Storage;
use journal::writer::OpenError;
use journal::{Damage, Lsn};

use crate::counts::Rare;
use crate::disk::{Call, Disk, Fault, Fired, Folder, SimStorage, Survival};
use crate::history::{History, Place};
use crate::plant::Plant;
use crate::world::{LIMITS, Process, World, journal_options};

type Started = (Core, Committer<SimStorage>, Restarted);

/// A fault during one attempt to start: its call, its kind, and the survivors if it is a power loss.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// Calls that succeed before the fault.
    pub after: u64,
    /// The fault of the next call.
    pub fault: Fault,
    /// What survives a power loss.
    pub survival: Survival,
}

impl World {
    /// Turns power off and on.
    pub fn power_cycle(&mut self, survival: Survival) {
        let _ = self.die();
        self.disk.power_cycle(survival);
        self.was_cycled = true;
        self.pages_lost = false;
    }

    /// Starts a process, with one attempt for each of `troubles` and a last one without faults;
    /// then checks the result.
    ///
    /// # Errors
    /// The broken promise in words.
    pub fn start(&mut self, troubles: &[Trouble]) -> Result<(), String> {
        let expected = if self.was_cycled { Some(digest_of_start(&self.disk.copy())?) } else { None };
        self.plant_before_start();
        let mut power_losses = 0;
        for trouble in troubles {
            self.disk.plan(trouble.after, trouble.fault);
            match self.try_start() {
                Ok((started, fired)) => return self.serve(started, &fired, expected),
                Err((error, fired)) => self.judge_failure(&error, &fired)?,
            }
            if self.disk.is_off() {
                self.power_cycle(trouble.survival);
                power_losses += 1;
                self.counts.saw(if 1 < power_losses { Rare::PowerLostInRecoveryAgain } else { Rare::PowerLostInRecovery });
            }
        }
        match self.try_start() {
            Ok((started, fired)) => self.serve(started, &fired, expected),
            Err((error, _)) => Err(format!("it does not start: {error}")),
        }
    }

    fn try_start(&mut self) -> Result<(Started, Vec<Fired>), (OpenError, Vec<Fired>)> {
        self.starts_count = self.starts_count.wrapping_add(1);
        let _ = self.disk.take_fired();
        self.disk.set_recovering(true);
        let (options, seed) = (journal_options(self.starts_count), HashSeed(u64::from(self.starts_count), 9));
        let started = restart(&self.disk.journal, &self.disk.snapshots, &options, seed, LIMITS);
        self.disk.set_recovering(false);
        self.disk.clear_plan();
        let fired = self.disk.take_fired();
        self.pages_lost |= fired.iter().any(|fired| fired.call == Call::Sync && matches!(fired.fault, Fault::Error(_)));
        match started {
            Ok(started) => Ok((started, fired)),
            Err(error) => Err((error, fired)),
        }
    }

    /// A start may fail only because of the disk, and its error must say so.
    fn judge_failure(&mut self, error: &OpenError, fired: &[Fired]) -> Result<(), String> {
        if fired.is_empty() {
            return Err(format!("it does not start: {error}"));
        }
        if !matches!(error, OpenError::Io(_) | OpenError::Read(ReadError::Io { .. })) {
            return Err(format!("an error of the disk ({fired:?}) is taken for something else: {error}"));
        }
        if fired.iter().any(|fired| fired.fault != Fault::PowerLoss) {
            self.counts.saw(Rare::ErrorInRecovery);
        }
        Ok(())
    }

    fn serve(&mut self, started: Started, fired: &[Fired], expected: Option<[u8; 32]>) -> Result<(), String> {
        let (core, committer, restarted) = self.plant_after_start(started);
        self.check_start(&restarted, !fired.is_empty())?;
        if expected.is_some_and(|expected| expected != state_digest(core.state())) {
            return Err("a start that was cut short ends in another state than one that was not".to_owned());
        }
        let is_clean = !self.pages_lost;
        let unknowns = self.checker.recovered(&self.disk, core.state(), restarted.last_lsn, is_clean)?;
        if core.state().due().next().is_some() {
            self.counts.saw(Rare::StartedWithQueue);
        }
        self.count_start(&restarted, &committer);
        (0..unknowns.there).for_each(|_| self.counts.saw(Rare::UnknownWasThere));
        (0..unknowns.lost).for_each(|_| self.counts.saw(Rare::UnknownWasLost));
        self.may_be_torn &= self.pages_lost;
        self.was_cycled = false;
        self.process = Some(Process::new(core, committer));
        Ok(())
    }

    fn check_start(&self, restarted: &Restarted, had_error: bool) -> Result<(), String> {
        if let Some(torn) = restarted.torn.as_ref().filter(|_| !self.may_be_torn) {
            return Err(format!("nothing was torn, but a torn tail was found: {torn}"));
        }
        if let Some(lsn) = restarted.snapshot_lsn.filter(|lsn| self.rotted.contains(lsn)) {
            return Err(format!("the damaged snapshot at {lsn} was used"));
        }
        let refused = restarted.snapshots_refused.iter().find(|(lsn, _)| !had_error && !self.rotted.contains(lsn));
        refused.map_or(Ok(()), |(lsn, why)| Err(format!("the snapshot at {lsn} cannot be used: {why}")))
    }

    fn count_start(&mut self, restarted: &Restarted, committer: &Committer<SimStorage>) {
        let seen = [
            (restarted.torn.is_some(), Rare::TornTailCleared),
            (restarted.snapshot_lsn.is_some(), Rare::SnapshotUsed),
            (restarted.snapshot_lsn.is_some() && 0 < restarted.replayed_count, Rare::SnapshotAndTail),
            (!restarted.snapshots_refused.is_empty(), Rare::SnapshotPassedOver),
            (committer.journal().spares().is_ready(), Rare::SpareFound),
            (self.disk.is_full(), Rare::OpenedOnFullDisk),
            (!self.was_cycled, Rare::Killed),
        ];
        seen.iter().filter(|(is_seen, _)| *is_seen).for_each(|(_, rare)| self.counts.saw(*rare));
    }

    /// Flips a bit in a synced batch that is followed by another one: the start must be refused, name the
    /// place, and change nothing. Then flips the bit back.
    ///
    /// # Errors
    /// The broken promise in words.
    pub fn rot_journal(&mut self, choice: u64) -> Result<(), String> {
        let history = History::read(&self.disk.durable_copy())?;
        let newest = snapshot::list(&self.disk.durable_copy().snapshots).map_err(|error| error.to_string())?.first().copied();
        let candidates: Vec<Place> = history.batches.iter().rev().skip(1).copied().collect();
        let candidates: Vec<Place> = candidates.into_iter().filter(|place| newest.unwrap_or_default() < place.first_lsn).collect();
        let Some(place) = choice.checked_rem(candidates.len() as u64).and_then(|at| candidates.get(usize::try_from(at).ok()?)) else {
            return Ok(());
        };
        let (name, offset, bit) = (name_of(place.segment), place.offset + choice % place.bytes, choice % 8);
        self.disk.corrupt(Folder::Journal, &name, offset, |bytes| bytes[0] ^= 1 << bit);
        let before = segments_of(&self.disk);
        let outcome = self.try_start().map(|_| ()).map_err(|(error, _)| error);
        let is_untouched = before == segments_of(&self.disk);
        if self.is(Plant::HoleTakenForTail) {
            clear_from(&self.disk, place);
            return Ok(());
        }
        self.disk.corrupt(Folder::Journal, &name, offset, |bytes| bytes[0] ^= 1 << bit);
        self.counts.saw(Rare::HoleRefused);
        judge_refusal(outcome, place, is_untouched)
    }

    /// Flips a bit in the newest snapshot: a start must skip it.
    ///
    /// # Errors
    /// The storage's I/O error.
    pub fn rot_snapshot(&mut self, choice: u64) -> Result<(), String> {
        let found = snapshot::list(&self.disk.durable_copy().snapshots).map_err(|error| error.to_string())?;
        let Some(lsn) = found.first().filter(|lsn| !self.rotted.contains(lsn)) else { return Ok(()) };
        let name = format!("{:020}.snapshot", lsn.0);
        let offset = choice % self.disk.snapshot_size(&name).max(1);
        self.disk.corrupt(Folder::Snapshots, &name, offset, |bytes| bytes[0] ^= 1 << (choice % 8));
        self.rotted.insert(*lsn);
        Ok(())
    }

    /// Flips a bit in a complete but never synced batch at the end, if there is one: it must be cleared like
    /// any torn tail. Returns whether there was one.
    ///
    /// # Errors
    /// A text that says what is wrong with the journal.
    pub fn rot_tail(&mut self, choice: u64) -> Result<bool, String> {
        let history = History::read(&self.disk.durable_copy())?;
        let unsynced = history.batches.last().filter(|place| self.checker.durable() < place.first_lsn);
        let Some(place) = unsynced else { return Ok(false) };
        let offset = place.offset + choice % place.bytes;
        self.disk.corrupt(Folder::Journal, &name_of(place.segment), offset, |bytes| bytes[0] ^= 1 << (choice % 8));
        Ok(true)
    }

    /// The number of calls of a start without faults.
    ///
    /// # Errors
    /// A text that says why the start failed.
    pub fn calls_of_start(&self) -> Result<u64, String> {
        let copy = self.disk.copy();
        digest_of_start(&copy)?;
        Ok(copy.calls_count())
    }

    /// Loses the last batch, so that its LSNs are assigned again (a plant).
    fn plant_before_start(&mut self) {
        if !self.is(Plant::LsnReused) {
            return;
        }
        if let Ok(Some(place)) = History::read(&self.disk.copy()).map(|history| history.batches.last().copied()) {
            self.may_be_torn = true;
            clear_from(&self.disk, &place);
        }
    }

    fn plant_after_start(&self, (core, committer, restarted): Started) -> Started {
        let lsn = core.staged_lsn();
        let state = match self.plant {
            Some(Plant::TimeForgotten) => {
                let mut builder = StateBuilder::new(HashSeed(1, 2));
                let is_read = core.state().freeze().sections().all(|section| builder.section(&section).is_ok());
                builder.finish().ok().filter(|_| is_read).map(|mut state| {
                    state.time = domain::types::Timestamp::ZERO;
                    state
                })
            }
            Some(Plant::RecordSkipped) => skip_one(&self.disk),
            _ => None,
        };
        let Some(state) = state else { return (core, committer, restarted) };
        let mut core = Core::resume(state, lsn, LIMITS);
        core.settle(committer.journal().room_bytes());
        (core, committer, restarted)
    }
}

/// The state from all records except one claim in the middle.
fn skip_one(disk: &Disk) -> Option<domain::State> {
    let mut history = History::read(&disk.copy()).ok()?;
    let is_claim = |place: &usize| {
        let record = history.records.get(*place).and_then(|stored| stored.record().ok());
        let is_claimed = |done: Done<'_>| matches!(done.event, AnyEvent::Campaign(coupon::Event::Claimed { .. }));
        record.is_some_and(|record| record.change.events().any(is_claimed))
    };
    let claim = (0..history.records.len()).filter(is_claim).nth(3)?;
    history.records.remove(claim);
    history.replay(HashSeed(1, 2)).ok()
}

fn judge_refusal(outcome: Result<(), OpenError>, place: &Place, is_untouched: bool) -> Result<(), String> {
    let found = match outcome {
        Err(OpenError::Read(ReadError::Damaged(Damage { file, offset, lsn, .. }))) => (file, offset, lsn),
        other => return Err(format!("a flipped bit in a synced batch at {place:?} gives {other:?}")),
    };
    let expected: (String, u64, Lsn) = (name_of(place.segment), place.offset, place.first_lsn);
    if found != expected {
        return Err(format!("the damage at {expected:?} is told to be at {found:?}"));
    }
    if is_untouched { Ok(()) } else { Err("a start that was refused has changed the journal".to_owned()) }
}

/// The digest of the state that a start without faults gives.
fn digest_of_start(disk: &Disk) -> Result<[u8; 32], String> {
    let started = restart(&disk.journal, &disk.snapshots, &journal_options(0), HashSeed(3, 4), LIMITS);
    started.map(|(core, _, _)| state_digest(core.state())).map_err(|error| format!("it does not start: {error}"))
}

fn segments_of(disk: &Disk) -> Vec<(String, Vec<u8>)> {
    let names = disk.journal.list().unwrap_or_default();
    let names = names.into_iter().filter(|name| name.ends_with(".segment"));
    names.map(|name| (name.clone(), disk.segment_bytes(&name))).collect()
}

/// Overwrites a batch and everything after it with zeros, in its segment and all later ones.
fn clear_from(disk: &Disk, place: &Place) {
    for (name, _) in segments_of(disk).iter().filter(|(name, _)| name_of(place.segment) <= *name) {
        let offset = if *name == name_of(place.segment) { place.offset } else { journal::format::SEGMENT_HEADER_BYTES };
        disk.corrupt(Folder::Journal, name, offset, |bytes| bytes.fill(0));
    }
}
