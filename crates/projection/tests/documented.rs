//! The description of the tables in `docs/history-tables.md` is the declarations' own: what this test
//! makes of them stands there between two marks. `UPDATE_DOCS=1` writes it.
#![allow(clippy::unwrap_used)]

use std::fs;

use domain::Kind;
use domain::rows::Table;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/history-tables.md");
const BEGIN: &str = "<!-- declared tables: made by crates/projection/tests/documented.rs -->\n";
const END: &str = "<!-- end of declared tables -->\n";

fn declared() -> String {
    let mut text = String::new();
    for kind in Kind::ALL.iter().filter(|kind| !kind.is_example()) {
        let removed = if kind.is_removable() { " One that is removed goes, with its entries." } else { "" };
        text.push_str(&head(kind.path(), &format!("Every {} that there is, with the settings that it has now.{removed}", kind.word())));
        text.push_str("| `id` | its number in its partition × the number of partitions + its partition |\n");
        text.push_str("| `partition` | the partition that decides about it |\n| `name` | the name that its runner gave it; unique |\n");
        for field in kind.settings() {
            text.push_str(&line(field.name, field.about));
        }
        text.push_str("| `version` | 1 at first, one more with each change of settings |\n");
        text.push_str("| `created_at`, `changed_at` | when it was created, and when its settings were last written |\n\n");
        kind.tables().iter().for_each(|table| entries(*kind, table, &mut text));
    }
    text
}

fn entries(kind: Kind, table: &Table, text: &mut String) {
    text.push_str(&head(table.name, &format!("{}.", table.about)));
    text.push_str(&format!("| `{}` | the id of its {} |\n", kind.word(), kind.word()));
    for column in table.columns {
        text.push_str(&line(column.name, column.about));
    }
    if table.has_origin {
        text.push_str("| `actor`, `request_id` | who caused it, and by which request, as in the logs |\n");
    }
    if let Some(one_each) = table.one_each {
        text.push_str(&format!(
            "| `only_one` | whether its {} had {} = {} when it was written |\n",
            kind.word(),
            one_each.setting,
            one_each.is
        ));
    }
    let key: Vec<&str> = std::iter::once(kind.word()).chain(table.key().iter().map(|column| column.name)).collect();
    let found_by = table.found_by.map_or_else(String::new, |place| format!("; there is an index by `{}`", table.columns[place].name));
    text.push_str(&format!("\nThe key is `{}`{found_by}.\n\n", key.join("`, `")));
}

fn head(name: &str, about: &str) -> String {
    format!("### `{name}`\n\n{about}\n\n| column | |\n|---|---|\n")
}

fn line(name: &str, about: &str) -> String {
    format!("| `{name}` | {about} |\n")
}

#[test]
fn the_documented_tables_are_the_declared_ones() {
    let text = fs::read_to_string(FILE).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (documented, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(FILE, format!("{before}{BEGIN}\n{}{END}{after}", declared())).unwrap();
        return;
    }
    assert_eq!(documented, format!("\n{}", declared()), "UPDATE_DOCS=1 writes docs/history-tables.md anew");
}
