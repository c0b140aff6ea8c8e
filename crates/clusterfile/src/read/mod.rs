//! A Clusterfile and the command line → a [`Cluster`].
//!
//! ```text
//! documents ─▶ mask (what may be quoted) ─▶ sealer | sealos | config | plugin ─▶ flags over them ─▶ check ─▶ Cluster
//! ```
//!
//! Documents of kubeadm, the kubelet and kube-proxy are passed on in [`Cluster::kubeadm`]; all others that no reader
//! here knows are mistakes. Fields that a dialect has and Kiln does not support are errors that name them.

mod config;
mod cursor;
mod host;
mod plugin;
mod sealer;
mod sealos;

use kiln_kubeadm::{Kind, Layer};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};
use kiln_yaml::Node;

use crate::flags::{self, Flags};
use crate::model::{Cluster, Env, Network, Origin, Registry, Said, Ssh};
use crate::{check, kubeadm};
use cursor::{At, Cursor, Fields, MAX_FOUND, printable};

pub(crate) use cursor::address;
pub(crate) use host::host_name;

/// Bytes of a Clusterfile.
pub const MAX_BYTES: usize = 4 << 20;

/// The name of a cluster where nobody says one: sealer's.
pub const DEFAULT_NAME: &str = "my-cluster";

/// API groups of sealer, in the order of its releases, the newest last.
const SEALER: [&str; 4] = ["zlink.aliyun.com", "sealer.aliyun.com", "sealer.cloud", "sealer.io"];
const SEALOS: &str = "apps.sealos.io";

const ROOT: Fields = Fields { names: &["apiVersion", "kind", "metadata", "spec", "status"], old: &[], refused: &[] };

/// A mistake, and the text that it is in.
#[derive(Debug, Clone)]
pub struct Found {
    /// The file without its passwords, or what an option of the command line was given.
    pub source: Source,
    /// What is wrong.
    pub diagnostic: Diagnostic,
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// The cluster; None, if there are errors.
    pub cluster: Option<Cluster>,
    /// Errors and warnings.
    pub found: Vec<Found>,
}

/// Reads a Clusterfile, if there is one, and the command line over it.
pub fn read(file: Option<&Source>, flags: &Flags) -> Read {
    let mut cluster = empty();
    let (mut found, mut common) = (Vec::new(), Ssh::default());
    let mut shown = Source { name: "command line".into(), text: String::new() };
    if let Some(file) = file {
        let (source, diagnostics, ssh) = documents(file, &mut cluster);
        common = ssh;
        found.extend(diagnostics.into_iter().map(|diagnostic| Found { source: source.clone(), diagnostic }));
        shown = source;
    }
    let in_order = !found.iter().any(|found: &Found| found.diagnostic.is_error());
    found.extend(flags::apply(flags, &mut cluster, common));
    if in_order {
        check::names_of_plugins(&mut cluster);
        found.extend(check::check(&cluster).into_iter().map(|(origin, diagnostic)| match origin {
            Origin::File { .. } => Found { source: shown.clone(), diagnostic },
            other => Found { source: Source { name: other.to_string(), text: String::new() }, diagnostic },
        }));
    }
    let failed = found.iter().any(|found| found.diagnostic.is_error());
    Read { cluster: (!failed).then_some(cluster), found }
}

/// A cluster of which nothing is said.
fn empty() -> Cluster {
    Cluster {
        name: Said::default_of(DEFAULT_NAME.to_owned()),
        image: None,
        more_images: Vec::new(),
        apps: Vec::new(),
        command: Vec::new(),
        args: Vec::new(),
        hosts: Vec::new(),
        env: Env::default(),
        registry: Registry::default(),
        network: Network::default(),
        runtime: None,
        cert_sans: Vec::new(),
        host_aliases: Vec::new(),
        data_root: None,
        configs: Vec::new(),
        plugins: Vec::new(),
        kubeadm: Vec::new(),
        notes: Vec::new(),
    }
}

/// Where a value of a file is; the start for others.
pub(crate) fn span_of(origin: &Origin) -> Span {
    match origin {
        Origin::File { span, .. } => *span,
        Origin::Flag(_) | Origin::Default => Span::default(),
    }
}

/// Reads all documents; the result is what may be shown of the file, what is wrong, and how to log in to all hosts.
fn documents(file: &Source, cluster: &mut Cluster) -> (Source, Vec<Diagnostic>, Ssh) {
    if file.text.len() > MAX_BYTES {
        let source = Source { name: file.name.clone(), text: String::new() };
        let message = format!("a Clusterfile has at most {} MiB", MAX_BYTES >> 20);
        return (source, vec![Diagnostic::error("TooLarge", Span::default(), message)], Ssh::default());
    }
    let documents = kiln_yaml::parse(&file.text);
    let mut reader = Reader { cursor: Cursor::new(file), text: &file.text, first: None, ssh: Ssh::default() };
    let mut layer = false;
    for document in &documents {
        if reader.cursor.found.len() >= MAX_FOUND {
            break;
        }
        match &document.root {
            Ok(root) if root.is_null() => {}
            Ok(root) => layer |= reader.document(root, cluster),
            Err(fault) => reader.cursor.error("BadYaml", fault.span, fault.message.clone()),
        }
    }
    if layer {
        let roots = || documents.iter().filter_map(|document| document.root.as_ref().ok());
        kubeadm::overridden(cluster, roots()).into_iter().for_each(|diagnostic| reader.cursor.push(diagnostic));
        let sans = kubeadm::sans(cluster, roots(), &file.name, &file.text);
        cluster.kubeadm.extend(sans);
        cluster.kubeadm.push(Layer::clusterfile(file.name.clone(), file.text.clone()));
    }
    let spec = kubeadm::of_spec(cluster);
    cluster.kubeadm.extend(spec);
    cluster.notes = std::mem::take(&mut reader.cursor.notes);
    (kiln_kubeadm::mask::masked(file, &documents), reader.cursor.found, reader.ssh)
}

struct Reader<'t> {
    cursor: Cursor,
    text: &'t str,
    /// Where the Cluster is.
    first: Option<Span>,
    ssh: Ssh,
}

impl Reader<'_> {
    /// Reads one document; whether it is one for kubeadm's reader.
    fn document(&mut self, root: &Node, cluster: &mut Cluster) -> bool {
        let text = |key: &str| root.at(&[key]).and_then(Node::text).unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let group = version.split_once('/').map_or(version, |(group, _)| group);
        if Kind::ALL.iter().any(|known| known.group() == group) {
            return true;
        }
        for (key, again, before) in root.duplicates().into_iter().take(MAX_FOUND) {
            let line = self.cursor.line(before);
            let message = format!("`{}` is there already, in line {line}", printable(key));
            self.cursor.error("DuplicateKey", again, message);
        }
        let is_sealos = group == SEALOS;
        if !is_sealos && !SEALER.contains(&group) {
            self.unknown(root, version, kind);
            return false;
        }
        let at = |key: &str| root.at(&[key]).map_or(root.span, |node| node.span);
        if !is_sealos && group != "sealer.io" {
            self.cursor.note(at("apiVersion"), format!("`{}` is read as sealer.io", printable(version)));
        }
        match kind {
            "Cluster" => self.cluster(root, is_sealos, cluster),
            "Config" => {
                if let Some((at, name)) = self.root(root, "config") {
                    cluster.configs.extend(config::config(&mut self.cursor, &at, name));
                }
            }
            "Plugin" if !is_sealos => {
                if let Some((at, name)) = self.root(root, "plugin") {
                    cluster.plugins.extend(plugin::plugin(&mut self.cursor, &at, name, self.text));
                }
            }
            "Application" | "KubeadmConfig" => {
                let message = format!("Kiln does not support documents of kind {kind}");
                let hint = match kind {
                    "Application" => "say what to run in `spec.cmd`, and which applications in `spec.appNames`",
                    _ => "write the documents of kubeadm themselves, each with its apiVersion and kind",
                };
                self.cursor.push(Diagnostic::error("Unsupported", at("kind"), message).hint(hint));
            }
            _ => self.unknown(root, version, kind),
        }
        false
    }

    fn unknown(&mut self, root: &Node, version: &str, kind: &str) {
        let span = root.at(&["kind"]).or_else(|| root.at(&["apiVersion"])).map_or(root.span, |node| node.span);
        let what = match (kind, version) {
            ("", _) => "a document without a kind".to_owned(),
            (kind, "") => format!("a {} without an apiVersion", printable(kind)),
            (kind, version) => format!("{} of {}", printable(kind), printable(version)),
        };
        let kinds = ["Cluster", "Config", "Plugin"];
        let diagnostic = Diagnostic::error("UnknownKind", span, format!("{what} is nothing that a Clusterfile has"));
        self.cursor.push(if kind.is_empty() || version.is_empty() || kinds.contains(&kind) {
            diagnostic.hint("a document starts with `apiVersion: sealer.io/v2` and `kind: Cluster`")
        } else {
            diagnostic.suggest(kind, kinds)
        });
    }

    /// The fields of a document, and its name.
    fn root<'n>(&mut self, root: &'n Node, default: &str) -> Option<(At<'n>, Said<String>)> {
        let at = self.cursor.map(root, "", &ROOT)?;
        let name = match at.get("metadata") {
            None => None,
            Some(node) if node.map().is_none() => {
                self.cursor.mistyped(node, "metadata", "a map");
                None
            }
            // What else Kubernetes has in `metadata` means nothing here, and tools write it.
            Some(node) => node.at(&["name"]).filter(|name| !name.is_null()),
        };
        let name = name.and_then(|name| self.cursor.word(name, "metadata.name"));
        Some((at, name.unwrap_or_else(|| Said::default_of(default.to_owned()))))
    }

    fn cluster(&mut self, root: &Node, is_sealos: bool, cluster: &mut Cluster) {
        if let Some(before) = self.first {
            let message = format!("a second Cluster: there is one in line {}", self.cursor.line(before));
            return self.cursor.error("TwoClusters", root.span, message);
        }
        self.first = Some(root.span);
        let Some((at, name)) = self.root(root, DEFAULT_NAME) else { return };
        if name.origin != Origin::Default {
            let checked = self.cursor.read(name, "BadName", host_name);
            cluster.name = checked.unwrap_or_else(|| Said::default_of(DEFAULT_NAME.to_owned()));
        }
        self.ssh = match is_sealos {
            true => sealos::spec(&mut self.cursor, &at, cluster),
            false => sealer::spec(&mut self.cursor, &at, cluster),
        };
    }
}
