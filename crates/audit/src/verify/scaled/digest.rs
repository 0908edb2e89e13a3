//! What servers keep of the same state, in their formats: its digest, and the request keys of its tables.

use domain::coupon::CampaignNumber;
use domain::hash::HashSeed;
use domain::request::{CampaignView, Fingerprint, Outcome, Remembered};
use domain::restore::{RestoreError, RestoredCampaign, Restorer};
use domain::types::{CampaignName, Quantity};
use engine::digest::{DIGEST_BYTES, RunningDigest};
use oracle::Oracle;
use oracle::coupon::{Outcome as CouponOutcome, View};
use oracle::keys::Known;

/// The digest that servers have; nothing but its format is shared with them.
pub(super) fn digest(oracle: &Oracle) -> Result<[u8; DIGEST_BYTES], RestoreError> {
    let mut restorer = Restorer::new(HashSeed(0, 0));
    for campaign in oracle.campaigns() {
        let Ok(name) = CampaignName::new(&campaign.name) else { continue };
        let &oracle::coupon::Campaign { number, settings, version, code_key, created_at, .. } = campaign;
        let number = CampaignNumber(number);
        restorer.campaign(RestoredCampaign { number, name, settings, version, code_key, created_at })?;
    }
    let mut digest = RunningDigest::of(&restorer.finish(oracle.time)?);
    for campaign in oracle.campaigns() {
        for (serial, claim) in campaign.claims() {
            let (claimed_at, status) = (claim.claimed_at, claim.status);
            let claim = domain::claims::Claim { serial, subject: claim.subject(), claimed_at, status };
            digest.add_claim(CampaignNumber(campaign.number), &claim);
        }
    }
    oracle.keys().iter().filter_map(|(_, known)| remembered(oracle, known)).for_each(|known| digest.add_request(&known));
    Ok(digest.value(oracle.time, oracle.decisions))
}

/// A request key as servers remember it; `None` for what is not remembered in this log.
pub(super) fn remembered(oracle: &Oracle, known: &Known) -> Option<Remembered> {
    let oracle::Outcome::Coupon(number, outcome) = &known.outcome else { return None };
    let campaign = CampaignNumber(oracle.campaign(&known.scope.name)?.number);
    let outcome = match outcome {
        CouponOutcome::Written { created, view } => {
            Outcome::Campaign { created: *created, view: Box::new(view_of(CampaignNumber(*number), view)) }
        }
        CouponOutcome::Claimed(serial) => Outcome::Claimed(campaign, *serial),
        CouponOutcome::Redeemed(serial) => Outcome::Redeemed(campaign, *serial),
        CouponOutcome::Cancelled(serial) => Outcome::Cancelled(campaign, *serial),
        CouponOutcome::Nothing(_) => return None,
    };
    Some(Remembered {
        campaign,
        actor: known.scope.actor.clone(),
        key: known.scope.key.clone(),
        fingerprint: Fingerprint(known.fingerprint),
        recorded_at: known.at,
        outcome,
    })
}

fn view_of(number: CampaignNumber, view: &View) -> CampaignView {
    // A unit that is counted is one of a stock, which is a quantity.
    let quantity = |units| Quantity::new(units).unwrap_or(Quantity::MAX);
    let &View { settings, version, code_key, created_at, at, .. } = view;
    let (remaining, pending, redeemed) = (quantity(view.remaining()), quantity(view.pending), quantity(view.redeemed));
    CampaignView { number, settings, version, code_key, created_at, remaining, pending, redeemed, at }
}
