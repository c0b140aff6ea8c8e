//! YAML as Go's `sigs.k8s.io/yaml` reads and writes it: YAML 1.1 on the way in, what JSON can say in between.
//!
//! [`Yaml`] the values     `read` text → value     `resolve` what a plain scalar means     `write` value → text
//!
//! `crates/yaml` reads YAML, too, for people's files: it keeps places and words as they are written, takes tags as they
//! come, and goes on behind a mistake. Templates see what Helm sees: values as JSON has them and sorted keys, `!!binary`
//! decoded, tags that do not fit and numbers that JSON has not as errors, the end of a text that ends with its file, the
//! first document whatever is behind it; and `toYaml` writes them byte by byte as Go does. Neither can stand for the other;
//! both are on the same parser.

mod order;
mod read;
mod resolve;
mod write;

use std::collections::BTreeMap;

use kiln_gotmpl::Value;

pub use read::{YamlError, parse, parse_all};
pub use write::{Style, text};

/// A value of YAML. Keys are texts, as they are in JSON.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Yaml {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number: what `--set` gives. Those of files are floats, as Helm reads them.
    Int(i64),
    /// Any number.
    Float(f64),
    /// A text.
    String(String),
    /// Values in order.
    List(Vec<Yaml>),
    /// Values by key, sorted.
    Map(BTreeMap<String, Yaml>),
}

/// A map of YAML.
pub type Map = BTreeMap<String, Yaml>;

impl Yaml {
    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Yaml::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Yaml]> {
        match self {
            Yaml::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Yaml::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of `key`, if it is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.as_map()?.get(key)
    }

    /// The value at `path`, keys with dots between them.
    pub fn at(&self, path: &str) -> Option<&Yaml> {
        path.split('.').try_fold(self, |value, key| value.get(key))
    }

    /// The same with all numbers as floats, which is how Go reads JSON.
    #[must_use]
    pub fn floats(self) -> Yaml {
        match self {
            Yaml::Int(number) => Yaml::Float(number as f64),
            Yaml::List(items) => Yaml::List(items.into_iter().map(Yaml::floats).collect()),
            Yaml::Map(map) => Yaml::Map(map.into_iter().map(|(key, value)| (key, value.floats())).collect()),
            other => other,
        }
    }

    /// The value for templates; maps and lists are fresh ones.
    pub fn value(&self) -> Value {
        match self {
            Yaml::Null => Value::Nil,
            Yaml::Bool(yes) => Value::Bool(*yes),
            Yaml::Int(number) => Value::Int64(*number),
            Yaml::Float(number) => Value::Float(*number),
            Yaml::String(text) => Value::from(text.as_str()),
            Yaml::List(items) => Value::list(items.iter().map(Yaml::value)),
            Yaml::Map(map) => Value::dict(map.iter().map(|(key, value)| (key.clone(), value.value()))),
        }
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Yaml {
        Yaml::String(text.to_owned())
    }
}
