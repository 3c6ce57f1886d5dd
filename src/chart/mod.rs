//! Time series as pictures: for a terminal, as SVG, and with the feature `png` as PNG. Offline: it is given all it shows.
//!
//! Series that hold until they change (workers wanted and present) are drawn as steps on the left axis; what is only measured
//! now and then (a backlog) is an area with a scale of its own: beside them in a picture, below them on a terminal.

#[cfg(feature = "png")]
mod png;
mod scale;
mod svg;
mod terminal;

use crate::model::text::is_harmful;
use scale::Axis;

/// What the numbers of the horizontal axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds since some beginning.
    Seconds,
    /// Seconds since the Unix epoch, shown as UTC.
    Wall,
}

/// Numbers over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What they are. Not trusted: shown without control characters.
    pub name: String,
    /// Seconds and number. What is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// It holds until the next: drawn as steps.
    pub step: bool,
}

/// A picture of some series.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above it. Not trusted, as names are.
    pub title: String,
    /// What the horizontal axis counts.
    pub unit: Unit,
    /// What is shown.
    pub series: Vec<Series>,
}

/// Beyond this a number is only big; axes would lose their steps.
const HUGE: f64 = 1e12;
/// Characters of a name that are shown.
const NAME_MAX: usize = 40;

/// A series, ready to draw.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    step: bool,
    /// Its place in the palette.
    color: usize,
}

/// A chart, ready to draw.
struct Drawing {
    title: String,
    lines: Vec<Line>,
    x: Axis,
    /// Of the steps.
    left: Axis,
    /// Of the areas.
    right: Axis,
}

impl Chart {
    fn drawing(&self) -> Drawing {
        let good = |(x, y): &(f64, f64)| (x.is_finite() && y.is_finite()).then(|| (x.clamp(-HUGE, HUGE), y.clamp(-HUGE, HUGE)));
        let mut lines: Vec<Line> = Vec::new();
        for (color, series) in self.series.iter().enumerate() {
            let mut points: Vec<(f64, f64)> = series.points.iter().filter_map(good).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            lines.push(Line { name: tame(&series.name), points, step: series.step, color });
        }
        let x = Axis::time(lines.iter().flat_map(|line| &line.points).map(|point| point.0), self.unit);
        let end = lines.iter().filter_map(|line| line.points.last()).map(|point| point.0).fold(f64::MIN, f64::max);
        for line in lines.iter_mut().filter(|line| line.step) {
            line.points = steps(&line.points, end);
        }
        let of = |step: bool| lines.iter().filter(move |line| line.step == step).flat_map(|line| &line.points).map(|p| p.1);
        // Without steps the areas have both sides.
        let right = Axis::numbers(of(false));
        let left = if lines.iter().any(|line| line.step) { Axis::numbers(of(true)) } else { right.clone() };
        let zone = match self.unit {
            Unit::Seconds => "",
            Unit::Wall => " (UTC)",
        };
        Drawing { title: tame(&self.title) + zone, lines, x, left, right }
    }
}

impl Drawing {
    /// Those drawn as steps, or those drawn as areas.
    fn of(&self, step: bool) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.step == step)
    }
}

/// The corners of steps, the last held until `end`.
fn steps(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::with_capacity(points.len() * 2);
    for &(x, y) in points {
        match corners.last() {
            Some(&(_, before)) if before == y => continue,
            Some(&(_, before)) => corners.push((x, before)),
            None => {}
        }
        corners.push((x, y));
    }
    corners.extend(corners.last().map(|last| (end, last.1)));
    corners
}

/// A text from outside, on one line and harmless.
fn tame(text: &str) -> String {
    let unwritable = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}');
    let harmful = |c: char| is_harmful(c) || unwritable(c);
    text.chars().take(NAME_MAX).map(|c| if harmful(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
