//! How lengths of time are shown to people, by client and server alike.
//!
//! Ages are written as kubectl writes them: exact when short, rough when long. Nothing here looks at a clock.

use crate::model::time::Wall;

/// How long ago something was: `5s`, `3m12s`, `4h`, `2d`.
pub fn age(since: Wall, now: Wall) -> String {
    let seconds = now.0.saturating_sub(since.0).div_euclid(1000);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        // Clocks of one machine: a moment ahead is rounding, more is a clock that was set back.
        i64::MIN..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(hours / 24, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        252_288_000.. => format!("{}y", hours / 24 / 365),
    }
}

/// The age of a stamp in an object; `<unknown>` when it is missing or no time.
pub fn age_of(stamp: Option<&str>, now: Wall) -> String {
    stamp.and_then(|text| text.parse().ok()).map_or_else(|| "<unknown>".into(), |since| age(since, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (-90, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (14_460, "4h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (315_360_000, "10y"),
        ] {
            assert_eq!(age(Wall(1_000_000), Wall(1_000_000 + seconds * 1000)), text, "{seconds}");
        }
        assert_eq!(age_of(Some("yesterday"), Wall(0)), "<unknown>");
    }
}
