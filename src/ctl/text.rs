//! Text from outside, made harmless for a terminal.
//!
//! Whatever a worker, a file or a server says is shown with control characters and direction changes written out.

use std::io::{self, Write};

use crate::model::text::is_harmful;

/// Text on one line, harmless for a terminal.
pub fn tame(text: &str) -> String {
    tamed(text, |_| false, |c| c.escape_default().to_string())
}

/// Text on several lines, harmless for a terminal.
pub fn tame_block(text: &str) -> String {
    tamed(text, |c| matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// Text in a format for programs, harmless for a terminal: what stands in a string of JSON or of quoted YAML stays what it is.
pub fn escaped(text: &str) -> String {
    tamed(text, |c| matches!(c, '\n' | '\t'), |c| format!("\\u{:04x}", u32::from(c)))
}

/// Say what is harmless already beside the answer. Nothing can be done about a reader that is gone: the exit code says it too.
pub fn complain(text: &str) {
    let _gone = writeln!(io::stderr(), "{text}");
}

/// Text with the harmful characters that `keep` does not spare replaced by what `escape` makes of them.
pub fn tamed(text: &str, keep: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) || !is_harmful(c) {
            out.push(c);
        } else {
            out.push_str(&escape(c));
        }
    }
    out
}
