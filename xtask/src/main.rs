//! Developer commands. `cargo xtask` alone lists them.
#![expect(clippy::print_stdout, reason = "what these commands print is their result")]

mod deny;
mod install;
mod loc;
mod parts;
mod schemathesis;
mod services;
mod slowest;
mod test_programs;
mod tidy;
mod web;

use std::process::ExitCode;

use parts::{Outcome, Parts, cargo, run};

const HELP: &str = "\
cargo xtask COMMAND

  test                all tests; installs what they need, asking first on a terminal
  tidy                what no compiler checks: sizes, headers, words, who knows what
  loc                 lines of each crate, source and tests, and of the product
  deny                licences, bans, sources and advisories of dependencies (cargo-deny)
  web                 the pages, in a browser (a part of `test`)
  screenshots         the pictures of the pages in docs/images, taken anew
  schemathesis        the API against its own description
  sim --seeds N       the simulation with N seeds [--from SEED]; --cluster for the scaled mode
  kill --rounds N     kill -9 of the real program under load, N times
  drill --minutes N   faults of Kafka, Redis, PostgreSQL and servers under load [--seed SEED]
  services up         Kafka, Redis and PostgreSQL in the background, and where they are
                      [--brokers 1|3]; services status; services down
  bench [OPTIONS]     the benchmarks; cargo xtask bench --help
  limits WHAT         rate limits: accuracy (writes docs/results/rate-limit.md), or speed beside
                      the governor crate
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = arguments.split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    let outcome = match command {
        "test" => test(),
        "tidy" => tidy::check(),
        "loc" => loc::print(),
        "deny" => deny::check(),
        "schemathesis" => install::python().and_then(|()| build_program()).and_then(|()| schemathesis::check()),
        "web" => install::for_web().and_then(|()| build_program()).and_then(|()| web::check()),
        "screenshots" => install::for_web().and_then(|()| build_program()).and_then(|()| web::screenshots()),
        "sim" => run(cargo(&["run", "--release", "--package", "sim", "--"]).args(rest)),
        "kill" => kill(rest),
        "services" => services::command(rest),
        "drill" => drill(rest),
        "bench" => bench(rest),
        "limits" => run(cargo(&["run", "--release", "--quiet", "--package", "bench-limits", "--"]).args(rest)),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("there is no command {other:?}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the program with all features, and with the same dependency features as the workspace's tests.
fn build_program() -> Outcome {
    run(&mut cargo(&["build", "--release", "--quiet", "--workspace", "--bin", "firstcome"]))
}

/// Runs every test, part by part, with the time of each part.
fn test() -> Outcome {
    install::for_tests()?;
    let mut parts = Parts::default();
    parts.run("tidy", tidy::check)?;
    let slowest = test_programs::run_all(&mut parts)?;
    parts.run("schemathesis", schemathesis::check)?;
    parts.run("pages", web::check)?;
    slowest.print();
    parts.print();
    Ok(())
}

fn kill(arguments: &[String]) -> Outcome {
    let rounds = match arguments {
        [flag, rounds] if flag == "--rounds" => rounds.as_str(),
        [] => "200",
        _ => return Err("usage: cargo xtask kill [--rounds N]".to_owned()),
    };
    let mut test = cargo(&["test", "--release", "--workspace", "--test", "alone", "--", "--nocapture", "kill::"]);
    run(test.env("FIRSTCOME_KILL_ROUNDS", rounds))
}

/// Repeats the scaled mode's fault scenarios; a failing one prints its seed.
fn drill(arguments: &[String]) -> Outcome {
    let usage = || "usage: cargo xtask drill [--minutes N] [--seed SEED]".to_owned();
    let (mut minutes, mut seed) = (10, 1);
    for pair in arguments.chunks(2) {
        let [flag, value] = pair else { return Err(usage()) };
        let value: u64 = value.parse().map_err(|_| usage())?;
        match flag.as_str() {
            "--minutes" => minutes = value,
            "--seed" => seed = value,
            _ => return Err(usage()),
        }
    }
    let mut test = cargo(&["test", "--release", "--workspace", "--test", "scaled", "--", "--nocapture", "drill::"]);
    test.env("FIRSTCOME_DRILL_SECONDS", (60 * minutes).to_string()).env("FIRSTCOME_DRILL_SEED", seed.to_string());
    run(&mut test)
}

fn bench(arguments: &[String]) -> Outcome {
    install::for_services()?;
    // A rush is measured as users run it: by the program itself, in the same folder as the benchmarks.
    // Without the example workload, which no shipped program has.
    run(&mut cargo(&["build", "--release", "--quiet", "--package", "firstcome", "--package", "bench", "--no-default-features"]))?;
    run(cargo(&["run", "--release", "--quiet", "--package", "bench", "--no-default-features", "--", "all"]).args(arguments))
}
