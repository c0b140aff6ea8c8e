//! `kiln cluster config`: what kubeadm is told, and by whom.

use std::path::{Path, PathBuf};

use kiln_kubeadm::{Content, Layer, Resolved, Value, render, resolve};
use kiln_spec::diag;
use serde_json::json;

use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;

const EXAMPLES: &str = "\
Examples:
  kiln cluster config                                     the default, of Kubernetes v1.19.8
  kiln cluster config -f Clusterfile --kubernetes v1.31.0 for another release, with what is changed
  kiln cluster config -f Clusterfile --image-config etc/kubeadm.yml --explain
                                                          each value with the file and line that says it";

/// Bytes of a file.
const MAX_BYTES: u64 = 16 << 20;

/// Show the configuration of a launch: Clusterfile over the image's over the default.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The Clusterfile: its documents of kubeadm, the kubelet and kube-proxy count here, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration that the cluster image has
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

/// Runs the verb.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let mut layers = Vec::new();
    for (path, is_clusterfile) in [(&args.file, true), (&args.image_config, false)] {
        if let Some(path) = path {
            layers.push(layer(path, is_clusterfile)?);
        }
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

fn layer(path: &Path, is_clusterfile: bool) -> Result<Layer, CliError> {
    use std::io::Read as _;
    let name = path.display().to_string();
    let wrong = |why: String| CliError::input(format!("cannot read {name}: {why}"));
    let mut bytes = Vec::new();
    let input: Box<dyn std::io::Read> = match name.as_str() {
        "-" => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?),
    };
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("more than {} MiB", MAX_BYTES >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("this is not UTF-8".to_owned()))?;
    Ok(if is_clusterfile { Layer::clusterfile(name, text) } else { Layer::file(name, text) })
}

fn show(layers: &[Layer], found: &[(usize, diag::Diagnostic)]) {
    for (i, diagnostic) in found {
        match layers.get(*i) {
            Some(layer) => eprint!("{}", diag::render(diagnostic, &layer.source, error::in_color())),
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
