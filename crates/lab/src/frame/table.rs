//! A table as text for a terminal, in Markdown, and in HTML.

use maud::{Markup, html};

/// Columns and rows; every row has as many cells as there are columns.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// What stands in one place.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) is_number: bool,
    /// A count that should be zero and is not.
    pub(crate) is_alarming: bool,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_number: false, is_alarming: false }
    }

    pub(crate) fn number(text: impl Into<String>) -> Self {
        Self { is_number: true, ..Self::text(text) }
    }

    pub(crate) fn alarming_if(self, is_alarming: bool) -> Self {
        Self { is_alarming, ..self }
    }
}

impl Table {
    /// Columns side by side; the last one is not filled up, because it is the longest.
    pub(crate) fn to_text(&self) -> String {
        let width = |place: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.text.chars().count());
            cells.chain(self.columns.get(place).map(|name| name.chars().count())).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let head = self.columns.iter().enumerate().map(|(place, name)| match self.is_number(place) {
            true => Cell::number(*name),
            false => Cell::text(*name),
        });
        let mut text = line(&head.collect::<Vec<_>>(), &widths);
        self.rows.iter().for_each(|row| text.push_str(&line(row, &widths)));
        text
    }

    pub(crate) fn to_markdown(&self) -> String {
        let rule = |place| if self.is_number(place) { "---:" } else { "---" };
        let rules: Vec<&str> = (0..self.columns.len()).map(rule).collect();
        let mut text = format!("| {} |\n| {} |\n", self.columns.join(" | "), rules.join(" | "));
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell.is_alarming {
                true => format!("**{}**", cell.text),
                false => cell.text.clone(),
            });
            text.push_str(&format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
        }
        text
    }

    pub(crate) fn to_html(&self) -> Markup {
        html! {
            .card {
                table {
                    tr { @for name in &self.columns { th { (name) } } }
                    @for row in &self.rows { tr { @for cell in row { (html_cell(cell)) } } }
                }
            }
        }
    }

    fn is_number(&self, place: usize) -> bool {
        self.rows.iter().any(|row| row.get(place).is_some_and(|cell| cell.is_number))
    }
}

fn line(cells: &[Cell], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let space = " ".repeat(width.saturating_sub(cell.text.chars().count()));
        if cell.is_number { format!("{space}{}", cell.text) } else { format!("{}{space}", cell.text) }
    });
    format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
}

fn html_cell(cell: &Cell) -> Markup {
    let class = match (cell.is_number, cell.is_alarming) {
        (true, true) => Some("number alarming"),
        (true, false) => Some("number"),
        (false, true) => Some("alarming"),
        (false, false) => None,
    };
    html! { td class=[class] { (cell.text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, count: &str| vec![Cell::text(name), Cell::number(count).alarming_if(count != "0"), Cell::text("x <y>")];
        Table { columns: vec!["name", "over", "note"], rows: vec![row("a", "0"), row("longer", "1,234")] }
    }

    #[test]
    fn columns_stand_under_one_another_and_numbers_to_the_right() {
        assert_eq!(table().to_text(), "name     over  note\na           0  x <y>\nlonger  1,234  x <y>\n");
    }

    #[test]
    fn what_is_alarming_stands_out_and_text_is_made_harmless() {
        assert!(table().to_markdown().contains("| longer | **1,234** | x <y> |"));
        assert!(table().to_html().into_string().contains("<td class=\"number alarming\">1,234</td><td>x &lt;y&gt;</td>"));
    }
}
