//! Bars as SVG: one line for each strategy, one or two bars in it, each with its value.

use maud::{Markup, html};
use rush::plot::{drawing, tenths};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
/// Space for the value behind the longest bar.
const RIGHT: f64 = 110.0;
const TOP: f64 = 34.0;
const BAR: f64 = 15.0;
const GAP: f64 = 11.0;
/// Keeps the shortest bar visible.
const BAR_WIDTH_MIN: f64 = 1.5;

/// A file of its own has no page whose style sheet would set the colours.
const STYLE: &str = "svg{background:#fff}text{fill:#333;font:12px system-ui,sans-serif}.end{text-anchor:end}.head{font-weight:600}\
.one{fill:#0a6ebd}.two{fill:#c2570c}.bad{fill:#b3261e}";

/// The values of one strategy; several bars are stacked.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

pub(crate) struct Bar {
    /// The CSS class that sets the colour: `one`, `two`, `bad`.
    pub(crate) class: &'static str,
    pub(crate) value: f64,
    pub(crate) text: String,
}

pub(crate) struct Bars {
    pub(crate) title: String,
    /// Whether the scale is logarithmic, for values that are far apart.
    pub(crate) is_log: bool,
    pub(crate) groups: Vec<Group>,
}

impl Bars {
    /// The plot for a page whose style sheet sets the colours.
    pub(crate) fn svg(&self) -> Markup {
        self.drawn(None)
    }

    /// The plot as a file of its own.
    pub(crate) fn svg_alone(&self) -> String {
        self.drawn(Some(STYLE)).into_string()
    }

    fn drawn(&self, style: Option<&str>) -> Markup {
        let mut end = TOP;
        let groups = self.groups.iter().map(|group| {
            let top = end;
            end += group.bars.len() as f64 * BAR + GAP;
            self.group(group, top)
        });
        let groups: Vec<Markup> = groups.collect();
        let content = html! {
            text.head x="0" y="16" { (self.title) }
            @for group in &groups { (group) }
        };
        drawing((WIDTH, end), &self.title, style, &content)
    }

    fn group(&self, group: &Group, top: f64) -> Markup {
        let middle = top + group.bars.len() as f64 * BAR / 2.0 + 4.0;
        html! {
            text.end x=(tenths(LEFT - 8.0)) y=(tenths(middle)) { (group.name) }
            @for (place, bar) in (0u32..).zip(&group.bars) { (self.bar(bar, top + f64::from(place) * BAR)) }
        }
    }

    fn bar(&self, bar: &Bar, top: f64) -> Markup {
        let width = self.share(bar.value) * (WIDTH - LEFT - RIGHT);
        let width = if 0.0 < bar.value { width.max(BAR_WIDTH_MIN) } else { 0.0 };
        html! {
            rect.(bar.class) x=(LEFT) y=(tenths(top + 1.0)) width=(tenths(width)) height=(tenths(BAR - 2.0)) rx="2" {}
            text x=(tenths(LEFT + width + 6.0)) y=(tenths(top + BAR - 4.0)) { (bar.text) }
        }
    }

    /// A bar's share of the full length, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let values = || self.groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value).filter(|value| 0.0 < *value);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        if !self.is_log {
            return value / most;
        }
        // The scale begins one power of ten below the least value, so that it has a bar too.
        let least = values().fold(most, f64::min) / 10.0;
        if value <= least { 0.0 } else { (value / least).ln() / (most / least).ln() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(is_log: bool) -> Bars {
        let group =
            |name: &str, value: f64| Group { name: name.to_owned(), bars: vec![Bar { class: "one", value, text: value.to_string() }] };
        Bars { title: "t".to_owned(), is_log, groups: vec![group("a", 0.0), group("b", 10.0), group("c", 1_000.0)] }
    }

    #[test]
    fn the_longest_bar_fills_the_plot_and_nothing_has_none() {
        for is_log in [false, true] {
            let bars = bars(is_log);
            assert_eq!((bars.share(0.0), bars.share(1_000.0)), (0.0, 1.0));
        }
        assert!((bars(true).share(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert!((bars(false).share(10.0) - 0.01).abs() < 1e-9);
    }

    #[test]
    fn a_file_of_its_own_has_a_name_space_and_colours() {
        let svg = bars(false).svg_alone();
        assert!(svg.starts_with("<svg xmlns=") && svg.contains("<style>") && svg.matches("<rect").count() == 3);
    }
}
