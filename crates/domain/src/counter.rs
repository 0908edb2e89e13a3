//! Counters: the smallest workload. An example of what the frame asks of one and gives to it, compiled
//! for tests only.
//!
//! The promise: additions never add up to more than the limit, and each has a number of its own.
//!
//! Invariant ([`Workload::check`]): each addition is at least 1, so there are no more than the total.

use crate::hash::HashSeed;
use crate::rows::{Cell, Column, ColumnKind, RowChange, Rows, Table};
use crate::types::{Serial, SubjectId, Timestamp};
use crate::workload::{Aggregate, Ask, Decided, Kind, Workload};
use crate::{fields, messages, rejections};

/// The workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter;

fields! {
    /// What the runner of a counter chooses.
    pub struct Settings {
        1 limit: u32 = required, in 1..=1_000_000_000, "The highest total.";
        2 step_max: u32 = 1_000, in 1..=1_000_000_000, "The most that one addition adds.";
    }
}

fields! {
    /// What a counter holds, what it shows, and what an addition comes to.
    pub struct Sum {
        1 total: u32 = required, "What the additions add up to.";
        2 additions: u32 = required, "How many additions there were.";
    }
}

messages! {
    /// What can be asked of a counter.
    pub enum Command<'a> {
        /// Add something.
        1 Add {
            /// Who adds it.
            subject: SubjectId<'a>,
            /// How much.
            amount: u32,
        },
    }
}

messages! {
    /// What happened in a counter.
    pub enum Event<'a> {
        /// Something was added.
        1 Added {
            /// As the how many-th addition.
            number: Serial,
            /// By whom.
            subject: SubjectId<'a>,
            /// How much.
            amount: u32,
        },
    }
}

rejections! {
    /// Why not, in the order of precedence.
    pub enum Rejection {
        /// The amount is 0 or more than one addition may add.
        250 AmountOutOfRange "amount_out_of_range" lasting { /** The setting. */ step_max: u32, },
        /// The total would be above the limit.
        251 LimitReached "limit_reached" lasting { /** What may still be added. */ left: u32, },
    }
}

/// Additions, one row each.
pub static ADDITIONS: Table = Table {
    name: "additions",
    about: "What was added to counters",
    row: "addition",
    columns: &[
        Column::of("number", ColumnKind::Number, "Its number in its counter"),
        Column::of("subject", ColumnKind::Text, "Who added it"),
        Column::of("amount", ColumnKind::Number, "How much was added"),
        Column::of("added_at", ColumnKind::Time, "When"),
    ],
    key_count: 1,
    found_by: None,
    one_each: None,
    has_origin: false,
};

impl Workload for Counter {
    const KIND: Kind = Kind::Counter;
    const ENTRIES: &'static str = "additions";
    const IS_REMOVABLE: bool = true;
    const TABLES: &'static [&'static Table] = &[&ADDITIONS];

    type Settings = Settings;
    type Figures = Sum;
    type Items = Sum;
    type Command<'a> = Command<'a>;
    type Event<'a> = Event<'a>;
    type Outcome = Sum;
    type View = Sum;
    type Rejection = Rejection;

    fn items(_settings: &Settings, _seed: HashSeed) -> Sum {
        Sum { total: 0, additions: 0 }
    }

    fn decide<'a>(it: &Aggregate<Self>, command: &Self::Command<'a>, _ask: Ask) -> Result<Decided<'a, Self>, Rejection> {
        let Command::Add { subject, amount } = *command;
        let Settings { limit, step_max } = it.settings;
        if amount == 0 || step_max < amount {
            return Err(Rejection::AmountOutOfRange { step_max });
        }
        let left = limit.saturating_sub(it.items.total);
        let number = it.items.additions.checked_add(1).and_then(Serial::new).filter(|_| amount <= left);
        Ok(Decided::Event(Event::Added { number: number.ok_or(Rejection::LimitReached { left })?, subject, amount }))
    }

    fn evolve(it: &mut Aggregate<Self>, event: &Event<'_>, _at: Timestamp) -> Sum {
        let Event::Added { number, amount, .. } = *event;
        it.items = Sum { total: it.items.total.saturating_add(amount), additions: number.get() };
        it.items
    }

    fn fits(it: &Aggregate<Self>, event: &Event<'_>) -> bool {
        let Event::Added { number, amount, .. } = *event;
        it.items.additions.checked_add(1) == Some(number.get()) && it.items.total.checked_add(amount).is_some()
    }

    fn figures(it: &Aggregate<Self>, _now: Timestamp) -> Sum {
        it.items
    }

    fn view(_it: &Aggregate<Self>, outcome: Sum, _now: Timestamp) -> Option<Sum> {
        Some(outcome)
    }

    fn rows(event: &Event<'_>, at: Timestamp, rows: &mut impl Rows) {
        let Event::Added { number, subject, amount } = event;
        let (number, amount) = (Cell::Number(number.get().into()), Cell::Number((*amount).into()));
        rows.change(&ADDITIONS, RowChange::Insert(&[number, Cell::Text(subject.as_str()), amount, Cell::Time(at)]));
    }

    fn check(it: &Aggregate<Self>) -> Result<(), &'static str> {
        if it.items.total < it.items.additions { Err("a counter has more additions than they add up to") } else { Ok(()) }
    }
}
