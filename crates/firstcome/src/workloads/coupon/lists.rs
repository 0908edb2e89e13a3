//! Lists of claims: those of a campaign, and those of a subject.

use std::borrow::Cow;
use std::sync::Arc;

use domain::coupon::queue::Mode;
use domain::coupon::{CLAIMS, ClaimView, Coupon, STATUS, claim_of_row};
use domain::rows::Cell;
use domain::types::{Serial, Timestamp};
use domain::{Kind, Listed, Number};
use edge::request::page_limit;
use edge::times;
use projection::{AggregateRow, EntryKey, OwnedCell, ReadError};

use super::json::{ClaimJson, status_parts};
use crate::app::App;
use crate::http::context::{Context, number};
use crate::http::lists::{Filter, Format, Listing, Row, json_page, not_a_cursor, write_csv, write_json};
use crate::http::problem::{HandlerResult, Problem};

/// The first line of a list as CSV.
pub const CSV_HEAD: &str = "campaign,serial,subject,code,claimed_at,status,redeemed_at,cancelled_at\r\n";

/// Claims with their codes.
pub static CLAIMS_LISTED: Listing = Listing {
    kind: Kind::Campaign,
    table: &CLAIMS,
    filter: Some(Filter { parameter: "status", column: STATUS, words: &["live", "redeemed", "cancelled"] }),
    csv_head: |_| CSV_HEAD.to_owned(),
    write,
};

/// `GET /v1/subjects/{subject}/claims`
pub async fn of_subject(context: Context) -> HandlerResult {
    let subject = context.subject()?;
    let [after, limit] = context.query(["after", "limit"])?;
    let after = after.map(subject_cursor).transpose()?;
    let limit = u32::try_from(page_limit(limit)?).unwrap_or(u32::MAX);
    context.app.backend.wait_for_all(context.app.edge.limits.history_time).await?;
    let page = context.app.backend.entries_found(&CLAIMS, subject.as_str(), context.caller.campaigns(), after, limit).await?;
    let next = page.next.as_ref().and_then(|key| Some(format!("{}-{}", key.number.0, serial_of(key)?)));
    json_page(&context.app, &CLAIMS_LISTED, &page.rows, next, page.as_of)
}

fn write(app: &App, _listing: &Listing, (campaign, cells): Row<'_>, format: Format, text: &mut Vec<u8>) -> Result<(), ReadError> {
    let view = view_of(campaign, cells)?;
    match format {
        Format::Json | Format::Ndjson => write_json(&ClaimJson::new(&app.codes, &view), format, text),
        Format::Csv(formulas) => write_csv(csv_fields(app, &view), formulas, text),
    }
    Ok(())
}

fn csv_fields<'v>(app: &App, view: &'v ClaimView) -> [Cow<'v, str>; 8] {
    let (status, redeemed_at, cancelled_at) = status_parts(view.status);
    let time = |time: Option<Timestamp>| Cow::Owned(time.map(times::format).unwrap_or_default());
    [
        Cow::Borrowed(&*view.campaign),
        view.serial.get().to_string().into(),
        view.subject.as_str().into(),
        app.codes.code(view.code_key, &view.campaign, view.serial).into(),
        time(Some(view.claimed_at)),
        status.into(),
        time(redeemed_at),
        time(cancelled_at),
    ]
}

fn view_of(campaign: &AggregateRow, cells: &[Cell<'_>]) -> Result<ClaimView, ReadError> {
    let settings = Coupon::settings(&campaign.settings).ok_or_else(|| ReadError::Store("claims of what is no campaign".into()))?;
    let claim = claim_of_row(cells).ok_or_else(|| ReadError::Store("a row of claims that no claim has".into()))?;
    Ok(ClaimView {
        campaign: Arc::clone(&campaign.name),
        code_key: settings.code_key,
        subject: claim.subject.as_str().to_owned(),
        serial: claim.serial,
        claimed_at: claim.claimed_at,
        status: claim.status,
        // Pending claims are in no list.
        mode: Mode::Direct,
        waiting: None,
    })
}

fn subject_cursor(after: &str) -> Result<EntryKey, Problem> {
    let cursor = after.split_once('-').and_then(|(campaign, serial)| {
        let key = vec![OwnedCell::Number(Serial::new(number(serial)?)?.get().into())];
        Some(EntryKey { number: Number(number(campaign)?), key })
    });
    cursor.ok_or_else(not_a_cursor)
}

fn serial_of(key: &EntryKey) -> Option<u64> {
    let [OwnedCell::Number(serial)] = *key.key else { return None };
    Some(serial)
}
