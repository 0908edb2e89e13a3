//! What the test files share: the rules asked in the words of the tables, and their bytes.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod exact;

use conformance::{DomainBackend, Forgetting};
use domain::hash::HashSeed;
use domain::state::{Command, Record, State};
use domain::types::Timestamp;
use domain::wire::command::encode_command;
use domain::wire::state::StateBuilder;
use domain::wire::{DecodeError, decode_record, encode_record};

pub type Sections = Vec<Vec<u8>>;
/// A record's body and private part.
pub type Parts = (Vec<u8>, Vec<u8>);

pub fn rules() -> DomainBackend {
    DomainBackend::new(Forgetting::WhenDue)
}

/// Asks line by line and expects the answers.
pub fn tell(rules: &mut DomainBackend, lines: &[(&str, &str)]) {
    for (line, answer) in lines {
        assert_eq!(conformance::ask(rules, line), *answer, "{line}");
    }
}

pub fn ask(rules: &mut DomainBackend, line: &str) -> String {
    conformance::ask(rules, line)
}

/// A time in the words of the tables.
pub fn seconds(millis: u64) -> String {
    format!("{}.{:03}s", millis / 1_000, millis % 1_000)
}

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub fn sections(state: &State) -> Sections {
    state.freeze().sections().collect()
}

pub fn rebuild(sections: &[Vec<u8>], seed: HashSeed) -> Result<State, DecodeError> {
    let mut builder = StateBuilder::new(seed);
    for section in sections {
        builder.section(section)?;
    }
    builder.finish()
}

pub fn replay<'a>(records: impl Iterator<Item = (&'a [u8], &'a [u8])>, seed: HashSeed) -> State {
    let mut state = State::new(seed);
    for (body, private) in records {
        state.evolve(&decode_record(body, Some(private)).unwrap());
    }
    state
}

/// Bytes from hexadecimal digits; blanks separate nothing.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The lines of a fixture. `#` starts a comment.
pub fn lines_of(fixture: &str) -> Vec<Vec<u8>> {
    fixture.lines().filter(|line| !line.starts_with('#')).map(from_hex).collect()
}

/// The records of a fixture, one in a line: body, `|`, private part.
pub fn parts_of(fixture: &str) -> Vec<Parts> {
    let lines = fixture.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once('|').map(|(body, private)| (from_hex(body), from_hex(private))).unwrap()).collect()
}

pub fn encode(record: &Record<'_>) -> Parts {
    let (mut body, mut private) = (Vec::new(), Vec::new());
    encode_record(record, &mut body, &mut private);
    (body, private)
}

pub fn encode_ask(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(command, &mut bytes);
    bytes
}
