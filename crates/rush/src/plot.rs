//! Small line plots as SVG. Colours and fonts come from the page's style sheet by class, so that a plot is
//! readable in light and dark mode.

use std::fmt::Write;

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
    pub fn svg(&self) -> String {
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", self.title);
        self.draw_grid(&mut svg);
        for line in &self.lines {
            self.draw_line(&mut svg, line);
        }
        svg.push_str("</svg>\n");
        svg
    }

    // Writing to a String cannot fail, so the results are dropped.
    fn draw_grid(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &self.y.ticks {
            let y = self.y_of(*value);
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let _ = writeln!(svg, "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", LEFT - 8.0, y + 4.0);
        }
        for (value, text) in &self.x.ticks {
            let x = self.x_of(*value);
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>");
            let _ = writeln!(svg, "<text class=\"mid\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>", bottom + 16.0);
        }
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _ = writeln!(svg, "<text class=\"mid name\" x=\"{middle_x}\" y=\"{:.1}\">{}</text>", HEIGHT - 8.0, self.x.label);
        let _ = writeln!(svg, "<text class=\"mid name\" transform=\"translate(13 {middle_y}) rotate(-90)\">{}</text>", self.y.label);
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        for run in line.points.split(Option::is_none) {
            let points: Vec<_> = run.iter().flatten().collect();
            let place = |point: &&(f64, f64)| format!("{:.1},{:.1}", self.x_of(point.0), self.y_of(point.1));
            let path = points.iter().map(place).collect::<Vec<_>>().join(" ");
            if let ([first, ..], [.., last], true) = (&points[..], &points[..], line.filled) {
                let (first, last, bottom) = (self.x_of(first.0), self.x_of(last.0), HEIGHT - BOTTOM);
                let _ = writeln!(svg, "<polygon class=\"area {}\" points=\"{first:.1},{bottom} {path} {last:.1},{bottom}\"/>", line.class);
            }
            if let [only] = &points[..] {
                let (x, y) = (self.x_of(only.0), self.y_of(only.1));
                let _ = writeln!(svg, "<circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>", line.class);
            }
            let _ = writeln!(svg, "<polyline class=\"line {}\" points=\"{path}\"/>", line.class);
        }
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(value) * (HEIGHT - TOP - BOTTOM)
    }
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
        let svg = Plot { title: "t", x: axis(), y: axis(), lines: vec![line] }.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 1);
    }
}
