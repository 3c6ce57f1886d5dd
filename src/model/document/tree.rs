//! YAML text as a tree whose every key and value knows its line and column.
//!
//! Built from the parser's events, so nothing is guessed yet: a plain `no`, `017` or `12:30` stays the text it is until
//! the schema says what is expected there. Budgets on nodes, bytes, aliases and depth are checked while building,
//! so that hostile input costs no more than its own length.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Tag};

/// Most nodes of one document, aliases expanded.
pub const NODES_MAX: usize = 50_000;
/// Most bytes of text in one document, aliases expanded.
pub const SCALAR_BYTES_MAX: usize = 1 << 20;
/// Most aliases in one document.
pub const ALIASES_MAX: usize = 100;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 32;

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The byte offset in the text of this document.
    pub byte: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: Place,
    /// The byte offset at which it ends.
    pub end: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is. Collections are shared: an alias costs no copy.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text; `plain` when it was written without quotes, and so may mean a number, a boolean or nothing.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A list.
    List(Rc<Vec<Node>>),
    /// A map, in the order in which it is written.
    Map(Rc<Vec<(Key, Node)>>),
}

/// A key and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it begins.
    pub at: Place,
}

/// Why the text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub at: Place,
    /// The keys that were open there, outermost first.
    pub path: Vec<Step>,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// One step of a path into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into an item of a list, from 0.
    Item(usize),
}

/// A broken rule: where, and what.
pub type Broken = (Vec<Step>, String);

/// The steps of a path that is written in the code, like `spec.template.env.0.name`.
pub fn at(path: &str) -> Vec<Step> {
    path.split('.').map(|key| key.parse().map_or_else(|_| Step::Key(key.into()), Step::Item)).collect()
}

/// A path as people write it: `spec.template.env[2].name`.
pub fn path_text(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        let written = match step {
            Step::Item(n) => write!(out, "[{n}]"),
            Step::Key(key) if is_simple(key) && out.is_empty() => write!(out, "{key}"),
            Step::Key(key) if is_simple(key) => write!(out, ".{key}"),
            Step::Key(key) => write!(out, "[{}]", crate::model::meta::quoted(key)),
        };
        written.expect("writing to a string cannot fail");
    }
    out
}

fn is_simple(key: &str) -> bool {
    !key.is_empty() && key.len() <= 63 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Node {
    /// The value under a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The key and the value under it.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(k, node)| (k, node)),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Nothing was written here: empty, `~` or `null`.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// Where a path leads: the place of the key for a key, of the item for an item; of the last that exists otherwise.
    pub fn place(&self, path: &[Step]) -> Place {
        let (mut node, mut at) = (self, self.at);
        for step in path {
            let next = match (step, &node.value) {
                (Step::Key(key), Value::Map(_)) => node.entry(key).map(|(k, n)| (k.at, n)),
                (Step::Item(n), Value::List(items)) => items.get(*n).map(|n| (n.at, n)),
                (Step::Key(_) | Step::Item(_), Value::Scalar { .. } | Value::List(_) | Value::Map(_)) => None,
            };
            let Some((place, found)) = next else { return at };
            (at, node) = (place, found);
        }
        at
    }

    /// The node that a path leads to.
    pub fn find(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match (step, &node.value) {
            (Step::Key(key), Value::Map(_)) => node.get(key),
            (Step::Item(n), Value::List(items)) => items.get(*n),
            (Step::Key(_) | Step::Item(_), Value::Scalar { .. } | Value::List(_) | Value::Map(_)) => None,
        })
    }
}

/// A collection that is still being read.
enum Open {
    List { at: Place, anchor: usize, items: Vec<Node> },
    Map { at: Place, anchor: usize, entries: Vec<(Key, Node)>, seen: BTreeMap<String, u32>, key: Option<Key>, merges: Vec<Node> },
}

/// What an anchor stands for, and what expanding it costs.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    /// Counters when each open collection began: the difference is what its anchor costs.
    began: Vec<(usize, usize)>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
    aliases: usize,
    first_line: u32,
}

/// Read the tree of one document, whose text begins at line `first_line` of its file. None if it holds nothing.
///
/// # Errors
/// The first flaw: what comes after it cannot be trusted.
pub fn read(text: &str, first_line: u32) -> Result<Option<Node>, Flaw> {
    let mut options = granit_parser::options! { flow_nesting_limit: DEPTH_MAX + 1, block_nesting_limit: DEPTH_MAX + 1 };
    options.set_emit_comments(false);
    let mut builder = Builder { first_line, ..Builder::default() };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let message = format!("not YAML: {}", plain_words(&error.info()));
            builder.flaw(builder.place(*error.marker()), &message)
        })?;
        let tag_at = span.tag_start.map(|at| builder.place(at));
        let (at, end) = (builder.place(span.start), span.end.byte_offset().unwrap_or(0));
        builder.take(event, at, end, tag_at)?;
    }
    Ok(builder.root.filter(|node| !node.is_null()))
}

/// The parser's message on one line, without the advice that names its own options.
fn plain_words(message: &str) -> String {
    message.lines().next().unwrap_or("cannot be read").to_owned()
}

/// It has comments, or nobody knows.
pub fn has_comments(text: &str) -> bool {
    let mut options = granit_parser::options! { flow_nesting_limit: DEPTH_MAX + 1, block_nesting_limit: DEPTH_MAX + 1 };
    options.set_emit_comments(true);
    Parser::new_from_str_with_options(text, options).any(|next| matches!(next, Err(_) | Ok((Event::Comment(..), _))))
}

impl Builder {
    fn place(&self, mark: Marker) -> Place {
        let line = u32::try_from(mark.line()).unwrap_or(u32::MAX).max(1);
        let column = u32::try_from(mark.col()).unwrap_or(u32::MAX - 1) + 1;
        Place { line: line.saturating_add(self.first_line - 1), column, byte: mark.byte_offset().unwrap_or(0) }
    }

    fn flaw(&self, at: Place, message: &str) -> Flaw {
        let mut path = Vec::new();
        for open in &self.open {
            match open {
                Open::List { items, .. } => path.push(Step::Item(items.len())),
                Open::Map { key: Some(key), .. } => path.push(Step::Key(key.text.clone())),
                Open::Map { key: None, .. } => {}
            }
        }
        Flaw { at, path, message: message.to_owned() }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list of events is open")]
    fn take(&mut self, event: Event<'_>, at: Place, end: usize, tag_at: Option<Place>) -> Result<(), Flaw> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = self.tag(tag.as_deref(), tag_at.unwrap_or(at), "str")?;
                let plain = style == ScalarStyle::Plain && !forced;
                self.count(at, 1, text.len())?;
                let node = Node { at, end, value: Value::Scalar { text: text.into_owned(), plain } };
                self.anchor(anchor, &node, 1, node.text().map_or(0, str::len));
                self.put(node)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), tag_at.unwrap_or(at), "seq")?;
                self.begin(at, Open::List { at, anchor, items: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), tag_at.unwrap_or(at), "map")?;
                let (entries, seen, merges) = (Vec::new(), BTreeMap::new(), Vec::new());
                self.begin(at, Open::Map { at, anchor, entries, seen, key: None, merges })
            }
            Event::SequenceEnd | Event::MappingEnd => self.finish(end),
            Event::Alias(id) => self.alias(id, at, end),
            Event::DocumentStart(..) if self.root.is_some() => Err(self.flaw(at, "a second document must begin with a line ---")),
            // Beginnings and ends of the stream, comments, names of anchors: no values.
            _ => Ok(()),
        }
    }

    /// Only the tag that says what a value is anyway; true if it is `!!str`.
    fn tag(&self, tag: Option<&Tag>, at: Place, allowed: &str) -> Result<bool, Flaw> {
        match tag.map(Tag::core_suffix) {
            None => Ok(false),
            Some(Some(core)) if core == allowed => Ok(allowed == "str"),
            Some(_) => Err(self.flaw(at, "tags are not supported: write the value without the word that begins with '!'")),
        }
    }

    fn count(&mut self, at: Place, nodes: usize, bytes: usize) -> Result<(), Flaw> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > NODES_MAX {
            return Err(self.flaw(at, &format!("more than {NODES_MAX} values in one document")));
        }
        if self.bytes > SCALAR_BYTES_MAX {
            return Err(self.flaw(at, &format!("more than {SCALAR_BYTES_MAX} bytes of text in one document, aliases counted")));
        }
        Ok(())
    }

    fn begin(&mut self, at: Place, open: Open) -> Result<(), Flaw> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.flaw(at, &format!("nested deeper than {DEPTH_MAX}")));
        }
        self.began.push((self.nodes, self.bytes));
        self.count(at, 1, 0)?;
        self.open.push(open);
        Ok(())
    }

    fn finish(&mut self, end: usize) -> Result<(), Flaw> {
        let before = self.began.pop().unwrap_or_default();
        let (anchor, node) = match self.open.pop() {
            Some(Open::List { at, anchor, items }) => (anchor, Node { at, end, value: Value::List(Rc::new(items)) }),
            Some(Open::Map { at, anchor, mut entries, mut seen, merges, .. }) => {
                for merge in &merges {
                    self.merge(merge, &mut entries, &mut seen)?;
                }
                (anchor, Node { at, end, value: Value::Map(Rc::new(entries)) })
            }
            None => return Ok(()),
        };
        self.anchor(anchor, &node, self.nodes - before.0, self.bytes - before.1);
        self.put(node)
    }

    fn anchor(&mut self, id: usize, node: &Node, nodes: usize, bytes: usize) {
        if id != 0 {
            self.anchors.insert(id, Anchored { node: node.clone(), nodes, bytes });
        }
    }

    fn alias(&mut self, id: usize, at: Place, end: usize) -> Result<(), Flaw> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            return Err(self.flaw(at, &format!("more than {ALIASES_MAX} aliases in one document")));
        }
        let Some(target) = self.anchors.get(&id) else {
            return Err(self.flaw(at, "this alias stands inside the value that it names"));
        };
        let (node, nodes, bytes) = (Node { at, end, value: target.node.value.clone() }, target.nodes, target.bytes);
        self.count(at, nodes, bytes)?;
        if self.open.len() + height(&node) > DEPTH_MAX {
            return Err(self.flaw(at, &format!("nested deeper than {DEPTH_MAX}, aliases expanded")));
        }
        self.put(node)
    }

    /// `<<`: the keys that the map does not have itself.
    fn merge(&mut self, from: &Node, entries: &mut Vec<(Key, Node)>, seen: &mut BTreeMap<String, u32>) -> Result<(), Flaw> {
        match &from.value {
            Value::Map(more) => {
                self.count(from.at, more.len(), 0)?;
                for (key, node) in more.iter() {
                    if !seen.contains_key(&key.text) {
                        seen.insert(key.text.clone(), key.at.line);
                        entries.push((key.clone(), node.clone()));
                    }
                }
                Ok(())
            }
            Value::List(maps) => maps.iter().try_for_each(|map| match &map.value {
                Value::Map(_) => self.merge(map, entries, seen),
                Value::List(_) | Value::Scalar { .. } => Err(self.flaw(map.at, MERGE)),
            }),
            Value::Scalar { .. } => Err(self.flaw(from.at, MERGE)),
        }
    }

    /// A whole value: into the innermost open collection, as a key or a value.
    fn put(&mut self, node: Node) -> Result<(), Flaw> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, merges, .. }) if key.is_some() => {
                let key = key.take().expect("just seen");
                if key.text == "<<" { merges.push(node) } else { entries.push((key, node)) }
            }
            Some(Open::Map { .. }) => return self.put_key(node),
        }
        Ok(())
    }

    fn put_key(&mut self, node: Node) -> Result<(), Flaw> {
        let Value::Scalar { text, .. } = node.value else {
            return Err(self.flaw(node.at, "a key must be a text, found a list or a map"));
        };
        let at = node.at;
        let Some(Open::Map { seen, key, .. }) = self.open.last_mut() else { return Ok(()) };
        *key = Some(Key { text: text.clone(), at });
        match seen.insert(text.clone(), at.line) {
            Some(first) if text != "<<" => {
                let name = crate::model::meta::quoted(&text);
                Err(self.flaw(at, &format!("duplicate key {name}: it is already set on line {first}")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

const MERGE: &str = "'<<' takes a map, or a list of maps";

fn height(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| height(node)).max().unwrap_or(0),
    }
}
