//! The three plots: throughput, latency, over-issued coupons.

use rush::format::{micros, thousands};

use super::report::{Report, StrategyReport, whole};
use crate::frame::bars::{Bar, Bars, Group};

fn bars(report: &Report, title: &str, is_log: bool, of: impl Fn(&StrategyReport) -> Vec<Bar>) -> Bars {
    let group = |strategy: &StrategyReport| Group { name: strategy.name.to_owned(), bars: of(strategy) };
    Bars { title: title.to_owned(), is_log, groups: report.strategies.iter().map(group).collect() }
}

pub(crate) fn throughput(report: &Report) -> Bars {
    bars(report, "Answers per second, yes and no together (by powers of ten)", true, |strategy| {
        let rate = strategy.answers_per_second;
        vec![Bar { class: "one", value: rate, text: whole(rate) }]
    })
}

pub(crate) fn latency(report: &Report) -> Bars {
    bars(report, "Time to the answer: p50, and below it p99 (by powers of ten)", true, |strategy| {
        let bar = |class, us: u64| Bar { class, value: us as f64, text: micros(us) };
        vec![bar("one", strategy.p50_us), bar("two", strategy.p99_us)]
    })
}

pub(crate) fn over_issued(report: &Report) -> Bars {
    bars(report, "Coupons given out beyond the stock, while nothing failed", false, |strategy| {
        let count = strategy.over_issued;
        vec![Bar { class: "bad", value: count as f64, text: thousands(count) }]
    })
}
