//! The schemas of the calls about the server.

use domain::Kind;
use serde_json::json;

use crate::http::openapi::schema::{Schema, count, flag, number_from, object, text, time, word};

const READ_ONLY: &str = "Whether the disk is full: reads and repeats are answered, nothing new is decided.";
const VERSION: &str = "The program's version.";

fn version() -> Schema {
    text().shown(json!("0.1.0"))
}

fn history() -> Schema {
    object("").has("position", count(2), "The last record in the tables.").has(
        "broken",
        flag(false),
        "Whether they cannot follow any more.",
    )
}

fn journal() -> Schema {
    let micros = |example: u64| number_from(0).nullable().shown(json!(example));
    object("")
        .has("commits", count(2), "Writes, each with its sync.")
        .has("records", count(2), "Records in them.")
        .has("batch_records_last", count(1), "Records in the last one.")
        .has("batch_records_max", count(1), "Records in the largest one.")
        .has("records_waiting", count(0), "Records that are decided and not durable yet: their answers wait.")
        .has("sync_p50_us", micros(703), "Microseconds that half of them took at most.")
        .has("sync_p99_us", micros(959), "Microseconds that 99 in a hundred took at most.")
        .has("sync_max_us", micros(959), "Microseconds of the slowest.")
        .nullable()
}

pub(super) fn server() -> Schema {
    let mode = "Whether this process decides alone, or by the order of a log that others follow as well.";
    let tables = "How far the tables are that lists read.";
    let written = "What was written since the start; `null` in the scaled mode, where the log does it.";
    let mut schema = object("How the server does.")
        .has("version", version(), VERSION)
        .has("mode", word(&["single", "scaled"]), mode)
        .has("time", time("2026-01-31T10:00:00.000Z"), "The server's clock.")
        .has("uptime_ms", count(60_000), "Milliseconds since the start.")
        .has("read_only", flag(false), READ_ONLY)
        .has("position", count(2), "The last durable record.")
        .has("snapshot_position", count(0), "The record of the last snapshot.")
        .has("history", history(), tables)
        .has("journal", journal(), written)
        .has("requests_in_flight", count(0), "Requests that are being answered, operators' aside.")
        .has("requests_max", count(4_096), "As many as there may be.")
        .has("live_clients", count(0), "Clients that watch.")
        .has("live_campaigns", count(0), "Campaigns that are watched.")
        .has("request_keys", count(0), "Request keys in memory.")
        .has("keys", flag(false), "Whether callers must show a key or token.");
    for kind in Kind::ALL.iter().filter(|kind| kind.is_served() && !kind.is_example()) {
        schema = schema.has(kind.path(), count(1), &format!("How many {} there are.", kind.path()));
        schema = schema.has(kind.entries(), count(1), &format!("How many {} are in memory, of all {}.", kind.entries(), kind.path()));
    }
    schema.named("ServerStatus")
}

pub(super) fn health() -> Schema {
    let ok = Schema::default().with("const", json!("ok")).shown(json!("ok"));
    object("The process answers.").has("status", ok, "The process works.").named("Health")
}

pub(super) fn readiness() -> Schema {
    let reasons = [
        "stopping",
        "the time stands: the last record is ahead of the clock",
        "the journal cannot be written",
        "the log cannot be followed",
        "the log does not answer in time",
    ];
    let leap = number_from(0).with("minimum", json!(i64::MIN)).nullable().shown(json!(null));
    let clock = object("").has("leap_ms", leap, "How far the wall clock has leapt, if that is not adopted: nothing is decided by it.").has(
        "record_ahead_ms",
        count(0),
        "How far the last record's time is ahead of the server's: so long the time stands.",
    );
    object("Whether the server should get requests.")
        .has("ready", flag(true), "Whether the server should get requests.")
        .has("reason", word(&reasons).or_null(), "Why not; `null` if it should.")
        .has("read_only", flag(false), READ_ONLY)
        .has("clock", clock, "How the clock does; what to do: docs/clocks.md.")
        .has("position", count(2), "The last durable record of the journal.")
        .has("history", history(), "How far the tables are that lists read.")
        .has("version", version(), VERSION)
        .named("Readiness")
}
