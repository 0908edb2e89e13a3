//! How far the gates are behind the log. Reported, but never a broken promise: a gate only turns away what
//! the rules would reject, and whatever is wrong with it, the log decides.

use cluster::protocol::gate::Away;
use cluster::redis::{OpenError, RedisGate};
use domain::Kind;

use super::record::Record;

/// One campaign's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateReport {
    /// The campaign's name.
    pub campaign: String,
    /// Units that the gate may still admit.
    pub left: i64,
    /// Units that remain according to the log.
    pub remaining: u32,
    /// The offset that its last correction was based on.
    pub base: u64,
    /// How many records the gate is behind the end of the campaign's partition.
    pub behind: u64,
}

/// Why no gate could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatesError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("Redis (--redis): {0}")]
    Away(#[from] Away),
}

/// The gates of all campaigns that have one, by partition and in the order of creation.
pub(super) async fn look(url: &str, record: &Record) -> Result<Vec<GateReport>, GatesError> {
    let gate = RedisGate::open_to_look(url, &record.name).await?;
    let mut reports = Vec::new();
    for partition in &record.partitions {
        for campaign in partition.oracle.campaigns() {
            let Some((left, base)) = gate.look(Kind::Campaign, &campaign.head.name).await? else { continue };
            let remaining = campaign.remaining();
            let behind = partition.offset_next.saturating_sub(base);
            reports.push(GateReport { campaign: campaign.head.name.to_string(), left, remaining, base, behind });
        }
    }
    Ok(reports)
}
