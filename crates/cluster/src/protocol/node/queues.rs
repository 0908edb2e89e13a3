//! Who has pending claims decided, and when.
//!
//! A decision is a record like any other: anyone may append it, it names the claim, and the rules take
//! it only if that claim is next and the pace allows it at the record's broker time. So it is exact
//! whoever appends, and however often; what is here only keeps the number of records small. Whoever
//! had the last claim decided goes on; the others step in when the line stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::coupon::{Campaign, CampaignNumber};
use domain::types::{RequestId, Serial, Timestamp};
use engine::pending::PendingClaim;
use tokio::time::Instant;

use super::{GateServer, Log, Node, locked};
use crate::protocol::limits::{ASK_AGAIN, DECISIONS_AT_ONCE_MAX, STEP_IN};
use crate::protocol::record::{Body, Place};
use crate::protocol::replica::Replica;

/// What this node knows of the queues of a partition, apart from the state.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Another node had the last claim decided.
    follows_other: bool,
    /// When the last record was applied: from then on this node's clock says how time passes.
    applied_at: Option<Instant>,
    asked: BTreeMap<CampaignNumber, Asked>,
}

/// Decisions that are on their way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    through: u32,
    decided_count: usize,
    at: Instant,
}

impl Queues {
    /// Records were applied.
    pub(super) fn applied(&mut self) {
        self.applied_at = Some(Instant::now());
    }

    /// A decision that this or another node asked for has come by.
    pub(super) fn turn(&mut self, is_own: bool, is_decided: bool) {
        if is_decided {
            self.follows_other = !is_own;
        } else if is_own {
            // It came too early, or another node was faster: what comes behind it may be asked again.
            self.asked.clear();
        }
    }

    /// The broker's time, as far as it is known here: never ahead of it, because a record is applied
    /// later than it got its time.
    fn now(&self, effective_at: Timestamp) -> Timestamp {
        let passed = self.applied_at.map_or(Duration::ZERO, |applied_at| applied_at.elapsed());
        effective_at.plus_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// The claims that this node is to have decided now.
    fn due(&mut self, replica: &Replica) -> Vec<PendingClaim> {
        let state = replica.core().state();
        let now = self.now(state.time);
        self.asked.retain(|number, _| state.campaign_at(*number).is_some_and(|campaign| campaign.first_pending().is_some()));
        let mut due = Vec::new();
        for campaign in state.queues() {
            let waits_for = if self.follows_other { STEP_IN } else { Duration::ZERO };
            if now < campaign.decides_at().plus_millis(u64::try_from(waits_for.as_millis()).unwrap_or(u64::MAX)) {
                continue;
            }
            due.extend(self.ask(campaign, now));
        }
        due
    }

    fn ask(&mut self, campaign: &Campaign, now: Timestamp) -> Vec<PendingClaim> {
        let decided_count = campaign.claims.decided_count();
        let decided = u32::try_from(decided_count).unwrap_or(u32::MAX);
        // Without any progress for a while, what was asked for has been lost, or came too early.
        let asked = self.asked.get(&campaign.number).copied();
        let asked = asked.filter(|asked| asked.decided_count != decided_count || asked.at.elapsed() < ASK_AGAIN);
        let from = asked.map_or(decided, |asked| asked.through.max(decided));
        let through = decided.saturating_add(campaign.decidable_count(now)).min(from.saturating_add(DECISIONS_AT_ONCE_MAX));
        if from < through || asked.is_none_or(|asked| asked.decided_count != decided_count) {
            self.asked.insert(campaign.number, Asked { through: through.max(from), decided_count, at: Instant::now() });
        }
        let serials = (from.saturating_add(1)..=through).filter_map(Serial::new);
        let claims = serials.filter_map(|serial| campaign.claims.get(serial));
        let pending = claims.map(|claim| PendingClaim {
            campaign: campaign.name.clone(),
            serial: claim.serial,
            subject: claim.subject.as_str().to_owned(),
        });
        pending.collect()
    }
}

impl<L: Log, G: GateServer> Node<L, G> {
    /// Has pending claims decided whose time has come. To be called many times a second.
    pub fn keep_queues(&self) {
        if self.is_stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        for (partition, place) in (0..).zip(&self.partitions) {
            let due = {
                let replica = locked(&place.replica);
                if replica.core().state().queues().next().is_none() {
                    continue;
                }
                locked(&place.queues).due(&replica)
            };
            for claim in due {
                let Some(command) = claim.command() else { continue };
                let body = Body::Command { request_id: RequestId::ENGINE, command };
                // What does not arrive is asked for again.
                let _ = self.append_record(partition, Place::Group(&claim.campaign), self.next_sequence(), body);
            }
        }
    }
}
