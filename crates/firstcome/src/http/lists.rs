//! Lists of entries: pages of JSON, and all entries of an aggregate as NDJSON or CSV. They read the history,
//! after waiting until it holds everything that was durable when the request arrived.
//!
//! A [`Listing`] describes how a table is listed; by default each row shows its cells under the names of the
//! columns. `accept` chooses the format, `export` streams lists longer than a page.

mod accept;
mod export;

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, header};
use domain::rows::{Cell, Column, ColumnKind, Table};
use domain::{Kind, Rejection};
use edge::auth::Access;
use edge::request::page_limit;
use projection::{AggregateRow, AsOf, EntryRow, OwnedCell, ReadError};
use serde_json::{Map, json};

use self::accept::format;
use self::export::export;
use super::answer::with_header;
use super::calls::{self, Call};
use super::context::{Context, number};
use super::openapi::describe::{Answer, Header, Parameter, example_name, limit, shown_as};
use super::openapi::kinds::{capital, paged};
use super::openapi::refusals::LISTS;
use super::openapi::schema::{Schema, U32_MAX, count, flag, matching, name, number as number_between, number_from, object, text, time};
use super::problem::{HandlerResult, Problem};
use super::settings::cell_as_json;
use super::times;
use crate::app::App;
use crate::backend::{Chosen, Declined, WaitError};
use crate::history::ListError;

/// Capacity for most lines of CSV; longer lines are written in parts.
const LINE_BYTES: usize = 256;

/// The instant as of which an export was read.
pub const AS_OF: HeaderName = HeaderName::from_static("firstcome-as-of");

/// How a table is listed.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// The kind that the entries belong to.
    pub kind: Kind,
    /// The table; its key must be a single column.
    pub table: &'static Table,
    /// A query parameter that selects rows.
    pub filter: Option<Filter>,
    /// The header line of CSV.
    pub csv_head: fn(&Self) -> String,
    /// Appends a row in a format.
    pub write: WriteRow,
}

/// Appends a row in a format: JSON without a line's end, a line of NDJSON, a line of CSV.
pub type WriteRow = fn(&App, &Listing, Row<'_>, Format, &mut Vec<u8>) -> Result<(), ReadError>;
/// The aggregate, and a cell for each column.
pub type Row<'r> = (&'r AggregateRow, &'r [Cell<'r>]);

/// A query parameter that selects rows by a word in a column.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// The parameter's name.
    pub parameter: &'static str,
    /// The column's index.
    pub column: usize,
    /// The accepted words.
    pub words: &'static [&'static str],
}

/// A format of lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A page with a cursor.
    Json,
    /// One object a line.
    Ndjson,
    /// One row a line.
    Csv(Formulas),
}

/// What CSV does with a field that a spreadsheet would evaluate as a formula.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Formulas {
    /// An apostrophe is put before it: for people with a spreadsheet.
    Marked,
    /// It stands as it is: for programs, which join exports by names.
    AsIs,
}

impl Formulas {
    /// The query parameter `formulas`.
    fn of(given: Option<&str>) -> Result<Self, Problem> {
        match given {
            None => Ok(Self::Marked),
            Some("asis") => Ok(Self::AsIs),
            Some(_) => Err(Problem::parameter("formulas", "must be asis")),
        }
    }
}

impl Listing {
    /// A listing that shows each row's cells under the names of the columns.
    #[must_use]
    pub const fn plain(kind: Kind, table: &'static Table) -> Self {
        Self { kind, table, filter: None, csv_head: cells_head, write: write_cells }
    }

    fn key_column(&self) -> &'static Column {
        let [column] = self.table.key() else { panic!("rows of {} are told apart by more than one column", self.table.name) };
        column
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Behind { .. } => Self::new("history_behind", error.to_string()).retry_after_ms(1_000),
            ListError::Busy | ListError::Unread => Self::new("busy", error.to_string()).retry_after_ms(500),
            ListError::Read(ReadError::Unavailable(_)) => {
                tracing::warn!(%error, "a list cannot be read now");
                Self::new("history_behind", "the history cannot be reached").retry_after_ms(1_000)
            }
            ListError::Read(ReadError::TooSlow(_)) => Self::new("busy", error.to_string()).retry_after_ms(2_000),
            ListError::Read(_) => {
                tracing::error!(%error, "a list cannot be read");
                Self::new("internal", "the history cannot be read")
            }
        }
    }
}

impl From<WaitError> for Problem {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Refused(refusal) => Declined(refusal).into(),
            WaitError::List(error) => error.into(),
        }
    }
}

/// The call that lists the entries of an aggregate.
#[must_use]
pub fn entries(listing: &'static Listing, readers: Access) -> Call {
    let (kind, table) = (listing.kind, listing.table.name);
    calls::get(format!("/v1/{}/{{{}}}/{table}", kind.path(), kind.word()), readers, move |context| list(context, listing))
}

/// The same, with its documentation derived from the table's declaration.
#[must_use]
pub fn declared(listing: &'static Listing, readers: Access, tag: &'static str) -> Call {
    let (kind, table) = (listing.kind, listing.table);
    let (word, all) = (kind.word(), table.name);
    let row = object(&format!("A {} of a {word}.", table.row)).has(word, name(example_name(kind)), &format!("The {word}."));
    let row = table.columns.iter().fold(row, |row, column| row.has(column.name, of_column(column), column.about));
    let (lines, csv) = (shown_as("", "One row as JSON in each line."), shown_as(&cells_head(listing), "RFC 4180 with a header line."));
    let page = paged(all, row.named(capital(table.row)), &format!("{}.", table.about)).has("as_of", as_of(), "");
    let page = page.named(format!("{}Page", capital(table.row)));
    let about = format!("All {all} of a {word}: as pages of JSON, or whole as NDJSON or CSV by `Accept`. Safe to ask again at any time.");
    let (component, key) = match listing.key_column().kind {
        ColumnKind::Number => ("afterNumber", number_between(1, U32_MAX)),
        ColumnKind::Text | ColumnKind::Time | ColumnKind::Bool => ("afterText", text()),
    };
    entries(listing, readers)
        .about(format!("list{}", capital(all)), tag, format!("List a {word}'s {all}"), about)
        .takes([Parameter::query(component, "after", key, "`next` of the page before."), limit(), formulas()])
        .refuses(LISTS)
        .refuses(&[kind.not_found(), "not_acceptable"])
        .refused(406, "None of the three formats is accepted.")
        .answers(
            Answer::json(200, format!("The {all}."), page)
                .in_type("application/x-ndjson", lines)
                .in_type("text/csv", csv)
                .headed([as_of_header()]),
        )
}

fn of_column(column: &Column) -> Schema {
    let schema = match column.kind {
        ColumnKind::Number => number_from(0),
        ColumnKind::Text => text(),
        ColumnKind::Time => time(""),
        ColumnKind::Bool => flag(false),
    };
    if column.is_nullable { schema.nullable() } else { schema }
}

/// How CSV writes fields that a spreadsheet would evaluate.
#[must_use]
pub fn formulas() -> Parameter {
    let about = "`asis`: CSV writes every name as it is, as NDJSON does: for programs. Without it a name that begins with a minus sign is \
                 preceded by an apostrophe, so that no spreadsheet takes it for a formula: for people; joining such a list with other \
                 data by these names finds nothing.";
    Parameter::query("formulas", "formulas", text().with("const", json!("asis")), about)
}

/// The schema of the instant that a list rests on.
#[must_use]
pub fn as_of() -> Schema {
    let about = "What a list rests on: everything that was durable when the request came is in it.";
    object(about)
        .has("position", count(2), "The last record of the journal that the list holds.")
        .has("time", time("2026-01-31T10:00:00.123Z"), "The time of that record.")
        .named("AsOf")
}

/// The same instant as a header.
#[must_use]
pub fn as_of_header() -> Header {
    let about = "With NDJSON and CSV, what the text rests on, as `as_of` in JSON: everything durable when the request came.";
    Header::new("AsOf", "Firstcome-As-Of", matching("^position=[0-9]+, time=[0-9TZ:.-]+$"), about)
}

/// `GET /v1/{kind}/{name}/{entries}`
async fn list(context: Context, listing: &'static Listing) -> HandlerResult {
    let name = context.named(listing.kind.word())?;
    let (after, limit, formulas, having) = match listing.filter {
        Some(filter) => {
            let [after, limit, formulas, word] = context.query(["after", "limit", "formulas", filter.parameter])?;
            (after, limit, formulas, word.map(|word| chosen_by(&filter, word)).transpose()?)
        }
        None => {
            let [after, limit, formulas] = context.query(["after", "limit", "formulas"])?;
            (after, limit, formulas, None)
        }
    };
    let chosen = Chosen { after: after.map(|after| key_of(listing, after)).transpose()?, having };
    // JSON and NDJSON change nothing, so that there the parameter is true in any case.
    let format = format(&context, Formulas::of(formulas)?)?;
    let page_limit = page_limit(limit)?;
    let is_there = context.app.backend.read((listing.kind, name), |found, _| found.is_some()).await?;
    if !is_there {
        return Err(Declined::from(Rejection::NotFound(listing.kind)).into());
    }
    context.app.backend.wait_for_one(name, context.app.edge.limits.history_time).await?;
    if format != Format::Json && limit.is_none() {
        return export(&context.app, listing, name, chosen, format).await;
    }
    let limit = u32::try_from(page_limit).unwrap_or(u32::MAX);
    let page = context.app.backend.entries(listing.table, name, chosen, limit).await?;
    let next = page.next.as_ref().and_then(|next| cursor_of(&next.key));
    match format {
        Format::Json => json_page(&context.app, listing, &page.rows, next, page.as_of),
        Format::Ndjson | Format::Csv(_) => text_page(&context.app, listing, &page.rows, format, page.as_of),
    }
}

/// A page of JSON: the rows under the table's name, `next` and `as_of`.
///
/// # Errors
/// A [`Problem`] if a row holds an impossible value.
pub fn json_page(app: &App, listing: &Listing, rows: &[EntryRow], next: Option<String>, as_of: AsOf) -> HandlerResult {
    let mut text = format!("{{\"{}\":[", listing.table.name).into_bytes();
    for (index, row) in rows.iter().enumerate() {
        if 0 < index {
            text.push(b',');
        }
        (listing.write)(app, listing, (&row.aggregate, &row.cells()), Format::Json, &mut text).map_err(ListError::from)?;
    }
    let as_of = json!({ "position": as_of.position.0, "time": times::format(as_of.time) });
    text.extend_from_slice(format!("],\"next\":{},\"as_of\":{as_of}}}", json!(next)).as_bytes());
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn text_page(app: &App, listing: &Listing, rows: &[EntryRow], format: Format, as_of: AsOf) -> HandlerResult {
    let mut text = head_of(listing, format);
    for row in rows {
        (listing.write)(app, listing, (&row.aggregate, &row.cells()), format, &mut text).map_err(ListError::from)?;
    }
    Ok(text_response(Body::from(text), format, as_of))
}

fn text_response(body: Body, format: Format, as_of: AsOf) -> Response<Body> {
    let mut response = Response::new(body);
    let media_type = match format {
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::Csv(_) => "text/csv; charset=utf-8; header=present",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    with_header(response, AS_OF, &format!("position={}, time={}", as_of.position.0, times::format(as_of.time)))
}

fn head_of(listing: &Listing, format: Format) -> Vec<u8> {
    match format {
        Format::Json | Format::Ndjson => Vec::new(),
        Format::Csv(_) => (listing.csv_head)(listing).into_bytes(),
    }
}

// --- Rows as cells -----------------------------------------------------------------------

fn cells_head(listing: &Listing) -> String {
    let columns = listing.table.columns.iter().map(|column| column.name);
    format!("{},{}\r\n", listing.kind.word(), columns.collect::<Vec<_>>().join(","))
}

fn write_cells(_app: &App, listing: &Listing, (aggregate, cells): Row<'_>, format: Format, text: &mut Vec<u8>) -> Result<(), ReadError> {
    if let Format::Csv(formulas) = format {
        write_csv(std::iter::once(&*aggregate.name).map(Cow::Borrowed).chain(cells.iter().map(as_text)), formulas, text);
        return Ok(());
    }
    let named = listing.table.columns.iter().zip(cells).map(|(column, cell)| (column.name.to_owned(), cell_as_json(cell)));
    let row = [(listing.kind.word().to_owned(), json!(&*aggregate.name))].into_iter().chain(named);
    write_json(&row.collect::<Map<_, _>>(), format, text);
    Ok(())
}

/// Appends an object; for NDJSON also the line end.
pub fn write_json(object: &impl serde::Serialize, format: Format, text: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(&mut *text, object);
    if format == Format::Ndjson {
        text.push(b'\n');
    }
}

fn as_text<'c>(cell: &Cell<'c>) -> Cow<'c, str> {
    match *cell {
        Cell::Null => Cow::Borrowed(""),
        Cell::Number(number) => number.to_string().into(),
        Cell::Text(text) => text.into(),
        Cell::Time(time) => times::format(time).into(),
        Cell::Bool(value) => value.to_string().into(),
    }
}

/// Appends a line of CSV (RFC 4180). With [`Formulas::Marked`], a field that a spreadsheet would evaluate as a
/// formula is prefixed with an apostrophe, as is customary.
pub fn write_csv<'f>(fields: impl IntoIterator<Item = Cow<'f, str>>, formulas: Formulas, text: &mut Vec<u8>) {
    let is_formula = |field: &str| formulas == Formulas::Marked && field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let safe = |field: Cow<'f, str>| if is_formula(&field) { format!("'{field}").into() } else { field };
    let mut line = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).buffer_capacity(LINE_BYTES).from_writer(text);
    let written = fields.into_iter().try_for_each(|field| line.write_field(safe(field).as_bytes()));
    let ended = written.and_then(|()| line.write_record(None::<&[u8]>)).and_then(|()| Ok(line.flush()?));
    assert!(ended.is_ok(), "writing to memory does not fail");
}

// --- Cursors --------------------------------------------------------------------------------

fn chosen_by(filter: &Filter, word: &str) -> Result<(usize, &'static str), Problem> {
    let known = filter.words.iter().copied().find(|known| *known == word);
    let known = known.ok_or_else(|| Problem::parameter(filter.parameter, format!("must be one of {}", filter.words.join(", "))))?;
    Ok((filter.column, known))
}

/// The key of the row after which a page begins.
fn key_of(listing: &Listing, after: &str) -> Result<Vec<OwnedCell>, Problem> {
    let key = match listing.key_column().kind {
        // Numbers of entries start at 1 and have 32 bits.
        ColumnKind::Number => number::<u32>(after).filter(|number| 1 <= *number).map(|number| OwnedCell::Number(u64::from(number))),
        ColumnKind::Text => Some(OwnedCell::Text(after.to_owned())),
        ColumnKind::Time | ColumnKind::Bool => None,
    };
    Ok(vec![key.ok_or_else(not_a_cursor)?])
}

fn cursor_of(key: &[OwnedCell]) -> Option<String> {
    match key {
        [OwnedCell::Number(number)] => Some(number.to_string()),
        [OwnedCell::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// The problem for an invalid cursor.
#[must_use]
pub fn not_a_cursor() -> Problem {
    Problem::parameter("after", "must be a `next` of an earlier page")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that no entry can have is rejected as a cursor.
    #[test]
    fn a_cursor_is_a_number_of_32_bits() {
        let listed = &crate::workloads::coupon::lists::CLAIMS_LISTED;
        assert!(["1", "4294967295"].iter().all(|after| key_of(listed, after).is_ok()));
        assert!(["0", "4294967296", "18446744073709551616", "-1", "01", ""].iter().all(|after| key_of(listed, after).is_err()));
    }

    #[test]
    fn a_field_of_csv_is_quoted_where_it_must_be() {
        let mut text = Vec::new();
        let fields = ["ann", "", "a,b", "a\"b", "a\r\nb", "=1+1", "-1,5"].map(Cow::Borrowed);
        write_csv(fields.clone(), Formulas::Marked, &mut text);
        assert_eq!(String::from_utf8_lossy(&text), "ann,,\"a,b\",\"a\"\"b\",\"a\r\nb\",'=1+1,\"'-1,5\"\r\n");
        text.clear();
        write_csv(fields, Formulas::AsIs, &mut text);
        assert_eq!(String::from_utf8_lossy(&text), "ann,,\"a,b\",\"a\"\"b\",\"a\r\nb\",=1+1,\"-1,5\"\r\n");
    }
}
