//! How long tasks take: always the same time, or spread around a median.
//!
//! No chance is involved: the n-th task always takes the same time, and any run of tasks is spread evenly over the distribution.

use std::str::FromStr;

use crate::model::time::Span;

/// The normal quantile of 95 %.
const Z95: f64 = 1.644_853_626_951_472_2;
/// The golden ratio's fraction: its multiples fill the unit interval evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// How long tasks take: log-normal, given by its median and its 95th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    median_ms: f64,
    sigma: f64,
}

impl Work {
    /// Always `span`.
    pub fn constant(span: Span) -> Work {
        Work { median_ms: span.0 as f64, sigma: 0.0 }
    }

    /// How long the `n`-th task takes, in milliseconds; at least 1.
    pub fn nth(&self, n: u64) -> u64 {
        if self.sigma == 0.0 {
            return (self.median_ms.round() as u64).max(1);
        }
        let at = ((n % (1 << 40)) as f64 * GOLDEN + 0.5).fract().clamp(1e-9, 1.0 - 1e-9);
        ((self.median_ms * (self.sigma * normal_quantile(at)).exp()).round() as u64).max(1)
    }

    /// `N` tasks a second for one worker, or `N/s`, `N/m`, `N/h`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn at_rate(text: &str) -> Result<Work, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(format!("\"{text}\" is not a rate: use tasks a second, as 0.5, or 30/m, 30/h")),
        };
        match number.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Work { median_ms: seconds * 1000.0 / rate, sigma: 0.0 }),
            Ok(_) | Err(_) => Err(format!("\"{text}\" is not a rate above zero: use tasks a second, as 0.5, or 30/m, 30/h")),
        }
    }
}

impl FromStr for Work {
    type Err = String;
    fn from_str(text: &str) -> Result<Work, String> {
        let (median, rest) = text.split_once(',').map_or((text, None), |(median, rest)| (median, Some(rest)));
        let median: Span = median.trim().parse()?;
        let sigma = match rest.map(|rest| rest.trim().strip_prefix("p95=").ok_or(rest)) {
            None => 0.0,
            Some(Ok(p95)) => {
                let p95: Span = p95.parse()?;
                if p95 < median || median.0 == 0 {
                    return Err(format!("p95={p95} is below the median {median}"));
                }
                (p95.0 as f64 / median.0 as f64).ln() / Z95
            }
            Some(Err(rest)) => return Err(format!("\"{rest}\" is not known: use a median alone or with p95, as 30s,p95=2m")),
        };
        Ok(Work { median_ms: median.0 as f64, sigma })
    }
}

/// The inverse of the normal distribution, good to nine digits (P. J. Acklam's rational approximation).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] =
        [-54.476_098_798_224_06, 161.585_836_858_040_9, -155.698_979_859_886_6, 66.801_311_887_719_72, -13.280_681_552_885_72];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [0.007_784_695_709_041_462, 0.322_467_129_070_039_8, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let poly = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / (poly(&D, q) * q + 1.0)
    };
    if p < 0.024_25 {
        tail(p)
    } else if p > 1.0 - 0.024_25 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        poly(&A, q * q) * q / (poly(&B, q * q) * q * q + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_what_was_said() {
        let constant: Work = "30s".parse().expect("reads");
        assert!((0..100).all(|n| constant.nth(n) == 30_000));
        let spread: Work = "30s,p95=2m".parse().expect("reads");
        let mut all: Vec<u64> = (0..1000).map(|n| spread.nth(n)).collect();
        all.sort_unstable();
        assert!((29_500..30_500).contains(&all[499]) && (115_000..125_000).contains(&all[949]), "{} {}", all[499], all[949]);
        assert_eq!(Work::at_rate("0.5").map(|work| work.nth(3)), Ok(2000));
        assert_eq!(Work::at_rate("30/m").map(|work| work.nth(3)), Ok(2000));
        for text in ["30", "30s,p90=1m", "30s,p95=1s", ""] {
            assert!(text.parse::<Work>().is_err(), "{text}");
        }
        assert!(Work::at_rate("0").is_err() && Work::at_rate("1/d").is_err() && Work::at_rate("-1").is_err());
    }

    #[test]
    fn the_normal_quantile_is_right() {
        for (p, z) in [(0.5, 0.0), (0.95, Z95), (0.05, -Z95), (0.001, -3.090_232_306), (0.999, 3.090_232_306)] {
            assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}");
        }
    }
}
