//! Firstcome on one machine: the program itself, as a process of its own.

use crate::frame::about::{About, DurableBy, Fault, FaultKind};

pub(crate) const ABOUT: About = About {
    name: "firstcome",
    title: "Firstcome, one machine",
    engines: "none",
    explained: "One process decides in memory under one short lock, writes what has gathered to its own journal, and syncs once for the whole batch before anybody is told. \
                There is one place where the truth is, so that nothing can lie between two.",
    steps: &["decide in memory, under one lock", "write the batch to the journal", "sync it, once for all", "answer"],
    race: None,
    told_yes: "when the record is synced to disk",
    is_exact: true,
    has_unique_claims: false,
    durable_by: DurableBy::Journal,
    faults: &[Fault { after_step: 1, at: "anywhere", kind: FaultKind::Kill }],
    source: None,
};
