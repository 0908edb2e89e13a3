//! Firstcome across machines: two servers of the program itself over Kafka, Redis and PostgreSQL.

use crate::frame::about::{About, DurableBy, Fault, FaultKind};

pub(crate) const ABOUT: About = About {
    name: "firstcome_scaled",
    title: "Firstcome, two servers",
    engines: "Kafka, Redis, PostgreSQL",
    explained: "Redis turns the hopeless away, the rest is appended to Kafka, and both servers run the same rules over the same records in the same order; the one that was asked answers when its record comes by. \
                Only Kafka's order decides, so that a wrong count in Redis or a server that dies can cost time and nothing else.",
    steps: &[
        "ask the gate in Redis, which never has the last word",
        "append the command to Kafka",
        "read it back in its place and decide by the rules",
        "answer",
        "one server writes what was decided to PostgreSQL",
    ],
    race: None,
    told_yes: "when the record has come by, in Kafka's order",
    is_exact: true,
    has_unique_claims: false,
    durable_by: DurableBy::Kafka,
    faults: &[Fault { after_step: 2, at: "anywhere", kind: FaultKind::Kill }],
    source: None,
};
