//! `.Chart` and `.Files`, and bytes that are no text.

use std::any::Any;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_gotmpl::{Failure, Object, Value};

use crate::files::Files;
use crate::ignore::glob;
use crate::metadata::{Dependency, Kind, Metadata};
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

/// `.Chart`.
pub(crate) struct ChartObject {
    pub metadata: Metadata,
    pub root: bool,
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

const FIELDS: [&str; 18] = [
    "Name", "Home", "Sources", "Version", "Description", "Keywords", "Maintainers", "Icon", "APIVersion", "Condition",
    "Tags", "AppVersion", "Deprecated", "Annotations", "KubeVersion", "Dependencies", "Type", "IsRoot",
];

impl Object for ChartObject {
    fn field(&self, name: &str) -> Option<Value> {
        let it = &self.metadata;
        Some(match name {
            "Name" => it.name.as_str().into(),
            "Home" => it.home.as_str().into(),
            "Sources" => texts(&it.sources),
            "Version" => it.version.as_str().into(),
            "Description" => it.description.as_str().into(),
            "Keywords" => texts(&it.keywords),
            "Maintainers" => Value::list(it.maintainers.iter().map(|person| {
                let (name, email, url) = (person.name.as_str(), person.email.as_str(), person.url.as_str());
                dict([("Name", name.into()), ("Email", email.into()), ("URL", url.into())])
            })),
            "Icon" => it.icon.as_str().into(),
            "APIVersion" => it.api_version.as_str().into(),
            "Condition" => it.condition.as_str().into(),
            "Tags" => it.tags.as_str().into(),
            "AppVersion" => it.app_version.as_str().into(),
            "Deprecated" => it.deprecated.into(),
            "Annotations" => Value::dict(it.annotations.iter().map(|(key, text)| (key.clone(), text.as_str().into()))),
            "KubeVersion" => it.kube_version.as_str().into(),
            "Dependencies" => Value::list(it.dependencies.iter().map(dependency)),
            "Type" => if it.kind == Kind::Library { "library" } else { "" }.into(),
            "IsRoot" => self.root.into(),
            _ => return None,
        })
    }

    fn print(&self) -> String {
        self.metadata.name.clone()
    }

    fn type_name(&self) -> &'static str {
        "chart.Metadata"
    }

    fn content(&self) -> Option<Value> {
        Some(Value::dict(FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), self.field(name)?)))))
    }
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
        if map.is_empty() {
            return String::new();
        }
        yaml_text(&Yaml::Map(map), Style::Kubernetes).trim_end_matches('\n').to_owned()
    }
}

/// Patterns of `.Files.Glob`: `**` goes over directories, `{a,b}` is one or the other.
fn path_glob(pattern: &str, name: &str) -> Result<bool, Failure> {
    for pattern in alternatives(pattern, 0)? {
        if parts(&pattern.split('/').collect::<Vec<_>>(), &name.split('/').collect::<Vec<_>>())? {
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

/// Patterns of directories against directories: each row says which patterns may come next.
fn parts(patterns: &[&str], names: &[&str]) -> Result<bool, Failure> {
    let mut reach = vec![false; patterns.len() + 1];
    reach[0] = true;
    let pass = |reach: &mut Vec<bool>| {
        for (at, pattern) in patterns.iter().enumerate() {
            if *pattern == "**" && reach[at] {
                reach[at + 1] = true;
            }
        }
    };
    for name in names {
        pass(&mut reach);
        let mut next = vec![false; patterns.len() + 1];
        for (at, pattern) in patterns.iter().enumerate().filter(|(at, _)| reach[*at]) {
            if *pattern == "**" {
                next[at] = true;
            } else if glob(&pattern.replace("**", "*"), name)? {
                next[at + 1] = true;
            }
        }
        reach = next;
    }
    pass(&mut reach);
    Ok(reach.last().copied().unwrap_or(false))
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
        let entries: Vec<String> = self.0.iter().map(|(name, bytes)| format!("{name}:{}", String::from_utf8_lossy(bytes))).collect();
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

    fn entries(&self) -> Option<Vec<(String, Value)>> {
        let bytes = |bytes: &[u8]| Value::object(Bytes { bytes: bytes.to_vec(), string: false });
        Some(self.0.iter().map(|(name, content)| (name.to_owned(), bytes(content))).collect())
    }

    fn any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
