//! `kiln cluster inspect`: what is in a cluster image.

use kiln_cluster::inventory::Inventory;
use kiln_engine::stored;
use kiln_oci::cluster::Launch;
use serde_json::{Value, json};

use super::images::json_of;
use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::table;

/// Show what is in a cluster image.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster inspect my-cluster:v1              type, versions, commands at launch, charts, sizes
  kiln cluster inspect my-cluster:v1 --json | jq .launch
  kiln ls my-cluster:v1 /manifests                files of its root file system";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let store = named::store(global)?;
    let inventory = Inventory::read(&store, &stored::find(&store, &args.image)?)?;
    match args.json {
        true => named::print_json(&json_value(&inventory)),
        false => named::print(&text(&inventory)),
    }
}

fn json_value(inventory: &Inventory) -> Value {
    let spec = &inventory.spec;
    let rootfs = inventory.rootfs.iter().map(|(descriptor, manifest)| {
        json!({
            "platform": descriptor.platform.as_ref().map(ToString::to_string),
            "digest": descriptor.digest,
            "layers": manifest.layers,
        })
    });
    json!({
        "name": inventory.title,
        "digest": inventory.root.digest,
        "type": spec.kind,
        "dialect": spec.dialect,
        "kubernetes": spec.kubernetes,
        "attested": inventory.attached.len(),
        "launch": spec.launch,
        "inherited": spec.inherited,
        "args": spec.args,
        "apps": spec.apps,
        "annotations": inventory.annotations,
        "rootfs": rootfs.collect::<Vec<_>>(),
        "images": inventory.images.iter().map(|image| json_of(image, inventory)).collect::<Vec<_>>(),
        "charts": inventory.report.charts,
        "possible": inventory.report.possible,
        "size": inventory.size(),
        "rootfsSize": inventory.rootfs_size(),
    })
}

fn text(inventory: &Inventory) -> String {
    let spec = &inventory.spec;
    let mut out = format!("{}\n  digest      {}\n", inventory.title, inventory.root.digest);
    out += &format!("  type        {} ({})\n", spec.kind.name(), spec.dialect);
    if let Some(version) = &spec.kubernetes {
        out += &format!("  kubernetes  {version}\n");
    }
    let platforms: Vec<String> =
        inventory.rootfs.iter().filter_map(|(d, _)| d.platform.as_ref()).map(ToString::to_string).collect();
    out += &format!("  platforms   {}\n", platforms.join(", "));
    let images: u64 = inventory.size().saturating_sub(inventory.rootfs_size());
    out += &format!(
        "  size        {}: root file system {}, {} images {}\n",
        table::size(inventory.size()),
        table::size(inventory.rootfs_size()),
        inventory.images.len(),
        table::size(images),
    );
    for chart in &inventory.report.charts {
        let version = chart.version.as_deref().unwrap_or("without a version");
        let app = chart.app_version.as_ref().map(|v| format!(", installs {v}")).unwrap_or_default();
        out += &format!("  chart       {} {version}{app} ({})\n", chart.name, chart.path);
    }
    for app in &spec.apps {
        out += &format!("  {:<11} {} in {}\n", app.role, app.name, app.path);
    }
    for (name, value) in &spec.args {
        out += &format!("  arg         {name}={value}\n");
    }
    for (number, launch) in spec.launch.iter().enumerate() {
        let from = if number < spec.inherited { " (of its base)" } else { "" };
        let what = match launch {
            Launch::Run(command) => command.clone(),
            Launch::App(name) => format!("the application {name}"),
        };
        out += &format!("  launch      {what}{from}\n");
    }
    out
}
