//! Coupons: campaigns, claims, codes.

pub mod answers;
pub mod claims;
pub mod codes;
pub mod json;
pub mod lists;
pub mod live;
pub mod tally;

use domain::Kind;
use edge::auth::Access;
use edge::auth::caller::Scope;

use crate::http::aggregates;
use crate::http::calls::{Call, ISSUE, READ, REDEEM, delete, get, post};
use crate::http::lists::entries;
use crate::http::live::watched;

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let own = vec![
        entries(&lists::CLAIMS_LISTED, Access::KeyScope(Scope::Read)),
        post("/v1/campaigns/{campaign}/claims", ISSUE, tally::claim),
        watched::<live::CampaignShow>(Kind::Campaign, READ),
        get("/v1/campaigns/{campaign}/claims/{subject}", READ, claims::read),
        delete("/v1/campaigns/{campaign}/claims/{subject}", ISSUE, claims::cancel),
        post("/v1/campaigns/{campaign}/claims/{subject}/redeem", REDEEM, claims::redeem),
        get("/v1/campaigns/{campaign}/codes/{code}", READ, codes::read),
        post("/v1/campaigns/{campaign}/codes/{code}/redeem", REDEEM, codes::redeem),
        get("/v1/subjects/{subject}/claims", READ, lists::of_subject),
        get("/v1/answers/{answer}", ISSUE, answers::read),
        get("/v1/answers/{answer}/live", ISSUE, answers::live),
    ];
    aggregates::calls(Kind::Campaign, READ).into_iter().chain(own).collect()
}
