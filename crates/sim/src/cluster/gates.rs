//! The gate's server: the protocol's own model of a gate, behind a network, on a machine that can lose its data.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::protocol::gate::{
    Away, Correct, Corrected, Enter, Entered, Gate, GateKey, GateServer, GateVerdict, GateVersion, Mark, Settled,
};
use cluster::protocol::record::{LogId, NodeId};
use domain::Kind;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::counts::Rare;
use super::dice::Dice;
use super::plant::Plant;
use super::trouble::Trouble;

/// All gates.
#[derive(Debug)]
pub struct SimGates {
    dice: Dice,
    trouble: Arc<Trouble>,
    began: Instant,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    gates: BTreeMap<String, Gate>,
    copy: BTreeMap<String, Gate>,
    away_until: Instant,
    /// Used by plants: the units with which each gate was first filled, and the number of corrections.
    stocks: BTreeMap<String, u64>,
    corrections: u64,
}

impl SimGates {
    /// A server without any gate.
    #[must_use]
    pub fn new(dice: Dice, trouble: Arc<Trouble>) -> Arc<Self> {
        let began = Instant::now();
        let kept = Kept { gates: BTreeMap::new(), copy: BTreeMap::new(), away_until: began, stocks: BTreeMap::new(), corrections: 0 };
        Arc::new(Self { dice, trouble, began, kept: Mutex::new(kept) })
    }

    /// Injects a random fault into the machine.
    pub fn suffer(&self) {
        let mut kept = self.kept.lock();
        let kind = if self.trouble.has_gate() { self.dice.below(6) } else { 3 };
        match kind {
            0 | 1 => kept.away_until = Instant::now() + self.dice.millis(50, 4_000),
            2 => kept.copy = kept.gates.clone(),
            3 => {
                self.trouble.saw(Rare::GateLost);
                kept.gates.clear();
            }
            4 => {
                self.trouble.saw(Rare::GateRestored);
                kept.gates = kept.copy.clone();
            }
            _ => {
                self.trouble.saw(Rare::GateForeign);
                for (campaign, gate) in &mut kept.gates {
                    *gate = foreign(campaign, self.dice.below(1_000));
                }
            }
        }
    }

    /// Makes the machine reachable again, with whatever data it still has.
    pub fn heal(&self) {
        self.kept.lock().away_until = Instant::now();
    }

    /// Whether the gate would answer "sold out".
    #[must_use]
    pub fn says_sold_out(&self, key: &GateKey) -> bool {
        let mut gate = self.kept.lock().gates.get(&key.name).cloned();
        let (known, settled) = (GateVersion::default(), Settled::default());
        let enter = Enter { key: key.clone(), node: NodeId(0), known, settled, marks: vec![None] };
        matches!(Gate::enter(gate.as_mut(), &enter, 0), Entered::Verdicts(_, verdicts) if verdicts == [GateVerdict::SoldOut])
    }

    fn now_ms(&self) -> u64 {
        super::broker::EPOCH_MS + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }

    async fn call<T>(&self, campaign: &str, effect: impl FnOnce(&mut Option<Gate>, u64) -> T) -> Result<T, Away> {
        sleep(self.dice.millis(0, 2)).await;
        let is_away = Instant::now() < self.kept.lock().away_until;
        if is_away || (self.trouble.has_gate() && self.dice.one_in(80)) {
            self.trouble.saw(Rare::GateAway);
            let wait = self.dice.pick(&[0, 5, 1_000]);
            sleep(self.dice.millis(0, wait)).await;
            return Err(Away("nobody answers".to_owned()));
        }
        let value = {
            let mut kept = self.kept.lock();
            let mut gate = kept.gates.remove(campaign);
            let value = effect(&mut gate, self.now_ms());
            if let Some(gate) = gate {
                kept.gates.insert(campaign.to_owned(), gate);
            }
            value
        };
        sleep(self.dice.millis(0, 2)).await;
        if self.trouble.has_gate() && self.dice.one_in(80) {
            self.trouble.saw(Rare::GateAnswerLost);
            return Err(Away("the answer was lost".to_owned()));
        }
        Ok(value)
    }

    fn planted(&self, correct: &Correct, is_empty: bool) -> Correct {
        match self.trouble.plant() {
            Some(Plant::FlightsIgnored) => {
                let mut kept = self.kept.lock();
                kept.corrections += 1;
                Correct { base: (1 << 40) + kept.corrections, flight: 0, ..correct.clone() }
            }
            Some(Plant::GateFilledWithStock) if is_empty => {
                let mut kept = self.kept.lock();
                let stock = kept.stocks.entry(correct.key.name.clone()).or_insert(correct.remaining);
                Correct { remaining: *stock, flight: 0, ..correct.clone() }
            }
            _ => correct.clone(),
        }
    }
}

/// The gate that another log's nodes have left behind.
fn foreign(campaign: &str, remaining: u64) -> Gate {
    let key = GateKey { log: LogId([99; 16]), partition: 0, kind: Kind::Campaign, name: campaign.to_owned() };
    let (node, known) = (NodeId(0), GateVersion::default());
    let mut gate = None;
    Gate::correct(&mut gate, &Correct { key, node, known, base: 1, remaining, flight: 0, sets: 1 }, 0);
    gate.unwrap_or_else(|| unreachable!("a correction fills an empty gate"))
}

impl GateServer for SimGates {
    async fn enter(&self, enter: &Enter) -> Result<Entered, Away> {
        let entered = self.call(&enter.key.name, |gate, now| Gate::enter(gate.as_mut(), enter, now)).await?;
        match &entered {
            Entered::Unfilled => self.trouble.saw(Rare::GateUnfilled),
            Entered::Verdicts(_, verdicts) => verdicts.iter().for_each(|verdict| {
                self.trouble.saw(match verdict {
                    GateVerdict::Passed => Rare::GatePassed,
                    GateVerdict::SoldOut => Rare::GateSoldOut,
                    GateVerdict::Marked => Rare::GateMarked,
                });
            }),
        }
        Ok(entered)
    }

    async fn correct(&self, correct: &Correct) -> Result<Corrected, Away> {
        let is_empty = !self.kept.lock().gates.contains_key(&correct.key.name);
        let planted = self.planted(correct, is_empty);
        let corrected = self.call(&correct.key.name, |gate, now| Gate::correct(gate, &planted, now)).await?;
        match &corrected {
            Corrected::Filled(_) => self.trouble.saw(Rare::GateFilled),
            Corrected::Ignored(_) => self.trouble.saw(Rare::GateIgnored),
            Corrected::Taken(_) => {}
        }
        Ok(corrected)
    }

    async fn unmark(&self, key: &GateKey, mark: Mark) -> Result<(), Away> {
        self.call(&key.name, |gate, _| gate.iter_mut().for_each(|gate| gate.unmark(mark))).await
    }
}
