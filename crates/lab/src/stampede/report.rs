//! The results, strategy by strategy: figures, JSON, a table, a page.

use rush::coupon::Machine;
use rush::format::{micros, thousands};
use serde::Serialize;
use serde_json::{Value, json};

use super::harm::HarmReport;
use super::options::Options;
use super::page;
use crate::frame::about::{About, Race};
use crate::frame::engines::{Durable, EngineSettings};
use crate::frame::table::{Cell, Table};

/// The columns of the table, in order.
const COLUMNS: [&str; 11] = [
    "strategy",
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
];

/// The results of every strategy under the same rush.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the first rush began, RFC 3339, UTC.
    pub date: String,
    /// People who asked.
    pub users: u32,
    /// Coupons in the campaign.
    pub stock: u32,
    /// Connections that the people shared.
    pub connections: usize,
    /// The number of rushes for each strategy.
    pub runs: u32,
    /// The engines' settings.
    pub engines: EngineSettings,
    /// The machine of the run.
    pub machine: Option<Machine>,
    /// The strategies, in the order of the runs.
    pub strategies: Vec<StrategyReport>,
}

/// The results of one strategy. Over several rushes, counts are the worst and speeds the median.
#[derive(Clone, Debug, Serialize)]
pub struct StrategyReport {
    /// The stable name, for programs.
    pub name: &'static str,
    /// The title for people.
    pub title: &'static str,
    /// The engines that it uses, as text.
    pub engines: &'static str,
    /// An explanation in two sentences.
    pub explained: &'static str,
    /// The steps that serve one request, in order.
    pub steps: &'static [&'static str],
    /// Its race, if it has one.
    pub race: Option<Race>,
    /// What a success response guarantees.
    pub told_yes: &'static str,
    /// Whether it claims to give out exactly the stock.
    pub is_exact: bool,
    /// Rows in its table of claims, in the worst run.
    pub issued: u64,
    /// Rows beyond the stock.
    pub over_issued: u64,
    /// People with more than one claim.
    pub two_for_one: u64,
    /// Acknowledged claims that are not in the table.
    pub told_not_recorded: u64,
    /// Requests without a usable response, after a retry.
    pub not_answered: u64,
    /// Final answers per second, successes and refusals together.
    pub answers_per_second: f64,
    /// Median latency in microseconds, from the instant at which a request was due.
    pub p50_us: u64,
    /// 99th percentile of the same latency.
    pub p99_us: u64,
    /// Whether a success survives a power loss, with the engines' settings.
    pub durable: Durable,
    /// The reason for that.
    pub durable_why: String,
    /// The effects of the faults; empty if none were requested.
    pub faults: Vec<FaultReport>,
    /// The results of each rush.
    pub rushes: Vec<Rushed>,
}

/// The effect of a fault, in figures and in words.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// A sentence for people.
    pub words: String,
    /// The figures.
    #[serde(flatten)]
    pub harm: HarmReport,
}

/// One rush.
#[derive(Clone, Debug, Serialize)]
pub struct Rushed {
    issued: u64,
    over_issued: u64,
    two_for_one: u64,
    told_not_recorded: u64,
    not_answered: u64,
    answers_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    /// The rush's own report.
    rush: Value,
    #[serde(skip)]
    machine: Machine,
    #[serde(skip)]
    date: String,
}

impl Rushed {
    pub(crate) fn new(report: rush::coupon::Report) -> Self {
        let found = &report.findings;
        Self {
            issued: found.record_live,
            over_issued: found.record_live.saturating_sub(u64::from(report.settings.stock)),
            two_for_one: found.two_for_one,
            told_not_recorded: found.answers_not_in_record,
            not_answered: report.errors + report.skipped,
            answers_per_second: report.answers_per_second,
            p50_us: report.latency.p50_us,
            p99_us: report.latency.p99_us,
            rush: report.to_json(),
            machine: report.machine.clone(),
            date: report.date,
        }
    }
}

impl StrategyReport {
    pub(crate) fn new(about: &'static About, settings: &EngineSettings, rushes: Vec<Rushed>, harms: Vec<HarmReport>) -> Self {
        let worst = |count: fn(&Rushed) -> u64| rushes.iter().map(count).max().unwrap_or_default();
        let (durable, durable_why) = settings.durable(about.durable_by);
        Self {
            name: about.name,
            title: about.title,
            engines: about.engines,
            explained: about.explained,
            steps: about.steps,
            race: about.race,
            told_yes: about.told_yes,
            is_exact: about.is_exact,
            issued: worst(|rushed| rushed.issued),
            over_issued: worst(|rushed| rushed.over_issued),
            two_for_one: worst(|rushed| rushed.two_for_one),
            told_not_recorded: worst(|rushed| rushed.told_not_recorded),
            not_answered: worst(|rushed| rushed.not_answered),
            answers_per_second: median(rushes.iter().map(|rushed| rushed.answers_per_second)),
            p50_us: median(rushes.iter().map(|rushed| rushed.p50_us)),
            p99_us: median(rushes.iter().map(|rushed| rushed.p99_us)),
            durable,
            durable_why,
            faults: harms.into_iter().map(|harm| FaultReport { words: harm.words(about.is_exact), harm }).collect(),
            rushes,
        }
    }

    /// Whether it claims to be exact, and was not, although nothing had failed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        let counts = [self.over_issued, self.two_for_one, self.told_not_recorded];
        self.is_exact && counts.iter().any(|count| 0 < *count)
    }

    /// The effects of its faults, in words.
    #[must_use]
    pub fn after_a_crash(&self) -> String {
        if self.faults.is_empty() {
            return "not crashed".to_owned();
        }
        self.faults.iter().map(|fault| fault.words.as_str()).collect::<Vec<_>>().join(". ")
    }

    fn row(&self) -> Vec<Cell> {
        let zero = |count| Cell::number(thousands(count)).alarming_if(0 < count);
        vec![
            Cell::text(self.name),
            Cell::number(thousands(self.issued)),
            zero(self.over_issued),
            zero(self.two_for_one),
            zero(self.told_not_recorded),
            zero(self.not_answered),
            Cell::number(whole(self.answers_per_second)),
            Cell::number(micros(self.p50_us)),
            Cell::number(micros(self.p99_us)),
            Cell::text(self.durable.text()),
            Cell::text(self.after_a_crash()).alarming_if(self.faults.iter().any(|fault| !fault.harm.is_harmless())),
        ]
    }
}

impl Report {
    pub(crate) fn new(options: &Options, engines: EngineSettings, strategies: Vec<StrategyReport>) -> Self {
        let first = strategies.iter().flat_map(|strategy| &strategy.rushes).next();
        Self {
            date: first.map(|rushed| rushed.date.clone()).unwrap_or_default(),
            users: options.users,
            stock: options.stock,
            connections: options.connections,
            runs: options.runs,
            engines,
            machine: first.map(|rushed| rushed.machine.clone()),
            strategies,
        }
    }

    /// One object with stable field names.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "workload": "coupon",
            "date": self.date,
            "settings": {
                "users": self.users,
                "stock": self.stock,
                "connections": self.connections,
                "runs": self.runs,
                "engines": self.engines,
            },
            "machine": self.machine,
            "columns": COLUMNS,
            "strategies": self.strategies,
        })
    }

    /// The report for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n\n{}\n{}\n", self.title(), self.table().to_text(), self.surroundings())
    }

    /// One self-contained page.
    #[must_use]
    pub fn to_html(&self) -> String {
        page::render(self).into_string()
    }

    pub(crate) fn title(&self) -> String {
        format!("lab coupon: {} people for {} coupons, {}", thousands(self.users.into()), thousands(self.stock.into()), self.date)
    }

    pub(crate) fn table(&self) -> Table {
        Table { columns: COLUMNS.to_vec(), rows: self.strategies.iter().map(StrategyReport::row).collect() }
    }

    /// The machine and the settings, in a few lines.
    pub(crate) fn surroundings(&self) -> String {
        let machine = self.machine.as_ref();
        let machine = machine.map(|machine| format!("{} cores of {}, {}", machine.cores, machine.cpu, machine.kernel)).unwrap_or_default();
        let runs = match self.runs {
            1 => "one rush each".to_owned(),
            several => format!("{several} rushes each: the worst counts, the median speeds"),
        };
        let asking = format!("all at once on {} connections, one in twenty twice; {runs}", self.connections);
        let harm = format!("crashes: {} people for {} coupons each", super::harm::PEOPLE, super::harm::STOCK);
        format!("machine   {machine}\nengines   {}\npeople    {asking}; {harm}", self.engines.words())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&StrategyReport> {
        self.strategies.iter().find(|strategy| strategy.name == name)
    }
}

fn median<T: Copy + Default + PartialOrd>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or_else(|| panic!("a figure is a number")));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn whole(rate: f64) -> String {
    // A rate is positive and far below 2^64.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    thousands(rate.round() as u64)
}
