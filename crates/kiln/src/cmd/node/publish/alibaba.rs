//! An order of Alibaba Cloud.

use std::path::Path;

use kiln_alicloud::credentials::Asked;
use kiln_alicloud::publish::{self, Publish};
use kiln_alicloud::{Account, AlicloudError, Client};
use kiln_clouds::{Config, Environment};
use kiln_disk::image::Format;
use serde_json::json;

use super::{Args, Published, To, Work, foreign, interrupted, limit, source, tell};
use crate::cmd::node::account::{ALIBABA, pairs};
use crate::error::CliError;

/// What ECS imports as it is.
const TAKES: [Format; 3] = [Format::Raw, Format::Qcow2, Format::VhdFixed];

/// What only Alibaba Cloud has.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The region of the bucket and of the image; without one ALICLOUD_REGION, else that of the profile
    #[arg(long, value_name = "REGION", help_heading = "Alibaba Cloud")]
    region: Option<String>,
    /// Copy the image to this region too (repeat)
    #[arg(long, value_name = "REGION", help_heading = "Alibaba Cloud")]
    copy_to: Vec<String>,
    /// Encrypt the copies, with the service's own key unless --kms-key names one
    #[arg(long, help_heading = "Alibaba Cloud")]
    encrypt: bool,
    /// The distribution: Debian, Ubuntu, CentOS, Aliyun, …
    #[arg(long, value_name = "NAME", help_heading = "Alibaba Cloud")]
    platform: Option<String>,
    /// How it boots: BIOS, UEFI
    #[arg(long, value_name = "MODE", help_heading = "Alibaba Cloud")]
    boot_mode: Option<String>,
    /// Make the RAM role that lets ECS read the bucket, if it is missing
    #[arg(long, help_heading = "Alibaba Cloud")]
    make_role: bool,
    /// A profile of the file of credentials
    #[arg(long, value_name = "NAME", help_heading = "Alibaba Cloud")]
    profile: Option<String>,
    /// Another address of ECS
    #[arg(long, value_name = "ADDRESS", help_heading = "Alibaba Cloud")]
    endpoint: Option<String>,
}

impl Options {
    /// Which of them were given.
    pub fn given(&self) -> [(&'static str, bool); 8] {
        [
            ("--region", self.region.is_some()),
            ("--copy-to", !self.copy_to.is_empty()),
            ("--encrypt", self.encrypt),
            ("--platform", self.platform.is_some()),
            ("--boot-mode", self.boot_mode.is_some()),
            ("--make-role", self.make_role),
            ("--profile", self.profile.is_some()),
            ("--endpoint", self.endpoint.is_some()),
        ]
    }
}

/// What the command line orders.
pub fn work(args: &Args, disk: &Path) -> Result<Work, CliError> {
    foreign(To::Alicloud, &args.google.given())?;
    let options = &args.alibaba;
    let encrypted = options.encrypt || args.kms_key.is_some();
    if encrypted && options.copy_to.is_empty() {
        let hint = "ECS imports disks as they are: copies to other regions can be encrypted, with --copy-to REGION";
        return Err(CliError::usage("--encrypt and --kms-key need a copy").with_hint(hint));
    }
    let format = source::format(disk, args.format)?;
    let keys = Asked { profile: options.profile.clone(), ..Asked::default() };
    let account = Account { region: options.region.clone(), endpoint: options.endpoint.clone(), keys };
    let environment = Environment::of_process();
    let mut order = Publish {
        account: account.clone(),
        environment: environment.clone(),
        disk: disk.to_owned(),
        format: publish::Format::by_name(format.name()),
        bucket: args.bucket.clone(),
        object: args.object.clone(),
        name: args.name.clone(),
        description: args.description.clone(),
        family: args.family.clone(),
        architecture: args.architecture.clone().unwrap_or_else(|| "x86_64".to_owned()),
        platform: options.platform.clone().unwrap_or_else(|| "Others Linux".to_owned()),
        boot_mode: options.boot_mode.clone(),
        tags: pairs("--label", &args.label)?.into_iter().collect(),
        share: args.share_with.clone(),
        regions: options.copy_to.clone(),
        encrypted,
        kms_key: args.kms_key.clone(),
        limit: limit(args),
        force: args.force,
        keep_object: args.keep_object,
        make_role: options.make_role,
        part: 0,
    };
    // A profile may say the region.
    let config = Config { environment, ..Config::default() };
    let region = Client::new(&account, config).map_err(|error| told(&error))?.region().to_owned();
    Ok(Work {
        cloud: ALIBABA,
        account: account.about(&region),
        publish: Box::new(move |book, cancelled| {
            let scratch = match TAKES.contains(&format) {
                true => None,
                false => Some(source::converted(&order.disk, format, cancelled)?),
            };
            if let Some(scratch) = &scratch {
                (order.disk, order.format) = (scratch.to_path_buf(), Some(publish::Format::Qcow2));
            }
            let made = publish::publish(&order, book, cancelled, &tell).map_err(|error| told(&error))?;
            let images: Vec<_> = made.images.iter().map(|(region, id)| json!({ "region": region, "id": id })).collect();
            let json = json!({ "cloud": ALIBABA, "name": order.name, "images": images, "object": made.object });
            Ok(Published { lines: made.images.iter().map(|(region, id)| format!("{region}: {id}")).collect(), json })
        }),
    })
}

fn told(error: &AlicloudError) -> CliError {
    let text = error.to_string();
    let told = match error {
        AlicloudError::Cancelled => return interrupted(&text),
        AlicloudError::Setting { .. } | AlicloudError::File { .. } => CliError::input(text),
        _ => CliError::environment(text),
    };
    told.with_any_hint(error.hint())
}
