//! Text → documents.

use std::collections::{HashMap, HashSet};
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use kiln_spec::source::Span;

use crate::node::{Entry, Map, Node, Style, Value};
use crate::scalar;

/// Bytes of a text.
pub const MAX_BYTES: usize = 64 << 20;
/// Nodes of all documents of a text, each time an alias names them.
pub const MAX_NODES: usize = 2_000_000;
/// Lists and maps in each other, through aliases too.
pub const MAX_DEPTH: usize = 200;
/// Documents that cannot be read before the rest of the text is given up: each costs a search for the next.
const MAX_FAULTS: usize = 1000;

/// One document of a text.
#[derive(Debug, Clone)]
pub struct Document {
    /// From its first byte, or that of its `---`, to where the next one starts.
    pub span: Span,
    /// Its content, null if it is empty.
    pub root: Result<Node, Fault>,
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub span: Span,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    fn new(span: Span, message: impl Into<String>) -> Fault {
        Fault { message: message.into(), span }
    }
}

/// Reads all documents of a text, JSON too. A document that cannot be read does not hide those behind it.
pub fn parse(text: &str) -> Vec<Document> {
    let all = Span::new(0, text.len());
    if text.len() > MAX_BYTES {
        let fault = Fault::new(Span::default(), format!("more than {} MiB", MAX_BYTES >> 20));
        return vec![Document { span: all, root: Err(fault) }];
    }
    // The parser takes a NUL for the end.
    if let Some(at) = text.find('\0') {
        let fault = Fault::new(Span::new(at, at + 1), "a NUL byte: this is not text");
        return vec![Document { span: all, root: Err(fault) }];
    }
    Reader::new(text).documents()
}

type Events<'t> = Parser<'t, StrInput<'t>>;

struct Reader<'t> {
    text: &'t str,
    events: Events<'t>,
    /// What anchors name, in the document that is being read.
    anchors: HashMap<usize, Anchored>,
    open: Vec<Open>,
    root: Option<Node>,
    /// How many nodes there may still be.
    left: usize,
}

/// A finished node, how many nodes it is, and how many levels.
#[derive(Clone)]
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

/// A list or map that is not at its end.
struct Open {
    start: usize,
    anchor: usize,
    what: Inside,
    /// Nodes and levels in it so far.
    nodes: usize,
    height: usize,
}

enum Inside {
    List(Vec<Node>),
    Map(Pairs),
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Reader<'t> {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        Reader {
            text,
            events: Parser::new_from_str_with_options(text, options),
            anchors: HashMap::new(),
            open: Vec::new(),
            root: None,
            left: MAX_NODES,
        }
    }

    fn documents(mut self) -> Vec<Document> {
        let mut found: Vec<Document> = Vec::new();
        let (mut start, mut faults) = (0, 0);
        while let Some(event) = self.events.next_event() {
            let event = event.map_err(|error| self.scan_fault(&error)).and_then(|(event, span)| {
                let span = self.place(span);
                if let Event::DocumentStart(..) = event {
                    start = span.start;
                    self.forget();
                    return Ok(false);
                }
                let ends = matches!(event, Event::DocumentEnd);
                self.take(event, span).map(|()| ends)
            });
            let root = match event {
                Ok(false) => continue,
                Ok(true) => Ok(self.root.take().unwrap_or_else(|| Node::made(Value::Null))),
                Err(fault) => Err(fault),
            };
            let failed = root.is_err();
            found.push(Document { span: Span::new(start, self.text.len()), root });
            if failed {
                faults += 1;
                start = found.last().and_then(|d| d.root.as_ref().err()).map_or(start, |f| f.span.end);
                self.forget();
                if faults == MAX_FAULTS || !self.events.proceed_next_document().unwrap_or(false) {
                    break;
                }
            }
        }
        for i in 1..found.len() {
            found[i - 1].span.end = found[i].span.start.max(found[i - 1].span.start);
        }
        if let Some(first) = found.first_mut() {
            first.span.start = 0;
        }
        found
    }

    fn forget(&mut self) {
        self.anchors.clear();
        self.open.clear();
        self.root = None;
    }

    fn place(&self, span: granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or_default();
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        Span::new(start, self.text.floor_char_boundary(range.end.clamp(start, self.text.len())))
    }

    fn scan_fault(&self, error: &granit_parser::ScanError) -> Fault {
        let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
        let at = self.text.floor_char_boundary(at);
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        Fault::new(Span::new(at, end), error.info())
    }

    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(1, span)?;
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                    _ => Style::Quoted,
                };
                let is_text = style != Style::Plain || tag.as_deref().is_some_and(is_text_tag);
                let value = if is_text { Value::Text(text.into_owned()) } else { scalar::resolve(&text) };
                self.add(Anchored { node: Node { value, span, style }, nodes: 1, height: 0 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.start(span, anchor, Inside::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.start(span, anchor, Inside::Map(Pairs::default())),
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(id) => {
                let Some(named) = self.anchors.get(&id) else {
                    return Err(Fault::new(span, "an alias inside of what it names"));
                };
                self.left = spend(self.left, named.nodes, span)?;
                self.add(named.clone(), 0)
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, nodes: usize, span: Span) -> Result<(), Fault> {
        self.left = spend(self.left, nodes, span)?;
        Ok(())
    }

    fn start(&mut self, span: Span, anchor: usize, what: Inside) -> Result<(), Fault> {
        self.spend(1, span)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.open.push(Open { start: span.start, anchor, what, nodes: 1, height: 1 });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.what {
            Inside::List(items) => Value::List(items),
            Inside::Map(pairs) => Value::Map(Map { entries: pairs.merged()? }),
        };
        let node = Node { value, span: Span::new(open.start, span.end.max(open.start)), style: Style::Plain };
        self.add(Anchored { node, nodes: open.nodes, height: open.height }, open.anchor)
    }

    /// Puts a finished node where it belongs, and remembers it if it has an anchor.
    fn add(&mut self, made: Anchored, anchor: usize) -> Result<(), Fault> {
        let span = made.node.span;
        if self.open.len() + made.height > MAX_DEPTH {
            return Err(too_deep(span));
        }
        if anchor != 0 {
            self.spend(made.nodes, span)?;
            self.anchors.insert(anchor, made.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(made.node);
            return Ok(());
        };
        open.nodes += made.nodes;
        open.height = open.height.max(made.height + 1);
        match &mut open.what {
            Inside::List(items) => items.push(made.node),
            Inside::Map(pairs) => pairs.add(made.node)?,
        }
        Ok(())
    }
}

/// The budget after `nodes` of it are used: it is asked before anything is copied.
fn spend(left: usize, nodes: usize, span: Span) -> Result<usize, Fault> {
    let too_many = || Fault::new(span, format!("more than {MAX_NODES} values, with what aliases stand for"));
    left.checked_sub(nodes).ok_or_else(too_many)
}

fn too_deep(span: Span) -> Fault {
    Fault::new(span, format!("more than {MAX_DEPTH} lists and maps in each other"))
}

fn is_text_tag(tag: &Tag) -> bool {
    tag.is_yaml_core_schema_tag("str") || tag.is_yaml_core_schema_tag("binary") || tag.suffix() == "!"
}

/// A map that is being read.
#[derive(Default)]
struct Pairs {
    entries: Vec<Entry>,
    key: Option<Key>,
    /// Values of `<<`.
    merge: Vec<Node>,
}

struct Key {
    text: String,
    span: Span,
    is_merge: bool,
}

impl Pairs {
    fn add(&mut self, node: Node) -> Result<(), Fault> {
        match self.key.take() {
            None => self.key = Some(Key::of(node)?),
            Some(Key { is_merge: true, .. }) => self.merge.push(node),
            Some(Key { text, span, .. }) => self.entries.push(Entry { key: text, span, value: node }),
        }
        Ok(())
    }

    /// The entries, with those of `<<` that are not there: of several maps the first that has a key wins.
    fn merged(mut self) -> Result<Vec<Entry>, Fault> {
        if self.merge.is_empty() {
            return Ok(self.entries);
        }
        let mut known: HashSet<String> = self.entries.iter().map(|entry| entry.key.clone()).collect();
        let maps = self.merge.into_iter().flat_map(|node| match node.value {
            Value::List(items) => items,
            _ => vec![node],
        });
        for node in maps {
            let span = node.span;
            let Value::Map(map) = node.value else {
                return Err(Fault::new(span, "`<<` takes a map, or a list of maps"));
            };
            let entries = map.entries.into_iter().filter(|entry| known.insert(entry.key.clone()));
            self.entries.extend(entries);
        }
        Ok(self.entries)
    }
}

impl Key {
    fn of(node: Node) -> Result<Key, Fault> {
        let is_merge = node.style == Style::Plain && node.text() == Some("<<");
        let text = match node.value {
            Value::Text(text) => text,
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.canonical(),
            Value::List(_) | Value::Map(_) => return Err(Fault::new(node.span, "a key must be one word")),
        };
        Ok(Key { text, span: node.span, is_merge })
    }
}
