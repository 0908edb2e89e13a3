//! The page `docs/results/rate-limit.md` and its plots.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use domain::rate_limit::{Algorithm, Moment, Policy};

use super::traffic::Shape;
use super::{Counted, LAST_NS, Misjudged, QUOTA, SEED, WINDOW_NS, has_own_definition, settings};
use crate::Outcome;
use crate::plot::{Axis, Line, Plot};

const STYLE: &str = "svg{background:#fff}text{fill:#444;font:11px system-ui,sans-serif}.end{text-anchor:end}.mid{text-anchor:middle}\
.grid{stroke:#ddd}.line{fill:none;stroke-width:2}.area{opacity:.15}.one{stroke:#0a6ebd}.area.one{fill:#0a6ebd;stroke:none}\
.two{stroke:#c2410c;stroke-width:1}.three{stroke:#777;stroke-dasharray:5 4}";

type Row = (Algorithm, Shape, Counted, Counted);

pub(super) fn write(folder: &str, rows: &[Row], misjudged: &Misjudged) -> Outcome<()> {
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    for algorithm in Algorithm::ALL {
        fs::write(folder.join(format!("rate-limit-{}.svg", algorithm.word())), plot(algorithm)?)?;
    }
    fs::write(folder.join("rate-limit.md"), page(rows, misjudged))?;
    Ok(())
}

/// Writing to a String cannot fail, hence the results that are dropped here.
fn page(rows: &[Row], misjudged: &Misjudged) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "# How exact the rate limits are\n");
    let _ = writeln!(page, "Made by `cargo xtask limits accuracy` on {}. {}\n", line_of("date", &["-u", "+%Y-%m-%d"]), machine());
    let _ = writeln!(
        page,
        "The limit is {QUOTA} in {} s; buckets hold {QUOTA} and refill as fast. Each shape of traffic lasts {} s, is made of the seed {SEED}, and is the same for every algorithm, so these figures come out the same on every machine.\n",
        WINDOW_NS / 1_000_000_000,
        LAST_NS / 1_000_000_000
    );
    page.push_str(&shapes());
    page.push_str(METHOD);
    table(&mut page, "Against the exact sliding window", rows.iter().map(|row| (row.0, row.1, row.2)));
    page.push_str(OWN);
    table(&mut page, "Against its own definition", rows.iter().filter(|row| has_own_definition(row.0)).map(|row| (row.0, row.1, row.3)));
    page.push_str(&bar(rows, misjudged));
    page.push_str("\n## Admitted over time\n\nThe same requests for each (grey, dashed): 8 a second, a minute long; 60 a second from 20 s to 25 s; and 100 at once just before and just after the edge at 50 s. Blue: what was let through in each half second. Orange: what was let through in the last 10 seconds; the limit is 100.\n");
    for algorithm in Algorithm::ALL {
        let _ = writeln!(page, "\n### {0}\n\n![Requests let through by {0} over time](rate-limit-{0}.svg)", algorithm.word());
    }
    page
}

const METHOD: &str = "Every decision is judged on its own, given what the algorithm itself has let through before: *wrongly admitted* if the definition had no room for it, *wrongly denied* if it had. Shares are of all decisions. *Most in a window* is the most that was let through in any stretch of one window's length, for any key, in multiples of the quota.\n";

const OWN: &str = "\nA fixed window and the buckets do not promise a sliding window; the shares above say how far their promise is from one. By what they do promise (the quota in each window of the clock; in every stretch of time at most what the bucket holds and what flows in meanwhile, judged from the list of all requests in integers) they are never wrong:\n";

fn shapes() -> String {
    let lines = [
        (Shape::Steady, "100 keys, evenly at random (Poisson), at half to one and a half times the limit"),
        (Shape::Bursty, "100 keys, bursts of 20 to 200 within 200 ms, exponential pauses of 10 s on average"),
        (
            Shape::WindowEdge,
            "100 keys, an adversary who knows the clock: the whole quota in the 100 ms before every second edge, and again in the 100 ms after",
        ),
        (Shape::HeavyTailed, "100 keys, gaps with a heavy tail (Pareto, shape 1.3)"),
        (
            Shape::ManySources,
            "20,000 keys whose rates have a heavy tail (Pareto, shape 1.1, at most 100 a second), each evenly at random: most far below the limit, few far above",
        ),
    ];
    let mut text = String::from("| traffic | what it is |\n|---|---|\n");
    for (shape, what) in lines {
        let _ = writeln!(text, "| {} | {what} |", shape.word());
    }
    text.push('\n');
    text
}

fn table(page: &mut String, title: &str, rows: impl Iterator<Item = (Algorithm, Shape, Counted)>) {
    let _ = writeln!(page, "\n## {title}\n");
    let _ = writeln!(page, "| algorithm | traffic | decisions | admitted | wrongly admitted | wrongly denied | most in a window |");
    let _ = writeln!(page, "|---|---|---|---|---|---|---|");
    for (algorithm, shape, counted) in rows {
        let most = counted.most_in_window as f64 / f64::from(QUOTA);
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} | {most:.2}× |",
            algorithm.word(),
            shape.word(),
            counted.decisions,
            share(counted.admitted, counted.decisions),
            share(counted.wrongly_admitted, counted.decisions),
            share(counted.wrongly_denied, counted.decisions),
        );
    }
}

fn share(part: u64, whole: u64) -> String {
    if part == 0 { "0".to_owned() } else { format!("{:.4} %", 100.0 * part as f64 / whole as f64) }
}

/// The figure that the field quotes, and what can be said beside it.
fn bar(rows: &[Row], misjudged: &Misjudged) -> String {
    let of = |algorithm| rows.iter().find(|row| row.0 == algorithm && row.1 == Shape::ManySources).map(|row| row.2).unwrap_or_default();
    let (counter, log) = (of(Algorithm::SlidingWindowCounter), of(Algorithm::SlidingWindowLog));
    let Misjudged { sources, over, missed, accused } = misjudged;
    format!(
        "\n## Beside the figure that the field quotes\n\nFor a sliding window counter it is 0.003 % of decisions wrong, on the real traffic of a large network. That traffic is not to be had, and the figure rests on it: a source far below its limit is never judged wrongly, so the share says mostly how few are near theirs. Our *many sources* send a large part of their requests from far above the limit, and there the limit is always just reached, so that a small difference between the counter's estimate and the true count turns many refusals into wrong ones: {} of all decisions are wrong. In sum the two agree closely: the counter lets through {} of the requests, the log {}. By source: of {sources}, {over} are over the limit at some time; the counter misses {missed} of them, and refuses {accused} that never were. **The bar of 0.003 % is not met on this traffic; where exactness per decision matters, take the log or a bucket.**\n",
        share(counter.wrongly_admitted + counter.wrongly_denied, counter.decisions),
        share(counter.admitted, counter.decisions),
        share(log.admitted, log.decisions),
    )
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Machine: {cores} cores of {model}, {}.", line_of("uname", &["-sr"]))
}

fn line_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The requests of the plots.
fn demand() -> Vec<u64> {
    let every = |from: u64, to: u64, gap_ms: u64| (from..to).step_by(usize::try_from(gap_ms).unwrap_or(1));
    let steady = every(0, 60_000, 125);
    let burst = every(20_000, 25_000, 17);
    let edge = (0..100).map(|number| 49_900 + number).chain((0..100).map(|number| 50_000 + number));
    let mut all: Vec<u64> = steady.chain(burst).chain(edge).map(|millis| millis * 1_000_000).collect();
    all.sort_unstable();
    all
}

fn plot(algorithm: Algorithm) -> Outcome<String> {
    const BIN_NS: u64 = 500_000_000;
    let policy = Policy::new(settings(algorithm))?;
    let (mut state, mut admitted) = (policy.full(), Vec::new());
    let asked = demand();
    for at in &asked {
        let (decision, new) = policy.check(state, Moment::from_nanos(*at), 1);
        admitted.extend(decision.conforms().then_some(*at));
        state = new;
    }
    let in_bin = |all: &[u64], bin: u64| all.iter().filter(|at| **at / BIN_NS == bin).count() as f64;
    let in_window = |end: u64| admitted.iter().filter(|at| **at <= end && end < **at + WINDOW_NS).count() as f64;
    let seconds = |bin: u64| bin as f64 * 0.5;
    let steps = |all: &[u64]| {
        (0..120).flat_map(|bin| [Some((seconds(bin), in_bin(all, bin))), Some((seconds(bin + 1), in_bin(all, bin)))]).collect()
    };
    let lines = vec![
        Line { class: "three", points: steps(&asked), filled: false },
        Line { class: "one", points: steps(&admitted), filled: true },
        Line {
            class: "two",
            points: (0..600).map(|tenth| Some((tenth as f64 / 10.0, in_window(tenth * 100_000_000)))).collect(),
            filled: false,
        },
    ];
    let y = Axis::from_zero("requests", 220.0, |mark| format!("{mark}"));
    let x = Axis::from_zero("seconds", 60.0, |mark| format!("{mark}"));
    Ok(Plot { title: "Requests let through over time", x, y, lines }.svg_alone(STYLE))
}
