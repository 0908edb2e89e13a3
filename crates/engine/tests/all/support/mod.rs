//! An engine in a temporary folder with a clock that is moved by hand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use domain::Command;
use domain::coupon::{ClaimOne, Command as Coupon, Precondition, Put, Settings as CampaignSettings};
use domain::hash::HashSeed;
use domain::state::CommandKind;
use domain::types::{ActorId, CampaignName, Quantity, RequestId, SubjectId, Timestamp};
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
    let settings = CampaignSettings::plain(Quantity::new(stock).unwrap());
    let put = Put { campaign: name(campaign), settings, precondition: Precondition::Always, code_key: 1 };
    command(Coupon::Put(put))
}

pub fn claim<'a>(campaign: &'a str, subject: &'a str) -> Command<'a> {
    command(Coupon::Claim(ClaimOne { campaign: name(campaign), subject: SubjectId::new(subject).unwrap() }))
}

pub fn command(coupon: Coupon<'_>) -> Command<'_> {
    Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon) }
}

pub fn name(campaign: &str) -> CampaignName<'_> {
    CampaignName::new(campaign).unwrap()
}

pub async fn submit(engine: &Engine, command: Command<'_>) -> Result<Done, Refusal> {
    engine.submit(&command, RequestId::new("test").unwrap()).await
}
