//! The crowd of a run with a fault: a few hundred people who ask until they get a final answer, ask again
//! when the connection is lost, and remember every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::servers::CAMPAIGN;
use crate::frame::clock::Stopwatch;
use crate::frame::web::{Reply, Web};

/// Delay before a person without an answer asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// People who ask at the same time.
const AT_ONCE: usize = 32;

/// The answers that all people have received.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The serials that each person was given.
    pub(crate) yes: BTreeMap<u32, BTreeSet<i64>>,
    /// People who were refused although they had a coupon.
    pub(crate) taken_back: BTreeSet<u32>,
    /// People without a final answer in a round, with the last response instead.
    pub(crate) unanswered: BTreeMap<u32, String>,
    /// The longest time without a final answer to anyone.
    pub(crate) longest_silence: Duration,
    last_answer: Duration,
}

/// All people, and the servers that they ask.
pub(crate) struct Crowd {
    people: u32,
    ports: Vec<u16>,
    /// Until this is true, all people ask the first server only.
    others_serve: watch::Sender<bool>,
    next: AtomicU32,
    clock: Stopwatch,
    memory: Mutex<Memory>,
}

/// How long one person keeps asking.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// While no server responds.
    pub(crate) with_silence: Duration,
    /// While the servers respond with an error.
    pub(crate) with_trouble: Duration,
}

impl Crowd {
    pub(crate) fn new(people: u32, ports: Vec<u16>) -> Arc<Self> {
        let memory = Mutex::default();
        let others_serve = watch::Sender::new(true);
        Arc::new(Self { people, ports, others_serve, next: AtomicU32::new(0), clock: Stopwatch::start(), memory })
    }

    /// Whether people may ask every server, or wait for the first one.
    pub(crate) fn let_others_serve(&self, yes: bool) {
        self.others_serve.send_replace(yes);
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    /// The number of people with a coupon.
    pub(crate) fn served(&self) -> usize {
        self.memory().yes.len()
    }

    /// Everyone asks until they have a final answer or run out of patience.
    pub(crate) async fn everybody_asks(self: &Arc<Self>, patience: Patience) {
        self.next.store(0, Ordering::Relaxed);
        {
            let mut memory = self.memory();
            memory.unanswered.clear();
            memory.last_answer = self.clock.elapsed();
        }
        let mut asking = JoinSet::new();
        for place in 0..AT_ONCE {
            let crowd = Arc::clone(self);
            asking.spawn(async move {
                let number = place % crowd.ports.len();
                let mut web = Web::new(crowd.ports[number]);
                if 0 < number {
                    // The sender lives as long as the crowd.
                    let _ = crowd.others_serve.subscribe().wait_for(|yes| *yes).await;
                }
                loop {
                    let person = crowd.next.fetch_add(1, Ordering::Relaxed);
                    if crowd.people <= person {
                        return;
                    }
                    crowd.one_asks(&mut web, person, patience).await;
                }
            });
        }
        while asking.join_next().await.is_some() {}
    }

    async fn one_asks(&self, web: &mut Web, person: u32, patience: Patience) {
        let body = format!("{{\"subject\":\"person-{person}\"}}");
        let stopwatch = Stopwatch::start();
        loop {
            let reply = web.ask(Method::POST, &format!("/v1/campaigns/{CAMPAIGN}/claims"), "application/json", body.clone()).await;
            let longest = if reply.is_some() { patience.with_trouble } else { patience.with_silence };
            let heard = match &reply {
                Some(reply) if self.note(person, reply) => return,
                Some(reply) => String::from_utf8_lossy(&reply.body).into_owned(),
                None => "no answer".to_owned(),
            };
            if longest < stopwatch.elapsed() {
                self.memory().unanswered.insert(person, heard);
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Stores an answer; returns whether it was final.
    fn note(&self, person: u32, reply: &Reply) -> bool {
        let mut memory = self.memory();
        match reply.status {
            200 | 201 => {
                // A success without a serial is not an answer.
                let Some(serial) = reply.json()["serial"].as_i64() else { return false };
                memory.yes.entry(person).or_default().insert(serial);
            }
            409 if memory.yes.contains_key(&person) => drop(memory.taken_back.insert(person)),
            409 => {}
            _ => return false,
        }
        let now = self.clock.elapsed();
        memory.longest_silence = memory.longest_silence.max(now.saturating_sub(memory.last_answer));
        memory.last_answer = now;
        true
    }
}
