//! Layers, checked, converted and laid over each other.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};
use kiln_yaml::Node;

use crate::schema::{Api, Kind, Schema, Type};
use crate::value::{Content, Lines, Origin, Value};
use crate::{convert, mask, merge, rewrite};

/// What is true where nobody says otherwise: the configuration of `kubernetes:v1.19.8`.
pub const DEFAULT: &str = include_str!("default.yaml");

/// Groups of documents that stand in a Clusterfile beside kubeadm's.
const CLUSTERFILE_GROUPS: [&str; 5] =
    ["sealer.io", "sealer.cloud", "sealer.aliyun.com", "zlink.aliyun.com", "apps.sealos.io"];

/// Entries of one list or map.
pub const MAX_ENTRIES: usize = 2000;
/// Mistakes of one file that are told.
const MAX_FOUND: usize = 200;

/// Documents of one file, or documents that a program made.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What origins call it.
    pub name: String,
    /// The file, as it is read; [`Layer::shown`] is for messages.
    pub source: Source,
    /// Whether the file is a Clusterfile, whose other documents somebody else reads.
    pub is_clusterfile: bool,
    /// Documents of no file, over those of the file. Their values have origins of their own. They are written as
    /// v1beta2 has them (arguments are maps), and are converted as all others, which is not told.
    pub made: Vec<(Kind, Value)>,
}

impl Layer {
    /// A file that has nothing but documents of kubeadm, the kubelet and kube-proxy, such as an image's
    /// `etc/kubeadm.yml`.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Layer {
        let name = name.into();
        let source = Source { name: name.clone(), text: text.into() };
        Layer { name, source, is_clusterfile: false, made: Vec::new() }
    }

    /// A Clusterfile: documents of other groups are not looked at.
    pub fn clusterfile(name: impl Into<String>, text: impl Into<String>) -> Layer {
        Layer { is_clusterfile: true, ..Layer::file(name, text) }
    }

    /// What messages may quote of the file: it has no tokens, keys and passwords in it.
    pub fn shown(&self) -> Source {
        mask::masked(&self.source, &kiln_yaml::parse(&self.source.text))
    }

    /// Documents that a program made.
    pub fn made(name: impl Into<String>, documents: Vec<(Kind, Value)>) -> Layer {
        Layer { made: documents, ..Layer::file(name, "") }
    }
}

/// What was made different from what a layer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which value: `ClusterConfiguration.apiServer.extraArgs`.
    pub path: String,
    /// Where it was said.
    pub origin: Origin,
    /// What became of it.
    pub what: String,
}

impl Change {
    /// A change of a value of a document.
    pub fn new(kind: Kind, path: &[&str], origin: &Origin, what: impl Into<String>) -> Change {
        let path = std::iter::once(kind.to_string()).chain(path.iter().map(|part| (*part).to_owned()));
        Change {
            path: path.collect::<Vec<_>>().join("."),
            origin: Origin { changed: false, ..origin.clone() },
            what: what.into(),
        }
    }
}

/// The configuration of a launch.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The version of Kubernetes, `v1.19.8`.
    pub version: String,
    /// The version of kubeadm's API.
    pub api: Api,
    /// The documents, without `apiVersion` and `kind`, in the order of [`Kind::ALL`].
    pub documents: Vec<(Kind, Value)>,
    /// What differs from what layers say, in the order it was met.
    pub changes: Vec<Change>,
    /// What may not be meant: the layer, and what is wrong.
    pub warnings: Vec<(usize, Diagnostic)>,
}

impl Resolved {
    /// What a document has at a path of keys.
    pub fn at(&self, kind: Kind, path: &[&str]) -> Option<&Value> {
        self.documents.iter().find(|(known, _)| *known == kind).and_then(|(_, value)| value.at(path))
    }
}

/// One document of a layer.
struct Document {
    kind: Kind,
    api: Api,
    value: Value,
    span: Span,
    is_made: bool,
}

/// Lays layers over each other, the highest first, and [`DEFAULT`] below all. `version` is that of Kubernetes, if it is
/// not to be the one that the layers say.
///
/// # Errors
/// What is wrong in which layer; layer `layers.len()` is the default, and stands for what no file says.
pub fn resolve(layers: &[Layer], version: Option<&str>) -> Result<Resolved, Vec<(usize, Diagnostic)>> {
    let default = Layer::file("default", DEFAULT);
    let (mut found, mut read, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for (i, layer) in layers.iter().chain([&default]).enumerate() {
        let mut reader = Reader {
            layer,
            lines: Lines::new(&layer.source.text),
            documents: Vec::new(),
            found: Vec::new(),
            changes: &mut changes,
        };
        reader.read();
        let made = layer.made.iter().map(|(kind, value)| Document {
            kind: *kind,
            api: Api::V1beta2,
            value: value.clone(),
            span: Span::default(),
            is_made: true,
        });
        reader.documents.extend(made);
        found.extend(reader.found.into_iter().map(|diagnostic| (i, diagnostic)));
        read.push(reader.documents);
    }
    let said = read
        .iter()
        .flatten()
        .filter(|d| d.kind == Kind::ClusterConfiguration)
        .find_map(|d| d.value.at(&["kubernetesVersion"]));
    let said = said.cloned();
    let version = version
        .map(str::to_owned)
        .or_else(|| said.as_ref().and_then(Value::as_text).map(str::to_owned))
        .unwrap_or_default();
    let minor = match release(&version) {
        Some(minor) if minor >= 15 => minor,
        _ => {
            let message = format!("`{version}` is no release of Kubernetes since v1.15");
            found.push((
                layers.len(),
                Diagnostic::error("BadVersion", Span::default(), message).hint("write v1.MINOR.PATCH, such as v1.19.8"),
            ));
            return Err(found);
        }
    };
    let api = Api::of_release(minor);
    let mut documents: Vec<(Kind, Value)> = Vec::new();
    for (i, layer) in read.into_iter().enumerate().rev() {
        for document in layer.iter().filter(|document| document.api > api) {
            let message = format!(
                "{} of {} is newer than Kubernetes {version}, which has {}",
                document.kind,
                document.api.name(),
                api.name()
            );
            found.push((i, Diagnostic::error("NewerApi", document.span, message)));
        }
        for (from, is_made) in Api::ALL.into_iter().map(|api| (api, false)).chain([(Api::V1beta2, true)]) {
            let mut part: Vec<(Kind, Value)> = layer
                .iter()
                .filter(|d| d.api == from && d.is_made == is_made)
                .map(|d| (d.kind, d.value.clone()))
                .collect();
            // How a program writes what it makes is nobody's business.
            let mut untold = Vec::new();
            convert::convert(&mut part, from, api, if is_made { &mut untold } else { &mut changes });
            part.into_iter().for_each(|(kind, value)| lay(&mut documents, kind, value));
        }
    }
    if found.iter().any(|(_, diagnostic)| diagnostic.is_error()) {
        return Err(found);
    }
    asked(&mut documents, &version, said.as_ref(), &mut changes);
    for (kind, value) in &mut documents {
        rewrite::rewrite(*kind, value, minor, &mut changes);
    }
    documents.sort_by_key(|(kind, _)| *kind);
    Ok(Resolved { version, api, documents, changes, warnings: found })
}

fn lay(documents: &mut Vec<(Kind, Value)>, kind: Kind, value: Value) {
    let at = documents.iter().position(|(known, _)| *known == kind);
    let below = at.map(|i| documents.remove(i).1);
    documents.extend(merge::over(below, value, "").map(|value| (kind, value)));
}

/// The version that was asked for goes into the configuration.
fn asked(documents: &mut [(Kind, Value)], version: &str, said: Option<&Value>, changes: &mut Vec<Change>) {
    let Some((kind, value)) = documents.iter_mut().find(|(kind, _)| *kind == Kind::ClusterConfiguration) else {
        return;
    };
    if said.and_then(Value::as_text) == Some(version) {
        return;
    }
    if let Some(said) = said {
        changes.push(Change::new(
            *kind,
            &["kubernetesVersion"],
            &said.origin,
            format!("is {version}, which was asked for"),
        ));
    }
    drop(value.take(&["kubernetesVersion"]));
    let origin = Origin { layer: "--kubernetes".into(), ..Origin::default() };
    value.put(&["kubernetesVersion"], Value { content: Content::Text(version.to_owned()), origin });
}

/// Where a list or map is that has too many entries.
fn too_large(root: &Node) -> Option<Span> {
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        let count = open.len();
        match &node.value {
            kiln_yaml::Value::List(items) => open.extend(items),
            kiln_yaml::Value::Map(map) => open.extend(map.entries.iter().map(|entry| &entry.value)),
            _ => {}
        }
        if open.len() - count > MAX_ENTRIES {
            return Some(node.span);
        }
    }
    None
}

/// The minor release of `v1.19.8`.
fn release(version: &str) -> Option<u32> {
    let (minor, patch) = version.strip_prefix("v1.")?.split_once('.')?;
    patch.split(['-', '+']).next()?.parse::<u32>().ok()?;
    minor.parse().ok()
}

/// Reads a layer.
struct Reader<'l> {
    layer: &'l Layer,
    lines: Lines,
    documents: Vec<Document>,
    found: Vec<Diagnostic>,
    changes: &'l mut Vec<Change>,
}

impl Reader<'_> {
    fn read(&mut self) {
        for document in kiln_yaml::parse(&self.layer.source.text) {
            if self.found.len() >= MAX_FOUND {
                return;
            }
            match &document.root {
                Ok(root) if root.is_null() => {}
                Ok(root) => self.document(root),
                Err(fault) => self.found.push(Diagnostic::error("BadYaml", fault.span, fault.message.clone())),
            }
        }
    }

    fn document(&mut self, root: &Node) {
        if let Some(span) = too_large(root) {
            let message = format!("more than {MAX_ENTRIES} entries in one list or map");
            return self.found.push(Diagnostic::error("TooLarge", span, message));
        }
        for (key, again, before) in root.duplicates().into_iter().take(MAX_FOUND) {
            let line = self.lines.of(before.start);
            self.found.push(Diagnostic::error(
                "DuplicateKey",
                again,
                format!("`{key}` is there already, in line {line}"),
            ));
        }
        let text = |key: &str| root.at(&[key]).and_then(Node::text).unwrap_or_default();
        let (api_version, name) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or((api_version, ""));
        let known = Kind::ALL.iter().any(|kind| kind.group() == group);
        if !known {
            return self.foreign(root, group, name);
        }
        let Some(kind) = Kind::of(name).filter(|kind| kind.group() == group) else {
            let span = root.at(&["kind"]).map_or(root.span, |node| node.span);
            let names: Vec<String> = Kind::ALL.iter().map(ToString::to_string).collect();
            let diagnostic = Diagnostic::error(
                "UnknownKind",
                span,
                format!("`{name}` is no kind of {group} that configures a launch"),
            );
            return self.found.push(diagnostic.suggest(name, names.iter().map(String::as_str)));
        };
        let Some(api) = self.api(kind, root, version) else { return };
        if self.documents.iter().any(|document| document.kind == kind) {
            return self.found.push(Diagnostic::error(
                "DuplicateKind",
                root.span,
                format!("there is a {kind} already in this file"),
            ));
        }
        let Some(schema) = Schema::new(kind, api) else {
            let message = format!("there is no {kind} before v1beta4");
            return self.found.push(Diagnostic::error("UnknownKind", root.span, message));
        };
        self.check(&schema, kind, root, &mut Vec::new());
        let mut value = Value::of(root, &self.layer.name, &self.lines);
        drop((value.take(&["apiVersion"]), value.take(&["kind"])));
        self.documents.push(Document { kind, api, value, span: root.span, is_made: false });
    }

    /// A document that is not kubeadm's: a Clusterfile has some, which `kiln-clusterfile` reads.
    fn foreign(&mut self, root: &Node, group: &str, kind: &str) {
        if self.layer.is_clusterfile {
            return;
        }
        let what = if kind.is_empty() { "a document without a kind".to_owned() } else { format!("{kind} of {group}") };
        let span = root.at(&["kind"]).map_or(root.span, |node| node.span);
        if CLUSTERFILE_GROUPS.contains(&group) {
            let message = format!("{what} belongs into a Clusterfile: this file configures kubeadm only");
            return self.found.push(Diagnostic::error("UnknownKind", span, message));
        }
        let message = format!("{what} is no configuration of kubeadm, the kubelet or kube-proxy");
        self.found.push(
            Diagnostic::error("UnknownKind", span, message).hint("each document starts with apiVersion and kind"),
        );
    }

    fn api(&mut self, kind: Kind, root: &Node, version: &str) -> Option<Api> {
        let span = root.at(&["apiVersion"]).map_or(root.span, |node| node.span);
        if kind.is_open() {
            let known = kind.api_version(Api::V1beta2);
            if !known.ends_with(&format!("/{version}")) {
                self.found.push(Diagnostic::error("UnknownApi", span, format!("{kind} is {known}")));
                return None;
            }
            // These have one version, whatever kubeadm's is.
            return Some(Api::V1beta2);
        }
        if version == "v1beta1" {
            let origin = Origin { layer: self.layer.name.clone(), line: self.lines.of(span.start), changed: false };
            self.changes.push(Change::new(
                kind,
                &["apiVersion"],
                &origin,
                "v1beta1 is read as v1beta2, which has all its fields",
            ));
            return Some(Api::V1beta2);
        }
        let api = Api::ALL.into_iter().find(|api| api.name() == version);
        if api.is_none() {
            let diagnostic =
                Diagnostic::error("UnknownApi", span, format!("kubeadm.k8s.io/{version} is no API that Kiln knows"));
            let hint = "kubeadm.k8s.io/v1beta2, v1beta3 and v1beta4 are; `kubeadm config migrate` of an older release makes one of them";
            self.found.push(diagnostic.hint(hint));
        }
        api
    }

    /// Looks for fields that nobody knows, and for values of other types.
    fn check(&mut self, schema: &Schema, kind: Kind, node: &Node, path: &mut Vec<String>) {
        if self.found.len() >= MAX_FOUND {
            return;
        }
        let wanted = if path.is_empty() { Some(Type::Map) } else { schema.at(path) };
        match (&node.value, wanted) {
            (_, None | Some(Type::Any)) | (kiln_yaml::Value::Null, _) => {}
            (kiln_yaml::Value::Map(map), Some(Type::Map)) => {
                for entry in &map.entries {
                    if self.found.len() >= MAX_FOUND {
                        return;
                    }
                    if path.is_empty() && matches!(&*entry.key, "apiVersion" | "kind") {
                        continue;
                    }
                    path.push(entry.key.clone());
                    match schema.at(path) {
                        Some(_) => self.check(schema, kind, &entry.value, path),
                        None => self.unknown(schema, kind, &entry.key, entry.span, &path[..path.len() - 1]),
                    }
                    path.pop();
                }
            }
            (kiln_yaml::Value::List(items), Some(Type::List)) => {
                path.push("[]".into());
                items.iter().for_each(|item| self.check(schema, kind, item, path));
                path.pop();
            }
            (kiln_yaml::Value::Text(_), Some(Type::Text)) | (kiln_yaml::Value::Bool(_), Some(Type::Bool)) => {}
            (kiln_yaml::Value::Number(number), Some(Type::Integer)) if number.integer().is_some() => {}
            (_, Some(wanted)) => self.mistyped(node, wanted, path),
        }
    }

    fn unknown(&mut self, schema: &Schema, kind: Kind, key: &str, span: Span, parent: &[String]) {
        let names = schema.names(parent);
        let place = if parent.is_empty() {
            kind.to_string()
        } else {
            format!("{kind}.{}", parent.join(".").replace(".[]", "[]"))
        };
        let message = format!("{place} has no field `{key}`");
        let near = kiln_spec::diag::did_you_mean(key, names.iter().copied()).is_some();
        if kind.is_open() && !near {
            let hint = "it is passed on as it is: newer releases may have it";
            return self.found.push(Diagnostic::warning("UnknownField", span, message).hint(hint));
        }
        self.found.push(Diagnostic::error("UnknownField", span, message).suggest(key, names));
    }

    fn mistyped(&mut self, node: &Node, wanted: Type, path: &[String]) {
        let what = match wanted {
            Type::Text => "a string",
            Type::Integer => "an integer",
            Type::Bool => "true or false",
            Type::List => "a list",
            Type::Map | Type::Any => "a map",
        };
        let name = path.join(".").replace(".[]", "[]");
        let diagnostic =
            Diagnostic::error("WrongType", node.span, format!("`{name}` is {what}; this is {}", node.kind()));
        let quotable =
            wanted == Type::Text && matches!(node.value, kiln_yaml::Value::Number(_) | kiln_yaml::Value::Bool(_));
        self.found.push(if quotable { diagnostic.hint("put it in quotes") } else { diagnostic });
    }
}
