//! Time as data: moments, wall-clock stamps and spans.
//!
//! Nothing here reads a clock; `edge::clock` is the one door to it. Two clocks are kept apart on purpose:
//! a [`Moment`] orders and measures (it never jumps, and counts through suspend), a [`Wall`] is what people see.
//! Deadlines, leases and the back-off of workers use moments. What must outlive a boot is kept on the wall: the beat of a schedule
//! and the back-off of a task are bounded by their own length from now, so that a wall clock set back by a year delays them by no
//! more. Pauses, delays, `ttl` and retention follow the wall clock wherever it is set.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point on the boot clock (`CLOCK_BOOTTIME`), in milliseconds since boot. The same for every process of one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// This moment, `span` later.
    pub fn after(self, span: Span) -> Moment {
        Moment(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Moment) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A wall-clock stamp in milliseconds since the Unix epoch, for people and for what outlives a boot. Written as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub i64);

impl Wall {
    /// The year 9000: how a pause without an end is written down.
    pub const FOR_EVER: Wall = Wall(221_845_392_000_000);

    /// Until when something holds, in words for people: `until 2026-03-02T12:00:00.000Z`, or `until it is resumed`.
    pub fn or_resumed(self) -> String {
        if self >= Wall::FOR_EVER { "until it is resumed".into() } else { format!("until {self}") }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.3}"),
            Err(_) => write!(f, "unknown"),
        }
    }
}

impl FromStr for Wall {
    type Err = String;
    fn from_str(text: &str) -> Result<Wall, String> {
        text.parse::<jiff::Timestamp>().map(|stamp| Wall(stamp.as_millisecond())).map_err(|e| e.to_string())
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Wall, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Wall {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The boot clock.
    pub mono: Moment,
    /// The wall clock.
    pub wall: Wall,
}

impl Now {
    /// The wall stamp of a moment of this boot.
    pub fn wall_of(self, moment: Moment) -> Wall {
        let offset = i64::try_from(self.mono.0).unwrap_or(i64::MAX) - i64::try_from(moment.0).unwrap_or(i64::MAX);
        Wall(self.wall.0.saturating_sub(offset))
    }
}

/// A length of time in milliseconds, written as in Go and Kubernetes, and with days: `500ms`, `30s`, `1h30m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Span {
    /// So many milliseconds.
    pub const fn millis(n: u64) -> Span {
        Span(n)
    }
    /// So many seconds.
    pub const fn secs(n: u64) -> Span {
        Span(n * 1000)
    }
    /// As a `std` duration.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return write!(f, "0s");
        }
        let mut rest = self.0;
        // A day is read and not written: 24h is what people are used to see.
        for (unit, size) in UNITS.into_iter().skip(1) {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let refuse = || format!("\"{text}\" is not a duration: use a number with a unit, like 500ms, 30s, 5m, 1h30m, 24h, 7d");
        if text == "0" {
            return Ok(Span(0));
        }
        let (mut rest, mut total, mut last) = (text, 0f64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
            let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
            rest = &rest[digits..];
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit = UNITS.iter().find(|(name, _)| *name == &rest[..end]).ok_or_else(refuse)?;
            if unit.1 >= last {
                return Err(refuse());
            }
            last = unit.1;
            total += number * unit.1 as f64;
            rest = &rest[end..];
        }
        // 10 years: beyond any sensible deadline, and far from overflow.
        if text.is_empty() || total > 315_360_000_000.0 {
            return Err(refuse());
        }
        Ok(Span(total.round() as u64))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Span, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "duration", "pattern": "^(0|([0-9.]+(ms|d|h|m|s))+)$", "examples": ["30s", "1h30m"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_trip_and_refuse_nonsense() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(ms)), "{text}");
        }
        assert_eq!(Span(5_400_000).to_string(), "1h30m");
        assert_eq!(Span(61_001).to_string(), "1m1s1ms");
        for text in ["", "30", "1m30", "-5m", "1w", "s", "1s1m", "1s1s", "99999999h", "1e3s", ".s", "1..2s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
