//! PostgreSQL's tables, made from the workloads' declarations, and the differences to existing tables.

use std::collections::{BTreeMap, BTreeSet};

use domain::Kind;
use domain::fields::{Field, FieldKind, Value};
use domain::rows::ColumnKind;

use crate::declared::{EntryTable, column_at, quoted};

/// The column that stores whether [`domain::rows::OneEach`] holds for the row.
pub(super) const ONLY_ONE: &str = "only_one";

/// A declared table.
struct TableForm {
    name: &'static str,
    about: String,
    columns: Vec<ColumnForm>,
    constraints: Vec<String>,
    /// Name, definition and comment.
    indices: Vec<(String, String, String)>,
}

struct ColumnForm {
    name: &'static str,
    /// The type as `format_type` writes it.
    sql_type: &'static str,
    is_nullable: bool,
    /// The rest of the column's definition.
    rest: &'static str,
    /// The default for rows written before the column existed; `None` if there is none.
    before: Option<String>,
    about: String,
}

impl ColumnForm {
    fn new(name: &'static str, sql_type: &'static str, about: impl Into<String>) -> Self {
        Self { name, sql_type, is_nullable: false, rest: "", before: None, about: about.into() }
    }

    fn definition(&self) -> String {
        let collation = if self.sql_type == "text" { " COLLATE \"C\"" } else { "" };
        let null = if self.is_nullable { "" } else { " NOT NULL" };
        let name = quoted(self.name);
        let check = if self.sql_type == "bigint" { format!(" CHECK (0 <= {name})") } else { String::new() };
        format!("{name} {}{collation}{null}{}{check}", self.sql_type, self.rest)
    }
}

fn declared() -> Vec<TableForm> {
    Kind::ALL.iter().map(|kind| aggregates(*kind)).chain(EntryTable::all().map(entries)).collect()
}

fn aggregates(kind: Kind) -> TableForm {
    let word = kind.word();
    let id = ColumnForm::new("id", "bigint", "Its number in its partition, times the number of partitions, plus its partition");
    let partition = ColumnForm::new("partition", "integer", "The partition that decides about it");
    let name = ColumnForm::new("name", "text", "The name that its runner gave it");
    let settings = kind.settings().iter().zip(kind.least().values()).map(|(field, (_, least))| setting(field, least));
    let mut columns = vec![
        ColumnForm { rest: " PRIMARY KEY", ..id },
        ColumnForm { rest: " REFERENCES firstcome.positions (partition)", ..partition },
        ColumnForm { rest: " UNIQUE", ..name },
    ];
    columns.extend(settings);
    columns.extend([
        ColumnForm::new("version", "bigint", "1 at first, one more with each change of settings"),
        ColumnForm::new("created_at", "timestamp with time zone", "When it was created"),
        ColumnForm::new("changed_at", "timestamp with time zone", "When its settings were last written"),
    ]);
    let about = format!("Every {word} that there is, with the settings that it has now");
    TableForm { name: kind.path(), about, columns, constraints: Vec::new(), indices: Vec::new() }
}

fn setting(field: &'static Field, least: Value) -> ColumnForm {
    let sql_type = match field.kind {
        FieldKind::Bool => "boolean",
        FieldKind::Number(..) => "bigint",
        FieldKind::Time => "timestamp with time zone",
        FieldKind::Word(_) => "text",
    };
    let before = match least {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Time(time) => format!("to_timestamp({} / 1000.0)", time.millis()),
        Value::Word(word) => literal(word),
    };
    ColumnForm { is_nullable: field.is_nullable, before: Some(before), ..ColumnForm::new(field.name, sql_type, field.about) }
}

/// Entries of a removed aggregate are deleted with it.
fn entries(declared: EntryTable) -> TableForm {
    let EntryTable { kind, table } = declared;
    let (owner, order) = (declared.owner(), declared.order().join(", "));
    let mut columns = vec![ColumnForm::new(owner, "bigint", format!("The id of its {owner}: {}.id", kind.path()))];
    columns.extend(table.columns.iter().map(|column| {
        let before = column.is_nullable.then(|| "NULL".to_owned());
        ColumnForm { is_nullable: column.is_nullable, before, ..ColumnForm::new(column.name, column_type(column.kind), column.about) }
    }));
    if table.has_origin {
        columns.push(ColumnForm::new("actor", "text", "Who caused it: the name of the key, users, or local"));
        columns.push(ColumnForm::new("request_id", "text", "The request that caused it, as in the logs"));
    }
    let removal = if kind.is_removable() { " ON DELETE CASCADE" } else { "" };
    let references = format!("FOREIGN KEY ({}) REFERENCES firstcome.{} (id){removal}", quoted(owner), quoted(kind.path()));
    let mut indices = Vec::new();
    if let Some((name, found_by)) = declared.found_by() {
        let text = format!("INDEX {} ON firstcome.{} ({}, {order})", quoted(&name), quoted(table.name), quoted(found_by));
        indices.push((name, text, format!("Every {} of one {found_by}", table.row)));
    }
    if let Some(one_each) = table.one_each {
        let (of, (unless, text)) = (column_at(table, one_each.column).name, one_each.unless);
        let about = format!("Whether its {owner} had {} = {} when it was written", one_each.setting, one_each.is);
        columns.push(ColumnForm::new(ONLY_ONE, "boolean", about));
        let name = format!("{}_one_each", table.name);
        let of_owner = format!("firstcome.{} ({}, {})", quoted(table.name), quoted(owner), quoted(of));
        let holds = format!("WHERE {ONLY_ONE} AND {} <> {}", quoted(column_at(table, unless).name), literal(text));
        let text = format!("UNIQUE INDEX {} ON {of_owner} {holds}", quoted(&name));
        indices.push((name, text, format!("One {} for each {of} where the {owner} gives one", table.row)));
    }
    TableForm {
        name: table.name,
        about: table.about.to_owned(),
        columns,
        constraints: vec![format!("PRIMARY KEY ({order})"), references],
        indices,
    }
}

fn column_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Number => "bigint",
        ColumnKind::Text => "text",
        ColumnKind::Time => "timestamp with time zone",
        ColumnKind::Bool => "boolean",
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The declared tables as found in a database.
#[derive(Default)]
pub(super) struct Found {
    /// By table and column: the type, and whether it is nullable.
    pub(super) tables: BTreeMap<String, BTreeMap<String, (String, bool)>>,
    pub(super) indices: BTreeSet<String>,
}

/// Why existing tables cannot be brought to the declaration.
#[derive(Debug)]
pub(super) enum Unfit {
    /// A column that this program does not know.
    Later(String),
    /// A column that differs from the declaration.
    Other(String),
}

/// The statements that bring existing tables to the declaration; none if they match. Only missing parts are
/// added: a settings column gets the default that its absence in a record means.
pub(super) fn missing(found: &Found) -> Result<Vec<String>, Unfit> {
    let mut statements = Vec::new();
    for table in declared() {
        let there = found.tables.get(table.name);
        let mut changes = match there {
            None => vec![create(&table)],
            Some(columns) => added(&table, columns)?,
        };
        let indices = table.indices.iter().filter(|(name, ..)| !found.indices.contains(name));
        changes.extend(indices.map(|(_, text, _)| format!("CREATE {text}")));
        if !changes.is_empty() {
            changes.extend(comments(&table));
        }
        statements.append(&mut changes);
    }
    Ok(statements)
}

fn create(table: &TableForm) -> String {
    let lines: Vec<String> = table.columns.iter().map(ColumnForm::definition).chain(table.constraints.iter().cloned()).collect();
    format!("CREATE TABLE firstcome.{} (\n    {}\n)", quoted(table.name), lines.join(",\n    "))
}

fn added(table: &TableForm, there: &BTreeMap<String, (String, bool)>) -> Result<Vec<String>, Unfit> {
    let is_known = |name: &String| table.columns.iter().any(|column| column.name == name);
    if let Some(name) = there.keys().find(|name| !is_known(name)) {
        return Err(Unfit::Later(format!("{}.{name}", table.name)));
    }
    let mut statements = Vec::new();
    for column in &table.columns {
        let name = format!("{}.{}", table.name, column.name);
        match there.get(column.name) {
            Some((sql_type, is_nullable)) if (sql_type.as_str(), *is_nullable) == (column.sql_type, column.is_nullable) => {}
            Some((sql_type, is_nullable)) => {
                let null = if *is_nullable { "" } else { " NOT NULL" };
                return Err(Unfit::Other(format!("{name} is {sql_type}{null} there, and must be {}", column.definition())));
            }
            None => {
                let Some(before) = &column.before else { return Err(Unfit::Other(format!("{name} is not there"))) };
                let (of, definition) = (quoted(table.name), column.definition());
                statements.push(format!("ALTER TABLE firstcome.{of} ADD COLUMN {definition} DEFAULT {before}"));
                statements.push(format!("ALTER TABLE firstcome.{of} ALTER COLUMN {} DROP DEFAULT", quoted(column.name)));
            }
        }
    }
    Ok(statements)
}

fn comments(table: &TableForm) -> Vec<String> {
    let of = format!("firstcome.{}", quoted(table.name));
    let columns = table.columns.iter().map(|column| format!("COLUMN {of}.{} IS {}", quoted(column.name), literal(&column.about)));
    let indices = table.indices.iter().map(|(name, _, about)| format!("INDEX firstcome.{} IS {}", quoted(name), literal(about)));
    let all = std::iter::once(format!("TABLE {of} IS {}", literal(&table.about))).chain(columns).chain(indices);
    all.map(|comment| format!("COMMENT ON {comment}")).collect()
}
