//! `$(payload.field)` in arguments: text from a task, as exactly one argument or a part of one.
//!
//! What a stranger wrote must not become an option: an argument that begins with it may not begin with `-`, unless the argument
//! before is `--`. It is bounded, has no NUL, and is expanded once: what is in it is never looked into.

use serde_json::Value;

/// Longest argument with text from a task, in bytes; the kernel takes 128 KiB.
const ARGUMENT_MAX: usize = 100 * 1024;
const OPEN: &str = "$(payload";

/// Whether any of the arguments takes something from the payload.
pub fn is_asked_for(command: &[String]) -> bool {
    command.iter().any(|argument| argument.contains(OPEN))
}

/// Whether this argument takes something from the payload; `$$(payload` is text.
pub fn takes(argument: &str) -> bool {
    argument.match_indices(OPEN).any(|(at, _)| {
        let closed = argument[at..].contains(')');
        closed && !argument[..at].ends_with('$')
    })
}

/// The arguments with what they take from the payload. The other references stay for later, and `$` of the payload is doubled
/// so that it stays what it is.
///
/// # Errors
/// Which argument, and why the payload does not fit it.
pub fn arguments(command: &[String], payload: &Value) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = Vec::with_capacity(command.len());
    for (n, argument) in command.iter().enumerate() {
        let made = one(argument, payload).map_err(|why| format!("argument {n} of the command ({argument:?}): {why}"))?;
        let free = n > 0 && command[n - 1] == "--";
        if argument.starts_with(OPEN) && made.starts_with('-') && !free {
            return Err(format!(
                "argument {n} of the command ({argument:?}) would begin with \"-\": put \"--\" before it in the template to allow that"
            ));
        }
        out.push(made);
    }
    Ok(out)
}

fn one(argument: &str, payload: &Value) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = argument;
    while let Some(at) = rest.find(OPEN) {
        // `$$(payload.x)` is text.
        let escaped = rest[..at].ends_with('$');
        let Some((name, after)) = rest[at + OPEN.len()..].split_once(')').filter(|_| !escaped) else {
            out.push_str(&rest[..at + OPEN.len()]);
            rest = &rest[at + OPEN.len()..];
            continue;
        };
        out.push_str(&rest[..at]);
        let text = field(payload, name)?;
        if text.contains('\0') {
            return Err(format!("payload{name} has a NUL byte"));
        }
        out.push_str(&text.replace('$', "$$"));
        rest = after;
    }
    out.push_str(rest);
    if out.len() > ARGUMENT_MAX {
        return Err(format!(
            "it would have {} bytes, allowed are {ARGUMENT_MAX}: take the payload from standard input",
            out.len()
        ));
    }
    Ok(out)
}

/// The text of a field: strings as they are, anything else as JSON.
fn field(payload: &Value, path: &str) -> Result<String, String> {
    let mut value = payload;
    for step in path.split('.').skip(1) {
        let found = value.get(step).or_else(|| value.get(step.parse::<usize>().ok()?));
        value = found.ok_or_else(|| format!("the payload has no field {:?}", path.trim_start_matches('.')))?;
    }
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::expand::expand;

    fn run(command: &[&str], payload: &Value) -> Result<Vec<String>, String> {
        let command: Vec<String> = command.iter().map(|text| (*text).to_owned()).collect();
        let vars = std::collections::BTreeMap::from([("HOME".to_owned(), "/home/x".to_owned())]);
        arguments(&command, payload).map(|all| all.iter().map(|argument| expand(argument, &vars)).collect())
    }

    #[test]
    fn fields_become_one_argument_whatever_is_in_them() {
        let payload = serde_json::json!({"p": "a b; $(HOME) $$ `x`", "n": 3, "o": {"x": [true]}, "dash": "-rf"});
        let ok = |command: &[&str], expected: &[&str]| assert_eq!(run(command, &payload).unwrap(), expected, "{command:?}");
        ok(&["x", "$(payload.p)"], &["x", "a b; $(HOME) $$ `x`"]);
        ok(&["x", "--text=$(payload.p)!"], &["x", "--text=a b; $(HOME) $$ `x`!"]);
        ok(&["x", "$(payload.n)", "$(payload.o)", "$(payload.o.x.0)"], &["x", "3", "{\"x\":[true]}", "true"]);
        ok(&["x", "--", "$(payload.dash)"], &["x", "--", "-rf"]);
        ok(&["x", "--dir=$(payload.dash)", "$(HOME)"], &["x", "--dir=-rf", "/home/x"]);
        ok(&["x", "$$(payload.p)", "$(payload"], &["x", "$(payload.p)", "$(payload"]);
        assert_eq!(run(&["x", "$(payload)"], &Value::from("all")).unwrap(), ["x", "all"]);
    }

    #[test]
    fn an_argument_takes_something_where_it_is_written_so() {
        for argument in ["$(payload)", "x$(payload.a.0)y", "$$(payload.a)$(payload.b)"] {
            assert!(takes(argument), "{argument}");
        }
        for argument in ["", "$(HOME)", "$$(payload.a)", "$(payload", "payload.a"] {
            assert!(!takes(argument), "{argument}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let payload = serde_json::json!({"dash": "-rf", "nul": "a\u{0}b", "big": "x".repeat(ARGUMENT_MAX + 1)});
        for (argument, why) in [
            ("$(payload.dash)", "begin with"),
            ("$(payload.none)", "no field"),
            ("$(payload.dash.x)", "no field"),
            ("$(payload.nul)", "NUL"),
            ("$(payload.big)", "standard input"),
        ] {
            let refusal = run(&["x", argument], &payload).unwrap_err();
            assert!(refusal.contains(why), "{argument}: {refusal}");
        }
    }
}
