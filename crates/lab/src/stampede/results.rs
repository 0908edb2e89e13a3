//! Generates `docs/results/coupon-strategies.md` and the files beside it; no part of them is written by hand.

use std::fs;
use std::path::Path;

use rush::format::thousands;

use super::report::{Report, StrategyReport};
use super::{plots, summary};
use crate::frame::error::LabError;

const NAME: &str = "coupon-strategies";

const HEAD: &str = "# The strategies side by side

*Written by `cargo run --release -p lab --example results`; every figure comes from the runs whose raw data lies beside this page.*

Ten ways to give out limited coupons, each a few dozen lines in a file of its own in [crates/lab/src/coupon](../../crates/lab/src/coupon), served by the same small HTTP server in a process of its own, under the same rush: everybody asks in the same instant over 512 connections, one in twenty asks twice, every answer is checked, and afterwards the strategy's own record (its table in PostgreSQL; Firstcome's list) is read and compared claim by claim. Engines, servers and load share one machine, so that what counts is how the strategies stand to one another. `firstcome lab coupon` does the same on your machine.

**How to read the table.** *Issued*: rows in the record. *Over-issued*: rows beyond the stock. *Two for one*: people with more than one. *Told yes, not recorded*: claims that somebody was told and that the record does not hold. *Not answered*: requests that got an error twice. *Answers/s*: yes and no together; *p50* and *p99* count from the instant at which everybody asked. *Durable when answered*: whether a yes outlives a loss of power, with the engines as they were set. *After a crash*: in a small rush of its own the server is crashed between two of its steps (or stands still, or is killed), is started again, and everybody asks once more; what is lost or doubled then.
";

/// Writes the page, its plots and the raw data of each report.
///
/// # Errors
/// [`LabError::Other`] if a file cannot be written.
pub fn write(folder: &Path, reports: &[Report]) -> Result<(), LabError> {
    let mut page = HEAD.to_owned();
    for report in reports {
        page.push_str(&section(report));
        write_beside(folder, report)?;
    }
    if let Some(report) = reports.first() {
        page.push_str(&explanations(report));
    }
    file(folder, &format!("{NAME}.md"), &page)
}

fn write_beside(folder: &Path, report: &Report) -> Result<(), LabError> {
    let stem = stem(report);
    file(folder, &format!("{stem}-throughput.svg"), &plots::throughput(report).svg_alone())?;
    file(folder, &format!("{stem}-latency.svg"), &plots::latency(report).svg_alone())?;
    file(folder, &format!("{stem}-over-issued.svg"), &plots::over_issued(report).svg_alone())?;
    file(folder, &format!("{stem}.json"), &format!("{:#}\n", report.to_json()))?;
    file(folder, &format!("{stem}.html"), &report.to_html())
}

fn stem(report: &Report) -> String {
    format!("{NAME}-{}", report.users)
}

fn section(report: &Report) -> String {
    let stem = stem(report);
    let reading = summary::paragraphs(report).join("\n\n");
    format!(
        "\n## {} people for {} coupons\n\n{}\n```\n{}\ndate      {}\n```\n\n{}\n\n![Answers per second]({stem}-throughput.svg)\n\n![Time to the answer]({stem}-latency.svg)\n\n![Given out beyond the stock]({stem}-over-issued.svg)\n\nThe page of this run, with every strategy explained, its steps, its race and its code: [{stem}.html]({stem}.html). Raw data: [{stem}.json]({stem}.json).\n",
        thousands(report.users.into()),
        thousands(report.stock.into()),
        report.table().to_markdown(),
        report.surroundings(),
        report.date,
        reading,
    )
}

fn explanations(report: &Report) -> String {
    let one = |strategy: &StrategyReport| {
        let race = strategy.race.map(|race| format!(" **The race**, after step {}: {}.", race.after_step, race.what)).unwrap_or_default();
        let steps = (1..).zip(strategy.steps).map(|(number, step)| format!("{number} {step}")).collect::<Vec<_>>().join(" → ");
        format!(
            "- **{}** (`{}`). {} Steps: {steps}.{race} A yes is told {}.\n",
            strategy.title, strategy.name, strategy.explained, strategy.told_yes
        )
    };
    format!("\n## The strategies\n\n{}", report.strategies.iter().map(one).collect::<String>())
}

fn file(folder: &Path, name: &str, text: &str) -> Result<(), LabError> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| LabError::Other { what: "cannot write", why: format!("{}: {error}", path.display()) })
}
