//! `kiln node export`: what those who boot an image need to be told about it.

use std::path::PathBuf;

use kiln_node::export::{CONSUMERS, record};
use kiln_spec::diag::did_you_mean;

use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Who needs it: kube-up, terraform, cluster-api, kubeadm
    #[arg(long = "for", value_name = "CONSUMER")]
    consumer: String,
    /// Which build of the manifest; without one, the only one of the last run
    #[arg(long, value_name = "NAME")]
    build: Option<String>,
    /// What the manifest does not say: project_id, os_distribution, region, url, kubernetes_version, … (repeat)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The file that the post-processor `manifest` wrote, or a directory with it or with a disk
    #[arg(value_name = "MANIFEST|DIR", default_value = "packer-manifest.json")]
    manifest: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  eval \"$(kiln node export --for kube-up --set project_id=mine --set os_distribution=ubuntu)\"
  kiln node export --for terraform >image.auto.tfvars
  kiln node export --for cluster-api --set url=http://images/node.qcow2 output-node
  kiln node export --for kubeadm --set kubernetes_version=1.31.2 >join.yaml

What is not set is taken from `custom_data` of the manifest.";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let Some((_, _, write)) = CONSUMERS.iter().find(|(name, _, _)| *name == args.consumer) else {
        let names = || CONSUMERS.iter().map(|(name, _, _)| *name);
        let error = CliError::usage(format!("--for {}: there is no such consumer", args.consumer));
        return Err(match did_you_mean(&args.consumer, names()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("there are {}", names().collect::<Vec<_>>().join(", "))),
        });
    };
    let told = |e: kiln_node::export::ExportError| CliError::input(e.to_string()).with_any_hint(e.hint());
    let mut record = record::read(&args.manifest, args.build.as_deref()).map_err(told)?;
    for text in &args.set {
        let Some((key, value)) = text.split_once('=') else {
            return Err(CliError::usage(format!("--set {text}: expected KEY=VALUE")));
        };
        record.data.insert(key.to_owned(), value.to_owned());
    }
    crate::named::print(&write(&record, args.json).map_err(told)?)
}
