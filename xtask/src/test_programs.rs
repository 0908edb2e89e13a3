//! All tests of the workspace, package by package. They are built together, with the programs that they
//! start: `cargo test` for a single package would rebuild its dependencies with other features.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::parts::{Outcome, Parts, cargo, output, run};
use crate::services::Services;
use crate::slowest::Slowest;

/// Programs whose tests run one after another, because they measure times or stop engines.
const ONE_THREAD: &[&str] = &["alone", "scaled"];

/// A test program, and the package that it belongs to.
struct TestProgram {
    package: String,
    name: String,
    folder: PathBuf,
    program: PathBuf,
}

pub(crate) fn run_all(parts: &mut Parts) -> Result<Slowest, String> {
    let mut programs = Vec::new();
    parts.run("build", || {
        programs = build()?;
        Ok(())
    })?;
    let mut services = None;
    parts.run("start services", || {
        services = Some(Services::start()?);
        Ok(())
    })?;
    let mut packages: Vec<String> = programs.iter().map(|program| program.package.clone()).collect();
    packages.dedup();
    let mut slowest = Slowest::default();
    for package in packages {
        parts.run(&package, || {
            let mut programs = programs.iter().filter(|program| program.package == package);
            programs.try_for_each(|program| run_one(program, services.as_ref(), &mut slowest))
        })?;
    }
    parts.run("end services", || {
        drop(services);
        Ok(())
    })?;
    parts.run("examples in docs", || run(&mut cargo(&["test", "--release", "--workspace", "--doc", "--quiet"])))?;
    Ok(slowest)
}

fn run_one(test: &TestProgram, services: Option<&Services>, slowest: &mut Slowest) -> Outcome {
    eprintln!("-- {} {}", test.package, test.name);
    let mut program = Command::new(&test.program);
    program.current_dir(&test.folder).env("CARGO_MANIFEST_DIR", &test.folder);
    if ONE_THREAD.contains(&test.name.as_str()) {
        program.args(["--test-threads", "1"]);
    }
    if let Some(services) = services {
        services.tell(&mut program);
    }
    slowest.run(&format!("{} {}", test.package, test.name), &mut program)
}

/// Builds every test program; cargo lists their paths as one JSON object per line.
fn build() -> Result<Vec<TestProgram>, String> {
    let mut build = cargo(&["test", "--release", "--workspace", "--tests", "--no-run", "--message-format=json"]);
    let mut programs: Vec<TestProgram> = output(&mut build)?.lines().filter_map(program_of).collect();
    programs.sort_by(|one, other| (&one.package, &one.program).cmp(&(&other.package, &other.program)));
    if programs.is_empty() { Err("cargo built no test program".to_owned()) } else { Ok(programs) }
}

fn program_of(line: &str) -> Option<TestProgram> {
    // Programs that tests start are listed too; a test program is recognised by its profile.
    let profile = line.split("\"profile\":{").nth(1)?.split('}').next()?;
    if !line.contains("\"reason\":\"compiler-artifact\"") || !profile.contains("\"test\":true") {
        return None;
    }
    let program = PathBuf::from(text_of(line, "executable")?);
    let manifest = PathBuf::from(text_of(line, "manifest_path")?);
    let folder = manifest.parent().unwrap_or(Path::new(".")).to_owned();
    let package = folder.file_name()?.to_str()?.to_owned();
    let target = line.split("\"target\":{").nth(1)?.split('}').next()?;
    let name = text_of(target, "name")?.to_owned();
    Some(TestProgram { package, name, folder, program })
}

/// The text of a key. Paths with quotes or backslashes are not supported.
fn text_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{key}\":\""))? + key.len() + 4;
    line.get(start..)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_found_in_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/a/crates/engine/Cargo.toml","target":{"kind":["test"],"name":"all"},"profile":{"test":true},"executable":"/a/target/release/deps/engine-1"}"#;
        let program = program_of(line).unwrap();
        assert_eq!((program.package.as_str(), program.name.as_str()), ("engine", "all"));
        assert_eq!(program.program.to_str(), Some("/a/target/release/deps/engine-1"));
        let started_by_tests = line.replace("{\"test\":true}", "{\"test\":false}");
        assert!(program_of(&started_by_tests).is_none());
    }
}
