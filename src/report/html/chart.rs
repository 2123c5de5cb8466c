//! Axes, lines and labels of a picture as SVG.
//!
//! Separate from what is drawn, and our own: a few straight lines need no library, and these follow the page's colours in light
//! and dark (decision 0024).

use super::escape;

/// Size of a picture in its own units; the page scales it.
const WIDTH: f64 = 480.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// Colours that people who see colours differently tell apart, each with a dash of its own.
const DASHES: [&str; 6] = ["", "7 3", "2 3", "10 3 2 3", "4 4", "1 4"];

/// One axis: from where to where, and whether equal ratios are equal lengths.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Axis {
    /// Equal differences are equal lengths.
    pub fn linear(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, is_log: false }
    }

    /// Equal ratios are equal lengths; from the decade's part below the smallest to that above the largest.
    pub fn log(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if !low.is_finite() {
            (low, high) = (1.0, 10.0);
        }
        let ends = steps(low / 5.0, high * 5.0);
        let below = ends.iter().copied().filter(|step| *step <= low).fold(0.0, f64::max);
        let above = ends.iter().copied().find(|step| *step > high).unwrap_or(high * 2.0);
        Self { low: if below > 0.0 { below } else { low }, high: above, is_log: true }
    }

    fn part(&self, value: f64) -> f64 {
        let part = match self.is_log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        part.clamp(0.0, 1.0)
    }

    /// Round figures along a logarithmic axis, few enough to be read.
    pub fn ticks(&self) -> Vec<f64> {
        let all: Vec<f64> =
            steps(self.low, self.high).into_iter().filter(|step| (self.low..=self.high).contains(step)).collect();
        let is_decade = |step: &f64| step.log10().fract().abs() < 1e-9;
        match all.len() {
            0..=9 => all,
            _ => all.into_iter().filter(is_decade).collect(),
        }
    }
}

/// 1, 2 and 5 of each decade.
fn steps(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.max(1e-9).log10().floor() as i32, high.max(1e-9).log10().ceil() as i32);
    (first..=last).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade))).collect()
}

/// A picture that is being drawn.
pub struct Chart {
    x: Axis,
    y: Axis,
    height: f64,
    body: String,
}

impl Chart {
    /// An empty one with these axes.
    pub fn new(x: Axis, y: Axis, height: f64) -> Self {
        Self { x, y, height, body: String::new() }
    }

    /// Round figures up the picture.
    pub fn ticks(&self) -> Vec<f64> {
        self.y.ticks()
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.part(x) * (WIDTH - LEFT - RIGHT);
        let down = self.height - BOTTOM - self.y.part(y) * (self.height - TOP - BOTTOM);
        (across, down)
    }

    /// A line across with its figure.
    pub fn level(&mut self, y: f64, label: &str) {
        let (left, down) = self.at(self.x.low, y);
        let right = WIDTH - RIGHT;
        self.body.push_str(&format!(
            "<line class=\"grid\" x1=\"{left:.1}\" y1=\"{down:.1}\" x2=\"{right:.1}\" y2=\"{down:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            left - 6.0,
            down + 4.0,
            escape(label)
        ));
    }

    /// A figure below the axis.
    pub fn mark(&mut self, x: f64, label: &str) {
        let (across, _) = self.at(x, self.y.low);
        // At the end of the axis a figure that is centred would be cut off.
        let anchor = if across > WIDTH - 2.0 * RIGHT { "end" } else { "middle" };
        self.body.push_str(&format!(
            "<text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            self.height - 8.0,
            escape(label)
        ));
    }

    /// A line through these points in the colour and dash of its number.
    pub fn line(&mut self, points: &[(f64, f64)], number: usize) {
        let dash = DASHES[number % DASHES.len()];
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        let path: Vec<String> =
            points.iter().map(|(x, y)| self.at(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.body.push_str(&format!(
            "<polyline class=\"s c{}\"{dash} points=\"{}\"/>\n",
            number % DASHES.len(),
            path.join(" ")
        ));
    }

    /// An interval at one place, as a bar with ends.
    pub fn interval(&mut self, x: f64, (low, high): (f64, f64), number: usize) {
        let ((across, from), (_, to)) = (self.at(x, low), self.at(x, high));
        self.body.push_str(&format!(
            "<path class=\"s c{}\" d=\"M{:.1} {from:.1}h6m-3 0V{to:.1}m-3 0h6\"/>\n",
            number % DASHES.len(),
            across - 3.0
        ));
    }

    /// A point.
    pub fn point(&mut self, x: f64, y: f64, label: &str) {
        let (across, down) = self.at(x, y);
        self.body.push_str(&format!(
            "<text class=\"key\" x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            down + 4.0,
            escape(label)
        ));
    }

    /// A filled area between two places, from the bottom to a part of the height.
    pub fn area(&mut self, (from, to): (f64, f64), part: f64, class: &str) {
        let ((left, bottom), (right, _)) = (self.at(from, self.y.low), self.at(to, self.y.low));
        let height = part.clamp(0.0, 1.0) * (self.height - TOP - BOTTOM);
        self.body.push_str(&format!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\n",
            bottom - height,
            (right - left).max(1.0)
        ));
    }

    /// The whole figure: its title, the picture with a text for those who do not see it, and what the lines are.
    pub fn figure(self, title: &str, told: &str, keys: &[String]) -> String {
        let Self { height, body, .. } = self;
        figure(title, told, &format!("0 0 {WIDTH} {height}"), &body, keys)
    }
}

/// A figure around a drawing.
pub fn figure(title: &str, told: &str, view: &str, body: &str, keys: &[String]) -> String {
    let legend: String = keys.iter().enumerate().map(|(at, key)| legend(at, key)).collect();
    let legend = if legend.is_empty() { legend } else { format!("<p>{legend}</p>\n") };
    let (title, told) = (escape(title), escape(told));
    format!(
        "<figure><figcaption>{title}</figcaption>\n<svg viewBox=\"{view}\" role=\"img\" aria-label=\"{told}\">\n{body}</svg>\n\
         {legend}<p>{told}</p></figure>\n"
    )
}

fn legend(at: usize, key: &str) -> String {
    let number = at % DASHES.len();
    format!(
        "<svg style=\"display:inline-block;width:28px;height:10px\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
         <line class=\"s c{number}\" stroke-dasharray=\"{}\" x1=\"0\" y1=\"5\" x2=\"28\" y2=\"5\"/></svg> {} &nbsp; ",
        DASHES[number],
        escape(key)
    )
}
