//! Counters, the example, a second time: every addition is kept, and the total is their sum.

pub use domain::counter::{Command as Ask, Sum as Outcome};
use domain::counter::{Counter as Theirs, Event, Settings};
use domain::fields::{Fields, Value};
use domain::rows::{Cell, Table};
use domain::types::{SubjectId, Timestamp};
use domain::wire::{Out, Part};

use crate::workload::{CommandOf, Rows, Rules, RulingOf, Translated};
use crate::{Detail, Head, No, Ruling};

/// Something is added: its number, by whom, and how much.
pub type Effect = (u32, String, u32);

/// A counter with every addition.
#[derive(Clone, Debug)]
pub struct Counter {
    pub(crate) head: Head,
    pub(crate) settings: Settings,
    additions: Vec<(Effect, Timestamp)>,
}

fn sum<'a>(effects: impl Iterator<Item = &'a Effect> + Clone) -> Outcome {
    let total = effects.clone().fold(0_u32, |total, (.., amount)| total.saturating_add(*amount));
    Outcome { total, additions: effects.map(|_| 1).sum() }
}

impl Rules for Counter {
    type Of = Theirs;
    type Ask<'a> = Ask<'a>;
    type Outcome = Outcome;
    type Effect = Effect;
    const IS_REMOVABLE: bool = true;

    fn new(head: Head, settings: Settings) -> Self {
        Self { head, settings, additions: Vec::new() }
    }

    fn figures(&self, _settings: &Settings, _now: Timestamp) -> Vec<(&'static str, Value)> {
        let sum = sum(self.additions.iter().map(|(effect, _)| effect));
        sum.values().map(|(field, value)| (field.name, value)).collect()
    }

    fn decide(&self, ask: &Ask<'_>, _has_key: bool, _now: Timestamp) -> Result<RulingOf<Self>, No> {
        let (Ask::Add { subject, amount }, Settings { limit, step_max }) = (*ask, self.settings);
        let no = |code, name, number: u32| Err(No::with(code, name, Detail::Number(number.into())));
        let effects = self.additions.iter().map(|(effect, _)| effect);
        let before = sum(effects.clone());
        match (amount, limit.saturating_sub(before.total)) {
            (1.., left) if amount <= step_max && left < amount => no("limit_reached", "left", left),
            (1.., _) if amount <= step_max => {
                let effect = (before.additions + 1, subject.as_str().to_owned(), amount);
                Ok(Ruling::effect(sum(effects.chain([&effect])), effect.clone()))
            }
            _ => no("amount_out_of_range", "step_max", step_max),
        }
    }

    fn apply(&mut self, effect: &Effect, at: Timestamp) {
        self.additions.push((effect.clone(), at));
    }

    fn asked_for<'a>(_it: Option<&'a Self>, (_, subject, amount): &'a Effect) -> Ask<'a> {
        let subject = SubjectId::new(subject).unwrap_or_else(|error| panic!("the subject {subject:?} of a record {error}"));
        Ask::Add { subject, amount: *amount }
    }
}

impl Translated for Counter {
    fn ask(command: CommandOf<'_, Self>) -> Self::Ask<'_> {
        command
    }

    fn effect(event: &Event<'_>) -> Effect {
        let Event::Added { number, subject, amount } = *event;
        (number.get(), subject.as_str().to_owned(), amount)
    }

    fn answer(outcome: &Outcome) -> Outcome {
        *outcome
    }

    fn outcome(answer: &Outcome) -> Option<Outcome> {
        Some(*answer)
    }

    fn rows(&self, _table: &Table) -> Rows<'_> {
        Box::new(self.additions.iter().map(|((number, subject, amount), at)| {
            vec![Cell::Number((*number).into()), Cell::Text(subject), Cell::Number((*amount).into()), Cell::Time(*at)]
        }))
    }

    fn entries(&self, each: &mut dyn FnMut(&[u8])) {
        let mut bytes = Vec::new();
        sum(self.additions.iter().map(|(effect, _)| effect)).put(&mut Out { body: &mut bytes, private: None });
        each(&bytes);
    }
}
