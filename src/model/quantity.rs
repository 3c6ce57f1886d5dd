//! Amounts with units: memory, CPU and percentages.
//!
//! Reading is total: overflow, signs, exponents and unknown units are refused with what is allowed, never rounded to zero
//! and never wrapped. `100M` and `100Mi` are different numbers here as in Kubernetes. Each `Display` is canonical: reading it
//! back gives the same amount.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of memory or disk in bytes, written as a Kubernetes quantity: `512Mi`, `8Gi`, `512M`, `1073741824`.
/// At most `8Ei - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(pub u64);

/// An amount of CPU in thousandths of a core, written as cores (`2`, `0.5`), millicores (`500m`) or percent of one core
/// (`200%`). At most 1,000,000 cores; anything finer than 1m is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(pub u64);

/// A share, `0%` to `100%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

/// Largest first, so that `Display` finds the shortest exact form.
const BINARY: [(&str, u64); 6] =
    [("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
const DECIMAL: [(&str, u64); 6] = [
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];
const MEMORY_MAX: u64 = i64::MAX as u64;
const CPU_MILLIS_MAX: u64 = 1_000_000_000;

/// `digits[.digits]` times `scale`, exactly; none if it is no number, too large, or not a whole result.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let dangling = number.ends_with('.') || whole.is_empty();
    if dangling || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let whole = u128::from(whole.parse::<u64>().ok()?).checked_mul(u128::from(scale))?;
    let unit = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()?.checked_mul(u128::from(scale))? };
    if fraction % unit != 0 {
        return None;
    }
    u64::try_from(whole.checked_add(fraction / unit)?).ok()
}

impl FromStr for Memory {
    type Err = String;
    fn from_str(text: &str) -> Result<Memory, String> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let scale = if unit.is_empty() {
            Some(1)
        } else {
            BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
        };
        match scale.and_then(|scale| scaled(number, scale)) {
            Some(bytes) if bytes <= MEMORY_MAX => Ok(Memory(bytes)),
            Some(_) | None => Err(format!(
                "\"{text}\" is not an amount of memory: use bytes with a unit, like 512Mi, 8Gi or 512M (Ki Mi Gi Ti Pi Ei, k M G T P E), below 8Ei"
            )),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BINARY.iter().chain(&DECIMAL).find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size));
        match exact {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Cpu {
    type Err = String;
    fn from_str(text: &str) -> Result<Cpu, String> {
        let read = match (text.strip_suffix('m'), text.strip_suffix('%')) {
            (Some(number), None) => scaled(number, 1),
            (None, Some(number)) => scaled(number, 10),
            (None, None) | (Some(_), Some(_)) => scaled(text, 1000),
        };
        match read {
            Some(millis) if millis <= CPU_MILLIS_MAX => Ok(Cpu(millis)),
            Some(_) | None => Err(format!(
                "\"{text}\" is not an amount of CPU: use cores like 2 or 0.5, millicores like 500m, or percent of one core like 200%"
            )),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Percent, String> {
        let read = text.strip_suffix('%').and_then(|number| scaled(number, 1)).and_then(|n| u8::try_from(n).ok());
        read.filter(|n| *n <= 100)
            .map(Percent)
            .ok_or_else(|| format!("\"{text}\" is not a share: use a whole percentage from 0% to 100%, like 10%"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Serde and schema for an amount that is written as text.
macro_rules! written_as_text {
    ($type:ty, $name:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<$type, D::Error> {
                String::deserialize(input)?.parse().map_err(de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written_as_text!(Memory, "Memory", {"type": "string", "format": "memory", "pattern": "^[0-9.]+([KMGTPE]i|[kMGTPE])?$", "examples": ["512Mi", "8Gi"]});
written_as_text!(Cpu, "Cpu", {"type": "string", "format": "cpu", "pattern": "^[0-9.]+[m%]?$", "examples": ["2", "500m", "200%"]});
written_as_text!(Percent, "Percent", {"type": "string", "format": "percent", "pattern": "^[0-9]{1,3}%$", "examples": ["10%"]});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_reads_as_kubernetes_does() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("8Gi", 8 << 30),
            ("512M", 512_000_000),
            ("1.5Gi", 3 << 29),
            ("10Mi", 10 << 20),
            ("1k", 1000),
            ("0.5Ki", 512),
            ("7Ei", 7 << 60),
        ] {
            assert_eq!(text.parse(), Ok(Memory(bytes)), "{text}");
        }
        for text in [
            "", "-1", "1e18", "9Ei", "8Ei", "NaN", "1.Gi", ".5Gi", "1 Gi", "1GB", "1gi", "1K", "0.3", "1.0001Ki", "１Gi", "inf",
            "+1", "0x10", "1__0",
        ] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    #[test]
    fn cpu_reads_cores_millicores_and_percent() {
        for (text, millis) in [("2", 2000), ("500m", 500), ("200%", 2000), ("0.5", 500), ("0.001", 1), ("12.5%", 125), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Cpu(millis)), "{text}");
        }
        for text in ["", "0.0001", "-1", "1e3", "m", "%", "NaN", "0.5m", "1000001", "2 ", "1%m", "99999999999999999999"] {
            assert!(text.parse::<Cpu>().is_err(), "{text}");
        }
    }

    #[test]
    fn percent_stays_within_the_whole() {
        assert_eq!("10%".parse(), Ok(Percent(10)));
        for text in ["", "10", "101%", "-1%", "1.5%", "%", "256%", "300%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in 0..=MEMORY_MAX, millis in 0..=CPU_MILLIS_MAX, percent in 0u8..=100) {
            prop_assert_eq!(Memory(bytes).to_string().parse(), Ok(Memory(bytes)));
            prop_assert_eq!(Cpu(millis).to_string().parse(), Ok(Cpu(millis)));
            prop_assert_eq!(Percent(percent).to_string().parse(), Ok(Percent(percent)));
        }

        #[test]
        fn no_text_panics_and_what_reads_is_canonical(text in "[0-9.]{0,24}[a-zA-Z%+-]{0,3}|\\PC{0,12}") {
            if let Ok(memory) = text.parse::<Memory>() {
                prop_assert_eq!(memory.to_string().parse(), Ok(memory));
            }
            if let Ok(cpu) = text.parse::<Cpu>() {
                prop_assert_eq!(cpu.to_string().parse(), Ok(cpu));
            }
            let _ = text.parse::<Percent>();
        }
    }
}
