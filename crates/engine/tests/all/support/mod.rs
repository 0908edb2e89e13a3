//! An engine in a temporary folder with a clock that is moved by hand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use domain::coupon::{self, Coupon, Settings as CampaignSettings};
use domain::hash::HashSeed;
use domain::state::Precondition;
use domain::types::{Name, Quantity, RequestId, SubjectId, Timestamp};
use domain::{Action, Command, Listed};
use engine::Engine;
use engine::clock::{Clock, ManualClock};
use engine::engine::Settings;
use engine::limits::Limits;
use engine::restart::Restarted;
use engine::views::{Done, Refusal};
use journal::segments::SEGMENT_BYTES_MIN;
use journal::writer::Options;

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000).unwrap()
}

pub fn settings(folder: &Path, clock: &Arc<ManualClock>) -> Settings {
    Settings {
        folder: folder.to_owned(),
        limits: Limits::STANDARD,
        journal: Options { segment_bytes: SEGMENT_BYTES_MIN, new_id: [7; 16], salt_seed: [8; 32] },
        seed: HashSeed(1, 2),
        clock: Clock::Manual(Arc::clone(clock)),
        snapshot_every: 1_000_000,
    }
}

pub fn open(settings: &Settings) -> (Engine, Restarted) {
    Engine::open(settings).unwrap()
}

pub fn put(campaign: &str, stock: u32) -> Command<'_> {
    put_with(campaign, CampaignSettings::plain(Quantity::new(stock).unwrap()))
}

pub fn put_with(campaign: &str, settings: CampaignSettings) -> Command<'_> {
    let settings = Coupon::any_settings(CampaignSettings { code_key: 1, ..settings });
    Command::local(Action::Put { name: name(campaign), settings, precondition: Precondition::Always })
}

pub fn claim<'a>(campaign: &'a str, subject: &'a str) -> Command<'a> {
    let claim = coupon::Command::Claim { subject: SubjectId::new(subject).unwrap() };
    Command::local(Action::of::<Coupon>(name(campaign), claim))
}

pub fn name(campaign: &str) -> Name<'_> {
    Name::new(campaign).unwrap()
}

pub async fn submit(engine: &Engine, command: Command<'_>) -> Result<Done, Refusal> {
    engine.submit(&command, RequestId::new("test").unwrap()).await
}

/// Leaves an engine as a kill would: it writes nothing more, because it no longer owns the folder.
pub fn kill(engine: Engine, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("owner-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::mem::forget(engine);
}
