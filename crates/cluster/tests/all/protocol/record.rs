//! The bytes of the log: those that were once written are read for ever (J2), and what is no record
//! is refused, never a panic.

use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, Place, RulesVersion, decode, encode};
use domain::types::RequestId;

use super::support::{cancel, claim, keyed, put, settings};

const RECORDS_1: &str = include_str!("../../fixtures/log-records-1.hex");

fn fixture() -> Vec<Vec<u8>> {
    let lines = RECORDS_1.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| (0..line.len() / 2).map(|place| u8::from_str_radix(&line[2 * place..2 * place + 2], 16).unwrap()).collect()).collect()
}

/// One record of each kind, as the fixture has them.
fn one_of_each() -> Vec<LogRecord<'static>> {
    let origin = Origin { node: NodeId(0x0102_0304_0506_0708), sequence: 42 };
    let request_id = RequestId::new("request:1").unwrap();
    let group = |command| LogRecord { origin, place: Place::Group("spring-2026"), body: Body::Command { request_id, command } };
    let partition = |body| LogRecord { origin, place: Place::Partition(5), body };
    vec![
        partition(Body::Genesis(Genesis { log: LogId(*b"0123456789abcdef"), partitions: 12, rules: RulesVersion(1) })),
        group(put("spring-2026", settings(10_000))),
        group(keyed(claim("spring-2026", "user:1"), "a/b=c")),
        group(cancel("spring-2026", "user:1")),
        partition(Body::Barrier),
        partition(Body::Rules(RulesVersion(2))),
    ]
}

#[test]
fn records_of_format_1_are_read_for_ever_and_written_the_same() {
    let written: Vec<Vec<u8>> = one_of_each().iter().map(encode).collect();
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: Vec<String> = written.iter().map(hex).collect();
    assert_eq!(written, fixture(), "{}", lines.join("\n"));
    for (bytes, record) in fixture().iter().zip(one_of_each()) {
        assert_eq!(decode(bytes), Ok(record));
    }
}

#[test]
fn a_record_that_is_cut_short_or_too_long_is_refused() {
    for bytes in fixture() {
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes of {bytes:?}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decode(&longer).is_err(), "{longer:?}");
    }
}

#[test]
fn a_damaged_record_is_refused_or_another_record_and_never_a_panic() {
    for bytes in fixture() {
        for place in 0..bytes.len() {
            for value in [0, 1, 2, 3, 4, 5, 100, 127, 128, 255] {
                let mut damaged = bytes.clone();
                damaged[place] = value;
                if let Ok(record) = decode(&damaged) {
                    assert_eq!(encode(&record), damaged, "what is read is written the same");
                }
            }
        }
    }
}

#[test]
fn other_formats_kinds_and_places_are_refused() {
    let record = encode(&one_of_each()[4]);
    for (place, value) in [(0, 0), (0, 2), (1, 0), (1, 5), (18, 0), (18, 3)] {
        let mut other = record.clone();
        other[place] = value;
        assert!(decode(&other).is_err(), "byte {place} is {value}");
    }
}
