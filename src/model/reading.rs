//! What asking a source once comes to: a number, or why there is none.
//!
//! There is no way to write "an error is zero": a failure is another type than a number, and what is not a finite number of
//! zero or more is a failure.

use super::time::Span;
use crate::model::text;

/// Characters of a raw answer that are kept for showing.
pub const RAW_MAX: usize = 120;

/// A number that a source answered: finite, and zero or more.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    value: f64,
    raw: String,
}

impl Number {
    /// A number, with the answer that it was taken from.
    ///
    /// # Errors
    /// That it is negative or not finite: nobody can count that.
    pub fn new(value: f64, raw: &str) -> Result<Number, Failure> {
        let raw: String = text::one_line(raw.trim()).chars().take(RAW_MAX).collect();
        if value.is_finite() && value >= 0.0 {
            // -0.0 is 0.
            Ok(Number { value: value + 0.0, raw })
        } else {
            Err(Failure::because(format!("answered {raw}, which is no number of zero or more")))
        }
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The first of the answer as it came, without control characters.
    pub fn raw(&self) -> &str {
        &self.raw
    }
}

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words, with what was asked; never with a secret.
    pub message: String,
    /// The source asked not to be asked again for so long.
    pub retry_after: Option<Span>,
}

impl Failure {
    /// For this reason. Control characters are replaced: it may quote what came over the network.
    pub fn because(message: impl Into<String>) -> Failure {
        let message: String = message.into();
        Failure { message: text::one_line(&message), retry_after: None }
    }
}

/// A number as people write it, in at most a dozen characters: `25`, `0.3`, `1e-320`.
pub fn shown(value: f64) -> String {
    let plain = format!("{value}");
    if plain.len() <= 12 {
        return plain;
    }
    if (1e-4..1e9).contains(&value.abs()) {
        let places = format!("{value:.6}");
        return places.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let short = format!("{value:e}");
    if short.len() <= 12 { short } else { format!("{value:.5e}") }
}

/// `1 worker`, `2 workers`: a regular noun, counted.
pub fn counted(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// `once`, `2 times`.
pub fn times(count: impl Into<u64>) -> String {
    match count.into() {
        1 => "once".into(),
        count => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_for_people() {
        for (value, short) in [
            (0.0, "0"),
            (25.0, "25"),
            (2.5, "2.5"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333"),
            (100_000.0 / 3.0, "33333.333333"),
            (1e-320, "1e-320"),
            (1.0 / 3e7, "3.33333e-8"),
            (1e300, "1e300"),
            (123_456_789_012.0, "123456789012"),
            (f64::MAX, "1.79769e308"),
        ] {
            assert_eq!(shown(value), short);
        }
        assert_eq!((counted(1u32, "worker"), counted(0u32, "worker")), ("1 worker".into(), "0 workers".into()));
        assert_eq!((times(1u32), times(2u32)), ("once".into(), "2 times".into()));
    }

    #[test]
    fn only_what_can_be_counted_is_a_number() {
        for (value, raw) in [(0.0, "0"), (-0.0, "-0"), (25.0, " 25\n"), (1e300, "1e300")] {
            assert!(Number::new(value, raw).is_ok_and(|number| number.value() >= 0.0 && number.value().is_sign_positive()));
        }
        for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Number::new(value, "?").is_err());
        }
        assert_eq!(Number::new(1.0, &format!("1\u{1b}[31m{}", "x".repeat(500))).map(|n| n.raw().len()), Ok(RAW_MAX));
    }
}
