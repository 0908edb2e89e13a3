//! The clients: people who want a unit and ask until they know the outcome, operators who change
//! settings, and readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::protocol::gate::GateKey;
use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{self, ClaimView, Coupon, Outcome, Settings, TargetBy};
use domain::rejections::Coded;
use domain::state::Precondition;
use domain::types::{Name, Quantity, RequestId, Serial, SubjectId};
use domain::workload::{AnyOutcome, AnyView};
use domain::{Kind, Number, Rejection};
use engine::views::{Done, Effect, Refusal, Shown};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::broker::EPOCH_MS;
use super::counts::Rare;
use super::dice::Dice;
use super::gates::SimGates;
use super::judge::Judge;
use super::nodes::{Fleet, Found, LOG};
use super::plant::Plant;
use super::trouble::Trouble;
use crate::ask::{Answer, Ask, By, Said, Verb, What};
use crate::asks;
use crate::run::settings;
use crate::world::time;

/// The campaigns: one unit for each subject; several units, with request keys; with a time window.
pub const CAMPAIGNS: [&str; 3] = ["spring", "summer", "autumn"];

/// All clients.
#[derive(Debug)]
pub struct People {
    /// Random numbers.
    pub dice: Dice,
    /// The servers that they ask.
    pub fleet: Arc<Fleet>,
    /// The gates, for plants.
    pub gates: Arc<SimGates>,
    /// Checks the answers.
    pub judge: Arc<Mutex<Judge>>,
    /// The faults of the run.
    pub trouble: Arc<Trouble>,
    /// The number of requests so far.
    pub asked: AtomicU64,
}

impl People {
    /// Asks the process in a slot, or any; `None` if it is down, or the client disconnects before the answer.
    pub async fn ask(&self, place: Option<usize>, campaign: &'static str, key: Option<String>, what: What) -> Option<Said> {
        let found = self.find(place)?;
        let id = format!("r{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let ask = Ask { id, name: campaign, key, what };
        self.judge.lock().register(&ask);
        let answer = if self.trouble.profile().has_leaving && self.dice.one_in(15) {
            timeout(self.dice.millis(0, 60), Box::pin(self.submit(found, &ask))).await
        } else {
            Ok(Box::pin(self.submit(found, &ask)).await)
        };
        match answer {
            Ok(answer) => {
                self.judge.lock().tell(&ask.id, &answer);
                Some(Said::of(&answer, false))
            }
            Err(_) => {
                self.judge.lock().gone(&ask.id);
                None
            }
        }
    }

    fn find(&self, place: Option<usize>) -> Option<Found> {
        self.fleet.find(place.unwrap_or_else(|| self.dice.index(self.fleet.len())))
    }

    async fn submit(&self, found: Found, ask: &Ask) -> Result<Done, Refusal> {
        if let Some(answer) = self.planted(&found, ask) {
            return answer;
        }
        let mut answer = self.submit_once(&found, ask).await;
        if self.trouble.plant() == Some(Plant::PlaceToldAsClaim)
            && let Ok(Done { effect: Effect::Did(Shown { outcome, view: Some(AnyView::Campaign(view)), .. }), .. }) = &mut answer
            && matches!(outcome, AnyOutcome::Campaign(Outcome::Claimed { .. }))
        {
            view.status = ClaimStatus::Live;
        }
        if self.trouble.plant() == Some(Plant::AppendedAgain) && answer == Err(Refusal::Unknown) {
            answer = self.submit_once(&found, ask).await;
        }
        answer
    }

    async fn submit_once(&self, found: &Found, ask: &Ask) -> Result<Done, Refusal> {
        let (Some(command), Ok(id)) = (ask.command(), RequestId::new(&ask.id)) else { return Err(Refusal::Busy) };
        tokio::select! {
            biased;
            () = found.is_killed.wait_for(|is_killed| is_killed) => Err(Refusal::Unknown),
            answer = Box::pin(found.node.submit(&command, id)) => answer,
        }
    }

    /// The answer of a plant that does not ask the node.
    fn planted(&self, found: &Found, ask: &Ask) -> Option<Result<Done, Refusal>> {
        let What::Claim(subject) = &ask.what else { return None };
        let (partition, _) = self.judge.lock().place_of(ask.name);
        match self.trouble.plant()? {
            Plant::GateBelieved => {
                let key = GateKey { log: LOG, partition, kind: Kind::Campaign, name: ask.name.to_owned() };
                let sold_out = Refusal::Rejected(Rejection::of::<Coupon>(coupon::Rejection::SoldOut));
                self.gates.says_sold_out(&key).then_some(Err(sold_out))
            }
            Plant::ToldBeforeItCameBy => {
                let place = found.node.progress()[partition as usize].offset_next;
                let said = self.judge.lock().places_of(ask.name).answer(ask, place);
                let Answer::Claim { verb, serial, claimed_at, .. } = said.answer else { return None };
                let serial = Serial::new(serial)?;
                let view = ClaimView {
                    campaign: ask.name.into(),
                    code_key: 1,
                    subject: subject.clone(),
                    serial,
                    claimed_at: time(claimed_at),
                    status: if verb == Verb::Accepted { ClaimStatus::Pending } else { ClaimStatus::Live },
                    mode: Mode::Direct,
                    waiting: None,
                };
                let (outcome, view) = (AnyOutcome::Campaign(Outcome::Claimed { serial }), Some(AnyView::Campaign(view)));
                let effect = Effect::Did(Shown { number: Number(0), outcome, view });
                said.has_effect.then_some(Ok(Done { effect, novelty: domain::Novelty::Fresh }))
            }
            _ => None,
        }
    }

    /// One person, who asks until the outcome is known or the patience is exhausted.
    pub async fn person(&self, campaign: &'static str, number: u64) {
        let subject = format!("user-{number}");
        let wishes = if campaign == "summer" { 1 + self.dice.below(4) } else { 1 };
        for wish in 0..wishes {
            // Sometimes a key that another person uses as well.
            let name = if self.dice.one_in(12) { format!("key-{}", self.dice.below(4)) } else { format!("key-{number}-{wish}") };
            let key = (campaign == "summer" || self.dice.one_in(5)).then_some(name);
            let Some(Said { answer: Answer::Claim { .. }, .. }) = self.want(campaign, key, &subject).await else { continue };
            self.afterwards(campaign, &subject).await;
        }
    }

    async fn want(&self, campaign: &'static str, key: Option<String>, subject: &str) -> Option<Said> {
        for _ in 0..6 {
            let said = self.ask(None, campaign, key.clone(), What::Claim(subject.to_owned())).await;
            match said.as_ref().map(|said| &said.answer) {
                Some(Answer::Claim { .. }) => return said,
                Some(Answer::No("not_open" | "paused")) => sleep(self.dice.millis(200, 2_000)).await,
                Some(Answer::No("sold_out")) if self.dice.one_in(3) => sleep(self.dice.millis(10, 1_000)).await,
                Some(Answer::No(_)) => return said,
                Some(_) | None => sleep(self.dice.millis(20, 1_500)).await,
            }
        }
        None
    }

    /// What a person does with a claim.
    async fn afterwards(&self, campaign: &'static str, subject: &str) {
        let by = By::Subject(subject.to_owned());
        match self.dice.below(if self.trouble.profile().has_changes { 12 } else { 4 }) {
            0 => drop(self.ask(None, campaign, None, What::Claim(subject.to_owned())).await),
            1 => self.look_for(campaign, subject).await,
            2 => drop(self.ask(None, campaign, None, What::Redeem(by)).await),
            4..=6 => {
                sleep(self.dice.millis(0, 2_000)).await;
                let key = self.dice.one_in(3).then(|| format!("cancel-{subject}"));
                for _ in 0..=self.dice.below(2) {
                    drop(self.ask(None, campaign, key.clone(), What::Cancel(by.clone())).await);
                }
                if campaign != "summer" {
                    let again = self.ask(None, campaign, None, What::Claim(subject.to_owned())).await;
                    if again.is_some_and(|said| matches!(said.answer, Answer::Claim { .. }) && !said.is_repeat) {
                        self.trouble.saw(Rare::ClaimedAgain);
                    }
                }
            }
            _ => {}
        }
    }

    /// Reads a campaign and checks the answer.
    pub async fn look(&self, campaign: &'static str) {
        let (Some(Found { node, .. }), Ok(name)) = (self.find(None), Name::new(campaign)) else { return };
        let since = self.judge.lock().place_of(campaign).1;
        let read = node.read_one(name, |state, now| state.get::<Coupon>(name).map(|campaign| campaign.summary(now))).await;
        self.judge.lock().shown(campaign, since, &read);
    }

    async fn look_for(&self, campaign: &'static str, subject: &str) {
        let (Some(Found { node, .. }), Ok(name)) = (self.find(None), Name::new(campaign)) else { return };
        let Ok(by) = SubjectId::new(subject) else { return };
        let since = self.judge.lock().place_of(campaign).1;
        let look = |state: &domain::State, now| {
            let campaign = state.get::<Coupon>(name).ok_or(Kind::Campaign.not_found())?;
            let claim = campaign.find(TargetBy::Subject { subject: by }).map_err(|rejection| rejection.code())?;
            campaign.claim_view(claim.serial, now).ok_or("claim_not_found")
        };
        let read = node.read_one(name, look).await;
        self.judge.lock().shown_claim((campaign, subject), since, &read);
    }

    /// Writes settings until that succeeds, for at most this long.
    pub async fn put_for_sure(&self, campaign: &'static str, settings: Settings, at_most: Duration) -> Result<(), String> {
        let put = || What::Put(settings, Precondition::Always);
        let putting = async {
            while !matches!(self.ask(None, campaign, None, put()).await, Some(Said { answer: Answer::Campaign { .. }, .. })) {
                sleep(self.dice.millis(50, 300)).await;
            }
        };
        timeout(at_most, putting).await.map_err(|_| format!("the settings of {campaign} could not be written in {at_most:?}"))
    }

    /// An operator who changes settings from time to time, while faults occur.
    pub async fn operate(&self, stocks: [u32; 3]) {
        while self.trouble.profile().has_changes && !self.trouble.has_ended() {
            sleep(self.dice.millis(100, 2_500)).await;
            let place = self.dice.index(CAMPAIGNS.len());
            let stock = Quantity::new(stocks[place].saturating_sub(3) + u32::try_from(self.dice.below(10)).unwrap_or(0));
            let what = match self.dice.below(6) {
                0 | 1 => What::Patch(stock, None),
                2 => What::Patch(None, Some(true)),
                3 | 4 => What::Patch(None, Some(false)),
                _ => {
                    What::Put(self.first_settings(place, stocks[place]), self.dice.pick(&[Precondition::Always, Precondition::Version(3)]))
                }
            };
            drop(self.ask(None, CAMPAIGNS[place], None, what).await);
        }
    }

    /// Operators who change policies and keys from time to time, while faults occur.
    pub async fn administer(&self) {
        while !self.trouble.has_ended() {
            sleep(self.dice.millis(20, 1_000)).await;
            let (name, what) = asks::any(|limit| self.dice.below(limit));
            let key = self.dice.one_in(3).then(|| format!("key-{}", self.dice.below(30)));
            for _ in 0..=self.dice.below(2) {
                drop(self.ask(None, name, key.clone(), what.clone()).await);
            }
        }
    }

    /// A campaign's settings at the start.
    #[must_use]
    pub fn first_settings(&self, place: usize, stock: u32) -> Settings {
        let mut some = settings(stock.max(1), if CAMPAIGNS[place] == "summer" { 3 } else { 1 });
        if self.dice.one_in(3) {
            some.mode = Mode::Queued;
            some.decisions_per_second_max = Some(self.dice.pick(&[5, 40, 300]));
            some.queue_max = self.dice.pick(&[10, 1_000_000]);
        }
        if CAMPAIGNS[place] == "autumn" && self.trouble.profile().has_changes {
            some.opens_at = Some(time(EPOCH_MS + self.dice.below(4_000)));
            some.closes_at = Some(time(EPOCH_MS + 5_000 + self.dice.below(60_000)));
        }
        some
    }
}
