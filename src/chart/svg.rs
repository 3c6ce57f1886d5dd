//! The SVG: a transparent background, and ink that is read on white as well as on black.
//!
//! Names stand in a row of their own below the axes, so that they never cover a line.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

use super::scale::Axis;
use super::{Chart, Drawing, Line};

const SIZE: (u32, u32) = (900, 400);
const LEGEND: u32 = 30;
/// A step of the legend for a letter: wide, as fonts differ.
const LETTER: i32 = 8;
const INK: RGBColor = RGBColor(0x80, 0x84, 0x8b);
const COLORS: [RGBColor; 6] = [
    RGBColor(0x2f, 0x81, 0xf7),
    RGBColor(0xe0, 0x7b, 0x16),
    RGBColor(0x2d, 0xa4, 0x4e),
    RGBColor(0xa3, 0x71, 0xf7),
    RGBColor(0xe5, 0x53, 0x4b),
    RGBColor(0x1b, 0x9a, 0xaa),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

impl Chart {
    /// The picture as SVG.
    pub fn svg(&self) -> String {
        let (drawing, mut out) = (self.drawing(), String::new());
        let root = SVGBackend::with_string(&mut out, SIZE).into_drawing_area();
        draw(&root, &drawing).expect("drawing into a string cannot fail");
        drop(root);
        out
    }
}

fn draw<'a>(root: &Area<'a>, drawing: &Drawing) -> Result<(), Failure<'a>> {
    let (upper, lower) = root.split_vertically(SIZE.1 - LEGEND);
    plot(&upper, drawing)?;
    legend(&lower, &drawing.lines)?;
    root.present()
}

fn plot<'a>(area: &Area<'a>, drawing: &Drawing) -> Result<(), Failure<'a>> {
    let (x, left, right) = (&drawing.x, &drawing.left, &drawing.right);
    let areas = drawing.of(false).next().is_some();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(&drawing.title, ("sans-serif", 18, &INK))
        .x_label_area_size(30)
        .y_label_area_size(52)
        .right_y_label_area_size(if areas { 52 } else { 0 })
        .build_cartesian_2d(x.clone(), left.clone())?
        .set_secondary_coord(x.clone(), right.clone());
    let grid = INK.mix(0.25);
    chart
        .configure_mesh()
        .bold_line_style(grid)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(("sans-serif", 13, &INK))
        .draw()?;
    if areas {
        let mut axes = chart.configure_secondary_axes();
        axes.axis_style(INK).label_style(("sans-serif", 13, &INK)).draw()?;
    }
    for line in drawing.of(false) {
        let series = AreaSeries::new(line.points.iter().copied(), 0.0, color(line).mix(0.2));
        chart.draw_secondary_series(series.border_style(color(line).mix(0.6)))?;
    }
    for line in drawing.of(true) {
        chart.draw_series(LineSeries::new(line.points.iter().copied(), color(line).stroke_width(2)))?;
    }
    Ok(())
}

fn legend<'a>(area: &Area<'a>, lines: &[Line]) -> Result<(), Failure<'a>> {
    let mut left = 64;
    for line in lines {
        let shape = if line.step { [(left, 9), (left + 16, 12)] } else { [(left, 4), (left + 16, 16)] };
        let style = if line.step { color(line).filled() } else { color(line).mix(0.3).filled() };
        area.draw(&Rectangle::new(shape, style))?;
        area.draw(&Text::new(line.name.clone(), (left + 22, 4), ("sans-serif", 14).into_font().color(&INK)))?;
        let letters = i32::try_from(line.name.chars().count()).unwrap_or(i32::from(u8::MAX));
        left += 46 + LETTER * letters;
    }
    Ok(())
}

fn color(line: &Line) -> RGBColor {
    COLORS[line.color % COLORS.len()]
}

/// The axes as they are on a terminal: the same marks and words, whatever the library would choose.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}
