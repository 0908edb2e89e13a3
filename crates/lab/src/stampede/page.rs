//! The report as one page: nothing is loaded, nothing is scripted.

use rush::STYLE;
use rush::format::{escape, thousands};

use super::plots;
use super::report::{Report, StrategyReport};
use super::summary;
use crate::coupon;
use crate::frame::about::FaultKind;

const OWN_STYLE: &str = include_str!("page.css");

/// What answers a person; not every strategy has all of them.
const ANSWERING: [&str; 3] = ["claim", "check_then_act", "consume"];

pub(crate) fn render(report: &Report) -> String {
    let plots = [plots::throughput(report), plots::over_issued(report), plots::latency(report)];
    let figures: String = plots.iter().map(|plot| format!("<figure>{}</figure>\n", plot.svg())).collect();
    let reading: String = summary::paragraphs(report).iter().map(|text| format!("<p>{}</p>\n", escape(text))).collect();
    let strategies: String = report.strategies.iter().map(strategy).collect();
    [
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        &format!("<title>{}</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n", escape(&report.title())),
        &header(report),
        &report.table().to_html(),
        "<h2>Side by side</h2>\n<div class=\"plots\">\n",
        &figures,
        "</div>\n<h2>What it says</h2>\n",
        &reading,
        "<h2>The strategies</h2>\n",
        &strategies,
        "<h2>Machine and settings</h2>\n",
        &format!("<div class=\"card\"><pre class=\"plain\">{}</pre></div>\n", escape(&report.surroundings())),
        "</body>\n</html>\n",
    ]
    .concat()
}

fn header(report: &Report) -> String {
    format!(
        "<header>\n<p>lab coupon, {}</p>\n<h1>{} people for {} coupons, {} ways to give them out</h1>\n</header>\n",
        escape(&report.date),
        thousands(report.users.into()),
        thousands(report.stock.into()),
        report.strategies.len()
    )
}

fn strategy(strategy: &StrategyReport) -> String {
    format!(
        "<section class=\"card strategy\" id=\"{}\">\n<h3>{}</h3>\n<p>{}</p>\n{}\
         <p><b>Told yes</b> {}. <b>Durable then:</b> {} ({}).</p>\n<p><b>Hurt in the lab:</b> {}.</p>\n{}</section>\n",
        strategy.name,
        escape(strategy.title),
        escape(strategy.explained),
        steps(strategy),
        escape(strategy.told_yes),
        strategy.durable.text(),
        escape(&strategy.durable_why),
        escape(&strategy.after_a_crash()),
        code(strategy)
    )
}

/// The steps in their order, with the race and the faults where they are.
fn steps(strategy: &StrategyReport) -> String {
    let mut list = String::from("<ol class=\"steps\">\n");
    for (number, step) in (1..).zip(strategy.steps) {
        list.push_str(&format!("<li class=\"step\">{}</li>\n", escape(step)));
        if let Some(race) = strategy.race.filter(|race| race.after_step == number) {
            list.push_str(&format!("<li class=\"race\">the race: {}</li>\n", escape(race.what)));
        }
        for fault in strategy.faults.iter().filter(|fault| fault.harm.after_step == number) {
            let what = match fault.harm.kind {
                FaultKind::Crash => "crashed here",
                FaultKind::Pause => "paused here",
                FaultKind::Kill => "killed in the middle of all this",
            };
            list.push_str(&format!("<li class=\"hurt\">{what}</li>\n"));
        }
    }
    list.push_str("</ol>\n");
    list
}

/// The functions that answer a person, as they are run.
fn code(strategy: &StrategyReport) -> String {
    let about = coupon::ALL.into_iter().find(|about| about.name == strategy.name);
    let Some(excerpt) = about.and_then(|about| about.excerpt(&ANSWERING)) else { return String::new() };
    let line = |line: &str| match line.trim_start().starts_with("// RACE") {
        true => format!("<b>{}</b>\n", escape(line)),
        false => format!("{}\n", escape(line)),
    };
    let lines: String = excerpt.lines().map(line).collect();
    let open = if excerpt.contains("// RACE") { " open" } else { "" };
    format!(
        "<details{open}><summary>the code, crates/lab/src/coupon/{}.rs</summary>\n<pre class=\"code\">{lines}</pre></details>\n",
        strategy.name
    )
}
