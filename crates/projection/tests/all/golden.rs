//! After any run of decisions the rows say what the rules' own state says.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::ops::ControlFlow;

use domain::coupon::Settings;
use domain::workload::AnyAggregate;
use domain::{Action, Kind};
use projection::{AggregateRow, EntryRow, HistoryReader, OwnedCell};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};
use support::{
    ALL, Place, Run, both, cancel, claim, name, put, put_override, put_policy, redeem, remove_override, remove_policy, rows_of, settings,
};

const NAMES: [&str; 3] = ["spring", "summer", "autumn"];
const SUBJECTS: [&str; 6] = ["ann", "bob", "cat", "dan", "eve", "fay"];

#[derive(Clone, Debug)]
enum Step {
    Put {
        campaign: usize,
        stock: u32,
        is_paused: bool,
    },
    Claim {
        campaign: usize,
        subject: usize,
    },
    Redeem {
        campaign: usize,
        serial: u32,
    },
    Cancel {
        campaign: usize,
        serial: u32,
    },
    PutPolicy {
        policy: usize,
        quota: u64,
    },
    PutOverride {
        policy: usize,
        key: usize,
        quota: u32,
    },
    RemoveOverride {
        policy: usize,
        key: usize,
    },
    RemovePolicy {
        policy: usize,
    },
    /// A claim and an override at once, in a campaign and a policy of one group.
    Both {
        name: usize,
        subject: usize,
        quota: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let subject = || 0..SUBJECTS.len();
    prop_oneof![
        1 => (name(), 1..6_u32, prop_oneof![4 => Just(false), 1 => Just(true)])
            .prop_map(|(campaign, stock, is_paused)| Step::Put { campaign, stock, is_paused }),
        5 => (name(), subject()).prop_map(|(campaign, subject)| Step::Claim { campaign, subject }),
        2 => (name(), 1..9_u32).prop_map(|(campaign, serial)| Step::Redeem { campaign, serial }),
        2 => (name(), 1..9_u32).prop_map(|(campaign, serial)| Step::Cancel { campaign, serial }),
        2 => (name(), 1..9_u64).prop_map(|(policy, quota)| Step::PutPolicy { policy, quota }),
        3 => (name(), subject(), 1..9_u32).prop_map(|(policy, key, quota)| Step::PutOverride { policy, key, quota }),
        1 => (name(), subject()).prop_map(|(policy, key)| Step::RemoveOverride { policy, key }),
        1 => name().prop_map(|policy| Step::RemovePolicy { policy }),
        2 => (name(), subject(), 1..9_u32).prop_map(|(name, subject, quota)| Step::Both { name, subject, quota }),
    ]
}

fn action(step: &Step) -> Action<'static> {
    match step {
        Step::Put { campaign, stock, is_paused } => put(NAMES[*campaign], Settings { paused: *is_paused, ..settings(*stock) }),
        Step::Claim { campaign, subject } => claim(NAMES[*campaign], SUBJECTS[*subject]),
        Step::Redeem { campaign, serial } => redeem(NAMES[*campaign], *serial),
        Step::Cancel { campaign, serial } => cancel(NAMES[*campaign], *serial),
        Step::PutPolicy { policy, quota } => put_policy(NAMES[*policy], *quota),
        Step::PutOverride { policy, key, quota } => put_override(NAMES[*policy], SUBJECTS[*key], *quota),
        Step::RemoveOverride { policy, key } => remove_override(NAMES[*policy], SUBJECTS[*key]),
        Step::RemovePolicy { policy } => remove_policy(NAMES[*policy]),
        Step::Both { name, subject, quota } => {
            both(claim(NAMES[*name], SUBJECTS[*subject]), put_override(NAMES[*name], SUBJECTS[*subject], *quota))
        }
    }
}

fn is_same(row: &AggregateRow, aggregate: &AnyAggregate) -> bool {
    let head = aggregate.head();
    let of_row = (&row.name, row.number, row.settings, row.version, row.created_at);
    of_row == (&head.name, head.number, aggregate.settings(), head.version, head.created_at)
}

fn cells(rows: Vec<EntryRow>) -> Vec<Vec<OwnedCell>> {
    rows.into_iter().map(|row| row.cells).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn rows_say_what_the_state_says(steps in vec(step(), 1..200), batch in 1..40_usize) {
        let mut run = Run::new();
        for (now, step) in steps.iter().enumerate() {
            run.ask(action(step), now as u64 * 10);
        }
        let place = Place::new();
        let mut history = place.open();
        let records: Vec<_> = run.records().collect();
        for records in records.chunks(batch) {
            history.apply(records.iter().copied()).unwrap();
        }
        let mut reader = HistoryReader::open(&place.path()).unwrap();
        let view = reader.view().unwrap();
        prop_assert_eq!((view.as_of().position, view.as_of().time), (run.last(), run.state.time));
        for kind in Kind::ALL {
            let rows = view.aggregates(*kind).unwrap();
            let aggregates: Vec<_> = run.state.aggregates().filter(|aggregate| aggregate.kind() == *kind).collect();
            prop_assert_eq!(rows.len(), aggregates.len());
            let Some(table) = kind.tables().first().copied() else { continue };
            let (expected, mut bare) = (rows_of(&run.state, *kind), Vec::new());
            for ((row, aggregate), (of, entries)) in rows.iter().zip(aggregates).zip(&expected) {
                assert!(is_same(row, aggregate), "{row:?}");
                prop_assert_eq!(&*row.name, of);
                prop_assert_eq!(&cells(view.entries(table, name(of), ALL, 1_000).unwrap().rows), entries);
                bare.extend(entries.iter().map(|entry| (row.number, entry.clone())));
            }
            // Nothing else is in the table, such as an entry of a policy that is removed.
            let mut found = Vec::new();
            view.for_each_bare_entry(table, |row| {
                found.push((row.number, row.cells.iter().map(|cell| OwnedCell::from(*cell)).collect::<Vec<_>>()));
                ControlFlow::Continue(())
            }).unwrap();
            prop_assert_eq!(found, bare);
        }
    }
}
