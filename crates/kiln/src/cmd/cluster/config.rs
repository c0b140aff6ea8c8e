//! `kiln cluster config`: what kubeadm is told, and by whom.

use std::path::{Path, PathBuf};

use kiln_clusterfile::model::{Action, Config};
use kiln_clusterfile::{Cluster, Flags, config};
use kiln_kubeadm::{Content, Layer, Resolved, Value, render, resolve};
use kiln_spec::diag;
use kiln_spec::source::Source;
use serde_json::json;

use super::clusterfile;
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;

const EXAMPLES: &str = "\
Examples:
  kiln cluster config                                     the default, of Kubernetes v1.19.8
  kiln cluster config -f Clusterfile --kubernetes v1.31.0 for another release, with what is changed
  kiln cluster config -f Clusterfile --image-config etc/kubeadm.yml --explain
                                                          each value with the file and line that says it";

/// Show the configuration of a launch: Clusterfile over the image's over the default.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The Clusterfile (sealer's or sealos's), `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration that the cluster image has; Configs of the Clusterfile about etc/kubeadm.yml change it
    #[arg(long, value_name = "FILE")]
    image_config: Option<PathBuf>,
    /// The version of Kubernetes, such as v1.31.0, in place of the one that the files say
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<String>,
    /// Show which file and line says each value
    #[arg(long)]
    explain: bool,
    /// Print JSON: version, documents, changes
    #[arg(long, conflicts_with = "explain")]
    json: bool,
}

/// Where the image has its configuration, in the rootfs.
const IN_IMAGE: &str = "etc/kubeadm.yml";

/// Runs the verb.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let cluster = match &args.file {
        Some(path) => clusterfile::cluster(Some(&clusterfile::text(path)?), &Flags::default())?,
        None => clusterfile::cluster(None, &Flags::default())?,
    };
    let mut layers = cluster.kubeadm.clone();
    layers.extend(image(&cluster, args.image_config.as_deref())?);
    if args.explain {
        explain(&cluster);
    }
    let resolved = match resolve(&layers, args.kubernetes.as_deref()) {
        Ok(resolved) => resolved,
        Err(found) => {
            show(&layers, &found);
            return Err(CliError::Found);
        }
    };
    show(&layers, &resolved.warnings);
    if args.json {
        return named::print_json(&json_value(&resolved));
    }
    for change in &resolved.changes {
        let origin = &change.origin;
        eprintln!("changed: {}", error::printable(&format!("{} ({origin}): {}", change.path, change.what)));
    }
    named::print(&render::yaml(&resolved, args.explain))
}

/// The image's configuration, with what Configs of the Clusterfile make of it.
fn image(cluster: &Cluster, path: Option<&Path>) -> Result<Option<Layer>, CliError> {
    let configs: Vec<&Config> = cluster.configs.iter().filter(|config| config.path.value == IN_IMAGE).collect();
    let Some(path) = path else {
        for config in configs {
            let place = format!("{}: the Config `{}`", config.path.origin, config.name.value);
            eprintln!("note: {} is about {IN_IMAGE}: see it with --image-config", error::printable(&place));
        }
        return Ok(None);
    };
    let Source { name, text } = clusterfile::text(path)?;
    let mut bytes = text.into_bytes();
    let mut by = Vec::new();
    for config in configs {
        bytes = config::apply(config, Some(&bytes)).map_err(|error| CliError::input(error.to_string()))?;
        by.push(config.path.origin.to_string());
    }
    let name = if by.is_empty() { name } else { format!("{name} with {}", by.join(" and ")) };
    let text = String::from_utf8(bytes).map_err(|_| CliError::input(format!("{name}: this is not UTF-8")))?;
    Ok(Some(Layer::file(name, text)))
}

/// What else the Clusterfile says, and where.
fn explain(cluster: &Cluster) {
    let say = |text: String| eprintln!("read: {}", error::printable(&text));
    say(format!("the cluster `{}` with {} hosts ({})", cluster.name.value, cluster.hosts.len(), cluster.name.origin));
    for config in &cluster.configs {
        let (strategy, path) = (&config.strategy.value, &config.path.value);
        say(format!("the Config `{}`: {strategy} {path} ({})", config.name.value, config.path.origin));
    }
    for plugin in &cluster.plugins {
        let phases: Vec<String> = plugin.phases.iter().map(|phase| format!("{:?}", phase.value)).collect();
        let name = &plugin.name.value;
        say(format!("the Plugin `{name}`: {} at {} ({})", action(&plugin.action), phases.join(" and "), plugin.origin));
    }
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Shell(_) => "a script",
        Action::Hostname(_) => "names of hosts",
        Action::Label(_) => "labels",
        Action::Taint(_) => "taints",
        Action::EtcdBackup(_) => "a snapshot of etcd",
        Action::ClusterCheck => "a check of the cluster",
    }
}

fn show(layers: &[Layer], found: &[(usize, diag::Diagnostic)]) {
    for (i, diagnostic) in found {
        match layers.get(*i) {
            Some(layer) => eprint!("{}", diag::render(diagnostic, &layer.shown(), error::in_color())),
            None => {
                let word = if diagnostic.is_error() { "error" } else { "warning" };
                eprintln!("{word}: {}", error::printable(&diagnostic.message));
                if let Some(hint) = &diagnostic.hint {
                    eprintln!("hint: {}", error::printable(hint));
                }
            }
        }
    }
}

fn json_value(resolved: &Resolved) -> serde_json::Value {
    let documents = resolved.documents.iter().map(|(kind, value)| {
        let mut document = json!({ "apiVersion": kind.api_version(resolved.api), "kind": kind.to_string() });
        if let (Some(into), serde_json::Value::Object(from)) = (document.as_object_mut(), plain(value)) {
            into.extend(from);
        }
        document
    });
    let changes = resolved.changes.iter().map(|change| {
        json!({ "path": change.path, "layer": change.origin.layer, "line": change.origin.line, "what": change.what })
    });
    json!({
        "version": resolved.version,
        "documents": documents.collect::<Vec<_>>(),
        "changes": changes.collect::<Vec<_>>(),
    })
}

fn plain(value: &Value) -> serde_json::Value {
    match &value.content {
        Content::Null => serde_json::Value::Null,
        Content::Bool(value) => (*value).into(),
        Content::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Content::Text(text) => text.clone().into(),
        Content::List(items) => items.iter().map(plain).collect(),
        Content::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
    }
}
