//! The strategies for coupons, with the real engines: what is said to be exact is exact, what is said
//! to break breaks, and a crash costs what is told of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use lab::stampede::report::StrategyReport;
use lab::{Engines, LabError, Options, Programs, Report};
use parking_lot::{Mutex, MutexGuard};

/// Those that are exact and need no program but the lab's own.
const EXACT: [&str; 7] =
    ["select_for_update", "conditional_update", "optimistic_version", "small_pool", "redis_lock", "redis_then_kafka", "kafka_first"];

fn options(strategies: &[&str]) -> Options {
    let server = PathBuf::from(env!("CARGO_BIN_EXE_lab-server"));
    Options {
        users: 500,
        stock: 50,
        connections: 256,
        runs: 1,
        with_faults: false,
        strategies: strategies.iter().map(|name| (*name).to_owned()).collect(),
        engines: Engines::default(),
        programs: Programs { firstcome: server.with_file_name("firstcome"), strategy: vec![server.into()] },
        progress: false,
    }
}

fn with_engines(options: Options) -> Options {
    let shared = services::shared();
    let engines = Engines {
        postgres: Some(shared.postgres().unwrap().to_owned()),
        redis: Some(shared.redis().unwrap().to_owned()),
        kafka: Some(shared.kafka().unwrap().to_owned()),
    };
    Options { engines, ..options }
}

fn with_faults(options: Options) -> Options {
    Options { with_faults: true, ..options }
}

/// One lab at a time: each has dozens of connections to the same engines.
fn run(options: &Options) -> Result<Report, LabError> {
    let _alone = alone();
    run_alone(options)
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

fn run_alone(options: &Options) -> Result<Report, LabError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(lab::run(options))
}

fn only(options: &Options) -> StrategyReport {
    run(options).unwrap().strategies.pop().unwrap()
}

fn refusal(options: &Options) -> String {
    run(options).err().map(|error| error.to_string()).expect("it ran")
}

#[test]
fn check_then_act_over_issues_within_five_runs() {
    let options = with_engines(options(&["check_then_act"]));
    let over_issued = (0..5).map(|_| only(&options)).find(|strategy| 0 < strategy.over_issued);
    let strategy = over_issued.expect("not once in five runs");
    assert!(!strategy.is_exact && !strategy.is_broken());
    assert_eq!(strategy.issued, 50 + strategy.over_issued);
}

#[test]
fn what_is_said_to_be_exact_is_exact() {
    let report = run(&with_engines(options(&EXACT))).unwrap();
    for strategy in &report.strategies {
        let StrategyReport { name, issued, over_issued, two_for_one, told_not_recorded, not_answered, .. } = strategy;
        assert!(strategy.is_exact, "{name}");
        assert_eq!((*over_issued, *two_for_one, *told_not_recorded), (0, 0, 0), "{name}");
        // Where some were not answered, too few may have asked to the end.
        assert!(*issued == 50 || 0 < *not_answered, "{name}: {issued} issued");
    }
}

#[test]
fn a_small_pool_runs_dry_and_gives_out_nothing_wrong() {
    let strategy = only(&with_engines(Options { users: 2_000, stock: 200, connections: 512, ..options(&["small_pool"]) }));
    assert!(0 < strategy.not_answered, "everybody was answered");
    assert!(!strategy.is_broken());
}

#[test]
fn a_crash_inside_a_transaction_costs_nothing() {
    let strategies = ["select_for_update", "conditional_update", "optimistic_version", "small_pool"];
    let report = run(&with_engines(with_faults(options(&strategies)))).unwrap();
    for strategy in &report.strategies {
        assert_eq!(strategy.faults.len(), 1, "{}", strategy.name);
        let fault = &strategy.faults[0];
        assert!(fault.harm.is_harmless() && fault.harm.issued == 50, "{}: {}", strategy.name, fault.words);
        assert!(fault.words.contains("nothing lost, nothing doubled"), "{}", fault.words);
    }
}

#[test]
fn a_lock_survives_a_crash_and_not_a_pause_that_outlasts_it() {
    let strategy = only(&with_engines(with_faults(options(&["redis_lock"]))));
    let [crash, pause] = &strategy.faults[..] else { panic!("{} faults", strategy.faults.len()) };
    assert!(crash.harm.is_harmless(), "{}", crash.words);
    // Nobody was served before the dead one's lock ended.
    assert!(2_000 < crash.harm.longest_silence_ms, "{}", crash.words);
    assert!(0 < pause.harm.over_issued, "{}", pause.words);
    assert!(strategy.after_a_crash().contains("over-issued"), "{}", strategy.after_a_crash());
}

#[test]
fn a_crash_between_redis_and_kafka_loses_what_redis_goes_on_to_promise() {
    let strategy = only(&with_engines(with_faults(options(&["redis_then_kafka"]))));
    let harm = &strategy.faults[0].harm;
    assert!(0 < harm.never_sold && 0 < harm.told_not_recorded, "{}", strategy.faults[0].words);
    assert_eq!((harm.over_issued, harm.two_for_one), (0, 0));
}

#[test]
fn a_crash_between_redis_and_the_row_leaves_somebody_without_an_answer() {
    let strategy = only(&with_engines(with_faults(options(&["kafka_first"]))));
    let harm = &strategy.faults[0].harm;
    assert_eq!((harm.never_sold, harm.unanswered, harm.told_not_recorded), (1, 1, 0), "{}", strategy.faults[0].words);
    assert!(harm.unanswered_hears.as_ref().is_some_and(|heard| heard.contains("pending")), "{:?}", harm.unanswered_hears);
}

#[test]
fn table_page_and_json_have_every_column_and_the_page_shows_the_race() {
    let report = run(&with_engines(with_faults(options(&["check_then_act", "conditional_update"])))).unwrap();
    let (text, page, json) = (report.to_text(), report.to_html(), report.to_json());
    for column in [
        "issued",
        "over-issued",
        "two for one",
        "told yes, not recorded",
        "not answered",
        "answers/s",
        "p50",
        "p99",
        "durable when answered",
        "after a crash",
    ] {
        assert!(text.contains(column) && page.contains(&format!("<th>{column}</th>")), "{column}");
    }
    for field in [
        "issued",
        "over_issued",
        "two_for_one",
        "told_not_recorded",
        "answers_per_second",
        "p50_us",
        "p99_us",
        "durable",
        "faults",
        "rushes",
    ] {
        assert!(!json["strategies"][0][field].is_null(), "{field}");
    }
    assert_eq!(json["strategies"][0]["rushes"][0]["rush"]["settings"]["users"], 500);
    assert!(!json["date"].is_null() && !json["machine"]["cpu"].is_null() && !json["settings"]["engines"]["postgres_fsync"].is_null());
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.contains("the race: ") && page.contains("// RACE") && page.contains("crashed here"));
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="), "the page loads something");
}

#[test]
fn results_are_written_with_plots_and_raw_data_beside_the_page() {
    let report = run(&with_engines(options(&["conditional_update"]))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    lab::stampede::write_results(folder.path(), &[report]).unwrap();
    let page = std::fs::read_to_string(folder.path().join("coupon-strategies.md")).unwrap();
    assert!(page.contains("| conditional_update | 50 | 0 |"), "{page}");
    for name in ["throughput.svg", "latency.svg", "over-issued.svg"] {
        let name = format!("coupon-strategies-500-{name}");
        assert!(page.contains(&name) && folder.path().join(&name).is_file(), "{name}");
    }
    let raw = std::fs::read_to_string(folder.path().join("coupon-strategies-500.json")).unwrap();
    assert!(raw.contains("\"issued\": 50"));
}

#[test]
fn nothing_is_left_in_the_engines() {
    // Until it was looked: another test has the same strategy.
    let _alone = alone();
    run_alone(&with_engines(with_faults(options(&["redis_then_kafka"])))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = services::shared().postgres().unwrap();
    let left = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'lab_redis_then_kafka%'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    });
    assert_eq!(left, 0);
}

#[test]
fn an_engine_that_is_missing_is_named_with_the_command_that_starts_it() {
    let said = refusal(&options(&["conditional_update"]));
    assert!(said.contains("conditional_update needs PostgreSQL") && said.contains("--postgres"), "{said}");
    assert!(said.contains("cargo xtask services up"), "{said}");
    let said = refusal(&Options {
        engines: Engines { postgres: Some("postgres://x@127.0.0.1:1/x".to_owned()), ..Engines::default() },
        ..options(&["redis_lock"])
    });
    assert!(said.contains("redis_lock needs Redis") && said.contains("--redis"), "{said}");
}

#[test]
fn an_engine_that_does_not_answer_is_named_without_its_password() {
    let engines = Engines { postgres: Some("postgres://me:s3cret@127.0.0.1:1/x".to_owned()), ..Engines::default() };
    let said = refusal(&Options { engines, ..options(&["conditional_update"]) });
    assert!(said.contains("127.0.0.1:1") && said.contains("cargo xtask services up") && !said.contains("s3cret"), "{said}");
}

#[test]
fn an_unknown_strategy_is_refused_with_the_names_of_those_that_there_are() {
    let said = refusal(&options(&["conditional_update", "wishful_thinking"]));
    assert!(said.contains("\"wishful_thinking\""), "{said}");
    for name in EXACT.iter().chain(&["check_then_act", "firstcome", "firstcome_scaled"]) {
        assert!(said.contains(name), "{name} is not in: {said}");
    }
}
