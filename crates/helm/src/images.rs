//! Images that a chart names without being rendered: annotations, lock files, and what its values look like. Used where
//! rendering fails, or to find images that only other values would bring.

use std::collections::BTreeSet;

use crate::chart::Chart;
use crate::yaml::{self, Map, Yaml};

/// An image that is named, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The image, as it is written; parts that are apart are put together.
    pub image: String,
    /// Where it is named: `annotation helm.sh/images`, `images.lock`, `values.yaml: controller.image`.
    pub place: String,
}

/// Annotations that list images.
const ANNOTATIONS: [&str; 2] = ["helm.sh/images", "artifacthub.io/images"];

/// Images that the annotations of a chart, and of those it brings, list.
pub fn annotated(chart: &Chart) -> Vec<Named> {
    let mut found = BTreeSet::new();
    each(chart, &mut |chart| {
        for key in ANNOTATIONS {
            let Some(list) = chart.annotations().get(key).and_then(|text| yaml::parse(text).ok()) else { continue };
            listed(&list, &format!("annotation {key}"), &mut found);
        }
    });
    found.into_iter().collect()
}

/// Images that lock files of a chart list: `images.lock` and the like.
pub fn locked(chart: &Chart) -> Vec<Named> {
    let mut found = BTreeSet::new();
    each(chart, &mut |chart| {
        for (name, bytes) in chart.lock_files() {
            if matches!(name, "Chart.lock" | "requirements.lock") {
                continue;
            }
            let text = String::from_utf8_lossy(bytes);
            match yaml::parse(&text) {
                Ok(value @ (Yaml::Map(_) | Yaml::List(_))) => listed(&value, name, &mut found),
                _ => {
                    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                    found.extend(lines.map(|line| Named { image: line.to_owned(), place: name.to_owned() }));
                }
            }
        }
    });
    found.into_iter().collect()
}

/// Images that default values look like: maps with `repository`, and with `registry`, `tag` and `digest` beside it, and
/// texts called `image`. Where a tag is missing, the version of the application is taken.
pub fn in_values(chart: &Chart) -> Vec<Named> {
    let mut found = BTreeSet::new();
    each(chart, &mut |chart| {
        let registry = chart.values().get("global").and_then(|global| global.get("imageRegistry")).and_then(Yaml::as_str);
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

/// Texts and maps with `image` in lists, at any depth.
fn listed(value: &Yaml, place: &str, found: &mut BTreeSet<Named>) {
    match value {
        Yaml::List(items) => {
            for item in items {
                match item {
                    Yaml::String(image) => {
                        found.insert(Named { image: image.clone(), place: place.to_owned() });
                    }
                    other => listed(other, place, found),
                }
            }
        }
        Yaml::Map(map) => {
            for (key, value) in map {
                match value {
                    Yaml::String(image) if matches!(key.as_str(), "image" | "ref" | "reference") => {
                        found.insert(Named { image: image.clone(), place: place.to_owned() });
                    }
                    other => listed(other, place, found),
                }
            }
        }
        _ => {}
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
            found.insert(Named { image, place: format!("values.yaml: {path}") });
        }
        for (key, value) in map {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.value(key, value, &path, found);
        }
    }

    fn value(&self, key: &str, value: &Yaml, path: &str, found: &mut BTreeSet<Named>) {
        match value {
            Yaml::String(text) if key.to_ascii_lowercase().ends_with("image") && looks_like_one(text) => {
                found.insert(Named { image: text.clone(), place: format!("values.yaml: {path}") });
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
    !text.is_empty() && text.chars().all(fits) && !text.contains("//") && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}
