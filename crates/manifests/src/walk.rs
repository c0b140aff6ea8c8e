//! Objects whose types nobody knows: by the names of their keys.

use std::borrow::Cow;

use kiln_yaml::{Map, Node, Value};

use crate::finder::{Candidate, Finder, Scene};
use crate::found::Certainty;
use crate::pod::{CONTAINERS, Pods};
use crate::rule::{self, Rule};
use crate::{inner, kinds, parts, scan, word};

/// A walk through a value.
pub struct Walk<'f, 'a> {
    finder: &'f mut Finder<'a>,
    scene: &'f Scene,
    /// The text that the value was read from.
    text: &'f str,
    path: String,
    mode: Mode<'f>,
}

/// What the value is.
#[derive(Clone, Copy)]
enum Mode<'f> {
    /// A custom resource.
    Custom,
    /// No object; it may hold some.
    Objects,
    /// Types: only defaults count.
    Defaults,
    /// A kustomization.
    Kustomization,
    /// Values of a chart, with the version of its application.
    Values(Option<&'f str>),
    /// Lists that somebody made for this.
    Listed(&'static Rule),
}

impl<'f, 'a> Walk<'f, 'a> {
    fn new(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str, mode: Mode<'f>) -> Self {
        Walk { finder, scene, text, path: String::new(), mode }
    }

    /// Of a custom resource.
    pub fn custom(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str) -> Self {
        Walk::new(finder, scene, text, Mode::Custom)
    }

    /// Of a document that is no object, and may hold some.
    pub fn objects(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str) -> Self {
        Walk::new(finder, scene, text, Mode::Objects)
    }

    /// Of a CustomResourceDefinition.
    pub fn defaults(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str) -> Self {
        Walk::new(finder, scene, text, Mode::Defaults)
    }

    /// Of a kustomization.
    pub fn kustomization(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str) -> Self {
        Walk::new(finder, scene, text, Mode::Kustomization)
    }

    /// Of values of a chart.
    pub fn values(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str, version: Option<&'f str>) -> Self {
        Walk::new(finder, scene, text, Mode::Values(version))
    }

    /// Of a list of images.
    pub fn listed(finder: &'f mut Finder<'a>, scene: &'f Scene, text: &'f str, rule: &'static Rule) -> Self {
        Walk::new(finder, scene, text, Mode::Listed(rule))
    }

    /// Searches a value.
    pub fn node(&mut self, node: &Node) {
        match &node.value {
            Value::Map(_) if !self.path.is_empty() && scan::is_object(node) => self.nested(node),
            Value::Map(map) => self.map(map, ""),
            Value::List(items) => self.each(items, ""),
            Value::Text(text) if self.is_document(text) => {
                inner::document(self.finder, self.scene, node, self.text, &self.path);
            }
            _ => {}
        }
    }

    /// Searches a value that is a list of images.
    pub fn items(&mut self, node: &Node) {
        self.images(node);
    }

    /// Texts of custom resources may be manifests; most are not.
    fn is_document(&self, text: &str) -> bool {
        !matches!(self.mode, Mode::Defaults) && text.contains("kind") && inner::looks_like_document(text)
    }

    /// An object in an object.
    fn nested(&mut self, node: &Node) {
        let path = std::mem::take(&mut self.path);
        let prefix =
            if self.scene.prefix.is_empty() { path.clone() } else { format!("{} > {path}", self.scene.prefix) };
        kinds::object(self.finder, &Scene { prefix, ..self.scene.clone() }, node, self.text);
        self.path = path;
    }

    fn within(&mut self, part: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() && !part.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(part);
        walk(self);
        self.path.truncate(length);
    }

    fn each(&mut self, items: &[Node], key: &str) {
        for (i, item) in items.iter().enumerate() {
            self.within(&format!("[{i}]"), |walk| match &item.value {
                Value::Map(map) if !scan::is_object(item) => walk.map(map, key),
                _ => walk.node(item),
            });
        }
    }

    /// Searches a map that is behind `key`.
    fn map(&mut self, map: &Map, key: &str) {
        if matches!(self.mode, Mode::Defaults) {
            return self.types(map);
        }
        let is_pod = CONTAINERS.iter().any(|name| map.get(name).is_some_and(is_containers));
        if is_pod && !matches!(self.mode, Mode::Values(_)) {
            Pods { finder: &mut *self.finder, scene: self.scene, text: self.text, is_meshed: false }
                .spec(map, &self.path);
        }
        let mut used: Vec<&str> = Vec::new();
        for made in parts::of(map, key, self.text) {
            used.extend(made.keys.iter());
            self.made(&made);
        }
        for entry in &map.entries {
            let name = &*entry.key;
            let top = self.path.is_empty() && matches!(self.mode, Mode::Custom);
            let done = used.contains(&name) || (is_pod && CONTAINERS.contains(&name) && is_containers(&entry.value));
            if done || is_types(name) || (top && matches!(name, "metadata" | "status" | "apiVersion" | "kind")) {
                continue;
            }
            self.within(name, |walk| walk.entry(name, &entry.value));
        }
    }

    fn entry(&mut self, key: &str, node: &Node) {
        match &node.value {
            Value::Text(text) if word::is_image_key(key) && !inner::looks_like_document(text) => {
                self.name(key, text, node)
            }
            Value::List(_) if word::is_images_key(key) => self.images(node),
            Value::Map(map) if key == "annotations" => {
                for entry in &map.entries {
                    let path = format!("{}[{}]", self.path, entry.key);
                    inner::hint(self.finder, self.scene, &entry.key, &entry.value, self.text, &path, &rule::ANNOTATION);
                }
            }
            Value::Map(map) if !scan::is_object(node) => self.map(map, key),
            Value::List(items) => self.each(items, key),
            _ => self.node(node),
        }
    }

    /// The text of a key for an image.
    fn name(&mut self, key: &str, text: &str, node: &Node) {
        if word::is_something_else(text) && !word::is_template(text) {
            return;
        }
        let certain = key == "image" || word::is_structured(text);
        self.take(text, node, self.rule(&rule::KEY), if certain { Certainty::Named } else { Certainty::Possible });
    }

    /// The value of a key for several images.
    fn images(&mut self, node: &Node) {
        for (i, item) in node.list().unwrap_or_default().iter().enumerate() {
            self.within(&format!("[{i}]"), |walk| match &item.value {
                Value::Text(text) => walk.name("image", text, item),
                Value::Map(map) => walk.listed_map(map),
                _ => {}
            });
        }
    }

    fn listed_map(&mut self, map: &Map) {
        let text = |key: &str| map.get(key).and_then(|node| inner::written(node, self.text));
        if let (Mode::Kustomization, Some(name)) = (self.mode, text("newName").or_else(|| text("name"))) {
            let version = match (text("digest"), text("newTag")) {
                (Some(digest), _) => format!("@{digest}"),
                (_, Some(tag)) => format!(":{tag}"),
                _ => String::new(),
            };
            let made = format!("{name}{version}");
            let node = map.entries.first().map(|entry| entry.value.clone());
            if let Some(node) = node {
                self.take(&made, &node, &rule::LIST, Certainty::Possible);
            }
            return;
        }
        self.map(map, "image");
    }

    fn made(&mut self, made: &parts::Made<'_>) {
        let mut text = Cow::Borrowed(&*made.name);
        let mut certainty = if made.has_version { Certainty::Named } else { Certainty::Possible };
        if let (false, Mode::Values(Some(version))) = (made.has_version, self.mode) {
            text = Cow::Owned(format!("{text}:{version}"));
        }
        if word::is_something_else(&text) && !word::is_template(&text) {
            return;
        }
        if matches!(self.mode, Mode::Kustomization) {
            certainty = Certainty::Possible;
        }
        if let (Some((written, read)), Certainty::Named) = (&made.number, certainty) {
            scan::number_tag(self.finder, self.scene.outer(made.span), written, read);
        }
        let node = Node { span: made.span, ..Node::made(Value::Null) };
        self.within(made.keys[0], |walk| walk.take(&text, &node, walk.rule(&rule::PARTS), certainty));
    }

    fn rule(&self, rule: &'static Rule) -> &'static Rule {
        match self.mode {
            Mode::Values(_) => &rule::VALUES,
            Mode::Listed(rule) => rule,
            _ => rule,
        }
    }

    fn take(&mut self, text: &str, node: &Node, rule: &'static Rule, certainty: Certainty) {
        let certainty = match self.mode {
            Mode::Objects | Mode::Values(_) | Mode::Kustomization | Mode::Defaults => Certainty::Possible,
            Mode::Custom | Mode::Listed(_) => certainty,
        };
        if certainty == Certainty::Possible && !word::may_be_name(text) {
            return;
        }
        self.finder.take(self.scene, &Candidate { text, span: node.span, path: &self.path, rule, certainty });
    }

    /// Types of custom resources: `default` of properties for images.
    fn types(&mut self, map: &Map) {
        for entry in &map.entries {
            let default = entry.value.at(&["default"]).filter(|_| word::is_image_key(&entry.key));
            if let Some((default, text)) = default.and_then(|default| Some((default, default.text()?))) {
                self.within(&entry.key, |walk| walk.take(text, default, &rule::SCHEMA, Certainty::Possible));
            }
            self.within(&entry.key, |walk| match &entry.value.value {
                Value::Map(map) => walk.types(map),
                Value::List(items) => walk.each(items, ""),
                _ => {}
            });
        }
    }
}

/// Types, inside of something else.
fn is_types(key: &str) -> bool {
    matches!(key, "openAPIV3Schema" | "jsonSchema" | "valuesSchema")
}

fn is_containers(node: &Node) -> bool {
    node.list().is_some_and(|items| items.iter().any(|item| item.at(&["image"]).is_some()))
}
