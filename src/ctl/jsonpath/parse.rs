//! From text to a template: hand-written descent over characters, with the place in every refusal.
//!
//! Total: any text is a template or a refusal, never a panic and never unbounded nesting. Logical operators in filters are
//! refused, because kubectl's dialect has none.

use serde_json::Value;

use super::{Comparison, Operand, Part, Path, Step};

/// Filters and unions within each other.
const DEPTH_MAX: usize = 16;

/// A whole template.
pub(super) fn template(text: &str) -> Result<Vec<Part>, String> {
    // The parts of each open range, the outermost first, with the path that it goes over.
    let mut open: Vec<(Path, Vec<Part>)> = vec![(Path::default(), Vec::new())];
    let mut rest = text;
    while !rest.is_empty() {
        let Some((before, after)) = rest.split_once('{') else {
            add(&mut open, Part::Text(rest.into()));
            break;
        };
        if !before.is_empty() {
            add(&mut open, Part::Text(before.into()));
        }
        let end = closing(after).ok_or_else(|| format!("unclosed action: {{{after}"))?;
        action(after[..end].trim(), &mut open)?;
        rest = &after[end + 1..];
    }
    match (open.pop(), open.is_empty()) {
        (Some((_, parts)), true) => Ok(parts),
        (Some(_) | None, _) => Err("unclosed range: {end} is missing".into()),
    }
}

fn add(open: &mut [(Path, Vec<Part>)], part: Part) {
    if let Some((_, parts)) = open.last_mut() {
        parts.push(part);
    }
}

/// The byte offset of the brace that closes an action: one that is not in quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (_, _) if escaped => escaped = false,
            ('\\', _) => escaped = true,
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('}', None) => return Some(at),
            (_, _) => {}
        }
    }
    None
}

fn action(text: &str, open: &mut Vec<(Path, Vec<Part>)>) -> Result<(), String> {
    if text == "end" {
        let (path, parts) = open.pop().filter(|_| !open.is_empty()).ok_or("{end} without {range}")?;
        add(open, Part::Range(path, parts));
        return Ok(());
    }
    if let Some(over) = text.strip_prefix("range ").or_else(|| text.strip_prefix("range\t")) {
        open.push((path(over.trim())?, Vec::new()));
        return Ok(());
    }
    let part = if text.starts_with(['"', '\'']) {
        let mut reader = Reader::new(text);
        let literal = reader.quoted()?;
        reader.end()?;
        Part::Text(literal)
    } else {
        Part::Path(path(text)?)
    };
    add(open, part);
    Ok(())
}

/// One path.
pub(super) fn path(text: &str) -> Result<Path, String> {
    let mut reader = Reader::new(text);
    let path = reader.path(0)?;
    reader.end()?;
    Ok(path)
}

struct Reader<'a> {
    all: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(all: &'a str) -> Reader<'a> {
        Reader { all, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.all[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn spaces(&mut self) {
        self.at = self.all.len() - self.rest().trim_start().len();
    }

    fn wrong<T>(&self, what: &str) -> Result<T, String> {
        Err(format!(
            "{what} at character {} of {}",
            self.all[..self.at].chars().count() + 1,
            crate::model::meta::quoted(self.all)
        ))
    }

    fn end(&mut self) -> Result<(), String> {
        self.spaces();
        if self.rest().is_empty() { Ok(()) } else { self.wrong("unexpected text") }
    }

    fn path(&mut self, depth: usize) -> Result<Path, String> {
        if depth > DEPTH_MAX {
            return self.wrong("nested too deeply");
        }
        let mut steps = Vec::new();
        if self.eat("$") {
            steps.push(Step::Root);
        } else {
            self.eat("@");
        }
        loop {
            if self.eat("..") {
                steps.push(Step::Deep);
                if self.peek() != Some('[') {
                    steps.push(self.key()?);
                }
            } else if self.eat(".") {
                // "." alone is the whole; ".[0]" is "[0]".
                if !matches!(self.peek(), None | Some('[' | ' ' | ')' | ']' | ',')) {
                    steps.push(self.key()?);
                }
            } else if self.eat("[") {
                steps.push(self.brackets(depth)?);
            } else {
                return Ok(Path(steps));
            }
        }
    }

    fn key(&mut self) -> Result<Step, String> {
        if self.eat("*") {
            return Ok(Step::Every);
        }
        let (mut key, mut chars) = (String::new(), self.rest().char_indices().peekable());
        let mut length = self.rest().len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => key.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | '(' | ')' | '=' | '!' | '<' | '>' | ',' | '{' | '}' | '"' | '\'' => {
                    length = at;
                    break;
                }
                c if c.is_whitespace() => {
                    length = at;
                    break;
                }
                c => key.push(c),
            }
        }
        self.at += length;
        if key.is_empty() { self.wrong("a field name is missing") } else { Ok(Step::Key(key)) }
    }

    fn brackets(&mut self, depth: usize) -> Result<Step, String> {
        if self.eat("?(") {
            let step = self.filter(depth)?;
            self.spaces();
            return if self.eat(")]") { Ok(step) } else { self.wrong("a filter must end with \")]\"") };
        }
        let mut some = Vec::new();
        loop {
            self.spaces();
            some.push(self.element()?);
            self.spaces();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return self.wrong("\"]\" is missing");
            }
        }
        match (some.pop(), some.is_empty()) {
            (Some(mut only), true) if only.0.len() == 1 => Ok(only.0.remove(0)),
            (Some(last), _) => {
                some.push(last);
                Ok(Step::Any(some))
            }
            (None, _) => self.wrong("nothing is selected"),
        }
    }

    /// One of the things between brackets: `*`, `'key'`, `3`, `1:3`.
    fn element(&mut self) -> Result<Path, String> {
        if self.eat("*") {
            return Ok(Path(vec![Step::Every]));
        }
        if matches!(self.peek(), Some('\'' | '"')) {
            return Ok(Path(vec![Step::Key(self.quoted()?)]));
        }
        let from = self.number()?;
        if !self.eat(":") {
            return match from {
                Some(index) => Ok(Path(vec![Step::Index(index)])),
                None => self.wrong("an index, 'key', * or ?(…) is missing"),
            };
        }
        let to = self.number()?;
        let by = if self.eat(":") { self.number()?.unwrap_or(1) } else { 1 };
        if by < 1 {
            return self.wrong("a slice's step must be above 0");
        }
        Ok(Path(vec![Step::Slice { from, to, by }]))
    }

    fn number(&mut self) -> Result<Option<i64>, String> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        if length == 0 {
            return Ok(None);
        }
        let Ok(number) = rest[..length].parse() else { return self.wrong("no number") };
        self.at += length;
        Ok(Some(number))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let Some(quote) = self.peek() else { return self.wrong("a text is missing") };
        let (mut text, mut chars) = (String::new(), self.rest().char_indices().skip(1));
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, c)) => text.push(c),
                    None => break,
                },
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        self.wrong("a text is not closed")
    }

    fn filter(&mut self, depth: usize) -> Result<Step, String> {
        self.spaces();
        let left = self.operand(depth)?;
        self.spaces();
        let comparison = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find(|(text, _)| self.eat(text));
        let Some((_, comparison)) = comparison else { return Ok(Step::Filter(left, None)) };
        self.spaces();
        let right = self.operand(depth)?;
        Ok(Step::Filter(left, Some((comparison, right))))
    }

    fn operand(&mut self, depth: usize) -> Result<Operand, String> {
        match self.peek() {
            Some('@' | '$' | '.') => self.path(depth + 1).map(Operand::Path),
            Some('"' | '\'') => self.quoted().map(|text| Operand::Literal(Value::String(text))),
            Some(_) | None => {
                let rest = self.rest();
                let length = rest.find(|c: char| c.is_whitespace() || ")=!<>".contains(c)).unwrap_or(rest.len());
                let Ok(value) = serde_json::from_str(&rest[..length]) else {
                    return self.wrong("expected @.field, a text in quotes, a number, true or false");
                };
                self.at += length;
                Ok(Operand::Literal(value))
            }
        }
    }
}
