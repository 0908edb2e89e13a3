//! One seed: people rush at nodes while faults occur; then the faults end, and every unit must be sold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cluster::protocol::limits::UNGATED_MAX;
use cluster::protocol::record::RulesVersion;
use oracle::coupon::Campaign;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::broker::Broker;
use super::counts::{Counts, Rare};
use super::dice::Dice;
use super::gates::SimGates;
use super::judge::{Broken, Judge, Kind, RULES_NEWEST};
use super::nodes::Fleet;
use super::people::{CAMPAIGNS, People};
use super::plant::Plant;
use super::trouble::{Profile, Trouble};
use crate::ask::{Answer, Said, What};
use crate::report::SeedOutcome;
use crate::run::settings;

/// The longest time until everything is sold, once the faults have ended.
const SALE: Duration = Duration::from_secs(60);
/// By then every person has an answer or has given up: four wishes, six tries each, and for each try 6 s
/// until the outcome is unknown, and 2 s until the next.
const CALM_DOWN: Duration = Duration::from_secs(200);
/// By then every late event has happened: a record may be late by 9 s and be duplicated after 12 s.
const LATE: Duration = Duration::from_secs(25);

/// The options of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The planted bug, if any.
    pub plant: Option<Plant>,
}

/// The result of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The broken promise, if any.
    pub broken: Option<Broken>,
    /// The digest over every committed record and every answer.
    pub digest: [u8; 32],
    /// The counts of rare events.
    pub counts: Counts,
    /// The claims without an effect, for each campaign.
    pub extra: [Extra; 3],
}

impl SeedOutcome for Outcome {
    type Rare = Rare;

    const WHERE: &'static str = " across machines";

    fn seed(&self) -> u64 {
        self.seed
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn story(&self) -> Option<String> {
        self.broken.as_ref().map(|Broken { kind, story }| format!("({kind:?}): {story}"))
    }
}

/// Claims of a campaign that went to the log without an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extra {
    /// The campaign's stock.
    pub stock: u32,
    /// The number of nodes.
    pub nodes: u64,
    /// Claims with an unknown outcome.
    pub unclear: u64,
    /// The number of such claims.
    pub count: u64,
}

impl Extra {
    /// The largest allowed number. Without faults, at most 5 in 100 of the stock. A claim that its node or
    /// its caller gave up on may be decided after its unit went to another subject. With faults, also while a
    /// lost gate is being filled, each node appends a few claims at a time without the gate's permission, and
    /// again when units come back. A gate that other nodes fill, or that is set back by less than a second,
    /// admits again what is in flight: at most the stock.
    #[must_use]
    pub fn max(&self, profile: Profile) -> u64 {
        let (calm, ungated) = (u64::from(self.stock).div_ceil(20), UNGATED_MAX as u64 * self.nodes);
        let mut max = calm;
        if profile.has_broker || profile.has_gate || profile.has_losses {
            max += ungated + self.unclear;
        }
        if profile.has_changes {
            max += ungated;
        }
        if profile.has_gate {
            max += u64::from(self.stock);
        }
        max
    }
}

/// Runs one seed. The same seed and options give the same outcome.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.map(|runtime| runtime.block_on(async { Box::pin(play(seed, options)).await }))
    }));
    match played {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(seed, error.to_string()),
        Err(_) => failed(seed, "it panicked".to_owned()),
    }
}

fn failed(seed: u64, story: String) -> Outcome {
    let broken = Some(Broken { kind: Kind::Exactness, story });
    Outcome { seed, broken, digest: [0; 32], counts: Counts::default(), extra: [Extra::default(); 3] }
}

struct Play {
    dice: Dice,
    trouble: Arc<Trouble>,
    judge: Arc<Mutex<Judge>>,
    broker: Arc<Broker>,
    gates: Arc<SimGates>,
    fleet: Arc<Fleet>,
    people: Arc<People>,
    stocks: [u32; 3],
}

async fn play(seed: u64, options: &Options) -> Outcome {
    let play = Play::new(seed, options);
    if let Err(story) = play.all().await {
        play.judge.lock().break_promise(Kind::Liveness, story);
    }
    let mut judge = play.judge.lock();
    judge.finish();
    let extra = [0, 1, 2].map(|place| Extra {
        stock: play.stocks[place],
        nodes: play.fleet.len() as u64,
        unclear: judge.unclear_of(CAMPAIGNS[place]),
        count: judge.extra_of(CAMPAIGNS[place]),
    });
    for (extra, campaign) in extra.iter().zip(CAMPAIGNS) {
        let max = extra.max(play.trouble.profile());
        if max < extra.count {
            let story = format!("{} claims of {campaign} went to the log for nothing, and {max} may: {extra:?}", extra.count);
            judge.break_promise(Kind::ExtraRecords, story);
        }
    }
    Outcome { seed, broken: judge.broken(), digest: judge.digest(), counts: play.trouble.counts(), extra }
}

/// A quarter of all seeds has no faults, a quarter a bad broker, a quarter a bad gate, a quarter both and more.
fn profile(seed: u64) -> Profile {
    let has_losses = seed % 8 == 2;
    let (has_broker, has_gate) = (seed % 4 == 1 || seed % 4 == 3, 2 <= seed % 4 && !has_losses);
    let (has_more, way_ms) = (seed % 4 == 3, if seed % 16 < 8 { 5 } else { 900 });
    Profile {
        has_broker,
        has_gate,
        has_losses,
        has_nodes: has_broker,
        has_leaving: has_more,
        way_ms,
        has_changes: has_more || seed % 8 == 5,
    }
}

impl Play {
    fn new(seed: u64, options: &Options) -> Self {
        let dice = Dice::new(seed, 0);
        let partitions = 1 + u32::try_from(dice.below(3)).unwrap_or(0);
        let trouble = Arc::new(Trouble::new(profile(seed), options.plant));
        let judge = Arc::new(Mutex::new(Judge::new(partitions, Arc::clone(&trouble))));
        let broker = Broker::new(Dice::new(seed, 1), partitions, Arc::clone(&trouble), Arc::clone(&judge));
        let gates = SimGates::new(Dice::new(seed, 2), Arc::clone(&trouble));
        let nodes_count = if profile(seed).has_losses { 1 } else { 1 + dice.below(4) };
        let rules: Vec<RulesVersion> = (0..nodes_count).map(|_| dice.pick(&[RulesVersion(1), RULES_NEWEST])).collect();
        let fleet = Fleet::new(Dice::new(seed, 3), &trouble, &judge, &broker, &gates, &rules);
        let people = Arc::new(People {
            dice: Dice::new(seed, 4),
            fleet: Arc::clone(&fleet),
            gates: Arc::clone(&gates),
            judge: Arc::clone(&judge),
            trouble: Arc::clone(&trouble),
            asked: AtomicU64::new(0),
        });
        let most = if dice.one_in(6) { 300 + dice.below(300) } else { 20 + dice.below(130) };
        let stocks = [most, 10 + dice.below(50), 10 + dice.below(50)].map(|stock| u32::try_from(stock).unwrap_or(1));
        Self { dice, trouble, judge, broker, gates, fleet, people, stocks }
    }

    async fn all(&self) -> Result<(), String> {
        self.fleet.begin_log().await;
        (0..self.fleet.len()).for_each(|place| self.fleet.start(place));
        for (place, campaign) in CAMPAIGNS.iter().enumerate() {
            let settings = self.people.first_settings(place, self.stocks[place]);
            self.people.put_for_sure(campaign, settings, Duration::from_secs(60)).await?;
        }
        let mut rush = self.rush();
        let (people, stocks) = (Arc::clone(&self.people), self.stocks);
        rush.spawn(async move { people.operate(stocks).await });
        let people = Arc::clone(&self.people);
        rush.spawn(async move { people.administer().await });
        let until = Instant::now() + self.dice.millis(3_000, 12_000);
        self.suffer(until).await;
        self.heal().await;
        let calmed = timeout(CALM_DOWN, async { while rush.join_next().await.is_some_and(|ended| ended.is_ok()) {} }).await;
        if calmed.is_err() {
            return Err("people wait for an answer still, long after everything works again".to_owned());
        }
        if !rush.is_empty() {
            return Err("somebody panicked".to_owned());
        }
        sleep(LATE).await;
        self.sell_all().await
    }

    /// Starts all people, most of them at once.
    fn rush(&self) -> JoinSet<()> {
        let mut rush = JoinSet::new();
        for (place, campaign) in CAMPAIGNS.iter().enumerate() {
            let persons = u64::from(self.stocks[place]) * self.dice.pick(&[1, 2, 3]);
            let within = self.dice.pick(&[20, 200, 3_000]);
            for number in 0..persons {
                let (people, campaign, wait) = (Arc::clone(&self.people), *campaign, self.dice.millis(0, within));
                rush.spawn(async move {
                    sleep(wait).await;
                    people.person(campaign, number).await;
                });
            }
        }
        let (people, dice) = (Arc::clone(&self.people), self.dice.clone());
        rush.spawn(async move {
            for _ in 0..30 {
                sleep(dice.millis(1, 400)).await;
                people.look(dice.pick(&CAMPAIGNS)).await;
            }
        });
        rush
    }

    /// Injects faults, one after the other.
    async fn suffer(&self, until: Instant) {
        let switches = self.dice.one_in(3);
        let mut switch_at = until - self.dice.millis(1_000, 3_000);
        while Instant::now() < until {
            sleep(self.dice.millis(10, 500)).await;
            if self.trouble.has_broker() && self.dice.one_in(4) {
                self.broker.change_leader(u32::try_from(self.dice.below(self.broker.partitions_count().into())).unwrap_or(0));
            }
            if self.trouble.has_gate() || (self.trouble.profile().has_losses && self.dice.one_in(2)) {
                self.gates.suffer();
            }
            if self.trouble.has_nodes() {
                self.disturb_node();
            }
            if self.dice.one_in(5) {
                self.fleet.keep_snapshot();
            }
            if switches && switch_at <= Instant::now() {
                switch_at = until + Duration::from_secs(1);
                let found = self.fleet.find(self.dice.index(self.fleet.len()));
                // If the log has no capacity for it, another run will succeed.
                let _ = found.map(|found| found.node.switch_rules(RULES_NEWEST));
            }
        }
    }

    fn disturb_node(&self) {
        let place = self.dice.index(self.fleet.len());
        match self.dice.below(10) {
            0 => self.fleet.kill(place),
            1 | 2 => self.fleet.start(place),
            3 => self.fleet.set_cut(place, true),
            4 | 5 => self.fleet.set_cut(place, false),
            6 => self.fleet.set_lag(place, 2_000),
            7 | 8 => self.fleet.set_lag(place, 3),
            _ => {}
        }
    }

    /// Ends all faults.
    async fn heal(&self) {
        self.trouble.end();
        self.gates.heal();
        for place in 0..self.fleet.len() {
            self.fleet.set_cut(place, false);
            self.fleet.set_lag(place, 3);
        }
        for _ in 0..10 {
            sleep(Duration::from_millis(500)).await;
            self.fleet.install_newest();
            (0..self.fleet.len()).for_each(|place| self.fleet.start(place));
        }
    }

    /// People keep asking until nothing is left; then every node must answer "sold out".
    async fn sell_all(&self) -> Result<(), String> {
        for (place, campaign) in CAMPAIGNS.iter().enumerate() {
            self.drain(campaign).await?;
            let taken = self.judge.lock().campaign(campaign).map_or(0, Campaign::taken);
            let open = settings(self.stocks[place].max(taken), if *campaign == "summer" { 3 } else { 1 });
            self.people.put_for_sure(campaign, open, SALE).await?;
            timeout(SALE, self.sell(campaign)).await.map_err(|_| format!("units of {campaign} stayed unsold though people asked"))?;
            self.check_sold_out(campaign).await?;
        }
        Ok(())
    }

    /// With no more requests, every queued claim must be decided, whichever nodes are left.
    async fn drain(&self, campaign: &'static str) -> Result<(), String> {
        let pending = || self.judge.lock().campaign(campaign).map_or(0, Campaign::pending);
        if pending() == 0 {
            return Ok(());
        }
        // Until the new leader's clock has caught up with the old one's, the log's time stands
        // still, and so does the queue.
        let (partition, _) = self.judge.lock().place_of(campaign);
        let time = self.judge.lock().places_of(campaign).last().time.millis();
        sleep(Duration::from_millis(time.saturating_sub(self.broker.clock_ms(partition)))).await;
        // A slow network adds its delay between two decisions.
        let at_most = Duration::from_millis(20_000 + 1_500 * u64::from(pending()));
        let drained = timeout(at_most, async {
            while pending() != 0 {
                sleep(Duration::from_millis(100)).await;
            }
        });
        drained.await.map_err(|_| format!("{} claims of {campaign} stayed in the queue for {at_most:?}", pending()))
    }

    async fn sell(&self, campaign: &'static str) {
        let mut number = 1_000_000;
        loop {
            let mut asking = JoinSet::new();
            for _ in 0..20 {
                number += 1;
                let (people, key) = (Arc::clone(&self.people), (campaign == "summer").then(|| format!("sale-{number}")));
                let what = What::Claim(format!("buyer-{number}"));
                asking.spawn(async move { people.ask(None, campaign, key, what).await });
            }
            let said: Vec<_> = asking.join_all().await.into_iter().flatten().map(|said| said.answer).collect();
            let is_over = said.contains(&Answer::No("sold_out")) || said.contains(&Answer::NotTaken("claims"));
            if is_over || self.judge.lock().broken().is_some() {
                return self.trouble.saw(Rare::LastUnitClaimed);
            }
            sleep(self.dice.millis(10, 100)).await;
        }
    }

    async fn check_sold_out(&self, campaign: &'static str) -> Result<(), String> {
        for place in 0..self.fleet.len() {
            let key = (campaign == "summer").then(|| format!("late-{place}"));
            let said = self.people.ask(Some(place), campaign, key, What::Claim(format!("late-{place}"))).await;
            match said {
                None | Some(Said { answer: Answer::No("sold_out"), .. }) => {}
                Some(Said { answer: Answer::NotTaken("claims"), .. }) => {}
                Some(said) => return Err(format!("everything works, and node {place} says {said:?} of {campaign}, which is sold out")),
            }
        }
        let has_room = 1_000 < self.fleet.claims_max();
        let judge = self.judge.lock();
        let left = judge.campaign(campaign).map(|known| known.remaining()).filter(|left| *left != 0);
        match left {
            Some(left) if has_room && judge.broken().is_none() => Err(format!("{left} units of {campaign} stayed unsold")),
            Some(_) | None => Ok(()),
        }
    }
}
