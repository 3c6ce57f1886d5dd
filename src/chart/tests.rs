//! Charts as they are seen: the terminal's text beside this file, and what an SVG must hold.
//! `UPDATE_EXPECTED=1` writes the text anew, for reading in the diff.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;

fn series(name: &str, step: bool, points: &[(f64, f64)]) -> Series {
    Series { name: name.into(), points: points.to_vec(), step }
}

fn chart() -> Chart {
    let backlog: Vec<(f64, f64)> = (0..=60).map(|n| (f64::from(n) * 10.0, f64::from((n * 7) % 40 + n))).collect();
    Chart {
        title: "web: workers and backlog".into(),
        unit: Unit::Seconds,
        series: vec![
            series("desired", true, &[(0.0, 1.0), (60.0, 4.0), (300.0, 2.0), (540.0, 0.0)]),
            series("actual", true, &[(0.0, 1.0), (90.0, 2.0), (120.0, 4.0), (330.0, 2.0), (560.0, 0.0)]),
            series("backlog", false, &backlog),
        ],
    }
}

#[test]
fn a_terminal_shows_what_it_showed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/chart/terminal.txt");
    let wall = Chart { unit: Unit::Wall, series: vec![series("a", true, &[(1.78e9, 3.0), (1.78e9 + 7000.0, 12.0)])], ..chart() };
    let anew = chart().terminal(80, 24, false) + "\n" + &wall.terminal(50, 10, false);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &anew).unwrap();
    }
    assert_eq!(anew, std::fs::read_to_string(path).unwrap(), "run with UPDATE_EXPECTED=1 and read the diff");
    assert!(!anew.contains('\x1b') && anew.lines().all(|line| line.width() <= 80));
}

#[test]
fn colours_are_only_added() {
    let colored = chart().terminal(80, 24, true);
    assert!(colored.contains("\x1b[34m") && colored.ends_with("backlog\n"));
    let mut plain = colored;
    for code in ["0", "31", "32", "33", "34", "35", "36"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&plain), trimmed(&chart().terminal(80, 24, false)));
}

#[test]
fn an_svg_holds_every_name_and_nothing_raw() {
    let mut chart = chart();
    chart.series[1].name = "</svg><script>\"&'\u{1b}[31m".into();
    let svg = chart.svg();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for text in ["desired", "backlog", "&lt;/svg&gt;&lt;script&gt;&quot;&amp;&apos; [31m", "web: workers and backlog", "10m"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(!svg.contains("<script") && !svg.contains('\u{1b}') && svg.matches("</svg>").count() == 1);
}

#[test]
fn axes_have_round_numbers() {
    let labels = |values: &[f64]| Axis::numbers(values.iter().copied()).labels().join(" ");
    for (values, wanted) in [
        (&[] as &[f64], "0 1"),
        (&[0.0], "0 1"),
        (&[3.0], "0 1 2 3"),
        (&[0.25], "0.00 0.05 0.10 0.15 0.20 0.25"),
        (&[48_000.0], "0 10k 20k 30k 40k 50k"),
        (&[-3.0, 2.0], "-3 -2 -1 0 1 2"),
    ] {
        assert_eq!(labels(values), wanted, "{values:?}");
    }
    let time = |low: f64, high: f64, unit| Axis::time([low, high].into_iter(), unit).labels().join(" ");
    assert_eq!(time(0.0, 7000.0, Unit::Seconds), "0s 30m 1h 1h30m 2h");
    assert_eq!(time(1_780_000_000.0, 1_780_000_100.0, Unit::Wall), "20:26:30 20:27:00 20:27:30 20:28:00 20:28:30");
    assert_eq!(time(1.78e9, 1.78e9 + 9.0 * 86_400.0, Unit::Wall).split(' ').next(), Some("2026-05-27"));
}

#[cfg(feature = "png")]
#[test]
fn a_png_is_one_or_says_what_is_missing() {
    match chart().png() {
        Ok(bytes) => assert!(bytes.starts_with(b"\x89PNG\r\n")),
        Err(why) => assert!(why.contains("font"), "{why}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_numbers_break_a_picture(
        points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..6),
        small in prop::collection::vec((0f64..1e9, 0f64..100.0), 0..6),
        (name, width, height) in (".{0,50}", any::<u16>(), any::<u16>()),
        wall in any::<bool>(),
    ) {
        let unit = if wall { Unit::Wall } else { Unit::Seconds };
        let chart = Chart { title: name.clone(), unit, series: vec![series(&name, true, &small), series("b", false, &points)] };
        prop_assert!(chart.svg().starts_with("<svg"));
        let text = chart.terminal(width.min(120), height.min(40), false);
        prop_assert!(text.lines().all(|line| line.width() <= usize::from(width.clamp(30, 120))), "{}", text);
    }
}
