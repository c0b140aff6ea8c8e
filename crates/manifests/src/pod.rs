//! The specification of a pod.

use kiln_spec::diag::Diagnostic;
use kiln_yaml::{Map, Node, Value};

use crate::finder::{Candidate, Finder, Scene};
use crate::found::Certainty;
use crate::rule::{self, Rule};
use crate::{inner, kinds, word};

/// The lists of containers.
pub const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Searches specifications of pods.
pub struct Pods<'f, 'a> {
    pub finder: &'f mut Finder<'a>,
    pub scene: &'f Scene,
    pub text: &'f str,
    /// Whether something else puts images into it.
    pub is_meshed: bool,
}

impl Pods<'_, '_> {
    /// Searches one at a path.
    pub fn spec(&mut self, spec: &Map, path: &str) {
        let scene = Scene { platforms: kinds::selected(spec).into_iter().collect(), ..self.scene.clone() };
        for list in CONTAINERS {
            for (i, item) in spec.get(list).and_then(Node::list).unwrap_or_default().iter().enumerate() {
                if let Some(container) = item.map() {
                    self.container(&scene, container, &format!("{path}.{list}[{i}]"));
                }
            }
        }
        for (i, volume) in spec.get("volumes").and_then(Node::list).unwrap_or_default().iter().enumerate() {
            if let Some(node) = volume.at(&["image", "reference"]) {
                self.name(&scene, node, &format!("{path}.volumes[{i}].image.reference"), &rule::VOLUME);
            }
        }
    }

    fn container(&mut self, scene: &Scene, container: &Map, path: &str) {
        match container.get("image") {
            Some(node) if node.text() == Some("auto") && self.is_meshed => {
                let message = "the image of this container is put in by a mesh";
                self.finder.report(
                    Diagnostic::warning("AutoImage", scene.outer(node.span), message)
                        .hint("put the mesh's proxy on the list of images"),
                );
            }
            Some(node) => self.name(scene, node, &format!("{path}.image"), &rule::CONTAINER),
            None => {}
        }
        self.arguments(scene, container, path);
        self.environment(scene, container, path);
    }

    fn name(&mut self, scene: &Scene, node: &Node, path: &str, rule: &'static Rule) {
        match &node.value {
            Value::Text(text) => {
                self.finder.take(scene, &Candidate { text, span: node.span, path, rule, certainty: Certainty::Named });
            }
            Value::Null => {}
            _ => {
                let message = format!("an image must be a string; this is {}", node.kind());
                self.finder
                    .report(Diagnostic::error("BadImage", scene.outer(node.span), message).note(path.to_owned()));
            }
        }
    }

    /// `--x-image=NAME`, `--x-image NAME`, `--x=registry/path:tag`.
    fn arguments(&mut self, scene: &Scene, container: &Map, path: &str) {
        for list in ["command", "args"] {
            let items = container.get(list).and_then(Node::list).unwrap_or_default();
            for (i, item) in items.iter().enumerate() {
                let Some(argument) = item.text() else { continue };
                let path = format!("{path}.{list}[{i}]");
                if argument.contains('\n') {
                    inner::hint(self.finder, scene, "", item, self.text, &path, &rule::ARGUMENT);
                    continue;
                }
                let before = i.checked_sub(1).and_then(|i| items[i].text()).filter(|before| before.starts_with('-'));
                let (name, value) = match argument.split_once('=') {
                    Some((name, value)) => (name, value),
                    None => (before.unwrap_or_default(), argument),
                };
                for part in value.split(',') {
                    let part = part.trim_matches(['"', '\'']);
                    // `--images=name=reference`
                    let part = part.rsplit_once('=').map_or(part, |(_, reference)| reference);
                    let says = name.starts_with('-')
                        && word::names_image(name)
                        && word::may_be_name(part)
                        && !part.starts_with('-');
                    if says || word::is_full_name(part) {
                        let certainty = Certainty::Possible;
                        let candidate =
                            Candidate { text: part, span: item.span, path: &path, rule: &rule::ARGUMENT, certainty };
                        self.finder.take(scene, &candidate);
                    }
                }
            }
        }
    }

    fn environment(&mut self, scene: &Scene, container: &Map, path: &str) {
        for (i, item) in container.get("env").and_then(Node::list).unwrap_or_default().iter().enumerate() {
            let (Some(name), Some(value)) = (item.at(&["name"]).and_then(Node::text), item.at(&["value"])) else {
                continue;
            };
            let path = format!("{path}.env[{i}].value");
            inner::hint(self.finder, scene, name, value, self.text, &path, &rule::ENVIRONMENT);
        }
    }
}
