//! Values: what a chart is told, merged from its defaults, its parent's, files and options.

use crate::strvals::{self, SetError, SetKind};
use crate::yaml::{Map, Yaml, YamlError};

/// How deep maps of values may be.
const MAX_DEPTH: usize = 100;

/// Values given to a chart. Later ones win over those before: [`Values::merge`], [`Values::set`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(pub(crate) Map);

impl Values {
    /// None.
    pub fn new() -> Values {
        Values::default()
    }

    /// Reads a file of values, with several documents merged.
    ///
    /// # Errors
    /// When it is not YAML, or something else than a map.
    pub fn parse(text: &str) -> Result<Values, YamlError> {
        let mut all = Map::new();
        for document in crate::yaml::parse_all(text)? {
            match document.floats() {
                Yaml::Null => {}
                Yaml::Map(map) => merge(&mut all, map),
                _ => return Err(YamlError { line: 1, column: 1, message: "values must be a map".to_owned() }),
            }
        }
        Ok(Values(all))
    }

    /// Adds others, which win. A null takes the place of what was there: it removes a default later.
    pub fn merge(&mut self, other: Values) {
        merge(&mut self.0, other.0);
    }

    /// Adds what an option such as `--set a.b=1,c[0]=x` says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn set(&mut self, expression: &str, kind: SetKind<'_>) -> Result<(), SetError> {
        strvals::apply(&mut self.0, expression, kind)
    }

    /// The values as a map.
    pub fn map(&self) -> &Map {
        &self.0
    }
}

impl From<Map> for Values {
    fn from(map: Map) -> Values {
        Values(map)
    }
}

/// `b` into `a`; `b` wins.
fn merge(a: &mut Map, b: Map) {
    for (key, value) in b {
        match (a.get_mut(&key), value) {
            (Some(Yaml::Map(old)), Yaml::Map(new)) => merge(old, new),
            (_, value) => {
                a.insert(key, value);
            }
        }
    }
}

/// Whether nulls remove what they meet, or stay for who comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    Remove,
    Stay,
}

/// Adds to `to` what only `from` has; `to` wins.
pub(crate) fn coalesce(to: &mut Map, from: &Map, nulls: Nulls, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    for (key, default) in from {
        match to.get_mut(key) {
            None => {
                to.insert(key.clone(), default.clone());
            }
            Some(Yaml::Null) if nulls == Nulls::Remove => {
                to.remove(key);
            }
            Some(Yaml::Map(given)) => {
                if let Yaml::Map(default) = default {
                    coalesce(given, default, nulls, depth + 1);
                }
            }
            Some(_) => {}
        }
    }
}

/// The parent's `global` into that of a chart; the parent's win.
pub(crate) fn globals(to: &mut Map, from: &Map) -> bool {
    let empty = Map::new();
    let given = match from.get("global") {
        None => &empty,
        Some(Yaml::Map(map)) => map,
        Some(_) => return false,
    };
    let own = to.entry("global".to_owned()).or_insert_with(|| Yaml::Map(Map::new()));
    let Yaml::Map(own) = own else { return false };
    for (key, value) in given {
        match (value, own.get(key)) {
            (Yaml::Map(map), Some(Yaml::Map(old))) => {
                let mut merged = map.clone();
                coalesce(&mut merged, old, Nulls::Stay, 0);
                own.insert(key.clone(), Yaml::Map(merged));
            }
            (Yaml::Map(_), Some(_)) | (_, Some(Yaml::Map(_))) => {}
            _ => {
                own.insert(key.clone(), value.clone());
            }
        }
    }
    true
}
