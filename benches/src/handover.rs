//! An alternative hand-over between HTTP and the writer: one thread that owns core and journal, a bounded
//! channel to it, and a response channel for each request. The product instead decides in the caller's task
//! and wakes the committer at once, because that measures better; this module allows measuring it again.

use std::path::Path;
use std::sync::Arc;

use domain::coupon::{self, ClaimView, Coupon, Settings};
use domain::hash::HashSeed;
use domain::state::Precondition;
use domain::types::{Name, Quantity, RequestId, SubjectId};
use domain::{Action, Command, Listed};
use engine::clock::Clock;
use engine::commit::Committer;
use engine::core::Core;
use engine::limits::Limits;
use engine::restart::restart;
use engine::views::{Done, Refusal};
use journal::storage::FileStorage;
use journal::writer::Options;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::Outcome;
use crate::server::CAMPAIGN;

/// Requests that may wait for the writer thread.
const QUEUE_MAX: usize = 8_192;
/// Most requests in one batch.
const BATCH_MAX: usize = 4_096;

struct Ask {
    subject: String,
    request_id: String,
    answer: oneshot::Sender<Result<Done, Refusal>>,
}

/// A handle to the writer thread.
pub(crate) struct WriterThread {
    asks: mpsc::Sender<Ask>,
}

impl WriterThread {
    pub(crate) fn start(folder: &Path) -> Outcome<Self> {
        let storage = Arc::new(FileStorage::open_folder(&folder.join("journal"))?);
        let snapshots = FileStorage::open_folder(&folder.join("snapshots"))?;
        let options = Options { segment_bytes: 64 << 20, new_id: [1; 16], salt_seed: [2; 32] };
        let (core, committer, _) = restart(&storage, &snapshots, &options, HashSeed(1, 2), Limits::STANDARD)?;
        let spares = Arc::clone(committer.journal().spares());
        std::thread::spawn(move || {
            while spares.wait_until_wanted(std::time::Duration::from_secs(60)) {
                // If the disk has no room for the segment, the writer reports it.
                let _ = spares.prepare(&storage);
            }
        });
        let (asks, waiting) = mpsc::channel(QUEUE_MAX);
        std::thread::spawn(move || run(core, committer, waiting));
        Ok(Self { asks })
    }

    pub(crate) async fn claim(&self, subject: String, request_id: String) -> Result<ClaimView, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask { subject, request_id, answer }).map_err(|_| Refusal::Busy)?;
        let done = answered.await.map_err(|_| Refusal::Unknown)??;
        done.shown::<Coupon>().map(|(_, claim)| claim.clone()).ok_or(Refusal::Unknown)
    }
}

/// Takes all waiting requests, decides them, commits once, and answers them.
fn run(core: Core, mut committer: Committer<FileStorage>, mut waiting: mpsc::Receiver<Ask>) {
    let core = Mutex::new(core);
    core.lock().settle(u64::MAX / 2);
    create(&core);
    let mut asks = Vec::with_capacity(BATCH_MAX);
    let mut answers = Vec::with_capacity(BATCH_MAX);
    while waiting.blocking_recv_many(&mut asks, BATCH_MAX) != 0 {
        for ask in asks.drain(..) {
            answers.push((decide(&core, &ask), ask.answer));
        }
        if committer.commit(&core).is_err() {
            return;
        }
        for (answer, to) in answers.drain(..) {
            // A client that has disconnected needs no answer.
            let _ = to.send(answer);
        }
    }
}

fn decide(core: &Mutex<Core>, ask: &Ask) -> Result<Done, Refusal> {
    let (Ok(campaign), Ok(subject)) = (Name::new(CAMPAIGN), SubjectId::new(&ask.subject)) else { return Err(Refusal::Unknown) };
    let request_id = RequestId::new(&ask.request_id).unwrap_or(RequestId::ENGINE);
    let command = Command::local(Action::of::<Coupon>(campaign, coupon::Command::Claim { subject }));
    core.lock().submit(&command, request_id, Clock::System.now()).value
}

fn create(core: &Mutex<Core>) {
    if let Some(command) = put_command() {
        let _ = core.lock().submit(&command, RequestId::ENGINE, Clock::System.now());
    }
}

/// The command that creates the benchmarks' campaign.
pub(crate) fn put_command() -> Option<Command<'static>> {
    let settings = Coupon::any_settings(Settings { code_key: 1, ..Settings::plain(Quantity::MAX) });
    Some(Command::local(Action::Put { name: Name::new(CAMPAIGN).ok()?, settings, precondition: Precondition::Always }))
}
