//! Images that a chart names without being rendered: annotations, lock files, and what its values look like.
//!
//! Annotations and lock files are the author's word that the chart runs these images; an operator's are often named
//! nowhere else. What values look like is a guess.

use std::collections::BTreeSet;

use crate::chart::Chart;
use crate::dependencies::at;
use crate::error::RenderError;
use crate::render::prepare;
use crate::values::Values;
use crate::yaml::{self, Map, Yaml};

/// An image that is named, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The image, as it is written; parts that are apart are put together.
    pub image: String,
    /// Where it is named: `annotation helm.sh/images`, `images.lock`, `values.yaml: controller.image`.
    pub place: String,
    /// Whether an annotation or lock file lists it; else its values look like it.
    pub is_listed: bool,
}

/// Annotations that list images: those of zarf, Artifact Hub and Bitnami.
const ANNOTATIONS: [&str; 3] = ["helm.sh/images", "artifacthub.io/images", "images"];

/// Lock files that are about images by their names.
const LOCKS: [&str; 6] =
    ["images.lock", "images-lock.yaml", "images-lock.yml", "images.lock.yaml", "images.lock.yml", ".images.lock.yaml"];

/// Images that annotations and lock files list, of a chart and of those it brings that these values enable. Entries
/// with a `condition` count where the values have `true` there.
///
/// # Errors
/// As `render` says, for charts that are missing and values that are no map.
pub fn listed(chart: &Chart, values: &Values) -> Result<Vec<Named>, RenderError> {
    let (chart, all) = prepare(chart, values, &mut Vec::new())?;
    let mut found = BTreeSet::new();
    enabled(&chart, &all, &mut found);
    Ok(found.into_iter().collect())
}

fn enabled(chart: &Chart, values: &Map, found: &mut BTreeSet<Named>) {
    let is_on = |condition: &str| matches!(at(values, condition), Some(Yaml::Bool(true)));
    let read = Read { is_on: &is_on };
    read.annotations(chart, found);
    for (name, bytes) in chart.lock_files() {
        if LOCKS.contains(&name.to_ascii_lowercase().as_str()) {
            read.lock(name, bytes, found);
        }
    }
    for below in chart.charts() {
        if let Some(Yaml::Map(own)) = values.get(below.name()) {
            enabled(below, own, found);
        }
    }
}

/// Images that the annotations of a chart, and of all those it brings, list.
pub fn annotated(chart: &Chart) -> Vec<Named> {
    let mut found = BTreeSet::new();
    each(chart, &mut |chart| Read { is_on: &|_| true }.annotations(chart, &mut found));
    found.into_iter().collect()
}

/// Images that lock files of a chart list: `images.lock` and the like.
pub fn locked(chart: &Chart) -> Vec<Named> {
    let mut found = BTreeSet::new();
    each(chart, &mut |chart| {
        for (name, bytes) in chart.lock_files() {
            if !matches!(name, "Chart.lock" | "requirements.lock") {
                Read { is_on: &|_| true }.lock(name, bytes, &mut found);
            }
        }
    });
    found.into_iter().collect()
}

/// Reads lists of images.
struct Read<'r> {
    /// Whether an entry with a condition counts.
    is_on: &'r dyn Fn(&str) -> bool,
}

impl Read<'_> {
    fn annotations(&self, chart: &Chart, found: &mut BTreeSet<Named>) {
        for key in ANNOTATIONS {
            let Some(list) = chart.annotations().get(key).and_then(|text| yaml::parse(text).ok()) else { continue };
            self.list(&list, &format!("annotation {key}"), true, found);
        }
    }

    fn lock(&self, name: &str, bytes: &[u8], found: &mut BTreeSet<Named>) {
        let text = String::from_utf8_lossy(bytes);
        match yaml::parse(&text) {
            Ok(value @ (Yaml::Map(_) | Yaml::List(_))) => {
                self.list(&value, name, matches!(value, Yaml::List(_)), found)
            }
            _ => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                lines.for_each(|line| take(line, name, found));
            }
        }
    }

    /// Maps with `image` at any depth, and, where the value `is_list` of images, texts. Other lists of an entry, such as
    /// its `platforms`, are none of images.
    fn list(&self, value: &Yaml, place: &str, is_list: bool, found: &mut BTreeSet<Named>) {
        match value {
            Yaml::String(image) if is_list => take(image, place, found),
            Yaml::List(items) => items.iter().for_each(|item| self.list(item, place, is_list, found)),
            Yaml::Map(map) => self.entry(map, place, found),
            _ => {}
        }
    }

    fn entry(&self, map: &Map, place: &str, found: &mut BTreeSet<Named>) {
        if map.get("condition").and_then(Yaml::as_str).is_some_and(|condition| !(self.is_on)(condition)) {
            return;
        }
        for (key, value) in map {
            match value {
                Yaml::String(image) if matches!(key.as_str(), "image" | "ref" | "reference") => {
                    take(image, place, found);
                }
                Yaml::String(_) => {}
                other => self.list(other, place, key.to_ascii_lowercase().ends_with("images"), found),
            }
        }
    }
}

fn take(image: &str, place: &str, found: &mut BTreeSet<Named>) {
    found.insert(Named { image: image.to_owned(), place: place.to_owned(), is_listed: true });
}

/// Images that default values look like: maps with `repository`, and with `registry`, `tag` and `digest` beside it, and
/// texts called `image`. Where a tag is missing, the version of the application is taken.
pub fn in_values(chart: &Chart) -> Vec<Named> {
    let mut found = BTreeSet::new();
    each(chart, &mut |chart| {
        let registry =
            chart.values().get("global").and_then(|global| global.get("imageRegistry")).and_then(Yaml::as_str);
        let seen = Seen { registry: registry.unwrap_or_default(), tag: &chart.metadata().app_version };
        seen.map(chart.values(), "", &mut found);
    });
    found.into_iter().collect()
}

fn each<'c>(chart: &'c Chart, look: &mut dyn FnMut(&'c Chart)) {
    look(chart);
    for below in chart.charts() {
        each(below, look);
    }
}

/// How parts are put together.
struct Seen<'c> {
    registry: &'c str,
    tag: &'c str,
}

impl Seen<'_> {
    fn map(&self, map: &Map, path: &str, found: &mut BTreeSet<Named>) {
        if let Some(image) = self.image(map) {
            found.insert(Named { image, place: format!("values.yaml: {path}"), is_listed: false });
        }
        for (key, value) in map {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.value(key, value, &path, found);
        }
    }

    fn value(&self, key: &str, value: &Yaml, path: &str, found: &mut BTreeSet<Named>) {
        match value {
            Yaml::String(text) if key.to_ascii_lowercase().ends_with("image") && looks_like_one(text) => {
                let place = format!("values.yaml: {path}");
                found.insert(Named { image: text.clone(), place, is_listed: false });
            }
            Yaml::Map(map) => self.map(map, path, found),
            Yaml::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.value("", item, &format!("{path}[{at}]"), found);
                }
            }
            _ => {}
        }
    }

    fn image(&self, map: &Map) -> Option<String> {
        let of = |key: &str| match map.get(key) {
            Some(Yaml::String(text)) => text.clone(),
            Some(Yaml::Float(number)) => kiln_gotmpl::fmt::float(*number, 'g'),
            _ => String::new(),
        };
        let repository = of("repository");
        let repository = if repository.is_empty() { of("image") } else { repository };
        let apart = map.contains_key("tag") || map.contains_key("digest") || map.contains_key("repository");
        if !apart || !looks_like_one(&repository) {
            return None;
        }
        let registry = if of("registry").is_empty() { self.registry.to_owned() } else { of("registry") };
        let mut image = if registry.is_empty() { repository } else { format!("{registry}/{repository}") };
        let tag = if of("tag").is_empty() { self.tag.to_owned() } else { of("tag") };
        if !tag.is_empty() {
            image += &format!(":{tag}");
        }
        if !of("digest").is_empty() {
            image += &format!("@{}", of("digest"));
        }
        Some(image)
    }
}

/// Letters that names of images are made of, and no address of a server.
fn looks_like_one(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@');
    !text.is_empty()
        && text.chars().all(fits)
        && !text.contains("//")
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}
