//! Events of any workload as text and as JSON, by their declarations: the event's name, and each field by its name.

use domain::rows::Cell;
use domain::types::Timestamp;
use domain::workload::AnyEvent;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

/// `claimed`, `override_written`.
pub(crate) fn word(event: &AnyEvent<'_>) -> String {
    let mut word = String::new();
    for letter in event.variant().chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// ` serial=3 subject=ann`
pub(crate) fn fields_text(event: &AnyEvent<'_>) -> String {
    let mut text = String::new();
    event.show(&mut |field, cell| text.push_str(&format!(" {field}={}", cell_text(&cell))));
    text
}

/// `claimed serial=3 subject=ann`
pub(crate) fn text(event: &AnyEvent<'_>) -> String {
    format!("{}{}", word(event), fields_text(event))
}

/// One member for each field.
pub(crate) fn fields_json(event: &AnyEvent<'_>) -> Map<String, Value> {
    let mut members = Map::new();
    event.show(&mut |field, cell| drop(members.insert(field.to_owned(), cell_json(&cell))));
    members
}

pub(crate) fn cell_json(cell: &Cell<'_>) -> Value {
    match *cell {
        Cell::Null => Value::Null,
        Cell::Number(number) => json!(number),
        Cell::Text(text) => json!(text),
        Cell::Time(time) => json!(rfc3339(time)),
        Cell::Bool(value) => json!(value),
    }
}

/// A text with characters that names cannot have is quoted, so that a line can be split into words.
pub(crate) fn cell_text(cell: &Cell<'_>) -> String {
    match *cell {
        Cell::Null => "none".to_owned(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) if text.chars().all(|letter| letter.is_ascii_graphic() && letter != '"') => text.to_owned(),
        Cell::Text(text) => format!("{text:?}"),
        Cell::Time(time) => rfc3339(time),
        Cell::Bool(value) => value.to_string(),
    }
}

/// Always UTC, always with milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.millis()) * 1_000_000);
    time.ok().and_then(|time| time.format(&format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_with_milliseconds_in_utc() {
        assert_eq!(rfc3339(Timestamp::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp::from_millis(1_767_323_045_006).unwrap()), "2026-01-02T03:04:05.006Z");
        assert_eq!(rfc3339(Timestamp::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_text_that_could_be_taken_for_several_words_is_quoted() {
        assert_eq!(cell_text(&Cell::Text("ann")), "ann");
        assert_eq!(cell_text(&Cell::Text("a b")), "\"a b\"");
        assert_eq!(cell_text(&Cell::Text("a\"b")), "\"a\\\"b\"");
    }
}
