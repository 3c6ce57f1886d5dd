//! `$(VAR)` in arguments and values, exactly as Kubernetes does it, and the environment that a worker starts with.
//!
//! No shell and no recursion: a reference expands once, to the value as it is; an unknown one stays as it was written, and
//! `$$(VAR)` gives the text `$(VAR)`. Each argument stays one argument whatever is in the value.

use std::collections::BTreeMap;

/// `text` with each `$(NAME)` of `vars` replaced.
pub fn expand(text: &str, vars: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match vars.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

/// The whole environment: `base` first, then `own` in order, each value expanded over what is before it.
pub fn environment(base: BTreeMap<String, String>, own: &[(String, String)]) -> BTreeMap<String, String> {
    let mut vars = base;
    for (name, value) in own {
        let value = expand(value, &vars);
        vars.insert(name.clone(), value);
    }
    vars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_in_kubernetes() {
        let vars = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "$(A)".to_owned()),
            ("S".to_owned(), "a b; rm -rf /".to_owned()),
        ]);
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)z", "x1y1z"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$(A", "$(A"),
            ("$A ${A} 100$", "$A ${A} 100$"),
            ("$(S)", "a b; rm -rf /"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand(text, &vars), expected, "{text}");
        }
    }

    #[test]
    fn later_variables_may_refer_to_earlier_ones() {
        let own = [
            ("X".to_owned(), "$(HOME)/x".to_owned()),
            ("Y".to_owned(), "$(X)/y".to_owned()),
            ("X".to_owned(), "$(Y)".to_owned()),
        ];
        let vars = environment(BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]), &own);
        assert_eq!((vars["X"].as_str(), vars["Y"].as_str()), ("/h/x/y", "/h/x/y"));
    }
}
