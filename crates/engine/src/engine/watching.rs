//! What somebody who watches or waits is shown: nothing that is not durable.

use domain::types::{CampaignName, Serial};

use super::Engine;
use crate::commit::lock;
use crate::meter::JournalWork;
use crate::views::{ClaimView, Refusal, WatchedCampaign};

impl Engine {
    /// A campaign as it stands, exact at one instant, with its last claims, the newest first.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if the engine has failed.
    pub async fn watched(&self, name: CampaignName<'_>, last_max: u32) -> Result<Option<WatchedCampaign>, Refusal> {
        let wall = self.shared.clock.now();
        let answer = lock(&self.shared.core).watched(name, last_max, wall);
        self.release(answer).await
    }

    /// The claim with this serial, pending or decided, if there is one.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if the engine has failed.
    pub async fn claim_at(&self, name: CampaignName<'_>, serial: Serial) -> Result<Option<ClaimView>, Refusal> {
        let wall = self.shared.clock.now();
        let answer = lock(&self.shared.core).claim_at(name, serial, wall);
        self.release(answer).await
    }

    /// What the journal has written since the start.
    #[must_use]
    pub fn journal_work(&self) -> JournalWork {
        let durable = self.shared.durable.lsn();
        let staged = lock(&self.shared.core).staged_lsn();
        self.shared.meter.work(staged.0.saturating_sub(durable.0))
    }
}
