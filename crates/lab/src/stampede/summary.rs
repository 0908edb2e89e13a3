//! A summary of a run in plain words; every figure in it comes from the run.

use rush::format::{micros, thousands};

use super::report::{Report, StrategyReport, whole};
use crate::coupon::{
    check_then_act, conditional_update, firstcome, firstcome_scaled, kafka_first, optimistic_version, redis_lock, redis_then_kafka,
    select_for_update, small_pool,
};
use crate::frame::about::FaultKind;

/// The text about one strategy, in comparison with the others.
type Say = fn(&Report, &StrategyReport) -> String;

/// A few paragraphs about the strategies that were run.
pub(crate) fn paragraphs(report: &Report) -> Vec<String> {
    let all: [(&str, Say); 9] = [
        (check_then_act::ABOUT.name, of_check_then_act),
        (select_for_update::ABOUT.name, of_the_row),
        (optimistic_version::ABOUT.name, of_optimistic),
        (small_pool::ABOUT.name, of_small_pool),
        (redis_lock::ABOUT.name, of_redis_lock),
        (redis_then_kafka::ABOUT.name, of_redis_then_kafka),
        (kafka_first::ABOUT.name, of_kafka_first),
        (firstcome::ABOUT.name, of_firstcome),
        (firstcome_scaled::ABOUT.name, of_scaled),
    ];
    let mut paragraphs: Vec<String> = all.into_iter().filter_map(|(name, say)| Some(say(report, report.find(name)?))).collect();
    let broken: Vec<&str> = report.strategies.iter().filter(|strategy| strategy.is_broken()).map(|strategy| strategy.name).collect();
    if !broken.is_empty() {
        paragraphs.push(format!("Said to be exact and not exact in this run: {}.", broken.join(", ")));
    }
    paragraphs
}

fn of_check_then_act(report: &Report, strategy: &StrategyReport) -> String {
    let times = strategy.issued as f64 / f64::from(report.stock);
    format!(
        "Check, then act gave out {} coupons where there were {}: {} too many, {times:.1} times the stock, and {} more than one. \
         No fault was needed for it and no pause was put in: it is what the same lines do when many come at once.",
        thousands(strategy.issued),
        thousands(report.stock.into()),
        thousands(strategy.over_issued),
        counted(strategy.two_for_one, "person holds", "people hold")
    )
}

fn of_the_row(report: &Report, strategy: &StrategyReport) -> String {
    let conditional = report.find(conditional_update::ABOUT.name);
    let other = conditional.map(|other| {
        format!(
            " The conditional UPDATE holds the row for less and looks first without a lock: {} answers/s, p99 {}.",
            whole(other.answers_per_second),
            micros(other.p99_us)
        )
    });
    format!(
        "SELECT … FOR UPDATE issued {} and answered {} a second, p99 {}, because those who get nothing stand in the same line.{}",
        thousands(strategy.issued),
        whole(strategy.answers_per_second),
        micros(strategy.p99_us),
        other.unwrap_or_default()
    )
}

fn of_optimistic(_: &Report, strategy: &StrategyReport) -> String {
    let given_up = match strategy.not_answered {
        0 => "Nobody was overtaken so often as to give up.".to_owned(),
        count => format!("{} were overtaken ten times, twice over, and got an error.", counted(count, "request", "requests")),
    };
    format!(
        "The optimistic version issued {} at {} answers/s, p99 {}: while many want the same row, most of what they do is to find out that they were overtaken. {given_up}",
        thousands(strategy.issued),
        whole(strategy.answers_per_second),
        micros(strategy.p99_us)
    )
}

fn of_small_pool(_: &Report, strategy: &StrategyReport) -> String {
    format!(
        "The small pool issued {}, and {} got an error instead of an answer, each after a second try. Its times are those of the ones who were answered.",
        thousands(strategy.issued),
        counted(strategy.not_answered, "request", "requests")
    )
}

fn of_redis_lock(_: &Report, strategy: &StrategyReport) -> String {
    let pause = strategy.faults.iter().find(|fault| fault.harm.kind == FaultKind::Pause);
    let paused = pause.map(|fault| {
        format!(
            " When the one that held the lock stood still for longer than the lock's time, {} of {} coupons were given out.",
            thousands(fault.harm.issued),
            thousands(fault.harm.stock.into())
        )
    });
    format!(
        "The lock on Redis lets one in at a time, from all machines: {} answers/s, p99 {}, {} not answered.{}",
        whole(strategy.answers_per_second),
        micros(strategy.p99_us),
        counted(strategy.not_answered, "request", "requests"),
        paused.unwrap_or_default()
    )
}

fn of_redis_then_kafka(_: &Report, strategy: &StrategyReport) -> String {
    let lost = strategy.faults.first().map(|fault| {
        format!(
            " After the crash between Redis and Kafka, {} of {} coupons were never sold, and {} told yes, by Redis, of a claim that no table holds.",
            thousands(fault.harm.never_sold),
            thousands(fault.harm.stock.into()),
            counted(fault.harm.told_not_recorded, "person was", "people were")
        )
    });
    format!(
        "Redis and then Kafka is fast, {} answers/s, because Redis alone turns away those who get nothing.{}",
        whole(strategy.answers_per_second),
        lost.unwrap_or_default()
    )
}

fn of_kafka_first(_: &Report, strategy: &StrategyReport) -> String {
    let lost = strategy.faults.first().map(|fault| {
        format!(
            " After the crash {} never sold, and {} neither a yes nor a no in the end.",
            counted(fault.harm.never_sold, "coupon was", "coupons were"),
            counted(fault.harm.unanswered, "person had", "people had")
        )
    });
    format!(
        "Kafka first makes a line of everybody: {} decided a second, p99 {} until the final answer, though \"accepted\" would have been said long before.{}",
        whole(strategy.answers_per_second),
        micros(strategy.p99_us),
        lost.unwrap_or_default()
    )
}

fn of_firstcome(report: &Report, strategy: &StrategyReport) -> String {
    format!("Firstcome on one machine issued {} of {}{}.", thousands(strategy.issued), thousands(report.stock.into()), speeds(strategy))
}

fn of_scaled(report: &Report, strategy: &StrategyReport) -> String {
    format!(
        "Firstcome with two servers over Kafka, Redis and PostgreSQL issued {} of {}{}. Its servers, its engines and the load share one machine here, \
         which is not what it is for: it costs speed and buys that a machine may be lost.",
        thousands(strategy.issued),
        thousands(report.stock.into()),
        speeds(strategy)
    )
}

fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { several })
}

fn speeds(strategy: &StrategyReport) -> String {
    let (rate, p99) = (whole(strategy.answers_per_second), micros(strategy.p99_us));
    format!(", {rate} answers/s, p99 {p99}; when hurt: {}", strategy.after_a_crash())
}
