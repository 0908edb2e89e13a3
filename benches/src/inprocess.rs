//! Decisions without HTTP: in memory, durable, replayed; and their memory use.

use std::path::Path;

use domain::coupon::{self, Coupon};
use domain::hash::HashSeed;
use domain::types::{Name, RequestId, SubjectId, Timestamp};
use domain::{Action, Command, Decision, Record, State, decide};
use engine::Engine;
use engine::clock::Clock;
use engine::engine::Settings;
use engine::limits::Limits;
use engine::views::Refusal;
use journal::writer::Options;
use serde_json::{Value, json};

use crate::handover::put_command;
use crate::server::CAMPAIGN;
use crate::{Outcome, clock};

/// Characters of each subject's name.
const NAME_BYTES: usize = 13;

/// The names of all subjects in one string, so that creating them is not measured.
struct Names(String);

impl Names {
    fn new(count: u32) -> Self {
        use std::fmt::Write;
        let mut names = String::with_capacity(count as usize * NAME_BYTES);
        for number in 0..count {
            // Writing to a string cannot fail.
            let _ = write!(names, "u{number:012}");
        }
        Self(names)
    }

    fn iter(&self) -> impl Iterator<Item = SubjectId<'_>> {
        (0..self.0.len() / NAME_BYTES).filter_map(|place| SubjectId::new(self.0.get(place * NAME_BYTES..(place + 1) * NAME_BYTES)?).ok())
    }
}

fn claim_command(subject: SubjectId<'_>) -> Outcome<Command<'_>> {
    Ok(Command::local(Action::of::<Coupon>(Name::new(CAMPAIGN)?, coupon::Command::Claim { subject })))
}

/// `decide` and `evolve` alone, on one core; and the memory that the state takes.
pub(crate) fn memory(claims: u32) -> Outcome<Value> {
    let names = Names::new(claims);
    let mut state = State::new(HashSeed(1, 2));
    let put = put_command().ok_or("no command")?;
    apply(&mut state, &put)?;
    let before = resident_bytes()?;
    let started = clock::now();
    let mut longest = 0.0_f64;
    let mut last = started;
    for (place, subject) in names.iter().enumerate() {
        apply(&mut state, &claim_command(subject)?)?;
        if place % 64 == 0 {
            let now = clock::now();
            longest = longest.max((now - last).as_secs_f64());
            last = now;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let resident = resident_bytes()?.saturating_sub(before);
    let own = state.all::<Coupon>().next().map_or(0, |campaign| campaign.items.claims.memory_bytes());
    Ok(json!({
        "claims": claims,
        "name_bytes": NAME_BYTES,
        "per_second": f64::from(claims) / seconds,
        "resident_bytes_per_claim": resident as f64 / f64::from(claims),
        "counted_bytes_per_claim": own as f64 / f64::from(claims),
        "longest_64_claims_ms": longest * 1_000.0,
    }))
}

fn apply(state: &mut State, command: &Command<'_>) -> Outcome<()> {
    let now = Timestamp::from_millis(1_800_000_000_000).unwrap_or_default();
    let Ok(Decision::Change(change)) = decide(state, command, now) else { return Err("a claim was refused".into()) };
    state.evolve(&Record { at: now, actor: command.actor, request_id: RequestId::ENGINE, request: None, change });
    Ok(())
}

fn settings(data: &Path) -> Settings {
    Settings {
        folder: data.to_owned(),
        limits: Limits::STANDARD,
        journal: Options { segment_bytes: 64 << 20, new_id: [1; 16], salt_seed: [2; 32] },
        seed: HashSeed(1, 2),
        clock: Clock::System,
        snapshot_every: u64::MAX,
    }
}

/// Through the engine, with every claim durable: staged as fast as the journal accepts it.
pub(crate) fn durable(claims: u32, data: &Path) -> Outcome<Value> {
    let names = Names::new(claims);
    let (engine, _) = Engine::open(&settings(data))?;
    stage(&engine, &put_command().ok_or("no command")?)?;
    let commits_before = engine.status().commits_count;
    let started = clock::now();
    for subject in names.iter() {
        stage(&engine, &claim_command(subject)?)?;
    }
    while engine.durable_lsn().0 <= u64::from(claims) {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    let seconds = started.elapsed().as_secs_f64();
    let commits = engine.status().commits_count - commits_before;
    let snapshot_started = clock::now();
    engine.close();
    Ok(json!({
        "claims": claims,
        "per_second": f64::from(claims) / seconds,
        "syncs": commits,
        "claims_per_sync": f64::from(claims) / commits as f64,
        "snapshot_seconds": snapshot_started.elapsed().as_secs_f64(),
    }))
}

fn stage(engine: &Engine, command: &Command<'_>) -> Outcome<()> {
    loop {
        match engine.stage(command, RequestId::new("bench")?).value {
            Ok(_) => return Ok(()),
            // The journal is the bottleneck: that is what is measured.
            Err(Refusal::Busy | Refusal::StorageFull) => std::thread::yield_now(),
            Err(refusal) => return Err(format!("a claim was refused: {refusal:?}").into()),
        }
    }
}

/// The time from opening the data folder to a state that can decide.
pub(crate) fn open(data: &Path) -> Outcome<Value> {
    let started = clock::now();
    let (engine, restarted) = Engine::open(&settings(data))?;
    let seconds = started.elapsed().as_secs_f64();
    let claims = engine.status().counts.entries.iter().sum::<u64>();
    let (cpu_seconds, peak_bytes) = (cpu_seconds()?, peak_bytes()?);
    // Nothing was decided, so nothing is lost, and no snapshot must be taken.
    std::mem::forget(engine);
    Ok(json!({
        "claims": claims,
        "replayed": restarted.replayed_count,
        "snapshot": restarted.snapshot_lsn.is_some(),
        "seconds": seconds,
        // Over all threads, user and system time: other processes do not count.
        "cpu_seconds": cpu_seconds,
        "peak_bytes_per_claim": peak_bytes as f64 / (claims as f64).max(1.0),
        "replayed_per_second": restarted.replayed_count as f64 / seconds,
    }))
}

/// The processor time of this process so far.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The program's name, in parentheses, may contain spaces; after it, user and system time are the 12th and
    // the 13th field (proc(5) counts them as 14 and 15).
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().skip(11).take(2));
    let ticks: Vec<u64> = fields.ok_or("no fields in stat")?.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The peak of resident memory.
fn peak_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(peak.ok_or("no peak in status")?.parse::<u64>()? * 1_024)
}

fn resident_bytes() -> Outcome<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
