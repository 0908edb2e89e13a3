//! One process on one disk, driven by one thread: the steps of the engine's threads, in any order that the
//! driver chooses, and the answers that clients see.

use std::collections::BTreeSet;

use domain::Kind;
use domain::coupon::{Coupon, TargetBy};
use domain::rejections::Coded;
use domain::types::{Name, RequestId, SubjectId, Timestamp};
use domain::wire::Position;
use domain::wire::state::FrozenState;
use engine::commit::Committer;
use engine::core::Core;
use engine::feed::{FedRecords, Feed, FeedError};
use engine::limits::Limits;
use engine::views::Over;
use journal::Lsn;
use journal::format::SEGMENT_HEADER_BYTES;
use journal::writer::Options;
use parking_lot::{Mutex, MutexGuard};

use crate::ask::{self, Answer, Ask, Question, Said, Verb, What};
use crate::checker::{Checker, Told};
use crate::counts::{Counts, Rare};
use crate::disk::{Call, Disk, Fault, Fired, SimStorage};
use crate::plant::Plant;
use crate::snapshots;

/// Small, so that limits are reached.
pub const LIMITS: Limits = Limits { entries_max: 100_000, requests_max: 100_000, aggregates_max: 16, staged_bytes_max: 6 << 10 };
/// The size of segments: small, so that there are many.
pub const SEGMENT_BYTES: u64 = SEGMENT_HEADER_BYTES + (8 << 10);

/// The journal's options; salts differ from start to start.
#[must_use]
pub fn journal_options(salt: u8) -> Options {
    Options { segment_bytes: SEGMENT_BYTES, new_id: [42; 16], salt_seed: [salt; 32] }
}

/// Why a step is the last of its process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The process died as intended.
    Died,
    /// A promise was broken.
    Broken(String),
}

impl From<String> for End {
    fn from(story: String) -> Self {
        Self::Broken(story)
    }
}

/// The disk, the clock, the process and the checks.
#[derive(Debug)]
pub struct World {
    /// The disk.
    pub disk: Disk,
    /// The wall clock's time.
    pub wall: u64,
    /// The planted bug, if any.
    pub plant: Option<Plant>,
    /// Remembers the answers that clients received.
    pub checker: Checker,
    /// The counts of rare events.
    pub counts: Counts,
    pub(crate) process: Option<Process>,
    /// Snapshots that were damaged on purpose.
    pub(crate) rotted: BTreeSet<Lsn>,
    /// Whether a batch may have been written incompletely.
    pub(crate) may_be_torn: bool,
    /// Whether the page cache holds data that the disk does not.
    pub(crate) pages_lost: bool,
    /// Whether power was lost since a process last ran.
    pub(crate) was_cycled: bool,
    pub(crate) starts_count: u8,
    was_refused: bool,
    asked_count: u64,
}

/// The state that is lost when the process dies.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) core: Mutex<Core>,
    pub(crate) committer: Committer<SimStorage>,
    pub(crate) durable: Lsn,
    held: Vec<(Lsn, Told)>,
    pub(crate) frozen: Option<(Lsn, FrozenState)>,
}

impl Process {
    pub(crate) fn new(core: Core, committer: Committer<SimStorage>) -> Self {
        let durable = core.staged_lsn();
        Self { core: Mutex::new(core), committer, durable, held: Vec::new(), frozen: None }
    }

    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }
}

impl World {
    /// A world with an empty disk and no process.
    #[must_use]
    pub fn new(plant: Option<Plant>, seed: u64) -> Self {
        Self {
            disk: Disk::new(plant, seed),
            wall: 1_000_000,
            plant,
            checker: Checker::default(),
            counts: Counts::default(),
            process: None,
            rotted: BTreeSet::new(),
            may_be_torn: false,
            pages_lost: false,
            was_cycled: true,
            starts_count: 0,
            was_refused: false,
            asked_count: 0,
        }
    }

    pub(crate) fn is(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn process(&mut self) -> Result<&mut Process, End> {
        self.process.as_mut().ok_or(End::Died)
    }

    /// The timestamp that a command would get now.
    ///
    /// # Errors
    /// [`End`].
    pub fn now(&mut self) -> Result<u64, End> {
        let wall = self.wall;
        Ok(self.process()?.core().state().time.millis().max(wall))
    }

    /// An id for a new request.
    pub fn next_id(&mut self) -> String {
        self.asked_count += 1;
        format!("r{}", self.asked_count)
    }

    /// Makes a client's request.
    ///
    /// # Errors
    /// [`End`].
    pub fn submit(&mut self, ask: Ask) -> Result<Said, End> {
        let wall = self.wall;
        self.checker.ask(&ask, wall);
        let (command, request_id) = (ask.command(), RequestId::new(&ask.id));
        let (Some(command), Ok(request_id)) = (command, request_id) else {
            return Err(End::Broken(format!("{ask:?} has a malformed name")));
        };
        let (answer, before, staged) = {
            let mut core = self.process()?.core();
            let before = core.staged_lsn();
            (core.submit(&command, request_id, time(wall)), before, core.staged_lsn())
        };
        let mut said = Said::of(&answer.value, before < staged);
        if let (Answer::Claim { verb, .. }, true) = (&mut said.answer, self.is(Plant::PlaceToldAsClaim)) {
            *verb = if *verb == Verb::Accepted { Verb::Claimed } else { *verb };
        }
        let told = Told { question: Question::Ask(ask), wall, staged, said: said.clone() };
        self.answer(answer.lsn, told)?;
        Ok(said)
    }

    /// Makes a client's read.
    ///
    /// # Errors
    /// [`End`].
    pub fn read(&mut self, question: Question) -> Result<(), End> {
        let wall = self.wall;
        let (answer, lsn, staged) = {
            let core = self.process()?.core();
            let (answer, lsn) = read_from(&core, &question, wall).ok_or_else(|| "a malformed name".to_owned())?;
            (answer, lsn, core.staged_lsn())
        };
        self.answer(lsn, Told { question, wall, staged, said: Said::only(answer) })
    }

    /// Gives the answer, or holds it back until the records that it rests on are durable.
    fn answer(&mut self, lsn: Lsn, told: Told) -> Result<(), End> {
        let is_fresh = told.said.has_effect;
        let is_early = match self.plant {
            Some(Plant::AnswerBeforeSync) => true,
            Some(Plant::ReadBeforeDurable) => !is_fresh,
            Some(Plant::TimeNotWaitedFor) => matches!(told.said.answer, Answer::No("not_open" | "closed" | "expired")),
            _ => false,
        };
        if is_early || lsn <= self.process()?.durable {
            self.tell(told);
            return Ok(());
        }
        self.counts.saw(if is_fresh { Rare::AnswerHeld } else { Rare::ReadHeld });
        self.process()?.held.push((lsn, told));
        Ok(())
    }

    fn tell(&mut self, told: Told) {
        self.disk.note(&format!("{:?}", told.said));
        let rare = match &told.said.answer {
            Answer::Other(_) if told.said.has_effect => Some(match &told.question {
                Question::Ask(Ask { what: What::Policy(_), .. }) => Rare::PolicyChanged,
                _ => Rare::KeyringChanged,
            }),
            Answer::Other(_) if told.said.is_repeat => Some(Rare::OtherReplayed),
            Answer::No("asker_ended") => Some(Rare::AskerEnded),
            Answer::No("sold_out") => Some(Rare::SoldOut),
            Answer::No("request_key_reused") => Some(Rare::KeyReused),
            Answer::No("queue_full") => Some(Rare::QueueFull),
            Answer::NotTaken("storage_full") => Some(Rare::StorageFull),
            Answer::NotTaken("busy") => Some(Rare::Busy),
            Answer::Claim { verb: Verb::Accepted, .. } if told.said.has_effect => Some(Rare::Accepted),
            Answer::Claim { .. } if told.said.is_repeat => {
                let is_keyed = matches!(&told.question, Question::Ask(Ask { key: Some(_), .. }));
                Some(if is_keyed { Rare::KeyReplayed } else { Rare::SubjectRepeated })
            }
            _ => None,
        };
        rare.into_iter().for_each(|rare| self.counts.saw(rare));
        self.checker.tell(told);
    }

    /// Runs the committer: writes and syncs staged records, then releases answers.
    ///
    /// # Errors
    /// [`End`].
    pub fn commit(&mut self) -> Result<(), End> {
        let _ = self.disk.take_fired();
        let process = self.process()?;
        let segment = process.committer.journal().segment();
        match process.committer.commit(&process.core) {
            Ok(lsn) => {
                process.durable = lsn;
                let is_rotated = segment < process.committer.journal().segment();
                if is_rotated {
                    self.counts.saw(Rare::SegmentRotated);
                }
                self.checker.call_durable(lsn);
                self.release()
            }
            Err(error) => Err(self.fail_commit(&error.to_string())),
        }
    }

    fn release(&mut self) -> Result<(), End> {
        let process = self.process()?;
        let durable = process.durable;
        let (free, held): (Vec<_>, Vec<_>) = std::mem::take(&mut process.held).into_iter().partition(|(lsn, _)| *lsn <= durable);
        process.held = held;
        free.into_iter().for_each(|(_, told)| self.tell(told));
        Ok(())
    }

    /// The journal has failed: ends the process, and tells every waiting client "unknown".
    fn fail_commit(&mut self, error: &str) -> End {
        let fired = self.disk.take_fired();
        let Some(last) = fired.last() else { return End::Broken(format!("a batch was refused: {error}")) };
        self.count_fault(last, Rare::PowerLostInCommit);
        self.may_be_torn = true;
        self.pages_lost |= last.call == Call::Sync && matches!(last.fault, Fault::Error(_));
        if self.is(Plant::UnknownToldAsYes) {
            let held = self.process.as_mut().map(|process| std::mem::take(&mut process.held));
            held.into_iter().flatten().for_each(|(_, told)| self.tell(told));
        }
        self.die()
    }

    pub(crate) fn count_fault(&mut self, fired: &Fired, when_power: Rare) {
        let rare = match (fired.fault, fired.call) {
            (Fault::PowerLoss, _) => when_power,
            (Fault::ShortWrite, _) => Rare::WriteCutShort,
            (Fault::Error(_), Call::Sync) => Rare::SyncFailed,
            (Fault::Error(_), Call::Write) => Rare::WriteFailed,
            (Fault::Error(_), _) => return,
        };
        self.counts.saw(rare);
    }

    /// Ends the process; everything that is not on the disk is lost.
    pub fn die(&mut self) -> End {
        if let Some(process) = self.process.take() {
            for (_, told) in &process.held {
                self.checker.tell_unknown(&told.question);
            }
        }
        End::Died
    }

    /// Creates a spare segment, if none is ready.
    ///
    /// # Errors
    /// [`End`].
    pub fn prepare(&mut self) -> Result<(), End> {
        let _ = self.disk.take_fired();
        let storage = self.disk.journal.clone();
        let spares = self.process()?.committer.journal().spares().clone();
        match spares.prepare(&storage) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.process()?.core().add_room(spares.capacity_bytes());
                if std::mem::take(&mut self.was_refused) {
                    self.counts.saw(Rare::RoomAgain);
                }
                Ok(())
            }
            Err(error) => {
                self.was_refused |= self.disk.is_full();
                self.after_failure("a segment was not made", &error.to_string(), Rare::PowerLostInSpare)
            }
        }
    }

    /// Handles a failure that the process survives, unless power is off.
    pub(crate) fn after_failure(&mut self, what: &str, error: &str, when_power: Rare) -> Result<(), End> {
        let fired = self.disk.take_fired();
        match fired.last() {
            Some(last) => self.count_fault(last, when_power),
            None if self.disk.is_full() => {}
            None => return Err(End::Broken(format!("{what}: {error}"))),
        }
        if self.disk.is_off() { Err(self.die()) } else { Ok(()) }
    }

    /// Freezes the state for a snapshot.
    ///
    /// # Errors
    /// [`End`].
    pub fn freeze(&mut self) -> Result<(), End> {
        let process = self.process()?;
        let frozen = {
            let core = process.core();
            (core.staged_lsn(), core.state().freeze())
        };
        process.frozen = Some(frozen);
        if self.is(Plant::SnapshotOfStaged) { snapshots::write(self) } else { Ok(()) }
    }

    /// Writes the frozen state, once it is durable.
    ///
    /// # Errors
    /// [`End`].
    pub fn write_snapshot(&mut self) -> Result<(), End> {
        let process = self.process()?;
        if process.frozen.as_ref().is_some_and(|(lsn, _)| *lsn <= process.durable) { snapshots::write(self) } else { Ok(()) }
    }

    /// Runs a command that is due.
    ///
    /// # Errors
    /// [`End`].
    pub fn tick(&mut self) -> Result<(), End> {
        let wall = time(self.wall);
        loop {
            let (has_done, has_forgotten) = {
                let mut core = self.process()?.core();
                let keys_count = core.state().requests.len();
                (core.tick(wall), core.state().requests.len() < keys_count)
            };
            match (has_done, has_forgotten) {
                (false, _) => return Ok(()),
                (true, true) => self.counts.saw(Rare::KeysForgotten),
                (true, false) => self.counts.saw(Rare::QueueDecided),
            }
        }
    }

    /// Reads the feed of durable records.
    ///
    /// # Errors
    /// [`End`].
    pub fn follow(&mut self) -> Result<(), End> {
        let _ = self.disk.take_fired();
        let durable = self.process()?.durable;
        match self.follow_to(durable) {
            Ok(()) => Ok(()),
            Err(error) => self.after_failure("the feed failed", &error.to_string(), Rare::PowerLostInCommit),
        }
    }

    fn follow_to(&mut self, durable: Lsn) -> Result<(), FeedError> {
        let after = Position(self.checker.published_count());
        let Some(mut feed) = Feed::open(self.disk.journal.clone(), after)? else { return Ok(()) };
        let mut records = FedRecords::default();
        feed.fill(&mut records, durable, usize::MAX)?;
        records.iter().for_each(|(_, record)| self.checker.publish(record.request_id.as_str()));
        if after.0 < self.checker.published_count() {
            self.counts.saw(Rare::FeedFollowed);
        }
        Ok(())
    }
}

/// A timestamp from milliseconds.
#[must_use]
pub fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap_or(Timestamp::MAX)
}

fn read_from(core: &Core, question: &Question, wall: u64) -> Option<(Answer, Lsn)> {
    let (name, subject) = match question {
        Question::Campaign(name) => (name, None),
        Question::Claim(name, subject) => (name, Some(SubjectId::new(subject).ok()?)),
        Question::Ask(_) => return None,
    };
    let name = Name::new(name).ok()?;
    let read = core.read(Over::One(Kind::Campaign, name), time(wall), |state, now| {
        let campaign = state.get::<Coupon>(name);
        let Some(subject) = subject else {
            return campaign.map_or(Answer::NoCampaign, |campaign| ask::of_campaign(false, &campaign.summary(now)));
        };
        let Some(campaign) = campaign else { return Answer::No(Kind::Campaign.not_found()) };
        match campaign.find(TargetBy::Subject { subject }) {
            Ok(claim) => campaign.claim_view(claim.serial, now).map_or(Answer::NoCampaign, |view| ask::of_claim_read(&view)),
            Err(rejection) => Answer::No(rejection.code()),
        }
    });
    Some((read.value, read.lsn))
}
