//! What a Config makes of a file of the rootfs: bytes in, bytes out.
//!
//! | strategy | result |
//! |---|---|
//! | overwrite | the data |
//! | insert, append | the data before the file, or behind it, a line break between them |
//! | merge | the file's documents of YAML, or its JSON (`*.json`), with what the data says laid over them |
//!
//! Merging is by presence: maps key by key, `null` removes a key, everything else is replaced, whatever its value. Data
//! with a `kind` is about the documents of that kind (and of its `apiVersion` and `metadata.name`, if it has them), and
//! becomes a document of its own where there is none. Data without one is about the only document, or, in a file of
//! several, about those that have each of its keys already; a key that none has is a mistake. Documents that nothing
//! changes stay as they are, byte by byte.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_kubeadm::value::Lines;
use kiln_kubeadm::{Content, Origin as Place, Value, merge, render};

use crate::model::{Config, Process, Strategy};

/// Bytes of a file that is merged, and of what comes out.
pub const MAX_FILE: usize = 16 << 20;
/// Entries of one map that is merged.
const MAX_ENTRIES: usize = 10_000;
/// Documents of the data that are merged into those of a file: each is compared with each.
const MAX_DOCUMENTS: usize = 1000;
/// Documents of a file that is merged into.
const MAX_PARTS: usize = 20_000;

/// Why a Config cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to merge into.
    #[error("the Config `{name}` ({origin}) is to be merged into {path}, which is not there")]
    NoFile {
        /// The Config.
        name: String,
        /// Where it says so.
        origin: String,
        /// The file.
        path: String,
    },
    /// The file is not what can be merged.
    #[error("{path}:{line}: {why}")]
    File {
        /// The file.
        path: String,
        /// The line in it.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The data is not what its strategy or a step needs.
    #[error("the data of the Config `{name}` ({origin}), line {line} of it: {why}")]
    Data {
        /// The Config.
        name: String,
        /// Where the data is.
        origin: String,
        /// The line in the data.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// File or result are too large.
    #[error("{path}: more than {} MiB", MAX_FILE >> 20)]
    TooLarge {
        /// The file.
        path: String,
    },
}

/// What the file of a Config is to have. `file` is what it has, if it is there.
///
/// # Errors
/// When the data does not go through its steps, or cannot be merged.
pub fn apply(config: &Config, file: Option<&[u8]>) -> Result<Vec<u8>, ConfigError> {
    let work = Work { config };
    let path = &config.path.value;
    let data = work.processed()?;
    let merge = config.strategy.value == Strategy::Merge;
    let result = match (config.strategy.value, file) {
        (Strategy::Overwrite, _) | (Strategy::Insert | Strategy::Append, None) => data.into_bytes(),
        (Strategy::Insert, Some(file)) => joined(data.as_bytes(), file),
        (Strategy::Append, Some(file)) => joined(file, data.as_bytes()),
        (Strategy::Merge, None) => {
            let (name, origin) = (config.name.value.clone(), config.strategy.origin.to_string());
            return Err(ConfigError::NoFile { name, origin, path: path.clone() });
        }
        (Strategy::Merge, Some(file)) if file.len() <= MAX_FILE => work.merged(file, &data)?.into_bytes(),
        (Strategy::Merge, Some(_)) => return Err(ConfigError::TooLarge { path: path.clone() }),
    };
    if merge && result.len() > MAX_FILE {
        return Err(ConfigError::TooLarge { path: path.clone() });
    }
    Ok(result)
}

fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut all = first.to_vec();
    if !first.is_empty() && !first.ends_with(b"\n") {
        all.push(b'\n');
    }
    all.extend_from_slice(second);
    all
}

/// Data on its way through the steps.
enum Data {
    Text(String),
    /// Keys and values that go on their own.
    Values(Vec<(String, Value)>),
}

struct Work<'c> {
    config: &'c Config,
}

impl Work<'_> {
    fn data_error(&self, line: usize, why: impl Into<String>) -> ConfigError {
        let (name, origin) = (self.config.name.value.clone(), self.config.data.origin.to_string());
        ConfigError::Data { name, origin, line, why: why.into() }
    }

    /// The data after all steps.
    fn processed(&self) -> Result<String, ConfigError> {
        let mut data = Data::Text(self.config.data.value.clone());
        for step in &self.config.process {
            data = match (step.value, data) {
                (Process::Value, Data::Text(text)) => Data::Values(self.values(&text)?),
                (Process::ToJson, Data::Text(text)) => Data::Text(json(&self.document(&text)?)),
                (Process::ToBase64, Data::Text(text)) => Data::Text(STANDARD.encode(text)),
                (Process::ToSecret, Data::Text(text)) => {
                    let values = self.values(&text)?;
                    Data::Text(self.secret(values)?)
                }
                (Process::Value, values) => values,
                (Process::ToJson, Data::Values(values)) => Data::Values(
                    values.into_iter().map(|(key, value)| (key, Value::text(json(&value), &value.origin))).collect(),
                ),
                (Process::ToBase64, Data::Values(values)) => Data::Values(self.encoded(values)?),
                (Process::ToSecret, Data::Values(values)) => Data::Text(self.secret(values)?),
            };
        }
        Ok(match data {
            Data::Text(text) => text,
            Data::Values(values) => render::text(&map(values)),
        })
    }

    /// The only document of a text.
    fn document(&self, text: &str) -> Result<Value, ConfigError> {
        let mut documents = self.documents(text)?;
        match documents.len() {
            0 => Err(self.data_error(1, "there is nothing")),
            1 => Ok(documents.remove(0)),
            _ => Err(self.data_error(documents[1].origin.line, "this step takes one document")),
        }
    }

    /// All documents of the data that say something.
    fn documents(&self, text: &str) -> Result<Vec<Value>, ConfigError> {
        let lines = Lines::new(text);
        let mut all = Vec::new();
        for document in kiln_yaml::parse(text) {
            match document.root {
                Ok(root) if root.is_null() => {}
                Ok(root) => {
                    if let Some((key, again, _)) = root.duplicates().first() {
                        return Err(self.data_error(lines.of(again.start), format!("`{key}` is there already")));
                    }
                    all.push(Value::of(&root, "data", &lines));
                }
                Err(fault) => return Err(self.data_error(lines.of(fault.span.start), fault.message)),
            }
        }
        Ok(all)
    }

    fn values(&self, text: &str) -> Result<Vec<(String, Value)>, ConfigError> {
        let document = self.document(text)?;
        match document.content {
            Content::Map(entries) => Ok(entries),
            _ => Err(self.data_error(document.origin.line, "this step takes a map of keys and values")),
        }
    }

    fn encoded(&self, values: Vec<(String, Value)>) -> Result<Vec<(String, Value)>, ConfigError> {
        let encode = |(key, value): (String, Value)| match value.as_text() {
            Some(text) => Ok((key, Value::text(STANDARD.encode(text), &value.origin))),
            None => {
                let why =
                    format!("the value of `{key}` is no string: put it in quotes, or put `toJson` before this step");
                Err(self.data_error(value.origin.line, why))
            }
        };
        values.into_iter().map(encode).collect()
    }

    /// A Secret with these values; to be merged it is only what the file's Secret gets.
    fn secret(&self, values: Vec<(String, Value)>) -> Result<String, ConfigError> {
        let data = map(self.encoded(values)?);
        let word = |text: &str| Value { content: Content::Text(text.to_owned()), origin: Place::default() };
        let mut entries = vec![("apiVersion".to_owned(), word("v1")), ("kind".to_owned(), word("Secret"))];
        if self.config.strategy.value != Strategy::Merge {
            let name = map(vec![("name".to_owned(), word(&self.config.name.value))]);
            entries.push(("metadata".to_owned(), name));
        }
        entries.push(("data".to_owned(), data));
        Ok(render::text(&map(entries)))
    }

    /// The file with the data laid over it.
    fn merged(&self, file: &[u8], data: &str) -> Result<String, ConfigError> {
        let path = &self.config.path.value;
        let wrong = |line: usize, why: String| ConfigError::File { path: path.clone(), line, why };
        let text = std::str::from_utf8(file).map_err(|_| wrong(1, "this is not UTF-8, and cannot be merged".into()))?;
        let lines = Lines::new(text);
        let mut parts = Vec::new();
        for document in kiln_yaml::parse(text) {
            let start = document.span.start;
            let source = text.get(start..document.span.end).unwrap_or_default();
            let value = match document.root {
                Ok(root) if root.is_null() => None,
                Ok(root) => Some(Value::of(&root, path, &lines)),
                Err(fault) => return Err(wrong(lines.of(fault.span.start), fault.message)),
            };
            let about = value.as_ref().map(about).unwrap_or_default();
            parts.push(Part { source, about, value, before: None, changed: false });
        }
        if parts.len() > MAX_PARTS {
            return Err(wrong(1, format!("more than {MAX_PARTS} documents")));
        }
        let uppers = self.documents(data)?;
        if let Some(upper) = uppers.get(MAX_DOCUMENTS) {
            return Err(self.data_error(upper.origin.line, format!("more than {MAX_DOCUMENTS} documents")));
        }
        if parts.iter().filter_map(|part| part.value.as_ref()).any(too_large) {
            return Err(wrong(1, format!("more than {MAX_ENTRIES} entries in one map")));
        }
        for upper in uppers {
            self.lay(&mut parts, upper)?;
        }
        parts.iter_mut().for_each(Part::settle);
        if path.ends_with(".json") {
            let values: Vec<&Value> = parts.iter().filter_map(|part| part.value.as_ref()).collect();
            return match &*values {
                [value] => Ok(pretty(value)),
                _ => Err(wrong(1, "a file of JSON has one value".into())),
            };
        }
        Ok(written(&parts))
    }

    /// Lays one document of the data over those of the file that it is about.
    fn lay(&self, parts: &mut Vec<Part<'_>>, upper: Value) -> Result<(), ConfigError> {
        let line = upper.origin.line;
        if upper.map().is_none() {
            return Err(self.data_error(line, "what is merged is a map"));
        }
        if too_large(&upper) {
            return Err(self.data_error(line, format!("more than {MAX_ENTRIES} entries in one map")));
        }
        if upper.at(&["kind"]).is_some() {
            let wanted = about(&upper);
            if !parts.iter().any(|part| part.is_about(&wanted)) {
                parts.push(Part::new(upper));
                return Ok(());
            }
            for part in parts.iter_mut().filter(|part| part.is_about(&wanted)) {
                part.over(upper.clone());
            }
            return Ok(());
        }
        let full = parts.iter().filter(|part| part.value.is_some()).count();
        if full == 0 {
            parts.push(Part::new(upper));
            return Ok(());
        }
        let Value { content: Content::Map(entries), origin } = upper else { return Ok(()) };
        if full == 1 {
            let whole = Value { content: Content::Map(entries), origin };
            parts.iter_mut().filter(|part| part.value.is_some()).for_each(|part| part.over(whole.clone()));
            return Ok(());
        }
        // Which of the documents have which keys, looked up once.
        let mut missing: HashSet<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        let mut mine: Vec<Vec<(String, Value)>> = Vec::with_capacity(parts.len());
        for part in parts.iter() {
            let keys: HashSet<&str> =
                part.value.iter().filter_map(Value::map).flatten().map(|(key, _)| key.as_str()).collect();
            let own = entries.iter().filter(|(key, _)| keys.contains(key.as_str()));
            mine.push(
                own.inspect(|(key, _)| {
                    missing.remove(key.as_str());
                })
                .cloned()
                .collect(),
            );
        }
        if let Some((key, value)) = entries.iter().find(|(key, _)| missing.contains(key.as_str())) {
            let why = format!(
                "`{key}` is in none of the {full} documents of {}: say which one is meant with its `kind`",
                self.config.path.value
            );
            return Err(self.data_error(value.origin.line, why));
        }
        for (part, own) in parts.iter_mut().zip(mine).filter(|(_, own)| !own.is_empty()) {
            part.over(Value { content: Content::Map(own), origin: origin.clone() });
        }
        Ok(())
    }
}

/// One document of a file.
struct Part<'t> {
    source: &'t str,
    about: About,
    value: Option<Value>,
    /// What it was, once something was laid over it.
    before: Option<Option<Value>>,
    changed: bool,
}

impl Part<'_> {
    /// A document that the file does not have.
    fn new(value: Value) -> Part<'static> {
        let about = about(&value);
        Part { source: "", about, value: Some(without_null(value)), before: None, changed: true }
    }

    /// Whether data is about it.
    fn is_about(&self, wanted: &About) -> bool {
        let fits = |(own, wanted): (&Option<Content>, &Option<Content>)| wanted.is_none() || own == wanted;
        self.value.is_some() && self.about.iter().zip(wanted).all(fits)
    }

    fn over(&mut self, upper: Value) {
        if self.before.is_none() {
            self.before = Some(self.value.clone());
        }
        self.value = over(self.value.take(), upper);
    }

    /// Finds out whether all that was laid over it changed it.
    fn settle(&mut self) {
        if let Some(before) = self.before.take() {
            self.changed |= !same(before.as_ref(), self.value.as_ref());
        }
    }
}

/// Whether two values are the same, wherever they come from.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => render::text(a) == render::text(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// What a document is about: its kind, its apiVersion, its name. It is looked up once.
type About = [Option<Content>; 3];

fn about(value: &Value) -> About {
    let said = |path: &[&str]| value.at(path).map(|value| value.content.clone());
    [said(&["kind"]), said(&["apiVersion"]), said(&["metadata", "name"])]
}

/// One value over another: maps by key, null removes.
fn over(lower: Option<Value>, upper: Value) -> Option<Value> {
    let Value { content, origin } = upper;
    match (lower.map(|lower| lower.content), content) {
        (_, Content::Null) => None,
        (Some(Content::Map(entries)), Content::Map(new)) => {
            let merged = merge::by_key(entries, new, |lower, upper, _| over(lower, upper));
            Some(Value { content: Content::Map(merged), origin })
        }
        (_, content) => Some(without_null(Value { content, origin })),
    }
}

/// Nulls in what lies over nothing remove nothing, and are nothing.
fn without_null(value: Value) -> Value {
    let content = match value.content {
        Content::Map(entries) => Content::Map(
            entries
                .into_iter()
                .filter(|(_, value)| value.content != Content::Null)
                .map(|(key, value)| (key, without_null(value)))
                .collect(),
        ),
        content => content,
    };
    Value { content, origin: value.origin }
}

fn too_large(value: &Value) -> bool {
    match &value.content {
        Content::Map(entries) => entries.len() > MAX_ENTRIES || entries.iter().any(|(_, value)| too_large(value)),
        Content::List(items) => items.iter().any(too_large),
        _ => false,
    }
}

fn map(entries: Vec<(String, Value)>) -> Value {
    Value { content: Content::Map(entries), origin: Place::default() }
}

/// The documents of a file, those that nothing changed as they were.
fn written(parts: &[Part<'_>]) -> String {
    let mut out = String::new();
    for (index, part) in parts.iter().enumerate() {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        match &part.value {
            Some(value) if part.changed => {
                if index > 0 || part.source.starts_with("---") {
                    out.push_str("---\n");
                }
                out.push_str(&render::text(value));
            }
            // All of it was removed.
            None if part.changed => {}
            _ => {
                if index > 0 && !out.is_empty() && !part.source.trim_start().starts_with("---") {
                    out.push_str("---\n");
                }
                out.push_str(part.source);
            }
        }
    }
    out
}

/// JSON in one line, keys sorted, as Go writes maps.
fn json(value: &Value) -> String {
    tree(value, true).to_string()
}

/// JSON for people, keys as they were.
fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(&tree(value, false)).unwrap_or_default();
    text.push('\n');
    text
}

fn tree(value: &Value, sorted: bool) -> serde_json::Value {
    match &value.content {
        Content::Null => serde_json::Value::Null,
        Content::Bool(value) => (*value).into(),
        Content::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Content::Text(text) => text.clone().into(),
        Content::List(items) => items.iter().map(|item| tree(item, sorted)).collect(),
        Content::Map(entries) => {
            let mut entries: Vec<&(String, Value)> = entries.iter().collect();
            if sorted {
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            entries.into_iter().map(|(key, value)| (key.clone(), tree(value, sorted))).collect()
        }
    }
}
