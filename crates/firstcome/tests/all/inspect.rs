//! What a journal holds is told in words, and as lines of JSON.
#![allow(clippy::unwrap_used)]

use crate::support;

use domain::coupon::Settings;
use domain::state::{Change, Record};
use firstcome::inspect::{self, Form, InspectError, Options, RecordRange};
use journal::Lsn;
use journal::snapshot::{self, SnapshotHeader};
use journal::storage::FileStorage;
use serde_json::{Value, json};
use support::{Data, JOURNAL, at, cancelled, changed, claimed, keyed, record, redeemed, settings};

fn told(data: &Data, options: &Options) -> String {
    let mut out = Vec::new();
    inspect::run(data.folder.path(), options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn lines(data: &Data, from: u64, limit: Option<u64>) -> Vec<String> {
    let records = Some(RecordRange { from: Lsn(from), limit });
    let text = told(data, &Options { records, form: Form::Text });
    text.lines().filter(|line| line.starts_with(|letter: char| letter.is_ascii_digit())).map(str::to_owned).collect()
}

fn objects(data: &Data, kind: &str) -> Vec<Value> {
    let text = told(data, &Options { records: Some(RecordRange::default()), form: Form::JsonLines });
    let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object["kind"] == kind).collect()
}

/// All kinds of records: 9 in 6 batches.
fn all_kinds() -> Data {
    let mut data = Data::spring();
    let window = Settings { opens_at: Some(at(1)), closes_at: None, redeem_until: Some(at(1_000)), paused: true, ..settings(6) };
    let forgotten = Record { change: Change::RequestsForgotten { count: 1 }, ..record(70, redeemed(0, 1)) };
    data.append(&[keyed("k-1", record(50, redeemed(0, 1))), record(60, changed(0, window)), forgotten, record(80, cancelled(0, 3))]);
    data
}

#[test]
fn the_summary_says_what_there_is() {
    let data = all_kinds();
    let snapshots = FileStorage::open_folder(&data.folder.path().join("snapshots")).unwrap();
    let header = SnapshotHeader { journal: JOURNAL, lsn: Lsn(4) };
    snapshot::write(&snapshots, header, [vec![1]].into_iter()).unwrap();
    let text = told(&data, &Options::default());
    let wanted = [
        "journal     09090909090909090909090909090909",
        "segments    2",
        "records     9",
        "first time  1970-01-01T00:00:00.010Z",
        "last time   1970-01-01T00:00:00.080Z",
        "campaign    spring stock=6 cancelled=2 claimed=3 redeemed=1",
        "snapshot    at record 4",
    ];
    for line in wanted {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("batches     6 ("));
}

#[test]
fn each_record_is_a_line() {
    let wanted = [
        "1 1970-01-01T00:00:00.010Z local r-1 campaign_created spring stock=5 code_key=1",
        "2 1970-01-01T00:00:00.020Z local r-1 claimed spring serial=1 subject=ann",
        "3 1970-01-01T00:00:00.020Z local r-1 claimed spring serial=2 subject=bob",
        "4 1970-01-01T00:00:00.030Z local r-1 claimed spring serial=3 subject=cat",
        "5 1970-01-01T00:00:00.040Z local r-1 cancelled spring serial=2",
        "6 1970-01-01T00:00:00.050Z local r-1 redeemed spring serial=1 request_key=k-1",
        "7 1970-01-01T00:00:00.060Z local r-1 campaign_changed spring stock=6 \
         opens_at=1970-01-01T00:00:00.001Z redeem_until=1970-01-01T00:00:01.000Z paused=true code_key=1",
        "8 1970-01-01T00:00:00.070Z local r-1 requests_forgotten count=1",
        "9 1970-01-01T00:00:00.080Z local r-1 cancelled spring serial=3",
    ];
    assert_eq!(lines(&all_kinds(), 0, None), wanted);
}

#[test]
fn a_range_of_records_is_told_also_from_inside_a_batch() {
    let data = all_kinds();
    assert_eq!(lines(&data, 0, None).len(), 9);
    let all = lines(&data, 1, None);
    assert_eq!(lines(&data, 8, None), all[7..]);
    assert_eq!(lines(&data, 3, Some(4)), all[2..6]);
    assert_eq!(lines(&data, 3, Some(0)), [""; 0]);
    assert_eq!(lines(&data, 10, None), [""; 0]);
}

#[test]
fn each_record_is_an_object() {
    let data = all_kinds();
    let records = objects(&data, "record");
    assert_eq!(records.len(), 9);
    let claimed = json!({
        "kind": "record", "lsn": 2, "at": "1970-01-01T00:00:00.020Z", "actor": "local", "request_id": "r-1",
        "request_key": null, "event": "claimed", "campaign": "spring", "serial": 1, "subject": "ann",
    });
    assert_eq!(records[1], claimed);
    assert_eq!((&records[5]["event"], &records[5]["request_key"]), (&json!("redeemed"), &json!("k-1")));
    assert_eq!((&records[6]["settings"]["paused"], &records[6]["settings"]["closes_at"]), (&json!(true), &Value::Null));
    assert_eq!((&records[7]["event"], &records[7]["count"]), (&json!("requests_forgotten"), &json!(1)));
    let campaign = &objects(&data, "campaign")[0];
    assert_eq!((&campaign["name"], &campaign["settings"]["stock"], &campaign["is_removed"]), (&json!("spring"), &json!(6), &json!(false)));
    assert_eq!(campaign["counts"], json!({ "claimed": 3, "redeemed": 1, "cancelled": 2 }));
    assert_eq!((&objects(&data, "journal")[0]["records"], &objects(&data, "journal")[0]["trouble"]), (&json!(9), &Value::Null));
}

#[test]
fn a_torn_tail_and_a_damage_are_told_and_what_is_before_them_too() {
    let torn = Data::spring();
    torn.forge_bytes(|bytes, starts| bytes[starts[4] + 140] ^= 1);
    assert!(told(&torn, &Options::default()).contains("\ntorn tail: the rest of a batch that was never synced in"));
    assert_eq!(lines(&torn, 1, None).len(), 4);
    let damaged = Data::spring();
    damaged.forge_bytes(|bytes, starts| bytes[starts[2] + 140] ^= 1);
    assert!(told(&damaged, &Options::default()).contains("\nDAMAGED: "));
    assert_eq!(lines(&damaged, 1, None).len(), 2);
}

#[test]
fn a_record_in_an_unknown_campaign_is_told_by_its_number() {
    let mut data = Data::spring();
    data.append(&[record(50, claimed(7, 1, "dan"))]);
    assert_eq!(lines(&data, 6, None), ["6 1970-01-01T00:00:00.050Z local r-1 claimed #7 serial=1 subject=dan"]);
}

#[test]
fn a_folder_without_a_journal_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let refused = inspect::run(folder.path(), &Options::default(), &mut Vec::new());
    assert!(matches!(refused, Err(InspectError::Open(_))));
}
