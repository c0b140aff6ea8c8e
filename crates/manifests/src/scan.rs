//! A file: documents, objects, and what cannot be read.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};
use kiln_yaml::{Document, Fault, Node, Value};

use crate::finder::{Finder, Scene};
use crate::found::{Certainty, Scan};
use crate::list::Ignore;
use crate::{kinds, line, rule, walk, word};

/// What the user says about images.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Names that are not wanted, or are no images.
    pub ignore: Ignore,
}

/// Finds the images that a file of manifests names: YAML or JSON, of any number of documents, or a template of such.
pub fn scan(source: &Source, rules: &Rules) -> Scan {
    let mut finder = Finder::new(source, rules);
    for document in kiln_yaml::parse(&source.text) {
        match &document.root {
            Ok(root) => kinds::object(&mut finder, &Scene::default(), root, &source.text),
            Err(fault) => unreadable(&mut finder, &document, fault),
        }
    }
    finder.finish()
}

/// Finds the images that the values of a chart name, all of them possible. `app_version` is the tag of those without one.
pub fn values(source: &Source, app_version: Option<&str>, rules: &Rules) -> Scan {
    let mut finder = Finder::new(source, rules);
    let scene = Scene { at_most: Some(Certainty::Possible), ..Scene::default() };
    for document in kiln_yaml::parse(&source.text) {
        match &document.root {
            Ok(root) => walk::Walk::values(&mut finder, &scene, &source.text, app_version).node(root),
            Err(fault) => unreadable(&mut finder, &document, fault),
        }
    }
    finder.finish()
}

/// Searches the lines of a document that is no YAML.
fn unreadable(finder: &mut Finder<'_>, document: &Document, fault: &Fault) {
    let text = &finder.source.text[document.span.start..document.span.end];
    let template = word::is_template(text);
    let what = if template { "this is a template" } else { "this cannot be read as YAML" };
    let line = finder.source.position(fault.span.start).0;
    finder.report(
        Diagnostic::warning(
            "UnreadableYaml",
            fault.span,
            format!("{what} (line {line}: {fault}); its lines are searched for `image:`"),
        )
        .label("not YAML")
        .hint(match template {
            true => "render it before it is packed; images in parts and arguments are not found in templates",
            false => "mend it; images in parts and arguments are not found in such files",
        }),
    );
    line::search(finder, &Scene::default(), text, document.span.start);
}

/// A number where a tag should be: what Kubernetes would make of it is another tag.
pub fn number_tag(finder: &mut Finder<'_>, span: Span, written: &str, read: &str) {
    finder.report(
        Diagnostic::warning(
            "NumberTag",
            span,
            format!("the tag {written} is a number, which Kubernetes reads as {read}"),
        )
        .hint(format!("write \"{written}\"")),
    );
}

/// Whether a value is an object of Kubernetes.
pub fn is_object(node: &Node) -> bool {
    let text = |key: &str| node.at(&[key]).and_then(Node::text).is_some_and(|text| !text.is_empty());
    text("kind") && text("apiVersion")
}

/// Whether a value is a chart's Chart.yaml: `apiVersion: v1` or `v2`, a name, a version, and no kind.
pub fn is_chart(node: &Node) -> bool {
    let has = |key: &str| node.at(&[key]).is_some_and(|value| !value.is_null());
    has("name")
        && has("version")
        && !has("kind")
        && matches!(node.at(&["apiVersion"]).and_then(Node::text), Some("v1" | "v2"))
}

/// The images in the annotations of a Chart.yaml.
pub fn chart(finder: &mut Finder<'_>, scene: &Scene, root: &Node, text: &str) {
    let Some(annotations) = root.at(&["annotations"]).and_then(Node::map) else { return };
    for key in ["helm.sh/images", "artifacthub.io/images", "images"] {
        let Some(value) = annotations.get(key) else { continue };
        if let Value::Text(inner) = &value.value {
            let scene = Scene {
                around: [scene.around.clone(), vec![kiln_yaml::inner::Places::of(value, text)]].concat(),
                prefix: format!("annotations[{key}]"),
                ..scene.clone()
            };
            for document in kiln_yaml::parse(inner) {
                match &document.root {
                    Ok(list) => walk::Walk::listed(finder, &scene, inner, &rule::CHART).items(list),
                    Err(fault) => finder.report(Diagnostic::warning(
                        "UnreadableYaml",
                        scene.outer(fault.span),
                        format!("the annotation {key} cannot be read: {fault}"),
                    )),
                }
            }
        }
    }
}
