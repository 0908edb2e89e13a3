//! The report as one page: nothing is loaded, nothing is scripted.

use maud::{Markup, html};

use super::queued::{Queued, QueuedSlot};
use super::report::{Report, Row};
use crate::figures::{CurvePoint, Slot};
use crate::format::{micros, thousands};
use crate::plot::{Axis, Line, Plot, Scale};

pub(crate) fn render(report: &Report) -> Markup {
    let headline = report.headline();
    let body = html! {
        (header(report, &headline))
        h2 { "What happened" }
        (results(&report.rows()))
        (errors(report))
        h2 { "Over time" }
        @if let Some(queued) = &report.queued { (queue_figure(queued)) }
        (counts_figure(report))
        (latency_figure(report))
        (distribution_figure(report))
        (surroundings(report))
    };
    crate::page(&format!("rush coupon: {headline}"), "", &body)
}

fn header(report: &Report, headline: &str) -> Markup {
    let (users, stock) = (thousands(report.settings.users.into()), thousands(report.settings.stock.into()));
    let broken = report.broken();
    let class = match (broken.len(), report.unanswered()) {
        (0, 0) => "good",
        (0, _) => "open",
        _ => "bad",
    };
    html! {
        header {
            p { "rush coupon: " (users) " people for " (stock) " coupons, " (report.date) }
            h1.(class) { (sentence_case(headline)) }
            @if !broken.is_empty() { ul.broken { @for promise in &broken { li { (promise.sentence) } } } }
        }
    }
}

fn sentence_case(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn results(rows: &[Row]) -> Markup {
    html! { .card { table { @for row in rows { (result(row)) } } } }
}

fn result(row: &Row) -> Markup {
    let class = match (row.alarming, row.label.is_empty()) {
        (true, _) => Some("alarming"),
        (false, true) => Some("more"),
        (false, false) => None,
    };
    html! { tr class=[class] { th { (row.label) } td.value { (row.value) } td.note { (row.note) } } }
}

fn errors(report: &Report) -> Markup {
    html! {
        @if !report.error_samples.is_empty() {
            h2 { "The first errors" }
            .card { pre { (report.error_samples.join("\n")) } }
        }
    }
}

fn counts_figure(report: &Report) -> Markup {
    let answers = running_total(&report.timeline, |slot| slot.answers);
    let claims = running_total(&report.timeline, |slot| slot.claims);
    let highest = answers.last().copied().flatten().map_or(1.0, |(_, total)| total);
    let plot = Plot {
        title: "Answers and claims over time",
        x: time_axis(report),
        y: Axis::from_zero("total", highest.max(1.0), whole),
        lines: vec![line("two", answers, true), line("one", claims, true)],
    };
    figure(&plot, &[("one", "claims"), ("two", "all answers")])
}

/// What comes in and what goes out.
fn queue_figure(queued: &Queued) -> Markup {
    let rates = |count: fn(&QueuedSlot) -> u64| {
        let per_second = |slot: &QueuedSlot| count(slot) as f64 * 1e3 / queued.slot_ms as f64;
        // As steps: a slot has one rate from its begin to its end.
        let steps = queued.timeline.iter().flat_map(|slot| {
            let (begin, end) = ((slot.end_ms - queued.slot_ms) as f64 / 1e3, slot.end_ms as f64 / 1e3);
            [Some((begin, per_second(slot))), Some((end, per_second(slot)))]
        });
        steps.collect::<Vec<_>>()
    };
    let (accepted, decided) = (rates(|slot| slot.accepted), rates(|slot| slot.decided));
    let points = || accepted.iter().chain(&decided).flatten();
    let (end, highest) = (points().map(|point| point.0).fold(0.001, f64::max), points().map(|point| point.1).fold(1.0, f64::max));
    let plot = Plot {
        title: "The queue: accepted and decided",
        x: Axis::from_zero("seconds since the start", end, short),
        y: Axis::powers_of_ten("claims per second", (1.0, highest), short),
        lines: vec![line("two", accepted, true), line("one", decided, true)],
    };
    figure(&plot, &[("two", "accepted, as they were answered"), ("one", "decided, by the record")])
}

fn latency_figure(report: &Report) -> Markup {
    let median = over_time(&report.timeline, |slot| slot.p50_us);
    let tail = over_time(&report.timeline, |slot| slot.p99_us);
    let highest = tail.iter().flatten().map(|point| point.1).fold(0.001, f64::max);
    let plot = Plot {
        title: "Latency over time",
        x: time_axis(report),
        y: Axis::from_zero("latency, ms", highest, short),
        lines: vec![line("two", tail, false), line("one", median, false)],
    };
    figure(&plot, &[("one", "p50"), ("two", "p99")])
}

/// The slower the rarer: each mark to the right stands for a tenth of the
/// requests of the one before.
fn distribution_figure(report: &Report) -> Markup {
    let latency = by_nines(&report.latency_curve);
    let service = by_nines(&report.service_curve);
    let all = || latency.iter().chain(&service).flatten();
    let nines = all().map(|point| point.0).fold(1.0, f64::max);
    let least = all().map(|point| point.1).fold(1e3, f64::min);
    let most = all().map(|point| point.1).fold(least, f64::max);
    let plot = Plot {
        title: "Latency distribution",
        x: nines_axis(nines),
        y: Axis::powers_of_ten("ms", (least, most), short),
        lines: vec![line("two", service, false), line("one", latency, false)],
    };
    figure(&plot, &[("one", "latency, since due"), ("two", "service time, since sent")])
}

/// The curves have ten points for each nine.
fn by_nines(curve: &[CurvePoint]) -> Vec<Option<(f64, f64)>> {
    let points = (0u32..).zip(curve);
    let place = |(index, point): (u32, &CurvePoint)| Some((f64::from(index) / 10.0, millis(point.us.max(1))));
    points.map(place).collect()
}

fn nines_axis(high: f64) -> Axis {
    let marks = ["0%", "90%", "99%", "99.9%", "99.99%", "99.999%", "99.9999%"];
    let ticks = (0u32..).map(f64::from).zip(marks.map(str::to_owned));
    let half = (2f64.log10(), "50%".to_owned());
    Axis {
        label: "share of all answers",
        scale: Scale::Linear { low: 0.0, high },
        ticks: ticks.chain([half]).filter(|tick| tick.0 <= high).collect(),
    }
}

fn figure(plot: &Plot, keys: &[(&str, &str)]) -> Markup {
    html! {
        figure {
            figcaption { (plot.title) @for (class, text) in keys { span { i.(class) {} (text) } } }
            (plot.svg())
        }
    }
}

fn line(class: &'static str, points: Vec<Option<(f64, f64)>>, filled: bool) -> Line {
    Line { class, points, filled }
}

fn time_axis(report: &Report) -> Axis {
    let end = report.timeline.last().map_or(1.0, |slot| seconds(slot.end_us));
    Axis::from_zero("seconds since the start", end, short)
}

fn running_total(slots: &[Slot], count: impl Fn(&Slot) -> u64) -> Vec<Option<(f64, f64)>> {
    let mut total = 0;
    let later = slots.iter().map(|slot| {
        total += count(slot);
        Some((seconds(slot.end_us), total as f64))
    });
    std::iter::once(Some((0.0, 0.0))).chain(later).collect()
}

fn over_time(slots: &[Slot], value: impl Fn(&Slot) -> Option<u64>) -> Vec<Option<(f64, f64)>> {
    let point = |slot: &Slot| Some((seconds(slot.end_us), millis(value(slot)?)));
    slots.iter().map(point).collect()
}

/// What was run, and on what.
fn surroundings(report: &Report) -> Markup {
    let settings = &report.settings;
    let run = [
        ("server", settings.server.clone()),
        ("campaign", settings.campaign.clone()),
        ("people", thousands(settings.users.into())),
        ("coupons", thousands(settings.stock.into())),
        ("connections", thousands(settings.connections as u64)),
        ("arrivals", report.arrivals()),
        ("asking twice", format!("{}%", settings.repeat_percent)),
        (
            "pace of the queue",
            settings.decisions_per_second.map_or("no queue".to_owned(), |pace| format!("{} claims/s", thousands(pace.into()))),
        ),
        ("request timeout", micros(settings.request_timeout_ms * 1_000)),
    ];
    let machine =
        [("cores", report.machine.cores.to_string()), ("processor", report.machine.cpu.clone()), ("kernel", report.machine.kernel.clone())];
    html! {
        .pair {
            section { h2 { "Settings" } (facts(&run)) }
            section { h2 { "Machine" } (facts(&machine)) }
        }
    }
}

fn facts(facts: &[(&str, String)]) -> Markup {
    html! { .card { table { @for (name, value) in facts { tr { th { (name) } td { (value) } } } } } }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn millis(us: u64) -> f64 {
    us as f64 / 1e3
}

fn whole(value: f64) -> String {
    // Marks of an axis that begins at zero.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    thousands(value.round() as u64)
}

/// No more digits than a mark needs.
fn short(value: f64) -> String {
    match value {
        large if 1_000.0 <= large => whole(large),
        other => format!("{}", (other * 1e4).round() / 1e4),
    }
}
