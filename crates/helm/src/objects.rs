//! `.Chart` and `.Files`, and bytes that are no text.

use std::any::Any;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_gotmpl::{Failure, Object, Value};

use crate::files::Files;
use crate::metadata::{Dependency, Metadata};
use crate::yaml::{Map, Style, Yaml, text as yaml_text};

/// Bytes: a text if they are one, otherwise an object that prints what can be printed.
pub(crate) fn text_or_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::object(Bytes { bytes: bytes.to_vec(), string: true }),
    }
}

/// Bytes as Go's `[]byte`, or a Go string that is no UTF-8.
pub(crate) struct Bytes {
    pub bytes: Vec<u8>,
    pub string: bool,
}

impl Object for Bytes {
    fn field(&self, _: &str) -> Option<Value> {
        None
    }

    fn print(&self) -> String {
        if self.string {
            return String::from_utf8_lossy(&self.bytes).into_owned();
        }
        let numbers: Vec<String> = self.bytes.iter().map(u8::to_string).collect();
        format!("[{}]", numbers.join(" "))
    }

    fn truth(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn length(&self) -> Option<usize> {
        Some(self.bytes.len())
    }

    fn type_name(&self) -> &'static str {
        if self.string { "string" } else { "[]uint8" }
    }

    fn content(&self) -> Option<Value> {
        Some(Value::from(if self.string { self.print() } else { STANDARD.encode(&self.bytes) }))
    }

    fn any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// The bytes of a text, or of bytes.
pub(crate) fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Object(object) => object.any()?.downcast_ref::<Bytes>().map(|bytes| bytes.bytes.clone()),
        _ => None,
    }
}

fn texts(items: &[String]) -> Value {
    Value::list(items.iter().map(|item| item.as_str().into()))
}

fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::dict(entries.map(|(key, value)| (key.to_owned(), value)))
}

fn dependency(dependency: &Dependency) -> Value {
    dict([
        ("Name", dependency.name.as_str().into()),
        ("Version", dependency.version.as_str().into()),
        ("Repository", dependency.repository.as_str().into()),
        ("Condition", dependency.condition.as_str().into()),
        ("Tags", texts(&dependency.tags)),
        ("Enabled", true.into()),
        ("ImportValues", Value::list(dependency.import_values.iter().map(Yaml::value))),
        ("Alias", dependency.alias.as_str().into()),
    ])
}

/// `.Chart`.
pub(crate) fn chart(it: &Metadata, root: bool) -> Value {
    let people = it.maintainers.iter().map(|person| {
        let (name, email, url) = (person.name.as_str(), person.email.as_str(), person.url.as_str());
        dict([("Name", name.into()), ("Email", email.into()), ("URL", url.into())])
    });
    let notes = it.annotations.iter().map(|(key, text)| (key.clone(), text.as_str().into()));
    dict([
        ("Name", it.name.as_str().into()),
        ("Home", it.home.as_str().into()),
        ("Sources", texts(&it.sources)),
        ("Version", it.version.as_str().into()),
        ("Description", it.description.as_str().into()),
        ("Keywords", texts(&it.keywords)),
        ("Maintainers", Value::list(people)),
        ("Icon", it.icon.as_str().into()),
        ("APIVersion", it.api_version.as_str().into()),
        ("Condition", it.condition.as_str().into()),
        ("Tags", it.tags.as_str().into()),
        ("AppVersion", it.app_version.as_str().into()),
        ("Deprecated", it.deprecated.into()),
        ("Annotations", Value::dict(notes)),
        ("KubeVersion", it.kube_version.as_str().into()),
        ("Dependencies", Value::list(it.dependencies.iter().map(dependency))),
        ("Type", it.kind_name.as_str().into()),
        ("IsRoot", root.into()),
    ])
}

/// `.Files`.
#[derive(Clone)]
pub(crate) struct FilesObject(pub Files);

impl FilesObject {
    fn matching(&self, pattern: &str) -> Result<Files, Failure> {
        let mut found = Files::new();
        for (name, bytes) in self.0.iter() {
            if path_glob(pattern, name)? {
                found.add(name, bytes).map_err(|error| Failure::new(error.to_string()))?;
            }
        }
        Ok(found)
    }

    /// Names without directories, and texts.
    fn flat(&self, encode: impl Fn(&[u8]) -> String) -> String {
        let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        let map: Map = self.0.iter().map(|(name, bytes)| (last(name), Yaml::String(encode(bytes)))).collect();
        let text = yaml_text(&Yaml::Map(map), Style::Kubernetes);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }
}

/// No pattern is longer: each is looked for in all files.
const MAX_PATTERN: usize = 4096;

/// Patterns of `.Files.Glob`, as Helm's library has them: `*` and `?` stop at `/`, `**` does not and may be a part of a
/// name, `{a,b}` is one or the other.
fn path_glob(pattern: &str, name: &str) -> Result<bool, Failure> {
    if pattern.len() > MAX_PATTERN {
        return Err(Failure::new(format!("a pattern has at most {MAX_PATTERN} bytes")));
    }
    for pattern in alternatives(pattern, 0)? {
        if matches(&pieces(&pattern)?, name) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn alternatives(pattern: &str, depth: usize) -> Result<Vec<String>, Failure> {
    let Some(open) = pattern.find('{') else { return Ok(vec![pattern.to_owned()]) };
    let bad = || Failure::new(format!("syntax error in pattern `{pattern}`"));
    if depth > 8 {
        return Err(bad());
    }
    let close = pattern.get(open..).and_then(|rest| rest.find('}')).map(|at| at + open).ok_or_else(bad)?;
    let mut all = Vec::new();
    for choice in pattern.get(open + 1..close).unwrap_or_default().split(',') {
        let rest = pattern.get(close + 1..).unwrap_or_default();
        all.extend(alternatives(&format!("{}{choice}{rest}", &pattern[..open]), depth + 1)?);
        if all.len() > 1000 {
            return Err(bad());
        }
    }
    Ok(all)
}

/// A piece of a pattern.
enum Piece {
    /// `**`: any characters.
    Deep,
    /// `*`: any but `/`.
    Star,
    /// `?`: one that is not `/`.
    One,
    /// `[a-z]`, `[!a-z]`: one of these, or none of them.
    Class(bool, Vec<(char, char)>),
    /// Itself.
    Char(char),
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, Failure> {
    let bad = || Failure::new(format!("syntax error in pattern `{pattern}`"));
    let (mut out, mut chars) = (Vec::new(), pattern.chars().peekable());
    while let Some(char) = chars.next() {
        out.push(match char {
            '*' if chars.next_if_eq(&'*').is_some() => Piece::Deep,
            '*' => Piece::Star,
            '?' => Piece::One,
            '\\' => Piece::Char(chars.next().ok_or_else(bad)?),
            '[' => {
                let not = chars.next_if_eq(&'!').is_some();
                let mut ranges = Vec::new();
                loop {
                    let from = chars.next().ok_or_else(bad)?;
                    if from == ']' && !ranges.is_empty() {
                        break;
                    }
                    let to = match chars.next_if_eq(&'-') {
                        Some(_) => chars.next().ok_or_else(bad)?,
                        None => from,
                    };
                    ranges.push((from, to));
                }
                Piece::Class(not, ranges)
            }
            other => Piece::Char(other),
        });
    }
    Ok(out)
}

/// Whether a name is what the pieces say: each row says which pieces may come next.
fn matches(pieces: &[Piece], name: &str) -> bool {
    let skip = |reach: &mut Vec<bool>| {
        for (at, piece) in pieces.iter().enumerate() {
            if reach[at] && matches!(piece, Piece::Deep | Piece::Star) {
                reach[at + 1] = true;
            }
        }
    };
    let mut reach = vec![false; pieces.len() + 1];
    reach[0] = true;
    for char in name.chars() {
        skip(&mut reach);
        let mut next = vec![false; pieces.len() + 1];
        for (at, piece) in pieces.iter().enumerate().filter(|(at, _)| reach[*at]) {
            match piece {
                Piece::Deep => next[at] = true,
                Piece::Star => next[at] |= char != '/',
                Piece::One => next[at + 1] |= char != '/',
                Piece::Class(not, ranges) => {
                    next[at + 1] |= ranges.iter().any(|(from, to)| (*from..=*to).contains(&char)) != *not;
                }
                Piece::Char(own) => next[at + 1] |= *own == char,
            }
        }
        reach = next;
    }
    skip(&mut reach);
    reach[pieces.len()]
}

impl Object for FilesObject {
    fn field(&self, name: &str) -> Option<Value> {
        self.0.get(name).map(text_or_bytes)
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        let one = || match arguments {
            [Value::String(text)] => Ok(text.to_string()),
            _ => Err(Failure::new(format!("`{name}` wants one text"))),
        };
        Some(match name {
            "Get" => one().map(|file| text_or_bytes(self.0.get(&file).unwrap_or_default())),
            "GetBytes" => one().map(|file| {
                let bytes = self.0.get(&file).unwrap_or_default().to_vec();
                Value::object(Bytes { bytes, string: false })
            }),
            "Glob" => one().and_then(|pattern| Ok(Value::object(FilesObject(self.matching(&pattern)?)))),
            "Lines" => one().map(|file| {
                let text = String::from_utf8_lossy(self.0.get(&file).unwrap_or_default()).into_owned();
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let lines = if text.is_empty() { Vec::new() } else { text.split('\n').map(Value::from).collect() };
                Value::list(lines)
            }),
            "AsConfig" => Ok(self.flat(|bytes| String::from_utf8_lossy(bytes).into_owned()).into()),
            "AsSecrets" => Ok(self.flat(|bytes| STANDARD.encode(bytes)).into()),
            _ => return None,
        })
    }

    fn print(&self) -> String {
        let entries: Vec<String> =
            self.0.iter().map(|(name, bytes)| format!("{name}:{}", String::from_utf8_lossy(bytes))).collect();
        format!("map[{}]", entries.join(" "))
    }

    fn truth(&self) -> bool {
        !self.0.is_empty()
    }

    fn type_name(&self) -> &'static str {
        "engine.files"
    }

    fn content(&self) -> Option<Value> {
        Some(Value::dict(self.0.iter().map(|(name, bytes)| (name.to_owned(), STANDARD.encode(bytes).into()))))
    }

    fn length(&self) -> Option<usize> {
        Some(self.0.iter().count())
    }

    fn entries(&self) -> Option<Vec<(String, Value)>> {
        let bytes = |bytes: &[u8]| Value::object(Bytes { bytes: bytes.to_vec(), string: false });
        Some(self.0.iter().map(|(name, content)| (name.to_owned(), bytes(content))).collect())
    }

    fn any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
