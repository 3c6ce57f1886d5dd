//! `weir doctor`: what works on this machine, what does not, and how to get it.
//!
//! Looks and changes nothing; needs no daemon. What was seen is judged in [`judge`]. Exit code 1 only if weir cannot run at all:
//! everything else is a poorer way of running.

mod judge;
mod look;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use self::judge::{Finding, State};
use crate::model::text;
use crate::output;

/// Look, and print what was found.
pub fn run(state: PathBuf, as_json: bool) -> ExitCode {
    let findings = judge::all(&look::look(state));
    let text = if as_json {
        let all: Vec<Value> = findings.iter().map(value).collect();
        serde_json::to_string_pretty(&all).expect("findings are plain data") + "\n"
    } else {
        table(&findings)
    };
    let fatal = findings.iter().any(|finding| finding.fatal);
    output::print(&text, if fatal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn value(finding: &Finding) -> Value {
    let Finding { check, state, found, todo, fatal } = finding;
    json!({"check": check, "state": state.word(), "found": found, "todo": todo, "fatal": fatal})
}

/// One line each; below it what to do.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut out = String::new();
    for Finding { check, state, found, todo, .. } in findings {
        let found = text::one_line(found);
        out += &format!("{:<8} {check:<width$}   {found}\n", state.word());
        if let Some(todo) = todo {
            out += &format!("{:<8} {:<width$}   to do: {todo}\n", "", "");
        }
    }
    let bad = findings.iter().filter(|finding| finding.state != State::Ok).count();
    let cannot = findings.iter().any(|finding| finding.fatal);
    let last = match (bad, cannot) {
        (_, true) => "weir cannot run here as things are".to_owned(),
        (0, _) => "all works".to_owned(),
        (n, _) => format!("weir runs here; {n} of {} could be better", findings.len()),
    };
    out + &last + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let findings = judge::all(&look::look(dir.path().join("state")));
        assert!(findings.len() >= 10);
        assert!(!dir.path().join("state").exists(), "looking makes nothing");
        let text = table(&findings);
        assert!(text.lines().all(|line| line.len() > 4) && text.contains("kernel"), "{text}");
    }
}
