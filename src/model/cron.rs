//! When a clock says so: cron texts of five fields in a time zone, and the windows that begin with them.
//!
//! Pure: the rules of the time zones are compiled in, so a decision reads no file and repeats on every machine. Where a clock
//! jumps, cron's custom holds: a fixed time that is skipped comes right after the gap, one that is there twice comes once.

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use super::meta::quoted;
use super::time::{Span, Wall};
use crate::model::text;

/// How far ahead a change is looked for.
pub const HORIZON: Span = Span::secs(400 * 24 * 3600);

/// Windows that are merged at once. With more the end is told as far as it was seen: that is true, and asked again then.
const MERGED_MAX: usize = 500;
/// Far more than a sensible cron text, and a bound for a hostile one.
const TEXT_MAX: usize = 200;
const FIELDS: &str = "five cron fields (minute, hour, day of month, month, day of week), like \"0 8 * * mon-fri\"";
const NAMES: &str = "@yearly, @annually, @monthly, @weekly, @daily, @hourly";

/// The moments of a cron text in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    /// Read a cron text of five fields or a name like `@hourly`, and the name of a time zone; absent: UTC.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub fn new(text: &str, zone: Option<&str>) -> Result<Cron, String> {
        Ok(Cron { pattern: check_cron(text)?, zone: zone.map_or(Ok(TimeZone::UTC), check_zone)? })
    }

    /// The first moment after `wall`; none when there is none that can be written.
    pub fn next(&self, wall: Wall) -> Option<Wall> {
        let found = self.pattern.find_next_occurrence(&self.local(wall)?, false).ok()?;
        Some(Wall(found.timestamp().as_millisecond()))
    }

    /// The last moment that is not after `wall`.
    pub fn last(&self, wall: Wall) -> Option<Wall> {
        let found = self.pattern.find_previous_occurrence(&self.local(wall)?, true).ok()?;
        Some(Wall(found.timestamp().as_millisecond()))
    }

    /// The local time, in whole seconds: moments have no parts of them.
    fn local(&self, wall: Wall) -> Option<Zoned> {
        let stamp = Timestamp::from_second(wall.0.div_euclid(1000)).ok()?;
        Some(stamp.to_zoned(self.zone.clone()))
    }
}

/// The stretches of time that begin at the moments of a cron text.
#[derive(Clone, Debug)]
pub struct Window {
    cron: Cron,
    duration: Span,
}

/// Whether a moment is inside a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// It is.
    pub active: bool,
    /// Nothing changes before this. It is when it changes, or, for what lies very far ahead, when to ask again.
    pub until: Wall,
}

impl Window {
    /// The windows of this length, from a cron text and the name of a time zone; absent: UTC.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub fn new(cron: &str, zone: Option<&str>, duration: Span) -> Result<Window, String> {
        Ok(Window { cron: Cron::new(cron, zone)?, duration })
    }

    /// Whether `wall` is inside a window, and until when that stays so. Windows that overlap or touch are one.
    pub fn at(&self, wall: Wall) -> Inside {
        let horizon = later(wall, HORIZON);
        let end = self.cron.last(wall).map(|begin| later(begin, self.duration)).filter(|end| *end > wall);
        match end {
            Some(end) => Inside { active: true, until: self.merged(end, horizon).min(horizon) },
            None if self.duration == Span(0) => Inside { active: false, until: horizon },
            None => Inside { active: false, until: self.cron.next(wall).map_or(horizon, |begin| begin.min(horizon)) },
        }
    }

    /// The end of the last window that hangs together with one that ends then.
    fn merged(&self, mut end: Wall, horizon: Wall) -> Wall {
        for _ in 0..MERGED_MAX {
            // The last that begins before the end reaches furthest: those between need no look of their own.
            let further = self.cron.last(end).map_or(end, |begin| later(begin, self.duration));
            if further <= end || end >= horizon {
                break;
            }
            end = further;
        }
        end
    }
}

fn later(wall: Wall, span: Span) -> Wall {
    Wall(wall.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
}

/// The pattern of a cron text of five fields.
///
/// # Errors
/// What was found and what is allowed.
pub fn check_cron(text: &str) -> Result<croner::Cron, String> {
    let refuse = |why: &str| format!("found {}, expected {FIELDS}{why}", quoted(text));
    if text.len() > TEXT_MAX || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(refuse(""));
    }
    let fields = text.split_whitespace().count();
    let named = text.starts_with('@');
    if fields != 5 && !(named && fields == 1) {
        return Err(refuse(&format!(": these are {fields}")));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let reason = |error| if named { format!(", or one of {NAMES}") } else { format!(": {}", words(error)) };
    let pattern = parser.parse(text).map_err(|error| refuse(&reason(error)))?;
    if !named && !ever(text) {
        return Err(format!("found {}, which never comes", quoted(text)));
    }
    Ok(pattern)
}

/// Whether there is any such day: all there are come within the 40 years around 2100, which is no leap year.
fn ever(text: &str) -> bool {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
    let begin = jiff::civil::date(2072, 1, 1).at(0, 0, 0, 0);
    parser.parse(&format!("0 {text} 2072-2112")).is_ok_and(|pattern| pattern.find_next_occurrence(&begin, true).is_ok())
}

fn words(error: croner::errors::CronError) -> String {
    use croner::errors::CronError::{
        ComponentError, EmptyPattern, IllegalCharacters, InvalidDate, InvalidPattern, InvalidTime, TimeSearchLimitExceeded,
    };
    let said = match error {
        InvalidPattern(said) | IllegalCharacters(said) | ComponentError(said) => said,
        other @ (EmptyPattern | InvalidDate | InvalidTime | TimeSearchLimitExceeded) => other.to_string(),
    };
    let said = said.trim_end_matches('.').replace("CronPattern contains illegal", "there is an illegal");
    text::one_line(&said.to_ascii_lowercase())
}

/// The time zone of an IANA name.
///
/// # Errors
/// What was found and what is allowed.
pub fn check_zone(name: &str) -> Result<TimeZone, String> {
    let known = TimeZoneDatabase::bundled().get(name);
    known.map_err(|_| format!("found {}, expected the IANA name of a time zone, like UTC or Europe/Amsterdam", quoted(name)))
}

/// The names of all time zones, for saying which was meant.
pub fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wall(text: &str) -> Wall {
        text.parse().expect("a stamp")
    }

    fn shown(zone: &str, wall: Wall) -> String {
        let zone = check_zone(zone).expect("a zone");
        let local = Timestamp::from_millisecond(wall.0).expect("a stamp").to_zoned(zone);
        local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// One row: cron, zone, duration, at, active, until.
    const TABLE: &[(&str, &str, &str, &str, bool, &str)] = &[
        // Office hours: before, at the first and last moment, over night, over the weekend.
        ("0 8 * * mon-fri", "Europe/Amsterdam", "10h", "2026-06-12T07:59:59.999+02:00", false, "2026-06-12T08:00:00+02:00"),
        ("0 8 * * mon-fri", "Europe/Amsterdam", "10h", "2026-06-12T08:00:00+02:00", true, "2026-06-12T18:00:00+02:00"),
        ("0 8 * * mon-fri", "Europe/Amsterdam", "10h", "2026-06-12T17:59:59.999+02:00", true, "2026-06-12T18:00:00+02:00"),
        ("0 8 * * mon-fri", "Europe/Amsterdam", "10h", "2026-06-12T18:00:00+02:00", false, "2026-06-15T08:00:00+02:00"),
        ("0 8 * * mon-fri", "UTC", "10h", "2026-06-13T12:00:00Z", false, "2026-06-15T08:00:00+00:00"),
        // Across midnight.
        ("0 22 * * *", "America/New_York", "8h", "2026-07-01T03:00:00-04:00", true, "2026-07-01T06:00:00-04:00"),
        ("0 22 * * *", "America/New_York", "8h", "2026-07-01T06:00:00-04:00", false, "2026-07-01T22:00:00-04:00"),
        // The hour that is skipped: a fixed time comes right after it, and a span is a span.
        ("30 2 * * *", "Europe/Amsterdam", "1h", "2026-03-29T01:59:59+01:00", false, "2026-03-29T03:00:00+02:00"),
        ("30 2 * * *", "Europe/Amsterdam", "1h", "2026-03-29T03:30:00+02:00", true, "2026-03-29T04:00:00+02:00"),
        ("0 0 * * *", "Europe/Amsterdam", "4h", "2026-03-29T01:00:00+01:00", true, "2026-03-29T05:00:00+02:00"),
        ("30 2 * * *", "America/New_York", "1h", "2026-03-08T01:00:00-05:00", false, "2026-03-08T03:00:00-04:00"),
        // Every hour goes on as if there were no gap.
        ("0 * * * *", "Europe/Amsterdam", "10m", "2026-03-29T01:30:00+01:00", false, "2026-03-29T03:00:00+02:00"),
        // The hour that comes twice: a fixed time comes once, every hour twice.
        ("30 2 * * *", "Europe/Amsterdam", "1h30m", "2026-10-25T02:20:00+01:00", true, "2026-10-25T03:00:00+01:00"),
        ("30 2 * * *", "Europe/Amsterdam", "10m", "2026-10-25T02:20:00+01:00", false, "2026-10-26T02:30:00+01:00"),
        ("30 2 * * *", "Europe/Amsterdam", "10m", "2026-10-25T02:20:00+02:00", false, "2026-10-25T02:30:00+02:00"),
        ("30 * * * *", "Europe/Amsterdam", "10m", "2026-10-25T02:50:00+02:00", false, "2026-10-25T02:30:00+01:00"),
        ("30 * * * *", "Europe/Amsterdam", "10m", "2026-10-25T02:35:00+01:00", true, "2026-10-25T02:40:00+01:00"),
        ("0 8 * * *", "America/New_York", "1h", "2026-11-01T07:00:00-05:00", false, "2026-11-01T08:00:00-05:00"),
        // A leap day: the next one lies beyond what is looked for.
        ("0 0 29 2 *", "UTC", "24h", "2028-02-29T12:00:00Z", true, "2028-03-01T00:00:00+00:00"),
        ("0 0 29 2 *", "UTC", "24h", "2028-03-01T00:00:00Z", false, "2029-04-05T00:00:00+00:00"),
        // Windows that touch are one, and one that never ends ends where nobody looks.
        ("0 8,9,10 * * *", "UTC", "1h", "2026-06-12T08:30:00Z", true, "2026-06-12T11:00:00+00:00"),
        ("0 8,10,18 * * *", "UTC", "3h", "2026-06-12T08:30:00Z", true, "2026-06-12T13:00:00+00:00"),
        ("0 0 * * *", "UTC", "25h", "2026-01-01T12:00:00Z", true, "2027-02-05T12:00:00+00:00"),
        ("@daily", "UTC", "1h", "2026-01-01T12:00:00Z", false, "2026-01-02T00:00:00+00:00"),
        ("* * * * *", "UTC", "0s", "2026-01-01T12:00:00Z", false, "2027-02-05T12:00:00+00:00"),
    ];

    #[test]
    fn windows_begin_and_end_when_people_expect() {
        for (cron, zone, duration, at, active, until) in TABLE {
            let window = Window::new(cron, Some(zone), duration.parse().expect("a span")).expect(cron);
            let inside = window.at(wall(at));
            assert_eq!((inside.active, shown(zone, inside.until).as_str()), (*active, *until), "{cron} {zone} {duration} {at}");
        }
    }

    #[test]
    fn windows_that_overlap_for_ever_are_always_active() {
        let now = wall("2026-03-28T12:00:00Z");
        for (cron, duration, least) in [("@hourly", "90m", 20 * 86_400), ("* * * * *", "1m", 8 * 3600), ("*/5 * * * *", "7d", 0)]
        {
            let window = Window::new(cron, None, duration.parse().expect("a span")).expect(cron);
            let inside = window.at(now);
            assert!(inside.active && inside.until >= later(now, Span::secs(least)), "{cron}: {inside:?}");
        }
    }

    #[test]
    fn what_is_no_cron_text_is_refused_in_words() {
        for text in [
            "",
            "* * * *",
            "0 * * * * *",
            "0 0 * * * * 2026",
            "60 * * * *",
            "* 24 * * *",
            "@now",
            "@hourly 1",
            "0 0 30 2 *",
            "ä * * * *",
        ] {
            let words = Cron::new(text, None).expect_err(text);
            assert!(words.starts_with("found \""), "{words}");
        }
        assert!(Cron::new("* * * * *", Some("Europe/Amsterdm")).is_err());
        assert!(Cron::new("0 0 29 2 *", Some("Asia/Kathmandu")).is_ok());
        assert!(zone_names().iter().any(|name| name == "Europe/Amsterdam"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_too_much(text in "[ -~]{0,12}|([0-9*,/#LW?+-]{1,5} ){5}") {
            if let Ok(cron) = Cron::new(text.trim(), Some("America/New_York")) {
                let last = cron.last(Wall(1_800_000_000_000));
                prop_assert!(last.is_none_or(|last| last.0 <= 1_800_000_000_000));
            }
        }

        /// Looking back agrees with walking forward, over both days of the year on which the clock is set.
        #[test]
        fn backward_is_the_mirror_of_forward(
            offset in 0i64..72 * 3600,
            autumn in any::<bool>(),
            cron in prop::sample::select(vec!["30 2 * * *", "*/20 1-3 * * *", "0 * * * *", "15 2,3 * * sun", "0 0 * * *"]),
        ) {
            let begin = wall(if autumn { "2026-10-24T00:00:00Z" } else { "2026-03-28T00:00:00Z" });
            let (at, cron) = (Wall(begin.0 + offset * 1000), Cron::new(cron, Some("Europe/Amsterdam")).expect("good"));
            let (mut last, mut step) = (None, Wall(begin.0 - 9 * 86_400_000));
            while let Some(next) = cron.next(step).filter(|next| *next <= at) {
                (last, step) = (Some(next), next);
            }
            prop_assert_eq!(cron.last(at), last);
        }
    }
}
