//! Text from outside, made harmless for a line of a log, a message or a terminal.
//!
//! What counts as harmful is said here once. Whether it is replaced, escaped or refused is for whoever shows the text.

/// Control characters, and those that are invisible or change the direction of what follows.
pub fn is_harmful(c: char) -> bool {
    let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || invisible
}

/// Words that may come in several lines, on one: each harmful character is a space.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).collect()
}

/// A name or a note with a visible mark, U+FFFD, for each harmful character.
pub fn marked(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left_and_nothing_else_is_touched() {
        let hostile = "a\u{1b}[31mb\nc\u{202e}d\u{200b}e\u{feff}\u{9b}f";
        assert_eq!(one_line(hostile), "a [31mb c d e  f");
        assert_eq!(marked("a\u{7}b\u{2066}"), "a\u{fffd}b\u{fffd}");
        let harmless = "Grüße, 世界 🦀 \u{301}";
        assert_eq!((one_line(harmless), marked(harmless)), (harmless.to_owned(), harmless.to_owned()));
    }
}
