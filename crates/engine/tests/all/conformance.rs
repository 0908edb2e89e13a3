//! The tables of `conformance/coupon/`, on the engine with a real folder. After each case the
//! folder is opened again, with its snapshot and from the journal alone, and must give the same
//! state under other hash seeds (J1).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use conformance::{Ask, Backend, CampaignReply, ClaimReply, Reply, Request, run_folder};
use domain::claims::Claim;
use domain::coupon::{Command as Coupon, Rejection as Why, Target, campaign_state};
use domain::hash::HashSeed;
use domain::state::{CommandKind, Rejection};
use domain::types::{CampaignName, RequestId, SubjectId, Timestamp};
use domain::{Command, Novelty};
use engine::Engine;
use engine::clock::ManualClock;
use engine::engine::Settings;
use engine::restart::{restart, state_digest};
use engine::views::{ClaimView, Done, Effect, NamedCampaign, Refusal};
use journal::storage::FileStorage;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

#[test]
fn the_engine_answers_as_the_tables_say_and_so_does_what_a_restart_rebuilds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/coupon");
    let summary = run_folder(&folder, EngineBackend::new).unwrap();
    assert!(80 < summary.cases_count, "{summary:?}");
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

    fn command(&self, request: &Request<'_>, coupon: Coupon<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), kind: CommandKind::Coupon(coupon) };
        match self.runtime.block_on(self.engine.submit(&command, RequestId::new("table").unwrap())) {
            Ok(done) => reply_of(&done),
            Err(Refusal::Rejected(rejection)) => Reply::from(&rejection),
            Err(other) => Reply::Unexpected(format!("{other:?}")),
        }
    }

    fn read_campaign(&self, name: CampaignName<'_>) -> Reply {
        match self.runtime.block_on(self.engine.campaign(name)).unwrap() {
            Some(campaign) => Reply::Campaign(campaign_reply(&campaign)),
            None => refused(Why::CampaignNotFound),
        }
    }

    fn read_claim(&self, target: &Target<'_>) -> Reply {
        match self.runtime.block_on(self.engine.claim(target.campaign, target.by)).unwrap() {
            Ok(claim) => Reply::Claim(claim_reply(&claim)),
            Err(why) => refused(why),
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
            Ask::Command(coupon) => {
                let reply = self.command(request, coupon);
                self.engine.do_due();
                reply
            }
            Ask::ReadCampaign(name) => self.read_campaign(name),
            Ask::ReadClaim(target) => self.read_claim(&target),
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

fn refused(why: Why) -> Reply {
    Reply::from(&Rejection::Coupon(why))
}

fn reply_of(done: &Done) -> Reply {
    let novelty: Novelty = done.novelty;
    match &done.effect {
        Effect::Campaign { created, campaign } => Reply::Written { created: *created, version: campaign.view.version, novelty },
        Effect::Claimed(claim) => match claim.waiting {
            Some(waiting) => Reply::Accepted { place: waiting.place, is_again: novelty != Novelty::Fresh },
            None => Reply::Claimed { serial: claim.serial, novelty },
        },
        Effect::Redeemed(claim) => Reply::Redeemed { serial: claim.serial, novelty },
        Effect::Cancelled(claim) => Reply::Cancelled { serial: claim.serial, novelty },
        Effect::Policy(view) => Reply::Unexpected(format!("policy {}", view.name)),
        Effect::Nothing => Reply::Unexpected("nothing took effect".into()),
    }
}

fn campaign_reply(campaign: &NamedCampaign) -> CampaignReply {
    let view = &campaign.view;
    let reply = CampaignReply::from(view);
    assert_eq!(reply.state, campaign_state(&view.settings, view.remaining, view.at));
    reply
}

fn claim_reply(view: &ClaimView) -> ClaimReply {
    let subject = SubjectId::new(&view.subject).unwrap();
    ClaimReply::from(&Claim { serial: view.serial, subject, claimed_at: view.claimed_at, status: view.status })
}
