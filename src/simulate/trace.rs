//! Traces: numbers over time, from a CSV file or from what the daemon has kept.
//!
//! A trace is believed whole or refused with the line that is wrong: a simulation over half a trace would mislead. Nothing here
//! decides what the numbers mean.

use crate::model::text::one_line;
use crate::model::time::Wall;

/// Most rows of a trace, and most tasks in it.
const ROWS_MAX: usize = 1_000_000;
/// Seconds from here on are seconds since the Unix epoch.
const EPOCH_FROM: f64 = 1e9;
/// The longest trace, in milliseconds: a year.
pub const LENGTH_MAX: u64 = 366 * 86_400_000;

/// A number from its time on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds from the begin of the trace.
    pub at: u64,
    /// The number.
    pub value: f64,
}

/// Numbers over time, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// When it begins, if the trace says.
    pub begin: Option<Wall>,
    /// The numbers.
    pub points: Vec<Point>,
}

/// Read `time,value` rows. `counted`: the numbers are tasks, whole, and one where a row has only a time.
///
/// # Errors
/// The first line that is wrong, by number, and how.
pub fn parse(text: &str, counted: bool) -> Result<Trace, String> {
    let mut rows: Vec<(Time, f64)> = Vec::new();
    let mut first = true;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = std::mem::take(&mut first) && line.starts_with(|c: char| c.is_alphabetic() || c == '"' || c == '_');
        match row(line, counted) {
            Ok(row) => rows.push(row),
            Err(_) if header => {}
            Err(why) => return Err(format!("line {}: {why}", index + 1)),
        }
        if let [.., (before, _), (now, _)] = rows.as_slice() {
            in_order(*before, *now).map_err(|why| format!("line {}: {why}", index + 1))?;
        }
        if rows.len() > ROWS_MAX {
            return Err(format!("line {}: more than {ROWS_MAX} rows", index + 1));
        }
    }
    if counted && rows.iter().map(|(_, tasks)| tasks).sum::<f64>() > ROWS_MAX as f64 {
        return Err(format!("more than {ROWS_MAX} tasks"));
    }
    from_rows(&rows)
}

#[derive(Clone, Copy)]
enum Time {
    /// Milliseconds from the begin.
    Since(u64),
    Wall(Wall),
}

fn row(line: &str, counted: bool) -> Result<(Time, f64), String> {
    let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
    let (at, number) = match cells.as_slice() {
        [at, number] => (*at, *number),
        [at] if counted => (*at, "1"),
        _ => return Err(format!("expected time,value, found {} columns", cells.len())),
    };
    let value = match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => value,
        Ok(_) | Err(_) => return Err(format!("\"{}\" is not a number of zero or more", shown(number))),
    };
    if counted && (value.fract() != 0.0 || value > ROWS_MAX as f64) {
        return Err(format!("\"{}\" is not a whole number of tasks", shown(number)));
    }
    Ok((time(at)?, value))
}

fn time(text: &str) -> Result<Time, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (EPOCH_FROM..1e12).contains(&seconds) => Ok(Time::Wall(Wall((seconds * 1000.0).round() as i64))),
        Ok(seconds) if (0.0..EPOCH_FROM).contains(&seconds) => Ok(Time::Since((seconds * 1000.0).round() as u64)),
        Ok(_) | Err(_) => match text.parse::<Wall>() {
            Ok(wall) => Ok(Time::Wall(wall)),
            Err(_) => {
                Err(format!("\"{}\" is not a time: use seconds from the begin or RFC 3339, as 2026-01-31T08:00:00Z", shown(text)))
            }
        },
    }
}

/// The first of a text from outside, without control characters.
fn shown(text: &str) -> String {
    one_line(text).chars().take(40).collect()
}

fn in_order(before: Time, now: Time) -> Result<(), String> {
    let forward = match (before, now) {
        (Time::Since(before), Time::Since(now)) => before <= now,
        (Time::Wall(before), Time::Wall(now)) => before <= now,
        (Time::Since(_), Time::Wall(_)) | (Time::Wall(_), Time::Since(_)) => {
            return Err("seconds and dates are mixed".into());
        }
    };
    if forward { Ok(()) } else { Err("the time is before that of the row above".into()) }
}

fn from_rows(rows: &[(Time, f64)]) -> Result<Trace, String> {
    let begin = match rows.first() {
        Some((Time::Wall(wall), _)) => Some(*wall),
        Some((Time::Since(_), _)) => None,
        None => return Err("there are no rows in it".into()),
    };
    let since = |wall: Wall| u64::try_from(wall.0 - begin.unwrap_or_default().0).unwrap_or(0);
    let points = rows.iter().map(|(time, value)| match *time {
        Time::Since(at) => Point { at, value: *value },
        Time::Wall(wall) => Point { at: since(wall), value: *value },
    });
    let trace = Trace { begin, points: points.collect() };
    match trace.points.last() {
        Some(last) if last.at > LENGTH_MAX => Err("it is longer than a year".into()),
        Some(_) | None => Ok(trace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates_and_a_header_is_allowed() {
        let seconds = parse("time,value\n0,1\n# a word\n\n1.5, 2.5\n", false).expect("reads");
        assert_eq!(seconds.points, [Point { at: 0, value: 1.0 }, Point { at: 1500, value: 2.5 }]);
        assert_eq!(seconds.begin, None);
        let dates = parse("\u{feff}2026-01-01T00:00:00Z,3\r\n2026-01-01T00:01:00+00:00,0\r\n", false).expect("reads");
        assert_eq!(dates.points, [Point { at: 0, value: 3.0 }, Point { at: 60_000, value: 0.0 }]);
        assert_eq!(dates.begin.map(|wall| wall.to_string()), Some("2026-01-01T00:00:00.000Z".into()));
        let epoch = parse("\"when\",\"n\"\n1767225600,3\n1767225660,0\n", false).expect("reads");
        assert_eq!((epoch.begin, epoch.points), (dates.begin, dates.points));
        let arrivals = parse("at\n5\n5\n7,3\n", true).expect("reads");
        assert_eq!(arrivals.points.iter().map(|point| point.value).sum::<f64>(), 5.0);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, counted, wanted) in [
            ("", false, "there are no rows"),
            ("time,value\n", false, "there are no rows"),
            ("0,1\nx,2\n", false, "line 2: \"x\" is not a time"),
            ("t,v\n0,1\n1,-2\n", false, "line 3: \"-2\" is not a number of zero or more"),
            ("0,1\n1,NaN\n", false, "line 2: \"NaN\" is not a number"),
            ("0,1\n\n1,2,3\n", false, "line 3: expected time,value, found 3 columns"),
            ("0,1\n7\n", false, "line 2: expected time,value, found 1 columns"),
            ("5,1\n4,1\n", false, "line 2: the time is before"),
            ("5,1\n2026-01-01T00:00:00Z,1\n", false, "line 2: seconds and dates are mixed"),
            ("5,1.5\n", true, "line 1: \"1.5\" is not a whole number of tasks"),
            ("0,900000\n1,900000\n", true, "more than 1000000 tasks"),
            ("0,1\n99999999,1\n", false, "longer than a year"),
        ] {
            let why = parse(text, counted).expect_err(text);
            assert!(why.contains(wanted), "{text:?}: {why}");
        }
    }
}
