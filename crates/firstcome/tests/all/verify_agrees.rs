//! What the rules decide is what the verification expects: random runs, a journal that grows
//! meanwhile, and by hand the figure for a million claims.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use domain::coupon::{self, Coupon, Settings, TargetBy};
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed};
use domain::state::{Action, Command, Decision, Precondition, Record, State};
use domain::types::{ActorId, Name, RequestId, RequestKey, Serial, SubjectId};
use domain::workload::AnySettings;
use firstcome::verify;
use support::{Data, at, claimed, created, kinds, record, settings};

/// Numbers that look random, the same ones for a seed (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn name<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[usize::try_from(self.roll(names.len() as u64)).unwrap()]
    }

    fn settings(&mut self, now: u64) -> Settings {
        let mut settings = settings(u32::try_from(1 + self.roll(40)).unwrap());
        settings.per_subject_max = u32::try_from(1 + self.roll(3)).unwrap();
        settings.opens_at = (self.roll(4) == 0).then(|| at(now + 50));
        settings.closes_at = (self.roll(4) == 0).then(|| at(now + 5_000_000));
        settings.redeem_until = (self.roll(4) == 0).then(|| at(now + 1_000_000));
        settings.paused = self.roll(10) == 0;
        settings
    }

    fn action(&mut self, now: u64) -> Action<'static> {
        let name = Name::new(self.name(&["spring", "summer"])).unwrap();
        let by = TargetBy::Code { serial: Serial::new(u32::try_from(1 + self.roll(60)).unwrap()).unwrap() };
        let subjects = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "jan", "kim", "leo"];
        let command = match self.roll(10) {
            0 => {
                let settings = AnySettings::Campaign(Settings { code_key: 1, ..self.settings(now) });
                return Action::Put { name, settings, precondition: Precondition::Always };
            }
            1 | 2 => coupon::Command::Redeem { by },
            3 | 4 => coupon::Command::Cancel { by },
            _ => coupon::Command::Claim { subject: SubjectId::new(self.name(&subjects)).unwrap() },
        };
        Action::of::<Coupon>(name, command)
    }
}

/// Asks at random, and writes what was decided; returns how many records that are.
fn random_run(seed: u64, data: &mut Data) -> u64 {
    let (mut dice, mut state, mut now) = (Dice(seed), State::new(HashSeed(1, 2)), 0);
    let keys: Vec<String> = (0..40).map(|key| format!("k-{key}")).collect();
    for _ in 0..400 {
        now += dice.roll(2_000_000);
        let key = RequestKey::new(&keys[usize::try_from(dice.roll(40)).unwrap()]).unwrap();
        let request = (dice.roll(3) < 2).then_some(Keyed { key, fingerprint: Fingerprint([1; 16]) });
        let asked = dice.action(now);
        for action in [Action::ForgetRequests, asked] {
            let command = Command { actor: ActorId::LOCAL, request: request.filter(|_| action == asked), action };
            let Ok(Decision::Change(change)) = domain::decide(&state, &command, at(now)) else { continue };
            let record = Record { at: at(now), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: command.request, change };
            state.evolve(&record);
            data.append(&[record]);
        }
    }
    data.last()
}

#[test]
fn whatever_the_rules_decide_keeps_every_promise() {
    for seed in 0..20 {
        let mut data = Data::new();
        let count = random_run(seed, &mut data);
        data.project(count - seed % 7);
        let verdict = data.verify();
        assert!(verdict.is_good(), "seed {seed}: {}", verdict.to_text());
        assert!(60 < count, "seed {seed}: the run decides only {count} records");
        assert_eq!(verdict.history_position, Some(count - seed % 7));
    }
}

#[test]
fn a_journal_that_grows_meanwhile_is_no_broken_promise() {
    let mut data = Data::new();
    data.append(&[record(1, created(0, "spring", settings(1_000_000)))]);
    let folder = data.folder.path().to_owned();
    let (is_done, written) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut serial = 0;
            while !is_done.load(Ordering::Relaxed) {
                serial += 1;
                let subject = format!("user-{serial:0>100}");
                data.append(&[record(2, claimed(0, serial, &subject))]);
                written.store(serial, Ordering::Relaxed);
            }
        });
        let mut runs = 0;
        while runs < 60 || written.load(Ordering::Relaxed) <= 100 {
            runs += 1;
            let verdict = verify::run(&folder).unwrap();
            assert_eq!(kinds(&verdict), Vec::<&str>::new(), "{}", verdict.to_text());
        }
        is_done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert!(data.verify().is_good());
}

#[test]
#[ignore = "a measurement"]
fn one_million_claims() {
    const CLAIMS: u32 = 1_000_000;
    let mut data = Data::new();
    data.append(&[record(1, created(0, "spring", settings(CLAIMS)))]);
    let subjects: Vec<String> = (0..CLAIMS).map(|user| format!("user-{:08x}", user.wrapping_mul(2_654_435_761))).collect();
    let claims: Vec<_> = subjects.iter().zip(1..).map(|(subject, serial)| record(2, claimed(0, serial, subject))).collect();
    claims.chunks(500).for_each(|batch| data.append(batch));
    for what in ["without a history", "with one"] {
        let start = Instant::now();
        let verdict = data.verify();
        let seconds = start.elapsed().as_secs_f64();
        assert!(verdict.is_good());
        println!("{what}: {} records in {seconds:.2} s, {:.0}/s", verdict.counts.records, f64::from(CLAIMS) / seconds);
        data.project(u64::from(CLAIMS) + 1);
    }
}
