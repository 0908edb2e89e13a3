//! One seed: several lives of a process, each ended by a fault, a kill or a power loss. At the end every
//! client with a successful answer asks again.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::coupon::Settings;
use domain::types::Quantity;

use crate::ask::{Ask, Question};
use crate::checker::Told;
use crate::clients;
use crate::counts::{Counts, Rare};
use crate::disk::{Fault, Survival};
use crate::plant::Plant;
use crate::recovery::Trouble;
use crate::report::SeedOutcome;
use crate::rng::Rng;
use crate::world::{End, World};

/// The options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of the process's lives.
    pub lives_count: u64,
    /// The most steps in one life.
    pub steps_max: u64,
    /// The planted bug, if any.
    pub plant: Option<Plant>,
}

impl Default for Options {
    fn default() -> Self {
        Self { lives_count: 8, steps_max: 90, plant: None }
    }
}

/// The result of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The broken promise, if any.
    pub broken: Option<Broken>,
    /// The digest over every byte written to the disk and every answer.
    pub digest: [u8; 32],
    /// The counts of rare events.
    pub counts: Counts,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The step in which it was broken.
    pub step: u64,
    /// A description.
    pub story: String,
}

impl SeedOutcome for Outcome {
    type Rare = Rare;

    const WHERE: &'static str = "";

    fn seed(&self) -> u64 {
        self.seed
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn story(&self) -> Option<String> {
        self.broken.as_ref().map(|Broken { step, story }| format!("in step {step}: {story}"))
    }
}

/// Runs one seed. The same seed and options give the same outcome, to the byte.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut play = Play { world: World::new(options.plant, seed), chance: Rng::new(seed, 1), step: 0 };
        let broken = play.all(options).err().map(|story| Broken { step: play.step, story });
        Outcome { seed, broken, digest: play.world.disk.digest(), counts: play.world.counts }
    }));
    played.unwrap_or_else(|_| {
        let broken = Some(Broken { step: 0, story: "it panicked".to_owned() });
        Outcome { seed, broken, digest: [0; 32], counts: Counts::default() }
    })
}

/// How long a request key is remembered.
const DAY_MS: u64 = 86_400_000;

struct Play {
    world: World,
    chance: Rng,
    step: u64,
}

impl Play {
    fn all(&mut self, options: &Options) -> Result<(), String> {
        self.start()?;
        for _ in 0..options.lives_count {
            match self.live(options.steps_max) {
                Err(End::Broken(story)) => return Err(story),
                Ok(()) | Err(End::Died) => {}
            }
            self.end_life()?;
            self.start()?;
        }
        self.world.disk.clear_plan();
        self.world.disk.set_full(false);
        match self.ask_again() {
            Err(End::Broken(story)) => return Err(story),
            Err(End::Died) => return Err("the process died though nothing went wrong".to_owned()),
            Ok(()) => {}
        }
        self.world.power_cycle(Survival::Nothing);
        self.world.start(&[])
    }

    fn live(&mut self, steps_max: u64) -> Result<(), End> {
        let steps_count = 1 + self.chance.below(steps_max);
        if !self.chance.one_in(4) {
            self.plan_fault();
        }
        for _ in 0..steps_count {
            self.step += 1;
            self.one_step()?;
        }
        Ok(())
    }

    fn plan_fault(&mut self) {
        let after = self.chance.below(90);
        let fault = self.any_fault();
        self.world.disk.plan(after, fault);
    }

    fn any_fault(&mut self) -> Fault {
        match self.chance.below(10) {
            0..=4 => Fault::PowerLoss,
            5 | 6 => Fault::Error(ErrorKind::Other),
            7 => Fault::Error(ErrorKind::StorageFull),
            _ => Fault::ShortWrite,
        }
    }

    fn one_step(&mut self) -> Result<(), End> {
        match self.chance.below(100) {
            0..=39 => self.submit_some(),
            40..=49 => {
                let question = clients::read(&mut self.chance);
                self.world.read(question)
            }
            50..=73 => self.world.commit(),
            74..=79 => self.move_clock(),
            80..=86 => self.world.prepare(),
            87..=89 => self.world.freeze(),
            90..=93 => self.world.write_snapshot(),
            94..=95 => self.world.follow(),
            96 => self.world.tick(),
            97 => {
                self.plan_fault();
                Ok(())
            }
            _ => {
                let is_full = !self.world.disk.is_full() && self.chance.one_in(2);
                self.world.disk.set_full(is_full);
                Ok(())
            }
        }
    }

    fn submit_some(&mut self) -> Result<(), End> {
        let most = self.chance.pick(&[2, 4, 40]);
        for _ in 0..=self.chance.below(most) {
            let ask = clients::ask(&mut self.world, &mut self.chance);
            self.world.submit(ask)?;
        }
        Ok(())
    }

    fn move_clock(&mut self) -> Result<(), End> {
        let wall = self.world.wall;
        self.world.wall = match self.chance.below(12) {
            0..=2 => {
                self.world.counts.saw(Rare::ClockWentBack);
                wall.saturating_sub(self.chance.below(50_000)).max(1)
            }
            3 => wall + 86_000_000 + self.chance.below(1_000_000),
            _ => wall + self.chance.below(20_000),
        };
        self.world.tick()
    }

    /// Ends the process, however its life went.
    fn end_life(&mut self) -> Result<(), String> {
        self.world.disk.clear_plan();
        let _ = self.world.die();
        let survival = self.survival();
        if self.world.disk.is_off() || self.chance.one_in(2) {
            self.world.power_cycle(survival);
            match self.chance.below(6) {
                0 => self.world.rot_journal(self.chance.number())?,
                1 => self.world.rot_snapshot(self.chance.number())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn survival(&mut self) -> Survival {
        match self.chance.below(8) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Mixed(self.chance.number()),
        }
    }

    fn start(&mut self) -> Result<(), String> {
        let mut troubles = Vec::new();
        while troubles.len() < 5 && self.chance.one_in(2) {
            let (after, fault) = (self.chance.below(30), self.any_fault());
            troubles.push(Trouble { after, fault, survival: self.survival() });
        }
        self.world.start(&troubles)
    }

    /// Every client with a successful answer asks again, and must get the same answer if the key
    /// is still remembered.
    fn ask_again(&mut self) -> Result<(), End> {
        let yeses: Vec<Told> = self.world.checker.yeses().to_vec();
        for told in &yeses {
            let Question::Ask(ask) = &told.question else { continue };
            let id = self.world.next_id();
            let said = self.world.submit(Ask { id, ..ask.clone() })?;
            let is_kept = ask.key.is_some() && self.world.now()? < told.wall + DAY_MS;
            if is_kept && !(said.is_repeat && said.answer.follows(&told.said.answer)) {
                return Err(End::Broken(format!("{ask:?} was told {:?} and later {:?}", told.said.answer, said.answer)));
            }
            self.world.commit()?;
            self.world.prepare()?;
        }
        Ok(())
    }
}

/// Settings with this stock and limit, open at all times.
#[must_use]
pub fn settings(stock: u32, per_subject_max: u32) -> Settings {
    Settings { per_subject_max, ..Settings::plain(Quantity::new(stock).unwrap_or(Quantity::ONE)) }
}
