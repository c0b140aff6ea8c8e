//! An order of Google Cloud.

use std::path::PathBuf;

use kiln_clouds::Environment;
use kiln_disk::DiskError;
use kiln_gce::{Credentials, Endpoints, GceError, Publish, Source};
use serde_json::json;

use super::{Args, Published, To, Work, foreign, interrupted, limit, needed, tell};
use crate::cmd::node::account::{GOOGLE, pairs};
use crate::error::CliError;

/// What only Google Cloud has.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The project of the image
    #[arg(long, value_name = "PROJECT", help_heading = "Google Cloud")]
    project: Option<String>,
    /// Where the image is kept: a region, or us, eu, asia
    #[arg(long, value_name = "LOCATION", help_heading = "Google Cloud")]
    location: Option<String>,
    /// What the image can do, as UEFI_COMPATIBLE (repeat)
    #[arg(long, value_name = "FEATURE", help_heading = "Google Cloud")]
    guest_os_feature: Vec<String>,
    /// A licence that is paid for (repeat)
    #[arg(long, value_name = "URL", help_heading = "Google Cloud")]
    license: Vec<String>,
    /// The key file of who asks; without it, what Google's own tools would find
    #[arg(long, value_name = "FILE", help_heading = "Google Cloud")]
    credentials_file: Option<PathBuf>,
    /// Ask as this service account
    #[arg(long, value_name = "ACCOUNT", help_heading = "Google Cloud")]
    impersonate: Option<String>,
    /// Another universe than googleapis.com
    #[arg(long, value_name = "DOMAIN", help_heading = "Google Cloud")]
    universe: Option<String>,
    /// Another address of a service: compute=…, storage=… (repeat)
    #[arg(long, value_name = "SERVICE=URL", help_heading = "Google Cloud")]
    custom_endpoint: Vec<String>,
}

impl Options {
    /// Which of them were given.
    pub fn given(&self) -> [(&'static str, bool); 8] {
        [
            ("--project", self.project.is_some()),
            ("--location", self.location.is_some()),
            ("--guest-os-feature", !self.guest_os_feature.is_empty()),
            ("--license", !self.license.is_empty()),
            ("--credentials-file", self.credentials_file.is_some()),
            ("--impersonate", self.impersonate.is_some()),
            ("--universe", self.universe.is_some()),
            ("--custom-endpoint", !self.custom_endpoint.is_empty()),
        ]
    }
}

/// What the command line orders.
pub fn work(args: &Args, disk: PathBuf) -> Result<Work, CliError> {
    foreign(To::Googlecompute, &args.alibaba.given())?;
    let options = &args.google;
    let project = needed("--project", "googlecompute", &options.project)?;
    let endpoints: Vec<(String, String)> = pairs("--custom-endpoint", &options.custom_endpoint)?.into_iter().collect();
    let universe = options.universe.as_deref().unwrap_or(kiln_gce::endpoints::UNIVERSE);
    let mut order = Publish::new(disk, project, &args.bucket, &args.name);
    order.endpoints = Endpoints::new(universe, &endpoints).map_err(|error| told(&error))?;
    order.credentials = Credentials {
        source: options.credentials_file.clone().map_or(Source::Default, Source::File),
        impersonate: options.impersonate.clone(),
    };
    order.environment = Environment::of_process();
    order.format = args.format;
    order.object = args.object.clone();
    order.keep_object = args.keep_object;
    order.family = args.family.clone();
    order.description = args.description.clone();
    order.labels = pairs("--label", &args.label)?;
    order.guest_os_features = options.guest_os_feature.clone();
    order.storage_locations = options.location.iter().cloned().collect();
    order.licenses = options.license.clone();
    order.architecture = args.architecture.as_ref().map(|name| name.to_uppercase());
    order.kms_key = args.kms_key.clone();
    order.share_with = args.share_with.clone();
    order.force = args.force;
    order.limit = limit(args);
    order.threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Work {
        cloud: GOOGLE,
        account: kiln_gce::sweep::remembered(project, &order.credentials, &order.endpoints),
        publish: Box::new(move |book, cancelled| {
            let made = kiln_gce::publish::publish(&order, book, cancelled, &tell).map_err(|error| told(&error))?;
            let json = json!({
                "cloud": GOOGLE,
                "image": made.image,
                "project": made.project,
                "id": made.id,
                "self_link": made.self_link,
                "size_gb": made.size,
                "object": made.object,
            });
            Ok(Published { lines: vec![format!("projects/{}/global/images/{}", made.project, made.image)], json })
        }),
    })
}

fn told(error: &GceError) -> CliError {
    let text = error.to_string();
    let told = match error {
        GceError::Cancelled => return interrupted(&text),
        GceError::Disk { source: DiskError::Write { .. }, .. } => CliError::environment(text),
        GceError::Input { .. } | GceError::Disk { .. } => CliError::input(text),
        _ => CliError::environment(text),
    };
    told.with_any_hint(error.hint())
}
