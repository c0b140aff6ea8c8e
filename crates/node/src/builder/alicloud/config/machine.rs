//! The machine, and what it is in.

use std::path::PathBuf;

use kiln_alicloud::address;
use kiln_alicloud::ecs::instance::Disk;
use kiln_packer::config::Config;
use kiln_packer::fields::Fields;

use super::image::tags;
use super::{flag, one_of, text};
use crate::error::{NodeError, Result};

/// What cloud-init gets is 16 KiB in base64 at the most.
const USER_DATA: u64 = 16 << 10;
/// Disks at the most.
const DISKS: usize = 16;

/// What the machine starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This image.
    Image(String),
    /// The newest of this family.
    Family(String),
}

/// The machine.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// What it starts from.
    pub source: Source,
    /// Its type.
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// The role that it has itself.
    pub role: Option<String>,
    /// `optimized`, `none`.
    pub io: Option<String>,
    /// `Active`, `Deactive`.
    pub enhancement: Option<String>,
    /// What cloud-init gets.
    pub user_data: Option<String>,
    /// Its first disk.
    pub system: Disk,
    /// Its other disks.
    pub disks: Vec<Disk>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// It is ended by its power.
    pub force_stop: bool,
    /// The template ends it itself.
    pub ends_itself: bool,
}

/// What the machine is in.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The zone, if it is said.
    pub zone: Option<String>,
    /// A network that is there.
    pub vpc: Option<String>,
    /// The name of the one that is made.
    pub vpc_name: Option<String>,
    /// Its addresses.
    pub block: String,
    /// A part of a network that is there.
    pub vswitch: Option<String>,
    /// The name of the one that is made.
    pub vswitch_name: Option<String>,
    /// A security group that is there.
    pub group: Option<String>,
    /// The name of the one that is made.
    pub group_name: Option<String>,
    /// Whom the one that is made lets in.
    pub admitted: Vec<String>,
    /// An elastic address that is there.
    pub eip: Option<String>,
    /// It is reached by its address within its network.
    pub private: bool,
    /// `PayByTraffic`, `PayByBandwidth`.
    pub charge: String,
    /// In Mbit/s.
    pub bandwidth: u64,
    /// `associate_public_ip_address`, which only has a meaning where there are classic networks.
    pub associate: Option<bool>,
}

pub(super) fn machine(f: &Fields<'_>) -> Result<MachineConfig> {
    let source = match (text(f, "source_image")?, text(f, "image_family")?) {
        (Some(_), Some(_)) => {
            let message = "please specify either a source_image or an image_family";
            return Err(f.fault("image_family", "TwoSources", message).into());
        }
        (Some(image), None) => Source::Image(image),
        (None, Some(family)) => Source::Family(family),
        (None, None) => return Err(f.missing("source_image").hint("the image to start from; or image_family").into()),
    };
    if let Source::Image(image) = &source
        && image.contains(char::is_whitespace)
    {
        return Err(f.fault("source_image", "BadName", "the id of an image has no spaces").into());
    }
    let io = match f.has("io_optimized") {
        true => f.bool("io_optimized")?.map(|yes| if yes { "optimized" } else { "none" }.to_owned()),
        false => None,
    };
    let ends_itself = flag(f, "disable_stop_instance")?;
    Ok(MachineConfig {
        source,
        kind: f.required("instance_type")?,
        name: text(f, "instance_name")?,
        description: text(f, "description")?,
        role: text(f, "ecs_ram_role_name")?,
        io,
        enhancement: one_of(f, "security_enhancement_strategy", &["Active", "Deactive"])?,
        user_data: user_data(f)?,
        system: match f.object("system_disk_mapping")? {
            Some(config) => disk(&config)?,
            None => Disk::default(),
        },
        disks: disks(f)?,
        tags: tags(f, "run_tags")?,
        force_stop: flag(f, "force_stop_instance")?,
        ends_itself,
    })
}

pub(super) fn network(f: &Fields<'_>) -> Result<NetworkConfig> {
    let block = text(f, "vpc_cidr_block")?.unwrap_or_else(|| "172.16.0.0/16".to_owned());
    let block = address::block(&block).map_err(|why| f.fault("vpc_cidr_block", "BadBlock", why))?;
    let mut admitted = Vec::new();
    for text in f.strings("security_group_source_cidrs")?.unwrap_or_default() {
        let block = address::block(&text).map_err(|why| f.fault("security_group_source_cidrs", "BadBlock", why))?;
        admitted.push(block);
    }
    let bandwidth = f.uint("internet_max_bandwidth_out")?.filter(|n| *n > 0).unwrap_or(5);
    if bandwidth > 500 {
        return Err(f
            .fault("internet_max_bandwidth_out", "BadNumber", "an elastic address has 500 Mbit/s at the most")
            .into());
    }
    let config = NetworkConfig {
        zone: text(f, "zone_id")?,
        vpc: text(f, "vpc_id")?,
        vpc_name: text(f, "vpc_name")?,
        block,
        vswitch: text(f, "vswitch_id")?,
        vswitch_name: text(f, "vswitch_name")?,
        group: text(f, "security_group_id")?,
        group_name: text(f, "security_group_name")?,
        admitted,
        eip: text(f, "eip_id")?,
        private: flag(f, "ssh_private_ip")?,
        charge: one_of(f, "internet_charge_type", &["PayByTraffic", "PayByBandwidth"])?
            .unwrap_or_else(|| "PayByTraffic".to_owned()),
        bandwidth,
        associate: f.bool("associate_public_ip_address")?,
    };
    for (key, other, both) in [
        ("security_group_source_cidrs", "security_group_id", config.group.is_some() && !config.admitted.is_empty()),
        ("eip_id", "ssh_private_ip", config.eip.is_some() && config.private),
    ] {
        if both {
            return Err(f.fault(key, "Pointless", format!("{key} has no meaning with {other}")).into());
        }
    }
    Ok(config)
}

fn user_data(f: &Fields<'_>) -> Result<Option<String>> {
    let (direct, file) = (text(f, "user_data")?, text(f, "user_data_file")?);
    let (key, data) = match (direct, file) {
        (Some(_), Some(_)) => {
            let message = "only one of user_data and user_data_file can be specified";
            return Err(f.fault("user_data_file", "TwoSources", message).into());
        }
        (Some(data), None) => ("user_data", data),
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            let bytes = match std::fs::metadata(&path) {
                Ok(meta) if meta.len() > USER_DATA => Vec::new(),
                Ok(_) => std::fs::read(&path).map_err(NodeError::file("read", &path))?,
                Err(_) => {
                    let message = format!("{}: there is no such file", path.display());
                    return Err(f.fault("user_data_file", "NoFile", message).into());
                }
            };
            match String::from_utf8(bytes) {
                Ok(text) if !text.is_empty() => ("user_data_file", text),
                _ => {
                    let message = format!("{} is empty, no text, or has more than 16 KiB", path.display());
                    return Err(f.fault("user_data_file", "BadFile", message).into());
                }
            }
        }
        (None, None) => return Ok(None),
    };
    match data.len() as u64 > USER_DATA {
        true => Err(f.fault(key, "TooLarge", "what cloud-init gets has 16 KiB at the most").into()),
        false => Ok(Some(data)),
    }
}

fn disks(f: &Fields<'_>) -> Result<Vec<Disk>> {
    let all = f.objects("image_disk_mappings")?.unwrap_or_default();
    if all.len() > DISKS {
        return Err(f.fault("image_disk_mappings", "BadList", "a machine has 16 disks more at the most").into());
    }
    all.iter().map(disk).collect()
}

fn disk(config: &Config) -> Result<Disk> {
    let f = config.fields();
    let disk = Disk {
        name: text(&f, "disk_name")?,
        category: one_of(
            &f,
            "disk_category",
            &["cloud", "cloud_efficiency", "cloud_ssd", "cloud_essd", "cloud_auto", "cloud_essd_entry"],
        )?,
        size: f.uint("disk_size")?.filter(|size| *size > 0),
        snapshot: text(&f, "disk_snapshot_id")?,
        description: text(&f, "disk_description")?,
        delete_with_instance: f.bool("disk_delete_with_instance")?,
        device: text(&f, "disk_device")?,
        encrypted: f.bool("disk_encrypted")?,
    };
    f.finish()?;
    Ok(disk)
}
