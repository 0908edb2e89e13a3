//! The bytes of the log: those that were once written are read for ever (J2), and what is no record
//! is refused, never a panic.

use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, Routing, RulesVersion, decode, encode};
use domain::coupon::{self, Coupon};
use domain::types::{RequestId, Serial, Timestamp};
use domain::{Action, Command};

use super::support::{at, cancel, claim, keyed, name, put, put_override, put_policy, settings, subject};

const RECORDS_2: &str = include_str!("../../fixtures/log-records-2.hex");
const RECORDS_3: &str = include_str!("../../fixtures/log-records-3.hex");

fn fixture() -> Vec<Vec<u8>> {
    lines_of(RECORDS_3)
}

fn lines_of(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| (0..line.len() / 2).map(|place| u8::from_str_radix(&line[2 * place..2 * place + 2], 16).unwrap()).collect()).collect()
}

/// One record of each kind, as the fixture has them.
fn one_of_each() -> Vec<LogRecord<'static>> {
    let origin = Origin { node: NodeId(0x0102_0304_0506_0708), sequence: 42 };
    let request_id = RequestId::new("request:1").unwrap();
    let sent_at = at(1_767_225_600_123);
    let group = |body| LogRecord { origin, sent_at, routing: Routing::Group("spring"), body };
    let asked = |command| group(Body::Command { request_id, command });
    let partition = |body| LogRecord { origin, sent_at, routing: Routing::Partition(5), body };
    let (serial, subject) = (Serial::new(7).unwrap(), subject("user:1"));
    let due = Action::of::<Coupon>(name("spring:2026"), coupon::Command::DecideNext { serial, subject });
    let (Action::Do(first), Action::Do(second)) = (claim("spring", "user:1").action, put_override("spring:api", "user:1", 9).action) else {
        panic!("they are commands of workloads")
    };
    vec![
        partition(Body::Genesis(Genesis { log: LogId(*b"0123456789abcdef"), partitions: 12, rules: RulesVersion(1) })),
        asked(put("spring:2026", settings(10_000))),
        asked(keyed(claim("spring:2026", "user:1"), "a/b=c")),
        asked(cancel("spring:2026", "user:1")),
        asked(put_policy("spring:api", 100)),
        asked(Command::local(Action::DoBoth(first, second))),
        group(Body::Due(Command::local(due))),
        partition(Body::Due(Command::local(Action::ForgetRequests))),
        partition(Body::Barrier),
        partition(Body::Rules(RulesVersion(2))),
        partition(Body::Command { request_id, command: Command::local(Action::SetTime { to: at(1_767_225_600_000) }) }),
    ]
}

#[test]
fn records_are_read_for_ever_and_written_the_same() {
    let written: Vec<Vec<u8>> = one_of_each().iter().map(encode).collect();
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: Vec<String> = written.iter().map(hex).collect();
    assert_eq!(written, fixture(), "{}", lines.join("\n"));
    for (bytes, record) in fixture().iter().zip(one_of_each()) {
        assert_eq!(decode(bytes), Ok(record));
    }
    // Format 2 does not say when the node appended the record.
    for (bytes, record) in lines_of(RECORDS_2).iter().zip(one_of_each()) {
        assert_eq!(decode(bytes), Ok(LogRecord { sent_at: Timestamp::MAX, ..record }));
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
                // Nothing is written in format 2.
                if let Ok(record) = decode(&damaged)
                    && damaged[0] != 2
                {
                    assert_eq!(encode(&record), damaged, "what is read is written the same");
                }
            }
        }
    }
}

#[test]
fn other_formats_kinds_and_places_are_refused() {
    let barrier = one_of_each().into_iter().find(|record| record.body == Body::Barrier).unwrap();
    let record = encode(&barrier);
    for (place, value) in [(0, 0), (0, 1), (0, 4), (1, 0), (1, 6), (26, 0), (26, 3)] {
        let mut other = record.clone();
        other[place] = value;
        assert!(decode(&other).is_err(), "byte {place} is {value}");
    }
}

/// What every node stops at, and no node appends.
#[test]
fn a_record_is_about_what_it_is_routed_by_and_only_what_can_be_due_is_due() {
    let of = |routing, body| LogRecord { origin: Origin { node: NodeId(1), sequence: 1 }, sent_at: Timestamp::MAX, routing, body };
    let asked = |command| Body::Command { request_id: RequestId::new("engine").unwrap(), command };
    let (spring, partition) = (Routing::Group("spring"), Routing::Partition(0));
    let both = |one: Command<'static>, other: Command<'static>| match (one.action, other.action) {
        (Action::Do(first), Action::Do(second)) => Command::local(Action::DoBoth(first, second)),
        other => panic!("{other:?}"),
    };
    let decide_next = coupon::Command::DecideNext { serial: Serial::new(1).unwrap(), subject: subject("ann") };
    let due = Command::local(Action::of::<Coupon>(name("spring:2026"), decide_next));
    let forget = Command::local(Action::ForgetRequests);
    for (routing, body) in [
        (spring, asked(claim("spring", "ann"))),
        (spring, asked(put_policy("spring:api", 1))),
        (spring, asked(both(claim("spring", "ann"), put_override("spring:api", "ann", 1)))),
        (spring, asked(due)),
        (spring, Body::Due(due)),
        (partition, Body::Due(forget)),
        (partition, Body::Barrier),
    ] {
        assert_eq!(of(routing, body).check(), Ok(()), "{routing:?} {body:?}");
    }
    for (routing, body) in [
        (Routing::Group("autumn"), asked(claim("spring", "ann"))),
        (Routing::Group("spring:api"), asked(put_policy("spring:api", 1))),
        (partition, asked(claim("spring", "ann"))),
        (spring, asked(both(claim("spring", "ann"), put_override("autumn:api", "ann", 1)))),
        (spring, asked(both(claim("autumn", "ann"), put_override("spring:api", "ann", 1)))),
        (partition, asked(both(claim("spring", "ann"), put_override("autumn:api", "ann", 1)))),
        (spring, asked(forget)),
        (partition, asked(forget)),
        (spring, Body::Due(forget)),
        (partition, Body::Due(due)),
        (Routing::Group("autumn"), Body::Due(due)),
        (spring, Body::Due(keyed(due, "k1"))),
        (spring, Body::Due(put("spring", settings(1)))),
        (spring, Body::Due(both(claim("spring", "ann"), put_override("spring:api", "ann", 1)))),
        (spring, Body::Barrier),
        (spring, Body::Rules(RulesVersion(1))),
    ] {
        assert!(of(routing, body).check().is_err(), "{routing:?} {body:?}");
    }
}
