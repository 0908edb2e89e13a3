//! Counts the lines of each crate, source and tests separately, and of the whole product.
//!
//! *Lines* are all lines of a file; *code* leaves out blank lines and lines that are only comment.
//! Tests are `tests/`, `tests.rs` beside a source file, and what follows `#[cfg(test)] mod tests {`.
//! Documents that are embedded or generated (JSON, SVG) are counted apart, as data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::parts::Outcome;

/// Crates that are for development only; all others ship, in the program or as a library.
const DEVELOPMENT: &[&str] = &["conformance", "services", "sim", "testing"];
const CODE: &[&str] = &["rs", "ts", "tsx", "js", "css", "html", "sql", "lua"];
const DATA: &[&str] = &["json", "svg"];

/// Line counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Lines {
    all: usize,
    code: usize,
}

impl Lines {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.code += other.code;
    }
}

/// A crate, or another part of the workspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Part {
    source: Lines,
    tests: Lines,
    data: usize,
    /// Lines of everything under `src`.
    src: usize,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.source.add(other.source);
        self.tests.add(other.tests);
        self.data += other.data;
        self.src += other.src;
    }
}

pub(crate) fn print() -> Outcome {
    let mut product = BTreeMap::new();
    let mut development = BTreeMap::new();
    for folder in folders_in(Path::new("crates"))? {
        let name = name_of(&folder).to_owned();
        let parts = if DEVELOPMENT.contains(&name.as_str()) { &mut development } else { &mut product };
        parts.insert(name, part_in(&folder)?);
    }
    product.insert("web".to_owned(), part_in(Path::new("web"))?);
    development.insert("benches".to_owned(), part_in(Path::new("benches"))?);
    development.insert("xtask".to_owned(), part_in(Path::new("xtask"))?);
    println!("{:<20} {:>8} {:>8} {:>8} {:>8} {:>8}", "", "source", "", "tests", "", "data");
    println!("{:<20} {:>8} {:>8} {:>8} {:>8} {:>8}", "", "lines", "code", "lines", "code", "lines");
    let product = print_group("product", &product);
    let development = print_group("development", &development);
    let mut all = product;
    all.add(development);
    print_part("all", &all);
    println!("\nproduct source: {} lines, {} of them code", product.source.all, product.source.code);
    println!("everything under the product's src folders, unit tests and data included: {} lines", product.src);
    Ok(())
}

fn print_group(title: &str, parts: &BTreeMap<String, Part>) -> Part {
    let mut total = Part::default();
    for (name, part) in parts {
        print_part(name, part);
        total.add(*part);
    }
    print_part(title, &total);
    println!();
    total
}

fn print_part(name: &str, part: &Part) {
    let Part { source, tests, data, .. } = part;
    println!("{name:<20} {:>8} {:>8} {:>8} {:>8} {data:>8}", source.all, source.code, tests.all, tests.code);
}

/// Everything under a folder that is written by hand.
fn part_in(folder: &Path) -> Result<Part, String> {
    let mut part = Part::default();
    for entry in entries_of(folder)? {
        let name = name_of(&entry);
        if entry.is_dir() {
            // Built pages, fetched modules and raw results are not written by hand.
            if !["dist", "node_modules", "target", "runs", "fixtures", "test-results"].contains(&name) && !name.starts_with('.') {
                part.add(part_in(&entry)?);
            }
            continue;
        }
        let extension = entry.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !CODE.contains(&extension) && !DATA.contains(&extension) {
            continue;
        }
        let text = read(&entry)?;
        let is_in_src = entry.components().any(|component| component.as_os_str() == "src");
        part.src += if is_in_src { text.lines().count() } else { 0 };
        if CODE.contains(&extension) {
            let is_test = entry.components().any(|component| component.as_os_str() == "tests") || name == "tests.rs";
            let (source, tests) = lines_of(&text, extension);
            let into = if is_test { &mut part.tests } else { &mut part.source };
            into.add(source);
            part.tests.add(tests);
        } else if is_in_src {
            part.data += text.lines().count();
        }
    }
    Ok(part)
}

/// The lines before the module of unit tests, and those in it.
fn lines_of(text: &str, extension: &str) -> (Lines, Lines) {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |pair: &[&str]| {
        pair.first() == Some(&"#[cfg(test)]") && pair.get(1).is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let start = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    let (source, tests) = lines.split_at(start);
    (count(source, extension), count(tests, extension))
}

fn count(lines: &[&str], extension: &str) -> Lines {
    let (line_comment, block) = match extension {
        "rs" | "ts" | "tsx" | "js" => ("//", ("/*", "*/")),
        "sql" | "lua" => ("--", ("/*", "*/")),
        "html" => ("<!--", ("<!--", "-->")),
        _ => ("/*", ("/*", "*/")),
    };
    let mut code = 0;
    let mut is_in_block = false;
    for line in lines.iter().map(|line| line.trim()) {
        if is_in_block || line.starts_with(block.0) {
            is_in_block = !line.contains(block.1);
        } else if !line.is_empty() && !line.starts_with(line_comment) {
            code += 1;
        }
    }
    Lines { all: lines.len(), code }
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(entries_of(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_and_comments_are_lines_but_not_code() {
        let text = "//! x\n\n/* a\n b\n*/\nfn f() {} // why\n";
        assert_eq!(lines_of(text, "rs"), (Lines { all: 6, code: 1 }, Lines::default()));
        assert_eq!(lines_of("/* a\n b */\nbody { }\n", "css").0, Lines { all: 3, code: 1 });
    }

    #[test]
    fn unit_tests_are_counted_as_tests() {
        let text = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    // why\n    fn t() {}\n}\n";
        assert_eq!(lines_of(text, "rs"), (Lines { all: 2, code: 1 }, Lines { all: 5, code: 4 }));
        // A module in a file of its own is counted in that file.
        assert_eq!(lines_of("#[cfg(test)]\nmod tests;\n", "rs").1, Lines::default());
    }
}
