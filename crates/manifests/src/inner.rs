//! Texts inside of texts: the data of ConfigMaps and Secrets, annotations, variables.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;
use kiln_yaml::inner::Places;
use kiln_yaml::{Map, Node};

use crate::finder::{Candidate, Finder, Scene};
use crate::found::Certainty;
use crate::rule::{self, Rule};
use crate::walk::Walk;
use crate::{kinds, line, scan, word};

/// Texts in each other.
const MAX_DEPTH: usize = 4;

/// Searches the data of a ConfigMap or Secret.
pub fn data(finder: &mut Finder<'_>, scene: &Scene, map: &Map, text: &str, is_secret: bool) {
    for field in ["data", "stringData", "binaryData"] {
        let Some(entries) = map.get(field).and_then(Node::map) else { continue };
        let encoded = field == "binaryData" || (field == "data" && is_secret);
        for entry in &entries.entries {
            let path = format!("{field}[{}]", entry.key);
            if !encoded {
                hint(finder, scene, &entry.key, &entry.value, text, &path, &rule::ENVIRONMENT);
                continue;
            }
            let Some(value) = entry.value.text() else { continue };
            let joined: String = value.split_whitespace().collect();
            let Some(decoded) = STANDARD.decode(joined).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
                continue;
            };
            let mut node = entry.value.clone();
            node.value = kiln_yaml::Value::Text(decoded);
            // Nothing in it has a place of its own.
            node.style = kiln_yaml::Style::Quoted;
            hint(finder, scene, &entry.key, &node, text, &path, &rule::ENVIRONMENT);
        }
    }
}

/// Searches a text that may be an image, may be a list of manifests, or neither. `key` is what it is called.
pub fn hint(
    finder: &mut Finder<'_>,
    scene: &Scene,
    key: &str,
    node: &Node,
    text: &str,
    path: &str,
    rule: &'static Rule,
) {
    let Some(value) = node.text() else { return };
    let value = value.trim();
    if looks_like_document(value) {
        return document(finder, scene, node, text, path);
    }
    let says = word::names_image(key) && word::may_be_name(value);
    if says || word::is_full_name(value) {
        finder.take(scene, &Candidate { text: value, span: node.span, path, rule, certainty: Certainty::Possible });
    }
}

/// Whether a text has the structure of YAML or JSON.
pub fn looks_like_document(text: &str) -> bool {
    let text = text.trim();
    (text.contains('\n') && text.contains(':'))
        || ((text.starts_with('{') || text.starts_with('[')) && text.contains(':'))
}

/// Searches a text that may be a document: its objects like those of files, anything else as possible.
pub fn document(finder: &mut Finder<'_>, scene: &Scene, node: &Node, text: &str, path: &str) {
    let Some(inner) = node.text() else { return };
    if scene.around.len() >= MAX_DEPTH {
        let message = format!("more than {MAX_DEPTH} texts in each other: this one is not searched");
        return finder.report(Diagnostic::warning("TooDeep", scene.outer(node.span), message));
    }
    let mut around = scene.around.clone();
    around.push(Places::of(node, text));
    let prefix = if scene.prefix.is_empty() { path.to_owned() } else { format!("{} > {path}", scene.prefix) };
    let inside = Scene { around, prefix, ..scene.clone() };
    let maybe = Scene { at_most: Some(Certainty::Possible), ..inside.clone() };
    for document in kiln_yaml::parse(inner) {
        match &document.root {
            Ok(root) if scan::is_object(root) => {
                kinds::object(finder, &inside, root, inner);
            }
            Ok(root) => Walk::objects(finder, &maybe, inner).node(root),
            // Most texts are no YAML and no templates of it: scripts, configurations of other programs.
            Err(_) => {
                let Span { start, end } = document.span;
                line::search(finder, &maybe, &inner[start..end], start);
            }
        }
    }
}

/// A scalar as it is written in the text, for tags that are read as numbers.
pub fn written<'t>(node: &'t Node, text: &'t str) -> Option<Cow<'t, str>> {
    match &node.value {
        kiln_yaml::Value::Text(value) => Some(Cow::Borrowed(value)),
        kiln_yaml::Value::Number(number) => Some(Cow::Borrowed(&number.text)),
        kiln_yaml::Value::Bool(_) => text.get(node.span.start..node.span.end).map(Cow::Borrowed),
        _ => None,
    }
}
