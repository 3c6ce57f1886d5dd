//! Numbers of a JSON text that would be others once they are read: an identity that was rounded is another identity.
//!
//! A number is carried as an integer of 64 bits or as a float of 64 bits, as nearly everything that reads JSON has it.

use std::fmt;

/// Characters of a number that are shown.
const SHOWN_MAX: usize = 60;

/// A number as it was written, that neither an integer nor a float of 64 bits has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inexact<'a>(pub &'a str);

impl fmt::Display for Inexact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number: String = self.0.chars().take(SHOWN_MAX).collect();
        let why = "cannot be carried as it is: no 64-bit integer or float has this value. Send it as a string";
        write!(f, "the number {number} {why}: \"{number}\"")
    }
}

/// The first number of a JSON text that would be another one when it is read: a whole number with more digits than fit, or one that is
/// too large or too small.
pub fn inexact(json: &str) -> Option<Inexact<'_>> {
    let part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    // Whatever is between quotes is no number: an escaped quote does not end a text.
    let quoted = |rest: &str| {
        let mut escaped = false;
        let end = |c: char| (c == '"' && !escaped, escaped = c == '\\' && !escaped).0;
        rest.find(end).map_or(rest.len(), |at| at + 1)
    };
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        let length = match rest.strip_prefix('"') {
            Some(text) => 1 + quoted(text),
            None => rest.find(|c: char| !part(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        if !token.starts_with('"') && changes(token) {
            return Some(Inexact(token));
        }
        rest = after;
    }
    None
}

fn changes(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return false;
    }
    let float: f64 = number.parse().unwrap_or(f64::INFINITY);
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    if number == mantissa && !number.contains('.') {
        return format!("{float:.0}") != number;
    }
    // Parts of a number are rounded by everybody.
    float.is_infinite() || (float == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_would_be_another_one_is_found() {
        for (text, found) in [
            ("12345678901234567890123", Some("12345678901234567890123")),
            (r#"{"a": [1, -12345678901234567890123], "b": 1}"#, Some("-12345678901234567890123")),
            ("[1e400]", Some("1e400")),
            ("-2E-400", Some("-2E-400")),
            (r#"{"a\"12345678901234567890123": "12345678901234567890123", "\\": 2}"#, None),
            ("[18446744073709551615, -9223372036854775808, 0, -0, 0.1, 3.14159265358979323846, 1.5e-3, 0e5, 1E+22]", None),
            ("10000000000000000000000", None),
            ("1180591620717411303424", None),
        ] {
            assert_eq!(inexact(text).map(|Inexact(number)| number), found, "{text}");
        }
    }
}
