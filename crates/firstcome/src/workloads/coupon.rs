//! Coupons: campaigns, claims, codes.

pub mod answers;
pub mod claims;
pub mod codes;
pub mod json;
pub mod lists;
pub mod live;
mod refusals;
mod schemas;
pub mod tally;

use domain::Kind;
use edge::auth::Access;
use edge::auth::caller::Scope;
use serde_json::json;

use self::schemas::{
    after_claim, after_serial, answer, claim, claim_page, claimed, code, own_key, pending, prefer, serial, status, subject,
};
use super::Table;
use crate::http::aggregates::Served;
use crate::http::calls::{Call, ISSUE, READ, REDEEM, delete, get, post};
use crate::http::lists::{as_of_header, entries, formulas};
use crate::http::live::declared;
use crate::http::openapi::describe::{Answer, Header, Link, events, limit, location, shown_as, streamed};
use crate::http::openapi::refusals::{DECIDES, LISTS};
use crate::http::openapi::schema::text;

/// The coupons' part of the API.
pub const TABLE: Table = Table {
    kind: Kind::Campaign,
    calls,
    codes: refusals::CODES,
    wordings: refusals::WORDINGS,
    tags: &[
        (CAMPAIGNS, "What there is to give, to how many, and when."),
        (CLAIMS, "Taking a unit, using it, giving it back."),
        (CODES, "The same claims by the code that the subject shows."),
        (LISTED, "Every claim that was ever made, from tables that follow the journal."),
    ],
    problem_members: schemas::problem_members,
};

const CAMPAIGNS: &str = "Campaigns";
const CLAIMS: &str = "Claims";
const CODES: &str = "Codes";
const LISTED: &str = "Lists and exports";

const NO_CLAIM: &[&str] = &["campaign_not_found", "claim_not_found", "claim_pending", "claim_ambiguous"];
const NO_CODE: &[&str] = &["campaign_not_found", "code_not_found"];
const NOT_USABLE: &[&str] = &["already_redeemed", "cancelled"];
const KEYED_RETRY: &str = "Send an `Idempotency-Key` to retry safely: the replay is 200 again. Without one, asking again is 409 \
                           `already_redeemed` with `redeemed_at`.";

/// The calls.
fn calls() -> Vec<Call> {
    let own = [live_call(), claim_call()].into_iter().chain(of_claims()).chain(of_codes()).chain(of_lists()).chain(of_answers());
    campaigns().calls().into_iter().chain(own).collect()
}

fn campaigns() -> Served {
    let example = json!({ "stock": 10_000, "per_subject_max": 1, "opens_at": "2026-01-31T10:00:00Z" });
    Served {
        patch_example: json!({ "paused": true }),
        refusals: &["stock_below_claimed", "per_subject_max_lowered", "closes_before_opens", "redeem_until_before_opens"],
        notes: [" Claims stay as they are.", " This is how a campaign is paused, its window moved, its stock raised.", ""],
        links: vec![Link::same("claim", "claim", "campaign", "Claim a unit of it.")],
        ..Served::plain(Kind::Campaign, READ, CAMPAIGNS, example)
    }
}

fn live_call() -> Call {
    declared::<live::CampaignShow>(Kind::Campaign, READ, CAMPAIGNS, include_str!("coupon/live-example.txt")).about(
        "watchCampaign",
        CAMPAIGNS,
        "Watch a campaign",
        include_str!("coupon/live.md").trim_end(),
    )
}

fn claim_call() -> Call {
    let applied = Header::new("PreferenceApplied", "Preference-Applied", text(), "`respond-async`, if it was asked for.");
    let place = "Accepted: durable, and decided now or in its turn. `Location` is the place of its answer.";
    post("/v1/campaigns/{campaign}/claims", ISSUE, tally::claim)
        .about("claim", CLAIMS, "Claim a unit", include_str!("coupon/claim.md").trim_end())
        .keyed_by(own_key())
        .takes([prefer()])
        .body(schemas::request())
        .refuses(DECIDES)
        .refuses(&["request_key_required", "campaign_not_found", "queue_full"])
        .refuses(&["not_open", "closed", "paused", "subject_limit_reached", "sold_out"])
        .refused(409, "Not now, or not any more; nothing took effect. Checked in this order.")
        .answers(at_claim(200, "The subject has claimed before: this is that claim."))
        .answers(at_claim(201, "Claimed. A replay of the same key is 201 too."))
        .answers(Answer::json(202, place, pending()).headed([location("AnswerLocation", "The path of the answer."), applied]).later())
}

/// A claim in a response, with links to the calls on it.
fn at_claim(status: u16, about: &'static str) -> Answer {
    let (by_subject, by_code) = (["campaign", "subject", "serial"], ["campaign", "code"]);
    let links = [
        Link::with("read", "getClaim", &by_subject, "This claim as it stands."),
        Link::with("readByCode", "getByCode", &by_code, "This claim by its code."),
        Link::with("redeemBySubject", "redeemClaim", &by_subject, "Use it, by subject."),
        Link::with("redeem", "redeemByCode", &by_code, "Use it."),
        Link::with("cancel", "cancelClaim", &by_subject, "Give it back."),
    ];
    Answer::json(status, about, claimed()).headed([claim_location()]).linked(links)
}

fn claim_location() -> Header {
    location("ClaimLocation", "The path of the subject's claim.")
}

fn redeemed() -> Answer {
    Answer::json(200, "The claim, redeemed.", claim().but(json!({ "status": "redeemed", "redeemed_at": "2026-02-01T09:30:00.000Z" })))
}

fn of_claims() -> [Call; 3] {
    let cancelled = claim().but(json!({ "status": "cancelled", "cancelled_at": "2026-02-01T09:30:00.000Z" }));
    let path = "/v1/campaigns/{campaign}/claims/{subject}";
    [
        get(path, READ, claims::read)
            .about(
                "getClaim",
                CLAIMS,
                "Read a claim",
                "The claim that the subject holds, exact at one instant. With `serial` also one that was cancelled.\n\nSafe to ask again \
                 at any time: the way to learn what became of a claim whose answer was lost.",
            )
            .takes([subject(), serial()])
            .reads()
            .refuses(NO_CLAIM)
            .refused(409, "The subject holds several claims: name one. Or the claim is not decided yet.")
            .answers(Answer::json(200, "The claim.", claim())),
        delete(path, ISSUE, claims::cancel)
            .about(
                "cancelClaim",
                CLAIMS,
                "Cancel a claim",
                "Gives the claim back: its unit returns to stock, and the subject may claim again and gets a new serial. A claim that was \
                 used stays used.\n\nSend an `Idempotency-Key` to retry safely: the replay says the same. Without one, asking again is 404 \
                 `claim_not_found` (409 `cancelled` with `serial`), or cancels a claim made since then; so name the `serial` that you mean.",
            )
            .takes([subject(), serial()])
            .keyed()
            .refuses(DECIDES)
            .refuses(NO_CLAIM)
            .refuses(NOT_USABLE)
            .answers(Answer::json(200, "The claim, cancelled.", cancelled)),
        post("/v1/campaigns/{campaign}/claims/{subject}/redeem", REDEEM, claims::redeem)
            .about(
                "redeemClaim",
                CLAIMS,
                "Redeem by subject",
                format!("Uses the claim, once. The answer is on disk before it is said.\n\n{KEYED_RETRY}"),
            )
            .takes([subject(), serial()])
            .keyed()
            .refuses(DECIDES)
            .refuses(NO_CLAIM)
            .refuses(NOT_USABLE)
            .refuses(&["expired"])
            .answers(redeemed()),
    ]
}

fn of_codes() -> [Call; 2] {
    [
        get("/v1/campaigns/{campaign}/codes/{code}", READ, codes::read)
            .about(
                "getByCode",
                CODES,
                "Read by code",
                "The claim that has this code, also if it was used or cancelled. A typing error is told from an unknown code by the check \
                 character; `detail` says which.\n\nSafe to ask again at any time.",
            )
            .takes([code()])
            .reads()
            .refuses(NO_CODE)
            .answers(Answer::json(200, "The claim.", claim())),
        post("/v1/campaigns/{campaign}/codes/{code}/redeem", REDEEM, codes::redeem)
            .about(
                "redeemByCode",
                CODES,
                "Redeem by code",
                format!(
                    "Uses the claim that has this code, once: what a till does. The answer is on disk before it is said.\n\n{KEYED_RETRY}"
                ),
            )
            .takes([code()])
            .keyed()
            .refuses(DECIDES)
            .refuses(NO_CODE)
            .refuses(NOT_USABLE)
            .refuses(&["expired"])
            .answers(redeemed()),
    ]
}

fn of_lists() -> [Call; 2] {
    let lines = shown_as(&format!("{}\n", claim().example_text()), "One claim as JSON in each line.");
    let csv = "RFC 4180 with a header line. A name that begins with a minus sign is preceded by an apostrophe, so that no spreadsheet \
               takes it for a formula; with `?formulas=asis` it is not.";
    let csv = shown_as(&format!("{}spring,1,u1,5ZJ0Q4M7K2T9X,2026-01-31T10:00:00.123Z,live,,\r\n", lists::CSV_HEAD), csv);
    [
        entries(&lists::CLAIMS_LISTED, Access::KeyScope(Scope::Read))
            .about("listClaims", LISTED, "List a campaign's claims", include_str!("coupon/list.md").trim_end())
            .takes([status(), after_serial(), limit(), formulas()])
            .refuses(LISTS)
            .refuses(&["campaign_not_found", "not_acceptable"])
            .refused(406, "None of the three formats is accepted.")
            .answers(
                Answer::json(200, "The claims.", claim_page())
                    .in_type("application/x-ndjson", lines)
                    .in_type("text/csv", csv)
                    .headed([as_of_header()]),
            ),
        get("/v1/subjects/{subject}/claims", READ, lists::of_subject)
            .about(
                "listSubjectClaims",
                LISTED,
                "List a subject's claims",
                "All claims of a subject over all campaigns, cancelled ones included, by campaign in the order of creation, then by \
                 serial. Waits up to 5 seconds until the tables hold everything that was durable when the request came.\n\nA subject that \
                 never claimed has an empty list. Safe to ask again at any time.",
            )
            .takes([subject(), after_claim(), limit()])
            .refuses(LISTS)
            .refused(404, "A subject with a slash in it makes another path.")
            .answers(Answer::json(200, "A page of claims.", claim_page())),
    ]
}

fn of_answers() -> [Call; 2] {
    [
        get("/v1/answers/{answer}", ISSUE, answers::read)
            .about(
                "getAnswer",
                CLAIMS,
                "Read an answer",
                "The decision of a claim that was answered 202: while it is pending 202 again, with its place and how long it will take; \
                 then 201 with the claim, as the direct call would have said it. That never changes, but for `cancelled_at` if the claim was \
                 cancelled since, and is there for as long as the claim.",
            )
            .takes([answer()])
            .reads()
            .refuses(&["answer_not_found"])
            .answers(Answer::json(201, "Claimed.", claimed()).headed([claim_location()]))
            .answers(Answer::json(202, "Not decided yet.", pending()).later()),
        get("/v1/answers/{answer}/live", ISSUE, answers::live)
            .about(
                "followAnswer",
                CLAIMS,
                "Follow an answer",
                "Server-Sent Events: `pending` with the body of a 202 at each new place, and at the end one `answer` with `status` and \
                 `body` as reading it says them. The stream ends there.",
            )
            .takes([answer(), events()])
            .reads()
            .refuses(&["answer_not_found"])
            .answers(Answer::new(200, "The events.").in_type(
                "text/event-stream",
                streamed(&format!("event: answer\ndata: {{\"body\":{},\"status\":201}}\n\n", claimed().example_text())),
            )),
    ]
}
