//! The report as one page: nothing is loaded, nothing is scripted.

use maud::{Markup, html};
use rush::format::thousands;

use super::plots;
use super::report::{Report, StrategyReport};
use super::summary;
use crate::coupon;
use crate::frame::about::FaultKind;

const OWN_STYLE: &str = include_str!("page.css");

/// What answers a person; not every strategy has all of them.
const ANSWERING: [&str; 3] = ["claim", "check_then_act", "consume"];

pub(crate) fn render(report: &Report) -> Markup {
    let plots = [plots::throughput(report), plots::over_issued(report), plots::latency(report)];
    let body = html! {
        (header(report))
        (report.table().to_html())
        h2 { "Side by side" }
        .plots { @for plot in &plots { figure { (plot.svg()) } } }
        h2 { "What it says" }
        @for text in summary::paragraphs(report) { p { (text) } }
        h2 { "The strategies" }
        @for one in &report.strategies { (strategy(one)) }
        h2 { "Machine and settings" }
        .card { pre.plain { (report.surroundings()) } }
    };
    rush::page(&report.title(), OWN_STYLE, &body)
}

fn header(report: &Report) -> Markup {
    let (users, stock) = (thousands(report.users.into()), thousands(report.stock.into()));
    html! {
        header {
            p { "lab coupon, " (report.date) }
            h1 { (users) " people for " (stock) " coupons, " (report.strategies.len()) " ways to give them out" }
        }
    }
}

fn strategy(strategy: &StrategyReport) -> Markup {
    html! {
        section.card.strategy #(strategy.name) {
            h3 { (strategy.title) }
            p { (strategy.explained) }
            (steps(strategy))
            p {
                b { "Told yes" } " " (strategy.told_yes) ". "
                b { "Durable then:" } " " (strategy.durable.text()) " (" (strategy.durable_why) ")."
            }
            p { b { "Hurt in the lab:" } " " (strategy.after_a_crash()) "." }
            (code(strategy))
        }
    }
}

/// The steps in their order, with the race and the faults where they are.
fn steps(strategy: &StrategyReport) -> Markup {
    html! {
        ol.steps {
            @for (number, step) in (1..).zip(strategy.steps) {
                li.step { (step) }
                @if let Some(race) = strategy.race.filter(|race| race.after_step == number) { li.race { "the race: " (race.what) } }
                @for fault in strategy.faults.iter().filter(|fault| fault.harm.after_step == number) {
                    li.hurt {
                        @match fault.harm.kind {
                            FaultKind::Crash => "crashed here",
                            FaultKind::Pause => "paused here",
                            FaultKind::Kill => "killed in the middle of all this",
                        }
                    }
                }
            }
        }
    }
}

/// The functions that answer a person, as they are run.
fn code(strategy: &StrategyReport) -> Markup {
    let about = coupon::ALL.into_iter().find(|about| about.name == strategy.name);
    let Some(excerpt) = about.and_then(|about| about.excerpt(&ANSWERING)) else { return Markup::default() };
    html! {
        details open[excerpt.contains("// RACE")] {
            summary { "the code, crates/lab/src/coupon/" (strategy.name) ".rs" }
            pre.code {
                @for line in excerpt.lines() {
                    @if line.trim_start().starts_with("// RACE") { b { (line) } } @else { (line) }
                    "\n"
                }
            }
        }
    }
}
