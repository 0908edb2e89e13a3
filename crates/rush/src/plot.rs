//! Small line plots as SVG. Colours and fonts come from the page's style sheet by class, so that a plot is
//! readable in light and dark mode.

use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;

/// The scale of one side.
pub struct Axis {
    pub label: &'static str,
    pub scale: Scale,
    /// Marked values with their labels.
    pub ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy)]
pub enum Scale {
    Linear { low: f64, high: f64 },
    Log { low: f64, high: f64 },
}

pub struct Line {
    /// The CSS class that sets the colour.
    pub class: &'static str,
    /// In ascending order of x. `None` interrupts the line.
    pub points: Vec<Option<(f64, f64)>>,
    /// Whether the area below the line is filled.
    pub filled: bool,
}

pub struct Plot {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

impl Scale {
    /// 0 at the low end, 1 at the high end.
    fn place(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear { low, high } => (value - low) / (high - low),
            Scale::Log { low, high } => (value / low).ln() / (high / low).ln(),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Axis {
    /// A linear scale from zero, with four to eight round marks.
    pub fn from_zero(label: &'static str, high: f64, text: impl Fn(f64) -> String) -> Axis {
        let step = round_step(high);
        let marks = (0u32..).map(|index| f64::from(index) * step);
        let ticks = marks.take_while(|mark| *mark <= high * 1.0001);
        Axis { label, scale: Scale::Linear { low: 0.0, high }, ticks: ticks.map(|mark| (mark, text(mark))).collect() }
    }

    /// A logarithmic scale over the whole powers of ten around the values.
    pub fn powers_of_ten(label: &'static str, (least, most): (f64, f64), text: impl Fn(f64) -> String) -> Axis {
        let low = 10f64.powf(least.log10().floor());
        let high = 10f64.powf(most.log10().ceil()).max(low * 10.0);
        let marks = (0i32..).map(|power| low * 10f64.powi(power));
        let ticks = marks.take_while(|mark| *mark <= high * 1.0001);
        Axis { label, scale: Scale::Log { low, high }, ticks: ticks.map(|mark| (mark, text(mark))).collect() }
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(high: f64) -> f64 {
    let rough = (high / 5.0).max(f64::MIN_POSITIVE);
    let decade = 10f64.powf(rough.log10().floor());
    let factor = match rough / decade {
        share if share < 1.5 => 1.0,
        share if share < 3.5 => 2.0,
        share if share < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * decade
}

impl Plot {
    /// The plot for a page whose style sheet sets the colours.
    pub fn svg(&self) -> Markup {
        drawing((WIDTH, HEIGHT), self.title, None, &self.content())
    }

    /// To stand in a file of its own.
    pub fn svg_alone(&self, style: &str) -> String {
        drawing((WIDTH, HEIGHT), self.title, Some(style), &self.content()).into_string()
    }

    fn content(&self) -> Markup {
        html! {
            (self.grid())
            @for line in &self.lines { @for run in line.points.split(Option::is_none) { (self.run(line, run)) } }
        }
    }

    fn grid(&self) -> Markup {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        html! {
            @for (value, text) in &self.y.ticks {
                @let y = self.y_of(*value);
                line.grid x1=(LEFT) x2=(right) y1=(tenths(y)) y2=(tenths(y)) {}
                text.end x=(tenths(LEFT - 8.0)) y=(tenths(y + 4.0)) { (text) }
            }
            @for (value, text) in &self.x.ticks {
                @let x = tenths(self.x_of(*value));
                line.grid x1=(x) x2=(x) y1=(TOP) y2=(bottom) {}
                text.mid x=(x) y=(tenths(bottom + 16.0)) { (text) }
            }
            text.mid.name x=(middle_x) y=(tenths(HEIGHT - 8.0)) { (self.x.label) }
            text.mid.name transform={ "translate(13 " (middle_y) ") rotate(-90)" } { (self.y.label) }
        }
    }

    /// The points between two gaps.
    fn run(&self, line: &Line, run: &[Option<(f64, f64)>]) -> Markup {
        let points: Vec<_> = run.iter().flatten().map(|point| (self.x_of(point.0), self.y_of(point.1))).collect();
        let path = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let bottom = HEIGHT - BOTTOM;
        html! {
            @if let (Some((first, _)), Some((last, _)), true) = (points.first(), points.last(), line.filled) {
                polygon.area.(line.class) points=(format!("{first:.1},{bottom} {path} {last:.1},{bottom}")) {}
            }
            @if let [(x, y)] = points[..] { circle.dot.(line.class) cx=(tenths(x)) cy=(tenths(y)) r="2" {} }
            polyline.line.(line.class) points=(path) {}
        }
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// A picture as SVG. Without a style sheet, a page has to give the colours.
pub fn drawing((width, height): (f64, f64), title: &str, style: Option<&str>, content: &Markup) -> Markup {
    let namespace = style.map(|_| "http://www.w3.org/2000/svg");
    html! {
        svg xmlns=[namespace] viewBox=(format!("0 0 {width} {height:.0}")) role="img" aria-label=(title) {
            @if let Some(style) = style { style { (PreEscaped(style)) } }
            (content)
        }
    }
}

/// A coordinate; tenths of a pixel are fine enough for any screen.
pub fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within_the_axis() {
        for high in [0.3, 1.0, 7.0, 99.0, 105_000.0] {
            let axis = Axis::from_zero("x", high, |mark| mark.to_string());
            assert!((4..=11).contains(&axis.ticks.len()), "{high}: {}", axis.ticks.len());
            assert!(axis.ticks.iter().all(|(mark, _)| *mark <= high * 1.001));
        }
    }

    #[test]
    fn a_log_axis_holds_its_values() {
        let axis = Axis::powers_of_ten("y", (130.0, 1_700_000.0), |mark| mark.to_string());
        let marks: Vec<f64> = axis.ticks.iter().map(|tick| tick.0).collect();
        assert_eq!(marks.len(), 6);
        assert!(marks[0] <= 130.0 && 1_700_000.0 <= marks[5]);
        assert!((axis.scale.place(10_000.0) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn a_gap_in_the_values_is_a_gap_in_the_line() {
        let line = Line { class: "a", points: vec![Some((0.0, 1.0)), Some((1.0, 1.0)), None, Some((3.0, 1.0))], filled: false };
        let axis = || Axis::from_zero("x", 3.0, |mark| mark.to_string());
        let svg = Plot { title: "t", x: axis(), y: axis(), lines: vec![line] }.svg().into_string();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 1);
    }
}
