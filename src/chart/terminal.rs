//! The picture for a terminal: lines of cells, readable without colours and from 30 columns.
//!
//! Series differ by their marks first and by colours only where they are wanted: a log or a pipe gets plain text.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};
use ratatui_core::symbols::Marker;
use ratatui_core::widgets::Widget;
use ratatui_widgets::chart::{self, Dataset, GraphType};
use unicode_width::UnicodeWidthStr;

use super::scale::Axis;
use super::{Chart, Drawing, Line};

/// The smallest and the largest size that is drawn, whatever is asked for.
const SMALLEST: (u16, u16) = (30, 8);
const LARGEST: (u16, u16) = (500, 200);
/// Rows from which areas get a panel of their own.
const PANELS: u16 = 12;

const COLORS: [(Color, &str); 6] = [
    (Color::Blue, "34"),
    (Color::Yellow, "33"),
    (Color::Green, "32"),
    (Color::Magenta, "35"),
    (Color::Red, "31"),
    (Color::Cyan, "36"),
];
/// Marks of steps in turn, and as they stand in the legend.
const MARKS: [char; 6] = ['·', '━', '+', 'x', '○', '*'];
const FILL: char = '▒';

impl Chart {
    /// The picture as lines of text, at most so many columns and rows; with codes for colours only if they are wanted.
    pub fn terminal(&self, width: u16, height: u16, color: bool) -> String {
        let drawing = self.drawing();
        let width = width.clamp(SMALLEST.0, LARGEST.0);
        let legend = legend(&drawing.lines, usize::from(width), color);
        let used = u16::try_from(legend.len() + 1).unwrap_or(u16::MAX);
        let rows = height.clamp(SMALLEST.1, LARGEST.1).saturating_sub(used).max(SMALLEST.1 - 2);
        let mut out = vec![cut(&drawing.title, usize::from(width))];
        for (step, rows) in panels(&drawing, rows) {
            out.extend(panel(&drawing, step, (width, rows), color));
        }
        out.extend(legend);
        out.join("\n") + "\n"
    }
}

/// Steps above, areas below with a third of the height; or only one of them.
fn panels(drawing: &Drawing, rows: u16) -> Vec<(bool, u16)> {
    let (steps, areas) = (drawing.of(true).next().is_some(), drawing.of(false).next().is_some());
    let small = (rows / 3).max(5);
    match (steps, areas) {
        (true, true) if rows >= PANELS => vec![(true, rows - small), (false, small)],
        (false, true) => vec![(false, rows)],
        (true | false, _) => vec![(true, rows)],
    }
}

fn panel(drawing: &Drawing, step: bool, (width, rows): (u16, u16), color: bool) -> Vec<String> {
    let y = if step { &drawing.left } else { &drawing.right };
    let data: Vec<Dataset<'_>> = drawing.of(step).map(|line| dataset(line, y)).collect();
    // As wide for both panels: the same time stands in the same column.
    let both = drawing.left.labels().into_iter().chain(drawing.right.labels());
    let wide = both.map(|label| label.len()).max().unwrap_or(0);
    let labels = thinned(y.labels(), usize::from(rows)).into_iter().map(|label| format!("{label:>wide$}"));
    let axes = chart::Chart::new(data)
        .x_axis(chart::Axis::default().bounds([drawing.x.low, drawing.x.high]))
        .y_axis(chart::Axis::default().bounds([y.low, y.high]).labels(labels))
        .legend_position(None);
    let area = Rect::new(0, 0, width, rows.saturating_sub(2));
    let mut buffer = Buffer::empty(area);
    axes.render(area, &mut buffer);
    let lines = (0..area.height).map(|row| text_of(&buffer, row, color));
    lines.chain(ruler(&drawing.x, wide, usize::from(width))).collect()
}

/// The axis of time and its words, each right below its mark: the library spreads them evenly, whatever they say.
fn ruler(axis: &Axis, left: usize, width: usize) -> [String; 2] {
    let cells = width.saturating_sub(left + 1).max(2);
    let mut line: Vec<char> = " ".repeat(left).chars().chain("└".chars()).chain("─".repeat(cells).chars()).collect();
    let mut words = String::new();
    for mark in axis.marks() {
        let share = (mark - axis.low) / (axis.high - axis.low);
        let column = left + 1 + ((cells - 1) as f64 * share).round() as usize;
        let label = axis.label(mark);
        let begin = column.saturating_sub(label.len() / 2).min(width.saturating_sub(label.len()));
        if words.is_empty() || begin >= words.len() + 2 {
            words.push_str(&" ".repeat(begin.saturating_sub(words.len())));
            words.push_str(&label);
            line[column] = '┬';
        }
    }
    [line.into_iter().collect(), words]
}

fn dataset<'a>(line: &'a Line, y: &Axis) -> Dataset<'a> {
    let shown = Dataset::default().data(&line.points).style(Style::new().fg(COLORS[line.color % COLORS.len()].0));
    let shown = shown.marker(Marker::Custom(mark(line)));
    if line.step {
        return shown.graph_type(GraphType::Line);
    }
    shown.graph_type(GraphType::Area).fill_to_y(y.low.max(0.0))
}

fn mark(line: &Line) -> char {
    if line.step { MARKS[line.color % MARKS.len()] } else { FILL }
}

/// The labels, or those at both ends where there are too few rows.
fn thinned(labels: Vec<String>, rows: usize) -> Vec<String> {
    if labels.len() + 2 <= rows { labels } else { ends(labels) }
}

fn ends(mut labels: Vec<String>) -> Vec<String> {
    let last = labels.pop();
    labels.into_iter().take(1).chain(last).collect()
}

fn text_of(buffer: &Buffer, row: u16, color: bool) -> String {
    let (mut out, mut open) = (String::new(), "");
    for column in 0..buffer.area.width {
        let Some(cell) = buffer.cell((column, row)) else { continue };
        let code = COLORS.iter().find(|(known, _)| color && *known == cell.fg).map_or("", |(_, code)| code);
        if code != open {
            out.push_str(&escape(code));
            open = code;
        }
        out.push_str(cell.symbol());
    }
    out.push_str(if open.is_empty() { "" } else { "\x1b[0m" });
    out.trim_end().to_owned()
}

fn escape(code: &str) -> String {
    if code.is_empty() { "\x1b[0m".into() } else { format!("\x1b[{code}m") }
}

/// The names with their marks, in as many lines as they need.
fn legend(lines: &[Line], width: usize, color: bool) -> Vec<String> {
    let (mut rows, mut used) = (Vec::<String>::new(), 0);
    for line in lines {
        let name = cut(&line.name, width.saturating_sub(5));
        let (needed, mark) = (name.width() + 5, mark(line));
        let code = COLORS[line.color % COLORS.len()].1;
        let shown = if color { format!("{}{mark}{mark}\x1b[0m {name}", escape(code)) } else { format!("{mark}{mark} {name}") };
        match rows.last_mut().filter(|_| used + needed <= width) {
            Some(row) => {
                row.push_str("  ");
                row.push_str(&shown);
                used += needed;
            }
            None => {
                rows.push(shown);
                used = needed;
            }
        }
    }
    rows
}

/// As much of a text as fits into so many columns.
fn cut(text: &str, width: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if out.width() > width {
            out.pop();
            break;
        }
    }
    out
}
