//! How far the gates are behind the record. It is told, and never a broken promise: a gate only turns
//! away what the rules would refuse, and whatever is wrong with it, the record decides.

use cluster::protocol::gate::Away;
use cluster::redis::{OpenError, RedisGate};
use domain::Kind;

use super::record::Record;

/// One campaign's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateReport {
    /// Of which campaign.
    pub campaign: String,
    /// Units that it may still let pass.
    pub left: i64,
    /// Units that remain by the record.
    pub remaining: u32,
    /// The offset that it was last corrected by.
    pub base: u64,
    /// By how many records it is behind the end of the campaign's partition.
    pub behind: u64,
}

/// Why no gate could be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatesError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("Redis (--redis): {0}")]
    Away(#[from] Away),
}

/// Every campaign that has a gate, by partition and in the order of creation.
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
