//! Images in parts: `{registry, repository, tag}` and what else there is of it.

use kiln_spec::source::Span;
use kiln_yaml::{Map, Node, Value};

use crate::{inner, word};

/// An image made of the values of several keys.
pub struct Made<'m> {
    /// Its name.
    pub name: String,
    /// The keys that are used up, that of the name first.
    pub keys: Vec<&'m str>,
    /// Where its name is.
    pub span: Span,
    /// Whether it has a tag or digest.
    pub has_version: bool,
    /// A tag that is a number: as it is written, and as Kubernetes reads it.
    pub number: Option<(String, String)>,
}

/// The images that a map has in parts. `key` is what it is behind.
pub fn of<'m>(map: &'m Map, key: &str, text: &str) -> Vec<Made<'m>> {
    let mut found: Vec<Made<'m>> = whole(map, key, text).into_iter().collect();
    for entry in &map.entries {
        let name = &*entry.key;
        if found.iter().any(|made| made.keys.contains(&name)) || entry.value.text().is_none() {
            continue;
        }
        found.extend(pair(map, name, text));
    }
    found
}

/// The map is an image.
fn whole<'m>(map: &'m Map, key: &str, text: &str) -> Option<Made<'m>> {
    let behind_image = word::is_image_key(key);
    let names: &[&str] = if behind_image { &["repository", "repo", "image", "name"] } else { &["repository", "image"] };
    let name = names.iter().find_map(|name| map.entry(name).filter(|entry| entry.value.text().is_some()))?;
    let versions: &[&str] = if behind_image { &["tag", "version"] } else { &["tag"] };
    let made = join(map, &name.key, &["registry"], versions, &["digest", "sha"], text)?;
    // Outside of what is called an image, a repository alone may be one of anything.
    let is_image = behind_image || made.has_version || made.keys.contains(&"registry");
    (is_image && (name.key != "image" || made.keys.len() > 1)).then_some(made)
}

/// Two keys of a map are an image: `sidecarImageRepository` and `sidecarImageTag`.
fn pair<'m>(map: &'m Map, name: &'m str, text: &str) -> Option<Made<'m>> {
    let stem = name.strip_suffix("Repository").or_else(|| name.strip_suffix("Repo")).unwrap_or(name);
    let is_image = stem == "image" || stem.ends_with("Image");
    if stem == name && !is_image {
        return None;
    }
    let (tag, version, digest) = (format!("{stem}Tag"), format!("{stem}Version"), format!("{stem}Digest"));
    let registry = format!("{stem}Registry");
    let base: &[&str] = if name == "baseImage" { &["tag", "version"] } else { &[] };
    let tags: Vec<&str> = [&*tag, &*version].into_iter().chain(base.iter().copied()).collect();
    let digests: Vec<&str> = std::iter::once(&*digest).chain((name == "baseImage").then_some("sha")).collect();
    let made = join(map, name, &[&registry], &tags, &digests, text)?;
    // `imageRepository: registry.k8s.io` names a registry, not an image.
    let alone = made.keys.len() == 1;
    (!alone || (stem != name && is_image && made.name.contains('/') && !word::is_something_else(&made.name)))
        .then_some(made)
}

/// Puts parts together.
fn join<'m>(
    map: &'m Map,
    name: &str,
    registries: &[&str],
    tags: &[&str],
    digests: &[&str],
    text: &str,
) -> Option<Made<'m>> {
    let entry = map.entry(name)?;
    let written = entry.value.text()?.trim();
    let mut made = Made {
        name: written.to_owned(),
        keys: vec![&*entry.key],
        span: entry.value.span,
        has_version: written.contains('@') || written.rsplit('/').next().is_some_and(|last| last.contains(':')),
        number: None,
    };
    if written.is_empty() {
        return None;
    }
    let part = |names: &[&str], keys: &mut Vec<&'m str>| -> Option<(&'m Node, String)> {
        names.iter().find_map(|name| {
            let entry = map.entry(name)?;
            let written = inner::written(&entry.value, text)?.trim().to_owned();
            keys.push(&entry.key);
            (!written.is_empty()).then_some((&entry.value, written))
        })
    };
    if let Some((_, registry)) = part(registries, &mut made.keys) {
        made.name = format!("{}/{}", registry.trim_end_matches('/'), made.name);
    }
    let tag = part(tags, &mut made.keys);
    let digest = part(digests, &mut made.keys);
    if made.has_version {
        return Some(made);
    }
    if let Some((node, tag)) = tag {
        if let Value::Number(number) = &node.value {
            made.number = (number.canonical() != number.text).then(|| (number.text.clone(), number.canonical()));
        }
        made.name += if tag.starts_with('@') { "" } else { ":" };
        made.name += tag.trim_start_matches(':');
        made.has_version = true;
    }
    if let Some((_, digest)) = digest.filter(|_| !made.name.contains('@')) {
        made.name += "@";
        made.name += if digest.contains(':') { "" } else { "sha256:" };
        made.name += &digest;
        made.has_version = true;
    }
    Some(made)
}
