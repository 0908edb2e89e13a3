//! Checks that no compiler makes: sizes, headers, words, dependencies. The numbers are ratchets: they may
//! only be lowered.

use std::fs;
use std::path::{Path, PathBuf};

use crate::parts::Outcome;

/// Most lines of a Rust file.
const FILE_LINES_MAX: usize = 500;
/// Most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Words that the rules must not use, each with the right one.
const WORDS: &[(&str, &str)] = &[
    ("Coupon::reserve", "claim"),
    ("fn acquire", "claim"),
    ("start_at", "opens_at"),
    ("end_at", "closes_at"),
    ("nonce", "request key"),
    ("HashMap", "BTreeMap, or the keyed index"),
];

pub(crate) fn check() -> Outcome {
    let mut found = Vec::new();
    for file in rust_files(Path::new("."))? {
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        check_file(&file, &text, &mut found);
    }
    check_domain(&mut found)?;
    check_edges(&mut found)?;
    if found.is_empty() { Ok(()) } else { Err(format!("\n  {}", found.join("\n  "))) }
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            files.extend(rust_files(&path)?);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(file: &Path, text: &str, found: &mut Vec<String>) {
    let name = file.display();
    let lines: Vec<&str> = text.lines().collect();
    if FILE_LINES_MAX < lines.len() && !is_rules(file) {
        found.push(format!("{name}: {} lines; a file has {FILE_LINES_MAX} at most", lines.len()));
    }
    if !text.starts_with("//!") {
        found.push(format!("{name}: does not begin with //! and what it is for"));
    }
    if let Some(place) = lines.iter().position(|line| line.ends_with(' ') || line.contains('\t')) {
        found.push(format!("{name}:{}: a tab, or a space at the end", place + 1));
    }
    for (start, length) in functions(&lines).into_iter().filter(|(_, length)| FUNCTION_LINES_MAX < *length) {
        found.push(format!("{name}:{start}: a function of {length} lines; {FUNCTION_LINES_MAX} at most"));
    }
}

/// The rules of one workload are in one file, with its parts in a fixed order; see STYLE.
fn is_rules(file: &Path) -> bool {
    file.ends_with("crates/domain/src/coupon.rs")
}

/// First line and length of each function: it ends at the first closing brace at its own indent.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = code.strip_prefix("pub ").or_else(|| code.strip_prefix("pub(crate) ")).unwrap_or(code);
        let words = words.strip_prefix("async ").unwrap_or(words);
        if !words.starts_with("fn ") || line.ends_with(';') {
            continue;
        }
        let end = lines.iter().skip(place).position(|line| line.len() == indent + 1 && line.ends_with('}'));
        found.extend(end.map(|length| (place + 1, length + 1)));
    }
    found
}

/// R1: the rules have no dependencies; and they use the right words.
fn check_domain(found: &mut Vec<String>) -> Outcome {
    let manifest = read("crates/domain/Cargo.toml")?;
    let dependencies = manifest.split("\n[").find(|section| section.starts_with("dependencies]")).unwrap_or_default();
    if dependencies.lines().skip(1).any(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        found.push("crates/domain/Cargo.toml: the rules have a dependency (R1)".to_owned());
    }
    for file in rust_files(Path::new("crates/domain/src"))? {
        let text = read(&file.to_string_lossy())?;
        for (word, instead) in WORDS.iter().filter(|(word, _)| text.contains(word)) {
            found.push(format!("{}: {word:?}; use {instead}", file.display()));
        }
    }
    Ok(())
}

/// The allowed dependencies: only `edge` and `firstcome` know HTTP and JSON (with `rush`, an HTTP client), only
/// `projection` SQL, only `cluster` Kafka and Redis (E1); except the lab, which shows how others use them.
const EDGES: &[(&str, &[&str])] = &[
    ("axum", &["edge", "firstcome", "lab"]),
    ("hyper", &["edge", "firstcome", "rush", "lab"]),
    ("serde_json", &["edge", "firstcome", "audit", "rush", "lab"]),
    ("clap", &["firstcome"]),
    ("rusqlite", &["projection"]),
    ("tokio-postgres", &["projection", "lab"]),
    ("deadpool-postgres", &["projection", "lab"]),
    ("rdkafka", &["cluster", "lab"]),
    ("redis", &["cluster", "lab"]),
    // The edge knows no workload, and no engine or storage.
    ("engine", &["cluster", "audit", "firstcome", "sim"]),
    ("cluster", &["audit", "firstcome", "sim"]),
    ("projection", &["audit", "firstcome"]),
];
/// The product's crates.
const CRATES: &[&str] = &[
    "domain",
    "journal",
    "engine",
    "projection",
    "cluster",
    "rate-limit-layer",
    "rush",
    "lab",
    "audit",
    "edge",
    "firstcome",
    "oracle",
    "sim",
];

fn check_edges(found: &mut Vec<String>) -> Outcome {
    for name in CRATES {
        let manifest = read(&format!("crates/{name}/Cargo.toml"))?;
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let foreign = EDGES.iter().filter(|(_, allowed)| !allowed.contains(name)).map(|(library, _)| library);
        for library in foreign.filter(|library| dependencies.contains(&format!("\n{library} "))) {
            found.push(format!("crates/{name}/Cargo.toml: depends on {library} (E1)"));
        }
    }
    check_protocol(found)
}

/// The protocol of the scaled mode is free of I/O, so that the simulation can run all of it.
fn check_protocol(found: &mut Vec<String>) -> Outcome {
    for file in rust_files(Path::new("crates/cluster/src/protocol"))? {
        let text = read(&file.to_string_lossy())?;
        for word in ["rdkafka", "redis::", "std::net", "tokio::net", "std::fs", "std::thread"].iter().filter(|word| text.contains(**word)) {
            found.push(format!("{}: {word:?}; the protocol does no I/O", file.display()));
        }
    }
    Ok(())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_too_long_is_found() {
        let long = format!("//! x\nimpl A {{\n    pub fn f() {{\n{}    }}\n}}\n", "        x();\n".repeat(69));
        let mut found = Vec::new();
        check_file(Path::new("a.rs"), &long, &mut found);
        assert_eq!(found, ["a.rs:3: a function of 71 lines; 70 at most"]);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let mut found = Vec::new();
        check_file(Path::new("a.rs"), "fn f() {}\n", &mut found);
        assert_eq!(found.len(), 1);
    }
}
