//! Rust read as text: which bytes are code, the tokens of the code, and the paths they spell.
//! Enough for the house rules and no more: macros are not expanded, names brought in by a glob are not known.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Code,
    Comment,
    Text,
}

/// What each byte is. The delimiters of a string are code, what is between them is text.
pub fn classify(src: &str) -> Vec<Class> {
    let bytes = src.as_bytes();
    let mut classes = vec![Class::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (class, from, to, next) = match bytes[at] {
            b'/' if src[at..].starts_with("//") => {
                let end = src[at..].find('\n').map_or(bytes.len(), |n| at + n);
                (Class::Comment, at, end, end)
            }
            b'/' if src[at..].starts_with("/*") => {
                let end = comment_end(bytes, at);
                (Class::Comment, at, end, end)
            }
            b'"' => {
                let end = quote_end(bytes, at + 1, b'"');
                (Class::Text, at + 1, end, end + 1)
            }
            b'r' => {
                raw_string(src, at).map_or((Class::Code, at, at + 1, at + 1), |(from, to, next)| (Class::Text, from, to, next))
            }
            b'\'' => character(src, at).map_or((Class::Code, at, at + 1, at + 1), |end| (Class::Text, at + 1, end, end + 1)),
            _ => (Class::Code, at, at + 1, at + 1),
        };
        classes[from..to.min(bytes.len())].fill(class);
        at = next;
    }
    classes
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn quote_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Start and end of the content, and where code goes on.
fn raw_string(src: &str, at: usize) -> Option<(usize, usize, usize)> {
    let before = src[..at].trim_end_matches(['b', 'c']);
    if at - before.len() > 1 || before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let hashes = src[at + 1..].len() - src[at + 1..].trim_start_matches('#').len();
    let from = at + 1 + hashes + 1;
    if src.as_bytes().get(from - 1) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let to = src[from..].find(&close).map_or(src.len(), |n| from + n);
    Some((from, to, (to + close.len()).min(src.len())))
}

/// Where a character literal closes; nothing for a lifetime or a label.
fn character(src: &str, at: usize) -> Option<usize> {
    let first = src[at + 1..].chars().next()?;
    if first == '\\' {
        return Some(quote_end(src.as_bytes(), at + 1, b'\''));
    }
    let end = at + 1 + first.len_utf8();
    (src.as_bytes().get(end) == Some(&b'\'')).then_some(end)
}

/// The source with everything but one class blanked, line breaks kept.
pub fn only(src: &str, classes: &[Class], class: Class) -> String {
    let keep = |(at, c): (usize, char)| if c == '\n' || classes[at] == class { c } else { ' ' };
    src.char_indices().map(keep).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

pub fn tokens(code: &str) -> Vec<Token> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") || rest.starts_with("=>") => 2,
                c => c.len_utf8(),
            };
            found.push(Token { text: rest[..length].to_owned(), line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

fn texts(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|t| t.text.as_str()).collect()
}

/// Lines on which the tokens of `what` stand in a row.
pub fn rows(tokens: &[Token], what: &str) -> Vec<usize> {
    let wanted = self::tokens(what);
    let same = |window: &&[Token]| window.iter().zip(&wanted).all(|(a, b)| a.text == b.text);
    tokens.windows(wanted.len()).filter(same).map(|window| window[0].line).collect()
}

/// The token after the bracket that closes the one at `open`.
fn after_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The code without its `#[cfg(test)]` modules, and the names of those that are files of their own.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut files, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        let ahead = &tokens[at..tokens.len().min(at + 7)];
        let marked = tokens[at].text == "#" && texts(ahead).concat() == "#[cfg(test)]";
        let module = if marked { module_after(tokens, at) } else { None };
        if let Some(name) = module {
            let open = tokens.get(name + 1).is_some_and(|t| t.text == "{");
            if !open {
                files.push(tokens[name].text.clone());
            }
            at = if open { after_group(tokens, name + 1) } else { name + 2 };
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    (kept, files)
}

/// Behind attributes and a visibility: the name of the module declared here, if it is a module.
fn module_after(tokens: &[Token], mut at: usize) -> Option<usize> {
    loop {
        match tokens.get(at)?.text.as_str() {
            "#" => at = after_group(tokens, at + 1),
            "(" => at = after_group(tokens, at),
            "pub" => at += 1,
            "mod" => return (at + 1 < tokens.len()).then_some(at + 1),
            _ => return None,
        }
    }
}

pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
    /// The inline modules around it.
    pub inside: Vec<String>,
}

/// Every `a::b` of the code; the braces of a `use` are multiplied out.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let (mut found, mut inside, mut depth, mut at) = (Vec::new(), Vec::<(String, usize)>::new(), 0, 0);
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inside.push((tokens[at - 1].text.clone(), depth));
                }
            }
            "}" => {
                inside.retain(|(_, opened)| *opened != depth);
                depth = depth.saturating_sub(1);
            }
            word if is_word(word) => {
                let mut ends = Vec::new();
                let next = path(tokens, at, &[], &mut ends);
                let modules: Vec<String> = inside.iter().map(|(name, _)| name.clone()).collect();
                let long = ends.into_iter().filter(|(segments, _)| segments.len() > 1);
                found.extend(long.map(|(segments, line)| Path { segments, line, inside: modules.clone() }));
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// One path from the word at `at` on, below `prefix`; returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], ends: &mut Vec<(Vec<String>, usize)>) -> usize {
    let line = tokens[at].line;
    let mut segments = prefix.to_vec();
    if prefix.is_empty() || tokens[at].text != "self" {
        segments.push(tokens[at].text.clone());
    }
    let text = |at: usize| tokens.get(at).map_or("", |t| t.text.as_str());
    while text(at + 1) == "::" {
        match text(at + 2) {
            "{" => return group(tokens, at + 2, &segments, ends),
            word if is_word(word) || word == "*" => segments.push(word.to_owned()),
            _ => break,
        }
        at += 2;
    }
    ends.push((segments, line));
    at + 1
}

fn group(tokens: &[Token], open: usize, prefix: &[String], ends: &mut Vec<(Vec<String>, usize)>) -> usize {
    let close = after_group(tokens, open);
    let mut at = open + 1;
    while at + 1 < close {
        let renamed = tokens[at - 1].text == "as" || tokens[at].text == "as";
        at = match tokens[at].text.as_str() {
            word if (is_word(word) || word == "*") && !renamed => path(tokens, at, prefix, ends),
            _ => at + 1,
        };
    }
    close
}

#[test]
fn code_is_told_from_strings_and_comments() {
    let code = |src: &str| texts(&tokens(&only(src, &classify(src), Class::Code))).join(" ");
    assert_eq!(code("a \"b // \\\" c\" d"), "a \" \" d");
    assert_eq!(code("a b\"x\\\\\" d"), "a b \" \" d");
    assert_eq!(code("a r\"b\\\" c"), "a r \" \" c");
    assert_eq!(code("a br##\"b\"# c\"## d"), "a br # # \" \" # # d");
    assert_eq!(code("for\"x\" r#type"), "for \" \" r # type");
    assert_eq!(code("a // \" b\nc"), "a c");
    assert_eq!(code("a /* b /* c */ \" */ d"), "a d");
    assert_eq!(code("'\"' a '\\'' b '/' c 'ü' d"), "' ' a ' ' b ' ' c ' ' d");
    assert_eq!(code("fn f<'a>(x: &'a str) { 'l: loop {} }"), "fn f < ' a > ( x : & ' a str ) { ' l : loop { } }");
    assert_eq!(code("a \"open"), "a \"");
}

#[test]
fn lines_are_counted_through_strings() {
    let found = tokens(&only("a \"x\ny\" /*\n*/ b", &classify("a \"x\ny\" /*\n*/ b"), Class::Code));
    assert_eq!(found.last(), Some(&Token { text: "b".to_owned(), line: 3 }));
}

#[test]
fn test_modules_are_left_out() {
    let (kept, files) = without_tests(&tokens(
        "a #[cfg(test)] #[allow(x)] pub(crate) mod t { b { c } } d #[cfg(test)] mod u; #[cfg(test)] fn e() {}",
    ));
    assert_eq!(texts(&kept).concat(), "ad#[cfg(test)]fne(){}");
    assert_eq!(files, ["u"]);
}

#[test]
fn paths_are_multiplied_out() {
    let found = paths(&tokens("use a::{self, b::{c, d as e}, f::*}; g.h(); mod m { x::y::<z>() }"));
    let shown: Vec<String> = found.iter().map(|path| [path.inside.join("/"), path.segments.join("::")].concat()).collect();
    assert_eq!(shown, ["a::b::c", "a::b::d", "a::f::*", "mx::y"]);
}
