//! The number that a command prints.
//!
//! It runs without a shell, with the few variables that a worker gets too. What it prints is one number and nothing else: a
//! command that prints more may have printed its number anywhere, and a number cut in two is another number.

use crate::edge::command::{self, Command};
use crate::edge::secrets;
use crate::model::reading::{Failure, Number, RAW_MAX};
use crate::model::template;

/// Bytes that a command may print.
const OUTPUT_MAX: u64 = 4096;

/// Asks a command.
#[derive(Debug)]
pub(super) struct Exec(template::Exec);

impl Exec {
    pub(super) fn new(source: template::Exec) -> Exec {
        Exec(source)
    }

    /// Run it, and read what it prints.
    pub(super) async fn read(&self) -> Result<Number, Failure> {
        let env = secrets::inherited().into_iter().collect();
        let command = Command { argv: self.0.command.clone(), env, dir: None, user: None };
        let output = command::run(&command, OUTPUT_MAX + 1).await.map_err(Failure::because)?;
        let program = self.0.command.first().map_or("", String::as_str);
        number(&output).map_err(|what| Failure::because(format!("{program}: {what}")))
    }
}

fn number(output: &[u8]) -> Result<Number, String> {
    if output.len() as u64 > OUTPUT_MAX {
        return Err(format!("printed more than {OUTPUT_MAX} bytes, not just a number"));
    }
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    if text.is_empty() {
        return Err("printed nothing, not a number".into());
    }
    let short = || text.chars().take(RAW_MAX).collect::<String>();
    let value: f64 = text.parse().map_err(|_| format!("printed {}, not just a number", short()))?;
    Number::new(value, text).map_err(|failure| failure.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(argv: &[&str]) -> Result<f64, String> {
        let exec = Exec::new(template::Exec { command: argv.iter().map(|part| (*part).to_owned()).collect() });
        exec.read().await.map(|number| number.value()).map_err(|failure| failure.message)
    }

    #[test]
    fn exactly_one_number_is_taken() {
        for (output, value) in [("25\n", 25.0), (" 0 ", 0.0), ("1.5", 1.5), ("1e3\n", 1000.0), ("-0", 0.0)] {
            assert_eq!(number(output.as_bytes()).map(|number| number.value()), Ok(value), "{output}");
        }
        let long = format!("{}12", " ".repeat(4095));
        for output in ["", " \n", "12 jobs", "1 2", "1\n2\n", "-1", "NaN", "inf", "0x10", "1_000", "\u{1b}[0m3", long.as_str()] {
            assert!(number(output.as_bytes()).is_err(), "{output:?} was taken for a number");
        }
        assert!(number(b"\xff\xfe").is_err());
    }

    #[tokio::test]
    async fn a_command_that_fails_has_no_number() {
        assert_eq!(ask(&["echo", "7"]).await, Ok(7.0));
        // It printed one, but it failed.
        assert!(ask(&["head", "-c1", "/etc/hostname", "/no/such"]).await.is_err());
        assert!(ask(&["false"]).await.is_err_and(|words| words.starts_with("false: exit status: 1")));
        assert!(ask(&["/no/such/program"]).await.is_err_and(|words| words.starts_with("/no/such/program: ")));
        assert!(ask(&["true"]).await.is_err_and(|words| words == "true: printed nothing, not a number"));
        assert!(ask(&["head", "-c5000", "/dev/zero"]).await.is_err_and(|words| words.contains("more than 4096")));
        assert!(ask(&[]).await.is_err());
        // A shell would have counted.
        assert!(ask(&["echo", "$((1 + 1))"]).await.is_err_and(|words| words.contains("$((1 + 1))")));
    }
}
