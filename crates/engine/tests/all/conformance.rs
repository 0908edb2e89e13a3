//! The tables of `conformance/coupon/`, on the engine with a real folder. After each case the
//! folder is opened again, with its snapshot and from the journal alone, and must give the same
//! state under other hash seeds (J1).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use conformance::{AggregateReply, Ask, Backend, ClaimReply, Reply, Request, run_folder};
use domain::coupon::{Coupon, TargetBy};
use domain::hash::HashSeed;
use domain::types::{Name, RequestId, Timestamp};
use domain::{Action, Command, Kind, Rejection};
use engine::Engine;
use engine::clock::ManualClock;
use engine::engine::Settings;
use engine::restart::{restart, state_digest};
use engine::views::{Done, Effect, Over, Refusal};
use journal::storage::FileStorage;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

#[test]
fn the_engine_answers_as_the_tables_say_and_so_does_what_a_restart_rebuilds() {
    for (folder, cases_min) in [("coupon", 80), ("policy", 6)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").join(folder);
        let summary = run_folder(&folder, EngineBackend::new).unwrap();
        assert!(cases_min < summary.cases_count, "{summary:?}");
    }
}

struct EngineBackend {
    folder: TempDir,
    clock: Arc<ManualClock>,
    settings: Settings,
    engine: Engine,
    runtime: Runtime,
}

impl EngineBackend {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::ZERO);
        let settings = support::settings(folder.path(), &clock);
        let (engine, _) = support::open(&settings);
        Self { folder, clock, settings, engine, runtime: Builder::new_current_thread().build().unwrap() }
    }

    fn command(&self, request: &Request<'_>, action: Action<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), action };
        match self.runtime.block_on(self.engine.submit(&command, RequestId::new("table").unwrap())) {
            Ok(done) => reply_of(&done),
            Err(Refusal::Rejected(rejection)) => Reply::from(&rejection),
            Err(other) => Reply::Unexpected(format!("{other:?}")),
        }
    }

    fn read(&self, kind: Kind, name: Name<'_>) -> Reply {
        let look = self.engine.read(Over::One(kind, name), |state, now| state.find(kind, name).map(|it| it.summary(now)));
        match self.runtime.block_on(look).unwrap() {
            Some(summary) => Reply::Aggregate(AggregateReply::from(&summary)),
            None => Reply::from(&Rejection::NotFound(kind)),
        }
    }

    fn read_claim(&self, name: Name<'_>, by: TargetBy<'_>) -> Reply {
        let look = self.engine.read(Over::One(Kind::Campaign, name), |state, _| {
            let campaign = state.get::<Coupon>(name).ok_or(Rejection::NotFound(Kind::Campaign))?;
            campaign.find(by).map(|claim| ClaimReply::from(&claim)).map_err(Rejection::of::<Coupon>)
        });
        match self.runtime.block_on(look).unwrap() {
            Ok(claim) => Reply::Claim(claim),
            Err(why) => Reply::from(&why),
        }
    }

    /// The state that a start would serve, without the threads that could change it.
    fn rebuilt_digest(&self, seed: HashSeed) -> [u8; 32] {
        let folder = self.folder.path();
        let journal = Arc::new(FileStorage::open_folder(&folder.join("journal")).unwrap());
        let snapshots = FileStorage::open_folder(&folder.join("snapshots")).unwrap();
        let (core, _, _) = restart(&journal, &snapshots, &self.settings.journal, seed, self.settings.limits).unwrap();
        state_digest(core.state())
    }
}

impl Backend for EngineBackend {
    fn set_time(&mut self, at: Timestamp) {
        self.clock.set(at);
        self.engine.do_due();
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Act(action) => {
                let reply = self.command(request, action);
                self.engine.do_due();
                reply
            }
            Ask::Read(kind, name) => self.read(kind, name),
            Ask::ReadClaim(name, by) => self.read_claim(name, by),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.engine.close();
        let live = self.engine.state_digest();
        if self.rebuilt_digest(HashSeed(3, 4)) != live {
            return Err("a restart from the snapshot gives another state".into());
        }
        fs::remove_dir_all(self.folder.path().join("snapshots")).unwrap();
        if self.rebuilt_digest(HashSeed(5, 6)) != live {
            return Err("a restart from the journal alone gives another state".into());
        }
        Ok(())
    }
}

fn reply_of(done: &Done) -> Reply {
    let novelty = done.novelty;
    match &done.effect {
        Effect::Written { created, summary } => Reply::Written { created: *created, version: summary.head().version, novelty },
        Effect::Removed { summary } => Reply::Removed { version: summary.head().version, novelty },
        Effect::Did(shown) => Reply::did(&shown.outcome, shown.view.as_ref(), novelty),
        Effect::DidBoth(..) | Effect::Nothing => Reply::Unexpected(format!("{done:?}")),
    }
}
