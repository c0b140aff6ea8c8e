//! The root of a template: which keys it has, and of what form they must be.

use std::sync::Arc;
use std::time::Duration;

use kiln_spec::duration;
use kiln_spec::source::{Source, Span};

use super::parse::parse;
use crate::config::{Entry, Node, Value};
use crate::fault::{Fault, Place};
use crate::model::{Common, Outline};

/// The keys of a template's root.
const ROOT: [&str; 10] = [
    "builders",
    "provisioners",
    "post-processors",
    "error-cleanup-provisioner",
    "variables",
    "sensitive-variables",
    "description",
    "min_packer_version",
    "push",
    "_comment",
];

/// A template as written.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub description: Option<String>,
    pub min_version: Option<(String, Span)>,
    pub variables: Vec<RawVariable>,
    pub sensitive: Vec<(String, Span)>,
    pub builders: Vec<RawBuilder>,
    pub provisioners: Vec<RawBlock>,
    pub error_cleanup: Option<RawBlock>,
    pub post_processors: Vec<Vec<RawBlock>>,
    pub warnings: Vec<Fault>,
}

#[derive(Debug)]
pub(super) struct RawVariable {
    pub name: String,
    /// None when a value must be given.
    pub default: Option<String>,
    pub span: Span,
    /// Where the default stands.
    pub value_span: Span,
}

#[derive(Debug)]
pub(super) struct RawBuilder {
    pub kind: String,
    pub name: String,
    /// Where its name stands, or else its type.
    pub name_span: Span,
    pub span: Span,
    pub entries: Vec<Entry>,
}

/// A provisioner or post-processor.
#[derive(Debug)]
pub(super) struct RawBlock {
    pub kind: String,
    pub name: Option<String>,
    pub span: Span,
    pub only: Vec<(String, Span)>,
    pub except: Vec<(String, Span)>,
    /// By builder: what replaces its keys there.
    pub overrides: Vec<Entry>,
    pub common: Common,
    pub entries: Vec<Entry>,
}

/// Reads the root of a template, finding as many mistakes as there are.
struct Roots<'a> {
    source: &'a Arc<Source>,
    faults: Vec<Fault>,
    raw: Raw,
}

/// The template that a text holds.
pub(super) fn read(source: &Arc<Source>) -> Result<Raw, Vec<Fault>> {
    let node = parse(source).map_err(|fault| vec![fault])?;
    let mut roots = Roots { source, faults: Vec::new(), raw: Raw::default() };
    let Value::Object(entries) = node.value else {
        return Err(vec![roots.place(node.span).error("WrongType", "a template must be an object").label("not this")]);
    };
    for entry in entries {
        roots.key(entry);
    }
    if roots.raw.builders.is_empty() && roots.faults.is_empty() {
        let fault = roots.place(Span::new(node.span.start, node.span.start + 1));
        roots.faults.push(fault.error("NoBuilders", "a template needs at least one builder").hint("add \"builders\": [{\"type\": \"qemu\", …}]"));
    }
    roots.names();
    if roots.faults.is_empty() { Ok(roots.raw) } else { Err(roots.faults) }
}

impl Raw {
    /// What it consists of.
    pub fn outline(&self) -> Outline {
        Outline {
            builders: self.builders.iter().map(|builder| (builder.name.clone(), builder.kind.clone())).collect(),
            provisioners: self.provisioners.iter().map(|block| block.kind.clone()).collect(),
            post_processors: self
                .post_processors
                .iter()
                .map(|pipeline| pipeline.iter().map(|block| block.kind.clone()).collect())
                .collect(),
        }
    }
}

impl Roots<'_> {
    fn place(&self, span: Span) -> Place {
        Place::new(self.source, span)
    }

    fn fail(&mut self, span: Span, code: &'static str, message: impl Into<String>) {
        let fault = self.place(span).error(code, message);
        self.faults.push(fault);
    }

    fn wrong(&mut self, node: &Node, what: &str, wanted: &str) {
        let fault = self.place(node.span).error("WrongType", format!("{what} must be {wanted}"));
        self.faults.push(fault.label(format!("this is {}", node.value.noun())));
    }

    fn key(&mut self, entry: Entry) {
        let Entry { key, span, node } = entry;
        let Node { value, span: value_span } = node;
        match (key.as_str(), value) {
            (comment, _) if comment.starts_with('_') => {}
            ("description", Value::String(text)) => self.raw.description = Some(text),
            ("min_packer_version", Value::String(text)) => self.raw.min_version = Some((text, value_span)),
            ("description" | "min_packer_version", value) => {
                self.wrong(&Node { value, span: value_span }, &format!("`{key}`"), "a text");
            }
            ("variables", Value::Object(entries)) => entries.into_iter().for_each(|entry| self.variable(entry)),
            ("sensitive-variables", value) => {
                self.raw.sensitive = self.texts(&Node { value, span: value_span }, "`sensitive-variables`");
            }
            ("builders", Value::List(items)) => items.into_iter().for_each(|item| self.builder(item)),
            ("provisioners", Value::List(items)) => {
                for item in items {
                    if let Some(block) = self.block(item, "a provisioner") {
                        self.raw.provisioners.push(block);
                    }
                }
            }
            ("error-cleanup-provisioner", value @ Value::Object(_)) => {
                self.raw.error_cleanup = self.block(Node { value, span: value_span }, "a provisioner");
            }
            ("post-processors", Value::List(items)) => items.into_iter().for_each(|item| self.pipeline(item)),
            ("variables" | "error-cleanup-provisioner", value) => {
                self.wrong(&Node { value, span: value_span }, &format!("`{key}`"), "an object");
            }
            ("builders" | "provisioners" | "post-processors", value) => {
                self.wrong(&Node { value, span: value_span }, &format!("`{key}`"), "a list");
            }
            ("push", _) => {
                let warning = self.place(span).warning("Obsolete", "`push` does nothing: the service it was for is gone");
                self.raw.warnings.push(warning.hint("remove it"));
            }
            (unknown, _) => {
                let fault = self.place(span).error("UnknownKey", format!("a template has no key `{unknown}`"));
                let known = ROOT.into_iter().filter(|known| !known.starts_with('_'));
                let fault = match kiln_spec::diag::did_you_mean(unknown, known) {
                    Some(_) => fault.suggest(unknown, ROOT),
                    None => fault.hint("keys that start with `_` are comments"),
                };
                self.faults.push(fault);
            }
        }
    }

    fn variable(&mut self, entry: Entry) {
        let Entry { key, span, node } = entry;
        let default = match node.value {
            Value::String(text) => Some(text),
            Value::Null => None,
            ref value => {
                let scalar = matches!(value, Value::Bool(_) | Value::Number(_));
                let written = self.source.text.get(node.span.start..node.span.end).unwrap_or_default();
                let hint = scalar.then(|| format!("write \"{written}\""));
                self.wrong(&node, &format!("the variable `{key}`"), "a text, or null when it must be given");
                if let (Some(hint), Some(fault)) = (hint, self.faults.pop()) {
                    self.faults.push(fault.hint(hint));
                }
                return;
            }
        };
        self.raw.variables.push(RawVariable { name: key, default, span, value_span: node.span });
    }

    /// A list of texts.
    fn texts(&mut self, node: &Node, what: &str) -> Vec<(String, Span)> {
        let Value::List(items) = &node.value else {
            self.wrong(node, what, "a list of texts");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::String(text) => texts.push((text.clone(), item.span)),
                _ => self.wrong(item, &format!("each of {what}"), "a text"),
            }
        }
        texts
    }

    /// Takes `key` out of `entries` when it is a text there.
    fn taken(&mut self, entries: &mut Vec<Entry>, key: &str, what: &str) -> Option<(String, Span)> {
        let at = entries.iter().position(|entry| entry.key == key)?;
        let Entry { node, .. } = entries.remove(at);
        match node.value {
            Value::String(text) if !text.is_empty() => Some((text, node.span)),
            _ => {
                self.wrong(&node, &format!("the {key} of {what}"), "a text that is not empty");
                None
            }
        }
    }

    fn builder(&mut self, node: Node) {
        let Value::Object(mut entries) = node.value else { return self.wrong(&node, "a builder", "an object") };
        let span = node.span;
        let typed = entries.iter().any(|entry| entry.key == "type");
        let kind = self.taken(&mut entries, "type", "a builder");
        let name = self.taken(&mut entries, "name", "a builder");
        let Some((kind, kind_span)) = kind else {
            if !typed {
                self.fail(Span::new(span.start, span.start + 1), "MissingKey", "a builder needs a `type`");
            }
            return;
        };
        let (name, name_span) = name.unwrap_or_else(|| (kind.clone(), kind_span));
        if let Some(before) = self.raw.builders.iter().find(|builder| builder.name == name) {
            let first = self.place(before.name_span);
            let fault = self.place(name_span).error("DuplicateBuilder", format!("there are two builders named `{name}`"));
            self.faults.push(fault.note(format!("the first is at {first}")).hint("give one of them another `name`"));
            return;
        }
        self.raw.builders.push(RawBuilder { kind, name, name_span, span, entries });
    }

    fn pipeline(&mut self, node: Node) {
        match node.value {
            Value::List(items) => {
                let blocks: Vec<RawBlock> = items.into_iter().filter_map(|item| self.post_processor(item)).collect();
                self.raw.post_processors.push(blocks);
            }
            _ => {
                let block = self.post_processor(node);
                self.raw.post_processors.extend(block.map(|block| vec![block]));
            }
        }
    }

    /// A post-processor: its type alone, or an object.
    fn post_processor(&mut self, node: Node) -> Option<RawBlock> {
        let span = node.span;
        match node.value {
            Value::String(kind) => {
                let kind = Node { value: Value::String(kind), span };
                let entry = Entry { key: "type".to_owned(), span, node: kind };
                self.block(Node { value: Value::Object(vec![entry]), span }, "a post-processor")
            }
            Value::Object(_) => self.block(node, "a post-processor"),
            _ => {
                self.wrong(&node, "a post-processor", "a type, an object, or a list of them");
                None
            }
        }
    }

    fn block(&mut self, node: Node, what: &str) -> Option<RawBlock> {
        let Value::Object(mut entries) = node.value else {
            self.wrong(&node, what, "an object");
            return None;
        };
        let span = node.span;
        let typed = entries.iter().any(|entry| entry.key == "type");
        let Some((kind, _)) = self.taken(&mut entries, "type", what) else {
            if !typed {
                self.fail(Span::new(span.start, span.start + 1), "MissingKey", format!("{what} needs a `type`"));
            }
            return None;
        };
        let post = what == "a post-processor";
        let mut block = RawBlock {
            kind,
            name: None,
            span,
            only: Vec::new(),
            except: Vec::new(),
            overrides: Vec::new(),
            common: Common::default(),
            entries: Vec::new(),
        };
        for entry in entries {
            self.common(entry, post, &mut block);
        }
        Some(block)
    }

    /// A key of a block: one that every block has, or its own.
    fn common(&mut self, entry: Entry, post: bool, block: &mut RawBlock) {
        let node = &entry.node;
        match entry.key.as_str() {
            "only" => block.only = self.texts(node, "`only`"),
            "except" => block.except = self.texts(node, "`except`"),
            "name" => match &node.value {
                Value::String(name) => block.name = Some(name.clone()),
                _ => self.wrong(node, "`name`", "a text"),
            },
            "override" if !post => match entry.node.value {
                Value::Object(overrides) => {
                    for one in &overrides {
                        if !matches!(one.node.value, Value::Object(_)) {
                            self.wrong(&one.node, &format!("the override for `{}`", one.key), "an object");
                        }
                    }
                    block.overrides = overrides;
                }
                _ => self.wrong(node, "`override`", "an object"),
            },
            "pause_before" if !post => block.common.pause_before = self.duration(&entry),
            "timeout" if !post => block.common.timeout = self.duration(&entry),
            "max_retries" if !post => {
                let text = match &node.value {
                    Value::String(text) | Value::Number(text) => text.as_str(),
                    _ => "",
                };
                match text.parse() {
                    Ok(count) => block.common.max_retries = count,
                    Err(_) => self.wrong(node, "`max_retries`", "a whole number"),
                }
            }
            "keep_input_artifact" if post => match &node.value {
                Value::Bool(keep) => block.common.keep_input_artifact = Some(*keep),
                Value::String(text) if text == "true" => block.common.keep_input_artifact = Some(true),
                Value::String(text) if text == "false" => block.common.keep_input_artifact = Some(false),
                _ => self.wrong(node, "`keep_input_artifact`", "true or false"),
            },
            _ => block.entries.push(entry),
        }
    }

    fn duration(&mut self, entry: &Entry) -> Option<Duration> {
        let nanos = match &entry.node.value {
            Value::String(text) => match duration::parse(text) {
                Ok(nanos) => u64::try_from(nanos).ok(),
                Err(error) => {
                    self.fail(entry.node.span, "BadDuration", format!("`{}`: {error}", entry.key));
                    return None;
                }
            },
            Value::Number(number) => number.parse().ok(),
            _ => None,
        };
        if nanos.is_none() {
            self.wrong(&entry.node, &format!("`{}`", entry.key), "a duration such as `10s`");
        }
        nanos.map(Duration::from_nanos)
    }

    /// Whether every builder that is named exists.
    fn names(&mut self) {
        let known: Vec<&str> = self.raw.builders.iter().map(|builder| builder.name.as_str()).collect();
        let mut faults = Vec::new();
        let blocks = self.raw.provisioners.iter().chain(&self.raw.error_cleanup);
        for block in blocks.chain(self.raw.post_processors.iter().flatten()) {
            let overrides = block.overrides.iter().map(|entry| ("override", entry.key.as_str(), entry.span));
            let only = block.only.iter().map(|(name, span)| ("only", name.as_str(), *span));
            let except = block.except.iter().map(|(name, span)| ("except", name.as_str(), *span));
            for (key, name, span) in only.chain(except).chain(overrides) {
                if !known.contains(&name) {
                    let fault = Place::new(self.source, span)
                        .error("UnknownBuilder", format!("`{key}` names a builder `{name}` that does not exist"));
                    faults.push(fault.suggest(name, known.iter().copied()));
                }
            }
            if let (Some((_, span)), false) = (block.only.first(), block.except.is_empty()) {
                let fault = Place::new(self.source, *span).error("OnlyAndExcept", "`only` and `except` exclude each other");
                faults.push(fault.hint("keep one of them"));
            }
        }
        for (name, span) in &self.raw.sensitive {
            if !self.raw.variables.iter().any(|variable| variable.name == *name) {
                let fault = Place::new(self.source, *span)
                    .error("UndeclaredVariable", format!("the sensitive variable `{name}` is not declared"));
                faults.push(fault.suggest(name, self.raw.variables.iter().map(|variable| variable.name.as_str())));
            }
        }
        self.faults.append(&mut faults);
    }
}
