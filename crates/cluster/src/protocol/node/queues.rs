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
use crate::protocol::limits::{ASK_AGAIN, DECISIONS_AT_ONCE_MAX, STEP_IN, millis_of};
use crate::protocol::record::{Body, Place};
use crate::protocol::replica::Replica;

/// What this node knows of the queues of a partition, apart from the state.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// When another node had the last claim decided.
    other_decided_at: Option<Instant>,
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
    pub(super) fn turn(&mut self, is_own: bool, campaign: Option<CampaignNumber>, is_decided: bool) {
        if is_decided {
            self.other_decided_at = if is_own { None } else { Some(Instant::now()) };
        } else if is_own && let Some(campaign) = campaign {
            // It came too early, or another node was faster: what comes behind it may be asked again.
            self.asked.remove(&campaign);
        }
    }

    /// The log has taken nothing of a campaign from this claim on.
    fn not_taken(&mut self, campaign: CampaignNumber, serial: Serial) {
        if let Some(asked) = self.asked.get_mut(&campaign) {
            asked.through = asked.through.min(serial.get() - 1);
        }
    }

    /// The broker's time, as far as it is known here: never ahead of it, because a record is applied
    /// later than it got its time.
    fn now(&self, effective_at: Timestamp) -> Timestamp {
        let passed = self.applied_at.map_or(Duration::ZERO, |applied_at| applied_at.elapsed());
        effective_at.plus_millis(millis_of(passed))
    }

    /// The claims that this node is to have decided now.
    fn due(&mut self, replica: &Replica) -> Vec<(CampaignNumber, PendingClaim)> {
        let state = replica.core().state();
        let now = self.now(state.time);
        self.asked.retain(|number, _| state.campaign_at(*number).is_some_and(|campaign| campaign.first_pending().is_some()));
        let mut due = Vec::new();
        // Without a pace every claim is due at once; that the other goes on is seen by its decisions.
        if self.other_decided_at.is_some_and(|decided_at| decided_at.elapsed() < STEP_IN) {
            return due;
        }
        for campaign in state.queues() {
            let waits_for = if self.other_decided_at.is_some() { STEP_IN } else { Duration::ZERO };
            if now < campaign.decides_at().plus_millis(millis_of(waits_for)) {
                continue;
            }
            due.extend(self.ask(campaign, now).into_iter().map(|claim| (campaign.number, claim)));
        }
        due
    }

    fn ask(&mut self, campaign: &Campaign, now: Timestamp) -> Vec<PendingClaim> {
        let decided_count = campaign.claims.decided_count();
        let Ok(decided) = u32::try_from(decided_count) else { panic!("serials are 32 bits, so at most as many claims are decided") };
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
            let mut due = {
                let replica = locked(&place.replica);
                if replica.core().state().queues().next().is_none() {
                    continue;
                }
                locked(&place.queues).due(&replica).into_iter()
            };
            while let Some((number, claim)) = due.next() {
                let Some(command) = claim.command() else { panic!("a claim in the state has a campaign's name and a subject: {claim:?}") };
                let body = Body::Command { request_id: RequestId::ENGINE, command };
                // What does not arrive is asked for again.
                if self.append_record(partition, Place::Group(&claim.campaign), self.next_sequence(), body).is_err() {
                    let left = std::iter::once((number, claim)).chain(due);
                    let mut queues = locked(&place.queues);
                    left.for_each(|(number, claim)| queues.not_taken(number, claim.serial));
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_in_vain_or_was_not_taken_is_asked_for_again_in_its_campaign_only() {
        let asked = Asked { through: 50, decided_count: 10, at: Instant::now() };
        let (one, other) = (CampaignNumber(1), CampaignNumber(2));
        let mut queues = Queues { asked: BTreeMap::from([(one, asked), (other, asked)]), ..Queues::default() };
        let through = |queues: &Queues| [one, other].map(|number| queues.asked.get(&number).map(|asked| asked.through));
        queues.not_taken(one, Serial::new(21).unwrap());
        queues.not_taken(one, Serial::new(22).unwrap());
        assert_eq!(through(&queues), [Some(20), Some(50)]);
        queues.turn(false, Some(one), false);
        assert_eq!(through(&queues), [Some(20), Some(50)]);
        queues.turn(true, Some(one), false);
        assert_eq!(through(&queues), [None, Some(50)]);
        assert!(queues.other_decided_at.is_none());
        queues.turn(false, Some(other), true);
        assert!(queues.other_decided_at.is_some());
        queues.turn(true, Some(other), true);
        assert!(queues.other_decided_at.is_none());
    }
}
