//! Which node appends due commands, and when.
//!
//! A due command, such as an expiry, is a record like any other: any node may append it, it names the entry, and it
//! has an effect only if that entry's time has come at the record's broker time. So the result is exact whichever
//! node appends it, and however often; this file only keeps the number of records small. The node that appended the
//! last due command with an effect continues; the others step in when nothing happens for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::state::Step;
use domain::types::Timestamp;
use domain::workload::AnyAggregate;
use domain::{Action, Command, Number, State};
use tokio::time::Instant;

use super::{GateServer, Log, Node};
use crate::protocol::limits::{ASK_AGAIN, DUE_AT_ONCE_MAX, STEP_IN, millis_of};
use crate::protocol::record::{Body, LogRecord, Origin, Routing, encode};

/// What this node knows about due commands in a partition, beside the state.
#[derive(Debug, Default)]
pub(super) struct DueWork {
    /// When a due command of another node last had an effect; `None` if the last one with an effect was this node's.
    other_acted_at: Option<Instant>,
    /// When the last record was applied: the node's clock measures the time since then.
    applied_at: Option<Instant>,
    asked: BTreeMap<Number, Asked>,
}

/// The due commands that this node has appended for one aggregate.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// How many of the aggregate's due commands, from the first on, are appended and not read back yet.
    on_the_way: u32,
    /// When the last of them had an effect, or the first of them was appended.
    progress_at: Instant,
}

/// A command ready to be appended.
struct Ready {
    number: Number,
    group: String,
    bytes: Vec<u8>,
}

impl DueWork {
    /// Notes that records were applied.
    pub(super) fn applied(&mut self) {
        self.applied_at = Some(Instant::now());
    }

    /// A due command of this or another node was read back.
    pub(super) fn came_by(&mut self, is_own: bool, number: Option<Number>, has_effect: bool) {
        if has_effect {
            self.other_acted_at = if is_own { None } else { Some(Instant::now()) };
        }
        let Some(number) = number else { return };
        if has_effect && let Some(asked) = self.asked.get_mut(&number) {
            asked.on_the_way = asked.on_the_way.saturating_sub(1);
            asked.progress_at = Instant::now();
        } else if is_own {
            // It came too early, or another node was faster: the commands after it may be appended again.
            self.asked.remove(&number);
        }
    }

    /// The log did not accept the last command of an aggregate.
    fn not_taken(&mut self, number: Number) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.on_the_way = asked.on_the_way.saturating_sub(1);
        }
    }

    /// The broker's time as estimated here: never ahead of it, because a record is applied after it got its time.
    fn now(&self, effective_at: Timestamp) -> Timestamp {
        let passed = self.applied_at.map_or(Duration::ZERO, |applied_at| applied_at.elapsed());
        effective_at.plus_millis(millis_of(passed))
    }

    /// The commands to append now, each made by `make` from aggregate and command.
    fn due<T>(&mut self, state: &State, mut make: impl FnMut(&AnyAggregate, Command<'_>) -> T) -> Vec<T> {
        let now = self.now(state.time);
        self.asked.retain(|number, _| state.at(*number).is_some_and(|aggregate| aggregate.next_due().is_some()));
        // Another node is active if its commands had an effect recently: leave the work to it.
        if self.other_acted_at.is_some_and(|acted_at| acted_at.elapsed() < STEP_IN) {
            return Vec::new();
        }
        let patience = if self.other_acted_at.is_some() { millis_of(STEP_IN) } else { 0 };
        let mut due = Vec::new();
        for aggregate in state.due().filter(|aggregate| aggregate.next_due().is_some_and(|at| at.plus_millis(patience) <= now)) {
            let number = aggregate.head().number;
            let first = self.on_the_way(number);
            let commands = (first..first.saturating_add(DUE_AT_ONCE_MAX)).map_while(|ahead| aggregate.due_behind(ahead, now));
            for command in commands {
                let step = Step { name: aggregate.name(), command };
                due.push(make(aggregate, Command::local(Action::Do(step))));
                self.asks(number);
            }
        }
        due
    }

    /// How many due commands of an aggregate are in flight. If nothing has happened for a while, they were
    /// lost or came too early, and none counts.
    fn on_the_way(&mut self, number: Number) -> u32 {
        let asked = self.asked.get(&number).filter(|asked| asked.progress_at.elapsed() < ASK_AGAIN);
        let on_the_way = asked.map_or(0, |asked| asked.on_the_way);
        if on_the_way == 0 {
            self.asked.remove(&number);
        }
        on_the_way
    }

    fn asks(&mut self, number: Number) {
        let asked = self.asked.entry(number).or_insert_with(|| Asked { on_the_way: 0, progress_at: Instant::now() });
        asked.on_the_way += 1;
    }
}

impl<L: Log, G: GateServer> Node<L, G> {
    /// Appends due commands. To be called many times a second.
    pub fn do_due(&self) {
        if self.is_stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        for (partition, place) in (0..).zip(&self.partitions) {
            let mut ready = {
                let replica = place.replica.lock();
                let state = replica.core().state();
                if state.due().next().is_none() {
                    continue;
                }
                place.due.lock().due(state, |aggregate, command| self.ready(aggregate, command)).into_iter()
            };
            while let Some(first) = ready.next() {
                // A lost record is appended again later.
                if self.log.append(partition, &first.group, first.bytes).is_err() {
                    let mut due = place.due.lock();
                    std::iter::once(first.number).chain(ready.map(|rest| rest.number)).for_each(|number| due.not_taken(number));
                    break;
                }
            }
        }
    }

    /// The encoded command, made while the state that it borrows from is locked.
    fn ready(&self, aggregate: &AnyAggregate, command: Command<'_>) -> Ready {
        let (number, group) = (aggregate.head().number, aggregate.name().group());
        let origin = Origin { node: self.id, sequence: self.next_sequence() };
        let record = LogRecord { origin, sent_at: self.log.now(), routing: Routing::Group(group), body: Body::Due(command) };
        Ready { number, group: group.to_owned(), bytes: encode(&record) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Number = Number(1);
    const OTHER: Number = Number(2);

    fn on_the_way(due: &DueWork) -> [Option<u32>; 2] {
        [ONE, OTHER].map(|number| due.asked.get(&number).map(|asked| asked.on_the_way))
    }

    fn asked(count: u32) -> DueWork {
        let asked = Asked { on_the_way: count, progress_at: Instant::now() };
        DueWork { asked: BTreeMap::from([(ONE, asked), (OTHER, asked)]), ..DueWork::default() }
    }

    #[tokio::test]
    async fn what_came_in_vain_or_was_not_taken_is_asked_for_again_in_its_aggregate_only() {
        let mut due = asked(50);
        due.not_taken(ONE);
        due.not_taken(ONE);
        assert_eq!(on_the_way(&due), [Some(48), Some(50)]);
        due.came_by(false, Some(ONE), false);
        assert_eq!(on_the_way(&due), [Some(48), Some(50)]);
        due.came_by(true, Some(ONE), false);
        assert_eq!(on_the_way(&due), [None, Some(50)]);
        assert!(due.other_acted_at.is_none());
        due.came_by(false, Some(OTHER), true);
        assert!(due.other_acted_at.is_some());
        assert_eq!(on_the_way(&due), [None, Some(49)], "the first thing is done, whichever node asked");
        due.came_by(true, Some(OTHER), true);
        assert!(due.other_acted_at.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_without_anything_being_done_is_asked_for_again() {
        let mut due = asked(3);
        tokio::time::sleep(ASK_AGAIN / 2).await;
        due.came_by(true, Some(OTHER), true);
        tokio::time::sleep(ASK_AGAIN / 2).await;
        assert_eq!((due.on_the_way(ONE), due.on_the_way(OTHER)), (0, 2));
    }
}
