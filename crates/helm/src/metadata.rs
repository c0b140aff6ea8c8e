//! `Chart.yaml`: what a chart says of itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ChartError;
use crate::version::Version;
use crate::yaml::{Map, Yaml};

/// What `Chart.yaml` says. Texts that are not there are empty.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "fields are those of Chart.yaml, by their names there")]
pub struct Metadata {
    pub api_version: String,
    pub name: String,
    pub version: String,
    pub kube_version: String,
    pub app_version: String,
    pub kind: Kind,
    pub(crate) kind_name: String,
    pub description: String,
    pub home: String,
    pub icon: String,
    pub sources: Vec<String>,
    pub keywords: Vec<String>,
    pub maintainers: Vec<Maintainer>,
    pub annotations: BTreeMap<String, String>,
    pub condition: String,
    pub tags: String,
    pub deprecated: bool,
    pub dependencies: Vec<Dependency>,
    /// Whether it has a list of dependencies, be it an empty one: without, Helm looks into no chart below for theirs.
    pub(crate) lists_dependencies: bool,
}

/// `type` of a chart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// It makes manifests.
    #[default]
    Application,
    /// It only has definitions for others.
    Library,
}

/// Who keeps a chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are those of Chart.yaml, by their names there")]
pub struct Maintainer {
    pub name: String,
    pub email: String,
    pub url: String,
}

/// A chart that another one brings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// The range its version is in.
    pub version: String,
    /// Where it is found.
    pub repository: String,
    /// Paths of values, with commas: the first that is true or false decides whether it is there.
    pub condition: String,
    /// Whether it is there if none of them is: one of `tags` is true.
    pub tags: Vec<String>,
    /// The name it gets.
    pub alias: String,
    /// Its values that its parent gets.
    pub import_values: Vec<Yaml>,
}

impl Metadata {
    /// Reads `Chart.yaml`.
    ///
    /// # Errors
    /// When something has the wrong type, or what must be there is not.
    pub(crate) fn read(map: &Map) -> Result<Metadata, ChartError> {
        let of = |key: &str| text(map, key);
        let deprecated = match map.get("deprecated") {
            None | Some(Yaml::Null) => false,
            Some(Yaml::Bool(yes)) => *yes,
            Some(_) => return Err(wrong("deprecated", "true or false")),
        };
        let kind = match of("type")?.as_str() {
            "" | "application" => Kind::Application,
            "library" => Kind::Library,
            _ => return Err(wrong("type", "`application` or `library`")),
        };
        let annotations = match map.get("annotations") {
            None | Some(Yaml::Null) => BTreeMap::new(),
            Some(Yaml::Map(entries)) => {
                entries.keys().map(|key| Ok((key.clone(), text(entries, key)?))).collect::<Result<_, ChartError>>()?
            }
            Some(_) => return Err(wrong("annotations", "a map of texts")),
        };
        Ok(Metadata {
            api_version: of("apiVersion")?,
            name: of("name")?,
            version: of("version")?,
            kube_version: of("kubeVersion")?,
            app_version: of("appVersion")?,
            kind,
            kind_name: of("type")?,
            description: of("description")?,
            home: of("home")?,
            icon: of("icon")?,
            sources: texts(map, "sources")?,
            keywords: texts(map, "keywords")?,
            maintainers: maintainers(map)?,
            annotations,
            condition: of("condition")?,
            tags: of("tags")?,
            deprecated,
            dependencies: dependencies(map)?,
            lists_dependencies: lists_dependencies(map),
        })
    }

    /// What must hold of every chart.
    pub(crate) fn check(&self) -> Result<(), ChartError> {
        let missing = |field| Err(ChartError::Missing { field });
        if self.api_version.is_empty() {
            return missing("apiVersion");
        }
        if self.name.is_empty() {
            return missing("name");
        }
        if self.version.is_empty() {
            return missing("version");
        }
        if self.name.contains(['/', '\\']) || self.name == "." || self.name == ".." {
            return Err(wrong("name", "a name without slashes"));
        }
        if Version::parse(&self.version).is_none() {
            return Err(wrong("version", "a version such as 1.2.3"));
        }
        let mut known = BTreeSet::new();
        for dependency in &self.dependencies {
            let name = if dependency.alias.is_empty() { &dependency.name } else { &dependency.alias };
            if !known.insert(name) {
                return Err(ChartError::TwoDependencies { name: name.clone() });
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if !dependency.alias.chars().all(plain) {
                return Err(wrong("dependencies[].alias", "letters, digits, `-` and `_`"));
            }
        }
        Ok(())
    }
}

fn wrong(field: &str, wanted: &'static str) -> ChartError {
    ChartError::Field { field: field.to_owned(), wanted }
}

/// A text; numbers and the like are taken as they print.
pub(crate) fn text(map: &Map, key: &str) -> Result<String, ChartError> {
    Ok(match map.get(key) {
        None | Some(Yaml::Null) => String::new(),
        Some(Yaml::String(text)) => text.clone(),
        Some(Yaml::Int(number)) => number.to_string(),
        Some(Yaml::Float(number)) => kiln_gotmpl::fmt::float(*number, 'g'),
        Some(Yaml::Bool(yes)) => yes.to_string(),
        Some(Yaml::List(_) | Yaml::Map(_)) => return Err(wrong(key, "a text")),
    })
}

fn list<'m>(map: &'m Map, key: &str) -> Result<&'m [Yaml], ChartError> {
    match map.get(key) {
        None | Some(Yaml::Null) => Ok(&[]),
        Some(Yaml::List(items)) => Ok(items),
        Some(_) => Err(wrong(key, "a list")),
    }
}

fn texts(map: &Map, key: &str) -> Result<Vec<String>, ChartError> {
    let item = |item: &Yaml| {
        let one = Map::from([(key.to_owned(), item.clone())]);
        text(&one, key)
    };
    list(map, key)?.iter().map(item).collect()
}

fn maintainers(map: &Map) -> Result<Vec<Maintainer>, ChartError> {
    let item = |item: &Yaml| match item {
        Yaml::Map(map) => {
            Ok(Maintainer { name: text(map, "name")?, email: text(map, "email")?, url: text(map, "url")? })
        }
        _ => Err(wrong("maintainers", "a list of maps")),
    };
    list(map, "maintainers")?.iter().map(item).collect()
}

/// Whether there is a list of dependencies.
pub(crate) fn lists_dependencies(map: &Map) -> bool {
    matches!(map.get("dependencies"), Some(Yaml::List(_)))
}

/// The `dependencies` of `Chart.yaml`, or of `requirements.yaml`.
pub(crate) fn dependencies(map: &Map) -> Result<Vec<Dependency>, ChartError> {
    let item = |item: &Yaml| match item {
        Yaml::Map(map) => Ok(Dependency {
            name: text(map, "name")?,
            version: text(map, "version")?,
            repository: text(map, "repository")?,
            condition: text(map, "condition")?,
            tags: texts(map, "tags")?,
            alias: text(map, "alias")?,
            import_values: list(map, "import-values")?.to_vec(),
        }),
        _ => Err(wrong("dependencies", "a list of maps")),
    };
    list(map, "dependencies")?.iter().map(item).collect()
}
